using System.Text;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Simulation;

/// <summary>One of the account's devices: keyring, state folder and the store over the peers of its list, opened as the command opens it, without the command around it.</summary>
#pragma warning disable CA1001 // a machine that loses power disposes of nothing
internal sealed class SimulatedDevice
#pragma warning restore CA1001
{
    internal const string State = "/state";

    /// <summary>What a seed needs of storage.toml; arenas are of the smallest size besides, so that a few hundred KiB are several of them.</summary>
    private static readonly StorageConfig s_config = StorageConfig.Parse(
        "storage.toml", Encoding.UTF8.GetBytes($"[store]\npath = \"{State}\"\n"), "/", "/", static _ => true);

    private readonly int _survive;
    private readonly Trace _trace;
    private readonly SimulatedNetwork _network;
    private HolderWatch? _watch;

    internal SimulatedDevice(uint number, Keyring keyring, int survive, ManualClock world, SeededRandom random, SimulatedNetwork network, Trace trace)
    {
        Number = number;
        _survive = survive;
        Keyring = keyring;
        Random = random;
        _network = network;
        _trace = trace;
        Clock = new MachineClock(world);
        Disk.CreateDirectory(State);
    }

    internal uint Number { get; }

    internal string Name => $"device{Number}";

    internal Keyring Keyring { get; }

    internal SeededRandom Random { get; }

    internal MachineClock Clock { get; }

    internal SimulatedDisk Disk { get; set; } = new();

    internal BlockStore? Store { get; private set; }

    internal bool IsOpen => Store is not null;

    internal static StorageConfig Config => s_config;

    /// <summary>Whom its owner has made peers, and whom revoked.</summary>
    internal void ChangePeers(Func<PeerList, PeerList> change) => new PeerFile(Disk, State, Keyring.CacheKey, Random, Clock).ChangeAsync(change, CancellationToken.None).Done();

    /// <summary>What peers failed audits in counts no more: their owners have mended what was wrong with them.</summary>
    internal void ForgivePeers()
    {
        IReadOnlyList<Peer> peers = new PeerFile(Disk, State, Keyring.CacheKey, Random, Clock).Read().Peers;
        new ScoreFile(Disk, State, Keyring.CacheKey, Random, Clock)
            .ChangeAsync(scores => peers.Aggregate(scores, static (forgiving, peer) => forgiving.Forgiving(peer.Holder)), CancellationToken.None).Done();
    }

    internal Peer AsPeer() => new()
    {
        AccountKey = Bytes32.Read(Keyring.AccountPublicKey),
        DeviceKey = Bytes32.Read(Keyring.Certificate.DevicePublicKey),
        Name = Name,
        Place = Name,
        KeptForIt = 1L << 40,
    };

    internal void Open(bool mustExist)
    {
        BlockStore store = OpenAs(StoreAccess.Write, mustExist);
        Store = store;
        if (store.HasPostponed)
        {
            store.MeetOthersAsync(CancellationToken.None).Done();
        }

        _watch = new HolderWatch(store, s_config, Keyring, Disk, Random, Clock, Say, _network.DoorOf(Number));
    }

    internal BlockStore OpenAs(StoreAccess access, bool mustExist)
    {
        var peers = new PeerHolders(Disk, Random, Clock, null, Say, network: _network.DoorOf(Number));
        List<ConfiguredHolder> holders = peers.OpenAsync(State, Keyring, CountryRule.None, mayWrite: access == StoreAccess.Write, CancellationToken.None).Done();
        holders = LostPeers.GiveUp(holders, new ScoreFile(Disk, State, Keyring.CacheKey, Random, Clock).Read(), null);
        if (access == StoreAccess.Write)
        {
            ConfiguredHolder.RequireOne(holders);
        }

        KeyDomain realm = Keyring.Domains[0];
        var keys = new StoreKeys
        {
            Device = Keyring.DeviceNumber,
            DeviceKeys = Keyring.Device,
            Certificate = Keyring.Certificate,
            Realm = realm,
            Domains = [.. Keyring.Domains],
            Tag = Keyring.Tag,
            AnchorKey = Keyring.AnchorKey,
            AccountPublicKey = Keyring.AccountPublicKey.ToArray(),
            RecoveryPublicKey = Keyring.RecoveryPublicKey.ToArray(),
        };
        var options = new StoreOptions
        {
            StateFolder = State,
            MustExist = mustExist,
            Survive = _survive, // the same for all, however many places each knows of
            CompressionLevel = 0,
            ArenaBytes = 256 * 1024,
            SealAtFlushBytes = 96 * 1024,
            TrashDays = 3,
            Sealing = InlineScheduler.Instance,
            OpenLookup = () => IndexSnapshot.TryOpen(Disk, State + "/index", 1 << 20),
        };
        BlockStore store = BlockStore.OpenAsync(Disk, options, keys, holders, OpenIndex, Clock, Random, access, Name, Say, CancellationToken.None).Done();
        PeerHolders.Teach(store);
        return store;
    }

    /// <summary>What a running node does every 20 seconds, every few minutes and every now and then, once each.</summary>
    internal void Watch(bool mends)
    {
        var mender = new NodeMender(Store!, 0, Clock, static _ => ValueTask.FromResult<IDisposable>(new MemoryStream()), Say);
        bool hasChanged = _watch!.LookAsync(CancellationToken.None).Done();
        while (mends && !_watch.IsCutOff && !mender.RunAsync(hasChanged, CancellationToken.None).Done())
        {
            hasChanged = _watch.LookAsync(CancellationToken.None).Done();
        }

        if (Store!.HasNewsAsync(CancellationToken.None).Done())
        {
            Store.MeetOthersAsync(CancellationToken.None).Done();
        }
    }

    internal StoreCare Care(IRootWalker walker, bool inTurns = true) => new(Store!, Keyring, s_config, Disk, hasPassphrase: false, walker, async (turn, _) =>
    {
        while (await turn(Store!) && inTurns)
        {
        }
    });

    internal IReadOnlyList<AuditInfo> Audit(int count) => new StoreAudits(Store!, State, Keyring.CacheKey, Disk, Random, Clock, Say).RunAsync(null, count, CancellationToken.None).Done();

    /// <summary>The process ends in order.</summary>
    internal void Close()
    {
        BlockStore store = Store!;
        Store = null;
        store.DisposeAsync().Done();
        StoreHost.LetGoOfHolders(store);
        _watch?.Dispose();
        _watch = null;
    }

    /// <summary>The process ends where it stands: kill -9, or the power goes.</summary>
    internal void Crash(bool isPowerCut)
    {
        Store = null;
        _watch = null;
        if (isPowerCut)
        {
            Disk = Disk.Recover(Random.Next(int.MaxValue));
        }
        else
        {
            Disk.RestartProcess();
        }
    }

    private IBlockIndex OpenIndex()
    {
        string folder = State + "/index";
        return RunIndex.IsIn(Disk, folder) ? new RunIndex(Disk, folder, 1 << 20) : new GrowingIndex(() => new RunIndex(Disk, folder, 1 << 20), GrowingIndex.DefaultMemoryEntries);
    }

    private void Say(string line) => _trace.Add($"{Name} says: {line}");
}
