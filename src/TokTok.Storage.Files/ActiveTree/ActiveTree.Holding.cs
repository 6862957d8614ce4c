using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <content>Standing still for who frees space.</content>
public sealed partial class ActiveTree
{
    private readonly Lock _spillGate = new();
    private int _spilling;
    private bool _isHeld;
    private volatile bool _mayLogNothing;
    private TaskCompletionSource? _spilled;

    /// <summary>Commits, and then lets nothing reach the store until the result is disposed of: whoever frees space knows everything that is wanted by the volume's root and <see cref="MarkHeldAsync"/>.</summary>
    /// <remarks>Operations go on in memory meanwhile; syncs wait, and so do writers once memory for changes is used up. Only one holds at a time.</remarks>
    public async ValueTask<IDisposable> HoldAsync(CancellationToken cancel)
    {
        await _commitGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await StopSpillingAsync().ConfigureAwait(false);
            await _logGate.WaitAsync(cancel).ConfigureAwait(false);
            _mayLogNothing = true; // from here on syncs wait for the commit gate
            _ = _logGate.Release();
            await CommitCutAsync(CancellationToken.None).ConfigureAwait(false);
            return new Held(this);
        }
        catch
        {
            LetGoOn();
            throw;
        }
    }

    /// <summary>Marks what is in no root and still read: files that are open and have no name any more.</summary>
    public async ValueTask MarkHeldAsync(IBlockMarker marker, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(marker);
        foreach (Inode inode in _inodes.Values.Where(static inode => inode.LinkCount == 0 && inode.Type == EntryType.File).ToArray())
        {
            Entry entry;
            List<Score> stored = [];
            lock (inode.Gate)
            {
                entry = new Entry { Type = EntryType.File, FileId = inode.Id, Content = inode.Content, Attributes = inode.Attributes };
                if (inode.Data is { } overlay)
                {
                    for (int at = 0; at < overlay.PieceCount; at++)
                    {
                        if (overlay.Pieces[at].Source is StoredBlock block)
                        {
                            stored.Add(block.Score);
                        }
                    }
                }
            }

            foreach (Score score in stored)
            {
                _ = marker.Mark(score, BlockType.Data);
            }

            await TreeWalker.MarkEntryAsync(entry, _blocks, marker, null, cancel).ConfigureAwait(false);
        }
    }

    private bool TryBeginSpill()
    {
        lock (_spillGate)
        {
            _spilling += _isHeld ? 0 : 1;
            return !_isHeld;
        }
    }

    private void EndSpill()
    {
        lock (_spillGate)
        {
            if (--_spilling == 0)
            {
                _spilled?.TrySetResult();
            }
        }
    }

    private Task StopSpillingAsync()
    {
        lock (_spillGate)
        {
            _isHeld = true;
            _spilled = _spilling > 0 ? new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously) : null;
            return _spilled?.Task ?? Task.CompletedTask;
        }
    }

    private void LetGoOn()
    {
        lock (_spillGate)
        {
            _isHeld = false;
        }

        _mayLogNothing = false;

        _commitGate.Release();
    }

    private sealed class Held(ActiveTree tree) : IDisposable
    {
        private ActiveTree? _tree = tree;

        public void Dispose() => Interlocked.Exchange(ref _tree, null)?.LetGoOn();
    }
}
