using System.Diagnostics;
using System.Globalization;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Files;

namespace Chunks;

/// <summary>Measures what docs/decisions says of chunk size, compression level and inline threshold, with the store's own classes on real inputs.</summary>
internal static class Program
{
    private const string Usage = """
        tools/bench chunks [TABLE] [--input kernel,sdk,image] [--values A,B,...] [--level N]
          TABLE   chunks (KiB: mean, or least-mean-most), levels (zstd), inline (threshold, bytes), or all three
        Bytes are exact. Times are CPU seconds of the whole process; a shared machine bends them.
        """;

    internal static int Level { get; private set; } = new StoreOptions { StateFolder = "" }.CompressionLevel;

    internal static async Task<int> Main(string[] args)
    {
        string table = "all";
        string names = "kernel,sdk,image";
        string[]? values = null;
        for (int i = 0; i < args.Length; i++)
        {
            bool hasValue = i + 1 < args.Length;
            switch (args[i])
            {
                case "all" or "chunks" or "levels" or "inline": table = args[i]; break;
                case "--input" when hasValue: names = args[++i]; break;
                case "--values" when hasValue: values = args[++i].Split(','); break;
                case "--level" when hasValue: Level = int.Parse(args[++i], CultureInfo.InvariantCulture); break;
                default:
                    await Console.Error.WriteLineAsync(Usage);
                    return 2;
            }
        }

        Dictionary<string, string> inputs = FindInputs(names.Split(','), table);
        Console.WriteLine($"{Environment.ProcessorCount} processors, {DateTime.UtcNow:yyyy-MM-dd}, load {File.ReadAllText("/proc/loadavg").Split(' ')[0]}; compression level {Level}\n");
        MeasuredStore warm = await MeasuredStore.CreateAsync(ContentOptions.Default, Level);
        await using (warm)
        {
            _ = await warm.ImportAsync("warm", Path.Combine(Environment.CurrentDirectory, "src")); // compiles the code before it is timed
        }

        if (table is "chunks" or "all")
        {
            await Tables.ChunksAsync(inputs, values ?? ["64", "128", "256"]);
        }

        if (table is "levels" or "all")
        {
            Console.WriteLine();
            Tables.Levels(inputs, Numbers(values) ?? [1, 2, 3, 4, 5, 7]);
        }

        if (table is "inline" or "all")
        {
            Console.WriteLine();
            await Tables.InlineAsync(inputs, Numbers(values) ?? [0, 256, 512, 1024, 2048, 4096]);
        }

        return 0;
    }

    private static int[]? Numbers(string[]? values) => values?.Select(static value => int.Parse(value, CultureInfo.InvariantCulture)).ToArray();

    private static Dictionary<string, string> FindInputs(string[] names, string table)
    {
        List<string> wanted = [.. table == "inline" ? ["kernel"] : names];
        if (wanted.Contains("kernel") && table != "levels")
        {
            wanted.Add("kernel-edited");
        }

        if (wanted.Contains("image") && table != "levels")
        {
            wanted.AddRange(["image-overwritten", "image-inserted"]);
        }

        var start = new ProcessStartInfo("bench/inputs", [Path.Combine(Path.GetTempPath(), "tdfs-inputs"), .. wanted]) { RedirectStandardOutput = true };
        using Process inputs = Process.Start(start) ?? throw new InvalidOperationException("bench/inputs did not start; run this through tools/bench");
        string[] lines = inputs.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        inputs.WaitForExit();
        return inputs.ExitCode == 0
            ? lines.Select(static line => line.Split('\t')).ToDictionary(static parts => parts[0], static parts => parts[1])
            : throw new InvalidOperationException("bench/inputs failed");
    }
}
