using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>A directory on the walk's way down; kept by its slots for their paths.</summary>
internal sealed class WalkFrame(WalkFrame? parent, byte[] name)
{
    internal WalkFrame? Parent { get; } = parent;

    internal byte[] Name { get; } = name;

    internal FileStat Stat;

    /// <summary>Null while parked, and where the directory cannot be read.</summary>
    internal DirectoryHandle? Handle { get; set; }

    internal DirectoryNames? Names { get; set; }

    /// <summary>The stat cache stands among this directory's records.</summary>
    internal bool HasCache { get; set; }

    internal bool HasOtherNames { get; set; }

    /// <summary>The directory's own wish for its redundancy; at the root of the walk also what is in force above it.</summary>
    internal RedundancyWish? Wish { get; set; }

    /// <summary>How many lost places what lies in the directory is to outlive.</summary>
    internal int Survive { get; set; }

    internal SourceNode? Filter { get; set; }

    internal IEnumerator<KeyValuePair<byte[], SourceNode>>? Filtered { get; set; }

    /// <summary>Only the tag of a cache directory is wanted.</summary>
    internal bool IsCacheDirectory { get; set; }

    /// <summary>Nothing below is wanted: another filesystem, or unreadable.</summary>
    internal bool IsClosed { get; set; }

    /// <summary>The filesystem to stay on; null above the sources.</summary>
    internal ulong? Device { get; set; }

    /// <summary>Where in the path buffer this directory's own path ends, and where the source's begins that patterns are relative to.</summary>
    internal int PathLength { get; set; }

    internal int PatternStart { get; set; }

    /// <summary>The same directory in the snapshot before, for file ids where the stat cache has none.</summary>
    internal IAsyncEnumerator<TableItem>? Previous { get; set; }

    internal bool PreviousIsAt { get; set; }

    internal string Show(ReadOnlySpan<byte> name)
    {
        var parts = new Stack<byte[]>();
        for (WalkFrame? at = this; at is not null; at = at.Parent)
        {
            parts.Push(at.Name);
        }

        var path = new List<byte>();
        foreach (byte[] part in parts)
        {
            path.AddRange(part);
            if (part.Length > 0 && part[^1] != '/')
            {
                path.Add((byte)'/');
            }
        }

        path.AddRange(name);
        return PathText.Show(path.ToArray().AsSpan());
    }
}

/// <summary>Goes through the sources depth first, the names of each directory in byte order, and says of every one what is to be done.</summary>
/// <remarks>
/// One thread. Looks at each name once (statx), compares it with the stat cache as a stream, and hands on what must be read.
/// Memory: the names of the directories on the way down within their budgets, and descriptors for the lowest <see cref="ImportOptions.OpenLevels"/>
/// of them; a directory above is opened again by ".." on the way back, and must then be the one it was.
/// </remarks>
internal sealed class ImportWalker
{
    private static ReadOnlySpan<byte> CacheTagName => "CACHEDIR.TAG"u8;

    private static ReadOnlySpan<byte> CacheTagSignature => "Signature: 8a477f597d28d172789f06886806bc55"u8;

    private readonly ImportOptions _options;
    private readonly ImportRun _run;
    private readonly SourcePaths _sources;
    private readonly StatCacheReader? _cache;
    private readonly List<WalkFrame> _way = [];
    private readonly Dictionary<(ulong Device, ulong Inode), LinkSeen> _links = [];

    /// <summary>File ids carried over from links: a file whose names no longer share an inode keeps it for one of them alone.</summary>
    private readonly HashSet<ulong> _linkIds = [];
    private readonly HashSet<(ulong Device, ulong Inode)> _own = [];
    private readonly XattrReader _xattrs = new();
    private byte[] _path = new byte[512];

    internal ImportWalker(ImportOptions options, ImportRun run, SourcePaths sources, StatCacheReader? cache)
    {
        _options = options;
        _run = run;
        _sources = sources;
        _cache = cache;
        foreach (string folder in options.OwnFolders)
        {
            if (SourcePaths.IdentityOf(folder) is { } identity)
            {
                _ = _own.Add(identity);
            }
        }
    }

    /// <summary>Whether the walk was stopped before its end.</summary>
    internal bool WasStopped => StoppedAt is not null;

    internal WalkPlace? StoppedAt { get; private set; }

    /// <summary>The name that was done last in the lowest directory of the way, or empty.</summary>
    private byte[] _lastName = [];

    internal async Task WalkAsync(ImportQueue queue, Entry? previous, CancellationToken stop, CancellationToken abort)
    {
        try
        {
            await PushRootAsync(queue, previous, abort).ConfigureAwait(false);
            while (_way.Count > 0)
            {
                if (stop.IsCancellationRequested)
                {
                    StoppedAt = Place();
                    await DrainAsync(queue, abort).ConfigureAwait(false);
                    break;
                }

                WalkFrame frame = _way[^1];
                ImportSlot? slot = Step(frame, out WalkFrame? child);
                _lastName = slot?.Name ?? (child is null ? frame.Name : []);
                if (child is not null)
                {
                    await OpenPreviousAsync(frame, child, abort).ConfigureAwait(false);
                    _way.Add(child);
                    Park();
                    await queue.AddAsync(new ImportSlot(SlotKind.Enter, child) { Name = child.Name }, isToBeRead: false, abort).ConfigureAwait(false);
                }
                else if (slot is not null)
                {
                    await SendAsync(slot, queue, abort).ConfigureAwait(false);
                }
                else
                {
                    await LeaveAsync(frame, queue, abort).ConfigureAwait(false);
                }
            }

            await queue.FinishAsync(abort).ConfigureAwait(false);
        }
        finally
        {
            foreach (WalkFrame frame in _way)
            {
                Close(frame);
            }

            queue.Close();
        }
    }

    private WalkPlace Place()
    {
        List<byte[]> names = [.. _way.Skip(1).Select(static frame => frame.Name)];
        bool isInside = _lastName.Length == 0;
        if (!isInside)
        {
            names.Add(_lastName);
        }

        return new WalkPlace(names, isInside);
    }

    private async ValueTask PushRootAsync(ImportQueue queue, Entry? previous, CancellationToken abort)
    {
        int fd = PosixCalls.OpenPath(_sources.Root);
        if (fd < 0)
        {
            throw new PosixException(-fd, "open", PathText.Show(_sources.Root));
        }

        // The way up to the sources is not part of the paths that patterns see.
        var root = new WalkFrame(null, _sources.Root) { Filter = _sources.Filter, Handle = new DirectoryHandle(fd) };
        int error = PosixCalls.Stat(fd, out root.Stat);
        if (error < 0)
        {
            throw new PosixException(-error, "stat", PathText.Show(_sources.Root));
        }

        ReadWish(root);
        root.Device = _sources.Filter is null ? root.Stat.Device : null;
        if (_cache is not null && _cache.Kind == StatRecordKind.Enter)
        {
            _cache.MoveNext();
            root.HasCache = true;
        }

        Begin(root);
        if (previous is not null && _cache is null)
        {
            root.Previous = _run.Tables.ScanAsync(previous.Children, default, abort).GetAsyncEnumerator(abort);
            root.PreviousIsAt = await root.Previous.MoveNextAsync().ConfigureAwait(false);
        }

        _way.Add(root);
        await queue.AddAsync(new ImportSlot(SlotKind.Enter, root), isToBeRead: false, abort).ConfigureAwait(false);
    }

    private void ReadWish(WalkFrame frame)
    {
        frame.Survive = frame.Parent?.Survive ?? _run.Blocks.Survive;
        if (frame.Handle is not { } handle)
        {
            return;
        }

        frame.Wish = DirectoryRedundancy.Read(handle.Fd, out string? illFormed);
        if (illFormed is not null)
        {
            _run.Note($"{frame.Show([])}: found '{illFormed}' in {DirectoryRedundancy.AttributeName}, expected survive=N or k+m; it is passed over");
        }

        frame.Wish ??= frame.Parent is null ? DirectoryRedundancy.Above(handle.Fd) : null;
        if (frame.Wish is { } wish)
        {
            frame.Survive = _run.Blocks.At(wish.Survive).Survive;
            if (frame.Survive < wish.Survive)
            {
                _run.Note($"{frame.Show([])}: {wish} needs {wish.NeededPlaces} places; until there are so many, what lies below survives the loss of {frame.Survive}");
            }
        }
    }

    private void Begin(WalkFrame frame)
    {
        if (frame.Filter is { IsSource: false })
        {
            frame.Filtered = frame.Filter.Children.GetEnumerator();
        }
        else if (frame.Handle is not null)
        {
            frame.Names = new DirectoryNames(frame.Handle.Fd, _way.Count > 16 ? Math.Min(_options.NameBudgetBytes, 1 << 20) : _options.NameBudgetBytes);
        }
    }

    /// <summary>The next thing in a directory: a name's slot, a directory to enter, or neither at its end.</summary>
    private ImportSlot? Step(WalkFrame frame, out WalkFrame? child)
    {
        child = null;
        while (!frame.IsClosed)
        {
            ReadOnlySpan<byte> name;
            PosixType type = PosixType.Unknown;
            SourceNode? filter = null;
            if (frame.Filtered is not null)
            {
                if (!frame.Filtered.MoveNext())
                {
                    return null;
                }

                name = frame.Filtered.Current.Key;
                filter = frame.Filtered.Current.Value;
            }
            else if (!frame.Names!.TryNext(out name, out type, out int error))
            {
                if (error < 0)
                {
                    frame.HasOtherNames = true;
                    _run.Report(ImportTroubleKind.Unreadable, frame, [], -error);
                }

                return null;
            }

            if (frame.IsCacheDirectory && !name.SequenceEqual(CacheTagName))
            {
                continue;
            }

            FileStat stat = default;
            if (type == PosixType.Unknown)
            {
                if (!TryStat(frame, name, out stat))
                {
                    continue;
                }

                type = stat.Type;
            }

            bool isDirectory = type == PosixType.Directory;
            int pathLength = SetPath(frame, name);
            if (frame.Filtered is null && _options.Excludes.IsIgnored(_path.AsSpan(frame.PatternStart, pathLength - frame.PatternStart), isDirectory))
            {
                continue;
            }

            if (isDirectory)
            {
                child = TryEnter(frame, name, pathLength, filter);
                if (child is not null)
                {
                    return null;
                }

                continue;
            }

            if (stat.Mode == 0 && !TryStat(frame, name, out stat))
            {
                continue;
            }

            if (stat.Type == PosixType.Directory || (_options.IsOneFileSystem && frame.Device is ulong device && stat.Device != device))
            {
                // It became a directory since it was listed, or is a file mounted over another.
                frame.HasOtherNames = true;
                continue;
            }

            return NewSlot(frame, name, stat);
        }

        return null;
    }

    private bool TryStat(WalkFrame frame, ReadOnlySpan<byte> name, out FileStat stat)
    {
        int error = PosixCalls.Stat(frame.Handle!.Fd, name, out stat);
        if (error < 0)
        {
            frame.HasOtherNames = true;
            _run.Report(error == -Errno.ENOENT ? ImportTroubleKind.Vanished : ImportTroubleKind.Unreadable, frame, name, -error);
            return false;
        }

        return true;
    }

    private int SetPath(WalkFrame frame, ReadOnlySpan<byte> name)
    {
        int length = frame.PathLength + name.Length;
        if (_path.Length < length + 1)
        {
            Array.Resize(ref _path, (length * 2) + 1);
        }

        name.CopyTo(_path.AsSpan(frame.PathLength));
        return length;
    }

    private WalkFrame? TryEnter(WalkFrame frame, ReadOnlySpan<byte> name, int pathLength, SourceNode? filter)
    {
        var child = new WalkFrame(frame, name.ToArray()) { Filter = filter };
        bool isSource = filter is null or { IsSource: true };
        int fd = PosixCalls.OpenDirectory(frame.Handle!.Fd, name);
        int error = fd < 0 ? fd : PosixCalls.Stat(fd, out child.Stat);
        if (fd >= 0)
        {
            child.Handle = new DirectoryHandle(fd);
        }

        if (isSource && error >= 0 && _own.Contains((child.Stat.Device, child.Stat.Inode)))
        {
            child.Handle!.Release();
            _run.Note($"{frame.Show(name)}: left out, for the store itself lies there");
            return null;
        }

        ReadWish(child);
        if (error < 0)
        {
            child.Handle?.Release();
            child.Handle = null;
            bool isGone = error is -Errno.ENOENT or -Errno.ENOTDIR or -Errno.ELOOP;
            _run.Report(isGone ? ImportTroubleKind.Vanished : ImportTroubleKind.Unreadable, frame, name, -error);
            if (isGone || PosixCalls.Stat(frame.Handle.Fd, name, out child.Stat) < 0)
            {
                frame.HasOtherNames = true;
                return null;
            }

            child.IsClosed = true;
            child.HasOtherNames = true;
        }

        SeekCache(frame, name);
        if (frame.HasCache && IsAt(name))
        {
            if (_cache!.Kind == StatRecordKind.Enter)
            {
                _cache.MoveNext();
                child.HasCache = true;
            }
            else
            {
                frame.HasOtherNames = true;
                _cache.MoveNext();
            }
        }

        _path[pathLength] = (byte)'/';
        child.PathLength = pathLength + 1;
        bool startsSource = filter is { IsSource: true };
        child.PatternStart = startsSource || frame.Filtered is not null ? child.PathLength : frame.PatternStart;
        child.Device = startsSource ? child.Stat.Device : frame.Device;
        if (isSource)
        {
            child.Filter = null;
            child.IsClosed |= _options.IsOneFileSystem && child.Device is ulong device && child.Stat.Device != device;
            child.IsCacheDirectory = _options.LeavesOutCaches && child.Handle is not null && HasCacheTag(child.Handle.Fd);
        }

        Begin(child);
        return child;
    }

    private static bool HasCacheTag(int directory)
    {
        int fd = PosixCalls.OpenFile(directory, CacheTagName, keepAccessTime: true);
        if (fd < 0)
        {
            return false;
        }

        Span<byte> start = stackalloc byte[64];
        start = start[..CacheTagSignature.Length];
        bool isTag = PosixCalls.Read(fd, 0, start) == start.Length && start.SequenceEqual(CacheTagSignature);
        PosixCalls.Close(fd);
        return isTag;
    }

    private ImportSlot? NewSlot(WalkFrame frame, ReadOnlySpan<byte> name, in FileStat stat)
    {
        var slot = new ImportSlot(SlotKind.Entry, frame) { Name = name.ToArray(), Stat = stat };
        bool isUnchanged = false;
        SeekCache(frame, name);
        if (frame.HasCache && IsAt(name))
        {
            if (_cache!.Kind == StatRecordKind.Entry)
            {
                StatRecord record = _cache.Current;
                slot.OldEntry = record.Entry.ToArray();
                slot.OldLink = record.Link.ToArray();
                isUnchanged = record.IsTrusted && !_options.ReadsEverything && record.Stat.IsSameAs(stat);
                _cache.MoveNext();
            }
            else
            {
                frame.HasOtherNames = true;
                _cache.SkipDirectory();
            }
        }

        if (stat.LinkCount > 1)
        {
            if (_links.TryGetValue((stat.Device, stat.Inode), out LinkSeen seen))
            {
                // Every name of the file has been met: it need not be remembered any longer.
                if (seen.Left == 1)
                {
                    _ = _links.Remove((stat.Device, stat.Inode));
                }
                else
                {
                    _links[(stat.Device, stat.Inode)] = seen with { Left = seen.Left - 1 };
                }

                slot.IsLaterLink = true;
                slot.FileId = seen.FileId;
                slot.Entry = Entry.LinkTo(EntryMaker.TypeOf(stat.Type), seen.FileId).Encode();
                slot.IsUnchanged = isUnchanged && slot.Entry.AsSpan().SequenceEqual(slot.OldEntry);
                return slot;
            }

            slot.IsFirstLink = true;
            isUnchanged &= slot.OldLink.Length > 0;
        }

        Entry? oldRecord = isUnchanged && slot.IsFirstLink ? Entry.Decode(slot.OldLink) : null;
        if (isUnchanged && (oldRecord is null || _linkIds.Add(oldRecord.FileId)))
        {
            slot.Entry = slot.OldEntry;
            slot.SizeBytes = stat.Type == PosixType.File ? stat.SizeBytes : 0;
            slot.HoleBytes = stat.Type == PosixType.File && stat.HasHoles ? (oldRecord ?? Entry.Decode(slot.OldEntry)).Content.HoleBytes ?? stat.SizeBytes - (stat.Blocks * 512) : 0;
            slot.IsUnchanged = true;
            if (oldRecord is not null)
            {
                slot.LinkBytes = slot.OldLink;
                slot.LinkRecord = oldRecord;
                slot.FileId = oldRecord.FileId;
                Remember(slot);
            }

            slot.IsToBeChecked = _run.SurviveOf(slot) > _run.Weakest;
        }

        return slot;
    }

    private void Remember(ImportSlot slot)
    {
        if (slot.IsFirstLink)
        {
            _links[(slot.Stat.Device, slot.Stat.Inode)] = new LinkSeen(slot.FileId, slot.Stat.LinkCount - 1);
        }
    }

    private async ValueTask SendAsync(ImportSlot slot, ImportQueue queue, CancellationToken abort)
    {
        bool isToBeRead = slot.Entry is null || slot.IsToBeChecked;
        if (isToBeRead)
        {
            if (slot.Entry is null)
            {
                Entry? old = await FindOldAsync(slot.Frame, slot.Name, slot.OldEntry).ConfigureAwait(false);
                slot.FileId = IdFrom(old, EntryMaker.TypeOf(slot.Stat.Type));
                slot.Before = old is { IsLink: false, Type: EntryType.File } ? old.Content : null;
                Remember(slot);
            }

            slot.Handle = slot.Frame.Handle!.Hold();
        }

        await queue.AddAsync(slot, isToBeRead, abort).ConfigureAwait(false);
    }

    /// <summary>What the path was: by the stat cache, or by the snapshot before.</summary>
    private static async ValueTask<Entry?> FindOldAsync(WalkFrame frame, byte[] name, byte[] oldEntry) =>
        oldEntry.Length > 0 ? Entry.Decode(oldEntry) : await FindPreviousAsync(frame, name).ConfigureAwait(false);

    /// <summary>File ids carry over by path.</summary>
    private ulong IdFrom(Entry? old, EntryType type) => old is not null && old.Type == type && (!old.IsLink || _linkIds.Add(old.FileId)) ? old.FileId : _run.Ids.Next();

    private static async ValueTask<Entry?> FindPreviousAsync(WalkFrame frame, byte[] name)
    {
        while (frame.Previous is not null && frame.PreviousIsAt)
        {
            TableItem item = frame.Previous.Current;
            int order = item.Key.Span.SequenceCompareTo(name);
            if (order > 0)
            {
                return null;
            }

            if (order == 0)
            {
                return Entry.Decode(item.Value);
            }

            frame.PreviousIsAt = await frame.Previous.MoveNextAsync().ConfigureAwait(false);
        }

        return null;
    }

    private async ValueTask OpenPreviousAsync(WalkFrame frame, WalkFrame child, CancellationToken abort)
    {
        if (await FindPreviousAsync(frame, child.Name).ConfigureAwait(false) is { Type: EntryType.Directory } previous)
        {
            child.Previous = _run.Tables.ScanAsync(previous.Children, default, abort).GetAsyncEnumerator(abort);
            child.PreviousIsAt = await child.Previous.MoveNextAsync().ConfigureAwait(false);
        }
    }

    private async ValueTask LeaveAsync(WalkFrame frame, ImportQueue queue, CancellationToken abort)
    {
        while (frame.HasCache && _cache!.Kind is StatRecordKind.Entry or StatRecordKind.Enter)
        {
            frame.HasOtherNames = true;
            if (_cache.Kind == StatRecordKind.Enter)
            {
                _cache.SkipDirectory();
            }
            else
            {
                _cache.MoveNext();
            }
        }

        await queue.AddAsync(await EndAsync(frame).ConfigureAwait(false), isToBeRead: false, abort).ConfigureAwait(false);
    }

    private async ValueTask<ImportSlot> EndAsync(WalkFrame frame)
    {
        ImportSlot slot = NewLeave(frame);
        if (frame.Parent is null)
        {
            slot.FileId = slot.OldEntry.Length > 0 ? Entry.Decode(slot.OldEntry).FileId : _run.PreviousRoot?.FileId ?? _run.Ids.Next();
        }
        else
        {
            slot.FileId = IdFrom(await FindOldAsync(frame.Parent, frame.Name, slot.OldEntry).ConfigureAwait(false), EntryType.Directory);
        }

        if (frame.Previous is not null)
        {
            await frame.Previous.DisposeAsync().ConfigureAwait(false);
        }

        _way.RemoveAt(_way.Count - 1);
        Unpark(frame);
        Close(frame);
        return slot;
    }

    private ImportSlot NewLeave(WalkFrame frame)
    {
        var slot = new ImportSlot(SlotKind.Leave, frame) { Name = frame.Parent is null ? [] : frame.Name, Stat = frame.Stat };
        if (frame.HasCache && _cache!.Kind == StatRecordKind.Leave)
        {
            StatRecord record = _cache.Current;
            slot.OldEntry = record.Entry.ToArray();
            slot.IsTrusted = record.IsTrusted && slot.OldEntry.Length > 0 && record.Stat.IsSameAs(frame.Stat);
            frame.HasOtherNames |= record.IsCutOff;
            _cache.MoveNext();
        }

        slot.HasOtherNames = frame.HasOtherNames || slot.OldEntry.Length == 0;
        if (!slot.IsTrusted && frame.Handle is not null)
        {
            slot.Attributes = _xattrs.Read(frame.Handle.Fd, out int error);
            if (error < 0)
            {
                _run.Report(ImportTroubleKind.Unreadable, frame, [], -error);
            }
        }

        return slot;
    }

    /// <summary>After a stop: what the stat cache still knows goes over into the new one, and the directories on the way down end as they are.</summary>
    private async ValueTask DrainAsync(ImportQueue queue, CancellationToken abort)
    {
        while (_way.Count > 0)
        {
            WalkFrame frame = _way[^1];
            for (long depth = 0; frame.HasCache && _cache!.Kind != StatRecordKind.End && (depth > 0 || _cache.Kind != StatRecordKind.Leave);)
            {
                depth += _cache.Kind switch { StatRecordKind.Enter => 1, StatRecordKind.Leave => -1, _ => 0 };
                await queue.AddAsync(CopyRecord(frame), isToBeRead: false, abort).ConfigureAwait(false);
                _cache.MoveNext();
            }

            ImportSlot slot = await EndAsync(frame).ConfigureAwait(false);
            slot.IsCutOff = true;
            slot.HasOtherNames = true;
            await queue.AddAsync(slot, isToBeRead: false, abort).ConfigureAwait(false);
        }
    }

    private ImportSlot CopyRecord(WalkFrame frame)
    {
        StatRecord record = _cache!.Current;
        return new ImportSlot(SlotKind.CacheOnly, frame)
        {
            Name = record.Name.ToArray(),
            Stat = record.Stat,
            OldEntry = record.Entry.ToArray(),
            OldLink = record.Link.ToArray(),
            RecordKind = record.Kind,
            IsTrusted = record.IsTrusted,
            IsCutOff = record.IsCutOff,
        };
    }

    /// <summary>Moves the stat cache to the name or behind it, within the frame's directory.</summary>
    private void SeekCache(WalkFrame frame, ReadOnlySpan<byte> name)
    {
        while (frame.HasCache)
        {
            if (_cache!.Kind == StatRecordKind.End)
            {
                frame.HasCache = false;
                frame.HasOtherNames = true;
                return;
            }

            if (_cache.Kind == StatRecordKind.Leave || _cache.Current.Name.SequenceCompareTo(name) >= 0)
            {
                return;
            }

            frame.HasOtherNames = true;
            if (_cache.Kind == StatRecordKind.Enter)
            {
                _cache.SkipDirectory();
            }
            else
            {
                _cache.MoveNext();
            }
        }
    }

    private bool IsAt(ReadOnlySpan<byte> name) => _cache!.Kind is StatRecordKind.Entry or StatRecordKind.Enter && _cache.Current.Name.SequenceEqual(name);

    private void Park()
    {
        int index = _way.Count - 1 - _options.OpenLevels;
        if (index >= 0 && _way[index].Handle is { } handle)
        {
            handle.Release();
            _way[index].Handle = null;
        }
    }

    /// <summary>The parent of a directory that is left must be open again.</summary>
    private void Unpark(WalkFrame left)
    {
        WalkFrame? parent = left.Parent;
        if (parent is null || parent.Handle is not null || parent.IsClosed)
        {
            return;
        }

        int fd = left.Handle is null ? -Errno.ENOENT : PosixCalls.OpenParent(left.Handle.Fd);
        if (fd >= 0 && PosixCalls.Stat(fd, out FileStat stat) >= 0 && stat.Inode == parent.Stat.Inode && stat.Device == parent.Stat.Device)
        {
            parent.Handle = new DirectoryHandle(fd);
            parent.Names?.Reopened(fd);
            return;
        }

        if (fd >= 0)
        {
            PosixCalls.Close(fd);
        }

        parent.IsClosed = true;
        parent.HasOtherNames = true;
        _run.Report(ImportTroubleKind.Unreadable, parent, [], fd < 0 ? -fd : Errno.ESTALE);
    }

    private static void Close(WalkFrame frame)
    {
        frame.Names?.Dispose();
        frame.Names = null;
        frame.Filtered?.Dispose();
        frame.Handle?.Release();
        frame.Handle = null;
    }

    private readonly record struct LinkSeen(ulong FileId, uint Left);
}
