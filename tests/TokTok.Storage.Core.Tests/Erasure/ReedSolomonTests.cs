using System.Text.Json;
using FsCheck;
using FsCheck.Fluent;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Tests.Hashing;

namespace TokTok.Storage.Core.Tests.Erasure;

public sealed class ReedSolomonTests
{
    /// <summary>Around each vector width and block, a strip (2 KiB) and two, and what a window holds of each of ten inputs (1,632, 1,600 or 1,536 bytes).</summary>
    private static readonly int[] s_interestingSizes =
        [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1024, 1535, 1536, 1537, 1600, 1632, 1633, 2047, 2048, 2049, 4095, 4096, 4097, 5000];

    public static TheoryData<string> Paths => Blake3Tests.Paths;

    [Theory, MemberData(nameof(Paths))]
    public void Parity_equals_that_of_two_independent_coders(string pathName)
    {
        KernelPath path = Blake3Tests.Runnable(pathName);
        var data = new Dictionary<(int K, int M), byte[]>();
        int compared = 0;
        foreach (string file in (string[])["klauspost", "isal"])
        {
            foreach (JsonElement vector in Vectors.Json($"rs/{file}.json").EnumerateArray())
            {
                (int k, int m, int length) = (vector.GetProperty("K").GetInt32(), vector.GetProperty("M").GetInt32(), vector.GetProperty("Len").GetInt32());
                if (vector.TryGetProperty("Data", out JsonElement slices) && slices.ValueKind == JsonValueKind.Array)
                {
                    data[(k, m)] = Join(slices);
                }

                if (!vector.GetProperty("Matrix").GetString()!.Contains("cauchy", StringComparison.OrdinalIgnoreCase))
                {
                    continue;
                }

                var coder = new ReedSolomon(path, k, m);
                if (data.TryGetValue((k, m), out byte[]? input))
                {
                    var parity = new byte[m * length];
                    coder.Encode(input, parity, length);
                    Assert.Equal(Join(vector.GetProperty("Parity")), parity);
                    compared++;
                }

                // 100 + 40 has rows alone.
                int row = 0;
                foreach (JsonElement codingRow in vector.GetProperty("CodingRows").EnumerateArray())
                {
                    var actual = new byte[k];
                    coder.CodingRow(k + row++, actual);
                    Assert.Equal(codingRow.Hex(), actual);
                }

                Assert.Equal(m, row);
            }
        }

        Assert.Equal(20, compared);

        static byte[] Join(JsonElement slices) => [.. slices.EnumerateArray().SelectMany(slice => slice.Hex())];
    }

    [Theory, MemberData(nameof(Paths))]
    public void Every_path_agrees_with_the_slow_twin_on_interesting_sizes(string pathName)
    {
        KernelPath path = Blake3Tests.Runnable(pathName);
        const int Seed = 1960;
        var random = new Random(Seed);
        foreach ((int k, int m) in ((int, int)[])[(1, 1), (2, 1), (4, 3), (3, 4), (5, 6), (9, 8), (10, 9), (2, 15)])
        {
            var coder = new ReedSolomon(path, k, m);
            foreach (int size in s_interestingSizes)
            {
                byte[] data = Bytes(random, k * size);
                byte[] parity = Bytes(random, m * size);
                coder.Encode(data, parity, size);
                Assert.True(SlowParity(k, m, data, size).AsSpan().SequenceEqual(parity), $"seed {Seed}, {k}+{m}, {size} bytes on {path}");
                Assert.True(coder.Verify(data, parity, size));
                var row = new byte[size];
                coder.EncodeRow(m - 1, data, row, size);
                Assert.Equal(parity[((m - 1) * size)..], row);
                if (size > 0)
                {
                    int at = random.Next(parity.Length);
                    parity[at] ^= 4;
                    Assert.False(coder.Verify(data, parity, size), $"seed {Seed}, {k}+{m}, byte {at} of {size}");
                }
            }
        }
    }

    [Fact]
    public void Any_k_of_k_plus_m_restore_every_slice()
    {
        // Every choice of survivors, in small codes.
        var random = new Random(1);
        foreach ((int k, int m) in ((int, int)[])[(1, 2), (2, 2), (3, 3), (4, 3), (5, 2)])
        {
            byte[] whole = Whole(random, k, m, 20);
            for (int choice = 0; choice < 1 << (k + m); choice++)
            {
                int[] present = [.. Enumerable.Range(0, k + m).Where(i => ((choice >> i) & 1) != 0)];
                if (present.Length == k)
                {
                    AssertRestores(k, m, whole, 20, present);
                }
            }
        }
    }

    [Fact]
    public void Random_survivors_in_random_order_restore_every_slice()
    {
        Gen<(int K, int M, int Seed)> codes =
            from k in Gen.Choose(1, 40)
            from m in Gen.Choose(0, 40)
            from seed in Gen.Choose(0, int.MaxValue - 1)
            select (k, m, seed);
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(60), Prop.ForAll(codes.ToArbitrary(), code =>
        {
            var random = new Random(code.Seed);
            int[] present = [.. Enumerable.Range(0, code.K + code.M)];
            random.Shuffle(present);
            AssertRestores(code.K, code.M, Whole(random, code.K, code.M, 70), 70, present[..code.K]);
        }));
    }

    [Theory]
    [InlineData(255, 1)]
    [InlineData(128, 128)]
    [InlineData(1, 255)]
    [InlineData(255, 0)]
    public void The_largest_codes_work(int k, int m)
    {
        var random = new Random(k);
        foreach (int size in (int[])[33, 300])
        {
            int[] present = [.. Enumerable.Range(0, k + m)];
            random.Shuffle(present);
            AssertRestores(k, m, Whole(random, k, m, size), size, present[..k]);
        }
    }

    [Fact]
    public void Bad_layouts_and_spans_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReedSolomon(0, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReedSolomon(256, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReedSolomon(200, 57));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ReedSolomon(1, -1));
        var coder = new ReedSolomon(2, 2);
        Assert.Throws<ArgumentException>(() => coder.Encode(new byte[19], new byte[20], 10));
        Assert.Throws<ArgumentException>(() => coder.Encode(new byte[20], new byte[21], 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => coder.EncodeRow(2, new byte[20], new byte[10], 10));
        Assert.Throws<ArgumentException>(() => coder.Reconstruct([0], new byte[10], [1], new byte[10], 10));
        Assert.Throws<ArgumentException>(() => coder.Reconstruct([3, 3], new byte[20], [1], new byte[10], 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => coder.Reconstruct([3, 4], new byte[20], [1], new byte[10], 10));
        Assert.Throws<ArgumentOutOfRangeException>(() => coder.Reconstruct([3, 2], new byte[20], [-1], new byte[10], 10));
    }

    /// <summary>The kernel works on pointers: whatever it is given must fit.</summary>
    [Fact]
    public void Spans_of_another_size_never_reach_the_kernel()
    {
        var coder = new ReedSolomon(2, 2);
        foreach (int wrong in (int[])[0, 9, 11, 19, 21, 30])
        {
            byte[] other = new byte[wrong];
            Assert.Throws<ArgumentException>("data", () => coder.Encode(other, new byte[20], 10));
            Assert.Throws<ArgumentException>("parity", () => coder.Encode(new byte[20], other, 10));
            Assert.Throws<ArgumentException>("data", () => coder.EncodeRow(1, other, new byte[10], 10));
            Assert.Throws<ArgumentException>("parity", () => coder.EncodeRow(1, new byte[20], other, 10));
            Assert.Throws<ArgumentException>("data", () => coder.Verify(other, new byte[20], 10));
            Assert.Throws<ArgumentException>("parity", () => coder.Verify(new byte[20], other, 10));
            Assert.Throws<ArgumentException>("present", () => coder.Reconstruct([0, 1], other, [2], new byte[10], 10));
            Assert.Throws<ArgumentException>("wanted", () => coder.Reconstruct([0, 1], new byte[20], [2], other, 10));
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => coder.Encode([], [], -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => coder.EncodeRow(-1, new byte[20], new byte[10], 10));
        Assert.Throws<ArgumentException>("data", () => coder.Encode([], [], int.MaxValue)); // twice that is no int
        Assert.Throws<ArgumentException>("presentIndexes", () => coder.Reconstruct([0, 1, 2], new byte[30], [3], new byte[10], 10));
        Assert.Throws<ArgumentOutOfRangeException>("wantedIndexes", () => coder.Reconstruct([0, 1], new byte[20], [4], new byte[10], 10));
        coder.Reconstruct([0, 1], new byte[20], [2, 2], new byte[20], 10);
    }

    [Fact]
    public void The_field_multiplies_as_the_slow_twin_does_and_0_has_no_inverse()
    {
        for (int a = 0; a < 256; a++)
        {
            for (int b = 0; b < 256; b++)
            {
                Assert.True(SlowMultiply(a, b) == Gf256.Multiply((byte)a, (byte)b), $"{a} * {b}");
            }

            if (a > 0)
            {
                Assert.Equal(1, SlowMultiply(a, Gf256.Invert((byte)a)));
            }
        }

        Assert.Throws<DivideByZeroException>(() => Gf256.Invert(0));
    }

    private static void AssertRestores(int k, int m, byte[] whole, int size, int[] present)
    {
        byte[] held = [.. present.SelectMany(i => whole[(i * size)..((i + 1) * size)])];
        int[] all = [.. Enumerable.Range(0, k + m)];
        var restored = new byte[whole.Length];
        new ReedSolomon(k, m).Reconstruct(present, held, all, restored, size);
        Assert.True(whole.AsSpan().SequenceEqual(restored), $"{k}+{m} from {string.Join(",", present)}");
    }

    private static byte[] Whole(Random random, int k, int m, int size)
    {
        byte[] data = Bytes(random, k * size);
        return [.. data, .. SlowParity(k, m, data, size)];
    }

    /// <summary>The slow twin: the formula of the format page, with multiplication by shift and xor.</summary>
    private static byte[] SlowParity(int k, int m, byte[] data, int size)
    {
        var parity = new byte[m * size];
        for (int row = 0; row < m; row++)
        {
            for (int column = 0; column < k; column++)
            {
                byte[] products = s_products[Array.FindIndex(s_products, to => to[(k + row) ^ column] == 1)];
                for (int i = 0; i < size; i++)
                {
                    parity[(row * size) + i] ^= products[data[(column * size) + i]];
                }
            }
        }

        return parity;
    }

    private static readonly byte[][] s_products =
        [.. Enumerable.Range(0, 256).Select(a => Enumerable.Range(0, 256).Select(b => (byte)SlowMultiply(a, b)).ToArray())];

    private static int SlowMultiply(int a, int b)
    {
        int product = 0;
        for (; b > 0; b >>= 1)
        {
            product ^= (b & 1) * a;
            a = (a << 1) ^ ((a >> 7) * 0x11D);
        }

        return product;
    }

    private static byte[] Bytes(Random random, int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
