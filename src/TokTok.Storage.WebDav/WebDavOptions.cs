using System.Net;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>Where a WebDAV server listens, whom it lets in, and its bounds.</summary>
public sealed record WebDavOptions
{
    /// <summary>A shorter token could be guessed.</summary>
    public const int MinTokenBytes = 16;

    /// <summary>Where it listens; port 0 takes a free one. Anything but loopback shows the volume to a network, in plain text: only where somebody asked for it.</summary>
    public IPEndPoint Endpoint { get; init; } = new(IPAddress.Loopback, 0);

    /// <summary>What a client must know: the password of Basic, whatever the user name, or the bearer token. The server keeps a hash of it alone.</summary>
    public required ReadOnlyMemory<byte> Token { get; init; }

    /// <summary>Whose the files are that clients make.</summary>
    public FileCaller Caller { get; init; }

    /// <summary>Whether an upload is answered only once it survives power loss.</summary>
    public bool SyncsUploads { get; init; } = true;

    public int MaxConnections { get; init; } = 256;

    public int MaxLocks { get; init; } = 4096;

    /// <summary>Threads that work in the volume; half of them at most are busy with changing it, so that readers go on while writers wait for room.</summary>
    public int Threads { get; init; } = 16;

    /// <summary>A client that sends fewer bytes a second than this, for longer than <see cref="SlowGrace"/>, is cut off.</summary>
    public double MinBytesPerSecond { get; init; } = 100;

    public TimeSpan SlowGrace { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How long requests under way may take when the server ends.</summary>
    public TimeSpan StopGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Told of what a client got only a bare 500 for.</summary>
    public Action<string>? Trouble { get; init; }
}
