using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class DataCacheTests
{
    private const int MiB = 1 << 20;

    /// <summary>Noise and text in one block; how large it is; where somebody reads first.</summary>
    public static TheoryData<int, int, int> Blocks { get; } = new()
    {
        { 300_000, 0, 0 },
        { 300_000, 0, 4095 },
        { 300_001, 500_000, 1 },
        { 200_000, MiB - 200_000, 123_456 },
        { 0, 100_000, 99_999 },
        { CondensedBlock.SmallestBlock, 0, 17 },
        { CondensedBlock.SmallestBlock - 1, 0, 17 },
    };

    [Theory, MemberData(nameof(Blocks))]
    public void What_is_read_here_and_there_is_the_block_whole_and_condensed(int noise, int text, int readAt)
    {
        var store = new PartsBlocks();
        (Score score, byte[] plain) = store.Add(noise, text);
        (Score other, byte[] otherPlain) = store.Add(700_000, 0);
        var cache = new DataCache(store, MiB);
        var random = new Random(noise + readAt);
        Check(cache, score, plain, Math.Min(readAt, plain.Length - 1), 1);
        Check(cache, other, otherPlain, 5000, 4096); // takes the place
        int before = store.WholeReads;
        for (int i = 0; i < 500; i++)
        {
            int count = random.Next(1, Math.Min(CondensedBlock.LargestRead, plain.Length));
            Check(cache, score, plain, random.Next(0, plain.Length - count + 1), count);
        }

        Check(cache, score, plain, 0, 1);
        Check(cache, score, plain, plain.Length - 1, 1);
        Assert.Equal(plain.Length >= CondensedBlock.SmallestBlock ? before : before + 1, store.WholeReads);
        Assert.InRange(cache.Bytes, 1, MiB + (MiB / 4));
    }

    [Fact]
    public void A_large_file_is_read_here_and_there_in_little_memory_without_reading_its_blocks_again()
    {
        var store = new PartsBlocks();
        List<(Score Score, byte[] Plain)> file = [.. Enumerable.Range(0, 20).Select(i => store.Add(250_000 + i, 250_000))];
        var cache = new DataCache(store, 2 * MiB);
        var random = new Random(7);
        for (int i = 0; i < 2000; i++)
        {
            (Score score, byte[] plain) = file[random.Next(file.Count)];
            Check(cache, score, plain, random.Next(0, plain.Length / 4096 - 1) * 4096, 4096);
        }

        Assert.InRange(store.WholeReads, file.Count, file.Count + 2);
        Assert.InRange(cache.Bytes, 1, 2 * MiB);
    }

    [Theory, InlineData(false), InlineData(true)]
    public void A_part_that_came_damaged_or_not_at_all_is_taken_from_the_block_as_a_whole(bool isGone)
    {
        var store = new PartsBlocks();
        (Score score, byte[] plain) = store.Add(500_000, 0);
        (Score other, byte[] otherPlain) = store.Add(500_001, 0);
        var cache = new DataCache(store, MiB / 2);
        Check(cache, score, plain, 8192, 4096);
        Check(cache, other, otherPlain, 8192, 4096);
        Check(cache, score, plain, 40_960, 4096);
        Assert.Equal(2, store.WholeReads);

        store.DamagedByte = isGone ? -1 : 81_919;
        store.IsGone = isGone;
        Check(cache, score, plain, 77_824, 4096); // ends at the damage
        Assert.Equal(3, store.WholeReads);
        Check(cache, score, plain, 77_824, 4096);
        Assert.Equal(3, store.WholeReads);
    }

    [Fact]
    public void Damage_beside_what_is_read_costs_nothing_and_damage_of_the_whole_is_an_error()
    {
        var store = new PartsBlocks();
        (Score score, byte[] plain) = store.Add(500_000, 0);
        (Score other, byte[] otherPlain) = store.Add(500_001, 0);
        var cache = new DataCache(store, MiB / 2);
        Check(cache, score, plain, 8192, 4096);
        Check(cache, other, otherPlain, 8192, 4096);

        store.DamagedByte = 100_000;
        store.FailsWhole = true;
        Check(cache, score, plain, 8192, 4096);
        Check(cache, score, plain, 400_000, 4096);
        byte[] target = new byte[4096];
        Assert.Throws<DamagedBlockException>(() => cache.Read(score, plain.Length, 98_304, target, isScattered: true));
        Assert.Equal(new byte[4096], target);
        store.FailsWhole = false;
        Check(cache, score, plain, 98_304, 4096);
    }

    [Fact]
    public void A_block_is_handed_over_once_for_each_time_it_is_read_and_condensed_only_the_second_time()
    {
        var store = new PartsBlocks();
        (Score score, byte[] plain) = store.Add(500_000, 0);
        (Score other, byte[] otherPlain) = store.Add(500_001, 0);
        var cache = new DataCache(store, (MiB / 2) + 4096);
        byte[] target = new byte[4096];
        byte[] all = new byte[plain.Length];
        Assert.False(cache.TryHandOver(score, 0, all), "it is not there");
        for (int round = 1; round <= 2; round++)
        {
            Assert.True(cache.Read(score, plain.Length, 8192, target, isScattered: true), "not offered");
            Assert.False(cache.Read(score, plain.Length, 8192, target), "offered to one who reads all of it anyway");
            Assert.False(cache.TryHandOver(score, 1, all), "more than there is");
            Assert.True(cache.TryHandOver(score, 0, all));
            Assert.Equal(plain, all);
            all.AsSpan().Clear();
            Assert.False(cache.TryHandOver(score, 0, all), "once more");
            Assert.False(cache.Read(score, plain.Length, 8192, target, isScattered: true), "offered again");
            Assert.Equal((2 * round) - 1, store.WholeReads);
            CheckSequential(cache, other, otherPlain); // takes the place
            Assert.InRange(cache.Bytes, 1, (MiB / 2) + 4096);
        }

        Assert.Equal(4, store.WholeReads);
        Check(cache, score, plain, 81_920, 4096);
        Assert.Equal(4, store.WholeReads); // it is condensed
    }

    [Fact]
    public void What_was_handed_over_and_cannot_be_read_any_more_is_forgotten()
    {
        var store = new PartsBlocks();
        (Score score, byte[] plain) = store.Add(500_000, 0);
        (Score other, byte[] otherPlain) = store.Add(500_001, 0);
        var cache = new DataCache(store, (MiB / 2) + 4096);
        Check(cache, score, plain, 8192, 4096);
        Assert.True(cache.TryHandOver(score, 0, new byte[plain.Length]));
        CheckSequential(cache, other, otherPlain);
        long bytes = cache.Bytes;
        store.FailsWhole = true;
        for (int i = 0; i < 3; i++)
        {
            Assert.Throws<DamagedBlockException>(() => cache.Read(score, plain.Length, 8192, new byte[4096], isScattered: true));
        }

        Assert.InRange(cache.Bytes, 0, bytes);
        store.FailsWhole = false;
        Check(cache, score, plain, 8192, 4096);
    }

    [Fact]
    public void Noise_that_no_store_fetches_in_parts_is_not_kept_condensed()
    {
        var store = new PartsBlocks { HasParts = false };
        (Score score, byte[] plain) = store.Add(500_000, 0);
        (Score other, byte[] otherPlain) = store.Add(500_001, 0);
        var cache = new DataCache(store, MiB / 2);
        for (int i = 0; i < 4; i++)
        {
            Check(cache, score, plain, 8192, 4096);
            Check(cache, other, otherPlain, 8192, 4096);
        }

        Assert.Equal(8, store.WholeReads);
        Assert.InRange(cache.Bytes, 1, MiB / 2);
    }

    [Fact]
    public void Reading_a_part_of_a_condensed_block_allocates_nothing()
    {
        var store = new PartsBlocks();
        (Score score, byte[] plain) = store.Add(300_000, 300_000);
        (Score other, byte[] otherPlain) = store.Add(700_000, 0);
        var cache = new DataCache(store, MiB);
        Check(cache, score, plain, 5000, 4096);
        Check(cache, other, otherPlain, 5000, 4096);
        byte[] target = new byte[4096];
        cache.Read(score, plain.Length, 9096, target, isScattered: true);
        cache.Read(score, plain.Length, 509_096, target, isScattered: true);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            cache.Read(score, plain.Length, 9096 + (i * 2048), target, isScattered: true);
            cache.Read(score, plain.Length, 309_096 + (i * 2048), target, isScattered: true);
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2000);
    }

    [Fact]
    public async Task Many_threads_get_the_bytes_of_their_blocks_in_a_small_cache()
    {
        var store = new PartsBlocks();
        List<(Score Score, byte[] Plain)> file = [.. Enumerable.Range(0, 12).Select(i => store.Add(150_000 * (i % 3), 10_000 + (100_000 * (i % 4)) + i))];
        var cache = new DataCache(store, MiB);
        await Task.WhenAll(Enumerable.Range(0, 6).Select(seed => Task.Run(() =>
        {
            var random = new Random(seed);
            for (int i = 0; i < 1500; i++)
            {
                (Score score, byte[] plain) = file[random.Next(file.Count)];
                int count = random.Next(1, Math.Min(plain.Length, random.Next(4) == 0 ? 100_000 : 5000));
                Check(cache, score, plain, random.Next(0, plain.Length - count + 1), count, isScattered: random.Next(5) > 0);
            }
        })));
        Assert.InRange(cache.Bytes, 1, MiB);
    }

    private static void CheckSequential(DataCache cache, Score score, byte[] plain) => Check(cache, score, plain, 0, plain.Length, isScattered: false);

    private static void Check(DataCache cache, Score score, byte[] plain, int at, int count, bool isScattered = true)
    {
        byte[] target = new byte[count];
        cache.Read(score, plain.Length, at, target, isScattered);
        Assert.True(plain.AsSpan(at, count).SequenceEqual(target), $"{count} bytes at {at} of {plain.Length}");
    }

    /// <summary>Blocks whose noise, at their beginning, can be fetched in parts, damaged as a test wants it.</summary>
    private sealed class PartsBlocks : IBlockStore
    {
        private readonly MemoryBlocks _blocks = new(DomainId.New(new SeededRandom(1)));
        private readonly Dictionary<Score, int> _noise = [];
        private int _wholeReads;

        internal int WholeReads => Volatile.Read(ref _wholeReads);

        internal bool HasParts { get; init; } = true;

        internal int DamagedByte { get; set; } = -1;

        internal bool IsGone { get; set; }

        internal bool FailsWhole { get; set; }

        public int Survive => 0;

        public int Weakest => 0;

        internal (Score Score, byte[] Plain) Add(int noise, int text)
        {
            byte[] plain = new byte[noise + text];
            new Random(noise + text).NextBytes(plain.AsSpan(0, noise));
            for (int at = noise; at < plain.Length; at++)
            {
                plain[at] = (byte)(at % 9);
            }

            Score score = _blocks.WriteAsync(BlockType.Data, plain, CancellationToken.None).AsTask().GetAwaiter().GetResult().Score;
            _noise[score] = noise;
            return (score, plain);
        }

        public IBlockStore At(int survive) => this;

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => _blocks.ScoreOf(type, plain);

        public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => _blocks.WriteAsync(type, plain, cancel);

        public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
        {
            _ = Interlocked.Increment(ref _wholeReads);
            return FailsWhole ? throw new DamagedBlockException("as the test wants it") : _blocks.ReadAsync(score, type, target, cancel);
        }

        public async ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadWithPartsAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
        {
            BlockRead read = await ReadAsync(score, type, target, cancel);
            return (read, HasParts ? new Parts(this, target[..read.Bytes].ToArray(), _noise[score]) : null);
        }

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => _blocks.ContainsAsync(score, type, cancel);

        public ValueTask FlushAsync(CancellationToken cancel) => ValueTask.CompletedTask;

        private sealed class Parts(PartsBlocks owner, byte[] plain, int noise) : IBlockParts
        {
            public bool Has(int offset, out int end)
            {
                end = offset < noise ? noise : int.MaxValue;
                return offset < noise;
            }

            public ValueTask<bool> TryFetchAsync(int offset, Memory<byte> target, CancellationToken cancel)
            {
                plain.AsMemory(offset, target.Length).CopyTo(target);
                if (owner.DamagedByte >= offset && owner.DamagedByte < offset + target.Length)
                {
                    target.Span[owner.DamagedByte - offset] ^= 1;
                }

                return ValueTask.FromResult(!owner.IsGone);
            }
        }
    }
}
