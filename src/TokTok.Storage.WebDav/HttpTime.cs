using System.Globalization;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>Times as HTTP (RFC 9110 5.6.7) and WebDAV (RFC 3339) write them.</summary>
internal static class HttpTime
{
    private const long MinSeconds = -62_135_596_800; // the year 1
    private const long MaxSeconds = 253_402_300_799; // the end of 9999

    internal static string Format(FileTime time) => At(time).ToString("r", CultureInfo.InvariantCulture);

    internal static string FormatIso(FileTime time) => At(time).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    /// <summary>A date of a header in seconds since 1970; false where it is none, and then the header counts for nothing.</summary>
    internal static bool TryParse(string? text, out long seconds)
    {
        bool isDate = DateTimeOffset.TryParseExact(
            text,
            ["r", "dddd, dd-MMM-yy HH:mm:ss 'GMT'", "ddd MMM d HH:mm:ss yyyy", "ddd MMM  d HH:mm:ss yyyy"],
            CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal,
            out DateTimeOffset time);
        seconds = isDate ? time.ToUnixTimeSeconds() : 0;
        return isDate;
    }

    private static DateTime At(FileTime time) => DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(time.Seconds, MinSeconds, MaxSeconds)).UtcDateTime;
}
