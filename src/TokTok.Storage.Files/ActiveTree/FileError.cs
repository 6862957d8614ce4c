namespace TokTok.Storage.Files;

/// <summary>What became of an operation on a volume: None, or the reason, numbered as Linux numbers it on every architecture that TDFS runs on.</summary>
public enum FileError
{
    None = 0,
    EPERM = 1,
    ENOENT = 2,

    /// <summary>A block is damaged beyond repair, or the store failed and writes nothing more.</summary>
    EIO = 5,
    ENXIO = 6,
    E2BIG = 7,
    EBADF = 9,
    EACCES = 13,
    EBUSY = 16,
    EEXIST = 17,
    ENOTDIR = 20,
    EISDIR = 21,
    EINVAL = 22,
    EFBIG = 27,
    ENOSPC = 28,
    EROFS = 30,
    EMLINK = 31,
    ERANGE = 34,
    ENAMETOOLONG = 36,
    ENOTEMPTY = 39,

    /// <summary>The file has no such extended attribute.</summary>
    ENODATA = 61,
    EOPNOTSUPP = 95,

    /// <summary>The file id names nothing that was looked up and is not forgotten.</summary>
    ESTALE = 116,
}
