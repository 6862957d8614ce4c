using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>A disk call fails or the process is killed at every single operation of a workload; the next start acknowledges more; then the power goes.</summary>
/// <remarks>
/// What this finds and a power cut alone does not: the next start reads what only the page cache has (a sync that failed leaves such bytes, and no later
/// sync of the file writes them; a name that was never synced), builds on it, and loses with it what it acknowledged itself.
/// </remarks>
public sealed class BlockStoreFaultTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    public enum Fault
    {
        Killed,
        Failed,
        Full,
    }

    [Theory]
    [InlineData(1, 1, Fault.Killed)]
    [InlineData(3, 2, Fault.Killed)]
    [InlineData(1, 3, Fault.Failed)]
    [InlineData(3, 4, Fault.Failed)]
    [InlineData(1, 5, Fault.Full)]
    public async Task What_the_next_start_acknowledges_does_not_rest_on_what_the_disk_never_got(int holders, int seed, Fault fault)
    {
        long operations = await RunAsync(holders, seed, fault, long.MaxValue);
        Assert.InRange(operations, 50, 20_000);
        long step = Environment.GetEnvironmentVariable("TDFS_LONG") is null ? Math.Max(1, operations / 60) : 1;
        for (long faultAt = 1 + (seed % step); faultAt <= operations; faultAt += step)
        {
            await RunAsync(holders, seed, fault, faultAt);
        }
    }

    private static async Task<long> RunAsync(int holders, int seed, Fault fault, long faultAt)
    {
        var fixture = new StoreFixture(holders, seed);
        var acknowledged = new List<(Score Score, byte[] Bytes)>();
        ulong sequence = 0;
        long before = fixture.Disk.OperationCount;
        if (fault == Fault.Killed)
        {
            fixture.Disk.CrashAfter(Math.Min(faultAt, 1L << 40));
        }
        else
        {
            fixture.Disk.FailAfter(Math.Min(faultAt, 1L << 40), fault == Fault.Full ? DiskFailure.Full : DiskFailure.Failed);
        }

        try
        {
            sequence = await FirstAsync(fixture, acknowledged);
        }
        catch (Exception failure) when (faultAt != long.MaxValue && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
        {
            // what was acknowledged before stands in the list
        }

        long operations = fixture.Disk.OperationCount - before;
        if (faultAt != long.MaxValue && operations < faultAt)
        {
            return operations; // arenas are sealed side by side, so a run may take an operation fewer than the one that counted them
        }

        try
        {
            fixture.Disk.RestartProcess();
            await using (BlockStore store = await fixture.OpenAsync())
            {
                await StoreFixture.AssertAllAsync(store, acknowledged);
                List<(Score Score, byte[] Bytes)> more = await StoreFixture.WriteAsync(store, 200, 20);
                await StoreFixture.CommitAsync(store, s_volume, acknowledged.Concat(more).Select(static item => item.Score), store.Heads.SingleOrDefault());
                acknowledged.AddRange(more);
                sequence = Assert.Single(store.Heads).Sequence;

                // Fragments that found no holder while it failed are placed now; from here on the check must be clean.
                await new Scrubber(store).RepairAsync(null, CancellationToken.None);
            }

            fixture.PowerCut(seed + (int)(faultAt % 1000));
            await using (BlockStore store = await fixture.OpenAsync())
            {
                Assert.Equal(sequence, Assert.Single(store.Heads).Sequence);
                await StoreFixture.AssertAllAsync(store, acknowledged);
                ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
                Assert.Equal(0, report.MissingBlocks);
                ScrubReport check = await new Scrubber(store).CheckAsync(readAll: true, null, CancellationToken.None);
                Assert.Empty(check.Damaged);
            }
        }
        catch (Exception failure) when (faultAt != long.MaxValue)
        {
            throw new InvalidOperationException($"holders {holders}, seed {seed}, {fault} at operation {faultAt}: {failure.Message}", failure);
        }

        return operations;
    }

    /// <summary>Commits twice, in two runs; blocks are listed once they are acknowledged.</summary>
    private static async Task<ulong> FirstAsync(StoreFixture fixture, List<(Score Score, byte[] Bytes)> acknowledged)
    {
        Head? head = null;
        for (int run = 0; run < 2; run++)
        {
            await using BlockStore store = await fixture.OpenAsync();
            List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 100 * run, 30);
            head = await StoreFixture.CommitAsync(store, s_volume, acknowledged.Concat(written).Select(static item => item.Score), head);
            acknowledged.AddRange(written);
        }

        return head!.Sequence;
    }
}
