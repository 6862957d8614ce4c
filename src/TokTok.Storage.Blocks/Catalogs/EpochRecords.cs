using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Catalogs;

/// <summary>An epoch of a key domain that was begun, and who does not have it. Its maker signs it.</summary>
/// <remarks>Format: docs/format.md 9, record 11. Immutable and well formed; whether its maker signed it is asked of <see cref="IsSignedBy"/>. An epoch that has none was made when nobody was revoked, or is written under by nobody.
/// A catalog can be made up by whoever has the realm's keys, a revoked device too: so what decides about keys is signed.</remarks>
/// <param name="Revoked">The devices that were revoked when it was made, rising: it was not given to them.</param>
public sealed record EpochRecord(DomainId Domain, uint Epoch, IReadOnlyList<uint> Revoked, ReadOnlyMemory<byte> Signature)
{
    private static ReadOnlySpan<byte> Context => "TDFS epoch record v1"u8;

    public static EpochRecord Sign(DomainId domain, uint epoch, IReadOnlyList<uint> revoked, DeviceCertificate signer, DeviceKeys keys)
    {
        ArgumentNullException.ThrowIfNull(signer);
        ArgumentNullException.ThrowIfNull(keys);
        var record = new EpochRecord(domain, epoch, revoked, default);
        byte[] signature = new byte[Ed25519.SignatureSize];
        keys.Sign(record.Message(signer.AccountPublicKey), signature);
        return record with { Signature = signature };
    }

    /// <summary>Whether this is the maker's certificate, and it signed.</summary>
    public bool IsSignedBy(DeviceCertificate certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        return certificate.DeviceNumber == KeyDomain.MakerOf(Epoch) && Ed25519.Verify(certificate.DevicePublicKey, Message(certificate.AccountPublicKey), Signature.Span);
    }

    internal void Write(FieldWriter writer)
    {
        writer.U8((byte)CatalogRecordKind.Epoch);
        WriteFields(writer);
        writer.Bytes(Signature.Span);
    }

    internal static EpochRecord Read(ref FieldReader reader)
    {
        DomainId domain = DomainId.Read(reader.Bytes(DomainId.Size));
        uint epoch = reader.U32();
        var revoked = new List<uint>();
        for (int left = reader.U16(); left > 0; left--)
        {
            uint device = reader.U32();
            if (revoked.Count > 0 && device <= revoked[^1])
            {
                throw reader.Damaged($"device {device} behind {revoked[^1]}, rising numbers expected");
            }

            revoked.Add(device);
        }

        return epoch != 0
            ? new EpochRecord(domain, epoch, revoked, reader.Bytes(Ed25519.SignatureSize).ToArray())
            : throw reader.Damaged("epoch 0, 1 or higher expected");
    }

    private void WriteFields(FieldWriter writer)
    {
        Domain.Write(writer.Take(DomainId.Size));
        writer.U32(Epoch);
        writer.U16(checked((ushort)Revoked.Count));
        foreach (uint device in Revoked)
        {
            writer.U32(device);
        }
    }

    private byte[] Message(ReadOnlySpan<byte> accountPublicKey)
    {
        var writer = new FieldWriter(256);
        writer.Bytes(Context);
        writer.Bytes(accountPublicKey);
        WriteFields(writer);
        return writer.ToArray();
    }
}

/// <summary>A device's word that it knew another before one that enrolled that other was revoked: epochs are given to it, and taken from it, as before.</summary>
/// <remarks>Format: docs/format.md 9, record 129. Immutable and well formed; whether its signer signed it is asked of <see cref="IsSignedBy"/>.</remarks>
/// <param name="Device">The Ed25519 key of whom it speaks: whoever has the key of the revoked one makes certificates with any number.</param>
public sealed record DeviceVouch(uint Signer, Bytes32 Device, ReadOnlyMemory<byte> Signature)
{
    private static ReadOnlySpan<byte> Context => "TDFS vouch v1"u8;

    public static DeviceVouch Sign(Bytes32 device, DeviceCertificate signer, DeviceKeys keys)
    {
        ArgumentNullException.ThrowIfNull(signer);
        ArgumentNullException.ThrowIfNull(keys);
        var vouch = new DeviceVouch(signer.DeviceNumber, device, default);
        byte[] signature = new byte[Ed25519.SignatureSize];
        keys.Sign(vouch.Message(signer.AccountPublicKey), signature);
        return vouch with { Signature = signature };
    }

    public bool IsSignedBy(DeviceCertificate certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        return certificate.DeviceNumber == Signer && Ed25519.Verify(certificate.DevicePublicKey, Message(certificate.AccountPublicKey), Signature.Span);
    }

    internal bool IsSame(DeviceVouch other) => other.Signer == Signer && other.Device == Device && other.Signature.Span.SequenceEqual(Signature.Span);

    internal void Write(FieldWriter writer)
    {
        writer.U8((byte)CatalogRecordKind.Vouch);
        writer.U32(Signer);
        Device.Write(writer.Take(Bytes32.Size));
        writer.Bytes(Signature.Span);
    }

    internal static DeviceVouch Read(ref FieldReader reader) =>
        new(reader.U32(), Bytes32.Read(reader.Bytes(Bytes32.Size)), reader.Bytes(Ed25519.SignatureSize).ToArray());

    private byte[] Message(ReadOnlySpan<byte> accountPublicKey)
    {
        var writer = new FieldWriter(128);
        writer.Bytes(Context);
        writer.Bytes(accountPublicKey);
        writer.U32(Signer);
        Device.Write(writer.Take(Bytes32.Size));
        return writer.ToArray();
    }
}
