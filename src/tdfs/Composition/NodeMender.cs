using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The repair that a node does by itself: fragments without a holder go to places that have none of their arena.</summary>
/// <remarks>
/// It begins when an arena lacks a fragment and some place can take it: a fragment that found no holder when it was written, or whose holder leaves or was revoked. What lies at a holder that
/// is only absent is left where it is, until audits and silence make it lost (<see cref="LostPeers"/>); damage is for `tdfs repair`, which reads everything. It moves what is missing and nothing else, at the rate that storage.toml sets, and ends when nothing
/// more can be placed. It works in turns, between which its node looks at the holders again: who comes back in the middle of days of moving keeps the rest of what it has. Shares the store with other verbs, arena by arena. After a failure it rests, so that a full or failing holder is not asked again at every look.
/// </remarks>
/// <param name="share">Keeps out, as long as it is held, whoever changes sealed arenas.</param>
internal sealed class NodeMender(BlockStore store, long bytesPerSecond, TimeProvider clock, Func<CancellationToken, ValueTask<IDisposable>> share, Action<string> say)
{
    internal static readonly TimeSpan Rest = TimeSpan.FromMinutes(10);

    private readonly RateLimit _rate = new(bytesPerSecond, clock);
    private long? _failedAt;
    private long _fragments; // of the turns that nothing was said of yet
    private long _bytes;

    /// <summary>Places what can be placed, for one turn. False: there is more to do.</summary>
    /// <param name="hasChanged">Holders came or went just now: a failure before says nothing any more, and what they missed of catalog and journal is brought.</param>
    internal async ValueTask<bool> RunAsync(bool hasChanged, CancellationToken cancel)
    {
        if (!hasChanged && _failedAt is long at && clock.GetElapsedTime(at) < Rest)
        {
            return true;
        }

        _failedAt = null;
        long began = clock.GetTimestamp();
        var scrubber = new Scrubber(store);
        uint[] ordinals = [.. scrubber.Homeless().Where(scrubber.HasPlaceFor).Select(static arena => arena.Ordinal)];
        long fragments = 0;
        string? trouble = null;
        bool isDone = true;
        foreach (uint ordinal in ordinals)
        {
            if (clock.GetElapsedTime(began) >= HolderWatch.Turn)
            {
                isDone = false;
                break;
            }

            MendReport mended;
            using (await share(cancel).ConfigureAwait(false))
            {
                if (store.Catalog.Arena(ordinal) is not { } arena || arena.State == ArenaState.Trashed)
                {
                    continue; // reclaim was quicker
                }

                mended = await scrubber.PlaceAsync(arena, cancel).ConfigureAwait(false);
            }

            fragments += mended.RepairedFragments;
            _bytes += mended.WrittenBytes;
            trouble ??= mended.Failure?.Message ?? (mended.Unrepairable.Count > 0 ? mended.Unrepairable[0] : null);
            if (mended.Failure is not null)
            {
                break;
            }

            await _rate.TakeAsync((int)Math.Min(int.MaxValue, mended.WrittenBytes), cancel).ConfigureAwait(false);
        }

        _fragments += fragments;
        if (fragments > 0 || hasChanged)
        {
            using (await share(cancel).ConfigureAwait(false))
            {
                await store.PublishAsync(cancel).ConfigureAwait(false);
            }
        }

        if (!isDone && trouble is null)
        {
            return false;
        }

        int left = ordinals.Length == 0 ? 0 : scrubber.Homeless().Count;
        if (trouble is not null)
        {
            _failedAt = clock.GetTimestamp();
            say($"repair: {Placed()}, {Show.Count(left, "arena")} still lack fragments ({trouble}); it goes on in {Show.Duration(Rest)}, or with `tdfs repair`");
        }
        else if (_fragments > 0)
        {
            say($"repair: {Placed()}, {(left == 0 ? "nothing is missing now" : $"{Show.Count(left, "arena")} wait for another place")}");
        }

        (_fragments, _bytes) = (0, 0);
        return isDone;

        string Placed() => $"{Show.Count(_fragments, "fragment")} ({Show.Size(_bytes)}) found a holder";
    }
}
