using System.Runtime.InteropServices;
using FASTER.core;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Core;

namespace Scale.Faster;

/// <summary>A score as FASTER keeps it: 32 bytes, aligned to 8.</summary>
/// <remarks>A score is a keyed hash, evenly spread, so its first word is its place in the hash table.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct IndexKey
{
    internal ulong A;
    internal ulong B;
    internal ulong C;
    internal ulong D;

    internal static IndexKey Of(Score score) => new()
    {
        A = score.Bytes.First,
        B = score.Bytes.Second,
        C = score.Bytes.Third,
        D = score.Bytes.Fourth,
    };
}

/// <summary>A location and a check of the whole entry: 16 bytes, so that FASTER's record is 56 and its headers stay aligned.</summary>
/// <remarks>
/// The check makes a hit on damaged bytes a miss: a wrong location would let a writer believe that a block is kept which is not.
/// Chance of a miss of that: 2^-32 for each damaged entry that is asked for.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
internal struct IndexValue
{
    internal uint ArenaOrdinal;
    internal int Offset;
    internal int Length;
    internal uint Check;

    internal static IndexValue Of(in IndexKey key, BlockLocation location) => new()
    {
        ArenaOrdinal = location.ArenaOrdinal,
        Offset = location.Offset,
        Length = location.Length,
        Check = CheckOf(key, location),
    };

    internal readonly bool TryGet(in IndexKey key, out BlockLocation location)
    {
        location = new BlockLocation(ArenaOrdinal, Offset, Length);
        if (Check == CheckOf(key, location))
        {
            return true;
        }

        location = default;
        return false;
    }

    private static uint CheckOf(in IndexKey key, BlockLocation location)
    {
        unchecked
        {
            ulong z = Mix(key.A ^ Mix(key.B ^ Mix(key.C ^ Mix(key.D))));
            z = Mix(z ^ (((ulong)location.ArenaOrdinal << 32) | (uint)location.Offset));
            return (uint)(Mix(z ^ (uint)location.Length) >> 32);
        }
    }

    /// <summary>The finaliser of SplitMix64: a bijection, so any one changed word changes the result before it is cut to 32 bits.</summary>
    private static ulong Mix(ulong z)
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

/// <summary>Equality and hash for FASTER.</summary>
internal sealed class IndexKeyComparer : IFasterEqualityComparer<IndexKey>
{
    public long GetHashCode64(ref IndexKey key) => unchecked((long)key.A);

    public bool Equals(ref IndexKey first, ref IndexKey second) =>
        first.A == second.A && first.B == second.B && first.C == second.C && first.D == second.D;
}

/// <summary>What FASTER does with a value: copy it. A record is never changed in place, so a reader without a lock sees a whole one.</summary>
internal sealed class IndexFunctions : FunctionsBase<IndexKey, IndexValue, IndexValue, IndexValue, Empty>
{
    public override bool SingleReader(ref IndexKey key, ref IndexValue input, ref IndexValue value, ref IndexValue dst, ref ReadInfo readInfo)
    {
        dst = value;
        return true;
    }

    public override bool ConcurrentReader(ref IndexKey key, ref IndexValue input, ref IndexValue value, ref IndexValue dst, ref ReadInfo readInfo)
    {
        dst = value;
        return true;
    }

    public override bool SingleWriter(
        ref IndexKey key, ref IndexValue input, ref IndexValue src, ref IndexValue dst, ref IndexValue output, ref UpsertInfo upsertInfo, WriteReason reason)
    {
        dst = src;
        return true;
    }

    public override bool ConcurrentWriter(
        ref IndexKey key, ref IndexValue input, ref IndexValue src, ref IndexValue dst, ref IndexValue output, ref UpsertInfo upsertInfo) => false;
}
