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
        ArgumentNullException.ThrowIfNull(device);
        FieldWriter writer = Write(head);
        byte[] message = [.. Context, .. writer.Written];
        device.Sign(message, writer.Take(Ed25519.SignatureSize));
        return new SignedHead(head, writer.ToArray());
    }

    /// <summary>A head made of what its root says, without a signature: the catalog or anchor that holds it vouches for it.</summary>
    public static SignedHead Rebuild(Head head)
    {
        FieldWriter writer = Write(head);
        writer.Reserved(Ed25519.SignatureSize);
        return new SignedHead(head, writer.ToArray());
    }

    /// <summary>Whether the head was rebuilt from its root.</summary>
    public static bool IsRebuilt(SignedHead head)
    {
        ArgumentNullException.ThrowIfNull(head);
        return !head.Bytes.Span[^Ed25519.SignatureSize..].ContainsAnyExcept((byte)0);
    }

    private static FieldWriter Write(Head head)
    {
        ArgumentNullException.ThrowIfNull(head);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(head.Seen.Count, Head.MaxSeenCount);
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
        writer.U8((byte)head.Seen.Count);
        foreach (HeadSeen seen in head.Seen)
        {
            writer.U32(seen.Device);
            writer.U64(seen.Incarnation);
            writer.U64(seen.Sequence);
        }
        return writer;
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
        if (sequence == 0)
        {
            throw reader.Damaged("sequence 0, at least 1 expected");
        }

        long timeNs = reader.I64();
        Score root = Score.Read(reader.Bytes(Score.Size));
        UInt256 previous = UInt256.Read(reader.Bytes(UInt256.Size));
        string name = reader.ShortText("volume name");
        int seenCount = reader.U8();
        if (seenCount > Head.MaxSeenCount)
        {
            throw reader.Damaged($"{seenCount} lines seen, at most {Head.MaxSeenCount} expected");
        }

        var seen = new HeadSeen[seenCount];
        for (int i = 0; i < seen.Length; i++)
        {
            seen[i] = new HeadSeen(reader.U32(), reader.U64(), reader.U64());
            if (i > 0 && (seen[i].Device, seen[i].Incarnation).CompareTo((seen[i - 1].Device, seen[i - 1].Incarnation)) <= 0)
            {
                throw reader.Damaged("lines seen do not ascend by device and incarnation");
            }
        }

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
            Seen = seen,
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
