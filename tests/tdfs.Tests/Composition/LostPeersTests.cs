using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Composition;

namespace TokTok.Storage.Tdfs.Tests.Composition;

public sealed class LostPeersTests
{
    private const long Week = 7 * 24 * 3600;

    [Fact]
    public void A_lost_peer_is_given_up_while_the_others_keep_the_promise()
    {
        ScoreList scores = Scores(silent: [1]);
        List<ConfiguredHolder> after = LostPeers.GiveUp(Holders(3), scores, survive: null);
        Assert.Equal([false, true, false], after.Select(static holder => holder.IsLeaving));
        Assert.All(after, static holder => Assert.False(holder.IsDoubted)); // nobody caught it: it is away
    }

    [Fact]
    public void Nobody_is_given_up_where_the_store_would_be_weaker_for_it()
    {
        Assert.All(LostPeers.GiveUp(Holders(2), Scores(silent: [1]), survive: null), static holder => Assert.False(holder.IsLeaving));
        Assert.All(LostPeers.GiveUp(Holders(3), Scores(silent: [1]), survive: 2), static holder => Assert.False(holder.IsLeaving));
        Assert.Equal(1, LostPeers.GiveUp(Holders(3), Scores(silent: [1, 2]), survive: 1).Count(static holder => holder.IsLeaving));
    }

    [Fact]
    public void One_that_was_caught_is_doubted_even_where_it_must_stay_and_goes_before_one_that_is_away()
    {
        List<ConfiguredHolder> after = LostPeers.GiveUp(Holders(2), Scores(caught: [1]), survive: null);
        Assert.Equal((false, true), (after[1].IsLeaving, after[1].IsDoubted));
        after = LostPeers.GiveUp(Holders(3), Scores(silent: [1], caught: [2]), survive: 1);
        Assert.Equal([false, false, true], after.Select(static holder => holder.IsLeaving));
    }

    [Fact]
    public void A_folder_is_never_given_up()
    {
        ConfiguredHolder[] folders = [.. Holders(3).Select(static holder => holder with { Address = "/disk" })];
        Assert.All(LostPeers.GiveUp(folders, Scores(silent: [1], caught: [2]), survive: 1), static holder => Assert.False(holder.IsLeaving || holder.IsDoubted));
    }

    private static HolderId Id(int number) => new(new Bytes16((ulong)number, 5));

    /// <summary>A folder, and peers that are away but known.</summary>
    private static ConfiguredHolder[] Holders(int count) =>
        [.. Enumerable.Range(0, count).Select(static i => new ConfiguredHolder($"place{i}", i == 0 ? "/disk" : $"peer://{i}@box:1", null, "away") { KnownId = i == 0 ? default : Id(i) })];

    private static ScoreList Scores(int[]? silent = null, int[]? caught = null) => new()
    {
        Scores =
        [
            .. (silent ?? []).Select(static i => new HolderScore { Holder = Id(i), SilentSeconds = Week, SilentSinceSeconds = 1 }),
            .. (caught ?? []).Select(static i => new HolderScore { Holder = Id(i), Truth = 1000, Open = [new FailedFragment(default, 0, 1), new FailedFragment(default, 1, 1)] }),
        ],
    };
}
