using System.Diagnostics.CodeAnalysis;

namespace TokTok.Storage.Files;

/// <summary>An open file or directory.</summary>
internal sealed class OpenInode(Inode inode, OpenOptions options, int frontEnd)
{
    internal Inode Inode { get; } = inode;

    internal OpenOptions Options { get; } = options;

    private long _readTo;

    internal int FrontEnd { get; } = frontEnd;

    /// <summary>Whether a read begins elsewhere than where the last one of this handle ended.</summary>
    internal bool IsScattered(long offset, int bytes) => Interlocked.Exchange(ref _readTo, offset + bytes) != offset;

    internal ReadRow Row { get; } = new();

    /// <summary>The last reads here and there left more in memory than they asked for.</summary>
    internal bool IsMoreAtHand { get; set; }

    /// <summary>Of a directory: where its listing stands. One listing of a handle at a time, by its own gate.</summary>
    internal DirectoryListing? Listing { get; init; }
}

/// <summary>Handles of what is open, below 2^63. A number that was closed names nothing for the next two thousand million openings of its place.</summary>
/// <remarks>Locks: _gate guards adding and removing; looking up takes none.</remarks>
internal sealed class HandleTable
{
    private readonly Lock _gate = new();
    private readonly Stack<int> _free = new();
    private volatile Place[] _places = new Place[64];
    private int _used;

    private sealed class Place(uint generation, OpenInode? open)
    {
        internal uint Generation { get; } = generation;

        internal OpenInode? Open { get; } = open;
    }

    internal ulong Add(OpenInode open)
    {
        lock (_gate)
        {
            if (!_free.TryPop(out int index))
            {
                index = _used++;
                if (index == _places.Length)
                {
                    Place[] larger = new Place[2 * index];
                    _places.CopyTo(larger, 0);
                    _places = larger;
                }
            }

            uint generation = ((_places[index]?.Generation ?? 0) + 1) & int.MaxValue;
            Volatile.Write(ref _places[index], new Place(generation, open));
            return ((ulong)generation << 32) | ((uint)index + 1UL);
        }
    }

    internal bool TryGet(ulong handle, [NotNullWhen(true)] out OpenInode? open)
    {
        Place[] places = _places;
        uint index = unchecked((uint)handle - 1);
        Place? place = index < places.Length ? Volatile.Read(ref places[index]) : null;
        open = place is not null && place.Generation == (uint)(handle >> 32) ? place.Open : null;
        return open is not null;
    }

    internal bool TryRemove(ulong handle, [NotNullWhen(true)] out OpenInode? open)
    {
        lock (_gate)
        {
            if (!TryGet(handle, out open))
            {
                return false;
            }

            int index = unchecked((int)((uint)handle - 1));
            Volatile.Write(ref _places[index], new Place(_places[index].Generation, null));
            _free.Push(index);
            return true;
        }
    }
}
