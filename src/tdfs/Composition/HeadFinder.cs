using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Files;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Finds the newest root of every volume among the blocks of arenas and journal, where no catalog and no anchor names one.</summary>
/// <remarks>
/// Format: docs/format.md 14.1. A root says which head named it, so of each line the one with the highest sequence counts. A root may have been written
/// and never committed, or lie in an arena whose neighbours are lost: one is taken only if every block below it is there, else the one before it;
/// where none is whole the highest is taken, so that what can be read is not withheld.
/// </remarks>
internal sealed class HeadFinder(BlockStore store)
{
    /// <summary>Adopts the heads found, and returns how many volumes gained one.</summary>
    internal async ValueTask<int> AdoptAsync(CancellationToken cancel)
    {
        var found = new Dictionary<(VolumeId Volume, uint Device, ulong Incarnation), List<Head>>();
        byte[] block = new byte[BlockLimits.MaxBlockBytes];
        await foreach ((DomainId domain, Score score) in store.BlocksOfTypeAsync(BlockType.VolumeRoot, cancel).ConfigureAwait(false))
        {
            try
            {
                BlockRead read = await store.OpenBlocks(domain, 0).ReadAsync(score, BlockType.VolumeRoot, block, cancel).ConfigureAwait(false);
                if (!read.IsFound)
                {
                    continue;
                }

                Head head = VolumeRoot.Decode(block.AsMemory(0, read.Bytes)).ToHead(domain, score);
                if (!store.HasHead(head))
                {
                    (VolumeId, uint, ulong) line = (head.Volume, head.Device, head.Incarnation);
                    found.TryAdd(line, []);
                    found[line].Add(head);
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                // a root that cannot be read names nothing
            }
        }

        var newest = new List<Head>();
        foreach (List<Head> line in found.Values)
        {
            bool isKnown = store.Heads.Any(head => head.Volume == line[0].Volume);
            if (await NewestWholeAsync(line, cancel).ConfigureAwait(false) is { } whole)
            {
                newest.Add(whole);
            }
            else if (!isKnown)
            {
                newest.Add(line.MaxBy(static head => head.Sequence)!);
            }
        }

        int before = store.Heads.Select(static head => head.Volume).Distinct().Count();
        newest.RemoveAll(head => newest.Exists(other => other.Supersedes(head)));
        int adopted = store.AdoptHeads(newest.ConvertAll(HeadCodec.Rebuild), []);
        return Math.Max(adopted > 0 ? 1 : 0, store.Heads.Select(static head => head.Volume).Distinct().Count() - before);
    }

    private async ValueTask<Head?> NewestWholeAsync(List<Head> line, CancellationToken cancel)
    {
        foreach (Head head in line.OrderByDescending(static head => head.Sequence))
        {
            var marker = new PresenceMarker(store, head.Domain);
            try
            {
                await new TreeWalker().MarkAsync(head, store.OpenBlocks(head.Domain, 0), marker, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                continue;
            }

            if (!marker.IsMissing)
            {
                return head;
            }
        }

        return null;
    }

    /// <summary>Looks every block up, reading none.</summary>
    private sealed class PresenceMarker(BlockStore store, DomainId domain) : IBlockMarker
    {
        private readonly HashSet<Score> _seen = [];

        internal bool IsMissing { get; private set; }

        public bool Mark(Score score, BlockType type)
        {
            lock (_seen)
            {
                IsMissing |= !store.IsPending(score) && store.Locate(domain, score) is null;
                return _seen.Add(score);
            }
        }
    }
}
