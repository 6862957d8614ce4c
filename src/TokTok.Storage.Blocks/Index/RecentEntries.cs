using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>The entries that no run has yet: a hash table in memory, of open addressing, that doubles up to its limit.</summary>
/// <remarks>A score is a keyed hash, so its last word is its place. 48 bytes a slot, three quarters of them used at most. Not safe from many threads.</remarks>
internal sealed class RecentEntries
{
    internal const int SlotBytes = 48;
    private const int FirstSlots = 1024;

    private readonly int _maxSlots;
    private Slot[] _slots;

    internal RecentEntries(int maxSlots)
    {
        _maxSlots = maxSlots;
        _slots = new Slot[Math.Min(FirstSlots, maxSlots)];
    }

    private struct Slot
    {
        internal Score Score;
        internal uint ArenaOrdinal;
        internal int Offset;
        internal int Length;
        internal bool IsUsed;

        internal readonly BlockLocation Location => new(ArenaOrdinal, Offset, Length);
    }

    internal int Count { get; private set; }

    /// <summary>It is time to write a run; there is room for a few more meanwhile.</summary>
    internal bool IsFull => _slots.Length == _maxSlots && Count >= _maxSlots / 4 * 3;

    internal bool TryFind(Score score, out BlockLocation location)
    {
        ref Slot slot = ref SlotOf(_slots, score);
        location = slot.Location;
        return slot.IsUsed;
    }

    /// <summary>Adds or replaces. True: it was not there.</summary>
    internal bool Set(Score score, BlockLocation location)
    {
        ref Slot slot = ref SlotOf(_slots, score);
        bool isNew = !slot.IsUsed;
        if (isNew && Count >= _slots.Length / 4 * 3 && _slots.Length < _maxSlots)
        {
            Double();
            slot = ref SlotOf(_slots, score);
        }

        slot.Score = score;
        slot.ArenaOrdinal = location.ArenaOrdinal;
        slot.Offset = location.Offset;
        slot.Length = location.Length;
        slot.IsUsed = true;
        Count += isNew ? 1 : 0;
        return isNew;
    }

    internal IndexEntry this[int slot] => new(_slots[slot].Score, _slots[slot].Location);

    /// <summary>The slots in use, by ascending score.</summary>
    internal int[] Sorted()
    {
        ulong[] words = new ulong[Count];
        int[] slots = new int[Count];
        int count = 0;
        for (int i = 0; i < _slots.Length; i++)
        {
            if (_slots[i].IsUsed)
            {
                words[count] = _slots[i].Score.Bytes.First;
                slots[count++] = i;
            }
        }

        Array.Sort(words, slots);
        for (int i = 1; i < count; i++)
        {
            // Scores of one first word, should there ever be some.
            for (int j = i; j > 0 && words[j - 1] == words[j] && _slots[slots[j]].Score < _slots[slots[j - 1]].Score; j--)
            {
                (slots[j - 1], slots[j]) = (slots[j], slots[j - 1]);
            }
        }

        return slots;
    }

    /// <summary>Keeps the memory.</summary>
    internal void Clear()
    {
        Array.Clear(_slots);
        Count = 0;
    }

    private static ref Slot SlotOf(Slot[] slots, Score score)
    {
        int mask = slots.Length - 1;
        int at = unchecked((int)score.LastWord) & mask;
        while (slots[at].IsUsed && slots[at].Score != score)
        {
            at = (at + 1) & mask;
        }

        return ref slots[at];
    }

    private void Double()
    {
        var doubled = new Slot[2 * _slots.Length];
        foreach (ref Slot slot in _slots.AsSpan())
        {
            if (slot.IsUsed)
            {
                SlotOf(doubled, slot.Score) = slot;
            }
        }

        _slots = doubled;
    }
}
