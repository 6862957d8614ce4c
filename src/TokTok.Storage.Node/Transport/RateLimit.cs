namespace TokTok.Storage.Node.Transport;

/// <summary>Keeps a flow of bytes at or below a rate: whoever takes waits for as long as the bytes before take at that rate.</summary>
/// <remarks>A bucket that holds half a second's bytes. Rate 0 never waits. Safe from many threads. Locks: _gate guards _rate and _freeAt; nothing waits inside.</remarks>
public sealed class RateLimit(long bytesPerSecond, TimeProvider clock)
{
    private static readonly TimeSpan s_burst = TimeSpan.FromMilliseconds(500);

    private readonly Lock _gate = new();
    private readonly long _began = clock.GetTimestamp();
    private long _rate = bytesPerSecond;
    private TimeSpan _freeAt; // since _began: when all that was taken has flowed

    public void Set(long rate)
    {
        lock (_gate)
        {
            _rate = rate;
        }
    }

    public ValueTask TakeAsync(int bytes, CancellationToken cancel)
    {
        TimeSpan wait;
        lock (_gate)
        {
            if (_rate == 0)
            {
                return ValueTask.CompletedTask;
            }

            TimeSpan now = clock.GetElapsedTime(_began);
            _freeAt = (_freeAt > now - s_burst ? _freeAt : now - s_burst) + TimeSpan.FromSeconds((double)bytes / _rate);
            wait = _freeAt - now;
        }

        return wait > TimeSpan.Zero ? new ValueTask(Task.Delay(wait, clock, cancel)) : ValueTask.CompletedTask;
    }
}
