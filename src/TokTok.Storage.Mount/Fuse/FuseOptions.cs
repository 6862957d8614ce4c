namespace TokTok.Storage.Mount.Fuse;

/// <summary>How a volume is mounted.</summary>
public sealed record FuseOptions
{
    /// <summary>Threads that answer the kernel, each with a queue of its own. More than processors, since a sync waits for the disk.</summary>
    public int ThreadCount { get; init; } = 8;

    /// <summary>How long the kernel may remember names and attributes. It sees every change: most come through it, and of others it is told.</summary>
    public TimeSpan CacheTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Other users may enter, and the kernel checks permissions as on any disk. An ordinary user's mount may only if /etc/fuse.conf says so.</summary>
    public bool AllowOther { get; init; }

    /// <summary>The kernel keeps what is written until it writes it in large pieces or a program syncs it, and with it sizes and times of files: many small writes cost less. A change of a file's
    /// bytes that comes from elsewhere (another mount, a rollback) the kernel may not see as long as it remembers the file, and a disk that is full may tell the writer only at its fsync.</summary>
    public bool WritebackCache { get; init; }

    /// <summary>How long files that are still open keep being served after an unmount was asked for.</summary>
    public TimeSpan UnmountGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Told of a mistake of ours or of a device that fails, a sentence each.</summary>
    public Action<string>? Trouble { get; init; }
}

/// <summary>A folder could not be mounted, or not be unmounted: why, and what to do.</summary>
public sealed class MountException : IOException
{
    public MountException(string message)
        : base(message)
    {
    }

    public MountException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public MountException()
    {
    }
}
