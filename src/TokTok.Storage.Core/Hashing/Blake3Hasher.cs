using System.Runtime.InteropServices;

namespace TokTok.Storage.Core.Hashing;

/// <summary>BLAKE3 of bytes that come in pieces. The pieces' borders do not matter; large pieces are hashed fastest.</summary>
/// <remarks>Format: docs/format.md 2.1. Not thread-safe. A keyed or deriving hasher holds its key until disposed.</remarks>
public sealed class Blake3Hasher : IDisposable
{
    private Blake3State _state;
    private bool _disposed;

    private Blake3Hasher(KernelPath path, ReadOnlySpan<uint> key, uint flags) => _state.Start(path, key, flags);

    public static Blake3Hasher Create() => Create(KernelPaths.Best);

    /// <param name="key"><see cref="Blake3.KeySize"/> bytes.</param>
    public static Blake3Hasher CreateKeyed(ReadOnlySpan<byte> key)
    {
        Blake3.CheckKey(key);
        return new Blake3Hasher(KernelPaths.Best, MemoryMarshal.Cast<byte, uint>(key), Blake3Kernel.Keyed);
    }

    public static Blake3Hasher CreateDeriveKey(string context)
    {
        Span<uint> contextKey = stackalloc uint[Blake3Kernel.WordCount];
        Blake3.DeriveContextKey(KernelPaths.Best, context, MemoryMarshal.AsBytes(contextKey));
        return new Blake3Hasher(KernelPaths.Best, contextKey, Blake3Kernel.DeriveMaterial);
    }

    internal static Blake3Hasher Create(KernelPath path) => new(path, Blake3Kernel.Iv, flags: 0);

    public void Update(ReadOnlySpan<byte> input)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _state.Update(input);
    }

    /// <summary>The hash of all bytes so far, of any length. More may follow: the hasher goes on from where it was.</summary>
    public void Finish(Span<byte> output)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _state.FinishRoot(output);
    }

    /// <summary>Forgets the bytes, keeps the key.</summary>
    public void Reset()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _state.Restart();
    }

    public void Dispose()
    {
        _disposed = true;
        _state.Clear();
    }
}
