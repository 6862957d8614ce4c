using System.Text;

namespace TokTok.Storage.Files.Tests;

/// <summary>Looks through a committed active tree, entry by entry: what it must be whatever was done to it.</summary>
internal static class CommittedTree
{
    /// <summary>Totals add up in every directory; each record of the link table has as many names as it says, and no file id is given twice.</summary>
    internal static async Task CheckAsync(Volume volume)
    {
        var links = new Dictionary<ulong, (Entry Record, uint Names)>();
        await foreach (TableItem item in volume.Tables.ScanAsync(volume.Root.Links))
        {
            Entry record = Entry.Decode(item.Value.ToArray());
            Assert.False(record.IsLink);
            links.Add(record.FileId, (record, 0));
        }

        var ids = new HashSet<ulong>();
        if (volume.Root.Active is { } active)
        {
            await CheckAsync(volume, active, "", links, ids);
        }

        Assert.All(links, static link => Assert.Equal(link.Value.Record.LinkCount, link.Value.Names));
    }

    private static async Task CheckAsync(Volume volume, Entry directory, string path, Dictionary<ulong, (Entry Record, uint Names)> links, HashSet<ulong> ids)
    {
        Assert.True(ids.Add(directory.FileId), $"{path} has the file id of another");
        DirectoryTotals sum = default;
        await foreach (TableItem item in volume.Tables.ScanAsync(directory.Children))
        {
            string below = $"{path}/{Encoding.UTF8.GetString(item.Key.Span)}";
            Entry entry = Entry.Decode(item.Value.ToArray());
            ulong bytes = entry.Type == EntryType.File && !entry.IsLink ? (ulong)entry.Content.Size : 0;
            if (entry.IsLink)
            {
                Assert.True(links.TryGetValue(entry.FileId, out (Entry Record, uint Names) link), $"{below} is a link without a record");
                links[entry.FileId] = (link.Record, link.Names + 1);
                bytes = (ulong)link.Record.Content.Size;
            }
            else if (entry.Type == EntryType.Directory)
            {
                await CheckAsync(volume, entry, below, links, ids);
            }
            else
            {
                Assert.True(ids.Add(entry.FileId), $"{below} has the file id of another");
            }

            sum = sum.With(entry, bytes);
        }

        Assert.True(sum == directory.Totals, $"'{path}' says {directory.Totals} and adds up to {sum}");
    }
}
