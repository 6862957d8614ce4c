using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Keys;

/// <summary>What protects a keyring file. Values are part of the format.</summary>
public enum KeyringMode : byte
{
    /// <summary>The file's permissions only.</summary>
    NoPassphrase = 0,

    Passphrase = 1,
}

public enum KeyringOutcome
{
    Opened,

    /// <summary>The file is whole and the passphrase, or the unlock key, does not open it.</summary>
    WrongPassphrase,

    /// <summary>The file has a passphrase and none was given.</summary>
    PassphraseNeeded,

    /// <summary>The bytes are not those that were written.</summary>
    Damaged,

    /// <summary>Written by a release that this one cannot read.</summary>
    OtherVersion,
}

/// <summary>How a keyring file is unlocked. Public: it stands in the file as it is.</summary>
// The salt in words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
public readonly record struct KeyringHeader(KeyringMode Mode, Argon2Cost Cost, ulong SaltHigh, ulong SaltLow);

/// <summary>The answer to reading a keyring: the keyring, or why not in one line for a person.</summary>
public readonly record struct KeyringRead(KeyringOutcome Outcome, Keyring? Keyring, string Message);

/// <summary>All that a device keeps secret: its own keys, its account's anchor key, and every key domain it is in.</summary>
/// <remarks>Format: docs/format.md 3.4. Bytes to object and back; the file is its owner's affair.
/// Invariant: the certificate is signed by the account, and names this device's number and keys; domain ids differ.
/// Nonce: drawn by DARE at each write, so an unlock key may encrypt many versions of the file.
/// Locks: <c>lock (_gate)</c> orders changes of the domain list, which is replaced as a whole; reading it takes no lock.
/// Ownership: holds and disposes everything given to it.</remarks>
public sealed class Keyring : IDisposable
{
    public const int UnlockKeySize = 32;
    public const int MaximumDomains = 4096;

    /// <summary>The longest encrypted contents that are looked at.</summary>
    public const int MaximumMessageBytes = 16 * 1024 * 1024;

    private const int MagicSize = 8;
    private const int UnlockPartSize = MagicSize + 1 + 3 + 2 * sizeof(uint) + Argon2id.SaltSize;
    private const int HeaderSize = UnlockPartSize + sizeof(uint);
    private const int ChecksumSize = Blake3.HashSize;
    private const string Context = "tdfs 2026-11 keyring v1";
    private const int FixedContentSize =
        Ed25519.PublicKeySize + X25519.KeySize + AccountTag.Size + KeyDomain.SecretSize + sizeof(uint) + Ed25519.SeedSize + X25519.KeySize + KeyDomain.SecretSize;

    private readonly Lock _gate = new();
    private readonly byte[] _accountPublicKey;
    private readonly byte[] _recoveryPublicKey;
    private volatile KeyDomain[] _domains = [];

    /// <summary>Takes over the secrets.</summary>
    public Keyring(
        ReadOnlySpan<byte> accountPublicKey,
        ReadOnlySpan<byte> recoveryPublicKey,
        AccountTag tag,
        SecretBytes anchorKey,
        DeviceKeys device,
        string deviceName,
        DeviceCertificate certificate,
        SecretBytes cacheKey)
    {
        ArgumentNullException.ThrowIfNull(anchorKey);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(certificate);
        ArgumentNullException.ThrowIfNull(cacheKey);
        DeviceCertificate.CheckName(deviceName);
        if (anchorKey.Length != KeyDomain.SecretSize || cacheKey.Length != KeyDomain.SecretSize || recoveryPublicKey.Length != X25519.KeySize
            || !certificate.IsSignedBy(accountPublicKey) || !Names(certificate, device))
        {
            throw new ArgumentException("The certificate is not this account's for this device, or a key has another size than 32 bytes.", nameof(certificate));
        }

        _accountPublicKey = accountPublicKey.ToArray();
        _recoveryPublicKey = recoveryPublicKey.ToArray();
        Tag = tag;
        AnchorKey = anchorKey;
        Device = device;
        DeviceName = deviceName;
        Certificate = certificate;
        CacheKey = cacheKey;
    }

    public ReadOnlySpan<byte> AccountPublicKey => _accountPublicKey;

    /// <summary>Every epoch of the realm is wrapped to it, too.</summary>
    public ReadOnlySpan<byte> RecoveryPublicKey => _recoveryPublicKey;

    public AccountTag Tag { get; }

    public SecretBytes AnchorKey { get; }

    public DeviceKeys Device { get; }

    public uint DeviceNumber => Certificate.DeviceNumber;

    public string DeviceName { get; }

    public DeviceCertificate Certificate { get; }

    /// <summary>Encrypts what a device keeps for itself: stat cache, hit counts.</summary>
    public SecretBytes CacheKey { get; }

    public IReadOnlyList<KeyDomain> Domains => _domains;

    private static ReadOnlySpan<byte> Magic => "TDFSKEY1"u8;

    /// <summary>A keyring for a device that the account certifies here and now, with no domain yet.</summary>
    public static Keyring Create(AccountKeys account, uint deviceNumber, string deviceName, long issuedAtSeconds, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(account);
        DeviceKeys device = DeviceKeys.Create(random);
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, deviceNumber, deviceName, issuedAtSeconds);
        return new Keyring(
            account.PublicKey, account.RecoveryPublicKey, account.Tag, SecretBytes.CopyOf(account.AnchorKey.Span), device, deviceName, certificate,
            SecretBytes.Random(random, KeyDomain.SecretSize));
    }

    public KeyDomain? Find(DomainId id) => Array.Find(_domains, domain => domain.Id == id);

    /// <summary>Takes the domain over.</summary>
    public void Add(KeyDomain domain)
    {
        ArgumentNullException.ThrowIfNull(domain);
        lock (_gate)
        {
            if (Find(domain.Id) is not null || _domains.Length == MaximumDomains)
            {
                throw new InvalidOperationException($"Domain {domain.Id} is here already, or {MaximumDomains} others are.");
            }

            _domains = [.. _domains, domain];
        }
    }

    /// <summary>Takes a domain out and zeroes it. Burned is it once the keyring file without it has replaced the older one. False if it was not here.</summary>
    public bool Remove(DomainId id)
    {
        lock (_gate)
        {
            KeyDomain? domain = Find(id);
            _domains = Array.FindAll(_domains, other => other.Id != id);
            domain?.Dispose();
            return domain is not null;
        }
    }

    /// <summary>The file under a passphrase (UTF-8 bytes, at least one) with a new salt.</summary>
    public byte[] Write(ReadOnlySpan<byte> passphrase, Argon2Cost cost, IRandomSource random)
    {
        byte[] file = Write(passphrase, cost, random, out _, out SecretBytes unlockKey);
        unlockKey.Dispose();
        return file;
    }

    /// <inheritdoc cref="Write(ReadOnlySpan{byte}, Argon2Cost, IRandomSource)"/>
    /// <param name="unlockKey">What <see cref="DeriveUnlockKey"/> would give again for the header; the caller's to dispose of.</param>
    public byte[] Write(ReadOnlySpan<byte> passphrase, Argon2Cost cost, IRandomSource random, out KeyringHeader header, out SecretBytes unlockKey)
    {
        ArgumentNullException.ThrowIfNull(random);
        if (passphrase.IsEmpty)
        {
            throw new ArgumentException($"An empty passphrase protects nothing; {nameof(WriteWithoutPassphrase)} says so in the file.", nameof(passphrase));
        }

        Span<byte> salt = stackalloc byte[Argon2id.SaltSize];
        random.Fill(salt);
        header = new KeyringHeader(KeyringMode.Passphrase, cost, BinaryPrimitives.ReadUInt64BigEndian(salt), BinaryPrimitives.ReadUInt64BigEndian(salt[8..]));
        unlockKey = DeriveUnlockKey(header, passphrase);
        return WriteWithKey(header, unlockKey.Span, random);
    }

    public byte[] WriteWithoutPassphrase(IRandomSource random) => WriteWithoutPassphrase(random, Dare.PreferredSuite);

    /// <summary>The file under an unlock key that the caller, an agent say, still holds: as for a domain added or burned.</summary>
    public byte[] WriteWithKey(KeyringHeader header, ReadOnlySpan<byte> unlockKey, IRandomSource random) =>
        WriteWithKey(header, unlockKey, random, Dare.PreferredSuite);

    /// <summary>Looks at the header and the checksum only: <see cref="KeyringOutcome.Opened"/> means that the header can be used.</summary>
    public static KeyringOutcome ReadHeader(ReadOnlySpan<byte> file, out KeyringHeader header, out string message)
    {
        header = default;
        try
        {
            message = "";
            return TryReadHeader(file, out header, out _) ? KeyringOutcome.Opened : Other(file, out message);
        }
        catch (DamagedFormatException damage)
        {
            message = damage.Message;
            return KeyringOutcome.Damaged;
        }
    }

    /// <summary>The key that an agent may keep while a keyring is unlocked. Takes most of a second and 256 MiB at the default cost.</summary>
    public static SecretBytes DeriveUnlockKey(KeyringHeader header, ReadOnlySpan<byte> passphrase)
    {
        var key = new SecretBytes(UnlockKeySize);
        if (header.Mode == KeyringMode.Passphrase)
        {
            Span<byte> salt = stackalloc byte[Argon2id.SaltSize];
            WriteSalt(header, salt);
            Argon2id.Hash(passphrase, salt, header.Cost, key.Writable);
        }

        return key;
    }

    /// <summary>Opens a file. A passphrase given to a file that has none is not looked at.</summary>
    public static KeyringRead Read(ReadOnlySpan<byte> file, ReadOnlySpan<byte> passphrase)
    {
        KeyringOutcome outcome = ReadHeader(file, out KeyringHeader header, out string message);
        if (outcome != KeyringOutcome.Opened)
        {
            return new KeyringRead(outcome, null, message);
        }

        if (header.Mode == KeyringMode.Passphrase && passphrase.IsEmpty)
        {
            return new KeyringRead(KeyringOutcome.PassphraseNeeded, null, "The keyring has a passphrase; none was given.");
        }

        using SecretBytes unlockKey = DeriveUnlockKey(header, passphrase);
        return ReadWithKey(file, unlockKey.Span);
    }

    public static KeyringRead ReadWithKey(ReadOnlySpan<byte> file, ReadOnlySpan<byte> unlockKey)
    {
        if (unlockKey.Length != UnlockKeySize)
        {
            throw new ArgumentException($"An unlock key is {UnlockKeySize} bytes, not {unlockKey.Length}.", nameof(unlockKey));
        }

        try
        {
            if (!TryReadHeader(file, out KeyringHeader header, out ReadOnlySpan<byte> message))
            {
                return new KeyringRead(Other(file, out string versions), null, versions);
            }

            using SecretBytes key = MessageKey(unlockKey, file[..UnlockPartSize]);
            if (!Dare.TryPlainBytes(message.Length, out int plainBytes))
            {
                return new KeyringRead(KeyringOutcome.Damaged, null, $"keyring: no message has {message.Length} bytes");
            }

            using SecretBytes plain = new(plainBytes);
            return Dare.TryDecrypt(key.Span, message, plain.Writable, out _)
                ? new KeyringRead(KeyringOutcome.Opened, ReadContents(plain.Span), "")
                : header.Mode == KeyringMode.Passphrase
                    ? new KeyringRead(KeyringOutcome.WrongPassphrase, null, "The passphrase is wrong.")
                    : new KeyringRead(KeyringOutcome.Damaged, null, "keyring: has no passphrase and does not open");
        }
        catch (DamagedFormatException damage)
        {
            return new KeyringRead(KeyringOutcome.Damaged, null, damage.Message);
        }
    }

    public void Dispose()
    {
        AnchorKey.Dispose();
        Device.Dispose();
        CacheKey.Dispose();
        foreach (KeyDomain domain in _domains)
        {
            domain.Dispose();
        }
    }

    internal byte[] WriteWithoutPassphrase(IRandomSource random, DareSuite suite) => WriteWithKey(default, new byte[UnlockKeySize], random, suite);

    private byte[] WriteWithKey(KeyringHeader header, ReadOnlySpan<byte> unlockKey, IRandomSource random, DareSuite suite)
    {
        ArgumentNullException.ThrowIfNull(random);
        using SecretBytes contents = WriteContents();
        int messageBytes = Dare.CipherBytes(contents.Length);
        if (messageBytes > MaximumMessageBytes)
        {
            throw new InvalidOperationException($"The keyring would have {messageBytes} bytes, at most {MaximumMessageBytes} can be read back.");
        }

        byte[] file = new byte[HeaderSize + messageBytes + ChecksumSize];
        Magic.CopyTo(file);
        file[MagicSize] = (byte)header.Mode;
        Span<byte> rest = file.AsSpan(MagicSize + 1 + 3);
        BinaryPrimitives.WriteUInt32LittleEndian(rest, header.Cost.Operations);
        BinaryPrimitives.WriteUInt32LittleEndian(rest[4..], header.Cost.MemoryKiB);
        WriteSalt(header, rest[8..]);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(UnlockPartSize), (uint)messageBytes);
        using SecretBytes key = MessageKey(unlockKey, file.AsSpan(0, UnlockPartSize));
        Dare.Encrypt(key.Span, random, contents.Span, file.AsSpan(HeaderSize), suite);
        Blake3.Hash(file.AsSpan(0, HeaderSize + messageBytes), file.AsSpan(HeaderSize + messageBytes));
        return file;
    }

    private static void WriteSalt(KeyringHeader header, Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, header.SaltHigh);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], header.SaltLow);
    }

    /// <summary>False for another version; damage throws.</summary>
    private static bool TryReadHeader(ReadOnlySpan<byte> file, out KeyringHeader header, out ReadOnlySpan<byte> message)
    {
        header = default;
        message = default;
        var reader = new FieldReader(file, "keyring");
        if (file.Length >= MagicSize && file[..(MagicSize - 1)].SequenceEqual(Magic[..^1]) && file[MagicSize - 1] is >= (byte)'2' and <= (byte)'9')
        {
            return false;
        }

        reader.Magic(Magic);
        byte mode = reader.U8();
        reader.Reserved(3);
        var cost = new Argon2Cost(reader.U32(), reader.U32());
        ReadOnlySpan<byte> salt = reader.Bytes(Argon2id.SaltSize);
        int messageBytes = reader.Count(MaximumMessageBytes, "the message's length");
        message = reader.Bytes(messageBytes);
        Span<byte> checksum = stackalloc byte[ChecksumSize];
        Blake3.Hash(file[..reader.Position], checksum);
        if (!reader.Bytes(ChecksumSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("its checksum does not match");
        }

        reader.End();
        header = new KeyringHeader((KeyringMode)mode, cost, BinaryPrimitives.ReadUInt64BigEndian(salt), BinaryPrimitives.ReadUInt64BigEndian(salt[8..]));
        bool consistent = header.Mode switch
        {
            KeyringMode.NoPassphrase => header == default,
            KeyringMode.Passphrase => cost.IsAllowed,
            _ => false,
        };
        return consistent ? true : throw reader.Damaged($"mode {mode} with {cost.Operations} passes over {cost.MemoryKiB} KiB is not allowed");
    }

    private static KeyringOutcome Other(ReadOnlySpan<byte> file, out string message)
    {
        message = $"The keyring begins with '{Encoding.ASCII.GetString(file[..MagicSize])}'; this release reads '{Encoding.ASCII.GetString(Magic)}'.";
        return KeyringOutcome.OtherVersion;
    }

    private static SecretBytes MessageKey(ReadOnlySpan<byte> unlockKey, ReadOnlySpan<byte> unlockPart)
    {
        Span<byte> material = stackalloc byte[UnlockKeySize + UnlockPartSize];
        unlockKey.CopyTo(material);
        unlockPart.CopyTo(material[UnlockKeySize..]);
        var key = new SecretBytes(Dare.KeySize);
        Blake3.DeriveKey(Context, material, key.Writable);
        CryptographicOperations.ZeroMemory(material);
        return key;
    }

    private static bool Names(DeviceCertificate certificate, DeviceKeys device) =>
        certificate.DevicePublicKey.SequenceEqual(device.PublicKey) && certificate.AgreementPublicKey.SequenceEqual(device.AgreementPublicKey);

    private SecretBytes WriteContents()
    {
        SecretBytes[] domains = Array.ConvertAll(_domains, domain => domain.Serialize());
        int nameBytes = Encoding.UTF8.GetByteCount(DeviceName);
        var contents = new SecretBytes(
            FixedContentSize + 1 + nameBytes + sizeof(ushort) + Certificate.Bytes.Length + sizeof(uint) + domains.Sum(domain => sizeof(uint) + domain.Length));
        Span<byte> rest = contents.Writable;
        rest = Put(rest, _accountPublicKey);
        rest = Put(rest, _recoveryPublicKey);
        Tag.Write(rest);
        rest = Put(rest[AccountTag.Size..], AnchorKey.Span);
        BinaryPrimitives.WriteUInt32LittleEndian(rest, DeviceNumber);
        rest = Put(rest[sizeof(uint)..], Device.SigningSeed.Span);
        rest = Put(rest, Device.AgreementPrivateKey.Span);
        rest = Put(rest, CacheKey.Span);
        rest[0] = (byte)nameBytes;
        Encoding.UTF8.GetBytes(DeviceName, rest[1..]);
        rest = rest[(1 + nameBytes)..];
        BinaryPrimitives.WriteUInt16LittleEndian(rest, (ushort)Certificate.Bytes.Length);
        rest = Put(rest[sizeof(ushort)..], Certificate.Bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(rest, (uint)domains.Length);
        rest = rest[sizeof(uint)..];
        foreach (SecretBytes domain in domains)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(rest, (uint)domain.Length);
            rest = Put(rest[sizeof(uint)..], domain.Span);
            domain.Dispose();
        }

        Debug.Assert(rest.IsEmpty, "Keyring.WriteContents and its sizes disagree");
        return contents;
    }

    private static Span<byte> Put(Span<byte> target, ReadOnlySpan<byte> source)
    {
        source.CopyTo(target);
        return target[source.Length..];
    }

    private static Keyring ReadContents(ReadOnlySpan<byte> contents)
    {
        var reader = new FieldReader(contents, "keyring");
        ReadOnlySpan<byte> accountPublicKey = reader.Bytes(Ed25519.PublicKeySize), recoveryPublicKey = reader.Bytes(X25519.KeySize);
        AccountTag tag = AccountTag.Read(reader.Bytes(AccountTag.Size));
        ReadOnlySpan<byte> anchorKey = reader.Bytes(KeyDomain.SecretSize);
        uint deviceNumber = reader.U32();
        ReadOnlySpan<byte> seed = reader.Bytes(Ed25519.SeedSize), agreement = reader.Bytes(X25519.KeySize), cacheKey = reader.Bytes(KeyDomain.SecretSize);
        string name = reader.ShortText("the device's name");
        DeviceCertificate certificate = DeviceCertificate.Read(reader.Bytes(reader.U16()));
        var device = new DeviceKeys(SecretBytes.CopyOf(seed), SecretBytes.CopyOf(agreement));
        if (!DeviceCertificate.IsName(name) || deviceNumber != certificate.DeviceNumber || !Names(certificate, device) || !certificate.IsSignedBy(accountPublicKey))
        {
            device.Dispose();
            throw reader.Damaged("the certificate is not the account's for this device");
        }

        var keyring = new Keyring(
            accountPublicKey, recoveryPublicKey, tag, SecretBytes.CopyOf(anchorKey), device, name, certificate, SecretBytes.CopyOf(cacheKey));
        try
        {
            int count = reader.Count(MaximumDomains, "the domain count");
            for (int i = 0; i < count; i++)
            {
                KeyDomain domain = KeyDomain.Read(reader.Bytes(reader.Count(KeyDomain.MaximumBytes, "a domain's length")));
                if (keyring.Find(domain.Id) is not null)
                {
                    domain.Dispose();
                    throw reader.Damaged($"domain {domain.Id} stands in it twice");
                }

                keyring.Add(domain);
            }

            reader.End();
            return keyring;
        }
        catch (DamagedFormatException)
        {
            keyring.Dispose();
            throw;
        }
    }
}
