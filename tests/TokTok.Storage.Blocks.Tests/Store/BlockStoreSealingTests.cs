using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Arenas that are sealed at the worst moment: during a flush, during the journal's renewal, during the opening.</summary>
/// <remarks>A block of the fixture comes to 10 KB, so 25 of them fill an arena of 256 KiB. Calls of the store complete at once until they wait for what a test holds up.</remarks>
public sealed class BlockStoreSealingTests
{
    private const int SmallArena = 256 * 1024;
    private const int LargeArena = 1024 * 1024;

    [Fact]
    public async Task A_flush_waits_for_arenas_that_writers_fill_while_it_runs()
    {
        var fixture = new StoreFixture();
        TaskCompletionSource[] mayPut = [new(), new(), new()];
        var isPutting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        int puts = 0;
        fixture.Wrap = holder => new PutHook(holder, () =>
        {
            int own = Interlocked.Increment(ref puts) - 1;
            isPutting.TrySetResult();
            return mayPut[own].Task;
        });
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 30);    // a full arena that its holder keeps waiting, and 5 blocks
        await isPutting.Task;                                                                       // it is this one that waits at [0]

        Task flush = store.FlushAsync(CancellationToken.None).AsTask();
        await StoreFixture.WriteAsync(store, 100, 25);                                              // fills the arena of the 5
        mayPut[0].SetResult();
        await flush;
        fixture.PowerCut(1);
        try
        {
            fixture.Wrap = null;
            await using BlockStore again = await fixture.OpenAsync();
            await StoreFixture.AssertAllAsync(again, written);
        }
        finally
        {
            mayPut[1].SetResult();
            mayPut[2].SetResult();
        }
    }

    [Fact]
    public async Task Intents_that_name_no_block_wait_for_none_and_those_that_do_for_all()
    {
        var fixture = new StoreFixture();
        var mayPut = new TaskCompletionSource();
        var isPutting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        fixture.Wrap = holder => new PutHook(holder, () =>
        {
            isPutting.TrySetResult();
            return mayPut.Task;
        });
        var volume = new VolumeId(new Bytes16(0, 7));
        BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 30);    // a full arena that its holder keeps waiting, and 5 blocks
        await isPutting.Task;
        await AppendAsync(1, namesBlocks: false);
        Task named = AppendAsync(2, namesBlocks: true);
        Assert.False(named.IsCompleted);
        mayPut.SetResult();
        await named;
        fixture.PowerCut(1);
        fixture.Wrap = null;
        await using BlockStore again = await fixture.OpenAsync();
        Assert.Equal([1uL, 2], again.Intents(volume).Select(static intent => intent.Sequence));
        await StoreFixture.AssertAllAsync(again, written);

        Task AppendAsync(ulong sequence, bool namesBlocks) =>
            store.AppendAsync([new Intent(volume, store.Device, store.Incarnation, sequence, 0, true, new byte[100])], namesBlocks, CancellationToken.None).AsTask();
    }

    public enum Moment
    {
        JournalSynced,
        NextJournalBegun,
    }

    [Theory]
    [InlineData(Moment.JournalSynced)]
    [InlineData(Moment.NextJournalBegun)]
    public async Task A_renewed_journal_keeps_what_is_being_sealed_when_the_seal_fails(Moment moment)
    {
        var fixture = new StoreFixture(sessionCount: 1);
        DomainId session = fixture.Keys.Domains[1].Id;
        var isPutting = new TaskCompletionSource();
        var mayFail = new TaskCompletionSource();
        bool isArmed = false;
        fixture.Wrap = holder => new PutHook(holder, async () =>
        {
            if (isArmed)
            {
                isPutting.TrySetResult();
                await mayFail.Task;
                throw new DiskException(DiskFailure.Full, "write", "fragments", "no space left on device");
            }
        });
        BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> acknowledged = await WriteAsync(store, session, 0, 10);
        await store.FlushAsync(CancellationToken.None);
        for (int i = 0; i < 2; i++)
        {
            // Journaled, then sealed: two arenas of dead bytes are more than a journal may carry along.
            await StoreFixture.WriteAsync(store, 1000 + (100 * i), 20);
            await store.FlushAsync(CancellationToken.None);
            await StoreFixture.WriteAsync(store, 1020 + (100 * i), 10);
        }

        fixture.Disk.OnOperation = operation =>
        {
            SimulatedOperationKind awaited = moment == Moment.JournalSynced ? SimulatedOperationKind.Sync : SimulatedOperationKind.Create;
            if (operation.Kind == awaited && operation.Path.StartsWith("state/journal/", StringComparison.Ordinal))
            {
                fixture.Disk.OnOperation = null;
                isArmed = true;                                                 // what was sealed before is durable
                WriteAsync(store, session, 200, 20).GetAwaiter().GetResult();   // the 10 and these fill an arena
                isPutting.Task.Wait();                                          // encrypted in place
                mayFail.SetResult();
            }

            return null;
        };
        try
        {
            await store.FlushAsync(CancellationToken.None);
        }
        catch (Exception failure) when (failure is DiskException or StoreException)
        {
            // the seal failed, and the store with it; what earlier flushes promised holds
        }

        Assert.True(isPutting.Task.IsCompleted, "the moment never came");
        await store.DisposeAsync();
        fixture.Disk.RestartProcess();
        fixture.Wrap = null;
        await using BlockStore again = await fixture.OpenAsync();
        await AssertAllAsync(again, session, acknowledged);
    }

    [Fact]
    public async Task A_flush_cancelled_while_it_waits_to_seal_a_piece_leaves_the_rest_in_the_open_arena()
    {
        var fixture = new StoreFixture(arenaBytes: LargeArena);
        fixture.Options = fixture.Options with { SealAtFlushBytes = SmallArena, SealingCount = 1 };
        var mayPut = new TaskCompletionSource();
        fixture.Wrap = holder => new PutHook(holder, () => mayPut.Task);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 150); // a full arena takes the one slot; 45 blocks and more are left

        using (var cancel = new CancellationTokenSource())
        {
            Task flush = store.FlushAsync(cancel.Token).AsTask();
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => flush);
        }

        mayPut.SetResult();
        await store.FlushAsync(CancellationToken.None);
        fixture.PowerCut(1);
        await using BlockStore again = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(again, written);
    }

    [Fact]
    public async Task A_journal_that_overfills_an_arena_at_the_opening_stays_until_that_arena_is_durable()
    {
        var fixture = new StoreFixture(arenaBytes: LargeArena);
        BlockStore killed = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(killed, 0, 30);
        await killed.FlushAsync(CancellationToken.None);
        fixture.Disk.RestartProcess();

        fixture.Options = fixture.Options with { ArenaBytes = SmallArena };
        fixture.Wrap = static holder => new PutHook(holder, static () => throw new DiskException(DiskFailure.Full, "write", "fragments", "no space left on device"));
        try
        {
            await using BlockStore failed = await fixture.OpenAsync();
        }
        catch (Exception failure) when (failure is DiskException or StoreException)
        {
            // no room for the arena
        }

        fixture.Disk.RestartProcess();
        fixture.Wrap = null;
        await using BlockStore again = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(again, written);
    }

    private static async Task<List<(Score Score, byte[] Bytes)>> WriteAsync(BlockStore store, DomainId domain, int first, int count)
    {
        IBlockStore blocks = store.OpenBlocks(domain, null);
        var written = new List<(Score Score, byte[] Bytes)>();
        for (int i = first; i < first + count; i++)
        {
            byte[] block = StoreFixture.Block(i, 20_000);
            written.Add(((await blocks.WriteAsync(BlockType.Data, block, CancellationToken.None)).Score, block));
        }

        return written;
    }

    private static async Task AssertAllAsync(BlockStore store, DomainId domain, IEnumerable<(Score Score, byte[] Bytes)> written)
    {
        IBlockStore blocks = store.OpenBlocks(domain, null);
        byte[] target = new byte[BlockLimits.MaxBlockBytes];
        foreach ((Score score, byte[] bytes) in written)
        {
            BlockRead read = await blocks.ReadAsync(score, BlockType.Data, target, CancellationToken.None);
            Assert.True(read.IsFound, $"block {score} is missing");
            Assert.True(bytes.AsSpan().SequenceEqual(target.AsSpan(0, read.Bytes)), $"block {score} came back different");
        }
    }
}
