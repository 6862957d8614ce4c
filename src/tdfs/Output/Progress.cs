using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>How far a long verb is. Totals of null are not known (yet).</summary>
internal sealed record ProgressState
{
    /// <summary>What goes on: "importing", "checking" …</summary>
    public required string Phase { get; init; }

    public long FileCount { get; init; }

    public long? TotalFileCount { get; init; }

    public long Bytes { get; init; }

    public long? TotalBytes { get; init; }

    /// <summary>Bytes that did not have to be stored, since equal blocks were there.</summary>
    public long SavedBytes { get; init; }

    /// <summary>Bytes that were stored, after compression.</summary>
    public long StoredBytes { get; init; }

    /// <summary>What is worked on, already fit for a terminal; null for nothing in particular.</summary>
    public string? Current { get; init; }
}

/// <summary>Where long work says how far it is. Report is cheap, may be called from any thread and as often as is convenient.</summary>
internal interface IProgressSink
{
    void Report(ProgressState state);

    /// <summary>Something that people should know and that does not stop the work: an unreadable file, a torn one.</summary>
    void Warn(string message);
}

/// <summary>How progress is shown.</summary>
internal enum ProgressStyle
{
    None,

    /// <summary>One line on a terminal, rewritten.</summary>
    Terminal,

    /// <summary>A plain line every ten seconds, for logs.</summary>
    Lines,

    /// <summary>A JSON object a line, for programs.</summary>
    Json,
}

/// <summary>Writes progress to stderr, no more often than a reader can use.</summary>
/// <remarks>
/// Rates and remaining time come from the injected clock: the rate is that of a window of about <see cref="s_window"/>, so a pause shows soon.
/// Locks: _gate guards everything; it is held while writing, so lines of two threads never mix; nothing else is locked inside.
/// </remarks>
internal sealed class ProgressWriter : IProgressSink, IDisposable
{
    private static readonly TimeSpan s_terminalEvery = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_jsonEvery = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_linesEvery = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_window = TimeSpan.FromSeconds(8);

    private readonly Lock _gate = new();
    private readonly ProgressStyle _style;
    private readonly TextWriter _target;
    private readonly TimeProvider _clock;
    private readonly Func<int> _width;
    private readonly long _started;
    private readonly Queue<(long At, long Bytes)> _samples = new();
    private ProgressState? _last;
    private long _shownAt;
    private bool _isShown;
    private bool _isDirty;

    /// <param name="width">The terminal's columns, asked at every update since windows change.</param>
    internal ProgressWriter(ProgressStyle style, TextWriter target, TimeProvider clock, Func<int> width)
    {
        _style = style;
        _target = target;
        _clock = clock;
        _width = width;
        _started = clock.GetTimestamp();
        _shownAt = _started;
    }

    public void Report(ProgressState state)
    {
        if (_style == ProgressStyle.None)
        {
            return;
        }

        lock (_gate)
        {
            bool isNewPhase = _last is not null && _last.Phase != state.Phase;
            if (isNewPhase)
            {
                _samples.Clear();
            }

            _last = state;
            _isDirty = true;
            TimeSpan every = _style switch
            {
                ProgressStyle.Terminal => s_terminalEvery,
                ProgressStyle.Json => s_jsonEvery,
                _ => s_linesEvery,
            };
            long now = _clock.GetTimestamp();
            if (_clock.GetElapsedTime(_shownAt, now) >= every)
            {
                ShowLocked(now);
            }
        }
    }

    public void Warn(string message)
    {
        lock (_gate)
        {
            if (_style == ProgressStyle.Json)
            {
                WriteJsonLocked(json => json.WriteString("warning", message));
                return;
            }

            ClearLocked();
            _target.WriteLine("tdfs: " + TerminalText.Clean(message));
        }
    }

    /// <summary>Takes the line off a terminal; elsewhere shows the last state if it was not.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_style == ProgressStyle.Json && _isDirty)
            {
                ShowLocked(_clock.GetTimestamp());
            }

            ClearLocked();
        }
    }

    private void ShowLocked(long now)
    {
        ProgressState state = _last!;
        _samples.Enqueue((now, state.Bytes));
        while (_samples.Count > 2 && _clock.GetElapsedTime(_samples.Peek().At, now) > s_window)
        {
            _samples.Dequeue();
        }

        _shownAt = now;
        _isDirty = false;
        (double rate, TimeSpan? left) = RateLocked(state, now);
        switch (_style)
        {
            case ProgressStyle.Json:
                WriteJsonLocked(json => WriteState(json, state, rate, left));
                break;
            case ProgressStyle.Lines:
                _target.WriteLine(Line(state, rate, left, int.MaxValue));
                break;
            default:
                // Carriage return, the line, erase to its end: no flicker, nothing left over from a longer one.
                _target.Write("\r" + Line(state, rate, left, Math.Max(20, _width()) - 1) + "\u001b[K");
                _target.Flush();
                _isShown = true;
                break;
        }
    }

    private (double BytesPerSecond, TimeSpan? Left) RateLocked(ProgressState state, long now)
    {
        (long At, long Bytes) oldest = _samples.Count > 1 ? _samples.Peek() : (_started, 0);
        double seconds = _clock.GetElapsedTime(oldest.At, now).TotalSeconds;
        double rate = seconds > 0 ? Math.Max(0, state.Bytes - oldest.Bytes) / seconds : 0;
        const double MaxSeconds = 100 * 86400.0;
        TimeSpan? left = state.TotalBytes is long total && rate > 0 && total >= state.Bytes && (total - state.Bytes) / rate < MaxSeconds
            ? TimeSpan.FromSeconds((total - state.Bytes) / rate)
            : null;
        return (rate, left);
    }

    /// <summary>The parts in order of use, as many as fit.</summary>
    internal static string Line(ProgressState state, double rate, TimeSpan? left, int width)
    {
        List<string> parts = [];
        if (state.TotalBytes is > 0 and long total)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"{Math.Min(100, 100.0 * state.Bytes / total):F0}%"));
        }

        parts.Add(Show.Size(state.Bytes) + (state.TotalBytes is long t ? " of " + Show.Size(t) : ""));
        if (state.FileCount > 0 || state.TotalFileCount > 0)
        {
            parts.Add(state.TotalFileCount is long files ? $"{Show.Count(state.FileCount)} of {Show.Count(files, "file")}" : Show.Count(state.FileCount, "file"));
        }

        parts.Add(Show.Rate(rate));
        if (left is TimeSpan remaining)
        {
            parts.Add(Show.Duration(TimeSpan.FromSeconds(Math.Ceiling(remaining.TotalSeconds))) + " left");
        }

        if (state.SavedBytes > 0)
        {
            parts.Add(Show.Size(state.SavedBytes) + " known already");
        }

        StringBuilder line = new(state.Phase + ": " + parts[0]);
        foreach (string part in parts.Skip(1))
        {
            if (Table.Width(line.ToString()) + 2 + part.Length > width)
            {
                break;
            }

            line.Append(", ").Append(part);
        }

        if (state.Current is string current)
        {
            // The end of a path tells more than its beginning.
            int room = (int)Math.Min((long)width - Table.Width(line.ToString()) - 2, 200);
            string shown = Table.Width(current) <= room ? current : room >= 16 ? "…" + Tail(current, room - 1) : "";
            line.Append(shown.Length == 0 ? "" : "  " + shown);
        }

        string text = line.ToString();
        return Table.Width(text) <= width ? text : Head(text, width);
    }

    private static string Head(string text, int width)
    {
        int end = text.Length;
        while (end > 0 && (Table.Width(text[..end]) > width || char.IsHighSurrogate(text[end - 1])))
        {
            end--;
        }

        return text[..end];
    }

    private static string Tail(string text, int width)
    {
        int start = 0;
        while (start < text.Length && (Table.Width(text[start..]) > width || char.IsLowSurrogate(text[start])))
        {
            start++;
        }

        return text[start..];
    }

    private static void WriteState(Utf8JsonWriter json, ProgressState state, double rate, TimeSpan? left)
    {
        json.WriteString("phase", state.Phase);
        json.WriteNumber("files", state.FileCount);
        json.WriteNumber("bytes", state.Bytes);
        if (state.TotalFileCount is long files)
        {
            json.WriteNumber("totalFiles", files);
        }

        if (state.TotalBytes is long bytes)
        {
            json.WriteNumber("totalBytes", bytes);
        }

        json.WriteNumber("savedBytes", state.SavedBytes);
        json.WriteNumber("storedBytes", state.StoredBytes);
        json.WriteNumber("bytesPerSecond", Math.Round(rate));
        if (left is TimeSpan remaining)
        {
            json.WriteNumber("secondsLeft", Math.Ceiling(remaining.TotalSeconds));
        }
    }

    private void WriteJsonLocked(Action<Utf8JsonWriter> write)
    {
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter json = new(buffer))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        _target.WriteLine(Encoding.UTF8.GetString(buffer.WrittenSpan));
        _target.Flush();
    }

    private void ClearLocked()
    {
        if (_isShown)
        {
            _target.Write("\r\u001b[K");
            _target.Flush();
            _isShown = false;
        }
    }
}
