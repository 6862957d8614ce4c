using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>A device that its account has revoked: refused as a stranger, its connections ended, what it released taken back; and whose word about whom counts.</summary>
public sealed class RevokedDeviceTests : IAsyncLifetime
{
    private const int Slice = 128 * 1024;
    private const long Quota = 64L << 20;

    private readonly TestDevice _ann = new("ann");
    private readonly TestDevice _desk;
    private readonly TestDevice _phone;
    private ServedNode _node = null!;

    public RevokedDeviceTests()
    {
        _desk = new TestDevice("desk", _ann, 2);
        _phone = new TestDevice("phone", number: 3, enrolledBy: _desk);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _node = await ServedNode.StartAsync(_ann.AsPeer(Quota));

    public async ValueTask DisposeAsync()
    {
        await _node.DisposeAsync();
        _phone.Dispose();
        _desk.Dispose();
        _ann.Dispose();
    }

    [Fact]
    public async Task What_a_stolen_device_released_is_back_when_another_revokes_it_and_it_is_as_a_stranger_from_then_on()
    {
        using PeerHolder anns = await _node.OpenAsync(_ann);
        using PeerHolder stolen = await _node.OpenAsync(_desk);
        ArenaId[] ids = [.. Enumerable.Range(0, 3).Select(static _ => ArenaId.New(SystemRandom.Instance))];
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        foreach (ArenaId id in ids)
        {
            await anns.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
            await stolen.DeleteAsync(id, Cancel);
        }

        Assert.Empty(await anns.ListAsync(Cancel));
        await using Stream line = await _node.Dial(_desk).OpenLineAsync("wait", default, Cancel);
        await SayAsync(_ann, _ann.Says(2));

        Assert.Equal(3, (await anns.ListAsync(Cancel)).Count);
        byte[] back = new byte[Slice];
        Assert.Equal(Slice, await anns.ReadAsync(ids[2], 0, 0, back, Cancel));
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));

        // Its line is cut, what it has open answers no more, and a new one is refused as a stranger is.
        await AssertEndsAsync(line);
        DiskException ended = await Assert.ThrowsAsync<DiskException>(async () => await stolen.DeleteAsync(ids[0], Cancel));
        using var eve = new TestDevice("eve");
        PeerException stranger = await Assert.ThrowsAsync<PeerException>(async () => await _node.OpenAsync(eve));
        PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => await _node.OpenAsync(_desk));
        Assert.Equal((PeerProblem.NotLetIn, stranger.Message), (refused.Problem, refused.Message));
        Assert.Contains("or not this device of it", ended.Message, StringComparison.Ordinal);
        PeerException noLine = await Assert.ThrowsAsync<PeerException>(async () => await _node.Dial(_desk).OpenLineAsync("wait", default, Cancel));
        Assert.Equal(PeerProblem.NotLetIn, noLine.Problem);
        Assert.Equal(3, (await anns.ListAsync(Cancel)).Count);

        // Whom it enrolled is not revoked by that: each is by its own statement (docs/format.md 3.1).
        using PeerHolder phones = await _node.OpenAsync(_phone);
        await SayAsync(_ann, _ann.Says(3));
        await Assert.ThrowsAsync<DiskException>(async () => await phones.ListAsync(Cancel));
        Assert.Empty(_node.Troubles);
    }

    [Fact]
    public async Task What_is_said_again_changes_nothing_and_takes_no_later_release_back()
    {
        using PeerHolder anns = await _node.OpenAsync(_ann);
        await SayAsync(_ann, _ann.Says(2));
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        await anns.PutAsync(id, 1, 1, Slice, [ServedNode.Fragment(0, Slice, 1)], Cancel);
        await anns.DeleteAsync(id, Cancel);
        await SayAsync(_ann, _ann.Says(2));
        await SayAsync(_phone, _ann.Says(2)); // whoever brings it
        Assert.Empty(await anns.ListAsync(Cancel));
    }

    [Fact]
    public async Task The_elder_of_two_that_revoke_each_other_is_heard_though_it_is_refused_when_it_says_so()
    {
        await SayAsync(_phone, _phone.Says(1));
        await Assert.ThrowsAsync<PeerException>(async () => await _node.OpenAsync(_ann));
        await Revocation.SayAsync(_node.Dial(_ann), [_ann.Says(3)], isRefused: true, Cancel);
        using PeerHolder anns = await _node.OpenAsync(_ann);
        await Assert.ThrowsAsync<PeerException>(async () => await _node.OpenAsync(_phone));

        // And what the younger says now, once more or anew, is not heard.
        PeerException again = await Assert.ThrowsAsync<PeerException>(async () => await SayAsync(_phone, _phone.Says(1), _phone.Says(2)));
        Assert.Equal(PeerProblem.NotLetIn, again.Problem);
        await Revocation.SayAsync(_node.Dial(_phone), [_phone.Says(1), _phone.Says(2)], isRefused: true, Cancel);
        Assert.NotEmpty((await anns.RenewAsync(Cancel)).Write());
        using PeerHolder desks = await _node.OpenAsync(_desk);
    }

    [Fact]
    public async Task A_statement_that_does_not_count_is_refused_whole_and_one_of_a_revoked_device_as_a_strangers()
    {
        using var eve = new TestDevice("eve");
        using var other = new TestDevice("other", _ann, 7);
        (string Why, Revocation[] Said)[] cases =
        [
            ("another account's", [eve.Says(2)]),
            ("a device that is only retired", [_ann.Says(2, DeviceState.Retired)]),
            ("of itself", [_ann.Says(1)]),
            ("another device's certificate", [new Revocation(_desk.Certificate, _ann.Says(3).Statement)]),
            ("the same number, another key", [new Revocation(new TestDevice("x", _ann).Certificate, _ann.Says(3).Statement)]),
            ("one of two", [_ann.Says(2), eve.Says(2)]),
        ];
        foreach ((string why, Revocation[] said) in cases)
        {
            PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => await SayAsync(_ann, said));
            Assert.True(refused.Message.Contains("(400)", StringComparison.Ordinal), $"{why}: {refused.Message}");
            Assert.False(_node.House.IsRevoked(_ann.AccountKey, 2), why);
        }

        await SayAsync(_ann, _ann.Says(7));
        foreach ((string why, Revocation[] said) in cases)
        {
            PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => await SayAsync(other, said));
            Assert.True(refused.Problem == PeerProblem.NotLetIn, $"{why}: {refused.Message}");
        }

        PeerException stranger = await Assert.ThrowsAsync<PeerException>(async () => await SayAsync(eve, eve.Says(2)));
        Assert.Equal(PeerProblem.NotLetIn, stranger.Problem);
    }

    [Fact]
    public async Task A_device_of_the_nodes_own_account_is_refused_when_the_catalog_said_so()
    {
        using var tablet = new TestDevice("tablet", _node.Device, 5);
        await using Stream line = await _node.Dial(tablet).OpenLineAsync("wait", default, Cancel);
        await _node.Own.KeepAsync([_node.Device.Says(5)], Cancel);
        _node.Service.Refresh();
        await AssertEndsAsync(line);
        PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => await _node.Dial(tablet).OpenLineAsync("wait", default, Cancel));
        Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        await using Stream own = await _node.Dial(_node.Device).OpenLineAsync("wait", default, Cancel);
    }

    [Fact]
    public async Task A_peer_that_is_revoked_loses_its_connections_at_the_nodes_next_look()
    {
        using PeerHolder anns = await _node.OpenAsync(_ann);
        await using Stream line = await _node.Dial(_ann).OpenLineAsync("wait", default, Cancel);
        await _node.Book.File.ChangeAsync(list => list.With(list.Find("ann")! with { IsRevoked = true }), Cancel);
        await _node.Service.TickAsync(Cancel);
        await AssertEndsAsync(line);
    }

    [Fact]
    public async Task It_is_remembered_when_the_node_starts_again_and_damage_is_put_aside()
    {
        var disk = new SimulatedDisk();
        await using (HolderHouse house = Open(disk))
        {
            await house.RevokeAsync(_ann.AccountKey, [(1, 2)], static () => { }, Cancel);
        }

        string file = $"kept/{HolderHouse.NameOf(_ann.AccountKey)}.statements";
        Assert.Equal("5444465353544D3101000100000002000000", Convert.ToHexString(disk.ReadAll(file))[..36]); // the example of docs/format.md 17.2
        await using (HolderHouse house = Open(disk))
        {
            Assert.True(house.IsRevoked(_ann.AccountKey, 2));
            Assert.False(house.IsRevoked(_ann.AccountKey, 1));
            Assert.False(house.IsRevoked(_node.Device.AccountKey, 2));
            Assert.False(await house.IsNewsAsync(_ann.AccountKey, [(1, 2)], Cancel));
        }

        disk.Corrupt(file, 12, 1);
        List<string> troubles = [];
        await using (HolderHouse house = Open(disk, troubles))
        {
            Assert.False(house.IsRevoked(_ann.AccountKey, 2));
            Assert.Contains("put aside", Assert.Single(troubles), StringComparison.Ordinal);
            Assert.True(disk.FileExists(file + ".bad"));
            await house.RevokeAsync(_ann.AccountKey, [(1, 2)], static () => { }, Cancel);
            Assert.True(house.IsRevoked(_ann.AccountKey, 2));
        }
    }

    [Fact]
    public async Task What_could_not_be_remembered_is_in_force_and_is_news_until_it_was()
    {
        var disk = new SimulatedDisk();
        await using HolderHouse house = Open(disk);
        _ = await house.OfAsync(_ann.AccountKey, Cancel);
        disk.OnOperation = static operation => operation.Kind == SimulatedOperationKind.Rename ? DiskFailure.Denied : null;
        await Assert.ThrowsAsync<DiskException>(async () => await house.RevokeAsync(_ann.AccountKey, [(1, 2)], static () => { }, Cancel));
        Assert.True(house.IsRevoked(_ann.AccountKey, 2));
        Assert.True(await house.IsNewsAsync(_ann.AccountKey, [(1, 2)], Cancel));
        disk.OnOperation = null;
        await house.RevokeAsync(_ann.AccountKey, [(1, 2)], static () => { }, Cancel);
        Assert.False(await house.IsNewsAsync(_ann.AccountKey, [(1, 2)], Cancel));
    }

    [Fact]
    public async Task A_release_that_was_let_in_and_comes_after_the_revocation_releases_nothing()
    {
        var disk = new SimulatedDisk();
        await using HolderHouse house = Open(disk);
        HostedHolder holder = await house.OfAsync(_ann.AccountKey, Cancel);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        await holder.PutAsync(new PutTable(id, false, 1, 1, Slice, [new HeldFragment(0, fragment.Name)]), [fragment], Cancel);
        await Assert.ThrowsAsync<RefusalException>(async () => await holder.ReleaseAsync(id, fromTrash: false, static () => throw HolderService.NotLetIn(), Cancel));
        Assert.Equal(0, holder.Released().Count);
    }

    [Fact]
    public void Sixty_four_pairs_are_remembered_and_no_flood_of_a_younger_one_keeps_an_elder_out()
    {
        RevokedDevices flooded = RevokedDevices.None.With(Enumerable.Range(100, 200).Select(static device => (9u, (uint)device)));
        Assert.Equal(Revocation.MaxCount, flooded.Pairs.Count);
        Assert.True(flooded.Has(163));
        Assert.False(flooded.Has(164));
        Assert.Same(flooded, flooded.With([(9, 500)]));
        RevokedDevices other = flooded.With([(5, 6)]);
        Assert.True(other.Has(6));
        Assert.Equal(Revocation.MaxCount, other.Pairs.Count);
        RevokedDevices ended = other.With([(1, 9)]);
        Assert.True(ended.Has(9) && ended.Has(6) && !ended.Has(100));
        Assert.Equal(Revocation.MaxCount, RevokedDevices.Read(ended.Write(), "file").Pairs.Count);
        Assert.True(RevokedDevices.Read(ended.Write(), "file").Has(9));
    }

    /// <summary>Peers, which remember pairs, and catalogs, which have the statements, come to the same answer, in whichever order it was said.</summary>
    [Fact]
    public void Peers_and_catalogs_agree_on_who_is_revoked()
    {
        using AccountKeys account = AccountKeys.FromEntropy(new SeededRandom(1).Bytes(32));
        var words = new Dictionary<(uint Signer, uint Device), DeviceStatement>();
        for (uint signer = 1; signer <= 6; signer++)
        {
            for (uint device = 1; device <= 6; device++)
            {
                words[(signer, device)] = DeviceStatement.Issue(DeviceCertificate.Issue(account, _ann.Keys, signer, "x", 0), _ann.Keys, device, DeviceState.Revoked, 0, []);
            }
        }

        for (int seed = 0; seed < 3000; seed++)
        {
            var random = new SeededRandom(seed);
            (uint Signer, uint Device)[] said = [.. Enumerable.Range(0, 1 + random.Next(8)).Select(_ => ((uint)(1 + random.Next(6)), (uint)(1 + random.Next(6))))];
            IReadOnlyDictionary<uint, DeviceStatement> inForce = DeviceStatement.InForce(said.Select(pair => words[pair]));
            RevokedDevices remembered = said.Aggregate(RevokedDevices.None, static (all, pair) => all.With([pair]));
            Assert.True(Enumerable.Range(1, 6).All(device => remembered.Has((uint)device) == inForce.ContainsKey((uint)device)), $"seed {seed}");

            // What a catalog says is in force leads a peer that heard nothing else there as well.
            RevokedDevices told = RevokedDevices.None.With(inForce.Values.Select(static each => (each.Signer, each.Device)));
            Assert.True(Enumerable.Range(1, 6).All(device => told.Has((uint)device) == inForce.ContainsKey((uint)device)), $"seed {seed}, told");
        }
    }

    [Fact]
    public async Task The_own_devices_file_is_read_back_and_damage_is_as_none_until_it_is_written_again()
    {
        var disk = new SimulatedDisk();
        disk.CreateDirectory("state");
        var file = new RevocationFile(disk, "state", _ann.CacheKey, SystemRandom.Instance, TimeProvider.System);
        Assert.False(await file.KeepAsync([], Cancel));
        Assert.Empty(disk.Files());
        Revocation said = _ann.Says(2);
        Assert.True(await file.KeepAsync([said], Cancel));
        Assert.False(await file.KeepAsync([said], Cancel));
        Assert.Equal(2u, Assert.Single(file.Read()).Statement.Device);
        Assert.True(disk.ReadAll("state/statements").AsSpan().IndexOf("ann"u8) < 0);
        disk.Corrupt("state/statements", 40, 1);
        Assert.Empty(file.Read());
        Assert.True(await file.KeepAsync([said], Cancel));
        Assert.Single(file.Read());
    }

    private static async Task AssertEndsAsync(Stream line)
    {
        try
        {
            Assert.Equal(0, await line.ReadAsync(new byte[1], Cancel));
        }
        catch (IOException)
        {
            // cut, and not ended in order
        }
    }

    private async Task SayAsync(TestDevice by, params Revocation[] said) => await Revocation.SayAsync(_node.Dial(by), said, isRefused: false, Cancel);

    private static HolderHouse Open(SimulatedDisk disk, List<string>? troubles = null) =>
        HolderHouse.Open(disk, "kept", static _ => new MemoryHolder(), 0, TimeProvider.System, troubles is null ? null : troubles.Add);
}
