using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Placing;

/// <summary>Whatever puts, nothing is ever put outside the countries allowed.</summary>
public sealed class CountryRuleTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Nothing_of_a_store_goes_to_a_holder_outside_or_without_a_label()
    {
        StoreFixture fixture = Fixture("DE", "DE", "FR", null);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(2, store.Placement.PlaceCount);
            written = await StoreFixture.WriteAsync(store, 0, 40, 4000);
            await StoreFixture.CommitAsync(store, s_volume, [], null);
            await store.SealAllAsync(Cancel);
            await StoreFixture.WriteAsync(store, 40, 3, 4000);
            await StoreFixture.CommitAsync(store, s_volume, [], store.Heads[0]);
            await store.PublishAsync(Cancel);
            Assert.All(store.Catalog.Arenas(), static arena => Assert.All(arena.Fragments, static fragment => Assert.InRange(fragment.Holder, (ushort)0, (ushort)1)));
            Assert.Equal(2, store.Holders.Count);
        }

        Assert.True(FilesIn(fixture, "/holder0").Count > 1);
        Assert.Equal(["/holder2/holder"], FilesIn(fixture, "/holder2"));
        Assert.Equal(["/holder3/holder"], FilesIn(fixture, "/holder3"));
        await using BlockStore again = await fixture.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(again, written);
    }

    [Fact]
    public async Task Where_too_few_places_within_it_are_left_a_write_says_so_and_writes_nothing()
    {
        StoreFixture fixture = Fixture("DE", "FR");
        fixture.Options = fixture.Options with { Survive = 1 };
        await using BlockStore store = await fixture.OpenAsync();
        StoreException refused = await Assert.ThrowsAsync<StoreException>(async () => await store.OpenBlocks(store.Realm, null).WriteAsync(BlockType.Data, StoreFixture.Block(1, 4000), Cancel));
        Assert.Equal(StoreProblem.Redundancy, refused.Problem);
        Assert.Equal("survive = 1 needs at least 2 places and 1 is configured within DE; add a [[holder]] in another place within DE or lower survive", refused.Message);
        Assert.Equal(["/holder1/holder"], FilesIn(fixture, "/holder1"));
    }

    [Fact]
    public async Task What_lies_outside_when_the_rule_comes_is_read_moved_inside_and_mended_nowhere_else()
    {
        StoreFixture fixture = Fixture(null, null, null, null);
        fixture.Options = fixture.Options with { Rule = CountryRule.None, Survive = 1 };
        string added = fixture.HolderPaths[3];
        fixture.HolderPaths.RemoveAt(3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 80, 4000);
            await StoreFixture.CommitAsync(store, s_volume, [], null);
            await store.SealAllAsync(Cancel);
        }

        // The rule comes, and with it a place inside. One arena is missing outside: it is made from the others, and not there.
        fixture.HolderPaths.Add(added);
        fixture.Options = fixture.Options with { Rule = new CountryRule(["DE"]) };
        Label(fixture, "DE", "DE", "FR", "DE");
        using (FolderHolder outside = FolderHolder.Open(fixture.Disk, "/holder2", fixture.Random))
        {
            await outside.DeleteAsync((await outside.ListAsync(Cancel))[0].Id, Cancel);
        }

        List<string> before = FilesIn(fixture, "/holder2");
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(store, written);
            MendReport report = await new Scrubber(store).RepairAsync(null, Cancel);
            Assert.Empty(report.Unrepairable);
            Assert.Null(report.Failure);
            ushort outside = store.Holders.Single(static holder => holder.IsOutside).Number;
            Assert.All(store.Catalog.Arenas(), arena => Assert.DoesNotContain(arena.Fragments, fragment => fragment.Holder == outside));
            await store.PublishAsync(Cancel);
            Assert.Empty(new Scrubber(store).Homeless());
        }

        Assert.Empty(FilesIn(fixture, "/holder2").Except(before));
        fixture.HolderPaths.Remove("/holder2");
        await using BlockStore without = await fixture.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(without, written);
    }

    [Fact]
    public async Task Repair_leaves_a_free_place_outside_free_and_says_what_is_missing()
    {
        StoreFixture fixture = Fixture("DE", "DE", "DE", "FR");
        fixture.Options = fixture.Options with { Survive = 1 };
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.WriteAsync(store, 0, 40, 4000);
            await StoreFixture.CommitAsync(store, s_volume, [], null);
            await store.SealAllAsync(Cancel);
        }

        fixture.Disk.Rename("/holder1/holder", "/holder1/holder-away");
        await using (BlockStore store = await fixture.OpenAsync())
        {
            MendReport report = await new Scrubber(store).RepairAsync(null, Cancel);
            Assert.All(report.Unrepairable, static line => Assert.Contains("no other reachable place within DE is left for it", line, StringComparison.Ordinal));
            Assert.NotEmpty(report.Unrepairable);
            Assert.Equal(0, report.RepairedFragments);
        }

        Assert.Equal(["/holder3/holder"], FilesIn(fixture, "/holder3"));
    }

    [Fact]
    public async Task A_label_that_changes_while_the_store_is_open_counts_from_then_on()
    {
        StoreFixture fixture = Fixture("DE", "DE", "DE");
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 20, 4000);
        await store.SealAllAsync(Cancel);
        List<ConfiguredHolder> all = [.. StoreFixture.ConfiguredOf(store).Select(static holder => holder with { Country = "DE" })];
        store.ChangeHolders(store.Placement.Rule.Apply([all[0], all[1], all[2] with { Country = "FR" }]));
        Assert.IsType<OutsideHolder>(store.Holders[2].Holder);
        Assert.IsType<FolderHolder>(store.Holders[2].Itself);
        written.AddRange(await StoreFixture.WriteAsync(store, 20, 20, 4000));
        await store.SealAllAsync(Cancel);
        Assert.DoesNotContain(store.Catalog.Arenas()[^1].Fragments, static fragment => fragment.Holder == 2);
        Assert.Contains(store.Catalog.Arenas()[0], new Scrubber(store).Homeless());

        store.ChangeHolders(store.Placement.Rule.Apply([all[0], all[1], all[2] with { Holder = store.Holders[2].Holder }]));
        Assert.IsType<FolderHolder>(store.Holders[2].Holder);
        Assert.Empty(new Scrubber(store).Homeless());
        await StoreFixture.AssertAllAsync(store, written);
    }

    [Fact]
    public async Task The_gate_lets_reads_and_deletions_through_and_no_put()
    {
        StoreFixture fixture = Fixture("DE", "DE");
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.WriteAsync(store, 0, 20, 4000);
            await store.SealAllAsync(Cancel);
        }

        using var gate = new OutsideHolder(FolderHolder.Open(fixture.Disk, "/holder0", fixture.Random));
        ArenaId id = (await gate.ListAsync(Cancel))[0].Id;
        HeldArena held = (await gate.InspectAsync(id, Cancel))!;
        byte[] bytes = new byte[held.SliceBytes];
        Assert.Equal(bytes.Length, await gate.ReadAsync(id, held.Fragments[0].Index, 0, bytes, Cancel));
        byte[] groups = (await gate.ReadGroupHashesAsync(id, held.Fragments[0].Index, held.Fragments[0].Name, Cancel))!;
        FragmentData[] data = [new FragmentData(held.Fragments[0].Index, bytes, held.Fragments[0].Name, groups)];
        List<string> before = FilesIn(fixture, "/holder0");
        Func<ValueTask>[] puts =
        [
            () => gate.PutAsync(id, held.DataFragments, held.ParityFragments, held.SliceBytes, data, Cancel),
            () => gate.ReplaceAsync(id, held.DataFragments, held.ParityFragments, held.SliceBytes, data, Cancel),
            () => gate.RewriteGroupsAsync(id, held.Fragments[0].Index, [0], bytes.AsMemory(0, FragmentFile.GroupBytes), Cancel),
            () => gate.MendAsync(id, [new FragmentHashes(held.Fragments[0].Index, groups)], Cancel),
            () => gate.AppendObjectAsync("x", 0, bytes, isSynced: true, Cancel),
            () => gate.PutObjectAsync("x", bytes, Cancel),
        ];
        foreach (Func<ValueTask> put in puts)
        {
            Assert.Contains("it lies outside the countries allowed", (await Assert.ThrowsAsync<DiskException>(async () => await put())).Message, StringComparison.Ordinal);
        }

        Assert.Equal(before, FilesIn(fixture, "/holder0"));
        await gate.DeleteAsync(id, Cancel);
        Assert.Null(await gate.InspectAsync(id, Cancel));
    }

    private static StoreFixture Fixture(params string?[] countries)
    {
        var fixture = new StoreFixture(holderCount: countries.Length);
        fixture.Options = fixture.Options with { Rule = new CountryRule(["DE"]) };
        Label(fixture, countries);
        return fixture;
    }

    private static void Label(StoreFixture fixture, params string?[] countries)
    {
        for (int i = 0; i < countries.Length; i++)
        {
            if (countries[i] is { } country)
            {
                fixture.Countries[$"/holder{i}"] = country;
            }
        }
    }

    /// <summary>All but the locks that whoever opens a holder leaves.</summary>
    private static List<string> FilesIn(StoreFixture fixture, string folder)
    {
        var files = new List<string>();
        foreach (DiskEntry entry in fixture.Disk.List(folder))
        {
            string path = $"{folder}/{entry.Name}";
            if (fixture.Disk.DirectoryExists(path))
            {
                files.AddRange(FilesIn(fixture, path));
            }
            else if (!entry.Name.StartsWith("lock", StringComparison.Ordinal))
            {
                files.Add(path);
            }
        }

        return files;
    }
}
