using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace TokTok.Storage.Files;

/// <content>The snapshots below <c>.snapshots</c>: their names, nodes and listings.</content>
public sealed partial class VolumeView
{
    private sealed class SnapshotTree(SnapshotId id, ActiveTree tree)
    {
        internal SnapshotId Id { get; } = id;

        internal ActiveTree Tree { get; } = tree;

        /// <summary>Nodes and handles. Guarded by the view's gate.</summary>
        internal int Uses { get; set; }
    }

    /// <summary>A file of a snapshot that a front end knows, or a symlink to a snapshot (no tree).</summary>
    private sealed class Node(SnapshotTree? tree, ulong id)
    {
        internal SnapshotTree? Tree { get; } = tree;

        /// <summary>Within the tree.</summary>
        internal ulong Id { get; } = id;

        internal byte[] Target { get; init; } = [];

        internal InodeAttributes Link { get; init; }

        /// <summary>Guarded by the view's gate.</summary>
        internal ulong Lookups { get; set; }
    }

    /// <param name="Tree">Null: of the folder of snapshots itself.</param>
    private sealed record SnapshotHandle(SnapshotTree? Tree, ulong Inner)
    {
        internal ulong RootId { get; init; }

        internal IReadOnlyList<(string Name, SnapshotRecord Snapshot, bool IsAlias)> Listed { get; init; } = [];

        internal SnapshotFolder? Folder { get; init; }
    }

    public FileError OpenDirectory(ulong directoryId, out ulong handle)
    {
        if (directoryId < OfSnapshots)
        {
            return _present.OpenDirectory(directoryId, out handle);
        }

        handle = 0;
        if (directoryId == FolderId)
        {
            FileError trouble = TryFolder(out SnapshotFolder? folder);
            handle = trouble == FileError.None ? Hold(new SnapshotHandle(null, 0) { Folder = folder, Listed = [.. folder!.All] }) : 0;
            return trouble;
        }

        if (!TryNode(directoryId, out Node? node) || node.Tree is not { } tree)
        {
            return node is null ? FileError.ESTALE : FileError.ENOTDIR;
        }

        FileError error = tree.Tree.OpenDirectory(node.Id, out ulong inner);
        handle = error == FileError.None ? Hold(new SnapshotHandle(tree, inner) { RootId = node.Id == tree.Tree.RootId ? node.Id : 0 }) : 0;
        return error;
    }

    public FileError ReadDirectory(ulong handle, ulong cookie, bool withAttributes, IDirectorySink sink)
    {
        ArgumentNullException.ThrowIfNull(sink);
        if (handle < OfSnapshots)
        {
            bool isTopmost = _present.TryGetFileId(handle, out ulong directory) && directory == RootId;
            return _present.ReadDirectory(handle, cookie, withAttributes, isTopmost ? new TopmostSink(sink) : sink);
        }

        if (!TryHandle(handle, out SnapshotHandle? open))
        {
            return FileError.EBADF;
        }

        return open.Tree is { } tree ? tree.Tree.ReadDirectory(open.Inner, cookie, withAttributes, new SnapshotSink(this, tree, open.RootId, withAttributes, sink))
            : open.Folder is { } folder ? ListFolder(folder, open.Listed, cookie, withAttributes, sink) : FileError.EBADF;
    }

    private FileError ListFolder(
        SnapshotFolder folder, IReadOnlyList<(string Name, SnapshotRecord Snapshot, bool IsAlias)> listed, ulong cookie, bool withAttributes, IDirectorySink sink)
    {
        for (; cookie < DirectoryListing.DotCookies; cookie++)
        {
            FileError error = cookie == 0 ? DescribeFolder(out InodeAttributes dot) : _present.GetAttributes(RootId, out dot);
            if (error != FileError.None || !sink.TryAdd(cookie == 0 ? "."u8 : ".."u8, dot, cookie + 1))
            {
                return error;
            }
        }

        for (int at = (int)Math.Min(cookie - DirectoryListing.DotCookies, (ulong)listed.Count); at < listed.Count; at++)
        {
            (string name, SnapshotRecord snapshot, bool isAlias) = listed[at];
            FileError error = isAlias ? CountLink(folder, name, snapshot, out InodeAttributes attributes) : CountSnapshot(snapshot, out attributes);
            bool isTaken = error == FileError.None && sink.TryAdd(Encoding.UTF8.GetBytes(name), attributes, DirectoryListing.DotCookies + (ulong)at + 1);
            if (error == FileError.None && !(isTaken && withAttributes))
            {
                Forget(attributes.FileId, 1);
            }

            if (!isTaken)
            {
                return error;
            }
        }

        return FileError.None;
    }

    private FileError LookupSnapshot(ReadOnlySpan<byte> name, out InodeAttributes attributes)
    {
        attributes = default;
        if (name.Length > EntryLimits.MaxNameBytes)
        {
            return FileError.ENAMETOOLONG;
        }

        FileError error = TryFolder(out SnapshotFolder? folder);
        if (error != FileError.None)
        {
            return error;
        }

        string text = Encoding.UTF8.GetString(name);
        return !folder!.TryFind(text, out SnapshotRecord? snapshot, out bool isAlias) ? FileError.ENOENT
            : isAlias ? CountLink(folder, text, snapshot!, out attributes) : CountSnapshot(snapshot!, out attributes);
    }

    private FileError DescribeFolder(out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = TryFolder(out SnapshotFolder? folder);
        error = error == FileError.None ? _present.GetAttributes(RootId, out attributes) : error;
        FileTime time = folder?.Newest is { } newest ? TimeOf(newest) : attributes.Modified;
        attributes = attributes with
        {
            FileId = FolderId,
            Type = EntryType.Directory,
            Mode = attributes.Mode & 0x16d, // 0555, and no more than the topmost directory allows
            LinkCount = (uint)Math.Min(Inode.MaxSubdirectories, 2 + (folder?.Count ?? 0)),
            Size = 0,
            BlockCount = 0,
            Accessed = time,
            Modified = time,
            Changed = time,
        };
        return error;
    }

    /// <summary>The names as the newest root of the volume has them, read again when that changed.</summary>
    private FileError TryFolder(out SnapshotFolder? folder)
    {
        try
        {
            lock (_folderGate)
            {
                _volume.RefreshAsync(CancellationToken.None).Wait();
                if (_folder is null || !ReferenceEquals(_folderOf, _volume.Root.Snapshots))
                {
                    TableRoot of = _volume.Root.Snapshots;
                    _folder = new SnapshotFolder(_volume.ListSnapshotsAsync(CancellationToken.None).Wait(), _zone);
                    _folderOf = of;
                }

                folder = _folder;
                return FileError.None;
            }
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out FileError error))
        {
            folder = null;
            return error;
        }
    }

    private FileError CountSnapshot(SnapshotRecord snapshot, out InodeAttributes attributes)
    {
        SnapshotTree? tree;
        ulong id;
        lock (_gate)
        {
            if (!_trees.TryGetValue(snapshot.Id, out tree))
            {
                tree = new SnapshotTree(snapshot.Id, _present.OpenSnapshot(snapshot));
                _trees.Add(snapshot.Id, tree);
            }

            id = CountLocked(tree, tree.Tree.RootId);
        }

        FileError error = tree.Tree.GetAttributes(tree.Tree.RootId, out attributes);
        attributes = attributes with { FileId = id };
        return error;
    }

    private FileError CountLink(SnapshotFolder folder, string name, SnapshotRecord snapshot, out InodeAttributes attributes)
    {
        byte[] target = Encoding.UTF8.GetBytes(folder.NameOf(snapshot));
        FileTime time = TimeOf(snapshot);
        FileError error = _present.GetAttributes(RootId, out InodeAttributes root);
        lock (_gate)
        {
            ulong id = IdOf(snapshot.Id.Value, OfText(name));
            Node? node;
            while (_nodes.TryGetValue(id, out node) && !(node.Tree is null && node.Target.AsSpan().SequenceEqual(target)))
            {
                id = OfSnapshots | (id + 1);
            }

            attributes = new InodeAttributes
            {
                FileId = id,
                Type = EntryType.Symlink,
                Mode = 0x1ff,
                LinkCount = 1,
                OwnerId = root.OwnerId,
                GroupId = root.GroupId,
                Size = target.Length,
                Accessed = time,
                Modified = time,
                Changed = time,
            };
            if (node is null)
            {
                node = new Node(null, 0) { Target = target, Link = attributes };
                _nodes.Add(id, node);
            }

            node.Lookups++;
            return error;
        }
    }

    private ulong Count(SnapshotTree tree, ulong id)
    {
        lock (_gate)
        {
            return CountLocked(tree, id);
        }
    }

    private ulong CountLocked(SnapshotTree tree, ulong id)
    {
        ulong shown = IdOf(tree.Id.Value, id);
        while (_nodes.TryGetValue(shown, out Node? other) && (other.Tree != tree || other.Id != id))
        {
            shown = OfSnapshots | (shown + 1); // two files met: the later one is the next number for as long as the other is known
        }

        if (!_nodes.TryGetValue(shown, out Node? node))
        {
            node = new Node(tree, id);
            _nodes.Add(shown, node);
            tree.Uses++;
        }

        node.Lookups++;
        return shown;
    }

    /// <summary>The id that a file of a snapshot is shown under: 63 bits of a mix (SplitMix64's, which permutes).</summary>
    private static ulong IdOf(ulong snapshot, ulong id)
    {
        unchecked
        {
            ulong mixed = OfSnapshots | Mix(Mix(snapshot + 0x9e3779b97f4a7c15) ^ id);
            return mixed == FolderId ? mixed + 1 : mixed;
        }
    }

    private static ulong OfText(string name)
    {
        ulong mixed = 0;
        foreach (char one in name)
        {
            mixed = Mix(mixed ^ one);
        }

        return mixed;
    }

    private static ulong Mix(ulong value)
    {
        unchecked
        {
            value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
            value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
            return value ^ (value >> 31);
        }
    }

    private bool TryNode(ulong fileId, [NotNullWhen(true)] out Node? node)
    {
        lock (_gate)
        {
            return _nodes.TryGetValue(fileId, out node);
        }
    }

    private bool TryHandle(ulong handle, [NotNullWhen(true)] out SnapshotHandle? open)
    {
        lock (_gate)
        {
            return _handles.TryGetValue(handle, out open);
        }
    }

    private ulong Hold(SnapshotHandle open)
    {
        lock (_gate)
        {
            if (open.Tree is { } tree)
            {
                tree.Uses++;
            }

            _handles.Add(++_nextHandle, open);
            return _nextHandle;
        }
    }

    /// <summary>Closes a snapshot's tree that nobody has a use for.</summary>
    private void LetGo(SnapshotTree? tree)
    {
        if (tree is null)
        {
            return;
        }

        lock (_gate)
        {
            if (tree.Uses > 0 || !_trees.TryGetValue(tree.Id, out SnapshotTree? known) || known != tree)
            {
                return;
            }

            _ = _trees.Remove(tree.Id);
        }

        tree.Tree.DisposeAsync().AsTask().GetAwaiter().GetResult(); // completes at once: nothing is to be committed
    }

    private static FileTime TimeOf(SnapshotRecord snapshot) => new(snapshot.TimeNs / 1_000_000_000, (uint)(snapshot.TimeNs % 1_000_000_000));

    /// <summary>Leaves out what the folder of snapshots hides.</summary>
    private sealed class TopmostSink(IDirectorySink sink) : IDirectorySink
    {
        public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie) => name.SequenceEqual(FolderName) || sink.TryAdd(name, attributes, cookie);
    }

    /// <summary>Shows a snapshot's ids as this view has them, and counts what the front end takes.</summary>
    private sealed class SnapshotSink(VolumeView view, SnapshotTree tree, ulong rootId, bool withAttributes, IDirectorySink sink) : IDirectorySink
    {
        public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
        {
            bool isParent = name.SequenceEqual(".."u8);
            if (isParent && rootId != 0)
            {
                return view.DescribeFolder(out InodeAttributes folder) == FileError.None && sink.TryAdd(name, folder, cookie);
            }

            bool isCounted = withAttributes && !isParent && !name.SequenceEqual("."u8);
            ulong id = isCounted ? view.Count(tree, attributes.FileId) : IdOf(tree.Id.Value, attributes.FileId);
            bool isTaken = sink.TryAdd(name, attributes with { FileId = id }, cookie);
            if (isCounted && !isTaken)
            {
                view.Discount(id);
            }

            return isTaken;
        }
    }

    /// <summary>Takes back what was not taken; the tree does the same for itself.</summary>
    private void Discount(ulong shown)
    {
        lock (_gate)
        {
            if (_nodes.TryGetValue(shown, out Node? node) && --node.Lookups == 0)
            {
                _ = _nodes.Remove(shown);
                node.Tree!.Uses--;
            }
        }
    }
}
