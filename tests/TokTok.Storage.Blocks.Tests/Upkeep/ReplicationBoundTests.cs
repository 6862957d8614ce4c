using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Upkeep;

/// <summary>What is not safe elsewhere is counted, pushed in time, and bounded.</summary>
public sealed class ReplicationBoundTests
{
    private static readonly TimeSpan s_hour = TimeSpan.FromHours(1);
    private static readonly TimeSpan s_second = TimeSpan.FromSeconds(1);
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    private readonly List<string> _said = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_is_in_memory_counts_until_a_flush_has_brought_it_to_as_many_places_as_were_promised()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        Assert.Equal(ReplicationLag.None, store.Unreplicated());
        long then = fixture.Clock.GetUtcNow().ToUnixTimeSeconds();
        await StoreFixture.WriteAsync(store, 0, 3, 4000);
        fixture.Clock.Advance(s_hour);
        await StoreFixture.WriteAsync(store, 3, 1, 4000);
        ReplicationLag lag = store.Unreplicated();
        Assert.Equal(then, lag.SinceSeconds);
        Assert.InRange(lag.Bytes, 4 * 2000, 4 * 4500);
        Assert.Equal(s_hour, lag.Age(fixture.Clock));
        await store.FlushAsync(Cancel);
        Assert.Equal(ReplicationLag.None, store.Unreplicated());
    }

    [Fact]
    public async Task A_store_of_one_place_promises_none_elsewhere()
    {
        var fixture = new StoreFixture(holderCount: 1);
        await using BlockStore store = await fixture.OpenAsync();
        await StoreFixture.WriteAsync(store, 0, 3, 4000);
        Assert.Equal(ReplicationLag.None, store.Unreplicated());
    }

    [Fact]
    public async Task What_found_too_few_places_counts_from_its_sealing_and_from_the_journal_until_they_have_it()
    {
        StoreFixture fixture = await WithOneAwayAsync();
        List<ConfiguredHolder> all;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            long then = fixture.Clock.GetUtcNow().ToUnixTimeSeconds();
            await StoreFixture.WriteAsync(store, 0, 40, 4000);
            await store.SealAllAsync(Cancel);
            long sealedBytes = store.Catalog.Arenas().Where(static arena => arena.Fragments.Any(static fragment => fragment.Holder == FragmentPlace.Nowhere)).Sum(static arena => (long)arena.Layout.ImageBytes);
            Assert.Equal(new ReplicationLag(sealedBytes, then), store.Unreplicated());
            fixture.Clock.Advance(s_hour);
            await StoreFixture.WriteAsync(store, 40, 3, 4000);
            await store.FlushAsync(Cancel);
            ReplicationLag lag = store.Unreplicated();
            Assert.True(lag.Bytes > sealedBytes, "the journal has one copy of two");
            Assert.Equal(s_hour, lag.Age(fixture.Clock));
            all = StoreFixture.ConfiguredOf(store);
        }

        // A reader sees the same, as far as a journal knows times.
        await using (BlockStore reader = await fixture.OpenAsync(StoreAccess.Read))
        {
            Assert.Equal(s_hour, reader.Unreplicated().Age(fixture.Clock));
        }

        fixture.Disk.Rename("/holder1/holder-away", "/holder1/holder");
        await using BlockStore again = await fixture.OpenAsync();
        var scrubber = new Scrubber(again);
        foreach (ArenaRecord arena in scrubber.Homeless())
        {
            await scrubber.PlaceAsync(arena, Cancel);
        }

        await again.PublishAsync(Cancel);
        Assert.Equal(ReplicationLag.None, again.Unreplicated());
    }

    [Fact]
    public async Task At_half_of_the_bound_what_is_open_is_pushed_and_no_writer_waits()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await using BlockStore store = await fixture.OpenAsync();
        using ReplicationBound bound = Bound(fixture, store);
        await StoreFixture.WriteAsync(store, 0, 3, 4000);
        await bound.PaceAsync(Cancel);
        await bound.PushAsync(Cancel);
        Assert.NotEqual(ReplicationLag.None, store.Unreplicated());
        fixture.Clock.Advance(s_hour / 2);
        await bound.PushAsync(Cancel);
        Assert.Equal(ReplicationLag.None, store.Unreplicated());

        await StoreFixture.WriteAsync(store, 3, 3, 4000);
        fixture.Clock.Advance(2 * s_hour);
        await bound.PaceAsync(Cancel); // late, and the push is all it takes
        Assert.Equal(ReplicationLag.None, store.Unreplicated());
        Assert.False(bound.IsLate);
        Assert.Equal(2, _said.Count);
        Assert.StartsWith("what was written is at the places that were promised again", _said[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Beyond_the_bound_a_writer_waits_a_minute_and_is_refused_with_one_line()
    {
        StoreFixture fixture = await WithOneAwayAsync();
        await using BlockStore store = await fixture.OpenAsync();
        using ReplicationBound bound = Bound(fixture, store);
        await StoreFixture.WriteAsync(store, 0, 3, 4000);
        await store.FlushAsync(Cancel);
        fixture.Clock.Advance(s_hour);
        await bound.PaceAsync(Cancel);
        fixture.Clock.Advance(s_second);
        long began = fixture.Clock.GetTimestamp();
        Task waiting = bound.PaceAsync(Cancel).AsTask();
        Assert.False(waiting.IsCompleted);
        await AdvanceUntilAsync(fixture, waiting);
        StoreException refused = await Assert.ThrowsAsync<StoreException>(() => waiting);
        Assert.Equal(StoreProblem.HoldersMissing, refused.Problem);
        Assert.Matches("^[0-9.]+ KiB, the oldest for 6[01] minutes, is not yet at the places that were promised, and replicate-within is 60 minutes: nothing more is taken in until it is; ", refused.Message);
        Assert.InRange(fixture.Clock.GetElapsedTime(began), ReplicationBound.Patience, ReplicationBound.Patience + (5 * s_second));
        Assert.True(bound.IsLate);
        await Assert.ThrowsAsync<StoreException>(async () => await bound.PaceAsync(Cancel)); // who stood behind it does not wait as long again
        Assert.Contains("writers wait until it is", Assert.Single(_said), StringComparison.Ordinal);
        await store.FlushAsync(Cancel); // nothing failed: what was accepted is as durable as before
    }

    [Fact]
    public async Task A_writer_that_waits_goes_on_when_the_place_is_back()
    {
        StoreFixture fixture = await WithOneAwayAsync();
        await using BlockStore store = await fixture.OpenAsync();
        using ReplicationBound bound = Bound(fixture, store);
        await StoreFixture.WriteAsync(store, 0, 3, 4000);
        await store.FlushAsync(Cancel);
        fixture.Clock.Advance(2 * s_hour);
        Task waiting = bound.PaceAsync(Cancel).AsTask();
        Assert.False(waiting.IsCompleted);

        fixture.Disk.Rename("/holder1/holder-away", "/holder1/holder");
        List<ConfiguredHolder> now = StoreFixture.ConfiguredOf(store);
        now[1] = now[1] with { Holder = FolderHolder.Open(fixture.Disk, "/holder1", fixture.Random), Problem = null };
        store.ChangeHolders(now);
        await AdvanceUntilAsync(fixture, waiting);
        await waiting;
        Assert.False(bound.IsLate);
        Assert.Equal(ReplicationLag.None, store.Unreplicated());
    }

    [Fact]
    public async Task Without_a_bound_nobody_waits()
    {
        StoreFixture fixture = await WithOneAwayAsync();
        await using BlockStore store = await fixture.OpenAsync();
        using var bound = new ReplicationBound(store, TimeSpan.Zero, fixture.Clock, _said.Add);
        await StoreFixture.WriteAsync(store, 0, 3, 4000);
        fixture.Clock.Advance(TimeSpan.FromDays(400));
        await bound.PaceAsync(Cancel);
        await bound.PushAsync(Cancel);
        Assert.False(bound.IsLate);
        Assert.NotEqual(ReplicationLag.None, store.Unreplicated());
        Assert.Empty(_said);
    }

    private ReplicationBound Bound(StoreFixture fixture, BlockStore store) => new(store, s_hour, fixture.Clock, _said.Add);

    /// <summary>A store of two places, the second not mounted.</summary>
    private static async Task<StoreFixture> WithOneAwayAsync()
    {
        var fixture = new StoreFixture(holderCount: 2);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.CommitAsync(store, s_volume, [], null);
            await store.SealAllAsync(Cancel);
        }

        fixture.Disk.Rename("/holder1/holder", "/holder1/holder-away");
        return fixture;
    }

    /// <summary>What waits for the clock goes on in threads of the pool: it is given time to, and no test depends on how much.</summary>
    private static async Task AdvanceUntilAsync(StoreFixture fixture, Task waiting)
    {
        for (int i = 0; i < 100 && !waiting.IsCompleted; i++)
        {
            fixture.Clock.Advance(s_second);
            await Task.WhenAny(waiting, Task.Delay(20, Cancel));
        }
    }
}
