using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Whether every block that a head needs is there, and, read whole, is what its score says; names the paths that are not.</summary>
/// <remarks>
/// First every block is visited once, by the walker that reclaim trusts. Only when something was wrong, every snapshot's tree is gone through for the paths.
/// Memory: one bit a block, and the blocks named by one table or extents block.
/// </remarks>
internal sealed class TreeCheck(BlockStore store, bool readAll, IProgressSink progress)
{
    private readonly HashSet<Score> _bad = [];
    private bool _isIncomplete;

    internal long BlockCount { get; private set; }

    internal long ReadBytes { get; private set; }

    internal List<string> Damaged { get; } = [];

    internal List<string> UnreadablePaths { get; } = [];

    internal async ValueTask RunAsync(CancellationToken cancel)
    {
        var maps = new Dictionary<DomainId, LiveMap>();
        foreach (Head head in store.Heads)
        {
            if (!maps.TryGetValue(head.Domain, out LiveMap? map))
            {
                maps[head.Domain] = map = new LiveMap(store, head.Domain);
            }

            var blocks = new VerifyingBlocks(store.OpenBlocks(head.Domain, 0), map, this, head.VolumeName);
            try
            {
                await new TreeWalker().MarkAsync(head, blocks, blocks, cancel).ConfigureAwait(false);
                await blocks.DrainAsync(cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                Damaged.Add($"volume {head.VolumeName}, head {head.Sequence}: {damage.Message}");
                _isIncomplete = true;
            }
        }

        foreach (LiveMap map in maps.Values)
        {
            BlockCount += map.MarkedCount;
            foreach ((Score score, BlockType type) in map.Missing)
            {
                Damaged.Add($"{type} block {score}: a snapshot needs it, and no arena holds it");
            }

            _isIncomplete |= map.MissingCount > 0;
        }

        if (_isIncomplete || _bad.Count > 0)
        {
            foreach (string volume in Volume.Names(store))
            {
                await NamePathsAsync(volume, cancel).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask NamePathsAsync(string name, CancellationToken cancel)
    {
        try
        {
            if (await Volume.TryOpenAsync(store, name, cancel).ConfigureAwait(false) is not { } volume)
            {
                return;
            }

            using (volume)
            {
                IBlockStore blocks = store.OpenBlocks(volume.Domain, 0);
                await foreach (SnapshotRecord snapshot in volume.SnapshotsAsync(cancel).ConfigureAwait(false))
                {
                    progress.Report(new ProgressState { Phase = "naming damaged paths", Current = $"{name} {snapshot.Id}" });
                    await NameBelowAsync(TreeReader.Of(volume, snapshot), snapshot.Root, $"{name} {snapshot.Id}: ", blocks, cancel).ConfigureAwait(false);
                }
            }
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            UnreadablePaths.Add($"{name}: its list of snapshots cannot be read whole");
        }
    }

    private async ValueTask NameBelowAsync(TreeReader tree, Entry root, string prefix, IBlockStore blocks, CancellationToken cancel)
    {
        if (root.Type != EntryType.Directory)
        {
            if (!await IsReadableAsync(tree, root, blocks, cancel).ConfigureAwait(false))
            {
                UnreadablePaths.Add(prefix + "/");
            }

            return;
        }

        var directories = new Stack<(byte[] Path, Entry Entry)>();
        directories.Push(([], root));
        while (directories.TryPop(out (byte[] Path, Entry Entry) directory))
        {
            try
            {
                await foreach (TreeItem item in tree.ListAsync(directory.Entry, default, cancel).ConfigureAwait(false))
                {
                    byte[] path = [.. directory.Path, (byte)'/', .. item.Name.Span];
                    if (item.Entry.Type == EntryType.Directory)
                    {
                        directories.Push((path, item.Entry));
                    }

                    if (!await IsReadableAsync(tree, item.Entry, blocks, cancel).ConfigureAwait(false))
                    {
                        UnreadablePaths.Add(prefix + TerminalText.Escape(path));
                    }
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                UnreadablePaths.Add(prefix + TerminalText.Escape(directory.Path) + "/");
            }
        }
    }

    private async ValueTask<bool> IsReadableAsync(TreeReader tree, Entry entry, IBlockStore blocks, CancellationToken cancel)
    {
        try
        {
            await tree.AttributesAsync(entry, cancel).ConfigureAwait(false);
            if (entry.Type != EntryType.File)
            {
                return true;
            }

            using FileContentReader content = tree.OpenContent(entry);
            await foreach (Extent extent in content.ExtentsAsync(0, cancel).ConfigureAwait(false))
            {
                if (!extent.IsHole && !await CanReadAsync(blocks, extent.Score, cancel).ConfigureAwait(false))
                {
                    return false;
                }
            }

            return true;
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            return false;
        }
    }

    /// <summary>By what the walk found; where it could not go everywhere, by reading.</summary>
    private async ValueTask<bool> CanReadAsync(IBlockStore blocks, Score score, CancellationToken cancel) =>
        !_bad.Contains(score) && (!_isIncomplete || (await blocks.ReadAsync(score, BlockType.Data, new byte[BlockLimits.MaxBlockBytes], cancel).ConfigureAwait(false)).IsFound);

    /// <summary>Reads what the walk marks, before the walk reads on: so what waits is never more than one block names.</summary>
    private sealed class VerifyingBlocks(IBlockStore inner, LiveMap map, TreeCheck check, string volume) : IBlockStore, IBlockMarker
    {
        private readonly Queue<Score> _data = new();
        private readonly byte[] _target = new byte[BlockLimits.MaxBlockBytes];

        public int Survive => inner.Survive;

        public int Weakest => inner.Weakest;

        public IBlockStore At(int survive) => this; // nothing is written here

        public bool Mark(Score score, BlockType type)
        {
            bool isNew = map.Mark(score, type);
            if (isNew && type == BlockType.Data && check._isReading)
            {
                _data.Enqueue(score);
            }

            return isNew;
        }

        public async ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel)
        {
            await DrainAsync(cancel).ConfigureAwait(false);
            BlockRead read = await inner.ReadAsync(score, type, target, cancel).ConfigureAwait(false);
            check.ReadBytes += read.Bytes;
            return read;
        }

        internal async ValueTask DrainAsync(CancellationToken cancel)
        {
            while (_data.TryDequeue(out Score score))
            {
                try
                {
                    BlockRead read = await inner.ReadAsync(score, BlockType.Data, _target, cancel).ConfigureAwait(false);
                    check.ReadBytes += read.Bytes;
                    if (!read.IsFound)
                    {
                        check.Bad(score, "no arena holds it");
                    }
                }
                catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
                {
                    check.Bad(score, damage.Message);
                }
            }

            check.Progress(volume, map.MarkedCount);
        }

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => inner.ScoreOf(type, plain);

        public ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel) => throw new NotSupportedException("a check writes nothing");

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => inner.ContainsAsync(score, type, cancel);

        public ValueTask FlushAsync(CancellationToken cancel) => throw new NotSupportedException("a check writes nothing");
    }

    private readonly bool _isReading = readAll;

    private void Bad(Score score, string why)
    {
        if (_bad.Add(score))
        {
            Damaged.Add($"data block {score}: {why}");
        }
    }

    private void Progress(string volume, long blocks) =>
        progress.Report(new ProgressState { Phase = "checking blocks", Bytes = ReadBytes, Current = $"{volume}: {Show.Count(blocks, "block")}" });
}
