using System.Buffers;
using System.Globalization;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>A holder that is a folder: one file for all its fragments of an arena, and a few named objects.</summary>
/// <remarks>
/// Format: docs/format.md 7. Calls block on the disk and complete before they return.
/// Locks: _gate serialises everything that writes; readers take none. Reads of fragments go through files kept open (<see cref="OpenFragments"/>), everything else opens its own.
/// A file is replaced by rename, so a reader has the old one or the new one; groups written in place were damaged before.
/// Durable: when a call returns, its bytes and names are synced, and not before; what a crash leaves behind is said at each order of writes.
/// One process at a time should write; a second one is safe but does not see the first one's gate. Each holds a lock of its own, whose number its temporaries bear:
/// they are deleted only by who holds that lock. A process beyond <see cref="MaxLocks"/> has none; what it is writing may go when another starts, and its call then fails.
/// </remarks>
public sealed class FolderHolder : IFragmentHolder, IDisposable
{
    private const int ObjectParts = 3;
    private const int ObjectPartCharacters = 100;
    private const int IdentityBytes = 8 + HolderId.Size + Blake3.HashSize;
    private const int CopyBytes = 1024 * 1024;
    private const int KeptOpenCount = 32;

    /// <summary>Processes that may write at once, each under a lock of its own.</summary>
    private const int MaxLocks = 16;

    private static readonly string[] s_folders = ["fragments", "trash", "damaged", "objects", "tmp"];

    private static readonly SearchValues<char> s_objectCharacters = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789-_.");

    private readonly Lock _gate = new();
    private readonly IDisk _disk;
    private readonly string _root;
    private readonly IRandomSource _random;
    private readonly HashSet<string> _knownFolders = [];
    private readonly OpenFragments _open = new(KeptOpenCount);
    private readonly IDisposable? _lock;
    private readonly int _lockNumber;

    private FolderHolder(IDisk disk, string root, IRandomSource random, HolderId id, bool mayWrite)
    {
        _disk = disk;
        _root = root;
        _random = random;
        Id = id;
        _lock = mayWrite ? TakeLock(out _lockNumber) : null;
    }

    private static ReadOnlySpan<byte> Magic => "TDFSHLD1"u8;

    public HolderId Id { get; }

    internal int OpenFileCount => _open.KeptCount;

    /// <summary>Whether a folder can be made into a holder: it is absent, or has no more in it than a new file system or an interrupted creation leaves.</summary>
    public static bool IsFree(IDisk disk, string root)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(root);
        root = root.TrimEnd('/');
        return !disk.DirectoryExists(root) || disk.List(root).All(entry => IsLeftover(disk, root, entry));
    }

    /// <summary>The holder file's temporary may be there; anything else below our folders is a holder's that lost its name.</summary>
    private static bool IsLeftover(IDisk disk, string root, DiskEntry entry) =>
        entry.Name == "lost+found"
        || (entry.IsDirectory && Array.IndexOf(s_folders, entry.Name) >= 0 && (entry.Name == "tmp" || disk.List(root + "/" + entry.Name).Count == 0));

    /// <summary>Makes a folder into a holder. It must be absent or empty.</summary>
    public static FolderHolder Create(IDisk disk, string root, IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(root);
        ArgumentNullException.ThrowIfNull(random);
        root = root.TrimEnd('/');
        disk.CreateDirectory(root);
        foreach (DiskEntry entry in disk.List(root))
        {
            if (entry.Name == "holder")
            {
                throw new DiskException(DiskFailure.AlreadyExists, "create holder", root, "the folder is a holder already");
            }

            if (!IsLeftover(disk, root, entry))
            {
                throw new DiskException(DiskFailure.AlreadyExists, "create holder", root, $"the folder is not empty: it has '{entry.Name}'");
            }
        }

        foreach (string folder in s_folders)
        {
            disk.CreateDirectory(root + "/" + folder);
        }

        // Last: until this name is durable there is no holder, and creating it again begins anew.
        byte[] identity = new byte[IdentityBytes];
        HolderId id = HolderId.New(random);
        Magic.CopyTo(identity);
        id.Write(identity.AsSpan(Magic.Length));
        Blake3.Hash(identity.AsSpan(0, Magic.Length + HolderId.Size), identity.AsSpan(Magic.Length + HolderId.Size));
        WriteWhole(disk, root + "/tmp/" + TemporaryName(random), root + "/holder", identity);
        return new FolderHolder(disk, root, random, id, mayWrite: true);
    }

    /// <param name="mayWrite">False for who only reads: then nothing is locked, and a writer's temporaries are left alone.</param>
    /// <exception cref="DiskException">The folder cannot be reached, or is no holder (NotFound).</exception>
    /// <exception cref="DamagedFormatException">The holder file is damaged or of a version this program does not know.</exception>
    public static FolderHolder Open(IDisk disk, string root, IRandomSource random, bool mayWrite = true)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(root);
        ArgumentNullException.ThrowIfNull(random);
        root = root.TrimEnd('/');
        string path = root + "/holder";
        if (!disk.FileExists(path))
        {
            string reason = !disk.DirectoryExists(root) ? "no such folder; is its disk mounted?"
                : disk.List(root).Count == 0 ? "not a holder: the folder is empty; is its disk mounted?"
                : "not a holder: the folder has no file 'holder'";
            throw new DiskException(DiskFailure.NotFound, "open holder", root, reason);
        }

        Span<byte> identity = stackalloc byte[IdentityBytes + 1];
        using (IDiskFile file = disk.Open(path, DiskOpen.Read))
        {
            identity = identity[..file.Read(0, identity)];
        }

        var reader = new FieldReader(identity, path);
        reader.Magic(Magic);
        HolderId id = HolderId.Read(reader.Bytes(HolderId.Size));
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(identity[..reader.Position], checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("the checksum does not match");
        }

        reader.End();
        foreach (string folder in s_folders)
        {
            // A copy of a holder may have lost its empty folders.
            if (mayWrite && !disk.DirectoryExists(root + "/" + folder))
            {
                disk.CreateDirectory(root + "/" + folder);
            }
        }

        return new FolderHolder(disk, root, random, id, mayWrite);
    }

    public ValueTask PutAsync(
        ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(fragments);
        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            PutLocked(id, dataFragments, parityFragments, sliceBytes, fragments, keepOthers: true);
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask ReplaceAsync(
        ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(fragments);
        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            PutLocked(id, dataFragments, parityFragments, sliceBytes, fragments, keepOthers: false);
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        cancel.ThrowIfCancellationRequested();
        if ((_open.Rent(id, out long ticket) ?? OpenForReading(id, ticket)) is not OpenFragment opened)
        {
            return ValueTask.FromResult(-1);
        }

        try
        {
            FragmentFile record = opened.Record;
            int position = record.PositionOf(fragmentIndex);
            if (position < 0)
            {
                return ValueTask.FromResult(-1);
            }

            int count = (int)Math.Clamp(record.SliceBytes - offset, 0, target.Length);
            return ValueTask.FromResult(opened.File.Read(record.OffsetOf(position) + offset, target.Span[..count]));
        }
        catch (DiskException)
        {
            _open.Drop(id);
            throw;
        }
        finally
        {
            _open.Return(opened);
        }
    }

    public ValueTask<byte[]?> ReadGroupHashesAsync(ArenaId id, int fragmentIndex, FragmentName expected, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        _open.Drop(id);
        if (PathOf(id) is not string path)
        {
            return ValueTask.FromResult<byte[]?>(null);
        }

        using IDiskFile file = _disk.Open(path, DiskOpen.Read);
        (FragmentFile record, byte[]? first, byte[]? second, _) = FragmentRecords.Load(file, id, path, bothRecords: true);
        int position = record.PositionOf(fragmentIndex);
        return ValueTask.FromResult(position < 0 ? null : FragmentRecords.BestHashes(record, first, second, position, expected));
    }

    public ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        _open.Drop(id);
        return ValueTask.FromResult(PathOf(id) is string path ? Inspect(id, path) : null);
    }

    public ValueTask SettleAsync(ArenaId id, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            if (PathOf(id) is string path)
            {
                SettleLocked(path);
            }
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask<int> SalvageAsync(
        ArenaId id, int sliceBytes, IReadOnlyList<int> heldIndexes, int fragmentIndex, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(heldIndexes);
        cancel.ThrowIfCancellationRequested();
        int position = heldIndexes.Order().ToList().IndexOf(fragmentIndex);
        if (position < 0 || PathOf(id) is not string path)
        {
            return ValueTask.FromResult(-1);
        }

        using IDiskFile file = _disk.Open(path, DiskOpen.Read);
        long offset = FragmentFile.RecordBytesOf(heldIndexes.Count, sliceBytes) + ((long)position * sliceBytes);
        return ValueTask.FromResult(file.Read(offset, target.Span[..Math.Min(target.Length, sliceBytes)]));
    }

    public ValueTask RewriteGroupsAsync(ArenaId id, int fragmentIndex, IReadOnlyList<int> groups, ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(groups);
        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            // In place, because these groups are damaged already: a crash in the middle leaves them damaged or mended, and no other byte is
            // touched, since groups begin and end at multiples of 4,096. A new file would cost the whole arena's bytes for one bad sector.
            string path = RequirePath(id);
            using IDiskFile file = _disk.Open(path, DiskOpen.ReadWrite);
            FragmentFile record = FragmentRecords.Load(file, id, path).File;
            int position = record.PositionOf(fragmentIndex);
            if (position < 0)
            {
                throw new DiskException(DiskFailure.NotFound, "mend", path, $"it has no fragment {fragmentIndex}");
            }

            int taken = 0;
            foreach (int group in groups)
            {
                ArgumentOutOfRangeException.ThrowIfNegative(group, nameof(groups));
                ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(group, record.GroupCount, nameof(groups));
                int start = group * FragmentFile.GroupBytes;
                int length = Math.Min(FragmentFile.GroupBytes, record.SliceBytes - start);
                file.Write(record.OffsetOf(position) + start, bytes.Span.Slice(taken, length));
                taken += length;
            }

            ArgumentOutOfRangeException.ThrowIfNotEqual(bytes.Length, taken, nameof(bytes));
            file.Sync();
            _open.Drop(id);
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask MendAsync(ArenaId id, IReadOnlyList<FragmentHashes> hashes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(hashes);
        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            string path = RequirePath(id);
            using IDiskFile file = _disk.Open(path, DiskOpen.ReadWrite);
            (FragmentFile record, byte[]? first, byte[]? second, _) = FragmentRecords.Load(file, id, path, bothRecords: true);
            var lists = new ReadOnlyMemory<byte>?[record.Fragments.Count];
            for (int position = 0; position < lists.Length; position++)
            {
                HeldFragment fragment = record.Fragments[position];
                foreach (FragmentHashes given in hashes)
                {
                    if (given.Index == fragment.Index && given.GroupHashes.Length == record.HashBytes && FragmentFile.FoldsTo(given.GroupHashes.Span, fragment.Name))
                    {
                        lists[position] = given.GroupHashes;
                    }
                }

                if (lists[position] is null && FragmentRecords.BestHashes(record, first, second, position, fragment.Name) is byte[] known)
                {
                    lists[position] = known;
                }
            }

            byte[] wanted = record.Write(lists);
            long end = record.FileBytes;
            if (file.Length > end)
            {
                // What lies beyond is no part of the file; cut first, so that the second record is found from the end.
                file.Truncate(end);
                file.Sync();
            }

            // The worse one first, then the other: at every instant one record is as good as the better one was.
            bool firstIsWhole = first is not null && first.AsSpan().SequenceEqual(wanted);
            bool secondIsWhole = second is not null && second.AsSpan().SequenceEqual(wanted);
            if (!secondIsWhole && first is not null)
            {
                file.Write(record.SecondRecordOffset, wanted);  // 1. a crash leaves the first record
                file.Sync();
                secondIsWhole = true;
            }

            if (!firstIsWhole)
            {
                file.Write(0, wanted);                          // 2. a crash leaves the second record
                file.Sync();
            }

            if (!secondIsWhole)
            {
                file.Write(record.SecondRecordOffset, wanted);  // 3. a crash leaves the first record, just synced
                file.Sync();
            }

            _open.Drop(id);
        }

        return ValueTask.CompletedTask;
    }

    private IReadOnlyList<DiskEntry> ListIfThere(string folder) => _disk.DirectoryExists(folder) ? _disk.List(folder) : [];

    public ValueTask<IReadOnlyList<HeldArenaEntry>> ListAsync(CancellationToken cancel)
    {
        var found = new List<HeldArenaEntry>();
        var folders = new List<(string Path, bool IsTrash)> { (_root + "/trash", true) };
        foreach (DiskEntry folder in ListIfThere(_root + "/fragments"))
        {
            if (folder.IsDirectory)
            {
                folders.Add((_root + "/fragments/" + folder.Name, false));
            }
        }

        foreach ((string folder, bool isTrash) in folders)
        {
            foreach (DiskEntry entry in ListIfThere(folder))
            {
                cancel.ThrowIfCancellationRequested();
                if (entry.IsDirectory || !TryParseId(entry.Name, out ArenaId id) || (!isTrash && folder != FolderOf(id)))
                {
                    continue;   // not ours
                }

                try
                {
                    found.Add(new HeldArenaEntry(id, isTrash, Inspect(id, folder + "/" + entry.Name), null));
                }
                catch (DamagedFormatException damage)
                {
                    found.Add(new HeldArenaEntry(id, isTrash, null, damage.Message));
                }
            }
        }

        return ValueTask.FromResult<IReadOnlyList<HeldArenaEntry>>(found);
    }

    public ValueTask TrashAsync(ArenaId id, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        MoveIfPresent(LivePath(id), TrashPath(id));
        _open.Drop(id);
        return ValueTask.CompletedTask;
    }

    public ValueTask RestoreAsync(ArenaId id, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            // A live file that was written since is the newer one.
            if (_disk.FileExists(LivePath(id)))
            {
                return ValueTask.CompletedTask;
            }

            MakeFolderLocked(FolderOf(id));
        }

        MoveIfPresent(TrashPath(id), LivePath(id));
        _open.Drop(id);
        return ValueTask.CompletedTask;
    }

    public ValueTask PurgeAsync(ArenaId id, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        DeleteIfPresent(TrashPath(id));
        DeleteSetAside(id);
        _open.Drop(id);
        return ValueTask.CompletedTask;
    }

    public ValueTask DeleteAsync(ArenaId id, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        DeleteIfPresent(LivePath(id));
        _open.Drop(id);
        return ValueTask.CompletedTask;
    }

    public ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        cancel.ThrowIfCancellationRequested();
        var found = new List<HolderObject>();
        int slash = prefix.LastIndexOf('/');
        string folder = slash < 0 ? "" : prefix[..slash];
        if (folder.Length == 0 || IsObjectName(folder))
        {
            Collect(folder, prefix, found);
        }

        found.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        return ValueTask.FromResult<IReadOnlyList<HolderObject>>(found);
    }

    public ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        string path = ObjectPath(name);
        if (!_disk.FileExists(path))
        {
            return ValueTask.FromResult(0);
        }

        using IDiskFile file = _disk.Open(path, DiskOpen.Read);
        return ValueTask.FromResult(file.Read(offset, target.Span));
    }

    public ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, CancellationToken cancel)
    {
        if (offset == 0)
        {
            return PutObjectAsync(name, bytes, cancel);
        }

        cancel.ThrowIfCancellationRequested();
        lock (_gate)
        {
            string path = ObjectPath(name);
            using IDiskFile file = _disk.Open(path, DiskOpen.ReadWrite);
            long length = file.Length;
            if (length != offset)
            {
                throw new DiskException(DiskFailure.Failed, "append", path, $"it has {length} bytes, {offset} expected");
            }

            // A crash, or a failure, leaves a prefix of the bytes or noise in their place: the writer finds the length wrong and begins anew.
            file.Write(offset, bytes.Span);
            if (isSynced)
            {
                file.Sync();
            }
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        string path = ObjectPath(name);
        lock (_gate)
        {
            MakeFolderLocked(path[..path.LastIndexOf('/')]);
            WriteWhole(_disk, TemporaryPath(), path, bytes.Span);
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask DeleteObjectAsync(string name, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        DeleteIfPresent(ObjectPath(name));
        return ValueTask.CompletedTask;
    }

    public void Dispose()
    {
        _open.Dispose();
        _lock?.Dispose();
    }

    private OpenFragment? OpenForReading(ArenaId id, long ticket)
    {
        if (PathOf(id) is not string path)
        {
            return null;
        }

        IDiskFile file = _disk.Open(path, DiskOpen.Read);
        try
        {
            return _open.Keep(id, file, FragmentRecords.Load(file, id, path).File, ticket);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static string TemporaryName(IRandomSource random)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.Fill(bytes);
        return Convert.ToHexStringLower(bytes);
    }

    /// <summary>A crash before the rename is durable leaves the old file, and a temporary that the next start deletes.</summary>
    private static void WriteWhole(IDisk disk, string temporary, string path, ReadOnlySpan<byte> bytes)
    {
        try
        {
            using (IDiskFile file = disk.Open(temporary, DiskOpen.CreateNew))
            {
                file.Write(0, bytes);                               // 1. the bytes
                file.Sync();
            }

            disk.Rename(temporary, path);                           // 2. the name
            disk.SyncDirectory(path[..path.LastIndexOf('/')]);
        }
        catch (DiskException)
        {
            DeleteQuietly(disk, temporary);
            throw;
        }
    }

    /// <summary>After a failure that is already on its way to the caller; what stays behind is deleted at the next start.</summary>
    private static void DeleteQuietly(IDisk disk, string path)
    {
        try
        {
            if (disk.FileExists(path))
            {
                disk.Delete(path);
            }
        }
        catch (DiskException)
        {
        }
    }

    private static bool TryParseId(string name, out ArenaId id)
    {
        id = default;
        Span<byte> bytes = stackalloc byte[ArenaId.Size];
        if (Convert.FromHexString(name, bytes, out _, out int written) != OperationStatus.Done || written != ArenaId.Size)
        {
            return false;
        }

        id = ArenaId.Read(bytes);
        return id.ToString() == name;
    }

    private static bool IsObjectName(string name)
    {
        string[] parts = name.Split('/', ObjectParts + 1);
        return parts.Length <= ObjectParts && Array.TrueForAll(parts, static part =>
            part.Length is >= 1 and <= ObjectPartCharacters && part[0] != '.'
            && part.AsSpan().IndexOfAnyExcept(s_objectCharacters) < 0);
    }

    private void PutLocked(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, bool keepOthers)
    {
        string path = LivePath(id);
        var added = new SortedDictionary<int, FragmentData>();
        foreach (FragmentData fragment in fragments)
        {
            CheckFragment(fragment, sliceBytes);
            added.Add(fragment.Index, fragment);
        }

        IDiskFile? old = null;
        try
        {
            FragmentFile? oldRecord = null;
            byte[]? first = null;
            byte[]? second = null;
            if (_disk.FileExists(path))
            {
                old = _disk.Open(path, DiskOpen.Read);
                if (FragmentRecords.IsAnothers(old, id))
                {
                    SetAsideLocked(id, path);
                }
                else if (keepOthers)
                {
                    (oldRecord, first, second, _) = FragmentRecords.Load(old, id, path, bothRecords: true);
                    if (oldRecord.DataFragments != dataFragments || oldRecord.ParityFragments != parityFragments || oldRecord.SliceBytes != sliceBytes)
                    {
                        throw new DamagedFormatException(
                            $"{path}: has {oldRecord.DataFragments}+{oldRecord.ParityFragments} fragments of {oldRecord.SliceBytes} bytes, "
                            + $"expected {dataFragments}+{parityFragments} of {sliceBytes}");
                    }
                }
            }

            var names = new SortedDictionary<int, FragmentName>();
            foreach (HeldFragment held in oldRecord?.Fragments ?? [])
            {
                names[held.Index] = held.Name;
                if (added.TryGetValue(held.Index, out FragmentData same) && same.Name == held.Name)
                {
                    added.Remove(held.Index);
                }
            }

            if (added.Count == 0)
            {
                SettleLocked(path);
                return;
            }

            foreach (FragmentData fragment in added.Values)
            {
                names[fragment.Index] = fragment.Name;
            }

            FragmentFile record = FragmentFile.Of(
                id, dataFragments, parityFragments, sliceBytes, [.. names.Select(static name => new HeldFragment(name.Key, name.Value))]);
            var hashes = new ReadOnlyMemory<byte>?[record.Fragments.Count];
            for (int i = 0; i < hashes.Length; i++)
            {
                HeldFragment fragment = record.Fragments[i];
                if (added.TryGetValue(fragment.Index, out FragmentData data))
                {
                    hashes[i] = data.GroupHashes;
                }
                else if (FragmentRecords.BestHashes(oldRecord!, first, second, oldRecord!.PositionOf(fragment.Index), fragment.Name) is byte[] known)
                {
                    hashes[i] = known;
                }
            }

            WriteFragmentsLocked(path, record, record.Write(hashes), added, old, oldRecord);
        }
        finally
        {
            old?.Dispose();
        }
    }

    /// <summary>Bytes and name of a file that an earlier process, killed perhaps, put there.</summary>
    private void SettleLocked(string path)
    {
        using (IDiskFile file = _disk.Open(path, DiskOpen.Read))
        {
            file.Sync();
        }

        string folder = path[..path.LastIndexOf('/')];
        _disk.SyncDirectory(folder);
        _disk.SyncDirectory(folder[..folder.LastIndexOf('/')]);
    }

    /// <summary>A crash before the rename is durable leaves the file as it was, or none, and a temporary that the next start deletes.</summary>
    private void WriteFragmentsLocked(
        string path, FragmentFile record, byte[] recordBytes, SortedDictionary<int, FragmentData> added, IDiskFile? old, FragmentFile? oldRecord)
    {
        MakeFolderLocked(FolderOf(record.Id));
        string temporary = TemporaryPath();
        try
        {
            using (IDiskFile file = _disk.Open(temporary, DiskOpen.CreateNew))
            {
                file.Write(0, recordBytes);                                             // 1. the bytes
                for (int i = 0; i < record.Fragments.Count; i++)
                {
                    if (added.TryGetValue(record.Fragments[i].Index, out FragmentData data))
                    {
                        file.Write(record.OffsetOf(i), data.Bytes.Span);
                    }
                    else
                    {
                        Copy(old!, oldRecord!.OffsetOf(oldRecord.PositionOf(record.Fragments[i].Index)), file, record.OffsetOf(i), record.SliceBytes);
                    }
                }

                file.Write(record.SecondRecordOffset, recordBytes);
                file.Sync();
            }

            _disk.Rename(temporary, path);                                              // 2. the name
            _open.Drop(record.Id);
            _disk.SyncDirectory(FolderOf(record.Id));
        }
        catch (DiskException)
        {
            DeleteQuietly(_disk, temporary);
            throw;
        }
    }

    /// <summary>Copies as it is, damage included: only the reader, who knows the names, can tell. Sectors that cannot be read become zeros.</summary>
    private static void Copy(IDiskFile from, long fromOffset, IDiskFile to, long toOffset, int length)
    {
        byte[] buffer = new byte[Math.Min(CopyBytes, length)];
        for (int done = 0; done < length;)
        {
            Span<byte> part = buffer.AsSpan(0, Math.Min(buffer.Length, length - done));
            part.Clear();
            try
            {
                _ = from.Read(fromOffset + done, part);
            }
            catch (DiskException failure) when (failure.Failure == DiskFailure.Failed)
            {
                part.Clear();
                for (int piece = 0; piece < part.Length; piece += FragmentFile.Alignment)
                {
                    _ = FragmentRecords.TryRead(from, fromOffset + done + piece, part.Slice(piece, FragmentFile.Alignment));
                }
            }

            to.Write(toOffset + done, part);
            done += part.Length;
        }
    }

    /// <summary>Check data just before writing it: a fragment that is not what its name says is our own mistake, and would look like damage for ever.</summary>
    private static void CheckFragment(FragmentData fragment, int sliceBytes)
    {
        if (fragment.Bytes.Length != sliceBytes)
        {
            throw new ArgumentException($"fragment {fragment.Index} has {fragment.Bytes.Length} bytes, its arena's slice has {sliceBytes}", nameof(fragment));
        }

        byte[] hashes = new byte[FragmentFile.GroupsOf(sliceBytes) * Blake3.HashSize];
        Span<byte> root = stackalloc byte[Blake3.HashSize];
        Blake3Tree.HashWithGroups(fragment.Bytes.Span, hashes, root);
        if (FragmentName.Read(root) != fragment.Name || !fragment.GroupHashes.Span.SequenceEqual(hashes))
        {
            throw new ArgumentException($"the bytes of fragment {fragment.Index} do not match its name {fragment.Name} and group hashes", nameof(fragment));
        }
    }

    /// <summary>Someone's renaming put another arena's file here. It is not ours to overwrite: it may be that arena's only copy.</summary>
    private void SetAsideLocked(ArenaId id, string path)
    {
        _disk.Rename(path, _root + "/damaged/" + id + "-" + TemporaryName(_random)[..16]);
        _open.Drop(id);
        _disk.SyncDirectory(_root + "/damaged");
        _disk.SyncDirectory(FolderOf(id));
    }

    /// <summary>What was set aside goes with the arena that it belongs to, wherever it was found.</summary>
    private void DeleteSetAside(ArenaId id)
    {
        string folder = _root + "/damaged";
        if (!_disk.DirectoryExists(folder))
        {
            return;
        }

        byte[] start = new byte[FragmentFile.Alignment];
        foreach (DiskEntry entry in _disk.List(folder).Where(static entry => !entry.IsDirectory))
        {
            string path = folder + "/" + entry.Name;
            bool isIts;
            using (IDiskFile file = _disk.Open(path, DiskOpen.Read))
            {
                isIts = FragmentFile.ClaimedId(start.AsSpan(0, FragmentRecords.TryRead(file, 0, start))) == id;
            }

            if (isIts)
            {
                DeleteIfPresent(path);
            }
        }
    }

    private HeldArena Inspect(ArenaId id, string path)
    {
        using IDiskFile file = _disk.Open(path, DiskOpen.Read);
        (FragmentFile record, byte[]? first, byte[]? second, bool isDamaged) = FragmentRecords.Load(file, id, path, bothRecords: true);
        for (int i = 0; i < record.Fragments.Count && !isDamaged; i++)
        {
            isDamaged = record.HashesOf(first, i, record.Fragments[i].Name) is null || record.HashesOf(second, i, record.Fragments[i].Name) is null;
        }

        return new HeldArena(
            id, record.DataFragments, record.ParityFragments, record.SliceBytes, record.Fragments, isDamaged, path.StartsWith(_root + "/trash/", StringComparison.Ordinal));
    }

    private void Collect(string folder, string prefix, List<HolderObject> found)
    {
        string path = _root + "/objects" + (folder.Length == 0 ? "" : "/" + folder);
        if (!_disk.DirectoryExists(path))
        {
            return;
        }

        foreach (DiskEntry entry in _disk.List(path))
        {
            string name = folder.Length == 0 ? entry.Name : folder + "/" + entry.Name;
            if (!IsObjectName(name))
            {
                continue;   // not ours
            }

            if (entry.IsDirectory)
            {
                if ((name + "/").StartsWith(prefix, StringComparison.Ordinal))
                {
                    Collect(name, prefix, found);
                }
            }
            else if (name.StartsWith(prefix, StringComparison.Ordinal))
            {
                found.Add(new HolderObject(name, entry.Length));
            }
        }
    }

    private void MoveIfPresent(string from, string to)
    {
        lock (_gate)
        {
            if (_disk.FileExists(from))
            {
                _disk.Rename(from, to);
                _disk.SyncDirectory(to[..to.LastIndexOf('/')]);
                _disk.SyncDirectory(from[..from.LastIndexOf('/')]);
            }
        }
    }

    private void DeleteIfPresent(string path)
    {
        lock (_gate)
        {
            if (_disk.FileExists(path))
            {
                _disk.Delete(path);
                _disk.SyncDirectory(path[..path.LastIndexOf('/')]);
            }
        }
    }

    private void MakeFolderLocked(string path)
    {
        if (_knownFolders.Add(path))
        {
            try
            {
                _disk.CreateDirectory(path);
            }
            catch
            {
                _knownFolders.Remove(path);
                throw;
            }
        }
    }

    private string TemporaryPath() => _root + "/tmp/" + TemporaryPrefix(_lockNumber) + TemporaryName(_random);

    private static string TemporaryPrefix(int lockNumber) => lockNumber == 0 ? "" : $"{lockNumber}-";

    private string LockPath(int lockNumber) => _root + (lockNumber == 0 ? "/lock" : $"/lock-{lockNumber}");

    private string FolderOf(ArenaId id) => _root + "/fragments/" + id.ToString()[..2];

    private string LivePath(ArenaId id) => FolderOf(id) + "/" + id;

    private string TrashPath(ArenaId id) => _root + "/trash/" + id;

    private string? PathOf(ArenaId id) => _disk.FileExists(LivePath(id)) ? LivePath(id) : _disk.FileExists(TrashPath(id)) ? TrashPath(id) : null;

    private string RequirePath(ArenaId id) =>
        PathOf(id) ?? throw new DiskException(DiskFailure.NotFound, "open", LivePath(id), "the holder has no fragment of this arena");

    private string ObjectPath(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return IsObjectName(name) ? _root + "/objects/" + name : throw new ArgumentException($"'{name}' is no name of an object", nameof(name));
    }

    /// <summary>Takes the first lock that is free, and deletes what earlier runs left unfinished under it; under other locks too, where nobody holds them.</summary>
    private IDisposable? TakeLock(out int lockNumber)
    {
        lockNumber = 0;
        try
        {
            IDisposable? held = null;
            for (int number = 0; number < MaxLocks && held is null; number++)
            {
                held = _disk.TryLock(LockPath(number));
                lockNumber = held is null ? 0 : number;
            }

            if (held is not null)
            {
                CleanTemporaries(lockNumber);
            }

            return held;
        }
        catch (DiskException)
        {
            return null;    // a disk that cannot be written can still be read
        }
    }

    private void CleanTemporaries(int ownNumber)
    {
        foreach (IGrouping<int, string> names in ListIfThere(_root + "/tmp").Select(static entry => entry.Name).GroupBy(LockNumberOf))
        {
            IDisposable? borrowed = names.Key == ownNumber ? null : _disk.TryLock(LockPath(names.Key));
            using (borrowed)
            {
                if (borrowed is null && names.Key != ownNumber)
                {
                    continue;   // another process is at work
                }

                foreach (string name in names)
                {
                    _disk.Delete(_root + "/tmp/" + name);
                }
            }
        }
    }

    /// <summary>Whose a temporary is; of a name that nobody gave, the first one's.</summary>
    private static int LockNumberOf(string name)
    {
        int dash = name.IndexOf('-', StringComparison.Ordinal);
        return dash > 0 && int.TryParse(name.AsSpan(0, dash), NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < MaxLocks ? number : 0;
    }
}
