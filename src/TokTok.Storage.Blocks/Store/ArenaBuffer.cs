using System.Collections.Concurrent;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>What blocks of one open arena have in common.</summary>
/// <param name="IsAway">They are freed on this device: the arena is for holders on other machines alone.</param>
internal readonly record struct BinKey(DomainId Domain, uint Epoch, int Survive, bool IsAway = false);

/// <summary>A clump that lies in memory: in an open arena, or in one that is being sealed.</summary>
internal sealed class PendingClump
{
    internal required Score Score { get; init; }

    internal required BlockType Type { get; init; }

    internal required int PlainBytes { get; init; }

    internal required int Length { get; init; }

    internal required uint Date { get; init; }

    /// <summary>When it was written, seconds since 1970; where it comes from a journal, which knows the day, the end of that or now, whichever is earlier.</summary>
    internal required long SinceSeconds { get; init; }

    /// <summary>Guarded by the buffer's gate, as is Buffer: a flush moves clumps.</summary>
    internal int Offset { get; set; }

    internal required ArenaBuffer Buffer { get; set; }

    /// <summary>Guarded by the bin's gate.</summary>
    internal bool IsJournaled { get; set; }
}

/// <summary>The memory of one arena from its first clump until it is sealed and indexed. Clumps lie at their final offsets.</summary>
/// <remarks>
/// Locks: Gate guards Clumps, End, Sealed, IsRetired and the bytes; taken after the bin's gate, never held across I/O or await.
/// Once Sealed is set the bytes are the encrypted image and never change; reading from it then decrypts the range.
/// </remarks>
internal sealed class ArenaBuffer(BinKey key, ArenaLayout layout, byte[] bytes)
{
    internal Lock Gate { get; } = new();

    internal BinKey Key { get; } = key;

    internal ArenaLayout Layout { get; set; } = layout;

    internal byte[] Bytes { get; } = bytes;

    /// <summary>Image bytes to fill at most: fewer than the layout has where it may have to be sealed in another class, with other rounding.</summary>
    internal int FillBytes { get; init; } = int.MaxValue;

    internal List<PendingClump> Clumps { get; } = [];

    internal int End { get; set; } = ArenaHeader.Size;

    internal ArenaHeader? Sealed { get; set; }

    internal bool IsRetired { get; set; }

    internal int ClumpBytes => End - ArenaHeader.Size;

    internal bool HasRoomFor(int clumpBytes) => End + clumpBytes <= ArenaHeader.Size + ArenaImage.RoomFor(Math.Min(Layout.ImageBytes, FillBytes), Clumps.Count + 1);

    /// <summary>Copies a clump out. False: it has moved to a sealed arena meanwhile; look it up again.</summary>
    internal static bool TryCopy(PendingClump clump, KeyDomain domain, Span<byte> target)
    {
        ArenaBuffer buffer = clump.Buffer;
        lock (buffer.Gate)
        {
            if (clump.Buffer != buffer || buffer.IsRetired)
            {
                return false;
            }

            buffer.Bytes.AsSpan(clump.Offset, clump.Length).CopyTo(target);
            if (buffer.Sealed is { } header)
            {
                ArenaImage.Transform(domain, header.Epoch, header.Id, clump.Offset, target[..clump.Length]);
            }

            return true;
        }
    }
}

/// <summary>A few arrays of full arenas, used again and again. The bound is how many buffers may be open or sealing at once.</summary>
/// <param name="fullBytes">Nominal bytes of a full arena; smaller buffers are not worth keeping.</param>
internal sealed class ArenaBufferPool(int fullBytes)
{
    private readonly ConcurrentBag<byte[]> _free = [];

    internal byte[] Rent(int bytes)
    {
        if (bytes >= fullBytes && _free.TryTake(out byte[]? array))
        {
            if (array.Length >= bytes)
            {
                return array;
            }
        }

        return GC.AllocateUninitializedArray<byte>(bytes);
    }

    internal void Return(byte[] array)
    {
        if (array.Length >= fullBytes && _free.Count < 4)
        {
            _free.Add(array);
        }
    }
}
