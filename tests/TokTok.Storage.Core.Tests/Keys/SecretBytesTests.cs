using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

public sealed class SecretBytesTests
{
    [Fact]
    public void A_secret_is_zeroed_when_disposed_and_gives_nothing_back()
    {
        SecretBytes secret = SecretBytes.Random(new CountingRandom(), 32);
        Span<byte> bytes = secret.Writable;
        Assert.Equal(31, bytes[31]);
        secret.Dispose();
        Assert.False(bytes.ContainsAnyExcept((byte)0));
        Assert.Throws<ObjectDisposedException>(() => _ = secret.Span.Length);
        secret.Dispose();
    }

    [Fact]
    public void A_secret_prints_its_length_only()
    {
        using SecretBytes secret = SecretBytes.CopyOf("hunter2"u8);
        Assert.Equal("SecretBytes(7)", secret.ToString());
        Assert.Equal("SecretBytes(7)", $"{secret}");
    }

    [Fact]
    public void Contents_are_compared_by_value()
    {
        using SecretBytes secret = SecretBytes.CopyOf([1, 2, 3]);
        Assert.True(secret.ContentEquals([1, 2, 3]));
        Assert.False(secret.ContentEquals([1, 2, 4]));
        Assert.False(secret.ContentEquals([1, 2]));
    }
}
