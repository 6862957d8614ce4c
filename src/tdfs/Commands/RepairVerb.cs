using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs repair`: rebuilds what parity can, and restores the wanted redundancy; or lets a friend do the first without any key.</summary>
internal static class RepairVerb
{
    internal static Verb Create(VerbContext context)
    {
        Option<string?> export = new("--export") { Description = "Write a file with which a peer can rebuild what this store's peers lack, without any key", HelpName = "file" };
        Option<string?> to = new("--to") { Description = "The peer that --export is for, as `tdfs peer list` shows it", HelpName = "name" };
        Option<string?> revoke = new("--revoke") { Description = "Let a peer repair for this store no more", HelpName = "name" };
        Option<string?> for_ = new("--for") { Description = "Repair somebody else's store, by the file that its owner has made for this machine", HelpName = "file" };
        Option<bool> absent = new("--absent") { Description = "With --for: what lies at peers that do not answer is placed elsewhere too" };
        Verb verb = new(
            "repair",
            "Rebuilds damaged or missing fragments, and moves what is kept weaker than wanted",
            "tdfs repair          # also puts a new holder where storage.toml names a folder that is empty or missing",
            "tdfs repair --export bob.repair --to bob   # bob can mend what others keep of this store, and read nothing of it",
            "tdfs repair --for ann.repair   # there: rebuilds what the holders of ann's store lack")
        {
            export,
            to,
            revoke,
            for_,
            absent,
        };
        verb.Does(context, async (run, cancel) =>
        {
            string? file = run.Get(export);
            string? friend = run.Get(to);
            string? former = run.Get(revoke);
            string? theirs = run.Get(for_);
            if (new[] { file, former, theirs }.Count(static word => word is not null) > 1)
            {
                throw new UserError(ExitCode.Usage, "found several of --export, --revoke and --for, expected one");
            }

            if ((file is null) != (friend is null))
            {
                throw new UserError(ExitCode.Usage, "found one of --export and --to, expected both: a file, and the peer that it is for");
            }

            if (run.Get(absent) && theirs is null)
            {
                throw new UserError(ExitCode.Usage, "found --absent without --for, expected both");
            }

            if (new[] { file, former, theirs }.Contains(""))
            {
                throw new UserError(ExitCode.Usage, "found an empty name, expected a file or a peer");
            }

            if (file is not null)
            {
                return await ExportAsync(run, file, friend!, cancel).ConfigureAwait(false);
            }

            if (former is not null)
            {
                return await RevokeAsync(run, former, cancel).ConfigureAwait(false);
            }

            if (theirs is not null)
            {
                return await RepairForAsync(run, theirs, run.Get(absent), cancel).ConfigureAwait(false);
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel, replacesAbsentHolders: true).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                RepairResult result = await store.Care.RepairAsync(progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteNumber("repairedFragments", result.RepairedFragmentCount);
                        json.WriteNumber("writtenBytes", result.WrittenBytes);
                        json.WriteNumber("movedBytes", result.MovedBytes);
                        json.WriteNumber("freedBytes", result.FreedBytes);
                        json.WriteNumber("returnedBytes", result.ReturnedBytes);
                        Report.WriteList(json, "unrepairable", result.Unrepairable);
                    },
                    text => text.WriteLine($"repaired {Show.Count(result.RepairedFragmentCount, "fragment")}, {Show.Size(result.WrittenBytes)} written"
                        + (result.MovedBytes > 0 ? $"; moved {Show.Size(result.MovedBytes)} to the redundancy wanted, `tdfs reclaim` frees what it leaves" : "")
                        + (result.FreedBytes > 0 ? $"; of it {Show.Size(result.FreedBytes)} are freed here and went to other machines" : "")
                        + (result.ReturnedBytes > 0 ? $"; of it {Show.Size(result.ReturnedBytes)} were freed and are kept here again" : "")));
                bool isDamaged = Report.Problems(run.Output, result.Unrepairable);
                return result.Failure is null ? isDamaged ? ExitCode.Damaged : ExitCode.Ok : throw result.Failure;
            }
        });
        return verb;
    }

    private static async Task<ExitCode> ExportAsync(VerbRun run, string file, string friend, CancellationToken cancel)
    {
        IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
        await using (store.ConfigureAwait(false))
        {
            RepairExportResult made = await store.ExportRepairAsync(friend, run.FullPath(file), cancel).ConfigureAwait(false);
            run.Output.Result(
                json =>
                {
                    json.WriteString("peer", made.Peer);
                    json.WriteString("file", made.File);
                    json.WriteNumber("arenas", made.ArenaCount);
                    json.WriteNumber("holders", made.HolderCount);
                    json.WriteNumber("bytes", made.Bytes);
                    Report.WriteList(json, "unreached", made.Unreached);
                },
                text => text.WriteLine($"{TerminalText.Clean(made.File)}: {made.Peer} can repair {Show.Count(made.ArenaCount, "arena")} at {Show.Count(made.HolderCount, "peer")} with it, and read none; what is written from now on is not in it"));
            foreach (string each in made.Unreached)
            {
                run.Output.Say($"not reached: {each}; if {made.Peer} was revoked there, it still is");
            }

            return made.Unreached.Count > 0 ? ExitCode.Reported : ExitCode.Ok;
        }
    }

    private static async Task<ExitCode> RevokeAsync(VerbRun run, string friend, CancellationToken cancel)
    {
        using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
        RepairRevokeResult result = await peers.RevokeRepairAsync(friend, cancel).ConfigureAwait(false);
        run.Output.Result(
            json =>
            {
                json.WriteString("peer", result.Peer);
                json.WriteNumber("holders", result.HolderCount);
                Report.WriteList(json, "unreached", result.Unreached);
            },
            text => text.WriteLine($"{result.Peer} repairs for this store no more at {Show.Count(result.HolderCount, "peer")}"));
        foreach (string each in result.Unreached)
        {
            run.Output.Say($"not reached: {each}; it lets {result.Peer} in until this is run again and it answers");
        }

        return result.Unreached.Count > 0 ? ExitCode.Reported : ExitCode.Ok;
    }

    private static async Task<ExitCode> RepairForAsync(VerbRun run, string file, bool movesAbsent, CancellationToken cancel)
    {
        using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
        using ProgressWriter progress = run.Output.StartProgress();
        RepairForResult result = await peers.RepairForAsync(run.FullPath(file), movesAbsent, progress, cancel).ConfigureAwait(false);
        progress.Dispose();
        run.Output.Result(
            json =>
            {
                json.WriteString("owner", result.Owner);
                json.WriteNumber("arenas", result.ArenaCount);
                json.WriteNumber("peers", result.HolderCount);
                json.WriteNumber("answering", result.AnsweringCount);
                json.WriteNumber("repairedFragments", result.RepairedFragmentCount);
                json.WriteNumber("writtenBytes", result.WrittenBytes);
                Report.WriteList(json, "unrepairable", result.Unrepairable);
                Report.WriteList(json, "left", result.Left);
            },
            text => text.WriteLine($"for {result.Owner}: repaired {Show.Count(result.RepairedFragmentCount, "fragment")}, {Show.Size(result.WrittenBytes)} written; {result.AnsweringCount} of {Show.Count(result.HolderCount, "peer")} answered"));
        foreach (string each in result.Left)
        {
            run.Output.Say($"left: {TerminalText.Clean(each)}");
        }

        bool isDamaged = Report.Problems(run.Output, result.Unrepairable);
        return isDamaged ? ExitCode.Damaged : result.Left.Count > 0 ? ExitCode.Reported : ExitCode.Ok;
    }
}
