using System.Diagnostics;
using TokTok.Storage.Mount.Fuse;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A volume mounted by the real command, killed, and mounted again.</summary>
public sealed class MountDrillTests
{
    [Fact(Timeout = 120_000)]
    public async Task What_was_synced_before_a_kill_is_there_after_the_next_mount()
    {
        string? missing = FuseMount.WhyNot();
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting without fusermount3 needs root");
        using var store = new DrillStore(1);
        await store.InitAsync();
        string point = Path.Join(store.Folder, "point");
        Directory.CreateDirectory(point);
        try
        {
            using (Process first = await MountAsync(store, "--create", "work", point))
            {
                Assert.Equal("", await ShellAsync("cd $1; mkdir d; seq 100000 > d/numbers; echo synced > d/f; sync d/numbers d/f d; echo late > lost", point));
                first.Kill();
                await first.WaitForExitAsync(DrillStore.Cancel);
            }

            using (Process second = await MountAsync(store, point))
            {
                Assert.Equal("synced\n", await ShellAsync("cd $1; seq 100000 | cmp - d/numbers; cat d/f; echo more > g", point));
                Assert.Equal(0, await SignalAsync(second, "TERM"));
            }

            using (Process third = await MountAsync(store, "work", point))
            {
                Assert.Equal("more\n", await ShellAsync("cd $1; cat g", point));
                Assert.Equal("", await ShellAsync("umount $1", point));
                await third.WaitForExitAsync(DrillStore.Cancel);
                Assert.Equal(0, third.ExitCode);
            }

            await store.AssertCleanAsync();
        }
        finally
        {
            _ = await ShellAsync("umount -l $1 2>/dev/null || true", point);
        }
    }

    private static async Task<Process> MountAsync(DrillStore store, params string[] words)
    {
        Process process = store.Start(["mount", .. words]);
        string? line = await process.StandardError.ReadLineAsync(DrillStore.Cancel);
        if (line?.Contains(" is mounted on ", StringComparison.Ordinal) != true)
        {
            process.Kill();
            Assert.Fail($"{line}\n{await process.StandardError.ReadToEndAsync(DrillStore.Cancel)}");
        }

        return process;
    }

    private static async Task<int> SignalAsync(Process process, string signal)
    {
        Assert.Equal("", await ShellAsync($"kill -{signal} {process.Id}", ""));
        await process.WaitForExitAsync(DrillStore.Cancel);
        return process.ExitCode;
    }

    private static async Task<string> ShellAsync(string script, string argument)
    {
        using Process shell = Process.Start(new ProcessStartInfo("bash", ["-euc", script, "-", argument]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> said = shell.StandardError.ReadToEndAsync(DrillStore.Cancel);
        string text = await shell.StandardOutput.ReadToEndAsync(DrillStore.Cancel);
        await shell.WaitForExitAsync(DrillStore.Cancel);
        Assert.True(shell.ExitCode == 0, text + await said);
        return text;
    }
}
