using Microsoft.AspNetCore.Http;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>The conditions of a request about what is at its path (RFC 9110 13), in the order that 13.2.2 sets.</summary>
internal static class Preconditions
{
    /// <summary>0 to go on, 304 or 412.</summary>
    /// <param name="file">What is there; null: nothing. A directory has no tag and no bytes, but is there.</param>
    internal static int Evaluate(IHeaderDictionary headers, in InodeAttributes? file, bool isRead)
    {
        string? tag = file is not { } there ? null : there.Type == EntryType.File ? EntityTag.Of(there) : "";
        if (headers.IfMatch.Count > 0)
        {
            if (!EntityTag.Matches(headers.IfMatch, tag, isWeak: false))
            {
                return StatusCodes.Status412PreconditionFailed;
            }
        }
        else if (HttpTime.TryParse(headers.IfUnmodifiedSince, out long unmodified) && file is { } known && known.Modified.Seconds > unmodified)
        {
            return StatusCodes.Status412PreconditionFailed;
        }

        if (headers.IfNoneMatch.Count > 0)
        {
            return !EntityTag.Matches(headers.IfNoneMatch, tag, isWeak: true) ? 0
                : isRead ? StatusCodes.Status304NotModified : StatusCodes.Status412PreconditionFailed;
        }

        return isRead && HttpTime.TryParse(headers.IfModifiedSince, out long modified) && file is { } seen && seen.Modified.Seconds <= modified
            ? StatusCodes.Status304NotModified : 0;
    }

    /// <summary>Whether If-Range lets a range stand: without it, or where it names this very content. A date is too coarse to be sure, unless it is long past (RFC 9110 8.8.2.2).</summary>
    internal static bool AllowsRange(IHeaderDictionary headers, in InodeAttributes file, DateTimeOffset now)
    {
        if (headers.IfRange.Count == 0)
        {
            return true;
        }

        return HttpTime.TryParse(headers.IfRange, out long seconds)
            ? file.Modified.Seconds == seconds && now.ToUnixTimeSeconds() - seconds > 60
            : EntityTag.Matches(headers.IfRange, EntityTag.Of(file), isWeak: false);
    }
}
