using System.Text;

namespace TokTok.Storage.Core.Keys;

/// <summary>A device's own random keys: Ed25519 for its signatures, X25519 for what is wrapped to it. They never leave its keyring.</summary>
/// <remarks>Format: docs/format.md 3.4. Ownership: dispose with the keyring that holds it.</remarks>
public sealed class DeviceKeys : IDisposable
{
    private readonly byte[] _publicKey = new byte[Ed25519.PublicKeySize];
    private readonly byte[] _agreementPublicKey = new byte[X25519.KeySize];

    /// <summary>Takes over both secrets.</summary>
    public DeviceKeys(SecretBytes signingSeed, SecretBytes agreementPrivateKey)
    {
        ArgumentNullException.ThrowIfNull(signingSeed);
        ArgumentNullException.ThrowIfNull(agreementPrivateKey);
        SigningSeed = signingSeed;
        AgreementPrivateKey = agreementPrivateKey;
        Ed25519.PublicKey(signingSeed.Span, _publicKey);
        X25519.PublicKey(agreementPrivateKey.Span, _agreementPublicKey);
    }

    public SecretBytes SigningSeed { get; }

    public SecretBytes AgreementPrivateKey { get; }

    public ReadOnlySpan<byte> PublicKey => _publicKey;

    public ReadOnlySpan<byte> AgreementPublicKey => _agreementPublicKey;

    public static DeviceKeys Create(IRandomSource random) =>
        new(SecretBytes.Random(random, Ed25519.SeedSize), SecretBytes.Random(random, X25519.KeySize));

    public void Sign(ReadOnlySpan<byte> message, Span<byte> signature) => Ed25519.Sign(SigningSeed.Span, message, signature);

    public bool TryUnwrap(ReadOnlySpan<byte> wrap, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out KeyDomain? domain) =>
        KeyWrap.TryUnwrap(AgreementPrivateKey.Span, wrap, out domain);

    public void Dispose()
    {
        SigningSeed.Dispose();
        AgreementPrivateKey.Dispose();
    }
}

/// <summary>The account's word that a device belongs to it: number, keys, name and date, signed with the account key, or by a device that the account vouches for.</summary>
/// <remarks>Format: docs/format.md 3.1. Invariant: an object of this type is well formed; whether the account vouches for it is asked of <see cref="IsSignedBy"/>.
/// One that a device issued carries its issuer's, and so on up to the one that the account signed: whoever is shown it needs no other.
/// The date is the issuer's clock, for people to read; nothing expires by it.</remarks>
public sealed class DeviceCertificate
{
    public const int MaximumNameBytes = 64;

    /// <summary>Certificates from the account's own signature to the last device: each may enrol another, within reason.</summary>
    public const int MaximumLinks = 4;

    public const int MaximumBytes = MaximumLinks * LinkSize + (MaximumLinks - 1) * sizeof(ushort);

    /// <summary>File ids have 23 bits for it (docs/format.md 13.1).</summary>
    public const uint MaximumDeviceNumber = (1 << 23) - 1;

    private const int MagicSize = 8;
    private const int FixedSize = MagicSize + Ed25519.PublicKeySize + sizeof(uint) + Ed25519.PublicKeySize + X25519.KeySize + sizeof(long) + 1;
    private const int LinkSize = FixedSize + MaximumNameBytes + Ed25519.SignatureSize;
    private const int AccountOffset = MagicSize;
    private const int DeviceKeyOffset = AccountOffset + Ed25519.PublicKeySize + sizeof(uint);
    private const int AgreementKeyOffset = DeviceKeyOffset + Ed25519.PublicKeySize;

    private readonly byte[] _bytes;
    private volatile Verdict _verdict; // whoever comes to it at the same time finds the same

    private DeviceCertificate(byte[] bytes, uint deviceNumber, long issuedAtSeconds, string deviceName, DeviceCertificate? issuer)
    {
        _bytes = bytes;
        DeviceNumber = deviceNumber;
        IssuedAtSeconds = issuedAtSeconds;
        DeviceName = deviceName;
        Issuer = issuer;
    }

    public ReadOnlySpan<byte> AccountPublicKey => _bytes.AsSpan(AccountOffset, Ed25519.PublicKeySize);

    public uint DeviceNumber { get; }

    public ReadOnlySpan<byte> DevicePublicKey => _bytes.AsSpan(DeviceKeyOffset, Ed25519.PublicKeySize);

    public ReadOnlySpan<byte> AgreementPublicKey => _bytes.AsSpan(AgreementKeyOffset, X25519.KeySize);

    /// <summary>Seconds since 1970 by the issuer's clock.</summary>
    public long IssuedAtSeconds { get; }

    public string DeviceName { get; }

    /// <summary>Of the device that enrolled this one; null: the account did.</summary>
    public DeviceCertificate? Issuer { get; }

    /// <summary>How many signatures lie between the account's key and this device's, its own included.</summary>
    public int LinkCount => 1 + (Issuer?.LinkCount ?? 0);

    /// <summary>The certificate as it is stored and sent.</summary>
    public ReadOnlySpan<byte> Bytes => _bytes;

    private static ReadOnlySpan<byte> Magic => "TDFSCRT1"u8;

    private static ReadOnlySpan<byte> IssuedMagic => "TDFSCRT2"u8;

    public static DeviceCertificate Issue(AccountKeys account, DeviceKeys device, uint deviceNumber, string deviceName, long issuedAtSeconds)
    {
        ArgumentNullException.ThrowIfNull(account);
        ArgumentNullException.ThrowIfNull(device);
        FieldWriter writer = Begin(Magic, account.PublicKey, device.PublicKey, device.AgreementPublicKey, deviceNumber, deviceName, issuedAtSeconds);
        byte[] bytes = new byte[writer.Length + Ed25519.SignatureSize];
        writer.Written.CopyTo(bytes);
        account.Sign(writer.Written, bytes.AsSpan(writer.Length));
        return new DeviceCertificate(bytes, deviceNumber, issuedAtSeconds, deviceName, issuer: null);
    }

    /// <summary>Enrols a device by another of the same account, which has no words.</summary>
    /// <exception cref="InvalidOperationException">The issuer is <see cref="MaximumLinks"/> away from the account.</exception>
    public static DeviceCertificate Issue(
        DeviceCertificate issuer, DeviceKeys issuerKeys, ReadOnlySpan<byte> devicePublicKey, ReadOnlySpan<byte> agreementPublicKey, uint deviceNumber, string deviceName, long issuedAtSeconds)
    {
        ArgumentNullException.ThrowIfNull(issuer);
        ArgumentNullException.ThrowIfNull(issuerKeys);
        if (issuer.LinkCount >= MaximumLinks)
        {
            throw new InvalidOperationException($"A device that is {MaximumLinks} enrolments away from the words enrols no other.");
        }

        FieldWriter writer = Begin(IssuedMagic, issuer.AccountPublicKey, devicePublicKey, agreementPublicKey, deviceNumber, deviceName, issuedAtSeconds);
        writer.U16((ushort)issuer.Bytes.Length);
        writer.Bytes(issuer.Bytes);
        byte[] bytes = new byte[writer.Length + Ed25519.SignatureSize];
        writer.Written.CopyTo(bytes);
        issuerKeys.Sign(writer.Written, bytes.AsSpan(writer.Length));
        return new DeviceCertificate(bytes, deviceNumber, issuedAtSeconds, deviceName, issuer);
    }

    /// <summary>Parses without verifying.</summary>
    /// <exception cref="DamagedFormatException">Not exactly one certificate.</exception>
    public static DeviceCertificate Read(ReadOnlySpan<byte> source) => Read(source, MaximumLinks);

    /// <summary>True if the certificate names this account, and the account signed it, or the certificate of the device that did, which has a lower number:
    /// so nobody who has a device's key makes one that is heard before the devices that enrolled it.</summary>
    public bool IsSignedBy(ReadOnlySpan<byte> accountPublicKey) => AccountPublicKey.SequenceEqual(accountPublicKey) && IsGenuine();

    /// <summary>Whether its signatures hold for the account that it names: of bytes that never change, so that one look is enough.</summary>
    private bool IsGenuine()
    {
        if (_verdict == Verdict.None)
        {
            bool isGenuine = (Issuer is null || (DeviceNumber > Issuer.DeviceNumber && Issuer.IsSignedBy(AccountPublicKey)))
                && Ed25519.Verify(Issuer is null ? AccountPublicKey : Issuer.DevicePublicKey, Bytes[..^Ed25519.SignatureSize], Bytes[^Ed25519.SignatureSize..]);
            _verdict = isGenuine ? Verdict.Genuine : Verdict.Forged;
        }

        return _verdict == Verdict.Genuine;
    }

    private enum Verdict
    {
        None,
        Genuine,
        Forged,
    }

    internal static bool IsName(string name) =>
        name.Length > 0 && Encoding.UTF8.GetByteCount(name) <= MaximumNameBytes && !name.Any(char.IsControl);

    internal static void CheckName(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (!IsName(name))
        {
            throw new ArgumentException($"A device's name has 1 to {MaximumNameBytes} bytes of UTF-8 and no control characters.", nameof(name));
        }
    }

    private static FieldWriter Begin(
        ReadOnlySpan<byte> magic, ReadOnlySpan<byte> account, ReadOnlySpan<byte> devicePublicKey, ReadOnlySpan<byte> agreementPublicKey, uint deviceNumber, string deviceName, long issuedAtSeconds)
    {
        CheckName(deviceName);
        ArgumentOutOfRangeException.ThrowIfNegative(issuedAtSeconds);
        var writer = new FieldWriter(MaximumBytes);
        writer.Bytes(magic);
        writer.Bytes(account);
        writer.U32(deviceNumber);
        writer.Bytes(devicePublicKey);
        writer.Bytes(agreementPublicKey);
        writer.I64(issuedAtSeconds);
        writer.ShortText(deviceName);
        return writer;
    }

    private static DeviceCertificate Read(ReadOnlySpan<byte> source, int links)
    {
        var reader = new FieldReader(source, "device certificate");
        if (source.Length > MaximumBytes)
        {
            throw reader.Damaged($"{source.Length} bytes, at most {MaximumBytes} expected");
        }

        bool isIssued = source.StartsWith(IssuedMagic);
        reader.Magic(isIssued ? IssuedMagic : Magic);
        reader.Bytes(Ed25519.PublicKeySize);
        uint deviceNumber = reader.U32();
        reader.Bytes(Ed25519.PublicKeySize + X25519.KeySize);
        long issuedAtSeconds = reader.I64();
        string name = reader.ShortText("the device's name");
        DeviceCertificate? issuer = null;
        if (isIssued)
        {
            issuer = links > 1 ? Read(reader.Bytes(reader.U16()), links - 1) : throw reader.Damaged($"more than {MaximumLinks} certificates, each of the next one's issuer");
        }

        reader.Bytes(Ed25519.SignatureSize);
        reader.End();
        if (issuedAtSeconds < 0 || !IsName(name))
        {
            throw reader.Damaged($"a name of 1 to {MaximumNameBytes} bytes without control characters and a date after 1970 are expected");
        }

        return new DeviceCertificate(source.ToArray(), deviceNumber, issuedAtSeconds, name, issuer);
    }
}
