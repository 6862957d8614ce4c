using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>Something in a tree that an operation could not be done with.</summary>
internal readonly record struct TreeFailure(string Href, int Status);

/// <summary>Removes and copies whole trees in a volume.</summary>
/// <remarks>
/// Blocks, for as long as the tree is large; memory is one page of names a level. One entry that fails does not stop the others: failures are collected, at most
/// <see cref="MaxFailures"/>. Links are taken as links, never followed, so nothing outside the tree is touched.
/// A copy is by reference (CopyRange): its bytes are not moved.
/// </remarks>
internal sealed class TreeWork(IVolumeFileSystem volume, FileCaller caller, DavProperties properties)
{
    internal const int MaxFailures = 100;

    private const int PageNames = 256;

    /// <summary>Permissions and the sticky bit; set-id bits do not travel.</summary>
    internal const uint ModeMask = 0x3ff;

    internal const uint NewFileMode = 0x1a4; // 0644

    internal const uint NewDirectoryMode = 0x1ed; // 0755

    /// <summary>A directory in the middle of being gone through.</summary>
    private sealed class Level(IVolumeFileSystem volume, ulong parentId, byte[] name, ulong id, ulong handle) : IDirectorySink, IDisposable
    {
        private readonly Queue<(byte[] Name, EntryType Type)> _page = new();
        private ulong _cookie;

        internal ulong ParentId => parentId;

        internal byte[] Name => name;

        internal ulong Id => id;

        /// <summary>Where copies of what is in it go.</summary>
        internal ulong TargetId { get; init; }

        internal bool HasFailure { get; set; }

        public bool TryAdd(ReadOnlySpan<byte> entry, in InodeAttributes attributes, ulong cookie)
        {
            if (_page.Count == PageNames)
            {
                return false;
            }

            _cookie = cookie;
            if (!entry.SequenceEqual("."u8) && !entry.SequenceEqual(".."u8))
            {
                _page.Enqueue((entry.ToArray(), attributes.Type));
            }

            return true;
        }

        internal FileError TryNext(out (byte[] Name, EntryType Type) entry)
        {
            if (_page.Count == 0)
            {
                FileError error = volume.ReadDirectory(handle, _cookie, withAttributes: false, this);
                if (error != FileError.None || _page.Count == 0)
                {
                    entry = default;
                    return error == FileError.None ? FileError.ENOENT : error;
                }
            }

            entry = _page.Dequeue();
            return FileError.None;
        }

        public void Dispose()
        {
            _ = volume.Release(handle);
            volume.Forget(id, 1);
            if (TargetId != 0)
            {
                volume.Forget(TargetId, 1);
            }
        }
    }

    /// <summary>Removes a name and everything below it.</summary>
    /// <param name="names">How the client calls it, for the list of failures.</param>
    internal IReadOnlyList<TreeFailure> Remove(ulong directoryId, byte[] name, IReadOnlyList<byte[]> names)
    {
        List<TreeFailure> failures = [];
        var levels = new Stack<Level>();
        try
        {
            FileError error = TryEnter(directoryId, name, 0, levels);
            if (error != FileError.None)
            {
                error = error == FileError.ENOTDIR ? volume.Unlink(caller, directoryId, name) : error;
                Note(failures, levels, names, null, error);
                return failures;
            }

            while (levels.TryPeek(out Level? level))
            {
                error = level.TryNext(out (byte[] Name, EntryType Type) entry);
                if (error == FileError.None)
                {
                    error = entry.Type == EntryType.Directory ? TryEnter(level.Id, entry.Name, 0, levels) : volume.Unlink(caller, level.Id, entry.Name);
                    Note(failures, levels, names, entry.Name, error is FileError.ENOENT ? FileError.None : error);
                    continue;
                }

                if (error != FileError.ENOENT)
                {
                    Note(failures, levels, names, null, error);
                }

                levels.Pop();
                level.Dispose();
                error = level.HasFailure ? FileError.None : volume.RemoveDirectory(caller, level.ParentId, level.Name);
                if (levels.TryPeek(out Level? above))
                {
                    above.HasFailure |= level.HasFailure;
                }

                Note(failures, levels, names, levels.Count == 0 ? null : level.Name, error is FileError.ENOENT ? FileError.None : error);
            }

            return failures;
        }
        finally
        {
            foreach (Level left in levels)
            {
                left.Dispose();
            }
        }
    }

    /// <summary>Copies a file or a tree to a name that is free.</summary>
    internal IReadOnlyList<TreeFailure> Copy(in InodeAttributes source, ulong directoryId, byte[] name, bool isDeep, IReadOnlyList<byte[]> names)
    {
        List<TreeFailure> failures = [];
        var levels = new Stack<Level>();
        if (source.Type != EntryType.Directory)
        {
            Note(failures, levels, names, null, CopyOne(source, directoryId, name));
            return failures;
        }

        try
        {
            FileError error = MakeLike(source, directoryId, name, out ulong made);
            if (error != FileError.None || !isDeep)
            {
                volume.Forget(made, made == 0 ? 0UL : 1);
                Note(failures, levels, names, null, error);
                return failures;
            }

            error = volume.OpenDirectory(source.FileId, out ulong top);
            if (error != FileError.None)
            {
                volume.Forget(made, 1);
                Note(failures, levels, names, null, error);
                return failures;
            }

            levels.Push(new Level(volume, 0, [], source.FileId, top) { TargetId = made });
            while (levels.TryPeek(out Level? level))
            {
                error = level.TryNext(out (byte[] Name, EntryType Type) entry);
                if (error == FileError.None)
                {
                    Note(failures, levels, names, entry.Name, CopyEntry(level, entry.Name, levels));
                    continue;
                }

                if (error != FileError.ENOENT)
                {
                    Note(failures, levels, names, null, error);
                }

                levels.Pop();
                if (levels.Count > 0)
                {
                    level.Dispose();
                }
                else
                {
                    Leave(level);
                }
            }

            return failures;
        }
        finally
        {
            while (levels.TryPop(out Level? left))
            {
                if (levels.Count > 0)
                {
                    left.Dispose();
                }
                else
                {
                    Leave(left);
                }
            }
        }

        // The topmost source directory was found by the caller, who gives its id back.
        void Leave(Level level)
        {
            _ = volume.Lookup(level.Id, "."u8, out _);
            level.Dispose();
        }
    }

    /// <summary>A directory with the mode and attributes of another.</summary>
    private FileError MakeLike(in InodeAttributes source, ulong directoryId, byte[] name, out ulong made)
    {
        FileError error = volume.MakeDirectory(caller, directoryId, name, source.Mode & ModeMask, out InodeAttributes attributes);
        made = attributes.FileId;
        return error != FileError.None ? error : properties.CopyAttributes(caller, source.FileId, made);
    }

    private FileError CopyEntry(Level level, byte[] name, Stack<Level> levels)
    {
        FileError error = volume.Lookup(level.Id, name, out InodeAttributes source);
        if (error != FileError.None)
        {
            return error == FileError.ENOENT ? FileError.None : error; // gone meanwhile
        }

        ulong made = 0;
        if (source.Type == EntryType.Directory)
        {
            error = MakeLike(source, level.TargetId, name, out made);
            ulong handle = 0;
            error = error == FileError.None ? volume.OpenDirectory(source.FileId, out handle) : error;
            if (error == FileError.None)
            {
                levels.Push(new Level(volume, level.Id, name, source.FileId, handle) { TargetId = made });
                return FileError.None;
            }
        }
        else
        {
            error = CopyOne(source, level.TargetId, name);
        }

        volume.Forget(source.FileId, 1);
        if (made != 0)
        {
            volume.Forget(made, 1);
        }

        return error;
    }

    private FileError CopyOne(in InodeAttributes source, ulong directoryId, byte[] name)
    {
        switch (source.Type)
        {
            case EntryType.File:
                return CopyFile(source, directoryId, name);
            case EntryType.Symlink:
                byte[] target = new byte[EntryLimits.MaxSymlinkBytes];
                FileError error = volume.ReadLink(source.FileId, target, out int bytes);
                error = error == FileError.None ? volume.MakeSymlink(caller, directoryId, name, target.AsSpan(0, bytes), out InodeAttributes link) : Fail(error, out link);
                Give(error, link);
                return error;
            default:
                return FileError.None; // WebDAV shows no fifos, sockets and devices, and so copies none
        }
    }

    private FileError CopyFile(in InodeAttributes source, ulong directoryId, byte[] name)
    {
        FileError error = volume.Open(caller, source.FileId, OpenOptions.Read, out ulong from);
        if (error != FileError.None)
        {
            return error;
        }

        error = volume.CreateTemporary(caller, directoryId, source.Mode & ModeMask, OpenOptions.Write, out InodeAttributes made, out ulong to);
        if (error == FileError.None)
        {
            error = CopyAll(from, to);
            error = error == FileError.None ? properties.CopyAttributes(caller, source.FileId, made.FileId) : error;
            if (error == FileError.None)
            {
                error = volume.Link(caller, made.FileId, directoryId, name, out InodeAttributes linked);
                Give(error, linked);
            }

            _ = volume.Release(to);
            volume.Forget(made.FileId, 1);
        }

        _ = volume.Release(from);
        return error;
    }

    private FileError CopyAll(ulong from, ulong to)
    {
        long at = 0;
        while (true)
        {
            FileError error = volume.CopyRange(from, at, to, at, ActiveTree.MaxFileBytes - at, out long bytes);
            if (error != FileError.None || bytes == 0)
            {
                return error;
            }

            at += bytes;
        }
    }

    private void Give(FileError error, in InodeAttributes attributes)
    {
        if (error == FileError.None)
        {
            volume.Forget(attributes.FileId, 1);
        }
    }

    private static FileError Fail(FileError error, out InodeAttributes none)
    {
        none = default;
        return error;
    }

    private FileError TryEnter(ulong directoryId, byte[] name, ulong target, Stack<Level> levels)
    {
        FileError error = volume.Lookup(directoryId, name, out InodeAttributes found);
        if (error != FileError.None)
        {
            return error;
        }

        ulong handle = 0;
        error = found.Type == EntryType.Directory ? volume.OpenDirectory(found.FileId, out handle) : FileError.ENOTDIR;
        if (error != FileError.None)
        {
            volume.Forget(found.FileId, 1);
            return error;
        }

        levels.Push(new Level(volume, directoryId, name, found.FileId, handle) { TargetId = target });
        return FileError.None;
    }

    private static void Note(List<TreeFailure> failures, Stack<Level> levels, IReadOnlyList<byte[]> names, byte[]? name, FileError error)
    {
        if (error == FileError.None)
        {
            return;
        }

        if (levels.TryPeek(out Level? level))
        {
            level.HasFailure = true;
        }

        if (failures.Count < MaxFailures)
        {
            IEnumerable<byte[]> below = levels.Reverse().Skip(1).Select(static inner => inner.Name);
            byte[][] path = name is null ? [.. names, .. below] : [.. names, .. below, name];
            failures.Add(new TreeFailure(DavPath.Encode(path, isCollection: false), DavException.StatusOf(error)));
        }
    }
}
