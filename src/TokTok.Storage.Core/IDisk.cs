namespace TokTok.Storage.Core;

/// <summary>The door to a disk: everything the store keeps goes through it, so that tests can cut power at any instant.</summary>
/// <remarks>
/// Paths are absolute or relative to the disk's root, with '/' between parts. Calls block. Every failure is a <see cref="DiskException"/>.
/// Durable: file bytes once <see cref="IDiskFile.Sync"/> returned, or <see cref="IDiskFile.TryWriteThrough"/> true; a created, renamed or deleted name once <see cref="SyncDirectory"/> of its folder returned.
/// </remarks>
public interface IDisk
{
    IDiskFile Open(string path, DiskOpen mode);

    bool FileExists(string path);

    bool DirectoryExists(string path);

    /// <summary>Creates the folder and its missing parents (mode 0700), and makes each created name durable.</summary>
    void CreateDirectory(string path);

    /// <summary>Renames atomically, replacing a file of the new name.</summary>
    void Rename(string from, string to);

    void Delete(string path);

    /// <summary>Deletes an empty folder.</summary>
    void DeleteDirectory(string path);

    /// <summary>The names in a folder, in no particular order, without "." and "..".</summary>
    IReadOnlyList<DiskEntry> List(string path);

    void SyncDirectory(string path);

    /// <summary>Bytes an ordinary user may still write where <paramref name="path"/> lies.</summary>
    long FreeBytes(string path);

    /// <summary>Takes the exclusive advisory lock on a file (created if needed), or null if another process has it.
    /// The lock ends with Dispose or with the process.</summary>
    IDisposable? TryLock(string path);
}

public enum DiskOpen
{
    /// <summary>An existing file, for reading.</summary>
    Read,

    /// <summary>An existing file, for reading and writing.</summary>
    ReadWrite,

    /// <summary>A new file (mode 0600), for reading and writing; fails if the name exists.</summary>
    CreateNew,
}

/// <summary>A name in a folder. Length is 0 for folders.</summary>
public readonly record struct DiskEntry(string Name, bool IsDirectory, long Length);

/// <summary>An open file. Positioned reads and writes; safe from many threads for disjoint ranges.</summary>
public interface IDiskFile : IDisposable
{
    /// <summary>The least that a disk writes.</summary>
    const int SectorBytes = 512;

    long Length { get; }

    /// <summary>Reads up to the span's length; fewer bytes only at the end of the file.</summary>
    int Read(long offset, Span<byte> target);

    /// <summary>Writes the whole span, extending the file if needed.</summary>
    void Write(long offset, ReadOnlySpan<byte> source);

    /// <summary>Writes over whole sectors that the file has, past the kernel's cache, and returns when they survive power loss. What else of the file is not synced stays so.
    /// False, with nothing done, where there is no such way: then a write and a sync do it. After a failure the file's state is unknown, as after a failed sync.</summary>
    /// <param name="offset">A multiple of <see cref="SectorBytes"/>, as the span's length is.</param>
    bool TryWriteThrough(long offset, ReadOnlySpan<byte> source) => false;

    void Truncate(long length);

    /// <summary>Returns when data and length survive power loss. After a failed sync the file's state is unknown: the writer stays failed.</summary>
    void Sync();
}

public enum DiskFailure
{
    /// <summary>EIO and everything else that is not named below.</summary>
    Failed,
    NotFound,
    AlreadyExists,
    Full,
    ReadOnly,
    Denied,

    /// <summary>A holder that is no disk of this machine does not answer now. What it keeps is neither lost nor known to be damaged.</summary>
    Unreachable,
}

/// <summary>A disk call failed: which, on what path, and why. The message is one line fit for a user.</summary>
public sealed class DiskException : IOException
{
    public DiskException(DiskFailure failure, string operation, string path, string reason)
        : base($"{operation} {path}: {reason}")
    {
        Failure = failure;
        Operation = operation;
        Path = path;
    }

    public DiskException()
        : this(DiskFailure.Failed, "disk", "?", "unknown")
    {
    }

    public DiskException(string message)
        : base(message)
    {
    }

    public DiskException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public DiskFailure Failure { get; }

    public string Operation { get; } = "";

    public string Path { get; } = "";
}
