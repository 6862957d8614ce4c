using System.Globalization;
using System.Text;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>Rows in columns as wide as their widest cell. Headings that begin with '>' are right-aligned.</summary>
/// <remarks>Keeps all rows until written: for tables of bounded length only (snapshots, holders), never for the files of a tree.</remarks>
internal sealed class Table(params string[] headings)
{
    private readonly List<string[]> _rows = [[.. headings.Select(h => h.TrimStart('>'))]];
    private readonly bool[] _isRight = [.. headings.Select(h => h.StartsWith('>'))];

    internal void Add(params string[] cells)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(cells.Length, _isRight.Length);
        _rows.Add(cells);
    }

    internal void Write(TextWriter target)
    {
        int[] widths = [.. Enumerable.Range(0, _isRight.Length).Select(c => _rows.Max(row => Width(row[c])))];
        foreach (string[] row in _rows)
        {
            StringBuilder line = new();
            for (int c = 0; c < row.Length; c++)
            {
                string padding = new(' ', widths[c] - Width(row[c]));
                line.Append(c == 0 ? "" : "  ").Append(_isRight[c] ? padding + row[c] : row[c] + padding);
            }

            target.WriteLine(line.ToString().TrimEnd());
        }
    }

    /// <summary>Cells a terminal gives the text: combining marks take none, East Asian wide characters two.</summary>
    internal static int Width(string text)
    {
        int width = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            bool isMark = Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.Format;
            bool isWide = rune.Value is (>= 0x1100 and <= 0x115F) or (>= 0x2E80 and <= 0xA4CF) or (>= 0xAC00 and <= 0xD7A3) or (>= 0xF900 and <= 0xFAFF)
                or (>= 0xFE30 and <= 0xFE6F) or (>= 0xFF00 and <= 0xFF60) or (>= 0xFFE0 and <= 0xFFE6) or (>= 0x1F300 and <= 0x1FAFF) or (>= 0x20000 and <= 0x3FFFD);
            width += isMark ? 0 : isWide ? 2 : 1;
        }

        return width;
    }
}
