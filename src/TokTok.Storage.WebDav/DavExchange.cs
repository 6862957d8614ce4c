using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace TokTok.Storage.WebDav;

/// <summary>One request, parsed as far as every method needs it, and its answer.</summary>
internal sealed class DavExchange
{
    internal DavExchange(HttpContext http, DavPath path, byte[]? volume = null)
    {
        Http = http;
        Volume = volume ?? [];
        Base = volume is null ? "" : "/" + DavPath.Encode(volume);
        Path = volume is null ? path : path.Below();
        If = IfHeader.Parse(Headers["If"]);
    }

    /// <summary>What a request is about.</summary>
    internal static DavPath TargetOf(HttpContext http)
    {
        string target = http.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        return target.Contains('#', StringComparison.Ordinal) ? throw new DavException(400, "Found a fragment in a request's target.")
            : target == "*" && http.Request.Method == "OPTIONS" ? DavPath.Root
            : DavPath.Parse(target);
    }

    internal HttpContext Http { get; }

    internal IHeaderDictionary Headers => Http.Request.Headers;

    internal HttpResponse Response => Http.Response;

    internal CancellationToken Cut => Http.RequestAborted;

    /// <summary>The volume's name where several are served, each as a collection of its name; else empty.</summary>
    internal byte[] Volume { get; }

    /// <summary>What stands before every path in the volume; empty where only one is served.</summary>
    internal string Base { get; }

    /// <summary>The path in the volume.</summary>
    internal DavPath Path { get; }

    internal string Parent => Path.Names.Count == 0 ? "/" : Base + DavPath.Encode([.. Path.Names.SkipLast(1)], isCollection: true);

    internal IfHeader If { get; }

    /// <summary>Overwrite: T unless the client says F (RFC 4918 10.6).</summary>
    internal bool Overwrites => Headers["Overwrite"].ToString().Trim() switch
    {
        "" or "T" or "t" => true,
        "F" or "f" => false,
        _ => throw new DavException(400, "Expected T or F in Overwrite."),
    };

    /// <summary>Depth: 0, 1, or null for infinity, which is what its absence means.</summary>
    internal int? Depth => Headers["Depth"].ToString().Trim() switch
    {
        "0" => 0,
        "1" => 1,
        "" => null,
        string depth when depth.Equals("infinity", StringComparison.OrdinalIgnoreCase) => null,
        _ => throw new DavException(400, "Expected 0, 1 or infinity in Depth."),
    };

    /// <summary>Where COPY and MOVE lead.</summary>
    internal DavPath Destination
    {
        get
        {
            string destination = Headers["Destination"].ToString().Trim();
            if (destination.Length == 0 || destination.Contains('#', StringComparison.Ordinal))
            {
                throw new DavException(400, "Expected a Destination without a fragment.");
            }

            return FindHere(destination) ?? throw new DavException(502, "The Destination is at another server, or in another volume.");
        }
    }

    internal string Href(bool isCollection) => Base + DavPath.Encode(Path.Names, isCollection);

    /// <summary>The path in the volume that a URI leads to; null where it leads elsewhere.</summary>
    internal DavPath? FindHere(string uri)
    {
        if (!IsHere(uri))
        {
            return null;
        }

        DavPath path = DavPath.Parse(uri);
        return Base.Length == 0 ? path : path.Names.Count > 0 && path.Names[0].AsSpan().SequenceEqual(Volume) ? path.Below() : null;
    }

    /// <summary>Whether a URI is of this server: a path, or one with the authority that the client asked.</summary>
    private bool IsHere(string uri)
    {
        if (uri.StartsWith('/'))
        {
            return true;
        }

        ReadOnlySpan<char> authority = uri.AsSpan(0, DavPath.PathOf(uri));
        authority = authority[(authority.IndexOf("://") + 3)..];
        authority = authority[(authority.LastIndexOf('@') + 1)..];
        return WithoutPort(authority).Equals(WithoutPort(Headers.Host.ToString()), StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>The first timeout of a LOCK that is understood, within the bounds.</summary>
    internal TimeSpan LockTimeout
    {
        get
        {
            foreach (string wish in Headers["Timeout"].ToString().Split(',', StringSplitOptions.TrimEntries))
            {
                if (wish.Equals("Infinite", StringComparison.OrdinalIgnoreCase))
                {
                    return DavLocks.MaxTimeout;
                }

                if (wish.StartsWith("Second-", StringComparison.OrdinalIgnoreCase) && uint.TryParse(wish.AsSpan(7), NumberStyles.None, CultureInfo.InvariantCulture, out uint seconds))
                {
                    return TimeSpan.FromSeconds(Math.Clamp(seconds, 1, (uint)DavLocks.MaxTimeout.TotalSeconds));
                }
            }

            return DavLocks.DefaultTimeout;
        }
    }

    /// <summary>The whole body of a request that is to be small.</summary>
    internal async Task<ReadOnlyMemory<byte>> ReadBodyAsync(int maxBytes)
    {
        if (Http.Request.ContentLength > maxBytes)
        {
            throw new DavException(413, $"Found a body of more than {maxBytes} bytes.");
        }

        if (Http.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: false })
        {
            return default;
        }

        byte[] body = new byte[Math.Min(maxBytes + 1, (Http.Request.ContentLength ?? 4095) + 1)];
        int bytes = 0;
        while (true)
        {
            int read = await Http.Request.Body.ReadAsync(body.AsMemory(bytes), Cut).ConfigureAwait(false);
            bytes += read;
            if (bytes > maxBytes)
            {
                throw new DavException(413, $"Found a body of more than {maxBytes} bytes.");
            }

            if (read == 0)
            {
                return body.AsMemory(0, bytes);
            }

            if (bytes == body.Length)
            {
                Array.Resize(ref body, (int)Math.Min(2L * body.Length, maxBytes + 1));
            }
        }
    }

    internal async Task SendXmlAsync(int status, Utf8Xml xml)
    {
        Response.StatusCode = status;
        Response.ContentType = "application/xml; charset=utf-8";
        Response.ContentLength = xml.Length;
        await Response.Body.WriteAsync(xml.Written, Cut).ConfigureAwait(false);
    }

    /// <summary>Clients leave the port out or write it where it is the scheme's own; a proxy in front may change the scheme.</summary>
    private static ReadOnlySpan<char> WithoutPort(ReadOnlySpan<char> authority) =>
        authority.EndsWith(":80", StringComparison.Ordinal) ? authority[..^3] : authority.EndsWith(":443", StringComparison.Ordinal) ? authority[..^4] : authority;
}
