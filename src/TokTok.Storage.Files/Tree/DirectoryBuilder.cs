using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Builds a directory from its names in ascending order of their bytes, and adds up its totals.</summary>
public sealed class DirectoryBuilder(SortedTable table)
{
    private readonly TableBuilder _builder = (table ?? throw new ArgumentNullException(nameof(table))).NewBuilder();

    public DirectoryTotals Totals { get; private set; }

    /// <summary>Adds a name behind all others.</summary>
    /// <param name="linkedBytes">For a linked file, the size that its record states.</param>
    /// <exception cref="ArgumentException">The name is none, or does not ascend.</exception>
    public ValueTask AddAsync(ReadOnlyMemory<byte> name, Entry entry, ulong linkedBytes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(entry);
        if (!Entry.IsName(name.Span))
        {
            throw new ArgumentException("A name has 1 to 255 bytes, no slash, no NUL, and is not . or ..", nameof(name));
        }

        ulong bytes = entry.IsLink ? linkedBytes : entry.Type == EntryType.File ? (ulong)entry.Content.Size : 0;
        Totals = Totals.With(entry, bytes);
        return _builder.AddAsync(name, entry.Encode(), cancel);
    }

    /// <summary>The directory's entry: <paramref name="metadata"/> with the names and totals added here.</summary>
    public async ValueTask<Entry> FinishAsync(Entry metadata, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        TableRoot children = await _builder.FinishAsync(cancel).ConfigureAwait(false);
        return metadata with { Type = EntryType.Directory, Children = children, Totals = Totals };
    }
}

/// <summary>The volume's link table: file id to the record of a file with several names.</summary>
/// <remarks>Format: docs/format.md 13.5. Keys are the file id, eight bytes, big endian.</remarks>
public static class LinkTable
{
    public static byte[] Key(ulong fileId)
    {
        byte[] key = new byte[sizeof(ulong)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(key, fileId);
        return key;
    }

    /// <summary>The record that a linked name stands for.</summary>
    /// <exception cref="DamagedFormatException">There is none.</exception>
    public static async ValueTask<Entry> ResolveAsync(SortedTable table, TableRoot links, Entry link, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentNullException.ThrowIfNull(link);
        if (!link.IsLink)
        {
            return link;
        }

        ReadOnlyMemory<byte>? value = await table.GetAsync(links, Key(link.FileId), cancel).ConfigureAwait(false);
        Entry record = value is ReadOnlyMemory<byte> bytes
            ? Entry.Decode(bytes)
            : throw new DamagedFormatException($"link table: expected a record of file {link.FileId:x}, found none");
        return !record.IsLink && record.FileId == link.FileId && record.Type == link.Type
            ? record
            : throw new DamagedFormatException($"link table: the record under file {link.FileId:x} is of another file or type");
    }
}
