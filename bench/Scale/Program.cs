using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Scale;

/// <summary>Measures the index alone and a whole store of many blocks. Every step is a process of its own, so that its memory and its start are its own.</summary>
internal static class Program
{
    private const string Usage = """
        tools/bench scale [--blocks N] [--memory MIB] [--part index|store] [--folder FOLDER]
          N       blocks, 20,000,000 unless said otherwise; scores and payloads are made up
          MIB     memory of the index, 256 unless said otherwise; the index is asked again with 16, the least that storage.toml allows
          FOLDER  where everything is made and deleted again; 6 GB for 20 million
        """;

    internal static async Task<int> Main(string[] args)
    {
        if (args is ["step", string step, .. string[] values])
        {
            await StepAsync(step, values);
            return 0;
        }

        long blocks = 20_000_000;
        int memory = 256;
        string part = "";
        string folder = Path.Combine(Path.GetTempPath(), "tdfs-scale");
        for (int i = 0; i < args.Length; i += 2)
        {
            switch (args[i])
            {
                case "--blocks" when i + 1 < args.Length: blocks = long.Parse(args[i + 1], CultureInfo.InvariantCulture); break;
                case "--memory" when i + 1 < args.Length: memory = int.Parse(args[i + 1], CultureInfo.InvariantCulture); break;
                case "--part" when i + 1 < args.Length && args[i + 1] is "index" or "store": part = args[i + 1]; break;
                case "--folder" when i + 1 < args.Length: folder = args[i + 1]; break;
                default:
                    await Console.Error.WriteLineAsync(Usage);
                    return 2;
            }
        }

        var page = new StringBuilder();
        Say(page, $"# The index and the store at {blocks:N0} blocks\n\nMachine: {Machine.Line}. `tools/bench scale --blocks {blocks} --memory {memory}`.\n");
        if (part is "" or "index")
        {
            Index(page, folder + "/index", blocks, memory, 65_536);
        }

        if (part is "" or "store")
        {
            Store(page, folder + "/store", blocks, memory);
        }

        string path = $"bench/results/{DateTime.UtcNow:yyyy-MM-dd}-scale.md";
        if (part.Length == 0 && !File.Exists(path))
        {
            await File.WriteAllTextAsync(path, page.ToString());
            await Console.Error.WriteLineAsync($"written: {path}");
        }

        return 0;
    }

    private static Task StepAsync(string step, string[] values) => step switch
    {
        "index-fill" => IndexPart.FillAsync(values),
        "index-ask" => IndexPart.AskAsync(values),
        "index-grow" => IndexPart.GrowAsync(values),
        "index-die" => IndexPart.DieAsync(values),
        "store-fill" => StorePart.FillAsync(values),
        "store-open" => StorePart.OpenAsync(values),
        "store-die" => StorePart.DieAsync(values),
        "store-reindex" => StorePart.ReindexAsync(values),
        _ => throw new ArgumentException($"no step {step}"),
    };

    private static void Index(StringBuilder page, string folder, long blocks, int memory, long cadence)
    {
        Clear(folder);
        string[] place = [folder, Text(memory)];
        Say(page, $"\n## The index alone, {memory} MiB, a checkpoint every {cadence:N0} entries\n\n| what | found |\n|---|--:|");
        Dictionary<string, string> fill = Run("index-fill", [.. place, Text(blocks), Text(cadence)]);
        Row(page, "inserts a second, checkpoints included", fill["rate"]);
        Row(page, "the longest that one insert or checkpoint took", fill["longest"] + " s");
        Row(page, "bytes written for a million inserts", fill["written"] + " MB");
        Row(page, "bytes on the disk", fill["disk"] + " MB");
        Row(page, "peak memory of the process while inserting", fill["peak"] + " MiB");
        Ask(page, "", Run("index-ask", [.. place, Text(blocks)]));
        Ask(page, "with 16 MiB: ", Run("index-ask", [folder, "16", Text(blocks)]));
        Dictionary<string, string> more = Run("index-grow", [folder, "16", Text(blocks), "50000"]);
        Row(page, "with 16 MiB: 50,000 inserts beyond those, a second", more["rate"]);
        _ = Run("index-die", [.. place, Text(blocks), "1000000"], mayDie: true);
        Row(page, "opening after kill -9, 1,000,000 inserts beyond the last checkpoint", Run("index-ask", [.. place, Text(blocks), "brief"])["open"] + " s");
        Clear(folder);
    }

    private static void Ask(StringBuilder page, string how, Dictionary<string, string> ask)
    {
        Row(page, how + "opening, its files not in the page cache", ask["open"] + " s");
        Row(page, how + "misses a second, one thread; two threads", ask["misses"]);
        Row(page, how + "hits a second from the disk: 1, 2, 8 threads", ask["cold"]);
        Row(page, how + "hits a second from the page cache, one thread", ask["warm"]);
        Row(page, how + "peak memory of the process while asking", ask["peak"] + " MiB");
    }

    private static void Store(StringBuilder page, string folder, long blocks, int memory)
    {
        Clear(folder);
        string[] place = [folder, Text(memory)];
        Say(page, $"\n## A whole store, index {memory} MiB\n\n| what | found |\n|---|--:|");
        Dictionary<string, string> fill = Run("store-fill", [.. place, Text(blocks)]);
        Row(page, "arenas; bytes on the disk, index among them", $"{fill["arenas"]}; {fill["disk"]} MB");
        Row(page, "blocks written a second", fill["rate"]);
        Row(page, "peak memory of the process while writing", fill["peak"] + " MiB");
        Dictionary<string, string> open = Run("store-open", [.. place, Text(blocks)]);
        Row(page, "start-up after a clean stop, nothing in the page cache", open["open"] + " s");
        Row(page, "start-up after a clean stop, again at once", Run("store-open", [.. place, Text(blocks), "warm"])["open"] + " s");
        Row(page, "known blocks asked for a second, files not in the page cache, one thread", open["known"]);
        Row(page, "unknown blocks asked for a second, one thread", open["unknown"]);
        Row(page, "peak memory of the process that asks", open["peak"] + " MiB");
        Row(page, "start-up of a reader, and its first block", Run("store-open", [.. place, Text(blocks), "read"])["open"] + " s");
        Dictionary<string, string> dead = Run("store-die", [.. place, Text(blocks), Text(blocks / 20)], mayDie: true);
        Row(page, $"start-up after kill -9 in the middle of an import, {dead["written"]} blocks after its last flush, nothing in the page cache", Run("store-open", [.. place, Text(blocks)])["open"] + " s");
        Dictionary<string, string> again = Run("store-reindex", place);
        Row(page, "reindex: entries a second; seconds", $"{again["rate"]}; {again["seconds"]}");
        Row(page, "peak memory of reindex", again["peak"] + " MiB");
        Clear(folder);
    }

    private static void Row(StringBuilder page, string what, string found) => Say(page, $"| {what} | {found} |");

    private static void Say(StringBuilder page, string line)
    {
        Console.WriteLine(line);
        page.Append(line).Append('\n');
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static void Clear(string folder)
    {
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Runs a step and takes the lines that it prints: a name, a tab, what was found.</summary>
    private static Dictionary<string, string> Run(string step, string[] values, bool mayDie = false)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["step", step, .. values]) { RedirectStandardOutput = true };
        using Process process = Process.Start(start) ?? throw new InvalidOperationException($"{step} did not start");
        string[] lines = process.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        process.WaitForExit();
        return process.ExitCode == 0 || mayDie
            ? lines.Select(static line => line.Split('\t')).ToDictionary(static parts => parts[0], static parts => parts[1])
            : throw new InvalidOperationException($"{step} ended with {process.ExitCode}");
    }
}
