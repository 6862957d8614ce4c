using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <content>Intents: what makes a sync quick. A batch of them is a cut that goes to the journal instead of into a root.</content>
/// <remarks>
/// Format: docs/format.md 8.1. Names are logged operation by operation as they happen, attributes and content by inode as they are when the batch is cut.
/// A batch may follow only while nothing else changed the volume's head or its active tree, and never between the cut of a commit and its end: what the cut holds is in no
/// later batch. A commit that failed must be made up for by another before there are intents again.
/// Volumes of other domains than the realm have none: the journal is the realm's, and what is to burn may not lie in it.
/// </remarks>
public sealed partial class ActiveTree
{
    // Guarded by _names; null where the store keeps no intents.
    private IntentLog? _log;

    // Guarded by the commit gate.
    private ulong _intentSequence;
    private ulong _loggedStamp;
    private bool _mustCommit;
    private long _intentBytes;

    /// <summary>Batches of intents that were made durable.</summary>
    public long LoggedCount { get; private set; }

    /// <summary>Takes the intents into the roots of their volumes: what was synced before a crash and not committed. For a store that was just opened for writing.</summary>
    public static async ValueTask TakeInIntentsAsync(IVolumeStore store, TimeProvider clock, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(store);
        foreach (Head head in store.Journal is { } journal ? store.Heads.Where(head => journal.Intents(head.Volume).Count > 0).DistinctBy(static head => head.VolumeName).ToArray() : [])
        {
            using Volume? volume = await Volume.TryOpenAsync(store, head.VolumeName, cancel).ConfigureAwait(false);
            if (volume is not null)
            {
                var tree = Open(store, volume, clock, new ActiveTreeOptions { CommitInterval = TimeSpan.Zero });
                await tree.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>Makes a batch of what changed since the last one durable. False: a commit must do it.</summary>
    private async ValueTask<bool> TryLogAsync()
    {
        if (_store.Journal is not { } journal || !MayLog() || CutLog() is not { } parts)
        {
            return false;
        }

        if (parts.Count == 0)
        {
            return true; // all of it is in an earlier batch
        }

        _mustCommit = true; // unless the batch is known to be durable
        _intentSequence++;
        var batch = new Intent[parts.Count];
        for (int at = 0; at < batch.Length; at++)
        {
            batch[at] = new Intent(_volume.Root.Id, _store.Device, _store.Incarnation, _intentSequence, (uint)at, at == batch.Length - 1, parts[at]);
        }

        await journal.AppendAsync(batch, CancellationToken.None).ConfigureAwait(false);
        _mustCommit = false;
        LoggedCount++;
        Interlocked.Add(ref _intentBytes, batch.Sum(static intent => (long)intent.Body.Length));
        return true;
    }

    private bool MayLog() =>
        _log is not null && !_mustCommit && !_volume.IsForked && _volume.Domain == _store.Realm
        && _volume.Head is { } head && head.Device == _store.Device && head.Incarnation == _store.Incarnation && _store.Heads.Any(current => current.Volume == head.Volume && current.Root == head.Root)
        && _volume.Root.Active is { } active && active.Children.Equals(_root.Children);

    /// <summary>The cut of a batch, between two operations. Null: so much was written that a commit is the shorter way.</summary>
    private List<byte[]>? CutLog()
    {
        _cut.EnterWriteLock();
        try
        {
            lock (_names)
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
                    }
                }

                if (bytes > _options.LoggedBytes)
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
                return _log.Take();
            }
        }
        finally
        {
            _cut.ExitWriteLock();
        }
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
