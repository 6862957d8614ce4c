namespace TokTok.Storage.Files.Tests;

/// <summary>A volume answers as a directory of ext4 does, and as a model does that anyone can check by reading, operation by operation.</summary>
public sealed class FileTreeModelTests
{
    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task A_volume_answers_as_a_directory_of_the_system_does(int seed)
    {
        using var system = new PosixTree();
        Assert.SkipUnless(system.FilesystemType == 0xEF53, "the folder for temporary files is on no ext4");
        await CompareAsync(system, seed);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task A_volume_answers_as_a_simple_model_does(int seed) => await CompareAsync(new ModelTree(), 1000 + seed);

    private static async Task CompareAsync(IFileTree system, int seed)
    {
        using var volume = new VolumeTree(s_options[seed % s_options.Length]);
        var comparison = new FileTreeComparison(system, volume, seed) { MaxOffset = seed % 2 == 0 ? 60_000 : 1_000_000, MaxWriteBytes = seed % 5 == 0 ? 200_000 : 20_000 };
        for (int round = 0; round < 6; round++)
        {
            for (int step = 0; step < 100; step++)
            {
                comparison.Step();
            }

            comparison.CompareTrees();
            switch (round % 3)
            {
                case 0:
                    Assert.Equal(FileError.None, volume.Tree.SyncAll());
                    break;
                case 1:
                    comparison.CloseAll();
                    await volume.RemountAsync();
                    break;
                default:
                    break;
            }

            comparison.CompareTrees();
            await CommittedTree.CheckAsync(volume.Volume);
        }

        comparison.CloseAll();
    }

    private static readonly ContentOptions s_small = new() { MeanChunkBytes = 1024, FixedChunkBytes = 1024, InlineBytes = 256, BridgedHoleBytes = 8192 };

    /// <summary>As it is, and so small that every bound is met all the time: patches, spills, fixed blocks, caches that hold next to nothing.</summary>
    private static readonly ActiveTreeOptions[] s_options =
    [
        new() { CommitInterval = TimeSpan.Zero },
        new() { CommitInterval = TimeSpan.Zero, Content = s_small, WholeFileBytes = 4096, SpillBytes = 40_000, DirtyBytes = 400_000, DataCacheBytes = 50_000, TreeCacheBytes = 20_000 },
        new() { CommitInterval = TimeSpan.Zero, Content = s_small, WholeFileBytes = 4096, FixedRuleBytes = 10_000, FixedRuleOverwrites = 2, SpillBytes = 100_000, DataCacheBytes = 1 },
        new() { CommitInterval = TimeSpan.Zero, Content = s_small, WholeFileBytes = 20_000, DirtyBytes = 50_000, SpillBytes = 1, CommitBytes = 300_000 },
    ];

    public static TheoryData<int> Seeds() => [.. Enumerable.Range(1, 24)];
}
