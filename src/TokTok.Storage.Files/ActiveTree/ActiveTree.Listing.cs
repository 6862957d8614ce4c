namespace TokTok.Storage.Files;

/// <content>Directories read from end to end.</content>
public sealed partial class ActiveTree
{
    public FileError OpenDirectory(ulong directoryId, out ulong handle)
    {
        handle = 0;
        Inode directory;
        lock (_names)
        {
            FileError error = TryDirectory(directoryId, out directory);
            if (error != FileError.None)
            {
                return error;
            }

            directory.Opens++;
        }

        handle = _handles.Add(new OpenInode(directory, OpenOptions.None, 0) { Listing = new DirectoryListing(_tables) });
        return FileError.None;
    }

    public FileError ReadDirectory(ulong handle, ulong cookie, bool withAttributes, IDirectorySink sink)
    {
        ArgumentNullException.ThrowIfNull(sink);
        if (!_handles.TryGet(handle, out OpenInode? open) || open.Listing is not { } listing)
        {
            return FileError.EBADF;
        }

        lock (listing.Gate)
        {
            try
            {
                if (cookie == 0 || !listing.IsBegun)
                {
                    Begin(open.Inode, listing);
                }

                return List(open.Inode, listing, cookie, withAttributes, sink);
            }
            catch (Exception failure) when (Trouble.TryTell(failure, out FileError error))
            {
                return error;
            }
        }
    }

    private void Begin(Inode directory, DirectoryListing listing)
    {
        TableRoot committed;
        long version;
        KeyValuePair<byte[], bool>[] changes;
        lock (_names)
        {
            committed = directory.Children;
            version = directory.NamesVersion;
            changes = directory.Names is { } names ? [.. names.All.Select(static change => KeyValuePair.Create(change.Key, change.Value.Child is not null))] : [];
        }

        listing.Begin(committed, version, changes);
    }

    private FileError List(Inode directory, DirectoryListing listing, ulong cookie, bool withAttributes, IDirectorySink sink)
    {
        for (; cookie < DirectoryListing.DotCookies; cookie++)
        {
            Inode dot;
            lock (_names)
            {
                dot = cookie == 0 ? directory : directory.Parent ?? directory;
            }

            InodeAttributes attributes = Identity(dot.Id, dot.Type);
            FileError error = withAttributes ? Describe(dot, out attributes) : FileError.None;
            if (error != FileError.None || !sink.TryAdd(cookie == 0 ? "."u8 : ".."u8, attributes, cookie + 1))
            {
                return error;
            }
        }

        listing.MoveTo(cookie);
        while (listing.Name is { } name)
        {
            FileError error = Resolve(directory, listing, name.Span, withAttributes, out Inode? inode, out EntryHead head);
            if (error == FileError.ENOENT)
            {
                listing.Advance(); // gone since the listing began
                continue;
            }

            InodeAttributes attributes = Identity(head.FileId, head.Type);
            error = error == FileError.None && inode is not null ? Describe(inode, out attributes) : error;
            bool isTaken = error == FileError.None && sink.TryAdd(name.Span, attributes, listing.Cookie);
            if (!isTaken)
            {
                if (inode is not null)
                {
                    Forget(inode.Id, 1);
                }

                return error;
            }

            listing.Advance();
        }

        return FileError.None;
    }

    /// <param name="inode">Counted as looked up; null where attributes are not wanted.</param>
    private FileError Resolve(Inode directory, DirectoryListing listing, ReadOnlySpan<byte> name, bool withAttributes, out Inode? inode, out EntryHead head)
    {
        while (true)
        {
            FileError error;
            TableMiss miss;
            lock (_names)
            {
                bool isAsBegun = directory.NamesVersion == listing.Version && ReferenceEquals(directory.Children, listing.Committed);
                if (!withAttributes && isAsBegun && !listing.Stored.IsEmpty)
                {
                    inode = null;
                    head = EntryFormat.ReadHead(listing.Stored);
                    return FileError.None;
                }

                error = FindLocked(directory, name, out inode, out miss);
                head = inode is null ? default : new EntryHead(inode.Type, inode.Id, false);
                if (inode is not null && withAttributes)
                {
                    inode.Lookups++;
                }
                else if (inode is not null)
                {
                    DropIfIdleLocked(inode);
                    inode = null;
                }
            }

            if (error == Unread)
            {
                error = Load(miss);
                if (error == FileError.None)
                {
                    continue;
                }
            }

            return error;
        }
    }

    private static InodeAttributes Identity(ulong fileId, EntryType type) =>
        new() { FileId = fileId, Type = type, Mode = 0, LinkCount = 0, OwnerId = 0, GroupId = 0, Size = 0 };
}
