namespace TokTok.Storage.WebDav;

/// <summary>A write lock.</summary>
internal sealed record DavLock
{
    internal required string Token { get; init; }

    /// <summary>The resource that was locked (<see cref="DavResource.Key"/>).</summary>
    internal required string Key { get; init; }

    /// <summary>What the client called it.</summary>
    internal required string RootHref { get; init; }

    internal bool IsShared { get; init; }

    /// <summary>Depth infinity: everything below is locked with it.</summary>
    internal bool IsDeep { get; init; }

    /// <summary>What the client said of itself: an owner element as XML, or nothing.</summary>
    internal string Owner { get; init; } = "";

    internal TimeSpan Timeout { get; init; }

    internal DateTimeOffset Expires { get; init; }
}

/// <summary>The write locks of a volume's WebDAV clients.</summary>
/// <remarks>
/// Source: RFC 4918 6 and 7. A lock is on a path: what lies there may change, the lock stays until it is unlocked, expires, or its path is deleted or moved away.
/// They are kept in memory and end with the server, as 6.6 allows. They bind WebDAV alone: a mount does not know of them.
/// Invariant: at most <c>maxCount</c> locks, every one with a timeout of at most <see cref="MaxTimeout"/>; what has expired is gone before anything is asked.
/// Locks: _gate guards both tables.
/// </remarks>
internal sealed class DavLocks(TimeProvider clock, int maxCount)
{
    internal static readonly TimeSpan DefaultTimeout = TimeSpan.FromMinutes(10);

    /// <summary>Who wants it for longer refreshes it.</summary>
    internal static readonly TimeSpan MaxTimeout = TimeSpan.FromDays(1);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, DavLock> _byToken = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<DavLock>> _byKey = new(StringComparer.Ordinal);
    private DateTimeOffset _nextExpiry = DateTimeOffset.MaxValue;

    internal int Count
    {
        get
        {
            lock (_gate)
            {
                ExpireLocked();
                return _byToken.Count;
            }
        }
    }

    /// <summary>Takes a lock.</summary>
    /// <returns>Null, or a lock that stands in its way.</returns>
    internal DavLock? TryAdd(DavLock wanted)
    {
        lock (_gate)
        {
            ExpireLocked();
            foreach (DavLock present in CoveringLocked(wanted.Key))
            {
                if (!wanted.IsShared || !present.IsShared)
                {
                    return present;
                }
            }

            if (wanted.IsDeep && _byToken.Values.FirstOrDefault(present => IsBelow(present.Key, wanted.Key) && !(wanted.IsShared && present.IsShared)) is { } below)
            {
                return below;
            }

            if (_byToken.Count >= maxCount)
            {
                throw new DavException(503, $"There are {maxCount} locks already.");
            }

            _byToken.Add(wanted.Token, wanted);
            if (!_byKey.TryGetValue(wanted.Key, out List<DavLock>? here))
            {
                _byKey.Add(wanted.Key, here = []);
            }

            here.Add(wanted);
            _nextExpiry = wanted.Expires < _nextExpiry ? wanted.Expires : _nextExpiry;
            return null;
        }
    }

    /// <summary>Lets a lock that covers a resource last for longer; null where no such lock does.</summary>
    internal DavLock? TryRefresh(string token, string key, TimeSpan timeout)
    {
        lock (_gate)
        {
            ExpireLocked();
            if (!_byToken.TryGetValue(token, out DavLock? present) || !Covers(present, key))
            {
                return null;
            }

            DavLock refreshed = present with { Timeout = timeout, Expires = clock.GetUtcNow() + timeout };
            _byToken[token] = refreshed;
            List<DavLock> here = _byKey[present.Key];
            here[here.IndexOf(present)] = refreshed;
            _nextExpiry = refreshed.Expires < _nextExpiry ? refreshed.Expires : _nextExpiry;
            return refreshed;
        }
    }

    /// <summary>Takes a lock away that covers a resource; false where no such lock does.</summary>
    internal bool TryRemove(string token, string key)
    {
        lock (_gate)
        {
            ExpireLocked();
            if (!_byToken.TryGetValue(token, out DavLock? present) || !Covers(present, key))
            {
                return false;
            }

            RemoveLocked(present);
            return true;
        }
    }

    /// <summary>The locks of a path that is no more, and of everything below it, go.</summary>
    internal void RemoveTree(string key, bool keepsTop = false)
    {
        lock (_gate)
        {
            foreach (DavLock gone in _byToken.Values.Where(present => (!keepsTop && present.Key == key) || IsBelow(present.Key, key)).ToArray())
            {
                RemoveLocked(gone);
            }
        }
    }

    /// <summary>The locks that a resource has, itself or by a deep lock above it.</summary>
    internal IReadOnlyList<DavLock> Covering(string key)
    {
        lock (_gate)
        {
            ExpireLocked();
            return _byToken.Count == 0 ? [] : [.. CoveringLocked(key)];
        }
    }

    /// <summary>The locks on resources below one.</summary>
    internal IReadOnlyList<DavLock> Below(string key)
    {
        lock (_gate)
        {
            ExpireLocked();
            return _byToken.Count == 0 ? [] : [.. _byToken.Values.Where(present => IsBelow(present.Key, key))];
        }
    }

    private static bool IsBelow(string key, string above) => key.Length > above.Length && key[above.Length] == '/' && key.StartsWith(above, StringComparison.Ordinal);

    private static bool Covers(DavLock present, string key) => present.Key == key || (present.IsDeep && IsBelow(key, present.Key));

    private IEnumerable<DavLock> CoveringLocked(string key)
    {
        for (int end = key.Length; ; end = key.LastIndexOf('/', end - 1))
        {
            if (_byKey.TryGetValue(key[..end], out List<DavLock>? here))
            {
                foreach (DavLock present in here)
                {
                    if (end == key.Length || present.IsDeep)
                    {
                        yield return present;
                    }
                }
            }

            if (end == 0)
            {
                yield break;
            }
        }
    }

    private void ExpireLocked()
    {
        DateTimeOffset now = clock.GetUtcNow();
        if (now < _nextExpiry)
        {
            return;
        }

        foreach (DavLock over in _byToken.Values.Where(present => present.Expires <= now).ToArray())
        {
            RemoveLocked(over);
        }

        _nextExpiry = _byToken.Values.Select(static present => present.Expires).DefaultIfEmpty(DateTimeOffset.MaxValue).Min();
    }

    private void RemoveLocked(DavLock gone)
    {
        _byToken.Remove(gone.Token);
        List<DavLock> here = _byKey[gone.Key];
        here.Remove(gone);
        if (here.Count == 0)
        {
            _byKey.Remove(gone.Key);
        }
    }
}
