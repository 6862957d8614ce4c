using System.Diagnostics;

namespace TokTok.Storage.Files.Tests;

public sealed class CommitPaceTests
{
    private static readonly TimeSpan s_aWhile = TimeSpan.FromMilliseconds(40);

    private bool _mustHurry;

    private CommitPace Pace => field ??= new CommitPace(() => _mustHurry);

    [Fact]
    public async Task A_commit_rests_while_somebody_works_and_goes_on_afterwards()
    {
        Pace.Begin(standsBack: true);
        for (int rests = 0; rests < 3; rests++)
        {
            Task step = StepUntilRest();
            Assert.Same(step, Pace.StepAsync()); // all its hands rest together
            await step.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public void It_does_not_rest_while_nobody_works()
    {
        Pace.Begin(standsBack: true);
        AssertNoRest(isUsed: false);
    }

    [Fact]
    public void It_does_not_rest_where_somebody_waits_for_it()
    {
        Pace.Begin(standsBack: true);
        Pace.Wait();
        AssertNoRest(isUsed: true);
        Pace.EndWait();
        _ = StepUntilRest();
    }

    [Fact]
    public void It_does_not_rest_where_memory_runs_low()
    {
        Pace.Begin(standsBack: true);
        _mustHurry = true;
        AssertNoRest(isUsed: true);
        _mustHurry = false;
        _ = StepUntilRest();
    }

    [Fact]
    public void A_commit_that_was_asked_for_never_rests()
    {
        Pace.Begin(standsBack: false);
        AssertNoRest(isUsed: true);
    }

    private Task StepUntilRest()
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            Pace.Used();
            Task step = Pace.StepAsync();
            if (!step.IsCompleted)
            {
                return step;
            }

            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30));
        }
    }

    private void AssertNoRest(bool isUsed)
    {
        for (var watch = Stopwatch.StartNew(); watch.Elapsed < s_aWhile;)
        {
            if (isUsed)
            {
                Pace.Used();
            }

            Assert.True(Pace.StepAsync().IsCompleted);
        }
    }
}
