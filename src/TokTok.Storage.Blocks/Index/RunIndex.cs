using System.Numerics;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>The lasting index: recent entries in memory, all others in runs, sorted files that never change and are merged as they grow.</summary>
/// <remarks>
/// Format: docs/format.md 16.2. Source: O'Neil et al., The Log-Structured Merge-Tree (1996), with size-tiered merging; filters as in Zhu, Li and Patterson, Data Domain (FAST 2008).
/// Why this and not FASTER, Venti's buckets or a larger memory: docs/decisions/block-index.md.
/// Memory, which is a promise for all of it together (<see cref="IndexMemory"/>): a quarter for recent entries and as much for those that are being written; a quarter for filters
/// and as much for those of a run that replaces others; the rest for fences and buffers. Right at any size: with less memory filters pass more of what is not there, which then costs a read.
/// Costs: a miss asks one filter a run, a hit reads one page of 4 KiB. An entry is written once when recent entries become a run, and again each time its run is merged: with
/// <see cref="RunsPerTier"/> runs of about one size into one, about once for every eightfold growth. During a merge the disk holds both.
/// Durable: what was added before the last <see cref="Checkpoint"/>, and perhaps more: the cover names the runs that count, and is replaced by a rename when a new run is synced. A crash before that
/// leaves the former cover and its runs; what no cover names is taken away at open. Entries beyond the covered sequence do no harm: arena ordinals are never given twice, and the catalog is asked about every hit.
/// Damage: cover and heads of runs are checked at open, and where one is not whole the index begins empty with CoveredSequence 0. Pages are checked as they are read: a damaged one answers "not there",
/// and the cover goes, so that the next opening begins empty and the caller fills it again from the truth.
/// A disk that fails: what is known stays known, nothing more is added (memory would have no bound), and no checkpoint succeeds until the index is opened anew.
/// Locks, in this order: _writeGate (one flush, checkpoint or clear at a time; does I/O and merges inside, finds and adds go on meanwhile); _state (shared by finds and adds, a find that reads a page
/// waits for it inside; exclusively to open, to exchange runs, to clear and to dispose); _recentGate (recent entries and the count; no I/O).
/// At rest: no plaintext. A score is a hash under the domain's key; who steals the folder learns how many blocks there are, in which arenas at which lengths they lie, and roughly when they came.
/// </remarks>
public sealed partial class RunIndex : IBlockIndex
{
    /// <summary>The least memory that the index works with.</summary>
    public const long MinMemoryBytes = 16L << 20;

    public const long DefaultMemoryBytes = 128L << 20;

    /// <summary>So many runs of a tier become one of the next. Fewer mean more writing, more mean more filters to ask.</summary>
    private const int RunsPerTier = 8;

    /// <summary>Runs below this are of the lowest tier; each further tier is larger by <see cref="RunsPerTier"/>.</summary>
    private const long LowestTierEntries = 4096;

    private readonly IDisk _disk;
    private readonly string _folder;
    private readonly IndexMemory _memory;
    private readonly ReaderWriterLockSlim _state = new(LockRecursionPolicy.NoRecursion);
    private readonly Lock _writeGate = new();
    private readonly Lock _recentGate = new();

    // Guarded by _state.
    private IndexRun[]? _runs; // oldest first
    private ulong _coveredSequence;
    private bool _isDisposed;

    // Guarded by _recentGate.
    private RecentEntries _recent;
    private RecentEntries? _frozen; // being written
    private long _count;

    // Guarded by _writeGate.
    private RecentEntries? _spare;
    private ulong _nextRun;

    // Set once, read by anybody.
    private volatile string? _failure;
    private volatile string? _damage;

    /// <summary>Names the folder; nothing is opened before the first use.</summary>
    public RunIndex(IDisk disk, string folder, long memoryBytes = DefaultMemoryBytes)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentOutOfRangeException.ThrowIfLessThan(memoryBytes, MinMemoryBytes);
        _disk = disk;
        _folder = folder;
        _memory = new IndexMemory(memoryBytes);
        _recent = new RecentEntries(_memory.RecentSlots);
    }

    /// <summary>For tests: recent entries become a run this early.</summary>
    internal RunIndex(IDisk disk, string folder, IndexMemory memory)
    {
        (_disk, _folder, _memory) = (disk, folder, memory);
        _recent = new RecentEntries(memory.RecentSlots);
    }

    /// <summary>Whether there is a folder that an index made, whatever is left in it.</summary>
    public static bool IsIn(IDisk disk, string folder)
    {
        ArgumentNullException.ThrowIfNull(disk);
        return disk.DirectoryExists(folder);
    }

    public ulong CoveredSequence
    {
        get
        {
            EnterShared();
            try
            {
                return _coveredSequence;
            }
            finally
            {
                _state.ExitReadLock();
            }
        }
    }

    public long Count
    {
        get
        {
            EnterShared();
            try
            {
                lock (_recentGate)
                {
                    return _count;
                }
            }
            finally
            {
                _state.ExitReadLock();
            }
        }
    }

    public bool TryFind(Score score, out BlockLocation location)
    {
        EnterShared();
        try
        {
            return TryFindShared(score, out location);
        }
        finally
        {
            _state.ExitReadLock();
        }
    }

    /// <summary>Adds or replaces. What is there already is not written again, so that a replay does not make the index grow.</summary>
    public void Add(Score score, BlockLocation location)
    {
        bool isFull;
        EnterShared();
        try
        {
            bool isKnown = TryFindShared(score, out BlockLocation old);
            if ((isKnown && old == location) || _failure is not null)
            {
                return;
            }

            lock (_recentGate)
            {
                _count += _recent.Set(score, location) && !isKnown ? 1 : 0;
                isFull = _recent.IsFull;
            }
        }
        finally
        {
            _state.ExitReadLock();
        }

        if (isFull)
        {
            WriteRecent();
        }
    }

    public void Checkpoint(ulong coveredSequence)
    {
        lock (_writeGate)
        {
            Open();
            if ((_failure ?? _damage) is { } trouble)
            {
                throw new IOException($"{_folder}: {trouble}");
            }

            try
            {
                FlushLocked(coveredSequence);
            }
            catch (DiskException failure)
            {
                _failure = failure.Message;
                throw;
            }

            ThrowIfDamaged();
        }
    }

    public void Clear()
    {
        lock (_writeGate)
        {
            EnterExclusive();
            try
            {
                CloseExclusive();
                BeginEmptyExclusive();
            }
            finally
            {
                _state.ExitWriteLock();
            }
        }
    }

    /// <summary>Closes without a checkpoint: what came after the last one is the caller's to add again.</summary>
    public void Dispose()
    {
        lock (_writeGate)
        {
            _state.EnterWriteLock();
            try
            {
                _isDisposed = true;
                CloseExclusive();
            }
            finally
            {
                _state.ExitWriteLock();
            }
        }
    }

    private string PathOf(string name) => Paths.Join(_folder, name);

    private void ThrowIfDamaged()
    {
        if (_damage is { } damage)
        {
            throw new IOException($"{_folder}: {damage}");
        }
    }

    private void EnterShared()
    {
        while (true)
        {
            _state.EnterReadLock();
            if (_runs is not null)
            {
                return;
            }

            _state.ExitReadLock();
            lock (_writeGate)
            {
                Open();
            }
        }
    }

    private void EnterExclusive()
    {
        _state.EnterWriteLock();
        if (_isDisposed)
        {
            _state.ExitWriteLock();
            throw new ObjectDisposedException(nameof(RunIndex));
        }
    }

    private bool TryFindShared(Score score, out BlockLocation location)
    {
        lock (_recentGate)
        {
            if (_recent.TryFind(score, out location) || (_frozen is not null && _frozen.TryFind(score, out location)))
            {
                return true;
            }
        }

        try
        {
            for (int i = _runs!.Length - 1; i >= 0; i--)
            {
                if (_runs[i].TryFind(score, out location))
                {
                    return true;
                }
            }
        }
        catch (Exception damage) when (damage is DamagedFormatException or DiskException)
        {
            MeetDamage(damage.Message);
        }

        location = default;
        return false;
    }

    /// <summary>A page of a run cannot be read, or is not what was written. What it held is asked for in vain from here on, so the next opening begins empty.</summary>
    private void MeetDamage(string damage)
    {
        if (_damage is null)
        {
            _damage = damage;
            DropCover();
        }
    }

    private void DropCover()
    {
        try
        {
            _disk.Delete(PathOf(IndexCover.FileName));
            _disk.SyncDirectory(_folder);
        }
        catch (DiskException)
        {
            // The damage is met again next time.
        }
    }

    private void Open()
    {
        EnterExclusive();
        try
        {
            if (_runs is null && !TryOpenExclusive())
            {
                BeginEmptyExclusive();
            }
        }
        finally
        {
            _state.ExitWriteLock();
        }
    }

    /// <summary>False when there is no cover, or something that it names is not whole.</summary>
    private bool TryOpenExclusive()
    {
        var runs = new List<IndexRun>();
        try
        {
            if (IndexCover.Read(_disk, _folder) is not { } cover)
            {
                return false;
            }

            OpenRuns(_disk, _folder, cover, _memory, runs);
            HashSet<string> named = [IndexCover.FileName, .. cover.Runs.Select(static run => IndexRun.NameOf(run.Number))];
            DeleteAllBut(named);
            _runs = [.. runs];
            _nextRun = cover.NextRun;
            _count = cover.Count;
            _coveredSequence = cover.Sequence;
            return true;
        }
        catch (Exception damage) when (damage is DamagedFormatException or DiskException)
        {
            // What is no damage comes again when the empty index is made, and is thrown there.
            runs.ForEach(static run => run.Dispose());
            return false;
        }
    }

    /// <param name="runs">Takes each as it is opened, for whoever must dispose them when one cannot be.</param>
    internal static void OpenRuns(IDisk disk, string folder, IndexCover cover, IndexMemory memory, List<IndexRun> runs)
    {
        long total = cover.Runs.Sum(static run => run.Entries);
        foreach ((ulong number, long entries) in cover.Runs)
        {
            runs.Add(OpenRun(disk, folder, number, entries, total, memory));
        }
    }

    private static IndexRun OpenRun(IDisk disk, string folder, ulong number, long entries, long total, IndexMemory memory) =>
        IndexRun.Open(disk, Paths.Join(folder, IndexRun.NameOf(number)), number, entries, Share(memory.FilterBytes, entries, total), Share(memory.FenceBytes, entries, total));

    private static long Share(long bytes, long entries, long total) => (long)((UInt128)(ulong)bytes * (ulong)entries / (ulong)total);

    private void BeginEmptyExclusive()
    {
        if (_disk.FileExists(PathOf(IndexCover.FileName)))
        {
            _disk.Delete(PathOf(IndexCover.FileName)); // first: nothing may vouch for what is deleted below
            _disk.SyncDirectory(_folder);
        }

        _disk.CreateDirectory(_folder);
        DeleteAllBut([]);
        _runs = [];
        _nextRun = 1;
        _coveredSequence = 0;
        _failure = null;
        _damage = null;
        lock (_recentGate)
        {
            _count = 0;
        }
    }

    /// <summary>Takes away what a crash, or an earlier version of the index, left in the folder, which is the index's alone.</summary>
    private void DeleteAllBut(HashSet<string> named)
    {
        foreach (DiskEntry entry in _disk.List(_folder))
        {
            if (!named.Contains(entry.Name))
            {
                DeleteTree(PathOf(entry.Name), entry.IsDirectory);
            }
        }
    }

    private void DeleteTree(string path, bool isDirectory)
    {
        if (!isDirectory)
        {
            _disk.Delete(path);
            return;
        }

        foreach (DiskEntry entry in _disk.List(path))
        {
            DeleteTree(Paths.Join(path, entry.Name), entry.IsDirectory);
        }

        _disk.DeleteDirectory(path);
    }

    private void CloseExclusive()
    {
        foreach (IndexRun run in _runs ?? [])
        {
            run.Dispose();
        }

        _runs = null;
        _spare = null;
        lock (_recentGate)
        {
            _recent = new RecentEntries(_memory.RecentSlots);
            _frozen = null;
        }
    }
}

/// <summary>How the memory of the index is shared out.</summary>
internal sealed record IndexMemory
{
    private const int MaxSlotBits = 24;

    internal IndexMemory(long bytes)
    {
        RecentSlots = 1 << Math.Min(MaxSlotBits, BitOperations.Log2((ulong)(bytes / 4 / RecentEntries.SlotBytes)));
        FilterBytes = bytes / 4;
        FenceBytes = bytes / 32;
    }

    /// <summary>A power of two.</summary>
    internal int RecentSlots { get; init; }

    internal long FilterBytes { get; init; }

    internal long FenceBytes { get; init; }
}
