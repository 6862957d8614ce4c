using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Keys;

/// <summary>A key domain encrypted to one X25519 public key: a device's or the recovery key.</summary>
/// <remarks>Format: docs/format.md 3.3. An ephemeral key pair per wrap, BLAKE3 derive_key over shared secret and both public keys, one DARE message.
/// It says nothing of who wrapped: anybody can wrap a domain of his own making to a public key. What carries wraps is signed.
/// Errors: bytes that are damaged, or meant for another key, are <c>false</c>.</remarks>
public static class KeyWrap
{
    public const int HeaderSize = MagicSize + X25519.KeySize;

    private const int MagicSize = 8;
    private const string Context = "tdfs 2026-11 key wrap v1";

    /// <summary>The longest wrap that is looked at.</summary>
    public static int MaximumBytes { get; } = HeaderSize + Dare.CipherBytes(KeyDomain.MaximumBytes);

    private static ReadOnlySpan<byte> Magic => "TDFSWRP1"u8;

    public static byte[] Wrap(KeyDomain domain, ReadOnlySpan<byte> recipientPublicKey, IRandomSource random) =>
        Wrap(domain, recipientPublicKey, random, Dare.PreferredSuite);

    internal static byte[] Wrap(KeyDomain domain, ReadOnlySpan<byte> recipientPublicKey, IRandomSource random, DareSuite suite)
    {
        ArgumentNullException.ThrowIfNull(domain);
        ArgumentNullException.ThrowIfNull(random);
        using SecretBytes plain = domain.Serialize();
        using SecretBytes ephemeral = SecretBytes.Random(random, X25519.KeySize);
        byte[] wrap = new byte[HeaderSize + Dare.CipherBytes(plain.Length)];
        Magic.CopyTo(wrap);
        Span<byte> ephemeralPublicKey = wrap.AsSpan(MagicSize, X25519.KeySize);
        X25519.PublicKey(ephemeral.Span, ephemeralPublicKey);
        using SecretBytes? key = Agree(ephemeral.Span, recipientPublicKey, ephemeralPublicKey, recipientPublicKey);
        if (key is null)
        {
            throw new ArgumentException("The recipient's public key is of small order; nothing can be encrypted to it.", nameof(recipientPublicKey));
        }

        Dare.Encrypt(key.Span, random, plain.Span, wrap.AsSpan(HeaderSize), suite);
        return wrap;
    }

    public static bool TryUnwrap(ReadOnlySpan<byte> recipientPrivateKey, ReadOnlySpan<byte> wrap, [NotNullWhen(true)] out KeyDomain? domain)
    {
        domain = null;
        if (wrap.Length <= HeaderSize || wrap.Length > MaximumBytes || !wrap[..MagicSize].SequenceEqual(Magic)
            || !Dare.TryPlainBytes(wrap.Length - HeaderSize, out int plainBytes))
        {
            return false;
        }

        ReadOnlySpan<byte> ephemeralPublicKey = wrap.Slice(MagicSize, X25519.KeySize);
        Span<byte> recipientPublicKey = stackalloc byte[X25519.KeySize];
        X25519.PublicKey(recipientPrivateKey, recipientPublicKey);
        using SecretBytes? key = Agree(recipientPrivateKey, ephemeralPublicKey, ephemeralPublicKey, recipientPublicKey);
        using SecretBytes plain = new(plainBytes);
        if (key is null || !Dare.TryDecrypt(key.Span, wrap[HeaderSize..], plain.Writable, out _))
        {
            return false;
        }

        try
        {
            domain = KeyDomain.Read(plain.Span);
            return true;
        }
        catch (DamagedFormatException)
        {
            return false;
        }
    }

    /// <summary>Null when the other side's key is of small order.</summary>
    private static SecretBytes? Agree(
        ReadOnlySpan<byte> privateKey, ReadOnlySpan<byte> publicKey, ReadOnlySpan<byte> ephemeralPublicKey, ReadOnlySpan<byte> recipientPublicKey)
    {
        Span<byte> material = stackalloc byte[3 * X25519.KeySize];
        SecretBytes? key = null;
        if (X25519.TryAgree(privateKey, publicKey, material[..X25519.KeySize]))
        {
            ephemeralPublicKey.CopyTo(material[X25519.KeySize..]);
            recipientPublicKey.CopyTo(material[(2 * X25519.KeySize)..]);
            key = new SecretBytes(Dare.KeySize);
            Blake3.DeriveKey(Context, material, key.Writable);
        }

        CryptographicOperations.ZeroMemory(material);
        return key;
    }
}
