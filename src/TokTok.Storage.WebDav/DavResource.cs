using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>What a path leads to in a volume: a file, a directory, or a free name in a directory.</summary>
/// <remarks>
/// Links are followed as far as they stay inside: a target that is absolute, or climbs above the root, belongs to the machine that made it and is refused. So many of them that it must
/// be a circle are refused too. <see cref="Key"/> is the path behind all links, so that what a lock protects is found by every name that leads there.
/// Owns: the file ids that were given out on the way, which go back when it is disposed of.
/// </remarks>
internal sealed class DavResource : IDisposable
{
    /// <summary>As Linux (MAXSYMLINKS).</summary>
    internal const int MaxLinks = 40;

    private readonly IVolumeFileSystem _volume;
    private readonly List<ulong> _held = [];
    private readonly List<(byte[] Name, ulong Id)> _at = [];

    private DavResource(IVolumeFileSystem volume) => _volume = volume;

    /// <summary>Whether something is there.</summary>
    internal bool Exists { get; private set; }

    /// <summary>Whether the directory is there that the name is in, or would be.</summary>
    internal bool HasParent { get; private set; } = true;

    internal InodeAttributes Attributes { get; private set; }

    internal ulong DirectoryId { get; private set; }

    /// <summary>The name in its directory; empty for the root.</summary>
    internal byte[] Name { get; private set; } = [];

    internal bool IsRoot => Name.Length == 0;

    internal bool IsDirectory => Exists && Attributes.Type == EntryType.Directory;

    internal ulong FileId => Attributes.FileId;

    /// <summary>The names behind all links, each behind a slash and encoded; empty for the root.</summary>
    internal string Key { get; private set; } = "";

    /// <summary>Finds what a path leads to.</summary>
    /// <param name="followsLast">Whether a link at the end of it is followed, or is itself meant.</param>
    /// <exception cref="DavException">Nothing there may be used: a link leads out or in circles, or the store fails.</exception>
    internal static DavResource Find(IVolumeFileSystem volume, IReadOnlyList<byte[]> names, bool followsLast)
    {
        var resource = new DavResource(volume);
        try
        {
            resource.Walk(names, followsLast);
            return resource;
        }
        catch
        {
            resource.Dispose();
            throw;
        }
    }

    /// <summary>What a link in a directory leads to; false where it leads nowhere that may be looked at.</summary>
    internal static bool TryFollow(IVolumeFileSystem volume, IReadOnlyList<byte[]> names, out InodeAttributes attributes)
    {
        try
        {
            using DavResource resource = Find(volume, names, followsLast: true);
            attributes = resource.Attributes;
            return resource.Exists;
        }
        catch (DavException)
        {
            attributes = default;
            return false;
        }
    }

    /// <summary>Asks again what is at this name, which others may have changed.</summary>
    internal bool Refresh()
    {
        if (!HasParent)
        {
            return false;
        }

        FileError error = IsRoot ? _volume.GetAttributes(_volume.RootId, out InodeAttributes attributes) : _volume.Lookup(DirectoryId, Name, out attributes);
        if (error == FileError.None && !IsRoot)
        {
            _held.Add(attributes.FileId);
        }

        if (error is not (FileError.None or FileError.ENOENT))
        {
            throw DavException.Of(error);
        }

        Exists = error == FileError.None;
        Attributes = attributes;
        return Exists;
    }

    public void Dispose()
    {
        foreach (ulong id in _held)
        {
            _volume.Forget(id, 1);
        }

        _held.Clear();
    }

    private void Walk(IReadOnlyList<byte[]> names, bool followsLast)
    {
        var rest = new Stack<byte[]>(names.Reverse());
        int links = 0;
        while (rest.TryPop(out byte[]? name))
        {
            if (name.AsSpan().SequenceEqual(".."u8))
            {
                if (_at.Count == 0)
                {
                    throw Outside();
                }

                _at.RemoveAt(_at.Count - 1);
                continue;
            }

            ulong directory = Top;
            FileError error = _volume.Lookup(directory, name, out InodeAttributes attributes);
            if (error is FileError.ENOENT or FileError.ENOTDIR)
            {
                HasParent = error == FileError.ENOENT && rest.Count == 0;
                Settle([.. _at.Select(static step => step.Name), name, .. rest], directory);
                return;
            }

            DavException.Check(error);
            _held.Add(attributes.FileId);
            if (attributes.Type == EntryType.Symlink && (followsLast || rest.Count > 0))
            {
                if (++links > MaxLinks)
                {
                    throw new DavException(DavException.LoopDetected, "The links on this path lead in circles.");
                }

                Push(rest, attributes.FileId);
                continue;
            }

            _at.Add((name, attributes.FileId));
        }

        DavException.Check(_volume.GetAttributes(Top, out InodeAttributes found));
        Attributes = found;
        Exists = true;
        Settle([.. _at.Select(static step => step.Name)], _at.Count > 1 ? _at[^2].Id : _volume.RootId);
    }

    private ulong Top => _at.Count == 0 ? _volume.RootId : _at[^1].Id;

    private void Settle(byte[][] names, ulong directory)
    {
        DirectoryId = directory;
        Name = names.Length == 0 ? [] : names[^1];
        Key = names.Length == 0 ? "" : DavPath.Encode(names, isCollection: false);
    }

    private void Push(Stack<byte[]> rest, ulong link)
    {
        byte[] target = new byte[EntryLimits.MaxSymlinkBytes];
        DavException.Check(_volume.ReadLink(link, target, out int bytes));
        if (target[0] == '/')
        {
            throw Outside();
        }

        ReadOnlySpan<byte> path = target.AsSpan(0, bytes);
        List<byte[]> names = [];
        foreach (Range range in path.Split((byte)'/'))
        {
            if (!path[range].IsEmpty && !path[range].SequenceEqual("."u8))
            {
                names.Add(path[range].ToArray());
            }
        }

        names.Reverse();
        names.ForEach(rest.Push);
    }

    private static DavException Outside() => new(403, "A link on this path leads out of the volume.");
}
