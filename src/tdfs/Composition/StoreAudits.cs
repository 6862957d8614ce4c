using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Audits of the peers of an open store: what the catalog says they keep, asked for at random.</summary>
/// <remarks>Owns nothing. One round at a time writes scores, whoever runs it: the file has a lock.</remarks>
internal sealed class StoreAudits(BlockStore store, string stateFolder, SecretBytes cacheKey, IDisk disk, IRandomSource random, TimeProvider clock, Action<string> say) : IAudits
{
    /// <summary>Counts give and take; null: nobody signs here.</summary>
    internal Ledger? Ledger { get; init; }

    private ScoreFile Scores => new(disk, stateFolder, cacheKey, random, clock);

    public async ValueTask<IReadOnlyList<AuditInfo>> RunAsync(string? peer, int count, CancellationToken cancel)
    {
        List<StoreHolder> holders = [.. Peers().Where(holder => peer is null || NameOf(holder) == peer)];
        if (peer is not null && holders.Count == 0)
        {
            throw new UserError(ExitCode.NotFound, $"no peer that keeps for this store is called {Output.TerminalText.Clean(peer)}; `tdfs peer list` shows who does");
        }

        if (holders.Count == 0)
        {
            return [];
        }

        List<AuditedFragment>[] kept = KeptBy(holders);
        AuditTarget[] targets = [.. holders.Select((holder, i) => new AuditTarget(holder.Id, NameOf(holder), kept[i], AskOf(holder)) { Greet = GreetOf(holder) })];
        IReadOnlyList<AuditResult> results = await new Auditor(Scores, random, clock, say).RoundAsync(targets, count, cancel).ConfigureAwait(false);
        await CountAsync(results, cancel).ConfigureAwait(false);
        return [.. results.Select(static result => new AuditInfo(result.Name, result.Passed, result.Failed, result.Unanswered, PeerEvidence.Of(result.Score)))];
    }

    /// <summary>Writes down what the peers keep for us, and what was moved since the last time.</summary>
    internal async ValueTask CountAsync(IReadOnlyList<AuditResult> results, CancellationToken cancel)
    {
        if (Ledger is null)
        {
            return;
        }

        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        var changes = new Dictionary<Bytes32, Func<LedgerEntry, LedgerEntry>>();
        foreach (StoreHolder holder in Peers())
        {
            if (holder.Itself is not PeerHolder { Connection: { Identity: { } who } connection })
            {
                continue; // what one keeps that does not answer is not counted
            }

            (long sent, long came) = connection.TakeMoved();
            long kept = store.Catalog.HeldBytes(holder.Number);
            AuditResult? result = results.FirstOrDefault(each => each.Holder == holder.Id);
            Func<LedgerEntry, LedgerEntry> change = entry => entry.WithTheirs(kept, sent, came, result?.Passed ?? 0, result?.Failed ?? 0, now);
            Bytes32 account = Bytes32.Read(who.AccountKey);
            Func<LedgerEntry, LedgerEntry>? other = changes.GetValueOrDefault(account); // another node of the same account: its bytes count from the same moment on
            changes[account] = other is null ? change : entry => Added(other(entry), change(entry), entry);
        }

        await Ledger.ChangeAsync(changes, cancel).ConfigureAwait(false);
    }

    /// <summary>What two changes of one entry come to.</summary>
    private static LedgerEntry Added(LedgerEntry one, LedgerEntry other, LedgerEntry before) => one with
    {
        KeptForUs = one.KeptForUs + other.KeptForUs - before.KeptForUs,
        SentToIt = one.SentToIt + other.SentToIt - before.SentToIt,
        CameFromIt = one.CameFromIt + other.CameFromIt - before.CameFromIt,
        AuditsPassed = one.AuditsPassed + other.AuditsPassed - before.AuditsPassed,
        AuditsFailed = one.AuditsFailed + other.AuditsFailed - before.AuditsFailed,
    };

    internal StoreEvidence Evidence()
    {
        ScoreList scores = Scores.Read();
        HolderScore?[] all = [.. Peers().Where(static holder => !holder.IsGone).Select(holder => scores.Of(holder.Id))];
        HolderScore[] proven = [.. all.OfType<HolderScore>().Where(static score => score is { ProvenAtSeconds: > 0, Standing: HolderStanding.Good })];
        return new StoreEvidence(all.Length, proven.Length, proven.Length < all.Length || proven.Length == 0 ? 0 : proven.Min(static score => score.ProvenAtSeconds));
    }

    /// <summary>Asks every peer whether it is there, all at once: who does not say so in its usual time is slow or silent from here on (docs/protocol.md 3.2).</summary>
    internal Task GreetAsync(CancellationToken cancel) => Task.WhenAll(Peers().Select(async holder =>
    {
        if (holder.Itself is not PeerHolder { Connection: { IsSilent: false, IsSlow: false } connection } peer)
        {
            return;
        }

        using var time = new CancellationTokenSource(connection.Patience(0), clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(time.Token, cancel);
        try
        {
            await peer.RenewAsync(either.Token).ConfigureAwait(false);
        }
        catch (DiskException)
        {
            // the connection knows
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            // the connection knows
        }
    }));

    internal HolderStanding StandingOf(StoreHolder holder) => Scores.Read().Of(holder.Id)?.Standing ?? HolderStanding.Good;

    /// <summary>Those that are leaving too: what they have is still read.</summary>
    private IEnumerable<StoreHolder> Peers() => store.Holders.Where(static holder => holder.Itself is PeerHolder || PeerHolders.IsPeer(holder));

    /// <summary>What results call it.</summary>
    internal static string NameOf(StoreHolder holder) => holder.Itself is PeerHolder peer ? peer.Connection.Name : holder.Place;

    private Func<AuditedFragment, CancellationToken, ValueTask<AuditOutcome>>? AskOf(StoreHolder holder) => holder.Itself is PeerHolder peer
        ? (fragment, cancel) => peer.AuditAsync(fragment.Id, fragment.Index, fragment.Expected, random, cancel)
        : null;

    private static Func<CancellationToken, ValueTask<bool>>? GreetOf(StoreHolder holder) => holder.Itself is PeerHolder peer
        ? async cancel =>
        {
            try
            {
                await peer.RenewAsync(cancel).ConfigureAwait(false);
                return true;
            }
            catch (DiskException)
            {
                return false;
            }
        }
        : null;

    private List<AuditedFragment>[] KeptBy(List<StoreHolder> holders)
    {
        var lists = holders.ConvertAll(static _ => new List<AuditedFragment>()).ToArray();
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Sealed))
        {
            for (int index = 0; index < arena.Fragments.Count; index++)
            {
                int at = holders.FindIndex(holder => holder.Number == arena.Fragments[index].Holder);
                if (at >= 0 && arena.Fragments[index].Name != default)
                {
                    lists[at].Add(new AuditedFragment(arena.Id, index, new ExpectedFragment(arena.Fragments[index].Name, arena.Layout.SliceBytes)));
                }
            }
        }

        return lists;
    }
}
