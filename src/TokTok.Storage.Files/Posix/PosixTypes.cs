namespace TokTok.Storage.Files.Posix;

/// <summary>The numbers of errno that Files tells apart (equal on x86-64 and arm64).</summary>
internal static class Errno
{
    internal const int EPERM = 1;
    internal const int ENOENT = 2;
    internal const int EINTR = 4;
    internal const int EIO = 5;
    internal const int ENXIO = 6;
    internal const int EACCES = 13;
    internal const int EEXIST = 17;
    internal const int EXDEV = 18;
    internal const int ENODEV = 19;
    internal const int ENOTDIR = 20;
    internal const int EISDIR = 21;
    internal const int EINVAL = 22;
    internal const int ENFILE = 23;
    internal const int EMFILE = 24;
    internal const int EFBIG = 27;
    internal const int ENOSPC = 28;
    internal const int EROFS = 30;
    internal const int EMLINK = 31;
    internal const int ERANGE = 34;
    internal const int ENAMETOOLONG = 36;
    internal const int ENOSYS = 38;
    internal const int ENOTEMPTY = 39;
    internal const int ELOOP = 40;
    internal const int ENODATA = 61;
    internal const int EOPNOTSUPP = 95;
    internal const int ESTALE = 116;
    internal const int EDQUOT = 122;

    /// <summary>The reason as a user reads it.</summary>
    internal static string Text(int errno) => errno switch
    {
        EPERM => "operation not permitted",
        ENOENT => "no such file or directory",
        EIO => "input/output error",
        ENXIO => "no such device or address",
        EACCES => "permission denied",
        EEXIST => "exists already",
        EXDEV => "crosses to another filesystem",
        ENODEV => "no such device",
        ENOTDIR => "not a directory",
        EISDIR => "is a directory",
        EINVAL => "invalid argument",
        ENFILE => "too many open files in the system",
        EMFILE => "too many open files",
        EFBIG => "file too large for this filesystem",
        ENOSPC => "no space left on the device",
        EROFS => "read-only filesystem",
        EMLINK => "too many links",
        ENAMETOOLONG => "name too long",
        ENOTEMPTY => "directory not empty",
        ELOOP => "is a symbolic link",
        EOPNOTSUPP => "not supported by this filesystem",
        ESTALE => "stale file handle",
        EDQUOT => "quota exceeded",
        _ => $"{System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})",
    };
}

/// <summary>What a name in a directory is: the type bits of st_mode, shifted down (also d_type of getdents64).</summary>
internal enum PosixType : byte
{
    Unknown = 0,
    Fifo = 1,
    CharacterDevice = 2,
    Directory = 4,
    BlockDevice = 6,
    File = 8,
    Symlink = 10,
    Socket = 12,
}

/// <summary>What one statx call says about a name. Times are nanoseconds since 1970.</summary>
internal struct FileStat
{
    internal ulong Device;
    internal ulong Inode;
    internal ulong SpecialDevice;
    internal long SizeBytes;

    /// <summary>512-byte units that the file really takes: fewer than its size has holes.</summary>
    internal long Blocks;

    internal long ModifyNs;

    /// <summary>The modification time over its whole range; <see cref="ModifyNs"/> stops at the years 1678 and 2262. Not kept in the stat cache.</summary>
    internal FileTime Modified;
    internal long ChangeNs;
    internal uint LinkCount;
    internal uint Uid;
    internal uint Gid;

    /// <summary>Type and permission bits, as st_mode.</summary>
    internal uint Mode;

    internal readonly PosixType Type => (PosixType)((Mode >> 12) & 15);

    internal readonly uint Permissions => Mode & 0xFFF;

    internal readonly bool HasHoles => Blocks < SizeBytes / 512;

    /// <summary>Whether nothing that a write or a change of metadata touches differs. Device numbers may change at a reboot and do not count.</summary>
    internal readonly bool IsSameAs(in FileStat other) =>
        Inode == other.Inode && ChangeNs == other.ChangeNs && ModifyNs == other.ModifyNs && SizeBytes == other.SizeBytes
        && Mode == other.Mode && Uid == other.Uid && Gid == other.Gid && LinkCount == other.LinkCount;
}

/// <summary>A system call on the source or target tree failed. The message is one line fit for a user.</summary>
public sealed class PosixException : IOException
{
    internal PosixException(int errno, string operation, string path)
        : base($"{operation} {path}: {Posix.Errno.Text(errno)}")
    {
        Errno = errno;
    }

    public PosixException()
    {
    }

    public PosixException(string message)
        : base(message)
    {
    }

    public PosixException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public int Errno { get; }
}
