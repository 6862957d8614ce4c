namespace TokTok.Storage.Files;

/// <summary>A volume as a filesystem: what every front end (FUSE, WebDAV, sync) works through, by file id. It knows of none of them.</summary>
/// <remarks>
/// Safe from many threads. Every operation is whole: it happened or it did not, and a commit never cuts through one.
/// Calls block; none awaits. A FUSE worker is a thread of its own with the kernel's request in native memory: a span reaches into that memory and a
/// call that finds what it needs allocates nothing, where a ValueTask would want heap memory to write into and a state machine wherever something is not there yet.
/// A front end on the thread pool (Kestrel) gives its calls threads of their own.
/// Errors: nothing is thrown for what a user can do or a disk can fail at; the result says it. An exception is a mistake in here or in the caller.
/// File ids: an id may be used from when an operation gave it out until it is forgotten. Every success of Lookup, Create, CreateTemporary, MakeDirectory, MakeSpecial,
/// MakeSymlink and Link, and every name but "." and ".." that a listing with attributes handed over, counts one; <see cref="Forget"/> takes so many back. The root needs none.
/// A file without a name lives as long as it is open or remembered.
/// Names: 1 to 255 bytes, not "." or "..", no slash and no NUL; longer is ENAMETOOLONG, else EINVAL.
/// Permissions are the front end's to check (the kernel's default_permissions with FUSE). What it cannot see is done here: new files belong to the caller, a set-group-id
/// directory hands its group down, a new owner takes set-user-id away. Access control lists are the attributes system.posix_acl_access and _default: the first and the mode change each
/// other, and what is made in a directory inherits the second.
/// Durable: what <see cref="Sync"/>, <see cref="SyncDirectory"/> or <see cref="SyncAll"/> returned None for. Everything else within the commit interval.
/// File locks are not here: one kernel keeps those of its own mount.
/// </remarks>
public interface IVolumeFileSystem
{
    /// <summary>The file id of the topmost directory.</summary>
    ulong RootId { get; }

    /// <summary>Told of every change after it happened, on the thread that made it, with no lock held. Safe to join and leave from many threads.</summary>
    event Action<VolumeChange>? Changed;

    /// <summary>Whether a file that was looked up, and what is in it and below it, never changes: whoever keeps that may keep it for ever.</summary>
    bool IsForEver(ulong fileId);

    /// <summary>Whether a file's attributes and the names in it may become others without a notice of <see cref="Changed"/>: nobody keeps those.</summary>
    bool IsFleeting(ulong fileId);

    /// <summary>Finds a name in a directory. "." is the directory and ".." its parent.</summary>
    FileError Lookup(ulong directoryId, ReadOnlySpan<byte> name, out InodeAttributes attributes);

    /// <summary>Takes back so many of the times that the id was given out.</summary>
    void Forget(ulong fileId, ulong count);

    FileError GetAttributes(ulong fileId, out InodeAttributes attributes);

    FileError SetAttributes(in FileCaller caller, ulong fileId, in AttributeChange change, out InodeAttributes attributes);

    /// <summary>A symlink's target, as much as the span takes.</summary>
    FileError ReadLink(ulong fileId, Span<byte> target, out int bytes);

    /// <summary>Opens the file of a name, making it if there is none.</summary>
    /// <param name="mode">The lower twelve bits of st_mode for a new file; the caller's umask is applied here.</param>
    FileError Create(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, uint mode, OpenOptions options, out InodeAttributes attributes, out ulong handle);

    /// <summary>Makes a file without a name and opens it (O_TMPFILE). Link gives it its first name, unless options say Exclusive.</summary>
    FileError CreateTemporary(in FileCaller caller, ulong directoryId, uint mode, OpenOptions options, out InodeAttributes attributes, out ulong handle);

    FileError MakeDirectory(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, uint mode, out InodeAttributes attributes);

    /// <summary>mknod: a file, fifo, socket or device.</summary>
    FileError MakeSpecial(
        in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, EntryType type, uint mode, uint deviceMajor, uint deviceMinor, out InodeAttributes attributes);

    FileError MakeSymlink(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> target, out InodeAttributes attributes);

    /// <summary>Gives a file another name.</summary>
    FileError Link(in FileCaller caller, ulong fileId, ulong directoryId, ReadOnlySpan<byte> name, out InodeAttributes attributes);

    FileError Unlink(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name);

    FileError RemoveDirectory(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name);

    FileError Rename(in FileCaller caller, ulong fromDirectoryId, ReadOnlySpan<byte> fromName, ulong toDirectoryId, ReadOnlySpan<byte> toName, RenameMode mode);

    /// <summary>Opens a file. EISDIR for a directory, EINVAL for what is neither.</summary>
    FileError Open(in FileCaller caller, ulong fileId, OpenOptions options, out ulong handle);

    /// <summary>Closes a handle of a file or a directory. It is closed whatever the result.</summary>
    FileError Release(ulong handle);

    /// <summary>Reads at most the span's length; fewer bytes only at the end of the file.</summary>
    FileError Read(ulong handle, long offset, Span<byte> target, out int bytes);

    /// <summary>Whether reads of this handle here and there left more in memory than they asked for, which a front end that keeps bytes may want (<see cref="ReadAtHand"/>). True once for each time.</summary>
    bool HasMoreAtHand(ulong handle);

    /// <summary>Reads what lies around a position and is in memory anyway, because a read there took its block from the store. Nothing is fetched.</summary>
    /// <remarks>Bytes of one moment, from one block, so none of what was written and is not in a block yet. A block is given once each time that it is read.</remarks>
    /// <param name="alignment">What <paramref name="start"/>, and <paramref name="bytes"/> but for the end of the file, are a multiple of.</param>
    /// <param name="start">Where in the file they begin.</param>
    /// <param name="bytes">0: nothing is at hand.</param>
    FileError ReadAtHand(ulong handle, long offset, Span<byte> target, int alignment, out long start, out int bytes);

    /// <summary>Writes the whole span.</summary>
    FileError Write(ulong handle, long offset, ReadOnlySpan<byte> source, WriteOptions options, out int bytes);

    FileError Allocate(ulong handle, AllocateMode mode, long offset, long length);

    /// <summary>The next data or hole at or behind an offset; the end of the file counts as a hole. ENXIO where there is none.</summary>
    FileError Seek(ulong handle, long offset, SeekTarget target, out long position);

    /// <summary>Lets the target have the source's bytes, by reference wherever they lie in blocks. Fewer only where the source ends.</summary>
    FileError CopyRange(ulong fromHandle, long fromOffset, ulong toHandle, long toOffset, long length, out long bytes);

    FileError OpenDirectory(ulong directoryId, out ulong handle);

    /// <summary>Hands over the names from a cookie on, "." and ".." first, until the sink refuses or there are no more.</summary>
    /// <remarks>A listing shows the directory as it stood when it was read from the start (cookie 0), without the names that have gone since; a cookie stays good for as long
    /// as the handle is open, whatever comes and goes meanwhile.</remarks>
    /// <param name="cookie">0, or one that the sink was given.</param>
    FileError ReadDirectory(ulong handle, ulong cookie, bool withAttributes, IDirectorySink sink);

    /// <summary>An extended attribute's value. An empty span asks for its length alone; one too short is ERANGE.</summary>
    FileError GetXattr(ulong fileId, ReadOnlySpan<byte> name, Span<byte> value, out int bytes);

    FileError SetXattr(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, XattrMode mode);

    /// <summary>The names, each ended by NUL. An empty span asks for the length alone; one too short is ERANGE.</summary>
    FileError ListXattrs(ulong fileId, Span<byte> names, out int bytes);

    FileError RemoveXattr(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name);

    /// <summary>fsync: returns when the file's bytes, attributes and name survive power loss.</summary>
    FileError Sync(ulong handle);

    /// <summary>fsync of a directory: returns when its names survive power loss.</summary>
    FileError SyncDirectory(ulong directoryId);

    /// <summary>syncfs: returns when everything done before survives power loss.</summary>
    FileError SyncAll();

    FileError GetStatistics(out VolumeStatistics statistics);
}
