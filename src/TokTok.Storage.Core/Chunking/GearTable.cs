using System.Buffers.Binary;
using System.Security.Cryptography;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Chunking;

/// <summary>The 256 words of the rolling hash, one for each byte value. From a domain's secret seed, so that chunk lengths tell outsiders nothing.</summary>
/// <remarks>Format: docs/format.md 2.2. Zeroed on <see cref="Dispose"/>; the owner of the domain's keys owns it, no chunker does.</remarks>
public sealed class GearTable : IDisposable
{
    /// <summary>Bytes of a seed.</summary>
    public const int SeedSize = Blake3.KeySize;

    internal const int WordCount = 256;

    // The words, then each shifted left by one for the first byte of a step of two.
    private readonly ulong[] _words;
    private bool _disposed;

    internal GearTable(ReadOnlySpan<ulong> words)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(words.Length, WordCount);
        _words = GC.AllocateArray<ulong>(2 * WordCount, pinned: true);
        for (int i = 0; i < WordCount; i++)
        {
            _words[i] = words[i];
            _words[i + WordCount] = words[i] << 1;
        }
    }

    /// <summary>256 little-endian words of BLAKE3 keyed with the seed over the ASCII bytes "TDFS gear table".</summary>
    public static GearTable FromSeed(ReadOnlySpan<byte> seed32)
    {
        Span<byte> stream = stackalloc byte[WordCount * sizeof(ulong)];
        Span<ulong> words = stackalloc ulong[WordCount];
        Blake3.KeyedHash(seed32, "TDFS gear table"u8, stream);
        for (int i = 0; i < WordCount; i++)
        {
            words[i] = BinaryPrimitives.ReadUInt64LittleEndian(stream[(i * sizeof(ulong))..]);
        }

        var table = new GearTable(words);
        CryptographicOperations.ZeroMemory(stream);
        words.Clear();
        return table;
    }

    internal ReadOnlySpan<ulong> Words
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _words;
        }
    }

    public void Dispose()
    {
        _disposed = true;
        CryptographicOperations.ZeroMemory(System.Runtime.InteropServices.MemoryMarshal.AsBytes(_words.AsSpan()));
    }
}
