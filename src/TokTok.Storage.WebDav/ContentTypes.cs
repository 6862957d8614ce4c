using System.Text;

namespace TokTok.Storage.WebDav;

/// <summary>Media types by a name's extension: enough for players and previews.</summary>
internal static class ContentTypes
{
    internal const string Unknown = "application/octet-stream";

    private static readonly Dictionary<string, string> s_byExtension = new(StringComparer.OrdinalIgnoreCase)
    {
        ["txt"] = "text/plain", ["log"] = "text/plain", ["md"] = "text/markdown", ["csv"] = "text/csv", ["css"] = "text/css", ["html"] = "text/html", ["htm"] = "text/html",
        ["xml"] = "application/xml", ["json"] = "application/json", ["js"] = "text/javascript", ["pdf"] = "application/pdf", ["zip"] = "application/zip", ["gz"] = "application/gzip",
        ["epub"] = "application/epub+zip", ["rtf"] = "application/rtf", ["doc"] = "application/msword", ["xls"] = "application/vnd.ms-excel", ["ppt"] = "application/vnd.ms-powerpoint",
        ["docx"] = "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ["xlsx"] = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ["pptx"] = "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ["odt"] = "application/vnd.oasis.opendocument.text", ["ods"] = "application/vnd.oasis.opendocument.spreadsheet", ["odp"] = "application/vnd.oasis.opendocument.presentation",
        ["jpg"] = "image/jpeg", ["jpeg"] = "image/jpeg", ["png"] = "image/png", ["gif"] = "image/gif", ["webp"] = "image/webp", ["avif"] = "image/avif", ["heic"] = "image/heic",
        ["svg"] = "image/svg+xml", ["tif"] = "image/tiff", ["tiff"] = "image/tiff", ["mp3"] = "audio/mpeg", ["m4a"] = "audio/mp4", ["flac"] = "audio/flac", ["ogg"] = "audio/ogg",
        ["opus"] = "audio/ogg", ["wav"] = "audio/wav", ["mp4"] = "video/mp4", ["m4v"] = "video/mp4", ["mov"] = "video/quicktime", ["mkv"] = "video/x-matroska", ["webm"] = "video/webm",
        ["avi"] = "video/x-msvideo", ["ics"] = "text/calendar", ["vcf"] = "text/vcard",
    };

    internal static string Of(ReadOnlySpan<byte> name)
    {
        int dot = name.LastIndexOf((byte)'.');
        return dot >= 0 && name.Length - dot <= 6 && s_byExtension.TryGetValue(Encoding.UTF8.GetString(name[(dot + 1)..]), out string? type) ? type : Unknown;
    }

    /// <summary>Whether a browser would run what is in it; then it may only do so cut off from everything.</summary>
    internal static bool IsActive(string type) => type is "text/html" or "image/svg+xml" or "application/xml" or "text/javascript";
}
