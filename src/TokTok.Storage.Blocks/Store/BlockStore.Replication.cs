using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Store;

/// <summary>What was written and does not lie yet at as many places as was promised for it.</summary>
/// <param name="SinceSeconds">When the oldest of it was written, seconds since 1970.</param>
public readonly record struct ReplicationLag(long Bytes, long SinceSeconds)
{
    public static ReplicationLag None => default;

    /// <summary>How old the oldest of it is; zero where there is none, and by a clock that was set back.</summary>
    public TimeSpan Age(TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(clock);
        return Bytes == 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(Math.Max(0, clock.GetUtcNow().ToUnixTimeSeconds() - SinceSeconds));
    }

    internal ReplicationLag With(long bytes, long sinceSeconds) =>
        bytes == 0 ? this : new ReplicationLag(Bytes + bytes, Bytes == 0 ? sinceSeconds : Math.Min(SinceSeconds, sinceSeconds));
}

/// <content>How far the places that are promised lag behind what is written here.</content>
public sealed partial class BlockStore
{
    /// <summary>Holders that have not got all of the journal, as its last publication by this process left them; null: there was none yet.</summary>
    private volatile IReadOnlySet<HolderId>? _journalBehind;
    private long _journalShortSince; // seconds since 1970; 0: its copies are as many as the store's promise asks for

    /// <summary>What is durable here, or only in memory yet, and would not outlive as many lost places as was promised for it.</summary>
    /// <remarks>
    /// Of sealed arenas those with a fragment that found no holder when it was written: what a holder had once and lost, or leaves, is repair's and not counted. Of what no arena has sealed,
    /// all that the journal has not got, or that too few places have a copy of. What asks to outlive no lost place is safe where it is. Another device's arenas are its own affair.
    /// A journal says of a clump only the day: after an opening it counts from then, or from the end of its day if that is earlier.
    /// </remarks>
    public ReplicationLag Unreplicated()
    {
        ReplicationLag lag = ReplicationLag.None;
        foreach (ArenaRecord arena in Catalog.Arenas())
        {
            if (arena.State == ArenaState.Sealed && arena.Survive > 0 && arena.Fragments.Any(static fragment => fragment.Holder == FragmentPlace.Nowhere) && Owns(arena)
                && Placement.LossesOutlived(arena.Layout, Placement.CountsByPlace([.. arena.Fragments.Select(fragment => HolderOf(fragment.Holder))], static holder => !holder.IsGone)) < arena.Survive)
            {
                lag = lag.With(arena.Layout.ImageBytes, arena.SealedAtSeconds);
            }
        }

        int copies = JournalCopies();
        foreach (PendingClump clump in _pending.Values)
        {
            int survive = clump.Buffer.Key.Survive;
            if (survive > 0 && (!clump.IsJournaled || copies <= survive))
            {
                lag = lag.With(clump.Length, clump.SinceSeconds);
            }
        }

        return DefaultSurvive > 0 && copies <= DefaultSurvive
            ? lag.With(LiveIntentBytes(), Interlocked.Read(ref _journalShortSince) is > 0 and var since ? since : NowSeconds())
            : lag;
    }

    /// <summary>Brings what waits to the places it is meant for: what is open into the journal and that to its holders; where these cannot take it and others could, into arenas.</summary>
    public async ValueTask ReplicateAsync(CancellationToken cancel)
    {
        await FlushAsync(cancel).ConfigureAwait(false);
        int survive = JournalSurvive();
        if (JournalCopies() <= survive && Holders.Where(static holder => holder is { Holder: not null, IsGone: false }).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count() > survive + 1)
        {
            await SealAllAsync(cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Places that have all of the journal.</summary>
    private int JournalCopies()
    {
        List<IFragmentHolder> holders = JournalHolders();
        return _journalBehind is { } behind ? holders.Count(holder => !behind.Contains(holder.Id))
            : IsWritable ? holders.Count // the first flush says more
            : holders.Count(holder => _journal.Missing(holder.Id) is null);
    }

    /// <summary>Called where the journal was published, under the flush gate.</summary>
    private void NoteJournalCopies()
    {
        _journalBehind = _journal.Lag.Keys.ToHashSet();
        Interlocked.Exchange(ref _journalShortSince, JournalCopies() > DefaultSurvive ? 0 : Interlocked.Read(ref _journalShortSince) is > 0 and var since ? since : NowSeconds());
    }
}
