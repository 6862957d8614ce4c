using System.Globalization;
using System.Security.Cryptography;

using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Recovery;

/// <summary>A record log as the anchor names it.</summary>
public readonly record struct AnchorLog(RecordLogKind Kind, uint Device, ulong Incarnation, ulong Number, UInt256 LogId, ulong ValidBytes);

/// <summary>A holder as the anchor names it. The address is what storage.toml said: a folder today, a peer later.</summary>
public sealed record AnchorHolder(HolderId Id, string Place, string Address);

/// <summary>The small signed record at every holder from which an account is rebuilt.</summary>
/// <remarks>
/// Format: docs/format.md 11. Encrypted under the anchor key, which comes from the words and which every device keeps;
/// the domains inside are wrapped once more, so that the anchor key alone opens no data.
/// </remarks>
public sealed class Anchor
{
    private const int MagicSize = 8;
    internal const int CoveredSize = MagicSize + AccountTag.Size + sizeof(ulong);
    private const int NonceSize = 12;
    private const int TagSize = 16;
    private const int MaxBodyBytes = 16 * 1024 * 1024;
    internal const int MaxCertificateBytes = 4096;
    internal const int MaxWrapBytes = 1024 * 1024;
    private const int MaxHeadBytes = 4096;

    public const string Prefix = "anchor/";
    public const string KeysPrefix = "keys/";
    public const int KeptCount = 8;

    private static ReadOnlySpan<byte> Magic => "TDFSANC1"u8;

    private static ReadOnlySpan<byte> KeysMagic => "TDFSDOM1"u8;

    private static ReadOnlySpan<byte> KeysContext => "TDFS keys v1"u8;

    private static ReadOnlySpan<byte> Context => "TDFS anchor v1"u8;

    public required AccountTag Tag { get; init; }

    public required ulong Number { get; init; }

    public required ReadOnlyMemory<byte> AccountPublicKey { get; init; }

    public required uint Device { get; init; }

    public required long TimeNs { get; init; }

    public required IReadOnlyList<ReadOnlyMemory<byte>> Certificates { get; init; }

    public required IReadOnlyList<ReadOnlyMemory<byte>> WrappedDomains { get; init; }

    public required IReadOnlyList<AnchorHolder> Holders { get; init; }

    public required IReadOnlyList<SignedHead> Heads { get; init; }

    public required IReadOnlyList<AnchorLog> Logs { get; init; }

    public static string NameOf(AccountTag tag, ulong number) => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{tag}-{number:x16}");

    public static string KeysNameOf(AccountTag tag, DomainId domain, uint epoch) => string.Create(CultureInfo.InvariantCulture, $"{KeysPrefix}{tag}-{domain}-{epoch:x8}");

    public byte[] Write(ReadOnlySpan<byte> anchorKey, DeviceKeys device, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(random);
        byte[] covered = Cover(Magic, Tag, Number);
        var body = new FieldWriter(4096);
        body.Bytes(AccountPublicKey.Span);
        body.U32(Device);
        body.I64(TimeNs);
        WriteList(body, Certificates);
        WriteList(body, WrappedDomains);
        body.U16(checked((ushort)Holders.Count));
        foreach (AnchorHolder holder in Holders)
        {
            holder.Id.Write(body.Take(HolderId.Size));
            body.ShortText(holder.Place);
            body.ShortText(holder.Address);
        }

        WriteList(body, [.. Heads.Select(static head => head.Bytes)]);
        body.U16(checked((ushort)Logs.Count));
        foreach (AnchorLog log in Logs)
        {
            body.U8((byte)log.Kind);
            body.U32(log.Device);
            body.U64(log.Incarnation);
            body.U64(log.Number);
            log.LogId.Write(body.Take(UInt256.Size));
            body.U64(log.ValidBytes);
        }

        byte[] message = [.. Context, .. covered, .. body.Written];
        device.Sign(message, body.Take(Ed25519.SignatureSize));
        return Encrypt(covered, body.Written, anchorKey, random);
    }

    /// <summary>Decrypts, parses, and checks certificate and signature. Throws <see cref="DamagedFormatException"/> for anything else than a whole anchor of this account.</summary>
    public static Anchor Read(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> anchorKey, string where)
    {
        (AccountTag tag, ulong number, byte[] plain) = Decrypt(Magic, bytes, anchorKey, $"anchor {where}");
        var body = new FieldReader(plain, $"anchor {where}");
        byte[] account = body.Bytes(Ed25519.PublicKeySize).ToArray();
        uint device = body.U32();
        long timeNs = body.I64();
        List<ReadOnlyMemory<byte>> certificates = ReadList(ref body, MaxCertificateBytes, "device certificate");
        List<ReadOnlyMemory<byte>> domains = ReadList(ref body, MaxWrapBytes, "wrapped key domain");
        int holderCount = body.U16();
        var holders = new List<AnchorHolder>();
        for (int i = 0; i < holderCount; i++)
        {
            holders.Add(new AnchorHolder(HolderId.Read(body.Bytes(HolderId.Size)), body.ShortText("place"), body.ShortText("address")));
        }

        List<SignedHead> heads = ReadList(ref body, MaxHeadBytes, "head").ConvertAll(static head => HeadCodec.Read(head.Span));
        int logCount = body.U16();
        var logs = new List<AnchorLog>();
        for (int i = 0; i < logCount; i++)
        {
            logs.Add(new AnchorLog((RecordLogKind)body.U8(), body.U32(), body.U64(), body.U64(), UInt256.Read(body.Bytes(UInt256.Size)), body.U64()));
        }

        byte[] message = [.. Context, .. bytes[..CoveredSize], .. plain.AsSpan(0, body.Position)];
        ReadOnlySpan<byte> signature = body.Bytes(Ed25519.SignatureSize);
        body.End();
        if (!IsSigned(certificates, account, device, message, signature))
        {
            throw body.Damaged($"no device {device} that the account certified signed it");
        }

        return new Anchor
        {
            Tag = tag,
            Number = number,
            AccountPublicKey = account,
            Device = device,
            TimeNs = timeNs,
            Certificates = certificates,
            WrappedDomains = domains,
            Holders = holders,
            Heads = heads,
            Logs = logs,
        };
    }

    /// <summary>One wrapped domain as an object of its own, for the day every anchor is gone.</summary>
    public static byte[] WriteKeys(
        AccountTag tag, uint epoch, ReadOnlyMemory<byte> wrappedDomain, ReadOnlySpan<byte> anchorKey, DeviceCertificate certificate, DeviceKeys device, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(random);
        byte[] covered = Cover(KeysMagic, tag, epoch);
        var body = new FieldWriter(1024);
        WriteList(body, [certificate.Bytes.ToArray()]);
        WriteList(body, [wrappedDomain]);
        byte[] message = [.. KeysContext, .. covered, .. body.Written];
        device.Sign(message, body.Take(Ed25519.SignatureSize));
        return Encrypt(covered, body.Written, anchorKey, random);
    }

    /// <summary>Throws <see cref="DamagedFormatException"/> for anything else than what a device of this account wrote.</summary>
    public static (DeviceCertificate Certificate, ReadOnlyMemory<byte> WrappedDomain) ReadKeys(
        ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> anchorKey, ReadOnlySpan<byte> accountPublicKey, string where)
    {
        (AccountTag _, ulong _, byte[] plain) = Decrypt(KeysMagic, bytes, anchorKey, $"wrapped keys {where}");
        var body = new FieldReader(plain, $"wrapped keys {where}");
        List<ReadOnlyMemory<byte>> certificates = ReadList(ref body, MaxCertificateBytes, "device certificate");
        List<ReadOnlyMemory<byte>> domains = ReadList(ref body, MaxWrapBytes, "wrapped key domain");
        byte[] message = [.. KeysContext, .. bytes[..CoveredSize], .. plain.AsSpan(0, body.Position)];
        ReadOnlySpan<byte> signature = body.Bytes(Ed25519.SignatureSize);
        body.End();
        if (certificates.Count != 1 || domains.Count != 1)
        {
            throw body.Damaged($"{certificates.Count} certificates and {domains.Count} domains, one each expected");
        }

        DeviceCertificate certificate = DeviceCertificate.Read(certificates[0].Span);
        return IsSigned(certificates, accountPublicKey, certificate.DeviceNumber, message, signature)
            ? (certificate, domains[0])
            : throw body.Damaged("no device that the account certified signed it");
    }

    internal static byte[] Cover(ReadOnlySpan<byte> magic, AccountTag tag, ulong number)
    {
        var covered = new FieldWriter(CoveredSize);
        covered.Bytes(magic);
        tag.Write(covered.Take(AccountTag.Size));
        covered.U64(number);
        return covered.ToArray();
    }

    // The nonce is random at every encryption; the anchor key encrypts far fewer than 2^32 of these.
    internal static byte[] Encrypt(ReadOnlySpan<byte> covered, ReadOnlySpan<byte> body, ReadOnlySpan<byte> anchorKey, IRandomSource random)
    {
        byte[] bytes = new byte[CoveredSize + NonceSize + body.Length + TagSize];
        covered.CopyTo(bytes);
        Span<byte> nonce = bytes.AsSpan(CoveredSize, NonceSize);
        random.Fill(nonce);
        using var cipher = new AesGcm(anchorKey, TagSize);
        cipher.Encrypt(nonce, body, bytes.AsSpan(CoveredSize + NonceSize, body.Length), bytes.AsSpan(bytes.Length - TagSize), bytes.AsSpan(0, CoveredSize));
        return bytes;
    }

    internal static (AccountTag Tag, ulong Number, byte[] Plain) Decrypt(ReadOnlySpan<byte> magic, ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> anchorKey, string structure)
    {
        var outer = new FieldReader(bytes, structure);
        outer.Magic(magic);
        AccountTag tag = AccountTag.Read(outer.Bytes(AccountTag.Size));
        ulong number = outer.U64();
        ReadOnlySpan<byte> nonce = outer.Bytes(NonceSize);
        int bodyBytes = outer.Remaining - TagSize;
        if (bodyBytes is < 1 or > MaxBodyBytes)
        {
            throw outer.Damaged($"a body of {bodyBytes} bytes, 1 to {MaxBodyBytes} expected");
        }

        byte[] plain = new byte[bodyBytes];
        using var cipher = new AesGcm(anchorKey, TagSize);
        try
        {
            cipher.Decrypt(nonce, outer.Bytes(bodyBytes), outer.Bytes(TagSize), plain, bytes[..CoveredSize]);
        }
        catch (AuthenticationTagMismatchException)
        {
            throw outer.Damaged("it does not decrypt with these words; it is damaged or another account's");
        }

        return (tag, number, plain);
    }

    internal static bool IsSigned(
        List<ReadOnlyMemory<byte>> certificates, ReadOnlySpan<byte> account, uint device, ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature)
    {
        foreach (ReadOnlyMemory<byte> bytes in certificates)
        {
            DeviceCertificate certificate = DeviceCertificate.Read(bytes.Span);
            if (certificate.DeviceNumber == device && certificate.IsSignedBy(account) && Ed25519.Verify(certificate.DevicePublicKey, message, signature))
            {
                return true;
            }
        }

        return false;
    }

    internal static void WriteList(FieldWriter writer, IReadOnlyList<ReadOnlyMemory<byte>> items)
    {
        writer.U16(checked((ushort)items.Count));
        foreach (ReadOnlyMemory<byte> item in items)
        {
            writer.U32((uint)item.Length);
            writer.Bytes(item.Span);
        }
    }

    internal static List<ReadOnlyMemory<byte>> ReadList(ref FieldReader reader, int limit, string field)
    {
        int count = reader.U16();
        var items = new List<ReadOnlyMemory<byte>>();
        for (int i = 0; i < count; i++)
        {
            items.Add(reader.Bytes(reader.Count(limit, field)).ToArray());
        }

        return items;
    }
}
