using System.Runtime.Versioning;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

[SupportedOSPlatform("linux")]
public sealed class RestorerTests
{
    [Fact]
    public async Task A_restore_into_a_folder_that_is_not_empty_is_refused()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        _ = Directory.CreateDirectory(target);
        File.WriteAllText(Path.Combine(target, "mine"), "untouched");
        PosixException error = await Assert.ThrowsAsync<PosixException>(() => bench.RestoreAsync(snapshot, new RestoreOptions { Target = target }));
        Assert.EndsWith("directory not empty", error.Message, StringComparison.Ordinal);
        Assert.Equal(["mine"], Directory.GetFileSystemEntries(target).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData(ExistingFiles.Skip, "mine", "same-size!", 2)]
    [InlineData(ExistingFiles.OverwriteIfDifferent, "alpha", "same-size!", 1)]
    [InlineData(ExistingFiles.Replace, "alpha", "0123456789", 0)]
    public async Task What_is_there_is_treated_as_told(ExistingFiles existing, string a, string b, int kept)
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        _ = Directory.CreateDirectory(target);
        File.WriteAllText(Path.Combine(target, "a"), "mine");
        File.WriteAllText(Path.Combine(target, "b"), "same-size!");
        File.SetLastWriteTimeUtc(Path.Combine(target, "b"), File.GetLastWriteTimeUtc(Path.Combine(bench.Source, "b")));
        File.WriteAllText(Path.Combine(target, "other"), "stays");
        RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Existing = existing });
        Assert.True(progress.IsComplete);
        Assert.Equal(a, File.ReadAllText(Path.Combine(target, "a")));
        Assert.Equal(b, File.ReadAllText(Path.Combine(target, "b")));
        Assert.Equal("deep", File.ReadAllText(Path.Combine(target, "c/d")));
        Assert.Equal("stays", File.ReadAllText(Path.Combine(target, "other")));
        Assert.Equal(kept, progress.KeptCount);
    }

    [Fact]
    public async Task Comparing_contents_finds_what_size_and_time_hide()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        _ = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target });
        File.WriteAllText(Path.Combine(target, "b"), "same-size!");
        File.SetLastWriteTimeUtc(Path.Combine(target, "b"), File.GetLastWriteTimeUtc(Path.Combine(bench.Source, "b")));
        var options = new RestoreOptions { Target = target, Existing = ExistingFiles.OverwriteIfDifferent, ComparesContents = true };
        RestoreProgress progress = await bench.RestoreAsync(snapshot, options);
        Assert.Equal(2, progress.KeptCount);
        Assert.Empty(TreeCompare.Differences(bench.Source, target));
    }

    [Fact]
    public async Task A_restore_that_was_cut_off_is_resumed_and_leaves_no_half_file()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 12, files: 400);
        SnapshotRecord snapshot = (await bench.ImportAsync()).Snapshot;
        string target = bench.Folder.At("target");
        using var cancel = new CancellationTokenSource();
        var observer = new StopAfter(100, cancel);
        _ = await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => Restorer.Of(bench.Volume, snapshot).RunAsync(snapshot.Root, default, new RestoreOptions { Target = target, Workers = 1 }, observer, cancel.Token));

        // As a kill would leave it.
        _ = Directory.CreateDirectory(Path.Combine(target, "special"));
        ulong id = (await bench.FindAsync(snapshot, "special/large-noise")).FileId;
        File.WriteAllText(Path.Combine(target, "special", TemporaryName(await bench.FindAsync(snapshot, "special"), id)), "half");
        File.Delete(Path.Combine(target, "special/large-noise"));

        RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Resumes = true });
        Assert.Empty(bench.RestoreTroubles);
        Assert.True(progress.KeptCount > 20);
        Assert.Empty(TreeCompare.Differences(bench.Source, target));
    }

    [Fact]
    public async Task A_verified_restore_of_a_sample_tree_finds_nothing_wrong()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 13, files: 60);
        SnapshotRecord snapshot = (await bench.ImportAsync()).Snapshot;
        string target = bench.Folder.At("target");
        RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Verifies = true, OpenLevels = 3 });
        Assert.Empty(bench.RestoreTroubles);
        Assert.True(progress.IsComplete);
        Assert.Empty(TreeCompare.Differences(bench.Source, target));
    }

    [Fact]
    public async Task A_damaged_block_costs_its_file_alone()
    {
        using var bench = new ImportBench();
        _ = SampleTree.Create(bench.Source, seed: 14, files: 60);
        SnapshotRecord snapshot = (await bench.ImportAsync()).Snapshot;
        Entry file = await bench.FindAsync(snapshot, "special/large-noise");
        using (var reader = new FileContentReader(bench.Volume.Blocks, file.Content))
        {
            await foreach (Extent extent in reader.ExtentsAsync())
            {
                bench.Store.Blocks.Damage(extent.Score);
                break;
            }
        }

        string target = bench.Folder.At("target");
        RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target });
        RestoreTrouble trouble = Assert.Single(bench.RestoreTroubles);
        Assert.Equal((RestoreTroubleKind.Damaged, "special/large-noise"), (trouble.Kind, trouble.Path));
        Assert.False(progress.IsComplete);
        string difference = Assert.Single(TreeCompare.Differences(bench.Source, target));
        Assert.Equal("missing: special/large-noise", difference);
    }

    [Fact]
    public async Task A_large_file_with_a_damaged_block_in_its_middle_leaves_nothing_and_a_whole_one_is_complete()
    {
        using var bench = new ImportBench();
        _ = Directory.CreateDirectory(bench.Source);
        var random = new Random(21);
        byte[] bytes = new byte[9 << 20];
        random.NextBytes(bytes);
        File.WriteAllBytes(Path.Combine(bench.Source, "whole"), bytes);
        random.NextBytes(bytes);
        File.WriteAllBytes(Path.Combine(bench.Source, "damaged"), bytes);
        SnapshotRecord snapshot = (await bench.ImportAsync()).Snapshot;
        Entry file = await bench.FindAsync(snapshot, "damaged");
        using (var reader = new FileContentReader(bench.Volume.Blocks, file.Content))
        {
            await foreach (Extent extent in reader.ExtentsAsync(5 << 20))
            {
                bench.Store.Blocks.Damage(extent.Score);
                break;
            }
        }

        string target = bench.Folder.At("target");
        _ = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target });
        RestoreTrouble trouble = Assert.Single(bench.RestoreTroubles);
        Assert.Equal((RestoreTroubleKind.Damaged, "damaged"), (trouble.Kind, trouble.Path));
        Assert.Equal(["whole"], Directory.GetFileSystemEntries(target).Select(Path.GetFileName));
        Assert.Equal("missing: damaged", Assert.Single(TreeCompare.Differences(bench.Source, target)));
    }

    [Fact]
    public async Task One_file_and_one_subtree_are_restored_alone()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        Entry file = await bench.FindAsync(snapshot, "c/d");
        string target = bench.Folder.At("file");
        _ = await Restorer.Of(bench.Volume, snapshot).RunAsync(file, "d"u8.ToArray(), new RestoreOptions { Target = target }, bench, default);
        Assert.Equal("deep", File.ReadAllText(Path.Combine(target, "d")));
        Entry directory = await bench.FindAsync(snapshot, "c");
        target = bench.Folder.At("tree");
        _ = await Restorer.Of(bench.Volume, snapshot).RunAsync(directory, default, new RestoreOptions { Target = target }, bench, default);
        Assert.Empty(TreeCompare.Differences(Path.Combine(bench.Source, "c"), target));
    }

    [Theory]
    [InlineData("../escaped")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData(".")]
    public async Task A_hostile_name_leads_nowhere(string name)
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        Entry file = await bench.FindAsync(snapshot, "a");
        TableBuilder builder = bench.Volume.Tables.NewBuilder();
        await builder.AddAsync(Encoding.UTF8.GetBytes(name), file.Encode(), default);
        await builder.AddAsync("good"u8.ToArray(), file.Encode(), default);
        Entry root = snapshot.Root with { Children = await builder.FinishAsync(default) };
        string target = bench.Folder.At("inner/target");
        _ = Directory.CreateDirectory(bench.Folder.At("inner"));
        RestoreProgress progress = await Restorer.Of(bench.Volume, snapshot).RunAsync(root, default, new RestoreOptions { Target = target }, bench, default);
        Assert.Equal(1, progress.CountOf(RestoreTroubleKind.Damaged));
        Assert.Equal(["good"], Directory.GetFileSystemEntries(target).Select(Path.GetFileName));
        Assert.Equal(["target"], Directory.GetFileSystemEntries(bench.Folder.At("inner")).Select(Path.GetFileName));
    }

    [Fact]
    public async Task A_link_in_the_target_is_not_followed()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        string outside = bench.Folder.At("outside");
        _ = Directory.CreateDirectory(target);
        _ = Directory.CreateDirectory(outside);
        _ = Directory.CreateSymbolicLink(Path.Combine(target, "c"), outside);
        _ = File.CreateSymbolicLink(Path.Combine(target, "a"), Path.Combine(outside, "a"));
        RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Existing = ExistingFiles.Replace });
        Assert.Empty(Directory.GetFileSystemEntries(outside));
        Assert.Equal(1, progress.CountOf(RestoreTroubleKind.CannotGiveWay));
        Assert.Null(new FileInfo(Path.Combine(target, "a")).LinkTarget);
    }

    [Fact]
    public async Task A_restore_that_ends_at_any_step_leaves_no_unfinished_directory_closed_and_is_resumed()
    {
        using var bench = new ImportBench();
        var random = new Random(31);
        foreach (string path in new[] { "a", "closed/b", "closed/inner/c", "closed/inner/d", "closed/inner/deep/e", "closed/z", "other/f", "y" })
        {
            byte[] bytes = new byte[9000]; // in a block of its own
            random.NextBytes(bytes);
            _ = Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(bench.Source, path))!);
            File.WriteAllBytes(Path.Combine(bench.Source, path), bytes);
        }

        string[] folders = ["closed/inner/deep", "closed/inner", "closed", "other", ""];
        string source = bench.Source;
        try
        {
            foreach (string folder in folders)
            {
                File.SetUnixFileMode(Path.Combine(source, folder), Closed);
            }

            SnapshotRecord snapshot = (await bench.ImportAsync()).Snapshot;
            int steps = int.MaxValue;
            for (int at = 1; at <= steps; at++)
            {
                string target = bench.Folder.At($"target{at}");
                using var cancel = new CancellationTokenSource();
                var blocks = new StoppingBlocks(bench.Volume.Blocks, at, cancel);
                var restorer = new Restorer(new SortedTable(blocks, TableOptions.Default), snapshot.Links);
                try
                {
                    _ = await restorer.RunAsync(snapshot.Root, default, new RestoreOptions { Target = target, Workers = 1 + (at % 2) }, null, cancel.Token);
                }
                catch (OperationCanceledException)
                {
                }

                steps = cancel.IsCancellationRequested ? steps : at - 1;
                foreach (string folder in folders.Where(folder => Directory.Exists(Path.Combine(target, folder))))
                {
                    string made = Path.Combine(target, folder);
                    int missing = Directory.GetFileSystemEntries(Path.Combine(source, folder)).Count(each => !Path.Exists(Path.Combine(made, Path.GetFileName(each))));
                    Assert.True(missing == 0 || File.GetUnixFileMode(made) != Closed, $"step {at}: '{folder}' is closed, and {missing} names are not in it");
                }

                RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Resumes = true });
                Assert.Empty(bench.RestoreTroubles);
                Assert.True(progress.IsComplete);
                Assert.Empty(TreeCompare.Differences(source, target));
                Open(target);
            }

            Assert.InRange(steps, 8, 100);
        }
        finally
        {
            Open(source);
        }
    }

    [Theory]
    [InlineData(Closed)]
    [InlineData(UnixFileMode.None)]
    public async Task What_is_missing_in_directories_that_an_earlier_restore_closed_is_put_back(UnixFileMode mode)
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        try
        {
            _ = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target });
            File.Delete(Path.Combine(target, "c/d"));
            File.Delete(Path.Combine(target, "a"));
            File.SetUnixFileMode(Path.Combine(target, "c"), mode);
            File.SetUnixFileMode(target, mode);
            RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Resumes = true });
            Assert.Empty(bench.RestoreTroubles);
            Assert.True(progress.IsComplete);
            Assert.Empty(TreeCompare.Differences(bench.Source, target));
        }
        finally
        {
            Open(target);
        }
    }

    [Fact]
    public async Task What_a_restore_left_in_the_source_is_restored_like_any_other_name()
    {
        using var bench = new ImportBench();
        SnapshotRecord first = await SmallAsync(bench);
        for (int turn = 0; turn < 3; turn++)
        {
            // As often as somebody may import what a killed restore left, each time with the names it would have taken.
            SnapshotRecord before = (await bench.ImportAsync()).Snapshot;
            foreach (string name in new[] { "a", "b" })
            {
                bench.Write(TemporaryName(before.Root, (await bench.FindAsync(before, name)).FileId), $"left of {name} in turn {turn}");
            }
        }

        SnapshotRecord snapshot = (await bench.ImportAsync()).Snapshot;
        Assert.Equal(first.Root.Totals.Entries + 6, snapshot.Root.Totals.Entries);
        await bench.AssertRestoresAsync(snapshot, bench.Source);
    }

    [Fact]
    public async Task A_restore_is_done_once_the_disk_has_all_of_it_and_fails_where_the_disk_does()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        List<string>? differences = null;
        _ = await bench.RestoreAsync(snapshot, new RestoreOptions
        {
            Target = target,
            Syncs = true,
            SyncFilesystem = fd =>
            {
                differences = [.. TreeCompare.Differences(bench.Source, target)];
                return PosixCalls.SyncFilesystem(fd);
            },
        });
        Assert.Equal([], Assert.IsType<List<string>>(differences)); // nothing is changed after the sync
        PosixException failure = await Assert.ThrowsAsync<PosixException>(
            () => bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Resumes = true, Syncs = true, SyncFilesystem = static _ => -Errno.EIO }));
        Assert.Equal(Errno.EIO, failure.Errno);
        Assert.True(PosixCalls.SyncFilesystem(-1) < 0);
    }

    [Fact]
    public async Task What_a_killed_restore_left_of_a_small_file_is_replaced_and_what_is_the_users_is_not()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await SmallAsync(bench);
        string target = bench.Folder.At("target");
        _ = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target });
        File.WriteAllText(Path.Combine(target, "c/d"), "de");
        File.SetUnixFileMode(Path.Combine(target, "c/d"), Half);
        File.WriteAllText(Path.Combine(target, "a"), "");
        RestoreProgress progress = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Resumes = true });
        RestoreTrouble trouble = Assert.Single(bench.RestoreTroubles);
        Assert.Equal((RestoreTroubleKind.Exists, "a"), (trouble.Kind, trouble.Path));
        Assert.Equal(1, progress.KeptCount);
        Assert.Equal("", File.ReadAllText(Path.Combine(target, "a")));
        File.Delete(Path.Combine(target, "a"));
        _ = await bench.RestoreAsync(snapshot, new RestoreOptions { Target = target, Resumes = true });
        Assert.Empty(TreeCompare.Differences(bench.Source, target));
    }

    [Fact]
    public async Task A_small_file_is_marked_as_half_until_it_is_whole_and_one_that_is_given_up_is_taken_away()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await OneBlockAsync(bench);
        string file = bench.Folder.At("target/inner/file");
        UnixFileMode? found = null;
        var blocks = new WatchedBlocks(bench.Volume.Blocks, type => found ??= File.Exists(file) ? File.GetUnixFileMode(file) : null); // verifying reads the block again
        var options = new RestoreOptions { Target = bench.Folder.At("target"), Verifies = true };
        _ = await new Restorer(new SortedTable(blocks, TableOptions.Default), snapshot.Links).RunAsync(snapshot.Root, default, options, bench, default);
        Assert.Equal(Half, found);
        Assert.Empty(bench.RestoreTroubles);
        Assert.Empty(TreeCompare.Differences(bench.Source, options.Target));

        file = bench.Folder.At("second/inner/file");
        blocks = new WatchedBlocks(bench.Volume.Blocks, type => _ = File.Exists(file) ? throw new OperationCanceledException() : 0);
        options = options with { Target = bench.Folder.At("second") };
        _ = await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => new Restorer(new SortedTable(blocks, TableOptions.Default), snapshot.Links).RunAsync(snapshot.Root, default, options, bench, default));
        Assert.Empty(Directory.GetFileSystemEntries(bench.Folder.At("second/inner")));
    }

    [Fact]
    public async Task A_name_that_somebody_takes_in_a_directory_just_made_is_left_alone()
    {
        using var bench = new ImportBench();
        SnapshotRecord snapshot = await OneBlockAsync(bench);
        string file = bench.Folder.At("target/inner/file");
        var blocks = new WatchedBlocks(bench.Volume.Blocks, type =>
        {
            if (type == BlockType.Data)
            {
                File.WriteAllText(file, "mine");
            }
        });
        var options = new RestoreOptions { Target = bench.Folder.At("target"), Resumes = true };
        _ = await new Restorer(new SortedTable(blocks, TableOptions.Default), snapshot.Links).RunAsync(snapshot.Root, default, options, bench, default);
        RestoreTrouble trouble = Assert.Single(bench.RestoreTroubles);
        Assert.Equal((RestoreTroubleKind.Exists, "inner/file", "is there, and differs"), (trouble.Kind, trouble.Path, trouble.Reason));
        Assert.Equal("mine", File.ReadAllText(file));
    }

    private static async Task<SnapshotRecord> OneBlockAsync(ImportBench bench)
    {
        byte[] bytes = new byte[9000];
        new Random(41).NextBytes(bytes);
        _ = Directory.CreateDirectory(Path.Combine(bench.Source, "inner"));
        File.WriteAllBytes(Path.Combine(bench.Source, "inner/file"), bytes);
        return (await bench.ImportAsync()).Snapshot;
    }

    private const UnixFileMode Half = UnixFileMode.StickyBit | UnixFileMode.UserWrite;

    private const UnixFileMode Closed = UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    private static string TemporaryName(Entry directory, ulong fileId) =>
        Encoding.ASCII.GetString(new RestoreFrame(null, [], null, directory.Children).TemporaryName(fileId));

    /// <summary>So that whoever is not root can take it away.</summary>
    private static void Open(string folder)
    {
        File.SetUnixFileMode(folder, Closed | UnixFileMode.UserWrite);
        foreach (string inner in Directory.GetDirectories(folder))
        {
            Open(inner);
        }
    }

    private static async Task<SnapshotRecord> SmallAsync(ImportBench bench)
    {
        bench.Write("a", "alpha");
        bench.Write("b", "0123456789");
        bench.Write("c/d", "deep");

        // Whole seconds, which the runtime can set elsewhere too.
        File.SetLastWriteTimeUtc(Path.Combine(bench.Source, "b"), new DateTime(2021, 2, 3, 4, 5, 6, DateTimeKind.Utc));
        return (await bench.ImportAsync()).Snapshot;
    }

    /// <summary>Tells of each read before it is done.</summary>
    private sealed class WatchedBlocks(IBlockStore inner, Action<BlockType> reads) : IBlockStore
    {
        public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
        {
            reads(type);
            return inner.ReadAsync(score, type, target, cancel);
        }

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => inner.ScoreOf(type, plain);

        public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => inner.WriteAsync(type, plain, cancel);

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => inner.ContainsAsync(score, type, cancel);

        public ValueTask FlushAsync(CancellationToken cancel) => inner.FlushAsync(cancel);

        public int Survive => inner.Survive;

        public int Weakest => inner.Weakest;

        public IBlockStore At(int other) => inner.At(other);
    }

    /// <summary>Cancels at a read, which fails then.</summary>
    private sealed class StoppingBlocks(IBlockStore inner, int at, CancellationTokenSource stop) : IBlockStore
    {
        private int _reads;

        public async ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
        {
            if (Interlocked.Increment(ref _reads) == at)
            {
                await stop.CancelAsync();
            }

            cancel.ThrowIfCancellationRequested();
            return await inner.ReadAsync(score, type, target, cancel);
        }

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => inner.ScoreOf(type, plain);

        public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => inner.WriteAsync(type, plain, cancel);

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => inner.ContainsAsync(score, type, cancel);

        public ValueTask FlushAsync(CancellationToken cancel) => inner.FlushAsync(cancel);

        public int Survive => inner.Survive;

        public int Weakest => inner.Weakest;

        public IBlockStore At(int other) => inner.At(other);
    }

    private sealed class StopAfter(int files, CancellationTokenSource cancel) : IRestoreObserver
    {
        public void Started(RestoreProgress progress)
        {
            _ = Task.Run(() =>
            {
                while (progress.FileCount < files)
                {
                    _ = Thread.Yield();
                }

                cancel.Cancel();
            });
        }

        public void Trouble(RestoreTrouble trouble)
        {
        }
    }
}
