using TokTok.Storage.Blocks.Index;

namespace TokTok.Storage.Blocks.Tests.Index;

/// <summary>In memory throughout.</summary>
public sealed class GrowingIndexSmallTests : BlockIndexContract
{
    protected override IBlockIndex Index { get; } = new GrowingIndex(() => throw new InvalidOperationException("nothing grew"), 1_000_000);
}

/// <summary>Moved in the middle of whatever a test of the contract does.</summary>
public sealed class GrowingIndexTests : BlockIndexContract
{
    protected override IBlockIndex Index { get; } = new GrowingIndex(() => new MemoryIndex(), 1);

    [Fact]
    public void The_entry_that_is_one_too_many_moves_all_of_them_once_and_nothing_old_comes_back()
    {
        var lasting = new MemoryIndex();
        lasting.Add(Samples.Score(77), Samples.Location(77));
        int opened = 0;
        using var index = new GrowingIndex(
            () =>
            {
                opened++;
                return lasting;
            },
            10);
        for (int i = 0; i < 10; i++)
        {
            index.Add(Samples.Score(i), Samples.Location(i));
        }

        index.Add(Samples.Score(3), Samples.Location(4));
        Assert.False(index.IsLasting);
        index.Add(Samples.Score(10), Samples.Location(10));
        index.Add(Samples.Score(11), Samples.Location(11));
        Assert.True(index.IsLasting);
        Assert.Equal((1, 12L, 12L), (opened, index.Count, lasting.Count));
        Assert.False(index.TryFind(Samples.Score(77), out _));
        for (int i = 0; i < 12; i++)
        {
            Assert.True(index.TryFind(Samples.Score(i), out BlockLocation location));
            Assert.Equal(Samples.Location(i == 3 ? 4 : i), location);
        }

        index.Checkpoint(5);
        Assert.Equal((5UL, 5UL), (index.CoveredSequence, lasting.CoveredSequence));
    }

    [Fact]
    public async Task Adds_of_many_threads_survive_the_move()
    {
        using var index = new GrowingIndex(() => new MemoryIndex(), 500);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(part => Task.Run(() =>
        {
            for (int i = part; i < 2000; i += 4)
            {
                index.Add(Samples.Score(i), Samples.Location(i));
                Assert.True(index.TryFind(Samples.Score(i), out _));
            }
        })));
        Assert.Equal(2000, index.Count);
        Assert.All(Enumerable.Range(0, 2000), i => Assert.True(index.TryFind(Samples.Score(i), out _)));
    }
}
