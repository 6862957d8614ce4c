using System.Net;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>A device of an account of its own, as a keyring gives it.</summary>
internal sealed class TestDevice : IDisposable
{
    private readonly AccountKeys _account;
    private readonly DeviceKeys _keys;

    internal TestDevice(string name, TestDevice? sameAccount = null, uint number = 1, TestDevice? enrolledBy = null)
    {
        _account = (sameAccount ?? enrolledBy)?._account ?? AccountKeys.FromEntropy(new SeededRandom(name.GetHashCode(StringComparison.Ordinal)).Bytes(32));
        _keys = DeviceKeys.Create(SystemRandom.Instance);
        Name = name;
        Certificate = enrolledBy is null
            ? DeviceCertificate.Issue(_account, _keys, number, name, 1_790_000_000)
            : DeviceCertificate.Issue(enrolledBy.Certificate, enrolledBy._keys, _keys.PublicKey, _keys.AgreementPublicKey, number, name, 1_790_000_000);
        Tls = new NodeCertificate(_keys, Certificate, TimeProvider.System);
    }

    internal string Name { get; }

    internal DeviceCertificate Certificate { get; }

    internal NodeCertificate Tls { get; }

    internal SecretBytes CacheKey { get; } = SecretBytes.Random(SystemRandom.Instance, 32);

    internal Bytes32 AccountKey => Bytes32.Read(Certificate.AccountPublicKey);

    internal Bytes32 DeviceKey => Bytes32.Read(Certificate.DevicePublicKey);

    internal NodeCertificate TlsAt(TimeProvider clock) => new(_keys, Certificate, clock);

    internal DeviceKeys Keys => _keys;

    public void Dispose() => CacheKey.Dispose();

    /// <summary>This device's word about another of its account.</summary>
    internal Revocation Says(uint device, DeviceState state = DeviceState.Revoked) => new(Certificate, DeviceStatement.Issue(Certificate, _keys, device, state, 1_795_000_000, []));

    /// <summary>This device as another's list has it.</summary>
    internal Peer AsPeer(long keptForIt) =>
        new() { AccountKey = AccountKey, DeviceKey = DeviceKey, Name = Name, Place = Name, KeptForIt = keptForIt };
}

/// <summary>A whole node on loopback over a simulated disk, and devices that dial it.</summary>
internal sealed class ServedNode : IAsyncDisposable
{
    private readonly List<IDisposable> _dialled = [];
    private readonly SimulatedDisk _disk = new();
    private PeerServer? _server;

    internal TestDevice Device { get; } = new("host" + Guid.NewGuid());

    internal Dictionary<string, MemoryHolder> Holders { get; } = [];

    internal List<string> Troubles { get; } = [];

    internal PeerBook Book { get; private set; } = null!;

    internal RevocationFile Own { get; private set; } = null!;

    internal HolderService Service { get; private set; } = null!;

    internal HolderHouse House { get; private set; } = null!;

    internal PeerServer Server => _server!;

    internal IPEndPoint Endpoint => _server!.Endpoint;

    internal NodeAddress Address => new(IPAddress.Loopback.ToString(), (ushort)Endpoint.Port);

    internal long FreeBytes { get; set; } = 1L << 40;

    /// <summary>What it lies about; nothing unless a test says so.</summary>
    internal LyingAnswers Lies { get; } = new();

    internal static async Task<ServedNode> StartAsync(params Peer[] letIn)
    {
        var node = new ServedNode();
        node._disk.CreateDirectory("state");
        var file = new PeerFile(node._disk, "state", node.Device.CacheKey, SystemRandom.Instance, TimeProvider.System);
        await file.ChangeAsync(list => letIn.Aggregate(list, static (all, peer) => all.With(peer)), Cancel);
        node.Book = new PeerBook(file, TimeProvider.System, node.Troubles.Add);
        node.Own = new RevocationFile(node._disk, "state", node.Device.CacheKey, SystemRandom.Instance, TimeProvider.System);
        node.House = HolderHouse.Open(node._disk, "kept", node.OpenHolder, 1 << 20, TimeProvider.System, node.Troubles.Add);
        var desk = new JoinDesk(node.Book, "host", [new NodeAddress("127.0.0.1", 4919)]);
        node.Service = new HolderService(node.House, node.Book, desk, node.Device.AccountKey, "test", SystemRandom.Instance, TimeProvider.System, node.Troubles.Add) { Own = node.Own };
        node._server = await PeerServer.StartAsync(new IPEndPoint(IPAddress.Loopback, 0), node.Device.Tls, node.Service, http => node.Lies.AnswerAsync(http, node.Service.AnswerAsync), TimeProvider.System, node.Troubles.Add, Cancel);
        return node;
    }

    internal static CancellationToken Cancel => TestContext.Current.CancellationToken;

    internal MemoryHolder HolderOf(TestDevice device) => Holders["kept/" + HolderHouse.NameOf(device.AccountKey)];

    internal PeerConnection Dial(TestDevice by, ExpectedIdentity? expected = null, TimeProvider? clock = null, TimeProvider? patience = null, NodeAddress? at = null)
    {
        var connection = new PeerConnection("host", [at ?? Address], expected ?? new ExpectedIdentity { DeviceKey = Device.DeviceKey }, by.TlsAt(clock ?? TimeProvider.System), patience ?? TimeProvider.System);
        _dialled.Add(connection);
        return connection;
    }

    internal async Task<PeerHolder> OpenAsync(TestDevice by, Action<string>? note = null) => await PeerHolder.OpenAsync(Dial(by), note, Cancel);

    public async ValueTask DisposeAsync()
    {
        foreach (IDisposable each in _dialled)
        {
            each.Dispose();
        }

        await _server!.DisposeAsync();
        await House.DisposeAsync();
        Service.Dispose();
        Device.Dispose();
    }

    internal static FragmentData Fragment(int index, int slice, int seed)
    {
        byte[] bytes = new SeededRandom(seed).Bytes(slice);
        byte[] hashes = new byte[Blake3Tree.GroupCount(slice) * Blake3.HashSize];
        byte[] root = new byte[Blake3.HashSize];
        Blake3Tree.HashWithGroups(bytes, hashes, root);
        return new FragmentData(index, bytes, FragmentName.Read(root), hashes);
    }

    private MemoryHolder OpenHolder(string path) => Holders.TryGetValue(path, out MemoryHolder? known) ? known : Holders[path] = new MemoryHolder();
}
