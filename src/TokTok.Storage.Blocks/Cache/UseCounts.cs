using System.Numerics;
using System.Runtime.InteropServices;

namespace TokTok.Storage.Blocks.Cache;

/// <summary>About how often each of many things was used lately, in half a byte for each of four guesses.</summary>
/// <remarks>
/// A count-min sketch with small counters and ageing: Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient Cache Admission Policy" (ACM TOS 2017), sections 3.3 and 3.4.
/// A count is never too low for what was used since the last halving; it may be too high where others share all four counters. Every count is halved after ten uses for each thing that
/// the sketch was made for. Bounded: 8 bytes a thing. Not safe from many threads.
/// </remarks>
public sealed class UseCounts
{
    /// <summary>The highest count there is.</summary>
    public const int Most = 15;

    private const int Rows = 4;
    private const int CountersPerWord = 16;
    private const int UsesPerThing = 10;
    private const ulong HalvingMask = 0x7777_7777_7777_7777;
    private const ulong LowBits = 0x1111_1111_1111_1111;

    private readonly ulong[] _words;
    private readonly int _mask;
    private readonly long _usesUntilHalved;
    private long _uses;

    /// <param name="things">For how many, about; 1 to 2^27.</param>
    public UseCounts(int things)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(things, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(things, 1 << 27);
        int words = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(things, 16)); // four rows of four counters a thing
        _words = new ulong[words];
        _mask = words - 1;
        _usesUntilHalved = (long)UsesPerThing * things;
    }

    /// <summary>The counters, as bytes to keep and to take up again.</summary>
    public Span<byte> Bytes => MemoryMarshal.AsBytes(_words.AsSpan());

    /// <summary>About how often, 0 to <see cref="Most"/>.</summary>
    public int Of(ulong key)
    {
        int least = Most;
        for (int row = 0; row < Rows; row++)
        {
            (int word, int shift) = Place(key, row);
            least = Math.Min(least, (int)((_words[word] >> shift) & Most));
        }

        return least;
    }

    public void Count(ulong key)
    {
        bool isCounted = false;
        for (int row = 0; row < Rows; row++)
        {
            (int word, int shift) = Place(key, row);
            if (((_words[word] >> shift) & Most) < Most)
            {
                _words[word] += 1UL << shift;
                isCounted = true;
            }
        }

        if (isCounted && ++_uses >= _usesUntilHalved)
        {
            Halve();
        }
    }

    private void Halve()
    {
        long odd = 0;
        for (int word = 0; word < _words.Length; word++)
        {
            odd += BitOperations.PopCount(_words[word] & LowBits);
            _words[word] = (_words[word] >> 1) & HalvingMask;
        }

        _uses = (_uses - (odd / Rows)) / 2;
    }

    /// <summary>Each row has four counters of its own in every word.</summary>
    private (int Word, int Shift) Place(ulong key, int row)
    {
        unchecked
        {
            ulong mixed = (key + ((ulong)row * 0x9E37_79B9_7F4A_7C15)) * 0xD6E8_FEB8_6659_FD93;
            mixed ^= mixed >> 32;
            mixed *= 0xD6E8_FEB8_6659_FD93;
            mixed ^= mixed >> 32;
            return ((int)mixed & _mask, (int)(((uint)row * (CountersPerWord / Rows)) + ((mixed >> 60) & 3)) * 4);
        }
    }
}
