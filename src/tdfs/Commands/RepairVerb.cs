using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs repair`: rebuilds what parity can, and restores the wanted redundancy.</summary>
internal static class RepairVerb
{
    internal static Verb Create(VerbContext context)
    {
        Verb verb = new(
            "repair",
            "Rebuilds damaged or missing fragments, and moves what is kept weaker than wanted",
            "tdfs repair          # also puts a new holder where storage.toml names a folder that is empty or missing");
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel, replacesAbsentHolders: true).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                RepairResult result = await store.Care.RepairAsync(progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteNumber("repairedFragments", result.RepairedFragmentCount);
                        json.WriteNumber("writtenBytes", result.WrittenBytes);
                        json.WriteNumber("movedBytes", result.MovedBytes);
                        Report.WriteList(json, "unrepairable", result.Unrepairable);
                    },
                    text => text.WriteLine($"repaired {Show.Count(result.RepairedFragmentCount, "fragment")}, {Show.Size(result.WrittenBytes)} written"
                        + (result.MovedBytes > 0 ? $"; moved {Show.Size(result.MovedBytes)} to the redundancy wanted, `tdfs reclaim` frees what it leaves" : "")));
                bool isDamaged = Report.Problems(run.Output, result.Unrepairable);
                return result.Failure is null ? isDamaged ? ExitCode.Damaged : ExitCode.Ok : throw result.Failure;
            }
        });
        return verb;
    }
}
