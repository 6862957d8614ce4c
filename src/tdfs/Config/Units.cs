using System.Globalization;

namespace TokTok.Storage.Tdfs.Config;

/// <summary>Reads sizes ("128 KiB") and durations ("15m") as people write them in storage.toml and on the command line.</summary>
internal static class Units
{
    internal const string SizeForm = "a size such as \"512 KiB\" or \"2 GiB\"";
    internal const string DurationForm = "a duration such as \"90s\", \"15m\", \"12h\" or \"7d\"";

    private static readonly (string Name, long Bytes)[] s_sizes =
    [
        ("", 1), ("B", 1), ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40), ("PiB", 1L << 50),
    ];

    private static readonly (string Name, long Seconds)[] s_durations = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)];

    /// <summary>Bytes of "n", "n B", "n KiB" … "n PiB", with or without the space. KB and MB are refused: they mean two things.</summary>
    internal static bool TryParseSize(ReadOnlySpan<char> text, out long bytes) => TryParse(text, s_sizes, out bytes);

    /// <summary>Whole seconds, minutes, hours or days, up to 100 years.</summary>
    internal static bool TryParseDuration(ReadOnlySpan<char> text, out TimeSpan duration)
    {
        const long MaxSeconds = 100L * 366 * 86400;
        bool isGood = TryParse(text, s_durations, out long seconds) && seconds <= MaxSeconds;
        duration = isGood ? TimeSpan.FromSeconds(seconds) : default;
        return isGood;
    }

    private static bool TryParse(ReadOnlySpan<char> text, (string Name, long Factor)[] units, out long value)
    {
        value = 0;
        int digitCount = text.IndexOfAnyExceptInRange('0', '9');
        digitCount = digitCount < 0 ? text.Length : digitCount;
        if (digitCount == 0 || !long.TryParse(text[..digitCount], NumberStyles.None, CultureInfo.InvariantCulture, out long count))
        {
            return false;
        }

        ReadOnlySpan<char> unit = text[digitCount..];
        if (unit is [' ', _, ..])
        {
            unit = unit[1..];
        }

        foreach ((string name, long factor) in units)
        {
            if (unit.Equals(name, StringComparison.Ordinal))
            {
                if (count > long.MaxValue / factor)
                {
                    return false;
                }

                value = count * factor;
                return true;
            }
        }

        return false;
    }
}
