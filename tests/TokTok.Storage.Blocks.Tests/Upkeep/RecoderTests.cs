using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Upkeep;

public sealed class RecoderTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_is_wanted_stronger_moves_and_the_rest_stays(bool isSealed)
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 60);
        await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        if (isSealed)
        {
            await store.SealAllAsync(CancellationToken.None);
        }

        var wishes = written.Where(static (_, i) => i % 3 == 0).ToDictionary(static item => item.Score, static _ => 2);
        RecodeReport report = await RunAsync(store, wishes);
        Assert.Empty(report.Problems);
        Assert.Equal(0, report.EmptiedArenas);
        Assert.InRange(report.MovedBytes, 20 * 10_000, 20 * 13_000);
        foreach ((Score score, byte[] _) in written)
        {
            Assert.Equal(wishes.GetValueOrDefault(score, 1), store.PendingSurvive(store.Realm, score) ?? store.Locate(store.Realm, score)!.Value.Arena.Survive);
        }

        await StoreFixture.AssertAllAsync(store, written);
        Assert.Equal(0, (await RunAsync(store, wishes)).MovedBytes);
    }

    [Fact]
    public async Task What_all_is_wanted_stronger_of_an_arena_leaves_nothing_behind()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 60);
        await store.SealAllAsync(CancellationToken.None);
        uint[] before = [.. store.Catalog.Arenas().Select(static arena => arena.Ordinal)];
        await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        RecodeReport report = await RunAsync(store, written.ToDictionary(static item => item.Score, static _ => 2));
        Assert.Equal(before.Length, report.EmptiedArenas);
        Assert.All(before, ordinal => Assert.Equal(ArenaState.Trashed, store.Catalog.Arena(ordinal)?.State));
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task When_a_place_went_the_promise_is_made_again_over_those_that_are_left()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 60);
            await store.SealAllAsync(CancellationToken.None);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
            await store.SealAllAsync(CancellationToken.None);
        }

        fixture.HolderPaths.RemoveAt(2);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.NotEmpty((await new Scrubber(store).CheckAsync(false, null, CancellationToken.None)).Damaged);
            RecodeReport report = await RunAsync(store, []);
            Assert.Empty(report.Problems);
            Assert.True(report.EmptiedArenas > 0);
            await store.SealAllAsync(CancellationToken.None);
            Assert.All(Kept(store), static arena => Assert.Equal((1, 1, 1), (arena.Survive, arena.Layout.DataFragments, arena.Layout.ParityFragments)));
            Assert.Empty((await new Scrubber(store).CheckAsync(true, null, CancellationToken.None)).Damaged);
            Assert.Equal(0, (await RunAsync(store, [])).MovedBytes);
        }

        fixture.HolderPaths[0] = "/gone";
        await using BlockStore left = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(left, written);
    }

    [Fact]
    public async Task When_places_came_the_store_s_own_promise_holds_for_what_was_there_before()
    {
        var fixture = new StoreFixture(holderCount: 1);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 60);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
            await store.SealAllAsync(CancellationToken.None);
            Assert.Equal(0, store.DefaultSurvive);
        }

        foreach (string path in new[] { "/holder1", "/holder2" })
        {
            fixture.HolderPaths.Add(path);
            FolderHolder.Create(fixture.Disk, path, fixture.Random).Dispose();
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(1, store.DefaultSurvive);
            Assert.Empty((await RunAsync(store, [])).Problems);
            await store.SealAllAsync(CancellationToken.None);
            Assert.All(Kept(store), static arena => Assert.Equal((1, 2, 1), (arena.Survive, arena.Layout.DataFragments, arena.Layout.ParityFragments)));
        }

        fixture.HolderPaths[0] = "/gone";
        await using BlockStore left = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(left, written);
    }

    [Fact]
    public async Task A_place_that_is_only_away_is_waited_for()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 60);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
            await store.SealAllAsync(CancellationToken.None);
        }

        // The folder is configured and not there: a disk that is not plugged in.
        foreach (string file in fixture.Disk.List("/holder2").Where(static entry => entry.Name == "holder").Select(static entry => "/holder2/" + entry.Name).ToArray())
        {
            fixture.Disk.Rename(file, file + "-away");
        }

        await using BlockStore away = await fixture.OpenAsync();
        RecodeReport report = await RunAsync(away, []);
        Assert.Equal((0L, 0), (report.MovedBytes, report.EmptiedArenas));
        Assert.All(Kept(away), static arena => Assert.Equal(1, arena.Survive));
    }

    [Fact]
    public async Task A_root_that_cannot_be_followed_moves_nothing_and_says_so()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 20);
        await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        RecodeReport report = await new Recoder(store, new BrokenWalker()).RunAsync(null, CancellationToken.None);
        Assert.Equal((0L, 0), (report.MovedBytes, report.EmptiedArenas));
        Assert.Contains("what is wanted where cannot be told", Assert.Single(report.Problems), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_journal_holds_is_raised_before_other_moves_seal_it()
    {
        var fixture = new StoreFixture(holderCount: 4);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockStore third = store.OpenBlocks(store.Realm, 3);
        List<(Score Score, byte[] Bytes)> sealedBefore = await StoreFixture.WriteAsync(store, 0, 60);
        await store.SealAllAsync(CancellationToken.None);
        var open = new List<(Score Score, byte[] Bytes)>();
        for (int i = 100; i < 130; i++)
        {
            IBlockStore blocks = third.At(i % 2 == 0 ? 1 : 2);
            open.Add(((await blocks.WriteAsync(BlockType.Data, StoreFixture.Block(i, 20_000), CancellationToken.None)).Score, StoreFixture.Block(i, 20_000)));
        }

        // Those at 1 go to 2 and fill that arena, those at 2 go to 3; the sealed ones follow to 2.
        List<(Score Score, byte[] Bytes)> all = [.. sealedBefore, .. open];
        await StoreFixture.CommitAsync(store, s_volume, all.Select(static item => item.Score), null);
        var wishes = all.Select((item, i) => (item.Score, Survive: i >= 60 && (i - 60) % 2 == 1 ? 3 : 2)).ToDictionary(static wish => wish.Score, static wish => wish.Survive);
        Assert.Empty((await RunAsync(store, wishes)).Problems);
        Assert.All(wishes, wish => Assert.Equal(wish.Value, store.PendingSurvive(store.Realm, wish.Key) ?? store.Locate(store.Realm, wish.Key)!.Value.Arena.Survive));
        await store.SealAllAsync(CancellationToken.None);
        await StoreFixture.AssertAllAsync(store, all);
    }

    [Fact]
    public async Task A_crash_at_any_operation_of_it_loses_nothing_and_the_next_one_finishes()
    {
        long operations = await CrashAsync(long.MaxValue);
        Assert.InRange(operations, 10, 20_000);
        long step = Environment.GetEnvironmentVariable("TDFS_LONG") is null ? Math.Max(1, operations / 25) : 1;
        for (long crashAt = 1; crashAt <= operations; crashAt += step)
        {
            try
            {
                await CrashAsync(crashAt);
            }
            catch (Exception failure)
            {
                throw new InvalidOperationException($"crash at operation {crashAt}: {failure.Message}", failure);
            }
        }
    }

    /// <summary>Moves a third of the blocks of some arenas and all of one that a place has gone from, with the power cut on the way.</summary>
    private static async Task<long> CrashAsync(long crashAt)
    {
        var fixture = new StoreFixture(holderCount: 4, seed: 3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore first = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(first, 0, 40);
            await StoreFixture.CommitAsync(first, s_volume, written.Select(static item => item.Score), null);
            await first.SealAllAsync(CancellationToken.None);
        }

        fixture.HolderPaths.RemoveAt(3);
        var wishes = written.Where(static (_, i) => i % 3 == 0).ToDictionary(static item => item.Score, static _ => 2);
        long before = fixture.Disk.OperationCount;
        fixture.Disk.CrashAfter(Math.Min(crashAt, 1L << 40));
        BlockStore? store = null;
        try
        {
            store = await fixture.OpenAsync();
            await RunAsync(store, wishes);
            await store.SealAllAsync(CancellationToken.None);
        }
        catch (Exception failure) when (fixture.Disk.HasCrashed && failure is SimulatedCrashException or StoreException or AggregateException or DiskException)
        {
            // the power went
        }

        long operations = fixture.Disk.OperationCount - before;
        try
        {
            await (store?.DisposeAsync() ?? ValueTask.CompletedTask);
        }
        catch (Exception gone) when (gone is SimulatedCrashException or DiskException)
        {
            // it is still gone
        }

        fixture.PowerCut((int)(crashAt % 1000));
        await using BlockStore again = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(again, written);
        Assert.Empty((await RunAsync(again, wishes)).Problems);
        await again.SealAllAsync(CancellationToken.None);
        await StoreFixture.AssertAllAsync(again, written);
        foreach ((Score score, byte[] _) in written)
        {
            int kept = again.Locate(again.Realm, score)!.Value.Arena.Survive;
            Assert.True(kept >= wishes.GetValueOrDefault(score, 1), $"block {score} outlives {kept}, {wishes.GetValueOrDefault(score, 1)} are wanted");
        }

        return operations;
    }

    private static async Task<RecodeReport> RunAsync(BlockStore store, Dictionary<Score, int> wishes) =>
        await new Recoder(store, new WishWalker(wishes)).RunAsync(null, CancellationToken.None);

    private static IEnumerable<ArenaRecord> Kept(BlockStore store) => store.Catalog.Arenas().Where(static arena => arena.State != ArenaState.Trashed);

    /// <summary>Walks the roots that the fixture commits, and asks for more where a test wishes so.</summary>
    private sealed class WishWalker(Dictionary<Score, int> wishes) : IRootWalker
    {
        public async ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
        {
            var classes = Assert.IsType<IRedundancyMarker>(marker, exactMatch: false);
            Assert.True(classes.Mark(head.Root, BlockType.VolumeRoot, classes.DefaultSurvive));
            byte[] root = new byte[BlockLimits.MaxBlockBytes];
            BlockRead read = await blocks.ReadAsync(head.Root, BlockType.VolumeRoot, root, cancel);
            for (int offset = 0; offset < read.Bytes; offset += Score.Size)
            {
                var score = Score.Read(root.AsSpan(offset));
                classes.Mark(score, BlockType.Data, wishes.GetValueOrDefault(score, classes.DefaultSurvive));
            }
        }
    }

    private sealed class BrokenWalker : IRootWalker
    {
        public ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel) =>
            throw new DamagedBlockException("a table is gone");
    }
}
