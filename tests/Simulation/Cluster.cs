using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Simulation;

/// <summary>Everything of one seed: nodes, devices of one account, the network between them, and what was written.</summary>
internal sealed class Cluster
{
    private readonly HashSet<Score> _verified = [];
    private readonly byte[] _block = new byte[BlockLimits.MaxBlockBytes];

    internal Cluster(long seed, int nodeCount, int deviceCount, int keptLines)
    {
        Trace = new Trace(seed, keptLines);
        Random = new SeededRandom(seed);
        Network = new SimulatedNetwork(World, new SeededRandom(Random.Next(int.MaxValue)), Trace) { Crashed = node => Crashed(node) };
        Account = AccountKeys.FromEntropy(Random.Bytes(32));
        Realm = KeyDomain.Create(DomainKind.Realm, Random);
        for (int number = 1; number <= deviceCount; number++)
        {
            Devices.Add(new SimulatedDevice((uint)number, KeyringOf((uint)number), Blocks.Placing.Placement.DefaultSurvive(nodeCount), World, new SeededRandom(Random.Next(int.MaxValue)), Network, Trace));
        }

        for (int i = 0; i < nodeCount; i++)
        {
            AddNode();
        }
    }

    internal ManualClock World { get; } = new();

    internal Trace Trace { get; }

    /// <summary>What the schedule is drawn from. Each machine and the network have their own.</summary>
    internal SeededRandom Random { get; }

    internal SimulatedNetwork Network { get; }

    internal AccountKeys Account { get; }

    internal KeyDomain Realm { get; }

    internal List<SimulatedNode> Nodes { get; } = [];

    internal List<SimulatedDevice> Devices { get; } = [];

    internal Written Written { get; } = new();

    /// <summary>Nodes of this world that may still answer, now or later.</summary>
    internal IEnumerable<SimulatedNode> Living => Nodes.Where(static node => !node.IsGone);

    internal List<SimulatedNode> CrashedNodes { get; } = [];

    internal SimulatedNode AddNode()
    {
        var node = new SimulatedNode(Nodes.Count, World, new SeededRandom(Random.Next(int.MaxValue)), Trace) { Latency = TimeSpan.FromMilliseconds(1 + Random.Next(60)) };
        node.LetIn(Devices[0].AsPeer() with { AbsenceDays = Random.Next(3) == 0 ? Node.Peers.Peer.MinAbsenceDays : 0 });
        node.Start();
        Nodes.Add(node);
        Network.Add(node);
        return node;
    }

    /// <summary>What a person tells a device: who keeps for it now.</summary>
    internal void TellPeers(SimulatedDevice device) => device.ChangePeers(list =>
    {
        foreach (SimulatedNode node in Nodes)
        {
            Node.Peers.Peer as_ = node.AsPeer(1L << 40);
            Node.Peers.Peer? known = list.FindDevice(as_.DeviceKey);
            if (node.IsGone && known is { IsRevoked: false })
            {
                list = list.With(known with { IsRevoked = true });
            }
            else if (!node.IsGone && known is null)
            {
                list = list.With(as_);
            }
        }

        return list;
    });

    internal void Pass(TimeSpan time)
    {
        for (TimeSpan left = time; left > TimeSpan.Zero; left -= TimeSpan.FromDays(1))
        {
            World.Advance(left < TimeSpan.FromDays(1) ? left : TimeSpan.FromDays(1));
            foreach (SimulatedNode node in Nodes)
            {
                try
                {
                    node.Tick();
                }
                catch (SimulatedCrashException)
                {
                    Crashed(node);
                }
            }
        }
    }

    /// <summary>What each device that is there knows of the arenas that hold a block.</summary>
    private string Known(Score score)
    {
        var text = new System.Text.StringBuilder();
        foreach (SimulatedDevice device in Devices.Where(static each => each.Store is not null))
        {
            BlockStore store = device.Store!;
            foreach (ArenaRecord arena in store.Catalog.Arenas())
            {
                text.Append(device.Name).Append(": ").Append(arena.Ordinal).Append(' ').Append(arena.State).Append(' ').Append(arena.Id.ToString()[..12]).Append(" owner ").Append(arena.Owner).Append(" seq ").Append(arena.SealSequence).Append(" day ").Append(arena.TrashedOnDay);
                foreach (FragmentPlace each in arena.Fragments)
                {
                    HolderRecord? holder = store.Catalog.Holders().FirstOrDefault(known => known.Number == each.Holder);
                    text.Append(" | ").Append(each.Name.ToString()[..6]).Append(" at ").Append(each.Holder).Append(' ').Append(holder?.Place).Append(holder?.IsGone == true ? " gone " : " ").Append(holder?.Id.ToString()[..6]);
                }

                text.AppendLine();
            }
        }

        return text.ToString();
    }

    /// <summary>Reads everything that the heads of a store want, and compares it with what was written.</summary>
    internal int CheckHeads(BlockStore store, string who, bool afresh)
    {
        int count = 0;
        if (afresh)
        {
            _verified.Clear();
        }

        byte[] target = _block;
        foreach (Head head in store.Heads)
        {
            if (!Written.IsKnown(head.Root))
            {
                throw new SimulationException($"{who} shows a head of device {head.Device}, sequence {head.Sequence}, whose root nobody wrote");
            }

            count += Check(head.Root, BlockType.VolumeRoot);
            foreach (Score snapshot in Written.Below(head.Root))
            {
                count += Check(snapshot, Written.SnapshotType);
                foreach (Score block in Written.Below(snapshot))
                {
                    count += Check(block, BlockType.Data);
                }
            }

            int Check(Score score, BlockType type)
            {
                if (!_verified.Add(score))
                {
                    return 0;
                }

                BlockRead read;
                try
                {
                    read = store.OpenBlocks(head.Domain, 0).ReadAsync(score, type, target, CancellationToken.None).Done();
                }
                catch (Exception failure) when (failure is DamagedBlockException or DiskException or DamagedFormatException)
                {
                    throw new SimulationException($"{who}: the head of device {head.Device}, sequence {head.Sequence}, wants block {score} ({type}), which cannot be read: {failure.Message}\n{Known(score)}", failure);
                }

                byte[] expected = Written.BytesOf(score);
                return !read.IsFound ? throw new SimulationException($"{who}: the head of device {head.Device}, sequence {head.Sequence}, wants block {score} ({type}), which is nowhere\n{Known(score)}")
                    : !expected.AsSpan().SequenceEqual(target.AsSpan(0, read.Bytes)) ? throw new SimulationException($"{who}: block {score} came back with other bytes")
                    : 1;
            }
        }

        return count;
    }

    /// <summary>Looks behind the nodes' backs whether each sealed arena of a catalog has k good fragments where the catalog says so.</summary>
    internal (int Arenas, int Fewest) CheckArenas(BlockStore store, string who)
    {
        Dictionary<HolderId, SimulatedNode> byId = [];
        foreach (Blocks.Placing.StoreHolder holder in store.Holders)
        {
            if (Nodes.Find(node => node.Name == holder.Place) is { } node)
            {
                byId[holder.Id] = node;
            }
        }

        int fewest = int.MaxValue;
        int arenas = 0;
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Sealed))
        {
            arenas++;
            int good = 0;
            int elsewhere = 0;
            for (int index = 0; index < arena.Fragments.Count; index++)
            {
                FragmentPlace place = arena.Fragments[index];
                SimulatedNode? at = store.Holders.FirstOrDefault(holder => holder.Number == place.Holder) is { } named ? byId.GetValueOrDefault(named.Id) : null;
                if (at is { IsGone: false } && at.HasGood(arena.Id, index, place.Name, arena.Layout.SliceBytes))
                {
                    good++;
                }
                else if (Living.Any(node => node.HasGood(arena.Id, index, place.Name, arena.Layout.SliceBytes)))
                {
                    elsewhere++;
                }
            }

            if (good < arena.Layout.DataFragments)
            {
                throw new SimulationException(
                    $"{who}: arena {arena.Ordinal} ({arena.Id}) of device {arena.Owner} has {good} good fragments where the catalog says, and {elsewhere} where it does not say, expected {arena.Layout.DataFragments} of {arena.Layout.FragmentCount}");
            }

            fewest = Math.Min(fewest, good - arena.Layout.DataFragments);
        }

        return (arenas, fewest);
    }

    private void Crashed(SimulatedNode node)
    {
        Trace.Add($"the power goes at {node.Name}");
        node.Crash(isPowerCut: true);
        CrashedNodes.Add(node);
    }

    private Keyring KeyringOf(uint number)
    {
        Keyring keyring = Keyring.Create(Account, number, $"device{number}", 0, Random);
        keyring.Add(Realm);
        return keyring;
    }
}
