using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs reindex`: throws the index away and builds it from the arenas.</summary>
internal static class ReindexVerb
{
    internal static Verb Create(VerbContext context)
    {
        Verb verb = new(
            "reindex",
            "Rebuilds the index, which is a cache, from the arenas' directories",
            "tdfs reindex");
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Write, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                ReindexResult result = await store.Care.ReindexAsync(progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(
                    json =>
                    {
                        json.WriteNumber("arenas", result.ArenaCount);
                        json.WriteNumber("blocks", result.BlockCount);
                    },
                    text => text.WriteLine($"indexed {Show.Count(result.BlockCount, "block")} of {Show.Count(result.ArenaCount, "arena")}"));
                return ExitCode.Ok;
            }
        });
        return verb;
    }
}
