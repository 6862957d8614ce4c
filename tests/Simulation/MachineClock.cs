using TokTok.Storage.Testing;

namespace TokTok.Storage.Simulation;

/// <summary>The clock of one machine: time passes for all alike, what o'clock it is each says for itself.</summary>
/// <remarks>
/// Whoever waits (<see cref="Task.Delay(TimeSpan, TimeProvider)"/>) is answered at once, and the world's time has moved on by as much: so nothing in a simulation is ever left unfinished, one thread does everything, and
/// the same seed gives the same run. Every other timer fires when the world's time reaches it.
/// </remarks>
internal sealed class MachineClock(ManualClock world) : TimeProvider
{
    /// <summary>By how much it is wrong.</summary>
    internal TimeSpan Offset { get; set; }

    public override long TimestampFrequency => world.TimestampFrequency;

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    public override DateTimeOffset GetUtcNow() => world.GetUtcNow() + Offset;

    public override long GetTimestamp() => world.GetTimestamp();

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        if (state is not Task || period != Timeout.InfiniteTimeSpan || dueTime < TimeSpan.Zero)
        {
            return world.CreateTimer(callback, state, dueTime, period);
        }

        world.Advance(dueTime);
        callback(state);
        return Over.Instance;
    }

    private sealed class Over : ITimer
    {
        internal static Over Instance { get; } = new();

        public bool Change(TimeSpan dueTime, TimeSpan period) => false;

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
