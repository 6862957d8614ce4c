using System.Runtime.CompilerServices;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>One change to a table: a key's new value, or its removal.</summary>
public readonly record struct TableChange(ReadOnlyMemory<byte> Key, ReadOnlyMemory<byte>? Value)
{
    public static TableChange Put(ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) => new(key, value);

    public static TableChange Delete(ReadOnlyMemory<byte> key) => new(key, null);
}

/// <summary>A Merkle map from keys to values, sorted by the keys' bytes: directories, link tables and lists of snapshots.</summary>
/// <remarks>
/// Format: docs/format.md 12. Source: the prolly trees of Noms, with ends weighted by size.
/// Invariant: the blocks are a function of the content alone. A block ends behind an item whose key's hash says so, the likelier the larger
/// the item, or at a fixed weight; whether it ends there depends on nothing behind the item. So a batch of changes rewrites blocks from the
/// first change to the next end that old and new share, and gives exactly what a fresh build of the result gives.
/// Locks: none; safe from many threads. A builder belongs to one caller.
/// Errors: a missing or ill-formed block is <see cref="DamagedBlockException"/> or <see cref="DamagedFormatException"/>.
/// </remarks>
public sealed class SortedTable(IBlockStore blocks, TableOptions? options = null)
{
    private readonly TableOptions _options = options ?? TableOptions.Default;

    internal IBlockStore Blocks => blocks;

    /// <summary>A builder that is given the entries in ascending order of their keys.</summary>
    public TableBuilder NewBuilder() => new(blocks, _options);

    /// <summary>The same tables, written at another redundancy.</summary>
    public SortedTable At(int survive) => survive == blocks.Survive ? this : new SortedTable(blocks.At(survive), _options);

    /// <summary>The key's value, or null where the table has no such key.</summary>
    public async ValueTask<ReadOnlyMemory<byte>?> GetAsync(TableRoot root, ReadOnlyMemory<byte> key, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(root);
        if (root.IsEmpty)
        {
            return null;
        }

        int level = Math.Max(root.Depth - 1, 0);
        ReadOnlyMemory<byte> upper = default;
        TableBlock block = await ReadTopAsync(root, cancel).ConfigureAwait(false);
        while (true)
        {
            int at = block.FindFloor(key.Span);
            if (at < 0)
            {
                return null;
            }

            if (level == 0)
            {
                // The cast matters: a bare null would become empty memory, an empty value.
                return block[at].Key.Span.SequenceEqual(key.Span) ? (ReadOnlyMemory<byte>?)block[at].Value : null;
            }

            upper = at + 1 < block.Count ? block[at + 1].Key : upper;
            level--;
            block = await TableBlock.ReadAsync(blocks, block.Child(at), level, upper, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>The entries from <paramref name="from"/> on (empty: all), ascending. Items are memory of the scan's blocks and stay valid.</summary>
    public async IAsyncEnumerable<TableItem> ScanAsync(
        TableRoot root, ReadOnlyMemory<byte> from = default, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(root);
        if (root.IsEmpty)
        {
            yield break;
        }

        // One frame a level, so at most MaxDepth blocks are held.
        var path = new Stack<(TableBlock Block, int Next, ReadOnlyMemory<byte> Upper)>();
        TableBlock top = await ReadTopAsync(root, cancel).ConfigureAwait(false);
        path.Push((top, Math.Max(top.FindFloor(from.Span), 0), default));
        while (path.TryPop(out (TableBlock Block, int Next, ReadOnlyMemory<byte> Upper) frame))
        {
            cancel.ThrowIfCancellationRequested();
            if (frame.Block.Level == 0)
            {
                for (int at = frame.Next; at < frame.Block.Count; at++)
                {
                    if (frame.Block[at].Key.Span.SequenceCompareTo(from.Span) >= 0)
                    {
                        yield return frame.Block[at];
                    }
                }

                continue;
            }

            if (frame.Next >= frame.Block.Count)
            {
                continue;
            }

            ReadOnlyMemory<byte> upper = frame.Next + 1 < frame.Block.Count ? frame.Block[frame.Next + 1].Key : frame.Upper;
            path.Push((frame.Block, frame.Next + 1, frame.Upper));
            TableBlock child = await TableBlock.ReadAsync(blocks, frame.Block.Child(frame.Next), frame.Block.Level - 1, upper, cancel).ConfigureAwait(false);
            path.Push((child, Math.Max(child.FindFloor(from.Span), 0), upper));
        }
    }

    /// <summary>The table after a batch of changes, sorted by key without repeats. Deleting what is absent changes nothing.</summary>
    /// <remarks>Reads and writes the blocks that the changes touch, and those up to where old and new ends meet again.</remarks>
    public async ValueTask<TableRoot> UpdateAsync(TableRoot root, IReadOnlyList<TableChange> changes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(root);
        ArgumentNullException.ThrowIfNull(changes);
        for (int at = 1; at < changes.Count; at++)
        {
            if (changes[at - 1].Key.Span.SequenceCompareTo(changes[at].Key.Span) >= 0)
            {
                throw new ArgumentException("The changes must be sorted by key, each key once.", nameof(changes));
            }
        }

        if (changes.Count == 0)
        {
            return root;
        }

        var update = new TableUpdate(this, NewBuilder(), changes);
        return await update.RunAsync(root, cancel).ConfigureAwait(false);
    }

    /// <summary>The topmost block of a table that is not empty.</summary>
    internal ValueTask<TableBlock> ReadTopAsync(TableRoot root, CancellationToken cancel) => root.Depth == 0
        ? ValueTask.FromResult(TableBlock.Parse(root.Inline, 0))
        : TableBlock.ReadAsync(blocks, root.Top, root.Depth - 1, default, cancel);

    /// <summary>One run of <see cref="UpdateAsync"/>: the old tree and the changes are merged from left to right into a builder,
    /// and where the builder stands at an end that the old tree has too, whole old blocks go over unread.</summary>
    private sealed class TableUpdate(SortedTable table, TableBuilder builder, IReadOnlyList<TableChange> changes)
    {
        private int _next;

        public async ValueTask<TableRoot> RunAsync(TableRoot root, CancellationToken cancel)
        {
            if (root.IsEmpty)
            {
                await MergeLeafAsync(null, default, cancel).ConfigureAwait(false);
            }
            else if (root.Depth == 0)
            {
                await MergeLeafAsync(TableBlock.Parse(root.Inline, 0), default, cancel).ConfigureAwait(false);
            }
            else
            {
                await ApplyAsync(root.Top, root.Depth - 1, default, true, cancel).ConfigureAwait(false);
            }

            return await builder.FinishAsync(cancel).ConfigureAwait(false);
        }

        /// <param name="upper">The first key that belongs to the next block of this level; empty on the right edge.</param>
        /// <param name="isRightmost">The block ends because the table did, not where an end must be.</param>
        private async ValueTask ApplyAsync(TableBlockRef named, int level, ReadOnlyMemory<byte> upper, bool isRightmost, CancellationToken cancel)
        {
            bool hasChanges = _next < changes.Count && (upper.IsEmpty || changes[_next].Key.Span.SequenceCompareTo(upper.Span) < 0);

            // A node on the right edge may have one child only and then not belong into a fresh tree: it is opened, which costs one path.
            if (!hasChanges && builder.IsAtEnd(level) && (level == 0 || !isRightmost))
            {
                await builder.AddBlockAsync(named, level, cancel).ConfigureAwait(false);
                return;
            }

            TableBlock block = await TableBlock.ReadAsync(table.Blocks, named, level, upper, cancel).ConfigureAwait(false);
            if (level == 0)
            {
                await MergeLeafAsync(block, upper, cancel).ConfigureAwait(false);
                return;
            }

            for (int at = 0; at < block.Count; at++)
            {
                bool isLast = at == block.Count - 1;
                await ApplyAsync(block.Child(at), level - 1, isLast ? upper : block[at + 1].Key, isRightmost && isLast, cancel).ConfigureAwait(false);
            }
        }

        private async ValueTask MergeLeafAsync(TableBlock? leaf, ReadOnlyMemory<byte> upper, CancellationToken cancel)
        {
            int at = 0;
            int oldCount = leaf?.Count ?? 0;
            while (true)
            {
                bool hasChange = _next < changes.Count && (upper.IsEmpty || changes[_next].Key.Span.SequenceCompareTo(upper.Span) < 0);
                if (at == oldCount && !hasChange)
                {
                    return;
                }

                int order = at == oldCount ? 1 : !hasChange ? -1 : leaf![at].Key.Span.SequenceCompareTo(changes[_next].Key.Span);
                if (order < 0)
                {
                    await builder.AddAsync(leaf![at].Key, leaf[at].Value, cancel).ConfigureAwait(false);
                    at++;
                    continue;
                }

                at += order == 0 ? 1 : 0;
                TableChange change = changes[_next++];
                if (change.Value is ReadOnlyMemory<byte> value)
                {
                    await builder.AddAsync(change.Key, value, cancel).ConfigureAwait(false);
                }
            }
        }
    }
}
