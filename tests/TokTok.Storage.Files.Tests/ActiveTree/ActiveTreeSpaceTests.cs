using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>A store that has no room any more, as those who write into a volume meet it.</summary>
public sealed class ActiveTreeSpaceTests
{
    private const long Mebibyte = 1 << 20;

    [Fact]
    public void Writers_meet_a_full_disk_before_the_store_does_and_may_delete_and_go_on()
    {
        long free = 100 * Mebibyte;
        var clock = new ManualClock();
        var options = new ActiveTreeOptions
        {
            CommitInterval = TimeSpan.Zero,
            DirtyBytes = 1 << 30, // all of it stays in memory
            SpillBytes = 1 << 30,
            LoggedBytes = 1 << 30,
            Space = () => (1000 * Mebibyte, free),
            ReservedBytes = 64 * Mebibyte,
        };
        using var volume = new VolumeTree(options, clock: clock);
        ActiveTree tree = volume.Tree;
        Assert.Equal(FileError.None, tree.Create(volume.Caller, tree.RootId, "f"u8, 0x1a4, OpenOptions.Write, out _, out ulong handle));
        byte[] piece = new byte[Mebibyte];
        int written = 0;
        FileError error;
        while ((error = tree.Write(handle, written * Mebibyte, piece, WriteOptions.None, out _)) == FileError.None)
        {
            written++;
            Assert.True(written < 100, "a full disk accepted everything");
        }

        Assert.Equal(FileError.ENOSPC, error);
        Assert.InRange(written, 30, 36);
        free = 64 * Mebibyte;
        clock.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(FileError.ENOSPC, tree.MakeDirectory(volume.Caller, tree.RootId, "d"u8, 0x1ed, out _));
        Assert.Equal(FileError.ENOSPC, tree.SetXattr(volume.Caller, tree.RootId, "user.a"u8, "v"u8, XattrMode.Any));
        Assert.Equal(FileError.None, tree.GetStatistics(out VolumeStatistics statistics));
        Assert.Equal((64 * Mebibyte, 0L), (statistics.FreeBytes, statistics.AvailableBytes));
        Assert.Equal(FileError.None, tree.Rename(volume.Caller, tree.RootId, "f"u8, tree.RootId, "g"u8, RenameMode.Replace));
        Assert.Equal(FileError.None, tree.Sync(handle));
        Assert.Equal(FileError.None, tree.Release(handle));
        Assert.Equal(FileError.None, tree.Unlink(volume.Caller, tree.RootId, "g"u8));
        free = 200 * Mebibyte;
        clock.Advance(TimeSpan.FromSeconds(2));
        Assert.Equal(FileError.None, tree.MakeDirectory(volume.Caller, tree.RootId, "d"u8, 0x1ed, out _));
    }

    [Fact]
    public void A_store_that_failed_for_want_of_room_says_so_ever_after()
    {
        var full = new DiskException(DiskFailure.Full, "write", "/x", "no space left on device");
        Assert.True(Trouble.TryTell(new DiskException("an earlier write failed", full), out FileError error));
        Assert.Equal(FileError.ENOSPC, error);
        Assert.True(Trouble.TryTell(new FailedStore("an earlier write failed", full), out error));
        Assert.Equal(FileError.ENOSPC, error);
        Assert.True(Trouble.TryTell(new FailedStore("an earlier write failed", new DiskException(DiskFailure.Failed, "write", "/x", "input/output error")), out error));
        Assert.Equal(FileError.EIO, error);
        Assert.False(Trouble.TryTell(new InvalidOperationException("a mistake", full), out _));
    }

    private sealed class FailedStore(string message, Exception inner) : StoreFailureException(message, inner);
}
