using System.Runtime.InteropServices;
using System.Text;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Testing;

/// <summary>Searches bytes for every name and every 16 bytes of content of a tree: what an encrypted store must not show.</summary>
/// <remarks>
/// Windows: the 16 bytes at every offset of every file, aligned or not. Left out are windows of one repeated byte, and those with at most three bytes that are not
/// zero (holes and their borders): any format with zero-padded numbers shows such bytes and says nothing by them. Files of less than 16 bytes have none.
/// Names: of 6 bytes and more as they are; shorter ones stand by chance in noise (40 bits in 2^25 places, times a thousand names, once in a hundred
/// runs), so they are looked for with the folders above them, as paths are written. Targets of symlinks count as names.
/// Memory: 8 bytes a window and a filter of 32 MiB; time: a few nanoseconds for each byte searched. A false alarm needs 64 equal bits of a hash.
/// </remarks>
public sealed class PlaintextSearch
{
    public const int WindowBytes = 16;

    private const int NameBytes = 6;
    private const int FilterBits = 28;
    private const int ReadBytes = 256 * 1024;

    private readonly ulong[] _filter = new ulong[1 << (FilterBits - 6)];
    private readonly ulong[] _nameFilter = new ulong[1 << 10];
    private readonly List<ulong> _windows = [];
    private readonly Dictionary<ulong, List<byte[]>> _names = [];
    private readonly byte[] _buffer = new byte[ReadBytes + WindowBytes];

    public int WindowCount => _windows.Count;

    public int NameCount { get; private set; }

    /// <summary>Takes in everything below a folder; call it again after the folder changed.</summary>
    public void AddTree(string path)
    {
        int root = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(path));
        AddFolder(root, []);
        PosixCalls.Close(root);
        _windows.Sort();
        int kept = 0;
        Span<ulong> windows = CollectionsMarshal.AsSpan(_windows);
        for (int i = 0; i < windows.Length; i++)
        {
            if (i == 0 || windows[i] != windows[kept - 1])
            {
                windows[kept++] = windows[i];
            }
        }

        CollectionsMarshal.SetCount(_windows, kept);
    }

    /// <summary>A text that must not be found either: at least 6 bytes.</summary>
    public void AddText(ReadOnlySpan<byte> text)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(text.Length, NameBytes);
        ulong start = Start(text);
        if (!_names.TryGetValue(start, out List<byte[]>? alike))
        {
            _names[start] = alike = [];
            uint bit = NameBit(start);
            _nameFilter[bit >> 6] |= 1UL << (int)(bit & 63);
        }

        alike.Add(text.ToArray());
        NameCount++;
    }

    /// <summary>What was found first, and where; null when nothing was.</summary>
    public string? Find(ReadOnlySpan<byte> bytes)
    {
        byte[] padded = new byte[bytes.Length + WindowBytes];
        bytes.CopyTo(padded);
        for (int at = 0; at + NameBytes <= bytes.Length; at++)
        {
            ulong start = Start(padded.AsSpan(at));
            uint bit = NameBit(start);
            if ((_nameFilter[bit >> 6] & (1UL << (int)(bit & 63))) != 0 && _names.TryGetValue(start, out List<byte[]>? alike))
            {
                foreach (byte[] name in alike)
                {
                    if (bytes[at..].StartsWith(name))
                    {
                        return $"'{PathText.Show(name)}' at {at}";
                    }
                }
            }

            if (at + WindowBytes <= bytes.Length)
            {
                ulong hash = Hash(padded.AsSpan(at));
                if (MayHave(hash) && _windows.BinarySearch(hash) >= 0)
                {
                    return $"16 bytes of content, {Convert.ToHexString(bytes.Slice(at, WindowBytes))}, at {at}";
                }
            }
        }

        return null;
    }

    private static ulong Start(ReadOnlySpan<byte> text)
    {
        ulong start = 0;
        for (int i = 0; i < NameBytes; i++)
        {
            start = (start << 8) | text[i];
        }

        return start;
    }

    private static uint NameBit(ulong start) => unchecked((uint)((start * 0x9E3779B97F4A7C15) >> 48));

    /// <summary>Two 64-bit halves, each multiplied by an odd constant and folded: equal windows have equal hashes, and others hardly ever.</summary>
    private static ulong Hash(ReadOnlySpan<byte> window)
    {
        unchecked
        {
            UInt128 low = (UInt128)(MemoryMarshal.Read<ulong>(window) ^ 0x9E3779B97F4A7C15) * 0xD6E8FEB86659FD93;
            UInt128 high = (UInt128)(MemoryMarshal.Read<ulong>(window[8..]) ^ 0xC2B2AE3D27D4EB4F) * 0xA0761D6478BD642F;
            return ((ulong)low ^ (ulong)(low >> 64)) + (((ulong)high ^ (ulong)(high >> 64)) * 0xE7037ED1A0B428DB);
        }
    }

    private bool MayHave(ulong hash)
    {
        for (int shift = 0; shift <= 36; shift += 18)
        {
            uint bit = (uint)((hash >> shift) & ((1UL << FilterBits) - 1));
            if ((_filter[bit >> 6] & (1UL << (int)(bit & 63))) == 0)
            {
                return false;
            }
        }

        return true;
    }

    private void AddFolder(int folder, byte[] path)
    {
        using var reader = new DirectoryNames(folder);
        while (reader.TryNext(out ReadOnlySpan<byte> name, out _, out _))
        {
            byte[] whole = [.. path, .. name];
            AddText(name.Length >= NameBytes ? name : whole.Length >= NameBytes ? whole : [.. "/source/"u8, .. whole]);
            _ = PosixCalls.Stat(folder, name, out FileStat stat);
            switch (stat.Type)
            {
                case PosixType.Directory:
                    int inner = PosixCalls.OpenDirectory(folder, name);
                    AddFolder(inner, [.. whole, (byte)'/']);
                    PosixCalls.Close(inner);
                    break;
                case PosixType.File:
                    int file = PosixCalls.OpenFile(folder, name, true);
                    AddContent(file);
                    PosixCalls.Close(file);
                    break;
                case PosixType.Symlink:
                    byte[] target = new byte[4096];
                    int bytes = PosixCalls.ReadLink(folder, name, target);
                    if (bytes >= NameBytes)
                    {
                        AddText(target.AsSpan(0, bytes));
                    }

                    break;
                default:
                    break;
            }
        }
    }

    private void AddContent(int file)
    {
        int carried = 0;
        for (long offset = 0; ;)
        {
            int read = PosixCalls.Read(file, offset, _buffer.AsSpan(carried, ReadBytes));
            if (read <= 0)
            {
                return;
            }

            offset += read;
            int filled = carried + read;
            for (int at = 0; at + WindowBytes <= filled; at++)
            {
                ReadOnlySpan<byte> window = _buffer.AsSpan(at, WindowBytes);
                if (window.Count((byte)0) <= WindowBytes - 4 && window.ContainsAnyExcept(window[0]))
                {
                    ulong hash = Hash(window);
                    _windows.Add(hash);
                    for (int shift = 0; shift <= 36; shift += 18)
                    {
                        uint bit = (uint)((hash >> shift) & ((1UL << FilterBits) - 1));
                        _filter[bit >> 6] |= 1UL << (int)(bit & 63);
                    }
                }
            }

            carried = Math.Min(filled, WindowBytes - 1);
            _buffer.AsSpan(filled - carried, carried).CopyTo(_buffer);
        }
    }
}
