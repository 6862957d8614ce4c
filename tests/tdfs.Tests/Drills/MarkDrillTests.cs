using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A marked snapshot stays whatever the keep rules say, until the mark is taken away.</summary>
public sealed class MarkDrillTests
{
    [Fact]
    public async Task A_marked_snapshot_outlives_the_rules_until_it_is_unmarked()
    {
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        string tree = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(tree);
        foreach (string label in (string[])["one", "two", "three"])
        {
            await File.WriteAllTextAsync(Path.Join(tree, label), label, DrillStore.Cancel);
            (await store.RunAsync("import", tree, "--volume", "v", "--label", label, "--no-progress")).Expect(0);
        }

        JsonElement marked = await store.JsonAsync("mark", "one", "v@1");
        Assert.True(Assert.Single(marked.GetProperty("snapshots").EnumerateArray()).GetProperty("kept").GetBoolean());
        Assert.Contains("one (kept)\n", (await store.RunAsync("snapshots")).Expect(0).Text, StringComparison.Ordinal);
        (await store.RunAsync("mark", "two", "v@77")).Expect(10); // and two is not marked by it
        Assert.Equal([("one", true), ("two", false), ("three", false)], await SnapshotsAsync(store));

        (await store.RunAsync("forget", "--keep-last", "1")).Expect(0);
        Assert.Equal([("one", true), ("three", false)], await SnapshotsAsync(store));

        (await store.RunAsync("mark", "one", "--off")).Expect(0);
        Assert.Equal([("one", false), ("three", false)], await SnapshotsAsync(store));
        (await store.RunAsync("forget", "--keep-last", "1")).Expect(0);
        Assert.Equal([("three", false)], await SnapshotsAsync(store));
    }

    private static async Task<(string?, bool)[]> SnapshotsAsync(DrillStore store) =>
        [.. (await store.JsonAsync("snapshots")).GetProperty("snapshots").EnumerateArray()
            .Select(static snapshot => (snapshot.GetProperty("label").GetString(), snapshot.GetProperty("kept").GetBoolean()))];
}
