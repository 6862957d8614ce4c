using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Readers open while a writer goes on, at every operation of the opening: they get some state of the store, whole.</summary>
public sealed class ReaderBesideWriterTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    public enum Meanwhile
    {
        /// <summary>New blocks in the journal, and a head.</summary>
        Commits,

        /// <summary>Arenas are sealed, the journal is renewed without their clumps, and a head is committed.</summary>
        Seals,

        /// <summary>The writer ends twice without order: each next one begins a catalog and a journal, and the old files go.</summary>
        Restarts,

        /// <summary>All that the journal holds is sealed, arenas are emptied by a reclaim into new ones, and lie in the trash.</summary>
        Reclaims,
    }

    [Theory]
    [InlineData(Meanwhile.Commits, 1)]
    [InlineData(Meanwhile.Seals, 1)]
    [InlineData(Meanwhile.Restarts, 1)]
    [InlineData(Meanwhile.Reclaims, 1)]
    [InlineData(Meanwhile.Commits, 2)]
    [InlineData(Meanwhile.Seals, 2)]
    public async Task Every_head_that_a_reader_shows_is_whole_wherever_in_its_opening_a_writer_went_on(Meanwhile what, int holderCount)
    {
        int operations = int.MaxValue;
        for (int at = 1; at <= operations; at++)
        {
            await using var writer = new Writer(holderCount);
            await writer.OpenAsync();
            await writer.CommitAsync(3);
            int count = 0;
            int turn = at;
            await using BlockStore reader = await writer.OpenReaderAsync(() =>
            {
                if (++count == turn)
                {
                    Task.Run(() => writer.GoOnAsync(what)).GetAwaiter().GetResult();
                }
            });
            operations = count;
            await AssertHeadsAsync(reader, $"{what} before operation {at} of {operations}");
        }

        Assert.True(operations > 20, $"the opening had {operations} operations: nothing came between them");
    }

    [Fact]
    public async Task A_reader_opens_beside_a_writer_that_commits_before_every_one_of_its_operations()
    {
        await using var writer = new Writer(1);
        await writer.OpenAsync();
        await writer.CommitAsync(3);
        int count = 0;
        await using BlockStore reader = await writer.OpenReaderAsync(() =>
        {
            if (++count <= 60)
            {
                Task.Run(() => writer.CommitAsync(1)).GetAwaiter().GetResult();
            }
        });
        await AssertHeadsAsync(reader, "a commit before every operation");
    }

    private static async Task AssertHeadsAsync(BlockStore reader, string when)
    {
        Assert.True(reader.Heads.Count == 1, $"{when}: {reader.Heads.Count} heads");
        IBlockStore blocks = reader.OpenBlocks(reader.Realm, null);
        byte[] root = new byte[BlockLimits.MaxBlockBytes];
        byte[] block = new byte[BlockLimits.MaxBlockBytes];
        foreach (Head head in reader.Heads)
        {
            BlockRead read = await blocks.ReadAsync(head.Root, BlockType.VolumeRoot, root, CancellationToken.None);
            Assert.True(read.IsFound, $"{when}: head {head.Sequence} has no root");
            for (int offset = 0; offset < read.Bytes; offset += Score.Size)
            {
                BlockRead found = await blocks.ReadAsync(Score.Read(root.AsSpan(offset)), BlockType.Data, block, CancellationToken.None);
                Assert.True(found.IsFound, $"{when}: block {offset / Score.Size} of head {head.Sequence} is missing");
            }
        }
    }

    private sealed class Writer(int holderCount) : IAsyncDisposable
    {
        private readonly StoreFixture _fixture = new(holderCount);
        private readonly List<Score> _kept = [];
        private BlockStore? _store;
        private Head? _head;
        private int _next;

        internal async Task OpenAsync()
        {
            _fixture.Options = _fixture.Options with { SealAtFlushBytes = 64 * 1024 };
            _store = await _fixture.OpenAsync();
        }

        internal async Task<BlockStore> OpenReaderAsync(Action before)
        {
            var disk = new HookedDisk(_fixture.Disk, before);
            List<ConfiguredHolder> configured = [.. _fixture.HolderPaths.Select(path => new ConfiguredHolder(path, path, FolderHolder.Open(disk, path, _fixture.Random), null))];
            return await BlockStore.OpenAsync(
                disk, _fixture.Options, _fixture.Keys, configured, null, _fixture.Clock, _fixture.Random, StoreAccess.Read, "", null, CancellationToken.None);
        }

        internal async Task GoOnAsync(Meanwhile what)
        {
            switch (what)
            {
                case Meanwhile.Seals:
                    await CommitAsync(10);
                    break;
                case Meanwhile.Restarts:
                    for (int i = 0; i < 2; i++)
                    {
                        await _store!.DisposeAsync();
                        _fixture.Disk.Open($"{StoreFixture.State}/writer", DiskOpen.CreateNew).Dispose();
                        _store = await _fixture.OpenAsync();
                        await CommitAsync(2);
                    }

                    break;
                case Meanwhile.Reclaims:
                    await CommitAsync(10);
                    await new Reclaimer(_store!, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
                    break;
                default:
                    await CommitAsync(2);
                    break;
            }
        }

        /// <summary>A head over the newest blocks: older ones may go.</summary>
        internal async Task CommitAsync(int count)
        {
            List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(_store!, _next, count, bytes: 20_000);
            _next += count;
            _kept.AddRange(written.Select(static each => each.Score));
            _kept.RemoveRange(0, Math.Max(0, _kept.Count - 8));
            _head = await StoreFixture.CommitAsync(_store!, s_volume, _kept, _head);
        }

        public async ValueTask DisposeAsync()
        {
            if (_store is not null)
            {
                await _store.DisposeAsync();
            }
        }
    }
}
