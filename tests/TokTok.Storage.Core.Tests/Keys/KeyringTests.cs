using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

public sealed class KeyringTests
{
    private static ReadOnlySpan<byte> Passphrase => "correct horse battery staple"u8;

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        using Keyring keyring = Example();
        byte[] file = keyring.WriteWithoutPassphrase(new CountingRandom(), DareSuite.Aes256Gcm);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("3.4")), Repository.HexLines(file));
    }

    [Fact]
    public void What_is_written_reads_back_under_the_passphrase()
    {
        using Keyring keyring = Example();
        keyring.Add(KeyDomain.Create(DomainKind.Burnable, new SeededRandom(1)));
        byte[] file = keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(2));
        KeyringRead read = Keyring.Read(file, Passphrase);
        Assert.Equal((KeyringOutcome.Opened, ""), (read.Outcome, read.Message));
        using Keyring back = read.Keyring!;
        AssertSame(keyring, back);
    }

    [Fact]
    public void A_wrong_passphrase_is_told_from_damage_and_from_none()
    {
        using Keyring keyring = Example();
        byte[] file = keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(2));
        KeyringRead wrong = Keyring.Read(file, "Correct horse battery staple"u8);
        Assert.Equal((KeyringOutcome.WrongPassphrase, null, "The passphrase is wrong."), (wrong.Outcome, wrong.Keyring, wrong.Message));
        Assert.Equal(KeyringOutcome.PassphraseNeeded, Keyring.Read(file, []).Outcome);
        file[100] ^= 1;
        Assert.Equal(KeyringOutcome.Damaged, Keyring.Read(file, Passphrase).Outcome);
    }

    [Fact]
    public void Another_version_is_told_by_name()
    {
        byte[] file = Repository.FormatExample("3.4");
        file[7] = (byte)'2';
        KeyringRead read = Keyring.Read(file, []);
        Assert.Equal((KeyringOutcome.OtherVersion, "The keyring begins with 'TDFSKEY2'; this release reads 'TDFSKEY1'."), (read.Outcome, read.Message));
        Assert.Equal(KeyringOutcome.OtherVersion, Keyring.ReadHeader(file, out _, out _));
    }

    [Fact]
    public void An_agent_with_the_unlock_key_reads_and_rewrites_without_the_passphrase()
    {
        using Keyring keyring = Example();
        byte[] file = keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(2));
        Assert.Equal(KeyringOutcome.Opened, Keyring.ReadHeader(file, out KeyringHeader header, out _));
        Assert.Equal((KeyringMode.Passphrase, Argon2Cost.Least), (header.Mode, header.Cost));
        using SecretBytes unlockKey = Keyring.DeriveUnlockKey(header, Passphrase);
        using Keyring unlocked = Keyring.ReadWithKey(file, unlockKey.Span).Keyring!;
        unlocked.Add(KeyDomain.Create(DomainKind.Session, new SeededRandom(3)));
        unlocked.Domains[0].AddEpoch(new SeededRandom(4));
        byte[] rewritten = unlocked.WriteWithKey(header, unlockKey.Span, new SeededRandom(5));
        using Keyring back = Keyring.Read(rewritten, Passphrase).Keyring!;
        AssertSame(unlocked, back);
        Assert.Equal(2u, back.Domains[0].CurrentEpoch);
        Assert.Equal(KeyringOutcome.WrongPassphrase, Keyring.ReadWithKey(rewritten, new byte[32]).Outcome);
    }

    [Fact]
    public void A_removed_domain_is_zeroed_and_not_written()
    {
        using Keyring keyring = Example();
        KeyDomain burnable = KeyDomain.Create(DomainKind.Burnable, new SeededRandom(1));
        DomainId id = burnable.Id;
        keyring.Add(burnable);
        Assert.Throws<InvalidOperationException>(() => keyring.Add(burnable));
        Assert.Same(burnable, keyring.Find(id));
        Assert.True(keyring.Remove(id));
        Assert.False(keyring.Remove(id));
        Assert.Throws<ObjectDisposedException>(() => burnable.BlockKey(1, new byte[32], new byte[32]));
        using Keyring back = Keyring.Read(keyring.WriteWithoutPassphrase(new SeededRandom(2)), []).Keyring!;
        Assert.Null(back.Find(id));
        Assert.Single(back.Domains);
    }

    [Fact]
    public void Every_flip_cut_and_extension_is_damage_or_another_version()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        using Keyring keyring = Example();
        byte[] file = keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(2));
        for (int i = 0; i < file.Length; i++)
        {
            byte[] damaged = [.. file];
            damaged[i] ^= (byte)random.Next(1, 256);
            KeyringRead read = Keyring.Read(damaged, Passphrase);
            Assert.True(read.Outcome == KeyringOutcome.Damaged || (i == 7 && read.Outcome == KeyringOutcome.OtherVersion), $"seed {seed}, offset {i}: {read.Outcome}");
            Assert.Equal(KeyringOutcome.Damaged, Keyring.Read(file.AsSpan(0, i), Passphrase).Outcome);
        }

        Assert.Equal(KeyringOutcome.Damaged, Keyring.Read([.. file, 0], Passphrase).Outcome);
        Assert.Equal(KeyringOutcome.Damaged, Keyring.Read([], Passphrase).Outcome);
    }

    /// <summary>A checksum keeps no forger out: these files carry a right one.</summary>
    [Fact]
    public void Forged_headers_open_nothing_and_cost_nothing()
    {
        using Keyring keyring = Example();
        byte[] file = keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(2));
        KeyringOutcome With(int offset, params byte[] value)
        {
            byte[] forged = [.. file];
            value.CopyTo(forged, offset);
            Blake3.Hash(forged.AsSpan(0, forged.Length - 32), forged.AsSpan(forged.Length - 32));
            KeyringOutcome header = Keyring.ReadHeader(forged, out _, out string message);
            KeyringRead read = Keyring.Read(forged, Passphrase);
            Assert.Equal(header == KeyringOutcome.Opened, message.Length == 0);
            Assert.True(header == read.Outcome || (header == KeyringOutcome.Opened && read.Outcome == KeyringOutcome.WrongPassphrase), $"{header}, {read.Outcome}");
            return read.Outcome;
        }

        Assert.Equal(KeyringOutcome.Opened, With(0));
        Assert.Equal(KeyringOutcome.Damaged, With(8, 0)); // mode 0 with a salt
        Assert.Equal(KeyringOutcome.Damaged, With(8, 2));
        Assert.Equal(KeyringOutcome.Damaged, With(9, 1));
        Assert.Equal(KeyringOutcome.Damaged, With(12, 0xff, 0xff, 0xff, 0xff)); // passes
        Assert.Equal(KeyringOutcome.Damaged, With(16, 0xff, 0xff, 0xff, 0xff)); // memory
        Assert.Equal(KeyringOutcome.WrongPassphrase, With(12, 2));
        Assert.Equal(KeyringOutcome.WrongPassphrase, With(20, (byte)(file[20] ^ 1))); // salt
        Assert.Equal(KeyringOutcome.Damaged, With(36, 0xff, 0xff, 0xff, 0xff)); // length
        Assert.Equal(KeyringOutcome.WrongPassphrase, With(60, (byte)(file[60] ^ 1))); // contents
        byte[] stripped = [.. file];
        stripped.AsSpan(8, 28).Clear();
        Blake3.Hash(stripped.AsSpan(0, stripped.Length - 32), stripped.AsSpan(stripped.Length - 32));
        Assert.Equal(KeyringOutcome.Damaged, Keyring.Read(stripped, Passphrase).Outcome);
    }

    /// <summary>What somebody who has the key could still write wrongly: the parser behind the cipher.</summary>
    [Fact]
    public void Damaged_contents_behind_a_right_key_are_damage_and_allocate_within_bounds()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        byte[] contents = ExampleContents();
        int opened = 0;
        for (int round = 0; round < 400; round++)
        {
            byte[] changed = [.. contents];
            if (round % 4 == 0)
            {
                changed = changed[..random.Next(1, contents.Length)];
            }
            else
            {
                changed[random.Next(contents.Length)] ^= (byte)random.Next(1, 256);
            }

            byte[] forged = WithContents(changed);
            long before = GC.GetAllocatedBytesForCurrentThread();
            KeyringRead read = Keyring.Read(forged, []);
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 100_000, $"seed {seed}, round {round}");
            Assert.True(read.Outcome is KeyringOutcome.Damaged or KeyringOutcome.Opened, $"seed {seed}, round {round}");
            Assert.True(read.Outcome == KeyringOutcome.Opened == read.Keyring is not null, $"seed {seed}, round {round}");
            opened += read.Outcome == KeyringOutcome.Opened ? 1 : 0;
            read.Keyring?.Dispose();
        }

        // Flips in plain secrets (anchor key, bases) cannot be seen; those in lengths, keys and the certificate are.
        Assert.InRange(opened, 1, 300);
    }

    [Fact]
    public void Contents_that_contradict_themselves_are_damage()
    {
        const int DeviceNumberAt = 112, NameAt = 212, CertificateAt = 219;
        byte[] contents = ExampleContents();
        int countAt = CertificateAt + 2 + BitConverter.ToUInt16(contents, CertificateAt);
        byte[] domain = contents[(countAt + 4)..];
        Assert.Equal(6, contents[NameAt]);
        Assert.Equal(1, BitConverter.ToInt32(contents, countAt));
        (KeyringOutcome, string) With(params byte[] changed)
        {
            KeyringRead read = Keyring.Read(WithContents(changed), []);
            Assert.Equal(read.Outcome == KeyringOutcome.Opened, read.Keyring is not null);
            read.Keyring?.Dispose();
            return (read.Outcome, read.Message);
        }

        byte[] otherNumber = [.. contents], twice = [.. contents, .. domain], control = [.. contents];
        otherNumber[DeviceNumberAt]++;
        twice[countAt] = 2;
        control[NameAt + 1] = 7;
        Assert.Equal((KeyringOutcome.Opened, ""), With(contents));
        (KeyringOutcome, string) certificate = (KeyringOutcome.Damaged, "keyring: the certificate is not the account's for this device");
        Assert.Equal(certificate, With(otherNumber));
        Assert.Equal(certificate, With(control));
        Assert.Equal(certificate, With([.. contents[..NameAt], 0, .. contents[CertificateAt..]]));
        Assert.Equal((KeyringOutcome.Damaged, "keyring: domain 000102030405060708090a0b0c0d0e0f stands in it twice"), With(twice));
        Assert.Equal((KeyringOutcome.Damaged, "keyring: 1 bytes follow its end"), With([.. contents, 0]));
        twice[countAt + 4 + domain.Length + 4 + 4] ^= 1; // the second one's id
        Assert.Equal((KeyringOutcome.Opened, ""), With(twice));
    }

    [Fact]
    public void A_certificate_of_another_account_or_device_makes_no_keyring()
    {
        using AccountKeys account = AccountKeysTests.ExampleAccount(), stranger = AccountKeys.FromEntropy(new byte[32]);
        using DeviceKeys device = DeviceKeys.Create(new SeededRandom(1)), other = DeviceKeys.Create(new SeededRandom(2));
        using DeviceKeys otherSeed = new(SecretBytes.CopyOf(other.SigningSeed.Span), SecretBytes.CopyOf(device.AgreementPrivateKey.Span));
        using DeviceKeys otherAgreement = new(SecretBytes.CopyOf(device.SigningSeed.Span), SecretBytes.CopyOf(other.AgreementPrivateKey.Span));
        foreach (DeviceCertificate certificate in (DeviceCertificate[])[
            AccountKeysTests.ExampleCertificate(stranger, device), AccountKeysTests.ExampleCertificate(account, other),
            AccountKeysTests.ExampleCertificate(account, otherSeed), AccountKeysTests.ExampleCertificate(account, otherAgreement)])
        {
            Assert.Throws<ArgumentException>(() => new Keyring(
                account.PublicKey, account.RecoveryPublicKey, account.Tag, new SecretBytes(32), device, "x", certificate, new SecretBytes(32)));
        }
    }

    [Fact]
    public void An_empty_passphrase_is_refused_when_writing()
    {
        using Keyring keyring = Example();
        Assert.Throws<ArgumentException>(() => keyring.Write([], Argon2Cost.Least, new CountingRandom()));
    }

    /// <summary>Written, it would be lost: no reader looks at so long a message.</summary>
    [Fact]
    public void A_keyring_too_long_to_be_read_back_is_not_written()
    {
        using Keyring keyring = Example();
        byte[] bytes = Repository.FormatExample("3.2"), full = [.. bytes[..88], .. new byte[KeyDomain.MaximumEpochs * 68]];
        BitConverter.TryWriteBytes(full.AsSpan(84), (ushort)KeyDomain.MaximumEpochs);
        for (int i = 0; i < KeyDomain.MaximumEpochs; i++)
        {
            BitConverter.TryWriteBytes(full.AsSpan(88 + (i * 68)), i + 1);
        }

        for (int i = 0; i < Keyring.MaximumMessageBytes / full.Length; i++)
        {
            full[4] = (byte)(i + 1);
            keyring.Add(KeyDomain.Read(full));
        }

        byte[] longest = keyring.WriteWithoutPassphrase(new SeededRandom(1));
        using Keyring back = Keyring.Read(longest, []).Keyring!;
        Assert.Equal(keyring.Domains.Count, back.Domains.Count);
        full[4] = 255;
        keyring.Add(KeyDomain.Read(full));
        Assert.Throws<InvalidOperationException>(() => keyring.WriteWithoutPassphrase(new SeededRandom(1)));
    }

    [Fact]
    public void What_is_missing_is_the_callers_mistake()
    {
        using AccountKeys account = AccountKeysTests.ExampleAccount();
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        using Keyring keyring = Example();
        DeviceCertificate certificate = AccountKeysTests.ExampleCertificate(account, device);
        SecretBytes secret = new(32);
        Keyring Make(SecretBytes? anchor, DeviceKeys? keys, DeviceCertificate? word, SecretBytes? cache) =>
            new(account.PublicKey, account.RecoveryPublicKey, account.Tag, anchor!, keys!, "x", word!, cache!);
        Assert.Throws<ArgumentNullException>("anchorKey", () => Make(null, device, certificate, secret));
        Assert.Throws<ArgumentNullException>("device", () => Make(secret, null, certificate, secret));
        Assert.Throws<ArgumentNullException>("certificate", () => Make(secret, device, null, secret));
        Assert.Throws<ArgumentNullException>("cacheKey", () => Make(secret, device, certificate, null));
        Assert.Throws<ArgumentNullException>("account", () => Keyring.Create(null!, 1, "x", 0, new CountingRandom()));
        Assert.Throws<ArgumentNullException>("domain", () => keyring.Add(null!));
        Assert.Throws<ArgumentNullException>("random", () => keyring.Write(Passphrase, Argon2Cost.Least, null!));
        Assert.Throws<ArgumentNullException>("random", () => keyring.WriteWithoutPassphrase(null!));
        Assert.Throws<ArgumentNullException>("signingSeed", () => new DeviceKeys(null!, secret));
        Assert.Throws<ArgumentNullException>("agreementPrivateKey", () => new DeviceKeys(secret, null!));
        Assert.Throws<ArgumentNullException>("account", () => DeviceCertificate.Issue(null!, device, 1, "x", 0));
        Assert.Throws<ArgumentNullException>("device", () => DeviceCertificate.Issue(account, null!, 1, "x", 0));
        Assert.Throws<ArgumentNullException>("name", () => DeviceCertificate.Issue(account, device, 1, null!, 0));
        Assert.Throws<ArgumentNullException>("random", () => KeyDomain.Create(DomainKind.Realm, null!));
        Assert.Throws<ArgumentNullException>("random", () => keyring.Domains[0].AddEpoch(null!));
        Assert.Throws<ArgumentNullException>("domain", () => KeyWrap.Wrap(null!, account.RecoveryPublicKey, new CountingRandom()));
        Assert.Throws<ArgumentNullException>("random", () => KeyWrap.Wrap(keyring.Domains[0], account.RecoveryPublicKey, null!));
        Assert.Throws<ArgumentNullException>("random", () => SecretBytes.Random(null!, 1));
    }

    [Fact]
    public void Every_write_under_a_passphrase_draws_a_new_salt()
    {
        using Keyring keyring = Example();
        var random = new SeededRandom(7);
        Keyring.ReadHeader(keyring.Write(Passphrase, Argon2Cost.Least, random), out KeyringHeader one, out _);
        Keyring.ReadHeader(keyring.Write(Passphrase, Argon2Cost.Least, random), out KeyringHeader other, out _);
        Assert.True(one.SaltHigh != 0 && one.SaltLow != 0 && other.SaltHigh != 0 && other.SaltLow != 0);
        Assert.True(one.SaltHigh != other.SaltHigh && one.SaltLow != other.SaltLow);
    }

    [Fact]
    public void The_unlock_key_is_Argon2id_of_passphrase_salt_and_cost_as_they_stand_in_the_file()
    {
        using Keyring keyring = Example();
        byte[] file = keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(7)), expected = new byte[32];
        Keyring.ReadHeader(file, out KeyringHeader header, out string message);
        Assert.Equal("", message);
        Argon2id.Hash(Passphrase, file.AsSpan(20, 16), Argon2Cost.Least, expected);
        using SecretBytes unlockKey = Keyring.DeriveUnlockKey(header, Passphrase);
        Assert.Equal(expected, unlockKey.Span);
        Assert.Equal(file, keyring.Write(Passphrase, Argon2Cost.Least, new SeededRandom(7), out KeyringHeader written, out SecretBytes kept));
        Assert.Equal(header, written);
        Assert.Equal(expected, kept.Span);
        kept.Dispose();
        using SecretBytes none = Keyring.DeriveUnlockKey(default, Passphrase);
        Assert.Equal(new byte[32], none.Span);
    }

    [Fact]
    public void With_an_unlock_key_too_damage_and_other_versions_are_told_apart()
    {
        byte[] file = Repository.FormatExample("3.4"), key = new byte[32];
        Assert.Throws<ArgumentException>("unlockKey", () => Keyring.ReadWithKey(file, new byte[31]));
        Assert.Throws<ArgumentException>("unlockKey", () => Keyring.ReadWithKey(file, new byte[33]));
        using Keyring whole = Keyring.ReadWithKey(file, key).Keyring!;
        Assert.NotNull(whole);
        foreach (byte version in "2345678"u8)
        {
            file[7] = version;
            KeyringRead other = Keyring.ReadWithKey(file, key);
            Assert.Equal((KeyringOutcome.OtherVersion, null), (other.Outcome, other.Keyring));
        }

        file[7] = (byte)'9';
        Assert.Equal(KeyringOutcome.OtherVersion, Keyring.ReadWithKey(file, key).Outcome);
        file[7] = (byte)'0';
        Assert.Equal(KeyringOutcome.Damaged, Keyring.ReadWithKey(file, key).Outcome);
        file[7] = (byte)':';
        Assert.Equal(KeyringOutcome.Damaged, Keyring.ReadWithKey(file, key).Outcome);

        Assert.Equal(KeyringOutcome.OtherVersion, Keyring.ReadHeader("TDFSKEY2"u8, out _, out _));
        Assert.Equal(KeyringOutcome.Damaged, Keyring.ReadHeader("TDFSKEY"u8, out _, out _));

        // A message that no plaintext has: as long as a header and a tag.
        byte[] hollow = [.. Repository.FormatExample("3.4")[..36], 32, 0, 0, 0, .. new byte[32], .. new byte[32]];
        Blake3.Hash(hollow.AsSpan(0, hollow.Length - 32), hollow.AsSpan(hollow.Length - 32));
        KeyringRead read = Keyring.ReadWithKey(hollow, key);
        Assert.Equal((KeyringOutcome.Damaged, null, "keyring: no message has 32 bytes"), (read.Outcome, read.Keyring, read.Message));
    }

    [Fact]
    public void A_created_keyring_is_certified_by_the_account_and_reads_back()
    {
        using AccountKeys account = AccountKeysTests.ExampleAccount();
        using Keyring keyring = Keyring.Create(account, 3, "desk", 1_795_000_000, new SeededRandom(1));
        Assert.Equal((3u, "desk", 1_795_000_000L), (keyring.DeviceNumber, keyring.DeviceName, keyring.Certificate.IssuedAtSeconds));
        Assert.True(keyring.Certificate.IsSignedBy(account.PublicKey));
        Assert.Equal(account.Tag, keyring.Tag);
        Assert.Equal(account.AnchorKey.Span, keyring.AnchorKey.Span);
        Assert.True(keyring.CacheKey.Span.ContainsAnyExcept((byte)0));
        Assert.Empty(keyring.Domains);
        using Keyring back = Keyring.Read(keyring.WriteWithoutPassphrase(new SeededRandom(2)), []).Keyring!;
        AssertSame(keyring, back);
    }

    [Fact]
    public void Keys_of_another_size_and_bad_names_make_no_keyring()
    {
        using AccountKeys account = AccountKeysTests.ExampleAccount();
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate certificate = AccountKeysTests.ExampleCertificate(account, device);
        Keyring Make(int anchorBytes, int cacheBytes, int recoveryBytes, string name = "x") => new(
            account.PublicKey, new byte[recoveryBytes], account.Tag, new SecretBytes(anchorBytes), device, name, certificate, new SecretBytes(cacheBytes));
        Assert.NotNull(Make(32, 32, 32));
        Assert.Throws<ArgumentException>("certificate", () => Make(31, 32, 32));
        Assert.Throws<ArgumentException>("certificate", () => Make(32, 33, 32));
        Assert.Throws<ArgumentException>("certificate", () => Make(32, 32, 0));
        Assert.Throws<ArgumentException>("name", () => Make(32, 32, 32, ""));
    }

    [Fact]
    public void A_disposed_keyring_has_no_secret_left()
    {
        Keyring keyring = Example();
        KeyDomain domain = keyring.Domains[0];
        keyring.Dispose();
        Assert.Throws<ObjectDisposedException>(() => keyring.AnchorKey.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => keyring.CacheKey.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => keyring.Device.SigningSeed.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => domain.BlockKey(1, new byte[32], new byte[32]));
    }

    internal static Keyring Example()
    {
        using AccountKeys account = AccountKeysTests.ExampleAccount();
        DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate certificate = AccountKeysTests.ExampleCertificate(account, device);
        SecretBytes cacheKey = SecretBytes.CopyOf([.. Enumerable.Range(0x40, 32).Select(i => (byte)i)]);
        var keyring = new Keyring(
            account.PublicKey, account.RecoveryPublicKey, account.Tag, SecretBytes.CopyOf(account.AnchorKey.Span), device, "laptop", certificate, cacheKey);
        keyring.Add(KeyDomainTests.ExampleDomain());
        return keyring;
    }

    private static byte[] ExampleKey()
    {
        byte[] key = new byte[32];
        Blake3.DeriveKey("tdfs 2026-11 keyring v1", [.. new byte[32], .. Repository.FormatExample("3.4")[..36]], key);
        return key;
    }

    /// <summary>The plaintext in the example of the format page.</summary>
    private static byte[] ExampleContents()
    {
        byte[] file = Repository.FormatExample("3.4"), contents = new byte[file.Length];
        Assert.True(Dare.TryDecrypt(ExampleKey(), file.AsSpan(40, file.Length - 72), contents, out int bytes));
        return contents[..bytes];
    }

    /// <summary>The example with other contents, encrypted and summed as they should be.</summary>
    private static byte[] WithContents(byte[] contents)
    {
        byte[] forged = new byte[40 + Dare.CipherBytes(contents.Length) + 32];
        Repository.FormatExample("3.4").AsSpan(0, 36).CopyTo(forged);
        BitConverter.TryWriteBytes(forged.AsSpan(36), Dare.CipherBytes(contents.Length));
        Dare.Encrypt(ExampleKey(), new SeededRandom(1), contents, forged.AsSpan(40));
        Blake3.Hash(forged.AsSpan(0, forged.Length - 32), forged.AsSpan(forged.Length - 32));
        return forged;
    }

    private static void AssertSame(Keyring expected, Keyring actual)
    {
        Assert.Equal(expected.AccountPublicKey, actual.AccountPublicKey);
        Assert.Equal(expected.RecoveryPublicKey, actual.RecoveryPublicKey);
        Assert.Equal(expected.Tag, actual.Tag);
        Assert.Equal(expected.AnchorKey.Span, actual.AnchorKey.Span);
        Assert.Equal(expected.CacheKey.Span, actual.CacheKey.Span);
        Assert.Equal(expected.DeviceName, actual.DeviceName);
        Assert.Equal(expected.DeviceNumber, actual.DeviceNumber);
        Assert.Equal(expected.Certificate.Bytes, actual.Certificate.Bytes);
        Assert.Equal(expected.Device.SigningSeed.Span, actual.Device.SigningSeed.Span);
        Assert.Equal(expected.Device.AgreementPrivateKey.Span, actual.Device.AgreementPrivateKey.Span);
        Assert.Equal(expected.Domains.Count, actual.Domains.Count);
        for (int i = 0; i < expected.Domains.Count; i++)
        {
            using SecretBytes one = expected.Domains[i].Serialize(), two = actual.Domains[i].Serialize();
            Assert.Equal(one.Span, two.Span);
        }
    }
}
