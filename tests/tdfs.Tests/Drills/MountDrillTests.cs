using System.Diagnostics;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A volume mounted by the real command, killed, and mounted again.</summary>
public sealed class MountDrillTests
{
    [Fact(Timeout = 300_000)]
    public async Task What_was_synced_before_a_kill_is_there_after_the_next_mount()
    {
        MountDrill.SkipWithoutFuse();
        using var store = new DrillStore(1);
        await store.InitAsync();
        string point = Path.Join(store.Folder, "point");
        Directory.CreateDirectory(point);
        try
        {
            using (Process first = await MountDrill.MountAsync(store, "--create", "work", point))
            {
                Assert.Equal("", await MountDrill.ShellAsync("cd $1; mkdir d; seq 100000 > d/numbers; echo synced > d/f; sync d/numbers d/f d; echo late > lost", point));
                first.Kill();
                await first.WaitForExitAsync(DrillStore.Cancel);
            }

            using (Process second = await MountDrill.MountAsync(store, point))
            {
                Assert.Equal("synced\n", await MountDrill.ShellAsync("cd $1; seq 100000 | cmp - d/numbers; cat d/f; echo more > g", point));
                Assert.Equal(0, await MountDrill.SignalAsync(second, "TERM"));
            }

            using (Process third = await MountDrill.MountAsync(store, "work", point))
            {
                Assert.Equal("more\n", await MountDrill.ShellAsync("cd $1; cat g", point));
                Assert.Equal("", await MountDrill.ShellAsync("umount $1", point));
                await third.WaitForExitAsync(DrillStore.Cancel);
                Assert.Equal(0, third.ExitCode);
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }

    [Fact(Timeout = 300_000)]
    public async Task Writers_meet_a_full_disk_before_the_store_does_and_everything_else_goes_on()
    {
        MountDrill.SkipWithoutFuse();
        using var store = new DrillStore(1);
        string point = Path.Join(store.Folder, "point");
        Directory.CreateDirectory(point);
        Directory.CreateDirectory(store.Holders[0]);
        Assert.SkipUnless(await MountDrill.ShellAsync("mount -t tmpfs -o size=200m none $1 && echo yes || true", store.Holders[0]) == "yes\n", "there is no tmpfs");
        try
        {
            await store.InitAsync();
            using (Process first = await MountDrill.MountAsync(store, "--create", "work", point))
            {
                Assert.Equal("full\n", await MountDrill.ShellAsync(
                    """
                    cd $1; echo precious > p; sync p
                    for i in $(seq 10); do if ! head -c 30000000 /dev/urandom > f$i 2>/dev/null; then rm f$i; echo full; break; fi; done
                    mv p q; sync q; sha256sum f* > ../sums
                    """,
                    point));
                Assert.Equal(0, await MountDrill.SignalAsync(first, "TERM"));
            }

            using (Process second = await MountDrill.MountAsync(store, "work", point))
            {
                Assert.Equal("precious\n", await MountDrill.ShellAsync("cd $1; cat q; sha256sum --quiet -c ../sums; rm f1; sync q", point));
                Assert.Equal(0, await MountDrill.SignalAsync(second, "TERM"));
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await MountDrill.ShellAsync("umount -l $1 2>/dev/null || true; umount -l $2 2>/dev/null || true", point, store.Holders[0]);
        }
    }
}
