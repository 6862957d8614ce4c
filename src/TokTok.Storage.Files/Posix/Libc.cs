using System.Runtime.InteropServices;

namespace TokTok.Storage.Files.Posix;

/// <summary>The C library's calls, as declared in its headers; <see cref="PosixCalls"/> is what the rest of Files uses.</summary>
/// <remarks>
/// Linux on x86-64 and arm64, glibc 2.30 or later. Names are NUL-terminated bytes. openat and syscall are variadic in C; on both
/// architectures integers travel in the same registers either way.
/// </remarks>
internal static unsafe partial class Libc
{
    private const string Name = "libc";

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int openat(int dirfd, byte* path, int flags, uint mode);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint getdents64(int fd, byte* buffer, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int statx(int dirfd, byte* path, int flags, uint mask, StatxBuffer* buffer);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint readlinkat(int dirfd, byte* path, byte* buffer, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint pread64(int fd, byte* buffer, nuint bytes, long offset);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint pwrite64(int fd, byte* buffer, nuint bytes, long offset);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial long lseek64(int fd, long offset, int whence);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint flistxattr(int fd, byte* list, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint llistxattr(byte* path, byte* list, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint fgetxattr(int fd, byte* name, byte* value, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint lgetxattr(byte* path, byte* name, byte* value, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fsetxattr(int fd, byte* name, byte* value, nuint bytes, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int lsetxattr(byte* path, byte* name, byte* value, nuint bytes, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fremovexattr(int fd, byte* name);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int mkdirat(int dirfd, byte* path, uint mode);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int mknodat(int dirfd, byte* path, uint mode, ulong device);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int symlinkat(byte* target, int dirfd, byte* path);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int linkat(int fromDirfd, byte* from, int toDirfd, byte* to, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int renameat(int fromDirfd, byte* from, int toDirfd, byte* to);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int renameat2(int fromDirfd, byte* from, int toDirfd, byte* to, uint flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int unlinkat(int dirfd, byte* path, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fchownat(int dirfd, byte* path, uint uid, uint gid, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fchown(int fd, uint uid, uint gid);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fchmodat(int dirfd, byte* path, uint mode, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fchmod(int fd, uint mode);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int utimensat(int dirfd, byte* path, TimeSpec* times, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int futimens(int fd, TimeSpec* times);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int ftruncate64(int fd, long length);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fsync(int fd);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int syncfs(int fd);

    [LibraryImport(Name)]
    internal static partial uint geteuid();

    [LibraryImport(Name)]
    internal static partial int getpwuid_r(uint uid, NameRecord* record, byte* buffer, nuint bytes, NameRecord** result);

    [LibraryImport(Name)]
    internal static partial int getgrgid_r(uint gid, NameRecord* record, byte* buffer, nuint bytes, NameRecord** result);

    [LibraryImport(Name)]
    internal static partial int getpwnam_r(byte* name, NameRecord* record, byte* buffer, nuint bytes, NameRecord** result);

    [LibraryImport(Name)]
    internal static partial int getgrnam_r(byte* name, NameRecord* record, byte* buffer, nuint bytes, NameRecord** result);

    [LibraryImport(Name)]
    internal static partial nint realpath(byte* path, byte* resolved);

    [LibraryImport(Name)]
    internal static partial void free(nint memory);
}

[StructLayout(LayoutKind.Sequential)]
internal struct TimeSpec
{
    internal long Seconds;
    internal long Nanoseconds;
}

/// <summary>struct passwd and struct group: both begin with name, password, and the number (uid or gid).</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal unsafe struct NameRecord
{
    [FieldOffset(0)]
    internal byte* Name;

    [FieldOffset(16)]
    internal uint Id;
}

/// <summary>struct statx of linux/stat.h, the same on every architecture.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal struct StatxBuffer
{
    [FieldOffset(0)]
    internal uint Mask;

    [FieldOffset(16)]
    internal uint LinkCount;

    [FieldOffset(20)]
    internal uint Uid;

    [FieldOffset(24)]
    internal uint Gid;

    [FieldOffset(28)]
    internal ushort Mode;

    [FieldOffset(32)]
    internal ulong Inode;

    [FieldOffset(40)]
    internal ulong Size;

    [FieldOffset(48)]
    internal ulong Blocks;

    [FieldOffset(64)]
    internal long AccessSeconds;

    [FieldOffset(72)]
    internal uint AccessNanoseconds;

    [FieldOffset(96)]
    internal long ChangeSeconds;

    [FieldOffset(104)]
    internal uint ChangeNanoseconds;

    [FieldOffset(112)]
    internal long ModifySeconds;

    [FieldOffset(120)]
    internal uint ModifyNanoseconds;

    [FieldOffset(128)]
    internal uint RdevMajor;

    [FieldOffset(132)]
    internal uint RdevMinor;

    [FieldOffset(136)]
    internal uint DevMajor;

    [FieldOffset(140)]
    internal uint DevMinor;
}
