using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>Holders that lie: no lie passes for the right bytes, an audit tells it, and none takes more memory or time than docs/protocol.md 3.2 says.</summary>
public sealed class LyingHolderTests
{
    private const int Slice = 256 * 1024;
    private const long Quota = 64L << 20;

    /// <summary>What is on its way besides the longest answer: the stream's window, and what sockets and pipes hold.</summary>
    private const long UnderWayBytes = 6L << 20;

    /// <summary>Three attempts, each a minute until an answer begins and ten seconds of grace, their pauses, and what the pump's turns add.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(5);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Lie.WrongBytes)]
    [InlineData(Lie.WrongBody)]
    [InlineData(Lie.OldBytes)]
    [InlineData(Lie.BareBytes)]
    [InlineData(Lie.NothingThere)]
    [InlineData(Lie.CutsShort)]
    [InlineData(Lie.AddsAByte)]
    [InlineData(Lie.WrongForm)]
    [InlineData(Lie.Endless)]
    [InlineData(Lie.Promises10GiB)]
    public async Task Bytes_that_are_not_the_fragments_are_never_taken_for_them_and_fail_the_next_audit(Lie lie)
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        List<string> notes = [];
        using PeerHolder holder = await node.OpenAsync(ann, notes.Add);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder);
        ExpectedFragment expected = holder.Expected!(id, 0)!.Value;
        Assert.Equal(AuditOutcome.Proven, await holder.AuditAsync(id, 0, expected, SystemRandom.Instance, Cancel));
        node.Lies.Other = ServedNode.Fragment(0, Slice, 2);
        (node.Lies.Lie, node.Lies.Only) = (lie, "read");
        for (int offset = 0; offset < Slice; offset += 64 * 1024)
        {
            byte[] target = new byte[64 * 1024];
            long wrong = holder.WrongWindows;
            try
            {
                int read = await holder.ReadAsync(id, 0, offset, target, Cancel);
                bool isRight = read == target.Length && target.AsSpan().SequenceEqual(fragment.Bytes.Span.Slice(offset, target.Length));
                Assert.True(isRight || read < 0 || holder.WrongWindows > wrong, "other bytes were taken for the right ones");
            }
            catch (DiskException failure)
            {
                Assert.Equal(DiskFailure.Failed, failure.Failure);
            }
        }

        Assert.Equal(AuditOutcome.Failed, await holder.AuditAsync(id, 0, expected, SystemRandom.Instance, Cancel));
        Assert.True(notes.Count <= 1, "told more than once for an arena");
        node.Lies.Lie = Lie.None;
        byte[] all = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, all, Cancel)); // and no lie stays behind
        Assert.True(fragment.Bytes.Span.SequenceEqual(all));
        Assert.Equal(AuditOutcome.Proven, await holder.AuditAsync(id, 0, expected, SystemRandom.Instance, Cancel));
    }

    [Theory]
    [InlineData("hello", 400)]
    [InlineData("inspect", 20_000)]
    [InlineData("list", 10L << 20)]
    [InlineData("read", 1L << 20)]
    [InlineData("hashes", 64 * 1024)]
    [InlineData("salvage", 1L << 20)]
    [InlineData("objects", 20L << 20)]
    [InlineData("object-read", 1L << 20)]
    [InlineData("put-begin", 64)]
    [InlineData("purge", 0)]
    [InlineData("cancel-releases", 4)]
    public async Task Ten_GiB_are_cut_off_at_the_longest_answer_of_what_was_asked(string operation, long longest)
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        await using var relay = new CountingRelay(node.Endpoint);
        using PeerHolder holder = await PeerHolder.OpenAsync(node.Dial(ann, at: relay.Address), null, Cancel);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder);
        node.Lies.Only = operation;
        foreach (Lie lie in (Lie[])[Lie.Promises10GiB, Lie.Endless])
        {
            node.Lies.Lie = lie;
            long before = relay.CameBytes;
            Exception? failure = await Record.ExceptionAsync(() => AskAsync());
            Assert.True(failure is PeerException { Problem: PeerProblem.BadAnswer } or DiskException { Failure: DiskFailure.Failed }, $"{lie}: {failure}");
            Assert.Contains("with more than", failure!.Message, StringComparison.Ordinal);
            node.Lies.Lie = Lie.None;
            await holder.CancelReleasesAsync(Cancel); // what is still on its way comes before this answer
            Assert.InRange(relay.CameBytes - before, 0, longest + UnderWayBytes);
        }

        async Task AskAsync()
        {
            switch (operation)
            {
                case "hello":
                    await PeerHolder.OpenAsync(node.Dial(ann, at: relay.Address), null, Cancel);
                    break;
                case "inspect":
                    await holder.InspectAsync(ArenaId.New(SystemRandom.Instance), Cancel);
                    break;
                case "list":
                    await holder.ListAsync(Cancel);
                    break;
                case "read":
                    await holder.ReadAsync(id, 0, 0, new byte[Slice], Cancel);
                    break;
                case "hashes":
                    await holder.ReadGroupHashesAsync(id, 0, fragment.Name, Cancel);
                    break;
                case "salvage":
                    await holder.SalvageAsync(id, Slice, [0], 0, new byte[Slice], Cancel);
                    break;
                case "objects":
                    await holder.ListObjectsAsync("", Cancel);
                    break;
                case "object-read":
                    await holder.ReadObjectAsync("journal/a", 0, new byte[10], Cancel);
                    break;
                case "put-begin":
                    await PutAsync(holder);
                    break;
                case "purge":
                    await holder.PurgeAsync(id, Cancel);
                    break;
                default:
                    await holder.CancelReleasesAsync(Cancel);
                    break;
            }
        }
    }

    [Theory]
    [InlineData(Lie.SaysNothing)]
    [InlineData(Lie.Drips)]
    [InlineData(Lie.Busy)]
    public async Task An_answer_without_end_ends_within_the_bounds_and_its_peer_is_left_alone_for_longer_than_it_took(Lie lie)
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        var clock = new ManualClock();
        using PeerHolder holder = await PeerHolder.OpenAsync(node.Dial(ann, patience: clock), null, Cancel);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder);
        ExpectedFragment expected = holder.Expected!(id, 0)!.Value;
        (node.Lies.Lie, node.Lies.Only) = (lie, "read");
        DateTimeOffset began = clock.GetUtcNow();
        DiskException failure = await Assert.ThrowsAsync<DiskException>(() => PumpAsync(clock, holder.ReadAsync(id, 0, 0, new byte[100_000], Cancel).AsTask()));
        TimeSpan took = clock.GetUtcNow() - began;
        Assert.InRange(took, TimeSpan.FromSeconds(10), s_patience);
        Assert.Equal(lie == Lie.Busy ? DiskFailure.Failed : DiskFailure.Unreachable, failure.Failure);
        if (lie == Lie.Busy)
        {
            return; // it answers, if always the same: what else it keeps can be asked for
        }

        int asked = node.Lies.Requests;
        node.Lies.Lie = Lie.None;
        await Assert.ThrowsAsync<DiskException>(async () => await holder.ReadAsync(id, 0, 0, new byte[100_000], Cancel));
        Assert.Equal(AuditOutcome.NoAnswer, await holder.AuditAsync(id, 0, expected, SystemRandom.Instance, Cancel));
        clock.Advance(2 * took);
        await Assert.ThrowsAsync<DiskException>(async () => await holder.ReadAsync(id, 0, 0, new byte[100_000], Cancel));
        Assert.Equal(asked, node.Lies.Requests); // at once, without being asked
        clock.Advance(TimeSpan.FromMinutes(10));
        byte[] back = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel));
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));
    }

    /// <summary>Who can have the same elsewhere takes the request back.</summary>
    [Theory]
    [InlineData(Lie.SaysNothing)]
    [InlineData(Lie.Drips)]
    public async Task Who_was_waited_for_in_vain_is_slow_for_longer_each_time_until_it_answers(Lie lie)
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        var clock = new ManualClock();
        using PeerHolder holder = await PeerHolder.OpenAsync(node.Dial(ann, patience: clock), null, Cancel);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder);
        byte[] back = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel));
        Assert.False(holder.IsSlow);
        Assert.InRange(((IFragmentHolder)holder).Patience(Slice)!.Value, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(10));
        (node.Lies.Lie, node.Lies.Only) = (lie, "read");
        await TakeBackAsync(TimeSpan.FromSeconds(1));
        Assert.False(holder.IsSlow); // its caller was in a hurry
        foreach (int seconds in (int[])[10, 20, 40])
        {
            await TakeBackAsync(TimeSpan.FromSeconds(5));
            clock.Advance(TimeSpan.FromSeconds(seconds - 1));
            Assert.True(holder.IsSlow);
            clock.Advance(TimeSpan.FromSeconds(1));
            Assert.False(holder.IsSlow);
        }

        await TakeBackAsync(TimeSpan.FromSeconds(5));
        node.Lies.Lie = Lie.None;
        Assert.True(holder.IsSlow);
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel)); // a reader that has no other way
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));
        Assert.False(holder.IsSlow);

        async Task TakeBackAsync(TimeSpan after)
        {
            int asked = node.Lies.Requests;
            using var end = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
            Task reading = holder.ReadAsync(id, 0, 0, new byte[Slice], end.Token).AsTask();
            while (node.Lies.Requests == asked)
            {
                await Task.Delay(1, Cancel);
            }

            clock.Advance(after);
            await end.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
        }
    }

    [Theory]
    [InlineData(Lie.Refuses)]
    [InlineData(Lie.Truncates)]
    public async Task Who_refuses_or_breaks_off_after_it_took_a_fragment_has_not_answered_and_is_no_liar_yet(Lie lie)
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        var clock = new ManualClock();
        using PeerHolder holder = await PeerHolder.OpenAsync(node.Dial(ann, patience: clock), null, Cancel);
        (ArenaId id, _) = await PutAsync(holder);
        (node.Lies.Lie, node.Lies.Only) = (lie, "read");
        await Assert.ThrowsAsync<DiskException>(() => PumpAsync(clock, holder.ReadAsync(id, 0, 0, new byte[Slice], Cancel).AsTask()));
        Assert.Equal(AuditOutcome.NoAnswer, await PumpAsync(clock, holder.AuditAsync(id, 0, holder.Expected!(id, 0)!.Value, SystemRandom.Instance, Cancel).AsTask()));
    }

    [Fact]
    public async Task Who_says_that_it_has_a_fragment_already_and_cannot_show_it_took_nothing()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        node.Lies.Lie = Lie.KeptAlready;
        DiskException failure = await Assert.ThrowsAsync<DiskException>(async () => await PutAsync(holder));
        Assert.Contains("cannot show it", failure.Message, StringComparison.Ordinal);
        node.Lies.Lie = Lie.None;
        (ArenaId id, FragmentData fragment) = await PutAsync(holder);
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel); // one that does have it shows it
    }

    [Fact]
    public async Task Who_acknowledges_and_drops_what_it_takes_fails_the_first_audit()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        node.Lies.Lie = Lie.DropsWhatItTakes;
        (ArenaId id, _) = await PutAsync(holder);
        Assert.Equal(AuditOutcome.Failed, await holder.AuditAsync(id, 0, holder.Expected!(id, 0)!.Value, SystemRandom.Instance, Cancel));
        Assert.Empty(node.HolderOf(ann).Arenas);
    }

    [Fact]
    public async Task An_upload_that_gets_on_by_a_byte_at_a_time_is_given_up()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        node.Lies.Lie = Lie.TakesByteByByte;
        DiskException failure = await Assert.ThrowsAsync<DiskException>(async () => await PutAsync(holder));
        Assert.Contains("does not take what it is sent", failure.Message, StringComparison.Ordinal);
        Assert.InRange(node.Lies.Requests, 2, 10);
    }

    [Fact]
    public async Task An_object_in_crumbs_is_given_up()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        await holder.PutObjectAsync("anchor/a", new byte[1000], Cancel);
        byte[] target = new byte[1000];
        Assert.Equal(1000, await holder.ReadObjectAsync("anchor/a", 0, target, Cancel));
        node.Lies.Lie = Lie.Crumbs;
        DiskException failure = await Assert.ThrowsAsync<DiskException>(async () =>
        {
            for (int at = 0; at < 1000;)
            {
                at += await holder.ReadObjectAsync("anchor/a", at, target.AsMemory(at), Cancel);
            }
        });
        Assert.Contains("pieces of a few bytes", failure.Message, StringComparison.Ordinal);
        Assert.InRange(node.Lies.Requests, 2, 20);
    }

    [Fact]
    public async Task Hashes_that_fold_to_the_name_from_higher_up_in_the_tree_are_not_the_groups()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder);
        node.Lies.Lie = Lie.FewHashes;
        Assert.Null(await holder.ReadGroupHashesAsync(id, 0, fragment.Name, Cancel));
        holder.Expected = null;
        byte[]? unknown = await holder.ReadGroupHashesAsync(id, 0, fragment.Name, Cancel); // who does not know the length has to look himself, as ArenaRepair does
        Assert.Equal(2 * Blake3.HashSize, unknown!.Length);
    }

    [Fact]
    public async Task A_list_without_end_ends()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        node.Lies.Lie = Lie.EndlessList;
        DiskException failure = await Assert.ThrowsAsync<DiskException>(async () => await holder.ListAsync(Cancel));
        Assert.Contains("lists more than", failure.Message, StringComparison.Ordinal);
        Assert.InRange(node.Lies.SentBytes, Protocol.MaxListingBytes - (16 << 20), Protocol.MaxListingBytes + (16 << 20)); // the last answer may not be counted yet
    }

    [Fact]
    public async Task A_list_of_many_arenas_comes_whole_and_without_those_that_were_released()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(Quota));
        using PeerHolder holder = await node.OpenAsync(ann);
        var ids = new List<ArenaId>();
        FragmentData small = ServedNode.Fragment(0, 4096, 1);
        for (int i = 0; i < Protocol.MaxListedAtOnce + 30; i++)
        {
            ids.Add(ArenaId.New(SystemRandom.Instance));
            await holder.PutAsync(ids[^1], 1, 1, 4096, [small], Cancel);
        }

        await holder.DeleteAsync(ids[0], Cancel);
        await holder.TrashAsync(ids[1], Cancel);
        IReadOnlyList<HeldArenaEntry> all = await holder.ListAsync(Cancel);
        Assert.Equal([.. ids.Skip(1)], all.Select(static each => each.Id).ToHashSet());
        Assert.Equal(ids.Count - 1, all.Count);
        Assert.Equal(ids[1], Assert.Single(all, static each => each.IsInTrash).Id);
    }

    [Fact]
    public async Task Sizes_that_no_disk_has_are_no_answer_and_a_quota_without_bounds_is_one()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(long.MaxValue));
        using (PeerHolder holder = await node.OpenAsync(ann))
        {
            Assert.Equal(1L << 60, holder.Hello.QuotaBytes);
        }

        node.Lies.Lie = Lie.HugeNumbers;
        PeerException failure = await Assert.ThrowsAsync<PeerException>(async () => await node.OpenAsync(ann));
        Assert.Equal(PeerProblem.BadAnswer, failure.Problem);
    }

    private static async Task<(ArenaId Id, FragmentData Fragment)> PutAsync(PeerHolder holder)
    {
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        Func<ArenaId, int, ExpectedFragment?>? known = holder.Expected;
        holder.Expected = (arena, index) => arena == id && index == 0 ? new ExpectedFragment(fragment.Name, Slice) : known?.Invoke(arena, index);
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        return (id, fragment);
    }

    /// <summary>Lets the clock run, a second a turn, until something has come of a request: the network has its own time in between.</summary>
    private static async Task<T> PumpAsync<T>(ManualClock clock, Task<T> task)
    {
        while (!task.IsCompleted)
        {
            await Task.WhenAny(task, Task.Delay(5, Cancel));
            if (!task.IsCompleted)
            {
                clock.Advance(TimeSpan.FromSeconds(1));
            }
        }

        return await task;
    }
}
