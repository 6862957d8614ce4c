using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>Group hashes of fragments that nobody has: they were rebuilt as a whole once and matched their names.</summary>
/// <remarks>
/// Why: of a fragment that is away only the name is known, so that a first read rebuilds all of it. With these a later one rebuilds the groups that it wants, and each is still held to the name.
/// Bound: <see cref="MaxKnown"/> lists of at most 34 KiB; the one that came first goes first. Safe from many threads.
/// </remarks>
internal sealed class RebuiltHashes
{
    private const int MaxKnown = 128;

    private readonly Lock _gate = new();
    private readonly Dictionary<FragmentName, byte[]> _known = [];
    private readonly Queue<FragmentName> _order = new();

    internal byte[]? Of(FragmentName name)
    {
        lock (_gate)
        {
            return _known.GetValueOrDefault(name);
        }
    }

    internal void Add(FragmentName name, byte[] hashes)
    {
        lock (_gate)
        {
            if (_known.TryAdd(name, hashes))
            {
                _order.Enqueue(name);
                if (_order.Count > MaxKnown)
                {
                    _known.Remove(_order.Dequeue());
                }
            }
        }
    }
}
