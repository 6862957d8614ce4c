using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>Bytes that nobody vouches for, given to every structure of Files: an error that says what is wrong, never a crash, a hang or a large allocation.</summary>
public sealed class HostileBytesTests
{
    private static readonly Entry s_file = new()
    {
        Type = EntryType.File,
        FileId = 77,
        Mode = 0x1a4,
        OwnerId = 1000,
        GroupId = 1000,
        OwnerName = "anna",
        GroupName = "users",
        Modified = new FileTime(1_790_000_000, 123_456_789),
        Content = FileContent.OfInline(CuttingRule.ContentDefined, "some text"u8.ToArray()),
    };

    public static TheoryData<int> Seeds => [11, 12, 13];

    [Theory]
    [MemberData(nameof(Seeds))]
    public void Entries(int seed)
    {
        Entry directory = s_file with { Type = EntryType.Directory, Content = FileContent.Empty };
        foreach (Entry entry in (Entry[])[s_file, directory, Entry.LinkTo(EntryType.File, 9)])
        {
            HostileBytes.AssertHandled(seed, entry.Encode(), static bytes => _ = Entry.Decode(bytes));
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Contents_of_every_kind(int seed)
    {
        foreach (int extents in (int[])[1, 3, 5000])
        {
            FileContent content = await ContentAsync(new MemoryVolumeStore().Blocks, extents);
            HostileBytes.AssertHandled(seed, (s_file with { Content = content }).Encode(), static bytes => _ = Entry.Decode(bytes));
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Extents_blocks(int seed)
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        FileContent content = await ContentAsync(blocks, 5000);
        for (int level = 0; level < content.Depth; level++)
        {
            int wanted = level;
            byte[] block = blocks.Known.Where(static known => known.Type == BlockType.Extents).Select(known => blocks.Peek(known.Score, known.Type)).First(bytes => bytes[1] == wanted);
            HostileBytes.AssertHandled(seed, block, bytes => _ = ExtentsBlock.Parse(bytes, wanted), rounds: 500);
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Table_blocks_and_roots(int seed)
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        TableRoot root = await TableAsync(blocks, 300);
        foreach ((Score score, BlockType type) in blocks.Known.Take(4))
        {
            byte[] block = blocks.Peek(score, type);
            HostileBytes.AssertHandled(seed, block, bytes => _ = TableBlock.Parse(bytes, block[1]), rounds: 1000);
        }

        HostileBytes.AssertHandled(seed, Bytes(root.Write), static bytes => _ = ReadRoot(bytes));
        HostileBytes.AssertHandled(seed, Bytes((await TableAsync(blocks, 3)).Write), static bytes => _ = ReadRoot(bytes).Count);
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Attribute_lists(int seed)
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        Xattr[] attributes = [new("user.a"u8.ToArray(), "small"u8.ToArray()), new("user.b"u8.ToArray(), new byte[5000]), new("user.c"u8.ToArray(), ReadOnlyMemory<byte>.Empty)];
        StoredAttributes stored = await AttributeList.StoreAsync(blocks, attributes, default);
        HostileBytes.AssertHandled(seed, Bytes(writer => AttributeList.Write(writer, stored)), static bytes => ReadAttributes(bytes));
        foreach ((Score score, BlockType type) in blocks.Known)
        {
            byte[] block = blocks.Peek(score, type);
            if (type != BlockType.Data)
            {
                HostileBytes.AssertHandled(seed, block, static bytes => _ = AttributeList.Parse(bytes));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Snapshot_records_and_volume_roots(int seed)
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        Entry top = s_file with { Type = EntryType.Directory, Content = FileContent.Empty };
        var record = new SnapshotRecord
        {
            Id = new SnapshotId(7),
            Number = 1,
            TimeNs = 1_790_000_000_000_000_000,
            Host = "host",
            Program = "tdfs",
            Labels = ["before", "after"],
            Sources = ["/home"u8.ToArray()],
            Root = top,
            Links = await TableAsync(blocks, 3),
        };
        byte[] key = record.Key();
        HostileBytes.AssertHandled(seed, record.Encode(), bytes => _ = SnapshotRecord.Decode(new TableItem(key, bytes)));
        byte[] value = record.Encode();
        HostileBytes.AssertHandled(seed, key, bytes => _ = SnapshotRecord.Decode(new TableItem(bytes, value)));
        var root = new VolumeRoot
        {
            Id = new VolumeId(new Bytes16(0, 5)),
            NextFile = new Dictionary<uint, ulong> { [1] = 5000, [2] = 3 },
            Active = top,
            Links = await TableAsync(blocks, 3),
            Snapshots = await TableAsync(blocks, 300),
        };
        HostileBytes.AssertHandled(seed, root.Encode(), static bytes => _ = VolumeRoot.Decode(bytes));
    }

    [Fact]
    public async Task A_table_node_that_is_its_own_child_is_refused()
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        TableRoot root = await TableAsync(blocks, 300);
        Assert.True(root.Depth >= 2);
        byte[] top = blocks.Peek(root.Top.Score, BlockType.TableNode);
        TableBlock node = TableBlock.Parse(top, root.Depth - 1);
        TableBlockRef child = node.Child(0);

        // No honest store gives such a block, for its score would have to be known before it is.
        blocks.Replace(child.Score, TableBlock.TypeOf(root.Depth - 2), top);
        var table = new SortedTable(blocks);
        await Assert.ThrowsAsync<DamagedFormatException>(async () => await CountAsync(table.ScanAsync(root)));
        await Assert.ThrowsAsync<DamagedFormatException>(async () => await table.GetAsync(root, "name 000000"u8.ToArray(), default));
    }

    [Fact]
    public async Task A_file_tree_that_is_its_own_child_is_refused()
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        FileContent content = await ContentAsync(blocks, 5000);
        Assert.True(content.Depth >= 2);
        byte[] top = blocks.Peek(content.Top.Score, BlockType.Extents);
        ExtentsBlockRef child = ExtentsBlock.Parse(top, content.Depth - 1).Children[0];
        blocks.Replace(child.Score, BlockType.Extents, top);
        using var reader = new FileContentReader(blocks, content);
        await Assert.ThrowsAsync<DamagedFormatException>(async () => await reader.ReadAsync(0, new byte[10], default));
    }

    [Fact]
    public async Task A_directory_that_holds_itself_is_marked_once()
    {
        // The walk that reclaim trusts meets a block once, whatever leads to it.
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        TableRoot inner = await TableAsync(blocks, 300);
        Entry itself = s_file with { Type = EntryType.Directory, Content = FileContent.Empty, Children = inner };
        TableBuilder builder = new SortedTable(blocks).NewBuilder();
        await builder.AddAsync("again"u8.ToArray(), itself.Encode(), default);
        await builder.AddAsync("more"u8.ToArray(), itself.Encode(), default);
        TableRoot outer = await builder.FinishAsync(default);
        var marker = new CountingMarker();
        await TreeWalker.MarkEntryAsync(itself with { Children = outer }, blocks, marker, null, default);
        Assert.Equal(marker.Seen.Count, marker.NewCount);
    }

    [Fact]
    public async Task A_tree_ten_thousand_directories_deep_is_walked_and_marked()
    {
        MemoryBlocks blocks = new MemoryVolumeStore().Blocks;
        var table = new SortedTable(blocks, new TableOptions { InlineBytes = 0 });
        Entry at = s_file with { Type = EntryType.Directory, Content = FileContent.Empty };
        const int Depth = 10_000;
        for (int level = 0; level < Depth; level++)
        {
            TableBuilder builder = table.NewBuilder();
            await builder.AddAsync("d"u8.ToArray(), at.Encode(), default);
            at = at with { Children = await builder.FinishAsync(default) };
        }

        var marker = new CountingMarker();
        await TreeWalker.MarkEntryAsync(at, blocks, marker, null, default);
        Assert.Equal(Depth, marker.NewCount);
    }

    [Fact]
    public void Lengths_that_overflow_are_refused()
    {
        // Two holes of 2^62 - 1 bytes each and one more: the sum leaves 63 bits.
        byte[] hole = [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        byte[] block = [ExtentsBlock.Version, 0, 3, .. hole, .. hole, .. hole];
        Assert.Throws<DamagedFormatException>(() => ExtentsBlock.Parse(block, 0));
    }

    private static ExtentsBlock Piece(byte[] head) => ExtentsBlock.Parse((byte[])[ExtentsBlock.Version, 0, 1, .. head, .. new byte[Score.Size]], 0);

    [Fact]
    public void A_piece_beyond_its_block_is_refused()
    {
        // length << 2 | piece, skip, block bytes
        Assert.Equal(4, Piece([(4 << 2) | 2, 6, 10]).Length);
        Assert.Throws<DamagedFormatException>(() => Piece([(5 << 2) | 2, 6, 10]));
        Assert.Throws<DamagedFormatException>(() => Piece([(1 << 2) | 2, 11, 10]));
        Assert.Throws<DamagedFormatException>(() => Piece([(10 << 2) | 2, 0, 10]));
    }

    private static async Task<FileContent> ContentAsync(IBlockStore blocks, int extents)
    {
        var random = new SeededRandom(3);
        var builder = new ExtentsBuilder(blocks, 4);
        for (int i = 0; i < extents; i++)
        {
            await builder.AddAsync(new Extent(0, 1000 + i, Score.Read(random.Bytes(Score.Size)), i % 3, 2000 + i), default);
        }

        return await builder.FinishAsync(CuttingRule.ContentDefined, default);
    }

    private static async Task<TableRoot> TableAsync(IBlockStore blocks, int count)
    {
        TableBuilder builder = new SortedTable(blocks, new TableOptions { TargetBytes = 512, InlineBytes = 1024 }).NewBuilder();
        for (int i = 0; i < count; i++)
        {
            await builder.AddAsync(System.Text.Encoding.ASCII.GetBytes($"name {i:d6}"), s_file.Encode(), default);
        }

        return await builder.FinishAsync(default);
    }

    private static TableRoot ReadRoot(byte[] bytes)
    {
        var reader = new FormatReader(bytes, "table root");
        TableRoot root = TableRoot.Read(ref reader);
        reader.End();
        return root;
    }

    private static void ReadAttributes(byte[] bytes)
    {
        var reader = new FormatReader(bytes, "attributes");
        AttributeList.Read(ref reader);
        reader.End();
    }

    private static byte[] Bytes(Action<FormatWriter> write)
    {
        var writer = new FormatWriter();
        write(writer);
        return writer.ToArray();
    }

    private static async Task<int> CountAsync(IAsyncEnumerable<TableItem> items)
    {
        int count = 0;
        await foreach (TableItem _ in items)
        {
            count++;
        }

        return count;
    }

    private sealed class CountingMarker : IBlockMarker
    {
        internal HashSet<Score> Seen { get; } = [];

        internal int NewCount { get; private set; }

        public bool Mark(Score score, BlockType type)
        {
            bool isNew = Seen.Add(score);
            NewCount += isNew ? 1 : 0;
            return isNew;
        }
    }
}
