using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Output;

public sealed class EventLogTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-log-").FullName;

    private string Path => System.IO.Path.Join(_folder, "log");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("error", "ended with code 4")]
    [InlineData("warning", "noted something", "ended with code 4")]
    [InlineData("info", "began", "noted something", "ended with code 4")]
    [InlineData("debug", "began", "noted: volume photos", "ended with code 4")]
    public void A_level_decides_what_is_written(string level, params string[] expected)
    {
        EventLog log = EventLog.Begin(Config(level), "import", new ManualClock())!;
        log.Note("volume photos");
        log.End(ExitCode.NoStore);
        string[] lines = File.ReadAllLines(Path);
        Assert.Equal(expected.Length, lines.Length);
        Assert.All(expected.Zip(lines), static pair => Assert.Contains("import: " + pair.First, pair.Second, StringComparison.Ordinal));
    }

    [Fact]
    public void A_file_that_cannot_be_written_is_an_error_of_storage_toml()
    {
        Directory.CreateDirectory(Path);
        UserError refused = Assert.Throws<UserError>(() => EventLog.Begin(Config("info"), "import", new ManualClock()));
        Assert.Equal(ExitCode.Config, refused.Code);
        Assert.Contains("[log] file", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_file_there_is_no_log() =>
        Assert.Null(EventLog.Begin(StorageConfig.Parse("storage.toml", [], _folder, _folder), "import", new ManualClock()));

    private StorageConfig Config(string level) =>
        StorageConfig.Parse("storage.toml", System.Text.Encoding.UTF8.GetBytes($"[log]\nlevel = \"{level}\"\nfile = \"{Path}\"\n"), _folder, _folder);
}
