using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>One store, several redundancies.</summary>
public sealed class RedundancyTests
{
    private const int BlockBytes = 20_000;
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Fact]
    public async Task A_hit_in_a_weaker_arena_is_a_miss_and_a_hit_in_a_stronger_one_is_a_hit()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            IBlockStore weak = store.OpenBlocks(store.Realm, 1);
            IBlockStore strong = weak.At(2);
            byte[] first = StoreFixture.Block(1, BlockBytes);
            byte[] second = StoreFixture.Block(2, BlockBytes);
            Score score = (await weak.WriteAsync(BlockType.Data, first, CancellationToken.None)).Score;
            Assert.True(await weak.ContainsAsync(score, BlockType.Data, CancellationToken.None));
            Assert.False(await strong.ContainsAsync(score, BlockType.Data, CancellationToken.None));
            Assert.True((await strong.WriteAsync(BlockType.Data, first, CancellationToken.None)).IsNew);
            Assert.False((await strong.WriteAsync(BlockType.Data, first, CancellationToken.None)).IsNew);
            Assert.True((await strong.WriteAsync(BlockType.Data, second, CancellationToken.None)).IsNew);
            Assert.False((await weak.WriteAsync(BlockType.Data, second, CancellationToken.None)).IsNew);
            await store.SealAllAsync(CancellationToken.None);
        }

        // Again from sealed arenas, by the index and, for a reader, by the directories.
        foreach (StoreAccess access in new[] { StoreAccess.Write, StoreAccess.Read })
        {
            await using BlockStore store = await fixture.OpenAsync(access);
            Assert.Equal([1, 2], store.Catalog.Arenas().Select(static arena => arena.Survive).Order());
            Assert.Equal("1+2", Assert.Single(store.Catalog.Arenas(), static arena => arena.Survive == 2).Layout is var layout ? $"{layout.DataFragments}+{layout.ParityFragments}" : "");
            IBlockStore strong = store.OpenBlocks(store.Realm, 2);
            foreach (int seed in new[] { 1, 2 })
            {
                Score score = Arenas.Clump.ScoreOf(fixture.Keys.Realm, BlockType.Data, StoreFixture.Block(seed, BlockBytes));
                if (access == StoreAccess.Write)
                {
                    Assert.True(await strong.ContainsAsync(score, BlockType.Data, CancellationToken.None), $"block {seed}");
                }

                Assert.True((await strong.ReadAsync(score, BlockType.Data, new byte[BlockBytes], CancellationToken.None)).IsFound);
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_is_to_survive_two_places_is_read_when_two_are_gone(bool isSealed)
    {
        var fixture = new StoreFixture(holderCount: 3);
        Score strong;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            IBlockStore blocks = store.OpenBlocks(store.Realm, 1);
            await blocks.WriteAsync(BlockType.Data, StoreFixture.Block(1, BlockBytes), CancellationToken.None);
            strong = (await blocks.At(2).WriteAsync(BlockType.Data, StoreFixture.Block(2, BlockBytes), CancellationToken.None)).Score;
            if (isSealed)
            {
                await store.SealAllAsync(CancellationToken.None);
            }
            else
            {
                await blocks.FlushAsync(CancellationToken.None);
                Assert.Equal(3, store.JournalHolders().Count);
            }

            await store.PublishAsync(CancellationToken.None);
        }

        fixture.HolderPaths[0] = "/gone0";
        fixture.HolderPaths[2] = "/gone2";
        await using BlockStore left = await fixture.OpenAsync();
        IBlockStore read = left.OpenBlocks(left.Realm, 0);
        byte[] target = new byte[BlockBytes];
        Assert.True((await read.ReadAsync(strong, BlockType.Data, target, CancellationToken.None)).IsFound);
        Assert.True(target.AsSpan().SequenceEqual(StoreFixture.Block(2, BlockBytes)));
        if (isSealed)
        {
            // Whether the weak block is read depends on the slice it lies in; its arena is no longer whole.
            var scrubber = new Scrubber(left);
            Assert.Equal((1, -1), await scrubber.LookAsync(left.Catalog.Arenas().Single(static arena => arena.Survive == 1), false, CancellationToken.None));
            Assert.Equal((1, 0), await scrubber.LookAsync(left.Catalog.Arenas().Single(static arena => arena.Survive == 2), true, CancellationToken.None));
        }
    }

    [Fact]
    public async Task A_wish_beyond_the_places_there_are_comes_to_what_they_allow_and_an_explicit_one_is_refused()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        Assert.Equal(1, blocks.Survive);
        Assert.Equal(2, blocks.At(9).Survive);
        Assert.Same(blocks, blocks.At(1));
        StoreException refused = Assert.Throws<StoreException>(() => store.OpenBlocks(store.Realm, 3));
        Assert.Equal(StoreProblem.Redundancy, refused.Problem);
        Assert.Contains("survive = 3 needs at least 4 places and 3 are configured", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Reclaim_leaves_every_block_as_strong_as_it_was()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockStore weak = store.OpenBlocks(store.Realm, 1);
        IBlockStore strong = weak.At(2);
        var scores = new Dictionary<Score, int>();
        for (int i = 0; i < 120; i++)
        {
            IBlockStore blocks = i % 2 == 0 ? weak : strong;
            Score score = (await blocks.WriteAsync(BlockType.Data, StoreFixture.Block(i, BlockBytes), CancellationToken.None)).Score;
            if (i % 5 == 0)
            {
                scores.Add(score, blocks.Survive);
            }
        }

        await store.SealAllAsync(CancellationToken.None);
        await StoreFixture.CommitAsync(store, s_volume, scores.Keys, null);
        ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
        Assert.True(report.TrashedArenas >= 2, $"{report.TrashedArenas} arenas went");
        await store.SealAllAsync(CancellationToken.None);
        byte[] target = new byte[BlockBytes];
        foreach ((Score score, int survive) in scores)
        {
            ClumpPlace place = store.Locate(store.Realm, score) ?? throw new InvalidOperationException($"block {score} is gone");
            Assert.Equal((ArenaState.Sealed, survive), (place.Arena.State, place.Arena.Survive));
            Assert.True((await weak.ReadAsync(score, BlockType.Data, target, CancellationToken.None)).IsFound);
        }
    }

    [Fact]
    public async Task Reindex_prefers_the_stronger_copy_whichever_came_first()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockStore weak = store.OpenBlocks(store.Realm, 1);
        Score score = (await weak.WriteAsync(BlockType.Data, StoreFixture.Block(1, BlockBytes), CancellationToken.None)).Score;
        await store.SealAllAsync(CancellationToken.None);
        await weak.At(2).WriteAsync(BlockType.Data, StoreFixture.Block(1, BlockBytes), CancellationToken.None);
        await store.SealAllAsync(CancellationToken.None);
        Assert.Equal(2, store.Locate(store.Realm, score)?.Arena.Survive);
        await store.ReindexAsync(null, CancellationToken.None);
        Assert.Equal(2, store.Locate(store.Realm, score)?.Arena.Survive);
        fixture.Index!.Clear();
        Assert.Equal(2, store.Locate(store.Realm, score)?.Arena.Survive);
    }

    [Fact]
    public async Task Many_classes_are_open_in_bounded_memory()
    {
        var fixture = new StoreFixture(holderCount: 8, arenaBytes: ArenaLayout.MaxNominalBytes);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        for (int survive = 0; survive < 8; survive++)
        {
            await blocks.At(survive).WriteAsync(BlockType.Data, StoreFixture.Block(survive, BlockBytes), CancellationToken.None);
        }

        int open = store.Pending.Select(static clump => clump.Buffer).Distinct().Sum(static buffer => buffer.Layout.ImageBytes);
        Assert.Equal(8, store.PendingCount);
        Assert.InRange(open, 1, 45 * 1024 * 1024);
        await store.SealAllAsync(CancellationToken.None);
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7], store.Catalog.Arenas().Select(static arena => arena.Survive).Order());
    }

    [Theory]
    [InlineData(2, 1, "1 1 1", 1)]
    [InlineData(2, 1, "1 1", 0)]
    [InlineData(2, 1, "1", -1)]
    [InlineData(16, 1, "17", 0)]
    [InlineData(1, 2, "1 1 1", 2)]
    [InlineData(4, 2, "2 2 2", 1)]
    [InlineData(4, 3, "1 1 1 1 1 1 1", 3)]
    public void The_fullest_places_are_lost_first(int data, int parity, string counts, int outlived) =>
        Assert.Equal(outlived, Placement.LossesOutlived(new ArenaLayout(data, parity, 4096), counts.Split(' ').Select(static text => int.Parse(text, System.Globalization.CultureInfo.InvariantCulture))));
}
