using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A folder that is freed here lies on other machines alone, comes from there when it is read, and is never freed where it would not be safe.</summary>
public sealed class FreeDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n[reclaim]\ntrash-for = \"0s\"\n";

    [Fact(Timeout = 300_000)]
    public async Task A_folder_is_freed_once_it_is_safe_elsewhere_and_comes_back_when_it_is_read()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);

        // One other machine is not enough, and nothing has changed.
        long before = KeptHere(ann);
        Outcome refused = (await ann.RunAsync("free", "v@latest", "secret-album", "--no-progress")).Expect(1);
        Assert.Matches(@"^tdfs: not freed: [0-9.]+ MiB in \d+ arenas? would need 2 places on other machines, and 1 was verified; bring them back or meet another peer", refused.Talk);
        Assert.Empty((await ann.JsonAsync("free", "--list")).GetProperty("freed").EnumerateArray());
        Assert.Equal(before, KeptHere(ann));
        await ann.AssertCleanAsync();

        // Nor is a second one that does not answer.
        await cat.MeetAsync(ann, "cat");
        (await ann.RunAsync("repair", "--no-progress")).Expect(0);
        await cat.KillAsync();
        refused = (await ann.RunAsync("free", "v@latest", "secret-album", "--no-progress")).Expect(1);
        Assert.Contains("and 1 was verified (not verified: peer ", refused.Talk, StringComparison.Ordinal);
        Assert.Contains("would need 2 places on other machines, and 1 was verified", (await ann.RunAsync("free", Path.Join(source, "secret-album"), "--dry-run", "--no-progress")).Expect(1).Talk, StringComparison.Ordinal);
        Assert.Empty((await ann.JsonAsync("free", "--list")).GetProperty("freed").EnumerateArray());
        await cat.ServeAsync();

        JsonElement dry = await ann.JsonAsync("free", Path.Join(source, "secret-album"), "--dry-run");
        Assert.InRange(dry.GetProperty("freedBytes").GetInt64(), 9 << 20, 10 << 20);
        Assert.Empty((await ann.JsonAsync("free", "--list")).GetProperty("freed").EnumerateArray());
        JsonElement freed = await ann.JsonAsync("free", Path.Join(source, "secret-album"));
        Assert.Equal((true, 0), (freed.GetProperty("freedBytes").GetInt64() == dry.GetProperty("freedBytes").GetInt64(), freed.GetProperty("problems").GetArrayLength()));
        JsonElement listed = Assert.Single((await ann.JsonAsync("free", "--list")).GetProperty("freed").EnumerateArray());
        Assert.Equal(("v", "secret-album"), (listed.GetProperty("volume").GetString(), listed.GetProperty("path").GetString()));

        // Its space here comes back by way of the trash; what else there is stays.
        (await ann.RunAsync("reclaim", "--no-progress")).Expect(0);
        (await ann.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.InRange(KeptHere(ann), 1, before / 3);
        await ann.AssertCleanAsync();
        await ann.AssertRestoresAsync("v@1", source);
        JsonElement health = await ann.JsonAsync("health", "v@latest", "secret-album");
        Assert.Equal((1, 0), (health.GetProperty("survives").GetInt32(), health.GetProperty("lostBlocks").GetInt32()));
        Assert.InRange(health.GetProperty("freedBlocks").GetInt32(), 20, 1000);
        Assert.Equal(0, (await ann.JsonAsync("health", "v@latest", "kept")).GetProperty("freedBlocks").GetInt32());
        Assert.Matches("freed       1 folder: [0-9.]+ MiB of what is kept lie on other machines alone", (await ann.RunAsync("status")).Expect(0).Text);

        // No name of it stands open in what this device keeps.
        foreach (string file in Directory.GetFiles(ann.State, "*", SearchOption.AllDirectories).Where(static file => !file.EndsWith(".sock", StringComparison.Ordinal)))
        {
            Assert.True((await File.ReadAllBytesAsync(file, DrillStore.Cancel)).AsSpan().IndexOf(Encoding.UTF8.GetBytes("secret-album")) < 0, file);
        }

        // One of the other machines may go now, with the cache here empty.
        await bob.KillAsync();
        Directory.Delete(Path.Join(ann.State, "cache"), recursive: true);
        await ann.AssertRestoresAsync("v@1", source);
        (await ann.RunAsync("repair", "--no-progress")).Expect(7); // as of any arena, what is away with a peer is named
        await bob.ServeAsync();

        // What comes new below it goes with the next repair, which brings nothing back.
        await File.WriteAllBytesAsync(Path.Join(source, "secret-album", "later"), Noise(3 << 20, 5), DrillStore.Cancel);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        JsonElement repaired = await ann.JsonAsync("repair");
        Assert.InRange(repaired.GetProperty("freedBytes").GetInt64(), 2 << 20, 4 << 20);
        Assert.Equal(0, repaired.GetProperty("returnedBytes").GetInt64());
        Assert.Equal(0, (await ann.JsonAsync("repair")).GetProperty("movedBytes").GetInt64());

        // And back.
        (await ann.RunAsync("free", "v@latest", "kept", "--off")).Expect(10);
        JsonElement kept = await ann.JsonAsync("free", "v@latest", "secret-album", "--off");
        Assert.InRange(kept.GetProperty("returnedBytes").GetInt64(), 11 << 20, 13 << 20); // the end of what came later was in the journal still
        Assert.Equal(0, (await ann.JsonAsync("health", "v@latest", "secret-album")).GetProperty("freedBlocks").GetInt32());
        await ann.AssertCleanAsync();
        await cat.KillAsync();
        Directory.Delete(Path.Join(ann.State, "cache"), recursive: true);
        await ann.AssertRestoresAsync("v@latest", source);
    }

    [Fact(Timeout = 300_000)]
    public async Task A_running_node_frees_and_a_free_that_was_killed_goes_on()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        long before = KeptHere(ann);

        // So slowly that it is met on its way.
        (await ann.RunAsync("peer", "set", "cat", "--send", "512 KiB")).Expect(0);
        using (Process freeing = ann.Start(["free", "v@latest", "secret-album", "--no-progress"]))
        {
            while (!File.Exists(Path.Join(ann.State, "freed")))
            {
                Assert.False(freeing.HasExited);
            }

            freeing.Kill();
            await freeing.WaitForExitAsync(DrillStore.Cancel);
        }

        await ann.AssertRestoresAsync("v@1", source);
        (await ann.RunAsync("peer", "set", "cat", "--send", "0")).Expect(0);
        using Process node = ann.Start(["up"]);
        Assert.StartsWith("nothing to mount", await node.StandardError.ReadLineAsync(DrillStore.Cancel), StringComparison.Ordinal);
        Outcome freed = (await ann.RunAsync("free", "v@latest", "secret-album", "--no-progress")).Expect(0);
        Assert.Contains("v: secret-album is freed: ", freed.Text, StringComparison.Ordinal);
        (await ann.RunAsync("reclaim", "--no-progress")).Expect(0);
        (await ann.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
        Assert.InRange(KeptHere(ann), 1, before / 3);
        await ann.AssertCleanAsync();
        await ann.AssertRestoresAsync("v@1", source);
    }

    /// <summary>Bytes of fragments in the folder here.</summary>
    private static long KeptHere(DrillStore store) =>
        Directory.GetFiles(store.Holders[0], "*", SearchOption.AllDirectories).Where(static file => file.Contains("/fragments/", StringComparison.Ordinal) || file.Contains("/trash/", StringComparison.Ordinal)).Sum(static file => new FileInfo(file).Length);

    private static string Tree(DrillStore store)
    {
        string source = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(Path.Join(source, "secret-album"));
        Directory.CreateDirectory(Path.Join(source, "kept"));
        File.WriteAllText(Path.Join(source, "a-name"), "small");
        File.WriteAllBytes(Path.Join(source, "secret-album", "large"), Noise(9 << 20, 1));
        File.WriteAllBytes(Path.Join(source, "secret-album", "medium"), Noise(300_000, 2));
        File.WriteAllBytes(Path.Join(source, "kept", "large"), Noise(1 << 20, 3));
        return source;
    }

    private static byte[] Noise(int count, int seed) => new Testing.SeededRandom(seed).Bytes(count);
}
