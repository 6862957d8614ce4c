namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Lets many in at a time, or one alone. Whoever waits to be alone keeps the next ones out.</summary>
/// <remarks>Locks: _gate guards the count; _turn is held by who is alone, or waits to be.</remarks>
internal sealed class SharedGate : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Lock _gate = new();
    private int _sharing;
    private TaskCompletionSource? _left;

    internal async ValueTask<IDisposable> ShareAsync(CancellationToken cancel)
    {
        await _turn.WaitAsync(cancel).ConfigureAwait(false);
        lock (_gate)
        {
            _sharing++;
        }

        _turn.Release();
        return new Leaving(Leave);
    }

    internal async ValueTask<IDisposable> EnterAloneAsync(CancellationToken cancel)
    {
        await _turn.WaitAsync(cancel).ConfigureAwait(false);
        Task waiting = Task.CompletedTask;
        lock (_gate)
        {
            if (_sharing > 0)
            {
                _left = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                waiting = _left.Task;
            }
        }

        try
        {
            await waiting.WaitAsync(cancel).ConfigureAwait(false);
        }
        catch
        {
            lock (_gate)
            {
                _left = null;
            }

            _turn.Release();
            throw;
        }

        return new Leaving(() => _turn.Release());
    }

    public void Dispose() => _turn.Dispose();

    private void Leave()
    {
        lock (_gate)
        {
            if (--_sharing == 0)
            {
                _left?.TrySetResult();
                _left = null;
            }
        }
    }

    private sealed class Leaving(Action leave) : IDisposable
    {
        private Action? _leave = leave;

        public void Dispose() => Interlocked.Exchange(ref _leave, null)?.Invoke();
    }
}
