using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;

namespace TokTok.Storage.Simulation;

/// <summary>What a running node does by itself about a peer that counts as lost: it places elsewhere what is missing, once, and lets the peer come back.</summary>
public sealed class LostPeerTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 1));
    private static readonly TimeSpan s_hour = TimeSpan.FromHours(1);

    [Fact]
    public void What_a_silent_peer_kept_goes_elsewhere_by_itself_once_and_the_peer_is_a_holder_again_when_it_answers()
    {
        Cluster cluster = Written(nodeCount: 3, out SimulatedDevice device);
        AddNode(cluster, device); // a place that has nothing yet
        SimulatedNode away = cluster.Nodes[0];
        away.Stop();
        Pass(cluster, device, hours: 6 * 24);
        long before = cluster.Network.UploadedBytes;
        Assert.NotEqual(0, KeptAt(device, "node0"));                // late, and left alone
        Pass(cluster, device, hours: 2 * 24);
        Assert.Equal(0, KeptAt(device, "node0"));
        long moved = cluster.Network.UploadedBytes - before;
        Assert.InRange(moved, Bytes(device, "node3"), Bytes(device, "node3") + (256 * 1024)); // the fragments, and copies of the catalog

        before = cluster.Network.UploadedBytes;
        Pass(cluster, device, hours: 24);
        Assert.InRange(cluster.Network.UploadedBytes - before, 0, 16 * 1024); // and then it has stopped
        away.Start();
        Pass(cluster, device, hours: 24);
        Assert.InRange(cluster.Network.UploadedBytes - before, 0, 64 * 1024); // nothing is moved back but catalog and journal
        Assert.Equal(0, KeptAt(device, "node0"));
        Assert.False(device.Store!.Holders.Single(static holder => holder.Place == "node0").IsGone);
        Assert.Equal(HolderStanding.Good, device.Audit(0).Single(static audit => audit.Name == "node0").Evidence.Standing);

        cluster.Nodes[1].Stop();
        cluster.Nodes[1].IsGone = true;
        Assert.True(cluster.CheckHeads(device.Store!, "the writer", afresh: true) > 0);
    }

    [Fact]
    public void What_a_liar_kept_goes_elsewhere_by_itself()
    {
        Cluster cluster = Written(nodeCount: 3, out SimulatedDevice device);
        AddNode(cluster, device);
        SimulatedNode liar = cluster.Nodes[0];
        liar.LoseDisk(device.AsPeer());
        liar.Start();
        Pass(cluster, device, hours: 3);
        Assert.Equal(0, device.Store!.Catalog.Arenas().Sum(arena => arena.Fragments.Count(place => device.Store.HolderOf(place.Holder) is { IsGone: true })));
        cluster.Nodes[1].Stop();
        cluster.Nodes[1].IsGone = true;
        Assert.True(cluster.CheckHeads(device.Store!, "the writer", afresh: true) > 0);
    }

    [Fact]
    public void A_device_that_takes_itself_for_cut_off_moves_nothing()
    {
        Cluster cluster = Written(nodeCount: 6, out SimulatedDevice device);
        cluster.Nodes[0].Stop();
        Pass(cluster, device, hours: 8 * 24);
        Assert.True(device.Store!.Holders.Single(static holder => holder.Place == "node0").IsGone);
        Assert.NotEqual(0, KeptAt(device, "node0"));                // there is no other place

        cluster.Nodes[1].Stop();
        cluster.Nodes[2].Stop();
        cluster.World.Advance(s_hour);
        device.Audit(1);
        AddNode(cluster, device);
        (long sent, long came) = (cluster.Network.UploadedBytes, cluster.Network.DownloadedBytes);
        for (int i = 0; i < 20; i++)
        {
            cluster.World.Advance(s_hour);
            device.Audit(1);
            device.Watch(mends: true);
        }

        Assert.Equal(0, KeptAt(device, "node6"));
        cluster.Nodes[1].Start();
        cluster.Nodes[2].Start();
        Pass(cluster, device, hours: 2);
        Assert.Equal(0, KeptAt(device, "node0"));
        Assert.NotEqual(0, KeptAt(device, "node6"));
        Assert.True(cluster.Network.UploadedBytes > sent && cluster.Network.DownloadedBytes > came);
    }

    [Fact]
    public void A_peer_that_says_to_be_the_holder_that_another_is_gets_nothing_and_is_named()
    {
        Cluster cluster = Written(nodeCount: 4, out SimulatedDevice device);
        (SimulatedNode honest, SimulatedNode liar) = (cluster.Nodes[0], cluster.Nodes[1]);
        HolderId id = device.Store!.Holders.Single(static holder => holder.Place == "node0").Id;
        liar.Stop();
        liar.ClaimToBe(honest);
        liar.Start();
        honest.Stop(); // and would be taken for it
        for (int look = 0; look < 2; look++)
        {
            cluster.World.Advance(s_hour);
            device.Watch(mends: false); // the first one finds out that what was connected is gone
        }

        StoreHolder left = device.Store.Holders.Single(static holder => holder.Place == "node1");
        Assert.Null(left.Holder);
        Assert.Contains("says that it is the holder that node0 is", left.Problem, StringComparison.Ordinal);
        Assert.DoesNotContain(device.Store.Holders, static holder => holder.Holder is PeerHolder { Name: "node1" });
        honest.Start();
        cluster.World.Advance(s_hour);
        device.Watch(mends: false);
        Assert.True(cluster.CheckHeads(device.Store, "the writer", afresh: true) > 0);
        Assert.Equal("node0", device.Store.Holders.Single(holder => holder.Id == id && holder.Holder is not null).Place);
    }

    private static void Pass(Cluster cluster, SimulatedDevice device, int hours)
    {
        for (int hour = 0; hour < hours; hour++)
        {
            cluster.World.Advance(s_hour);
            device.Audit(1);
            device.Watch(mends: true);
        }
    }

    private static void AddNode(Cluster cluster, SimulatedDevice device)
    {
        cluster.AddNode();
        cluster.TellPeers(device);
        device.Watch(mends: false);
    }

    private static int KeptAt(SimulatedDevice device, string place) =>
        device.Store!.Catalog.Arenas().Sum(arena => arena.Fragments.Count(fragment => device.Store.HolderOf(fragment.Holder)?.Place == place));

    private static long Bytes(SimulatedDevice device, string place) =>
        device.Store!.Catalog.Arenas().Sum(arena => arena.Fragments.Count(fragment => device.Store.HolderOf(fragment.Holder)?.Place == place) * (long)arena.Layout.SliceBytes);

    private static Cluster Written(int nodeCount, out SimulatedDevice device)
    {
        var cluster = new Cluster(seed: 12, nodeCount, deviceCount: 1, keptLines: 100);
        device = cluster.Devices[0];
        cluster.TellPeers(device);
        device.Open(mustExist: false);
        BlockStore store = device.Store!;
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        var scores = new List<Score>();
        for (int i = 0; i < 60; i++)
        {
            byte[] bytes = Simulation.Written.Content(i);
            scores.Add(blocks.WriteAsync(BlockType.Data, bytes, CancellationToken.None).Done().Score);
            cluster.Written.AddBlock(scores[^1], bytes);
        }

        Score snapshot = WriteList(Simulation.Written.SnapshotType, [.. scores]);
        Score root = WriteList(BlockType.VolumeRoot, [snapshot]);
        store.SealAllAsync(CancellationToken.None).Done();
        store.CommitAsync(store.NextHead(s_volume, "alpha", store.Realm, []) with { Root = root }, CancellationToken.None).Done();
        store.PublishAsync(CancellationToken.None).Done();
        return cluster;

        Score WriteList(BlockType type, Score[] list)
        {
            Score score = blocks.WriteAsync(type, Simulation.Written.Bytes(list), CancellationToken.None).Done().Score;
            cluster.Written.AddList(score, list);
            return score;
        }
    }
}
