namespace TokTok.Storage.Files;

/// <summary>Has the collector look through everything once much has gathered since it last did, while trees are open.</summary>
/// <remarks>
/// What a mount works on lives for seconds: from a write to its commit, from a look at a name until the kernel forgets it. By then it lies in the oldest generation and among the large arrays, where the collector
/// would let hundreds of megabytes gather: memory is plenty, as it sees it. After each collection this looks how much there is; what a full one costs (tens of milliseconds, more on a busy machine) is spread over what must gather before it.
/// </remarks>
internal sealed class HeapWatch
{
    /// <summary>So much more than the last full collection left, and than an eighth of that, is looked through.</summary>
    internal const long MostGrowthBytes = 32L << 20;

    /// <summary>So much may be held and not in use after a full collection: it is what the next second takes.</summary>
    private const long MostIdleBytes = 64L << 20;

    private static readonly HeapWatch s_watch = new();
    private static readonly AutoResetEvent s_isDue = new(false);
    private static int s_userCount;
    private static int s_hasThread;

    private int _fullCount = -1;
    private long _leftBytes;

    internal static void Enter()
    {
        if (Interlocked.Increment(ref s_userCount) != 1)
        {
            return;
        }

        _ = new Witness();
        if (Interlocked.Exchange(ref s_hasThread, 1) == 0)
        {
            // One of its own: those of the pool may all be busy with what fills the heap.
            new Thread(static () =>
            {
                while (s_isDue.WaitOne())
                {
                    Collect();
                }
            }) { IsBackground = true, Name = "heap watch", Priority = ThreadPriority.AboveNormal }.Start();
        }
    }

    internal static void Leave() => Interlocked.Decrement(ref s_userCount);

    /// <summary>Collects everything, and gives memory back to the system once so much more is held than is in use. The collector by itself keeps what it once had.</summary>
    internal static void Collect()
    {
        GC.Collect(2, GCCollectionMode.Forced, blocking: true);
        GCMemoryInfo left = GC.GetGCMemoryInfo(GCKind.FullBlocking);
        if (left.TotalCommittedBytes - (left.HeapSizeBytes - left.FragmentedBytes) > MostIdleBytes)
        {
            GiveBack();
        }
    }

    /// <summary>Gives the system back what is not used: for when nobody writes, since it takes a few times as long.</summary>
    internal static void GiveBack() => GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);

    /// <summary>Whether so much has gathered. Called after each collection, by one thread.</summary>
    /// <param name="fullCount">Full collections until now.</param>
    internal bool IsMuch(int fullCount, long bytes)
    {
        if (fullCount != _fullCount)
        {
            (_fullCount, _leftBytes) = (fullCount, bytes);
            return false;
        }

        return bytes - _leftBytes > Math.Max(MostGrowthBytes, _leftBytes / 8);
    }

    /// <summary>Nobody holds it, so the next collection, of whatever generation, finds it and its finalizer runs.</summary>
    private sealed class Witness
    {
        ~Witness()
        {
            if (Volatile.Read(ref s_userCount) == 0 || Environment.HasShutdownStarted)
            {
                return;
            }

            _ = new Witness(); // not this one again: it has grown older
            if (s_watch.IsMuch(GC.CollectionCount(2), GC.GetTotalMemory(forceFullCollection: false)))
            {
                s_isDue.Set();
            }
        }
    }
}
