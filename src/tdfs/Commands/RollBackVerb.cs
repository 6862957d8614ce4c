using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs rollback SNAPSHOT`: a whole volume as it was, without losing what it is.</summary>
internal static class RollBackVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string> snapshot = new("snapshot") { Description = "What the volume is to be again, as for `tdfs ls`" };
        Verb verb = new(
            "rollback",
            "Makes a volume what it was in a snapshot; what it is now is kept as a snapshot first",
            "tdfs rollback work@3                   # not while it is mounted",
            "tdfs rollback 'work@before rollback'   # and back again")
        {
            snapshot,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                RollBackResult done = await store.Volumes.RollBackAsync(run.Get(snapshot), cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WritePropertyName("snapshot");
                        SnapshotsVerb.WriteSnapshot(json, done.Target);
                        if (done.Kept is { } kept)
                        {
                            json.WritePropertyName("kept");
                            SnapshotsVerb.WriteSnapshot(json, kept);
                        }
                    },
                    text => text.WriteLine($"{TerminalText.Clean(done.Target.Volume)} is again as in {TerminalText.Clean(done.Target.Volume)}@{done.Target.Number}"
                        + (done.Kept is { } kept ? $"; as it was before it is kept as {TerminalText.Clean(kept.Volume)}@{kept.Number}" : "; as it was before is its newest snapshot")));
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
