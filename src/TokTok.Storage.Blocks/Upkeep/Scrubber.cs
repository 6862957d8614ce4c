using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>What a check found. Damaged has one line a fragment or directory that is not as the catalog says, and one a copy at a holder that recovery would need.</summary>
public sealed record ScrubReport(long ArenaCount, long FragmentCount, long ReadBytes, IReadOnlyList<string> Damaged);

/// <summary>What a repair wrote, and what it had to leave, one line each.</summary>
public sealed record MendReport(long RepairedFragments, long WrittenBytes, IReadOnlyList<string> Unrepairable)
{
    /// <summary>The first failure of a disk on the way, a full one say: what it stopped is no damage, and another repair may mend it.</summary>
    public DiskException? Failure { get; init; }
}

/// <summary>Compares every arena's fragments with the catalog, and brings back what parity can.</summary>
/// <remarks>
/// Source: docs/format.md 7 for what a holder keeps; <see cref="FragmentRepair"/> for how it is verified and mended.
/// Check writes nothing and may run beside a writer. Repair needs the writer's lock: in place first, by name; then what has no reachable
/// holder goes to a new one. Order of a move: fragments durable at the new holder → catalog record durable → copies of the catalog.
/// A crash between leaves a fragment that no record names: space, not damage.
/// Arenas in the trash are not looked at. Memory: k slices of one arena at most.
/// </remarks>
public sealed class Scrubber(BlockStore store)
{
    private readonly SortedDictionary<string, long> _left = new(StringComparer.Ordinal); // fragments that no place can take, by the holder that has them
    private DiskException? _failure;

    /// <param name="readAll">Reads every byte of every fragment instead of the holders' records alone.</param>
    /// <param name="progress">Phase, fragment bytes looked at, and all of them.</param>
    public async ValueTask<ScrubReport> CheckAsync(bool readAll, Action<string, long, long>? progress, CancellationToken cancel)
    {
        var damaged = new List<string>();
        IReadOnlyList<ArenaRecord> arenas = KeptArenas();
        long total = arenas.Sum(static arena => StoredBytes(arena));
        long done = 0;
        long read = 0;
        long fragments = 0;
        foreach (ArenaRecord arena in arenas)
        {
            cancel.ThrowIfCancellationRequested();
            FragmentSet set = store.SetOf(arena);
            IReadOnlyList<FragmentReport> reports = readAll
                ? await FragmentRepair.VerifyAsync(set, cancel).ConfigureAwait(false)
                : await InspectAsync(set, cancel).ConfigureAwait(false);
            foreach (FragmentReport report in reports.Where(static report => !IsWhole(report)))
            {
                damaged.Add(Line(arena, report));
            }

            if (readAll)
            {
                read += reports.Count(static report => report.Health is FragmentHealth.Good or FragmentHealth.Damaged) * (long)arena.Layout.SliceBytes;
            }

            if (await DirectoryDamageAsync(arena, cancel).ConfigureAwait(false) is { } line)
            {
                damaged.Add(line);
            }

            fragments += reports.Count;
            done += StoredBytes(arena);
            progress?.Invoke("checking fragments", done, total);
        }

        damaged.AddRange(await store.CheckCopiesAsync(cancel).ConfigureAwait(false));
        return new ScrubReport(arenas.Count, fragments, read, damaged);
    }

    public async ValueTask<MendReport> RepairAsync(Action<string, long, long>? progress, CancellationToken cancel)
    {
        var unrepairable = new List<string>();
        IReadOnlyList<ArenaRecord> arenas = KeptArenas();
        long total = arenas.Sum(static arena => StoredBytes(arena));
        long done = 0;
        long repaired = 0;
        long written = 0;
        foreach (ArenaRecord arena in arenas)
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                (long fragments, long bytes) = await RepairArenaAsync(arena, unrepairable, cancel).ConfigureAwait(false);
                repaired += fragments;
                written += bytes;
            }
            catch (DiskException failure)
            {
                _failure ??= failure;
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                unrepairable.Add($"arena {arena.Ordinal}: {damage.Message}");
            }

            done += StoredBytes(arena);
            progress?.Invoke("repairing fragments", done, total);
        }

        unrepairable.AddRange(TakeLeft());
        await store.PublishAsync(cancel).ConfigureAwait(false);
        return new MendReport(repaired, written, unrepairable) { Failure = _failure };
    }

    /// <summary>Mends one arena; returns what it had to leave, one line each.</summary>
    internal async ValueTask<IReadOnlyList<string>> CompleteAsync(ArenaRecord arena, CancellationToken cancel)
    {
        var unrepairable = new List<string>();
        try
        {
            await RepairArenaAsync(arena, unrepairable, cancel).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is DamagedBlockException or DamagedFormatException or DiskException)
        {
            unrepairable.Add($"arena {arena.Ordinal}: {failure.Message}");
        }

        return [.. unrepairable, .. TakeLeft()];
    }

    /// <summary>One line a holder: where it is away, every arena has a fragment there.</summary>
    private List<string> TakeLeft()
    {
        List<string> lines = [.. _left.Select(left =>
            $"{left.Key}: no other reachable place{store.Placement.Rule} is left for its {(left.Value == 1 ? "fragment" : $"{left.Value} fragments")}; add a [[holder]] in another place or reconnect the one that has {(left.Value == 1 ? "it" : "them")}")];
        _left.Clear();
        return lines;
    }

    private async ValueTask<(long Fragments, long Bytes)> RepairArenaAsync(ArenaRecord arena, List<string> unrepairable, CancellationToken cancel)
    {
        FragmentSet set = store.SetOf(arena);
        IReadOnlyList<FragmentReport> before = await FragmentRepair.VerifyAsync(set, cancel).ConfigureAwait(false);
        if (before.All(IsWhole) && !IsGoing())
        {
            return default;
        }

        if (await AdoptAsync(arena, [.. before.Where(report => report.Health is FragmentHealth.Missing or FragmentHealth.Unreachable || IsGone(arena, report.Index)).Select(static report => report.Index)], cancel).ConfigureAwait(false) is { } adopted)
        {
            arena = adopted;
            set = store.SetOf(arena);
            before = await FragmentRepair.VerifyAsync(set, cancel).ConfigureAwait(false);
        }

        long repaired = 0;
        long written = 0;
        IReadOnlyList<FragmentReport> after = before;
        if (before.Any(report => !IsWhole(report) && set.Fragments[report.Index].Holder is not null))
        {
            after = (await FragmentRepair.RepairAsync(set, cancel).ConfigureAwait(false)).After;      // 1. in place
            for (int i = 0; i < after.Count; i++)
            {
                if (!IsWhole(before[i]) && IsWhole(after[i]))
                {
                    repaired++;
                    written += before[i].Health == FragmentHealth.Missing ? arena.Layout.SliceBytes : GroupBytes(arena.Layout, before[i].DamagedGroups);
                }
            }
        }

        int[] homeless = [.. after.Where(report => IsGone(arena, report.Index) || (!IsWhole(report) && set.Fragments[report.Index].Holder is null)).Select(static report => report.Index)];
        foreach (FragmentReport report in after.Where(report => !IsWhole(report) && set.Fragments[report.Index].Holder is not null && !IsGone(arena, report.Index)))
        {
            unrepairable.Add(Line(arena, report));
        }

        if (homeless.Length > 0)
        {
            long moved = await MoveAsync(arena, set, homeless, unrepairable, keepsAbsent: false, cancel).ConfigureAwait(false); // 2. to new holders
            repaired += moved;
            written += moved * arena.Layout.SliceBytes;
        }

        return (repaired, written);

        bool IsGoing() => Enumerable.Range(0, arena.Fragments.Count).Any(index => IsGone(arena, index));
    }

    /// <summary>Arenas of this device some of whose fragments have no holder, or one that leaves or is no longer configured. What lies at an absent holder is not among them: it may come back.
    /// Another device's arenas are its affair: it may have holders that this one has not.</summary>
    public IReadOnlyList<ArenaRecord> Homeless() => [.. KeptArenas().Where(arena => store.Owns(arena) && Enumerable.Range(0, arena.Fragments.Count).Any(index => IsHomeless(arena, index)))];

    /// <summary>Whether some place can take one of these fragments now.</summary>
    public bool HasPlaceFor(ArenaRecord arena)
    {
        ArgumentNullException.ThrowIfNull(arena);
        StoreHolder?[] chosen = Choose(arena, keepsAbsent: true, out _);
        return Enumerable.Range(0, chosen.Length).Any(index => IsHomeless(arena, index) && chosen[index] is not null);
    }

    /// <summary>Gives an arena's fragments that have no holder, or one that leaves, to places that have none of it. Nothing else of it is looked at, and no more is read than what is moved, or
    /// what it is made from.</summary>
    /// <remarks>Safe beside writers and readers, not beside whoever changes sealed arenas: reclaim, repair, or another one of these.</remarks>
    public async ValueTask<MendReport> PlaceAsync(ArenaRecord arena, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(arena);
        var unrepairable = new List<string>();
        _failure = null;
        long moved = 0;
        try
        {
            int[] homeless = [.. Enumerable.Range(0, arena.Fragments.Count).Where(index => IsHomeless(arena, index))];
            if (await AdoptAsync(arena, homeless, cancel).ConfigureAwait(false) is { } adopted)
            {
                arena = adopted;
                homeless = [.. homeless.Where(index => IsHomeless(adopted, index))];
            }

            moved = await MoveAsync(arena, store.SetOf(arena), homeless, unrepairable, keepsAbsent: true, cancel).ConfigureAwait(false);
        }
        catch (DiskException failure)
        {
            _failure ??= failure;
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            unrepairable.Add($"arena {arena.Ordinal}: {damage.Message}");
        }

        return new MendReport(moved, moved * arena.Layout.SliceBytes, [.. unrepairable, .. TakeLeft()]) { Failure = _failure };
    }

    /// <summary>Enters fragments that lie elsewhere than the catalog says: a friend has put them there, or another line of this device. Names decide, and every byte is read before it counts.</summary>
    /// <param name="lost">Fragments that are not where they should be.</param>
    /// <returns>The arena as it is in the catalog now; null: nothing was found.</returns>
    private async ValueTask<ArenaRecord?> AdoptAsync(ArenaRecord arena, int[] lost, CancellationToken cancel)
    {
        if (lost.Length == 0 || !store.Owns(arena))
        {
            return null;
        }

        FragmentPlace[] places = [.. arena.Fragments];
        HashSet<string> used = [.. places.Where((_, index) => Array.IndexOf(lost, index) < 0).Select(fragment => store.HolderOf(fragment.Holder)?.Place).OfType<string>()];
        bool isChanged = false;
        foreach (StoreHolder holder in store.Holders.Where(holder => holder is { Holder: not null, IsGone: false, IsDoubted: false } && (holder.IsElsewhere || !arena.IsAway)))
        {
            int[] left = [.. lost.Where(index => places[index].Name != default && places[index].Holder != holder.Number && places[index] == arena.Fragments[index])];
            if (left.Length == 0 || (arena.Survive > 0 && used.Contains(holder.Place)) || !await HasAnyAsync(holder.Holder!, arena, left, cancel).ConfigureAwait(false))
            {
                continue;
            }

            if (!await TrySettleAsync(holder.Holder!, arena.Id, cancel).ConfigureAwait(false))
            {
                continue; // it lies there, and nobody can say that it stays
            }

            FragmentSet there = store.SetOf(arena) with { Fragments = [.. arena.Fragments.Select((fragment, index) => new FragmentSource(fragment.Name, Array.IndexOf(left, index) >= 0 ? holder.Holder : null))] };
            foreach (FragmentReport report in (await FragmentRepair.VerifyAsync(there, cancel).ConfigureAwait(false)).Where(IsWhole).Take(arena.Survive > 0 ? 1 : int.MaxValue))
            {
                places[report.Index] = new FragmentPlace(arena.Fragments[report.Index].Name, holder.Number);
                used.Add(holder.Place);
                isChanged = true;
            }
        }

        if (!isChanged)
        {
            return null;
        }

        ArenaRecord adopted = arena with { Fragments = places };
        store.ChangeArenas([adopted]);
        return adopted;
    }

    /// <summary>Who put it there may have been killed before it was durable.</summary>
    private static async ValueTask<bool> TrySettleAsync(IFragmentHolder holder, ArenaId id, CancellationToken cancel)
    {
        try
        {
            await holder.SettleAsync(id, cancel).ConfigureAwait(false);
            return true;
        }
        catch (DiskException)
        {
            return false;
        }
    }

    private static async ValueTask<bool> HasAnyAsync(IFragmentHolder holder, ArenaRecord arena, int[] wanted, CancellationToken cancel)
    {
        try
        {
            return await holder.InspectAsync(arena.Id, cancel).ConfigureAwait(false) is { IsInTrash: false } held && wanted.Any(index => held.Fragments.Contains(new HeldFragment(index, arena.Fragments[index].Name)));
        }
        catch (Exception failure) when (failure is DiskException or DamagedFormatException)
        {
            return false;
        }
    }

    /// <summary>Leaving, or no longer configured.</summary>
    private bool IsGone(ArenaRecord arena, int index) => store.HolderOf(arena.Fragments[index].Holder) is { IsGone: true };

    private bool IsHomeless(ArenaRecord arena, int index) => store.HolderOf(arena.Fragments[index].Holder) is null or { IsGone: true };

    /// <param name="keepsAbsent">What lies at an absent holder stays its affair, and no other fragment of the arena goes to its place.</param>
    private StoreHolder?[] Choose(ArenaRecord arena, bool keepsAbsent, out StoreHolder? full)
    {
        var redundancy = new RedundancyClass(arena.Layout.DataFragments, arena.Layout.ParityFragments, arena.Survive);
        StoreHolder?[] taken = [.. arena.Fragments.Select(fragment => store.HolderOf(fragment.Holder) is { IsGone: false } keeper && (keepsAbsent || keeper.Holder is not null) ? keeper : null)];
        return store.Room.Choose(arena.Id, redundancy, arena.Layout, arena.IsAway, taken, out full);
    }

    /// <summary>Gives fragments without a reachable holder to new ones. Returns how many found one.</summary>
    private async ValueTask<long> MoveAsync(ArenaRecord arena, FragmentSet set, int[] homeless, List<string> unrepairable, bool keepsAbsent, CancellationToken cancel)
    {
        StoreHolder?[] chosen = Choose(arena, keepsAbsent, out StoreHolder? full);
        _failure ??= full is null ? null : store.Room.Reached(full);
        var places = arena.Fragments.ToArray();
        long moved = 0;
        foreach (int index in homeless.Where(index => chosen[index] is null && full is null))
        {
            string where = Where(arena, index);
            _left[where] = _left.GetValueOrDefault(where) + 1;
        }

        foreach (IGrouping<StoreHolder, int> share in homeless.Where(index => chosen[index] is not null).GroupBy(index => chosen[index]!))
        {
            var data = new List<FragmentData>();
            foreach (int index in share)
            {
                try
                {
                    data.Add(await RebuildAsync(set, index, cancel).ConfigureAwait(false));
                }
                catch (DamagedBlockException damage)
                {
                    unrepairable.Add($"arena {arena.Ordinal}, fragment {index} at {Where(arena, index)}: {damage.Message}");
                }
            }

            if (data.Count == 0)
            {
                continue;
            }

            try
            {
                await share.Key.Holder!.PutAsync(
                    arena.Id, arena.Layout.DataFragments, arena.Layout.ParityFragments, arena.Layout.SliceBytes, data, cancel).ConfigureAwait(false); // durable there
            }
            catch (DiskException failure)
            {
                _failure ??= failure;
                continue;
            }
            catch (DamagedFormatException damage)
            {
                unrepairable.Add($"arena {arena.Ordinal}, fragments {string.Join(", ", share)} for {share.Key.Place}: {damage.Message}");
                continue;
            }

            foreach (FragmentData fragment in data)
            {
                places[fragment.Index] = new FragmentPlace(fragment.Name, share.Key.Number);
                moved++;
            }
        }

        if (moved > 0)
        {
            store.ChangeArenas([arena with { Fragments = places }]);                                   // and only then named
        }

        return moved;
    }

    /// <summary>A whole fragment from verified bytes. One that was adopted without its name gets it here, from k that have theirs.</summary>
    private static async ValueTask<FragmentData> RebuildAsync(FragmentSet set, int index, CancellationToken cancel)
    {
        ArenaLayout layout = set.Layout;
        byte[] bytes = new byte[layout.SliceBytes];
        if (set.Fragments[index].Name != default)
        {
            await FragmentRepair.ReadWindowAsync(set, index, 0, bytes, cancel).ConfigureAwait(false);
        }
        else
        {
            int[] present = [.. Enumerable.Range(0, layout.FragmentCount).Where(other => set.Fragments[other].Name != default).Take(layout.DataFragments)];
            if (present.Length < layout.DataFragments)
            {
                throw new DamagedBlockException($"found {present.Length} fragments with names, expected {layout.DataFragments}");
            }

            byte[] known = new byte[layout.ImageBytes];
            for (int i = 0; i < present.Length; i++)
            {
                await FragmentRepair.ReadWindowAsync(set, present[i], 0, known.AsMemory(i * layout.SliceBytes, layout.SliceBytes), cancel).ConfigureAwait(false);
            }

            new ReedSolomon(layout.DataFragments, layout.ParityFragments).Reconstruct(present, known, [index], bytes, layout.SliceBytes);
        }

        byte[] groups = new byte[(int)Blake3Tree.GroupCount(bytes.Length) * Blake3.HashSize];
        byte[] root = new byte[Blake3.HashSize];
        Blake3Tree.HashWithGroups(bytes, groups, root);
        return new FragmentData(index, bytes, FragmentName.Read(root), groups);
    }

    /// <summary>How many fragments of an arena the holders have, by their records or by every byte, and how many lost places those outlive; -1: fewer than k are there.</summary>
    internal async ValueTask<(int Present, int Survives)> LookAsync(ArenaRecord arena, bool readAll, CancellationToken cancel)
    {
        FragmentSet set = store.SetOf(arena);
        IReadOnlyList<FragmentReport> reports = readAll
            ? await FragmentRepair.VerifyAsync(set, cancel).ConfigureAwait(false)
            : await InspectAsync(set, cancel).ConfigureAwait(false);
        StoreHolder?[] holders = [.. reports.Where(static report => report.Health == FragmentHealth.Good).Select(report => store.HolderOf(arena.Fragments[report.Index].Holder)).Where(holder => readAll || holder is not { IsDoubted: true })];
        return (holders.Length, Placement.LossesOutlived(arena.Layout, Placement.CountsByPlace(holders, static _ => true)));
    }

    /// <summary>What the holders' records say, without reading a fragment.</summary>
    private static async ValueTask<IReadOnlyList<FragmentReport>> InspectAsync(FragmentSet set, CancellationToken cancel)
    {
        var asked = new Dictionary<HolderId, (HeldArena? Held, FragmentHealth? Trouble, string? Detail)>();
        var reports = new FragmentReport[set.Fragments.Count];
        for (int i = 0; i < reports.Length; i++)
        {
            FragmentSource place = set.Fragments[i];
            if (place.Holder is not { } holder)
            {
                reports[i] = new FragmentReport(i, FragmentHealth.Unreachable, [], false, "no holder");
                continue;
            }

            if (!asked.TryGetValue(holder.Id, out (HeldArena? Held, FragmentHealth? Trouble, string? Detail) answer))
            {
                try
                {
                    answer = (await holder.InspectAsync(set.Id, cancel).ConfigureAwait(false), null, null);
                }
                catch (DamagedFormatException damage)
                {
                    answer = (null, FragmentHealth.Damaged, damage.Message);
                }
                catch (DiskException failure)
                {
                    answer = (null, FragmentHealth.Unreachable, failure.Message);
                }

                asked[holder.Id] = answer;
            }

            bool isHeld = answer.Held is { } held && held.DataFragments == set.Layout.DataFragments && held.ParityFragments == set.Layout.ParityFragments
                && held.SliceBytes == set.Layout.SliceBytes && held.Fragments.Contains(new HeldFragment(i, place.Name));
            FragmentHealth health = answer.Trouble ?? (isHeld ? FragmentHealth.Good : FragmentHealth.Missing);
            reports[i] = new FragmentReport(i, health, [], answer.Held?.IsRecordDamaged ?? false, answer.Detail);
        }

        return reports;
    }

    private async ValueTask<string?> DirectoryDamageAsync(ArenaRecord arena, CancellationToken cancel)
    {
        if (!store.HasKeysOf(arena))
        {
            return null; // nobody here can look inside, which is no damage
        }

        try
        {
            ArenaDirectory directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            return directory.Count == arena.ClumpCount
                ? null
                : $"arena {arena.Ordinal}: its directory has {directory.Count} clumps, expected {arena.ClumpCount}";
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            return $"arena {arena.Ordinal}: its directory cannot be read: {damage.Message}";
        }
    }

    private string Line(ArenaRecord arena, FragmentReport report)
    {
        string detail = report.Detail is null ? "" : $" ({report.Detail})";
        string found = report.Health switch
        {
            FragmentHealth.Missing => "found nothing under its name" + detail,
            FragmentHealth.Unreachable => "found no way to it" + detail,
            FragmentHealth.Damaged when report.DamagedGroups.Count > 0 =>
                $"found {report.DamagedGroups.Count} of {FragmentFile.GroupsOf(arena.Layout.SliceBytes)} groups damaged, the first at byte {report.DamagedGroups[0] * FragmentFile.GroupBytes}" + detail,
            FragmentHealth.Damaged => "found it damaged" + detail,
            _ => "found a damaged copy of its file's record" + detail,
        };
        return $"arena {arena.Ordinal}, fragment {report.Index} at {Where(arena, report.Index)}: {found}, expected {arena.Layout.SliceBytes} bytes named {arena.Fragments[report.Index].Name}";
    }

    private string Where(ArenaRecord arena, int index) => store.HolderOf(arena.Fragments[index].Holder) switch
    {
        null => "no holder",
        { Address.Length: > 0 } holder when holder.Address != holder.Place => $"{holder.Address} ({holder.Place})",
        { } holder => holder.Place,
    };

    private IReadOnlyList<ArenaRecord> KeptArenas() => [.. store.Catalog.Arenas().Where(static arena => arena.State != ArenaState.Trashed)];

    private static bool IsWhole(FragmentReport report) => report is { Health: FragmentHealth.Good, IsRecordDamaged: false };

    private static long StoredBytes(ArenaRecord arena) => (long)arena.Layout.FragmentCount * arena.Layout.SliceBytes;

    private static long GroupBytes(ArenaLayout layout, IReadOnlyList<int> groups) =>
        groups.Sum(group => (long)Math.Min(FragmentFile.GroupBytes, layout.SliceBytes - (group * FragmentFile.GroupBytes)));
}
