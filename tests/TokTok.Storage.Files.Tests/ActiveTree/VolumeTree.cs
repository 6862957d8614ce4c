using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>A volume by path, as a kernel would reach it: each name looked up and forgotten again.</summary>
internal sealed class VolumeTree : IFileTree
{
    private readonly ulong[] _open = new ulong[4];
    private readonly ActiveTreeOptions _options;
    private readonly IVolumeStore _store;
    private readonly TimeProvider _clock;
    private readonly string _below = "";
    private readonly bool _isOwner = true;
    private FileCaller _caller;
    private Volume _volume;

    internal VolumeTree(ActiveTreeOptions? options = null, IVolumeStore? store = null, TimeProvider? clock = null)
    {
        _clock = clock ?? TimeProvider.System;
        _options = options ?? new ActiveTreeOptions { CommitInterval = TimeSpan.Zero };
        _store = store ?? new MemoryVolumeStore();
        _caller = new FileCaller(Posix.PosixCalls.EffectiveUser, Posix.PosixCalls.EffectiveUser);
        (_volume, Tree) = Mount();
    }

    /// <summary>A directory of another's tree as if it were all.</summary>
    internal VolumeTree(VolumeTree whole, string below)
    {
        (_options, _store, _clock, _volume, Tree, _caller, _below, _isOwner) = (whole._options, whole._store, whole._clock, whole._volume, whole.Tree, whole._caller, below + "/", false);
    }

    internal ActiveTree Tree { get; private set; }

    internal Volume Volume => _volume;

    internal IVolumeStore Store => _store;

    internal FileCaller Caller { get => _caller; set => _caller = value; }

    /// <summary>Commits, lets the volume go and opens it again. Nothing may be open.</summary>
    internal async ValueTask RemountAsync()
    {
        Assert.All(_open, static handle => Assert.Equal(0UL, handle));
        await Tree.DisposeAsync();
        _volume.Dispose();
        (_volume, Tree) = Mount();
    }

    /// <summary>Leaves the tree as it is, and opens what its store has of it: the process was killed. What is open is lost.</summary>
    internal void Kill()
    {
        Array.Clear(_open);
        (_volume, Tree) = Mount();
    }

    public FileError Create(string path, uint mode, bool isExclusive)
    {
        FileError error = Parent(path, out ulong parent, out byte[] name);
        if (error != FileError.None)
        {
            return error;
        }

        OpenOptions options = OpenOptions.Read | OpenOptions.Write | (isExclusive ? OpenOptions.Exclusive : 0);
        FileError found = Tree.Lookup(parent, name, out InodeAttributes present);
        if (found == FileError.None)
        {
            Tree.Forget(present.FileId, 1);
            if (!isExclusive && present.Type is not EntryType.File and not EntryType.Directory)
            {
                Tree.Forget(parent, 1);
                return present.Type == EntryType.Symlink ? (FileError)40 : FileError.None; // ELOOP and the opening of a fifo are the kernel's
            }
        }

        error = Tree.Create(_caller, parent, name, mode, options, out InodeAttributes made, out ulong handle);
        if (error == FileError.None)
        {
            Assert.Equal(FileError.None, Tree.Release(handle));
            Tree.Forget(made.FileId, 1);
        }

        Tree.Forget(parent, 1);
        return error;
    }

    public FileError MakeDirectory(string path, uint mode) => Make(path, (parent, name) => (Tree.MakeDirectory(_caller, parent, name, mode, out InodeAttributes made), made));

    public FileError MakeFifo(string path, uint mode) =>
        Make(path, (parent, name) => (Tree.MakeSpecial(_caller, parent, name, EntryType.Fifo, mode, 0, 0, out InodeAttributes made), made));

    public FileError MakeSymlink(string path, string target) =>
        Make(path, (parent, name) => (Tree.MakeSymlink(_caller, parent, name, Encoding.UTF8.GetBytes(target), out InodeAttributes made), made));

    public FileError Link(string path, string newPath)
    {
        FileError error = Find(path, out InodeAttributes file);
        if (error != FileError.None)
        {
            return error;
        }

        error = LinkTo(file.FileId, newPath);
        Tree.Forget(file.FileId, 1);
        return error;
    }

    public FileError Unlink(string path) => In(path, (parent, name) => Tree.Unlink(_caller, parent, name));

    public FileError RemoveDirectory(string path) => In(path, (parent, name) => Tree.RemoveDirectory(_caller, parent, name));

    public FileError Rename(string path, string newPath, RenameMode mode)
    {
        FileError error = Parent(path, out ulong parent, out byte[] name);
        if (error != FileError.None)
        {
            return error;
        }

        error = Parent(newPath, out ulong newParent, out byte[] newName);
        if (error == FileError.None)
        {
            error = Tree.Rename(_caller, parent, name, newParent, newName, mode);
            Tree.Forget(newParent, 1);
        }

        Tree.Forget(parent, 1);
        return error;
    }

    public FileError SetMode(string path, uint mode) => Set(path, new AttributeChange { Mode = mode }, follows: true);

    public FileError SetOwner(string path, uint owner, uint group) => Set(path, new AttributeChange { OwnerId = owner, GroupId = group }, follows: false);

    public FileError SetModified(string path, FileTime time) => Set(path, new AttributeChange { Modified = TimeChange.To(time) }, follows: false);

    public FileError Resize(string path, long size)
    {
        FileError error = Find(path, out InodeAttributes file);
        if (error != FileError.None)
        {
            return error;
        }

        Tree.Forget(file.FileId, 1);
        return file.Type == EntryType.Symlink ? (FileError)40 : Set(path, new AttributeChange { Size = size }, follows: false);
    }

    public FileError SetXattr(string path, string name, byte[] value, XattrMode mode) =>
        Of(path, id => Tree.SetXattr(_caller, id, Encoding.UTF8.GetBytes(name), value, mode));

    public FileError RemoveXattr(string path, string name) => Of(path, id => Tree.RemoveXattr(_caller, id, Encoding.UTF8.GetBytes(name)));

    public (FileError Error, byte[] Value) GetXattr(string path, string name)
    {
        byte[] value = new byte[64 * 1024];
        int bytes = 0;
        FileError error = Of(path, id => Tree.GetXattr(id, Encoding.UTF8.GetBytes(name), value, out bytes));
        return (error, error == FileError.None ? value[..bytes] : []);
    }

    public (FileError Error, string Names) ListXattrs(string path)
    {
        byte[] names = new byte[64 * 1024];
        int bytes = 0;
        FileError error = Of(path, id => Tree.ListXattrs(id, names, out bytes));
        return (error, string.Join(' ', Encoding.UTF8.GetString(names, 0, bytes).Split('\0', StringSplitOptions.RemoveEmptyEntries)));
    }

    public (FileError Error, string Target) ReadLink(string path)
    {
        byte[] target = new byte[4096];
        int bytes = 0;
        FileError error = Of(path, id => Tree.ReadLink(id, target, out bytes));
        return (error, Encoding.UTF8.GetString(target, 0, bytes));
    }

    public (FileError Error, string Names) List(string path)
    {
        FileError error = Find(path, out InodeAttributes directory);
        if (error != FileError.None)
        {
            return (error, "");
        }

        var sink = new Sink();
        error = Tree.OpenDirectory(directory.FileId, out ulong handle);
        if (error == FileError.None)
        {
            error = Tree.ReadDirectory(handle, 0, withAttributes: false, sink);
            Assert.Equal(FileError.None, Tree.Release(handle));
        }

        Tree.Forget(directory.FileId, 1);
        sink.Names.Sort(StringComparer.Ordinal);
        return (error, string.Join(' ', sink.Names));
    }

    public (FileError Error, FileFacts Facts) GetFacts(string path)
    {
        FileError error = Find(path, out InodeAttributes found);
        if (error == FileError.None)
        {
            Tree.Forget(found.FileId, 1);
        }

        return (error, error == FileError.None ? FactsOf(found) : default);
    }

    internal ulong IdOf(string path)
    {
        Assert.Equal(FileError.None, Find(path, out InodeAttributes found));
        Tree.Forget(found.FileId, 1);
        return found.FileId;
    }

    internal InodeAttributes AttributesOf(string path)
    {
        Assert.Equal(FileError.None, Find(path, out InodeAttributes found));
        Tree.Forget(found.FileId, 1);
        return found;
    }

    public FileError Open(int slot, string path, OpenOptions options)
    {
        FileError error = Find(path, out InodeAttributes found);
        if (error != FileError.None)
        {
            return error;
        }

        error = found.Type == EntryType.Symlink ? (FileError)40
            : found.IsDirectoryOpenedForReading(options) ? FileError.EISDIR // the comparison opens no directories as files
            : Tree.Open(_caller, found.FileId, options, out _open[slot]);
        Tree.Forget(found.FileId, 1);
        return error;
    }

    public FileError OpenTemporary(int slot, string path, uint mode)
    {
        FileError error = Find(path, out InodeAttributes directory);
        if (error != FileError.None)
        {
            return error;
        }

        error = Tree.CreateTemporary(_caller, directory.FileId, mode, OpenOptions.Read | OpenOptions.Write, out InodeAttributes made, out _open[slot]);
        Tree.Forget(directory.FileId, 1);
        if (error == FileError.None)
        {
            _temporary[slot] = made.FileId;
            Tree.Forget(made.FileId, 1);
        }

        return error;
    }

    private readonly ulong[] _temporary = new ulong[4];

    public FileError LinkOpen(int slot, string newPath) => LinkTo(_temporary[slot], newPath);

    public FileError Close(int slot)
    {
        FileError error = Tree.Release(_open[slot]);
        _open[slot] = 0;
        return error;
    }

    public (FileError Error, byte[] Bytes) Read(int slot, long offset, int count)
    {
        byte[] bytes = new byte[count];
        FileError error = Tree.Read(_open[slot], offset, bytes, out int read);
        return (error, bytes[..read]);
    }

    public FileError Write(int slot, long offset, byte[] bytes) => Tree.Write(_open[slot], offset, bytes, WriteOptions.None, out _);

    internal ulong HandleOf(int slot) => _open[slot];

    public FileError ResizeOpen(int slot, long size)
    {
        // As the kernel does: by the inode, which the handle keeps.
        Assert.True(Tree.TryGetFileId(_open[slot], out ulong id));
        return Tree.SetAttributes(_caller, id, new AttributeChange { Size = size }, out _);
    }

    public FileError Allocate(int slot, AllocateMode mode, long offset, long length) => Tree.Allocate(_open[slot], mode, offset, length);

    public (FileError Error, long Bytes) CopyRange(int from, long fromOffset, int to, long toOffset, long length)
    {
        FileError error = Tree.CopyRange(_open[from], fromOffset, _open[to], toOffset, length, out long bytes);
        return (error, bytes);
    }

    public (FileError Error, FileFacts Facts) GetOpenFacts(int slot)
    {
        Assert.True(Tree.TryGetFileId(_open[slot], out ulong id));
        FileError error = Tree.GetAttributes(id, out InodeAttributes found);
        return (error, error == FileError.None ? FactsOf(found) : default);
    }

    public FileError Sync(int slot) => Tree.Sync(_open[slot]);

    public void Dispose()
    {
        if (!_isOwner)
        {
            return;
        }

        Tree.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _volume.Dispose();
    }

    internal FileError Find(string path, out InodeAttributes found)
    {
        FileError error = Tree.Lookup(Tree.RootId, "."u8, out found);
        foreach (string name in (_below + path).Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            ulong directory = found.FileId;
            error = found.Type == EntryType.Symlink ? FileError.ENOENT : Tree.Lookup(directory, Encoding.UTF8.GetBytes(name), out found);
            Tree.Forget(directory, 1);
            if (error != FileError.None)
            {
                return error;
            }
        }

        return error;
    }

    private (Volume Volume, ActiveTree Tree) Mount()
    {
        Volume volume = Volume.OpenOrCreateAsync(_store, "v", SystemRandom.Instance, default).AsTask().GetAwaiter().GetResult();
        return (volume, ActiveTree.Open(_store, volume, _clock, _options));
    }

    private FileError Parent(string path, out ulong parent, out byte[] name)
    {
        int slash = path.LastIndexOf('/');
        name = Encoding.UTF8.GetBytes(path[(slash + 1)..]);
        FileError error = Find(slash < 0 ? "" : path[..slash], out InodeAttributes found);
        parent = found.FileId;
        if (error == FileError.None && found.Type != EntryType.Directory)
        {
            Tree.Forget(parent, 1);
            return found.Type == EntryType.Symlink ? FileError.ENOENT : FileError.ENOTDIR;
        }

        return error;
    }

    private FileError Make(string path, Func<ulong, byte[], (FileError Error, InodeAttributes Made)> make) => In(path, (parent, name) =>
    {
        (FileError error, InodeAttributes made) = make(parent, name);
        if (error == FileError.None)
        {
            Tree.Forget(made.FileId, 1);
        }

        return error;
    });

    private FileError LinkTo(ulong id, string newPath) => In(newPath, (parent, name) =>
    {
        FileError error = Tree.Link(_caller, id, parent, name, out _);
        if (error == FileError.None)
        {
            Tree.Forget(id, 1);
        }

        return error;
    });

    private FileError In(string path, Func<ulong, byte[], FileError> call)
    {
        FileError error = Parent(path, out ulong parent, out byte[] name);
        if (error != FileError.None)
        {
            return error;
        }

        error = call(parent, name);
        Tree.Forget(parent, 1);
        return error;
    }

    private FileError Of(string path, Func<ulong, FileError> call)
    {
        FileError error = Find(path, out InodeAttributes found);
        if (error != FileError.None)
        {
            return error;
        }

        error = call(found.FileId);
        Tree.Forget(found.FileId, 1);
        return error;
    }

    private FileError Set(string path, AttributeChange change, bool follows)
    {
        FileError error = Find(path, out InodeAttributes found);
        if (error != FileError.None)
        {
            return error;
        }

        error = follows && found.Type == EntryType.Symlink ? FileError.ENOENT : Tree.SetAttributes(_caller, found.FileId, change, out _);
        Tree.Forget(found.FileId, 1);
        return error;
    }

    private static FileFacts FactsOf(in InodeAttributes found) =>
        new(found.Type, found.Mode, found.LinkCount, found.OwnerId, found.GroupId, found.Type is EntryType.File or EntryType.Symlink ? found.Size : 0);

    private sealed class Sink : IDirectorySink
    {
        internal List<string> Names { get; } = [];

        public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
        {
            Names.Add($"{Encoding.UTF8.GetString(name)}:{attributes.Type}");
            return true;
        }
    }
}

internal static class OpenedDirectories
{
    internal static bool IsDirectoryOpenedForReading(this in InodeAttributes found, OpenOptions options) =>
        found.Type == EntryType.Directory && (options & OpenOptions.Write) == 0;
}
