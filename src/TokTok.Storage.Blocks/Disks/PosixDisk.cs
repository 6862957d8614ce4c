using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Disks;

/// <summary>The real disk of a Linux machine, by way of the C library.</summary>
/// <remarks>
/// Why not System.IO: its flush returns normally when the kernel says EIO or ENOSPC, and it does not sync folders. Here every call's result is checked.
/// Files are made with mode 0600 and folders with 0700. Paths are UTF-8; a name in a folder that is not valid UTF-8 is listed with
/// replacement characters and belongs to someone else. Calls that a signal interrupted are made again.
/// Durable: as <see cref="IDisk"/> says. fdatasync is enough for files: it writes the data and whatever metadata is needed to read it back,
/// the length among it, and leaves out only the times. What is written through goes by O_DIRECT and O_DSYNC, where the file system takes both and sectors of 512 bytes.
/// Safe from many threads.
/// </remarks>
public sealed class PosixDisk : IDisk
{
    private const uint FileMode = 0x180;    // 0600
    private const uint FolderMode = 0x1C0;  // 0700
    private const nuint DirectAlignment = 4096;

    private static readonly UTF8Encoding s_strictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static PosixDisk Instance { get; } = new();

    public IDiskFile Open(string path, DiskOpen mode)
    {
        Check(path);
        int flags = Libc.OpenCloseOnExec | mode switch
        {
            DiskOpen.Read => Libc.OpenReadOnly,
            DiskOpen.ReadWrite => Libc.OpenReadWrite,
            DiskOpen.CreateNew => Libc.OpenReadWrite | Libc.OpenCreate | Libc.OpenExclusive,
            _ => throw new ArgumentOutOfRangeException(nameof(mode)),
        };
        SafeFileHandle handle = OpenHandle("open", path, flags);
        if (mode == DiskOpen.Read && DirectoryExists(path))
        {
            // Linux opens a folder for reading and fails only at the first read.
            handle.Dispose();
            throw Failure("open", path, Libc.IsAFolder);
        }

        return new PosixFile(handle, path, isWritable: mode != DiskOpen.Read);
    }

    public bool FileExists(string path) => TryStat(path, out int type, out _) && type == Libc.ModeFile;

    public bool DirectoryExists(string path) => TryStat(path, out int type, out _) && type == Libc.ModeFolder;

    public void CreateDirectory(string path)
    {
        Check(path);
        var missing = new Stack<string>();
        string current = TrimEnd(path);
        while (!DirectoryExists(current))
        {
            missing.Push(current);
            current = Parent(current);
        }

        // A process that died between mkdir and the sync below left one folder whose name may not be durable: the deepest that exists.
        SyncFoundFolder(Parent(current));
        while (missing.TryPop(out string? folder))
        {
            if (Libc.MakeFolder(folder, FolderMode) != 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error != Libc.Exists || !DirectoryExists(folder))
                {
                    throw Failure("create folder", folder, error);
                }
            }

            SyncDirectory(Parent(folder));
        }
    }

    public void Rename(string from, string to)
    {
        Check(from);
        Check(to);
        if (Libc.Rename(from, to) != 0)
        {
            throw Failure("rename", from, Marshal.GetLastPInvokeError());
        }
    }

    public void Delete(string path)
    {
        Check(path);
        if (Libc.Unlink(path) != 0)
        {
            throw Failure("delete", path, Marshal.GetLastPInvokeError());
        }
    }

    public void DeleteDirectory(string path)
    {
        Check(path);
        if (Libc.RemoveFolder(path) != 0)
        {
            throw Failure("delete folder", path, Marshal.GetLastPInvokeError());
        }
    }

    public unsafe IReadOnlyList<DiskEntry> List(string path)
    {
        Check(path);
        nint folder = Libc.OpenFolder(path);
        if (folder == 0)
        {
            throw Failure("list", path, Marshal.GetLastPInvokeError());
        }

        var names = new List<string>();
        try
        {
            while (true)
            {
                byte* entry = Libc.ReadFolder(folder);
                if (entry == null)
                {
                    // SetLastError clears errno before the call, so that the end (0) is told from a failure.
                    int error = Marshal.GetLastPInvokeError();
                    if (error != 0)
                    {
                        throw Failure("list", path, error);
                    }

                    break;
                }

                string name = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(entry + Libc.EntryNameOffset));
                if (name is not ("." or ".."))
                {
                    names.Add(name);
                }
            }
        }
        finally
        {
            _ = Libc.CloseFolder(folder);
        }

        var entries = new List<DiskEntry>(names.Count);
        foreach (string name in names)
        {
            // A name that went away meanwhile, or that is not UTF-8 and so cannot be asked for, is left out.
            if (TryStat(TrimEnd(path) + "/" + name, out int type, out long length))
            {
                entries.Add(new DiskEntry(name, type == Libc.ModeFolder, type == Libc.ModeFolder ? 0 : length));
            }
        }

        return entries;
    }

    public void SyncDirectory(string path)
    {
        Check(path);
        using SafeFileHandle folder = OpenHandle("sync folder", path, Libc.OpenCloseOnExec | Libc.OpenReadOnly);
        int result;
        do
        {
            result = Libc.Sync(folder);
        }
        while (result != 0 && Marshal.GetLastPInvokeError() == Libc.Interrupted);
        if (result != 0)
        {
            throw Failure("sync folder", path, Marshal.GetLastPInvokeError());
        }
    }

    public unsafe long FreeBytes(string path)
    {
        Check(path);
        byte* stat = stackalloc byte[Libc.StatVfsBytes];
        if (Libc.StatVfs(path, stat) != 0)
        {
            throw Failure("measure", path, Marshal.GetLastPInvokeError());
        }

        ulong fragmentBytes = *(ulong*)(stat + Libc.StatVfsFragmentSizeOffset);
        ulong available = *(ulong*)(stat + Libc.StatVfsAvailableOffset);
        UInt128 free = (UInt128)fragmentBytes * available;
        return free > long.MaxValue ? long.MaxValue : (long)free;
    }

    public IDisposable? TryLock(string path)
    {
        Check(path);
        SafeFileHandle file = OpenHandle("lock", path, Libc.OpenCloseOnExec | Libc.OpenReadWrite | Libc.OpenCreate);
        while (Libc.Lock(file, Libc.LockExclusiveNow) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error == Libc.Interrupted)
            {
                continue;
            }

            file.Dispose();
            return error == Libc.WouldBlock ? null : throw Failure("lock", path, error);
        }

        return new HeldLock(file);
    }

    /// <summary>A lock that ends when it is let go, also where another process holds a copy of its descriptor:
    /// one that is being started has all of ours until it runs its own program, and closing ours alone would leave the lock with it.</summary>
    private sealed class HeldLock(SafeFileHandle file) : IDisposable
    {
        public void Dispose()
        {
            if (!file.IsClosed)
            {
                _ = Libc.Lock(file, Libc.Unlock); // on failure closing still ends it, a little later
                file.Dispose();
            }
        }
    }

    internal static DiskException Failure(string operation, string path, int error)
    {
        DiskFailure failure = error switch
        {
            Libc.NoSpace or Libc.QuotaExceeded => DiskFailure.Full,
            Libc.ReadOnlyFileSystem => DiskFailure.ReadOnly,
            Libc.AccessDenied or Libc.NotPermitted => DiskFailure.Denied,
            Libc.NoEntry => DiskFailure.NotFound,
            Libc.Exists => DiskFailure.AlreadyExists,
            _ => DiskFailure.Failed,
        };
        string reason = Marshal.GetPInvokeErrorMessage(error);
        reason = reason.Length == 0 ? $"error {error}" : char.ToLowerInvariant(reason[0]) + reason[1..];
        return new DiskException(failure, operation, path.ReplaceLineEndings("?"), reason);
    }

    private static void Check(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (path.Contains('\0', StringComparison.Ordinal))
        {
            throw new ArgumentException("a path holds no NUL", nameof(path));
        }

        // A lone surrogate has no UTF-8 and would silently become another name.
        _ = s_strictUtf8.GetByteCount(path);
    }

    private static string TrimEnd(string path)
    {
        string trimmed = path.TrimEnd('/');
        return trimmed.Length == 0 ? "/" : trimmed;
    }

    private static string Parent(string path)
    {
        int slash = path.LastIndexOf('/');
        return slash switch
        {
            < 0 => path == "." ? "/" : ".",
            0 => "/",
            _ => TrimEnd(path[..slash]),
        };
    }

    private static SafeFileHandle OpenHandle(string operation, string path, int flags)
    {
        int descriptor;
        do
        {
            descriptor = Libc.Open(path, flags, FileMode);
        }
        while (descriptor < 0 && Marshal.GetLastPInvokeError() == Libc.Interrupted);
        return descriptor >= 0
            ? new SafeFileHandle(descriptor, ownsHandle: true)
            : throw Failure(operation, path, Marshal.GetLastPInvokeError());
    }

    private static unsafe bool TryStat(string path, out int type, out long length)
    {
        Check(path);
        byte* stat = stackalloc byte[Libc.StatBytes];
        if (Libc.Stat(Libc.CurrentFolder, path, 0, Libc.StatTypeAndSize, stat) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error is Libc.NoEntry or Libc.NotAFolder)
            {
                type = 0;
                length = 0;
                return false;
            }

            throw Failure("look at", path, error);
        }

        type = *(ushort*)(stat + Libc.StatModeOffset) & Libc.ModeTypeMask;
        length = *(long*)(stat + Libc.StatSizeOffset);
        return true;
    }

    /// <summary>Syncs a folder that we did not make; one that we may pass through but not read is its owner's to sync.</summary>
    private void SyncFoundFolder(string path)
    {
        try
        {
            SyncDirectory(path);
        }
        catch (DiskException e) when (e.Failure is DiskFailure.Denied or DiskFailure.ReadOnly)
        {
        }
    }

    private sealed class PosixFile(SafeFileHandle handle, string path, bool isWritable) : IDiskFile
    {
        private readonly Lock _gate = new(); // around the opening of what follows
        private SafeFileHandle? _through;
        private volatile bool _hasNoThrough = !isWritable;
        private volatile bool _failed;

        public long Length
        {
            get
            {
                // The file's position is used by nothing else: reads and writes carry their own.
                long length = Libc.Seek(handle, 0, Libc.SeekEnd);
                return length >= 0 ? length : throw Failure("measure", path, Marshal.GetLastPInvokeError());
            }
        }

        public unsafe int Read(long offset, Span<byte> target)
        {
            int done = 0;
            fixed (byte* start = target)
            {
                while (done < target.Length)
                {
                    nint count = Libc.Read(handle, start + done, (nuint)(target.Length - done), offset + done);
                    if (count == 0)
                    {
                        break;
                    }

                    if (count > 0)
                    {
                        done += (int)count;
                    }
                    else if (Marshal.GetLastPInvokeError() is int error && error != Libc.Interrupted)
                    {
                        throw Failure("read", path, error);
                    }
                }
            }

            return done;
        }

        public unsafe void Write(long offset, ReadOnlySpan<byte> source)
        {
            ThrowIfFailed("write");
            int done = 0;
            fixed (byte* start = source)
            {
                while (done < source.Length)
                {
                    nint count = Libc.Write(handle, start + done, (nuint)(source.Length - done), offset + done);
                    if (count >= 0)
                    {
                        Debug.Assert(count > 0, "pwrite of a positive count wrote nothing and reported no error");
                        done += (int)count;
                    }
                    else if (Marshal.GetLastPInvokeError() is int error && error != Libc.Interrupted)
                    {
                        throw Failure("write", path, error);
                    }
                }
            }
        }

        public unsafe bool TryWriteThrough(long offset, ReadOnlySpan<byte> source)
        {
            ThrowIfFailed("write");
            if (Through() is not { } through)
            {
                return false;
            }

            byte* sectors = (byte*)NativeMemory.AlignedAlloc((nuint)source.Length, DirectAlignment);
            try
            {
                source.CopyTo(new Span<byte>(sectors, source.Length));
                int done = 0;
                while (done < source.Length)
                {
                    nint count = Libc.Write(through, sectors + done, (nuint)(source.Length - done), offset + done);
                    if (count >= 0)
                    {
                        done += (int)count;
                    }
                    else if (Marshal.GetLastPInvokeError() is int error && error != Libc.Interrupted)
                    {
                        if (done == 0 && error is Libc.NotValid or Libc.NotSupported)
                        {
                            _hasNoThrough = true; // larger sectors, say
                            return false;
                        }

                        _failed = true;
                        throw Failure("write", path, error);
                    }
                }
            }
            finally
            {
                NativeMemory.AlignedFree(sectors);
            }

            return true;
        }

        public void Truncate(long length)
        {
            ThrowIfFailed("truncate");
            while (Libc.Truncate(handle, length) != 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error != Libc.Interrupted)
                {
                    throw Failure("truncate", path, error);
                }
            }
        }

        public void Sync()
        {
            ThrowIfFailed("sync");
            while (Libc.SyncData(handle) != 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error == Libc.Interrupted)
                {
                    continue;
                }

                // The kernel may have dropped the dirty pages: a second sync would report success over lost data.
                _failed = true;
                throw Failure("sync", path, error);
            }
        }

        public void Dispose()
        {
            _through?.Dispose();
            handle.Dispose();
        }

        /// <summary>The same file opened again, by no name of its own: that may be another file's by now.</summary>
        private SafeFileHandle? Through()
        {
            if (_through is not null || _hasNoThrough)
            {
                return _hasNoThrough ? null : _through;
            }

            lock (_gate)
            {
                int direct = Libc.OpenDirect;
                if (_through is null && direct != 0)
                {
                    int descriptor = Libc.Open($"/proc/self/fd/{handle.DangerousGetHandle()}", Libc.OpenCloseOnExec | Libc.OpenReadWrite | Libc.OpenSyncData | direct, 0);
                    _through = descriptor >= 0 ? new SafeFileHandle(descriptor, ownsHandle: true) : null;
                }

                _hasNoThrough = _through is null;
                return _through;
            }
        }

        private void ThrowIfFailed(string operation)
        {
            if (_failed)
            {
                throw new DiskException(DiskFailure.Failed, operation, path, "an earlier sync of this file failed");
            }
        }
    }
}
