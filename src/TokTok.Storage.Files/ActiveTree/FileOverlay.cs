using System.Diagnostics;

namespace TokTok.Storage.Files;

/// <summary>What was done to a file's bytes since they were committed: pieces over the committed content, which shows wherever there is none.</summary>
/// <remarks>
/// Invariant: pieces ascend and do not overlap. Where no piece lies the committed bytes show up to <see cref="BaseVisible"/>, and zeros from there on.
/// A write needs nothing of what lies below it, so it never reads. Memory is changed in place until somebody freezes it.
/// A commit takes a copy of the pieces (<see cref="Freeze"/>) and writes them while the file goes on changing; <see cref="Settle"/> then drops what the new content holds.
/// A commit that fails has changed nothing here.
/// Locks: the inode's gate is held around every call.
/// </remarks>
internal sealed class FileOverlay(DirtyMemory memory, long baseBytes)
{
    /// <summary>One buffer holds no more.</summary>
    private const int MaxBufferBytes = 1 << 20;

    /// <summary>Buffers of many small writes in a row grow up to this.</summary>
    private const int MaxGrownBytes = 128 << 10;

    private readonly PieceList _pieces = new();
    private long _visibleSinceFreeze = long.MaxValue;

    private long _visibleSinceLog = long.MaxValue;

    // Every piece that is in no intent lies between these, so that a sync of a file of many pieces looks at few.
    private long _unloggedFrom = long.MaxValue;
    private long _unloggedTo;

    private long _lastEnd; // of the last write: one that begins there goes on with it

    /// <summary>The committed content shows below this offset.</summary>
    internal long BaseVisible { get; private set; } = baseBytes;

    /// <summary>Counts changes, so that whoever looked without the gate can tell whether all is as it was.</summary>
    internal long Version { get; private set; }

    /// <summary>Bytes of pieces that lie in memory.</summary>
    internal long MemoryBytes { get; private set; }

    /// <summary>Places where writes since the last freeze went over bytes which were there before; of those before it, half.</summary>
    internal int OverwriteCount { get; private set; }

    internal int PieceCount => _pieces.Count;

    internal bool IsEmpty => _pieces.Count == 0;

    /// <summary>In order of their offsets. Good until the next change.</summary>
    internal PieceList Pieces => _pieces;

    internal void Write(long offset, ReadOnlySpan<byte> source, long size)
    {
        Version++;
        MarkUnlogged(offset, offset + source.Length);
        OverwriteCount += offset < size && offset != _lastEnd ? 1 : 0;
        _lastEnd = offset + source.Length;
        while (!source.IsEmpty)
        {
            int at = FindFrom(offset);
            if (at < _pieces.Count && _pieces[at] is var covering && covering.Offset <= offset && covering.Source is DirtyBuffer { IsFrozen: false } present)
            {
                int count = (int)Math.Min(source.Length, covering.End - offset);
                source[..count].CopyTo(present.Bytes.AsSpan(covering.Skip + (int)(offset - covering.Offset)));
                source = source[count..];
                offset += count;
                continue;
            }

            int gap = source.Length;
            for (; at < _pieces.Count && _pieces[at].Offset < offset + gap; at++)
            {
                if (_pieces[at].Offset > offset && _pieces[at].Source is DirtyBuffer { IsFrozen: false })
                {
                    gap = (int)(_pieces[at].Offset - offset);
                    break;
                }
            }

            AddMemory(offset, source[..gap]);
            source = source[gap..];
            offset += gap;
        }
    }

    /// <summary>Makes a range read as zeros, also where nothing shows through now: a commit under way, or an intent, may have what was there.</summary>
    internal void PutHole(long from, long to)
    {
        if (from >= to)
        {
            return;
        }

        Version++;
        MarkUnlogged(from, to);
        Cut(from, to);
        int at = FindFrom(from);
        if (at < _pieces.Count && _pieces[at] is { IsHole: true, IsLogged: false } after && after.Offset == to)
        {
            to = after.End;
            _pieces.RemoveAt(at);
        }

        if (at > 0 && _pieces[at - 1] is { IsHole: true, IsLogged: false } before && before.End == from)
        {
            _pieces[at - 1] = before with { Length = to - before.Offset };
            return;
        }

        _pieces.Insert(at, new FilePiece { Offset = from, Length = to - from });
    }

    /// <summary>Lets a range show parts of blocks, holes, or memory that is frozen and held for it.</summary>
    /// <param name="replacing">Ascending and without gaps.</param>
    internal void Put(List<FilePiece> replacing)
    {
        if (replacing.Count == 0)
        {
            return;
        }

        foreach (FilePiece piece in replacing)
        {
            Debug.Assert(piece is { IsLogged: false, Source: not DirtyBuffer { IsFrozen: false } }, "a piece that another file may change");
            MemoryBytes += piece.Source is DirtyBuffer ? piece.Length : 0;
        }

        Version++;
        MarkUnlogged(replacing[0].Offset, replacing[^1].End);
        Cut(replacing[0].Offset, replacing[^1].End);
        _pieces.InsertRange(FindFrom(replacing[0].Offset), replacing);
    }

    internal void Truncate(long size)
    {
        Version++;
        Cut(size, long.MaxValue);
        BaseVisible = Math.Min(BaseVisible, size);
        _visibleSinceFreeze = Math.Min(_visibleSinceFreeze, size);
        _visibleSinceLog = Math.Min(_visibleSinceLog, size);
    }

    /// <summary>Bytes in memory that no intent has.</summary>
    internal long UnloggedBytes
    {
        get
        {
            long bytes = 0;
            for (int at = FindFrom(_unloggedFrom); at < _pieces.Count && _pieces[at].Offset < _unloggedTo; at++)
            {
                bytes += !_pieces[at].IsLogged && _pieces[at].Source is DirtyBuffer ? _pieces[at].Length : 0;
            }

            return bytes;
        }
    }

    /// <summary>Whether parts of blocks are in no intent.</summary>
    internal bool HasUnloggedBlocks
    {
        get
        {
            for (int at = FindFrom(_unloggedFrom); at < _pieces.Count && _pieces[at].Offset < _unloggedTo; at++)
            {
                if (!_pieces[at].IsLogged && _pieces[at].Source is StoredBlock)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>What changed since the last batch of intents, or the last cut.</summary>
    internal FilePiece[] Unlogged(out long visible)
    {
        visible = _visibleSinceLog;
        List<FilePiece> unlogged = [];
        for (int at = FindFrom(_unloggedFrom); at < _pieces.Count && _pieces[at].Offset < _unloggedTo; at++)
        {
            if (!_pieces[at].IsLogged)
            {
                unlogged.Add(_pieces[at]);
            }
        }

        Debug.Assert(unlogged.Count == _pieces.ToArray().Count(static piece => !piece.IsLogged), "a piece outside of the range that was changed");
        return [.. unlogged];
    }

    /// <summary>All of it is in a batch of intents, or in a cut. What was written from now on makes pieces of its own.</summary>
    internal void MarkLogged()
    {
        _visibleSinceLog = long.MaxValue;
        for (int at = FindFrom(_unloggedFrom); at < _pieces.Count && _pieces[at].Offset < _unloggedTo; at++)
        {
            if (!_pieces[at].IsLogged)
            {
                if (_pieces[at].Source is DirtyBuffer buffer)
                {
                    buffer.IsFrozen = true;
                }

                _pieces[at] = _pieces[at] with { IsLogged = true };
            }
        }

        _unloggedFrom = long.MaxValue;
        _unloggedTo = 0;
    }

    private void MarkUnlogged(long from, long to)
    {
        _unloggedFrom = Math.Min(_unloggedFrom, from);
        _unloggedTo = Math.Max(_unloggedTo, to);
    }

    /// <summary>A copy of the pieces whose bytes never change. Given back by <see cref="Thaw"/>.</summary>
    internal FilePiece[] Hold()
    {
        FilePiece[] held = _pieces.ToArray();
        foreach (FilePiece piece in held)
        {
            if (piece.Source is DirtyBuffer buffer)
            {
                buffer.IsFrozen = true;
                buffer.Hold();
            }
        }

        return held;
    }

    /// <summary>The pieces for a commit, which <see cref="Settle"/> ends.</summary>
    internal FilePiece[] Freeze()
    {
        _visibleSinceFreeze = long.MaxValue;
        MarkLogged();
        OverwriteCount /= 2; // the habit of a file outlives a commit, though not for long
        return Hold();
    }

    internal static void Thaw(FilePiece[] held)
    {
        foreach (FilePiece piece in held)
        {
            (piece.Source as DirtyBuffer)?.Release();
        }
    }

    /// <summary>The frozen pieces are committed: what lies here and is one of them shows from below now.</summary>
    internal void Settle(FilePiece[] frozen, long committedBytes)
    {
        int kept = 0;
        int next = 0;
        for (int at = 0; at < _pieces.Count; at++)
        {
            FilePiece piece = _pieces[at];
            while (next < frozen.Length && frozen[next].End <= piece.Offset)
            {
                next++;
            }

            if (next < frozen.Length && piece.IsPartOf(frozen[next]))
            {
                Drop(piece);
            }
            else
            {
                _pieces[kept++] = piece;
            }
        }

        _pieces.RemoveRange(kept, _pieces.Count - kept);
        BaseVisible = Math.Min(committedBytes, _visibleSinceFreeze);
        _visibleSinceFreeze = long.MaxValue;
    }

    /// <summary>Held memory has become blocks: it shows from there now, as far as it is still here.</summary>
    /// <param name="held">What the blocks were made of.</param>
    /// <param name="stored">Ascending parts of blocks that cover all the memory among it.</param>
    internal void Store(FilePiece[] held, IReadOnlyList<FilePiece> stored)
    {
        if (stored.Count > 0)
        {
            MarkUnlogged(stored[0].Offset, stored[^1].End);
        }

        List<FilePiece> result = new(_pieces.Count);
        int next = 0;
        int block = 0;
        foreach (FilePiece piece in _pieces.ToArray())
        {
            while (next < held.Length && held[next].End <= piece.Offset)
            {
                next++;
            }

            if (piece.Source is not DirtyBuffer || next == held.Length || !piece.IsPartOf(held[next]))
            {
                result.Add(piece);
                continue;
            }

            while (block < stored.Count && stored[block].End <= piece.Offset)
            {
                block++;
            }

            long at = piece.Offset;
            for (int each = block; each < stored.Count && at < piece.End && stored[each].Offset <= at; each++)
            {
                long end = Math.Min(stored[each].End, piece.End);
                result.Add(stored[each].Slice(at, end));
                at = end;
            }

            if (at < piece.End)
            {
                result.Add(piece.Slice(at, piece.End));
                MemoryBytes -= at - piece.Offset;
            }
            else
            {
                Drop(piece);
            }
        }

        _pieces.Clear();
        _pieces.InsertRange(0, result);
    }

    /// <summary>Gives all memory back.</summary>
    internal void Clear()
    {
        foreach (FilePiece piece in _pieces.ToArray())
        {
            Drop(piece);
        }

        _pieces.Clear();
    }

    /// <inheritdoc cref="PieceList.FindFrom"/>
    internal int FindFrom(long offset) => _pieces.FindFrom(offset);

    private void AddMemory(long offset, ReadOnlySpan<byte> source)
    {
        Cut(offset, offset + source.Length);
        int at = FindFrom(offset);
        long before = 0;
        if (at > 0 && _pieces[at - 1] is var last && last.End == offset && last.Source is DirtyBuffer buffer)
        {
            before = last.Length;
            if (!buffer.IsFrozen && last.Skip + last.Length == buffer.Used)
            {
                int count = Math.Min(buffer.Bytes.Length - buffer.Used, source.Length);
                source[..count].CopyTo(buffer.Bytes.AsSpan(buffer.Used));
                buffer.Used += count;
                MemoryBytes += count;
                _pieces[at - 1] = last with { Length = last.Length + count };
                source = source[count..];
                offset += count;
            }
        }

        while (!source.IsEmpty)
        {
            int count = Math.Min(source.Length, MaxBufferBytes);
            DirtyBuffer added = memory.Rent((int)Math.Max(count, Math.Min(2 * before, MaxGrownBytes)));
            source[..count].CopyTo(added.Bytes);
            added.Used = count;
            MemoryBytes += count;
            _pieces.Insert(at++, new FilePiece { Offset = offset, Length = count, Source = added });
            source = source[count..];
            offset += count;
        }
    }

    /// <summary>Takes every piece out of a range. The caller fills it, or hides what lies below.</summary>
    private void Cut(long from, long to)
    {
        int at = FindFrom(from);
        if (at < _pieces.Count && _pieces[at] is var first && first.Offset < from)
        {
            _pieces[at] = first.Slice(first.Offset, from);
            if (first.End > to)
            {
                _pieces.Insert(at + 1, first.Slice(to, first.End));
                if (first.Source is DirtyBuffer shared)
                {
                    shared.Hold();
                    MemoryBytes -= to - from;
                }

                return;
            }

            MemoryBytes -= first.Source is DirtyBuffer ? first.End - from : 0;
            at++;
        }

        int end = at;
        while (end < _pieces.Count && _pieces[end].End <= to)
        {
            Drop(_pieces[end++]);
        }

        _pieces.RemoveRange(at, end - at);
        if (at < _pieces.Count && _pieces[at] is var rest && rest.Offset < to)
        {
            MemoryBytes -= rest.Source is DirtyBuffer ? to - rest.Offset : 0;
            _pieces[at] = rest.Slice(to, rest.End);
        }

        Debug.Assert(MemoryBytes >= 0, "memory counted twice");
    }

    private void Drop(in FilePiece piece)
    {
        if (piece.Source is DirtyBuffer buffer)
        {
            MemoryBytes -= piece.Length;
            buffer.Release();
        }
    }
}
