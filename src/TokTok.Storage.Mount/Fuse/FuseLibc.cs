using System.Runtime.InteropServices;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>The C library's calls that a mount needs. Linux on x86-64 and arm64, glibc; variadic functions of C take their integers in the same registers there.</summary>
internal static unsafe partial class FuseLibc
{
    internal const int EPERM = 1, ENOENT = 2, EINTR = 4, EAGAIN = 11, EBUSY = 16, ENODEV = 19, EINVAL = 22, ENOTCONN = 107;
    internal const short PollIn = 1;
    internal const int ReadWrite = 2, CloseOnExec = 0x80000;

    /// <summary>fcntl: F_DUPFD_CLOEXEC.</summary>
    internal const int DuplicateCloseOnExec = 1030;

    /// <summary>umount2: at once, whoever still uses it; and never by a symlink.</summary>
    internal const int Detach = 2, NoFollow = 8;

    internal const ulong NoSetUserId = 2, NoDevices = 4;

    private const string Name = "libc";

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int open(byte* path, int flags, uint mode);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint read(int fd, byte* buffer, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint write(int fd, byte* buffer, nuint bytes);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int poll(PollDescriptor* descriptors, nuint count, int milliseconds);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int ioctl(int fd, nuint request, uint* argument);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int mount(byte* source, byte* target, byte* type, nuint flags, byte* options);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int umount2(byte* target, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int socketpair(int domain, int type, int protocol, int* sockets);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint recvmsg(int socket, MessageHeader* message, int flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial byte* realpath(byte* path, byte* resolved);

    [LibraryImport(Name)]
    internal static partial uint geteuid();

    [LibraryImport(Name)]
    internal static partial uint getegid();

    /// <summary>struct pollfd.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct PollDescriptor
    {
        internal int Descriptor;
        internal short Events;
        internal short Happened;
    }

    /// <summary>struct msghdr of 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct MessageHeader
    {
        internal nint Name;
        internal nint NameBytes;
        internal IoVector* Vectors;
        internal nuint VectorCount;
        internal byte* Control;
        internal nuint ControlBytes;
        internal nint Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct IoVector
    {
        internal byte* Base;
        internal nuint Bytes;
    }
}
