using System.Buffers.Binary;

namespace TokTok.Storage.Core.Compression;

/// <summary>A run of plaintext that a packed block holds verbatim.</summary>
public readonly record struct VerbatimRun(int PlainOffset, int PackedOffset, int Length)
{
    public int PlainEnd => PlainOffset + Length;
}

/// <summary>Where a Zstandard frame holds plaintext as it is: raw blocks and raw literals, which is how noise within a compressible block is kept.</summary>
/// <remarks>
/// Format: RFC 8878, 3.1.1. A compressed block says only its packed size; it is taken to hold the most that one may, which encoders keep to but at a frame's end. Literals do not say where matches come between them;
/// they are looked for where they may stand. Every run found is compared with the plaintext: what is returned is true, and may be less than there is.
/// </remarks>
public static class ZstdFrame
{
    private const int DescriptorOffset = sizeof(uint);
    private const int BlockHeaderSize = 3;
    private const int MaxBlockBytes = 128 * 1024;
    private const int RepeatedBlock = 1, CompressedBlock = 2; // 0: raw
    private const int RawLiterals = 0;
    private const int SoughtBytes = 32;
    private const int MaxMatches = 16;

    /// <param name="packed">A frame that decompresses to <paramref name="plain"/>.</param>
    /// <param name="shortest">Shorter runs are left out.</param>
    public static List<VerbatimRun> VerbatimRuns(ReadOnlySpan<byte> packed, ReadOnlySpan<byte> plain, int shortest)
    {
        List<VerbatimRun> runs = [];
        if (packed.Length <= DescriptorOffset)
        {
            return runs;
        }

        int descriptor = packed[DescriptorOffset];
        bool isSingleSegment = (descriptor & 32) != 0;
        int sizeBytes = (descriptor >> 6) switch { 0 => isSingleSegment ? 1 : 0, 1 => 2, 2 => 4, _ => 8 };
        int at = DescriptorOffset + 1 + (isSingleSegment ? 0 : 1) + sizeBytes;
        int plainAt = 0;
        for (bool isLast = false; !isLast && at + BlockHeaderSize <= packed.Length;)
        {
            int header = U24(packed[at..]);
            isLast = (header & 1) != 0;
            int kind = (header >> 1) & 3;
            int size = header >> 3;
            at += BlockHeaderSize;
            int plainBytes = kind == CompressedBlock ? Math.Min(MaxBlockBytes, plain.Length - plainAt) : size;
            int packedBytes = kind == RepeatedBlock ? 1 : size;
            if (kind > CompressedBlock || plainBytes > plain.Length - plainAt || packedBytes > packed.Length - at)
            {
                break;
            }

            if (kind != RepeatedBlock && TryRawBytes(packed.Slice(at, packedBytes), kind == CompressedBlock, out int skip, out int count))
            {
                Find(packed.Slice(at + skip, count), at + skip, plain.Slice(plainAt, plainBytes), plainAt, shortest, runs);
            }

            at += packedBytes;
            plainAt += plainBytes;
        }

        return runs;
    }

    /// <summary>Where in a block's packed bytes plaintext stands (RFC 8878, 3.1.1.3.1.1): all of a raw one, the literals of a compressed one if they are raw.</summary>
    private static bool TryRawBytes(ReadOnlySpan<byte> block, bool isCompressed, out int skip, out int count)
    {
        (skip, count) = (0, block.Length);
        if (!isCompressed)
        {
            return true;
        }

        if (block.Length < BlockHeaderSize || (block[0] & 3) != RawLiterals)
        {
            return false;
        }

        (skip, count) = ((block[0] >> 2) & 3) switch
        {
            1 => (2, BinaryPrimitives.ReadUInt16LittleEndian(block) >> 4),
            3 => (3, U24(block) >> 4),
            _ => (1, block[0] >> 3),
        };
        return count <= block.Length - skip;
    }

    /// <summary>Follows packed bytes through the plaintext of their block, matches between them.</summary>
    private static void Find(ReadOnlySpan<byte> raw, int rawAt, ReadOnlySpan<byte> plain, int plainAt, int shortest, List<VerbatimRun> runs)
    {
        for (int match = 0; raw.Length >= shortest && match < MaxMatches; match++)
        {
            int start = plain.IndexOf(raw[..Math.Min(SoughtBytes, raw.Length)]);
            if (start < 0)
            {
                // A match stands between these bytes: what follows may be longer in one piece.
                rawAt += Math.Min(SoughtBytes, raw.Length);
                raw = raw[Math.Min(SoughtBytes, raw.Length)..];
                continue;
            }

            int length = plain[start..].CommonPrefixLength(raw);
            if (length >= shortest)
            {
                runs.Add(new VerbatimRun(plainAt + start, rawAt, length));
            }

            raw = raw[length..];
            plain = plain[(start + length)..];
            rawAt += length;
            plainAt += start + length;
        }
    }

    private static int U24(ReadOnlySpan<byte> source) => source[0] | (BinaryPrimitives.ReadUInt16LittleEndian(source[1..]) << 8);
}
