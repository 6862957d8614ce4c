using System.Buffers;
using System.Numerics;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Blocks of file data that were read, in buffers that are used again; the least recently used go first.</summary>
/// <remarks>
/// Two readers of one block read it once: the first reads, the others wait for it.
/// A block that is read here and there is condensed (<see cref="CondensedBlock"/>) when it would go, and stays in that form until it is the least recently used of those, and they take half of the bound: each
/// form has an order of its own, since one whole block has the place of a hundred condensed ones and is likely the younger.
/// A block that was handed over to somebody who keeps it (<see cref="TryHandOver"/>) is condensed only where it had to be read a second time: condensing costs as much as reading it.
/// Bound: buffers with what they are rounded up to, condensed blocks with what they keep. Those being condensed at the moment come on top, one a thread.
/// Locks: _gate guards the table, the order and all of a slot but its Bytes and Condensed, which are written under it and read without by whoever holds a reference; a slot's own gate is held while its
/// block is read, and _gate may be taken inside it, never the other way round. A slot in use is not given back.
/// </remarks>
internal sealed class DataCache(IBlockStore blocks, long maxBytes)
{
    private const int RememberedCost = 256; // a slot, and its places in the table and the order

    private readonly Lock _gate = new();
    private readonly Dictionary<Score, LinkedListNode<Slot>> _known = [];
    private readonly LinkedList<Slot> _whole = new();
    private readonly LinkedList<Slot> _condensed = new();
    private long _bytes;
    private long _condensedBytes;

    private sealed class Slot(Score score, int blockBytes)
    {
        private byte[]? _bytes;
        private CondensedBlock? _condensed;

        internal Score Score { get; } = score;

        internal int BlockBytes { get; } = blockBytes;

        internal byte[]? Bytes
        {
            get => Volatile.Read(ref _bytes);
            set => Volatile.Write(ref _bytes, value);
        }

        internal CondensedBlock? Condensed
        {
            get => Volatile.Read(ref _condensed);
            set => Volatile.Write(ref _condensed, value);
        }

        internal IBlockParts? Parts { get; set; }

        /// <summary>Where somebody read who reads here and there; negative: nobody did.</summary>
        internal int ScatteredAt { get; set; } = -1;

        /// <summary>It was handed over (<see cref="TryHandOver"/>) since it was read.</summary>
        internal bool IsHandedOver { get; set; }

        /// <summary>It was handed over and went: whoever has it is asked from then on, and if it is read here once more it was not kept there.</summary>
        internal bool IsRemembered { get; set; }

        internal int References { get; set; }

        /// <summary>Buffer and condensed form, as counted.</summary>
        internal long Cost { get; set; }

        internal bool IsOut { get; set; }

        /// <summary>The buffer goes with the last reference, and the slot stays.</summary>
        internal bool IsLeaving { get; set; }

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
    /// <param name="isScattered">The reader reads here and there: what lies beside these bytes is likely not wanted.</param>
    /// <returns>Of a large block that is read here and there: all of it is in memory, and was not handed over yet.</returns>
    /// <exception cref="DamagedBlockException">The block is missing or damaged.</exception>
    internal bool Read(Score score, int blockBytes, int skip, Span<byte> target, bool isScattered = false)
    {
        isScattered = isScattered && target.Length <= CondensedBlock.LargestRead && blockBytes >= CondensedBlock.SmallestBlock;
        Slot slot = Take(score, blockBytes);
        try
        {
            byte[]? bytes = slot.Bytes;
            if (bytes is null)
            {
                if (isScattered && slot.Condensed is { } condensed && condensed.TryRead(skip, target))
                {
                    return false;
                }

                bytes = Load(slot, isScattered ? skip : -1);
            }

            // The bytes do not change any more, and the reference keeps them here.
            bytes.AsSpan(skip, target.Length).CopyTo(target);
            return isScattered && !slot.IsHandedOver;
        }
        finally
        {
            GiveBack(slot);
        }
    }

    /// <summary>Copies a part of a block that is in memory as a whole, for somebody who keeps it for later reads. False: it is not there, or was handed over since it was read.</summary>
    internal bool TryHandOver(Score score, int skip, Span<byte> target)
    {
        Slot slot;
        lock (_gate)
        {
            if (!_known.TryGetValue(score, out LinkedListNode<Slot>? node) || node.Value.Bytes is null || node.Value.IsHandedOver || skip + target.Length > node.Value.BlockBytes)
            {
                return false;
            }

            slot = node.Value;
            slot.IsHandedOver = true;
            slot.References++;
        }

        try
        {
            if (slot.Bytes is not { } bytes)
            {
                return false;
            }

            bytes.AsSpan(skip, target.Length).CopyTo(target);
            return true;
        }
        finally
        {
            GiveBack(slot);
        }
    }

    /// <summary>Reads a block for whoever comes for it soon.</summary>
    /// <exception cref="DamagedBlockException">The block is missing or damaged.</exception>
    internal void Touch(Score score, int blockBytes)
    {
        Slot slot = Take(score, blockBytes);
        try
        {
            _ = slot.Bytes ?? Load(slot, -1);
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
                if (node.Previous is not null)
                {
                    LinkedList<Slot> order = node.List!;
                    order.Remove(node);
                    order.AddFirst(node);
                }
            }
            else
            {
                node = new LinkedListNode<Slot>(new Slot(score, blockBytes));
                if (_known.TryAdd(score, node))
                {
                    _whole.AddFirst(node);
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

    /// <summary>Reads the whole block, unless another thread just did.</summary>
    private byte[] Load(Slot slot, int scatteredAt)
    {
        lock (slot.Gate)
        {
            if (slot.Bytes is { } present)
            {
                return present;
            }

            // Room is made first, so that a buffer that goes is the one that comes.
            List<Slot> leaving = [];
            lock (_gate)
            {
                slot.ScatteredAt = scatteredAt;
                PlaceLocked(slot, _whole, (long)BitOperations.RoundUpToPowerOf2((uint)slot.BlockBytes));
                EvictLocked(slot, leaving);
            }

            foreach (Slot oldest in leaving)
            {
                Condense(oldest);
            }

            byte[] rented = ArrayPool<byte>.Shared.Rent(slot.BlockBytes);
            IBlockParts? parts = null;
            try
            {
                Memory<byte> target = rented.AsMemory(0, slot.BlockBytes);
                if (scatteredAt >= 0)
                {
                    parts = BlockReading.ReadExactWithPartsAsync(blocks, slot.Score, BlockType.Data, target, CancellationToken.None).Wait();
                }
                else
                {
                    BlockReading.ReadExactAsync(blocks, slot.Score, BlockType.Data, target, CancellationToken.None).Wait();
                }
            }
            catch
            {
                ArrayPool<byte>.Shared.Return(rented);
                lock (_gate)
                {
                    slot.Condensed = null; // as below; the last reference takes the slot away
                    slot.IsRemembered = false;
                }

                throw;
            }

            lock (_gate)
            {
                slot.Parts = parts;
                slot.Condensed = null; // whoever comes here for a part had no use of it
                slot.IsHandedOver = false;
                slot.Bytes = rented;
            }

            return rented;
        }
    }

    private void GiveBack(Slot slot)
    {
        lock (_gate)
        {
            slot.References--;
            ReleaseLocked(slot);
            if (slot is { Bytes: null, Condensed: null, IsRemembered: false, IsOut: false, References: 0 } && _known.TryGetValue(slot.Score, out LinkedListNode<Slot>? failed))
            {
                RemoveLocked(failed);
            }
        }
    }

    /// <summary>Makes a slot the most recently used of one order, at a cost.</summary>
    private void PlaceLocked(Slot slot, LinkedList<Slot> order, long cost)
    {
        if (!slot.IsOut)
        {
            LinkedListNode<Slot> node = _known[slot.Score];
            UnplaceLocked(node);
            order.AddFirst(node);
            slot.Cost = cost;
            _bytes += cost;
            _condensedBytes += order == _condensed ? cost : 0;
        }
    }

    private void UnplaceLocked(LinkedListNode<Slot> node)
    {
        _bytes -= node.Value.Cost;
        _condensedBytes -= node.List == _condensed ? node.Value.Cost : 0;
        node.Value.Cost = 0;
        node.List!.Remove(node);
    }

    private void RemoveLocked(LinkedListNode<Slot> node)
    {
        UnplaceLocked(node);
        _ = _known.Remove(node.Value.Score);
        node.Value.IsOut = true;
    }

    /// <param name="leaving">Gets those that the caller condenses, each with a reference.</param>
    private void EvictLocked(Slot newest, List<Slot> leaving)
    {
        while (_bytes > maxBytes)
        {
            LinkedListNode<Slot>? node = _condensedBytes > maxBytes / 2 ? _condensed.Last : _whole.Last;
            if (node is null || node.Value == newest)
            {
                node = _condensed.Last;
            }

            if (node is null)
            {
                return;
            }

            Slot oldest = node.Value;
            if (oldest is { ScatteredAt: >= 0, IsLeaving: false, Bytes: not null, IsHandedOver: true, IsRemembered: false })
            {
                oldest.IsRemembered = true;
                oldest.IsLeaving = true;
                oldest.Parts = null;
                PlaceLocked(oldest, _condensed, RememberedCost);
                ReleaseLocked(oldest);
            }
            else if (oldest is { ScatteredAt: >= 0, IsLeaving: false, Bytes: not null })
            {
                oldest.IsLeaving = true;
                oldest.References++;
                PlaceLocked(oldest, _condensed, 0);
                leaving.Add(oldest);
            }
            else
            {
                RemoveLocked(node);
                ReleaseLocked(oldest);
            }
        }
    }

    private void Condense(Slot slot)
    {
        CondensedBlock? condensed = CondensedBlock.Of(slot.Score, slot.Bytes.AsSpan(0, slot.BlockBytes), slot.Parts, slot.ScatteredAt);
        lock (_gate)
        {
            slot.References--;
            slot.Parts = null;
            if (!slot.IsOut)
            {
                if (condensed is null)
                {
                    RemoveLocked(_known[slot.Score]);
                }
                else
                {
                    slot.Condensed = condensed;
                    PlaceLocked(slot, _condensed, condensed.Bytes);
                }
            }

            ReleaseLocked(slot);
        }
    }

    private static void ReleaseLocked(Slot slot)
    {
        if (slot is { References: 0, Bytes: { } bytes } && (slot.IsOut || slot.IsLeaving))
        {
            slot.Bytes = null;
            slot.IsLeaving = false;
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
