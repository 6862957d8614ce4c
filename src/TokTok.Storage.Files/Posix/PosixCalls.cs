using System.Diagnostics;
using System.Runtime.InteropServices;

namespace TokTok.Storage.Files.Posix;

/// <summary>Directory-relative, byte-named calls on the trees that are imported and restored.</summary>
/// <remarks>
/// Nothing here follows a symbolic link or looks at a path of more than one name, except <see cref="OpenPath"/> and <see cref="RealPath"/>,
/// which take what the user typed. So a hostile tree, or one that changes underneath, cannot lead out of its root.
/// Results: 0 or more is the call's result; less than 0 is minus errno. Nothing throws; EINTR is retried.
/// </remarks>
internal static unsafe class PosixCalls
{
    internal const int MaxNameBytes = 255;

    private const int AtEmptyPath = 0x1000;
    private const int AtSymlinkNoFollow = 0x100;
    private const int AtRemoveDirectory = 0x200;
    private const int AtFdCwd = -100;
    private const uint StatxBasicStats = 0x7ff;
    private const int SeekData = 3;
    private const int SeekHole = 4;

    private const int OpenReadWrite = 2;
    private const int OpenCreate = 0x40;
    private const int OpenExclusive = 0x80;
    private const int OpenNonBlock = 0x800;
    private const int OpenNoAtime = 0x40000;
    private const int OpenCloseOnExec = 0x80000;

    // These two differ between architectures (asm/fcntl.h).
    private static readonly int s_openDirectory = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;
    private static readonly int s_openNoFollow = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    internal static uint EffectiveUser { get; } = Libc.geteuid();

    /// <summary>Opens a directory by its name in another.</summary>
    internal static int OpenDirectory(int directory, ReadOnlySpan<byte> name)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Open(directory, path, s_openDirectory | s_openNoFollow | OpenCloseOnExec | OpenNonBlock, 0);
        }
    }

    /// <summary>Opens the parent of an open directory.</summary>
    internal static int OpenParent(int directory)
    {
        fixed (byte* path = "..\0"u8)
        {
            return Open(directory, path, s_openDirectory | OpenCloseOnExec | OpenNonBlock, 0);
        }
    }

    /// <summary>Opens a directory anywhere, following links: for the paths that the user named.</summary>
    internal static int OpenPath(ReadOnlySpan<byte> path)
    {
        byte[] terminated = new byte[path.Length + 1];
        path.CopyTo(terminated);
        fixed (byte* first = terminated)
        {
            return Open(AtFdCwd, first, s_openDirectory | OpenCloseOnExec | OpenNonBlock, 0);
        }
    }

    /// <summary>The absolute path without links, or null (errno in <paramref name="error"/>).</summary>
    internal static byte[]? RealPath(ReadOnlySpan<byte> path, out int error)
    {
        byte[] terminated = new byte[path.Length + 1];
        path.CopyTo(terminated);
        fixed (byte* first = terminated)
        {
            Marshal.SetLastSystemError(0);
            nint resolved = Libc.realpath(first, null);
            error = resolved == 0 ? Marshal.GetLastSystemError() : 0;
            if (resolved == 0)
            {
                return null;
            }

            byte[] result = MemoryMarshal.CreateReadOnlySpanFromNullTerminated((byte*)resolved).ToArray();
            Libc.free(resolved);
            return result;
        }
    }

    /// <summary>Opens a file to be read, without touching its access time where that is allowed, and without waiting for a fifo's other end.</summary>
    internal static int OpenFile(int directory, ReadOnlySpan<byte> name, bool keepAccessTime)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            int flags = s_openNoFollow | OpenCloseOnExec | OpenNonBlock;
            if (keepAccessTime)
            {
                int fd = Open(directory, path, flags | OpenNoAtime, 0);
                if (fd != -Errno.EPERM)
                {
                    return fd;
                }
            }

            return Open(directory, path, flags, 0);
        }
    }

    /// <summary>Creates a file that did not exist, open for reading and writing whatever its mode, which is 0600 if none is given.</summary>
    internal static int CreateFile(int directory, ReadOnlySpan<byte> name, uint permissions = 0x180)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Open(directory, path, OpenReadWrite | OpenCreate | OpenExclusive | s_openNoFollow | OpenCloseOnExec, permissions);
        }
    }

    internal static void Close(int fd)
    {
        Debug.Assert(fd >= 0, "closing what is not open");
        _ = Libc.close(fd);
    }

    /// <summary>Closes a file that was written; some filesystems say only now that bytes did not arrive. It is closed whatever the result.</summary>
    internal static int CloseWritten(int fd)
    {
        int result = Result(Libc.close(fd));
        return result == -Errno.EINTR ? 0 : result;
    }

    /// <summary>Reads directory records into the buffer; 0 at the end.</summary>
    internal static int ReadDirectory(int directory, Span<byte> buffer)
    {
        fixed (byte* first = buffer)
        {
            nint bytes = Libc.getdents64(directory, first, (nuint)buffer.Length);
            return bytes < 0 ? -Marshal.GetLastPInvokeError() : (int)bytes;
        }
    }

    /// <summary>Goes back to a directory's first record.</summary>
    internal static int RewindDirectory(int directory) => (int)Seek(directory, 0, 0);

    internal static int Stat(int directory, ReadOnlySpan<byte> name, out FileStat stat)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            stat = default;
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Stat(directory, path, AtSymlinkNoFollow, out stat);
        }
    }

    internal static int Stat(int fd, out FileStat stat)
    {
        byte empty = 0;
        return Stat(fd, &empty, AtEmptyPath, out stat);
    }

    /// <summary>A link's target into the buffer; a result as long as the buffer may be cut short.</summary>
    internal static int ReadLink(int directory, ReadOnlySpan<byte> name, Span<byte> target)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer, first = target)
        {
            nint bytes = Libc.readlinkat(directory, path, first, (nuint)target.Length);
            return bytes < 0 ? -Marshal.GetLastPInvokeError() : (int)bytes;
        }
    }

    /// <summary>Reads until the span is full or the file ends.</summary>
    internal static int Read(int fd, long offset, Span<byte> target)
    {
        int total = 0;
        fixed (byte* first = target)
        {
            while (total < target.Length)
            {
                nint bytes = Libc.pread64(fd, first + total, (nuint)(target.Length - total), offset + total);
                if (bytes == 0)
                {
                    break;
                }

                if (bytes < 0)
                {
                    int error = Marshal.GetLastPInvokeError();
                    if (error == Errno.EINTR)
                    {
                        continue;
                    }

                    return -error;
                }

                total += (int)bytes;
            }
        }

        return total;
    }

    /// <summary>Writes the whole span.</summary>
    internal static int Write(int fd, long offset, ReadOnlySpan<byte> source)
    {
        int total = 0;
        fixed (byte* first = source)
        {
            while (total < source.Length)
            {
                nint bytes = Libc.pwrite64(fd, first + total, (nuint)(source.Length - total), offset + total);
                if (bytes <= 0)
                {
                    int error = bytes == 0 ? Errno.EIO : Marshal.GetLastPInvokeError();
                    if (error == Errno.EINTR)
                    {
                        continue;
                    }

                    return -error;
                }

                total += (int)bytes;
            }
        }

        return total;
    }

    /// <summary>The next data at or after the offset; -ENXIO when only a hole follows.</summary>
    internal static long NextData(int fd, long offset) => Seek(fd, offset, SeekData);

    /// <summary>The next hole at or after the offset; the end of the file counts as one.</summary>
    internal static long NextHole(int fd, long offset) => Seek(fd, offset, SeekHole);

    /// <summary>The names of an open file's xattrs, each ended by NUL. -ERANGE when the buffer is too small, -EOPNOTSUPP when there are none to have.</summary>
    internal static int ListXattrs(int fd, Span<byte> list)
    {
        fixed (byte* first = list)
        {
            nint bytes = Libc.flistxattr(fd, first, (nuint)list.Length);
            return bytes < 0 ? -Marshal.GetLastPInvokeError() : (int)bytes;
        }
    }

    /// <summary>As above for a name that cannot be opened: a link, a fifo, a device.</summary>
    internal static int ListXattrs(int directory, ReadOnlySpan<byte> name, Span<byte> list)
    {
        Span<byte> buffer = stackalloc byte[ProcPathBytes];
        WriteProcPath(directory, name, buffer);
        fixed (byte* path = buffer, first = list)
        {
            nint bytes = Libc.llistxattr(path, first, (nuint)list.Length);
            return bytes < 0 ? -Marshal.GetLastPInvokeError() : (int)bytes;
        }
    }

    /// <param name="xattr">With its NUL.</param>
    internal static int GetXattr(int fd, ReadOnlySpan<byte> xattr, Span<byte> value)
    {
        Debug.Assert(xattr[^1] == 0, "an xattr name without its NUL");
        fixed (byte* key = xattr, first = value)
        {
            nint bytes = Libc.fgetxattr(fd, key, first, (nuint)value.Length);
            return bytes < 0 ? -Marshal.GetLastPInvokeError() : (int)bytes;
        }
    }

    /// <param name="xattr">With its NUL.</param>
    internal static int GetXattr(int directory, ReadOnlySpan<byte> name, ReadOnlySpan<byte> xattr, Span<byte> value)
    {
        Debug.Assert(xattr[^1] == 0, "an xattr name without its NUL");
        Span<byte> buffer = stackalloc byte[ProcPathBytes];
        WriteProcPath(directory, name, buffer);
        fixed (byte* path = buffer, key = xattr, first = value)
        {
            nint bytes = Libc.lgetxattr(path, key, first, (nuint)value.Length);
            return bytes < 0 ? -Marshal.GetLastPInvokeError() : (int)bytes;
        }
    }

    /// <param name="xattr">With its NUL.</param>
    internal static int SetXattr(int fd, ReadOnlySpan<byte> xattr, ReadOnlySpan<byte> value)
    {
        Debug.Assert(xattr[^1] == 0, "an xattr name without its NUL");
        fixed (byte* key = xattr, first = value)
        {
            return Result(Libc.fsetxattr(fd, key, first, (nuint)value.Length, 0));
        }
    }

    /// <param name="xattr">With its NUL.</param>
    internal static int SetXattr(int directory, ReadOnlySpan<byte> name, ReadOnlySpan<byte> xattr, ReadOnlySpan<byte> value)
    {
        Debug.Assert(xattr[^1] == 0, "an xattr name without its NUL");
        Span<byte> buffer = stackalloc byte[ProcPathBytes];
        WriteProcPath(directory, name, buffer);
        fixed (byte* path = buffer, key = xattr, first = value)
        {
            return Result(Libc.lsetxattr(path, key, first, (nuint)value.Length, 0));
        }
    }

    /// <param name="xattr">With its NUL.</param>
    internal static int RemoveXattr(int fd, ReadOnlySpan<byte> xattr)
    {
        fixed (byte* key = xattr)
        {
            return Result(Libc.fremovexattr(fd, key));
        }
    }

    internal static int MakeDirectory(int directory, ReadOnlySpan<byte> name, uint mode)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Result(Libc.mkdirat(directory, path, mode));
        }
    }

    /// <param name="mode">With its type bits.</param>
    internal static int MakeNode(int directory, ReadOnlySpan<byte> name, uint mode, ulong device)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Result(Libc.mknodat(directory, path, mode, device));
        }
    }

    internal static int MakeLink(ReadOnlySpan<byte> target, int directory, ReadOnlySpan<byte> name)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer) || target.Contains((byte)0))
        {
            return -Errno.EINVAL;
        }

        byte[] terminated = new byte[target.Length + 1];
        target.CopyTo(terminated);
        fixed (byte* path = buffer, to = terminated)
        {
            return Result(Libc.symlinkat(to, directory, path));
        }
    }

    internal static int HardLink(int fromDirectory, ReadOnlySpan<byte> from, int toDirectory, ReadOnlySpan<byte> to)
    {
        Span<byte> fromBuffer = stackalloc byte[MaxNameBytes + 1];
        Span<byte> toBuffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(from, fromBuffer) || !TryTerminate(to, toBuffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* fromPath = fromBuffer, toPath = toBuffer)
        {
            return Result(Libc.linkat(fromDirectory, fromPath, toDirectory, toPath, 0));
        }
    }

    internal static int Rename(int directory, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        Span<byte> fromBuffer = stackalloc byte[MaxNameBytes + 1];
        Span<byte> toBuffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(from, fromBuffer) || !TryTerminate(to, toBuffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* fromPath = fromBuffer, toPath = toBuffer)
        {
            return Result(Libc.renameat(directory, fromPath, directory, toPath));
        }
    }

    /// <summary>Renames where the new name is free; -EEXIST where it is not. A filesystem that cannot promise this is asked first and renamed after.</summary>
    internal static int RenameToFree(int directory, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        Span<byte> fromBuffer = stackalloc byte[MaxNameBytes + 1];
        Span<byte> toBuffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(from, fromBuffer) || !TryTerminate(to, toBuffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        const uint NoReplace = 1;
        fixed (byte* fromPath = fromBuffer, toPath = toBuffer)
        {
            int result = Result(Libc.renameat2(directory, fromPath, directory, toPath, NoReplace));
            if (result is not -Errno.EINVAL and not -Errno.ENOSYS)
            {
                return result;
            }
        }

        return Stat(directory, to, out _) == -Errno.ENOENT ? Rename(directory, from, to) : -Errno.EEXIST;
    }

    internal static int Remove(int directory, ReadOnlySpan<byte> name, bool isDirectory)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Result(Libc.unlinkat(directory, path, isDirectory ? AtRemoveDirectory : 0));
        }
    }

    internal static int SetOwner(int fd, uint uid, uint gid) => Result(Libc.fchown(fd, uid, gid));

    internal static int SetOwner(int directory, ReadOnlySpan<byte> name, uint uid, uint gid)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Result(Libc.fchownat(directory, path, uid, gid, AtSymlinkNoFollow));
        }
    }

    internal static int SetMode(int fd, uint permissions) => Result(Libc.fchmod(fd, permissions));

    /// <summary>For a fifo, socket or device that this process has just made; glibc refuses links (or goes through /proc).</summary>
    internal static int SetMode(int directory, ReadOnlySpan<byte> name, uint permissions)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        fixed (byte* path = buffer)
        {
            return Result(Libc.fchmodat(directory, path, permissions, AtSymlinkNoFollow));
        }
    }

    /// <summary>Sets the modification time, and the access time to the same.</summary>
    internal static int SetTimes(int fd, FileTime modified)
    {
        TimeSpec* times = stackalloc TimeSpec[2];
        times[0] = times[1] = new TimeSpec { Seconds = modified.Seconds, Nanoseconds = modified.Nanoseconds };
        return Result(Libc.futimens(fd, times));
    }

    internal static int SetTimes(int directory, ReadOnlySpan<byte> name, FileTime modified)
    {
        Span<byte> buffer = stackalloc byte[MaxNameBytes + 1];
        if (!TryTerminate(name, buffer))
        {
            return -Errno.ENAMETOOLONG;
        }

        TimeSpec* times = stackalloc TimeSpec[2];
        times[0] = times[1] = new TimeSpec { Seconds = modified.Seconds, Nanoseconds = modified.Nanoseconds };
        fixed (byte* path = buffer)
        {
            return Result(Libc.utimensat(directory, path, times, AtSymlinkNoFollow));
        }
    }

    internal static int SetLength(int fd, long length) => Result(Libc.ftruncate64(fd, length));

    internal static int Sync(int fd) => Result(Libc.fsync(fd));

    /// <summary>All that was written to the filesystem that a file lies on, names and metadata too.</summary>
    internal static int SyncFilesystem(int fd) => Result(Libc.syncfs(fd));

    internal static ulong MakeDevice(uint major, uint minor) =>
        ((ulong)(major & 0xFFFFF000) << 32) | ((ulong)(major & 0xFFF) << 8) | ((ulong)(minor & 0xFFFFFF00) << 12) | (minor & 0xFF);

    internal static (uint Major, uint Minor) SplitDevice(ulong device) => unchecked((
        (uint)((device >> 32) & 0xFFFFF000) | (uint)((device >> 8) & 0xFFF),
        (uint)((device >> 12) & 0xFFFFFF00) | (uint)(device & 0xFF)));

    // "/proc/self/fd/" and a number and '/' and a name and NUL.
    private const int ProcPathBytes = 14 + 11 + 1 + MaxNameBytes + 1;

    private static void WriteProcPath(int directory, ReadOnlySpan<byte> name, Span<byte> target)
    {
        "/proc/self/fd/"u8.CopyTo(target);
        bool fits = System.Buffers.Text.Utf8Formatter.TryFormat(directory, target[14..], out int digits);
        Debug.Assert(fits, "a descriptor of more than 11 digits");
        int position = 14 + digits;
        target[position++] = (byte)'/';
        name = name[..Math.Min(name.Length, MaxNameBytes)];
        name.CopyTo(target[position..]);
        target[position + name.Length] = 0;
    }

    private static bool TryTerminate(ReadOnlySpan<byte> name, Span<byte> buffer)
    {
        if (name.Length >= buffer.Length)
        {
            return false;
        }

        name.CopyTo(buffer);
        buffer[name.Length] = 0;
        return true;
    }

    private static int Result(int result) => result < 0 ? -Marshal.GetLastPInvokeError() : result;

    private static int Open(int directory, byte* path, int flags, uint mode)
    {
        while (true)
        {
            int fd = Libc.openat(directory, path, flags, mode);
            if (fd >= 0)
            {
                return fd;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error != Errno.EINTR)
            {
                return -error;
            }
        }
    }

    private static long Seek(int fd, long offset, int whence)
    {
        long position = Libc.lseek64(fd, offset, whence);
        return position < 0 ? -Marshal.GetLastPInvokeError() : position;
    }

    private static int Stat(int directory, byte* path, int flags, out FileStat stat)
    {
        StatxBuffer buffer;
        if (Libc.statx(directory, path, flags, StatxBasicStats, &buffer) < 0)
        {
            stat = default;
            return -Marshal.GetLastPInvokeError();
        }

        stat.Device = MakeDevice(buffer.DevMajor, buffer.DevMinor);
        stat.Inode = buffer.Inode;
        stat.SpecialDevice = MakeDevice(buffer.RdevMajor, buffer.RdevMinor);
        stat.SizeBytes = unchecked((long)buffer.Size);
        stat.Blocks = unchecked((long)buffer.Blocks);
        stat.ModifyNs = Nanoseconds(buffer.ModifySeconds, buffer.ModifyNanoseconds);
        stat.Modified = new FileTime(buffer.ModifySeconds, buffer.ModifyNanoseconds);
        stat.ChangeNs = Nanoseconds(buffer.ChangeSeconds, buffer.ChangeNanoseconds);
        stat.LinkCount = buffer.LinkCount;
        stat.Uid = buffer.Uid;
        stat.Gid = buffer.Gid;
        stat.Mode = buffer.Mode;
        return 0;
    }

    // 64 bits of nanoseconds reach the years 1678 to 2262; times beyond are kept at the nearest end.
    private static long Nanoseconds(long seconds, uint nanoseconds)
    {
        const long MaxSeconds = long.MaxValue / 1_000_000_000L;
        return seconds >= MaxSeconds ? long.MaxValue : seconds <= -MaxSeconds ? long.MinValue + 1 : (seconds * 1_000_000_000L) + nanoseconds;
    }
}
