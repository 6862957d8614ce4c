using System.Diagnostics;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A node with a volume mounted: what other processes want of the store is done by it.</summary>
public sealed class NodeDrillTests
{
    [Fact(Timeout = 300_000)]
    public async Task A_day_in_the_drive()
    {
        MountDrill.SkipWithoutFuse();
        string point = Directory.CreateTempSubdirectory("tdfs-drive-").FullName;
        using var store = new DrillStore(1, $"[[mount]]\nvolume = \"work\"\npath = \"{point}\"\n[keys]\nunlock-for = \"0s\"\n[reclaim]\ntrash-for = \"0s\"\n");
        await store.InitAsync();
        try
        {
            using (Process node = await MountDrill.UpAsync(store))
            {
                await MountDrill.ShellAsync("cd $1; mkdir letters; for i in $(seq 50); do seq $i 5000 > letters/$i; done; head -c 6000000 /dev/urandom > noise", point);

                // Work goes on; the past is kept, and found again by whoever deleted too much.
                Outcome taken = (await store.RunAsync("snapshot", "--label", "morning")).Expect(0);
                Assert.Contains("work@1", taken.Text, StringComparison.Ordinal);
                await MountDrill.ShellAsync("cd $1; rm -r letters noise; ls -A | grep -c . && exit 1; ls .snapshots | grep -q morning", point);
                await MountDrill.ShellAsync("cd $1; cp -a .snapshots/morning/letters .; diff -r letters .snapshots/morning/letters; cmp letters/7 <(seq 7 5000)", point);
                Assert.Equal("1\n", await MountDrill.ShellAsync("mkdir $1/x 2>/dev/null; touch $1/.snapshots/morning/new 2>/dev/null || echo 1", point));

                // Other verbs: what writes is the node's work, whoever asks.
                JsonElement volumes = (await store.JsonAsync("volume", "list")).GetProperty("volumes");
                Assert.Equal($"mounted on {point}", Assert.Single(volumes.EnumerateArray()).GetProperty("open").GetString());
                string tree = Path.Join(store.Folder, "tree");
                Directory.CreateDirectory(tree);
                await File.WriteAllTextAsync(Path.Join(tree, "note"), "imported", DrillStore.Cancel);
                (await store.RunAsync("import", tree, "--volume", "other", "--no-progress")).Expect(0);
                Assert.Equal("imported", (await store.RunAsync("cat", "other@latest", "note")).Expect(0).Text);
                Outcome refused = (await store.RunAsync("import", tree, "--volume", "work", "--no-progress")).Expect(5);
                Assert.Equal($"tdfs: volume work is open (mounted on {point}); unmount it, then import into it; or copy into the folder\n", refused.Talk);
                (await store.RunAsync("rollback", "work@1")).Expect(5);
                (await store.RunAsync("forget", "work@77")).Expect(10);
                (await store.RunAsync("up")).Expect(5);

                // An open file without a name survives that its blocks are in no root.
                string kept = await MountDrill.ShellAsync(
                    """
                    cd $1
                    head -c 40000000 /dev/urandom > big; sum=$(sha256sum < big)
                    exec 3< big; rm big; sync -f .
                    echo "$sum"
                    "$2" forget work@1 --config "$3" > /dev/null
                    "$2" reclaim --no-progress --config "$3" > /dev/null
                    "$2" reclaim --no-progress --config "$3" > /dev/null
                    echo 3 > /proc/sys/vm/drop_caches 2>/dev/null || true
                    sha256sum <&3
                    """,
                    point, DrillStore.Program, Path.Join(store.Folder, "storage.toml"));
                string[] sums = kept.Split('\n', StringSplitOptions.RemoveEmptyEntries);
                Assert.Equal(sums[0], sums[1]);
                await MountDrill.ShellAsync("cd $1; ls .snapshots | grep -c . && exit 1; cmp letters/50 <(seq 50 5000)", point);
                (await store.RunAsync("repair", "--no-progress")).Expect(0);
                (await store.RunAsync("reindex", "--no-progress")).Expect(0);
                (await store.RunAsync("status")).Expect(0);
                await MountDrill.ShellAsync("cd $1; echo last > last; sync last", point);
                node.Kill();
                await node.WaitForExitAsync(DrillStore.Cancel);
            }

            using (Process node = await MountDrill.UpAsync(store))
            {
                Assert.Equal("last\n", await MountDrill.ShellAsync("cd $1; cat last; cmp letters/50 <(seq 50 5000)", point));
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true; rmdir $1", point);
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task A_second_mount_is_the_first_ones_work_and_ends_by_itself()
    {
        MountDrill.SkipWithoutFuse();
        using DrillStore store = await new DrillStore(1, "[keys]\nunlock-for = \"0s\"\n").InitAsync();
        string one = Directory.CreateDirectory(Path.Join(store.Folder, "one")).FullName;
        string two = Directory.CreateDirectory(Path.Join(store.Folder, "two")).FullName;
        try
        {
            using Process first = await MountDrill.MountAsync(store, "--create", "one", one);
            using Process second = await MountDrill.MountAsync(store, "--create", "two", two);
            await MountDrill.ShellAsync("echo 1 > $1/f; echo 2 > $2/f; cmp $1/f <(echo 1); cmp $2/f <(echo 2)", one, two);
            (await store.RunAsync("mount", "two", one)).Expect(5);
            Assert.Equal(0, await MountDrill.SignalAsync(second, "TERM"));
            Assert.Equal("1\n", await MountDrill.ShellAsync("cat $1/f; test ! -e $2/f", one, two));

            // Who goes away takes along what it asked for.
            using Process third = await MountDrill.MountAsync(store, "two", two);
            third.Kill();
            await third.WaitForExitAsync(DrillStore.Cancel);
            await MountDrill.ShellAsync("for i in $(seq 300); do test -e $2/f || exit 0; sleep 0.1; done; exit 1", one, two);
            Assert.Equal(0, await MountDrill.SignalAsync(first, "TERM"));
            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 $2 2>/dev/null || true", one, two);
        }
    }
}
