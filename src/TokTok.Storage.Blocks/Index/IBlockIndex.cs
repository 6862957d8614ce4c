using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>Where a clump lies: the arena by its ordinal in this device's catalog, and its range in the image.</summary>
public readonly record struct BlockLocation(uint ArenaOrdinal, int Offset, int Length);

/// <summary>Where blocks of sealed arenas were when somebody looked: what it says is checked, and what it lacks may be there all the same.</summary>
/// <remarks>Safe from many threads.</remarks>
public interface IBlockLookup : IDisposable
{
    /// <summary>The catalog sequence up to which every sealed arena's blocks are in it, or were in the last checkpoint.</summary>
    ulong CoveredSequence { get; }

    bool TryFind(Score score, out BlockLocation location);
}

/// <summary>Score to location, for blocks of sealed arenas. A cache: what it says is checked against the catalog, and it can be rebuilt at any time.</summary>
/// <remarks>
/// Safe from many threads. Durable: what was added before the last <see cref="Checkpoint"/>; the owner adds again what came after, some of which may be there.
/// An index that cannot be opened begins empty, with <see cref="IBlockLookup.CoveredSequence"/> 0.
/// </remarks>
public interface IBlockIndex : IBlockLookup
{
    /// <summary>Entries, as far as known.</summary>
    long Count { get; }

    /// <summary>Adds or replaces.</summary>
    void Add(Score score, BlockLocation location);

    /// <summary>Makes everything added so far survive, and remembers the sequence it covers.</summary>
    void Checkpoint(ulong coveredSequence);

    /// <summary>Drops everything; <see cref="IBlockLookup.CoveredSequence"/> is 0 afterwards.</summary>
    void Clear();
}
