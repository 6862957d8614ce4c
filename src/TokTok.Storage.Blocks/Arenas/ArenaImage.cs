using System.Buffers.Binary;

using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Arenas;

/// <summary>What the header of a sealed arena says.</summary>
/// <remarks>Format: docs/format.md 6.</remarks>
public sealed record ArenaHeader
{
    public const int Size = CoveredSize + Blake3.HashSize;
    public const int MaxClumpCount = (ArenaLayout.MaxNominalBytes - Size) / ArenaDirectory.EntrySize;

    private const int CoveredSize =
        8 + 4 + sizeof(uint) + ArenaId.Size + DomainId.Size + (4 * sizeof(uint)) + sizeof(long) + sizeof(ulong) + Blake3.HashSize;

    public required ArenaId Id { get; init; }

    public required ArenaLayout Layout { get; init; }

    public required int Survive { get; init; }

    public required DomainId Domain { get; init; }

    public required uint Epoch { get; init; }

    public required uint Owner { get; init; }

    /// <summary>Of the state folder that sealed it.</summary>
    public ulong Incarnation { get; init; }

    public required int ClumpCount { get; init; }

    public required int DirectoryOffset { get; init; }

    public required long SealedAtSeconds { get; init; }

    public required UInt256 DirectoryChecksum { get; init; }

    public int DirectoryBytes => ClumpCount * ArenaDirectory.EntrySize;

    private static ReadOnlySpan<byte> Magic => "TDFSARN1"u8;

    public void Write(Span<byte> target)
    {
        var writer = new FieldWriter(Size);
        writer.Bytes(Magic);
        writer.U8((byte)Layout.DataFragments);
        writer.U8((byte)Layout.ParityFragments);
        writer.U8((byte)Survive);
        writer.Reserved(1);
        writer.U32((uint)Layout.SliceBytes);
        Id.Write(writer.Take(ArenaId.Size));
        Domain.Write(writer.Take(DomainId.Size));
        writer.U32(Epoch);
        writer.U32(Owner);
        writer.U32((uint)ClumpCount);
        writer.U32((uint)DirectoryOffset);
        writer.I64(SealedAtSeconds);
        writer.U64(Incarnation);
        DirectoryChecksum.Write(writer.Take(UInt256.Size));
        byte[] covered = writer.ToArray();
        Blake3.Hash(covered, writer.Take(Blake3.HashSize));
        writer.Written.CopyTo(target);
    }

    /// <summary>Whether decrypted bytes begin as an arena does: tells the right key from a wrong one.</summary>
    public static bool HasMagic(ReadOnlySpan<byte> plain) => plain.StartsWith(Magic);

    public static ArenaHeader Read(ReadOnlySpan<byte> plain, string where)
    {
        var reader = new FieldReader(plain.Length > Size ? plain[..Size] : plain, $"arena {where}");
        reader.Magic(Magic);
        int dataFragments = reader.U8();
        int parityFragments = reader.U8();
        int survive = reader.U8();
        reader.Reserved(1);
        uint sliceBytes = reader.U32();
        ArenaId id = ArenaId.Read(reader.Bytes(ArenaId.Size));
        DomainId domain = DomainId.Read(reader.Bytes(DomainId.Size));
        uint epoch = reader.U32();
        uint owner = reader.U32();
        int clumpCount = reader.Count(MaxClumpCount, "clump count");
        uint directoryOffset = reader.U32();
        long sealedAt = reader.I64();
        ulong incarnation = reader.U64();
        UInt256 directoryChecksum = UInt256.Read(reader.Bytes(UInt256.Size));
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(plain[..reader.Position], checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("its header does not match its checksum");
        }

        if (!ArenaLayout.IsValid(dataFragments, parityFragments, sliceBytes)
            || directoryOffset < Size || directoryOffset + ((long)clumpCount * ArenaDirectory.EntrySize) > sliceBytes * (long)dataFragments)
        {
            throw reader.Damaged($"layout {dataFragments}+{parityFragments}, slice {sliceBytes}, directory of {clumpCount} at {directoryOffset} do not fit together");
        }

        return new ArenaHeader
        {
            Id = id,
            Layout = new ArenaLayout(dataFragments, parityFragments, (int)sliceBytes),
            Survive = survive,
            Domain = domain,
            Epoch = epoch,
            Owner = owner,
            Incarnation = incarnation,
            ClumpCount = clumpCount,
            DirectoryOffset = (int)directoryOffset,
            SealedAtSeconds = sealedAt,
            DirectoryChecksum = directoryChecksum,
        };
    }
}

/// <summary>Where a clump lies in its arena.</summary>
public readonly record struct ClumpEntry(Score Score, BlockType Type, int Offset, int Length, int PlainBytes);

/// <summary>The directory of a sealed arena: entries sorted by score, searched in place.</summary>
/// <remarks>Format: docs/format.md 6. Immutable, so safe from many threads.</remarks>
public sealed class ArenaDirectory
{
    public const int EntrySize = Score.Size + 1 + 3 + (3 * sizeof(uint));

    private readonly byte[] _entries;

    private ArenaDirectory(byte[] entries) => _entries = entries;

    public int Count => _entries.Length / EntrySize;

    public int Bytes => _entries.Length;

    public ClumpEntry this[int index]
    {
        get
        {
            ReadOnlySpan<byte> entry = _entries.AsSpan(index * EntrySize, EntrySize);
            return new ClumpEntry(
                Score.Read(entry),
                (BlockType)entry[32],
                BinaryPrimitives.ReadInt32LittleEndian(entry[36..]), // beyond 2^31 these are negative, which Read refuses
                BinaryPrimitives.ReadInt32LittleEndian(entry[40..]),
                BinaryPrimitives.ReadInt32LittleEndian(entry[44..]));
        }
    }

    /// <summary>The index of the score's entry, or -1.</summary>
    public int Find(Score score)
    {
        int low = 0;
        int high = Count - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            int order = Score.Read(_entries.AsSpan(middle * EntrySize)).CompareTo(score);
            if (order == 0)
            {
                return middle;
            }

            if (order < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }

        return -1;
    }

    internal static void WriteEntry(Span<byte> target, in ClumpEntry entry)
    {
        entry.Score.Write(target);
        target[32] = (byte)entry.Type;
        target.Slice(33, 3).Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(target[36..], (uint)entry.Offset);
        BinaryPrimitives.WriteUInt32LittleEndian(target[40..], (uint)entry.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(target[44..], (uint)entry.PlainBytes);
    }

    /// <summary>Checks every entry: order, bounds, types. Keeps the array.</summary>
    internal static ArenaDirectory Read(byte[] entries, ArenaHeader header)
    {
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(entries, checksum);
        if (UInt256.Read(checksum) != header.DirectoryChecksum)
        {
            throw new DamagedFormatException($"arena {header.Id}: its directory does not match its checksum");
        }

        var directory = new ArenaDirectory(entries);
        for (int i = 0; i < directory.Count; i++)
        {
            ClumpEntry entry = directory[i];
            bool isInOrder = i == 0 || directory[i - 1].Score < entry.Score;
            if (!isInOrder || entry.Offset < ArenaHeader.Size || entry.Length <= 0 || entry.Length > Clump.MaxBytes
                || entry.Offset + (long)entry.Length > header.DirectoryOffset || entry.PlainBytes is < 0 or > BlockLimits.MaxBlockBytes)
            {
                throw new DamagedFormatException($"arena {header.Id}: directory entry {i} (offset {entry.Offset}, length {entry.Length}) is out of order or out of bounds");
            }
        }

        return directory;
    }
}

/// <summary>Turns clumps that lie in a buffer at their final offsets into an encrypted image.</summary>
internal static class ArenaImage
{
    /// <summary>Room that clumps have in an image with <paramref name="clumpCount"/> of them.</summary>
    internal static int RoomFor(int imageBytes, int clumpCount) => imageBytes - ArenaHeader.Size - (clumpCount * ArenaDirectory.EntrySize);

    /// <summary>Completes the image in place: directory, zeros, header; then encrypts all of it.</summary>
    /// <param name="image">Clumps from <see cref="ArenaHeader.Size"/> to <paramref name="clumpsEnd"/>; exactly the layout's image bytes.</param>
    /// <remarks>The id must be new: the stream of an id serves one image only.</remarks>
    internal static ArenaHeader Seal(
        Span<byte> image, int clumpsEnd, List<ClumpEntry> clumps, ArenaId id, ArenaLayout layout, int survive, KeyDomain domain, uint epoch, uint owner, ulong incarnation, long sealedAtSeconds)
    {
        clumps.Sort(static (a, b) => a.Score.CompareTo(b.Score));
        int offset = clumpsEnd;
        foreach (ClumpEntry clump in clumps)
        {
            ArenaDirectory.WriteEntry(image.Slice(offset, ArenaDirectory.EntrySize), clump);
            offset += ArenaDirectory.EntrySize;
        }

        image[offset..].Clear();
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(image[clumpsEnd..offset], checksum);
        var header = new ArenaHeader
        {
            Id = id,
            Layout = layout,
            Survive = survive,
            Domain = domain.Id,
            Epoch = epoch,
            Owner = owner,
            Incarnation = incarnation,
            ClumpCount = clumps.Count,
            DirectoryOffset = clumpsEnd,
            SealedAtSeconds = sealedAtSeconds,
            DirectoryChecksum = UInt256.Read(checksum),
        };
        header.Write(image);
        Transform(domain, epoch, id, 0, image);
        return header;
    }

    /// <summary>Encrypts or decrypts a range of an image in place.</summary>
    internal static void Transform(KeyDomain domain, uint epoch, ArenaId id, long offset, Span<byte> range)
    {
        Span<byte> idBytes = stackalloc byte[ArenaId.Size];
        id.Write(idBytes);
        Span<byte> key = stackalloc byte[32];
        domain.ArenaKey(epoch, idBytes, key);
        ArenaCipher.Transform(key, offset, range);
        key.Clear();
    }
}
