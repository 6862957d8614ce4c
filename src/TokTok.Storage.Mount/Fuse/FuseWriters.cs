namespace TokTok.Storage.Mount.Fuse;

/// <summary>Files that programs may change through the mount, so that the kernel is given no bytes of them unasked, which might undo what was just written.</summary>
/// <remarks>
/// The kernel puts bytes that it is given (FUSE_NOTIFY_STORE) over what it has in its cache, written pages too. So nobody may be able to write, from when the bytes are read in the volume until the kernel has them:
/// a file with a handle that writes is given no bytes of, and what makes a file writable, or cuts it, while it is being given some is answered afterwards. The answer waits, not the worker: the kernel may
/// wait meanwhile for a read of the same page that a worker has yet to answer.
/// Locks: the object itself; it calls nobody while it is held.
/// </remarks>
internal sealed class FuseWriters
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, int> _handles = [];
    private readonly List<(FuseWorker Worker, byte[] Reply)> _held = [];
    private ulong _given; // 0: none

    /// <summary>A handle that writes was opened; its reply goes through <see cref="TryHold"/>.</summary>
    internal void Opened(ulong node)
    {
        lock (_gate)
        {
            _handles[node] = _handles.GetValueOrDefault(node) + 1;
        }
    }

    internal void Closed(ulong node)
    {
        lock (_gate)
        {
            int left = _handles.GetValueOrDefault(node) - 1;
            if (left > 0)
            {
                _handles[node] = left;
            }
            else
            {
                _ = _handles.Remove(node);
            }
        }
    }

    /// <summary>Begins to give the kernel bytes of a file, one at a time. False: somebody may write to it. Else <see cref="End"/> has to follow.</summary>
    internal bool TryBegin(ulong node)
    {
        lock (_gate)
        {
            if (_handles.ContainsKey(node))
            {
                return false;
            }

            _given = node;
            return true;
        }
    }

    /// <summary>The kernel has the bytes: sends the replies that waited for it.</summary>
    internal void End()
    {
        (FuseWorker Worker, byte[] Reply)[] held;
        lock (_gate)
        {
            _given = 0;
            held = [.. _held];
            _held.Clear();
        }

        foreach ((FuseWorker worker, byte[] reply) in held)
        {
            worker.Send(reply);
        }
    }

    /// <summary>Keeps a reply back until the kernel has the bytes of this file. False: it is being given none, and the caller sends the reply.</summary>
    internal bool TryHold(ulong node, FuseWorker worker, ReadOnlySpan<byte> reply)
    {
        lock (_gate)
        {
            if (_given != node)
            {
                return false;
            }

            _held.Add((worker, reply.ToArray()));
            return true;
        }
    }
}
