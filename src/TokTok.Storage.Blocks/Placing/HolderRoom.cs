using System.Globalization;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Placing;

/// <summary>What the quotas of holders leave, for fragments that the catalog names there and for those under way.</summary>
/// <remarks>
/// A holder whose next fragment would pass its quota is chosen for none. Its place is then without that arena: a class over fewer places that keeps the
/// promise is looked for, and where there is none a quota is a full disk (<see cref="DiskFailure.Full"/>). Unlike a disk that is away, it is no lag:
/// nothing but the user's word makes room, and what found no place would stay weaker than promised until then.
/// Log copies and anchors are small, are needed to find the rest, and do not count. Trash counts until it is emptied.
/// Locks: _gate guards _underWay; taken before the catalog's; no I/O inside.
/// </remarks>
internal sealed class HolderRoom(Catalog catalog, HolderTable table)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ushort, long> _underWay = [];
    private volatile HolderTable _table = table;

    internal bool HasQuotas => _table.HasQuotas;

    /// <summary>Set by who writes little in order to give back more: else a store at its quota could not be made smaller.</summary>
    internal bool IsIgnored { get; set; }

    /// <summary>From here on fragments go to these.</summary>
    internal void Change(HolderTable table) => _table = table;

    /// <summary>Places in which a fragment of so many bytes finds room, or whose holders are away and may have some.</summary>
    internal int PlacesFor(long bytes)
    {
        lock (_gate)
        {
            return _table.Holders.Where(holder => !holder.IsGone && (holder.Holder is null || HasLocked(holder, bytes))).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
        }
    }

    /// <summary>Places on other machines that answer and have room for so many bytes.</summary>
    internal int AwayPlacesFor(long bytes)
    {
        lock (_gate)
        {
            return _table.Holders.Where(holder => holder is { IsElsewhere: true, IsGone: false, IsDoubted: false, Holder: not null } && HasLocked(holder, bytes)).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
        }
    }

    /// <summary>Holders for an arena's fragments, and their room taken until <see cref="GiveBack"/>. Null, and nothing taken, where a quota leaves one without.</summary>
    /// <param name="full">The holder whose quota it is.</param>
    /// <param name="isAway">The arena is for holders on other machines, those that answer.</param>
    internal StoreHolder?[]? TryTake(ArenaId id, RedundancyClass redundancy, ArenaLayout layout, bool isAway, out StoreHolder? full)
    {
        lock (_gate)
        {
            HolderTable table = _table;
            StoreHolder?[] chosen = ChooseLocked(isAway ? table.AwayNow : table.Placement, id, redundancy, layout.SliceBytes, null, out full);
            if (full is not null)
            {
                return null;
            }

            CountLocked(chosen, layout.SliceBytes);
            return chosen;
        }
    }

    /// <summary>The catalog counts the fragments now, or nothing came of them.</summary>
    internal void GiveBack(IEnumerable<StoreHolder?> chosen, ArenaLayout layout)
    {
        lock (_gate)
        {
            CountLocked(chosen, -layout.SliceBytes);
        }
    }

    /// <summary>Holders for the fragments of an arena that have none, by the catalog as it is.</summary>
    /// <param name="full">A holder that would take one, but for its quota.</param>
    internal StoreHolder?[] Choose(ArenaId id, RedundancyClass redundancy, ArenaLayout layout, bool isAway, IReadOnlyList<StoreHolder?> taken, out StoreHolder? full)
    {
        lock (_gate)
        {
            HolderTable table = _table;
            return ChooseLocked(isAway ? table.Away : table.Placement, id, redundancy, layout.SliceBytes, taken, out full);
        }
    }

    /// <summary>One line for a user. Whoever made room goes on from what is acknowledged.</summary>
    internal DiskException Reached(StoreHolder holder) => new(
        DiskFailure.Full,
        "place fragments at",
        holder.Address.Length > 0 ? holder.Address : holder.Place,
        $"its quota of {Size(holder.QuotaBytes!.Value)} is reached, with {Size(catalog.HeldBytes(holder.Number))} there; raise the quota in storage.toml, add a [[holder]] in a new place, or `tdfs forget` and `tdfs reclaim`");

    private StoreHolder?[] ChooseLocked(Placement placement, ArenaId id, RedundancyClass redundancy, long sliceBytes, IReadOnlyList<StoreHolder?>? taken, out StoreHolder? full)
    {
        var refused = new List<StoreHolder>();
        StoreHolder?[] chosen = placement.Choose(id, redundancy, taken, (holder, count) =>
        {
            bool has = HasLocked(holder, count * sliceBytes);
            if (!has)
            {
                refused.Add(holder);
            }

            return has;
        });

        // A holder that was passed over for another one of its place, or for any at all, is not what is missing.
        full = Array.TrueForAll(chosen, static holder => holder is not null) ? null : refused.Find(holder => !chosen.Any(other => other?.Place == holder.Place));
        return chosen;
    }

    private bool HasLocked(StoreHolder holder, long bytes) =>
        holder.QuotaBytes is not long quota || IsIgnored || catalog.HeldBytes(holder.Number) + _underWay.GetValueOrDefault(holder.Number) + bytes <= quota;

    private void CountLocked(IEnumerable<StoreHolder?> chosen, long bytes)
    {
        foreach (StoreHolder? holder in chosen)
        {
            if (holder is not null)
            {
                _underWay[holder.Number] = _underWay.GetValueOrDefault(holder.Number) + bytes;
            }
        }
    }

    internal static string Size(long bytes)
    {
        string[] units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
        double value = bytes;
        int unit = 0;
        for (; value >= 1024 && unit < units.Length - 1; unit++)
        {
            value /= 1024;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {units[unit]}");
    }
}
