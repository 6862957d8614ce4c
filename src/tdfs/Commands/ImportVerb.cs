using System.CommandLine;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs import FOLDER`: keeps a tree as a new snapshot.</summary>
internal static class ImportVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> folder = new("folder") { Description = "The folder to keep" };
        Option<string?> volume = new("--volume") { Description = "The volume to commit to (default: host:path)", HelpName = "name" };
        Option<string?> label = new("--label") { Description = "A name for the snapshot", HelpName = "text" };
        Option<string[]> exclude = new("--exclude") { Description = "Leave out what matches, as in .gitignore; may be repeated", HelpName = "pattern" };
        Option<bool> oneFileSystem = new("--one-file-system") { Description = "Stay on the folder's file system" };
        Option<int?> workers = new("--workers") { Description = "Threads that read, cut and compress", HelpName = "n" };
        Verb verb = new(
            "import",
            "Keeps a folder as a new snapshot; what is known already is not stored again, and the store's own folders are left out",
            "tdfs import ~/Documents                     # into the volume host:/home/you/Documents",
            "tdfs import / --one-file-system --exclude /var/cache",
            "tdfs import photos --volume photos --label 'before sorting'")
        {
            folder, volume, label, exclude, oneFileSystem, workers,
        };
        verb.Does(context, async (run, cancel) =>
        {
            if (run.Get(workers) is < 1 or > 256)
            {
                throw new UserError(ExitCode.Usage, $"found --workers {run.Get(workers)}, expected 1 to 256");
            }

            string path = run.Get(folder);
            if (path.Length == 0)
            {
                throw new UserError(ExitCode.Usage, "found an empty folder name, expected the folder to keep");
            }

            SnapshotWords.RefuseVolume(run.Get(volume), path);
            SnapshotWords.RefuseLabel(run.Get(label));
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                ImportConfig rules = run.LoadConfig().Import;
                ImportRequest request = new()
                {
                    Folder = run.FullPath(path),
                    Volume = run.Get(volume),
                    Label = run.Get(label),
                    Rules = rules with
                    {
                        Workers = run.Get(workers) ?? rules.Workers,
                        OneFileSystem = run.Get(oneFileSystem) || rules.OneFileSystem,
                        Exclude = [.. rules.Exclude, .. run.Get(exclude) ?? []],
                    },
                };
                using ProgressWriter progress = run.Output.StartProgress();
                long started = run.Output.Clock.GetTimestamp();
                ImportResult result = await store.Volumes.ImportAsync(request, progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                TimeSpan time = run.Output.Clock.GetElapsedTime(started);
                run.Output.Result(
                    json =>
                    {
                        json.WritePropertyName("snapshot");
                        SnapshotsVerb.WriteSnapshot(json, result.Snapshot);
                        json.WriteNumber("files", result.FileCount);
                        json.WriteNumber("folders", result.FolderCount);
                        json.WriteNumber("others", result.OtherCount);
                        json.WriteNumber("unchangedFiles", result.UnchangedFileCount);
                        json.WriteNumber("readBytes", result.ReadBytes);
                        json.WriteNumber("savedBytes", result.SavedBytes);
                        json.WriteNumber("storedBytes", result.StoredBytes);
                        json.WriteNumber("seconds", time.TotalSeconds);
                        Report.WriteList(json, "problems", result.Problems);
                    },
                    text => text.WriteLine(
                        $"{TerminalText.Clean(result.Snapshot.Volume)}@{result.Snapshot.Number}: {Show.Count(result.FileCount, "file")} ({Show.Count(result.UnchangedFileCount)} unchanged), "
                        + $"{Show.Size(result.ReadBytes)} read, {Show.Size(result.SavedBytes)} known already, {Show.Size(result.StoredBytes)} stored, {Show.Duration(time)}"));
                return Report.Problems(run.Output, result.Problems) ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return verb;
    }
}
