using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Identity;

namespace TokTok.Storage.Node.Repair;

/// <summary>The word of an account's device that another device, a friend's, may repair for the account.</summary>
/// <remarks>Format: docs/format.md 17.7. Invariant: well formed; whether its signatures hold is asked of <see cref="IsSigned"/>. Whether it was revoked, each holder knows.</remarks>
public sealed class RepairGrant
{
    internal const int MaxBytes = 8 + sizeof(ushort) + DeviceCertificate.MaximumBytes + Bytes32.Size + sizeof(long) + Ed25519.SignatureSize;
    internal const int MaxTextBytes = (MaxBytes + 2) / 3 * 4;

    private readonly byte[] _bytes;

    private RepairGrant(byte[] bytes, DeviceCertificate certificate, Bytes32 friend, long madeAtSeconds) =>
        (_bytes, Certificate, Friend, MadeAtSeconds) = (bytes, certificate, friend, madeAtSeconds);

    /// <summary>Of the device that granted it.</summary>
    public DeviceCertificate Certificate { get; }

    /// <summary>The device key of whom it is granted to.</summary>
    public Bytes32 Friend { get; }

    /// <summary>By the owner's clock, for people.</summary>
    public long MadeAtSeconds { get; }

    public Bytes32 Account => Bytes32.Read(Certificate.AccountPublicKey);

    public ReadOnlySpan<byte> Bytes => _bytes;

    private static ReadOnlySpan<byte> Magic => "TDFSGRA1"u8;

    private static ReadOnlySpan<byte> Context => "TDFS repair grant v1"u8;

    public static RepairGrant Issue(DeviceCertificate certificate, DeviceKeys device, Bytes32 friend, long nowSeconds)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        ArgumentNullException.ThrowIfNull(device);
        var writer = new FieldWriter(MaxBytes);
        writer.Bytes(Magic);
        writer.U16((ushort)certificate.Bytes.Length);
        writer.Bytes(certificate.Bytes);
        friend.Write(writer.Take(Bytes32.Size));
        writer.I64(nowSeconds);
        byte[] signature = new byte[Ed25519.SignatureSize];
        device.Sign([.. Context, .. writer.Written], signature);
        writer.Bytes(signature);
        return new RepairGrant(writer.ToArray(), certificate, friend, nowSeconds);
    }

    /// <summary>Parses without verifying.</summary>
    /// <exception cref="DamagedFormatException">Not exactly one grant.</exception>
    public static RepairGrant Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "repair grant");
        if (source.Length > MaxBytes)
        {
            throw reader.Damaged($"{source.Length} bytes, at most {MaxBytes} expected");
        }

        reader.Magic(Magic);
        int count = reader.U16();
        if (count > DeviceCertificate.MaximumBytes)
        {
            throw reader.Damaged($"a device certificate of {count} bytes, at most {DeviceCertificate.MaximumBytes} expected");
        }

        DeviceCertificate certificate = DeviceCertificate.Read(reader.Bytes(count));
        Bytes32 friend = Bytes32.Read(reader.Bytes(Bytes32.Size));
        long made = reader.I64();
        reader.Bytes(Ed25519.SignatureSize);
        reader.End();
        return new RepairGrant(source.ToArray(), certificate, friend, made);
    }

    /// <summary>The object at a holder by which a friend's grants are revoked there.</summary>
    public static string RevocationOf(Bytes32 friend)
    {
        Span<byte> key = stackalloc byte[Bytes32.Size];
        friend.Write(key);
        return "grant/" + Convert.ToHexStringLower(NodeIdentity.FingerprintOf(key));
    }

    /// <summary>Whether the account vouches for the device, and the device signed this.</summary>
    public bool IsSigned() => Certificate.IsSignedBy(Certificate.AccountPublicKey)
        && Ed25519.Verify(Certificate.DevicePublicKey, [.. Context, .. _bytes.AsSpan(0, _bytes.Length - Ed25519.SignatureSize)], _bytes.AsSpan(_bytes.Length - Ed25519.SignatureSize));
}
