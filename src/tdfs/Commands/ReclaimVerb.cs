using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs reclaim`: frees what no snapshot wants any more.</summary>
internal static class ReclaimVerb
{
    internal static Verb Create(VerbContext context)
    {
        Option<bool> dryRun = new("--dry-run", "-n") { Description = "Only say what would be freed" };
        Verb verb = new(
            "reclaim",
            "Frees the space of forgotten snapshots; reading and importing go on meanwhile",
            "tdfs reclaim --dry-run",
            "tdfs reclaim")
        {
            dryRun,
        };
        verb.Does(context, async (run, cancel) =>
        {
            bool isDry = run.Get(dryRun);
            IStoreSession store = await run.OpenAsync(isDry ? StoreAccess.Read : StoreAccess.WriteInTurns, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                ReclaimResult result = await store.Care.ReclaimAsync(isDry, progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteBoolean("dryRun", isDry);
                        json.WriteNumber("condemnedArenas", result.CondemnedArenaCount);
                        json.WriteNumber("copiedBytes", result.CopiedBytes);
                        json.WriteNumber("freedBytes", result.FreedBytes);
                        json.WriteNumber("trashedBytes", result.TrashedBytes);
                        Report.WriteList(json, "waitingFor", result.WaitingFor);
                    },
                    text =>
                    {
                        text.WriteLine(
                            $"{(isDry ? "would condemn" : "condemned")} {Show.Count(result.CondemnedArenaCount, "arena")}, copied {Show.Size(result.CopiedBytes)}, "
                            + $"freed {Show.Size(result.FreedBytes)}, {Show.Size(result.TrashedBytes)} in the trash");
                        foreach (string reason in result.WaitingFor)
                        {
                            text.WriteLine("waiting for " + reason);
                        }
                    });
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
