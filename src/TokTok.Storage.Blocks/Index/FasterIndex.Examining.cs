// The files of this folder do not go through IDisk: see FasterIndex.
#pragma warning disable RS0030

namespace TokTok.Storage.Blocks.Index;

/// <summary>What an index folder holds, and what of it is not as its cover says.</summary>
internal sealed record IndexExamination
{
    /// <summary>Null where there is none, or none that is whole: the next writer begins empty.</summary>
    public FasterIndex.Cover? Cover { get; init; }

    /// <summary>Tokens of all checkpoints there, the one that counts and what a crash left.</summary>
    public required IReadOnlyList<Guid> Checkpoints { get; init; }

    /// <summary>Bytes of the log's files.</summary>
    public required long LogFileBytes { get; init; }

    /// <summary>More of the log is garbage than is kept: the next writer begins empty.</summary>
    public bool IsMostlyGarbage { get; init; }

    /// <summary>One line each: where, what was found, what was expected.</summary>
    public required IReadOnlyList<string> Damaged { get; init; }
}

/// <content>Looking at a folder without touching it, beside a writer.</content>
/// <remarks>A writer that makes a checkpoint meanwhile replaces the cover and takes the former checkpoint away: what was then found amiss is looked at again.</remarks>
public sealed partial class FasterIndex
{
    private const int Attempts = 4;

    internal static IndexExamination Examine(string folder)
    {
        using var index = new FasterIndex(folder, MinMemoryBytes); // nothing is opened by naming it
        for (int attempt = 1; ; attempt++)
        {
            byte[] before = index.CoverBytes();
            IndexExamination examination = index.ExamineFolder();
            if (examination.Damaged.Count == 0 || attempt == Attempts || before.AsSpan().SequenceEqual(index.CoverBytes()))
            {
                return examination;
            }
        }
    }

    /// <summary>Copies what the cover names into an empty folder, which an index can be opened in. False: a writer went on meanwhile, and the copy is none.</summary>
    internal static bool TryCopy(string folder, string target, Cover cover)
    {
        using var from = new FasterIndex(folder, MinMemoryBytes);
        using var to = new FasterIndex(target, MinMemoryBytes);
        try
        {
            for (long segment = 0; segment << SegmentBits < cover.LogBytes; segment++)
            {
                File.Copy(from.SegmentPath(segment), to.SegmentPath(segment));
            }

            foreach (string kind in Directory.EnumerateDirectories(from.PathOf(CheckpointsName)))
            {
                string source = Path.Combine(kind, cover.Token.ToString());
                if (Directory.Exists(source))
                {
                    string copy = Path.Combine(to.PathOf(CheckpointsName), Path.GetFileName(kind), cover.Token.ToString());
                    _ = Directory.CreateDirectory(copy);
                    foreach (string path in Directory.EnumerateFiles(source))
                    {
                        File.Copy(path, Path.Combine(copy, Path.GetFileName(path)));
                    }
                }
            }

            File.WriteAllBytes(to.PathOf(CoverName), cover.Encode());
            return true;
        }
        catch (Exception gone) when (gone is FileNotFoundException or DirectoryNotFoundException)
        {
            return false;
        }
    }

    private byte[] CoverBytes()
    {
        try
        {
            using var file = new FileStream(PathOf(CoverName), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 0);
            byte[] bytes = new byte[(int)Math.Min(file.Length, Cover.MaxBytes)];
            return bytes[..file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)];
        }
        catch (Exception none) when (none is FileNotFoundException or DirectoryNotFoundException)
        {
            return [];
        }
    }

    private IndexExamination ExamineFolder()
    {
        var damaged = new List<string>();
        string folder = PathOf(CheckpointsName);
        Guid[] checkpoints = !Directory.Exists(folder) ? [] :
        [
            .. Directory.EnumerateDirectories(folder).SelectMany(static kind => Directory.EnumerateDirectories(kind))
                .Select(static path => Guid.TryParse(Path.GetFileName(path), out Guid token) ? token : Guid.Empty).Distinct().Order(),
        ];
        long logBytes = Directory.EnumerateFiles(_folder, LogName + ".*").Sum(static path => new FileInfo(path).Length);
        Cover? cover = null;
        byte[] bytes = CoverBytes();
        if (File.Exists(PathOf(CoverName)))
        {
            cover = Cover.TryDecode(bytes);
            if (cover is null)
            {
                damaged.Add($"{PathOf(CoverName)}: found {bytes.Length} bytes that are no cover or do not match their checksum, expected a cover");
            }
            else if (cover.TableBits is < MinTableBits or > MaxTableBits)
            {
                damaged.Add($"{PathOf(CoverName)}: found a table of 2^{cover.TableBits} buckets, expected 2^{MinTableBits} to 2^{MaxTableBits}");
            }
            else
            {
                Check(cover, damaged);
            }
        }

        return new IndexExamination
        {
            Cover = cover,
            Checkpoints = checkpoints,
            LogFileBytes = logBytes,
            IsMostlyGarbage = cover is not null && cover.LogBytes - (cover.Count * RecordBytes) > Math.Max(GarbageFloorBytes, cover.LogBytes / 2),
            Damaged = damaged,
        };
    }

    /// <summary>Every byte that the cover names.</summary>
    private void Check(Cover cover, List<string> damaged)
    {
        Compare($"checkpoint {cover.Token}", cover.CheckpointHash, () => HashCheckpoint(cover.Token), damaged);
        for (int i = 0; i < cover.Pieces.Count; i++)
        {
            int piece = i;
            long start = piece * Cover.PieceBytes;
            Compare($"log, bytes {start} to {Math.Min(start + Cover.PieceBytes, cover.LogBytes)}", cover.Pieces[piece], () => HashPiece(piece, cover.LogBytes), damaged);
        }
    }

    private void Compare(string what, byte[] expected, Func<byte[]> hash, List<string> damaged)
    {
        try
        {
            byte[] found = hash();
            if (!found.AsSpan().SequenceEqual(expected))
            {
                damaged.Add($"{_folder}, {what}: found bytes with the hash {Convert.ToHexStringLower(found)}, expected {Convert.ToHexStringLower(expected)} as the cover says");
            }
        }
        catch (Exception absent) when (absent is FileNotFoundException or DirectoryNotFoundException or EndOfStreamException)
        {
            damaged.Add($"{_folder}, {what}: found less than the cover names ({absent.Message}), expected all of it");
        }
    }
}
