using System.Globalization;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>One value of a row of `tdfs debug`, with its name in words ("next ordinal").</summary>
/// <param name="Value">Bytes are a name from a store. Null and no bytes are left out; in text false too, and true is the name alone.</param>
/// <param name="IsBare">In text the value stands without its name.</param>
internal readonly record struct DebugField(string Name, object? Value, bool IsBare = false)
{
    public static implicit operator DebugField((string Name, object? Value) field) => new(field.Name, field.Value);

    internal bool IsAbsent => Value is null or ReadOnlyMemory<byte> { IsEmpty: true };

    internal static DebugField Bare(string name, object? value) => new(name, value, true);
}

/// <summary>A page of `tdfs debug`: rows of named values and the checks that failed, in the order in which they come.</summary>
/// <remarks>
/// One model, two forms. Text: a line a row, its kind first, indented by its depth. JSON: {"structure", "name", "rows": [{"kind", "depth", …}], "damaged", "whole"}, the names of
/// values in camel case. Written as it comes and never kept, for a page may be as long as a tree. <see cref="End"/> completes the JSON object; a page that was
/// not begun prints nothing, so that an error before it leaves stdout empty.
/// </remarks>
internal abstract class DebugPage
{
    /// <summary>Whether no check failed so far.</summary>
    internal bool IsWhole => DamageCount == 0;

    internal long DamageCount { get; private set; }

    internal abstract void Row(int depth, string kind, params ReadOnlySpan<DebugField> fields);

    internal void Row(string kind, params ReadOnlySpan<DebugField> fields) => Row(0, kind, fields);

    /// <summary>Something to know that is no damage.</summary>
    internal void Note(int depth, FormattableString sentence) => Row(depth, "note", DebugField.Bare("text", sentence.ToString(CultureInfo.InvariantCulture)));

    internal void Note(FormattableString sentence) => Note(0, sentence);

    /// <summary>A check that failed: what was found, what was expected, where.</summary>
    internal void Damaged(FormattableString sentence) => Damaged(sentence.ToString(CultureInfo.InvariantCulture));

    internal void Damaged(string sentence)
    {
        DamageCount++;
        Row(0, DamagedKind, DebugField.Bare("text", sentence));
    }

    internal abstract void End();

    protected const string DamagedKind = "damaged";
}

/// <summary>A line a row; one of damage begins with DAMAGED.</summary>
internal sealed class TextDebugPage(TextWriter target) : DebugPage
{
    internal override void Row(int depth, string kind, params ReadOnlySpan<DebugField> fields)
    {
        for (int i = 0; i < depth; i++)
        {
            target.Write("  ");
        }

        target.Write(kind == DamagedKind ? "DAMAGED" : kind);
        foreach (DebugField field in fields)
        {
            if (field.IsAbsent || field.Value is false)
            {
                continue;
            }

            if (!field.IsBare)
            {
                target.Write(' ');
                target.Write(field.Name);
            }

            if (field.Value is not true)
            {
                target.Write(' ');
                target.Write(TextOf(field.Value!));
            }
        }

        target.WriteLine();
    }

    internal override void End() => target.Flush();

    private static string TextOf(object value) => value switch
    {
        byte[] name => TerminalText.Escape(name),
        ReadOnlyMemory<byte> name => TerminalText.Escape(name.Span),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => TerminalText.Clean(value.ToString() ?? ""),
    };
}

/// <summary>One object on stdout. Dispose without <see cref="End"/>, as an error does, leaves it incomplete.</summary>
internal sealed class JsonDebugPage(Stream target, string structure, string? name) : DebugPage, IDisposable
{
    private const int FlushBytes = 64 * 1024;
    private Utf8JsonWriter? _json;

    internal override void Row(int depth, string kind, params ReadOnlySpan<DebugField> fields)
    {
        Utf8JsonWriter json = Begun();
        json.WriteStartObject();
        json.WriteString("kind", kind);
        json.WriteNumber("depth", depth);
        foreach (DebugField field in fields)
        {
            if (!field.IsAbsent)
            {
                Write(json, CamelCase(field.Name), field.Value!);
            }
        }

        json.WriteEndObject();
        if (json.BytesPending > FlushBytes)
        {
            json.Flush();
        }
    }

    internal override void End()
    {
        Utf8JsonWriter json = Begun();
        json.WriteEndArray();
        json.WriteNumber("damaged", DamageCount);
        json.WriteBoolean("whole", IsWhole);
        json.WriteEndObject();
        json.Flush();
        target.WriteByte((byte)'\n');
        target.Flush();
    }

    public void Dispose() => _json?.Dispose();

    private Utf8JsonWriter Begun()
    {
        if (_json is null)
        {
            _json = new Utf8JsonWriter(target, new JsonWriterOptions { Indented = true });
            _json.WriteStartObject();
            _json.WriteString("structure", structure);
            _json.WriteString("name", name);
            _json.WriteStartArray("rows");
        }

        return _json;
    }

    private static void Write(Utf8JsonWriter json, string property, object value)
    {
        switch (value)
        {
            case bool flag: json.WriteBoolean(property, flag); break;
            case byte or ushort or int or uint or long: json.WriteNumber(property, Convert.ToInt64(value, CultureInfo.InvariantCulture)); break;
            case ulong number: json.WriteNumber(property, number); break;
            case double number: json.WriteNumber(property, number); break;
            case byte[] bytes: TerminalText.WriteName(json, property, bytes); break;
            case ReadOnlyMemory<byte> bytes: TerminalText.WriteName(json, property, bytes.Span); break;
            default: json.WriteString(property, value.ToString()); break;
        }
    }

    /// <summary>"next ordinal" as "nextOrdinal".</summary>
    private static string CamelCase(string words) => string.Concat(words.Split(' ').Select(static (word, at) => at == 0 ? word : char.ToUpperInvariant(word[0]) + word[1..]));
}
