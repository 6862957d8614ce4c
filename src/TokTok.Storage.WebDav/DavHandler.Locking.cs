using Microsoft.AspNetCore.Http;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <content>LOCK and UNLOCK (RFC 4918 9.10, 9.11).</content>
internal sealed partial class DavHandler
{
    private async Task LockAsync(DavExchange exchange)
    {
        ReadOnlyMemory<byte> body = await exchange.ReadBodyAsync(DavXml.MaxBodyBytes).ConfigureAwait(false);
        bool isRefresh = body.IsEmpty;
        LockQuery? query = isRefresh ? null : DavXml.ReadLockQuery(body);
        bool isDeep = exchange.Depth switch
        {
            0 => false,
            null => true,
            _ => throw new DavException(400, "Expected Depth 0 or infinity."),
        };
        bool isNew = false;
        DavLock held = await _threads.WriteAsync(() =>
        {
            using DavResource resource = Find(exchange.Path);
            return query is null ? Refresh(exchange, resource) : Take(exchange, resource, query, isDeep, out isNew);
        }).ConfigureAwait(false);
        if (!isRefresh)
        {
            exchange.Response.Headers["Lock-Token"] = $"<{held.Token}>";
        }

        using var xml = new Utf8Xml();
        xml.Raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:prop xmlns:D=\"DAV:\">"u8);
        DavProperties.WriteLocks(xml, [held]);
        xml.Raw("</D:prop>\n"u8);
        await exchange.SendXmlAsync(isNew ? StatusCodes.Status201Created : StatusCodes.Status200OK, xml).ConfigureAwait(false);
    }

    private DavLock Refresh(DavExchange exchange, DavResource resource)
    {
        if (exchange.If.Tokens.Count != 1)
        {
            throw new DavException(400, "A LOCK without a body refreshes the one lock whose token the If header submits.");
        }

        lock (_changing)
        {
            CheckConditions(exchange, resource);
            return _locks.TryRefresh(exchange.If.Tokens.First(), resource.Key, exchange.LockTimeout)
                ?? throw new DavException(StatusCodes.Status412PreconditionFailed, "No lock here has this token.") { Condition = "lock-token-matches-request-uri" };
        }
    }

    /// <summary>A lock on a free name makes an empty file there (RFC 4918 7.3).</summary>
    private DavLock Take(DavExchange exchange, DavResource resource, LockQuery query, bool isDeep, out bool isNew)
    {
        if (!resource.HasParent)
        {
            throw new DavException(409, "The collection that it would be in is not there.");
        }

        TimeSpan timeout = exchange.LockTimeout;
        lock (_changing)
        {
            resource.Refresh();
            CheckConditions(exchange, resource);
            isNew = !resource.Exists;
            if (isNew)
            {
                CheckLocks(exchange, resource, changesName: true, changesTree: false);
            }

            var wanted = new DavLock
            {
                Token = $"urn:uuid:{NewGuid()}",
                Key = resource.Key,
                RootHref = exchange.Href(resource.IsDirectory),
                IsShared = query.IsShared,
                IsDeep = isDeep && !isNew && resource.IsDirectory,
                Owner = query.Owner,
                Timeout = timeout,
                Expires = _clock.GetUtcNow() + timeout,
            };
            if (_locks.TryAdd(wanted) is { } present)
            {
                throw new DavException(DavException.Locked, "Another lock is in the way.") { Condition = "no-conflicting-lock", Href = present.RootHref };
            }

            if (isNew)
            {
                FileError error = _volume.Create(
                    _caller, resource.DirectoryId, resource.Name, TreeWork.NewFileMode, OpenOptions.Write | OpenOptions.Exclusive, out InodeAttributes made, out ulong handle);
                if (error != FileError.None)
                {
                    _locks.TryRemove(wanted.Token, wanted.Key);
                    throw DavException.Of(error);
                }

                _ = _volume.Release(handle);
                _volume.Forget(made.FileId, 1);
            }

            return wanted;
        }
    }

    private async Task UnlockAsync(DavExchange exchange)
    {
        string token = exchange.Headers["Lock-Token"].ToString().Trim();
        if (token.Length < 3 || token[0] != '<' || token[^1] != '>')
        {
            throw new DavException(400, "Expected a Lock-Token in angle brackets.");
        }

        await _threads.WriteAsync(() =>
        {
            using DavResource resource = Find(exchange.Path);
            lock (_changing)
            {
                CheckConditions(exchange, resource);
                if (!_locks.TryRemove(token[1..^1], resource.Key))
                {
                    throw new DavException(StatusCodes.Status409Conflict, "No lock here has this token.") { Condition = "lock-token-matches-request-uri" };
                }
            }
        }).ConfigureAwait(false);
        exchange.Response.StatusCode = StatusCodes.Status204NoContent;
    }

    /// <summary>A version 4 UUID (RFC 9562 5.4).</summary>
    private Guid NewGuid()
    {
        Span<byte> random = stackalloc byte[16];
        _random.Fill(random);
        random[6] = (byte)((random[6] & 0x0f) | 0x40);
        random[8] = (byte)((random[8] & 0x3f) | 0x80);
        return new Guid(random, bigEndian: true);
    }
}
