namespace TokTok.Storage.Files;

/// <summary>A volume as front ends show it: the active tree, and its snapshots below <c>.snapshots</c> in the topmost directory.</summary>
/// <remarks>
/// Source: Quinlan, McKie and Cox, Fossil (2003), /snapshot; hidden from listings and reachable by name as ZFS's .zfs.
/// A snapshot is an active tree that nobody changes, read through the caches of the present: what both share is read once. Whatever would change one is EROFS here.
/// File ids from 2^63 up are of this view: a file of a snapshot has one made of the snapshot's id and its own, the same in every mount, so that no program takes it for the file of the present.
/// A file that a snapshot shares with the present is copied back by reference (<see cref="CopyRange"/>).
/// An entry of the tree itself that is called .snapshots is hidden by this one; import and restore still see it.
/// Safe from many threads. Locks: _gate guards the nodes, trees and handles of snapshots; nothing is read under it.
/// </remarks>
public sealed partial class VolumeView : IVolumeFileSystem, IAsyncDisposable
{
    /// <summary>Ids and handles from here on are of snapshots.</summary>
    private const ulong OfSnapshots = 1UL << 63;

    private const ulong FolderId = OfSnapshots | 1;

    private readonly ActiveTree _present;
    private readonly Volume _volume;
    private readonly TimeZoneInfo _zone;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, Node> _nodes = [];
    private readonly Dictionary<SnapshotId, SnapshotTree> _trees = [];
    private readonly Dictionary<ulong, SnapshotHandle> _handles = [];
    private ulong _nextHandle = OfSnapshots;

    private readonly Lock _folderGate = new();
    private TableRoot? _folderOf;
    private SnapshotFolder? _folder;

    /// <param name="present">Disposed with this.</param>
    /// <param name="volume">That of the tree; stays the caller's.</param>
    /// <param name="zone">The zone that lists of snapshots show.</param>
    public VolumeView(ActiveTree present, Volume volume, TimeZoneInfo zone)
    {
        ArgumentNullException.ThrowIfNull(present);
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(zone);
        (_present, _volume, _zone) = (present, volume, zone);
    }

    public static ReadOnlySpan<byte> FolderName => ".snapshots"u8;

    public ulong RootId => _present.RootId;

    /// <summary>The tree that can be written.</summary>
    public ActiveTree Present => _present;

    public event Action<VolumeChange>? Changed { add => _present.Changed += value; remove => _present.Changed -= value; }

    public bool IsForEver(ulong fileId) => fileId >= OfSnapshots && fileId != FolderId && TryNode(fileId, out Node? node) && node.Tree is not null;

    public bool IsFleeting(ulong fileId) => fileId >= OfSnapshots && !IsForEver(fileId);

    public async ValueTask DisposeAsync()
    {
        SnapshotTree[] trees;
        lock (_gate)
        {
            trees = [.. _trees.Values];
            _trees.Clear();
            _nodes.Clear();
            _handles.Clear();
        }

        foreach (SnapshotTree tree in trees)
        {
            await tree.Tree.DisposeAsync().ConfigureAwait(false);
        }

        await _present.DisposeAsync().ConfigureAwait(false);
    }

    public FileError Lookup(ulong directoryId, ReadOnlySpan<byte> name, out InodeAttributes attributes)
    {
        if (directoryId < OfSnapshots)
        {
            return directoryId == RootId && name.SequenceEqual(FolderName) ? DescribeFolder(out attributes) : _present.Lookup(directoryId, name, out attributes);
        }

        attributes = default;
        if (directoryId == FolderId)
        {
            return name.SequenceEqual("."u8) ? DescribeFolder(out attributes)
                : name.SequenceEqual(".."u8) ? _present.GetAttributes(RootId, out attributes)
                : LookupSnapshot(name, out attributes);
        }

        if (!TryNode(directoryId, out Node? directory) || directory.Tree is not { } tree)
        {
            return directory is null ? FileError.ESTALE : FileError.ENOTDIR;
        }

        if (directory.Id == tree.Tree.RootId && name.SequenceEqual(".."u8))
        {
            return DescribeFolder(out attributes);
        }

        FileError error = tree.Tree.Lookup(directory.Id, name, out attributes);
        if (error == FileError.None)
        {
            attributes = attributes with { FileId = Count(tree, attributes.FileId) };
        }

        return error;
    }

    public void Forget(ulong fileId, ulong count)
    {
        if (fileId < OfSnapshots)
        {
            _present.Forget(fileId, count);
            return;
        }

        SnapshotTree? tree;
        ulong id;
        lock (_gate)
        {
            if (!_nodes.TryGetValue(fileId, out Node? node))
            {
                return;
            }

            (tree, id) = (node.Tree, node.Id);
            node.Lookups -= Math.Min(count, node.Lookups);
            if (node.Lookups == 0)
            {
                _ = _nodes.Remove(fileId);
                if (tree is not null)
                {
                    tree.Uses--;
                }
            }
        }

        tree?.Tree.Forget(id, count);
        LetGo(tree);
    }

    public FileError GetAttributes(ulong fileId, out InodeAttributes attributes)
    {
        if (fileId < OfSnapshots)
        {
            return _present.GetAttributes(fileId, out attributes);
        }

        if (fileId == FolderId)
        {
            return DescribeFolder(out attributes);
        }

        attributes = default;
        if (!TryNode(fileId, out Node? node))
        {
            return FileError.ESTALE;
        }

        if (node.Tree is not { } tree)
        {
            attributes = node.Link;
            return FileError.None;
        }

        FileError error = tree.Tree.GetAttributes(node.Id, out attributes);
        attributes = attributes with { FileId = fileId };
        return error;
    }

    public FileError ReadLink(ulong fileId, Span<byte> target, out int bytes)
    {
        bytes = 0;
        if (fileId < OfSnapshots)
        {
            return _present.ReadLink(fileId, target, out bytes);
        }

        if (fileId == FolderId || !TryNode(fileId, out Node? node))
        {
            return fileId == FolderId ? FileError.EINVAL : FileError.ESTALE;
        }

        if (node.Tree is { } tree)
        {
            return tree.Tree.ReadLink(node.Id, target, out bytes);
        }

        bytes = Math.Min(target.Length, node.Target.Length);
        node.Target.AsSpan(0, bytes).CopyTo(target);
        return FileError.None;
    }

    public FileError Open(in FileCaller caller, ulong fileId, OpenOptions options, out ulong handle)
    {
        if (fileId < OfSnapshots)
        {
            return _present.Open(caller, fileId, options, out handle);
        }

        handle = 0;
        if (fileId == FolderId)
        {
            return FileError.EISDIR;
        }

        if (!TryNode(fileId, out Node? node))
        {
            return FileError.ESTALE;
        }

        if ((options & (OpenOptions.Write | OpenOptions.Append | OpenOptions.Truncate)) != 0)
        {
            return FileError.EROFS;
        }

        if (node.Tree is not { } tree)
        {
            return FileError.EINVAL;
        }

        FileError error = tree.Tree.Open(caller, node.Id, options, out ulong inner);
        handle = error == FileError.None ? Hold(new SnapshotHandle(tree, inner)) : 0;
        return error;
    }

    public FileError Release(ulong handle)
    {
        if (handle < OfSnapshots)
        {
            return _present.Release(handle);
        }

        SnapshotHandle? open;
        lock (_gate)
        {
            if (!_handles.Remove(handle, out open))
            {
                return FileError.EBADF;
            }
        }

        if (open.Tree is not { } tree)
        {
            return FileError.None;
        }

        FileError error = tree.Tree.Release(open.Inner);
        lock (_gate)
        {
            tree.Uses--;
        }

        LetGo(tree);
        return error;
    }

    public FileError Read(ulong handle, long offset, Span<byte> target, out int bytes)
    {
        if (handle < OfSnapshots)
        {
            return _present.Read(handle, offset, target, out bytes);
        }

        bytes = 0;
        return TryHandle(handle, out SnapshotHandle? open) && open.Tree is { } tree ? tree.Tree.Read(open.Inner, offset, target, out bytes) : FileError.EBADF;
    }

    public bool HasMoreAtHand(ulong handle) =>
        handle < OfSnapshots ? _present.HasMoreAtHand(handle) : TryHandle(handle, out SnapshotHandle? open) && open.Tree is { } tree && tree.Tree.HasMoreAtHand(open.Inner);

    public FileError ReadAtHand(ulong handle, long offset, Span<byte> target, int alignment, out long start, out int bytes)
    {
        if (handle < OfSnapshots)
        {
            return _present.ReadAtHand(handle, offset, target, alignment, out start, out bytes);
        }

        (start, bytes) = (offset, 0);
        return TryHandle(handle, out SnapshotHandle? open) && open.Tree is { } tree ? tree.Tree.ReadAtHand(open.Inner, offset, target, alignment, out start, out bytes) : FileError.EBADF;
    }

    public FileError Seek(ulong handle, long offset, SeekTarget target, out long position)
    {
        if (handle < OfSnapshots)
        {
            return _present.Seek(handle, offset, target, out position);
        }

        position = 0;
        return TryHandle(handle, out SnapshotHandle? open) && open.Tree is { } tree ? tree.Tree.Seek(open.Inner, offset, target, out position) : FileError.EBADF;
    }

    public FileError CopyRange(ulong fromHandle, long fromOffset, ulong toHandle, long toOffset, long length, out long bytes)
    {
        bytes = 0;
        if (toHandle >= OfSnapshots)
        {
            return FileError.EBADF;
        }

        if (fromHandle < OfSnapshots)
        {
            return _present.CopyRange(fromHandle, fromOffset, toHandle, toOffset, length, out bytes);
        }

        return TryHandle(fromHandle, out SnapshotHandle? open) && open.Tree is { } tree
            ? _present.CopyRange(tree.Tree, open.Inner, fromOffset, toHandle, toOffset, length, out bytes)
            : FileError.EBADF;
    }

    public FileError GetXattr(ulong fileId, ReadOnlySpan<byte> name, Span<byte> value, out int bytes)
    {
        if (fileId < OfSnapshots)
        {
            return _present.GetXattr(fileId, name, value, out bytes);
        }

        bytes = 0;
        return !TryNode(fileId, out Node? node) ? fileId == FolderId ? FileError.ENODATA : FileError.ESTALE
            : node.Tree is { } tree ? tree.Tree.GetXattr(node.Id, name, value, out bytes) : FileError.ENODATA;
    }

    public FileError ListXattrs(ulong fileId, Span<byte> names, out int bytes)
    {
        if (fileId < OfSnapshots)
        {
            return _present.ListXattrs(fileId, names, out bytes);
        }

        bytes = 0;
        return !TryNode(fileId, out Node? node) ? fileId == FolderId ? FileError.None : FileError.ESTALE
            : node.Tree is { } tree ? tree.Tree.ListXattrs(node.Id, names, out bytes) : FileError.None;
    }

    public FileError Sync(ulong handle) => handle < OfSnapshots ? _present.Sync(handle) : TryHandle(handle, out _) ? FileError.None : FileError.EBADF;

    public FileError SyncDirectory(ulong directoryId) => directoryId < OfSnapshots ? _present.SyncDirectory(directoryId) : FileError.None;

    public FileError SyncAll() => _present.SyncAll();

    public FileError GetStatistics(out VolumeStatistics statistics) => _present.GetStatistics(out statistics);

    // What changes something: the present's, if it is not the name that this view has put there.

    public FileError SetAttributes(in FileCaller caller, ulong fileId, in AttributeChange change, out InodeAttributes attributes)
    {
        attributes = default;
        return fileId >= OfSnapshots ? FileError.EROFS : _present.SetAttributes(caller, fileId, change, out attributes);
    }

    public FileError Create(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, uint mode, OpenOptions options, out InodeAttributes attributes, out ulong handle)
    {
        (attributes, handle) = (default, 0);
        FileError error = CheckNew(directoryId, name);
        return error != FileError.None ? error : _present.Create(caller, directoryId, name, mode, options, out attributes, out handle);
    }

    public FileError CreateTemporary(in FileCaller caller, ulong directoryId, uint mode, OpenOptions options, out InodeAttributes attributes, out ulong handle)
    {
        (attributes, handle) = (default, 0);
        return directoryId >= OfSnapshots ? FileError.EROFS : _present.CreateTemporary(caller, directoryId, mode, options, out attributes, out handle);
    }

    public FileError MakeDirectory(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, uint mode, out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = CheckNew(directoryId, name);
        return error != FileError.None ? error : _present.MakeDirectory(caller, directoryId, name, mode, out attributes);
    }

    public FileError MakeSpecial(
        in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, EntryType type, uint mode, uint deviceMajor, uint deviceMinor, out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = CheckNew(directoryId, name);
        return error != FileError.None ? error : _present.MakeSpecial(caller, directoryId, name, type, mode, deviceMajor, deviceMinor, out attributes);
    }

    public FileError MakeSymlink(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> target, out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = CheckNew(directoryId, name);
        return error != FileError.None ? error : _present.MakeSymlink(caller, directoryId, name, target, out attributes);
    }

    public FileError Link(in FileCaller caller, ulong fileId, ulong directoryId, ReadOnlySpan<byte> name, out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = fileId >= OfSnapshots ? FileError.EROFS : CheckNew(directoryId, name);
        return error != FileError.None ? error : _present.Link(caller, fileId, directoryId, name, out attributes);
    }

    public FileError Unlink(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name)
    {
        FileError error = CheckOld(directoryId, name);
        return error != FileError.None ? error : _present.Unlink(caller, directoryId, name);
    }

    public FileError RemoveDirectory(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name)
    {
        FileError error = CheckOld(directoryId, name);
        return error != FileError.None ? error : _present.RemoveDirectory(caller, directoryId, name);
    }

    public FileError Rename(in FileCaller caller, ulong fromDirectoryId, ReadOnlySpan<byte> fromName, ulong toDirectoryId, ReadOnlySpan<byte> toName, RenameMode mode)
    {
        FileError error = CheckOld(fromDirectoryId, fromName);
        error = error == FileError.None ? CheckOld(toDirectoryId, toName) : error;
        return error != FileError.None ? error : _present.Rename(caller, fromDirectoryId, fromName, toDirectoryId, toName, mode);
    }

    public FileError Write(ulong handle, long offset, ReadOnlySpan<byte> source, WriteOptions options, out int bytes)
    {
        bytes = 0;
        return handle >= OfSnapshots ? FileError.EBADF : _present.Write(handle, offset, source, options, out bytes);
    }

    public FileError Allocate(ulong handle, AllocateMode mode, long offset, long length) => handle >= OfSnapshots ? FileError.EBADF : _present.Allocate(handle, mode, offset, length);

    public FileError SetXattr(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, XattrMode mode) =>
        fileId >= OfSnapshots ? FileError.EROFS : _present.SetXattr(caller, fileId, name, value, mode);

    public FileError RemoveXattr(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name) => fileId >= OfSnapshots ? FileError.EROFS : _present.RemoveXattr(caller, fileId, name);

    private FileError CheckNew(ulong directoryId, ReadOnlySpan<byte> name) =>
        directoryId >= OfSnapshots ? FileError.EROFS : directoryId == RootId && name.SequenceEqual(FolderName) ? FileError.EEXIST : FileError.None;

    private FileError CheckOld(ulong directoryId, ReadOnlySpan<byte> name) =>
        directoryId >= OfSnapshots ? FileError.EROFS : directoryId == RootId && name.SequenceEqual(FolderName) ? FileError.EPERM : FileError.None;
}
