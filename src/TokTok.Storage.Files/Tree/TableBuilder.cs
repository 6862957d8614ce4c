using System.Diagnostics;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Builds a sorted table from entries that come in ascending order, holding one unfinished block a level.</summary>
/// <remarks>Format: docs/format.md 12.5, where blocks end. One caller at a time; after an exception the builder is of no more use.</remarks>
public sealed class TableBuilder
{
    private readonly IBlockStore _blocks;
    private readonly TableOptions _options;
    private readonly List<Level> _levels = [];
    private readonly FormatWriter _value = new(64);
    private byte[] _lastKey = [];
    private bool _isFinished;

    internal TableBuilder(IBlockStore blocks, TableOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.TargetBytes, 64);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.MaxBytes + TableLimits.MaxKeyBytes + TableLimits.MaxValueBytes + 1024, BlockLimits.MaxBlockBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.InlineBytes, TableLimits.MaxInlineBytes);
        _blocks = blocks;
        Survive = blocks.Survive;
        _options = options;
        _levels.Add(new Level());
    }

    /// <summary>How many lost places the strongest block of the table outlives: what names the table should be no weaker.</summary>
    public int Survive { get; private set; }

    /// <summary>Adds an entry behind all others. Key and value are copied.</summary>
    public ValueTask AddAsync(ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value, CancellationToken cancel) => AddAsync(key, value, 0, cancel);

    /// <summary>Adds an entry behind all others. Key and value are copied.</summary>
    /// <param name="survive">How many lost places the blocks on the way to this entry are to outlive, where that is more than the table's own.</param>
    public ValueTask AddAsync(ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value, int survive, CancellationToken cancel)
    {
        if (_isFinished || key.Length is 0 or > TableLimits.MaxKeyBytes || value.Length > TableLimits.MaxValueBytes)
        {
            throw new ArgumentException($"A key has 1 to {TableLimits.MaxKeyBytes} bytes, a value at most {TableLimits.MaxValueBytes}: {key.Length} and {value.Length}.");
        }

        if (_lastKey.AsSpan().SequenceCompareTo(key.Span) >= 0)
        {
            throw new ArgumentException("Keys must ascend.", nameof(key));
        }

        _lastKey = key.ToArray();
        Survive = Math.Max(Survive, survive);
        return AppendAsync(0, _lastKey, value, 1, survive, cancel);
    }

    /// <summary>Ends the table.</summary>
    public async ValueTask<TableRoot> FinishAsync(CancellationToken cancel)
    {
        _isFinished = true;
        Level bottom = _levels[0];
        if (bottom.Emitted == 0)
        {
            if (bottom.Items == 0)
            {
                return TableRoot.Empty;
            }

            ReadOnlyMemory<byte> leaf = bottom.Encode(0);
            if (leaf.Length <= _options.InlineBytes)
            {
                return TableRoot.OfInline(leaf.ToArray());
            }
        }

        for (int level = 0; ; level++)
        {
            if (_levels[level].Emitted != 1 || _levels[level].Items != 0)
            {
                await EndBlockAsync(level, cancel).ConfigureAwait(false);
            }

            if (_levels[level].Emitted == 1)
            {
                TableBlockRef top = _levels[level].Last;
                if (level == 0 && top.BlockBytes <= _options.InlineBytes)
                {
                    return TableRoot.OfInline(
                        await BlockReading.ReadExactAsync(_blocks, top.Score, BlockType.TableLeaf, top.BlockBytes, cancel).ConfigureAwait(false));
                }

                return TableRoot.OfBlock(level + 1, top with { FirstKey = default });
            }
        }
    }

    /// <summary>Whether nothing is unfinished at a level and below it: a block of that level may then follow as it is.</summary>
    internal bool IsAtEnd(int level)
    {
        for (int at = 0; at <= level && at < _levels.Count; at++)
        {
            if (_levels[at].Items != 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Takes over a block of another table that starts and ends where a block of this one would.</summary>
    internal ValueTask AddBlockAsync(TableBlockRef named, int level, CancellationToken cancel)
    {
        Debug.Assert(IsAtEnd(level), "a whole block follows an unfinished one");
        while (_levels.Count <= level)
        {
            _levels.Add(new Level());
        }

        // Whoever hands over a node vouches for at least two children, so no level below can be the top.
        for (int below = 0; below < level; below++)
        {
            _levels[below].Emitted += 2;
        }

        return EmitAsync(level, named, 0, cancel);
    }

    private async ValueTask AppendAsync(int level, ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value, ulong entries, int survive, CancellationToken cancel)
    {
        if (_levels.Count == level)
        {
            _levels.Add(new Level());
        }

        Level target = _levels[level];
        int itemBytes = target.Append(key, value, entries, survive);

        // Two children at the least, so that every level has at most half the blocks of the one below and a tree ends.
        bool ends = target.Weight >= _options.MaxBytes
            || (target.Weight >= _options.MinBytes && IsEnd(level, key.Span, itemBytes, _options.TargetBytes));
        if (ends && (level == 0 || target.Items >= 2))
        {
            await EndBlockAsync(level, cancel).ConfigureAwait(false);
        }
    }

    private async ValueTask EndBlockAsync(int level, CancellationToken cancel)
    {
        Level source = _levels[level];
        if (source.Items == 0)
        {
            return;
        }

        ReadOnlyMemory<byte> block = source.Encode(level);
        int survive = source.Survive;
        IBlockStore blocks = survive > _blocks.Survive ? _blocks.At(survive) : _blocks;
        BlockWrite write = await blocks.WriteAsync(TableBlock.TypeOf(level), block, cancel).ConfigureAwait(false);
        var named = new TableBlockRef(source.FirstKey, write.Score, source.Entries, block.Length);
        source.Clear();
        await EmitAsync(level, named, survive, cancel).ConfigureAwait(false);
    }

    private ValueTask EmitAsync(int level, TableBlockRef named, int survive, CancellationToken cancel)
    {
        if (level >= TableLimits.MaxDepth)
        {
            throw new InvalidOperationException($"A table grew over {TableLimits.MaxDepth} levels: too many entries for blocks of {_options.TargetBytes} bytes.");
        }

        _levels[level].Emitted++;
        _levels[level].Last = named;
        _value.Clear();
        named.Write(_value);
        return AppendAsync(level + 1, named.FirstKey, _value.Written, named.Count, survive, cancel);
    }

    /// <summary>Whether a block may end behind this key: with the chance that makes one end every <paramref name="targetBytes"/>, by weight.</summary>
    internal static bool IsEnd(int level, ReadOnlySpan<byte> key, int itemBytes, int targetBytes)
    {
        // Past the least weight of a quarter, so that the mean comes out near the target.
        ulong threshold = ulong.MaxValue / (ulong)(targetBytes - (targetBytes / 4));
        ulong hash = KeyHash(level, key);
        return itemBytes >= targetBytes - (targetBytes / 4) || hash < unchecked(threshold * (ulong)itemBytes);
    }

    /// <summary>FNV-1a over the level and the key, its bits stirred by MurmurHash3's finaliser.</summary>
    /// <remarks>Whoever chooses names can choose where blocks end, under any hash without a secret; the least and the greatest weight bound what comes of it.</remarks>
    internal static ulong KeyHash(int level, ReadOnlySpan<byte> key)
    {
        unchecked
        {
            ulong hash = (0xcbf29ce484222325UL ^ (byte)level) * 0x100000001b3UL;
            foreach (byte part in key)
            {
                hash = (hash ^ part) * 0x100000001b3UL;
            }

            hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdUL;
            hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53UL;
            return hash ^ (hash >> 33);
        }
    }

    /// <summary>The unfinished block of a level, and what the level has emitted.</summary>
    private sealed class Level
    {
        private readonly FormatWriter _items = new(4096);
        private readonly FormatWriter _block = new(4096);
        private ReadOnlyMemory<byte> _previousKey;

        public int Items { get; private set; }

        public int Weight { get; private set; }

        public ulong Entries { get; private set; }

        /// <summary>The most that an item of the unfinished block asks for.</summary>
        public int Survive { get; private set; }

        public ReadOnlyMemory<byte> FirstKey { get; private set; }

        /// <summary>Blocks of this level so far; only 0, 1 and more matter.</summary>
        public int Emitted { get; set; }

        public TableBlockRef Last { get; set; }

        /// <summary>Appends an item, whose key must not be written to again; returns its weight, which does not depend on its neighbours.</summary>
        public int Append(ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value, ulong entries, int survive)
        {
            int shared = key.Span.CommonPrefixLength(_previousKey.Span);
            _items.Varint(shared);
            _items.Counted(key.Span[shared..]);
            _items.Counted(value.Span);
            if (Items == 0)
            {
                FirstKey = key;
            }

            _previousKey = key;
            Items++;
            Entries += entries;
            Survive = Math.Max(Survive, survive);
            int weight = key.Length + value.Length + 4;
            Weight += weight;
            return weight;
        }

        public ReadOnlyMemory<byte> Encode(int level)
        {
            _block.Clear();
            _block.Byte(TableBlock.Version);
            _block.Byte((byte)level);
            _block.Varint(Items);
            _block.Bytes(_items.Written.Span);
            return _block.Written;
        }

        public void Clear()
        {
            _items.Clear();
            _previousKey = default;
            FirstKey = default;
            Items = 0;
            Weight = 0;
            Entries = 0;
            Survive = 0;
        }
    }
}
