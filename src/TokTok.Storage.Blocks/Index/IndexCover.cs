using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Index;

/// <summary>What the index is made of: which runs count, oldest first, and which part of the catalog they cover.</summary>
/// <remarks>Format: docs/format.md 16.2.</remarks>
internal sealed record IndexCover
{
    internal const string FileName = "cover";
    internal const string NewFileName = "cover.new";

    /// <summary>Merging keeps them to a few dozen.</summary>
    internal const int MaxRuns = 4096;
    internal const int MaxBytes = HeaderBytes + (MaxRuns * RunBytes) + Blake3.HashSize;

    private const int HeaderBytes = 8 + sizeof(ulong) + sizeof(long) + sizeof(ulong) + sizeof(uint) + 4;
    private const int RunBytes = sizeof(ulong) + sizeof(long);

    internal required ulong Sequence { get; init; }

    internal required long Count { get; init; }

    /// <summary>The number of the next run: none is given twice, so that bytes of an older file cannot pass for a newer one's.</summary>
    internal required ulong NextRun { get; init; }

    internal required IReadOnlyList<(ulong Number, long Entries)> Runs { get; init; }

    private static ReadOnlySpan<byte> Magic => "TDFSIDX2"u8;

    internal byte[] Encode()
    {
        var writer = new FieldWriter(HeaderBytes + (Runs.Count * RunBytes) + Blake3.HashSize);
        writer.Bytes(Magic);
        writer.U64(Sequence);
        writer.I64(Count);
        writer.U64(NextRun);
        writer.U32((uint)Runs.Count);
        writer.Reserved(4);
        foreach ((ulong number, long entries) in Runs)
        {
            writer.U64(number);
            writer.I64(entries);
        }

        byte[] covered = writer.ToArray();
        Blake3.Hash(covered, writer.Take(Blake3.HashSize));
        return writer.ToArray();
    }

    /// <exception cref="DamagedFormatException">These bytes are no cover, or of another version.</exception>
    internal static IndexCover Decode(ReadOnlySpan<byte> bytes, string where)
    {
        var reader = new FieldReader(bytes, where);
        reader.Magic(Magic);
        ulong sequence = reader.U64();
        long count = reader.I64();
        ulong next = reader.U64();
        int runCount = reader.Count(MaxRuns, "count of runs");
        reader.Reserved(4);
        var runs = new List<(ulong Number, long Entries)>();
        for (int i = 0; i < runCount; i++)
        {
            runs.Add((reader.U64(), reader.I64()));
        }

        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(bytes[..reader.Position], checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("it does not match its checksum");
        }

        reader.End();
        return count >= 0 && runs.TrueForAll(run => run.Number < next && run.Entries is > 0 and <= RunHeader.MaxEntries)
            ? new IndexCover { Sequence = sequence, Count = count, NextRun = next, Runs = runs }
            : throw reader.Damaged($"count {count}, next run {next} and its {runCount} runs do not fit together");
    }

    /// <summary>Null where there is none.</summary>
    /// <exception cref="DamagedFormatException">What is there is no cover.</exception>
    internal static IndexCover? Read(IDisk disk, string folder)
    {
        string path = Logs.Paths.Join(folder, FileName);
        if (!disk.FileExists(path))
        {
            return null;
        }

        using IDiskFile file = disk.Open(path, DiskOpen.Read);
        long length = file.Length;
        if (length > MaxBytes)
        {
            throw new DamagedFormatException($"{path}: found {length} bytes, at most {MaxBytes} expected");
        }

        byte[] bytes = new byte[(int)length];
        return Decode(bytes.AsSpan(0, file.Read(0, bytes)), path);
    }
}
