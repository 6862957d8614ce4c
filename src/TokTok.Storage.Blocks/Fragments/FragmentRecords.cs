using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>Finds the record of a fragment file: its first copy, else the second, wherever a damaged file still has it.</summary>
/// <remarks>Format: docs/format.md 7. Keeps nothing and writes nothing. Errors: no whole record is <see cref="DamagedFormatException"/>; a disk that cannot be asked is a
/// <see cref="DiskException"/>, but single sectors that cannot be read are damage.</remarks>
internal static class FragmentRecords
{
    internal static byte[]? BestHashes(FragmentFile record, byte[]? first, byte[]? second, int position, FragmentName expected) =>
        record.HashesOf(first, position, expected) ?? record.HashesOf(second, position, expected);

    /// <summary>Reads a record that begins at an offset: null, and why, when it is damaged or its sectors cannot be read.</summary>
    private static (FragmentFile? File, byte[]? Bytes, string? Damage) TryRecord(IDiskFile file, long offset, ArenaId id, string path, bool tableOnly)
    {
        try
        {
            byte[] start = new byte[FragmentFile.Alignment];
            int read = file.Read(offset, start);
            int recordBytes = FragmentFile.RecordBytesFrom(start.AsSpan(0, read), path);
            if (recordBytes > file.Length - offset)
            {
                return (null, null, $"{path}: its record of {recordBytes} bytes does not fit into the {file.Length} bytes of the file");
            }

            if (tableOnly && FragmentTableFits(recordBytes))
            {
                return (FragmentFile.Parse(start, id, path), null, null);
            }

            byte[] record = new byte[recordBytes];
            read = file.Read(offset, record);
            return (FragmentFile.Parse(record.AsSpan(0, read), id, path), record, null);
        }
        catch (DamagedFormatException damage)
        {
            return (null, null, damage.Message);
        }
        catch (DiskException failure) when (failure.Failure == DiskFailure.Failed)
        {
            return (null, null, failure.Message);
        }
    }

    /// <summary>Whether the first 4 KiB are the whole record, so that reading on is no use.</summary>
    private static bool FragmentTableFits(int recordBytes) => recordBytes == FragmentFile.Alignment;

    /// <summary>The record of a file, from its first copy or else its second; both copies' bytes when they are asked for.</summary>
    internal static (FragmentFile File, byte[]? First, byte[]? Second, bool IsDamaged) Load(IDiskFile file, ArenaId id, string path, bool bothRecords = false)
    {
        (FragmentFile? first, byte[]? firstBytes, string? damage) = TryRecord(file, 0, id, path, tableOnly: !bothRecords);
        if (first is not null && !bothRecords)
        {
            return (first, firstBytes, null, false);
        }

        FragmentFile? second = null;
        byte[]? secondBytes = null;
        long length = file.Length;
        if (first is not null)
        {
            (second, secondBytes, _) = TryRecord(file, first.SecondRecordOffset, id, path, tableOnly: false);
            bool isWhole = second is not null && length == first.FileBytes && firstBytes.AsSpan().SequenceEqual(secondBytes);
            return (first, firstBytes, secondBytes, !isWhole);
        }

        // From the end backwards, only as far as a record can reach. A file that was lengthened or shortened may have it anywhere.
        long lowest = Math.Max(0, length - (2L * FragmentFile.MaxRecordBytes));
        byte[] start = new byte[FragmentFile.Alignment];
        for (long offset = length / FragmentFile.Alignment * FragmentFile.Alignment; offset >= lowest && second is null; offset -= FragmentFile.Alignment)
        {
            if (offset > 0 && TryRead(file, offset, start) is int read && FragmentFile.ClaimedId(start.AsSpan(0, read)) == id)
            {
                (second, secondBytes, _) = TryRecord(file, offset, id, path, tableOnly: false);
                if (second is not null && second.SecondRecordOffset != offset)
                {
                    second = null;  // not where it says it is
                }
            }
        }

        return second is not null ? (second, null, secondBytes, true) : throw new DamagedFormatException(damage ?? path);
    }

    internal static int TryRead(IDiskFile file, long offset, Span<byte> target)
    {
        try
        {
            return file.Read(offset, target);
        }
        catch (DiskException failure) when (failure.Failure == DiskFailure.Failed)
        {
            return 0;
        }
    }

    /// <summary>Whether a file's record is whole and says that it is another arena's.</summary>
    internal static bool IsAnothers(IDiskFile file, ArenaId id)
    {
        byte[] start = new byte[FragmentFile.Alignment];
        int read = TryRead(file, 0, start);
        return FragmentFile.ClaimedId(start.AsSpan(0, read)) is ArenaId claimed && claimed != id
            && TryRecord(file, 0, claimed, "", tableOnly: true).File is not null;
    }
}
