using System.Globalization;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>What all drills share: whether this is the long run, and a seed that a failure names.</summary>
/// <remarks>TDFS_LONG=1 runs the stated counts with a new seed each time; TDFS_SEED=n repeats a run as far as the machine's timing lets it.</remarks>
internal static class Drill
{
    internal static bool IsLong => Environment.GetEnvironmentVariable("TDFS_LONG") == "1";

    internal static int Count(int usual, int inLong) => IsLong ? inLong : usual;

    /// <summary>Runs with a random source of which a failure tells the seed and the steps taken so far.</summary>
    internal static async Task SeededAsync(int usualSeed, Func<Random, List<string>, Task> drill)
    {
        int seed = int.TryParse(Environment.GetEnvironmentVariable("TDFS_SEED"), CultureInfo.InvariantCulture, out int given) ? given
            : IsLong ? Environment.TickCount & 0xFFFFFF : usualSeed;
        var steps = new List<string>();
        try
        {
            await drill(new Random(seed), steps);
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            throw new InvalidOperationException($"TDFS_SEED={seed}, {steps.Count} steps, the last of them:\n{string.Join('\n', steps.TakeLast(12))}\n{failure.Message}", failure);
        }
    }
}
