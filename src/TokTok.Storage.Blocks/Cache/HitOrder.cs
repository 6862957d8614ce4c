namespace TokTok.Storage.Blocks.Cache;

/// <summary>Which of the kept things goes when there is no room: the one that is used least, by counts that decay, among those that were not used for long.</summary>
/// <remarks>
/// W-TinyLFU: Einziger, Friedman, Manes (ACM TOS 2017), with the window sized by hill climbing: Einziger, Eytan, Friedman, Manes, "Adaptive Software Cache Management" (Middleware 2018).
/// What is new enters the *window*, the part kept by how lately it was used. What the window has no more room for stands against what the *main* part would give up first, and the one with more uses
/// stays: a scan, used once, passes through the window and takes nothing else along. The main part is in two: *tried* (used once more since it came in) and *untried*.
/// The window grows while that brings more hits, and shrinks while that does: workloads that come back soon are served as by LRU, those with favourites as by LFU.
/// Nothing is remembered of who used what, or when; counts are of what is not kept, too. Bounded: 40 bytes a thing. Not safe from many threads.
/// </remarks>
public sealed class HitOrder
{
    private const double TriedShare = 0.8;
    private const double FirstWindowShare = 0.01;
    private const double StepShare = 0.0625;
    private const double StepDecay = 0.98;
    private const double NewStepsFrom = 0.05;
    private const int UsesPerSample = 10;
    private const int None = -1;

    private readonly Dictionary<ulong, int> _places = [];
    private readonly UseCounts _counts;
    private readonly Slot[] _slots;
    private readonly Chain[] _chains = [new(), new(), new()];
    private readonly Stack<int> _free = new();
    private double _windowShare = FirstWindowShare;
    private double _step = StepShare;
    private double _hitShareBefore;
    private long _uses;
    private long _hits;

    /// <param name="room">How many things are kept at most; 1 to 2^27.</param>
    public HitOrder(int room)
    {
        _counts = new UseCounts(room);
        _slots = new Slot[room + 1]; // one more comes in before one goes
        for (int slot = room; slot >= 0; slot--)
        {
            _free.Push(slot);
        }
    }

    private enum Part
    {
        Window,
        Untried,
        Tried,
    }

    /// <summary>How often things were used lately, kept or not.</summary>
    public UseCounts Counts => _counts;

    /// <summary>How many things are kept at most.</summary>
    public int Room => _slots.Length - 1;

    /// <summary>How many things are kept.</summary>
    public int Count => _places.Count;

    private int WindowRoom => Math.Clamp((int)(Room * _windowShare), 1, Room);

    private int TriedRoom => (int)((Room - WindowRoom) * TriedShare);

    /// <summary>A number below or equal to <see cref="Room"/> that is this thing's own as long as it is kept; -1: it is not kept.</summary>
    public int PlaceOf(ulong key) => _places.TryGetValue(key, out int at) ? at : None;

    /// <summary>Counts one use. True: it is kept; false: it is not, and may be added.</summary>
    public bool Use(ulong key)
    {
        _counts.Count(key);
        bool isKept = _places.TryGetValue(key, out int at);
        if (isKept)
        {
            MoveUp(at);
        }

        Sample(isKept);
        return isKept;
    }

    /// <summary>Keeps what was used and is not kept.</summary>
    /// <returns>What goes for it, which may be itself; null: there was room.</returns>
    public ulong? Add(ulong key)
    {
        int at = _free.Pop();
        _slots[at].Key = key;
        _places.Add(key, at);
        Enter(at, Part.Window);
        int goes = Last(Part.Window);
        if (_chains[(int)Part.Window].Count > WindowRoom)
        {
            int main = MainLoser();
            Leave(goes);
            Enter(goes, Part.Untried);
            goes = main != None && _counts.Of(_slots[goes].Key) > _counts.Of(_slots[main].Key) ? main : goes;
        }
        else if (MainLoser() is not None and var main)
        {
            goes = main; // the window has grown
        }

        return Count > Room ? Drop(goes) : null;
    }

    /// <summary>It is kept no more. False: it was not.</summary>
    public bool Remove(ulong key)
    {
        if (!_places.TryGetValue(key, out int at))
        {
            return false;
        }

        _ = Drop(at);
        return true;
    }

    /// <summary>Gives up what is used least; null: nothing is kept.</summary>
    public ulong? Shed() => Count == 0 ? null : Drop(MainLoser() is not None and var main ? main : Last(Part.Window));

    /// <summary>All that is kept, what would go first foremost.</summary>
    public IEnumerable<(ulong Key, int Place, bool IsTried)> InOrder()
    {
        foreach (Part part in (Part[])[Part.Untried, Part.Window, Part.Tried])
        {
            for (int at = Last(part); at != None; at = _slots[at].Before)
            {
                yield return (_slots[at].Key, at, part == Part.Tried);
            }
        }
    }

    /// <summary>Keeps again, in an order that keeps nothing yet, what <see cref="InOrder"/> gave; what does not fit is left out.</summary>
    /// <param name="kept">What would go first foremost.</param>
    public void Restore(IEnumerable<(ulong Key, int Place, bool IsTried)> kept)
    {
        ArgumentNullException.ThrowIfNull(kept);
        bool[] isTaken = new bool[_slots.Length];
        foreach ((ulong key, int place, bool isTried) in kept)
        {
            if ((uint)place < (uint)_slots.Length && !isTaken[place] && Count < Room && _places.TryAdd(key, place))
            {
                isTaken[place] = true;
                _slots[place].Key = key;
                Enter(place, isTried ? Part.Tried : Part.Untried);
            }
        }

        _free.Clear();
        for (int slot = Room; slot >= 0; slot--)
        {
            if (!isTaken[slot])
            {
                _free.Push(slot);
            }
        }

        Demote(Part.Tried, TriedRoom);
    }

    private void MoveUp(int at)
    {
        Part part = _slots[at].Part;
        Leave(at);
        Enter(at, part == Part.Untried ? Part.Tried : part);
        Demote(Part.Tried, TriedRoom);
    }

    /// <summary>A part that is over its share gives up its last, to be untried.</summary>
    private void Demote(Part part, int room)
    {
        while (_chains[(int)part].Count > room)
        {
            int last = Last(part);
            Leave(last);
            Enter(last, Part.Untried);
        }
    }

    private int Last(Part part) => _chains[(int)part].Last;

    /// <summary>What the main part would give up first.</summary>
    private int MainLoser() => Last(Part.Untried) is not None and var untried ? untried : Last(Part.Tried);

    private ulong Drop(int at)
    {
        ulong key = _slots[at].Key;
        Leave(at);
        _places.Remove(key);
        _free.Push(at);
        return key;
    }

    private void Sample(bool isHit)
    {
        _hits += isHit ? 1 : 0;
        if (++_uses < (long)UsesPerSample * Room || Count < Room)
        {
            return;
        }

        double share = (double)_hits / _uses;
        double gain = share - _hitShareBefore;
        double step = gain >= 0 ? _step : -_step;
        _step = Math.Abs(gain) >= NewStepsFrom ? Math.CopySign(StepShare, step) : step * StepDecay;
        _windowShare = Math.Clamp(_windowShare + step, FirstWindowShare, 0.8);
        (_hitShareBefore, _uses, _hits) = (share, 0, 0);
        Demote(Part.Window, WindowRoom);
        Demote(Part.Tried, TriedRoom);
    }

    private void Enter(int at, Part part)
    {
        Chain chain = _chains[(int)part];
        _slots[at].Part = part;
        _slots[at].Before = None;
        _slots[at].After = chain.First;
        if (chain.First != None)
        {
            _slots[chain.First].Before = at;
        }
        else
        {
            chain.Last = at;
        }

        chain.First = at;
        chain.Count++;
    }

    private void Leave(int at)
    {
        (int before, int after) = (_slots[at].Before, _slots[at].After);
        Chain chain = _chains[(int)_slots[at].Part];
        if (before != None)
        {
            _slots[before].After = after;
        }
        else
        {
            chain.First = after;
        }

        if (after != None)
        {
            _slots[after].Before = before;
        }
        else
        {
            chain.Last = before;
        }

        chain.Count--;
    }

    private struct Slot
    {
        internal ulong Key;
        internal int Before;
        internal int After;
        internal Part Part;
    }

    private sealed class Chain
    {
        internal int First { get; set; } = None;

        internal int Last { get; set; } = None;

        internal int Count { get; set; }
    }
}
