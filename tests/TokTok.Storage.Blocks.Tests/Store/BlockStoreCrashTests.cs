using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>A small workload, the power cut at every single disk operation of it, and a start afterwards.</summary>
/// <remarks>
/// Catalog, journal, holders, sealing and reclaim share one simulated disk; the index is thrown away. Each cut keeps another choice of what no sync covered
/// (<see cref="SimulatedDisk"/>). The long run (TDFS_LONG=1) cuts at every operation, with several choices each, and cuts once more during the recovery.
/// </remarks>
public sealed class BlockStoreCrashTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 2)]
    public async Task Everything_acknowledged_survives_a_crash_at_every_operation(int holders, int seed)
    {
        long operations = await RunAsync(holders, seed, long.MaxValue, 0);
        Assert.InRange(operations, 50, 20_000);

        // Every operation in the long run; in the default one about 60 of them, with a cut during recovery at every other.
        bool isLong = Environment.GetEnvironmentVariable("TDFS_LONG") == "1";
        long step = isLong ? 1 : Math.Max(1, operations / 60);
        int run = 0;
        for (long crashAt = 1 + (seed % step); crashAt <= operations; crashAt += step, run++)
        {
            for (int choice = isLong ? 0 : run % 2; choice < (isLong ? 4 : (run % 2) + 1); choice++)
            {
                await RunAsync(holders, seed, crashAt, choice);
            }
        }
    }

    [Fact]
    public async Task A_seal_that_is_cut_off_between_two_holders_is_completed_at_the_next_start()
    {
        int cutBetween = 0;
        for (int after = 1; after <= 24; after++)
        {
            var fixture = new StoreFixture(3, 5);
            SimulatedDisk disk = fixture.Disk;
            bool hasBegun = false;
            disk.OnOperation = operation =>
            {
                if (!hasBegun && operation.Path.Contains("/fragments", StringComparison.Ordinal))
                {
                    hasBegun = true;
                    disk.CrashAfter(after);
                }

                return null;
            };
            try
            {
                await using BlockStore store = await fixture.OpenAsync();
                await StoreFixture.WriteAsync(store, 0, 20);
                await store.SealAllAsync(CancellationToken.None);
            }
            catch (Exception failure) when (disk.HasCrashed && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
            {
                // the power went
            }

            fixture.PowerCut(after);
            int held = fixture.HolderPaths.Sum(path => fixture.Disk.List(path + "/fragments").Sum(folder => fixture.Disk.List($"{path}/fragments/{folder.Name}").Count));
            await using BlockStore again = await fixture.OpenAsync();
            if (held == 2)
            {
                cutBetween++;
                ArenaRecord arena = Assert.Single(again.Catalog.Arenas());
                Assert.Equal(3, arena.Fragments.Select(static fragment => fragment.Holder).Distinct().Count());
                Assert.DoesNotContain(arena.Fragments, static fragment => fragment.Holder == FragmentPlace.Nowhere);
            }

            await again.PublishAsync(CancellationToken.None);
            Assert.Empty((await new Scrubber(again).CheckAsync(true, null, CancellationToken.None)).Damaged);
        }

        Assert.True(cutBetween > 0, "no cut came between the second holder and the third");
    }

    /// <summary>Writes, commits twice, reclaims; after the crash opens again and looks for all that was acknowledged.</summary>
    /// <param name="choice">What the cut keeps of what was not synced; an odd one cuts a second time, while the next start recovers.</param>
    private static async Task<long> RunAsync(int holders, int seed, long crashAt, int choice)
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

        int cut = seed + (int)(crashAt % 1000) + (1000 * choice);
        fixture.PowerCut(cut);
        try
        {
            if (choice % 2 == 1)
            {
                await CutRecoveryAsync(fixture, cut);
            }

            for (int start = 0; start < 2; start++)
            {
                await using BlockStore again = await fixture.OpenAsync();
                await StoreFixture.AssertAllAsync(again, acknowledged);
                Head? found = again.Heads.SingleOrDefault();
                Assert.True(head is null || found is { } and var newest && newest.Sequence >= head.Sequence, "an acknowledged head is gone");
                ReclaimReport report = await new Reclaimer(again, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
                Assert.Equal(0, report.MissingBlocks);
                await StoreFixture.AssertAllAsync(again, acknowledged.Take(5));
                Assert.Empty((await new Scrubber(again).CheckAsync(true, null, CancellationToken.None)).Damaged);
                await AssertNothingUnknownAsync(again);
            }
        }
        catch (Exception failure) when (crashAt != long.MaxValue)
        {
            throw new InvalidOperationException($"holders {holders}, seed {seed}, crash at operation {crashAt}, choice {choice}: {failure.Message}", failure);
        }

        return operations;
    }

    /// <summary>A start that is cut as well, early in its recovery or just after it.</summary>
    private static async Task CutRecoveryAsync(StoreFixture fixture, int cut)
    {
        fixture.Disk.CrashAfter(1 + (cut % 23));
        try
        {
            await (await fixture.OpenAsync()).DisposeAsync();
        }
        catch (Exception failure) when (fixture.Disk.HasCrashed && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
        {
            // the power went again
        }

        fixture.PowerCut(cut + 1);
    }

    /// <summary>Nothing stays at a holder that the catalog does not know: space cannot leak away crash by crash.</summary>
    private static async Task AssertNothingUnknownAsync(BlockStore store)
    {
        foreach (StoreHolder holder in store.Holders)
        {
            foreach (HeldArenaEntry held in await holder.Holder!.ListAsync(CancellationToken.None))
            {
                Assert.True(store.Catalog.Knows(held.Id), $"{holder.Place} keeps arena {held.Id}, which the catalog does not know");
            }
        }
    }
}
