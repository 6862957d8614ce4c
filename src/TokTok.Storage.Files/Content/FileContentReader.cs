using System.Buffers;
using System.Runtime.CompilerServices;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Reads a stored file at any offset, or goes through its extents.</summary>
/// <remarks>One caller at a time. Holds the way down to the extents last used, and the block of which only a piece was wanted, so that small reads
/// one after the other read each block once. Dispose gives the buffer back.</remarks>
public sealed class FileContentReader(IBlockStore blocks, FileContent content) : IDisposable
{
    private ExtentsBlock? _leaf;
    private long _leafStart;
    private ExtentsBlock? _top;
    private byte[]? _buffer;
    private Score _buffered;
    private int _bufferedBytes;

    public long Size => content.Size;

    /// <summary>Reads at most the target's length; fewer bytes only at the end of the file. Holes read as zeros.</summary>
    public async ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        int total = (int)Math.Min(target.Length, Math.Max(content.Size - offset, 0));
        if (content.Kind == ContentKind.Inline)
        {
            if (total > 0)
            {
                content.Inline.Slice((int)offset, total).CopyTo(target);
            }

            return total;
        }

        int done = 0;
        while (done < total)
        {
            long at = offset + done;
            await SeekAsync(at, cancel).ConfigureAwait(false);
            int index = _leaf!.Find(at - _leafStart);
            Extent extent = _leaf.Extents[index] with { Offset = _leafStart + _leaf.Starts[index] };
            long into = at - extent.Offset;
            int piece = (int)Math.Min(total - done, extent.Length - into);
            await ReadPieceAsync(extent, into, target.Slice(done, piece), cancel).ConfigureAwait(false);
            done += piece;
        }

        return total;
    }

    /// <summary>The extents from the one that holds <paramref name="from"/> on. Inline content has none: read it whole.</summary>
    public async IAsyncEnumerable<Extent> ExtentsAsync(long from = 0, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        if (content.Kind == ContentKind.Inline)
        {
            yield break;
        }

        long at = from;
        while (at < content.Size)
        {
            await SeekAsync(at, cancel).ConfigureAwait(false);
            ExtentsBlock leaf = _leaf!;
            long leafStart = _leafStart;
            for (int index = leaf.Find(at - leafStart); index < leaf.Extents.Length; index++)
            {
                Extent extent = leaf.Extents[index] with { Offset = leafStart + leaf.Starts[index] };
                at = extent.Offset + extent.Length;
                yield return extent;
            }
        }
    }

    /// <summary>Fills the target with the extent's bytes from <paramref name="into"/> on.</summary>
    public async ValueTask ReadPieceAsync(Extent extent, long into, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(into + target.Length, extent.Length);
        if (extent.IsHole)
        {
            target.Span.Clear();
            return;
        }

        if (target.Length == extent.BlockBytes)
        {
            await BlockReading.ReadExactAsync(blocks, extent.Score, BlockType.Data, target, cancel).ConfigureAwait(false);
            return;
        }

        if (_bufferedBytes != extent.BlockBytes || _buffered != extent.Score)
        {
            _bufferedBytes = 0;
            _buffer ??= ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes);
            await BlockReading.ReadExactAsync(blocks, extent.Score, BlockType.Data, _buffer.AsMemory(0, extent.BlockBytes), cancel).ConfigureAwait(false);
            _buffered = extent.Score;
            _bufferedBytes = extent.BlockBytes;
        }

        _buffer.AsMemory(extent.Skip + (int)into, target.Length).CopyTo(target);
    }

    public void Dispose()
    {
        byte[]? buffer = _buffer;
        _buffer = null;
        _bufferedBytes = 0;
        if (buffer is not null)
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Makes <see cref="_leaf"/> the extents around an offset below the size.</summary>
    private async ValueTask SeekAsync(long offset, CancellationToken cancel)
    {
        if (_leaf is not null && offset >= _leafStart && offset - _leafStart < _leaf.Length)
        {
            return;
        }

        if (content.Kind == ContentKind.Extents)
        {
            _leaf = ExtentsBlock.Parse(content.Run, 0);
            _leafStart = 0;
            return;
        }

        ExtentsBlock block = _top ??= await ExtentsBlock.ReadAsync(blocks, content.Top, content.Depth - 1, cancel).ConfigureAwait(false);
        long start = 0;
        while (block.Level > 0)
        {
            int index = block.Find(offset - start);
            start += block.Starts[index];
            block = await ExtentsBlock.ReadAsync(blocks, block.Children[index], block.Level - 1, cancel).ConfigureAwait(false);
        }

        _leaf = block;
        _leafStart = start;
    }
}
