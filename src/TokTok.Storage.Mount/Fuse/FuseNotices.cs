using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading.Channels;
using TokTok.Storage.Files;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>
/// Tells the kernel what changed in the volume behind its back, by WebDAV or a rollback say, so that it forgets what it remembers of it; and gives it bytes that a read took from the store
/// beside those that were asked for, so that it need not ask for them.
/// </summary>
/// <remarks>
/// Source: Linux, include/uapi/linux/fuse.h, FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_INVAL_ENTRY and FUSE_NOTIFY_STORE.
/// From a thread of its own and never from inside an operation: to forget, or to take, the kernel may have to wait for one that it holds locks for, and that a worker has yet to answer.
/// One thread for both: bytes of a file that were read before it changed behind the kernel's back are given before the kernel is told to forget them. Changes through the mount itself: <see cref="FuseWriters"/>.
/// Bounded: of a file many changes wait as one; what does not fit any more the kernel believes for as long as it was told it may. Bytes are offered again by the next read there.
/// Locks: _use is held while the volume is read; whoever stopped this, it uses the volume no more.
/// </remarks>
internal sealed unsafe class FuseNotices
{
    private const int MaxWaiting = 1 << 16;
    private const int MaxOffers = 64;
    private const int PageBytes = 4096;
    private const int ForgetInode = 2, ForgetName = 3, StoreBytes = 4; // fuse_notify_code
    private const int MaxBytes = FuseOutHeader.Size + 24 + VolumeStatistics.MaxNameBytes + 1;

    private readonly IVolumeFileSystem _volume;
    private readonly FuseReplies _replies;
    private readonly int _frontEnd;
    private readonly int _fd;
    private readonly Channel<Notice> _waiting = Channel.CreateBounded<Notice>(new BoundedChannelOptions(MaxWaiting) { SingleReader = true }); // whose TryWrite is false when it is full, or completed
    private readonly ConcurrentDictionary<ulong, bool> _waitingFiles = new();
    private readonly Action<VolumeChange> _listener;
    private readonly FuseWriters _writers;
    private readonly Lock _use = new();
    private bool _isStopped; // guarded by _use
    private int _offers;
    private byte* _room;

    /// <summary>A file, or a name in a directory, that changed; or where there is more at hand.</summary>
    private readonly record struct Notice(ulong FileId, byte[]? Name, FuseReadPlace? Place = null);

    /// <param name="fd">Closed at the end.</param>
    /// <param name="frontEnd">Whose changes the kernel made itself.</param>
    internal FuseNotices(IVolumeFileSystem volume, int fd, int frontEnd, FuseWriters writers)
    {
        _volume = volume;
        _replies = new FuseReplies(volume, 0);
        _fd = fd;
        _frontEnd = frontEnd;
        _listener = Told;
        _writers = writers;
    }

    internal void Start()
    {
        _volume.Changed += _listener;
        new Thread(Run) { IsBackground = true, Name = "fuse notices" }.Start();
    }

    /// <summary>No more are told. The thread ends by itself.</summary>
    internal void Stop()
    {
        _volume.Changed -= _listener;
        _ = _waiting.Writer.TryComplete();
        lock (_use)
        {
            _isStopped = true;
        }
    }

    /// <summary>A read left more in memory than was asked for.</summary>
    internal void Offer(in FuseReadPlace place)
    {
        if (Interlocked.Increment(ref _offers) > MaxOffers || !_waiting.Writer.TryWrite(new Notice(0, null, place)))
        {
            _ = Interlocked.Decrement(ref _offers);
        }
    }

    private void Told(VolumeChange change)
    {
        if (change.FrontEnd == _frontEnd)
        {
            return;
        }

        if (change.Kind == VolumeChangeKind.Name)
        {
            _ = _waiting.Writer.TryWrite(new Notice(change.FileId, change.Name.ToArray()));
        }

        // Of a directory: its times.
        if (_waitingFiles.TryAdd(change.FileId, true) && !_waiting.Writer.TryWrite(new Notice(change.FileId, null)))
        {
            _ = _waitingFiles.TryRemove(change.FileId, out _);
        }
    }

    private void Run()
    {
        try
        {
            while (IsThereMore())
            {
                while (_waiting.Reader.TryRead(out Notice notice))
                {
                    if (!(notice.Place is { } place ? TryGive(place) : TrySend(notice)))
                    {
                        return;
                    }
                }
            }
        }
        finally
        {
            _ = FuseLibc.close(_fd);
            NativeMemory.AlignedFree(_room);
        }
    }

    /// <summary>Waits, on this thread which is for nothing else. False: no more come.</summary>
    private bool IsThereMore()
    {
        ValueTask<bool> more = _waiting.Reader.WaitToReadAsync();
        return more.IsCompletedSuccessfully ? more.Result : more.AsTask().GetAwaiter().GetResult();
    }

    /// <summary>False: the mount is gone.</summary>
    private bool TrySend(Notice notice)
    {
        byte* bytes = stackalloc byte[MaxBytes];
        var target = new Span<byte>(bytes, MaxBytes);
        int length = FuseOutHeader.Size;
        if (notice.Name is { } name)
        {
            FuseReplies.Put(target[length..], new FuseForgetName { Directory = _replies.NodeOf(notice.FileId), NameLength = (uint)name.Length });
            length += Unsafe.SizeOf<FuseForgetName>();
            name.CopyTo(target[length..]);
            target[length + name.Length] = 0;
            length += name.Length + 1;
        }
        else
        {
            // Before it is sent: what changes from here on is sent once more.
            _ = _waitingFiles.TryRemove(notice.FileId, out _);
            FuseReplies.Put(target[length..], new FuseForgetInode { NodeId = _replies.NodeOf(notice.FileId) }); // attributes, and all bytes
            length += Unsafe.SizeOf<FuseForgetInode>();
        }

        FuseReplies.Put(target, new FuseOutHeader { Length = (uint)length, Error = notice.Name is null ? ForgetInode : ForgetName });

        return TryWrite(bytes, length);
    }

    /// <summary>Gives the kernel what is at hand around a place. False: the mount is gone.</summary>
    private bool TryGive(in FuseReadPlace place)
    {
        _ = Interlocked.Decrement(ref _offers);
        if (!_writers.TryBegin(place.NodeId))
        {
            return true;
        }

        try
        {
            int head = FuseOutHeader.Size + Unsafe.SizeOf<FuseStoreBytes>();
            _room = _room == null ? (byte*)NativeMemory.AlignedAlloc(PageBytes + FuseDispatcher.MaxTransferBytes, PageBytes) : _room;
            byte* message = _room + PageBytes - head;
            long start;
            int bytes;
            lock (_use)
            {
                if (_isStopped || _volume.ReadAtHand(place.Handle, place.Offset, new Span<byte>(_room + PageBytes, FuseDispatcher.MaxTransferBytes), PageBytes, out start, out bytes) != FileError.None || bytes == 0)
                {
                    return true;
                }
            }

            var target = new Span<byte>(message, head);
            FuseReplies.Put(target, new FuseOutHeader { Length = (uint)(head + bytes), Error = StoreBytes });
            FuseReplies.Put(target[FuseOutHeader.Size..], new FuseStoreBytes { NodeId = place.NodeId, Offset = (ulong)start, Size = (uint)bytes });
            return TryWrite(message, head + bytes);
        }
        finally
        {
            _writers.End();
        }
    }

    /// <summary>False: the mount is gone.</summary>
    /// <remarks>ENOENT: the kernel knows nothing of it anyway. ENOTEMPTY and the like: it is in use there, and looked up again when the time is over.</remarks>
    private bool TryWrite(byte* message, int bytes) =>
        FuseLibc.write(_fd, message, (nuint)bytes) >= 0 || Marshal.GetLastPInvokeError() is not (FuseLibc.ENODEV or FuseLibc.ENOTCONN or FuseLibc.EPERM);
}

/// <summary>Where in a file a read was.</summary>
internal readonly record struct FuseReadPlace(ulong NodeId, ulong Handle, long Offset);
