using System.Text.Json;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Interop;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Encryption;

public sealed class DareTests
{
    private const int Package = Dare.PackageSize;

    /// <summary>Around the AES block, the payload (the last package full, one over, one under) and several packages.</summary>
    public static TheoryData<int> InterestingSizes { get; } =
        [1, 15, 16, 17, 4096, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_048_576, 1_048_577];

    public static TheoryData<DareSuite, bool> Implementations { get; } = new()
    {
        { DareSuite.Aes256Gcm, true },
        { DareSuite.Aes256Gcm, false },
        { DareSuite.ChaCha20Poly1305, true },
        { DareSuite.ChaCha20Poly1305, false },
    };

    private static byte[] Key { get; } = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];

    private static JsonElement Vectors { get; } = JsonDocument.Parse(File.ReadAllText(Repository.Vector("dare/dare_test_go.json"))).RootElement;

    [Theory, InlineData(true), InlineData(false)]
    public void Golden_packages_of_sio_decrypt_and_are_written_again_byte_for_byte(bool native)
    {
        Assert.SkipWhen(native && !Evp.IsAvailable, "libcrypto 3 is not here; the .NET classes serve.");
        int number = 0;
        byte[] nonce = [.. Enumerable.Range(0, 12).Select(i => (byte)i)];
        foreach (byte[] golden in Hexes("goldenTestsV20"))
        {
            var suite = (DareSuite)(number % 2);
            PackageCipher implementation = PackageCipher.Create(suite, native);
            byte[] plain = new byte[golden.Length - 32];
            plain.AsSpan().Fill(0xee);
            Assert.True(Dare.TryDecrypt(Key, golden, plain, out int plainBytes, (uint)number, implementation), $"golden package {number}");
            Assert.Equal(golden.Length - 32, plainBytes);
            Assert.Equal(new byte[plainBytes], plain);
            byte[] again = new byte[golden.Length];
            Dare.Encrypt(Key, nonce, plain, again, suite, (uint)number, implementation);
            Assert.Equal(golden, again);
            number++;
        }

        Assert.Equal(128, number);
    }

    [Theory, MemberData(nameof(InterestingSizes))]
    public void Parts_decrypt_alone_to_what_the_message_says_there(int size)
    {
        var random = new SeededRandom(size);
        byte[] plain = random.Bytes(size), cipher = new byte[Dare.CipherBytes(size)];
        _ = Dare.Encrypt(Key, random, plain, cipher, DareSuite.Aes256Gcm);
        foreach (int at in (int[])[0, 1, 15, 16, 4095, 65_535, 65_536, 131_072 - 17, size / 2, size - 1])
        {
            int count = Math.Min(Math.Min(5000, size - at), Dare.PayloadSize - (at % Dare.PayloadSize));
            if (count > 0)
            {
                byte[] part = cipher.AsSpan(Dare.PositionOf(at), count).ToArray();
                Dare.DecryptUnchecked(Key, cipher.AsSpan(0, Dare.HeaderSize), cipher.Length, at, part);
                Assert.True(plain.AsSpan(at, count).SequenceEqual(part), $"{count} bytes at {at}");
            }
        }
    }

    [Fact]
    public void A_part_that_is_none_of_one_package_is_refused()
    {
        byte[] cipher = new byte[Dare.CipherBytes(70_000)];
        _ = Dare.Encrypt(Key, new SeededRandom(1), new byte[70_000], cipher, DareSuite.Aes256Gcm);
        Assert.True(Dare.CanDecryptParts(cipher));
        foreach ((int at, int count) in ((int, int)[])[(65_535, 2), (69_999, 2), (70_000, 1)])
        {
            Assert.Throws<ArgumentException>(() => Dare.DecryptUnchecked(Key, cipher.AsSpan(0, Dare.HeaderSize), cipher.Length, at, new byte[count]));
        }

        _ = Dare.Encrypt(Key, new SeededRandom(1), new byte[70_000], cipher, DareSuite.ChaCha20Poly1305);
        Assert.False(Dare.CanDecryptParts(cipher));
        Assert.Throws<ArgumentException>(() => Dare.DecryptUnchecked(Key, cipher.AsSpan(0, Dare.HeaderSize), cipher.Length, 0, new byte[1]));
    }

    [Fact]
    public void Invalid_packages_of_sio_are_refused()
    {
        int number = 0;
        foreach (byte[] invalid in Hexes("invalidTestsV20"))
        {
            byte[] plain = Filled(invalid.Length);
            byte suite = invalid[1];
            bool opened = suite <= 1
                ? Dare.TryDecrypt(Key, invalid, plain, out int plainBytes, (uint)number, PackageCipher.ForThread((DareSuite)suite))
                : Dare.TryDecrypt(Key, invalid, plain, out plainBytes);
            Assert.False(opened, $"invalid package {number}");
            Assert.Equal(0, plainBytes);
            Assert.Equal(new byte[plain.Length], plain);
            number++;
        }

        Assert.Equal(18, number);
    }

    [Fact]
    public void Dare_1_0_packages_are_refused()
    {
        foreach (byte[] old in Hexes("goldenTestsV10"))
        {
            Assert.False(Dare.TryDecrypt(Key, old, new byte[old.Length], out _));
        }
    }

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        byte[] cipher = new byte[Dare.CipherBytes(1)];
        Dare.Encrypt(Key, new CountingRandom(), [0], cipher, DareSuite.Aes256Gcm);
        Assert.Equal(Repository.FormatExample("2.4"), cipher);
    }

    [Theory, MemberData(nameof(InterestingSizes))]
    public void What_is_encrypted_decrypts_in_both_suites_and_both_implementations(int plainBytes)
    {
        byte[] plain = Random(plainBytes, seed: plainBytes);
        foreach (DareSuite suite in Enum.GetValues<DareSuite>())
        {
            byte[] cipher = new byte[Dare.CipherBytes(plainBytes)];
            Assert.Equal(cipher.Length, Dare.Encrypt(Key, new SeededRandom(1), plain, cipher, suite));
            byte[] nonce = new byte[12];
            new SeededRandom(1).Fill(nonce);
            byte[] managed = new byte[cipher.Length];
            Dare.Encrypt(Key, nonce, plain, managed, suite, 0, PackageCipher.Create(suite, native: false));
            Assert.Equal(managed, cipher);

            byte[] back = new byte[plainBytes];
            Assert.True(Dare.TryDecrypt(Key, cipher, back, out int backBytes));
            Assert.Equal(plainBytes, backBytes);
            Assert.Equal(plain, back);
            Array.Clear(back);
            Assert.True(Dare.TryDecrypt(Key, cipher, back, out _, 0, PackageCipher.Create(suite, native: false)));
            Assert.Equal(plain, back);
        }
    }

    [Theory, MemberData(nameof(Implementations))]
    public void Any_flip_in_a_header_or_tag_is_refused_and_zeroes_the_target(DareSuite suite, bool native)
    {
        Assert.SkipWhen(native && !Evp.IsAvailable, "libcrypto 3 is not here; the .NET classes serve.");
        byte[] cipher = Encrypted(2 * Dare.PayloadSize + 100, suite);
        int[] starts = [0, Package, 2 * Package];
        foreach (int start in starts)
        {
            int end = Math.Min(start + Package, cipher.Length);
            IEnumerable<int> places = Enumerable.Range(start, Dare.HeaderSize).Concat(Enumerable.Range(end - Dare.TagSize, Dare.TagSize)).Append(start + Dare.HeaderSize + 7);
            foreach (int place in places)
            {
                byte bit = (byte)(1 << (place % 8));
                cipher[place] ^= bit;
                AssertRefused(cipher, PackageCipher.Create(suite, native));
                cipher[place] ^= bit;
            }
        }

        Assert.True(Dare.TryDecrypt(Key, cipher, new byte[cipher.Length], out _, 0, PackageCipher.Create(suite, native)));
    }

    [Fact]
    public void Every_bit_of_the_first_header_counts()
    {
        byte[] cipher = Encrypted(100, DareSuite.Aes256Gcm);
        for (int bit = 0; bit < Dare.HeaderSize * 8; bit++)
        {
            cipher[bit / 8] ^= (byte)(1 << (bit % 8));
            AssertRefused(cipher);
            cipher[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Fact]
    public void Swapped_repeated_or_missing_packages_are_refused()
    {
        byte[] cipher = Encrypted(3 * Dare.PayloadSize, DareSuite.Aes256Gcm);
        byte[] first = cipher[..Package], second = cipher[Package..(2 * Package)], last = cipher[(2 * Package)..];
        AssertRefused([.. second, .. first, .. last]);
        AssertRefused([.. first, .. first, .. last]);
        AssertRefused([.. first, .. last]);
        AssertRefused([.. first, .. last, .. second]);
        AssertRefused([.. first, .. second, .. second, .. last]);
        AssertRefused(last);
    }

    [Fact]
    public void A_package_of_another_message_under_the_same_key_is_refused()
    {
        byte[] one = Encrypted(2 * Dare.PayloadSize, DareSuite.Aes256Gcm, seed: 1), other = Encrypted(2 * Dare.PayloadSize, DareSuite.Aes256Gcm, seed: 2);
        AssertRefused([.. one[..Package], .. other[Package..]]);
        AssertRefused([.. other[..Package], .. one[Package..]]);
    }

    [Fact]
    public void A_message_cut_or_extended_anywhere_near_a_boundary_is_refused()
    {
        byte[] cipher = Encrypted(2 * Dare.PayloadSize + 100, DareSuite.Aes256Gcm);
        int[] boundaries = [0, Dare.HeaderSize, Dare.HeaderSize + Dare.TagSize, Package, Package + Dare.HeaderSize, 2 * Package, 2 * Package + 32, cipher.Length];
        foreach (int boundary in boundaries)
        {
            for (int length = Math.Max(0, boundary - 2); length <= Math.Min(cipher.Length - 1, boundary + 2); length++)
            {
                AssertRefused(cipher[..length]);
            }
        }

        AssertRefused([.. cipher, 0]);
        AssertRefused([.. cipher, .. new byte[40]]);
        AssertRefused([.. cipher, .. cipher]);
    }

    [Fact]
    public void Another_key_is_refused()
    {
        byte[] cipher = Encrypted(100, DareSuite.ChaCha20Poly1305);
        byte[] key = [.. Key];
        key[31] ^= 1;
        byte[] plain = Filled(100);
        Assert.False(Dare.TryDecrypt(key, cipher, plain, out int plainBytes));
        Assert.Equal(0, plainBytes);
        Assert.Equal(new byte[100], plain);
    }

    [Fact]
    public void An_empty_message_is_refused_in_both_directions()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => Dare.CipherBytes(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Dare.Encrypt(Key, new CountingRandom(), [], new byte[64]));
        Assert.False(Dare.TryDecrypt(Key, [], [], out _));
        AssertRefused(new byte[32]);
    }

    [Fact]
    public void No_message_has_a_length_that_leaves_a_package_without_payload()
    {
        foreach (int cipherBytes in (int[])[int.MinValue, -1, 0, 1, 32, Package + 1, Package + 32, 3 * Package + 32])
        {
            Assert.False(Dare.TryPlainBytes(cipherBytes, out int none), $"{cipherBytes}");
            Assert.Equal(0, none);
        }

        foreach ((int cipherBytes, int expected) in ((int, int)[])[(33, 1), (Package, 65_536), (Package + 33, 65_537), (3 * Package, 3 * 65_536)])
        {
            Assert.True(Dare.TryPlainBytes(cipherBytes, out int plainBytes));
            Assert.Equal(expected, plainBytes);
        }
    }

    [Fact]
    public void AES_is_preferred_where_the_processor_has_instructions_for_it()
    {
        bool hasInstructions = System.Runtime.Intrinsics.X86.Aes.IsSupported || System.Runtime.Intrinsics.Arm.Aes.IsSupported;
        Assert.Equal(hasInstructions ? DareSuite.Aes256Gcm : DareSuite.ChaCha20Poly1305, Dare.PreferredSuite);
    }

    [Theory, MemberData(nameof(InterestingSizes))]
    public void Lengths_agree_in_both_directions(int plainBytes)
    {
        Assert.True(Dare.TryPlainBytes(Dare.CipherBytes(plainBytes), out int back));
        Assert.Equal(plainBytes, back);
    }

    [Fact]
    public void Random_damage_is_always_refused()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        byte[] cipher = Encrypted(70_000, DareSuite.Aes256Gcm);
        for (int round = 0; round < 300; round++)
        {
            byte[] damaged = random.Next(2) == 0 ? [.. cipher] : cipher[..random.Next(cipher.Length)];
            for (int flips = damaged.Length == cipher.Length ? random.Next(1, 4) : random.Next(3); flips > 0 && damaged.Length > 0; flips--)
            {
                damaged[random.Next(2) == 0 ? random.Next(Math.Min(40, damaged.Length)) : random.Next(damaged.Length)] ^= (byte)random.Next(1, 256);
            }

            if (!damaged.AsSpan().SequenceEqual(cipher))
            {
                Assert.False(Dare.TryDecrypt(Key, damaged, new byte[cipher.Length], out _), $"seed {seed}, round {round}");
            }
        }
    }

    [Fact]
    public void Overlapping_buffers_and_short_targets_are_the_callers_mistake()
    {
        byte[] buffer = new byte[200];
        Assert.Throws<ArgumentException>(() => Dare.Encrypt(Key, new CountingRandom(), buffer.AsSpan(0, 100), buffer.AsSpan(50)));
        Assert.Throws<ArgumentOutOfRangeException>(() => Dare.Encrypt(Key, new CountingRandom(), new byte[100], new byte[131]));
        Assert.Throws<ArgumentOutOfRangeException>(() => Dare.TryDecrypt(Key, Encrypted(100, DareSuite.Aes256Gcm), new byte[99], out _));
        byte[] message = [.. Encrypted(100, DareSuite.Aes256Gcm), .. new byte[100]];
        Assert.Throws<ArgumentException>(() => Dare.TryDecrypt(Key, message.AsSpan(0, 132), message.AsSpan(131), out _));
        Assert.Throws<ArgumentNullException>(() => Dare.Encrypt(Key, null!, new byte[1], buffer));
        byte[] tooShort = Filled(131);
        Assert.Throws<ArgumentOutOfRangeException>(() => Dare.Encrypt(Key, new CountingRandom(), new byte[100], tooShort));
        Assert.Equal(Filled(131), tooShort);
    }

    [Theory, InlineData(0), InlineData(16), InlineData(31), InlineData(33)]
    public void A_key_of_another_size_is_the_callers_mistake(int keyBytes)
    {
        byte[] key = new byte[keyBytes], plain = new byte[100];
        foreach (DareSuite suite in Enum.GetValues<DareSuite>())
        {
            Assert.Throws<ArgumentException>("key", () => Dare.Encrypt(key, new CountingRandom(), plain, new byte[132], suite));
            Assert.Throws<ArgumentException>("key", () => Dare.TryDecrypt(key, Encrypted(100, suite), plain, out _));
        }
    }

    [Fact]
    public void A_thread_makes_one_cipher_a_suite_and_keeps_it()
    {
        PackageCipher aes = PackageCipher.ForThread(DareSuite.Aes256Gcm), chacha = PackageCipher.ForThread(DareSuite.ChaCha20Poly1305);
        Assert.NotSame(aes, chacha);
        Assert.Same(aes, PackageCipher.ForThread(DareSuite.Aes256Gcm));
        Assert.Same(chacha, PackageCipher.ForThread(DareSuite.ChaCha20Poly1305));
        PackageCipher? others = null;
        var thread = new Thread(() => others = PackageCipher.ForThread(DareSuite.Aes256Gcm));
        thread.Start();
        thread.Join();
        Assert.NotNull(others);
        Assert.NotSame(aes, others);
    }

    [Fact]
    public void The_key_is_forgotten_after_every_message_and_a_failure_leaves_no_plaintext()
    {
        var cipher = new WatchedCipher();
        byte[] nonce = new byte[12], message = new byte[Dare.CipherBytes(100_000)], plain = Random(100_000, seed: 3);
        Dare.Encrypt(Key, nonce, plain, message, DareSuite.Aes256Gcm, 0, cipher);
        Assert.Equal((1, 1), (cipher.Starts, cipher.Ends));
        Assert.True(Dare.TryDecrypt(Key, message, plain, out _, 0, cipher));
        Assert.Equal((2, 2), (cipher.Starts, cipher.Ends));
        message[20] ^= 1;
        Assert.False(Dare.TryDecrypt(Key, message, plain, out _, 0, cipher));
        Assert.Equal((3, 3), (cipher.Starts, cipher.Ends));

        cipher.Fails = true;
        message[20] ^= 1;
        plain.AsSpan().Fill(0xee);
        Assert.Throws<InvalidOperationException>(() => Dare.TryDecrypt(Key, message, plain, out _, 0, cipher));
        Assert.Equal((4, 4), (cipher.Starts, cipher.Ends));
        Assert.False(plain.AsSpan().ContainsAnyExcept((byte)0), "the target was not zeroed");
        Assert.Throws<InvalidOperationException>(() => Dare.Encrypt(Key, nonce, plain, message, DareSuite.Aes256Gcm, 0, cipher));
        Assert.Equal((5, 5), (cipher.Starts, cipher.Ends));
    }

    private static byte[] Encrypted(int plainBytes, DareSuite suite, int seed = 1)
    {
        byte[] cipher = new byte[Dare.CipherBytes(plainBytes)];
        Dare.Encrypt(Key, new SeededRandom(seed), Random(plainBytes, seed), cipher, suite);
        return cipher;
    }

    private static void AssertRefused(byte[] cipher, PackageCipher? implementation = null)
    {
        byte[] plain = Filled(Math.Max(1, cipher.Length));
        bool opened = implementation is null
            ? Dare.TryDecrypt(Key, cipher, plain, out int plainBytes)
            : Dare.TryDecrypt(Key, cipher, plain, out plainBytes, 0, implementation);
        Assert.False(opened);
        Assert.Equal(0, plainBytes);
        Assert.False(plain.AsSpan().ContainsAnyExcept((byte)0), "the target was not zeroed");
    }

    private static byte[] Random(int bytes, int seed)
    {
        byte[] data = new byte[bytes];
        new SeededRandom(seed).Fill(data);
        return data;
    }

    private static byte[] Filled(int bytes)
    {
        byte[] data = new byte[bytes];
        data.AsSpan().Fill(0xee);
        return data;
    }

    /// <summary>Counts keys put in and taken out; fails, if asked to, after it has done its work.</summary>
    private sealed class WatchedCipher : PackageCipher
    {
        private readonly PackageCipher _inner = Create(DareSuite.Aes256Gcm, native: false);

        internal int Starts { get; private set; }

        internal int Ends { get; private set; }

        internal bool Fails { get; set; }

        internal override void Start(ReadOnlySpan<byte> key, bool encrypt)
        {
            Starts++;
            _inner.Start(key, encrypt);
        }

        internal override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> plain, Span<byte> cipher, Span<byte> tag)
        {
            _inner.Encrypt(nonce, associated, plain, cipher, tag);
            FailIfAsked();
        }

        internal override bool TryDecrypt(
            ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> cipher, ReadOnlySpan<byte> tag, Span<byte> plain)
        {
            bool verified = _inner.TryDecrypt(nonce, associated, cipher, tag, plain);
            FailIfAsked();
            return verified;
        }

        internal override void End()
        {
            Ends++;
            _inner.End();
        }

        private void FailIfAsked()
        {
            if (Fails)
            {
                throw new InvalidOperationException("asked to fail");
            }
        }
    }

    private static IEnumerable<byte[]> Hexes(string list) =>
        Vectors.GetProperty(list).EnumerateArray().Select(vector => Convert.FromHexString(vector.GetProperty("hex").GetString()!));
}
