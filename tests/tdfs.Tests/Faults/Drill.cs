using System.Diagnostics;
using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Faults;

/// <summary>How a program ended and what it said.</summary>
internal sealed record ProgramRun(int Code, string Output, string Talk)
{
    /// <summary>The last thing said: the line that explains a failure.</summary>
    internal string LastLine => Talk.TrimEnd('\n').Split('\n')[^1];

    /// <summary>A failure must be one clear line: which call on what path, and the system's reason; no mistake of ours, no stack.</summary>
    internal void AssertSays(ExitCode code, params string[] anyOf)
    {
        Assert.True(Code == (int)code, $"exit code {Code}, expected {(int)code} {code}: {Output} {Talk}");
        Assert.StartsWith("tdfs: ", LastLine, StringComparison.Ordinal);
        Assert.True(anyOf.Length == 0 || Array.Exists(anyOf, text => LastLine.Contains(text, StringComparison.Ordinal)), $"'{LastLine}' has none of: {string.Join(", ", anyOf)}");
        Assert.DoesNotContain("a mistake in tdfs", Talk, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", Talk, StringComparison.Ordinal);
    }

    internal ProgramRun AssertDone(string what)
    {
        Assert.True(Code == 0, $"{what}: exit code {Code}: {Output} {Talk}");
        return this;
    }
}

/// <summary>A folder for drills: two trees, stores of them, and the tdfs program, driven on them as a person would.</summary>
/// <remarks>
/// A snapshot's label says which tree it must restore to, byte for byte: "one" or "two", up to a '-' or the end.
/// What is acknowledged is verified by the same code in this process, which a fresh process would run too: opening a store for writing recovers it.
/// </remarks>
internal sealed class Drill : IDisposable
{
    private const int LimitMilliseconds = 300_000; // only a program that hangs takes so long, also on a machine with ten other tasks

    private readonly SeededRandom _random = new(77);
    private int _verified;

    internal Drill()
    {
        Folder = Directory.CreateTempSubdirectory("tdfs-drill-").FullName;
        MakeTrees();
    }

    internal static bool IsLong => Environment.GetEnvironmentVariable("TDFS_LONG") is not null;

    /// <summary>The command, as all drills start it.</summary>
    internal static string Program { get; } = Drills.DrillStore.Program;

    internal string Folder { get; }

    internal string TreeOf(string label) => Path.Join(Folder, label.Split('-')[0]);

    public void Dispose()
    {
        foreach (string folder in Directory.GetDirectories(Folder, "*", SearchOption.AllDirectories))
        {
            File.SetUnixFileMode(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        Directory.Delete(Folder, recursive: true);
    }

    /// <summary>Why a program that a test drives is not there, or null.</summary>
    internal static string? Missing(params string[] programs)
    {
        string[] folders = [.. (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':'), "/usr/sbin", "/sbin"];
        string[] missing = [.. programs.Where(program => !Array.Exists(folders, folder => File.Exists(Path.Join(folder, program))))];
        return missing.Length == 0 ? null : $"found no {string.Join(" and no ", missing)}; tools/setup --tests installs what tests drive";
    }

    /// <summary>Runs a program to its end. One that does not end is killed, and that is a failure.</summary>
    internal ProgramRun Run(string program, IEnumerable<string> words)
    {
        using Process process = Start(program, words);
        return End(process);
    }

    internal Process Start(string program, IEnumerable<string> words, string input = "\n")
    {
        ProcessStartInfo start = new(program, words)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = "/",
        };
        start.Environment["HOME"] = Folder;
        start.Environment["XDG_RUNTIME_DIR"] = Path.Join(Folder, "run");
        start.Environment["PATH"] += ":/usr/sbin:/sbin";
        start.Environment.Remove("TDFS_CONFIG");
        start.Environment.Remove("TDFS_DEBUG");
        Process process = Process.Start(start)!;
        try
        {
            process.StandardInput.Write(input);  // an empty passphrase, for whoever asks
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It ended, and nobody asked.
        }

        return process;
    }

    internal static ProgramRun End(Process process)
    {
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> talk = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(LimitMilliseconds))
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit();
            Assert.Fail($"{process.StartInfo.FileName} {string.Join(' ', process.StartInfo.ArgumentList)} did not end");
        }

        process.WaitForExit();
        return new ProgramRun(process.ExitCode, output.GetAwaiter().GetResult(), talk.GetAwaiter().GetResult());
    }

    /// <summary>The words of a verb on a store; its storage.toml is written beside it.</summary>
    internal static string[] Words(string store, params string[] words) => [.. words, "--config", store + ".toml", "--no-progress"];

    internal ProgramRun Tdfs(string store, params string[] words) => Run(Program, Words(store, words));

    internal ProgramRun Import(string store, string label) => Tdfs(store, ImportWords(label));

    internal string[] ImportWords(string label) => ["import", TreeOf(label), "--volume", "v", "--label", label];

    /// <summary>Makes a store with the program's own verbs.</summary>
    internal string MakeStore(string store, int holders = 1)
    {
        WriteConfig(store, holders);
        Tdfs(store, "init", "--passphrase-fd", "0").AssertDone("init");
        return store;
    }

    internal static void WriteConfig(string store, int holders = 1)
    {
        StringBuilder text = new($"[store]\npath = \"{store}\"\n[keys]\nunlock-for = \"0s\"\n[reclaim]\ntrash-for = \"0s\"\nlive-threshold = 99\n");
        for (int i = 0; holders > 1 && i < holders; i++)
        {
            text.Append($"[[holder]]\npath = \"{store}/holder{i}\"\nplace = \"place{i}\"\n");
        }

        File.WriteAllText(store + ".toml", text.ToString());
    }

    /// <summary>A copy of a whole store, for one more fault.</summary>
    internal static string Copy(string store, string copy, int holders = 1)
    {
        foreach (string folder in Directory.GetDirectories(store, "*", SearchOption.AllDirectories).Prepend(store))
        {
            Directory.CreateDirectory(copy + folder[store.Length..]);
        }

        foreach (string file in Directory.GetFiles(store, "*", SearchOption.AllDirectories))
        {
            File.Copy(file, copy + file[store.Length..]);
        }

        WriteConfig(copy, holders);
        return copy;
    }

    /// <summary>What the next start finds: every snapshot restores to its tree, all that were acknowledged among them, and the check is clean.
    /// Then it goes on: repairs, imports, and that is there too.</summary>
    internal async Task VerifyAsync(string store, IEnumerable<string> acknowledged, bool repairs = false)
    {
        List<string> required = [.. acknowledged];
        for (int start = 0; start < 2; start++)
        {
            await using IStoreSession session = await OpenAsync(store);
            if (repairs)
            {
                Assert.Empty((await session.Care.RepairAsync(Quiet.Instance, CancellationToken.None)).Unrepairable);
            }

            CheckResult check = await session.Care.CheckAsync(readAll: true, Quiet.Instance, CancellationToken.None);
            Assert.True(check.IsClean, string.Join('\n', [.. check.Damaged, .. check.UnreadablePaths]));
            List<SnapshotInfo> snapshots = [.. (await session.Volumes.SnapshotsAsync(null, CancellationToken.None)).Where(static snapshot => !snapshot.IsUnfinished)];
            Assert.Empty(required.Except(snapshots.Select(static snapshot => snapshot.Label!)));
            foreach (SnapshotInfo snapshot in snapshots)
            {
                string back = Path.Join(Folder, $"back{_verified++}");
                RestoreResult restored = await session.Volumes.RestoreAsync(
                    new RestoreRequest { Snapshot = $"{snapshot.Volume}@{snapshot.Number}", Path = [], Target = back, Overwrite = Overwrite.Never, Verify = true }, Quiet.Instance, CancellationToken.None);
                Assert.Empty(restored.DamagedPaths);
                Assert.Empty(TreeCompare.Differences(TreeOf(snapshot.Label!), back));
                Directory.Delete(back, recursive: true);
            }

            if (start == 0)
            {
                await ImportAsync(session, "two-again");
                required.Add("two-again");
            }
        }
    }

    internal static async Task<IStoreSession> OpenAsync(string store) =>
        await new StoreHost(PosixDisk.Instance, SystemRandom, TimeProvider.System, static _ => null, static _ => { })
            .OpenAsync(new OpenRequest { Config = ConfigOf(store), Access = StoreAccess.Write, Passphrases = new PassphraseSource(null, static _ => null) }, CancellationToken.None);

    internal async Task ImportAsync(IStoreSession session, string label)
    {
        ImportResult result = await session.Volumes.ImportAsync(
            new ImportRequest { Folder = TreeOf(label), Volume = "v", Label = label, Rules = StorageConfig.Parse("x", "[store]\npath = \"/x\"\n"u8, "/", "/").Import },
            Quiet.Instance, CancellationToken.None);
        Assert.Empty(result.Problems);
    }

    private static TokTok.Storage.Core.IRandomSource SystemRandom => TokTok.Storage.Core.SystemRandom.Instance;

    private static StorageConfig ConfigOf(string store)
    {
        string file = store + ".toml";
        StorageConfig config = StorageConfig.Parse(file, File.ReadAllBytes(file), "/", "/");
        // Seen through another process's mounts, the store has another path than its own storage.toml says.
        return config with { StorePath = store, Holders = [.. config.Holders.Select(holder => holder with { Path = store + holder.Path[config.StorePath.Length..] })] };
    }

    /// <summary>Tree one: text and noise, 3 MB, some in a folder. Tree two: one with a folder renamed, files changed, added and gone.</summary>
    private void MakeTrees()
    {
        string one = Path.Join(Folder, "one");
        Directory.CreateDirectory(Path.Join(one, "letters"));
        Directory.CreateDirectory(Path.Join(one, "pictures-of-summer"));
        for (int i = 0; i < 20; i++)
        {
            File.WriteAllText(Path.Join(one, "letters", $"letter-number-{i}.txt"), string.Concat(Enumerable.Range(0, 300 * (i % 4)).Select(line => $"line {line * i} of letter {i}\n")));
        }

        for (int i = 0; i < 12; i++)
        {
            File.WriteAllBytes(Path.Join(one, "pictures-of-summer", $"picture-{i}.raw"), _random.Bytes(30_000 * (i + 2)));
        }

        string two = Path.Join(Folder, "two");
        Directory.CreateDirectory(two);
        Run("cp", ["-a", one + "/.", two]).AssertDone("cp");
        Directory.Move(Path.Join(two, "letters"), Path.Join(two, "old-letters"));
        File.Delete(Path.Join(two, "pictures-of-summer", "picture-11.raw"));
        File.Delete(Path.Join(two, "pictures-of-summer", "picture-9.raw"));
        for (int i = 0; i < 4; i++)
        {
            File.WriteAllBytes(Path.Join(two, "pictures-of-summer", $"picture-{i}.raw"), _random.Bytes(50_000));
            File.WriteAllBytes(Path.Join(two, $"recording-{i}.wav"), _random.Bytes(700_000));
        }
    }

    private sealed class Quiet : IProgressSink
    {
        internal static Quiet Instance { get; } = new();

        public void Report(ProgressState state)
        {
        }

        public void Warn(string message)
        {
        }
    }
}
