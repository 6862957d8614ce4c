using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>The hash trees of committed files, read through a cache of their blocks. Safe from many threads.</summary>
internal sealed class ExtentCache(IBlockStore blocks, long maxBytes)
{
    // A block taken apart takes about twice its bytes.
    private const int ParsedFactor = 2;

    private readonly BlockCache<ExtentsBlock> _cache = new(maxBytes);

    internal long Bytes => _cache.Bytes;

    /// <summary>The extents around an offset below the size, and where the first of them begins. Not for inline content.</summary>
    internal ExtentsBlock LeafAt(FileContent content, long offset, out long leafStart)
    {
        leafStart = 0;
        if (content.Kind == ContentKind.Extents)
        {
            return content.RunBlock;
        }

        ExtentsBlock block = Load(content.Top, content.Depth - 1);
        while (block.Level > 0)
        {
            int index = block.Find(offset - leafStart);
            leafStart += block.Starts[index];
            block = Load(block.Children[index], block.Level - 1);
        }

        return block;
    }

    /// <summary>The lowest block around an offset, unread, and where it begins. Of trees with nodes above their extents.</summary>
    internal ExtentsBlockRef LeafRefAt(FileContent content, long offset, out long leafStart)
    {
        leafStart = 0;
        ExtentsBlock block = Load(content.Top, content.Depth - 1);
        while (true)
        {
            int index = block.Find(offset - leafStart);
            leafStart += block.Starts[index];
            if (block.Level == 1)
            {
                return block.Children[index];
            }

            block = Load(block.Children[index], block.Level - 1);
        }
    }

    /// <summary>A block that was just made.</summary>
    internal void Add(ExtentsBlockRef named, int level, ReadOnlyMemory<byte> bytes) =>
        _cache.Add(named.Score, ExtentsBlock.Parse(bytes, level), ParsedFactor * named.BlockBytes);

    private ExtentsBlock Load(ExtentsBlockRef named, int level)
    {
        if (_cache.TryGet(named.Score, out ExtentsBlock? known) && known.Level == level)
        {
            return known;
        }

        ExtentsBlock block = ExtentsBlock.ReadAsync(blocks, named, level, CancellationToken.None).Wait();
        _cache.Add(named.Score, block, ParsedFactor * named.BlockBytes);
        return block;
    }
}
