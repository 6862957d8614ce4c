namespace TokTok.Storage.Files;

/// <summary>A file of the active tree in memory: of whatever type, as it stands now.</summary>
/// <remarks>
/// It is in the tree's table for as long as it is remembered, open, changed since the last commit, or the parent of one that is; else it is read from the committed tree again.
/// Locks: the tree's gate of names guards the first group of members, the inode's own gate the second (taken after it); types and ids never change.
/// </remarks>
internal sealed class Inode
{
    /// <summary>Subdirectories beyond this are not counted (ext4 has the same bound): the link count is 1.</summary>
    internal const uint MaxSubdirectories = 65_000;

    internal Inode(EntryType type, ulong id)
    {
        Type = type;
        Id = id;
    }

    /// <param name="entry">Nothing else has its memory.</param>
    internal Inode(Entry entry)
        : this(entry.Type, entry.FileId)
    {
        Mode = entry.Mode;
        OwnerId = entry.OwnerId;
        GroupId = entry.GroupId;
        OwnerName = entry.OwnerName;
        GroupName = entry.GroupName;
        Modified = Accessed = Changed = entry.Modified;
        LinkCount = entry.Type == EntryType.Directory ? 1 : Math.Max(1, entry.LinkCount);
        Attributes = entry.Attributes;
        IsTorn = entry.IsTorn;
        Content = entry.Content;
        Rule = entry.Content.Rule;
        Target = entry.Target;
        DeviceMajor = entry.DeviceMajor;
        DeviceMinor = entry.DeviceMinor;
        Children = entry.Children;
        Totals = entry.Totals;
        Survive = entry.Survive;
        NameCount = (long)entry.Children.Count;
        Size = entry.Content.Size;
    }

    internal EntryType Type { get; }

    internal ulong Id { get; }

    internal bool IsDirectory => Type == EntryType.Directory;

    // Guarded by the tree's gate of names.

    /// <summary>The directory that has its only name; null for the root, a file of several names, and one without any.</summary>
    internal Inode? Parent { get; set; }

    internal byte[] Name { get; set; } = [];

    /// <summary>Its record lies in the link table, as it once had several names.</summary>
    internal bool IsLinked { get; set; }

    /// <summary>Names; 0 for a file or directory that lost its last one. Of a directory 1.</summary>
    internal uint LinkCount { get; set; } = 1;

    /// <summary>How often the front ends were given the id and have not forgotten it.</summary>
    internal ulong Lookups { get; set; }

    /// <summary>Open handles.</summary>
    internal int Opens { get; set; }

    /// <summary>Inodes in the table whose parent this is.</summary>
    internal int Pins { get; set; }

    /// <summary>O_TMPFILE: it never had a name, and may get one.</summary>
    internal bool IsTemporary { get; set; }

    /// <summary>A directory's committed names.</summary>
    internal TableRoot Children { get; set; } = TableRoot.Empty;

    /// <summary>As committed.</summary>
    internal DirectoryTotals Totals { get; set; }

    internal NameChanges? Names { get; set; }

    /// <summary>Names that the directory has now.</summary>
    internal long NameCount { get; set; }

    /// <summary>Directories among them; null where nobody has asked yet.</summary>
    internal uint? Subdirectories { get; set; }

    /// <summary>Counts changes of names, so that a listing knows whether all is as it began.</summary>
    internal long NamesVersion { get; set; }

    // Guarded by the inode's own gate.

    internal Lock Gate { get; } = new();

    internal uint Mode { get; set; }

    internal uint OwnerId { get; set; }

    internal uint GroupId { get; set; }

    /// <summary>Null: the name that the number has on this machine, to be found when it is written.</summary>
    internal string? OwnerName { get; set; }

    internal string? GroupName { get; set; }

    internal FileTime Accessed { get; set; }

    internal FileTime Modified { get; set; }

    internal FileTime Changed { get; set; }

    internal long Size { get; set; }

    internal bool IsTorn { get; set; }

    /// <summary>As committed.</summary>
    internal FileContent Content { get; set; } = FileContent.Empty;

    internal CuttingRule Rule { get; set; }

    internal FileOverlay? Data { get; set; }

    /// <summary>One thread makes blocks of its memory.</summary>
    internal bool IsSpilling { get; set; }

    /// <summary>As committed.</summary>
    internal StoredAttributes Attributes { get; set; } = StoredAttributes.None;

    /// <summary>The extended attributes as they are now, ascending by name; null: as committed, and not read.</summary>
    internal List<Xattr>? Xattrs { get; set; }

    /// <summary>Whether <see cref="Xattrs"/> differ from what was committed.</summary>
    internal ulong XattrsStamp { get; set; }

    internal int? Survive { get; set; }

    internal ReadOnlyMemory<byte> Target { get; set; }

    internal uint DeviceMajor { get; set; }

    internal uint DeviceMinor { get; set; }

    // Guarded by the tree's gate of the changed.

    internal bool IsDirty { get; set; }

    /// <summary>The last operation that changed it.</summary>
    internal ulong Stamp { get; set; }

    /// <summary>What stat says. The inode's gate is held, or nobody else has the inode yet.</summary>
    internal InodeAttributes DescribeLocked(uint linkCount) => new()
    {
        FileId = Id,
        Type = Type,
        Mode = Mode,
        LinkCount = linkCount,
        OwnerId = OwnerId,
        GroupId = GroupId,
        Size = Type == EntryType.Symlink ? Target.Length : Size,
        Accessed = Accessed,
        Modified = Modified,
        Changed = Changed,
        DeviceMajor = DeviceMajor,
        DeviceMinor = DeviceMinor,
        BlockCount = (AllocatedLocked() + InodeAttributes.BlockBytes - 1) / InodeAttributes.BlockBytes,
    };

    /// <summary>Bytes without holes, as far as these are known without reading.</summary>
    private long AllocatedLocked()
    {
        const int CountedPieces = 256;
        if (Type != EntryType.File)
        {
            return 0;
        }

        if (Data is not { } overlay)
        {
            return Size - (Content.HoleBytes ?? 0);
        }

        if (overlay.PieceCount > CountedPieces)
        {
            return Size;
        }

        long covered = 0;
        long holes = 0;
        for (int at = 0; at < overlay.PieceCount; at++)
        {
            FilePiece piece = overlay.Pieces[at];
            covered += piece.Offset >= overlay.BaseVisible ? piece.Length : 0;
            holes += piece.IsHole ? piece.Length : 0;
        }

        long behind = Math.Max(0, Size - overlay.BaseVisible);
        return Math.Max(0, Size - holes - Math.Max(0, behind - covered));
    }
}
