using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Identity;

/// <summary>The X.509 certificates under which a device speaks TLS: of short-lived P-256 keys, each signed for by the device's Ed25519 key.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.1. Source: libp2p's TLS handshake; .NET's TLS knows no Ed25519. The key pair lives in this process alone and is replaced after <see cref="Lifetime"/>.
/// The dates in the certificate are constants that nobody looks at: a clock that is wrong by a year changes nothing.
/// Locks: _gate guards _current and _madeAt. A certificate that was replaced stays whole for the connections that began with it; the collector takes it.
/// </remarks>
public sealed class NodeCertificate(DeviceKeys device, DeviceCertificate certificate, TimeProvider clock)
{
    /// <summary>Of the UUID 5d0f9c1e-7a43-4b62-9e1c-2f6b8d3a4c57.</summary>
    internal const string ExtensionOid = "2.25.123699254531456768907776723910903090263";

    internal const int MaxBytes = 4096;

    internal static readonly TimeSpan Lifetime = TimeSpan.FromHours(1);

    private static readonly DateTimeOffset s_from = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly DateTimeOffset s_until = new(9999, 12, 31, 23, 59, 59, TimeSpan.Zero);

    private readonly Lock _gate = new();
    private X509Certificate2? _current;
    private long _madeAt;

    internal static ReadOnlySpan<byte> Magic => "TDFSTLS1"u8;

    private static ReadOnlySpan<byte> Context => "TDFS tls v1"u8;

    public ReadOnlySpan<byte> DeviceKey => certificate.DevicePublicKey;

    public ReadOnlySpan<byte> AccountKey => certificate.AccountPublicKey;

    public string DeviceName => certificate.DeviceName;

    /// <summary>What a handshake with it proves.</summary>
    internal NodeIdentity Identity => new(certificate);

    /// <summary>The one to show now.</summary>
    internal X509Certificate2 Current
    {
        get
        {
            lock (_gate)
            {
                if (_current is null || clock.GetElapsedTime(_madeAt) >= Lifetime)
                {
                    _current = Make();
                    _madeAt = clock.GetTimestamp();
                }

                return _current;
            }
        }
    }

    /// <summary>What the device signs: a context, so that no other signature of its key serves here, and the key it vouches for.</summary>
    internal static byte[] Signed(ReadOnlySpan<byte> subjectKey) => [.. Context, .. subjectKey];

    /// <summary>The extension's octets for a P-256 key.</summary>
    internal byte[] Octets(ReadOnlySpan<byte> subjectKey)
    {
        var writer = new FieldWriter(512);
        writer.Bytes(Magic);
        writer.U16((ushort)certificate.Bytes.Length);
        writer.Bytes(certificate.Bytes);
        device.Sign(Signed(subjectKey), writer.Take(Ed25519.SignatureSize));
        return writer.ToArray();
    }

    private X509Certificate2 Make()
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=tdfs", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509Extension(ExtensionOid, Octets(key.ExportSubjectPublicKeyInfo()), critical: false));
        using X509Certificate2 made = request.CreateSelfSigned(s_from, s_until);
        // TLS takes a private key only from where an import put it.
        byte[] pfx = made.Export(X509ContentType.Pfx);
        try
        {
            return X509CertificateLoader.LoadPkcs12(pfx, null);
        }
        finally
        {
            CryptographicOperations.ZeroMemory(pfx);
        }
    }
}
