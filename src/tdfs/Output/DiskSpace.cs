using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>Whether it was space that was missing, by what the system said: no space left (ENOSPC), or none of the user's quota (EDQUOT).</summary>
internal static class DiskSpace
{
    private const int NoSpace = 28;
    private const int QuotaExceeded = 122;
    private const int ReservingFailed = unchecked((int)0x80070070); // .NET's own number, where a file's space was to be reserved

    /// <remarks>The runtime gives an error of the system that it has no exception for as an IOException whose HResult is errno.</remarks>
    internal static bool IsFull(IOException error) =>
        error is PosixException { Errno: NoSpace or QuotaExceeded } || error.HResult is NoSpace or QuotaExceeded or ReservingFailed;
}
