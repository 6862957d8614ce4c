using System.Text;
using Microsoft.AspNetCore.Http;

namespace TokTok.Storage.WebDav;

/// <summary>Several volumes behind one server: each is a collection of its name, and the topmost collection holds them and nothing else.</summary>
/// <remarks>A volume does not know of the others: nothing is moved or copied from one to another in one request (502, upon which clients do it by downloading and uploading).</remarks>
internal sealed class DavShelf
{
    private readonly VolumeThreads _threads;
    private readonly List<(byte[] Name, DavHandler Handler)> _volumes;

    internal DavShelf(IReadOnlyDictionary<string, DavHandler> volumes, VolumeThreads threads)
    {
        _threads = threads;
        _volumes = [.. volumes.OrderBy(static volume => volume.Key, StringComparer.Ordinal).Select(static volume => (Encoding.UTF8.GetBytes(volume.Key), volume.Value))];
    }

    internal Task AnswerAsync(HttpContext http)
    {
        DavPath path = DavExchange.TargetOf(http);
        if (path.Names.Count == 0)
        {
            return AnswerTopAsync(new DavExchange(http, path));
        }

        foreach ((byte[] name, DavHandler handler) in _volumes)
        {
            if (name.AsSpan().SequenceEqual(path.Names[0]))
            {
                return handler.AnswerAsync(new DavExchange(http, path, name));
            }
        }

        throw http.Request.Method is "PUT" or "MKCOL" or "LOCK" ? Refused() : new DavException(404, "There is no volume of this name.");
    }

    private Task AnswerTopAsync(DavExchange exchange) => exchange.Http.Request.Method switch
    {
        "OPTIONS" => DavHandler.Options(exchange),
        "PROPFIND" => PropFindAsync(exchange),
        "GET" or "HEAD" => ListAsync(exchange),
        _ => throw Refused(),
    };

    private static DavException Refused() => new(403, "Only volumes are here; `tdfs volume` makes, renames and burns them.");

    private async Task PropFindAsync(DavExchange exchange)
    {
        int depth = exchange.Depth ?? throw new DavException(403, "A whole tree is listed one collection at a time.") { Condition = "propfind-finite-depth" };
        PropertyQuery query = DavXml.ReadPropertyQuery(await exchange.ReadBodyAsync(DavXml.MaxBodyBytes).ConfigureAwait(false));
        using var xml = new Utf8Xml();
        xml.Raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">"u8);
        await _threads.ReadAsync(() =>
        {
            _volumes[0].Handler.WriteTop(xml, query);
            foreach ((byte[] name, DavHandler handler) in depth == 0 ? [] : _volumes)
            {
                handler.WriteVolume(xml, query, $"/{DavPath.Encode(name)}/", name);
            }

            return true;
        }).ConfigureAwait(false);
        xml.Raw("</D:multistatus>\n"u8);
        await exchange.SendXmlAsync(DavException.MultiStatus, xml).ConfigureAwait(false);
    }

    private async Task ListAsync(DavExchange exchange)
    {
        using var html = new Utf8Xml();
        html.Raw("<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>/</title></head><body><h1>/</h1>"u8);
        foreach ((byte[] name, _) in _volumes)
        {
            html.Raw("<p><a href=\"/"u8).Raw(DavPath.Encode(name)).Raw("/\">"u8).Text(name).Raw("/</a></p>\n"u8);
        }

        html.Raw("</body></html>\n"u8);
        exchange.Response.Headers.ContentSecurityPolicy = "default-src 'none'";
        exchange.Response.ContentType = "text/html; charset=utf-8";
        exchange.Response.ContentLength = html.Length;
        if (!HttpMethods.IsHead(exchange.Http.Request.Method))
        {
            await exchange.Response.Body.WriteAsync(html.Written, exchange.Cut).ConfigureAwait(false);
        }
    }
}
