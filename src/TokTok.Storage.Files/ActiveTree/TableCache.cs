using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>What a look into a table came to.</summary>
internal enum TableFinding
{
    Absent,
    Found,

    /// <summary>A block must be read first: <see cref="TableCache.Load"/>, outside of every lock, and look again.</summary>
    Unread,
}

/// <summary>A block that stands in the way of an answer.</summary>
internal readonly record struct TableMiss(TableBlockRef Named, int Level, ReadOnlyMemory<byte> Upper);

/// <summary>Sorted tables read through a cache of their blocks, so that a look into one that is cached never waits and can be taken under a lock.</summary>
internal sealed class TableCache(IBlockStore blocks, long maxBytes)
{
    // A block taken apart takes a few times its bytes.
    private const int ParsedFactor = 3;

    private readonly BlockCache<TableBlock> _cache = new(maxBytes);

    internal long Bytes => _cache.Bytes;

    /// <summary>Looks a key up without reading any block from the store.</summary>
    internal TableFinding TryFind(TableRoot root, ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value, out TableMiss miss)
    {
        value = default;
        miss = default;
        if (root.IsEmpty)
        {
            return TableFinding.Absent;
        }

        int level = Math.Max(root.Depth - 1, 0);
        ReadOnlyMemory<byte> upper = default;
        TableBlock? block = root.InlineBlock;
        if (block is null && !_cache.TryGet(root.Top.Score, out block))
        {
            miss = new TableMiss(root.Top, level, upper);
            return TableFinding.Unread;
        }

        while (true)
        {
            int at = block.FindFloor(key);
            if (at < 0)
            {
                return TableFinding.Absent;
            }

            if (level == 0)
            {
                value = block[at].Value;
                return block[at].Key.Span.SequenceEqual(key) ? TableFinding.Found : TableFinding.Absent;
            }

            upper = at + 1 < block.Count ? block[at + 1].Key : upper;
            level--;
            TableBlockRef child = block.Child(at);
            if (!_cache.TryGet(child.Score, out block))
            {
                miss = new TableMiss(child, level, upper);
                return TableFinding.Unread;
            }
        }
    }

    /// <summary>Reads a block into the cache.</summary>
    internal TableBlock Load(in TableMiss miss)
    {
        if (_cache.TryGet(miss.Named.Score, out TableBlock? known))
        {
            return known;
        }

        TableBlock block = TableBlock.ReadAsync(blocks, miss.Named, miss.Level, miss.Upper, CancellationToken.None).Wait();
        _cache.Add(miss.Named.Score, block, ParsedFactor * miss.Named.BlockBytes);
        return block;
    }

    /// <summary>Looks a key up, reading what it takes.</summary>
    internal ReadOnlyMemory<byte>? Find(TableRoot root, ReadOnlySpan<byte> key)
    {
        while (true)
        {
            TableFinding finding = TryFind(root, key, out ReadOnlyMemory<byte> value, out TableMiss miss);
            if (finding != TableFinding.Unread)
            {
                return finding == TableFinding.Found ? (ReadOnlyMemory<byte>?)value : null;
            }

            _ = Load(miss);
        }
    }
}

/// <summary>Goes through a table in order from any key. One caller at a time; holds one block a level.</summary>
internal sealed class TableCursor(TableCache tables, TableRoot root)
{
    private readonly Stack<(TableBlock Block, int Next, ReadOnlyMemory<byte> Upper)> _path = new();

    internal TableItem Current { get; private set; }

    /// <summary>Stands before the first key that is not lower.</summary>
    internal void Seek(ReadOnlySpan<byte> key)
    {
        _path.Clear();
        if (root.IsEmpty)
        {
            return;
        }

        TableBlock block = root.InlineBlock ?? tables.Load(new TableMiss(root.Top, root.Depth - 1, default));
        ReadOnlyMemory<byte> upper = default;
        while (block.Level > 0)
        {
            int at = Math.Max(block.FindFloor(key), 0);
            ReadOnlyMemory<byte> below = at + 1 < block.Count ? block[at + 1].Key : upper;
            _path.Push((block, at + 1, upper));
            upper = below;
            block = tables.Load(new TableMiss(block.Child(at), block.Level - 1, upper));
        }

        int first = block.FindFloor(key);
        _path.Push((block, first >= 0 && block[first].Key.Span.SequenceEqual(key) ? first : first + 1, upper));
    }

    internal bool MoveNext()
    {
        while (_path.TryPop(out (TableBlock Block, int Next, ReadOnlyMemory<byte> Upper) top))
        {
            if (top.Next >= top.Block.Count)
            {
                continue;
            }

            _path.Push((top.Block, top.Next + 1, top.Upper));
            if (top.Block.Level == 0)
            {
                Current = top.Block[top.Next];
                return true;
            }

            ReadOnlyMemory<byte> upper = top.Next + 1 < top.Block.Count ? top.Block[top.Next + 1].Key : top.Upper;
            _path.Push((tables.Load(new TableMiss(top.Block.Child(top.Next), top.Block.Level - 1, upper)), 0, upper));
        }

        return false;
    }
}
