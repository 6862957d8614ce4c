using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Numerics;
using FASTER.core;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace Scale.Faster;

/// <summary>What the lasting index was before, to be measured beside it: Microsoft's FASTER key-value store in a folder of its own, with the memory it is given.</summary>
/// <remarks>
/// docs/decisions/block-index.md. Source: Chandramouli et al., FASTER (SIGMOD 2018).
/// Memory: half the budget (down to a power of two) for pages of the log, at most half for the hash table. The table begins at 256 KiB and doubles with the entries, so a small
/// store opens a small table. Past its limit (7 entries per 64 bytes: 7 million at 128 MiB) FASTER chains buckets, 10 bytes of memory an entry beyond the budget; entries past the log's
/// memory are read from disk. Right at any size; only the speed differs. Disk: 56 bytes an entry, 9 for its place in the table, and twice the latter during a checkpoint.
/// Durable: a checkpoint, which is FASTER's two folders and its log up to an address, named and checksummed by the cover, which is renamed into place last. A crash before that leaves
/// the former checkpoint, whose bytes the newer ones do not touch. At open every byte that the cover names is read and checked, since FASTER follows what it reads as pointers. Whatever
/// is absent, of another shape or damaged makes the index begin empty with CoveredSequence 0: the caller replays, nobody sees an exception. What cannot be repaired by
/// beginning anew (no permission, disk full) is thrown as FASTER or the system throws it.
/// A disk that fails: FASTER waits for ever for a page that cannot be written, so <see cref="ForgivingFiles"/> tell it that all is well, and us that it is not; from then on nothing is found
/// or added, and no checkpoint is made, until the index is opened anew from its last one.
/// Why not IDisk: FASTER writes through its own device (O_SYNC, no directory sync). Nothing here is a truth: the cover proves what it names, and the catalog is asked about every hit.
/// Garbage: a replaced location leaves its old record in the log; when more than half of the log is such at open, and more than 64 MiB, the index begins empty. Old checkpoints go as soon as the cover names the new.
/// Locks: _state is held shared by finds and adds, exclusively by open, checkpoint, growth, clear and dispose; no session is alive within the latter, as FASTER's checkpoint would wait
/// for it. Sessions are pooled, as many as there were calls at once. A find that must read the disk waits for it within the shared lock.
/// At rest: no plaintext. A score is a hash under the domain's key; who steals the folder learns how many blocks there are, in which arenas at which lengths they lie, and roughly when they came.
/// </remarks>
internal sealed class FasterIndex : IBlockIndex
{
    /// <summary>The least memory that the index works with.</summary>
    public const long MinMemoryBytes = 16L << 20;

    public const long DefaultMemoryBytes = 128L << 20;

    private const int BucketBytes = 64;
    internal const int EntriesPerBucket = 7;
    private const int MinTableBits = 12;
    private const int MaxTableBits = 30;
    internal const int RecordBytes = 56;
    private const int FlagsOffset = 7;
    private const byte NotOnDiskFlag = 0x08;
    private const int SectorBytes = 512;
    private const int PageBits = 20;
    private const int SegmentBits = 26;

    private const string LogName = "log";
    private const string CheckpointsName = "checkpoints";
    private const string CoverName = "cover";
    private const string NewCoverName = "cover.new";

    private readonly string _folder;
    private readonly int _logMemoryBits;
    private readonly int _maxTableBits;
    private readonly ReaderWriterLockSlim _state = new(LockRecursionPolicy.NoRecursion);
    private readonly ConcurrentBag<ClientSession<IndexKey, IndexValue, IndexValue, IndexValue, Empty, IndexFunctions>> _sessions = [];

    // Guarded by _state, but for _count, which adders change together.
    private FasterKV<IndexKey, IndexValue>? _store;
    private IDevice? _device;
    private ForgivingFiles _files = new();
    private DeviceLogCommitCheckpointManager? _checkpoints;
    private int _tableBits;
    private long _count;
    private ulong _coveredSequence;
    private List<byte[]> _wholePieces = [];
    private bool _disposed;

    /// <summary>Names the folder; nothing is opened before the first use.</summary>
    public FasterIndex(string folder, long memoryBytes = DefaultMemoryBytes)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentOutOfRangeException.ThrowIfLessThan(memoryBytes, MinMemoryBytes);
        _folder = Path.GetFullPath(folder);
        int half = BitOperations.Log2((ulong)memoryBytes) - 1;
        _logMemoryBits = half;
        _maxTableBits = Math.Min(half - BitOperations.Log2(BucketBytes), MaxTableBits);
    }

    /// <summary>Garbage of the log that is not worth a replay.</summary>
    internal long GarbageFloorBytes { get; init; } = 64L << 20;

    public ulong CoveredSequence
    {
        get
        {
            EnterShared();
            try
            {
                return _coveredSequence;
            }
            finally
            {
                _state.ExitReadLock();
            }
        }
    }

    public long Count
    {
        get
        {
            EnterShared();
            try
            {
                return Interlocked.Read(ref _count);
            }
            finally
            {
                _state.ExitReadLock();
            }
        }
    }

    public bool TryFind(Score score, out BlockLocation location)
    {
        IndexKey key = IndexKey.Of(score);
        EnterShared();
        try
        {
            if (_files.Failure is not null)
            {
                location = default;
                return false;
            }

            var session = RentSession();
            bool found = TryReadShared(session, ref key, out location);
            _sessions.Add(session);
            return found;
        }
        finally
        {
            _state.ExitReadLock();
        }
    }

    /// <summary>Adds or replaces. What is there already is not written again, so that a replay does not grow the log.</summary>
    public void Add(Score score, BlockLocation location)
    {
        IndexKey key = IndexKey.Of(score);
        bool crowded = false;
        EnterShared();
        try
        {
            if (_files.Failure is not null)
            {
                return;
            }

            var session = RentSession();
            bool known = TryReadShared(session, ref key, out BlockLocation old);
            if (!known || old != location)
            {
                IndexValue value = IndexValue.Of(key, location);
                if (session.Upsert(ref key, ref value).IsPending)
                {
                    _ = session.CompletePending(wait: true);
                }

                crowded = !known && Interlocked.Increment(ref _count) > EntriesOf(_tableBits) && _tableBits < _maxTableBits;
            }

            _sessions.Add(session);
        }
        finally
        {
            _state.ExitReadLock();
        }

        if (crowded)
        {
            Grow();
        }
    }

    public void Checkpoint(ulong coveredSequence)
    {
        EnterExclusive();
        try
        {
            OpenLocked();
            DropSessionsLocked();
            ThrowIfDeviceFailedLocked();
            (bool done, Guid token) = _store!.TakeFullCheckpointAsync(CheckpointType.FoldOver).AsTask().GetAwaiter().GetResult();
            if (!done)
            {
                throw new IOException($"checkpoint of the index in {_folder}: FASTER did not begin it");
            }

            ThrowIfDeviceFailedLocked();

            // 1. the checkpoint's files stand; the cover still names the former one
            Cover cover = SealLocked(token, coveredSequence);
            File.WriteAllBytes(PathOf(NewCoverName), cover.Encode());               // 2. a crash here leaves the former cover
            File.Move(PathOf(NewCoverName), PathOf(CoverName), overwrite: true);    // 3. the new checkpoint counts
            RemoveCheckpointsLocked(except: token);                                 // 4. a crash before leaves one too many, until the next
            _coveredSequence = coveredSequence;
        }
        finally
        {
            _state.ExitWriteLock();
        }
    }

    public void Clear()
    {
        EnterExclusive();
        try
        {
            CloseLocked();
            BeginEmptyLocked();
        }
        finally
        {
            _state.ExitWriteLock();
        }
    }

    /// <summary>Closes without a checkpoint: what came after the last one is the caller's to add again.</summary>
    public void Dispose()
    {
        _state.EnterWriteLock();
        try
        {
            _disposed = true;
            CloseLocked();
        }
        finally
        {
            _state.ExitWriteLock();
        }
    }

    private void ThrowIfDeviceFailedLocked()
    {
        if (_files.Failure is { } failure)
        {
            throw new IOException($"{_folder}: {failure}");
        }
    }

    private static long EntriesOf(int tableBits) => EntriesPerBucket * (1L << tableBits);

    private string PathOf(string name) => Path.Combine(_folder, name);

    private string SegmentPath(long segment) => PathOf(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{LogName}.{segment}"));

    private void EnterShared()
    {
        while (true)
        {
            _state.EnterReadLock();
            if (_store is not null)
            {
                return;
            }

            _state.ExitReadLock();
            EnterExclusive();
            try
            {
                OpenLocked();
            }
            finally
            {
                _state.ExitWriteLock();
            }
        }
    }

    private void EnterExclusive()
    {
        _state.EnterWriteLock();
        if (_disposed)
        {
            _state.ExitWriteLock();
            throw new ObjectDisposedException(nameof(FasterIndex));
        }
    }

    private ClientSession<IndexKey, IndexValue, IndexValue, IndexValue, Empty, IndexFunctions> RentSession() =>
        _sessions.TryTake(out var session) ? session : _store!.For(new IndexFunctions()).NewSession<IndexFunctions>();

    private static bool TryReadShared(
        ClientSession<IndexKey, IndexValue, IndexValue, IndexValue, Empty, IndexFunctions> session, ref IndexKey key, out BlockLocation location)
    {
        IndexValue value = default;
        Status status = session.Read(ref key, ref value);
        if (status.IsPending)
        {
            _ = session.CompletePendingWithOutputs(out var outputs, wait: true);
            while (outputs.Next())
            {
                status = outputs.Current.Status;
                value = outputs.Current.Output;
            }

            outputs.Dispose();
        }

        if (status.Found)
        {
            return value.TryGet(key, out location);
        }

        location = default;
        return false;
    }

    private void Grow()
    {
        EnterExclusive();
        try
        {
            while (_store is not null && _count > EntriesOf(_tableBits) && _tableBits < _maxTableBits)
            {
                DropSessionsLocked();
                if (!_store.GrowIndex())
                {
                    return;
                }

                _tableBits++;
            }
        }
        finally
        {
            _state.ExitWriteLock();
        }
    }

    private void OpenLocked()
    {
        if (_store is not null)
        {
            return;
        }

        if (!TryRecoverLocked())
        {
            CloseLocked();
            BeginEmptyLocked();
        }
    }

    /// <summary>False, with anything half open, when there is no checkpoint that can be trusted.</summary>
    private bool TryRecoverLocked()
    {
        try
        {
            if (!File.Exists(PathOf(CoverName))
                || ReadCover() is not { } cover
                || cover.TableBits is < MinTableBits or > MaxTableBits
                || cover.LogBytes - (cover.Count * RecordBytes) > Math.Max(GarbageFloorBytes, cover.LogBytes / 2)
                || !HashCheckpoint(cover.Token).AsSpan().SequenceEqual(cover.CheckpointHash))
            {
                return false;
            }

            if (cover.Count == 0)
            {
                CreateLocked(MinTableBits);
                _count = 0;
                _coveredSequence = cover.Sequence;
                _wholePieces = [];
                return true;
            }

            for (int i = 0; i < cover.Pieces.Count; i++)
            {
                if (!HashPiece(i, cover.LogBytes).AsSpan().SequenceEqual(cover.Pieces[i]))
                {
                    return false;
                }
            }

            CreateLocked(cover.TableBits);
            _ = _store!.Recover(cover.Token, cover.Token);
            if (_files.Failure is not null || _store.Log.TailAddress < cover.LogBytes)
            {
                return false;
            }

            _count = cover.Count;
            _coveredSequence = cover.Sequence;
            _wholePieces = cover.Pieces[..(int)(cover.LogBytes / Cover.PieceBytes)];
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // FASTER's errors on foreign bytes have no common type. What is no damage comes again when the empty index is made, and is thrown there.
            return false;
        }
    }

    private void BeginEmptyLocked()
    {
        _ = OperatingSystem.IsWindows()
            ? Directory.CreateDirectory(_folder)
            : Directory.CreateDirectory(_folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        File.Delete(PathOf(CoverName));         // first: nothing may vouch for what is deleted below
        File.Delete(PathOf(NewCoverName));
        if (Directory.Exists(PathOf(CheckpointsName)))
        {
            Directory.Delete(PathOf(CheckpointsName), recursive: true);
        }

        foreach (string segment in Directory.EnumerateFiles(_folder, LogName + ".*"))
        {
            File.Delete(segment);
        }

        CreateLocked(MinTableBits);
        _count = 0;
        _coveredSequence = 0;
        _wholePieces = [];
    }

    private void CreateLocked(int tableBits)
    {
        _files = new ForgivingFiles();
        _device = _files.OpenLog(PathOf(LogName));
        _checkpoints = new DeviceLogCommitCheckpointManager(_files, new DefaultCheckpointNamingScheme(PathOf(CheckpointsName)), removeOutdated: false); // that is ours to do, when the cover names the new one
        _store = new FasterKV<IndexKey, IndexValue>(
            1L << tableBits,
            new LogSettings { LogDevice = _device, PageSizeBits = PageBits, MemorySizeBits = _logMemoryBits, SegmentSizeBits = SegmentBits },
            new CheckpointSettings { CheckpointManager = _checkpoints },
            comparer: new IndexKeyComparer(),
            concurrencyControlMode: ConcurrencyControlMode.None);
        _tableBits = tableBits;
    }

    private void DropSessionsLocked()
    {
        while (_sessions.TryTake(out var session))
        {
            session.Dispose();
        }
    }

    private void CloseLocked()
    {
        DropSessionsLocked();
        _store?.Dispose();      // before its device
        _store = null;
        _checkpoints?.Dispose();
        _checkpoints = null;
        _device?.Dispose();
        _device = null;
    }

    private Cover SealLocked(Guid token, ulong coveredSequence)
    {
        // FASTER writes no log before the first entry.
        long logBytes = _count == 0 ? 0 : _store!.Log.TailAddress;
        int wholeCount = (int)(logBytes / Cover.PieceBytes);
        for (int i = _wholePieces.Count; i < wholeCount; i++)
        {
            _wholePieces.Add(HashPiece(i, logBytes));
        }

        var pieces = new List<byte[]>(_wholePieces);
        if (logBytes % Cover.PieceBytes != 0)
        {
            pieces.Add(HashPiece(wholeCount, logBytes));
        }

        return new Cover
        {
            Sequence = coveredSequence,
            Count = _count,
            LogBytes = logBytes,
            Token = token,
            TableBits = _tableBits,
            CheckpointHash = HashCheckpoint(token),
            Pieces = pieces,
        };
    }

    /// <summary>The hash of one piece of the log, the last one cut off at <paramref name="logBytes"/>.</summary>
    /// <remarks>
    /// FASTER goes on in the last, part-filled sector: it writes that sector again with the same records, but for the bit that says that a record was not on disk yet.
    /// So the bit counts as 0 there. Records of 56 bytes stand back to back from the beginning of a page up to the end of the log.
    /// </remarks>
    private byte[] HashPiece(int piece, long logBytes)
    {
        long start = piece * Cover.PieceBytes;
        long end = Math.Min(start + Cover.PieceBytes, logBytes);
        long lastSector = end & ~(SectorBytes - 1L);
        using var file = new FileStream(SegmentPath(start >> SegmentBits), FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 0);
        file.Position = start & ((1L << SegmentBits) - 1);
        using var hasher = Blake3Hasher.Create();
        HashStream(hasher, file, lastSector - start);
        Span<byte> tail = stackalloc byte[SectorBytes];
        tail = tail[..(int)(end - lastSector)];
        file.ReadExactly(tail);
        for (long record = end - RecordBytes; record >= Math.Max(start, end & ~((1L << PageBits) - 1)); record -= RecordBytes)
        {
            long flags = record + FlagsOffset - lastSector;
            if (flags < 0)
            {
                break;
            }

            tail[(int)flags] &= unchecked((byte)~NotOnDiskFlag);
        }

        hasher.Update(tail);
        byte[] hash = new byte[Cover.HashBytes];
        hasher.Finish(hash);
        return hash;
    }

    /// <summary>The hash of a checkpoint's files: of each its name, length and bytes, in the order of the names. Empty ones say nothing, and recovery makes some.</summary>
    private byte[] HashCheckpoint(Guid token)
    {
        using var hasher = Blake3Hasher.Create();
        foreach (string kind in Directory.EnumerateDirectories(PathOf(CheckpointsName)).Order(StringComparer.Ordinal))
        {
            string folder = Path.Combine(kind, token.ToString());
            if (!Directory.Exists(folder))
            {
                continue;
            }

            foreach (string path in Directory.EnumerateFiles(folder).Order(StringComparer.Ordinal))
            {
                using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 0);
                if (file.Length == 0)
                {
                    continue;
                }

                hasher.Update(System.Text.Encoding.UTF8.GetBytes($"{Path.GetFileName(kind)}/{Path.GetFileName(path)} {file.Length}\n"));
                HashStream(hasher, file, file.Length);
            }
        }

        byte[] hash = new byte[Cover.HashBytes];
        hasher.Finish(hash);
        return hash;
    }

    /// <summary>Null for a file that is no cover, one that is longer than any cover among them.</summary>
    private Cover? ReadCover()
    {
        using var file = new FileStream(PathOf(CoverName), FileMode.Open, FileAccess.Read);
        if (file.Length > Cover.MaxBytes)
        {
            return null;
        }

        byte[] bytes = new byte[(int)file.Length];
        return Cover.TryDecode(bytes.AsSpan(0, file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)));
    }

    private static void HashStream(Blake3Hasher hasher, FileStream file, long length)
    {
        byte[] buffer = new byte[(int)Math.Min(256 << 10, length)];
        while (length > 0)
        {
            int read = file.Read(buffer, 0, (int)Math.Min(buffer.Length, length));
            if (read == 0)
            {
                throw new EndOfStreamException($"{file.Name} ends {length} bytes early");
            }

            hasher.Update(buffer.AsSpan(0, read));
            length -= read;
        }
    }

    private void RemoveCheckpointsLocked(Guid except)
    {
        foreach (string kind in Directory.EnumerateDirectories(PathOf(CheckpointsName)))
        {
            foreach (string folder in Directory.EnumerateDirectories(kind))
            {
                if (Path.GetFileName(folder) != except.ToString())
                {
                    Directory.Delete(folder, recursive: true);
                }
            }
        }
    }

    /// <summary>What vouches for a checkpoint.</summary>
    internal sealed class Cover
    {
        internal const long PieceBytes = 4L << 20;
        internal const int HashBytes = 32;
        internal const int MaxPieces = 1 << 18;
        internal const int MaxBytes = HeaderBytes + (MaxPieces * HashBytes) + HashBytes;

        private const int HeaderBytes = 8 + sizeof(ulong) + sizeof(long) + sizeof(long) + 16 + sizeof(uint) + sizeof(uint) + HashBytes;

        internal required ulong Sequence { get; init; }

        internal required long Count { get; init; }

        internal required long LogBytes { get; init; }

        internal required Guid Token { get; init; }

        internal required int TableBits { get; init; }

        internal required byte[] CheckpointHash { get; init; }

        internal required List<byte[]> Pieces { get; init; }

        private static ReadOnlySpan<byte> Magic => "TDFSIDX1"u8;

        internal byte[] Encode()
        {
            byte[] bytes = new byte[HeaderBytes + (Pieces.Count * HashBytes) + HashBytes];
            Magic.CopyTo(bytes);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(8), Sequence);
            BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(16), Count);
            BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(24), LogBytes);
            _ = Token.TryWriteBytes(bytes.AsSpan(32), bigEndian: true, out _);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(48), TableBits);
            BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(52), Pieces.Count);
            CheckpointHash.CopyTo(bytes.AsSpan(56));
            int position = HeaderBytes;
            foreach (byte[] piece in Pieces)
            {
                piece.CopyTo(bytes.AsSpan(position));
                position += HashBytes;
            }

            Blake3.Hash(bytes.AsSpan(0, position), bytes.AsSpan(position));
            return bytes;
        }

        /// <summary>Null for bytes that are no cover, of whatever cause: the index then begins empty.</summary>
        internal static Cover? TryDecode(ReadOnlySpan<byte> bytes)
        {
            if (bytes.Length < HeaderBytes + HashBytes || !bytes.StartsWith(Magic))
            {
                return null;
            }

            Span<byte> hash = stackalloc byte[HashBytes];
            Blake3.Hash(bytes[..^HashBytes], hash);
            long count = BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]);
            long logBytes = BinaryPrimitives.ReadInt64LittleEndian(bytes[24..]);
            int pieceCount = BinaryPrimitives.ReadInt32LittleEndian(bytes[52..]);
            if (!hash.SequenceEqual(bytes[^HashBytes..])
                || pieceCount is < 0 or > MaxPieces
                || bytes.Length != HeaderBytes + (pieceCount * HashBytes) + HashBytes
                || logBytes <= (pieceCount - 1) * PieceBytes
                || logBytes > pieceCount * PieceBytes
                || count < 0
                || count > logBytes / RecordBytes)
            {
                return null;
            }

            var pieces = new List<byte[]>(pieceCount);
            for (int i = 0; i < pieceCount; i++)
            {
                pieces.Add(bytes.Slice(HeaderBytes + (i * HashBytes), HashBytes).ToArray());
            }

            return new Cover
            {
                Sequence = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
                Count = count,
                LogBytes = logBytes,
                Token = new Guid(bytes.Slice(32, 16), bigEndian: true),
                TableBits = BinaryPrimitives.ReadInt32LittleEndian(bytes[48..]),
                CheckpointHash = bytes.Slice(56, HashBytes).ToArray(),
                Pieces = pieces,
            };
        }
    }
}
