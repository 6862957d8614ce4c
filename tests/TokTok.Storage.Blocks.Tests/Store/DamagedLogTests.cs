using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Damage inside a log file, here or at a holder: the longest valid copy counts wherever it lies, and copies are made whole again.</summary>
public sealed class DamagedLogTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    public static TheoryData<string, double> Damages()
    {
        var data = new TheoryData<string, double>();
        foreach (string log in (string[])["catalog", "journal"])
        {
            foreach (double at in (double[])[0.2, 0.5, 0.8, 0.97])
            {
                data.Add(log, at);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_damaged_byte_in_the_state_folder_loses_nothing_that_a_holder_has(string log, double at)
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await MakeAsync();
        Corrupt(fixture, Newest(fixture, $"state/{log}/"), at);
        foreach (StoreAccess access in (StoreAccess[])[StoreAccess.Read, StoreAccess.Write])
        {
            await using BlockStore store = await fixture.OpenAsync(access);
            Assert.Equal(3ul, Assert.Single(store.Heads).Sequence);
            await StoreFixture.AssertAllAsync(store, written);
        }
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_damaged_byte_in_a_holders_copy_is_found_and_the_next_change_mends_it(string log, double at)
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await MakeAsync();
        string path = Newest(fixture, $"holder0/objects/{log}/");
        Corrupt(fixture, path, at);
        await using (BlockStore store = await fixture.OpenAsync(StoreAccess.Read))
        {
            Assert.Contains(log + "/", Assert.Single((await new Scrubber(store).CheckAsync(readAll: false, null, default)).Damaged), StringComparison.Ordinal);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            await new Scrubber(store).RepairAsync(null, default);
            Assert.Empty((await new Scrubber(store).CheckAsync(readAll: true, null, default)).Damaged);
        }

        LoseState(fixture);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(3ul, Assert.Single(store.Heads).Sequence);
            await StoreFixture.AssertAllAsync(store, written);
        }
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task The_longest_valid_copy_counts_when_the_state_folder_is_lost(string log, double at)
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await MakeAsync(holderCount: 3);
        Corrupt(fixture, Newest(fixture, $"holder0/objects/{log}/"), at);
        if (log == "catalog")
        {
            Corrupt(fixture, Newest(fixture, $"holder2/objects/{log}/"), at / 2);
        }

        LoseState(fixture);
        await using BlockStore store = await fixture.OpenAsync();
        Assert.Equal(3ul, Assert.Single(store.Heads).Sequence);
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Theory]
    [InlineData("catalog")]
    [InlineData("journal")]
    public async Task A_bad_sector_under_a_log_is_read_around(string log)
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await MakeAsync();
        string path = Newest(fixture, $"state/{log}/");
        fixture.Disk.FailReads(path, fixture.Disk.ReadAll(path).Length / 2, 512);
        await using BlockStore store = await fixture.OpenAsync(StoreAccess.Read);
        Assert.Equal(3ul, Assert.Single(store.Heads).Sequence);
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_bad_sector_under_a_journal_that_is_longer_than_its_records_is_read_around_where_a_holder_has_them_all(bool hasAll)
    {
        var fixture = new StoreFixture();
        BlockStore writer = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(writer, 0, 5);
        await SyncAsync(writer, 1, 30);
        await StoreFixture.CommitAsync(writer, s_volume, written.Select(static item => item.Score), null);
        if (!hasAll)
        {
            await SyncAsync(writer, 31, 33); // holders get them later
        }

        fixture.PowerCut(1);
        string path = Newest(fixture, "state/journal/");
        Assert.True(fixture.Disk.ReadAll(path).Length > fixture.Disk.ReadAll(Newest(fixture, "holder0/objects/journal/")).Length + 32_768);
        fixture.Disk.FailReads(path, 50_000, 512);
        if (!hasAll)
        {
            await Assert.ThrowsAsync<DiskException>(async () => await fixture.OpenAsync(StoreAccess.Read));
            return;
        }

        await using BlockStore store = await fixture.OpenAsync();
        Assert.Single(store.Heads);
        Assert.Equal(30, store.Intents(s_volume).Count);
        await StoreFixture.AssertAllAsync(store, written);
    }

    private static async Task SyncAsync(BlockStore store, int first, int last)
    {
        for (int at = first; at <= last; at++)
        {
            await store.AppendAsync([new Intent(s_volume, store.Device, store.Incarnation, (ulong)at, 0, true, new byte[4000])], namesBlocks: false, CancellationToken.None);
        }
    }

    [Theory]
    [InlineData("catalog")]
    [InlineData("journal")]
    public async Task A_bad_sector_under_the_only_copy_of_a_log_is_told_and_not_taken_for_its_end(string log)
    {
        (StoreFixture fixture, _) = await MakeAsync();
        foreach (string held in fixture.Disk.Files().Where(path => path.StartsWith($"holder0/objects/{log}/", StringComparison.Ordinal)).ToList())
        {
            fixture.Disk.Remove(held);
        }

        string path = Newest(fixture, $"state/{log}/");
        fixture.Disk.FailReads(path, fixture.Disk.ReadAll(path).Length / 2, 512);
        DiskException failure = await Assert.ThrowsAsync<DiskException>(async () => await fixture.OpenAsync(StoreAccess.Read));
        Assert.Contains(log, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_words_need_is_checked_at_every_holder_and_put_back()
    {
        (StoreFixture fixture, _) = await MakeAsync(holderCount: 3);
        foreach (string path in fixture.Disk.Files().Where(static path => path.StartsWith("holder1/objects/", StringComparison.Ordinal)).ToList())
        {
            fixture.Disk.Remove(path);
        }

        fixture.Disk.Corrupt(Newest(fixture, "holder2/objects/anchor/"), 100, 1);
        fixture.Disk.Corrupt(Newest(fixture, "holder2/objects/keys/"), 100, 1);
        await using (BlockStore store = await fixture.OpenAsync(StoreAccess.Read))
        {
            IReadOnlyList<string> lines = (await new Scrubber(store).CheckAsync(readAll: false, null, default)).Damaged;
            Assert.Equal(2, lines.Count(static line => line.Contains("anchor", StringComparison.Ordinal)));
            Assert.Equal(2, lines.Count(static line => line.Contains("keys", StringComparison.Ordinal)));
            Assert.Single(lines, static line => line.Contains("catalog", StringComparison.Ordinal) && line.Contains("holder1", StringComparison.Ordinal));
            Assert.NotEmpty(store.Lag());
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            await new Scrubber(store).RepairAsync(null, default);
        }

        await using (BlockStore store = await fixture.OpenAsync(StoreAccess.Read))
        {
            Assert.Empty((await new Scrubber(store).CheckAsync(readAll: false, null, default)).Damaged);
            Assert.Empty(store.Lag());
        }
    }

    [Fact]
    public async Task An_anchor_with_a_number_beyond_counting_is_nobodys_and_no_damage()
    {
        (StoreFixture fixture, _) = await MakeAsync();
        fixture.Disk.Plant($"holder0/objects/anchor/{fixture.Keys.Tag}-ffffffffffffffff", [1, 2, 3]);
        await using BlockStore store = await fixture.OpenAsync(StoreAccess.Read);
        Assert.Empty((await new Scrubber(store).CheckAsync(readAll: false, null, default)).Damaged);
    }

    [Fact]
    public async Task A_holder_that_did_not_get_the_new_log_keeps_the_old_one()
    {
        (StoreFixture fixture, List<(Score Score, byte[] Bytes)> written) = await MakeAsync();
        string before = Newest(fixture, "holder0/objects/journal/");
        await using (BlockStore store = await fixture.OpenAsync())
        {
            // Once the next journal was begun here, the holder's disk takes nothing new.
            string local = Newest(fixture, "state/journal/");
            fixture.Disk.OnOperation = operation =>
                operation.Path.StartsWith("holder0/tmp/", StringComparison.Ordinal) && Newest(fixture, "state/journal/") != local ? DiskFailure.Full : null;
            for (int i = 0; i < 8 && store.Lag().Count == 0; i++)
            {
                written.AddRange(await StoreFixture.WriteAsync(store, 5000 + (i * 100), 45));
                await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), Assert.Single(store.Heads));
            }

            Assert.NotEmpty(store.Lag());
            Assert.Contains(before, fixture.Disk.Files());
            fixture.Disk.OnOperation = null;
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            await store.PublishAsync(CancellationToken.None);
            Assert.Empty(store.Lag());
            await StoreFixture.AssertAllAsync(store, written);
        }
    }

    /// <summary>Three commits: sealed arenas, and a few blocks in the journal.</summary>
    private static async Task<(StoreFixture Fixture, List<(Score Score, byte[] Bytes)> Written)> MakeAsync(int holderCount = 1)
    {
        var fixture = new StoreFixture(holderCount);
        List<(Score Score, byte[] Bytes)> written = [];
        Head? head = null;
        for (int i = 0; i < 3; i++)
        {
            await using BlockStore store = await fixture.OpenAsync();
            written.AddRange(await StoreFixture.WriteAsync(store, i * 1000, 45));
            head = await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), head);
            await store.PublishAsync(CancellationToken.None);
        }

        return (fixture, written);
    }

    private static string Newest(StoreFixture fixture, string folder) =>
        fixture.Disk.Files().Where(path => path.StartsWith(folder, StringComparison.Ordinal)).Order(StringComparer.Ordinal).Last();

    private static void Corrupt(StoreFixture fixture, string path, double at) => fixture.Disk.Corrupt(path, (long)(fixture.Disk.ReadAll(path).Length * at), 0x20);

    private static void LoseState(StoreFixture fixture)
    {
        foreach (string path in fixture.Disk.Files().Where(static path => path.StartsWith("state/", StringComparison.Ordinal)).ToList())
        {
            fixture.Disk.Remove(path);
        }
    }
}
