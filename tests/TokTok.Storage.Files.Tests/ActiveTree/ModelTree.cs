namespace TokTok.Storage.Files.Tests;

/// <summary>A tree of files in a few dictionaries: the slow twin of the active tree, obviously right.</summary>
internal sealed class ModelTree : IFileTree
{
    private const uint SetGroupId = 0x400;
    private const FileError ELOOP = (FileError)40;
    private readonly Node _root = new(EntryType.Directory, 0x1ed, User, User);
    private readonly (Node File, OpenOptions Options)[] _open = new (Node, OpenOptions)[4];

    private static uint User => Posix.PosixCalls.EffectiveUser;

    private sealed class Node(EntryType type, uint mode, uint owner, uint group)
    {
        internal EntryType Type { get; } = type;

        internal uint Mode { get; set; } = mode;

        internal uint Owner { get; set; } = owner;

        internal uint Group { get; set; } = group;

        internal uint Links { get; set; }

        /// <summary>Without a name from the beginning, it may be given one; a file that lost its last may not.</summary>
        internal bool IsTemporary { get; set; }

        internal byte[] Data { get; set; } = [];

        internal string Target { get; init; } = "";

        internal bool IsDirectory => Type == EntryType.Directory;

        internal SortedDictionary<string, Node> Names { get; } = new(StringComparer.Ordinal);

        internal SortedDictionary<string, byte[]> Xattrs { get; } = new(StringComparer.Ordinal);

        internal bool Holds(Node other) => this == other || Names.Values.Any(child => child.IsDirectory && child.Holds(other));

        internal void Resize(long size)
        {
            byte[] data = Data;
            Array.Resize(ref data, (int)size);
            Data = data;
        }
    }

    public FileError Create(string path, uint mode, bool isExclusive)
    {
        FileError error = Parent(path, out Node parent, out string name);
        if (error != FileError.None)
        {
            return error;
        }

        if (parent.Names.TryGetValue(name, out Node? present))
        {
            return isExclusive ? FileError.EEXIST : present.IsDirectory ? FileError.EISDIR : present.Type == EntryType.Symlink ? ELOOP : FileError.None;
        }

        return Add(parent, name, EntryType.File, mode);
    }

    public FileError MakeDirectory(string path, uint mode) => Make(path, EntryType.Directory, mode);

    public FileError MakeFifo(string path, uint mode) => Make(path, EntryType.Fifo, mode);

    public FileError MakeSymlink(string path, string target) => Make(path, EntryType.Symlink, 0x1ff, target);

    public FileError Link(string path, string newPath)
    {
        FileError error = Find(path, out Node file);
        return error != FileError.None ? error : LinkTo(file, newPath);
    }

    public FileError Unlink(string path)
    {
        FileError error = Parent(path, out Node parent, out string name);
        if (error != FileError.None || !parent.Names.TryGetValue(name, out Node? file))
        {
            return error != FileError.None ? error : FileError.ENOENT;
        }

        if (file.IsDirectory)
        {
            return FileError.EISDIR;
        }

        parent.Names.Remove(name);
        file.Links--;
        return FileError.None;
    }

    public FileError RemoveDirectory(string path)
    {
        FileError error = Parent(path, out Node parent, out string name);
        if (error != FileError.None || !parent.Names.TryGetValue(name, out Node? directory))
        {
            return error != FileError.None ? error : FileError.ENOENT;
        }

        if (!directory.IsDirectory || directory.Names.Count > 0)
        {
            return directory.IsDirectory ? FileError.ENOTEMPTY : FileError.ENOTDIR;
        }

        parent.Names.Remove(name);
        return FileError.None;
    }

    public FileError Rename(string path, string newPath, RenameMode mode)
    {
        FileError error = Parent(path, out Node from, out string name);
        Node to = _root;
        string newName = "";
        error = error == FileError.None ? Parent(newPath, out to, out newName) : error;
        if (error != FileError.None || !from.Names.TryGetValue(name, out Node? moved))
        {
            return error != FileError.None ? error : FileError.ENOENT;
        }

        to.Names.TryGetValue(newName, out Node? present);
        if (mode == RenameMode.KeepExisting && present is not null)
        {
            return FileError.EEXIST;
        }

        if (mode == RenameMode.Exchange && present is null)
        {
            return FileError.ENOENT;
        }

        if (moved.IsDirectory && moved.Holds(to))
        {
            return FileError.EINVAL;
        }

        if (present is { IsDirectory: true } && present.Holds(from))
        {
            return mode == RenameMode.Exchange ? FileError.EINVAL : FileError.ENOTEMPTY;
        }

        if (present == moved)
        {
            return FileError.None;
        }

        if (mode != RenameMode.Exchange && present is not null)
        {
            if (moved.IsDirectory != present.IsDirectory)
            {
                return moved.IsDirectory ? FileError.ENOTDIR : FileError.EISDIR;
            }

            if (present.Names.Count > 0)
            {
                return FileError.ENOTEMPTY;
            }

            present.Links--;
        }

        from.Names.Remove(name);
        to.Names[newName] = moved;
        if (mode == RenameMode.Exchange)
        {
            from.Names[name] = present!;
        }

        return FileError.None;
    }

    public FileError SetMode(string path, uint mode) => On(path, node =>
    {
        if (node.Type == EntryType.Symlink)
        {
            return FileError.ENOENT;
        }

        node.Mode = mode;
        return FileError.None;
    });

    public FileError SetOwner(string path, uint owner, uint group) => On(path, node =>
    {
        (node.Owner, node.Group) = (owner, group);
        node.Mode &= node.IsDirectory ? 0xfffu : ~(0x800u | ((node.Mode & 8) != 0 ? SetGroupId : 0));
        return FileError.None;
    });

    public FileError SetModified(string path, FileTime time) => On(path, static _ => FileError.None);

    public FileError Resize(string path, long size) => On(path, node =>
    {
        if (node.Type != EntryType.File)
        {
            return node.IsDirectory ? FileError.EISDIR : node.Type == EntryType.Symlink ? ELOOP : FileError.EINVAL;
        }

        node.Resize(size);
        return FileError.None;
    });

    public FileError SetXattr(string path, string name, byte[] value, XattrMode mode) => On(path, node =>
    {
        bool isThere = node.Xattrs.ContainsKey(name);
        if (isThere ? mode == XattrMode.Create : mode == XattrMode.Replace)
        {
            return isThere ? FileError.EEXIST : FileError.ENODATA;
        }

        node.Xattrs[name] = value;
        return FileError.None;
    });

    public FileError RemoveXattr(string path, string name) => On(path, node => node.Xattrs.Remove(name) ? FileError.None : FileError.ENODATA);

    public (FileError Error, byte[] Value) GetXattr(string path, string name)
    {
        byte[] value = [];
        FileError error = On(path, node => node.Xattrs.TryGetValue(name, out byte[]? found) && (value = found) is not null ? FileError.None : FileError.ENODATA);
        return (error, value);
    }

    public (FileError Error, string Names) ListXattrs(string path)
    {
        string names = "";
        FileError error = On(path, node =>
        {
            names = string.Join(' ', node.Xattrs.Keys);
            return FileError.None;
        });
        return (error, names);
    }

    public (FileError Error, string Target) ReadLink(string path)
    {
        FileError error = Find(path, out Node node);
        return error != FileError.None ? (error, "") : node.Type == EntryType.Symlink ? (FileError.None, node.Target) : (FileError.EINVAL, "");
    }

    public (FileError Error, string Names) List(string path)
    {
        FileError error = Find(path, out Node node);
        if (error != FileError.None || !node.IsDirectory)
        {
            return (error != FileError.None ? error : FileError.ENOTDIR, "");
        }

        List<string> names = [".:Directory", "..:Directory", .. node.Names.Select(static child => $"{child.Key}:{child.Value.Type}")];
        names.Sort(StringComparer.Ordinal);
        return (FileError.None, string.Join(' ', names));
    }

    public (FileError Error, FileFacts Facts) GetFacts(string path)
    {
        FileError error = Find(path, out Node node);
        return (error, error == FileError.None ? FactsOf(node) : default);
    }

    public FileError Open(int slot, string path, OpenOptions options)
    {
        FileError error = Find(path, out Node node);
        if (error != FileError.None || node.Type != EntryType.File)
        {
            return error != FileError.None ? error : node.Type == EntryType.Symlink ? ELOOP : FileError.EISDIR;
        }

        node.Resize((options & OpenOptions.Truncate) != 0 ? 0 : node.Data.Length);
        _open[slot] = (node, options);
        return FileError.None;
    }

    public FileError OpenTemporary(int slot, string path, uint mode)
    {
        FileError error = Find(path, out Node node);
        if (error != FileError.None || !node.IsDirectory)
        {
            return error != FileError.None ? error : FileError.ENOTDIR;
        }

        _open[slot] = (new Node(EntryType.File, mode, User, (node.Mode & SetGroupId) != 0 ? node.Group : User) { IsTemporary = true }, OpenOptions.Read | OpenOptions.Write);
        return FileError.None;
    }

    public FileError LinkOpen(int slot, string newPath) => LinkTo(_open[slot].File, newPath);

    public FileError Close(int slot)
    {
        _open[slot] = default;
        return FileError.None;
    }

    public (FileError Error, byte[] Bytes) Read(int slot, long offset, int count)
    {
        byte[] data = _open[slot].File.Data;
        int from = (int)Math.Min(offset, data.Length);
        return (FileError.None, data[from..Math.Min(data.Length, from + count)]);
    }

    public FileError Write(int slot, long offset, byte[] bytes)
    {
        (Node file, OpenOptions options) = _open[slot];
        int at = (options & OpenOptions.Append) != 0 ? file.Data.Length : (int)offset;
        file.Resize(Math.Max(file.Data.Length, at + bytes.Length));
        bytes.CopyTo(file.Data, at);
        return FileError.None;
    }

    public FileError ResizeOpen(int slot, long size)
    {
        _open[slot].File.Resize(size);
        return FileError.None;
    }

    public FileError Allocate(int slot, AllocateMode mode, long offset, long length)
    {
        Node file = _open[slot].File;
        if (mode is AllocateMode.Extend or AllocateMode.ZeroRange && offset + length > file.Data.Length)
        {
            file.Resize(offset + length);
        }

        if (mode is AllocateMode.PunchHole or AllocateMode.ZeroRange or AllocateMode.ZeroRangeKeepSize && offset < file.Data.Length)
        {
            file.Data.AsSpan((int)offset, (int)Math.Min(length, file.Data.Length - offset)).Clear();
        }

        return FileError.None;
    }

    public (FileError Error, long Bytes) CopyRange(int from, long fromOffset, int to, long toOffset, long length)
    {
        Node source = _open[from].File;
        if ((_open[to].Options & OpenOptions.Append) != 0)
        {
            return (FileError.EBADF, 0);
        }

        length = Math.Min(length, Math.Max(0, source.Data.Length - fromOffset));
        if (source == _open[to].File && Math.Abs(fromOffset - toOffset) < length)
        {
            return (FileError.EINVAL, 0);
        }

        if (length > 0)
        {
            Write(to, toOffset, source.Data.AsSpan((int)fromOffset, (int)length).ToArray());
        }

        return (FileError.None, length);
    }

    public (FileError Error, FileFacts Facts) GetOpenFacts(int slot) => (FileError.None, FactsOf(_open[slot].File));

    public FileError Sync(int slot) => FileError.None;

    public void Dispose()
    {
    }

    private static FileFacts FactsOf(Node node) => new(
        node.Type,
        node.Mode,
        node.IsDirectory ? 2 + (uint)node.Names.Values.Count(static child => child.IsDirectory) : node.Links,
        node.Owner,
        node.Group,
        node.Type switch { EntryType.File => node.Data.Length, EntryType.Symlink => node.Target.Length, _ => 0 });

    private FileError Find(string path, out Node node)
    {
        node = _root;
        foreach (string name in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (!node.IsDirectory)
            {
                return node.Type == EntryType.Symlink ? FileError.ENOENT : FileError.ENOTDIR;
            }

            if (!node.Names.TryGetValue(name, out Node? child))
            {
                return FileError.ENOENT;
            }

            node = child;
        }

        return FileError.None;
    }

    private FileError Parent(string path, out Node parent, out string name)
    {
        int slash = path.LastIndexOf('/');
        name = path[(slash + 1)..];
        FileError error = Find(slash < 0 ? "" : path[..slash], out parent);
        return error != FileError.None || parent.IsDirectory ? error : parent.Type == EntryType.Symlink ? FileError.ENOENT : FileError.ENOTDIR;
    }

    private FileError On(string path, Func<Node, FileError> call)
    {
        FileError error = Find(path, out Node node);
        return error != FileError.None ? error : call(node);
    }

    private FileError Make(string path, EntryType type, uint mode, string target = "")
    {
        FileError error = Parent(path, out Node parent, out string name);
        return error != FileError.None ? error : parent.Names.ContainsKey(name) ? FileError.EEXIST : Add(parent, name, type, mode, target);
    }

    private static FileError Add(Node parent, string name, EntryType type, uint mode, string target = "")
    {
        bool handsDown = (parent.Mode & SetGroupId) != 0;
        uint own = type == EntryType.Directory && handsDown ? SetGroupId : 0;
        parent.Names[name] = new Node(type, mode | own, User, handsDown ? parent.Group : User) { Links = 1, Target = target };
        return FileError.None;
    }

    private FileError LinkTo(Node file, string newPath)
    {
        FileError error = Parent(newPath, out Node parent, out string name);
        if (error != FileError.None || parent.Names.ContainsKey(name))
        {
            return error != FileError.None ? error : FileError.EEXIST;
        }

        if (file.IsDirectory)
        {
            return FileError.EPERM;
        }

        if (file.Links == 0 && !file.IsTemporary)
        {
            return FileError.ENOENT;
        }

        parent.Names[name] = file;
        file.IsTemporary = false;
        file.Links++;
        return FileError.None;
    }
}
