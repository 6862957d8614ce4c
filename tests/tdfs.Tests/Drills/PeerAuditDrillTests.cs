using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A peer that lost what it keeps, found by `tdfs peer audit` and given up, as processes on loopback.</summary>
public sealed class PeerAuditDrillTests
{
    [Fact(Timeout = 300_000)]
    public async Task A_peer_whose_disk_rotted_is_named_read_around_and_moved_away_from()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        await using PeerMachine dan = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        await dan.MeetAsync(ann, "dan");
        string source = Path.Join(ann.Folder, "tree");
        Directory.CreateDirectory(source);
        for (int i = 0; i < 5; i++)
        {
            await File.WriteAllBytesAsync(Path.Join(source, $"file{i}"), new SeededRandom(i).Bytes(14 << 20), DrillStore.Cancel);
        }

        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        Assert.Contains("0 of 3 peers proved to have what was asked for", (await ann.RunAsync("health", "v@1")).Expect(0).Text, StringComparison.Ordinal);
        Outcome first = (await ann.RunAsync("peer", "audit", "--count", "20")).Expect(0);
        Assert.Equal(["bob: 20 audits passed", "cat: 20 audits passed", "dan: 20 audits passed"], first.Text.TrimEnd().Split('\n').Order(StringComparer.Ordinal));
        Assert.Contains("all 3 peers proved to have what was asked for at random, verified just now", (await ann.RunAsync("health", "v@1")).Expect(0).Text, StringComparison.Ordinal);

        // Every fragment at bob rots.
        foreach (string file in Directory.GetFiles(bob.Kept, "*", SearchOption.AllDirectories).Where(static file => new FileInfo(file).Length > 64 * 1024))
        {
            using FileStream stream = new(file, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            if (stream.Length > 1 << 20)
            {
                stream.Position = 16 * 1024;
                await stream.WriteAsync(new SeededRandom(9).Bytes((int)stream.Length - (32 * 1024)), DrillStore.Cancel);
            }
        }

        Outcome caught = (await ann.RunAsync("peer", "audit", "bob", "--count", "10")).Expect(7);
        Assert.Contains("audits FAILED", caught.Text, StringComparison.Ordinal);
        Assert.Contains("peer bob failed", caught.Talk, StringComparison.Ordinal);
        Assert.Contains("counts as lost", caught.Talk, StringComparison.Ordinal);
        JsonElement listed = (await ann.JsonAsync("peer", "list")).GetProperty("peers").EnumerateArray().Single(static peer => peer.GetProperty("name").GetString() == "bob");
        Assert.Equal("lost", listed.GetProperty("standing").GetString());
        await ann.AssertRestoresAsync("v@1", source);

        // What it was to keep goes elsewhere, and the store is whole without it.
        (await ann.RunAsync("repair", "--no-progress")).Expect(0);
        Assert.Contains("It survives the loss of any 1 of 3 places; 1 is asked for.", (await ann.RunAsync("health", "v@1")).Expect(0).Text, StringComparison.Ordinal);
        await bob.KillAsync();
        (await ann.RunAsync("check", "--read-all", "--no-progress")).Expect(0);
        await ann.AssertRestoresAsync("v@1", source);
    }
}
