using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Node.Audit;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>What becomes of peers that count as lost (docs/protocol.md 3.6): they are treated as if they were leaving.</summary>
/// <remarks>
/// As long as the other places keep the store's promise without them: a store of two machines, one of which is on holiday for a month, goes on with it as with any holder that is absent, and writes nothing weaker for it.
/// One that answers again, or shows what it failed to, is a holder as before.
/// </remarks>
internal static class LostPeers
{
    internal static List<ConfiguredHolder> GiveUp(IReadOnlyList<ConfiguredHolder> holders, ScoreList scores, int? survive)
    {
        List<ConfiguredHolder> after = [.. holders];
        int wanted = survive ?? Placement.DefaultSurvive(PlacesOf(after));
        foreach ((int at, HolderScore score) in Enumerable.Range(0, after.Count).Select(at => (at, Score: ScoreOf(after[at], scores))).Where(static each => each.Score is { Standing: HolderStanding.Lost })
            .Select(static each => (each.at, each.Score!)).OrderBy(static each => each.Item2.Truth))
        {
            after[at] = after[at] with { IsDoubted = score.SilentSeconds == 0 };
            ConfiguredHolder left = after[at] with { IsLeaving = true };
            List<ConfiguredHolder> without = [.. after];
            without[at] = left;
            if (Placement.ClassFor(wanted, PlacesOf(without)) is not null)
            {
                after[at] = left;
            }
        }

        return after;
    }

    private static HolderScore? ScoreOf(ConfiguredHolder holder, ScoreList scores) =>
        PeerHolders.IsPeer(holder.Address) && (holder.Holder?.Id ?? holder.KnownId) is var id && id != default ? scores.Of(id) : null;

    private static int PlacesOf(IEnumerable<ConfiguredHolder> holders) =>
        holders.Where(static holder => !holder.IsLeaving).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
}
