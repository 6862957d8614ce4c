using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Core.Keys;

/// <summary>The 16 bytes that name an account's anchor at holders. They tell nothing about its keys.</summary>
public readonly record struct AccountTag(Bytes16 Bytes)
{
    public const int Size = Bytes16.Size;

    public static AccountTag Read(ReadOnlySpan<byte> source) => new(Bytes16.Read(source));

    public void Write(Span<byte> target) => Bytes.Write(target);

    public override string ToString() => Bytes.ToString();
}

/// <summary>What the 24 words give: an account's signing key, recovery key, anchor key and tag.</summary>
/// <remarks>Format: docs/format.md 3.1. Each is BLAKE3 derive_key of the 32 bytes of entropy under a context of its own.
/// A device meets this object at set-up and recovery only; it keeps the public keys, the anchor key and the tag, and disposes the rest.</remarks>
public sealed class AccountKeys : IDisposable
{
    private const string SigningContext = "tdfs 2026-11 account signing key v1";
    private const string RecoveryContext = "tdfs 2026-11 account recovery key v1";
    private const string AnchorContext = "tdfs 2026-11 account anchor key v1";
    private const string TagContext = "tdfs 2026-11 account tag v1";

    private readonly SecretBytes _signingSeed = new(Ed25519.SeedSize);
    private readonly byte[] _publicKey = new byte[Ed25519.PublicKeySize];
    private readonly byte[] _recoveryPublicKey = new byte[X25519.KeySize];

    private AccountKeys(ReadOnlySpan<byte> entropy)
    {
        Blake3.DeriveKey(SigningContext, entropy, _signingSeed.Writable);
        Blake3.DeriveKey(RecoveryContext, entropy, RecoveryPrivateKey.Writable);
        Blake3.DeriveKey(AnchorContext, entropy, AnchorKey.Writable);
        Span<byte> tag = stackalloc byte[AccountTag.Size];
        Blake3.DeriveKey(TagContext, entropy, tag);
        Tag = AccountTag.Read(tag);
        Ed25519.PublicKey(_signingSeed.Span, _publicKey);
        X25519.PublicKey(RecoveryPrivateKey.Span, _recoveryPublicKey);
    }

    /// <summary>The Ed25519 key by which the account is known.</summary>
    public ReadOnlySpan<byte> PublicKey => _publicKey;

    /// <summary>The X25519 key that every epoch of the realm is wrapped to.</summary>
    public ReadOnlySpan<byte> RecoveryPublicKey => _recoveryPublicKey;

    public SecretBytes RecoveryPrivateKey { get; } = new(X25519.KeySize);

    public SecretBytes AnchorKey { get; } = new(KeyDomain.SecretSize);

    public AccountTag Tag { get; }

    public static AccountKeys FromEntropy(ReadOnlySpan<byte> entropy) => entropy.Length == Words.EntropySize
        ? new AccountKeys(entropy)
        : throw new ArgumentException($"An account is made of {Words.EntropySize} bytes, not {entropy.Length}.", nameof(entropy));

    /// <summary>False with the one line that <see cref="Words.TryParse"/> gives.</summary>
    public static bool TryFromWords(ReadOnlySpan<char> words, [NotNullWhen(true)] out AccountKeys? keys, [NotNullWhen(false)] out string? error)
    {
        Span<byte> entropy = stackalloc byte[Words.EntropySize];
        keys = Words.TryParse(words, entropy, out error) ? new AccountKeys(entropy) : null;
        CryptographicOperations.ZeroMemory(entropy);
        return keys is not null;
    }

    public void Sign(ReadOnlySpan<byte> message, Span<byte> signature) => Ed25519.Sign(_signingSeed.Span, message, signature);

    public void Dispose()
    {
        _signingSeed.Dispose();
        RecoveryPrivateKey.Dispose();
        AnchorKey.Dispose();
    }
}
