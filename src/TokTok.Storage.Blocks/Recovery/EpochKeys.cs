using System.Globalization;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Recovery;

/// <summary>What a device left at the holders for another one: a key domain with an epoch that it began.</summary>
public sealed class EpochKeys
{
    public const string Prefix = "epochs/";

    /// <summary>The longest that is looked at.</summary>
    public const int MaxBytes = (1024 * 1024) + (16 * 1024);

    private const int DigitsSize = 8;

    private static ReadOnlySpan<byte> Magic => "TDFSEPO1"u8;

    private static ReadOnlySpan<byte> Context => "TDFS epoch v1"u8;

    /// <summary>Who gives it. That the account vouches for it was looked at, whether it is revoked was not.</summary>
    public required DeviceCertificate Signer { get; init; }

    public required ReadOnlyMemory<byte> WrappedDomain { get; init; }

    /// <summary>All objects that are there for one device, by what their names end with.</summary>
    public static string DigitsOf(ReadOnlySpan<byte> agreementPublicKey)
    {
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(agreementPublicKey, hash);
        return Convert.ToHexStringLower(hash[..DigitsSize]);
    }

    public static string PrefixOf(AccountTag tag) => $"{Prefix}{tag}-";

    public static string NameOf(AccountTag tag, DomainId domain, uint epoch, ReadOnlySpan<byte> agreementPublicKey) =>
        string.Create(CultureInfo.InvariantCulture, $"{Prefix}{tag}-{domain}-{epoch:x8}-") + DigitsOf(agreementPublicKey);

    /// <summary>Domain and epoch of a name that is a device's own; false for any other.</summary>
    public static bool TryParse(string name, AccountTag tag, ReadOnlySpan<byte> agreementPublicKey, out DomainId domain, out uint epoch)
    {
        ArgumentNullException.ThrowIfNull(name);
        domain = default;
        epoch = 0;
        string prefix = PrefixOf(tag);
        string[] parts = name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..].Split('-') : [];
        if (parts.Length != 3 || parts[0].Length != 2 * DomainId.Size || !parts[0].All(char.IsAsciiHexDigitLower) || parts[2] != DigitsOf(agreementPublicKey)
            || !uint.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out epoch))
        {
            return false;
        }

        domain = DomainId.Read(Convert.FromHexString(parts[0]));
        return true;
    }

    /// <summary>Wraps a domain, with all epochs that it has here, for one device.</summary>
    public static byte[] Write(AccountTag tag, KeyDomain domain, uint epoch, DeviceCertificate recipient, ReadOnlySpan<byte> anchorKey, DeviceCertificate signer, DeviceKeys keys, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(domain);
        ArgumentNullException.ThrowIfNull(recipient);
        ArgumentNullException.ThrowIfNull(signer);
        ArgumentNullException.ThrowIfNull(keys);
        byte[] covered = Anchor.Cover(Magic, tag, epoch);
        var body = new FieldWriter(1024);
        Anchor.WriteList(body, [signer.Bytes.ToArray()]);
        Anchor.WriteList(body, [KeyWrap.Wrap(domain, recipient.AgreementPublicKey, random)]);
        body.Bytes(recipient.AgreementPublicKey);
        byte[] message = [.. Context, .. covered, .. body.Written];
        keys.Sign(message, body.Take(Ed25519.SignatureSize));
        return Anchor.Encrypt(covered, body.Written, anchorKey, random);
    }

    /// <summary>Throws <see cref="DamagedFormatException"/> for anything else than what a device that this account certified wrote for this one.</summary>
    public static EpochKeys Read(
        ReadOnlySpan<byte> bytes, uint epoch, ReadOnlySpan<byte> agreementPublicKey, ReadOnlySpan<byte> anchorKey, ReadOnlySpan<byte> accountPublicKey, string where)
    {
        (AccountTag _, ulong number, byte[] plain) = Anchor.Decrypt(Magic, bytes, anchorKey, $"epoch's keys {where}");
        var body = new FieldReader(plain, $"epoch's keys {where}");
        List<ReadOnlyMemory<byte>> certificates = Anchor.ReadList(ref body, Anchor.MaxCertificateBytes, "device certificate");
        List<ReadOnlyMemory<byte>> domains = Anchor.ReadList(ref body, Anchor.MaxWrapBytes, "wrapped key domain");
        bool isForUs = body.Bytes(X25519.KeySize).SequenceEqual(agreementPublicKey);
        byte[] message = [.. Context, .. bytes[..Anchor.CoveredSize], .. plain.AsSpan(0, body.Position)];
        ReadOnlySpan<byte> signature = body.Bytes(Ed25519.SignatureSize);
        body.End();
        if (certificates.Count != 1 || domains.Count != 1 || number != epoch || !isForUs)
        {
            throw body.Damaged($"{certificates.Count} certificates and {domains.Count} domains of epoch {number}, for {(isForUs ? "this device" : "another device")}; one each of epoch {epoch} for this device expected");
        }

        DeviceCertificate signer = DeviceCertificate.Read(certificates[0].Span);
        return Anchor.IsSigned(certificates, accountPublicKey, signer.DeviceNumber, message, signature)
            ? new EpochKeys { Signer = signer, WrappedDomain = domains[0] }
            : throw body.Damaged("no device that the account certified signed it");
    }
}
