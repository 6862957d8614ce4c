using System.Text;
using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Wire;

/// <summary>What a holder says of an arena, on the wire.</summary>
/// <remarks>Format: docs/protocol.md 3.3, record.</remarks>
internal static class ArenaRecords
{
    private const byte Nothing = 0;
    private const byte Kept = 1;
    private const byte InTrash = 2;
    private const byte Damaged = 3;

    /// <summary>The most that one record takes.</summary>
    internal const int MaxBytes = 1 + 3 + 4 + 2 + (Protocol.MaxFragments * (2 + FragmentName.Size));

    internal static void Write(FieldWriter writer, HeldArena? arena)
    {
        if (arena is null)
        {
            writer.U8(Nothing);
            return;
        }

        writer.U8(arena.IsInTrash ? InTrash : Kept);
        writer.U8((byte)arena.DataFragments);
        writer.U8((byte)arena.ParityFragments);
        writer.U8((byte)(arena.IsRecordDamaged ? 1 : 0));
        writer.U32((uint)arena.SliceBytes);
        writer.U16((ushort)arena.Fragments.Count);
        foreach (HeldFragment fragment in arena.Fragments)
        {
            writer.U16((ushort)fragment.Index);
            fragment.Name.Write(writer.Take(FragmentName.Size));
        }
    }

    internal static void WriteDamage(FieldWriter writer, string damage)
    {
        writer.U8(Damaged);
        byte[] text = Encoding.UTF8.GetBytes(damage);
        int count = Math.Min(text.Length, Protocol.MaxDamageBytes);
        while (count > 0 && count < text.Length && (text[count] & 0xC0) == 0x80)
        {
            count--;
        }

        writer.U16((ushort)count);
        writer.Bytes(text.AsSpan(0, count));
    }

    /// <summary>The record of an arena: null where nothing is kept of it; with the line of damage where there is none.</summary>
    /// <exception cref="DamagedFormatException">The bytes are not of this form.</exception>
    internal static (HeldArena? Arena, string? Damage, bool IsInTrash) Read(ref FieldReader reader, ArenaId id)
    {
        byte state = reader.U8();
        switch (state)
        {
            case Nothing:
                return default;
            case Damaged:
                int bytes = reader.U16();
                return bytes <= Protocol.MaxDamageBytes
                    ? (null, Encoding.UTF8.GetString(reader.Bytes(bytes)), false)
                    : throw reader.Damaged($"a line of {bytes} bytes, at most {Protocol.MaxDamageBytes} expected");
            case Kept or InTrash:
                break;
            default:
                throw reader.Damaged($"the state of an arena is {state}, 0 to 3 expected");
        }

        int data = reader.U8();
        int parity = reader.U8();
        byte flags = reader.U8();
        int slice = reader.Count(Protocol.MaxSliceTotalBytes, "the slice");
        int count = reader.U16();
        Check(ref reader, data, parity, slice, count);
        if (flags > 1)
        {
            throw reader.Damaged($"flags are {flags}, 0 or 1 expected");
        }

        var fragments = new HeldFragment[count];
        for (int i = 0; i < count; i++)
        {
            fragments[i] = new HeldFragment(reader.U16(), FragmentName.Read(reader.Bytes(FragmentName.Size)));
            if (fragments[i].Index >= data + parity || (i > 0 && fragments[i].Index <= fragments[i - 1].Index))
            {
                throw reader.Damaged($"fragment {fragments[i].Index} is out of order, or beyond {data}+{parity}");
            }
        }

        return (new HeldArena(id, data, parity, slice, fragments, flags == 1, state == InTrash), null, state == InTrash);
    }

    /// <summary>The limits of docs/format.md 7, for whoever reads them.</summary>
    internal static void Check(ref FieldReader reader, int data, int parity, int slice, int count)
    {
        if (data < 1 || data + parity > Protocol.MaxFragments || slice < Protocol.SliceUnit || slice % Protocol.SliceUnit != 0
            || (long)data * slice > Protocol.MaxSliceTotalBytes || count < 1 || count > data + parity)
        {
            throw reader.Damaged($"found {count} of {data}+{parity} fragments of {slice} bytes, expected 1 or more of at most {Protocol.MaxFragments}, of multiples of {Protocol.SliceUnit} bytes, {Protocol.MaxSliceTotalBytes} in all");
        }
    }
}
