using TokTok.Storage.Mount.Fuse;

namespace TokTok.Storage.Mount.Tests.Fuse;

public sealed class FuseTurnsTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task One_has_the_turn_and_the_next_gets_it_when_it_is_passed_on()
    {
        var turns = new FuseTurns();
        FuseTurn first = new(), second = new();
        turns.Take(first);
        turns.Take(first); // it has it
        int order = 0;
        var taking = Task.Run(() =>
        {
            turns.Take(second);
            return Interlocked.Increment(ref order);
        });
        turns.Pass(second); // not its to give
        Assert.Equal(1, Interlocked.Increment(ref order));
        turns.Pass(first);
        Assert.Equal(2, await taking.WaitAsync(s_patience));
        turns.Pass(second);
        turns.Take(first);
    }

    [Fact]
    public void A_worker_that_stays_at_one_request_loses_its_turn_at_the_second_look()
    {
        var turns = new FuseTurns();
        FuseTurn worker = new(), other = new();
        turns.Take(worker);
        (FuseTurn?, long) last = default;
        Assert.True(turns.Look(ref last));
        for (int request = 0; request < 5; request++)
        {
            turns.Begin(worker);
            Assert.True(turns.Look(ref last)); // another request than at the last look
            FuseTurns.Done(worker);
        }

        Assert.True(turns.Look(ref last));
        Assert.False(turns.Look(ref last)); // it waits at the device, as it should
        Assert.False(turns.Look(ref last));
        turns.Begin(worker);
        Assert.True(turns.Look(ref last));
        Assert.True(turns.Look(ref last));
        turns.Take(other);
        FuseTurns.Done(worker);
        turns.Pass(worker); // it has none any more
        last = default;
        Assert.True(turns.Look(ref last));
        Assert.Same(other, last.Item1);
    }

    [Fact]
    public void A_sync_is_answered_by_who_took_it_until_somebody_had_to_wait_for_one()
    {
        var turns = new FuseTurns();
        Assert.False(turns.PassesForSync());
        for (int i = 0; i < 2; i++)
        {
            turns.OthersWaitedForSync();
            int passed = 0;
            while (turns.PassesForSync())
            {
                Assert.InRange(++passed, 1, 1000);
            }

            Assert.InRange(passed, 10, 1000);
        }

        Assert.False(turns.PassesForSync());
    }

    [Theory]
    [InlineData(0)] // asleep whenever nothing happens: who begins a request wakes it
    [InlineData(100)]
    public async Task The_watcher_gives_the_turn_of_whoever_is_stuck_to_the_next(int ticksToSleep)
    {
        var turns = new FuseTurns(ticksToSleep);
        turns.Start();
        try
        {
            for (int round = 0; round < 50; round++)
            {
                FuseTurn stuck = new(), next = new();
                turns.Take(stuck);
                turns.Begin(stuck);
                await Task.Run(() => turns.Take(next)).WaitAsync(s_patience);
                turns.Pass(next);
            }
        }
        finally
        {
            turns.End();
        }
    }
}
