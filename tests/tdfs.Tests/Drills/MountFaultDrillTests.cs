using System.Diagnostics;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A mount whose store is in trouble: calls fail with the right errno or wait within bounds, what was synced stays, and it can always be unmounted.</summary>
/// <remarks>Every command in the mount runs under timeout(1): one that hangs fails the drill, whatever the others say.</remarks>
public sealed class MountFaultDrillTests
{
    private const string Settings = "[keys]\nunlock-for = \"0s\"\n[reclaim]\ntrash-for = \"0s\"\n";

    [Fact(Timeout = 300_000)]
    public async Task On_a_full_disk_writers_meet_ENOSPC_and_what_was_synced_stays()
    {
        MountDrill.SkipWithoutFuse();
        using var store = new DrillStore(1, Settings);
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        Directory.CreateDirectory(store.Holders[0]);
        try
        {
            // Only fragments are on the disk that fills; 64 MiB is the least quota, and a disk may be smaller still.
            await MountDrill.ShellAsync("mount -t tmpfs -o size=60m none $1", store.Holders[0]);
            await store.InitAsync();
            using (Process node = await MountDrill.MountAsync(store, "--create", "v", point))
            {
                string said = await MountDrill.ShellAsync(
                    """
                    cd $1
                    mkdir kept; seq 300000 > kept/numbers; sync kept/numbers kept
                    i=0
                    while [ $i -lt 40 ]; do
                      i=$((i+1))
                      timeout 60 dd if=/dev/urandom of=fill$i bs=1M count=5 conv=fsync status=none 2> error || break
                    done
                    [ $i -lt 40 ] && grep -o 'No space left on device' /dev/stdin < error 2>/dev/null || { timeout 60 dd if=/dev/urandom of=more bs=1M count=5 conv=fsync status=none 2>&1 || true; } | grep -o 'No space left on device'
                    timeout 20 cmp kept/numbers <(seq 300000)
                    timeout 20 ls -l > /dev/null
                    """,
                    point);
                Assert.Contains("No space left on device", said, StringComparison.Ordinal);

                // What is deleted makes room again, as soon as the space is reclaimed: the disk is as small as it was.
                (await store.RunAsync("status")).Expect(0);
                await MountDrill.ShellAsync("cd $1; timeout 60 rm -f fill* more error", point);
                (await store.RunAsync("reclaim", "--no-progress")).Expect(0);
                (await store.RunAsync("reclaim", "--no-progress")).Expect(0);
                await MountDrill.ShellAsync("cd $1; head -c 5000000 /dev/urandom > after; timeout 60 sync after; timeout 20 cmp kept/numbers <(seq 300000)", point);
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                Assert.Equal("5000000\n", await MountDrill.ShellAsync("cd $1; cmp kept/numbers <(seq 300000); stat -c %s after", point));
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true; umount -l $2 2>/dev/null || true", point, store.Holders[0]);
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task With_its_only_holder_gone_calls_fail_and_nothing_hangs_and_what_was_synced_is_there_when_it_is_back()
    {
        MountDrill.SkipWithoutFuse();
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        try
        {
            using (Process node = await MountDrill.MountAsync(store, "--create", "v", point))
            {
                await MountDrill.ShellAsync("cd $1; head -c 30000000 /dev/urandom | tee data | sha256sum > sum; sync data sum", point);
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            string away = store.Holders[0] + "-away";
            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                Directory.Move(store.Holders[0], away);
                string said = await MountDrill.ShellAsync(
                    """
                    cd $1
                    timeout 60 cat data > /dev/null 2> $2/error || grep -o 'Input/output error' $2/error
                    timeout 20 ls -l > /dev/null
                    timeout 60 dd if=/dev/urandom of=new bs=1M count=40 conv=fsync status=none 2> $2/error || echo refused
                    timeout 20 stat -c %s data
                    """,
                    point, store.Folder);
                Assert.StartsWith("Input/output error\n", said, StringComparison.Ordinal);
                Assert.EndsWith("30000000\n", said, StringComparison.Ordinal);

                // The end comes within bounds, whatever it can still commit.
                _ = await MountDrill.ShellAsync("timeout 60 umount $1 || timeout 60 umount -l $1", point);
                await node.WaitForExitAsync(DrillStore.Cancel).WaitAsync(TimeSpan.FromSeconds(90), DrillStore.Cancel);
            }

            if (Directory.Exists(store.Holders[0]))
            {
                Directory.Delete(store.Holders[0], recursive: true); // nothing but what a mount point would hide
            }

            Directory.Move(away, store.Holders[0]);
            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                Assert.Equal("data\n", await MountDrill.ShellAsync("cd $1; sha256sum < data | cmp - sum; echo data", point));
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task A_damaged_arena_is_EIO_for_its_files_alone()
    {
        MountDrill.SkipWithoutFuse();
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        try
        {
            using (Process node = await MountDrill.MountAsync(store, "--create", "v", point))
            {
                await MountDrill.ShellAsync("cd $1; head -c 25000000 /dev/urandom > a; sync a", point);
                (await store.RunAsync("snapshot")).Expect(0);
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            HashSet<string> before = [.. Directory.GetFiles(store.Holders[0], "*", SearchOption.AllDirectories)];
            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                await MountDrill.ShellAsync("cd $1; head -c 25000000 /dev/urandom | tee b | sha256sum > sum; sync b sum", point);
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }

            // Every fragment of the first snapshot's arenas, beyond what parity mends.
            foreach (string path in before.Where(static path => path.Contains("/fragments/", StringComparison.Ordinal)))
            {
                using FileStream file = File.Open(path, FileMode.Open, FileAccess.ReadWrite);
                byte[] noise = new byte[4096];
                for (long at = 8192; at < file.Length; at += 65536)
                {
                    file.Position = at;
                    new Random((int)at).NextBytes(noise);
                    file.Write(noise);
                }
            }

            using (Process node = await MountDrill.MountAsync(store, "v", point))
            {
                Assert.Equal("Input/output error\nb\n", await MountDrill.ShellAsync(
                    """
                    cd $1
                    timeout 120 cat a > /dev/null 2> $2/error || grep -o 'Input/output error' $2/error
                    timeout 120 sha256sum < b | cmp - sum && echo b
                    echo more > c; timeout 60 sync c
                    """,
                    point, store.Folder));
                Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            }
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task A_slow_disk_makes_writers_wait_and_others_not()
    {
        MountDrill.SkipWithoutFuse();
        using DrillStore store = await new DrillStore(1, Settings).InitAsync();
        string point = Directory.CreateDirectory(Path.Join(store.Folder, "point")).FullName;
        try
        {
            using Process node = await MountDrill.MountAsync(store, "--create", "v", point);
            await MountDrill.ShellAsync("cd $1; mkdir d; for i in $(seq 200); do echo $i > d/$i; done; sync -f .", point);
            Assert.SkipWhen(Faults.Drill.Missing("strace") is not null, Faults.Drill.Missing("strace") ?? "");
            using Process slow = Process.Start(new ProcessStartInfo("strace", ["-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=1500000", "-p", $"{node.Id}"]) { RedirectStandardError = true })!;
            await MountDrill.ShellAsync("for i in $(seq 100); do grep -q 'TracerPid:.*[1-9]' /proc/$1/status && exit 0; sleep 0.1; done; exit 1", $"{node.Id}");

            // A sync is as slow as the disk; looking and writing are not: fifty of each within the time of a few syncs.
            string said = await MountDrill.ShellAsync(
                """
                cd $1
                ( for i in 1 2 3 4; do echo $i > slow$i; timeout 60 sync slow$i; done; echo synced ) &
                timeout 6 bash -euc 'for i in $(seq 50); do stat d/$i > /dev/null; cat d/$i > /dev/null; echo new > d/new$i; mv d/new$i d/old$i; done' && echo quick
                wait
                """,
                point);
            Assert.Equal("quick\nsynced\n", said);
            slow.Kill();
            await slow.WaitForExitAsync(DrillStore.Cancel);
            Assert.Equal(0, await MountDrill.SignalAsync(node, "TERM"));
            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }
}
