using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Upkeep;

/// <summary>A reclaim in steps, each on a store opened for it, with other writers between.</summary>
public sealed class ReclaimRunTests
{
    private static readonly VolumeId s_volume = VolumeId.New(new SeededRandom(77));

    [Fact]
    public async Task What_an_import_between_survey_and_step_found_in_a_chosen_arena_is_kept()
    {
        var fixture = new StoreFixture();
        (List<(Score Score, byte[] Bytes)> kept, List<(Score Score, byte[] Bytes)> dropped) = await MakeAsync(fixture);
        var run = new ReclaimRun(new ListWalker(), new ReclaimOptions { StepBytes = 1, EmptyTrashNow = true }, null);
        await using (BlockStore reader = await fixture.OpenAsync(StoreAccess.Read))
        {
            await run.SurveyAsync(reader, CancellationToken.None);
        }

        Assert.InRange(run.Report.DeadBytes, 1, long.MaxValue);
        for (bool goesOn = true, isFirst = true; goesOn; isFirst = false)
        {
            if (isFirst)
            {
                // Equal bytes come again: nothing is stored, and the new head wants them where they lie.
                await using BlockStore import = await fixture.OpenAsync();
                foreach ((Score _, byte[] bytes) in dropped[..40])
                {
                    BlockWrite write = await import.OpenBlocks(import.Realm, null).WriteAsync(BlockType.Data, bytes, CancellationToken.None);
                    Assert.Equal(0, write.StoredBytes);
                }

                kept.AddRange(dropped[..40]);
                await StoreFixture.CommitAsync(import, s_volume, kept.Select(static each => each.Score), Assert.Single(import.Heads));
            }

            await using BlockStore store = await fixture.OpenAsync();
            goesOn = await run.StepAsync(store, CancellationToken.None);
            Assert.Equal(0, run.Report.MissingBlocks);
        }

        Assert.InRange(run.Report.FreedBytes, 1, long.MaxValue);
        Assert.InRange(run.Report.TrashedArenas, 2, int.MaxValue);
        await AssertWholeAsync(fixture, kept);
    }

    [Fact]
    public async Task A_holder_that_vanishes_during_a_reclaim_is_asked_again_by_the_next()
    {
        var fixture = new StoreFixture(holderCount: 3);
        fixture.Options = fixture.Options with { SealAtFlushBytes = 1 };
        HolderId? vanished = null;
        fixture.Wrap = holder => new PutHook(holder, static () => Task.CompletedTask)
        {
            BeforeTrash = () =>
            {
                if (holder.Id == vanished)
                {
                    throw new DiskException(DiskFailure.Unreachable, "reach", "peer", "it does not answer");
                }
            },
        };
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> blocks = await StoreFixture.WriteAsync(store, 0, 30);
        Head head = await StoreFixture.CommitAsync(store, s_volume, blocks.Select(static each => each.Score), null);
        await StoreFixture.CommitAsync(store, s_volume, [], head);
        vanished = store.Holders[1].Id; // since it was opened
        ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
        Assert.InRange(report.TrashedArenas, 1, int.MaxValue);
        Assert.Contains(report.Reasons, static reason => reason.Contains("/holder1 cannot be reached", StringComparison.Ordinal));
        Assert.Contains(store.Catalog.Arenas(), static arena => arena.State == ArenaState.Trashed);

        vanished = null;
        report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
        Assert.InRange(report.FreedBytes, 1, long.MaxValue);
        Assert.DoesNotContain(store.Catalog.Arenas(), static arena => arena.State == ArenaState.Trashed);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task Whatever_is_written_and_forgotten_between_the_steps_what_the_head_wants_is_kept(int seed)
    {
        var fixture = new StoreFixture(seed: seed);
        var random = new Random(seed);
        (List<(Score Score, byte[] Bytes)> kept, List<(Score Score, byte[] Bytes)> known) = await MakeAsync(fixture);
        known.AddRange(kept);
        int next = 100_000;
        for (int round = 0; round < 4; round++)
        {
            var run = new ReclaimRun(new ListWalker(), new ReclaimOptions { StepBytes = 1, EmptyTrashNow = random.Next(2) == 0 }, null);
            await using (BlockStore reader = await fixture.OpenAsync(StoreAccess.Read))
            {
                await run.SurveyAsync(reader, CancellationToken.None);
            }

            for (bool goesOn = true; goesOn;)
            {
                await using (BlockStore import = await fixture.OpenAsync())
                {
                    List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(import, next, random.Next(30), random.Next(1, 30_000));
                    next += written.Count;
                    for (int i = random.Next(10); i > 0; i--)
                    {
                        (Score Score, byte[] Bytes) again = known[random.Next(known.Count)];
                        Assert.Equal(again.Score, (await import.OpenBlocks(import.Realm, null).WriteAsync(BlockType.Data, again.Bytes, CancellationToken.None)).Score);
                        written.Add(again);
                    }

                    known.AddRange(written);
                    kept.RemoveRange(0, random.Next(kept.Count / 2));
                    kept.AddRange(written);
                    if (random.Next(3) > 0)
                    {
                        await StoreFixture.CommitAsync(import, s_volume, kept.Select(static each => each.Score), Assert.Single(import.Heads));
                    }
                    else
                    {
                        // It died before its commit: what the head before wants stays wanted.
                        Score[] wanted = await WantedAsync(import);
                        kept = [.. known.Where(each => wanted.Contains(each.Score)).DistinctBy(static each => each.Score)];
                    }
                }

                await using BlockStore store = await fixture.OpenAsync();
                goesOn = await run.StepAsync(store, CancellationToken.None);
                Assert.Equal(0, run.Report.MissingBlocks);
            }

            await AssertWholeAsync(fixture, kept);
        }
    }

    [Fact]
    public async Task What_the_journal_had_at_the_survey_and_an_arena_has_alone_later_is_kept()
    {
        var fixture = new StoreFixture(arenaBytes: 1024 * 1024);
        List<(Score Score, byte[] Bytes)> kept;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            kept = await StoreFixture.WriteAsync(store, 0, 3);
            await StoreFixture.CommitAsync(store, s_volume, kept.Select(static each => each.Score), null);
            await StoreFixture.WriteAsync(store, 100, 40); // nobody wants these: the arena is worth emptying
            await store.SealAllAsync(CancellationToken.None);
        }

        // The journal still has the blocks, and what this reader looks them up in does not know that an arena has them too, though it does of their root.
        MemoryIndex index = fixture.Index!;
        fixture.Options = fixture.Options with { OpenLookup = () => new Ignorant(index, [.. kept.Select(static each => each.Score)]) };
        var run = new ReclaimRun(new ListWalker(), new ReclaimOptions { EmptyTrashNow = true, LivePercent = 99 }, null);
        await using (BlockStore reader = await fixture.OpenAsync(StoreAccess.Read))
        {
            Assert.Equal(3, reader.PendingCount);
            await run.SurveyAsync(reader, CancellationToken.None);
        }

        fixture.Options = fixture.Options with { OpenLookup = null };
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(0, store.PendingCount);
            while (await run.StepAsync(store, CancellationToken.None))
            {
            }

            // The journal forgets what it has no need to keep.
            await StoreFixture.WriteAsync(store, 200, 60);
            await store.FlushAsync(CancellationToken.None);
            await store.SealAllAsync(CancellationToken.None);
        }

        Assert.InRange(run.Report.FreedBytes, 1, long.MaxValue);
        await AssertWholeAsync(fixture, kept);
    }

    private sealed class Ignorant(MemoryIndex index, HashSet<Score> unknown) : IBlockLookup
    {
        public ulong CoveredSequence => ulong.MaxValue;

        public bool TryFind(Score score, out BlockLocation location) => index.TryFind(score, out location) && !unknown.Contains(score);

        public void Dispose()
        {
        }
    }

    /// <summary>A committed store of some arenas, half of whose blocks no head wants any more.</summary>
    private static async Task<(List<(Score Score, byte[] Bytes)> Kept, List<(Score Score, byte[] Bytes)> Dropped)> MakeAsync(StoreFixture fixture)
    {
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 120);
        List<(Score Score, byte[] Bytes)> kept = [.. written.Where(static (_, i) => i % 2 == 0)];
        Head first = await StoreFixture.CommitAsync(store, s_volume, written.Select(static each => each.Score), null);
        await store.SealAllAsync(CancellationToken.None);
        await StoreFixture.CommitAsync(store, s_volume, kept.Select(static each => each.Score), first);
        return (kept, [.. written.Where(static (_, i) => i % 2 == 1)]);
    }

    private static async Task<Score[]> WantedAsync(BlockStore store)
    {
        byte[] root = new byte[BlockLimits.MaxBlockBytes];
        BlockRead read = await store.OpenBlocks(store.Realm, 0).ReadAsync(Assert.Single(store.Heads).Root, BlockType.VolumeRoot, root, CancellationToken.None);
        return [.. Enumerable.Range(0, read.Bytes / Score.Size).Select(i => Score.Read(root.AsSpan(i * Score.Size)))];
    }

    private static async Task AssertWholeAsync(StoreFixture fixture, List<(Score Score, byte[] Bytes)> kept)
    {
        await using BlockStore store = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(store, kept);
        Assert.Empty((await new Scrubber(store).CheckAsync(readAll: true, null, CancellationToken.None)).Damaged);
        await using BlockStore reader = await fixture.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(reader, kept);
    }
}
