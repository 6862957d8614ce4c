using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A store below the folder that is imported, as the default path is below the home folder.</summary>
public sealed class OwnFoldersDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n";

    [Fact]
    public async Task An_import_leaves_out_the_state_folder_and_the_holders_and_says_so_once_each()
    {
        using DrillStore store = await new DrillStore(2, Settings).InitAsync();
        Directory.CreateDirectory(Path.Join(store.Folder, "documents"));
        await File.WriteAllTextAsync(Path.Join(store.Folder, "documents", "letter"), "dear", DrillStore.Cancel);
        string away = Directory.CreateTempSubdirectory("tdfs-drill-own-").FullName;
        try
        {
            // By another name as well: what counts is the folder, not the text of its path.
            string named = Path.Join(away, "home");
            File.CreateSymbolicLink(named, store.Folder);
            Outcome import = (await store.RunAsync("import", named, "--volume", "v", "--no-progress")).Expect(0);
            string top = new DirectoryInfo(store.Folder).FullName;
            Assert.Equal(
                [.. ((string[])["holder0", "holder1", "state"]).Select(folder => $"tdfs: {top}/{folder}: left out, for the store itself lies there")],
                import.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            string[] kept = await PathsAsync(store);
            Assert.Equal(["documents", "documents/letter", "storage.toml"], kept.Order(StringComparer.Ordinal));

            (await store.RunAsync("import", named, "--volume", "v", "--no-progress")).Expect(0);
            JsonElement[] snapshots = [.. (await store.JsonAsync("snapshots")).GetProperty("snapshots").EnumerateArray()];
            Assert.Equal(snapshots[0].GetProperty("bytes").GetInt64(), snapshots[1].GetProperty("bytes").GetInt64());
        }
        finally
        {
            SampleTree.Delete(away);
        }
    }

    [Fact]
    public async Task A_folder_of_the_store_itself_is_not_imported()
    {
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        foreach (string folder in (string[])[store.State, store.Holders[0]])
        {
            Assert.Equal(
                $"tdfs: {folder} is a folder of this store itself, expected one to keep; a store is copied by a [[holder]] in another place\n",
                (await store.RunAsync("import", folder, "--no-progress")).Expect(2).Talk);
        }
    }

    [Fact]
    public async Task What_killed_imports_and_volumes_that_are_no_more_left_among_the_caches_is_taken_away_by_the_next_writer()
    {
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        string caches = Path.Join(store.State, "caches");
        string tree = Path.Join(store.Folder, "documents");
        Directory.CreateDirectory(tree);
        (await store.RunAsync("import", tree, "--volume", "v", "--no-progress")).Expect(0);
        string[] own = Directory.GetFiles(caches);
        Assert.Single(own);
        string other = Path.Join(caches, "stat-00112233445566778899aabbccddeeff");
        foreach (string planted in (string[])[own[0] + ".new", other, other + ".new"])
        {
            await File.WriteAllTextAsync(planted, "half", DrillStore.Cancel);
        }

        (await store.RunAsync("snapshots")).Expect(0);
        Assert.Equal(4, Directory.GetFiles(caches).Length);
        (await store.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.Equal(own, Directory.GetFiles(caches));
    }

    private static async Task<string[]> PathsAsync(DrillStore store) =>
        [.. (await store.RunAsync("ls", "latest", "--recursive")).Expect(0).Text.Split('\n', StringSplitOptions.RemoveEmptyEntries)];
}
