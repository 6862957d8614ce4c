using System.Globalization;

namespace TokTok.Storage.Tdfs.Tests.Faults;

/// <summary>System calls of the real program fail, one at a time or from one on: nothing is acknowledged that the disk did not get, and the next start is well.</summary>
/// <remarks>
/// strace injects the error and counts calls in each thread by itself, so a number names a point only roughly; the long run takes every number up to the last that hits.
/// openat and what else the runtime itself needs is failed on the store's own paths alone.
/// </remarks>
public sealed class FailingDiskTests(FailingDiskTests.Stores stores) : IClassFixture<FailingDiskTests.Stores>
{
    private static readonly string[] s_reasons = ["input/output error", "Input/output error", "no space left on device", "No space left on device"];

    [Theory]
    [InlineData("fdatasync", "EIO", "1")]
    [InlineData("fdatasync", "EIO", "2")]
    [InlineData("fdatasync", "ENOSPC", "3")]
    [InlineData("fsync", "EIO", "2")]
    [InlineData("fsync", "EIO", "4")]
    [InlineData("pwrite64", "EIO", "2")]
    [InlineData("pwrite64", "ENOSPC", "9")]
    [InlineData("pwrite64", "EIO", "3+")]
    [InlineData("rename", "EIO", "1")]
    [InlineData("rename", "ENOSPC", "2")]
    [InlineData("mkdir", "ENOSPC", "1")]
    [InlineData("unlink", "EIO", "1")]
    public async Task An_import_acknowledges_only_what_the_disk_got(string calls, string error, string when) =>
        Assert.True(await RunAsync("import", calls, error, when, onlyTheStore: false), "no call failed: the point lies beyond the program's end");

    [Theory]
    [InlineData("EIO", "1")]
    [InlineData("ENOSPC", "6")]
    [InlineData("EIO", "14")]
    public async Task An_import_that_cannot_open_a_file_of_the_store_says_so(string error, string when) =>
        Assert.True(await RunAsync("import", "openat", error, when, onlyTheStore: true), "no call failed: the point lies beyond the program's end");

    [Theory]
    [InlineData("fdatasync", "EIO", "1")]
    [InlineData("fsync", "EIO", "2")]
    [InlineData("pwrite64", "ENOSPC", "4")]
    [InlineData("rename", "EIO", "1")]
    public async Task A_reclaim_loses_nothing_when_the_disk_fails(string calls, string error, string when) =>
        Assert.True(await RunAsync("reclaim", calls, error, when, onlyTheStore: false), "no call failed: the point lies beyond the program's end");

    [Theory]
    [InlineData("fdatasync", "EIO", "1")]
    [InlineData("pwrite64", "ENOSPC", "2")]
    [InlineData("rename", "EIO", "1")]
    public async Task A_repair_loses_nothing_when_the_disk_fails(string calls, string error, string when) =>
        Assert.True(await RunAsync("repair", calls, error, when, onlyTheStore: false), "no call failed: the point lies beyond the program's end");

    [Theory]
    [InlineData("pwrite64", "EIO")]
    [InlineData("openat", "ENOSPC")]
    public async Task An_index_that_cannot_be_written_costs_time_and_nothing_else(string calls, string error)
    {
        string store = stores.CopyOf("import");
        string[] written = [.. Enumerable.Range(2, 3).Select(number => $"{store}/index/run-{number}"), store + "/index/cover.new"];
        (ProgramRun run, int hits) = stores.Inject(store, "import", calls, error, "1+", written);
        Assert.NotEqual(0, hits);
        run.AssertDone("import");
        Assert.Contains("the index", run.Talk, StringComparison.Ordinal);
        await stores.Drill.VerifyAsync(store, ["one", "two"]);
    }

    [Theory]
    [InlineData("import")]
    [InlineData("reclaim")]
    [InlineData("repair")]
    public async Task Every_point_of_a_verb(string verb)
    {
        Assert.SkipUnless(Drill.IsLong, "hundreds of points: tools/test --long");
        foreach (string calls in (string[])["fdatasync", "fsync", "pwrite64", "rename", "unlink", "mkdir", "ftruncate", "openat"])
        {
            foreach (string error in (string[])["EIO", "ENOSPC"])
            {
                foreach (string persists in (string[])["", "+"])
                {
                    int step = calls is "openat" or "pwrite64" ? 3 : 1;
                    for (int at = 1; await RunAsync(verb, calls, error, at.ToString(CultureInfo.InvariantCulture) + persists, onlyTheStore: calls == "openat"); at += step)
                    {
                        Assert.InRange(at, 0, 500);
                    }
                }
            }
        }
    }

    /// <summary>One faulty run and what the next start makes of it. False when nothing was hit.</summary>
    private async Task<bool> RunAsync(string verb, string calls, string error, string when, bool onlyTheStore)
    {
        string store = stores.CopyOf(verb);
        string[] paths = onlyTheStore ? Directory.GetFileSystemEntries(store, "*", SearchOption.AllDirectories) : [];
        (ProgramRun run, int hits) = stores.Inject(store, verb, calls, error, when, paths);
        try
        {
            if (verb == "repair" && run.Code == (int)ExitCode.Damaged)
            {
                run.AssertSays(ExitCode.Damaged, s_reasons); // it did its work, and names the fragment that could not be read when it looked again
            }
            else if (run.Code != 0)
            {
                run.AssertSays(run.Code == (int)ExitCode.DiskFull ? ExitCode.DiskFull : ExitCode.DiskFailed, s_reasons);
                Assert.True(error == "ENOSPC" || run.Code == (int)ExitCode.DiskFailed, $"exit code {run.Code} for {error}");
            }

            List<string> acknowledged = verb == "import" ? ["one"] : ["two"];
            if (verb == "import" && (run.Code == 0 || run.Output.Contains("v@2", StringComparison.Ordinal)))
            {
                acknowledged.Add("two");
            }

            await stores.Drill.VerifyAsync(store, acknowledged, repairs: verb == "repair");
        }
        catch (Exception failure)
        {
            throw new InvalidOperationException($"{verb}, {calls} gives {error} at {when}: {failure.Message}\n{run.Talk}", failure);
        }

        Directory.Delete(store, recursive: true);
        return hits > 0;
    }

    /// <summary>One store for each verb to fail on, made once and copied for every point.</summary>
    public sealed class Stores : IDisposable
    {
        private readonly Dictionary<string, string> _stores = [];
        private readonly Lock _gate = new();
        private int _copies;

        internal Drill Drill { get; } = new();

        public void Dispose() => Drill.Dispose();

        internal string CopyOf(string verb)
        {
            Assert.SkipWhen(WhyNot() is not null, WhyNot() ?? "");
            lock (_gate)
            {
                if (!_stores.TryGetValue(verb, out string? store))
                {
                    _stores[verb] = store = Make(verb);
                }

                return Drill.Copy(store, Path.Join(Drill.Folder, $"copy{_copies++}"), HoldersOf(verb));
            }
        }

        internal (ProgramRun Run, int Hits) Inject(string store, string verb, string calls, string error, string when, string[] paths)
        {
            string log = store + ".strace";
            string[] words = verb == "import" ? Drill.ImportWords("two") : [verb];
            ProgramRun run = Drill.Run(
                "strace",
                ["-f", "--seccomp-bpf", "-qq", "-o", log, .. paths.SelectMany(static path => (string[])["-P", path]), "-e", $"trace={calls}", "-e", $"inject={calls}:error={error}:when={when}", Drill.Program, .. Drill.Words(store, words)]);
            return (run, File.ReadLines(log).Count(static line => line.Contains("(INJECTED)", StringComparison.Ordinal)));
        }

        private static int HoldersOf(string verb) => verb == "repair" ? 2 : 1;

        private string? WhyNot() => Drill.Missing("strace")
            ?? (Drill.Run("strace", ["-f", "--seccomp-bpf", "-o", "/dev/null", "true"]) is { Code: not 0 } run ? "strace cannot trace here: " + run.LastLine : null);

        private string Make(string verb)
        {
            string store = Drill.MakeStore(Path.Join(Drill.Folder, "for-" + verb), HoldersOf(verb));
            Directory.CreateDirectory(store + "/index"); // once there, it is used: a small store would do without
            Drill.Import(store, "one").AssertDone("import");
            if (verb == "import")
            {
                return store;
            }

            Drill.Import(store, "two").AssertDone("import");
            if (verb == "reclaim")
            {
                Drill.Tdfs(store, "forget", "one").AssertDone("forget");
                return store;
            }

            // One place lost half of its fragments, and the rest has damage.
            string[] files = Directory.GetFiles(store + "/holder0/fragments", "*", SearchOption.AllDirectories);
            for (int i = 0; i < files.Length; i++)
            {
                if (i % 2 == 0)
                {
                    File.Delete(files[i]);
                    continue;
                }

                byte[] bytes = File.ReadAllBytes(files[i]);
                bytes[bytes.Length / 2] ^= 1;
                File.WriteAllBytes(files[i], bytes);
            }

            return store;
        }
    }
}
