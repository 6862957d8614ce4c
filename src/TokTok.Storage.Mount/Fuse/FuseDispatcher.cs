using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TokTok.Storage.Files;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>Answers requests of the kernel from a volume: bytes in, bytes out. It knows of no device and no thread.</summary>
/// <remarks>
/// Source: Linux, include/uapi/linux/fuse.h, protocol 7.31 and later (Linux 5.4).
/// One serves one thread. It allocates nothing for a request: names and data are read where the request lies, and the reply is made where it is sent from.
/// The kernel is the peer; still no length in a request is believed: what is shorter than its struct or lacks its name ends in EINVAL.
/// A request that is not known is ENOSYS, and the kernel sends no more of them.
/// Lookups: what the volume counts as given out is what the kernel counts, name by name; should the kernel not take a reply, the connection is at its end and the counts with it.
/// Access control lists: the kernel enforces and caches them; the volume keeps them, lets them and the mode follow each other, and hands them down, so it applies umasks too.
/// Appending: the kernel knows the end of its own mount's files and says the offset; writes of mapped pages come with any open handle, so that no handle here may append by itself.
/// Writeback cache, where it was agreed on: the kernel reads to write whole pages, so every handle reads; it keeps sizes and times of files, so what it writes from its cache leaves times alone,
/// and it sets them after; what lies in its cache is no data to a seek, so the kernel answers those itself.
/// Caching: the kernel may remember what it was told, and keep file data over a close: what changes the volume comes through it, or it is told (<see cref="FuseNotices"/>). What a snapshot
/// holds it may keep for ever, and the names of snapshots not at all.
/// </remarks>
internal sealed unsafe class FuseDispatcher
{
    /// <summary>The largest read and write.</summary>
    internal const int MaxTransferBytes = 1 << 20;

    /// <summary>What a reply needs room for.</summary>
    internal const int MaxReplyBytes = FuseOutHeader.Size + MaxTransferBytes;

    internal const uint Major = 7;
    internal const uint MinMinor = 31;
    internal const uint OurMinor = 45;

    // errno beside those of FileError.
    private const int ENOTTY = 25;
    private const int ENOSYS = 38;
    private const int EPROTO = 71;

    private const uint OpenAccessMask = 3, OpenWriteOnly = 1, OpenReadWrite = 2, OpenExclusive = 0x80, OpenTruncate = 0x200;
    private const uint OpenKillsPrivileges = 1; // FUSE_OPEN_KILL_SUIDGID
    private const uint WriteIsFromCache = 1; // FUSE_WRITE_CACHE
    private const uint WriteKillsPrivileges = 1 << 2; // FUSE_WRITE_KILL_SUIDGID
    private const uint KeepCache = 1 << 1, CacheDirectory = 1 << 3, NoFlush = 1 << 5; // FOPEN_…
    private const uint PermissionBits = 0xfff;
    private const int MaxXattrBytes = 65536;
    private const ulong MaxCopyBytes = 0xffff_f000; // what the 32-bit reply can say, in whole pages

    private const FuseInitFlags Wanted =
        FuseInitFlags.AsyncRead | FuseInitFlags.AtomicTruncate | FuseInitFlags.BigWrites | FuseInitFlags.DoReadDirPlus | FuseInitFlags.ReadDirPlusAuto | FuseInitFlags.AsyncDirectIo
        | FuseInitFlags.ParallelDirectoryOperations | FuseInitFlags.MaxPages | FuseInitFlags.CacheSymlinks | FuseInitFlags.HandleKillPrivilegesV2
        | FuseInitFlags.DoNotMask | FuseInitFlags.PosixAccessControlLists | FuseInitFlags.ExtendedSetXattr;

    private readonly IVolumeFileSystem _volume;
    private readonly FuseReplies _replies;
    private readonly FuseDirectorySink _sink;
    private readonly int _frontEnd;
    private readonly Action<string?>? _begun;
    private readonly FuseAgreement _agreed;
    private readonly FuseInitFlags _wanted;
    private readonly FuseWriters? _writers;

    /// <param name="begun">Told once INIT was answered: null, or why the kernel cannot be served.</param>
    /// <param name="agreed">One for all that serve the mount.</param>
    /// <param name="writers">One for all that serve the mount; none where the kernel is given no bytes unasked.</param>
    internal FuseDispatcher(
        IVolumeFileSystem volume, uint cacheSeconds, int frontEnd = 0, Action<string?>? begun = null, FuseAgreement? agreed = null, bool writebackCache = false, FuseWriters? writers = null)
    {
        _volume = volume;
        _replies = new FuseReplies(volume, cacheSeconds);
        _sink = new FuseDirectorySink(_replies);
        _frontEnd = frontEnd;
        _begun = begun;
        _agreed = agreed ?? new FuseAgreement();
        _wanted = Wanted | (writebackCache ? FuseInitFlags.WritebackCache : FuseInitFlags.None);
        _writers = writers;
    }

    /// <summary>The file that the last request's reply lets somebody write to, or cuts; 0: none.</summary>
    internal ulong NodeToChange { get; private set; }

    /// <summary>What the last request's read left in memory beside what it read, or null.</summary>
    internal FuseReadPlace? MoreAtHand { get; private set; }

    /// <summary>Answers one request.</summary>
    /// <param name="reply">At least <see cref="MaxReplyBytes"/>.</param>
    /// <returns>The reply's bytes; 0 where the kernel expects none.</returns>
    internal int Answer(ReadOnlySpan<byte> request, Span<byte> reply)
    {
        (NodeToChange, MoreAtHand) = (0, null);
        if (request.Length < FuseInHeader.Size)
        {
            return 0; // nobody to answer
        }

        FuseInHeader header = MemoryMarshal.Read<FuseInHeader>(request);
        if (header.Length != request.Length || (header.ExtensionWords * 8) > request.Length - FuseInHeader.Size)
        {
            return Finish(reply, header.Unique, -(int)FileError.EINVAL);
        }

        ReadOnlySpan<byte> body = request[FuseInHeader.Size..^(header.ExtensionWords * 8)];
        Span<byte> room = reply[FuseOutHeader.Size..];
        if (header.Opcode is FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.Interrupt)
        {
            // An operation that waits, waits for the store and nothing else: it ends by itself, and there is nothing to interrupt.
            Forget(header, body);
            return 0;
        }

        return Finish(reply, header.Unique, Do(header, body, room));
    }

    /// <summary>Whether an answer is likely to wait for a disk, or to be much work: others should be served meanwhile.</summary>
    internal static bool MayTakeLong(ReadOnlySpan<byte> request)
    {
        const int LargeBytes = 32 << 10;
        if (request.Length < FuseInHeader.Size)
        {
            return false;
        }

        return MemoryMarshal.Read<FuseInHeader>(request).Opcode switch
        {
            FuseOpcode.SyncFs or FuseOpcode.CopyFileRange or FuseOpcode.CopyFileRange64 => true,
            FuseOpcode.Write => request.Length > LargeBytes,
            FuseOpcode.Read => MemoryMarshal.TryRead(request[FuseInHeader.Size..], out FuseTransferIn asked) && asked.Size > LargeBytes,
            _ => false,
        };
    }

    /// <summary>Whether an answer waits for the journal's disk: for a fraction of a millisecond on most, for ten on some.</summary>
    internal static bool IsSync(ReadOnlySpan<byte> request) =>
        request.Length >= FuseInHeader.Size && MemoryMarshal.Read<FuseInHeader>(request).Opcode is FuseOpcode.Fsync or FuseOpcode.FsyncDir;

    /// <summary>Whether a request changes nothing but bytes of a file: where there are many such in a row, the next follows at once.</summary>
    internal static bool ComesInRows(ReadOnlySpan<byte> request) =>
        request.Length >= FuseInHeader.Size && MemoryMarshal.Read<FuseInHeader>(request).Opcode
            is FuseOpcode.Write or FuseOpcode.Lookup or FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.GetAttr or FuseOpcode.ReadLink or FuseOpcode.Open or FuseOpcode.Read or FuseOpcode.Lseek
            or FuseOpcode.Flush or FuseOpcode.Release or FuseOpcode.GetXattr or FuseOpcode.ListXattr or FuseOpcode.OpenDir or FuseOpcode.ReadDir or FuseOpcode.ReadDirPlus or FuseOpcode.ReleaseDir
            or FuseOpcode.Access or FuseOpcode.StatFs;

    /// <summary>A reply of an error alone.</summary>
    internal static int Refuse(ReadOnlySpan<byte> request, Span<byte> reply, FileError error)
    {
        FuseInHeader header = request.Length < FuseInHeader.Size ? default : MemoryMarshal.Read<FuseInHeader>(request);
        return request.Length < FuseInHeader.Size || header.Opcode is FuseOpcode.Forget or FuseOpcode.BatchForget or FuseOpcode.Interrupt
            ? 0
            : Finish(reply, header.Unique, -(int)error);
    }

    /// <param name="result">Bytes behind the header, or minus errno.</param>
    private static int Finish(Span<byte> reply, ulong unique, int result)
    {
        int bytes = FuseOutHeader.Size + Math.Max(0, result);
        FuseReplies.Put(reply, new FuseOutHeader { Length = (uint)bytes, Error = Math.Min(0, result), Unique = unique });
        return bytes;
    }

    private int Do(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room) => header.Opcode switch
    {
        FuseOpcode.Init => Init(body, room),
        FuseOpcode.Lookup => Lookup(header, body, room),
        FuseOpcode.GetAttr => GetAttributes(header, room),
        FuseOpcode.SetAttr => SetAttributes(header, body, room),
        FuseOpcode.ReadLink => ReadLink(header, room),
        FuseOpcode.Symlink => Symlink(header, body, room),
        FuseOpcode.MkNod => MakeSpecial(header, body, room),
        FuseOpcode.MkDir => MakeDirectory(header, body, room),
        FuseOpcode.Unlink => Remove(header, body, isDirectory: false),
        FuseOpcode.RmDir => Remove(header, body, isDirectory: true),
        FuseOpcode.Rename => Rename(header, body, sizeof(ulong)),
        FuseOpcode.Rename2 => Rename(header, body, Unsafe.SizeOf<FuseRename2In>()),
        FuseOpcode.Link => Link(header, body, room),
        FuseOpcode.Open => Open(header, body, room),
        FuseOpcode.Create => Create(header, body, room),
        FuseOpcode.TmpFile => CreateTemporary(header, body, room),
        FuseOpcode.Read => Read(header, body, room),
        FuseOpcode.Write => Write(body, room),
        FuseOpcode.StatFs => StatFs(room),
        FuseOpcode.Release or FuseOpcode.ReleaseDir => Release(header, body),
        FuseOpcode.Fsync => Fsync(body),
        FuseOpcode.FsyncDir => Result(_volume.SyncDirectory(FileId(header))),
        FuseOpcode.SyncFs => Result(_volume.SyncAll()),
        FuseOpcode.SetXattr => SetXattr(header, body),
        FuseOpcode.GetXattr => GetXattr(header, body, room),
        FuseOpcode.ListXattr => ListXattrs(header, body, room),
        FuseOpcode.RemoveXattr => RemoveXattr(header, body),
        FuseOpcode.OpenDir => OpenDirectory(header, room),
        FuseOpcode.ReadDir => ReadDirectory(header, body, room, withAttributes: false),
        FuseOpcode.ReadDirPlus => ReadDirectory(header, body, room, withAttributes: true),
        FuseOpcode.Fallocate => Allocate(header, body),
        FuseOpcode.Lseek => Seek(body, room),
        FuseOpcode.CopyFileRange => CopyRange(header, body, room, isWide: false),
        FuseOpcode.CopyFileRange64 => CopyRange(header, body, room, isWide: true),

        // The kernel checks permissions itself (default_permissions); a close writes nothing that was not written; the end of the mount is told by the device.
        FuseOpcode.Access or FuseOpcode.Flush or FuseOpcode.Destroy => 0,
        FuseOpcode.Ioctl => -ENOTTY,
        _ => -ENOSYS,
    };

    private FileCaller Caller(in FuseInHeader header, uint umask = 0) => new(header.UserId, header.GroupId, _frontEnd, umask & PermissionBits);

    private ulong FileId(in FuseInHeader header) => _replies.FileIdOf(header.NodeId);

    private static int Result(FileError error) => -(int)error;

    private static int Put<T>(Span<byte> room, in T value)
        where T : unmanaged
    {
        FuseReplies.Put(room, value);
        return Unsafe.SizeOf<T>();
    }

    private int PutEntry(in FuseInHeader header, FileError error, Span<byte> room, in InodeAttributes attributes) =>
        error == FileError.None ? Put(room, _replies.Entry(FileId(header), attributes)) : Result(error);

    /// <summary>Takes a struct off the body. False: the body is too short.</summary>
    private static bool TryTake<T>(ref ReadOnlySpan<byte> body, out T value)
        where T : unmanaged
    {
        if (!MemoryMarshal.TryRead(body, out value))
        {
            return false;
        }

        body = body[Unsafe.SizeOf<T>()..];
        return true;
    }

    /// <summary>Takes a name and its NUL off the body. False: no NUL.</summary>
    private static bool TryTakeName(ref ReadOnlySpan<byte> body, out ReadOnlySpan<byte> name)
    {
        int end = body.IndexOf((byte)0);
        name = end < 0 ? default : body[..end];
        body = body[(end + 1)..];
        return end >= 0;
    }

    private int Init(ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseInitIn asked))
        {
            return Result(FileError.EINVAL);
        }

        var answer = new FuseInitOut { Major = Major, Minor = OurMinor };
        if (asked.Major > Major)
        {
            return Put(room, answer); // the kernel asks again, in our version
        }

        if (asked.Major < Major || asked.Minor < MinMinor)
        {
            _begun?.Invoke($"found a kernel that speaks FUSE {asked.Major}.{asked.Minor}, expected {Major}.{MinMinor} or later (Linux 5.4)");
            return -EPROTO;
        }

        answer.Minor = Math.Min(asked.Minor, OurMinor);
        answer.MaxReadAhead = MaxTransferBytes;
        answer.Flags = asked.Flags & _wanted;
        _agreed.Flags = answer.Flags;
        answer.MaxBackground = 64;
        answer.CongestionThreshold = 48;
        answer.MaxWrite = MaxTransferBytes;
        answer.TimeGranularity = 1;
        answer.MaxPages = MaxTransferBytes / 4096;
        int bytes = Put(room, answer);
        _begun?.Invoke(null);
        return bytes;
    }

    private void Forget(in FuseInHeader header, ReadOnlySpan<byte> body)
    {
        if (header.Opcode == FuseOpcode.Forget && TryTake(ref body, out ulong count))
        {
            Forget(header.NodeId, count);
        }
        else if (header.Opcode == FuseOpcode.BatchForget && TryTake(ref body, out FuseBatchForgetIn batch))
        {
            for (uint left = batch.Count; left > 0 && TryTake(ref body, out FuseForgetOne one); left--)
            {
                Forget(one.NodeId, one.Count);
            }
        }
    }

    private void Forget(ulong node, ulong count)
    {
        if (node != FuseReplies.RootNode)
        {
            _volume.Forget(node, count);
        }
    }

    private int Lookup(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.Lookup(FileId(header), name, out InodeAttributes attributes);
        return error == FileError.ENOENT ? Put(room, _replies.NoEntry(FileId(header))) : PutEntry(header, error, room, attributes);
    }

    private int GetAttributes(in FuseInHeader header, Span<byte> room)
    {
        FileError error = _volume.GetAttributes(FileId(header), out InodeAttributes attributes);
        return error == FileError.None ? Put(room, _replies.Attributes(attributes)) : Result(error);
    }

    private int SetAttributes(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseSetAttrIn asked))
        {
            return Result(FileError.EINVAL);
        }

        FuseSetAttr valid = asked.Valid;
        if (Has(FuseSetAttr.Size) && asked.Size > long.MaxValue)
        {
            return Result(FileError.EFBIG);
        }

        var change = new AttributeChange
        {
            Mode = Has(FuseSetAttr.Mode) ? asked.Mode & PermissionBits : null,
            OwnerId = Has(FuseSetAttr.Owner) ? asked.OwnerId : null,
            GroupId = Has(FuseSetAttr.Group) ? asked.GroupId : null,
            Size = Has(FuseSetAttr.Size) ? (long)asked.Size : null,
            Accessed = Has(FuseSetAttr.AccessedNow) ? TimeChange.Now : Has(FuseSetAttr.Accessed) ? To(asked.AccessedSeconds, asked.AccessedNanoseconds) : TimeChange.None,
            Modified = Has(FuseSetAttr.ModifiedNow) ? TimeChange.Now : Has(FuseSetAttr.Modified) ? To(asked.ModifiedSeconds, asked.ModifiedNanoseconds) : TimeChange.None,
            Changed = Has(FuseSetAttr.Changed) ? To(asked.ChangedSeconds, asked.ChangedNanoseconds) : TimeChange.None,
            DropsPrivileges = Has(FuseSetAttr.KillPrivileges),
        };
        FileError error = _volume.SetAttributes(Caller(header), FileId(header), change, out InodeAttributes attributes);
        NodeToChange = Has(FuseSetAttr.Size) ? header.NodeId : 0;
        return error == FileError.None ? Put(room, _replies.Attributes(attributes)) : Result(error);

        bool Has(FuseSetAttr flag) => (valid & flag) != 0;

        static TimeChange To(ulong seconds, uint nanoseconds) => TimeChange.To(new FileTime(unchecked((long)seconds), Math.Min(nanoseconds, FileTime.NanosecondsPerSecond - 1)));
    }

    private int ReadLink(in FuseInHeader header, Span<byte> room)
    {
        FileError error = _volume.ReadLink(FileId(header), room[..4095], out int bytes);
        return error == FileError.None ? bytes : Result(error);
    }

    private int Symlink(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTakeName(ref body, out ReadOnlySpan<byte> name) || !TryTakeName(ref body, out ReadOnlySpan<byte> target))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.MakeSymlink(Caller(header), FileId(header), name, target, out InodeAttributes attributes);
        return PutEntry(header, error, room, attributes);
    }

    private int MakeSpecial(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseMkNodIn asked) || !TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        EntryType? type = (asked.Mode >> 12) switch
        {
            0 or 8 => EntryType.File,
            1 => EntryType.Fifo,
            2 => EntryType.CharacterDevice,
            6 => EntryType.BlockDevice,
            12 => EntryType.Socket,
            _ => null,
        };
        if (type is null)
        {
            return Result(FileError.EINVAL);
        }

        (uint deviceMajor, uint deviceMinor) = type is EntryType.CharacterDevice or EntryType.BlockDevice ? FuseReplies.DecodeDevice(asked.Device) : default;
        FileError error = _volume.MakeSpecial(
            Caller(header, asked.Umask), FileId(header), name, type.Value, asked.Mode & PermissionBits, deviceMajor, deviceMinor, out InodeAttributes attributes);
        return PutEntry(header, error, room, attributes);
    }

    private int MakeDirectory(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseMkDirIn asked) || !TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.MakeDirectory(Caller(header, asked.Umask), FileId(header), name, asked.Mode & PermissionBits, out InodeAttributes attributes);
        return PutEntry(header, error, room, attributes);
    }

    private int Remove(in FuseInHeader header, ReadOnlySpan<byte> body, bool isDirectory)
    {
        if (!TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        return Result(isDirectory ? _volume.RemoveDirectory(Caller(header), FileId(header), name) : _volume.Unlink(Caller(header), FileId(header), name));
    }

    /// <param name="headBytes">RENAME says the new directory alone, RENAME2 flags too.</param>
    private int Rename(in FuseInHeader header, ReadOnlySpan<byte> body, int headBytes)
    {
        const uint KeepExisting = 1, Exchange = 2;
        if (body.Length < headBytes)
        {
            return Result(FileError.EINVAL);
        }

        ulong directory = MemoryMarshal.Read<ulong>(body);
        uint flags = headBytes == sizeof(ulong) ? 0 : MemoryMarshal.Read<FuseRename2In>(body).Flags;
        body = body[headBytes..];
        if (flags is not (0 or KeepExisting or Exchange) || !TryTakeName(ref body, out ReadOnlySpan<byte> from) || !TryTakeName(ref body, out ReadOnlySpan<byte> to))
        {
            return Result(FileError.EINVAL);
        }

        RenameMode mode = flags switch { KeepExisting => RenameMode.KeepExisting, Exchange => RenameMode.Exchange, _ => RenameMode.Replace };
        return Result(_volume.Rename(Caller(header), FileId(header), from, _replies.FileIdOf(directory), to, mode));
    }

    private int Link(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out ulong node) || !TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.Link(Caller(header), _replies.FileIdOf(node), FileId(header), name, out InodeAttributes attributes);
        return PutEntry(header, error, room, attributes);
    }

    private OpenOptions OptionsOf(uint flags)
    {
        OpenOptions options = (flags & OpenAccessMask) switch
        {
            OpenWriteOnly => _agreed.Has(FuseInitFlags.WritebackCache) ? OpenOptions.Read | OpenOptions.Write : OpenOptions.Write,
            OpenReadWrite => OpenOptions.Read | OpenOptions.Write,
            _ => OpenOptions.Read,
        };
        options |= (flags & OpenTruncate) != 0 ? OpenOptions.Truncate : OpenOptions.None;
        return options | ((flags & OpenExclusive) != 0 ? OpenOptions.Exclusive : OpenOptions.None);
    }

    private FuseOpenOut Opened(ulong handle, ulong node, uint flags)
    {
        if (IsWriting(flags))
        {
            _writers?.Opened(node);
        }

        NodeToChange = IsWriting(flags) || (flags & OpenTruncate) != 0 ? node : 0;
        return new FuseOpenOut { Handle = handle, OpenFlags = KeepCache | NoFlush };
    }

    private static bool IsWriting(uint flags) => (flags & OpenAccessMask) != 0;

    private int Open(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseOpenIn asked))
        {
            return Result(FileError.EINVAL);
        }

        // Emptied by someone without privilege the file loses its set-user-id, which is a change of attributes.
        FileCaller caller = Caller(header);
        OpenOptions options = OptionsOf(asked.Flags) & ~OpenOptions.Exclusive;
        bool dropsPrivileges = (asked.OpenFlags & OpenKillsPrivileges) != 0 && (options & OpenOptions.Truncate) != 0;
        FileError error = _volume.Open(caller, FileId(header), dropsPrivileges ? options & ~OpenOptions.Truncate : options, out ulong handle);
        if (error == FileError.None && dropsPrivileges)
        {
            error = _volume.SetAttributes(caller, FileId(header), new AttributeChange { Size = 0, DropsPrivileges = true }, out _);
            if (error != FileError.None)
            {
                _ = _volume.Release(handle);
            }
        }

        return error == FileError.None ? Put(room, Opened(handle, header.NodeId, asked.Flags)) : Result(error);
    }

    private int Create(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseCreateIn asked) || !TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.Create(
            Caller(header, asked.Umask), FileId(header), name, asked.Mode & PermissionBits, OptionsOf(asked.Flags), out InodeAttributes attributes, out ulong handle);
        return PutCreated(header, error, room, attributes, handle, asked.Flags);
    }

    private int CreateTemporary(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseCreateIn asked))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.CreateTemporary(
            Caller(header, asked.Umask), FileId(header), asked.Mode & PermissionBits, OptionsOf(asked.Flags), out InodeAttributes attributes, out ulong handle);
        return PutCreated(header, error, room, attributes, handle, asked.Flags);
    }

    private int PutCreated(in FuseInHeader header, FileError error, Span<byte> room, in InodeAttributes attributes, ulong handle, uint flags)
    {
        int bytes = PutEntry(header, error, room, attributes);
        return error == FileError.None ? bytes + Put(room[bytes..], Opened(handle, _replies.NodeOf(attributes.FileId), flags)) : bytes;
    }

    private int Read(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseTransferIn asked) || asked.Offset > long.MaxValue)
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.Read(asked.Handle, (long)asked.Offset, room[..(int)Math.Min(asked.Size, MaxTransferBytes)], out int bytes);
        if (error == FileError.None && _writers is not null && _volume.HasMoreAtHand(asked.Handle))
        {
            MoreAtHand = new FuseReadPlace(header.NodeId, asked.Handle, (long)asked.Offset);
        }

        return error == FileError.None ? bytes : Result(error);
    }

    private int Write(ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseTransferIn asked) || asked.Size > body.Length || asked.Offset > long.MaxValue)
        {
            return Result(FileError.EINVAL);
        }

        WriteOptions options = (asked.TransferFlags & WriteKillsPrivileges) != 0 ? WriteOptions.DropPrivileges : WriteOptions.None;
        options |= (asked.TransferFlags & WriteIsFromCache) != 0 && _agreed.Has(FuseInitFlags.WritebackCache) ? WriteOptions.KeepTimes : WriteOptions.None;
        FileError error = _volume.Write(asked.Handle, (long)asked.Offset, body[..(int)asked.Size], options, out int bytes);
        return error == FileError.None ? Put(room, new FuseSizeOut { Size = (uint)bytes }) : Result(error);
    }

    private int StatFs(Span<byte> room)
    {
        FileError error = _volume.GetStatistics(out VolumeStatistics statistics);
        return error == FileError.None ? Put(room, FuseReplies.Statistics(statistics)) : Result(error);
    }

    private int Release(in FuseInHeader header, ReadOnlySpan<byte> body)
    {
        if (!TryTake(ref body, out FuseReleaseIn asked))
        {
            return Result(FileError.EINVAL);
        }

        if (header.Opcode == FuseOpcode.Release && IsWriting(asked.Flags))
        {
            _writers?.Closed(header.NodeId);
        }

        return Result(_volume.Release(asked.Handle));
    }

    private int Fsync(ReadOnlySpan<byte> body) =>
        Result(TryTake(ref body, out FuseFsyncIn asked) ? _volume.Sync(asked.Handle) : FileError.EINVAL);

    private int SetXattr(in FuseInHeader header, ReadOnlySpan<byte> body)
    {
        const uint DropSetGroupId = 1; // FUSE_SETXATTR_ACL_KILL_SGID
        FuseSetXattrMore more = default;
        if (!TryTake(ref body, out FuseSetXattrIn asked) || (_agreed.Has(FuseInitFlags.ExtendedSetXattr) && !TryTake(ref body, out more))
            || !TryTakeName(ref body, out ReadOnlySpan<byte> name) || asked.Size > body.Length || asked.Flags > (uint)XattrMode.Replace)
        {
            return Result(FileError.EINVAL);
        }

        XattrMode mode = (XattrMode)asked.Flags | ((more.SetFlags & DropSetGroupId) != 0 ? XattrMode.DropSetGroupId : XattrMode.Any);
        return Result(_volume.SetXattr(Caller(header), FileId(header), name, body[..(int)asked.Size], mode));
    }

    private int GetXattr(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseGetXattrIn asked) || !TryTakeName(ref body, out ReadOnlySpan<byte> name))
        {
            return Result(FileError.EINVAL);
        }

        FileError error = _volume.GetXattr(FileId(header), name, room[..(int)Math.Min(asked.Size, MaxXattrBytes)], out int bytes);
        return PutXattr(error, room, asked.Size, bytes);
    }

    private int ListXattrs(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (!TryTake(ref body, out FuseGetXattrIn asked))
        {
            return Result(FileError.EINVAL);
        }

        // Names that only root may read, only root is shown: the kernel leaves that to each filesystem.
        FileError error = _volume.ListXattrs(FileId(header), room[..MaxXattrBytes], out int bytes);
        bytes = error == FileError.None && header.UserId != 0 ? DropTrusted(room[..bytes]) : bytes;
        return error == FileError.None && asked.Size > 0 && asked.Size < bytes ? Result(FileError.ERANGE) : PutXattr(error, room, asked.Size, bytes);
    }

    /// <summary>Takes the names of trusted attributes out of a list.</summary>
    /// <returns>The bytes that are left.</returns>
    private static int DropTrusted(Span<byte> names)
    {
        int kept = 0;
        for (int at = 0; at < names.Length;)
        {
            int length = names[at..].IndexOf((byte)0) + 1;
            if (!names[at..].StartsWith("trusted."u8))
            {
                names.Slice(at, length).CopyTo(names[kept..]);
                kept += length;
            }

            at += length;
        }

        return kept;
    }

    /// <param name="size">0: the length alone was asked for.</param>
    private static int PutXattr(FileError error, Span<byte> room, uint size, int bytes) =>
        error != FileError.None ? Result(error) : size == 0 ? Put(room, new FuseSizeOut { Size = (uint)bytes }) : bytes;

    private int RemoveXattr(in FuseInHeader header, ReadOnlySpan<byte> body) =>
        Result(TryTakeName(ref body, out ReadOnlySpan<byte> name) ? _volume.RemoveXattr(Caller(header), FileId(header), name) : FileError.EINVAL);

    private int OpenDirectory(in FuseInHeader header, Span<byte> room)
    {
        FileError error = _volume.OpenDirectory(FileId(header), out ulong handle);
        return error == FileError.None ? Put(room, new FuseOpenOut { Handle = handle, OpenFlags = _volume.IsForEver(FileId(header)) ? KeepCache | CacheDirectory : 0 }) : Result(error);
    }

    private int ReadDirectory(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room, bool withAttributes)
    {
        if (!TryTake(ref body, out FuseTransferIn asked))
        {
            return Result(FileError.EINVAL);
        }

        fixed (byte* target = room)
        {
            _sink.Begin(FileId(header), target, (int)Math.Min(asked.Size, MaxTransferBytes), withAttributes);
            FileError error = _volume.ReadDirectory(asked.Handle, asked.Offset, withAttributes, _sink);

            // Names that were handed over are counted: they are sent, and the next call meets the error again.
            return _sink.Used > 0 ? _sink.Used : Result(error);
        }
    }

    private int Allocate(in FuseInHeader header, ReadOnlySpan<byte> body)
    {
        if (!TryTake(ref body, out FuseFallocateIn asked) || asked.Offset > long.MaxValue || asked.Length > long.MaxValue)
        {
            return Result(FileError.EINVAL);
        }

        AllocateMode? mode = asked.Mode switch
        {
            0 => AllocateMode.Extend,
            1 => AllocateMode.KeepSize,
            3 => AllocateMode.PunchHole,
            0x10 => AllocateMode.ZeroRange,
            0x11 => AllocateMode.ZeroRangeKeepSize,
            _ => null,
        };
        if (mode is null)
        {
            return Result(FileError.EOPNOTSUPP);
        }

        FileError error = _volume.Allocate(asked.Handle, mode.Value, (long)asked.Offset, (long)asked.Length);
        return Result(error == FileError.None ? DropPrivileges(header, FileId(header)) : error);
    }

    /// <summary>Takes set-user-id from a file that somebody other than root changed by a request that says nothing of it, as WRITE and SETATTR do.</summary>
    private FileError DropPrivileges(in FuseInHeader header, ulong fileId)
    {
        const uint SetUserId = 0x800, SetGroupId = 0x400, GroupExecutes = 8;
        if (header.UserId == 0)
        {
            return FileError.None;
        }

        FileError error = _volume.GetAttributes(fileId, out InodeAttributes attributes);
        bool hasPrivileges = (attributes.Mode & SetUserId) != 0 || (attributes.Mode & (SetGroupId | GroupExecutes)) == (SetGroupId | GroupExecutes);
        return error == FileError.None && hasPrivileges
            ? _volume.SetAttributes(Caller(header), fileId, new AttributeChange { DropsPrivileges = true }, out _)
            : error;
    }

    private int Seek(ReadOnlySpan<byte> body, Span<byte> room)
    {
        if (_agreed.Has(FuseInitFlags.WritebackCache))
        {
            return -ENOSYS;
        }

        if (!TryTake(ref body, out FuseLseekIn asked) || asked.Whence is not ((uint)SeekTarget.Data or (uint)SeekTarget.Hole))
        {
            return Result(FileError.EINVAL);
        }

        if (asked.Offset > long.MaxValue)
        {
            return Result(FileError.ENXIO); // negative
        }

        FileError error = _volume.Seek(asked.Handle, (long)asked.Offset, (SeekTarget)asked.Whence, out long position);
        return error == FileError.None ? Put(room, (ulong)position) : Result(error);
    }

    private int CopyRange(in FuseInHeader header, ReadOnlySpan<byte> body, Span<byte> room, bool isWide)
    {
        if (!TryTake(ref body, out FuseCopyFileRangeIn asked) || asked.FromOffset > long.MaxValue || asked.ToOffset > long.MaxValue || asked.Flags != 0)
        {
            return Result(FileError.EINVAL);
        }

        long length = (long)Math.Min(asked.Length, isWide ? (ulong)ActiveTree.MaxFileBytes : MaxCopyBytes);
        FileError error = _volume.CopyRange(asked.FromHandle, (long)asked.FromOffset, asked.ToHandle, (long)asked.ToOffset, length, out long bytes);
        error = error == FileError.None ? DropPrivileges(header, _replies.FileIdOf(asked.ToNodeId)) : error;
        return error != FileError.None ? Result(error) : isWide ? Put(room, (ulong)bytes) : Put(room, new FuseSizeOut { Size = (uint)bytes });
    }
}
