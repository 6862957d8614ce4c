using System.Net;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs node`: keeps fragments for peers, and does nothing else, as long as the verb runs.</summary>
internal static class NodeVerb
{
    internal static Verb Create(VerbContext context)
    {
        Verb verb = new(
            "node",
            "Keeps fragments for peers, at [node] listen of storage.toml, until Ctrl-C; `tdfs up` does it too",
            "tdfs node    # on a machine that mounts nothing; its own store is free for other verbs meanwhile");
        verb.Does(context, async (run, cancel) =>
        {
            using IPeers peers = await run.Host.PeersAsync(run.PeerRequest(), cancel).ConfigureAwait(false);
            await peers.ServeAsync(endpoint => Tell(run, endpoint), cancel).ConfigureAwait(false);
            return ExitCode.Ok;
        });
        return verb;
    }

    internal static void Tell(VerbRun run, IPEndPoint endpoint) => run.Output.Say($"peers can dial {endpoint}; Ctrl-C ends it");
}
