using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Upkeep;

public sealed class ScrubberTests
{
    private static async Task<List<(Score Score, byte[] Bytes)>> FillAsync(StoreFixture fixture)
    {
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 60);
        await store.SealAllAsync(CancellationToken.None);
        await store.PublishAsync(CancellationToken.None);
        return written;
    }

    private static List<string> FragmentFiles(StoreFixture fixture, string holder) =>
        [.. Files(fixture, holder).Where(path => fixture.Disk.ReadAll(path).AsSpan().StartsWith("TDFSFRG1"u8))];

    private static List<string> Files(StoreFixture fixture, string holder)
    {
        List<string> files = [.. fixture.Disk.Files().Where(path => path.TrimStart('/').StartsWith(holder[1..] + "/", StringComparison.Ordinal))];
        Assert.NotEmpty(files);
        return files;
    }

    private static async Task AssertCleanAsync(BlockStore store)
    {
        Assert.Empty((await new Scrubber(store).CheckAsync(false, null, CancellationToken.None)).Damaged);
        Assert.Empty((await new Scrubber(store).CheckAsync(true, null, CancellationToken.None)).Damaged);
    }

    [Fact]
    public async Task A_whole_store_is_clean_and_repair_writes_nothing()
    {
        var fixture = new StoreFixture();
        await FillAsync(fixture);
        await using BlockStore store = await fixture.OpenAsync();
        ScrubReport check = await new Scrubber(store).CheckAsync(true, null, CancellationToken.None);
        Assert.Empty(check.Damaged);
        Assert.True(check.ArenaCount > 1);
        Assert.Equal(check.ArenaCount * 17, check.FragmentCount);
        Assert.True(check.ReadBytes > 0);
        MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
        Assert.Equal((0, 0, 0), (mend.RepairedFragments, mend.WrittenBytes, mend.Unrepairable.Count));
    }

    [Fact]
    public async Task Flipped_bits_are_named_by_read_all_and_mended()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written = await FillAsync(fixture);
        List<string> files = FragmentFiles(fixture, "/holder0");
        Assert.NotEmpty(files);
        foreach (string file in files)
        {
            fixture.Disk.Corrupt(file, fixture.Disk.ReadAll(file).Length / 2, 0x40);
        }

        await using BlockStore store = await fixture.OpenAsync();
        Assert.Empty((await new Scrubber(store).CheckAsync(false, null, CancellationToken.None)).Damaged);
        ScrubReport check = await new Scrubber(store).CheckAsync(true, null, CancellationToken.None);
        Assert.Equal(files.Count, check.Damaged.Count);
        Assert.All(check.Damaged, static line => Assert.Matches("^arena [0-9]+, fragment [0-9]+ at /holder0: found 1 of 1 groups damaged, the first at byte 0, expected 16384 bytes named ", line));
        await StoreFixture.AssertAllAsync(store, written);

        MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
        Assert.Empty(mend.Unrepairable);
        Assert.Equal(files.Count, mend.RepairedFragments);
        Assert.Equal(files.Count * 16384L, mend.WrittenBytes);
        await AssertCleanAsync(store);
    }

    [Fact]
    public async Task Deleted_fragment_files_are_named_by_the_quick_check_and_brought_back()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written = await FillAsync(fixture);
        List<string> files = FragmentFiles(fixture, "/holder1");
        Assert.NotEmpty(files);
        foreach (string file in files)
        {
            fixture.Disk.Remove(file);
        }

        await using BlockStore store = await fixture.OpenAsync();
        ScrubReport check = await new Scrubber(store).CheckAsync(false, null, CancellationToken.None);
        Assert.Equal(files.Count, check.Damaged.Count);
        Assert.All(check.Damaged, static line => Assert.Contains(" at /holder1: found nothing under its name, expected ", line, StringComparison.Ordinal));
        await StoreFixture.AssertAllAsync(store, written);

        MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
        Assert.Empty(mend.Unrepairable);
        Assert.Equal(files.Count, mend.RepairedFragments);
        await AssertCleanAsync(store);
    }

    [Fact]
    public async Task Damage_beyond_parity_is_told_and_left()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await FillAsync(fixture);
        foreach (string file in FragmentFiles(fixture, "/holder1").Concat(FragmentFiles(fixture, "/holder2")))
        {
            fixture.Disk.Remove(file);
        }

        await using BlockStore store = await fixture.OpenAsync();
        MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
        Assert.Equal(0, mend.RepairedFragments);
        Assert.NotEmpty(mend.Unrepairable);
        Assert.NotEmpty((await new Scrubber(store).CheckAsync(false, null, CancellationToken.None)).Damaged);
    }

    [Fact]
    public async Task A_lost_holder_is_replaced_by_a_new_one_and_the_class_is_whole_again()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written = await FillAsync(fixture);
        foreach (string file in Files(fixture, "/holder2"))
        {
            fixture.Disk.Remove(file);
        }

        fixture.HolderPaths[2] = "/holder3";
        FolderHolder.Create(fixture.Disk, "/holder3", fixture.Random).Dispose();
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await store.PublishAsync(CancellationToken.None);
            ScrubReport check = await new Scrubber(store).CheckAsync(false, null, CancellationToken.None);
            Assert.Equal(check.ArenaCount, check.Damaged.Count);
            Assert.All(check.Damaged, static line => Assert.Contains(" at /holder2: found no way to it", line, StringComparison.Ordinal));
            MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
            Assert.Empty(mend.Unrepairable);
            Assert.Equal(check.ArenaCount, mend.RepairedFragments);
            await AssertCleanAsync(store);
        }

        // Any one of the three places may go now: take another, and read from what is left after the catalog was read anew.
        foreach (string file in FragmentFiles(fixture, "/holder0"))
        {
            fixture.Disk.Remove(file);
        }

        await using BlockStore again = await fixture.OpenAsync();
        Assert.All(again.Catalog.Arenas(), static arena => Assert.Equal(3, arena.Fragments.Select(static fragment => fragment.Holder).Distinct().Count()));
        await StoreFixture.AssertAllAsync(again, written);
    }

    [Fact]
    public async Task A_lost_holder_without_another_place_is_told()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written = await FillAsync(fixture);
        foreach (string file in Files(fixture, "/holder2"))
        {
            fixture.Disk.Remove(file);
        }

        await using BlockStore store = await fixture.OpenAsync();
        MendReport mend = await new Scrubber(store).RepairAsync(null, CancellationToken.None);
        Assert.Equal(0, mend.RepairedFragments);
        int arenas = store.Catalog.Arenas().Count(static arena => arena.State == ArenaState.Sealed);
        Assert.Contains($"/holder2: no other reachable place is left for its {arenas} fragments; add a [[holder]]", Assert.Single(mend.Unrepairable), StringComparison.Ordinal);
        await StoreFixture.AssertAllAsync(store, written);
    }
}
