namespace TokTok.Storage.Core;

/// <summary>Anything that keeps fragments: a folder, a peer, a bucket. It sees uniform noise, names and lengths.</summary>
/// <remarks>
/// Safe from many threads. Durable: what Put, Append, Trash, Restore, Purge and Delete did, once they returned.
/// Errors: absence is a return value; trouble is a <see cref="DiskException"/>; a damaged structure a <see cref="DamagedFormatException"/>.
/// Bytes that come back are not verified here: whoever reads checks them against the fragment's name.
/// </remarks>
public interface IFragmentHolder
{
    HolderId Id { get; }

    /// <summary>Keeps fragments of one arena. Those of the arena that are kept already stay; one of the same index and name is left alone.</summary>
    ValueTask PutAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel);

    /// <summary>Reads a window of a fragment. Returns the bytes read (fewer only at its end), or -1 when the fragment is not here. Looks into the trash too.</summary>
    ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel);

    /// <summary>What is kept of one arena, or null.</summary>
    ValueTask<HeldArena?> DescribeAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Every arena of which something is kept, the trash included. Files that cannot be understood are listed with their damage.</summary>
    ValueTask<IReadOnlyList<HeldArena>> ListArenasAsync(CancellationToken cancel);

    /// <summary>Moves an arena's fragments to the trash. Absent: nothing happens.</summary>
    ValueTask TrashAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Brings an arena's fragments back from the trash. Absent: nothing happens.</summary>
    ValueTask RestoreAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Deletes an arena's fragments from the trash.</summary>
    ValueTask PurgeAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Deletes fragments that were announced and never sealed.</summary>
    ValueTask DeleteAsync(ArenaId id, CancellationToken cancel);

    /// <summary>Small named objects: anchors, keys, copies of logs. Names are lower-case parts of letters, digits and '-', joined by '/'.</summary>
    ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel);

    /// <summary>Bytes read; 0 at the end or when there is no such object.</summary>
    ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel);

    /// <summary>Appends at an offset that must be the object's present length; offset 0 creates it or starts it again.</summary>
    ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, CancellationToken cancel);

    /// <summary>Replaces an object atomically.</summary>
    ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel);

    ValueTask DeleteObjectAsync(string name, CancellationToken cancel);
}

/// <summary>A fragment on its way to a holder: its index in the arena, its bytes, its name, and the 16 KiB group hashes of its BLAKE3 tree.</summary>
public readonly record struct FragmentData(int Index, ReadOnlyMemory<byte> Bytes, FragmentName Name, ReadOnlyMemory<byte> GroupHashes);

public readonly record struct HolderObject(string Name, long Length);

/// <summary>What a holder keeps of one arena, as its own table says; names are claims until bytes were checked against them.</summary>
public sealed record HeldArena
{
    public required ArenaId Id { get; init; }

    public int DataFragments { get; init; }

    public int ParityFragments { get; init; }

    public int SliceBytes { get; init; }

    public IReadOnlyList<HeldFragment> Fragments { get; init; } = [];

    public bool IsInTrash { get; init; }

    /// <summary>Why the file cannot be understood, or null.</summary>
    public string? Damage { get; init; }
}

public readonly record struct HeldFragment(int Index, FragmentName Name);
