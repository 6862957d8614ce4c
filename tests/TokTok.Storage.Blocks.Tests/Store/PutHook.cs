using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>A holder whose puts wait for what a test says, or fail as it says; everything else goes through.</summary>
/// <remarks>A put is called once the arena is encrypted in its buffer, and from the thread that seals it.</remarks>
internal sealed class PutHook(IFragmentHolder inner, Func<Task> beforePut) : IFragmentHolder
{
    public HolderId Id => inner.Id;

    /// <summary>Whether others are asked first.</summary>
    internal Func<bool>? Slow { get; init; }

    public bool IsSlow => Slow?.Invoke() ?? inner.IsSlow;

    internal TimeSpan? Time { get; init; }

    public TimeSpan? Patience(int bytes) => Time;

    public async ValueTask PutAsync(
        ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel)
    {
        await beforePut();
        await inner.PutAsync(id, dataFragments, parityFragments, sliceBytes, fragments, cancel);
    }

    public ValueTask ReplaceAsync(
        ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel) =>
        inner.ReplaceAsync(id, dataFragments, parityFragments, sliceBytes, fragments, cancel);

    /// <summary>Told of the bytes that a read of a fragment asks for.</summary>
    internal Action<int>? BeforeRead { get; init; }

    /// <summary>Waited for before a fragment is read.</summary>
    internal Func<CancellationToken, Task>? HoldsUp { get; init; }

    public async ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel)
    {
        BeforeRead?.Invoke(target.Length);
        await (HoldsUp?.Invoke(cancel) ?? Task.CompletedTask);
        return await inner.ReadAsync(id, fragmentIndex, offset, target, cancel);
    }

    public ValueTask<byte[]?> ReadGroupHashesAsync(ArenaId id, int fragmentIndex, FragmentName expected, CancellationToken cancel) =>
        inner.ReadGroupHashesAsync(id, fragmentIndex, expected, cancel);

    /// <summary>Called before it is asked what it keeps of an arena.</summary>
    internal Action? BeforeInspect { get; init; }

    public ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel)
    {
        BeforeInspect?.Invoke();
        return inner.InspectAsync(id, cancel);
    }

    /// <summary>Called before what it has of an arena is made durable.</summary>
    internal Action? BeforeSettle { get; init; }

    public ValueTask SettleAsync(ArenaId id, CancellationToken cancel)
    {
        BeforeSettle?.Invoke();
        return inner.SettleAsync(id, cancel);
    }

    public ValueTask<int> SalvageAsync(
        ArenaId id, int sliceBytes, IReadOnlyList<int> heldIndexes, int fragmentIndex, Memory<byte> target, CancellationToken cancel) =>
        inner.SalvageAsync(id, sliceBytes, heldIndexes, fragmentIndex, target, cancel);

    public ValueTask RewriteGroupsAsync(ArenaId id, int fragmentIndex, IReadOnlyList<int> groups, ReadOnlyMemory<byte> bytes, CancellationToken cancel) =>
        inner.RewriteGroupsAsync(id, fragmentIndex, groups, bytes, cancel);

    public ValueTask MendAsync(ArenaId id, IReadOnlyList<FragmentHashes> hashes, CancellationToken cancel) => inner.MendAsync(id, hashes, cancel);

    public ValueTask<IReadOnlyList<HeldArenaEntry>> ListAsync(CancellationToken cancel) => inner.ListAsync(cancel);

    /// <summary>Called before an arena is moved to the trash.</summary>
    internal Action? BeforeTrash { get; init; }

    public ValueTask TrashAsync(ArenaId id, CancellationToken cancel)
    {
        BeforeTrash?.Invoke();
        return inner.TrashAsync(id, cancel);
    }

    public ValueTask RestoreAsync(ArenaId id, CancellationToken cancel) => inner.RestoreAsync(id, cancel);

    public ValueTask PurgeAsync(ArenaId id, CancellationToken cancel) => inner.PurgeAsync(id, cancel);

    public ValueTask DeleteAsync(ArenaId id, CancellationToken cancel) => inner.DeleteAsync(id, cancel);

    public ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel) => inner.ListObjectsAsync(prefix, cancel);

    /// <summary>Told of where in an object a read begins.</summary>
    internal Action<string, long>? BeforeReadObject { get; init; }

    public ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel)
    {
        BeforeReadObject?.Invoke(name, offset);
        return inner.ReadObjectAsync(name, offset, target, cancel);
    }

    /// <summary>Waited for before an object is appended to.</summary>
    internal Func<string, Task>? BeforeAppend { get; init; }

    public async ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, CancellationToken cancel)
    {
        await (BeforeAppend?.Invoke(name) ?? Task.CompletedTask);
        await inner.AppendObjectAsync(name, offset, bytes, isSynced, cancel);
    }

    public ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel) => inner.PutObjectAsync(name, bytes, cancel);

    public ValueTask DeleteObjectAsync(string name, CancellationToken cancel) => inner.DeleteObjectAsync(name, cancel);
}
