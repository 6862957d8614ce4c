using System.Buffers;
using System.Globalization;
using System.Text;

namespace TokTok.Storage.Tdfs.Config;

/// <summary>Reads the part of TOML 1.0 that storage.toml uses, and refuses the rest by name.</summary>
/// <remarks>
/// Source: https://toml.io/en/v1.0.0. Read: comments, [tables], [[arrays of tables]], bare keys, one-line basic and literal strings, decimal integers
/// with underscores, booleans, arrays over several lines. Refused by name: floats, dates, inline tables, multi-line strings, dotted and quoted keys,
/// tables in tables, arrays in arrays, hexadecimal, octal and binary integers.
/// Bounds: <see cref="MaxFileBytes"/>; nesting is one level by construction, so no input recurses.
/// Errors: <see cref="UserError"/> with "file:line:column: found …, expected …"; columns count characters from 1.
/// </remarks>
internal sealed class TomlReader
{
    internal const int MaxFileBytes = 1024 * 1024;
    private static readonly UTF8Encoding s_strictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private static readonly SearchValues<char> s_integerCharacters = SearchValues.Create("0123456789_");
    private static readonly SearchValues<char> s_floatCharacters = SearchValues.Create("0123456789_.eE+-");

    private readonly string _file;
    private readonly string _text;
    private int _at;
    private int _line = 1;
    private int _lineStart;

    private TomlReader(string file, string text)
    {
        _file = file;
        _text = text;
    }

    private TomlPosition Here => new(_line, Column(_at));

    private bool AtEnd => _at >= _text.Length;

    private char Next => AtEnd ? '\0' : _text[_at];

    /// <param name="file">The name that errors carry.</param>
    internal static TomlTable Read(string file, ReadOnlySpan<byte> utf8)
    {
        if (utf8.Length > MaxFileBytes)
        {
            throw Error(file, new TomlPosition(1, 1), $"found a file of {utf8.Length} bytes, expected at most {MaxFileBytes}");
        }

        if (utf8.StartsWith("\uFEFF"u8))
        {
            utf8 = utf8[3..];
        }

        string text;
        try
        {
            text = s_strictUtf8.GetString(utf8);
        }
        catch (DecoderFallbackException e)
        {
            // A decoder that fails in the middle of a sequence counts from its previous call, which there is none of.
            int bad = Math.Clamp(e.Index, 0, utf8.Length);
            int line = utf8[..bad].Count((byte)'\n') + 1;
            int start = utf8[..bad].LastIndexOf((byte)'\n') + 1;
            throw Error(file, new TomlPosition(line, bad - start + 1), "found bytes that are not UTF-8, expected a UTF-8 text file");
        }

        return new TomlReader(file, text).ReadDocument();
    }

    internal static UserError Error(string file, TomlPosition position, string message) =>
        new(ExitCode.Config, $"{file}:{position.Line}:{position.Column}: {message}");

    private TomlTable ReadDocument()
    {
        TomlTable root = new("", new TomlPosition(1, 1));
        TomlTable current = root;
        while (true)
        {
            SkipBlank();
            if (AtEnd)
            {
                return root;
            }

            if (Next == '[')
            {
                current = ReadHeader(root);
            }
            else
            {
                ReadPair(current);
            }

            ExpectEndOfLine();
        }
    }

    private TomlTable ReadHeader(TomlTable root)
    {
        TomlPosition start = Here;
        _at++;
        bool isArray = Next == '[';
        if (isArray)
        {
            _at++;
        }

        SkipSpaces();
        TomlPosition namePosition = Here;
        string name = ReadKey("a table's name");
        SkipSpaces();
        if (Next == '.')
        {
            throw Fail("tables in tables are not used in storage.toml: found '.', expected ']'");
        }

        Expect(']', "after the table's name");
        if (isArray)
        {
            Expect(']', "after the name of an array of tables");
        }

        TomlTable table = new(name, start);
        if (!root.Values.TryGetValue(name, out TomlValue? known))
        {
            object held = isArray ? new List<TomlTable> { table } : table;
            root.Add(name, new TomlValue(isArray ? TomlKind.TableArray : TomlKind.Table, held, namePosition));
            return table;
        }

        if (isArray && known.Kind == TomlKind.TableArray)
        {
            ((List<TomlTable>)known.Held).Add(table);
            return table;
        }

        throw Error(_file, namePosition, $"found '{name}' a second time, expected it once; the first stands in line {known.Position.Line}");
    }

    private void ReadPair(TomlTable table)
    {
        TomlPosition position = Here;
        string key = ReadKey("a key");
        SkipSpaces();
        if (Next == '.')
        {
            throw Fail("dotted keys are not used in storage.toml: found '.', expected '='");
        }

        Expect('=', $"after the key '{key}'");
        SkipSpaces();
        TomlValue value = ReadValue(insideArray: false);
        if (table.Values.TryGetValue(key, out TomlValue? known))
        {
            throw Error(_file, position, $"found '{key}' a second time, expected it once; the first stands in line {known.Position.Line}");
        }

        table.Add(key, value with { KeyPosition = position });
    }

    private string ReadKey(string what)
    {
        if (Next is '"' or '\'')
        {
            throw Fail($"quoted keys are not used in storage.toml: found {Found()}, expected {what} of letters, digits, '-' and '_'");
        }

        int start = _at;
        while (Next is >= 'a' and <= 'z' or >= 'A' and <= 'Z' or >= '0' and <= '9' or '-' or '_')
        {
            _at++;
        }

        return _at > start ? _text[start.._at] : throw Fail($"found {Found()}, expected {what}");
    }

    private TomlValue ReadValue(bool insideArray)
    {
        TomlPosition position = Here;
        switch (Next)
        {
            case '"':
                RefuseMultiLine("\"\"\"");
                return new TomlValue(TomlKind.String, ReadBasicString(), position);
            case '\'':
                RefuseMultiLine("'''");
                return new TomlValue(TomlKind.String, ReadLiteralString(), position);
            case '[' when insideArray:
                throw Fail("arrays in arrays are not used in storage.toml: found '[', expected a string, an integer, true or false");
            case '[':
                return new TomlValue(TomlKind.Array, ReadArray(), position);
            case '{':
                throw Fail("inline tables are not used in storage.toml: found '{', expected a value or a [table] of its own");
            default:
                return ReadBare(position);
        }
    }

    private void RefuseMultiLine(string quotes)
    {
        if (string.CompareOrdinal(_text, _at, quotes, 0, quotes.Length) == 0)
        {
            throw Fail($"multi-line strings are not used in storage.toml: found {quotes}, expected a string on one line");
        }
    }

    private string ReadBasicString()
    {
        TomlPosition start = Here;
        StringBuilder result = new();
        _at++;
        while (true)
        {
            char c = StringCharacter(start, '"');
            if (c == '"')
            {
                _at++;
                return result.ToString();
            }

            if (c != '\\')
            {
                result.Append(c);
                _at++;
                continue;
            }

            _at++;
            char escape = Next;
            switch (escape)
            {
                case 'b': result.Append('\b'); break;
                case 't': result.Append('\t'); break;
                case 'n': result.Append('\n'); break;
                case 'f': result.Append('\f'); break;
                case 'r': result.Append('\r'); break;
                case '"': result.Append('"'); break;
                case '\\': result.Append('\\'); break;
                case 'u': ReadUnicodeEscape(result, digitCount: 4); continue;
                case 'U': ReadUnicodeEscape(result, digitCount: 8); continue;
                default: throw Fail($"found {Found()} after a backslash, expected one of b t n f r \" \\ u U; 'single quotes' take backslashes as they are");
            }

            _at++;
        }
    }

    private void ReadUnicodeEscape(StringBuilder result, int digitCount)
    {
        _at++;
        int available = Math.Min(digitCount, _text.Length - _at);
        ReadOnlySpan<char> digits = _text.AsSpan(_at, available);
        if (available < digitCount
            || !uint.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint scalar)
            || !Rune.IsValid(scalar))
        {
            throw Fail($"found a bad Unicode escape, expected {digitCount} hexadecimal digits of a Unicode character");
        }

        result.Append(new Rune(scalar).ToString());
        _at += digitCount;
    }

    private string ReadLiteralString()
    {
        TomlPosition start = Here;
        int from = ++_at;
        while (StringCharacter(start, '\'') != '\'')
        {
            _at++;
        }

        return _text[from.._at++];
    }

    private char StringCharacter(TomlPosition start, char quote)
    {
        if (AtEnd || Next is '\n' or '\r')
        {
            throw Error(_file, start, $"found a string without an end, expected {quote} on the same line");
        }

        return Next is < ' ' and not '\t' or '\u007f'
            ? throw Fail($"found {Found()} in a string, expected it as an escape")
            : Next;
    }

    private List<TomlValue> ReadArray()
    {
        TomlPosition start = Here;
        List<TomlValue> items = [];
        _at++;
        while (true)
        {
            SkipBlank();
            if (AtEnd)
            {
                throw Error(_file, start, "found an array without an end, expected ']'");
            }

            if (Next == ']')
            {
                _at++;
                return items;
            }

            items.Add(ReadValue(insideArray: true));
            SkipBlank();
            if (Next == ',')
            {
                _at++;
            }
            else if (Next != ']' && !AtEnd)
            {
                throw Fail($"found {Found()}, expected ',' or ']'");
            }
        }
    }

    private TomlValue ReadBare(TomlPosition position)
    {
        int start = _at;
        while (!AtEnd && Next is not (' ' or '\t' or '\n' or '\r' or ',' or ']' or '#' or '=' or '[' or '{' or '}' or '"' or '\''))
        {
            _at++;
        }

        ReadOnlySpan<char> word = _text.AsSpan(start, _at - start);
        switch (word)
        {
            case "true": return new TomlValue(TomlKind.Boolean, true, position);
            case "false": return new TomlValue(TomlKind.Boolean, false, position);
            case "":
                throw Fail($"found {Found()}, expected a value: a string in quotes, an integer, true, false or a list in []");
        }

        string shown = Shown(word);
        ReadOnlySpan<char> digits = word[0] is '+' or '-' ? word[1..] : word;
        if (digits is "inf" or "nan")
        {
            throw Error(_file, position, $"floats are not used in storage.toml: found {shown}, expected an integer");
        }

        if (digits.IsEmpty || !char.IsAsciiDigit(digits[0]))
        {
            throw Error(_file, position, $"found {shown}, expected a value: a string in quotes, an integer, true, false or a list in []");
        }

        if (digits is ['0', 'x' or 'o' or 'b', ..])
        {
            throw Error(_file, position, $"hexadecimal, octal and binary integers are not used in storage.toml: found {shown}, expected decimal digits");
        }

        if (digits.Length >= 5 && (digits.IndexOf(':') >= 0 || digits[1..].IndexOf('-') >= 0) && digits.IndexOf('e') < 0)
        {
            throw Error(_file, position, $"dates and times are not used in storage.toml: found {shown}, expected an integer or a string in quotes");
        }

        if (digits.IndexOfAny('.', 'e', 'E') >= 0 && digits.IndexOfAnyExcept(s_floatCharacters) < 0)
        {
            throw Error(_file, position, $"floats are not used in storage.toml: found {shown}, expected an integer");
        }

        return new TomlValue(TomlKind.Integer, ParseInteger(word, digits, shown, position), position);
    }

    private long ParseInteger(ReadOnlySpan<char> word, ReadOnlySpan<char> digits, string shown, TomlPosition position)
    {
        if (digits.IndexOfAnyExcept(s_integerCharacters) >= 0)
        {
            throw Error(_file, position, $"found {shown}, expected an integer; text stands in quotes");
        }

        if (digits[^1] == '_' || digits.Contains("__", StringComparison.Ordinal))
        {
            throw Error(_file, position, $"found {shown}, expected each '_' between two digits");
        }

        if (digits.Length > 1 && digits[0] == '0')
        {
            throw Error(_file, position, $"found {shown}, expected an integer without leading zeros");
        }

        string plain = word.ToString().Replace("_", "", StringComparison.Ordinal);
        return long.TryParse(plain, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value)
            ? value
            : throw Error(_file, position, $"found {shown}, expected an integer of at most 64 bits");
    }

    private void SkipSpaces()
    {
        while (Next is ' ' or '\t')
        {
            _at++;
        }
    }

    /// <summary>Skips spaces, line ends and comments.</summary>
    private void SkipBlank()
    {
        while (!AtEnd)
        {
            SkipSpaces();
            if (Next == '#')
            {
                SkipComment();
            }

            if (!TryNewLine())
            {
                return;
            }
        }
    }

    private void SkipComment()
    {
        while (!AtEnd && Next != '\n' && !(Next == '\r' && _at + 1 < _text.Length && _text[_at + 1] == '\n'))
        {
            if (Next is < ' ' and not '\t' or '\u007f')
            {
                throw Fail($"found {Found()} in a comment, expected text");
            }

            _at++;
        }
    }

    private bool TryNewLine()
    {
        if (Next == '\r' && _at + 1 < _text.Length && _text[_at + 1] == '\n')
        {
            _at++;
        }

        if (Next != '\n' || AtEnd)
        {
            return false;
        }

        _at++;
        _line++;
        _lineStart = _at;
        return true;
    }

    private void ExpectEndOfLine()
    {
        SkipSpaces();
        if (Next == '#')
        {
            SkipComment();
        }

        if (!AtEnd && !TryNewLine())
        {
            throw Fail($"found {Found()}, expected the end of the line");
        }
    }

    private void Expect(char c, string where)
    {
        if (AtEnd || Next != c)
        {
            throw Fail($"found {Found()}, expected '{c}' {where}");
        }

        _at++;
    }

    private UserError Fail(string message) => Error(_file, Here, message);

    private int Column(int at)
    {
        int column = 1;
        for (int i = _lineStart; i < at; i++)
        {
            column += char.IsLowSurrogate(_text[i]) ? 0 : 1;
        }

        return column;
    }

    private string Found()
    {
        if (AtEnd)
        {
            return "the end of the file";
        }

        return Next switch
        {
            '\n' or '\r' => "the end of the line",
            '\'' => "\"'\"",
            < ' ' or '\u007f' => string.Create(CultureInfo.InvariantCulture, $"the control character U+{(int)Next:X4}"),
            _ => $"'{Rune.GetRuneAt(_text, _at)}'",
        };
    }

    private static string Shown(ReadOnlySpan<char> word)
    {
        const int MaxShown = 40;
        string text = word.Length > MaxShown ? string.Concat(word[..MaxShown], "…") : word.ToString();
        return "'" + string.Concat(text.Select(c => char.IsControl(c) ? '?' : c)) + "'";
    }
}

internal readonly record struct TomlPosition(int Line, int Column);

internal enum TomlKind
{
    String,
    Integer,
    Boolean,
    Array,
    Table,
    TableArray,
}

/// <summary>A value and where it stands. Held is a string, long, bool, List of TomlValue, TomlTable or List of TomlTable, as Kind says.</summary>
internal sealed record TomlValue(TomlKind Kind, object Held, TomlPosition Position)
{
    public TomlPosition KeyPosition { get; init; } = Position;

    internal string Describe() => Kind switch
    {
        TomlKind.String => $"the string \"{Held}\"",
        TomlKind.Integer => $"the integer {((long)Held).ToString(CultureInfo.InvariantCulture)}",
        TomlKind.Boolean => (bool)Held ? "true" : "false",
        TomlKind.Array => "a list",
        TomlKind.Table => "a [table]",
        _ => "an array of [[tables]]",
    };
}

/// <summary>A table's values in the order of the file.</summary>
internal sealed class TomlTable(string name, TomlPosition position)
{
    private readonly Dictionary<string, TomlValue> _values = new(StringComparer.Ordinal);

    public string Name { get; } = name;

    public TomlPosition Position { get; } = position;

    public IReadOnlyDictionary<string, TomlValue> Values => _values;

    internal void Add(string key, TomlValue value) => _values.Add(key, value);
}
