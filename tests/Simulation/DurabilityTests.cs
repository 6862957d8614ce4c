using System.Globalization;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Simulation;

/// <summary>What losing nodes costs, beside what calculation says it must (bench/results has a run): fragments that are rebuilt, bytes that are moved for it, and arenas that would be lost if more nodes went at once than the class allows.</summary>
/// <remarks>
/// The model. An arena has n = k + m fragments at n of N nodes, each set of them as likely as another (rendezvous order over random ids).
/// One node lost: n/N of the arenas lack a fragment each; every one is rebuilt from k others, so that k slices come and one goes.
/// f nodes lost at once: an arena is lost if more than m of its fragments were there, P = Σ over j &gt; m of C(n, j) C(N − n, f − j) / C(N, f).
/// </remarks>
public sealed class DurabilityTests(ITestOutputHelper output)
{
    private const int Blocks = 220;
    private const int BlockBytes = 60_000;
    private const int Draws = 4000;

    [Fact]
    public void Repair_traffic_and_durability_are_what_the_model_says()
    {
        output.WriteLine("nodes class  arenas | fragments rebuilt  model | MiB sent  model | MiB read  model | places lost at once: share of arenas lost  model");
        foreach (int nodes in (int[])[3, 7, 20, 100])
        {
            var cluster = new Cluster(seed: 5, nodes, deviceCount: 1, keptLines: 100);
            SimulatedDevice device = cluster.Devices[0];
            cluster.TellPeers(device);
            device.Open(mustExist: false);
            BlockStore store = device.Store!;
            IBlockStore blocks = store.OpenBlocks(store.Realm, null);
            for (int i = 0; i < Blocks; i++)
            {
                blocks.WriteAsync(BlockType.Data, cluster.Random.Bytes(BlockBytes), CancellationToken.None).Done();
            }

            blocks.FlushAsync(CancellationToken.None).Done();
            store.PublishAsync(CancellationToken.None).Done();
            List<ArenaRecord> arenas = [.. store.Catalog.Arenas()];
            ArenaLayout layout = arenas[0].Layout;
            (int k, int n) = (layout.DataFragments, layout.FragmentCount);

            string durability = string.Join(", ", Enumerable.Range(n - k + 1, 2).Where(lost => lost <= nodes).Select(lost =>
            {
                double measured = ShareLost(arenas, nodes, k, lost, cluster.Random);
                double model = Hypergeometric(nodes, n, n - k, lost);
                Assert.InRange(measured, (model * 0.8) - 0.01, (model * 1.2) + 0.01);
                return string.Create(CultureInfo.InvariantCulture, $"{lost}: {measured:0.0000} {model:0.0000}");
            }));

            SimulatedNode lost = cluster.Nodes[1];
            lost.Stop();
            lost.IsGone = true;
            cluster.AddNode();
            cluster.TellPeers(device);
            (long sent, long read) = (cluster.Network.UploadedBytes, cluster.Network.DownloadedBytes);
            device.Watch(mends: true);
            sent = cluster.Network.UploadedBytes - sent;
            read = cluster.Network.DownloadedBytes - read;
            int rebuilt = arenas.Sum(before => store.Catalog.Arena(before.Ordinal)!.Fragments.Zip(before.Fragments).Count(static pair => pair.First.Holder != pair.Second.Holder));
            double expected = arenas.Count * (double)n / nodes;
            double mebibyte = 1 << 20;
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{nodes,5} {k,2}+{n - k,-2} {arenas.Count,8} | {rebuilt,17} {expected,6:0.0} | {sent / mebibyte,8:0.00} {rebuilt * layout.SliceBytes / mebibyte,6:0.00} | {read / mebibyte,8:0.00} {(double)rebuilt * k * layout.SliceBytes / mebibyte,6:0.00} | {durability}"));
            Assert.InRange(rebuilt, expected - (4 * Math.Sqrt(expected)) - 1, expected + (4 * Math.Sqrt(expected)) + 1);
            Assert.InRange(sent, rebuilt * (long)layout.SliceBytes, (rebuilt * 1.1 * layout.SliceBytes) + (nodes * 100_000)); // copies of catalog and anchor besides
            Assert.InRange(read, rebuilt * (long)layout.SliceBytes * k, (rebuilt * 1.2 * layout.SliceBytes * k) + (nodes * 20_000));
            device.Close();
        }
    }

    /// <summary>Of arenas as they are placed: how many have fewer than k fragments left when so many nodes go at once.</summary>
    private static double ShareLost(List<ArenaRecord> arenas, int nodes, int k, int lost, SeededRandom random)
    {
        long gone = 0;
        int[] order = [.. Enumerable.Range(0, nodes)];
        for (int draw = 0; draw < Draws; draw++)
        {
            for (int i = 0; i < lost; i++)
            {
                int other = i + random.Next(nodes - i);
                (order[i], order[other]) = (order[other], order[i]);
            }

            ReadOnlySpan<int> away = order.AsSpan(0, lost);
            foreach (ArenaRecord arena in arenas)
            {
                int left = 0;
                foreach (FragmentPlace place in arena.Fragments)
                {
                    left += away.Contains(place.Holder) ? 0 : 1;
                }

                gone += left < k ? 1 : 0;
            }
        }

        return gone / (double)(Draws * (long)arenas.Count);
    }

    private static double Hypergeometric(int nodes, int n, int m, int lost)
    {
        double sum = 0;
        for (int j = m + 1; j <= Math.Min(n, lost); j++)
        {
            sum += Choose(n, j) * Choose(nodes - n, lost - j) / Choose(nodes, lost);
        }

        return sum;
    }

    private static double Choose(int n, int k)
    {
        double product = k < 0 || k > n ? 0 : 1;
        for (int i = 0; i < k && product > 0; i++)
        {
            product *= (n - i) / (double)(i + 1);
        }

        return product;
    }
}
