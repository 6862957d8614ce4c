using System.Globalization;
using System.Runtime.InteropServices;

namespace Scale;

/// <summary>What the kernel says of this process, and how files leave its page cache.</summary>
internal static partial class Machine
{
    internal static string Line =>
        $"{Environment.ProcessorCount} × {Field("/proc/cpuinfo", "model name").Trim()}, {long.Parse(Field("/proc/meminfo", "MemTotal").Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture) >> 20} GiB, "
        + $"kernel {File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}, .NET {Environment.Version}, {DateTime.UtcNow:yyyy-MM-dd}, load {File.ReadAllText("/proc/loadavg").Split(' ')[0]}";

    /// <summary>The most memory that this process ever had resident, in MiB.</summary>
    internal static long PeakMiB => Status("VmHWM") >> 10;

    internal static long ResidentMiB => Status("VmRSS") >> 10;

    /// <summary>Bytes that this process caused to be written to the disk, of which nothing was taken back before it was.</summary>
    internal static long WrittenBytes => long.Parse(Field("/proc/self/io", "wchar"), CultureInfo.InvariantCulture);

    /// <summary>Syncs the files of a folder and has the page cache forget them. What the host below keeps cannot be helped.</summary>
    internal static void Forget(string folder)
    {
        foreach (string path in Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        {
            int file = Open(path, 0);
            if (file >= 0)
            {
                _ = Sync(file);
                _ = Advise(file, 0, 0, DontNeed);
                _ = Close(file);
            }
        }
    }

    /// <summary>Ends this process as a power cut would, but for the page cache.</summary>
    internal static void Die() => _ = Kill(Environment.ProcessId, 9);

    internal static long BytesIn(string folder) =>
        Directory.Exists(folder) ? new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(static file => file.Length) : 0;

    private const int DontNeed = 4;

    private static long Status(string name) => long.Parse(Field("/proc/self/status", name).Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture);

    private static string Field(string path, string name) => File.ReadLines(path).First(line => line.StartsWith(name, StringComparison.Ordinal)).Split(':')[1].Trim();

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Sync(int file);

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    private static partial int Advise(int file, long offset, long length, int advice);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int file);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
