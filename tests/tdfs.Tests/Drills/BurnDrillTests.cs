using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A burnable volume: kept like any other, brought back by no words, gone when it is burned.</summary>
public sealed class BurnDrillTests
{
    private const string Passphrase = "correct horse";

    [Theory]
    [InlineData("")]
    [InlineData(Passphrase)]
    public async Task A_burned_volume_is_gone_whatever_is_tried_and_harms_no_other(string passphrase)
    {
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n[reclaim]\ntrash-for = \"0s\"\n").InitAsync(passphrase);
        string tree = Path.Join(store.Folder, "tree");
        Directory.CreateDirectory(tree);
        byte[] noise = new byte[3_000_000];
        new Random(1).NextBytes(noise);
        await File.WriteAllBytesAsync(Path.Join(tree, "noise"), noise, DrillStore.Cancel);
        Assert.Contains("do NOT bring it back", (await RunAsync("volume", "create", "--burnable", "diary")).Expect(0).Text, StringComparison.Ordinal);
        (await RunAsync("import", tree, "--volume", "diary", "--no-progress")).Expect(0);
        (await RunAsync("import", tree, "--volume", "photos", "--no-progress")).Expect(0);
        (await RunAsync("check", "--read-all", "--no-progress")).Expect(0);
        long both = await StoredAsync();
        byte[] keyring = await File.ReadAllBytesAsync(Path.Join(store.State, "keyring"), DrillStore.Cancel);

        using (FileStream older = File.Open(Path.Join(store.State, "keyring"), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete))
        {
            (await RunAsync("volume", "burn", "diary")).Expect(2);
            (await RunAsync("volume", "burn", "photos", "--yes")).Expect(2);
            (await RunAsync("volume", "burn", "diary", "--yes")).Expect(0);

            // The file that held the keys is gone by name, and its bytes are others.
            byte[] left = new byte[keyring.Length];
            await older.ReadExactlyAsync(left, DrillStore.Cancel);
            Assert.True(left.Zip(keyring).Count(static pair => pair.First == pair.Second) < keyring.Length / 16);
        }

        (await RunAsync("cat", "diary@1", "noise")).Expect(10);
        (await RunAsync("volume", "burn", "diary", "--yes")).Expect(0); // what a burning that was cut off left goes so
        (await RunAsync("volume", "burn", "dairy", "--yes")).Expect(10);
        Assert.Contains("diary", (await RunAsync("volume", "list")).Expect(0).Text, StringComparison.Ordinal);
        (await RunAsync("reclaim", "--no-progress")).Expect(0);
        JsonElement status = await StatusAsync();
        Assert.Equal(0, status.GetProperty("trashBytes").GetInt64());
        Assert.InRange(status.GetProperty("storedBytes").GetInt64(), 1, both - 1); // of two copies in two key domains one is left (and of each a part in the journal)
        (await RunAsync("repair", "--no-progress")).Expect(0);
        (await RunAsync("check", "--read-all", "--no-progress")).Expect(0);
        (await RunAsync("cat", "photos@1", "noise")).Expect(0);
        (await RunAsync("volume", "create", "--burnable", "next")).Expect(0);
        (await RunAsync("import", tree, "--volume", "next", "--no-progress")).Expect(0);
        (await RunAsync("cat", "next@1", "noise")).Expect(0);

        async Task<JsonElement> StatusAsync() => JsonDocument.Parse((await RunAsync("status", "--json")).Expect(0).Text).RootElement;

        async Task<long> StoredAsync() => (await StatusAsync()).GetProperty("storedBytes").GetInt64();

        Task<Outcome> RunAsync(params string[] words) => store.RunWithAsync(passphrase + "\n", [.. words, "--passphrase-fd", "0"]);
    }
}
