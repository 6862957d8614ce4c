using System.Buffers;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Makes blocks of what was written to files: all of it for a commit, or some of it when memory is wanted.</summary>
/// <remarks>
/// A small file is stored whole, as an import would store it. Of a large one only what changed is cut anew: under the fixed rule the pages that were written, or the 16 KiB around them
/// where these lie in small blocks already and would lie in many; under the other from the chunk that it begins in until a cut falls where one was before. All other extents go over as they are, in whole blocks where they can.
/// Safe from many threads, one file each. Holds a window of two chunks, and a chunk for every hand that helps.
/// </remarks>
/// <param name="extents">Gets the hash trees of large files as they are made: who works in such a file looks there next.</param>
/// <param name="wholeBytes">Up to this size the whole file is cut again.</param>
internal sealed class ContentBuilder(IBlockStore blocks, ReadOnlyMemory<byte> chunkerSeed, ContentOptions options, ExtentCache extents, long wholeBytes) : IDisposable
{
    private const int WindowBytes = 2 * BlockLimits.MaxBlockBytes;

    private readonly ChunkCutter _cutter = new(chunkerSeed.Span, options.Bounds);
    private readonly FileContentWriter _whole = new(blocks, chunkerSeed, options);
    private readonly SpareHands _hands = SpareHands.OfThisMachine();

    /// <summary>The content of the file as the view shows it.</summary>
    /// <param name="pace">Asked before each block, or file that is cut as a whole.</param>
    internal async ValueTask<FileContent> BuildAsync(FileView view, CuttingRule rule, int survive, CommitPace pace, CancellationToken cancel)
    {
        await pace.StepAsync().ConfigureAwait(false);
        if (view.Size <= wholeBytes)
        {
            return (await _whole.WriteAsync(new FileViewSource(view), rule, survive, cancel).ConfigureAwait(false)).Content;
        }

        IBlockStore target = blocks.At(survive);
        var result = new ExtentsBuilder(target, options.InlineExtents, extents.Add);
        Extent pending = default;
        long at = 0;
        foreach ((long from, long to) in Ranges(view, rule))
        {
            if (to <= at)
            {
                continue;
            }

            long begin = Math.Max(from, at);
            await CopyAsync(at, begin).ConfigureAwait(false);
            at = begin;
            var cutting = new Cutting(this, target, view, rule, keepTail: false, pace);
            await cutting.RunAsync(begin, to, cancel).ConfigureAwait(false);
            foreach (FilePiece piece in cutting.Pieces)
            {
                await CopyAsync(at, piece.Offset).ConfigureAwait(false);
                var stored = (StoredBlock)piece.Source!;
                await AddAsync(new Extent(piece.Offset, piece.Length, stored.Score, piece.Skip, stored.Bytes)).ConfigureAwait(false);
                at = piece.End;
            }
        }

        await CopyAsync(at, view.Size).ConfigureAwait(false);
        await FlushAsync().ConfigureAwait(false);
        return await result.FinishAsync(rule, cancel).ConfigureAwait(false);

        async ValueTask CopyAsync(long from, long to)
        {
            while (from < to)
            {
                // Most of a large file lies in blocks of extents that nothing touched: they go over unread.
                if (view.TryBlock(from, to, out ExtentsBlockRef named))
                {
                    await FlushAsync().ConfigureAwait(false);
                    if (result.IsAtEnd)
                    {
                        await result.AddBlockAsync(named, cancel).ConfigureAwait(false);
                        from += named.Length;
                        continue;
                    }
                }

                FileSegment segment = view.SegmentAt(from);
                long end = Math.Min(segment.End, to);
                await AddAsync(segment.Slice(from, end).ToExtent()).ConfigureAwait(false);
                from = end;
            }
        }

        // What was cut apart and lies side by side again is one extent.
        async ValueTask AddAsync(Extent extent)
        {
            if (pending.Length > 0 && !pending.IsHole && extent.Score == pending.Score && extent.BlockBytes == pending.BlockBytes && extent.Skip == pending.Skip + pending.Length)
            {
                pending = pending with { Length = pending.Length + extent.Length };
                return;
            }

            await FlushAsync().ConfigureAwait(false);
            pending = extent;
        }

        async ValueTask FlushAsync()
        {
            if (pending.Length > 0)
            {
                await result.AddAsync(pending, cancel).ConfigureAwait(false);
                pending = default;
            }
        }
    }

    /// <summary>Makes blocks of written memory, but for the end of the file, which may go on.</summary>
    /// <param name="all">The end too.</param>
    internal async ValueTask<List<FilePiece>> SpillAsync(FileView view, CuttingRule rule, int survive, bool all, CancellationToken cancel)
    {
        List<FilePiece> pieces = [];
        foreach ((long from, long to) in Ranges(view, rule))
        {
            long begin = pieces.Count > 0 ? Math.Max(from, pieces[^1].End) : from;
            if (begin >= to)
            {
                continue;
            }

            var cutting = new Cutting(this, blocks.At(survive), view, rule, keepTail: !all);
            await cutting.RunAsync(begin, to, cancel).ConfigureAwait(false);
            pieces.AddRange(cutting.Pieces);
        }

        return pieces;
    }

    public void Dispose()
    {
        _cutter.Dispose();
        _whole.Dispose();
    }

    /// <summary>What is to be cut anew: the ranges in memory, from where the rule wants it.</summary>
    private List<(long From, long To)> Ranges(FileView view, CuttingRule rule)
    {
        List<(long From, long To)> ranges = view.MemoryRanges();
        for (int at = 0; at < ranges.Count; at++)
        {
            (long from, long to) = ranges[at];
            ranges[at] = rule == CuttingRule.Fixed ? Widened(view, from, to) : (ChunkStart(view, from), to);
        }

        return ranges;
    }

    /// <summary>To the bounds of pages, or of fixed blocks where those are better made anew; but over no hole.</summary>
    private (long From, long To) Widened(FileView view, long from, long to)
    {
        int before = IsMadeAnew(view, from) ? FixedBytes : PageBytes;
        int behind = IsMadeAnew(view, to - 1) ? FixedBytes : PageBytes;
        long start = from - (from % before);
        for (long at = from; at > start;)
        {
            FileSegment segment = view.SegmentAt(at - 1);
            if (segment.Kind == SegmentKind.Hole)
            {
                start = at;
                break;
            }

            at = segment.Offset;
        }

        long over = to % behind;
        long end = over == 0 ? to : view.DataEnd(to, to - over + behind);
        return (start, Math.Max(end, to));
    }

    /// <summary>Whether the whole fixed block around an offset becomes one: much of it was written, or it would lie in many pieces. Not where that needs a large block read, which would cost more than all the rest.</summary>
    private bool IsMadeAnew(FileView view, long offset)
    {
        const int MostPieces = 3;
        long start = offset - (offset % FixedBytes);
        long end = Math.Min(start + FixedBytes, view.Size);
        int pieces = 0;
        long written = 0;
        for (long at = start; at < end; pieces++)
        {
            FileSegment segment = view.SegmentAt(at);
            if (segment.Kind == SegmentKind.Block && segment.BlockBytes > 4 * FixedBytes)
            {
                return false;
            }

            written += segment.Kind == SegmentKind.Memory ? Math.Min(segment.End, end) - at : 0;
            at = segment.End;
        }

        return pieces > MostPieces || 2 * written >= end - start;
    }

    /// <summary>Where cutting must begin for bytes that were written at an offset: at the chunk before, if these bytes follow it where it ended for want of more or was cut off.</summary>
    private static long ChunkStart(FileView view, long offset)
    {
        if (offset == 0)
        {
            return 0;
        }

        FileSegment before = view.SegmentAt(offset - 1);
        bool isCutOff = before.Kind == SegmentKind.Block && before.Skip + before.Length < before.BlockBytes;
        bool wasLast = before.Kind == SegmentKind.Block && offset == view.CommittedBytes;
        return (isCutOff || wasLast) && before.Length < BlockLimits.MaxBlockBytes ? before.Offset : offset;
    }

    /// <summary>One range on its way into blocks.</summary>
    private sealed class Cutting(ContentBuilder owner, IBlockStore target, FileView view, CuttingRule rule, bool keepTail, CommitPace? pace = null)
    {
        private readonly Queue<(long Offset, int Length, Task<BlockWrite> Writing)> _waiting = new();

        internal List<FilePiece> Pieces { get; } = [];

        /// <param name="to">At the least so far; then on to a cut where one was before.</param>
        internal async ValueTask RunAsync(long from, long to, CancellationToken cancel)
        {
            long wanted = rule == CuttingRule.Fixed ? to - from + owner.FixedBytes : view.Size - from;
            int windowBytes = (int)Math.Clamp(wanted, 2 * owner.FixedBytes, WindowBytes);
            byte[] window = ArrayPool<byte>.Shared.Rent(windowBytes);
            try
            {
                await CutAsync(window.AsMemory(0, windowBytes), from, to, cancel).ConfigureAwait(false);
                await SettleAsync(0).ConfigureAwait(false);
            }
            finally
            {
                // Only after a failure is anything left; it must not go on in a store that the caller may close.
                foreach ((long _, int _, Task<BlockWrite> writing) in _waiting)
                {
                    await ((Task)writing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                ArrayPool<byte>.Shared.Return(window);
            }
        }

        private async ValueTask CutAsync(Memory<byte> window, long from, long to, CancellationToken cancel)
        {
            int filled = 0;
            for (long at = from; at < to || !IsOldStart(at);)
            {
                // The fixed rule stops where it was told to; the other looks a chunk ahead.
                long room = at + window.Length;
                long limit = rule == CuttingRule.Fixed ? Math.Min(to, room - (room % owner.FixedBytes)) : room;
                long dataEnd = view.DataEnd(at, limit);
                int available = (int)(dataEnd - at);
                if (available == 0)
                {
                    if (at >= to)
                    {
                        return;
                    }

                    at = view.SegmentAt(at).End; // a hole within the range
                    filled = 0;
                    continue;
                }

                view.Read(at + filled, window.Span[filled..available]);
                int start = 0;
                bool isEnd = dataEnd < limit || dataEnd == view.Size || rule == CuttingRule.Fixed;
                while (start < available && (isEnd || available - start >= owner._cutter.LookAheadBytes))
                {
                    int length = LengthAt(at + start, window.Span[start..available]);
                    if (keepTail && at + start + length == view.Size && (rule == CuttingRule.ContentDefined || length < owner.FixedBytes))
                    {
                        return;
                    }

                    await EmitAsync(at + start, window.Slice(start, length), cancel).ConfigureAwait(false);
                    start += length;
                    if (at + start >= to && IsOldStart(at + start))
                    {
                        return;
                    }
                }

                window[start..available].CopyTo(window);
                filled = available - start;
                at += start;
            }
        }

        private int LengthAt(long offset, ReadOnlySpan<byte> data)
        {
            int fixedBytes = owner.FixedBytes;
            return rule == CuttingRule.Fixed ? (int)Math.Min(fixedBytes - (offset % fixedBytes), data.Length) : owner._cutter.Cut(data);
        }

        /// <summary>Whether what follows need not be cut: it begins as it did before, or there is nothing.</summary>
        private bool IsOldStart(long offset)
        {
            if (offset >= view.Size || rule == CuttingRule.Fixed)
            {
                return true;
            }

            FileSegment next = view.SegmentAt(offset);
            return next.Kind == SegmentKind.Hole || (next.Kind == SegmentKind.Block && next.Offset == offset && next.Skip == 0);
        }

        private async ValueTask EmitAsync(long offset, Memory<byte> chunk, CancellationToken cancel)
        {
            if (pace is not null)
            {
                await pace.StepAsync().ConfigureAwait(false);
            }

            if (chunk.Length >= owner.FixedBytes && owner._hands.TryTake())
            {
                byte[] copy = ArrayPool<byte>.Shared.Rent(chunk.Length);
                chunk.CopyTo(copy);
                _waiting.Enqueue((offset, chunk.Length, Task.Run(() => WriteByHandAsync(copy, chunk.Length, cancel), CancellationToken.None)));
            }
            else
            {
                BlockWrite write = await target.WriteAsync(BlockType.Data, chunk, cancel).ConfigureAwait(false);
                _waiting.Enqueue((offset, chunk.Length, Task.FromResult(write)));
            }

            await SettleAsync(64).ConfigureAwait(false);
        }

        private async Task<BlockWrite> WriteByHandAsync(byte[] copy, int length, CancellationToken cancel)
        {
            try
            {
                return await target.WriteAsync(BlockType.Data, copy.AsMemory(0, length), cancel).ConfigureAwait(false);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(copy);
                owner._hands.GiveBack();
            }
        }

        private async ValueTask SettleAsync(int most)
        {
            while (_waiting.TryPeek(out (long Offset, int Length, Task<BlockWrite> Writing) first) && (_waiting.Count > most || first.Writing.IsCompleted))
            {
                BlockWrite write = await first.Writing.ConfigureAwait(false);
                _ = _waiting.Dequeue();
                Pieces.Add(new FilePiece { Offset = first.Offset, Length = first.Length, Source = new StoredBlock(write.Score, first.Length) });
            }
        }
    }

    private int FixedBytes => options.FixedChunkBytes;

    /// <summary>What databases and kernels write at once (4 KiB of 16), and the least that becomes a block of its own in a large file.</summary>
    private int PageBytes => options.FixedChunkBytes / 4;
}
