using System.Runtime.InteropServices;
using System.Text;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files.Tests;

/// <summary>A directory of the system's own, by its calls.</summary>
internal sealed unsafe class PosixTree : IFileTree
{
    private const int AtFdCwd = -100;
    private const int AtRemoveDir = 0x200;
    private const int AtSymlinkFollow = 0x400;
    private const int NoFollow = 0x20000;
    private const int TemporaryFile = 0x410000;
    private readonly TempFolder _folder = new();
    private readonly int[] _open = [-1, -1, -1, -1];

    internal PosixTree() => Chmod(_folder.Path, 0x1ed);

    /// <summary>The filesystem's type as statfs gives it; 0xEF53 is ext4.</summary>
    internal long FilesystemType
    {
        get
        {
            byte[] buffer = new byte[256];
            fixed (byte* first = buffer)
            {
                _ = StatFs(_folder.Path, first);
                return *(long*)first;
            }
        }
    }

    public FileError Create(string path, uint mode, bool isExclusive)
    {
        int fd = Libc(path, at => Posix.Libc.openat(AtFdCwd, at, 0x40 | NoFollow | 2 | (isExclusive ? 0x80 : 0), mode));
        if (fd < 0)
        {
            return (FileError)(-fd);
        }

        PosixCalls.Close(fd);
        return FileError.None;
    }

    public FileError MakeDirectory(string path, uint mode) => Error(Libc(path, at => Posix.Libc.mkdirat(AtFdCwd, at, mode)));

    public FileError MakeFifo(string path, uint mode) => Error(Libc(path, at => Posix.Libc.mknodat(AtFdCwd, at, 0x1000 | mode, 0)));

    public FileError MakeSymlink(string path, string target)
    {
        fixed (byte* to = Encoding.UTF8.GetBytes(target + "\0"))
        {
            byte* pointer = to;
            return Error(Libc(path, at => Posix.Libc.symlinkat(pointer, AtFdCwd, at)));
        }
    }

    public FileError Link(string path, string newPath) => Both(path, newPath, static (from, to) => Posix.Libc.linkat(AtFdCwd, from, AtFdCwd, to, 0));

    public FileError Unlink(string path) => Error(Libc(path, at => Posix.Libc.unlinkat(AtFdCwd, at, 0)));

    public FileError RemoveDirectory(string path) => Error(Libc(path, at => Posix.Libc.unlinkat(AtFdCwd, at, AtRemoveDir)));

    public FileError Rename(string path, string newPath, RenameMode mode) =>
        Both(path, newPath, (from, to) => Posix.Libc.renameat2(AtFdCwd, from, AtFdCwd, to, (uint)mode));

    public FileError SetMode(string path, uint mode) => Error(Libc(path, at => Posix.Libc.fchmodat(AtFdCwd, at, mode, 0)));

    public FileError SetOwner(string path, uint owner, uint group) => Error(Libc(path, at => Posix.Libc.fchownat(AtFdCwd, at, owner, group, 0x100)));

    public FileError SetModified(string path, FileTime time)
    {
        TimeSpec* times = stackalloc TimeSpec[2];
        times[0].Nanoseconds = (1L << 30) - 2; // UTIME_OMIT
        times[1] = new TimeSpec { Seconds = time.Seconds, Nanoseconds = time.Nanoseconds };
        return Error(Libc(path, at => Posix.Libc.utimensat(AtFdCwd, at, times, 0x100)));
    }

    public FileError Resize(string path, long size)
    {
        int fd = Libc(path, at => Posix.Libc.openat(AtFdCwd, at, 2 | NoFollow | 0x800, 0));
        if (fd < 0)
        {
            return (FileError)(-fd);
        }

        FileError error = Error(PosixCalls.SetLength(fd, size));
        PosixCalls.Close(fd);
        return error;
    }

    public FileError SetXattr(string path, string name, byte[] value, XattrMode mode)
    {
        fixed (byte* key = Encoding.UTF8.GetBytes(name + "\0"), bytes = value)
        {
            byte* heldKey = key;
            byte* heldBytes = bytes;
            return Error(Libc(path, at => Posix.Libc.lsetxattr(at, heldKey, heldBytes, (nuint)value.Length, (int)mode)));
        }
    }

    public FileError RemoveXattr(string path, string name) => Error(RemoveXattrCall(At(path), name) < 0 ? -Marshal.GetLastPInvokeError() : 0);

    public (FileError Error, byte[] Value) GetXattr(string path, string name)
    {
        byte[] value = new byte[64 * 1024];
        fixed (byte* key = Encoding.UTF8.GetBytes(name + "\0"), bytes = value)
        {
            byte* heldKey = key;
            byte* heldBytes = bytes;
            int result = Libc(path, at => (int)Posix.Libc.lgetxattr(at, heldKey, heldBytes, 64 * 1024));
            return result < 0 ? ((FileError)(-result), []) : (FileError.None, value[..result]);
        }
    }

    public (FileError Error, string Names) ListXattrs(string path)
    {
        byte[] names = new byte[64 * 1024];
        fixed (byte* bytes = names)
        {
            byte* held = bytes;
            int result = Libc(path, at => (int)Posix.Libc.llistxattr(at, held, 64 * 1024));
            return result < 0
                ? ((FileError)(-result), "")
                : (FileError.None, string.Join(' ', Encoding.UTF8.GetString(names, 0, result).Split('\0', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)));
        }
    }

    public (FileError Error, string Target) ReadLink(string path)
    {
        byte[] target = new byte[4096];
        fixed (byte* bytes = target)
        {
            byte* held = bytes;
            int result = Libc(path, at => (int)Posix.Libc.readlinkat(AtFdCwd, at, held, 4096));
            return result < 0 ? ((FileError)(-result), "") : (FileError.None, Encoding.UTF8.GetString(target, 0, result));
        }
    }

    public (FileError Error, string Names) List(string path)
    {
        int fd = Libc(path, at => Posix.Libc.openat(AtFdCwd, at, 0x10000 | NoFollow, 0));
        if (fd < 0)
        {
            return ((FileError)(-fd), "");
        }

        List<string> names = [];
        byte[] buffer = new byte[32 * 1024];
        for (int bytes = PosixCalls.ReadDirectory(fd, buffer); bytes > 0; bytes = PosixCalls.ReadDirectory(fd, buffer))
        {
            for (int at = 0; at < bytes;)
            {
                int length = BitConverter.ToUInt16(buffer, at + 16);
                string name = Encoding.UTF8.GetString(buffer.AsSpan(at + 19, length - 19));
                name = name[..name.IndexOf('\0', StringComparison.Ordinal)];
                names.Add($"{name}:{(EntryType)TypeOf((PosixType)buffer[at + 18])}");
                at += length;
            }
        }

        PosixCalls.Close(fd);
        names.Sort(StringComparer.Ordinal);
        return (FileError.None, string.Join(' ', names));
    }

    public (FileError Error, FileFacts Facts) GetFacts(string path)
    {
        var stat = new StatxBuffer[1];
        fixed (StatxBuffer* first = stat)
        {
            StatxBuffer* held = first;
            int result = Libc(path, at => Posix.Libc.statx(AtFdCwd, at, 0x100, 0x7ff, held));
            return result < 0 ? ((FileError)(-result), default) : (FileError.None, FactsOf(stat[0]));
        }
    }

    public FileError Open(int slot, string path, OpenOptions options)
    {
        int flags = (options & (OpenOptions.Read | OpenOptions.Write)) switch
        {
            OpenOptions.Read => 0,
            OpenOptions.Write => 1,
            _ => 2,
        };
        flags |= ((options & OpenOptions.Append) != 0 ? 0x400 : 0) | ((options & OpenOptions.Truncate) != 0 ? 0x200 : 0);
        int fd = Libc(path, at => Posix.Libc.openat(AtFdCwd, at, flags | NoFollow, 0));
        _open[slot] = fd;
        return fd < 0 ? (FileError)(-fd) : FileError.None;
    }

    public FileError OpenTemporary(int slot, string path, uint mode)
    {
        int fd = Libc(path, at => Posix.Libc.openat(AtFdCwd, at, TemporaryFile | 2, mode));
        _open[slot] = fd;
        return fd < 0 ? (FileError)(-fd) : FileError.None;
    }

    public FileError LinkOpen(int slot, string newPath)
    {
        fixed (byte* from = Encoding.UTF8.GetBytes($"/proc/self/fd/{_open[slot]}\0"))
        {
            byte* held = from;
            return Error(Libc(newPath, to => Posix.Libc.linkat(AtFdCwd, held, AtFdCwd, to, AtSymlinkFollow)));
        }
    }

    public FileError Close(int slot)
    {
        PosixCalls.Close(_open[slot]);
        _open[slot] = -1;
        return FileError.None;
    }

    public (FileError Error, byte[] Bytes) Read(int slot, long offset, int count)
    {
        byte[] bytes = new byte[count];
        int read = PosixCalls.Read(_open[slot], offset, bytes);
        return read < 0 ? ((FileError)(-read), []) : (FileError.None, bytes[..read]);
    }

    public FileError Write(int slot, long offset, byte[] bytes) => Error(Math.Min(0, PosixCalls.Write(_open[slot], offset, bytes)));

    public FileError ResizeOpen(int slot, long size) => Error(PosixCalls.SetLength(_open[slot], size));

    public FileError Allocate(int slot, AllocateMode mode, long offset, long length)
    {
        int flags = mode switch
        {
            AllocateMode.Extend => 0,
            AllocateMode.KeepSize => 1,
            AllocateMode.PunchHole => 3,
            AllocateMode.ZeroRange => 0x10,
            _ => 0x11,
        };
        return Error(Fallocate(_open[slot], flags, offset, length) < 0 ? -Marshal.GetLastPInvokeError() : 0);
    }

    public (FileError Error, long Bytes) CopyRange(int from, long fromOffset, int to, long toOffset, long length)
    {
        long copied = CopyFileRange(_open[from], &fromOffset, _open[to], &toOffset, (nuint)length, 0);
        return copied < 0 ? ((FileError)Marshal.GetLastPInvokeError(), 0) : (FileError.None, copied);
    }

    public (FileError Error, FileFacts Facts) GetOpenFacts(int slot)
    {
        StatxBuffer stat;
        byte empty = 0;
        return Posix.Libc.statx(_open[slot], &empty, 0x1000, 0x7ff, &stat) < 0 ? ((FileError)Marshal.GetLastPInvokeError(), default) : (FileError.None, FactsOf(stat));
    }

    public FileError Sync(int slot) => FileError.None;

    public void Dispose()
    {
        foreach (int fd in _open.Where(static fd => fd >= 0))
        {
            PosixCalls.Close(fd);
        }

        _folder.Dispose();
    }

    private static FileFacts FactsOf(in StatxBuffer stat) =>
        new(TypeOf((PosixType)(stat.Mode >> 12)), stat.Mode & 0xfffu, stat.LinkCount, stat.Uid, stat.Gid, (stat.Mode >> 12) is 8 or 10 ? (long)stat.Size : 0);

    private static EntryType TypeOf(PosixType type) => type switch
    {
        PosixType.File => EntryType.File,
        PosixType.Directory => EntryType.Directory,
        PosixType.Symlink => EntryType.Symlink,
        PosixType.Fifo => EntryType.Fifo,
        PosixType.CharacterDevice => EntryType.CharacterDevice,
        PosixType.BlockDevice => EntryType.BlockDevice,
        _ => EntryType.Socket,
    };

    private delegate int PathCall(byte* path);

    private delegate int PathsCall(byte* from, byte* to);

    private string At(string path) => path.Length == 0 ? _folder.Path : $"{_folder.Path}/{path}";

    private int Libc(string path, PathCall call)
    {
        fixed (byte* at = Encoding.UTF8.GetBytes(At(path) + "\0"))
        {
            int result = call(at);
            return result < 0 ? -Marshal.GetLastPInvokeError() : result;
        }
    }

    private FileError Both(string path, string newPath, PathsCall call)
    {
        fixed (byte* from = Encoding.UTF8.GetBytes(At(path) + "\0"), to = Encoding.UTF8.GetBytes(At(newPath) + "\0"))
        {
            return call(from, to) < 0 ? (FileError)Marshal.GetLastPInvokeError() : FileError.None;
        }
    }

    private static FileError Error(int result) => result < 0 ? (FileError)(-result) : FileError.None;

    private static void Chmod(string path, uint mode)
    {
        fixed (byte* at = Encoding.UTF8.GetBytes(path + "\0"))
        {
            _ = Posix.Libc.fchmodat(AtFdCwd, at, mode, 0);
        }
    }

    [DllImport("libc", EntryPoint = "fallocate64", SetLastError = true)]
    private static extern int Fallocate(int fd, int mode, long offset, long length);

    [DllImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    private static extern long CopyFileRange(int from, long* fromOffset, int to, long* toOffset, nuint length, uint flags);

    [DllImport("libc", EntryPoint = "lremovexattr", SetLastError = true)]
    private static extern int RemoveXattrCall(string path, string name);

    [DllImport("libc", EntryPoint = "statfs64", SetLastError = true)]
    private static extern int StatFs(string path, byte* buffer);
}
