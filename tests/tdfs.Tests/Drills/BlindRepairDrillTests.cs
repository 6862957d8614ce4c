using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A friend repairs a store whose owner is away, without any of its keys, as processes on loopback.</summary>
public sealed class BlindRepairDrillTests
{
    [Fact(Timeout = 600_000)]
    public async Task A_friend_rebuilds_what_peers_lost_while_the_owner_is_away_and_the_owner_moves_nothing_more()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        await using PeerMachine dan = await PeerMachine.StartAsync();
        await using PeerMachine eve = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        await dan.MeetAsync(ann, "dan");
        await eve.MeetAsync(ann, "eve");
        string source = Directory.CreateDirectory(Path.Join(ann.Folder, "tree")).FullName;
        for (int i = 0; i < 3; i++)
        {
            await File.WriteAllBytesAsync(Path.Join(source, $"file{i}"), new SeededRandom(i).Bytes(9 << 20), DrillStore.Cancel);
        }

        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        Assert.Equal("3+2", (await ann.JsonAsync("status")).GetProperty("redundancy").GetString());
        string file = Path.Join(bob.Store.Folder, "ann.repair");
        JsonElement made = await ann.JsonAsync("repair", "--export", file, "--to", "bob");
        Assert.Equal(4, made.GetProperty("holders").GetInt32());
        (await ann.RunAsync("repair", "--export", file, "--to", "bob")).Expect(11);

        // Nothing is missing; and what is no file for this machine is one line and a code of its own.
        Assert.Equal(0, (await bob.Store.JsonAsync("repair", "--for", file, "--no-progress")).GetProperty("repairedFragments").GetInt64());
        Assert.Contains("for another device", (await cat.Store.RunAsync("repair", "--for", file)).Expect(6).Talk, StringComparison.Ordinal);
        byte[] bytes = await File.ReadAllBytesAsync(file, DrillStore.Cancel);
        bytes[bytes.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(file + ".bad", bytes, DrillStore.Cancel);
        Assert.Contains("not copied whole", (await bob.Store.RunAsync("repair", "--for", file + ".bad")).Expect(7).Talk, StringComparison.Ordinal);
        (await bob.Store.RunAsync("repair", "--for", file + ".none")).Expect(10);

        // Revoked, and let in again.
        (await ann.RunAsync("repair", "--revoke", "bob")).Expect(0);
        Assert.Contains("may have been revoked", (await bob.Store.RunAsync("repair", "--for", file)).Expect(12).Talk, StringComparison.Ordinal);
        (await ann.RunAsync("repair", "--export", file + ".2", "--to", "bob")).Expect(0);

        // One loses its fragments, and when that is mended another its disk. The owner runs nothing.
        await cat.KillAsync();
        foreach (string fragment in Directory.GetDirectories(cat.Kept, "fragments", SearchOption.AllDirectories).SelectMany(static folder => Directory.GetFiles(folder, "*", SearchOption.AllDirectories)))
        {
            File.Delete(fragment);
        }

        await cat.ServeAsync();
        JsonElement mended = await bob.Store.JsonAsync("repair", "--for", file, "--no-progress");
        long arenas = made.GetProperty("arenas").GetInt64();
        Assert.Equal((arenas, 4), (mended.GetProperty("repairedFragments").GetInt64(), mended.GetProperty("answering").GetInt32()));
        Assert.Equal(0, (await bob.Store.JsonAsync("repair", "--for", file, "--no-progress")).GetProperty("repairedFragments").GetInt64());
        await dan.KillAsync();
        Directory.Delete(dan.Kept, recursive: true);
        await dan.ServeAsync();
        Assert.Equal(arenas, (await bob.Store.JsonAsync("repair", "--for", file, "--no-progress")).GetProperty("repairedFragments").GetInt64());

        // The owner finds all of it where it lies, and two others may go.
        Assert.Equal(0, (await ann.JsonAsync("repair", "--no-progress")).GetProperty("repairedFragments").GetInt64());
        Assert.Empty((await ann.JsonAsync("status")).GetProperty("waitingFor").EnumerateArray());
        Assert.Contains("It survives the loss of any 2 of 5 places", (await ann.RunAsync("health", "v@1")).Expect(0).Text, StringComparison.Ordinal);
        (await ann.RunAsync("check", "--read-all", "--no-progress")).Expect(0);
        await bob.KillAsync();
        await eve.KillAsync();
        await ann.AssertRestoresAsync("v@1", source);
    }

    [Fact(Timeout = 600_000)]
    public async Task What_lay_at_a_peer_that_is_gone_goes_to_another_place_and_the_owner_enters_it_there()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        await using PeerMachine dan = await PeerMachine.StartAsync();
        await using PeerMachine eve = await PeerMachine.StartAsync();
        await using PeerMachine fay = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        await dan.MeetAsync(ann, "dan");
        await fay.MeetAsync(ann, "fay");
        string source = Directory.CreateDirectory(Path.Join(ann.Folder, "tree")).FullName;
        await File.WriteAllBytesAsync(Path.Join(source, "file"), new SeededRandom(1).Bytes(9 << 20), DrillStore.Cancel);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        await eve.MeetAsync(ann, "eve"); // has nothing yet
        string file = Path.Join(bob.Store.Folder, "ann.repair");
        long arenas = (await ann.JsonAsync("repair", "--export", file, "--to", "bob")).GetProperty("arenas").GetInt64();

        await dan.KillAsync();
        Assert.Contains("run this again with --absent", (await bob.Store.RunAsync("repair", "--for", file, "--no-progress")).Expect(1).Talk, StringComparison.Ordinal);
        JsonElement moved = await bob.Store.JsonAsync("repair", "--for", file, "--absent", "--no-progress");
        Assert.Equal((arenas, 4), (moved.GetProperty("repairedFragments").GetInt64(), moved.GetProperty("answering").GetInt32()));
        Assert.Equal(0, (await bob.Store.JsonAsync("repair", "--for", file, "--absent", "--no-progress")).GetProperty("repairedFragments").GetInt64());

        Assert.Equal(0, (await ann.JsonAsync("repair", "--no-progress")).GetProperty("repairedFragments").GetInt64());
        (await ann.RunAsync("check", "--read-all", "--no-progress")).Expect(0);
        await cat.KillAsync();
        await fay.KillAsync();
        await ann.AssertRestoresAsync("v@1", source);
    }
}
