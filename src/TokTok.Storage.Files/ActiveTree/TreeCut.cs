using System.Diagnostics;

namespace TokTok.Storage.Files;

/// <summary>An inode as it stood at the cut of a commit.</summary>
internal sealed class FrozenInode(Inode inode)
{
    internal Inode Inode { get; } = inode;

    /// <summary>All but content, names and changed extended attributes, which are blocks to be written yet.</summary>
    internal required Entry Shell { get; init; }

    /// <summary>Its record lies in the link table, as of the cut.</summary>
    internal bool IsLinked { get; init; }

    internal bool HasOwnerName { get; init; }

    internal bool HasGroupName { get; init; }

    internal FrozenInode? Parent { get; set; }

    /// <summary>Directories above it.</summary>
    internal int Depth { get; set; } = -1;

    /// <summary>How many lost places its blocks are to outlive.</summary>
    internal int Survive { get; set; }

    // Files.

    /// <summary>Null where the content is as committed.</summary>
    internal FilePiece[]? Pieces { get; init; }

    internal long BaseVisible { get; init; }

    internal long Size { get; init; }

    internal CuttingRule Rule { get; init; }

    internal IReadOnlyList<Xattr>? Xattrs { get; init; }

    // Directories.

    /// <summary>Names that are to be written: with what they stand for, or null where they go.</summary>
    internal Dictionary<byte[], FrozenInode?> Names { get; } = new(NameComparer.Instance);

    /// <summary>Those of them that were changed as names, and not only what they stand for.</summary>
    internal byte[][] ChangedNames { get; set; } = [];

    /// <summary>The entry as it is written.</summary>
    internal Entry? Written { get; set; }
}

/// <summary>Everything that changed until one moment between two operations, held fast for a commit. The tree goes on changing meanwhile.</summary>
/// <remarks>Made under the tree's exclusive lock, so that no operation is in it by half. With an inode its directories up to the root are in it.</remarks>
internal sealed class TreeCut(ulong stamp, TableRoot links)
{
    private readonly Dictionary<ulong, FrozenInode> _inodes = [];

    /// <summary>The last operation that is in it.</summary>
    internal ulong Stamp => stamp;

    /// <summary>The link table before.</summary>
    internal TableRoot Links => links;

    internal IReadOnlyCollection<FrozenInode> Inodes => _inodes.Values;

    /// <summary>Written bytes that it holds in memory.</summary>
    internal long MemoryBytes { get; private set; }

    /// <summary>Records of files that lost their last name.</summary>
    internal ulong[] GoneLinks { get; init; } = [];

    internal FrozenInode? Find(ulong fileId) => _inodes.GetValueOrDefault(fileId);

    /// <summary>Takes an inode in, with what leads to it. Expects the tree's gates.</summary>
    internal FrozenInode Take(Inode inode)
    {
        FrozenInode frozen = Freeze(inode);
        FrozenInode at = frozen;
        while (at.Parent is null && !at.IsLinked && at.Inode.Parent is { } parent)
        {
            FrozenInode above = Freeze(parent);
            at.Parent = above;
            _ = above.Names.TryAdd(at.Inode.Name, at);
            at = above;
        }

        return frozen;
    }

    /// <summary>Finds how deep every directory lies and what is asked of its blocks, once all is taken in.</summary>
    internal void Settle(int defaultSurvive, int linkedSurvive)
    {
        var way = new Stack<FrozenInode>();
        foreach (FrozenInode frozen in _inodes.Values)
        {
            for (FrozenInode? at = frozen; at is not null && at.Depth < 0; at = at.Parent)
            {
                way.Push(at);
            }

            while (way.TryPop(out FrozenInode? next))
            {
                next.Depth = next.Parent is null ? 0 : next.Parent.Depth + 1;
                next.Survive = next.Shell.Survive ?? next.Parent?.Survive ?? (next.IsLinked ? linkedSurvive : defaultSurvive);
            }
        }
    }

    /// <summary>Gives the held memory back.</summary>
    internal void Thaw()
    {
        foreach (FrozenInode frozen in _inodes.Values)
        {
            if (frozen.Pieces is { } pieces)
            {
                lock (frozen.Inode.Gate)
                {
                    FileOverlay.Thaw(pieces);
                }
            }
        }
    }

    private FrozenInode Freeze(Inode inode)
    {
        if (_inodes.TryGetValue(inode.Id, out FrozenInode? known))
        {
            return known;
        }

        Debug.Assert(inode.LinkCount > 0, "a file without a name is in no tree");
        FrozenInode frozen;
        lock (inode.Gate)
        {
            frozen = new FrozenInode(inode)
            {
                Shell = new Entry
                {
                    Type = inode.Type,
                    FileId = inode.Id,
                    LinkCount = inode.IsLinked ? inode.LinkCount : 1,
                    Mode = inode.Mode,
                    OwnerId = inode.OwnerId,
                    GroupId = inode.GroupId,
                    OwnerName = inode.OwnerName ?? "",
                    GroupName = inode.GroupName ?? "",
                    Modified = inode.Modified,
                    Attributes = inode.Attributes,
                    IsTorn = inode.IsTorn,
                    Content = inode.Content,
                    Target = inode.Target,
                    DeviceMajor = inode.DeviceMajor,
                    DeviceMinor = inode.DeviceMinor,
                    Children = inode.Children,
                    Totals = inode.Totals,
                    Survive = inode.Survive,
                },
                IsLinked = inode.IsLinked,
                HasOwnerName = inode.OwnerName is not null,
                HasGroupName = inode.GroupName is not null,
                Pieces = inode.Data?.Freeze(),
                BaseVisible = inode.Data?.BaseVisible ?? inode.Content.Size,
                Size = inode.Size,
                Rule = inode.Rule,
                Xattrs = inode.XattrsStamp > 0 ? inode.Xattrs : null,
            };
        }

        _inodes.Add(inode.Id, frozen);
        MemoryBytes += inode.Data?.MemoryBytes ?? 0;
        if (inode.Names is { } names)
        {
            frozen.ChangedNames = [.. names.All.Keys];
            foreach ((byte[] name, NameChange change) in names.All)
            {
                frozen.Names[name] = change.Child is { } child ? Freeze(child) : null;
                if (change.Child is { IsLinked: false } own)
                {
                    _inodes[own.Id].Parent = frozen;
                }
            }
        }

        return frozen;
    }
}
