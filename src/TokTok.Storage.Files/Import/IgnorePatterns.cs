namespace TokTok.Storage.Files;

/// <summary>What an import leaves out: patterns as in a <c>.gitignore</c> file, on byte names.</summary>
/// <remarks>
/// Source: gitignore(5) and git's wildmatch. One pattern a line, the last that matches decides. '#' comments, '!' takes back, a slash at the
/// front or in the middle anchors to the source's root, a slash at the end matches directories alone, '*' and '?' stop at slashes, '**' does not,
/// '\' takes the next byte as it is, spaces at the end count only when escaped. As with git, what lies in an ignored directory cannot be taken back,
/// for the walk never enters it.
/// Immutable; safe from many threads.
/// </remarks>
public sealed class IgnorePatterns
{
    private readonly Pattern[] _patterns;

    private IgnorePatterns(Pattern[] patterns) => _patterns = patterns;

    public static IgnorePatterns None { get; } = new([]);

    public int Count => _patterns.Length;

    /// <summary>Reads patterns, one a line, LF or CR LF between them.</summary>
    public static IgnorePatterns Parse(ReadOnlySpan<byte> lines)
    {
        if (lines.StartsWith("\ufeff"u8))
        {
            lines = lines[3..];
        }

        var patterns = new List<Pattern>();
        while (!lines.IsEmpty)
        {
            int end = lines.IndexOf((byte)'\n');
            ReadOnlySpan<byte> line = end < 0 ? lines : lines[..end];
            lines = end < 0 ? [] : lines[(end + 1)..];
            if (end >= 0 && line.EndsWith("\r"u8))
            {
                line = line[..^1];
            }

            if (TryParseLine(line, out Pattern pattern))
            {
                patterns.Add(pattern);
            }
        }

        return new IgnorePatterns([.. patterns]);
    }

    /// <summary>Whether the last pattern that matches the path leaves it out. Its directories are taken to be wanted.</summary>
    /// <param name="path">Relative to the source's root, without a slash at either end.</param>
    public bool IsIgnored(ReadOnlySpan<byte> path, bool isDirectory)
    {
        if (_patterns.Length == 0)
        {
            return false;
        }

        ReadOnlySpan<byte> name = path[(path.LastIndexOf((byte)'/') + 1)..];
        for (int i = _patterns.Length - 1; i >= 0; i--)
        {
            ref readonly Pattern pattern = ref _patterns[i];
            if (pattern.IsForDirectories && !isDirectory)
            {
                continue;
            }

            ReadOnlySpan<byte> subject = pattern.IsAnchored ? path : name;
            bool matches = pattern.IsLiteral
                ? subject.SequenceEqual(pattern.Glob)
                : Match(pattern.Glob, subject, pattern.IsAnchored) == Outcome.Match;
            if (matches)
            {
                return !pattern.IsNegated;
            }
        }

        return false;
    }

    private static bool TryParseLine(ReadOnlySpan<byte> line, out Pattern pattern)
    {
        pattern = default;
        if (line.StartsWith("#"u8))
        {
            return false;
        }

        line = TrimSpaces(line);
        bool isNegated = line.StartsWith("!"u8);
        line = isNegated ? line[1..] : line;
        bool isForDirectories = line.EndsWith("/"u8);
        line = isForDirectories ? line[..^1] : line;
        bool isAnchored = line.Contains((byte)'/');
        line = line.StartsWith("/"u8) ? line[1..] : line;
        if (line.IsEmpty)
        {
            return false;
        }

        bool isLiteral = line.IndexOfAny("*?[\\"u8) < 0;
        pattern = new Pattern(line.ToArray(), isNegated, isForDirectories, isAnchored, isLiteral);
        return true;
    }

    private static ReadOnlySpan<byte> TrimSpaces(ReadOnlySpan<byte> line)
    {
        int firstOfSpaces = -1;
        for (int i = 0; i < line.Length; i++)
        {
            if (line[i] == ' ')
            {
                firstOfSpaces = firstOfSpaces < 0 ? i : firstOfSpaces;
                continue;
            }

            firstOfSpaces = -1;
            if (line[i] == '\\')
            {
                i++;
            }
        }

        return firstOfSpaces < 0 ? line : line[..firstOfSpaces];
    }

    private static byte At(ReadOnlySpan<byte> text, int index) => index < text.Length ? text[index] : (byte)0;

    /// <summary>git's wildmatch; with <paramref name="isPath"/> as its WM_PATHNAME. Neither side holds a NUL, which stands for the end.</summary>
    private static Outcome Match(ReadOnlySpan<byte> pattern, ReadOnlySpan<byte> text, bool isPath)
    {
        int p = 0;
        int t = 0;
        for (; At(pattern, p) != 0; p++, t++)
        {
            byte wanted = pattern[p];
            byte found = At(text, t);
            if (found == 0 && wanted != '*')
            {
                return Outcome.AbortAll;
            }

            switch (wanted)
            {
                case (byte)'?':
                    if (isPath && found == '/')
                    {
                        return Outcome.NoMatch;
                    }

                    break;
                case (byte)'[':
                    Outcome inClass = MatchClass(pattern, ref p, found, isPath);
                    if (inClass != Outcome.Match)
                    {
                        return inClass;
                    }

                    break;
                case (byte)'*':
                    if (MatchStar(pattern, ref p, text, ref t, isPath) is { } decided)
                    {
                        return decided;
                    }

                    break;
                case (byte)'\\':
                    p++;
                    if (found != At(pattern, p))
                    {
                        return Outcome.NoMatch;
                    }

                    break;
                default:
                    if (found != wanted)
                    {
                        return Outcome.NoMatch;
                    }

                    break;
            }
        }

        return t < text.Length ? Outcome.NoMatch : Outcome.Match;
    }

    /// <summary>Null when one star before a slash has moved on to the next slash and the loop goes on.</summary>
    private static Outcome? MatchStar(ReadOnlySpan<byte> pattern, ref int p, ReadOnlySpan<byte> text, ref int t, bool isPath)
    {
        int star = p;
        p++;
        bool crossesSlashes = !isPath;
        if (At(pattern, p) == '*')
        {
            while (At(pattern, p) == '*')
            {
                p++;
            }

            bool isOwnPart = (star == 0 || pattern[star - 1] == '/')
                && (At(pattern, p) is 0 or (byte)'/' || (At(pattern, p) == '\\' && At(pattern, p + 1) == '/'));
            if (isPath && isOwnPart)
            {
                // "a/**/b" matches "a/b" too.
                if (At(pattern, p) == '/' && Match(pattern[(p + 1)..], text[t..], isPath) == Outcome.Match)
                {
                    return Outcome.Match;
                }

                crossesSlashes = true;
            }
        }

        if (p >= pattern.Length)
        {
            return crossesSlashes || !text[t..].Contains((byte)'/') ? Outcome.Match : Outcome.AbortToStarStar;
        }

        if (!crossesSlashes && pattern[p] == '/')
        {
            int slash = text[t..].IndexOf((byte)'/');
            if (slash < 0)
            {
                return Outcome.AbortAll;
            }

            t += slash;
            return null;
        }

        for (int rest = t; rest < text.Length; rest++)
        {
            Outcome outcome = Match(pattern[p..], text[rest..], isPath);
            if (outcome != Outcome.NoMatch)
            {
                if (!crossesSlashes || outcome != Outcome.AbortToStarStar)
                {
                    return outcome;
                }
            }
            else if (!crossesSlashes && text[rest] == '/')
            {
                return Outcome.AbortToStarStar;
            }
        }

        return Outcome.AbortAll;
    }

    /// <summary>A class in brackets. On return <paramref name="p"/> is at its closing bracket.</summary>
    private static Outcome MatchClass(ReadOnlySpan<byte> pattern, ref int p, byte found, bool isPath)
    {
        p++;
        bool isNegated = At(pattern, p) is (byte)'!' or (byte)'^';
        p += isNegated ? 1 : 0;
        bool isIn = false;
        byte previous = 0;
        byte wanted = At(pattern, p);
        do
        {
            if (wanted == 0)
            {
                return Outcome.AbortAll;
            }

            if (wanted == '\\')
            {
                wanted = At(pattern, ++p);
                if (wanted == 0)
                {
                    return Outcome.AbortAll;
                }

                isIn |= found == wanted;
            }
            else if (wanted == '-' && previous != 0 && At(pattern, p + 1) is not 0 and not (byte)']')
            {
                wanted = At(pattern, ++p);
                if (wanted == '\\')
                {
                    wanted = At(pattern, ++p);
                    if (wanted == 0)
                    {
                        return Outcome.AbortAll;
                    }
                }

                isIn |= found >= previous && found <= wanted;
                wanted = 0;
            }
            else if (wanted == '[' && At(pattern, p + 1) == ':')
            {
                int start = p + 2;
                int end = start;
                while (At(pattern, end) is not 0 and not (byte)']')
                {
                    end++;
                }

                if (end >= pattern.Length)
                {
                    return Outcome.AbortAll;
                }

                if (end == start || pattern[end - 1] != ':')
                {
                    isIn |= found == '[';
                }
                else if (IsOfClass(pattern[start..(end - 1)], found) is { } isOfClass)
                {
                    isIn |= isOfClass;
                    p = end;
                    wanted = 0;
                }
                else
                {
                    return Outcome.AbortAll;
                }
            }
            else
            {
                isIn |= found == wanted;
            }

            previous = wanted;
            wanted = At(pattern, ++p);
        }
        while (wanted != ']');

        return isIn == isNegated || (isPath && found == '/') ? Outcome.NoMatch : Outcome.Match;
    }

    private static bool? IsOfClass(ReadOnlySpan<byte> name, byte value)
    {
        char c = (char)value;
        bool isAscii = value < 128;
        return name switch
        {
            _ when name.SequenceEqual("alnum"u8) => char.IsAsciiLetterOrDigit(c),
            _ when name.SequenceEqual("alpha"u8) => char.IsAsciiLetter(c),
            _ when name.SequenceEqual("blank"u8) => c is ' ' or '\t',
            _ when name.SequenceEqual("cntrl"u8) => isAscii && (value < 32 || value == 127),
            _ when name.SequenceEqual("digit"u8) => char.IsAsciiDigit(c),
            _ when name.SequenceEqual("graph"u8) => value is > 32 and < 127,
            _ when name.SequenceEqual("lower"u8) => char.IsAsciiLetterLower(c),
            _ when name.SequenceEqual("print"u8) => value is >= 32 and < 127,
            _ when name.SequenceEqual("punct"u8) => value is > 32 and < 127 && !char.IsAsciiLetterOrDigit(c),
            _ when name.SequenceEqual("space"u8) => c is ' ' or (>= '\t' and <= '\r'),
            _ when name.SequenceEqual("upper"u8) => char.IsAsciiLetterUpper(c),
            _ when name.SequenceEqual("xdigit"u8) => char.IsAsciiHexDigit(c),
            _ => null,
        };
    }

    private enum Outcome
    {
        Match,
        NoMatch,

        /// <summary>The text has ended: trying more of it is of no use.</summary>
        AbortAll,

        /// <summary>Only a '**' further left can still succeed.</summary>
        AbortToStarStar,
    }

    private readonly record struct Pattern(byte[] Glob, bool IsNegated, bool IsForDirectories, bool IsAnchored, bool IsLiteral);
}
