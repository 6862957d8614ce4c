using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A country rule, and the command: a place outside stays free whatever is lost inside, and it is told what waits for a place.</summary>
public sealed class CountryDrillTests : IDisposable
{
    private const string Settings = "[chunking]\nmean = \"16 KiB\"\n[keys]\nunlock-for = \"0s\"\n";

    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-drill-country-").FullName;

    private string Tree => Path.Join(_folder, "tree");

    public void Dispose() => SampleTree.Delete(_folder);

    [Fact]
    public async Task A_repair_with_a_free_place_outside_the_countries_leaves_it_free_and_says_so()
    {
        SampleTree.Create(Tree, 61, 200);
        using var store = new DrillStore(4, Settings, survive: 1);
        await LabelAsync(store, "DE", "DE", "FR", null);
        await store.InitAsync();
        (await store.RunAsync("import", Tree, "--volume", "v", "--label", "one", "--no-progress")).Expect(0);
        (await store.RunAsync("snapshots")).Expect(0);
        Assert.False(Directory.Exists(store.Holders[3]), "a folder without a country was made a holder");

        // The third place within the rule is lost with its disk; the fourth is configured, free, and outside.
        Directory.Delete(store.Holders[2], recursive: true);
        await LabelAsync(store, "DE", "DE", null, "PT");
        Directory.CreateDirectory(store.Holders[3]);
        Outcome repair = await store.RunAsync("repair", "--no-progress");
        Assert.Empty(Directory.GetFileSystemEntries(store.Holders[3]));
        (await store.RunAsync("import", Tree, "--volume", "w", "--no-progress")).Expect(0);
        (await store.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.Empty(Directory.GetFileSystemEntries(store.Holders[3]));
        JsonElement status = await store.JsonAsync("status");
        Assert.Equal(["DE", "FR"], status.GetProperty("countries").EnumerateArray().Select(static item => item.GetString()));
        Assert.Equal(["DE", "DE"], status.GetProperty("holders").EnumerateArray().Select(static holder => holder.GetProperty("country").GetString()));
        Assert.Contains("countries   DE, FR: nothing goes to a holder anywhere else, or without a country\n", (await store.RunAsync("status")).Expect(0).Text, StringComparison.Ordinal);
        await store.AssertRestoresAsync("v@one", Tree);

        // Named a country of the rule, it is a place as any other.
        await LabelAsync(store, "DE", "DE", null, "FR");
        (await store.RunAsync("repair", "--no-progress")).Expect(0);
        Assert.NotEmpty(Directory.GetFileSystemEntries(store.Holders[3]));
        await store.AssertCleanAsync();
        Assert.Equal(0, repair.Code);
    }

    [Fact]
    public async Task Where_the_rule_leaves_too_few_places_nothing_is_written_and_one_line_says_why()
    {
        SampleTree.Create(Tree, 62, 20);
        using var store = new DrillStore(2, Settings, survive: 1);
        await LabelAsync(store, "DE", "PT");
        Outcome refused = (await store.RunAsync("import", Tree, "--volume", "v", "--no-progress")).Expect(3);
        Assert.Contains("with one place within DE, FR nothing outlives its loss", Assert.Single(refused.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
    }

    [Fact(Timeout = 300_000)]
    public async Task A_peer_without_a_country_gets_nothing_until_its_owner_says_where_it_is()
    {
        SampleTree.Create(Tree, 63, 60);
        await using PeerMachine bob = await PeerMachine.StartAsync();
        using var store = new DrillStore(1, Settings);
        await LabelAsync(store, "DE");
        await store.InitAsync();
        await bob.MeetAsync(store, "bob");
        (await store.RunAsync("import", Tree, "--volume", "v", "--label", "one", "--no-progress")).Expect(0);
        JsonElement peer = Assert.Single((await store.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray());
        Assert.True(peer.GetProperty("outside").GetBoolean());
        Assert.Equal(0, peer.GetProperty("usedBytes").GetInt64());

        Assert.Contains("place bob in FR", (await store.RunAsync("peer", "set", "bob", "--country", "fr")).Expect(0).Text, StringComparison.Ordinal);
        (await store.RunAsync("repair", "--no-progress")).Expect(0);
        peer = Assert.Single((await store.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray());
        Assert.Equal("FR", peer.GetProperty("country").GetString());
        Assert.True(peer.GetProperty("usedBytes").GetInt64() > 0);

        // And when it moved: what it has is read, moved home, and nothing more goes there.
        Assert.Contains("where nothing of this store may lie", (await store.RunAsync("peer", "set", "bob", "--country", "PT")).Expect(0).Text, StringComparison.Ordinal);
        JsonElement status = await store.JsonAsync("status");
        Assert.Equal(["bob"], status.GetProperty("outside").EnumerateArray().Select(static item => item.GetString()));
        Assert.Contains("places within DE, FR", status.GetProperty("waitingFor").ToString(), StringComparison.Ordinal);
        (await store.RunAsync("repair", "--no-progress")).Expect(0);
        long used = UsedAt(await store.JsonAsync("peer", "list"));

        // A promise that only the place outside could keep: the write says so, and nothing went there.
        string config = Path.Join(store.Folder, "storage.toml");
        await File.WriteAllTextAsync(config, (await File.ReadAllTextAsync(config, DrillStore.Cancel)).Replace("[store]\n", "[store]\nsurvive = 1\n", StringComparison.Ordinal), DrillStore.Cancel);
        string other = Path.Join(_folder, "other");
        SampleTree.Create(other, 64, 20);
        Outcome refused = (await store.RunAsync("import", other, "--volume", "w", "--no-progress")).Expect(3);
        Assert.Contains("survive = 1 needs at least 2 places and 1 is configured within DE, FR; add a [[holder]] in another place within DE, FR or lower survive", Assert.Single(refused.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
        Assert.Contains("survive = 1 needs at least 2 places", (await store.JsonAsync("status")).GetProperty("waitingFor").ToString(), StringComparison.Ordinal);
        Assert.Equal(used, UsedAt(await store.JsonAsync("peer", "list")));
        await bob.KillAsync();
        await store.AssertRestoresAsync("v@one", Tree);
    }

    private static long UsedAt(JsonElement peers) => Assert.Single(peers.GetProperty("peers").EnumerateArray()).GetProperty("usedBytes").GetInt64();

    /// <summary>Writes storage.toml with the rule, and a country for each holder.</summary>
    private static async Task LabelAsync(DrillStore store, params string?[] countries)
    {
        store.WriteConfig();
        string path = Path.Join(store.Folder, "storage.toml");
        string text = (await File.ReadAllTextAsync(path, DrillStore.Cancel)).Replace("[store]\n", "[store]\ncountries = [\"DE\", \"FR\"]\n", StringComparison.Ordinal);
        for (int i = 0; i < countries.Length; i++)
        {
            string place = $"place = \"holder{i}\"";
            text = countries[i] is { } country ? text.Replace(place, $"{place}\ncountry = \"{country}\"", StringComparison.Ordinal) : text;
        }

        await File.WriteAllTextAsync(path, text, DrillStore.Cancel);
    }
}
