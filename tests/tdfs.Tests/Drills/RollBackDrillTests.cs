using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A volume's present: kept, rolled back without losing it, renamed.</summary>
public sealed class RollBackDrillTests
{
    [Fact]
    public async Task A_volume_rolled_back_goes_on_from_there_and_what_was_there_can_be_had_back()
    {
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        string tree = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(tree);
        foreach (string text in (string[])["one", "two"])
        {
            await File.WriteAllTextAsync(Path.Join(tree, "note"), text, DrillStore.Cancel);
            (await store.RunAsync("import", tree, "--volume", "v", "--label", text, "--no-progress")).Expect(0);
        }

        // What is there is the newest snapshot already; a snapshot that is asked for is made nevertheless.
        Assert.Contains("is its newest snapshot\n", (await store.RunAsync("rollback", "v@one")).Expect(0).Text, StringComparison.Ordinal);
        (await store.RunAsync("snapshot", "--label", "again")).Expect(0);
        Assert.Equal("one", (await store.RunAsync("cat", "v@again", "note")).Expect(0).Text);
        Assert.Contains("is its newest snapshot\n", (await store.RunAsync("rollback", "v@two")).Expect(0).Text, StringComparison.Ordinal);
        (await store.RunAsync("snapshot", "v", "--label", "third")).Expect(0);
        Assert.Equal("two", (await store.RunAsync("cat", "v@third", "note")).Expect(0).Text);

        // An import goes on from what it knows, whatever was rolled back meanwhile.
        (await store.RunAsync("import", tree, "--volume", "v", "--label", "now", "--no-progress")).Expect(0);
        Assert.Equal("two", (await store.RunAsync("cat", "v@now", "note")).Expect(0).Text);

        (await store.RunAsync("volume", "create", "w")).Expect(0);
        (await store.RunAsync("volume", "rename", "v", "old")).Expect(0);
        JsonElement volumes = (await store.JsonAsync("volume", "list")).GetProperty("volumes");
        Assert.Equal([("old", 5), ("w", 0)], volumes.EnumerateArray().Select(static each => (each.GetProperty("name").GetString(), each.GetProperty("snapshots").GetInt32())));
        Assert.Equal("one", (await store.RunAsync("cat", "old@one", "note")).Expect(0).Text);
        (await store.RunAsync("snapshots", "v")).Expect(10);
        (await store.RunAsync("snapshot", "w")).Expect(10);
        await store.AssertCleanAsync();

        // The words bring the new name back too.
        (await store.RunAsync("import", tree, "--volume", "v", "--no-progress")).Expect(0);
        Assert.Equal(["old", "v", "w"], (await store.JsonAsync("volume", "list")).GetProperty("volumes").EnumerateArray().Select(static each => each.GetProperty("name").GetString()));
    }
}
