using System.Security.Cryptography;
using TokTok.Storage.Core.Interop;

namespace TokTok.Storage.Core.Encryption;

/// <summary>An AEAD with 12-byte nonces and 16-byte tags, keyed for one message of one or more packages.</summary>
/// <remarks>Use: <see cref="Start"/>, packages, <see cref="End"/> in a finally. After <see cref="End"/> no key is held.
/// Two implementations of each suite give the same bytes: libcrypto's, re-keyed per message, and .NET's, made anew per message.</remarks>
internal abstract class PackageCipher
{
    [ThreadStatic]
    private static PackageCipher?[]? s_perThread;

    /// <summary>The calling thread's cipher for <paramref name="suite"/>; never hand it to another thread.</summary>
    internal static PackageCipher ForThread(DareSuite suite)
    {
        PackageCipher?[] ciphers = s_perThread ??= new PackageCipher?[2];
        return ciphers[(int)suite] ??= Create(suite, native: Evp.IsAvailable);
    }

    internal static PackageCipher Create(DareSuite suite, bool native) => (suite, native) switch
    {
        (DareSuite.Aes256Gcm, true) => new NativePackageCipher("AES-256-GCM"),
        (DareSuite.Aes256Gcm, false) => new NetAesGcmCipher(),
        (DareSuite.ChaCha20Poly1305, true) when ChaCha20Poly1305.IsSupported => new NativePackageCipher("ChaCha20-Poly1305"),
        _ => new NetChaChaCipher(),
    };

    internal abstract void Start(ReadOnlySpan<byte> key, bool encrypt);

    internal abstract void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> plain, Span<byte> cipher, Span<byte> tag);

    /// <summary>False when the tag does not match; then <paramref name="plain"/> holds nothing the caller may use.</summary>
    internal abstract bool TryDecrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> cipher, ReadOnlySpan<byte> tag, Span<byte> plain);

    internal abstract void End();
}

internal sealed class NativePackageCipher(string name) : PackageCipher
{
    private readonly Evp _evp = new(name);

    internal override void Start(ReadOnlySpan<byte> key, bool encrypt) => _evp.Key(key, encrypt);

    internal override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> plain, Span<byte> cipher, Span<byte> tag) =>
        _evp.Encrypt(nonce, associated, plain, cipher, tag);

    internal override bool TryDecrypt(
        ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> cipher, ReadOnlySpan<byte> tag, Span<byte> plain) =>
        _evp.TryDecrypt(nonce, associated, cipher, tag, plain);

    internal override void End() => _evp.Forget();
}

#pragma warning disable CA1001 // Lives in a thread-static slot; End disposes what Start made.
internal sealed class NetAesGcmCipher : PackageCipher
{
    private AesGcm? _aes;

    internal override void Start(ReadOnlySpan<byte> key, bool encrypt) => _aes = new AesGcm(key, Dare.TagSize);

    internal override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> plain, Span<byte> cipher, Span<byte> tag) =>
        _aes!.Encrypt(nonce, plain, cipher, tag, associated);

    internal override bool TryDecrypt(
        ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> cipher, ReadOnlySpan<byte> tag, Span<byte> plain)
    {
        try
        {
            _aes!.Decrypt(nonce, cipher, tag, plain, associated);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }

    internal override void End()
    {
        _aes?.Dispose();
        _aes = null;
    }
}

internal sealed class NetChaChaCipher : PackageCipher
{
    private ChaCha20Poly1305? _chacha;

    internal override void Start(ReadOnlySpan<byte> key, bool encrypt) => _chacha = new ChaCha20Poly1305(key);

    internal override void Encrypt(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> plain, Span<byte> cipher, Span<byte> tag) =>
        _chacha!.Encrypt(nonce, plain, cipher, tag, associated);

    internal override bool TryDecrypt(
        ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> associated, ReadOnlySpan<byte> cipher, ReadOnlySpan<byte> tag, Span<byte> plain)
    {
        try
        {
            _chacha!.Decrypt(nonce, cipher, tag, plain, associated);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }

    internal override void End()
    {
        _chacha?.Dispose();
        _chacha = null;
    }
}
#pragma warning restore CA1001
