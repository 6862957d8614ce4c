using System.Text;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Interop;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Compression;

public sealed class CompressorTests
{
    private readonly Compressor _compressor = new();

    /// <summary>0, 1, the edges of the probe, of a sample and of a block.</summary>
    public static TheoryData<int> InterestingSizes { get; } =
        [0, 1, 2, 31, 32, 33, 4095, 4096, 4097, Compressor.ProbedFrom - 1, Compressor.ProbedFrom, Compressor.ProbedFrom + 1, 1 << 20];

    [Theory, MemberData(nameof(InterestingSizes))]
    public void What_is_packed_unpacks_at_every_size(int size)
    {
        foreach (byte[] plain in (byte[][])[Text(size), Noise(size), new byte[size]])
        {
            byte[] packed = new byte[Compressor.MaximumBytes(size)];
            Codec codec = _compressor.Compress(plain, packed, 1, out int bytes);
            Assert.InRange(bytes, 0, size);
            byte[] back = new byte[size];
            Assert.True(_compressor.TryDecompress(codec, packed.AsSpan(0, bytes), back));
            Assert.Equal(plain, back);
        }
    }

    [Theory, InlineData(-1), InlineData(1), InlineData(3), InlineData(9)]
    public void Text_is_packed_by_zstd_at_every_level(int level)
    {
        byte[] plain = Text(100_000), packed = new byte[100_000];
        Assert.Equal(Codec.Zstd, _compressor.Compress(plain, packed, level, out int bytes));
        Assert.InRange(bytes, 1, 50_000);
    }

    [Theory, InlineData(1000), InlineData(65_536), InlineData(1 << 20)]
    public void Noise_stays_raw(int size)
    {
        byte[] plain = Noise(size), packed = new byte[size];
        Assert.Equal(Codec.Raw, _compressor.Compress(plain, packed, 3, out int bytes));
        Assert.Equal(size, bytes);
        Assert.Equal(plain, packed);
    }

    [Fact]
    public void A_gain_below_one_part_in_32_stays_raw()
    {
        byte[] plain = Noise(32_000);
        plain.AsSpan(0, 600).Clear();
        Assert.Equal(Codec.Raw, _compressor.Compress(plain, new byte[32_000], 1, out _));
        plain.AsSpan(0, 2000).Clear();
        Assert.Equal(Codec.Zstd, _compressor.Compress(plain, new byte[32_000], 1, out int bytes));
        Assert.InRange(bytes, 1, 31_000);
    }

    [Theory]
    [InlineData(0, Codec.Zstd)]
    [InlineData(30 * 1024, Codec.Zstd)]
    [InlineData(60 * 1024, Codec.Zstd)]
    [InlineData(8 * 1024, Codec.Raw)]
    [InlineData(48 * 1024, Codec.Raw)]
    public void The_probe_sees_start_middle_and_end_and_nothing_between(int zerosAt, Codec expected)
    {
        byte[] plain = Noise(64 * 1024), packed = new byte[64 * 1024];
        plain.AsSpan(zerosAt, 4096).Clear();
        Assert.Equal(expected, _compressor.Compress(plain, packed, 1, out int bytes));
        Assert.Equal(expected == Codec.Raw, bytes == plain.Length);
    }

    [Fact]
    public void Below_the_probe_everything_is_tried()
    {
        byte[] plain = Noise(Compressor.ProbedFrom), packed = new byte[plain.Length];
        plain.AsSpan(5000, 3000).Clear();
        Assert.Equal(Codec.Raw, _compressor.Compress(plain, packed, 1, out _));
        Assert.Equal(Codec.Zstd, _compressor.Compress(plain.AsSpan(0, plain.Length - 1), packed, 1, out _));
    }

    [Fact]
    public void A_target_that_could_not_hold_the_raw_bytes_is_the_callers_mistake() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => _compressor.Compress(Text(1000), new byte[999], 1, out _));

    [Fact]
    public void Levels_from_the_lowest_to_the_highest_are_taken_and_no_others()
    {
        byte[] plain = Text(1000), packed = new byte[1000];
        Assert.True(Zstd.TryCompress(plain, packed, Zstd.LowestLevel, out _));
        Assert.True(Zstd.TryCompress(plain, packed, Zstd.HighestLevel, out _));
        Assert.Throws<ArgumentOutOfRangeException>(() => Zstd.TryCompress(plain, packed, Zstd.LowestLevel - 1, out _));
        Assert.Throws<ArgumentOutOfRangeException>(() => Zstd.TryCompress(plain, packed, Zstd.HighestLevel + 1, out _));
        Assert.False(Zstd.TryCompress(plain, packed.AsSpan(0, 5), 1, out int bytes));
        Assert.Equal(0, bytes);
        Assert.InRange(Zstd.LibraryVersion, 10_500, 29_999);
    }

    [Fact]
    public void A_frame_depends_on_its_level_alone_and_not_on_what_the_context_did_before()
    {
        byte[] plain = Text(200_000);
        var frames = new Dictionary<int, byte[]>();
        foreach (int level in (int[])[3, 19, 1, 3, -1, 3, 4, 19, -1, 1, 4, 3])
        {
            byte[] packed = new byte[plain.Length], back = new byte[plain.Length];
            Assert.True(Zstd.TryCompress(plain, packed, level, out int bytes));
            Assert.True(Zstd.TryDecompress(packed.AsSpan(0, bytes), back));
            Assert.Equal(plain, back);
            Assert.Equal(frames.TryAdd(level, packed[..bytes]) ? packed[..bytes] : frames[level], packed[..bytes]);
        }

        Assert.Equal(5, frames.Values.Select(Convert.ToHexString).Distinct().Count());
    }

    [Fact]
    public void Another_length_than_the_expected_one_is_refused()
    {
        byte[] plain = Text(5000), packed = new byte[5000];
        _compressor.Compress(plain, packed, 1, out int bytes);
        foreach (int length in (int[])[0, 1, 4999, 5001, 100_000])
        {
            byte[] back = new byte[length];
            back.AsSpan().Fill(0xee);
            Assert.False(_compressor.TryDecompress(Codec.Zstd, packed.AsSpan(0, bytes), back), $"{length}");
            Assert.False(back.AsSpan().ContainsAnyExcept((byte)0));
        }

        foreach ((Codec codec, int length) in ((Codec, int)[])[(Codec.Raw, 4999), (Codec.Raw, 5001), ((Codec)2, 5000)])
        {
            byte[] back = new byte[length];
            back.AsSpan().Fill(0xee);
            Assert.False(_compressor.TryDecompress(codec, plain, back));
            Assert.False(back.AsSpan().ContainsAnyExcept((byte)0));
        }
    }

    [Fact]
    public void Trailing_bytes_truncation_and_an_empty_frame_are_refused()
    {
        byte[] plain = Text(5000), packed = new byte[5000];
        _compressor.Compress(plain, packed, 1, out int bytes);
        Assert.False(_compressor.TryDecompress(Codec.Zstd, packed.AsSpan(0, bytes + 1), new byte[5000]));
        for (int cut = 0; cut < bytes; cut += 7)
        {
            Assert.False(_compressor.TryDecompress(Codec.Zstd, packed.AsSpan(0, cut), new byte[5000]), $"cut at {cut}");
        }

        Assert.False(_compressor.TryDecompress(Codec.Zstd, [], []));
        byte[] two = [.. packed.AsSpan(0, bytes), .. packed.AsSpan(0, bytes)];
        Assert.False(_compressor.TryDecompress(Codec.Zstd, two, new byte[10_000]));
        byte[] skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        Assert.False(_compressor.TryDecompress(Codec.Zstd, skippable, []));
    }

    [Fact]
    public void Damaged_frames_give_an_error_or_the_right_length_and_never_a_crash()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        byte[] plain = Text(20_000), packed = new byte[20_000], back = new byte[20_000];
        _compressor.Compress(plain, packed, 1, out int bytes);
        int refused = 0;
        for (int round = 0; round < 2000; round++)
        {
            byte[] damaged = packed[..bytes];
            damaged[random.Next(bytes)] ^= (byte)random.Next(1, 256);
            refused += _compressor.TryDecompress(Codec.Zstd, damaged, back) ? 0 : 1;
        }

        Assert.True(refused > 200, $"only {refused} refused, seed {seed}");
    }

    [Fact]
    public void Many_threads_share_the_contexts()
    {
        byte[] plain = Text(50_000);
        Parallel.For(0, 64, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            byte[] mine = [.. plain];
            mine[i] ^= 0x55;
            byte[] packed = new byte[mine.Length], back = new byte[mine.Length];
            Codec codec = _compressor.Compress(mine, packed, 1, out int bytes);
            Assert.True(_compressor.TryDecompress(codec, packed.AsSpan(0, bytes), back));
            Assert.Equal(mine, back);
        });
    }

    /// <summary>More contexts than the pool keeps: those that find no place when they come back are freed.</summary>
    [Fact]
    public void More_threads_than_there_are_processors_pack_at_once()
    {
        byte[] plain = Text(200_000);
        int count = Environment.ProcessorCount + 2;
        byte[][] packed = new byte[count][];
        using var start = new Barrier(count);
        Thread[] threads = [.. Enumerable.Range(0, count).Select(i => new Thread(() =>
        {
            byte[] target = new byte[plain.Length];
            start.SignalAndWait();
            Assert.True(Zstd.TryCompress(plain, target, Zstd.HighestLevel, out int bytes));
            packed[i] = target[..bytes];
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.All(packed, each => Assert.Equal(packed[0], each));
        byte[] back = new byte[plain.Length];
        Assert.True(Zstd.TryDecompress(packed[0], back));
        Assert.Equal(plain, back);
    }

    [Theory]
    [InlineData("20 01 090000 61", "a", "its size")]
    [InlineData("80 68 01000000 090000 61", "a", "a window of 8 MiB")]
    [InlineData("80 67 01000000 090000 61", "a", "a window of 7.5 MiB")]
    [InlineData("e0 0100000000000000 090000 61", "a", "its size in eight bytes")]
    [InlineData("e0 0100000001000000 090000 61", null, "4 GiB too much in eight bytes")]
    [InlineData("24 01 090000 61 5b6e8ca9", "a", "a checksum that is right")]
    [InlineData("80 69 01000000 090000 61", null, "a window of 9 MiB")]
    [InlineData("24 01 090000 61 5b6e8caa", null, "a checksum that is wrong")]
    [InlineData("00 68 090000 61", "a", "no content size")]
    [InlineData("00 69 090000 61", null, "no content size and a window of 9 MiB")]
    [InlineData("20 02 090000 61", null, "another content size")]
    [InlineData("21 00 01 090000 61", null, "a field for a dictionary")]
    [InlineData("20", null, "half a header")]
    [InlineData("", null, "no header")]
    public void A_frame_says_no_other_size_and_keeps_to_the_window(string frame, string? expected, string what)
    {
        byte[] packed = Convert.FromHexString("28b52ffd" + frame.Replace(" ", "", StringComparison.Ordinal)), plain = [0xee];
        Assert.True(_compressor.TryDecompress(Codec.Zstd, packed, plain) == expected is not null, what);
        Assert.Equal(expected is null ? 0 : expected[0], plain[0]);
    }

    [Fact]
    public void The_example_of_the_format_page_unpacks()
    {
        byte[] example = Repository.FormatExample("2.3"), plain = new byte[64];
        Assert.True(_compressor.TryDecompress((Codec)example[0], example.AsSpan(1), plain));
        Assert.Equal(Encoding.ASCII.GetBytes(new string('a', 64)), plain);
    }

    [Fact]
    public void A_missing_library_says_what_to_install()
    {
        DllNotFoundException error = Assert.Throws<DllNotFoundException>(() => _ = NativeLibraries.ResolveOrExplain("libnone", typeof(Zstd).Assembly, null));
        Assert.Equal("libnone is not installed: install libnone, or put the library beside the program.", error.Message);
    }

    private static byte[] Text(int size)
    {
        var text = new StringBuilder();
        for (int line = 0; text.Length < size; line++)
        {
            text.Append("line ").Append(line * 7919 % 1000).Append(" of a file that somebody wrote\n");
        }

        return Encoding.ASCII.GetBytes(text.ToString(0, size));
    }

    private static byte[] Noise(int size)
    {
        byte[] noise = new byte[size];
        new SeededRandom(size).Fill(noise);
        return noise;
    }
}
