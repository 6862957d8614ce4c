namespace TokTok.Storage.Files;

/// <content>Names: finding, making, linking, removing and renaming.</content>
public sealed partial class ActiveTree
{
    private const uint SetUserId = 0x800;
    private const uint SetGroupId = 0x400;
    private const uint GroupExecute = 0x8;

    public FileError Lookup(ulong directoryId, ReadOnlySpan<byte> name, out InodeAttributes attributes)
    {
        attributes = default;
        while (true)
        {
            FileError error;
            TableMiss miss = default;
            Inode? child = null;
            lock (_names)
            {
                error = TryDirectory(directoryId, out Inode directory);
                error = error == FileError.None ? CheckName(name) : error;
                if (error == FileError.None && IsDot(name))
                {
                    child = name.Length == 1 ? directory : directory.Parent ?? directory;
                }
                else if (error == FileError.None)
                {
                    error = FindLocked(directory, name, out child, out miss);
                }

                if (child is not null)
                {
                    child.Lookups++;
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

            return child is null ? error : Describe(child, out attributes);
        }
    }

    public void Forget(ulong fileId, ulong count)
    {
        lock (_names)
        {
            if (TryInode(fileId, out Inode inode) == FileError.None && inode != _root)
            {
                inode.Lookups -= Math.Min(count, inode.Lookups);
                DropIfIdleLocked(inode);
            }
        }
    }

    public FileError Create(
        in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, uint mode, OpenOptions options, out InodeAttributes attributes, out ulong handle) =>
        Make(caller, new NewInode(EntryType.File, mode) { Options = options }, directoryId, name, default, out attributes, out handle);

    public FileError MakeDirectory(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, uint mode, out InodeAttributes attributes) =>
        Make(caller, new NewInode(EntryType.Directory, mode), directoryId, name, default, out attributes, out _);

    public FileError MakeSpecial(
        in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, EntryType type, uint mode, uint deviceMajor, uint deviceMinor, out InodeAttributes attributes)
    {
        if (type is EntryType.Directory or EntryType.Symlink || type is < EntryType.File or > EntryType.Socket)
        {
            attributes = default;
            return FileError.EINVAL;
        }

        return Make(caller, new NewInode(type, mode) { DeviceMajor = deviceMajor, DeviceMinor = deviceMinor }, directoryId, name, default, out attributes, out _);
    }

    public FileError MakeSymlink(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> target, out InodeAttributes attributes)
    {
        attributes = default;
        return target.IsEmpty ? FileError.ENOENT
            : target.Length >= EntryLimits.MaxSymlinkBytes ? FileError.ENAMETOOLONG
            : Make(caller, new NewInode(EntryType.Symlink, 0x1ff), directoryId, name, target, out attributes, out _);
    }

    public FileError CreateTemporary(in FileCaller caller, ulong directoryId, uint mode, OpenOptions options, out InodeAttributes attributes, out ulong handle)
    {
        attributes = default;
        handle = 0;
        Inode made;
        FileError unread = LoadDefaults(directoryId);
        if (unread != FileError.None)
        {
            return unread;
        }

        _cut.EnterReadLock();
        try
        {
            lock (_names)
            {
                FileError error = TryDirectory(directoryId, out Inode directory);
                if (error != FileError.None || directory.LinkCount == 0)
                {
                    return error != FileError.None ? error : FileError.ENOENT;
                }

                made = NewInodeLocked(caller, new NewInode(EntryType.File, mode), directory, default, Now(), NextStamp());
                made.LinkCount = 0;
                made.IsTemporary = (options & OpenOptions.Exclusive) == 0;
                made.Lookups = 1;
                made.Opens = 1;
                AddInodeLocked(made);
            }
        }
        finally
        {
            _cut.ExitReadLock();
        }

        handle = _handles.Add(new OpenInode(made, options, caller.FrontEnd));
        return Describe(made, out attributes);
    }

    public FileError Link(in FileCaller caller, ulong fileId, ulong directoryId, ReadOnlySpan<byte> name, out InodeAttributes attributes)
    {
        attributes = default;
        while (true)
        {
            FileError error;
            TableMiss miss;
            Inode file;
            Inode directory;
            _cut.EnterReadLock();
            try
            {
                lock (_names)
                {
                    error = LinkLocked(fileId, directoryId, name, out file, out directory, out miss);
                }
            }
            finally
            {
                _cut.ExitReadLock();
            }

            if (error == Unread)
            {
                error = Load(miss);
                if (error == FileError.None)
                {
                    continue;
                }
            }

            if (error != FileError.None)
            {
                return error;
            }

            Notify(VolumeChangeKind.Name, directory, name, caller.FrontEnd);
            Notify(VolumeChangeKind.Attributes, file, default, caller.FrontEnd);
            AfterChange();
            return Describe(file, out attributes);
        }
    }

    public FileError Unlink(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name) => Remove(caller, directoryId, name, isDirectory: false);

    public FileError RemoveDirectory(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name) => Remove(caller, directoryId, name, isDirectory: true);

    public FileError Rename(in FileCaller caller, ulong fromDirectoryId, ReadOnlySpan<byte> fromName, ulong toDirectoryId, ReadOnlySpan<byte> toName, RenameMode mode)
    {
        while (true)
        {
            FileError error;
            TableMiss miss;
            Inode from;
            Inode to;
            _cut.EnterReadLock();
            try
            {
                lock (_names)
                {
                    error = RenameLocked(fromDirectoryId, fromName, toDirectoryId, toName, mode, out from, out to, out miss);
                }
            }
            finally
            {
                _cut.ExitReadLock();
            }

            if (error == Unread)
            {
                error = Load(miss);
                if (error == FileError.None)
                {
                    continue;
                }
            }

            if (error == FileError.None)
            {
                Notify(VolumeChangeKind.Name, from, fromName, caller.FrontEnd);
                Notify(VolumeChangeKind.Name, to, toName, caller.FrontEnd);
                AfterChange();
            }

            return error;
        }
    }

    /// <summary>What a name of a directory stands for. The inode may be idle: whoever does not count it lets it go (<see cref="DropIfIdleLocked"/>).</summary>
    private FileError FindLocked(Inode directory, ReadOnlySpan<byte> name, out Inode? child, out TableMiss miss)
    {
        child = null;
        miss = default;
        if (directory.Names is { } names && names.TryGet(name, out NameChange change))
        {
            child = change.Child;
            return child is null ? FileError.ENOENT : FileError.None;
        }

        TableFinding finding = _tables.TryFind(directory.Children, name, out ReadOnlyMemory<byte> value, out miss);
        return finding switch
        {
            TableFinding.Absent => FileError.ENOENT,
            TableFinding.Unread => Unread,
            _ => FromValueLocked(directory, name, value, out child, out miss),
        };
    }

    /// <summary>The inode of an entry in a directory's committed table.</summary>
    private FileError FromValueLocked(Inode directory, ReadOnlySpan<byte> name, ReadOnlyMemory<byte> value, out Inode? child, out TableMiss miss)
    {
        miss = default;
        EntryHead head = EntryFormat.ReadHead(value);
        if (_inodes.TryGetValue(head.FileId, out child))
        {
            return FileError.None;
        }

        if (!head.IsLink)
        {
            child = new Inode(Entry.Decode(value.ToArray())) { Parent = directory, Name = name.ToArray() };
            AddInodeLocked(child);
            return FileError.None;
        }

        return FromLinkLocked(head.FileId, head.Type, out child, out miss);
    }

    /// <summary>The inode of a file of several names.</summary>
    /// <param name="type">What its name says it is; null: nobody says.</param>
    private FileError FromLinkLocked(ulong id, EntryType? type, out Inode? child, out TableMiss miss)
    {
        miss = default;
        if (_inodes.TryGetValue(id, out child))
        {
            return FileError.None;
        }

        switch (_tables.TryFind(_links, LinkTable.Key(id), out ReadOnlyMemory<byte> record, out miss))
        {
            case TableFinding.Unread:
                return Unread;
            case TableFinding.Found when Entry.Decode(record.ToArray()) is { IsLink: false } entry && entry.FileId == id && (type is null || entry.Type == type):
                child = new Inode(entry) { IsLinked = true };
                AddInodeLocked(child);
                return FileError.None;
            default:
                return FileError.EIO; // a name without its record, or with another's
        }
    }

    /// <summary>Lets a name stand for another inode, or for nothing.</summary>
    /// <param name="before">What it stood for.</param>
    private void PutNameLocked(Inode directory, byte[] name, Inode? before, Inode? child, ulong stamp, FileTime now)
    {
        directory.Names ??= new NameChanges();
        directory.Names.Put(name, new NameChange(child, stamp));
        directory.NamesVersion++;
        int added = (child is null ? 0 : 1) - (before is null ? 0 : 1);
        directory.NameCount += added;
        _entryCount += added;
        if (directory.Subdirectories is uint subdirectories)
        {
            uint counted = subdirectories + (child is { IsDirectory: true } ? 1u : 0) - (before is { IsDirectory: true } ? 1u : 0);

            // Beyond the bound it was not counted to the end: where some go it is counted anew when asked.
            directory.Subdirectories = subdirectories <= Inode.MaxSubdirectories ? counted : counted < subdirectories ? null : subdirectories;
        }

        lock (directory.Gate)
        {
            directory.Modified = now;
            directory.Changed = now;
        }

        MarkDirty(directory, stamp);
    }

    private static void SetChanged(Inode inode, FileTime now)
    {
        lock (inode.Gate)
        {
            inode.Changed = now;
        }
    }

    private readonly record struct NewInode(EntryType Type, uint Mode)
    {
        internal uint DeviceMajor { get; init; }

        internal uint DeviceMinor { get; init; }

        /// <summary>Of a file that is opened with it; else null.</summary>
        internal OpenOptions? Options { get; init; }
    }

    /// <summary>Reads a directory's extended attributes, unless it has none: what is made in it may inherit a list. Once read they stay for as long as the directory does.</summary>
    private FileError LoadDefaults(ulong directoryId) => TryInode(directoryId, out Inode directory) == FileError.None ? TryXattrs(directory, out _) : FileError.None;

    private Inode NewInodeLocked(in FileCaller caller, in NewInode wanted, Inode directory, ReadOnlySpan<byte> target, FileTime now, ulong stamp)
    {
        uint directoryMode;
        uint directoryGroup;
        Xattr? defaults = null;
        lock (directory.Gate)
        {
            directoryMode = directory.Mode;
            directoryGroup = directory.GroupId;
            if (directory.Xattrs is { Count: > 0 } xattrs && IndexOf(xattrs, AccessControlList.DefaultName) is int at and >= 0)
            {
                defaults = xattrs[at];
            }
        }

        bool handsDown = (directoryMode & SetGroupId) != 0;
        uint mode = wanted.Mode & EntryLimits.MaxMode;
        List<Xattr>? inherited = null;
        if (wanted.Type != EntryType.Symlink && defaults is Xattr list && AccessControlList.IsValid(list.Value.Span))
        {
            byte[]? own = AccessControlList.Inherit(list.Value.Span, ref mode);
            inherited = own is null ? [] : [new Xattr(AccessControlList.AccessName.ToArray(), own)];
            inherited.AddRange(wanted.Type == EntryType.Directory ? [list] : []); // ascending by name
        }
        else if (wanted.Type != EntryType.Symlink)
        {
            mode &= ~caller.Umask;
        }

        return new Inode(wanted.Type, _ids.Next())
        {
            Mode = mode | (handsDown && wanted.Type == EntryType.Directory ? SetGroupId : 0),
            OwnerId = caller.UserId,
            GroupId = handsDown ? directoryGroup : caller.GroupId,
            Xattrs = inherited is { Count: > 0 } ? inherited : null,
            XattrsStamp = inherited is { Count: > 0 } ? stamp : 0,
            Accessed = now,
            Modified = now,
            Changed = now,
            Subdirectories = wanted.Type == EntryType.Directory ? 0 : null,
            Rule = _volume.Root.DefaultRule,
            Target = target.ToArray(),
            DeviceMajor = wanted.DeviceMajor,
            DeviceMinor = wanted.DeviceMinor,
        };
    }

    private FileError Make(
        in FileCaller caller, in NewInode wanted, ulong directoryId, ReadOnlySpan<byte> name, ReadOnlySpan<byte> target, out InodeAttributes attributes, out ulong handle)
    {
        attributes = default;
        handle = 0;
        FileError error = AwaitRoom();
        error = error == FileError.None ? AcceptBytes(ChangeBytes) : error;
        error = error == FileError.None ? LoadDefaults(directoryId) : error;
        while (error == FileError.None)
        {
            TableMiss miss;
            Inode? inode;
            Inode directory;
            bool isNew;
            _cut.EnterReadLock();
            try
            {
                lock (_names)
                {
                    error = MakeLocked(caller, wanted, directoryId, name, target, out directory, out inode, out isNew, out miss);
                    if (inode is not null)
                    {
                        inode.Lookups++;
                        inode.Opens += wanted.Options is null ? 0 : 1;
                    }
                }
            }
            finally
            {
                _cut.ExitReadLock();
            }

            if (error == Unread)
            {
                error = Load(miss);
                continue;
            }

            if (inode is null)
            {
                break;
            }

            if (wanted.Options is OpenOptions options)
            {
                handle = _handles.Add(new OpenInode(inode, options, caller.FrontEnd));
                if (!isNew && (options & OpenOptions.Truncate) != 0)
                {
                    Resize(inode, 0, dropsPrivileges: false);
                    Notify(VolumeChangeKind.Content, inode, default, caller.FrontEnd);
                }
            }

            if (isNew)
            {
                Notify(VolumeChangeKind.Name, directory, name, caller.FrontEnd);
                AfterChange();
            }

            return Describe(inode, out attributes);
        }

        return error;
    }

    /// <param name="inode">Null unless all is well.</param>
    private FileError MakeLocked(
        in FileCaller caller,
        in NewInode wanted,
        ulong directoryId,
        ReadOnlySpan<byte> name,
        ReadOnlySpan<byte> target,
        out Inode directory,
        out Inode? inode,
        out bool isNew,
        out TableMiss miss)
    {
        inode = null;
        isNew = false;
        miss = default;
        FileError error = TryDirectory(directoryId, out directory);
        error = error == FileError.None ? CheckName(name) : error;
        if (error != FileError.None)
        {
            return error;
        }

        if (IsDot(name))
        {
            return wanted.Options is null ? FileError.EEXIST : FileError.EISDIR;
        }

        error = FindLocked(directory, name, out Inode? found, out miss);
        if (found is not null)
        {
            if (wanted.Options is not OpenOptions options || (options & OpenOptions.Exclusive) != 0)
            {
                error = FileError.EEXIST;
            }
            else if (found.Type != EntryType.File)
            {
                error = found.IsDirectory ? FileError.EISDIR : FileError.EINVAL;
            }
            else
            {
                inode = found;
                return FileError.None;
            }

            DropIfIdleLocked(found);
            return error;
        }

        if (error != FileError.ENOENT || directory.LinkCount == 0)
        {
            return error;
        }

        ulong stamp = NextStamp();
        FileTime now = Now();
        inode = NewInodeLocked(caller, wanted, directory, target, now, stamp);
        inode.Parent = directory;
        inode.Name = name.ToArray();
        AddInodeLocked(inode);
        _log?.Make(inode, directory, name);
        MarkDirty(inode, stamp);
        PutNameLocked(directory, inode.Name, null, inode, stamp, now);
        isNew = true;
        return FileError.None;
    }

    private FileError LinkLocked(ulong fileId, ulong directoryId, ReadOnlySpan<byte> name, out Inode file, out Inode directory, out TableMiss miss)
    {
        miss = default;
        directory = _root;
        FileError error = TryInode(fileId, out file);
        error = error == FileError.None ? TryDirectory(directoryId, out directory) : error;
        error = error == FileError.None ? CheckName(name) : error;
        if (error != FileError.None || IsDot(name))
        {
            return error != FileError.None ? error : FileError.EEXIST;
        }

        error = FindLocked(directory, name, out Inode? found, out miss);
        if (found is not null)
        {
            DropIfIdleLocked(found);
            return FileError.EEXIST;
        }

        if (error != FileError.ENOENT || directory.LinkCount == 0)
        {
            return error;
        }

        if (file.IsDirectory)
        {
            return FileError.EPERM;
        }

        if (file.LinkCount == 0 && !file.IsTemporary)
        {
            return FileError.ENOENT;
        }

        if (file.LinkCount >= MaxLinks)
        {
            return FileError.EMLINK;
        }

        ulong stamp = NextStamp();
        FileTime now = Now();
        byte[] copy = name.ToArray();
        if (file.LinkCount == 0)
        {
            _log?.Make(file, directory, name);
        }
        else
        {
            _log?.Link(file, directory, name, now);
        }

        if (file.LinkCount == 0)
        {
            file.IsTemporary = false;
            MoveLocked(file, directory, copy);
            lock (file.Gate)
            {
                file.XattrsStamp = file.XattrsStamp > 0 ? stamp : 0; // no intent has them yet
            }
        }
        else if (!file.IsLinked)
        {
            // Its record moves to the link table, and the name that it has becomes a link as well.
            file.IsLinked = true;
            if (file.Parent is { } parent)
            {
                parent.Names ??= new NameChanges();
                parent.Names.Put(file.Name, new NameChange(file, stamp));
                MarkDirty(parent, stamp);
            }

            MoveLocked(file, null, []);
        }

        file.LinkCount++;
        file.Lookups++;
        SetChanged(file, now);
        MarkDirty(file, stamp);
        PutNameLocked(directory, copy, null, file, stamp, now);
        return FileError.None;
    }

    private FileError Remove(in FileCaller caller, ulong directoryId, ReadOnlySpan<byte> name, bool isDirectory)
    {
        while (true)
        {
            FileError error;
            TableMiss miss;
            Inode directory;
            _cut.EnterReadLock();
            try
            {
                lock (_names)
                {
                    error = RemoveLocked(directoryId, name, isDirectory, out directory, out miss);
                }
            }
            finally
            {
                _cut.ExitReadLock();
            }

            if (error == Unread)
            {
                error = Load(miss);
                if (error == FileError.None)
                {
                    continue;
                }
            }

            if (error == FileError.None)
            {
                Notify(VolumeChangeKind.Name, directory, name, caller.FrontEnd);
                AfterChange();
            }

            return error;
        }
    }

    private FileError RemoveLocked(ulong directoryId, ReadOnlySpan<byte> name, bool isDirectory, out Inode directory, out TableMiss miss)
    {
        miss = default;
        FileError error = TryDirectory(directoryId, out directory);
        error = error == FileError.None ? CheckName(name) : error;
        if (error != FileError.None)
        {
            return error;
        }

        if (IsDot(name))
        {
            return !isDirectory ? FileError.EISDIR : name.Length == 1 ? FileError.EINVAL : FileError.ENOTEMPTY;
        }

        error = FindLocked(directory, name, out Inode? child, out miss);
        if (child is null)
        {
            return error;
        }

        if (child.IsDirectory != isDirectory)
        {
            DropIfIdleLocked(child);
            return isDirectory ? FileError.ENOTDIR : FileError.EISDIR;
        }

        if (isDirectory && child.NameCount > 0)
        {
            DropIfIdleLocked(child);
            return FileError.ENOTEMPTY;
        }

        ulong stamp = NextStamp();
        FileTime now = Now();
        _log?.Remove(directory, name, isDirectory, now);
        PutNameLocked(directory, name.ToArray(), child, null, stamp, now);
        LoseNameLocked(child, stamp, now);
        return FileError.None;
    }

    /// <summary>A file or directory has one name less.</summary>
    private void LoseNameLocked(Inode inode, ulong stamp, FileTime now)
    {
        inode.LinkCount--;
        SetChanged(inode, now);
        if (inode.LinkCount == 0 && inode.IsLinked)
        {
            _goneLinks[inode.Id] = stamp;
        }

        if (inode.LinkCount > 0)
        {
            MarkDirty(inode, stamp);
        }
        else
        {
            MoveLocked(inode, null, []);
        }

        DropIfIdleLocked(inode);
    }

    private void MoveLocked(Inode inode, Inode? parent, byte[] name) => MoveLocked(inode, parent, name, DropIfIdleLocked);

    private FileError RenameLocked(
        ulong fromDirectoryId,
        ReadOnlySpan<byte> fromName,
        ulong toDirectoryId,
        ReadOnlySpan<byte> toName,
        RenameMode mode,
        out Inode from,
        out Inode to,
        out TableMiss miss)
    {
        miss = default;
        to = _root;
        FileError error = TryDirectory(fromDirectoryId, out from);
        error = error == FileError.None ? TryDirectory(toDirectoryId, out to) : error;
        error = error == FileError.None ? CheckName(fromName) : error;
        error = error == FileError.None ? CheckName(toName) : error;
        if (error != FileError.None)
        {
            return error;
        }

        if (IsDot(fromName) || IsDot(toName))
        {
            return mode == RenameMode.KeepExisting && IsDot(toName) ? FileError.EEXIST : FileError.EBUSY;
        }

        error = FindLocked(from, fromName, out Inode? moved, out miss);
        if (moved is null)
        {
            return error;
        }

        error = FindLocked(to, toName, out Inode? present, out miss);
        if (error == FileError.None || error == FileError.ENOENT)
        {
            error = CheckRenameLocked(from, to, moved, present, mode);
        }

        if (error != FileError.None || moved == present)
        {
            DropIfIdleLocked(moved);
            if (present is not null && present != moved)
            {
                DropIfIdleLocked(present);
            }

            return error; // two names of one file: nothing happens
        }

        ulong stamp = NextStamp();
        FileTime now = Now();
        _log?.Rename(from, fromName, to, toName, mode, now);
        byte[] oldName = fromName.ToArray();
        byte[] newName = toName.ToArray();
        moved.Lookups++; // none of the steps may let them go
        if (present is not null)
        {
            present.Lookups++;
        }

        PutNameLocked(to, newName, present, moved, stamp, now);
        PutNameLocked(from, oldName, moved, mode == RenameMode.Exchange ? present : null, stamp, now);
        SetChanged(moved, now);
        MarkDirty(moved, stamp);
        if (!moved.IsLinked)
        {
            MoveLocked(moved, to, newName);
        }

        if (present is not null && mode == RenameMode.Exchange)
        {
            SetChanged(present, now);
            MarkDirty(present, stamp);
            if (!present.IsLinked)
            {
                MoveLocked(present, from, oldName);
            }
        }
        else if (present is not null)
        {
            LoseNameLocked(present, stamp, now);
        }

        moved.Lookups--;
        if (present is not null)
        {
            present.Lookups--;
            DropIfIdleLocked(present);
        }

        return FileError.None;
    }

    private static FileError CheckRenameLocked(Inode from, Inode to, Inode moved, Inode? present, RenameMode mode)
    {
        if (mode == RenameMode.KeepExisting && present is not null)
        {
            return FileError.EEXIST;
        }

        if (mode == RenameMode.Exchange && present is null)
        {
            return FileError.ENOENT;
        }

        if (to.LinkCount == 0 || from.LinkCount == 0)
        {
            return FileError.ENOENT;
        }

        if (moved.IsDirectory && IsWithin(to, moved))
        {
            return FileError.EINVAL;
        }

        if (mode == RenameMode.Exchange)
        {
            return present!.IsDirectory && IsWithin(from, present) ? FileError.EINVAL : FileError.None;
        }

        if (present is null || present == moved)
        {
            return FileError.None;
        }

        if (present.IsDirectory && IsWithin(from, present))
        {
            return FileError.ENOTEMPTY;
        }

        if (moved.IsDirectory != present.IsDirectory)
        {
            return moved.IsDirectory ? FileError.ENOTDIR : FileError.EISDIR;
        }

        return present is { IsDirectory: true, NameCount: > 0 } ? FileError.ENOTEMPTY : FileError.None;
    }

    private static bool IsWithin(Inode inode, Inode directory)
    {
        for (Inode? at = inode; at is not null; at = at.Parent)
        {
            if (at == directory)
            {
                return true;
            }
        }

        return false;
    }
}
