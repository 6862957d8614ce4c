using System.Text;

namespace TokTok.Storage.Files;

/// <content>Attributes, ordinary and extended.</content>
public sealed partial class ActiveTree
{
    /// <summary>The kernel's own limit of a list of names (XATTR_LIST_MAX): what does not fit could be set and never listed.</summary>
    private const int MaxXattrNames = 64 * 1024;

    private static ReadOnlySpan<byte> RedundancyName => "user.tdfs.redundancy"u8;

    public FileError GetAttributes(ulong fileId, out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = TryInode(fileId, out Inode inode);
        return error != FileError.None ? error : Describe(inode, out attributes);
    }

    public FileError SetAttributes(in FileCaller caller, ulong fileId, in AttributeChange change, out InodeAttributes attributes)
    {
        attributes = default;
        FileError error = TryInode(fileId, out Inode inode);
        error = error == FileError.None && change.Size is not null ? CheckSize(inode, change.Size.Value) : error;
        error = error == FileError.None && change.Size is not null ? AwaitRoom() : error;
        error = error == FileError.None && change.Mode is not null ? TryXattrs(inode, out _) : error; // an access control list follows the mode
        if (error != FileError.None)
        {
            return error;
        }

        _cut.EnterReadLock();
        try
        {
            lock (inode.Gate)
            {
                ulong stamp = NextStamp();
                SetLocked(inode, change, Now(), stamp);
                MarkDirty(inode, stamp);
            }
        }
        finally
        {
            _cut.ExitReadLock();
        }

        if (change.DropsPrivileges)
        {
            DropCapabilities(inode);
        }

        Notify(change.Size is null ? VolumeChangeKind.Attributes : VolumeChangeKind.Content, inode, default, caller.FrontEnd);
        AfterChange();
        return Describe(inode, out attributes);
    }

    public FileError ReadLink(ulong fileId, Span<byte> target, out int bytes)
    {
        bytes = 0;
        FileError error = TryInode(fileId, out Inode inode);
        if (error != FileError.None || inode.Type != EntryType.Symlink)
        {
            return error != FileError.None ? error : FileError.EINVAL;
        }

        bytes = Math.Min(target.Length, inode.Target.Length);
        inode.Target.Span[..bytes].CopyTo(target);
        return FileError.None;
    }

    public FileError GetXattr(ulong fileId, ReadOnlySpan<byte> name, Span<byte> value, out int bytes)
    {
        bytes = 0;
        FileError error = TryInode(fileId, out Inode inode);
        error = error == FileError.None ? TryXattrs(inode, out List<Xattr> xattrs) : Empty(error, out xattrs);
        if (error != FileError.None)
        {
            return error;
        }

        int at = IndexOf(xattrs, name);
        if (at < 0)
        {
            error = CheckXattrName(name);
            return error != FileError.None ? error : FileError.ENODATA;
        }

        bytes = xattrs[at].Value.Length;
        if (value.IsEmpty)
        {
            return FileError.None;
        }

        if (bytes > value.Length)
        {
            return FileError.ERANGE;
        }

        xattrs[at].Value.Span.CopyTo(value);
        return FileError.None;
    }

    public FileError ListXattrs(ulong fileId, Span<byte> names, out int bytes)
    {
        bytes = 0;
        FileError error = TryInode(fileId, out Inode inode);
        error = error == FileError.None ? TryXattrs(inode, out List<Xattr> xattrs) : Empty(error, out xattrs);
        if (error != FileError.None)
        {
            return error;
        }

        bytes = xattrs.Sum(static xattr => xattr.Name.Length + 1);
        if (names.IsEmpty)
        {
            return FileError.None;
        }

        if (bytes > names.Length)
        {
            return FileError.ERANGE;
        }

        foreach (Xattr xattr in xattrs)
        {
            xattr.Name.Span.CopyTo(names);
            names[xattr.Name.Length] = 0;
            names = names[(xattr.Name.Length + 1)..];
        }

        return FileError.None;
    }

    public FileError SetXattr(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, XattrMode mode)
    {
        FileError error = CheckXattrName(name);
        error = error == FileError.None && value.Length > AttributeList.MaxValueBytes ? FileError.E2BIG : error;
        error = error == FileError.None && AccessControlList.IsName(name) ? CheckList(fileId, name, value) : error;
        error = error == FileError.None ? AwaitRoom() : error;
        error = error == FileError.None ? AcceptBytes(name.Length + value.Length) : error;
        return error != FileError.None ? error : ChangeXattrs(caller, fileId, name, new Xattr(name.ToArray(), value.ToArray()), mode);
    }

    public FileError RemoveXattr(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name)
    {
        FileError error = ChangeXattrs(caller, fileId, name, null, XattrMode.Replace);
        if (error != FileError.ENODATA)
        {
            return error;
        }

        FileError named = CheckXattrName(name);
        return named != FileError.None ? named : AccessControlList.IsName(name) ? FileError.None : error; // a list that is not there is removed
    }

    private FileError CheckList(ulong fileId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        FileError error = TryInode(fileId, out Inode inode);
        return error != FileError.None ? error
            : inode.Type == EntryType.Symlink ? FileError.EOPNOTSUPP
            : !AccessControlList.IsValid(value) ? FileError.EINVAL
            : !inode.IsDirectory && name.SequenceEqual(AccessControlList.DefaultName) ? FileError.EACCES
            : FileError.None;
    }

    /// <summary>Names are of the kernel's four families, and say more than the family. What an import brought under another name is read and removed all the same.</summary>
    private static FileError CheckXattrName(ReadOnlySpan<byte> name)
    {
        if (name.IsEmpty || name.Length > AttributeList.MaxNameBytes || name.Contains((byte)0))
        {
            return name.Contains((byte)0) ? FileError.EINVAL : FileError.ERANGE;
        }

        if (AccessControlList.IsName(name))
        {
            return FileError.None;
        }

        bool isKnown = name.StartsWith("user."u8) || name.StartsWith("trusted."u8) || name.StartsWith("security."u8);
        return !isKnown ? FileError.EOPNOTSUPP : name[^1] == '.' && name.Count((byte)'.') == 1 ? FileError.EINVAL : FileError.None;
    }

    /// <summary>What stat says, with a directory's subdirectories counted. The inode is remembered, open or a parent, so it stays.</summary>
    private FileError Describe(Inode inode, out InodeAttributes attributes)
    {
        attributes = default;
        uint links;
        while (true)
        {
            lock (_names)
            {
                if (!inode.IsDirectory)
                {
                    links = inode.LinkCount;
                    break;
                }

                if (inode.LinkCount == 0)
                {
                    links = 0;
                    break;
                }

                if (inode.NameCount == 0)
                {
                    inode.Subdirectories = 0;
                }

                if (inode.Subdirectories is uint subdirectories)
                {
                    links = subdirectories > Inode.MaxSubdirectories ? 1 : subdirectories + 2;
                    break;
                }
            }

            FileError error = CountSubdirectories(inode);
            if (error != FileError.None)
            {
                return error;
            }
        }

        lock (inode.Gate)
        {
            attributes = inode.DescribeLocked(links);
        }

        return FileError.None;
    }

    /// <summary>Counts once what nothing else keeps: the directories among a directory's names. From then on every change of names counts along.</summary>
    private FileError CountSubdirectories(Inode directory)
    {
        TableRoot committed;
        long version;
        KeyValuePair<byte[], NameChange>[] changes;
        lock (_names)
        {
            committed = directory.Children;
            version = directory.NamesVersion;
            changes = directory.Names is { } names ? [.. names.All] : [];
        }

        int count = 0;
        try
        {
            var cursor = new TableCursor(_tables, committed);
            cursor.Seek(default);
            while (cursor.MoveNext() && count <= Inode.MaxSubdirectories)
            {
                count += EntryFormat.ReadHead(cursor.Current.Value).Type == EntryType.Directory ? 1 : 0;
            }

            foreach ((byte[] name, NameChange change) in changes)
            {
                bool was = _tables.Find(committed, name) is { } value && EntryFormat.ReadHead(value).Type == EntryType.Directory;
                bool isNow = change.Child is { IsDirectory: true };
                count += (isNow ? 1 : 0) - (was ? 1 : 0);
            }
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out FileError error))
        {
            return error;
        }

        lock (_names)
        {
            // A commit in between moved changes into the table: they are counted already, once.
            if (directory.NamesVersion == version)
            {
                directory.Subdirectories = (uint)Math.Max(0, count); // too many to count may come out as fewer
            }
        }

        return FileError.None;
    }

    private static FileError CheckSize(Inode inode, long size) =>
        inode.IsDirectory ? FileError.EISDIR
        : inode.Type != EntryType.File || size < 0 ? FileError.EINVAL
        : size > MaxFileBytes ? FileError.EFBIG
        : FileError.None;

    private void SetLocked(Inode inode, in AttributeChange change, FileTime now, ulong stamp)
    {
        bool isFile = inode.Type == EntryType.File;
        if (change.Size is long size)
        {
            bool isSame = size == inode.Size;
            ResizeLocked(inode, size);
            inode.Modified = isSame && !change.Modified.IsNone ? inode.Modified : now;
        }

        if (change.OwnerId is not null || change.GroupId is not null)
        {
            (inode.OwnerId, inode.OwnerName) = change.OwnerId is uint owner && owner != inode.OwnerId ? (owner, null) : (inode.OwnerId, inode.OwnerName);
            (inode.GroupId, inode.GroupName) = change.GroupId is uint group && group != inode.GroupId ? (group, null) : (inode.GroupId, inode.GroupName);
            DropSetIdLocked(inode, !inode.IsDirectory);
        }

        DropSetIdLocked(inode, change.DropsPrivileges && isFile);
        if (change.Mode is uint mode)
        {
            inode.Mode = mode & EntryLimits.MaxMode;
            if (inode.Xattrs is { } xattrs && IndexOf(xattrs, AccessControlList.AccessName) is int at and >= 0 && AccessControlList.IsValid(xattrs[at].Value.Span))
            {
                List<Xattr> changed = [.. xattrs];
                changed[at] = new Xattr(xattrs[at].Name, AccessControlList.WithMode(xattrs[at].Value.Span, mode));
                inode.Xattrs = changed;
                inode.XattrsStamp = stamp;
            }
        }

        inode.Accessed = change.Accessed.Apply(inode.Accessed, now);
        inode.Modified = change.Modified.Apply(inode.Modified, now);
        inode.Changed = change.Changed.IsNone ? now : change.Changed.Apply(inode.Changed, now);
    }

    /// <summary>set-user-id goes, and set-group-id where it is one: without execute permission of the group the bit says something else.</summary>
    private static void DropSetIdLocked(Inode inode, bool isAsked)
    {
        if (isAsked)
        {
            inode.Mode &= ~(SetUserId | ((inode.Mode & GroupExecute) != 0 ? SetGroupId : 0));
        }
    }

    /// <summary>File capabilities go with a write or a change of size by someone without privilege.</summary>
    private void DropCapabilities(Inode inode)
    {
        lock (inode.Gate)
        {
            if (inode.Xattrs is null && inode.Attributes.IsNone)
            {
                return;
            }
        }

        _ = ChangeXattrs(default, inode.Id, "security.capability"u8, null, XattrMode.Replace);
    }

    private static FileError Empty(FileError error, out List<Xattr> xattrs)
    {
        xattrs = [];
        return error;
    }

    /// <summary>An inode's extended attributes, read if need be. The list is never changed, only replaced.</summary>
    private FileError TryXattrs(Inode inode, out List<Xattr> xattrs)
    {
        while (true)
        {
            StoredAttributes stored;
            lock (inode.Gate)
            {
                if (inode.Xattrs is { } known)
                {
                    xattrs = known;
                    return FileError.None;
                }

                stored = inode.Attributes;
                if (stored.IsNone)
                {
                    xattrs = [];
                    return FileError.None;
                }
            }

            try
            {
                List<Xattr> loaded = [.. AttributeList.LoadAsync(_blocks, stored, CancellationToken.None).Wait()];
                lock (inode.Gate)
                {
                    if (inode.Xattrs is null && ReferenceEquals(inode.Attributes, stored))
                    {
                        inode.Xattrs = loaded;
                    }
                }
            }
            catch (Exception failure) when (Trouble.TryTell(failure, out FileError error))
            {
                xattrs = [];
                return error;
            }
        }
    }

    private FileError ChangeXattrs(in FileCaller caller, ulong fileId, ReadOnlySpan<byte> name, Xattr? value, XattrMode mode)
    {
        FileError error = TryInode(fileId, out Inode inode);
        while (error == FileError.None)
        {
            error = TryXattrs(inode, out List<Xattr> seen);
            if (error != FileError.None)
            {
                break;
            }

            _cut.EnterReadLock();
            try
            {
                lock (inode.Gate)
                {
                    if (inode.Xattrs is { } present ? !ReferenceEquals(present, seen) : seen.Count > 0 || !inode.Attributes.IsNone)
                    {
                        continue; // somebody else changed them meanwhile
                    }

                    error = ReplaceXattrLocked(inode, seen, name, value, mode);
                }
            }
            finally
            {
                _cut.ExitReadLock();
            }

            if (error == FileError.None)
            {
                Notify(VolumeChangeKind.Attributes, inode, default, caller.FrontEnd);
                AfterChange();
            }

            return error;
        }

        return error;
    }

    private FileError ReplaceXattrLocked(Inode inode, List<Xattr> seen, ReadOnlySpan<byte> name, Xattr? value, XattrMode mode)
    {
        int at = IndexOf(seen, name);
        if ((mode & (at >= 0 ? XattrMode.Create : XattrMode.Replace)) != 0)
        {
            return at >= 0 ? FileError.EEXIST : FileError.ENODATA;
        }

        uint fileMode = inode.Mode;
        if (value is Xattr list && name.SequenceEqual(AccessControlList.AccessName))
        {
            fileMode = AccessControlList.ModeOf(list.Value.Span, fileMode, out bool isMinimal) & ((mode & XattrMode.DropSetGroupId) != 0 ? ~SetGroupId : ~0u);
            value = isMinimal ? null : value;
        }

        List<Xattr> changed = [.. seen];
        if (at >= 0)
        {
            changed.RemoveAt(at);
        }

        if (value is Xattr added)
        {
            if (changed.Count >= AttributeList.MaxAttributes || changed.Sum(static xattr => xattr.Name.Length + 1) + name.Length + 1 > MaxXattrNames)
            {
                return FileError.ENOSPC;
            }

            changed.Insert(at >= 0 ? at : ~at, added);
        }

        ulong stamp = NextStamp();
        inode.Xattrs = changed;
        inode.XattrsStamp = stamp;
        inode.Mode = fileMode;
        inode.Changed = Now();
        if (inode.IsDirectory && name.SequenceEqual(RedundancyName))
        {
            inode.Survive = value is Xattr wish && DirectoryRedundancy.TryParse(Encoding.UTF8.GetString(wish.Value.Span), out RedundancyWish parsed) ? parsed.Survive : null;
        }

        MarkDirty(inode, stamp);
        return FileError.None;
    }

    /// <summary>Where the name stands, or the complement of where it would.</summary>
    private static int IndexOf(List<Xattr> xattrs, ReadOnlySpan<byte> name)
    {
        int low = 0;
        int high = xattrs.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            int order = xattrs[middle].Name.Span.SequenceCompareTo(name);
            if (order == 0)
            {
                return middle;
            }

            (low, high) = order < 0 ? (middle + 1, high) : (low, middle);
        }

        return ~low;
    }
}
