using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Transport;

/// <summary>How many bytes may still be put through for an account today.</summary>
/// <remarks>Format: docs/protocol.md 3.9. Days of 24 hours from the first byte on; both directions count. In memory alone: a node that starts again begins a day. Locks: _gate guards all fields.</remarks>
internal sealed class RelayRoom(TimeProvider clock)
{
    private static readonly TimeSpan s_day = TimeSpan.FromDays(1);

    private readonly Lock _gate = new();
    private long _bytesADay;
    private long _used;
    private long _began;

    internal bool IsEmpty
    {
        get
        {
            lock (_gate)
            {
                return _bytesADay - UsedLocked() <= 0;
            }
        }
    }

    internal void Set(long bytesADay)
    {
        lock (_gate)
        {
            _bytesADay = bytesADay;
        }
    }

    /// <exception cref="RefusalException">There is not as much left.</exception>
    internal void Take(long bytes)
    {
        lock (_gate)
        {
            long used = UsedLocked();
            _began = used == 0 ? clock.GetTimestamp() : _began;
            if (bytes > _bytesADay - used)
            {
                _used = _bytesADay;
                throw UsedUp();
            }

            _used = used + bytes;
        }
    }

    internal static RefusalException UsedUp() => new(Protocol.Status.Full, "what it puts through for you in a day is used up");

    private long UsedLocked() => clock.GetElapsedTime(_began) < s_day ? _used : 0;
}
