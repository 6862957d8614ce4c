using System.Globalization;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Files;

namespace TokTok.Storage.Tdfs.Tests.Golden;

/// <summary>The lines of tests/golden/*/expected.txt: one a name of every snapshot, in the order of their bytes.</summary>
/// <remarks>Format: tests/golden/README.md. The test program of the slow reader in tools/reader prints the same.</remarks>
internal static class GoldenManifest
{
    internal static string Line(string volume, ulong number, ReadOnlySpan<byte> path, Entry entry, string what, IEnumerable<Xattr> attributes)
    {
        var line = new StringBuilder();
        line.Append(Escape(Encoding.UTF8.GetBytes(volume)).Replace("/", "%2F", StringComparison.Ordinal)).Append('/')
            .Append(number.ToString(CultureInfo.InvariantCulture)).Append('/').Append(Escape(path)).Append(' ')
            .Append("?fdlpcbs"[(int)entry.Type]).Append(' ')
            .Append(Convert.ToString(entry.Mode, 8).PadLeft(4, '0')).Append(' ')
            .Append(CultureInfo.InvariantCulture, $"{entry.OwnerId}:{entry.GroupId} ")
            .Append(Escape(Encoding.UTF8.GetBytes(entry.OwnerName))).Append(':').Append(Escape(Encoding.UTF8.GetBytes(entry.GroupName)))
            .Append(CultureInfo.InvariantCulture, $" {entry.Modified.Seconds}.{entry.Modified.Nanoseconds:d9} {entry.FileId:x16} {what}");
        foreach (Xattr attribute in attributes)
        {
            line.Append(' ').Append(Escape(attribute.Name.Span)).Append('=').Append(Convert.ToHexStringLower(attribute.Value.Span));
        }

        return line.ToString();
    }

    internal static string OfFile(long size, ReadOnlySpan<byte> content, uint links, IEnumerable<(long Offset, long Length)> holes)
    {
        var joined = new List<(long Offset, long Length)>();
        foreach ((long offset, long length) in holes)
        {
            if (joined.Count > 0 && joined[^1].Offset + joined[^1].Length == offset)
            {
                joined[^1] = (joined[^1].Offset, joined[^1].Length + length);
            }
            else
            {
                joined.Add((offset, length));
            }
        }

        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(content, hash);
        string text = joined.Count == 0 ? "-" : string.Join(',', joined.Select(static hole => string.Create(CultureInfo.InvariantCulture, $"{hole.Offset}+{hole.Length}")));
        return string.Create(CultureInfo.InvariantCulture, $"{size}:{Convert.ToHexStringLower(hash)}:{links}:{text}");
    }

    internal static string OfOther(Entry entry) => entry.Type switch
    {
        EntryType.Directory => string.Create(CultureInfo.InvariantCulture, $"{entry.Totals.Entries}:{entry.Totals.Bytes}:{entry.Totals.Links}"),
        EntryType.Symlink => Escape(entry.Target.Span),
        EntryType.CharacterDevice or EntryType.BlockDevice => string.Create(CultureInfo.InvariantCulture, $"{entry.DeviceMajor}:{entry.DeviceMinor}"),
        _ => "-",
    };

    internal static List<string> Sorted(IEnumerable<string> lines) => [.. lines.Order(StringComparer.Ordinal)];

    /// <summary>Reads every snapshot of every volume of a store.</summary>
    internal static async Task<List<string>> ReadAsync(IVolumeStore store, CancellationToken cancel)
    {
        var lines = new List<string>();
        foreach (string name in Volume.Names(store))
        {
            using Volume volume = (await Volume.TryOpenAsync(store, name, cancel))!;
            foreach (SnapshotRecord snapshot in await volume.ListSnapshotsAsync(cancel))
            {
                TreeReader reader = TreeReader.Of(volume, snapshot);
                IReadOnlyList<Xattr> attributes = await reader.AttributesAsync(snapshot.Root, cancel);
                lines.Add(Line(name, snapshot.Number, [], snapshot.Root, OfOther(snapshot.Root), attributes));
                await foreach (TreeItem item in reader.WalkAsync(snapshot.Root, default, cancel))
                {
                    string what = item.Entry.Type == EntryType.File ? await OfFileAsync(reader, item.Entry, cancel) : OfOther(item.Entry);
                    attributes = await reader.AttributesAsync(item.Entry, cancel);
                    lines.Add(Line(name, snapshot.Number, item.Path.Span, item.Entry, what, attributes));
                }
            }
        }

        return Sorted(lines);
    }

    private static async Task<string> OfFileAsync(TreeReader reader, Entry file, CancellationToken cancel)
    {
        using FileContentReader content = reader.OpenContent(file);
        byte[] bytes = new byte[content.Size];
        int read = 0;
        while (read < bytes.Length)
        {
            int part = await content.ReadAsync(read, bytes.AsMemory(read), cancel);
            Assert.True(part > 0, "a file ends before its size");
            read += part;
        }

        var holes = new List<(long Offset, long Length)>();
        await foreach (Extent extent in content.ExtentsAsync(0, cancel))
        {
            if (extent.IsHole)
            {
                holes.Add((extent.Offset, extent.Length));
            }
        }

        return OfFile(content.Size, bytes, file.LinkCount, holes);
    }

    private static string Escape(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder();
        foreach (byte one in bytes)
        {
            _ = one is <= 0x20 or >= 0x7f or (byte)'%' ? text.Append(CultureInfo.InvariantCulture, $"%{one:X2}") : text.Append((char)one);
        }

        return text.ToString();
    }
}
