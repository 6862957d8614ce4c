using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Marks every block that a volume's root needs: active tree, snapshots, link tables, attributes, extents, data.</summary>
/// <remarks>
/// A block is descended into only when its mark was new, so what snapshots share is walked once and no chain of blocks is walked twice.
/// Memory: what is still to be visited lies on one explicit stack, at most the items of one block a level.
/// Several heads may be marked at the same time with one marker; the marks are complete when all calls have returned.
/// A call that throws leaves marks whose blocks below are not marked: start over with a new marker.
/// </remarks>
public sealed class TreeWalker : IRootWalker
{
    private enum TableKind
    {
        Directory,
        Links,
        Snapshots,
    }

    public async ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(head);
        ArgumentNullException.ThrowIfNull(marker);
        if (!marker.Mark(head.Root, BlockType.VolumeRoot))
        {
            return;
        }

        VolumeRoot root = await Volume.ReadRootAsync(blocks, head, cancel).ConfigureAwait(false);
        var walk = new Walk(blocks, marker);
        walk.Push(root.Snapshots, TableKind.Snapshots);
        walk.Push(root.Links, TableKind.Links);
        await walk.EntryAsync(root.Active, cancel).ConfigureAwait(false);
        await walk.RunAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Marks what one snapshot needs.</summary>
    public static async ValueTask MarkSnapshotAsync(SnapshotRecord snapshot, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        var walk = new Walk(blocks, marker);
        walk.Push(snapshot.Links, TableKind.Links);
        await walk.EntryAsync(snapshot.Root, cancel).ConfigureAwait(false);
        await walk.RunAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Marks what one entry needs with everything below it; of links below it, only what <paramref name="resolve"/> gives.</summary>
    /// <param name="resolve">Gives the record of a link, or null to pass it over.</param>
    public static async ValueTask MarkEntryAsync(
        Entry entry, IBlockStore blocks, IBlockMarker marker, Func<Entry, CancellationToken, ValueTask<Entry?>>? resolve, CancellationToken cancel)
    {
        var walk = new Walk(blocks, marker, resolve);
        await walk.EntryAsync(entry, cancel).ConfigureAwait(false);
        await walk.RunAsync(cancel).ConfigureAwait(false);
    }

    private sealed class Walk(IBlockStore blocks, IBlockMarker marker, Func<Entry, CancellationToken, ValueTask<Entry?>>? resolve = null)
    {
        private readonly Stack<(TableRoot? Inline, TableBlockRef Block, int Level, TableKind Kind)> _tables = new();
        private readonly Stack<(ExtentsBlockRef Block, int Level)> _extents = new();

        public void Push(TableRoot root, TableKind kind)
        {
            if (!root.IsEmpty)
            {
                _tables.Push((root.Depth == 0 ? root : null, root.Top, Math.Max(root.Depth - 1, 0), kind));
            }
        }

        public async ValueTask RunAsync(CancellationToken cancel)
        {
            while (_tables.TryPop(out (TableRoot? Inline, TableBlockRef Block, int Level, TableKind Kind) next))
            {
                cancel.ThrowIfCancellationRequested();
                TableBlock block;
                if (next.Inline is not null)
                {
                    block = TableBlock.Parse(next.Inline.Inline, 0);
                }
                else if (marker.Mark(next.Block.Score, TableBlock.TypeOf(next.Level)))
                {
                    block = await TableBlock.ReadAsync(blocks, next.Block, next.Level, default, cancel).ConfigureAwait(false);
                }
                else
                {
                    continue;
                }

                for (int at = block.Count - 1; at >= 0; at--)
                {
                    if (next.Level > 0)
                    {
                        _tables.Push((null, block.Child(at), next.Level - 1, next.Kind));
                        continue;
                    }

                    if (next.Kind == TableKind.Snapshots)
                    {
                        SnapshotRecord snapshot = SnapshotRecord.Decode(block[at]);
                        Push(snapshot.Links, TableKind.Links);
                        await EntryAsync(snapshot.Root, cancel).ConfigureAwait(false);
                        continue;
                    }

                    await EntryAsync(Entry.Decode(block[at].Value), cancel).ConfigureAwait(false);
                }
            }
        }

        public async ValueTask EntryAsync(Entry? entry, CancellationToken cancel)
        {
            if (entry is { IsLink: true } && resolve is not null)
            {
                entry = await resolve(entry, cancel).ConfigureAwait(false);
            }

            if (entry is null || entry.IsLink)
            {
                return;
            }

            // An inline list may still name blocks of large values.
            if (!entry.Attributes.IsNone && (entry.Attributes.BlockBytes == 0 || marker.Mark(entry.Attributes.Score, BlockType.Data)))
            {
                foreach (AttributeList.StoredValue value in await AttributeList.LoadListAsync(blocks, entry.Attributes, cancel).ConfigureAwait(false))
                {
                    if (value.BlockBytes > 0)
                    {
                        marker.Mark(value.Score, BlockType.Data);
                    }
                }
            }

            switch (entry.Type)
            {
                case EntryType.Directory:
                    Push(entry.Children, TableKind.Directory);
                    break;
                case EntryType.File:
                    await ContentAsync(entry.Content, cancel).ConfigureAwait(false);
                    break;
                default:
                    break;
            }
        }

        private async ValueTask ContentAsync(FileContent content, CancellationToken cancel)
        {
            if (content.Kind == ContentKind.Extents)
            {
                MarkData(ExtentsBlock.Parse(content.Run, 0));
            }
            else if (content.Kind == ContentKind.Tree)
            {
                _extents.Push((content.Top, content.Depth - 1));
            }

            while (_extents.TryPop(out (ExtentsBlockRef Block, int Level) next))
            {
                if (!marker.Mark(next.Block.Score, BlockType.Extents))
                {
                    continue;
                }

                ExtentsBlock block = await ExtentsBlock.ReadAsync(blocks, next.Block, next.Level, cancel).ConfigureAwait(false);
                MarkData(block);
                foreach (ExtentsBlockRef child in block.Children)
                {
                    _extents.Push((child, next.Level - 1));
                }
            }
        }

        private void MarkData(ExtentsBlock block)
        {
            foreach (Extent extent in block.Extents)
            {
                if (!extent.IsHole)
                {
                    marker.Mark(extent.Score, BlockType.Data);
                }
            }
        }
    }
}
