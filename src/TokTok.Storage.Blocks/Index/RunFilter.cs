using System.Runtime.InteropServices;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>Says of a score that a run may have it, or that it surely has not: a blocked Bloom filter, outside the collected heap.</summary>
/// <remarks>
/// Format: docs/format.md 16.2. Source: Putze, Sanders and Singler, Cache-, Hash- and Space-Efficient Bloom Filters (2007): all bits of a score lie in one block of 64 bytes, so a question costs one cache miss.
/// The block's number is the score's first word scaled down to the count of blocks, so it never falls while scores ascend: a run in that order fills one block after another, and its writer holds one.
/// For the same reason neighbours can be laid over each other: folded once, a filter takes half the memory and says "may" more often, and never "not" wrongly. That is how a large index keeps to a small memory.
/// Size: 20 bits an entry and 5 bits set for each. It passes 0.06 % of what is not there; folded once 1 %, twice 10 %, four times 80 %.
/// Safe from many threads for questions. Whoever folds or disposes has seen to it that nobody asks.
/// </remarks>
internal sealed unsafe class RunFilter : IDisposable
{
    internal const int BlockBytes = 64;
    private const int BlockWords = BlockBytes / sizeof(ulong);
    private const int BitsPerEntry = 20;
    private const int BitsSet = 5;
    private const int PlaceBits = 9; // 512 bits in a block

    private readonly long _blocks;
    private int _folds;
    private ulong* _words;

    internal RunFilter(long blocks, int folds)
    {
        _blocks = blocks;
        _folds = folds;
        _words = (ulong*)NativeMemory.AlignedAlloc((nuint)MemoryBytes, BlockBytes);
        NativeMemory.Clear(_words, (nuint)MemoryBytes);
    }

    /// <summary>What it takes of memory as it is folded now.</summary>
    internal long MemoryBytes => BytesOf(_blocks, _folds);

    internal static long BlocksFor(long entries) => Math.Max(1, ((entries * BitsPerEntry) + (8 * BlockBytes) - 1) / (8 * BlockBytes));

    internal static long BytesOf(long blocks, int folds) => (((blocks - 1) >> folds) + 1) * BlockBytes;

    internal static long BlockOf(Score score, long blocks) => (long)Math.BigMul(score.Bytes.First, (ulong)blocks, out _);

    /// <summary>Sets a score's bits in its block.</summary>
    internal static void Set(Span<ulong> block, Score score)
    {
        ulong places = score.Bytes.Second;
        for (int i = 0; i < BitsSet; i++, places >>= PlaceBits)
        {
            block[(int)((places >> 6) & (BlockWords - 1))] |= 1UL << (int)(places & 63);
        }
    }

    internal bool MayHold(Score score)
    {
        ulong* block = _words + ((BlockOf(score, _blocks) >> _folds) * BlockWords);
        ulong places = score.Bytes.Second;
        for (int i = 0; i < BitsSet; i++, places >>= PlaceBits)
        {
            if ((block[(int)((places >> 6) & (BlockWords - 1))] & (1UL << (int)(places & 63))) == 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Takes up blocks as the file has them, unfolded, from a block number on.</summary>
    internal void Load(long firstBlock, ReadOnlySpan<ulong> words)
    {
        for (int i = 0; i < words.Length; i++)
        {
            _words[(((firstBlock + (i / BlockWords)) >> _folds) * BlockWords) + (i % BlockWords)] |= words[i];
        }
    }

    /// <summary>Half the memory, and more questions that only the pages answer.</summary>
    internal void Fold()
    {
        long kept = BytesOf(_blocks, _folds + 1) / BlockBytes;
        long had = MemoryBytes / BlockBytes;
        for (long block = 0; block < kept; block++)
        {
            for (int word = 0; word < BlockWords; word++)
            {
                ulong second = (2 * block) + 1 < had ? _words[(((2 * block) + 1) * BlockWords) + word] : 0;
                _words[(block * BlockWords) + word] = _words[(2 * block * BlockWords) + word] | second;
            }
        }

        _folds++;
        _words = (ulong*)NativeMemory.AlignedRealloc(_words, (nuint)MemoryBytes, BlockBytes);
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_words);
        _words = null;
    }
}
