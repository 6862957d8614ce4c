using System.Runtime.Versioning;
using System.Text;
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
        File.WriteAllText(Path.Combine(target, "special", Encoding.ASCII.GetString(FileRestorer.TemporaryName(id))), "half");
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
        Assert.Equal(1, progress.CountOf(RestoreTroubleKind.Exists));
        Assert.Null(new FileInfo(Path.Combine(target, "a")).LinkTarget);
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
