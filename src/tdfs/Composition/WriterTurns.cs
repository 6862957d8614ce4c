using TokTok.Storage.Blocks.Store;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Long work on a store in turns, so that other processes write between them: each turn opens the store, and lets go of it.</summary>
/// <param name="open">Opens for writing; waits while another process writes, or fails then.</param>
/// <param name="letGoOfHolders">After the store was closed.</param>
internal sealed class WriterTurns(Func<bool, CancellationToken, ValueTask<BlockStore>> open, Action<BlockStore> letGoOfHolders, TimeProvider clock)
{
    /// <summary>Long enough for everybody who waits to see that the store is free.</summary>
    internal static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Fails where the store cannot be written now: before work that would be in vain.</summary>
    internal async ValueTask TryAsync(CancellationToken cancel)
    {
        BlockStore store = await open(false, cancel).ConfigureAwait(false);
        await store.DisposeAsync().ConfigureAwait(false);
        letGoOfHolders(store);
    }

    /// <param name="turn">Says whether there is to be another.</param>
    internal async ValueTask RunAsync(Func<BlockStore, ValueTask<bool>> turn, CancellationToken cancel)
    {
        for (bool goesOn = true; goesOn;)
        {
            BlockStore store = await open(true, cancel).ConfigureAwait(false);
            try
            {
                await using (store.ConfigureAwait(false))
                {
                    goesOn = await turn(store).ConfigureAwait(false);
                }
            }
            finally
            {
                letGoOfHolders(store);
            }

            if (goesOn)
            {
                await Task.Delay(Pause, clock, cancel).ConfigureAwait(false);
            }
        }
    }
}
