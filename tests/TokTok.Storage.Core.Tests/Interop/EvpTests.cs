using System.Security.Cryptography;
using TokTok.Storage.Core.Interop;

namespace TokTok.Storage.Core.Tests.Interop;

public sealed class EvpTests
{
    /// <summary>Else every message would go the slower way, and every test of the faster one be skipped, without a word.</summary>
    [Fact]
    public void Libcrypto_is_used_wherever_NET_itself_runs_on_version_3_of_it()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Skip("Elsewhere .NET has other libraries.");
            return;
        }

        Assert.SkipWhen(SafeEvpPKeyHandle.OpenSslVersion < 0x3000_0000L, "OpenSSL is older than 3.");
        Assert.NotEqual(0, NativeLibraries.Resolve(NativeLibraries.Crypto));
        Assert.True(Evp.IsAvailable);
    }

    [Fact]
    public void A_cipher_that_libcrypto_does_not_know_is_refused_by_name()
    {
        Assert.SkipUnless(Evp.IsAvailable, "libcrypto 3 is not here; the .NET classes serve.");
        CryptographicException error = Assert.Throws<CryptographicException>(() => new Evp("AES-257-GCM"));
        Assert.Equal("libcrypto refused AES-257-GCM: a call returned 0 where 1 was expected.", error.Message);
    }

    [Fact]
    public void A_library_that_nobody_names_is_not_looked_for() => Assert.Equal(0, NativeLibraries.Resolve("libc"));
}
