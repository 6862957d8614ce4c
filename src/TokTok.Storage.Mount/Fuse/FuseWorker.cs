using System.Diagnostics;
using System.Runtime.InteropServices;
using TokTok.Storage.Files;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>A thread that takes requests from the device and answers them, until the mount is gone.</summary>
/// <remarks>
/// Buffers are native memory, one for requests and one for replies, and their pages are touched only as far as requests were ever long. A request is read to where the bytes of a WRITE begin a page.
/// The device's answers to a read: EINTR and EAGAIN, nothing happened; ENOENT, the request was taken back; ENODEV, the mount is gone. Too long a request the kernel answers itself.
/// One of the workers waits at the device (<see cref="FuseTurns"/>), the others for their turn.
/// Who lists, searches or writes here and there asks one thing after another, each when the last was answered. A processor that sleeps in between takes longer to wake than the answer does, in a virtual machine many times so (measured: 50 µs instead of 20 a request; bench/results/2026-11-23-mounts-5.md):
/// so behind some such requests the worker looks for the next for a moment before it sleeps. Never behind one that makes, renames or removes something, where it cost more than it gave, nor where the turn is passed.
/// Locks: _device is held for sending from another thread, and for closing. _gate is held while a request is answered; whoever sets the stop and has then held every worker's gate once knows that nothing reaches the volume any more.
/// </remarks>
internal sealed unsafe class FuseWorker
{
    private const int PageBytes = 4096;
    private const int RequestOffset = PageBytes - FuseInHeader.Size - FuseTransferIn.Bytes;
    private const int RequestBytes = FuseDispatcher.MaxTransferBytes + PageBytes;
    private const int ReplyOffset = PageBytes - FuseOutHeader.Size;

    private const int RowToExpect = 16;
    private const long ExpectedWithinMicroseconds = 50;

    private readonly Lock _gate = new();
    private readonly int _fd;
    private readonly FuseDispatcher _dispatcher;
    private readonly Action<string> _trouble;
    private readonly Action _ended;
    private readonly FuseTurns _turns;
    private readonly FuseTurn _turn = new();
    private readonly FuseWriters? _writers;
    private readonly FuseNotices? _notices;
    private readonly Lock _device = new();
    private bool _isStopped;
    private bool _isClosed; // guarded by _device
    private int _inRow; // requests that come in rows

    /// <param name="fd">Closed at the thread's end.</param>
    /// <param name="turns">One for all that serve the mount.</param>
    /// <param name="ended">Called on the thread, at its end.</param>
    /// <param name="writers">With <paramref name="notices"/>, one for all that serve the mount.</param>
    internal FuseWorker(int fd, FuseDispatcher dispatcher, FuseTurns turns, Action<string> trouble, Action ended, FuseWriters? writers = null, FuseNotices? notices = null)
    {
        _fd = fd;
        _dispatcher = dispatcher;
        _turns = turns;
        _trouble = trouble;
        _ended = ended;
        _writers = writers;
        _notices = notices;
    }

    internal void Start(int index) => new Thread(Run) { IsBackground = true, Name = $"fuse {index}" }.Start();

    /// <summary>From when this returns the worker refuses what the kernel asks for, and no longer uses the volume.</summary>
    internal void Stop()
    {
        lock (_gate)
        {
            _isStopped = true;
        }
    }

    private void Run()
    {
        byte* requests = (byte*)NativeMemory.AlignedAlloc(RequestOffset + RequestBytes, PageBytes);
        byte* replies = (byte*)NativeMemory.AlignedAlloc(ReplyOffset + FuseDispatcher.MaxReplyBytes, PageBytes);
        try
        {
            while (TryServe(requests + RequestOffset, replies + ReplyOffset))
            {
            }
        }
        finally
        {
            _turns.Pass(_turn); // the next one hears the same from the device
            NativeMemory.AlignedFree(requests);
            NativeMemory.AlignedFree(replies);
            lock (_device)
            {
                _isClosed = true;
                _ = FuseLibc.close(_fd);
            }

            _ended();
        }
    }

    /// <summary>Serves one request. False: there are no more.</summary>
    private bool TryServe(byte* request, byte* reply)
    {
        _turns.Take(_turn);
        if (_inRow >= RowToExpect && !IsNextAtOnce())
        {
            _inRow = 0; // only behind as many others again
        }

        nint got = FuseLibc.read(_fd, request, RequestBytes);
        if (got < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            if (error is FuseLibc.EINTR or FuseLibc.EAGAIN or FuseLibc.ENOENT)
            {
                return true;
            }

            if (error != FuseLibc.ENODEV)
            {
                _trouble($"reading from /dev/fuse: {MountPoint.Describe(error)}; one thread less serves the mount");
            }

            return false;
        }

        _turns.Begin(_turn);
        var asked = new ReadOnlySpan<byte>(request, (int)got);
        bool isSync = FuseDispatcher.IsSync(asked);
        bool passes = (isSync ? _turns.PassesForSync() : FuseDispatcher.MayTakeLong(asked)) || IsMoreWaiting();
        _inRow = !passes && FuseDispatcher.ComesInRows(asked) ? _inRow + 1 : 0;
        if (passes)
        {
            _turns.Pass(_turn);
        }

        int bytes = Answer(asked, new Span<byte>(reply, FuseDispatcher.MaxReplyBytes));
        if (isSync && !passes && (IsMoreWaiting() || !_turns.Has(_turn)))
        {
            _turns.OthersWaitedForSync();
        }

        if (bytes > 0 && !(_dispatcher.NodeToChange != 0 && _writers is { } writers && writers.TryHold(_dispatcher.NodeToChange, this, new ReadOnlySpan<byte>(reply, bytes))))
        {
            Write(reply, bytes);
        }

        if (_dispatcher.MoreAtHand is { } place)
        {
            _notices?.Offer(place);
        }

        FuseTurns.Done(_turn);
        return true;
    }

    /// <summary>Sends a reply to a request of this worker's, from another thread.</summary>
    internal void Send(ReadOnlySpan<byte> reply)
    {
        lock (_device)
        {
            if (!_isClosed)
            {
                fixed (byte* bytes = reply)
                {
                    Write(bytes, reply.Length);
                }
            }
        }
    }

    private void Write(byte* reply, int bytes)
    {
        if (FuseLibc.write(_fd, reply, (nuint)bytes) >= 0)
        {
            return;
        }

        // ENOENT: the request was taken back. ENODEV: the next read says so too. Anything else is a reply that the kernel takes for malformed, and has answered with EIO.
        int error = Marshal.GetLastPInvokeError();
        if (error is not (FuseLibc.ENOENT or FuseLibc.ENODEV))
        {
            _trouble($"a reply of {bytes} bytes to request {MemoryMarshal.Read<FuseOutHeader>(new ReadOnlySpan<byte>(reply, bytes)).Unique} was refused: {MountPoint.Describe(error)}");
        }
    }

    private bool IsMoreWaiting()
    {
        var device = new FuseLibc.PollDescriptor { Descriptor = _fd, Events = FuseLibc.PollIn };
        return FuseLibc.poll(&device, 1, 0) > 0;
    }

    private bool IsNextAtOnce()
    {
        long from = Stopwatch.GetTimestamp();
        bool isThere = false;
        while (Environment.ProcessorCount > 1 && !isThere && Stopwatch.GetElapsedTime(from).TotalMicroseconds < ExpectedWithinMicroseconds)
        {
            isThere = IsMoreWaiting();
        }

        return isThere;
    }

    private int Answer(ReadOnlySpan<byte> request, Span<byte> reply)
    {
        lock (_gate)
        {
            if (_isStopped)
            {
                return FuseDispatcher.Refuse(request, reply, FileError.EIO);
            }

            try
            {
                return _dispatcher.Answer(request, reply);
            }
            catch (Exception mistake)
            {
                // It must not take the whole drive away from everybody who works in it.
                _trouble($"a mistake in tdfs: {mistake.GetType().Name} in request {MemoryMarshal.Read<uint>(request[sizeof(uint)..])}: {mistake.Message}; it ended with EIO, please report it");
                return FuseDispatcher.Refuse(request, reply, FileError.EIO);
            }
        }
    }
}
