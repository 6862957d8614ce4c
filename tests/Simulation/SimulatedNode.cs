using Microsoft.AspNetCore.Http;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Tests;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Simulation;

/// <summary>A friend's node: the service, the house and the folder holders that `tdfs node` runs, over a simulated disk.</summary>
#pragma warning disable CA1001 // a machine that loses power disposes of nothing
internal sealed class SimulatedNode
#pragma warning restore CA1001
{
    private const string State = "/state";
    private const string Folder = "/kept";

    private readonly AccountKeys _account;
    private readonly DeviceKeys _device;
    private readonly SecretBytes _cacheKey;
    private readonly Trace _trace;
    private readonly Dictionary<string, FolderHolder> _holders = [];
    private HolderHouse? _house;
    private HolderService? _service;

    internal SimulatedNode(int number, ManualClock world, SeededRandom random, Trace trace)
    {
        Number = number;
        Name = $"node{number}";
        Random = random;
        _trace = trace;
        Clock = new MachineClock(world);
        _account = AccountKeys.FromEntropy(random.Bytes(32));
        _device = DeviceKeys.Create(random);
        _cacheKey = SecretBytes.Random(random, 32);
        Certificate = DeviceCertificate.Issue(_account, _device, 1, Name, 0);
        Disk.CreateDirectory(State);
    }

    internal int Number { get; }

    internal string Name { get; }

    internal string Host => Name + ".example.org";

    internal SeededRandom Random { get; }

    internal MachineClock Clock { get; }

    internal DeviceCertificate Certificate { get; }

    internal SimulatedDisk Disk { get; private set; } = new();

    internal NodeIdentity Identity => new(Certificate);

    /// <summary>It runs, and answers whom the network lets through.</summary>
    internal bool IsUp => _service is not null;

    /// <summary>It will never come back.</summary>
    internal bool IsGone { get; set; }

    /// <summary>Every request to it hangs.</summary>
    internal bool IsHung { get; set; }

    /// <summary>What a message takes to it, and what comes from it.</summary>
    internal TimeSpan Latency { get; set; } = TimeSpan.FromMilliseconds(20);

    internal LyingAnswers Lies { get; } = new();

    internal bool IsLying => Lies.Lie != Lie.None;

    /// <summary>As a device's list has it.</summary>
    internal Peer AsPeer(long keptForUs) => new()
    {
        AccountKey = Bytes32.Read(Certificate.AccountPublicKey),
        DeviceKey = Bytes32.Read(Certificate.DevicePublicKey),
        Name = Name,
        Place = Name,
        KeptForUs = keptForUs,
        Addresses = [Host + ":4919"],
    };

    internal void LetIn(Peer peer)
    {
        PeerFile file = File();
        file.ChangeAsync(list => list.With(peer), CancellationToken.None).Done();
    }

    internal void Start()
    {
        Disk.CrashAfter(1L << 40); // its power is back, and stays
        _house = HolderHouse.Open(Disk, Folder, OpenHolder, 0, Clock, Say);
        var book = new PeerBook(File(), Clock, Say);
        var desk = new JoinDesk(book, Name, []);
        _service = new HolderService(_house, book, desk, Bytes32.Read(Certificate.AccountPublicKey), "simulated", Random, Clock, Say) { Disks = InlineScheduler.Instance };
    }

    /// <summary>The owner ends it, and its machine with it.</summary>
    internal void Stop()
    {
        _house?.DisposeAsync().Done();
        Drop();
    }

    /// <summary>kill -9, or the power goes.</summary>
    internal void Crash(bool isPowerCut)
    {
        Drop();
        if (isPowerCut)
        {
            Disk = Disk.Recover(Random.Next(int.MaxValue));
        }
        else
        {
            Disk.RestartProcess();
        }
    }

    /// <summary>Its disk is replaced by an empty one; the person's list of peers comes back from a backup.</summary>
    internal void LoseDisk(Peer account)
    {
        Drop();
        Disk = new SimulatedDisk();
        Disk.CreateDirectory(State);
        LetIn(account);
    }

    /// <summary>Copies what another node is by into every holder of its own. It is not running.</summary>
    internal void ClaimToBe(SimulatedNode other)
    {
        foreach (string name in Disk.List(Folder).Where(static entry => entry.IsDirectory).Select(static entry => entry.Name))
        {
            string path = $"{Folder}/{name}/holder";
            using IDiskFile theirs = other.Disk.Open(path, DiskOpen.Read);
            byte[] identity = new byte[theirs.Length];
            _ = theirs.Read(0, identity);
            using IDiskFile ours = Disk.Open(path, DiskOpen.ReadWrite);
            ours.Write(0, identity);
            ours.Sync();
        }
    }

    internal void Tick() => _service?.TickAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult();

    /// <summary>Answers a request as behind a handshake with whoever asks.</summary>
    internal void Answer(HttpContext http)
    {
        Task answered = IsLying ? Lies.AnswerAsync(http, _service!.AnswerAsync) : _service!.AnswerAsync(http);
        new ValueTask(answered).Done();
    }

    /// <summary>Whether a fragment lies here, every byte of it: looked at behind the node's back.</summary>
    internal bool HasGood(ArenaId id, int index, FragmentName name, int sliceBytes)
    {
        bool wasUp = IsUp;
        foreach (string path in Disk.DirectoryExists(Folder) ? Disk.List(Folder).Where(static entry => entry.IsDirectory).Select(static entry => Folder + "/" + entry.Name) : [])
        {
            FolderHolder? holder = wasUp ? _holders.GetValueOrDefault(path) : null;
            FolderHolder? own = null;
            try
            {
                holder ??= own = FolderHolder.Open(Disk, path, Random, mayWrite: false);
                byte[] bytes = new byte[sliceBytes];
                if (holder.ReadAsync(id, index, 0, bytes, CancellationToken.None).Done() == sliceBytes && FragmentName.Read(Root(bytes)) == name)
                {
                    return true;
                }
            }
            catch (Exception unreadable) when (unreadable is DiskException or DamagedFormatException)
            {
                // no good fragment
            }
            finally
            {
                own?.Dispose();
            }
        }

        return false;
    }

    private static byte[] Root(byte[] bytes)
    {
        byte[] groups = new byte[(int)Core.Hashing.Blake3Tree.GroupCount(bytes.Length) * Core.Hashing.Blake3.HashSize];
        byte[] root = new byte[Core.Hashing.Blake3.HashSize];
        Core.Hashing.Blake3Tree.HashWithGroups(bytes, groups, root);
        return root;
    }

    private PeerFile File() => new(Disk, State, _cacheKey, Random, Clock);

    private FolderHolder OpenHolder(string path) => _holders[path] = Disk.FileExists(path + "/holder") ? FolderHolder.Open(Disk, path, Random) : FolderHolder.Create(Disk, path, Random);

    private void Drop()
    {
        _house = null;
        _service = null;
        _holders.Clear();
    }

    private void Say(string line) => _trace.Add($"{Name} says: {line}");
}
