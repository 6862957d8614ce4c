using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Peers;

/// <summary>A holder of the account, as one device tells another.</summary>
public sealed record EnrolmentHolder(HolderId Id, string Place, string Address);

/// <summary>Who wants to become a device of the account: it knows the code, and these are its keys.</summary>
public sealed record EnrolmentRequest(ReadOnlyMemory<byte> DevicePublicKey, ReadOnlyMemory<byte> AgreementPublicKey, string Name);

/// <summary>What a device enrols another with: everything but the words and the account's own key.</summary>
/// <remarks>Ownership: whoever opened it disposes of it, unless a keyring took over its secrets.</remarks>
public sealed class EnrolmentAnswer : IDisposable
{
    public required ReadOnlyMemory<byte> AccountPublicKey { get; init; }

    public required ReadOnlyMemory<byte> RecoveryPublicKey { get; init; }

    public required AccountTag Tag { get; init; }

    public required SecretBytes AnchorKey { get; init; }

    public required DeviceCertificate Certificate { get; init; }

    public required IReadOnlyList<KeyDomain> Domains { get; init; }

    public required IReadOnlyList<EnrolmentHolder> Holders { get; init; }

    public void Dispose()
    {
        AnchorKey.Dispose();
        foreach (KeyDomain domain in Domains)
        {
            domain.Dispose();
        }
    }
}

/// <summary>What two devices say to each other when one enrols the other: one message each way, over a connection or by way of a holder's folder.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.8. Both messages are DARE under keys that the code's secret leads to, so the way between may be anybody's; the answer's key is agreed besides with the new device's own key,
/// so who learns the code later opens nothing. The request proves knowledge of the code, the answer that it comes from who gave it out.
/// Nonces: random, by DARE.
/// </remarks>
public static class Enrolment
{
    public const int IdSize = 16;
    public const int MaxRequestBytes = 1024;
    public const int MaxAnswerBytes = 8 * 1024 * 1024;
    public const int MaxHolders = 1024;

    private const string IdContext = "tdfs 2026-11 enrolment id v1";
    private const string RequestContext = "tdfs 2026-11 enrolment request v1";
    private const string AnswerContext = "tdfs 2026-11 enrolment answer v1";
    private const int FixedAnswerSize = Ed25519.PublicKeySize + X25519.KeySize + AccountTag.Size + KeyDomain.SecretSize + sizeof(ushort) + sizeof(uint) + sizeof(ushort);

    private static ReadOnlySpan<byte> Magic => "TDFSENR1"u8;

    /// <summary>Names an enrolment on the way; tells nothing of its secret.</summary>
    public static byte[] IdOf(ReadOnlySpan<byte> secret)
    {
        byte[] id = new byte[IdSize];
        Blake3.DeriveKey(IdContext, secret, id);
        return id;
    }

    public static byte[] SealRequest(ReadOnlySpan<byte> secret, DeviceKeys device, string name, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(device);
        var plain = new FieldWriter(256);
        plain.Bytes(Magic);
        plain.Bytes(device.PublicKey);
        plain.Bytes(device.AgreementPublicKey);
        plain.ShortText(name);
        using SecretBytes key = Derive(RequestContext, secret);
        byte[] request = new byte[Dare.CipherBytes(plain.Length)];
        Dare.Encrypt(key.Span, random, plain.Written, request);
        return request;
    }

    /// <summary>False for anything that was not made with this secret.</summary>
    public static bool TryOpenRequest(ReadOnlySpan<byte> secret, ReadOnlySpan<byte> sealedRequest, [NotNullWhen(true)] out EnrolmentRequest? request)
    {
        request = null;
        if (sealedRequest.Length > MaxRequestBytes || !Dare.TryPlainBytes(sealedRequest.Length, out int plainBytes))
        {
            return false;
        }

        using SecretBytes key = Derive(RequestContext, secret);
        byte[] plain = new byte[plainBytes];
        if (!Dare.TryDecrypt(key.Span, sealedRequest, plain, out _))
        {
            return false;
        }

        try
        {
            var reader = new FieldReader(plain, "enrolment");
            reader.Magic(Magic);
            byte[] device = reader.Bytes(Ed25519.PublicKeySize).ToArray(), agreement = reader.Bytes(X25519.KeySize).ToArray();
            string name = reader.ShortText("a name");
            reader.End();
            if (name.Length == 0 || name.Any(char.IsControl) || System.Text.Encoding.UTF8.GetByteCount(name) > DeviceCertificate.MaximumNameBytes)
            {
                return false;
            }

            request = new EnrolmentRequest(device, agreement, name);
            return true;
        }
        catch (DamagedFormatException)
        {
            return false;
        }
    }

    /// <summary>Null when the new device's key is of small order.</summary>
    public static byte[]? SealAnswer(ReadOnlySpan<byte> secret, EnrolmentRequest request, EnrolmentAnswer answer, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(answer);
        using SecretBytes ephemeral = SecretBytes.Random(random, X25519.KeySize);
        byte[] ephemeralPublicKey = new byte[X25519.KeySize];
        X25519.PublicKey(ephemeral.Span, ephemeralPublicKey);
        using SecretBytes? key = Agree(secret, ephemeral.Span, request.AgreementPublicKey.Span, ephemeralPublicKey, request.AgreementPublicKey.Span);
        if (key is null)
        {
            return null;
        }

        SecretBytes[] domains = [.. answer.Domains.Select(static domain => domain.Serialize())];
        var plain = new FieldWriter(FixedAnswerSize + DeviceCertificate.MaximumBytes + domains.Sum(static domain => sizeof(uint) + domain.Length) + (answer.Holders.Count * (HolderId.Size + 512)));
        plain.Bytes(answer.AccountPublicKey.Span);
        plain.Bytes(answer.RecoveryPublicKey.Span);
        answer.Tag.Write(plain.Take(AccountTag.Size));
        plain.Bytes(answer.AnchorKey.Span);
        plain.U16((ushort)answer.Certificate.Bytes.Length);
        plain.Bytes(answer.Certificate.Bytes);
        plain.U32((uint)domains.Length);
        foreach (SecretBytes domain in domains)
        {
            plain.U32((uint)domain.Length);
            plain.Bytes(domain.Span);
            domain.Dispose();
        }

        plain.U16((ushort)answer.Holders.Count);
        foreach (EnrolmentHolder holder in answer.Holders)
        {
            holder.Id.Write(plain.Take(HolderId.Size));
            plain.ShortText(holder.Place);
            plain.ShortText(holder.Address);
        }

        byte[] bytes = new byte[X25519.KeySize + Dare.CipherBytes(plain.Length)];
        ephemeralPublicKey.CopyTo(bytes, 0);
        Dare.Encrypt(key.Span, random, plain.Written, bytes.AsSpan(X25519.KeySize));
        MemoryMarshal.AsMemory(plain.WrittenMemory).Span.Clear();
        return bytes;
    }

    /// <summary>Null for anything that whoever gave out this secret did not make for this device.</summary>
    public static EnrolmentAnswer? TryOpenAnswer(ReadOnlySpan<byte> secret, DeviceKeys device, ReadOnlySpan<byte> bytes)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (bytes.Length is <= X25519.KeySize or > MaxAnswerBytes || !Dare.TryPlainBytes(bytes.Length - X25519.KeySize, out int plainBytes))
        {
            return null;
        }

        ReadOnlySpan<byte> ephemeral = bytes[..X25519.KeySize];
        using SecretBytes? key = Agree(secret, device.AgreementPrivateKey.Span, ephemeral, ephemeral, device.AgreementPublicKey);
        using SecretBytes plain = new(plainBytes);
        if (key is null || !Dare.TryDecrypt(key.Span, bytes[X25519.KeySize..], plain.Writable, out _))
        {
            return null;
        }

        var domains = new List<KeyDomain>();
        try
        {
            var reader = new FieldReader(plain.Span, "enrolment");
            byte[] account = reader.Bytes(Ed25519.PublicKeySize).ToArray(), recovery = reader.Bytes(X25519.KeySize).ToArray();
            AccountTag tag = AccountTag.Read(reader.Bytes(AccountTag.Size));
            ReadOnlySpan<byte> anchorKey = reader.Bytes(KeyDomain.SecretSize);
            DeviceCertificate certificate = DeviceCertificate.Read(reader.Bytes(reader.U16()));
            int count = reader.Count(Keyring.MaximumDomains, "the domain count");
            for (int i = 0; i < count; i++)
            {
                domains.Add(KeyDomain.Read(reader.Bytes(reader.Count(KeyDomain.MaximumBytes, "a domain's length"))));
            }

            int holderCount = reader.U16();
            if (holderCount > MaxHolders)
            {
                throw reader.Damaged($"{holderCount} holders, at most {MaxHolders} expected");
            }

            var holders = new List<EnrolmentHolder>();
            for (int i = 0; i < holderCount; i++)
            {
                holders.Add(new EnrolmentHolder(HolderId.Read(reader.Bytes(HolderId.Size)), reader.ShortText("a place"), reader.ShortText("an address")));
            }

            reader.End();
            if (!certificate.IsSignedBy(account) || !certificate.DevicePublicKey.SequenceEqual(device.PublicKey) || !certificate.AgreementPublicKey.SequenceEqual(device.AgreementPublicKey))
            {
                throw reader.Damaged("the certificate is not the account's for this device");
            }

            return new EnrolmentAnswer
            {
                AccountPublicKey = account, RecoveryPublicKey = recovery, Tag = tag, AnchorKey = SecretBytes.CopyOf(anchorKey), Certificate = certificate, Domains = domains, Holders = holders,
            };
        }
        catch (DamagedFormatException)
        {
            domains.ForEach(static domain => domain.Dispose());
            return null;
        }
    }

    private static SecretBytes Derive(string context, ReadOnlySpan<byte> material)
    {
        var key = new SecretBytes(Dare.KeySize);
        Blake3.DeriveKey(context, material, key.Writable);
        return key;
    }

    /// <summary>Null when the other side's key is of small order.</summary>
    private static SecretBytes? Agree(
        ReadOnlySpan<byte> secret, ReadOnlySpan<byte> privateKey, ReadOnlySpan<byte> publicKey, ReadOnlySpan<byte> ephemeralPublicKey, ReadOnlySpan<byte> newDeviceKey)
    {
        using SecretBytes material = new((3 * X25519.KeySize) + secret.Length);
        Span<byte> at = material.Writable;
        if (!X25519.TryAgree(privateKey, publicKey, at[..X25519.KeySize]))
        {
            return null;
        }

        ephemeralPublicKey.CopyTo(at[X25519.KeySize..]);
        newDeviceKey.CopyTo(at[(2 * X25519.KeySize)..]);
        secret.CopyTo(at[(3 * X25519.KeySize)..]);
        return Derive(AnswerContext, material.Span);
    }
}
