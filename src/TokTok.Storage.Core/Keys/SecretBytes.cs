using System.Globalization;
using System.Security.Cryptography;

namespace TokTok.Storage.Core.Keys;

/// <summary>A secret of fixed length that is zeroed when its owner is done with it.</summary>
/// <remarks>Ownership: whoever holds the object disposes it; a span taken from it must not outlive it.
/// The bytes are pinned, so the collector leaves no copies behind; the finalizer zeroes what nobody disposed. They may reach swap.
/// Never printed: <see cref="ToString"/> tells the length only. Equality is by identity; compare contents with <see cref="ContentEquals"/>.</remarks>
public sealed class SecretBytes : IDisposable
{
    private readonly byte[] _bytes;
    private bool _disposed;

    /// <summary>Zeros, to be filled through <see cref="Writable"/>.</summary>
    public SecretBytes(int length) => _bytes = GC.AllocateArray<byte>(length, pinned: true);

    ~SecretBytes() => CryptographicOperations.ZeroMemory(_bytes);

    public int Length => _bytes.Length;

    public ReadOnlySpan<byte> Span => Writable;

    /// <summary>For the one who fills it.</summary>
    public Span<byte> Writable
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _bytes;
        }
    }

    public static SecretBytes Random(IRandomSource random, int length)
    {
        ArgumentNullException.ThrowIfNull(random);
        var secret = new SecretBytes(length);
        random.Fill(secret.Writable);
        return secret;
    }

    /// <summary>The caller still owns, and zeroes, the source.</summary>
    public static SecretBytes CopyOf(ReadOnlySpan<byte> source)
    {
        var secret = new SecretBytes(source.Length);
        source.CopyTo(secret.Writable);
        return secret;
    }

    public bool ContentEquals(ReadOnlySpan<byte> other) => CryptographicOperations.FixedTimeEquals(Span, other);

    public void Dispose()
    {
        _disposed = true;
        CryptographicOperations.ZeroMemory(_bytes);
        GC.SuppressFinalize(this);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"SecretBytes({Length})");
}
