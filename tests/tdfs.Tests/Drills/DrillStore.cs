using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>How a run of the command ended: its exit code, what it wrote to stdout, and what it said to stderr.</summary>
internal sealed record Outcome(string Line, int Code, string Text, string Talk)
{
    internal const int Killed = 128 + 9;

    internal JsonElement Json => JsonDocument.Parse(Text).RootElement;

    internal IReadOnlyList<string> List(string name) => [.. Json.GetProperty(name).EnumerateArray().Select(static item => item.GetString()!)];

    internal Outcome Expect(params int[] codes) =>
        codes.Contains(Code) ? this : throw new InvalidOperationException($"{Line}: exit code {Code}, expected {string.Join(" or ", codes)}\n{Text}{Talk}");
}

/// <summary>A store in a folder of its own, which only the real tdfs touches, each verb a process.</summary>
/// <remarks>
/// The program is the published one where tools/test has made it, else the one that was built with these tests, started from its own output folder.
/// Nothing of the caller's home or environment is used.
/// Its keyring has no passphrase unless one is given: key derivation would be most of a small drill's time, and has tests of its own.
/// </remarks>
internal sealed class DrillStore : IDisposable
{
    /// <summary>The program that drills start.</summary>
    internal static string Program { get; } = FindProgram();

    private readonly string _settings;

    /// <param name="folderCount">Holders, each a place of its own; with one the store survives no place and has 16+1.</param>
    /// <param name="settings">Further lines of storage.toml, tables with their heads.</param>
    internal DrillStore(int folderCount, string settings = "", int? survive = null)
    {
        Folder = Directory.CreateTempSubdirectory("tdfs-drill-").FullName;
        _settings = settings;
        Survive = survive;
        for (int i = 0; i < folderCount; i++)
        {
            Holders.Add(Path.Join(Folder, $"holder{i}"));
        }

        WriteConfig();
    }

    internal string Folder { get; }

    internal string State => Path.Join(Folder, "state");

    internal List<string> Holders { get; } = [];

    internal int? Survive { get; }

    internal string Words { get; private set; } = "";

    internal static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Writes storage.toml anew, after holders have changed.</summary>
    internal void WriteConfig()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"[store]\npath = \"{State}\"");
        if (Survive is int survive)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"survive = {survive}");
        }

        for (int i = 0; i < Holders.Count; i++)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"[[holder]]\npath = \"{Holders[i]}\"\nplace = \"{Path.GetFileName(Holders[i])}\"");
        }

        text.AppendLine(_settings);
        File.WriteAllText(Path.Join(Folder, "storage.toml"), text.ToString());
    }

    /// <summary>Leaves an empty index folder. Stores of this size index in memory; where the folder is, they use the lasting index, and that is what crashes shall meet.</summary>
    internal void EmptyIndex()
    {
        string folder = Path.Join(State, "index");
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        _ = Directory.CreateDirectory(folder);
    }

    internal async Task<DrillStore> InitAsync(string passphrase = "")
    {
        Outcome made = (await RunWithAsync(passphrase + "\n", "init", "--passphrase-fd", "0", "--json")).Expect(0);
        EmptyIndex();
        Words = made.Json.GetProperty("words").GetString()!;
        return this;
    }

    /// <summary>A copy of the folder, to be damaged while the original is kept.</summary>
    internal async Task<DrillStore> CopyAsync()
    {
        var copy = new DrillStore(Holders.Count, _settings, Survive) { Words = Words };
        foreach (string folder in (string[])[State, .. Holders])
        {
            using Process copier = Process.Start("cp", ["-a", folder, copy.Folder]);
            await copier.WaitForExitAsync(Cancel);
            Assert.Equal(0, copier.ExitCode);
        }

        return copy;
    }

    internal Task<Outcome> RunAsync(params string[] arguments) => RunWithAsync("", arguments);

    internal async Task<Outcome> RunWithAsync(string input, params string[] arguments)
    {
        using Process process = Start(arguments);
        return await EndAsync(process, arguments, input);
    }

    internal async Task<JsonElement> JsonAsync(params string[] arguments) => (await RunAsync([.. arguments, "--json"])).Expect(0).Json;

    /// <summary>Starts a verb and ends it with SIGKILL at a moment: so long after it took the writer's lock, or after its start.</summary>
    /// <returns>How the verb ended; <see cref="Outcome.Killed"/> unless it was quicker than the signal.</returns>
    internal async Task<Outcome> KillAsync(TimeSpan after, bool afterLock, params string[] arguments)
    {
        Process process = Start(arguments);
        Task<Outcome> end = EndAsync(process, arguments, "");
        string mark = string.Create(CultureInfo.InvariantCulture, $"process {process.Id} on");

        // A thread of its own: on a busy machine a timer of the shared pool comes when the verb has long ended.
        var killer = new Thread(() =>
        {
            while (afterLock && !end.IsCompleted && !HoldsLock(mark))
            {
                Thread.Sleep(1); // a moment of a real process is what this drill is about
            }

            var clock = Stopwatch.StartNew();
            while (!end.IsCompleted && clock.Elapsed < after)
            {
                Thread.Sleep(1);
            }

            process.Kill();
        });
        killer.Start();
        Outcome outcome = await end;
        killer.Join();
        process.Dispose();
        return outcome;
    }

    /// <summary>Restores a snapshot into an empty folder and compares it with where it came from, contents and metadata.</summary>
    internal async Task AssertRestoresAsync(string snapshot, string source)
    {
        string target = Path.Join(Folder, "back");
        SampleTree.Delete(target);
        (await RunAsync("restore", snapshot, target, "--no-progress")).Expect(0);
        IReadOnlyList<string> differences = new TreeCompare { IgnoreOwners = !SampleTree.IsRoot, IgnoreSockets = true }.Run(source, target);
        Assert.True(differences.Count == 0, $"{snapshot} came back with {differences.Count} differences: {string.Join("; ", differences.Take(5))}");
        SampleTree.Delete(target);
    }

    /// <summary>Every byte is read, and nothing is found.</summary>
    internal async Task AssertCleanAsync() => (await RunAsync("check", "--read-all", "--no-progress")).Expect(0);

    /// <summary>Blocks that the state folder and the holders take on disk.</summary>
    internal long UsedBytes() => ((string[])[State, .. Holders]).Where(Directory.Exists).Sum(UsedBytes);

    private static long UsedBytes(string folder) =>
        Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Sum(static file => PathStat.Of(file).AllocatedBytes);

    public void Dispose() => SampleTree.Delete(Folder);

    /// <summary>The published program, unless something was built since.</summary>
    private static string FindProgram()
    {
        string bin = Path.Join(Repository.Root, "src", "tdfs", "bin");
        string built = Path.Join(bin, AppContext.BaseDirectory.Contains("/Debug/", StringComparison.Ordinal) ? "Debug" : "Release", "net10.0");
        string published = Path.Join(bin, "publish", "tdfs.r2r.dll");
        DateTime changed = Directory.GetFiles(built, "*.dll").Max(File.GetLastWriteTimeUtc);
        return File.Exists(published) && File.GetLastWriteTimeUtc(published) >= changed ? Path.ChangeExtension(published, null)[..^".r2r".Length] : Path.Join(built, "tdfs");
    }

    private bool HoldsLock(string mark)
    {
        try
        {
            return File.ReadAllText(Path.Join(State, "writer")).StartsWith(mark, StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    internal Process Start(string[] arguments)
    {
        var start = new ProcessStartInfo(Program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = Folder,
        };
        foreach (string name in start.Environment.Keys.Where(static name => name.StartsWith("TDFS_", StringComparison.Ordinal) || name.StartsWith("XDG_", StringComparison.Ordinal)).ToList())
        {
            start.Environment.Remove(name);
        }

        start.Environment["HOME"] = Folder;
        start.Environment["XDG_RUNTIME_DIR"] = Folder;
        start.Environment["TDFS_CONFIG"] = Path.Join(Folder, "storage.toml");
        return Process.Start(start) ?? throw new InvalidOperationException($"{Program} did not start");
    }

    private static async Task<Outcome> EndAsync(Process process, string[] arguments, string input)
    {
        Task<string> text = process.StandardOutput.ReadToEndAsync(Cancel);
        Task<string> talk = process.StandardError.ReadToEndAsync(Cancel);
        try
        {
            await process.StandardInput.WriteAsync(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // it did not read what it was given, or was killed
        }

        await process.WaitForExitAsync(Cancel);
        return new Outcome("tdfs " + string.Join(' ', arguments), process.ExitCode, await text, await talk);
    }
}
