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
    internal const int HeadBytes = 8;

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
        byte[]? nodes = hashes is null ? null : Blake3Tree.Nodes(hashes);
        foreach ((int at, int count) in Pieces(offset, bytes.Length))
        {
            if (nodes is not null)
            {
                int proof = Blake3Tree.ProofSize(slice, at, count);
                Blake3Tree.WriteProof(nodes, slice, at, count, target[..proof]);
                target = target[proof..];
            }

            bytes.Slice(at - offset, count).CopyTo(target);
            target = target[count..];
        }
    }

    /// <summary>Takes an answer as it comes: its head, and then the pieces, each checked while it is at hand.</summary>
    /// <param name="fill">Gives exactly as many bytes as there is room.</param>
    /// <param name="expected">What each piece has to prove; null: nothing is known.</param>
    /// <returns>How many bytes there are, -1 where the holder has no such fragment; and false if any piece is not what its name proves, though the bytes are taken all the same.</returns>
    /// <exception cref="DamagedFormatException">It is no answer to a question for as many bytes as the target holds.</exception>
    internal static async ValueTask<(int Read, bool IsRight)> ReadAsync(Func<Memory<byte>, ValueTask> fill, int slice, int offset, Memory<byte> target, FragmentName? expected)
    {
        byte[] head = new byte[HeadBytes];
        await fill(head).ConfigureAwait(false);
        (byte form, int count) = Head(head, slice, offset, target.Length);
        if (form == Absent)
        {
            return (-1, true);
        }

        bool isRight = form == Proven;
        byte[] root = new byte[Blake3.HashSize];
        expected?.Write(root);
        byte[] proof = [];
        foreach ((int at, int bytes) in Pieces(offset, count))
        {
            int proofBytes = form == Proven ? Blake3Tree.ProofSize(slice, at, bytes) : 0;
            proof = proof.Length < proofBytes ? new byte[proofBytes] : proof;
            Memory<byte> piece = target.Slice(at - offset, bytes);
            if (proofBytes > 0)
            {
                await fill(proof.AsMemory(0, proofBytes)).ConfigureAwait(false);
            }

            await fill(piece).ConfigureAwait(false);
            isRight = isRight && (expected is null || Blake3Tree.TryVerifyWindow(root, slice, at, piece.Span, proof.AsSpan(0, proofBytes)));
        }

        return (count, isRight);
    }

    /// <summary>What follows an answer's head, of so many bytes that were asked for.</summary>
    private static (byte Form, int Count) Head(ReadOnlySpan<byte> head, int slice, int offset, int asked)
    {
        var reader = new FieldReader(head, "read");
        byte form = reader.U8();
        reader.Reserved(3);
        uint following = reader.U32();
        int count = form == Absent ? 0 : form == Proven ? asked : (int)Math.Min(following, int.MaxValue);
        return form <= Bare && count <= asked && following == BytesOf(slice, offset, count, form == Proven)
            ? (form, count)
            : throw reader.Damaged($"found form {form} with {following} bytes, {asked} asked for");
    }
}
