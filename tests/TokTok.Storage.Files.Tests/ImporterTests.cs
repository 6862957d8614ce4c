using System.Runtime.Versioning;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

[SupportedOSPlatform("linux")]
public sealed class ImporterTests
{
    [Fact]
    public async Task A_sample_tree_comes_back_without_a_difference_and_is_then_unchanged()
    {
        using var bench = new ImportBench();
        int count = SampleTree.Create(bench.Source, seed: 3, files: 1500);
        ImportResult first = await bench.ImportAsync();
        Assert.Empty(bench.Troubles);
        Assert.True(first.IsComplete);
        Assert.Equal((ulong)count, first.Snapshot.Root.Totals.Entries);
        Assert.Equal(count, first.Progress.FileCount + first.Progress.OtherCount + first.Progress.DirectoryCount - 1);
        await bench.AssertRestoresAsync(first.Snapshot, bench.Source);

        long blocks = bench.Store.Blocks.Known.Count;
        ImportResult second = await bench.ImportAsync();
        Assert.Equal(0, second.Progress.ReadBytes);
        Assert.Equal(0, second.Progress.ReadFileCount);
        Assert.Equal(second.Progress.FileCount, second.Progress.UnchangedCount);
        Assert.Equal(second.Progress.DirectoryCount, second.Progress.ReusedDirectoryCount);
        Assert.Equal(first.Snapshot.Root.Encode(), second.Snapshot.Root.Encode());
        Assert.True(first.Snapshot.Links.Equals(second.Snapshot.Links));

        // A new volume root, and the list of snapshots.
        Assert.InRange(bench.Store.Blocks.Known.Count - blocks, 1, 3);
    }

    [Fact]
    public async Task An_import_without_a_cache_gives_the_same_root()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 4, files: 200);
        ImportResult first = await bench.ImportAsync();
        bench.Disk.Files.Clear();
        ImportResult second = await bench.ImportAsync(bench.Options with { Workers = 1, NameBudgetBytes = 64, OpenLevels = 2 });
        Assert.Equal(0, second.Progress.UnchangedCount);
        Assert.Equal(0, second.Progress.StoredBytes);
        Assert.Equal(first.Snapshot.Root.Encode(), second.Snapshot.Root.Encode());
        Assert.Empty(bench.Troubles);
    }

    [Fact]
    public async Task One_changed_file_is_the_only_one_read()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 5, files: 300);
        ImportResult first = await bench.ImportAsync();
        bench.Write("dir001/new-name", "something new");
        File.WriteAllText(Path.Combine(bench.Source, "special/one-byte"), "8");
        ImportResult second = await bench.ImportAsync();
        Assert.Equal(2, second.Progress.ReadFileCount);
        Assert.Equal(14, second.Progress.ReadBytes);
        Assert.Equal(second.Progress.DirectoryCount - 3, second.Progress.ReusedDirectoryCount);
        Assert.Equal((await bench.FindAsync(first.Snapshot, "special/one-byte")).FileId, (await bench.FindAsync(second.Snapshot, "special/one-byte")).FileId);
        await bench.AssertRestoresAsync(second.Snapshot, bench.Source);
    }

    [Fact]
    public async Task Deleted_names_and_changed_types_are_followed()
    {
        using var bench = new ImportBench();
        bench.Write("a/x", "1");
        bench.Write("a/y", "2");
        bench.Write("b/z", "3");
        bench.Write("c", "4");
        _ = await bench.ImportAsync();
        File.Delete(Path.Combine(bench.Source, "a/x"));
        Directory.Delete(Path.Combine(bench.Source, "b"), recursive: true);
        bench.Write("b", "now a file");
        File.Delete(Path.Combine(bench.Source, "c"));
        bench.Write("c/now", "a directory");
        ImportResult second = await bench.ImportAsync();
        Assert.Empty(bench.Troubles);
        await bench.AssertRestoresAsync(second.Snapshot, bench.Source);
        ImportResult third = await bench.ImportAsync();
        Assert.Equal(0, third.Progress.ReadFileCount);
        Assert.Equal(second.Snapshot.Root.Encode(), third.Snapshot.Root.Encode());
    }

    [Fact]
    public async Task A_file_that_changed_at_the_moment_it_was_read_is_read_again_next_time()
    {
        using var bench = new ImportBench { Ahead = TimeSpan.Zero };
        bench.Write("quiet", "x");
        bench.Write("racy", "y");
        _ = await bench.ImportAsync();
        bench.Ahead = TimeSpan.FromMinutes(1);
        ImportResult second = await bench.ImportAsync();
        Assert.Equal(2, second.Progress.ReadFileCount);
        ImportResult third = await bench.ImportAsync();
        Assert.Equal(0, third.Progress.ReadFileCount);
    }

    [Fact]
    public async Task A_file_that_changes_once_while_read_is_read_again()
    {
        using var bench = new ImportBench();
        bench.Write("log", "first");
        string path = Path.Combine(bench.Source, "log");
        ImportResult result = await bench.ImportAsync(bench.Options with
        {
            AfterRead = (_, attempt) =>
            {
                if (attempt == 1)
                {
                    File.AppendAllText(path, " and second");
                }
            },
        });
        Assert.True(result.IsComplete);
        Assert.Equal("first and second", Encoding.UTF8.GetString((await bench.FindAsync(result.Snapshot, "log")).Content.Inline.Span));
    }

    [Fact]
    public async Task A_file_that_changes_twice_while_read_is_torn_and_read_again_next_time()
    {
        using var bench = new ImportBench();
        bench.Write("log", "first");
        string path = Path.Combine(bench.Source, "log");
        ImportResult result = await bench.ImportAsync(bench.Options with { AfterRead = (_, _) => File.AppendAllText(path, "+") });
        ImportTrouble trouble = Assert.Single(bench.Troubles);
        Assert.Equal(ImportTroubleKind.Torn, trouble.Kind);
        Assert.EndsWith("/log", trouble.Path, StringComparison.Ordinal);
        Assert.False(result.IsComplete);
        Assert.Equal(1ul, result.Snapshot.TornCount);
        Assert.True((await bench.FindAsync(result.Snapshot, "log")).IsTorn);
        ImportResult next = await bench.ImportAsync();
        Assert.True(next.IsComplete);
        Assert.False((await bench.FindAsync(next.Snapshot, "log")).IsTorn);
    }

    [Fact]
    public async Task A_file_that_vanishes_is_reported_and_the_rest_goes_on()
    {
        using var bench = new ImportBench();
        bench.Write("gone", "x");
        bench.Write("here", "y");
        string path = Path.Combine(bench.Source, "gone");
        ImportResult result = await bench.ImportAsync(bench.Options with { BeforeOpen = _ => File.Delete(path) });
        Assert.Equal(ImportTroubleKind.Vanished, Assert.Single(bench.Troubles).Kind);
        Assert.Equal(["here"], await bench.NamesAsync(result.Snapshot.Root));
        Assert.Equal(1ul, result.Snapshot.VanishedCount);
        Assert.True((await bench.ImportAsync()).IsComplete);
    }

    [Fact]
    public async Task A_file_that_vanished_for_one_import_is_in_the_next()
    {
        using var bench = new ImportBench();
        bench.Write("a/comes-back", "x");
        ImportResult first = await bench.ImportAsync();
        string path = Path.Combine(bench.Source, "a/comes-back");
        DateTime time = File.GetLastWriteTimeUtc(path);
        File.SetUnixFileMode(path, UnixFileMode.UserRead);
        _ = await bench.ImportAsync(bench.Options with { BeforeOpen = _ => File.Move(path, path + ".away") });
        Assert.Equal(ImportTroubleKind.Vanished, Assert.Single(bench.Troubles).Kind);
        File.Move(path + ".away", path);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        Assert.Equal(time, File.GetLastWriteTimeUtc(path));
        ImportResult third = await bench.ImportAsync();
        Assert.Equal(["comes-back"], await bench.NamesAsync(await bench.FindAsync(third.Snapshot, "a")));
        Assert.Equal((await bench.FindAsync(first.Snapshot, "a/comes-back")).FileId, (await bench.FindAsync(third.Snapshot, "a/comes-back")).FileId);
    }

    [Fact]
    public async Task A_file_that_turns_into_a_link_is_not_followed()
    {
        using var bench = new ImportBench();
        bench.Write("file", "x");
        string path = Path.Combine(bench.Source, "file");
        ImportResult result = await bench.ImportAsync(bench.Options with
        {
            BeforeOpen = name =>
            {
                File.Delete(path);
                File.CreateSymbolicLink(path, "/etc/passwd");
            },
        });
        Assert.Equal(ImportTroubleKind.Vanished, Assert.Single(bench.Troubles).Kind);
        Assert.Empty(await bench.NamesAsync(result.Snapshot.Root));
    }

    [Fact]
    public async Task Stopped_imports_are_continued_until_one_finishes()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 6, files: 600);
        ImportResult? last = null;
        int runs = 0;
        long readFiles = 0;
        do
        {
            using var stop = new CancellationTokenSource();
            int files = 0;
            last = await bench.ImportAsync(
                bench.Options with
                {
                    Workers = 1,
                    AfterRead = (_, _) =>
                    {
                        if (Interlocked.Increment(ref files) == 150)
                        {
                            stop.Cancel();
                        }
                    },
                },
                stop.Token);
            runs++;
            readFiles += last.Progress.ReadFileCount;
            Assert.True(runs < 10, "the imports make no progress");
        }
        while (!last.IsFinished);

        Assert.True(runs > 2);
        IReadOnlyList<SnapshotRecord> snapshots = await bench.Volume.ListSnapshotsAsync(default);
        Assert.True(Assert.Single(snapshots).IsFinished);

        // Nothing was read twice: what a run read, the next one knew.
        ImportResult whole = await bench.ImportAsync(bench.Options with { ReadsEverything = true });
        Assert.Equal(whole.Progress.ReadFileCount, readFiles);
        Assert.Equal(whole.Snapshot.Root.Encode(), last.Snapshot.Root.Encode());
        await bench.AssertRestoresAsync(last.Snapshot, bench.Source);
    }

    [Fact]
    public async Task A_long_import_commits_as_it_goes_and_reads_nothing_twice()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 16, files: 600);
        ImportResult whole = await bench.ImportAsync();
        await bench.Volume.RemoveSnapshotsAsync([whole.Snapshot], default);
        int before = bench.Store.CommitCount;
        ImportResult result = await bench.ImportAsync(bench.Options with { CommitBytes = whole.Progress.ReadBytes / 10 });
        Assert.True(result.IsFinished);
        Assert.InRange(bench.Store.CommitCount - before, 6, 60);
        Assert.Equal(whole.Progress.ReadFileCount, result.Progress.ReadFileCount);
        Assert.Equal(whole.Progress.ReadBytes, result.Progress.ReadBytes);
        Assert.Equal(whole.Progress.UnchangedCount, result.Progress.UnchangedCount);
        Assert.Equal(result.Snapshot.Id, Assert.Single(await bench.Volume.ListSnapshotsAsync(default)).Id);
        await bench.AssertRestoresAsync(result.Snapshot, bench.Source);
        ImportResult next = await bench.ImportAsync();
        Assert.Equal(0, next.Progress.ReadFileCount);
        Assert.Equal(result.Snapshot.Root.Encode(), next.Snapshot.Root.Encode());
    }

    [Fact]
    public async Task What_kills_a_long_import_takes_only_what_was_read_since_the_last_commit()
    {
        using var bench = new ImportBench();
        for (int i = 0; i < 100; i++)
        {
            bench.Write($"file{i:d3}", new string('x', 5000) + i);
        }

        int opened = 0;
        ImportOptions options = bench.Options with { Workers = 1, CommitBytes = 50_000 };
        await Assert.ThrowsAsync<IOException>(() => bench.ImportAsync(options with { BeforeOpen = name => opened = opened == 74 ? throw new IOException("killed") : opened + 1 }));

        // One, or more where a commit's walk had not come as far as the one before it: the next import that ends removes them.
        IReadOnlyList<SnapshotRecord> left = await bench.Volume.ListSnapshotsAsync(default);
        Assert.InRange(left.Count, 1, 3);
        Assert.All(left, static each => Assert.False(each.IsFinished));
        ImportResult next = await bench.ImportAsync(options);
        Assert.True(next.IsFinished);
        Assert.InRange(next.Progress.ReadFileCount, 26, 60);
        Assert.Equal(next.Snapshot.Id, Assert.Single(await bench.Volume.ListSnapshotsAsync(default)).Id);
        await bench.AssertRestoresAsync(next.Snapshot, bench.Source);
    }

    [Fact]
    public async Task A_file_that_changes_all_the_time_does_not_hold_an_import_up()
    {
        using var bench = new ImportBench();
        for (int i = 0; i < 30; i++)
        {
            bench.Write($"file{i:d2}", new string('x', 5000) + i);
        }

        int changes = 0;
        ImportResult result = await bench.ImportAsync(bench.Options with
        {
            Workers = 1,
            CommitBytes = 10_000,
            AfterRead = (name, _) =>
            {
                if (name.Span.SequenceEqual("file03"u8))
                {
                    bench.Write("file03", new string('y', 20_000 + changes++));
                }
            },
        });
        Assert.True(result.IsFinished);
        Assert.Equal(1UL, result.Snapshot.TornCount);
        Assert.Single(await bench.Volume.ListSnapshotsAsync(default));
    }

    [Fact]
    public async Task A_stop_leaves_a_large_file_in_its_middle()
    {
        using var bench = new ImportBench();
        bench.Write("a", "small");
        bench.Write("large", new string('x', 3_000_000));
        using var stop = new CancellationTokenSource();
        ImportResult stopped = await bench.ImportAsync(
            bench.Options with
            {
                Workers = 1,
                BeforeOpen = name =>
                {
                    if (name.Span.SequenceEqual("large"u8))
                    {
                        stop.Cancel();
                    }
                },
            },
            stop.Token);
        Assert.False(stopped.IsFinished);
        Assert.Equal(["a"], await bench.NamesAsync(stopped.Snapshot.Root));
        Assert.Equal(5, stopped.Progress.ReadBytes);
        ImportResult next = await bench.ImportAsync();
        Assert.True(next.IsFinished);
        Assert.Equal(1, next.Progress.UnchangedCount);
        await bench.AssertRestoresAsync(next.Snapshot, bench.Source);
    }

    [Fact]
    public async Task A_stopped_second_import_forgets_nothing_of_the_first()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 8, files: 300);
        ImportResult first = await bench.ImportAsync();
        using var stop = new CancellationTokenSource();
        bench.OnStarted = stop.Cancel;
        ImportResult stopped = await bench.ImportAsync(stop: stop.Token);
        Assert.False(stopped.IsFinished);
        bench.OnStarted = null;
        ImportResult third = await bench.ImportAsync();
        Assert.Equal(0, third.Progress.ReadFileCount);
        Assert.Equal(first.Snapshot.Root.Encode(), third.Snapshot.Root.Encode());
    }

    [Fact]
    public async Task A_cache_whose_snapshots_are_forgotten_is_not_used()
    {
        using var bench = new ImportBench();
        bench.Write("a", "x");
        ImportResult first = await bench.ImportAsync();
        await bench.Volume.RemoveSnapshotsAsync([first.Snapshot], default);
        ImportResult second = await bench.ImportAsync();
        Assert.Equal(1, second.Progress.ReadFileCount);
        Assert.Contains("are gone", Assert.Single(bench.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_damaged_cache_is_slower_and_not_wrong()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 9, files: 400);
        ImportResult first = await bench.ImportAsync();
        string path = Assert.Single(bench.Disk.Files.Keys);
        bench.Disk.Files[path][bench.Disk.Files[path].Length / 2] ^= 1;
        ImportResult second = await bench.ImportAsync();
        Assert.Contains("damaged", Assert.Single(bench.Notes), StringComparison.Ordinal);
        Assert.True(second.Progress.ReadFileCount > 0);
        Assert.Equal(first.Snapshot.Root.Totals, second.Snapshot.Root.Totals);
        await bench.AssertRestoresAsync(second.Snapshot, bench.Source);
        Assert.Equal(0, (await bench.ImportAsync()).Progress.ReadFileCount);
    }

    [Fact]
    public async Task What_is_excluded_stays_out()
    {
        using var bench = new ImportBench();
        bench.Write("keep/a.c", "x");
        bench.Write("keep/a.o", "x");
        bench.Write("build/b.c", "x");
        bench.Write("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# a cache");
        bench.Write("cache/big", "x");
        bench.Write("fake/CACHEDIR.TAG", "Signature: not one");
        bench.Write("fake/big", "x");
        ImportResult result = await bench.ImportAsync(bench.Options with { Excludes = IgnorePatterns.Parse("*.o\n/build/\n"u8), LeavesOutCaches = true });
        Assert.Equal(["cache", "fake", "keep"], await bench.NamesAsync(result.Snapshot.Root));
        Assert.Equal(["a.c"], await bench.NamesAsync(await bench.FindAsync(result.Snapshot, "keep")));
        Assert.Equal(["CACHEDIR.TAG"], await bench.NamesAsync(await bench.FindAsync(result.Snapshot, "cache")));
        Assert.Equal(["CACHEDIR.TAG", "big"], await bench.NamesAsync(await bench.FindAsync(result.Snapshot, "fake")));
    }

    [Fact]
    public async Task Several_sources_stand_under_their_whole_paths()
    {
        using var bench = new ImportBench();
        bench.Write("one/a", "1");
        bench.Write("two/b", "2");
        bench.Write("three/c", "3");
        ImportResult result = await bench.ImportAsync(bench.Options with { Sources = [Path.Combine(bench.Source, "two"), Path.Combine(bench.Source, "one/a")] });
        string path = bench.Source.TrimStart('/');
        Entry source = await bench.FindAsync(result.Snapshot, path);
        Assert.Equal(["one", "two"], await bench.NamesAsync(source));
        Assert.Equal("1", Encoding.UTF8.GetString((await bench.FindAsync(result.Snapshot, path + "/one/a")).Content.Inline.Span));
        Assert.Equal(2, result.Progress.FileCount);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(9)]
    public async Task A_hole_is_neither_read_nor_known_already(int islands)
    {
        const int IslandBytes = 256 * 1024;
        using var bench = new ImportBench();
        bench.Write("sparse", "");
        using (FileStream file = File.OpenWrite(Path.Combine(bench.Source, "sparse")))
        {
            file.SetLength(50 << 20);
            for (int i = 0; i < islands; i++)
            {
                file.Position = (i + 1) * (4 << 20);
                byte[] island = new byte[IslandBytes];
                new Random(i).NextBytes(island);
                file.Write(island);
            }
        }

        ImportProgress first = (await bench.ImportAsync()).Progress;
        Assert.Equal((long)islands * IslandBytes, first.ReadBytes);
        Assert.Equal((0, (50L << 20) - first.ReadBytes), (first.SavedBytes, first.HoleBytes));
        ImportProgress second = (await bench.ImportAsync()).Progress;
        Assert.Equal((0, 1), (second.ReadBytes, second.UnchangedCount));
        Assert.Equal(first.ReadBytes, second.SavedBytes);
    }

    [Fact]
    public async Task Every_name_of_an_unchanged_file_is_unchanged_and_those_of_a_changed_one_are_not()
    {
        using var bench = new ImportBench();
        bench.Write("a", "shared");
        bench.Write("alone", "alone");
        int directory = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(bench.Source));
        Assert.Equal(0, PosixCalls.HardLink(directory, "a"u8, directory, "b"u8));
        Assert.Equal(0, PosixCalls.HardLink(directory, "a"u8, directory, "c"u8));
        PosixCalls.Close(directory);
        File.CreateSymbolicLink(Path.Combine(bench.Source, "link"), "a");
        ImportProgress first = (await bench.ImportAsync()).Progress;
        Assert.Equal((4, 1, 1, 0), (first.FileCount, first.OtherCount, first.DirectoryCount, first.UnchangedCount));
        ImportProgress second = (await bench.ImportAsync()).Progress;
        Assert.Equal((4, 4), (second.FileCount, second.UnchangedCount));
        File.WriteAllText(Path.Combine(bench.Source, "b"), "changed");
        Assert.Equal(1, (await bench.ImportAsync()).Progress.UnchangedCount);
    }

    [Fact]
    public async Task A_single_file_stands_in_the_root()
    {
        using var bench = new ImportBench();
        bench.Write("one", "1");
        bench.Write("other", "2");
        ImportResult result = await bench.ImportAsync(bench.Options with { Sources = [Path.Combine(bench.Source, "one")] });
        Assert.Equal(["one"], await bench.NamesAsync(result.Snapshot.Root));
    }

    [Fact]
    public async Task A_missing_source_is_one_clear_line()
    {
        using var bench = new ImportBench();
        PosixException error = await Assert.ThrowsAsync<PosixException>(() => bench.ImportAsync(bench.Options with { Sources = ["/not/there"] }));
        Assert.Equal("open /not/there: no such file or directory", error.Message);
    }

    [Fact]
    public async Task A_file_whose_links_were_parted_keeps_its_number_for_one_name_alone()
    {
        using var bench = new ImportBench();
        bench.Write("a", "shared");
        int directory = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(bench.Source));
        Assert.Equal(0, PosixCalls.HardLink(directory, "a"u8, directory, "b"u8));
        PosixCalls.Close(directory);
        ImportResult first = await bench.ImportAsync();
        Assert.Equal((await bench.FindAsync(first.Snapshot, "a")).FileId, (await bench.FindAsync(first.Snapshot, "b")).FileId);
        File.Delete(Path.Combine(bench.Source, "a"));
        bench.Write("a", "apart");
        ImportResult second = await bench.ImportAsync();
        Assert.NotEqual((await bench.FindAsync(second.Snapshot, "a")).FileId, (await bench.FindAsync(second.Snapshot, "b")).FileId);
        await bench.AssertRestoresAsync(second.Snapshot, bench.Source);
    }

    [Fact]
    public async Task A_store_that_fails_ends_the_import_and_commits_nothing()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 10, files: 100);
        bench.Store.BeforeCommit = () => throw new DiskException(DiskFailure.Full, "write", "store", "no space left on the device");
        _ = await Assert.ThrowsAsync<DiskException>(() => bench.ImportAsync());
        Assert.Empty(bench.Store.Heads);
        Assert.Empty(bench.Disk.Files);
    }
}
