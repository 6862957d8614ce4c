using System.Buffers.Binary;
using System.Text;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>A directory that is being filled; whoever lets go last sets its metadata, if every name in it had its turn.</summary>
/// <param name="children">What the snapshot has in it; null for a folder that gets a single file.</param>
internal sealed class RestoreFrame(RestoreFrame? parent, byte[] name, Entry? metadata, TableRoot? children)
{
    private const string TemporaryPrefix = ".tdfs-restoring-";

    private int _holders = 1;
    private volatile byte[]? _nameKey;

    internal RestoreFrame? Parent { get; } = parent;

    internal byte[] Name { get; } = name;

    /// <summary>Null: its metadata stays as it is.</summary>
    internal Entry? Metadata { get; } = metadata;

    internal DirectoryHandle? Handle { get; set; }

    internal FileStat Stat { get; init; }

    internal IAsyncEnumerator<TableItem>? Items { get; set; }

    /// <summary>This restore made it, or found nothing in it.</summary>
    internal bool IsNew { get; init; }

    /// <summary>The walker came to its end.</summary>
    internal bool IsWalked { get; set; }

    /// <summary>The restore ended before something in it was done: it is unfinished, and keeps the mode in which the next one can go on.</summary>
    internal bool IsCutOff { get; set; }

    /// <summary>Nothing more can be put into it.</summary>
    internal bool IsBroken { get; set; }

    internal void Hold() => Interlocked.Increment(ref _holders);

    /// <summary>What a file is called while it is written: always the same for this directory of this tree, so that a later restore finds what one that was
    /// cut off left. It depends on all names in the directory: none of them can be it, though a tree may hold what a restore left in its source.</summary>
    internal byte[] TemporaryName(ulong fileId)
    {
        if (_nameKey is null)
        {
            byte[] key = new byte[Blake3.HashSize];
            if (children is { Depth: > 0 })
            {
                children.Top.Score.Write(key);
            }
            else
            {
                Blake3.Hash((children?.Inline ?? default).Span, key);
            }

            _nameKey = key;
        }

        Span<byte> named = stackalloc byte[Blake3.HashSize + sizeof(ulong)];
        _nameKey.CopyTo(named);
        BinaryPrimitives.WriteUInt64LittleEndian(named[Blake3.HashSize..], fileId);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(named, hash);
        return Encoding.ASCII.GetBytes(TemporaryPrefix + Convert.ToHexStringLower(hash[..16]));
    }

    internal bool LetGo() => Interlocked.Decrement(ref _holders) == 0;
}

internal sealed record RestoreJob(RestoreFrame Frame, byte[] Name, Entry Entry)
{
    internal RestoredLink? FirstLink { get; init; }

    internal DirectoryHandle? Handle { get; set; }
}

/// <summary>A file of several names of which one is restored.</summary>
/// <param name="path">Below the target.</param>
internal sealed class RestoredLink(byte[] path)
{
    internal byte[] Path { get; } = path;

    /// <summary>Gives the path once the file is there, or null.</summary>
    internal TaskCompletionSource<byte[]?> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Names still to come. Used by the walker alone.</summary>
    internal int Left { get; set; }
}

/// <summary>What the walker and the workers of one restore share.</summary>
internal sealed class RestoreRun(SortedTable tables, TableRoot links, RestoreOptions options, IRestoreObserver? observer)
{
    private const uint OwnerMode = 0x1C0; // 0700

    private readonly Lock _gate = new();
    private readonly PosixNames _names = new();
    private volatile bool _canMarkHalves = true;

    /// <summary>The target, kept open for the paths of hard links.</summary>
    internal DirectoryHandle? Root { get; set; }

    internal SortedTable Tables { get; } = tables;

    internal TableRoot LinkTable { get; } = links;

    internal RestoreOptions Options { get; } = options;

    internal RestoreProgress Progress { get; } = new();

    /// <summary>The target keeps the mode that tells a half file from a whole one. False once a file did not have it.</summary>
    internal bool CanMarkHalves
    {
        get => _canMarkHalves;
        set => _canMarkHalves = value;
    }

    /// <summary>For blocks of large files, beside the workers.</summary>
    internal SpareHands Hands { get; } = SpareHands.OfThisMachine();

    /// <summary>By device, a directory on each filesystem that the target reaches into. Used by the walker alone.</summary>
    internal Dictionary<ulong, DirectoryHandle> Filesystems { get; } = [];

    /// <summary>Used by the walker alone.</summary>
    internal Dictionary<ulong, RestoredLink> Links { get; } = [];

    internal void Report(RestoreTroubleKind kind, RestoreFrame frame, ReadOnlySpan<byte> name, string reason)
    {
        _ = Interlocked.Increment(ref Progress.TroubleValues[(int)kind]);
        var trouble = new RestoreTrouble(kind, PathText.Show(PathOf(frame, name)), reason);
        lock (_gate)
        {
            observer?.Trouble(trouble);
        }
    }

    internal static byte[] PathOf(RestoreFrame frame, ReadOnlySpan<byte> name)
    {
        var parts = new Stack<byte[]>();
        for (RestoreFrame? at = frame; at?.Parent is not null; at = at.Parent)
        {
            parts.Push(at.Name);
        }

        var path = new List<byte>();
        foreach (byte[] part in parts)
        {
            path.AddRange(part);
            path.Add((byte)'/');
        }

        path.AddRange(name);
        return [.. path];
    }

    /// <summary>Lets go of a directory; the last one sets its metadata, for no name in it changes any more. One that is unfinished gets none: another may have to go on in it.</summary>
    internal void Release(RestoreFrame frame)
    {
        if (!frame.LetGo())
        {
            return;
        }

        bool isFinished = frame.IsWalked && !frame.IsCutOff;
        if (frame.Handle is { } handle)
        {
            if (frame.Metadata is { } entry && isFinished)
            {
                FileRestorer.SetMetadata(this, frame, [], entry, handle.Fd, [], isOpen: true, LoadNow(frame, entry));
            }

            handle.Release();
            frame.Handle = null;
        }

        _ = isFinished ? Interlocked.Increment(ref Progress.DirectoriesValue) : 0;
    }

    /// <summary>Lets the owner work in a directory that an earlier restore, or somebody else, has closed to writing. Its own mode comes last.</summary>
    internal static void LetIn(int fd, FileStat stat)
    {
        if ((stat.Permissions & OwnerMode) != OwnerMode)
        {
            _ = PosixCalls.SetMode(fd, stat.Permissions | OwnerMode); // who may not, will be told by what fails in it
        }
    }

    /// <summary>The same for one that cannot even be opened; opens it then.</summary>
    internal static int LetInAndOpen(int parent, ReadOnlySpan<byte> name)
    {
        if (PosixCalls.Stat(parent, name, out FileStat stat) < 0 || stat.Type != PosixType.Directory || PosixCalls.SetMode(parent, name, stat.Permissions | OwnerMode) < 0)
        {
            return -Errno.EACCES;
        }

        return PosixCalls.OpenDirectory(parent, name);
    }

    /// <summary>Makes a directory, or opens the one that is there. Null, and reported, where neither can be.</summary>
    internal RestoreFrame? MakeDirectory(RestoreFrame parent, byte[] name, Entry entry)
    {
        if (parent.Handle is null)
        {
            return null;
        }

        int made = PosixCalls.MakeDirectory(parent.Handle.Fd, name, OwnerMode);
        ThrowIfFatal(made, parent, name);
        bool setsMetadata = made >= 0 || Options.Resumes || Options.Existing is ExistingFiles.OverwriteIfDifferent or ExistingFiles.Replace;
        int fd = made is < 0 and not -Errno.EEXIST ? made : PosixCalls.OpenDirectory(parent.Handle.Fd, name);
        if (fd == -Errno.EACCES && made == -Errno.EEXIST && setsMetadata)
        {
            fd = LetInAndOpen(parent.Handle.Fd, name);
        }

        if (fd < 0)
        {
            bool isTaken = made == -Errno.EEXIST && fd is -Errno.ENOTDIR or -Errno.ELOOP;
            Report(isTaken ? RestoreTroubleKind.CannotGiveWay : RestoreTroubleKind.NotMade, parent, name, isTaken ? "something else stands where a directory belongs" : Errno.Text(-fd));
            return null;
        }

        _ = PosixCalls.Stat(fd, out FileStat stat);
        if (setsMetadata)
        {
            LetIn(fd, stat);
        }

        var handle = new DirectoryHandle(fd);
        Reach(stat.Device, handle);
        return new RestoreFrame(parent, name, setsMetadata ? entry : null, entry.Children) { Handle = handle, Stat = stat, IsNew = made >= 0 };
    }

    /// <summary>Gives a file that is there another name.</summary>
    /// <param name="path">The first name's path below the target, or null when it is not there.</param>
    internal void MakeHardLink(RestoreFrame frame, byte[] name, Entry entry, byte[]? path, byte[] wanted)
    {
        if (path is null || frame.Handle is null)
        {
            Report(RestoreTroubleKind.NotMade, frame, name, $"is a link to {PathText.Show(wanted)}, which could not be restored");
            return;
        }

        (int from, byte[] fromName) = OpenParentOf(path);
        if (from < 0)
        {
            Report(RestoreTroubleKind.NotMade, frame, name, Errno.Text(-from));
            return;
        }

        try
        {
            int directory = frame.Handle.Fd;
            int result = PosixCalls.HardLink(from, fromName, directory, name);
            if (result == -Errno.EEXIST)
            {
                bool isSame = PosixCalls.Stat(from, fromName, out FileStat first) >= 0
                    && PosixCalls.Stat(directory, name, out FileStat present) >= 0
                    && first.Inode == present.Inode && first.Device == present.Device;
                if (isSame || Options.Existing == ExistingFiles.Skip)
                {
                    _ = Interlocked.Increment(ref Progress.KeptValue);
                    _ = Interlocked.Increment(ref Progress.FilesValue);
                    return;
                }

                if (Options.Existing == ExistingFiles.Fail && !Options.Resumes)
                {
                    Report(RestoreTroubleKind.Exists, frame, name, "is there already");
                    return;
                }

                byte[] temporary = frame.TemporaryName(entry.FileId);
                _ = PosixCalls.Remove(directory, temporary, isDirectory: false);
                result = PosixCalls.HardLink(from, fromName, directory, temporary);
                result = result < 0 ? result : PosixCalls.Rename(directory, temporary, name);
            }

            ThrowIfFatal(result, frame, name);
            if (result < 0)
            {
                Report(RestoreTroubleKind.NotMade, frame, name, Errno.Text(-result));
                return;
            }

            _ = Interlocked.Increment(ref Progress.FilesValue);
        }
        finally
        {
            PosixCalls.Close(from);
        }
    }

    /// <summary>Notes the filesystem of a directory of the target.</summary>
    internal void Reach(ulong device, DirectoryHandle handle)
    {
        if (Filesystems.TryAdd(device, handle))
        {
            _ = handle.Hold();
        }
    }

    /// <summary>Makes all that was restored durable.</summary>
    /// <exception cref="PosixException">The disk did not take it.</exception>
    internal void Sync()
    {
        foreach (DirectoryHandle filesystem in Filesystems.Values)
        {
            int error = Options.SyncFilesystem(filesystem.Fd);
            if (error < 0)
            {
                throw new PosixException(-error, "sync", Options.Target);
            }
        }
    }

    internal uint UserOf(Entry entry) => Options.HasNumericOwners ? entry.OwnerId : _names.UserNumber(entry.OwnerName, entry.OwnerId);

    internal uint GroupOf(Entry entry) => Options.HasNumericOwners ? entry.GroupId : _names.GroupNumber(entry.GroupName, entry.GroupId);

    /// <summary>A target that is full or failing cannot take the rest either.</summary>
    internal static void ThrowIfFatal(int result, RestoreFrame frame, ReadOnlySpan<byte> name)
    {
        if (result is -Errno.ENOSPC or -Errno.EDQUOT or -Errno.EROFS or -Errno.EIO)
        {
            throw new PosixException(-result, "write", PathText.Show(PathOf(frame, name)));
        }
    }

    /// <summary>Opens the directory that a path leads to, name by name, following nothing.</summary>
    private (int Fd, byte[] Name) OpenParentOf(byte[] path)
    {
        int fd = PosixCalls.OpenDirectory(Root!.Fd, "."u8);
        int start = 0;
        while (fd >= 0)
        {
            int slash = path.AsSpan(start).IndexOf((byte)'/');
            if (slash < 0)
            {
                return (fd, path[start..]);
            }

            int next = PosixCalls.OpenDirectory(fd, path.AsSpan(start, slash));
            PosixCalls.Close(fd);
            fd = next;
            start += slash + 1;
        }

        return (fd, []);
    }

    private IReadOnlyList<Xattr> LoadNow(RestoreFrame frame, Entry entry)
    {
        if (entry.Attributes.IsNone)
        {
            return [];
        }

        try
        {
            // The last to let go may be any thread; attributes in blocks of their own are rare.
            return AttributeList.LoadAsync(Tables.Blocks, entry.Attributes, CancellationToken.None).AsTask().GetAwaiter().GetResult();
        }
        catch (Exception error) when (error is Core.DamagedBlockException or Core.DamagedFormatException)
        {
            Report(RestoreTroubleKind.Damaged, frame, [], error.Message);
            return [];
        }
    }
}
