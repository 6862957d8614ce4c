using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class ActiveTreeIntentsTests
{
    private const OpenOptions Both = OpenOptions.Read | OpenOptions.Write;
    private static readonly ActiveTreeOptions s_options = new() { CommitInterval = TimeSpan.Zero };

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task What_a_sync_made_durable_by_intents_is_there_after_a_kill(int seed)
    {
        using var system = new PosixTree();
        Assert.SkipUnless(system.FilesystemType == 0xEF53, "the folder for temporary files is on no ext4");
        var journal = new MemoryJournal();
        ContentOptions small = new() { MeanChunkBytes = 4096, InlineBytes = 256 };
        ActiveTreeOptions options = s_options with { Content = small, WholeFileBytes = 8192, SpillBytes = seed % 2 == 0 ? 50_000 : 1 << 20 };
        using var volume = new VolumeTree(options, new MemoryVolumeStore { Journal = journal });
        volume.Create("first", 0x1a4, true);
        volume.Tree.SyncAll(); // a volume's first sync is a commit: there was nothing for intents to follow
        volume.Unlink("first");
        var random = new Random(seed);
        var comparison = new FileTreeComparison(system, volume, seed) { MaxOffset = 300_000 };
        for (int round = 0; round < 25; round++)
        {
            for (int step = random.Next(60); step > 0; step--)
            {
                comparison.Step();
            }

            switch (random.Next(5))
            {
                case 0:
                    await volume.Tree.CommitAsync(default);
                    break;
                case 1:
                    comparison.CloseAll();
                    Assert.Equal(FileError.None, volume.Tree.SyncAll());
                    volume.Kill();
                    comparison.CompareTrees();
                    break;
                default:
                    Assert.Equal(FileError.None, volume.Tree.SyncAll());
                    break;
            }
        }

        comparison.CloseAll();
        Assert.Equal(FileError.None, volume.Tree.SyncAll());
        Assert.True(journal.BatchCount > 10);
        volume.Kill();
        comparison.CompareTrees();
        await volume.RemountAsync();
        comparison.CompareTrees();
        await CommittedTree.CheckAsync(volume.Volume);
    }

    public static TheoryData<int> Seeds() => [.. Enumerable.Range(1, 8)];

    [Fact]
    public void The_operations_are_written_as_the_page_shows_them()
    {
        const int HeaderSize = 42;
        var log = new IntentLog();
        var root = new Inode(EntryType.Directory, 1);
        var file = new Inode(EntryType.File, 5) { Mode = 0x1a4, Parent = root, Name = "a"u8.ToArray() };
        log.Make(file, root, "a"u8);
        var overlay = new FileOverlay(new DirtyMemory(), 0);
        overlay.Write(0, "hi"u8, 0);
        file.Size = 2;
        log.Content(file, long.MaxValue, overlay.Unlogged(out _));
        Assert.Equal(Convert.ToHexString(Repository.FormatExample("8.1").AsSpan(HeaderSize)), Convert.ToHexString(Assert.Single(log.Take()).Span));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_synced_copy_of_what_no_commit_has_is_there_after_a_kill(bool isSourceSynced)
    {
        var journal = new MemoryJournal();
        using var volume = new VolumeTree(s_options, new MemoryVolumeStore { Journal = journal });
        volume.Create("a", 0x1a4, true);
        volume.Create("b", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Open(0, "a", Both);
        volume.Open(1, "b", Both);
        byte[] bytes = new byte[400_000];
        new Random(2).NextBytes(bytes);
        volume.Write(0, 0, bytes);
        if (isSourceSynced)
        {
            Assert.Equal(FileError.None, volume.Sync(0));
        }

        Assert.Equal((FileError.None, (long)bytes.Length), volume.CopyRange(0, 0, 1, 1000, bytes.Length));
        volume.Write(0, 0, new byte[bytes.Length]);
        Assert.Equal(FileError.None, volume.Sync(1));
        volume.Unlink("a");
        Assert.Equal(FileError.None, volume.Tree.SyncAll());
        Assert.InRange(journal.BatchCount, 2, 4); // no commit had it
        volume.Kill();
        volume.Open(1, "b", Both);
        Assert.Equal(bytes, volume.Read(1, 1000, bytes.Length).Bytes);
        volume.Close(1);
    }

    [Fact]
    public async Task A_batch_says_whether_it_names_blocks()
    {
        var journal = new MemoryJournal();
        using var volume = new VolumeTree(s_options, new MemoryVolumeStore { Journal = journal });
        volume.Create("a", 0x1a4, true);
        volume.Create("b", 0x1a4, true);
        volume.Open(0, "a", Both);
        volume.Open(1, "b", Both);
        volume.Write(0, 0, new byte[100_000]);
        await volume.Tree.CommitAsync(default);
        volume.Write(1, 0, new byte[100_000]);
        Assert.Equal(FileError.None, volume.Sync(1));
        Assert.False(journal.NamedBlocks);
        Assert.Equal((FileError.None, 100_000), volume.CopyRange(0, 0, 1, 0, 100_000)); // committed: shown from its blocks
        Assert.Equal(FileError.None, volume.Sync(1));
        Assert.True(journal.NamedBlocks);
        volume.Write(1, 5, new byte[10]);
        Assert.Equal(FileError.None, volume.Sync(1));
        Assert.False(journal.NamedBlocks);
        volume.Close(0);
        volume.Close(1);
    }

    [Fact]
    public void A_batch_that_was_cut_short_is_none_and_later_ones_are_found()
    {
        var journal = new MemoryJournal();
        using var volume = new VolumeTree(s_options, new MemoryVolumeStore { Journal = journal });
        volume.Create("a", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Create("b", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Create("c", 0x1a4, true);
        volume.Tree.SyncAll();
        Assert.Equal(2, journal.BatchCount);
        journal.CutOff();
        volume.Kill();
        Assert.Equal(FileError.None, volume.GetFacts("b").Error);
        Assert.Equal(FileError.ENOENT, volume.GetFacts("c").Error);
        volume.Create("d", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Create("e", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Kill();
        Assert.Equal(FileError.None, volume.GetFacts("e").Error);
        Assert.Equal(FileError.None, volume.GetFacts("d").Error);
    }

    [Fact]
    public void A_synced_append_commits_no_root_and_logs_little_more_than_its_bytes()
    {
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options, store);
        volume.Create("log", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Open(0, "log", Both | OpenOptions.Append);
        byte[] line = new byte[4096];
        var random = new Random(1);
        var all = new List<byte>();
        for (int at = 0; at < 200; at++)
        {
            random.NextBytes(line);
            all.AddRange(line);
            Assert.Equal(FileError.None, volume.Write(0, 0, line));
            Assert.Equal(FileError.None, volume.Sync(0));
        }

        Assert.Equal(1, store.CommitCount);
        Assert.Equal(200, journal.BatchCount);
        Assert.InRange(journal.Intents(volume.Volume.Root.Id).Sum(static intent => intent.Body.Length), all.Count, all.Count + (200 * 100));
        volume.Kill();
        volume.Open(0, "log", Both);
        Assert.Equal(all, volume.Read(0, 0, all.Count + 1).Bytes);
        volume.Close(0);
    }

    [Fact]
    public async Task A_sync_waits_for_no_commit_that_is_under_way_and_a_crash_meanwhile_loses_nothing_of_it()
    {
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options, store);
        volume.Create("f", 0x1a4, true);
        volume.Create("g", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Open(0, "f", Both);
        Assert.Equal(FileError.None, volume.Write(0, 0, [1, 1, 1]));
        Assert.Equal(FileError.None, volume.Sync(0)); // somebody syncs: what a commit cuts is in intents too
        Assert.Equal(FileError.None, volume.Write(0, 3, [2, 2, 2]));
        volume.Rename("g", "h", RenameMode.Replace);
        using var isReached = new ManualResetEventSlim();
        using var mayGoOn = new ManualResetEventSlim();
        store.BeforeCommit = () =>
        {
            store.BeforeCommit = null;
            isReached.Set();
            mayGoOn.Wait();
            throw new IOException("the power went before the head was there");
        };
        Task commit = Task.Run(async () => await volume.Tree.CommitAsync(default));
        isReached.Wait();
        Assert.Equal(FileError.None, volume.Write(0, 6, [3, 3, 3]));
        volume.Create("i", 0x1a4, true);
        Task<FileError> sync = Task.Run(() => volume.Tree.SyncAll());
        bool hasWaited = await Task.WhenAny(sync, Task.Delay(TimeSpan.FromSeconds(20))) != sync;
        mayGoOn.Set();
        await Assert.ThrowsAsync<IOException>(() => commit);
        Assert.False(hasWaited, "the sync waited for the commit");
        Assert.Equal(FileError.None, await sync);
        Assert.Equal(1, store.CommitCount);
        volume.Kill();
        Assert.Equal(FileError.None, volume.GetFacts("h").Error);
        Assert.Equal(FileError.ENOENT, volume.GetFacts("g").Error);
        Assert.Equal(FileError.None, volume.GetFacts("i").Error);
        volume.Open(0, "f", Both);
        Assert.Equal([1, 1, 1, 2, 2, 2, 3, 3, 3], volume.Read(0, 0, 20).Bytes);
        volume.Close(0);
    }

    [Fact]
    public async Task Batches_made_beside_a_commit_stand_behind_its_root()
    {
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options, store);
        volume.Create("f", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Open(0, "f", Both);
        Assert.Equal(FileError.None, volume.Write(0, 0, [1, 1, 1]));
        Assert.Equal(FileError.None, volume.Sync(0));
        Assert.Equal(FileError.None, volume.Write(0, 1, [2]));
        store.BeforeCommit = () =>
        {
            store.BeforeCommit = null;
            Assert.Equal(FileError.None, volume.Write(0, 2, [3]));
            volume.Rename("f", "g", RenameMode.Replace);
            Task<FileError> sync = Task.Run(() => volume.Tree.SyncAll());
            Assert.True(sync.Wait(TimeSpan.FromSeconds(20)), "the sync waited for the commit");
        };
        await volume.Tree.CommitAsync(default);
        Assert.Equal(2, store.CommitCount);
        Assert.Equal(3ul, Assert.Single(journal.Intents(volume.Volume.Root.Id)).Sequence); // what the root has is gone
        volume.Kill();
        Assert.Equal(FileError.ENOENT, volume.GetFacts("f").Error);
        volume.Open(0, "g", Both);
        Assert.Equal([1, 2, 3], volume.Read(0, 0, 20).Bytes);
        volume.Close(0);
    }

    [Fact]
    public async Task What_is_written_here_and_there_is_in_the_journal_before_a_sync_asks()
    {
        const int FileBytes = 4 << 20;
        const int WriteBytes = 4096;
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options with { AheadBytes = 256 << 10, LoggedBytes = 1 << 20, SpillBytes = 1 << 20 }, store);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        byte[] expected = new byte[FileBytes];
        var random = new Random(3);
        random.NextBytes(expected);
        volume.Write(0, 0, expected);
        volume.Tree.SyncAll();
        int commits = store.CommitCount;
        long blocks = store.Blocks.WriteCount;
        byte[] piece = new byte[WriteBytes];
        for (int at = 0; at < 768; at++)
        {
            random.NextBytes(piece);
            int offset = random.Next(FileBytes / WriteBytes) * WriteBytes;
            piece.CopyTo(expected, offset);
            Assert.Equal(FileError.None, volume.Write(0, offset, piece));
            if (at % 64 == 63)
            {
                await volume.Tree.AheadAsync();
            }
        }

        Assert.True(journal.AheadCount >= 6, $"{journal.AheadCount} batches were written ahead");
        Assert.Equal(FileError.None, volume.Sync(0));
        Assert.Equal(commits, store.CommitCount); // 3 MiB, of which at most 1 is logged by a sync alone
        Assert.Equal(blocks, store.Blocks.WriteCount);
        volume.Kill();
        volume.Open(0, "f", Both);
        Assert.Equal(expected, volume.Read(0, 0, FileBytes + 1).Bytes);
        volume.Close(0);
    }

    [Fact]
    public async Task A_root_that_includes_intents_makes_them_go()
    {
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options with { IntentBytes = 10_000, LoggedBytes = 4 << 20 }, store);
        volume.Create("f", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Open(0, "f", Both);
        volume.Write(0, 0, new byte[1000]);
        volume.Tree.SyncAll();
        Assert.NotEmpty(journal.Intents(volume.Volume.Root.Id));
        await volume.Tree.CommitAsync(default);
        Assert.Empty(journal.Intents(volume.Volume.Root.Id));
        Assert.Equal(1UL, volume.Volume.Root.IntentSequence);
        volume.Write(0, 0, new byte[6_000_000]);
        volume.Tree.SyncAll(); // too much to be logged
        Assert.Empty(journal.Intents(volume.Volume.Root.Id));
        volume.Close(0);
    }

    [Fact]
    public async Task Intents_that_a_root_has_already_are_not_done_twice()
    {
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options, store);
        volume.Create("f", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Rename("f", "g", RenameMode.Replace);
        volume.Tree.SyncAll();
        IReadOnlyList<Intent> batch = journal.Intents(volume.Volume.Root.Id);
        await volume.Tree.CommitAsync(default);
        await journal.AppendAsync(batch, namesBlocks: false, default); // the crash came before they were forgotten
        volume.Create("f", 0x1a4, true);
        volume.Kill();
        Assert.Equal(FileError.ENOENT, volume.GetFacts("f").Error);
        Assert.Equal(FileError.None, volume.GetFacts("g").Error);
        Assert.Empty(journal.Intents(volume.Volume.Root.Id));
        volume.Create("h", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Kill();
        Assert.Equal(FileError.None, volume.GetFacts("h").Error);
    }

    [Fact]
    public void Where_the_journal_fails_a_commit_makes_up_for_it()
    {
        var journal = new MemoryJournal();
        var store = new MemoryVolumeStore { Journal = journal };
        using var volume = new VolumeTree(s_options, store);
        volume.Create("f", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.SetXattr("f", "user.a", "1"u8.ToArray(), XattrMode.Any);
        journal.BeforeAppend = () => throw new DiskException(DiskFailure.Full, "append", "/state/journal", "no space left on the device");
        Assert.Equal(FileError.ENOSPC, volume.Tree.SyncAll());
        Assert.Equal(FileError.None, volume.Tree.SyncAll());
        Assert.Equal(2, store.CommitCount);
        volume.Kill();
        Assert.Equal("1", Encoding.UTF8.GetString(volume.GetXattr("f", "user.a").Value));
    }

    [Fact]
    public void A_file_ids_counter_goes_on_behind_those_that_only_intents_have()
    {
        using var volume = new VolumeTree(s_options, new MemoryVolumeStore { Journal = new MemoryJournal() });
        volume.Create("a", 0x1a4, true);
        volume.Tree.SyncAll();
        volume.Create("b", 0x1a4, true);
        volume.Tree.SyncAll();
        ulong b = volume.IdOf("b");
        volume.Kill();
        Assert.Equal(b, volume.IdOf("b"));
        volume.Create("c", 0x1a4, true);
        Assert.True(volume.IdOf("c") > b);
    }
}
