using System.Numerics;

namespace TokTok.Storage.Core.Chunking;

/// <summary>Cuts bytes where their content says so: an insertion moves the cuts beside it and no others.</summary>
/// <remarks>Format: docs/format.md 2.2. Source: Xia and others, The Design of Fast Content-Defined Chunking (TPDS 2020): normalised
/// chunking, two bytes a step; cut for cut what fastcdc-rs v2020 gives with the same table.
/// The hash after byte i is twice the hash before plus the byte's word, modulo 2^64. A chunk ends before the first byte i >= min after
/// which the hash has all bits of the mask zero; the mask has more bits before the mean than after. The hash starts at 0 at min.
/// Immutable, allocates nothing; one chunker serves any number of threads until its table is disposed.</remarks>
public sealed class FastCdc
{
    // The published masks by the number of their bits (fastcdc-rs v2020, MIT), 5 to 25: bits spread so that 48 bytes count, not the last few.
    private static ReadOnlySpan<ulong> Masks =>
    [
        0, 0, 0, 0, 0, 0x0000000001804110, 0x0000000001803110, 0x0000000018035100, 0x0000001800035300, 0x0000019000353000, 0x0000590003530000,
        0x0000d90003530000, 0x0000d90103530000, 0x0000d90303530000, 0x0000d90313530000, 0x0000d90f03530000, 0x0000d90303537000,
        0x0000d90703537000, 0x0000d90707537000, 0x0000d91707537000, 0x0000d91747537000, 0x0000d91767537000, 0x0000d93767537000,
        0x0000d93777537000, 0x0000d93777577000, 0x0000db3777577000,
    ];

    private readonly GearTable _gear;
    private readonly ulong _smallMask;
    private readonly ulong _largeMask;

    public FastCdc(GearTable gear, ChunkBounds bounds)
    {
        ArgumentNullException.ThrowIfNull(gear);
        ArgumentNullException.ThrowIfNull(bounds);
        int bits = BitOperations.Log2((uint)bounds.MeanBytes);
        (_gear, Bounds) = (gear, bounds);
        (_smallMask, _largeMask) = (Masks[bits + bounds.Normalisation], Masks[bits - bounds.Normalisation]);
    }

    public ChunkBounds Bounds { get; }

    /// <summary>Bytes of the first chunk: 1 to the maximum, or 0 where there are no bytes.</summary>
    /// <param name="data">All the rest of the input, or at least the maximum of it; else the end of the span passes for the end of the input.</param>
    public int NextCut(ReadOnlySpan<byte> data) => NextCut(data, out _);

    internal unsafe int NextCut(ReadOnlySpan<byte> data, out ulong hash)
    {
        hash = 0;
        if (data.Length <= Bounds.MinBytes)
        {
            return data.Length;
        }

        int end = Math.Min(data.Length, Bounds.MaxBytes);
        int mean = Math.Min(end, Bounds.MeanBytes);
        fixed (byte* bytes = data)
        fixed (ulong* gear = _gear.Words)
        {
            int cut = Scan(bytes, gear, Bounds.MinBytes & ~1, mean & ~1, _smallMask, ref hash);
            if (cut < 0)
            {
                cut = Scan(bytes, gear, Math.Max(mean, Bounds.MinBytes) & ~1, end & ~1, _largeMask, ref hash);
            }

            return cut < 0 ? end : cut;
        }
    }

    /// <summary>The first cut in [from, to), both even, or -1.</summary>
    private static unsafe int Scan(byte* bytes, ulong* gear, int from, int to, ulong mask, ref ulong rolling)
    {
        unchecked
        {
            // The first byte of a pair adds its word shifted, to a hash shifted by two, under a mask shifted: the same test, one shift less.
            ulong hash = rolling;
            ulong shiftedMask = mask << 1;
            ulong* shiftedGear = gear + GearTable.WordCount;
            for (nint i = from; i < to; i += 2)
            {
                hash = (hash << 2) + shiftedGear[bytes[i]];
                if ((hash & shiftedMask) == 0)
                {
                    rolling = hash;
                    return (int)i;
                }

                hash += gear[bytes[i + 1]];
                if ((hash & mask) == 0)
                {
                    rolling = hash;
                    return (int)i + 1;
                }
            }

            rolling = hash;
            return -1;
        }
    }
}
