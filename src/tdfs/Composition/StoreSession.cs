using System.Net.Sockets;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Node;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;
using StoreAccess = TokTok.Storage.Tdfs.Facades.StoreAccess;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>An open store, and (while volumes are served) what other processes have done by it.</summary>
/// <remarks>
/// A verb of another process that writes shares the store with the others (<see cref="SharedGate"/>); what frees space is alone, between two steps of which others go on, and holds
/// every open volume for as long as a step takes: nothing is wanted then that its walk does not find. Order at the end: no new verb, those that run end, then the store.
/// </remarks>
internal sealed class StoreSession(
    BlockStore store, Keyring keyring, StorageConfig config, IDisk disk, bool hasPassphrase, IRandomSource random, TimeProvider clock, WriterTurns turns, Action<string> say) : IStoreSession
{
    private readonly OpenVolumes _open = new();
    private NodeServer? _server;

    public IStoreCare Care => CareWith(new TreeWalker(), turns.RunAsync);

    public IVolumes Volumes => new StoreVolumes(store, config, disk, config.StorePath + "/caches", keyring.CacheKey, random, clock, _open);

    public IMounts Mounts => new VolumeMounts(Opener);

    public IWebDav WebDav => new VolumeWebDav(Opener);

    public IPeers Peers => new StorePeers(config, keyring, ownsKeyring: false, disk, random, clock, say);

    private string Path => config.StorePath;

    private VolumeOpener Opener => new(store, config, disk, random, clock, say, _open);

    /// <summary>Does other processes' verbs from here on.</summary>
    /// <param name="ends">Cancels those that run.</param>
    internal void Listen(Func<string, string?> environment, CancellationToken ends)
    {
        string path = NodePaths.Socket(environment, config.StorePath);
        try
        {
            _server = NodeServer.Listen(path, new NodeHost(this), environment, clock, ends);
        }
        catch (Exception failure) when (failure is SocketException or ArgumentException or IOException or UnauthorizedAccessException)
        {
            say($"{path}: {failure.Message}; no other verb can write while this one runs");
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync().ConfigureAwait(false);
        }

        await store.DisposeAsync().ConfigureAwait(false);
        StoreHost.LetGoOfHolders(store);
        keyring.Dispose();
        _open.Dispose();
    }

    /// <summary>The door of verbs that came by the socket: the store that is open already.</summary>
    private sealed class NodeHost(StoreSession node) : IStoreHost
    {
        private const string NotHere = "the store is served by a running node; stop it first";

        public async ValueTask<IStoreSession> OpenAsync(OpenRequest request, CancellationToken cancel) => request.Access switch
        {
            _ when request.Config.StorePath != node.Path => throw new UserError(ExitCode.Usage, $"found {request.Config.StorePath}, expected {node.Path}, which the running node serves"),
            StoreAccess.Write when request.ReplacesAbsentHolders => new Guest(node, await node.HoldAloneAsync(cancel).ConfigureAwait(false)),
            StoreAccess.Write => new Guest(node, [await node._open.Gate.ShareAsync(cancel).ConfigureAwait(false)]),
            _ => new Guest(node, []),
        };

        public ValueTask<InitResult> InitAsync(StorageConfig config, SecretBuffer passphrase, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);

        public RedundancyInfo Redundancy(StorageConfig config, string? folder) => throw new UserError(ExitCode.Locked, NotHere);

        public RedundancyInfo SetRedundancy(StorageConfig config, string folder, string? wanted) => throw new UserError(ExitCode.Locked, NotHere);

        public ValueTask<IPeers> PeersAsync(OpenRequest request, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);

        public ValueTask CreateBurnableAsync(OpenRequest request, string volume, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);

        public ValueTask<BurnResult> BurnAsync(OpenRequest request, string volume, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);

        public ValueTask<RecoverResult> RecoverAsync(RecoverRequest request, IProgressSink progress, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);
    }

    private StoreCare CareWith(IRootWalker walker, Func<Func<BlockStore, ValueTask<bool>>, CancellationToken, ValueTask> inTurns) =>
        new(store, keyring, config, disk, hasPassphrase, walker, inTurns);

    private async ValueTask<List<IDisposable>> HoldAloneAsync(CancellationToken cancel)
    {
        List<IDisposable> held = [await _open.Gate.EnterAloneAsync(cancel).ConfigureAwait(false)];
        try
        {
            foreach (OpenVolume open in _open.All)
            {
                held.Add(await open.View.Present.HoldAsync(cancel).ConfigureAwait(false));
            }

            return held;
        }
        catch
        {
            LetGo(held);
            throw;
        }
    }

    private static void LetGo(List<IDisposable> held)
    {
        for (int at = held.Count - 1; at >= 0; at--)
        {
            held[at].Dispose();
        }
    }

    private async ValueTask InTurnsAsync(Func<BlockStore, ValueTask<bool>> turn, CancellationToken cancel)
    {
        for (bool goesOn = true; goesOn;)
        {
            List<IDisposable> held = await HoldAloneAsync(cancel).ConfigureAwait(false);
            try
            {
                goesOn = await turn(store).ConfigureAwait(false);
            }
            finally
            {
                LetGo(held);
            }
        }
    }

    /// <summary>One verb's use of the store.</summary>
    private sealed class Guest(StoreSession node, List<IDisposable> held) : IStoreSession
    {
        public IStoreCare Care => node.CareWith(new OpenWalker(node._open), node.InTurnsAsync);

        public IVolumes Volumes { get; } = node.Volumes;

        public IMounts Mounts => node.Mounts;

        public IWebDav WebDav => node.WebDav;

        public IPeers Peers => node.Peers;

        public ValueTask DisposeAsync()
        {
            LetGo(held);
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>Walks from heads, and from what is open and in no root.</summary>
    private sealed class OpenWalker(OpenVolumes open) : IRootWalker
    {
        private readonly TreeWalker _heads = new();

        public async ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
        {
            await _heads.MarkAsync(head, blocks, marker, cancel).ConfigureAwait(false);
            foreach (OpenVolume each in open.All.Where(each => each.Volume.Root.Id == head.Volume))
            {
                await each.View.Present.MarkHeldAsync(marker, cancel).ConfigureAwait(false);
            }
        }
    }
}
