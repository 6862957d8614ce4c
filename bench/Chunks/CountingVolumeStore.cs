using TokTok.Storage.Core;

namespace Chunks;

/// <summary>What was written new since the last look: exact bytes in arenas, padding and parity apart.</summary>
internal readonly record struct Written(long DataBytes, long TreeBytes, long DataBlocks, long TreeBlocks)
{
    public long Bytes => DataBytes + TreeBytes;

    public long Blocks => DataBlocks + TreeBlocks;
}

/// <summary>A store that counts what its blocks take: content apart from everything that describes it.</summary>
internal sealed class CountingVolumeStore(IVolumeStore inner) : IVolumeStore
{
    private readonly long[] _counts = new long[4];

    public DomainId Realm => inner.Realm;

    public uint Device => inner.Device;

    public ulong Incarnation => inner.Incarnation;

    public IReadOnlyList<Head> Heads => inner.Heads;

    public Written Take() =>
        new(Interlocked.Exchange(ref _counts[0], 0), Interlocked.Exchange(ref _counts[1], 0), Interlocked.Exchange(ref _counts[2], 0), Interlocked.Exchange(ref _counts[3], 0));

    public ReadOnlyMemory<byte> ChunkerSeed(DomainId domain) => inner.ChunkerSeed(domain);

    public IBlockStore OpenBlocks(DomainId domain, int? survive) => new CountingBlocks(inner.OpenBlocks(domain, survive), _counts);

    public Head NextHead(VolumeId volume, string volumeName, DomainId domain, IReadOnlyList<Head> follows) => inner.NextHead(volume, volumeName, domain, follows);

    public ValueTask<Head> CommitAsync(Head next, CancellationToken cancel) => inner.CommitAsync(next, cancel);

    private sealed class CountingBlocks(IBlockStore inner, long[] counts) : IBlockStore
    {
        public int Survive => inner.Survive;

        public int Weakest => inner.Weakest;

        public IBlockStore At(int survive) => new CountingBlocks(inner.At(survive), counts);

        public Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain) => inner.ScoreOf(type, plain);

        public async ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel)
        {
            BlockWrite write = await inner.WriteAsync(type, plain, cancel);
            if (write.IsNew)
            {
                int kind = type == BlockType.Data ? 0 : 1;
                Interlocked.Add(ref counts[kind], write.StoredBytes);
                Interlocked.Increment(ref counts[2 + kind]);
            }

            return write;
        }

        public ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) => inner.ReadAsync(score, type, target, cancel);

        public ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel) => inner.ContainsAsync(score, type, cancel);

        public ValueTask FlushAsync(CancellationToken cancel) => inner.FlushAsync(cancel);
    }
}
