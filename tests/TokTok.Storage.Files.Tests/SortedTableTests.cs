using System.Buffers.Binary;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class SortedTableTests
{
    private static readonly TableOptions s_small = new() { TargetBytes = 256, InlineBytes = 64 };

    public static TheoryData<int> Seeds => [1, 2, 3, 4, 5, 6, 7, 8];

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task An_update_gives_the_blocks_that_a_fresh_build_gives(int seed)
    {
        var random = new Random(seed);
        var table = new SortedTable(new MemoryVolumeStore().Blocks, s_small);
        var content = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        TableRoot root = TableRoot.Empty;
        for (int round = 0; round < 25; round++)
        {
            var batch = new SortedDictionary<string, byte[]?>(StringComparer.Ordinal);
            int changes = random.Next(4) == 0 ? random.Next(400) : random.Next(1, 5);
            for (int at = 0; at < changes; at++)
            {
                string key = $"name {random.Next(2000):d5}";
                batch[key] = random.Next(3) == 0 ? null : Bytes(random, random.Next(60));
            }

            // Now and then most of the table goes, so that it loses levels.
            if (random.Next(6) == 0)
            {
                foreach (string key in content.Keys.Where(_ => random.Next(10) > 0))
                {
                    batch[key] = null;
                }
            }

            foreach ((string key, byte[]? value) in batch)
            {
                if (value is null)
                {
                    content.Remove(key);
                }
                else
                {
                    content[key] = value;
                }
            }

            TableChange[] list = [.. batch.Select(pair => new TableChange(Utf8(pair.Key), pair.Value is null ? null : (ReadOnlyMemory<byte>?)pair.Value))];
            root = await table.UpdateAsync(root, list, default);
            TableRoot fresh = await BuildAsync(table, content);
            Assert.True(fresh.Equals(root), $"seed {seed}, round {round}: {content.Count} entries, depth {root.Depth} and {fresh.Depth}");
            Assert.Equal((ulong)content.Count, root.Count);
            await AssertHoldsAsync(table, root, content, random);
        }
    }

    [Fact]
    public async Task A_small_change_in_a_large_table_reads_and_writes_few_blocks()
    {
        var store = new MemoryVolumeStore();
        var table = new SortedTable(store.Blocks);
        var random = new Random(1);
        var content = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        for (int at = 0; at < 50_000; at++)
        {
            content[$"file {at:d8}"] = Bytes(random, 60);
        }

        TableRoot root = await BuildAsync(table, content);
        long reads = store.Blocks.ReadCount;
        long writes = store.Blocks.WriteCount;
        TableRoot next = await table.UpdateAsync(root, [TableChange.Put(Utf8("file 00025000x"), Bytes(random, 60))], default);
        Assert.Equal(50_001UL, next.Count);
        Assert.InRange(store.Blocks.ReadCount - reads, 1, 16);
        Assert.InRange(store.Blocks.WriteCount - writes, 1, 16);
        Assert.InRange(writes, 100, 1000);
    }

    [Fact]
    public async Task Names_chosen_to_avoid_every_end_still_give_bounded_blocks()
    {
        var store = new MemoryVolumeStore();
        var table = new SortedTable(store.Blocks, s_small);
        TableBuilder builder = table.NewBuilder();
        int added = 0;
        for (uint at = 0; added < 2000; at++)
        {
            byte[] key = new byte[4];
            BinaryPrimitives.WriteUInt32BigEndian(key, at);
            if (!TableBuilder.IsEnd(0, key, 4 + 10 + 4, s_small.TargetBytes))
            {
                await builder.AddAsync(key, new byte[10], default);
                added++;
            }
        }

        TableRoot root = await builder.FinishAsync(default);
        Assert.Equal(2000UL, root.Count);
        Assert.All(store.Blocks.Known, known => Assert.InRange(store.Blocks.Peek(known.Score, known.Type).Length, 1, 2048));
    }

    [Fact]
    public async Task The_examples_of_the_format_page_have_these_bytes()
    {
        var table = new SortedTable(new MemoryVolumeStore().Blocks);
        TableRoot root = await table.UpdateAsync(
            TableRoot.Empty, [TableChange.Put(Utf8("alpha"), new byte[] { 1 }), TableChange.Put(Utf8("alps"), new byte[] { 2, 3 })], default);
        var writer = new FormatWriter();
        root.Write(writer);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("12.4")), Repository.HexLines(writer.Written.Span));

        byte[] leaf = Repository.FormatExample("12.2");
        Assert.Equal(Repository.HexLines(leaf), Repository.HexLines(root.Inline.Span));
        Assert.Equal(["alpha", "alps"], TableBlock.Parse(leaf, 0).Items.ToArray().Select(static item => System.Text.Encoding.UTF8.GetString(item.Key.Span)));

        byte[] bytes = Repository.FormatExample("12.3");
        TableBlock node = TableBlock.Parse(bytes, 1);
        Assert.Equal((2, 5UL), (node.Count, node.EntriesBelow));
        Assert.Equal((Score.Read(Enumerable.Repeat((byte)0x11, 32).ToArray()), 2UL, 18), (node.Child(0).Score, node.Child(0).Count, node.Child(0).BlockBytes));
        Assert.Equal(("alq", 3UL, 200), (System.Text.Encoding.UTF8.GetString(node.Child(1).FirstKey.Span), node.Child(1).Count, node.Child(1).BlockBytes));
        writer.Clear();
        node.Child(1).Write(writer);
        Assert.Equal(node[1].Value.ToArray(), writer.ToArray());
    }

    [Fact]
    public async Task A_table_that_contains_itself_is_damage()
    {
        // A node whose only children name the node's own score: the level that falls at each step ends it.
        var store = new MemoryVolumeStore();
        var table = new SortedTable(store.Blocks, s_small);
        var content = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        for (int at = 0; at < 3000; at++)
        {
            content[$"{at:d6}"] = [1, 2, 3];
        }

        TableRoot root = await BuildAsync(table, content);
        Assert.True(root.Depth > 2);
        TableBlock top = await table.ReadTopAsync(root, default);
        store.Blocks.Replace(top.Child(0).Score, BlockType.TableNode, store.Blocks.Peek(root.Top.Score, BlockType.TableNode));
        await Assert.ThrowsAsync<DamagedFormatException>(async () => await table.GetAsync(root, Utf8("000000"), default));
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Hostile_bytes_are_damage_and_nothing_worse(int seed)
    {
        var random = new Random(seed);
        var store = new MemoryVolumeStore();
        var content = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        for (int at = 0; at < 300; at++)
        {
            content[$"name {random.Next(100_000)}"] = Bytes(random, random.Next(30));
        }

        await BuildAsync(new SortedTable(store.Blocks, s_small), content);
        foreach ((Score score, BlockType type) in store.Blocks.Known)
        {
            byte[] good = store.Blocks.Peek(score, type);
            for (int trial = 0; trial < 40; trial++)
            {
                byte[] bad = Mutate(random, good);
                try
                {
                    TableBlock block = TableBlock.Parse(bad, bad.Length > 1 ? bad[1] & 1 : 0);
                    Assert.InRange(block.Count, 1, bad.Length);
                }
                catch (DamagedFormatException damage)
                {
                    Assert.Contains("table", damage.Message, StringComparison.Ordinal);
                }
            }
        }
    }

    internal static byte[] Mutate(Random random, byte[] good)
    {
        byte[] bad = [.. good];
        switch (random.Next(4))
        {
            case 0:
                return bad[..random.Next(bad.Length)];
            case 1:
                bad[random.Next(bad.Length)] ^= (byte)(1 << random.Next(8));
                return bad;
            case 2:
                int at = random.Next(bad.Length);
                bad.AsSpan(at, Math.Min(9, bad.Length - at)).Fill(0xff);
                return bad;
            default:
                return [.. bad, (byte)random.Next(256)];
        }
    }

    private static async Task AssertHoldsAsync(SortedTable table, TableRoot root, SortedDictionary<string, byte[]> content, Random random)
    {
        List<KeyValuePair<string, byte[]>> expected = [.. content];
        int next = 0;
        await foreach (TableItem item in table.ScanAsync(root))
        {
            Assert.Equal(expected[next].Key, Encoding.UTF8.GetString(item.Key.Span));
            Assert.Equal(expected[next].Value, item.Value.ToArray());
            next++;
        }

        Assert.Equal(expected.Count, next);
        for (int at = 0; at < 20; at++)
        {
            string key = $"name {random.Next(2000):d5}";
            ReadOnlyMemory<byte>? found = await table.GetAsync(root, Utf8(key), default);
            Assert.Equal(content.GetValueOrDefault(key), found?.ToArray());
            string? first = null;
            await foreach (TableItem item in table.ScanAsync(root, Utf8(key)))
            {
                first = Encoding.UTF8.GetString(item.Key.Span);
                break;
            }

            Assert.Equal(expected.Find(pair => string.CompareOrdinal(pair.Key, key) >= 0).Key, first);
        }
    }

    private static async Task<TableRoot> BuildAsync(SortedTable table, SortedDictionary<string, byte[]> content)
    {
        TableBuilder builder = table.NewBuilder();
        foreach ((string key, byte[] value) in content)
        {
            await builder.AddAsync(Utf8(key), value, default);
        }

        return await builder.FinishAsync(default);
    }

    private static byte[] Bytes(Random random, int count)
    {
        byte[] bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }

    private static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);
}
