using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Whether what an entry needs is kept at a redundancy, and how to bring it there.</summary>
internal static class KeptBlocks
{
    /// <summary>Whether every block of the entry, but for a directory's names, is kept at the store's redundancy or better. Reads trees of extents, no data.</summary>
    internal static async ValueTask<bool> AreAllAsync(Entry entry, IBlockStore blocks, CancellationToken cancel)
    {
        var marker = new Marker(blocks, null);
        try
        {
            await TreeWalker.MarkEntryAsync(WithoutNames(entry), blocks, marker, null, cancel).ConfigureAwait(false);
            return marker.AreAll;
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            return false;
        }
    }

    /// <summary>Writes every block of the entry, but for a directory's names, that is kept weaker once more from what the store has.
    /// A block that cannot be read stays as it is: check names it.</summary>
    /// <remarks>Memory: the scores of the blocks that are weaker.</remarks>
    internal static async ValueTask LiftAsync(Entry entry, IBlockStore blocks, CancellationToken cancel)
    {
        List<(Score Score, BlockType Type)> weaker = [];
        byte[]? target = null;
        try
        {
            await TreeWalker.MarkEntryAsync(WithoutNames(entry), blocks, new Marker(blocks, weaker), null, cancel).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            // what was found before it is lifted all the same
        }

        foreach ((Score score, BlockType type) in weaker)
        {
            target ??= new byte[BlockLimits.MaxBlockBytes];
            try
            {
                BlockRead read = await blocks.ReadAsync(score, type, target, cancel).ConfigureAwait(false);
                if (read.IsFound)
                {
                    await blocks.WriteAsync(type, target.AsMemory(0, read.Bytes), cancel).ConfigureAwait(false);
                }
            }
            catch (DamagedBlockException)
            {
                // its other blocks still gain
            }
        }
    }

    private static Entry WithoutNames(Entry entry) => entry.Type == EntryType.Directory ? entry with { Children = TableRoot.Empty } : entry;

    /// <summary>With a list: collects what is weaker and goes on below it. Without: stops at the first.</summary>
    private sealed class Marker(IBlockStore blocks, List<(Score Score, BlockType Type)>? weaker) : IBlockMarker
    {
        internal bool AreAll { get; private set; } = true;

        public bool Mark(Score score, BlockType type)
        {
            if (!AreAll && weaker is null)
            {
                return false;
            }

            ValueTask<bool> asked = blocks.ContainsAsync(score, type, CancellationToken.None);
            bool isKept = asked.IsCompletedSuccessfully ? asked.Result : asked.AsTask().GetAwaiter().GetResult();
            AreAll &= isKept;
            if (!isKept)
            {
                weaker?.Add((score, type));
            }

            return isKept || weaker is not null;
        }
    }
}
