using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>The fragment files of a folder that were read last, kept open with their records parsed: a block read then costs one call of the system.</summary>
/// <remarks>
/// Bound: <paramref name="capacity"/> files beyond those in use at the moment; the least recently used goes first.
/// Invariant: what is kept was opened after the last <see cref="Drop"/> of its arena. Whoever replaces, moves or mends a file drops it; so does whoever looks at the file
/// anew, since a process beside this one may have replaced it: a suspicion of damage is always judged by the file that has the name now.
/// A file that is dropped while it is read closes when the last reader lets go; it still has the bytes that it had.
/// Locks: _gate guards the fields and every entry's user count; nothing is opened, read or closed inside. Safe from many threads.
/// </remarks>
internal sealed class OpenFragments(int capacity) : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ArenaId, LinkedListNode<OpenFragment>> _kept = [];
    private readonly LinkedList<OpenFragment> _recency = new();
    private long _dropCount;
    private bool _isDisposed;

    internal int KeptCount
    {
        get
        {
            lock (_gate)
            {
                return _kept.Count;
            }
        }
    }

    /// <summary>The open file of an arena, to be returned; or null, and the ticket that <see cref="Keep"/> wants of a file opened from now on.</summary>
    internal OpenFragment? Rent(ArenaId id, out long ticket)
    {
        lock (_gate)
        {
            ticket = _dropCount;
            if (!_kept.TryGetValue(id, out LinkedListNode<OpenFragment>? node))
            {
                return null;
            }

            _recency.Remove(node);
            _recency.AddFirst(node);
            node.Value.Users++;
            return node.Value;
        }
    }

    /// <summary>Takes over a file just opened and rents it out. It is kept only if nothing was dropped since the ticket: it may be what was replaced.</summary>
    internal OpenFragment Keep(ArenaId id, IDiskFile file, FragmentFile record, long ticket)
    {
        var opened = new OpenFragment(id, file, record) { Users = 1 };
        OpenFragment? evicted = null;
        lock (_gate)
        {
            if (ticket == _dropCount && !_isDisposed && !_kept.ContainsKey(id))
            {
                opened.Users++;
                _kept[id] = _recency.AddFirst(opened);
                if (_kept.Count > capacity)
                {
                    evicted = ForgetLocked(_recency.Last!);
                }
            }
        }

        evicted?.File.Dispose();
        return opened;
    }

    internal void Return(OpenFragment opened)
    {
        bool isLast;
        lock (_gate)
        {
            isLast = --opened.Users == 0;
        }

        if (isLast)
        {
            opened.File.Dispose();
        }
    }

    /// <summary>From now on the arena's file is opened anew.</summary>
    internal void Drop(ArenaId id)
    {
        OpenFragment? unused = null;
        lock (_gate)
        {
            _dropCount++;
            if (_kept.TryGetValue(id, out LinkedListNode<OpenFragment>? node))
            {
                unused = ForgetLocked(node);
            }
        }

        unused?.File.Dispose();
    }

    public void Dispose()
    {
        var unused = new List<OpenFragment>();
        lock (_gate)
        {
            _isDisposed = true;
            while (_recency.Last is { } node)
            {
                if (ForgetLocked(node) is { } opened)
                {
                    unused.Add(opened);
                }
            }
        }

        unused.ForEach(static opened => opened.File.Dispose());
    }

    /// <summary>Takes an entry out; returns it when nobody reads it, so that it can be closed.</summary>
    private OpenFragment? ForgetLocked(LinkedListNode<OpenFragment> node)
    {
        _recency.Remove(node);
        _ = _kept.Remove(node.Value.Id);
        return --node.Value.Users == 0 ? node.Value : null;
    }
}

/// <summary>An open fragment file and what its record says.</summary>
internal sealed class OpenFragment(ArenaId id, IDiskFile file, FragmentFile record)
{
    internal ArenaId Id { get; } = id;

    internal IDiskFile File { get; } = file;

    internal FragmentFile Record { get; } = record;

    /// <summary>Readers, and one more while it is kept. Guarded by the gate of <see cref="OpenFragments"/>.</summary>
    internal int Users { get; set; }
}
