using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>What trouble with the store means to whoever works with files.</summary>
internal static class Trouble
{
    /// <summary>False for what is nobody's disk: our own mistakes, which are to be seen.</summary>
    internal static bool TryTell(Exception failure, out FileError error)
    {
        error = failure switch
        {
            DiskException { Failure: DiskFailure.Full } => FileError.ENOSPC,
            DiskException { Failure: DiskFailure.ReadOnly } => FileError.EROFS,
            IOException or DamagedBlockException or DamagedFormatException or StoreFailureException => FileError.EIO,
            _ => FileError.None,
        };
        return error != FileError.None;
    }
}
