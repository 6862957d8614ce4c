using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>The operations of an intent.</summary>
internal enum IntentKind : byte
{
    Where = 1,
    Make = 2,
    Link = 3,
    Remove = 4,
    Rename = 5,
    Attributes = 6,
    Xattrs = 7,
    Content = 8,
}

/// <summary>Operations on a volume's names since the last cut, and the bytes of a batch of intents.</summary>
/// <remarks>
/// Format: docs/format.md 8.1. Files are named by id; before an operation names one that no operation since the last root made, <see cref="Where"/> says where it stands at that moment.
/// Locks: the tree's gate of names is held around every call. Memory: bounded by the commits that the count of changes begins.
/// </remarks>
internal sealed class IntentLog
{
    /// <summary>A larger batch's memory is let go of again.</summary>
    private const int KeptBytes = 4 << 20;

    private FormatWriter _bytes = new(4096);
    private FormatWriter _taken = new(4096); // the batch that was taken last
    private readonly List<int> _ends = [];
    private readonly HashSet<ulong> _known = [];
    private bool _hasBlocks;

    internal int Bytes => _bytes.Position;

    internal bool IsEmpty => _ends.Count == 0;

    /// <summary>Whether the parts that were taken last name blocks.</summary>
    internal bool NamesBlocks { get; private set; }

    /// <summary>A root includes all of it: files are to be found in that root again.</summary>
    internal void Reset()
    {
        _known.Clear();
        Clear();
    }

    /// <summary>The bytes so far, in pieces of a record each, every operation whole. They are good until the next are taken.</summary>
    internal List<ReadOnlyMemory<byte>> Take()
    {
        List<ReadOnlyMemory<byte>> parts = [];
        int start = 0;
        for (int at = 0; at < _ends.Count; at++)
        {
            bool isFull = at + 1 == _ends.Count || _ends[at + 1] - start > Intent.MaxBodyBytes;
            if (isFull)
            {
                parts.Add(_bytes.Written[start.._ends[at]]);
                start = _ends[at];
            }
        }

        NamesBlocks = _hasBlocks;
        (_bytes, _taken) = (_taken.Position > KeptBytes ? new FormatWriter(4096) : _taken, _bytes);
        Clear();
        return parts;
    }

    internal void Where(Inode inode)
    {
        if (inode.Parent is null && !inode.IsLinked)
        {
            return; // the root
        }

        if (!_known.Add(inode.Id))
        {
            return;
        }

        if (!inode.IsLinked)
        {
            Where(inode.Parent!);
        }

        Begin(IntentKind.Where);
        _bytes.Varint(inode.Id);
        _bytes.Varint(inode.IsLinked ? 0 : inode.Parent!.Id);
        _bytes.Counted(inode.IsLinked ? [] : inode.Name);
        End();
    }

    internal void Make(Inode inode, Inode directory, ReadOnlySpan<byte> name)
    {
        Where(directory);
        _known.Add(inode.Id);
        Begin(IntentKind.Make);
        _bytes.Varint(inode.Id);
        _bytes.Varint(directory.Id);
        _bytes.Counted(name);
        _bytes.Byte((byte)inode.Type);
        _bytes.Varint(inode.Mode);
        _bytes.Varint(inode.OwnerId);
        _bytes.Varint(inode.GroupId);
        Time(inode.Modified);
        _bytes.Varint(inode.DeviceMajor);
        _bytes.Varint(inode.DeviceMinor);
        _bytes.Counted(inode.Target.Span);
        End();
    }

    internal void Link(Inode file, Inode directory, ReadOnlySpan<byte> name, FileTime now)
    {
        Where(file);
        Where(directory);
        Begin(IntentKind.Link);
        _bytes.Varint(file.Id);
        _bytes.Varint(directory.Id);
        _bytes.Counted(name);
        Time(now);
        End();
    }

    internal void Remove(Inode directory, ReadOnlySpan<byte> name, bool isDirectory, FileTime now)
    {
        Where(directory);
        Begin(IntentKind.Remove);
        _bytes.Varint(directory.Id);
        _bytes.Counted(name);
        _bytes.Byte(isDirectory ? (byte)1 : (byte)0);
        Time(now);
        End();
    }

    internal void Rename(Inode from, ReadOnlySpan<byte> fromName, Inode to, ReadOnlySpan<byte> toName, RenameMode mode, FileTime now)
    {
        Where(from);
        Where(to);
        Begin(IntentKind.Rename);
        _bytes.Varint(from.Id);
        _bytes.Counted(fromName);
        _bytes.Varint(to.Id);
        _bytes.Counted(toName);
        _bytes.Byte((byte)mode);
        Time(now);
        End();
    }

    internal void Attributes(Inode inode)
    {
        Where(inode);
        Begin(IntentKind.Attributes);
        _bytes.Varint(inode.Id);
        _bytes.Varint(inode.Mode);
        _bytes.Varint(inode.OwnerId);
        _bytes.Varint(inode.GroupId);
        Time(inode.Modified);
        _bytes.Varint(inode.Survive is int survive ? survive + 1 : 0);
        End();
    }

    internal void Xattrs(Inode inode, List<Xattr> xattrs)
    {
        Where(inode);
        foreach ((int first, int count) in Groups(xattrs))
        {
            Begin(IntentKind.Xattrs);
            _bytes.Varint(inode.Id);
            _bytes.Byte(first == 0 ? (byte)1 : (byte)0);
            _bytes.Varint(count);
            foreach (Xattr xattr in xattrs.GetRange(first, count))
            {
                _bytes.Counted(xattr.Name.Span);
                _bytes.Counted(xattr.Value.Span);
            }

            End();
        }
    }

    /// <param name="visible">Bytes of what was there at the batch before that show still.</param>
    internal void Content(Inode inode, long visible, ReadOnlySpan<FilePiece> pieces)
    {
        const int MaxDataBytes = Intent.MaxBodyBytes / 2;
        Where(inode);
        int at = 0;
        bool isFirst = true;
        long offset = pieces.IsEmpty ? 0 : pieces[0].Offset;
        while (isFirst || at < pieces.Length)
        {
            // A first operation cuts the file off, and each takes as much as half a record holds.
            Begin(IntentKind.Content);
            _bytes.Varint(inode.Id);
            _bytes.Varint((ulong)inode.Size);
            _bytes.Varint((ulong)(isFirst ? visible : long.MaxValue));
            _bytes.Byte((byte)inode.Rule);
            isFirst = false;
            int startBytes = _bytes.Position;
            while (at < pieces.Length && _bytes.Position - startBytes < MaxDataBytes)
            {
                FilePiece piece = pieces[at].Slice(offset, pieces[at].End);
                if (piece.Source is DirtyBuffer buffer)
                {
                    int count = (int)Math.Min(piece.Length, MaxDataBytes - (_bytes.Position - startBytes));
                    _bytes.Byte(3);
                    _bytes.Varint((ulong)offset);
                    _bytes.Counted(buffer.Bytes.AsSpan(piece.Skip, count));
                    offset += count;
                }
                else
                {
                    _bytes.Byte(piece.Source is StoredBlock ? (byte)2 : (byte)1);
                    _bytes.Varint((ulong)offset);
                    _bytes.Varint((ulong)piece.Length);
                    if (piece.Source is StoredBlock block)
                    {
                        _bytes.Varint(piece.Skip);
                        _bytes.Varint(block.Bytes);
                        _bytes.Score(block.Score);
                        _hasBlocks = true;
                    }

                    offset = piece.End;
                }

                if (offset == pieces[at].End)
                {
                    at++;
                    offset = at < pieces.Length ? pieces[at].Offset : 0;
                }
            }

            _bytes.Byte(0);
            End();
        }
    }

    private static IEnumerable<(int First, int Count)> Groups(List<Xattr> xattrs)
    {
        int first = 0;
        int bytes = 0;
        for (int at = 0; at < xattrs.Count; at++)
        {
            int own = xattrs[at].Name.Length + xattrs[at].Value.Length + 8;
            if (at > first && bytes + own > Intent.MaxBodyBytes / 2)
            {
                yield return (first, at - first);
                (first, bytes) = (at, 0);
            }

            bytes += own;
        }

        yield return (first, xattrs.Count - first);
    }

    private void Time(FileTime time)
    {
        _bytes.SignedVarint(time.Seconds);
        _bytes.Varint(time.Nanoseconds);
    }

    private void Begin(IntentKind kind) => _bytes.Byte((byte)kind);

    private void End() => _ends.Add(_bytes.Position);

    private void Clear()
    {
        _bytes.Clear();
        _ends.Clear();
        _hasBlocks = false;
    }
}
