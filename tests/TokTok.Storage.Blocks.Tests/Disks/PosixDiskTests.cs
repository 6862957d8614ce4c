using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Disks;

[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class PosixDiskTests : DiskContract, IDisposable
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

    public void Dispose() => System.IO.Directory.Delete(_root, recursive: true);
}
