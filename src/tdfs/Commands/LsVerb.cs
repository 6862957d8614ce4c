using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs ls SNAPSHOT [PATH]`: what a snapshot holds. Written as it is read: a tree of any size takes no memory.</summary>
internal static class LsVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> snapshot = new("snapshot") { Description = "latest, VOLUME@latest, VOLUME@NUMBER, a label, or the beginning of a time as `tdfs snapshots` shows it (the newest of that beginning)" };
        Argument<string?> path = new("path") { Description = "The folder or file", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> recursive = new("--recursive", "-r") { Description = "With everything below" };
        Option<bool> isLong = new("--long", "-l") { Description = "With mode, owner, size and time" };
        Verb verb = new(
            "ls",
            "Lists a snapshot's files",
            "tdfs ls latest",
            "tdfs ls photos@3 2026 --long",
            "tdfs ls latest -r --json | jq -r '.entries[].path'")
        {
            snapshot, path, recursive, isLong,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IAsyncEnumerable<EntryInfo> entries = store.Volumes.ListAsync(run.Get(snapshot), VerbRun.ParsePath(run.Get(path)), run.Get(recursive), cancel);
                Func<EntryInfo, string> line = run.Get(isLong) ? entry => LongLine(entry, run.Output.Zone) : static entry => TerminalText.Escape(entry.Path);
                await run.Output.StreamAsync("entries", entries, WriteEntry, line, cancel).ConfigureAwait(false);
                SnapshotInfo listed = await store.Volumes.SnapshotAsync(run.Get(snapshot), cancel).ConfigureAwait(false);
                if (SnapshotsVerb.Lacks(listed) is { } lacks)
                {
                    run.Output.Say($"tdfs: {TerminalText.Clean(listed.Volume)}@{listed.Number} is not all that was there: {lacks} when it was imported");
                }

                return ExitCode.Ok;
            }
        });
        return verb;
    }

    private static string LongLine(EntryInfo entry, TimeZoneInfo zone)
    {
        string owner = TerminalText.Clean($"{entry.User ?? $"{entry.UserId}"}:{entry.Group ?? $"{entry.GroupId}"}");
        string target = entry.LinkTarget is byte[] link ? " -> " + TerminalText.Escape(link) : "";
        return $"{Show.Mode(entry.Mode)} {owner,-16} {Show.Size(entry.Bytes),10} {Show.Time(entry.ModifiedNs, zone)} {TerminalText.Escape(entry.Path)}{target}{(entry.IsTorn ? " (torn)" : "")}";
    }

    private static void WriteEntry(Utf8JsonWriter json, EntryInfo entry)
    {
        TerminalText.WriteName(json, "path", entry.Path);
        json.WriteString("mode", Show.Mode(entry.Mode));
        json.WriteNumber("modeBits", entry.Mode);
        json.WriteNumber("userId", entry.UserId);
        json.WriteNumber("groupId", entry.GroupId);
        json.WriteString("user", entry.User);
        json.WriteString("group", entry.Group);
        json.WriteNumber("bytes", entry.Bytes);
        json.WriteString("modified", Show.IsoTime(entry.ModifiedNs));
        if (entry.LinkTarget is byte[] target)
        {
            TerminalText.WriteName(json, "linkTarget", target);
        }

        if (entry.IsTorn)
        {
            json.WriteBoolean("torn", true);
        }
    }
}
