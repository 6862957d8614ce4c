using System.Text;
using System.Text.Json;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Tests.Hashing;

public sealed class Blake3Tests
{
    /// <summary>Around a block, a chunk, a power of two of chunks, a group, a batch of 128 chunks; odd trees; more than one batch.</summary>
    private static readonly int[] s_interestingSizes =
    [
        0, 1, 63, 64, 65, 127, 128, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 3073, 4096, 4097, 5120, 7168, 8192, 8193, 15 * 1024, 16383, 16384, 16385,
        17 * 1024, 31 * 1024, (31 * 1024) + 1, 32768, .. Enumerable.Range(2, 20).SelectMany(static chunks => new[] { (chunks * 1024) + 700, (128 + chunks) * 1024 }), 65537, 102400, 131071, 131072, 131073, 200_000, 262_145, (1 << 20) + 1,
    ];

    public static TheoryData<string> Paths => [.. Enum.GetNames<KernelPath>()];

    [Theory, MemberData(nameof(Paths))]
    public void Published_vectors_hold_on_every_path(string pathName)
    {
        KernelPath path = Runnable(pathName);
        JsonElement vectors = Vectors.Json("blake3/test_vectors.json");
        byte[] key = Encoding.ASCII.GetBytes(vectors.GetProperty("key").GetString()!);
        string context = vectors.GetProperty("context_string").GetString()!;
        int count = 0;
        foreach (JsonElement vector in vectors.GetProperty("cases").EnumerateArray())
        {
            byte[] input = Input(vector.GetProperty("input_len").GetInt32());
            byte[] expected = vector.GetProperty("hash").Hex();
            var actual = new byte[expected.Length];
            Blake3.Hash(path, input, actual);
            Assert.Equal(expected, actual);
            Blake3.KeyedHash(path, key, input, actual);
            Assert.Equal(vector.GetProperty("keyed_hash").Hex(), actual);
            Blake3.DeriveKey(path, context, input, actual);
            Assert.Equal(vector.GetProperty("derive_key").Hex(), actual);
            count++;
        }

        Assert.Equal(35, count);
    }

    [Theory, MemberData(nameof(Paths))]
    public void Every_path_agrees_with_the_slow_twin_on_interesting_sizes(string pathName)
    {
        KernelPath path = Runnable(pathName);
        byte[] input = Input(s_interestingSizes.Max());
        var actual = new byte[Blake3.HashSize];
        foreach (int size in s_interestingSizes)
        {
            Blake3.Hash(path, input.AsSpan(0, size), actual);
            Assert.True(SlowBlake3Hash(size).AsSpan().SequenceEqual(actual), $"{size} bytes on {path}");
        }
    }

    /// <summary>No input here is 4 TiB long, so the upper half of the chunk counter is looked at where the kernel takes it.</summary>
    [Theory, MemberData(nameof(Paths))]
    public unsafe void A_chunk_counter_goes_on_beyond_32_bits(string pathName)
    {
        KernelPath path = Runnable(pathName);
        const int Count = 31, Margin = 64; // a group of each width, and three alone
        uint[] key = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19];
        byte[] input = Input(Count * 1024);
        foreach (ulong first in (ulong[])[(1UL << 32) - Count - 1, (1UL << 32) - 16, (1UL << 32) - 5, 1UL << 32, 0x1234_5678_9abc_def0])
        {
            byte[] output = new byte[Margin + (Count * 32) + Margin];
            fixed (byte* from = input, to = output)
            fixed (uint* words = key)
            {
                Blake3Kernel.HashMany(path, from, Count, 1024, 16, words, first, counterStep: 1, flags: 0, flagsStart: 1, flagsEnd: 2, to + Margin);
            }

            for (int i = 0; i < Count; i++)
            {
                byte[] expected = SlowBlake3.Node(input.AsSpan(i * 1024, 1024), first + (ulong)i);
                Assert.True(expected.AsSpan().SequenceEqual(output.AsSpan(Margin + (i * 32), 32)), $"chunk {first} + {i} on {path}");
            }

            Assert.False(output.AsSpan(0, Margin).ContainsAnyExcept((byte)0) || output.AsSpan(output.Length - Margin).ContainsAnyExcept((byte)0));
        }
    }

    [Theory, MemberData(nameof(Paths))]
    public void Pieces_of_any_length_give_the_hash_of_the_whole(string pathName)
    {
        KernelPath path = Runnable(pathName);
        const int Seed = 20_200_109;
        var random = new Random(Seed);
        byte[] input = Input(300_000);
        var expected = new byte[Blake3.HashSize];
        var actual = new byte[Blake3.HashSize];
        for (int run = 0; run < 40; run++)
        {
            int size = random.Next(input.Length);
            int[] limits = [80, 1500, 40_000, 200_000];
            int limit = limits[run % limits.Length];
            Blake3.Hash(input.AsSpan(0, size), expected);
            using var hasher = Blake3Hasher.Create(path);
            for (int at = 0; at < size;)
            {
                int piece = Math.Min(random.Next(limit + 1), size - at);
                hasher.Update(input.AsSpan(at, piece));
                at += piece;
            }

            hasher.Finish(actual);
            Assert.True(expected.AsSpan().SequenceEqual(actual), $"seed {Seed}, run {run}, {size} bytes in pieces up to {limit}");
        }
    }

    [Fact]
    public void A_hasher_goes_on_after_Finish_and_starts_over_after_Reset()
    {
        byte[] input = Input(5000);
        using var hasher = Blake3Hasher.Create();
        hasher.Update(input.AsSpan(0, 3000));
        Assert.Equal(Hash(input.AsSpan(0, 3000)), Finish(hasher));
        Assert.Equal(Hash(input.AsSpan(0, 3000)), Finish(hasher));
        hasher.Update(input.AsSpan(3000));
        Assert.Equal(Hash(input), Finish(hasher));
        hasher.Reset();
        Assert.Equal(Hash([]), Finish(hasher));
    }

    [Fact]
    public void Keyed_and_deriving_hashers_equal_the_one_shot_calls_also_after_Reset()
    {
        byte[] key = Input(32);
        byte[] input = Input(2500);
        var expected = new byte[100];
        var actual = new byte[100];
        using var keyed = Blake3Hasher.CreateKeyed(key);
        using var deriving = Blake3Hasher.CreateDeriveKey("Blake3Tests ü context");
        for (int run = 0; run < 2; run++)
        {
            keyed.Update(input);
            keyed.Finish(actual);
            Blake3.KeyedHash(key, input, expected);
            Assert.Equal(expected, actual);
            keyed.Reset();
            deriving.Update(input);
            deriving.Finish(actual);
            Blake3.DeriveKey("Blake3Tests ü context", input, expected);
            Assert.Equal(expected, actual);
            deriving.Reset();
        }
    }

    [Fact]
    public void A_context_longer_than_the_stack_buffer_is_hashed_whole()
    {
        string context = new('x', 511);
        var shorter = new byte[32];
        var exact = new byte[32];
        var longer = new byte[32];
        Blake3.DeriveKey(context, [], shorter);
        Blake3.DeriveKey(context + "é", [], exact);
        Blake3.DeriveKey(context + "xé", [], longer);
        Assert.Equal(3, new HashSet<string>([Convert.ToHexString(shorter), Convert.ToHexString(exact), Convert.ToHexString(longer)]).Count);
    }

    [Fact]
    public void A_key_of_another_length_is_refused()
    {
        Assert.Throws<ArgumentException>(() => Blake3.KeyedHash(new byte[31], [], new byte[32]));
        Assert.Throws<ArgumentException>(() => Blake3Hasher.CreateKeyed(new byte[33]));
    }

    [Fact]
    public void A_disposed_hasher_refuses_work()
    {
        var hasher = Blake3Hasher.CreateKeyed(new byte[32]);
        hasher.Dispose();
        Assert.Throws<ObjectDisposedException>(() => hasher.Update([1]));
        Assert.Throws<ObjectDisposedException>(() => hasher.Finish(new byte[32]));
        Assert.Throws<ObjectDisposedException>(hasher.Reset);
    }

    [Fact]
    public void One_shot_calls_allocate_nothing()
    {
        byte[] input = Input(300_000);
        byte[] key = Input(32);
        var output = new byte[64];
        Run();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Run()
        {
            Blake3.Hash(input, output);
            Blake3.KeyedHash(key, input, output);
            Blake3.DeriveKey("Blake3Tests context", input, output);
        }
    }

    /// <summary>The input of the published vectors: 0, 1, …, 250, 0, …</summary>
    internal static byte[] Input(int size)
    {
        var input = new byte[size];
        for (int i = 0; i < size; i++)
        {
            input[i] = (byte)(i % 251);
        }

        return input;
    }

    internal static KernelPath Runnable(string pathName)
    {
        KernelPath path = Enum.Parse<KernelPath>(pathName);
        Assert.SkipUnless(KernelPaths.CanRun(path), $"this machine cannot run {path}");
        return path;
    }

    private static readonly System.Collections.Concurrent.ConcurrentDictionary<int, byte[]> s_slow = new();

    private static byte[] SlowBlake3Hash(int size) => s_slow.GetOrAdd(size, bytes => SlowBlake3.Hash(Input(bytes)));

    private static byte[] Hash(ReadOnlySpan<byte> input)
    {
        var hash = new byte[Blake3.HashSize];
        Blake3.Hash(input, hash);
        return hash;
    }

    private static byte[] Finish(Blake3Hasher hasher)
    {
        var hash = new byte[Blake3.HashSize];
        hasher.Finish(hash);
        return hash;
    }
}
