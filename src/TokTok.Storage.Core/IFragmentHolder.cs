namespace TokTok.Storage.Core;

/// <summary>Anything that keeps fragments and small objects: a folder on a disk, later a peer or a bucket. It sees only noise.</summary>
/// <remarks>
/// Format: docs/format.md 7. Safe from many threads. What a call changed is durable when it returns.
/// Errors: absence is a value; <see cref="DiskException"/> when the holder cannot be reached or refuses; <see cref="DamagedFormatException"/>
/// when what it keeps about an arena cannot be read. A holder does not vouch for a fragment's bytes: the reader checks them.
/// Reads find an arena in the trash too.
/// </remarks>
public interface IFragmentHolder
{
    HolderId Id { get; }

    /// <summary>Whoever asked it last waited in vain: others are asked first, for a while.</summary>
    bool IsSlow => false;

    /// <summary>How long a read of so many bytes may take before they are looked for elsewhere; null: as long as it takes, as from a disk.</summary>
    TimeSpan? Patience(int bytes) => null;

    /// <summary>Keeps fragments of an arena beside those it has; one of the same index and name is left, one of another name is replaced.
    /// All of them or none.</summary>
    /// <exception cref="DamagedFormatException">Its record of the arena cannot be read: <see cref="ReplaceAsync"/> after salvage.</exception>
    ValueTask PutAsync(
        ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel);

    /// <summary>Keeps exactly these fragments of an arena, in place of whatever it has under that id.</summary>
    ValueTask ReplaceAsync(
        ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel);

    /// <summary>Reads raw bytes of a fragment: how many, fewer than asked where the copy is cut short, or -1 when it is absent.</summary>
    ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel);

    /// <summary>The group hashes of a fragment, proven to fold to its name; null when they are absent or damaged.</summary>
    ValueTask<byte[]?> ReadGroupHashesAsync(ArenaId id, int fragmentIndex, FragmentName expected, CancellationToken cancel);

    /// <summary>What the holder says it keeps of an arena, or null when nothing. Reads both copies of the record, no fragments.</summary>
    /// <exception cref="DamagedFormatException">Neither copy of the record can be read.</exception>
    ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Makes durable what it has of an arena, for whoever found it there and does not know how it came. Nothing happens if it has nothing.</summary>
    ValueTask SettleAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Reads a fragment from where it must lie by what the catalog knows, when the record cannot be read: how many bytes, or -1.</summary>
    /// <param name="heldIndexes">All fragments that this holder keeps of the arena, ascending.</param>
    ValueTask<int> SalvageAsync(ArenaId id, int sliceBytes, IReadOnlyList<int> heldIndexes, int fragmentIndex, Memory<byte> target, CancellationToken cancel);

    /// <summary>Overwrites groups of a fragment that are known to be damaged.</summary>
    /// <param name="bytes">The groups' bytes, one after another in the order of <paramref name="groups"/>.</param>
    ValueTask RewriteGroupsAsync(ArenaId id, int fragmentIndex, IReadOnlyList<int> groups, ReadOnlyMemory<byte> bytes, CancellationToken cancel);

    /// <summary>Writes again whichever copy of the record is damaged, with these group hashes, each of which must fold to its fragment's name.</summary>
    ValueTask MendAsync(ArenaId id, IReadOnlyList<FragmentHashes> hashes, CancellationToken cancel);

    /// <summary>Every arena, those in the trash and those whose record is damaged among them.</summary>
    ValueTask<IReadOnlyList<HeldArenaEntry>> ListAsync(CancellationToken cancel);

    /// <summary>Puts an arena into the trash, where reads still find it. Nothing happens if it is absent.</summary>
    ValueTask TrashAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Takes an arena back from the trash. Nothing happens if it is not there.</summary>
    ValueTask RestoreAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Deletes an arena from the trash only.</summary>
    ValueTask PurgeAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Deletes an arena outright, but not from the trash.</summary>
    ValueTask DeleteAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Objects whose names begin with a prefix, in order of name.</summary>
    ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel);

    /// <summary>How many bytes were read; 0 at the end and where there is no such object.</summary>
    ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel);

    /// <summary>Appends at <paramref name="offset"/>, which must be the present length; at 0 the object begins anew.</summary>
    /// <param name="isSynced">Durable when it returns, with all that was appended before. False: in the system's own time, for who has it durable elsewhere.</param>
    ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, CancellationToken cancel);

    /// <summary>Replaces an object whole: a reader sees the old bytes or the new.</summary>
    ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel);

    /// <summary>Deletes an object; nothing happens if there is none.</summary>
    ValueTask DeleteObjectAsync(string name, CancellationToken cancel);
}

/// <summary>A fragment on its way to a holder: its bytes, and the group hashes that fold to its name.</summary>
public readonly record struct FragmentData(int Index, ReadOnlyMemory<byte> Bytes, FragmentName Name, ReadOnlyMemory<byte> GroupHashes);

/// <summary>The group hashes of one fragment.</summary>
public readonly record struct FragmentHashes(int Index, ReadOnlyMemory<byte> GroupHashes);

/// <summary>A fragment that a holder says it keeps.</summary>
public readonly record struct HeldFragment(int Index, FragmentName Name);

/// <summary>What a holder says it keeps of an arena. IsRecordDamaged: one of the two copies of the record is not as it should be.</summary>
public sealed record HeldArena(
    ArenaId Id, int DataFragments, int ParityFragments, int SliceBytes, IReadOnlyList<HeldFragment> Fragments, bool IsRecordDamaged, bool IsInTrash);

/// <summary>One arena of a listing: Arena, or Damage, the line that says why there is none.</summary>
public sealed record HeldArenaEntry(ArenaId Id, bool IsInTrash, HeldArena? Arena, string? Damage);

/// <summary>A named object at a holder.</summary>
public readonly record struct HolderObject(string Name, long Length);
