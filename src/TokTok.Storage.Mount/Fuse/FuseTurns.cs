namespace TokTok.Storage.Mount.Fuse;

/// <summary>Lets one worker at a time wait at the device, and sees to it that there always is one.</summary>
/// <remarks>
/// The kernel wakes one of those that wait, and presumably not the one that waited last: eight threads in turn, each cold, on whichever processor it ran before, as it seems. One thread that goes on by itself takes less processor time (measured; bench/results/2026-11-21-mounts-profile.md).
/// So a worker keeps its turn over requests that are answered from memory. It passes the turn on before it answers what may wait for a disk (<see cref="Pass"/>), or where more requests wait already; and a watcher passes
/// it on for a worker that has been at one request for longer than a tick (between one and two milliseconds): what a request may have to wait for is not always known ahead, and may be another request.
/// The watcher sleeps while nothing is asked. Nothing depends on there being one worker only: for moments there may be two.
/// Locks: the object itself guards the fields below. Monitor's waiting, since it does not spin first as that of other locks does.
/// </remarks>
/// <param name="ticksToSleep">So long the watcher looks where nothing happens.</param>
internal sealed class FuseTurns(int ticksToSleep = 100)
{
    private const int TickMilliseconds = 1;
    private const int SyncsToPass = 64;

    private readonly object _gate = new();
    private readonly object _watch = new();
    private FuseTurn? _holder;
    private int _syncsToPass;
    private int _isWatching; // written under _watch
    private bool _isOver; // guarded by _watch

    /// <summary>Watches until <see cref="End"/>.</summary>
    internal void Start() => new Thread(Watch) { IsBackground = true, Name = "fuse turns" }.Start();

    internal void End()
    {
        lock (_watch)
        {
            _isOver = true;
            Monitor.Pulse(_watch);
        }
    }

    /// <summary>Returns when it is this worker's turn.</summary>
    internal void Take(FuseTurn turn)
    {
        if (Has(turn))
        {
            return;
        }

        lock (_gate)
        {
            while (_holder is not null)
            {
                _ = Monitor.Wait(_gate);
            }

            _holder = turn;
        }
    }

    /// <summary>Gives the turn to another, where this worker has it.</summary>
    internal void Pass(FuseTurn turn)
    {
        lock (_gate)
        {
            if (_holder == turn)
            {
                _holder = null;
                Monitor.Pulse(_gate);
            }
        }
    }

    internal bool Has(FuseTurn turn) => Volatile.Read(ref _holder) == turn;

    /// <summary>Whether the turn is passed on before a sync: where somebody else asked for something during one of the last, which would have had to wait, or where it took longer than a tick.</summary>
    /// <remarks>Who alone works and syncs has it answered by the thread that took it, without another being woken for nothing.</remarks>
    internal bool PassesForSync()
    {
        int left = Volatile.Read(ref _syncsToPass);
        Volatile.Write(ref _syncsToPass, Math.Max(0, left - 1)); // two at once count as one: no matter
        return left > 0;
    }

    internal void OthersWaitedForSync() => Volatile.Write(ref _syncsToPass, SyncsToPass);

    /// <summary>A request is being answered from now on.</summary>
    internal void Begin(FuseTurn turn)
    {
        _ = Interlocked.Increment(ref turn.Serial);
        if (Volatile.Read(ref _isWatching) == 0)
        {
            lock (_watch)
            {
                Monitor.Pulse(_watch);
            }
        }
    }

    internal static void Done(FuseTurn turn) => Volatile.Write(ref turn.Serial, turn.Serial + 1);

    /// <summary>One look of the watcher: passes on the turn of a worker that was at the same request before.</summary>
    /// <param name="last">Who had the turn at the last look, and what it did.</param>
    /// <returns>Whether anything was done since.</returns>
    internal bool Look(ref (FuseTurn? Holder, long Serial) last)
    {
        lock (_gate)
        {
            long serial = _holder is null ? 0 : Volatile.Read(ref _holder.Serial);
            bool isSame = last.Holder == _holder && last.Serial == serial;
            last = (_holder, serial);
            if (isSame && _holder is not null && FuseTurn.IsAnswering(serial))
            {
                _holder = null;
                Monitor.Pulse(_gate);
                return true;
            }

            return !isSame;
        }
    }

    private void Watch()
    {
        (FuseTurn? Holder, long Serial) last = default;
        int quiet = 0;
        lock (_watch)
        {
            _isWatching = 1;
            while (!_isOver)
            {
                if (quiet < ticksToSleep)
                {
                    _ = Monitor.Wait(_watch, TickMilliseconds);
                    quiet = Look(ref last) ? 0 : quiet + 1;
                    continue;
                }

                // Who begins a request after this sees that nobody watches; who began one before is seen.
                _ = Interlocked.Exchange(ref _isWatching, 0);
                if (!Look(ref last))
                {
                    _ = Monitor.Wait(_watch);
                }

                _ = Interlocked.Exchange(ref _isWatching, 1);
                quiet = 0;
            }
        }
    }
}

/// <summary>What a worker does, for those who watch it.</summary>
internal sealed class FuseTurn
{
    /// <summary>Odd while a request is answered. Written by the worker alone.</summary>
    internal long Serial;

    internal static bool IsAnswering(long serial) => (serial & 1) != 0;
}
