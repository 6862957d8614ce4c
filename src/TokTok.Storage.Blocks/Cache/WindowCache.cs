using System.Buffers;
using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Cache;

/// <summary>Keeps on this machine what comes from holders that are slow, far or often away: windows of fragments, as they lie there, in unused disk.</summary>
/// <remarks>
/// Format: docs/format.md 16.3. Fragments are noise, so windows lie in the clear; which they are, and how often they are used, is encrypted under the device's cache key.
/// A window is kept up to a quota and as long as the disk has a floor of free space besides; what is used least goes first (<see cref="HitOrder"/>).
/// Each window has a checksum: one that is damaged, or half written when the machine stopped, is not there. Nothing is synced, and nothing here is needed: a cache that cannot be read begins anew.
/// One process keeps; others that read meanwhile use what was there when they began.
/// Never stale: the bytes of an arena's id never change.
/// Safe from many threads. Locks: _gate guards the order and the table; windows are read and written outside of it, and what changed meanwhile fails its checksum.
/// </remarks>
public sealed class WindowCache : IDisposable
{
    /// <summary>Bytes of a window, but for the last of a fragment.</summary>
    public const int WindowBytes = 64 * 1024;

    /// <summary>The least quota: a cache that holds less than a few arenas helps nobody.</summary>
    public const long LeastBytes = 64L << 20;

    internal const string FileName = "windows";
    private const string LockName = "lock";
    private const int AsksForSpaceEvery = 64; // windows that are kept: 4 MiB
    private const int SavesEvery = 4096; // 256 MiB
    private const int MostWindows = 1 << 24; // 1 TiB

    private readonly IDisk _disk;
    private readonly IDiskFile _file;
    private readonly string _folder;
    private readonly long _floorBytes;
    private readonly IRandomSource _random;
    private readonly SecretBytes _key;
    private readonly byte[] _checksumKey = new byte[32];
    private readonly IDisposable? _lock;
    private readonly Lock _gate = new();
    private readonly HitOrder _order;
    private readonly Window[] _windows;
    private long _hits;
    private long _misses;
    private int _keptSinceAsked = AsksForSpaceEvery;
    private int _keptSinceSaved;
    private int _placesAllowed = int.MaxValue;
    private bool _isBroken;

    private WindowCache(IDisk disk, IDisposable? writersLock, IDiskFile file, string folder, SecretBytes key, int room, long floorBytes, IRandomSource random)
    {
        (_disk, _lock, _file, _folder, _key, _floorBytes, _random) = (disk, writersLock, file, folder, key, floorBytes, random);
        _order = new HitOrder(room);
        _windows = new Window[room + 1];
        Blake3.DeriveKey("TDFS 2026 window cache checksums", key.Span, _checksumKey);
    }

    /// <summary>What a place of the file holds. An empty one has a length of 0.</summary>
    internal struct Window
    {
        internal ArenaId Arena;
        internal ushort Fragment;
        internal ushort Number;
        internal int Bytes;
        internal UInt128 Sum;
    }

    /// <summary>Bytes of windows that are kept, and uses since it was opened that were and were not served from here.</summary>
    public (long Bytes, long Hits, long Misses) State
    {
        get
        {
            lock (_gate)
            {
                return ((long)_order.Count * WindowBytes, _hits, _misses);
            }
        }
    }

    /// <summary>Opens the cache of a folder, or makes one there.</summary>
    /// <param name="key">The device's; borrowed.</param>
    /// <param name="quotaBytes">At least <see cref="LeastBytes"/>.</param>
    /// <param name="floorBytes">Free space that is left to others.</param>
    /// <returns>Null: the disk refuses, and there is none.</returns>
    public static WindowCache? TryOpen(IDisk disk, string folder, SecretBytes key, long quotaBytes, long floorBytes, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentOutOfRangeException.ThrowIfLessThan(quotaBytes, LeastBytes);
        int room = (int)Math.Min((quotaBytes / WindowBytes) - 1, MostWindows);
        IDisposable? writersLock = null;
        try
        {
            disk.CreateDirectory(folder);
            writersLock = disk.TryLock($"{folder}/{LockName}");
            string path = $"{folder}/{FileName}";
            IDiskFile file = disk.Open(path, disk.FileExists(path) ? DiskOpen.ReadWrite : DiskOpen.CreateNew);
            var cache = new WindowCache(disk, writersLock, file, folder, key, room, floorBytes, random);
            WindowTable.Load(disk, folder, key, cache._order, cache._windows);
            return cache;
        }
        catch (DiskException)
        {
            writersLock?.Dispose();
            return null;
        }
    }

    /// <summary>Reads a fragment's bytes: from here, or from the holder, by whole windows, which are then kept.</summary>
    /// <param name="holder">Null: it is away.</param>
    /// <param name="sliceBytes">How long the fragment is.</param>
    /// <returns>How many bytes, as a holder says it; -1: it is absent, here and there.</returns>
    /// <exception cref="DiskException">As the holder throws it.</exception>
    public async ValueTask<int> ReadAsync(
        IFragmentHolder? holder, ArenaId id, int fragmentIndex, int sliceBytes, int offset, Memory<byte> target, CancellationToken cancel)
    {
        byte[] whole = ArrayPool<byte>.Shared.Rent(WindowBytes);
        try
        {
            int done = 0;
            while (done < target.Length)
            {
                int start = (offset + done) / WindowBytes * WindowBytes;
                int length = Math.Min(WindowBytes, sliceBytes - start);
                int within = offset + done - start;
                int count = Math.Min(target.Length - done, length - within);
                if (count <= 0)
                {
                    break;
                }

                Memory<byte> window = whole.AsMemory(0, length);
                if (!TryRead(id, fragmentIndex, start / WindowBytes, window.Span))
                {
                    int run = holder is not null && within == 0 ? UseRun(id, fragmentIndex, start, target.Length - done) : 0;
                    if (holder is not null && run > WindowBytes)
                    {
                        // Who reads much at a time asks the holder once for it.
                        Memory<byte> part = target.Slice(done, run);
                        int came = await holder.ReadAsync(id, fragmentIndex, start, part, cancel).ConfigureAwait(false);
                        if (came != run)
                        {
                            return done > 0 ? done : Math.Min(came, 0);
                        }

                        KeepAll(id, fragmentIndex, start, part.Span);
                        done += run;
                        continue;
                    }

                    int got = holder is null ? -1 : await holder.ReadAsync(id, fragmentIndex, start, window, cancel).ConfigureAwait(false);
                    if (got != length)
                    {
                        return done > 0 ? done : Math.Min(got, 0);
                    }

                    Keep(id, fragmentIndex, start / WindowBytes, window.Span);
                }

                window.Slice(within, count).CopyTo(target[done..]);
                done += count;
            }

            return done;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(whole);
        }
    }

    /// <summary>Lets go of windows that are other than what was proven to lie there: a holder that lies would be believed by way of its old lies when it does no more.</summary>
    /// <param name="proven">Bytes of a fragment from the offset on, as they are by its name.</param>
    internal void Correct(ArenaId id, int fragmentIndex, int sliceBytes, int offset, ReadOnlySpan<byte> proven)
    {
        byte[] whole = ArrayPool<byte>.Shared.Rent(WindowBytes);
        for (int done = 0; done < proven.Length;)
        {
            int start = (offset + done) / WindowBytes * WindowBytes;
            int within = offset + done - start;
            Span<byte> window = whole.AsSpan(0, Math.Min(WindowBytes, sliceBytes - start));
            int count = Math.Min(window.Length - within, proven.Length - done);
            if (TryRead(id, fragmentIndex, start / WindowBytes, window) && !window.Slice(within, count).SequenceEqual(proven.Slice(done, count)))
            {
                ulong key = KeyOf(id, fragmentIndex, start / WindowBytes);
                lock (_gate)
                {
                    int place = _order.PlaceOf(key);
                    if (place >= 0 && _windows[place].Arena == id)
                    {
                        _ = _order.Remove(key);
                        _windows[place] = default;
                    }
                }
            }

            done += count;
        }

        ArrayPool<byte>.Shared.Return(whole);
    }

    /// <summary>Keeps a fragment that goes to a holder.</summary>
    public void KeepAll(ArenaId id, int fragmentIndex, ReadOnlySpan<byte> fragment)
    {
        lock (_gate)
        {
            for (int at = 0; at < fragment.Length; at += WindowBytes)
            {
                _ = _order.Use(KeyOf(id, fragmentIndex, at / WindowBytes));
            }
        }

        KeepAll(id, fragmentIndex, 0, fragment);
    }

    /// <summary>Writes down what is kept, for the next start: what comes after it and before a crash is not found again.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            SaveLocked();
            _isBroken = true;
        }

        _file.Dispose();
        _lock?.Dispose();
    }

    private void SaveLocked()
    {
        _keptSinceSaved = 0;
        if (_lock is null || _isBroken)
        {
            return;
        }

        try
        {
            WindowTable.Save(_disk, _folder, _key, _order, _windows, _random);
        }
        catch (DiskException)
        {
            // the table before stands: what has changed since fails its checksum
        }
    }

    /// <summary>Counts a use. True: the window was here and whole.</summary>
    private bool TryRead(ArenaId id, int fragmentIndex, int number, Span<byte> target)
    {
        ulong key = KeyOf(id, fragmentIndex, number);
        Window window;
        int place;
        lock (_gate)
        {
            _ = _order.Use(key);
            place = _order.PlaceOf(key);
            window = place < 0 ? default : _windows[place];
            bool isIt = window.Bytes == target.Length && window.Arena == id && window.Fragment == fragmentIndex && window.Number == number;
            if (!isIt)
            {
                _misses++;
                return false;
            }
        }

        bool isWhole;
        try
        {
            isWhole = _file.Read((long)place * WindowBytes, target) == target.Length && SumOf(target) == window.Sum;
        }
        catch (DiskException)
        {
            isWhole = false;
        }

        lock (_gate)
        {
            (_hits, _misses) = isWhole ? (_hits + 1, _misses) : (_hits, _misses + 1);
            if (!isWhole && _order.PlaceOf(key) == place && _windows[place].Sum == window.Sum)
            {
                _ = _order.Remove(key);
                _windows[place] = default;
            }
        }

        return isWhole;
    }

    /// <summary>Bytes of whole windows from one on that is not here, as far as the next ones are not here either, whose use is counted.</summary>
    private int UseRun(ArenaId id, int fragmentIndex, int start, int wanted)
    {
        int bytes = 0;
        lock (_gate)
        {
            for (; bytes + WindowBytes <= wanted; bytes += WindowBytes)
            {
                ulong key = KeyOf(id, fragmentIndex, (start + bytes) / WindowBytes);
                if (_order.PlaceOf(key) >= 0)
                {
                    break;
                }

                if (bytes > 0)
                {
                    _ = _order.Use(key); // the first one's was counted when it was looked for
                    _misses++;
                }
            }
        }

        return bytes;
    }

    /// <param name="start">Where in the fragment the bytes begin: at a window.</param>
    private void KeepAll(ArenaId id, int fragmentIndex, int start, ReadOnlySpan<byte> bytes)
    {
        for (int at = 0; at < bytes.Length; at += WindowBytes)
        {
            Keep(id, fragmentIndex, (start + at) / WindowBytes, bytes.Slice(at, Math.Min(WindowBytes, bytes.Length - at)));
        }
    }

    private void Keep(ArenaId id, int fragmentIndex, int number, ReadOnlySpan<byte> bytes)
    {
        ulong key = KeyOf(id, fragmentIndex, number);
        var window = new Window { Arena = id, Fragment = checked((ushort)fragmentIndex), Number = checked((ushort)number), Bytes = bytes.Length, Sum = SumOf(bytes) };
        int place;
        lock (_gate)
        {
            if (_lock is null || _isBroken || _order.PlaceOf(key) >= 0)
            {
                return;
            }

            MindSpaceLocked();
            place = PlaceForLocked(key);
            if (place < 0)
            {
                return;
            }

            _windows[place] = window;
            if (++_keptSinceSaved >= SavesEvery)
            {
                SaveLocked();
            }
        }

        try
        {
            _file.Write((long)place * WindowBytes, bytes);
        }
        catch (DiskException)
        {
            lock (_gate)
            {
                if (_order.Remove(key))
                {
                    _windows[place] = default;
                }

                _placesAllowed = Math.Min(_placesAllowed, _order.Count);
                _keptSinceAsked = 0;
            }
        }
    }

    private int PlaceForLocked(ulong key)
    {
        if (_order.Add(key) is { } gone && gone == key)
        {
            return -1;
        }

        int place = _order.PlaceOf(key);
        if (place < _placesAllowed)
        {
            return place;
        }

        // The disk has no room for one more: it takes the place of what is used least.
        _ = _order.Remove(key);
        if (_order.Shed() is null)
        {
            return -1;
        }

        _ = _order.Add(key);
        return _order.PlaceOf(key);
    }

    /// <summary>Gives back space that others need: the file ends where the floor asks for it.</summary>
    private void MindSpaceLocked()
    {
        if (++_keptSinceAsked < AsksForSpaceEvery)
        {
            return;
        }

        _keptSinceAsked = 0;
        try
        {
            long places = (_file.Length + WindowBytes - 1) / WindowBytes;
            long spare = (_disk.FreeBytes(_folder) - _floorBytes) / WindowBytes;
            _placesAllowed = (int)Math.Clamp(places + spare, 0, _windows.Length);
            if (_placesAllowed < places)
            {
                foreach ((ulong key, int place, _) in _order.InOrder().Where(each => each.Place >= _placesAllowed).ToList())
                {
                    _ = _order.Remove(key);
                    _windows[place] = default;
                }

                _file.Truncate((long)_placesAllowed * WindowBytes);
            }
        }
        catch (DiskException)
        {
            _isBroken = true;
        }
    }

    internal static ulong KeyOf(ArenaId id, int fragmentIndex, int number)
    {
        Span<byte> bytes = stackalloc byte[ArenaId.Size];
        id.Write(bytes);
        unchecked
        {
            return BinaryPrimitives.ReadUInt64LittleEndian(bytes) + ((((ulong)fragmentIndex << 16) | (uint)number) * 0x9E37_79B9_7F4A_7C15);
        }
    }

    /// <summary>Of the bytes alone: the table says which they are, and is authenticated.</summary>
    private UInt128 SumOf(ReadOnlySpan<byte> bytes)
    {
        Span<byte> sum = stackalloc byte[16];
        Blake3.KeyedHash(_checksumKey, bytes, sum);
        return BinaryPrimitives.ReadUInt128LittleEndian(sum);
    }
}
