using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>A peer as a holder: over real TLS on loopback, what was put comes back, and what is refused is one clear line.</summary>
public sealed class PeerHolderTests
{
    private const int Slice = 300 * 1024;
    private const long Quota = 64L << 20;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_was_put_is_read_back_at_every_offset_and_proven()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData[] fragments = [ServedNode.Fragment(0, Slice, 1), ServedNode.Fragment(3, Slice, 2)];
        await holder.PutAsync(id, 3, 1, Slice, fragments, Cancel);
        holder.Expected = (arena, index) => arena == id && index == 3 ? new ExpectedFragment(fragments[1].Name, Slice) : null;

        foreach ((int offset, int count) in ((int, int)[])[(0, Slice), (0, 1), (16_383, 2), (65_535, 70_000), (Slice - 1, 1), (Slice - 5, 100), (Slice, 10)])
        {
            byte[] target = new byte[count];
            int expected = Math.Min(count, Slice - offset);
            Assert.Equal(expected, await holder.ReadAsync(id, 3, offset, target, Cancel));
            Assert.True(fragments[1].Bytes.Span.Slice(offset, expected).SequenceEqual(target.AsSpan(0, expected)), $"{count} bytes at {offset}");
        }

        Assert.Equal(0, holder.WrongWindows);
        HeldArena held = (await holder.InspectAsync(id, Cancel))!;
        Assert.Equal([0, 3], held.Fragments.Select(static each => each.Index));
        Assert.Equal(fragments[0].GroupHashes.ToArray(), await holder.ReadGroupHashesAsync(id, 0, fragments[0].Name, Cancel));
        Assert.Equal(id, Assert.Single(await holder.ListAsync(Cancel)).Id);
        Assert.Equal(-1, await holder.ReadAsync(id, 1, 0, new byte[10], Cancel));
        Assert.Empty(node.Troubles);
    }

    [Fact]
    public async Task Objects_are_appended_replaced_listed_and_deleted()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        byte[] long1 = new SeededRandom(3).Bytes(2_500_000);
        await holder.AppendObjectAsync("journal/a", 0, long1, isSynced: true, Cancel);
        await holder.AppendObjectAsync("journal/a", long1.Length, new byte[] { 7 }, isSynced: false, Cancel);
        await holder.PutObjectAsync("anchor/b", new byte[] { 1, 2 }, Cancel);
        Assert.Equal([new HolderObject("journal/a", 2_500_001)], await holder.ListObjectsAsync("journal/", Cancel));
        byte[] tail = new byte[10];
        Assert.Equal(2, await holder.ReadObjectAsync("journal/a", 2_499_999, tail, Cancel));
        Assert.Equal([long1[^1], 7], tail[..2]);
        Assert.Equal(0, await holder.ReadObjectAsync("journal/none", 0, tail, Cancel));
        DiskException failure = await Assert.ThrowsAsync<DiskException>(async () => await holder.AppendObjectAsync("journal/a", 5, new byte[] { 1 }, isSynced: true, Cancel));
        Assert.Contains("2500001 bytes, 5 expected", failure.Message, StringComparison.Ordinal);
        await holder.DeleteObjectAsync("journal/a", Cancel);
        Assert.Equal([new HolderObject("anchor/b", 2)], await holder.ListObjectsAsync("", Cancel));
    }

    [Fact]
    public async Task An_append_whose_answer_was_lost_is_done_already_when_it_comes_again()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        await holder.AppendObjectAsync("journal/a", 0, new byte[] { 1, 2, 3 }, isSynced: true, Cancel);
        await holder.AppendObjectAsync("journal/a", 3, new byte[] { 4, 5 }, isSynced: true, Cancel);
        await holder.AppendObjectAsync("journal/a", 3, new byte[] { 4, 5 }, isSynced: true, Cancel);
        Assert.Equal([1, 2, 3, 4, 5], node.HolderOf(ann).Objects["journal/a"]);
    }

    [Fact]
    public async Task A_changed_byte_at_the_holder_is_noticed_told_once_and_mended_by_group()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        List<string> notes = [];
        using PeerHolder holder = await node.OpenAsync(ann, notes.Add);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        holder.Expected = (_, _) => new ExpectedFragment(fragment.Name, Slice);
        node.HolderOf(ann).Arenas[id].Damage(0, 100_000);

        byte[] all = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, all, Cancel));
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, all, Cancel));
        Assert.True(holder.WrongWindows >= 2);
        Assert.Contains("is not what was put there", Assert.Single(notes), StringComparison.Ordinal);

        int group = 100_000 / 16_384;
        await holder.RewriteGroupsAsync(id, 0, [group], fragment.Bytes.Slice(group * 16_384, 16_384), Cancel);
        long before = holder.WrongWindows;
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, all, Cancel));
        Assert.Equal(before, holder.WrongWindows);
        Assert.True(fragment.Bytes.Span.SequenceEqual(all));
    }

    [Fact]
    public async Task Whoever_is_not_let_in_gets_one_line_and_nothing_is_asked_of_the_disk()
    {
        using var ann = new TestDevice("ann");
        using var eve = new TestDevice("eve");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => await node.OpenAsync(eve));
        Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        Assert.Empty(node.Holders);
        await node.Book.File.ChangeAsync(list => list.With(list.Find("ann")! with { IsRevoked = true }), Cancel);
        node.Book.Refresh();
        PeerException revoked = await Assert.ThrowsAsync<PeerException>(async () => await node.OpenAsync(ann));
        Assert.Equal(refused.Message, revoked.Message);
        Assert.Empty(node.Holders);
    }

    [Fact]
    public async Task Another_device_of_the_same_account_is_let_in_and_finds_what_the_first_put()
    {
        using var ann = new TestDevice("ann");
        using var tablet = new TestDevice("tablet", ann);
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder first = await node.OpenAsync(ann);
        await first.PutObjectAsync("anchor/a", new byte[] { 1 }, Cancel);
        using PeerHolder second = await node.OpenAsync(tablet);
        Assert.Equal("anchor/a", Assert.Single(await second.ListObjectsAsync("", Cancel)).Name);
    }

    [Fact]
    public async Task Somebody_elses_arena_is_as_absent_as_one_that_nobody_has()
    {
        using var ann = new TestDevice("ann");
        using var bob = new TestDevice("bob");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota), bob.AsPeer(Quota));
        using PeerHolder anns = await node.OpenAsync(ann);
        using PeerHolder bobs = await node.OpenAsync(bob);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        await anns.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        int calls = node.HolderOf(bob).CallCount;
        Assert.Null(await bobs.InspectAsync(id, Cancel));
        Assert.Equal(-1, await bobs.ReadAsync(id, 0, 0, new byte[10], Cancel));
        await bobs.DeleteAsync(id, Cancel);
        Assert.Equal(calls, node.HolderOf(bob).CallCount);
        Assert.NotNull(await anns.InspectAsync(id, Cancel));
    }

    [Fact]
    public async Task A_quota_is_enforced_before_the_first_byte_and_says_its_numbers()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(2 * Slice));
        using PeerHolder holder = await node.OpenAsync(ann);
        await holder.PutAsync(ArenaId.New(SystemRandom.Instance), 1, 1, Slice, [ServedNode.Fragment(0, Slice, 1)], Cancel);
        DiskException full = await Assert.ThrowsAsync<DiskException>(async () =>
            await holder.PutAsync(ArenaId.New(SystemRandom.Instance), 1, 1, Slice, [ServedNode.Fragment(0, Slice, 1), ServedNode.Fragment(1, Slice, 2)], Cancel));
        Assert.Equal(DiskFailure.Full, full.Failure);
        Assert.Contains($"quota here is {2 * Slice} bytes", full.Message, StringComparison.Ordinal);
        await holder.PutAsync(ArenaId.New(SystemRandom.Instance), 1, 1, Slice, [ServedNode.Fragment(0, Slice, 3)], Cancel);
    }

    [Fact]
    public async Task What_is_deleted_is_gone_for_its_owner_and_can_be_taken_back()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        await holder.PutAsync(id, 1, 1, Slice, [ServedNode.Fragment(0, Slice, 1)], Cancel);
        await holder.TrashAsync(id, Cancel);
        Assert.True((await holder.InspectAsync(id, Cancel))!.IsInTrash);
        await holder.PurgeAsync(id, Cancel);
        Assert.Null(await holder.InspectAsync(id, Cancel));
        Assert.Empty(await holder.ListAsync(Cancel));
        using PeerHolder again = await node.OpenAsync(ann);
        Assert.Equal((1, (long)Slice), (again.Hello.ReleasedCount, again.Hello.ReleasedBytes));
        Assert.Equal(1, await again.CancelReleasesAsync(Cancel));
        Assert.False((await holder.InspectAsync(id, Cancel))!.IsInTrash);
    }

    [Fact]
    public async Task A_peer_whose_disk_was_replaced_is_no_longer_the_holder_that_was_met()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        Assert.False(holder.Connection.IsReplaced);
        node.HolderOf(ann).Replace();

        // A repair that met it before would put the fragment back under the name of a holder that nobody else has.
        DiskException put = await Assert.ThrowsAsync<DiskException>(async () => await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel));
        Assert.Equal(DiskFailure.Unreachable, put.Failure);
        Assert.Contains("another holder lies there", put.Message, StringComparison.Ordinal);
        DiskException append = await Assert.ThrowsAsync<DiskException>(async () => await holder.AppendObjectAsync("journal/a", 0, new byte[] { 1 }, isSynced: true, Cancel));
        Assert.Equal(DiskFailure.Unreachable, append.Failure);
        Assert.Equal(AuditOutcome.Failed, await holder.AuditAsync(id, 0, new ExpectedFragment(fragment.Name, Slice), SystemRandom.Instance, Cancel));
        Assert.Empty(node.HolderOf(ann).Arenas);
        Assert.Empty(node.HolderOf(ann).Objects);
        Assert.True(holder.Connection.IsReplaced);

        using PeerHolder anew = await node.OpenAsync(ann);
        Assert.NotEqual(holder.Id, anew.Id);
        await anew.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        Assert.Single(node.HolderOf(ann).Arenas);
    }

    [Fact]
    public async Task A_node_that_is_not_there_is_unreachable_at_once_from_the_second_question_on()
    {
        using var ann = new TestDevice("ann");
        ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        PeerConnection connection = node.Dial(ann);
        using PeerHolder holder = await PeerHolder.OpenAsync(connection, null, Cancel);
        await node.DisposeAsync();
        using var dead = new PeerConnection("host", [node.Address], new ExpectedIdentity(), ann.Tls, TimeProvider.System);
        PeerException gone = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(dead, null, Cancel));
        Assert.Equal(PeerProblem.Unreachable, gone.Problem);
        Assert.Contains("nothing listens there", gone.Message, StringComparison.Ordinal);
        PeerException again = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(dead, null, Cancel));
        Assert.Equal(gone.Message, again.Message);
    }
}
