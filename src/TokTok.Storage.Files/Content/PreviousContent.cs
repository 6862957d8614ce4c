using System.Buffers;
using System.Collections.Concurrent;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>What a file held when it was stored before: a chunk that changed little is described by pieces of the blocks that are kept, and by what is new.</summary>
/// <remarks>
/// Why: a chunk is 256 KiB in the mean, and an overwrite of 4 KiB in a disk image or a database would store all of it again (docs/decisions/chunk-size.md).
/// How: the chunk is compared with the same range of the file as it was; what differs is taken in units of <see cref="UnitBytes"/> of the file. Insertions, which
/// shift what follows, are the chunker's work and are not looked for here.
/// Bounds: at most a quarter of the chunk may be new, at most <see cref="MaxPieces"/> pieces describe it, and the blocks named, whole, come to at most twice its
/// bytes; else it is stored as a block of its own. So a file that is overwritten again and again neither falls to pieces nor keeps much that nothing shows.
/// A block that is damaged, gone, or kept weaker than wanted is not leant on.
/// Safe from many threads.
/// </remarks>
internal sealed class PreviousContent(IBlockStore blocks, FileContent content) : IDisposable
{
    /// <summary>Shorter chunks are not worth it.</summary>
    internal const int FromBytes = 32 * 1024;

    internal const int UnitBytes = 4096;
    internal const int MaxPieces = 16;
    private const int MaxNewShare = 4;
    private const int MaxNamedShare = 2;

    private readonly ConcurrentBag<FileContentReader> _readers = [];

    /// <summary>The pieces that give the chunk, in order; null where it is to be stored whole. New ones have no block yet: their skip is -1.</summary>
    internal async ValueTask<List<Extent>?> DescribeAsync(long offset, ReadOnlyMemory<byte> chunk, CancellationToken cancel)
    {
        if (content.Kind == ContentKind.Inline || content.Size <= offset)
        {
            return null;
        }

        FileContentReader reader = _readers.TryTake(out FileContentReader? idle) ? idle : new FileContentReader(blocks, content);
        byte[] old = ArrayPool<byte>.Shared.Rent(chunk.Length);
        try
        {
            return await DescribeAsync(reader, offset, chunk, old, cancel).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            return null;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(old);
            _readers.Add(reader);
        }
    }

    private async ValueTask<List<Extent>?> DescribeAsync(FileContentReader reader, long offset, ReadOnlyMemory<byte> chunk, byte[] old, CancellationToken cancel)
    {
        long end = offset + chunk.Length;
        var found = new Pieces(offset, chunk.Length);
        await foreach (Extent whole in reader.ExtentsAsync(offset, cancel).ConfigureAwait(false))
        {
            if (whole.Offset >= end)
            {
                break;
            }

            int into = (int)Math.Max(0, offset - whole.Offset);
            int at = (int)(whole.Offset + into - offset);
            int length = (int)(Math.Min(whole.Offset + whole.Length, end) - whole.Offset) - into;
            if (whole.IsHole)
            {
                found.AddNew(at, length); // zeros are data here, and a hole is none
            }
            else
            {
                if (!found.MayName(whole) || !await blocks.ContainsAsync(whole.Score, BlockType.Data, cancel).ConfigureAwait(false))
                {
                    return null;
                }

                await reader.ReadPieceAsync(whole, into, old.AsMemory(0, length), cancel).ConfigureAwait(false);
                found.AddCompared(at, whole with { Skip = whole.Skip + into, Length = length }, old.AsSpan(0, length), chunk.Span.Slice(at, length));
            }

            if (found.IsTooMuch)
            {
                return null;
            }
        }

        found.AddNew(found.End, chunk.Length - found.End); // the file grew
        return found.IsTooMuch ? null : found.All;
    }

    public void Dispose()
    {
        while (_readers.TryTake(out FileContentReader? reader))
        {
            reader.Dispose();
        }
    }

    /// <summary>The pieces of one chunk as they are found, from its start on.</summary>
    private sealed class Pieces(long offset, int chunkBytes)
    {
        private readonly HashSet<Score> _named = [];
        private long _namedBytes;
        private long _newBytes;

        internal List<Extent> All { get; } = [];

        /// <summary>Bytes of the chunk that are described.</summary>
        internal int End { get; private set; }

        internal bool IsTooMuch => All.Count > MaxPieces || _newBytes > chunkBytes / MaxNewShare || _namedBytes + _newBytes > (long)MaxNamedShare * chunkBytes;

        internal bool MayName(in Extent extent) => _named.Contains(extent.Score) || _namedBytes + extent.BlockBytes <= (long)MaxNamedShare * chunkBytes;

        internal void AddNew(int at, int length)
        {
            if (length <= 0)
            {
                return;
            }

            _newBytes += length;
            End = at + length;
            if (All.Count > 0 && All[^1].Skip < 0)
            {
                All[^1] = All[^1] with { Length = All[^1].Length + length };
            }
            else
            {
                All.Add(new Extent(offset + at, length, default, -1, 0));
            }
        }

        internal void AddCompared(int at, in Extent kept, ReadOnlySpan<byte> old, ReadOnlySpan<byte> now)
        {
            int same = 0;
            while (same < now.Length && !IsTooMuch)
            {
                int differs = same + now[same..].CommonPrefixLength(old[same..]);
                if (differs == now.Length)
                {
                    break;
                }

                // Units count from the start of the file: there databases and disks have their pages.
                int unit = (int)((offset + at + differs) % UnitBytes);
                int from = Math.Max(same, differs - unit);
                int to = Math.Min(now.Length, differs - unit + UnitBytes);
                AddKept(at, kept, same, from);
                AddNew(at + from, to - from);
                same = to;
            }

            AddKept(at, kept, same, now.Length);
        }

        private void AddKept(int at, in Extent kept, int from, int to)
        {
            if (from >= to)
            {
                return;
            }

            if (_named.Add(kept.Score))
            {
                _namedBytes += kept.BlockBytes;
            }

            All.Add(kept with { Offset = offset + at + from, Length = to - from, Skip = kept.Skip + from });
            End = at + to;
        }
    }
}
