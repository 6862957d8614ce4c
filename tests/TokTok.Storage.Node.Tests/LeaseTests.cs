using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>For how long what an account keeps at a node stays when nothing is heard of it.</summary>
public sealed class LeaseTests
{
    private const int Slice = 4096;
    private const uint Term = 40;
    private const uint End = Term + Lease.GraceDays;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Silence_is_told_before_it_counts_and_what_it_releases_is_deleted_a_month_later()
    {
        await using var world = await World.StartAsync();
        await world.RunDaysAsync(End - 1);
        Assert.Equal(0, await world.ReleasedAsync());
        Assert.StartsWith("peer ann: nothing was heard of it on 10 days on which this node ran; after 60 more what is kept for it is released", world.Told[0], StringComparison.Ordinal);
        Assert.Equal((int)(End - 10), world.Told.Count); // one line a day, from the notice on

        await world.RunDaysAsync(1);
        Assert.Equal(1, await world.ReleasedAsync());
        Assert.Contains("is released, and is deleted in 30 days on which this node runs, unless it is heard of", world.Told[^1], StringComparison.Ordinal);
        await world.RunDaysAsync(Releases.KeptDays - 1);
        Assert.Single(world.Holder.Arenas);

        // Though the node starts again and nobody asks for anything.
        await world.StartAgainAsync();
        await world.RunDaysAsync(2);
        Assert.Empty(world.Holder.Arenas);
    }

    [Fact]
    public async Task Any_request_renews_it_and_brings_back_what_silence_released()
    {
        await using var world = await World.StartAsync();
        await world.RunDaysAsync(End - 1);
        _ = await world.House.OfAsync(world.Ann, Cancel);
        await world.RunDaysAsync(End - 1);
        Assert.Equal(0, await world.ReleasedAsync());
        await world.RunDaysAsync(5);
        Assert.Equal(1, await world.ReleasedAsync());

        HostedHolder heard = await world.House.OfAsync(world.Ann, Cancel);
        Assert.Equal((0, 0L), heard.Released());
        Assert.False((await heard.InspectAsync(world.Arena, Cancel))!.IsInTrash);
        await world.RunDaysAsync(End - 1);
        Assert.Equal(0, await world.ReleasedAsync());
    }

    [Fact]
    public async Task Without_a_term_nothing_is_ever_released()
    {
        await using var world = await World.StartAsync(term: 0);
        await world.RunDaysAsync(2000);
        Assert.Equal(0, await world.ReleasedAsync());
        Assert.Empty(world.Told);
    }

    [Fact]
    public async Task A_clock_that_jumps_counts_one_day_and_then_none_until_time_has_caught_up()
    {
        await using var world = await World.StartAsync();
        await world.RunDaysAsync(3);
        world.Clock.Advance(TimeSpan.FromDays(3650));
        await world.RunDaysAsync(1);
        await world.StartAgainAsync(new ManualClock()); // it was set right: ten years before what was counted last
        await world.RunDaysAsync(1000);
        Assert.Equal(0, await world.ReleasedAsync());
        Assert.Empty(world.Told);
    }

    [Fact]
    public async Task Days_on_which_the_node_does_not_run_do_not_count()
    {
        await using var world = await World.StartAsync();
        for (int i = 0; i < 20; i++)
        {
            world.Clock.Advance(TimeSpan.FromDays(30));
            await world.StartAgainAsync();
            await world.RunDaysAsync(1);
        }

        Assert.Equal(0, await world.ReleasedAsync());
    }

    [Fact]
    public async Task A_file_that_cannot_be_read_begins_anew()
    {
        await using var world = await World.StartAsync();
        await world.RunDaysAsync(End - 1);
        byte[] bytes = world.Disk.ReadAll(world.Path);
        bytes[9] ^= 0xff; // 0xff00 more days of silence, if it counted
        world.Disk.Plant(world.Path, bytes);
        await world.StartAgainAsync();
        await world.RunDaysAsync(End - 1);
        Assert.Equal(0, await world.ReleasedAsync());
    }

    /// <summary>The example of docs/format.md 17.2.</summary>
    [Fact]
    public void A_lease_has_the_bytes_that_the_format_says()
    {
        var disk = new SimulatedDisk();
        disk.CreateDirectory("kept");
        var lease = new Lease(disk, "kept", "a");
        Assert.True(lease.Tick(20_778));
        Assert.True(lease.Tick(20_779));
        Assert.False(lease.Tick(20_779));
        Assert.Equal("544446534c45413101000000" + "2b510000" + "00000000", Convert.ToHexStringLower(disk.ReadAll("kept/a.lease").AsSpan(0, 20)));
        Assert.Equal((1u, 20_779u, false), new Lease(disk, "kept", "a") is var read ? (read.SilentDays, read.LastDay, read.HasExpired) : default);
    }

    [Fact]
    public async Task A_peer_is_told_what_it_was_granted()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1 << 20) with { AbsenceDays = 365 }, bob.AsPeer(1 << 20));
        using PeerHolder forAnn = await node.OpenAsync(ann);
        using PeerHolder forBob = await node.OpenAsync(bob);
        Assert.Equal(new LeaseTerms(365, Lease.GraceDays, Releases.KeptDays), await forAnn.RenewAsync(Cancel));
        Assert.Equal(0u, (await forBob.RenewAsync(Cancel)).AbsenceDays);
    }

    /// <summary>A node that keeps one arena for ann, and days that pass.</summary>
    private sealed class World : IAsyncDisposable
    {
        private readonly TestDevice _ann = new("ann");
        private readonly uint _term;

        private World(uint term) => _term = term;

        internal SimulatedDisk Disk { get; } = new();

        internal ManualClock Clock { get; private set; } = new();

        internal MemoryHolder Holder { get; } = new();

        internal List<string> Told { get; } = [];

        internal ArenaId Arena { get; } = ArenaId.New(SystemRandom.Instance);

        internal HolderHouse House { get; private set; } = null!;

        internal Bytes32 Ann => _ann.AccountKey;

        internal string Path => $"kept/{HolderHouse.NameOf(Ann)}.lease";

        internal static async Task<World> StartAsync(uint term = Term)
        {
            var world = new World(term);
            world.Open();
            await world.Holder.PutAsync(world.Arena, 1, 1, Slice, [ServedNode.Fragment(0, Slice, 1)], Cancel);
            _ = await world.House.OfAsync(world.Ann, Cancel);
            return world;
        }

        internal async Task RunDaysAsync(uint days)
        {
            for (uint i = 0; i < days; i++)
            {
                Clock.Advance(TimeSpan.FromDays(1));
                for (int turn = 0; turn < 2; turn++)
                {
                    await House.TickAsync(Cancel);
                    await House.TickLeasesAsync(new Dictionary<Bytes32, uint> { [Ann] = _term }, static _ => "ann", Cancel);
                }
            }
        }

        internal async Task StartAgainAsync(ManualClock? clock = null)
        {
            await House.DisposeAsync();
            Clock = clock ?? Clock;
            Open();
        }

        /// <summary>As the account would be told, but without asking for it: that would renew.</summary>
        internal ValueTask<int> ReleasedAsync() => ValueTask.FromResult(new Releases(Disk, "kept", HolderHouse.NameOf(Ann), null).Count);

        public async ValueTask DisposeAsync()
        {
            await House.DisposeAsync();
            _ann.Dispose();
        }

        private void Open() => House = HolderHouse.Open(Disk, "kept", _ => Holder, 0, Clock, Told.Add);
    }
}
