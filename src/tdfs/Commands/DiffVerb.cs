using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs diff FROM TO [PATH]`: what changed between two snapshots. Written as it is found.</summary>
internal static class DiffVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> from = new("from") { Description = "The older snapshot, as for `tdfs ls`" };
        Argument<string> to = new("to") { Description = "The newer one" };
        Argument<string?> path = new("path") { Description = "Only below this path", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new(
            "diff",
            "Lists what changed between two snapshots: + added, - removed, M changed, m metadata only",
            "tdfs diff photos@3 photos@latest",
            "tdfs diff 2026-11-01 latest src --json")
        {
            from, to, path,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IAsyncEnumerable<ChangeInfo> changes = store.Volumes.DiffAsync(run.Get(from), run.Get(to), VerbRun.ParsePath(run.Get(path)), cancel);
                await run.Output.StreamAsync("changes", changes, WriteChange, static change => $"{Sign(change.Kind)} {TerminalText.Escape(change.Path)}{SizeChange(change)}", cancel).ConfigureAwait(false);
                return ExitCode.Ok;
            }
        });
        return verb;
    }

    private static void WriteChange(Utf8JsonWriter json, ChangeInfo change)
    {
        json.WriteString("change", Name(change.Kind));
        TerminalText.WriteName(json, "path", change.Path);
        json.WriteNumber("oldBytes", change.OldBytes);
        json.WriteNumber("newBytes", change.NewBytes);
    }

    internal static string Name(ChangeKind kind) => kind switch
    {
        ChangeKind.Added => "added",
        ChangeKind.Removed => "removed",
        ChangeKind.Changed => "changed",
        _ => "metadata",
    };

    private static char Sign(ChangeKind kind) => kind switch
    {
        ChangeKind.Added => '+',
        ChangeKind.Removed => '-',
        ChangeKind.Changed => 'M',
        _ => 'm',
    };

    private static string SizeChange(ChangeInfo change) => change.Kind == ChangeKind.Changed && change.OldBytes != change.NewBytes
        ? $"  ({Show.Size(change.OldBytes)} -> {Show.Size(change.NewBytes)})"
        : "";
}
