using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A run of a file's bytes: a piece of a block, or a hole.</summary>
/// <param name="Offset">Where it begins in the file.</param>
/// <param name="Length">Bytes, above 0.</param>
/// <param name="Score">The block of type Data, for a hole zero.</param>
/// <param name="Skip">Bytes of the block before the piece.</param>
/// <param name="BlockBytes">Bytes of the whole block; 0 says hole.</param>
public readonly record struct Extent(long Offset, long Length, Score Score, int Skip, int BlockBytes)
{
    public bool IsHole => BlockBytes == 0;
}

/// <summary>How an entry holds a file's bytes.</summary>
public enum ContentKind : byte
{
    /// <summary>The bytes themselves lie in the entry.</summary>
    Inline = 0,

    /// <summary>A short list of extents lies in the entry.</summary>
    Extents = 1,

    /// <summary>The extents lie in a hash tree; the entry names its top.</summary>
    Tree = 2,
}

/// <summary>Size and bytes of a file, as its entry holds them.</summary>
/// <remarks>Format: docs/format.md 13.2. Written by <see cref="FileContentWriter"/>, read by <see cref="FileContentReader"/>.
/// The extents of a file follow one another without gaps and add up to its size.</remarks>
public sealed class FileContent
{
    internal const int MaxDepth = 8;

    private ExtentsBlock? _runBlock;

    private FileContent(ContentKind kind, CuttingRule rule, long size)
    {
        Kind = kind;
        Rule = rule;
        Size = size;
    }

    public static FileContent Empty { get; } = new(ContentKind.Inline, CuttingRule.ContentDefined, 0);

    public ContentKind Kind { get; }

    public CuttingRule Rule { get; }

    public long Size { get; }

    /// <summary>The bytes of an inline content.</summary>
    public ReadOnlyMemory<byte> Inline { get; private init; }

    /// <summary>Bytes of its holes; null where only the tree of extents says so.</summary>
    internal long? HoleBytes => Kind switch
    {
        ContentKind.Inline => 0,
        ContentKind.Extents => RunBlock.HoleBytes,
        _ => null,
    };

    /// <summary>The extents that lie in the entry.</summary>
    internal ReadOnlyMemory<byte> Run { get; private init; }

    /// <summary>These extents taken apart, once.</summary>
    internal ExtentsBlock RunBlock => _runBlock ??= ExtentsBlock.Parse(Run, 0);

    /// <summary>Levels of the tree, its lowest blocks included.</summary>
    internal int Depth { get; private init; }

    internal ExtentsBlockRef Top { get; private init; }

    internal static FileContent OfInline(CuttingRule rule, ReadOnlyMemory<byte> bytes) => new(ContentKind.Inline, rule, bytes.Length) { Inline = bytes };

    internal static FileContent OfRun(CuttingRule rule, long size, ReadOnlyMemory<byte> run) => new(ContentKind.Extents, rule, size) { Run = run };

    internal static FileContent OfTree(CuttingRule rule, int depth, ExtentsBlockRef top) =>
        new(ContentKind.Tree, rule, top.Length) { Depth = depth, Top = top };

    internal void Write(FormatWriter writer)
    {
        writer.Varint((ulong)Size);
        writer.Byte((byte)((byte)Kind | ((byte)Rule << 4)));
        switch (Kind)
        {
            case ContentKind.Inline:
                writer.Bytes(Inline.Span);
                break;
            case ContentKind.Extents:
                writer.Counted(Run.Span);
                break;
            default:
                writer.Byte((byte)Depth);
                writer.Score(Top.Score);
                writer.Varint(Top.BlockBytes);
                break;
        }
    }

    internal static FileContent Read(ref FormatReader reader)
    {
        long size = (long)reader.Varint("size", long.MaxValue);
        byte both = reader.Byte("content kind");
        var kind = (ContentKind)(both & 15);
        var rule = (CuttingRule)(both >> 4);
        if (kind > ContentKind.Tree || rule > CuttingRule.Fixed)
        {
            throw reader.Damaged("content kind", "a kind up to 2, a rule up to 1", $"{both:x2}");
        }

        switch (kind)
        {
            case ContentKind.Inline:
                return size <= EntryLimits.MaxInlineContentBytes
                    ? OfInline(rule, reader.Bytes((int)size, "content"))
                    : throw reader.Damaged("content", $"at most {EntryLimits.MaxInlineContentBytes} bytes inline", $"{size}");
            case ContentKind.Extents:
                ReadOnlyMemory<byte> run = reader.Counted("extents", EntryLimits.MaxInlineExtentBytes);
                ExtentsBlock block = ExtentsBlock.Parse(run, 0);
                return block.Length == size ? OfRun(rule, size, run) : throw reader.Damaged("extents", $"{size} bytes", $"{block.Length}");
            default:
                int depth = reader.Byte("content depth");
                if (depth is 0 or > MaxDepth)
                {
                    throw reader.Damaged("content depth", $"1 to {MaxDepth}", $"{depth}");
                }

                Score score = reader.Score("content score");
                int blockBytes = reader.Length("content block bytes", BlockLimits.MaxBlockBytes);
                return OfTree(rule, depth, new ExtentsBlockRef(size, score, blockBytes));
        }
    }
}
