using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace TokTok.Storage.Blocks.Disks;

/// <summary>The calls of the C library that <see cref="PosixDisk"/> needs, as a 64-bit Linux has them (x64 and Arm64 agree on every number and layout here but one).</summary>
internal static partial class Libc
{
    internal const int OpenReadOnly = 0;
    internal const int OpenReadWrite = 2;
    internal const int OpenCreate = 0x40;
    internal const int OpenExclusive = 0x80;
    internal const int OpenCloseOnExec = 0x80000;
    internal const int OpenSyncData = 0x1000;

    internal const int LockExclusiveNow = 2 | 4;
    internal const int Unlock = 8;

    internal const int CurrentFolder = -100;

    internal const uint StatTypeAndSize = 0x1 | 0x200;
    internal const int StatBytes = 256;
    internal const int StatModeOffset = 28;
    internal const int StatSizeOffset = 40;
    internal const int ModeTypeMask = 0xF000;
    internal const int ModeFolder = 0x4000;
    internal const int ModeFile = 0x8000;

    internal const int StatVfsBytes = 256;
    internal const int StatVfsFragmentSizeOffset = 8;
    internal const int StatVfsAvailableOffset = 32;

    internal const int EntryNameOffset = 19;

    internal const int SeekEnd = 2;

    internal const int NotPermitted = 1;
    internal const int NoEntry = 2;
    internal const int Interrupted = 4;
    internal const int WouldBlock = 11;
    internal const int AccessDenied = 13;
    internal const int Exists = 17;
    internal const int NotAFolder = 20;
    internal const int IsAFolder = 21;
    internal const int NotValid = 22;
    internal const int NoSpace = 28;
    internal const int ReadOnlyFileSystem = 30;
    internal const int NotSupported = 95;
    internal const int QuotaExceeded = 122;

    /// <summary>O_DIRECT, the one number here in which the processors differ; 0 on one that we do not know.</summary>
    internal static int OpenDirect => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 0x4000,
        Architecture.Arm64 => 0x10000,
        _ => 0,
    };

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "pread64", SetLastError = true)]
    internal static unsafe partial nint Read(SafeFileHandle file, byte* target, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "pwrite64", SetLastError = true)]
    internal static unsafe partial nint Write(SafeFileHandle file, byte* source, nuint count, long offset);

    [LibraryImport("libc", EntryPoint = "ftruncate64", SetLastError = true)]
    internal static partial int Truncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "lseek64", SetLastError = true)]
    internal static partial long Seek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    internal static partial int Sync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    internal static partial int SyncData(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    internal static partial int Lock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "mkdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int MakeFolder(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "rename", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Rename(string from, string to);

    [LibraryImport("libc", EntryPoint = "unlink", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Unlink(string path);

    [LibraryImport("libc", EntryPoint = "rmdir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int RemoveFolder(string path);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static unsafe partial int Stat(int folder, string path, int flags, uint mask, byte* target);

    [LibraryImport("libc", EntryPoint = "statvfs64", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static unsafe partial int StatVfs(string path, byte* target);

    [LibraryImport("libc", EntryPoint = "opendir", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial nint OpenFolder(string path);

    [LibraryImport("libc", EntryPoint = "readdir64", SetLastError = true)]
    internal static unsafe partial byte* ReadFolder(nint folder);

    [LibraryImport("libc", EntryPoint = "closedir", SetLastError = true)]
    internal static partial int CloseFolder(nint folder);
}
