using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

internal enum SlotKind : byte
{
    /// <summary>A name that is not a directory.</summary>
    Entry,
    Enter,
    Leave,

    /// <summary>A record of the old stat cache that goes over into the new one and nowhere else.</summary>
    CacheOnly,
}

/// <summary>One step of the walk, in its order: made by the walker, filled in by a worker if a file must be read, put into the tables by the assembler.</summary>
internal sealed class ImportSlot(SlotKind kind, WalkFrame frame)
{
    internal SlotKind Kind { get; } = kind;

    /// <summary>The directory that holds the name; for Enter and Leave the directory itself.</summary>
    internal WalkFrame Frame { get; } = frame;

    internal byte[] Name { get; init; } = [];

    internal FileStat Stat;

    internal ulong FileId { get; set; }

    /// <summary>Held for the worker, who lets go of it.</summary>
    internal DirectoryHandle? Handle { get; set; }

    /// <summary>The stat cache's entry of the same name, or empty.</summary>
    internal byte[] OldEntry { get; set; } = [];

    internal byte[] OldLink { get; set; } = [];

    /// <summary>What the file held when it was stored before, where it has one name and is read again.</summary>
    internal FileContent? Before { get; set; }

    /// <summary>Taken over unchanged into a directory that asks for more than the store has everywhere: whether its blocks are that strong is to be seen.</summary>
    internal bool IsToBeChecked { get; set; }

    /// <summary>Has several names, and this is the first one met.</summary>
    internal bool IsFirstLink { get; set; }

    /// <summary>Another name of a file met before.</summary>
    internal bool IsLaterLink { get; set; }

    /// <summary>For Leave: the directory's own metadata is what the cache says. For CacheOnly: the record's flag.</summary>
    internal bool IsTrusted { get; set; }

    /// <summary>For Leave: names are gone, or were not known, so the old table does not serve.</summary>
    internal bool HasOtherNames { get; set; }

    /// <summary>For Leave: the import was stopped within the directory.</summary>
    internal bool IsCutOff { get; set; }

    /// <summary>For Leave.</summary>
    internal IReadOnlyList<Xattr> Attributes { get; set; } = [];

    /// <summary>For CacheOnly.</summary>
    internal StatRecordKind RecordKind { get; init; }

    // Results.

    /// <summary>The entry for the directory's table, or null: the name is left out.</summary>
    internal byte[]? Entry { get; set; }

    internal Entry? LinkRecord { get; set; }

    internal byte[] LinkBytes { get; set; } = [];

    internal long SizeBytes { get; set; }

    /// <summary>Of the size, what is hole.</summary>
    internal long HoleBytes { get; set; }

    /// <summary>The stat cache knew it as it is, and it stays so.</summary>
    internal bool IsUnchanged { get; set; }

    /// <summary>The import was stopped before its turn came.</summary>
    internal bool IsSkipped { get; set; }
}
