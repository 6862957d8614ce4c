using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>What a checkpoint of the index may say that it covers.</summary>
public sealed class IndexCoverTests
{
    [Fact]
    public async Task A_checkpoint_covers_no_arena_whose_blocks_the_index_has_not_got_yet()
    {
        var fixture = new StoreFixture();
        var index = new WatchedIndex();
        await using (BlockStore store = await OpenAsync(fixture, index))
        {
            index.Adding = location =>
            {
                // In the middle of an arena's entries somebody else's checkpoint comes.
                store.CheckpointIndex();
                index.Checkpoints.Add((location.ArenaOrdinal, index.CoveredSequence));
            };
            await StoreFixture.WriteAsync(store, 0, 100);
            await store.SealAllAsync(CancellationToken.None);
            index.Adding = null;
            Assert.NotEmpty(index.Checkpoints);
            Assert.All(index.Checkpoints, each => Assert.True(each.Covered < store.Catalog.Arena(each.Ordinal)!.SealSequence, $"arena {each.Ordinal} was covered"));
            store.CheckpointIndex();
            Assert.All(store.Catalog.Arenas(), arena => Assert.True(arena.SealSequence <= index.CoveredSequence));
        }
    }

    [Fact]
    public async Task An_import_without_a_flush_leaves_few_arenas_for_the_next_start()
    {
        var fixture = new StoreFixture();
        var index = new WatchedIndex();
        BlockStore store = await OpenAsync(fixture, index);
        await StoreFixture.WriteAsync(store, 0, 300, bytes: 280_000); // arenas of one block
        int uncovered = store.Catalog.Arenas().Count(arena => arena.SealSequence > index.CoveredSequence);
        Assert.InRange(store.Catalog.Arenas().Count, 290, 300);
        Assert.InRange(uncovered, 0, 60);
        Assert.True(index.CoveredSequence <= store.Catalog.Sequence);
        await store.DisposeAsync();
    }

    private static ValueTask<BlockStore> OpenAsync(StoreFixture fixture, IBlockIndex index) => BlockStore.OpenAsync(
        fixture.Disk, fixture.Options, fixture.Keys,
        [.. fixture.HolderPaths.Select(path => new ConfiguredHolder(path, path, FolderHolder.Open(fixture.Disk, path, fixture.Random), null))],
        () => index, fixture.Clock, fixture.Random, StoreAccess.Write, "the test", null, CancellationToken.None);

    private sealed class WatchedIndex : IBlockIndex
    {
        private readonly MemoryIndex _inner = new();

        internal Action<BlockLocation>? Adding { get; set; }

        internal System.Collections.Concurrent.ConcurrentBag<(uint Ordinal, ulong Covered)> Checkpoints { get; } = [];

        public ulong CoveredSequence => _inner.CoveredSequence;

        public long Count => _inner.Count;

        public bool TryFind(Score score, out BlockLocation location) => _inner.TryFind(score, out location);

        public void Add(Score score, BlockLocation location)
        {
            Adding?.Invoke(location);
            _inner.Add(score, location);
        }

        public void Checkpoint(ulong coveredSequence) => _inner.Checkpoint(coveredSequence);

        public void Clear() => _inner.Clear();

        public void Dispose() => _inner.Dispose();
    }
}
