using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Upkeep;

/// <summary>What is freed on this device lies on other machines alone, and nothing is let go of before it is proven there. Holder 0 stands for a folder here, the others for peers.</summary>
public sealed class FreedTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));
    private static readonly VolumeId s_other = new(new Bytes16(0, 8));

    [Fact]
    public async Task What_is_freed_goes_to_other_machines_and_its_space_here_comes_back()
    {
        StoreFixture fixture = Fixture(4);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 60);
        long before = HereBytes(store);
        FreedSurvey? seen = null;
        RecodeReport report = await RunAsync(store, Freed(written), survey =>
        {
            seen = survey;
            return true;
        });
        Assert.Empty(report.Problems);
        Assert.Equal(report.MovedBytes, report.FreedBytes);
        Assert.InRange(report.FreedBytes, 60 * 10_000, 60 * 13_000);
        Assert.Equal(report.FreedBytes, seen!.HereBytes);
        Assert.Equal((0L, 0L, 3, 3), (seen.UnsafeBytes, seen.AwayBytes, seen.FoundPlaces, seen.PlacesWithRoom));
        AssertAway(store, written);
        Assert.All(Away(store), static arena => Assert.Equal((1, 2, 1), (arena.Survive, arena.Layout.DataFragments, arena.Layout.ParityFragments)));
        await EmptyTrashAsync(store);
        Assert.InRange(HereBytes(store), 1, before / 3);
        await StoreFixture.AssertAllAsync(store, written);
        Assert.Equal(0, (await RunAsync(store, Freed(written))).MovedBytes);
    }

    [Fact]
    public async Task What_is_away_is_read_back_when_a_place_of_it_is_gone_and_the_folder_here_is_lost()
    {
        StoreFixture fixture = Fixture(4);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(store, 60);
            await RunAsync(store, Freed(written));
            await EmptyTrashAsync(store);
        }

        fixture.HolderPaths[0] = "/gone";
        fixture.HolderPaths[2] = "/gone too";
        await using BlockStore left = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(left, written);
    }

    [Theory]
    [InlineData(false)] // no second place elsewhere at all
    [InlineData(true)] // one that is away
    public async Task What_would_not_be_safe_without_this_device_stays(bool isAbsent)
    {
        StoreFixture fixture = Fixture(isAbsent ? 3 : 2);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(store, 60);
        }

        if (isAbsent)
        {
            fixture.Disk.Rename("/holder2/holder", "/holder2/holder-away");
        }

        await using BlockStore again = await fixture.OpenAsync();
        FreedSurvey? seen = null;
        RecodeReport report = await RunAsync(again, Freed(written), survey =>
        {
            seen = survey;
            return true; // whoever decides may err: the recoder itself lets nothing unsafe go
        });
        Assert.Equal((0L, 0), (report.MovedBytes, report.EmptiedArenas));
        Assert.Equal((2, 1), (seen!.NeededPlaces, seen.FoundPlaces));
        Assert.Equal(seen.HereBytes, seen.UnsafeBytes);
        Assert.True(seen.UnsafeArenas > 0);
        Assert.Empty(Away(again));
    }

    [Fact]
    public async Task A_doubted_place_is_not_counted()
    {
        StoreFixture fixture = Fixture(3);
        fixture.Doubted = "/holder2";
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 30);
        Assert.Equal(0, (await RunAsync(store, Freed(written))).MovedBytes);
        Assert.Empty(Away(store));
    }

    [Fact]
    public async Task Of_a_mixed_arena_only_what_is_freed_goes_and_reclaim_gives_back_the_rest()
    {
        StoreFixture fixture = Fixture(4);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 60);
        List<(Score Score, byte[] Bytes)> freed = [.. written.Where(static (_, i) => i % 2 == 0)];
        List<(Score Score, byte[] Bytes)> kept = [.. written.Where(static (_, i) => i % 2 == 1)];
        long before = HereBytes(store);
        RecodeReport report = await RunAsync(store, Freed(freed));
        Assert.Empty(report.Problems);
        Assert.Equal(0, report.EmptiedArenas);
        AssertAway(store, freed);
        AssertHere(store, kept);
        var walker = new FreedWalker(Freed(freed));
        ReclaimReport reclaimed = await new Reclaimer(store, walker).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
        await store.SealAllAsync(CancellationToken.None);
        Assert.True(reclaimed.FreedBytes > 0);
        Assert.True(HereBytes(store) <= before * 3 / 4, $"{HereBytes(store)} of {before} bytes are left here");
        AssertAway(store, freed);
        AssertHere(store, kept);
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task What_something_else_refers_to_stays_here()
    {
        StoreFixture fixture = Fixture(4);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 60);
        List<(Score Score, byte[] Bytes)> shared = [.. written.Take(20)];
        await StoreFixture.CommitAsync(store, s_other, shared.Select(static item => item.Score), null);
        await store.SealAllAsync(CancellationToken.None);
        FreedSurvey? seen = null;
        await RunAsync(store, Freed(written), survey =>
        {
            seen = survey;
            return true;
        });
        Assert.InRange(seen!.SharedBytes, 20 * 10_000, 20 * 13_000);
        AssertHere(store, shared);
        AssertAway(store, written.Skip(20));
    }

    [Fact]
    public async Task Repair_mends_it_elsewhere_and_never_here()
    {
        StoreFixture fixture = Fixture(5);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(store, 60);
            await RunAsync(store, Freed(written));
            Assert.All(Away(store), static arena => Assert.Equal(4, arena.Fragments.Count)); // 3+1
        }

        fixture.HolderPaths.Remove("/holder1");
        await using (BlockStore without = await fixture.OpenAsync())
        {
            var scrubber = new Scrubber(without);
            Assert.All(scrubber.Homeless().Where(static arena => arena.IsAway), arena => Assert.False(scrubber.HasPlaceFor(arena))); // the folder here would have been one
            Assert.NotEmpty((await scrubber.RepairAsync(null, CancellationToken.None)).Unrepairable);
            AssertOnOthers(without);
        }

        fixture.HolderPaths.Add("/holder5");
        fixture.Elsewhere.Add("/holder5");
        FolderHolder.Create(fixture.Disk, "/holder5", fixture.Random).Dispose();
        await using BlockStore again = await fixture.OpenAsync();
        RecodeReport report = await RunAsync(again, Freed(written));
        Assert.Equal((0L, 0L), (report.ReturnedBytes, report.FreedBytes));
        Assert.Empty((await new Scrubber(again).RepairAsync(null, CancellationToken.None)).Unrepairable);
        Assert.Empty((await new Scrubber(again).CheckAsync(true, null, CancellationToken.None)).Damaged);
        AssertOnOthers(again);
        await StoreFixture.AssertAllAsync(again, written);

        static void AssertOnOthers(BlockStore store) =>
            Assert.All(Away(store).SelectMany(static arena => arena.Fragments), fragment => Assert.True(store.HolderOf(fragment.Holder) is null or { IsElsewhere: true } or { IsGone: true }));
    }

    [Fact]
    public async Task What_was_acknowledged_and_is_not_shown_does_not_count()
    {
        StoreFixture fixture = Fixture(3);
        bool isLying = false;
        fixture.Wrap = holder => new PutHook(holder, static () => Task.CompletedTask) { BeforeInspect = () => { if (isLying) { throw new DiskException(DiskFailure.Unreachable, "ask", "a peer", "it hides what it took"); } } };
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 60);
        long before = HereBytes(store);
        isLying = true;
        RecodeReport report = await RunAsync(store, Freed(written));
        isLying = false;
        Assert.Contains("have not shown enough of it", report.Problems[0], StringComparison.Ordinal);
        Assert.Empty(Away(store));
        await EmptyTrashAsync(store);
        Assert.InRange(HereBytes(store), before, before * 3);
        AssertHere(store, written);
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task Where_too_few_other_machines_are_left_it_is_kept_here_again()
    {
        StoreFixture fixture = Fixture(3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(store, 60);
            await RunAsync(store, Freed(written));
            AssertAway(store, written);
        }

        fixture.HolderPaths.Remove("/holder1");
        await using BlockStore again = await fixture.OpenAsync();
        RecodeReport report = await RunAsync(again, Freed(written));
        Assert.Empty(report.Problems);
        Assert.True(report.ReturnedBytes > 0);
        await again.SealAllAsync(CancellationToken.None);
        AssertHere(again, written);
        await StoreFixture.AssertAllAsync(again, written);
    }

    [Fact]
    public async Task Kept_again_it_comes_back()
    {
        StoreFixture fixture = Fixture(4);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 60);
        await RunAsync(store, Freed(written));
        RecodeReport report = await RunAsync(store, Freed(written.Take(20)));
        Assert.Empty(report.Problems);
        Assert.InRange(report.ReturnedBytes, 40 * 10_000, 40 * 13_000);
        await store.SealAllAsync(CancellationToken.None);
        AssertHere(store, written.Skip(20));
        AssertAway(store, written.Take(20));
        await RunAsync(store, []);
        await store.SealAllAsync(CancellationToken.None);
        AssertHere(store, written);
        await EmptyTrashAsync(store);
        Assert.DoesNotContain(Away(store), static arena => arena.ClumpCount > 0);
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task In_steps_it_comes_to_the_same_end()
    {
        StoreFixture fixture = Fixture(4);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 120);
        int steps = 0;
        long freed = 0;
        RecodeReport report;
        do
        {
            report = await new Recoder(store, new FreedWalker(Freed(written))) { StepBytes = 300_000 }.RunAsync(null, CancellationToken.None);
            Assert.Empty(report.Problems);
            freed += report.FreedBytes;
            steps++;
        }
        while (report.HasMore);
        Assert.InRange(steps, 3, 20);
        Assert.InRange(freed, 120 * 10_000, 120 * 13_000);
        AssertAway(store, written);
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task A_hit_on_what_is_away_is_a_hit_and_the_next_repair_brings_it_back()
    {
        StoreFixture fixture = Fixture(4);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await WriteSealedAsync(store, 30);
        await RunAsync(store, Freed(written));
        BlockWrite again = await store.OpenBlocks(store.Realm, null).WriteAsync(BlockType.Data, written[0].Bytes, CancellationToken.None);
        Assert.Equal(0, again.StoredBytes);
        await StoreFixture.CommitAsync(store, s_other, [written[0].Score], null);
        Assert.True((await RunAsync(store, Freed(written))).ReturnedBytes > 0);
        await store.SealAllAsync(CancellationToken.None);
        AssertHere(store, written.Take(1));
        AssertAway(store, written.Skip(1));
    }

    [Fact]
    public async Task Peers_that_take_nothing_leave_everything_here_and_fail_no_store()
    {
        StoreFixture fixture = Fixture(4);
        bool isRefusing = false;
        var order = new List<HolderId>(); // the folder here is opened first
        fixture.Wrap = holder =>
        {
            order.Add(holder.Id);
            return new PutHook(holder, () => isRefusing && holder.Id != order[0] ? throw new DiskException(DiskFailure.Full, "put", "a peer", "no room") : Task.CompletedTask);
        };
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(store, 60);
            isRefusing = true;
            await RunAsync(store, Freed(written));
            Assert.Empty(Away(store));
            await StoreFixture.AssertAllAsync(store, written);
            isRefusing = false;
            await StoreFixture.WriteAsync(store, 100, 3);
            await store.SealAllAsync(CancellationToken.None); // it still takes what is written
            Assert.Empty((await RunAsync(store, Freed(written))).Problems);
            AssertAway(store, written);
        }

        await using BlockStore again = await fixture.OpenAsync();
        AssertAway(again, written); // the mark is durable
    }

    [Fact]
    public async Task The_mark_outlives_a_checkpoint_and_goes_with_the_arena()
    {
        StoreFixture fixture = Fixture(4);
        List<(Score Score, byte[] Bytes)> written;
        uint[] away;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(store, 60);
            await RunAsync(store, Freed(written));
            away = [.. Away(store).Select(static arena => arena.Ordinal)];
            var catalog = new Catalog();
            var bodies = new List<byte[]>();
            store.Catalog.WriteCheckpoint(writer => bodies.Add(writer.ToArray()));
            bodies.ForEach(body => catalog.Apply(body));
            Assert.Equal(store.Catalog.Sequence, catalog.Sequence);
            Assert.Equal(away, catalog.Arenas().Where(static arena => arena.IsAway).Select(static arena => arena.Ordinal));
            var forget = new FieldWriter();
            Catalog.WriteForget(forget, away);
            catalog.Apply(forget.Written);
            var count = new List<byte[]>();
            catalog.WriteCheckpoint(writer => count.Add(writer.ToArray()));
            Assert.DoesNotContain(count, static body => body[0] == (byte)CatalogRecordKind.Away);
        }

        await using BlockStore again = await fixture.OpenAsync(StoreAccess.Read);
        Assert.Equal(away, again.Catalog.Arenas().Where(static arena => arena is { IsAway: true }).Select(static arena => arena.Ordinal));
    }

    [Fact]
    public void The_mark_has_the_bytes_of_the_format_page()
    {
        var writer = new FieldWriter();
        Catalog.WriteAway(writer, isAway: true, [5]);
        Assert.Equal("820105000000", Convert.ToHexStringLower(writer.Written));
        var catalog = new Catalog();
        catalog.Apply(writer.Written);
        Assert.Equal(1UL, catalog.Sequence); // it counts, as for a reader that skips it
    }

    [Theory]
    [InlineData(new byte[] { 129, 2 })]
    [InlineData(new byte[] { 129, 1, 0, 0 })]
    public void A_damaged_mark_is_refused(byte[] body) => Assert.Throws<DamagedFormatException>(() => new Catalog().Apply(body));

    [Theory]
    [InlineData(true)] // to other machines
    [InlineData(false)] // and back
    public async Task A_crash_at_any_operation_of_it_loses_nothing_and_the_next_one_finishes(bool isFreeing)
    {
        long operations = await CrashAsync(isFreeing, long.MaxValue);
        Assert.InRange(operations, 10, 40_000);
        long step = Environment.GetEnvironmentVariable("TDFS_LONG") is null ? Math.Max(1, operations / 25) : 1;
        for (long crashAt = 1; crashAt <= operations; crashAt += step)
        {
            try
            {
                await CrashAsync(isFreeing, crashAt);
            }
            catch (Exception failure)
            {
                throw new InvalidOperationException($"crash at operation {crashAt}: {failure.Message}", failure);
            }
        }
    }

    private static async Task<long> CrashAsync(bool isFreeing, long crashAt)
    {
        StoreFixture fixture = Fixture(4, seed: 5);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore first = await fixture.OpenAsync())
        {
            written = await WriteSealedAsync(first, 40);
            if (!isFreeing)
            {
                Assert.Empty((await RunAsync(first, Freed(written))).Problems);
            }
        }

        // All of the first arenas, and some of the others.
        HashSet<Score> freed = isFreeing ? Freed(written.Where(static (_, i) => i < 25 || i % 2 == 0)) : [];
        long before = fixture.Disk.OperationCount;
        fixture.Disk.CrashAfter(Math.Min(crashAt, 1L << 40));
        BlockStore? store = null;
        try
        {
            store = await fixture.OpenAsync();
            await RunAsync(store, freed);
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
        Assert.Empty((await RunAsync(again, freed)).Problems);
        await again.SealAllAsync(CancellationToken.None);
        await StoreFixture.AssertAllAsync(again, written);
        AssertAway(again, written.Where(item => freed.Contains(item.Score)));
        AssertHere(again, written.Where(item => !freed.Contains(item.Score)));
        await EmptyTrashAsync(again);
        await StoreFixture.AssertAllAsync(again, written);
        return operations;
    }

    private static StoreFixture Fixture(int holderCount, int seed = 1)
    {
        var fixture = new StoreFixture(holderCount, seed);
        fixture.Elsewhere.UnionWith(Enumerable.Range(1, holderCount - 1).Select(static i => $"/holder{i}"));
        fixture.Options = fixture.Options with { Survive = 1 };
        return fixture;
    }

    private static async Task<List<(Score Score, byte[] Bytes)>> WriteSealedAsync(BlockStore store, int count)
    {
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, count);
        await store.SealAllAsync(CancellationToken.None);
        await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        await store.SealAllAsync(CancellationToken.None);
        return written;
    }

    private static HashSet<Score> Freed(IEnumerable<(Score Score, byte[] Bytes)> blocks) => [.. blocks.Select(static item => item.Score)];

    private static async Task<RecodeReport> RunAsync(BlockStore store, HashSet<Score> freed, Func<FreedSurvey, bool>? decide = null) =>
        await new Recoder(store, new FreedWalker(freed)).RunAsync(decide is null ? null : survey => ValueTask.FromResult(decide(survey)), null, CancellationToken.None);

    private static async Task EmptyTrashAsync(BlockStore store) =>
        await new Reclaimer(store, new FreedWalker([])).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);

    private static IEnumerable<ArenaRecord> Away(BlockStore store) => store.Catalog.Arenas().Where(static arena => arena is { IsAway: true, State: ArenaState.Sealed });

    /// <summary>Fragments in the folder here, the trash included.</summary>
    private static long HereBytes(BlockStore store) => store.Catalog.HeldBytes(store.Holders.First(static holder => !holder.IsElsewhere).Number);

    private static void AssertAway(BlockStore store, IEnumerable<(Score Score, byte[] Bytes)> blocks)
    {
        foreach ((Score score, byte[] _) in blocks)
        {
            ArenaRecord arena = store.Locate(store.Realm, score)!.Value.Arena;
            Assert.True(arena.IsAway, $"block {score} lies in arena {arena.Ordinal}, which is not away");
            Assert.All(arena.Fragments, fragment => Assert.True(store.HolderOf(fragment.Holder)!.IsElsewhere));
            Assert.True(Placement.LossesOutlived(arena.Layout, Placement.CountsByPlace([.. arena.Fragments.Select(fragment => store.HolderOf(fragment.Holder))], static _ => true)) >= 1);
        }
    }

    private static void AssertHere(BlockStore store, IEnumerable<(Score Score, byte[] Bytes)> blocks) =>
        Assert.All(blocks, item => Assert.False(store.Locate(store.Realm, item.Score)!.Value.Arena.IsAway));

    /// <summary>Walks the roots that the fixture commits: of the first volume, some references come from freed folders.</summary>
    private sealed class FreedWalker(HashSet<Score> freed) : IRootWalker
    {
        public async ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
        {
            if (!marker.Mark(head.Root, BlockType.VolumeRoot))
            {
                return;
            }

            byte[] root = new byte[BlockLimits.MaxBlockBytes];
            BlockRead read = await blocks.ReadAsync(head.Root, BlockType.VolumeRoot, root, cancel);
            for (int offset = 0; offset < read.Bytes; offset += Score.Size)
            {
                var score = Score.Read(root.AsSpan(offset));
                if (marker is IFreedMarker told)
                {
                    told.Mark(score, BlockType.Data, told.DefaultSurvive, head.Volume == s_volume && freed.Contains(score));
                }
                else
                {
                    marker.Mark(score, BlockType.Data);
                }
            }
        }
    }
}
