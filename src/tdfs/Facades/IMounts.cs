namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Volumes as folders that are worked in.</summary>
internal interface IMounts
{
    /// <summary>Mounts a volume, serves it until it is unmounted or cancelled, and commits what was written. Cancellation is the usual end, and no error.</summary>
    /// <param name="mounted">Called once the folder shows the volume, with the volume's name and the folder as the kernel calls it.</param>
    ValueTask<MountResult> ServeAsync(MountRequest request, Action<string, string> mounted, CancellationToken cancel);
}

internal sealed record MountRequest
{
    /// <summary>Null: the only one there is.</summary>
    public string? Volume { get; init; }

    public required string Folder { get; init; }

    /// <summary>A volume that is not there yet is made.</summary>
    public bool Creates { get; init; }

    /// <summary>The kernel keeps what is written for a while.</summary>
    public bool WritebackCache { get; init; }
}

/// <param name="WasInUse">Something still had files open, and was cut off.</param>
internal sealed record MountResult(string Volume, string Folder, bool WasInUse);
