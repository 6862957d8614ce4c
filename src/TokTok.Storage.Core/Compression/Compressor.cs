namespace TokTok.Storage.Core.Compression;

/// <summary>How the bytes of a block are packed. Values are part of the format.</summary>
public enum Codec : byte
{
    /// <summary>As they are.</summary>
    Raw = 0,

    /// <summary>One Zstandard frame (RFC 8878).</summary>
    Zstd = 1,
}

/// <summary>Packs a block when that pays, and gives back exactly the bytes that were packed.</summary>
/// <remarks>Format: docs/format.md 2.3.
/// Rule: zstd is kept only when it saves at least 1/32 of the plaintext; else the block is raw. What is noise is found by a probe:
/// from <see cref="ProbedFrom"/> bytes on, three samples of 4 KiB (start, middle, end) go as one frame through zstd's fast level -1; if that
/// does not save 1/32, the block is taken as noise. The probe may miss what lies between the samples; it costs size, never correctness.
/// Stateless; safe from several threads.</remarks>
public sealed class Compressor
{
    public const int ProbedFrom = 32 * 1024;

    private const int SampleBytes = 4 * 1024, SampleCount = 3;
    private const int ProbeLevel = -1;

    /// <summary>The target that <see cref="Compress"/> needs: raw is always possible.</summary>
    public static int MaximumBytes(int plainBytes) => plainBytes;

    /// <summary>Packs into the start of <paramref name="target"/>, which holds at least <see cref="MaximumBytes"/>.</summary>
#pragma warning disable CA1822 // An instance, since a dictionary per volume will be its state.
    public Codec Compress(ReadOnlySpan<byte> plain, Span<byte> target, int level, out int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(target.Length, MaximumBytes(plain.Length));
        int longestWorthwhile = LongestWorthwhile(plain.Length);
        if (longestWorthwhile > 0 && LooksCompressible(plain) && Zstd.TryCompress(plain, target[..longestWorthwhile], level, out bytes))
        {
            return Codec.Zstd;
        }

        plain.CopyTo(target);
        bytes = plain.Length;
        return Codec.Raw;
    }

    /// <summary>Unpacks exactly <c>plain.Length</c> bytes. False, and plain zeroed, for an unknown codec, damaged bytes or any other length.</summary>
    public bool TryDecompress(Codec codec, ReadOnlySpan<byte> packed, Span<byte> plain)
    {
        switch (codec)
        {
            case Codec.Raw when packed.Length == plain.Length:
                packed.CopyTo(plain);
                return true;
            case Codec.Zstd:
                return Zstd.TryDecompress(packed, plain);
            default:
                plain.Clear();
                return false;
        }
    }
#pragma warning restore CA1822

    private static int LongestWorthwhile(int plainBytes) => plainBytes - Math.Max(1, plainBytes / 32);

    private static bool LooksCompressible(ReadOnlySpan<byte> plain)
    {
        if (plain.Length < ProbedFrom)
        {
            return true;
        }

        // One frame over all samples: it also sees when they repeat each other.
        Span<byte> samples = stackalloc byte[SampleCount * SampleBytes];
        plain[..SampleBytes].CopyTo(samples);
        plain.Slice((plain.Length - SampleBytes) / 2, SampleBytes).CopyTo(samples[SampleBytes..]);
        plain[^SampleBytes..].CopyTo(samples[(2 * SampleBytes)..]);
        Span<byte> packed = stackalloc byte[LongestWorthwhile(SampleCount * SampleBytes)];
        return Zstd.TryCompress(samples, packed, ProbeLevel, out _);
    }
}
