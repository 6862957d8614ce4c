using System.Diagnostics;
using System.Globalization;

namespace TokTok.Storage.Simulation;

/// <summary>The whole of a node from one seed: nodes, devices, network, disks and clocks of one process (docs/architecture.md, "The simulation").</summary>
/// <remarks>TDFS_LONG=1 runs 10,000 seeds instead of 60; TDFS_SEED=n that one alone, with every request that led to its end.</remarks>
public sealed class SimulationTests(ITestOutputHelper output)
{
    private const int DefaultSeeds = 60;
    private const int LongSeeds = 10_000;

    private static readonly bool s_isLong = Environment.GetEnvironmentVariable("TDFS_LONG") == "1";

    [Fact]
    public void Nothing_is_lost_while_failures_stay_within_the_class()
    {
        if (long.TryParse(Environment.GetEnvironmentVariable("TDFS_SEED"), CultureInfo.InvariantCulture, out long given))
        {
            SimulationResult alone = SimulationRun.Run(given, withRequests: true);
            output.WriteLine(alone.ToString());
            return;
        }

        (int first, int count) = (0, s_isLong ? LongSeeds : DefaultSeeds);
        if (Environment.GetEnvironmentVariable("TDFS_SEEDS") is { } range && range.Split('-') is [var from, var to])
        {
            first = int.Parse(from, CultureInfo.InvariantCulture);
            count = int.Parse(to, CultureInfo.InvariantCulture) - first + 1;
        }

        var results = new List<SimulationResult>();
        var failures = new List<string>();
        long began = Stopwatch.GetTimestamp();
        int next = 0;
        Thread[] threads = [.. Enumerable.Range(0, Math.Min(Environment.ProcessorCount, 4)).Select(_ => new Thread(RunSeeds, 16 << 20))];
        Array.ForEach(threads, static thread => thread.Start());
        Array.ForEach(threads, static thread => thread.Join());
        output.WriteLine(Line());
        Assert.True(failures.Count == 0, $"{failures.Count} of {count} seeds failed; the first:\n{string.Join("\n\n", failures.Take(s_isLong ? 5 : 3))}\nfailed: {string.Join(", ", failures.Select(static each => each.Split(' ')[1]))}");

        void RunSeeds()
        {
            while (Interlocked.Increment(ref next) - 1 is var at && at < count)
            {
                try
                {
                    SimulationResult result = SimulationRun.Run(first + at);
                    lock (results)
                    {
                        results.Add(result);
                        if (s_isLong && results.Count % 100 == 0)
                        {
                            Console.WriteLine(Line());
                        }
                    }
                }
                catch (Exception failure)
                {
                    lock (results)
                    {
                        failures.Add(failure.Message);
                        Console.WriteLine(failure.Message.Split('\n')[0]);
                    }
                }
            }
        }

        string Line() => string.Create(
            CultureInfo.InvariantCulture,
            $"simulation: {results.Count + failures.Count} of {count} seeds in {Stopwatch.GetElapsedTime(began).TotalSeconds:0} s, {failures.Count} failed; {results.Sum(static each => each.SimulatedDays) / 365:0} years, {results.Sum(static each => each.Commits)} commits, {results.Sum(static each => each.Requests)} requests, {results.Sum(static each => each.Crashes)} crashes, {results.Sum(static each => each.FailedVerbs)} verbs that failed, {results.Sum(static each => each.LostNodes)} nodes lost, {results.Sum(static each => each.RepairedFragments)} fragments repaired, {results.Sum(static each => each.CheckedBlocks)} blocks read back");
    }

    /// <summary>Seeds that found something, each by what it found.</summary>
    /// <remarks>They found it by the draws of the first version (commit "A simulation of whole nodes from one seed"); kinds of faults that came since have changed what a seed draws, so that each of these is one more run and no proof by itself.</remarks>
    [Theory]
    [InlineData(2, "a reclaim ended when a peer had vanished since the store was opened")]
    [InlineData(8, "an arena that was adopted while the holder of a data fragment was away could not be read, though k others were there")]
    [InlineData(33, "an owner that came back made the others forget where a repair had put fragments meanwhile")]
    [InlineData(35, "a device that was killed left holders a journal that had forgotten what no catalog there named yet")]
    [InlineData(46, "a device that stayed connected repaired to a peer that had lost its disk under the name of the holder that was gone, so that a reader that dialled anew looked for the fragments elsewhere")]
    [InlineData(64, "the same, and another device's reclaim ended when a second peer hung")]
    [InlineData(74, "a device that was away when an arena was released could not read what another had taken back of it")]
    [InlineData(102, "a store could not be opened while a peer listed its copies of logs and broke off when one was read")]
    [InlineData(154, "where a repair had put fragments was not learned of arenas that were in the trash here, and heads of devices that had been away wanted their blocks")]
    [InlineData(331, "a store could not be opened while a peer broke off over an arena whose sealing was cut off")]
    [InlineData(409, "a journal's file ended between the listing of logs and their reading, and the arenas that hold what it had were not looked for")]
    [InlineData(671, "a head that came between the listing of logs and their reading was taken up without its blocks")]
    [InlineData(4434, "a line that a restored state folder had left behind made a device forget an arena that the line never knew, and that another head wanted")]
    public void What_was_found_stays_mended(long seed, string found)
    {
        output.WriteLine(found);
        SimulationRun.Run(seed);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void One_seed_gives_one_run(long seed)
    {
        SimulationResult first = SimulationRun.Run(seed);
        SimulationResult second = SimulationRun.Run(seed);
        Assert.Equal(first, second);
    }
}
