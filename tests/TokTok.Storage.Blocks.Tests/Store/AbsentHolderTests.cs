using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>Which configured folders without a holder are those of a holder that is only absent.</summary>
public sealed class AbsentHolderTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Fact]
    public async Task A_writer_asks_for_new_holders_and_says_which_places_have_one_that_is_absent()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await UseAsync(fixture);
        fixture.Disk.Rename("/holder2/holder", "/holder2/holder-away");
        fixture.HolderPaths.Add("/holder3");
        var asked = new List<(string, bool)>();
        fixture.Make = (path, isAbsent) =>
        {
            asked.Add((path, isAbsent));
            return isAbsent ? null : FolderHolder.Create(fixture.Disk, path, fixture.Random);
        };
        await using (BlockStore store = await fixture.OpenAsync(StoreAccess.Read))
        {
            Assert.Empty(asked);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal([("/holder2", true), ("/holder3", false)], asked);
            Assert.Equal([true, true, false, true], store.Holders.Select(static holder => holder.Holder is not null));
            Assert.DoesNotContain(store.Holders, static holder => holder.IsGone);
            Assert.StartsWith("holder /holder2: ", Assert.Single(store.Lag()), StringComparison.Ordinal);
        }

        fixture.Disk.Rename("/holder2/holder-away", "/holder2/holder");
        await using BlockStore again = await fixture.OpenAsync();
        Assert.Equal(4, again.Holders.Count);
        Assert.All(again.Holders, static holder => Assert.NotNull(holder.Holder));
    }

    [Fact]
    public async Task When_the_successor_of_a_holder_is_absent_only_the_successor_is_waited_for()
    {
        var fixture = new StoreFixture(holderCount: 3);
        await UseAsync(fixture);
        fixture.Disk.Rename("/holder2/holder", "/holder2/holder-away");
        fixture.Make = (_, isAbsent) => isAbsent ? FolderHolder.Create(fixture.Disk, "/successor", fixture.Random) : null;
        await UseAsync(fixture);
        fixture.Make = null;
        await using BlockStore store = await fixture.OpenAsync();
        Assert.Equal([false, false, true, false], store.Holders.Select(static holder => holder.IsGone));
        StoreHolder successor = store.Holders[3];
        Assert.Null(successor.Holder);
        Assert.Equal("/holder2", successor.Address);
        Assert.NotNull(successor.Problem);
    }

    [Fact]
    public async Task With_no_holder_left_a_writer_is_refused_and_a_reader_is_not()
    {
        var fixture = new StoreFixture(holderCount: 1);
        await UseAsync(fixture);
        fixture.Disk.Rename("/holder0/holder", "/holder0/holder-away");
        StoreException refused = await Assert.ThrowsAsync<StoreException>(() => fixture.OpenAsync());
        Assert.Equal(StoreProblem.HoldersMissing, refused.Problem);
        Assert.Contains("found none of 1 holders", refused.Message, StringComparison.Ordinal);
        await using BlockStore reader = await fixture.OpenAsync(StoreAccess.Read);
        Assert.Equal(s_volume, Assert.Single(reader.Heads).Volume);
    }

    [Fact]
    public async Task What_an_absent_holder_keeps_is_read_from_the_others_and_is_not_called_damaged()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 80, 4000);
            await store.SealAllAsync(CancellationToken.None);
        }

        for (int away = 0; away < 3; away++)
        {
            fixture.Disk.Rename($"/holder{away}/holder", $"/holder{away}/holder-away");
            await using (BlockStore reader = await fixture.OpenAsync(StoreAccess.Read))
            {
                await StoreFixture.AssertAllAsync(reader, written);
            }

            fixture.Disk.Rename($"/holder{away}/holder-away", $"/holder{away}/holder");
        }

        Assert.Empty(fixture.Notes);
    }

    private static async Task UseAsync(StoreFixture fixture)
    {
        await using BlockStore store = await fixture.OpenAsync();
        await StoreFixture.CommitAsync(store, s_volume, [], store.Heads.Count == 0 ? null : store.Heads[0]);
    }
}
