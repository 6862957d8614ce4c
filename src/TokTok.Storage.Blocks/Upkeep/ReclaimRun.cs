using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>One reclaim, in steps that may each have a store opened for them: between two of them other processes write.</summary>
/// <remarks>
/// First a survey, which takes the longest and writes nothing, so that a reader's store will do: it marks what the heads want, and chooses the arenas to empty. Then steps, each on a store that writes:
/// what heads want that came since is marked too, a few arenas are emptied as <see cref="Reclaimer"/> says, and the caller may let go of the store.
/// Why that is safe: a step holds the store's lock, so whoever wrote since the survey has committed, or died and will never commit. What it committed is marked before anything moves; walking there is
/// short, since what it shares with the survey's heads is marked already. A block that the survey called dead, and that an import found and used meanwhile, is live by then, and is copied with the others.
/// What lay in the journal then, and lies in an arena alone now, is marked there. Arenas sealed after the survey are not looked at. An arena that was chosen counts only while the catalog still has it as it was.
/// Not safe from many threads.
/// </remarks>
public sealed class ReclaimRun(IRootWalker walker, ReclaimOptions options, Action<string, long, long>? progress)
{
    /// <summary>What the note of a store's lock calls it: whoever wants to write waits for its turn.</summary>
    public const string Verb = "reclaim";

    private readonly Dictionary<DomainId, LiveMap> _live = [];
    private readonly Queue<(ArenaRecord Arena, long Live)> _victims = new();
    private readonly List<string> _reasons = [];
    private ulong _sequence;
    private bool _isSurveyed;
    private bool _hasTakenBack;
    private long _toMove;

    /// <summary>What was done so far.</summary>
    public ReclaimReport Report { get; private set; } = new();

    /// <summary>Marks from every head and chooses what to empty. Writes nothing.</summary>
    public async ValueTask SurveyAsync(BlockStore store, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(store);
        _sequence = store.Catalog.Sequence; // what was sealed later is not looked at
        await MarkAsync(store, cancel).ConfigureAwait(false);
        long liveBytes = 0;
        long deadBytes = 0;
        int arenaCount = 0;
        int waitingCount = 0;
        uint waitingDays = 0;
        foreach (ArenaRecord arena in store.Catalog.Arenas())
        {
            if (arena.State != ArenaState.Sealed || arena.SealSequence > _sequence || !store.Owns(arena) || !_live.TryGetValue(arena.Domain, out LiveMap? map))
            {
                continue;
            }

            cancel.ThrowIfCancellationRequested();
            if (!store.HasKeysOf(arena))
            {
                Reclaimer.AddOnce(_reasons, $"arenas under epoch {arena.Epoch} of key domain {arena.Domain} are left alone: this device does not have its keys yet");
                continue;
            }

            arenaCount++;
            ArenaDirectory directory;
            try
            {
                directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                _reasons.Add($"arena {arena.Ordinal} is damaged beyond its parity and is left alone: {damage.Message}");
                continue;
            }

            long its = map.LiveBytes(arena.Ordinal, directory);
            liveBytes += its;
            deadBytes += arena.ClumpBytes - its;
            if (its * 100 < (long)arena.ClumpBytes * options.LivePercent)
            {
                uint waits = store.WaitsFor(arena);
                if (waits > 0)
                {
                    waitingCount++;
                    waitingDays = Math.Max(waitingDays, waits);
                    continue;
                }

                _victims.Enqueue((arena, its));
            }
        }

        if (waitingCount > 0)
        {
            _reasons.Add($"{waitingCount} arenas came from another copy of this device's state, which may still be writing what wants them: they are left alone for {waitingDays} more running days");
        }

        if (options.DryRun)
        {
            TellMissing();
        }

        _isSurveyed = true;
        _toMove = _victims.Sum(static victim => victim.Live);
        Report = new ReclaimReport
        {
            ArenaCount = arenaCount,
            WantedBlocks = _live.Values.Sum(static map => map.MarkedCount),
            LiveBytes = liveBytes,
            DeadBytes = deadBytes,
            MovedBytes = options.DryRun ? _toMove : 0,
            TrashedArenas = options.DryRun ? _victims.Count : 0,
            TrashedBytes = options.DryRun ? _victims.Sum(static victim => Reclaimer.StoredBytes(victim.Arena)) : 0,
            WaitingBytes = new Reclaimer(store, walker).WaitingBytes(),
            MissingBlocks = _live.Values.Sum(static map => map.MissingCount),
            Reasons = _reasons,
        };
    }

    /// <summary>Does a part. True: there is more to do, and other writers may have a turn before it.</summary>
    public async ValueTask<bool> StepAsync(BlockStore store, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(store);
        if (!_isSurveyed || options.DryRun)
        {
            throw new InvalidOperationException("a step comes after the survey, and not in a dry run");
        }

        await MarkAsync(store, cancel).ConfigureAwait(false);                                                                        // 1. what was committed since
        if (!_hasTakenBack)
        {
            await store.TakeBackAsync(                                                                                               // 2. of the trash, what a root wants
                arena => _live.TryGetValue(arena.Domain, out LiveMap? map) && map.HasAny(arena.Ordinal), cancel).ConfigureAwait(false);
            _hasTakenBack = true;
        }

        var reclaimer = new Reclaimer(store, walker);
        long missing = _live.Values.Sum(static map => map.MissingCount);
        Report = Report with { WantedBlocks = _live.Values.Sum(static map => map.MarkedCount), MissingBlocks = missing };
        if (missing > 0)
        {
            TellMissing();
            await store.PublishAsync(cancel).ConfigureAwait(false);
            Report = Report with { WaitingBytes = reclaimer.WaitingBytes() };
            return false;
        }

        long before = Report.MovedBytes;
        (long moved, int trashed, long trashedBytes) = await reclaimer.EmptyAsync(                                                   // 3. a few arenas
            NextVictims(store), (arena, index) => _live[arena.Domain].IsLive(arena.Ordinal, index) ? new CopyWish(arena.Survive, arena.IsAway) : null, _reasons,
            (phase, done, _) => progress?.Invoke(phase, before + done, _toMove), cancel).ConfigureAwait(false);
        Report = Report with { MovedBytes = before + moved, TrashedArenas = Report.TrashedArenas + trashed, TrashedBytes = Report.TrashedBytes + trashedBytes };
        if (_victims.Count == 0)
        {
            (long freed, long waiting, uint days) = await reclaimer.PurgeAsync(options.EmptyTrashNow, _reasons, cancel).ConfigureAwait(false); // 4. the trash that is old enough
            Report = Report with { FreedBytes = freed, WaitingBytes = waiting, WaitingDays = days };
        }

        await store.PublishAsync(cancel).ConfigureAwait(false);
        return _victims.Count > 0;
    }

    private void TellMissing()
    {
        long missing = _live.Values.Sum(static map => map.MissingCount);
        if (missing > 0)
        {
            _reasons.Add($"{missing} blocks that snapshots want are in no arena; nothing is deleted until 'tdfs check' and 'tdfs repair' have seen to them");
        }
    }

    private List<(ArenaRecord Arena, long Live)> NextVictims(BlockStore store)
    {
        var next = new List<(ArenaRecord Arena, long Live)>();
        for (long bytes = 0; bytes < options.StepBytes && _victims.TryDequeue(out (ArenaRecord Arena, long Live) victim);)
        {
            if (store.Catalog.Arena(victim.Arena.Ordinal) is { State: ArenaState.Sealed } now && now.Id == victim.Arena.Id && now.SealSequence == victim.Arena.SealSequence)
            {
                next.Add((now, victim.Live));
                bytes += Math.Max(victim.Live, LeastStepBytes);
            }
        }

        return next;
    }

    /// <summary>An arena of which nothing lives takes its time too: a record, and renames at its holders.</summary>
    private const long LeastStepBytes = 1 << 20;

    private async ValueTask MarkAsync(BlockStore store, CancellationToken cancel)
    {
        foreach (LiveMap map in _live.Values)
        {
            map.Store = store;
            map.Settle();
        }

        foreach (Head head in store.Heads)
        {
            if (!_live.TryGetValue(head.Domain, out LiveMap? map))
            {
                _live[head.Domain] = map = new LiveMap(store, head.Domain);
            }

            progress?.Invoke($"marking {head.VolumeName}", map.MarkedCount, 0);
            await walker.MarkAsync(head, store.OpenBlocks(head.Domain, 0), map, cancel).ConfigureAwait(false);
        }
    }
}
