using System.Net;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Lan;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>A node and somebody who looks for it, over multicast on the machine's loopback.</summary>
public sealed class LanDiscoveryTests
{
    private static readonly Bytes32 s_key = Bytes32.Read(new SeededRandom(1).Bytes(32));
    private static readonly Bytes32 s_other = Bytes32.Read(new SeededRandom(2).Bytes(32));

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact(Timeout = 60_000)]
    public async Task Who_knows_the_key_finds_where_a_node_listens_and_nobody_else_is_answered()
    {
        var group = new LanGroup(LoopbackMulticast.FreePort());
        using LanResponder? responder = Start(group, TimeProvider.System, 4919);
        Assert.SkipWhen(responder is null, "no multicast here");
        using var ends = new CancellationTokenSource();
        Task answering = responder.RunAsync(ends.Token);
        var finder = new LanFinder(SystemRandom.Instance, TimeProvider.System, group);
        NodeAddress? found = await finder.FindAsync(s_key, Cancel);
        Assert.SkipWhen(found is null && !await LoopbackMulticast.IsThereAsync(Cancel), "loopback carries no multicast here");
        Assert.Equal(new NodeAddress("127.0.0.1", 4919), found);
        Assert.Null(await finder.FindAsync(s_other, Cancel));
        await ends.CancelAsync();
        await answering;
    }

    [Fact]
    public void A_node_answers_to_its_names_of_yesterday_today_and_tomorrow_from_its_own_network()
    {
        var clock = new ManualClock();
        var group = new LanGroup(LoopbackMulticast.FreePort());
        using LanResponder? responder = Start(group, clock, 4919);
        Assert.SkipWhen(responder is null, "no multicast here");
        uint today = LanMessage.DayOf(clock);
        var near = new IPEndPoint(IPAddress.Loopback, 40_000);
        foreach (uint day in (uint[])[today - 1, today, today + 1])
        {
            byte[]? answer = responder.AnswerTo(LanMessage.Query(7, [LanMessage.NameOf(s_other, day), LanMessage.NameOf(s_key, day)]), near);
            Assert.True(LanMessage.TryReadAnswer(answer, 7, out string name, out ushort port));
            Assert.Equal((LanMessage.NameOf(s_key, day), 4919), (name, port));
        }

        Assert.Null(responder.AnswerTo(LanMessage.Query(7, [LanMessage.NameOf(s_key, today + 2)]), near));
        Assert.Null(responder.AnswerTo(LanMessage.Query(7, [LanMessage.NameOf(s_other, today)]), near));
        Assert.Null(responder.AnswerTo(LanMessage.Query(7, [LanMessage.NameOf(s_key, today)]), new IPEndPoint(IPAddress.Parse("192.0.2.1"), 40_000)));
        Assert.Null(responder.AnswerTo([1, 2, 3], near));
    }

    [Fact(Timeout = 60_000)]
    public async Task A_peer_that_moved_is_dialled_where_it_was_found()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1L << 30));
        int asked = 0;
        using var moved = new PeerConnection("host", [new NodeAddress("127.0.0.1", 1)], new ExpectedIdentity { DeviceKey = node.Device.DeviceKey }, ann.Tls, TimeProvider.System, finds: _ =>
        {
            Interlocked.Increment(ref asked);
            return Task.FromResult<NodeAddress?>(node.Address);
        });
        using (PeerHolder holder = await PeerHolder.OpenAsync(moved, null, Cancel))
        {
            Assert.Null(await holder.InspectAsync(ArenaId.New(SystemRandom.Instance), Cancel));
        }

        Assert.Equal(1, asked);

        // Who is found and is somebody else is no better than at any other address; and where nobody is found it is told what the address said.
        using var impostor = new PeerConnection("host", [new NodeAddress("127.0.0.1", 1)], new ExpectedIdentity { DeviceKey = s_other }, ann.Tls, TimeProvider.System, finds: _ => Task.FromResult<NodeAddress?>(node.Address));
        await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(impostor, null, Cancel));
        using var nobody = new PeerConnection("host", [new NodeAddress("127.0.0.1", 1)], new ExpectedIdentity { DeviceKey = s_other }, ann.Tls, TimeProvider.System, finds: static _ => Task.FromResult<NodeAddress?>(null));
        PeerException gone = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(nobody, null, Cancel));
        Assert.Contains("nothing listens there", gone.Message, StringComparison.Ordinal);
    }

    private static LanResponder? Start(LanGroup group, TimeProvider clock, int port) => LanResponder.TryStart(s_key, new IPEndPoint(IPAddress.Loopback, port), clock, group, null);
}
