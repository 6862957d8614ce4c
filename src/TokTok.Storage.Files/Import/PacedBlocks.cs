using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Blocks whose writing waits for somebody's leave; all else goes through.</summary>
internal sealed class PacedBlocks(IBlockStore inner, Func<CancellationToken, ValueTask> pace) : IBlockStore
{
    public int Survive => inner.Survive;

    public int Weakest => inner.Weakest;

    public IBlockStore At(int survive) => inner.At(survive) is var other && ReferenceEquals(other, inner) ? this : new PacedBlocks(other, pace);

    public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => inner.ScoreOf(type, plain);

    public async ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel)
    {
        await pace(cancel).ConfigureAwait(false);
        return await inner.WriteAsync(type, plain, cancel).ConfigureAwait(false);
    }

    public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) => inner.ReadAsync(score, type, target, cancel);

    public ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadWithPartsAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) =>
        inner.ReadWithPartsAsync(score, type, target, cancel);

    public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => inner.ContainsAsync(score, type, cancel);

    public ValueTask FlushAsync(CancellationToken cancel) => inner.FlushAsync(cancel);
}
