using System.Security.Cryptography.X509Certificates;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Identity;

/// <summary>Who is at the other end of a connection: a device, and the account that certified it.</summary>
/// <remarks>Format: docs/protocol.md 3.1. An object of this type was proven by a handshake: whoever showed it has the device's key. Whether the account is let in is another question.</remarks>
public sealed class NodeIdentity
{
    /// <summary>The first bytes of the BLAKE3 of a device key, as an invitation carries them.</summary>
    public const int FingerprintSize = 16;

    private readonly DeviceCertificate _certificate;

    internal NodeIdentity(DeviceCertificate certificate) => _certificate = certificate;

    public ReadOnlySpan<byte> AccountKey => _certificate.AccountPublicKey;

    public ReadOnlySpan<byte> DeviceKey => _certificate.DevicePublicKey;

    public uint DeviceNumber => _certificate.DeviceNumber;

    /// <summary>As its owner named the device; a stranger's text.</summary>
    public string DeviceName => _certificate.DeviceName;

    public static byte[] FingerprintOf(ReadOnlySpan<byte> deviceKey)
    {
        byte[] hash = new byte[Blake3.HashSize];
        Blake3.Hash(deviceKey, hash);
        return hash[..FingerprintSize];
    }

    /// <summary>Null where the certificate is not one of a device, or its keys did not sign what they should.</summary>
    internal static NodeIdentity? TryRead(X509Certificate2? shown)
    {
        if (shown is null || shown.RawDataMemory.Length > NodeCertificate.MaxBytes)
        {
            return null;
        }

        foreach (X509Extension extension in shown.Extensions)
        {
            if (extension.Oid?.Value == NodeCertificate.ExtensionOid)
            {
                try
                {
                    return TryRead(extension.RawData, shown.PublicKey.ExportSubjectPublicKeyInfo());
                }
                catch (DamagedFormatException)
                {
                    return null;
                }
            }
        }

        return null;
    }

    /// <exception cref="DamagedFormatException">The octets are not of this form.</exception>
    internal static NodeIdentity? TryRead(ReadOnlySpan<byte> octets, ReadOnlySpan<byte> subjectKey)
    {
        var reader = new FieldReader(octets, "node certificate");
        reader.Magic(NodeCertificate.Magic);
        int count = reader.U16();
        if (count > DeviceCertificate.MaximumBytes)
        {
            throw reader.Damaged($"a device certificate of {count} bytes, at most {DeviceCertificate.MaximumBytes} expected");
        }

        DeviceCertificate certificate = DeviceCertificate.Read(reader.Bytes(count));
        ReadOnlySpan<byte> signature = reader.Bytes(Ed25519.SignatureSize);
        reader.End();
        return certificate.IsSignedBy(certificate.AccountPublicKey) && Ed25519.Verify(certificate.DevicePublicKey, NodeCertificate.Signed(subjectKey), signature)
            ? new NodeIdentity(certificate)
            : null;
    }
}
