using System.Globalization;

namespace TokTok.Storage.WebDav;

/// <summary>A part of a file.</summary>
internal readonly record struct ByteRange(long Offset, long Length)
{
    internal string Describe(long size) => string.Create(CultureInfo.InvariantCulture, $"bytes {Offset}-{Offset + Length - 1}/{size}");
}

/// <summary>The Range header (RFC 9110 14.1.2, 14.2).</summary>
internal static class ByteRanges
{
    /// <summary>Whoever asks for more gets the whole file: many small ranges cost the server more than the client.</summary>
    internal const int MaxCount = 32;

    /// <summary>The ranges that lie in the file.</summary>
    /// <returns>Null: the header is to be ignored, and the whole file sent. Empty: none lies in it (416).</returns>
    internal static List<ByteRange>? Parse(string? header, long size)
    {
        const string Unit = "bytes=";
        if (header is null || !header.StartsWith(Unit, StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        ReadOnlySpan<char> list = header.AsSpan(Unit.Length);
        List<ByteRange> ranges = [];
        int count = 0;
        long sum = 0;
        foreach (Range part in list.Split(','))
        {
            ReadOnlySpan<char> range = list[part].Trim(" \t");
            if (range.IsEmpty)
            {
                continue;
            }

            int dash = range.IndexOf('-');
            if (dash < 0 || ++count > MaxCount || !TryNumber(range[..dash], out long? first) || !TryNumber(range[(dash + 1)..], out long? last) || (first is null && last is null) || first > last)
            {
                return null;
            }

            long offset = first ?? Math.Max(0, size - last!.Value);
            long end = first is null ? size : Math.Min(last ?? long.MaxValue, size - 1) + 1;
            if (offset < end)
            {
                ranges.Add(new ByteRange(offset, end - offset));
                sum = Math.Min(sum, long.MaxValue - (end - offset)) + (end - offset);
            }
        }

        return count == 0 || (ranges.Count > 1 && sum > size) ? null : ranges;
    }

    /// <summary>A number, or null for none. More digits than a file could have stand for the largest.</summary>
    private static bool TryNumber(ReadOnlySpan<char> text, out long? number)
    {
        number = null;
        if (text.IsEmpty)
        {
            return true;
        }

        if (text.ContainsAnyExceptInRange('0', '9'))
        {
            return false;
        }

        number = long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long parsed) ? parsed : long.MaxValue;
        return true;
    }
}
