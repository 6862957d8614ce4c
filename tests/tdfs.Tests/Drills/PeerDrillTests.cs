using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>Several machines as processes on loopback: one machine's store over its own folder and two peers.</summary>
public sealed class PeerDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n";

    [Fact(Timeout = 300_000)]
    public async Task A_store_over_two_peers_outlives_one_of_them_and_the_loss_of_its_own_machine()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        JsonElement status = await ann.JsonAsync("status");
        Assert.Equal("2+1", status.GetProperty("redundancy").GetString());
        Assert.Empty(status.GetProperty("waitingFor").EnumerateArray());
        await ann.AssertCleanAsync();

        // What the others keep of it says nothing.
        Assert.All(
            Directory.GetFiles(bob.Kept, "*", SearchOption.AllDirectories).Concat(Directory.GetFiles(ann.State, "*", SearchOption.AllDirectories)).Where(static file => !Path.GetFileName(file).StartsWith("lock", StringComparison.Ordinal)),
            static file => Assert.Equal(-1, File.ReadAllBytes(file).AsSpan().IndexOf("a-name-to-look-for"u8)));

        // One peer dies: everything goes on, and what was not placed is said.
        await bob.KillAsync();
        await ann.AssertRestoresAsync("v@1", source);
        await File.WriteAllBytesAsync(Path.Join(source, "later"), Noise(3 << 20, 7), DrillStore.Cancel);
        Outcome second = (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        Assert.Contains("peer bob", second.Talk, StringComparison.Ordinal);
        Assert.Contains("this run goes on without the holder", second.Talk, StringComparison.Ordinal);
        Assert.Contains("nothing listens there", (await ann.RunAsync("peer", "list")).Expect(1).Text, StringComparison.Ordinal);
        Assert.False((await ann.JsonAsync("status")).GetProperty("holders").EnumerateArray().Single(static holder => holder.GetProperty("place").GetString() == "bob").GetProperty("present").GetBoolean());

        // Another takes its place: repair moves what the dead one had, once it is given up.
        await using PeerMachine dan = await PeerMachine.StartAsync();
        await dan.MeetAsync(ann, "dan");
        (await ann.RunAsync("peer", "revoke", "bob")).Expect(0);
        (await ann.RunAsync("repair", "--no-progress")).Expect(0);
        await ann.AssertCleanAsync();
        Assert.Empty((await ann.JsonAsync("status")).GetProperty("waitingFor").EnumerateArray());

        // The machine itself is lost: words and one address are enough, and lead to the other peer.
        using var fresh = new DrillStore(1, Settings);
        string words = Path.Join(fresh.Folder, "words");
        await File.WriteAllTextAsync(words, ann.Words + "\n", DrillStore.Cancel);
        string script = "exec 3< \"$1\"; \"$2\" recover --peer 127.0.0.1:$3 --words-fd 3 --passphrase-fd 0 --config \"$4\" 2>&1 <<< '' || [ $? = 1 ]";
        string said = await MountDrill.ShellAsync(script, words, DrillStore.Program, dan.Port.ToString(System.Globalization.CultureInfo.InvariantCulture), Path.Join(fresh.Folder, "storage.toml"));
        Assert.Contains("recovered 2 snapshots", said, StringComparison.Ordinal);
        await fresh.AssertRestoresAsync("v@2", source);
        Assert.Equal(["cat", "dan"], (await fresh.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray().Select(static peer => peer.GetProperty("name").GetString()!).Order(StringComparer.Ordinal));
    }

    [Fact(Timeout = 120_000)]
    public async Task An_invitation_serves_once_and_only_in_its_time()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        using DrillStore eve = await new DrillStore(1, Settings).InitAsync();
        string code = (await bob.Store.RunAsync("peer", "invite", "-q")).Expect(0).Text.Trim();
        (await ann.RunAsync("peer", "accept", code)).Expect(0);
        (await ann.RunAsync("peer", "accept", code)).Expect(0); // the same device may ask again: its answer may have been lost
        Assert.Equal("tdfs: the invitation was used already; ask for a new one\n", (await eve.RunAsync("peer", "accept", code)).Expect(12).Talk);
        string short1 = (await bob.Store.RunAsync("peer", "invite", "--for", "1s", "-q")).Expect(0).Text.Trim();
        Outcome late;
        do
        {
            late = await eve.RunAsync("peer", "accept", short1); // a second passes while processes start
            if (late.Code == 0)
            {
                short1 = (await bob.Store.RunAsync("peer", "invite", "--for", "1s", "-q")).Expect(0).Text.Trim();
            }
        }
        while (late.Code == 0);
        Assert.StartsWith("tdfs: the invitation has expired by the inviter's clock", late.Expect(12).Talk, StringComparison.Ordinal);
        Assert.Contains("tdfs: found this machine's own invitation", (await bob.Store.RunAsync("peer", "accept", code)).Expect(2).Talk, StringComparison.Ordinal);
        (await bob.Store.RunAsync("peer", "revoke", "no-such-peer")).Expect(10);
    }

    /// <summary>Two homes behind routers that let nobody in, and a machine that both can reach.</summary>
    [Fact(Timeout = 300_000)]
    public async Task Machines_that_nobody_can_dial_keep_for_each_other_through_one_that_both_can_reach()
    {
        await using PeerMachine ann = await PeerMachine.StartAsync(isHidden: true);
        await using PeerMachine bob = await PeerMachine.StartAsync(isHidden: true);
        await using PeerMachine dan = await PeerMachine.StartAsync();
        foreach ((PeerMachine machine, string name) in ((PeerMachine, string)[])[(ann, "ann"), (bob, "bob")])
        {
            string code = (await dan.Store.RunAsync("peer", "invite", "--name", name, "-q")).Expect(0).Text.Trim();
            (await machine.Store.RunAsync("peer", "accept", code, "--name", "dan")).Expect(0);
            (await dan.Store.RunAsync("peer", "set", name, "--relay", "1 GiB")).Expect(0);
        }

        string invited = (await ann.Store.RunAsync("peer", "invite", "--name", "bob", "-q")).Expect(0).Text.Trim();
        (await bob.Store.RunAsync("peer", "accept", invited, "--name", "ann", "--via", "nobody")).Expect(10);
        Assert.Contains("nobody puts through to it", (await bob.Store.RunAsync("peer", "accept", invited, "--name", "ann")).Expect(12).Talk, StringComparison.Ordinal);
        Outcome joined;
        do
        {
            joined = await bob.Store.RunAsync("peer", "accept", invited, "--name", "ann", "--via", "dan"); // ann's node comes upon dan within two seconds
        }
        while (joined.Code == 12);
        joined.Expect(0);
        (await ann.Store.RunAsync("peer", "set", "bob", "--via", "dan")).Expect(0);

        while ((await ann.Store.RunAsync("peer", "list")).Code != 0)
        {
            // until bob's node has lines at dan's, too
        }

        string source = Tree(ann.Store);
        (await ann.Store.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        (await ann.Store.RunAsync("repair", "--no-progress")).Expect(0); // on a busy machine bob may have been too slow for the import
        JsonElement status = await ann.Store.JsonAsync("status");
        Assert.Equal("2+1", status.GetProperty("redundancy").GetString());
        Assert.Empty(status.GetProperty("waitingFor").EnumerateArray());
        Assert.InRange(Directory.GetFiles(bob.Kept, "*", SearchOption.AllDirectories).Sum(static file => new FileInfo(file).Length), 4 << 20, 20 << 20);
        await ann.Store.AssertCleanAsync();
        await ann.Store.AssertRestoresAsync("v@1", source);

        // And the one in the middle reaches both over the connections that they opened.
        while ((await dan.Store.RunAsync("peer", "list")).Code != 0)
        {
        }
    }

    [Fact(Timeout = 120_000)]
    public async Task What_is_agreed_on_for_an_absence_shows_on_both_sides()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        string code = (await bob.Store.RunAsync("peer", "invite", "--absence", "365d", "-q")).Expect(0).Text.Trim();
        (await ann.RunAsync("peer", "accept", code, "--name", "bob")).Expect(0);
        Assert.Equal(365u, (await ann.JsonAsync("peer", "list")).GetProperty("peers")[0].GetProperty("absenceForUsDays").GetUInt32());
        Assert.Contains("365 days", (await ann.RunAsync("peer", "list")).Expect(0).Text, StringComparison.Ordinal);
        JsonElement there = (await bob.Store.JsonAsync("peer", "list")).GetProperty("peers")[0];
        Assert.Equal(365u, there.GetProperty("absenceDays").GetUInt32());

        string name = there.GetProperty("name").GetString()!;
        Assert.Contains("released after 90 days without a word of it", (await bob.Store.RunAsync("peer", "set", name, "--absence", "90d")).Expect(0).Text, StringComparison.Ordinal);
        await bob.KillAsync();
        await bob.ServeAsync(); // a node that begins has the list as it is
        Assert.Equal(90u, (await ann.JsonAsync("peer", "list")).GetProperty("peers")[0].GetProperty("absenceForUsDays").GetUInt32());
    }

    [Fact(Timeout = 120_000)]
    public async Task A_quota_that_is_lowered_below_what_is_kept_deletes_nothing_and_says_so()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string source = Tree(ann);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        string name = (await bob.Store.JsonAsync("peer", "list")).GetProperty("peers")[0].GetProperty("name").GetString()!;
        await SetAsync(1 << 20);
        await File.WriteAllBytesAsync(Path.Join(source, "more"), Noise(20 << 20, 9), DrillStore.Cancel);
        Outcome full = (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(8);
        Assert.Contains("its quota of 1 MiB is reached", full.Talk, StringComparison.Ordinal);
        await ann.AssertCleanAsync();
        await SetAsync(1 << 30);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        await ann.AssertCleanAsync();
        await ann.AssertRestoresAsync("v@latest", source);

        // The node reads its list every two seconds; what it says to the other one shows when it has.
        async Task SetAsync(long bytes)
        {
            (await bob.Store.RunAsync("peer", "set", name, "--keep", $"{bytes}")).Expect(0);
            while ((await ann.JsonAsync("peer", "list")).GetProperty("peers")[0].GetProperty("keptForUsBytes").GetInt64() != bytes)
            {
            }
        }
    }

    private static string Tree(DrillStore store)
    {
        string source = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(Path.Join(source, "folder"));
        File.WriteAllText(Path.Join(source, "a-name-to-look-for"), "small");
        File.WriteAllBytes(Path.Join(source, "folder", "large"), Noise(9 << 20, 1));
        File.WriteAllBytes(Path.Join(source, "folder", "medium"), Noise(300_000, 2));
        return source;
    }

    private static byte[] Noise(int count, int seed) => new Testing.SeededRandom(seed).Bytes(count);
}
