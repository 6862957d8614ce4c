using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Wire;

/// <summary>What an upload is going to bring: an arena's shape, and the names of the fragments that come.</summary>
/// <remarks>Format: docs/protocol.md 3.3, put-begin. Equal bytes are the same upload.</remarks>
internal sealed record PutTable(ArenaId Id, bool Replaces, int DataFragments, int ParityFragments, int SliceBytes, IReadOnlyList<HeldFragment> Fragments)
{
    internal const int MaxBytes = ArenaId.Size + 4 + sizeof(uint) + 4 + (Protocol.MaxFragments * (2 + FragmentName.Size));

    /// <summary>Bytes of fragments that follow: parity, too, so more than an arena.</summary>
    internal long TotalBytes => (long)Fragments.Count * SliceBytes;

    internal void Write(FieldWriter writer)
    {
        Id.Write(writer.Take(ArenaId.Size));
        writer.U8((byte)(Replaces ? 1 : 0));
        writer.U8((byte)DataFragments);
        writer.U8((byte)ParityFragments);
        writer.U8(0);
        writer.U32((uint)SliceBytes);
        writer.U16((ushort)Fragments.Count);
        writer.U16(0);
        foreach (HeldFragment fragment in Fragments)
        {
            writer.U16((ushort)fragment.Index);
            fragment.Name.Write(writer.Take(FragmentName.Size));
        }
    }

    internal static PutTable Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "put-begin");
        ArenaId id = ArenaId.Read(reader.Bytes(ArenaId.Size));
        byte mode = reader.U8();
        int data = reader.U8();
        int parity = reader.U8();
        reader.Reserved(1);
        int slice = reader.Count(Protocol.MaxSliceTotalBytes, "the slice");
        int count = reader.U16();
        reader.Reserved(2);
        ArenaRecords.Check(ref reader, data, parity, slice, count);
        if (mode > 1 || (long)count * slice > Protocol.MaxUploadBytes)
        {
            throw reader.Damaged($"found mode {mode} and {count} fragments of {slice} bytes, expected mode 0 or 1 and at most {Protocol.MaxUploadBytes} bytes");
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

        reader.End();
        return new PutTable(id, mode == 1, data, parity, slice, fragments);
    }
}
