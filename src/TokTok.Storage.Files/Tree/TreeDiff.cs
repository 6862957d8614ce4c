using System.Runtime.CompilerServices;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>What became of a path between two trees.</summary>
public enum ChangeKind
{
    Added,
    Removed,

    /// <summary>Same type, other content: bytes, symlink target or device.</summary>
    Content,

    /// <summary>Mode, owner, time, attributes or the like, and no content.</summary>
    Metadata,

    /// <summary>Another type of file under the same name.</summary>
    Type,
}

/// <summary>One changed path. An entry is null where the path is not.</summary>
public readonly record struct TreeChange(ReadOnlyMemory<byte> Path, ChangeKind Kind, Entry? Old, Entry? New);

/// <summary>Compares two trees of one volume and skips what they share.</summary>
/// <remarks>Two directories with equal table roots are equal and are not read, unless linked files lie below: their records may differ while
/// the names that lead to them do not. Order is that of a walk; a directory added or removed is followed by all below it.
/// Memory: the way down and one leaf a table, as <see cref="TreeReader.WalkAsync"/>.</remarks>
public static class TreeDiff
{
    public static async IAsyncEnumerable<TreeChange> CompareAsync(
        SortedTable table, Entry oldRoot, TableRoot oldLinks, Entry newRoot, TableRoot newLinks, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(oldRoot);
        ArgumentNullException.ThrowIfNull(newRoot);
        ArgumentNullException.ThrowIfNull(oldLinks);
        var oldTree = new TreeReader(table, oldLinks);
        var newTree = new TreeReader(table, newLinks);
        bool sameLinks = oldLinks.Equals(newLinks);
        var path = new Stack<Level>();
        try
        {
            if (!IsSame(oldRoot, newRoot, sameLinks))
            {
                path.Push(new Level(default, oldTree.ListAsync(oldRoot, default, cancel), newTree.ListAsync(newRoot, default, cancel), cancel));
            }

            while (path.TryPeek(out Level? level))
            {
                (TreeItem? Old, TreeItem? New)? pair = await level.NextAsync().ConfigureAwait(false);
                if (pair is null)
                {
                    path.Pop();
                    await level.DisposeAsync().ConfigureAwait(false);
                    continue;
                }

                (TreeItem? before, TreeItem? after) = pair.Value;
                Entry? was = before?.Entry;
                Entry? now = after?.Entry;
                ReadOnlyMemory<byte> name = TreeReader.Join(level.Path, before?.Path ?? after!.Value.Path);
                if (KindOf(was, now) is ChangeKind kind)
                {
                    yield return new TreeChange(name, kind, was, now);
                }

                Entry? oldDirectory = was?.Type == EntryType.Directory ? was : null;
                Entry? newDirectory = now?.Type == EntryType.Directory ? now : null;
                bool descends = (oldDirectory ?? newDirectory) is not null
                    && (oldDirectory is null || newDirectory is null || !IsSame(oldDirectory, newDirectory, sameLinks));
                if (descends)
                {
                    if (path.Count >= EntryLimits.MaxDirectoryDepth)
                    {
                        throw new DamagedFormatException($"tree: expected at most {EntryLimits.MaxDirectoryDepth} directories inside one another, found more");
                    }

                    path.Push(new Level(
                        name,
                        oldDirectory is null ? null : oldTree.ListAsync(oldDirectory, default, cancel),
                        newDirectory is null ? null : newTree.ListAsync(newDirectory, default, cancel),
                        cancel));
                }
            }
        }
        finally
        {
            while (path.TryPop(out Level? left))
            {
                await left.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <summary>How two entries of one name differ, or null. Of directories only what they say of themselves is compared, not what is in them.</summary>
    public static ChangeKind? KindOf(Entry? old, Entry? now)
    {
        if (old is null || now is null)
        {
            return old is null && now is null ? null : old is null ? ChangeKind.Added : ChangeKind.Removed;
        }

        if (old.Type != now.Type)
        {
            return ChangeKind.Type;
        }

        if (old.Type != EntryType.Directory && !Body(old).AsSpan().SequenceEqual(Body(now)))
        {
            return ChangeKind.Content;
        }

        return Shell(old).AsSpan().SequenceEqual(Shell(now)) ? null : ChangeKind.Metadata;
    }

    private static bool IsSame(Entry old, Entry now, bool sameLinks) =>
        old.Children.Equals(now.Children) && (sameLinks || (old.Totals.Links == 0 && now.Totals.Links == 0));

    private static byte[] Body(Entry entry) => new Entry
    {
        Type = entry.Type,
        FileId = 0,
        Content = entry.Content,
        Target = entry.Target,
        DeviceMajor = entry.DeviceMajor,
        DeviceMinor = entry.DeviceMinor,
    }.Encode();

    private static byte[] Shell(Entry entry) => (entry with { FileId = 0, Content = FileContent.Empty, Children = TableRoot.Empty, Totals = default }).Encode();

    /// <summary>Two directories side by side, merged by name.</summary>
    private sealed class Level(ReadOnlyMemory<byte> path, IAsyncEnumerable<TreeItem>? old, IAsyncEnumerable<TreeItem>? now, CancellationToken cancel)
        : IAsyncDisposable
    {
        private readonly IAsyncEnumerator<TreeItem>? _old = old?.GetAsyncEnumerator(cancel);
        private readonly IAsyncEnumerator<TreeItem>? _new = now?.GetAsyncEnumerator(cancel);
        private bool _wantsOld = true;
        private bool _wantsNew = true;
        private bool _hasOld;
        private bool _hasNew;

        public ReadOnlyMemory<byte> Path => path;

        public async ValueTask<(TreeItem? Old, TreeItem? New)?> NextAsync()
        {
            if (_wantsOld)
            {
                _hasOld = _old is not null && await _old.MoveNextAsync().ConfigureAwait(false);
            }

            if (_wantsNew)
            {
                _hasNew = _new is not null && await _new.MoveNextAsync().ConfigureAwait(false);
            }

            if (!_hasOld && !_hasNew)
            {
                _wantsOld = false;
                _wantsNew = false;
                return null;
            }

            int order = !_hasOld ? 1 : !_hasNew ? -1 : _old!.Current.Path.Span.SequenceCompareTo(_new!.Current.Path.Span);
            _wantsOld = order <= 0;
            _wantsNew = order >= 0;
            return (_wantsOld ? _old!.Current : (TreeItem?)null, _wantsNew ? _new!.Current : (TreeItem?)null);
        }

        public async ValueTask DisposeAsync()
        {
            if (_old is not null)
            {
                await _old.DisposeAsync().ConfigureAwait(false);
            }

            if (_new is not null)
            {
                await _new.DisposeAsync().ConfigureAwait(false);
            }
        }
    }
}

/// <summary>What one path was in each snapshot where it changed.</summary>
/// <param name="Entry">Null where the path was gone.</param>
/// <param name="Kind">Against the snapshot before.</param>
public readonly record struct PathVersion(SnapshotRecord Snapshot, Entry? Entry, ChangeKind Kind);

/// <summary>The history of one path.</summary>
public static class PathLog
{
    /// <summary>The snapshots, oldest first, in which the path differs from the one before. A directory differs too when what is in it does.</summary>
    public static async IAsyncEnumerable<PathVersion> ReadAsync(
        Volume volume, ReadOnlyMemory<byte> path, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(volume);
        Entry? last = null;
        await foreach (SnapshotRecord snapshot in volume.SnapshotsAsync(cancel).ConfigureAwait(false))
        {
            TreeItem? item = await TreeReader.Of(volume, snapshot).ResolveAsync(snapshot.Root, path, cancel).ConfigureAwait(false);
            Entry? now = item?.Entry;
            ChangeKind? kind = TreeDiff.KindOf(last, now);
            if (kind is null && last is { Type: EntryType.Directory } && !last.Children.Equals(now!.Children))
            {
                kind = ChangeKind.Content;
            }

            last = now;
            if (kind is ChangeKind changed)
            {
                yield return new PathVersion(snapshot, now, changed);
            }
        }
    }
}
