using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;

using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Logs;

/// <summary>The two kinds of record log.</summary>
public enum RecordLogKind : byte
{
    Catalog = 1,
    Journal = 2,
}

/// <summary>The header of a record log: whose it is, and which key opens it.</summary>
/// <remarks>Format: docs/format.md 4.</remarks>
public sealed record RecordLogHeader
{
    public const int Size = MagicSize + 1 + 3 + sizeof(uint) + DomainId.Size + sizeof(uint) + 4 + (2 * sizeof(ulong)) + UInt256.Size + Blake3.HashSize;

    private const int MagicSize = 8;

    public required RecordLogKind Kind { get; init; }

    public required DomainId Domain { get; init; }

    public required uint Epoch { get; init; }

    public required uint Device { get; init; }

    /// <summary>Random for each state folder: tells a device from a copy, or an older state, of itself.</summary>
    public required ulong Incarnation { get; init; }

    /// <summary>The files of one kind, device and incarnation count up.</summary>
    public required ulong Number { get; init; }

    public required UInt256 LogId { get; init; }

    private static ReadOnlySpan<byte> Magic => "TDFSLOG1"u8;

    public void Write(Span<byte> target)
    {
        var writer = new FieldWriter(Size);
        writer.Bytes(Magic);
        writer.U8((byte)Kind);
        writer.Reserved(3);
        writer.U32(Epoch);
        Domain.Write(writer.Take(DomainId.Size));
        writer.U32(Device);
        writer.Reserved(4);
        writer.U64(Incarnation);
        writer.U64(Number);
        LogId.Write(writer.Take(UInt256.Size));
        byte[] covered = writer.ToArray();
        Blake3.Hash(covered, writer.Take(Blake3.HashSize));
        writer.Written.CopyTo(target);
    }

    public static RecordLogHeader Read(ReadOnlySpan<byte> source, string path)
    {
        var reader = new FieldReader(source.Length > Size ? source[..Size] : source, $"record log {path}");
        reader.Magic(Magic);
        byte kind = reader.U8();
        reader.Reserved(3);
        uint epoch = reader.U32();
        DomainId domain = DomainId.Read(reader.Bytes(DomainId.Size));
        uint device = reader.U32();
        reader.Reserved(4);
        ulong incarnation = reader.U64();
        ulong number = reader.U64();
        UInt256 logId = UInt256.Read(reader.Bytes(UInt256.Size));
        int coveredBytes = reader.Position;
        Span<byte> checksum = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(source[..coveredBytes], checksum);
        if (!reader.Bytes(Blake3.HashSize).SequenceEqual(checksum))
        {
            throw reader.Damaged("its header does not match its checksum");
        }

        if (kind is not ((byte)RecordLogKind.Catalog or (byte)RecordLogKind.Journal))
        {
            throw reader.Damaged($"kind {kind} found, 1 or 2 expected");
        }

        return new RecordLogHeader { Kind = (RecordLogKind)kind, Domain = domain, Epoch = epoch, Device = device, Incarnation = incarnation, Number = number, LogId = logId };
    }
}

/// <summary>Bounds and sizes of records.</summary>
public static class RecordLog
{
    public const int MaxBodyBytes = 2 * 1024 * 1024;
    internal const int LengthSize = sizeof(uint);
    internal const int NonceSize = 12;
    internal const int TagSize = 16;
    internal const int Overhead = LengthSize + NonceSize + TagSize;
    internal const int AssociatedSize = sizeof(ulong) + sizeof(uint);

    /// <summary>The highest number that the name of an object at a holder may have: one above is no name of ours, and the next number can always be counted.</summary>
    internal const ulong MaxHeldNumber = 1UL << 62;

    internal const int MaxRecordBytes = Overhead + MaxBodyBytes;

    /// <summary>How much a reader takes at a time: a thousand records of a catalog, a few clumps of a journal.</summary>
    internal const int WindowBytes = 256 * 1024;

    internal static void WriteAssociated(Span<byte> target, ulong index, uint length)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(target, index);
        BinaryPrimitives.WriteUInt32LittleEndian(target[sizeof(ulong)..], length);
    }
}

/// <summary>Appends records to a new log file.</summary>
/// <remarks>
/// Format: docs/format.md 4. Not safe from many threads: its owner holds a lock.
/// Durable: a record once a later <see cref="Sync"/> returned. Fails sticky: after a failed write or sync every call throws, for nobody knows how much reached the disk.
/// A sync of a file that grows waits for the file's length as well, which costs as much again as the bytes. So a file that is synced often is written in place: it is filled with
/// zeros ahead of its records, in steps that grow with it, or takes over the bytes of a file whose life has ended, which its own key does not open. What is behind the last record is cut off
/// at the end; after a crash it is a tail like any other.
/// In place, few records go to the disk past the kernel's cache, in sectors: the cache would write pages, each sync the last one again, and wait for its own writing.
/// </remarks>
public sealed class RecordLogWriter : IDisposable
{
    private const int BufferBytes = 256 * 1024;
    private const int PageBytes = 4096;
    private const int MaxThroughBytes = 64 * 1024;
    private const int KeptBytes = 256 * 1024;
    private const long NoSectors = long.MaxValue;
    private const int MinAheadBytes = 64 * 1024;
    private const int MaxAheadBytes = 1024 * 1024;

    /// <summary>A file that was synced so often is one of many small changes.</summary>
    private const int BusySyncs = 16;

    private static readonly byte[] s_zeros = new byte[MinAheadBytes];

    private readonly IDiskFile _file;
    private readonly AesGcm _cipher;
    private readonly IRandomSource _random;
    private readonly FieldWriter _pending = new(BufferBytes);
    private ulong _index;
    private long _writtenBytes;
    private bool _unsynced;
    private Exception? _failure;

    private readonly IDisk _disk;
    private bool _nameSynced;
    private byte[]? _sectors; // what was last written past the cache, which has none of it: copies at holders are made of it, and a sector's beginning is written again with what follows
    private long _sectorsAt = NoSectors; // where they lie
    private bool _isAhead; // whether the file may be longer than its records
    private long _fileBytes; // that it is long, records or not
    private int _syncCount;

    /// <summary>Creates the file and its header. The name is durable once <see cref="Sync"/> returned.</summary>
    /// <param name="isAhead">Once it is synced often it may be longer than its records.</param>
    /// <param name="isTakenOver">The file is there, and its life has ended: what it holds is written over.</param>
    public RecordLogWriter(IDisk disk, string path, RecordLogHeader header, ReadOnlySpan<byte> key, IRandomSource random, bool isAhead = false, bool isTakenOver = false)
        : this(disk, path, header, key, random, isTakenOver ? DiskOpen.ReadWrite : DiskOpen.CreateNew)
    {
        header.Write(_pending.Take(RecordLogHeader.Size));
        _unsynced = true;
        _isAhead = isAhead;
        _fileBytes = isTakenOver ? _file.Length : 0;
    }

    private RecordLogWriter(IDisk disk, string path, RecordLogHeader header, ReadOnlySpan<byte> key, IRandomSource random, DiskOpen mode)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(header);
        Header = header;
        Path = path;
        _random = random;
        _disk = disk;
        _file = disk.Open(path, mode);
        _cipher = new AesGcm(key, RecordLog.TagSize);
    }

    /// <summary>Goes on after the last record of a log that was read to its end and has no tail.</summary>
    public static RecordLogWriter Continue(IDisk disk, string path, RecordLogHeader header, ReadOnlySpan<byte> key, IRandomSource random, RecordLogExtent extent, bool isAhead = false)
    {
        Debug.Assert(!extent.HasTail, "a log with a tail is not continued");
        return new RecordLogWriter(disk, path, header, key, random, DiskOpen.ReadWrite)
        {
            _index = extent.RecordCount,
            _writtenBytes = extent.ValidBytes,
            SyncedBytes = extent.ValidBytes,
            _nameSynced = true,
            _isAhead = isAhead,
            _fileBytes = extent.FileBytes,
        };
    }

    public RecordLogHeader Header { get; }

    public string Path { get; }

    public bool HasFailed => _failure is not null;

    /// <summary>Whether it is synced so often that the next file of its kind is better written in place.</summary>
    internal bool IsBusy => _syncCount >= BusySyncs;

    /// <summary>Bytes of the log, those not yet written out included.</summary>
    public long LengthBytes => _writtenBytes + _pending.Length;

    /// <summary>Reads back what was synced: the bytes that copies at holders are made of.</summary>
    public int ReadSynced(long offset, Span<byte> target)
    {
        target = target[..(int)Math.Min(target.Length, Math.Max(0, SyncedBytes - offset))];
        if (offset < _sectorsAt)
        {
            return _file.Read(offset, target);
        }

        _sectors.AsSpan((int)(offset - _sectorsAt), target.Length).CopyTo(target);
        return target.Length;
    }

    /// <summary>Bytes that the last successful sync made durable.</summary>
    public long SyncedBytes { get; private set; }

    public void Append(ReadOnlySpan<byte> body)
    {
        ThrowIfFailed();
        ArgumentOutOfRangeException.ThrowIfZero(body.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(body.Length, RecordLog.MaxBodyBytes);
        Span<byte> record = _pending.Take(RecordLog.Overhead + body.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record, (uint)body.Length);
        Span<byte> nonce = record.Slice(RecordLog.LengthSize, RecordLog.NonceSize);
        _random.Fill(nonce); // random at every encryption; a log's key encrypts far fewer than 2^32 records
        Span<byte> associated = stackalloc byte[RecordLog.AssociatedSize];
        RecordLog.WriteAssociated(associated, _index, (uint)body.Length);
        _cipher.Encrypt(nonce, body, record.Slice(RecordLog.LengthSize + RecordLog.NonceSize, body.Length), record[^RecordLog.TagSize..], associated);
        _index++;
        _unsynced = true;
        if (_pending.Length >= BufferBytes)
        {
            WriteOut();
        }
    }

    public void Sync()
    {
        ThrowIfFailed();
        if (!_unsynced)
        {
            return;
        }

        _syncCount += _syncCount < BusySyncs ? 1 : 0;
        if (!TryWriteThrough())
        {
            WriteOut();
            try
            {
                FillAhead();
                _file.Sync();
                if (!_nameSynced)
                {
                    _disk.SyncDirectory(Paths.Parent(Path));
                    _nameSynced = true;
                }
            }
            catch (Exception failure)
            {
                _failure = failure;
                throw;
            }
        }

        _unsynced = false;
        SyncedBytes = _writtenBytes;
    }

    public void Dispose()
    {
        _cipher.Dispose();
        if (_failure is null && _fileBytes > _writtenBytes)
        {
            try
            {
                _file.Truncate(_writtenBytes); // so that it can be gone on with
            }
            catch (DiskException)
            {
                // Then the next writer finds a tail, and begins the next number.
            }
        }

        _file.Dispose();
    }

    private void WriteOut()
    {
        long end = _writtenBytes + _pending.Length;
        try
        {
            if (end < _fileBytes)
            {
                // Whole pages: the kernel need not read what the last of them held before.
                int padding = (int)Math.Min((PageBytes - (end % PageBytes)) % PageBytes, _fileBytes - end);
                _pending.Take(padding).Clear();
            }

            _sectorsAt = NoSectors;
            _file.Write(_writtenBytes, _pending.Written);
        }
        catch (Exception failure)
        {
            _failure = failure;
            throw;
        }

        _writtenBytes = end;
        _pending.Clear();
    }

    /// <summary>Where all that is not durable are few records, and the file has room for them: they are, once this returned.</summary>
    private bool TryWriteThrough()
    {
        int head = (int)(_writtenBytes % IDiskFile.SectorBytes);
        long start = _writtenBytes - head;
        int filled = head + _pending.Length;
        int length = (filled + IDiskFile.SectorBytes - 1) / IDiskFile.SectorBytes * IDiskFile.SectorBytes;
        bool isCached = _writtenBytes > SyncedBytes; // then it takes a sync
        if (isCached || !_nameSynced || length > MaxThroughBytes || start + length > _fileBytes)
        {
            return false;
        }

        try
        {
            _sectors ??= new byte[2 * KeptBytes];
            if (_sectorsAt == NoSectors)
            {
                if (_file.Read(start, _sectors.AsSpan(0, head)) != head)
                {
                    throw new DamagedFormatException($"{Path}: it ends before byte {_writtenBytes}, expected as many as were written");
                }

                _sectorsAt = start;
            }

            if (start + length - _sectorsAt > _sectors.Length)
            {
                long kept = start - Math.Min(start - _sectorsAt, KeptBytes);
                _sectors.AsSpan((int)(kept - _sectorsAt), (int)(start - kept) + head).CopyTo(_sectors);
                _sectorsAt = kept;
            }

            Span<byte> sectors = _sectors.AsSpan((int)(start - _sectorsAt), length);
            _pending.Written.CopyTo(sectors[head..]);
            sectors[filled..].Clear();
            if (!_file.TryWriteThrough(start, sectors))
            {
                return false;
            }
        }
        catch (Exception failure)
        {
            _failure = failure;
            throw;
        }

        _writtenBytes += _pending.Length;
        _pending.Clear();
        return true;
    }

    /// <summary>Where this sync must wait for the file's length anyway, room for those that follow is part of it.</summary>
    private void FillAhead()
    {
        if (_writtenBytes <= _fileBytes)
        {
            return;
        }

        _fileBytes = _writtenBytes;
        if (!_isAhead || !IsBusy)
        {
            return;
        }

        long end = _writtenBytes + Math.Clamp(_writtenBytes, MinAheadBytes, MaxAheadBytes);
        end -= end % PageBytes;
        try
        {
            while (_fileBytes < end)
            {
                int count = (int)Math.Min(end - _fileBytes, s_zeros.Length);
                _file.Write(_fileBytes, s_zeros.AsSpan(0, count));
                _fileBytes += count;
            }
        }
        catch (DiskException failure) when (failure.Failure == DiskFailure.Full)
        {
            _isAhead = false; // there is no room to spare: the file grows with its records
            _fileBytes = Math.Max(_fileBytes, _file.Length);
        }
    }

    private void ThrowIfFailed()
    {
        if (_failure is not null)
        {
            throw new DiskException($"{Path}: an earlier write failed ({_failure.Message}); nothing more is written until the store is opened again", _failure);
        }
    }
}

/// <summary>What reading a log found: where its valid part ends, and whether bytes follow it.</summary>
public readonly record struct RecordLogExtent(long ValidBytes, long FileBytes, ulong RecordCount)
{
    /// <summary>A tail that a crash tore, or damage. The log is not continued; the next number begins.</summary>
    public bool HasTail => FileBytes > ValidBytes;
}

/// <summary>Reads the valid prefix of a record log.</summary>
public static class RecordLogReader
{
    /// <summary>Receives the body of one record; the span is valid during the call.</summary>
    public delegate void RecordHandler(ReadOnlySpan<byte> body);

    /// <summary>Reads the header, or throws <see cref="DamagedFormatException"/>.</summary>
    public static RecordLogHeader ReadHeader(IDiskFile file, string path)
    {
        ArgumentNullException.ThrowIfNull(file);
        Span<byte> bytes = stackalloc byte[RecordLogHeader.Size];
        int read = file.Read(0, bytes);
        return RecordLogHeader.Read(bytes[..read], path);
    }

    /// <summary>Hands every record of the valid prefix to <paramref name="handler"/>, in order.</summary>
    /// <param name="from">Where another copy of the log ended: begins behind it.</param>
    public static RecordLogExtent Read(IDiskFile file, ReadOnlySpan<byte> key, RecordHandler handler, RecordLogExtent from = default)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(handler);
        using var scan = new RecordLogScan(key, file.Length, from);
        int read;
        do
        {
            read = file.Read(scan.Offset, scan.Window.Span);
        }
        while (scan.Take(read, handler));
        return scan.Extent;
    }

    /// <summary>The same for an object at a holder, up to the length that it had when it was listed. Memory is a window's, whatever length the holder claims.</summary>
    /// <remarks>
    /// What was appended since is left for the next time: whoever writes brings a journal's records to the holders before the catalog's that rest on them, and whoever reads lists catalogs before journals, so that what a catalog
    /// says as it was listed is in the journals as they were.
    /// </remarks>
    internal static async ValueTask<RecordLogExtent> ReadAsync(
        IFragmentHolder holder, string name, long claimedBytes, ReadOnlyMemory<byte> key, RecordHandler handler, CancellationToken cancel)
    {
        using var scan = new RecordLogScan(key.Span, claimedBytes);
        int read;
        do
        {
            read = 0;
            int wanted = (int)Math.Clamp(claimedBytes - scan.Offset, 0, scan.Window.Length);
            for (int part = -1; part != 0 && read < wanted; read += part)
            {
                part = await holder.ReadObjectAsync(name, scan.Offset + read, scan.Window[read..wanted], cancel).ConfigureAwait(false);
            }
        }
        while (scan.Take(read, handler));
        return scan.Extent;
    }
}

/// <summary>Takes records out of windows of a log: the part of reading that does no I/O.</summary>
/// <remarks>
/// Format: docs/format.md 4. The caller fills <see cref="Window"/> from <see cref="Offset"/> on, as far as there are bytes, and says how many.
/// Bounds: a window grows to one whole record, <see cref="RecordLog.MaxRecordBytes"/>, and no further: the length of a file or object is never allocated.
/// </remarks>
/// <param name="from">Where an earlier scan of the same log ended; default: at its first record.</param>
internal sealed class RecordLogScan(ReadOnlySpan<byte> key, long fileBytes, RecordLogExtent from = default) : IDisposable
{
    private readonly AesGcm _cipher = new(key, RecordLog.TagSize);
    private byte[] _window = new byte[RecordLog.WindowBytes];
    private byte[] _plain = new byte[64 * 1024];
    private ulong _count = from.RecordCount;

    /// <summary>Where the window begins in the log.</summary>
    internal long Offset { get; private set; } = Math.Max(from.ValidBytes, RecordLogHeader.Size);

    internal Memory<byte> Window => _window;

    internal RecordLogExtent Extent => new(Offset, fileBytes, _count);

    /// <summary>Hands on the whole records among the first bytes of the window. False at the end of the valid prefix.</summary>
    internal bool Take(int bytes, RecordLogReader.RecordHandler handler)
    {
        ReadOnlySpan<byte> rest = _window.AsSpan(0, bytes);
        bool isAll = bytes < _window.Length;
        while (rest.Length >= RecordLog.LengthSize)
        {
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(rest);
            if (length is 0 or > RecordLog.MaxBodyBytes)
            {
                return false;
            }

            int recordBytes = RecordLog.Overhead + (int)length;
            if (rest.Length < recordBytes)
            {
                if (!isAll && recordBytes > _window.Length)
                {
                    _window = new byte[recordBytes];
                }

                break;
            }

            if (!TryDecrypt(rest[..recordBytes], (int)length))
            {
                return false;
            }

            handler(_plain.AsSpan(0, (int)length));
            rest = rest[recordBytes..];
            Offset += recordBytes;
            _count++;
        }

        return !isAll;
    }

    public void Dispose()
    {
        _cipher.Dispose();
        CryptographicOperations.ZeroMemory(_plain);
    }

    private bool TryDecrypt(ReadOnlySpan<byte> record, int length)
    {
        if (_plain.Length < length)
        {
            CryptographicOperations.ZeroMemory(_plain);
            _plain = new byte[length];
        }

        Span<byte> associated = stackalloc byte[RecordLog.AssociatedSize];
        RecordLog.WriteAssociated(associated, _count, (uint)length);
        try
        {
            _cipher.Decrypt(
                record.Slice(RecordLog.LengthSize, RecordLog.NonceSize),
                record.Slice(RecordLog.LengthSize + RecordLog.NonceSize, length),
                record[^RecordLog.TagSize..],
                _plain.AsSpan(0, length),
                associated);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }
}

/// <summary>Paths with '/' as <see cref="IDisk"/> has them.</summary>
internal static class Paths
{
    internal static string Parent(string path)
    {
        int slash = path.LastIndexOf('/');
        return slash < 0 ? "." : slash == 0 ? "/" : path[..slash];
    }

    internal static string Join(string folder, string name) => folder.EndsWith('/') ? folder + name : folder + "/" + name;
}
