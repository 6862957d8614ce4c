using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <content>Intents: what makes a sync quick. A batch of them is a cut that goes to the journal instead of into a root.</content>
/// <remarks>
/// Format: docs/format.md 8.1. Names are logged operation by operation as they happen, attributes and content by inode as they are when the batch is cut.
/// A batch may follow only while nothing else changed the volume's head or its active tree. Between the cut of a commit and its end it may where all that was cut is in batches too: those that follow
/// then stand behind the root that is being made as behind the batches before. Else what the cut holds is in no later batch, and a commit that failed must be made up for by another before there are intents again.
/// What is written here and there goes to the journal ahead of any sync, as batches that nobody waits for.
/// Locks: the log gate is held from the cut of a batch until the journal has it, and where a commit cuts and ends; it is taken after the commit gate.
/// Volumes of other domains than the realm have none: the journal is the realm's, and what is to burn may not lie in it.
/// </remarks>
public sealed partial class ActiveTree
{
    // Guarded by _names; null where the store keeps no intents.
    private IntentLog? _log;

    private readonly SemaphoreSlim _logGate = new(1, 1);

    // Guarded by the log gate.
    private Core.Head? _cutHead; // of the volume, at the cut of a commit that is under way and has all it cut in intents
    private bool _isCut; // a commit is under way
    private long _loggedAtCut;
    private ulong _intentSequence;
    private ulong _loggedStamp;
    private bool _mustCommit;
    private bool _hasAhead; // the last batch was not waited for
    private long _intentBytes;

    private long _scatteredBytes; // written here and there since the last batch, or the last cut
    private int _isAheadBegun;
    private volatile Task _batchAhead = Task.CompletedTask;

    /// <summary>Batches of intents that were made durable.</summary>
    public long LoggedCount { get; private set; }

    /// <summary>Takes the intents into the roots of their volumes: what was synced before a crash and not committed. For a store that was just opened for writing.</summary>
    public static async ValueTask TakeInIntentsAsync(IVolumeStore store, TimeProvider clock, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(store);
        Head[] heads = store.Journal is { } journal ? [.. store.Heads.Where(head => journal.Intents(head.Volume).Count > 0).DistinctBy(static head => head.VolumeName)] : [];
        foreach (Head head in heads)
        {
            using Volume? volume = await Volume.TryOpenAsync(store, head.VolumeName, cancel).ConfigureAwait(false);
            if (volume is not null)
            {
                var tree = Open(store, volume, clock, new ActiveTreeOptions { CommitInterval = TimeSpan.Zero });
                await tree.DisposeAsync().ConfigureAwait(false);
            }
        }

        if (heads.Length > 0)
        {
            // The journal forgets them now: a run that ends before its next flush would leave them to the one after, and so on, each with its own beside them.
            await store.OpenBlocks(store.Realm, survive: null).FlushAsync(cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Makes a batch of what changed since the last one durable. False: a commit must do it.</summary>
    /// <param name="isAhead">Nobody waits for it yet.</param>
    private async ValueTask<bool> TryLogAsync(bool isAhead = false)
    {
        if (_store.Journal is not { } journal || !MayLog() || CutLog(isAhead) is not { } parts)
        {
            return false;
        }

        if (parts.Count == 0)
        {
            // All of it is in an earlier batch, which may have been written ahead.
            if (_hasAhead && !isAhead)
            {
                await journal.AppendAsync([], namesBlocks: false, CancellationToken.None).ConfigureAwait(false);
                _hasAhead = false;
            }

            return true;
        }

        await AppendBatchAsync(journal, parts, isAhead).ConfigureAwait(false);
        LoggedCount++;
        return true;
    }

    private async ValueTask AppendBatchAsync(IJournal journal, List<ReadOnlyMemory<byte>> parts, bool isAhead)
    {
        if (parts.Count == 0)
        {
            return;
        }

        _mustCommit = true; // unless the journal has the batch
        _intentSequence++;
        var batch = new Intent[parts.Count];
        for (int at = 0; at < batch.Length; at++)
        {
            batch[at] = new Intent(_volume.Root.Id, _store.Device, _store.Incarnation, _intentSequence, (uint)at, at == batch.Length - 1, parts[at]);
        }

        if (isAhead)
        {
            await journal.AppendAheadAsync(batch, CancellationToken.None).ConfigureAwait(false);
        }
        else
        {
            await journal.AppendAsync(batch, _log!.NamesBlocks, CancellationToken.None).ConfigureAwait(false);
        }

        _hasAhead = isAhead;
        _mustCommit = false;
        Interlocked.Add(ref _intentBytes, batch.Sum(static intent => (long)intent.Body.Length));
    }

    /// <summary>Writes a batch beside the operations, for a sync to come. Not while a commit is under way, and not where the store has little room: it would take the room twice.</summary>
    private void BeginAhead()
    {
        const int NeededTimes = 16;
        if (_log is null || Interlocked.Exchange(ref _isAheadBegun, 1) != 0)
        {
            return;
        }

        _batchAhead = Task.Run(async () =>
        {
            if (!await _logGate.WaitAsync(0).ConfigureAwait(false))
            {
                Interlocked.Exchange(ref _scatteredBytes, _options.AheadBytes / 2); // and not at every write until then
                Volatile.Write(ref _isAheadBegun, 0);
                return;
            }

            try
            {
                if (_options.Space is not { } space || space().FreeBytes >= NeededTimes * _options.DirtyBytes)
                {
                    _ = await TryLogAsync(isAhead: true).ConfigureAwait(false);
                }

                Interlocked.Exchange(ref _scatteredBytes, 0);
            }
            catch (Exception failure) when (Trouble.TryTell(failure, out _))
            {
                // The commit that must follow tells it.
            }
            finally
            {
                _logGate.Release();
                Volatile.Write(ref _isAheadBegun, 0);
            }
        });
    }

    /// <summary>Returns when no batch is being written ahead: for tests.</summary>
    internal Task AheadAsync() => _batchAhead;

    /// <summary>Returns when nothing of what the clock or a bound asked for is under way: for tests.</summary>
    internal async Task BegunAsync() => await _begun.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    private bool MayLog() => !_mayLogNothing && (
        _isCut ? !_mustCommit && _cutHead is { } atCut && _store.Heads.Any(current => current.Volume == atCut.Volume && current.Root == atCut.Root) :
        _log is not null && !_mustCommit && !_volume.IsForked && _volume.Domain == _store.Realm
        && _volume.Head is { } head && head.Device == _store.Device && head.Incarnation == _store.Incarnation && _store.Heads.Any(current => current.Volume == head.Volume && current.Root == head.Root)
        && _volume.Root.Active is { } active && active.Children.Equals(_root.Children));

    /// <summary>The cut of a batch, between two operations. Null: so much was written that a commit is the shorter way.</summary>
    /// <param name="isAhead">Nor if it names a block, which would have to be durable before.</param>
    private List<ReadOnlyMemory<byte>>? CutLog(bool isAhead)
    {
        _cut.EnterWriteLock();
        try
        {
            lock (_names)
            {
                return CutLogLocked(isAhead, isAhead ? _options.DirtyBytes : _options.LoggedBytes);
            }
        }
        finally
        {
            _cut.ExitWriteLock();
        }
    }

    private List<ReadOnlyMemory<byte>>? CutLogLocked(bool isAhead, long most)
    {
        Inode[] changed;
        lock (_dirtyGate)
        {
            changed = [.. _unlogged.Where(static inode => inode.LinkCount > 0)];
        }

        long bytes = _log!.Bytes;
        foreach (Inode inode in changed)
        {
            lock (inode.Gate)
            {
                bytes += inode.Data?.UnloggedBytes ?? 0;
                if (isAhead && inode.Data is { HasUnloggedBlocks: true })
                {
                    return null;
                }
            }
        }

        if (bytes > most)
        {
            return null;
        }

        foreach (Inode inode in changed)
        {
            lock (inode.Gate)
            {
                LogLocked(_log, inode);
            }
        }

        lock (_dirtyGate)
        {
            _unlogged.Clear();
        }

        _loggedStamp = Interlocked.Read(ref _stamp);
        Interlocked.Exchange(ref _scatteredBytes, 0);
        return _log.Take();
    }

    private void LogLocked(IntentLog log, Inode inode)
    {
        log.Attributes(inode);
        if (inode.XattrsStamp > _loggedStamp && inode.Xattrs is { } xattrs)
        {
            log.Xattrs(inode, xattrs);
        }

        if (inode.Data is { } overlay)
        {
            _ = RuleLocked(inode);
            FilePiece[] pieces = overlay.Unlogged(out long visible);
            log.Content(inode, visible, pieces);
            overlay.MarkLogged();
        }
    }
}
