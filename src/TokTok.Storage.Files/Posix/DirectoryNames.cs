using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics;

namespace TokTok.Storage.Files.Posix;

/// <summary>The names of one directory in byte order, in bounded memory whatever their number.</summary>
/// <remarks>
/// A pass over getdents64 keeps the smallest names above the last one given out that fit the budget; a directory whose names
/// all fit (the ordinary case) takes one pass, a larger one as many as its names divided by the budget. Nothing is spilled to a disk,
/// so no name ever stands in a temporary file. A name added or removed between passes is given or not, as with one pass.
/// One thread; the descriptor stays the caller's.
/// </remarks>
internal sealed class DirectoryNames : IDisposable
{
    internal const int DefaultBudgetBytes = 32 * 1024 * 1024;

    private const int ReadBufferBytes = 64 * 1024;
    private const int RecordHeaderBytes = 19;
    private int _fd;
    private readonly int _budgetBytes;
    private byte[] _bytes = ArrayPool<byte>.Shared.Rent(4096);
    private Name[] _names = ArrayPool<Name>.Shared.Rent(128);
    private int _used;
    private int _count;
    private int _next;
    private byte[]? _floor;
    private bool _isLastPass;
    private bool _hasRead;

    internal DirectoryNames(int fd, int budgetBytes = DefaultBudgetBytes)
    {
        _fd = fd;
        _budgetBytes = budgetBytes;
    }

    /// <summary>Getdents calls made in whole, for tests of the bound.</summary>
    internal int PassCount { get; private set; }

    /// <summary>The next name. False at the end, or on an error, which <paramref name="error"/> then holds as minus errno.</summary>
    /// <param name="name">Valid until the next call.</param>
    internal bool TryNext(out ReadOnlySpan<byte> name, out PosixType type, out int error)
    {
        error = 0;
        while (_next == _count)
        {
            name = default;
            type = default;
            if (_hasRead && _isLastPass)
            {
                return false;
            }

            error = ReadPass();
            if (error < 0)
            {
                return false;
            }
        }

        Name found = _names[_next++];
        name = _bytes.AsSpan(found.Offset, found.Length);
        type = found.Type;
        return true;
    }

    /// <summary>The same directory, opened anew.</summary>
    internal void Reopened(int fd) => _fd = fd;

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_bytes);
        ArrayPool<Name>.Shared.Return(_names);
        _bytes = [];
        _names = [];
    }

    private int ReadPass()
    {
        if (_hasRead)
        {
            _floor = _bytes.AsSpan(_names[_count - 1].Offset, _names[_count - 1].Length).ToArray();
            int rewound = PosixCalls.RewindDirectory(_fd);
            if (rewound < 0)
            {
                return rewound;
            }
        }

        _hasRead = true;
        _isLastPass = true;
        _used = _count = _next = 0;
        PassCount++;
        byte[]? ceiling = null;
        byte[] buffer = ArrayPool<byte>.Shared.Rent(ReadBufferBytes);
        try
        {
            while (true)
            {
                int read = PosixCalls.ReadDirectory(_fd, buffer);
                if (read < 0)
                {
                    return read;
                }

                if (read == 0)
                {
                    break;
                }

                // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name ended by NUL.
                for (int position = 0; position < read;)
                {
                    int recordBytes = BinaryPrimitives.ReadUInt16LittleEndian(buffer.AsSpan(position + 16));
                    Debug.Assert(recordBytes >= RecordHeaderBytes + 1 && position + recordBytes <= read, "getdents64 gave a record out of bounds");
                    ReadOnlySpan<byte> name = buffer.AsSpan(position + RecordHeaderBytes, recordBytes - RecordHeaderBytes);
                    name = name[..name.IndexOf((byte)0)];
                    var type = (PosixType)buffer[position + 18];
                    position += recordBytes;
                    if (name.SequenceEqual("."u8) || name.SequenceEqual(".."u8)
                        || (_floor is not null && name.SequenceCompareTo(_floor) <= 0)
                        || (ceiling is not null && name.SequenceCompareTo(ceiling) >= 0))
                    {
                        continue;
                    }

                    if (_used + name.Length > _budgetBytes && _count > 1)
                    {
                        ceiling = KeepSmallerHalf();
                        if (name.SequenceCompareTo(ceiling) >= 0)
                        {
                            continue;
                        }
                    }

                    Add(name, type);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        Sort();
        return 0;
    }

    private byte[] KeepSmallerHalf()
    {
        _isLastPass = false;
        Sort();
        int keep = Math.Max(1, _count / 2);
        byte[] ceiling = _bytes.AsSpan(_names[keep].Offset, _names[keep].Length).ToArray();
        byte[] kept = ArrayPool<byte>.Shared.Rent(_bytes.Length);
        _used = 0;
        for (int i = 0; i < keep; i++)
        {
            Name name = _names[i];
            _bytes.AsSpan(name.Offset, name.Length).CopyTo(kept.AsSpan(_used));
            _names[i] = name with { Offset = _used };
            _used += name.Length;
        }

        _count = keep;
        ArrayPool<byte>.Shared.Return(_bytes);
        _bytes = kept;
        return ceiling;
    }

    private void Add(ReadOnlySpan<byte> name, PosixType type)
    {
        if (_used + name.Length > _bytes.Length)
        {
            byte[] larger = ArrayPool<byte>.Shared.Rent(_bytes.Length * 2);
            _bytes.AsSpan(0, _used).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_bytes);
            _bytes = larger;
        }

        if (_count == _names.Length)
        {
            Name[] larger = ArrayPool<Name>.Shared.Rent(_names.Length * 2);
            _names.AsSpan(0, _count).CopyTo(larger);
            ArrayPool<Name>.Shared.Return(_names);
            _names = larger;
        }

        name.CopyTo(_bytes.AsSpan(_used));
        _names[_count++] = new Name(_used, (ushort)name.Length, type);
        _used += name.Length;
    }

    private void Sort() => _names.AsSpan(0, _count).Sort(new ByBytes(_bytes));

    private readonly record struct Name(int Offset, ushort Length, PosixType Type);

    private readonly struct ByBytes(byte[] bytes) : IComparer<Name>
    {
        public int Compare(Name x, Name y) => bytes.AsSpan(x.Offset, x.Length).SequenceCompareTo(bytes.AsSpan(y.Offset, y.Length));
    }
}
