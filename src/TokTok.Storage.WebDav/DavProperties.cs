using System.Buffers;
using System.Globalization;
using System.Text;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>The properties of what is in a volume: those it computes (live), and those that clients keep there (dead).</summary>
/// <remarks>
/// Source: RFC 4918 15 for the live ones, RFC 4331 for quota, and what Windows' redirector sends for urn:schemas-microsoft-com:.
/// A dead property is the extended attribute user.webdav.{namespace}name, whose value is the whole element: a mount shows and keeps it, and a snapshot remembers it.
/// Bounds: <see cref="MaxValueBytes"/> a property, <see cref="MaxCount"/> on one file, names as far as an attribute's 255 bytes go.
/// A volume keeps no time of creation: creationdate is the time of modification, unless Windows has set its own.
/// Blocks: every method calls into the volume.
/// </remarks>
internal sealed class DavProperties(IVolumeFileSystem volume, DavLocks locks)
{
    internal const int MaxValueBytes = 16 * 1024;

    internal const int MaxCount = 128;

    private const string Prefix = "user.webdav.{";

    private static readonly PropertyName s_displayName = new(PropertyName.Dav, "displayname");
    private static readonly PropertyName s_windowsModified = new(PropertyName.Windows, "Win32LastModifiedTime");
    private static readonly PropertyName s_windowsCreated = new(PropertyName.Windows, "Win32CreationTime");

    /// <summary>What allprop shows; quota is for those who ask (RFC 4331 2).</summary>
    private static readonly string[] s_live =
        ["creationdate", "displayname", "getcontentlength", "getcontenttype", "getetag", "getlastmodified", "lockdiscovery", "resourcetype", "supportedlock"];

    private static readonly InodeAttributes s_top = new() { FileId = 0, Type = EntryType.Directory, Mode = 0, LinkCount = 0, OwnerId = 0, GroupId = 0, Size = 0 };

    private static readonly string[] s_quota = ["quota-available-bytes", "quota-used-bytes"];

    /// <summary>What a client may not set, whether or not this file has it.</summary>
    internal static bool IsProtected(PropertyName name) => name.Namespace == PropertyName.Dav && name != s_displayName && (s_live.Contains(name.Name) || s_quota.Contains(name.Name));

    /// <summary>Writes the response element of one file.</summary>
    /// <param name="key">Its resource, for locks.</param>
    internal void Write(Utf8Xml xml, PropertyQuery query, in InodeAttributes file, string key, string href, ReadOnlySpan<byte> name)
    {
        IReadOnlyList<PropertyName> dead = query.IsAll || query.IsNamesOnly || query.Names.Any(static wanted => !IsProtected(wanted)) ? DeadNames(file.FileId) : [];
        xml.Raw("<D:response><D:href>"u8).Text(href).Raw("</D:href><D:propstat><D:prop>"u8);
        List<PropertyName> missing = [];
        if (query.IsNamesOnly || query.IsAll)
        {
            foreach (string live in s_live)
            {
                var property = new PropertyName(PropertyName.Dav, live);
                if (!dead.Contains(property))
                {
                    WriteLive(xml, property, file, key, name, query.IsNamesOnly);
                }
            }

            if (query.IsNamesOnly && file.Type == EntryType.Directory)
            {
                xml.Raw("<D:quota-available-bytes/><D:quota-used-bytes/>"u8);
            }

            foreach (PropertyName property in dead)
            {
                if (query.IsNamesOnly)
                {
                    WriteName(xml, property);
                }
                else
                {
                    WriteDead(xml, property, file.FileId);
                }
            }
        }

        foreach (PropertyName wanted in query.Names)
        {
            bool isShown = query.IsAll && (dead.Contains(wanted) || (wanted.Namespace == PropertyName.Dav && s_live.Contains(wanted.Name)));
            if (!isShown && !(dead.Contains(wanted) && WriteDead(xml, wanted, file.FileId)) && !WriteLive(xml, wanted, file, key, name, isNameOnly: false))
            {
                missing.Add(wanted);
            }
        }

        WriteEnd(xml, missing);
    }

    private static void WriteEnd(Utf8Xml xml, List<PropertyName> missing)
    {
        xml.Raw("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"u8);
        if (missing.Count > 0)
        {
            xml.Raw("<D:propstat><D:prop>"u8);
            missing.ForEach(wanted => WriteName(xml, wanted));
            xml.Raw("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"u8);
        }

        xml.Raw("</D:response>"u8);
    }

    /// <summary>Writes the response element of the collection that holds volumes, which is in none: it has a kind, and the space of the store.</summary>
    internal void WriteTop(Utf8Xml xml, PropertyQuery query)
    {
        xml.Raw("<D:response><D:href>/</D:href><D:propstat><D:prop>"u8);
        IReadOnlyList<PropertyName> wanted = query.IsAll || query.IsNamesOnly ? [.. query.Names, new PropertyName(PropertyName.Dav, "resourcetype")] : query.Names;
        List<PropertyName> missing = [];
        foreach (PropertyName property in wanted.Distinct())
        {
            bool isKnown = property is { Namespace: PropertyName.Dav, Name: "resourcetype" or "supportedlock" or "lockdiscovery" } || (property.Namespace == PropertyName.Dav && s_quota.Contains(property.Name));
            if (isKnown && query.IsNamesOnly)
            {
                WriteName(xml, property);
            }
            else if (!isKnown || !(property.Name is "supportedlock" or "lockdiscovery" ? WriteEmpty(xml, property) : WriteLive(xml, property, s_top, "", default, isNameOnly: false)))
            {
                missing.Add(property);
            }
        }

        WriteEnd(xml, missing);
    }

    private static bool WriteEmpty(Utf8Xml xml, PropertyName property)
    {
        WriteName(xml, property);
        return true;
    }

    internal static void WriteName(Utf8Xml xml, PropertyName name)
    {
        if (name.Namespace == PropertyName.Dav)
        {
            xml.Raw("<D:"u8).Raw(name.Name).Raw("/>"u8);
        }
        else if (name.Namespace.Length == 0)
        {
            xml.Raw("<"u8).Raw(name.Name).Raw("/>"u8);
        }
        else
        {
            xml.Raw("<x:"u8).Raw(name.Name).Raw(" xmlns:x=\""u8).Text(name.Namespace).Raw("\"/>"u8);
        }
    }

    internal static void WriteLocks(Utf8Xml xml, IReadOnlyList<DavLock> locks)
    {
        xml.Raw("<D:lockdiscovery>"u8);
        foreach (DavLock held in locks)
        {
            xml.Raw("<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope>"u8)
                .Raw(held.IsShared ? "<D:shared/>"u8 : "<D:exclusive/>"u8)
                .Raw("</D:lockscope><D:depth>"u8)
                .Raw(held.IsDeep ? "infinity"u8 : "0"u8)
                .Raw("</D:depth>"u8)
                .Raw(held.Owner)
                .Raw(string.Create(CultureInfo.InvariantCulture, $"<D:timeout>Second-{(long)held.Timeout.TotalSeconds}</D:timeout>"))
                .Raw("<D:locktoken><D:href>"u8)
                .Text(held.Token)
                .Raw("</D:href></D:locktoken><D:lockroot><D:href>"u8)
                .Text(held.RootHref)
                .Raw("</D:href></D:lockroot></D:activelock>"u8);
        }

        xml.Raw("</D:lockdiscovery>"u8);
    }

    /// <summary>Makes all changes or none.</summary>
    /// <returns>For each change 200, or why not: 424 stands at those that failed with another.</returns>
    internal int[] Apply(in FileCaller caller, in InodeAttributes file, IReadOnlyList<PropertyChange> changes)
    {
        int[] results = new int[changes.Count];
        int count = DeadNames(file.FileId).Count;
        for (int i = 0; i < changes.Count; i++)
        {
            results[i] = Judge(changes[i], ref count);
        }

        var undo = new Stack<(byte[] Name, byte[]? Value)>();
        for (int i = 0; i < changes.Count && results.All(static result => result == 200); i++)
        {
            FileError error = Apply(caller, file, changes[i], undo);
            results[i] = error == FileError.None ? 200 : DavException.StatusOf(error);
        }

        if (results.Any(static result => result != 200))
        {
            foreach ((byte[] name, byte[]? value) in undo)
            {
                _ = value is null ? volume.RemoveXattr(caller, file.FileId, name) : volume.SetXattr(caller, file.FileId, name, value, XattrMode.Any);
            }

            return [.. results.Select(static result => result == 200 ? DavException.FailedDependency : result)];
        }

        return results;
    }

    /// <summary>Gives a file the attributes of users that another has, dead properties among them, and the other's access control list, or none.</summary>
    internal FileError CopyAttributes(in FileCaller caller, ulong from, ulong to)
    {
        foreach (byte[] name in XattrNames(from))
        {
            if (name.AsSpan().StartsWith("user."u8) && TryGet(from, name) is { } value)
            {
                FileError error = volume.SetXattr(caller, to, name, value, XattrMode.Any);
                if (error != FileError.None)
                {
                    return error;
                }
            }
        }

        return CopyList(caller, from, to);
    }

    private FileError CopyList(in FileCaller caller, ulong from, ulong to)
    {
        ReadOnlySpan<byte> access = "system.posix_acl_access"u8;
        if (TryGet(from, access.ToArray()) is { } list)
        {
            return volume.SetXattr(caller, to, access, list, XattrMode.Any);
        }

        if (TryGet(to, access.ToArray()) is null)
        {
            return FileError.None;
        }

        // It has inherited one from the folder, which took permissions from its mode too.
        FileError error = volume.RemoveXattr(caller, to, access);
        InodeAttributes attributes = default;
        error = error == FileError.None ? volume.GetAttributes(from, out attributes) : error;
        return error == FileError.None ? volume.SetAttributes(caller, to, new AttributeChange { Mode = attributes.Mode & TreeWork.ModeMask }, out _) : error;
    }

    private static int Judge(PropertyChange change, ref int count)
    {
        if (IsProtected(change.Name))
        {
            return 403;
        }

        if (TryModifiedTime(change, out FileTime? time))
        {
            return time is null ? 409 : 200;
        }

        count += change.Value is null ? 0 : 1;
        return change.Value is not null && (count > MaxCount || XattrName(change.Name).Length > AttributeList.MaxNameBytes || Encoding.UTF8.GetByteCount(change.Value) > MaxValueBytes)
            ? DavException.InsufficientStorage
            : 200;
    }

    private FileError Apply(in FileCaller caller, in InodeAttributes file, PropertyChange change, Stack<(byte[] Name, byte[]? Value)> undo)
    {
        if (TryModifiedTime(change, out FileTime? time))
        {
            return volume.SetAttributes(caller, file.FileId, new AttributeChange { Modified = TimeChange.To(time!.Value) }, out _);
        }

        byte[] name = XattrName(change.Name);
        byte[]? before = TryGet(file.FileId, name);
        FileError error = change.Value is null
            ? volume.RemoveXattr(caller, file.FileId, name)
            : volume.SetXattr(caller, file.FileId, name, Encoding.UTF8.GetBytes(change.Value), XattrMode.Any);
        if (error == FileError.None)
        {
            undo.Push((name, before));
        }

        return change.Value is null && error == FileError.ENODATA ? FileError.None : error; // removing what is not there is no error (RFC 4918 14.23)
    }

    /// <summary>Whether a change sets the time of modification: as Windows does, or as ownCloud's clients do.</summary>
    /// <param name="time">Null: it is none.</param>
    private static bool TryModifiedTime(PropertyChange change, out FileTime? time)
    {
        time = null;
        if (change.Value is null)
        {
            return false;
        }

        if (change.Name == s_windowsModified)
        {
            time = HttpTime.TryParse(change.Text.Trim(), out long seconds) ? new FileTime(seconds, 0) : null;
            return true;
        }

        if (change.Name is { Namespace: PropertyName.Dav, Name: "lastmodified" })
        {
            time = long.TryParse(change.Text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long since) ? new FileTime(since, 0) : null;
            return true;
        }

        return false;
    }

    /// <summary>False where the file has no such property.</summary>
    private bool WriteLive(Utf8Xml xml, PropertyName property, in InodeAttributes file, string key, ReadOnlySpan<byte> name, bool isNameOnly)
    {
        bool isFile = file.Type == EntryType.File;
        if (property == s_windowsModified)
        {
            xml.Raw("<Z:Win32LastModifiedTime xmlns:Z=\"urn:schemas-microsoft-com:\">"u8).Raw(HttpTime.Format(file.Modified)).Raw("</Z:Win32LastModifiedTime>"u8);
            return true;
        }

        if (property.Namespace != PropertyName.Dav || (property.Name is "getcontentlength" or "getcontenttype" or "getetag" && !isFile))
        {
            return false;
        }

        if (isNameOnly)
        {
            WriteName(xml, property);
            return true;
        }

        switch (property.Name)
        {
            case "creationdate":
                FileTime created = TryGet(file.FileId, XattrName(s_windowsCreated)) is { } set && HttpTime.TryParse(TextOf(set), out long seconds) ? new FileTime(seconds, 0) : file.Modified;
                xml.Raw("<D:creationdate>"u8).Raw(HttpTime.FormatIso(created)).Raw("</D:creationdate>"u8);
                return true;
            case "displayname":
                xml.Raw("<D:displayname>"u8).Text(name).Raw("</D:displayname>"u8);
                return true;
            case "getcontentlength":
                xml.Raw("<D:getcontentlength>"u8).Raw(file.Size.ToString(CultureInfo.InvariantCulture)).Raw("</D:getcontentlength>"u8);
                return true;
            case "getcontenttype":
                xml.Raw("<D:getcontenttype>"u8).Raw(ContentTypes.Of(name)).Raw("</D:getcontenttype>"u8);
                return true;
            case "getetag":
                xml.Raw("<D:getetag>"u8).Text(EntityTag.Of(file)).Raw("</D:getetag>"u8);
                return true;
            case "getlastmodified":
                xml.Raw("<D:getlastmodified>"u8).Raw(HttpTime.Format(file.Modified)).Raw("</D:getlastmodified>"u8);
                return true;
            case "lockdiscovery":
                WriteLocks(xml, locks.Covering(key));
                return true;
            case "resourcetype":
                xml.Raw(isFile ? "<D:resourcetype/>"u8 : "<D:resourcetype><D:collection/></D:resourcetype>"u8);
                return true;
            case "supportedlock":
                xml.Raw("<D:supportedlock><D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>"u8)
                    .Raw("<D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry></D:supportedlock>"u8);
                return true;
            case "quota-available-bytes" or "quota-used-bytes" when !isFile && volume.GetStatistics(out VolumeStatistics space) == FileError.None:
                long bytes = property.Name == "quota-used-bytes" ? space.TotalBytes - space.FreeBytes : space.FreeBytes;
                xml.Raw("<D:"u8).Raw(property.Name).Raw(">"u8).Raw(bytes.ToString(CultureInfo.InvariantCulture)).Raw("</D:"u8).Raw(property.Name).Raw(">"u8);
                return true;
            default:
                return false;
        }
    }

    private bool WriteDead(Utf8Xml xml, PropertyName property, ulong fileId)
    {
        if (TryGet(fileId, XattrName(property)) is not { } value || !DavXml.IsElement(value, property))
        {
            return false;
        }

        xml.Raw(value);
        return true;
    }

    private static string TextOf(byte[] element)
    {
        string text = Encoding.UTF8.GetString(element);
        int start = text.IndexOf('>') + 1;
        int end = text.LastIndexOf("</", StringComparison.Ordinal);
        return end > start ? text[start..end] : "";
    }

    private static byte[] XattrName(PropertyName name) => Encoding.UTF8.GetBytes($"{Prefix}{name.Namespace}}}{name.Name}");

    private List<PropertyName> DeadNames(ulong fileId)
    {
        List<PropertyName> names = [];
        foreach (byte[] xattr in XattrNames(fileId))
        {
            string name = Encoding.UTF8.GetString(xattr);
            int end = name.LastIndexOf('}');
            if (name.StartsWith(Prefix, StringComparison.Ordinal) && end > 0 && names.Count < MaxCount)
            {
                var property = new PropertyName(name[Prefix.Length..end], name[(end + 1)..]);
                if (IsName(property.Name) && !IsProtected(property))
                {
                    names.Add(property);
                }
            }
        }

        return names;
    }

    /// <summary>A mount lets anybody name attributes as they like.</summary>
    private static bool IsName(string name)
    {
        try
        {
            return System.Xml.XmlConvert.VerifyNCName(name) == name;
        }
        catch (Exception wrong) when (wrong is System.Xml.XmlException or ArgumentException)
        {
            return false;
        }
    }

    private List<byte[]> XattrNames(ulong fileId)
    {
        if (volume.ListXattrs(fileId, default, out int bytes) != FileError.None || bytes == 0)
        {
            return [];
        }

        byte[] list = ArrayPool<byte>.Shared.Rent(64 * 1024);
        try
        {
            List<byte[]> names = [];
            DavException.Check(volume.ListXattrs(fileId, list, out bytes));
            for (ReadOnlySpan<byte> rest = list.AsSpan(0, bytes); !rest.IsEmpty;)
            {
                int end = rest.IndexOf((byte)0);
                names.Add(rest[..end].ToArray());
                rest = rest[(end + 1)..];
            }

            return names;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(list);
        }
    }

    private byte[]? TryGet(ulong fileId, ReadOnlySpan<byte> name)
    {
        if (volume.GetXattr(fileId, name, default, out int bytes) != FileError.None)
        {
            return null;
        }

        byte[] value = new byte[bytes];
        return bytes == 0 ? value : volume.GetXattr(fileId, name, value, out int read) == FileError.None && read == bytes ? value : null;
    }
}
