using System.Buffers;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Blocks of file data that were read, in buffers that are used again; the least recently used go first.</summary>
/// <remarks>
/// Two readers of one block read it once: the first reads, the others wait for it.
/// Locks: _gate guards the table, the order and the references; a slot's own gate is held while its block is read, never together with _gate. A slot in use is not given back.
/// </remarks>
internal sealed class DataCache(IBlockStore blocks, long maxBytes)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<Score, LinkedListNode<Slot>> _known = [];
    private readonly LinkedList<Slot> _recency = new();
    private long _bytes;

    private sealed class Slot(Score score, int blockBytes)
    {
        internal Score Score { get; } = score;

        internal int BlockBytes { get; } = blockBytes;

        internal byte[]? Bytes { get; set; }

        internal int References { get; set; }

        internal bool IsOut { get; set; }

        internal Lock Gate { get; } = new();
    }

    internal long Bytes
    {
        get
        {
            lock (_gate)
            {
                return _bytes;
            }
        }
    }

    /// <summary>Copies a part of a block.</summary>
    /// <exception cref="DamagedBlockException">The block is missing or damaged.</exception>
    internal void Read(Score score, int blockBytes, int skip, Span<byte> target)
    {
        Slot slot = Take(score, blockBytes);
        try
        {
            lock (slot.Gate)
            {
                if (slot.Bytes is null)
                {
                    byte[] rented = ArrayPool<byte>.Shared.Rent(blockBytes);
                    try
                    {
                        BlockReading.ReadExactAsync(blocks, score, BlockType.Data, rented.AsMemory(0, blockBytes), CancellationToken.None).Wait();
                    }
                    catch
                    {
                        ArrayPool<byte>.Shared.Return(rented);
                        throw;
                    }

                    slot.Bytes = rented;
                }
            }

            // The bytes do not change any more, and the reference keeps them here.
            slot.Bytes.AsSpan(skip, target.Length).CopyTo(target);
        }
        finally
        {
            GiveBack(slot);
        }
    }

    private Slot Take(Score score, int blockBytes)
    {
        lock (_gate)
        {
            if (_known.TryGetValue(score, out LinkedListNode<Slot>? node) && node.Value.BlockBytes == blockBytes)
            {
                _recency.Remove(node);
                _recency.AddFirst(node);
            }
            else
            {
                node = new LinkedListNode<Slot>(new Slot(score, blockBytes));
                if (_known.TryAdd(score, node))
                {
                    _recency.AddFirst(node);
                    _bytes += blockBytes;
                    EvictLocked();
                }
                else
                {
                    node.Value.IsOut = true; // another entry claims another length for the score: one of them is damaged, and the read will say which
                }
            }

            node.Value.References++;
            return node.Value;
        }
    }

    private void GiveBack(Slot slot)
    {
        lock (_gate)
        {
            slot.References--;
            ReleaseLocked(slot);
            if (slot is { Bytes: null, IsOut: false, References: 0 } && _known.Remove(slot.Score, out LinkedListNode<Slot>? failed))
            {
                _recency.Remove(failed);
                _bytes -= slot.BlockBytes;
                slot.IsOut = true;
            }
        }
    }

    private void EvictLocked()
    {
        while (_bytes > maxBytes && _recency.Count > 1)
        {
            Slot oldest = _recency.Last!.Value;
            _recency.RemoveLast();
            _ = _known.Remove(oldest.Score);
            _bytes -= oldest.BlockBytes;
            oldest.IsOut = true;
            ReleaseLocked(oldest);
        }
    }

    private static void ReleaseLocked(Slot slot)
    {
        if (slot is { IsOut: true, References: 0, Bytes: { } bytes })
        {
            slot.Bytes = null;
            ArrayPool<byte>.Shared.Return(bytes);
        }
    }
}

/// <summary>Waits for what is nearly always done already: blocks come from a disk through calls that block.</summary>
internal static class Waiting
{
    internal static void Wait(this ValueTask task)
    {
        if (task.IsCompletedSuccessfully)
        {
            task.GetAwaiter().GetResult();
            return;
        }

        task.AsTask().GetAwaiter().GetResult();
    }

    internal static T Wait<T>(this ValueTask<T> task) => task.IsCompletedSuccessfully ? task.Result : task.AsTask().GetAwaiter().GetResult();
}
