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

    /// <summary>Clump bytes that one step moves before it lets other writers have their turn.</summary>
    public long StepBytes { get; init; } = 128L << 20;
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
/// Source: copying collection over sealed arenas as Venti's successors do it; DESIGN 5, "Reclaim". In steps, with other writers between: <see cref="ReclaimRun"/>.
/// Order: mark from every head → arenas of the trash that a head wants are taken back → condemn (hits become misses) → copy what lives, verbatim and verified
/// → flush (copies durable, catalog synced) → tombstones durable → holders move files to the trash → after running days the trash is emptied. A crash anywhere
/// leaves every wanted block in at least one arena or the journal: condemned arenas are ordinary ones again at the next start, and a tombstone is acted on again
/// by the next reclaim. The trash is emptied only by a run that marked from every head, found every block, and took back what was wanted of it.
/// Other lines: an arena that was adopted is left alone for as many running days as the trash keeps one, for its writer may not have committed what wants it;
/// and where another line was ever met, an absent holder may have a head of it, so the trash is not emptied until every holder answers.
/// Other devices: only an arena's owner does any of this to it, and empties the trash of it once every other device has answered "seen" (<see cref="DeviceAnswers"/>); a device that is absent holds up reclaim, never safety.
/// The store's lock keeps other writing processes out of each step, so none of them can be in the middle of writing; readers go on, and find trashed arenas until they are emptied.
/// </remarks>
public sealed class Reclaimer(BlockStore store, IRootWalker walker)
{
    /// <summary>All of it on one store, without letting go of it.</summary>
    public async ValueTask<ReclaimReport> RunAsync(ReclaimOptions options, Action<string, long, long>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (!options.DryRun)
        {
            await store.FlushAsync(cancel).ConfigureAwait(false);
        }

        var run = new ReclaimRun(walker, options with { StepBytes = long.MaxValue }, progress);
        await run.SurveyAsync(store, cancel).ConfigureAwait(false);
        while (!options.DryRun && await run.StepAsync(store, cancel).ConfigureAwait(false))
        {
        }

        return run.Report;
    }

    /// <summary>Moves every arena of a key domain that is about to be burned to the trash, whatever heads want. As long as the keys are there the next reclaim or repair takes them back.</summary>
    /// <returns>Image and parity bytes.</returns>
    public async ValueTask<long> TrashDomainAsync(DomainId domain, CancellationToken cancel)
    {
        await store.FlushAsync(cancel).ConfigureAwait(false);
        List<(ArenaRecord Arena, long Live)> all = [.. store.Catalog.Arenas()
            .Where(arena => arena.Domain == domain && arena.State == ArenaState.Sealed && arena.Owner == store.Device).Select(static arena => (arena, 0L))];
        (_, _, long bytes) = await EmptyAsync(all, static (_, _) => null, [], null, cancel).ConfigureAwait(false);
        await store.PublishAsync(cancel).ConfigureAwait(false);
        return bytes;
    }

    /// <summary>Deletes every arena of a key domain that this store has no keys of: they were burned, and nobody can want anything of it.</summary>
    /// <returns>Image and parity bytes, and what kept some of them, one line each.</returns>
    public async ValueTask<(long Bytes, IReadOnlyList<string> Reasons)> DeleteDomainAsync(DomainId domain, CancellationToken cancel)
    {
        long freed = 0;
        var reasons = new List<string>();
        var forgotten = new List<uint>();
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(arena => arena.Domain == domain && arena.Owner == store.Device))
        {
            if (store.HasDomain(domain))
            {
                throw new InvalidOperationException($"the keys of domain {domain} are there");
            }

            List<IFragmentHolder> holders = HoldersOf(arena, reasons, out bool isComplete);
            foreach (IFragmentHolder holder in holders)
            {
                isComplete &= await TryAsync(holder, reasons, async () =>
                {
                    await holder.TrashAsync(arena.Id, cancel).ConfigureAwait(false);
                    await holder.PurgeAsync(arena.Id, cancel).ConfigureAwait(false);
                }).ConfigureAwait(false);
            }

            if (isComplete && holders.Count > 0)
            {
                forgotten.Add(arena.Ordinal);
            }

            freed += StoredBytes(arena);
        }

        store.ForgetArenas(forgotten);
        await store.PublishAsync(cancel).ConfigureAwait(false);
        return (freed, reasons);
    }

    /// <summary>Moves what is wanted out of the arenas, and the arenas to the trash.</summary>
    /// <param name="wanted">For a clump of an arena: what is wanted of its copy, or null where nothing wants it.</param>
    /// <remarks>What goes to other machines alone is sealed and proven there before the arena that it leaves is let go of.</remarks>
    internal async ValueTask<(long Moved, int Trashed, long TrashedBytes)> EmptyAsync(
        List<(ArenaRecord Arena, long Live)> victims, Func<ArenaRecord, int, CopyWish?> wanted, List<string> reasons, Action<string, long, long>? progress, CancellationToken cancel)
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
        var proof = new AwayProof(store);
        long away = 0;
        foreach ((ArenaRecord arena, long _) in victims)
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                (long copied, long sent) = await store.CopyLiveAsync(arena, index => wanted(arena, index), cancel).ConfigureAwait(false); // 5. verbatim, verified
                moved += copied;
                away += sent;
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
        if (away > 0)
        {
            await proof.RunAsync(reasons, cancel).ConfigureAwait(false);                                               //    and, of what is freed here, proven elsewhere
            foreach (ArenaRecord arena in emptied.ToArray())
            {
                if (!await proof.HoldsAsync(arena, index => wanted(arena, index), cancel).ConfigureAwait(false))
                {
                    emptied.Remove(arena);
                    kept.Add(arena);
                }
            }
        }

        uint day = store.Catalog.RunningDays;
        store.ChangeArenas(kept);
        foreach (ArenaRecord arena in away > 0 ? kept : [])
        {
            await store.IndexAgainAsync(arena, cancel).ConfigureAwait(false);
        }

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
                await TryAsync(holder, reasons, () => holder.TrashAsync(arena.Id, cancel)).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Asks a holder to let go of something. One that vanished since the store was opened is as one that was not there then, and one that refuses keeps no other from it: it is asked again by the next run.</summary>
    /// <returns>Whether it did.</returns>
    private async ValueTask<bool> TryAsync(IFragmentHolder holder, List<string> reasons, Func<ValueTask> asks)
    {
        try
        {
            await asks().ConfigureAwait(false);
            return true;
        }
        catch (DiskException failure)
        {
            StoreHolder its = store.Holders.First(known => known.Id == holder.Id);
            AddOnce(reasons, failure.Failure == DiskFailure.Unreachable ? CannotReach(its) : $"holder {its.Place}: {failure.Message}; its fragments are deleted when it can");
            return false;
        }
    }

    private static string CannotReach(StoreHolder holder) => $"holder {holder.Place} cannot be reached; its fragments are deleted when it is back";

    /// <summary>Empties the trash of arenas that have been in it for long enough, at every holder that has some of them.</summary>
    internal async ValueTask<(long Freed, long Waiting, uint Days)> PurgeAsync(bool now, List<string> reasons, CancellationToken cancel)
    {
        long freed = 0;
        long waiting = 0;
        uint days = 0;
        var forgotten = new List<uint>();
        IReadOnlyList<string> unheard = store.PlacesOfOthers();
        IReadOnlyList<DeviceAnswers>? answers = null;
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(arena => arena.State == ArenaState.Trashed && store.Owns(arena)))
        {
            uint age = store.Catalog.RunningDays - Math.Min(store.Catalog.RunningDays, arena.TrashedOnDay);
            List<IFragmentHolder> holders = HoldersOf(arena, reasons, out bool isComplete);
            if (!store.HasKeysOf(arena))
            {
                waiting += StoredBytes(arena);
                AddOnce(reasons, $"arenas of key domain {arena.Domain}{(store.HasDomain(arena.Domain) ? $", epoch {arena.Epoch}," : "")} stay in the trash: the keyring has no keys to see what snapshots want of them");
                continue;
            }

            if (!now && age < store.TrashDays)
            {
                foreach (IFragmentHolder holder in holders)
                {
                    await TryAsync(holder, reasons, () => holder.TrashAsync(arena.Id, cancel)).ConfigureAwait(false); // again, should a crash have come between tombstone and move
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

            answers ??= await store.AnswersAsync(cancel).ConfigureAwait(false);
            if (answers.FirstOrDefault(device => !device.HasSeen(arena)) is { } silent)
            {
                waiting += StoredBytes(arena);
                AddOnce(reasons, $"{silent.Why}; what this one released stays in the trash until then{(silent.IsLocked ? "" : $" (if it will not come back: 'tdfs device retire {silent.Device}')")}");
                continue;
            }

            foreach (IFragmentHolder holder in holders)
            {
                isComplete &= await TryAsync(holder, reasons, async () =>
                {
                    await holder.TrashAsync(arena.Id, cancel).ConfigureAwait(false);
                    await holder.PurgeAsync(arena.Id, cancel).ConfigureAwait(false);
                }).ConfigureAwait(false);
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
                AddOnce(reasons, CannotReach(holder));
            }
        }

        return holders;
    }

    internal static void AddOnce(List<string> reasons, string reason)
    {
        if (!reasons.Contains(reason))
        {
            reasons.Add(reason);
        }
    }

    internal long WaitingBytes() => store.Catalog.Arenas().Where(arena => arena.State == ArenaState.Trashed && store.Owns(arena)).Sum(StoredBytes);

    internal static long StoredBytes(ArenaRecord arena) => (long)arena.Layout.FragmentCount * arena.Layout.SliceBytes;
}
