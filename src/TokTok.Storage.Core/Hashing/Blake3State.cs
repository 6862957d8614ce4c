using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace TokTok.Storage.Core.Hashing;

/// <summary>A hash in progress: the open chunk and the stack of finished subtrees. Lives on the stack or inside <see cref="Blake3Hasher"/>.</summary>
/// <remarks>Format: docs/format.md 2.1. Source: BLAKE3 (2020), 5.1.2.
/// Invariant: the chaining values on the stack are of subtrees of falling size, one for each one bit of the chunk count, plus at most one
/// not merged yet. Merging waits until more input is known to follow, because the last merge is the root and carries its flag.
/// Nothing here allocates. A keyed state holds its key until <see cref="Clear"/>.</remarks>
internal unsafe struct Blake3State
{
    /// <summary>2^64 bytes are 2^54 chunks; one more for the value not merged yet.</summary>
    private const int StackDepth = 55;

    /// <summary>Chunks that are hashed and folded together at once: enough to keep every lane busy two levels up, small enough for the stack.</summary>
    internal const int BatchChunks = 128;

    private fixed uint _key[Blake3Kernel.WordCount];
    private fixed uint _cv[Blake3Kernel.WordCount];
    private fixed byte _block[Blake3Kernel.BlockSize];
    private fixed byte _stack[StackDepth * Blake3Kernel.CvSize];
    private KernelPath _path;
    private uint _flags;
    private uint _blockBytes;
    private int _blockIndex;
    private int _stackCount;
    private ulong _firstChunk;
    private ulong _chunks;

    /// <param name="firstChunk">Where the input begins in the whole, in chunks: not 0 for a subtree.</param>
    internal void Start(KernelPath path, ReadOnlySpan<uint> key, uint flags, ulong firstChunk = 0)
    {
        for (int i = 0; i < Blake3Kernel.WordCount; i++)
        {
            _key[i] = key[i];
        }

        (_path, _flags, _firstChunk) = (path, flags, firstChunk);
        Restart();
    }

    internal void Restart()
    {
        (_chunks, _stackCount) = (0, 0);
        StartChunk();
    }

    internal void Clear() => 
        CryptographicOperations.ZeroMemory(MemoryMarshal.CreateSpan(ref Unsafe.As<Blake3State, byte>(ref this), sizeof(Blake3State)));

    internal void Update(ReadOnlySpan<byte> input)
    {
        fixed (byte* start = input)
        {
            Update(start, (nuint)input.Length);
        }
    }

    /// <summary>Takes the chaining values of equal, complete subtrees in place of the bytes below them.</summary>
    internal void PushSubtrees(ReadOnlySpan<byte> cvs)
    {
        Debug.Assert(_blockIndex == 0 && _blockBytes == 0, "subtrees and bytes do not mix");
        byte* work = stackalloc byte[BatchChunks * Blake3Kernel.CvSize];
        fixed (byte* start = cvs)
        fixed (uint* key = _key)
        {
            unchecked
            {
                byte* from = start;
                ulong left = (uint)cvs.Length / Blake3Kernel.CvSize;
                while (left > 0)
                {
                    int count = BatchSize(left);
                    Unsafe.CopyBlockUnaligned(work, from, (uint)(count * Blake3Kernel.CvSize));
                    PushFolded(work, count, (uint)count);
                    from += count * Blake3Kernel.CvSize;
                    left -= (uint)count;
                }
            }
        }
    }

    /// <summary>The root: <paramref name="output"/> of any length. The state stays as it was.</summary>
    internal void FinishRoot(Span<byte> output)
    {
        uint* cv = stackalloc uint[Blake3Kernel.WordCount];
        byte* block = stackalloc byte[Blake3Kernel.BlockSize];
        uint* words = stackalloc uint[16];
        FinishNode(cv, block, out uint blockBytes, out ulong counter, out uint flags);
        Debug.Assert(counter == 0 || (flags & Blake3Kernel.Parent) != 0, "a root is the first chunk or a parent");
        for (ulong outputBlock = 0; output.Length > 0; outputBlock++)
        {
            Blake3Kernel.Compress(_path, cv, block, blockBytes, outputBlock, flags | Blake3Kernel.Root, words);
            int take = Math.Min(output.Length, Blake3Kernel.BlockSize);
            new ReadOnlySpan<byte>(words, take).CopyTo(output);
            output = output[take..];
        }
    }

    /// <summary>The chaining value of this input as a subtree of something longer.</summary>
    internal void FinishSubtree(Span<byte> output)
    {
        uint* cv = stackalloc uint[Blake3Kernel.WordCount];
        byte* block = stackalloc byte[Blake3Kernel.BlockSize];
        if (_stackCount == 1 && _blockIndex == 0 && _blockBytes == 0)
        {
            fixed (byte* stack = _stack)
            {
                new ReadOnlySpan<byte>(stack, Blake3Kernel.CvSize).CopyTo(output);
            }

            return;
        }

        FinishNode(cv, block, out uint blockBytes, out ulong counter, out uint flags);
        Blake3Kernel.CompressCv(_path, cv, block, blockBytes, counter, flags, cv);
        new ReadOnlySpan<byte>(cv, Blake3Kernel.CvSize).CopyTo(output);
    }

    /// <summary>Folds complete subtrees in pairs, level by level and in place, until <paramref name="until"/> are left. Counts are powers of two.</summary>
    internal static void Fold(KernelPath path, byte* cvs, int count, int until, uint* key, uint flags)
    {
        while (count > until)
        {
            count /= 2;
            Blake3Kernel.HashMany(
                path, cvs, count, Blake3Kernel.BlockSize, 1, key, 0, 0, flags | Blake3Kernel.Parent, 0, 0, cvs);
        }
    }

    [SkipLocalsInit]
    private void Update(byte* input, nuint left)
    {
        unchecked
        {
            byte* work = stackalloc byte[BatchChunks * Blake3Kernel.CvSize];
            fixed (uint* key = _key)
            fixed (uint* cv = _cv)
            {
                // The open chunk first. It closes only when more follows.
                if (_blockIndex > 0 || _blockBytes > 0)
                {
                    nuint take = Math.Min(left, (nuint)(Blake3Kernel.ChunkSize - (_blockIndex * Blake3Kernel.BlockSize)) - _blockBytes);
                    UpdateChunk(input, take);
                    input += take;
                    left -= take;
                    if (left == 0)
                    {
                        return;
                    }

                    uint* closed = stackalloc uint[Blake3Kernel.WordCount];
                    CloseChunk(closed);
                    Push((byte*)closed, 1);
                    StartChunk();
                }

                while (left > Blake3Kernel.ChunkSize)
                {
                    ulong followed = (left - 1) / Blake3Kernel.ChunkSize;
                    if (Blake3Kernel.TryHashFew(_path, input, followed, key, _firstChunk + _chunks, _flags, work))
                    {
                        for (ulong at = 0; at < followed;)
                        {
                            int size = BatchSize(followed - at);
                            PushFolded(work + (at * Blake3Kernel.CvSize), size, (uint)size);
                            at += (uint)size;
                        }

                        input += followed * Blake3Kernel.ChunkSize;
                        left -= (nuint)followed * Blake3Kernel.ChunkSize;
                        break;
                    }

                    // May take all that is left: two halves on the stack can still become the root.
                    int count = BatchSize(left / Blake3Kernel.ChunkSize);
                    Blake3Kernel.HashMany(
                        _path, input, count, Blake3Kernel.ChunkSize, Blake3Kernel.BlocksPerChunk, key, _firstChunk + _chunks, 1,
                        _flags, Blake3Kernel.ChunkStart, Blake3Kernel.ChunkEnd, work);
                    PushFolded(work, count, (uint)count);
                    nuint taken = (nuint)count * Blake3Kernel.ChunkSize;
                    input += taken;
                    left -= taken;
                }

                if (left > 0)
                {
                    // More follows what is on the stack, so none of it is the root.
                    MergeStack();
                    UpdateChunk(input, left);
                }
            }
        }
    }

    /// <summary>The largest power of two that is whole in <paramref name="left"/>, aligned to what came before, and no more than a batch.</summary>
    private readonly int BatchSize(ulong left)
    {
        ulong size = Math.Min(1UL << BitOperations.Log2(left), BatchChunks);
        if (_chunks != 0)
        {
            size = Math.Min(size, 1UL << BitOperations.TrailingZeroCount(_chunks));
        }

        return (int)size;
    }

    /// <summary>Pushes a complete subtree of <paramref name="count"/> values, as its two halves, since it may turn out to be the root.</summary>
    private void PushFolded(byte* cvs, int count, ulong chunks)
    {
        unchecked
        {
            if (count == 1)
            {
                Push(cvs, chunks);
                return;
            }

            fixed (uint* key = _key)
            {
                Fold(_path, cvs, count, 2, key, _flags);
            }

            Push(cvs, chunks / 2);
            Push(cvs + Blake3Kernel.CvSize, chunks / 2);
        }
    }

    private void Push(byte* cv, ulong chunks)
    {
        unchecked
        {
            MergeStack();
            Debug.Assert(_stackCount < StackDepth, "more than 2^64 bytes");
            fixed (byte* stack = _stack)
            {
                Unsafe.CopyBlockUnaligned(stack + (_stackCount * Blake3Kernel.CvSize), cv, Blake3Kernel.CvSize);
            }

            _stackCount++;
            _chunks += chunks;
        }
    }

    private void MergeStack()
    {
        unchecked
        {
            int want = BitOperations.PopCount(_chunks);
            fixed (byte* stack = _stack)
            fixed (uint* key = _key)
            {
                for (; _stackCount > want; _stackCount--)
                {
                    byte* pair = stack + ((_stackCount - 2) * Blake3Kernel.CvSize);
                    Blake3Kernel.CompressCv(_path, key, pair, Blake3Kernel.BlockSize, 0, _flags | Blake3Kernel.Parent, (uint*)pair);
                }
            }
        }
    }

    private void StartChunk()
    {
        for (int i = 0; i < Blake3Kernel.WordCount; i++)
        {
            _cv[i] = _key[i];
        }

        (_blockIndex, _blockBytes) = (0, 0);
        fixed (byte* block = _block)
        {
            Unsafe.InitBlockUnaligned(block, 0, Blake3Kernel.BlockSize);
        }
    }

    private readonly uint ChunkFlags => _flags | (_blockIndex == 0 ? Blake3Kernel.ChunkStart : 0);

    /// <summary>Takes bytes that fit in the open chunk. Its last block stays uncompressed, full or not.</summary>
    private void UpdateChunk(byte* input, nuint left)
    {
        unchecked
        {
            fixed (uint* cv = _cv)
            fixed (byte* block = _block)
            {
                while (left > 0)
                {
                    if (_blockBytes == Blake3Kernel.BlockSize)
                    {
                        Blake3Kernel.CompressCv(_path, cv, block, Blake3Kernel.BlockSize, _firstChunk + _chunks, ChunkFlags, cv);
                        _blockIndex++;
                        _blockBytes = 0;
                        Unsafe.InitBlockUnaligned(block, 0, Blake3Kernel.BlockSize);
                    }

                    while (_blockBytes == 0 && left > Blake3Kernel.BlockSize)
                    {
                        Blake3Kernel.CompressCv(_path, cv, input, Blake3Kernel.BlockSize, _firstChunk + _chunks, ChunkFlags, cv);
                        _blockIndex++;
                        input += Blake3Kernel.BlockSize;
                        left -= Blake3Kernel.BlockSize;
                    }

                    uint take = (uint)Math.Min(left, Blake3Kernel.BlockSize - _blockBytes);
                    Unsafe.CopyBlockUnaligned(block + _blockBytes, input, take);
                    _blockBytes += take;
                    input += take;
                    left -= take;
                }
            }
        }
    }

    private void CloseChunk(uint* output)
    {
        fixed (uint* cv = _cv)
        fixed (byte* block = _block)
        {
            Blake3Kernel.CompressCv(_path, cv, block, _blockBytes, _firstChunk + _chunks, ChunkFlags | Blake3Kernel.ChunkEnd, output);
        }
    }

    /// <summary>The inputs of the last compression, so that the caller may run it as root, many times, or as an inner node.</summary>
    private void FinishNode(uint* cv, byte* block, out uint blockBytes, out ulong counter, out uint flags)
    {
        unchecked
        {
            int left = _stackCount;
            fixed (byte* stack = _stack)
            fixed (uint* key = _key)
            fixed (uint* chunkCv = _cv)
            fixed (byte* chunkBlock = _block)
            {
                if (left == 0 || _blockIndex > 0 || _blockBytes > 0)
                {
                    Unsafe.CopyBlockUnaligned(cv, chunkCv, Blake3Kernel.CvSize);
                    Unsafe.CopyBlockUnaligned(block, chunkBlock, Blake3Kernel.BlockSize);
                    (blockBytes, counter, flags) = (_blockBytes, _firstChunk + _chunks, ChunkFlags | Blake3Kernel.ChunkEnd);
                }
                else
                {
                    // Only subtrees: the top two are the last parent.
                    left -= 2;
                    Unsafe.CopyBlockUnaligned(cv, key, Blake3Kernel.CvSize);
                    Unsafe.CopyBlockUnaligned(block, stack + (left * Blake3Kernel.CvSize), Blake3Kernel.BlockSize);
                    (blockBytes, counter, flags) = (Blake3Kernel.BlockSize, 0, _flags | Blake3Kernel.Parent);
                }

                while (left > 0)
                {
                    left--;
                    Blake3Kernel.CompressCv(_path, cv, block, blockBytes, counter, flags, (uint*)(block + Blake3Kernel.CvSize));
                    Unsafe.CopyBlockUnaligned(block, stack + (left * Blake3Kernel.CvSize), Blake3Kernel.CvSize);
                    Unsafe.CopyBlockUnaligned(cv, key, Blake3Kernel.CvSize);
                    (blockBytes, counter, flags) = (Blake3Kernel.BlockSize, 0, _flags | Blake3Kernel.Parent);
                }
            }
        }
    }
}
