using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>The repair capability: its bytes, and what a friend who shows it may ask of a holder that has never met him (docs/protocol.md 3.12).</summary>
public sealed class RepairTests
{
    private const int Slice = 128 * 1024;

    private static readonly ArenaId s_id = ArenaId.Read(new SeededRandom(2).Bytes(ArenaId.Size));
    private static readonly ArenaId s_other = ArenaId.Read(new SeededRandom(3).Bytes(ArenaId.Size));
    private static readonly FragmentData[] s_fragments = [ServedNode.Fragment(0, Slice, 10), ServedNode.Fragment(1, Slice, 11), ServedNode.Fragment(2, Slice, 12)];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static HeldFragment[] Held => [.. s_fragments.Select(static each => new HeldFragment(each.Index, each.Name))];

    /// <summary>The example of docs/format.md 17.6.</summary>
    [Fact]
    public void An_entry_has_the_bytes_of_the_format()
    {
        byte[] count = [.. Enumerable.Range(0, 96).Select(static i => (byte)i)];
        var entry = new RepairEntry(ArenaId.Read(count), 4096, 1, 1, 1, [FragmentName.Read(count.AsSpan(32)), FragmentName.Read(count.AsSpan(64))]);
        var writer = new FieldWriter();
        entry.Write(writer);
        byte[] expected = [.. count[..32], 0, 0x10, 0, 0, 1, 1, 1, 0, .. count[32..]];
        Assert.Equal(expected, writer.ToArray());
        var reader = new FieldReader(expected, "entry");
        RepairEntry read = RepairEntry.Read(ref reader);
        reader.End();
        Assert.Equal((entry.Id, 4096, 1), (read.Id, read.SliceBytes, read.Survive));
        Assert.Equal(entry.Names, read.Names);
    }

    [Fact]
    public void A_file_is_read_as_it_was_written_and_a_changed_byte_anywhere_is_damage()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        byte[] file = Capability(ann, bob.DeviceKey, s_id, Held);
        RepairCapability read = RepairCapability.Read(file);
        Assert.Equal((bob.DeviceKey, ann.AccountKey), (read.Grant.Friend, read.Grant.Account));
        Assert.Equal(Held.Select(static each => each.Name), Assert.Single(read.Arenas).Entry.Names.Where(static name => name != default));
        Assert.Equal("192.0.2.7:4919", Assert.Single(Assert.Single(read.Holders).Addresses));
        for (int at = 0; at < file.Length; at++)
        {
            byte[] changed = [.. file];
            changed[at] ^= 1;
            Assert.Throws<DamagedFormatException>(() => RepairCapability.Read(changed));
        }

        Assert.Throws<DamagedFormatException>(() => RepairCapability.Read(file.AsSpan(0, file.Length - 1)));
        Assert.Throws<DamagedFormatException>(() => RepairCapability.Read([.. file, 0]));
    }

    [Fact]
    public void What_another_device_signed_in_the_owners_name_is_not_the_owners()
    {
        using var ann = new TestDevice("ann");
        using var eve = new TestDevice("eve");
        byte[] forged = RepairCapability.Write(RepairGrant.Issue(ann.Certificate, eve.Keys, eve.DeviceKey, 1), eve.Keys, [], []);
        Assert.Throws<NotSignedException>(() => RepairCapability.Read(forged));
    }

    [Fact]
    public async Task A_friend_reads_and_brings_what_the_list_names_at_a_holder_that_never_met_him()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1 << 30));
        PeerHolder owner = await node.OpenAsync(ann);
        await owner.PutAsync(s_id, 2, 1, Slice, s_fragments[..1], Cancel);

        using PeerHolder friend = await OpenAsync(node, bob, Capability(ann, bob.DeviceKey, s_id, Held));
        Assert.Equal(owner.Id, friend.Id);
        Assert.Equal(0, Assert.Single((await friend.InspectAsync(s_id, Cancel))!.Fragments).Index);
        byte[] bytes = new byte[Slice];
        Assert.Equal(Slice, await friend.ReadAsync(s_id, 0, 0, bytes, Cancel));
        Assert.Equal(s_fragments[0].Bytes.ToArray(), bytes);
        Assert.NotNull(await friend.ReadGroupHashesAsync(s_id, 0, s_fragments[0].Name, Cancel));
        await friend.PutAsync(s_id, 2, 1, Slice, s_fragments[1..], Cancel);
        Assert.Equal(3, node.HolderOf(ann).Arenas[s_id].Fragments.Count);
    }

    [Fact]
    public async Task A_friend_brings_nothing_else_and_takes_nothing_away()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1 << 30));
        PeerHolder owner = await node.OpenAsync(ann);
        await owner.PutAsync(s_id, 2, 1, Slice, s_fragments[..1], Cancel);
        await owner.PutAsync(s_other, 2, 1, Slice, s_fragments[..1], Cancel);
        await owner.PutObjectAsync("anchor/1", new byte[5], Cancel);
        byte[] file = Capability(ann, bob.DeviceKey, s_id, Held);
        using PeerHolder friend = await OpenAsync(node, bob, file);

        FragmentData wrong = ServedNode.Fragment(1, Slice, 99);
        await Assert.ThrowsAsync<DiskException>(() => friend.PutAsync(s_id, 2, 1, Slice, [wrong], Cancel).AsTask());                       // a name that the list has not
        await Assert.ThrowsAsync<DiskException>(() => friend.PutAsync(s_id, 2, 1, Slice, [s_fragments[1] with { Index = 2 }], Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.PutAsync(s_id, 2, 1, Slice, [s_fragments[1] with { Bytes = wrong.Bytes }], Cancel).AsTask()); // bytes that do not match
        await Assert.ThrowsAsync<DiskException>(() => friend.ReplaceAsync(s_id, 2, 1, Slice, s_fragments[1..2], Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.DeleteAsync(s_id, Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.TrashAsync(s_id, Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.PurgeAsync(s_id, Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.RewriteGroupsAsync(s_id, 0, [0], wrong.Bytes[..16384], Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.ListAsync(Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.ListObjectsAsync("", Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.ReadObjectAsync("anchor/1", 0, new byte[5], Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.DeleteObjectAsync("anchor/1", Cancel).AsTask());
        await Assert.ThrowsAsync<DiskException>(() => friend.RenewAsync(Cancel).AsTask());

        // The entry of one arena opens no other, and its signature is of no other entry.
        RepairCapability read = RepairCapability.Read(file);
        byte[] request = new RepairPass(read).Head("hashes", (byte[])[.. Bytes(s_id), 0, 0, .. new byte[32]]).ToArray();
        Assert.Equal(Bytes(s_id), request[^66..^34]);
        using PeerConnection raw = Dial(node, bob, new RepairPass(read));
        Assert.NotEmpty(await raw.AskAsync("./hashes", request, 1000, Cancel)); // as it stands, with nothing put before it
        foreach (int at in (int[])[request.Length - 66, 2])
        {
            byte[] changed = [.. request];
            Bytes(s_other).CopyTo(changed, at);
            PeerException refused = await Assert.ThrowsAsync<PeerException>(() => raw.AskAsync("./hashes", changed, 1000, Cancel).AsTask());
            Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        }

        // By the same grant the list of another friend is none.
        using var eve = new TestDevice("eve");
        byte[] theirs = new RepairPass(RepairCapability.Read(Capability(ann, eve.DeviceKey, s_id, Held))).Head("hashes", (byte[])[.. Bytes(s_id), 0, 0, .. new byte[32]]).ToArray();
        Assert.Equal(PeerProblem.NotLetIn, (await Assert.ThrowsAsync<PeerException>(() => raw.AskAsync("./hashes", theirs, 1000, Cancel).AsTask())).Problem);
        Assert.Equal((1, 1), (node.HolderOf(ann).Arenas[s_id].Fragments.Count, node.HolderOf(ann).Arenas[s_other].Fragments.Count));
    }

    [Fact]
    public async Task Nobody_else_is_let_in_by_it_nor_the_friend_once_he_is_revoked_nor_where_the_owner_is_unknown()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        using var eve = new TestDevice("eve");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1 << 30));
        byte[] file = Capability(ann, bob.DeviceKey, s_id, Held);
        PeerException refused = await Assert.ThrowsAsync<PeerException>(() => OpenAsync(node, eve, file));
        Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        Assert.Empty(node.Holders);                                                                 // and no disk was touched
        await using ServedNode elsewhere = await ServedNode.StartAsync(eve.AsPeer(1 << 30));
        refused = await Assert.ThrowsAsync<PeerException>(() => OpenAsync(elsewhere, bob, file));
        Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        Assert.Empty(elsewhere.Holders);

        PeerHolder owner = await node.OpenAsync(ann);
        using PeerHolder friend = await OpenAsync(node, bob, file);
        await owner.PutObjectAsync(RepairGrant.RevocationOf(bob.DeviceKey), new byte[1], Cancel);
        await Assert.ThrowsAsync<DiskException>(() => friend.InspectAsync(s_id, Cancel).AsTask());
        await owner.DeleteObjectAsync(RepairGrant.RevocationOf(bob.DeviceKey), Cancel);
        Assert.Null(await friend.InspectAsync(s_id, Cancel));
    }

    [Fact]
    public async Task What_a_device_granted_counts_no_more_once_it_is_revoked()
    {
        using var ann = new TestDevice("ann");
        using var desk = new TestDevice("desk", ann, 2);
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1 << 30));
        using PeerHolder byAnn = await OpenAsync(node, bob, Capability(ann, bob.DeviceKey, s_id, Held));
        using PeerHolder byDesk = await OpenAsync(node, bob, Capability(desk, bob.DeviceKey, s_id, Held));
        Assert.Null(await byDesk.InspectAsync(s_id, Cancel));
        await Revocation.SayAsync(node.Dial(ann), [ann.Says(2)], isRefused: false, Cancel);
        await Assert.ThrowsAsync<DiskException>(() => byDesk.InspectAsync(s_id, Cancel).AsTask());
        PeerException refused = await Assert.ThrowsAsync<PeerException>(() => OpenAsync(node, bob, Capability(desk, bob.DeviceKey, s_id, Held)));
        Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        Assert.Null(await byAnn.InspectAsync(s_id, Cancel));
    }

    [Fact]
    public async Task What_the_owner_has_given_up_is_not_brought_back()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(1 << 30));
        PeerHolder owner = await node.OpenAsync(ann);
        await owner.PutAsync(s_id, 2, 1, Slice, s_fragments[..1], Cancel);
        using PeerHolder friend = await OpenAsync(node, bob, Capability(ann, bob.DeviceKey, s_id, Held));
        await owner.TrashAsync(s_id, Cancel);
        await Assert.ThrowsAsync<DiskException>(() => friend.PutAsync(s_id, 2, 1, Slice, s_fragments[1..2], Cancel).AsTask());
        await owner.PurgeAsync(s_id, Cancel);
        await Assert.ThrowsAsync<DiskException>(() => friend.PutAsync(s_id, 2, 1, Slice, s_fragments[1..2], Cancel).AsTask());
        Assert.Equal(1, (await owner.PeerHelloAsync(node, ann)).ReleasedCount);
    }

    internal static byte[] Capability(TestDevice owner, Bytes32 friend, ArenaId id, HeldFragment[] held)
    {
        var names = new FragmentName[held.Max(static each => each.Index) + 1];
        foreach (HeldFragment each in held)
        {
            names[each.Index] = each.Name;
        }

        var holder = new RepairHolder(HolderId.Read(new SeededRandom(1).Bytes(16)), Bytes32.Read(new SeededRandom(2).Bytes(32)), Bytes32.Read(new SeededRandom(3).Bytes(32)), 0, true, ["192.0.2.7:4919"]);
        var entry = new RepairEntry(id, Slice, names.Length - 1, 1, 1, names);
        return RepairCapability.Write(RepairGrant.Issue(owner.Certificate, owner.Keys, friend, 1_790_000_000), owner.Keys, [holder], [(entry, [.. names.Select(static (_, i) => i == 0 ? (ushort)0 : RepairCapability.Nowhere)])]);
    }

    private static byte[] Bytes(ArenaId id)
    {
        byte[] bytes = new byte[ArenaId.Size];
        id.Write(bytes);
        return bytes;
    }

    private static PeerConnection Dial(ServedNode node, TestDevice by, RepairPass? pass) =>
        new("host", [node.Address], new ExpectedIdentity { DeviceKey = node.Device.DeviceKey }, by.TlsAt(TimeProvider.System), TimeProvider.System) { Pass = pass };

    private static async Task<PeerHolder> OpenAsync(ServedNode node, TestDevice by, byte[] file)
    {
        RepairCapability capability = RepairCapability.Read(file);
        PeerConnection connection = Dial(node, by, new RepairPass(capability));
        try
        {
            PeerHolder holder = await PeerHolder.OpenAsync(connection, null, Cancel);
            holder.Expected = (id, index) => id == s_id && index < 3 ? new ExpectedFragment(capability.Arenas[0].Entry.Names[index], Slice) : null;
            return holder;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }
}

file static class HelloAgain
{
    internal static async Task<Wire.HelloAnswer> PeerHelloAsync(this PeerHolder _, ServedNode node, TestDevice by) => (await node.OpenAsync(by)).Hello;
}
