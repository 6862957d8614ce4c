using System.Net;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;

namespace Nodes;

/// <summary>A device with an account of its own.</summary>
internal sealed class Device
{
    private readonly DeviceKeys _keys = DeviceKeys.Create(SystemRandom.Instance);

    internal Device(string name)
    {
        byte[] entropy = new byte[32];
        SystemRandom.Instance.Fill(entropy);
        Certificate = DeviceCertificate.Issue(AccountKeys.FromEntropy(entropy), _keys, 1, name, 1_790_000_000);
        Tls = new NodeCertificate(_keys, Certificate, TimeProvider.System);
    }

    internal DeviceCertificate Certificate { get; }

    internal NodeCertificate Tls { get; }

    internal Bytes32 AccountKey => Bytes32.Read(Certificate.AccountPublicKey);

    internal Bytes32 DeviceKey => Bytes32.Read(Certificate.DevicePublicKey);
}

/// <summary>What `tdfs node` serves with, for one peer that it was told of, until its input ends.</summary>
internal static class NodeServer
{
    /// <param name="account">Of the peer, as hexadecimal digits.</param>
    /// <param name="device">Of the peer, as hexadecimal digits.</param>
    internal static async Task<int> RunAsync(string folder, string account, string device)
    {
        var disk = new PosixDisk();
        var own = new Device("node");
        Directory.CreateDirectory(folder + "/state");
        using SecretBytes key = SecretBytes.Random(SystemRandom.Instance, 32);
        var file = new PeerFile(disk, folder + "/state", key, SystemRandom.Instance, TimeProvider.System);
        var peer = new Peer { AccountKey = Bytes32.Read(Convert.FromHexString(account)), DeviceKey = Bytes32.Read(Convert.FromHexString(device)), Name = "bench", Place = "bench", KeptForIt = 1L << 40 };
        await file.ChangeAsync(list => list.With(peer), CancellationToken.None);
        var book = new PeerBook(file, TimeProvider.System, Say);
        HolderHouse house = HolderHouse.Open(disk, folder + "/kept", path => disk.FileExists(path + "/holder") ? FolderHolder.Open(disk, path, SystemRandom.Instance) : FolderHolder.Create(disk, path, SystemRandom.Instance), 1 << 20, TimeProvider.System, Say);
        await using (house)
        {
            var desk = new JoinDesk(book, "node", [new NodeAddress("127.0.0.1", 4919)]);
            using var service = new HolderService(house, book, desk, own.AccountKey, "bench", SystemRandom.Instance, TimeProvider.System, Say);
            PeerServer server = await PeerServer.StartAsync(new IPEndPoint(IPAddress.Loopback, 0), own.Tls, service, TimeProvider.System, Say, CancellationToken.None);
            await using (server)
            {
                Console.WriteLine($"{server.Endpoint.Port} {Convert.ToHexString(own.Certificate.DevicePublicKey)}");
                _ = await Console.In.ReadLineAsync();
            }
        }

        return 0;
    }

    private static void Say(string line) => Console.Error.WriteLine(line);
}
