using System.Diagnostics;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>The record of a fragment file: which fragments of one arena it has, where they lie, and their group hashes.</summary>
/// <remarks>
/// Format: docs/format.md 7. Owns no file: parses and writes bytes, and says where things are.
/// Invariant: fragment i of the table lies at RecordBytes + i × SliceBytes, whatever a table on disk says otherwise is damage.
/// Bounds: every count is checked before anything is allocated for it; a record is at most <see cref="MaxRecordBytes"/>.
/// </remarks>
internal sealed class FragmentFile
{
    internal const int Alignment = 4096;
    internal const int GroupBytes = 16 * 1024;
    internal const int MaxFragments = 256;

    private const int FixedBytes = 8 + ArenaId.Size + 1 + 1 + 2 + 4;
    private const int EntryBytes = 2 + 2 + 4 + 4 + FragmentName.Size;

    private static ReadOnlySpan<byte> Magic => "TDFSFRG1"u8;

    private FragmentFile(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, HeldFragment[] fragments)
    {
        Id = id;
        DataFragments = dataFragments;
        ParityFragments = parityFragments;
        SliceBytes = sliceBytes;
        Fragments = fragments;
    }

    internal ArenaId Id { get; }

    internal int DataFragments { get; }

    internal int ParityFragments { get; }

    internal int SliceBytes { get; }

    internal IReadOnlyList<HeldFragment> Fragments { get; }

    internal int GroupCount => GroupsOf(SliceBytes);

    internal int HashBytes => GroupCount * Blake3.HashSize;

    internal int RecordBytes => RecordBytesOf(Fragments.Count, SliceBytes);

    internal long SecondRecordOffset => RecordBytes + ((long)Fragments.Count * SliceBytes);

    internal long FileBytes => SecondRecordOffset + RecordBytes;

    /// <summary>The largest record that a fragment file can have: k = 1, m = 255.</summary>
    internal static int MaxRecordBytes => RecordBytesOf(MaxFragments, ArenaLayout.MaxImageBytes);

    internal static int GroupsOf(int sliceBytes) => (sliceBytes + GroupBytes - 1) / GroupBytes;

    internal static int RecordBytesOf(int fragmentCount, int sliceBytes)
    {
        int bytes = FixedBytes + (EntryBytes * fragmentCount) + Blake3.HashSize + (Blake3.HashSize * fragmentCount * GroupsOf(sliceBytes));
        return (bytes + Alignment - 1) / Alignment * Alignment;
    }

    /// <summary>The record of these fragments, ascending by index.</summary>
    internal static FragmentFile Of(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, HeldFragment[] fragments)
    {
        if (!ArenaLayout.IsValid(dataFragments, parityFragments, sliceBytes))
        {
            throw new ArgumentException($"no arena has {dataFragments}+{parityFragments} fragments of {sliceBytes} bytes", nameof(sliceBytes));
        }

        int before = -1;
        foreach (HeldFragment fragment in fragments)
        {
            if (fragment.Index <= before || fragment.Index >= dataFragments + parityFragments)
            {
                throw new ArgumentException($"fragment {fragment.Index} after {before} of {dataFragments}+{parityFragments}", nameof(fragments));
            }

            before = fragment.Index;
        }

        return new FragmentFile(id, dataFragments, parityFragments, sliceBytes, fragments);
    }

    /// <summary>How many bytes the record of a file that begins with these has at most; throws where they are no beginning of one.</summary>
    internal static int RecordBytesFrom(ReadOnlySpan<byte> start, string where)
    {
        var reader = new FieldReader(start, where);
        ReadFixed(ref reader, out _, out _, out _, out int count, out int slice);
        return RecordBytesOf(count, slice);
    }

    /// <summary>Parses a record's table. Group hashes are looked at by <see cref="HashesOf"/>.</summary>
    internal static FragmentFile Parse(ReadOnlySpan<byte> record, ArenaId expected, string where)
    {
        var reader = new FieldReader(record, where);
        ReadFixed(ref reader, out ArenaId id, out int data, out int parity, out int count, out int slice);
        if (id != expected)
        {
            throw reader.Damaged($"holds arena {id}, expected {expected}");
        }

        int recordBytes = RecordBytesOf(count, slice);
        var fragments = new HeldFragment[count];
        int before = -1;
        for (int i = 0; i < count; i++)
        {
            int index = reader.U16();
            reader.Reserved(2);
            uint offset = reader.U32();
            uint length = reader.U32();
            fragments[i] = new HeldFragment(index, FragmentName.Read(reader.Bytes(FragmentName.Size)));
            if (index <= before || index >= data + parity)
            {
                throw reader.Damaged($"fragment {index} after {before} of {data}+{parity}");
            }

            if (offset != recordBytes + ((long)i * slice) || length != slice)
            {
                throw reader.Damaged($"fragment {index} at {offset}, {length} bytes; expected at {recordBytes + ((long)i * slice)}, {slice} bytes");
            }

            before = index;
        }

        int covered = reader.Position;
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(record[..covered], checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged($"the checksum of its {covered} bytes of record does not match");
        }

        return new FragmentFile(id, data, parity, slice, fragments);
    }

    /// <summary>The arena id that the bytes claim, if they begin a record at all.</summary>
    internal static ArenaId? ClaimedId(ReadOnlySpan<byte> start) =>
        start.Length >= FixedBytes && start.StartsWith(Magic) ? ArenaId.Read(start[Magic.Length..]) : null;

    internal int PositionOf(int index)
    {
        for (int i = 0; i < Fragments.Count; i++)
        {
            if (Fragments[i].Index == index)
            {
                return i;
            }
        }

        return -1;
    }

    internal long OffsetOf(int position) => RecordBytes + ((long)position * SliceBytes);

    /// <summary>Where the group hashes of a fragment lie within a record.</summary>
    internal int HashOffsetOf(int position) => FixedBytes + (EntryBytes * Fragments.Count) + Blake3.HashSize + (position * HashBytes);

    /// <summary>The group hashes of a fragment out of a record, if they fold to its name.</summary>
    internal byte[]? HashesOf(ReadOnlySpan<byte> record, int position, FragmentName expected)
    {
        int offset = HashOffsetOf(position);
        if (record.Length < offset + HashBytes)
        {
            return null;
        }

        ReadOnlySpan<byte> hashes = record.Slice(offset, HashBytes);
        return FoldsTo(hashes, expected) ? hashes.ToArray() : null;
    }

    internal static bool FoldsTo(ReadOnlySpan<byte> hashes, FragmentName name)
    {
        Span<byte> root = stackalloc byte[Blake3.HashSize];
        Blake3Tree.RootFromGroups(hashes, root);
        return FragmentName.Read(root) == name;
    }

    /// <summary>Writes the record; hashes are those of each fragment in the table's order, null where they are unknown (zeros, which fold to no name).</summary>
    internal byte[] Write(IReadOnlyList<ReadOnlyMemory<byte>?> hashes)
    {
        var writer = new FieldWriter(RecordBytes);
        writer.Bytes(Magic);
        Id.Write(writer.Take(ArenaId.Size));
        writer.U8((byte)DataFragments);
        writer.U8((byte)ParityFragments);
        writer.U16((ushort)Fragments.Count);
        writer.U32((uint)SliceBytes);
        for (int i = 0; i < Fragments.Count; i++)
        {
            writer.U16((ushort)Fragments[i].Index);
            writer.Reserved(2);
            writer.U32((uint)OffsetOf(i));
            writer.U32((uint)SliceBytes);
            Fragments[i].Name.Write(writer.Take(FragmentName.Size));
        }

        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(writer.Written, checksum);
        writer.Bytes(checksum);
        foreach (ReadOnlyMemory<byte>? list in hashes)
        {
            if (list is { } known)
            {
                Debug.Assert(known.Length == HashBytes, "a list of group hashes has another length");
                writer.Bytes(known.Span);
            }
            else
            {
                writer.Reserved(HashBytes);
            }
        }

        writer.Reserved(RecordBytes - writer.Length);
        return writer.ToArray();
    }

    private static void ReadFixed(ref FieldReader reader, out ArenaId id, out int data, out int parity, out int count, out int slice)
    {
        reader.Magic(Magic);
        id = ArenaId.Read(reader.Bytes(ArenaId.Size));
        data = reader.U8();
        parity = reader.U8();
        count = reader.U16();
        uint sliceBytes = reader.U32();
        if (!ArenaLayout.IsValid(data, parity, sliceBytes))
        {
            throw reader.Damaged($"no arena has {data}+{parity} fragments of {sliceBytes} bytes");
        }

        if (count < 1 || count > data + parity)
        {
            throw reader.Damaged($"{count} fragments of {data}+{parity}");
        }

        slice = (int)sliceBytes;
    }
}
