using System.Buffers.Binary;
using System.Text.Json;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Tests.Hashing;

public sealed class Blake3TreeTests
{
    private const int Group = Blake3.GroupSize;

    private static readonly int[] s_interestingSizes =
        [0, 1, 1024, Group - 1, Group, Group + 1, 2 * Group, (2 * Group) + 1, 3 * Group, (7 * Group) + 5, 8 * Group, (8 * Group) + 1, (9 * Group) + 1, 31 * Group];

    public static TheoryData<string> Paths => Blake3Tests.Paths;

    [Fact]
    public void A_group_too_long_out_of_place_or_for_another_span_is_refused()
    {
        byte[] group = new byte[Blake3.GroupSize], hash = new byte[Blake3.HashSize];
        Blake3Tree.GroupHash(group, 0, isOnlyGroup: true, hash);
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake3Tree.GroupHash(new byte[Blake3.GroupSize + 1], 0, isOnlyGroup: false, hash));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake3Tree.GroupHash(group, -1, isOnlyGroup: false, hash));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake3Tree.GroupHash(group, 1, isOnlyGroup: true, hash));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake3Tree.GroupHash([], 0, isOnlyGroup: false, hash));
        foreach (int wrong in (int[])[0, 31, 33])
        {
            Assert.Throws<ArgumentException>("output", () => Blake3Tree.GroupHash(group, 0, isOnlyGroup: false, new byte[wrong]));
            Assert.Throws<ArgumentException>("root", () => Blake3Tree.RootFromGroups(hash, new byte[wrong]));
        }
    }

    [Theory, MemberData(nameof(Paths))]
    public void Group_hashes_and_root_agree_with_the_slow_twin(string pathName)
    {
        KernelPath path = Blake3Tests.Runnable(pathName);
        foreach (int size in s_interestingSizes)
        {
            byte[] input = Blake3Tests.Input(size);
            var groups = new byte[Blake3Tree.GroupCount(size) * Blake3.HashSize];
            var root = new byte[Blake3.HashSize];
            Blake3Tree.HashWithGroups(path, Blake3Tree.GroupLog, input, groups, root);
            Assert.True(SlowBlake3.Hash(input).AsSpan().SequenceEqual(root), $"root of {size}");
            for (int i = 0; i * Group < size; i++)
            {
                ReadOnlySpan<byte> group = input.AsSpan(i * Group, Math.Min(Group, size - (i * Group)));
                byte[] expected = size <= Group ? root : SlowBlake3.Node(group, (ulong)(16 * i));
                var actual = new byte[Blake3.HashSize];
                Blake3Tree.GroupHash(group, i, isOnlyGroup: size <= Group, actual);
                Assert.Equal(expected, actual);
                Assert.Equal(expected, groups[(32 * i)..(32 * (i + 1))]);
            }

            var above = new byte[Blake3.HashSize];
            Blake3Tree.RootFromGroups(groups, above);
            Assert.Equal(root, above);
        }
    }

    [Fact]
    public void The_root_follows_from_any_number_of_groups()
    {
        byte[] hashes = Blake3Tests.Input(700 * 32);
        var root = new byte[32];
        for (int count = 1; count <= 700; count += count < 300 ? 1 : 57)
        {
            Blake3Tree.RootFromGroups(hashes.AsSpan(0, 32 * count), root);
            Assert.True(count == 1 ? root.AsSpan().SequenceEqual(hashes.AsSpan(0, 32)) : Slow(0, count, 8).AsSpan().SequenceEqual(root), $"{count} groups");
        }

        byte[] Slow(int from, int count, uint rootFlag)
        {
            if (count == 1)
            {
                return hashes[(32 * from)..(32 * (from + 1))];
            }

            int left = 1;
            while (left * 2 < count)
            {
                left *= 2;
            }

            return SlowBlake3.Parent(Slow(from, left, 0), Slow(from + left, count - left, 0), rootFlag);
        }
    }

    [Fact]
    public void Every_window_verifies_with_its_proof_and_with_nothing_else()
    {
        foreach (int size in s_interestingSizes)
        {
            byte[] input = Blake3Tests.Input(size);
            var groups = new byte[Blake3Tree.GroupCount(size) * Blake3.HashSize];
            var root = new byte[Blake3.HashSize];
            Blake3Tree.HashWithGroups(input, groups, root);
            int groupCount = groups.Length / 32;
            for (int first = 0; first < groupCount; first += first < 9 ? 1 : 5)
            {
                for (int end = first + 1; end <= groupCount; end += end < 10 ? 1 : 7)
                {
                    int count = Math.Min(size, end * Group) - (first * Group);
                    (long offset, int windowBytes) = Blake3Tree.WindowOf(size, first * Group, count);
                    Assert.Equal((first * Group, count), (offset, windowBytes));
                    var proof = new byte[Blake3Tree.ProofSize(size, offset, count)];
                    Blake3Tree.WriteProof(Blake3Tree.Nodes(groups), size, offset, count, proof);
                    byte[] window = input[(first * Group)..((first * Group) + count)];
                    Assert.True(Blake3Tree.TryVerifyWindow(root, size, offset, window, proof), $"{size} [{first}, {end})");

                    Assert.False(Blake3Tree.TryVerifyWindow(root, size, offset, window, [.. proof, .. new byte[32]]));
                    Assert.False(Blake3Tree.TryVerifyWindow(root, size, offset + Group, window, proof));
                    if (end == groupCount)
                    {
                        Assert.False(Blake3Tree.TryVerifyWindow(root, size + 1, offset, window, proof));
                    }

                    if (proof.Length > 0)
                    {
                        Assert.False(Blake3Tree.TryVerifyWindow(root, size, offset, window, proof.AsSpan(32)));
                        proof[(first * 7) % proof.Length] ^= 1;
                        Assert.False(Blake3Tree.TryVerifyWindow(root, size, offset, window, proof));
                        proof[(first * 7) % proof.Length] ^= 1;
                    }

                    if (count > 0)
                    {
                        window[count / 2] ^= 0x80;
                        Assert.False(Blake3Tree.TryVerifyWindow(root, size, offset, window, proof));
                        Assert.False(Blake3Tree.TryVerifyWindow(root, size, offset, window.AsSpan(1), proof));
                    }
                }
            }
        }
    }

    [Fact]
    public void A_range_is_widened_to_the_groups_that_hold_it()
    {
        Assert.Equal((0, Group), Blake3Tree.WindowOf(10 * Group, 5, 1));
        Assert.Equal((Group, 2 * Group), Blake3Tree.WindowOf(10 * Group, (2 * Group) - 1, 2));
        Assert.Equal((9 * Group, 100), Blake3Tree.WindowOf((9 * Group) + 100, (9 * Group) + 99, 1));
        Assert.Equal((0, 0), Blake3Tree.WindowOf(0, 0, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake3Tree.WindowOf(100, 99, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => Blake3Tree.WindowOf(100, 50, 0));
    }

    /// <summary>With 1 KiB groups, bao's slice is the length, then parents and chunks in pre-order. Our proof is the halves of those parents
    /// that the window does not cover, in the same order, so the published slices say what it must be.</summary>
    [Fact]
    public void Proofs_hold_what_bao_slices_hold_beside_the_window()
    {
        int compared = 0;
        foreach (JsonElement vector in Vectors.Json("bao/test_vectors.json").GetProperty("slice").EnumerateArray())
        {
            int length = vector.GetProperty("input_len").GetInt32();
            byte[] input = BaoInput(length);
            byte[] root = vector.GetProperty("bao_hash").Hex();
            var groups = new byte[Blake3Tree.GroupCount(length, groupLog: 0) * 32];
            var actualRoot = new byte[32];
            Blake3Tree.HashWithGroups(KernelPaths.Best, groupLog: 0, input, groups, actualRoot);
            Assert.Equal(root, actualRoot);
            foreach (JsonElement slice in vector.GetProperty("slices").EnumerateArray())
            {
                // As bao reads a slice: at least one byte, and what lies past the end is the last chunk.
                ulong start = slice.GetProperty("start").GetUInt64();
                ulong sliceBytes = Math.Max(1, slice.GetProperty("len").GetUInt64());
                int from = length == 0 ? 0 : (int)Math.Min(start, (ulong)length - 1);
                int to = (int)Math.Min(start + sliceBytes, (ulong)length);
                int first = from / 1024;
                int end = Math.Max(first + 1, (to + 1023) / 1024);

                var bao = new List<byte>(new byte[8]);
                BinaryPrimitives.WriteInt64LittleEndian(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(bao), length);
                var siblings = new List<byte>();
                WriteSlice(input, 0, groups.Length / 32, first, end, bao, siblings);
                Assert.Equal(slice.GetProperty("output_len").GetInt32(), bao.Count);
                Assert.Equal(slice.GetProperty("output_blake3").Hex(), SlowBlake3.Hash([.. bao]));

                int count = Math.Min(length, end * 1024) - (first * 1024);
                var proof = new byte[Blake3Tree.ProofSize(length, first * 1024, count, groupLog: 0)];
                Blake3Tree.WriteProof(Blake3Tree.Nodes(groups), length, first * 1024, count, proof, groupLog: 0);
                Assert.Equal(siblings, proof);
                Assert.True(Blake3Tree.TryVerifyWindow(
                    KernelPaths.Best, groupLog: 0, root, length, first * 1024, input.AsSpan(first * 1024, count), proof));
                compared++;
            }
        }

        Assert.True(compared > 50, $"{compared} slices");

        static void WriteSlice(byte[] input, int low, int high, int first, int end, List<byte> bao, List<byte> siblings)
        {
            if (high <= first || end <= low)
            {
                return;
            }

            if (high - low == 1)
            {
                bao.AddRange(input.AsSpan(low * 1024, Math.Min(1024, input.Length - (low * 1024))));
                return;
            }

            int left = 1;
            while (left * 2 < high - low)
            {
                left *= 2;
            }

            int middle = low + left;
            byte[] leftCv = SlowBlake3.Node(input.AsSpan(low * 1024, left * 1024), (ulong)low);
            byte[] rightCv = SlowBlake3.Node(input.AsSpan(middle * 1024, Math.Min(input.Length, high * 1024) - (middle * 1024)), (ulong)middle);
            bao.AddRange([.. leftCv, .. rightCv]);
            siblings.AddRange(middle <= first ? leftCv : []);
            siblings.AddRange(end <= middle ? rightCv : []);
            WriteSlice(input, low, middle, first, end, bao, siblings);
            WriteSlice(input, middle, high, first, end, bao, siblings);
        }
    }

    /// <summary>The input of bao's vectors: a counter of 32 bits, little-endian, from 1.</summary>
    private static byte[] BaoInput(int length)
    {
        var input = new byte[(length + 3) & ~3];
        for (int i = 0; i < input.Length; i += 4)
        {
            BinaryPrimitives.WriteInt32LittleEndian(input.AsSpan(i), (i / 4) + 1);
        }

        return input[..length];
    }
}
