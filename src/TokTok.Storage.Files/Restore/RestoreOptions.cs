using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>What a restore does with a name that is taken.</summary>
public enum ExistingFiles
{
    /// <summary>The target folder must be empty or absent; nothing is written otherwise.</summary>
    Fail = 0,

    /// <summary>What is there stays.</summary>
    Skip,

    /// <summary>A file of the same size and time stays; any other is replaced.</summary>
    OverwriteIfDifferent,

    /// <summary>Everything is replaced. A directory never gives way to a file, nor the reverse.</summary>
    Replace,
}

public sealed record RestoreOptions
{
    /// <summary>The folder that takes the contents of a directory, or a single file under its name. Made if it is absent; its parent must exist.</summary>
    public required string Target { get; init; }

    public ExistingFiles Existing { get; init; }

    /// <summary>Continue a restore that was cut off: complete files (same type, size and time) stay, whatever <see cref="Existing"/> says of them.
    /// Where the power went meanwhile, size and time say little: <see cref="ComparesContents"/> finds what never reached the disk.</summary>
    public bool Resumes { get; init; }

    /// <summary>What counts as the same is read and compared, instead of trusting size and time.</summary>
    public bool ComparesContents { get; init; }

    /// <summary>Sync every file, read it back and compare it. Without it a file counts as verified when its blocks matched their scores, every write took all
    /// its bytes, the size is right and closing gave no error.</summary>
    public bool Verifies { get; init; }

    /// <summary>Owners by their numbers, not by their names.</summary>
    public bool HasNumericOwners { get; init; }

    /// <summary>Files written at the same time; 0: as many as there are processors.</summary>
    public int Workers { get; init; }

    /// <summary>Return only once everything is on the disk.</summary>
    public bool Syncs { get; init; }

    /// <summary>What makes a filesystem durable: a descriptor on it, and 0 or minus errno. For tests.</summary>
    internal Func<int, int> SyncFilesystem { get; init; } = PosixCalls.SyncFilesystem;

    /// <summary>Directories kept open on the way down.</summary>
    internal int OpenLevels { get; init; } = 256;
}

public enum RestoreTroubleKind
{
    /// <summary>The store cannot give the bytes, or what it gives is no tree. The file is not there, or was left as it was.</summary>
    Damaged,

    /// <summary>The name is taken by something that was not to be touched.</summary>
    Exists,

    /// <summary>The filesystem refused to make it.</summary>
    NotMade,

    /// <summary>It is there, and an owner, attribute, mode or time of it is not as it was.</summary>
    Metadata,

    /// <summary>Read back, it was not what had been written.</summary>
    NotVerified,

    /// <summary>The name is taken by what never gives way: a directory where a file belongs, or the reverse.</summary>
    CannotGiveWay,
}

public readonly record struct RestoreTrouble(RestoreTroubleKind Kind, string Path, string Reason);

/// <summary>Who watches a restore. Called from its threads, one call at a time.</summary>
public interface IRestoreObserver
{
    void Started(RestoreProgress progress);

    void Trouble(RestoreTrouble trouble);
}

/// <summary>How far a restore has come. Live; safe to read from any thread.</summary>
public sealed class RestoreProgress
{
    internal long FilesValue;
    internal long DirectoriesValue;
    internal long BytesValue;
    internal long KeptValue;
    internal readonly long[] TroubleValues = new long[6];

    /// <summary>Names done that are not directories, kept ones included.</summary>
    public long FileCount => Volatile.Read(ref FilesValue);

    public long DirectoryCount => Volatile.Read(ref DirectoriesValue);

    /// <summary>Bytes written, holes apart.</summary>
    public long Bytes => Volatile.Read(ref BytesValue);

    /// <summary>Names that were there already and stayed.</summary>
    public long KeptCount => Volatile.Read(ref KeptValue);

    public long ExpectedCount { get; internal set; }

    public long ExpectedBytes { get; internal set; }

    public long CountOf(RestoreTroubleKind kind) => Volatile.Read(ref TroubleValues[(int)kind]);

    /// <summary>Everything is there as it was.</summary>
    public bool IsComplete => TroubleValues.All(static count => count == 0);
}
