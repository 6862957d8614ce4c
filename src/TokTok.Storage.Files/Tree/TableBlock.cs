using System.Buffers;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>One entry of a table: memory of the block it was read from, so keep a copy of what must outlive the scan.</summary>
public readonly record struct TableItem(ReadOnlyMemory<byte> Key, ReadOnlyMemory<byte> Value);

/// <summary>A child as an interior node names it: the child's first key, score, size and the entries below it.</summary>
/// <remarks>Format: docs/format.md 12.3.</remarks>
internal readonly record struct TableBlockRef(ReadOnlyMemory<byte> FirstKey, Score Score, ulong Count, int BlockBytes)
{
    public void Write(FormatWriter writer)
    {
        writer.Score(Score);
        writer.Varint(Count);
        writer.Varint(BlockBytes);
    }

    public static TableBlockRef Read(ref FormatReader reader, ReadOnlyMemory<byte> firstKey)
    {
        Score score = reader.Score("child score");
        ulong count = reader.Varint("child entries", long.MaxValue);
        int blockBytes = reader.Length("child bytes", BlockLimits.MaxBlockBytes);
        return new TableBlockRef(firstKey, score, count, blockBytes);
    }
}

/// <summary>A leaf or an interior node, taken apart and checked.</summary>
/// <remarks>
/// Format: docs/format.md 12.2. Keys are strictly ascending; each is written as what it shares with the key before it, and the rest.
/// The level stands in the block and must be the one its parent implies: it falls by one at every step down, so that no chain of blocks,
/// however made, has a cycle or more than <see cref="TableLimits.MaxDepth"/> levels.
/// </remarks>
internal sealed class TableBlock
{
    public const byte Version = 1;

    private readonly TableItem[] _items;

    private TableBlock(int level, TableItem[] items)
    {
        Level = level;
        _items = items;
    }

    public int Level { get; }

    public ReadOnlySpan<TableItem> Items => _items;

    public int Count => _items.Length;

    public TableItem this[int index] => _items[index];

    public TableBlockRef Child(int index)
    {
        var reader = new FormatReader(_items[index].Value, "table node");
        TableBlockRef child = TableBlockRef.Read(ref reader, _items[index].Key);
        reader.End();
        return child;
    }

    /// <summary>The last item whose key is at most <paramref name="key"/>, or -1.</summary>
    public int FindFloor(ReadOnlySpan<byte> key)
    {
        int low = 0;
        int high = _items.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_items[middle].Key.Span.SequenceCompareTo(key) <= 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }

    public static ulong InlineCount(ReadOnlyMemory<byte> leaf)
    {
        if (leaf.IsEmpty)
        {
            return 0;
        }

        var reader = new FormatReader(leaf, "inline table");
        reader.Expect(Version, "version");
        reader.Expect(0, "level");
        return reader.Varint("entries", (ulong)leaf.Length);
    }

    /// <summary>Takes a block apart. Values are slices of <paramref name="bytes"/>.</summary>
    public static TableBlock Parse(ReadOnlyMemory<byte> bytes, int level)
    {
        var reader = new FormatReader(bytes, level == 0 ? "table leaf" : "table node");
        reader.Expect(Version, "version");
        reader.Expect((byte)level, "level");

        // An entry takes at least four bytes (two lengths, one byte of key, one length), and an array element many more: bound by what is there.
        int count = reader.Length("entries", reader.Remaining / 4);
        if (count == 0)
        {
            throw reader.Damaged("entries", "at least one", "none");
        }

        TableItem[] items = new TableItem[count];
        ulong below = 0;
        for (int at = 0; at < count; at++)
        {
            ReadOnlyMemory<byte> previous = at == 0 ? default : items[at - 1].Key;
            int shared = reader.Length("shared key bytes", previous.Length);
            int rest = reader.Length("key bytes", TableLimits.MaxKeyBytes - shared);
            ReadOnlyMemory<byte> tail = reader.Bytes(rest, "key");
            ReadOnlyMemory<byte> key = tail;
            if (shared > 0)
            {
                byte[] whole = new byte[shared + rest];
                previous.Span[..shared].CopyTo(whole);
                tail.Span.CopyTo(whole.AsSpan(shared));
                key = whole;
            }

            // Exactly the shared bytes are left out, so that one table has one encoding.
            bool ascends = at == 0
                ? rest > 0
                : rest > 0 && (shared == previous.Length || previous.Span[shared] < tail.Span[0]);
            if (!ascends)
            {
                throw reader.Damaged("key", "keys that ascend, sharing all they can", "others");
            }

            items[at] = new TableItem(key, reader.Counted("value", TableLimits.MaxValueBytes));
            if (level > 0)
            {
                var child = new FormatReader(items[at].Value, "table node");
                ulong entries = TableBlockRef.Read(ref child, default).Count;
                child.End();
                below = entries > 0 && below <= long.MaxValue - entries ? below + entries : throw reader.Damaged("child entries", "a sum in 63 bits of counts above 0", $"{entries}");
            }
        }

        reader.End();
        return new TableBlock(level, items) { EntriesBelow = level == 0 ? (ulong)count : below };
    }

    public ulong EntriesBelow { get; private init; }

    /// <summary>Reads and checks the block that a parent names.</summary>
    /// <param name="upper">The first key that belongs to the next sibling, or empty.</param>
    /// <exception cref="DamagedFormatException">It is absent, or not what the parent says.</exception>
    public static async ValueTask<TableBlock> ReadAsync(
        IBlockStore blocks, TableBlockRef named, int level, ReadOnlyMemory<byte> upper, CancellationToken cancel)
    {
        BlockType type = TypeOf(level);
        byte[] bytes = await BlockReading.ReadExactAsync(blocks, named.Score, type, named.BlockBytes, cancel).ConfigureAwait(false);
        TableBlock block = Parse(bytes, level);
        if (block.EntriesBelow != named.Count)
        {
            throw new DamagedFormatException($"table block {named.Score} at level {level}: expected {named.Count} entries, found {block.EntriesBelow}");
        }

        if (!named.FirstKey.IsEmpty && !block[0].Key.Span.SequenceEqual(named.FirstKey.Span))
        {
            throw new DamagedFormatException($"table block {named.Score} at level {level}: its first key is not the one its parent names");
        }

        if (!upper.IsEmpty && block[block.Count - 1].Key.Span.SequenceCompareTo(upper.Span) >= 0)
        {
            throw new DamagedFormatException($"table block {named.Score} at level {level}: its last key belongs to its next sibling");
        }

        return block;
    }

    public static BlockType TypeOf(int level) => level == 0 ? BlockType.TableLeaf : BlockType.TableNode;
}

/// <summary>Reads of blocks whose size the parent names.</summary>
internal static class BlockReading
{
    /// <exception cref="DamagedFormatException">The block is absent or of another size.</exception>
    public static async ValueTask<byte[]> ReadExactAsync(IBlockStore blocks, Score score, BlockType type, int expectedBytes, CancellationToken cancel)
    {
        byte[] bytes = GC.AllocateUninitializedArray<byte>(expectedBytes);
        await ReadExactAsync(blocks, score, type, bytes, cancel).ConfigureAwait(false);
        return bytes;
    }

    /// <summary>Fills the whole target with a block of exactly that size.</summary>
    public static async ValueTask ReadExactAsync(IBlockStore blocks, Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
    {
        try
        {
            Check(await blocks.ReadAsync(score, type, target, cancel).ConfigureAwait(false), score, type, target.Length);
        }
        catch (ArgumentException larger)
        {
            throw Larger(score, type, target.Length, larger);
        }
    }

    /// <summary>The same, and where parts of it can be fetched from later, if the store can tell.</summary>
    public static async ValueTask<IBlockParts?> ReadExactWithPartsAsync(IBlockStore blocks, Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
    {
        try
        {
            (BlockRead read, IBlockParts? parts) = await blocks.ReadWithPartsAsync(score, type, target, cancel).ConfigureAwait(false);
            Check(read, score, type, target.Length);
            return parts;
        }
        catch (ArgumentException larger)
        {
            throw Larger(score, type, target.Length, larger);
        }
    }

    private static DamagedFormatException Larger(Score score, BlockType type, int expectedBytes, ArgumentException larger) =>
        new($"{type} block {score}: expected {expectedBytes} bytes, found more", larger);

    private static void Check(BlockRead read, Score score, BlockType type, int expectedBytes)
    {
        if (!read.IsFound)
        {
            throw new DamagedBlockException($"{type} block {score}: a tree needs it, and the store does not have it");
        }

        if (read.Bytes != expectedBytes)
        {
            throw new DamagedFormatException($"{type} block {score}: expected {expectedBytes} bytes, found {read.Bytes}");
        }
    }

    /// <summary>Reads a block of unknown size, up to the limit of all blocks.</summary>
    public static async ValueTask<byte[]> ReadWholeAsync(IBlockStore blocks, Score score, BlockType type, CancellationToken cancel)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes);
        try
        {
            BlockRead read = await blocks.ReadAsync(score, type, rented, cancel).ConfigureAwait(false);
            return read.IsFound
                ? rented.AsSpan(0, read.Bytes).ToArray()
                : throw new DamagedBlockException($"{type} block {score}: a tree needs it, and the store does not have it");
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }
}
