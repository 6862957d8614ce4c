using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A holder on a disk that is not mounted: its folder is there and empty, and nothing may be written into it that the mount would hide.</summary>
public sealed class AbsentHolderDrillTests : IDisposable
{
    private const string Settings = "[chunking]\nmean = \"16 KiB\"\n[keys]\nunlock-for = \"0s\"\n";

    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-drill-absent-").FullName;

    private string One => Path.Join(_folder, "tree-one");

    private string Two => Path.Join(_folder, "tree-two");

    private string Away => Path.Join(_folder, "away");

    public void Dispose() => SampleTree.Delete(_folder);

    [Fact]
    public async Task What_is_imported_while_a_disk_is_not_mounted_is_whole_once_it_is_back_and_repaired()
    {
        using DrillStore store = await MakeAsync(3);
        byte[] identity = await File.ReadAllBytesAsync(Path.Join(store.Holders[1], "holder"), DrillStore.Cancel);
        Unmount(store.Holders[1]);

        Outcome import = await ImportAsync(store, Two, "two");
        Assert.Equal(
            $"tdfs: open holder {store.Holders[1]}: not a holder: the folder is empty; is its disk mounted?; this run goes on without the holder: attach its disk, or let 'tdfs repair' make a new one there",
            Assert.Single(import.Expect(0).Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        (await store.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.Empty(Directory.GetFileSystemEntries(store.Holders[1]));
        JsonElement status = await store.JsonAsync("status");
        Assert.Equal([true, false, true], status.GetProperty("holders").EnumerateArray().Select(static holder => holder.GetProperty("present").GetBoolean()));
        string waiting = status.GetProperty("waitingFor").ToString();
        Assert.Contains("holder holder1: ", waiting, StringComparison.Ordinal);
        Assert.Contains("that found no holder when written", waiting, StringComparison.Ordinal);
        Assert.True(status.GetProperty("lagBytes").GetInt64() > 0);
        Assert.Matches("\nlag         [0-9.]+ [KM]iB, the oldest for [0-9]+ minutes: not yet at the places that were promised\n", (await store.RunAsync("status")).Expect(0).Text);
        Assert.Matches("\nnow         survives 0: [0-9]+ of [0-9]+ arenas outlive less than that; nobody answers at 1 of 3 places\n", (await store.RunAsync("status")).Expect(0).Text);
        Assert.Equal(0, status.GetProperty("survives").GetInt32());
        await store.AssertRestoresAsync("v@one", One);
        await store.AssertRestoresAsync("v@two", Two);

        Directory.Move(store.Holders[2], Away + "2");
        Assert.Contains(" CANNOT BE READ; nobody answers at 2 of 3 places\n", (await store.RunAsync("status")).Expect(0).Text, StringComparison.Ordinal);
        Directory.Move(Away + "2", store.Holders[2]);
        Mount(store.Holders[1]);
        (await store.RunAsync("repair", "--no-progress")).Expect(0);
        await store.AssertCleanAsync();
        Assert.Equal(identity, await File.ReadAllBytesAsync(Path.Join(store.Holders[1], "holder"), DrillStore.Cancel));
        status = await store.JsonAsync("status");
        Assert.Equal(3, status.GetProperty("holders").GetArrayLength());
        Assert.Equal(0, status.GetProperty("lagBytes").GetInt64());
        Assert.Equal(1, status.GetProperty("survives").GetInt32());
        Assert.DoesNotContain("\nnow ", (await store.RunAsync("status")).Expect(0).Text, StringComparison.Ordinal);
        Assert.Empty(status.GetProperty("waitingFor").EnumerateArray());

        Directory.Delete(store.Holders[0], recursive: true);
        await store.AssertRestoresAsync("v@one", One);
        await store.AssertRestoresAsync("v@two", Two);
    }

    [Fact]
    public async Task Repair_makes_a_new_holder_in_place_of_an_absent_one_says_so_and_takes_the_old_one_back_when_it_comes()
    {
        using DrillStore store = await MakeAsync(3);
        Unmount(store.Holders[1]);
        Outcome repair = (await store.RunAsync("repair", "--no-progress")).Expect(0);
        Assert.Contains($"tdfs: a new holder at {store.Holders[1]} replaces the one that was there\n", repair.Talk, StringComparison.Ordinal);
        await store.AssertCleanAsync();
        Assert.Equal(3, (await store.JsonAsync("status")).GetProperty("holders").GetArrayLength());

        // The new one lies hidden below the mount now; the old one counts again, and repair fills it.
        Mount(store.Holders[1]);
        Assert.DoesNotContain("holder", (await ImportAsync(store, Two, "two")).Expect(0).Talk, StringComparison.Ordinal);
        (await store.RunAsync("repair", "--no-progress")).Expect(0);
        await store.AssertCleanAsync();
        await store.AssertRestoresAsync("v@one", One);
    }

    [Fact]
    public async Task Without_its_only_holder_every_writing_verb_refuses_and_leaves_the_folder_empty()
    {
        using DrillStore store = await MakeAsync(1);
        Unmount(store.Holders[0]);
        foreach (string[] verb in (string[][])[["import", Two, "--volume", "v"], ["forget", "v@one"], ["reclaim"], ["repair"], ["reindex"]])
        {
            Outcome refused = (await store.RunAsync([.. verb, "--no-progress"])).Expect(9);
            Assert.Contains("the folder is empty; is its disk mounted?; found none of 1 holders", Assert.Single(refused.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
            Assert.Empty(Directory.GetFileSystemEntries(store.Holders[0]));
        }

        Mount(store.Holders[0]);
        await store.AssertCleanAsync();
        await store.AssertRestoresAsync("v@one", One);
    }

    [Fact]
    public async Task A_folder_in_a_place_that_is_new_becomes_a_holder_while_another_is_absent()
    {
        using DrillStore store = await MakeAsync(3);
        Unmount(store.Holders[1]);
        store.Holders.Add(Path.Join(store.Folder, "holder3"));
        store.WriteConfig();
        Outcome import = (await ImportAsync(store, Two, "two")).Expect(0);
        Assert.Contains($"tdfs: holder {store.Holders[3]}: a new one was made there\n", import.Talk, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(store.Holders[1]));
        Assert.True(File.Exists(Path.Join(store.Holders[3], "holder")));
        await store.AssertRestoresAsync("v@two", Two);
    }

    private async Task<DrillStore> MakeAsync(int folders)
    {
        Create(One, 71);
        Create(Two, 72);
        DrillStore store = await new DrillStore(folders, Settings).InitAsync();
        (await ImportAsync(store, One, "one")).Expect(0);
        return store;
    }

    /// <summary>A tree that fills arenas, not the journal alone.</summary>
    private static void Create(string tree, int seed)
    {
        SampleTree.Create(tree, seed, 60);
        byte[] noise = new byte[3_000_000];
        new Random(seed).NextBytes(noise);
        File.WriteAllBytes(Path.Join(tree, "noise"), noise);
    }

    private void Unmount(string holder)
    {
        Directory.Move(holder, Away);
        Directory.CreateDirectory(holder);
    }

    private void Mount(string holder)
    {
        Directory.Delete(holder, recursive: true);
        Directory.Move(Away, holder);
    }

    private static Task<Outcome> ImportAsync(DrillStore store, string tree, string label) =>
        store.RunAsync("import", tree, "--volume", "v", "--label", label, "--no-progress");
}
