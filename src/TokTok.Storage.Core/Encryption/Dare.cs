using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;

namespace TokTok.Storage.Core.Encryption;

/// <summary>The AEAD of a DARE message, as its package headers name it.</summary>
public enum DareSuite : byte
{
    Aes256Gcm = 0,
    ChaCha20Poly1305 = 1,
}

/// <summary>DARE 2.0: a message encrypted as authenticated packages of up to 64 KiB, the last one marked.</summary>
/// <remarks>Format: docs/format.md 2.4. Source: minio/sio, the version with the final-package flag; vectors of its dare_test.go.
/// Nonce: 95 random bits per message from <see cref="IRandomSource"/>, then the package number is added in; never derived, so a key may
/// meet two plaintexts. Packages per message are few, so a key stays far below the 2^32 messages that random 96-bit nonces allow.
/// Invariant: every header byte and the number and order of the packages are authenticated; the length alone fixes where packages lie,
/// so there is exactly one valid encoding per (key, nonce, suite, plaintext).
/// Errors: a mismatch of any kind is <c>false</c> and a zeroed target; wrong buffer sizes are the caller's mistake and throw.
/// Stateless between calls; safe from several threads.</remarks>
public static class Dare
{
    public const int KeySize = 32;
    public const int HeaderSize = VersionSize + SuiteSize + LengthSize + NonceSize;
    public const int TagSize = 16;
    public const int PayloadSize = 64 * 1024;
    public const int PackageSize = HeaderSize + PayloadSize + TagSize;

    private const byte Version = 0x20;
    private const int VersionSize = 1, SuiteSize = 1, LengthSize = 2, NonceSize = 12;
    private const int AssociatedSize = VersionSize + SuiteSize + LengthSize;
    private const byte FinalFlag = 0x80;
    private const int BlockSize = 16;
    private const uint FirstCounter = 2; // of GCM's payload; 1 hides the tag

    /// <summary>AES where the CPU has AES instructions, else ChaCha20-Poly1305, which is fast without any.</summary>
    public static DareSuite PreferredSuite { get; } =
        AesGcm.IsSupported && (System.Runtime.Intrinsics.X86.Aes.IsSupported || System.Runtime.Intrinsics.Arm.Aes.IsSupported)
            ? DareSuite.Aes256Gcm
            : DareSuite.ChaCha20Poly1305;

    /// <summary>The bytes that a plaintext of <paramref name="plainBytes"/> encrypts to. DARE has no form for an empty message.</summary>
    public static int CipherBytes(int plainBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(plainBytes);
        int packageCount = (plainBytes - 1) / PayloadSize + 1;
        return plainBytes + packageCount * (HeaderSize + TagSize);
    }

    /// <summary>The plaintext bytes inside a ciphertext of this length. False if no message is that long.</summary>
    public static bool TryPlainBytes(int cipherBytes, out int plainBytes)
    {
        plainBytes = 0;
        (int fullCount, int lastBytes) = Math.DivRem(cipherBytes, PackageSize);
        if (cipherBytes <= 0 || (lastBytes != 0 && lastBytes <= HeaderSize + TagSize))
        {
            return false;
        }

        plainBytes = fullCount * PayloadSize + (lastBytes == 0 ? 0 : lastBytes - HeaderSize - TagSize);
        return true;
    }

    /// <summary>Encrypts into the start of <paramref name="cipher"/>; returns <see cref="CipherBytes"/>. The buffers must not overlap.</summary>
    public static int Encrypt(ReadOnlySpan<byte> key, IRandomSource random, ReadOnlySpan<byte> plain, Span<byte> cipher) =>
        Encrypt(key, random, plain, cipher, PreferredSuite);

    /// <inheritdoc cref="Encrypt(ReadOnlySpan{byte}, IRandomSource, ReadOnlySpan{byte}, Span{byte})"/>
    public static int Encrypt(ReadOnlySpan<byte> key, IRandomSource random, ReadOnlySpan<byte> plain, Span<byte> cipher, DareSuite suite)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> nonce = stackalloc byte[NonceSize];
        random.Fill(nonce);
        return Encrypt(key, nonce, plain, cipher, suite, firstPackage: 0, PackageCipher.ForThread(suite));
    }

    /// <summary>Decrypts into the start of <paramref name="plain"/>, which must hold <see cref="TryPlainBytes"/>. False, and all of plain zeroed, on any mismatch.</summary>
    public static bool TryDecrypt(ReadOnlySpan<byte> key, ReadOnlySpan<byte> cipher, Span<byte> plain, out int plainBytes)
    {
        if (cipher.Length <= HeaderSize || cipher[VersionSize] > (byte)DareSuite.ChaCha20Poly1305)
        {
            plain.Clear();
            plainBytes = 0;
            return false;
        }

        return TryDecrypt(key, cipher, plain, out plainBytes, firstPackage: 0, PackageCipher.ForThread((DareSuite)cipher[VersionSize]));
    }

    /// <summary>Where in a message the byte of an offset in its plaintext stands.</summary>
    public static int PositionOf(int plainOffset)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(plainOffset);
        (int package, int within) = Math.DivRem(plainOffset, PayloadSize);
        return package * PackageSize + HeaderSize + within;
    }

    /// <summary>Whether <see cref="DecryptUnchecked"/> serves a message, by its first header.</summary>
    public static bool CanDecryptParts(ReadOnlySpan<byte> header) =>
        header.Length >= HeaderSize && header[0] == Version && header[VersionSize] == (byte)DareSuite.Aes256Gcm;

    /// <summary>Decrypts a part of one package in place WITHOUT its tag, which is over the whole package: for bytes that the caller has a hash of, from when the message was decrypted and checked as a whole.</summary>
    /// <remarks>GCM encrypts by counter mode from counter 2 on (NIST SP 800-38D, 7.1), so a part needs no more than its place.</remarks>
    /// <param name="firstHeader">The header of the message's first package.</param>
    /// <param name="cipherBytes">The length of the whole message.</param>
    /// <param name="plainOffset">Where in the message's plaintext the part begins.</param>
    public static void DecryptUnchecked(ReadOnlySpan<byte> key, ReadOnlySpan<byte> firstHeader, int cipherBytes, int plainOffset, Span<byte> data)
    {
        CheckKey(key);
        (int package, int within) = Math.DivRem(plainOffset, PayloadSize);
        if (!CanDecryptParts(firstHeader) || !TryPlainBytes(cipherBytes, out int plainBytes) || within + data.Length > PayloadSize || plainOffset + data.Length > plainBytes)
        {
            throw new ArgumentException($"{data.Length} bytes at {plainOffset} are not a part of one package of this message.", nameof(data));
        }

        Span<byte> header = stackalloc byte[HeaderSize];
        WriteHeader(header, DareSuite.Aes256Gcm, PayloadSize, firstHeader.Slice(AssociatedSize, NonceSize), final: package == (plainBytes - 1) / PayloadSize);
        Span<byte> counter = stackalloc byte[NonceSize + sizeof(uint)];
        PackageNonce(header, (uint)package, counter[..NonceSize]);
        (int block, int skipBytes) = Math.DivRem(within, BlockSize);
        BinaryPrimitives.WriteUInt32BigEndian(counter[NonceSize..], (uint)block + FirstCounter);
        ArenaCipher.Transform(key, counter, skipBytes, data);
    }

    /// <summary>The whole of it, with nonce, first package number and implementation given: what the published vectors need.</summary>
    internal static int Encrypt(
        ReadOnlySpan<byte> key, ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> plain, Span<byte> cipher, DareSuite suite, uint firstPackage, PackageCipher packages)
    {
        CheckKey(key);
        int cipherBytes = CipherBytes(plain.Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(cipher.Length, cipherBytes);
        if (plain.Overlaps(cipher))
        {
            throw new ArgumentException("The plaintext and the ciphertext share bytes: DARE does not encrypt in place.", nameof(cipher));
        }

        Span<byte> packageNonce = stackalloc byte[NonceSize];
        Span<byte> target = cipher;
        uint package = firstPackage;
        packages.Start(key, encrypt: true);
        try
        {
            for (ReadOnlySpan<byte> rest = plain; !rest.IsEmpty; package = unchecked(package + 1))
            {
                int payloadBytes = Math.Min(rest.Length, PayloadSize);
                bool final = payloadBytes == rest.Length;
                Span<byte> header = target[..HeaderSize];
                WriteHeader(header, suite, payloadBytes, nonce, final);
                PackageNonce(header, package, packageNonce);
                packages.Encrypt(
                    packageNonce, header[..AssociatedSize], rest[..payloadBytes], target.Slice(HeaderSize, payloadBytes), target.Slice(HeaderSize + payloadBytes, TagSize));
                rest = rest[payloadBytes..];
                target = target[(HeaderSize + payloadBytes + TagSize)..];
            }
        }
        finally
        {
            packages.End();
        }

        Debug.Assert(cipher.Length - target.Length == cipherBytes, "Dare.Encrypt and Dare.CipherBytes disagree");
        return cipherBytes;
    }

    internal static bool TryDecrypt(
        ReadOnlySpan<byte> key, ReadOnlySpan<byte> cipher, Span<byte> plain, out int plainBytes, uint firstPackage, PackageCipher packages)
    {
        CheckKey(key);
        if (TryPlainBytes(cipher.Length, out plainBytes))
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(plain.Length, plainBytes);
            if (plain.Overlaps(cipher))
            {
                throw new ArgumentException("The plaintext and the ciphertext share bytes: DARE does not decrypt in place.", nameof(plain));
            }

            packages.Start(key, encrypt: false);
            bool whole = false;
            try
            {
                whole = TryDecryptPackages(cipher, plain, firstPackage, packages);
            }
            finally
            {
                packages.End();
                if (!whole)
                {
                    plain.Clear();
                }
            }

            if (whole)
            {
                return true;
            }
        }

        plain.Clear();
        plainBytes = 0;
        return false;
    }

    private static bool TryDecryptPackages(ReadOnlySpan<byte> cipher, Span<byte> plain, uint firstPackage, PackageCipher packages)
    {
        ReadOnlySpan<byte> messageNonce = cipher.Slice(AssociatedSize, NonceSize);
        DareSuite suite = (DareSuite)cipher[VersionSize];
        Span<byte> expected = stackalloc byte[HeaderSize];
        Span<byte> packageNonce = stackalloc byte[NonceSize];
        uint package = firstPackage;
        for (ReadOnlySpan<byte> rest = cipher; !rest.IsEmpty; package = unchecked(package + 1))
        {
            int payloadBytes = Math.Min(rest.Length, PackageSize) - HeaderSize - TagSize;
            ReadOnlySpan<byte> header = rest[..HeaderSize];

            // Length and position fix every header field but the nonce, which the first header gives: write what must stand there and compare.
            WriteHeader(expected, suite, payloadBytes, messageNonce, final: rest.Length <= PackageSize);
            if (!header.SequenceEqual(expected))
            {
                return false;
            }

            PackageNonce(header, package, packageNonce);
            if (!packages.TryDecrypt(
                packageNonce, header[..AssociatedSize], rest.Slice(HeaderSize, payloadBytes), rest.Slice(HeaderSize + payloadBytes, TagSize), plain[..payloadBytes]))
            {
                return false;
            }

            rest = rest[(HeaderSize + payloadBytes + TagSize)..];
            plain = plain[payloadBytes..];
        }

        return true;
    }

    private static void WriteHeader(Span<byte> header, DareSuite suite, int payloadBytes, ReadOnlySpan<byte> nonce, bool final)
    {
        header[0] = Version;
        header[VersionSize] = (byte)suite;
        BinaryPrimitives.WriteUInt16LittleEndian(header[(VersionSize + SuiteSize)..], (ushort)(payloadBytes - 1));
        nonce.CopyTo(header[AssociatedSize..]);
        header[AssociatedSize] = (byte)(final ? nonce[0] | FinalFlag : nonce[0] & ~FinalFlag);
    }

    private static void PackageNonce(ReadOnlySpan<byte> header, uint package, Span<byte> nonce)
    {
        header[AssociatedSize..].CopyTo(nonce);
        Span<byte> number = nonce[(NonceSize - sizeof(uint))..];
        BinaryPrimitives.WriteUInt32LittleEndian(number, BinaryPrimitives.ReadUInt32LittleEndian(number) ^ package);
    }

    private static void CheckKey(ReadOnlySpan<byte> key)
    {
        if (key.Length != KeySize)
        {
            throw new ArgumentException($"A DARE key is {KeySize} bytes, not {key.Length}.", nameof(key));
        }
    }
}
