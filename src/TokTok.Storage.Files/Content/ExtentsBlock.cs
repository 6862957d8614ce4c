using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A child of a node of a file's hash tree.</summary>
internal readonly record struct ExtentsBlockRef(long Length, Score Score, int BlockBytes);

/// <summary>A block of a file's hash tree: extents at level 0, children above.</summary>
/// <remarks>Format: docs/format.md 13.3. The level falls by one at every step down, so no chain of blocks is longer than the depth its entry states.</remarks>
internal sealed class ExtentsBlock
{
    public const byte Version = 1;

    private const int MaxVarintBytes = 10;
    private const ulong HoleKind = 0;
    private const ulong WholeKind = 1;
    private const ulong PieceKind = 2;

    private ExtentsBlock(int level)
    {
        Level = level;
    }

    public int Level { get; }

    /// <summary>Bytes of the file that the block describes.</summary>
    public long Length { get; private set; }

    /// <summary>Of level 0; offsets count from the block's first byte.</summary>
    public Extent[] Extents { get; private set; } = [];

    /// <summary>Of the levels above, with where each begins in <see cref="Starts"/>.</summary>
    public ExtentsBlockRef[] Children { get; private set; } = [];

    public long[] Starts { get; private set; } = [];

    /// <summary>Of level 0.</summary>
    public long HoleBytes => Extents.Where(static extent => extent.IsHole).Sum(static extent => extent.Length);

    public static void WriteExtent(FormatWriter writer, Extent extent)
    {
        if (extent.IsHole)
        {
            writer.Varint(((ulong)extent.Length << 2) | HoleKind);
            return;
        }

        bool isWhole = extent.Skip == 0 && extent.Length == extent.BlockBytes;
        writer.Varint(((ulong)extent.Length << 2) | (isWhole ? WholeKind : PieceKind));
        if (!isWhole)
        {
            writer.Varint(extent.Skip);
            writer.Varint(extent.BlockBytes);
        }

        writer.Score(extent.Score);
    }

    public static void WriteChild(FormatWriter writer, ExtentsBlockRef child)
    {
        writer.Varint((ulong)child.Length);
        writer.Varint(child.BlockBytes);
        writer.Score(child.Score);
    }

    public static ExtentsBlock Parse(ReadOnlyMemory<byte> bytes, int level)
    {
        var reader = new FormatReader(bytes, level == 0 ? "extents" : "extents node");
        reader.Expect(Version, "version");
        reader.Expect((byte)level, "level");
        int count = reader.Length("extents", level == 0 ? reader.Remaining : reader.Remaining / (Score.Size + 2));
        if (count == 0)
        {
            throw reader.Damaged("extents", "at least one", "none");
        }

        var block = new ExtentsBlock(level) { Starts = new long[count] };
        long length = 0;
        if (level == 0)
        {
            block.Extents = new Extent[count];
            for (int at = 0; at < count; at++)
            {
                block.Extents[at] = ReadExtent(ref reader, length);
                block.Starts[at] = length;
                length = Sum(reader, length, block.Extents[at].Length);
            }
        }
        else
        {
            block.Children = new ExtentsBlockRef[count];
            for (int at = 0; at < count; at++)
            {
                long childLength = (long)reader.Varint("child length", long.MaxValue);
                int blockBytes = reader.Length("child bytes", BlockLimits.MaxBlockBytes);
                block.Children[at] = new ExtentsBlockRef(childLength, reader.Score("child score"), blockBytes);
                block.Starts[at] = length;
                length = Sum(reader, length, childLength);
            }
        }

        reader.End();
        block.Length = length;
        return block;
    }

    /// <summary>Whether extents of level 0 are one whole block and nothing else, which takes no array to find out.</summary>
    public static bool IsOneBlock(ReadOnlyMemory<byte> bytes, out Score score, out int blockBytes)
    {
        score = default;
        blockBytes = 0;
        if (bytes.Length is <= 3 + Score.Size or > 3 + MaxVarintBytes + Score.Size || bytes.Span[0] != Version || bytes.Span[1] != 0 || bytes.Span[2] != 1)
        {
            return false;
        }

        var reader = new FormatReader(bytes[3..], "extents");
        Extent extent = ReadExtent(ref reader, 0);
        reader.End();
        (score, blockBytes) = (extent.Score, extent.BlockBytes);
        return !extent.IsHole && extent.Skip == 0 && extent.Length == extent.BlockBytes;
    }

    public static async ValueTask<ExtentsBlock> ReadAsync(IBlockStore blocks, ExtentsBlockRef named, int level, CancellationToken cancel)
    {
        byte[] bytes = await BlockReading.ReadExactAsync(blocks, named.Score, BlockType.Extents, named.BlockBytes, cancel).ConfigureAwait(false);
        ExtentsBlock block = Parse(bytes, level);
        return block.Length == named.Length
            ? block
            : throw new DamagedFormatException($"extents block {named.Score} at level {level}: expected {named.Length} bytes of file, found {block.Length}");
    }

    /// <summary>The index of the item that holds a byte of the block's range.</summary>
    public int Find(long offset)
    {
        int low = 0;
        int high = Starts.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (Starts[middle] <= offset)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }

    private static Extent ReadExtent(ref FormatReader reader, long offset)
    {
        ulong head = reader.Varint("extent");
        long length = (long)(head >> 2);
        if (length == 0)
        {
            throw reader.Damaged("extent", "a length above 0", "0");
        }

        switch (head & 3)
        {
            case HoleKind:
                return new Extent(offset, length, default, 0, 0);
            case WholeKind when length <= BlockLimits.MaxBlockBytes:
                return new Extent(offset, length, reader.Score("extent score"), 0, (int)length);
            case PieceKind:
                int skip = reader.Length("extent skip", BlockLimits.MaxBlockBytes);
                int blockBytes = reader.Length("extent block bytes", BlockLimits.MaxBlockBytes);
                bool isPiece = skip <= blockBytes && length <= blockBytes - skip && length != blockBytes;
                return isPiece
                    ? new Extent(offset, length, reader.Score("extent score"), skip, blockBytes)
                    : throw reader.Damaged("extent", $"a piece of a block of {blockBytes} bytes", $"{length} bytes at {skip}");
            default:
                throw reader.Damaged("extent", "a hole, a block or a piece of one", $"kind {head & 3}, {length} bytes");
        }
    }

    private static long Sum(FormatReader reader, long length, long more) =>
        more > 0 && length <= long.MaxValue - more ? length + more : throw reader.Damaged("length", "a sum in 63 bits of lengths above 0", $"{more}");
}

/// <summary>Collects a file's extents into a short run or a hash tree.</summary>
/// <remarks>Format: docs/format.md 13.3. A block ends behind an item whose score says so, so that an edit in the middle of a large file rewrites few blocks
/// and what follows keeps its own. Scores are keyed, so nobody outside the domain can choose where.</remarks>
/// <param name="made">Told of every block that is made, with its level and bytes, which are good during the call.</param>
internal sealed class ExtentsBuilder(IBlockStore blocks, int inlineExtents, Action<ExtentsBlockRef, int, ReadOnlyMemory<byte>>? made = null)
{
    public const int MinItems = 64;
    public const int MaxItems = 1024;
    public const int EndMask = 0xff;

    private readonly List<Level> _levels = [new Level()];
    private Extent _hole;

    public long Length { get; private set; }

    /// <summary>Appends an extent; its offset is not looked at.</summary>
    public async ValueTask AddAsync(Extent extent, CancellationToken cancel)
    {
        Length += extent.Length;
        if (extent.IsHole)
        {
            _hole = extent with { Length = _hole.Length + extent.Length };
            return;
        }

        await AddHoleAsync(cancel).ConfigureAwait(false);
        Level bottom = _levels[0];
        ExtentsBlock.WriteExtent(bottom.Items, extent);
        await AddedAsync(0, extent.Length, extent.Score, cancel).ConfigureAwait(false);
    }

    /// <summary>Whether nothing is unfinished at the bottom: a block of extents may then follow as it is.</summary>
    internal bool IsAtEnd => _levels[0].Count == 0 && _hole.Length == 0;

    /// <summary>Takes over a block of extents of another tree, which begins and ends where one of this would.</summary>
    internal ValueTask AddBlockAsync(ExtentsBlockRef named, CancellationToken cancel)
    {
        Length += named.Length;
        return EmitAsync(0, named, cancel);
    }

    public async ValueTask<FileContent> FinishAsync(CuttingRule rule, CancellationToken cancel)
    {
        await AddHoleAsync(cancel).ConfigureAwait(false);
        Level bottom = _levels[0];
        if (Length == 0)
        {
            return FileContent.OfInline(rule, default);
        }

        if (bottom.Emitted == 0 && bottom.Count <= inlineExtents)
        {
            ReadOnlyMemory<byte> run = bottom.Encode(0);
            if (run.Length <= EntryLimits.MaxInlineExtentBytes)
            {
                return FileContent.OfRun(rule, Length, run.ToArray());
            }
        }

        for (int level = 0; ; level++)
        {
            if (_levels[level].Emitted != 1 || _levels[level].Count != 0)
            {
                await EndBlockAsync(level, cancel).ConfigureAwait(false);
            }

            if (_levels[level].Emitted == 1)
            {
                return FileContent.OfTree(rule, level + 1, _levels[level].Last);
            }
        }
    }

    private async ValueTask AddHoleAsync(CancellationToken cancel)
    {
        if (_hole.Length > 0)
        {
            ExtentsBlock.WriteExtent(_levels[0].Items, _hole);
            long length = _hole.Length;
            _hole = default;
            await AddedAsync(0, length, null, cancel).ConfigureAwait(false);
        }
    }

    private async ValueTask AddedAsync(int level, long length, Score? score, CancellationToken cancel)
    {
        Level target = _levels[level];
        target.Count++;
        target.Length += length;
        bool ends = target.Count >= MaxItems || (target.Count >= MinItems && score is Score named && (named.LastWord & EndMask) == 0);
        if (ends)
        {
            await EndBlockAsync(level, cancel).ConfigureAwait(false);
        }
    }

    private async ValueTask EndBlockAsync(int level, CancellationToken cancel)
    {
        Level source = _levels[level];
        if (source.Count == 0)
        {
            return;
        }

        if (level >= FileContent.MaxDepth)
        {
            throw new InvalidOperationException($"A file's tree grew over {FileContent.MaxDepth} levels.");
        }

        ReadOnlyMemory<byte> block = source.Encode(level);
        BlockWrite write = await blocks.WriteAsync(BlockType.Extents, block, cancel).ConfigureAwait(false);
        var named = new ExtentsBlockRef(source.Length, write.Score, block.Length);
        made?.Invoke(named, level, block);
        source.Clear();
        await EmitAsync(level, named, cancel).ConfigureAwait(false);
    }

    private ValueTask EmitAsync(int level, ExtentsBlockRef named, CancellationToken cancel)
    {
        Level source = _levels[level];
        source.Emitted++;
        source.Last = named;
        if (_levels.Count == level + 1)
        {
            _levels.Add(new Level());
        }

        ExtentsBlock.WriteChild(_levels[level + 1].Items, named);
        return AddedAsync(level + 1, named.Length, named.Score, cancel);
    }

    private sealed class Level
    {
        private readonly FormatWriter _block = new(64);

        public FormatWriter Items { get; } = new(64);

        public int Count { get; set; }

        public long Length { get; set; }

        public int Emitted { get; set; }

        public ExtentsBlockRef Last { get; set; }

        public ReadOnlyMemory<byte> Encode(int level)
        {
            _block.Clear();
            _block.Byte(ExtentsBlock.Version);
            _block.Byte((byte)level);
            _block.Varint(Count);
            _block.Bytes(Items.Written.Span);
            return _block.Written;
        }

        public void Clear()
        {
            Items.Clear();
            Count = 0;
            Length = 0;
        }
    }
}
