using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Two devices of one account over the same holders: each writes its own catalog and arenas, reads the union, and deletes nothing that the other has not seen go.</summary>
public sealed class TwoDevicesTests
{
    private const string There = "/there";

    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));
    private static readonly VolumeId s_other = new(new Bytes16(0, 8));

    private readonly StoreFixture _one = new();
    private readonly StoreFixture _two;

    public TwoDevicesTests()
    {
        _two = new StoreFixture(seed: 99) { Disk = _one.Disk };
        DeviceKeys keys = DeviceKeys.Create(_two.Random);
        _two.Keys = _one.Keys with
        {
            Device = 2,
            DeviceKeys = keys,
            Certificate = DeviceCertificate.Issue(_one.Keys.Certificate, _one.Keys.DeviceKeys, keys.PublicKey, keys.AgreementPublicKey, 2, "desk", 0),
        };
        _one.Options = _one.Options with { TrashDays = 2, SealAtFlushBytes = 1 };
        _two.Options = _one.Options with { StateFolder = There };
        _one.Disk.CreateDirectory(There);
    }

    private async Task<(List<(Score Score, byte[] Bytes)> Blocks, Head Head)> WriteAsync(StoreFixture device, int first, VolumeId volume, Head? after = null)
    {
        await using BlockStore store = await device.OpenAsync();
        List<(Score Score, byte[] Bytes)> blocks = await StoreFixture.WriteAsync(store, first, 30);
        return (blocks, await StoreFixture.CommitAsync(store, volume, blocks.Select(static item => item.Score), after));
    }

    private static async Task<ReclaimReport> ReclaimAsync(BlockStore store) => await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { LivePercent = 75 }, null, CancellationToken.None);

    private async Task<ReclaimReport> ReclaimAsync(StoreFixture device)
    {
        await using BlockStore store = await device.OpenAsync();
        return await ReclaimAsync(store);
    }

    private void NextDay()
    {
        _one.Clock.Advance(TimeSpan.FromDays(1));
        _two.Clock.Advance(TimeSpan.FromDays(1));
    }

    /// <summary>Device 1 forgets what it wrote, in so many arenas that all go to the trash, and lets the trash's days pass.</summary>
    private async Task<List<(Score Score, byte[] Bytes)>> ReleaseAsync(bool isSeen)
    {
        (List<(Score Score, byte[] Bytes)> blocks, Head head) = await WriteAsync(_one, 0, s_volume);
        (await _two.OpenAsync()).DisposeAsync().AsTask().Wait(TestContext.Current.CancellationToken);
        await using (BlockStore two = await _two.OpenAsync())
        {
            await two.PublishAsync(CancellationToken.None);
        }

        await using (BlockStore one = await _one.OpenAsync())
        {
            await StoreFixture.CommitAsync(one, s_volume, [], head);
            ReclaimReport report = await ReclaimAsync(one);
            Assert.True(report.TrashedArenas > 0);
        }

        if (isSeen)
        {
            await using BlockStore two = await _two.OpenAsync();
            await two.PublishAsync(CancellationToken.None);
        }

        for (int day = 0; day < 3; day++)
        {
            NextDay();
            await (await _one.OpenAsync()).DisposeAsync();
        }

        return blocks;
    }

    [Fact]
    public async Task A_device_that_enrols_reads_what_the_first_wrote_and_each_goes_on_in_its_own_log_and_arenas()
    {
        (List<(Score Score, byte[] Bytes)> first, Head one) = await WriteAsync(_one, 0, s_volume);
        (List<(Score Score, byte[] Bytes)> second, Head two) = await WriteAsync(_two, 1000, s_other);
        Assert.Equal((1u, 2u), (one.Device, two.Device));
        foreach (StoreFixture device in (StoreFixture[])[_one, _two, _one])
        {
            await using BlockStore store = await device.OpenAsync();
            Assert.Equal(2, store.Heads.Count);
            await StoreFixture.AssertAllAsync(store, first);
            await StoreFixture.AssertAllAsync(store, second);
            Assert.Equal([1u, 2u], store.Catalog.Arenas().Select(static arena => arena.Owner).Distinct().Order());
            Assert.Equal(store.Catalog.Arenas().Count, store.Catalog.Arenas().Select(static arena => arena.Id).Distinct().Count());
            Assert.Equal([1u, 2u], (await store.DevicesAsync(CancellationToken.None)).Select(static info => info.Number));
        }

        Assert.DoesNotContain(_one.Notes.Concat(_two.Notes), static note => note.Contains("did not know", StringComparison.Ordinal) || note.Contains("adopted", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_the_other_has_sealed_is_not_written_again()
    {
        await WriteAsync(_one, 0, s_volume);
        await WriteAsync(_two, 1000, s_other);
        await using BlockStore two = await _two.OpenAsync();
        int arenas = two.Catalog.Arenas().Count;
        await StoreFixture.WriteAsync(two, 0, 30);
        await two.FlushAsync(CancellationToken.None);
        Assert.Equal(arenas, two.Catalog.Arenas().Count);
        Assert.Equal(0, two.PendingCount);
    }

    [Fact]
    public async Task A_reader_sees_what_the_other_published_after_this_device_last_wrote()
    {
        await WriteAsync(_one, 0, s_volume);
        (List<(Score Score, byte[] Bytes)> second, _) = await WriteAsync(_two, 1000, s_other);
        await using BlockStore reader = await _one.OpenAsync(StoreAccess.Read);
        Assert.Equal(2, reader.Heads.Count);
        await StoreFixture.AssertAllAsync(reader, second);
    }

    [Fact]
    public async Task Both_change_one_volume_and_both_heads_stand_until_one_joins_them()
    {
        (_, Head common) = await WriteAsync(_one, 0, s_volume);
        await using BlockStore one = await _one.OpenAsync();
        await using BlockStore two = await _two.OpenAsync();
        await StoreFixture.CommitAsync(one, s_volume, [], common);
        await StoreFixture.CommitAsync(two, s_volume, [], common);
        Assert.True(await one.MeetOthersAsync(CancellationToken.None));
        Assert.Equal(2, one.Heads.Count);
        Head next = one.NextHead(s_volume, "test", one.Realm, one.Heads);
        BlockWrite root = await one.OpenBlocks(one.Realm, null).WriteAsync(BlockType.VolumeRoot, new byte[64], CancellationToken.None);
        Head joined = await one.CommitAsync(next with { Root = root.Score }, CancellationToken.None);
        Assert.Equal(joined, Assert.Single(one.Heads));
        Assert.True(await two.MeetOthersAsync(CancellationToken.None));
        Assert.Equal(joined, Assert.Single(two.Heads));
        Assert.False(await two.MeetOthersAsync(CancellationToken.None));
    }

    [Fact]
    public async Task Reclaim_touches_only_what_this_device_sealed()
    {
        (_, Head head) = await WriteAsync(_one, 0, s_volume);
        await WriteAsync(_two, 1000, s_other);
        await using (BlockStore two = await _two.OpenAsync())
        {
            await StoreFixture.CommitAsync(two, s_volume, [], Assert.Single(two.Heads, each => each.Volume == s_volume)); // nothing wants what device 1 sealed
            ReclaimReport report = await ReclaimAsync(two);
            Assert.Equal(0, report.TrashedArenas);
        }

        ReclaimReport owners = await ReclaimAsync(_one);
        Assert.True(owners.TrashedArenas > 0);
    }

    [Fact]
    public async Task An_absent_device_holds_up_reclaim_until_it_has_seen_or_is_retired()
    {
        await ReleaseAsync(isSeen: false);
        ReclaimReport held = await ReclaimAsync(_one);
        Assert.Equal(0, held.FreedBytes);
        Assert.True(held.WaitingBytes > 0);
        Assert.Contains(held.Reasons, static reason => reason.Contains("device 2 (desk)", StringComparison.Ordinal) && reason.Contains("retire 2", StringComparison.Ordinal));
        await using (BlockStore one = await _one.OpenAsync())
        {
            Assert.True((await one.DevicesAsync(CancellationToken.None))[1].UnseenBytes > 0);
        }

        await using (BlockStore two = await _two.OpenAsync())
        {
            await two.PublishAsync(CancellationToken.None);
            Assert.All(two.Catalog.Arenas().Where(static arena => arena.Owner == 1 && arena.State == ArenaState.Sealed), static arena => Assert.True(arena.ClumpCount < 5)); // the emptied ones are released here too
        }

        Assert.Equal(held.WaitingBytes, (await ReclaimAsync(_one)).FreedBytes);
    }

    [Fact]
    public async Task A_retired_device_holds_up_nothing_writes_nothing_and_its_arenas_have_an_adopter()
    {
        List<(Score Score, byte[] Bytes)> blocks = await ReleaseAsync(isSeen: false);
        (List<(Score Score, byte[] Bytes)> theirs, Head head) = await WriteAsync(_two, 1000, s_other);
        await using (BlockStore one = await _one.OpenAsync())
        {
            await one.SayAsync(2, DeviceState.Retired, CancellationToken.None);
            Assert.True((await ReclaimAsync(one)).FreedBytes > 0);
            await StoreFixture.AssertAllAsync(one, theirs); // its snapshots stay
            Assert.All(one.Catalog.Arenas(), arena => Assert.Equal(1u, one.OwnerOf(arena)));
            await StoreFixture.CommitAsync(one, s_other, [], head);
        }

        for (int day = 0; day < 3; day++)
        {
            NextDay();
            await (await _one.OpenAsync()).DisposeAsync();
        }

        Assert.True((await ReclaimAsync(_one)).TrashedArenas > 0); // what the retired device sealed, by its adopter
        StoreException refused = await Assert.ThrowsAsync<StoreException>(() => _two.OpenAsync());
        Assert.Equal(StoreProblem.Retired, refused.Problem);
        Assert.Contains("retired by device 1", refused.Message, StringComparison.Ordinal);
        await using BlockStore reader = await _two.OpenAsync(StoreAccess.Read);
        Assert.NotEmpty(reader.Heads);
    }

    [Fact]
    public async Task What_a_head_of_the_other_wants_comes_back_from_the_trash_before_anything_is_deleted()
    {
        (List<(Score Score, byte[] Bytes)> blocks, Head head) = await WriteAsync(_one, 0, s_volume);
        await using (BlockStore two = await _two.OpenAsync())
        {
            await two.PublishAsync(CancellationToken.None);
            await using (BlockStore one = await _one.OpenAsync())
            {
                await StoreFixture.CommitAsync(one, s_volume, [], head);
                Assert.True((await ReclaimAsync(one)).TrashedArenas > 0);
            }

            // Device 2 has not met that yet: what it writes now are hits on arenas that lie in the trash.
            List<(Score Score, byte[] Bytes)> again = await StoreFixture.WriteAsync(two, 0, 30);
            await StoreFixture.CommitAsync(two, s_other, again.Select(static item => item.Score), null);
        }

        for (int day = 0; day < 4; day++)
        {
            NextDay();
            await ReclaimAsync(_one);
        }

        foreach (StoreFixture device in (StoreFixture[])[_one, _two])
        {
            await using BlockStore store = await device.OpenAsync();
            await StoreFixture.AssertAllAsync(store, blocks);
            Assert.Equal(0, (await ReclaimAsync(store)).MissingBlocks);
        }
    }

    [Fact]
    public async Task A_device_that_was_away_while_an_arena_was_sealed_and_released_reads_it_in_the_trash()
    {
        await (await _one.OpenAsync()).DisposeAsync();
        await (await _two.OpenAsync()).DisposeAsync();
        (List<(Score Score, byte[] Bytes)> blocks, Head head) = await WriteAsync(_one, 0, s_volume);
        await using (BlockStore one = await _one.OpenAsync())
        {
            await StoreFixture.CommitAsync(one, s_volume, [], head);
            Assert.True((await ReclaimAsync(one)).TrashedArenas > 0);
        }

        await using BlockStore two = await _two.OpenAsync();
        Assert.Contains(two.Catalog.Arenas(), static arena => arena is { Owner: 1, State: ArenaState.Trashed });
        await StoreFixture.AssertAllAsync(two, blocks);
    }

    [Fact]
    public async Task After_a_revocation_later_heads_of_the_device_do_not_count_and_earlier_ones_do()
    {
        (_, Head before) = await WriteAsync(_two, 0, s_other);
        await (await _one.OpenAsync()).DisposeAsync();
        await using BlockStore two = await _two.OpenAsync(); // in other hands by now, and running
        await using (BlockStore one = await _one.OpenAsync())
        {
            DeviceStatement said = await one.SayAsync(2, DeviceState.Revoked, CancellationToken.None);
            Assert.Equal(new HeadCut(s_other, before.Incarnation, before.Sequence), Assert.Single(said.Cuts));
        }

        await StoreFixture.CommitAsync(two, s_other, [], before);
        await StoreFixture.CommitAsync(two, s_volume, [], null);
        foreach (StoreAccess access in (StoreAccess[])[StoreAccess.Write, StoreAccess.Read])
        {
            await using BlockStore one = await _one.OpenAsync(access);
            Assert.Equal(before, Assert.Single(one.Heads));
        }
    }

    [Fact]
    public async Task What_the_first_device_has_under_way_is_not_taken_away_by_one_that_took_over_its_catalog()
    {
        (_, Head head) = await WriteAsync(_one, 0, s_volume);
        await using BlockStore one = await _one.OpenAsync();
        await StoreFixture.WriteAsync(one, 500, 30);
        await StoreFixture.CommitAsync(one, s_volume, [], head); // what is announced besides stands in the catalog that device 2 begins with
        for (int opening = 0; opening < 2; opening++)
        {
            await using BlockStore two = await _two.OpenAsync();
            Assert.Empty(two.Catalog.Announced());
        }

        List<(Score Score, byte[] Bytes)> more = await StoreFixture.WriteAsync(one, 900, 30);
        await one.FlushAsync(CancellationToken.None);
        await StoreFixture.AssertAllAsync(one, more);
    }
}
