using System.Numerics;

namespace TokTok.Storage.Core.Chunking;

/// <summary>How long chunks are: the least, the mean the cut rule aims at, the most, and how strongly it draws lengths to the mean.</summary>
/// <remarks>Format: docs/format.md 2.2. Made only by a constructor that checks, so a <see cref="FastCdc"/> need not.</remarks>
public sealed record ChunkBounds
{
    /// <summary>No chunk is longer than a block.</summary>
    public const int MaxChunkBytes = 1 << 20;

    /// <summary>The normalisation of the paper's best compromise (NC2): two bits more before the mean, two fewer after it.</summary>
    public const int DefaultNormalisation = 2;

    /// <param name="minBytes">Nothing shorter is cut but the last chunk. At least 64: the rolling hash sees 64 bytes.</param>
    /// <param name="meanBytes">A power of two.</param>
    /// <param name="normalisation">0 to 3.</param>
    public ChunkBounds(int minBytes, int meanBytes, int maxBytes, int normalisation)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(minBytes, 64);
        ArgumentOutOfRangeException.ThrowIfLessThan(meanBytes, minBytes);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxBytes, meanBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maxBytes, MaxChunkBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(normalisation);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(normalisation, 3);
        if (!BitOperations.IsPow2(meanBytes) || meanBytes < 256)
        {
            throw new ArgumentOutOfRangeException(nameof(meanBytes), $"The mean is a power of two from 256 up; this is {meanBytes}.");
        }

        (MinBytes, MeanBytes, MaxBytes, Normalisation) = (minBytes, meanBytes, maxBytes, normalisation);
    }

    public int MinBytes { get; }

    public int MeanBytes { get; }

    public int MaxBytes { get; }

    public int Normalisation { get; }

    /// <summary>The bounds that TDFS uses for a mean: a quarter of it, it, and four times it but no more than a block.</summary>
    public static ChunkBounds ForMean(int meanBytes) =>
        new(meanBytes / 4, meanBytes, (int)Math.Min(4L * meanBytes, MaxChunkBytes), DefaultNormalisation);
}
