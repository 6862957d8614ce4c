using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Security.Cryptography;
using TokTok.Storage.Core.Interop;

namespace TokTok.Storage.Core.Encryption;

/// <summary>AES-256 in counter mode over a whole arena image, at any byte offset.</summary>
/// <remarks>Format: docs/format.md 2.5. Source: NIST SP 800-38A, 6.5. The counter block is the 128-bit big-endian number of the 16-byte block,
/// from 0: the same bytes as <c>openssl enc -aes-256-ctr</c> with a zero IV.
/// Nonce rule: there is none, so a key may serve one image only. The arena key is derived from an arena id that is never used twice.
/// No integrity: clumps inside carry their own tags, fragments their own names.
/// Speed: libcrypto's counter mode where it loads, else ECB over counter blocks in batches of 16 KiB.
/// Ownership: the instance form keeps a pinned copy of the key until <see cref="Dispose"/>; both forms are safe from several threads.</remarks>
public sealed class ArenaCipher : IDisposable
{
    public const int KeySize = 32;

    private const int BlockSize = 16;
    private const int BatchSize = 16 * 1024;

    [ThreadStatic]
    private static Evp? s_evp;

    private readonly byte[] _key = GC.AllocateUninitializedArray<byte>(KeySize, pinned: true);
    private bool _disposed;

    public ArenaCipher(ReadOnlySpan<byte> key)
    {
        CheckKey(key);
        key.CopyTo(_key);
    }

    /// <summary>XORs the keystream from <paramref name="offset"/> on into <paramref name="data"/>: the same call encrypts and decrypts.</summary>
    public void Transform(long offset, Span<byte> data)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Transform(_key, offset, data);
    }

    public static void Transform(ReadOnlySpan<byte> key, long offset, Span<byte> data)
    {
        CheckKey(key);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        Span<byte> counter = stackalloc byte[BlockSize]; // not a UInt128: the ahead-of-time compiler passes over every method that touches one
        counter[..8].Clear();
        BinaryPrimitives.WriteUInt64BigEndian(counter[8..], (ulong)(offset / BlockSize));
        Transform(key, counter, (int)(offset % BlockSize), data);
    }

    /// <summary>The same from any counter block on, less the first bytes of its keystream.</summary>
    internal static void Transform(ReadOnlySpan<byte> key, ReadOnlySpan<byte> counter, int skipBytes, Span<byte> data)
    {
        if (Evp.IsAvailable)
        {
            TransformNative(key, counter, skipBytes, data);
        }
        else
        {
            TransformManaged(key, counter, skipBytes, data);
        }
    }

    public void Dispose()
    {
        _disposed = true;
        CryptographicOperations.ZeroMemory(_key);
    }

    internal static void TransformNative(ReadOnlySpan<byte> key, ReadOnlySpan<byte> counter, int skipBytes, Span<byte> data)
    {
        Evp evp = s_evp ??= new Evp("AES-256-CTR");
        evp.Key(key, encrypt: true);
        try
        {
            evp.Counter(counter, skipBytes, data);
        }
        finally
        {
            evp.Forget();
        }
    }

    internal static void TransformManaged(ReadOnlySpan<byte> key, ReadOnlySpan<byte> counter, int skipBytes, Span<byte> data)
    {
        UInt128 block = BinaryPrimitives.ReadUInt128BigEndian(counter);
        using Aes aes = Aes.Create();
        aes.SetKey(key);
        byte[] rented = ArrayPool<byte>.Shared.Rent(BatchSize);
        try
        {
            while (!data.IsEmpty)
            {
                int bytes = Math.Min(data.Length, BatchSize - skipBytes);
                Span<byte> keystream = rented.AsSpan(0, (skipBytes + bytes + BlockSize - 1) / BlockSize * BlockSize);
                FillCounters(keystream, block);
                aes.EncryptEcb(keystream, keystream, PaddingMode.None);
                Xor(data[..bytes], keystream.Slice(skipBytes, bytes));
                data = data[bytes..];
                block = unchecked(block + BatchSize / BlockSize);
                skipBytes = 0;
            }
        }
        finally
        {
            // The keystream is as secret as the plaintext it hides.
            CryptographicOperations.ZeroMemory(rented);
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private static void FillCounters(Span<byte> target, UInt128 block)
    {
        for (; !target.IsEmpty; target = target[BlockSize..])
        {
            BinaryPrimitives.WriteUInt128BigEndian(target, block);
            block = unchecked(block + 1);
        }
    }

    private static void Xor(Span<byte> data, ReadOnlySpan<byte> keystream)
    {
        int i = 0;
        for (; i <= data.Length - Vector<byte>.Count; i += Vector<byte>.Count)
        {
            Span<byte> part = data[i..];
            (new Vector<byte>(part) ^ new Vector<byte>(keystream[i..])).CopyTo(part);
        }

        for (; i < data.Length; i++)
        {
            data[i] ^= keystream[i];
        }
    }

    private static void CheckKey(ReadOnlySpan<byte> key)
    {
        if (key.Length != KeySize)
        {
            throw new ArgumentException($"An arena key is {KeySize} bytes, not {key.Length}.", nameof(key));
        }
    }
}
