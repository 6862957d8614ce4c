using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A holder with a quota, and the command: it ends as on a full disk, says what to do, and goes on once that is done.</summary>
public sealed class QuotaDrillTests : IDisposable
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n[compression]\nlevel = 0\n[reclaim]\ntrash-for = \"0s\"\n";
    private const int FileBytes = 12_000_000;

    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-drill-quota-").FullName;

    private string Tree => Path.Join(_folder, "tree");

    public void Dispose() => SampleTree.Delete(_folder);

    [Fact]
    public async Task An_import_past_the_quota_ends_as_on_a_full_disk_and_goes_on_once_it_is_raised()
    {
        SampleTree.Create(Tree, 71, 30);
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        string config = await File.ReadAllTextAsync(Path.Join(store.Folder, "storage.toml"), DrillStore.Cancel);
        await SetQuotaAsync(store, config, "64 MiB");
        (await ImportAsync(store, "one")).Expect(0);
        for (int i = 0; i < 7; i++)
        {
            byte[] noise = new byte[FileBytes];
            new Random(i).NextBytes(noise);
            await File.WriteAllBytesAsync(Path.Join(Tree, $"noise-{i}"), noise, DrillStore.Cancel);
        }

        Outcome full = (await ImportAsync(store, "two")).Expect(8);
        Assert.Matches(
            $"^tdfs: place fragments at {store.Holders[0]}: its quota of 64 MiB is reached, with [0-9.]+ MiB there; raise the quota in storage.toml, add a \\[\\[holder\\]\\] in a new place, or `tdfs forget` and `tdfs reclaim`; nothing acknowledged is lost, make space and run it again$",
            Assert.Single(full.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        (await ImportAsync(store, "two")).Expect(8); // takes up what the first one placed, and no more fits
        JsonElement holder = Assert.Single((await store.JsonAsync("status")).GetProperty("holders").EnumerateArray());
        Assert.Equal(64L << 20, holder.GetProperty("quotaBytes").GetInt64());
        Assert.InRange(holder.GetProperty("usedBytes").GetInt64(), 40L << 20, 64L << 20);
        Assert.Equal(["one"], Labels(await store.JsonAsync("snapshots")));

        // What needs little still works, and so does what gives space back.
        (await store.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.InRange(Assert.Single((await store.JsonAsync("status")).GetProperty("holders").EnumerateArray()).GetProperty("usedBytes").GetInt64(), 0, 20L << 20);

        await SetQuotaAsync(store, config, "1 GiB");
        (await ImportAsync(store, "two")).Expect(0);
        await store.AssertRestoresAsync("v@two", Tree);
        await store.AssertCleanAsync();
    }

    private static IEnumerable<string?> Labels(JsonElement snapshots) =>
        snapshots.GetProperty("snapshots").EnumerateArray().Select(static snapshot => snapshot.GetProperty("label").GetString());

    private static Task SetQuotaAsync(DrillStore store, string config, string quota) => File.WriteAllTextAsync(
        Path.Join(store.Folder, "storage.toml"), config.Replace("[[holder]]", $"[[holder]]\nquota = \"{quota}\"", StringComparison.Ordinal), DrillStore.Cancel);

    private Task<Outcome> ImportAsync(DrillStore store, string label) => store.RunAsync("import", Tree, "--volume", "v", "--label", label, "--no-progress");
}
