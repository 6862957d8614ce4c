using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

public sealed class KeyDomainTests
{
    private static byte[] Name { get; } = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];

    internal static KeyDomain ExampleDomain() => KeyDomain.Create(DomainKind.Realm, new CountingRandom());

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        using KeyDomain domain = ExampleDomain();
        using SecretBytes bytes = domain.Serialize();
        Assert.Equal(Repository.HexLines(Repository.FormatExample("3.2")), Repository.HexLines(bytes.Span));
        using KeyDomain again = KeyDomain.Read(bytes.Span);
        using SecretBytes second = again.Serialize();
        Assert.Equal(bytes.Span, second.Span);
        Assert.Equal(domain.Id, again.Id);
        Assert.Equal(DomainKind.Realm, again.Kind);
        Assert.Equal([1u], again.Epochs);
    }

    /// <summary>The table of docs/format.md 3.2, recomputed from the raw bytes of its example.</summary>
    [Fact]
    public void Subkeys_are_what_the_table_of_the_format_page_says()
    {
        using KeyDomain domain = ExampleDomain();
        byte[] raw = Repository.FormatExample("3.2"), key = new byte[32];
        byte[] scoreKey = raw[20..52], seed = raw[52..84], blockBase = raw[92..124], arenaBase = raw[124..156];
        Assert.Equal(Derived("tdfs 2026-11 score key v1", [.. scoreKey, 1]), domain.ScoreKey(1));
        Assert.Equal(Derived("tdfs 2026-11 score key v1", [.. scoreKey, 255]), domain.ScoreKey(255));
        domain.GearSeed(key);
        Assert.Equal(Derived("tdfs 2026-11 gear seed v1", seed), key);
        domain.BlockKey(1, Name, key);
        Assert.Equal(Derived("tdfs 2026-11 block key v1", [.. blockBase, .. Name]), key);
        domain.ArenaKey(1, Name, key);
        Assert.Equal(Derived("tdfs 2026-11 arena key v1", [.. arenaBase, .. Name]), key);
        domain.LogKey(1, Name, key);
        Assert.Equal(Derived("tdfs 2026-11 log key v1", [.. arenaBase, .. Name]), key);
    }

    [Fact]
    public void No_two_subkeys_are_equal()
    {
        using KeyDomain domain = KeyDomain.Create(DomainKind.Session, new SeededRandom(1)), other = KeyDomain.Create(DomainKind.Session, new SeededRandom(2));
        domain.AddEpoch(new SeededRandom(3));
        var seen = new HashSet<string>();
        byte[] key = new byte[32], otherName = [.. Name];
        otherName[31] ^= 1;
        int count = 0;
        void Add()
        {
            seen.Add(Convert.ToHexString(key));
            count++;
        }

        foreach (KeyDomain each in (KeyDomain[])[domain, other])
        {
            for (int type = 0; type < 256; type++)
            {
                each.ScoreKey((byte)type).CopyTo(key);
                Add();
            }

            each.GearSeed(key);
            Add();
            foreach (uint epoch in each.Epochs)
            {
                foreach (byte[] name in (byte[][])[Name, otherName])
                {
                    each.BlockKey(epoch, name, key);
                    Add();
                    each.ArenaKey(epoch, name, key);
                    Add();
                    each.LogKey(epoch, name, key);
                    Add();
                }
            }
        }

        Assert.Equal(count, seen.Count);
    }

    [Fact]
    public void A_new_epoch_is_current_and_leaves_the_older_keys_as_they_were()
    {
        using KeyDomain domain = ExampleDomain();
        byte[] before = new byte[32], after = new byte[32], fresh = new byte[32];
        domain.BlockKey(1, Name, before);
        byte[] score = domain.ScoreKey(1).ToArray();
        Assert.Equal(2u, domain.AddEpoch(new SeededRandom(1)));
        Assert.Equal(2u, domain.CurrentEpoch);
        Assert.Equal([1u, 2u], domain.Epochs);
        domain.BlockKey(1, Name, after);
        domain.BlockKey(2, Name, fresh);
        Assert.Equal(before, after);
        Assert.NotEqual(before, fresh);
        Assert.Equal(score, domain.ScoreKey(1));
        Assert.True(domain.HasEpoch(2));
        Assert.False(domain.HasEpoch(3));
        Assert.Throws<KeyNotFoundException>(() => domain.BlockKey(3, Name, fresh));
    }

    [Fact]
    public void Epochs_are_bounded()
    {
        using KeyDomain domain = ExampleDomain();
        for (int i = 1; i < KeyDomain.MaximumEpochs; i++)
        {
            domain.AddEpoch(new CountingRandom());
        }

        Assert.Throws<InvalidOperationException>(() => domain.AddEpoch(new CountingRandom()));
        using SecretBytes bytes = domain.Serialize();
        Assert.Equal(KeyDomain.MaximumBytes, bytes.Length);
        using KeyDomain again = KeyDomain.Read(bytes.Span);
        Assert.Equal((uint)KeyDomain.MaximumEpochs, again.CurrentEpoch);
        byte[] key = new byte[32], publicKey = new byte[32];
        X25519.PublicKey(key, publicKey);
        byte[] wrap = KeyWrap.Wrap(domain, publicKey, new SeededRandom(1));
        Assert.Equal(KeyWrap.MaximumBytes, wrap.Length);
        Assert.True(KeyWrap.TryUnwrap(key, wrap, out KeyDomain? unwrapped));
        unwrapped.Dispose();
    }

    [Fact]
    public void Deriving_allocates_nothing()
    {
#if DEBUG
        Assert.Skip("Unoptimised code boxes; the release build is what is promised.");
#else
        using KeyDomain domain = ExampleDomain();
        byte[] key = new byte[32];
        long Allocated()
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 1000; i++)
            {
                domain.BlockKey(1, Name, key);
                domain.ArenaKey(1, Name, key);
                domain.ScoreKey(1);
            }

            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // The runtime may allocate while it compiles: one run without is enough, and one object per call would show in every run.
        long least = Enumerable.Range(0, 5).Min(_ => Allocated());
        Assert.True(least < 1000, $"{least} bytes in 3000 calls");
#endif
    }

    [Fact]
    public void Many_threads_get_the_same_score_key()
    {
        using KeyDomain domain = ExampleDomain();
        byte[] expected = ExampleDomain().ScoreKey(9).ToArray();
        Parallel.For(0, 64, _ => Assert.True(domain.ScoreKey(9).SequenceEqual(expected)));
    }

    [Theory]
    [InlineData(0, 2)] // version
    [InlineData(1, 0)] // kinds
    [InlineData(1, 4)]
    [InlineData(2, 1)] // reserved
    [InlineData(84, 0)] // epoch count
    [InlineData(84, 2)]
    [InlineData(87, 1)] // reserved
    [InlineData(88, 0)] // epoch number
    public void Damage_is_refused(int offset, byte value)
    {
        byte[] bytes = Repository.FormatExample("3.2");
        bytes[offset] = value;
        Assert.Throws<DamagedFormatException>(() => KeyDomain.Read(bytes));
    }

    [Fact]
    public void Truncation_trailing_bytes_and_repeated_epochs_are_refused()
    {
        byte[] bytes = Repository.FormatExample("3.2");
        for (int length = 0; length < bytes.Length; length++)
        {
            Assert.Throws<DamagedFormatException>(() => KeyDomain.Read(bytes.AsSpan(0, length)));
        }

        Assert.Throws<DamagedFormatException>(() => KeyDomain.Read([.. bytes, 0]));
        byte[] twice = [.. bytes, .. bytes[88..]];
        twice[84] = 2;
        Assert.Throws<DamagedFormatException>(() => KeyDomain.Read(twice));
        twice[88 + 68] = 2;
        using KeyDomain two = KeyDomain.Read(twice);
        Assert.Equal([1u, 2u], two.Epochs);
    }

    [Fact]
    public void No_epochs_and_more_than_the_most_are_refused()
    {
        byte[] bytes = Repository.FormatExample("3.2"), none = bytes[..88];
        none[84] = 0;
        Assert.Throws<DamagedFormatException>(() => KeyDomain.Read(none));
        int count = KeyDomain.MaximumEpochs + 1;
        byte[] many = [.. bytes[..88], .. new byte[count * 68]];
        BitConverter.TryWriteBytes(many.AsSpan(84), (ushort)count);
        for (int i = 0; i < count; i++)
        {
            BitConverter.TryWriteBytes(many.AsSpan(88 + (i * 68)), i + 1);
        }

        Assert.Throws<DamagedFormatException>(() => KeyDomain.Read(many));
        BitConverter.TryWriteBytes(many.AsSpan(84), (ushort)(count - 1));
        using KeyDomain most = KeyDomain.Read(many.AsSpan(0, many.Length - 68));
        Assert.Equal((uint)KeyDomain.MaximumEpochs, most.CurrentEpoch);
    }

    [Fact]
    public void A_disposed_domain_derives_nothing()
    {
        KeyDomain domain = ExampleDomain();
        domain.AddEpoch(new SeededRandom(1));
        byte[] key = new byte[32];
        domain.ScoreKey(1);
        domain.Dispose();
        Assert.Throws<ObjectDisposedException>(() => domain.ScoreKey(1).Length);
        Assert.Throws<ObjectDisposedException>(() => domain.ScoreKey(2).Length);
        Assert.Throws<ObjectDisposedException>(() => domain.GearSeed(key));
        foreach (uint epoch in domain.Epochs)
        {
            Assert.Throws<ObjectDisposedException>(() => domain.BlockKey(epoch, Name, key));
            Assert.Throws<ObjectDisposedException>(() => domain.ArenaKey(epoch, Name, key));
        }
    }

    [Fact]
    public void Names_and_targets_of_another_size_are_refused()
    {
        using KeyDomain domain = ExampleDomain();
        foreach (int size in (int[])[0, 31, 33])
        {
            Assert.Throws<ArgumentException>("name", () => domain.BlockKey(1, new byte[size], new byte[32]));
            Assert.Throws<ArgumentException>("target", () => domain.BlockKey(1, Name, new byte[size]));
            Assert.Throws<ArgumentException>("target", () => domain.GearSeed(new byte[size]));
        }
    }

    [Fact]
    public void A_domain_prints_no_secret()
    {
        using KeyDomain domain = ExampleDomain();
        Assert.Equal("KeyDomain(Realm, 000102030405060708090a0b0c0d0e0f, epoch 1)", domain.ToString());
    }

    private static byte[] Derived(string context, byte[] material)
    {
        byte[] key = new byte[32];
        Blake3.DeriveKey(context, material, key);
        return key;
    }
}

public sealed class KeyWrapTests
{
    private static byte[] Private { get; } = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        using KeyDomain domain = KeyDomainTests.ExampleDomain();
        byte[] wrap = KeyWrap.Wrap(domain, Public(), new CountingRandom(), DareSuite.Aes256Gcm);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("3.3")), Repository.HexLines(wrap));
    }

    [Fact]
    public void What_is_wrapped_unwraps_for_the_recipient_alone()
    {
        using KeyDomain domain = KeyDomain.Create(DomainKind.Burnable, new SeededRandom(1));
        domain.AddEpoch(new SeededRandom(2));
        byte[] wrap = KeyWrap.Wrap(domain, Public(), new SeededRandom(3)), again = KeyWrap.Wrap(domain, Public(), new SeededRandom(4));
        Assert.NotEqual(wrap, again);
        Assert.True(KeyWrap.TryUnwrap(Private, wrap, out KeyDomain? back));
        using SecretBytes one = domain.Serialize(), two = back.Serialize();
        Assert.Equal(one.Span, two.Span);
        back.Dispose();
        byte[] other = [.. Private];
        other[5] ^= 1;
        Assert.False(KeyWrap.TryUnwrap(other, wrap, out _));
    }

    [Fact]
    public void A_recipient_of_small_order_is_refused()
    {
        using KeyDomain domain = KeyDomainTests.ExampleDomain();
        Assert.Throws<ArgumentException>(() => KeyWrap.Wrap(domain, new byte[32], new CountingRandom()));
        byte[] wrap = Repository.FormatExample("3.3");
        wrap.AsSpan(8, 32).Clear();
        Assert.False(KeyWrap.TryUnwrap(Private, wrap, out _));
    }

    [Fact]
    public void Every_flip_and_cut_is_refused()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        byte[] wrap = Repository.FormatExample("3.3");
        for (int i = 0; i < wrap.Length; i++)
        {
            byte[] damaged = [.. wrap];
            damaged[i] ^= (byte)(1 << random.Next(8));

            // X25519 ignores the top bit of a public key, but the derivation does not.
            Assert.False(KeyWrap.TryUnwrap(Private, damaged, out _), $"seed {seed}, offset {i}");
            Assert.False(KeyWrap.TryUnwrap(Private, wrap.AsSpan(0, i), out _), $"length {i}");
        }

        Assert.False(KeyWrap.TryUnwrap(Private, [.. wrap, 0], out _));
        Assert.False(KeyWrap.TryUnwrap(Private, new byte[KeyWrap.MaximumBytes + 1], out _));
        Assert.True(KeyWrap.TryUnwrap(Private, wrap, out KeyDomain? domain));
        domain.Dispose();
    }

    [Fact]
    public void A_right_wrap_of_something_else_is_refused()
    {
        byte[] ephemeral = [.. Enumerable.Range(50, 32).Select(i => (byte)i)], shared = new byte[32], ephemeralPublic = new byte[32], key = new byte[32];
        X25519.PublicKey(ephemeral, ephemeralPublic);
        Assert.True(X25519.TryAgree(ephemeral, Public(), shared));
        Blake3.DeriveKey("tdfs 2026-11 key wrap v1", [.. shared, .. ephemeralPublic, .. Public()], key);
        bool Unwraps(byte[] plain)
        {
            byte[] message = new byte[Dare.CipherBytes(plain.Length)];
            Dare.Encrypt(key, new SeededRandom(1), plain, message);
            bool unwrapped = KeyWrap.TryUnwrap(Private, [.. "TDFSWRP1"u8, .. ephemeralPublic, .. message], out KeyDomain? domain);
            Assert.Equal(unwrapped, domain is not null);
            domain?.Dispose();
            return unwrapped;
        }

        byte[] serialised = Repository.FormatExample("3.2");
        Assert.True(Unwraps(serialised));
        Assert.False(Unwraps(serialised[..^1]));
        Assert.False(Unwraps(new byte[156]));
        Assert.False(Unwraps([1]));
    }

    private static byte[] Public()
    {
        byte[] key = new byte[32];
        X25519.PublicKey(Private, key);
        return key;
    }

    [Fact]
    public void Two_devices_that_begin_an_epoch_take_two_numbers_and_the_union_has_both()
    {
        using KeyDomain one = KeyDomain.Create(DomainKind.Realm, new SeededRandom(1));
        using KeyDomain two = one.Copy();
        uint ones = one.AddEpoch(1, 1, new SeededRandom(2)), twos = two.AddEpoch(5, 1, new SeededRandom(3));
        Assert.Equal(((1u << 23) | 1, (1u << 23) | 5), (ones, twos));
        Assert.Equal((1u, 5u), (KeyDomain.MakerOf(ones), KeyDomain.MakerOf(twos)));
        Assert.Equal(1, one.Merge(two, out IReadOnlyList<uint> conflicts));
        Assert.Empty(conflicts);
        Assert.Equal(0, one.Merge(two, out _));
        Assert.Equal([1u, ones, twos], one.Epochs);
        Assert.Equal(twos, one.CurrentEpoch);
        one.Use(ones);
        Assert.Equal(ones, one.CurrentEpoch);
        Assert.Throws<KeyNotFoundException>(() => one.Use(7));

        // The next counts on from the newest that counts; one that was made and is not used keeps its number.
        Assert.Equal((2u << 23) | 1, one.AddEpoch(1, twos, new SeededRandom(4)));
        Assert.Equal((3u << 23) | 1, one.AddEpoch(1, twos, new SeededRandom(5)));
        Assert.Equal((1u << 23) | 9, one.AddEpoch(9, 0, new SeededRandom(6)));
        byte[] key = new byte[32], again = new byte[32];
        one.ArenaKey(twos, new byte[32], key);
        two.ArenaKey(twos, new byte[32], again);
        Assert.Equal(key, again);
        using SecretBytes bytes = one.Serialize();
        using KeyDomain back = KeyDomain.Read(bytes.Span);
        Assert.Equal(one.Epochs, back.Epochs);
    }

    [Fact]
    public void An_epoch_with_other_bytes_is_named_and_what_is_here_is_kept()
    {
        using KeyDomain one = KeyDomain.Create(DomainKind.Realm, new SeededRandom(1));
        using KeyDomain two = one.Copy();
        uint number = one.AddEpoch(1, 1, new SeededRandom(2));
        two.AddEpoch(1, 1, new SeededRandom(3));
        byte[] before = new byte[32], after = new byte[32];
        one.ArenaKey(number, new byte[32], before);
        Assert.Equal(0, one.Merge(two, out IReadOnlyList<uint> conflicts));
        Assert.Equal([number], conflicts);
        one.ArenaKey(number, new byte[32], after);
        Assert.Equal(before, after);
        using KeyDomain other = KeyDomain.Create(DomainKind.Realm, new SeededRandom(9));
        Assert.Throws<DamagedFormatException>(() => one.Merge(other, out _));
    }

    [Fact]
    public void Of_several_wraps_an_epochs_maker_is_believed_then_the_lowest_device()
    {
        using KeyDomain first = KeyDomain.Create(DomainKind.Realm, new SeededRandom(1));
        using KeyDomain thiefs = first.Copy();
        using KeyDomain makers = first.Copy();
        uint number = makers.AddEpoch(7, 1, new SeededRandom(2));
        thiefs.AddEpoch(7, 1, new SeededRandom(3));
        uint own = thiefs.AddEpoch(4, 1, new SeededRandom(4));
        var notes = new List<string>();
        using KeyDomain union = KeyDomain.Union([(makers, 7), (thiefs, 4), (first, 2)], notes.Add);
        Assert.Equal([1u, own, number], union.Epochs);
        byte[] expected = new byte[32], found = new byte[32];
        makers.ArenaKey(number, new byte[32], expected);
        union.ArenaKey(number, new byte[32], found);
        Assert.Equal(expected, found);
        Assert.Contains($"epoch {number}: devices 4 and 7 wrapped different keys; device 7 is believed", Assert.Single(notes), StringComparison.Ordinal);
    }

    [Fact]
    public void Counters_end_with_a_line_and_no_number_is_taken_twice()
    {
        using KeyDomain domain = KeyDomain.Create(DomainKind.Realm, new SeededRandom(1));
        uint last = 1;
        for (uint counter = 1; counter <= KeyDomain.MaximumCounter; counter++)
        {
            last = domain.AddEpoch(DeviceCertificate.MaximumDeviceNumber, last, new SeededRandom((int)counter));
        }

        Assert.Equal(uint.MaxValue, last);
        Assert.Throws<InvalidOperationException>(() => domain.AddEpoch(1, last, new SeededRandom(1)));
        Assert.Equal((1u << 23) | 1, domain.AddEpoch(1, 1, new SeededRandom(1))); // of those that count none is so high
    }
}
