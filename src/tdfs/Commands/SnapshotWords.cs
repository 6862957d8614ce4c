using System.Globalization;
using System.Text;
using TokTok.Storage.Files;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>Refuses names of volumes and snapshots that could not be given back later, before anything is stored under them.</summary>
/// <remarks>
/// A snapshot is asked for as NAME or VOLUME@NAME, where NAME is latest, a label, a number, a time or an id. So a label is none of the words that mean something else,
/// and has no '@' of its own; a volume may have one, and a '/', since its default name ends in a path, and the longest volume that fits is meant.
/// What a list cannot show, control characters and white space at the ends, nobody can type again.
/// </remarks>
internal static class SnapshotWords
{
    internal const int MaxVolumeBytes = 255;

    /// <param name="volume">As given, or null where the name follows from the folder.</param>
    internal static void RefuseVolume(string? volume, string folder)
    {
        if (volume is null)
        {
            if (FindHidden(folder) is string inPath)
            {
                throw new UserError(ExitCode.Usage, $"found {inPath} in the folder's name, which no volume can be called after; give it a name with --volume");
            }

            return;
        }

        if (Encoding.UTF8.GetByteCount(volume) is int bytes and (0 or > MaxVolumeBytes))
        {
            throw new UserError(ExitCode.Usage, $"found a volume name of {bytes} bytes, expected 1 to {MaxVolumeBytes}; give one with --volume");
        }

        if (FindHidden(volume) is string hidden)
        {
            throw new UserError(ExitCode.Usage, $"found {hidden} in the volume name, expected a name that can be typed again, such as 'photos'");
        }

        if (WhyNoVolume(volume) is not null)
        {
            throw new UserError(ExitCode.Usage, $"found the volume name '{volume}', expected no white space at its ends and no '-' at its beginning");
        }
    }

    /// <summary>What a volume's name must be and this one is not; null: it will do.</summary>
    internal static string? WhyNoVolume(string volume) => Encoding.UTF8.GetByteCount(volume) is 0 or > MaxVolumeBytes ? $"a name of 1 to {MaxVolumeBytes} bytes"
        : FindHidden(volume) is not null || volume != volume.Trim() || volume[0] == '-' ? "a name that can be typed again, such as \"photos\"" : null;

    internal static void RefuseLabel(string? label)
    {
        if (label is null)
        {
            return;
        }

        if (Encoding.UTF8.GetByteCount(label) is int bytes and (0 or > SnapshotRecord.MaxTextBytes))
        {
            throw new UserError(ExitCode.Usage, $"found a label of {bytes} bytes, expected 1 to {SnapshotRecord.MaxTextBytes}; leave --label away for none");
        }

        if (FindHidden(label) is string hidden)
        {
            throw new UserError(ExitCode.Usage, $"found {hidden} in the label, expected text that can be typed again, such as 'before sorting'");
        }

        string? why = label == "latest" ? "which means the newest snapshot"
            : label.All(char.IsAsciiDigit) ? "which is how a snapshot's number is written"
            : label.Contains('@', StringComparison.Ordinal) ? "whose '@' stands between a volume and a snapshot's name"
            : label != label.Trim() ? "with white space at its ends"
            : label[0] == '-' ? "which begins as an option does"
            : null;
        if (why is not null)
        {
            throw new UserError(ExitCode.Usage, $"found the label '{label}', {why}; expected another, such as 'before sorting'");
        }
    }

    /// <summary>What no list shows as it is: "a line's end", "the control character U+0007".</summary>
    private static string? FindHidden(string text)
    {
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (rune.Value is '\n' or '\r')
            {
                return "a line's end";
            }

            if (Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator)
            {
                return string.Create(CultureInfo.InvariantCulture, $"the control character U+{rune.Value:X4}");
            }
        }

        return null;
    }
}
