using TokTok.Storage.Core.Chunking;

namespace TokTok.Storage.Files;

/// <summary>Where content-defined chunks end, for one key domain and its bounds. Dispose zeroes the table made from the domain's seed.</summary>
internal sealed class ChunkCutter : IDisposable
{
    private readonly GearTable _gear;
    private readonly FastCdc _chunker;

    public ChunkCutter(ReadOnlySpan<byte> seed, ChunkBounds bounds)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(seed.Length, GearTable.SeedSize);
        _gear = GearTable.FromSeed(seed);
        _chunker = new FastCdc(_gear, bounds);
    }

    /// <summary>With so many bytes in sight a cut does not depend on those behind.</summary>
    public int LookAheadBytes => _chunker.Bounds.MaxBytes;

    /// <summary>The length of the first chunk.</summary>
    public int Cut(ReadOnlySpan<byte> data) => _chunker.NextCut(data);

    public void Dispose() => _gear.Dispose();
}
