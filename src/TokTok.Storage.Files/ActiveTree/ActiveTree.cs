using System.Collections.Concurrent;
using System.Diagnostics;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A volume's writable present: what changed since the last commit, in memory, over the committed tree.</summary>
/// <remarks>
/// Source: Quinlan, McKie and Cox, Fossil (2003): an active tree over an archive of blocks, written by snapshots that cut between operations.
/// What is looked at comes from the committed tree through caches; what is changed is held by inode until a commit makes blocks of it. A commit freezes the changes
/// (<see cref="TreeCut"/>) and writes them while operations go on; one that fails has changed nothing, and the next takes the same changes again.
/// The volume's active tree belongs to whoever has it open here: an import into the volume meanwhile becomes a snapshot of it, and the next commit puts this tree in force again.
/// Invariant: an inode is in the table from when it is changed until a commit has written it, so that whatever is read from the committed tree is newest.
/// Locks, in the order they are taken: the commit gate; the log gate; _cut (shared by every operation that changes something, alone by the freezing of a commit); _names; one inode's gate, or
/// two in the order of their ids; _dirtyGate. Nothing is read from the store under any of them but the first two: an operation that misses a block lets go, reads it and begins anew.
/// Durable once a commit returned, or a batch of intents: <see cref="Sync"/>, <see cref="SyncDirectory"/> and <see cref="SyncAll"/> each wait for one of them that began after
/// them, many for the same one. A batch is a cut as well, so a crash leaves the tree as it was between two operations.
/// Errors: trouble with the store is an error of the operation that met it (EIO, ENOSPC). A volume over its memory for changes accepts no more until a commit succeeds.
/// </remarks>
public sealed partial class ActiveTree : IVolumeFileSystem, IAsyncDisposable
{
    /// <summary>No file is larger; far below what an entry can say.</summary>
    public const long MaxFileBytes = 1L << 60;

    /// <summary>As ext4.</summary>
    public const uint MaxLinks = 65_000;

    /// <summary>A block must be read first. Never leaves this class.</summary>
    private const FileError Unread = (FileError)(-1);

    private readonly IVolumeStore _store;
    private readonly Volume _volume;
    private readonly IBlockStore _blocks;
    private readonly FileIds _ids;
    private readonly TimeProvider _clock;
    private readonly ActiveTreeOptions _options;
    private readonly DirtyMemory _memory;
    private readonly TableCache _tables;
    private readonly ExtentCache _extents;
    private readonly DataCache _data;
    private readonly BlocksAhead _ahead;
    private readonly CommitPace _pace;
    private readonly ContentBuilder _builder;
    private readonly HandleTable _handles = new();
    private readonly Posix.PosixNames _people = new();

    private readonly ReaderWriterLockSlim _cut = new(LockRecursionPolicy.NoRecursion);
    private readonly Lock _names = new();
    private readonly ConcurrentDictionary<ulong, Inode> _inodes = new();
    private readonly Inode _root;

    // Guarded by _names.
    private readonly Dictionary<ulong, ulong> _goneLinks = []; // records that go with the next commit, and the operations that took their last name
    private TableRoot _links;
    private long _entryCount;

    // Guarded by _dirtyGate.
    private readonly Lock _dirtyGate = new();
    private readonly HashSet<Inode> _dirty = [];
    private readonly HashSet<Inode> _unlogged = []; // changed since the last batch of intents, or the last cut

    private ulong _stamp;
    private long _changeCount;
    private ITimer? _timer;
    private bool _isDisposed;
    private readonly bool _isSnapshot;

    private ActiveTree(IVolumeStore store, Volume volume, TimeProvider clock, ActiveTreeOptions options)
    {
        _store = store;
        _volume = volume;
        _blocks = volume.Blocks;
        _clock = clock;
        _options = options;
        _memory = new DirtyMemory(options.DirtyBytes);
        _ids = new FileIds(volume.Root, store.Device);
        _tables = new TableCache(_blocks, options.TreeCacheBytes / 2);
        _extents = new ExtentCache(_blocks, options.TreeCacheBytes / 2);
        _data = new DataCache(_blocks, options.DataCacheBytes);
        _ahead = new BlocksAhead(_extents, _data);
        _pace = new CommitPace(() => DirtyBytes >= options.DirtyBytes / 16 * 15); // soon somebody waits for room
        _builder = new ContentBuilder(_blocks, store.ChunkerSeed(volume.Domain), options.Content, _extents, options.WholeFileBytes);
        _links = volume.Root.Links;
        if (volume.Root.Active is { } active)
        {
            _root = new Inode(active);
            _entryCount = (long)active.Totals.Entries;
        }
        else
        {
            FileTime now = Now();
            _root = new Inode(EntryType.Directory, _ids.Next())
            {
                Mode = 0x1ed, // 0755
                OwnerId = options.OwnerId,
                GroupId = options.GroupId,
                Accessed = now,
                Modified = now,
                Changed = now,
                Subdirectories = 0,
            };
            MarkDirty(_root, NextStamp());
        }

        _root.Lookups = 1; // never taken back
        _inodes[_root.Id] = _root;
    }

    private ActiveTree(ActiveTree present, SnapshotRecord snapshot)
    {
        _store = present._store;
        _volume = present._volume;
        _blocks = present._blocks;
        _clock = present._clock;
        _options = present._options;
        _memory = present._memory;
        _ids = present._ids;
        _tables = present._tables;
        _extents = present._extents;
        _data = present._data;
        _ahead = present._ahead;
        _pace = present._pace;
        _builder = present._builder;
        _links = snapshot.Links;
        _root = new Inode(snapshot.Root) { Lookups = 1 };
        _entryCount = (long)snapshot.Root.Totals.Entries;
        _inodes[_root.Id] = _root;
        _isSnapshot = true;
    }

    public ulong RootId => _root.Id;

    public event Action<VolumeChange>? Changed;

    public bool IsForEver(ulong fileId) => _isSnapshot;

    public bool IsFleeting(ulong fileId) => false;

    /// <summary>Memory for changes that are in no block yet.</summary>
    public long DirtyBytes => _memory.Bytes + (Interlocked.Read(ref _changeCount) * ChangeBytes);

    /// <summary>Files and directories held in memory.</summary>
    public int InodeCount => _inodes.Count;

    /// <summary>Memory for blocks that were read.</summary>
    public long CachedBytes => _tables.Bytes + _extents.Bytes + _data.Bytes;

    /// <summary>The active tree of a volume, as it was last committed. The volume stays the caller's, who disposes of it afterwards.</summary>
    public static ActiveTree Open(IVolumeStore store, Volume volume, TimeProvider clock, ActiveTreeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(clock);
        var tree = new ActiveTree(store, volume, clock, options ?? new ActiveTreeOptions());
        tree.Replay();
        if (tree._options.CommitInterval > TimeSpan.Zero)
        {
            HeapWatch.Enter();
            TimeSpan tick = tree._options.CommitInterval / TicksInInterval;
            tree._cleanAt = clock.GetTimestamp();
            tree._timer = clock.CreateTimer(static state => ((ActiveTree)state!).Tick(), tree, tick, tick);
        }

        return tree;
    }

    /// <summary>A snapshot of the same volume, read through this tree's caches. It is for reading: whoever has it lets nothing change it. Disposing of it frees its locks alone.</summary>
    internal ActiveTree OpenSnapshot(SnapshotRecord snapshot) => new(this, snapshot);

    /// <summary>Commits what is left. Nobody uses the tree any more.</summary>
    /// <exception cref="IOException">The last commit failed; what it was to write and no sync made durable is lost.</exception>
    public async ValueTask DisposeAsync()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        if (_isSnapshot)
        {
            _cut.Dispose();
            _commitGate.Dispose();
            _logGate.Dispose();
            return;
        }

        if (_timer is not null)
        {
            await _timer.DisposeAsync().ConfigureAwait(false);
            HeapWatch.Leave();
        }

        await _begun.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _batchAhead.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _ahead.DisposeAsync().ConfigureAwait(false);
        try
        {
            await CommitAsync(CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            foreach (Inode inode in _inodes.Values)
            {
                inode.Data?.Clear();
            }

            _builder.Dispose();
            _cut.Dispose();
            _commitGate.Dispose();
            _logGate.Dispose();
        }
    }

    private FileTime Now()
    {
        if (_replayTime is FileTime then)
        {
            return then;
        }

        long ticks = (_clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks;
        long seconds = Math.DivRem(ticks, TimeSpan.TicksPerSecond, out long rest);
        return rest < 0 ? new FileTime(seconds - 1, (uint)((rest + TimeSpan.TicksPerSecond) * 100)) : new FileTime(seconds, (uint)(rest * 100));
    }

    private ulong NextStamp() => Interlocked.Increment(ref _stamp);

    private FileError TryInode(ulong id, out Inode inode)
    {
        if (_inodes.TryGetValue(id, out Inode? found))
        {
            inode = found;
            return FileError.None;
        }

        inode = _root;
        return FileError.ESTALE;
    }

    private FileError TryDirectory(ulong id, out Inode directory)
    {
        FileError error = TryInode(id, out directory);
        return error != FileError.None ? error : directory.IsDirectory ? FileError.None : FileError.ENOTDIR;
    }

    private static FileError CheckName(ReadOnlySpan<byte> name)
    {
        if (name.Length > EntryLimits.MaxNameBytes)
        {
            return FileError.ENAMETOOLONG;
        }

        return name.IsEmpty ? FileError.ENOENT : name.ContainsAny((byte)'/', (byte)0) ? FileError.EINVAL : FileError.None;
    }

    private static bool IsDot(ReadOnlySpan<byte> name) => name.SequenceEqual("."u8) || name.SequenceEqual(".."u8);

    /// <summary>Takes note that an inode differs from what was committed.</summary>
    /// <param name="isContent">The change's memory is that of the bytes alone, where the file had changed before.</param>
    private void MarkDirty(Inode inode, ulong stamp, bool isContent = false)
    {
        lock (_dirtyGate)
        {
            isContent &= inode.IsDirty;
            inode.Stamp = Math.Max(inode.Stamp, stamp);
            if (!inode.IsDirty)
            {
                inode.IsDirty = true;
                _dirty.Add(inode);
            }

            if (_log is not null)
            {
                _unlogged.Add(inode);
            }
        }

        if (!isContent)
        {
            Interlocked.Increment(ref _changeCount);
        }
    }

    /// <summary>Reads the block that an operation missed.</summary>
    private FileError Load(in TableMiss miss)
    {
        try
        {
            _ = _tables.Load(miss);
            return FileError.None;
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out FileError error))
        {
            return error;
        }
    }

    private void AddInodeLocked(Inode inode)
    {
        _inodes[inode.Id] = inode;
        if (inode.Parent is { } parent)
        {
            parent.Pins++;
        }
    }

    private static void MoveLocked(Inode inode, Inode? parent, byte[] name, Action<Inode> dropIfIdle)
    {
        Inode? before = inode.Parent;
        if (parent is not null)
        {
            parent.Pins++;
        }

        inode.Parent = parent;
        inode.Name = name;
        if (before is not null)
        {
            before.Pins--;
            dropIfIdle(before);
        }
    }

    /// <summary>Lets go of an inode that nobody has a use for, and of its parents likewise.</summary>
    private void DropIfIdleLocked(Inode inode)
    {
        for (Inode? at = inode; at is not null && at.Lookups == 0 && at.Opens == 0 && at.Pins == 0;)
        {
            lock (_dirtyGate)
            {
                if (at.IsDirty && at.LinkCount > 0)
                {
                    return;
                }

                // What has no name is nothing to commit.
                if (at.IsDirty)
                {
                    at.IsDirty = false;
                    _ = _dirty.Remove(at);
                }

                _ = _unlogged.Remove(at);
            }

            if (!_inodes.TryRemove(new KeyValuePair<ulong, Inode>(at.Id, at)))
            {
                return;
            }

            lock (at.Gate)
            {
                at.Data?.Clear();
            }

            Inode? parent = at.Parent;
            if (parent is not null)
            {
                parent.Pins--;
                Debug.Assert(parent.Pins >= 0, "a parent was let go too often");
            }

            at = parent;
        }
    }

    private void Notify(VolumeChangeKind kind, Inode inode, ReadOnlySpan<byte> name, int frontEnd)
    {
        if (Changed is { } listener)
        {
            listener(new VolumeChange(kind, inode.Id, name.ToArray(), frontEnd));
        }
    }
}
