using TokTok.Storage.Core;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>The free space that a node never gives away, whatever it has granted.</summary>
/// <remarks>Locks: _gate guards _underWay; taken after a <see cref="PeerRoom"/>'s; the question for free bytes is the one thing asked of the disk inside, by whom was let in only.</remarks>
public sealed class DiskFloor(Func<long> freeBytes, long floorBytes)
{
    private readonly Lock _gate = new();
    private long _underWay;

    public long FloorBytes => floorBytes;

    internal long Room
    {
        get
        {
            lock (_gate)
            {
                return Math.Max(0, freeBytes() - floorBytes - _underWay);
            }
        }
    }

    internal bool TryTake(long bytes)
    {
        lock (_gate)
        {
            if (freeBytes() - floorBytes - _underWay < bytes)
            {
                return false;
            }

            _underWay += bytes;
            return true;
        }
    }

    internal void GiveBack(long bytes)
    {
        lock (_gate)
        {
            _underWay -= bytes;
        }
    }
}

/// <summary>What an account may still keep here: fragments up to its quota, small objects besides.</summary>
/// <remarks>Room is taken before the first byte comes. Locks: _gate guards every count; no I/O inside but the floor's question.</remarks>
internal sealed class PeerRoom(DiskFloor floor)
{
    /// <summary>Objects have this much room and an eighth of the quota.</summary>
    private const long ObjectFloorBytes = 64L * 1024 * 1024;
    private const int ObjectPart = 8;

    private static readonly Comparer<ArenaId> s_byBytes = Comparer<ArenaId>.Create(Compare);

    private readonly Lock _gate = new();
    private readonly Dictionary<ArenaId, long> _arenas = [];
    private readonly Dictionary<string, long> _objects = [];
    private long _underWay;
    private long _fragmentBytes;
    private long _objectBytes;

    internal long FragmentBytes
    {
        get
        {
            lock (_gate)
            {
                return _fragmentBytes;
            }
        }
    }

    internal long ObjectBytes
    {
        get
        {
            lock (_gate)
            {
                return _objectBytes;
            }
        }
    }

    /// <summary>The next arenas behind one, in the order of their ids' bytes.</summary>
    internal IReadOnlyList<ArenaId> Behind(ArenaId after, int count)
    {
        lock (_gate)
        {
            return [.. _arenas.Keys.Where(id => Compare(id, after) > 0).Order(s_byBytes).Take(count)];
        }
    }

    internal bool Has(ArenaId id)
    {
        lock (_gate)
        {
            return _arenas.ContainsKey(id);
        }
    }

    internal long BytesOf(ArenaId id)
    {
        lock (_gate)
        {
            return _arenas.GetValueOrDefault(id);
        }
    }

    internal long LengthOf(string name)
    {
        lock (_gate)
        {
            return _objects.GetValueOrDefault(name);
        }
    }

    internal long RoomFor(long quotaBytes)
    {
        lock (_gate)
        {
            return Math.Max(0, Math.Min(quotaBytes - _fragmentBytes - _underWay, floor.Room));
        }
    }

    /// <summary>Takes room for fragments until the owner of the result is disposed of.</summary>
    /// <exception cref="RefusalException">Quota or floor would be passed.</exception>
    internal IDisposable Take(long bytes, long quotaBytes)
    {
        lock (_gate)
        {
            if (_fragmentBytes + _underWay + bytes > quotaBytes)
            {
                throw new RefusalException(Protocol.Status.Full, $"its quota here is {quotaBytes} bytes, {_fragmentBytes + _underWay} are taken, and {bytes} more were to come");
            }

            if (!floor.TryTake(bytes))
            {
                throw new RefusalException(Protocol.Status.Full, "its disk is as full as its owner lets it become");
            }

            _underWay += bytes;
            return new Taken(this, bytes);
        }
    }

    /// <exception cref="RefusalException">The account's objects, or the floor, leave no room for this length.</exception>
    internal void CheckObject(string name, long newLength, long quotaBytes)
    {
        lock (_gate)
        {
            long more = newLength - _objects.GetValueOrDefault(name);
            if (more > 0 && (_objectBytes + more > ObjectFloorBytes + (quotaBytes / ObjectPart) || (!_objects.ContainsKey(name) && _objects.Count >= Protocol.MaxObjects) || floor.Room < more))
            {
                throw new RefusalException(Protocol.Status.Full, $"{_objectBytes} bytes of small objects are kept already, or its disk is as full as its owner lets it become");
            }
        }
    }

    /// <summary>What lies there of an arena now; 0 bytes of one whose record is damaged.</summary>
    internal void SetArena(ArenaId id, long bytes)
    {
        lock (_gate)
        {
            _fragmentBytes += bytes - _arenas.GetValueOrDefault(id);
            _arenas[id] = bytes;
        }
    }

    internal void RemoveArena(ArenaId id)
    {
        lock (_gate)
        {
            _fragmentBytes -= _arenas.Remove(id, out long bytes) ? bytes : 0;
        }
    }

    internal void SetObject(string name, long length)
    {
        lock (_gate)
        {
            _objectBytes += length - _objects.GetValueOrDefault(name);
            _objects[name] = length;
        }
    }

    internal void RemoveObject(string name)
    {
        lock (_gate)
        {
            _objectBytes -= _objects.Remove(name, out long length) ? length : 0;
        }
    }

    /// <summary>As the bytes of the ids compare: <see cref="Bytes32"/> reads them big-endian.</summary>
    internal static int Compare(ArenaId one, ArenaId other)
    {
        (ulong First, ulong Second, ulong Third, ulong Fourth) Parts(Bytes32 of) => (of.First, of.Second, of.Third, of.Fourth);
        return Parts(one.Bytes).CompareTo(Parts(other.Bytes));
    }

    private sealed class Taken(PeerRoom room, long bytes) : IDisposable
    {
        private int _isGivenBack;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isGivenBack, 1) == 0)
            {
                room.Floor.GiveBack(bytes);
                lock (room._gate)
                {
                    room._underWay -= bytes;
                }
            }
        }
    }

    private DiskFloor Floor => floor;
}
