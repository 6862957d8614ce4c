using TokTok.Storage.Blocks.Cache;

namespace HitRate;

/// <summary>A cache of equal things, as the table sees it.</summary>
internal interface IRival
{
    string Name { get; }

    /// <summary>One use; true: it was kept.</summary>
    bool Use(ulong key);
}

internal sealed class Ours(int room) : IRival
{
    private readonly HitOrder _order = new(room);

    public string Name => "tdfs";

    public bool Use(ulong key)
    {
        bool isHit = _order.Use(key);
        if (!isHit)
        {
            _ = _order.Add(key);
        }

        return isHit;
    }
}

/// <summary>First in, first out; or what was used least lately goes first.</summary>
internal sealed class Queue(int room, bool movesUsed) : IRival
{
    private readonly Dictionary<ulong, LinkedListNode<ulong>> _places = [];
    private readonly LinkedList<ulong> _order = new();

    public string Name => movesUsed ? "LRU" : "FIFO";

    public bool Use(ulong key)
    {
        if (_places.TryGetValue(key, out LinkedListNode<ulong>? node))
        {
            if (movesUsed)
            {
                _order.Remove(node);
                _order.AddFirst(node);
            }

            return true;
        }

        if (_places.Count == room)
        {
            _ = _places.Remove(_order.Last!.Value);
            _order.RemoveLast();
        }

        _places[key] = _order.AddFirst(key);
        return false;
    }
}

/// <summary>What was used least often since it came in goes first; of those, what was used least lately.</summary>
internal sealed class LeastOften(int room) : IRival
{
    private readonly Dictionary<ulong, (int Uses, LinkedListNode<ulong> Node)> _places = [];
    private readonly SortedDictionary<int, LinkedList<ulong>> _byUses = [];

    public string Name => "LFU";

    public bool Use(ulong key)
    {
        if (_places.TryGetValue(key, out (int Uses, LinkedListNode<ulong> Node) kept))
        {
            Leave(kept);
            _places[key] = (kept.Uses + 1, Enter(key, kept.Uses + 1));
            return true;
        }

        if (_places.Count == room)
        {
            ulong goes = _byUses.First().Value.Last!.Value;
            Leave(_places[goes]);
            _ = _places.Remove(goes);
        }

        _places[key] = (1, Enter(key, 1));
        return false;
    }

    private LinkedListNode<ulong> Enter(ulong key, int uses)
    {
        if (!_byUses.TryGetValue(uses, out LinkedList<ulong>? same))
        {
            _byUses[uses] = same = new LinkedList<ulong>();
        }

        return same.AddFirst(key);
    }

    private void Leave((int Uses, LinkedListNode<ulong> Node) kept)
    {
        LinkedList<ulong> same = _byUses[kept.Uses];
        same.Remove(kept.Node);
        if (same.Count == 0)
        {
            _ = _byUses.Remove(kept.Uses);
        }
    }
}

/// <summary>What is used again last goes first (Belady, IBM Systems Journal 1966): nobody can do better, and nobody can do it without knowing what comes. What is not used again before all that is kept is not kept.</summary>
internal sealed class Clairvoyant : IRival
{
    private readonly int[] _next;
    private readonly int _room;
    private readonly Dictionary<ulong, int> _kept = [];
    private readonly SortedSet<(int Next, ulong Key)> _order = [];
    private int _at;

    internal Clairvoyant(int room, ulong[] uses)
    {
        (_room, _next) = (room, new int[uses.Length]);
        Dictionary<ulong, int> seen = [];
        for (int at = uses.Length - 1; at >= 0; at--)
        {
            _next[at] = seen.GetValueOrDefault(uses[at], int.MaxValue);
            seen[uses[at]] = at;
        }
    }

    public string Name => "optimum";

    public bool Use(ulong key)
    {
        int next = _next[_at++];
        bool isHit = _kept.Remove(key, out int was);
        if (isHit)
        {
            _ = _order.Remove((was, key));
        }

        _kept[key] = next;
        _ = _order.Add((next, key));
        if (_kept.Count > _room)
        {
            (int Next, ulong Key) last = _order.Max;
            _ = _order.Remove(last);
            _ = _kept.Remove(last.Key);
        }

        return isHit;
    }
}
