using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>Shows a directory entry.</summary>
internal delegate void DavEntry(byte[] name, InodeAttributes attributes, string href);

/// <summary>A directory's entries as WebDAV shows them, a page at a time: files and directories, and links to them inside the volume as what they lead to.</summary>
/// <remarks>
/// What cannot be got is not shown: fifos, sockets, devices, and links that lead out of the volume, nowhere or in circles.
/// Owns a directory handle and, between two calls, no file ids. Blocks.
/// </remarks>
internal sealed class DavListing : IDirectorySink, IDisposable
{
    private const int PageNames = 128;

    private readonly IVolumeFileSystem _volume;
    private readonly IReadOnlyList<byte[]> _names;
    private readonly string _base;
    private readonly ulong _directoryId;
    private readonly List<(byte[] Name, InodeAttributes Attributes)> _page = [];
    private ulong _handle;
    private ulong _cookie;

    /// <param name="volumePath">Where the client sees the volume.</param>
    /// <param name="names">The directory as the client calls it.</param>
    internal DavListing(IVolumeFileSystem volume, string volumePath, IReadOnlyList<byte[]> names, ulong directoryId)
    {
        _volume = volume;
        _names = names;
        _base = volumePath + DavPath.Encode(names, isCollection: true);
        _directoryId = directoryId;
    }

    /// <summary>Shows the next page; true at the end.</summary>
    internal bool NextPage(DavEntry show)
    {
        if (_handle == 0)
        {
            DavException.Check(_volume.OpenDirectory(_directoryId, out _handle));
        }

        _page.Clear();
        try
        {
            DavException.Check(_volume.ReadDirectory(_handle, _cookie, withAttributes: true, this));
            foreach ((byte[] name, InodeAttributes found) in _page)
            {
                InodeAttributes shown = found;
                if (found.Type == EntryType.Symlink ? !DavResource.TryFollow(_volume, [.. _names, name], out shown) : false)
                {
                    continue;
                }

                if (shown.Type is EntryType.File or EntryType.Directory)
                {
                    show(name, shown, _base + DavPath.Encode(name) + (shown.Type == EntryType.Directory ? "/" : ""));
                }
            }
        }
        finally
        {
            foreach ((_, InodeAttributes found) in _page)
            {
                _volume.Forget(found.FileId, 1);
            }
        }

        return _page.Count == 0;
    }

    public bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie)
    {
        if (_page.Count == PageNames)
        {
            return false;
        }

        _cookie = cookie;
        if (!name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8))
        {
            _page.Add((name.ToArray(), attributes));
        }

        return true;
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            _ = _volume.Release(_handle);
        }
    }
}
