namespace TokTok.Storage.Blocks.Logs;

/// <summary>Holders are asked side by side: the farthest tells how long it takes, not the sum of all.</summary>
internal static class SideBySide
{
    /// <summary>So many at once: each may hold a buffer.</summary>
    private const int Most = 16;

    /// <summary>Returns when all are through; fails as the first of those that failed.</summary>
    internal static async ValueTask EachAsync<T>(IReadOnlyCollection<T> items, Func<T, Task> does)
        where T : class
    {
        foreach (T[] some in items.Chunk(Most))
        {
            await Task.WhenAll(some.Select(does)).ConfigureAwait(false);
        }
    }
}
