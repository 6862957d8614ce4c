using System.Buffers.Binary;
using System.Diagnostics;
using System.Security.Cryptography;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>What a record of the stat cache stands for.</summary>
internal enum StatRecordKind : byte
{
    /// <summary>Nothing follows.</summary>
    End = 0,

    /// <summary>A name that is not a directory.</summary>
    Entry = 1,

    /// <summary>A directory begins; its names follow in byte order.</summary>
    Enter = 2,

    /// <summary>The directory ends.</summary>
    Leave = 3,
}

/// <summary>How a name stood when its entry was made. Spans are memory of the reader, valid until it moves.</summary>
internal readonly ref struct StatRecord
{
    internal StatRecordKind Kind { get; init; }

    /// <summary>False: the entry gives its file id, and is otherwise not to be used without reading the file.</summary>
    internal bool IsTrusted { get; init; }

    /// <summary>Of a Leave: the names above it are not all in the entry's table.</summary>
    internal bool IsCutOff { get; init; }

    internal FileStat Stat { get; init; }

    internal ReadOnlySpan<byte> Name { get; init; }

    /// <summary>The entry as its directory's table holds it.</summary>
    internal ReadOnlySpan<byte> Entry { get; init; }

    /// <summary>For a file of several links, the record as the link table holds it, at its first name.</summary>
    internal ReadOnlySpan<byte> Link { get; init; }
}

/// <summary>The local memory of an import: which file stood how when which entry was made of it, so that what is unchanged is not read again.</summary>
/// <remarks>
/// Format: docs/format.md 16.1. Source: git's index and its racy rule (Documentation/technical/racy-git.txt).
/// One file a volume, in the order of the walk, so that an import reads it and writes its successor as two streams, in memory that does not grow
/// with the tree. Encrypted segment by segment under the device's cache key: names stand in it.
/// A cache: it is written without a sync and renamed when complete. Damage, another device's key, other settings or a volume that has forgotten
/// the snapshots it leans on mean that it is not used, which is slower and never wrong.
/// </remarks>
public static class StatCache
{
    internal const int KeyBytes = 32;
    internal const int MaxBases = 8;
    internal const int FingerprintBytes = 32;
    internal const int MaxSegmentBytes = 256 * 1024;
    internal const int MaxEntryBytes = 64 * 1024;

    internal const int FileIdBytes = 16;
    internal const int HeaderBytes = MagicBytes + 8 + FileIdBytes;
    internal const int NonceBytes = 12;
    internal const int TagBytes = 16;
    internal const int SegmentHeadBytes = sizeof(uint) + NonceBytes;
    internal const int FooterPlainBytes = (2 * sizeof(ulong)) + VolumeId.Size + FingerprintBytes + sizeof(ulong) + (MaxBases * SnapshotId.Size);
    internal const int FooterBytes = NonceBytes + FooterPlainBytes + TagBytes;
    internal const int RecordHeadBytes = 4 + (2 * sizeof(uint));
    internal const int StatBytes = (4 * sizeof(ulong)) + (4 * sizeof(uint));

    /// <summary>A segment is closed when it has grown to so much.</summary>
    internal const int TargetSegmentBytes = 64 * 1024;

    internal const byte TrustedFlag = 1;
    internal const byte CutOffFlag = 2;
    private const int MagicBytes = 8;
    private const int AssociatedBytes = FileIdBytes + sizeof(ulong) + sizeof(uint);

    internal static ReadOnlySpan<byte> Magic => "TDFSSTC1"u8;

    internal const string FilePrefix = "stat-";

    /// <summary>Of a cache that is being written.</summary>
    internal const string NewSuffix = ".new";

    /// <summary>Takes away what nobody reads again: caches that a killed import left half written, and those of volumes that are no more.</summary>
    /// <remarks>The caller holds the writer's lock, so no import is writing one.</remarks>
    /// <param name="volumes">The volumes there are, whether they can be read or not.</param>
    public static void Clean(IDisk disk, string folder, IEnumerable<VolumeId> volumes)
    {
        ArgumentNullException.ThrowIfNull(disk);
        HashSet<string> wanted = [.. volumes.Select(FileName)];
        try
        {
            foreach (DiskEntry entry in disk.List(folder))
            {
                if (!entry.IsDirectory && entry.Name.StartsWith(FilePrefix, StringComparison.Ordinal) && !wanted.Contains(entry.Name))
                {
                    disk.Delete($"{folder}/{entry.Name}");
                }
            }
        }
        catch (DiskException)
        {
            // They only take space; the next writer tries again.
        }
    }

    internal static string FileName(VolumeId volume) => FilePrefix + volume;

    internal static void WriteAssociated(Span<byte> target, ReadOnlySpan<byte> fileId, ulong index, int bytes)
    {
        fileId.CopyTo(target);
        BinaryPrimitives.WriteUInt64LittleEndian(target[FileIdBytes..], index);
        BinaryPrimitives.WriteUInt32LittleEndian(target[(FileIdBytes + sizeof(ulong))..], (uint)bytes);
    }

    internal static int AssociatedSize => AssociatedBytes;
}

/// <summary>Reads a stat cache as a stream. One thread.</summary>
internal sealed class StatCacheReader : IDisposable
{
    private readonly IDiskFile _file;
    private readonly AesGcm _cipher;
    private readonly byte[] _fileId;
    private readonly byte[] _sealed = new byte[StatCache.MaxSegmentBytes + StatCache.TagBytes];
    private readonly byte[] _plain = new byte[StatCache.MaxSegmentBytes];
    private readonly long _end;
    private readonly ulong _segmentCount;
    private long _offset = StatCache.HeaderBytes;
    private ulong _nextSegment;
    private int _position;
    private int _filled;
    private int _recordBytes;
    private StatRecordKind _kind;

    private StatCacheReader(IDiskFile file, AesGcm cipher, byte[] fileId, long end, ulong segmentCount)
    {
        _file = file;
        _cipher = cipher;
        _fileId = fileId;
        _end = end;
        _segmentCount = segmentCount;
    }

    internal VolumeId Volume { get; private init; }

    /// <summary>Of the settings that shape entries.</summary>
    internal required byte[] Fingerprint { get; init; }

    internal ulong SegmentCount => _segmentCount;

    /// <summary>The snapshots that hold the blocks the entries name.</summary>
    internal required IReadOnlyList<SnapshotId> Bases { get; init; }

    /// <summary>Why the stream ended before its end, or null. From there on nothing is known to be unchanged.</summary>
    internal string? Trouble { get; private set; }

    /// <summary>With <see cref="Trouble"/>: where, what was found, what was expected.</summary>
    internal string? Damage { get; private set; }

    internal StatRecordKind Kind => _kind;

    /// <summary>The record at hand.</summary>
    internal StatRecord Current
    {
        get
        {
            ReadOnlySpan<byte> record = _plain.AsSpan(_position, _recordBytes);
            int nameBytes = BinaryPrimitives.ReadUInt16LittleEndian(record[2..]);
            int entryBytes = (int)BinaryPrimitives.ReadUInt32LittleEndian(record[4..]);
            int stat = StatCache.RecordHeadBytes;
            int name = stat + StatCache.StatBytes;
            return new StatRecord
            {
                Kind = _kind,
                IsTrusted = (record[1] & StatCache.TrustedFlag) != 0,
                IsCutOff = (record[1] & StatCache.CutOffFlag) != 0,
                Stat = new FileStat
                {
                    Inode = BinaryPrimitives.ReadUInt64LittleEndian(record[stat..]),
                    SizeBytes = BinaryPrimitives.ReadInt64LittleEndian(record[(stat + 8)..]),
                    ModifyNs = BinaryPrimitives.ReadInt64LittleEndian(record[(stat + 16)..]),
                    ChangeNs = BinaryPrimitives.ReadInt64LittleEndian(record[(stat + 24)..]),
                    Mode = BinaryPrimitives.ReadUInt32LittleEndian(record[(stat + 32)..]),
                    Uid = BinaryPrimitives.ReadUInt32LittleEndian(record[(stat + 36)..]),
                    Gid = BinaryPrimitives.ReadUInt32LittleEndian(record[(stat + 40)..]),
                    LinkCount = BinaryPrimitives.ReadUInt32LittleEndian(record[(stat + 44)..]),
                },
                Name = record.Slice(name, nameBytes),
                Entry = record.Slice(name + nameBytes, entryBytes),
                Link = record[(name + nameBytes + entryBytes)..],
            };
        }
    }

    /// <summary>Null when there is no cache to use; <paramref name="trouble"/> then says why, unless there just is none.</summary>
    internal static StatCacheReader? TryOpen(
        IDisk disk, string path, ReadOnlySpan<byte> key, VolumeId volume, ReadOnlySpan<byte> fingerprint, out string? trouble)
    {
        trouble = null;
        try
        {
            if (!disk.FileExists(path))
            {
                return null;
            }

            StatCacheReader reader = Open(disk, path, key);
            if (reader.Volume == volume && reader.Fingerprint.AsSpan().SequenceEqual(fingerprint))
            {
                return reader;
            }

            trouble = reader.Volume == volume
                ? "the stat cache was written with other settings, so every file is read"
                : "the stat cache belongs to something else, so every file is read";
            reader.Dispose();
            return null;
        }
        catch (Exception error) when (error is DiskException or CryptographicException or DamagedFormatException)
        {
            trouble = error switch
            {
                DiskException => $"the stat cache cannot be read ({error.Message}), so every file is read",
                CryptographicException => "the stat cache is damaged or another device's, so every file is read",
                _ => "the stat cache is cut short or of another version, so every file is read",
            };
            return null;
        }
    }

    /// <summary>Opens a cache of whatever volume and settings.</summary>
    /// <exception cref="DamagedFormatException">It has not the form of one.</exception>
    /// <exception cref="CryptographicException">Its footer was not written under the key, or is damaged.</exception>
    internal static StatCacheReader Open(IDisk disk, string path, ReadOnlySpan<byte> key)
    {
        IDiskFile? file = disk.Open(path, DiskOpen.Read);
        AesGcm? cipher = null;
        try
        {
            Span<byte> header = stackalloc byte[StatCache.HeaderBytes];
            Span<byte> footer = stackalloc byte[StatCache.FooterBytes];
            Span<byte> plain = stackalloc byte[StatCache.FooterPlainBytes];
            Span<byte> associated = stackalloc byte[StatCache.AssociatedSize];
            long end = file.Length - StatCache.FooterBytes;
            if (end < StatCache.HeaderBytes)
            {
                throw new DamagedFormatException($"stat cache: found {file.Length} bytes, expected at least {StatCache.HeaderBytes + StatCache.FooterBytes}");
            }

            if (file.Read(0, header) != header.Length || !header.StartsWith(StatCache.Magic) || header[8..16].ContainsAnyExcept((byte)0))
            {
                throw new DamagedFormatException($"stat cache: found a header that begins with {Convert.ToHexString(header[..16])}, expected {Convert.ToHexString(StatCache.Magic)} and zeros");
            }

            if (file.Read(end, footer) != footer.Length)
            {
                throw new DamagedFormatException("stat cache: found less than a footer at its end, expected one; it was cut short meanwhile");
            }

            byte[] fileId = header[16..].ToArray();
            cipher = new AesGcm(key, StatCache.TagBytes);
            StatCache.WriteAssociated(associated, fileId, ulong.MaxValue, plain.Length);
            cipher.Decrypt(footer[..StatCache.NonceBytes], footer[StatCache.NonceBytes..^StatCache.TagBytes], footer[^StatCache.TagBytes..], plain, associated);
            var fields = new FieldReader(plain, "stat cache footer");
            ulong segmentCount = fields.U64();
            long offset = fields.I64();
            VolumeId volume = VolumeId.Read(fields.Bytes(VolumeId.Size));
            byte[] fingerprint = fields.Bytes(StatCache.FingerprintBytes).ToArray();
            int baseCount = fields.U8();
            fields.Reserved(7);
            if (offset != end || baseCount > StatCache.MaxBases)
            {
                throw new DamagedFormatException($"stat cache footer: found its offset as {offset} and {baseCount} bases, expected {end} and at most {StatCache.MaxBases}");
            }

            var bases = new SnapshotId[baseCount];
            for (int i = 0; i < baseCount; i++)
            {
                bases[i] = new SnapshotId(fields.U64());
            }

            var reader = new StatCacheReader(file, cipher, fileId, end, segmentCount) { Volume = volume, Fingerprint = fingerprint, Bases = bases };
            file = null;
            cipher = null;
            reader.MoveNext();
            return reader;
        }
        finally
        {
            file?.Dispose();
            cipher?.Dispose();
        }
    }

    /// <summary>Moves to the next record; at the end, or at damage, <see cref="Kind"/> is End from then on.</summary>
    internal void MoveNext()
    {
        _position += _recordBytes;
        _recordBytes = 0;
        if (_position == _filled && !TryReadSegment())
        {
            _kind = StatRecordKind.End;
            return;
        }

        int left = _filled - _position;
        ReadOnlySpan<byte> record = _plain.AsSpan(_position, left);
        const int Fixed = StatCache.RecordHeadBytes + StatCache.StatBytes;
        if (left >= Fixed)
        {
            long nameBytes = BinaryPrimitives.ReadUInt16LittleEndian(record[2..]);
            long entryBytes = BinaryPrimitives.ReadUInt32LittleEndian(record[4..]);
            long linkBytes = BinaryPrimitives.ReadUInt32LittleEndian(record[8..]);
            long total = Fixed + nameBytes + entryBytes + linkBytes;
            if (total <= left && record[0] is >= (byte)StatRecordKind.Entry and <= (byte)StatRecordKind.Leave)
            {
                _kind = (StatRecordKind)record[0];
                _recordBytes = (int)total;
                return;
            }
        }

        Fail($"segment {_nextSegment - 1}, byte {_position}: found a record that does not fit in the {left} bytes left, or of no known kind, expected a whole one");
    }

    /// <summary>From an Enter record, moves past its Leave.</summary>
    internal void SkipDirectory()
    {
        Debug.Assert(_kind == StatRecordKind.Enter, "no directory begins here");
        long depth = 0;
        do
        {
            depth += _kind switch { StatRecordKind.Enter => 1, StatRecordKind.Leave => -1, _ => 0 };
            MoveNext();
        }
        while (depth > 0 && _kind != StatRecordKind.End);
    }

    public void Dispose()
    {
        _file.Dispose();
        _cipher.Dispose();
        CryptographicOperations.ZeroMemory(_plain);
    }

    private void Fail(string damage)
    {
        Damage ??= damage;
        Trouble ??= "the stat cache is damaged, so the files from here on are read";
        _position = _filled = _recordBytes = 0;
        _nextSegment = _segmentCount;
        _kind = StatRecordKind.End;
    }

    private bool TryReadSegment()
    {
        _position = _filled = 0;
        if (_nextSegment >= _segmentCount)
        {
            if (_offset < _end)
            {
                Fail($"byte {_offset}: found {_end - _offset} bytes behind the last of {_segmentCount} segments, expected the footer");
            }

            return false;
        }

        try
        {
            Span<byte> head = stackalloc byte[StatCache.SegmentHeadBytes];
            Span<byte> associated = stackalloc byte[StatCache.AssociatedSize];
            uint bytes = _file.Read(_offset, head) == head.Length ? BinaryPrimitives.ReadUInt32LittleEndian(head) : 0;
            if (bytes is 0 or > StatCache.MaxSegmentBytes || _offset + head.Length + bytes + StatCache.TagBytes > _end)
            {
                Fail($"segment {_nextSegment}, byte {_offset}: found a length of {bytes}, expected 1 to {StatCache.MaxSegmentBytes} and no more than lies before the footer");
                return false;
            }

            int count = (int)bytes;
            Span<byte> body = _sealed.AsSpan(0, count + StatCache.TagBytes);
            if (_file.Read(_offset + head.Length, body) != body.Length)
            {
                Fail($"segment {_nextSegment}, byte {_offset}: found the file's end within it, expected {body.Length} bytes");
                return false;
            }

            StatCache.WriteAssociated(associated, _fileId, _nextSegment, count);
            _cipher.Decrypt(head[sizeof(uint)..], body[..count], body[count..], _plain.AsSpan(0, count), associated);
            _filled = count;
            _offset += head.Length + body.Length;
            _nextSegment++;
            return true;
        }
        catch (Exception error) when (error is DiskException or CryptographicException)
        {
            Fail($"segment {_nextSegment}, byte {_offset}: {(error is DiskException ? error.Message : "found bytes that do not decrypt, expected those that were written there")}");
            return false;
        }
    }
}

/// <summary>Writes a stat cache as a stream beside the old one, and takes its place at the end. One thread.</summary>
/// <remarks>A failed write is remembered and ends the writing: the import goes on without a new cache.</remarks>
internal sealed class StatCacheWriter : IDisposable
{
    private readonly IDisk _disk;
    private readonly string _path;
    private readonly string _newPath;
    private readonly AesGcm _cipher;
    private readonly IRandomSource _random;
    private readonly byte[] _fileId = new byte[StatCache.FileIdBytes];
    private readonly byte[] _sealed = new byte[StatCache.SegmentHeadBytes + StatCache.MaxSegmentBytes + StatCache.TagBytes];
    private readonly FieldWriter _plain = new(StatCache.TargetSegmentBytes * 2);
    private IDiskFile? _file;
    private long _offset;
    private ulong _segmentCount;

    private StatCacheWriter(IDisk disk, string path, ReadOnlySpan<byte> key, IRandomSource random)
    {
        _disk = disk;
        _path = path;
        _newPath = path + StatCache.NewSuffix;
        _random = random;
        _cipher = new AesGcm(key, StatCache.TagBytes);
        random.Fill(_fileId);
    }

    /// <summary>Why there will be no new cache, or null.</summary>
    internal string? Trouble { get; private set; }

    internal static StatCacheWriter Create(IDisk disk, string path, ReadOnlySpan<byte> key, IRandomSource random)
    {
        var writer = new StatCacheWriter(disk, path, key, random);
        writer.Try(() =>
        {
            if (disk.FileExists(writer._newPath))
            {
                disk.Delete(writer._newPath);
            }

            writer._file = disk.Open(writer._newPath, DiskOpen.CreateNew);
            var header = new FieldWriter(StatCache.HeaderBytes);
            header.Bytes(StatCache.Magic);
            header.Reserved(8);
            header.Bytes(writer._fileId);
            Debug.Assert(header.Length == StatCache.HeaderBytes, "the stat cache's header and its size disagree");
            writer._file.Write(0, header.Written);
            writer._offset = header.Length;
        });
        return writer;
    }

    internal void Write(
        StatRecordKind kind, bool isTrusted, in FileStat stat, ReadOnlySpan<byte> name, ReadOnlySpan<byte> entry, ReadOnlySpan<byte> link, bool isCutOff = false)
    {
        Debug.Assert(entry.Length <= StatCache.MaxEntryBytes && link.Length <= StatCache.MaxEntryBytes, "an entry larger than a table takes");
        if (Trouble is not null)
        {
            return;
        }

        Span<byte> record = _plain.Take(StatCache.RecordHeadBytes + StatCache.StatBytes);
        record[0] = (byte)kind;
        record[1] = (byte)((isTrusted ? StatCache.TrustedFlag : 0) | (isCutOff ? StatCache.CutOffFlag : 0));
        BinaryPrimitives.WriteUInt16LittleEndian(record[2..], (ushort)name.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record[4..], (uint)entry.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record[8..], (uint)link.Length);
        Span<byte> at = record[StatCache.RecordHeadBytes..];
        BinaryPrimitives.WriteUInt64LittleEndian(at, stat.Inode);
        BinaryPrimitives.WriteInt64LittleEndian(at[8..], stat.SizeBytes);
        BinaryPrimitives.WriteInt64LittleEndian(at[16..], stat.ModifyNs);
        BinaryPrimitives.WriteInt64LittleEndian(at[24..], stat.ChangeNs);
        BinaryPrimitives.WriteUInt32LittleEndian(at[32..], stat.Mode);
        BinaryPrimitives.WriteUInt32LittleEndian(at[36..], stat.Uid);
        BinaryPrimitives.WriteUInt32LittleEndian(at[40..], stat.Gid);
        BinaryPrimitives.WriteUInt32LittleEndian(at[44..], stat.LinkCount);
        _plain.Bytes(name);
        _plain.Bytes(entry);
        _plain.Bytes(link);
        if (_plain.Length >= StatCache.TargetSegmentBytes)
        {
            Try(FlushSegment);
        }
    }

    /// <summary>Puts the new cache in the old one's place. A crash leaves the old one, the new one, or one that is refused as damaged.</summary>
    internal void Commit(VolumeId volume, ReadOnlySpan<byte> fingerprint, IReadOnlyList<SnapshotId> bases)
    {
        if (Trouble is not null)
        {
            return;
        }

        byte[] settings = fingerprint.ToArray();
        Try(() =>
        {
            FlushSegment();
            var plain = new FieldWriter(StatCache.FooterPlainBytes);
            plain.U64(_segmentCount);
            plain.I64(_offset);
            volume.Write(plain.Take(VolumeId.Size));
            plain.Bytes(settings);
            plain.U8((byte)Math.Min(bases.Count, StatCache.MaxBases));
            plain.Reserved(7);
            for (int i = 0; i < StatCache.MaxBases; i++)
            {
                if (i < bases.Count)
                {
                    plain.U64(bases[i].Value);
                }
                else
                {
                    plain.Reserved(SnapshotId.Size);
                }
            }

            Debug.Assert(plain.Length == StatCache.FooterPlainBytes, "the stat cache's footer and its size disagree");
            byte[] footer = new byte[StatCache.FooterBytes];
            Span<byte> associated = stackalloc byte[StatCache.AssociatedSize];
            StatCache.WriteAssociated(associated, _fileId, ulong.MaxValue, plain.Length);
            _random.Fill(footer.AsSpan(0, StatCache.NonceBytes));
            _cipher.Encrypt(
                footer.AsSpan(0, StatCache.NonceBytes),
                plain.Written,
                footer.AsSpan(StatCache.NonceBytes, plain.Length),
                footer.AsSpan(StatCache.NonceBytes + plain.Length),
                associated);
            _file!.Write(_offset, footer);
            _file.Dispose();
            _file = null;
            _disk.Rename(_newPath, _path);
        });
    }

    public void Dispose()
    {
        _cipher.Dispose();
        if (_file is not null)
        {
            _file.Dispose();
            _file = null;
            try
            {
                _disk.Delete(_newPath);
            }
            catch (DiskException)
            {
                // Left behind; the next writer deletes it.
            }
        }
    }

    private void FlushSegment()
    {
        if (_plain.Length == 0)
        {
            return;
        }

        // The nonce is drawn at random for every segment; the number in the associated data keeps their order.
        int bytes = _plain.Length;
        Span<byte> associated = stackalloc byte[StatCache.AssociatedSize];
        StatCache.WriteAssociated(associated, _fileId, _segmentCount, bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(_sealed, (uint)bytes);
        Span<byte> nonce = _sealed.AsSpan(sizeof(uint), StatCache.NonceBytes);
        _random.Fill(nonce);
        Span<byte> body = _sealed.AsSpan(StatCache.SegmentHeadBytes, bytes + StatCache.TagBytes);
        _cipher.Encrypt(nonce, _plain.Written, body[..bytes], body[bytes..], associated);
        _file!.Write(_offset, _sealed.AsSpan(0, StatCache.SegmentHeadBytes + bytes + StatCache.TagBytes));
        _offset += StatCache.SegmentHeadBytes + bytes + StatCache.TagBytes;
        _segmentCount++;
        _plain.Clear();
    }

    private void Try(Action step)
    {
        try
        {
            step();
        }
        catch (DiskException error)
        {
            Trouble = $"the stat cache cannot be written ({error.Message}), so the next import reads every file";
        }
    }
}
