using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Files;

/// <summary>What an import takes in, and how.</summary>
public sealed record ImportOptions
{
    /// <summary>Paths on this machine. One directory: its contents become the volume's root. One other thing: it stands in the root under its name.
    /// Several: each stands under its whole path, as restic does it.</summary>
    public required IReadOnlyList<string> Sources { get; init; }

    public IgnorePatterns Excludes { get; init; } = IgnorePatterns.None;

    /// <summary>Do not enter other filesystems; a directory on which one is mounted is kept, empty.</summary>
    public bool IsOneFileSystem { get; init; }

    /// <summary>Of a directory with a valid CACHEDIR.TAG keep the tag alone.</summary>
    public bool LeavesOutCaches { get; init; }

    /// <summary>Folders that are left out wherever the walk meets them below a source, the store's own say: known by device and inode, whatever path leads there.
    /// Those that are not there count for nothing.</summary>
    public IReadOnlyList<string> OwnFolders { get; init; } = [];

    /// <summary>The source that is itself one of these, which leaves nothing to import; or null.</summary>
    public string? OwnSource => Sources.FirstOrDefault(source => OwnFolders.Any(own => SourcePaths.IdentityOf(source) is { } identity && identity == SourcePaths.IdentityOf(own)));

    /// <summary>Files read at the same time; 0: as many as there are processors.</summary>
    public int Workers { get; init; }

    public ContentOptions Content { get; init; } = ContentOptions.Default;

    public TableOptions Table { get; init; } = TableOptions.Default;

    /// <summary>Where the stat cache lies, or null for none.</summary>
    public ImportCachePlace? Cache { get; init; }

    /// <summary>After so many bytes read, what there is is committed as an unfinished snapshot, and the import goes on.</summary>
    public long CommitBytes { get; init; } = 4L * 1024 * 1024 * 1024;

    /// <summary>After so much time of reading, the same.</summary>
    public TimeSpan CommitEvery { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>Asked before each block of a file's content is written, and waited for; null: nobody is.</summary>
    public Func<CancellationToken, ValueTask>? Pace { get; init; }

    /// <summary>Read every file, whatever the stat cache says.</summary>
    public bool ReadsEverything { get; init; }

    /// <summary>For tests: called with the name and the attempt between the read of a file and the look at whether it changed.</summary>
    internal Action<ReadOnlyMemory<byte>, int>? AfterRead { get; init; }

    /// <summary>For tests: called with the name of every file before it is opened.</summary>
    internal Action<ReadOnlyMemory<byte>>? BeforeOpen { get; init; }

    /// <summary>For tests: names of one directory that are held at once.</summary>
    internal int NameBudgetBytes { get; init; } = Posix.DirectoryNames.DefaultBudgetBytes;

    /// <summary>Directories kept open on the way down; those above are opened again on the way back.</summary>
    internal int OpenLevels { get; init; } = 256;
}

/// <summary>The device's place for stat caches.</summary>
/// <param name="Folder">The state folder.</param>
/// <param name="Key">The device's cache key, 32 bytes.</param>
public sealed record ImportCachePlace(IDisk Disk, string Folder, SecretBytes Key, IRandomSource Random);

/// <summary>Why something is not in the snapshot as it was on the disk.</summary>
public enum ImportTroubleKind
{
    /// <summary>It cannot be opened or read. It is left out; a directory stays, empty.</summary>
    Unreadable,

    /// <summary>It was gone before it could be read.</summary>
    Vanished,

    /// <summary>It changed while it was read, twice: what is kept may be a mixture.</summary>
    Torn,
}

/// <param name="Path">As shown to people, below the sources.</param>
public readonly record struct ImportTrouble(ImportTroubleKind Kind, string Path, string Reason);

/// <summary>Who watches an import. Called from its threads, one call at a time.</summary>
public interface IImportObserver
{
    /// <summary>At the start of each pass through the sources: counters to look at as often as one likes. What was told of the pass before is told again.</summary>
    void Started(ImportProgress progress);

    void Trouble(ImportTrouble trouble);

    /// <summary>One line that is neither trouble nor progress, such as a stat cache that could not be used.</summary>
    void Note(string line);
}

/// <summary>How far an import has come. Live; safe to read from any thread.</summary>
public sealed class ImportProgress
{
    internal long FilesValue;
    internal long OthersValue;
    internal long HoleBytesValue;
    internal long UnchangedValue;
    internal long DirectoriesValue;
    internal long BytesValue;
    internal long ReadBytesValue;
    internal long ReadFilesValue;
    internal long NewBytesValue;
    internal long StoredBytesValue;
    internal long ReusedDirectoriesValue;
    internal long MadeValue;
    private ImportSlot? _current;

    /// <summary>Names of regular files done, second names of one file among them.</summary>
    public long FileCount => Volatile.Read(ref FilesValue);

    /// <summary>Names done that are neither regular files nor directories: links, pipes, sockets, devices.</summary>
    public long OtherCount => Volatile.Read(ref OthersValue);

    /// <summary>Of the files, the ones that the stat cache knew.</summary>
    public long UnchangedCount => Volatile.Read(ref UnchangedValue);

    public long DirectoryCount => Volatile.Read(ref DirectoriesValue);

    /// <summary>Directories whose table was taken over as it was.</summary>
    public long ReusedDirectoryCount => Volatile.Read(ref ReusedDirectoriesValue);

    /// <summary>Sizes of the files done.</summary>
    public long Bytes => Volatile.Read(ref BytesValue);

    /// <summary>Bytes read from the sources.</summary>
    public long ReadBytes => Volatile.Read(ref ReadBytesValue);

    /// <summary>Files whose content was read.</summary>
    public long ReadFileCount => Volatile.Read(ref ReadFilesValue);

    /// <summary>Of the bytes read, those in chunks that the store did not have.</summary>
    public long NewBytes => Volatile.Read(ref NewBytesValue);

    /// <summary>What the new chunks take, compressed and encrypted, parity apart.</summary>
    public long StoredBytes => Volatile.Read(ref StoredBytesValue);

    /// <summary>Of the sizes, what is hole: neither read nor kept. Of an unchanged file whose extents are many, what its disk says it leaves out.</summary>
    public long HoleBytes => Volatile.Read(ref HoleBytesValue);

    /// <summary>What deduplication and the stat cache saved of the files done.</summary>
    public long SavedBytes => Math.Max(0, Bytes - HoleBytes - NewBytes);

    /// <summary>Names and bytes of the snapshot before, the best guess at the whole; 0 when there is none.</summary>
    public long ExpectedCount { get; internal set; }

    public long ExpectedBytes { get; internal set; }

    /// <summary>What was begun last, for people.</summary>
    public string CurrentPath => Volatile.Read(ref _current) is { } slot ? slot.Frame.Show(slot.Name) : "";

    /// <summary>The passes of one import count what they read together.</summary>
    internal void GoOnFrom(ImportProgress? before)
    {
        if (before is not null)
        {
            ReadBytesValue = before.ReadBytesValue;
            ReadFilesValue = before.ReadFilesValue;
            MadeValue = before.MadeValue;
            NewBytesValue = before.NewBytesValue;
            StoredBytesValue = before.StoredBytesValue;
        }
    }

    /// <summary>What an earlier pass of the same import read was not known already.</summary>
    internal void CountKnownFrom(ImportProgress? before) => UnchangedValue = Math.Max(0, UnchangedValue - (before?.MadeValue ?? 0));

    /// <summary>A name is in its table.</summary>
    internal void CountDone(ImportSlot slot, long sizeBytes, long holeBytes)
    {
        if (slot.Stat.Type != Posix.PosixType.File)
        {
            _ = Interlocked.Increment(ref OthersValue);
            return;
        }

        _ = Interlocked.Increment(ref (slot.IsUnchanged ? ref UnchangedValue : ref MadeValue));
        _ = Interlocked.Add(ref HoleBytesValue, holeBytes);
        _ = Interlocked.Add(ref BytesValue, sizeBytes);
        _ = Interlocked.Increment(ref FilesValue);
    }

    internal void SetCurrent(ImportSlot slot) => Volatile.Write(ref _current, slot);
}
