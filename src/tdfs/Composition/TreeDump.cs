using System.Globalization;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Output;
using static TokTok.Storage.Tdfs.Output.DebugField;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>`tdfs debug trees`: the nodes of volumes and snapshots, each taken apart and checked; or one block, with all that it names.</summary>
/// <remarks>
/// Format: docs/format.md 12 to 14. What is named: nothing (every current head), a volume, a snapshot, or the first digits of a score.
/// A block that several trees share is printed where it is met first, so the page is as long as the store's trees and no longer. Content of files is not read: its blocks
/// are looked up. A node that does not decode is damage of its own; the walk goes on beside it.
/// Memory: one bit a block (<see cref="LiveMap"/>), and what is still to be visited, at most the items of one block a level.
/// </remarks>
internal sealed class TreeDump(BlockStore store, DebugPage page, bool withNames)
{
    private const int LeastScoreDigits = 8;
    private readonly Dictionary<DomainId, LiveMap> _maps = [];
    private readonly Stack<Step> _steps = new();

    /// <summary>What the values of a table are.</summary>
    private enum Content
    {
        Directory,
        Links,
        Snapshots,
    }

    /// <summary>A table or a block of one that is still to be visited.</summary>
    /// <param name="Table">The table as its parent holds it; null: the block at this level of one.</param>
    /// <param name="Upper">The first key that belongs to the next block; empty on the right edge.</param>
    /// <param name="Path">Of the directory, where names are wanted.</param>
    private readonly record struct Step(TableRoot? Table, TableBlockRef Block, int Level, ReadOnlyMemory<byte> Upper, Content Content, TableRoot Links, ulong FileId, ReadOnlyMemory<byte> Path);

    internal async ValueTask WriteAsync(string? name, CancellationToken cancel)
    {
        if (name is null)
        {
            foreach (Head head in store.Heads)
            {
                await PutHeadAsync(head, cancel).ConfigureAwait(false);
            }

            foreach (string volume in store.UnreadableVolumes)
            {
                page.Note($"volume {volume} cannot be read: its keys were burned or never came back");
            }

            return;
        }

        List<Head> heads = [.. store.Heads.Where(head => head.VolumeName == name)];
        foreach (Head head in heads)
        {
            await PutHeadAsync(head, cancel).ConfigureAwait(false);
        }

        if (heads.Count == 0 && !await TryPutBlocksAsync(name, cancel).ConfigureAwait(false))
        {
            await PutSnapshotAsync(name, cancel).ConfigureAwait(false);
        }
    }

    private async ValueTask PutHeadAsync(Head head, CancellationToken cancel)
    {
        LiveMap map = MapOf(head.Domain);
        IBlockStore blocks = store.OpenBlocks(head.Domain, 0);
        try
        {
            map.Mark(head.Root, BlockType.VolumeRoot);
            VolumeRoot root = await Volume.ReadRootAsync(blocks, head, cancel).ConfigureAwait(false);
            PutRoot(0, head.Root, root);
            Push(root.Snapshots, Content.Snapshots, TableRoot.Empty); // what is pushed last comes first
            Push(root.Links, Content.Links, root.Links);
            await PutEntryAsync(root.Active, "active tree", root.Links, blocks, map, default, 1, cancel).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            page.Damaged($"root of volume {head.VolumeName}: {damage.Message}");
        }

        await WalkAsync(blocks, map, cancel).ConfigureAwait(false);
    }

    private async ValueTask PutSnapshotAsync(string name, CancellationToken cancel)
    {
        (Volume volume, SnapshotRecord snapshot) = await FindAsync(name, cancel).ConfigureAwait(false);
        using (volume)
        {
            IBlockStore blocks = volume.Blocks;
            LiveMap map = MapOf(volume.Domain);
            page.Row("volume", Bare("name", volume.Name), Bare("id", volume.Root.Id));
            await PutRecordAsync(snapshot, blocks, map, cancel).ConfigureAwait(false);
            await WalkAsync(blocks, map, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>VOLUME@NAME or NAME, as everywhere.</summary>
    private async ValueTask<(Volume Volume, SnapshotRecord Snapshot)> FindAsync(string name, CancellationToken cancel)
    {
        string? prefix = Volume.Names(store).Where(volume => name.StartsWith(volume + "@", StringComparison.Ordinal)).MaxBy(static volume => volume.Length);
        List<StoreVolumes.Located> all = [];
        string? damaged = null;
        try
        {
            foreach (string each in Volume.Names(store).Where(volume => prefix is null || volume == prefix))
            {
                try
                {
                    Volume volume = (await Volume.TryOpenAsync(store, each, cancel).ConfigureAwait(false))!;
                    all.AddRange((await volume.ListSnapshotsAsync(cancel).ConfigureAwait(false)).Select(record => new StoreVolumes.Located(volume, record)));
                }
                catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
                {
                    damaged ??= $"volume {each}: {damage.Message}";
                }
            }

            StoreVolumes.Located found = StoreVolumes.Pick(all, prefix is null ? name : name[(prefix.Length + 1)..], name, TimeZoneInfo.Local);
            all.RemoveAll(each => ReferenceEquals(each.Volume, found.Volume));
            return (found.Volume, found.Record);
        }
        catch (UserError unknown) when (damaged is not null)
        {
            throw new UserError(ExitCode.Damaged, $"{unknown.Message}; not looked through: {damaged}", unknown);
        }
        catch (UserError unknown)
        {
            throw new UserError(unknown.Code, $"found no volume '{name}' and no block whose score begins so (in at least {LeastScoreDigits} digits); as a snapshot, {unknown.Message}", unknown);
        }
        finally
        {
            foreach (StoreVolumes.Located left in all)
            {
                left.Volume.Dispose();
            }
        }
    }

    /// <summary>The blocks whose score begins so. False: it is no score, or nothing has it.</summary>
    private async ValueTask<bool> TryPutBlocksAsync(string digits, CancellationToken cancel)
    {
        if (digits.Length < LeastScoreDigits || !digits.All(char.IsAsciiHexDigit))
        {
            return false;
        }

        bool IsMeant(Score score) => score.Bytes.ToString().StartsWith(digits, StringComparison.OrdinalIgnoreCase);
        bool isFound = false;
        foreach (PendingClump clump in store.Pending.Where(clump => IsMeant(clump.Score)))
        {
            isFound = true;
            page.Row("block", Bare("score", clump.Score.Bytes), Bare("type", clump.Type), ("in the journal", true), ("length", clump.Length), ("plain", clump.PlainBytes), ("domain", clump.Buffer.Key.Domain));
            await PutBlockAsync(clump.Score, clump.Type, store.OpenBlocks(clump.Buffer.Key.Domain, 0), cancel).ConfigureAwait(false);
        }

        var shown = new HashSet<(DomainId, Score)>();
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(arena => arena.State != ArenaState.Trashed && store.HasKeysOf(arena)))
        {
            cancel.ThrowIfCancellationRequested();
            ArenaDirectory directory;
            try
            {
                directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Damaged($"arena {arena.Ordinal} was not looked through: {damage.Message}");
                continue;
            }

            for (int i = 0; i < directory.Count; i++)
            {
                ClumpEntry entry = directory[i];
                if (IsMeant(entry.Score))
                {
                    isFound = true;
                    page.Row("block", Bare("score", entry.Score.Bytes), Bare("type", entry.Type), ("arena", arena.Ordinal), ("at", entry.Offset), ("length", entry.Length), ("plain", entry.PlainBytes), ("domain", arena.Domain));
                    if (shown.Add((arena.Domain, entry.Score)))
                    {
                        await PutBlockAsync(entry.Score, entry.Type, store.OpenBlocks(arena.Domain, 0), cancel).ConfigureAwait(false);
                    }
                }
            }
        }

        return isFound || !page.IsWhole;
    }

    /// <summary>One block with everything that it names, and nothing below.</summary>
    private async ValueTask PutBlockAsync(Score score, BlockType type, IBlockStore blocks, CancellationToken cancel)
    {
        try
        {
            byte[] bytes = await BlockReading.ReadWholeAsync(blocks, score, type, cancel).ConfigureAwait(false);
            int level = bytes.Length > 1 ? bytes[1] : 0; // behind the version, which each reader checks
            switch (type)
            {
                case BlockType.VolumeRoot:
                    PutRoot(1, score, VolumeRoot.Decode(bytes));
                    break;
                case BlockType.TableLeaf or BlockType.TableNode:
                    var table = TableBlock.Parse(bytes, level);
                    if (TableBlock.TypeOf(level) != type)
                    {
                        page.Damaged($"{type} block {score}: found level {level}, expected {(type == BlockType.TableLeaf ? "0" : "one above 0")}");
                    }

                    PutTableBlock(1, score, bytes.Length, table);
                    for (int i = 0; i < table.Count; i++)
                    {
                        PutItem(table, i, score);
                    }

                    break;
                case BlockType.Extents:
                    var extents = ExtentsBlock.Parse(bytes, level);
                    PutExtents(1, score, bytes.Length, extents);
                    PutExtentItems(2, extents);
                    break;
                default:
                    page.Note(1, $"content of files: {bytes.Length} bytes that are what the score says");
                    break;
            }
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            page.Damaged($"{type} block {score}: {damage.Message}");
        }
    }

    /// <summary>An item of a block whose table is not known: a snapshot's key has 16 bytes, and its value is no entry.</summary>
    private void PutItem(TableBlock block, int index, Score score)
    {
        TableItem item = block[index];
        try
        {
            if (block.Level > 0)
            {
                TableBlockRef child = block.Child(index);
                page.Row(2, "child", Bare("score", child.Score), ("level", block.Level - 1), ("bytes", child.BlockBytes), ("entries below", child.Count), ("key bytes", item.Key.Length), ("first key", withNames ? item.Key : default));
                return;
            }

            if (item.Key.Length == SnapshotRecord.KeySize && TryDecode(item) is { } snapshot)
            {
                StoreDump.PutSnapshot(page, 2, snapshot);
                return;
            }

            Entry entry = Entry.Decode(item.Value);
            PutEntry(2, "entry", entry, withNames ? item.Key : default);
            if (entry.Type == EntryType.File && entry.Content.Kind == ContentKind.Extents)
            {
                PutExtentItems(3, ExtentsBlock.Parse(entry.Content.Run, 0));
            }
        }
        catch (DamagedFormatException damage)
        {
            page.Damaged($"block {score}, item {index}: {damage.Message}");
        }
    }

    private static SnapshotRecord? TryDecode(TableItem item)
    {
        try
        {
            return SnapshotRecord.Decode(item);
        }
        catch (DamagedFormatException)
        {
            return null; // a name of 16 bytes
        }
    }

    private async ValueTask WalkAsync(IBlockStore blocks, LiveMap map, CancellationToken cancel)
    {
        while (_steps.TryPop(out Step step))
        {
            cancel.ThrowIfCancellationRequested();
            Score? score = null;
            try
            {
                TableBlock block;
                if (step.Table is { } table)
                {
                    page.Row("table", ("of", step.Content.ToString().ToLowerInvariant()), ("file", step.Content == Content.Directory ? Hex(step.FileId) : null), ("path", step.Path), ("depth of blocks", table.Depth), ("entries", table.Count));
                    if (table.Depth > 0)
                    {
                        _steps.Push(step with { Table = null, Block = table.Top, Level = table.Depth - 1 });
                        continue;
                    }

                    block = TableBlock.Parse(table.Inline, 0);
                    PutTableBlock(1, null, table.Inline.Length, block);
                }
                else
                {
                    score = step.Block.Score;
                    if (!IsNew(map, step.Block.Score, TableBlock.TypeOf(step.Level), 1))
                    {
                        continue;
                    }

                    block = await TableBlock.ReadAsync(blocks, step.Block, step.Level, step.Upper, cancel).ConfigureAwait(false);
                    PutTableBlock(1, score, step.Block.BlockBytes, block);
                }

                await GoThroughAsync(step, block, blocks, map, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Damaged($"{Where(step, score)}: {damage.Message}");
            }
        }
    }

    /// <summary>The items of a block, in order; what lies below them is visited after, in order too.</summary>
    private async ValueTask GoThroughAsync(Step step, TableBlock block, IBlockStore blocks, LiveMap map, CancellationToken cancel)
    {
        int below = _steps.Count;
        for (int i = 0; i < block.Count; i++)
        {
            if (block.Level > 0)
            {
                _steps.Push(step with { Table = null, Block = block.Child(i), Level = block.Level - 1, Upper = i + 1 < block.Count ? block[i + 1].Key : step.Upper });
                continue;
            }

            TableItem item = block[i];
            try
            {
                switch (step.Content)
                {
                    case Content.Snapshots:
                        await PutRecordAsync(SnapshotRecord.Decode(item), blocks, map, cancel).ConfigureAwait(false);
                        break;
                    case Content.Links:
                        Entry record = Entry.Decode(item.Value);
                        if (record.IsLink || !item.Key.Span.SequenceEqual(LinkTable.Key(record.FileId)))
                        {
                            page.Damaged($"{Where(step, null)}, key {Convert.ToHexStringLower(item.Key.Span)}: found {(record.IsLink ? "a link to" : "the record of")} file {Hex(record.FileId)}, expected the record of the key's file");
                        }

                        await PutEntryAsync(record, "record", step.Links, blocks, map, default, 2, cancel).ConfigureAwait(false);
                        break;
                    default:
                        TreeReader.CheckName(item.Key);
                        Entry entry = Entry.Decode(item.Value);
                        ReadOnlyMemory<byte> path = withNames ? TreeReader.Join(step.Path, item.Key) : default;
                        await PutEntryAsync(entry, "entry", step.Links, blocks, map, path, 2, cancel).ConfigureAwait(false);
                        break;
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Damaged($"{Where(step, step.Table is null ? step.Block.Score : null)}, item {i}{(withNames && step.Content == Content.Directory ? $" ({TerminalText.Escape(item.Key.Span)})" : "")}: {damage.Message}");
            }
        }

        Step[] met = new Step[_steps.Count - below];
        for (int i = 0; i < met.Length; i++)
        {
            met[i] = _steps.Pop();
        }

        foreach (Step next in met)
        {
            _steps.Push(next);
        }
    }

    private async ValueTask PutRecordAsync(SnapshotRecord snapshot, IBlockStore blocks, LiveMap map, CancellationToken cancel)
    {
        StoreDump.PutSnapshot(page, 0, snapshot);
        await PutEntryAsync(snapshot.Root, "root", snapshot.Links, blocks, map, default, 1, cancel).ConfigureAwait(false);
        Push(snapshot.Links, Content.Links, snapshot.Links);
    }

    /// <summary>An entry, its attributes and its content; a directory's table is left to the walk.</summary>
    private async ValueTask PutEntryAsync(Entry? entry, string kind, TableRoot links, IBlockStore blocks, LiveMap map, ReadOnlyMemory<byte> path, int depth, CancellationToken cancel)
    {
        if (entry is null)
        {
            return;
        }

        PutEntry(depth, kind, entry, path);
        if (entry.IsLink)
        {
            _ = await LinkTable.ResolveAsync(new SortedTable(blocks), links, entry, cancel).ConfigureAwait(false);
            return;
        }

        if (entry.Type == EntryType.Directory && !entry.Children.IsEmpty)
        {
            _steps.Push(new Step(entry.Children, default, 0, default, Content.Directory, links, entry.FileId, path));
        }

        if (entry.Type == EntryType.File)
        {
            await PutContentAsync(entry.Content, blocks, map, depth + 1, cancel).ConfigureAwait(false);
        }

        await PutAttributesAsync(entry.Attributes, blocks, map, depth + 1, cancel).ConfigureAwait(false);
    }

    private async ValueTask PutAttributesAsync(StoredAttributes stored, IBlockStore blocks, LiveMap map, int depth, CancellationToken cancel)
    {
        if (stored.IsNone || (stored.BlockBytes > 0 && !IsNew(map, stored.Score, BlockType.Data, depth)))
        {
            return;
        }

        List<AttributeList.StoredValue> values = await AttributeList.LoadListAsync(blocks, stored, cancel).ConfigureAwait(false);
        page.Row(depth, "attributes", ("block", stored.BlockBytes > 0 ? stored.Score : null), ("bytes", stored.BlockBytes > 0 ? stored.BlockBytes : stored.Inline.Length),
            ("count", values.Count), ("values in blocks", values.Count(static value => value.BlockBytes > 0)));
        foreach (AttributeList.StoredValue value in values.Where(static value => value.BlockBytes > 0))
        {
            _ = IsNew(map, value.Score, BlockType.Data, depth + 1);
        }
    }

    private async ValueTask PutContentAsync(FileContent content, IBlockStore blocks, LiveMap map, int depth, CancellationToken cancel)
    {
        if (content.Kind == ContentKind.Extents)
        {
            Mark(ExtentsBlock.Parse(content.Run, 0), map, depth);
            return;
        }

        if (content.Kind != ContentKind.Tree)
        {
            return;
        }

        var left = new Stack<(ExtentsBlockRef Block, int Level)>();
        left.Push((content.Top, content.Depth - 1));
        while (left.TryPop(out (ExtentsBlockRef Block, int Level) next))
        {
            if (!IsNew(map, next.Block.Score, BlockType.Extents, depth))
            {
                continue;
            }

            try
            {
                ExtentsBlock block = await ExtentsBlock.ReadAsync(blocks, next.Block, next.Level, cancel).ConfigureAwait(false);
                PutExtents(depth, next.Block.Score, next.Block.BlockBytes, block);
                Mark(block, map, depth);
                foreach (ExtentsBlockRef child in block.Children.AsEnumerable().Reverse())
                {
                    left.Push((child, next.Level - 1));
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Damaged($"Extents block {next.Block.Score} at level {next.Level}: {damage.Message}");
            }
        }
    }

    private void Mark(ExtentsBlock block, LiveMap map, int depth)
    {
        foreach (Extent extent in block.Extents.Where(static extent => !extent.IsHole))
        {
            _ = IsNew(map, extent.Score, BlockType.Data, depth);
        }
    }

    /// <summary>Whether the block is met for the first time and is there; tells it once where nothing has it, and of a node that it was met before.</summary>
    private bool IsNew(LiveMap map, Score score, BlockType type, int depth)
    {
        long missing = map.MissingCount;
        if (map.Mark(score, type))
        {
            return true;
        }

        if (map.MissingCount > missing)
        {
            page.Damaged($"{type} block {score}: found no arena that has it, expected one: a tree needs it");
        }
        else if (type != BlockType.Data)
        {
            page.Row(depth, "shared", Bare("score", score), Bare("type", type));
        }

        return false;
    }

    private void Push(TableRoot table, Content content, TableRoot links)
    {
        if (!table.IsEmpty)
        {
            _steps.Push(new Step(table, default, 0, default, content, links, 0, default));
        }
    }

    private LiveMap MapOf(DomainId domain)
    {
        if (!_maps.TryGetValue(domain, out LiveMap? map))
        {
            _maps[domain] = map = new LiveMap(store, domain);
        }

        return map;
    }

    private void PutRoot(int depth, Score score, VolumeRoot root) =>
        page.Row(depth, "volume root", Bare("score", score), ("volume", root.Name), Bare("id", root.Id), ("device", root.Device), ("incarnation", root.Incarnation.ToString("x16", CultureInfo.InvariantCulture)), ("sequence", root.Sequence),
            ("time", Show.IsoTime(root.TimeNs)), ("seen", root.Seen.Count), ("names", root.CaseMode), ("rule", root.DefaultRule), ("intents", root.IntentSequence), ("next snapshot", root.NextSnapshot), ("devices", root.NextFile.Count),
            ("links", root.Links.Count), ("snapshots", root.Snapshots.Count));

    private void PutTableBlock(int depth, Score? score, int bytes, TableBlock block) =>
        page.Row(depth, block.Level == 0 ? "leaf" : "node", Bare("score", score), ("inline", score is null), ("level", block.Level), ("bytes", bytes), ("items", block.Count), ("entries below", block.EntriesBelow));

    private void PutExtents(int depth, Score score, int bytes, ExtentsBlock block) =>
        page.Row(depth, "extents", Bare("score", score), ("level", block.Level), ("bytes", bytes), ("items", block.Level == 0 ? block.Extents.Length : block.Children.Length),
            ("holes", block.Level == 0 ? block.Extents.Count(static extent => extent.IsHole) : null), ("of file bytes", block.Length));

    private void PutExtentItems(int depth, ExtentsBlock block)
    {
        for (int i = 0; i < block.Extents.Length; i++)
        {
            Extent extent = block.Extents[i];
            page.Row(depth, "extent", ("at", block.Starts[i]), ("length", extent.Length), ("hole", extent.IsHole), Bare("score", extent.IsHole ? null : extent.Score), ("skip", extent.IsHole ? null : extent.Skip), ("block bytes", extent.IsHole ? null : extent.BlockBytes));
        }

        for (int i = 0; i < block.Children.Length; i++)
        {
            ExtentsBlockRef child = block.Children[i];
            page.Row(depth, "child", Bare("score", child.Score), ("level", block.Level - 1), ("at", block.Starts[i]), ("length", child.Length), ("bytes", child.BlockBytes));
        }
    }

    private void PutEntry(int depth, string kind, Entry entry, ReadOnlyMemory<byte> path)
    {
        bool isFile = entry.Type == EntryType.File && !entry.IsLink;
        bool isDirectory = entry.Type == EntryType.Directory;
        page.Row(depth, kind, Bare("path", path), Bare("type", entry.Type), ("file", Hex(entry.FileId)), ("link", entry.IsLink),
            ("mode", entry.IsLink ? null : Convert.ToString(entry.Mode, 8).PadLeft(4, '0')), ("names", entry.LinkCount == 1 ? null : entry.LinkCount), ("survive", entry.Survive), ("torn", entry.IsTorn),
            ("size", isFile ? entry.Content.Size : null), ("content", isFile ? entry.Content.Kind.ToString().ToLowerInvariant() : null), ("levels", isFile && entry.Content.Kind == ContentKind.Tree ? entry.Content.Depth : null),
            ("top", isFile && entry.Content.Kind == ContentKind.Tree ? entry.Content.Top.Score : isDirectory && entry.Children.Depth > 0 ? entry.Children.Top.Score : null),
            ("children", isDirectory ? entry.Children.Count : null), ("entries below", isDirectory ? entry.Totals.Entries : null), ("bytes below", isDirectory ? entry.Totals.Bytes : null), ("links below", isDirectory ? entry.Totals.Links : null),
            ("target bytes", entry.Type == EntryType.Symlink && !entry.IsLink ? entry.Target.Length : null));
    }

    private static string Where(Step step, Score? score) =>
        $"{(step.Content == Content.Directory ? $"directory {Hex(step.FileId)}{(step.Path.IsEmpty ? "" : $" ({TerminalText.Escape(step.Path.Span)})")}" : $"table of {step.Content.ToString().ToLowerInvariant()}")}{(score is { } block ? $", block {block} at level {step.Level}" : "")}";

    private static string Hex(ulong fileId) => fileId.ToString("x", CultureInfo.InvariantCulture);
}
