namespace TokTok.Storage.Core;

/// <summary>A device's signed newest root of a volume. The only mutable thing in a store; everything else hangs from it by score.</summary>
/// <remarks>
/// Format: docs/format.md 10. One line of heads a volume, device and incarnation: Sequence counts up, Previous is the BLAKE3 of the head that this one goes on from.
/// A state folder that was lost, restored or copied goes on as another incarnation, so that what the first one still writes is another line: a fork, not an overwriting.
/// Seen says which heads of other lines are contained: a head is superseded once another one of its volume has seen it, or a later one of its line.
/// </remarks>
public sealed record Head
{
    /// <summary>Lines that one head may name.</summary>
    public const int MaxSeenCount = 128;

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

    /// <summary>The newest head of every other line that this one contains, ascending by device and incarnation.</summary>
    public IReadOnlyList<HeadSeen> Seen { get; init; } = [];

    /// <summary>Whether this head, or its root, contains everything that <paramref name="other"/> does.</summary>
    public bool Supersedes(Head other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return Volume == other.Volume
            && ((Device == other.Device && Incarnation == other.Incarnation && Sequence > other.Sequence)
                || Seen.Any(seen => seen.Device == other.Device && seen.Incarnation == other.Incarnation && seen.Sequence >= other.Sequence));
    }

    /// <summary>What a head names as seen that goes on from these: their own lists and they themselves, but for the line it is in.</summary>
    public static IReadOnlyList<HeadSeen> SeenAfter(IEnumerable<Head> follows, uint device, ulong incarnation)
    {
        ArgumentNullException.ThrowIfNull(follows);
        IEnumerable<HeadSeen> all = follows.SelectMany(static head => head.Seen.Append(new HeadSeen(head.Device, head.Incarnation, head.Sequence)));
        return
        [
            .. all.Where(seen => seen.Device != device || seen.Incarnation != incarnation)
                .GroupBy(static seen => (seen.Device, seen.Incarnation))
                .Select(static line => line.MaxBy(static seen => seen.Sequence))
                .OrderByDescending(static seen => seen.Sequence).Take(MaxSeenCount) // a line that far back has nothing new
                .OrderBy(static seen => seen.Device).ThenBy(static seen => seen.Incarnation),
        ];
    }

    public bool Equals(Head? other) =>
        other is not null && Volume == other.Volume && VolumeName == other.VolumeName && Domain == other.Domain && Device == other.Device
        && Incarnation == other.Incarnation && Sequence == other.Sequence && Previous == other.Previous && TimeNs == other.TimeNs && Root == other.Root
        && Seen.SequenceEqual(other.Seen);

    public override int GetHashCode() => HashCode.Combine(Volume, Device, Incarnation, Sequence, Root);
}

/// <summary>A head of another line, as a head names it.</summary>
public readonly record struct HeadSeen(uint Device, ulong Incarnation, ulong Sequence);

/// <summary>32 bytes that are compared and copied, nothing else.</summary>
public readonly record struct UInt256
{
    public const int Size = 32;

    private readonly Score _bytes;

    private UInt256(Score bytes) => _bytes = bytes;

    public static UInt256 Read(ReadOnlySpan<byte> source) => new(Score.Read(source));

    public void Write(Span<byte> target) => _bytes.Write(target);
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

    /// <summary>The random number under which this state folder writes.</summary>
    ulong Incarnation { get; }

    /// <summary>The chunker's gear seed of a domain (32 bytes).</summary>
    ReadOnlyMemory<byte> ChunkerSeed(DomainId domain);

    /// <summary>The heads that no other supersedes: one a volume, or several where lines forked.</summary>
    IReadOnlyList<Head> Heads { get; }

    /// <summary>The head that would be committed next, but for its root, whose block repeats the head's fields.</summary>
    /// <param name="follows">The heads whose content the new one contains, the one it goes on from first; none for a new volume.</param>
    Head NextHead(VolumeId volume, string volumeName, DomainId domain, IReadOnlyList<Head> follows);

    /// <summary>Where intents are kept; null: nowhere, and what is to be durable needs a commit.</summary>
    IJournal? Journal => null;

    /// <summary>Flushes all blocks written before, then makes the new head durable and publishes it to the holders.
    /// A crash leaves the old head or the new one. Fails, changing nothing, if another head of this line came first.</summary>
    /// <param name="next">What <see cref="NextHead"/> gave, with its root.</param>
    ValueTask<Head> CommitAsync(Head next, CancellationToken cancel);
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

/// <summary>A redundancy marker that also learns which references come from folders that are freed on this device: what only these refer to need not lie here.</summary>
public interface IFreedMarker : IRedundancyMarker
{
    /// <summary>Marks a block for such a reference, or (not freed) as <see cref="IRedundancyMarker.Mark"/>. True the first time, when more is asked than by any mark before, and
    /// the first time that a reference is not freed: the caller then descends into it, again.</summary>
    bool Mark(Score score, BlockType type, int survive, bool isFreed);
}

/// <summary>Knows how to walk from a head to every block it needs. Files implements it; reclaim and health use it.</summary>
public interface IRootWalker
{
    ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel);
}
