using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace TokTok.Storage.Core.Hashing;

/// <summary>BLAKE3 of bytes in one span: hash, keyed hash, key derivation. The output's length is the caller's; 32 bytes is a hash.</summary>
/// <remarks>Format: docs/format.md 2.1. Source: BLAKE3 (2020). Nothing allocates; keyed and deriving calls leave no key behind on the stack.</remarks>
public static class Blake3
{
    /// <summary>Bytes of a hash: 256 bits.</summary>
    public const int HashSize = 32;

    /// <summary>Bytes of a key.</summary>
    public const int KeySize = 32;

    /// <summary>Bytes of a leaf of the tree.</summary>
    public const int ChunkSize = 1024;

    /// <summary>Bytes of a chunk group, the finest piece that a proof speaks of.</summary>
    public const int GroupSize = 16 * ChunkSize;

    private const int ContextStackBytes = 512;

    public static void Hash(ReadOnlySpan<byte> input, Span<byte> output) => Hash(KernelPaths.Best, input, output);

    /// <param name="key"><see cref="KeySize"/> bytes.</param>
    public static void KeyedHash(ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> output) =>
        KeyedHash(KernelPaths.Best, key, input, output);

    /// <summary>A key from key material. The context is a constant of the program, one for each use, and never holds input.</summary>
    public static void DeriveKey(string context, ReadOnlySpan<byte> material, Span<byte> output) =>
        DeriveKey(KernelPaths.Best, context, material, output);

    [SkipLocalsInit]
    internal static void Hash(KernelPath path, ReadOnlySpan<byte> input, Span<byte> output)
    {
        Unsafe.SkipInit(out Blake3State state);
        state.Start(path, Blake3Kernel.Iv, flags: 0);
        state.Update(input);
        state.FinishRoot(output);
    }

    [SkipLocalsInit]
    internal static void KeyedHash(KernelPath path, ReadOnlySpan<byte> key, ReadOnlySpan<byte> input, Span<byte> output)
    {
        CheckKey(key);
        Unsafe.SkipInit(out Blake3State state);
        state.Start(path, MemoryMarshal.Cast<byte, uint>(key), Blake3Kernel.Keyed);
        state.Update(input);
        state.FinishRoot(output);
        state.Clear();
    }

    /// <summary>As <see cref="DeriveKey(string, ReadOnlySpan{byte}, Span{byte})"/> for a context whose key the caller keeps: that is no secret, and takes as long as the rest.</summary>
    internal static void DeriveKey(ReadOnlySpan<byte> contextKey, ReadOnlySpan<byte> material, Span<byte> output) =>
        DeriveKey(KernelPaths.Best, MemoryMarshal.Cast<byte, uint>(contextKey), material, output);

    [SkipLocalsInit]
    internal static void DeriveKey(KernelPath path, string context, ReadOnlySpan<byte> material, Span<byte> output)
    {
        Span<uint> contextKey = stackalloc uint[Blake3Kernel.WordCount];
        DeriveContextKey(path, context, MemoryMarshal.AsBytes(contextKey));
        DeriveKey(path, contextKey, material, output);
    }

    [SkipLocalsInit]
    private static void DeriveKey(KernelPath path, ReadOnlySpan<uint> contextKey, ReadOnlySpan<byte> material, Span<byte> output)
    {
        Unsafe.SkipInit(out Blake3State state);
        state.Start(path, contextKey, Blake3Kernel.DeriveMaterial);
        state.Update(material);
        state.FinishRoot(output);
        state.Clear();
    }

    [SkipLocalsInit]
    internal static void DeriveContextKey(KernelPath path, string context, Span<byte> output)
    {
        ArgumentNullException.ThrowIfNull(context);
        int contextBytes = Encoding.UTF8.GetByteCount(context);
        Span<byte> utf8 = contextBytes <= ContextStackBytes ? stackalloc byte[ContextStackBytes] : new byte[contextBytes];
        utf8 = utf8[..Encoding.UTF8.GetBytes(context, utf8)];
        Unsafe.SkipInit(out Blake3State state);
        state.Start(path, Blake3Kernel.Iv, Blake3Kernel.DeriveContext);
        state.Update(utf8);
        state.FinishRoot(output);
    }

    internal static void CheckKey(ReadOnlySpan<byte> key)
    {
        if (key.Length != KeySize)
        {
            throw new ArgumentException($"A BLAKE3 key has {KeySize} bytes; this one has {key.Length}.", nameof(key));
        }
    }
}
