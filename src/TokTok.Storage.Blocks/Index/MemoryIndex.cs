using System.Collections.Concurrent;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>An index that lives and ends with the process: for tests, simulation, and commands too short to open a lasting one.</summary>
/// <remarks>
/// Nothing survives it, so the next one begins empty with <see cref="CoveredSequence"/> 0, as the contract allows.
/// About 120 bytes of memory an entry. Locks: none of its own; <see cref="Clear"/> beside a concurrent Add may keep or drop that entry.
/// </remarks>
public sealed class MemoryIndex : IBlockIndex
{
    private readonly ConcurrentDictionary<Score, BlockLocation> _locations = new();
    private ulong _coveredSequence;
    private long _count; // the dictionary's own takes all of its locks

    public ulong CoveredSequence => Volatile.Read(ref _coveredSequence);

    public long Count => Interlocked.Read(ref _count);

    internal IEnumerable<KeyValuePair<Score, BlockLocation>> Entries => _locations;

    public bool TryFind(Score score, out BlockLocation location) => _locations.TryGetValue(score, out location);

    public void Add(Score score, BlockLocation location)
    {
        if (_locations.TryAdd(score, location))
        {
            Interlocked.Increment(ref _count);
        }
        else
        {
            _locations[score] = location;
        }
    }

    public void Checkpoint(ulong coveredSequence) => Volatile.Write(ref _coveredSequence, coveredSequence);

    public void Clear()
    {
        Volatile.Write(ref _coveredSequence, 0);
        _locations.Clear();
        Interlocked.Exchange(ref _count, 0);
    }

    public void Dispose()
    {
    }
}
