using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core.Tests;

public sealed class KernelPathTests
{
    /// <summary>Else the tests of the wider paths would be skipped where they could run.</summary>
    [Fact]
    public void Wide_paths_run_wherever_AVX2_is_and_narrow_ones_everywhere()
    {
        Assert.True(KernelPaths.CanRun(KernelPath.Scalar));
        Assert.True(KernelPaths.CanRun(KernelPath.Vector128));
        Assert.Equal(Avx2.IsSupported, KernelPaths.CanRun(KernelPath.Vector256));
        Assert.Equal(Avx2.IsSupported, KernelPaths.CanRun(KernelPath.Vector512));
    }

    [Fact]
    public void The_best_path_is_the_widest_that_the_processor_really_has()
    {
        KernelPath expected = KernelPath.Scalar;
        expected = Vector128.IsHardwareAccelerated ? KernelPath.Vector128 : expected;
        expected = Avx2.IsSupported ? KernelPath.Vector256 : expected;
        expected = Avx512BW.IsSupported ? KernelPath.Vector512 : expected;
        Assert.Equal(expected, KernelPaths.Best);
        Assert.True(KernelPaths.CanRun(KernelPaths.Best));
    }
}
