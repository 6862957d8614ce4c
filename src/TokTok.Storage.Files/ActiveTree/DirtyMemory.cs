using System.Buffers;

namespace TokTok.Storage.Files;

/// <summary>The memory of everything that was written and not committed, over all files: counted, so that it can be bounded.</summary>
/// <remarks>
/// It keeps small arrays that it gets back, up to <see cref="MaxSpareBytes"/>, and no more than the bound with what is in use: these arrays live from a write to the commit after it, too long for the shared pool, which keeps few, and for the collector, which
/// would find them in its oldest generation and leave them there. Safe from many threads.
/// </remarks>
/// <param name="maxBytes">The bound that whoever writes is held to.</param>
internal sealed class DirtyMemory(long maxBytes = 80L << 20)
{
    private const long MaxSpareBytes = 64L << 20;
    private const int MinBytes = 4096;
    private const int SizeCount = 2; // 4 and 8 KiB: of larger ones there are few, and the shared pool keeps those

    private readonly Stack<byte[]>[] _spare = [.. Enumerable.Range(0, SizeCount).Select(static _ => new Stack<byte[]>())];
    private long _spareBytes; // guarded, with the stacks, by their array

    /// <summary>What keeping a buffer costs beside its bytes: many tiny writes are counted too.</summary>
    private const int OverheadBytes = 128;

    private long _bytes;

    internal long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Of arrays that are kept.</summary>
    internal long SpareBytes
    {
        get
        {
            lock (_spare)
            {
                return _spareBytes;
            }
        }
    }

    internal DirtyBuffer Rent(int atLeast)
    {
        byte[]? bytes = null;
        if (SizeOf(atLeast) is int size)
        {
            lock (_spare)
            {
                if (_spare[size].TryPop(out bytes))
                {
                    _spareBytes -= bytes.Length;
                }
            }

            bytes ??= GC.AllocateUninitializedArray<byte>(MinBytes << size);
        }

        bytes ??= ArrayPool<byte>.Shared.Rent(atLeast);
        Add(bytes.Length + OverheadBytes);
        if (Bytes + Interlocked.Read(ref _spareBytes) > maxBytes)
        {
            ShrinkSpare();
        }

        return new DirtyBuffer(this, bytes);
    }

    private void Add(long bytes) => Interlocked.Add(ref _bytes, bytes);

    internal void Return(byte[] bytes)
    {
        Add(-bytes.Length - OverheadBytes);
        if (SizeOf(bytes.Length) is not int size)
        {
            ArrayPool<byte>.Shared.Return(bytes);
            return;
        }

        lock (_spare)
        {
            if (_spareBytes + bytes.Length <= Math.Min(MaxSpareBytes, maxBytes - Bytes))
            {
                _spareBytes += bytes.Length;
                _spare[size].Push(bytes);
            }
        }
    }

    /// <summary>What is in use takes the place of what is kept.</summary>
    private void ShrinkSpare()
    {
        lock (_spare)
        {
            foreach (Stack<byte[]> stack in _spare)
            {
                while (Bytes + _spareBytes > maxBytes && stack.TryPop(out byte[]? least))
                {
                    _spareBytes -= least.Length;
                }
            }
        }
    }

    /// <summary>Lets go of what is kept: nobody has written for a while.</summary>
    /// <returns>How many bytes that was.</returns>
    internal long Trim()
    {
        lock (_spare)
        {
            long bytes = _spareBytes;
            foreach (Stack<byte[]> stack in _spare)
            {
                stack.Clear();
                stack.TrimExcess();
            }

            _spareBytes = 0;
            return bytes;
        }
    }

    /// <summary>Which of the kept sizes holds so many bytes; null: they are few, or more than any.</summary>
    private static int? SizeOf(int bytes)
    {
        int size = System.Numerics.BitOperations.Log2((uint)Math.Max(1, bytes - 1)) + 1 - 12;
        return bytes <= MinBytes / 2 || size >= SizeCount ? null : Math.Max(0, size);
    }
}

/// <summary>Bytes that were written, shared by the pieces that show them.</summary>
/// <remarks>
/// Locks: the file's own gate guards every member but the count of references. Once frozen the bytes never change again: a commit, or whoever makes blocks of them, reads them without the gate,
/// and pieces of other files may show them (<see cref="ActiveTree.CopyRange(ulong, long, ulong, long, long, out long)"/>).
/// </remarks>
internal sealed class DirtyBuffer(DirtyMemory memory, byte[] bytes)
{
    private int _references = 1;

    internal byte[] Bytes { get; } = bytes;

    /// <summary>Bytes in use, from the first on.</summary>
    internal int Used { get; set; }

    internal bool IsFrozen { get; set; }

    internal void Hold() => Interlocked.Increment(ref _references);

    internal void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            memory.Return(Bytes);
        }
    }
}
