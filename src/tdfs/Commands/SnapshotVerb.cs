using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs snapshot [VOLUME]`: keeps a volume as it is now.</summary>
internal static class SnapshotVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string?> volume = new("volume") { Description = "The volume, unless there is only one", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> label = new("--label") { Description = "A name for it, besides its number and time", HelpName = "text" };
        Verb verb = new(
            "snapshot",
            "Keeps a volume as it is now; its mount shows it below .snapshots",
            "tdfs snapshot work --label 'before the upgrade'",
            "tdfs snapshot                              # the only volume there is")
        {
            volume, label,
        };
        verb.Does(context, async (run, cancel) =>
        {
            SnapshotWords.RefuseLabel(run.Get(label));
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                SnapshotInfo made = await store.Volumes.TakeAsync(run.Get(volume), run.Get(label), cancel).ConfigureAwait(false);
                run.Output.Result(json => SnapshotsVerb.WriteSnapshots(json, "snapshots", [made]), text => SnapshotsVerb.WriteTable(text, [made], run.Output.Zone));
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
