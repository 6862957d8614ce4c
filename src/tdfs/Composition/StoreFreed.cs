using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>What is freed on this device, and freeing it.</summary>
/// <remarks>
/// Order: peers are asked to show what they keep → what is freed is looked at, and refused where it would not be safe → the list names it, durably → blocks move (<see cref="Recoder"/>).
/// A crash behind the list leaves what the next `free` or `repair` goes on with. Kept again: the list first, too. Owns nothing; needs the writer's lock, alone.
/// </remarks>
/// <param name="walkerFor">Walks from every head with what is freed.</param>
internal sealed class StoreFreed(BlockStore store, StoreVolumes volumes, StoreAudits audits, FreedFile file, Func<FreedList, IRootWalker> walkerFor, TimeProvider clock) : IFreed
{
    private const int AuditCount = 2;

    internal static FreedFile FileOf(string stateFolder, SecretBytes cacheKey, IDisk disk, IRandomSource random, TimeProvider clock) => new(disk, stateFolder, cacheKey, random, clock);

    public IReadOnlyList<FreedInfo> List()
    {
        IReadOnlyList<Head> heads = store.Heads;
        return [.. file.Read().Folders.Select(folder => new FreedInfo(heads.FirstOrDefault(head => head.Volume == folder.Volume)?.VolumeName ?? folder.Volume.ToString(), folder.Path.ToArray(), folder.SinceSeconds))];
    }

    public async ValueTask<FreeResult> FreeAsync(string snapshot, byte[] path, bool dryRun, IProgressSink progress, CancellationToken cancel)
    {
        (VolumeId volume, string name, byte[] found) = await volumes.FindPathAsync(snapshot, path, cancel).ConfigureAwait(false);
        if (found.Length > FreedList.MaxPathBytes)
        {
            throw new UserError(ExitCode.Usage, $"found a path of {found.Length} bytes, expected at most {FreedList.MaxPathBytes}; free a folder above it");
        }

        var folder = new FreedFolder(volume, found, clock.GetUtcNow().ToUnixTimeSeconds());
        FreedList before = file.Read();
        if (before.With(folder) is { Folders.Count: > FreedList.MaxFolders })
        {
            throw new UserError(ExitCode.Usage, $"found {before.Folders.Count} freed folders, expected at most {FreedList.MaxFolders}; free a folder above several of them");
        }

        List<string> silent = [.. (await audits.RunAsync(null, AuditCount, cancel).ConfigureAwait(false)).Where(static audit => audit.Failed > 0 || (audit.Unanswered > 0 && audit.Passed == 0)).Select(static audit => audit.Name)];
        FreedSurvey? seen = null;
        HashSet<uint> trashed = TrashedHere();
        var recoder = new Recoder(store, walkerFor(before.With(folder)));
        bool isOnlyAsked = dryRun || store.PendingCount > 0;
        RecodeReport report = await recoder.RunAsync(DecideAsync, Reporter(progress), cancel).ConfigureAwait(false);
        if (isOnlyAsked && !dryRun && seen is not null)
        {
            isOnlyAsked = false;
            await store.SealAllAsync(cancel).ConfigureAwait(false); // what the journal holds of it goes too; a refusal has changed nothing before
            report = await recoder.RunAsync(DecideAsync, Reporter(progress), cancel).ConfigureAwait(false);
        }

        if (seen is null)
        {
            throw new UserError(ExitCode.Damaged, $"not freed: {report.Problems.DefaultIfEmpty("what is wanted where cannot be told").First()}; `tdfs check` looks for damage, `tdfs repair` mends it");
        }

        if (!dryRun)
        {
            await store.PublishAsync(cancel).ConfigureAwait(false);
        }

        return new FreeResult
        {
            Volume = name,
            Path = found,
            MovedBytes = dryRun ? seen.HereBytes : report.FreedBytes,
            AwayBytes = seen.AwayBytes,
            SharedBytes = seen.SharedBytes,
            OthersBytes = seen.OthersBytes,
            LocalBytes = seen.LocalBytes,
            TrashedBytes = LocalBytes(trashed),
            TrashDays = store.TrashDays,
            Problems = report.Problems,
        };

        async ValueTask<bool> DecideAsync(FreedSurvey survey)
        {
            seen = survey;
            if (Refusal(survey, silent) is { } refusal)
            {
                throw new UserError(ExitCode.Reported, "not freed: " + refusal);
            }

            if (!isOnlyAsked)
            {
                await file.ChangeAsync(list => list.With(folder), cancel).ConfigureAwait(false);
            }

            return !isOnlyAsked;
        }
    }

    public async ValueTask<FreeResult> KeepAsync(string snapshot, byte[] path, IProgressSink progress, CancellationToken cancel)
    {
        (VolumeId volume, string name, byte[] found) = await volumes.FindPathAsync(snapshot, path, cancel, mayBeGone: true).ConfigureAwait(false);
        FreedList before = file.Read();
        if (ReferenceEquals(before, before.Without(volume, found)))
        {
            throw new UserError(ExitCode.NotFound, before.Find(volume, found) is { } above
                ? $"found {TerminalText.Escape(found)} below {(above.Path.IsEmpty ? "all of the volume" : TerminalText.Escape(above.Path.Span))}, which is freed as a whole; keep that here, and free what else of it may go"
                : $"{(found.Length == 0 ? name : TerminalText.Escape(found))} is not freed; `tdfs free --list` shows what is");
        }

        FreedList after = await file.ChangeAsync(list => list.Without(volume, found), cancel).ConfigureAwait(false);
        RecodeReport report = await new Recoder(store, walkerFor(after)).RunAsync(Reporter(progress), cancel).ConfigureAwait(false);
        await store.PublishAsync(cancel).ConfigureAwait(false);
        return new FreeResult { Volume = name, Path = found, MovedBytes = report.ReturnedBytes, Problems = report.Problems };
    }

    /// <summary>Why what is freed would not be safe without this device; null: it would.</summary>
    /// <param name="silent">Peers that did not show what they were asked for just now: none of them counts.</param>
    private string? Refusal(FreedSurvey survey, List<string> silent)
    {
        if (survey.MissingBlocks > 0)
        {
            return $"{Show.Count(survey.MissingBlocks, "block")} of what snapshots want cannot be found now, so nothing can be let go of; `tdfs check` says what is damaged or away";
        }

        if (survey.HereBytes == 0)
        {
            return null;
        }

        int found = store.Holders.Where(holder => holder is { IsElsewhere: true, IsGone: false, IsDoubted: false, Holder: not null } && !silent.Contains(audits.NameOfHolder(holder)))
            .Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
        if (found < survey.NeededPlaces)
        {
            (long bytes, string arenas) = survey.UnsafeBytes > 0 && silent.Count == 0 ? (survey.UnsafeBytes, survey.UnsafeArenas > 0 ? $" in {Show.Count(survey.UnsafeArenas, "arena")}" : "") : (survey.HereBytes, "");
            string[] away = [.. store.Holders.Where(static holder => holder is { IsElsewhere: true, IsGone: false } and ({ Holder: null } or { IsDoubted: true })).Select(PeerHolders.Show), .. silent.Select(static name => $"peer {name}")];
            return $"{Show.Size(bytes)}{arenas} would need {Show.Count(survey.NeededPlaces, "place")} on other machines, and {found} {(found == 1 ? "was" : "were")} verified"
                + (away.Length > 0 ? $" (not verified: {TerminalText.Clean(string.Join(", ", away.Distinct()))})" : "")
                + "; bring them back or meet another peer, or ask less of the folder with `tdfs redundancy set`";
        }

        return survey.PlacesWithRoom < survey.NeededPlaces
            ? $"{Show.Size(survey.HereBytes)} would need room at {Show.Count(survey.NeededPlaces, "place")} on other machines, and {survey.PlacesWithRoom} {(survey.PlacesWithRoom == 1 ? "has" : "have")} it; free less at a time, or ask a peer for more"
            : null;
    }

    private HashSet<uint> TrashedHere() => [.. store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Trashed).Select(static arena => arena.Ordinal)];

    /// <summary>Bytes in folders of this device of what is in the trash now and was not.</summary>
    private long LocalBytes(HashSet<uint> before) => store.Catalog.Arenas().Where(arena => arena.State == ArenaState.Trashed && !before.Contains(arena.Ordinal))
        .Sum(arena => arena.Fragments.Count(fragment => store.HolderOf(fragment.Holder) is { IsElsewhere: false }) * (long)arena.Layout.SliceBytes);

    private static Action<string, long, long> Reporter(IProgressSink progress) => (phase, done, total) => progress.Report(total > 0
        ? new ProgressState { Phase = phase, Bytes = done, TotalBytes = total }
        : new ProgressState { Phase = phase, Current = Show.Count(done, "block") });
}
