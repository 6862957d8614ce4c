using System.Net;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Volumes as WebDAV servers.</summary>
internal interface IWebDav
{
    /// <summary>Serves a volume until it is cancelled, and commits what was written. Cancellation is the usual end, and no error.</summary>
    /// <param name="serving">Called once clients can connect.</param>
    /// <returns>The volume's name.</returns>
    ValueTask<string> ServeAsync(WebDavRequest request, Action<WebDavAddress> serving, CancellationToken cancel);
}

internal sealed record WebDavRequest
{
    /// <summary>Null: the only one there is.</summary>
    public string? Volume { get; init; }

    public required IPEndPoint Endpoint { get; init; }

    /// <summary>A file whose first line is the token; null: the store's own, which is made once.</summary>
    public string? TokenFile { get; init; }

    /// <summary>A volume that is not there yet is made.</summary>
    public bool Creates { get; init; }
}

/// <summary>What a client needs.</summary>
/// <param name="TokenFile">Where the token is kept.</param>
internal sealed record WebDavAddress(string Volume, Uri Url, ReadOnlyMemory<byte> Token, string TokenFile);
