namespace TokTok.Storage.Files;

/// <summary>How a file is opened.</summary>
[Flags]
public enum OpenOptions
{
    None = 0,
    Read = 1,
    Write = 2,

    /// <summary>Every write goes to the end as it is then, whatever offset it names.</summary>
    Append = 4,

    /// <summary>The file is emptied, in one step with opening it.</summary>
    Truncate = 8,

    /// <summary>With Create: an existing name is EEXIST. With CreateTemporary: the file never gets a name.</summary>
    Exclusive = 16,
}

/// <summary>What a write does beside writing.</summary>
[Flags]
public enum WriteOptions
{
    None = 0,

    /// <summary>The writer has no privilege: set-user-id, set-group-id and file capabilities go.</summary>
    DropPrivileges = 1,

    /// <summary>The front end keeps the file's times, and sets them itself afterwards.</summary>
    KeepTimes = 2,
}

/// <summary>How a rename treats the new name.</summary>
public enum RenameMode
{
    Replace = 0,

    /// <summary>RENAME_NOREPLACE: an existing name is EEXIST.</summary>
    KeepExisting = 1,

    /// <summary>RENAME_EXCHANGE: both names exist and change places.</summary>
    Exchange = 2,
}

/// <summary>The forms of fallocate.</summary>
public enum AllocateMode
{
    /// <summary>What is not there yet reads as zeros; the file grows to the end of the range. Space is not reserved: a write may still meet ENOSPC.</summary>
    Extend = 0,

    /// <summary>The same, and the size stays.</summary>
    KeepSize = 1,

    /// <summary>The range becomes a hole; the size stays.</summary>
    PunchHole = 2,

    /// <summary>The range reads as zeros; the file grows to the end of the range.</summary>
    ZeroRange = 3,

    /// <summary>The same, and the size stays.</summary>
    ZeroRangeKeepSize = 4,
}

/// <summary>What lseek looks for.</summary>
public enum SeekTarget
{
    Data = 3,
    Hole = 4,
}

/// <summary>How an extended attribute is set: whether it must be there or must not.</summary>
[Flags]
public enum XattrMode
{
    Any = 0,

    /// <summary>XATTR_CREATE: one that is there is EEXIST.</summary>
    Create = 1,

    /// <summary>XATTR_REPLACE: one that is not there is ENODATA.</summary>
    Replace = 2,

    /// <summary>With an access control list: who sets it may not have the file keep set-group-id.</summary>
    DropSetGroupId = 4,
}

/// <summary>What statfs says.</summary>
public readonly record struct VolumeStatistics
{
    public long TotalBytes { get; init; }

    public long FreeBytes { get; init; }

    /// <summary>How many more bytes may be written: what is free, without what was accepted already and the reserve.</summary>
    public long AvailableBytes { get; init; }

    /// <summary>Names in the volume, at every depth.</summary>
    public ulong EntryCount { get; init; }

    public const int MaxNameBytes = EntryLimits.MaxNameBytes;
}
