using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Trash is emptied by days that the store ran, so no clock may make days of its own.</summary>
public sealed class RunningDaysTests
{
    private static readonly DateTimeOffset s_epoch = new(1970, 1, 1, 0, 5, 0, TimeSpan.Zero);
    private static readonly DateTimeOffset s_today = new(2026, 3, 1, 8, 0, 0, TimeSpan.Zero);

    private readonly StoreFixture _fixture = new();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_clock_that_starts_in_1970_and_is_set_right_later_counts_one_day_a_day(bool endsInOrder)
    {
        uint days = await OpenAtAsync(s_epoch, endsInOrder);
        for (int day = 0; day < Catalog.MaxDateCount - 1; day++)
        {
            for (int boot = 0; boot < 2; boot++)
            {
                Assert.Equal(days + (uint)(day + boot), await OpenAtAsync(s_epoch, endsInOrder));
                Assert.Equal(days + (uint)day + 1, await OpenAtAsync(s_today.AddDays(day), endsInOrder));
            }
        }
    }

    [Fact]
    public async Task A_clock_that_was_once_far_in_the_future_goes_on_counting()
    {
        uint days = await OpenAtAsync(s_today, endsInOrder: true);
        Assert.Equal(days + 1, await OpenAtAsync(s_today.AddYears(70), endsInOrder: true));
        Assert.Equal(days + 1, await OpenAtAsync(s_today, endsInOrder: true));
        Assert.Equal(days + 2, await OpenAtAsync(s_today.AddDays(1), endsInOrder: true));
        Assert.Equal(days + 3, await OpenAtAsync(s_today.AddDays(2), endsInOrder: true));
    }

    /// <summary>Opens for writing at an hour; a process that is killed makes the next one begin a catalog with a checkpoint.</summary>
    private async Task<uint> OpenAtAsync(DateTimeOffset now, bool endsInOrder)
    {
        _fixture.Clock.JumpTo(now);
        BlockStore store = await _fixture.OpenAsync();
        uint days = store.Catalog.RunningDays;
        if (endsInOrder)
        {
            await store.DisposeAsync();
        }

        _fixture.Disk.RestartProcess();
        return days;
    }
}
