using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Node.Wire;

/// <summary>A range of a fragment in pieces of at most 64 KiB, each with the tree path that proves it.</summary>
/// <remarks>Format: docs/protocol.md 3.3, windows. All lengths follow from slice, offset and count, so a reader takes none from the holder.</remarks>
internal static class FragmentWindows
{
    internal const byte Absent = 0;
    internal const byte Proven = 1;
    internal const byte Bare = 2;

    /// <summary>The range that holds the wanted one and begins and ends with groups, or with the slice.</summary>
    internal static (int Offset, int Count) Widen(int slice, long offset, int count)
    {
        long from = offset / Blake3.GroupSize * Blake3.GroupSize;
        long to = Math.Min(slice, (offset + count + Blake3.GroupSize - 1) / Blake3.GroupSize * Blake3.GroupSize);
        return ((int)from, (int)(to - from));
    }

    /// <summary>A window of 64 KiB, or what the slice has of one, that nobody can foresee: what an audit asks for.</summary>
    internal static (int Offset, int Count) Random(int slice, IRandomSource random)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        random.Fill(bytes);
        int windows = (slice + Protocol.WindowBytes - 1) / Protocol.WindowBytes;
        int offset = (int)(System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(bytes) % (ulong)windows) * Protocol.WindowBytes;
        return (offset, Math.Min(Protocol.WindowBytes, slice - offset));
    }

    /// <summary>Whether a request's range is one that can be answered.</summary>
    internal static bool IsRange(int slice, uint offset, uint count) =>
        count is >= 1 and <= Protocol.MaxReadBytes && offset < slice && (long)offset + count <= slice
        && offset % Blake3.GroupSize == 0 && (count % Blake3.GroupSize == 0 || offset + count == slice);

    internal static IEnumerable<(int Offset, int Count)> Pieces(int offset, int count)
    {
        for (int at = offset; at < offset + count;)
        {
            int end = Math.Min(offset + count, (at / Protocol.WindowBytes + 1) * Protocol.WindowBytes);
            yield return (at, end - at);
            at = end;
        }
    }

    internal static int BytesOf(int slice, int offset, int count, bool proven) =>
        count + (proven ? Pieces(offset, count).Sum(piece => Blake3Tree.ProofSize(slice, piece.Offset, piece.Count)) : 0);

    /// <summary>Writes the pieces, each behind its proof where there are hashes.</summary>
    /// <param name="target">As long as <see cref="BytesOf"/> says. The bytes may lie at the end of it, or behind it: what is written comes no further than the piece that is moved.</param>
    internal static void Write(Span<byte> target, int slice, int offset, ReadOnlySpan<byte> bytes, byte[]? hashes)
    {
        foreach ((int at, int count) in Pieces(offset, bytes.Length))
        {
            if (hashes is not null)
            {
                int proof = Blake3Tree.ProofSize(slice, at, count);
                Blake3Tree.WriteProof(hashes, slice, at, count, target[..proof]);
                target = target[proof..];
            }

            bytes.Slice(at - offset, count).CopyTo(target);
            target = target[count..];
        }
    }

    /// <summary>Takes the bytes out of an answer's windows. False if any piece is not what its name proves; the bytes are taken all the same.</summary>
    internal static bool Read(ref FieldReader reader, int slice, int offset, Span<byte> target, bool proven, FragmentName? expected)
    {
        Span<byte> root = stackalloc byte[Blake3.HashSize];
        expected?.Write(root);
        bool isRight = proven && expected is not null;
        foreach ((int at, int count) in Pieces(offset, target.Length))
        {
            ReadOnlySpan<byte> proof = proven ? reader.Bytes(Blake3Tree.ProofSize(slice, at, count)) : [];
            ReadOnlySpan<byte> piece = reader.Bytes(count);
            isRight = isRight && Blake3Tree.TryVerifyWindow(root, slice, at, piece, proof);
            piece.CopyTo(target[(at - offset)..]);
        }

        return isRight;
    }
}
