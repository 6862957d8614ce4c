using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Index;

/// <summary>Writes one run from entries that come in ascending order of their scores.</summary>
/// <remarks>
/// Format: docs/format.md 16.2. Filter, fences and pages are written side by side, each at its own place in the file, so that memory stays the same however many entries come.
/// Durable, and a run at all, once <see cref="Finish"/> returned: until then the file has no header.
/// Not safe from many threads.
/// </remarks>
internal sealed class IndexRunWriter : IDisposable
{
    private const int BufferBytes = 128 << 10;

    /// <summary>What may be waiting in the kernel for the disk: a sync of a gigabyte at once would hold up everybody else's.</summary>
    private const long SyncEveryBytes = 64L << 20;

    private readonly IDiskFile _file;
    private readonly RunHeader _places;
    private readonly Region _filter;
    private readonly Region _fences;
    private readonly Region _pages;
    private readonly ulong[] _block = new ulong[RunFilter.BlockBytes / sizeof(ulong)];
    private readonly byte[] _page = new byte[IndexRun.PageBytes];
    private long _blockNumber;
    private int _inPage;
    private uint _pageCount;
    private long _entries;
    private long _bytesAtSync;

    /// <param name="maxEntries">No more will come; fewer may.</param>
    internal IndexRunWriter(IDisk disk, string path, ulong number, long maxEntries)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxEntries, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maxEntries, RunHeader.MaxEntries);
        _places = new RunHeader
        {
            Number = number,
            Entries = maxEntries,
            FilterBlocks = (uint)RunFilter.BlocksFor(maxEntries),
            FenceSlots = (uint)((maxEntries + IndexRun.EntriesPerPage - 1) / IndexRun.EntriesPerPage),
            Pages = 0,
            HeadHash = new byte[Blake3.HashSize],
        };
        _file = disk.Open(path, DiskOpen.CreateNew);
        _filter = new Region(_file, RunHeader.FilterOffset);
        _fences = new Region(_file, _places.FencesOffset);
        _pages = new Region(_file, _places.PagesOffset);
    }

    internal void Append(in IndexEntry entry)
    {
        long block = RunFilter.BlockOf(entry.Score, _places.FilterBlocks);
        while (_blockNumber < block)
        {
            WriteBlock();
        }

        RunFilter.Set(_block, entry.Score);
        if (_inPage == 0)
        {
            Span<byte> fence = stackalloc byte[sizeof(ulong)];
            BinaryPrimitives.WriteUInt64LittleEndian(fence, entry.Score.Bytes.First);
            _fences.Append(fence);
        }

        entry.Write(_page.AsSpan(IndexRun.PageHeaderBytes + (_inPage * IndexEntry.Size)));
        _entries++;
        if (++_inPage == IndexRun.EntriesPerPage)
        {
            WritePage();
        }
    }

    /// <summary>Completes the run and syncs it; its name is the caller's to make durable. Returns its entries.</summary>
    internal long Finish()
    {
        if (_inPage > 0)
        {
            WritePage();
        }

        while (_blockNumber < _places.FilterBlocks)
        {
            WriteBlock();
        }

        _filter.Flush();
        _fences.Flush();
        _pages.Flush();
        RunHeader header = _places with { Entries = _entries, Pages = _pageCount, HeadHash = HashHead() };
        _file.Write(0, header.Encode());
        _file.Sync();
        return _entries;
    }

    public void Dispose() => _file.Dispose();

    private void WriteBlock()
    {
        Span<byte> bytes = stackalloc byte[RunFilter.BlockBytes];
        for (int i = 0; i < _block.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[(i * sizeof(ulong))..], _block[i]);
        }

        _filter.Append(bytes);
        _block.AsSpan().Clear();
        _blockNumber++;
    }

    private void WritePage()
    {
        IndexRun.CompletePage(_page, _inPage, _places.Number, _pageCount);
        _pages.Append(_page);
        _page.AsSpan().Clear();
        _inPage = 0;
        _pageCount++;
        if (_pages.Bytes - _bytesAtSync >= SyncEveryBytes)
        {
            _bytesAtSync = _pages.Bytes;
            _file.Sync();
        }
    }

    /// <summary>The filter's bytes, then the fences': two regions that were written side by side, read back from the page cache.</summary>
    private byte[] HashHead()
    {
        using var hasher = Blake3Hasher.Create();
        byte[] buffer = new byte[BufferBytes];
        HashRange(hasher, buffer, RunHeader.FilterOffset, (long)_places.FilterBlocks * RunFilter.BlockBytes);
        HashRange(hasher, buffer, _places.FencesOffset, (long)_pageCount * sizeof(ulong));
        byte[] hash = new byte[Blake3.HashSize];
        hasher.Finish(hash);
        return hash;
    }

    private void HashRange(Blake3Hasher hasher, byte[] buffer, long offset, long bytes)
    {
        while (bytes > 0)
        {
            Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, bytes));
            if (_file.Read(offset, part) != part.Length)
            {
                throw new DiskException(DiskFailure.Failed, "read", IndexRun.NameOf(_places.Number), "what was just written is not there");
            }

            hasher.Update(part);
            offset += part.Length;
            bytes -= part.Length;
        }
    }

    /// <summary>One of the streams that a run's file is made of.</summary>
    private sealed class Region(IDiskFile file, long offset)
    {
        private readonly byte[] _buffer = new byte[BufferBytes];
        private int _used;

        internal long Bytes { get; private set; }

        internal void Append(ReadOnlySpan<byte> bytes)
        {
            if (_used + bytes.Length > _buffer.Length)
            {
                Flush();
            }

            bytes.CopyTo(_buffer.AsSpan(_used));
            _used += bytes.Length;
        }

        internal void Flush()
        {
            if (_used > 0)
            {
                file.Write(offset + Bytes, _buffer.AsSpan(0, _used));
                Bytes += _used;
                _used = 0;
            }
        }
    }
}
