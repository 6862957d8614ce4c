using System.Net;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Volumes as WebDAV servers.</summary>
internal interface IWebDav
{
    /// <summary>Serves volumes until it is cancelled, and commits what was written. Cancellation is the usual end, and no error.</summary>
    /// <param name="serving">Called once clients can connect.</param>
    /// <returns>The volumes' names.</returns>
    ValueTask<IReadOnlyList<string>> ServeAsync(WebDavRequest request, Action<WebDavAddress> serving, CancellationToken cancel);
}

internal sealed record WebDavRequest
{
    /// <summary>Empty: the only one there is.</summary>
    public IReadOnlyList<string> Volumes { get; init; } = [];

    /// <summary>Each volume is a collection of its name, however many there are; otherwise there is one, and it is all that is shown.</summary>
    public bool AsCollections { get; init; }

    public required IPEndPoint Endpoint { get; init; }

    /// <summary>A file whose first line is the token; null: the store's own, which is made once.</summary>
    public string? TokenFile { get; init; }

    /// <summary>A volume that is not there yet is made.</summary>
    public bool Creates { get; init; }
}

/// <summary>What a client needs.</summary>
/// <param name="TokenFile">Where the token is kept.</param>
internal sealed record WebDavAddress(IReadOnlyList<string> Volumes, Uri Url, ReadOnlyMemory<byte> Token, string TokenFile);
