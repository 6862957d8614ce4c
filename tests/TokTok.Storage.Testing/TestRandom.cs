using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>Bytes 00, 01, 02 … ff, 00 … running on from call to call: the randomness of every example in docs/format.md.</summary>
public sealed class CountingRandom : IRandomSource
{
    private readonly Lock _gate = new();
    private byte _next;

    public void Fill(Span<byte> target)
    {
        lock (_gate)
        {
            foreach (ref byte b in target)
            {
                b = _next;
                _next = unchecked((byte)(_next + 1));
            }
        }
    }
}

/// <summary>A generator that one seed replays.</summary>
public sealed class SeededRandom(int seed) : IRandomSource
{
    private readonly Lock _gate = new();
    private readonly Random _random = new(seed);

    public void Fill(Span<byte> target)
    {
        lock (_gate)
        {
            _random.NextBytes(target);
        }
    }
}
