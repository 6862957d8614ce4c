using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Rebuilds for somebody else, without any key, what his holders lack: by the names of a capability.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.12. Holders are asked what they have, arena by arena; what is missing is rebuilt from any k others and put where it lay, or where Placement puts it for the owner too.
/// One that is interrupted goes on when it is run again, since what was put is found there. Writes nothing but fragments. Memory: k slices of one arena, and those that are put.
/// </remarks>
/// <param name="holders">In the order of the capability's list; Holder null: it does not answer; no Address: a folder of the owner, which nobody else reaches.</param>
/// <param name="movesAbsent">What lies at peers that do not answer is placed elsewhere too.</param>
internal sealed class BlindRepair(RepairCapability capability, IReadOnlyList<StoreHolder> holders, bool movesAbsent, Action<string> say)
{
    private readonly Placement _placement = new([.. holders.Select(holder => movesAbsent && IsAbsent(holder) ? holder with { IsGone = true } : holder)]);
    private readonly List<string> _unrepairable = [];
    private long _repaired;
    private long _written;
    private long _absent;
    private long _homeless;
    private string? _trouble;

    internal async ValueTask<RepairForResult> RunAsync(string owner, IProgressSink progress, CancellationToken cancel)
    {
        long total = capability.Arenas.Sum(static arena => (long)arena.Entry.Names.Count * arena.Entry.SliceBytes);
        long done = 0;
        foreach (RepairArena arena in capability.Arenas)
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                await RepairAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                _unrepairable.Add(damage.Message);
            }
            catch (DiskException failure)
            {
                Tell(failure.Message);
            }

            done += (long)arena.Entry.Names.Count * arena.Entry.SliceBytes;
            progress.Report(new ProgressState { Phase = "repairing fragments", Bytes = done, TotalBytes = total });
        }

        var left = new List<string>();
        if (_absent > 0)
        {
            left.Add($"{Show.Count(_absent, "fragment")} at peers that do not answer; if they do not come back, run this again with --absent");
        }

        if (_homeless > 0)
        {
            left.Add($"{Show.Count(_homeless, "fragment")} without another place that takes them");
        }

        if (_trouble is not null)
        {
            left.Add(_trouble);
        }

        return new RepairForResult(owner, capability.Arenas.Count, holders.Count(static holder => holder.Address.Length > 0), holders.Count(static holder => holder.Holder is not null), _repaired, _written, _unrepairable, left);
    }

    private async ValueTask RepairAsync(RepairArena arena, CancellationToken cancel)
    {
        RepairEntry entry = arena.Entry;
        StoreHolder?[] found = await FindAsync(entry, arena.Places, cancel).ConfigureAwait(false);
        int[] missing = [.. Enumerable.Range(0, found.Length).Where(index => found[index] is null && entry.Names[index] != default)];
        if (missing.Length == 0)
        {
            return;
        }

        // What is there keeps its place, what lay at a holder that answers goes back to it, and what lies at one that does not is left to it.
        StoreHolder?[] taken = [.. found.Select(static holder => holder is null ? null : holder with { IsGone = false })];
        var left = new HashSet<int>();
        foreach (int index in missing)
        {
            StoreHolder? meant = arena.Places[index] == RepairCapability.Nowhere ? null : holders[arena.Places[index]];
            if (meant is { Holder: null } && !(movesAbsent && IsAbsent(meant)))
            {
                left.Add(index);
                taken[index] = meant with { IsGone = false }; // whether it takes more or not: its place is used
            }
            else if (meant is { Holder: not null, IsGone: false })
            {
                taken[index] = meant;
            }
        }

        _absent += left.Count(index => IsAbsent(holders[arena.Places[index]]));
        StoreHolder?[] chosen = _placement.Choose(entry.Id, new RedundancyClass(entry.DataFragments, entry.ParityFragments, entry.Survive), taken);
        _homeless += missing.Count(index => !left.Contains(index) && chosen[index] is null);
        var set = new FragmentSet(
            entry.Id, new ArenaLayout(entry.DataFragments, entry.ParityFragments, entry.SliceBytes), [.. entry.Names.Select((name, index) => new FragmentSource(name, found[index]?.Holder))]);
        foreach (IGrouping<StoreHolder, int> share in missing.Where(index => !left.Contains(index) && chosen[index] is { Holder: not null }).GroupBy(index => chosen[index]!))
        {
            var fragments = new List<FragmentData>();
            foreach (int index in share)
            {
                byte[] bytes = new byte[entry.SliceBytes];
                await FragmentRepair.ReadWindowAsync(set, index, 0, bytes, cancel).ConfigureAwait(false);
                byte[] groups = new byte[(int)Blake3Tree.GroupCount(bytes.Length) * Blake3.HashSize];
                Blake3Tree.HashWithGroups(bytes, groups, new byte[Blake3.HashSize]);
                fragments.Add(new FragmentData(index, bytes, entry.Names[index], groups));
            }

            try
            {
                await share.Key.Holder!.PutAsync(entry.Id, entry.DataFragments, entry.ParityFragments, entry.SliceBytes, fragments, cancel).ConfigureAwait(false); // durable there
                _repaired += fragments.Count;
                _written += (long)fragments.Count * entry.SliceBytes;
            }
            catch (Exception failure) when (failure is DiskException or DamagedFormatException)
            {
                Tell(failure.Message); // and the others go on
            }
        }
    }

    /// <summary>Which holder has each fragment, by what they say; those that the list names first.</summary>
    private async ValueTask<StoreHolder?[]> FindAsync(RepairEntry entry, IReadOnlyList<ushort> places, CancellationToken cancel)
    {
        var found = new StoreHolder?[entry.Names.Count];
        foreach (StoreHolder holder in holders.Where(static holder => holder.Holder is not null).OrderByDescending(holder => places.Contains(holder.Number)))
        {
            try
            {
                if (await holder.Holder!.InspectAsync(entry.Id, cancel).ConfigureAwait(false) is not { IsInTrash: false } held || held.SliceBytes != entry.SliceBytes)
                {
                    continue;
                }

                foreach (HeldFragment fragment in held.Fragments.Where(each => each.Index < found.Length && each.Name == entry.Names[each.Index]))
                {
                    found[fragment.Index] ??= holder;
                }
            }
            catch (Exception failure) when (failure is DiskException or DamagedFormatException)
            {
                Tell(failure.Message);
            }
        }

        return found;
    }

    /// <summary>A folder of the owner's is out of a friend's sight, and not absent.</summary>
    private static bool IsAbsent(StoreHolder holder) => holder is { Holder: null, Address.Length: > 0 };

    private void Tell(string trouble)
    {
        if (_trouble is null)
        {
            _trouble = trouble;
            say(trouble);
        }
    }
}
