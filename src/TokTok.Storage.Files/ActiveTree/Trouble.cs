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
            _ when MetFullDisk(failure) => FileError.ENOSPC, // a store that failed says why for as long as it stays failed
            DiskException { Failure: DiskFailure.ReadOnly } => FileError.EROFS,
            IOException or DamagedBlockException or DamagedFormatException or StoreFailureException => FileError.EIO,
            _ => FileError.None,
        };
        return error != FileError.None;
    }

    private static bool MetFullDisk(Exception failure)
    {
        for (Exception? at = failure; at is IOException or StoreFailureException; at = at.InnerException)
        {
            if (at is DiskException { Failure: DiskFailure.Full })
            {
                return true;
            }
        }

        return false;
    }
}
