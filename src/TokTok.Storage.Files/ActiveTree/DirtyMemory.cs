using System.Buffers;

namespace TokTok.Storage.Files;

/// <summary>The memory of everything that was written and not committed, over all files: counted, so that it can be bounded.</summary>
internal sealed class DirtyMemory
{
    /// <summary>What keeping a buffer costs beside its bytes: many tiny writes are counted too.</summary>
    private const int OverheadBytes = 128;

    private long _bytes;

    internal long Bytes => Interlocked.Read(ref _bytes);

    internal DirtyBuffer Rent(int atLeast)
    {
        byte[] bytes = ArrayPool<byte>.Shared.Rent(atLeast);
        Add(bytes.Length + OverheadBytes);
        return new DirtyBuffer(this, bytes);
    }

    private void Add(long bytes) => Interlocked.Add(ref _bytes, bytes);

    internal void Return(byte[] bytes)
    {
        Add(-bytes.Length - OverheadBytes);
        ArrayPool<byte>.Shared.Return(bytes);
    }
}

/// <summary>Bytes that were written, shared by the pieces of a file that show them.</summary>
/// <remarks>Locks: the file's own gate guards every member. Once frozen the bytes never change again: a commit, or whoever makes blocks of them, reads them without the gate.</remarks>
internal sealed class DirtyBuffer(DirtyMemory memory, byte[] bytes)
{
    private int _references = 1;

    internal byte[] Bytes { get; } = bytes;

    /// <summary>Bytes in use, from the first on.</summary>
    internal int Used { get; set; }

    internal bool IsFrozen { get; set; }

    internal void Hold() => _references++;

    internal void Release()
    {
        if (--_references == 0)
        {
            memory.Return(Bytes);
        }
    }
}
