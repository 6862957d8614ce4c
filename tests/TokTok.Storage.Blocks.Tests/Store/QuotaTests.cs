using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>A holder takes fragments up to its quota; then others do, or the writer ends as on a full disk.</summary>
public sealed class QuotaTests
{
    private const long ArenaBytes = 256 * 1024;

    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Fact]
    public async Task An_import_ends_as_on_a_full_disk_and_goes_on_once_the_quota_is_raised()
    {
        var fixture = new StoreFixture();
        var acknowledged = new List<(Score Score, byte[] Bytes)>();
        fixture.Quotas["/holder0"] = 4 * ArenaBytes;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            acknowledged.AddRange(await CommitAsync(store, acknowledged, 0, 40));
            Exception ended = await Assert.ThrowsAnyAsync<Exception>(async () => await CommitAsync(store, acknowledged, 100, 200));
            DiskException full = ended as DiskException ?? Assert.IsType<DiskException>(ended.InnerException);
            Assert.Equal(DiskFailure.Full, full.Failure);
            Assert.StartsWith("place fragments at /holder0: its quota of 1 MiB is reached, with ", full.Message, StringComparison.Ordinal);
            AssertWithinQuotas(fixture, store);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(1ul, Assert.Single(store.Heads).Sequence);
            await StoreFixture.AssertAllAsync(store, acknowledged);
            acknowledged.AddRange(await CommitAsync(store, acknowledged, 500, 2)); // so little stays in the journal
            AssertWithinQuotas(fixture, store);
        }

        fixture.Quotas["/holder0"] = 100 * ArenaBytes;
        await using BlockStore again = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(again, acknowledged);
        acknowledged.AddRange(await CommitAsync(again, acknowledged, 100, 200));
        await StoreFixture.AssertAllAsync(again, acknowledged);
    }

    [Fact]
    public async Task Without_a_place_of_its_own_that_is_full_an_arena_takes_a_class_over_the_others_that_keeps_the_promise()
    {
        var fixture = new StoreFixture(holderCount: 4);
        fixture.Quotas["/holder2"] = ArenaBytes;
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await CommitAsync(store, [], 0, 300);
        AssertWithinQuotas(fixture, store);
        Assert.Contains(store.Catalog.Arenas(), static arena => arena.Layout.DataFragments == 3);
        Assert.Contains(store.Catalog.Arenas(), static arena => arena.Layout.DataFragments == 2);
        Assert.All(store.Catalog.Arenas(), static arena => Assert.Equal((1, arena.Layout.FragmentCount), (arena.Survive, arena.Fragments.Select(static fragment => fragment.Holder).Where(static holder => holder != FragmentPlace.Nowhere).Distinct().Count())));
        await StoreFixture.AssertAllAsync(store, written);

        // Repair sees arenas that are as strong as promised, and has nothing to do.
        Assert.Equal(0, (await new Recoder(store, new ListWalker()).RunAsync(null, CancellationToken.None)).MovedBytes);
        Assert.Equal(0, (await new Scrubber(store).RepairAsync(null, CancellationToken.None)).RepairedFragments);
    }

    [Fact]
    public async Task Another_holder_of_the_same_place_takes_what_the_full_one_does_not()
    {
        var fixture = new StoreFixture(holderCount: 3);
        fixture.Places["/holder2"] = "/holder1";
        fixture.Quotas["/holder1"] = 2 * ArenaBytes;
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await CommitAsync(store, [], 0, 200);
        AssertWithinQuotas(fixture, store);
        Assert.True(store.Catalog.HeldBytes(2) > 2 * ArenaBytes);
        Assert.All(store.Catalog.Arenas(), static arena => Assert.Equal((1, 1), (arena.Layout.DataFragments, arena.Layout.ParityFragments)));
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task Where_too_few_places_are_left_for_the_promise_nothing_is_kept_weaker()
    {
        var fixture = new StoreFixture(holderCount: 2);
        fixture.Quotas["/holder1"] = 2 * ArenaBytes;
        await using BlockStore store = await fixture.OpenAsync();
        Exception ended = await Assert.ThrowsAnyAsync<Exception>(async () => await CommitAsync(store, [], 0, 300));
        Assert.Contains("/holder1: its quota of 512 KiB is reached", ended.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(store.Catalog.Arenas(), static arena => arena.Fragments.Any(static fragment => fragment.Holder == FragmentPlace.Nowhere));
        AssertWithinQuotas(fixture, store);
    }

    [Fact]
    public async Task Repair_gives_a_full_holder_no_fragments_and_says_whose_quota_it_is()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await CommitAsync(store, [], 0, 100);
        }

        // Another disk comes in the place of the third, and has a quota that is too small for all of it.
        string away = fixture.HolderPaths[2];
        fixture.HolderPaths[2] = "/holder3";
        fixture.Places["/holder3"] = away;
        fixture.Quotas["/holder3"] = ArenaBytes;
        FolderHolder.Create(fixture.Disk, "/holder3", fixture.Random).Dispose();
        await using (BlockStore store = await fixture.OpenAsync())
        {
            MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
            Assert.True(mend.RepairedFragments > 0);
            Assert.Empty(mend.Unrepairable);
            Assert.Equal(DiskFailure.Full, mend.Failure?.Failure);
            Assert.Contains("/holder3: its quota of 256 KiB is reached", mend.Failure!.Message, StringComparison.Ordinal);
            AssertWithinQuotas(fixture, store);
        }

        fixture.Quotas.Clear();
        await using BlockStore again = await fixture.OpenAsync();
        Assert.Null((await new Scrubber(again).RepairAsync(null, CancellationToken.None)).Failure);
        Assert.DoesNotContain(again.Catalog.Arenas(), arena => arena.Fragments.Any(fragment => again.HolderOf(fragment.Holder) is null or { Holder: null }));
        await StoreFixture.AssertAllAsync(again, written);
    }

    [Fact]
    public async Task A_store_at_its_quota_can_be_made_smaller()
    {
        var fixture = new StoreFixture();
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await CommitAsync(store, [], 0, 100);
        }

        fixture.Quotas["/holder0"] = ArenaBytes;
        await using BlockStore full = await fixture.OpenAsync();
        long before = full.Catalog.HeldBytes(0);
        Assert.True(before > 2 * ArenaBytes);
        full.PassQuotas();
        var kept = new List<(Score Score, byte[] Bytes)>();
        for (int i = 0; i < 100; i += 3)
        {
            kept.AddRange(await StoreFixture.WriteAsync(full, i, 1));
        }

        await StoreFixture.CommitAsync(full, s_volume, kept.Select(static item => item.Score), full.Heads.Single());
        ReclaimReport report = await new Reclaimer(full, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
        Assert.True(report.MovedBytes > 0);
        Assert.True(full.Catalog.HeldBytes(0) < before);
        await StoreFixture.AssertAllAsync(full, kept);
    }

    private static async Task<List<(Score Score, byte[] Bytes)>> CommitAsync(BlockStore store, List<(Score Score, byte[] Bytes)> known, int first, int count)
    {
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, first, count);
        await StoreFixture.CommitAsync(store, s_volume, known.Concat(written).Select(static item => item.Score), store.Heads.SingleOrDefault());
        return written;
    }

    /// <summary>By every record, not by the running count alone.</summary>
    private static void AssertWithinQuotas(StoreFixture fixture, BlockStore store)
    {
        foreach ((string path, long quota) in fixture.Quotas)
        {
            ushort number = store.Holders.Single(holder => holder.Address == path).Number;
            long held = store.Catalog.Arenas().Sum(arena => arena.Fragments.Count(fragment => fragment.Holder == number) * (long)arena.Layout.SliceBytes);
            Assert.Equal(held, store.Catalog.HeldBytes(number));
            Assert.InRange(held, 1, quota);
        }
    }
}
