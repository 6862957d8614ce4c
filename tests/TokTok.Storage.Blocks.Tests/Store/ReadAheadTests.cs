using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

public sealed class ReadAheadTests
{
    [Fact]
    public async Task Small_blocks_one_behind_the_other_are_read_many_at_a_time_and_one_alone_alone()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written = await SealedAsync(fixture, 80, 4000);
        long reads = 0;
        long bytes = 0;
        fixture.Wrap = holder => new PutHook(holder, static () => Task.CompletedTask)
        {
            BeforeRead = asked =>
            {
                _ = Interlocked.Increment(ref reads);
                _ = Interlocked.Add(ref bytes, asked);
            },
        };
        await using (BlockStore store = await fixture.OpenAsync(StoreAccess.Read))
        {
            await StoreFixture.AssertAllAsync(store, written.GetRange(0, 1)); // its arena's header and directory, too
            reads = bytes = 0;
            await StoreFixture.AssertAllAsync(store, written.GetRange(70, 1));
            await StoreFixture.AssertAllAsync(store, written.GetRange(20, 1));
            Assert.Equal(2, reads);
            Assert.InRange(bytes, 4000, 6000);
            reads = 0;
            await StoreFixture.AssertAllAsync(store, written);
            Assert.InRange(reads, 2, 20);
        }
    }

    [Fact]
    public async Task Blocks_in_any_order_from_many_threads_are_what_was_written()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written = [.. await SealedAsync(fixture, 120, 4000), .. await SealedAsync(fixture, 30, 90_000, first: 1000)];
        await using BlockStore store = await fixture.OpenAsync(StoreAccess.Read);
        await Task.WhenAll(Enumerable.Range(0, 6).Select(seed => Task.Run(async () =>
        {
            (Score Score, byte[] Bytes)[] order = [.. written];
            for (int from = 0, count; from < order.Length; from += count)
            {
                // Runs forwards, with jumps and turns between them.
                count = Math.Min(1 + ((seed * 7) + from) % 23, order.Length - from);
                int to = (seed * 31 + from * 17) % (order.Length - count + 1);
                await StoreFixture.AssertAllAsync(store, order.AsSpan(to, count).ToArray());
                await StoreFixture.AssertAllAsync(store, order.AsSpan(to, count).ToArray().Reverse());
            }
        })));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(37)]
    [InlineData(4096)]
    public async Task Damage_in_what_is_read_ahead_is_mended_for_its_block_and_costs_no_other(int every)
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written = await SealedAsync(fixture, 80, 4000);
        string path = fixture.Disk.Files().Single(static path => path.StartsWith("holder0/fragments/", StringComparison.Ordinal));
        int slice = 256 * 1024 / 16;
        for (int at = 0; at < slice; at += every)
        {
            fixture.Disk.Corrupt(path, 4096 + (2 * slice) + at, 0x40); // within one of 17 fragments
        }

        await using BlockStore store = await fixture.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(store, written);
        Assert.Contains("some of it is damaged", Assert.Single(fixture.Notes), StringComparison.Ordinal);
    }

    private static async Task<List<(Score Score, byte[] Bytes)>> SealedAsync(StoreFixture fixture, int count, int bytes, int first = 0)
    {
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, first, count, bytes);
        await store.SealAllAsync(CancellationToken.None);
        return written;
    }
}
