namespace TokTok.Storage.Core;

/// <summary>Blocks by score, in one key domain and at one redundancy.</summary>
/// <remarks>
/// Safe from many threads. A block is 0 to <see cref="BlockLimits.MaxBlockBytes"/> bytes of plaintext.
/// Durable: what was written is durable once a later <see cref="FlushAsync"/> returns, not when WriteAsync does.
/// Errors: absence is <see cref="BlockRead.Missing"/>; damage that parity could not repair is <see cref="DamagedBlockException"/>;
/// trouble with the disk is <see cref="DiskException"/>. A store whose write failed stays failed.
/// </remarks>
public interface IBlockStore
{
    /// <summary>How many lost places the blocks written here outlive.</summary>
    int Survive { get; }

    /// <summary>No block of the domain is kept to outlive fewer lost places: at this redundancy and below whatever is kept is kept well enough.</summary>
    int Weakest { get; }

    /// <summary>The same blocks at another redundancy: what is written there outlives the loss of so many places, or of as many as the places there are allow.</summary>
    IBlockStore At(int survive);

    /// <summary>The score that the block has or would have. Keeps nothing.</summary>
    Score ScoreOf(BlockType type, ReadOnlySpan<byte> plain);

    /// <summary>Keeps the block unless an equal one is kept already at this redundancy or better.</summary>
    ValueTask<BlockWrite> WriteAsync(BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel);

    /// <summary>Reads the block into the start of <paramref name="target"/>, checked against its score.</summary>
    /// <exception cref="ArgumentException">The target is smaller than the block; nothing was written to it.</exception>
    ValueTask<BlockRead> ReadAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel);

    /// <summary>As <see cref="ReadAsync"/>, and where parts of the block can be fetched from by themselves later; null where the store cannot tell.</summary>
    async ValueTask<(BlockRead Read, IBlockParts? Parts)> ReadWithPartsAsync(Score score, BlockType type, Memory<byte> target, CancellationToken cancel) =>
        (await ReadAsync(score, type, target, cancel).ConfigureAwait(false), null);

    /// <summary>Whether the block is known to be kept at this redundancy or better. Reads no payload.</summary>
    ValueTask<bool> ContainsAsync(Score score, BlockType type, CancellationToken cancel);

    /// <summary>Returns when every block whose WriteAsync had returned before the call survives power loss.</summary>
    ValueTask FlushAsync(CancellationToken cancel);
}

/// <summary>Bounds that every block keeps.</summary>
public static class BlockLimits
{
    public const int MaxBlockBytes = 1024 * 1024;
}

/// <summary>What became of a write: the block's score, and the bytes its clump takes in an arena (0 when it was known already).</summary>
public readonly record struct BlockWrite(Score Score, int StoredBytes)
{
    public bool IsNew => StoredBytes > 0;
}

/// <summary>What a read found.</summary>
public readonly record struct BlockRead(bool IsFound, int Bytes)
{
    public static BlockRead Missing => default;
}

/// <summary>A block exists by the catalog, and its bytes cannot be had: more is damaged than parity repairs.</summary>
public sealed class DamagedBlockException : Exception
{
    public DamagedBlockException(string message)
        : base(message)
    {
    }

    public DamagedBlockException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public DamagedBlockException()
    {
    }
}

/// <summary>A structure on disk is not what docs/format.md says: what was found, what was expected, and where stand in the message.</summary>
public sealed class DamagedFormatException : Exception
{
    public DamagedFormatException(string message)
        : base(message)
    {
    }

    public DamagedFormatException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public DamagedFormatException()
    {
    }
}
