using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Repair;

/// <summary>What an arena is: enough to rebuild its fragments, and to know a rebuilt one. Nothing of it ever changes.</summary>
/// <remarks>Format: docs/format.md 17.7.</remarks>
public sealed record RepairEntry(ArenaId Id, int SliceBytes, int DataFragments, int ParityFragments, int Survive, IReadOnlyList<FragmentName> Names)
{
    internal const int FixedBytes = ArenaId.Size + sizeof(uint) + 4;
    internal const int MaxBytes = FixedBytes + (Protocol.MaxFragments * FragmentName.Size);

    private static ReadOnlySpan<byte> Context => "TDFS repair arena v1"u8;

    internal void Write(FieldWriter writer)
    {
        Id.Write(writer.Take(ArenaId.Size));
        writer.U32((uint)SliceBytes);
        writer.U8((byte)DataFragments);
        writer.U8((byte)ParityFragments);
        writer.U8((byte)Survive);
        writer.U8(0);
        foreach (FragmentName name in Names)
        {
            name.Write(writer.Take(FragmentName.Size));
        }
    }

    /// <exception cref="DamagedFormatException">Not an entry.</exception>
    internal static RepairEntry Read(ref FieldReader reader)
    {
        ArenaId id = ArenaId.Read(reader.Bytes(ArenaId.Size));
        int slice = reader.Count(Protocol.MaxSliceTotalBytes, "the slice");
        int data = reader.U8();
        int parity = reader.U8();
        int survive = reader.U8();
        reader.Reserved(1);
        ArenaRecords.Check(ref reader, data, parity, slice, data + parity);
        var names = new FragmentName[data + parity];
        for (int i = 0; i < names.Length; i++)
        {
            names[i] = FragmentName.Read(reader.Bytes(FragmentName.Size));
        }

        return new RepairEntry(id, slice, data, parity, survive, names);
    }

    /// <summary>Signs the bytes of an entry for one friend.</summary>
    internal static byte[] Sign(DeviceKeys device, Bytes32 friend, ReadOnlySpan<byte> entry)
    {
        byte[] signature = new byte[Ed25519.SignatureSize];
        device.Sign(Signed(friend, entry), signature);
        return signature;
    }

    internal static bool IsSigned(RepairGrant grant, ReadOnlySpan<byte> entry, ReadOnlySpan<byte> signature) =>
        Ed25519.Verify(grant.Certificate.DevicePublicKey, Signed(grant.Friend, entry), signature);

    /// <summary>Whether an upload brings nothing but fragments of this arena, under their names.</summary>
    internal bool Allows(PutTable table) => table.Id == Id && !table.Replaces && table.DataFragments == DataFragments && table.ParityFragments == ParityFragments && table.SliceBytes == SliceBytes
        && table.Fragments.All(each => each.Index < Names.Count && each.Name != default && each.Name == Names[each.Index]);

    private static byte[] Signed(Bytes32 friend, ReadOnlySpan<byte> entry)
    {
        byte[] signed = new byte[Context.Length + Bytes32.Size + entry.Length];
        Context.CopyTo(signed);
        friend.Write(signed.AsSpan(Context.Length));
        entry.CopyTo(signed.AsSpan(Context.Length + Bytes32.Size));
        return signed;
    }
}
