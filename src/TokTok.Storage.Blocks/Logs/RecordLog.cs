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
    public const int Size = MagicSize + 1 + 3 + sizeof(uint) + DomainId.Size + sizeof(uint) + 4 + sizeof(ulong) + UInt256.Size + Blake3.HashSize;

    private const int MagicSize = 8;

    public required RecordLogKind Kind { get; init; }

    public required DomainId Domain { get; init; }

    public required uint Epoch { get; init; }

    public required uint Device { get; init; }

    /// <summary>The files of one kind and device count up from 1.</summary>
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

        return new RecordLogHeader { Kind = (RecordLogKind)kind, Domain = domain, Epoch = epoch, Device = device, Number = number, LogId = logId };
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
/// </remarks>
public sealed class RecordLogWriter : IDisposable
{
    private const int BufferBytes = 256 * 1024;

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

    /// <summary>Creates the file and its header. The name is durable once <see cref="Sync"/> returned.</summary>
    public RecordLogWriter(IDisk disk, string path, RecordLogHeader header, ReadOnlySpan<byte> key, IRandomSource random)
        : this(disk, path, header, key, random, DiskOpen.CreateNew)
    {
        header.Write(_pending.Take(RecordLogHeader.Size));
        _unsynced = true;
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
    public static RecordLogWriter Continue(IDisk disk, string path, RecordLogHeader header, ReadOnlySpan<byte> key, IRandomSource random, RecordLogExtent extent)
    {
        Debug.Assert(!extent.HasTail, "a log with a tail is not continued");
        return new RecordLogWriter(disk, path, header, key, random, DiskOpen.ReadWrite)
        {
            _index = extent.RecordCount,
            _writtenBytes = extent.ValidBytes,
            SyncedBytes = extent.ValidBytes,
            _nameSynced = true,
        };
    }

    public RecordLogHeader Header { get; }

    public string Path { get; }

    /// <summary>Bytes of the log, those not yet written out included.</summary>
    public long LengthBytes => _writtenBytes + _pending.Length;

    /// <summary>Reads back what was synced: the bytes that copies at holders are made of.</summary>
    public int ReadSynced(long offset, Span<byte> target) =>
        _file.Read(offset, target[..(int)Math.Min(target.Length, Math.Max(0, SyncedBytes - offset))]);

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

        WriteOut();
        try
        {
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

        _unsynced = false;
        SyncedBytes = _writtenBytes;
    }

    public void Dispose()
    {
        _cipher.Dispose();
        _file.Dispose();
    }

    private void WriteOut()
    {
        try
        {
            _file.Write(_writtenBytes, _pending.Written);
        }
        catch (Exception failure)
        {
            _failure = failure;
            throw;
        }

        _writtenBytes += _pending.Length;
        _pending.Clear();
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
    public static RecordLogExtent Read(IDiskFile file, ReadOnlySpan<byte> key, RecordHandler handler)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(handler);
        using var cipher = new AesGcm(key, RecordLog.TagSize);
        long fileBytes = file.Length;
        long offset = RecordLogHeader.Size;
        ulong index = 0;
        byte[] buffer = new byte[256 * 1024];
        byte[] plain = new byte[64 * 1024];
        long bufferOffset = 0;
        int bufferBytes = 0;
        Span<byte> associated = stackalloc byte[RecordLog.AssociatedSize];
        while (TryTake(offset, RecordLog.LengthSize, out ReadOnlySpan<byte> lengthBytes))
        {
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(lengthBytes);
            if (length is 0 or > RecordLog.MaxBodyBytes || !TryTake(offset, RecordLog.Overhead + (int)length, out ReadOnlySpan<byte> record))
            {
                break;
            }

            if (plain.Length < length)
            {
                plain = new byte[length];
            }

            RecordLog.WriteAssociated(associated, index, length);
            try
            {
                cipher.Decrypt(
                    record.Slice(RecordLog.LengthSize, RecordLog.NonceSize),
                    record.Slice(RecordLog.LengthSize + RecordLog.NonceSize, (int)length),
                    record[^RecordLog.TagSize..],
                    plain.AsSpan(0, (int)length),
                    associated);
            }
            catch (AuthenticationTagMismatchException)
            {
                break;
            }

            handler(plain.AsSpan(0, (int)length));
            offset += record.Length;
            index++;
        }

        CryptographicOperations.ZeroMemory(plain);
        return new RecordLogExtent(offset, fileBytes, index);

        bool TryTake(long at, int count, out ReadOnlySpan<byte> taken)
        {
            taken = default;
            if (at + count > fileBytes)
            {
                return false;
            }

            if (at < bufferOffset || at + count > bufferOffset + bufferBytes)
            {
                if (buffer.Length < count)
                {
                    buffer = new byte[count];
                }

                bufferOffset = at;
                bufferBytes = file.Read(at, buffer);
                if (bufferBytes < count)
                {
                    return false;
                }
            }

            taken = buffer.AsSpan((int)(at - bufferOffset), count);
            return true;
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
