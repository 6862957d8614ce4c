namespace TokTok.Storage.Files.Tests;

public sealed class ActiveTreeThreadsTests
{
    private const OpenOptions Both = OpenOptions.Read | OpenOptions.Write;

    /// <summary>Threads that each work below a directory of their own, with commits all the time: each must find exactly what it left.</summary>
    [Fact]
    public async Task Threads_that_work_side_by_side_each_find_what_they_did()
    {
        var options = new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, DirtyBytes = 300_000, SpillBytes = 50_000, WholeFileBytes = 20_000, DataCacheBytes = 100_000, TreeCacheBytes = 40_000 };
        using var shared = new VolumeTree(options);
        await Task.WhenAll(Enumerable.Range(1, 4).Select(number => Task.Factory.StartNew(
            () =>
            {
                shared.MakeDirectory($"thread {number}", 0x1ed);
                using var model = new PosixTree();
                using var own = new VolumeTree(shared, $"thread {number}");
                var comparison = new FileTreeComparison(model, own, number) { MaxOffset = 200_000 };
                for (int step = 0; step < 400; step++)
                {
                    comparison.Step();
                    if (step % 100 == 99)
                    {
                        shared.Tree.SyncAll();
                    }
                }

                comparison.CloseAll();
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)));
        await shared.RemountAsync();
        await CommittedTree.CheckAsync(shared.Volume);
    }

    /// <summary>Many hands on few names: whatever happens, the tree adds up and nobody hangs.</summary>
    [Fact]
    public async Task Threads_that_fight_for_the_same_names_leave_a_whole_tree()
    {
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, DirtyBytes = 100_000 });
        ActiveTree tree = volume.Tree;
        await Task.WhenAll(Enumerable.Range(0, 4).Select(number => Task.Factory.StartNew(
            () =>
            {
                var random = new Random(number);
                byte[] bytes = new byte[3000];
                for (int step = 0; step < 1500; step++)
                {
                    byte[] name = [(byte)('a' + random.Next(4))];
                    byte[] other = [(byte)('a' + random.Next(4))];
                    ulong directory = tree.RootId;
                    bool isBelow = random.Next(2) == 0 && tree.Lookup(tree.RootId, name, out InodeAttributes below) == FileError.None && Keep(below, ref directory);
                    switch (random.Next(8))
                    {
                        case 0:
                            Forget(tree.MakeDirectory(volume.Caller, directory, other, 0x1ed, out InodeAttributes made), made);
                            break;
                        case 1:
                            _ = tree.Rename(volume.Caller, tree.RootId, name, directory, other, (RenameMode)random.Next(3));
                            break;
                        case 2:
                            _ = tree.Unlink(volume.Caller, directory, other);
                            break;
                        case 3:
                            _ = tree.RemoveDirectory(volume.Caller, directory, other);
                            break;
                        case 4 when tree.Lookup(tree.RootId, other, out InodeAttributes found) == FileError.None:
                            Forget(tree.Link(volume.Caller, found.FileId, directory, name, out InodeAttributes linked), linked);
                            tree.Forget(found.FileId, 1);
                            break;
                        default:
                            if (tree.Create(volume.Caller, directory, other, 0x1a4, Both, out InodeAttributes file, out ulong handle) == FileError.None)
                            {
                                Assert.Equal(FileError.None, tree.Write(handle, random.Next(20_000), bytes, WriteOptions.None, out _));
                                Assert.Equal(FileError.None, tree.Read(handle, random.Next(20_000), bytes, out _));
                                Assert.Equal(FileError.None, tree.Release(handle));
                                tree.Forget(file.FileId, 1);
                            }

                            break;
                    }

                    if (isBelow)
                    {
                        tree.Forget(directory, 1);
                    }
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default)));
        await volume.RemountAsync();
        await CommittedTree.CheckAsync(volume.Volume);
        Assert.Equal(1, volume.Tree.InodeCount);

        void Forget(FileError error, InodeAttributes made)
        {
            if (error == FileError.None)
            {
                tree.Forget(made.FileId, 1);
            }
        }

        static bool Keep(InodeAttributes below, ref ulong directory)
        {
            directory = below.FileId;
            return true;
        }
    }

    /// <summary>Two counters in two files, the second written only after the first: no commit may show the second ahead.</summary>
    [Fact]
    public async Task A_commit_never_cuts_through_the_order_of_two_files()
    {
        var store = new Testing.MemoryVolumeStore();
        using var volume = new VolumeTree(store: store);
        ActiveTree tree = volume.Tree;
        tree.Create(volume.Caller, tree.RootId, "first"u8, 0x1a4, Both, out _, out ulong first);
        tree.Create(volume.Caller, tree.RootId, "second"u8, 0x1a4, Both, out _, out ulong second);
        var done = new CancellationTokenSource();
        Task writing = Task.Factory.StartNew(
            () =>
            {
                for (long at = 1; !done.IsCancellationRequested; at++)
                {
                    byte[] bytes = BitConverter.GetBytes(at);
                    Assert.Equal(FileError.None, tree.Write(first, 0, bytes, WriteOptions.None, out _));
                    Assert.Equal(FileError.None, tree.Write(second, 0, bytes, WriteOptions.None, out _));
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        for (int round = 0; round < 60; round++)
        {
            Assert.Equal(FileError.None, tree.SyncAll());
            Entry root = volume.Volume.Root.Active!;
            var reader = new TreeReader(volume.Volume.Tables, volume.Volume.Root.Links);
            long[] values = new long[2];
            for (int at = 0; at < 2; at++)
            {
                TreeItem? item = await reader.ResolveAsync(root, at == 0 ? "first"u8.ToArray() : "second"u8.ToArray(), default);
                byte[] bytes = new byte[8];
                using FileContentReader content = reader.OpenContent(item!.Value.Entry);
                values[at] = await content.ReadAsync(0, bytes, default) == 8 ? BitConverter.ToInt64(bytes) : 0;
            }

            Assert.InRange(values[0] - values[1], 0, 1);
        }

        await done.CancelAsync();
        await writing;
        tree.Release(first);
        tree.Release(second);
    }
}
