using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <summary>An index as its cover named it when it was opened, for reading beside a writer that goes on: its runs never change, and those that were merged away stay readable while they are open.</summary>
/// <remarks>Writes nothing. Memory is shared out as the writer's. Safe from many threads, but for <see cref="Dispose"/>.</remarks>
internal sealed class IndexSnapshot : IBlockLookup
{
    private const int Attempts = 4;

    private readonly List<IndexRun> _runs;

    private IndexSnapshot(IndexCover cover, List<IndexRun> runs) => (Cover, _runs) = (cover, runs);

    internal IndexCover Cover { get; }

    public ulong CoveredSequence => Cover.Sequence;

    /// <summary>Null where there is no index, or none that is whole.</summary>
    internal static IndexSnapshot? TryOpen(IDisk disk, string folder, long memoryBytes)
    {
        var memory = new IndexMemory(memoryBytes);
        for (int attempt = 1; attempt <= Attempts; attempt++)
        {
            var runs = new List<IndexRun>();
            try
            {
                if (IndexCover.Read(disk, folder) is not { } cover)
                {
                    return null;
                }

                RunIndex.OpenRuns(disk, folder, cover, memory, runs);
                return new IndexSnapshot(cover, runs);
            }
            catch (Exception trouble) when (trouble is DamagedFormatException or DiskException)
            {
                // A writer took a run away after the cover was read: the next cover does not name it.
                runs.ForEach(static run => run.Dispose());
                if (trouble is not DiskException { Failure: DiskFailure.NotFound })
                {
                    return null;
                }
            }
        }

        return null;
    }

    /// <summary>False also where the page that should have it cannot be read, or is damaged.</summary>
    public bool TryFind(Score score, out BlockLocation location)
    {
        try
        {
            for (int i = _runs.Count - 1; i >= 0; i--)
            {
                if (_runs[i].TryFind(score, out location))
                {
                    return true;
                }
            }
        }
        catch (Exception damage) when (damage is DamagedFormatException or DiskException)
        {
            // The arenas' directories have it; a writer that meets this builds the index anew.
        }

        location = default;
        return false;
    }

    public void Dispose() => _runs.ForEach(static run => run.Dispose());
}

/// <summary>What an index folder holds, and what of it is not as its cover says.</summary>
internal sealed record IndexExamination
{
    private const int Attempts = 4;
    private const int PagesAtOnce = 64;

    /// <summary>Null where there is none, or none that is whole: the next writer begins empty.</summary>
    public IndexCover? Cover { get; private init; }

    /// <summary>Names of files that no cover names: a crash left them, or a writer is at work.</summary>
    public required IReadOnlyList<string> LeftOver { get; init; }

    public required long FileBytes { get; init; }

    /// <summary>One line each: where, what was found, what was expected.</summary>
    public required IReadOnlyList<string> Damaged { get; init; }

    /// <summary>Looks at every byte that the cover names. A writer that merges meanwhile takes files away: what was then found amiss is looked at again.</summary>
    internal static IndexExamination Of(IDisk disk, string folder)
    {
        for (int attempt = 1; ; attempt++)
        {
            (IndexCover? before, string? _) = TryReadCover(disk, folder);
            IndexExamination found = Examine(disk, folder);
            (IndexCover? after, string? _) = TryReadCover(disk, folder);
            if (found.Damaged.Count == 0 || attempt == Attempts || (before is null ? after is null : after is not null && before.Encode().AsSpan().SequenceEqual(after.Encode())))
            {
                return found;
            }
        }
    }

    private static IndexExamination Examine(IDisk disk, string folder)
    {
        var damaged = new List<string>();
        (IndexCover? cover, string? damage) = TryReadCover(disk, folder);
        if (damage is not null)
        {
            damaged.Add(damage);
        }

        byte[] pages = new byte[PagesAtOnce * IndexRun.PageBytes];
        foreach ((ulong number, long entries) in cover?.Runs ?? [])
        {
            try
            {
                using IndexRun run = IndexRun.Open(disk, Paths.Join(folder, IndexRun.NameOf(number)), number, entries, RunIndex.MinMemoryBytes, RunIndex.MinMemoryBytes);
                for (long page = 0; page < run.Pages;)
                {
                    page += run.ReadPages(page, pages);
                }
            }
            catch (DamagedFormatException found)
            {
                damaged.Add(found.Message);
            }
            catch (DiskException missing)
            {
                damaged.Add($"{missing.Message}: found no run {number} that can be read, expected {entries} entries as the cover says");
            }
        }

        HashSet<string> named = [IndexCover.FileName, .. (cover?.Runs ?? []).Select(static run => IndexRun.NameOf(run.Number))];
        IReadOnlyList<DiskEntry> files = disk.List(folder);
        return new IndexExamination
        {
            Cover = cover,
            LeftOver = [.. files.Where(file => !named.Contains(file.Name)).Select(static file => file.Name).Order(StringComparer.Ordinal)],
            FileBytes = files.Sum(static file => file.Length),
            Damaged = damaged,
        };
    }

    private static (IndexCover? Cover, string? Damage) TryReadCover(IDisk disk, string folder)
    {
        try
        {
            return (IndexCover.Read(disk, folder), null);
        }
        catch (DamagedFormatException damage)
        {
            return (null, damage.Message);
        }
        catch (DiskException gone) when (gone.Failure == DiskFailure.NotFound)
        {
            return (null, null);
        }
    }
}
