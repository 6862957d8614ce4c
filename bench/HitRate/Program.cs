using System.Globalization;
using HitRate;

const string Usage = "tools/bench hitRate [--trace FILE]    hits of the cache of what came from elsewhere, beside LRU, LFU, FIFO and the optimum";
string trace = "bench/HitRate/work.trace.gz";
for (int at = 0; at < args.Length; at++)
{
    if (args[at] != "--trace" || at + 1 == args.Length)
    {
        await Console.Error.WriteLineAsync(Usage);
        return 2;
    }

    trace = args[++at];
}

(string Name, ulong[] Uses)[] workloads =
[
    ("Zipf 0.9 over 100,000, drifting", Workloads.ZipfWithDrift(100_000, 2_000_000, 0.9, 100, 1)),
    ("scans over a hot set of 10,000", Workloads.ScansOverHotSet(10_000, 50_000, 2_000_000, 2)),
    ($"recorded: {Path.GetFileName(trace)}", Workloads.Recorded(trace)),
];
Console.WriteLine("| workload | uses | things | room | tdfs | LRU | LFU | FIFO | optimum | tdfs - LRU |");
Console.WriteLine("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
foreach ((string name, ulong[] uses) in workloads)
{
    int things = uses.Distinct().Count();
    foreach (double share in (double[])[0.01, 0.02, 0.05, 0.1, 0.2])
    {
        int room = Math.Max(16, (int)(things * share));
        IRival[] rivals = [new Ours(room), new Queue(room, movesUsed: true), new LeastOften(room), new Queue(room, movesUsed: false), new Clairvoyant(room, uses)];
        double[] percent = [.. rivals.Select(rival => 100.0 * uses.Count(rival.Use) / uses.Length)];
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"| {name} | {uses.Length:N0} | {things:N0} | {room:N0} | {string.Join(" | ", percent.Select(static each => each.ToString("F1", CultureInfo.InvariantCulture)))} | {percent[0] - percent[1]:+0.0;-0.0} |"));
    }
}

return 0;
