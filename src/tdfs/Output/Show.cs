using System.Globalization;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>Sizes, counts, durations and times as people read them, the same in every locale.</summary>
internal static class Show
{
    private static readonly string[] s_units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    /// <summary>Three digits that matter: "0 B", "999 B", "1.50 KiB", "128 KiB", "2.34 TiB".</summary>
    internal static string Size(long bytes)
    {
        double value = Math.Abs((double)bytes);
        int unit = 0;
        // 999.5 would be shown as "1000" by three digits: it belongs to the next unit.
        while (value >= 999.5 && unit < s_units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        string format = unit == 0 || value >= 99.95 ? "F0" : value >= 9.995 ? "F1" : "F2";
        return (bytes < 0 ? "-" : "") + value.ToString(format, CultureInfo.InvariantCulture) + " " + s_units[unit];
    }

    internal static string Rate(double bytesPerSecond) => Size((long)Math.Clamp(bytesPerSecond, 0, 1e18)) + "/s";

    /// <summary>"1,234,567".</summary>
    internal static string Count(long count) => count.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>"1 file", "2 files".</summary>
    internal static string Count(long count, string noun) => $"{Count(count)} {noun}{(count == 1 ? "" : "s")}";

    /// <summary>"0.4s", "12s", "3m07s", "2h05m", "4d03h".</summary>
    internal static string Duration(TimeSpan duration)
    {
        FormattableString text = duration switch
        {
            { Ticks: < 0 } => $"-",
            { TotalSeconds: < 9.95 } => $"{duration.TotalSeconds:F1}s",
            { TotalMinutes: < 1 } => $"{(int)duration.TotalSeconds}s",
            { TotalHours: < 1 } => $"{(int)duration.TotalMinutes}m{duration.Seconds:00}s",
            { TotalDays: < 1 } => $"{(int)duration.TotalHours}h{duration.Minutes:00}m",
            _ => $"{(int)duration.TotalDays}d{duration.Hours:00}h",
        };
        return text.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>"just now", "5 minutes ago", "3 hours ago", "2 days ago".</summary>
    internal static string Ago(TimeSpan past) => past switch
    {
        { TotalMinutes: < 1 } => "just now",
        { TotalHours: < 1 } => Count((long)past.TotalMinutes, "minute") + " ago",
        { TotalDays: < 1 } => Count((long)past.TotalHours, "hour") + " ago",
        _ => Count((long)past.TotalDays, "day") + " ago",
    };

    /// <summary>A time in seconds since 1970 as "3 hours ago"; 0: "never".</summary>
    internal static string Ago(long atSeconds, TimeProvider clock) =>
        atSeconds == 0 ? "never" : Ago(TimeSpan.FromSeconds(Math.Max(0, clock.GetUtcNow().ToUnixTimeSeconds() - atSeconds)));

    /// <summary>Nanoseconds since 1970 as "2026-11-21 04:30:05" in the zone given; beyond the years 1 to 9999 as seconds.</summary>
    internal static string Time(long unixNs, TimeZoneInfo zone)
    {
        long seconds = Math.DivRem(unixNs, 1_000_000_000).Quotient - (unixNs % 1_000_000_000 < 0 ? 1 : 0);
        DateTimeOffset time = DateTimeOffset.FromUnixTimeSeconds(seconds);
        return TimeZoneInfo.ConvertTime(time, zone).ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);
    }

    /// <summary>ISO 8601 in UTC with nanoseconds, as JSON carries times.</summary>
    internal static string IsoTime(long unixNs)
    {
        (long seconds, long ns) = Math.DivRem(unixNs, 1_000_000_000);
        if (ns < 0)
        {
            seconds--;
            ns += 1_000_000_000;
        }

        string whole = DateTimeOffset.FromUnixTimeSeconds(seconds).ToString("yyyy-MM-ddTHH:mm:ss", CultureInfo.InvariantCulture);
        return string.Create(CultureInfo.InvariantCulture, $"{whole}.{ns:000000000}Z");
    }

    /// <summary>"drwxr-xr-x", as ls writes it, from a POSIX st_mode.</summary>
    internal static string Mode(uint mode)
    {
        char type = (mode & 0xF000) switch
        {
            0x4000 => 'd',
            0xA000 => 'l',
            0x1000 => 'p',
            0xC000 => 's',
            0x6000 => 'b',
            0x2000 => 'c',
            0x8000 => '-',
            _ => '?',
        };
        Span<char> text = stackalloc char[10];
        "?rwxrwxrwx".CopyTo(text);
        text[0] = type;
        for (int bit = 0; bit < 9; bit++)
        {
            if ((mode & (0x100u >> bit)) == 0)
            {
                text[bit + 1] = '-';
            }
        }

        Special(text, 3, (mode & 0x800) != 0, 's');
        Special(text, 6, (mode & 0x400) != 0, 's');
        Special(text, 9, (mode & 0x200) != 0, 't');
        return new string(text);

        static void Special(Span<char> text, int at, bool isSet, char letter)
        {
            if (isSet)
            {
                text[at] = text[at] == 'x' ? letter : char.ToUpperInvariant(letter);
            }
        }
    }
}
