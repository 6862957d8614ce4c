using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <content>GET and HEAD.</content>
internal sealed partial class DavHandler
{
    private async Task GetAsync(DavExchange exchange)
    {
        bool isHead = exchange.Http.Request.Method == "HEAD";
        (DavResource resource, int status, ulong handle) = await _threads.ReadAsync(() => BeginGet(exchange)).ConfigureAwait(false);
        using (resource)
        {
            if (resource.IsDirectory)
            {
                await SendListingAsync(exchange, resource, isHead, status).ConfigureAwait(false);
                return;
            }

            try
            {
                await SendFileAsync(exchange, resource, isHead, status, handle).ConfigureAwait(false);
            }
            finally
            {
                _ = _volume.Release(handle);
            }
        }
    }

    private (DavResource DavResource, int Status, ulong Handle) BeginGet(DavExchange exchange)
    {
        DavResource resource = FindExisting(exchange.Path);
        try
        {
            int status = CheckConditions(exchange, resource, isRead: true);
            ulong handle = 0;
            if (!resource.IsDirectory)
            {
                DavException.Check(resource.Attributes.Type == EntryType.File ? FileError.None : FileError.EPERM);
                DavException.Check(_volume.Open(_caller, resource.FileId, OpenOptions.Read, out handle));
            }

            return (resource, status, handle);
        }
        catch
        {
            resource.Dispose();
            throw;
        }
    }

    private async Task SendFileAsync(DavExchange exchange, DavResource resource, bool isHead, int status, ulong handle)
    {
        HttpResponse response = exchange.Response;
        InodeAttributes file = resource.Attributes;
        string type = ContentTypes.Of(resource.Name);
        response.Headers.ETag = EntityTag.Of(file);
        response.Headers.LastModified = HttpTime.Format(file.Modified);
        response.Headers.AcceptRanges = "bytes";
        response.Headers.CacheControl = "private, no-cache"; // kept, and asked for again
        response.Headers.XContentTypeOptions = "nosniff";
        if (ContentTypes.IsActive(type))
        {
            response.Headers.ContentSecurityPolicy = "sandbox";
        }

        if (status != 0)
        {
            response.StatusCode = status;
            return;
        }

        List<ByteRange>? ranges = Preconditions.AllowsRange(exchange.Headers, file, _clock.GetUtcNow()) && !isHead ? ByteRanges.Parse(exchange.Headers.Range, file.Size) : null;
        if (ranges is { Count: 0 })
        {
            response.Headers.ContentRange = string.Create(CultureInfo.InvariantCulture, $"bytes */{file.Size}");
            throw new DavException(StatusCodes.Status416RangeNotSatisfiable, "No range lies in the file.");
        }

        if (ranges is { Count: > 1 })
        {
            await SendPartsAsync(exchange, type, file.Size, ranges, handle).ConfigureAwait(false);
            return;
        }

        ByteRange range = ranges is null ? new ByteRange(0, file.Size) : ranges[0];
        response.StatusCode = ranges is null ? StatusCodes.Status200OK : StatusCodes.Status206PartialContent;
        response.ContentType = type;
        response.ContentLength = range.Length;
        if (ranges is not null)
        {
            response.Headers.ContentRange = range.Describe(file.Size);
        }

        if (!isHead)
        {
            await SendBytesAsync(exchange, handle, range).ConfigureAwait(false);
        }
    }

    /// <summary>multipart/byteranges (RFC 9110 14.6).</summary>
    private async Task SendPartsAsync(DavExchange exchange, string type, long size, List<ByteRange> ranges, ulong handle)
    {
        byte[] random = new byte[16];
        _random.Fill(random);
        string boundary = Convert.ToHexStringLower(random);
        byte[][] heads = [.. ranges.Select(range => Encoding.ASCII.GetBytes($"\r\n--{boundary}\r\nContent-Type: {type}\r\nContent-Range: {range.Describe(size)}\r\n\r\n"))];
        byte[] tail = Encoding.ASCII.GetBytes($"\r\n--{boundary}--\r\n");
        exchange.Response.StatusCode = StatusCodes.Status206PartialContent;
        exchange.Response.ContentType = $"multipart/byteranges; boundary={boundary}";
        exchange.Response.ContentLength = heads.Sum(static head => (long)head.Length) + ranges.Sum(static range => range.Length) + tail.Length;
        for (int i = 0; i < heads.Length; i++)
        {
            await exchange.Response.Body.WriteAsync(heads[i], exchange.Cut).ConfigureAwait(false);
            await SendBytesAsync(exchange, handle, ranges[i]).ConfigureAwait(false);
        }

        await exchange.Response.Body.WriteAsync(tail, exchange.Cut).ConfigureAwait(false);
    }

    /// <summary>Reads straight into the response's own buffers. Whoever has announced more bytes than there are now cuts the connection: the client must not take the rest for the file.</summary>
    private async Task SendBytesAsync(DavExchange exchange, ulong handle, ByteRange range)
    {
        for (long at = range.Offset, end = range.Offset + range.Length; at < end;)
        {
            int wanted = (int)Math.Min(PieceBytes, end - at);
            Memory<byte> piece = exchange.Response.BodyWriter.GetMemory(wanted)[..wanted];
            long from = at;
            (FileError error, int bytes) = await _threads.ReadAsync(() => (_volume.Read(handle, from, piece.Span, out int read), read)).ConfigureAwait(false);
            if (error != FileError.None || bytes == 0)
            {
                if (error == FileError.EIO)
                {
                    _options.Trouble?.Invoke($"{exchange.Href(false)} could not be read at byte {at}");
                }

                exchange.Http.Abort();
                return;
            }

            exchange.Response.BodyWriter.Advance(bytes);
            at += bytes;
            System.IO.Pipelines.FlushResult flushed = await exchange.Response.BodyWriter.FlushAsync(exchange.Cut).ConfigureAwait(false);
            if (flushed.IsCompleted)
            {
                return; // the client has gone
            }
        }
    }

    /// <summary>A page for people: what is in a directory.</summary>
    private async Task SendListingAsync(DavExchange exchange, DavResource resource, bool isHead, int status)
    {
        HttpResponse response = exchange.Response;
        response.Headers.LastModified = HttpTime.Format(resource.Attributes.Modified);
        response.Headers.CacheControl = "private, no-cache";
        response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'";
        response.ContentType = "text/html; charset=utf-8";
        if (status != 0 || isHead)
        {
            response.StatusCode = status == 0 ? StatusCodes.Status200OK : status;
            return;
        }

        string title = resource.IsRoot ? exchange.Href(true) : Encoding.UTF8.GetString(resource.Name);
        using var html = new Utf8Xml();
        html.Raw("<!DOCTYPE html><html><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>"u8)
            .Text(title)
            .Raw("</title><style>body{font-family:sans-serif}td{padding:0 1em 0 0}td+td{text-align:right}</style></head><body><h1>"u8)
            .Text(title)
            .Raw("</h1><table>"u8);
        if (exchange.Path.Names.Count > 0 || exchange.Base.Length > 0)
        {
            html.Raw("<tr><td><a href=\""u8).Text(exchange.Parent).Raw("\">..</a></td></tr>\n"u8);
        }

        using var listing = new DavListing(_volume, exchange.Base, exchange.Path.Names, resource.FileId);
        for (bool isOver = false; !isOver;)
        {
            isOver = await _threads.ReadAsync(() => listing.NextPage((name, file, href) =>
            {
                bool isDirectory = file.Type == EntryType.Directory;
                html.Raw("<tr><td><a href=\""u8).Text(href).Raw("\">"u8).Text(name).Raw(isDirectory ? "/</a></td><td></td><td>"u8 : "</a></td><td>"u8);
                if (!isDirectory)
                {
                    html.Raw(file.Size.ToString("N0", CultureInfo.InvariantCulture)).Raw("</td><td>"u8);
                }

                html.Raw(HttpTime.FormatIso(file.Modified)).Raw("</td></tr>\n"u8);
            })).ConfigureAwait(false);
            html.Raw(isOver ? "</table></body></html>\n"u8 : default);
            await response.Body.WriteAsync(html.Written, exchange.Cut).ConfigureAwait(false);
            html.Clear();
        }
    }
}
