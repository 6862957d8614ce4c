using TokTok.Storage.Core;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Files;

/// <summary>A large block that is read here and there, in a hundredth to a third of its bytes: parts of it are read without the rest.</summary>
/// <remarks>
/// Why: a read of 4 KiB would decode and check a block of 256 KiB, and a cache of whole blocks holds little of a large file.
/// Structure: the block is cut in pieces of 8 KiB (eight chunks of BLAKE3 are hashed in the time of four), from where in it the first scattered read stood, as others will stand there too. What the store can fetch by itself
/// (<see cref="IBlockParts"/>: noise, mostly) is kept as 16 bytes of hash a piece; what it cannot is kept here, packed, each piece by itself: two together would pack a little better and take twice as long to read 4 KiB of.
/// Invariant: it is made of a block that was read as a whole and checked against its score, and what is fetched later is compared with the hash of what was there then; so whoever reads gets the block's bytes or nothing.
/// The hash is keyed with the score, which nobody knows who has the disk alone; with 128 bits a forger needs 2^128 tries.
/// Immutable; safe from many threads.
/// </remarks>
internal sealed class CondensedBlock
{
    /// <summary>Longer reads take whole blocks.</summary>
    internal const int LargestRead = 32 * 1024;

    /// <summary>Smaller blocks are kept and read as a whole.</summary>
    internal const int SmallestBlock = 64 * 1024;

    internal const int PieceBytes = 8192;

    private const int HashBytes = 16;
    private const int SectionCost = 64; // the structure and an array's header
    private const int WorthwhilePart = 3;
    private const int PackLevel = 1;

    [ThreadStatic]
    private static byte[]? s_scratch;

    private readonly Score _score;
    private readonly IBlockParts? _parts;
    private readonly int _grid;
    private readonly Section[] _sections;
    private readonly byte[] _hashes;

    private CondensedBlock(Score score, IBlockParts? parts, int grid, Section[] sections, byte[] hashes, int bytes)
    {
        _score = score;
        _parts = parts;
        _grid = grid;
        _sections = sections;
        _hashes = hashes;
        Bytes = bytes;
    }

    /// <summary>Adjoining pieces that are kept in the same way.</summary>
    private readonly record struct Section(int Start, int End)
    {
        /// <summary>A frame, or the bytes as they are where none is shorter; null: to be fetched.</summary>
        internal byte[]? Packed { get; init; }

        /// <summary>Where the hash of the first piece is.</summary>
        internal int FirstHash { get; init; }
    }

    /// <summary>What it takes of memory, about.</summary>
    internal int Bytes { get; }

    /// <summary>Null: it would take more than a third of the block.</summary>
    /// <param name="plain">The block, checked.</param>
    /// <param name="readAt">Where in the block somebody read.</param>
    internal static CondensedBlock? Of(Score score, ReadOnlySpan<byte> plain, IBlockParts? parts, int readAt)
    {
        int grid = readAt % PieceBytes;
        int bytes = SectionCost;
        List<Section> sections = [];
        var hashes = new List<byte>();
        Span<byte> hash = stackalloc byte[HashBytes];
        byte[] packed = Scratch();
        for (int at = 0; at < plain.Length;)
        {
            int start = at;
            bool isFetched = IsFetched(at, plain.Length);
            int firstHash = hashes.Count;
            do
            {
                int end = PieceEnd(at, grid, plain.Length);
                if (isFetched)
                {
                    HashOf(score, plain[at..end], hash);
                    hashes.AddRange(hash);
                }

                at = end;
            }
            while (isFetched && at < plain.Length && IsFetched(at, plain.Length));

            byte[]? kept = isFetched ? null : Pack(plain[start..at], packed);
            sections.Add(new Section(start, at) { Packed = kept, FirstHash = firstHash });
            bytes += SectionCost + (kept?.Length ?? hashes.Count - firstHash);
            if (bytes > plain.Length / WorthwhilePart)
            {
                return null;
            }
        }

        return new CondensedBlock(score, parts, grid, [.. sections], [.. hashes], bytes);

        bool IsFetched(int at, int limit) => parts is not null && parts.Has(at, out int end) && end >= PieceEnd(at, grid, limit);
    }

    /// <summary>Copies a part of the block. False: it cannot be had like this any more, and the target is unspecified.</summary>
    internal bool TryRead(int offset, Span<byte> target)
    {
        for (int index = Find(offset); !target.IsEmpty; index++)
        {
            Section section = _sections[index];
            int count = Math.Min(target.Length, section.End - offset);
            if (!(section.Packed is { } packed ? TryUnpack(section, packed, offset, target[..count]) : TryFetch(section, offset, target[..count])))
            {
                return false;
            }

            target = target[count..];
            offset += count;
        }

        return true;
    }

    private static byte[] Scratch() => s_scratch ??= GC.AllocateUninitializedArray<byte>(LargestRead + (2 * PieceBytes));

    private static int PieceEnd(int at, int grid, int limit) => Math.Min(limit, at < grid ? grid : at + PieceBytes);

    private static void HashOf(Score score, ReadOnlySpan<byte> piece, Span<byte> hash)
    {
        Span<byte> key = stackalloc byte[Score.Size];
        score.Write(key);
        Blake3.KeyedHash(key, piece, hash);
    }

    private static byte[] Pack(ReadOnlySpan<byte> plain, Span<byte> packed) =>
        Zstd.TryCompress(plain, packed[..(plain.Length - 1)], PackLevel, out int bytes) ? packed[..bytes].ToArray() : plain.ToArray();

    private static bool TryUnpack(in Section section, byte[] packed, int offset, Span<byte> target)
    {
        int length = section.End - section.Start;
        ReadOnlySpan<byte> plain = packed;
        if (packed.Length < length)
        {
            Span<byte> unpacked = Scratch().AsSpan(0, length);
            if (!Zstd.TryDecompress(packed, unpacked))
            {
                return false;
            }

            plain = unpacked;
        }

        plain.Slice(offset - section.Start, target.Length).CopyTo(target);
        return true;
    }

    /// <summary>Fetches all pieces that the range touches, and hands over what passed.</summary>
    private bool TryFetch(in Section section, int offset, Span<byte> target)
    {
        int first = Math.Max(section.Start, PieceStart(offset));
        int end = Math.Min(section.End, PieceEnd(PieceStart(offset + target.Length - 1), _grid, int.MaxValue));
        byte[] scratch = Scratch();
        if (_parts is null || !_parts.TryFetchAsync(first, scratch.AsMemory(0, end - first), CancellationToken.None).Wait())
        {
            return false;
        }

        Span<byte> hash = stackalloc byte[HashBytes];
        int at = first;
        for (int expected = section.FirstHash + ((PieceIndex(first) - PieceIndex(section.Start)) * HashBytes); at < end; expected += HashBytes)
        {
            int pieceEnd = PieceEnd(at, _grid, section.End);
            HashOf(_score, scratch.AsSpan(at - first, pieceEnd - at), hash);
            if (!hash.SequenceEqual(_hashes.AsSpan(expected, HashBytes)))
            {
                return false;
            }

            at = pieceEnd;
        }

        scratch.AsSpan(offset - first, target.Length).CopyTo(target);
        return true;
    }

    private int PieceStart(int offset) => offset < _grid ? 0 : offset - ((offset - _grid) % PieceBytes);

    private int PieceIndex(int offset) => offset < _grid ? 0 : ((offset - _grid) / PieceBytes) + (_grid > 0 ? 1 : 0);

    private int Find(int offset)
    {
        int low = 0;
        int high = _sections.Length - 1;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_sections[middle].End > offset)
            {
                high = middle;
            }
            else
            {
                low = middle + 1;
            }
        }

        return low;
    }
}
