using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

public sealed class PeerListTests : IDisposable
{
    private readonly SecretBytes _key = SecretBytes.Random(SystemRandom.Instance, 32);
    private readonly SimulatedDisk _disk = new();

    public PeerListTests() => _disk.CreateDirectory("state");

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _key.Dispose();

    private PeerFile File(SecretBytes? key = null) => new(_disk, "state", key ?? _key, SystemRandom.Instance, TimeProvider.System);

    private static Peer Sample(string name, int seed) => new()
    {
        AccountKey = Bytes32.Read(new SeededRandom(seed).Bytes(32)),
        DeviceKey = Bytes32.Read(new SeededRandom(seed + 1000).Bytes(32)),
        Name = name,
        Place = "hill",
        IsLeaving = true,
        KeptForIt = 1,
        KeptForUs = long.MaxValue,
        SendRate = 3,
        ReceiveRate = 4,
        EndsAtSeconds = 5,
        MetAtSeconds = 6,
        AbsenceDays = seed % 2 == 0 ? 365u : 0,
        Country = seed % 3 == 0 ? "DE" : null,
        Holder = HolderId.Read(new SeededRandom(seed + 2000).Bytes(16)),
        Addresses = ["192.0.2.7:4919", "box:1"],
    };

    [Fact]
    public async Task A_list_reads_back_as_it_was_written_and_shows_nothing_of_it_on_disk()
    {
        var invitation = new Invitation { SecretHash = Bytes32.Read(new SeededRandom(9).Bytes(32)), MadeAtSeconds = 1, ExpiresAtSeconds = 2, KeptForIt = 3, AbsenceDays = 90, Name = "carol", Place = "lake" };
        PeerList written = await File().ChangeAsync(list => list.With(Sample("bob-the-peer", 1)).With(Sample("ann", 2)).With(Sample("carla", 3)).With(Sample("dora", 6)).With(invitation, 1), Cancel);
        PeerList read = File().Read();
        Assert.Equal(written.Invitations, read.Invitations);
        Assert.Equal(written.Peers.Select(static peer => peer with { Addresses = [] }), read.Peers.Select(static peer => peer with { Addresses = [] }));
        Assert.Equal(written.Peers.SelectMany(static peer => peer.Addresses), read.Peers.SelectMany(static peer => peer.Addresses));
        foreach (string word in (string[])["bob-the-peer", "hill", "192.0.2.7", "carol"])
        {
            Assert.Equal(-1, _disk.ReadAll("state/peers").AsSpan().IndexOf(Encoding.ASCII.GetBytes(word)));
        }
    }

    [Fact]
    public void A_term_that_nobody_can_have_agreed_on_is_damage()
    {
        var writer = new FieldWriter(256);
        PeerList.Empty.With(Sample("ann", 2)).Write(writer);
        byte[] bytes = writer.ToArray();
        Assert.Equal(365u, Assert.Single(PeerList.Read(bytes).Peers).AbsenceDays);
        bytes[^8] = 1; // 365 is 0x016d: 0x0101 is right too, 1 is not
        Assert.Equal(257u, Assert.Single(PeerList.Read(bytes).Peers).AbsenceDays);
        bytes[^7] = 0;
        Assert.Contains("a term of 1 days", Assert.Throws<DamagedFormatException>(() => PeerList.Read(bytes)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dE"), InlineData("D\0"), InlineData("12")]
    public void A_country_that_is_not_two_capital_letters_is_damage(string country)
    {
        var writer = new FieldWriter(256);
        PeerList.Empty.With(Sample("carla", 3)).Write(writer);
        byte[] bytes = writer.ToArray();
        Assert.Equal("DE", Assert.Single(PeerList.Read(bytes).Peers).Country);
        Encoding.ASCII.GetBytes(country).CopyTo(bytes.AsSpan(bytes.Length - 6)); // behind it stands how many invitations there are
        Assert.Contains("a country is not two capital letters", Assert.Throws<DamagedFormatException>(() => PeerList.Read(bytes)).Message, StringComparison.Ordinal);
    }

    /// <summary>The example of docs/format.md 17.1.</summary>
    [Fact]
    public async Task A_list_of_one_invitation_has_the_size_that_the_format_says()
    {
        await File().ChangeAsync(static list => list.With(new Invitation { SecretHash = default, MadeAtSeconds = 0, ExpiresAtSeconds = 1 }, 0), Cancel);
        byte[] file = _disk.ReadAll("state/peers");
        Assert.Equal(182, file.Length);
        Assert.Equal("54444653504552318a000000", Convert.ToHexStringLower(file.AsSpan(0, 12)));
    }

    [Fact]
    public async Task Another_devices_key_and_every_flipped_byte_are_told_as_damage()
    {
        await File().ChangeAsync(static list => list.With(Sample("bob", 1)), Cancel);
        using SecretBytes other = SecretBytes.Random(SystemRandom.Instance, 32);
        Assert.Contains("another device's", Assert.Throws<DamagedFormatException>(() => File(other).Read()).Message, StringComparison.Ordinal);
        byte[] good = _disk.ReadAll("state/peers");
        for (int at = 0; at < good.Length; at++)
        {
            byte[] bad = [.. good];
            bad[at] ^= 0x10;
            _disk.Plant("state/peers", bad);
            Assert.Throws<DamagedFormatException>(() => File().Read());
        }
    }

    [Fact]
    public async Task A_power_cut_at_every_write_leaves_the_old_list_or_the_new_one()
    {
        await File().ChangeAsync(static list => list.With(Sample("bob", 1)), Cancel);
        long before = _disk.OperationCount;
        SimulatedDisk start = _disk.Recover(1);
        for (int operations = 0; ; operations++)
        {
            SimulatedDisk disk = start.Recover(1);
            disk.CrashAfter(operations);
            var file = new PeerFile(disk, "state", _key, SystemRandom.Instance, TimeProvider.System);
            bool ended = true;
            try
            {
                await file.ChangeAsync(static list => list.With(Sample("ann", 2)), Cancel);
            }
            catch (SimulatedCrashException)
            {
                ended = false;
            }

            SimulatedDisk after = disk.Recover(operations);
            int count = new PeerFile(after, "state", _key, SystemRandom.Instance, TimeProvider.System).Read().Peers.Count;
            Assert.True(ended ? count == 2 : count is 1 or 2, $"after {operations} operations: {count} peers");
            if (ended)
            {
                break;
            }
        }

        Assert.True(before > 0);
    }

    [Fact]
    public void Names_that_are_taken_get_a_number_and_a_place_of_their_own()
    {
        PeerList list = PeerList.Empty.With(Sample("bob", 1) with { Place = "bob" }).With(Sample("bob", 2) with { Place = "bob" }).With(Sample(new string('x', 64), 3)).With(Sample(new string('x', 64), 4));
        Assert.Equal(["bob", "bob-2", new string('x', 64), new string('x', 62) + "-2"], list.Peers.Select(static peer => peer.Name));
        Assert.Equal("bob-2", list.Find("bob-2")!.Place);
    }

    [Fact]
    public void A_peer_that_ended_or_was_revoked_is_not_let_in()
    {
        Peer peer = Sample("bob", 1) with { EndsAtSeconds = 100 };
        Assert.True(peer.IsLetIn(99));
        Assert.False(peer.IsLetIn(100));
        Assert.False((peer with { EndsAtSeconds = 0, IsRevoked = true }).IsLetIn(99));
        Assert.False((peer with { KeptForIt = 0 }).IsLetIn(99));
        Assert.False((peer with { AccountKey = default }).IsLetIn(99));
    }
}
