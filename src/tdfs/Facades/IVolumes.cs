using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>What Files does for the verbs: trees in, snapshots, trees out.</summary>
/// <remarks>
/// A snapshot is named "latest", a label, a number or the beginning of its time, alone or as VOLUME@NAME; alone it must mean one snapshot of all volumes.
/// Of several whose time begins so the newest is meant, if they are of one volume; to forget takes a name that means one.
/// An unknown one is a <see cref="UserError"/> with <see cref="ExitCode.NotFound"/>. Paths are bytes, parts separated by '/'.
/// </remarks>
internal interface IVolumes
{
    ValueTask<ImportResult> ImportAsync(ImportRequest request, IProgressSink progress, CancellationToken cancel);

    /// <summary>Oldest first; of one volume or, for null, of all.</summary>
    ValueTask<IReadOnlyList<SnapshotInfo>> SnapshotsAsync(string? volume, CancellationToken cancel);

    /// <summary>The one that is named.</summary>
    ValueTask<SnapshotInfo> SnapshotAsync(string snapshot, CancellationToken cancel);

    /// <summary>Volumes of which nothing can be read: their keys are gone, or, where snapshots of all volumes were asked for, their root turned out damaged.</summary>
    IReadOnlyList<UnreadableVolume> UnreadableVolumes { get; }

    /// <summary>The snapshots in which the path is another than in the one before, newest first.</summary>
    IAsyncEnumerable<LogEntry> LogAsync(string volume, byte[] path, CancellationToken cancel);

    IAsyncEnumerable<EntryInfo> ListAsync(string snapshot, byte[] path, bool recursive, CancellationToken cancel);

    ValueTask CatAsync(string snapshot, byte[] path, Stream target, CancellationToken cancel);

    IAsyncEnumerable<ChangeInfo> DiffAsync(string from, string to, byte[] path, CancellationToken cancel);

    ValueTask<RestoreResult> RestoreAsync(RestoreRequest request, IProgressSink progress, CancellationToken cancel);

    /// <summary>Marks snapshots, which no keep rule then forgets, or takes their marks away. Returns them as they are now, each once.</summary>
    ValueTask<IReadOnlyList<SnapshotInfo>> MarkAsync(IReadOnlyList<string> snapshots, bool isMarked, CancellationToken cancel);

    ValueTask<ForgetResult> ForgetAsync(ForgetRequest request, CancellationToken cancel);

    /// <summary>Keeps a volume as it is now as a snapshot; null: the only volume.</summary>
    ValueTask<SnapshotInfo> TakeAsync(string? volume, string? label, CancellationToken cancel);

    /// <summary>Keeps every volume that is open here and has changed since its newest snapshot, and then thins those volumes by the rules, if any are given. Marked and labelled snapshots stay.</summary>
    /// <returns>What was made.</returns>
    ValueTask<IReadOnlyList<SnapshotInfo>> TakeDueAsync(KeepRules? thin, CancellationToken cancel);

    /// <summary>Makes a snapshot's tree the volume's present, and keeps what was there as a snapshot.</summary>
    ValueTask<RollBackResult> RollBackAsync(string snapshot, CancellationToken cancel);

    /// <summary>By name; those that cannot be read with the reason.</summary>
    ValueTask<IReadOnlyList<VolumeInfo>> VolumesAsync(CancellationToken cancel);

    ValueTask CreateAsync(string name, CancellationToken cancel);

    ValueTask RenameAsync(string name, string newName, CancellationToken cancel);

    /// <summary>The newest snapshot that has a path of this machine, and the path in it.</summary>
    ValueTask<(string Snapshot, byte[] Path)> WhereIsAsync(string local, CancellationToken cancel);

    /// <summary>How well the path is kept: by the holders' records, or (readAll) by every byte of the fragments.</summary>
    ValueTask<HealthInfo> HealthAsync(string snapshot, byte[] path, bool readAll, IProgressSink progress, CancellationToken cancel);
}

internal sealed record ImportRequest
{
    public required string Folder { get; init; }

    /// <summary>Null: host:path.</summary>
    public string? Volume { get; init; }

    public string? Label { get; init; }

    public required ImportConfig Rules { get; init; }
}

internal sealed record ImportResult
{
    public required SnapshotInfo Snapshot { get; init; }

    /// <summary>Names of regular files, second names of one file among them.</summary>
    public required long FileCount { get; init; }

    /// <summary>The topmost folder apart.</summary>
    public long FolderCount { get; init; }

    /// <summary>Links, pipes, sockets, devices.</summary>
    public long OtherCount { get; init; }

    public required long UnchangedFileCount { get; init; }

    public required long ReadBytes { get; init; }

    public required long SavedBytes { get; init; }

    public required long StoredBytes { get; init; }

    /// <summary>One line each: unreadable, vanished, torn files.</summary>
    public required IReadOnlyList<string> Problems { get; init; }
}

internal sealed record SnapshotInfo
{
    public required string Volume { get; init; }

    public required long Number { get; init; }

    public required long TimeNs { get; init; }

    public required string Host { get; init; }

    public string? Label { get; init; }

    public bool IsKept { get; init; }

    /// <summary>Left by an import that was interrupted; the next one continues from it.</summary>
    public bool IsUnfinished { get; init; }

    /// <summary>Names that its import found and could not read: they are not in it, or a folder is there without what it held.</summary>
    public long UnreadableCount { get; init; }

    /// <summary>Names that were gone before their turn came.</summary>
    public long VanishedCount { get; init; }

    /// <summary>Files that changed while they were read.</summary>
    public long TornCount { get; init; }

    /// <summary>All names in it: files, folders and others.</summary>
    public required long EntryCount { get; init; }

    public required long Bytes { get; init; }
}

internal enum ChangeKind
{
    Added,
    Removed,
    Changed,

    /// <summary>Same content, other metadata.</summary>
    Metadata,
}

internal sealed record LogEntry(SnapshotInfo Snapshot, ChangeKind Change, long Bytes);

internal sealed record EntryInfo
{
    public required byte[] Path { get; init; }

    public required uint Mode { get; init; }

    public required uint UserId { get; init; }

    public required uint GroupId { get; init; }

    public string? User { get; init; }

    public string? Group { get; init; }

    public required long Bytes { get; init; }

    public required long ModifiedNs { get; init; }

    public byte[]? LinkTarget { get; init; }

    public bool IsTorn { get; init; }
}

internal sealed record ChangeInfo(ChangeKind Kind, byte[] Path, long OldBytes, long NewBytes);

internal enum Overwrite
{
    /// <summary>An existing file is a problem that is reported.</summary>
    Never,

    /// <summary>Replace files whose size or time differ.</summary>
    Changed,
    Always,
}

internal sealed record RestoreRequest
{
    public required string Snapshot { get; init; }

    public required byte[] Path { get; init; }

    public required string Target { get; init; }

    public required Overwrite Overwrite { get; init; }

    public bool Verify { get; init; }

    public bool Sync { get; init; }
}

/// <param name="FileCount">Files written; those that were there and stayed are counted apart.</param>
internal sealed record RestoreResult(long FileCount, long Bytes, long SkippedFileCount, IReadOnlyList<string> Problems, IReadOnlyList<string> DamagedPaths)
{
    /// <summary>The problems are names that something else has taken, and nothing more.</summary>
    public bool HasOnlyTaken { get; init; }
}

/// <summary>Either named snapshots, or keep rules over one volume or all.</summary>
internal sealed record ForgetRequest
{
    public required IReadOnlyList<string> Snapshots { get; init; }

    public string? Volume { get; init; }

    public KeepRules? Keep { get; init; }

    public bool IsDryRun { get; init; }
}

internal sealed record ForgetResult(IReadOnlyList<SnapshotInfo> Kept, IReadOnlyList<SnapshotInfo> Forgotten);

/// <param name="Kept">The snapshot of what was there; null: an earlier one has it.</param>
internal sealed record RollBackResult(SnapshotInfo Target, SnapshotInfo? Kept);

internal sealed record VolumeInfo
{
    public required string Name { get; init; }

    public int SnapshotCount { get; init; }

    /// <summary>The newest snapshot's time; null: there is none.</summary>
    public long? NewestNs { get; init; }

    /// <summary>Names in its present.</summary>
    public long EntryCount { get; init; }

    public long Bytes { get; init; }

    /// <summary>The folder where it is mounted; null: not open here.</summary>
    public string? Where { get; init; }

    /// <summary>Why it cannot be read; null: it can.</summary>
    public string? Problem { get; init; }

    public bool IsDamaged { get; init; }
}

internal sealed record HealthInfo
{
    /// <summary>What peers have shown of what they say.</summary>
    public StoreEvidence Evidence { get; init; } = new(0, 0, 0);

    public required long FileCount { get; init; }

    public required long BlockCount { get; init; }

    /// <summary>Blocks all of whose fragments were verified, those that parity brings back, those that are lost.</summary>
    public required long HealthyBlockCount { get; init; }

    public required long DegradedBlockCount { get; init; }

    public required long LostBlockCount { get; init; }

    /// <summary>Blocks that outlive fewer lost places than is asked of them.</summary>
    public long WeakBlockCount { get; init; }

    /// <summary>Blocks that lie on other machines alone, since they are freed here.</summary>
    public long FreedBlockCount { get; init; }

    /// <summary>How many lost places the weakest of the blocks outlives, by the fragments that the holders have; 0 where one is lost.</summary>
    public int Survives { get; init; }

    public int PlaceCount { get; init; }

    /// <summary>How many lost places are asked of the path itself.</summary>
    public int Wanted { get; init; }

    /// <summary>When every byte of the path's fragments was read; null: by the holders' records.</summary>
    public long? VerifiedNs { get; init; }

    public required IReadOnlyList<string> LostPaths { get; init; }
}

/// <summary>A volume that is there and cannot be read, and why. Damage may be mended from other copies; keys that were burned are gone.</summary>
internal sealed record UnreadableVolume(string Name, string Why, bool IsDamaged);
