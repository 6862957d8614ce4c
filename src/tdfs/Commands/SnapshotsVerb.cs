using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs snapshots`: what there is to go back to.</summary>
internal static class SnapshotsVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string?> volume = new("volume") { Description = "Only this volume's", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new(
            "snapshots",
            "Lists snapshots, oldest first",
            "tdfs snapshots",
            "tdfs snapshots photos --json")
        {
            volume,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IReadOnlyList<SnapshotInfo> snapshots = await store.Volumes.SnapshotsAsync(run.Get(volume), cancel).ConfigureAwait(false);
                IReadOnlyList<UnreadableVolume> unreadable = run.Get(volume) is null ? store.Volumes.UnreadableVolumes : [];
                run.Output.Result(
                    json =>
                    {
                        WriteSnapshots(json, "snapshots", snapshots);
                        if (unreadable.Count > 0)
                        {
                            Report.WriteList(json, "unreadableVolumes", [.. unreadable.Select(static each => each.Name)]);
                        }
                    },
                    text => WriteTable(text, snapshots, run.Output.Zone, unreadable));
                return unreadable.Any(static each => each.IsDamaged) ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return verb;
    }

    internal static void WriteTable(TextWriter text, IReadOnlyList<SnapshotInfo> snapshots, TimeZoneInfo zone, IReadOnlyList<UnreadableVolume>? unreadable = null)
    {
        Table table = new("SNAPSHOT", "TIME", ">ENTRIES", ">SIZE", "LABEL");
        foreach (SnapshotInfo s in snapshots)
        {
            string marks = (s.IsKept ? " (kept)" : "") + (s.IsUnfinished ? " (unfinished)" : "") + (Lacks(s) is { } lacks ? $" ({lacks})" : "");
            table.Add($"{TerminalText.Clean(s.Volume)}@{s.Number}", Show.Time(s.TimeNs, zone), Show.Count(s.EntryCount), Show.Size(s.Bytes), (TerminalText.Clean(s.Label ?? "") + marks).Trim());
        }

        foreach (UnreadableVolume volume in unreadable ?? [])
        {
            table.Add(TerminalText.Clean(volume.Name), "", "", "", $"(unreadable: {TerminalText.Clean(volume.Why)})");
        }

        table.Write(text);
    }

    /// <summary>What its import had trouble with, such as "2 unreadable, 1 torn"; null: nothing.</summary>
    internal static string? Lacks(SnapshotInfo snapshot)
    {
        IEnumerable<(long Count, string Word)> all = [(snapshot.UnreadableCount, "unreadable"), (snapshot.VanishedCount, "vanished"), (snapshot.TornCount, "torn")];
        string text = string.Join(", ", all.Where(static each => each.Count > 0).Select(static each => $"{Show.Count(each.Count)} {each.Word}"));
        return text.Length > 0 ? text : null;
    }

    internal static void WriteSnapshots(Utf8JsonWriter json, string name, IReadOnlyList<SnapshotInfo> snapshots)
    {
        json.WriteStartArray(name);
        foreach (SnapshotInfo snapshot in snapshots)
        {
            WriteSnapshot(json, snapshot);
        }

        json.WriteEndArray();
    }

    internal static void WriteSnapshot(Utf8JsonWriter json, SnapshotInfo snapshot)
    {
        json.WriteStartObject();
        json.WriteString("volume", snapshot.Volume);
        json.WriteNumber("number", snapshot.Number);
        json.WriteString("time", Show.IsoTime(snapshot.TimeNs));
        json.WriteString("host", snapshot.Host);
        json.WriteString("label", snapshot.Label);
        json.WriteBoolean("kept", snapshot.IsKept);
        json.WriteBoolean("unfinished", snapshot.IsUnfinished);
        json.WriteNumber("entries", snapshot.EntryCount);
        json.WriteNumber("bytes", snapshot.Bytes);
        json.WriteNumber("unreadable", snapshot.UnreadableCount);
        json.WriteNumber("vanished", snapshot.VanishedCount);
        json.WriteNumber("torn", snapshot.TornCount);
        json.WriteEndObject();
    }
}
