using System.Collections.Concurrent;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>Which clumps of which arenas are wanted: one bit a clump.</summary>
/// <remarks>
/// Safe from many threads: bits are set with interlocked operations, and whoever sets one first is told so.
/// Memory: one bit a block and the scores of open arenas; 20 million blocks take 2.5 MB.
/// </remarks>
internal sealed class LiveMap(BlockStore store, DomainId domain) : IBlockMarker
{
    private readonly ConcurrentDictionary<uint, ulong[]> _bits = new();
    private readonly ConcurrentDictionary<Score, bool> _open = new();
    private readonly ConcurrentQueue<(Score Score, BlockType Type)> _missing = new();
    private long _missingCount;
    private long _markedCount;

    private const int NamedMissing = 100;

    /// <summary>The store that blocks are looked for in: another opening of the same one may take over, since ordinals and directories of arenas stay as they are.</summary>
    internal BlockStore Store { get; set; } = store;

    internal long MissingCount => Interlocked.Read(ref _missingCount);

    internal long MarkedCount => Interlocked.Read(ref _markedCount);

    /// <summary>The first of the blocks that no arena holds.</summary>
    internal IEnumerable<(Score Score, BlockType Type)> Missing => _missing;

    public bool Mark(Score score, BlockType type)
    {
        if (Store.IsPending(score))
        {
            return First(_open.TryAdd(score, true));
        }

        if (Store.LocateEntry(domain, score) is not { } found)
        {
            if (_open.TryAdd(score, true))
            {
                if (Interlocked.Increment(ref _missingCount) <= NamedMissing)
                {
                    _missing.Enqueue((score, type));
                }
            }

            return false; // nothing below it can be reached
        }

        return First(SetBit(found));
    }

    /// <summary>Marks in arenas what was marked as lying in the journal and lies there no longer, or not for this store: an arena had it too, or was sealed since.</summary>
    internal void Settle()
    {
        foreach (Score score in _open.Keys)
        {
            if (!Store.IsPending(score) && Store.LocateEntry(domain, score) is { } found)
            {
                _ = SetBit(found);
            }
        }
    }

    internal bool IsLive(uint ordinal, int entryIndex) =>
        _bits.TryGetValue(ordinal, out ulong[]? bits) && (bits[entryIndex >> 6] & (1UL << (entryIndex & 63))) != 0;

    /// <summary>Bytes of wanted clumps in an arena.</summary>
    internal long LiveBytes(uint ordinal, ArenaDirectory directory)
    {
        long live = 0;
        for (int i = 0; i < directory.Count; i++)
        {
            if (IsLive(ordinal, i))
            {
                live += directory[i].Length;
            }
        }

        return live;
    }

    internal bool HasAny(uint ordinal) => _bits.ContainsKey(ordinal);

    /// <summary>True: it was not set.</summary>
    private bool SetBit(EntryPlace found)
    {
        ulong[] bits = _bits.GetOrAdd(found.Arena.Ordinal, static (_, count) => new ulong[(count + 63) / 64], found.Arena.ClumpCount);
        ulong bit = 1UL << (found.EntryIndex & 63);
        return (Interlocked.Or(ref bits[found.EntryIndex >> 6], bit) & bit) == 0;
    }

    private bool First(bool isFirst)
    {
        if (isFirst)
        {
            Interlocked.Increment(ref _markedCount);
        }

        return isFirst;
    }
}
