using System.Diagnostics;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A node that runs while peers go, come back and join.</summary>
public sealed class PeerReturnDrillTests
{
    [Fact(Timeout = 300_000)]
    public async Task A_node_takes_in_who_was_away_and_who_joins_and_brings_what_is_missing_by_itself()
    {
        await using PeerMachine bob = await PeerMachine.StartAsync();
        await using PeerMachine cat = await PeerMachine.StartAsync();
        using DrillStore ann = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        await bob.MeetAsync(ann, "bob");
        await cat.MeetAsync(ann, "cat");
        string source = Directory.CreateDirectory(Path.Join(ann.Folder, "tree")).FullName;
        await File.WriteAllBytesAsync(Path.Join(source, "first"), Noise(5 << 20, 1), DrillStore.Cancel);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        await bob.KillAsync();

        using Process node = ann.Start(["up"]);
        string? line = await node.StandardError.ReadLineAsync(DrillStore.Cancel);
        Assert.Contains("peer bob", line, StringComparison.Ordinal);
        Assert.StartsWith("nothing to mount", await node.StandardError.ReadLineAsync(DrillStore.Cancel), StringComparison.Ordinal);
        await File.WriteAllBytesAsync(Path.Join(source, "second"), Noise(5 << 20, 2), DrillStore.Cancel);
        (await ann.RunAsync("import", source, "--volume", "v", "--no-progress")).Expect(0);
        JsonElement without = await ann.JsonAsync("status");
        Assert.Contains(without.GetProperty("waitingFor").EnumerateArray(), static each => each.GetString()!.Contains("that found no holder when written", StringComparison.Ordinal));
        Assert.False(Holder(without, "bob").GetProperty("present").GetBoolean());

        // It comes back: it is read again and gets what was meant for it, without anybody asking.
        await bob.ServeAsync();
        await HearAsync(node, "peer bob", "is back");
        await HearAsync(node, "repair: ", "nothing is missing now");
        JsonElement back = await ann.JsonAsync("status");
        Assert.True(Holder(back, "bob").GetProperty("present").GetBoolean());
        Assert.Empty(back.GetProperty("waitingFor").EnumerateArray());

        // Another joins, and one is revoked: what that one had goes there.
        await using PeerMachine dan = await PeerMachine.StartAsync();
        await dan.MeetAsync(ann, "dan");
        (await ann.RunAsync("peer", "revoke", "bob")).Expect(0);
        await HearAsync(node, "repair: ", "nothing is missing now");
        JsonElement moved = await ann.JsonAsync("status");
        Assert.DoesNotContain(moved.GetProperty("holders").EnumerateArray(), static each => each.GetProperty("place").GetString() == "bob");
        Assert.True(Holder(moved, "dan").GetProperty("usedBytes").GetInt64() > 0);
        Assert.Empty(moved.GetProperty("waitingFor").EnumerateArray());
        Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));

        await bob.KillAsync();
        await ann.AssertCleanAsync();
        await cat.KillAsync();
        await ann.AssertRestoresAsync("v@latest", source);
    }

    private static JsonElement Holder(JsonElement status, string place) =>
        status.GetProperty("holders").EnumerateArray().FirstOrDefault(each => each.GetProperty("place").GetString() == place);

    /// <summary>Waits until the node says it.</summary>
    private static async Task HearAsync(Process node, string beginning, string end)
    {
        string? line;
        do
        {
            line = await node.StandardError.ReadLineAsync(DrillStore.Cancel) ?? throw new InvalidOperationException($"the node ended before it said '{beginning} … {end}'");
        }
        while (!line.StartsWith("tdfs: " + beginning, StringComparison.Ordinal) || !line.EndsWith(end, StringComparison.Ordinal));
    }

    private static byte[] Noise(int count, int seed) => new Testing.SeededRandom(seed).Bytes(count);
}
