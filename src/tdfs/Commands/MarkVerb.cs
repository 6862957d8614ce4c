using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs mark SNAPSHOT...`: keeps snapshots whatever the keep rules say. Naming one to `tdfs forget` still forgets it.</summary>
internal static class MarkVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string[]> snapshots = new("snapshot") { Description = "Snapshots to mark, as for `tdfs ls`", Arity = ArgumentArity.OneOrMore };
        Option<bool> isOff = new("--off") { Description = "Take the mark away" };
        Verb verb = new(
            "mark",
            "Marks snapshots that the keep rules never forget",
            "tdfs mark photos@3                    # `tdfs snapshots` shows it as (kept)",
            "tdfs mark 'before sorting' --off      # the rules count it again")
        {
            snapshots, isOff,
        };
        verb.Does(context, async (run, cancel) =>
        {
            bool isMarked = !run.Get(isOff);
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IReadOnlyList<SnapshotInfo> done = await store.Volumes.MarkAsync(run.Get(snapshots), isMarked, cancel).ConfigureAwait(false);
                run.Output.Result(
                    json => SnapshotsVerb.WriteSnapshots(json, "snapshots", done),
                    text =>
                    {
                        SnapshotsVerb.WriteTable(text, done, run.Output.Zone);
                        text.WriteLine($"{(isMarked ? "marked" : "unmarked")} {Show.Count(done.Count, "snapshot")}");
                    });
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
