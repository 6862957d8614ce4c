using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class BlocksAheadTests
{
    private const int MiB = 1 << 20;
    private const int FileBytes = 12 * MiB;
    private const int Request = 128 << 10;

    [Fact(Timeout = 60_000)]
    public async Task Who_reads_in_a_row_finds_the_next_blocks_read_and_not_all_of_them()
    {
        (VolumeTree volume, byte[] bytes, MemoryBlocks blocks) = await MakeAsync();
        using VolumeTree _ = volume;
        long all = blocks.Known.Count(static block => block.Type == BlockType.Data);
        long before = blocks.ReadCount;
        for (int at = 0; at < MiB; at += Request)
        {
            Check(volume, bytes, at, Request);
        }

        // A sixth of the file lies in the window, and a tenth was read.
        while (volume.Tree.CachedBytes < 5 * MiB / 2)
        {
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }

        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.InRange(blocks.ReadCount - before, 1, all / 2);
        for (int at = MiB; at < FileBytes; at += Request)
        {
            Check(volume, bytes, at, Request);
        }

        Assert.InRange(blocks.ReadCount - before, all, all + 5); // each block once; nodes above them
        volume.Close(0);
    }

    [Fact]
    public async Task Who_reads_here_and_there_gets_no_more_read_than_he_asks_for()
    {
        (VolumeTree volume, byte[] bytes, MemoryBlocks blocks) = await MakeAsync();
        long before = blocks.ReadCount;
        for (int at = 10 * MiB; at >= 0; at -= 2 * MiB)
        {
            Check(volume, bytes, at, Request);
        }

        volume.Close(0);
        volume.Dispose(); // waits for what is being fetched
        Assert.InRange(blocks.ReadCount - before, 6, 6 + 6 + 3);
    }

    [Fact]
    public async Task What_is_damaged_ahead_is_an_error_for_whoever_comes_there_and_for_nobody_before()
    {
        (VolumeTree volume, byte[] bytes, MemoryBlocks blocks) = await MakeAsync();
        using VolumeTree _ = volume;
        foreach ((Score score, BlockType type) in blocks.Known.Where(static block => block.Type == BlockType.Data))
        {
            if (bytes.AsSpan().IndexOf(blocks.Peek(score, type)) >= 2 * MiB)
            {
                blocks.Damage(score);
            }
        }

        int failed = -1;
        for (int at = 0; at < FileBytes && failed < 0; at += Request)
        {
            if (volume.Read(0, at, Request).Error is not FileError.None and var error)
            {
                Assert.Equal(FileError.EIO, error);
                failed = at;
            }
        }

        Assert.InRange(failed, (2 * MiB) - Request, 3 * MiB);
        volume.Close(0);
    }

    private static void Check(VolumeTree volume, byte[] bytes, int at, int count)
    {
        (FileError error, byte[] read) = volume.Read(0, at, count);
        Assert.Equal(FileError.None, error);
        Assert.True(bytes.AsSpan(at, count).SequenceEqual(read), $"{count} bytes at {at}");
    }

    /// <summary>A volume with one committed file of noise, open, and nothing of it in memory.</summary>
    private static async Task<(VolumeTree Volume, byte[] Bytes, MemoryBlocks Blocks)> MakeAsync()
    {
        byte[] bytes = new byte[FileBytes];
        new Random(5).NextBytes(bytes);
        var store = new MemoryVolumeStore();
        var volume = new VolumeTree(store: store);
        Assert.Equal(FileError.None, volume.Create("f", 0x1a4, true));
        Assert.Equal(FileError.None, volume.Open(0, "f", OpenOptions.Read | OpenOptions.Write));
        for (int at = 0; at < FileBytes; at += MiB)
        {
            Assert.Equal(FileError.None, volume.Write(0, at, bytes[at..(at + MiB)]));
        }

        volume.Close(0);
        await volume.RemountAsync();
        Assert.Equal(FileError.None, volume.Open(0, "f", OpenOptions.Read));
        return (volume, bytes, store.Blocks);
    }
}
