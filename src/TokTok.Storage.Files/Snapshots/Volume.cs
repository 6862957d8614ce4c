using System.Runtime.CompilerServices;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A volume as this device last committed or read it: its root, its snapshots, and the ways to change them.</summary>
/// <remarks>
/// Format: docs/format.md 14. Every change is an edit of the newest root, committed whole: a crash leaves the old root or the new one.
/// When another writer of this process committed in between, the edit is made once more on what is newest then.
/// Where lines of heads forked, the volume has the snapshots of all of them, the active tree is that of this device's own line (else of the newest by its clock),
/// and the next edit joins them: its root has all snapshots, and its head names every line as seen.
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

    public string Name { get; private set; }

    public DomainId Domain { get; }

    /// <summary>The volume's blocks at the store's own redundancy.</summary>
    public IBlockStore Blocks { get; }

    public SortedTable Tables { get; }

    public VolumeRoot Root => _state!.Root;

    /// <summary>The head that names <see cref="Root"/>; null for a volume that has not been committed yet.</summary>
    public Head? Head => _state!.Heads is [Head first, ..] ? first : null;

    /// <summary>Whether lines of heads forked and no edit has joined them yet.</summary>
    public bool IsForked => _state!.Heads.Count > 1;

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
        Head? newest = CurrentOf(store, null, name).FirstOrDefault();
        if (newest is null)
        {
            return null;
        }

        var volume = new Volume(store, name, newest.Domain, options);
        await volume.LoadAsync(CurrentOf(store, newest.Volume, name), cancel).ConfigureAwait(false);
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
        volume._state = new State([], new VolumeRoot { Id = VolumeId.New(random) }, [], volume.Blocks.Survive);
        return volume;
    }

    /// <summary>The snapshots in order of time.</summary>
    public async IAsyncEnumerable<SnapshotRecord> SnapshotsAsync([EnumeratorCancellation] CancellationToken cancel = default)
    {
        State state = _state!;
        if (state.Others.Count == 0)
        {
            await foreach (TableItem item in Tables.ScanAsync(state.Root.Snapshots, default, cancel).ConfigureAwait(false))
            {
                yield return SnapshotRecord.Decode(item);
            }

            yield break;
        }

        List<TableChange> foreign = await ForeignSnapshotsAsync(state, cancel).ConfigureAwait(false);
        var all = new List<SnapshotRecord>();
        await foreach (TableItem item in Tables.ScanAsync(state.Root.Snapshots, default, cancel).ConfigureAwait(false))
        {
            all.Add(SnapshotRecord.Decode(item));
        }

        all.AddRange(foreign.Select(static change => SnapshotRecord.Decode(new TableItem(change.Key, change.Value!.Value))));
        foreach (SnapshotRecord snapshot in all.OrderBy(static snapshot => snapshot.TimeNs).ThenBy(static snapshot => snapshot.Id.Value))
        {
            yield return snapshot;
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
                SnapshotRecord numbered = snapshot with { Number = root.NextSnapshot };
                List<TableChange> changes = [TableChange.Put(numbered.Key(), numbered.Encode())];
                if (replaced is not null && replaced.Id != snapshot.Id)
                {
                    changes.Add(TableChange.Delete(replaced.Key()));
                }

                root = root with
                {
                    NextSnapshot = root.NextSnapshot + 1,
                    Active = snapshot.Root,
                    Links = snapshot.Links,
                    Snapshots = await ChangeAsync(root, changes, cancel).ConfigureAwait(false),
                };
                return ids is null ? root : ids.Apply(root);
            },
            cancel,
            survive);
    }

    /// <summary>Keeps the tree that was last committed as a snapshot. Durable when it returns.</summary>
    /// <param name="onlyIfChanged">Makes none where the newest snapshot is that tree.</param>
    /// <returns>Null: there is no tree yet, or nothing has changed.</returns>
    public async ValueTask<SnapshotRecord?> SnapshotAsync(SnapshotTexts texts, IRandomSource random, TimeProvider clock, CancellationToken cancel, bool onlyIfChanged = false)
    {
        ArgumentNullException.ThrowIfNull(texts);
        await RefreshAsync(cancel).ConfigureAwait(false);
        if (Root.Active is not { } present || (onlyIfChanged && await IsNewestAsync(Root, present, cancel).ConfigureAwait(false)))
        {
            return null;
        }

        SnapshotRecord? made = null;
        await EditAsync(
            async root =>
            {
                (root, made) = await KeepPresentAsync(root, texts, random, clock, onlyIfChanged, cancel).ConfigureAwait(false);
                return root;
            },
            cancel).ConfigureAwait(false);
        return made;
    }

    /// <summary>Makes a snapshot's tree the one that goes on from here. What was there is kept as a snapshot first, unless the newest one is that already. One commit.</summary>
    /// <remarks>Nobody has the volume's active tree open.</remarks>
    /// <returns>The snapshot that keeps what was there; null: another one did.</returns>
    public async ValueTask<SnapshotRecord?> RollBackAsync(SnapshotRecord target, SnapshotTexts texts, IRandomSource random, TimeProvider clock, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(texts);
        SnapshotRecord? kept = null;
        await EditAsync(
            async root =>
            {
                (root, kept) = await KeepPresentAsync(root, texts, random, clock, onlyIfChanged: true, cancel).ConfigureAwait(false);
                return root with { Active = target.Root, Links = target.Links };
            },
            cancel).ConfigureAwait(false);
        return kept;
    }

    private async ValueTask<(VolumeRoot Root, SnapshotRecord? Made)> KeepPresentAsync(
        VolumeRoot root, SnapshotTexts texts, IRandomSource random, TimeProvider clock, bool onlyIfChanged, CancellationToken cancel)
    {
        if (root.Active is not { } active || (onlyIfChanged && await IsNewestAsync(root, active, cancel).ConfigureAwait(false)))
        {
            return (root, null);
        }

        var made = new SnapshotRecord
        {
            Id = SnapshotId.New(random),
            Number = root.NextSnapshot,
            TimeNs = Math.Max(0, (clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100),
            Host = texts.Host,
            Labels = texts.Labels,
            IsMarked = texts.IsMarked,
            Program = texts.Program,
            Root = active,
            Links = root.Links,
        };
        TableRoot snapshots = await ChangeAsync(root, [TableChange.Put(made.Key(), made.Encode())], cancel).ConfigureAwait(false);
        return (root with { NextSnapshot = root.NextSnapshot + 1, Snapshots = snapshots }, made);
    }

    private async ValueTask<bool> IsNewestAsync(VolumeRoot root, Entry active, CancellationToken cancel)
    {
        SnapshotRecord? newest = null;
        await foreach (TableItem item in Tables.ScanAsync(root.Snapshots, default, cancel).ConfigureAwait(false))
        {
            newest = SnapshotRecord.Decode(item);
        }

        return newest is not null && newest.Root.Encode().AsSpan().SequenceEqual(active.Encode());
    }

    /// <summary>Removes snapshots in one commit. What only they held is freed by a later reclaim. Absent ones are passed over.</summary>
    /// <remarks>An active tree that is the tree of a removed snapshot, nothing written since, becomes that of the newest one left: else it would hold what was to go.</remarks>
    /// <param name="keepsActive">But not where somebody has it open.</param>
    public ValueTask RemoveSnapshotsAsync(IReadOnlyCollection<SnapshotRecord> snapshots, CancellationToken cancel, bool keepsActive = false)
    {
        ArgumentNullException.ThrowIfNull(snapshots);
        List<TableChange> changes = [.. snapshots.Select(snapshot => TableChange.Delete(snapshot.Key()))];
        return EditAsync(
            async root =>
            {
                root = root with { Snapshots = await ChangeAsync(root, changes, cancel).ConfigureAwait(false) };
                if (keepsActive || root.Active is not { } active || !snapshots.Any(snapshot => snapshot.Root.Encode().AsSpan().SequenceEqual(active.Encode())))
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

    /// <summary>Gives the volume another name, which no other has. Durable when it returns; every line of heads is joined with it.</summary>
    public ValueTask RenameAsync(string name, CancellationToken cancel)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        return EditAsync(ValueTask.FromResult, null, name, cancel);
    }

    /// <summary>Marks or unmarks a snapshot; a marked one is kept whatever the keep rules say.</summary>
    public ValueTask MarkAsync(SnapshotRecord snapshot, bool isMarked, CancellationToken cancel) =>
        AlterAsync(snapshot, found => found with { IsMarked = isMarked }, cancel);

    /// <summary>Gives a snapshot other labels.</summary>
    public ValueTask RelabelAsync(SnapshotRecord snapshot, IReadOnlyList<string> labels, CancellationToken cancel) =>
        AlterAsync(snapshot, found => found with { Labels = labels }, cancel);

    /// <summary>Commits an edit of the newest root. The edit may run twice and must not depend on its first run.</summary>
    /// <param name="survive">How many lost places the strongest part of what the edit adds outlives: what leads to it is kept as strong. Null: it adds nothing.</param>
    public ValueTask EditAsync(Func<VolumeRoot, ValueTask<VolumeRoot>> edit, CancellationToken cancel, int? survive = null)
    {
        ArgumentNullException.ThrowIfNull(edit);
        return EditAsync(edit, survive, Name, cancel);
    }

    private async ValueTask EditAsync(Func<VolumeRoot, ValueTask<VolumeRoot>> edit, int? survive, string name, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            for (bool isRetry = false; ; isRetry = true)
            {
                await ReadNewestAsync(cancel).ConfigureAwait(false);
                await FindSurviveAsync(cancel).ConfigureAwait(false);
                State state = _state!;
                VolumeRoot root = await JoinedAsync(state, cancel).ConfigureAwait(false);
                if (survive is int asked && Math.Max(asked, Blocks.Survive) is int wanted && wanted > state.Survive)
                {
                    // The blocks that lead to the older snapshots lead to this addition now.
                    _state = state with { Survive = wanted };
                    root = root with { Snapshots = await RewriteAsync(root, cancel).ConfigureAwait(false) };
                }

                root = await edit(root).ConfigureAwait(false);
                Head next = _store.NextHead(root.Id, name, Domain, state.Heads);
                root = root.Under(next);
                BlockWrite block = await Blocks.At(Survive).WriteAsync(BlockType.VolumeRoot, root.Encode(), cancel).ConfigureAwait(false);
                Head committed;
                try
                {
                    committed = await _store.CommitAsync(next with { Root = block.Score }, cancel).ConfigureAwait(false);
                }
                catch (Exception) when (!isRetry && !CurrentOf(_store, root.Id, Name).SequenceEqual(state.Heads))
                {
                    continue;
                }

                _state = new State([committed], root, [], Survive);
                Name = name;
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

    /// <summary>Reads what another writer of this process, or of the store, has committed since. An edit that is under way here does so itself.</summary>
    public async ValueTask RefreshAsync(CancellationToken cancel)
    {
        if (_gate.Wait(0, cancel))
        {
            try
            {
                await ReadNewestAsync(cancel).ConfigureAwait(false);
            }
            finally
            {
                _gate.Release();
            }
        }
    }

    private async ValueTask ReadNewestAsync(CancellationToken cancel)
    {
        State state = _state!;
        List<Head> current = CurrentOf(_store, state.Root.Id, Name);
        if (current.Count > 0 && !current.SequenceEqual(state.Heads))
        {
            await LoadAsync(current, cancel).ConfigureAwait(false);
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
        for (IBlockStore blocks = Blocks; state.Heads.Count > 0 && await blocks.ContainsAsync(state.Heads[0].Root, BlockType.VolumeRoot, cancel).ConfigureAwait(false); blocks = Blocks.At(survive + 1))
        {
            if (blocks.Survive <= survive)
            {
                break; // the places allow no more
            }

            survive = blocks.Survive;
        }

        _state = state with { Survive = survive };
    }

    private async ValueTask LoadAsync(List<Head> heads, CancellationToken cancel)
    {
        var read = new List<Head>();
        var roots = new List<VolumeRoot>();
        foreach (Head head in heads)
        {
            try
            {
                roots.Add(await ReadRootAsync(Blocks, head, cancel).ConfigureAwait(false));
                read.Add(head);
            }
            catch (Exception damage) when (roots.Count > 0 && damage is DamagedBlockException or DamagedFormatException)
            {
                // Another line's root cannot be read now: its head stays, unjoined, and this line goes on.
            }
        }

        _state = new State(read, roots[0], roots[1..], null);
    }

    /// <summary>The root with the snapshots and file ids of all lines.</summary>
    private async ValueTask<VolumeRoot> JoinedAsync(State state, CancellationToken cancel)
    {
        if (state.Others.Count == 0)
        {
            return state.Root;
        }

        var next = new Dictionary<uint, ulong>(state.Root.NextFile);
        foreach ((uint device, ulong counter) in state.Others.SelectMany(static other => other.NextFile))
        {
            next[device] = Math.Max(counter, next.GetValueOrDefault(device));
        }

        // Lines that parted gave out the same numbers: the first line's stand.
        var taken = new HashSet<ulong>();
        await foreach (TableItem item in Tables.ScanAsync(state.Root.Snapshots, default, cancel).ConfigureAwait(false))
        {
            taken.Add(SnapshotRecord.Decode(item).Number);
        }

        ulong number = Math.Max(state.Root.NextSnapshot, state.Others.Max(static other => other.NextSnapshot));
        List<TableChange> foreign = [];
        foreach (TableChange change in await ForeignSnapshotsAsync(state, cancel).ConfigureAwait(false))
        {
            SnapshotRecord snapshot = SnapshotRecord.Decode(new TableItem(change.Key, change.Value!.Value));
            foreign.Add(taken.Add(snapshot.Number) ? change : TableChange.Put(change.Key, (snapshot with { Number = number++ }).Encode()));
        }

        return state.Root with
        {
            NextFile = next,
            NextSnapshot = number,
            Snapshots = await ChangeAsync(state.Root, foreign, cancel).ConfigureAwait(false),
        };
    }

    /// <summary>The snapshots of the other lines that the first one has not got.</summary>
    private async ValueTask<List<TableChange>> ForeignSnapshotsAsync(State state, CancellationToken cancel)
    {
        var changes = new Dictionary<SnapshotId, TableChange>();
        foreach (VolumeRoot other in state.Others)
        {
            await foreach (TableItem item in Tables.ScanAsync(other.Snapshots, default, cancel).ConfigureAwait(false))
            {
                if (await Tables.GetAsync(state.Root.Snapshots, item.Key, cancel).ConfigureAwait(false) is null)
                {
                    changes.TryAdd(SnapshotRecord.Decode(item).Id, TableChange.Put(item.Key.ToArray(), item.Value.ToArray()));
                }
            }
        }

        return [.. changes.Values];
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

    /// <summary>The heads of a volume that none supersedes, the one to go on from first: this device's own newest by sequence, else the newest by its clock.</summary>
    private static List<Head> CurrentOf(IVolumeStore store, VolumeId? volume, string name)
    {
        return [.. store.Heads.Where(head => head.VolumeName == name && (volume is null || head.Volume == volume))
            .OrderBy(static head => head, Comparer<Head>.Create((one, other) =>
            {
                int order = IsOwn(other).CompareTo(IsOwn(one));
                order = order != 0 ? order : other.TimeNs.CompareTo(one.TimeNs);
                order = order != 0 ? order : other.Sequence.CompareTo(one.Sequence);
                return order != 0 ? order : other.Incarnation.CompareTo(one.Incarnation);
            }))];

        bool IsOwn(Head head) => head.Device == store.Device && head.Incarnation == store.Incarnation;
    }

    private sealed record State(IReadOnlyList<Head> Heads, VolumeRoot Root, IReadOnlyList<VolumeRoot> Others, int? Survive);
}
