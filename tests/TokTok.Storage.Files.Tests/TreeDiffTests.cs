using System.Text;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

public sealed class TreeDiffTests
{
    [Fact]
    public async Task Every_kind_of_change_is_told_and_a_linked_record_is_not_overlooked()
    {
        var table = new SortedTable(new MemoryVolumeStore().Blocks);
        Entry one = File(1, "one");
        Entry old = await DirectoryAsync(table, ("a", one), ("b", File(2, "b")), ("d", await DirectoryAsync(table, ("x", one))), ("l", Entry.LinkTo(EntryType.File, 9)), ("m", one), ("t", one));
        Entry now = await DirectoryAsync(
            table,
            ("a", File(1, "two")),
            ("e", await DirectoryAsync(table, ("x", one))),
            ("l", Entry.LinkTo(EntryType.File, 9)),
            ("m", one with { Mode = 7 }),
            ("t", new Entry { Type = EntryType.Fifo, FileId = 5 }));
        TableRoot oldLinks = await table.UpdateAsync(TableRoot.Empty, [TableChange.Put(LinkTable.Key(9), File(9, "one").Encode())], default);
        TableRoot newLinks = await table.UpdateAsync(TableRoot.Empty, [TableChange.Put(LinkTable.Key(9), File(9, "two").Encode())], default);
        List<string> told = [];
        await foreach (TreeChange change in TreeDiff.CompareAsync(table, old, oldLinks, now, newLinks))
        {
            told.Add($"{change.Kind} {Encoding.UTF8.GetString(change.Path.Span)}");
        }

        Assert.Equal(["Content a", "Removed b", "Removed d", "Removed d/x", "Added e", "Added e/x", "Content l", "Metadata m", "Type t"], told);
        await foreach (TreeChange change in TreeDiff.CompareAsync(table, old, oldLinks, old, oldLinks))
        {
            Assert.Fail($"A tree differs from itself: {change}");
        }
    }

    private static Entry File(ulong id, string text) =>
        new() { Type = EntryType.File, FileId = id, Content = FileContent.OfInline(CuttingRule.ContentDefined, Encoding.UTF8.GetBytes(text)) };

    private static async Task<Entry> DirectoryAsync(SortedTable table, params (string Name, Entry Entry)[] names)
    {
        var builder = new DirectoryBuilder(table);
        foreach ((string name, Entry entry) in names)
        {
            await builder.AddAsync(Encoding.UTF8.GetBytes(name), entry, 0, default);
        }

        return await builder.FinishAsync(new Entry { Type = EntryType.Directory, FileId = 100 }, default);
    }
}
