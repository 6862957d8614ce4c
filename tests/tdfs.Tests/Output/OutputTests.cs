using System.Text;
using System.Text.Json;
using TokTok.Storage.Core;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Tests.Output;

public sealed class TerminalTextTests
{
    [Theory]
    [InlineData("plain/ünïcode 😀", "plain/ünïcode 😀")]
    [InlineData("a\nb\tc\rd", @"a\nb\tc\rd")]
    [InlineData("\u001b[31mred", @"\x1b[31mred")]
    [InlineData("back\\slash", @"back\\slash")]
    [InlineData("\u202Egnp.exe", @"\xe2\x80\xaegnp.exe")]
    [InlineData("\u0085\u2028", @"\xc2\x85\xe2\x80\xa8")]
    public void Names_are_shown_so_that_no_terminal_obeys_them(string name, string expected)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        Assert.Equal(expected, TerminalText.Escape(bytes));
        Assert.True(TerminalText.TryParse(expected, out byte[] back));
        Assert.Equal(bytes, back);
    }

    [Fact]
    public void Any_bytes_come_back_exactly_from_their_shown_form()
    {
        Random random = new(11);
        for (int round = 0; round < 500; round++)
        {
            byte[] name = new byte[random.Next(40)];
            random.NextBytes(name);
            string shown = TerminalText.Escape(name);
            Assert.DoesNotContain(shown, char.IsControl);
            Assert.True(TerminalText.TryParse(shown, out byte[] back), $"seed 11, round {round}");
            Assert.Equal(name, back);
        }
    }

    [Theory]
    [InlineData(@"\")]
    [InlineData(@"\q")]
    [InlineData(@"\x1")]
    [InlineData(@"\xzz")]
    [InlineData(@"\x 1")]
    public void A_backslash_that_begins_no_escape_is_refused(string text) => Assert.False(TerminalText.TryParse(text, out _));

    [Fact]
    public void Json_carries_what_is_not_UTF8_exactly_beside_the_text()
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            json.WriteStartObject();
            TerminalText.WriteName(json, "path", [0x61, 0xFF]);
            TerminalText.WriteName(json, "target", "b"u8);
            json.WriteEndObject();
        }

        JsonElement read = JsonDocument.Parse(stream.ToArray()).RootElement;
        Assert.Equal("a\uFFFD", read.GetProperty("path").GetString());
        Assert.Equal([0x61, 0xFF], read.GetProperty("pathBytes").GetBytesFromBase64());
        Assert.Equal("b", read.GetProperty("target").GetString());
        Assert.False(read.TryGetProperty("targetBytes", out _));
    }
}

public sealed class ShowTests
{
    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1000, "0.98 KiB")]
    [InlineData(1024, "1.00 KiB")]
    [InlineData(1536, "1.50 KiB")]
    [InlineData(131072, "128 KiB")]
    [InlineData(1048575, "1.00 MiB")]
    [InlineData(-1048576, "-1.00 MiB")]
    [InlineData(long.MaxValue, "8.00 EiB")]
    [InlineData(long.MinValue, "-8.00 EiB")]
    public void Sizes_have_three_digits(long bytes, string expected) => Assert.Equal(expected, Show.Size(bytes));

    [Theory]
    [InlineData(0.4, "0.4s")]
    [InlineData(9.94, "9.9s")]
    [InlineData(9.99, "9s")]
    [InlineData(59.9, "59s")]
    [InlineData(187, "3m07s")]
    [InlineData(7500, "2h05m")]
    [InlineData(356400, "4d03h")]
    public void Durations_have_two_parts(double seconds, string expected) => Assert.Equal(expected, Show.Duration(TimeSpan.FromSeconds(seconds)));

    [Theory]
    [InlineData(0, "1970-01-01 00:00:00", "1970-01-01T00:00:00.000000000Z")]
    [InlineData(1795235405123456789, "2026-11-21 04:30:05", "2026-11-21T04:30:05.123456789Z")]
    [InlineData(-1, "1969-12-31 23:59:59", "1969-12-31T23:59:59.999999999Z")]
    public void Times_are_exact_before_1970_too(long ns, string shown, string iso)
    {
        Assert.Equal(shown, Show.Time(ns, TimeZoneInfo.Utc));
        Assert.Equal(iso, Show.IsoTime(ns));
    }

    [Theory]
    [InlineData(0x41ED, "drwxr-xr-x")]
    [InlineData(0x81A4, "-rw-r--r--")]
    [InlineData(0x89ED, "-rwsr-xr-x")]
    [InlineData(0x43FF, "drwxrwxrwt")]
    [InlineData(0x8400, "------S---")]
    [InlineData(0xA1FF, "lrwxrwxrwx")]
    public void Modes_look_as_ls_writes_them(uint mode, string expected) => Assert.Equal(expected, Show.Mode(mode));

    [Fact]
    public void A_table_aligns_by_what_a_terminal_shows()
    {
        Table table = new("NAME", ">SIZE");
        table.Add("名前", "1 B");
        table.Add("e\u0301t", "100 KiB");
        StringWriter text = new() { NewLine = "\n" };
        table.Write(text);
        Assert.Equal("NAME     SIZE\n名前      1 B\ne\u0301t    100 KiB\n", text.ToString());
    }
}

public sealed class ProgressWriterTests : IDisposable
{
    private readonly Agent.TwoClocks _clock = new();
    private readonly StringWriter _talk = new() { NewLine = "\n" };

    public void Dispose() => _talk.Dispose();

    private static ProgressState At(long bytes, long files = 1) =>
        new() { Phase = "importing", Bytes = bytes, TotalBytes = 100 << 20, FileCount = files, SavedBytes = 5 << 20, Current = "deep/folder/name.txt" };

    [Fact]
    public void A_terminal_gets_one_line_rewritten_at_most_ten_times_a_second_and_taken_away()
    {
        using (ProgressWriter progress = new(ProgressStyle.Terminal, _talk, _clock, () => 100))
        {
            for (int i = 1; i <= 100; i++)
            {
                _clock.Advance(TimeSpan.FromMilliseconds(10));
                progress.Report(At((long)i << 20));
            }
        }

        string[] updates = _talk.ToString().Split('\r');
        Assert.Equal(12, updates.Length);
        Assert.Equal("importing: 50%, 50.0 MiB of 100 MiB, 1 file, 100 MiB/s, 1.0s left, 5.00 MiB known already  …name.txt"[..40], updates[5][..40]);
        Assert.All(updates[1..], u => Assert.EndsWith("\u001b[K", u));
        Assert.Equal("\u001b[K", updates[^1]);
        Assert.DoesNotContain('\n', _talk.ToString());
    }

    [Theory]
    [InlineData(20)]
    [InlineData(40)]
    [InlineData(60)]
    [InlineData(120)]
    public void The_line_fits_the_terminal_at_any_width(int width)
    {
        string line = ProgressWriter.Line(At(50 << 20) with { Current = "a/日本語/" + new string('x', 80) }, 1e6, TimeSpan.FromSeconds(50), width);
        Assert.InRange(Table.Width(line), 10, width);
    }

    [Fact]
    public void A_log_gets_a_plain_line_every_ten_seconds()
    {
        using (ProgressWriter progress = new(ProgressStyle.Lines, _talk, _clock, () => 80))
        {
            for (int second = 1; second <= 25; second++)
            {
                _clock.Advance(TimeSpan.FromSeconds(1));
                progress.Report(At((long)second << 20, files: second));
            }
        }

        string[] lines = _talk.ToString().TrimEnd('\n').Split('\n');
        Assert.Equal(2, lines.Length);
        Assert.StartsWith("importing: 10%, 10.0 MiB of 100 MiB, 10 files, 1.00 MiB/s, 1m30s left, 5.00 MiB known already", lines[0], StringComparison.Ordinal);
    }

    [Fact]
    public void Programs_get_a_json_object_a_line_and_the_last_state()
    {
        using (ProgressWriter progress = new(ProgressStyle.Json, _talk, _clock, () => 80))
        {
            _clock.Advance(TimeSpan.FromSeconds(1));
            progress.Report(At(10 << 20));
            progress.Warn("torn: a\nb");
            progress.Report(At(11 << 20));
        }

        JsonElement[] lines = [.. _talk.ToString().TrimEnd('\n').Split('\n').Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal(3, lines.Length);
        Assert.Equal(10 << 20, lines[0].GetProperty("bytes").GetInt64());
        Assert.Equal("torn: a\nb", lines[1].GetProperty("warning").GetString());
        Assert.Equal(11 << 20, lines[2].GetProperty("bytes").GetInt64());
    }

    [Fact]
    public void A_warning_stands_on_its_own_line_without_control_characters()
    {
        using ProgressWriter progress = new(ProgressStyle.None, _talk, _clock, () => 80);
        progress.Report(At(1));
        progress.Warn("cannot read \u001b[2Jx\ny");
        Assert.Equal("tdfs: cannot read ?[2Jx y\n", _talk.ToString());
    }
}

public sealed class ErrorHandlerTests
{
    public static TheoryData<Exception, int, string> Errors => new()
    {
        { new UserError(ExitCode.NoStore, "no store"), 4, "no store" },
        { new OperationCanceledException(), 130, "interrupted" },
        { new DiskException(DiskFailure.Full, "write", "/a", "No space left on device"), 8, "write /a: No space left on device; nothing acknowledged is lost" },
        { new DiskException(DiskFailure.ReadOnly, "open", "/a", "Read-only file system"), 9, "reading verbs work" },
        { new DiskException(DiskFailure.Denied, "open", "/a", "Permission denied"), 9, "run as the store's owner" },
        { new DiskException(DiskFailure.Failed, "fsync", "/a", "Input/output error"), 9, "fsync /a: Input/output error" },
        { new DamagedBlockException("block x"), 7, "block x; `tdfs check` says" },
        { new DamagedFormatException("catalog"), 7, "catalog; `tdfs check` says" },
        { new AggregateException(new OperationCanceledException(), new DiskException(DiskFailure.Full, "write", "/a", "full")), 8, "write /a" },
        { new InvalidOperationException("oops\nsecond"), 70, "a mistake in tdfs: InvalidOperationException: oops second" },
    };

    [Theory]
    [MemberData(nameof(Errors))]
    public void Every_error_is_one_line_and_a_code(Exception error, int expectedCode, string expected)
    {
        StringWriter talk = new() { NewLine = "\n" };
        Assert.Equal(expectedCode, ErrorHandler.Report(error, talk, isDebug: false));
        string text = talk.ToString();
        Assert.StartsWith("tdfs: ", text, StringComparison.Ordinal);
        Assert.Equal(text.Length - 1, text.IndexOf('\n', StringComparison.Ordinal));
        Assert.Contains(expected, text);
    }

    [Fact]
    public void A_stack_trace_is_shown_only_on_demand()
    {
        StringWriter talk = new();
        ErrorHandler.Report(new InvalidOperationException("oops"), talk, isDebug: true);
        Assert.Contains("System.InvalidOperationException: oops", talk.ToString());
    }
}
