using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>What a counted operation of a <see cref="SimulatedDisk"/> does.</summary>
public enum SimulatedOperationKind
{
    Create,
    Write,
    Truncate,
    Sync,
    SyncDirectory,
    CreateDirectory,
    Rename,
    Delete,
    DeleteDirectory,
}

/// <summary>One counted operation; Number is 1 for the first of a disk's life. Bytes is the length of a write, else 0.</summary>
public readonly record struct SimulatedOperation(long Number, SimulatedOperationKind Kind, string Path, int Bytes);

/// <summary>The power went: nothing in the code under test may catch this.</summary>
public sealed class SimulatedCrashException : Exception
{
    public SimulatedCrashException(string message)
        : base(message)
    {
    }

    public SimulatedCrashException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public SimulatedCrashException()
    {
    }
}

/// <summary>A disk in memory that loses, at a simulated power cut, everything that was not synced, and some of it only in part.</summary>
/// <remarks>
/// What a power cut does (<see cref="Recover"/>), all from one seed:
/// each 512-byte sector written since its file's last sync has, independently, its synced content or any later one (torn and reordered writes);
/// a file's length is the synced one or any later one, and what was never written reads as zeros;
/// each created, renamed or deleted name that no <see cref="SyncDirectory"/> covered happened or did not, independently of the others,
/// but a rename happens whole. Locks end.
/// A sync that fails by injection leaves the sectors it should have written lost to later syncs until they are written again, as Linux does.
/// <see cref="CrashAfter"/> cuts the power in the middle of an operation: a write, rename or delete has begun and may come to pass, a sync has not.
/// Paths are plain strings with '/'; "" and "/" are the root, which exists. Files have one name; folders are not renamed.
/// Locks: one gate guards everything, so it is as safe from many threads as the contract asks.
/// </remarks>
public sealed class SimulatedDisk : IDisk
{
    public const int SectorBytes = IDiskFile.SectorBytes;

    private readonly Lock _gate = new();
    private readonly List<NameChange> _changes = [];
    private readonly HashSet<string> _locks = [];
    private readonly Dictionary<long, DiskFailure> _failures = [];
    private readonly List<BadRange> _badRanges = [];
    private readonly Dictionary<string, Node> _names = [];
    private readonly Dictionary<string, Node> _durableNames = [];
    private long _crashAt = long.MaxValue;
    private long _usedBytes;
    private int _life;

    /// <summary>Counted operations so far: writes, syncs, truncations, creations, renames and deletions.</summary>
    public long OperationCount { get; private set; }

    /// <summary>Bytes written so far, for tests of write amplification.</summary>
    public long WrittenBytes { get; private set; }

    /// <summary>Bytes of all files together may not exceed this: <see cref="DiskFailure.Full"/>.</summary>
    public long CapacityBytes { get; set; } = 1L << 40;

    public bool IsReadOnly { get; set; }

    /// <summary>False: <see cref="IDiskFile.TryWriteThrough"/> is not to be had, as on file systems that know no way past the cache.</summary>
    public bool WritesThrough { get; set; } = true;

    public bool HasCrashed { get; private set; }

    /// <summary>Sees every counted operation before it happens; a failure it returns is thrown instead. Called under the disk's gate.</summary>
    public Func<SimulatedOperation, DiskFailure?>? OnOperation { get; set; }

    /// <summary>The power goes in the <paramref name="operations"/>-th counted operation from now (1 is the next one).</summary>
    public void CrashAfter(long operations)
    {
        lock (_gate)
        {
            _crashAt = OperationCount + operations;
        }
    }

    /// <summary>The <paramref name="operations"/>-th counted operation from now (1 is the next one) fails, once.</summary>
    public void FailAfter(long operations, DiskFailure failure)
    {
        lock (_gate)
        {
            _failures[OperationCount + operations] = failure;
        }
    }

    /// <summary>Reads that touch the range fail until it is written again: bad sectors.</summary>
    public void FailReads(string path, long offset, long length)
    {
        lock (_gate)
        {
            _badRanges.Add(new BadRange(FileLocked("damage", path), offset, length));
        }
    }

    /// <summary>Flips the bits of <paramref name="mask"/> in one byte, as the surface does: no operation, and durable.</summary>
    public void Corrupt(string path, long offset, byte mask)
    {
        lock (_gate)
        {
            FileNode file = FileLocked("corrupt", path);
            file.Bytes[offset] ^= mask;
            if (file.Dirty.TryGetValue(offset / SectorBytes, out Sector? sector))
            {
                sector.Synced[offset % SectorBytes] ^= mask;
            }
        }
    }

    /// <summary>The bytes of a file as a reader would see them.</summary>
    public byte[] ReadAll(string path)
    {
        lock (_gate)
        {
            FileNode file = FileLocked("read", path);
            return file.Bytes.AsSpan(0, (int)file.Length).ToArray();
        }
    }

    /// <summary>Puts a durable file in place, as if it had always been there: no operation.</summary>
    public void Plant(string path, ReadOnlySpan<byte> bytes)
    {
        lock (_gate)
        {
            path = Normal(path);
            FolderLocked("plant", Parent(path));
            var file = new FileNode { Bytes = bytes.ToArray(), Length = bytes.Length, SyncedLength = bytes.Length };
            _changes.RemoveAll(change => change.From == path || change.To == path);
            _usedBytes += file.Length - (_names.TryGetValue(path, out Node? old) && old is FileNode oldFile ? oldFile.Length : 0);
            _names[path] = file;
            _durableNames[path] = file;
        }
    }

    /// <summary>Takes a file away durably, as a stranger with a shell would: no operation.</summary>
    public void Remove(string path)
    {
        lock (_gate)
        {
            path = Normal(path);
            _usedBytes -= FileLocked("remove", path).Length;
            _changes.RemoveAll(change => change.From == path || change.To == path);
            _names.Remove(path);
            _durableNames.Remove(path);
        }
    }

    /// <summary>Every file's path, sorted.</summary>
    public IReadOnlyList<string> Files()
    {
        lock (_gate)
        {
            return [.. _names.Where(name => name.Value is FileNode).Select(name => name.Key).Order(StringComparer.Ordinal)];
        }
    }

    /// <summary>The disk as the next start finds it after a power cut now. This disk stays as it is; its files are copied.</summary>
    public SimulatedDisk Recover(int seed)
    {
        var random = new SeededRandom(seed);
        lock (_gate)
        {
            var names = new Dictionary<string, Node>(_durableNames);
            foreach (NameChange change in _changes)
            {
                if (change.IsSynced || random.Next(2) == 0)
                {
                    change.Apply(names);
                }
            }

            var recovered = new SimulatedDisk { CapacityBytes = CapacityBytes, IsReadOnly = IsReadOnly };
            foreach ((string path, Node node) in names.OrderBy(name => name.Key, StringComparer.Ordinal))
            {
                if (Parent(path) is { Length: > 0 } parent && recovered._names.GetValueOrDefault(parent) is not FolderNode)
                {
                    continue;   // its folder was lost with it
                }

                Node kept = node is FileNode file ? file.AfterPowerCut(random) : new FolderNode();
                recovered._names[path] = kept;
                recovered._durableNames[path] = kept;
                recovered._usedBytes += kept is FileNode keptFile ? keptFile.Length : 0;
            }

            return recovered;
        }
    }

    /// <summary>A backup of the whole disk, taken while nothing runs on it. This disk stays as it is.</summary>
    public SimulatedDisk Copy()
    {
        lock (_gate)
        {
            var copy = new SimulatedDisk { CapacityBytes = CapacityBytes, IsReadOnly = IsReadOnly, _usedBytes = _usedBytes };
            foreach ((string path, Node node) in _names)
            {
                Node its = node is FileNode file
                    ? new FileNode { Bytes = file.Bytes.AsSpan(0, (int)file.Length).ToArray(), Length = file.Length, SyncedLength = file.Length }
                    : new FolderNode();
                copy._names[path] = its;
                copy._durableNames[path] = its;
            }

            return copy;
        }
    }

    /// <summary>Bytes of all files.</summary>
    public long UsedBytes
    {
        get
        {
            lock (_gate)
            {
                return _usedBytes;
            }
        }
    }

    /// <summary>kill -9 and a new start: nothing written is lost, nothing more is durable, locks end and open files are gone.</summary>
    public void RestartProcess()
    {
        lock (_gate)
        {
            _locks.Clear();
            _life++;
            HasCrashed = false;
            _crashAt = long.MaxValue;
        }
    }

    public IDiskFile Open(string path, DiskOpen mode)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            Node? node = _names.GetValueOrDefault(path);
            if (mode != DiskOpen.CreateNew)
            {
                if (mode == DiskOpen.ReadWrite && IsReadOnly)
                {
                    throw Failure(DiskFailure.ReadOnly, "open", path);
                }

                return new SimulatedFile(this, FileLocked("open", path), path, mode == DiskOpen.ReadWrite);
            }

            FolderLocked("open", Parent(path));
            if (node is not null)
            {
                throw Failure(DiskFailure.AlreadyExists, "open", path);
            }

            var file = new FileNode();
            bool dies = CountLocked(SimulatedOperationKind.Create, "open", path, 0);
            ChangeLocked(new NameChange(null, path, file));
            ThrowIfLocked(dies);
            return new SimulatedFile(this, file, path, isWritable: true);
        }
    }

    public bool FileExists(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            return _names.GetValueOrDefault(Normal(path)) is FileNode;
        }
    }

    public bool DirectoryExists(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            return path.Length == 0 || _names.GetValueOrDefault(path) is FolderNode;
        }
    }

    public void CreateDirectory(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            for (int slash = path.IndexOf('/', StringComparison.Ordinal); ; slash = path.IndexOf('/', slash + 1))
            {
                string folder = slash < 0 ? path : path[..slash];
                if (folder.Length > 0 && _names.GetValueOrDefault(folder) is not FolderNode)
                {
                    if (_names.ContainsKey(folder))
                    {
                        throw Failure(DiskFailure.AlreadyExists, "create folder", folder);
                    }

                    bool dies = CountLocked(SimulatedOperationKind.CreateDirectory, "create folder", folder, 0);
                    ChangeLocked(new NameChange(null, folder, new FolderNode()));
                    ThrowIfLocked(dies);
                }

                if (folder.Length > 0 && _changes.Exists(change => !change.IsSynced && change.To == folder))
                {
                    SyncDirectoryLocked(Parent(folder));
                }

                if (slash < 0)
                {
                    break;
                }
            }
        }
    }

    public void Rename(string from, string to)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            from = Normal(from);
            to = Normal(to);
            FileNode file = FileLocked("rename", from);
            FolderLocked("rename", Parent(to));
            if (_names.GetValueOrDefault(to) is FolderNode)
            {
                throw Failure(DiskFailure.Failed, "rename", to);
            }

            bool dies = CountLocked(SimulatedOperationKind.Rename, "rename", from, 0);
            if (from != to)
            {
                _usedBytes -= _names.GetValueOrDefault(to) is FileNode replaced ? replaced.Length : 0;
                ChangeLocked(new NameChange(from, to, file));
            }

            ThrowIfLocked(dies);
        }
    }

    public void Delete(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            FileNode file = FileLocked("delete", path);
            bool dies = CountLocked(SimulatedOperationKind.Delete, "delete", path, 0);
            _usedBytes -= file.Length;
            ChangeLocked(new NameChange(path, null, file));
            ThrowIfLocked(dies);
        }
    }

    public void DeleteDirectory(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            FolderLocked("delete folder", path);
            if (path.Length == 0 || _names.Keys.Any(name => Parent(name) == path))
            {
                throw Failure(DiskFailure.Failed, "delete folder", path);
            }

            bool dies = CountLocked(SimulatedOperationKind.DeleteDirectory, "delete folder", path, 0);
            ChangeLocked(new NameChange(path, null, _names[path]));
            ThrowIfLocked(dies);
        }
    }

    public IReadOnlyList<DiskEntry> List(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            FolderLocked("list", path);
            return
            [
                .. _names.Where(name => Parent(name.Key) == path).OrderBy(name => name.Key, StringComparer.Ordinal)
                    .Select(name => new DiskEntry(name.Key[(name.Key.LastIndexOf('/') + 1)..], name.Value is FolderNode, (name.Value as FileNode)?.Length ?? 0)),
            ];
        }
    }

    public void SyncDirectory(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            FolderLocked("sync folder", path);
            SyncDirectoryLocked(path);
        }
    }

    public long FreeBytes(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            return Math.Max(0, CapacityBytes - _usedBytes);
        }
    }

    public IDisposable? TryLock(string path)
    {
        lock (_gate)
        {
            ThrowIfCrashedLocked();
            path = Normal(path);
            if (_names.GetValueOrDefault(path) is null)
            {
                FolderLocked("lock", Parent(path));
                bool dies = CountLocked(SimulatedOperationKind.Create, "lock", path, 0);
                ChangeLocked(new NameChange(null, path, new FileNode()));
                ThrowIfLocked(dies);
            }

            return _locks.Add(path) ? new HeldLock(this, path, _life) : null;
        }
    }

    private static string Normal(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return string.Join('/', path.Split('/', StringSplitOptions.RemoveEmptyEntries));
    }

    private static string Parent(string path) => path.LastIndexOf('/') is int slash and >= 0 ? path[..slash] : "";

    private static DiskException Failure(DiskFailure failure, string operation, string path) => new(failure, operation, path, failure switch
    {
        DiskFailure.NotFound => "no such file or directory",
        DiskFailure.AlreadyExists => "file exists",
        DiskFailure.Full => "no space left on device",
        DiskFailure.ReadOnly => "read-only file system",
        DiskFailure.Denied => "permission denied",
        _ => "input/output error",
    });

    private FileNode FileLocked(string operation, string path)
    {
        path = Normal(path);
        return _names.GetValueOrDefault(path) switch
        {
            FileNode file => file,
            FolderNode => throw Failure(DiskFailure.Failed, operation, path),
            _ => throw Failure(DiskFailure.NotFound, operation, path),
        };
    }

    private void FolderLocked(string operation, string path)
    {
        if (path.Length > 0 && _names.GetValueOrDefault(path) is not FolderNode)
        {
            throw Failure(_names.ContainsKey(path) ? DiskFailure.Failed : DiskFailure.NotFound, operation, path);
        }
    }

    private void ThrowIfCrashedLocked()
    {
        if (HasCrashed)
        {
            throw new SimulatedCrashException($"the power went at operation {_crashAt}");
        }
    }

    private void ThrowIfLocked(bool dies)
    {
        if (dies)
        {
            HasCrashed = true;
            ThrowIfCrashedLocked();
        }
    }

    /// <summary>Counts an operation and throws what was injected. True when the power goes in it.</summary>
    private bool CountLocked(SimulatedOperationKind kind, string operation, string path, int bytes)
    {
        OperationCount++;
        if (IsReadOnly && kind is not (SimulatedOperationKind.Sync or SimulatedOperationKind.SyncDirectory))
        {
            throw Failure(DiskFailure.ReadOnly, operation, path);
        }

        DiskFailure? failure = OnOperation?.Invoke(new SimulatedOperation(OperationCount, kind, path, bytes));
        if (_failures.Remove(OperationCount, out DiskFailure injected))
        {
            failure = injected;
        }

        return failure is DiskFailure thrown ? throw Failure(thrown, operation, path) : OperationCount >= _crashAt;
    }

    private void ChangeLocked(NameChange change)
    {
        change.Apply(_names);
        _changes.Add(change);
    }

    private void SyncDirectoryLocked(string path)
    {
        ThrowIfLocked(CountLocked(SimulatedOperationKind.SyncDirectory, "sync folder", path, 0));
        foreach (NameChange change in _changes)
        {
            change.IsSynced |= (change.From is not null && Parent(change.From) == path) || (change.To is not null && Parent(change.To) == path);
        }

        // In order, as far as no unsynced change stands before: applying is by name, so an earlier change must not be applied after a later one.
        int settled = 0;
        for (; settled < _changes.Count && _changes[settled].IsSynced; settled++)
        {
            _changes[settled].Apply(_durableNames);
        }

        _changes.RemoveRange(0, settled);
    }

    private abstract class Node;

    private sealed class FolderNode : Node;

    private sealed class FileNode : Node
    {
        internal byte[] Bytes { get; set; } = [];

        internal long Length { get; set; }

        internal long SyncedLength { get; set; }

        internal List<long> Lengths { get; } = [];

        internal Dictionary<long, Sector> Dirty { get; } = [];

        internal void Reserve(long length)
        {
            if (length > Bytes.Length)
            {
                byte[] larger = new byte[Math.Max(length, Bytes.Length * 2L)];
                Bytes.CopyTo(larger, 0);
                Bytes = larger;
            }
        }

        /// <summary>Notes the sectors' content before a change to them, so that a power cut may bring any of it back.</summary>
        internal void Touch(long offset, long length)
        {
            for (long sector = offset / SectorBytes; sector * SectorBytes < offset + length; sector++)
            {
                byte[] before = SectorBytesOf(sector);
                if (Dirty.TryGetValue(sector, out Sector? dirty))
                {
                    dirty.Versions.Add(before);
                    dirty.IsStuck = false;
                }
                else
                {
                    Dirty[sector] = new Sector(before);
                }
            }
        }

        internal void SetLength(long length)
        {
            if (length != Length)
            {
                Lengths.Add(length);
                Length = length;
            }
        }

        internal FileNode AfterPowerCut(SeededRandom random)
        {
            int lengthChoice = random.Next(Lengths.Count + 1);
            long length = lengthChoice == 0 ? SyncedLength : Lengths[lengthChoice - 1];
            byte[] bytes = new byte[length];
            Bytes.AsSpan(0, (int)Math.Min(length, Bytes.Length)).CopyTo(bytes);
            foreach ((long index, Sector sector) in Dirty.OrderBy(dirty => dirty.Key))
            {
                int choice = random.Next(sector.Versions.Count + 2);
                byte[]? version = choice == 0 ? sector.Synced : choice <= sector.Versions.Count ? sector.Versions[choice - 1] : null;
                long offset = index * SectorBytes;
                if (version is not null && offset < length)
                {
                    version.AsSpan(0, (int)Math.Min(SectorBytes, length - offset)).CopyTo(bytes.AsSpan((int)offset));
                }
            }

            return new FileNode { Bytes = bytes, Length = length, SyncedLength = length };
        }

        private byte[] SectorBytesOf(long sector)
        {
            byte[] copy = new byte[SectorBytes];
            long offset = sector * SectorBytes;
            if (offset < Bytes.Length)
            {
                Bytes.AsSpan((int)offset, (int)Math.Min(SectorBytes, Bytes.Length - offset)).CopyTo(copy);
            }

            return copy;
        }
    }

    private sealed class Sector(byte[] synced)
    {
        internal byte[] Synced { get; } = synced;

        internal List<byte[]> Versions { get; } = [];

        internal bool IsStuck { get; set; }
    }

    /// <summary>A name appeared (From null), went (To null) or moved.</summary>
    private sealed class NameChange(string? from, string? to, Node node)
    {
        internal string? From => from;

        internal string? To => to;

        internal bool IsSynced { get; set; }

        internal void Apply(Dictionary<string, Node> names)
        {
            if (from is not null && to is not null)
            {
                // A file has one name: an earlier move of it that was lost must not leave it a second one.
                foreach (string name in names.Where(name => name.Value == node).Select(name => name.Key).ToArray())
                {
                    names.Remove(name);
                }
            }
            else if (from is not null && names.GetValueOrDefault(from) == node)
            {
                names.Remove(from);
            }

            if (to is not null)
            {
                names[to] = node;
            }
        }
    }

    private sealed record BadRange(FileNode File, long Offset, long Length)
    {
        internal bool Touches(long offset, long length) => offset < Offset + Length && Offset < offset + length;
    }

    private sealed class HeldLock(SimulatedDisk disk, string path, int life) : IDisposable
    {
        private bool _released;

        public void Dispose()
        {
            lock (disk._gate)
            {
                if (!_released && life == disk._life)
                {
                    disk._locks.Remove(path);
                }

                _released = true;
            }
        }
    }

    private sealed class SimulatedFile(SimulatedDisk disk, FileNode file, string path, bool isWritable) : IDiskFile
    {
        private readonly int _life = disk._life;
        private bool _failed;
        private bool _closed;

        public long Length
        {
            get
            {
                lock (disk._gate)
                {
                    CheckLocked();
                    return file.Length;
                }
            }
        }

        public int Read(long offset, Span<byte> target)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(offset);
            lock (disk._gate)
            {
                CheckLocked();
                int count = (int)Math.Clamp(file.Length - offset, 0, target.Length);
                if (disk._badRanges.Exists(range => range.File == file && range.Touches(offset, count)))
                {
                    throw Failure(DiskFailure.Failed, "read", path);
                }

                file.Bytes.AsSpan((int)Math.Min(offset, file.Length), count).CopyTo(target);
                return count;
            }
        }

        public void Write(long offset, ReadOnlySpan<byte> source)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(offset);
            lock (disk._gate)
            {
                CheckWritableLocked("write");
                bool dies = disk.CountLocked(SimulatedOperationKind.Write, "write", path, source.Length);
                long end = offset + source.Length;
                long growth = Math.Max(0, end - file.Length);
                if (disk._usedBytes + growth > disk.CapacityBytes)
                {
                    throw Failure(DiskFailure.Full, "write", path);
                }

                file.Touch(offset, source.Length);
                file.Reserve(end);
                source.CopyTo(file.Bytes.AsSpan((int)offset));
                file.SetLength(Math.Max(end, file.Length));
                disk._usedBytes += growth;
                disk.WrittenBytes += source.Length;
                disk._badRanges.RemoveAll(range => range.File == file && range.Touches(offset, end - offset));
                disk.ThrowIfLocked(dies);
            }
        }

        public bool TryWriteThrough(long offset, ReadOnlySpan<byte> source)
        {
            lock (disk._gate)
            {
                CheckWritableLocked("write");
                if (!disk.WritesThrough)
                {
                    return false;
                }

                if (offset % SectorBytes != 0 || source.Length % SectorBytes != 0 || offset + source.Length > file.SyncedLength)
                {
                    throw new ArgumentException($"{path}: {source.Length} bytes at {offset}, whole sectors of the {file.SyncedLength} synced bytes expected");
                }

                try
                {
                    Write(offset, source);
                }
                catch (DiskException)
                {
                    _failed = true;
                    throw;
                }

                for (long sector = offset / SectorBytes; sector * SectorBytes < offset + source.Length; sector++)
                {
                    file.Dirty.Remove(sector);
                }

                return true;
            }
        }

        public void Truncate(long length)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(length);
            lock (disk._gate)
            {
                CheckWritableLocked("truncate");
                bool dies = disk.CountLocked(SimulatedOperationKind.Truncate, "truncate", path, 0);
                long growth = length - file.Length;
                if (growth > 0 && disk._usedBytes + growth > disk.CapacityBytes)
                {
                    throw Failure(DiskFailure.Full, "truncate", path);
                }

                if (growth < 0)
                {
                    // What comes back if the file grows again are zeros.
                    file.Touch(length, -growth);
                    file.Bytes.AsSpan((int)length, (int)-growth).Clear();
                }

                file.Reserve(length);
                file.SetLength(length);
                disk._usedBytes += growth;
                disk.ThrowIfLocked(dies);
            }
        }

        public void Sync()
        {
            lock (disk._gate)
            {
                CheckWritableLocked("sync");
                bool dies;
                try
                {
                    dies = disk.CountLocked(SimulatedOperationKind.Sync, "sync", path, 0);
                }
                catch (DiskException)
                {
                    _failed = true;
                    foreach (Sector sector in file.Dirty.Values)
                    {
                        sector.IsStuck = true;
                    }

                    throw;
                }

                disk.ThrowIfLocked(dies);
                foreach (long sector in file.Dirty.Where(dirty => !dirty.Value.IsStuck).Select(dirty => dirty.Key).ToArray())
                {
                    file.Dirty.Remove(sector);
                }

                file.Lengths.Clear();
                file.SyncedLength = file.Length;
            }
        }

        public void Dispose()
        {
            lock (disk._gate)
            {
                _closed = true;
            }
        }

        private void CheckLocked()
        {
            ObjectDisposedException.ThrowIf(_closed || _life != disk._life, this);
            disk.ThrowIfCrashedLocked();
        }

        private void CheckWritableLocked(string operation)
        {
            CheckLocked();
            if (_failed)
            {
                throw new DiskException(DiskFailure.Failed, operation, path, "an earlier sync of this file failed");
            }

            if (!isWritable && operation != "sync")
            {
                throw new DiskException(DiskFailure.Failed, operation, path, "bad file descriptor");
            }
        }
    }
}
