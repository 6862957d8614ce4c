using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>Keeps what is not safe elsewhere from growing older than its owner allows: it is pushed in time, and where that does not help, writers wait.</summary>
/// <remarks>
/// At half of the bound what is open is brought to its places (<see cref="BlockStore.ReplicateAsync"/>), again and again. Beyond the bound a writer waits for <see cref="Patience"/> at most, and is
/// then refused with one line; nothing accepted is lost, what is synced stays durable here, and commits of what was accepted go on. Placing arenas' fragments is repair's: a node's own, or the verb.
/// Looks at the store at most once a second, so that it may be asked at every block. Safe from many threads: _turn, one at a time looks, pushes and waits.
/// </remarks>
/// <param name="within">Zero: no bound, and nothing is looked at.</param>
public sealed class ReplicationBound(BlockStore store, TimeSpan within, TimeProvider clock, Action<string> say) : IDisposable
{
    /// <summary>A shorter bound would be met by an import that is being written.</summary>
    public static readonly TimeSpan Least = TimeSpan.FromMinutes(10);

    /// <summary>How long a writer waits before it is refused.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_push = TimeSpan.FromSeconds(10);

    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Lock _gate = new(); // guards the four below
    private long? _lookedAt;
    private ReplicationLag _lag;
    private bool _isTold;
    private long? _refusedAt;
    private long? _pushedAt; // guarded by _turn

    public bool IsSet => within > TimeSpan.Zero;

    /// <summary>Whether something is older than the bound.</summary>
    public bool IsLate => IsSet && Look().Age(clock) > within;

    public void Dispose() => _turn.Dispose();

    /// <summary>Pushes what waits if it is time to. A node calls it again and again.</summary>
    public async ValueTask PushAsync(CancellationToken cancel)
    {
        if (IsSet && Look().Age(clock) >= within / 2)
        {
            await _turn.WaitAsync(cancel).ConfigureAwait(false);
            try
            {
                await PushInTurnAsync(cancel).ConfigureAwait(false);
            }
            finally
            {
                _turn.Release();
            }
        }
    }

    /// <summary>Called before something new is written.</summary>
    /// <exception cref="StoreException">It is still late after <see cref="Patience"/>.</exception>
    public async ValueTask PaceAsync(CancellationToken cancel)
    {
        if (!IsSet || Look().Age(clock) < within / 2)
        {
            return;
        }

        await _turn.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await PushInTurnAsync(cancel).ConfigureAwait(false);
            long began = clock.GetTimestamp();
            while (IsLate)
            {
                if (clock.GetElapsedTime(began) >= Patience || WasJustRefused())
                {
                    throw Refused();
                }

                await Task.Delay(s_look, clock, cancel).ConfigureAwait(false);
                await PushInTurnAsync(cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>"12 MiB, the oldest for 3 hours".</summary>
    public static string Text(ReplicationLag lag, TimeProvider clock) => $"{HolderRoom.Size(lag.Bytes)}, the oldest for {Text(lag.Age(clock))}";

    private async ValueTask PushInTurnAsync(CancellationToken cancel)
    {
        if (Look().Age(clock) >= within / 2 && (_pushedAt is not long at || clock.GetElapsedTime(at) >= s_push))
        {
            await store.ReplicateAsync(cancel).ConfigureAwait(false);
            _pushedAt = clock.GetTimestamp();
            _ = Look(isNew: true);
        }
    }

    /// <summary>How it stands, looked at within the last second; and one line when it becomes late, and when it no longer is.</summary>
    private ReplicationLag Look(bool isNew = false)
    {
        lock (_gate)
        {
            if (!isNew && _lookedAt is long at && clock.GetElapsedTime(at) < s_look)
            {
                return _lag;
            }

            _lag = store.Unreplicated();
            _lookedAt = clock.GetTimestamp();
            bool isLate = _lag.Age(clock) > within;
            if (isLate != _isTold)
            {
                _isTold = isLate;
                say(isLate
                    ? $"{Text(_lag, clock)}, is not yet at the places that were promised, and replicate-within is {Text(within)}: writers wait until it is"
                    : "what was written is at the places that were promised again, as replicate-within asks; writers go on");
            }

            return _lag;
        }
    }

    private bool WasJustRefused()
    {
        lock (_gate)
        {
            return _refusedAt is long at && clock.GetElapsedTime(at) < s_push;
        }
    }

    private StoreException Refused()
    {
        lock (_gate)
        {
            _refusedAt = clock.GetTimestamp();
            return new StoreException(
                StoreProblem.HoldersMissing,
                $"{Text(_lag, clock)}, is not yet at the places that were promised, and replicate-within is {Text(within)}: nothing more is taken in until it is; bring back the holders that `tdfs status` misses and run `tdfs repair`, or allow more in storage.toml");
        }
    }

    private static string Text(TimeSpan time) => time switch
    {
        { TotalMinutes: < 120 } => $"{(long)time.TotalMinutes} minutes",
        { TotalHours: < 48 } => $"{(long)time.TotalHours} hours",
        _ => $"{(long)time.TotalDays} days",
    };
}
