using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>Whether what was sent to other machines is there, before anything here is let go of for it.</summary>
/// <remarks>
/// Looks at the arenas that became away since this was made. Each fragment is asked for now (<see cref="BlockStore.ProvesAwayAsync"/>): an upload that was acknowledged proves nothing yet.
/// One that is not proven becomes an ordinary arena, durably, which every repair mends here too; whoever copied into it keeps what it copied from.
/// </remarks>
internal sealed class AwayProof(BlockStore store)
{
    private readonly uint _first = store.Catalog.Announced().Select(static announced => announced.Ordinal).Append(store.Catalog.NextOrdinal).Min();

    /// <summary>Seals what is open for other machines, and asks for it there.</summary>
    /// <returns>Whether all of it is proven.</returns>
    internal async ValueTask<bool> RunAsync(List<string> problems, CancellationToken cancel)
    {
        await store.SealAwayAsync(cancel).ConfigureAwait(false);
        var failed = new List<uint>();
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(arena => arena is { IsAway: true, State: ArenaState.Sealed } && arena.Ordinal >= _first))
        {
            if (!await store.ProvesAwayAsync(arena, cancel).ConfigureAwait(false))
            {
                failed.Add(arena.Ordinal);
                problems.Add($"arena {arena.Ordinal}: other machines have not shown enough of it to outlive {arena.Survive} lost places, so what it holds stays here too; `tdfs status` says who is away");
            }
        }

        if (failed.Count > 0)
        {
            store.ChangeAway(false, failed);
        }

        return failed.Count == 0;
    }

    /// <summary>Whether each clump of an arena that was to go to other machines lies there.</summary>
    internal async ValueTask<bool> HoldsAsync(ArenaRecord arena, Func<int, CopyWish?> wanted, CancellationToken cancel)
    {
        ArenaDirectory directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
        for (int i = 0; i < directory.Count; i++)
        {
            if (wanted(i) is { } wish && store.Feasible(wish).IsAway && store.LocateEntry(arena.Domain, directory[i].Score) is not { Arena: { IsAway: true, State: ArenaState.Sealed } })
            {
                return false;
            }
        }

        return true;
    }
}
