using System.Globalization;
using System.Text;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Simulation;

/// <summary>What happened, in order: a hash of all of it, and the last lines for whoever looks for the cause of a failure.</summary>
internal sealed class Trace(long seed, int kept)
{

    private readonly Queue<string> _last = new();
    private readonly byte[] _hash = new byte[Blake3.HashSize];
    private readonly byte[] _both = new byte[Blake3.HashSize + Blake3.HashSize];

    internal long Seed => seed;

    internal long Count { get; private set; }

    /// <summary>Two runs with one hash did the same.</summary>
    internal string Hash => Convert.ToHexStringLower(_hash.AsSpan(0, 8));

    internal void Add(string line)
    {
        Count++;
        _hash.CopyTo(_both, 0);
        Blake3.Hash(Encoding.UTF8.GetBytes(line), _both.AsSpan(Blake3.HashSize));
        Blake3.Hash(_both, _hash);
        if (_last.Count == kept)
        {
            _last.Dequeue();
        }

        _last.Enqueue(string.Create(CultureInfo.InvariantCulture, $"{Count}: {line}"));
    }

    /// <summary>The last lines; without single requests unless they are wanted.</summary>
    internal string Last(bool withRequests) => string.Join('\n', _last.Where(line => withRequests || !line.Contains(" -> ", StringComparison.Ordinal)).TakeLast(withRequests ? kept : 60));
}

/// <summary>The simulation found something; the message says what, and how to see it again.</summary>
internal sealed class SimulationException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Nothing waits in a simulation: what is asked for is done when the call returns.</summary>
internal static class Now
{
    internal static T Done<T>(this ValueTask<T> task) => task.IsCompleted ? task.GetAwaiter().GetResult() : throw Unfinished();

    internal static void Done(this ValueTask task)
    {
        if (!task.IsCompleted)
        {
            throw Unfinished();
        }

        task.GetAwaiter().GetResult();
    }

    private static SimulationException Unfinished() => new("a call came back unfinished: something of it runs on a thread that the simulation does not know, so that no seed would repeat it");
}
