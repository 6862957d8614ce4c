using System.Globalization;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Tests;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Simulation;

/// <summary>What a run came to.</summary>
internal sealed record SimulationResult
{
    public required int NodeCount { get; init; }

    public required string Hash { get; init; }

    public long Events { get; init; }

    public long Commits { get; init; }

    public long Requests { get; init; }

    public long CheckedBlocks { get; init; }

    public long Crashes { get; init; }

    /// <summary>What devices began and could not do where the world was worse than their class: they say so, and lose nothing.</summary>
    public long FailedVerbs { get; init; }

    public long LostNodes { get; init; }

    public long RepairedFragments { get; init; }

    public long RepairedBytes { get; init; }

    public double SimulatedDays { get; init; }
}

/// <summary>One seed from its first byte to its last check.</summary>
/// <remarks>
/// Phases: time passes, something goes wrong, devices work, now and then everything is mended; after each phase the oracle looks.
/// The class: between two complete repairs no more than `survive` places are touched by anything that may leave less at them than was written (<see cref="_touched"/>). Within it nothing may be lost, and what a head wants
/// can be read while the touched places are away.
/// </remarks>
internal sealed class SimulationRun
{
    private const int BlockPool = 400;

    private static readonly VolumeId[] s_volumes = [new(new Bytes16(0, 1)), new(new Bytes16(0, 2))];
    private static readonly string[] s_names = ["alpha", "beta"];
    private static readonly Lie[] s_lies = [Lie.WrongBytes, Lie.BareBytes, Lie.NothingThere, Lie.Refuses, Lie.Truncates, Lie.CutsShort, Lie.AddsAByte, Lie.WrongForm, Lie.KeptAlready, Lie.DropsWhatItTakes, Lie.Busy];

    private readonly Cluster _cluster;
    private readonly SeededRandom _random;
    private readonly int _survive;
    private readonly int _phases;
    private readonly HashSet<SimulatedNode> _touched = [];
    private readonly HashSet<SimulatedDevice> _away = [];
    private readonly List<(Head Head, SimulatedDevice By)> _acknowledged = [];
    private readonly Dictionary<SimulatedDevice, SimulatedDisk> _backups = [];
    private readonly DateTimeOffset _began;
    private bool _isStormy; // since the last complete repair, arenas were sealed while requests were lost: they may lack as many fragments as they can
    private bool _isBetween;
    private int _holes; // of the arena in the trash that lacked most fragments when everything was mended: it outlives as many nodes less
    private long _failedVerbs;
    private SimulatedDevice? _busy;
    private int _nextBlock;
    private long _commits;
    private long _checked;
    private long _crashes;
    private long _lostNodes;
    private long _repairedFragments;
    private long _repairedBytes;

    private SimulationRun(long seed, bool withRequests)
    {
        var shape = new SeededRandom(unchecked(seed * 31 + 17));
        int nodes = shape.Next(100) switch { < 50 => 3, < 85 => 7, < 98 => 20, _ => 100 };
        _cluster = new Cluster(seed, nodes, 2 + shape.Next(4), withRequests ? 200_000 : 4000);
        _random = _cluster.Random;
        _survive = Placement.DefaultSurvive(nodes);
        _phases = nodes switch { 3 => 8, 7 => 6, 20 => 4, _ => 2 };
        _began = _cluster.World.GetUtcNow();
    }

    internal static SimulationResult Run(long seed, bool withRequests = false)
    {
        var run = new SimulationRun(seed, withRequests);
        try
        {
            run.Go();
        }
        catch (Exception failure)
        {
            throw new SimulationException(
                string.Create(CultureInfo.InvariantCulture, $"seed {seed} ({run._cluster.Nodes.Count} nodes, {run._cluster.Devices.Count} devices): {failure.Message}\nTDFS_SEED={seed} repeats it. What it did last:\n{run._cluster.Trace.Last(withRequests)}\n{failure.StackTrace}"),
                failure);
        }

        Cluster cluster = run._cluster;
        return new SimulationResult
        {
            NodeCount = cluster.Nodes.Count,
            Hash = cluster.Trace.Hash,
            Events = cluster.Trace.Count,
            Commits = run._commits,
            Requests = cluster.Network.Requests,
            CheckedBlocks = run._checked,
            Crashes = run._crashes,
            FailedVerbs = run._failedVerbs,
            LostNodes = run._lostNodes,
            RepairedFragments = run._repairedFragments,
            RepairedBytes = run._repairedBytes,
            SimulatedDays = (cluster.World.GetUtcNow() - run._began).TotalDays,
        };
    }

    private IEnumerable<SimulatedDevice> Online => _cluster.Devices.Where(device => !_away.Contains(device));

    private void Go()
    {
        Say($"{_cluster.Nodes.Count} nodes, {_cluster.Devices.Count} devices, survives {_survive}");
        foreach (SimulatedDevice device in _cluster.Devices)
        {
            _cluster.TellPeers(device);
            device.Open(mustExist: device.Number > 1);
            device.Store!.PublishAsync(CancellationToken.None).Done();
        }

        for (int phase = 0; phase < _phases; phase++)
        {
            Say($"phase {phase}");
            PassTime();
            ChangeWhoIsThere();
            GoWrong();
            ChangeWeather();
            for (int work = 2 + _random.Next(4); work > 0; work--)
            {
                Attempt(Pick([.. Online]), Work);
            }

            BecomeCalm();
            Check("in the middle");
            if (_random.Next(3) == 0)
            {
                MendAll();
            }
        }

        Settle();
    }

    private void PassTime()
    {
        TimeSpan time = _random.Next(10) switch { < 5 => TimeSpan.FromHours(_random.Next(24)), < 9 => TimeSpan.FromDays(1 + _random.Next(10)), _ => TimeSpan.FromDays(10 + _random.Next(80)) };
        Say(string.Create(CultureInfo.InvariantCulture, $"{time.TotalHours:0} hours pass"));
        _cluster.Pass(time);
    }

    /// <summary>Devices come and go; one is always there.</summary>
    private void ChangeWhoIsThere()
    {
        foreach (SimulatedDevice device in _cluster.Devices)
        {
            if (_away.Contains(device))
            {
                if (_random.Next(3) == 0)
                {
                    ComeBack(device);
                }
            }
            else if (_random.Next(4) == 0 && Online.Count() > 1)
            {
                Say($"{device.Name} goes");
                device.Close();
                _away.Add(device);
            }
        }
    }

    private void ComeBack(SimulatedDevice device)
    {
        Say($"{device.Name} comes back");
        _cluster.TellPeers(device);
        device.Open(mustExist: true);
        _away.Remove(device);
    }

    private void GoWrong()
    {
        SimulatedNode[] able = [.. _cluster.Living.Where(node => _touched.Contains(node) || _touched.Count < _survive - _holes)];
        if (able.Length == 0 || _isStormy || _random.Next(3) == 0)
        {
            return;
        }

        SimulatedNode node = Pick(able);
        switch (_random.Next(8))
        {
            case 0 when node.IsUp:
                Say($"{node.Name} goes down");
                _touched.Add(node);
                node.Stop();
                break;
            case 1 when !node.IsUp:
                Say($"{node.Name} is up again");
                node.Start();
                break;
            case 2 when _cluster.Living.Count() > _survive:
                Say($"{node.Name} is gone for good");
                _touched.Add(node);
                _lostNodes++;
                if (node.IsUp)
                {
                    node.Stop();
                }

                node.IsGone = true;
                break;
            case 3 when node.IsUp:
                Say($"{node.Name} loses its disk");
                _touched.Add(node);
                node.LoseDisk(_cluster.Devices[0].AsPeer());
                node.Start();
                break;
            case 4:
                Say($"{node.Name} hangs");
                _touched.Add(node);
                node.IsHung = true;
                break;
            case 5:
                node.Lies.Lie = Pick(s_lies);
                node.Lies.Only = _random.Next(2) == 0 ? "read" : null;
                Say($"{node.Name} lies: {node.Lies.Lie} {node.Lies.Only}");
                _touched.Add(node);
                break;
            case 6 when node.IsUp:
                Say($"{node.Name} will lose power soon");
                _touched.Add(node);
                node.Disk.CrashAfter(1 + _random.Next(60));
                break;
            case 7:
                node.Disk.CapacityBytes = node.Disk.UsedBytes + _random.Next(200_000);
                Say($"{node.Name} is nearly full");
                _touched.Add(node);
                break;
            default:
                break;
        }
    }

    /// <summary>What the network does to requests in this phase, what o'clock machines think it is, and whether devices come between each other's requests.</summary>
    private void ChangeWeather()
    {
        if (_touched.Count == 0 && _random.Next(3) == 0)
        {
            SimulatedNetwork network = _cluster.Network;
            network.LostPerMille = _random.Next(25);
            network.AnswersLostPerMille = _random.Next(25);
            network.LatePerMille = _random.Next(15);
            network.CutShortPerMille = _random.Next(10);
            _isStormy = true;
            Say($"storm: {network.LostPerMille} of 1000 requests lost, {network.AnswersLostPerMille} answers, {network.LatePerMille} late, {network.CutShortPerMille} cut short");
        }

        foreach (MachineClock clock in _cluster.Devices.Select(static device => device.Clock).Concat(_cluster.Nodes.Select(static node => node.Clock)))
        {
            if (_random.Next(20) == 0)
            {
                clock.Offset = _random.Next(2) == 0 ? TimeSpan.Zero : TimeSpan.FromDays(_random.Next(800) - 400);
                Say($"a clock is wrong by {clock.Offset.Days} days");
            }
        }

        _cluster.Network.Between = _random.Next(3) == 0 ? Between : null;
    }

    private void BecomeCalm()
    {
        _cluster.Network.BeCalm();
        _cluster.Network.Between = null;
        _cluster.Pass(TimeSpan.FromMinutes(15)); // whoever gave no answer is asked again by then
    }

    /// <summary>Now and then another device does something between two requests of this one.</summary>
    /// <remarks>One thread does everything: what the other waits for, a peer that hangs or is busy, this one's request would wait for too, until its own time is over.</remarks>
    private void Between()
    {
        if (!_isBetween && _random.Next(200) == 0 && !_cluster.Nodes.Exists(static node => node.IsHung || node.Lies.Lie == Lie.Busy) && Online.Where(static device => device.IsOpen).ToArray() is { Length: > 1 } able)
        {
            _isBetween = true;
            SimulatedDevice other = Pick(able);
            if (other != _busy)
            {
                SimulatedDevice? busy = _busy;
                Attempt(other, device => _ = _random.Next(3) == 0 ? Reclaimed(device) : Wrote(device));
                _busy = busy;
            }

            _isBetween = false;
        }
    }

    /// <summary>What a device does may fail where more is wrong than it can do without; then it is begun anew, and what was acknowledged must be there.</summary>
    private void Attempt(SimulatedDevice device, Action<SimulatedDevice> work)
    {
        _busy = device;
        bool mayFail = _isStormy || _cluster.Nodes.Exists(static node => node.IsLying || node.Disk.CapacityBytes < 1L << 40);
        try
        {
            work(device);
        }
        catch (Exception failure) when (mayFail && !device.Disk.HasCrashed && failure is DiskException or StoreException or DamagedBlockException)
        {
            Say($"{device.Name} fails: {failure.Message}");
            _failedVerbs++;
            (int lost, int answers, int late, int cut) = (_cluster.Network.LostPerMille, _cluster.Network.AnswersLostPerMille, _cluster.Network.LatePerMille, _cluster.Network.CutShortPerMille);
            _cluster.Network.BeCalm();
            device.Crash(isPowerCut: false);
            Reopen(device);
            (_cluster.Network.LostPerMille, _cluster.Network.AnswersLostPerMille, _cluster.Network.LatePerMille, _cluster.Network.CutShortPerMille) = (lost, answers, late, cut);
        }
        finally
        {
            _busy = null;
        }
    }

    private void Reopen(SimulatedDevice device)
    {
        _cluster.TellPeers(device);
        device.Open(mustExist: true);
    }

    private void Work(SimulatedDevice device)
    {
        int what = _random.Next(18);
        switch (what)
        {
            case < 6:
                Write(device);
                break;
            case < 8:
                Forget(device);
                break;
            case 12:
                AtRisk(device, static (run, it) => run.Write(it));
                break;
            case 13:
                AtRisk(device, static (run, it) => run.Forget(it));
                break;
            case 8:
                Reclaimed(device);
                break;
            case 9:
                Say($"{device.Name} audits");
                device.Audit(2);
                break;
            case 10:
                Say($"{device.Name} looks around");
                device.Watch(mends: true);
                break;
            case 14:
                AtRisk(device, static (run, it) => run.Reclaimed(it));
                break;
            case 15:
                Say($"{device.Name} has a full disk");
                device.Disk.CapacityBytes = device.Disk.UsedBytes + _random.Next(100_000);
                try
                {
                    Write(device);
                }
                catch (Exception full) when (full is DiskException or StoreException)
                {
                    Say($"{device.Name} fails: {full.Message}");
                    device.Crash(isPowerCut: false);
                }

                device.Disk.CapacityBytes = 1L << 40;
                if (!device.IsOpen)
                {
                    Reopen(device);
                }

                break;
            case 16:
                Restore(device);
                break;
            default:
                Say($"{device.Name} ends and begins");
                device.Close();
                Reopen(device);
                break;
        }
    }

    /// <summary>A backup of the state folder is made, or the one made before is put in its place.</summary>
    private void Restore(SimulatedDevice device)
    {
        device.Close();
        if (_backups.Remove(device, out SimulatedDisk? backup))
        {
            Say($"{device.Name} gets an older state folder");
            device.Disk = backup;
        }
        else
        {
            Say($"{device.Name} makes a backup of its state folder");
            _backups[device] = device.Disk.Copy();
        }

        Reopen(device);
    }

    private bool Reclaimed(SimulatedDevice device)
    {
        Say($"{device.Name} reclaims");
        ReclaimResult reclaimed = device.Care(new ListWalker()).ReclaimAsync(false, Quiet.Instance, CancellationToken.None).Done();
        Say($"{device.Name} reclaimed {reclaimed.CondemnedArenaCount} arenas, freed {reclaimed.FreedBytes}; {string.Join("; ", reclaimed.WaitingFor)}");
        return true;
    }

    private bool Wrote(SimulatedDevice device)
    {
        Write(device);
        return true;
    }

    /// <summary>Does something while the device's power may go at any write; it is switched on again at once.</summary>
    private void AtRisk(SimulatedDevice device, Action<SimulationRun, SimulatedDevice> work)
    {
        bool isPowerCut = _random.Next(3) > 0;
        device.Disk.CrashAfter(1 + _random.Next(_random.Next(2) == 0 ? 30 : 300));
        try
        {
            work(this, device);
            device.Disk.CrashAfter(1L << 40);
        }
        catch (Exception failure) when (device.Disk.HasCrashed)
        {
            Say($"{device.Name} {(isPowerCut ? "loses power" : "is killed")} ({failure.GetType().Name})");
            _crashes++;
            device.Crash(isPowerCut);
            Reopen(device);
        }
    }

    private void Write(SimulatedDevice device)
    {
        BlockStore store = device.Store!;
        int volume = _random.Next(s_volumes.Length);
        int count = 1 + _random.Next(30);
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        var scores = new List<Score>();
        for (int i = 0; i < count; i++)
        {
            int number = _nextBlock == 0 || _random.Next(3) > 0 ? _nextBlock++ : _random.Next(Math.Min(_nextBlock, BlockPool));
            byte[] bytes = Written.Content(number);
            Score score = blocks.ScoreOf(BlockType.Data, bytes);
            _cluster.Written.AddBlock(score, bytes);
            blocks.WriteAsync(BlockType.Data, bytes, CancellationToken.None).Done();
            scores.Add(score);
        }

        Score[] list = [.. scores.Distinct()];
        Score snapshot = WriteList(blocks, Written.SnapshotType, list);
        Commit(device, volume, [snapshot], static _ => true);
    }

    private void Forget(SimulatedDevice device)
    {
        int volume = _random.Next(s_volumes.Length);
        if (device.Store!.Heads.Any(head => head.Volume == s_volumes[volume]))
        {
            Commit(device, volume, [], _ => _random.Next(2) == 0);
        }
    }

    /// <summary>Goes on from every head that the device sees of a volume: what it keeps of their snapshots, and new ones.</summary>
    private void Commit(SimulatedDevice device, int volume, Score[] more, Func<Score, bool> keeps)
    {
        BlockStore store = device.Store!;
        Head[] follows = [.. store.Heads.Where(head => head.Volume == s_volumes[volume]).OrderByDescending(head => head.Device == store.Device && head.Incarnation == store.Incarnation)];
        Score[] kept = [.. follows.SelectMany(head => _cluster.Written.Below(head.Root)).Distinct().Where(keeps)];
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        Score root = WriteList(blocks, BlockType.VolumeRoot, [.. kept, .. more]);
        Head next = store.NextHead(s_volumes[volume], s_names[volume], store.Realm, follows);
        Head committed = store.CommitAsync(next with { Root = root }, CancellationToken.None).Done();
        _commits++;
        _acknowledged.Add((committed, device));
        Say($"{device.Name} commits {s_names[volume]} sequence {committed.Sequence}: {kept.Length} snapshots and {more.Length} new, after {follows.Length} heads");
    }

    private Score WriteList(IBlockStore blocks, BlockType type, Score[] list)
    {
        byte[] bytes = Written.Bytes(list);
        Score score = blocks.ScoreOf(type, bytes);
        _cluster.Written.AddList(score, list);
        BlockWrite written = blocks.WriteAsync(type, bytes, CancellationToken.None).Done();
        Say($"list {score}: {written.StoredBytes} bytes");
        return score;
    }

    /// <summary>Everybody who can come back does, who cannot is replaced, and every device repairs: then the class begins anew.</summary>
    private void MendAll()
    {
        Say("everything is mended");
        foreach (SimulatedNode node in _cluster.Living.ToArray())
        {
            node.IsHung = false;
            node.Lies.Lie = Lie.None;
            node.Disk.CapacityBytes = 1L << 40;
            node.Disk.CrashAfter(1L << 40);
            if (!node.IsUp)
            {
                node.Start();
            }
        }

        _cluster.Pass(TimeSpan.FromMinutes(15));

        foreach (SimulatedNode node in _cluster.Nodes.Where(node => node.IsGone && _touched.Contains(node)).ToArray())
        {
            Say($"{_cluster.AddNode().Name} comes instead of {node.Name}");
        }

        // A peer that failed audits is being left, and what it keeps has to go elsewhere, where there may be no place; mended where it is it passes the next ones, and stays.
        const int MostRounds = 6;
        for (int round = 0; !Repair(isLast: round >= 3) || IsBehind(); round++)
        {
            if (round == 0)
            {
                foreach (SimulatedDevice device in Online)
                {
                    device.ForgivePeers(); // who was caught stays lost else, and of three nodes none is left to take its place
                }
            }

            if (round == MostRounds)
            {
                throw new SimulationException($"{MostRounds} repairs with every node there, and arenas still lack holders");
            }
        }

        _touched.Clear();
        _isStormy = false;
        _holes = Online.SelectMany(HolesInTrash).DefaultIfEmpty().Max();
    }

    /// <summary>What is in the trash is not mended until it is taken back: how many fragments each arena there lacks.</summary>
    private static IEnumerable<int> HolesInTrash(SimulatedDevice device)
    {
        HashSet<ushort> there = [.. device.Store!.Holders.Where(static holder => !holder.IsGone).Select(static holder => holder.Number)];
        return device.Store!.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Trashed).Select(arena => arena.Fragments.Count(fragment => !there.Contains(fragment.Holder)));
    }

    /// <summary>Has everybody learn where everything is now, as a node that runs does within five minutes.</summary>
    /// <returns>Whether somebody has sealed since what does not have all its holders: the mender did not know of it.</returns>
    private bool IsBehind()
    {
        foreach (SimulatedDevice device in Online)
        {
            device.Watch(mends: false);
        }

        return Online.Any(static device => device.Store!.Catalog.Arenas().Any(static arena => arena.State == ArenaState.Sealed && arena.Fragments.Any(static fragment => fragment.Holder == FragmentPlace.Nowhere)));
    }

    /// <returns>Whether nothing was left to mend.</returns>
    private bool Repair(bool isLast)
    {
        foreach (SimulatedDevice device in Online.ToArray())
        {
            _cluster.TellPeers(device);
            device.Audit(2);
            device.Watch(mends: _random.Next(2) == 0);
        }

        // One who is there does it for all: those who are away may stay away for long.
        SimulatedDevice mender = Pick([.. Online]);
        RepairResult repaired = mender.Care(new ListWalker()).RepairAsync(Quiet.Instance, CancellationToken.None).Done();
        _repairedFragments += repaired.RepairedFragmentCount;
        _repairedBytes += repaired.WrittenBytes;
        string left = $"{string.Join("; ", repaired.Unrepairable)} {repaired.Failure?.Message}";
        Say($"{mender.Name} repaired {repaired.RepairedFragmentCount} fragments, {repaired.WrittenBytes} bytes, moved {repaired.MovedBytes}; left: {left}");
        return (repaired.Unrepairable.Count == 0 && repaired.Failure is null) || (isLast ? throw new SimulationException($"repairs with every node there left something: {left}") : false);
    }

    /// <summary>The oracle.</summary>
    private void Check(string when)
    {
        foreach (SimulatedDevice device in Online)
        {
            _checked += _cluster.CheckHeads(device.Store!, $"{device.Name} {when}", afresh: true);
        }

        // A reader has nothing in memory, and takes up what every device has published.
        SimulatedDevice beside = Pick([.. Online]);
        BlockStore seen = beside.OpenAs(StoreAccess.Read, mustExist: true);
        _checked += _cluster.CheckHeads(seen, $"a reader beside {beside.Name}, {when}", afresh: true);
        (int arenas, int fewest) = _cluster.CheckArenas(seen, $"the nodes, {when}");
        Say($"checked {when}: {seen.Heads.Count} heads, {arenas} arenas, the weakest has {(arenas == 0 ? 0 : fewest)} fragments more than it needs");
        seen.DisposeAsync().Done();
        Tdfs.Composition.StoreHost.LetGoOfHolders(seen);
    }

    private void Settle()
    {
        Say("the end: everybody comes back");
        foreach (SimulatedNode node in _cluster.Nodes)
        {
            node.Clock.Offset = TimeSpan.Zero;
        }

        foreach (SimulatedDevice device in _away.ToArray())
        {
            ComeBack(device);
        }

        MendAll();
        for (int round = 0; round < 2; round++)
        {
            foreach (SimulatedDevice device in _cluster.Devices)
            {
                device.Watch(mends: round == 0);
            }
        }

        Check("at the end");
        foreach (SimulatedDevice device in _cluster.Devices)
        {
            foreach ((Head head, SimulatedDevice by) in _acknowledged)
            {
                if (!device.Store!.Heads.Any(known => known.Supersedes(head) || (known.Device == head.Device && known.Incarnation == head.Incarnation && known.Sequence == head.Sequence && known.Volume == head.Volume)))
                {
                    throw new SimulationException($"{device.Name} at the end: what {by.Name} committed as sequence {head.Sequence} of {head.VolumeName} is in no head");
                }
            }
        }

        foreach (SimulatedDevice device in _cluster.Devices)
        {
            device.Close();
        }
    }

    private T Pick<T>(IReadOnlyList<T> from) => from[_random.Next(from.Count)];

    private void Say(string line) => _cluster.Trace.Add(line);

    private sealed class Quiet : IProgressSink
    {
        internal static Quiet Instance { get; } = new();

        public void Report(ProgressState state)
        {
        }

        public void Warn(string line)
        {
        }
    }
}
