using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

public sealed class BlockPartsTests
{
    private const int ArenaBytes = 4 << 20;

    public static TheoryData<int, int> NoiseAndText { get; } = new()
    {
        { 1, 0 },
        { 65_528, 0 }, // one package, full
        { 65_529, 0 },
        { 300_000, 0 },
        { 1 << 20, 0 },
        { 300_000, 500_000 },
        { 400_001, 40_000 },
        { 0, 500_000 },
        { 20_000, 20_000 },
    };

    [Theory, MemberData(nameof(NoiseAndText))]
    public async Task Parts_are_the_bytes_of_the_block(int noise, int text)
    {
        var fixture = new StoreFixture(arenaBytes: ArenaBytes);
        byte[] plain = Block(noise, text);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockParts? parts = await PartsAsync(store, plain);
        if (text == 0)
        {
            Assert.NotNull(parts);
            Assert.True(parts.Has(0, out int all));
            Assert.Equal(noise, all);
        }

        int fetched = 0;
        for (int at = 0, end; parts is not null && at < plain.Length; at = end)
        {
            if (parts.Has(at, out end))
            {
                Assert.InRange(end, at + 1, plain.Length);
                foreach ((int from, int to) in ((int, int)[])[(at, end), (at, Math.Min(at + 1, end)), (Math.Max(at, end - 4097), end), (at + ((end - at) / 3), end - ((end - at) / 3)), (Math.Clamp(65_500, at, end), Math.Clamp(65_600, at, end))])
                {
                    byte[] part = new byte[to - from];
                    Assert.True(await parts.TryFetchAsync(from, part, CancellationToken.None));
                    Assert.True(plain.AsSpan(from, part.Length).SequenceEqual(part), $"{from} to {to}");
                }

                fetched += end - at;
            }
        }

        Assert.InRange(fetched, Math.Max(0, noise - 8192), plain.Length);
    }

    [Fact]
    public async Task Where_neither_text_nor_an_open_arena_lets_parts_lie_alone_there_are_none()
    {
        var fixture = new StoreFixture(arenaBytes: ArenaBytes);
        await using BlockStore store = await fixture.OpenAsync();
        Assert.Null(await PartsAsync(store, Block(0, 200_000)));
        byte[] open = Block(200_000, 0);
        IBlockStore blocks = store.OpenBlocks(store.Realm, 0);
        Score score = (await blocks.WriteAsync(BlockType.Data, open, CancellationToken.None)).Score;
        byte[] target = new byte[open.Length];
        (BlockRead read, IBlockParts? parts) = await blocks.ReadWithPartsAsync(score, BlockType.Data, target, CancellationToken.None);
        Assert.True(read.IsFound);
        Assert.Equal(open, target);
        Assert.Null(parts);
    }

    [Fact]
    public async Task Fetching_checks_nothing_and_a_block_that_was_mended_has_no_parts()
    {
        var fixture = new StoreFixture(arenaBytes: ArenaBytes);
        byte[] plain = Block(300_000, 0);
        await using BlockStore store = await fixture.OpenAsync();
        IBlockParts parts = (await PartsAsync(store, plain))!;
        string path = fixture.Disk.Files().Single(static path => path.StartsWith("holder0/fragments/", StringComparison.Ordinal));
        for (int at = 0; at < 300; at++)
        {
            fixture.Disk.Corrupt(path, 4096 + 100_000 + at, 0x40); // within one fragment
        }

        byte[] part = new byte[4096];
        Assert.True(await parts.TryFetchAsync(98_304, part, CancellationToken.None));
        Assert.False(plain.AsSpan(98_304, part.Length).SequenceEqual(part));
        Assert.False(await parts.TryFetchAsync(plain.Length - 10, part, CancellationToken.None));

        // The block itself is mended, and then says nothing of parts: they would be those of the damaged place.
        byte[] target = new byte[plain.Length];
        (BlockRead read, IBlockParts? again) = await store.OpenBlocks(store.Realm, 0)
            .ReadWithPartsAsync(store.OpenBlocks(store.Realm, 0).ScoreOf(BlockType.Data, plain), BlockType.Data, target, CancellationToken.None);
        Assert.True(read.IsFound);
        Assert.Equal(plain, target);
        Assert.Null(again);
    }

    private static byte[] Block(int noise, int text)
    {
        byte[] block = new byte[noise + text];
        new Random(noise + text).NextBytes(block.AsSpan(0, noise));
        for (int at = noise; at < block.Length; at++)
        {
            block[at] = (byte)"0a1b2c3d "[at % 9];
        }

        return block;
    }

    private static async Task<IBlockParts?> PartsAsync(BlockStore store, byte[] plain)
    {
        IBlockStore blocks = store.OpenBlocks(store.Realm, 0);
        Score score = (await blocks.WriteAsync(BlockType.Data, plain, CancellationToken.None)).Score;
        await store.SealAllAsync(CancellationToken.None);
        byte[] target = new byte[plain.Length];
        (BlockRead read, IBlockParts? parts) = await blocks.ReadWithPartsAsync(score, BlockType.Data, target, CancellationToken.None);
        Assert.True(read.IsFound);
        Assert.Equal(plain, target);
        return parts;
    }
}
