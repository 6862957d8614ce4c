using System.Buffers.Binary;
using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>Bytes from a seed: the same on every machine and run.</summary>
/// <remarks>Source: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Safe from many threads; then the bytes are the seed's, their order the scheduler's.</remarks>
public sealed class SeededRandom(long seed) : IRandomSource
{
    private readonly Lock _gate = new();
    private ulong _state = unchecked((ulong)seed);

    public void Fill(Span<byte> target)
    {
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        lock (_gate)
        {
            while (target.Length >= sizeof(ulong))
            {
                BinaryPrimitives.WriteUInt64LittleEndian(target, NextLocked());
                target = target[sizeof(ulong)..];
            }

            if (target.Length > 0)
            {
                BinaryPrimitives.WriteUInt64LittleEndian(word, NextLocked());
                word[..target.Length].CopyTo(target);
            }
        }
    }

    /// <summary>A number in [0, <paramref name="bound"/>).</summary>
    public int Next(int bound)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bound, 1);
        lock (_gate)
        {
            return (int)Math.BigMul(NextLocked(), (ulong)bound, out _);
        }
    }

    public byte[] Bytes(int count)
    {
        byte[] bytes = new byte[count];
        Fill(bytes);
        return bytes;
    }

    private ulong NextLocked()
    {
        unchecked
        {
            _state += 0x9E3779B97F4A7C15;
            ulong z = _state;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
