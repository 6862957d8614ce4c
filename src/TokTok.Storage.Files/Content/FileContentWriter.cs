using System.Buffers;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Chunking;

namespace TokTok.Storage.Files;

/// <summary>A file to be stored: its bytes, and where they lie.</summary>
public interface IFileSource
{
    /// <summary>The size when it was opened. What is read decides: a file may shrink or grow meanwhile.</summary>
    long Length { get; }

    /// <summary>Reads at an offset; 0 at the end.</summary>
    ValueTask<int> ReadAsync(long offset, Memory<byte> target, CancellationToken cancel);

    /// <summary>The first stretch of data at or behind an offset; false where only a hole follows. Without holes: all of the file.</summary>
    bool TryFindData(long from, out long start, out long end)
    {
        start = from;
        end = Length;
        return from < Length;
    }
}

/// <summary>Sizes that shape stored content. With other ones it reads alike; only equal ones deduplicate.</summary>
public sealed record ContentOptions
{
    /// <summary>A file of at most so many bytes lies inside its entry.</summary>
    public int InlineBytes { get; init; } = 1024;

    /// <summary>The mean of content-defined chunks; the default: docs/decisions/chunk-size.md.</summary>
    public int MeanChunkBytes { get; init; } = 256 * 1024;

    /// <summary>No chunk but a file's last is shorter; 0: a quarter of the mean.</summary>
    public int MinChunkBytes { get; init; }

    /// <summary>No chunk is longer; 0: four times the mean, at most a block.</summary>
    public int MaxChunkBytes { get; init; }

    internal ChunkBounds Bounds
    {
        get
        {
            ChunkBounds usual = ChunkBounds.ForMean(MeanChunkBytes);
            return new ChunkBounds(
                MinChunkBytes > 0 ? MinChunkBytes : usual.MinBytes, MeanChunkBytes, MaxChunkBytes > 0 ? MaxChunkBytes : usual.MaxBytes, usual.Normalisation);
        }
    }

    /// <summary>The pieces of <see cref="CuttingRule.Fixed"/>.</summary>
    public int FixedChunkBytes { get; init; } = 16 * 1024;

    /// <summary>So many extents lie inside the entry, more in a tree.</summary>
    public int InlineExtents { get; init; } = 4;

    /// <summary>Holes from this size on end a chunk; smaller ones are zeros within it, and holes still among the extents.</summary>
    public int BridgedHoleBytes { get; init; } = 64 * 1024;

    public static ContentOptions Default { get; } = new();
}

/// <summary>What storing a file came to.</summary>
/// <param name="Content">For the file's entry.</param>
/// <param name="DataBytes">Bytes in chunks and inline, holes apart.</param>
/// <param name="ChunkCount">Chunks that the file was cut into.</param>
/// <param name="NewChunkCount">Blocks of type Data that the store did not have: a chunk, or what is new in one.</param>
/// <param name="NewBytes">Plain bytes of the new ones.</param>
/// <param name="StoredBytes">What the new ones take in arenas.</param>
public readonly record struct WrittenContent(FileContent Content, long DataBytes, int ChunkCount, int NewChunkCount, long NewBytes, long StoredBytes);

/// <summary>Cuts files into chunks, writes them as blocks, and gives the content for the file's entry.</summary>
/// <remarks>
/// Format: docs/format.md 13.2 and 13.3; chunking 2.2. Holes: what the source names a hole becomes a hole and nothing else does, however many zeros a
/// file holds, so a restored file takes the disk that the original took. A file without data beyond one chunk costs one write and no tree.
/// Safe from many threads, one file each; a call holds one buffer of at most <see cref="BufferBytes"/>.
/// A large file is cut by its worker while spare hands score, pack and encrypt chunks beside it; extents are added in the file's order whoever is ready first, and a call
/// ends only when no hand works for it any more.
/// </remarks>
public sealed class FileContentWriter : IDisposable
{
    /// <summary>Twice the largest chunk: reads stay large while a cut is looked for.</summary>
    public const int BufferBytes = 2 * BlockLimits.MaxBlockBytes;

    /// <summary>Scores that may wait behind a chunk that a hand has not finished.</summary>
    private const int MaxCutChunks = 64;

    private readonly IBlockStore _blocks;
    private readonly ContentOptions _options;
    private readonly ChunkCutter _cutter;
    private readonly SpareHands _hands;

    /// <param name="chunkerSeed">The domain's gear seed, 32 bytes.</param>
    public FileContentWriter(IBlockStore blocks, ReadOnlyMemory<byte> chunkerSeed, ContentOptions? options = null)
        : this(blocks, chunkerSeed, options, SpareHands.OfThisMachine())
    {
    }

    internal FileContentWriter(IBlockStore blocks, ReadOnlyMemory<byte> chunkerSeed, ContentOptions? options, SpareHands hands)
    {
        _hands = hands;
        _options = options ?? ContentOptions.Default;
        ArgumentOutOfRangeException.ThrowIfGreaterThan(_options.InlineBytes, EntryLimits.MaxInlineContentBytes);
        ArgumentOutOfRangeException.ThrowIfNotEqual(_options.FixedChunkBytes is > 0 and <= BlockLimits.MaxBlockBytes, true);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(_options.BridgedHoleBytes, BlockLimits.MaxBlockBytes);
        _blocks = blocks;
        _cutter = new ChunkCutter(chunkerSeed.Span, _options.Bounds);
    }

    /// <summary>Stores the file as it is read now. Nothing is durable before the store is flushed.</summary>
    public ValueTask<WrittenContent> WriteAsync(IFileSource source, CuttingRule rule, CancellationToken cancel) => WriteAsync(source, rule, _blocks.Survive, cancel);

    /// <summary>Stores the file as it is read now, so that it outlives the loss of so many places. Nothing is durable before the store is flushed.</summary>
    /// <param name="previous">What the file held when it was stored before: chunks that changed little lean on it.</param>
    public async ValueTask<WrittenContent> WriteAsync(IFileSource source, CuttingRule rule, int survive, CancellationToken cancel, FileContent? previous = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        IBlockStore blocks = _blocks.At(survive);
        using PreviousContent? before = previous is null || source.Length < PreviousContent.FromBytes ? null : new PreviousContent(blocks, previous);

        // One byte more than the size, so that the read which fetches a small file also meets its end.
        int capacity = (int)Math.Clamp(source.Length + 1, 4096, BufferBytes);
        byte[] rented = ArrayPool<byte>.Shared.Rent(capacity);
        try
        {
            var run = new Run(this, blocks, source, rule, before, rented.AsMemory(0, rented.Length));
            return await run.WriteAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>Zeroes the chunker's table. No write may run any more.</summary>
    public void Dispose() => _cutter.Dispose();

    /// <summary>One file on its way: a window of its bytes, from the start of the next chunk to what has been read.</summary>
    private sealed class Run(FileContentWriter writer, IBlockStore blocks, IFileSource source, CuttingRule rule, PreviousContent? previous, Memory<byte> window)
    {
        private readonly ExtentsBuilder _extents = new(blocks, writer._options.InlineExtents);

        /// <summary>Small holes whose zeros lie in the window, ascending: at most one each few KiB of it.</summary>
        private readonly Queue<(long Start, long End)> _bridged = new();

        /// <summary>Chunks whose extents are not added yet, in the file's order: the first one, or one before it, is still being written.</summary>
        private readonly Queue<Task<StoredChunk>> _cut = new();
        private Memory<byte> _window = window;
        private byte[]? _grown;
        private long _chunkStart;
        private int _filled;
        private long _dataEnd;
        private long _zerosEnd;
        private bool _stretchEnds;
        private bool _fileEnds;
        private long _holeBytes;
        private long _dataBytes;
        private int _chunks;
        private int _newChunks;
        private long _newBytes;
        private long _storedBytes;

        public async ValueTask<WrittenContent> WriteAsync(CancellationToken cancel)
        {
            try
            {
                while (true)
                {
                    await FillAsync(cancel).ConfigureAwait(false);
                    if (_fileEnds && _extents.Length == 0 && _cut.Count == 0 && _holeBytes == 0 && _bridged.Count == 0 && _filled <= writer._options.InlineBytes)
                    {
                        return new WrittenContent(FileContent.OfInline(rule, _window[.._filled].ToArray()), _filled, 0, 0, 0, 0);
                    }

                    await CutAsync(cancel).ConfigureAwait(false);
                    if (!_stretchEnds)
                    {
                        continue;
                    }

                    if (_holeBytes > 0)
                    {
                        await AddHoleAsync(_holeBytes, cancel).ConfigureAwait(false);
                        _chunkStart += _holeBytes;
                        _holeBytes = 0;
                    }

                    _stretchEnds = false;
                    if (_fileEnds)
                    {
                        await SettleAsync(0, cancel).ConfigureAwait(false);
                        FileContent content = await _extents.FinishAsync(rule, cancel).ConfigureAwait(false);
                        return new WrittenContent(content, _dataBytes, _chunks, _newChunks, _newBytes, _storedBytes);
                    }
                }
            }
            finally
            {
                // Only after a failure is anything left here; it must not go on in a store that the caller may close.
                foreach (Task left in _cut)
                {
                    await left.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                if (_grown is not null)
                {
                    ArrayPool<byte>.Shared.Return(_grown);
                }
            }
        }

        /// <summary>Reads until the window is full, or a hole worth an extent of its own or the end of the file comes.</summary>
        private async ValueTask FillAsync(CancellationToken cancel)
        {
            while (!_stretchEnds)
            {
                if (_filled == _window.Length && !TryGrow())
                {
                    return;
                }

                long at = _chunkStart + _filled;
                if (at < _zerosEnd)
                {
                    int zeros = (int)Math.Min(_zerosEnd - at, _window.Length - _filled);
                    _window.Span.Slice(_filled, zeros).Clear();
                    _filled += zeros;
                    continue;
                }

                if (at >= _dataEnd && at < source.Length)
                {
                    FindData(at);
                    continue;
                }

                // Up to the end of the data that the source named; behind its size whatever still comes.
                long wanted = at < _dataEnd ? _dataEnd - at : _window.Length;
                int ask = (int)Math.Min(wanted, _window.Length - _filled);
                if (ask == wanted && _dataEnd >= source.Length && ask < _window.Length - _filled)
                {
                    ask++;
                }

                int read = await source.ReadAsync(at, _window.Slice(_filled, ask), cancel).ConfigureAwait(false);
                _filled += read;
                if (read == 0 || (read < ask && at + read >= source.Length))
                {
                    _stretchEnds = true;
                    _fileEnds = true;
                }
            }
        }

        private void FindData(long at)
        {
            if (!source.TryFindData(at, out long start, out long end) || start >= source.Length)
            {
                _holeBytes = source.Length - at;
                _stretchEnds = true;
                _fileEnds = true;
                return;
            }

            _dataEnd = Math.Max(Math.Min(end, source.Length), start + 1);
            if (start <= at)
            {
                return;
            }

            if (_filled == 0 || start - at >= writer._options.BridgedHoleBytes)
            {
                _holeBytes = start - at;
                _stretchEnds = true;
                return;
            }

            _bridged.Enqueue((at, start));
            _zerosEnd = start;
        }

        /// <summary>A file that grew past its size needs the full buffer after all.</summary>
        private bool TryGrow()
        {
            if (_window.Length >= BufferBytes)
            {
                return false;
            }

            byte[] larger = ArrayPool<byte>.Shared.Rent(BufferBytes);
            _window.Span[.._filled].CopyTo(larger);
            _window = larger;
            _grown = larger;
            return true;
        }

        /// <summary>Writes the chunks whose end is known, and moves the rest to the front of the window.</summary>
        private async ValueTask CutAsync(CancellationToken cancel)
        {
            int start = 0;
            while (start < _filled && (_stretchEnds || _filled - start >= writer._cutter.LookAheadBytes))
            {
                int fixedBytes = writer._options.FixedChunkBytes;
                int length = rule == CuttingRule.Fixed
                    ? (int)Math.Min(fixedBytes - (_chunkStart % fixedBytes), _filled - start)
                    : writer._cutter.Cut(_window.Span[start.._filled]);
                await EmitAsync(_window.Slice(start, length), cancel).ConfigureAwait(false);
                start += length;
                _chunkStart += length;
            }

            _window[start.._filled].CopyTo(_window);
            _filled -= start;
        }

        private async ValueTask EmitAsync(Memory<byte> chunk, CancellationToken cancel)
        {
            long end = _chunkStart + chunk.Length;
            if (_bridged.TryPeek(out (long Start, long End) only) && only.Start <= _chunkStart && only.End >= end)
            {
                await AddHoleAsync(chunk.Length, cancel).ConfigureAwait(false);
                DropBridgedBefore(end);
                return;
            }

            List<Extent> extents = ExtentsOf(chunk.Length);
            if (source.Length >= SpareHands.FromBytes && writer._hands.TryTake())
            {
                byte[] copy = ArrayPool<byte>.Shared.Rent(chunk.Length);
                chunk.CopyTo(copy);
                _cut.Enqueue(Task.Run(() => StoreByHandAsync(copy, chunk.Length, extents, cancel), CancellationToken.None));
            }
            else
            {
                StoredChunk stored = await StoreAsync(chunk, extents, cancel).ConfigureAwait(false);
                if (_cut.Count == 0)
                {
                    await AddAsync(stored, cancel).ConfigureAwait(false);
                    return;
                }

                _cut.Enqueue(Task.FromResult(stored));
            }

            await SettleAsync(MaxCutChunks, cancel).ConfigureAwait(false);
        }

        private async Task<StoredChunk> StoreByHandAsync(byte[] copy, int length, List<Extent> extents, CancellationToken cancel)
        {
            try
            {
                return await StoreAsync(copy.AsMemory(0, length), extents, cancel).ConfigureAwait(false);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(copy);
                writer._hands.GiveBack();
            }
        }

        /// <summary>Writes the chunk, or what of it the file did not hold before.</summary>
        /// <param name="extents">Its pieces, whose block is not known yet.</param>
        private async ValueTask<StoredChunk> StoreAsync(ReadOnlyMemory<byte> chunk, List<Extent> extents, CancellationToken cancel)
        {
            if (previous is not null && chunk.Length >= PreviousContent.FromBytes && extents.Count == 1)
            {
                Score score = blocks.ScoreOf(BlockType.Data, chunk.Span);
                if (await blocks.ContainsAsync(score, BlockType.Data, cancel).ConfigureAwait(false))
                {
                    return new StoredChunk([extents[0] with { Score = score }], 0, 0, 0);
                }

                long start = extents[0].Offset;
                if (await previous.DescribeAsync(start, chunk, cancel).ConfigureAwait(false) is { } pieces)
                {
                    return await StoreNewPiecesAsync(chunk, start, pieces, cancel).ConfigureAwait(false);
                }
            }

            BlockWrite write = await blocks.WriteAsync(BlockType.Data, chunk, cancel).ConfigureAwait(false);
            for (int i = 0; i < extents.Count; i++)
            {
                Extent extent = extents[i];
                extents[i] = extent.Skip < 0 ? new Extent(0, extent.Length, default, 0, 0) : extent with { Score = write.Score };
            }

            return new StoredChunk(extents, write.IsNew ? 1 : 0, write.IsNew ? chunk.Length : 0, write.StoredBytes);
        }

        private async ValueTask<StoredChunk> StoreNewPiecesAsync(ReadOnlyMemory<byte> chunk, long start, List<Extent> pieces, CancellationToken cancel)
        {
            int newBlocks = 0;
            long newBytes = 0;
            long storedBytes = 0;
            for (int i = 0; i < pieces.Count; i++)
            {
                Extent piece = pieces[i];
                if (piece.Skip >= 0)
                {
                    continue;
                }

                BlockWrite write = await blocks.WriteAsync(BlockType.Data, chunk.Slice((int)(piece.Offset - start), (int)piece.Length), cancel).ConfigureAwait(false);
                pieces[i] = piece with { Score = write.Score, Skip = 0, BlockBytes = (int)piece.Length };
                newBlocks += write.IsNew ? 1 : 0;
                newBytes += write.IsNew ? piece.Length : 0;
                storedBytes += write.StoredBytes;
            }

            return new StoredChunk(pieces, newBlocks, newBytes, storedBytes);
        }

        /// <summary>Adds the extents of chunks that are written, from the first on, and waits while more than <paramref name="most"/> are left.</summary>
        private async ValueTask SettleAsync(int most, CancellationToken cancel)
        {
            while (_cut.TryPeek(out Task<StoredChunk>? first) && (_cut.Count > most || first.IsCompleted))
            {
                StoredChunk stored = await first.ConfigureAwait(false);
                _ = _cut.Dequeue();
                await AddAsync(stored, cancel).ConfigureAwait(false);
            }
        }

        private async ValueTask AddHoleAsync(long bytes, CancellationToken cancel)
        {
            await SettleAsync(0, cancel).ConfigureAwait(false);
            await _extents.AddAsync(new Extent(0, bytes, default, 0, 0), cancel).ConfigureAwait(false);
        }

        private async ValueTask AddAsync(StoredChunk stored, CancellationToken cancel)
        {
            _chunks++;
            _newChunks += stored.NewBlocks;
            _newBytes += stored.NewBytes;
            _storedBytes += stored.StoredBytes;
            foreach (Extent extent in stored.Extents)
            {
                _dataBytes += extent.IsHole ? 0 : extent.Length;
                await _extents.AddAsync(extent, cancel).ConfigureAwait(false);
            }
        }

        /// <summary>The pieces of the chunk at the front: data, and holes between that were too small to end it (with a skip of -1). Their score is not known yet.</summary>
        private List<Extent> ExtentsOf(int chunkBytes)
        {
            List<Extent> extents = new(1);
            long end = _chunkStart + chunkBytes;
            long at = _chunkStart;
            while (at < end)
            {
                bool hasHole = _bridged.TryPeek(out (long Start, long End) hole) && hole.Start < end;
                long dataEnd = hasHole ? Math.Max(hole.Start, at) : end;
                if (dataEnd > at)
                {
                    extents.Add(new Extent(at, dataEnd - at, default, (int)(at - _chunkStart), chunkBytes));
                }

                at = dataEnd;
                if (hasHole)
                {
                    long holeEnd = Math.Min(hole.End, end);
                    extents.Add(new Extent(at, holeEnd - at, default, -1, chunkBytes));
                    at = holeEnd;
                    DropBridgedBefore(at);
                    if (hole.End > end)
                    {
                        break;
                    }
                }
            }

            return extents;
        }

        private void DropBridgedBefore(long offset)
        {
            while (_bridged.TryPeek(out (long Start, long End) hole) && hole.End <= offset)
            {
                _bridged.Dequeue();
            }
        }
    }

    /// <summary>A chunk that the store has: as one block, or as pieces of several.</summary>
    private sealed record StoredChunk(List<Extent> Extents, int NewBlocks, long NewBytes, long StoredBytes);
}
