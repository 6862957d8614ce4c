using Microsoft.AspNetCore.Http;
using TokTok.Storage.Core;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>Answers requests from a volume.</summary>
/// <remarks>
/// Source: RFC 4918 (WebDAV, class 1 and 2), RFC 9110 (methods, ranges, conditions), RFC 4331 (quota).
/// What blocks runs on <see cref="VolumeThreads"/>, what waits for the network on the pool; in between a request holds file ids and handles alone, never a lock.
/// Locks: _changing is held around every change of names together with the checks that it rests on (conditions, If, write locks), so that no two requests pass the same check and
/// both act. It is taken before the gate of <see cref="DavLocks"/> and held for single operations of the volume, never for a tree or a body.
/// Errors: a <see cref="DavException"/> becomes its status; anything else is told to the operator and is a bare 500.
/// </remarks>
internal sealed partial class DavHandler
{
    internal const string Methods = "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";

    /// <summary>One read or write of the volume.</summary>
    private const int PieceBytes = 256 * 1024;

    private readonly IVolumeFileSystem _volume;
    private readonly VolumeThreads _threads;
    private readonly TimeProvider _clock;
    private readonly IRandomSource _random;
    private readonly WebDavOptions _options;
    private readonly FileCaller _caller;
    private readonly DavLocks _locks;
    private readonly DavProperties _properties;
    private readonly TreeWork _trees;
    private readonly Lock _changing = new();

    internal DavHandler(IVolumeFileSystem volume, VolumeThreads threads, WebDavOptions options, TimeProvider clock, IRandomSource random)
    {
        _volume = volume;
        _threads = threads;
        _clock = clock;
        _random = random;
        _options = options;
        _caller = options.Caller;
        _locks = new DavLocks(clock, options.MaxLocks);
        _properties = new DavProperties(volume, _locks);
        _trees = new TreeWork(volume, _caller, _properties);
    }

    internal Task AnswerAsync(DavExchange exchange)
    {
        return exchange.Http.Request.Method switch
        {
            "GET" or "HEAD" => GetAsync(exchange),
            "PUT" => PutAsync(exchange),
            "PROPFIND" => PropFindAsync(exchange),
            "PROPPATCH" => PropPatchAsync(exchange),
            "MKCOL" => MakeCollectionAsync(exchange),
            "DELETE" => DeleteAsync(exchange),
            "COPY" => CopyAsync(exchange),
            "MOVE" => MoveAsync(exchange),
            "LOCK" => LockAsync(exchange),
            "UNLOCK" => UnlockAsync(exchange),
            "OPTIONS" => Options(exchange),
            _ => Refuse(exchange),
        };
    }

    internal static Task Options(DavExchange exchange)
    {
        exchange.Response.Headers["DAV"] = "1, 2";
        exchange.Response.Headers["MS-Author-Via"] = "DAV"; // without it Windows takes this for FrontPage
        exchange.Response.Headers.Allow = Methods;
        exchange.Response.Headers.AcceptRanges = "bytes";
        exchange.Response.ContentLength = 0;
        return Task.CompletedTask;
    }

    private static Task Refuse(DavExchange exchange)
    {
        exchange.Response.Headers.Allow = Methods;
        throw new DavException(405, $"Expected one of {Methods}.");
    }

    private DavResource Find(DavPath path, bool followsLast = true) => DavResource.Find(_volume, path.Names, followsLast);

    private DavResource FindExisting(DavPath path, bool followsLast = true)
    {
        DavResource resource = Find(path, followsLast);
        if (resource.Exists)
        {
            return resource;
        }

        resource.Dispose();
        throw DavException.Of(FileError.ENOENT);
    }

    /// <summary>Whether the client's view of the resource still holds: HTTP's conditions and the If header.</summary>
    /// <returns>0, or 304.</returns>
    /// <exception cref="DavException">412.</exception>
    private int CheckConditions(DavExchange exchange, DavResource resource, bool isRead = false)
    {
        int status = Preconditions.Evaluate(exchange.Headers, resource.Exists ? resource.Attributes : null, isRead);
        if (status == StatusCodes.Status412PreconditionFailed)
        {
            throw new DavException(status, "A condition of the request does not hold.");
        }

        if (exchange.If.Lists.Count > 0 && !Holds(exchange, resource))
        {
            throw new DavException(StatusCodes.Status412PreconditionFailed, "No list of the If header holds.");
        }

        return status;
    }

    private bool Holds(DavExchange exchange, DavResource own)
    {
        Dictionary<string, (string Key, string? Tag)?> seen = [];
        foreach (IfList list in exchange.If.Lists)
        {
            (string Key, string? Tag)? state = (own.Key, TagOf(own));
            if (list.Resource is { } uri && !seen.TryGetValue(uri, out state))
            {
                state = StateOf(exchange, uri);
                seen.Add(uri, state);
            }

            IReadOnlyList<DavLock> locks = state is { } here ? _locks.Covering(here.Key) : [];
            if (list.Conditions.All(condition => condition.IsNot != (condition.Token is { } token
                ? locks.Any(held => held.Token == token)
                : state?.Tag is { } tag && tag == condition.Tag)))
            {
                return true;
            }
        }

        return false;
    }

    private static string? TagOf(DavResource resource) => resource is { Exists: true, Attributes.Type: EntryType.File } ? EntityTag.Of(resource.Attributes) : null;

    /// <summary>Null where the resource is of another server, or no path: no token and no tag is its own.</summary>
    private (string Key, string? Tag)? StateOf(DavExchange exchange, string uri)
    {
        try
        {
            if (exchange.FindHere(uri) is not { } path)
            {
                return null;
            }

            using DavResource resource = Find(path);
            return (resource.Key, TagOf(resource));
        }
        catch (DavException)
        {
            return null;
        }
    }

    /// <summary>Demands the tokens of the locks that protect a resource from what is about to be done.</summary>
    /// <param name="changesName">The name comes, goes or stands for something else: then the directory's own lock counts too (RFC 4918 7.4).</param>
    /// <param name="changesTree">What lies below goes along.</param>
    private void CheckLocks(DavExchange exchange, DavResource resource, bool changesName, bool changesTree)
    {
        Demand(exchange.If, _locks.Covering(resource.Key));
        if (changesName && !resource.IsRoot)
        {
            Demand(exchange.If, _locks.Covering(resource.Key[..resource.Key.LastIndexOf('/')]));
        }

        if (changesTree)
        {
            foreach (IGrouping<string, DavLock> locked in _locks.Below(resource.Key).GroupBy(static held => held.Key))
            {
                Demand(exchange.If, [.. locked]);
            }
        }
    }

    /// <summary>One token of an exclusive lock, or of any of several shared ones, is enough.</summary>
    private static void Demand(IfHeader submitted, IReadOnlyList<DavLock> locks)
    {
        if (locks.Count > 0 && !locks.Any(held => submitted.Tokens.Contains(held.Token)))
        {
            throw new DavException(DavException.Locked, "It is locked, and the request does not submit the lock's token.") { Condition = "lock-token-submitted", Href = locks[0].RootHref };
        }
    }

    /// <summary>A name that nobody else uses, for what is not finished.</summary>
    private byte[] NewName()
    {
        Span<byte> random = stackalloc byte[8];
        _random.Fill(random);
        return [.. ".tdfs-dav-"u8, .. System.Text.Encoding.ASCII.GetBytes(Convert.ToHexStringLower(random))];
    }
}
