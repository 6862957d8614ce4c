using System.Buffers.Binary;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Placing;

/// <summary>A holder of this store: its number in the catalog, its place, and the way to it, if there is one now.</summary>
public sealed record StoreHolder
{
    public required ushort Number { get; init; }

    public required HolderId Id { get; init; }

    /// <summary>The failure domain: what burns down together.</summary>
    public required string Place { get; init; }

    /// <summary>Null while the holder cannot be reached; <see cref="Problem"/> then says why.</summary>
    public IFragmentHolder? Holder { get; init; }

    public string? Problem { get; init; }

    /// <summary>What storage.toml says to find it: a folder today. At most 255 bytes of UTF-8 are kept in the anchor.</summary>
    public string Address { get; init; } = "";

    /// <summary>Bytes of fragments after which it takes no more; null: as many as its disk has room for.</summary>
    public long? QuotaBytes { get; init; }

    /// <summary>It is slow, far or often away: what is read of it, and what goes to it, is kept by the store's cache too.</summary>
    public bool IsCached { get; init; }

    /// <summary>It lies on another machine: the only kind of holder that an arena which is away has (<see cref="Catalogs.ArenaRecord.IsAway"/>).</summary>
    public bool IsElsewhere { get; init; }

    /// <summary>No longer configured, or leaving: nothing new goes there, what it has is still read, and repair moves it away.</summary>
    public bool IsGone { get; init; }

    /// <summary>The country that its owner says it lies in; null: nobody said.</summary>
    public string? Country { get; init; }

    /// <summary>By the store's rule nothing may lie there (<see cref="CountryRule"/>): it is gone too, and its puts are refused.</summary>
    public bool IsOutside { get; init; }

    /// <summary>What answers there, without the gate that keeps puts away from a holder outside the rule: for those who ask what kind it is.</summary>
    public IFragmentHolder? Itself => OutsideHolder.Behind(Holder);

    /// <summary>It was caught without what it is to keep: what it has counts as not there, and is read, every byte checked, only where the others are not enough.</summary>
    public bool IsDoubted { get; init; }
}

/// <summary>The holders by number, and what follows from them. One is replaced by another as a whole, so that whoever looks sees holders and places of one moment.</summary>
internal sealed record HolderTable(IReadOnlyList<StoreHolder> Holders, Placement Placement)
{
    internal bool HasQuotas { get; } = Holders.Any(static holder => holder.QuotaBytes is not null);

    /// <summary>Of holders on other machines alone: what an arena that is away keeps its promise by.</summary>
    internal Placement Away { get; } = new([.. Holders.Where(static holder => holder.IsElsewhere)], Placement.Rule);

    /// <summary>Of those of them that answer and were not caught without what they are to keep: what is newly sent away is placed by these.</summary>
    internal Placement AwayNow { get; } = new([.. Holders.Where(static holder => holder is { IsElsewhere: true, IsGone: false, IsDoubted: false, Holder: not null })], Placement.Rule);
}

/// <summary>Which class a promise needs over the places there are, and which holder gets which fragment.</summary>
/// <remarks>
/// Source: rendezvous hashing (Thaler and Ravishankar, 1998): the order of holders for an arena depends on its id and theirs alone,
/// so a holder that comes or goes moves only its own share. The order proposes; the catalog records.
/// Pure over an immutable list; safe from many threads.
/// </remarks>
public sealed class Placement
{
    private readonly IReadOnlyList<StoreHolder> _holders;

    /// <param name="rule">Only for what people are told: holders outside are gone already.</param>
    public Placement(IReadOnlyList<StoreHolder> holders, CountryRule? rule = null)
    {
        ArgumentNullException.ThrowIfNull(holders);
        _holders = holders;
        Rule = rule ?? CountryRule.None;
        PlaceCount = holders.Where(static holder => !holder.IsGone).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
    }

    public CountryRule Rule { get; }

    /// <summary>Distinct places of configured holders, reachable now or not.</summary>
    public int PlaceCount { get; }

    /// <summary>Data fragments at most: more would make every repair read from more holders.</summary>
    public const int MaxData = 16;

    /// <summary>Lost places that a class survives at most: few classes are then ever in use.</summary>
    public const int MaxParity = 16;

    /// <summary>How many lost places are survived when nobody says: none of one, one of 2 to 4, two of 5 or 6, three of 7 and more.</summary>
    public static int DefaultSurvive(int placeCount) => placeCount switch { <= 1 => 0, <= 4 => 1, <= 6 => 2, _ => 3 };

    /// <summary>The most lost places that any class survives over the places there are.</summary>
    public int MaxSurvive => Math.Clamp(PlaceCount - 1, 0, MaxParity);

    /// <summary>How many lost places an arena will survive once repair has given what has no holder to the places that have none of it.
    /// Holders that cannot be reached now keep what they have; those no longer configured do not count.</summary>
    public int SurvivesOnceMended(ArenaLayout layout, IReadOnlyList<StoreHolder?> holders)
    {
        ArgumentNullException.ThrowIfNull(holders);
        List<int> counts = CountsByPlace(holders, static holder => !holder.IsGone);
        int homeless = holders.Count - counts.Sum();
        counts.AddRange(Enumerable.Repeat(1, Math.Min(homeless, Math.Max(0, PlaceCount - counts.Count))));
        return LossesOutlived(layout, counts);
    }

    /// <summary>Whether every fragment of an arena has a configured holder, or a place that has none of the arena.</summary>
    internal bool CanTakeAll(ArenaLayout layout, IReadOnlyList<StoreHolder?> holders)
    {
        List<int> counts = CountsByPlace(holders, static holder => !holder.IsGone);
        return layout.FragmentCount - counts.Sum() <= PlaceCount - counts.Count;
    }

    /// <summary>How many lost places k fragments outlive, the fullest places going first; -1: fewer than k are there.</summary>
    /// <param name="counts">Fragments in each place.</param>
    public static int LossesOutlived(ArenaLayout layout, IEnumerable<int> counts)
    {
        int[] fullestFirst = [.. counts.OrderDescending()];
        int left = fullestFirst.Sum();
        int lost = -1;
        for (int i = 0; left >= layout.DataFragments; i++)
        {
            lost = i;
            left -= i < fullestFirst.Length ? fullestFirst[i] : left;
        }

        return lost;
    }

    /// <summary>Fragments in each place that has any.</summary>
    public static List<int> CountsByPlace(IEnumerable<StoreHolder?> holders, Func<StoreHolder, bool> counts) =>
        [.. holders.Where(holder => holder is not null && counts(holder)).GroupBy(static holder => holder!.Place, StringComparer.Ordinal).Select(static place => place.Count())];

    /// <summary>The class that keeps the promise over the places there are, or null when no class can.</summary>
    public RedundancyClass? ClassFor(int survive) => ClassFor(survive, PlaceCount);

    /// <summary>The same over fewer places: the others have no room.</summary>
    internal static RedundancyClass? ClassFor(int survive, int placeCount)
    {
        if (survive < 0)
        {
            return null;
        }

        if (survive == 0)
        {
            return placeCount == 0 ? null : new RedundancyClass(MaxData, 1, 0); // one folder: parity against bad sectors
        }

        int data = Math.Min(MaxData, placeCount - survive);
        return data < 1 ? null : new RedundancyClass(data, survive, survive);
    }

    /// <summary>The line for a promise that cannot be kept.</summary>
    public string CannotSurvive(int survive) =>
        $"survive = {survive} needs at least {survive + 1} places and {PlaceCount} {(PlaceCount == 1 ? "is" : "are")} configured{Rule}; add a [[holder]] in another place{Rule} or lower survive";

    /// <summary>The wanted holder of each fragment, best first among equals; null where no reachable place is left for it.</summary>
    /// <param name="taken">Holders that have fragments of this arena already, by fragment index (null: none). They keep theirs, and their places are used.</param>
    /// <param name="hasRoom">Whether a holder has room for so many more fragments of this arena; null: all have.</param>
    public StoreHolder?[] Choose(ArenaId arena, RedundancyClass redundancy, IReadOnlyList<StoreHolder?>? taken = null, Func<StoreHolder, int, bool>? hasRoom = null)
    {
        hasRoom ??= static (_, _) => true;
        int count = redundancy.Data + redundancy.Parity;
        var chosen = new StoreHolder?[count];
        List<StoreHolder> order = Order(arena);
        if (redundancy.Survive == 0)
        {
            int homeless = taken is null ? count : taken.Count(static holder => holder is not { Holder: not null, IsGone: false });
            StoreHolder? only = taken?.FirstOrDefault(holder => holder is { Holder: not null, IsGone: false } && hasRoom(holder, homeless)) ?? order.Find(holder => hasRoom(holder, homeless));
            Array.Fill(chosen, only);
            return chosen;
        }

        var used = new HashSet<string>(StringComparer.Ordinal);
        if (taken is not null)
        {
            for (int i = 0; i < count; i++)
            {
                if (taken[i] is { IsGone: false } keeper && used.Add(keeper.Place))
                {
                    chosen[i] = keeper;
                }
            }
        }

        int next = 0;
        foreach (StoreHolder holder in order)
        {
            while (next < count && chosen[next] is not null)
            {
                next++;
            }

            if (next == count)
            {
                break;
            }

            if (!used.Contains(holder.Place) && hasRoom(holder, 1))
            {
                used.Add(holder.Place);
                chosen[next] = holder;
            }
        }

        return chosen;
    }

    /// <summary>Reachable holders in rendezvous order.</summary>
    private List<StoreHolder> Order(ArenaId arena)
    {
        var order = new List<(ulong Rank, StoreHolder Holder)>(_holders.Count);
        Span<byte> input = stackalloc byte[ArenaId.Size + HolderId.Size];
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        arena.Write(input);
        foreach (StoreHolder holder in _holders)
        {
            if (holder.Holder is null || holder.IsGone)
            {
                continue;
            }

            holder.Id.Write(input[ArenaId.Size..]);
            Blake3.Hash(input, hash);
            order.Add((BinaryPrimitives.ReadUInt64BigEndian(hash), holder));
        }

        order.Sort(static (a, b) => b.Rank.CompareTo(a.Rank));
        return order.ConvertAll(static item => item.Holder);
    }
}
