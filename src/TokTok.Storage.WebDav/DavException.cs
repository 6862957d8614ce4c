using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>A request ends in a status: what the client is told, and nothing of what it does not need to know.</summary>
/// <param name="status">The HTTP status.</param>
/// <param name="message">A line for people.</param>
internal sealed class DavException(int status, string message) : Exception(message)
{
    internal const int MultiStatus = 207;
    internal const int UnprocessableContent = 422;
    internal const int Locked = 423;
    internal const int FailedDependency = 424;
    internal const int InsufficientStorage = 507;
    internal const int LoopDetected = 508;

    internal int Status { get; } = status;

    /// <summary>The element of a DAV:error body (RFC 4918 16), such as lock-token-submitted.</summary>
    internal string? Condition { get; init; }

    /// <summary>What the condition is about; encoded.</summary>
    internal string? Href { get; init; }

    internal static DavException Of(FileError error) => new(StatusOf(error), Tell(error));

    internal static void Check(FileError error)
    {
        if (error != FileError.None)
        {
            throw Of(error);
        }
    }

    internal static int StatusOf(FileError error) => error switch
    {
        FileError.None => 200,
        FileError.ENOENT or FileError.ESTALE or FileError.ENOTDIR or FileError.ENXIO => 404,
        FileError.EPERM or FileError.EROFS => 403,
        FileError.EEXIST or FileError.ENOTEMPTY or FileError.EISDIR => 409,
        FileError.EINVAL => 400,
        FileError.ENAMETOOLONG => 414,
        FileError.EFBIG => 413,
        FileError.EBUSY => 503,
        FileError.ENOSPC or FileError.EMLINK => InsufficientStorage,
        _ => 500,
    };

    private static string Tell(FileError error) => error switch
    {
        FileError.ENOENT or FileError.ESTALE or FileError.ENOTDIR => "There is nothing of this name.",
        FileError.ENAMETOOLONG => "A name has more than 255 bytes.",
        FileError.ENOSPC => "The store is full.",
        FileError.EIO => "The store could not read or write this.",
        FileError.ENOTEMPTY => "The collection is not empty.",
        FileError.EROFS => "The volume takes no changes.",
        _ => $"The volume refused ({error}).",
    };
}
