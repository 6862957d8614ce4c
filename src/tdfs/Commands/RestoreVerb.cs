using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs restore SNAPSHOT TARGET`: a tree, a folder or a file back on disk.</summary>
internal static class RestoreVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> snapshot = new("snapshot") { Description = "Which snapshot, as for `tdfs ls`" };
        Argument<string> target = new("target") { Description = "The folder to restore into; made if missing" };
        Option<string?> path = new("--path") { Description = "Only this file or folder", HelpName = "path" };
        Option<string> overwrite = new("--overwrite") { Description = "Files that exist: never, changed or always replace them", HelpName = "when", DefaultValueFactory = _ => "never" };
        overwrite.AcceptOnlyFromAmong("never", "changed", "always");
        Option<bool> verify = new("--verify") { Description = "Sync every file and read it back, and read those that are there already instead of trusting size and time (after a power cut: --overwrite changed --verify)" };
        Option<bool> sync = new("--sync") { Description = "End only when everything is on the disk, which takes as long as the disk does; without it, as with any copy, the system writes it out within a minute or so" };
        Verb verb = new(
            "restore",
            "Brings a snapshot, or a part of it, back to disk; run again, it continues",
            "tdfs restore latest /tmp/back",
            "tdfs restore photos@3 /tmp/back --path 2026/summer.jpg",
            "tdfs restore latest ~/Documents --overwrite changed")
        {
            snapshot, target, path, overwrite, verify, sync,
        };
        verb.Does(context, async (run, cancel) =>
        {
            if (run.Get(target).Length == 0)
            {
                throw new UserError(ExitCode.Usage, "found an empty target, expected the folder to restore into");
            }

            RestoreRequest request = new()
            {
                Snapshot = run.Get(snapshot),
                Path = VerbRun.ParsePath(run.Get(path)),
                Target = Path.GetFullPath(run.Get(target)),
                Overwrite = run.Get(overwrite) switch { "always" => Overwrite.Always, "changed" => Overwrite.Changed, _ => Overwrite.Never },
                Verify = run.Get(verify),
                    Sync = run.Get(sync),
            };
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                RestoreResult result = await store.Volumes.RestoreAsync(request, progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteNumber("files", result.FileCount);
                        json.WriteNumber("bytes", result.Bytes);
                        json.WriteNumber("skippedFiles", result.SkippedFileCount);
                        Report.WriteList(json, "problems", result.Problems);
                        Report.WriteList(json, "damaged", result.DamagedPaths);
                    },
                    text => text.WriteLine(
                        $"restored {Show.Count(result.FileCount, "file")}, {Show.Size(result.Bytes)}"
                        + (result.SkippedFileCount > 0 ? $"; {Show.Count(result.SkippedFileCount)} were there already" : "")));
                bool hasProblems = Report.Problems(run.Output, result.Problems);
                bool hasDamage = Report.Problems(run.Output, [.. result.DamagedPaths.Select(p => p + ": damaged beyond what parity repairs; nothing was written for it")]);
                return hasDamage ? ExitCode.Damaged : result.HasOnlyTaken ? ExitCode.Exists : hasProblems ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return verb;
    }
}
