namespace TokTok.Storage.Files;

/// <summary>What stat says of a file.</summary>
/// <remarks>Access and change times are of this process: a volume keeps the modification time alone, and a file that is read back from it begins with all three equal.</remarks>
public readonly record struct InodeAttributes
{
    /// <summary>The bytes that one of <see cref="BlockCount"/> stands for.</summary>
    public const int BlockBytes = 512;

    /// <summary>st_ino: the same in every mount, over renames, commits and restarts.</summary>
    public required ulong FileId { get; init; }

    public required EntryType Type { get; init; }

    /// <summary>The lower twelve bits of st_mode.</summary>
    public required uint Mode { get; init; }

    /// <summary>Names of the file; of a directory 2 and its subdirectories, or 1 where these are too many to count.</summary>
    public required uint LinkCount { get; init; }

    public required uint OwnerId { get; init; }

    public required uint GroupId { get; init; }

    public required long Size { get; init; }

    public FileTime Accessed { get; init; }

    public FileTime Modified { get; init; }

    public FileTime Changed { get; init; }

    public uint DeviceMajor { get; init; }

    public uint DeviceMinor { get; init; }

    /// <summary>st_blocks: fewer than the size takes say that there are holes.</summary>
    public long BlockCount { get; init; }

    /// <summary>st_mode, type bits included.</summary>
    public uint FullMode => Mode | Type switch
    {
        EntryType.File => 0x8000u,
        EntryType.Directory => 0x4000u,
        EntryType.Symlink => 0xA000u,
        EntryType.Fifo => 0x1000u,
        EntryType.CharacterDevice => 0x2000u,
        EntryType.BlockDevice => 0x6000u,
        _ => 0xC000u,
    };
}
