using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

public sealed class AccountKeysTests
{
    internal static AccountKeys ExampleAccount() => AccountKeys.FromEntropy([.. Enumerable.Range(0, 32).Select(i => (byte)i)]);

    internal static DeviceCertificate ExampleCertificate(AccountKeys account, DeviceKeys device) =>
        DeviceCertificate.Issue(account, device, 1, "laptop", 1_795_000_000);

    private static DeviceKeys ExampleDevice(byte first) => new(
        SecretBytes.CopyOf([.. Enumerable.Range(first, 32).Select(i => (byte)i)]), SecretBytes.CopyOf([.. Enumerable.Range(first + 32, 32).Select(i => (byte)i)]));

    private static bool Verifies(byte[] certificate, ReadOnlySpan<byte> account)
    {
        try
        {
            return DeviceCertificate.Read(certificate).IsSignedBy(account);
        }
        catch (DamagedFormatException)
        {
            return false;
        }
    }

    [Fact]
    public void The_words_give_the_same_account_every_time()
    {
        using AccountKeys account = ExampleAccount();
        string words = WordsTests.Text([.. Enumerable.Range(0, 32).Select(i => (byte)i)]);
        Assert.True(AccountKeys.TryFromWords(words, out AccountKeys? again, out string? error), error);
        Assert.Equal(account.PublicKey, again.PublicKey);
        Assert.Equal(account.RecoveryPublicKey, again.RecoveryPublicKey);
        Assert.Equal(account.AnchorKey.Span, again.AnchorKey.Span);
        Assert.Equal(account.Tag, again.Tag);
        again.Dispose();
        Assert.False(AccountKeys.TryFromWords("abandon", out _, out error));
        Assert.Equal("24 words are expected, 1 were given.", error);
    }

    [Fact]
    public void Another_bit_of_entropy_gives_another_account()
    {
        using AccountKeys one = ExampleAccount(), other = AccountKeys.FromEntropy(new byte[32]);
        Assert.NotEqual(one.Tag, other.Tag);
        Assert.False(one.PublicKey.SequenceEqual(other.PublicKey));
        Assert.False(one.RecoveryPublicKey.SequenceEqual(other.RecoveryPublicKey));
    }

    [Fact]
    public void What_is_wrapped_to_the_recovery_key_is_recovered_from_the_words()
    {
        using AccountKeys account = ExampleAccount();
        using KeyDomain realm = KeyDomain.Create(DomainKind.Realm, new SeededRandom(1));
        byte[] wrap = KeyWrap.Wrap(realm, account.RecoveryPublicKey, new SeededRandom(2));
        Assert.True(KeyWrap.TryUnwrap(account.RecoveryPrivateKey.Span, wrap, out KeyDomain? back));
        Assert.Equal(realm.Id, back.Id);
        back.Dispose();
    }

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        using AccountKeys account = ExampleAccount();
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate certificate = ExampleCertificate(account, device);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("3.1")), Repository.HexLines(certificate.Bytes));
        DeviceCertificate again = DeviceCertificate.Read(certificate.Bytes);
        Assert.True(again.IsSignedBy(account.PublicKey));
        Assert.Equal((1u, "laptop", 1_795_000_000L), (again.DeviceNumber, again.DeviceName, again.IssuedAtSeconds));
        Assert.Equal(device.PublicKey, again.DevicePublicKey);
        Assert.Equal(device.AgreementPublicKey, again.AgreementPublicKey);
    }

    [Fact]
    public void No_flip_cut_or_extension_of_a_certificate_verifies()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        byte[] bytes = Repository.FormatExample("3.1");
        byte[] account = ExampleAccount().PublicKey.ToArray();
        bool Verifies(byte[] candidate)
        {
            try
            {
                return DeviceCertificate.Read(candidate).IsSignedBy(account);
            }
            catch (DamagedFormatException)
            {
                return false;
            }
        }

        Assert.True(Verifies(bytes));
        for (int i = 0; i < bytes.Length; i++)
        {
            byte[] damaged = [.. bytes];
            damaged[i] ^= (byte)random.Next(1, 256);
            Assert.False(Verifies(damaged), $"seed {seed}, offset {i}");
            Assert.False(Verifies(bytes[..i]), $"length {i}");
        }

        Assert.False(Verifies([.. bytes, 0]));
        Assert.False(Verifies(new byte[DeviceCertificate.MaximumBytes + 1]));
        Assert.False(DeviceCertificate.Read(bytes).IsSignedBy(new byte[32]));
    }

    [Theory, InlineData(0), InlineData(16), InlineData(31), InlineData(33)]
    public void An_account_is_made_of_32_bytes_and_no_other_number(int bytes) =>
        Assert.Throws<ArgumentException>("entropy", () => AccountKeys.FromEntropy(new byte[bytes]));

    [Fact]
    public void A_disposed_account_or_device_has_no_secret_left()
    {
        AccountKeys account = ExampleAccount();
        DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        byte[] signature = new byte[64], wrap = Repository.FormatExample("3.3");
        account.Sign("x"u8, signature);
        device.Sign("x"u8, signature);
        account.Dispose();
        device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => account.Sign("x"u8, signature));
        Assert.Throws<ObjectDisposedException>(() => account.RecoveryPrivateKey.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => account.AnchorKey.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => device.Sign("x"u8, signature));
        Assert.Throws<ObjectDisposedException>(() => device.TryUnwrap(wrap, out _));
    }

    [Fact]
    public void A_certificate_with_a_bad_name_a_date_before_1970_or_more_behind_it_is_damage()
    {
        byte[] good = Repository.FormatExample("3.1");
        int nameAt = good.AsSpan().IndexOf("laptop"u8);
        byte[] beforeTime = [.. good], control = [.. good];
        beforeTime[nameAt - 2] = 0x80;
        control[nameAt] = (byte)'\n';
        byte[] nameless = [.. good[..(nameAt - 1)], 0, .. good[(nameAt + 6)..]];
        byte[] longest = [.. good[..(nameAt - 1)], 64, .. Enumerable.Repeat((byte)'x', 64), .. good[(nameAt + 6)..]];
        byte[] tooLong = [.. good[..(nameAt - 1)], 65, .. Enumerable.Repeat((byte)'x', 65), .. good[(nameAt + 6)..]];
        foreach (byte[] bad in (byte[][])[beforeTime, control, nameless, tooLong, [.. good, 0], good[..^1]])
        {
            Assert.Throws<DamagedFormatException>(() => DeviceCertificate.Read(bad));
        }

        Assert.Equal(245, longest.Length); // the most that one has which the account signed
        Assert.Equal(new string('x', 64), DeviceCertificate.Read(longest).DeviceName);
        using AccountKeys account = ExampleAccount();
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        Assert.Throws<ArgumentOutOfRangeException>(() => DeviceCertificate.Issue(account, device, 1, "x", -1));
    }

    [Fact]
    public void A_device_enrols_another_and_the_certificate_stands_by_itself()
    {
        using AccountKeys account = ExampleAccount();
        using DeviceKeys first = ExampleDevice(0), second = ExampleDevice(0x40);
        DeviceCertificate issued = DeviceCertificate.Issue(ExampleCertificate(account, first), first, second.PublicKey, second.AgreementPublicKey, 2, "desk", 1_795_000_000);
        Assert.Equal(Repository.HexLines(Repository.FormatExample("3.1", 2)), Repository.HexLines(issued.Bytes));
        DeviceCertificate again = DeviceCertificate.Read(issued.Bytes);
        Assert.True(again.IsSignedBy(account.PublicKey));
        Assert.Equal((2u, "desk", 1u, 2), (again.DeviceNumber, again.DeviceName, again.Issuer!.DeviceNumber, again.LinkCount));
        Assert.True(again.DevicePublicKey.SequenceEqual(second.PublicKey));
        for (int i = 0; i < issued.Bytes.Length; i++)
        {
            byte[] damaged = issued.Bytes.ToArray();
            damaged[i] ^= 1;
            Assert.False(Verifies(damaged, account.PublicKey), $"offset {i}");
        }
    }

    [Fact]
    public void A_certificate_is_nothing_whose_issuer_is_another_accounts_or_did_not_sign_it()
    {
        using AccountKeys account = ExampleAccount(), other = AccountKeys.FromEntropy(new byte[32]);
        using DeviceKeys first = ExampleDevice(0), second = ExampleDevice(0x40);
        DeviceCertificate foreign = DeviceCertificate.Issue(ExampleCertificate(other, first), first, second.PublicKey, second.AgreementPublicKey, 2, "desk", 0);
        Assert.False(foreign.IsSignedBy(account.PublicKey));
        DeviceCertificate unsigned = DeviceCertificate.Issue(ExampleCertificate(account, first), second, second.PublicKey, second.AgreementPublicKey, 2, "desk", 0);
        Assert.False(unsigned.IsSignedBy(account.PublicKey));
        DeviceCertificate elder = DeviceCertificate.Issue(DeviceCertificate.Issue(account, first, 3, "laptop", 0), first, second.PublicKey, second.AgreementPublicKey, 3, "elder", 0);
        Assert.False(elder.IsSignedBy(account.PublicKey)); // a device's number is above its issuer's
    }

    [Fact]
    public void Four_certificates_are_the_longest_chain()
    {
        using AccountKeys account = ExampleAccount();
        string name = new('x', 64);
        DeviceKeys keys = DeviceKeys.Create(new CountingRandom());
        DeviceCertificate last = DeviceCertificate.Issue(account, keys, 1, name, 0);
        for (uint number = 2; number <= DeviceCertificate.MaximumLinks; number++)
        {
            DeviceKeys next = DeviceKeys.Create(new CountingRandom());
            last = DeviceCertificate.Issue(last, keys, next.PublicKey, next.AgreementPublicKey, number, name, 0);
            keys = next;
        }

        Assert.Equal(986, last.Bytes.Length);
        Assert.True(DeviceCertificate.Read(last.Bytes).IsSignedBy(account.PublicKey));
        Assert.Throws<InvalidOperationException>(() => DeviceCertificate.Issue(last, keys, keys.PublicKey, keys.AgreementPublicKey, 9, name, 0));

        // One more in the bytes, each well formed: a magic, the fields, and the last one whole.
        byte[] tooLong = [.. last.Bytes[..(117 + 64)], (byte)(last.Bytes.Length & 255), (byte)(last.Bytes.Length >> 8), .. last.Bytes, .. new byte[64]];
        Assert.Throws<DamagedFormatException>(() => DeviceCertificate.Read(tooLong));
    }

    [Fact]
    public void Names_have_1_to_64_bytes_and_no_control_characters()
    {
        using AccountKeys account = ExampleAccount();
        using DeviceKeys device = DeviceKeys.Create(new CountingRandom());
        foreach (string name in (string[])["", new('x', 65), new('é', 33), "a\nb", "\0"])
        {
            Assert.Throws<ArgumentException>(() => DeviceCertificate.Issue(account, device, 1, name, 0));
        }

        foreach (string name in (string[])["x", new('x', 64), new('é', 32), "Anna's laptop"])
        {
            Assert.Equal(name, DeviceCertificate.Read(DeviceCertificate.Issue(account, device, 1, name, 0).Bytes).DeviceName);
        }
    }
}
