using System.Globalization;
using System.Text;
using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Output;

/// <summary>The file that [log] in storage.toml asks for: one line an event, appended.</summary>
/// <remarks>
/// A line is "time level process verb: event". Up to "info" it holds no name, path or key: the verb, its exit code, its time, and that something was noted.
/// "debug" adds what was noted, which may name volumes and folders. Lines of processes that run beside each other do not mix: each is one write.
/// </remarks>
internal sealed class EventLog(string path, LogLevel level, string verb, TimeProvider clock)
{
    private readonly long _began = clock.GetTimestamp();

    /// <summary>Null when no file is wanted; else the file can be written, and says that the verb began.</summary>
    internal static EventLog? Begin(StorageConfig config, string verb, TimeProvider clock)
    {
        if (config.LogFile is not { } path)
        {
            return null;
        }

        EventLog log = new(path, config.LogLevel, verb, clock);
        try
        {
            log.Append(LogLevel.Info, "began");
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no way to append to [log] file {path} ({refused.Message}), expected a file that can be written, or \"\"", refused);
        }

        return log;
    }

    /// <summary>Something was said on the way that is neither a result nor the end.</summary>
    internal void Note(string line) => TryAppend(LogLevel.Warning, level >= LogLevel.Debug ? "noted: " + TerminalText.Clean(line) : "noted something");

    internal void End(ExitCode code)
    {
        string time = clock.GetElapsedTime(_began).TotalSeconds.ToString("F1", CultureInfo.InvariantCulture);
        TryAppend(code == ExitCode.Ok ? LogLevel.Info : code == ExitCode.Reported ? LogLevel.Warning : LogLevel.Error, $"ended with code {(int)code} after {time} s");
    }

    /// <summary>A log that can no longer be written ends no verb.</summary>
    private void TryAppend(LogLevel what, string text)
    {
        try
        {
            Append(what, text);
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
        }
    }

    private void Append(LogLevel what, string text)
    {
        if (what > level)
        {
            return;
        }

        string line = string.Create(
            CultureInfo.InvariantCulture, $"{clock.GetUtcNow():yyyy-MM-ddTHH:mm:ssZ} {what.ToString().ToLowerInvariant()} {Environment.ProcessId} {verb}: {text}\n");
        using FileStream file = new(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        file.Write(Encoding.UTF8.GetBytes(line));
    }
}
