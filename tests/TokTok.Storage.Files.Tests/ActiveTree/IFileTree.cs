namespace TokTok.Storage.Files.Tests;

/// <summary>A tree of files by path, the same for a volume, for a directory of the system's, and for a model: so that their answers can be compared.</summary>
/// <remarks>Paths are names joined by slashes, without a leading one; "" is the root. No symlink leads anywhere. Handles are small numbers that the caller chooses.</remarks>
internal interface IFileTree : IDisposable
{
    FileError Create(string path, uint mode, bool isExclusive);

    FileError MakeDirectory(string path, uint mode);

    FileError MakeFifo(string path, uint mode);

    FileError MakeSymlink(string path, string target);

    FileError Link(string path, string newPath);

    FileError Unlink(string path);

    FileError RemoveDirectory(string path);

    FileError Rename(string path, string newPath, RenameMode mode);

    FileError SetMode(string path, uint mode);

    FileError SetOwner(string path, uint owner, uint group);

    FileError SetModified(string path, FileTime time);

    FileError Resize(string path, long size);

    FileError SetXattr(string path, string name, byte[] value, XattrMode mode);

    FileError RemoveXattr(string path, string name);

    (FileError Error, byte[] Value) GetXattr(string path, string name);

    (FileError Error, string Names) ListXattrs(string path);

    (FileError Error, string Target) ReadLink(string path);

    /// <summary>Names, each with its type.</summary>
    (FileError Error, string Names) List(string path);

    (FileError Error, FileFacts Facts) GetFacts(string path);

    FileError Open(int slot, string path, OpenOptions options);

    FileError OpenTemporary(int slot, string path, uint mode);

    /// <summary>Gives an open file a name.</summary>
    FileError LinkOpen(int slot, string newPath);

    FileError Close(int slot);

    (FileError Error, byte[] Bytes) Read(int slot, long offset, int count);

    FileError Write(int slot, long offset, byte[] bytes);

    FileError ResizeOpen(int slot, long size);

    FileError Allocate(int slot, AllocateMode mode, long offset, long length);

    (FileError Error, long Bytes) CopyRange(int from, long fromOffset, int to, long toOffset, long length);

    (FileError Error, FileFacts Facts) GetOpenFacts(int slot);

    FileError Sync(int slot);
}

/// <summary>What two trees are to agree on.</summary>
internal readonly record struct FileFacts(EntryType Type, uint Mode, uint LinkCount, uint Owner, uint Group, long Size);
