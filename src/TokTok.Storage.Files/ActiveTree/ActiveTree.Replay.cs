using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <content>What the journal has of the volume and its root has not, done again.</content>
public sealed partial class ActiveTree
{
    private FileTime? _replayTime;

    /// <summary>Does every whole batch behind the root's again. Nobody uses the tree yet.</summary>
    /// <exception cref="DamagedFormatException">A batch is missing, or says something that cannot be.</exception>
    private void Replay()
    {
        if (_store.Journal is not { } journal || _volume.Domain != _store.Realm)
        {
            return;
        }

        _intentSequence = _volume.Root.IntentSequence;
        Intent[] all = [.. journal.Intents(_volume.Root.Id)];
        var replay = new IntentReplay(this);
        foreach (IGrouping<ulong, Intent> batch in all.Where(intent => _volume.Head is { } head && intent.Device == head.Device && intent.Incarnation == head.Incarnation)
            .GroupBy(static intent => intent.Sequence).OrderBy(static group => group.Key).Where(group => group.Key > _volume.Root.IntentSequence))
        {
            Intent[] parts = [.. batch.OrderBy(static intent => intent.Part)];
            if (!parts[^1].IsLast || parts[^1].Part != parts.Length - 1)
            {
                break; // cut short by a crash: never acknowledged, and the last of its line
            }

            if (batch.Key != _intentSequence + 1)
            {
                throw new DamagedFormatException($"intents of volume {_volume.Name}: expected batch {_intentSequence + 1}, found {batch.Key}");
            }

            foreach (Intent part in parts)
            {
                replay.Run(part.Body);
            }

            _intentSequence = batch.Key;
        }

        replay.End();
        _replayTime = null;
        ulong replayed = _intentSequence;
        foreach (Intent intent in all)
        {
            _intentSequence = Math.Max(_intentSequence, intent.Sequence); // a number is given out once
        }

        // What was replayed is in the journal already, and a batch may follow it; behind one that was cut short, or is of another line, it would not be found.
        _loggedStamp = Interlocked.Read(ref _stamp);
        foreach (Inode inode in _dirty)
        {
            inode.Data?.MarkLogged();
        }

        if (replayed == _volume.Root.IntentSequence && all.Length > 0 && !_volume.IsForked && _volume.Head is { } included)
        {
            // A crash came between the root and this.
            journal.Forget(included.Volume, included.Device, included.Incarnation, _intentSequence);
        }

        _mustCommit = _intentSequence != replayed || (_dirty.Count > 0 && !MayFollow());
        _log = new IntentLog();
    }

    /// <summary>Whether new batches of this line are read behind those that were replayed.</summary>
    private bool MayFollow() => _volume.Head is { } head && head.Device == _store.Device && head.Incarnation == _store.Incarnation;

    /// <summary>Batches on their way back into the tree. One caller, before all others.</summary>
    private sealed class IntentReplay(ActiveTree tree)
    {
        private readonly Dictionary<ulong, Inode> _known = new() { [tree._root.Id] = tree._root };

        /// <summary>How often an operation counted an inode as looked up.</summary>
        private readonly List<Inode> _counted = [];

        internal void Run(ReadOnlyMemory<byte> body)
        {
            var reader = new FormatReader(body, "intents");
            while (reader.Remaining > 0)
            {
                var kind = (IntentKind)reader.Byte("kind");
                switch (kind)
                {
                    case IntentKind.Where:
                        Where(ref reader);
                        break;
                    case IntentKind.Make:
                        Make(ref reader);
                        break;
                    case IntentKind.Link:
                        Link(ref reader);
                        break;
                    case IntentKind.Remove:
                        Remove(ref reader);
                        break;
                    case IntentKind.Rename:
                        Rename(ref reader);
                        break;
                    case IntentKind.Attributes:
                        Attributes(ref reader);
                        break;
                    case IntentKind.Xattrs:
                        Xattrs(ref reader);
                        break;
                    case IntentKind.Content:
                        Content(ref reader);
                        break;
                    default:
                        throw reader.Damaged("kind", "1 to 8", $"{(byte)kind}");
                }
            }
        }

        internal void End()
        {
            lock (tree._names)
            {
                foreach (Inode inode in _counted)
                {
                    inode.Lookups--;
                    tree.DropIfIdleLocked(inode);
                }
            }

            _counted.Clear();
        }

        private void Where(ref FormatReader reader)
        {
            ulong id = reader.Varint("file id");
            ulong parent = reader.Varint("directory");
            byte[] name = reader.Counted("name", EntryLimits.MaxNameBytes).ToArray();
            Inode? found;
            while (true)
            {
                FileError error;
                TableMiss miss;
                lock (tree._names)
                {
                    error = parent == 0 ? tree.FromLinkLocked(id, null, out found, out miss) : tree.FindLocked(Known(parent, reader), name, out found, out miss);
                    if (found is not null)
                    {
                        found.Lookups++;
                        _counted.Add(found);
                    }
                }

                if (error != Unread)
                {
                    break;
                }

                _ = tree._tables.Load(miss);
            }

            if (found is null || found.Id != id)
            {
                throw reader.Damaged("where", $"file {id:x}", found is null ? "nothing" : $"file {found.Id:x}");
            }

            _known[id] = found;
        }

        private void Make(ref FormatReader reader)
        {
            ulong id = reader.Varint("file id");
            Inode directory = Known(reader.Varint("directory"), reader);
            byte[] name = reader.Counted("name", EntryLimits.MaxNameBytes).ToArray();
            byte type = reader.Byte("type");
            if (type is < (byte)EntryType.File or > (byte)EntryType.Socket || !directory.IsDirectory || !Entry.IsName(name))
            {
                throw reader.Damaged("make", "a type of 1 to 7 and a name in a directory", $"type {type}, {name.Length} bytes of name, in a {directory.Type}");
            }

            uint mode = (uint)reader.Varint("mode", EntryLimits.MaxMode);
            uint owner = (uint)reader.Varint("owner", uint.MaxValue);
            uint group = (uint)reader.Varint("group", uint.MaxValue);
            FileTime time = Time(ref reader);
            uint major = (uint)reader.Varint("major", uint.MaxValue);
            uint minor = (uint)reader.Varint("minor", uint.MaxValue);
            var inode = new Inode((EntryType)type, id)
            {
                Mode = mode,
                OwnerId = owner,
                GroupId = group,
                Accessed = time,
                Modified = time,
                Changed = time,
                Subdirectories = type == (byte)EntryType.Directory ? 0 : null,
                Rule = tree._volume.Root.DefaultRule,
                DeviceMajor = major,
                DeviceMinor = minor,
                Target = reader.Counted("target", EntryLimits.MaxSymlinkBytes).ToArray(),
                Parent = directory,
                Name = name,
                Lookups = 1,
            };
            tree._ids.Pass(id);
            _counted.Add(inode);
            _known[id] = inode;
            ulong stamp = tree.NextStamp();
            lock (tree._names)
            {
                tree.AddInodeLocked(inode);
                tree.MarkDirty(inode, stamp);
                tree.PutNameLocked(directory, name, null, inode, stamp, time);
            }
        }

        private void Link(ref FormatReader reader)
        {
            Inode file = Known(reader.Varint("file id"), reader);
            Inode directory = Known(reader.Varint("directory"), reader);
            byte[] name = reader.Counted("name", EntryLimits.MaxNameBytes).ToArray();
            tree._replayTime = Time(ref reader);
            FileError error;
            TableMiss miss;
            do
            {
                lock (tree._names)
                {
                    error = tree.LinkLocked(file.Id, directory.Id, name, out _, out _, out miss);
                }
            }
            while (IsUnread(error, miss));
            Expect(reader, "link", error);
            _counted.Add(file);
        }

        private void Remove(ref FormatReader reader)
        {
            Inode directory = Known(reader.Varint("directory"), reader);
            byte[] name = reader.Counted("name", EntryLimits.MaxNameBytes).ToArray();
            bool isDirectory = reader.Byte("is directory") == 1;
            tree._replayTime = Time(ref reader);
            FileError error;
            TableMiss miss;
            do
            {
                lock (tree._names)
                {
                    error = tree.RemoveLocked(directory.Id, name, isDirectory, out _, out miss);
                }
            }
            while (IsUnread(error, miss));
            Expect(reader, "remove", error);
        }

        private void Rename(ref FormatReader reader)
        {
            Inode from = Known(reader.Varint("directory"), reader);
            byte[] fromName = reader.Counted("name", EntryLimits.MaxNameBytes).ToArray();
            Inode to = Known(reader.Varint("new directory"), reader);
            byte[] toName = reader.Counted("new name", EntryLimits.MaxNameBytes).ToArray();
            var mode = (RenameMode)reader.Byte("mode");
            tree._replayTime = Time(ref reader);
            FileError error;
            TableMiss miss;
            do
            {
                lock (tree._names)
                {
                    error = tree.RenameLocked(from.Id, fromName, to.Id, toName, mode, out _, out _, out miss);
                }
            }
            while (IsUnread(error, miss));
            Expect(reader, "rename", error);
        }

        private void Attributes(ref FormatReader reader)
        {
            Inode inode = Known(reader.Varint("file id"), reader);
            uint mode = (uint)reader.Varint("mode", EntryLimits.MaxMode);
            uint owner = (uint)reader.Varint("owner", uint.MaxValue);
            uint group = (uint)reader.Varint("group", uint.MaxValue);
            FileTime time = Time(ref reader);
            int survive = reader.Length("survive", EntryLimits.MaxSurvive + 1);
            inode.Survive = survive > 0 ? survive - 1 : null;
            inode.OwnerName = owner == inode.OwnerId ? inode.OwnerName : null;
            inode.GroupName = group == inode.GroupId ? inode.GroupName : null;
            (inode.Mode, inode.OwnerId, inode.GroupId, inode.Modified, inode.Changed) = (mode, owner, group, time, time);
            tree.MarkDirty(inode, tree.NextStamp());
        }

        private void Xattrs(ref FormatReader reader)
        {
            Inode inode = Known(reader.Varint("file id"), reader);
            bool isFirst = reader.Byte("is first") == 1;
            int count = reader.Length("attributes", AttributeList.MaxAttributes);
            List<Xattr> xattrs = isFirst ? [] : [.. inode.Xattrs ?? []];
            for (int at = 0; at < count; at++)
            {
                byte[] name = reader.Counted("attribute name", AttributeList.MaxNameBytes).ToArray();
                xattrs.Add(new Xattr(name, reader.Counted("attribute value", AttributeList.MaxValueBytes).ToArray()));
            }

            ulong stamp = tree.NextStamp();
            inode.Xattrs = xattrs;
            inode.XattrsStamp = stamp;
            tree.MarkDirty(inode, stamp);
        }

        private void Content(ref FormatReader reader)
        {
            Inode inode = Known(reader.Varint("file id"), reader);
            long size = (long)reader.Varint("size", MaxFileBytes);
            long visible = (long)reader.Varint("visible", long.MaxValue);
            byte rule = reader.Byte("rule");
            if (inode.Type != EntryType.File || rule > (byte)CuttingRule.Fixed)
            {
                throw reader.Damaged("content", "a file and a rule up to 1", $"a {inode.Type} and rule {rule}");
            }

            FileOverlay overlay = tree.OverlayLocked(inode);
            if (visible < long.MaxValue)
            {
                overlay.Truncate(visible);
            }

            while (reader.Byte("piece") is byte kind && kind != 0)
            {
                long offset = (long)reader.Varint("offset", MaxFileBytes);
                if (kind == 3)
                {
                    overlay.Write(offset, reader.Counted("bytes", Intent.MaxBodyBytes).Span, inode.Size);
                    continue;
                }

                long length = (long)reader.Varint("length", (ulong)(MaxFileBytes - offset));
                if (kind == 1)
                {
                    overlay.PutHole(offset, offset + length);
                    continue;
                }

                int skip = reader.Length("skip", BlockLimits.MaxBlockBytes);
                int blockBytes = reader.Length("block bytes", BlockLimits.MaxBlockBytes);
                Score score = reader.Score("score");
                if (kind != 2 || length == 0 || length > blockBytes - skip)
                {
                    throw reader.Damaged("piece", "a hole, a part of a block, or bytes", $"kind {kind}, {length} bytes at {skip} of {blockBytes}");
                }

                overlay.Put([new FilePiece { Offset = offset, Length = length, Source = new StoredBlock(score, blockBytes), Skip = skip }]);
            }

            inode.Size = size;
            inode.Rule = (CuttingRule)rule;
            inode.IsTorn = false;
            tree.MarkDirty(inode, tree.NextStamp());
        }

        private Inode Known(ulong id, FormatReader reader) =>
            _known.TryGetValue(id, out Inode? inode) ? inode : throw reader.Damaged("file id", "one that was named before", $"{id:x}");

        private static FileTime Time(ref FormatReader reader) =>
            new(reader.SignedVarint("seconds"), (uint)reader.Varint("nanoseconds", FileTime.NanosecondsPerSecond - 1));

        private bool IsUnread(FileError error, in TableMiss miss)
        {
            if (error == Unread)
            {
                _ = tree._tables.Load(miss);
            }

            return error == Unread;
        }

        private static void Expect(FormatReader reader, string what, FileError error)
        {
            if (error != FileError.None)
            {
                throw reader.Damaged(what, "an operation that was done before", $"{error}");
            }
        }
    }
}
