using System.Diagnostics;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>What an import says of itself: one name has one meaning, and what it could not read is seen at the snapshot later.</summary>
public sealed class ImportReportDrillTests
{
    /// <summary>Present and readable for nobody, root included.</summary>
    private const string UnreadableFile = "/proc/sys/vm/compact_memory";

    [Fact]
    public async Task Files_folders_and_others_add_up_to_the_snapshots_entries_and_a_hole_is_nothing_known()
    {
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        string tree = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(Path.Join(tree, "folder", "empty"));
        await File.WriteAllTextAsync(Path.Join(tree, "folder", "one"), "one", DrillStore.Cancel);
        await File.WriteAllTextAsync(Path.Join(tree, "two"), "two", DrillStore.Cancel);
        File.CreateSymbolicLink(Path.Join(tree, "link"), "two");
        await using (FileStream sparse = File.Create(Path.Join(tree, "sparse")))
        {
            sparse.SetLength(50 << 20);
        }

        using (Process ln = Process.Start("ln", [Path.Join(tree, "two"), Path.Join(tree, "second-name-of-two")]))
        {
            await ln.WaitForExitAsync(DrillStore.Cancel);
        }

        for (int unchanged = 0; unchanged <= 4; unchanged += 4)
        {
            JsonElement import = await store.JsonAsync("import", tree, "--volume", "v", "--no-progress");
            Assert.Equal((4, 2, 1, unchanged), (import.GetProperty("files").GetInt32(), import.GetProperty("folders").GetInt32(), import.GetProperty("others").GetInt32(), import.GetProperty("unchangedFiles").GetInt32()));
            Assert.Equal(7, import.GetProperty("snapshot").GetProperty("entries").GetInt32());
            Assert.False(import.GetProperty("snapshot").TryGetProperty("files", out _));
            Assert.InRange(import.GetProperty("savedBytes").GetInt64(), 0, 9); // of the sparse file nothing: a hole is neither read nor known
        }
    }

    [Fact]
    public async Task A_snapshot_says_that_its_import_could_not_read_all_of_it()
    {
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        (await store.RunAsync("import", UnreadableFile, "--volume", "v", "--no-progress")).Expect(1);
        Assert.EndsWith("(1 unreadable)\n", (await store.RunAsync("snapshots")).Expect(0).Text, StringComparison.Ordinal);
        Assert.Equal(1, (await store.JsonAsync("snapshots")).GetProperty("snapshots")[0].GetProperty("unreadable").GetInt64());
        Assert.Equal("tdfs: v@1 is not all that was there: 1 unreadable when it was imported\n", (await store.RunAsync("ls", "latest")).Expect(0).Talk);
    }
}
