using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Holders that come back, come and go while a store is open, and one that is drained.</summary>
public sealed class HolderChangeTests
{
    private const long Quota = 1L << 30;

    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Fact]
    public async Task A_holder_that_comes_back_gets_what_was_meant_for_it_and_is_read()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.CommitAsync(store, s_volume, [], null);
        }

        fixture.Disk.Rename("/holder2/holder", "/holder2/holder-away");
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 80, 4000);
            await store.SealAllAsync(CancellationToken.None);
            var scrubber = new Scrubber(store);
            Assert.Equal(store.Catalog.Arenas().Count, scrubber.Homeless().Count);
            Assert.DoesNotContain(scrubber.Homeless(), scrubber.HasPlaceFor);

            fixture.Disk.Rename("/holder2/holder-away", "/holder2/holder");
            List<ConfiguredHolder> now = StoreFixture.ConfiguredOf(store);
            now[2] = now[2] with { Holder = FolderHolder.Open(fixture.Disk, "/holder2", fixture.Random), Problem = null };
            store.ChangeHolders(now);
            Assert.All(scrubber.Homeless(), arena => Assert.True(scrubber.HasPlaceFor(arena)));
            foreach (ArenaRecord arena in scrubber.Homeless())
            {
                MendReport report = await scrubber.PlaceAsync(arena, CancellationToken.None);
                Assert.Equal(1, report.RepairedFragments);
                Assert.Equal(arena.Layout.SliceBytes, report.WrittenBytes); // what is missing, and nothing else
            }

            Assert.Empty(scrubber.Homeless());
            await store.PublishAsync(CancellationToken.None);
            Assert.Empty(store.Lag());
            Assert.Empty((await scrubber.CheckAsync(readAll: true, null, CancellationToken.None)).Damaged);
        }

        fixture.Disk.Rename("/holder0/holder", "/holder0/holder-away");
        await using BlockStore without = await fixture.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(without, written);
    }

    [Fact]
    public async Task What_is_open_when_a_place_goes_is_sealed_over_those_left_and_what_comes_later_over_those_that_came()
    {
        var fixture = new StoreFixture(holderCount: 3) { Quotas = { ["/holder0"] = Quota, ["/holder1"] = Quota, ["/holder2"] = Quota } };
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 20, 4000);
        List<ConfiguredHolder> all = StoreFixture.ConfiguredOf(store);
        store.ChangeHolders([all[0], all[1], all[2] with { IsLeaving = true }]);
        await store.SealAllAsync(CancellationToken.None);
        Assert.All(store.Catalog.Arenas(), static arena => Assert.Equal((1, 1, 1), (arena.Layout.DataFragments, arena.Layout.ParityFragments, arena.Survive)));
        Assert.All(store.Catalog.Arenas(), static arena => Assert.Equal([0, 1], arena.Fragments.Select(static fragment => (int)fragment.Holder).Order()));

        store.ChangeHolders(all);
        written.AddRange(await StoreFixture.WriteAsync(store, 20, 20, 4000));
        await store.SealAllAsync(CancellationToken.None);
        Assert.Equal((2, 1, 1), store.Catalog.Arenas()[^1] is var arena ? (arena.Layout.DataFragments, arena.Layout.ParityFragments, arena.Survive) : default);
        Assert.Empty(new Scrubber(store).Homeless());
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task Where_too_many_places_went_nobodys_write_fails_and_what_is_missing_is_known()
    {
        var fixture = new StoreFixture(holderCount: 2);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        await blocks.WriteAsync(BlockType.Data, StoreFixture.Block(1, 4000), CancellationToken.None);
        store.ChangeHolders([StoreFixture.ConfiguredOf(store)[0]]);
        await store.SealAllAsync(CancellationToken.None);
        await blocks.WriteAsync(BlockType.Data, StoreFixture.Block(2, 4000), CancellationToken.None);
        await store.SealAllAsync(CancellationToken.None);
        var scrubber = new Scrubber(store);
        Assert.Equal(2, scrubber.Homeless().Count);
        Assert.DoesNotContain(scrubber.Homeless(), scrubber.HasPlaceFor);
    }

    [Fact]
    public async Task What_lies_at_an_absent_holder_is_not_moved_when_something_else_is()
    {
        var fixture = new StoreFixture(holderCount: 5);
        fixture.HolderPaths.RemoveAt(4);
        await using BlockStore store = await fixture.OpenAsync();
        await StoreFixture.WriteAsync(store, 0, 20, 4000);
        await store.SealAllAsync(CancellationToken.None);
        List<ConfiguredHolder> now = StoreFixture.ConfiguredOf(store);
        now[3] = now[3] with { Holder = null, Problem = "it does not answer" };
        now[2] = now[2] with { IsLeaving = true };
        now.Add(new ConfiguredHolder("/holder4", "/holder4", FolderHolder.Open(fixture.Disk, "/holder4", fixture.Random), null));
        store.ChangeHolders(now);
        var scrubber = new Scrubber(store);
        Assert.NotEmpty(scrubber.Homeless());
        foreach (ArenaRecord arena in scrubber.Homeless())
        {
            Assert.Equal(1, (await scrubber.PlaceAsync(arena, CancellationToken.None)).RepairedFragments);
        }

        Assert.All(store.Catalog.Arenas(), static arena => Assert.Equal([0, 1, 3, 4], arena.Fragments.Select(static fragment => (int)fragment.Holder).Order()));
    }

    [Fact]
    public async Task A_drain_is_refused_where_the_promise_or_the_room_would_not_do()
    {
        var fixture = new StoreFixture(holderCount: 3) { Quotas = { ["/holder0"] = Quota, ["/holder1"] = Quota, ["/holder2"] = Quota } };
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 40, 20_000);
        await StoreFixture.CommitAsync(store, s_volume, written.Select(static block => block.Score), null);
        await store.SealAllAsync(CancellationToken.None);
        var drain = new Drain(store, new ListWalker(), store.Holders[1].Id);
        Assert.True(drain.NeedsRecoding);
        Assert.Null(await drain.RefusalAsync(static _ => Quota, null, CancellationToken.None));
        Assert.Contains("lack room", await drain.RefusalAsync(static holder => holder.Number == 0 ? 1000 : Quota, null, CancellationToken.None), StringComparison.Ordinal);

        List<ConfiguredHolder> two = StoreFixture.ConfiguredOf(store);
        store.ChangeHolders([two[0], two[1]]);
        drain = new Drain(store, new ListWalker(), store.Holders[1].Id);
        Assert.Contains("1 place is left, and survive = 1 needs 2", await drain.RefusalAsync(static _ => Quota, null, CancellationToken.None), StringComparison.Ordinal);
    }
}
