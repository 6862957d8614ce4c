using System.Runtime.CompilerServices;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A volume as this device last committed or read it: its root, its snapshots, and the ways to change them.</summary>
/// <remarks>
/// Format: docs/format.md 14. Every change is an edit of the newest root, committed whole: a crash leaves the old root or the new one.
/// When another writer of this process committed in between, the edit is made once more on what is newest then.
/// Locks: _gate lets one edit run at a time; reading takes none and sees the root of some moment.
/// </remarks>
public sealed class Volume : IDisposable
{
    private readonly IVolumeStore _store;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly TableOptions? _tableOptions;
    private volatile State? _state;

    private Volume(IVolumeStore store, string name, DomainId domain, TableOptions? options)
    {
        _store = store;
        _tableOptions = options;
        Name = name;
        Domain = domain;
        Blocks = store.OpenBlocks(domain, null);
        Tables = new SortedTable(Blocks, options);
    }

    public string Name { get; }

    public DomainId Domain { get; }

    /// <summary>The volume's blocks at the store's own redundancy.</summary>
    public IBlockStore Blocks { get; }

    public SortedTable Tables { get; }

    public VolumeRoot Root => _state!.Root;

    /// <summary>The head that names <see cref="Root"/>; null for a volume that has not been committed yet.</summary>
    public Head? Head => _state!.Head;

    /// <summary>How many lost places the root outlives: as many as the strongest part that it has led to. New roots are no weaker.
    /// Known from the first edit on; before, the store's own setting.</summary>
    public int Survive => Math.Max(_state!.Survive ?? 0, Blocks.Survive);

    /// <summary>Sizes of the tables that this volume writes.</summary>
    public TableOptions TableOptions => _tableOptions ?? TableOptions.Default;

    /// <summary>Names of the volumes in a store, ascending, each once.</summary>
    public static IReadOnlyList<string> Names(IVolumeStore store)
    {
        ArgumentNullException.ThrowIfNull(store);
        return [.. store.Heads.Select(head => head.VolumeName).Distinct().Order(StringComparer.Ordinal)];
    }

    /// <summary>The volume of that name at its newest head, or null where there is none.</summary>
    public static async ValueTask<Volume?> TryOpenAsync(IVolumeStore store, string name, CancellationToken cancel, TableOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        Head? newest = NewestOf(store, head => head.VolumeName == name);
        if (newest is null)
        {
            return null;
        }

        var volume = new Volume(store, name, newest.Domain, options);
        await volume.LoadAsync(newest, cancel).ConfigureAwait(false);
        return volume;
    }

    /// <summary>The volume of that name, or a new one in the realm, which exists in the store from its first commit on.</summary>
    public static async ValueTask<Volume> OpenOrCreateAsync(
        IVolumeStore store, string name, IRandomSource random, CancellationToken cancel, TableOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        Volume? present = await TryOpenAsync(store, name, cancel, options).ConfigureAwait(false);
        return present ?? Create(store, name, store.Realm, random, options);
    }

    /// <summary>A new volume in a domain, without a commit yet.</summary>
    public static Volume Create(IVolumeStore store, string name, DomainId domain, IRandomSource random, TableOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(store);
        var volume = new Volume(store, name, domain, options);
        volume._state = new State(null, new VolumeRoot { Id = VolumeId.New(random) }, volume.Blocks.Survive);
        return volume;
    }

    /// <summary>The snapshots in order of time.</summary>
    public async IAsyncEnumerable<SnapshotRecord> SnapshotsAsync([EnumeratorCancellation] CancellationToken cancel = default)
    {
        await foreach (TableItem item in Tables.ScanAsync(Root.Snapshots, default, cancel).ConfigureAwait(false))
        {
            yield return SnapshotRecord.Decode(item);
        }
    }

    public async ValueTask<IReadOnlyList<SnapshotRecord>> ListSnapshotsAsync(CancellationToken cancel)
    {
        List<SnapshotRecord> all = [];
        await foreach (SnapshotRecord snapshot in SnapshotsAsync(cancel).ConfigureAwait(false))
        {
            all.Add(snapshot);
        }

        return all;
    }

    /// <summary>Adds a snapshot, makes its tree the active one, and takes note of the file ids given out.</summary>
    /// <param name="replaced">An unfinished snapshot that this one continues and takes the place of.</param>
    /// <param name="survive">How many lost places the strongest part of the snapshot outlives: what leads to it is kept as strong.</param>
    /// <remarks>Durable when it returns, with every block written before.</remarks>
    public ValueTask AddSnapshotAsync(SnapshotRecord snapshot, FileIds? ids, SnapshotRecord? replaced, CancellationToken cancel, int survive = 0)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        return EditAsync(
            async root =>
            {
                int wanted = Math.Max(survive, Blocks.Survive);
                if (wanted > _state!.Survive)
                {
                    // The blocks that lead to the older snapshots lead to this one now.
                    _state = _state with { Survive = wanted };
                    root = root with { Snapshots = await RewriteAsync(root, cancel).ConfigureAwait(false) };
                }

                List<TableChange> changes = [TableChange.Put(snapshot.Key(), snapshot.Encode())];
                if (replaced is not null && replaced.Id != snapshot.Id)
                {
                    changes.Add(TableChange.Delete(replaced.Key()));
                }

                root = root with
                {
                    Active = snapshot.Root,
                    Links = snapshot.Links,
                    Snapshots = await ChangeAsync(root, changes, cancel).ConfigureAwait(false),
                };
                return ids is null ? root : ids.Apply(root);
            },
            cancel);
    }

    /// <summary>Removes snapshots in one commit. What only they held is freed by a later reclaim. Absent ones are passed over.</summary>
    /// <remarks>An active tree that is the tree of a removed snapshot, nothing written since, becomes that of the newest one left: else it would hold what was to go.</remarks>
    public ValueTask RemoveSnapshotsAsync(IReadOnlyCollection<SnapshotRecord> snapshots, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(snapshots);
        List<TableChange> changes = [.. snapshots.Select(snapshot => TableChange.Delete(snapshot.Key()))];
        return EditAsync(
            async root =>
            {
                root = root with { Snapshots = await ChangeAsync(root, changes, cancel).ConfigureAwait(false) };
                if (root.Active is not { } active || !snapshots.Any(snapshot => snapshot.Root.Encode().AsSpan().SequenceEqual(active.Encode())))
                {
                    return root;
                }

                SnapshotRecord? newest = null;
                await foreach (TableItem item in Tables.ScanAsync(root.Snapshots, default, cancel).ConfigureAwait(false))
                {
                    newest = SnapshotRecord.Decode(item); // by time: the last one is the newest
                }

                return root with { Active = newest?.Root, Links = newest?.Links ?? TableRoot.Empty };
            },
            cancel);
    }

    /// <summary>Marks or unmarks a snapshot; a marked one is kept whatever the keep rules say.</summary>
    public ValueTask MarkAsync(SnapshotRecord snapshot, bool isMarked, CancellationToken cancel) =>
        AlterAsync(snapshot, found => found with { IsMarked = isMarked }, cancel);

    /// <summary>Gives a snapshot other labels.</summary>
    public ValueTask RelabelAsync(SnapshotRecord snapshot, IReadOnlyList<string> labels, CancellationToken cancel) =>
        AlterAsync(snapshot, found => found with { Labels = labels }, cancel);

    /// <summary>Commits an edit of the newest root. The edit may run twice and must not depend on its first run.</summary>
    public async ValueTask EditAsync(Func<VolumeRoot, ValueTask<VolumeRoot>> edit, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(edit);
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            for (bool isRetry = false; ; isRetry = true)
            {
                await RefreshAsync(cancel).ConfigureAwait(false);
                await FindSurviveAsync(cancel).ConfigureAwait(false);
                State state = _state!;
                VolumeRoot root = await edit(state.Root).ConfigureAwait(false);
                BlockWrite block = await Blocks.At(Survive).WriteAsync(BlockType.VolumeRoot, root.Encode(), cancel).ConfigureAwait(false);

                // This device's line of heads may be older than the newest of all: the new head follows its own.
                Head? replaces = NewestOf(_store, head => head.Volume == root.Id && head.Device == _store.Device);
                Head committed;
                try
                {
                    committed = await _store.CommitAsync(root.Id, Name, Domain, block.Score, replaces, cancel).ConfigureAwait(false);
                }
                catch (Exception) when (!isRetry && NewestOf(_store, head => head.Volume == root.Id && head.Device == _store.Device) != replaces)
                {
                    continue;
                }

                _state = new State(committed, root, Survive);
                return;
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    public void Dispose() => _gate.Dispose();

    private ValueTask AlterAsync(SnapshotRecord snapshot, Func<SnapshotRecord, SnapshotRecord> alter, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        return EditAsync(
            async root =>
            {
                ReadOnlyMemory<byte> key = snapshot.Key();
                ReadOnlyMemory<byte>? value = await Tables.GetAsync(root.Snapshots, key, cancel).ConfigureAwait(false);
                if (value is not ReadOnlyMemory<byte> found)
                {
                    throw new InvalidOperationException($"Snapshot {snapshot.Id} is no longer in volume {Name}.");
                }

                SnapshotRecord altered = alter(SnapshotRecord.Decode(new TableItem(key, found)));
                List<TableChange> changes = [TableChange.Put(key, altered.Encode())];
                return root with { Snapshots = await ChangeAsync(root, changes, cancel).ConfigureAwait(false) };
            },
            cancel);
    }

    private ValueTask<TableRoot> ChangeAsync(VolumeRoot root, List<TableChange> changes, CancellationToken cancel)
    {
        changes.Sort((left, right) => left.Key.Span.SequenceCompareTo(right.Key.Span));
        return Tables.At(Survive).UpdateAsync(root.Snapshots, changes, cancel);
    }

    /// <summary>The same table of snapshots, each block of it as strong as the volume's root.</summary>
    private async ValueTask<TableRoot> RewriteAsync(VolumeRoot root, CancellationToken cancel)
    {
        TableBuilder builder = Tables.At(Survive).NewBuilder();
        await foreach (TableItem item in Tables.ScanAsync(root.Snapshots, default, cancel).ConfigureAwait(false))
        {
            await builder.AddAsync(item.Key, item.Value, cancel).ConfigureAwait(false);
        }

        return await builder.FinishAsync(cancel).ConfigureAwait(false);
    }

    private async ValueTask RefreshAsync(CancellationToken cancel)
    {
        State state = _state!;
        Head? newest = NewestOf(_store, head => head.Volume == state.Root.Id);
        if (newest is not null && newest != state.Head)
        {
            await LoadAsync(newest, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>How strong the blocks are that lead to the snapshots: the next ones are to be no weaker.</summary>
    private async ValueTask FindSurviveAsync(CancellationToken cancel)
    {
        State state = _state!;
        if (state.Survive is not null)
        {
            return;
        }

        int survive = -1;
        for (IBlockStore blocks = Blocks; state.Head is not null && await blocks.ContainsAsync(state.Head.Root, BlockType.VolumeRoot, cancel).ConfigureAwait(false); blocks = Blocks.At(survive + 1))
        {
            if (blocks.Survive <= survive)
            {
                break; // the places allow no more
            }

            survive = blocks.Survive;
        }

        _state = state with { Survive = survive };
    }

    private async ValueTask LoadAsync(Head head, CancellationToken cancel)
    {
        VolumeRoot root = await ReadRootAsync(Blocks, head, cancel).ConfigureAwait(false);
        _state = new State(head, root, null);
    }

    /// <summary>Reads the root that a head names, and checks that it is the volume's.</summary>
    public static async ValueTask<VolumeRoot> ReadRootAsync(IBlockStore blocks, Head head, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(head);
        byte[] block = await BlockReading.ReadWholeAsync(blocks, head.Root, BlockType.VolumeRoot, cancel).ConfigureAwait(false);
        VolumeRoot root = VolumeRoot.Decode(block);
        return root.Id == head.Volume
            ? root
            : throw new DamagedFormatException($"volume root {head.Root}: expected volume {head.Volume}, found {root.Id}");
    }

    /// <summary>The newest head: of one device by its sequence, among devices by their clocks (merging lines is for sync).</summary>
    private static Head? NewestOf(IVolumeStore store, Func<Head, bool> wanted)
    {
        Head? newest = null;
        foreach (Head head in store.Heads)
        {
            bool isNewer = newest is null
                || (head.Device == newest.Device && head.Volume == newest.Volume
                    ? head.Sequence > newest.Sequence
                    : head.TimeNs > newest.TimeNs);
            if (wanted(head) && isNewer)
            {
                newest = head;
            }
        }

        return newest;
    }

    private sealed record State(Head? Head, VolumeRoot Root, int? Survive);
}
