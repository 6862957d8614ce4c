using System.Diagnostics;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A peer that is given up in order: everything goes elsewhere first, or nothing happens.</summary>
public sealed class PeerLeaveDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n";

    [Fact(Timeout = 300_000)]
    public async Task A_peer_is_drained_before_it_leaves_and_keeps_nothing_that_is_needed()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);

        // What is promised needs it: it stays, and nothing has changed.
        Outcome tooSoon = (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(1);
        Assert.Equal("tdfs: bob stays: without it 1 place is left, and survive = 1 needs 2; let another one in, or lower survive in storage.toml\n", tooSoon.Talk);
        Assert.False((await LineAsync(ann, "bob")).GetProperty("leaving").GetBoolean());
        await ann.AssertCleanAsync();

        await cat.MeetAsync(ann, "cat");
        Outcome left = (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(0);
        Assert.Contains("is given up", left.Text, StringComparison.Ordinal);
        Assert.Empty(Fragments(bob));
        await bob.KillAsync();
        await ann.AssertCleanAsync();
        await ann.AssertRestoresAsync("v@1", source);
        Assert.Equal("cat", Assert.Single((await ann.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray()).GetProperty("name").GetString());
        Assert.Empty((await ann.JsonAsync("status")).GetProperty("waitingFor").EnumerateArray());
        await AssertSurvivesAsync(ann, 1);
    }

    [Fact(Timeout = 300_000)]
    public async Task What_three_places_kept_is_written_again_for_two_as_strong_as_it_was()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        Assert.Equal("2+1", (await ann.JsonAsync("status")).GetProperty("redundancy").GetString());

        // It need not answer: what it has is made again from the others.
        await bob.KillAsync();
        Outcome left = (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(1);
        Assert.Contains("is given up", left.Text, StringComparison.Ordinal);
        Assert.Contains("it was not told that it may delete what it has", left.Text + left.Talk, StringComparison.Ordinal);
        Assert.Equal("1+1", (await ann.JsonAsync("status")).GetProperty("redundancy").GetString());
        await AssertSurvivesAsync(ann, 1);
        await ann.AssertCleanAsync();

        // Whichever of the two is lost now, the other has everything.
        Directory.Move(ann.Holders[0], ann.Holders[0] + ".away");
        await ann.AssertRestoresAsync("v@1", source);
        Directory.Move(ann.Holders[0] + ".away", ann.Holders[0]);
        await cat.KillAsync();
        await ann.AssertRestoresAsync("v@1", source);
    }

    [Fact(Timeout = 300_000)]
    public async Task A_folder_that_asks_for_more_than_the_rest_can_keep_holds_a_peer()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(2, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string source = Tree(ann);
        (await ann.RunAsync("redundancy", "set", Path.Join(source, "folder"), "survive=2")).Expect(0);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        Outcome refused = (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(1);
        Assert.Equal("tdfs: bob stays: without it 2 places are left, and a folder of v asks for survive = 2, which needs 3; let another one in, or ask for less with `tdfs redundancy`\n", refused.Talk);
        Assert.False((await LineAsync(ann, "bob")).GetProperty("leaving").GetBoolean());
    }

    [Fact(Timeout = 300_000)]
    public async Task Where_room_is_missing_nothing_moves_and_an_interrupted_leave_goes_on()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        await cat.MeetAsync(ann, "cat");
        string name = (await cat.Store.JsonAsync("peer", "list")).GetProperty("peers")[0].GetProperty("name").GetString()!;
        await KeepAsync(1 << 20);
        Outcome full = (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(1);
        Assert.StartsWith("tdfs: bob stays: the other places that answer lack room for ", full.Talk, StringComparison.Ordinal);
        Assert.False((await LineAsync(ann, "bob")).GetProperty("leaving").GetBoolean());
        Assert.Empty(Fragments(cat));
        await KeepAsync(1 << 30);

        // So slowly that it is met on its way.
        (await ann.RunAsync("peer", "set", "cat", "--send", "64 KiB")).Expect(0);
        using (Process leaving = ann.Start(["peer", "leave", "bob", "--no-progress"]))
        {
            while (!(await LineAsync(ann, "bob")).GetProperty("leaving").GetBoolean())
            {
                Assert.False(leaving.HasExited);
            }

            leaving.Kill();
            await leaving.WaitForExitAsync(DrillStore.Cancel);
        }

        Assert.Equal("bob", Assert.Single((await ann.JsonAsync("status")).GetProperty("leaving").EnumerateArray()).GetString());
        await ann.AssertRestoresAsync("v@1", source);
        Assert.Contains("stays a holder", (await ann.RunAsync("peer", "leave", "bob", "--stay")).Expect(0).Text, StringComparison.Ordinal);
        Assert.False((await LineAsync(ann, "bob")).GetProperty("leaving").GetBoolean());
        (await ann.RunAsync("peer", "set", "cat", "--send", "0")).Expect(0);
        (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(0);
        await bob.KillAsync();
        await ann.AssertCleanAsync();
        await ann.AssertRestoresAsync("v@1", source);

        async Task KeepAsync(long bytes)
        {
            (await cat.Store.RunAsync("peer", "set", name, "--keep", $"{bytes}")).Expect(0);
            while ((await LineAsync(ann, "cat")).GetProperty("keptForUsBytes").GetInt64() != bytes)
            {
            }
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task A_running_node_drains_a_peer_and_goes_on_without_it()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string source = Tree(ann);
        using Process node = ann.Start(["up"]);
        Assert.StartsWith("nothing to mount", await node.StandardError.ReadLineAsync(DrillStore.Cancel), StringComparison.Ordinal);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);

        // Who was let in while the node runs is asked as well.
        await cat.MeetAsync(ann, "cat");
        (await ann.RunAsync("peer", "leave", "bob", "--no-progress")).Expect(0);
        Assert.DoesNotContain("bob", (await ann.RunAsync("status")).Expect(0).Text, StringComparison.Ordinal);
        await bob.KillAsync();
        await File.WriteAllBytesAsync(Path.Join(source, "later"), Noise(3 << 20, 7), DrillStore.Cancel);
        Outcome second = (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        Assert.DoesNotContain("bob", second.Talk, StringComparison.Ordinal);
        Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
        await ann.AssertCleanAsync();
        await ann.AssertRestoresAsync("v@latest", source);
        await AssertSurvivesAsync(ann, 1);
    }

    private static async Task AssertSurvivesAsync(DrillStore store, int places) =>
        Assert.Equal(places, (await store.JsonAsync("health", "v@latest")).GetProperty("survives").GetInt32());

    private static async Task<JsonElement> LineAsync(DrillStore store, string peer)
    {
        Outcome list = (await store.RunAsync("peer", "list", "--json")).Expect(0, 1);
        return list.Json.GetProperty("peers").EnumerateArray().Single(each => each.GetProperty("name").GetString() == peer);
    }

    private static IEnumerable<string> Fragments(PeerMachine machine) =>
        Directory.GetFiles(machine.Kept, "*", SearchOption.AllDirectories).Where(static file => file.Contains("/fragments/", StringComparison.Ordinal));

    private static string Tree(DrillStore store)
    {
        string source = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(Path.Join(source, "folder"));
        File.WriteAllText(Path.Join(source, "a-name"), "small");
        File.WriteAllBytes(Path.Join(source, "folder", "large"), Noise(9 << 20, 1));
        File.WriteAllBytes(Path.Join(source, "folder", "medium"), Noise(300_000, 2));
        return source;
    }

    private static byte[] Noise(int count, int seed) => new Testing.SeededRandom(seed).Bytes(count);
}
