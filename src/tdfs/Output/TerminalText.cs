using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>Shows names that come from a store, which are bytes and may be hostile, and reads back what it showed.</summary>
/// <remarks>
/// Text form: valid UTF-8 as it is; a backslash as \\; newline, tab and carriage return as \n, \t, \r; every other control character (C0, DEL, C1),
/// bidirectional control, and byte that is not UTF-8 as \xHH, byte by byte. The form is exact: <see cref="TryParse"/> gives the same bytes again, so a
/// path that `tdfs ls` printed can be given to any verb.
/// JSON form: "path" is the name as text with U+FFFD for what is not UTF-8; only then "pathBytes" beside it holds the exact bytes in base64.
/// </remarks>
internal static class TerminalText
{
    internal static string Escape(ReadOnlySpan<byte> name)
    {
        StringBuilder text = new(name.Length);
        while (!name.IsEmpty)
        {
            OperationStatus status = Rune.DecodeFromUtf8(name, out Rune rune, out int used);
            if (status != OperationStatus.Done || IsUnsafe(rune))
            {
                for (int i = 0; i < used; i++)
                {
                    AppendByte(text, name[i]);
                }
            }
            else if (rune.Value == '\\')
            {
                text.Append(@"\\");
            }
            else
            {
                text.Append(rune.ToString());
            }

            name = name[used..];
        }

        return text.ToString();
    }

    /// <summary>Text from elsewhere (a message of the system, say) made safe to print on one line.</summary>
    internal static string Clean(string text)
    {
        StringBuilder clean = new(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            clean.Append(IsUnsafe(rune) ? (rune.Value is '\n' or '\t' or '\r' ? " " : "?") : rune.ToString());
        }

        return clean.ToString();
    }

    /// <summary>Reads the text form. False for a backslash that begins no known escape.</summary>
    internal static bool TryParse(string text, out byte[] name)
    {
        ArrayBufferWriter<byte> bytes = new(text.Length + 1);
        name = [];
        Span<byte> utf8 = stackalloc byte[4];
        for (int i = 0; i < text.Length;)
        {
            if (text[i] != '\\')
            {
                Rune rune = Rune.TryGetRuneAt(text, i, out Rune found) ? found : Rune.ReplacementChar;
                bytes.Write(utf8[..rune.EncodeToUtf8(utf8)]);
                i += rune.Utf16SequenceLength;
                continue;
            }

            byte value;
            int used = 2;
            switch (i + 1 < text.Length ? text[i + 1] : '\0')
            {
                case '\\': value = (byte)'\\'; break;
                case 'n': value = (byte)'\n'; break;
                case 't': value = (byte)'\t'; break;
                case 'r': value = (byte)'\r'; break;
                case 'x' when i + 4 <= text.Length && byte.TryParse(text.AsSpan(i + 2, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value):
                    used = 4;
                    break;
                default: return false;
            }

            bytes.Write([value]);
            i += used;
        }

        name = bytes.WrittenSpan.ToArray();
        return true;
    }

    internal static void WriteName(Utf8JsonWriter json, string property, ReadOnlySpan<byte> name)
    {
        json.WriteString(property, Encoding.UTF8.GetString(name));
        if (!System.Text.Unicode.Utf8.IsValid(name))
        {
            json.WriteBase64String(property + "Bytes", name);
        }
    }

    private static void AppendByte(StringBuilder text, byte value)
    {
        switch (value)
        {
            case (byte)'\n': text.Append(@"\n"); break;
            case (byte)'\t': text.Append(@"\t"); break;
            case (byte)'\r': text.Append(@"\r"); break;
            default: text.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}"); break;
        }
    }

    /// <summary>Controls move cursors and colour screens; format characters (bidirectional overrides, zero widths) show another name than the one there is.</summary>
    private static bool IsUnsafe(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned;
}
