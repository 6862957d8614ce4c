using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>Bytes 00, 01, 02 … ff, 00 … running on from call to call: the randomness of every example in docs/format.md.</summary>
public sealed class CountingRandom(byte first = 0) : IRandomSource
{
    private readonly Lock _gate = new();
    private byte _next = first;

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
