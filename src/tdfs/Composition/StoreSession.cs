using System.Net.Sockets;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Node.Audit;
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
    BlockStore store, Keyring keyring, SecretBytes unlockKey, StorageConfig config, IDisk disk, bool hasPassphrase, IRandomSource random, TimeProvider clock, WriterTurns turns, Action<string> say) : IStoreSession
{
    /// <summary>How often a node looks for what other devices have published.</summary>
    private static readonly TimeSpan s_meetTurn = TimeSpan.FromMinutes(5);

    private readonly OpenVolumes _open = new();
    private readonly HolderWatch _watch = new(store, config, keyring, disk, random, clock, say);
    private readonly CancellationTokenSource _ends = new();
    private readonly ReplicationBound _bound = new(store, config.ReplicateWithin, clock, say);
    private readonly SemaphoreSlim _mending = new(1, 1);
    private NodeServer? _server;
    private Task _watching = Task.CompletedTask;

    public IStoreCare Care => CareWith(static freed => new TreeWalker(freed), turns.RunAsync);

    public IFreed Freed => FreedWith(static freed => new TreeWalker(freed), turns.RunAsync);

    public IVolumes Volumes => OwnVolumes;

    private StoreVolumes OwnVolumes => new(store, config, disk, config.StorePath + "/caches", keyring.CacheKey, random, clock, _open, _bound);

    public IMounts Mounts => new VolumeMounts(Opener);

    public IWebDav WebDav => new VolumeWebDav(Opener);

    public IPeers Peers => OwnPeers;

    private StorePeers OwnPeers => new(config, keyring, ownsKeyring: false, disk, random, clock, say);

    public IAudits Audits => OwnAudits;

    private StoreAudits OwnAudits => new(store, config.StorePath, keyring.CacheKey, disk, random, clock, say) { Ledger = new Ledger(disk, config.StorePath, keyring.CacheKey, keyring.Device, random, clock) };

    public IDevices Devices => new StoreDevices(store, keyring, config, disk, random, clock, say);

    private string Path => config.StorePath;

    private FreedFile FreedFile => StoreFreed.FileOf(config.StorePath, keyring.CacheKey, disk, random, clock);

    private VolumeOpener Opener => new(store, config, disk, random, clock, say, _open, _bound);

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

        _watching = WatchAsync(_ends.Token);
    }

    public ValueTask<LeaveResult> LeaveAsync(string peer, IProgressSink progress, CancellationToken cancel) =>
        new PeerDeparture(store, OwnPeers, _watch, new OpenWalker(_open, StoreFreed.Read(FreedFile)), holder => StoreCare.FreeBytes(disk, holder) ?? 0, ShareMendingAsync, InTurnsAsync).RunAsync(peer, progress, cancel);

    public ValueTask<RepairExportResult> ExportRepairAsync(string peer, string path, CancellationToken cancel) => OwnPeers.ExportRepairAsync(store, peer, path, cancel);

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync().ConfigureAwait(false);
        }

        await _ends.CancelAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(false);
        if (store.IsWritable)
        {
            try
            {
                await OwnAudits.CountAsync([], CancellationToken.None).ConfigureAwait(false);
            }
            catch (DiskException failure)
            {
                say($"{failure.Message}; what was moved is not in the ledger"); // and nothing else depends on it
            }
        }

        await store.DisposeAsync().ConfigureAwait(false);
        StoreHost.LetGoOfHolders(store);
        _watch.Dispose();
        _bound.Dispose();
        _ends.Dispose();
        _mending.Dispose();
        keyring.Dispose();
        unlockKey.Dispose(); // with which epochs were kept
        _open.Dispose();
    }

    /// <summary>Beside other verbs, but one at a time of those that give sealed arenas' fragments to other holders.</summary>
    private async ValueTask<IDisposable> ShareMendingAsync(CancellationToken cancel)
    {
        await _mending.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            return new Mending(_mending, await _open.Gate.ShareAsync(cancel).ConfigureAwait(false));
        }
        catch
        {
            _mending.Release();
            throw;
        }
    }

    private sealed class Mending(SemaphoreSlim turn, IDisposable shared) : IDisposable
    {
        public void Dispose()
        {
            shared.Dispose();
            turn.Release();
        }
    }

    /// <summary>What the account's other devices published is taken up alone, with every tree held: then nothing is under way that counts on what they have released.</summary>
    private async ValueTask MeetOthersAsync(CancellationToken cancel)
    {
        if (await store.HasNewsAsync(cancel).ConfigureAwait(false))
        {
            await InTurnsAsync(
                async met =>
                {
                    await met.MeetOthersAsync(cancel).ConfigureAwait(false);
                    await new RevocationNews(met, config.StorePath, keyring, disk, random, clock).KeepAsync(cancel).ConfigureAwait(false);
                    return false;
                },
                cancel).ConfigureAwait(false);
        }
    }

    /// <summary>A node runs for weeks: who was away when it began, or came since, becomes a holder while it runs, and gets what is missing.</summary>
    private async Task WatchAsync(CancellationToken ends)
    {
        var mender = new NodeMender(store, config.RepairRate, clock, ShareMendingAsync, say);
        using PeriodicTimer timer = new(HolderWatch.Turn, clock);
        long metAt = clock.GetTimestamp();
        string? told = null;
        try
        {
            while (await timer.WaitForNextTickAsync(ends).ConfigureAwait(false))
            {
                try
                {
                    bool hasChanged = await _watch.LookAsync(ends).ConfigureAwait(false);
                    if (config.RepairsByItself && !_watch.IsCutOff)
                    {
                        await mender.RunAsync(hasChanged, ends).ConfigureAwait(false);
                    }

                    await _bound.PushAsync(ends).ConfigureAwait(false);
                    if (hasChanged || clock.GetElapsedTime(metAt) >= s_meetTurn)
                    {
                        metAt = clock.GetTimestamp();
                        await MeetOthersAsync(ends).ConfigureAwait(false);
                    }

                    told = null;
                }
                catch (Exception failure) when (failure is DiskException or StoreException or DamagedFormatException)
                {
                    if (told != failure.Message)
                    {
                        told = failure.Message;
                        say($"holders: {failure.Message}");
                    }
                }
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    /// <summary>The door of verbs that came by the socket: the store that is open already.</summary>
    private sealed class NodeHost(StoreSession node) : IStoreHost
    {
        private const string NotHere = "the store is served by a running node; stop it first";

        public async ValueTask<IStoreSession> OpenAsync(OpenRequest request, CancellationToken cancel) => request.Access switch
        {
            _ when request.Config.StorePath != node.Path => throw new UserError(ExitCode.Usage, $"found {request.Config.StorePath}, expected {node.Path}, which the running node serves"),
            StoreAccess.Write when request.TakesTurns => new Guest(node, []),
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

        public ValueTask<JoinResult> JoinAsync(JoinRequest request, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);

        public ValueTask<RecoverResult> RecoverAsync(RecoverRequest request, IProgressSink progress, CancellationToken cancel) => throw new UserError(ExitCode.Locked, NotHere);
    }

    private StoreCare CareWith(Func<FreedList, IRootWalker> walkerFor, Func<Func<BlockStore, ValueTask<bool>>, CancellationToken, ValueTask> inTurns) =>
        new(store, keyring, config, disk, hasPassphrase, walkerFor(FreedList.Empty), inTurns) { Audits = OwnAudits, Freed = FreedFile, FreedWalker = walkerFor };

    private StoreFreed FreedWith(Func<FreedList, IRootWalker> walkerFor, Func<Func<BlockStore, ValueTask<bool>>, CancellationToken, ValueTask> inTurns) =>
        new(store, OwnVolumes, OwnAudits, FreedFile, walkerFor, inTurns, clock);

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
        public IStoreCare Care => node.CareWith(freed => new OpenWalker(node._open, freed), node.InTurnsAsync);

        public IFreed Freed => node.FreedWith(freed => new OpenWalker(node._open, freed), node.InTurnsAsync);

        public IVolumes Volumes { get; } = node.Volumes;

        public IMounts Mounts => node.Mounts;

        public IWebDav WebDav => node.WebDav;

        public IAudits Audits => node.Audits;

        public IPeers Peers => node.Peers;

        public ValueTask<LeaveResult> LeaveAsync(string peer, IProgressSink progress, CancellationToken cancel) => node.LeaveAsync(peer, progress, cancel);

        public ValueTask<RepairExportResult> ExportRepairAsync(string peer, string path, CancellationToken cancel) => node.ExportRepairAsync(peer, path, cancel);

        public IDevices Devices => node.Devices;

        public ValueTask DisposeAsync()
        {
            LetGo(held);
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>Walks from heads, and from what is open and in no root.</summary>
    private sealed class OpenWalker(OpenVolumes open, FreedList freed) : IRootWalker
    {
        private readonly TreeWalker _heads = new(freed);

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
