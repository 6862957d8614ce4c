namespace TokTok.Storage.Blocks.Arenas;

/// <summary>How an arena is cut into fragments: k data slices and m parity fragments of one length.</summary>
/// <remarks>Format: docs/format.md 6. Invariant: 1 &lt;= k, k + m &lt;= 256, slice a multiple of 4,096, image = k slices at most 16 MiB and k × 4 KiB of rounding.</remarks>
public readonly record struct ArenaLayout
{
    public const int SliceRounding = 4096;
    public const int MaxNominalBytes = 16 * 1024 * 1024;
    public const int MaxImageBytes = MaxNominalBytes + (255 * SliceRounding);

    public ArenaLayout(int dataFragments, int parityFragments, int sliceBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(dataFragments, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(parityFragments);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dataFragments + parityFragments, 256);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dataFragments, 255);
        DataFragments = dataFragments;
        ParityFragments = parityFragments;
        SliceBytes = sliceBytes;
    }

    public int DataFragments { get; }

    public int ParityFragments { get; }

    public int SliceBytes { get; }

    public int FragmentCount => DataFragments + ParityFragments;

    public int ImageBytes => DataFragments * SliceBytes;

    /// <summary>The nominal sizes an image is padded to, smallest first: few sizes, so that a size tells little.</summary>
    public static ReadOnlySpan<int> NominalSizes => [256 * 1024, 1024 * 1024, 4 * 1024 * 1024, MaxNominalBytes];

    public static ArenaLayout ForNominal(RedundancyClass redundancy, int nominalBytes)
    {
        int slice = ((nominalBytes + redundancy.Data - 1) / redundancy.Data + SliceRounding - 1) / SliceRounding * SliceRounding;
        return new ArenaLayout(redundancy.Data, redundancy.Parity, slice);
    }

    /// <summary>Whether values read from disk keep the invariant.</summary>
    public static bool IsValid(int dataFragments, int parityFragments, long sliceBytes) =>
        dataFragments is >= 1 and <= 255 && parityFragments >= 0 && dataFragments + parityFragments <= 256
        && sliceBytes > 0 && sliceBytes % SliceRounding == 0 && sliceBytes * dataFragments <= MaxImageBytes;
}

/// <summary>The k+m of an arena, and how many places may be lost.</summary>
/// <remarks>Survive is 0 where one place holds every fragment: parity then mends bad sectors, not a lost disk.</remarks>
public readonly record struct RedundancyClass(int Data, int Parity, int Survive)
{
    public override string ToString() => $"{Data}+{Parity} (survives {Survive})";
}
