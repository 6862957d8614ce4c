using System.Runtime.InteropServices;
using System.Security.Cryptography;
using TokTok.Storage.Core.Interop;

namespace TokTok.Storage.Core.Keys;

/// <summary>The part of libsodium that Core calls. <c>sodium_init</c> runs once, before the first call.</summary>
internal static unsafe partial class Sodium
{
    private static readonly Lazy<int> s_started = new(() =>
    {
        NativeLibraries.Install();
        return sodium_init() >= 0 ? 1 : throw new CryptographicException("sodium_init failed: libsodium could not find a source of randomness.");
    });

    /// <summary>Every caller goes through here first. A missing library throws the message that names its package.</summary>
    internal static void Start() => _ = s_started.Value;

    [LibraryImport(NativeLibraries.Sodium)]
    private static partial int sodium_init();

    [LibraryImport(NativeLibraries.Sodium)]
    internal static partial int crypto_sign_seed_keypair(byte* publicKey, byte* secretKey, byte* seed);

    [LibraryImport(NativeLibraries.Sodium)]
    internal static partial int crypto_sign_detached(byte* signature, ulong* signatureBytes, byte* message, ulong messageBytes, byte* secretKey);

    [LibraryImport(NativeLibraries.Sodium)]
    internal static partial int crypto_sign_verify_detached(byte* signature, byte* message, ulong messageBytes, byte* publicKey);

    [LibraryImport(NativeLibraries.Sodium)]
    internal static partial int crypto_scalarmult(byte* shared, byte* privateKey, byte* publicKey);

    [LibraryImport(NativeLibraries.Sodium)]
    internal static partial int crypto_scalarmult_base(byte* publicKey, byte* privateKey);

    [LibraryImport(NativeLibraries.Sodium)]
    internal static partial int crypto_pwhash(
        byte* output, ulong outputBytes, byte* password, ulong passwordBytes, byte* salt, ulong operations, nuint memoryBytes, int algorithm);
}

/// <summary>Ed25519 signatures.</summary>
/// <remarks>Source: RFC 8032, by libsodium, which refuses small-order keys and non-canonical signatures.
/// Seed (the private key): 32 bytes. Public key: 32 bytes. Signature: 64 bytes, deterministic.
/// Signing derives the key pair from the seed each time (some 20 µs), so only the seed is ever kept.</remarks>
public static unsafe class Ed25519
{
    public const int SeedSize = 32, PublicKeySize = 32, SignatureSize = 64;

    private const int SecretKeySize = SeedSize + PublicKeySize;

    public static void PublicKey(ReadOnlySpan<byte> seed, Span<byte> publicKey)
    {
        Check(seed.Length, SeedSize, nameof(seed));
        Check(publicKey.Length, PublicKeySize, nameof(publicKey));
        Sodium.Start();
        Span<byte> secret = stackalloc byte[SecretKeySize];
        fixed (byte* s = seed, p = publicKey, k = secret)
        {
            _ = Sodium.crypto_sign_seed_keypair(p, k, s);
        }

        CryptographicOperations.ZeroMemory(secret);
    }

    public static void Sign(ReadOnlySpan<byte> seed, ReadOnlySpan<byte> message, Span<byte> signature)
    {
        Check(seed.Length, SeedSize, nameof(seed));
        Check(signature.Length, SignatureSize, nameof(signature));
        Sodium.Start();
        Span<byte> secret = stackalloc byte[SecretKeySize], publicKey = stackalloc byte[PublicKeySize];
        fixed (byte* s = seed, p = publicKey, k = secret, m = message, g = signature)
        {
            _ = Sodium.crypto_sign_seed_keypair(p, k, s);
            _ = Sodium.crypto_sign_detached(g, null, m, (ulong)message.Length, k);
        }

        CryptographicOperations.ZeroMemory(secret);
    }

    /// <summary>False for a signature or key of the wrong size, too: both come from strangers.</summary>
    public static bool Verify(ReadOnlySpan<byte> publicKey, ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature)
    {
        if (publicKey.Length != PublicKeySize || signature.Length != SignatureSize)
        {
            return false;
        }

        Sodium.Start();
        fixed (byte* p = publicKey, m = message, g = signature)
        {
            return Sodium.crypto_sign_verify_detached(g, m, (ulong)message.Length, p) == 0;
        }
    }

    private static void Check(int length, int expected, string name)
    {
        if (length != expected)
        {
            throw new ArgumentException($"{name} is {expected} bytes, not {length}.", name);
        }
    }
}

/// <summary>X25519 key agreement.</summary>
/// <remarks>Source: RFC 7748, by libsodium. Private and public keys and the shared secret: 32 bytes each.
/// A private key is any 32 random bytes; clamping is part of the multiplication. The shared secret is no key: derive one from it together with both public keys.</remarks>
public static unsafe class X25519
{
    public const int KeySize = 32;

    public static void PublicKey(ReadOnlySpan<byte> privateKey, Span<byte> publicKey)
    {
        Check(privateKey.Length, nameof(privateKey));
        Check(publicKey.Length, nameof(publicKey));
        Sodium.Start();
        fixed (byte* k = privateKey, p = publicKey)
        {
            _ = Sodium.crypto_scalarmult_base(p, k);
        }
    }

    /// <summary>False, and shared zeroed, when the public key is of small order, so that the secret would be all zero.</summary>
    public static bool TryAgree(ReadOnlySpan<byte> privateKey, ReadOnlySpan<byte> publicKey, Span<byte> shared)
    {
        Check(privateKey.Length, nameof(privateKey));
        Check(publicKey.Length, nameof(publicKey));
        Check(shared.Length, nameof(shared));
        Sodium.Start();
        int result;
        fixed (byte* k = privateKey, p = publicKey, s = shared)
        {
            result = Sodium.crypto_scalarmult(s, k, p);
        }

        if (result != 0)
        {
            shared.Clear();
        }

        return result == 0;
    }

    private static void Check(int length, string name)
    {
        if (length != KeySize)
        {
            throw new ArgumentException($"{name} is {KeySize} bytes, not {length}.", name);
        }
    }
}

/// <summary>What one Argon2id hash costs: passes over the memory, and KiB of it. Stored beside what it protects.</summary>
public readonly record struct Argon2Cost(uint Operations, uint MemoryKiB)
{
    /// <summary>libsodium's MODERATE: 3 passes over 256 MiB, most of a second.</summary>
    public static Argon2Cost Moderate => new(3, 256 * 1024);

    /// <summary>The least that libsodium computes. For tests.</summary>
    public static Argon2Cost Least => new(1, 8);

    /// <summary>Bounds what a stranger's header can ask of this machine: 16 passes over 1 GiB.</summary>
    public bool IsAllowed => Operations is >= 1 and <= Argon2id.MaximumOperations && MemoryKiB is >= 8 and <= Argon2id.MaximumMemoryKiB;
}

/// <summary>Argon2id, the passphrase hash.</summary>
/// <remarks>Source: RFC 9106, version 0x13, by libsodium's <c>crypto_pwhash</c>: one lane, 16-byte salt, output of 16 bytes or more.</remarks>
public static unsafe class Argon2id
{
    public const int SaltSize = 16;
    public const uint MaximumOperations = 16, MaximumMemoryKiB = 1024 * 1024;

    private const int SmallestOutput = 16;
    private const int AlgorithmArgon2id13 = 2;

    public static void Hash(ReadOnlySpan<byte> passphrase, ReadOnlySpan<byte> salt, Argon2Cost cost, Span<byte> output)
    {
        if (salt.Length != SaltSize || output.Length < SmallestOutput)
        {
            throw new ArgumentException($"Argon2id takes a salt of {SaltSize} bytes, not {salt.Length}, and gives {SmallestOutput} bytes or more, not {output.Length}.", nameof(salt));
        }

        if (!cost.IsAllowed)
        {
            throw new ArgumentOutOfRangeException(nameof(cost), cost, $"Argon2id is asked for 1 to {MaximumOperations} passes over 8 to {MaximumMemoryKiB} KiB.");
        }

        Sodium.Start();
        byte none = 0;
        int result;
        fixed (byte* o = output, p = passphrase, s = salt)
        {
            result = Sodium.crypto_pwhash(
                o, (ulong)output.Length, p is null ? &none : p, (ulong)passphrase.Length, s, cost.Operations, (nuint)cost.MemoryKiB * 1024, AlgorithmArgon2id13);
        }

        if (result != 0)
        {
            throw new InsufficientMemoryException($"Argon2id could not get the {cost.MemoryKiB} KiB it works in.");
        }
    }
}
