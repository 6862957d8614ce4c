using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using TokTok.Storage.Core.Tests.Erasure;
using TokTok.Storage.Core.Tests.Hashing;

namespace TokTok.Storage.Core.Tests;

/// <summary>The kernels' own tests again, in processes whose runtime has instruction sets switched off: what older processors and Arm take.</summary>
public sealed partial class KernelPathTests
{
    [Theory]
    [InlineData("DOTNET_EnableAVX512")]
    [InlineData("DOTNET_EnableAVX2")]
    [InlineData("DOTNET_EnableHWIntrinsic")]
    public void Kernels_give_the_same_bytes_with_instruction_sets_switched_off(string variable)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["-noColor", "-noLogo"]) { RedirectStandardOutput = true };
        string[] tests =
        [
            $"{typeof(ReedSolomonTests).FullName}.*",
            $"{typeof(Blake3Tests).FullName}.*",
            $"{typeof(Blake3TreeTests).FullName}.*",
            $"{typeof(KernelPathTests).FullName}.{nameof(The_best_path_runs_here_and_heeds_the_switches)}",
        ];
        foreach (string test in tests)
        {
            start.ArgumentList.Add("-method");
            start.ArgumentList.Add(test);
        }

        start.Environment[variable] = "0";
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Match total = TotalTests().Match(output);
        Assert.True(process.ExitCode == 0 && total.Success && int.Parse(total.Groups[1].Value, CultureInfo.InvariantCulture) > 30, output);
    }

    [Fact]
    public void The_best_path_runs_here_and_heeds_the_switches()
    {
        KernelPath most =
            IsOff("DOTNET_EnableAVX2") || IsOff("DOTNET_EnableHWIntrinsic") ? KernelPath.Vector128 :
            IsOff("DOTNET_EnableAVX512") ? KernelPath.Vector256 : KernelPath.Vector512;
        Assert.True(KernelPaths.Best <= most, $"found {KernelPaths.Best}, expected {most} at most");
        Assert.True(KernelPaths.CanRun(KernelPaths.Best));

        static bool IsOff(string variable) => Environment.GetEnvironmentVariable(variable) == "0";
    }

    [GeneratedRegex(@"Total: (\d+), Errors: 0, Failed: 0")]
    private static partial Regex TotalTests();
}
