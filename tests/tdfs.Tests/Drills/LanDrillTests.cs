using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A peer that came to another address, and the command: it is found on the network, by who knows its key and asks for it.</summary>
public sealed class LanDrillTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-drill-lan-").FullName;

    public void Dispose() => SampleTree.Delete(_folder);

    [Fact(Timeout = 300_000)]
    public async Task A_peer_whose_address_changed_is_found_where_both_sides_look_for_each_other()
    {
        string tree = Path.Join(_folder, "tree");
        SampleTree.Create(tree, 65, 30);
        await using PeerMachine bob = await PeerMachine.StartAsync(settings: "lan-discovery = true\n");
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        await bob.MeetAsync(store, "bob");
        (await store.RunAsync("peer", "set", "bob", "--address", "127.0.0.1:1")).Expect(0);
        Outcome away = (await store.RunAsync("peer", "list", "--json")).Expect(1);
        Assert.Contains("nothing listens there", away.Text, StringComparison.Ordinal); // privacy is the default: nobody asks the network

        await File.AppendAllTextAsync(Path.Join(store.Folder, "storage.toml"), "[node]\nlan-discovery = true\n", DrillStore.Cancel);
        Outcome found = await store.RunAsync("peer", "list", "--json");
        Assert.SkipWhen(found.Code == 1 && !await LoopbackMulticast.IsThereAsync(DrillStore.Cancel), "loopback carries no multicast here");
        JsonElement peer = Assert.Single(found.Expect(0).Json.GetProperty("peers").EnumerateArray());
        Assert.False(peer.TryGetProperty("problem", out _));
        (await store.RunAsync("import", tree, "--volume", "v", "--label", "one", "--no-progress")).Expect(0);
        peer = Assert.Single((await store.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray());
        Assert.True(peer.GetProperty("usedBytes").GetInt64() > 0);
        await store.AssertRestoresAsync("v@one", tree);
    }
}
