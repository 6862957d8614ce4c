using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Agent;

/// <summary>The unlock keys an agent holds, each until its time is over.</summary>
/// <remarks>
/// Time: a key is over by the monotonic or by the wall clock, whichever comes first, so a suspended machine wakes up locked.
/// Locks: _gate guards _held; nothing else is locked inside. Keys are zeroed when dropped.
/// </remarks>
internal sealed class AgentKeys(TimeProvider clock) : IDisposable
{
    internal const int MaxCount = 64;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, HeldKey> _held = new(StringComparer.Ordinal);

    /// <summary>False when too many keyrings are held already.</summary>
    internal bool TryPut(ReadOnlySpan<byte> id, ReadOnlySpan<byte> key, TimeSpan time)
    {
        lock (_gate)
        {
            DropOldLocked();
            string name = Convert.ToHexString(id);
            if (_held.Remove(name, out HeldKey? replaced))
            {
                replaced.Key.Dispose();
            }

            if (_held.Count >= MaxCount)
            {
                return false;
            }

            _held.Add(name, new HeldKey(SecretBuffer.Copy(key), clock.GetTimestamp(), clock.GetUtcNow(), time));
            return true;
        }
    }

    internal bool TryGet(ReadOnlySpan<byte> id, Span<byte> key, out TimeSpan left)
    {
        lock (_gate)
        {
            DropOldLocked();
            left = default;
            if (!_held.TryGetValue(Convert.ToHexString(id), out HeldKey? held))
            {
                return false;
            }

            held.Key.Bytes.CopyTo(key);
            left = LeftLocked(held);
            return true;
        }
    }

    /// <summary>Drops one keyring's key, or all for an id of zeros. True when one was held.</summary>
    internal bool Drop(ReadOnlySpan<byte> id)
    {
        lock (_gate)
        {
            DropOldLocked();
            if (AgentMessage.IsZero(id))
            {
                return DropLocked(_ => true) > 0;
            }

            string name = Convert.ToHexString(id);
            return DropLocked(n => n == name) > 0;
        }
    }

    /// <summary>Keyrings held, and the time the longest has left.</summary>
    internal (int Count, TimeSpan Left) Status()
    {
        lock (_gate)
        {
            DropOldLocked();
            return (_held.Count, _held.Values.Select(LeftLocked).DefaultIfEmpty().Max());
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            DropLocked(_ => true);
        }
    }

    private void DropOldLocked() => DropLocked(name => LeftLocked(_held[name]) <= TimeSpan.Zero);

    private int DropLocked(Predicate<string> isDropped)
    {
        string[] names = [.. _held.Keys.Where(name => isDropped(name))];
        foreach (string name in names)
        {
            _held.Remove(name, out HeldKey? held);
            held!.Key.Dispose();
        }

        return names.Length;
    }

    private TimeSpan LeftLocked(HeldKey held)
    {
        TimeSpan byMonotonic = held.Time - clock.GetElapsedTime(held.Timestamp);
        TimeSpan byWall = held.Time - (clock.GetUtcNow() - held.WallTime);
        return byMonotonic < byWall ? byMonotonic : byWall;
    }

    private sealed record HeldKey(SecretBuffer Key, long Timestamp, DateTimeOffset WallTime, TimeSpan Time);
}
