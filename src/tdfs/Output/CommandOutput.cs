using System.Text.Json;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>The two ways out of a command: data to stdout, talk to stderr.</summary>
/// <remarks>
/// With --json, stdout carries exactly one JSON object, written when the verb is done, and nothing else. --quiet silences talk, never data, warnings or errors.
/// </remarks>
internal sealed class CommandOutput
{
    public required TextWriter Data { get; init; }

    /// <summary>The stream below Data, for bytes that are no text: `tdfs cat`, JSON.</summary>
    public required Stream DataBytes { get; init; }

    public required TextWriter Talk { get; init; }

    public required TimeProvider Clock { get; init; }

    /// <summary>The zone that times are shown in: the one in which a snapshot's name is a time.</summary>
    public TimeZoneInfo Zone { get => field ??= Clock.LocalTimeZone; init; }

    /// <summary>Whether Talk is a terminal, and how wide: null when it is none.</summary>
    public Func<int>? TerminalWidth { get; init; }

    public bool IsJson { get; set; }

    public bool IsQuiet { get; set; }

    public bool HidesProgress { get; set; }

    /// <summary>Progress as JSON lines on stderr.</summary>
    public bool IsJsonProgress { get; set; }

    internal ProgressWriter StartProgress()
    {
        ProgressStyle style = IsJsonProgress ? ProgressStyle.Json
            : HidesProgress || IsQuiet ? ProgressStyle.None
            : TerminalWidth is null ? ProgressStyle.Lines
            : ProgressStyle.Terminal;
        return new ProgressWriter(style, Talk, Clock, TerminalWidth ?? (() => 80));
    }

    /// <summary>A sentence for people, on stderr.</summary>
    internal void Say(string sentence)
    {
        if (!IsQuiet)
        {
            Talk.WriteLine(sentence);
        }
    }

    /// <summary>The result: JSON or, without --json, text.</summary>
    internal void Result(Action<Utf8JsonWriter> json, Action<TextWriter> text)
    {
        if (!IsJson)
        {
            text(Data);
            Data.Flush();
            return;
        }

        using (Utf8JsonWriter writer = new(DataBytes, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            json(writer);
            writer.WriteEndObject();
        }

        DataBytes.Write("\n"u8);
        DataBytes.Flush();
    }

    /// <summary>A result of any length, written as it comes: an array in the JSON object or, without --json, a line for each.</summary>
    internal async ValueTask StreamAsync<T>(string name, IAsyncEnumerable<T> items, Action<Utf8JsonWriter, T> json, Func<T, string> line, CancellationToken cancel)
    {
        if (!IsJson)
        {
            await foreach (T item in items.WithCancellation(cancel).ConfigureAwait(false))
            {
                await Data.WriteLineAsync(line(item).AsMemory(), cancel).ConfigureAwait(false);
            }

            await Data.FlushAsync(cancel).ConfigureAwait(false);
            return;
        }

        const int FlushBytes = 64 * 1024;
        Utf8JsonWriter writer = new(DataBytes, new JsonWriterOptions { Indented = true });
        await using (writer.ConfigureAwait(false))
        {
            writer.WriteStartObject();
            writer.WriteStartArray(name);
            await foreach (T item in items.WithCancellation(cancel).ConfigureAwait(false))
            {
                writer.WriteStartObject();
                json(writer, item);
                writer.WriteEndObject();
                if (writer.BytesPending > FlushBytes)
                {
                    await writer.FlushAsync(cancel).ConfigureAwait(false);
                }
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        DataBytes.WriteByte((byte)'\n');
        await DataBytes.FlushAsync(cancel).ConfigureAwait(false);
    }
}
