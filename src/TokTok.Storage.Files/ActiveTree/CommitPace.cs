namespace TokTok.Storage.Files;

/// <summary>Has a commit that nobody waits for stand back while somebody works in the tree: it works a fifth of the time then, and all of the time once nobody does.</summary>
/// <remarks>
/// Why: a commit by the clock begins in a quiet moment, and what begins right after it would otherwise share processors and disk with it for seconds (measured: a quarter of the synced appends; bench/results/2026-11-22-mounts-3.md).
/// In the machine's own time, whatever clock the tree has: it is about the machine's processors. Safe from many threads; all hands of a commit rest together.
/// </remarks>
/// <param name="mustHurry">Asked before each rest.</param>
internal sealed class CommitPace(Func<bool> mustHurry)
{
    /// <summary>Somebody who was at work so long ago is taken to be.</summary>
    private const long BusyMilliseconds = 50;

    private const long WorkMilliseconds = 5;
    private const int RestMilliseconds = 4 * (int)WorkMilliseconds;

    private readonly Lock _gate = new();
    private long _usedAt = Environment.TickCount64 - BusyMilliseconds;
    private int _waiterCount;

    // Guarded by _gate.
    private bool _isAsked;
    private long _restedAt;
    private Task _rest = Task.CompletedTask;

    /// <summary>Somebody works in the tree.</summary>
    internal void Used() => Volatile.Write(ref _usedAt, Environment.TickCount64);

    /// <summary>Somebody waits for the commit from now on.</summary>
    internal void Wait() => Interlocked.Increment(ref _waiterCount);

    internal void EndWait() => Interlocked.Decrement(ref _waiterCount);

    /// <param name="standsBack">Whether it does so at all.</param>
    internal void Begin(bool standsBack)
    {
        lock (_gate)
        {
            _isAsked = standsBack;
            _restedAt = Environment.TickCount64;
        }
    }

    /// <summary>Before each piece of work of the commit, a block or so. Completed, but for times to rest.</summary>
    internal Task StepAsync()
    {
        lock (_gate)
        {
            long now = Environment.TickCount64;
            if (_isAsked && _rest.IsCompleted && now - _restedAt >= WorkMilliseconds)
            {
                bool isBusy = now - Volatile.Read(ref _usedAt) < BusyMilliseconds;
                _rest = isBusy && Volatile.Read(ref _waiterCount) == 0 && !mustHurry() ? RestAsync() : Task.CompletedTask;
            }

            return _rest;
        }
    }

    private async Task RestAsync()
    {
        await Task.Delay(RestMilliseconds).ConfigureAwait(false);
        lock (_gate)
        {
            _restedAt = Environment.TickCount64;
        }
    }
}
