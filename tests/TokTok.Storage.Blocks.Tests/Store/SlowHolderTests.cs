using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Holders that answer late or never, and are not away: what they have is had elsewhere, in time.</summary>
public sealed class SlowHolderTests
{
    private static readonly TimeSpan s_time = TimeSpan.FromSeconds(3);

    private IFragmentHolder? _chosen;
    private int _held;
    private int _slowReads;
    private volatile bool _isHeldUp;
    private volatile bool _isSlow;

    [Theory(Timeout = 120_000)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Who_lets_a_reader_wait_is_passed_over_until_it_counts_as_slow_no_more(bool isCached)
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await SealedAsync(4);
        fixture.AreCached = isCached;
        fixture.Wrap = Hooked;
        await using BlockStore store = await fixture.OpenAsync(StoreAccess.Read);
        _isHeldUp = true;
        Task reading = Task.Run(() => StoreFixture.AssertAllAsync(store, written)); // a directory that is looked up blocks its thread
        await UntilAsync(() => Volatile.Read(ref _held) > 0);
        Assert.False(reading.IsCompleted);
        while (!reading.IsCompleted)
        {
            fixture.Clock.Advance(s_time);
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        await reading;
        Assert.True(_isSlow);
        Assert.Equal(0, _held);
        int before = _slowReads;
        await StoreFixture.AssertAllAsync(store, written); // nothing waits for a clock that stands still
        Assert.Equal(before, _slowReads);
        (_isHeldUp, _isSlow) = (false, false);
        await StoreFixture.AssertAllAsync(store, written);
        Assert.True(_slowReads > before);
        Assert.Empty(fixture.Notes);
    }

    [Fact(Timeout = 120_000)]
    public async Task Where_the_others_are_not_enough_a_slow_one_is_waited_for()
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await SealedAsync(3);
        fixture.HolderPaths.RemoveAt(2); // of 2 + 1
        fixture.Wrap = Hooked;
        await using BlockStore store = await fixture.OpenAsync(StoreAccess.Read);
        _isHeldUp = true;
        Task reading = Task.Run(() => StoreFixture.AssertAllAsync(store, written)); // a directory that is looked up blocks its thread
        await UntilAsync(() => Volatile.Read(ref _held) > 0);
        for (int i = 0; i < 50; i++)
        {
            fixture.Clock.Advance(s_time);
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        Assert.False(reading.IsCompleted);
        _isHeldUp = false;
        await reading;
    }

    private static async Task<(StoreFixture Fixture, List<(Score Score, byte[] Bytes)> Written)> SealedAsync(int holderCount)
    {
        var fixture = new StoreFixture(holderCount);
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 60);
        await store.SealAllAsync(CancellationToken.None);
        return (fixture, written);
    }

    /// <summary>The holder that is read first while the test says so is held up from then on, and counts as slow once a read of it was taken back. Who has data, and not parity, is chance.</summary>
    private IFragmentHolder Hooked(IFragmentHolder holder) => new PutHook(holder, static () => Task.CompletedTask)
    {
        Time = s_time,
        Slow = () => _isSlow && IsChosen(holder),
        BeforeRead = bytes =>
        {
            if (_isHeldUp)
            {
                _ = Interlocked.CompareExchange(ref _chosen, holder, null);
            }

            if (IsChosen(holder))
            {
                _ = Interlocked.Increment(ref _slowReads);
            }
        },
        HoldsUp = async cancel =>
        {
            if (!IsChosen(holder))
            {
                return;
            }

            _ = Interlocked.Increment(ref _held);
            try
            {
                while (_isHeldUp)
                {
                    await Task.Delay(1, cancel);
                }
            }
            catch (OperationCanceledException)
            {
                _isSlow = true;
                throw;
            }
            finally
            {
                _ = Interlocked.Decrement(ref _held);
            }
        },
    };

    private bool IsChosen(IFragmentHolder holder) => ReferenceEquals(Volatile.Read(ref _chosen), holder);

    private static async Task UntilAsync(Func<bool> isSo)
    {
        while (!isSo())
        {
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }
    }
}
