using System.CommandLine;
using System.Net;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs up`: the node, with everything that storage.toml asks for, as long as the verb runs.</summary>
internal static class UpVerb
{
    internal static Verb Create(VerbContext context)
    {
        Option<string[]> more = new("--mount") { Description = "Mount this volume too, made if there is none", HelpName = "volume=folder", AllowMultipleArgumentsPerToken = false };
        Verb verb = new(
            "up",
            "Runs the node: mounts, snapshots and keeping for peers as storage.toml says, and other verbs' work, until Ctrl-C",
            "tdfs up                           # tools/tdfs.service runs it for you",
            "tdfs up --mount work=~/work")
        {
            more,
        };
        verb.Does(context, async (run, cancel) =>
        {
            StorageConfig config = run.LoadConfig();
            List<MountConfig> mounts = [.. config.Mounts, .. (run.Get(more) ?? []).Select(text => Parse(run, text))];
            IStoreSession store = await run.OpenAsync(StoreAccess.Serve, cancel, isNode: true).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                string[] served = [.. mounts.Select(static mount => mount.Volume).Concat(config.WebDavVolumes).Distinct(StringComparer.Ordinal)];
                bool isServed = config.WebDavListen is not null && served.Length > 0;
                bool keeps = config.Node.Listen is not null;
                if (mounts.Count == 0 && !isServed && !keeps)
                {
                    run.Output.Say($"nothing to mount: {config.File} has no [[mount]]; `tdfs mount` adds one, Ctrl-C ends the node");
                }

                using CancellationTokenSource ends = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                Task snapshots = TakeAsync(run, store, config, ends.Token);
                Task audits = AuditAsync(run, store, ends.Token);
                IEnumerable<Task<ExitCode>> places = mounts.Select(mount => MountAsync(run, store, mount, cancel));
                places = isServed ? places.Append(ServeAsync(run, store, config.WebDavListen!, served, cancel)) : places;
                places = keeps ? places.Append(KeepAsync(run, store, cancel)) : places;
                ExitCode[] codes = await Task.WhenAll(places).ConfigureAwait(false);
                if (mounts.Count == 0 && !isServed && !keeps)
                {
                    await Task.Delay(Timeout.InfiniteTimeSpan, run.Output.Clock, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                await ends.CancelAsync().ConfigureAwait(false);
                await snapshots.ConfigureAwait(false);
                await audits.ConfigureAwait(false);
                return codes.FirstOrDefault(static code => code != ExitCode.Ok);
            }
        });
        return verb;
    }

    private static MountConfig Parse(VerbRun run, string text)
    {
        int at = text.IndexOf('=', StringComparison.Ordinal);
        if (at <= 0 || at == text.Length - 1)
        {
            throw new UserError(ExitCode.Usage, $"found --mount '{text}', expected a volume and a folder, such as work=/home/ann/work");
        }

        SnapshotWords.RefuseVolume(text[..at], "");
        return new MountConfig(text[..at], run.FullPath(text[(at + 1)..]));
    }

    private static async Task<ExitCode> ServeAsync(VerbRun run, IStoreSession store, IPEndPoint endpoint, IReadOnlyList<string> volumes, CancellationToken cancel)
    {
        try
        {
            var request = new WebDavRequest { Volumes = volumes, AsCollections = true, Endpoint = endpoint, Creates = true };
            await store.WebDav.ServeAsync(request, address => WebDavVerb.Tell(run, address), cancel).ConfigureAwait(false);
            return ExitCode.Ok;
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            (ExitCode code, string message) = ErrorHandler.Explain(failure);
            run.Output.Say($"tdfs: {message}"); // the mounts go on
            return code;
        }
    }

    private static async Task<ExitCode> KeepAsync(VerbRun run, IStoreSession store, CancellationToken cancel)
    {
        try
        {
            using IPeers peers = store.Peers;
            await peers.ServeAsync(endpoint => NodeVerb.Tell(run, endpoint), cancel).ConfigureAwait(false);
            return ExitCode.Ok;
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            (ExitCode code, string message) = ErrorHandler.Explain(failure);
            run.Output.Say($"tdfs: {message}"); // the mounts go on
            return code;
        }
    }

    private static async Task<ExitCode> MountAsync(VerbRun run, IStoreSession store, MountConfig mount, CancellationToken cancel)
    {
        try
        {
            var request = new MountRequest { Volume = mount.Volume, Folder = mount.Path, Creates = true, WritebackCache = mount.WritebackCache };
            MountResult result = await store.Mounts.ServeAsync(request, (name, path) => run.Output.Say($"{name} is mounted on {path}"), cancel).ConfigureAwait(false);
            run.Output.Say($"{result.Volume}: unmounted from {result.Folder}, everything committed{(result.WasInUse ? "; what still had files open there was cut off" : "")}");
            return ExitCode.Ok;
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            (ExitCode code, string message) = ErrorHandler.Explain(failure);
            run.Output.Say($"tdfs: {message}"); // the other mounts go on
            return code;
        }
    }

    /// <summary>One audit of each peer a turn; what it finds is said as it is found.</summary>
    private static async Task AuditAsync(VerbRun run, IStoreSession store, CancellationToken cancel)
    {
        using PeriodicTimer timer = new(Auditor.Every, run.Output.Clock);
        try
        {
            while (await timer.WaitForNextTickAsync(cancel).ConfigureAwait(false))
            {
                try
                {
                    await store.Audits.RunAsync(null, 1, cancel).ConfigureAwait(false);
                }
                catch (Exception failure) when (failure is not OperationCanceledException)
                {
                    run.Output.Say($"tdfs: audit: {ErrorHandler.Explain(failure).Message}; the next one is in {Show.Duration(Auditor.Every)}");
                }
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    private static async Task TakeAsync(VerbRun run, IStoreSession store, StorageConfig config, CancellationToken cancel)
    {
        if (config.SnapshotEvery <= TimeSpan.Zero)
        {
            return;
        }

        using PeriodicTimer timer = new(config.SnapshotEvery, run.Output.Clock);
        try
        {
            while (await timer.WaitForNextTickAsync(cancel).ConfigureAwait(false))
            {
                try
                {
                    foreach (SnapshotInfo made in await store.Volumes.TakeDueAsync(config.SnapshotThin ? config.Keep : null, cancel).ConfigureAwait(false))
                    {
                        run.Output.Say($"{TerminalText.Clean(made.Volume)}@{made.Number}: kept, as [snapshots] asks");
                    }
                }
                catch (Exception failure) when (failure is not OperationCanceledException)
                {
                    run.Output.Say($"tdfs: snapshot: {ErrorHandler.Explain(failure).Message}; the next one is in {Show.Duration(config.SnapshotEvery)}");
                }
            }
        }
        catch (OperationCanceledException)
        {
        }
    }
}
