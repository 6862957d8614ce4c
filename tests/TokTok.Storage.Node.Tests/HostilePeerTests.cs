using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>What strangers, guests that ask for too much, and clocks can do to a node: nothing, and honest peers go on.</summary>
public sealed class HostilePeerTests
{
    private const int Slice = 128 * 1024;
    private const long Quota = 64L << 20;

    private static readonly string[] s_operations =
    [
        "hello", "inspect", "list", "put-begin", "put-bytes", "read", "hashes", "salvage", "rewrite", "mend", "settle", "trash", "restore", "purge", "delete", "cancel-releases",
        "objects", "object-read", "object-append", "object-put", "object-delete", "join", "nothing", "",
    ];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Random_bytes_to_every_operation_are_refused_and_the_node_goes_on()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        PeerConnection connection = node.Dial(ann);
        foreach (string operation in s_operations)
        {
            for (int seed = 0; seed < 12; seed++)
            {
                byte[] bytes = new SeededRandom(seed).Bytes(seed * seed * 11);
                if (seed % 3 == 0 && bytes.Length >= 32)
                {
                    id.Write(bytes); // one that is there
                }

                try
                {
                    await connection.AskAsync(operation, bytes, 1 << 20, Cancel);
                }
                catch (PeerException refused)
                {
                    Assert.True(refused.Problem is PeerProblem.Refused or PeerProblem.Full or PeerProblem.NotLetIn or PeerProblem.Damaged, $"{operation}, seed {seed}: {refused.Problem}: {refused.Message}");
                    Assert.DoesNotContain('\n', refused.Message);
                }
            }
        }

        byte[] back = new byte[Slice];
        await holder.CancelReleasesAsync(Cancel);
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel));
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));
    }

    [Fact]
    public async Task Tables_beyond_their_limits_are_refused_before_anything_is_kept_for_them()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(long.MaxValue));
        PeerConnection connection = node.Dial(ann);
        foreach ((int data, int parity, uint slice, int count) in ((int, int, uint, int)[])
            [(0, 1, 4096, 1), (1, 1, 0, 1), (1, 1, 4097, 1), (1, 1, 0x7FFF_F000, 1), (255, 255, 4096, 1), (200, 56, 1 << 20, 1), (1, 1, 4096, 3), (16, 1, 1 << 20, 0)])
        {
            var writer = new FieldWriter();
            writer.Bytes(new byte[32]);
            writer.U8(0);
            writer.U8((byte)data);
            writer.U8((byte)parity);
            writer.U8(0);
            writer.U32(slice);
            writer.U16((ushort)count);
            writer.U16(0);
            for (int i = 0; i < count; i++)
            {
                writer.U16((ushort)i);
                writer.Bytes(new byte[32]);
            }

            PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => await connection.AskAsync("put-begin", writer.WrittenMemory, 64, Cancel));
            Assert.Contains("(400)", refused.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Bytes_that_do_not_match_their_names_are_not_kept()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData wrong = ServedNode.Fragment(0, Slice, 1) with { Name = ServedNode.Fragment(0, Slice, 2).Name };
        DiskException refused = await Assert.ThrowsAsync<DiskException>(async () => await holder.PutAsync(id, 1, 1, Slice, [wrong], Cancel));
        Assert.Contains("do not match", refused.Message, StringComparison.Ordinal);
        Assert.Empty(node.HolderOf(ann).Arenas);
    }

    [Fact]
    public async Task An_upload_that_broke_goes_on_where_its_bytes_ended()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        PeerConnection connection = node.Dial(ann);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        var table = new PutTable(id, false, 1, 1, Slice, [new HeldFragment(0, fragment.Name)]);
        var begin = new FieldWriter();
        table.Write(begin);
        byte[] answer = await connection.AskAsync("put-begin", begin.WrittenMemory, 64, Cancel);
        byte[] part = [.. answer.AsSpan(8, 16), 0, 0, 0, 0, .. fragment.Bytes.Span[..50_000]];
        Assert.Equal(50_000u, BitConverter.ToUInt32(await connection.AskAsync("put-bytes", part, 4, Cancel)));

        // Another connection, as after a restart of the sender's network.
        PeerConnection again = node.Dial(ann);
        answer = await again.AskAsync("put-begin", begin.WrittenMemory, 64, Cancel);
        Assert.Equal(50_000u, BitConverter.ToUInt32(answer.AsSpan(4)));
        PeerException wrongPlace = await Assert.ThrowsAsync<PeerException>(async () => await again.AskAsync("put-bytes", part, 4, Cancel));
        Assert.Contains("50000 bytes have come", wrongPlace.Message, StringComparison.Ordinal);
        await new PeerUpload(again, table, fragment.Bytes).RunAsync(Cancel);
        using PeerHolder holder = await node.OpenAsync(ann);
        byte[] back = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel));
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));
        Assert.Equal(1, (await again.AskAsync("put-begin", begin.WrittenMemory, 64, Cancel))[0]); // and what is kept needs not be sent again
    }

    [Fact]
    public async Task A_clock_that_is_wrong_by_years_on_either_side_changes_nothing()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        foreach (int years in (int[])[-25, -1, 1, 500])
        {
            using PeerHolder holder = await PeerHolder.OpenAsync(node.Dial(ann, clock: new ManualClock(DateTimeOffset.UtcNow.AddYears(years))), null, Cancel);
            Assert.Equal(Quota, holder.Hello.QuotaBytes);
        }
    }

    [Fact]
    public async Task Who_answers_in_anothers_place_is_told_apart_before_anything_is_said()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        PeerConnection connection = node.Dial(ann, new ExpectedIdentity { DeviceKey = bob.DeviceKey, AccountKey = bob.AccountKey });
        PeerException other = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(connection, null, Cancel));
        Assert.Equal(PeerProblem.OtherIdentity, other.Problem);
        Assert.Empty(node.Holders);
        using PeerHolder sameAccount = await PeerHolder.OpenAsync(node.Dial(ann, new ExpectedIdentity { DeviceKey = bob.DeviceKey, AccountKey = node.Device.AccountKey }), null, Cancel);
        Assert.NotNull(sameAccount);
    }

    [Fact]
    public async Task A_certificate_without_an_identity_or_with_anothers_ends_the_handshake()
    {
        using var ann = new TestDevice("ann");
        using var eve = new TestDevice("eve");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        byte[] spki = key.ExportSubjectPublicKeyInfo();
        byte[] anns = ann.Tls.Octets(spki);
        byte[] stolen = [.. anns.AsSpan(0, anns.Length - 64), .. eve.Tls.Octets(spki).AsSpan(^64)]; // ann's certificate, eve's signature
        byte[] replayed = ann.Tls.Octets(ECDsa.Create(ECCurve.NamedCurves.nistP256).ExportSubjectPublicKeyInfo()); // ann's word for another key
        foreach ((string why, byte[]? octets, bool isGood) in ((string, byte[]?, bool)[])
            [("its own", anns, true), ("none", null, false), ("stolen", stolen, false), ("replayed", replayed, false), ("cut", anns[..^1], false), ("longer", [.. anns, 0], false), ("empty", [], false)])
        {
            var request = new CertificateRequest("CN=x", key, HashAlgorithmName.SHA256);
            if (octets is not null)
            {
                request.CertificateExtensions.Add(new X509Extension(NodeCertificate.ExtensionOid, octets, critical: false));
            }

            using X509Certificate2 made = request.CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(9));
            using X509Certificate2 shown = X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pfx), null);
            Assert.True(await IsAdmittedAsync(node, shown) == isGood, why);
        }

        Assert.False(await IsAdmittedAsync(node, null));
    }

    [Fact]
    public async Task Another_version_is_told_which_one_is_spoken()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        PeerException other = await Assert.ThrowsAsync<PeerException>(async () => await node.Dial(ann).AskAsync("/tdfs/2/hello", default, 1000, Cancel));
        Assert.Equal(PeerProblem.OtherVersion, other.Problem);
        Assert.Contains("speaks version 1", other.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connections_that_say_nothing_do_not_keep_an_honest_peer_out()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        var idle = new List<TcpClient>();
        try
        {
            for (int i = 0; i < 100; i++)
            {
                var client = new TcpClient();
                await client.ConnectAsync(node.Endpoint, Cancel);
                idle.Add(client);
            }

            using PeerHolder holder = await node.OpenAsync(ann);
            Assert.Equal(Quota, holder.Hello.QuotaBytes);
        }
        finally
        {
            idle.ForEach(static client => client.Dispose());
        }
    }

    [Fact]
    public async Task An_invitation_is_used_once_by_one_device()
    {
        using var ann = new TestDevice("ann");
        using var eve = new TestDevice("eve");
        await using ServedNode node = await ServedNode.StartAsync();
        byte[] secret = new SeededRandom(1).Bytes(InvitationCode.SecretSize);
        long now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        await node.Book.File.ChangeAsync(list => list.With(new Invitation { SecretHash = InvitationCode.HashOf(secret), MadeAtSeconds = now, ExpiresAtSeconds = now + 1000, KeptForIt = Quota }, now), Cancel);
        node.Book.Refresh();
        var code = new InvitationCode { Secret = secret, Fingerprint = NodeIdentity.FingerprintOf(node.Device.Tls.DeviceKey), Addresses = [node.Address] };
        var offer = new JoinOffer(5, "ann's box", []);
        PeerException wrong = await Assert.ThrowsAsync<PeerException>(async () => await Join.AskAsync(node.Dial(eve), code with { Secret = new byte[10] }, offer, Cancel));
        Assert.Equal(PeerProblem.NotLetIn, wrong.Problem);
        Assert.Equal(Quota, (await Join.AskAsync(node.Dial(ann), code, offer, Cancel)).KeptBytes);
        Assert.Equal(Quota, (await Join.AskAsync(node.Dial(ann), code, offer, Cancel)).KeptBytes); // the answer may have been lost
        Assert.Equal(PeerProblem.Used, (await Assert.ThrowsAsync<PeerException>(async () => await Join.AskAsync(node.Dial(eve), code, offer, Cancel))).Problem);
        Assert.Equal(("ann-s-box", 5L), (node.Book.List.Peers[0].Name, node.Book.List.Peers[0].KeptForUs));
        using PeerHolder holder = await node.OpenAsync(ann);
        Assert.Equal(Quota, holder.Hello.QuotaBytes);
    }

    /// <summary>Whether a connection with this certificate is spoken HTTP/2 with.</summary>
    private static async Task<bool> IsAdmittedAsync(ServedNode node, X509Certificate2? shown)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(node.Endpoint, Cancel);
        await using var ssl = new SslStream(client.GetStream());
        try
        {
#pragma warning disable CA5359, CA5398 // a client that checks nothing, of the one version there is: what the node checks is what is asked
            await ssl.AuthenticateAsClientAsync(
                new SslClientAuthenticationOptions
                {
                    TargetHost = "x",
                    EnabledSslProtocols = SslProtocols.Tls13,
                    ApplicationProtocols = [SslApplicationProtocol.Http2],
                    ClientCertificates = shown is null ? [] : [shown],
                    RemoteCertificateValidationCallback = static (_, _, _, _) => true,
                },
                Cancel);
#pragma warning restore CA5359, CA5398
            await ssl.WriteAsync("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray(), Cancel);
            await ssl.WriteAsync(new byte[] { 0, 0, 0, 4, 0, 0, 0, 0, 0 }, Cancel); // empty settings
            return await ssl.ReadAsync(new byte[9], Cancel) > 0;
        }
        catch (Exception ended) when (ended is IOException or AuthenticationException)
        {
            return false;
        }
    }
}
