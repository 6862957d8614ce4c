using System.Globalization;

namespace TokTok.Storage.Tdfs.Config;

/// <summary>Takes typed values out of one table and, at the end, names every key that nobody asked for.</summary>
/// <remarks>Each reader of a value names its key, so the set of known keys is exactly what was read. A null table has no keys: everything is default.</remarks>
internal sealed class TableBinder(string file, TomlTable? table)
{
    private readonly List<string> _known = [];

    internal string String(string key, string fallback)
    {
        TomlValue? value = Take(key);
        return value is null ? fallback : Text(value, "a string in quotes");
    }

    internal string RequiredString(string key)
    {
        TomlValue? value = Take(key);
        return value is null
            ? throw TomlReader.Error(file, table!.Position, $"found a [[{table.Name}]] without '{key}', expected it")
            : Text(value, "a string in quotes");
    }

    internal string Choice(string key, string fallback, params string[] choices)
    {
        TomlValue? value = Take(key);
        if (value is null)
        {
            return fallback;
        }

        string expected = "one of " + string.Join(", ", choices.Select(c => $"\"{c}\""));
        string text = Text(value, expected);
        return choices.Contains(text, StringComparer.Ordinal) ? text : throw Bad(value, expected);
    }

    internal int Integer(string key, int fallback, int min, int max)
    {
        TomlValue? value = Take(key);
        return value is null ? fallback : IntegerOf(value, IntegerForm(min, max), min, max);
    }

    /// <summary>An integer, or null for "auto".</summary>
    internal int? IntegerOrAuto(string key, int min, int max)
    {
        TomlValue? value = Take(key);
        return value is null or { Kind: TomlKind.String, Held: "auto" } ? null : IntegerOf(value, IntegerForm(min, max) + ", or \"auto\"", min, max);
    }

    internal bool Boolean(string key, bool fallback)
    {
        TomlValue? value = Take(key);
        return value is null ? fallback : value.Held is bool held ? held : throw Bad(value, "true or false");
    }

    internal long Size(string key, string fallback, string min, string max)
    {
        TomlValue? value = Take(key);
        return value is null ? Bytes(fallback) : SizeOf(value, min, max, "");
    }

    /// <summary>A size, or null for "auto".</summary>
    internal long? SizeOrAuto(string key, string min, string max)
    {
        TomlValue? value = Take(key);
        return value is null or { Kind: TomlKind.String, Held: "auto" } ? null : SizeOf(value, min, max, ", or \"auto\"");
    }

    /// <summary>A size, or null when the key is absent.</summary>
    internal long? OptionalSize(string key, string min, string max)
    {
        TomlValue? value = Take(key);
        return value is null ? null : SizeOf(value, min, max, "");
    }

    internal TimeSpan Duration(string key, string fallback, string max)
    {
        TomlValue? value = Take(key);
        _ = Units.TryParseDuration(fallback, out TimeSpan duration);
        if (value is null)
        {
            return duration;
        }

        _ = Units.TryParseDuration(max, out TimeSpan longest);
        string text = Text(value, Units.DurationForm);
        return !Units.TryParseDuration(text, out duration) ? throw Bad(value, Units.DurationForm)
            : duration > longest ? throw Bad(value, $"at most \"{max}\"")
            : duration;
    }

    internal IReadOnlyList<string> Strings(string key)
    {
        TomlValue? value = Take(key);
        return value is null ? []
            : value.Held is List<TomlValue> items ? [.. items.Select(item => Text(item, "a string in quotes"))]
            : throw Bad(value, "a list of strings in []");
    }

    /// <summary>A table of the root; absent means all defaults.</summary>
    internal TableBinder Table(string key)
    {
        TomlValue? value = Take(key);
        return new TableBinder(file, value is null ? null : value.Held as TomlTable ?? throw Bad(value, $"a table that begins with [{key}]"));
    }

    internal IReadOnlyList<TableBinder> Tables(string key)
    {
        TomlValue? value = Take(key);
        return value is null ? []
            : value.Held is List<TomlTable> tables ? [.. tables.Select(t => new TableBinder(file, t))]
            : throw Bad(value, $"tables that begin with [[{key}]]");
    }

    internal UserError Bad(string key, string expected) => Bad(table!.Values[key], expected);

    internal bool Has(string key) => table?.Values.ContainsKey(key) ?? false;

    /// <summary>Refuses keys that nothing asked for.</summary>
    internal void Finish()
    {
        foreach ((string key, TomlValue value) in table?.Values ?? new Dictionary<string, TomlValue>())
        {
            if (_known.Contains(key, StringComparer.Ordinal))
            {
                continue;
            }

            bool isTable = value.Kind is TomlKind.Table or TomlKind.TableArray;
            string what = isTable ? $"the unknown table '{key}'" : table!.Name.Length == 0 ? $"the unknown key '{key}' outside of a table" : $"the unknown key '{key}' in [{table.Name}]";
            string advice = NearestName.Find(key, _known) is string near ? $"'{near}'; is that what was meant?" : "one of " + string.Join(", ", _known);
            throw TomlReader.Error(file, value.KeyPosition, $"found {what}, expected {advice}");
        }
    }

    private static string IntegerForm(int min, int max) => string.Create(CultureInfo.InvariantCulture, $"an integer from {min} to {max}");

    private static long Bytes(string text) => Units.TryParseSize(text, out long bytes) ? bytes : throw new ArgumentException(text, nameof(text));

    private TomlValue? Take(string key)
    {
        _known.Add(key);
        TomlValue? value = null;
        return table?.Values.TryGetValue(key, out value) ?? false ? value : null;
    }

    private string Text(TomlValue value, string expected) => value.Held as string ?? throw Bad(value, expected);

    private int IntegerOf(TomlValue value, string expected, int min, int max) =>
        value.Held is long held && held >= min && held <= max ? (int)held : throw Bad(value, expected);

    private long SizeOf(TomlValue value, string min, string max, string orAuto)
    {
        string text = Text(value, Units.SizeForm + orAuto);
        return !Units.TryParseSize(text, out long bytes) ? throw Bad(value, Units.SizeForm + orAuto)
            : bytes < Bytes(min) || bytes > Bytes(max) ? throw Bad(value, $"\"{min}\" to \"{max}\"" + orAuto)
            : bytes;
    }

    private UserError Bad(TomlValue value, string expected) => TomlReader.Error(file, value.Position, $"found {value.Describe()}, expected {expected}");
}
