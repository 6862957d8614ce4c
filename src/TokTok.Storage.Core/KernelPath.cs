using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace TokTok.Storage.Core;

/// <summary>Which instructions a kernel runs on. Every path gives the same bytes; only speed differs.</summary>
internal enum KernelPath
{
    Scalar = 0,
    Vector128 = 1,
    Vector256 = 2,
    Vector512 = 3,
}

/// <summary>The paths of this machine.</summary>
/// <remarks>A 512-bit path falls back, operation by operation, to pairs of AVX2 ones, so an AVX2 machine can check its bytes;
/// <see cref="Best"/> takes it only where AVX-512 is real.</remarks>
internal static class KernelPaths
{
    internal static KernelPath Best { get; } =
        Avx512BW.IsSupported ? KernelPath.Vector512 :
        Avx2.IsSupported ? KernelPath.Vector256 :
        Vector128.IsHardwareAccelerated ? KernelPath.Vector128 : KernelPath.Scalar;

    /// <summary>True if the path runs here with the right bytes, fast or not.</summary>
    internal static bool CanRun(KernelPath path) => path < KernelPath.Vector256 || Avx2.IsSupported;
}
