namespace TokTok.Storage.Files;

/// <summary>Makes blocks of a cut: files, then directories from the deepest up, then the link table.</summary>
/// <remarks>
/// Tables are written as strong as the volume's root, whatever their directory asks for: they are little, and each leads to something that may be stronger than itself.
/// Writing the same cut again gives the same blocks.
/// </remarks>
internal sealed class TreeWriter(Volume volume, TreeCut cut, TableCache tables, ExtentCache extents, DataCache data, ContentBuilder builder, Posix.PosixNames people, CommitPace pace)
{
    private readonly SortedTable _table = volume.Tables.At(volume.Survive);

    /// <summary>By how many bytes files of several names grew or shrank: every directory above one of these names adds up to something else.</summary>
    private readonly Dictionary<ulong, long> _linkGrowth = [];

    /// <summary>Directories that are not in the cut and were written all the same, for what linked files below them grew by.</summary>
    internal List<Entry> Regrown { get; } = [];

    /// <summary>The topmost directory's entry and the link table.</summary>
    internal async ValueTask<(Entry Root, TableRoot Links)> WriteAsync(CancellationToken cancel)
    {
        await Parallel.ForEachAsync(
            cut.Inodes.Where(static frozen => !frozen.Inode.IsDirectory),
            new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = cancel },
            async (frozen, inner) => frozen.Written = await FileAsync(frozen, inner).ConfigureAwait(false)).ConfigureAwait(false);
        TableRoot links = await LinksAsync(cancel).ConfigureAwait(false);
        Entry? root = null;
        foreach (FrozenInode directory in cut.Inodes.Where(static frozen => frozen.Inode.IsDirectory).OrderByDescending(static frozen => frozen.Depth))
        {
            await pace.StepAsync().ConfigureAwait(false);
            Entry shell = await ShellAsync(directory, cancel).ConfigureAwait(false);
            root = directory.Written = await DirectoryAsync(shell, directory.Names, cancel).ConfigureAwait(false);
        }

        return (root!, links); // the root has depth 0 and was the last
    }

    private async ValueTask<Entry> ShellAsync(FrozenInode frozen, CancellationToken cancel)
    {
        Entry shell = frozen.Shell;
        if (!frozen.HasOwnerName || !frozen.HasGroupName)
        {
            shell = shell with
            {
                OwnerName = frozen.HasOwnerName ? shell.OwnerName : people.UserName(shell.OwnerId),
                GroupName = frozen.HasGroupName ? shell.GroupName : people.GroupName(shell.GroupId),
            };
        }

        return frozen.Xattrs is { } xattrs
            ? shell with { Attributes = await AttributeList.StoreAsync(volume.Blocks.At(frozen.Survive), xattrs, cancel).ConfigureAwait(false) }
            : shell;
    }

    private async ValueTask<Entry> FileAsync(FrozenInode frozen, CancellationToken cancel)
    {
        Entry shell = await ShellAsync(frozen, cancel).ConfigureAwait(false);
        if (frozen.Pieces is not { } pieces)
        {
            return shell;
        }

        var view = new FileView(extents, data, pieces, frozen.Shell.Content, frozen.BaseVisible, frozen.Size);
        return shell with { Content = await builder.BuildAsync(view, frozen.Rule, frozen.Survive, pace, cancel).ConfigureAwait(false) };
    }

    private async ValueTask<TableRoot> LinksAsync(CancellationToken cancel)
    {
        var changes = new SortedDictionary<ulong, TableChange>();
        foreach (ulong gone in cut.GoneLinks)
        {
            byte[] key = LinkTable.Key(gone);
            changes[gone] = TableChange.Delete(key);
        }

        foreach (FrozenInode linked in cut.Inodes.Where(static frozen => frozen.IsLinked))
        {
            byte[] key = LinkTable.Key(linked.Inode.Id);
            if (tables.Find(cut.Links, key) is { } before && Entry.Decode(before).Content.Size is long size && size != linked.Written!.Content.Size)
            {
                _linkGrowth[linked.Inode.Id] = linked.Written.Content.Size - size;
            }

            changes[linked.Inode.Id] = TableChange.Put(key, linked.Written!.Encode());
        }

        return await _table.UpdateAsync(cut.Links, [.. changes.Values], cancel).ConfigureAwait(false); // big-endian keys: ascending numbers are ascending keys
    }

    private async ValueTask<Entry> DirectoryAsync(Entry shell, Dictionary<byte[], FrozenInode?> names, CancellationToken cancel)
    {
        var totals = new Sum(shell.Totals);
        List<TableChange> changes = new(names.Count);
        foreach ((byte[] name, FrozenInode? frozen) in names)
        {
            if (tables.Find(shell.Children, name) is { } before)
            {
                Entry old = Entry.Decode(before);
                totals.Add(old, SizeBefore(old), -1);
            }

            if (frozen is null)
            {
                changes.Add(TableChange.Delete(name));
                continue;
            }

            Entry entry = frozen.IsLinked ? Entry.LinkTo(frozen.Inode.Type, frozen.Inode.Id) : frozen.Written!;
            totals.Add(entry, frozen.Written!.Content.Size, 1);
            changes.Add(TableChange.Put(name, entry.Encode()));
        }

        await AddGrowthAsync(shell, names, totals, changes, cancel).ConfigureAwait(false);
        changes.Sort(static (left, right) => left.Key.Span.SequenceCompareTo(right.Key.Span));
        TableRoot children = await _table.UpdateAsync(shell.Children, changes, cancel).ConfigureAwait(false);
        return shell with { Children = children, Totals = totals.Result };
    }

    /// <summary>Looks for names of linked files that grew or shrank, where there are links at all and nothing else led to them.</summary>
    private async ValueTask AddGrowthAsync(Entry shell, Dictionary<byte[], FrozenInode?> names, Sum totals, List<TableChange> changes, CancellationToken cancel)
    {
        if (_linkGrowth.Count == 0 || shell.Totals.Links == 0)
        {
            return;
        }

        var cursor = new TableCursor(tables, shell.Children);
        cursor.Seek(default);
        while (cursor.MoveNext())
        {
            byte[] name = cursor.Current.Key.ToArray();
            EntryHead head = EntryFormat.ReadHead(cursor.Current.Value);
            if (names.ContainsKey(name))
            {
                continue;
            }

            if (head.IsLink && _linkGrowth.TryGetValue(head.FileId, out long growth))
            {
                totals.AddBytes(growth);
            }
            else if (head.Type == EntryType.Directory && Entry.Decode(cursor.Current.Value.ToArray()) is { Totals.Links: > 0 } below)
            {
                Entry grown = await DirectoryAsync(below, s_none, cancel).ConfigureAwait(false);
                if (grown.Totals != below.Totals)
                {
                    Regrown.Add(grown);
                    totals.Add(below, 0, -1);
                    totals.Add(grown, 0, 1);
                    changes.Add(TableChange.Put(name, grown.Encode()));
                }
            }
        }
    }

    private static readonly Dictionary<byte[], FrozenInode?> s_none = [];

    /// <summary>What an entry added to the totals when its directory was written.</summary>
    private long SizeBefore(Entry old) => !old.IsLink ? old.Content.Size
        : tables.Find(cut.Links, LinkTable.Key(old.FileId)) is { } record ? Entry.Decode(record).Content.Size
        : 0;

    /// <summary>A directory's totals, which names come into and leave.</summary>
    private sealed class Sum(DirectoryTotals start)
    {
        private long _entries = (long)start.Entries;
        private long _bytes = (long)start.Bytes;
        private long _links = (long)start.Links;

        internal DirectoryTotals Result => new((ulong)_entries, (ulong)_bytes, (ulong)_links);

        internal void Add(Entry entry, long size, int sign)
        {
            DirectoryTotals below = entry.Type == EntryType.Directory ? entry.Totals : default;
            _entries += sign * (1 + (long)below.Entries);
            _bytes += sign * (size + (long)below.Bytes);
            _links += sign * ((entry.IsLink ? 1 : 0) + (long)below.Links);
        }

        internal void AddBytes(long bytes) => _bytes += bytes;
    }
}
