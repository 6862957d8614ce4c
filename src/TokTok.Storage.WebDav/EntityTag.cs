using System.Globalization;
using Microsoft.Extensions.Primitives;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>The strong entity tag of a file: file id, size and time of modification in nanoseconds.</summary>
/// <remarks>
/// Source: RFC 9110 8.8.3.
/// What makes it strong: an upload, and a copy, is a new file with an id that was never given before, so WebDAV itself never has two contents under one id; a front end that
/// writes into a file in place sets the time of modification anew at every write, to 100 ns. All three parts are in the volume, so the tag is the same after a restart.
/// The one way around it is a program on a mount that changes bytes, keeps the size and sets the old time back to the nanosecond.
/// </remarks>
internal static class EntityTag
{
    internal static string Of(in InodeAttributes file) =>
        string.Create(CultureInfo.InvariantCulture, $"\"{file.FileId:x}-{file.Size:x}-{file.Modified.Seconds:x}.{file.Modified.Nanoseconds:x}\"");

    /// <summary>Whether a list of tags, or "*", names a tag.</summary>
    /// <param name="tag">Null: there is no file, and so not even "*" matches.</param>
    /// <param name="isWeak">Weak comparison: W/ before a tag does not count.</param>
    internal static bool Matches(StringValues list, string? tag, bool isWeak)
    {
        foreach (string? line in list)
        {
            ReadOnlySpan<char> rest = line;
            while (true)
            {
                rest = rest.TrimStart(" \t,");
                if (rest.IsEmpty)
                {
                    break;
                }

                if (rest[0] == '*')
                {
                    return tag is not null;
                }

                bool isMarkedWeak = rest.StartsWith("W/", StringComparison.Ordinal);
                rest = isMarkedWeak ? rest[2..] : rest;
                int end = rest.Length > 1 && rest[0] == '"' ? rest[1..].IndexOf('"') : -1;
                if (end < 0)
                {
                    break; // not a tag: the rest of the line says nothing
                }

                if ((isWeak || !isMarkedWeak) && tag is not null && rest[..(end + 2)].SequenceEqual(tag))
                {
                    return true;
                }

                rest = rest[(end + 2)..];
            }
        }

        return false;
    }
}
