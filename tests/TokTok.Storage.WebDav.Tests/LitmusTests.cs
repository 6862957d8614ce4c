using System.Diagnostics;

namespace TokTok.Storage.WebDav.Tests;

/// <summary>The litmus test suite of the neon project, which we did not write.</summary>
public sealed class LitmusTests
{
    [Fact]
    public async Task Litmus_passes_every_test_without_a_warning()
    {
        string? program = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(static folder => Path.Join(folder, "litmus")).FirstOrDefault(File.Exists);
        Assert.SkipWhen(program is null, "litmus is not installed; tools/setup --tests installs it");
        await using ServedVolume served = await ServedVolume.StartAsync();
        string folder = Directory.CreateTempSubdirectory("tdfs-litmus-").FullName;
        try
        {
            using Process litmus = Process.Start(new ProcessStartInfo(program!, ["-k", served.Url.ToString(), "anybody", ServedVolume.Token])
            {
                RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = folder,
            })!;
            Task<string> said = litmus.StandardError.ReadToEndAsync(ServedVolume.Cancel);
            string text = await litmus.StandardOutput.ReadToEndAsync(ServedVolume.Cancel) + await said;
            await litmus.WaitForExitAsync(ServedVolume.Cancel);
            Assert.True(litmus.ExitCode == 0, text);
            Assert.DoesNotContain("WARNING", text, StringComparison.OrdinalIgnoreCase);
            Assert.DoesNotContain("FAIL", text);
            string[] suites = ["basic", "copymove", "props", "locks", "http"];
            Assert.All(suites, suite => Assert.Contains($"summary for `{suite}'", text));
            Assert.Empty(served.Troubles);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
