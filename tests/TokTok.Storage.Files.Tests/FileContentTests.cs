using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class FileContentTests
{
    [Theory]
    [InlineData(0, 0, 32 * 1024, 512 * 1024)]
    [InlineData(100 * 1024, 0, 100 * 1024, 512 * 1024)]
    [InlineData(0, 150 * 1024, 32 * 1024, 150 * 1024)]
    public async Task Chunks_keep_to_the_bounds_that_were_asked_for(int min, int max, int expectedMin, int expectedMax)
    {
        var store = new MemoryVolumeStore();
        var options = new ContentOptions { MeanChunkBytes = 128 * 1024, MinChunkBytes = min, MaxChunkBytes = max };
        Assert.Equal((expectedMin, expectedMax), (options.Bounds.MinBytes, options.Bounds.MaxBytes));
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), options);
        byte[] bytes = new SeededRandom(5).Bytes(4_000_000);
        WrittenContent written = await writer.WriteAsync(new MemorySource(bytes, []), CuttingRule.ContentDefined, default);
        using var reader = new FileContentReader(store.Blocks, written.Content);
        var lengths = new List<long>();
        await foreach (Extent extent in reader.ExtentsAsync())
        {
            lengths.Add(extent.Length);
        }

        Assert.True(lengths.Count > 3);
        Assert.All(lengths.SkipLast(1), length => Assert.InRange(length, expectedMin, expectedMax));
    }

    private static readonly ContentOptions s_small = new() { MeanChunkBytes = 8192, FixedChunkBytes = 4096, BridgedHoleBytes = 16 * 1024 };

    public static TheoryData<int, CuttingRule> Sizes
    {
        get
        {
            var sizes = new TheoryData<int, CuttingRule>();
            foreach (int size in (int[])[0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 32767, 32768, 32769, 1 << 20, (3 << 20) + 7])
            {
                sizes.Add(size, CuttingRule.ContentDefined);
                sizes.Add(size, CuttingRule.Fixed);
            }

            return sizes;
        }
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public async Task What_was_written_reads_back_at_any_offset(int size, CuttingRule rule)
    {
        byte[] bytes = new byte[size];
        new Random(size).NextBytes(bytes);
        await RoundTripAsync(new MemorySource(bytes, []), rule, new Random(size));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public async Task Holes_stay_where_they_were(int seed)
    {
        var random = new Random(seed);
        byte[] bytes = new byte[random.Next(1, 600) * 1024];
        random.NextBytes(bytes);
        List<(long, long)> holes = [];
        for (long at = random.Next(3) == 0 ? 0 : 4096; at < bytes.Length;)
        {
            long end = Math.Min(bytes.Length, at + (4096L * (random.Next(4) == 0 ? random.Next(1, 30) : random.Next(1, 3))));
            holes.Add((at, end));
            bytes.AsSpan((int)at, (int)(end - at)).Clear();
            at = end + (4096L * random.Next(1, 12));
        }

        await RoundTripAsync(new MemorySource(bytes, holes), seed % 2 == 0 ? CuttingRule.Fixed : CuttingRule.ContentDefined, random);
    }

    [Fact]
    public async Task Zeros_that_are_no_hole_stay_data_and_a_small_file_costs_one_write()
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm));
        WrittenContent written = await writer.WriteAsync(new MemorySource(new byte[20_000], []), CuttingRule.ContentDefined, default);
        Assert.Equal(20_000, written.DataBytes);
        Assert.Equal(1, store.Blocks.WriteCount);
        Assert.Equal(ContentKind.Extents, written.Content.Kind);
    }

    [Fact]
    public async Task A_file_that_shrank_or_grew_ends_where_reading_ends()
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_small);
        byte[] bytes = new byte[3 << 20];
        new Random(5).NextBytes(bytes);
        foreach (int claimed in (int[])[0, 10, 5000, 4 << 20])
        {
            WrittenContent written = await writer.WriteAsync(new MemorySource(bytes, []) { Length = claimed }, CuttingRule.ContentDefined, default);
            Assert.Equal(bytes.Length, written.Content.Size);
            Assert.Equal(bytes, await ReadAllAsync(store.Blocks, written.Content));
        }
    }

    [Fact]
    public async Task An_edit_in_the_middle_leaves_most_blocks_known()
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_small);
        byte[] bytes = new byte[8 << 20];
        new Random(6).NextBytes(bytes);
        await writer.WriteAsync(new MemorySource(bytes, []), CuttingRule.ContentDefined, default);
        byte[] edited = [.. bytes[..4_000_000], 1, 2, 3, .. bytes[4_000_000..]];
        WrittenContent again = await writer.WriteAsync(new MemorySource(edited, []), CuttingRule.ContentDefined, default);
        Assert.Equal(ContentKind.Tree, again.Content.Kind);
        Assert.InRange(again.NewChunkCount, 1, 8);
    }

    [Theory]
    [InlineData(CuttingRule.ContentDefined)]
    [InlineData(CuttingRule.Fixed)]
    public async Task Spare_hands_give_the_same_content_as_one_worker_whoever_is_ready_first(CuttingRule rule)
    {
        byte[] bytes = new byte[(5 << 20) + 77];
        new Random(9).NextBytes(bytes);
        List<(long, long)> holes = [(40960, 49152), (1 << 20, 2 << 20), (3 << 20, (3 << 20) + 4096)];
        holes.ForEach(hole => bytes.AsSpan((int)hole.Item1, (int)(hole.Item2 - hole.Item1)).Clear());
        var source = new MemorySource(bytes, holes);
        var alone = new MemoryVolumeStore();
        using var oneWorker = new FileContentWriter(alone.Blocks, alone.ChunkerSeed(alone.Realm), s_small, new SpareHands(0));
        WrittenContent expected = await oneWorker.WriteAsync(source, rule, default);

        var store = new MemoryVolumeStore();
        var late = new LateBlocks(store.Blocks, delayEach: 3);
        var hands = new SpareHands(4);
        using var writer = new FileContentWriter(late, store.ChunkerSeed(store.Realm), s_small, hands);
        WrittenContent written = await writer.WriteAsync(source, rule, default);
        Assert.Equal(new Entry { Type = EntryType.File, FileId = 1, Content = expected.Content }.Encode().ToArray(), new Entry { Type = EntryType.File, FileId = 1, Content = written.Content }.Encode().ToArray());
        Assert.Equal((expected.DataBytes, expected.ChunkCount, expected.NewBytes), (written.DataBytes, written.ChunkCount, written.NewBytes));
        Assert.Equal(bytes, await ReadAllAsync(store.Blocks, written.Content));
        Assert.True(late.DelayedCount > 0);
        Assert.Equal(4, hands.FreeCount);
    }

    [Theory]
    [InlineData("store")]
    [InlineData("source")]
    [InlineData("cancel")]
    public async Task A_failure_in_the_middle_of_a_large_file_ends_it_and_no_hand_goes_on(string what)
    {
        byte[] bytes = new byte[6 << 20];
        new Random(10).NextBytes(bytes);
        var store = new MemoryVolumeStore();
        using var cancel = new CancellationTokenSource();
        var late = new LateBlocks(store.Blocks, delayEach: 3)
        {
            AtWrite = count =>
            {
                if (count == 150 && what == "cancel")
                {
                    cancel.Cancel();
                }

                if (count == 150 && what == "store")
                {
                    throw new IOException("the store failed");
                }
            },
        };
        var hands = new SpareHands(4);
        using var writer = new FileContentWriter(late, store.ChunkerSeed(store.Realm), s_small, hands);
        var source = new MemorySource(bytes, []) { UnreadableFrom = what == "source" ? 4 << 20 : long.MaxValue };
        Exception failure = await Assert.ThrowsAnyAsync<Exception>(async () => await writer.WriteAsync(source, CuttingRule.Fixed, cancel.Token));
        Assert.True(what == "cancel" ? failure is OperationCanceledException : failure is IOException, failure.ToString());
        Assert.Equal(4, hands.FreeCount);
        Assert.Equal(0, late.RunningCount);
    }

    private static async Task RoundTripAsync(MemorySource source, CuttingRule rule, Random random)
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_small);
        WrittenContent written = await writer.WriteAsync(source, rule, default);
        var entry = new Entry { Type = EntryType.File, FileId = 7, Content = written.Content };
        FileContent content = Entry.Decode(entry.Encode()).Content;
        Assert.Equal(source.Bytes.Length, content.Size);
        Assert.Equal(rule, content.Rule);
        Assert.Equal(source.Bytes, await ReadAllAsync(store.Blocks, content));
        using var reader = new FileContentReader(store.Blocks, content);
        for (int trial = 0; trial < 20; trial++)
        {
            int offset = random.Next(source.Bytes.Length + 10);
            byte[] target = new byte[random.Next(20_000)];
            int read = await reader.ReadAsync(offset, target, default);
            Assert.Equal(source.Bytes.AsSpan(Math.Min(offset, source.Bytes.Length)).Length < target.Length
                ? Math.Max(source.Bytes.Length - offset, 0) : target.Length, read);
            Assert.True(target.AsSpan(0, read).SequenceEqual(source.Bytes.AsSpan(Math.Min(offset, source.Bytes.Length), read)));
        }

        List<(long, long)> holes = [];
        long at = 0;
        await foreach (Extent extent in reader.ExtentsAsync())
        {
            Assert.Equal(at, extent.Offset);
            at += extent.Length;
            if (extent.IsHole)
            {
                holes.Add((extent.Offset, at));
            }
        }

        Assert.Equal(source.Holes, holes);
    }

    private static async Task<byte[]> ReadAllAsync(IBlockStore blocks, FileContent content)
    {
        using var reader = new FileContentReader(blocks, content);
        byte[] bytes = new byte[content.Size + 1];
        int read = await reader.ReadAsync(0, bytes, default);
        Assert.Equal(content.Size, read);
        return bytes[..read];
    }

    /// <summary>Every so many writes one returns only after later ones did, or after there can be none.</summary>
    private sealed class LateBlocks(IBlockStore inner, int delayEach) : IBlockStore
    {
        private int _count;
        private int _running;
        private int _delayed;

        public Action<int>? AtWrite { get; init; }

        public int DelayedCount => Volatile.Read(ref _delayed);

        public int RunningCount => Volatile.Read(ref _running);

        public int Survive => inner.Survive;

        public int Weakest => inner.Weakest;

        public IBlockStore At(int survive) => this;

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => inner.ScoreOf(type, plain);

        public async ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel)
        {
            _ = Interlocked.Increment(ref _running);
            try
            {
                int count = Interlocked.Increment(ref _count);
                AtWrite?.Invoke(count);
                for (int turn = 0; count % delayEach == 0 && Volatile.Read(ref _count) < count + 2 && turn < 2000; turn++)
                {
                    _ = turn > 0 ? 0 : Interlocked.Increment(ref _delayed);
                    await Task.Yield();
                }

                return await inner.WriteAsync(type, plain, cancel);
            }
            finally
            {
                _ = Interlocked.Decrement(ref _running);
            }
        }

        public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) => inner.ReadAsync(score, type, target, cancel);

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => inner.ContainsAsync(score, type, cancel);

        public ValueTask FlushAsync(CancellationToken cancel) => inner.FlushAsync(cancel);
    }

    private sealed class MemorySource(byte[] bytes, List<(long Start, long End)> holes) : IFileSource
    {
        public byte[] Bytes => bytes;

        public List<(long Start, long End)> Holes => holes;

        public long Length { get; init; } = bytes.Length;

        public long UnreadableFrom { get; init; } = long.MaxValue;

        public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
        {
            if (offset + target.Length > UnreadableFrom)
            {
                throw new IOException("the file cannot be read here");
            }

            int read = (int)Math.Clamp(bytes.Length - offset, 0, target.Length);
            bytes.AsSpan((int)Math.Min(offset, bytes.Length), read).CopyTo(target.Span);
            return ValueTask.FromResult(read);
        }

        public bool TryFindData(long from, out long start, out long end)
        {
            start = from;
            foreach ((long holeStart, long holeEnd) in holes)
            {
                if (start >= holeStart && start < holeEnd)
                {
                    start = holeEnd;
                }
            }

            long data = start;
            end = holes.Where(hole => hole.Start > data).Select(hole => hole.Start).DefaultIfEmpty(Length).First();
            return start < Length;
        }
    }
}
