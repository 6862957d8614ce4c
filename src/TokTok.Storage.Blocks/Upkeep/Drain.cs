using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>What giving up one holder takes, found out before anything moves.</summary>
/// <remarks>
/// What is asked for stays kept: by the store's own setting and by every directory (<see cref="IRedundancyMarker"/>). An arena with a fragment there is *mendable* if another place can take the
/// fragment; else there are fewer places than it has fragments, and what is wanted of it is copied into arenas of a narrower class that outlives as many lost places (<see cref="Recoder"/>).
/// Arenas of the account's other devices are not looked at: what they have at the holder stays there, and is moved by who owns it.
/// Reads catalog, directories and trees; writes nothing.
/// </remarks>
public sealed class Drain(BlockStore store, IRootWalker walker, HolderId leaving)
{
    private readonly StoreHolder[] _left = [.. store.Holders.Select(holder => holder.Id == leaving ? holder with { IsGone = true, Holder = null } : holder)];

    /// <summary>As if it stayed: what is promised now, though a drain that was interrupted has begun already.</summary>
    private readonly Placement _before = new([.. store.Holders.Select(holder => holder.Id == leaving ? holder with { IsGone = holder.IsOutside } : holder)], store.Placement.Rule);

    /// <summary>Fragments that lie there, or must be made from others because nobody answers there.</summary>
    public long Bytes => Arenas().Sum(arena => arena.Fragments.Count(IsThere) * (long)arena.Layout.SliceBytes);

    /// <summary>Arenas that have a fragment there.</summary>
    public IReadOnlyList<uint> Ordinals() => [.. Arenas().Select(static arena => arena.Ordinal)];

    /// <summary>Whether arenas must be written again in another class.</summary>
    public bool NeedsRecoding => Arenas().Any(arena => !IsMendable(arena, PlacementFor(arena, new Placement(_left, store.Placement.Rule))));

    /// <summary>Why the holder cannot be given up; null: it can.</summary>
    /// <param name="freeBytes">What a holder's disk, or a peer, has room for.</param>
    public async ValueTask<string?> RefusalAsync(Func<StoreHolder, long> freeBytes, Action<string, long, long>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(freeBytes);
        var placement = new Placement(_left, store.Placement.Rule);
        return WeakerDefault(placement) ?? await WeakerDirectoryAsync(placement, progress, cancel).ConfigureAwait(false) ?? Unreadable() ?? Stuck(placement) ?? NoRoom(placement, freeBytes);
    }

    private IEnumerable<ArenaRecord> Arenas() => store.Catalog.Arenas().Where(arena => arena.State != ArenaState.Trashed && store.Owns(arena) && arena.Fragments.Any(IsThere));

    private bool IsThere(FragmentPlace fragment) => store.HolderOf(fragment.Holder) is { } holder && holder.Id == leaving;

    private string? WeakerDefault(Placement placement)
    {
        int kept = Math.Min(store.SurviveWith(_before), _before.MaxSurvive);
        if (placement.MaxSurvive < kept || placement.PlaceCount == 0)
        {
            return $"without it {Places(placement)}, and survive = {kept} needs {kept + 1}; let another one in, or lower survive in storage.toml";
        }

        int then = store.SurviveWith(placement);
        return then < kept
            ? $"without it {Places(placement)}, of which as many as {then} may be lost instead of {kept}; let another one in, or write survive = {then} into storage.toml if that will do"
            : null;
    }

    private async ValueTask<string?> WeakerDirectoryAsync(Placement placement, Action<string, long, long>? progress, CancellationToken cancel)
    {
        int asked = 0;
        string volume = "";
        foreach (Head head in store.Heads)
        {
            var map = new WantedMap(store, head.Domain);
            progress?.Invoke($"asking {head.VolumeName} what is wanted", 0, 0);
            await walker.MarkAsync(head, store.OpenBlocks(head.Domain, 0), map, cancel).ConfigureAwait(false);
            int strongest = Math.Min(map.Strongest, _before.MaxSurvive);
            (asked, volume) = strongest > asked ? (strongest, head.VolumeName) : (asked, volume);
        }

        return asked > placement.MaxSurvive
            ? $"without it {Places(placement)}, and a folder of {volume} asks for survive = {asked}, which needs {asked + 1}; let another one in, or ask for less with `tdfs redundancy`"
            : null;
    }

    /// <summary>Where nobody answers there, what lies there is made again from the others.</summary>
    private string? Unreadable()
    {
        if (store.Holders.Any(holder => holder.Id == leaving && holder.Holder is not null))
        {
            return null;
        }

        int lost = Arenas().Count(arena => arena.Fragments.Count(fragment => !IsThere(fragment) && store.HolderOf(fragment.Holder)?.Holder is not null) < arena.Layout.DataFragments);
        return lost == 0 ? null : $"it does not answer, and {lost} of the arenas that it keeps fragments of cannot be read without it now; run this again when it answers";
    }

    /// <summary>What cannot be copied, since its keys are gone or it was adopted lately, must find places as it is.</summary>
    private string? Stuck(Placement placement)
    {
        int stuck = Arenas().Count(arena => !IsMendable(arena, PlacementFor(arena, placement)) && (!store.HasKeysOf(arena) || store.WaitsFor(arena) > 0));
        return stuck == 0 ? null : $"without it {Places(placement)}, too few for {stuck} arenas that cannot be written again now (taken up lately, or without keys); let another one in";
    }

    /// <summary>Tries out where everything would go.</summary>
    private string? NoRoom(Placement placement, Func<StoreHolder, long> freeBytes)
    {
        var room = new Dictionary<ushort, long>();
        foreach (StoreHolder holder in _left.Where(static holder => holder is { Holder: not null, IsGone: false }))
        {
            long quota = holder.QuotaBytes is long bytes ? bytes - store.Catalog.HeldBytes(holder.Number) : long.MaxValue;
            room[holder.Number] = Math.Min(quota, freeBytes(holder));
        }

        long missing = 0;
        long all = 0;
        foreach (ArenaRecord arena in Arenas())
        {
            Placement its = PlacementFor(arena, placement);
            if (IsMendable(arena, its))
            {
                var redundancy = new RedundancyClass(arena.Layout.DataFragments, arena.Layout.ParityFragments, arena.Survive);
                StoreHolder?[] taken = [.. arena.Fragments.Select(fragment => store.HolderOf(fragment.Holder) is { } holder && holder.Id != leaving ? holder : null)];
                Take(its.Choose(arena.Id, redundancy, taken, HasRoomFor(arena.Layout.SliceBytes)), arena.Layout.SliceBytes, index => IsThere(arena.Fragments[index]));
            }
            else if ((its.ClassFor(arena.Survive) ?? placement.ClassFor(arena.Survive)) is { } narrower)
            {
                long slice = arena.Layout.ImageBytes / narrower.Data;
                Take((its.ClassFor(arena.Survive) is null ? placement : its).Choose(arena.Id, narrower, null, HasRoomFor(slice)), slice, static _ => true);
            }
        }

        return missing == 0 ? null : $"the other places that answer lack room for {HolderRoom.Size(missing)} of the {HolderRoom.Size(all)} that would go there; make room, or let another one in, and run this again";

        Func<StoreHolder, int, bool> HasRoomFor(long slice) => (holder, count) => room.GetValueOrDefault(holder.Number) >= count * slice;

        void Take(StoreHolder?[] chosen, long slice, Func<int, bool> moves)
        {
            for (int i = 0; i < chosen.Length; i++)
            {
                if (!moves(i))
                {
                    continue;
                }

                all += slice;
                if (chosen[i] is { } holder)
                {
                    room[holder.Number] -= slice;
                }
                else
                {
                    missing += slice;
                }
            }
        }
    }

    /// <summary>What is away goes to another machine, or, where too few are left, comes back.</summary>
    private Placement PlacementFor(ArenaRecord arena, Placement all) => arena.IsAway ? new Placement([.. _left.Where(static holder => holder.IsElsewhere)], store.Placement.Rule) : all;

    private bool IsMendable(ArenaRecord arena, Placement placement) => Recoder.IsForOnePlace(arena)
        ? placement.PlaceCount > 0
        : placement.CanTakeAll(arena.Layout, [.. arena.Fragments.Select(fragment => store.HolderOf(fragment.Holder) is { } holder && holder.Id != leaving ? holder : null)]);

    private static string Places(Placement placement) => placement.PlaceCount == 1 ? "1 place is left" : $"{placement.PlaceCount} places are left";
}
