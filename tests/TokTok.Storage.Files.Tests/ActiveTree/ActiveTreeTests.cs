using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class ActiveTreeTests
{
    private const OpenOptions Both = OpenOptions.Read | OpenOptions.Write;

    [Fact]
    public async Task While_a_tree_is_held_nothing_of_it_reaches_the_store_and_work_goes_on()
    {
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, SpillBytes = 1 << 20 });
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, new byte[100]);
        Task<FileError> sync;
        using (IDisposable held = await volume.Tree.HoldAsync(CancellationToken.None))
        {
            await CommittedTree.CheckAsync(volume.Volume);
            Head? head = volume.Volume.Head;
            volume.Write(0, 0, new byte[4 << 20]); // more than a file keeps in memory before it becomes blocks
            volume.Create("g", 0x1a4, true);
            sync = Task.Run(volume.Tree.SyncAll);
            Assert.Equal(FileError.None, volume.GetFacts("g").Error);
            Assert.True(volume.Tree.DirtyBytes >= 4 << 20);
            Assert.Equal(head, volume.Volume.Head);
            Assert.False(sync.IsCompleted);
        }

        Assert.Equal(FileError.None, await sync);
        volume.Close(0);
        await volume.RemountAsync();
        Assert.Equal(4 << 20, volume.AttributesOf("f").Size);
        await CommittedTree.CheckAsync(volume.Volume);
    }

    [Fact]
    public async Task A_file_without_a_name_tells_what_it_still_needs()
    {
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, SpillBytes = 1 << 20, DataCacheBytes = 1, TreeCacheBytes = 1 });
        byte[] bytes = new byte[6 << 20];
        new Random(1).NextBytes(bytes);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, bytes.AsSpan(0, 3 << 20).ToArray());
        volume.Tree.SyncAll();
        volume.Write(0, 3 << 20, bytes.AsSpan(3 << 20).ToArray()); // some of it in blocks, in no root
        var wanted = new MarkedScores();
        await volume.Tree.MarkHeldAsync(wanted, CancellationToken.None);
        Assert.Empty(wanted.Scores);
        volume.Unlink("f");
        using (await volume.Tree.HoldAsync(CancellationToken.None))
        {
            await volume.Tree.MarkHeldAsync(wanted, CancellationToken.None);
        }

        MemoryBlocks blocks = ((MemoryVolumeStore)volume.Store).Blocks;
        foreach ((Score score, BlockType type) in blocks.Known.Where(known => !wanted.Scores.Contains(known.Score)).ToArray())
        {
            Assert.True(blocks.Drop(score, type));
        }

        Assert.Equal(bytes, volume.Read(0, 0, bytes.Length).Bytes);
        volume.Close(0);
    }

    private sealed class MarkedScores : IBlockMarker
    {
        internal HashSet<Score> Scores { get; } = [];

        public bool Mark(Score score, BlockType type) => Scores.Add(score);
    }

    [Fact]
    public async Task File_ids_stay_over_commits_renames_and_remounts()
    {
        using var volume = new VolumeTree();
        volume.MakeDirectory("d", 0x1ed);
        volume.Create("d/f", 0x1a4, true);
        volume.Link("d/f", "g");
        ulong directory = volume.IdOf("d");
        ulong file = volume.IdOf("g");
        Assert.Equal(file, volume.IdOf("d/f"));
        volume.Rename("d", "e", RenameMode.Replace);
        await volume.RemountAsync();
        Assert.Equal((directory, file, file), (volume.IdOf("e"), volume.IdOf("e/f"), volume.IdOf("g")));
        Assert.Equal(2u, volume.AttributesOf("g").LinkCount);
        volume.Create("new", 0x1a4, true);
        Assert.NotEqual(file, volume.IdOf("new"));
        await volume.RemountAsync();
        await CommittedTree.CheckAsync(volume.Volume);
    }

    [Fact]
    public void A_file_without_a_name_is_read_and_written_until_it_is_closed()
    {
        using var volume = new VolumeTree();
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, "before"u8.ToArray());
        volume.Unlink("f");
        Assert.Equal(FileError.ENOENT, volume.GetFacts("f").Error);
        Assert.Equal(FileError.None, volume.Write(0, 6, " after"u8.ToArray()));
        Assert.Equal(FileError.None, volume.Tree.SyncAll());
        Assert.Equal(FileError.None, volume.Sync(0));
        Assert.Equal("before after", Encoding.UTF8.GetString(volume.Read(0, 0, 100).Bytes));
        Assert.Equal(0u, volume.GetOpenFacts(0).Facts.LinkCount);
        int before = volume.Tree.InodeCount;
        volume.Close(0);
        Assert.Equal(before - 1, volume.Tree.InodeCount);
    }

    [Fact]
    public void An_id_that_was_forgotten_is_stale_and_one_that_is_remembered_lives_without_a_name()
    {
        using var volume = new VolumeTree();
        ActiveTree tree = volume.Tree;
        Assert.Equal(FileError.None, tree.MakeDirectory(volume.Caller, tree.RootId, "d"u8, 0x1ed, out InodeAttributes made));
        Assert.Equal(FileError.None, tree.RemoveDirectory(volume.Caller, tree.RootId, "d"u8));
        Assert.Equal(FileError.None, tree.GetAttributes(made.FileId, out InodeAttributes gone));
        Assert.Equal(0u, gone.LinkCount);
        Assert.Equal(FileError.ENOENT, tree.MakeDirectory(volume.Caller, made.FileId, "below"u8, 0x1ed, out _));
        Assert.Equal(FileError.ENOENT, tree.Lookup(made.FileId, "x"u8, out _));
        tree.Forget(made.FileId, 1);
        Assert.Equal(FileError.ESTALE, tree.GetAttributes(made.FileId, out _));
        Assert.Equal(FileError.ESTALE, tree.Open(volume.Caller, 12345, Both, out _));
        Assert.Equal(FileError.EBADF, tree.Release(99));
    }

    [Fact]
    public void What_is_committed_and_not_in_use_is_not_kept_in_memory()
    {
        using var volume = new VolumeTree();
        for (int at = 0; at < 500; at++)
        {
            volume.Create($"file {at}", 0x1a4, true);
        }

        Assert.True(volume.Tree.InodeCount > 500);
        Assert.True(volume.Tree.DirtyBytes > 0);
        volume.Tree.SyncAll();
        Assert.Equal(1, volume.Tree.InodeCount);
        Assert.Equal(0, volume.Tree.DirtyBytes);
        Assert.Equal(FileError.None, volume.GetFacts("file 7").Error);
        Assert.Equal(1, volume.Tree.InodeCount);
    }

    [Fact]
    public void Memory_for_changes_stays_within_its_bound_whatever_is_written()
    {
        const long Bound = 4 << 20;
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, DirtyBytes = Bound, SpillBytes = 1 << 20, DataCacheBytes = 1 << 20 });
        byte[] bytes = new byte[128 << 10];
        var random = new Random(1);
        volume.Create("large", 0x1a4, true);
        volume.Create("gone", 0x1a4, true);
        volume.Open(0, "large", Both);
        volume.Open(1, "gone", Both);
        volume.Unlink("gone");
        long most = 0;
        for (int at = 0; at < 200; at++)
        {
            random.NextBytes(bytes);
            Assert.Equal(FileError.None, volume.Write(0, (long)at * bytes.Length, bytes));
            Assert.Equal(FileError.None, volume.Write(1, random.Next(100 << 20), bytes.AsSpan(0, 5000).ToArray()));
            volume.Create($"small {at}", 0x1a4, true);
            most = Math.Max(most, volume.Tree.DirtyBytes);
        }

        Assert.InRange(most, 1, Bound + (2 * bytes.Length));
        Assert.InRange(volume.Tree.CachedBytes, 0, (32 << 20) + (1 << 20) + (1 << 20));
        volume.Close(0);
        volume.Close(1);
        volume.Tree.SyncAll();
        Assert.Equal(0, volume.Tree.DirtyBytes);
    }

    [Fact]
    public async Task A_large_file_written_in_a_row_is_cut_as_an_import_cuts_it()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, SpillBytes = 3 << 20 }, store);
        byte[] bytes = new byte[13_000_000];
        new Random(5).NextBytes(bytes);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        for (int at = 0; at < bytes.Length; at += 100_000)
        {
            Assert.Equal(FileError.None, volume.Write(0, at, bytes.AsSpan(at, 100_000).ToArray()));
        }

        volume.Close(0);
        volume.Tree.SyncAll();
        using var writer = new FileContentWriter(store.Blocks, store.ChunkerSeed(store.Realm));
        long before = store.Blocks.WrittenBytes;
        FileContent imported = (await writer.WriteAsync(new Source(bytes), CuttingRule.ContentDefined, default)).Content;
        Assert.Equal(before, store.Blocks.WrittenBytes); // nothing of it was new
        Assert.Equal(13_000_000, imported.Size);
    }

    [Fact]
    public void Small_writes_all_over_a_large_file_store_little_more_than_their_blocks()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero }, store);
        var random = new Random(3);
        byte[] bytes = new byte[1 << 20];
        volume.Create("db", 0x1a4, true);
        volume.Open(0, "db", Both);
        for (int at = 0; at < 48; at++)
        {
            random.NextBytes(bytes);
            volume.Write(0, (long)at << 20, bytes);
        }

        volume.Tree.SyncAll();
        long before = store.Blocks.WrittenBytes;
        const int Writes = 1000;
        byte[] page = new byte[4096];
        var model = new Dictionary<long, byte[]>();
        for (int at = 0; at < Writes; at++)
        {
            random.NextBytes(page);
            long offset = 4096L * random.Next(48 << 8);
            model[offset] = [.. page];
            volume.Write(0, offset, page);
        }

        volume.Tree.SyncAll();
        long stored = store.Blocks.WrittenBytes - before;
        Assert.InRange(stored, 1, 5L * Writes * page.Length);
        foreach ((long offset, byte[] expected) in model)
        {
            Assert.Equal(expected, volume.Read(0, offset, 4096).Bytes);
        }

        volume.Close(0);
    }

    [Fact]
    public async Task Pages_written_here_and_there_become_blocks_of_their_own_and_few_pieces_stay_of_any_place()
    {
        const int FileBytes = 12 << 20;
        const int Page = 4096;
        const int Writes = 256;
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(store: store);
        byte[] model = new byte[FileBytes];
        var random = new Random(9);
        random.NextBytes(model);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, model);
        volume.Tree.SyncAll();
        long before = store.Blocks.WrittenBytes;
        long readsBefore = store.Blocks.ReadCount;
        WriteHereAndThere();
        Assert.InRange(store.Blocks.WrittenBytes - before, Writes * Page, Writes * Page * 5 / 4);
        Assert.InRange(store.Blocks.ReadCount - readsBefore, 0, 4); // blocks of extents: none of what lies around the pages
        for (int round = 0; round < 60; round++)
        {
            WriteHereAndThere();
        }

        TreeItem? item = await new TreeReader(volume.Volume.Tables, volume.Volume.Root.Links).ResolveAsync(volume.Volume.Root.Active!, "f"u8.ToArray(), default);
        int count = 0;
        using var extents = new FileContentReader(store.Blocks, item!.Value.Entry.Content);
        await foreach (Extent extent in extents.ExtentsAsync())
        {
            count++;
        }

        Assert.InRange(count, FileBytes / (16 << 10), 5 * FileBytes / (2 * (16 << 10)));
        for (int at = 0; at < FileBytes; at += 1 << 20)
        {
            Assert.True(model.AsSpan(at, 1 << 20).SequenceEqual(volume.Read(0, at, 1 << 20).Bytes));
        }

        volume.Close(0);

        void WriteHereAndThere()
        {
            byte[] page = new byte[Page];
            foreach (int at in Enumerable.Range(0, FileBytes / Page).OrderBy(_ => random.Next()).Take(Writes))
            {
                random.NextBytes(page);
                page.CopyTo(model, at * Page);
                volume.Write(0, at * (long)Page, [.. page]);
            }

            Assert.Equal(FileError.None, volume.Tree.SyncAll());
        }
    }

    [Fact]
    public async Task A_patched_file_has_the_tree_that_the_same_extents_give_when_they_are_all_written_anew()
    {
        var store = new MemoryVolumeStore();
        ContentOptions small = new() { MeanChunkBytes = 1024, FixedChunkBytes = 1024 };
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, Content = small, WholeFileBytes = 4096 }, store);
        byte[] bytes = new byte[3 << 20];
        var random = new Random(8);
        random.NextBytes(bytes);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, bytes);
        for (int round = 0; round < 20; round++)
        {
            volume.Tree.SyncAll();
            volume.Write(0, random.Next(bytes.Length), bytes.AsSpan(0, random.Next(1, 5000)).ToArray());
            if (round % 5 == 4)
            {
                volume.ResizeOpen(0, bytes.Length - random.Next(100_000));
            }
        }

        long readsBefore = store.Blocks.ReadCount;
        volume.Tree.SyncAll();
        Assert.InRange(store.Blocks.ReadCount - readsBefore, 0, 40); // and not each block of extents
        var reader = new TreeReader(volume.Volume.Tables, volume.Volume.Root.Links);
        TreeItem? item = await reader.ResolveAsync(volume.Volume.Root.Active!, "f"u8.ToArray(), default);
        FileContent content = item!.Value.Entry.Content;
        var anew = new ExtentsBuilder(store.Blocks, small.InlineExtents);
        using var extents = new FileContentReader(store.Blocks, content);
        await foreach (Extent extent in extents.ExtentsAsync())
        {
            await anew.AddAsync(extent, default);
        }

        FileContent expected = await anew.FinishAsync(content.Rule, default);
        Assert.True(content.Depth >= 2);
        Assert.Equal((expected.Depth, expected.Top.Score), (content.Depth, content.Top.Score));
        volume.Close(0);
    }

    [Fact]
    public void A_copied_range_shares_the_blocks()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(store: store);
        byte[] bytes = new byte[6 << 20];
        new Random(5).NextBytes(bytes);
        volume.Create("a", 0x1a4, true);
        volume.Create("b", 0x1a4, true);
        volume.Open(0, "a", Both);
        volume.Open(1, "b", Both);
        volume.Write(0, 0, bytes);
        Assert.Equal((FileError.None, (long)bytes.Length), volume.CopyRange(0, 0, 1, 10, long.MaxValue / 2));
        volume.Tree.SyncAll();
        Assert.Equal(bytes, volume.Read(1, 10, bytes.Length).Bytes);
        Assert.InRange(store.Blocks.WrittenBytes, bytes.Length, bytes.Length + (bytes.Length / 4)); // the first chunk of the copy is cut anew
        volume.Write(0, 5, [1, 2, 3]);
        Assert.Equal(bytes[..20], volume.Read(1, 10, 20).Bytes);
        volume.Close(0);
        volume.Close(1);
    }

    [Fact]
    public void A_copy_of_what_was_just_written_makes_no_block_and_takes_no_memory_for_it()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, SpillBytes = 32 << 20 }, store);
        byte[] bytes = TwoFiles(volume, 6 << 20);
        long dirtyBefore = volume.Tree.DirtyBytes;
        long writtenBefore = store.Blocks.WrittenBytes;
        Assert.Equal((FileError.None, (long)bytes.Length), volume.CopyRange(0, 0, 1, 0, long.MaxValue / 2));
        Assert.Equal(writtenBefore, store.Blocks.WrittenBytes);
        Assert.InRange(volume.Tree.DirtyBytes - dirtyBefore, 0, 4096);
        volume.Unlink("a"); // the copy outlives what it was made of
        volume.Close(0);
        Assert.Equal(bytes, volume.Read(1, 0, bytes.Length).Bytes);
        volume.Tree.SyncAll();
        Assert.Equal(bytes, volume.Read(1, 0, bytes.Length).Bytes);
        Assert.InRange(volume.Tree.DirtyBytes, 0, 4096);
        volume.Close(1);
    }

    [Fact]
    public void Copies_of_more_than_memory_for_changes_holds_make_blocks_first()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, SpillBytes = 32 << 20, DirtyBytes = 16 << 20 }, store);
        byte[] bytes = TwoFiles(volume, 6 << 20);
        long writtenBefore = store.Blocks.WrittenBytes;
        for (int copy = 0; copy < 4; copy++)
        {
            Assert.Equal((FileError.None, (long)bytes.Length), volume.CopyRange(0, 0, 1, (long)copy * bytes.Length, bytes.Length));
            Assert.Equal(copy >= 2, store.Blocks.WrittenBytes > writtenBefore);
        }

        for (int copy = 0; copy < 4; copy++)
        {
            Assert.Equal(bytes, volume.Read(1, (long)copy * bytes.Length, bytes.Length).Bytes);
        }

        volume.Close(0);
        volume.Close(1);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task A_copy_shows_what_its_source_was_when_it_was_made(bool isCommittedBefore, bool isCommittedAfter)
    {
        using var volume = new VolumeTree();
        byte[] bytes = TwoFiles(volume, 3 << 20);
        if (isCommittedBefore)
        {
            volume.Tree.SyncAll();
        }

        var random = new Random(8);
        void Overwrite(int slot)
        {
            for (int at = 0; at < 200; at++)
            {
                volume.Write(slot, random.Next(bytes.Length - 5000), bytes.AsSpan(random.Next(100_000), random.Next(1, 5000)).ToArray());
            }
        }

        Overwrite(0);
        volume.Allocate(0, AllocateMode.PunchHole, 1 << 20, 100_000);
        byte[] then = volume.Read(0, 0, bytes.Length).Bytes;
        Assert.Equal((FileError.None, (long)bytes.Length), volume.CopyRange(0, 0, 1, 0, bytes.Length));
        Assert.Equal((FileError.None, 500_000L), volume.CopyRange(0, 1_000_000, 0, 1_600_000, 500_000)); // and within the file
        then.AsSpan(1_000_000, 500_000).CopyTo(bytes);
        if (isCommittedAfter)
        {
            volume.Tree.SyncAll();
        }

        Assert.Equal(bytes[..500_000], volume.Read(0, 1_600_000, 500_000).Bytes);
        Overwrite(0);
        byte[] source = volume.Read(0, 0, bytes.Length).Bytes;
        Assert.Equal(then, volume.Read(1, 0, bytes.Length).Bytes);
        volume.Write(1, 77, [1, 2, 3]); // nor does the source change with the copy
        new byte[] { 1, 2, 3 }.CopyTo(then, 77);
        Assert.Equal(source, volume.Read(0, 0, bytes.Length).Bytes);
        volume.Close(0);
        volume.Close(1);
        await volume.RemountAsync();
        volume.Open(0, "a", Both);
        volume.Open(1, "b", Both);
        Assert.Equal(source, volume.Read(0, 0, bytes.Length).Bytes);
        Assert.Equal(then, volume.Read(1, 0, bytes.Length).Bytes);
        await CommittedTree.CheckAsync(volume.Volume);
        volume.Close(0);
        volume.Close(1);
    }

    [Fact]
    public void A_copy_of_a_file_that_was_written_here_and_there_is_cut_as_the_file_is()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(store: store);
        byte[] bytes = TwoFiles(volume, 6 << 20);
        volume.Tree.SyncAll();
        var random = new Random(4);
        for (int at = 0; at < 100; at++)
        {
            volume.Write(0, random.Next(1500) * 4096L, bytes.AsSpan(random.Next(100_000), 4096).ToArray());
        }

        long writtenBefore = store.Blocks.WrittenBytes;
        Assert.Equal((FileError.None, (long)bytes.Length), volume.CopyRange(0, 0, 1, 0, bytes.Length));
        volume.Tree.SyncAll();
        Assert.InRange(store.Blocks.WrittenBytes - writtenBefore, 90 * 4096, 100 * 6000); // once for both
        Assert.Equal(volume.Read(0, 0, bytes.Length).Bytes, volume.Read(1, 0, bytes.Length).Bytes);
        volume.Close(0);
        volume.Close(1);
    }

    /// <summary>Two files, open: the first with noise that was just written.</summary>
    private static byte[] TwoFiles(VolumeTree volume, int count)
    {
        byte[] bytes = new byte[count];
        new Random(5).NextBytes(bytes);
        volume.Create("a", 0x1a4, true);
        volume.Create("b", 0x1a4, true);
        volume.Open(0, "a", Both);
        volume.Open(1, "b", Both);
        volume.Write(0, 0, bytes);
        return bytes;
    }

    [Fact]
    public void Holes_are_found_where_they_were_made()
    {
        using var volume = new VolumeTree();
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, new byte[300_000]);
        volume.Allocate(0, AllocateMode.PunchHole, 100_000, 70_000);
        volume.ResizeOpen(0, 500_000);
        for (int round = 0; round < 2; round++)
        {
            Assert.Equal((FileError.None, 0L), Seek(volume, 0, SeekTarget.Data));
            Assert.Equal((FileError.None, 100_000L), Seek(volume, 0, SeekTarget.Hole));
            Assert.Equal((FileError.None, 170_000L), Seek(volume, 120_000, SeekTarget.Data));
            Assert.Equal((FileError.None, 300_000L), Seek(volume, 170_000, SeekTarget.Hole));
            Assert.Equal(FileError.ENXIO, Seek(volume, 300_000, SeekTarget.Data).Error);
            Assert.Equal(FileError.ENXIO, Seek(volume, 500_000, SeekTarget.Hole).Error);
            Assert.True(volume.AttributesOf("f").BlockCount < 500_000 / 512);
            volume.Tree.SyncAll();
        }

        volume.Close(0);
    }

    [Fact]
    public async Task A_set_group_id_directory_hands_its_group_down_and_a_new_owner_takes_set_user_id_away()
    {
        using var volume = new VolumeTree();
        volume.Caller = new FileCaller(1000, 1001);
        volume.MakeDirectory("d", 0x1fd);
        volume.SetOwner("d", 1000, 2000);
        volume.SetMode("d", 0x5fd);
        volume.Create("d/f", 0x1a4, true);
        volume.MakeDirectory("d/sub", 0x1ed);
        Assert.Equal((1000u, 2000u), (volume.AttributesOf("d/f").OwnerId, volume.AttributesOf("d/f").GroupId));
        Assert.Equal((0x5edu, 2000u), (volume.AttributesOf("d/sub").Mode, volume.AttributesOf("d/sub").GroupId));
        volume.SetMode("d/f", 0xde9);
        volume.SetOwner("d/f", 1005, 2000);
        Assert.Equal(0x1e9u, volume.AttributesOf("d/f").Mode & ~0x200u);
        volume.SetMode("d/f", 0x9ed);
        volume.Open(0, "d/f", Both);
        Assert.Equal(FileError.None, volume.Tree.Write(volume.HandleOf(0), 0, "x"u8, WriteOptions.DropPrivileges, out _));
        Assert.Equal(0x1edu, volume.AttributesOf("d/f").Mode);
        volume.Close(0);
        await volume.RemountAsync();
        Assert.Equal((0x1edu, 1005u, 2000u), (volume.AttributesOf("d/f").Mode, volume.AttributesOf("d/f").OwnerId, volume.AttributesOf("d/f").GroupId));
    }

    [Fact]
    public void Names_that_are_none_are_refused_with_the_right_reason()
    {
        using var volume = new VolumeTree();
        ActiveTree tree = volume.Tree;
        Assert.Equal(FileError.ENAMETOOLONG, tree.Lookup(tree.RootId, new byte[256], out _));
        Assert.Equal(FileError.EINVAL, tree.MakeDirectory(volume.Caller, tree.RootId, "a/b"u8, 0, out _));
        Assert.Equal(FileError.EINVAL, tree.MakeDirectory(volume.Caller, tree.RootId, "a\0b"u8, 0, out _));
        Assert.Equal(FileError.EEXIST, tree.MakeDirectory(volume.Caller, tree.RootId, ".."u8, 0, out _));
        Assert.Equal(FileError.EINVAL, tree.RemoveDirectory(volume.Caller, tree.RootId, "."u8));
        Assert.Equal(FileError.ENOTEMPTY, tree.RemoveDirectory(volume.Caller, tree.RootId, ".."u8));
        Assert.Equal(FileError.None, tree.MakeDirectory(volume.Caller, tree.RootId, new string('x', 255).Select(static c => (byte)c).ToArray(), 0x1ed, out _));
        Assert.Equal(FileError.ENAMETOOLONG, tree.MakeSymlink(volume.Caller, tree.RootId, "s"u8, new byte[4096], out _));
        Assert.Equal(FileError.ENOENT, tree.MakeSymlink(volume.Caller, tree.RootId, "s"u8, default, out _));
        Assert.Equal(FileError.EOPNOTSUPP, tree.SetXattr(volume.Caller, tree.RootId, "strange.name"u8, "v"u8, XattrMode.Any));
        Assert.Equal(FileError.EOPNOTSUPP, tree.GetXattr(tree.RootId, "strange.name"u8, default, out _));
        Assert.Equal(FileError.EOPNOTSUPP, tree.RemoveXattr(volume.Caller, tree.RootId, "strange.name"u8));
        Assert.Equal(FileError.EINVAL, tree.SetXattr(volume.Caller, tree.RootId, "user."u8, "v"u8, XattrMode.Any));
        Assert.Equal(FileError.ENODATA, tree.GetXattr(tree.RootId, "user.x"u8, default, out _));
        Assert.Equal(FileError.ERANGE, tree.SetXattr(volume.Caller, tree.RootId, Encoding.UTF8.GetBytes("user." + new string('x', 251)), "v"u8, XattrMode.Any));
        Assert.Equal(FileError.E2BIG, tree.SetXattr(volume.Caller, tree.RootId, "user.x"u8, new byte[65_537], XattrMode.Any));
    }

    [Fact]
    public void Damage_is_an_error_of_what_meets_it_and_of_nothing_else()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, DataCacheBytes = 1 }, store);
        volume.Create("whole", 0x1a4, true);
        volume.Create("hurt", 0x1a4, true);
        volume.Open(0, "hurt", Both);
        volume.Open(1, "whole", Both);
        byte[] bytes = new byte[5000];
        new Random(1).NextBytes(bytes);
        volume.Write(0, 0, bytes);
        volume.Write(1, 0, bytes.Reverse().ToArray());
        volume.Tree.SyncAll();
        foreach ((Score score, BlockType type) in store.Blocks.Known.Where(block => block.Type == BlockType.Data && store.Blocks.Peek(block.Score, block.Type).AsSpan().SequenceEqual(bytes)))
        {
            store.Blocks.Damage(score);
        }

        Assert.Equal(FileError.EIO, volume.Read(0, 0, 100).Error);
        Assert.Equal(FileError.None, volume.Read(1, 0, 100).Error);
        Assert.Equal(FileError.None, volume.Create("another", 0x1a4, true));
        volume.Close(0);
        volume.Close(1);
    }

    [Fact]
    public async Task A_commit_that_fails_loses_nothing_and_the_next_one_takes_it_all()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(store: store);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        volume.Write(0, 0, new byte[100_000]);
        store.BeforeCommit = () => throw new DiskException(DiskFailure.Full, "write", "/state", "no space left on the device");
        Assert.Equal(FileError.ENOSPC, volume.Sync(0));
        Assert.Equal(FileError.None, volume.Write(0, 50_000, "middle"u8.ToArray()));
        volume.Allocate(0, AllocateMode.PunchHole, 0, 10_000);
        volume.ResizeOpen(0, 60_000);
        volume.ResizeOpen(0, 70_000);
        Assert.Equal(FileError.ENOSPC, volume.Sync(0));
        byte[] expected = volume.Read(0, 0, 100_000).Bytes;
        store.BeforeCommit = null;
        Assert.Equal(FileError.None, volume.Sync(0));
        volume.Close(0);
        await volume.RemountAsync();
        volume.Open(0, "f", Both);
        Assert.Equal(expected, volume.Read(0, 0, 100_000).Bytes);
        volume.Close(0);
        await CommittedTree.CheckAsync(volume.Volume);
    }

    [Fact]
    public void Writers_over_the_bound_are_told_when_nothing_can_be_committed()
    {
        var store = new MemoryVolumeStore();
        using var volume = new VolumeTree(new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, DirtyBytes = 100_000 }, store);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        store.BeforeCommit = () => throw new DiskException(DiskFailure.Full, "write", "/state", "no space left on the device");
        FileError error = FileError.None;
        for (int at = 0; at < 100 && error == FileError.None; at++)
        {
            error = volume.Write(0, at * 10_000, new byte[10_000]);
        }

        Assert.Equal(FileError.ENOSPC, error);
        Assert.InRange(volume.Tree.DirtyBytes, 0, 200_000);
        store.BeforeCommit = null;
        Assert.Equal(FileError.None, volume.Write(0, 0, new byte[10]));
        volume.Close(0);
    }

    [Fact]
    public async Task What_is_in_no_commit_is_committed_when_its_time_has_come()
    {
        var store = new MemoryVolumeStore();
        var clock = new ManualClock();
        using Volume volume = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        var committed = new TaskCompletionSource();
        await using var tree = ActiveTree.Open(store, volume, clock, new ActiveTreeOptions { CommitInterval = TimeSpan.FromSeconds(10) });
        tree.MakeDirectory(default, tree.RootId, "d"u8, 0x1ed, out _);
        store.BeforeCommit = committed.SetResult;
        clock.Advance(TimeSpan.FromSeconds(9));
        Assert.False(committed.Task.IsCompleted);
        clock.Advance(TimeSpan.FromSeconds(1));
        await committed.Task.WaitAsync(TimeSpan.FromSeconds(30));
        store.BeforeCommit = null;
    }

    [Theory]
    [InlineData(12, 0, 1)] // synced by intents as long as somebody is at work, and committed at the first quiet moment
    [InlineData(59, 0, 5)]
    [InlineData(61, 1, 5)] // nobody works for ever
    public async Task The_clock_commits_when_nobody_is_at_work(int busySeconds, int commits, int batches)
    {
        var store = new MemoryVolumeStore { Journal = new MemoryJournal() };
        var clock = new ManualClock();
        using Volume volume = await Volume.OpenOrCreateAsync(store, "v", SystemRandom.Instance, default);
        var options = new ActiveTreeOptions { CommitInterval = TimeSpan.FromSeconds(10), LongestInterval = TimeSpan.FromSeconds(60) };
        await using var tree = ActiveTree.Open(store, volume, clock, options);
        Assert.Equal(FileError.None, tree.MakeDirectory(default, tree.RootId, "first"u8, 0x1ed, out _));
        await tree.CommitAsync(default);
        long first = tree.CommitCount;
        clock.Advance(TimeSpan.FromSeconds(2));
        for (int second = 0; second < busySeconds; second++)
        {
            Assert.Equal(FileError.None, tree.MakeDirectory(default, tree.RootId, Encoding.UTF8.GetBytes($"d{second}"), 0x1ed, out _));
            clock.Advance(TimeSpan.FromSeconds(1));
            await tree.BegunAsync();
        }

        Assert.Equal((commits, batches), (tree.CommitCount - first, tree.LoggedCount));
        clock.Advance(TimeSpan.FromSeconds(4));
        await tree.BegunAsync();
        clock.Advance(TimeSpan.FromSeconds(10));
        await tree.BegunAsync();
        Assert.Equal(commits + 1, tree.CommitCount - first);
    }

    [Theory]
    [InlineData(150_000, true)]
    [InlineData(50_000, false)]
    public async Task Much_is_committed_at_the_first_quiet_moment(int bytes, bool isCommitted)
    {
        var clock = new ManualClock();
        var options = new ActiveTreeOptions { CommitInterval = TimeSpan.FromSeconds(10), DirtyBytes = 400_000 };
        using var volume = new VolumeTree(options, clock: clock);
        volume.Create("f", 0x1a4, true);
        volume.Open(0, "f", Both);
        await volume.Tree.CommitAsync(default);
        Assert.Equal(FileError.None, volume.Write(0, 0, new byte[bytes]));
        long before = volume.Tree.CommitCount;
        clock.Advance(TimeSpan.FromSeconds(1));
        await volume.Tree.BegunAsync();
        Assert.Equal(before, volume.Tree.CommitCount); // somebody was just at work
        clock.Advance(TimeSpan.FromSeconds(1));
        await volume.Tree.BegunAsync();
        Assert.Equal(before + (isCommitted ? 1 : 0), volume.Tree.CommitCount);
        volume.Close(0);
    }

    [Fact]
    public async Task A_snapshot_keeps_what_is_removed_afterwards()
    {
        var store = new MemoryVolumeStore();
        using (var first = new VolumeTree(store: store))
        {
            first.MakeDirectory("kept", 0x1ed);
            first.Create("kept/f", 0x1a4, true);
            first.Tree.SyncAll();
            await first.Volume.AddSnapshotAsync(
                new SnapshotRecord { Id = SnapshotId.New(SystemRandom.Instance), TimeNs = 1, Root = first.Volume.Root.Active!, Links = first.Volume.Root.Links }, null, null, default);
            first.Unlink("kept/f");
            first.RemoveDirectory("kept");
        }

        using var second = new VolumeTree(store: store);
        Assert.Equal(FileError.ENOENT, second.GetFacts("kept").Error);
        SnapshotRecord snapshot = Assert.Single(await second.Volume.ListSnapshotsAsync(default));
        TreeItem? old = await TreeReader.Of(second.Volume, snapshot).ResolveAsync(snapshot.Root, "kept/f"u8.ToArray(), default);
        Assert.NotNull(old);
    }

    private static (FileError Error, long Position) Seek(VolumeTree volume, long offset, SeekTarget target)
    {
        FileError error = volume.Tree.Seek(volume.HandleOf(0), offset, target, out long position);
        return (error, error == FileError.None ? position : 0);
    }

    private sealed class Source(byte[] bytes) : IFileSource
    {
        public long Length => bytes.Length;

        public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
        {
            int read = (int)Math.Clamp(bytes.Length - offset, 0, target.Length);
            bytes.AsSpan((int)Math.Min(offset, bytes.Length), read).CopyTo(target.Span);
            return ValueTask.FromResult(read);
        }
    }
}
