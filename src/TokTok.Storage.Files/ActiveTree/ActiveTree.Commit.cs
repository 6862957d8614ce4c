namespace TokTok.Storage.Files;

/// <content>Commits, and what waits for them.</content>
public sealed partial class ActiveTree
{
    /// <summary>What a change takes in memory beside written bytes, about: an inode, a name, a piece.</summary>
    private const int ChangeBytes = 512;

    /// <summary>A commit of so much written memory is large.</summary>
    private const long CollectedBytes = 16L << 20;

    /// <summary>A moment is quiet when nothing changed for this part of the commit interval.</summary>
    private const int TicksInInterval = 10;

    private static readonly TimeSpan s_retryInterval = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _commitGate = new(1, 1);

    // Guarded by the commit gate.
    private Exception? _lastFailure;

    private long _committedTicket; // changed under the commit gate
    private long _loggedTicket; // guarded by the log gate

    private long _ticket;
    private long _spilledBytes;
    private long _sharedBytes; // written memory that copies show as well, since the last cut
    private int _isBegun;
    private volatile string? _toldFailure; // why commits in the background fail at present
    private long _failedAt;

    // The timer's own.
    private ulong _seenStamp;
    private long _seenCommits;
    private long _cleanAt; // when nothing was to be committed, or a commit had just been made
    private long _durableAt; // when nothing was to be made durable, or the clock last saw to it
    private volatile Task _begun = Task.CompletedTask;

    /// <summary>Commits that made a new root.</summary>
    public long CommitCount { get; private set; }

    public FileError Sync(ulong handle) => _handles.TryGet(handle, out _) ? MakeDurable() : FileError.EBADF;

    public FileError SyncDirectory(ulong directoryId)
    {
        FileError error = TryDirectory(directoryId, out _);
        return error == FileError.None ? MakeDurable() : error;
    }

    public FileError SyncAll() => MakeDurable();

    /// <summary>Makes everything done before the call durable, in a new root of the volume. Many that wait share one commit.</summary>
    public ValueTask CommitAsync(CancellationToken cancel) => MakeDurableAsync(mayLog: false, standsBack: false, cancel);

    /// <summary>Keeps the tree as it is now as a snapshot: a cut between two operations, none earlier than the call. Durable when it returns.</summary>
    /// <param name="onlyIfChanged">Makes none where the newest snapshot is this tree.</param>
    /// <returns>Null: nothing has changed.</returns>
    public async ValueTask<SnapshotRecord?> SnapshotAsync(SnapshotTexts texts, Core.IRandomSource random, CancellationToken cancel, bool onlyIfChanged = false)
    {
        await CommitAsync(cancel).ConfigureAwait(false);
        return await _volume.SnapshotAsync(texts, random, _clock, cancel, onlyIfChanged).ConfigureAwait(false);
    }

    /// <summary>Makes everything done before the call durable: by intents where that is quicker, else by a commit. Many that wait share one.</summary>
    /// <param name="mayLog">Intents will do.</param>
    /// <param name="standsBack">Nobody waits for it.</param>
    private async ValueTask MakeDurableAsync(bool mayLog, bool standsBack, CancellationToken cancel)
    {
        long ticket = Interlocked.Increment(ref _ticket);
        if (mayLog && await LogGatedAsync(ticket, cancel).ConfigureAwait(false))
        {
            return;
        }

        await AwaitGateAsync(standsBack, cancel).ConfigureAwait(false);
        try
        {
            if (_committedTicket >= ticket)
            {
                if (_lastFailure is { } failure)
                {
                    System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
                }

                return;
            }

            // Beside a commit there was perhaps no batch to be had; now there is.
            if (mayLog && await LogGatedAsync(ticket, cancel).ConfigureAwait(false))
            {
                return;
            }

            long covered = Interlocked.Read(ref _ticket);
            _lastFailure = null;
            try
            {
                _pace.Begin(standsBack);
                if (await CommitCutAsync(CancellationToken.None).ConfigureAwait(false) >= CollectedBytes)
                {
                    // What a large commit leaves behind lies in the oldest generation and among the large arrays, where the collector would leave it. Here nothing holds the cut any more.
                    HeapWatch.Collect();
                }
            }
            catch (Exception failure)
            {
                _lastFailure = failure;
                throw;
            }
            finally
            {
                Interlocked.Exchange(ref _committedTicket, covered);
            }
        }
        finally
        {
            _commitGate.Release();
        }
    }

    /// <summary>A commit that is under way does not stand back for anybody while somebody waits here.</summary>
    private async ValueTask AwaitGateAsync(bool standsBack, CancellationToken cancel)
    {
        if (standsBack)
        {
            await _commitGate.WaitAsync(cancel).ConfigureAwait(false);
            return;
        }

        _pace.Wait();
        try
        {
            await _commitGate.WaitAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            _pace.EndWait();
        }
    }

    /// <summary>Makes a batch, or finds that one which was made meanwhile has it all. False: a commit must do it.</summary>
    private async ValueTask<bool> LogGatedAsync(long ticket, CancellationToken cancel)
    {
        await _logGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_loggedTicket >= ticket)
            {
                return true;
            }

            long covered = Interlocked.Read(ref _ticket);
            if (!await TryLogAsync().ConfigureAwait(false))
            {
                return false;
            }

            _loggedTicket = covered;
            return true;
        }
        finally
        {
            _logGate.Release();
        }
    }

    private FileError Commit() => MakeDurable(mayLog: false);

    private FileError MakeDurable(bool mayLog = true)
    {
        _pace.Used();
        try
        {
            MakeDurableAsync(mayLog, standsBack: false, CancellationToken.None).Wait();
            return FileError.None;
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out FileError error))
        {
            return error;
        }
    }

    /// <summary>What the clock asks for. A commit takes processors and the disk from whoever is at work, and makes blocks of what will change again; so it waits for a quiet moment, and what nobody synced becomes durable by intents.</summary>
    /// <remarks>The timer's callbacks alone come here, which do not overlap by more than chance; what they share at worst brings a commit early.</remarks>
    private void Tick()
    {
        ulong stamp = Volatile.Read(ref _stamp);
        bool isQuiet = stamp == _seenStamp;
        _seenStamp = stamp;
        bool isIdle;
        lock (_dirtyGate)
        {
            isIdle = _dirty.Count == 0;
        }

        // A commit that was not the clock's counts as well.
        if (isIdle || CommitCount != _seenCommits)
        {
            _seenCommits = CommitCount;
            _cleanAt = _durableAt = _clock.GetTimestamp();
        }

        if (isIdle)
        {
            if (_memory.Trim() >= CollectedBytes)
            {
                HeapWatch.GiveBack();
            }

            return;
        }

        // Timers come a little early and late: half a tick is neither.
        TimeSpan interval = _options.CommitInterval - (_options.CommitInterval / (2 * TicksInInterval));
        bool isMuch = DirtyBytes >= _options.DirtyBytes / 4; // better done now than when somebody is at work again
        if (isQuiet ? isMuch || _clock.GetElapsedTime(_cleanAt) >= interval : _clock.GetElapsedTime(_cleanAt) >= _options.LongestInterval)
        {
            BeginCommit();
        }
        else if (_clock.GetElapsedTime(_durableAt) >= interval)
        {
            _durableAt = _clock.GetTimestamp();
            BeginCommit(mayLog: true);
        }
    }

    /// <summary>Commits beside the operations, once at a time.</summary>
    /// <param name="mayLog">Intents will do, where they are quicker.</param>
    private void BeginCommit(bool mayLog = false)
    {
        if (Interlocked.Exchange(ref _isBegun, 1) == 0)
        {
            _begun = Task.Run(async () =>
            {
                try
                {
                    await MakeDurableAsync(mayLog, standsBack: true, CancellationToken.None).ConfigureAwait(false);
                    if (mayLog)
                    {
                        await _blocks.FlushAsync(CancellationToken.None).ConfigureAwait(false); // a batch is durable in the state folder first: so it is at the holders as well
                    }

                    _toldFailure = null;
                }
                catch (Exception failure) when (Trouble.TryTell(failure, out _))
                {
                    Interlocked.Exchange(ref _failedAt, _clock.GetTimestamp());
                    if (_toldFailure != failure.Message)
                    {
                        _toldFailure = failure.Message;
                        _options.CommitFailed?.Invoke(failure);
                    }
                }
                finally
                {
                    Volatile.Write(ref _isBegun, 0);
                }
            });
        }
    }

    /// <summary>Begins a commit where enough has gathered. Called behind every change, with no lock held.</summary>
    private void AfterChange()
    {
        _pace.Used();
        if (Volatile.Read(ref _isBegun) == 0 && (_toldFailure is null || _clock.GetElapsedTime(Interlocked.Read(ref _failedAt)) >= s_retryInterval) && (DirtyBytes >= _options.DirtyBytes / 8 * 7 || Interlocked.Read(ref _spilledBytes) >= _options.CommitBytes || Interlocked.Read(ref _intentBytes) >= _options.IntentBytes))
        {
            BeginCommit();
        }
        else if (Interlocked.Read(ref _scatteredBytes) >= _options.AheadBytes && Volatile.Read(ref _isAheadBegun) == 0)
        {
            BeginAhead();
        }
    }

    /// <summary>Waits for a commit while memory for changes is used up: the back-pressure on whoever writes.</summary>
    private FileError AwaitRoom()
    {
        const int Attempts = 4;
        for (int attempt = 0; attempt < Attempts && DirtyBytes >= _options.DirtyBytes; attempt++)
        {
            FileError error = Commit();
            if (error != FileError.None)
            {
                return error;
            }

            if (DirtyBytes >= _options.DirtyBytes)
            {
                // What has no name is in no commit.
                foreach (Inode inode in _inodes.Values)
                {
                    error = inode.LinkCount == 0 ? Spill(inode, all: true) : FileError.None;
                    if (error != FileError.None)
                    {
                        return error;
                    }
                }
            }
        }

        return FileError.None;
    }

    // A crash before the volume's edit is durable leaves the root before, and blocks that nothing names.
    /// <returns>How much written memory it has taken.</returns>
    private async ValueTask<long> CommitCutAsync(CancellationToken cancel)
    {
        if (await CutOffAsync(cancel).ConfigureAwait(false) is not var (cut, sequence, intentBytes))
        {
            return 0;
        }

        bool isDone = false;
        try
        {
            TableRoot links = cut.Links;
            List<Entry> regrown = [];
            await _volume.EditAsync(
                async root =>
                {
                    cut.Settle(_blocks.Survive, _volume.Survive);
                    var writer = new TreeWriter(_volume, cut, _tables, _extents, _data, _builder, _people, _pace);
                    (Entry active, links) = await writer.WriteAsync(cancel).ConfigureAwait(false); // 1. every block
                    regrown = writer.Regrown;
                    return _ids.Apply(root with { Active = active, Links = links, IntentSequence = sequence }); // 2. the root
                },
                cancel,
                cut.Inodes.Max(static frozen => frozen.Shell.Survive ?? 0)).ConfigureAwait(false);
            await _logGate.WaitAsync(CancellationToken.None).ConfigureAwait(false);
            try
            {
                Settle(cut, links, regrown);
                isDone = true;
                EndCutLocked(isDone);
                _store.Journal?.Forget(_volume.Root.Id, _volume.Root.Device, _volume.Root.Incarnation, sequence);
                Interlocked.Add(ref _intentBytes, -intentBytes);
                CommitCount++;
            }
            finally
            {
                _logGate.Release();
            }
        }
        finally
        {
            if (!isDone)
            {
                await _logGate.WaitAsync(CancellationToken.None).ConfigureAwait(false);
                EndCutLocked(isDone);
                _logGate.Release();
            }

            cut.Thaw();
        }

        return cut.MemoryBytes;
    }

    /// <summary>The cut, and what intents it includes. Null: nothing has changed.</summary>
    private async ValueTask<(TreeCut Cut, ulong Sequence, long IntentBytes)?> CutOffAsync(CancellationToken cancel)
    {
        await _logGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            bool wantsLog = LoggedCount > _loggedAtCut && MayLog();
            if (Freeze(wantsLog, out List<ReadOnlyMemory<byte>>? parts) is not { } cut)
            {
                return null;
            }

            try
            {
                if (parts is not null)
                {
                    await AppendBatchAsync(_store.Journal!, parts, isAhead: true).ConfigureAwait(false);
                    _cutHead = _volume.Head; // batches go on behind it
                }
            }
            catch
            {
                cut.Thaw();
                throw;
            }

            _isCut = true;
            _mustCommit = false; // all that was in no intent is in the cut
            _loggedAtCut = LoggedCount;
            return (cut, _intentSequence, Interlocked.Read(ref _intentBytes));
        }
        finally
        {
            _logGate.Release();
        }
    }

    private void EndCutLocked(bool isDone)
    {
        _mustCommit |= !isDone && _cutHead is null; // what the cut took out of the log is in no intent
        _cutHead = null;
        _isCut = false;
    }

    /// <summary>The cut: between two operations, however many threads are at work. Null: nothing has changed.</summary>
    /// <param name="wantsLog">Whether all of it is to be in intents as well, so that batches may follow while the commit is under way.</param>
    /// <param name="parts">A batch that is to be appended before any other; null: there is none, and no batch may follow.</param>
    private TreeCut? Freeze(bool wantsLog, out List<ReadOnlyMemory<byte>>? parts)
    {
        parts = null;
        _cut.EnterWriteLock();
        try
        {
            lock (_names)
            {
                Inode[] dirty;
                lock (_dirtyGate)
                {
                    foreach (Inode nameless in _dirty.Where(static inode => inode.LinkCount == 0).ToArray())
                    {
                        nameless.IsDirty = false;
                        _ = _dirty.Remove(nameless);
                    }

                    dirty = [.. _dirty];
                }

                parts = wantsLog ? CutLogLocked(isAhead: true, _options.LoggedBytes) : null;
                _log?.Reset();
                lock (_dirtyGate)
                {
                    _unlogged.Clear();
                }

                Interlocked.Exchange(ref _changeCount, 0);
                Interlocked.Exchange(ref _spilledBytes, 0);
                Interlocked.Exchange(ref _sharedBytes, 0);
                Interlocked.Exchange(ref _scatteredBytes, 0);
                if (dirty.Length == 0)
                {
                    return null;
                }

                var cut = new TreeCut(Interlocked.Read(ref _stamp), _links) { GoneLinks = [.. _goneLinks.Keys] };
                foreach (Inode inode in dirty)
                {
                    lock (inode.Gate)
                    {
                        _ = RuleLocked(inode);
                    }

                    _ = cut.Take(inode);
                }

                _ = cut.Take(_root);
                return cut;
            }
        }
        finally
        {
            _cut.ExitWriteLock();
        }
    }

    /// <summary>What the cut holds is committed: what has not changed since shows from there.</summary>
    private void Settle(TreeCut cut, TableRoot links, List<Entry> regrown)
    {
        lock (_names)
        {
            _links = links;
            foreach (Entry directory in regrown)
            {
                if (_inodes.TryGetValue(directory.FileId, out Inode? inode))
                {
                    inode.Children = directory.Children;
                    inode.Totals = directory.Totals;
                }
            }

            foreach (ulong gone in cut.GoneLinks)
            {
                if (_goneLinks.TryGetValue(gone, out ulong stamp) && stamp <= cut.Stamp)
                {
                    _ = _goneLinks.Remove(gone);
                }
            }

            foreach (FrozenInode frozen in cut.Inodes)
            {
                Inode inode = frozen.Inode;
                Entry written = frozen.Written!;
                inode.Children = written.Children;
                inode.Totals = written.Totals;
                inode.Names?.Settle(frozen.ChangedNames, cut.Stamp);
                if (inode.Names is { Count: 0 })
                {
                    inode.Names = null;
                }

                lock (inode.Gate)
                {
                    SettleLocked(frozen, written, cut.Stamp);
                }

                lock (_dirtyGate)
                {
                    if (inode.IsDirty && inode.Stamp <= cut.Stamp)
                    {
                        inode.IsDirty = false;
                        _ = _dirty.Remove(inode);
                    }
                }
            }

            foreach (FrozenInode frozen in cut.Inodes)
            {
                DropIfIdleLocked(frozen.Inode);
            }
        }
    }

    private static void SettleLocked(FrozenInode frozen, Entry written, ulong stamp)
    {
        Inode inode = frozen.Inode;
        inode.Attributes = written.Attributes;
        if (inode.XattrsStamp > 0 && inode.XattrsStamp <= stamp)
        {
            inode.XattrsStamp = 0;
        }

        inode.OwnerName ??= written.OwnerId == inode.OwnerId ? written.OwnerName : null;
        inode.GroupName ??= written.GroupId == inode.GroupId ? written.GroupName : null;
        inode.Content = written.Content;
        if (frozen.Pieces is not { } pieces || inode.Data is not { } overlay)
        {
            return;
        }

        overlay.Settle(pieces, frozen.Size);
        if (overlay.IsEmpty && inode.Size == inode.Content.Size && overlay.BaseVisible == inode.Size)
        {
            inode.Data = null;
        }
    }

    /// <summary>How many lost places a file's blocks are to outlive: what the nearest directory above says.</summary>
    private int SurviveLocked(Inode inode)
    {
        if (inode.IsLinked || inode.LinkCount == 0)
        {
            return Math.Max(_volume.Survive, _blocks.Survive);
        }

        for (Inode? at = inode; at is not null; at = at.Parent)
        {
            if (at.Survive is int survive)
            {
                return survive;
            }
        }

        return _blocks.Survive;
    }
}
