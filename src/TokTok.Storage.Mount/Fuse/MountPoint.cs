using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>The folder that a volume is seen in: how the kernel is told of it, and how it is told to forget it.</summary>
/// <remarks>
/// Root mounts by mount(2). Any other user does by fusermount3 (fusermount where only that is), which is set-user-id: it opens the device, mounts, and sends the descriptor back over a
/// socket; it stays, and unmounts when the socket's other end is closed, however this process comes to its end.
/// Nothing in here looks into the folder once it is mounted: the answer would have to come from this process.
/// </remarks>
internal static unsafe class MountPoint
{
    private const int MaxPathBytes = 4096;
    private static readonly string[] s_helpers = ["fusermount3", "fusermount"];

    /// <summary>The folder's path without symlinks. A mount in it whose server has died is cleared away first.</summary>
    /// <exception cref="MountException">There is no such folder.</exception>
    internal static string Prepare(string path)
    {
        if (!TryResolve(path, out string resolved, out int error))
        {
            if (error != FuseLibc.ENOTCONN)
            {
                throw new MountException($"{path}: {Describe(error)}; expected a folder to mount on");
            }

            Clear(path);
            if (!TryResolve(path, out resolved, out error))
            {
                throw new MountException($"{path}: {Describe(error)}, after a mount without a server was cleared away from it; expected a folder to mount on");
            }
        }

        // The path of a dead mount resolves; a look at what lies there fails.
        int fd = Open(resolved, DirectoryOnly, out error);
        if (fd < 0 && error == FuseLibc.ENOTCONN)
        {
            Clear(resolved);
            fd = Open(resolved, DirectoryOnly, out error);
        }

        if (fd < 0)
        {
            throw new MountException($"{resolved}: {Describe(error)}; expected a folder to mount on");
        }

        _ = FuseLibc.close(fd);
        return resolved;
    }

    /// <summary>The path without symlinks.</summary>
    internal static bool TryResolve(string path, out string resolved, out int error)
    {
        byte* target = stackalloc byte[MaxPathBytes];
        fixed (byte* name = Text(path))
        {
            byte* found = FuseLibc.realpath(name, target);
            error = found == null ? Marshal.GetLastPInvokeError() : 0;
            resolved = found == null ? path : Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(found));
            return found != null;
        }
    }

    /// <summary>Mounts, and returns the descriptor of the device.</summary>
    /// <param name="helper">A socket to keep open as long as the mount is to last; -1: none.</param>
    internal static int Mount(string path, FuseOptions options, out int helper)
    {
        helper = -1;
        return FuseLibc.geteuid() == 0 ? MountAsRoot(path, options) : MountByHelper(path, options, out helper);
    }

    /// <summary>Takes the mount away.</summary>
    /// <param name="isLazy">At once for new users; those that have something open keep it.</param>
    /// <returns>False: it is in use, or it is not there any more.</returns>
    internal static bool TryUnmount(string path, bool isLazy)
    {
        if (FuseLibc.geteuid() != 0)
        {
            return RunHelper(isLazy ? ["-u", "-z", "--", path] : ["-u", "--", path]);
        }

        fixed (byte* target = Text(path))
        {
            return FuseLibc.umount2(target, FuseLibc.NoFollow | (isLazy ? FuseLibc.Detach : 0)) == 0;
        }
    }

    /// <summary>The device number that the kernel gave the mount, "0:57", by its list of mounts; null: it is not there.</summary>
    internal static string? DeviceOf(string path)
    {
        using var list = new StreamReader(new FileStream("/proc/self/mountinfo", FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        string? device = null;
        while (list.ReadLine() is { } line)
        {
            string[] words = line.Split(' ');
            if (words.Length > 4 && Unescape(words[4]) == path)
            {
                device = words[2]; // the last one lies on top
            }
        }

        return device;
    }

    /// <summary>Ends the connection whatever waits for it, where the kernel's control files are there.</summary>
    internal static bool TryAbort(string device) => TryWrite($"/sys/fs/fuse/connections/{device.Split(':')[^1]}/abort", "1"u8);

    /// <summary>Lets the kernel read four requests ahead, so that some wait for their blocks while others are copied; without the right to it stays at 128 KiB.</summary>
    internal static void WidenReadAhead(string device) => _ = TryWrite($"/sys/class/bdi/{device}/read_ahead_kb", "4096"u8);

    internal static string Describe(int error) => new System.ComponentModel.Win32Exception(error).Message;

    /// <summary>O_DIRECTORY, which each architecture has its own number for.</summary>
    private static int DirectoryOnly => RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;

    private static byte[] Text(string text) => Encoding.UTF8.GetBytes(text + '\0');

    private static int Open(string path, int flags, out int error)
    {
        fixed (byte* name = Text(path))
        {
            int fd = FuseLibc.open(name, flags | FuseLibc.CloseOnExec, 0);
            error = fd < 0 ? Marshal.GetLastPInvokeError() : 0;
            return fd;
        }
    }

    private static bool TryWrite(string path, ReadOnlySpan<byte> text)
    {
        int fd = Open(path, 1, out _);
        if (fd < 0)
        {
            return false;
        }

        fixed (byte* bytes = text)
        {
            bool isDone = FuseLibc.write(fd, bytes, (nuint)text.Length) == text.Length;
            _ = FuseLibc.close(fd);
            return isDone;
        }
    }

    private static void Clear(string path)
    {
        if (!TryUnmount(path, isLazy: true))
        {
            throw new MountException($"{path}: found a mount whose server has died, and it cannot be cleared away; unmount it as the user who mounted it, or as root: umount -l {path}");
        }
    }

    internal static int OpenDevice()
    {
        int fd = Open("/dev/fuse", FuseLibc.ReadWrite, out int error);
        return fd >= 0 ? fd
            : throw new MountException($"/dev/fuse: {Describe(error)}; {(error == FuseLibc.ENOENT ? "this kernel has no FUSE, or its module is not loaded: modprobe fuse" : "expected to open it for reading and writing")}");
    }

    /// <summary>Another descriptor of the device; -1 where it may not be opened, as by a user whose mount came from the helper.</summary>
    internal static int OpenDeviceOrNone() => Open("/dev/fuse", FuseLibc.ReadWrite, out _);

    private static string OptionText(FuseOptions options) =>
        $"default_permissions,max_read={FuseDispatcher.MaxTransferBytes}{(options.AllowOther ? ",allow_other" : "")}";

    private static int MountAsRoot(string path, FuseOptions options)
    {
        int fd = OpenDevice();
        string text = string.Create(
            CultureInfo.InvariantCulture, $"fd={fd},rootmode=40000,user_id={FuseLibc.geteuid()},group_id={FuseLibc.getegid()},{OptionText(options)}");
        fixed (byte* source = "tdfs\0"u8, target = Text(path), type = "fuse.tdfs\0"u8, data = Text(text))
        {
            if (FuseLibc.mount(source, target, type, (nuint)(FuseLibc.NoSetUserId | FuseLibc.NoDevices), data) == 0)
            {
                return fd;
            }
        }

        int error = Marshal.GetLastPInvokeError();
        _ = FuseLibc.close(fd);
        throw new MountException($"{path}: mount: {Describe(error)}{(error == FuseLibc.EPERM ? "; a container needs the right to mount (CAP_SYS_ADMIN)" : "")}");
    }

    private static int MountByHelper(string path, FuseOptions options, out int helper)
    {
        const int UnixDomain = 1, Stream = 1, SetDescriptorFlags = 2;
        int* sockets = stackalloc int[2];
        if (FuseLibc.socketpair(UnixDomain, Stream | FuseLibc.CloseOnExec, 0, sockets) != 0)
        {
            throw new MountException($"socketpair: {Describe(Marshal.GetLastPInvokeError())}");
        }

        helper = sockets[1];
        int theirs = sockets[0];
        _ = FuseLibc.fcntl(theirs, SetDescriptorFlags, 0); // the helper inherits this end
        try
        {
            using Process process = StartHelper(
                ["-o", $"fsname=tdfs,subtype=tdfs,auto_unmount,nosuid,nodev,{OptionText(options)}", "--", path],
                theirs);
            _ = FuseLibc.close(theirs);
            theirs = -1;
            int fd = Receive(helper);
            if (fd >= 0)
            {
                return fd;
            }

            string said = process.StandardError.ReadToEnd().Trim();
            process.WaitForExit();
            throw new MountException(said.Length > 0 ? said : $"{path}: {process.StartInfo.FileName} did not mount it, and ended with {process.ExitCode}");
        }
        catch
        {
            if (theirs >= 0)
            {
                _ = FuseLibc.close(theirs);
            }

            _ = FuseLibc.close(helper);
            helper = -1;
            throw;
        }
    }

    private static Process StartHelper(string[] words, int socket)
    {
        foreach (string name in s_helpers)
        {
            var start = new ProcessStartInfo(name, words) { RedirectStandardError = true, UseShellExecute = false };
            if (socket >= 0)
            {
                start.Environment["_FUSE_COMMFD"] = socket.ToString(CultureInfo.InvariantCulture);
            }

            try
            {
                return Process.Start(start)!;
            }
            catch (System.ComponentModel.Win32Exception missing) when (missing.NativeErrorCode == FuseLibc.ENOENT)
            {
                // the next name
            }
        }

        throw new MountException("found neither fusermount3 nor fusermount, which mount for users other than root; install fuse3");
    }

    private static bool RunHelper(string[] words)
    {
        using Process process = StartHelper(words, -1);
        _ = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0;
    }

    /// <summary>The descriptor that comes over the socket; -1: none came.</summary>
    private static int Receive(int socket)
    {
        const int ControlBytes = 24, DescriptorOffset = 16; // struct cmsghdr and one int, padded
        byte* control = stackalloc byte[ControlBytes];
        byte one;
        var vector = new FuseLibc.IoVector { Base = &one, Bytes = 1 };
        var message = new FuseLibc.MessageHeader { Vectors = &vector, VectorCount = 1 };
        nint got;
        do
        {
            message.Control = control;
            message.ControlBytes = ControlBytes;
            got = FuseLibc.recvmsg(socket, &message, 0x40000000); // MSG_CMSG_CLOEXEC
        }
        while (got < 0 && Marshal.GetLastPInvokeError() == FuseLibc.EINTR);
        return got > 0 && message.ControlBytes >= DescriptorOffset + sizeof(int) ? *(int*)(control + DescriptorOffset) : -1;
    }

    /// <summary>The kernel writes space, tab, newline and backslash in its lists as three octal digits.</summary>
    private static string Unescape(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        int used = 0;
        for (int at = 0; at < bytes.Length; at++)
        {
            bool isEscape = bytes[at] == '\\' && at + 3 < bytes.Length;
            bytes[used++] = isEscape ? (byte)(((bytes[at + 1] - '0') << 6) | ((bytes[at + 2] - '0') << 3) | (bytes[at + 3] - '0')) : bytes[at];
            at += isEscape ? 3 : 0;
        }

        return Encoding.UTF8.GetString(bytes.AsSpan(0, used));
    }
}
