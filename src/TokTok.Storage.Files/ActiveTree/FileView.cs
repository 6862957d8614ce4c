using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

internal enum SegmentKind
{
    Hole,
    Block,

    /// <summary>Bytes that lie in no block: written, or inside the file's entry.</summary>
    Memory,
}

/// <summary>A run of a file's bytes that come from one thing.</summary>
internal readonly record struct FileSegment(SegmentKind Kind, long Offset, long Length)
{
    internal ReadOnlyMemory<byte> Bytes { get; init; }

    internal Score Score { get; init; }

    internal int Skip { get; init; }

    internal int BlockBytes { get; init; }

    internal long End => Offset + Length;

    internal Extent ToExtent() => Kind == SegmentKind.Block ? new Extent(Offset, Length, Score, Skip, BlockBytes) : new Extent(Offset, Length, default, 0, 0);

    internal FileSegment Slice(long from, long to) => this with
    {
        Offset = from,
        Length = to - from,
        Bytes = Kind == SegmentKind.Memory ? Bytes.Slice((int)(from - Offset), (int)(to - from)) : default,
        Skip = Kind == SegmentKind.Block ? Skip + (int)(from - Offset) : 0,
    };
}

/// <summary>A file as it stood at one moment: held pieces over committed content. One caller at a time.</summary>
internal sealed class FileView(ExtentCache extents, DataCache data, FilePiece[] pieces, FileContent content, long baseVisible, long size)
{
    private readonly long _visible = Math.Min(baseVisible, content.Size);
    private ExtentsBlock? _leaf;
    private long _leafStart;
    private int _found; // the piece that was found last: whoever walks along a file comes to it again, or to the next

    internal long Size => size;

    /// <summary>The committed size: content that reached it ended there for want of more.</summary>
    internal long CommittedBytes => content.Size;

    /// <summary>The whole segment around an offset below the size.</summary>
    internal FileSegment SegmentAt(long offset)
    {
        int at = FindFrom(offset);
        if (at < pieces.Length && pieces[at].Offset <= offset)
        {
            FilePiece piece = pieces[at];
            FileSegment found = piece.Source switch
            {
                DirtyBuffer buffer => new FileSegment(SegmentKind.Memory, piece.Offset, piece.Length) { Bytes = buffer.Bytes.AsMemory(piece.Skip, (int)piece.Length) },
                StoredBlock block => new FileSegment(SegmentKind.Block, piece.Offset, piece.Length) { Score = block.Score, Skip = piece.Skip, BlockBytes = block.Bytes },
                _ => new FileSegment(SegmentKind.Hole, piece.Offset, piece.Length),
            };
            return piece.End <= size ? found : found.Slice(piece.Offset, size);
        }

        long from = at > 0 ? pieces[at - 1].End : 0;
        long to = Math.Min(size, at < pieces.Length ? pieces[at].Offset : size);
        if (offset >= _visible)
        {
            from = Math.Max(from, _visible);
            return new FileSegment(SegmentKind.Hole, from, to - from);
        }

        to = Math.Min(to, _visible);
        if (content.Kind == ContentKind.Inline)
        {
            return new FileSegment(SegmentKind.Memory, from, to - from) { Bytes = content.Inline.Slice((int)from, (int)(to - from)) };
        }

        if (_leaf is null || offset < _leafStart || offset - _leafStart >= _leaf.Length)
        {
            _leaf = extents.LeafAt(content, offset, out _leafStart);
        }

        int index = _leaf.Find(offset - _leafStart);
        Extent extent = _leaf.Extents[index];
        long start = _leafStart + _leaf.Starts[index];
        var whole = new FileSegment(extent.IsHole ? SegmentKind.Hole : SegmentKind.Block, start, extent.Length)
        {
            Score = extent.Score,
            Skip = extent.Skip,
            BlockBytes = extent.BlockBytes,
        };
        from = Math.Max(from, start);
        to = Math.Min(to, whole.End);
        return from == start && to == whole.End ? whole : whole.Slice(from, to);
    }

    /// <summary>What shows in a range below the size, as pieces for another place: ascending, without gaps. Written memory is shared, and held for each piece.</summary>
    /// <param name="shift">From here to there.</param>
    /// <param name="memory">For what lies inside the file's entry, which is copied.</param>
    /// <param name="sharedBytes">Of written memory.</param>
    internal List<FilePiece> PiecesOf(long from, long to, long shift, DirtyMemory memory, out long sharedBytes)
    {
        List<FilePiece> result = new(pieces.Length + 16);
        sharedBytes = 0;
        try
        {
            for (long at = from; at < to;)
            {
                FilePiece piece = PieceAt(at, to, memory);
                sharedBytes += piece.Source is DirtyBuffer ? piece.Length : 0;
                result.Add(piece with { Offset = at + shift });
                at = piece.End;
            }
        }
        catch
        {
            FileOverlay.Thaw([.. result]);
            throw;
        }

        return result;
    }

    private FilePiece PieceAt(long from, long limit, DirtyMemory memory)
    {
        int index = FindFrom(from);
        if (index < pieces.Length && pieces[index].Offset <= from)
        {
            FilePiece piece = pieces[index];
            (piece.Source as DirtyBuffer)?.Hold();
            return piece.Slice(from, Math.Min(piece.End, limit)) with { IsLogged = false };
        }

        FileSegment segment = SegmentAt(from);
        segment = segment.Slice(from, Math.Min(segment.End, limit));
        var found = new FilePiece { Offset = from, Length = segment.Length, Skip = segment.Skip };
        switch (segment.Kind)
        {
            case SegmentKind.Block:
                return found with { Source = new StoredBlock(segment.Score, segment.BlockBytes) };
            case SegmentKind.Memory:
                DirtyBuffer copy = memory.Rent(segment.Bytes.Length);
                segment.Bytes.CopyTo(copy.Bytes);
                copy.Used = segment.Bytes.Length;
                copy.IsFrozen = true;
                return found with { Source = copy };
            default:
                return found;
        }
    }

    /// <summary>The committed block of extents that begins at an offset and shows as it was, all of it before a limit; a tree's last one only where the file still ends with it.</summary>
    internal bool TryBlock(long offset, long limit, out ExtentsBlockRef named)
    {
        named = default;
        bool isWithin = _leaf is not null && offset > _leafStart && offset - _leafStart < _leaf.Length;
        if (isWithin || content.Kind != ContentKind.Tree || content.Depth < 2 || offset >= _visible)
        {
            return false;
        }

        named = extents.LeafRefAt(content, offset, out long start);
        long end = start + named.Length;
        if (start != offset || end > Math.Min(limit, _visible) || (end == content.Size && end != size))
        {
            return false;
        }

        int at = FindFrom(start);
        return at == pieces.Length || pieces[at].Offset >= end;
    }

    /// <summary>Where the data that an offset lies in ends: at a hole, the file's end, or the limit.</summary>
    internal long DataEnd(long offset, long limit)
    {
        long end = Math.Min(limit, size);
        while (offset < end && SegmentAt(offset) is { Kind: not SegmentKind.Hole } segment)
        {
            offset = segment.End;
        }

        return Math.Min(offset, end);
    }

    /// <summary>Fills the span, which ends at or before the end of the file.</summary>
    internal void Read(long offset, Span<byte> target)
    {
        while (!target.IsEmpty)
        {
            FileSegment segment = SegmentAt(offset);
            int count = (int)Math.Min(target.Length, segment.End - offset);
            int into = (int)(offset - segment.Offset);
            switch (segment.Kind)
            {
                case SegmentKind.Memory:
                    segment.Bytes.Span.Slice(into, count).CopyTo(target);
                    break;
                case SegmentKind.Block:
                    data.Read(segment.Score, segment.BlockBytes, segment.Skip + into, target[..count]);
                    break;
                default:
                    target[..count].Clear();
                    break;
            }

            offset += count;
            target = target[count..];
        }
    }

    /// <summary>The ranges that lie in no block, ascending, each as long as it goes.</summary>
    internal List<(long From, long To)> MemoryRanges()
    {
        List<(long From, long To)> ranges = [];
        if (content.Kind == ContentKind.Inline)
        {
            // Few pieces, or little that shows between them: the whole of it is at most 16 KiB.
            for (long at = 0; at < Math.Min(_visible, size);)
            {
                FileSegment segment = SegmentAt(at);
                Add(segment);
                at = segment.End;
            }
        }

        int first = ranges.Count == 0 ? 0 : FindFrom(_visible);
        for (int at = first; at < pieces.Length; at++)
        {
            if (pieces[at].Source is DirtyBuffer && pieces[at].Offset < size)
            {
                AddRange(pieces[at].Offset, Math.Min(pieces[at].End, size));
            }
        }

        return ranges;

        void Add(in FileSegment segment)
        {
            if (segment.Kind == SegmentKind.Memory)
            {
                AddRange(segment.Offset, segment.End);
            }
        }

        void AddRange(long from, long to)
        {
            if (ranges.Count > 0 && ranges[^1].To >= from)
            {
                ranges[^1] = (ranges[^1].From, Math.Max(ranges[^1].To, to));
            }
            else
            {
                ranges.Add((from, to));
            }
        }
    }

    /// <summary>The first piece that ends behind an offset, or the count.</summary>
    private int FindFrom(long offset)
    {
        if (IsFrom(_found, offset) || IsFrom(++_found, offset))
        {
            return _found;
        }

        int low = 0;
        int high = pieces.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (pieces[middle].End > offset)
            {
                high = middle;
            }
            else
            {
                low = middle + 1;
            }
        }

        return _found = low;
    }

    private bool IsFrom(int index, long offset) =>
        index <= pieces.Length && (index == pieces.Length || pieces[index].End > offset) && (index == 0 || pieces[index - 1].End <= offset);
}

/// <summary>A view as a file to be stored whole.</summary>
internal sealed class FileViewSource(FileView view) : IFileSource
{
    public long Length => view.Size;

    public ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
    {
        int bytes = (int)Math.Clamp(view.Size - offset, 0, target.Length);
        view.Read(offset, target.Span[..bytes]);
        return ValueTask.FromResult(bytes);
    }

    public bool TryFindData(long from, out long start, out long end)
    {
        start = from;
        while (start < view.Size && view.SegmentAt(start) is { Kind: SegmentKind.Hole } hole)
        {
            start = hole.End;
        }

        end = view.DataEnd(start, view.Size);
        return start < view.Size;
    }
}
