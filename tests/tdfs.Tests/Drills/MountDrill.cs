using System.Diagnostics;
using TokTok.Storage.Mount.Fuse;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>The real command with a volume mounted, and a shell in it.</summary>
internal static class MountDrill
{
    internal static void SkipWithoutFuse()
    {
        string? missing = FuseMount.WhyNot();
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting without fusermount3 needs root");
    }

    internal static Task<Process> MountAsync(DrillStore store, params string[] words) => StartAsync(store, ["mount", .. words]);

    internal static Task<Process> UpAsync(DrillStore store) => StartAsync(store, ["up"]);

    private static async Task<Process> StartAsync(DrillStore store, string[] words)
    {
        Process process = store.Start(words);
        string? line = await process.StandardError.ReadLineAsync(DrillStore.Cancel);
        if (line?.Contains(" is mounted on ", StringComparison.Ordinal) != true)
        {
            process.Kill();
            Assert.Fail($"{line}\n{await process.StandardError.ReadToEndAsync(DrillStore.Cancel)}");
        }

        return process;
    }

    internal static async Task<int> SignalAsync(Process process, string signal)
    {
        Assert.Equal("", await ShellAsync($"kill -{signal} {process.Id}"));
        await process.WaitForExitAsync(DrillStore.Cancel);
        return process.ExitCode;
    }

    internal static async Task<string> ShellAsync(string script, params string[] arguments)
    {
        using Process shell = Process.Start(new ProcessStartInfo("bash", ["-euo", "pipefail", "-c", script, "-", .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> said = shell.StandardError.ReadToEndAsync(DrillStore.Cancel);
        string text = await shell.StandardOutput.ReadToEndAsync(DrillStore.Cancel);
        await shell.WaitForExitAsync(DrillStore.Cancel);
        Assert.True(shell.ExitCode == 0, text + await said);
        return text;
    }
}
