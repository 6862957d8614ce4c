namespace TokTok.Storage.Files;

/// <summary>Sizes that shape a sorted table. Tables built with different ones read alike; only with equal ones have equal contents equal blocks.</summary>
public sealed record TableOptions
{
    /// <summary>The mean weight of a block: 16 KiB compresses well, and is little to rewrite for one changed entry.</summary>
    public int TargetBytes { get; init; } = 16 * 1024;

    /// <summary>A table that fits one leaf of at most so many bytes lies inside its parent's value.</summary>
    public int InlineBytes { get; init; } = 1024;

    public static TableOptions Default { get; } = new();

    /// <summary>No block ends before this weight by its keys' hashes...</summary>
    internal int MinBytes => TargetBytes / 4;

    /// <summary>...and every block ends at it, whatever the hashes say: bounded also under names chosen to avoid an end.</summary>
    internal int MaxBytes => TargetBytes * 4;
}

/// <summary>Limits of every sorted table.</summary>
public static class TableLimits
{
    public const int MaxKeyBytes = 512;

    public const int MaxValueBytes = 32 * 1024;

    /// <summary>Levels of blocks below a root, leaves included.</summary>
    public const int MaxDepth = 16;

    /// <summary>An inline table's leaf, also one written with other options.</summary>
    public const int MaxInlineBytes = 16 * 1024;
}

/// <summary>A sorted table as its parent holds it: empty, one small leaf inline, or the score of its topmost block.</summary>
/// <remarks>Format: docs/format.md 12.4. The bytes are a function of the table's content alone, so equal roots mean equal tables and the reverse.</remarks>
public sealed class TableRoot : IEquatable<TableRoot>
{
    private TableBlock? _inlineBlock;

    private TableRoot(int depth, TableBlockRef top, ReadOnlyMemory<byte> inline)
    {
        Depth = depth;
        Top = top;
        Inline = inline;
    }

    public static TableRoot Empty { get; } = new(0, default, default);

    /// <summary>Levels of blocks: 0 for an inline table.</summary>
    public int Depth { get; }

    /// <summary>Entries in the table. For an inline table this is read from the leaf.</summary>
    public ulong Count => Depth > 0 ? Top.Count : TableBlock.InlineCount(Inline);

    public bool IsEmpty => Depth == 0 && Inline.IsEmpty;

    /// <summary>The topmost block where <see cref="Depth"/> is above 0.</summary>
    internal TableBlockRef Top { get; }

    /// <summary>The leaf's bytes where <see cref="Depth"/> is 0; none for an empty table.</summary>
    internal ReadOnlyMemory<byte> Inline { get; }

    /// <summary>That leaf taken apart, once; null for a table in blocks.</summary>
    internal TableBlock? InlineBlock => Depth > 0 || Inline.IsEmpty ? null : _inlineBlock ??= TableBlock.Parse(Inline, 0);

    internal static TableRoot OfBlock(int depth, TableBlockRef top) => new(depth, top, default);

    internal static TableRoot OfInline(ReadOnlyMemory<byte> leaf) => new(0, default, leaf);

    /// <summary>The same table, and no memory shared with the block it was read from.</summary>
    internal TableRoot Detached() => Depth > 0 || Inline.IsEmpty ? this : OfInline(Inline.ToArray());

    internal void Write(FormatWriter writer)
    {
        writer.Byte((byte)Depth);
        if (Depth == 0)
        {
            writer.Counted(Inline.Span);
            return;
        }

        Top.Write(writer);
    }

    internal static TableRoot Read(ref FormatReader reader)
    {
        int depth = reader.Byte("table depth");
        if (depth > TableLimits.MaxDepth)
        {
            throw reader.Damaged("table depth", $"at most {TableLimits.MaxDepth}", $"{depth}");
        }

        if (depth > 0)
        {
            return OfBlock(depth, TableBlockRef.Read(ref reader, default));
        }

        ReadOnlyMemory<byte> leaf = reader.Counted("inline table", TableLimits.MaxInlineBytes);
        return leaf.IsEmpty ? Empty : OfInline(leaf);
    }

    public bool Equals(TableRoot? other) =>
        other is not null && Depth == other.Depth && Top.Score == other.Top.Score && Top.Count == other.Top.Count && Inline.Span.SequenceEqual(other.Inline.Span);

    public override bool Equals(object? obj) => Equals(obj as TableRoot);

    public override int GetHashCode() => HashCode.Combine(Depth, Top.Score, Inline.Length);
}
