using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Extended attributes as bytes: inside the entry while they are small, in a block of their own when not.</summary>
/// <remarks>Format: docs/format.md 13.4. The list is sorted by name; a value too large for the list lies in a block of type Data.</remarks>
public static class AttributeList
{
    public const int MaxAttributes = 16 * 1024;

    public const int MaxNameBytes = 255;

    /// <summary>The kernel's own limit (XATTR_SIZE_MAX).</summary>
    public const int MaxValueBytes = 64 * 1024;

    /// <summary>A list of at most so many bytes lies inside its entry.</summary>
    public const int InlineBytes = 1024;

    private const int LargeValueBytes = 4096;

    /// <summary>Stores the attributes; large ones as blocks.</summary>
    public static async ValueTask<StoredAttributes> StoreAsync(
        IBlockStore blocks, IReadOnlyList<Xattr> attributes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        ArgumentNullException.ThrowIfNull(attributes);
        if (attributes.Count == 0)
        {
            return StoredAttributes.None;
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(attributes.Count, MaxAttributes);
        List<Xattr> sorted = [.. attributes];
        sorted.Sort((left, right) => left.Name.Span.SequenceCompareTo(right.Name.Span));
        var writer = new FormatWriter();
        int largeBytes = LargeValueBytes;
        while (true)
        {
            writer.Clear();
            writer.Varint(sorted.Count);
            foreach (Xattr attribute in sorted)
            {
                if (attribute.Name.Length is 0 or > MaxNameBytes || attribute.Value.Length > MaxValueBytes)
                {
                    throw new ArgumentException($"An attribute's name has 1 to {MaxNameBytes} bytes, its value at most {MaxValueBytes}.", nameof(attributes));
                }

                writer.Counted(attribute.Name.Span);
                bool isLarge = attribute.Value.Length > largeBytes;
                writer.Byte(isLarge ? (byte)1 : (byte)0);
                if (isLarge)
                {
                    BlockWrite value = await blocks.WriteAsync(BlockType.Data, attribute.Value, cancel).ConfigureAwait(false);
                    writer.Varint(attribute.Value.Length);
                    writer.Score(value.Score);
                }
                else
                {
                    writer.Counted(attribute.Value.Span);
                }
            }

            // So many attributes that the list does not fit a block: then all but the shortest values leave it.
            if (writer.Position <= BlockLimits.MaxBlockBytes || largeBytes == Score.Size)
            {
                break;
            }

            largeBytes = Score.Size;
        }

        if (writer.Position <= InlineBytes)
        {
            return new StoredAttributes { Inline = writer.ToArray() };
        }

        BlockWrite list = await blocks.WriteAsync(BlockType.Data, writer.Written, cancel).ConfigureAwait(false);
        return new StoredAttributes { Score = list.Score, BlockBytes = writer.Position };
    }

    /// <summary>The attributes, sorted by name.</summary>
    public static async ValueTask<IReadOnlyList<Xattr>> LoadAsync(IBlockStore blocks, StoredAttributes stored, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(blocks);
        ArgumentNullException.ThrowIfNull(stored);
        List<Xattr> loaded = [];
        foreach (StoredValue value in await LoadListAsync(blocks, stored, cancel).ConfigureAwait(false))
        {
            ReadOnlyMemory<byte> bytes = value.BlockBytes == 0
                ? value.Inline
                : await BlockReading.ReadExactAsync(blocks, value.Score, BlockType.Data, value.BlockBytes, cancel).ConfigureAwait(false);
            loaded.Add(new Xattr(value.Name, bytes));
        }

        return loaded;
    }

    /// <summary>The list with large values as scores, for whoever walks the blocks.</summary>
    internal static async ValueTask<List<StoredValue>> LoadListAsync(IBlockStore blocks, StoredAttributes stored, CancellationToken cancel)
    {
        if (stored.IsNone)
        {
            return [];
        }

        ReadOnlyMemory<byte> list = stored.BlockBytes == 0
            ? stored.Inline
            : await BlockReading.ReadExactAsync(blocks, stored.Score, BlockType.Data, stored.BlockBytes, cancel).ConfigureAwait(false);
        return Parse(list);
    }

    internal static List<StoredValue> Parse(ReadOnlyMemory<byte> list)
    {
        var reader = new FormatReader(list, "attribute list");
        int count = reader.Length("attributes", Math.Min(MaxAttributes, list.Length / 3));
        if (count == 0)
        {
            throw reader.Damaged("attributes", "at least one", "none");
        }

        List<StoredValue> values = new(count);
        ReadOnlyMemory<byte> previous = default;
        for (int at = 0; at < count; at++)
        {
            ReadOnlyMemory<byte> name = reader.Counted("attribute name", MaxNameBytes);
            if (previous.Span.SequenceCompareTo(name.Span) >= 0)
            {
                throw reader.Damaged("attribute name", "names that ascend", "others");
            }

            previous = name;
            byte kind = reader.Byte("attribute kind");
            values.Add(kind switch
            {
                0 => new StoredValue(name, reader.Counted("attribute value", MaxValueBytes), default, 0),
                1 when reader.Length("attribute bytes", MaxValueBytes) is int bytes and > 0 => new StoredValue(name, default, reader.Score("attribute score"), bytes),
                _ => throw reader.Damaged("attribute kind", "0, or 1 and a length above 0", $"{kind}"),
            });
        }

        reader.End();
        return values;
    }

    internal static void Write(FormatWriter writer, StoredAttributes stored)
    {
        writer.Varint(stored.BlockBytes);
        if (stored.BlockBytes > 0)
        {
            writer.Score(stored.Score);
        }
        else
        {
            writer.Counted(stored.Inline.Span);
        }
    }

    internal static StoredAttributes Read(ref FormatReader reader)
    {
        int blockBytes = reader.Length("attribute block bytes", BlockLimits.MaxBlockBytes);
        if (blockBytes > 0)
        {
            return new StoredAttributes { BlockBytes = blockBytes, Score = reader.Score("attribute block score") };
        }

        ReadOnlyMemory<byte> inline = reader.Counted("attributes", EntryLimits.MaxInlineAttributeBytes);
        return inline.IsEmpty ? throw reader.Damaged("attributes", "a list", "nothing") : new StoredAttributes { Inline = inline };
    }

    internal readonly record struct StoredValue(ReadOnlyMemory<byte> Name, ReadOnlyMemory<byte> Inline, Score Score, int BlockBytes);
}
