using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Index;

/// <summary>With so little memory that every test of the contract writes and merges runs, folds filters and reads several pages at once.</summary>
public sealed class CrampedRunIndexTests : BlockIndexContract, IDisposable
{
    internal static readonly IndexMemory Cramped = new(RunIndex.MinMemoryBytes) { RecentSlots = 256, FilterBytes = 4096, FenceBytes = 256 };

    private readonly RunIndex _index = new(new SimulatedDisk(), "/index", Cramped);

    protected override IBlockIndex Index => _index;

    public void Dispose() => _index.Dispose();

    [Fact]
    public void Every_entry_of_a_large_index_is_found_and_nothing_else()
    {
        const int Entries = 40_000;
        for (int i = 0; i < Entries; i++)
        {
            Index.Add(Samples.Score(i), Samples.Location(i));
        }

        Assert.Equal(Entries, Index.Count);
        for (int i = 0; i < Entries; i++)
        {
            Assert.True(Index.TryFind(Samples.Score(i), out BlockLocation location), $"entry {i}");
            Assert.Equal(Samples.Location(i), location);
            Assert.False(Index.TryFind(Samples.Score(i + Entries), out _), $"entry {i + Entries}");
        }
    }

    [Fact]
    public void A_location_that_was_replaced_stays_replaced_through_every_merge()
    {
        const int Entries = 20_000;
        for (int round = 0; round < 3; round++)
        {
            for (int i = 0; i < Entries; i++)
            {
                Index.Add(Samples.Score(i), Samples.Location(i + (round * Entries)));
            }
        }

        Assert.Equal(Entries, Index.Count);
        for (int i = 0; i < Entries; i++)
        {
            Assert.True(Index.TryFind(Samples.Score(i), out BlockLocation location));
            Assert.Equal(Samples.Location(i + (2 * Entries)), location);
        }
    }
}

/// <summary>On the machine's disk, with the least memory that storage.toml allows.</summary>
public sealed class RunIndexTests : BlockIndexContract, IDisposable
{
    private readonly string _parent = Directory.CreateTempSubdirectory("tdfs-index-").FullName;
    private readonly string _folder;
    private RunIndex _index;

    public RunIndexTests()
    {
        _folder = Path.Combine(_parent, "index");
        _index = new RunIndex(PosixDisk.Instance, _folder, RunIndex.MinMemoryBytes);
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
    public void At_the_smallest_memory_more_entries_than_it_holds_are_all_found_before_and_after_reopening()
    {
        const int Entries = 600_000;
        Fill(0, Entries);
        Assert.Equal(Entries, Index.Count);
        AssertFound(0, Entries, step: 37);
        Index.Checkpoint(1);
        Reopen();
        Assert.Equal(Entries, Index.Count);
        AssertFound(0, Entries, step: 41);
        for (int i = 0; i < 10_000; i++)
        {
            Assert.False(Index.TryFind(Samples.Score(Entries + i), out _));
        }

        Fill(Entries, Entries + 10_000);
        Index.Checkpoint(2);
        Reopen();
        AssertFound(0, Entries + 10_000, step: 43);
    }

    [Fact]
    public void Checkpoints_and_replays_leave_nothing_behind()
    {
        Fill(0, 20_000);
        Index.Checkpoint(1);
        (string, long)[] before = [.. Files()];
        for (int round = 0; round < 10; round++)
        {
            Fill(0, 20_000);
            Index.Checkpoint(1);
            Reopen();
        }

        Assert.Equal(before, Files());
    }

    [Fact]
    public void Many_small_checkpoints_leave_few_runs()
    {
        for (int i = 0; i < 1000; i++)
        {
            Fill(i * 10, (i + 1) * 10);
            Index.Checkpoint((ulong)i);
        }

        Assert.InRange(Files().Count(), 2, 24);
        Reopen();
        AssertFound(0, 10_000);
    }

    [Fact]
    public void What_an_index_of_the_former_kind_left_is_taken_away()
    {
        _ = Directory.CreateDirectory(Path.Combine(_folder, "checkpoints", "index-checkpoints", "00010203-0405-0607-0809-0a0b0c0d0e0f"));
        File.WriteAllText(Path.Combine(_folder, "checkpoints", "index-checkpoints", "00010203-0405-0607-0809-0a0b0c0d0e0f", "info.dat"), "x");
        File.WriteAllText(Path.Combine(_folder, "log.0"), "x");
        File.WriteAllBytes(Path.Combine(_folder, "cover"), [.. "TDFSIDX1"u8, .. new byte[100]]);
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder));
    }

    [Fact]
    public void A_flipped_bit_anywhere_never_gives_a_wrong_location_and_is_healed_by_the_next_opening()
    {
        Fill(0, 5000);
        Index.Checkpoint(4);
        Fill(5000, 5200);
        Index.Checkpoint(5);
        _index.Dispose();
        var files = Directory.EnumerateFiles(_folder).ToDictionary(static path => path, File.ReadAllBytes);
        Assert.Equal(3, files.Count);
        foreach ((string path, byte[] bytes) in files)
        {
            for (int at = 3; at < bytes.Length; at += 1 + (bytes.Length / 41))
            {
                foreach ((string other, byte[] whole) in files)
                {
                    File.WriteAllBytes(other, whole);
                }

                byte[] damaged = [.. bytes];
                damaged[at] ^= 0x10;
                File.WriteAllBytes(path, damaged);
                Reopen();
                int missing = 0;
                for (int i = 0; i < 5200; i++)
                {
                    if (!Index.TryFind(Samples.Score(i), out BlockLocation location))
                    {
                        missing++;
                    }
                    else
                    {
                        Assert.Equal(Samples.Location(i), location);
                    }
                }

                Reopen();
                Assert.True(missing == 0 ? Index.CoveredSequence == 5 : Index.CoveredSequence == 0, $"{path}, byte {at}: {missing} missing, and the next opening covers {Index.CoveredSequence}");
                Assert.True(missing > 0 || Path.GetFileName(path) != "cover", "a damaged cover counted");
                _index.Dispose();
            }
        }
    }

    [Fact]
    public void A_file_cut_short_or_missing_makes_the_index_begin_empty()
    {
        Fill(0, 5000);
        Index.Checkpoint(4);
        _index.Dispose();
        var files = Directory.EnumerateFiles(_folder).ToDictionary(static path => path, File.ReadAllBytes);
        foreach ((string path, byte[] bytes) in files)
        {
            foreach (int length in new[] { -1, 0, bytes.Length / 3, bytes.Length - 1 })
            {
                foreach ((string other, byte[] whole) in files)
                {
                    File.WriteAllBytes(other, whole);
                }

                if (length < 0)
                {
                    File.Delete(path);
                }
                else
                {
                    File.WriteAllBytes(path, bytes[..length]);
                }

                Reopen();
                Assert.Equal(0UL, Index.CoveredSequence);
                Assert.False(Index.TryFind(Samples.Score(1), out _), $"{path} cut to {length}");
                _index.Dispose();
            }
        }
    }

    [Fact]
    public void A_cover_that_claims_a_terabyte_does_not_count()
    {
        Fill(0, 1000);
        Index.Checkpoint(1);
        _index.Dispose();
        using (FileStream file = new(Path.Combine(_folder, "cover"), FileMode.Open, FileAccess.Write))
        {
            file.SetLength(1L << 40);
        }

        Reopen();
        Assert.Equal(0UL, Index.CoveredSequence);
    }

    [Fact]
    public void A_snapshot_of_the_index_stays_as_it_was_while_the_writer_merges()
    {
        Fill(0, 5000);
        Index.Checkpoint(1);
        using IndexSnapshot? snapshot = IndexSnapshot.TryOpen(PosixDisk.Instance, _folder, RunIndex.MinMemoryBytes);
        Assert.NotNull(snapshot);
        for (int round = 1; round < 20; round++)
        {
            Fill(round * 5000, (round + 1) * 5000);
            Index.Checkpoint((ulong)round + 1);
        }

        Assert.False(File.Exists(Path.Combine(_folder, "run-1")));
        for (int i = 0; i < 5000; i++)
        {
            Assert.True(snapshot.TryFind(Samples.Score(i), out BlockLocation location));
            Assert.Equal(Samples.Location(i), location);
            Assert.False(snapshot.TryFind(Samples.Score(i + 5000), out _));
        }

        Assert.Empty(IndexExamination.Of(PosixDisk.Instance, _folder).Damaged);
    }

    [Fact]
    public void A_disposed_index_says_so()
    {
        _index.Dispose();
        _ = Assert.Throws<ObjectDisposedException>(() => Index.TryFind(Samples.Score(1), out _));
        _ = Assert.Throws<ObjectDisposedException>(() => Index.Add(Samples.Score(1), default));
        _ = Assert.Throws<ObjectDisposedException>(() => Index.Checkpoint(1));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(65536)]
    public void The_shares_of_the_memory_are_within_it(int mebibytes)
    {
        long bytes = (long)mebibytes << 20;
        var memory = new IndexMemory(bytes);
        long recent = (long)memory.RecentSlots * RecentEntries.SlotBytes;
        long sorting = memory.RecentSlots / 4L * 3 * (sizeof(ulong) + sizeof(int));
        Assert.True((2 * recent) + sorting + (2 * memory.FilterBytes) + (2 * memory.FenceBytes) <= bytes, $"{recent}, {memory}");
        Assert.True(mebibytes > 1024 || recent > bytes / 8, "recent entries have too little of it");
    }

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
        _index = new RunIndex(PosixDisk.Instance, _folder, RunIndex.MinMemoryBytes);
    }

    private IEnumerable<(string Name, long Bytes)> Files() => new DirectoryInfo(_folder).EnumerateFiles().Select(static file => (file.Name.Split('-')[0], file.Length)).Order();
}

/// <summary>Power cuts and failing disks.</summary>
public sealed class RunIndexFaultTests
{
    private const int Entries = 700;
    private const int Cadence = 100;

    [Fact]
    public void After_a_power_cut_at_any_write_all_that_was_covered_is_found_and_the_index_goes_on()
    {
        int cut = 0;
        for (bool hasCrashed = true; hasCrashed; cut++)
        {
            var disk = new SimulatedDisk();
            disk.CrashAfter(cut);
            ulong acknowledged = 0;
            try
            {
                using RunIndex index = Open(disk);
                for (int i = 0; i < Entries; i++)
                {
                    index.Add(Samples.Score(i), Samples.Location(i));
                    if ((i + 1) % Cadence == 0)
                    {
                        index.Checkpoint((ulong)i + 1);
                        acknowledged = (ulong)i + 1;
                    }
                }

                hasCrashed = false;
            }
            catch (SimulatedCrashException)
            {
            }

            SimulatedDisk after = disk.Recover(cut);
            using (RunIndex index = Open(after))
            {
                Assert.InRange(index.CoveredSequence, acknowledged, acknowledged + Cadence);
                AssertRight(index, (int)index.CoveredSequence, $"cut {cut}");
                for (int i = (int)index.CoveredSequence; i < Entries; i++)
                {
                    index.Add(Samples.Score(i), Samples.Location(i));
                }

                index.Checkpoint(Entries);
            }

            using RunIndex again = Open(after);
            Assert.Equal((ulong)Entries, again.CoveredSequence);
            AssertRight(again, Entries, $"cut {cut}, gone on");
            Assert.Equal(IndexCover.Read(after, "/index")!.Runs.Count + 1, after.Files().Count);
        }

        Assert.InRange(cut, 50, 5000);
    }

    [Fact]
    public void A_disk_that_fails_at_any_write_costs_what_was_added_after_it_and_nothing_else()
    {
        int at = 0;
        for (bool wasReached = true; wasReached; at++)
        {
            var disk = new SimulatedDisk();
            ulong acknowledged = 0;
            bool hasFailed = false;
            using (RunIndex index = Open(disk))
            {
                index.Add(Samples.Score(0), Samples.Location(0)); // opened before it fails
                disk.FailAfter(at, DiskFailure.Full);
                long armed = disk.OperationCount;
                for (int i = 0; i < Entries; i++)
                {
                    index.Add(Samples.Score(i), Samples.Location(i));
                    if ((i + 1) % Cadence == 0)
                    {
                        try
                        {
                            index.Checkpoint((ulong)i + 1);
                            Assert.True(!hasFailed, $"a checkpoint succeeded after failure {at}");
                            acknowledged = (ulong)i + 1;
                        }
                        catch (IOException)
                        {
                            hasFailed = true;
                        }
                    }
                }

                AssertRight(index, (int)acknowledged, $"failure {at}");
                wasReached = disk.OperationCount >= armed + at;
            }

            using RunIndex again = Open(disk);
            Assert.InRange(again.CoveredSequence, acknowledged, acknowledged + Cadence);
            AssertRight(again, (int)again.CoveredSequence, $"failure {at}, reopened");
        }

        Assert.InRange(at, 20, 5000);
    }

    [Fact]
    public void A_page_that_cannot_be_read_is_a_miss_and_the_next_opening_begins_empty()
    {
        var disk = new SimulatedDisk();
        using (RunIndex index = Open(disk))
        {
            for (int i = 0; i < Entries; i++)
            {
                index.Add(Samples.Score(i), Samples.Location(i));
            }

            index.Checkpoint(1);
            string largest = disk.Files().Where(static path => path.Contains("run-", StringComparison.Ordinal)).MaxBy(path => disk.ReadAll(path).Length)!;
            disk.FailReads(largest, disk.ReadAll(largest).Length - IndexRun.PageBytes, IndexRun.PageBytes);
            int missing = Enumerable.Range(0, Entries).Count(i => !index.TryFind(Samples.Score(i), out _));
            Assert.InRange(missing, 1, IndexRun.EntriesPerPage * 64);
            index.Add(Samples.Score(Entries), Samples.Location(Entries));
            Assert.True(index.TryFind(Samples.Score(Entries), out _));
            Assert.Throws<IOException>(() => index.Checkpoint(2));
        }

        using RunIndex again = Open(disk);
        Assert.Equal(0UL, again.CoveredSequence);
    }

    private static RunIndex Open(IDisk disk) => new(disk, "/index", CrampedRunIndexTests.Cramped with { RecentSlots = 64 });

    private static void AssertRight(RunIndex index, int covered, string when)
    {
        for (int i = 0; i < Entries; i++)
        {
            bool isFound = index.TryFind(Samples.Score(i), out BlockLocation location);
            Assert.True(isFound || i >= covered, $"{when}: entry {i} of {covered} is missing");
            Assert.True(!isFound || location == Samples.Location(i), $"{when}: entry {i} gives {location}");
        }
    }
}

public sealed class RunFilterTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(26)]
    [InlineData(5000)]
    public void A_folded_filter_never_denies_what_it_has(int entries)
    {
        long blocks = RunFilter.BlocksFor(entries);
        for (int loaded = 0; loaded < 4; loaded++)
        {
            using RunFilter filter = Fill(entries, blocks, loaded);
            for (int folds = 0; folds < 10; folds++)
            {
                Assert.All(Enumerable.Range(0, entries), i => Assert.True(filter.MayHold(Samples.Score(i)), $"entry {i} of {entries}, folded {loaded} and {folds} times"));
                Assert.Equal(RunFilter.BytesOf(blocks, loaded + folds), filter.MemoryBytes);
                filter.Fold();
            }
        }
    }

    [Theory]
    [InlineData(0, 0.002)]
    [InlineData(1, 0.02)]
    [InlineData(2, 0.15)]
    public void A_filter_passes_few_that_it_has_not(int folds, double most)
    {
        const int Entries = 50_000;
        using RunFilter filter = Fill(Entries, RunFilter.BlocksFor(Entries), folds);
        int passed = Enumerable.Range(Entries, Entries).Count(i => filter.MayHold(Samples.Score(i)));
        Assert.InRange(passed / (double)Entries, 0, most);
    }

    private static RunFilter Fill(int entries, long blocks, int folds)
    {
        var filter = new RunFilter(blocks, folds);
        ulong[] words = new ulong[blocks * RunFilter.BlockBytes / sizeof(ulong)];
        for (int i = 0; i < entries; i++)
        {
            RunFilter.Set(words.AsSpan((int)RunFilter.BlockOf(Samples.Score(i), blocks) * 8, 8), Samples.Score(i));
        }

        filter.Load(0, words);
        return filter;
    }
}

public sealed class IndexFormatTests
{
    [Fact]
    public void The_cover_is_as_the_format_page_shows_it()
    {
        var cover = new IndexCover { Sequence = 7, Count = 5, NextRun = 4, Runs = [(1, 4), (3, 2)] };
        byte[] bytes = cover.Encode();
        Assert.Equal(Repository.HexLines(Repository.FormatExample("16.2")), Repository.HexLines(bytes));
        Assert.Equal(bytes, IndexCover.Decode(bytes, "cover").Encode());
        for (int i = 0; i < bytes.Length; i++)
        {
            byte[] damaged = [.. bytes];
            damaged[i] ^= 1;
            Assert.Throws<DamagedFormatException>(() => IndexCover.Decode(damaged, "cover"));
            Assert.Throws<DamagedFormatException>(() => IndexCover.Decode(bytes.AsSpan(0, i), "cover"));
        }
    }

    [Fact]
    public void A_run_is_as_the_format_page_shows_it()
    {
        var disk = new SimulatedDisk();
        using (var writer = new IndexRunWriter(disk, "/run-3", 3, 2))
        {
            writer.Append(new IndexEntry(new Score(new Bytes32(0x0102030405060708, 2, 3, 4)), new BlockLocation(5, 4096, 100)));
            writer.Append(new IndexEntry(new Score(new Bytes32(0xF102030405060708, 0x0A0B0C0D0E0F, 3, 4)), new BlockLocation(6, 8192, 200)));
            Assert.Equal(2, writer.Finish());
        }

        byte[] bytes = disk.ReadAll("/run-3");
        Assert.Equal(3 * IndexRun.PageBytes, bytes.Length);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("16.2", 2)), Repository.HexLines(bytes.AsSpan(0, RunHeader.Size)));
        Assert.Equal(Repository.HexLines(Repository.FormatExample("16.2", 3)), Repository.HexLines(bytes.AsSpan(IndexRun.PageBytes, RunFilter.BlockBytes + sizeof(ulong))));
        Assert.Equal(Repository.HexLines(Repository.FormatExample("16.2", 4)), Repository.HexLines(bytes.AsSpan(2 * IndexRun.PageBytes, IndexRun.PageHeaderBytes + (2 * IndexEntry.Size))));
        Assert.All(bytes[((2 * IndexRun.PageBytes) + IndexRun.PageHeaderBytes + (2 * IndexEntry.Size))..], static one => Assert.Equal(0, one));
    }

    [Fact]
    public void Scores_of_one_first_word_are_told_apart_on_both_sides_of_a_fence()
    {
        var disk = new SimulatedDisk();
        const int Count = 4 * IndexRun.EntriesPerPage;
        static Score Of(int i) => new(new Bytes32(77, (ulong)i, 1, 1));
        using (var writer = new IndexRunWriter(disk, "/run-1", 1, Count))
        {
            for (int i = 0; i < Count; i++)
            {
                writer.Append(new IndexEntry(Of(2 * i), Samples.Location(i)));
            }

            _ = writer.Finish();
        }

        foreach (long fenceBytes in new[] { 8L, 16L, 1000L })
        {
            using IndexRun run = IndexRun.Open(disk, "/run-1", 1, Count, 1 << 20, fenceBytes);
            for (int i = 0; i < Count; i++)
            {
                Assert.True(run.TryFind(Of(2 * i), out BlockLocation location), $"entry {i}, {fenceBytes} bytes of fences");
                Assert.Equal(Samples.Location(i), location);
                Assert.False(run.TryFind(Of((2 * i) + 1), out _));
            }
        }
    }
}
