using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>A small workload, the power cut at every single disk operation of it, and a start afterwards.</summary>
public sealed class BlockStoreCrashTests
{
    private static readonly VolumeId s_volume = new(7);

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 2)]
    public async Task Everything_acknowledged_survives_a_crash_at_every_operation(int holders, int seed)
    {
        long operations = await RunAsync(holders, seed, long.MaxValue);
        Assert.InRange(operations, 50, 20_000);

        // Every operation in the long run; in the default one about 60 of them, the first ones all.
        long step = Environment.GetEnvironmentVariable("TDFS_LONG") is null ? Math.Max(1, operations / 60) : 1;
        for (long crashAt = 1 + (seed % step); crashAt <= operations; crashAt += step)
        {
            await RunAsync(holders, seed, crashAt);
        }
    }

    /// <summary>Writes, commits twice, reclaims; after the crash opens again and looks for all that was acknowledged.</summary>
    private static async Task<long> RunAsync(int holders, int seed, long crashAt)
    {
        var fixture = new StoreFixture(holders, seed);
        var acknowledged = new List<(Score Score, byte[] Bytes)>();
        Head? head = null;
        long before = fixture.Disk.OperationCount;
        fixture.Disk.CrashAfter(Math.Min(crashAt, 1L << 40));
        BlockStore? store = null;
        try
        {
            store = await fixture.OpenAsync();
            List<(Score Score, byte[] Bytes)> first = await StoreFixture.WriteAsync(store, 0, 30);
            Head committed = await StoreFixture.CommitAsync(store, s_volume, first.Select(static item => item.Score), null);
            head = committed;
            acknowledged.AddRange(first);
            await store.DisposeAsync();
            store = null;
            store = await fixture.OpenAsync();
            List<(Score Score, byte[] Bytes)> second = await StoreFixture.WriteAsync(store, 100, 30);
            List<(Score Score, byte[] Bytes)> kept = [.. first.Take(10), .. second];
            committed = await StoreFixture.CommitAsync(store, s_volume, kept.Select(static item => item.Score), head);
            head = committed;
            acknowledged = kept;
            await store.SealAllAsync(CancellationToken.None);
            await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
            await store.DisposeAsync();
            store = null;
        }
        catch (Exception failure) when (fixture.Disk.HasCrashed && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
        {
            // the power went
        }

        long operations = fixture.Disk.OperationCount - before;
        if (store is not null)
        {
            try
            {
                await store.DisposeAsync();
            }
            catch (Exception gone) when (gone is SimulatedCrashException or DiskException)
            {
                // it is still gone
            }
        }

        fixture.PowerCut(seed + (int)(crashAt % 1000));
        try
        {
            for (int start = 0; start < 2; start++)
            {
                await using BlockStore again = await fixture.OpenAsync();
                await StoreFixture.AssertAllAsync(again, acknowledged);
                Head? found = again.Heads.SingleOrDefault();
                Assert.True(head is null || found is { } and var newest && newest.Sequence >= head.Sequence, "an acknowledged head is gone");
                ReclaimReport report = await new Reclaimer(again, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
                Assert.Equal(0, report.MissingBlocks);
                await StoreFixture.AssertAllAsync(again, acknowledged.Take(5));
            }
        }
        catch (Exception failure) when (crashAt != long.MaxValue)
        {
            throw new InvalidOperationException($"holders {holders}, seed {seed}, crash at operation {crashAt}: {failure.Message}", failure);
        }

        return operations;
    }
}
