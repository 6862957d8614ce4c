using System.Buffers;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Simulation;

/// <summary>What was written, by score: what every root must give back, for ever and on every device.</summary>
/// <remarks>
/// A volume's root is a list of snapshots, and a snapshot a list of blocks: heads, blocks and what lies between are the store's own, and only the trees of Files are not here (their tests are elsewhere).
/// A block's content follows from a number, so that two devices write the same one and it must be kept once.
/// </remarks>
internal sealed class Written
{
    internal const BlockType SnapshotType = BlockType.TableLeaf;

    private readonly Dictionary<Score, byte[]> _bytes = [];
    private readonly Dictionary<Score, Score[]> _below = [];

    internal static byte[] Content(int number)
    {
        var random = new SeededRandom(number * 7919L);
        return random.Bytes(500 + random.Next(random.Next(4) == 0 ? 60_000 : 16_000));
    }

    internal void AddBlock(Score score, byte[] bytes) => _bytes[score] = bytes;

    internal void AddList(Score score, Score[] below)
    {
        _below[score] = below;
        _bytes[score] = Bytes(below);
    }

    internal bool IsKnown(Score root) => _below.ContainsKey(root);

    internal IReadOnlyList<Score> Below(Score list) => _below[list];

    internal byte[] BytesOf(Score score) => _bytes[score];

    internal static byte[] Bytes(IReadOnlyList<Score> scores)
    {
        byte[] bytes = new byte[scores.Count * Score.Size];
        for (int i = 0; i < scores.Count; i++)
        {
            scores[i].Write(bytes.AsSpan(i * Score.Size));
        }

        return bytes;
    }
}

/// <summary>Walks what <see cref="Written"/> lays out, by reading it from the store.</summary>
internal sealed class ListWalker : IRootWalker
{
    public async ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
    {
        if (!Mark(head.Root, BlockType.VolumeRoot))
        {
            return;
        }

        foreach (Score snapshot in await ListAsync(blocks, head.Root, BlockType.VolumeRoot, cancel))
        {
            if (Mark(snapshot, Written.SnapshotType))
            {
                foreach (Score block in await ListAsync(blocks, snapshot, Written.SnapshotType, cancel))
                {
                    Mark(block, BlockType.Data);
                }
            }
        }

        bool Mark(Score score, BlockType type) => marker is IRedundancyMarker wants ? wants.Mark(score, type, wants.DefaultSurvive) : marker.Mark(score, type);
    }

    private static async ValueTask<Score[]> ListAsync(IBlockStore blocks, Score list, BlockType type, CancellationToken cancel)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes); // another device may walk while this one reads
        try
        {
            BlockRead read = await blocks.ReadAsync(list, type, bytes.AsMemory(0, BlockLimits.MaxBlockBytes), cancel);
            var scores = new Score[read.IsFound ? read.Bytes / Score.Size : 0];
            for (int i = 0; i < scores.Length; i++)
            {
                scores[i] = Score.Read(bytes.AsSpan(i * Score.Size));
            }

            return scores;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }
}
