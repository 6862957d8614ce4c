namespace TokTok.Storage.Tdfs;

/// <summary>What the command's exit code says. Scripts rely on the numbers: they are listed in README.md and never reused.</summary>
internal enum ExitCode
{
    Ok = 0,

    /// <summary>Finished, and something was reported on the way: a source file that could not be read, a torn file.</summary>
    Reported = 1,

    /// <summary>The command line is wrong.</summary>
    Usage = 2,

    /// <summary>storage.toml is wrong.</summary>
    Config = 3,

    /// <summary>No store there, a foreign one, or one of another version.</summary>
    NoStore = 4,

    /// <summary>Another process writes this store.</summary>
    Locked = 5,

    /// <summary>Wrong passphrase or wrong words, or none given.</summary>
    Keys = 6,

    /// <summary>Damaged data was found that is not repaired.</summary>
    Damaged = 7,

    DiskFull = 8,

    /// <summary>A disk or folder refused: I/O error, read-only, no permission.</summary>
    DiskFailed = 9,

    /// <summary>No such snapshot, volume or path.</summary>
    NotFound = 10,

    /// <summary>The target exists and nothing said to overwrite it.</summary>
    Exists = 11,

    /// <summary>A peer did not answer, or refused.</summary>
    Peer = 12,

    /// <summary>A mistake of ours.</summary>
    Internal = 70,

    /// <summary>Ctrl-C or SIGTERM; what was acknowledged is kept.</summary>
    Interrupted = 130,
}
