using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>What a re-coding did.</summary>
/// <param name="MovedBytes">Clump bytes that went to arenas of the redundancy wanted.</param>
/// <param name="EmptiedArenas">Arenas that had nothing left and went to the trash.</param>
/// <param name="Problems">What could not be done, one line each.</param>
public sealed record RecodeReport(long MovedBytes, int EmptiedArenas, IReadOnlyList<string> Problems)
{
    /// <summary>Of the moved bytes, those that went to other machines alone, since they are freed here.</summary>
    public long FreedBytes { get; init; }

    /// <summary>Of the moved bytes, those that were away and are kept here again.</summary>
    public long ReturnedBytes { get; init; }

    /// <summary>It stopped at <see cref="Recoder.StepBytes"/>: another run goes on.</summary>
    public bool HasMore { get; init; }
}

/// <summary>What lies where of the blocks that freed folders refer to, before anything moves. In bytes of clumps, unless said otherwise.</summary>
public sealed record FreedSurvey
{
    /// <summary>Freed, and not away yet: in arenas, and in the journal.</summary>
    public long HereBytes { get; init; }

    /// <summary>Bytes of fragments in folders of this device that go with them, about: what an arena has of others is told apart by its share.</summary>
    public long LocalBytes { get; init; }

    /// <summary>Freed, and away already.</summary>
    public long AwayBytes { get; init; }

    /// <summary>Wanted by others besides: they stay.</summary>
    public long SharedBytes { get; init; }

    /// <summary>In arenas that another device of the account owns, or that were taken up lately: they stay as they are.</summary>
    public long OthersBytes { get; init; }

    /// <summary>Of HereBytes, what would not be safe without this device.</summary>
    public long UnsafeBytes { get; init; }

    /// <summary>Arenas in which that lies; the journal is none.</summary>
    public int UnsafeArenas { get; init; }

    /// <summary>How many places on other machines the strongest of it needs.</summary>
    public int NeededPlaces { get; init; }

    /// <summary>Places on other machines that answer, and were not caught without what they are to keep.</summary>
    public int FoundPlaces { get; init; }

    /// <summary>Those of them that have room for their part.</summary>
    public int PlacesWithRoom { get; init; }

    /// <summary>Blocks that some root wants and no arena that can be read holds: until they are found nothing is let go of.</summary>
    public long MissingBlocks { get; init; }
}

/// <summary>Moves what is kept weaker than it is wanted into arenas of the redundancy wanted, and what is freed here to other machines, or back.</summary>
/// <remarks>
/// A block is wanted as strong as the strongest of its references: directories say so (<see cref="IRedundancyMarker"/>), else the store's own setting counts.
/// Weaker it is when the wish came later, or when places came or went: an arena's record says how many lost places it outlives once it is mended over the
/// places that are configured, and is written again where that has changed.
/// Order: records of arenas durable → mark from every head → copies, verbatim and verified, durable → only then tombstones, as in <see cref="Reclaimer"/>,
/// for arenas that have nothing wanted left. A crash anywhere leaves every wanted block where it was, where it goes, or in both.
/// What stays behind beside other wanted blocks is freed by a later reclaim. Needs the writer's lock; readers go on.
/// Freed (<see cref="IFreedMarker"/>) is what only freed folders refer to. It goes to arenas that are *away*, where enough places on other machines answer now; an arena here is let go of for them only once
/// each fragment there was asked for and shown (<see cref="AwayProof"/>). What is away and no longer only freed comes back, as does what other machines have no longer places enough for.
/// Docs: docs/decisions/freed-directories.md.
/// </remarks>
public sealed class Recoder(BlockStore store, IRootWalker walker)
{
    /// <summary>Clump bytes after which no further arena is begun with.</summary>
    public long StepBytes { get; init; } = long.MaxValue;

    public ValueTask<RecodeReport> RunAsync(Action<string, long, long>? progress, CancellationToken cancel) => RunAsync(null, progress, cancel);

    /// <param name="decide">Sees what is freed before anything moves, and says whether it may; null: it may.</param>
    public async ValueTask<RecodeReport> RunAsync(Func<FreedSurvey, ValueTask<bool>>? decide, Action<string, long, long>? progress, CancellationToken cancel)
    {
        var problems = new List<string>();
        await store.FlushAsync(cancel).ConfigureAwait(false);
        RestatePromises();                                                                                  // 1. what each arena outlives now
        ulong sequence = store.Catalog.Sequence;
        var wanted = new Dictionary<DomainId, WantedMap>();
        try
        {
            await MarkAsync(wanted, progress, cancel).ConfigureAwait(false);                                // 2. every root
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            problems.Add($"what is wanted where cannot be told, so nothing was moved: {damage.Message}");
            return new RecodeReport(0, 0, problems);
        }

        if (decide is not null && !await decide(await SurveyAsync(wanted, cancel).ConfigureAwait(false)).ConfigureAwait(false))
        {
            return new RecodeReport(0, 0, problems);
        }

        await store.TakeBackAsync(                                                                          // and what is wanted and only in the trash is taken back
            arena => wanted.TryGetValue(arena.Domain, out WantedMap? map) && map.HasAny(arena.Ordinal), cancel).ConfigureAwait(false);
        bool isAllThere = wanted.Values.All(static map => map.MissingCount == 0);
        var emptied = new List<(ArenaRecord Arena, long Live)>();
        var partly = new List<ArenaRecord>();
        long total = 0;
        long freed = 0;
        long returned = 0;
        bool hasMore = false;
        foreach (ArenaRecord arena in store.Catalog.Arenas())
        {
            if (arena.State != ArenaState.Sealed || arena.SealSequence > sequence || !store.Owns(arena) || !wanted.TryGetValue(arena.Domain, out WantedMap? map))
            {
                continue;
            }

            cancel.ThrowIfCancellationRequested();
            if (total >= StepBytes)
            {
                hasMore = true;
                break;
            }

            if (await LookAsync(arena, map, problems, cancel).ConfigureAwait(false) is not { } look)
            {
                continue;
            }

            if (isAllThere && store.WaitsFor(arena) == 0 && (look.Rising == look.Live || !IsMendable(arena)) && (look.Live > 0 || !IsMendable(arena)))
            {
                emptied.Add((arena, look.Live));
                total += look.Live;
                freed += look.Leaving;
                returned += look.Returning;
            }
            else if (look.Rising > 0)
            {
                partly.Add(arena);
                total += look.Rising;
            }
        }

        // The strongest first: a copy may fill an arena and have it sealed, and what is to leave that class must have left it before.
        long moved = 0;
        foreach ((DomainId domain, WantedMap map) in wanted)                                               // 3. what no arena has sealed yet
        {
            foreach ((Score score, int survive) in map.Open.OrderByDescending(block => store.PendingSurvive(domain, block.Score)).ToArray())
            {
                moved += await store.CopyPendingAsync(domain, score, survive, cancel).ConfigureAwait(false);
            }
        }

        (long copied, int trashed, long _) = await new Reclaimer(store, walker).EmptyAsync(               // 4. all that is wanted of some arenas
            emptied, (arena, index) => WishFor(arena, wanted[arena.Domain], index), problems, progress, cancel).ConfigureAwait(false);
        moved += copied;
        var proof = new AwayProof(store);
        var sources = new List<ArenaRecord>();
        foreach (ArenaRecord arena in partly)                                                              // 5. the part of others that is wanted stronger
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                WantedMap map = wanted[arena.Domain];
                (long its, long away) = await store.CopyLiveAsync(arena, index => WishFor(arena, map, index) is { } wish && Moves(arena, wish) ? wish : null, cancel).ConfigureAwait(false);
                moved += its;
                freed += arena.IsAway ? 0 : away;
                returned += arena.IsAway ? its - away : 0;
                if (away > 0)
                {
                    sources.Add(arena);
                }
            }
            catch (DamagedBlockException damage)
            {
                problems.Add($"arena {arena.Ordinal}: some of it stays weaker than wanted: {damage.Message}");
            }

            progress?.Invoke("moving blocks to the redundancy wanted", moved, total);
        }

        await store.FlushAsync(cancel).ConfigureAwait(false);                                              // 6. durable
        if (sources.Count > 0 && !await proof.RunAsync(problems, cancel).ConfigureAwait(false))            // and, before a reclaim takes what was left behind, proven
        {
            foreach (ArenaRecord arena in sources)
            {
                await store.IndexAgainAsync(arena, cancel).ConfigureAwait(false);
            }
        }

        return new RecodeReport(moved, trashed, problems) { FreedBytes = freed, ReturnedBytes = returned, HasMore = hasMore };
    }

    /// <summary>Writes anew the records of arenas that outlive more or fewer lost places than they say, since places came or went.</summary>
    private void RestatePromises()
    {
        var changed = new List<ArenaRecord>();
        foreach (ArenaRecord arena in store.Catalog.Arenas())
        {
            // An arena for one place outlives none, wherever that is.
            if (arena.State == ArenaState.Sealed && store.Owns(arena) && !IsForOnePlace(arena))
            {
                int survive = Math.Max(0, store.PlacementOf(arena).SurvivesOnceMended(arena.Layout, store.HoldersOf(arena)));
                if (survive != arena.Survive)
                {
                    changed.Add(arena with { Survive = survive });
                }
            }
        }

        if (changed.Count > 0)
        {
            store.ChangeArenas(changed);
        }
    }

    private async ValueTask MarkAsync(Dictionary<DomainId, WantedMap> wanted, Action<string, long, long>? progress, CancellationToken cancel)
    {
        foreach (Head head in store.Heads)
        {
            if (!wanted.TryGetValue(head.Domain, out WantedMap? map))
            {
                wanted[head.Domain] = map = new WantedMap(store, head.Domain);
            }

            progress?.Invoke($"asking {head.VolumeName} what is wanted", map.MarkedCount, 0);
            await walker.MarkAsync(head, store.OpenBlocks(head.Domain, 0), map, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>What is wanted of a clump; null: nothing wants it. What is freed stays where it is while other machines cannot take it.</summary>
    private CopyWish? WishFor(ArenaRecord arena, WantedMap map, int index)
    {
        if (map.Wanted(arena, index) is not int survive)
        {
            return null;
        }

        bool isAway = map.IsFreed(arena, index) && store.Away.ClassFor(survive) is not null;
        if (isAway == arena.IsAway)
        {
            return new CopyWish(survive, isAway);
        }

        // No weaker than it is, where that can be had: of two copies the stronger counts.
        int strongest = Math.Max(survive, arena.Survive);
        return !isAway ? new CopyWish(store.Feasible(strongest))
            : store.AwayNow.ClassFor(strongest) is not null ? new CopyWish(strongest, IsAway: true)
            : new CopyWish(survive, IsAway: store.AwayNow.ClassFor(survive) is not null && survive >= arena.Survive);
    }

    private static bool Moves(ArenaRecord arena, CopyWish wish) => wish.Survive > arena.Survive || wish.IsAway != arena.IsAway;

    private async ValueTask<FreedSurvey> SurveyAsync(Dictionary<DomainId, WantedMap> wanted, CancellationToken cancel)
    {
        var survey = new FreedSurvey { FoundPlaces = store.AwayNow.PlaceCount, MissingBlocks = wanted.Values.Sum(static map => map.MissingCount) };
        long sliceBytes = 0; // that one place would take
        foreach (ArenaRecord arena in store.Catalog.Arenas())
        {
            if (arena.State != ArenaState.Sealed || !wanted.TryGetValue(arena.Domain, out WantedMap? map) || !map.HasAny(arena.Ordinal))
            {
                continue;
            }

            ArenaDirectory directory;
            try
            {
                directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                continue; // the run says so
            }

            long here = 0;
            long unsafeBytes = 0;
            for (int i = 0; i < directory.Count; i++)
            {
                long bytes = directory[i].Length;
                survey = map.IsShared(arena, i) ? survey with { SharedBytes = survey.SharedBytes + bytes } : survey;
                if (!map.IsFreed(arena, i) || map.Wanted(arena, i) is not int survive)
                {
                    continue;
                }

                if (arena.IsAway)
                {
                    survey = survey with { AwayBytes = survey.AwayBytes + bytes };
                }
                else if (!store.Owns(arena) || store.WaitsFor(arena) > 0)
                {
                    survey = survey with { OthersBytes = survey.OthersBytes + bytes };
                }
                else
                {
                    here += bytes;
                    if (store.AwayNow.ClassFor(survive) is { } redundancy)
                    {
                        sliceBytes += bytes / redundancy.Data;
                    }
                    else
                    {
                        unsafeBytes += bytes;
                    }

                    survey = survey with { NeededPlaces = Math.Max(survey.NeededPlaces, survive + 1) };
                }
            }

            long local = arena.Fragments.Count(fragment => store.HolderOf(fragment.Holder) is { IsElsewhere: false, IsGone: false }) * (long)arena.Layout.SliceBytes;
            survey = survey with
            {
                HereBytes = survey.HereBytes + here,
                LocalBytes = survey.LocalBytes + (arena.ClumpBytes == 0 ? 0 : (long)((double)local * here / arena.ClumpBytes)),
                UnsafeBytes = survey.UnsafeBytes + unsafeBytes,
                UnsafeArenas = survey.UnsafeArenas + (unsafeBytes > 0 ? 1 : 0),
            };
        }

        foreach ((Score score, int survive) in wanted.Values.SelectMany(static map => map.OpenFreed))
        {
            long bytes = store.PendingBytes(score);
            RedundancyClass? redundancy = store.AwayNow.ClassFor(survive);
            sliceBytes += redundancy is { } its ? bytes / its.Data : 0;
            survey = survey with
            {
                HereBytes = survey.HereBytes + bytes,
                UnsafeBytes = survey.UnsafeBytes + (redundancy is null ? bytes : 0),
                NeededPlaces = Math.Max(survey.NeededPlaces, survive + 1),
            };
        }

        return survey with { PlacesWithRoom = store.Room.AwayPlacesFor(sliceBytes) };
    }

    /// <summary>Bytes of the arena that are wanted, and those of them that are wanted stronger than it is, or elsewhere; of these, what leaves this device and what returns. Null: its directory is lost.</summary>
    private async ValueTask<(long Live, long Rising, long Leaving, long Returning)?> LookAsync(ArenaRecord arena, WantedMap map, List<string> problems, CancellationToken cancel)
    {
        ArenaDirectory directory;
        try
        {
            directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            problems.Add($"arena {arena.Ordinal} is damaged beyond its parity and is left alone: {damage.Message}");
            return null;
        }

        long live = 0;
        long rising = 0;
        long leaving = 0;
        long returning = 0;
        for (int i = 0; i < directory.Count; i++)
        {
            if (WishFor(arena, map, i) is { } wish)
            {
                live += directory[i].Length;
                rising += Moves(arena, wish) ? directory[i].Length : 0;
                leaving += wish.IsAway && !arena.IsAway ? directory[i].Length : 0;
                returning += !wish.IsAway && arena.IsAway ? directory[i].Length : 0;
            }
        }

        return (live, rising, leaving, returning);
    }

    /// <summary>Whether every fragment has a configured holder, or a place that can take it.</summary>
    private bool IsMendable(ArenaRecord arena) => IsForOnePlace(arena) || store.PlacementOf(arena).CanTakeAll(arena.Layout, store.HoldersOf(arena));

    /// <summary>All its fragments lie in one place by intent: more of them than there were places.</summary>
    internal static bool IsForOnePlace(ArenaRecord arena) =>
        arena.Survive == 0 && arena.Layout.ParityFragments == 1 && arena.Fragments.Select(static fragment => fragment.Holder).Distinct().Count() <= 1;
}
