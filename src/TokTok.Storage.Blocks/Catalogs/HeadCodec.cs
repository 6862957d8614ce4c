using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Catalogs;

/// <summary>A head and the exact bytes that were signed, signature included.</summary>
public sealed record SignedHead(Head Head, ReadOnlyMemory<byte> Bytes)
{
    /// <summary>What the next head of the line names as its previous one.</summary>
    public UInt256 Hash
    {
        get
        {
            Span<byte> hash = stackalloc byte[Blake3.HashSize];
            Blake3.Hash(Bytes.Span, hash);
            return UInt256.Read(hash);
        }
    }
}

/// <summary>Heads to bytes and back.</summary>
/// <remarks>Format: docs/format.md 10.</remarks>
public static class HeadCodec
{
    private const byte Version = 1;
    private const int MaxBytes = 4096;

    private static ReadOnlySpan<byte> Context => "TDFS head v1"u8;

    public static SignedHead Sign(Head head, DeviceKeys device)
    {
        ArgumentNullException.ThrowIfNull(head);
        ArgumentNullException.ThrowIfNull(device);
        var writer = new FieldWriter(512);
        writer.U8(Version);
        head.Volume.Write(writer.Take(VolumeId.Size));
        head.Domain.Write(writer.Take(DomainId.Size));
        writer.U32(head.Device);
        writer.U64(head.Incarnation);
        writer.U64(head.Sequence);
        writer.I64(head.TimeNs);
        head.Root.Write(writer.Take(Score.Size));
        head.Previous.Write(writer.Take(UInt256.Size));
        writer.ShortText(head.VolumeName);
        writer.U8(0); // heads seen of other devices: none until devices sync
        byte[] message = [.. Context, .. writer.Written];
        device.Sign(message, writer.Take(Ed25519.SignatureSize));
        return new SignedHead(head, writer.ToArray());
    }

    /// <summary>Parses; the signature is checked by <see cref="Verify"/>, where the device's key is known.</summary>
    public static SignedHead Read(ReadOnlySpan<byte> bytes)
    {
        var reader = new FieldReader(bytes, "head");
        if (bytes.Length > MaxBytes)
        {
            throw reader.Damaged($"{bytes.Length} bytes, at most {MaxBytes} expected");
        }

        byte version = reader.U8();
        if (version != Version)
        {
            throw reader.Damaged($"version {version} found, {Version} expected");
        }

        VolumeId volume = VolumeId.Read(reader.Bytes(VolumeId.Size));
        DomainId domain = DomainId.Read(reader.Bytes(DomainId.Size));
        uint device = reader.U32();
        ulong incarnation = reader.U64();
        ulong sequence = reader.U64();
        long timeNs = reader.I64();
        Score root = Score.Read(reader.Bytes(Score.Size));
        UInt256 previous = UInt256.Read(reader.Bytes(UInt256.Size));
        string name = reader.ShortText("volume name");
        int seen = reader.U8();
        reader.Bytes(seen * (sizeof(uint) + sizeof(ulong)));
        reader.Bytes(Ed25519.SignatureSize);
        reader.End();
        var head = new Head
        {
            Volume = volume,
            VolumeName = name,
            Domain = domain,
            Device = device,
            Incarnation = incarnation,
            Sequence = sequence,
            Previous = previous,
            TimeNs = timeNs,
            Root = root,
        };
        return new SignedHead(head, bytes.ToArray());
    }

    /// <summary>Whether the device with this public key signed the head.</summary>
    public static bool Verify(SignedHead head, ReadOnlySpan<byte> devicePublicKey)
    {
        ArgumentNullException.ThrowIfNull(head);
        ReadOnlySpan<byte> bytes = head.Bytes.Span;
        byte[] message = [.. Context, .. bytes[..^Ed25519.SignatureSize]];
        return Ed25519.Verify(devicePublicKey, message, bytes[^Ed25519.SignatureSize..]);
    }
}
