namespace TokTok.Storage.Files;

/// <summary>Writers meet a full disk before the store does.</summary>
/// <remarks>
/// What is written is accepted into memory and reaches the disk later, when nobody could be told any more that there is no room; and a store whose write failed stays failed. So bytes are
/// accepted only while the store has room for them, for everything accepted before, and for a reserve. Deleting and shrinking are accepted always.
/// </remarks>
public sealed partial class ActiveTree
{
    private const long LookBytes = 8L << 20;
    private static readonly TimeSpan s_lookInterval = TimeSpan.FromSeconds(1);

    // Guarded by _spaceGate.
    private readonly Lock _spaceGate = new();
    private long _acceptable; // bytes that may be accepted before the next look
    private long _lookedAt;
    private bool _hasLooked;

    public FileError GetStatistics(out VolumeStatistics statistics)
    {
        (long totalBytes, long freeBytes, long acceptableBytes) = LookForSpace();
        lock (_names)
        {
            statistics = new VolumeStatistics { TotalBytes = totalBytes, FreeBytes = freeBytes, AvailableBytes = Math.Max(0, acceptableBytes), EntryCount = (ulong)_entryCount };
        }

        return FileError.None;
    }

    /// <summary>Total and free bytes, and how many more can be accepted; less than none where the reserve is touched.</summary>
    private (long TotalBytes, long FreeBytes, long AcceptableBytes) LookForSpace()
    {
        (long totalBytes, long freeBytes) = _options.Space?.Invoke() ?? (1L << 60, 1L << 60);
        return (totalBytes, freeBytes, freeBytes - Math.Min(_options.ReservedBytes, totalBytes / 2) - DirtyBytes);
    }

    /// <summary>ENOSPC where so many more bytes could not be stored.</summary>
    private FileError AcceptBytes(long bytes)
    {
        if (_options.Space is null)
        {
            return FileError.None;
        }

        lock (_spaceGate)
        {
            if (!_hasLooked || _acceptable < bytes || _clock.GetElapsedTime(_lookedAt) >= s_lookInterval)
            {
                long free = LookForSpace().AcceptableBytes;
                _hasLooked = true;
                _lookedAt = _clock.GetTimestamp();
                _acceptable = Math.Min(free, Math.Max(LookBytes, bytes)); // others may use the disk as well
            }

            if (_acceptable < bytes)
            {
                return FileError.ENOSPC;
            }

            _acceptable -= bytes;
            return FileError.None;
        }
    }
}
