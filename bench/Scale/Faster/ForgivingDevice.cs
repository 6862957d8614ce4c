using FASTER.core;

namespace Scale.Faster;

/// <summary>The files of one opening of the index, on a disk that may fail: FASTER never hears of a failure, the index does.</summary>
/// <remarks>
/// Why: FASTER 2.6.5 logs a failed page write and then waits for that page for ever; a failed read leaves its find pending for ever; and a device whose file could
/// not be opened waits for ever at the eighth call, and when it is closed. A writer must not hang for its cache. So a failed write is reported as done and a failed read gives zeros, which are no record;
/// <see cref="Failure"/> stands from then on, and the index neither trusts nor keeps anything of this opening.
/// Safe from many threads, as the inner devices are.
/// </remarks>
internal sealed class ForgivingFiles : INamedDeviceFactory
{
    private readonly LocalStorageNamedDeviceFactory _checkpoints = new();
    private volatile string? _failure;

    /// <summary>What failed first, or null as long as nothing did.</summary>
    internal string? Failure => _failure;

    internal IDevice OpenLog(string path) => new ForgivingDevice(Devices.CreateLogDevice(path), this);

    public void Initialize(string baseName) => _checkpoints.Initialize(baseName);

    public IDevice Get(FileDescriptor fileInfo)
    {
        try
        {
            return new ForgivingDevice(_checkpoints.Get(fileInfo), this);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            Fail(failure.Message);
            return new NullDevice();
        }
    }

    public IEnumerable<FileDescriptor> ListContents(string path) => _checkpoints.ListContents(path);

    public void Delete(FileDescriptor fileInfo) => _checkpoints.Delete(fileInfo);

    internal void Fail(string failure) => _failure ??= failure;
}

/// <summary>One device of <see cref="ForgivingFiles"/>.</summary>
internal sealed class ForgivingDevice(IDevice inner, ForgivingFiles files) : StorageDeviceBase(inner.FileName, inner.SectorSize, inner.Capacity)
{
    public override void Initialize(long segmentSize, LightEpoch? epoch = null, bool omitSegmentIdFromFileName = false)
    {
        base.Initialize(segmentSize, epoch, omitSegmentIdFromFileName);
        inner.Initialize(segmentSize, epoch, omitSegmentIdFromFileName);
    }

    public override bool Throttle() => inner.Throttle();

    public override bool TryComplete() => inner.TryComplete();

    public override long GetFileSize(int segment) => files.Failure is null ? inner.GetFileSize(segment) : 0;

    public override void Reset()
    {
        if (files.Failure is null)
        {
            inner.Reset();
        }
    }

    public override void WriteAsync(
        IntPtr sourceAddress, int segmentId, ulong destinationAddress, uint numBytesToWrite, DeviceIOCompletionCallback callback, object context)
    {
        void Done(uint error, uint bytes, object its)
        {
            if (error != 0)
            {
                files.Fail(error == uint.MaxValue ? "a file of it cannot be opened" : $"a file of it cannot be written (error {error})");
            }

            callback(0, numBytesToWrite, its);
        }

        if (files.Failure is not null)
        {
            callback(0, numBytesToWrite, context);
            return;
        }

        try
        {
            inner.WriteAsync(sourceAddress, segmentId, destinationAddress, numBytesToWrite, Done, context);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            files.Fail(failure.Message);
            callback(0, numBytesToWrite, context);
        }
    }

    public override void ReadAsync(
        int segmentId, ulong sourceAddress, IntPtr destinationAddress, uint readLength, DeviceIOCompletionCallback callback, object context)
    {
        void Done(uint error, uint bytes, object its)
        {
            if (error != 0)
            {
                files.Fail(error == uint.MaxValue ? "a file of it cannot be opened" : $"a file of it cannot be read (error {error})");
                Clear(destinationAddress, readLength);
                bytes = readLength;
            }

            callback(0, bytes, its);
        }

        if (files.Failure is not null)
        {
            Clear(destinationAddress, readLength);
            callback(0, readLength, context);
            return;
        }

        try
        {
            inner.ReadAsync(segmentId, sourceAddress, destinationAddress, readLength, Done, context);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            files.Fail(failure.Message);
            Clear(destinationAddress, readLength);
            callback(0, readLength, context);
        }
    }

    public override void RemoveSegmentAsync(int segment, AsyncCallback callback, IAsyncResult result) => inner.RemoveSegmentAsync(segment, callback, result);

    public override void RemoveSegment(int segment) => inner.RemoveSegment(segment);

    public override void Dispose()
    {
        if (files.Failure is null)
        {
            inner.Dispose();
            return;
        }

        // It may never return; nobody waits for it, and the process does not either.
        _ = Task.Run(inner.Dispose);
    }

    private static unsafe void Clear(IntPtr address, uint bytes) => new Span<byte>((void*)address, (int)bytes).Clear();
}
