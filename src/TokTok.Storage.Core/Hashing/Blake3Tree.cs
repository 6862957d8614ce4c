using System.Numerics;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;

namespace TokTok.Storage.Core.Hashing;

/// <summary>The BLAKE3 tree in groups of 16 KiB: group hashes to keep beside a fragment, and proofs that a window belongs to a root.</summary>
/// <remarks>Format: docs/format.md 2.1. Source: bao (O'Connor), with the group size of bao-tree's chunk log 4.
/// The root is the plain BLAKE3 of the bytes; a group's hash is the chaining value of its subtree, or the root where it is the only group.
/// A proof holds the chaining values beside the window's ancestors, in pre-order, so that its length and the place of every value
/// follow from (length, offset, count) alone: a verifier reads nothing that the prover could choose.
/// The length is the verifier's own knowledge: a proof confirms it only if the window reaches the end.
/// Every argument is checked; a proof or window of the wrong length is a false, since a stranger sends them.</remarks>
public static class Blake3Tree
{
    internal const int GroupLog = 4;

    /// <summary>How many groups bytes of this length have. Nothing at all is one empty group.</summary>
    public static long GroupCount(long length) => GroupCount(length, GroupLog);

    /// <summary>Hashes in one pass: all group hashes, and the root.</summary>
    /// <param name="groupHashes">Exactly <see cref="GroupCount(long)"/> hashes.</param>
    public static void HashWithGroups(ReadOnlySpan<byte> input, Span<byte> groupHashes, Span<byte> root) =>
        HashWithGroups(KernelPaths.Best, GroupLog, input, groupHashes, root);

    /// <summary>The hash of one group: at most <see cref="Blake3.GroupSize"/> bytes.</summary>
    /// <param name="groupIndex">Its place in the whole, which its hash depends on.</param>
    /// <param name="isOnlyGroup">True if the whole has one group: then the hash is the root itself.</param>
    public static void GroupHash(ReadOnlySpan<byte> group, long groupIndex, bool isOnlyGroup, Span<byte> output)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(group.Length, Blake3.GroupSize);
        ArgumentOutOfRangeException.ThrowIfNegative(groupIndex);
        CheckHash(output, nameof(output));
        if (isOnlyGroup)
        {
            ArgumentOutOfRangeException.ThrowIfNotEqual(groupIndex, 0);
            Blake3.Hash(group, output);
        }
        else
        {
            ArgumentOutOfRangeException.ThrowIfZero(group.Length);
            Subtree(KernelPaths.Best, group, groupIndex, GroupLog, isRoot: false, output);
        }
    }

    /// <summary>The root above all group hashes.</summary>
    public static void RootFromGroups(ReadOnlySpan<byte> groupHashes, Span<byte> root)
    {
        CheckHash(root, nameof(root));
        ArgumentOutOfRangeException.ThrowIfZero(groupHashes.Length);
        CheckWhole(groupHashes);
        Above(groupHashes, isRoot: true, root);
    }

    /// <summary>Bytes of the proof of <paramref name="count"/> bytes at <paramref name="offset"/>, widened to groups.</summary>
    public static int ProofSize(long length, long offset, int count) => ProofSize(length, offset, count, GroupLog);

    /// <summary>What proofs are made of: the nodes that stand over one group, over two, over four and so on, each row from the left, as far as two of a row are left.</summary>
    public static unsafe byte[] Nodes(ReadOnlySpan<byte> groupHashes)
    {
        ArgumentOutOfRangeException.ThrowIfZero(groupHashes.Length);
        CheckWhole(groupHashes);
        long count = groupHashes.Length / Blake3.HashSize;
        byte[] nodes = new byte[RowStart(count, int.MaxValue) * Blake3.HashSize];
        groupHashes.CopyTo(nodes);
        fixed (byte* start = nodes)
        fixed (uint* key = Blake3Kernel.Iv)
        {
            byte* row = start;
            while (count > 2)
            {
                // One that has no neighbour stands over nothing else, and is a node of the next row as it is.
                byte* above = row + (count * Blake3.HashSize);
                int pairs = (int)(count / 2);
                Blake3Kernel.HashMany(KernelPaths.Best, row, pairs, Blake3Kernel.BlockSize, 1, key, 0, 0, Blake3Kernel.Parent, 0, 0, above);
                if (count % 2 == 1)
                {
                    new ReadOnlySpan<byte>(row + ((count - 1) * Blake3.HashSize), Blake3.HashSize).CopyTo(new Span<byte>(above + (pairs * Blake3.HashSize), Blake3.HashSize));
                }

                row = above;
                count = (count + 1) / 2;
            }
        }

        return nodes;
    }

    /// <summary>Writes the proof of a window. The window is what <see cref="WindowOf"/> says.</summary>
    /// <param name="nodes">What <see cref="Nodes"/> makes of all group hashes.</param>
    /// <param name="proof">Exactly <see cref="ProofSize(long, long, int)"/> bytes.</param>
    public static void WriteProof(ReadOnlySpan<byte> nodes, long length, long offset, int count, Span<byte> proof) =>
        WriteProof(nodes, length, offset, count, proof, GroupLog);

    /// <summary>The bytes that a proof of this range speaks of: the range widened to whole groups, or to the end.</summary>
    public static (long Offset, int Count) WindowOf(long length, long offset, int count)
    {
        (long first, long end) = Groups(length, offset, count, GroupLog);
        long from = first * Blake3.GroupSize;
        long to = end == GroupCount(length) ? length : end * Blake3.GroupSize;
        return (from, checked((int)(to - from)));
    }

    /// <summary>True if <paramref name="window"/> is what lies at <paramref name="offset"/> of the <paramref name="length"/> bytes under the root.</summary>
    /// <param name="offset">A multiple of <see cref="Blake3.GroupSize"/>; the window ends at such a multiple or at the end.</param>
    public static bool TryVerifyWindow(ReadOnlySpan<byte> root, long length, long offset, ReadOnlySpan<byte> window, ReadOnlySpan<byte> proof) =>
        TryVerifyWindow(KernelPaths.Best, GroupLog, root, length, offset, window, proof);

    internal static long GroupCount(long length, int groupLog)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        int shift = groupLog + 10;
        return length == 0 ? 1 : ((length - 1) >> shift) + 1;
    }

    [SkipLocalsInit]
    internal static unsafe void HashWithGroups(KernelPath path, int groupLog, ReadOnlySpan<byte> input, Span<byte> groupHashes, Span<byte> root)
    {
        CheckHash(root, nameof(root));
        long groupCount = GroupCount(input.Length, groupLog);
        if (groupHashes.Length != groupCount * Blake3.HashSize)
        {
            throw new ArgumentException($"{input.Length} bytes have {groupCount} group hashes; the span holds {groupHashes.Length} bytes.", nameof(groupHashes));
        }

        if (groupCount == 1)
        {
            Blake3.Hash(path, input, root);
            root.CopyTo(groupHashes);
            return;
        }

        // Whole groups, a batch at a time; the last one, which may be short, by itself.
        int groupChunks = 1 << groupLog;
        int groupBytes = groupChunks * Blake3.ChunkSize;
        int batchGroups = Blake3State.BatchChunks / groupChunks;
        byte* work = stackalloc byte[Blake3State.BatchChunks * Blake3.HashSize];
        int group = 0;
        fixed (byte* start = input)
        fixed (uint* key = Blake3Kernel.Iv)
        {
            while (group < groupCount - 1)
            {
                int count = (int)Math.Min(batchGroups, groupCount - 1 - group);
                Blake3Kernel.HashMany(
                    path, start + ((long)group * groupBytes), count * groupChunks, Blake3.ChunkSize, Blake3Kernel.BlocksPerChunk, key,
                    (ulong)group * (uint)groupChunks, 1, 0, Blake3Kernel.ChunkStart, Blake3Kernel.ChunkEnd, work);
                Blake3State.Fold(path, work, count * groupChunks, count, key, flags: 0);
                new ReadOnlySpan<byte>(work, count * Blake3.HashSize).CopyTo(groupHashes[(group * Blake3.HashSize)..]);
                group += count;
            }
        }

        Subtree(path, input[(group * groupBytes)..], group, groupLog, isRoot: false, groupHashes[(group * Blake3.HashSize)..]);
        Above(groupHashes, isRoot: true, root);
    }

    internal static int ProofSize(long length, long offset, int count, int groupLog)
    {
        (long first, long end) = Groups(length, offset, count, groupLog);
        return Siblings(0, GroupCount(length, groupLog), first, end) * Blake3.HashSize;
    }

    internal static void WriteProof(ReadOnlySpan<byte> nodes, long length, long offset, int count, Span<byte> proof, int groupLog)
    {
        (long first, long end) = Groups(length, offset, count, groupLog);
        long groupCount = GroupCount(length, groupLog);
        if (nodes.Length != RowStart(groupCount, int.MaxValue) * Blake3.HashSize)
        {
            throw new ArgumentException($"{length} bytes have {RowStart(groupCount, int.MaxValue)} nodes; the span holds {nodes.Length} bytes.", nameof(nodes));
        }

        int size = Siblings(0, groupCount, first, end) * Blake3.HashSize;
        if (proof.Length != size)
        {
            throw new ArgumentException($"The proof has {size} bytes; the span has {proof.Length}.", nameof(proof));
        }

        Write(nodes, groupCount, 0, groupCount, first, end, ref proof);
        System.Diagnostics.Debug.Assert(proof.Length == 0, "Write and Siblings disagree");
    }

    internal static bool TryVerifyWindow(
        KernelPath path, int groupLog, ReadOnlySpan<byte> root, long length, long offset, ReadOnlySpan<byte> window, ReadOnlySpan<byte> proof)
    {
        long groupBytes = (long)Blake3.ChunkSize << groupLog;
        if (root.Length != Blake3.HashSize || length < 0 || offset < 0 || offset > length || offset % groupBytes != 0 || window.Length > length - offset)
        {
            return false;
        }

        bool reachesEnd = window.Length == length - offset;
        if ((!reachesEnd && window.Length % groupBytes != 0) || (window.Length == 0 && length != 0))
        {
            return false;
        }

        long first = offset / groupBytes;
        long end = first + GroupCount(window.Length, groupLog);
        long groupCount = GroupCount(length, groupLog);
        if (proof.Length != (long)Siblings(0, groupCount, first, end) * Blake3.HashSize)
        {
            return false;
        }

        Span<byte> actual = stackalloc byte[Blake3.HashSize];
        Read(path, groupLog, 0, groupCount, first, end, window, ref proof, isRoot: true, actual);
        return CryptographicOperations.FixedTimeEquals(actual, root);
    }

    /// <summary>Groups [first, end) that hold the range. An empty range stands only for bytes of length 0.</summary>
    private static (long First, long End) Groups(long length, long offset, int count, int groupLog)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, length - offset);
        if (length == 0)
        {
            return (0, 1);
        }

        ArgumentOutOfRangeException.ThrowIfZero(count);
        int shift = groupLog + 10;
        return (offset >> shift, ((offset + count - 1) >> shift) + 1);
    }

    /// <summary>Groups of the left subtree of a node over <paramref name="count"/>: the largest power of two that leaves something to the right.</summary>
    private static long LeftCount(long count) => 1L << BitOperations.Log2((ulong)(count - 1));

    private static bool IsInside(long low, long high, long first, long end) => first <= low && high <= end;

    private static bool IsOutside(long low, long high, long first, long end) => high <= first || end <= low;

    // The three walks below visit the same nodes in the same order: a node that the window covers whole is rebuilt from its bytes,
    // one it does not touch is a sibling in the proof, and any other is opened: left sibling, right sibling, left child, right child.

    private static int Siblings(long low, long high, long first, long end)
    {
        if (IsOutside(low, high, first, end))
        {
            return 1;
        }

        if (IsInside(low, high, first, end))
        {
            return 0;
        }

        long middle = low + LeftCount(high - low);
        return Siblings(low, middle, first, end) + Siblings(middle, high, first, end);
    }

    private static void Write(ReadOnlySpan<byte> nodes, long groupCount, long low, long high, long first, long end, ref Span<byte> proof)
    {
        if (IsInside(low, high, first, end))
        {
            return;
        }

        long middle = low + LeftCount(high - low);
        bool leftOut = IsOutside(low, middle, first, end);
        bool rightOut = IsOutside(middle, high, first, end);
        if (leftOut)
        {
            Node(nodes, groupCount, low, middle).CopyTo(Take(ref proof));
        }

        if (rightOut)
        {
            Node(nodes, groupCount, middle, high).CopyTo(Take(ref proof));
        }

        if (!leftOut)
        {
            Write(nodes, groupCount, low, middle, first, end, ref proof);
        }

        if (!rightOut)
        {
            Write(nodes, groupCount, middle, high, first, end, ref proof);
        }
    }

    private static void Read(
        KernelPath path, int groupLog, long low, long high, long first, long end, ReadOnlySpan<byte> window, ref ReadOnlySpan<byte> proof, bool isRoot,
        scoped Span<byte> output)
    {
        if (IsInside(low, high, first, end))
        {
            long groupBytes = (long)Blake3.ChunkSize << groupLog;
            long from = (low - first) * groupBytes;
            long to = Math.Min((high - first) * groupBytes, window.Length);
            Subtree(path, window[(int)from..(int)to], low, groupLog, isRoot, output);
            return;
        }

        long middle = low + LeftCount(high - low);
        bool leftOut = IsOutside(low, middle, first, end);
        bool rightOut = IsOutside(middle, high, first, end);
        Span<byte> children = stackalloc byte[2 * Blake3.HashSize];
        Span<byte> left = children[..Blake3.HashSize];
        Span<byte> right = children[Blake3.HashSize..];
        if (leftOut)
        {
            Take(ref proof).CopyTo(left);
        }

        if (rightOut)
        {
            Take(ref proof).CopyTo(right);
        }

        if (!leftOut)
        {
            Read(path, groupLog, low, middle, first, end, window, ref proof, isRoot: false, left);
        }

        if (!rightOut)
        {
            Read(path, groupLog, middle, high, first, end, window, ref proof, isRoot: false, right);
        }

        Above(children, isRoot, output);
    }

    /// <summary>Of these groups, in the row whose nodes stand over as many or, at the end, over more than half as many.</summary>
    private static ReadOnlySpan<byte> Node(ReadOnlySpan<byte> nodes, long groupCount, long low, long high)
    {
        int row = high - low == 1 ? 0 : BitOperations.Log2((ulong)(high - low - 1)) + 1;
        return nodes.Slice((int)(RowStart(groupCount, row) + (low >> row)) * Blake3.HashSize, Blake3.HashSize);
    }

    /// <summary>How many nodes lie before a row; before one that is not there: all.</summary>
    private static long RowStart(long groupCount, int row)
    {
        long before = 0;
        for (long count = groupCount; row > 0; row--, count = (count + 1) / 2)
        {
            before += count;
            if (count <= 2)
            {
                break;
            }
        }

        return before;
    }

    private static Span<byte> Take(ref Span<byte> proof)
    {
        Span<byte> value = proof[..Blake3.HashSize];
        proof = proof[Blake3.HashSize..];
        return value;
    }

    private static ReadOnlySpan<byte> Take(ref ReadOnlySpan<byte> proof)
    {
        ReadOnlySpan<byte> value = proof[..Blake3.HashSize];
        proof = proof[Blake3.HashSize..];
        return value;
    }

    /// <summary>The node over bytes that begin at a group: SIMD over all its chunks, whatever its groups.</summary>
    [SkipLocalsInit]
    private static void Subtree(KernelPath path, ReadOnlySpan<byte> input, long firstGroup, int groupLog, bool isRoot, Span<byte> output)
    {
        Unsafe.SkipInit(out Blake3State state);
        state.Start(path, Blake3Kernel.Iv, flags: 0, firstChunk: (ulong)firstGroup << groupLog);
        state.Update(input);
        Finish(ref state, isRoot, output[..Blake3.HashSize]);
    }

    /// <summary>The node over these hashes; one hash is its own node, root or not.</summary>
    [SkipLocalsInit]
    private static void Above(ReadOnlySpan<byte> hashes, bool isRoot, Span<byte> output)
    {
        if (hashes.Length == Blake3.HashSize)
        {
            hashes.CopyTo(output);
            return;
        }

        Unsafe.SkipInit(out Blake3State state);
        state.Start(KernelPaths.Best, Blake3Kernel.Iv, flags: 0);
        state.PushSubtrees(hashes);
        Finish(ref state, isRoot, output);
    }

    private static void Finish(ref Blake3State state, bool isRoot, Span<byte> output)
    {
        if (isRoot)
        {
            state.FinishRoot(output);
        }
        else
        {
            state.FinishSubtree(output);
        }
    }

    private static void CheckHash(Span<byte> output, string name)
    {
        if (output.Length != Blake3.HashSize)
        {
            throw new ArgumentException($"A hash has {Blake3.HashSize} bytes; the span has {output.Length}.", name);
        }
    }

    private static void CheckWhole(ReadOnlySpan<byte> groupHashes)
    {
        if (groupHashes.Length % Blake3.HashSize != 0)
        {
            throw new ArgumentException($"{groupHashes.Length} bytes are no whole number of hashes.", nameof(groupHashes));
        }
    }
}
