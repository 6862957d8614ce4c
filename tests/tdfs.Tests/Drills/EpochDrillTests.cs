using System.Diagnostics;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>Three machines of one account as processes, one of which is revoked: from then on it reads nothing new, with all that is left to it: its keyring, its state and the holders' folders.</summary>
public sealed class EpochDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n";
    private const string Secret = "open sesame\n";

    [Fact(Timeout = 300_000)]
    public async Task What_is_written_after_a_revocation_is_unreadable_to_the_device_and_readable_to_the_others_and_the_words()
    {
        using DrillStore ann = await new DrillStore(2, Settings, survive: 1).InitAsync();
        using DrillStore desk = Beside(ann), lap = Beside(ann);
        await EnrolAsync(ann, desk, "desk", "\n");
        await EnrolAsync(ann, lap, "lap", Secret);
        string one = Tree(ann, 1), two = Tree(desk, 2), three = Tree(lap, 3);
        (await ann.RunAsync("import", one, "--volume", "v", "--no-progress")).Expect(0);
        (await desk.RunAsync("import", two, "--volume", "w", "--no-progress")).Expect(0);
        await desk.AssertRestoresAsync("v@1", one);
        (await lap.RunWithAsync(Secret, "import", three, "--volume", "x", "--no-progress", "--passphrase-fd", "0")).Expect(0); // knows the others

        Outcome revoked = (await ann.RunAsync("device", "revoke", "desk")).Expect(0);
        Assert.Contains("what is written from now on is under new keys, which it does not get", revoked.Talk, StringComparison.Ordinal);
        Assert.Contains("what it could read before stays readable to it, as do blocks that were there already", revoked.Talk, StringComparison.Ordinal);
        string later = Tree(ann, 4);
        (await ann.RunAsync("import", later, "--volume", "v", "--no-progress")).Expect(0);

        // The stolen machine: what it knew, and a line; no snapshot, no block of what came since, and no keys in its file.
        await desk.AssertRestoresAsync("w@1", two);
        Assert.Equal(10, (await desk.RunAsync("restore", "v@2", Path.Join(desk.Folder, "got"), "--no-progress")).Code);
        Assert.Equal([1u], await EpochsAsync(desk, "\n"));
        Assert.Contains("was revoked by device 1", (await desk.RunAsync("import", one, "--volume", "y", "--no-progress")).Expect(6).Talk, StringComparison.Ordinal);
        Assert.Equal([1u], await EpochsAsync(desk, "\n"));

        // The third takes the keys as it opens the store, under its passphrase; as a reader for the moment, as a writer for good.
        uint epoch = (1u << 23) | 1;
        await AssertRestoresAsync(lap, "v@2", later);
        Assert.Equal([1u], await EpochsAsync(lap, Secret));
        (await lap.RunWithAsync(Secret, "import", three, "--volume", "x", "--no-progress", "--passphrase-fd", "0")).Expect(0);
        Assert.Equal([1u, epoch], await EpochsAsync(lap, Secret));
        Assert.Equal([1u, epoch], await EpochsAsync(ann, "\n"));
        await ann.AssertRestoresAsync("x@2", three);
        await ann.AssertCleanAsync();
        (await lap.RunWithAsync(Secret, "check", "--read-all", "--no-progress", "--passphrase-fd", "0")).Expect(0);
        (await ann.RunAsync("reclaim", "--no-progress")).Expect(0);

        // The words.
        using DrillStore back = Beside(ann);
        string words = Path.Join(back.Folder, "words");
        await File.WriteAllTextAsync(words, ann.Words + "\n", DrillStore.Cancel);
        const string Script = "exec 3< \"$1\"; \"$2\" device join --name back --words-fd 3 --passphrase-fd 0 --config \"$3\" 2>&1 <<< ''";
        Assert.Contains("this machine is a new device of the account", await MountDrill.ShellAsync(Script, words, DrillStore.Program, Path.Join(back.Folder, "storage.toml")), StringComparison.Ordinal);
        Assert.Equal([1u, epoch], await EpochsAsync(back, "\n"));
        await back.AssertRestoresAsync("v@2", later);
        await back.AssertRestoresAsync("x@2", three);
        await back.AssertCleanAsync();

        // The keyring's other changes leave the epochs in it.
        (await lap.RunWithAsync(Secret, "volume", "create", "--burnable", "diary", "--passphrase-fd", "0")).Expect(0);
        Assert.Equal([1u, epoch], await EpochsAsync(lap, Secret));
        (await lap.RunWithAsync(Secret, "volume", "burn", "diary", "--yes", "--passphrase-fd", "0")).Expect(0);
        Assert.Equal([1u, epoch], await EpochsAsync(lap, Secret));
    }

    [Fact(Timeout = 300_000)]
    public async Task A_revocation_that_is_killed_is_ended_by_the_next_command_and_everybody_else_reads_on()
    {
        using DrillStore ann = await new DrillStore(1, Settings).InitAsync();
        using DrillStore lap = Beside(ann);
        await EnrolAsync(ann, lap, "lap", "\n");
        int killed = 0, count = 0;
        TimeSpan shortest = TimeSpan.FromMinutes(1); // of the runs that ended by themselves
        foreach (int percent in (int[])[1000, 40, 60, 75, 85, 93])
        {
            using DrillStore thief = Beside(ann);
            string name = $"thief{percent}";
            await EnrolAsync(ann, thief, name, "\n");
            string before = Tree(ann, percent + 1);
            (await ann.RunAsync("import", before, "--volume", "v", "--no-progress")).Expect(0);
            count++;
            var clock = Stopwatch.StartNew();
            Outcome outcome = await ann.KillAsync(shortest * percent / 100, afterLock: false, "device", "revoke", name);
            shortest = outcome.Code == 0 && clock.Elapsed < shortest ? clock.Elapsed : shortest;
            killed += outcome.Code == 0 ? 0 : 1;
            bool isRevoked = (await ann.JsonAsync("device", "list")).GetProperty("devices").EnumerateArray().Any(device => device.GetProperty("name").GetString() == name && device.GetProperty("state").GetString() == "revoked");
            Assert.True(isRevoked || outcome.Code != 0);
            string after = Tree(ann, percent + 2);
            (await ann.RunAsync("import", after, "--volume", "v", "--no-progress")).Expect(0);
            string newest = $"v@{++count}";
            await lap.AssertRestoresAsync(newest, after);
            Assert.Equal(isRevoked ? 10 : 0, (await thief.RunAsync("restore", newest, Path.Join(thief.Folder, "got"), "--no-progress")).Code);
            (await lap.RunAsync("import", after, "--volume", "w", "--no-progress")).Expect(0);
            (await ann.RunAsync("device", "revoke", name)).Expect(0); // says the same again, or does it now
        }

        Assert.True(killed > 0, "the verb is quicker than its signals");
        await ann.AssertCleanAsync();
        await lap.AssertCleanAsync();
    }

    private static async Task<IReadOnlyList<uint>> EpochsAsync(DrillStore store, string passphrase)
    {
        KeyringRead read = Keyring.Read(await File.ReadAllBytesAsync(Path.Join(store.State, "keyring"), DrillStore.Cancel), System.Text.Encoding.UTF8.GetBytes(passphrase.TrimEnd('\n')));
        Assert.Equal(KeyringOutcome.Opened, read.Outcome);
        using Keyring keyring = read.Keyring!;
        return Assert.Single(keyring.Domains, static domain => domain.Kind == DomainKind.Realm).Epochs;
    }

    private static async Task AssertRestoresAsync(DrillStore store, string snapshot, string source)
    {
        string target = Path.Join(store.Folder, "back");
        (await store.RunWithAsync(Secret, "restore", snapshot, target, "--no-progress", "--passphrase-fd", "0")).Expect(0);
        Assert.Equal(await File.ReadAllBytesAsync(Path.Join(source, "large"), DrillStore.Cancel), await File.ReadAllBytesAsync(Path.Join(target, "large"), DrillStore.Cancel));
        Directory.Delete(target, recursive: true);
    }

    /// <summary>A machine with the same folders as its holders.</summary>
    private static DrillStore Beside(DrillStore first)
    {
        var other = new DrillStore(0, Settings, first.Survive);
        other.Holders.AddRange(first.Holders);
        other.WriteConfig();
        return other;
    }

    private static async Task EnrolAsync(DrillStore from, DrillStore to, string name, string passphrase)
    {
        using Process add = from.Start(["device", "add", "-q"]);
        string code = (await add.StandardOutput.ReadLineAsync(DrillStore.Cancel))!;
        (await to.RunWithAsync(passphrase, "device", "join", code, "--name", name, "--passphrase-fd", "0")).Expect(0);
        await add.WaitForExitAsync(DrillStore.Cancel);
        Assert.Equal(0, add.ExitCode);
    }

    private static string Tree(DrillStore store, int seed)
    {
        string source = Path.Join(store.Folder, $"tree{seed}");
        Directory.CreateDirectory(source);
        byte[] bytes = new byte[2 << 20];
        new Random(seed).NextBytes(bytes);
        File.WriteAllBytes(Path.Join(source, "large"), bytes);
        File.WriteAllText(Path.Join(source, "small"), $"small {seed}");
        return source;
    }
}
