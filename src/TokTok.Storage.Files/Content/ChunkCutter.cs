using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Where content-defined chunks end, for one key domain and one mean size.</summary>
internal sealed class ChunkCutter
{
    private readonly int _meanBytes;

    public ChunkCutter(ReadOnlySpan<byte> seed, int meanBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(seed.Length, 32);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(meanBytes * 4, BlockLimits.MaxBlockBytes);
        _meanBytes = meanBytes;
    }

    /// <summary>With so many bytes in sight a cut does not depend on those behind.</summary>
    public int LookAheadBytes => _meanBytes * 4;

    /// <summary>The length of the first chunk.</summary>
    public int Cut(ReadOnlySpan<byte> data) => Math.Min(data.Length, _meanBytes);
}
