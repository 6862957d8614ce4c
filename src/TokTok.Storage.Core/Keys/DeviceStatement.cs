namespace TokTok.Storage.Core.Keys;

/// <summary>What became of a device. Values are part of the format.</summary>
public enum DeviceState : byte
{
    Active = 0,

    /// <summary>It will not come back, or only to be read: what it sealed has an adopter.</summary>
    Retired = 1,

    /// <summary>It is in other hands: nothing that it writes from here on counts.</summary>
    Revoked = 2,
}

/// <summary>The newest head of a revoked device that still counts, of one volume and line.</summary>
public readonly record struct HeadCut(VolumeId Volume, ulong Incarnation, ulong Sequence);

/// <summary>One device's word that another of its account is retired or revoked, and who adopts what it sealed.</summary>
/// <remarks>Format: docs/format.md 10.1. Invariant: an object of this type is well formed; whether its signer may say so is asked of <see cref="IsSignedBy"/> with a certificate that the account vouches for.
/// Nothing takes it back: a device that comes back is enrolled anew, under another number.</remarks>
public sealed class DeviceStatement
{
    public const int MaximumCuts = 1024;
    public const int MaximumBytes = FixedSize + (MaximumCuts * CutSize) + Ed25519.SignatureSize;

    private const int MagicSize = 8;
    private const int FixedSize = MagicSize + Ed25519.PublicKeySize + sizeof(uint) + 1 + 3 + sizeof(uint) + sizeof(uint) + sizeof(long) + sizeof(ushort);
    private const int CutSize = VolumeId.Size + sizeof(ulong) + sizeof(ulong);

    private readonly byte[] _bytes;

    private DeviceStatement(byte[] bytes) => _bytes = bytes;

    /// <summary>Of whom it speaks.</summary>
    public required uint Device { get; init; }

    public required DeviceState State { get; init; }

    /// <summary>Owns from here on what the device sealed.</summary>
    public required uint Adopter { get; init; }

    public required uint Signer { get; init; }

    /// <summary>Seconds since 1970 by the signer's clock, for people.</summary>
    public required long TimeSeconds { get; init; }

    /// <summary>Of a revoked device: its heads up to these count, and no others.</summary>
    public required IReadOnlyList<HeadCut> Cuts { get; init; }

    public ReadOnlySpan<byte> AccountPublicKey => _bytes.AsSpan(MagicSize, Ed25519.PublicKeySize);

    public ReadOnlySpan<byte> Bytes => _bytes;

    private static ReadOnlySpan<byte> Magic => "TDFSDST1"u8;

    public static DeviceStatement Issue(
        DeviceCertificate signer, DeviceKeys keys, uint device, DeviceState state, long timeSeconds, IReadOnlyList<HeadCut> cuts)
    {
        ArgumentNullException.ThrowIfNull(signer);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(cuts);
        ArgumentOutOfRangeException.ThrowIfNegative(timeSeconds);
        if (state is not (DeviceState.Retired or DeviceState.Revoked) || cuts.Count > MaximumCuts)
        {
            throw new ArgumentException($"A statement retires or revokes, with {MaximumCuts} cuts at most.", nameof(state));
        }

        var writer = new FieldWriter(256);
        writer.Bytes(Magic);
        writer.Bytes(signer.AccountPublicKey);
        writer.U32(device);
        writer.U8((byte)state);
        writer.Bytes([0, 0, 0]);
        writer.U32(signer.DeviceNumber);
        writer.U32(signer.DeviceNumber);
        writer.I64(timeSeconds);
        writer.U16((ushort)cuts.Count);
        foreach (HeadCut cut in cuts)
        {
            cut.Volume.Write(writer.Take(VolumeId.Size));
            writer.U64(cut.Incarnation);
            writer.U64(cut.Sequence);
        }

        byte[] bytes = new byte[writer.Length + Ed25519.SignatureSize];
        writer.Written.CopyTo(bytes);
        keys.Sign(writer.Written, bytes.AsSpan(writer.Length));
        return Read(bytes);
    }

    /// <summary>Parses without verifying.</summary>
    /// <exception cref="DamagedFormatException">Not exactly one statement.</exception>
    public static DeviceStatement Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "device statement");
        if (source.Length > MaximumBytes)
        {
            throw reader.Damaged($"{source.Length} bytes, at most {MaximumBytes} expected");
        }

        reader.Magic(Magic);
        reader.Bytes(Ed25519.PublicKeySize);
        uint device = reader.U32();
        byte state = reader.U8();
        reader.Reserved(3);
        uint adopter = reader.U32();
        uint signer = reader.U32();
        long timeSeconds = reader.I64();
        int count = reader.U16();
        if (state is not ((byte)DeviceState.Retired or (byte)DeviceState.Revoked) || timeSeconds < 0 || count > MaximumCuts)
        {
            throw reader.Damaged($"state {state} at {timeSeconds} with {count} cuts; 1 or 2, a date after 1970, and at most {MaximumCuts} are expected");
        }

        var cuts = new List<HeadCut>();
        for (int i = 0; i < count; i++)
        {
            cuts.Add(new HeadCut(VolumeId.Read(reader.Bytes(VolumeId.Size)), reader.U64(), reader.U64()));
        }

        reader.Bytes(Ed25519.SignatureSize);
        reader.End();
        return new DeviceStatement(source.ToArray()) { Device = device, State = (DeviceState)state, Adopter = adopter, Signer = signer, TimeSeconds = timeSeconds, Cuts = cuts };
    }

    /// <summary>True if this certificate's device said it, of its own account. Whether the account vouches for the certificate is another question.</summary>
    public bool IsSignedBy(DeviceCertificate certificate)
    {
        ArgumentNullException.ThrowIfNull(certificate);
        return certificate.DeviceNumber == Signer
            && certificate.AccountPublicKey.SequenceEqual(AccountPublicKey)
            && Ed25519.Verify(certificate.DevicePublicKey, Bytes[..^Ed25519.SignatureSize], Bytes[^Ed25519.SignatureSize..]);
    }

    /// <summary>Whether a head of the device still counts.</summary>
    public bool Covers(Head head)
    {
        ArgumentNullException.ThrowIfNull(head);
        return State != DeviceState.Revoked
            || Cuts.Any(cut => cut.Volume == head.Volume && cut.Incarnation == head.Incarnation && head.Sequence <= cut.Sequence);
    }

    /// <summary>Of all that was said, what counts for each device. A device that was revoked says nothing more; where two revoke each other the lower number, which was there first, is heard.</summary>
    public static IReadOnlyDictionary<uint, DeviceStatement> InForce(IEnumerable<DeviceStatement> statements)
    {
        ArgumentNullException.ThrowIfNull(statements);
        var inForce = new Dictionary<uint, DeviceStatement>();
        foreach (DeviceStatement statement in statements.OrderBy(static each => each.Signer).ThenByDescending(static each => each.State).ThenBy(static each => each.TimeSeconds)
            .ThenBy(static each => Convert.ToHexString(each.Bytes), StringComparer.Ordinal))
        {
            bool isHeard = inForce.GetValueOrDefault(statement.Signer) is not { State: DeviceState.Revoked } && statement.Signer != statement.Device;
            if (isHeard && (!inForce.TryGetValue(statement.Device, out DeviceStatement? before) || before.State < statement.State))
            {
                inForce[statement.Device] = statement;
            }
        }

        return inForce;
    }
}
