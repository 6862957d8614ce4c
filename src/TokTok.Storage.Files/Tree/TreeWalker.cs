using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Marks every block that a volume's root needs: active tree, snapshots, link tables, attributes, extents, data.</summary>
/// <remarks>
/// A block is descended into only when its mark was new, so what snapshots share is walked once and no chain of blocks is walked twice.
/// Memory: what is still to be visited lies on one explicit stack, at most the items of one block a level.
/// Several heads may be marked at the same time with one marker; the marks are complete when all calls have returned.
/// With a <see cref="IRedundancyMarker"/> every block is asked to be as strong as the directory it belongs to, and as the strongest thing below it: a strong file
/// whose directory is lost is lost. Names of a linked file ask for its record wherever a snapshot's link table has one: more than is needed, never less.
/// With a <see cref="IFreedMarker"/> it says which references to content come from freed folders. Files of several names, and attributes, are never freed. The directories on the way to a freed folder
/// are walked for each of the ways to them, since an equal one may stand where nothing is freed.
/// A call that throws leaves marks whose blocks below are not marked: start over with a new marker.
/// </remarks>
/// <param name="freed">What is freed on this device; null: nothing.</param>
public sealed class TreeWalker(FreedList? freed = null) : IRootWalker
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
        var walk = new Walk(blocks, marker);
        if (!walk.Mark(head.Root, BlockType.VolumeRoot, walk.DefaultSurvive))
        {
            return;
        }

        VolumeRoot root = await Volume.ReadRootAsync(blocks, head, cancel).ConfigureAwait(false);
        Way? way = walk.WayTo(null, head.Root, BlockType.VolumeRoot, walk.DefaultSurvive);
        walk.Freed = marker is IFreedMarker ? freed?.Of(head.Volume) : null;
        walk.Push(root.Snapshots, TableKind.Snapshots, way, walk.DefaultSurvive);
        walk.PushLinks(root.Links, way);
        await walk.EntryAsync(root.Active, way, walk.DefaultSurvive, cancel, walk.Freed).ConfigureAwait(false);
        await walk.RunAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Marks what one snapshot needs.</summary>
    public static async ValueTask MarkSnapshotAsync(SnapshotRecord snapshot, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        var walk = new Walk(blocks, marker);
        walk.PushLinks(snapshot.Links, null);
        await walk.EntryAsync(snapshot.Root, null, walk.DefaultSurvive, cancel).ConfigureAwait(false);
        await walk.RunAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Marks what one entry needs with everything below it; of links below it, only what <paramref name="resolve"/> gives.</summary>
    /// <param name="resolve">Gives the record of a link, or null to pass it over.</param>
    /// <param name="survive">What the directories above ask for; null: nothing.</param>
    public static async ValueTask MarkEntryAsync(
        Entry entry, IBlockStore blocks, IBlockMarker marker, Func<Entry, CancellationToken, ValueTask<Entry?>>? resolve, CancellationToken cancel, int? survive = null)
    {
        var walk = new Walk(blocks, marker, resolve);
        await walk.EntryAsync(entry, null, survive ?? walk.DefaultSurvive, cancel).ConfigureAwait(false);
        await walk.RunAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>A block on the way down. Only walks that care for redundancy make any.</summary>
    private sealed class Way(Way? above, Score score, BlockType type, int survive)
    {
        internal Way? Above { get; } = above;

        internal Score Score { get; } = score;

        internal BlockType Type { get; } = type;

        /// <summary>At least so much is asked of it and of all above it.</summary>
        internal int Survive { get; set; } = survive;
    }

    private sealed class Walk(IBlockStore blocks, IBlockMarker marker, Func<Entry, CancellationToken, ValueTask<Entry?>>? resolve = null)
    {
        private readonly IRedundancyMarker? _classes = marker as IRedundancyMarker;
        private readonly IFreedMarker? _freed = marker as IFreedMarker;
        private readonly Stack<(TableRoot? Inline, TableBlockRef Block, int Level, TableKind Kind, Way? Way, int Survive, FreedNode? Freed)> _tables = new();
        private readonly Stack<(ExtentsBlockRef Block, int Level)> _extents = new();

        /// <summary>Blocks of directories that are freed in part, as they were walked already.</summary>
        private readonly HashSet<(Score Score, int Survive, FreedNode Freed)> _partly = [];

        /// <summary>Files of several names, one of them at least in a directory that asks for more than the store's own redundancy.</summary>
        private readonly Dictionary<ulong, int> _strongLinks = [];
        private readonly List<TableRoot> _linkTables = [];

        /// <summary>How far the volume is freed; null: not at all.</summary>
        public FreedNode? Freed { get; set; }

        public int DefaultSurvive => _classes?.DefaultSurvive ?? 0;

        public bool Mark(Score score, BlockType type, int survive) => _classes is null ? marker.Mark(score, type) : _classes.Mark(score, type, survive);

        public Way? WayTo(Way? above, Score score, BlockType type, int survive) => _classes is null ? null : new Way(above, score, type, survive);

        public void PushLinks(TableRoot links, Way? way)
        {
            Push(links, TableKind.Links, way, DefaultSurvive);
            if (_classes is not null && !links.IsEmpty)
            {
                _linkTables.Add(links);
            }
        }

        public void Push(TableRoot root, TableKind kind, Way? way, int survive, FreedNode? freed = null)
        {
            if (!root.IsEmpty)
            {
                _tables.Push((root.Depth == 0 ? root : null, root.Top, Math.Max(root.Depth - 1, 0), kind, way, survive, freed));
            }
        }

        /// <summary>Marks a block of a table or of extents: where its directory is freed in part, it is walked whatever was walked before, and counts for nobody else as walked.</summary>
        private bool Mark(Score score, BlockType type, int survive, FreedNode? freed)
        {
            if (freed is null)
            {
                return Mark(score, type, survive);
            }

            bool isNew = _freed!.Mark(score, type, survive, isFreed: true);
            return freed.IsWhole ? isNew : _partly.Add((score, survive, freed));
        }

        public async ValueTask RunAsync(CancellationToken cancel)
        {
            while (_tables.TryPop(out (TableRoot? Inline, TableBlockRef Block, int Level, TableKind Kind, Way? Way, int Survive, FreedNode? Freed) next))
            {
                cancel.ThrowIfCancellationRequested();
                TableBlock block;
                Way? way = next.Way;
                BlockType type = TableBlock.TypeOf(next.Level);
                if (next.Inline is not null)
                {
                    block = TableBlock.Parse(next.Inline.Inline, 0);
                }
                else if (Mark(next.Block.Score, type, next.Survive, next.Freed))
                {
                    Raise(next.Way, next.Survive);
                    way = WayTo(next.Way, next.Block.Score, type, next.Survive);
                    block = await TableBlock.ReadAsync(blocks, next.Block, next.Level, default, cancel).ConfigureAwait(false);
                }
                else
                {
                    // What lies below was walked before, and has raised the block.
                    if (_classes is not null)
                    {
                        Raise(next.Way, _classes.Raise(next.Block.Score, type, next.Survive));
                    }

                    continue;
                }

                for (int at = block.Count - 1; at >= 0; at--)
                {
                    if (next.Level > 0)
                    {
                        _tables.Push((null, block.Child(at), next.Level - 1, next.Kind, way, next.Survive, next.Freed));
                        continue;
                    }

                    if (next.Kind == TableKind.Snapshots)
                    {
                        SnapshotRecord snapshot = SnapshotRecord.Decode(block[at]);
                        PushLinks(snapshot.Links, way);
                        await EntryAsync(snapshot.Root, way, next.Survive, cancel, Freed).ConfigureAwait(false);
                        continue;
                    }

                    await EntryAsync(Entry.Decode(block[at].Value), way, next.Survive, cancel, next.Freed?.Child(block[at].Key.Span)).ConfigureAwait(false);
                }
            }

            foreach (TableRoot links in _strongLinks.Count == 0 ? [] : _linkTables.Distinct())
            {
                foreach ((ulong fileId, int survive) in _strongLinks)
                {
                    cancel.ThrowIfCancellationRequested();
                    await LinkAsync(links, fileId, survive, cancel).ConfigureAwait(false);
                }
            }
        }

        /// <param name="inherited">What the directory that names the entry asks for.</param>
        /// <param name="freed">How far the entry is freed.</param>
        public async ValueTask EntryAsync(Entry? entry, Way? way, int inherited, CancellationToken cancel, FreedNode? freed = null)
        {
            if (entry is { IsLink: true } && resolve is not null)
            {
                entry = await resolve(entry, cancel).ConfigureAwait(false);
            }

            if (entry is null)
            {
                return;
            }

            if (entry.IsLink)
            {
                if (_classes is not null && inherited > DefaultSurvive)
                {
                    _strongLinks[entry.FileId] = Math.Max(inherited, _strongLinks.GetValueOrDefault(entry.FileId));
                }

                return;
            }

            int survive = entry.Survive ?? inherited;
            Raise(way, survive);

            // An inline list may still name blocks of large values.
            if (!entry.Attributes.IsNone && (entry.Attributes.BlockBytes == 0 || Mark(entry.Attributes.Score, BlockType.Data, survive)))
            {
                foreach (AttributeList.StoredValue value in await AttributeList.LoadListAsync(blocks, entry.Attributes, cancel).ConfigureAwait(false))
                {
                    if (value.BlockBytes > 0)
                    {
                        Mark(value.Score, BlockType.Data, survive);
                    }
                }
            }

            switch (entry.Type)
            {
                case EntryType.Directory:
                    Push(entry.Children, TableKind.Directory, way, survive, freed);
                    break;
                case EntryType.File:
                    await ContentAsync(entry.Content, survive, freed is { IsWhole: true } ? freed : null, cancel).ConfigureAwait(false);
                    break;
                default:
                    break;
            }
        }

        /// <summary>The record of a file and the blocks that lead to it.</summary>
        private async ValueTask LinkAsync(TableRoot links, ulong fileId, int survive, CancellationToken cancel)
        {
            byte[] key = LinkTable.Key(fileId);
            int level = Math.Max(links.Depth - 1, 0);
            TableBlockRef named = links.Top;
            TableBlock block = links.Depth == 0 ? TableBlock.Parse(links.Inline, 0) : await TableBlock.ReadAsync(blocks, named, level, default, cancel).ConfigureAwait(false);
            while (true)
            {
                if (links.Depth > 0)
                {
                    _classes!.Raise(named.Score, TableBlock.TypeOf(level), survive);
                }

                int at = block.FindFloor(key);
                if (at < 0)
                {
                    return;
                }

                if (level == 0)
                {
                    if (block[at].Key.Span.SequenceEqual(key))
                    {
                        await EntryAsync(Entry.Decode(block[at].Value), null, survive, cancel).ConfigureAwait(false);
                    }

                    return;
                }

                named = block.Child(at);
                level--;
                block = await TableBlock.ReadAsync(blocks, named, level, default, cancel).ConfigureAwait(false);
            }
        }

        private void Raise(Way? way, int survive)
        {
            for (Way? at = way; at is not null && at.Survive < survive; at = at.Above)
            {
                at.Survive = _classes!.Raise(at.Score, at.Type, survive);
            }
        }

        private async ValueTask ContentAsync(FileContent content, int survive, FreedNode? freed, CancellationToken cancel)
        {
            if (content.Kind == ContentKind.Extents)
            {
                MarkData(ExtentsBlock.Parse(content.Run, 0), survive, freed);
            }
            else if (content.Kind == ContentKind.Tree)
            {
                _extents.Push((content.Top, content.Depth - 1));
            }

            while (_extents.TryPop(out (ExtentsBlockRef Block, int Level) next))
            {
                if (!Mark(next.Block.Score, BlockType.Extents, survive, freed))
                {
                    continue;
                }

                ExtentsBlock block = await ExtentsBlock.ReadAsync(blocks, next.Block, next.Level, cancel).ConfigureAwait(false);
                MarkData(block, survive, freed);
                foreach (ExtentsBlockRef child in block.Children)
                {
                    _extents.Push((child, next.Level - 1));
                }
            }
        }

        private void MarkData(ExtentsBlock block, int survive, FreedNode? freed)
        {
            foreach (Extent extent in block.Extents)
            {
                if (!extent.IsHole)
                {
                    Mark(extent.Score, BlockType.Data, survive, freed);
                }
            }
        }
    }
}
