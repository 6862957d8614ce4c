using TokTok.Storage.Blocks.Index;

namespace TokTok.Storage.Blocks.Tests.Index;

public sealed class FasterIndexTests : BlockIndexContract, IDisposable
{
    private readonly string _parent = Directory.CreateTempSubdirectory("tdfs-index-").FullName;
    private readonly string _folder;
    private FasterIndex _index;

    public FasterIndexTests()
    {
        _folder = Path.Combine(_parent, "index");
        _index = new FasterIndex(_folder, FasterIndex.MinMemoryBytes);
    }

    protected override IBlockIndex Index => _index;

    public void Dispose()
    {
        _index.Dispose();
        Directory.Delete(_parent, recursive: true);
    }

    [Fact]
    public void Nothing_is_opened_before_the_first_use()
    {
        Assert.False(Directory.Exists(_folder));
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.True(Directory.Exists(_folder));
    }

    [Fact]
    public void A_reopened_index_is_as_its_last_checkpoint_left_it()
    {
        for (int round = 1; round <= 4; round++)
        {
            Fill((round - 1) * 10_000, round * 10_000);
            Index.Checkpoint((ulong)round);
            Fill(1_000_000, 1_001_000);
            Reopen();
            Assert.Equal((ulong)round, Index.CoveredSequence);
            Assert.Equal(round * 10_000, Index.Count);
            AssertFound(0, round * 10_000);
            Assert.False(Index.TryFind(Samples.Score(1_000_500), out _));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(20_000)]
    [InlineData(300_000)]
    public void An_index_that_is_only_read_reopens_every_time(int keys)
    {
        Fill(0, keys);
        Index.Checkpoint(3);
        for (int i = 0; i < 4; i++)
        {
            Reopen();
            Assert.Equal(3UL, Index.CoveredSequence);
            Assert.Equal(keys, Index.Count);
            AssertFound(0, keys, step: 97);
        }
    }

    [Fact]
    public void What_was_added_after_a_checkpoint_and_lost_does_not_harm_it()
    {
        Fill(0, 50_000);
        Index.Checkpoint(3);
        for (int i = 0; i < 3; i++)
        {
            Reopen();
            Assert.Equal(3UL, Index.CoveredSequence);
            AssertFound(0, 50_000, step: 17);
            Fill(50_000, 350_000);
        }
    }

    [Fact]
    public void A_checkpoint_without_entries_reopens()
    {
        Index.Checkpoint(9);
        Reopen();
        Assert.Equal(9UL, Index.CoveredSequence);
        Assert.Equal(0, Index.Count);
        Index.Add(Samples.Score(1), Samples.Location(1));
        AssertFound(1, 2);
    }

    [Fact]
    public void Without_a_checkpoint_a_reopened_index_is_empty()
    {
        Fill(0, 1000);
        Reopen();
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.Equal(0, Index.Count);
        Assert.False(Index.TryFind(Samples.Score(1), out _));
    }

    [Fact]
    public void A_cleared_index_stays_empty_when_reopened()
    {
        Fill(0, 1000);
        Index.Checkpoint(5);
        Index.Clear();
        Reopen();
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.False(Index.TryFind(Samples.Score(1), out _));
    }

    [Fact]
    public void An_interrupted_checkpoint_leaves_the_former_one()
    {
        Fill(0, 10_000);
        Index.Checkpoint(1);
        string cover = Path.Combine(_folder, "cover");
        byte[] former = File.ReadAllBytes(cover);
        string[] kept = [.. Directory.EnumerateFiles(Path.Combine(_folder, "checkpoints"), "*", SearchOption.AllDirectories)];
        var contents = kept.ToDictionary(path => path, File.ReadAllBytes);
        Fill(10_000, 30_000);
        Index.Checkpoint(2);
        _index.Dispose();

        // As a crash before the rename leaves it: the new checkpoint's files, the former's, and the former cover.
        foreach ((string path, byte[] bytes) in contents)
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(path, bytes);
        }

        File.WriteAllBytes(cover, former);
        Reopen();
        Assert.Equal(1UL, Index.CoveredSequence);
        Assert.Equal(10_000, Index.Count);
        AssertFound(0, 10_000);
        Assert.False(Index.TryFind(Samples.Score(20_000), out _));
        Fill(10_000, 40_000);
        Index.Checkpoint(3);
        Reopen();
        Assert.Equal(3UL, Index.CoveredSequence);
        AssertFound(0, 40_000);
    }

    [Fact]
    public void A_flipped_bit_in_any_file_makes_the_index_begin_empty()
    {
        Fill(0, 5000);
        Index.Checkpoint(4);
        _index.Dispose();
        Dictionary<string, byte[]> files = FilesWithBytes();
        Assert.True(files.Count >= 4, string.Join(", ", files.Keys));
        foreach ((string path, byte[] bytes) in files)
        {
            Restore(files);
            byte[] damaged = [.. bytes];
            damaged[Path.GetFileName(path).StartsWith("log", StringComparison.Ordinal) ? 200_000 : bytes.Length / 2] ^= 0x10;
            File.WriteAllBytes(path, damaged);
            AssertBeginsEmpty(path);
        }
    }

    [Fact]
    public void A_file_cut_short_or_missing_makes_the_index_begin_empty()
    {
        Fill(0, 5000);
        Index.Checkpoint(4);
        _index.Dispose();
        Dictionary<string, byte[]> files = FilesWithBytes();
        foreach ((string path, byte[] bytes) in files)
        {
            foreach (int length in new[] { 0, bytes.Length / 3 })
            {
                Restore(files);
                File.WriteAllBytes(path, bytes[..length]);
                AssertBeginsEmpty($"{path} cut to {length}");
            }

            Restore(files);
            File.Delete(path);
            AssertBeginsEmpty($"{path} deleted");
        }

        Restore(files);
        Reopen();
        Assert.Equal(4UL, Index.CoveredSequence);
        AssertFound(0, 5000);
    }

    [Fact]
    public void A_cover_of_another_checkpoint_does_not_count()
    {
        Fill(0, 1000);
        Index.Checkpoint(1);
        byte[] former = File.ReadAllBytes(Path.Combine(_folder, "cover"));
        Fill(1000, 2000);
        Index.Checkpoint(2);
        _index.Dispose();
        File.WriteAllBytes(Path.Combine(_folder, "cover"), former);
        AssertBeginsEmpty("former cover");
    }

    [Fact]
    public void A_log_that_cannot_be_written_stops_the_index_and_not_its_caller()
    {
        Fill(0, 1000);
        Index.Checkpoint(1);
        Reopen();
        Assert.Equal(1000, Index.Count);
        string log = Path.Combine(_folder, "log.0");
        File.Move(log, log + ".kept");
        File.CreateSymbolicLink(log, "/dev/full");

        Fill(1000, 60_000);
        Assert.Throws<IOException>(() => Index.Checkpoint(2));
        Assert.False(Index.TryFind(Samples.Score(7), out _), "an index whose files fail finds nothing more");
        Fill(60_000, 61_000);
        Assert.Throws<IOException>(() => Index.Checkpoint(2));
        _index.Dispose();

        File.Move(log + ".kept", log, overwrite: true);
        Reopen();
        Assert.Equal(1UL, Index.CoveredSequence);
        AssertFound(0, 1000);
    }

    [Fact]
    public void A_cover_that_claims_a_terabyte_does_not_count()
    {
        Fill(0, 1000);
        Index.Checkpoint(1);
        _index.Dispose();
        string cover = Path.Combine(_folder, "cover");
        using (FileStream file = new(cover, FileMode.Open, FileAccess.Write))
        {
            file.SetLength(1L << 40);
        }

        AssertBeginsEmpty("a cover of a terabyte");
    }

    [Fact]
    public void More_keys_than_memory_holds_are_all_found_before_and_after_reopening()
    {
        const int Keys = 600_000;
        Fill(0, Keys);
        Assert.Equal(Keys, Index.Count);
        AssertFound(0, Keys, step: 37);
        Index.Checkpoint(1);
        Reopen();
        Assert.Equal(Keys, Index.Count);
        AssertFound(0, Keys, step: 41);
        for (int i = 0; i < 10_000; i++)
        {
            Assert.False(Index.TryFind(Samples.Score(Keys + i), out _));
        }

        Fill(Keys, Keys + 10_000);
        Index.Checkpoint(2);
        Reopen();
        AssertFound(0, Keys + 10_000, step: 43);
    }

    [Fact]
    public void Checkpoints_and_replays_leave_nothing_behind()
    {
        Fill(0, 20_000);
        Index.Checkpoint(1);
        (int files, long bytes) = Usage();
        for (int round = 0; round < 10; round++)
        {
            Fill(0, 20_000);
            Index.Checkpoint(1);
            Reopen();
        }

        (int filesAfter, long bytesAfter) = Usage();
        Assert.Equal(files, filesAfter);
        Assert.InRange(bytesAfter, bytes / 2, bytes + (64 << 10));
    }

    [Fact]
    public void A_log_that_is_mostly_garbage_is_begun_anew_at_open()
    {
        for (int round = 0; round < 4; round++)
        {
            for (int i = 0; i < 5000; i++)
            {
                Index.Add(Samples.Score(i), Samples.Location(i + round));
            }

            Index.Checkpoint((ulong)round + 1);
        }

        Reopen();
        Assert.Equal(4UL, Index.CoveredSequence);
        _index.Dispose();
        _index = new FasterIndex(_folder, FasterIndex.MinMemoryBytes) { GarbageFloorBytes = 100_000 };
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.False(Index.TryFind(Samples.Score(1), out _));
    }

    [Fact]
    public void A_damaged_entry_is_a_miss()
    {
        IndexKey key = IndexKey.Of(Samples.Score(1));
        IndexValue value = IndexValue.Of(key, Samples.Location(1));
        Assert.True(value.TryGet(key, out BlockLocation location));
        Assert.Equal(Samples.Location(1), location);
        for (int bit = 0; bit < 32; bit++)
        {
            IndexValue[] damaged = [value, value, value, value];
            damaged[0].ArenaOrdinal ^= 1u << bit;
            damaged[1].Offset ^= 1 << bit;
            damaged[2].Length ^= 1 << bit;
            damaged[3].Check ^= 1u << bit;
            Assert.All(damaged, one => Assert.False(one.TryGet(key, out _)));
        }

        Assert.False(value.TryGet(IndexKey.Of(Samples.Score(2)), out _));
    }

    [Fact]
    public void The_cover_is_as_the_format_page_shows_it()
    {
        var cover = new FasterIndex.Cover
        {
            Sequence = 7,
            Count = 2,
            LogBytes = 176,
            Token = new Guid("00010203-0405-0607-0809-0a0b0c0d0e0f"),
            TableBits = 12,
            CheckpointHash = [.. Enumerable.Repeat((byte)0xAA, 32)],
            Pieces = [[.. Enumerable.Repeat((byte)0xBB, 32)]],
        };
        byte[] bytes = cover.Encode();
        Assert.Equal(HexLines(TokTok.Storage.Testing.Repository.FormatExample("16.2")), HexLines(bytes));
        FasterIndex.Cover? read = FasterIndex.Cover.TryDecode(bytes);
        Assert.NotNull(read);
        Assert.Equal(bytes, read.Encode());
        for (int i = 0; i < bytes.Length; i++)
        {
            byte[] damaged = [.. bytes];
            damaged[i] ^= 1;
            Assert.Null(FasterIndex.Cover.TryDecode(damaged));
            Assert.Null(FasterIndex.Cover.TryDecode(bytes.AsSpan(0, i)));
        }
    }

    [Fact]
    public void Sessions_of_threads_that_are_gone_or_idle_do_not_hold_up_a_checkpoint()
    {
        using var done = new ManualResetEventSlim();
        using var added = new CountdownEvent(4);
        Thread[] threads = [.. Enumerable.Range(0, 4).Select(i => new Thread(() =>
        {
            Index.Add(Samples.Score(i), Samples.Location(i));
            added.Signal();
            done.Wait();
        }))];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }

        added.Wait();
        Index.Checkpoint(1);
        done.Set();
        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        Index.Checkpoint(2);
        Reopen();
        AssertFound(0, 4);
    }

    [Fact]
    public void A_disposed_index_says_so()
    {
        _index.Dispose();
        _ = Assert.Throws<ObjectDisposedException>(() => Index.TryFind(Samples.Score(1), out _));
        _ = Assert.Throws<ObjectDisposedException>(() => Index.Checkpoint(1));
    }

    private static string HexLines(byte[] bytes) => TokTok.Storage.Testing.Repository.HexLines(bytes);

    private void Fill(int from, int to)
    {
        for (int i = from; i < to; i++)
        {
            Index.Add(Samples.Score(i), Samples.Location(i));
        }
    }

    private void AssertFound(int from, int to, int step = 1)
    {
        for (int i = from; i < to; i += step)
        {
            Assert.True(Index.TryFind(Samples.Score(i), out BlockLocation location), $"entry {i}");
            Assert.Equal(Samples.Location(i), location);
        }
    }

    private void Reopen()
    {
        _index.Dispose();
        _index = new FasterIndex(_folder, FasterIndex.MinMemoryBytes);
    }

    private void Restore(Dictionary<string, byte[]> files)
    {
        _index.Dispose();
        Directory.Delete(_folder, recursive: true);
        foreach ((string path, byte[] bytes) in files)
        {
            _ = Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(path, bytes);
        }
    }

    private void AssertBeginsEmpty(string what)
    {
        Reopen();
        Assert.True(Index.CoveredSequence == 0, what);
        Assert.Equal(0, Index.Count);
        Assert.False(Index.TryFind(Samples.Score(1), out _));
        Index.Add(Samples.Score(1), Samples.Location(1));
        AssertFound(1, 2);
    }

    /// <summary>FASTER makes empty files too; without them it does as well.</summary>
    private Dictionary<string, byte[]> FilesWithBytes() =>
        Directory.EnumerateFiles(_folder, "*", SearchOption.AllDirectories).Where(path => new FileInfo(path).Length > 0).Order().ToDictionary(path => path, File.ReadAllBytes);

    private (int Files, long Bytes) Usage()
    {
        FileInfo[] files = new DirectoryInfo(_folder).GetFiles("*", SearchOption.AllDirectories);
        return (files.Length, files.Sum(file => file.Length));
    }
}
