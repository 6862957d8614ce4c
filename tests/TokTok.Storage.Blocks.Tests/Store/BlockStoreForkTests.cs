using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Two state folders that write as one device: restored, copied, or lost and found. Nothing of either is lost, and neither overwrites the other.</summary>
public sealed class BlockStoreForkTests
{
    private const string There = "/there";

    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Fact]
    public async Task A_machine_that_was_recovered_elsewhere_and_writes_again_is_another_line()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> all = [];
        Head first;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            all.AddRange(await StoreFixture.WriteAsync(store, 0, 100));
            first = await StoreFixture.CommitAsync(store, s_volume, all.Select(static item => item.Score), null);
        }

        Dictionary<string, byte[]> lost = Take(fixture);
        Head recovered;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.NotEqual(first.Incarnation, store.Incarnation);
            await StoreFixture.AssertAllAsync(store, all);
            all.AddRange(await StoreFixture.WriteAsync(store, 1000, 100));
            recovered = await StoreFixture.CommitAsync(store, s_volume, all.Select(static item => item.Score), Assert.Single(store.Heads));
            Assert.Equal(recovered, Assert.Single(store.Heads));
            Assert.Equal([new HeadSeen(1, first.Incarnation, first.Sequence)], recovered.Seen);
        }

        // The machine that was thought lost: it sees both lines, and goes on in its own.
        Dictionary<string, byte[]> second = Take(fixture);
        Put(fixture, lost);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(first.Incarnation, store.Incarnation);
            Assert.Equal(recovered, Assert.Single(store.Heads));
            await StoreFixture.AssertAllAsync(store, all);
        }

        Take(fixture);
        Put(fixture, second);
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(recovered, Assert.Single(store.Heads));
            await StoreFixture.AssertAllAsync(store, all);
        }
    }

    [Fact]
    public async Task Two_copies_of_a_state_folder_that_both_wrote_are_two_heads_until_one_joins_them()
    {
        var fixture = new StoreFixture();
        Head common;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            common = await StoreFixture.CommitAsync(store, s_volume, [], null);
        }

        Dictionary<string, byte[]> copy = Copy(fixture);
        List<(Score Score, byte[] Bytes)> here;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            here = await StoreFixture.WriteAsync(store, 0, 60);
            await StoreFixture.CommitAsync(store, s_volume, here.Select(static item => item.Score), common);
        }

        // The copy writes while no holder can be reached, and meets the other's catalog under its own name afterwards.
        Take(fixture);
        Put(fixture, copy);
        Dictionary<string, byte[]> holder = Take(fixture, "holder0/");
        fixture.HolderPaths[0] = "/elsewhere";
        FolderHolder.Create(fixture.Disk, "/elsewhere", fixture.Random).Dispose();
        List<(Score Score, byte[] Bytes)> there;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            there = await StoreFixture.WriteAsync(store, 5000, 60);
            await StoreFixture.CommitAsync(store, s_volume, there.Select(static item => item.Score), common);
        }

        Put(fixture, holder);
        fixture.HolderPaths.Insert(0, "/holder0");
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(2, store.Heads.Count);
            Assert.Contains(fixture.Notes, static note => note.Contains("did not know of each other", StringComparison.Ordinal));
            await StoreFixture.AssertAllAsync(store, here);
            await StoreFixture.AssertAllAsync(store, there);

            BlockWrite root = await store.OpenBlocks(store.Realm, null).WriteAsync(BlockType.VolumeRoot, new byte[64], CancellationToken.None);
            Head joined = store.NextHead(s_volume, "test", store.Realm, store.Heads) with { Root = root.Score };
            Assert.Equal(2, joined.Seen.Count);
            await store.CommitAsync(joined, CancellationToken.None);
            Assert.Equal(joined, Assert.Single(store.Heads));
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Single(store.Heads);
        }
    }

    [Fact]
    public async Task Two_copies_that_parted_with_their_holders_are_both_there_for_whoever_recovers()
    {
        var fixture = new StoreFixture(holderCount: 2);
        Head common;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            common = await StoreFixture.CommitAsync(store, s_volume, [], null);
        }

        Dictionary<string, byte[]> state = Copy(fixture);
        Dictionary<string, byte[]> holder = Take(fixture, "holder1/");
        List<(Score Score, byte[] Bytes)> here;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            here = await StoreFixture.WriteAsync(store, 0, 5);
            await StoreFixture.CommitAsync(store, s_volume, here.Select(static item => item.Score), common);
        }

        Dictionary<string, byte[]> first = Take(fixture, "holder0/");
        Take(fixture);
        Put(fixture, state);
        Put(fixture, holder);
        List<(Score Score, byte[] Bytes)> there;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            there = await StoreFixture.WriteAsync(store, 5000, 5);
            Head one = await StoreFixture.CommitAsync(store, s_volume, there.Select(static item => item.Score), common);
            await StoreFixture.CommitAsync(store, s_volume, there.Select(static item => item.Score), one);
        }

        // Brought together, with neither state folder: the shorter branch has the lower sequence and is no part of the longer.
        Take(fixture);
        Put(fixture, first);
        for (int opening = 0; opening < 3; opening++)
        {
            await using BlockStore store = await fixture.OpenAsync();
            Assert.Equal(2, store.Heads.Count);
            await StoreFixture.AssertAllAsync(store, here);
            await StoreFixture.AssertAllAsync(store, there);
        }
    }

    [Fact]
    public async Task A_head_that_no_known_device_signed_is_kept_under_a_name_that_says_so()
    {
        var fixture = new StoreFixture();
        Head mine;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            mine = await StoreFixture.CommitAsync(store, s_volume, [], null);
            using DeviceKeys stranger = DeviceKeys.Create(fixture.Random);
            Assert.Equal(1, store.AdoptHeads([HeadCodec.Sign(mine with { Incarnation = 99, Sequence = 5 }, stranger)], []));
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(["test", "test" + BlockStore.UnsignedSuffix], store.Heads.Select(static head => head.VolumeName).Order(StringComparer.Ordinal));
            Assert.Contains(fixture.Notes, static note => note.Contains("no known device", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Heads_signed_before_a_recovery_stay_vouched_for()
    {
        var fixture = new StoreFixture();
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.CommitAsync(store, s_volume, [], null);
        }

        Take(fixture);
        DeviceKeys device = DeviceKeys.Create(fixture.Random);
        fixture.Keys = fixture.Keys with { DeviceKeys = device, Certificate = DeviceCertificate.Issue(fixture.Account, device, 1, "again", 0) };
        fixture.Notes.Clear();
        await using BlockStore again = await fixture.OpenAsync();
        Assert.Equal("test", Assert.Single(again.Heads).VolumeName);
        Assert.DoesNotContain(fixture.Notes, static note => note.Contains("signed", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_line_that_is_behind_joins_the_one_that_went_on_further()
    {
        var fixture = new StoreFixture();
        Head common;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            common = await StoreFixture.CommitAsync(store, s_volume, [], null);
        }

        Dictionary<string, byte[]> here = Take(fixture);
        Head there = common;
        await using (BlockStore store = await fixture.OpenAsync()) // recovered
        {
            for (int i = 0; i < 3; i++)
            {
                there = await StoreFixture.CommitAsync(store, s_volume, (await StoreFixture.WriteAsync(store, i, 1)).Select(static item => item.Score), there);
            }
        }

        // The first goes on while the holder is away.
        Take(fixture);
        Put(fixture, here);
        Dictionary<string, byte[]> holder = Take(fixture, "holder0/");
        fixture.HolderPaths[0] = "/elsewhere";
        FolderHolder.Create(fixture.Disk, "/elsewhere", fixture.Random).Dispose();
        Head own;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            own = await StoreFixture.CommitAsync(store, s_volume, (await StoreFixture.WriteAsync(store, 50, 1)).Select(static item => item.Score), common);
        }

        Put(fixture, holder);
        fixture.HolderPaths.Insert(0, "/holder0");
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal([own, there], store.Heads.OrderBy(static head => head.Sequence));
            BlockWrite root = await store.OpenBlocks(store.Realm, null).WriteAsync(BlockType.VolumeRoot, new byte[64], CancellationToken.None);
            Head joined = store.NextHead(s_volume, "test", store.Realm, [own, there]) with { Root = root.Score };
            Assert.Equal(there.Sequence + 1, joined.Sequence);
            await store.CommitAsync(joined, CancellationToken.None);
            Assert.Equal(joined, Assert.Single(store.Heads));

            // One that goes on from what was newest before that came second.
            StoreException moved = await Assert.ThrowsAsync<StoreException>(async () => await store.CommitAsync(joined with { Sequence = joined.Sequence + 1 }, CancellationToken.None));
            Assert.Equal(StoreProblem.HeadMoved, moved.Problem);
        }
    }

    [Fact]
    public async Task Reclaim_takes_back_from_the_trash_what_a_head_of_another_line_came_to_want()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written = await CommitHereAndRecoverThereAsync(fixture);
        await using (BlockStore there = await OpenAsync(fixture, There))
        {
            await ForgetAndReclaimAsync(fixture);
            await StoreFixture.WriteAsync(there, 0, 200);
            Assert.Equal(0, there.PendingCount); // it counts on the arenas that are in the trash now
            await StoreFixture.CommitAsync(there, s_volume, written.Select(static item => item.Score), Assert.Single(there.Heads));
        }

        for (int day = 0; day < 10; day++)
        {
            await ReclaimAsync(fixture, written);
            fixture.Clock.Advance(TimeSpan.FromDays(1));
        }

        Assert.DoesNotContain(fixture.Disk.Files(), static path => path.StartsWith("holder0/trash/", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_another_line_released_is_written_again_by_a_folder_that_counted_on_it(bool isTrashEmpty)
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written = await CommitHereAndRecoverThereAsync(fixture);
        await ForgetAndReclaimAsync(fixture, emptyTrashNow: isTrashEmpty);
        await using (BlockStore there = await OpenAsync(fixture, There))
        {
            Assert.Contains(fixture.Notes, static note => note.Contains("no longer where this state folder left them", StringComparison.Ordinal));
            await StoreFixture.WriteAsync(there, 0, 200);
            await StoreFixture.CommitAsync(there, s_volume, written.Select(static item => item.Score), Assert.Single(there.Heads));
            await StoreFixture.AssertAllAsync(there, written);
        }

        for (int day = 0; day < 10; day++)
        {
            await ReclaimAsync(fixture, written);
            await ReclaimAsync(fixture, written, There);
            fixture.Clock.Advance(TimeSpan.FromDays(1));
        }
    }

    [Fact]
    public async Task Arenas_of_another_line_that_has_not_committed_yet_are_left_alone()
    {
        var fixture = new StoreFixture();
        await CommitHereAndRecoverThereAsync(fixture);
        await using BlockStore there = await OpenAsync(fixture, There);
        Head head = await StoreFixture.CommitAsync(there, s_volume, [], Assert.Single(there.Heads)); // so that the other looks what is new
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(there, 1000, 200);
        await there.FlushAsync(CancellationToken.None);
        for (int day = 0; day < 8; day++)
        {
            await using BlockStore here = await fixture.OpenAsync();
            ReclaimReport report = await new Reclaimer(here, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
            if (day < 7)
            {
                Assert.Contains(report.Reasons, static reason => reason.Contains("left alone", StringComparison.Ordinal));
                await StoreFixture.AssertAllAsync(there, written);
            }
            else
            {
                Assert.NotEqual(0, report.TrashedArenas); // it was killed, say: not for ever
            }

            fixture.Clock.Advance(TimeSpan.FromDays(1));
        }

        Assert.Equal(head, Assert.Single(there.Heads));
    }

    [Fact]
    public async Task The_trash_is_not_emptied_while_a_holder_is_away_at_which_another_line_may_have_left_a_head()
    {
        var fixture = new StoreFixture(holderCount: 2);
        fixture.Options = fixture.Options with { Survive = 0 };
        List<(Score Score, byte[] Bytes)> written = await CommitHereAndRecoverThereAsync(fixture);
        await ReclaimAsync(fixture, written, There);
        await ForgetAndReclaimAsync(fixture);
        Dictionary<string, byte[]> holder = Take(fixture, "holder1/");
        for (int day = 0; day < 9; day++)
        {
            fixture.Clock.Advance(TimeSpan.FromDays(1));
            ReclaimReport waiting = await ReclaimAsync(fixture, []);
            Assert.Equal(0, waiting.FreedBytes);
            Assert.Equal(day >= 6, waiting.Reasons.Any(static reason => reason.StartsWith("the trash is not emptied while holder /holder1 is away", StringComparison.Ordinal)));
        }

        Put(fixture, holder);
        Assert.NotEqual(0, (await ReclaimAsync(fixture, [])).FreedBytes);
    }

    [Fact]
    public async Task A_recovery_deletes_nothing_that_the_first_machine_may_be_sealing()
    {
        var fixture = new StoreFixture();
        ArenaId id;
        Dictionary<string, byte[]> files;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.CommitAsync(store, s_volume, (await StoreFixture.WriteAsync(store, 0, 200)).Select(static item => item.Score), null);
            id = store.Catalog.Announced()[0].Id;
            byte[] bytes = fixture.Random.Bytes(128 * 1024);
            byte[] groups = new byte[FragmentFile.GroupsOf(bytes.Length) * 32];
            byte[] name = new byte[32];
            Blake3Tree.HashWithGroups(bytes, groups, name);
            await store.Holders[0].Holder!.PutAsync(id, 2, 1, bytes.Length, [new FragmentData(0, bytes, FragmentName.Read(name), groups)], CancellationToken.None); // one of three until now
            files = Copy(fixture, "holder0/");
        }

        Take(fixture);
        Take(fixture, "holder0/");
        Put(fixture, files);
        string path = Assert.Single(files.Keys, path => path.EndsWith(id.ToString(), StringComparison.Ordinal));
        await (await fixture.OpenAsync()).DisposeAsync();
        Assert.Contains(path, fixture.Disk.Files());
        await (await fixture.OpenAsync()).DisposeAsync();
        Assert.DoesNotContain(path, fixture.Disk.Files());
    }

    [Fact]
    public async Task Two_volumes_of_one_name_are_announced_once_to_each_folder_and_keep_their_names_apart()
    {
        var fixture = new StoreFixture();
        await CommitHereAndRecoverThereAsync(fixture);
        var other = new VolumeId(new Bytes16(0x12345678_00000000, 7)); // above the first one's
        await using (BlockStore there = await OpenAsync(fixture, There))
        {
            await StoreFixture.CommitAsync(there, other, [], null);
            Assert.Equal(["test", "test (12345678)"], there.Heads.Select(static head => head.VolumeName).Order(StringComparer.Ordinal));
        }

        for (int opening = 0; opening < 2; opening++)
        {
            fixture.Notes.Clear();
            await using BlockStore here = await fixture.OpenAsync();
            Assert.Equal(opening == 0, fixture.Notes.Exists(static note => note.Contains("one of them is shown as 'test (12345678)'", StringComparison.Ordinal)));
            Assert.Equal(s_volume, here.Heads.Single(static head => head.VolumeName == "test").Volume);
        }
    }

    [Fact]
    public async Task No_trash_is_emptied_while_a_block_is_missing()
    {
        var fixture = new StoreFixture();
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 100);
        await StoreFixture.CommitAsync(store, s_volume, [], null);
        await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
        Score lost = Score.Read([.. Enumerable.Repeat((byte)9, Score.Size)]);
        await StoreFixture.CommitAsync(store, s_volume, [lost], Assert.Single(store.Heads));
        ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = true }, null, CancellationToken.None);
        Assert.Equal(1, report.MissingBlocks);
        Assert.Equal(0, report.FreedBytes);
        Assert.NotEqual(0, report.WaitingBytes);
        await StoreFixture.AssertAllAsync(store, written);
    }

    /// <summary>A volume of the fixture's own folder, and a second folder that was recovered and knows of it.</summary>
    private static async Task<List<(Score Score, byte[] Bytes)>> CommitHereAndRecoverThereAsync(StoreFixture fixture)
    {
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 200);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
            await store.SealAllAsync(CancellationToken.None);
            await store.PublishAsync(CancellationToken.None);
        }

        fixture.Disk.CreateDirectory(There);
        await (await OpenAsync(fixture, There)).DisposeAsync();
        return written;
    }

    private static async Task<BlockStore> OpenAsync(StoreFixture fixture, string state)
    {
        StoreOptions options = fixture.Options;
        fixture.Options = options with { StateFolder = state };
        try
        {
            return await fixture.OpenAsync();
        }
        finally
        {
            fixture.Options = options;
        }
    }

    private static async Task ForgetAndReclaimAsync(StoreFixture fixture, bool emptyTrashNow = false)
    {
        await using BlockStore store = await fixture.OpenAsync();
        await StoreFixture.CommitAsync(store, s_volume, [], Assert.Single(store.Heads));
        ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions { EmptyTrashNow = emptyTrashNow }, null, CancellationToken.None);
        Assert.NotEqual(0, report.TrashedArenas);
        Assert.Equal(emptyTrashNow, report.FreedBytes > 0);
    }

    private static async Task<ReclaimReport> ReclaimAsync(StoreFixture fixture, List<(Score Score, byte[] Bytes)> wanted, string state = StoreFixture.State)
    {
        await using BlockStore store = await OpenAsync(fixture, state);
        ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
        Assert.Equal(0, report.MissingBlocks);
        await StoreFixture.AssertAllAsync(store, wanted);
        return report;
    }

    /// <summary>The files below a folder, taken away.</summary>
    private static Dictionary<string, byte[]> Take(StoreFixture fixture, string folder = "state/")
    {
        Dictionary<string, byte[]> files = Copy(fixture, folder);
        foreach (string path in files.Keys)
        {
            fixture.Disk.Remove(path);
        }

        return files;
    }

    private static Dictionary<string, byte[]> Copy(StoreFixture fixture, string folder = "state/") =>
        fixture.Disk.Files().Where(path => path.StartsWith(folder, StringComparison.Ordinal)).ToDictionary(static path => path, fixture.Disk.ReadAll);

    private static void Put(StoreFixture fixture, Dictionary<string, byte[]> files)
    {
        foreach ((string path, byte[] bytes) in files)
        {
            fixture.Disk.Plant(path, bytes);
        }
    }
}
