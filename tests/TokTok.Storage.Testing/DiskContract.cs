using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>What every <see cref="IDisk"/> keeps. <see cref="Root"/> is an existing, empty folder.</summary>
public abstract class DiskContract
{
    protected abstract IDisk Disk { get; }

    protected abstract string Root { get; }

    private string Path(string name) => Root + "/" + name;

    private static DiskFailure FailureOf(Action action) => Assert.Throws<DiskException>(action).Failure;

    [Fact]
    public void What_was_written_is_read_back_and_a_read_stops_at_the_end()
    {
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew);
        Assert.Equal(0, file.Length);
        file.Write(0, [1, 2, 3, 4]);
        file.Write(2, [9]);
        file.Sync();
        byte[] target = new byte[8];
        Assert.Equal(3, file.Read(1, target));
        Assert.Equal([2, 9, 4, 0, 0, 0, 0, 0], target);
        Assert.Equal(0, file.Read(4, target));
        Assert.Equal(0, file.Read(100, target));
        Assert.Equal(4, file.Length);
    }

    [Fact]
    public void A_write_beyond_the_end_leaves_zeros_between()
    {
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew);
        file.Write(1000, [7]);
        byte[] target = new byte[1001];
        Assert.Equal(1001, file.Read(0, target));
        Assert.All(target[..1000], value => Assert.Equal(0, value));
        Assert.Equal(7, target[1000]);
    }

    [Fact]
    public void What_is_written_through_and_what_is_not_meet_in_one_file()
    {
        const int Bytes = 64 * 1024;
        var random = new SeededRandom(5);
        byte[] expected = random.Bytes(Bytes);
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew);
        file.Write(0, expected);
        file.Sync();
        for (int i = 0; i < 200; i++)
        {
            int from = random.Next(Bytes - 1);
            byte[] written = random.Bytes(1 + random.Next(Math.Min(9000, Bytes - from)));
            int start = from / IDiskFile.SectorBytes * IDiskFile.SectorBytes;
            int end = Math.Min(Bytes, (from + written.Length + IDiskFile.SectorBytes - 1) / IDiskFile.SectorBytes * IDiskFile.SectorBytes);
            written.CopyTo(expected, from);
            if (i % 3 == 0 || !file.TryWriteThrough(start, expected.AsSpan(start, end - start)))
            {
                file.Write(from, written);
            }

            byte[] back = new byte[Bytes + 1];
            Assert.Equal(Bytes, file.Read(0, back));
            Assert.Equal(expected, back[..Bytes]);
            Assert.Equal(Bytes, file.Length);
        }

        using IDiskFile again = Disk.Open(Path("a"), DiskOpen.Read);
        byte[] read = new byte[Bytes];
        Assert.Equal(Bytes, again.Read(0, read));
        Assert.Equal(expected, read);
    }

    [Fact]
    public void A_file_opened_for_reading_is_not_written_through()
    {
        byte[] bytes = new byte[IDiskFile.SectorBytes];
        using (IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew))
        {
            file.Write(0, bytes);
            file.Sync();
        }

        bytes[0] = 1;
        using IDiskFile again = Disk.Open(Path("a"), DiskOpen.Read);
        try
        {
            Assert.False(again.TryWriteThrough(0, bytes));
        }
        catch (DiskException)
        {
            // Either says that nothing was written.
        }

        Assert.Equal(bytes.Length, again.Read(0, bytes));
        Assert.Equal(0, bytes[0]);
    }

    [Fact]
    public void Truncation_cuts_and_a_later_growth_brings_zeros()
    {
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew);
        file.Write(0, [1, 2, 3, 4]);
        file.Truncate(1);
        Assert.Equal(1, file.Length);
        file.Truncate(3);
        byte[] target = new byte[3];
        Assert.Equal(3, file.Read(0, target));
        Assert.Equal([1, 0, 0], target);
    }

    [Fact]
    public void A_new_file_fails_where_the_name_exists_and_an_existing_one_where_it_does_not()
    {
        Disk.Open(Path("a"), DiskOpen.CreateNew).Dispose();
        Assert.Equal(DiskFailure.AlreadyExists, FailureOf(() => Disk.Open(Path("a"), DiskOpen.CreateNew)));
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.Open(Path("b"), DiskOpen.Read)));
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.Open(Path("b"), DiskOpen.ReadWrite)));
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.Open(Path("none/b"), DiskOpen.CreateNew)));
    }

    [Fact]
    public void A_file_opened_for_reading_refuses_writes()
    {
        Disk.Open(Path("a"), DiskOpen.CreateNew).Dispose();
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.Read);
        _ = FailureOf(() => file.Write(0, [1]));
        Assert.Equal(0, file.Length);
    }

    [Fact]
    public void A_folder_is_not_opened_as_a_file()
    {
        Disk.CreateDirectory(Path("d"));
        Assert.Equal(DiskFailure.Failed, FailureOf(() => Disk.Open(Path("d"), DiskOpen.Read)));
        Assert.Equal(DiskFailure.Failed, FailureOf(() => Disk.Open(Path("d"), DiskOpen.ReadWrite)));
    }

    [Fact]
    public void Rename_replaces_and_an_open_file_stays_what_it_was()
    {
        using IDiskFile old = Disk.Open(Path("b"), DiskOpen.CreateNew);
        old.Write(0, [1]);
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew);
        file.Write(0, [2]);
        Disk.Rename(Path("a"), Path("b"));
        Disk.SyncDirectory(Root);
        Assert.False(Disk.FileExists(Path("a")));
        using IDiskFile renamed = Disk.Open(Path("b"), DiskOpen.Read);
        byte[] target = new byte[1];
        _ = renamed.Read(0, target);
        Assert.Equal(2, target[0]);
        _ = old.Read(0, target);
        Assert.Equal(1, target[0]);
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.Rename(Path("a"), Path("c"))));
    }

    [Fact]
    public void A_deleted_file_is_gone_by_name_and_readable_where_it_is_open()
    {
        using IDiskFile file = Disk.Open(Path("a"), DiskOpen.CreateNew);
        file.Write(0, [5]);
        Disk.Delete(Path("a"));
        Assert.False(Disk.FileExists(Path("a")));
        byte[] target = new byte[1];
        Assert.Equal(1, file.Read(0, target));
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.Delete(Path("a"))));
    }

    [Fact]
    public void Folders_are_made_with_their_parents_listed_and_deleted_when_empty()
    {
        Disk.CreateDirectory(Path("x/y/z"));
        Disk.CreateDirectory(Path("x/y/z"));
        using (IDiskFile file = Disk.Open(Path("x/y/f\u00e4 \U0001F600"), DiskOpen.CreateNew))
        {
            file.Write(0, [1, 2, 3]);
        }

        Assert.True(Disk.DirectoryExists(Path("x/y/z")));
        Assert.False(Disk.FileExists(Path("x/y/z")));
        Assert.False(Disk.DirectoryExists(Path("x/y/none")));
        Assert.False(Disk.DirectoryExists(Path("x/y/f\u00e4 \U0001F600")));
        Assert.Equal(
            [new DiskEntry("f\u00e4 \U0001F600", false, 3), new DiskEntry("z", true, 0)],
            Disk.List(Path("x/y")).OrderBy(entry => entry.Name, StringComparer.Ordinal));
        Assert.Equal(DiskFailure.Failed, FailureOf(() => Disk.DeleteDirectory(Path("x"))));
        Disk.DeleteDirectory(Path("x/y/z"));
        Assert.False(Disk.DirectoryExists(Path("x/y/z")));
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.List(Path("x/y/z"))));
        Assert.Equal(DiskFailure.NotFound, FailureOf(() => Disk.SyncDirectory(Path("x/y/z"))));
    }

    [Fact]
    public void A_folder_is_not_made_over_a_file()
    {
        Disk.Open(Path("a"), DiskOpen.CreateNew).Dispose();
        Assert.Equal(DiskFailure.AlreadyExists, FailureOf(() => Disk.CreateDirectory(Path("a"))));
    }

    [Fact]
    public void A_lock_has_one_owner_until_it_is_disposed()
    {
        using (IDisposable? first = Disk.TryLock(Path("lock")))
        {
            Assert.NotNull(first);
            Assert.Null(Disk.TryLock(Path("lock")));
        }

        using IDisposable? second = Disk.TryLock(Path("lock"));
        Assert.NotNull(second);
    }

    [Fact]
    public void Free_space_is_a_number_of_bytes() => Assert.InRange(Disk.FreeBytes(Root), 1, long.MaxValue);

    [Fact]
    public void A_message_names_the_operation_the_path_and_the_reason_on_one_line()
    {
        DiskException e = Assert.Throws<DiskException>(() => Disk.Open(Path("none"), DiskOpen.Read));
        Assert.EndsWith("/none: no such file or directory", "/" + e.Message, StringComparison.Ordinal);
        Assert.StartsWith("open ", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }
}
