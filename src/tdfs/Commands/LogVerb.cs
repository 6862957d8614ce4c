using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs log VOLUME PATH`: when a file or folder changed.</summary>
internal static class LogVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> volume = new("volume") { Description = "The volume" };
        Argument<string?> path = new("path") { Description = "The file or folder, from the volume's root", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new(
            "log",
            "Lists the snapshots in which a path changed, newest first",
            "tdfs log photos 2026/summer.jpg",
            "tdfs log host:/etc passwd --json")
        {
            volume, path,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                List<LogEntry> entries = [];
                await foreach (LogEntry entry in store.Volumes.LogAsync(run.Get(volume), VerbRun.ParsePath(run.Get(path)), cancel).ConfigureAwait(false))
                {
                    entries.Add(entry);
                }

                run.Output.Result(
                    json =>
                    {
                        json.WriteStartArray("log");
                        foreach (LogEntry entry in entries)
                        {
                            json.WriteStartObject();
                            json.WriteString("change", DiffVerb.Name(entry.Change));
                            json.WriteNumber("bytes", entry.Bytes);
                            json.WritePropertyName("snapshot");
                            SnapshotsVerb.WriteSnapshot(json, entry.Snapshot);
                            json.WriteEndObject();
                        }

                        json.WriteEndArray();
                    },
                    text =>
                    {
                        Table table = new("SNAPSHOT", "TIME", "CHANGE", ">SIZE", "LABEL");
                        foreach (LogEntry e in entries)
                        {
                            table.Add(
                                $"{TerminalText.Clean(e.Snapshot.Volume)}@{e.Snapshot.Number}",
                                Show.Time(e.Snapshot.TimeNs, run.Output.Zone),
                                DiffVerb.Name(e.Change),
                                Show.Size(e.Bytes),
                                TerminalText.Clean(e.Snapshot.Label ?? ""));
                        }

                        table.Write(text);
                    });
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
