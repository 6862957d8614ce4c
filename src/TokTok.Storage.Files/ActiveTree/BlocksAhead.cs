namespace TokTok.Storage.Files;

/// <summary>Fetches blocks into the cache ahead of whoever reads a file in a row, beside the reader: decoding a block takes about as long as everything else of a read.</summary>
/// <remarks>
/// Only hands that are free: a tree has twice as many as there are processors, for a part of them waits for a disk or for somebody far away. What cannot be fetched is left to the reader, who then learns why.
/// Bound: <see cref="WindowBytes"/> and a block a handle, in the cache's own bound. Safe from many threads.
/// </remarks>
internal sealed class BlocksAhead(ExtentCache extents, DataCache data) : IAsyncDisposable
{
    /// <summary>So far ahead of where the reader is.</summary>
    internal const int WindowBytes = 4 << 20;

    private static readonly int s_hands = Math.Clamp(2 * Environment.ProcessorCount, 4, 16);

    private readonly SemaphoreSlim _free = new(s_hands, s_hands);
    private volatile bool _isOver;

    /// <summary>A read of committed content.</summary>
    internal void Read(ReadRow row, FileContent content, long offset, int bytes)
    {
        if (!row.Goes(offset, bytes, content.Size) || _isOver || content.Kind == ContentKind.Inline || !_free.Wait(0))
        {
            return;
        }

        _ = Task.Run(() =>
        {
            try
            {
                Fetch(row, content);
            }
            catch (Exception failure) when (Trouble.TryTell(failure, out _))
            {
                // The reader will be told when it gets there.
            }
            finally
            {
                _ = _free.Release();
            }
        });
    }

    /// <summary>Returns when nothing is being fetched and nothing will be.</summary>
    public async ValueTask DisposeAsync()
    {
        _isOver = true;
        for (int hand = 0; hand < s_hands; hand++)
        {
            await _free.WaitAsync().ConfigureAwait(false);
        }

        _free.Dispose();
    }

    private void Fetch(ReadRow row, FileContent content)
    {
        while (!_isOver && row.TryNext(content.Size, out long at))
        {
            ExtentsBlock leaf = extents.LeafAt(content, at, out long leafStart);
            int index = leaf.Find(at - leafStart);
            Extent extent = leaf.Extents[index];
            if (row.TryClaim(at, leafStart + leaf.Starts[index] + extent.Length) && !extent.IsHole)
            {
                data.Touch(extent.Score, extent.BlockBytes);
            }
        }
    }
}

/// <summary>How a handle reads, and how far its blocks are fetched. Safe from many threads.</summary>
internal sealed class ReadRow
{
    /// <summary>After so much in a row it is worth it.</summary>
    private const int FromBytes = 512 << 10;

    /// <summary>The kernel's requests of one reader overtake one another by so much.</summary>
    private const int NearBytes = 1 << 20;

    private readonly Lock _gate = new();
    private long _end;
    private long _bytes;
    private long _next;

    /// <summary>Takes note of a read. True: it goes on in a row, and something ahead of it is not fetched yet.</summary>
    internal bool Goes(long offset, int bytes, long size)
    {
        lock (_gate)
        {
            bool isNear = Math.Abs(offset - _end) <= NearBytes;
            _bytes = isNear ? _bytes + bytes : 0;
            _end = isNear ? Math.Max(_end, offset + bytes) : offset + bytes;
            _next = isNear ? Math.Max(_next, _end) : _end;
            return _bytes >= FromBytes && _next < Limit(size);
        }
    }

    /// <summary>Where the next block to be fetched begins. False: none is, for now.</summary>
    internal bool TryNext(long size, out long at)
    {
        lock (_gate)
        {
            at = _next;
            return at < Limit(size);
        }
    }

    /// <summary>False: another hand has it.</summary>
    internal bool TryClaim(long at, long end)
    {
        lock (_gate)
        {
            bool isMine = _next == at;
            _next = isMine ? end : _next;
            return isMine;
        }
    }

    private long Limit(long size) => Math.Min(size, _end + BlocksAhead.WindowBytes);
}
