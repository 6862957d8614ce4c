using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class PreviousContentTests
{
    private const int PageBytes = 4096;
    private static readonly ContentOptions s_options = new() { MeanChunkBytes = 128 * 1024 };

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public async Task Overwritten_pages_are_stored_alone_and_an_equal_file_stores_nothing(int hands)
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_options, new SpareHands(hands));
        var random = new Random(1);
        byte[] bytes = new byte[6 << 20];
        random.NextBytes(bytes);
        FileContent first = (await writer.WriteAsync(new Bytes(bytes), CuttingRule.ContentDefined, default)).Content;

        int[] pages = [.. Enumerable.Range(0, bytes.Length / PageBytes).OrderBy(_ => random.Next()).Take(12)];
        foreach (int page in pages)
        {
            random.NextBytes(bytes.AsSpan(page * PageBytes, PageBytes));
        }

        WrittenContent second = await WriteAsync(writer, store, bytes, first);
        Assert.InRange(second.NewBytes, pages.Length * PageBytes, pages.Length * PageBytes);
        Assert.Equal(bytes, await ReadAllAsync(store, second.Content));

        WrittenContent third = await WriteAsync(writer, store, bytes, second.Content);
        Assert.Equal(0, third.NewBytes);
        Assert.Equal(Encode(second.Content), Encode(third.Content));
    }

    [Fact]
    public async Task What_was_appended_is_stored_alone()
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_options);
        byte[] log = new SeededRandom(3).Bytes(150_000);
        FileContent content = (await writer.WriteAsync(new Bytes(log), CuttingRule.ContentDefined, default)).Content;
        for (int day = 0; day < 5; day++)
        {
            log = [.. log, .. new SeededRandom(day).Bytes(700)];
            WrittenContent written = await WriteAsync(writer, store, log, content);
            Assert.Equal(700, written.NewBytes);
            content = written.Content;
        }

        Assert.Equal(log, await ReadAllAsync(store, content));
    }

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 8)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task A_file_that_is_changed_again_and_again_reads_back_and_neither_falls_to_pieces_nor_keeps_much_that_nothing_shows(int seed)
    {
        var store = new MemoryVolumeStore();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_options, new SpareHands(seed % 2));
        var random = new Random(seed);
        byte[] bytes = new byte[1_500_000];
        random.NextBytes(bytes);
        FileContent? content = null;
        for (int generation = 0; generation < 40; generation++)
        {
            bytes = Change(bytes, random);
            content = (await writer.WriteAsync(new Bytes(bytes), CuttingRule.ContentDefined, store.Blocks.Survive, default, content)).Content;
            Assert.Equal(bytes, await ReadAllAsync(store, content));
            using var reader = new FileContentReader(store.Blocks, content);
            var named = new Dictionary<Score, int>();
            int pieces = 0;
            await foreach (Extent extent in reader.ExtentsAsync())
            {
                named[extent.Score] = extent.BlockBytes;
                pieces++;
            }

            Assert.InRange(named.Values.Sum(), 0, 2L * bytes.Length);
            Assert.InRange(pieces, 1, PreviousContent.MaxPieces * ((bytes.Length / s_options.Bounds.MinBytes) + 1));
        }
    }

    [Fact]
    public async Task Nothing_leans_on_a_block_that_is_damaged_gone_or_weaker_than_wanted()
    {
        foreach (string trouble in (string[])["damaged", "gone", "weaker"])
        {
            var store = new MemoryVolumeStore();
            using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm), s_options, new SpareHands(0));
            byte[] bytes = new SeededRandom(7).Bytes(36_000); // one chunk
            FileContent first = (await writer.WriteAsync(new Bytes(bytes), CuttingRule.ContentDefined, default)).Content;
            Score old = Assert.Single(await ExtentsAsync(store, first)).Score;
            bytes[20_000] ^= 1;
            if (trouble == "damaged")
            {
                store.Blocks.Damage(old);
            }
            else if (trouble == "gone")
            {
                Assert.True(store.Blocks.Drop(old, BlockType.Data));
            }

            int survive = trouble == "weaker" ? store.Blocks.Survive + 1 : store.Blocks.Survive;
            WrittenContent written = await writer.WriteAsync(new Bytes(bytes), CuttingRule.ContentDefined, survive, default, first);
            Assert.Equal(bytes.Length, written.NewBytes);
            Assert.DoesNotContain(old, (await ExtentsAsync(store, written.Content)).Select(static extent => extent.Score));
            Assert.Equal(bytes, await ReadAllAsync(store, written.Content));
        }
    }

    private static byte[] Change(byte[] bytes, Random random)
    {
        byte[] changed = [.. bytes];
        switch (random.Next(6))
        {
            case 0: // append
                return [.. changed, .. Noise(random, random.Next(1, 20_000))];
            case 1: // cut off
                return changed[..Math.Max(100_000, changed.Length - random.Next(30_000))];
            case 2: // insert
                int at = random.Next(changed.Length);
                return [.. changed[..at], .. Noise(random, random.Next(1, 3000)), .. changed[at..]];
            default:
                for (int i = random.Next(1, 20); i > 0; i--)
                {
                    int length = random.Next(1, 9000);
                    int start = random.Next(changed.Length - length);
                    random.NextBytes(changed.AsSpan(start, length));
                }

                return changed;
        }
    }

    private static byte[] Noise(Random random, int length)
    {
        byte[] bytes = new byte[length];
        random.NextBytes(bytes);
        return bytes;
    }

    private static ValueTask<WrittenContent> WriteAsync(FileContentWriter writer, MemoryVolumeStore store, byte[] bytes, FileContent before) =>
        writer.WriteAsync(new Bytes(bytes), CuttingRule.ContentDefined, store.Blocks.Survive, default, before);

    private static byte[] Encode(FileContent content) => new Entry { Type = EntryType.File, FileId = 1, Content = content }.Encode();

    private static async Task<List<Extent>> ExtentsAsync(MemoryVolumeStore store, FileContent content)
    {
        using var reader = new FileContentReader(store.Blocks, content);
        var extents = new List<Extent>();
        await foreach (Extent extent in reader.ExtentsAsync())
        {
            extents.Add(extent);
        }

        return extents;
    }

    private static async Task<byte[]> ReadAllAsync(MemoryVolumeStore store, FileContent content)
    {
        using var reader = new FileContentReader(store.Blocks, content);
        byte[] bytes = new byte[content.Size + 1];
        return bytes[..await reader.ReadAsync(0, bytes, default)];
    }

    private sealed class Bytes(byte[] bytes) : IFileSource
    {
        public long Length => bytes.Length;

        public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
        {
            int read = (int)Math.Clamp(bytes.Length - offset, 0, target.Length);
            bytes.AsSpan((int)Math.Min(offset, bytes.Length), read).CopyTo(target.Span);
            return ValueTask.FromResult(read);
        }
    }
}
