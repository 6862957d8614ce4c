using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Status, check, repair, reclaim, reindex and debug over an open block store.</summary>
/// <remarks>Owns nothing: the session disposes the store. Repair and reindex need a store opened for writing. Reclaim writes in turns.</remarks>
/// <param name="walker">Knows what is wanted.</param>
/// <param name="inTurns">How the store is written in turns, between which others write.</param>
internal sealed class StoreCare(
    BlockStore store, Keyring keyring, StorageConfig config, IDisk disk, bool hasPassphrase, IRootWalker walker, Func<Func<BlockStore, ValueTask<bool>>, CancellationToken, ValueTask> inTurns) : IStoreCare
{
    /// <summary>Null: nothing is known of peers here.</summary>
    internal StoreAudits? Audits { get; init; }

    /// <summary>What is freed on this device; null: nobody can free anything here.</summary>
    internal FreedFile? Freed { get; init; }

    /// <summary>Walks from every head with what is freed; null: with nothing.</summary>
    internal Func<FreedList, IRootWalker>? FreedWalker { get; init; }

    public IReadOnlyList<string> DebugStructures => StoreDump.Structures;

    public async ValueTask GreetAsync(CancellationToken cancel) => await (Audits?.GreetAsync(cancel) ?? Task.CompletedTask).ConfigureAwait(false);

    public StoreStatus Status()
    {
        List<ArenaRecord> kept = [.. store.Catalog.Arenas().Where(static arena => arena.State != ArenaState.Trashed)];
        List<ArenaRecord> trashed = [.. store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Trashed)];
        List<string> waiting = [.. store.Lag()];
        int homeless = kept.Sum(static arena => arena.Fragments.Count(static fragment => fragment.Holder == FragmentPlace.Nowhere));
        if (homeless > 0)
        {
            waiting.Add($"'tdfs repair' to place {Show.Count(homeless, "fragment")} that found no holder when written");
        }

        if (trashed.Count > 0)
        {
            long left = trashed.Max(arena => Math.Max(0, store.TrashDays - (store.Catalog.RunningDays - (long)Math.Min(store.Catalog.RunningDays, arena.TrashedOnDay))));
            waiting.Add(left > 0
                ? $"{Show.Count(left, "running day")} to pass for {Show.Count(trashed.Count, "arena")} in the trash"
                : $"'tdfs reclaim' to empty {Show.Count(trashed.Count, "arena")} out of the trash");
        }

        List<StoreHolder> outside = [.. store.Holders.Where(static holder => holder.IsOutside)];
        int misplaced = kept.Sum(arena => arena.Fragments.Count(fragment => outside.Exists(holder => holder.Number == fragment.Holder)));
        if (misplaced > 0)
        {
            waiting.Add($"'tdfs repair' to move {Show.Count(misplaced, "fragment")} to places{config.Countries}");
        }

        if (store.Placement.ClassFor(store.DefaultSurvive) is null)
        {
            waiting.Add(store.Placement.CannotSurvive(store.DefaultSurvive));
        }

        int freed = 0;
        try
        {
            freed = Freed?.Read().Folders.Count ?? 0;
        }
        catch (DamagedFormatException damage)
        {
            waiting.Add(damage.Message);
        }

        return new StoreStatus
        {
            FreedCount = freed,
            AwayBytes = kept.Where(static arena => arena.IsAway).Sum(static arena => (long)arena.Layout.ImageBytes),
            StorePath = config.StorePath,
            RedundancyClass = store.Placement.ClassFor(store.DefaultSurvive) is { } wanted ? $"{wanted.Data}+{wanted.Parity}" : "none",
            SurvivablePlaceCount = store.DefaultSurvive,
            Health = HealthOf(kept),
            HasPassphrase = hasPassphrase,
            ArenaCount = kept.Count,
            StoredBytes = kept.Sum(static arena => (long)arena.Layout.ImageBytes),
            ParityBytes = kept.Sum(static arena => (long)arena.Layout.ParityFragments * arena.Layout.SliceBytes),
            JournalBytes = store.Pending.Sum(static clump => (long)clump.Length),
            CacheBytes = store.Cache?.State.Bytes,
            TrashBytes = trashed.Sum(static arena => (long)arena.Layout.FragmentCount * arena.Layout.SliceBytes),
            WaitingFor = waiting,
            Lag = store.Unreplicated(),
            ReplicateWithin = config.ReplicateWithin,
            Countries = config.Countries.Countries,
            Holders = [.. store.Holders.Where(static holder => !holder.IsGone).Select(StatusOf)],
            Leaving = [.. store.Holders.Where(static holder => holder is { IsGone: true, Address.Length: > 0 })
                .Select(holder => StatusOf(holder) with { UsedBytes = kept.Sum(arena => arena.Fragments.Count(fragment => fragment.Holder == holder.Number) * (long)arena.Layout.SliceBytes) })],
            Evidence = Audits?.Evidence() ?? new StoreEvidence(0, 0, 0),
            VolumeCount = Volume.Names(store).Count,
        };
    }

    public async ValueTask<CheckResult> CheckAsync(bool readAll, IProgressSink progress, CancellationToken cancel)
    {
        ScrubReport fragments = await new Scrubber(store).CheckAsync(readAll, Reporter(progress), cancel).ConfigureAwait(false);
        var trees = new TreeCheck(store, readAll, progress);
        await trees.RunAsync(cancel).ConfigureAwait(false);
        return new CheckResult
        {
            ArenaCount = fragments.ArenaCount,
            FragmentCount = fragments.FragmentCount,
            BlockCount = trees.BlockCount,
            ReadBytes = fragments.ReadBytes + trees.ReadBytes,
            Damaged = [.. fragments.Damaged, .. trees.Damaged],
            UnreadablePaths = trees.UnreadablePaths,
        };
    }

    public async ValueTask<RepairResult> RepairAsync(IProgressSink progress, CancellationToken cancel)
    {
        // First what is wanted elsewhere: an arena that no place can mend any more is emptied, and is then no damage.
        IRootWalker asking = Freed is not null && FreedWalker is not null ? FreedWalker(StoreFreed.Read(Freed)) : walker;
        RecodeReport moved = await new Recoder(store, asking).RunAsync(Reporter(progress), cancel).ConfigureAwait(false);
        MendReport mend = await new Scrubber(store).RepairAsync(Reporter(progress), cancel).ConfigureAwait(false);
        return new RepairResult(mend.RepairedFragments, mend.WrittenBytes, [.. moved.Problems, .. mend.Unrepairable]) { MovedBytes = moved.MovedBytes, FreedBytes = moved.FreedBytes, ReturnedBytes = moved.ReturnedBytes, Failure = mend.Failure };
    }

    public async ValueTask<ReclaimResult> ReclaimAsync(bool dryRun, IProgressSink progress, CancellationToken cancel)
    {
        var options = new ReclaimOptions { LivePercent = config.LiveThresholdPercent, DryRun = dryRun, EmptyTrashNow = false };
        var run = new ReclaimRun(walker, options, Reporter(progress));
        await run.SurveyAsync(store, cancel).ConfigureAwait(false);
        if (!dryRun)
        {
            await inTurns(StepAsync, cancel).ConfigureAwait(false);
        }

        ReclaimReport report = run.Report;
        List<string> waiting = [.. report.Reasons];
        if (report.WaitingBytes > 0)
        {
            waiting.Add($"{Show.Size(report.WaitingBytes)} in the trash{(report.WaitingDays > 0 ? $" for {report.WaitingDays} more running days" : "")}");
        }

        return new ReclaimResult(report.TrashedArenas, report.MovedBytes, report.FreedBytes, report.TrashedBytes, waiting);

        ValueTask<bool> StepAsync(BlockStore writer)
        {
            writer.PassQuotas(); // what it writes is less than it gives back, and a store at its quotas must be able to shrink
            return run.StepAsync(writer, cancel);
        }
    }

    public async ValueTask<ReindexResult> ReindexAsync(IProgressSink progress, CancellationToken cancel)
    {
        await store.ReindexAsync(
            (done, total) => progress.Report(new ProgressState { Phase = "reindexing", Current = $"{Show.Count(done)} of {Show.Count(total, "arena")}" }), cancel).ConfigureAwait(false);
        List<ArenaRecord> kept = [.. store.Catalog.Arenas().Where(static arena => arena.State != ArenaState.Trashed)];
        return new ReindexResult(kept.Count, kept.Sum(static arena => (long)arena.ClumpCount));
    }

    public ValueTask DebugAsync(string structure, string? name, bool withNames, DebugPage page, CancellationToken cancel) =>
        new StoreDump(store, keyring, config, disk, page, withNames).WriteAsync(structure, name, cancel);

    /// <summary>By the catalog, and by who answers: `tdfs health` asks the holders for their records, and `tdfs check` for the bytes.</summary>
    private StoreHealth? HealthOf(List<ArenaRecord> kept)
    {
        if (kept.Count == 0)
        {
            return null;
        }

        HashSet<ushort> there = [.. store.Holders.Where(holder => FreeBytes(disk, holder) is not null && Audits?.StandingOf(holder) != HolderStanding.Lost).Select(static holder => holder.Number)];
        string[] places = [.. store.Holders.Where(static holder => !holder.IsGone).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal)];
        int missing = places.Count(place => !store.Holders.Any(holder => holder.Place == place && there.Contains(holder.Number)));
        (int Promised, int Left)[] arenas =
            [.. kept.Select(arena => (arena.Survive, Placement.LossesOutlived(arena.Layout, Placement.CountsByPlace(arena.Fragments.Select(fragment => store.HolderOf(fragment.Holder)), holder => there.Contains(holder.Number)))))];
        return new StoreHealth(arenas.Min(static arena => arena.Left), arenas.Count(static arena => arena.Left < arena.Promised), arenas.Count(static arena => arena.Left < 0), missing, places.Length);
    }

    private HolderStatus StatusOf(StoreHolder holder)
    {
        long? free = FreeBytes(disk, holder); // it may have gone since the store was opened
        return new HolderStatus(PeerHolders.Show(holder), holder.Place, free is not null, store.Catalog.HeldBytes(holder.Number), holder.QuotaBytes, free ?? 0) { Standing = Audits?.StandingOf(holder) ?? default, Country = holder.Country, IsOutside = holder.IsOutside };
    }

    /// <summary>What a holder's disk, or a peer, has room for; null: it cannot be reached.</summary>
    internal static long? FreeBytes(IDisk disk, StoreHolder holder)
    {
        try
        {
            return holder.Itself switch { null or PeerHolder { Connection: { IsSilent: true } or { IsSlow: true } } => null, PeerHolder peer => peer.Hello.RoomBytes, _ => disk.FreeBytes(holder.Address) };
        }
        catch (DiskException)
        {
            return null;
        }
    }

    private static Action<string, long, long> Reporter(IProgressSink progress) => (phase, done, total) => progress.Report(total > 0
        ? new ProgressState { Phase = phase, Bytes = done, TotalBytes = total }
        : new ProgressState { Phase = phase, Current = Show.Count(done, "block") });
}
