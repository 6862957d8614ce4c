namespace TokTok.Storage.Files;

/// <summary>Bounds and habits of an active tree. None of them is part of the format.</summary>
public sealed record ActiveTreeOptions
{
    /// <summary>Memory for what was written and lies in no block yet, names and attributes included. From seven eighths of it on a commit begins; at all of it writers wait for one.</summary>
    /// <remarks>Late: what is written again and again before a commit costs it once.</remarks>
    public long DirtyBytes { get; init; } = 80L << 20;

    /// <summary>A file with so much written memory lets it become blocks before any commit: what bounds a large sequential write.</summary>
    public int SpillBytes { get; init; } = 8 << 20;

    /// <summary>Bytes that may have become blocks since the last commit: the next one then begins.</summary>
    public long CommitBytes { get; init; } = 1L << 30;

    /// <summary>Bytes of intents in the journal from which on a commit makes them unnecessary.</summary>
    public long IntentBytes { get; init; } = 80L << 20;

    /// <summary>More written memory than this is committed rather than logged when a sync asks for it.</summary>
    public long LoggedBytes { get; init; } = 8L << 20;

    /// <summary>So much of what is written here and there goes to the journal before any sync asks: the sync then waits for the rest alone.</summary>
    public long AheadBytes { get; init; } = 2L << 20;

    /// <summary>What is not asked to be durable is made so after so long, at a quiet moment by a commit, else as a sync would; zero: never by time.</summary>
    public TimeSpan CommitInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>After so long a commit waits for no quiet moment.</summary>
    public TimeSpan LongestInterval { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Memory for blocks of file data that were read.</summary>
    public long DataCacheBytes { get; init; } = 64L << 20;

    /// <summary>Memory for blocks of directories and extents that were read.</summary>
    public long TreeCacheBytes { get; init; } = 32L << 20;

    /// <summary>So many overwritten places since the last commit make a file one that is cut in fixed blocks...</summary>
    public int FixedRuleOverwrites { get; init; } = 64;

    /// <summary>...if it is at least so large.</summary>
    public long FixedRuleBytes { get; init; } = 1L << 20;

    /// <summary>A file of at most so many bytes is cut anew as a whole when it changed, as an import would cut it; of a larger one what changed.</summary>
    public long WholeFileBytes { get; init; } = 4L << 20;

    /// <summary>The owner of the topmost directory of a volume that has none yet.</summary>
    public uint OwnerId { get; init; }

    public uint GroupId { get; init; }

    /// <summary>How content is cut.</summary>
    public ContentOptions Content { get; init; } = ContentOptions.Default;

    /// <summary>Total and free bytes of the store, for statfs; null: an exbibyte, all of it free.</summary>
    public Func<(long TotalBytes, long FreeBytes)>? Space { get; init; }

    /// <summary>Free bytes of the store that are left for what was accepted already, arenas that are being filled and deletions: writers meet ENOSPC before them. At most half of the store.</summary>
    public long ReservedBytes { get; init; } = 64L << 20;

    /// <summary>Told of a commit that failed, once for a reason that stays the same; the next one tries again.</summary>
    public Action<Exception>? CommitFailed { get; init; }
}
