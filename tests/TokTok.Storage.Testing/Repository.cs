using System.Globalization;
using System.Text.RegularExpressions;

namespace TokTok.Storage.Testing;

/// <summary>Files of the working tree that tests read: vectors, golden stores, the format page.</summary>
public static partial class Repository
{
    /// <summary>The folder that holds TokTok.Storage.sln, found by walking up from the test program.</summary>
    public static string Root { get; } = FindRoot();

    public static string Vector(string path) => Path.Combine(Root, "tests", "vectors", path);

    /// <summary>The bytes of a <c>```hex</c> example in a section of docs/format.md, the first if no number says which; text after <c>;</c> is comment.</summary>
    public static byte[] FormatExample(string section, int number = 1)
    {
        string page = File.ReadAllText(Path.Combine(Root, "docs", "format.md"));
        Match heading = Regex.Match(page, $@"^#+ {Regex.Escape(section)}\b.*$", RegexOptions.Multiline);
        if (!heading.Success)
        {
            throw new InvalidDataException($"docs/format.md has no section {section}.");
        }

        string rest = page[(heading.Index + heading.Length)..];
        Match next = NextHeading().Match(rest);
        MatchCollection blocks = HexBlock().Matches(next.Success ? rest[..next.Index] : rest);
        if (blocks.Count < number)
        {
            throw new InvalidDataException($"docs/format.md {section} has {blocks.Count} hex examples, {number} expected.");
        }

        IEnumerable<string> lines = blocks[number - 1].Groups[1].Value.Split('\n').Select(line => line.Split(';')[0]);
        return Convert.FromHexString(string.Concat(string.Concat(lines).Where(c => !char.IsWhiteSpace(c))));
    }

    /// <summary>Prints bytes the way the format page shows them, for a failing example test to be pasted from.</summary>
    public static string HexLines(ReadOnlySpan<byte> bytes)
    {
        var lines = new List<string>();
        for (int i = 0; i < bytes.Length; i += 16)
        {
            ReadOnlySpan<byte> line = bytes.Slice(i, Math.Min(16, bytes.Length - i));
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{Convert.ToHexStringLower(line)} ; {i}"));
        }

        return string.Join('\n', lines);
    }

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "TokTok.Storage.sln")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException($"TokTok.Storage.sln stands in no folder above {AppContext.BaseDirectory}.");
    }

    [GeneratedRegex(@"^#+ ", RegexOptions.Multiline)]
    private static partial Regex NextHeading();

    [GeneratedRegex(@"^```hex\n(.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex HexBlock();
}
