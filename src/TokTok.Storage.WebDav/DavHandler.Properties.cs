using Microsoft.AspNetCore.Http;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <content>PROPFIND and PROPPATCH.</content>
internal sealed partial class DavHandler
{
    private async Task PropFindAsync(DavExchange exchange)
    {
        int? depth = exchange.Depth;
        PropertyQuery query = DavXml.ReadPropertyQuery(await exchange.ReadBodyAsync(DavXml.MaxBodyBytes).ConfigureAwait(false));
        using var xml = new Utf8Xml();
        xml.Raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">"u8);
        using DavResource resource = await _threads.ReadAsync(() => BeginPropFind(exchange, query, depth, xml)).ConfigureAwait(false);
        bool isFlat = depth == 0 || !resource.IsDirectory;
        if (isFlat)
        {
            xml.Raw("</D:multistatus>\n"u8);
            await exchange.SendXmlAsync(DavException.MultiStatus, xml).ConfigureAwait(false);
            return;
        }

        using var listing = new DavListing(_volume, exchange.Base, exchange.Path.Names, resource.FileId);
        DavEntry show = (name, file, href) => _properties.Write(xml, query, file, $"{resource.Key}/{DavPath.Encode(name)}", href, name);
        bool isOver = await _threads.ReadAsync(() => listing.NextPage(show)).ConfigureAwait(false); // what fails on the first page still gets a status of its own
        exchange.Response.StatusCode = DavException.MultiStatus;
        exchange.Response.ContentType = "application/xml; charset=utf-8";
        while (!isOver)
        {
            await exchange.Response.Body.WriteAsync(xml.Written, exchange.Cut).ConfigureAwait(false);
            xml.Clear();
            isOver = await _threads.ReadAsync(() => listing.NextPage(show)).ConfigureAwait(false);
        }

        xml.Raw("</D:multistatus>\n"u8);
        await exchange.Response.Body.WriteAsync(xml.Written, exchange.Cut).ConfigureAwait(false);
    }

    private DavResource BeginPropFind(DavExchange exchange, PropertyQuery query, int? depth, Utf8Xml xml)
    {
        DavResource resource = FindExisting(exchange.Path);
        try
        {
            if (resource.IsDirectory && depth is null)
            {
                throw new DavException(403, "A whole tree is listed one collection at a time.") { Condition = "propfind-finite-depth" };
            }

            if (resource.Attributes.Type is not (EntryType.File or EntryType.Directory))
            {
                throw DavException.Of(FileError.ENOENT);
            }

            if (exchange.If.Lists.Count > 0 && !Holds(exchange, resource))
            {
                throw new DavException(StatusCodes.Status412PreconditionFailed, "No list of the If header holds.");
            }

            byte[] name = exchange.Path.Names.Count == 0 ? exchange.Volume : exchange.Path.Names[^1];
            _properties.Write(xml, query, resource.Attributes, resource.Key, exchange.Href(resource.IsDirectory), name);
            return resource;
        }
        catch
        {
            resource.Dispose();
            throw;
        }
    }

    /// <summary>Writes the response element of the volume itself, for a list of volumes.</summary>
    internal void WriteVolume(Utf8Xml xml, PropertyQuery query, string href, ReadOnlySpan<byte> name)
    {
        if (_volume.GetAttributes(_volume.RootId, out InodeAttributes root) == FileError.None)
        {
            _properties.Write(xml, query, root, "", href, name);
        }
    }

    /// <summary>Writes the response element of the collection that holds the volumes.</summary>
    internal void WriteTop(Utf8Xml xml, PropertyQuery query) => _properties.WriteTop(xml, query);

    private async Task PropPatchAsync(DavExchange exchange)
    {
        IReadOnlyList<PropertyChange> changes = DavXml.ReadPropertyUpdate(await exchange.ReadBodyAsync(DavXml.MaxBodyBytes).ConfigureAwait(false));
        using var xml = new Utf8Xml();
        await _threads.WriteAsync(() =>
        {
            using DavResource resource = FindExisting(exchange.Path);
            int[] results;
            lock (_changing)
            {
                CheckConditions(exchange, resource);
                CheckLocks(exchange, resource, changesName: false, changesTree: false);
                results = _properties.Apply(_caller, resource.Attributes, changes);
            }

            xml.Raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>"u8)
                .Text(exchange.Href(resource.IsDirectory))
                .Raw("</D:href>"u8);
            for (int i = 0; i < results.Length; i++)
            {
                xml.Raw("<D:propstat><D:prop>"u8);
                DavProperties.WriteName(xml, changes[i].Name);
                xml.Raw("</D:prop><D:status>"u8).Raw(StatusLine(results[i])).Raw("</D:status>"u8);
                xml.Raw(results[i] == 403 ? "<D:error><D:cannot-modify-protected-property/></D:error></D:propstat>"u8 : "</D:propstat>"u8);
            }

            xml.Raw("</D:response></D:multistatus>\n"u8);
        }).ConfigureAwait(false);
        await exchange.SendXmlAsync(DavException.MultiStatus, xml).ConfigureAwait(false);
    }

    private static string StatusLine(int status) => $"HTTP/1.1 {status} {Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(status)}";
}
