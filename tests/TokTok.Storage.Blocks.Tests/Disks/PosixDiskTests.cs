using System.Globalization;
using System.Runtime.InteropServices;

using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Disks;

[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed partial class PosixDiskTests : DiskContract, IDisposable
{
    private readonly string _root = System.IO.Directory.CreateTempSubdirectory("tdfs-disk-").FullName;

    protected override IDisk Disk => PosixDisk.Instance;

    protected override string Root => _root;

    [Fact]
    public void Files_and_folders_are_the_owners_alone()
    {
        Disk.CreateDirectory(_root + "/d/e");
        Disk.Open(_root + "/d/f", DiskOpen.CreateNew).Dispose();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, System.IO.File.GetUnixFileMode(_root + "/d/f"));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, System.IO.File.GetUnixFileMode(_root + "/d/e"));
    }

    [Fact]
    public void A_full_device_is_told_as_full()
    {
        using IDiskFile full = Disk.Open("/dev/full", DiskOpen.ReadWrite);
        DiskException e = Assert.Throws<DiskException>(() => full.Write(0, new byte[512]));
        Assert.Equal(DiskFailure.Full, e.Failure);
        Assert.Equal("write /dev/full: no space left on device", e.Message);
    }

    [Fact]
    public void A_failed_sync_leaves_the_file_failed()
    {
        // The kernel has no sync for a character device: EINVAL.
        using IDiskFile file = Disk.Open("/dev/zero", DiskOpen.ReadWrite);
        _ = Assert.Throws<DiskException>(file.Sync);
        DiskException e = Assert.Throws<DiskException>(() => file.Write(0, [1]));
        Assert.Contains("earlier sync", e.Message, StringComparison.Ordinal);
        _ = Assert.Throws<DiskException>(file.Sync);
    }

    [Fact]
    public void A_path_that_would_become_another_name_is_refused()
    {
        Assert.ThrowsAny<ArgumentException>(() => Disk.FileExists(_root + "/a\0b"));
        Assert.ThrowsAny<ArgumentException>(() => Disk.FileExists(_root + "/a" + (char)0xD800 + "b"));
    }

    [Fact]
    public void A_lock_that_was_let_go_is_free_while_another_process_still_has_its_descriptor()
    {
        IDisposable held = Disk.TryLock(_root + "/lock")!;
        // What a process that is being started has until it runs its own program.
        int descriptor = System.IO.Directory.EnumerateFileSystemEntries("/proc/self/fd")
            .Where(link => TargetOf(link) == _root + "/lock")
            .Select(static link => int.Parse(System.IO.Path.GetFileName(link), CultureInfo.InvariantCulture)).Single();
        int copy = Duplicate(descriptor);
        try
        {
            Assert.Null(Disk.TryLock(_root + "/lock"));
            held.Dispose();
            using IDisposable? again = Disk.TryLock(_root + "/lock");
            Assert.NotNull(again);
        }
        finally
        {
            _ = Close(copy);
        }
    }

    private static string? TargetOf(string link)
    {
        try
        {
            return System.IO.File.ResolveLinkTarget(link, returnFinalTarget: false)?.FullName;
        }
        catch (System.IO.IOException)
        {
            return null; // another test closed it meanwhile
        }
    }

    [LibraryImport("libc", EntryPoint = "dup")]
    private static partial int Duplicate(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    public void Dispose() => System.IO.Directory.Delete(_root, recursive: true);
}
