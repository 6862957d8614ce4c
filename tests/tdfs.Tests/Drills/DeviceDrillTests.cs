using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>Two machines of one account as processes: enrolled by a code at a shared folder, by a code over the network, and by the words.</summary>
public sealed class DeviceDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n";

    [Fact(Timeout = 300_000)]
    public async Task Two_devices_over_one_folder_read_the_union_and_a_code_serves_once()
    {
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        using DrillStore desk = Beside(ann);
        string one = Tree(ann, 1), two = Tree(desk, 2);
        (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
        string code = await EnrolAsync(ann, desk, "desk");

        // Used: at once and in one line.
        using DrillStore late = Beside(ann);
        Assert.Equal("tdfs: the code was used already; ask for a new one with `tdfs device add`\n", (await late.RunWithAsync("\n", "device", "join", code, "--passphrase-fd", "0")).Expect(12).Talk);

        // Each writes its own, and sees the other's at once; the same data is not stored again.
        await desk.AssertRestoresAsync("v@1", one);
        (await desk.RunAsync("import", two, "--volume", "w", "--no-progress")).Expect(0);
        await ann.AssertRestoresAsync("w@1", two);
        Outcome again = (await desk.RunAsync("import", one, "--volume", "v", "--no-progress", "--json")).Expect(0);
        Assert.Equal(0, again.Json.GetProperty("storedBytes").GetInt64());
        (await ann.RunAsync("import", two, "--volume", "v", "--no-progress")).Expect(0);
        foreach (DrillStore store in (DrillStore[])[ann, desk])
        {
            Assert.Equal(4, (await store.JsonAsync("snapshots")).GetProperty("snapshots").GetArrayLength());
            await store.AssertCleanAsync();
            Assert.Equal(["active", "this one"], (await DevicesAsync(store)).Select(static device => device.GetProperty("state").GetString()!).Order(StringComparer.Ordinal));
        }

        // Revoked: what it wrote stays, what it writes from now on counts nowhere.
        (await ann.RunAsync("device", "revoke", "desk")).Expect(0);
        await ann.AssertRestoresAsync("w@1", two);
        Assert.Contains("was revoked by device 1", (await desk.RunAsync("import", one, "--volume", "x", "--no-progress")).Expect(6).Talk, StringComparison.Ordinal);
        Assert.DoesNotContain("x", (await ann.RunAsync("snapshots")).Expect(0).Text.Split('\n').Select(static line => line.Split('@')[0]));
        await ann.AssertCleanAsync();
    }

    [Fact(Timeout = 300_000)]
    public async Task Over_a_peers_node_a_second_machine_enrols_and_shares_what_the_peer_keeps()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        int port = PeerMachine.FreePort();
        using DrillStore ann = await new DrillStore(1, string.Create(CultureInfo.InvariantCulture, $"[node]\nlisten = \"127.0.0.1:{port}\"\nfolder = \"kept\"\nfloor = \"0\"\n{Settings}")).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string one = Tree(ann, 1);
        (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
        using var desk = new DrillStore(1, Settings);
        string two = Tree(desk, 2);
        using (Process node = ann.Start(["node"]))
        {
            Assert.StartsWith("peers can dial", await node.StandardError.ReadLineAsync(DrillStore.Cancel), StringComparison.Ordinal);
            string code = (await ann.RunAsync("device", "add", "--no-wait", "-q")).Expect(0).Text.Trim();
            Outcome joined = (await desk.RunWithAsync("\n", "device", "join", code, "--name", "desk", "--passphrase-fd", "0")).Expect(0);
            Assert.StartsWith("this machine is device 2 (desk): 1 snapshot", joined.Text, StringComparison.Ordinal);
            using var late = new DrillStore(1, Settings);
            Assert.Equal("tdfs: the code was used already; ask for a new one with `tdfs device add`\n", (await late.RunWithAsync("\n", "device", "join", code, "--passphrase-fd", "0")).Expect(12).Talk);
            node.Kill();
            await node.WaitForExitAsync(DrillStore.Cancel);
        }

        // Each has a folder of its own; what they share is what bob keeps.
        await desk.AssertRestoresAsync("v@1", one);
        (await desk.RunAsync("import", two, "--volume", "w", "--no-progress")).Expect(0);
        await ann.AssertRestoresAsync("w@1", two);
        (await ann.RunAsync("import", two, "--volume", "v", "--no-progress")).Expect(0);
        await desk.AssertRestoresAsync("v@2", two);
        Assert.Equal(["bob"], (await desk.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray().Select(static peer => peer.GetProperty("name").GetString()!));
        Assert.Equal(2, (await DevicesAsync(ann)).Count);
    }

    /// <summary>A thief with the key of a device asks a peer to delete everything; another device revokes it, and all is back. Where the peer is away then it hears of it at the next opening.</summary>
    [Theory(Timeout = 300_000)]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_stolen_device_that_releases_everything_at_a_peer_is_refused_there_once_it_is_revoked_and_all_is_back(bool isPeerThere)
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        int port = PeerMachine.FreePort();
        using DrillStore ann = await new DrillStore(1, string.Create(CultureInfo.InvariantCulture, $"[node]\nlisten = \"127.0.0.1:{port}\"\nfolder = \"kept\"\nfloor = \"0\"\n{Settings}")).InitAsync();
        await bob.MeetAsync(ann, "bob");
        string one = Tree(ann, 1);
        (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
        using var desk = new DrillStore(1, Settings);
        using (Process node = ann.Start(["node"]))
        {
            Assert.StartsWith("peers can dial", await node.StandardError.ReadLineAsync(DrillStore.Cancel), StringComparison.Ordinal);
            string code = (await ann.RunAsync("device", "add", "--no-wait", "-q")).Expect(0).Text.Trim();
            (await desk.RunWithAsync("\n", "device", "join", code, "--name", "desk", "--passphrase-fd", "0")).Expect(0);
            node.Kill();
            await node.WaitForExitAsync(DrillStore.Cancel);
        }

        (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0); // knows of the other device from here on, whoever answers
        using Keyring stolen = Keyring.Read(await File.ReadAllBytesAsync(Path.Join(desk.State, "keyring"), DrillStore.Cancel), default).Keyring!;
        int count = 0;
        using (PeerHolder holder = await OpenAsync())
        {
            foreach (HeldArenaEntry arena in await holder.ListAsync(DrillStore.Cancel))
            {
                await holder.DeleteAsync(arena.Id, DrillStore.Cancel);
                count++;
            }

            Assert.Empty(await holder.ListAsync(DrillStore.Cancel));
        }

        Assert.NotEqual(0, count);
        if (!isPeerThere)
        {
            await bob.KillAsync();
        }

        Outcome revoked = (await ann.RunAsync("device", "revoke", "desk")).Expect(0);
        Assert.Equal(!isPeerThere, revoked.Talk.Contains("not told yet: peer bob", StringComparison.Ordinal));
        if (!isPeerThere)
        {
            await bob.ServeAsync();
            (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
        }

        // In the thief's hands, and by the stolen machine's own commands: one line, as to anybody who is not let in.
        PeerException refused = await Assert.ThrowsAsync<PeerException>(async () => (await OpenAsync()).Dispose());
        Assert.Equal(PeerProblem.NotLetIn, refused.Problem);
        Outcome list = await desk.RunAsync("peer", "set", "bob", "--cancel-releases");
        Assert.StartsWith("tdfs: bob (127.0.0.1", list.Expect(12).Talk, StringComparison.Ordinal);
        Assert.Contains("or not this device of it", list.Talk, StringComparison.Ordinal);
        Assert.Single(list.Talk.TrimEnd().Split('\n'));

        // A node that starts again remembers it.
        await bob.KillAsync();
        await bob.ServeAsync();
        await Assert.ThrowsAsync<PeerException>(async () => (await OpenAsync()).Dispose());

        // Nothing is lost: what bob keeps is enough by itself.
        Assert.Equal(0, (await ann.JsonAsync("peer", "list")).GetProperty("peers")[0].GetProperty("releasedBytes").GetInt64());
        await ann.AssertCleanAsync();
        Directory.Delete(ann.Holders[0], recursive: true);
        await ann.AssertRestoresAsync("v@1", one);

        async Task<PeerHolder> OpenAsync()
        {
            var node = new NodeAddress("127.0.0.1", (ushort)bob.Port);
            var connection = new PeerConnection("bob", [node], new ExpectedIdentity(), new NodeCertificate(stolen.Device, stolen.Certificate, TimeProvider.System), TimeProvider.System);
            try
            {
                return await PeerHolder.OpenAsync(connection, null, DrillStore.Cancel);
            }
            catch
            {
                connection.Dispose();
                throw;
            }
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task The_words_make_another_device_and_a_join_that_is_killed_leaves_both_usable()
    {
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        using DrillStore desk = Beside(ann);
        string one = Tree(ann, 1);
        (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
        foreach (int milliseconds in (int[])[150, 300, 450, 600, 800])
        {
            using Process add = ann.Start(["device", "add", "-q"]);
            string code = (await add.StandardOutput.ReadLineAsync(DrillStore.Cancel))!;
            await desk.KillAsync(TimeSpan.FromMilliseconds(milliseconds), afterLock: false, "device", "join", code, "--passphrase-fd", "0");
            add.Kill();
            await add.WaitForExitAsync(DrillStore.Cancel);
            await ann.AssertCleanAsync();
            (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
            if (File.Exists(Path.Join(desk.State, "keyring")))
            {
                await desk.AssertRestoresAsync("v@1", one); // it was quicker than the signal
                Directory.Delete(desk.State, recursive: true);
            }
        }

        string words = Path.Join(desk.Folder, "words");
        await File.WriteAllTextAsync(words, ann.Words + "\n", DrillStore.Cancel);
        const string Script = "exec 3< \"$1\"; \"$2\" device join --name desk --words-fd 3 --passphrase-fd 0 --config \"$3\" 2>&1 <<< ''";
        string said = await MountDrill.ShellAsync(Script, words, DrillStore.Program, Path.Join(desk.Folder, "storage.toml"));
        Assert.Contains("this machine is a new device of the account", said, StringComparison.Ordinal);
        await desk.AssertRestoresAsync("v@1", one);
        (await desk.RunAsync("import", one, "--volume", "w", "--no-progress")).Expect(0);
        await ann.AssertRestoresAsync("w@1", one);

        // Those that died on the way are taken out, by one that lives.
        foreach (JsonElement device in (await DevicesAsync(ann)).Where(static device => device.GetProperty("state").GetString() == "active" && device.GetProperty("name").GetString() != "desk"))
        {
            (await ann.RunAsync("device", "retire", device.GetProperty("number").GetInt64().ToString(CultureInfo.InvariantCulture))).Expect(0);
        }

        (await desk.RunAsync("import", one, "--volume", "w", "--no-progress")).Expect(0);
        (await ann.RunAsync("reclaim", "--no-progress")).Expect(0, 1);
        await desk.AssertCleanAsync();
    }

    /// <summary>A machine with the same folder as its holder.</summary>
    private static DrillStore Beside(DrillStore first)
    {
        var other = new DrillStore(0, Settings);
        other.Holders.AddRange(first.Holders);
        other.WriteConfig();
        return other;
    }

    private static async Task<string> EnrolAsync(DrillStore from, DrillStore to, string name)
    {
        using Process add = from.Start(["device", "add", "-q"]);
        string code = (await add.StandardOutput.ReadLineAsync(DrillStore.Cancel))!;
        (await to.RunWithAsync("\n", "device", "join", code, "--name", name, "--passphrase-fd", "0")).Expect(0);
        await add.WaitForExitAsync(DrillStore.Cancel);
        Assert.Equal(0, add.ExitCode);
        return code;
    }

    private static async Task<List<JsonElement>> DevicesAsync(DrillStore store) => [.. (await store.JsonAsync("device", "list")).GetProperty("devices").EnumerateArray()];

    private static string Tree(DrillStore store, int seed)
    {
        string source = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(source);
        byte[] bytes = new byte[2 << 20];
        new Random(seed).NextBytes(bytes);
        File.WriteAllBytes(Path.Join(source, "large"), bytes);
        File.WriteAllText(Path.Join(source, "small"), $"small {seed}");
        return source;
    }
}
