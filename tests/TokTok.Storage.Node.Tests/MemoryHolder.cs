using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Node.Tests;

/// <summary>A holder in memory, plain enough to be seen to be right: what a node's folder is in these tests.</summary>
internal sealed class MemoryHolder : IFragmentHolder
{
    private readonly Lock _gate = new();

    internal Dictionary<ArenaId, Held> Arenas { get; } = [];

    internal SortedDictionary<string, byte[]> Objects { get; } = new(StringComparer.Ordinal);

    /// <summary>Calls that came through: how often what is behind the door was asked anything.</summary>
    internal int CallCount { get; private set; }

    public HolderId Id { get; private set; } = HolderId.New(SystemRandom.Instance);

    /// <summary>The disk under it is replaced by an empty one: another holder, by what nodes can tell.</summary>
    internal void Replace()
    {
        lock (_gate)
        {
            Id = HolderId.New(SystemRandom.Instance);
            Arenas.Clear();
            Objects.Clear();
        }
    }

    public ValueTask PutAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel) => Do(() =>
    {
        if (!Arenas.TryGetValue(id, out Held? held))
        {
            Arenas[id] = held = new Held(dataFragments, parityFragments, sliceBytes);
        }

        foreach (FragmentData fragment in fragments)
        {
            held.Fragments[fragment.Index] = (fragment.Name, fragment.Bytes.ToArray());
        }
    });

    public ValueTask ReplaceAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel)
    {
        Arenas.Remove(id);
        return PutAsync(id, dataFragments, parityFragments, sliceBytes, fragments, cancel);
    }

    public ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel) => Ask(() =>
    {
        if (!Arenas.TryGetValue(id, out Held? held) || !held.Fragments.TryGetValue(fragmentIndex, out (FragmentName Name, byte[] Bytes) fragment))
        {
            return -1;
        }

        int count = (int)Math.Clamp(fragment.Bytes.Length - offset, 0, target.Length);
        fragment.Bytes.AsSpan((int)offset, count).CopyTo(target.Span);
        return count;
    });

    public ValueTask<byte[]?> ReadGroupHashesAsync(ArenaId id, int fragmentIndex, FragmentName expected, CancellationToken cancel) => Ask(() =>
    {
        // Those of the bytes that were put, as a folder keeps them beside the bytes.
        Held? held = Arenas.GetValueOrDefault(id);
        return held?.Hashes.GetValueOrDefault(fragmentIndex) ?? (held?.Fragments.TryGetValue(fragmentIndex, out (FragmentName Name, byte[] Bytes) fragment) == true ? HashesOf(fragment.Bytes) : null);
    });

    public ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel) => Ask(() => Arenas.TryGetValue(id, out Held? held) ? held.Describe(id) : null);

    public ValueTask SettleAsync(ArenaId id, CancellationToken cancel) => Do(static () => { });

    public ValueTask<int> SalvageAsync(ArenaId id, int sliceBytes, IReadOnlyList<int> heldIndexes, int fragmentIndex, Memory<byte> target, CancellationToken cancel) =>
        ReadAsync(id, fragmentIndex, 0, target, cancel);

    public ValueTask RewriteGroupsAsync(ArenaId id, int fragmentIndex, IReadOnlyList<int> groups, ReadOnlyMemory<byte> bytes, CancellationToken cancel) => Do(() =>
    {
        byte[] target = Arenas[id].Fragments[fragmentIndex].Bytes;
        int taken = 0;
        foreach (int group in groups)
        {
            int at = group * Blake3.GroupSize;
            int count = Math.Min(Blake3.GroupSize, target.Length - at);
            bytes.Span.Slice(taken, count).CopyTo(target.AsSpan(at));
            taken += count;
        }
    });

    public ValueTask MendAsync(ArenaId id, IReadOnlyList<FragmentHashes> hashes, CancellationToken cancel) => Do(static () => { });

    public ValueTask<IReadOnlyList<HeldArenaEntry>> ListAsync(CancellationToken cancel) =>
        Ask(() => (IReadOnlyList<HeldArenaEntry>)[.. Arenas.Select(static arena => new HeldArenaEntry(arena.Key, arena.Value.IsInTrash, arena.Value.Describe(arena.Key), null))]);

    public ValueTask TrashAsync(ArenaId id, CancellationToken cancel) => Do(() => Move(id, toTrash: true));

    public ValueTask RestoreAsync(ArenaId id, CancellationToken cancel) => Do(() => Move(id, toTrash: false));

    public ValueTask PurgeAsync(ArenaId id, CancellationToken cancel) => Do(() =>
    {
        if (Arenas.TryGetValue(id, out Held? held) && held.IsInTrash)
        {
            Arenas.Remove(id);
        }
    });

    public ValueTask DeleteAsync(ArenaId id, CancellationToken cancel) => Do(() => Arenas.Remove(id));

    public ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel) => Ask(() =>
        (IReadOnlyList<HolderObject>)[.. Objects.Where(each => each.Key.StartsWith(prefix, StringComparison.Ordinal)).Select(static each => new HolderObject(each.Key, each.Value.Length))]);

    public ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel) => Ask(() =>
    {
        byte[] bytes = Objects.GetValueOrDefault(name) ?? [];
        int count = (int)Math.Clamp(bytes.Length - offset, 0, target.Length);
        bytes.AsSpan((int)Math.Min(offset, bytes.Length), count).CopyTo(target.Span);
        return count;
    });

    public ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, CancellationToken cancel) => Do(() =>
    {
        byte[] before = offset == 0 ? [] : Objects.GetValueOrDefault(name) ?? [];
        if (before.Length != offset)
        {
            throw new DiskException(DiskFailure.Failed, "append", name, $"it has {before.Length} bytes, {offset} expected");
        }

        Objects[name] = [.. before, .. bytes.Span];
    });

    public ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel) => Do(() => Objects[name] = bytes.ToArray());

    public ValueTask DeleteObjectAsync(string name, CancellationToken cancel) => Do(() => Objects.Remove(name));

    private static byte[] HashesOf(byte[] bytes)
    {
        byte[] hashes = new byte[Blake3Tree.GroupCount(bytes.Length) * Blake3.HashSize];
        Blake3Tree.HashWithGroups(bytes, hashes, new byte[Blake3.HashSize]);
        return hashes;
    }

    private void Move(ArenaId id, bool toTrash)
    {
        if (Arenas.TryGetValue(id, out Held? held))
        {
            held.IsInTrash = toTrash;
        }
    }

    private ValueTask Do(Action action)
    {
        lock (_gate)
        {
            CallCount++;
            action();
            return ValueTask.CompletedTask;
        }
    }

    private ValueTask<T> Ask<T>(Func<T> question)
    {
        lock (_gate)
        {
            CallCount++;
            return ValueTask.FromResult(question());
        }
    }

    internal sealed class Held(int data, int parity, int slice)
    {
        internal bool IsInTrash { get; set; }

        internal SortedDictionary<int, (FragmentName Name, byte[] Bytes)> Fragments { get; } = [];

        internal Dictionary<int, byte[]> Hashes { get; } = [];

        /// <summary>Changes a byte, and keeps the hashes that were right before.</summary>
        internal void Damage(int index, int at)
        {
            Hashes[index] = HashesOf(Fragments[index].Bytes);
            Fragments[index].Bytes[at] ^= 1;
        }

        internal HeldArena Describe(ArenaId id) =>
            new(id, data, parity, slice, [.. Fragments.Select(static each => new HeldFragment(each.Key, each.Value.Name))], IsRecordDamaged: false, IsInTrash);
    }
}
