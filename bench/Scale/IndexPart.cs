using System.Diagnostics;
using System.Globalization;
using TokTok.Storage.Blocks.Disks;
using Scale.Faster;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Core;

namespace Scale;

/// <summary>The index as the product makes it, without a store around it.</summary>
internal static class IndexPart
{
    private static readonly TimeSpan s_turn = TimeSpan.FromSeconds(4);

    /// <summary>Folder, memory in MiB, entries, entries between checkpoints.</summary>
    internal static Task FillAsync(string[] values)
    {
        (long entries, long cadence) = (Number(values[2]), Number(values[3]));
        long written = Machine.WrittenBytes;
        long begin = Stopwatch.GetTimestamp();
        TimeSpan longest = default;
        using (IBlockIndex index = Open(values))
        {
            for (long i = 0; i < entries; i++)
            {
                long from = (i & 63) == 0 || (i + 1) % cadence == 0 ? Stopwatch.GetTimestamp() : 0; // a call that writes is long enough to be met by the next look
                index.Add(ScoreOf(i), LocationOf(i));
                if ((i + 1) % cadence == 0)
                {
                    index.Checkpoint((ulong)(i + 1));
                }

                if (from != 0 && Stopwatch.GetElapsedTime(from) is var took && took > longest)
                {
                    longest = took;
                }
            }

            index.Checkpoint((ulong)entries);
        }

        double seconds = Stopwatch.GetElapsedTime(begin).TotalSeconds;
        Say("rate", $"{entries / seconds:N0}");
        Say("longest", $"{longest.TotalSeconds:N2}");
        Say("written", $"{(Machine.WrittenBytes - written) / 1e6 / (entries / 1e6):N0}");
        Say("disk", $"{Machine.BytesIn(values[0]) / 1e6:N0}");
        Say("peak", $"{Machine.PeakMiB:N0}");
        return Task.CompletedTask;
    }

    /// <summary>Folder, memory in MiB, entries; "brief": only to see that all is there.</summary>
    internal static Task AskAsync(string[] values)
    {
        long entries = Number(values[2]);
        Machine.Forget(values[0]);
        long begin = Stopwatch.GetTimestamp();
        using IBlockIndex index = Open(values);
        if (index.CoveredSequence < (ulong)entries || index.Count < entries)
        {
            throw new InvalidOperationException($"the index opened with {index.Count} entries up to {index.CoveredSequence}, {entries} expected");
        }

        Say("open", $"{Stopwatch.GetElapsedTime(begin).TotalSeconds:N2}");
        for (long i = 0; i < entries; i += Math.Max(1, entries / 1000))
        {
            Check(index, i);
        }

        if (values is [_, _, _, "brief"])
        {
            return Task.CompletedTask;
        }

        Say("misses", $"{Rate(1, random => Miss(index, random)):N0}; {Rate(2, random => Miss(index, random)):N0}");
        var cold = new List<string>();
        foreach (int threads in (int[])[1, 2, 8])
        {
            Machine.Forget(values[0]);
            cold.Add($"{Rate(threads, random => Check(index, random.NextInt64(entries))):N0}");
        }

        Say("cold", string.Join("; ", cold));
        foreach (string path in Directory.EnumerateFiles(values[0], "*", SearchOption.AllDirectories))
        {
            using FileStream file = File.OpenRead(path);
            file.CopyTo(Stream.Null);
        }

        Say("warm", $"{Rate(1, random => Check(index, random.NextInt64(entries))):N0}");
        Say("peak", $"{Machine.PeakMiB:N0}");
        return Task.CompletedTask;
    }

    /// <summary>Folder, memory in MiB, entries there, entries to add. They are not checkpointed.</summary>
    internal static Task GrowAsync(string[] values)
    {
        (long entries, long more) = (Number(values[2]), Number(values[3]));
        using IBlockIndex index = Open(values);
        long begin = Stopwatch.GetTimestamp();
        for (long i = 0; i < more; i++)
        {
            index.Add(ScoreOf((1L << 61) + i), LocationOf(i));
        }

        Say("rate", $"{more / Stopwatch.GetElapsedTime(begin).TotalSeconds:N0}");
        return Task.CompletedTask;
    }

    /// <summary>Folder, memory in MiB, entries there, entries to add before the end.</summary>
    internal static Task DieAsync(string[] values)
    {
        long entries = Number(values[2]);
        IBlockIndex index = Open(values);
        for (long i = 0; i < Number(values[3]); i++)
        {
            index.Add(ScoreOf(entries + i), LocationOf(entries + i));
        }

        Machine.Die();
        return Task.CompletedTask;
    }

    internal static void Say(string name, string found) => Console.WriteLine($"{name}\t{found}");

    internal static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);

    internal static IBlockIndex Open(string[] values) => Open(values[0], Number(values[1]) << 20);

    internal static IBlockIndex Open(string folder, long memoryBytes) => Environment.GetEnvironmentVariable("TDFS_SCALE_INDEX") == "faster"
        ? new FasterIndex(folder, memoryBytes)
        : new RunIndex(PosixDisk.Instance, folder, memoryBytes);

    /// <summary>Calls a second, all threads together.</summary>
    internal static double Rate(int threads, Action<Random> call)
    {
        long calls = 0;
        long begin = Stopwatch.GetTimestamp();
        Thread[] running = [.. Enumerable.Range(0, threads).Select(seed => new Thread(() =>
        {
            var random = new Random(seed + (threads * 100));
            long done = 0;
            while (Stopwatch.GetElapsedTime(begin) < s_turn)
            {
                for (int i = 0; i < 64; i++)
                {
                    call(random);
                }

                done += 64;
            }

            Interlocked.Add(ref calls, done);
        }))];
        Array.ForEach(running, static thread => thread.Start());
        Array.ForEach(running, static thread => thread.Join());
        return calls / Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }

    private static void Miss(IBlockIndex index, Random random)
    {
        if (index.TryFind(ScoreOf(random.NextInt64() | (1L << 62)), out _))
        {
            throw new InvalidOperationException("found what was never added");
        }
    }

    private static void Check(IBlockIndex index, long number)
    {
        if (!index.TryFind(ScoreOf(number), out BlockLocation location) || location != LocationOf(number))
        {
            throw new InvalidOperationException($"entry {number} gives {location}, expected {LocationOf(number)}");
        }
    }

    private static Score ScoreOf(long number)
    {
        unchecked
        {
            ulong a = Mix((ulong)number + 1);
            ulong b = Mix(a);
            ulong c = Mix(b);
            return new Score(new Bytes32(a, b, c, Mix(c)));
        }
    }

    private static BlockLocation LocationOf(long number) => new((uint)(number / 256), (int)(number % 256) * 65536, (int)(number % 65536));

    /// <summary>The step of SplitMix64.</summary>
    internal static ulong Mix(ulong z)
    {
        unchecked
        {
            z += 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
