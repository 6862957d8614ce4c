using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Index;

/// <summary>An entry of the index.</summary>
/// <remarks>Format: docs/format.md 16.2.</remarks>
internal readonly record struct IndexEntry(Score Score, BlockLocation Location)
{
    internal const int Size = Score.Size + (3 * sizeof(uint));

    internal static IndexEntry Read(ReadOnlySpan<byte> source) => new(Score.Read(source), ReadLocation(source));

    internal static BlockLocation ReadLocation(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt32LittleEndian(source[Score.Size..]),
        BinaryPrimitives.ReadInt32LittleEndian(source[(Score.Size + 4)..]),
        BinaryPrimitives.ReadInt32LittleEndian(source[(Score.Size + 8)..]));

    internal void Write(Span<byte> target)
    {
        Score.Write(target);
        BinaryPrimitives.WriteUInt32LittleEndian(target[Score.Size..], Location.ArenaOrdinal);
        BinaryPrimitives.WriteInt32LittleEndian(target[(Score.Size + 4)..], Location.Offset);
        BinaryPrimitives.WriteInt32LittleEndian(target[(Score.Size + 8)..], Location.Length);
    }
}

/// <summary>What a run's first page says.</summary>
/// <remarks>Format: docs/format.md 16.2. The filter and the fences follow it, then the pages: all places are known before the first entry is written.</remarks>
internal sealed record RunHeader
{
    internal const int Size = 8 + sizeof(ulong) + sizeof(long) + (3 * sizeof(uint)) + 4 + (2 * Blake3.HashSize);

    /// <summary>44 bytes each in pages of 4 KiB come to less than 2^37 bytes.</summary>
    internal const long MaxEntries = 1L << 31;

    internal required ulong Number { get; init; }

    internal required long Entries { get; init; }

    internal required uint FilterBlocks { get; init; }

    /// <summary>Places for fences, one each page; those beyond the pages are unused.</summary>
    internal required uint FenceSlots { get; init; }

    internal required uint Pages { get; init; }

    /// <summary>The hash of the filter and the fences that count.</summary>
    internal required byte[] HeadHash { get; init; }

    internal static long FilterOffset => IndexRun.PageBytes;

    internal long FencesOffset => FilterOffset + ((long)FilterBlocks * RunFilter.BlockBytes);

    internal long PagesOffset => (FencesOffset + ((long)FenceSlots * sizeof(ulong)) + IndexRun.PageBytes - 1) / IndexRun.PageBytes * IndexRun.PageBytes;

    internal long FileBytes => PagesOffset + ((long)Pages * IndexRun.PageBytes);

    private static ReadOnlySpan<byte> Magic => "TDFSRUN1"u8;

    internal byte[] Encode()
    {
        var writer = new FieldWriter(Size);
        writer.Bytes(Magic);
        writer.U64(Number);
        writer.I64(Entries);
        writer.U32(FilterBlocks);
        writer.U32(FenceSlots);
        writer.U32(Pages);
        writer.Reserved(4);
        writer.Bytes(HeadHash);
        byte[] covered = writer.ToArray();
        Blake3.Hash(covered, writer.Take(Blake3.HashSize));
        return writer.ToArray();
    }

    internal static RunHeader Decode(ReadOnlySpan<byte> bytes, string where)
    {
        var reader = new FieldReader(bytes, where);
        reader.Magic(Magic);
        var header = new RunHeader
        {
            Number = reader.U64(),
            Entries = reader.I64(),
            FilterBlocks = reader.U32(),
            FenceSlots = reader.U32(),
            Pages = reader.U32(),
            HeadHash = ReadHash(ref reader),
        };
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(bytes[..reader.Position], checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("its header does not match its checksum");
        }

        long pages = (header.Entries + IndexRun.EntriesPerPage - 1) / IndexRun.EntriesPerPage;
        return header.Entries is > 0 and <= MaxEntries && header.Pages == pages && header.FenceSlots >= pages
            && header.FilterBlocks > 0 && header.FilterBlocks <= RunFilter.BlocksFor(MaxEntries) && header.FenceSlots <= MaxEntries / IndexRun.EntriesPerPage * 2
            ? header
            : throw reader.Damaged($"{header.Entries} entries, {header.Pages} pages, {header.FenceSlots} fences and {header.FilterBlocks} blocks of the filter do not fit together");
    }

    private static byte[] ReadHash(ref FieldReader reader)
    {
        reader.Reserved(4);
        return reader.Bytes(Blake3.HashSize).ToArray();
    }
}

/// <summary>Entries sorted by score in one file that never changes: in memory its filter and its fences, on the disk its pages.</summary>
/// <remarks>
/// Format: docs/format.md 16.2. A *fence* is the first word of a page's first score; between fences a look-up knows the one page that may have a score, so it costs one read of 4 KiB.
/// Where memory is short only every 2nd, 4th, … fence is kept, and so many pages are read together.
/// Checked: header, filter and fences at open, by BLAKE3; each page whenever it is read, by a CRC-32C that also says which page of which run it is. A damaged page is an exception, never an answer.
/// Safe from many threads; whoever folds or disposes has seen to it that nobody asks.
/// </remarks>
internal sealed class IndexRun : IDisposable
{
    internal const int PageBytes = 4096;
    internal const int PageHeaderBytes = sizeof(uint) + sizeof(ushort) + 2;
    internal const int EntriesPerPage = (PageBytes - PageHeaderBytes) / IndexEntry.Size;
    private const int LoadBytes = 256 << 10;
    private const int MaxPagesPerRead = 64;

    private readonly IDiskFile _file;
    private readonly RunHeader _header;
    private readonly RunFilter _filter;
    private readonly ulong[] _fences;
    private readonly int _pagesPerRead;

    private IndexRun(IDiskFile file, RunHeader header, string name, long filterBytes, long fenceBytes)
    {
        _file = file;
        _header = header;
        Name = name;
        while (_pagesPerRead < MaxPagesPerRead && (_pagesPerRead == 0 || FenceCount(header.Pages, _pagesPerRead) * sizeof(ulong) > fenceBytes))
        {
            _pagesPerRead = Math.Max(1, 2 * _pagesPerRead);
        }

        int folds = 0;
        while (RunFilter.BytesOf(header.FilterBlocks, folds) > Math.Max(filterBytes, RunFilter.BlockBytes))
        {
            folds++;
        }

        _fences = new ulong[FenceCount(header.Pages, _pagesPerRead)];
        _filter = new RunFilter(header.FilterBlocks, folds);
    }

    internal string Name { get; }

    internal ulong Number => _header.Number;

    internal long Entries => _header.Entries;

    internal uint Pages => _header.Pages;

    internal long FileBytes => _header.FileBytes;

    internal long FilterBytes => _filter.MemoryBytes;

    internal long FenceBytes => (long)_fences.Length * sizeof(ulong);

    internal static string NameOf(ulong number) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"run-{number}");

    /// <summary>Opens a run and takes its head into memory.</summary>
    /// <param name="filterBytes">Memory that its filter may take.</param>
    /// <param name="fenceBytes">Memory that its fences may take.</param>
    /// <exception cref="DamagedFormatException">It is not the run of this number and count, or its head is damaged.</exception>
    internal static IndexRun Open(IDisk disk, string path, ulong number, long entries, long filterBytes, long fenceBytes)
    {
        IDiskFile file = disk.Open(path, DiskOpen.Read);
        IndexRun? run = null;
        try
        {
            byte[] head = new byte[RunHeader.Size];
            RunHeader header = RunHeader.Decode(head.AsSpan(0, file.Read(0, head)), path);
            if (header.Number != number || header.Entries != entries || file.Length < header.FileBytes)
            {
                throw new DamagedFormatException($"{path}: run {header.Number} of {header.Entries} entries in {file.Length} bytes found, run {number} of {entries} in {header.FileBytes} expected");
            }

            run = new IndexRun(file, header, path, filterBytes, fenceBytes);
            run.LoadHead();
            return run;
        }
        catch
        {
            run?._filter.Dispose();
            file.Dispose();
            throw;
        }
    }

    /// <exception cref="DamagedFormatException">The page that should have it is damaged.</exception>
    internal bool TryFind(Score score, out BlockLocation location)
    {
        if (!_filter.MayHold(score))
        {
            location = default;
            return false;
        }

        ulong first = score.Bytes.First;
        int at = Array.BinarySearch(_fences, first);
        int group = Math.Max(0, at < 0 ? ~at - 1 : LastEqual(at));
        byte[]? rented = _pagesPerRead > 1 ? ArrayPool<byte>.Shared.Rent(_pagesPerRead * PageBytes) : null;
        Span<byte> pages = rented ?? stackalloc byte[PageBytes];
        try
        {
            while (!TryFindInGroup(group, score, pages, out location))
            {
                // Scores of one first word may lie on both sides of a fence.
                if (group == 0 || _fences[group] != first)
                {
                    return false;
                }

                group--;
            }

            return true;
        }
        finally
        {
            if (rented is not null)
            {
                ArrayPool<byte>.Shared.Return(rented);
            }
        }
    }

    /// <summary>Reads pages one after another, each checked. Returns how many.</summary>
    internal int ReadPages(long firstPage, Span<byte> target)
    {
        int count = (int)Math.Min(target.Length / PageBytes, _header.Pages - firstPage);
        Span<byte> pages = target[..(count * PageBytes)];
        if (_file.Read(_header.PagesOffset + (firstPage * PageBytes), pages) != pages.Length)
        {
            throw new DamagedFormatException($"{Name}: it ends before page {firstPage + count}, {_header.Pages} expected");
        }

        for (int i = 0; i < count; i++)
        {
            CheckPage(pages.Slice(i * PageBytes, PageBytes), firstPage + i);
        }

        return count;
    }

    internal static int CountIn(ReadOnlySpan<byte> page) => BinaryPrimitives.ReadUInt16LittleEndian(page[sizeof(uint)..]);

    internal static ReadOnlySpan<byte> EntryIn(ReadOnlySpan<byte> page, int index) => page.Slice(PageHeaderBytes + (index * IndexEntry.Size), IndexEntry.Size);

    /// <summary>Fills in what stands before a page's entries.</summary>
    internal static void CompletePage(Span<byte> page, int count, ulong runNumber, long pageNumber)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(page[sizeof(uint)..], (ushort)count);
        BinaryPrimitives.WriteUInt32LittleEndian(page, Checksum(page, runNumber, pageNumber));
    }

    internal void FoldFilter() => _filter.Fold();

    public void Dispose()
    {
        _filter.Dispose();
        _file.Dispose();
    }

    private static long FenceCount(uint pages, int pagesPerRead) => (pages + pagesPerRead - 1L) / pagesPerRead;

    private static uint Checksum(ReadOnlySpan<byte> page, ulong runNumber, long pageNumber)
    {
        uint crc = BitOperations.Crc32C(BitOperations.Crc32C(uint.MaxValue, runNumber), (ulong)pageNumber);
        crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt32LittleEndian(page[sizeof(uint)..]));
        foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(page[(2 * sizeof(uint))..]))
        {
            crc = BitOperations.Crc32C(crc, BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word));
        }

        return crc;
    }

    private int LastEqual(int at)
    {
        while (at + 1 < _fences.Length && _fences[at + 1] == _fences[at])
        {
            at++;
        }

        return at;
    }

    private bool TryFindInGroup(int group, Score score, Span<byte> buffer, out BlockLocation location)
    {
        long firstPage = (long)group * _pagesPerRead;
        int count = (int)Math.Min(_pagesPerRead, _header.Pages - firstPage);
        Span<byte> pages = buffer[..(count * PageBytes)];
        if (_file.Read(_header.PagesOffset + (firstPage * PageBytes), pages) != pages.Length)
        {
            throw new DamagedFormatException($"{Name}: it ends before page {firstPage + count}, {_header.Pages} expected");
        }

        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> page = pages.Slice(i * PageBytes, PageBytes);
            CheckPage(page, firstPage + i);
            if (i + 1 < count && Score.Read(EntryIn(page, CountIn(page) - 1)) < score)
            {
                continue;
            }

            return TryFindInPage(page, score, out location);
        }

        location = default;
        return false;
    }

    private static bool TryFindInPage(ReadOnlySpan<byte> page, Score score, out BlockLocation location)
    {
        int low = 0;
        int high = CountIn(page) - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            ReadOnlySpan<byte> entry = EntryIn(page, middle);
            int order = Score.Read(entry).CompareTo(score);
            if (order == 0)
            {
                location = IndexEntry.ReadLocation(entry);
                return true;
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

        location = default;
        return false;
    }

    private void CheckPage(ReadOnlySpan<byte> page, long number)
    {
        uint found = BinaryPrimitives.ReadUInt32LittleEndian(page);
        uint expected = Checksum(page, _header.Number, number);
        long wanted = Math.Min(EntriesPerPage, _header.Entries - (number * EntriesPerPage));
        if (found != expected || CountIn(page) != wanted)
        {
            throw new DamagedFormatException($"{Name}, page {number}: found checksum {found:x8} and {CountIn(page)} entries, expected {expected:x8} and {wanted}");
        }
    }

    private void LoadHead()
    {
        using var hasher = Blake3Hasher.Create();
        byte[] buffer = ArrayPool<byte>.Shared.Rent(LoadBytes);
        try
        {
            long filterBytes = (long)_header.FilterBlocks * RunFilter.BlockBytes;
            for (long done = 0; done < filterBytes;)
            {
                Span<byte> part = ReadHead(RunHeader.FilterOffset + done, filterBytes - done, buffer, hasher);
                _filter.Load(done / RunFilter.BlockBytes, Words(part));
                done += part.Length;
            }

            long fencesBytes = (long)_header.Pages * sizeof(ulong);
            for (long done = 0; done < fencesBytes;)
            {
                Span<byte> part = ReadHead(_header.FencesOffset + done, fencesBytes - done, buffer, hasher);
                Span<ulong> fences = Words(part);
                for (int i = 0; i < fences.Length; i++)
                {
                    long page = (done / sizeof(ulong)) + i;
                    if (page % _pagesPerRead == 0)
                    {
                        _fences[page / _pagesPerRead] = fences[i];
                    }
                }

                done += part.Length;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        hasher.Finish(hash);
        if (!hash.SequenceEqual(_header.HeadHash))
        {
            throw new DamagedFormatException($"{Name}: filter and fences with the hash {Convert.ToHexStringLower(hash)} found, {Convert.ToHexStringLower(_header.HeadHash)} expected");
        }
    }

    private Span<byte> ReadHead(long offset, long left, byte[] buffer, Blake3Hasher hasher)
    {
        Span<byte> part = buffer.AsSpan(0, (int)Math.Min(LoadBytes, left));
        if (_file.Read(offset, part) != part.Length)
        {
            throw new DamagedFormatException($"{Name}: it ends before its filter and fences do");
        }

        hasher.Update(part);
        return part;
    }

    private static Span<ulong> Words(Span<byte> bytes)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        if (!BitConverter.IsLittleEndian)
        {
            BinaryPrimitives.ReverseEndianness(words, words);
        }

        return words;
    }
}
