using System.Collections.Concurrent;

namespace TokTok.Storage.WebDav;

/// <summary>Threads of our own for calls into a volume, which block.</summary>
/// <remarks>
/// The thread pool stays free for the network. What waits in the queue is bounded by the connections: each has one request at a time, and each request one call.
/// Writers take one of half as many turns first: a volume that makes them wait for room leaves threads for readers.
/// </remarks>
internal sealed class VolumeThreads : IDisposable
{
    private readonly BlockingCollection<Action> _queue = [];
    private readonly SemaphoreSlim _writers;
    private readonly Thread[] _threads;

    internal VolumeThreads(int count)
    {
        _writers = new SemaphoreSlim(Math.Max(1, count / 2));
        _threads = new Thread[count];
        for (int i = 0; i < count; i++)
        {
            _threads[i] = new Thread(Work) { IsBackground = true, Name = "webdav" };
            _threads[i].Start();
        }
    }

    internal Task<T> ReadAsync<T>(Func<T> call)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _queue.Add(() =>
        {
            try
            {
                done.SetResult(call());
            }
            catch (Exception failure)
            {
                done.SetException(failure);
            }
        });
        return done.Task;
    }

    internal async Task<T> WriteAsync<T>(Func<T> call)
    {
        await _writers.WaitAsync().ConfigureAwait(false);
        try
        {
            return await ReadAsync(call).ConfigureAwait(false);
        }
        finally
        {
            _writers.Release();
        }
    }

    internal Task WriteAsync(Action call) => WriteAsync(() =>
    {
        call();
        return true;
    });

    /// <summary>Ends the threads once the queue is empty. Nobody asks any more.</summary>
    public void Dispose()
    {
        _queue.CompleteAdding();
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _queue.Dispose();
        _writers.Dispose();
    }

    private void Work()
    {
        foreach (Action call in _queue.GetConsumingEnumerable())
        {
            call();
        }
    }
}
