namespace TokTok.Storage.Files;

/// <summary>So many threads beyond the workers that may help with a large file, so that one file alone still uses the whole machine.</summary>
/// <remarks>A hand is taken or not, never waited for: whoever gets none does the work itself, so nothing queues up and memory is bounded by the hands.
/// Safe from many threads.</remarks>
internal sealed class SpareHands(int count)
{
    /// <summary>Smaller files are one worker's work: there are others for the other workers.</summary>
    internal const long FromBytes = 2L << 20;

    private int _free = count;

    /// <summary>One less than there are processors: the worker who asks is busy too.</summary>
    internal static SpareHands OfThisMachine() => new(Environment.ProcessorCount - 1);

    internal int FreeCount => Volatile.Read(ref _free);

    internal bool TryTake()
    {
        for (int free = Volatile.Read(ref _free); free > 0; free = Volatile.Read(ref _free))
        {
            if (Interlocked.CompareExchange(ref _free, free - 1, free) == free)
            {
                return true;
            }
        }

        return false;
    }

    internal void GiveBack() => Interlocked.Increment(ref _free);
}
