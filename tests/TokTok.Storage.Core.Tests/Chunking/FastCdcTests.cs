using System.Globalization;
using System.Text.Json;
using TokTok.Storage.Core.Chunking;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Tests.Hashing;

namespace TokTok.Storage.Core.Tests.Chunking;

public sealed class FastCdcTests
{
    private const string PictureVariable = "TDFS_FASTCDC_PICTURE";

    [Fact]
    public void Published_cut_points_of_the_picture()
    {
        string? path = Environment.GetEnvironmentVariable(PictureVariable);
        Assert.SkipWhen(path is null, $"{PictureVariable} names no copy of SekienAkashita.jpg");
        byte[] picture = File.ReadAllBytes(path!);
        JsonElement vectors = Vectors.Json("fastcdc/cutpoints_v2020.json");
        Assert.Equal(vectors.GetProperty("size").GetInt32(), picture.Length);
        foreach (JsonElement vector in vectors.GetProperty("cases").EnumerateArray())
        {
            ulong seed = vector.GetProperty("seed").GetUInt64();
            var bounds = new ChunkBounds(
                vector.GetProperty("min").GetInt32(), vector.GetProperty("avg").GetInt32(), vector.GetProperty("max").GetInt32(),
                vector.GetProperty("normalization").GetInt32());
            using GearTable gear = PublishedGear(seed);
            var chunker = new FastCdc(gear, bounds);
            int at = 0;
            foreach (JsonElement chunk in vector.GetProperty("chunks").EnumerateArray())
            {
                Assert.Equal(chunk.GetProperty("offset").GetInt32(), at);
                int cut = chunker.NextCut(picture.AsSpan(at), out ulong hash);
                Assert.Equal(chunk.GetProperty("length").GetInt32(), cut);
                Assert.Equal(ulong.Parse(chunk.GetProperty("hash").GetString()!, CultureInfo.InvariantCulture), hash);
                at += cut;
            }

            Assert.Equal(picture.Length, at);
        }
    }

    [Fact]
    public void Zeros_are_cut_at_the_maximum_with_the_published_hash()
    {
        using GearTable gear = PublishedGear(seed: 0);
        var chunker = new FastCdc(gear, new ChunkBounds(64, 256, 1024, normalisation: 1));
        var zeros = new byte[10_240];
        for (int at = 0; at < zeros.Length; at += 1024)
        {
            Assert.Equal(1024, chunker.NextCut(zeros.AsSpan(at), out ulong hash));
            Assert.Equal(14169102344523991076UL, hash);
        }
    }

    [Theory]
    [InlineData(64, 256, 1024, 0)]
    [InlineData(65, 256, 1023, 1)]
    [InlineData(256, 256, 257, 2)]
    [InlineData(2048, 8192, 65_535, 3)]
    [InlineData(16_384, 65_536, 262_144, 2)]
    public void Cuts_agree_with_the_slow_twin(int min, int mean, int max, int normalisation)
    {
        const int Seed = 2020;
        var random = new Random(Seed);
        using GearTable gear = PublishedGear(seed: 0);
        var chunker = new FastCdc(gear, new ChunkBounds(min, mean, max, normalisation));
        byte[] input = new byte[40 * mean];
        random.NextBytes(input);
        for (int at = 0; at < input.Length;)
        {
            // Never more than the kernel may look at, and at times less: the end of the input.
            int size = Math.Min(input.Length - at, random.Next(4) == 0 ? random.Next(max) : max + random.Next(3));
            ReadOnlySpan<byte> rest = input.AsSpan(at, size);
            int cut = chunker.NextCut(rest);
            Assert.True(SlowCut(rest, min, mean, max, normalisation) == cut, $"seed {Seed}, at {at}, {size} bytes, cut {cut}");
            Assert.True(cut == size || (cut >= min - 1 && cut <= max));
            at += Math.Max(1, cut);
        }
    }

    [Fact]
    public void An_insertion_moves_only_the_cuts_beside_it()
    {
        using var gear = GearTable.FromSeed(Blake3Tests.Input(32));
        var chunker = new FastCdc(gear, ChunkBounds.ForMean(65_536));
        byte[] input = Noise(8 << 20);
        byte[] longer = [.. input[..3_000_000], 1, 2, 3, .. input[3_000_000..]];
        HashSet<string> before = [.. Chunks(chunker, input)];
        List<string> after = Chunks(chunker, longer);
        Assert.InRange(before.Count, 64, 256);
        Assert.InRange(after.Count(chunk => !before.Contains(chunk)), 1, 4);
    }

    [Theory]
    [InlineData(64, 16, 256)]
    [InlineData(128, 32, 512)]
    [InlineData(256, 64, 1024)]
    [InlineData(512, 128, 1024)]
    public void Bounds_for_a_mean_are_a_quarter_and_four_times_but_at_most_a_block(int meanKib, int minKib, int maxKib)
    {
        ChunkBounds bounds = ChunkBounds.ForMean(meanKib << 10);
        Assert.Equal((minKib << 10, maxKib << 10), (bounds.MinBytes, bounds.MaxBytes));
    }

    [Fact]
    public void Lengths_lie_within_bounds_and_near_the_mean()
    {
        using var gear = GearTable.FromSeed(new byte[32]);
        var chunker = new FastCdc(gear, ChunkBounds.ForMean(65_536));
        byte[] input = Noise(16 << 20);
        int count = 0;
        for (int at = 0; at < input.Length; count++)
        {
            int cut = chunker.NextCut(input.AsSpan(at));
            Assert.True(at + cut == input.Length || cut is >= 16_384 and <= 262_144);
            at += cut;
        }

        Assert.InRange(input.Length / count, 48 << 10, 96 << 10);
    }

    [Fact]
    public void Another_seed_cuts_elsewhere_and_the_table_is_as_documented()
    {
        using var zero = GearTable.FromSeed(new byte[32]);
        using var other = GearTable.FromSeed([1, .. new byte[31]]);
        byte[] input = Noise(2 << 20);
        ChunkBounds bounds = ChunkBounds.ForMean(65_536);
        Assert.NotEqual(Chunks(new FastCdc(zero, bounds), input)[0], Chunks(new FastCdc(other, bounds), input)[0]);

        using var hasher = Blake3Hasher.CreateKeyed(new byte[32]);
        hasher.Update("TDFS gear table"u8);
        var stream = new byte[2048];
        hasher.Finish(stream);
        for (int i = 0; i < 256; i++)
        {
            Assert.Equal(BitConverter.ToUInt64(stream, 8 * i), zero.Words[i]);
            Assert.Equal(zero.Words[i] << 1, zero.Words[256 + i]);
        }
    }

    [Fact]
    public void A_disposed_table_is_zeroed()
    {
        var gear = GearTable.FromSeed(new byte[32]);
        ReadOnlySpan<ulong> words = gear.Words;
        Assert.True(words.ContainsAnyExcept(0UL));
        gear.Dispose();
        Assert.False(words.ContainsAnyExcept(0UL));
    }

    [Fact]
    public void Bad_bounds_are_refused_and_a_disposed_table_cuts_nothing()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(63, 256, 1024, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(512, 256, 1024, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(64, 256, 255, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(64, 300, 1024, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(64, 256, (1 << 20) + 1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(64, 256, 1024, 4));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(64, 256, 1024, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new ChunkBounds(64, 128, 1024, 1));
        Assert.Equal(new ChunkBounds(256, 256, 256, 0), new ChunkBounds(256, 256, 256, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GearTable(new ulong[255]));
        Assert.Throws<ArgumentOutOfRangeException>(() => new GearTable(new ulong[257]));
        Assert.Throws<ArgumentException>(() => GearTable.FromSeed(new byte[31]));
        var gear = GearTable.FromSeed(new byte[32]);
        var chunker = new FastCdc(gear, ChunkBounds.ForMean(65_536));
        gear.Dispose();
        Assert.Throws<ObjectDisposedException>(() => chunker.NextCut(new byte[100_000]));
    }

    private static GearTable PublishedGear(ulong seed) => new(
        [.. Vectors.Json("fastcdc/gear_masks_v2020.json").GetProperty("gear").EnumerateArray().Select(word => Word(word) ^ seed)]);

    private static ulong Word(JsonElement hex) => ulong.Parse(hex.GetString()!, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    /// <summary>The slow twin: byte by byte, with the masks of the published file.</summary>
    private static int SlowCut(ReadOnlySpan<byte> data, int min, int mean, int max, int normalisation)
    {
        ulong[] gear = s_gear.Value;
        int bits = (int)Math.Log2(mean);
        int end = Math.Min(data.Length, max);
        ulong hash = 0;
        for (int i = min & ~1; data.Length > min && i < (end & ~1); i++)
        {
            hash = unchecked((hash * 2) + gear[data[i]]);
            if ((hash & s_masks.Value[i < mean ? bits + normalisation : bits - normalisation]) == 0)
            {
                return i;
            }
        }

        return end;
    }

    private static readonly Lazy<ulong[]> s_gear = new(() =>
        [.. Vectors.Json("fastcdc/gear_masks_v2020.json").GetProperty("gear").EnumerateArray().Select(Word)]);

    private static readonly Lazy<ulong[]> s_masks = new(() =>
        [.. Vectors.Json("fastcdc/gear_masks_v2020.json").GetProperty("masks").EnumerateArray().Select(Word)]);

    private static List<string> Chunks(FastCdc chunker, byte[] input)
    {
        var chunks = new List<string>();
        var hash = new byte[32];
        for (int at = 0; at < input.Length;)
        {
            int cut = chunker.NextCut(input.AsSpan(at));
            Blake3.Hash(input.AsSpan(at, cut), hash);
            chunks.Add(Convert.ToHexString(hash));
            at += cut;
        }

        return chunks;
    }

    private static byte[] Noise(int size)
    {
        var noise = new byte[size];
        new Random(7).NextBytes(noise);
        return noise;
    }
}
