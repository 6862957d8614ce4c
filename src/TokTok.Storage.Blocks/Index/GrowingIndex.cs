using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>An index that is in memory while it is small, and becomes a lasting one when it has grown.</summary>
/// <remarks>
/// Why: opening the lasting index costs a short command more than all else it does, and the directories of a store this small are read in a few hundredths of a second.
/// While in memory it covers nothing, so the next process begins empty and its owner adds everything again, as the contract of <see cref="IBlockIndex"/> allows.
/// Bound: <paramref name="memoryEntries"/> in memory, about 120 bytes each; the add that passes it moves all of them. It never goes back.
/// Locks: _gate guards adding while in memory, and the move; finds take none, and what they ask has every entry at every instant.
/// </remarks>
/// <param name="openLasting">Called once, at the move.</param>
public sealed class GrowingIndex(Func<IBlockIndex> openLasting, int memoryEntries) : IBlockIndex
{
    /// <summary>Blocks of about 8 GiB of files; 8 MiB of memory.</summary>
    public const int DefaultMemoryEntries = 64 * 1024;

    private readonly Lock _gate = new();
    private readonly MemoryIndex _memory = new();
    private volatile IBlockIndex? _lasting;
    private bool _isDisposed;

    public bool IsLasting => _lasting is not null;

    public ulong CoveredSequence => _lasting?.CoveredSequence ?? _memory.CoveredSequence;

    public long Count => _lasting?.Count ?? _memory.Count;

    public bool TryFind(Score score, out BlockLocation location) =>
        _lasting is { } lasting ? lasting.TryFind(score, out location) : _memory.TryFind(score, out location);

    public void Add(Score score, BlockLocation location)
    {
        if (_lasting is null)
        {
            lock (_gate)
            {
                if (_lasting is null)
                {
                    _memory.Add(score, location);
                    if (_memory.Count > memoryEntries)
                    {
                        MoveLocked();
                    }

                    return;
                }
            }
        }

        _lasting.Add(score, location);
    }

    public void Checkpoint(ulong coveredSequence) => (_lasting ?? _memory).Checkpoint(coveredSequence);

    public void Clear() => (_lasting ?? _memory).Clear();

    public void Dispose()
    {
        lock (_gate)
        {
            _isDisposed = true;
            _lasting?.Dispose();
        }
    }

    private void MoveLocked()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        IBlockIndex lasting = openLasting();
        try
        {
            // What an earlier store of this folder left says nothing about this one.
            lasting.Clear();
            foreach ((Score score, BlockLocation location) in _memory.Entries)
            {
                lasting.Add(score, location);
            }
        }
        catch
        {
            lasting.Dispose();
            throw;
        }

        // The memory keeps its entries: a find that began before the move may still be asking it. They are bounded.
        _lasting = lasting;
    }
}
