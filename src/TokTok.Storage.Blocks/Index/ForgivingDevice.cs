using FASTER.core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>The index's device on a disk that may fail: FASTER never hears of it, the index does.</summary>
/// <remarks>
/// Why: FASTER 2.6.5 logs a failed page write and then waits for that page for ever, and a failed read leaves its find pending for ever. A writer must not
/// hang for its cache. So a failed write is reported as done and a failed read gives zeros, which are no record; <see cref="Failure"/> stands from then on, and
/// the index neither trusts nor keeps anything of this opening.
/// Safe from many threads, as the inner device is.
/// </remarks>
internal sealed class ForgivingDevice(IDevice inner) : StorageDeviceBase(inner.FileName, inner.SectorSize, inner.Capacity)
{
    private volatile string? _failure;

    /// <summary>What failed first, or null as long as nothing did.</summary>
    internal string? Failure => _failure;

    public override void Initialize(long segmentSize, LightEpoch? epoch = null, bool omitSegmentIdFromFileName = false)
    {
        base.Initialize(segmentSize, epoch, omitSegmentIdFromFileName);
        inner.Initialize(segmentSize, epoch, omitSegmentIdFromFileName);
    }

    public override bool Throttle() => inner.Throttle();

    public override bool TryComplete() => inner.TryComplete();

    public override long GetFileSize(int segment) => inner.GetFileSize(segment);

    public override void Reset() => inner.Reset();

    public override void WriteAsync(
        IntPtr sourceAddress, int segmentId, ulong destinationAddress, uint numBytesToWrite, DeviceIOCompletionCallback callback, object context)
    {
        void Done(uint error, uint bytes, object its)
        {
            if (error != 0)
            {
                _failure ??= $"its log cannot be written (error {error})";
            }

            callback(0, numBytesToWrite, its);
        }

        try
        {
            inner.WriteAsync(sourceAddress, segmentId, destinationAddress, numBytesToWrite, Done, context);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            _failure ??= failure.Message;
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
                _failure ??= $"its log cannot be read (error {error})";
                Clear(destinationAddress, readLength);
                bytes = readLength;
            }

            callback(0, bytes, its);
        }

        try
        {
            inner.ReadAsync(segmentId, sourceAddress, destinationAddress, readLength, Done, context);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            _failure ??= failure.Message;
            Clear(destinationAddress, readLength);
            callback(0, readLength, context);
        }
    }

    public override void RemoveSegmentAsync(int segment, AsyncCallback callback, IAsyncResult result) => inner.RemoveSegmentAsync(segment, callback, result);

    public override void RemoveSegment(int segment) => inner.RemoveSegment(segment);

    public override void Dispose() => inner.Dispose();

    private static unsafe void Clear(IntPtr address, uint bytes) => new Span<byte>((void*)address, (int)bytes).Clear();
}
