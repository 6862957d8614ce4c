namespace TokTok.Storage.Core;

/// <summary>A device's signed newest root of a volume. The only mutable thing in a store; everything else hangs from it by score.</summary>
/// <remarks>
/// Format: docs/format.md 10. One line of heads a volume and device: Sequence counts up by one, Previous is the BLAKE3 of the head before.
/// Incarnation is random per line, so that a restored old state folder that writes on is noticed as a fork.
/// </remarks>
public sealed record Head
{
    public required VolumeId Volume { get; init; }

    /// <summary>The name people use, at most 255 bytes of UTF-8.</summary>
    public required string VolumeName { get; init; }

    public required DomainId Domain { get; init; }

    public required uint Device { get; init; }

    public required ulong Incarnation { get; init; }

    public required ulong Sequence { get; init; }

    /// <summary>BLAKE3 of the previous head's signed bytes, zero for the first.</summary>
    public required UInt256 Previous { get; init; }

    /// <summary>Nanoseconds since 1970, by the device's own clock: for people, never for decisions.</summary>
    public required long TimeNs { get; init; }

    /// <summary>The block of type <see cref="BlockType.VolumeRoot"/>.</summary>
    public required Score Root { get; init; }
}

/// <summary>32 bytes that are compared and copied, nothing else.</summary>
public readonly record struct UInt256(UInt128 High, UInt128 Low)
{
    public const int Size = 32;

    public static UInt256 Read(ReadOnlySpan<byte> source)
    {
        Score same = Score.Read(source);
        return new UInt256(same.High, same.Low);
    }

    public void Write(Span<byte> target) => new Score(High, Low).Write(target);
}

/// <summary>What Files sees of a store: blocks per domain and redundancy, and the heads of volumes.</summary>
public interface IVolumeStore
{
    /// <summary>Blocks of one domain, written so that they survive the loss of <paramref name="survive"/> places (null: the store's own setting).</summary>
    IBlockStore OpenBlocks(DomainId domain, int? survive);

    /// <summary>The domain that the account's devices share.</summary>
    DomainId Realm { get; }

    /// <summary>The number of this device within the account.</summary>
    uint Device { get; }

    /// <summary>The chunker's gear seed of a domain (32 bytes).</summary>
    ReadOnlyMemory<byte> ChunkerSeed(DomainId domain);

    /// <summary>The newest head of every volume and device, as last committed.</summary>
    IReadOnlyList<Head> Heads { get; }

    /// <summary>Flushes all blocks written before, then makes the new head durable and publishes it to the holders.
    /// A crash leaves the old head or the new one. Fails, changing nothing, unless the device's newest head of the volume is the one named.</summary>
    /// <param name="replaces">The head that the new one follows, or null for a new volume.</param>
    ValueTask<Head> CommitAsync(VolumeId volume, string volumeName, DomainId domain, Score root, Head? replaces, CancellationToken cancel);
}

/// <summary>Collects the blocks that are still wanted. Safe from many threads.</summary>
public interface IBlockMarker
{
    /// <summary>Marks a block as wanted. True the first time: the caller then descends into it; false: it was marked with everything below.</summary>
    bool Mark(Score score, BlockType type);
}

/// <summary>A marker that also learns how many lost places each block is to outlive: as many as the strongest of its references asks for. One walk at a time.</summary>
public interface IRedundancyMarker : IBlockMarker
{
    /// <summary>What is asked for where no directory says anything.</summary>
    int DefaultSurvive { get; }

    /// <summary>Marks a block for a reference that asks for so much. True the first time, and each time it is more than any mark before: the caller then
    /// descends into it, again.</summary>
    bool Mark(Score score, BlockType type, int survive);

    /// <summary>Asks for a block to be no weaker than something that lies below it, and says how much is asked of it now. Nothing below it is asked for more.</summary>
    int Raise(Score score, BlockType type, int survive);
}

/// <summary>Knows how to walk from a head to every block it needs. Files implements it; reclaim and health use it.</summary>
public interface IRootWalker
{
    ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel);
}
