using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Tdfs.Output;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Simulation;

/// <summary>A peer that lost its disk is another holder: for the device that was connected to it all the time as for one that dials it anew.</summary>
public sealed class ReplacedHolderTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 1));

    [Fact]
    public void What_was_repaired_after_a_peer_lost_its_disk_is_found_by_who_dials_anew_and_outlives_another_peer()
    {
        var cluster = new Cluster(seed: 11, nodeCount: 3, deviceCount: 2, keptLines: 100);
        foreach (SimulatedDevice device in cluster.Devices)
        {
            cluster.TellPeers(device);
            device.Open(mustExist: device.Number > 1);
            device.Store!.PublishAsync(CancellationToken.None).Done();
        }

        SimulatedDevice writer = cluster.Devices[0];
        cluster.Devices[1].Close();
        Write(cluster, writer.Store!);
        StoreHolder old = writer.Store!.Holders.Single(static holder => holder.Place == "node0");

        SimulatedNode node = cluster.Nodes[0];
        node.LoseDisk(writer.AsPeer());
        node.Start();
        writer.Store!.PublishAsync(CancellationToken.None).Done(); // the first that asks it for anything is told
        writer.Watch(mends: false);
        StoreHolder anew = writer.Store!.Holders.Single(static holder => holder is { Place: "node0", IsGone: false });
        Assert.NotEqual(old.Id, anew.Id);
        Assert.True(writer.Store!.Holders[old.Number].IsGone);
        Assert.Empty(writer.Care(new ListWalker()).RepairAsync(Quiet.Instance, CancellationToken.None).Done().Unrepairable);
        Assert.NotEmpty(writer.Store!.Catalog.Arenas());
        Assert.All(writer.Store!.Catalog.Arenas(), arena => Assert.DoesNotContain(arena.Fragments, place => place.Holder == old.Number));

        SimulatedNode other = cluster.Nodes[1];
        other.Stop();
        other.IsGone = true;
        foreach (SimulatedDevice device in cluster.Devices)
        {
            BlockStore reader = device.OpenAs(StoreAccess.Read, mustExist: true);
            Assert.True(cluster.CheckHeads(reader, $"a reader beside {device.Name}", afresh: true) > 0);
            reader.DisposeAsync().Done();
            Tdfs.Composition.StoreHost.LetGoOfHolders(reader);
        }

        writer.Close();
    }

    private static void Write(Cluster cluster, BlockStore store)
    {
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        var scores = new List<Score>();
        for (int i = 0; i < 30; i++)
        {
            byte[] bytes = Written.Content(i);
            scores.Add(blocks.WriteAsync(BlockType.Data, bytes, CancellationToken.None).Done().Score);
            cluster.Written.AddBlock(scores[^1], bytes);
        }

        Score snapshot = WriteList(Written.SnapshotType, [.. scores]);
        Score root = WriteList(BlockType.VolumeRoot, [snapshot]);
        store.SealAllAsync(CancellationToken.None).Done();
        store.CommitAsync(store.NextHead(s_volume, "alpha", store.Realm, []) with { Root = root }, CancellationToken.None).Done();

        Score WriteList(BlockType type, Score[] list)
        {
            Score score = blocks.WriteAsync(type, Written.Bytes(list), CancellationToken.None).Done().Score;
            cluster.Written.AddList(score, list);
            return score;
        }
    }

    private sealed class Quiet : IProgressSink
    {
        internal static Quiet Instance { get; } = new();

        public void Report(ProgressState state)
        {
        }

        public void Warn(string line)
        {
        }
    }
}
