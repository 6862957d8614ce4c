using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Placing;

/// <summary>A holder that lies outside the countries which its owner allows: it is read, and told what to delete, and nothing is ever written there.</summary>
/// <remarks>
/// The one gate that every put passes: fragments, groups mended in place, and the small objects (journal, catalog, anchors, keys). Whoever places things passes such a holder over before that;
/// a put that comes here all the same is refused before its first byte. Owns the holder that it stands before.
/// </remarks>
public sealed class OutsideHolder(IFragmentHolder inner) : IFragmentHolder, IDisposable
{
    /// <summary>The holder itself.</summary>
    public IFragmentHolder Inner => inner;

    public HolderId Id => inner.Id;

    public bool IsSlow => inner.IsSlow;

    public TimeSpan? Patience(int bytes) => inner.Patience(bytes);

    /// <summary>The holder behind the gate, if it stands before one.</summary>
    public static IFragmentHolder? Behind(IFragmentHolder? holder) => holder is OutsideHolder outside ? outside.Inner : holder;

    public void Dispose() => (inner as IDisposable)?.Dispose();

    public ValueTask PutAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel) => throw Refused("put fragments at");

    public ValueTask ReplaceAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel) => throw Refused("put fragments at");

    public ValueTask RewriteGroupsAsync(ArenaId id, int fragmentIndex, IReadOnlyList<int> groups, ReadOnlyMemory<byte> bytes, CancellationToken cancel) => throw Refused("mend a fragment at");

    public ValueTask MendAsync(ArenaId id, IReadOnlyList<FragmentHashes> hashes, CancellationToken cancel) => throw Refused("mend a record at");

    public ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, CancellationToken cancel) => throw Refused("append to an object at");

    public ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel) => throw Refused("put an object at");

    public ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel) => inner.ReadAsync(id, fragmentIndex, offset, target, cancel);

    public ValueTask<byte[]?> ReadGroupHashesAsync(ArenaId id, int fragmentIndex, FragmentName expected, CancellationToken cancel) => inner.ReadGroupHashesAsync(id, fragmentIndex, expected, cancel);

    public ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel) => inner.InspectAsync(id, cancel);

    public ValueTask SettleAsync(ArenaId id, CancellationToken cancel) => inner.SettleAsync(id, cancel);

    public ValueTask<int> SalvageAsync(ArenaId id, int sliceBytes, IReadOnlyList<int> heldIndexes, int fragmentIndex, Memory<byte> target, CancellationToken cancel) =>
        inner.SalvageAsync(id, sliceBytes, heldIndexes, fragmentIndex, target, cancel);

    public ValueTask<IReadOnlyList<HeldArenaEntry>> ListAsync(CancellationToken cancel) => inner.ListAsync(cancel);

    public ValueTask TrashAsync(ArenaId id, CancellationToken cancel) => inner.TrashAsync(id, cancel);

    public ValueTask RestoreAsync(ArenaId id, CancellationToken cancel) => inner.RestoreAsync(id, cancel);

    public ValueTask PurgeAsync(ArenaId id, CancellationToken cancel) => inner.PurgeAsync(id, cancel);

    public ValueTask DeleteAsync(ArenaId id, CancellationToken cancel) => inner.DeleteAsync(id, cancel);

    public ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel) => inner.ListObjectsAsync(prefix, cancel);

    public ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel) => inner.ReadObjectAsync(name, offset, target, cancel);

    public ValueTask DeleteObjectAsync(string name, CancellationToken cancel) => inner.DeleteObjectAsync(name, cancel);

    private DiskException Refused(string operation) => new(DiskFailure.Failed, operation, $"holder {inner.Id}", "it lies outside the countries allowed ([store] countries)");
}
