using System.Diagnostics;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <content>Open files and their bytes.</content>
public sealed partial class ActiveTree
{
    /// <summary>What a read still has to fetch once it has let the file go.</summary>
    private readonly record struct ReadPart(int Target, int Length)
    {
        internal StoredBlock? Block { get; init; }

        /// <summary>Into the block; without one, where in the committed content.</summary>
        internal long From { get; init; }
    }

    [ThreadStatic]
    private static List<ReadPart>? s_parts;

    public FileError Open(in FileCaller caller, ulong fileId, OpenOptions options, out ulong handle)
    {
        handle = 0;
        Inode inode;
        lock (_names)
        {
            FileError error = TryInode(fileId, out inode);
            if (error != FileError.None || inode.Type != EntryType.File)
            {
                return error != FileError.None ? error : inode.IsDirectory ? FileError.EISDIR : FileError.EINVAL;
            }

            inode.Opens++;
        }

        if ((options & OpenOptions.Truncate) != 0)
        {
            FileError error = AwaitRoom();
            if (error != FileError.None)
            {
                LetGo(inode);
                return error;
            }

            Resize(inode, 0, dropsPrivileges: false);
            Notify(VolumeChangeKind.Content, inode, default, caller.FrontEnd);
            AfterChange();
        }

        handle = _handles.Add(new OpenInode(inode, options, caller.FrontEnd));
        return FileError.None;
    }

    public FileError Release(ulong handle)
    {
        if (!_handles.TryRemove(handle, out OpenInode? open))
        {
            return FileError.EBADF;
        }

        LetGo(open.Inode);
        return FileError.None;
    }

    /// <summary>The file that a handle is of.</summary>
    public bool TryGetFileId(ulong handle, out ulong fileId)
    {
        bool isOpen = _handles.TryGet(handle, out OpenInode? open);
        fileId = isOpen ? open!.Inode.Id : 0;
        return isOpen;
    }

    public FileError Read(ulong handle, long offset, Span<byte> target, out int bytes)
    {
        bytes = 0;
        FileError error = TryFile(handle, OpenOptions.Read, out OpenInode? open);
        if (error != FileError.None || offset < 0)
        {
            return error != FileError.None ? error : FileError.EINVAL;
        }

        List<ReadPart> parts = s_parts ??= [];
        parts.Clear();
        Inode inode = open!.Inode;
        FileContent content;
        lock (inode.Gate)
        {
            content = inode.Content;
            bytes = (int)Math.Min(target.Length, Math.Max(inode.Size - offset, 0));
            target = target[..bytes];
            if (inode.Data is { } overlay)
            {
                ReadLocked(overlay, offset, target, parts);
            }
            else if (bytes > 0)
            {
                parts.Add(new ReadPart(0, bytes) { From = offset });
            }
        }

        _pace.Used();

        // Blocks and committed content never change: what was seen under the gate is one state of the file.
        bool isScattered = open.IsScattered(offset, bytes);
        if (parts.Count == 1 && parts[0] is { Block: null } only && only.Length == bytes)
        {
            _ahead.Read(open.Row, content, offset, bytes);
        }

        try
        {
            foreach (ReadPart part in parts)
            {
                Span<byte> piece = target.Slice(part.Target, part.Length);
                bool isMoreAtHand = part.Block is { } block
                    ? _data.Read(block.Score, block.Bytes, (int)part.From, piece, isScattered)
                    : ReadCommitted(content, part.From, piece, isScattered);
                if (isMoreAtHand)
                {
                    open.IsMoreAtHand = true;
                }
            }
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out error))
        {
            bytes = 0;
            return error;
        }

        return FileError.None;
    }

    public bool HasMoreAtHand(ulong handle)
    {
        if (!_handles.TryGet(handle, out OpenInode? open) || !open.IsMoreAtHand)
        {
            return false;
        }

        open.IsMoreAtHand = false;
        return true;
    }

    public FileError ReadAtHand(ulong handle, long offset, Span<byte> target, int alignment, out long start, out int bytes)
    {
        (start, bytes) = (offset, 0);
        FileError error = TryFile(handle, OpenOptions.Read, out OpenInode? open);
        if (error != FileError.None || offset < 0 || alignment <= 0)
        {
            return error != FileError.None ? error : FileError.EINVAL;
        }

        try
        {
            (Score score, int skip, long from, long end) = BlockAt(open!.Inode, offset, out long size);
            long first = (from + alignment - 1) / alignment * alignment;
            end -= end == size ? 0 : end % alignment;
            if (end - first > target.Length)
            {
                // As much on either side of what was read.
                first = Math.Clamp((offset - (target.Length / 2)) / alignment * alignment, first, (end - target.Length + alignment - 1) / alignment * alignment);
                end = Math.Min(end, first + (target.Length / alignment * alignment));
            }

            if (end > first && _data.TryHandOver(score, skip + (int)(first - from), target[..(int)(end - first)]))
            {
                (start, bytes) = (first, (int)(end - first));
            }
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out error))
        {
            return error;
        }

        return FileError.None;
    }

    /// <summary>The stored block that has a file's byte, and which of the file's bytes come from it in a row. An empty row: that byte is in no block.</summary>
    private (Score Score, int Skip, long From, long End) BlockAt(Inode inode, long offset, out long size)
    {
        FileContent content;
        (long low, long high) = (0, long.MaxValue);
        lock (inode.Gate)
        {
            content = inode.Content;
            size = inode.Size;
            if (inode.Data is { } overlay)
            {
                PieceList pieces = overlay.Pieces;
                int next = overlay.FindFrom(offset);
                if (next < pieces.Count && pieces[next] is var piece && piece.Offset <= offset)
                {
                    return piece.Source is StoredBlock block ? (block.Score, piece.Skip, piece.Offset, piece.End) : default;
                }

                low = next > 0 ? pieces[next - 1].End : 0;
                high = Math.Min(next < pieces.Count ? pieces[next].Offset : high, overlay.BaseVisible);
            }
        }

        if (offset >= Math.Min(size, high) || content.Kind == ContentKind.Inline)
        {
            return default;
        }

        ExtentsBlock leaf = _extents.LeafAt(content, offset, out long leafStart);
        int index = leaf.Find(offset - leafStart);
        Extent extent = leaf.Extents[index];
        long start = leafStart + leaf.Starts[index];
        long from = Math.Max(low, start);
        return extent.IsHole ? default : (extent.Score, extent.Skip + (int)(from - start), from, Math.Min(high, start + extent.Length));
    }

    public FileError Write(ulong handle, long offset, ReadOnlySpan<byte> source, WriteOptions options, out int bytes)
    {
        bytes = 0;
        FileError error = TryFile(handle, OpenOptions.Write, out OpenInode? open);
        if (error != FileError.None || offset < 0)
        {
            return error != FileError.None ? error : FileError.EINVAL;
        }

        if (source.IsEmpty)
        {
            return FileError.None;
        }

        if (offset > MaxFileBytes - source.Length)
        {
            return FileError.EFBIG;
        }

        error = AwaitRoom();
        error = error == FileError.None ? AcceptBytes(source.Length) : error;
        if (error != FileError.None)
        {
            return error;
        }

        Inode inode = open!.Inode;
        bool isFull;
        _cut.EnterReadLock();
        try
        {
            lock (inode.Gate)
            {
                long at = (open.Options & OpenOptions.Append) != 0 ? inode.Size : offset;
                if (at > MaxFileBytes - source.Length)
                {
                    return FileError.EFBIG;
                }

                FileOverlay overlay = OverlayLocked(inode);
                overlay.Write(at, source, inode.Size);
                inode.Size = Math.Max(inode.Size, at + source.Length);
                ContentChangedLocked(inode, (options & WriteOptions.DropPrivileges) != 0, (options & WriteOptions.KeepTimes) != 0);

                // What is written here and there is better made blocks of once, by a commit: every part of it needs a block read and cut anew.
                bool isScattered = overlay.OverwriteCount >= _options.FixedRuleOverwrites;
                isFull = overlay.MemoryBytes >= _options.SpillBytes && !isScattered;
                if (isScattered)
                {
                    Interlocked.Add(ref _scatteredBytes, source.Length);
                }
            }
        }
        finally
        {
            _cut.ExitReadLock();
        }

        bytes = source.Length;
        if ((options & WriteOptions.DropPrivileges) != 0)
        {
            DropCapabilities(inode);
        }

        if (isFull)
        {
            // What it cannot make blocks of stays in memory, and a later commit or write says why.
            _ = Spill(inode, all: false);
        }

        Notify(VolumeChangeKind.Content, inode, default, open.FrontEnd);
        AfterChange();
        return FileError.None;
    }

    public FileError Allocate(ulong handle, AllocateMode mode, long offset, long length)
    {
        FileError error = TryFile(handle, OpenOptions.Write, out OpenInode? open);
        if (error != FileError.None || offset < 0 || length <= 0 || mode is < AllocateMode.Extend or > AllocateMode.ZeroRangeKeepSize)
        {
            return error != FileError.None ? error : mode is < AllocateMode.Extend or > AllocateMode.ZeroRangeKeepSize ? FileError.EOPNOTSUPP : FileError.EINVAL;
        }

        if (offset > MaxFileBytes - length)
        {
            return FileError.EFBIG;
        }

        error = AwaitRoom();
        if (error != FileError.None)
        {
            return error;
        }

        Inode inode = open!.Inode;
        _cut.EnterReadLock();
        try
        {
            lock (inode.Gate)
            {
                if (mode is AllocateMode.PunchHole or AllocateMode.ZeroRange or AllocateMode.ZeroRangeKeepSize && offset < inode.Size)
                {
                    OverlayLocked(inode).PutHole(offset, Math.Min(offset + length, inode.Size));
                }

                if (mode is AllocateMode.Extend or AllocateMode.ZeroRange && offset + length > inode.Size)
                {
                    ResizeLocked(inode, offset + length);
                }

                ContentChangedLocked(inode, dropsPrivileges: false);
            }
        }
        finally
        {
            _cut.ExitReadLock();
        }

        Notify(VolumeChangeKind.Content, inode, default, open.FrontEnd);
        AfterChange();
        return FileError.None;
    }

    public FileError Seek(ulong handle, long offset, SeekTarget target, out long position)
    {
        position = 0;
        FileError error = TryFile(handle, OpenOptions.None, out OpenInode? open);
        if (error != FileError.None)
        {
            return error;
        }

        FileView view = Hold(open!.Inode, out FilePiece[] held);
        try
        {
            if (offset < 0 || offset >= view.Size)
            {
                return FileError.ENXIO;
            }

            for (position = offset; position < view.Size;)
            {
                FileSegment segment = view.SegmentAt(position);
                if (segment.Kind == SegmentKind.Hole == (target == SeekTarget.Hole))
                {
                    return FileError.None;
                }

                position = segment.End;
            }

            return target == SeekTarget.Hole ? FileError.None : FileError.ENXIO;
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out error))
        {
            return error;
        }
        finally
        {
            Thaw(open.Inode, held);
        }
    }

    public FileError CopyRange(ulong fromHandle, long fromOffset, ulong toHandle, long toOffset, long length, out long bytes) =>
        CopyRange(this, fromHandle, fromOffset, toHandle, toOffset, length, out bytes);

    /// <param name="source">This tree, or a snapshot of its volume (<see cref="OpenSnapshot"/>).</param>
    internal FileError CopyRange(ActiveTree source, ulong fromHandle, long fromOffset, ulong toHandle, long toOffset, long length, out long bytes)
    {
        bytes = 0;
        FileError error = source.TryFile(fromHandle, OpenOptions.Read, out OpenInode? from);
        OpenInode? to = null;
        error = error == FileError.None ? TryFile(toHandle, OpenOptions.Write, out to) : error;
        if (error != FileError.None)
        {
            return error;
        }

        if ((to!.Options & OpenOptions.Append) != 0)
        {
            return FileError.EBADF;
        }

        if (fromOffset < 0 || toOffset < 0 || length < 0)
        {
            return FileError.EINVAL;
        }

        lock (from!.Inode.Gate)
        {
            length = Math.Min(length, Math.Max(0, from.Inode.Size - fromOffset));
        }

        if (from.Inode == to.Inode && Math.Max(fromOffset, toOffset) - Math.Min(fromOffset, toOffset) < length)
        {
            return FileError.EINVAL;
        }

        if (toOffset > MaxFileBytes - length)
        {
            return FileError.EFBIG;
        }

        error = AwaitRoom();
        error = error == FileError.None ? ShareRange(from.Inode, fromOffset, to.Inode, toOffset, length, out bytes) : error;
        if (error != FileError.None || bytes == 0)
        {
            return error;
        }

        Notify(VolumeChangeKind.Content, to.Inode, default, to.FrontEnd);
        AfterChange();
        return FileError.None;
    }

    /// <summary>Lets a range show what another does, without reading or copying it: blocks, and written memory too, which both show until either is changed or committed.</summary>
    /// <remarks>
    /// Shared memory takes no room in memory again, but a commit cuts it once for every file that shows it. So between two commits no more is shared than memory for changes holds; beyond that it becomes
    /// blocks first.
    /// </remarks>
    private FileError ShareRange(Inode from, long fromOffset, Inode to, long toOffset, long length, out long bytes)
    {
        bytes = 0;
        for (bool isSpilled = false; ; isSpilled = true)
        {
            FileError error;
            FileView view = Hold(from, out FilePiece[] held, out CuttingRule rule);
            try
            {
                long count = Math.Min(length, Math.Max(0, view.Size - fromOffset));
                if (count == 0)
                {
                    return FileError.None;
                }

                List<FilePiece> pieces = view.PiecesOf(fromOffset, fromOffset + count, toOffset - fromOffset, _memory, out long sharedBytes);
                bool mustSpill = !isSpilled && Interlocked.Read(ref _sharedBytes) + sharedBytes > _options.DirtyBytes;
                error = mustSpill ? FileError.None : AcceptBytes(sharedBytes + ChangeBytes);
                if (mustSpill || error != FileError.None)
                {
                    FileOverlay.Thaw([.. pieces]);
                }
                else
                {
                    PutPieces(to, pieces, rule, sharedBytes);
                    bytes = count;
                }

                if (!mustSpill)
                {
                    return error;
                }
            }
            catch (Exception failure) when (Trouble.TryTell(failure, out error))
            {
                return error;
            }
            finally
            {
                Thaw(from, held);
            }

            error = Spill(from, all: true);
            if (error != FileError.None)
            {
                return error;
            }
        }
    }

    private FileError TryFile(ulong handle, OpenOptions needed, out OpenInode? open) =>
        _handles.TryGet(handle, out open) && open.Listing is null && (open.Options & needed) == needed ? FileError.None : FileError.EBADF;

    private void LetGo(Inode inode)
    {
        lock (_names)
        {
            inode.Opens--;
            Debug.Assert(inode.Opens >= 0, "closed too often");
            DropIfIdleLocked(inode);
        }
    }

    private FileOverlay OverlayLocked(Inode inode) => inode.Data ??= new FileOverlay(_memory, inode.Content.Size);

    private void ContentChangedLocked(Inode inode, bool dropsPrivileges, bool keepsTimes = false)
    {
        if (!keepsTimes)
        {
            FileTime now = Now();
            inode.Modified = now;
            inode.Changed = now;
        }

        inode.IsTorn = false;
        DropSetIdLocked(inode, dropsPrivileges);
        MarkDirty(inode, NextStamp(), isContent: true);
    }

    private void Resize(Inode inode, long size, bool dropsPrivileges)
    {
        _cut.EnterReadLock();
        try
        {
            lock (inode.Gate)
            {
                ResizeLocked(inode, size);
                ContentChangedLocked(inode, dropsPrivileges);
            }
        }
        finally
        {
            _cut.ExitReadLock();
        }
    }

    private void ResizeLocked(Inode inode, long size)
    {
        FileOverlay overlay = OverlayLocked(inode);
        if (size < inode.Size)
        {
            overlay.Truncate(size);
            inode.Rule = size == 0 ? _volume.Root.DefaultRule : inode.Rule;
        }

        inode.Size = size;
    }

    /// <summary>Copies what lies in memory, and notes the rest.</summary>
    private static void ReadLocked(FileOverlay overlay, long offset, Span<byte> target, List<ReadPart> parts)
    {
        PieceList pieces = overlay.Pieces;
        int next = overlay.FindFrom(offset);
        for (int done = 0; done < target.Length;)
        {
            long at = offset + done;
            int count;
            if (next < pieces.Count && pieces[next] is var piece && piece.Offset <= at)
            {
                count = (int)Math.Min(piece.End - at, target.Length - done);
                long from = piece.Skip + (at - piece.Offset);
                switch (piece.Source)
                {
                    case DirtyBuffer buffer:
                        buffer.Bytes.AsSpan((int)from, count).CopyTo(target[done..]);
                        break;
                    case StoredBlock block:
                        parts.Add(new ReadPart(done, count) { Block = block, From = from });
                        break;
                    default:
                        target.Slice(done, count).Clear();
                        break;
                }

                next++;
            }
            else
            {
                long end = next < pieces.Count ? pieces[next].Offset : long.MaxValue;
                bool isVisible = at < overlay.BaseVisible;
                end = isVisible ? Math.Min(end, overlay.BaseVisible) : end;
                count = (int)Math.Min(end - at, target.Length - done);
                if (isVisible)
                {
                    parts.Add(new ReadPart(done, count) { From = at });
                }
                else
                {
                    target.Slice(done, count).Clear();
                }
            }

            done += count;
        }
    }

    /// <returns>Whether there is more at hand (<see cref="DataCache.Read"/>).</returns>
    private bool ReadCommitted(FileContent content, long offset, Span<byte> target, bool isScattered)
    {
        bool isMoreAtHand = false;
        if (content.Kind == ContentKind.Inline)
        {
            content.Inline.Span.Slice((int)offset, target.Length).CopyTo(target);
            return isMoreAtHand;
        }

        while (!target.IsEmpty)
        {
            ExtentsBlock leaf = _extents.LeafAt(content, offset, out long leafStart);
            for (int index = leaf.Find(offset - leafStart); index < leaf.Extents.Length && !target.IsEmpty; index++)
            {
                Extent extent = leaf.Extents[index];
                int into = (int)(offset - leafStart - leaf.Starts[index]);
                int count = (int)Math.Min(extent.Length - into, target.Length);
                if (extent.IsHole)
                {
                    target[..count].Clear();
                }
                else
                {
                    isMoreAtHand |= _data.Read(extent.Score, extent.BlockBytes, extent.Skip + into, target[..count], isScattered);
                }

                offset += count;
                target = target[count..];
            }
        }

        return isMoreAtHand;
    }

    /// <summary>The file as it is now, whatever becomes of it. <see cref="Thaw"/> gives back what is held.</summary>
    private FileView Hold(Inode inode, out FilePiece[] held) => Hold(inode, out held, out _);

    private FileView Hold(Inode inode, out FilePiece[] held, out CuttingRule rule)
    {
        lock (inode.Gate)
        {
            rule = RuleLocked(inode);
            held = inode.Data?.Hold() ?? [];
            return new FileView(_extents, _data, held, inode.Content, inode.Data?.BaseVisible ?? inode.Content.Size, inode.Size);
        }
    }

    private static void Thaw(Inode inode, FilePiece[] held)
    {
        lock (inode.Gate)
        {
            FileOverlay.Thaw(held);
        }
    }

    /// <param name="rule">Where the pieces come from: memory that was written here and there there, is cut as there.</param>
    private void PutPieces(Inode inode, List<FilePiece> pieces, CuttingRule rule, long sharedBytes)
    {
        _cut.EnterReadLock();
        try
        {
            lock (inode.Gate)
            {
                OverlayLocked(inode).Put(pieces);
                inode.Size = Math.Max(inode.Size, pieces[^1].End);
                if (sharedBytes > 0 && rule == CuttingRule.Fixed && inode.Size >= _options.FixedRuleBytes && pieces[^1].End - pieces[0].Offset >= inode.Size / 2)
                {
                    inode.Rule = rule;
                }

                Interlocked.Add(ref _sharedBytes, sharedBytes);
                ContentChangedLocked(inode, dropsPrivileges: false);
            }
        }
        finally
        {
            _cut.ExitReadLock();
        }
    }

    /// <summary>Makes blocks of a file's written memory, so that the memory is free again. The file goes on changing meanwhile. Not while the tree is held.</summary>
    /// <param name="all">The end of the file too, which a later write may go on from.</param>
    private FileError Spill(Inode inode, bool all)
    {
        if (!TryBeginSpill())
        {
            return FileError.None;
        }

        try
        {
            return SpillNow(inode, all);
        }
        finally
        {
            EndSpill();
        }
    }

    private FileError SpillNow(Inode inode, bool all)
    {
        FileOverlay? overlay;
        FilePiece[] held;
        FileView view;
        CuttingRule rule;
        long version;
        int survive;
        lock (inode.Gate)
        {
            overlay = inode.Data;
            if (inode.IsSpilling || overlay is not { MemoryBytes: > 0 })
            {
                return FileError.None;
            }

            inode.IsSpilling = true;
            rule = RuleLocked(inode);
            version = overlay.Version;
            held = overlay.Hold();
            view = new FileView(_extents, _data, held, inode.Content, overlay.BaseVisible, inode.Size);
        }

        lock (_names)
        {
            survive = SurviveLocked(inode);
        }

        List<FilePiece> stored = [];
        FileError error = FileError.None;
        try
        {
            stored = _builder.SpillAsync(view, rule, survive, all, CancellationToken.None).Wait();
        }
        catch (Exception failure) when (Trouble.TryTell(failure, out error))
        {
        }

        long bytes = 0;
        lock (inode.Gate)
        {
            inode.IsSpilling = false;
            if (inode.Data == overlay && stored.Count > 0)
            {
                if (overlay.Version == version)
                {
                    PutRuns(overlay, stored);
                }
                else
                {
                    overlay.Store(held, stored);
                }
            }

            FileOverlay.Thaw(held);
        }

        foreach (FilePiece piece in stored)
        {
            bytes += piece.Length;
        }

        Interlocked.Add(ref _spilledBytes, bytes);
        return error;
    }

    /// <summary>Puts stored pieces run by run: between two of them other pieces lie.</summary>
    private static void PutRuns(FileOverlay overlay, List<FilePiece> stored)
    {
        int start = 0;
        for (int at = 1; at <= stored.Count; at++)
        {
            if (at == stored.Count || stored[at].Offset != stored[at - 1].End)
            {
                overlay.Put(stored.GetRange(start, at - start));
                start = at;
            }
        }
    }

    private CuttingRule RuleLocked(Inode inode)
    {
        if (inode.Data is { } overlay && overlay.OverwriteCount >= _options.FixedRuleOverwrites && inode.Size >= _options.FixedRuleBytes)
        {
            inode.Rule = CuttingRule.Fixed;
        }

        return inode.Rule;
    }
}
