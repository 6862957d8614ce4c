using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>What a re-coding did.</summary>
/// <param name="MovedBytes">Clump bytes that went to arenas of the redundancy wanted.</param>
/// <param name="EmptiedArenas">Arenas that had nothing left and went to the trash.</param>
/// <param name="Problems">What could not be done, one line each.</param>
public sealed record RecodeReport(long MovedBytes, int EmptiedArenas, IReadOnlyList<string> Problems);

/// <summary>Moves what is kept weaker than it is wanted into arenas of the redundancy wanted.</summary>
/// <remarks>
/// A block is wanted as strong as the strongest of its references: directories say so (<see cref="IRedundancyMarker"/>), else the store's own setting counts.
/// Weaker it is when the wish came later, or when places came or went: an arena's record says how many lost places it outlives once it is mended over the
/// places that are configured, and is written again where that has changed.
/// Order: records of arenas durable → mark from every head → copies, verbatim and verified, durable → only then tombstones, as in <see cref="Reclaimer"/>,
/// for arenas that have nothing wanted left. A crash anywhere leaves every wanted block where it was, where it goes, or in both.
/// What stays behind beside other wanted blocks is freed by a later reclaim. Needs the writer's lock; readers go on.
/// </remarks>
public sealed class Recoder(BlockStore store, IRootWalker walker)
{
    public async ValueTask<RecodeReport> RunAsync(Action<string, long, long>? progress, CancellationToken cancel)
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

        await store.TakeBackAsync(                                                                          // and what is wanted and only in the trash is taken back
            arena => wanted.TryGetValue(arena.Domain, out WantedMap? map) && map.HasAny(arena.Ordinal), cancel).ConfigureAwait(false);
        bool isAllThere = wanted.Values.All(static map => map.MissingCount == 0);
        var emptied = new List<(ArenaRecord Arena, long Live)>();
        var partly = new List<ArenaRecord>();
        long total = 0;
        foreach (ArenaRecord arena in store.Catalog.Arenas())
        {
            if (arena.State != ArenaState.Sealed || arena.SealSequence > sequence || !store.Owns(arena) || !wanted.TryGetValue(arena.Domain, out WantedMap? map))
            {
                continue;
            }

            cancel.ThrowIfCancellationRequested();
            if (await LookAsync(arena, map, problems, cancel).ConfigureAwait(false) is not { } look)
            {
                continue;
            }

            if (isAllThere && store.WaitsFor(arena) == 0 && (look.Rising == look.Live || !IsMendable(arena)) && (look.Live > 0 || !IsMendable(arena)))
            {
                emptied.Add((arena, look.Live));
                total += look.Live;
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
            emptied, (arena, index) => wanted[arena.Domain].Wanted(arena, index), problems, progress, cancel).ConfigureAwait(false);
        moved += copied;
        foreach (ArenaRecord arena in partly)                                                              // 5. the part of others that is wanted stronger
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                moved += await store.CopyLiveAsync(
                    arena, index => wanted[arena.Domain].Wanted(arena, index) is int survive && survive > arena.Survive ? survive : null, cancel).ConfigureAwait(false);
            }
            catch (DamagedBlockException damage)
            {
                problems.Add($"arena {arena.Ordinal}: some of it stays weaker than wanted: {damage.Message}");
            }

            progress?.Invoke("moving blocks to the redundancy wanted", moved, total);
        }

        await store.FlushAsync(cancel).ConfigureAwait(false);                                              // 6. durable
        return new RecodeReport(moved, trashed, problems);
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
                int survive = Math.Max(0, store.Placement.SurvivesOnceMended(arena.Layout, HoldersOf(arena)));
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

    /// <summary>Bytes of the arena that are wanted, and those of them that are wanted stronger than it is. Null: its directory is lost.</summary>
    private async ValueTask<(long Live, long Rising)?> LookAsync(ArenaRecord arena, WantedMap map, List<string> problems, CancellationToken cancel)
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
        for (int i = 0; i < directory.Count; i++)
        {
            if (map.Wanted(arena, i) is int survive)
            {
                live += directory[i].Length;
                rising += survive > arena.Survive ? directory[i].Length : 0;
            }
        }

        return (live, rising);
    }

    /// <summary>Whether every fragment has a configured holder, or a place that can take it.</summary>
    private bool IsMendable(ArenaRecord arena) => IsForOnePlace(arena) || store.Placement.CanTakeAll(arena.Layout, HoldersOf(arena));

    /// <summary>All its fragments lie in one place by intent: more of them than there were places.</summary>
    internal static bool IsForOnePlace(ArenaRecord arena) =>
        arena.Survive == 0 && arena.Layout.ParityFragments == 1 && arena.Fragments.Select(static fragment => fragment.Holder).Distinct().Count() <= 1;

    private List<StoreHolder?> HoldersOf(ArenaRecord arena) => [.. arena.Fragments.Select(fragment => store.HolderOf(fragment.Holder))];
}
