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
/// A crash behind the list leaves what the next `free` or `repair` goes on with. Kept again: the list first, too. Owns nothing. Writes in turns: what was written meanwhile is walked by the next one, and asked about anew.
/// </remarks>
/// <param name="walkerFor">Walks from every head with what is freed.</param>
/// <param name="inTurns">How the store is written in turns, between which others write; a turn holds every open volume.</param>
internal sealed class StoreFreed(
    BlockStore store, StoreVolumes volumes, StoreAudits audits, FreedFile file, Func<FreedList, IRootWalker> walkerFor, Func<Func<BlockStore, ValueTask<bool>>, CancellationToken, ValueTask> inTurns, TimeProvider clock) : IFreed
{
    /// <summary>What the note of a store's lock calls it: whoever wants to write waits for its turn, as with reclaim.</summary>
    internal const string Verb = "free";

    private const int AuditCount = 2;

    /// <summary>What one turn moves: each begins with a walk over all roots, and others wait for its end.</summary>
    private const long StepBytes = 1L << 30;

    internal static FreedFile FileOf(string stateFolder, SecretBytes cacheKey, IDisk disk, IRandomSource random, TimeProvider clock) => new(disk, stateFolder, cacheKey, random, clock);

    /// <exception cref="UserError">The list is there and cannot be read.</exception>
    internal static FreedList Read(FreedFile file)
    {
        try
        {
            return file.Read();
        }
        catch (DamagedFormatException damage)
        {
            throw new UserError(ExitCode.Damaged, damage.Message, damage);
        }
    }

    public IReadOnlyList<FreedInfo> List()
    {
        IReadOnlyList<Head> heads = store.Heads;
        return [.. Read(file).Folders.Select(folder => new FreedInfo(heads.FirstOrDefault(head => head.Volume == folder.Volume)?.VolumeName ?? folder.Volume.ToString(), folder.Path.ToArray(), folder.SinceSeconds))];
    }

    public async ValueTask<FreeResult> FreeAsync(string snapshot, byte[] path, bool dryRun, IProgressSink progress, CancellationToken cancel)
    {
        (VolumeId volume, string name, byte[] found) = await volumes.FindPathAsync(snapshot, path, cancel).ConfigureAwait(false);
        if (found.Length > FreedList.MaxPathBytes)
        {
            throw new UserError(ExitCode.Usage, $"found a path of {found.Length} bytes, expected at most {FreedList.MaxPathBytes}; free a folder above it");
        }

        var folder = new FreedFolder(volume, found, clock.GetUtcNow().ToUnixTimeSeconds());
        FreedList before = Read(file);
        if (before.With(folder) is { Folders.Count: > FreedList.MaxFolders })
        {
            throw new UserError(ExitCode.Usage, $"found {before.Folders.Count} freed folders, expected at most {FreedList.MaxFolders}; free a folder above several of them");
        }

        List<string> silent = [.. (await audits.RunAsync(null, AuditCount, cancel).ConfigureAwait(false)).Where(static audit => audit.Failed > 0 || (audit.Unanswered > 0 && audit.Passed == 0)).Select(static audit => audit.Name)];
        FreedSurvey? first = null;
        long freed = 0;
        long trashed = 0;
        List<string> problems = [];
        await inTurns(TurnAsync, cancel).ConfigureAwait(false);
        return new FreeResult
        {
            Volume = name,
            Path = found,
            MovedBytes = dryRun ? first!.HereBytes : freed,
            AwayBytes = first!.AwayBytes,
            SharedBytes = first.SharedBytes,
            OthersBytes = first.OthersBytes,
            LocalBytes = first.LocalBytes,
            TrashedBytes = trashed,
            TrashDays = store.TrashDays,
            Problems = problems,
        };

        async ValueTask<bool> TurnAsync(BlockStore writer)
        {
            HashSet<uint> trash = Trash(writer);
            var recoder = new Recoder(writer, walkerFor(before.With(folder))) { StepBytes = StepBytes };
            bool isOnlyAsked = dryRun || (first is null && writer.PendingCount > 0);
            RecodeReport report = await recoder.RunAsync(DecideAsync, Reporter(progress), cancel).ConfigureAwait(false);
            if (isOnlyAsked && !dryRun && first is not null)
            {
                isOnlyAsked = false;
                await writer.SealAllAsync(cancel).ConfigureAwait(false); // what the journal holds of it goes too; a refusal has changed nothing before
                report = await recoder.RunAsync(DecideAsync, Reporter(progress), cancel).ConfigureAwait(false);
            }

            if (first is null)
            {
                throw new UserError(ExitCode.Damaged, $"not freed: {report.Problems.DefaultIfEmpty("what is wanted where cannot be told").First()}; `tdfs check` looks for damage, `tdfs repair` mends it");
            }

            freed += report.FreedBytes;
            trashed += LocalBytes(writer, trash);
            problems.AddRange(report.Problems);
            if (!dryRun)
            {
                await writer.PublishAsync(cancel).ConfigureAwait(false);
            }

            return report is { HasMore: true, MovedBytes: > 0, Problems.Count: 0 };

            async ValueTask<bool> DecideAsync(FreedSurvey survey)
            {
                if (Refusal(writer, survey, silent) is { } refusal)
                {
                    throw new UserError(ExitCode.Reported, $"{(freed > 0 ? $"{Show.Size(freed)} were freed, the rest is not" : "not freed")}: {refusal}");
                }

                first = first is null || isOnlyAsked ? survey : first with { LocalBytes = Math.Max(first.LocalBytes, survey.LocalBytes) };
                if (!isOnlyAsked)
                {
                    await file.ChangeAsync(list => list.With(folder), cancel).ConfigureAwait(false);
                }

                return !isOnlyAsked;
            }
        }
    }

    public async ValueTask<FreeResult> KeepAsync(string snapshot, byte[] path, IProgressSink progress, CancellationToken cancel)
    {
        (VolumeId volume, string name, byte[] found) = await volumes.FindPathAsync(snapshot, path, cancel, mayBeGone: true).ConfigureAwait(false);
        FreedList before = Read(file);
        if (ReferenceEquals(before, before.Without(volume, found)))
        {
            throw new UserError(ExitCode.NotFound, before.Find(volume, found) is { } above
                ? $"found {TerminalText.Escape(found)} below {(above.Path.IsEmpty ? "all of the volume" : TerminalText.Escape(above.Path.Span))}, which is freed as a whole; keep that here, and free what else of it may go"
                : $"{(found.Length == 0 ? name : TerminalText.Escape(found))} is not freed; `tdfs free --list` shows what is");
        }

        FreedList after = await file.ChangeAsync(list => list.Without(volume, found), cancel).ConfigureAwait(false);
        long returned = 0;
        List<string> problems = [];
        await inTurns(
            async writer =>
            {
                RecodeReport report = await new Recoder(writer, walkerFor(after)) { StepBytes = StepBytes }.RunAsync(Reporter(progress), cancel).ConfigureAwait(false);
                await writer.PublishAsync(cancel).ConfigureAwait(false);
                returned += report.ReturnedBytes;
                problems.AddRange(report.Problems);
                return report is { HasMore: true, MovedBytes: > 0, Problems.Count: 0 };
            },
            cancel).ConfigureAwait(false);
        return new FreeResult { Volume = name, Path = found, MovedBytes = returned, Problems = problems };
    }

    /// <summary>Why what is freed would not be safe without this device; null: it would.</summary>
    /// <param name="silent">Peers that did not show what they were asked for just now: none of them counts.</param>
    private static string? Refusal(BlockStore writer, FreedSurvey survey, List<string> silent)
    {
        if (survey.MissingBlocks > 0)
        {
            return $"{Show.Count(survey.MissingBlocks, "block")} of what snapshots want cannot be found now, so nothing can be let go of; `tdfs check` says what is damaged or away";
        }

        if (survey.HereBytes == 0)
        {
            return null;
        }

        int found = writer.Holders.Where(holder => holder is { IsElsewhere: true, IsGone: false, IsDoubted: false, Holder: not null } && !silent.Contains(StoreAudits.NameOf(holder)))
            .Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
        if (found < survey.NeededPlaces)
        {
            (long bytes, string arenas) = survey.UnsafeBytes > 0 && silent.Count == 0 ? (survey.UnsafeBytes, survey.UnsafeArenas > 0 ? $" in {Show.Count(survey.UnsafeArenas, "arena")}" : "") : (survey.HereBytes, "");
            string[] away = [.. writer.Holders.Where(static holder => holder is { IsElsewhere: true, IsGone: false } and ({ Holder: null } or { IsDoubted: true })).Select(PeerHolders.Show), .. silent.Select(static name => $"peer {name}")];
            return $"{Show.Size(bytes)}{arenas} would need {Show.Count(survey.NeededPlaces, "place")} on other machines, and {found} {(found == 1 ? "was" : "were")} verified"
                + (away.Length > 0 ? $" (not verified: {TerminalText.Clean(string.Join(", ", away.Distinct()))})" : "")
                + "; bring them back or meet another peer, or ask less of the folder with `tdfs redundancy set`";
        }

        return survey.PlacesWithRoom < survey.NeededPlaces
            ? $"{Show.Size(survey.HereBytes)} would need room at {Show.Count(survey.NeededPlaces, "place")} on other machines, and {survey.PlacesWithRoom} {(survey.PlacesWithRoom == 1 ? "has" : "have")} it; free less at a time, or ask a peer for more"
            : null;
    }

    private static HashSet<uint> Trash(BlockStore writer) => [.. writer.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Trashed).Select(static arena => arena.Ordinal)];

    /// <summary>Bytes in folders of this device of what is in the trash now and was not.</summary>
    private static long LocalBytes(BlockStore writer, HashSet<uint> before) => writer.Catalog.Arenas().Where(arena => arena.State == ArenaState.Trashed && !before.Contains(arena.Ordinal))
        .Sum(arena => arena.Fragments.Count(fragment => writer.HolderOf(fragment.Holder) is { IsElsewhere: false }) * (long)arena.Layout.SliceBytes);

    private static Action<string, long, long> Reporter(IProgressSink progress) => (phase, done, total) => progress.Report(total > 0
        ? new ProgressState { Phase = phase, Bytes = done, TotalBytes = total }
        : new ProgressState { Phase = phase, Current = Show.Count(done, "block") });
}
