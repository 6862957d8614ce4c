using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace TokTok.Storage.Tdfs.Passphrases;

/// <summary>Secret bytes at one place in memory, zeroed when disposed.</summary>
/// <remarks>The array is pinned, so the collector leaves no copies behind, and locked into memory where the system allows it, so it does not reach swap.
/// The owner disposes it. ToString says nothing.</remarks>
internal sealed partial class SecretBuffer : IDisposable
{
    private readonly byte[] _bytes;

    internal SecretBuffer(int capacity)
    {
        _bytes = GC.AllocateArray<byte>(capacity, pinned: true);
        if (OperatingSystem.IsLinux() && capacity > 0)
        {
            // Refused beyond the user's limit of locked memory: the secret is then held as any other memory is.
            _ = MemoryLock(Marshal.UnsafeAddrOfPinnedArrayElement(_bytes, 0), (nuint)capacity);
        }
    }

    /// <summary>The whole room, to be filled.</summary>
    internal Span<byte> Room => _bytes;

    /// <summary>The array behind, for calls that wait.</summary>
    internal byte[] Memory => _bytes;

    internal int Length { get; set; }

    internal ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, Length);

    public static SecretBuffer Copy(ReadOnlySpan<byte> secret)
    {
        SecretBuffer copy = new(secret.Length) { Length = secret.Length };
        secret.CopyTo(copy._bytes);
        return copy;
    }

    public void Dispose()
    {
        CryptographicOperations.ZeroMemory(_bytes);
        Length = 0;
    }

    public override string ToString() => "(secret)";

    [LibraryImport("libc", EntryPoint = "mlock")]
    private static partial int MemoryLock(nint address, nuint bytes);
}
