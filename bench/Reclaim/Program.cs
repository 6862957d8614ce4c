using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Reclaim;

/// <summary>Measures a reclaim as its user meets it: the published command, on a store of many snapshots of a changing tree whose older half was forgotten, alone and with imports and reads beside it.</summary>
internal static class Program
{
    private const string Usage = """
        tools/bench reclaim [--snapshots N] [--files N] [--folder FOLDER] [--no-build]
          100 snapshots of 4,000 files unless said otherwise; FOLDER is made and deleted again, some 6 GB
        """;

    private const string Tdfs = "src/tdfs/bin/publish/tdfs";
    private const int ChangedPercent = 4;
    private const int AloneRounds = 7;

    private static string s_folder = Path.Combine(Path.GetTempPath(), "tdfs-reclaim");

    /// <summary>The first snapshot that was not forgotten.</summary>
    private static int s_oldest;

    private static string Store => s_folder + "/store";

    internal static async Task<int> Main(string[] args)
    {
        (int snapshots, int files, bool builds) = (100, 4000, true);
        for (int i = 0; i < args.Length; i++)
        {
            switch (args[i])
            {
                case "--snapshots" when i + 1 < args.Length: snapshots = int.Parse(args[++i], CultureInfo.InvariantCulture); break;
                case "--files" when i + 1 < args.Length: files = int.Parse(args[++i], CultureInfo.InvariantCulture); break;
                case "--folder" when i + 1 < args.Length: s_folder = args[++i]; break;
                case "--no-build": builds = false; break;
                default:
                    await Console.Error.WriteLineAsync(Usage);
                    return 2;
            }
        }

        if (builds)
        {
            _ = await RunAsync("dotnet", ["publish", "src/tdfs", "-c", "Release", "-v", "quiet", "--nologo"]);
        }

        Clear();
        Directory.CreateDirectory(s_folder);
        string tree = s_folder + "/tree";
        var random = new Random(1);
        await TdfsAsync("init", "--passphrase-fd", "0");
        for (int snapshot = 0; snapshot < snapshots; snapshot++)
        {
            Change(tree, files, snapshot == 0 ? files : files * ChangedPercent / 100, random);
            await TdfsAsync("import", tree, "--volume", "v", "-q");
        }

        string[] forgotten = [.. Enumerable.Range(1, snapshots / 2).Select(static i => $"v@{i}")];
        await TdfsAsync(["forget", .. forgotten]);
        s_oldest = (snapshots / 2) + 1;
        await TdfsAsync("status"); // unlocked and warm from here on

        // Alone: what stands beside the reclaim later.
        var importsAlone = new List<double>();
        var readsAlone = new List<double>();
        for (int round = 0; round < AloneRounds; round++)
        {
            importsAlone.Add(await ImportAsync(tree, files, random));
            readsAlone.Add(await ReadAsync(round));
        }

        double kept = Bytes(Store);

        // A copy of the store for the reclaim that nobody disturbs.
        _ = await RunAsync("cp", ["-a", Store, Store + "-kept"]);
        JsonElement dry = JsonDocument.Parse(await TdfsAsync("reclaim", "--dry-run", "--json")).RootElement;
        (double alone, JsonElement report, double peak, double written) = await ReclaimAsync();
        double after = Bytes(Store);
        double trash = report.GetProperty("trashedBytes").GetDouble();

        Directory.Delete(Store, recursive: true);
        Directory.Move(Store + "-kept", Store);
        var imports = new List<double>();
        var reads = new List<double>();
        Task<(double Seconds, JsonElement Report, double Peak, double Written)> reclaim = ReclaimAsync();
        Task importing = Task.Run(async () =>
        {
            await Task.Delay(TimeSpan.FromSeconds(1)); // whoever writes when it begins would be told so, and reclaim end
            while (!reclaim.IsCompleted)
            {
                imports.Add(await ImportAsync(tree, files, random));
            }
        });
        for (int round = 0; !reclaim.IsCompleted; round++)
        {
            reads.Add(await ReadAsync(round));
        }

        (double beside, JsonElement reportBeside, double _, double _) = await reclaim;
        await importing;
        await TdfsAsync("check", "--read-all", "-q");

        double copied = report.GetProperty("copiedBytes").GetDouble();
        var page = new StringBuilder();
        page.AppendLine(CultureInfo.InvariantCulture, $"# Reclaim of {snapshots / 2} snapshots of {snapshots}\n");
        page.AppendLine(CultureInfo.InvariantCulture, $"{Environment.ProcessorCount} processors, {Cpu()}, {DateTime.UtcNow:yyyy-MM-dd}, load {File.ReadAllText("/proc/loadavg").Split(' ')[0]}. `tools/bench reclaim --snapshots {snapshots} --files {files}`: a tree of {files:N0} files of up to 256 KiB that compress to half; {ChangedPercent} % of them are new in each snapshot; the older half of them is forgotten. One folder, 16+1.\n");
        page.AppendLine("| what | found |\n|---|--:|");
        Row("the store before, fragments and all", $"{kept / 1e6:N0} MB");
        Row("reclaim, nobody beside it", $"{alone:N1} s");
        Row("arenas emptied; bytes of them that go to the trash", $"{report.GetProperty("condemnedArenas").GetInt32():N0}; {trash / 1e6:N0} MB");
        Row("bytes moved", $"{copied / 1e6:N0} MB");
        Row("the least that emptying these arenas can move: their live clumps", $"{dry.GetProperty("copiedBytes").GetDouble() / 1e6:N0} MB ({copied / dry.GetProperty("copiedBytes").GetDouble():N2} of it was moved)");
        Row("bytes written by the process, parity, padding and logs among them, for a byte moved", $"{written / copied:N2}");
        Row("extra space: the most that the store took meanwhile, over before", $"{(peak - kept) / 1e6:N0} MB ({(peak - kept) / copied:N2} for a byte moved)");
        Row("the store after, its trash full; empty", $"{after / 1e6:N0} MB; {(after - trash) / 1e6:N0} MB");
        Row("reclaim with imports and reads beside it all the time", $"{beside:N1} s ({beside / alone:N1}×), {reportBeside.GetProperty("copiedBytes").GetDouble() / 1e6:N0} MB moved");
        Row($"import of {files * ChangedPercent / 100:N0} changed files: alone, median of {AloneRounds}", $"{Median(importsAlone):N2} s");
        Row($"beside it: median of {imports.Count}, longest, waiting for the store among it", imports.Count == 0 ? "–" : $"{Median(imports):N2} s ({Median(imports) / Median(importsAlone):N1}×), {imports.Max():N2} s");
        Row($"read of one file of an old snapshot: alone, median of {AloneRounds}", $"{Median(readsAlone):N2} s");
        Row($"beside it: median of {reads.Count}, longest", $"{Median(reads):N2} s ({Median(reads) / Median(readsAlone):N1}×), {reads.Max():N2} s");
        page.AppendLine("\nAfterwards `tdfs check --read-all` was clean.");
        Console.Write(page);
        string path = $"bench/results/{DateTime.UtcNow:yyyy-MM-dd}-reclaim.md";
        if (!File.Exists(path))
        {
            await File.WriteAllTextAsync(path, page.ToString());
            await Console.Error.WriteLineAsync($"written: {path}");
        }

        await TdfsAsync("agent", "stop");
        Clear();
        return 0;

        void Row(string what, string found) => page.AppendLine(CultureInfo.InvariantCulture, $"| {what} | {found} |");
    }

    private static async Task<double> ImportAsync(string tree, int files, Random random)
    {
        Change(tree, files, files * ChangedPercent / 100, random);
        long begin = Stopwatch.GetTimestamp();
        await TdfsAsync("import", tree, "--volume", "v", "-q");
        return Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    private static async Task<double> ReadAsync(int round)
    {
        long begin = Stopwatch.GetTimestamp();
        await TdfsAsync("cat", $"v@{s_oldest + (round % 5)}", $"{round * 37 % 100:d5}");
        return Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    /// <summary>The store's size is looked at all the while, and what the process wrote, as the kernel counts it.</summary>
    private static async Task<(double Seconds, JsonElement Report, double PeakBytes, double WrittenBytes)> ReclaimAsync()
    {
        using Process process = Start(Tdfs, ["reclaim", "--json", "--store", Store, "--no-progress"]);
        long begin = Stopwatch.GetTimestamp();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> talk = process.StandardError.ReadToEndAsync();
        double peak = 0;
        double written = 0;
        while (!process.HasExited)
        {
            peak = Math.Max(peak, Bytes(Store));
            try
            {
                written = double.Parse((await File.ReadAllLinesAsync($"/proc/{process.Id}/io")).First(static line => line.StartsWith("wchar", StringComparison.Ordinal)).Split(' ')[1], CultureInfo.InvariantCulture);
            }
            catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
            {
                break;
            }

            await Task.Delay(100);
        }

        await process.WaitForExitAsync();
        double seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        return process.ExitCode == 0
            ? (seconds, JsonDocument.Parse(await output).RootElement, peak, written)
            : throw new InvalidOperationException($"tdfs reclaim ended with {process.ExitCode}: {await talk}");
    }

    /// <summary>Gives so many files new bytes, half noise and half zeros.</summary>
    private static void Change(string tree, int files, int count, Random random)
    {
        Directory.CreateDirectory(tree);
        foreach (int number in Enumerable.Range(0, files).OrderBy(_ => random.Next()).Take(count))
        {
            byte[] bytes = new byte[random.Next(4 << 10, 256 << 10)];
            random.NextBytes(bytes.AsSpan(0, bytes.Length / 2));
            File.WriteAllBytes($"{tree}/{number:d5}", bytes);
        }
    }

    private static Task<string> TdfsAsync(params string[] words) => RunAsync(Tdfs, words[0] == "agent" ? words : [.. words, "--store", Store]);

    private static async Task<string> RunAsync(string program, string[] words)
    {
        using Process process = Start(program, words);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        string talk = await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? await output : throw new InvalidOperationException($"{program} {words[0]} ended with {process.ExitCode}: {talk}");
    }

    private static Process Start(string program, string[] words)
    {
        var start = new ProcessStartInfo(program, words) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        start.Environment["XDG_RUNTIME_DIR"] = s_folder;
        Process process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        process.StandardInput.Close();
        return process;
    }

    private static double Bytes(string folder)
    {
        long bytes = 0;
        foreach (string path in Directory.EnumerateFiles(folder, "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true }))
        {
            try
            {
                bytes += new FileInfo(path).Length;
            }
            catch (FileNotFoundException)
            {
                // moved meanwhile
            }
        }

        return bytes;
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static string Cpu() => File.ReadLines("/proc/cpuinfo").First(static line => line.StartsWith("model name", StringComparison.Ordinal)).Split(':')[1].Trim();

    private static void Clear()
    {
        if (Directory.Exists(s_folder))
        {
            Directory.Delete(s_folder, recursive: true);
        }
    }
}
