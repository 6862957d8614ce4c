using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Output;
using static TokTok.Storage.Tdfs.Output.DebugField;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>`tdfs debug index`: which kind of index the store has, whether its files are what they should be, and whether what it says of each block is true.</summary>
/// <remarks>
/// Format: docs/format.md 16.2. Nothing in the store is written and no writer is disturbed: every byte that the cover names is checked, then its runs, which never change, are asked for
/// every clump of every arena's directory.
/// Damage: bytes that do not match their checksums, and a location that no arena confirms. What the index lacks, or names in an arena that is gone, costs time only: it is told, and is none.
/// </remarks>
internal sealed class IndexDump(BlockStore store, StorageConfig config, IDisk disk, DebugPage page)
{
    private const int Attempts = 4;

    internal async ValueTask WriteAsync(IReadOnlyList<ArenaRecord> arenas, CancellationToken cancel)
    {
        string folder = config.StorePath + "/index";
        List<ArenaRecord> asked = [.. arenas.Where(arena => arena.State != ArenaState.Trashed && store.HasKeysOf(arena))];
        if (!RunIndex.IsIn(disk, folder))
        {
            page.Row("index", ("in memory", true), ("entries at most", store.Catalog.Arenas().Sum(static arena => (long)arena.ClumpCount)), ("lasting above", GrowingIndex.DefaultMemoryEntries));
            page.Note($"a store this small has no files of it: each writer fills it from {asked.Count} directories, readers search these");
            return;
        }

        for (int attempt = 1; ; attempt++)
        {
            IndexExamination found = IndexExamination.Of(disk, folder);
            bool isWhole = found is { Cover: not null, Damaged.Count: 0 };
            using IndexSnapshot? index = isWhole ? IndexSnapshot.TryOpen(disk, folder, config.IndexBytes) : null;
            if (isWhole && index is null && attempt < Attempts)
            {
                continue; // a writer merged runs meanwhile
            }

            Put(found);
            if (index is { Cover.Runs.Count: > 0 })
            {
                await CompareAsync(index, asked, cancel).ConfigureAwait(false);
            }
            else if (index is null)
            {
                page.Note($"its entries were not looked at: the next writer begins it empty, and fills it from {asked.Count} directories");
            }

            return;
        }
    }

    private void Put(IndexExamination found)
    {
        if (found.Cover is { } cover)
        {
            page.Row("index", ("lasting", true), ("entries", cover.Count), ("covers sequence", cover.Sequence), ("catalog at", store.Catalog.Sequence),
                ("runs", cover.Runs.Count), ("entries in runs", cover.Runs.Sum(static run => run.Entries)), ("bytes", found.FileBytes));
            int younger = store.Catalog.Arenas().Count(arena => arena.SealSequence > cover.Sequence);
            if (younger > 0)
            {
                page.Note($"{Show.Count(younger, "arena")} came after what it covers; the next writer adds what lies there");
            }

            if (cover.Sequence > store.Catalog.Sequence)
            {
                page.Note($"it covers more than this catalog has: it is of another one, or a writer went on; a writer that finds it so begins it empty");
            }

            foreach ((ulong number, long entries) in cover.Runs)
            {
                page.Row(1, "run", Bare("number", number), ("entries", entries));
            }
        }
        else
        {
            page.Row("index", ("lasting", true), ("without a cover", found.Damaged.Count == 0), ("bytes", found.FileBytes));
        }

        foreach (string name in found.LeftOver)
        {
            page.Row(1, "file", Bare("name", name), ("left over", true));
        }

        foreach (string damage in found.Damaged)
        {
            page.Damaged(damage);
        }
    }

    private async ValueTask CompareAsync(IndexSnapshot index, List<ArenaRecord> arenas, CancellationToken cancel)
    {
        foreach (ArenaRecord arena in arenas)
        {
            cancel.ThrowIfCancellationRequested();
            ArenaDirectory directory;
            try
            {
                directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Note(1, $"arena {arena.Ordinal} was not compared: {damage.Message}");
                continue;
            }

            int right = 0;
            int elsewhere = 0;
            int stale = 0;
            int missing = 0;
            int wrong = 0;
            for (int i = 0; i < directory.Count; i++)
            {
                ClumpEntry entry = directory[i];
                if (!index.TryFind(entry.Score, out BlockLocation location))
                {
                    missing++;
                }
                else if (location == new BlockLocation(arena.Ordinal, entry.Offset, entry.Length))
                {
                    right++;
                }
                else if (location.ArenaOrdinal != arena.Ordinal && (store.Catalog.Arena(location.ArenaOrdinal) is not { State: not ArenaState.Trashed } other || !store.HasKeysOf(other)))
                {
                    stale++;
                }
                else if (location.ArenaOrdinal != arena.Ordinal && await IsThereAsync(entry.Score, location, cancel).ConfigureAwait(false))
                {
                    elsewhere++;
                }
                else
                {
                    wrong++;
                    page.Damaged($"arena {arena.Ordinal}, block {entry.Score}: found arena {location.ArenaOrdinal} at {location.Offset} length {location.Length} in the index, expected arena {arena.Ordinal} at {entry.Offset} length {entry.Length}; run 'tdfs reindex'");
                }
            }

            bool isCovered = arena.SealSequence <= index.Cover.Sequence;
            page.Row(1, "arena", Bare("ordinal", arena.Ordinal), ("clumps", directory.Count), ("right", right), ("in another arena too", elsewhere), ("naming one that is gone", stale), ("missing", missing), ("wrong", wrong), ("not covered yet", !isCovered));
            if (missing > 0 && isCovered)
            {
                page.Note(1, $"what is missing is stored again when it comes again; run 'tdfs reindex'");
            }
        }
    }

    /// <summary>Whether the arena that the index names has the block there: a block may lie in several.</summary>
    private async ValueTask<bool> IsThereAsync(Score score, BlockLocation location, CancellationToken cancel)
    {
        try
        {
            ArenaDirectory directory = await store.DirectoryAsync(store.Catalog.Arena(location.ArenaOrdinal)!, cancel).ConfigureAwait(false);
            return directory.Find(score) is >= 0 and int at && directory[at].Offset == location.Offset && directory[at].Length == location.Length;
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            return true; // it cannot be told, and is the arena's damage
        }
    }
}
