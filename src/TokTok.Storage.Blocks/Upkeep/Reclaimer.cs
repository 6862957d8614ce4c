using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

public sealed record ReclaimOptions
{
    /// <summary>An arena is emptied when less than this share of its clump bytes is wanted.</summary>
    public int LivePercent { get; init; } = 75;

    /// <summary>Empties the trash at once instead of after the running days that the store's options say.</summary>
    public bool EmptyTrashNow { get; init; }

    /// <summary>Only says what would be done.</summary>
    public bool DryRun { get; init; }
}

/// <summary>What a reclaim did, in bytes of clumps unless said otherwise.</summary>
public sealed record ReclaimReport
{
    public int ArenaCount { get; init; }

    public long WantedBlocks { get; init; }

    public long LiveBytes { get; init; }

    public long DeadBytes { get; init; }

    public long MovedBytes { get; init; }

    public int TrashedArenas { get; init; }

    /// <summary>Image and parity bytes that went to the trash now.</summary>
    public long TrashedBytes { get; init; }

    /// <summary>Image and parity bytes whose trash was emptied: space freed.</summary>
    public long FreedBytes { get; init; }

    /// <summary>Image and parity bytes in the trash after this run.</summary>
    public long WaitingBytes { get; init; }

    /// <summary>Running days until the last of the waiting bytes may go.</summary>
    public uint WaitingDays { get; init; }

    /// <summary>Blocks that a root wants and no arena holds.</summary>
    public long MissingBlocks { get; init; }

    /// <summary>Why space is not freed: one line each.</summary>
    public IReadOnlyList<string> Reasons { get; init; } = [];
}

/// <summary>Gives back the space of blocks that no root wants.</summary>
/// <remarks>
/// Source: copying collection over sealed arenas as Venti's successors do it; DESIGN 5, "Reclaim".
/// Order: mark from every head → arenas of the trash that a head wants are taken back → condemn (hits become misses) → copy what lives, verbatim and verified
/// → flush (copies durable, catalog synced) → tombstones durable → holders move files to the trash → after running days the trash is emptied. A crash anywhere
/// leaves every wanted block in at least one arena or the journal: condemned arenas are ordinary ones again at the next start, and a tombstone is acted on again
/// by the next reclaim. The trash is emptied only by a run that marked from every head, found every block, and took back what was wanted of it.
/// Other lines: an arena that was adopted is left alone for as many running days as the trash keeps one, for its writer may not have committed what wants it;
/// and where another line was ever met, an absent holder may have a head of it, so the trash is not emptied until every holder answers.
/// The store's lock keeps other writing processes out, so no writer can have begun earlier; readers go on, and find trashed arenas until they are emptied.
/// </remarks>
public sealed class Reclaimer(BlockStore store, IRootWalker walker)
{
    public async ValueTask<ReclaimReport> RunAsync(ReclaimOptions options, Action<string, long, long>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(options);
        var reasons = new List<string>();
        if (!options.DryRun)
        {
            await store.FlushAsync(cancel).ConfigureAwait(false);
        }

        ulong sequence = store.Catalog.Sequence;                                             // 1. what was sealed later is not looked at
        Dictionary<DomainId, LiveMap> live = await MarkAsync(progress, cancel).ConfigureAwait(false); // 2. every root
        long missing = live.Values.Sum(static map => map.MissingCount);
        if (missing > 0)
        {
            reasons.Add($"{missing} blocks that snapshots want are in no arena; nothing is deleted until 'tdfs check' and 'tdfs repair' have seen to them");
        }

        if (!options.DryRun)
        {
            await store.TakeBackAsync(                                                               // 3. of the trash, what a root wants
                arena => live.TryGetValue(arena.Domain, out LiveMap? map) && map.HasAny(arena.Ordinal), cancel).ConfigureAwait(false);
        }

        long liveBytes = 0;
        long deadBytes = 0;
        int arenaCount = 0;
        int waitingCount = 0;
        uint waitingDays = 0;
        var victims = new List<(ArenaRecord Arena, long Live)>();
        foreach (ArenaRecord arena in store.Catalog.Arenas())
        {
            if (arena.State != ArenaState.Sealed || arena.SealSequence > sequence || arena.Owner != store.Device || !live.TryGetValue(arena.Domain, out LiveMap? map))
            {
                continue;
            }

            cancel.ThrowIfCancellationRequested();
            arenaCount++;
            ArenaDirectory directory;
            try
            {
                directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                reasons.Add($"arena {arena.Ordinal} is damaged beyond its parity and is left alone: {damage.Message}");
                continue;
            }

            long its = map.LiveBytes(arena.Ordinal, directory);
            liveBytes += its;
            deadBytes += arena.ClumpBytes - its;
            if (its * 100 < (long)arena.ClumpBytes * options.LivePercent)
            {
                uint waits = store.WaitsFor(arena);
                if (waits > 0)
                {
                    waitingCount++;
                    waitingDays = Math.Max(waitingDays, waits);
                    continue;
                }

                victims.Add((arena, its));
            }
        }

        if (waitingCount > 0)
        {
            reasons.Add($"{waitingCount} arenas came from another copy of this device's state, which may still be writing what wants them: they are left alone for {waitingDays} more running days");
        }

        long moved = 0;
        int trashed = 0;
        long trashedBytes = 0;
        if (missing == 0 && !options.DryRun)
        {
            (moved, trashed, trashedBytes) = await EmptyAsync(
                victims, (arena, index) => live[arena.Domain].IsLive(arena.Ordinal, index) ? arena.Survive : null, reasons, progress, cancel).ConfigureAwait(false);
        }

        (long freed, long waiting, uint days) = missing > 0 || options.DryRun
            ? (0, WaitingBytes(), 0u)
            : await PurgeAsync(options.EmptyTrashNow, reasons, cancel).ConfigureAwait(false);
        if (!options.DryRun)
        {
            await store.PublishAsync(cancel).ConfigureAwait(false);
        }

        return new ReclaimReport
        {
            ArenaCount = arenaCount,
            WantedBlocks = live.Values.Sum(static map => map.MarkedCount),
            LiveBytes = liveBytes,
            DeadBytes = deadBytes,
            MovedBytes = options.DryRun ? victims.Sum(static victim => victim.Live) : moved,
            TrashedArenas = options.DryRun ? victims.Count : trashed,
            TrashedBytes = options.DryRun ? victims.Sum(static victim => StoredBytes(victim.Arena)) : trashedBytes,
            FreedBytes = freed,
            WaitingBytes = waiting,
            WaitingDays = days,
            MissingBlocks = missing,
            Reasons = reasons,
        };
    }

    private async ValueTask<Dictionary<DomainId, LiveMap>> MarkAsync(Action<string, long, long>? progress, CancellationToken cancel)
    {
        var live = new Dictionary<DomainId, LiveMap>();
        foreach (Head head in store.Heads)
        {
            if (!live.TryGetValue(head.Domain, out LiveMap? map))
            {
                live[head.Domain] = map = new LiveMap(store, head.Domain);
            }

            progress?.Invoke($"marking {head.VolumeName}", map.MarkedCount, 0);
            await walker.MarkAsync(head, store.OpenBlocks(head.Domain, 0), map, cancel).ConfigureAwait(false);
        }

        return live;
    }

    /// <summary>Moves what is wanted out of the arenas, and the arenas to the trash.</summary>
    /// <param name="wanted">For a clump of an arena: how many lost places its copy is to survive, or null where nothing wants it.</param>
    internal async ValueTask<(long Moved, int Trashed, long TrashedBytes)> EmptyAsync(
        List<(ArenaRecord Arena, long Live)> victims, Func<ArenaRecord, int, int?> wanted, List<string> reasons, Action<string, long, long>? progress, CancellationToken cancel)
    {
        if (victims.Count == 0)
        {
            return default;
        }

        store.ChangeArenas(victims.ConvertAll(static victim => victim.Arena with { State = ArenaState.Condemned }));   // 4. hits on them are misses from here
        long moved = 0;
        long total = victims.Sum(static victim => victim.Live);
        var emptied = new List<ArenaRecord>();
        var kept = new List<ArenaRecord>();
        foreach ((ArenaRecord arena, long _) in victims)
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                moved += await store.CopyLiveAsync(arena, index => wanted(arena, index), cancel).ConfigureAwait(false); // 5. verbatim, verified
                emptied.Add(arena);
            }
            catch (DamagedBlockException damage)
            {
                reasons.Add($"arena {arena.Ordinal} keeps its space: {damage.Message}");
                kept.Add(arena);
            }

            progress?.Invoke("moving wanted blocks", moved, total);
        }

        await store.FlushAsync(cancel).ConfigureAwait(false);                                                          // 6. copies durable
        uint day = store.Catalog.RunningDays;
        store.ChangeArenas(kept);
        store.ChangeArenas(emptied.ConvertAll(arena => arena with { State = ArenaState.Trashed, TrashedOnDay = day })); // 7. tombstones, durable
        await TrashFilesAsync(emptied, reasons, cancel).ConfigureAwait(false);                                         // 8. files out of the way
        return (moved, emptied.Count, emptied.Sum(StoredBytes));
    }

    private async ValueTask TrashFilesAsync(IEnumerable<ArenaRecord> arenas, List<string> reasons, CancellationToken cancel)
    {
        foreach (ArenaRecord arena in arenas)
        {
            foreach (IFragmentHolder holder in HoldersOf(arena, reasons, out _))
            {
                await holder.TrashAsync(arena.Id, cancel).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Empties the trash of arenas that have been in it for long enough, at every holder that has some of them.</summary>
    private async ValueTask<(long Freed, long Waiting, uint Days)> PurgeAsync(bool now, List<string> reasons, CancellationToken cancel)
    {
        long freed = 0;
        long waiting = 0;
        uint days = 0;
        var forgotten = new List<uint>();
        IReadOnlyList<string> unheard = store.PlacesOfOthers();
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Trashed))
        {
            uint age = store.Catalog.RunningDays - Math.Min(store.Catalog.RunningDays, arena.TrashedOnDay);
            IReadOnlyList<IFragmentHolder> holders = HoldersOf(arena, reasons, out bool isComplete);
            if (!store.HasKeysOf(arena))
            {
                waiting += StoredBytes(arena);
                AddOnce(reasons, $"arenas of key domain {arena.Domain} stay in the trash: the keyring has no keys to see what snapshots want of them");
                continue;
            }

            if (!now && age < store.TrashDays)
            {
                foreach (IFragmentHolder holder in holders)
                {
                    await holder.TrashAsync(arena.Id, cancel).ConfigureAwait(false); // again, should a crash have come between tombstone and move
                }

                waiting += StoredBytes(arena);
                days = Math.Max(days, (uint)store.TrashDays - age);
                continue;
            }

            if (unheard.Count > 0)
            {
                waiting += StoredBytes(arena);
                AddOnce(reasons, $"the trash is not emptied while holder {unheard[0]} is away: another copy of this device's state may have left snapshots there that want some of it; attach it, or take it out of storage.toml");
                continue;
            }

            foreach (IFragmentHolder holder in holders)
            {
                await holder.TrashAsync(arena.Id, cancel).ConfigureAwait(false);
                await holder.PurgeAsync(arena.Id, cancel).ConfigureAwait(false);
            }

            freed += StoredBytes(arena);
            if (isComplete)
            {
                forgotten.Add(arena.Ordinal);
            }
        }

        store.ForgetArenas(forgotten);
        return (freed, waiting, days);
    }

    private List<IFragmentHolder> HoldersOf(ArenaRecord arena, List<string> reasons, out bool isComplete)
    {
        isComplete = true;
        var holders = new List<IFragmentHolder>();
        foreach (ushort number in arena.Fragments.Select(static fragment => fragment.Holder).Where(static number => number != FragmentPlace.Nowhere).Distinct())
        {
            StoreHolder? holder = store.HolderOf(number);
            if (holder?.Holder is { } reachable)
            {
                holders.Add(reachable);
            }
            else if (holder is { IsGone: false })
            {
                isComplete = false;
                AddOnce(reasons, $"holder {holder.Place} cannot be reached; its fragments are deleted when it is back");
            }
        }

        return holders;
    }

    private static void AddOnce(List<string> reasons, string reason)
    {
        if (!reasons.Contains(reason))
        {
            reasons.Add(reason);
        }
    }

    private long WaitingBytes() => store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Trashed).Sum(StoredBytes);

    private static long StoredBytes(ArenaRecord arena) => (long)arena.Layout.FragmentCount * arena.Layout.SliceBytes;
}
