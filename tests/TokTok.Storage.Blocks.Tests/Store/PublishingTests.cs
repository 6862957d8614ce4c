using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>What goes to holders beside fragments.</summary>
public sealed class PublishingTests
{
    [Fact]
    public async Task A_commit_and_somebody_elses_flush_never_write_a_holders_journal_at_the_same_time()
    {
        var fixture = new StoreFixture();
        var atCatalog = new TaskCompletionSource();
        var goesOn = new TaskCompletionSource(); // who waits for it goes on inside of SetResult, so that the order is the same at every run
        var atJournal = new TaskCompletionSource();
        var isWritten = new TaskCompletionSource();
        bool isArmed = false;
        int writing = 0;
        int most = 0;
        fixture.Wrap = inner => new PutHook(inner, static () => Task.CompletedTask)
        {
            BeforeAppend = async name =>
            {
                if (isArmed && name.StartsWith("catalog/", StringComparison.Ordinal))
                {
                    atCatalog.TrySetResult();
                    await goesOn.Task.ConfigureAwait(false);
                }
                else if (isArmed && name.StartsWith("journal/", StringComparison.Ordinal))
                {
                    most = Math.Max(most, Interlocked.Increment(ref writing));
                    atJournal.TrySetResult();
                    await isWritten.Task.ConfigureAwait(false);
                    Interlocked.Decrement(ref writing);
                }
            },
        };
        await using BlockStore store = await fixture.OpenAsync();
        var volume = new VolumeId(new Bytes16(0, 7));
        Head first = await StoreFixture.CommitAsync(store, volume, [], null);
        Head next = store.NextHead(volume, "test", store.Realm, [first]) with { Root = first.Root };
        isArmed = true;
        Task commit = store.CommitAsync(next, CancellationToken.None).AsTask(); // its blocks are durable already: it stands before the catalog's copy
        await atCatalog.Task;
        await StoreFixture.WriteAsync(store, 0, 2, 4000);
        Task flush = store.OpenBlocks(store.Realm, null).FlushAsync(CancellationToken.None).AsTask();
        await atJournal.Task;
        await Task.Run(goesOn.SetResult); // on a thread where what waited goes on at once
        isWritten.SetResult();
        await Task.WhenAll(commit, flush);
        Assert.Equal(1, most);
    }
}
