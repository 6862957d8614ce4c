using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Tests.Index;

/// <summary>What every <see cref="IBlockIndex"/> keeps.</summary>
public abstract class BlockIndexContract
{
    protected abstract IBlockIndex Index { get; }

    [Fact]
    public void An_empty_index_finds_nothing_and_covers_nothing()
    {
        Assert.False(Index.TryFind(Samples.Score(1), out BlockLocation location));
        Assert.Equal(default, location);
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.Equal(0, Index.Count);
    }

    [Fact]
    public void What_was_added_is_found_and_what_was_not_is_missing()
    {
        for (int i = 0; i < 5000; i++)
        {
            Index.Add(Samples.Score(i), Samples.Location(i));
        }

        Assert.Equal(5000, Index.Count);
        for (int i = 0; i < 5000; i++)
        {
            Assert.True(Index.TryFind(Samples.Score(i), out BlockLocation location));
            Assert.Equal(Samples.Location(i), location);
            Assert.False(Index.TryFind(Samples.Score(i + 5000), out _));
        }
    }

    [Fact]
    public void A_location_keeps_its_extremes()
    {
        BlockLocation[] extremes = [new(0, 0, 0), new(uint.MaxValue, int.MaxValue, int.MaxValue), new(1, 0, 1)];
        for (int i = 0; i < extremes.Length; i++)
        {
            Index.Add(Samples.Score(i), extremes[i]);
            Assert.True(Index.TryFind(Samples.Score(i), out BlockLocation location));
            Assert.Equal(extremes[i], location);
        }
    }

    [Fact]
    public void Scores_that_differ_in_one_bit_are_different_entries()
    {
        Score score = Samples.Score(0);
        Index.Add(score, Samples.Location(0));
        byte[] bytes = new byte[Score.Size];
        for (int bit = 0; bit < 8 * Score.Size; bit++)
        {
            score.Write(bytes);
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.False(Index.TryFind(Score.Read(bytes), out _), $"bit {bit}");
        }

        Assert.True(Index.TryFind(score, out _));
    }

    [Fact]
    public void The_last_location_of_a_score_stands()
    {
        Index.Add(Samples.Score(1), Samples.Location(1));
        Index.Add(Samples.Score(1), Samples.Location(2));
        Assert.True(Index.TryFind(Samples.Score(1), out BlockLocation location));
        Assert.Equal(Samples.Location(2), location);
        Index.Checkpoint(1);
        Index.Add(Samples.Score(1), Samples.Location(3));
        Assert.True(Index.TryFind(Samples.Score(1), out location));
        Assert.Equal(Samples.Location(3), location);
    }

    [Fact]
    public void A_checkpoint_remembers_its_sequence_and_keeps_the_entries()
    {
        Index.Checkpoint(3);
        Assert.Equal(3UL, Index.CoveredSequence);
        Index.Add(Samples.Score(1), Samples.Location(1));
        Assert.Equal(3UL, Index.CoveredSequence);
        Index.Checkpoint(ulong.MaxValue);
        Assert.Equal(ulong.MaxValue, Index.CoveredSequence);
        Assert.True(Index.TryFind(Samples.Score(1), out _));
    }

    [Fact]
    public void Clear_drops_everything_and_the_index_is_usable_again()
    {
        Index.Add(Samples.Score(1), Samples.Location(1));
        Index.Checkpoint(7);
        Index.Clear();
        Assert.False(Index.TryFind(Samples.Score(1), out _));
        Assert.Equal(0UL, Index.CoveredSequence);
        Assert.Equal(0, Index.Count);
        Index.Add(Samples.Score(2), Samples.Location(2));
        Assert.True(Index.TryFind(Samples.Score(2), out _));
        Index.Checkpoint(8);
        Assert.Equal(8UL, Index.CoveredSequence);
    }

    [Fact]
    public async Task Adders_finders_and_checkpoints_go_on_together()
    {
        const int Adders = 3;
        const int Each = 20_000;
        int[] added = new int[Adders];
        Task[] adders = [.. Enumerable.Range(0, Adders).Select(adder => Task.Factory.StartNew(
            () =>
            {
                for (int i = 0; i < Each; i++)
                {
                    Index.Add(Samples.Score((adder * Each) + i), Samples.Location((adder * Each) + i));
                    Volatile.Write(ref added[adder], i + 1);
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default))];
        Task<string> finder = Task.Factory.StartNew(
            () =>
            {
                for (int turn = 0; turn < 60_000; turn++)
                {
                    int adder = turn % Adders;
                    int known = Volatile.Read(ref added[adder]);
                    if (known > 0)
                    {
                        int i = (adder * Each) + (int)(turn * 7919L % known);
                        if (!Index.TryFind(Samples.Score(i), out BlockLocation location) || location != Samples.Location(i))
                        {
                            return $"entry {i} was added and gives {location}";
                        }
                    }
                }

                return "";
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        ulong covered = 0;
        while (!Task.WhenAll(adders).IsCompleted && covered < 20)
        {
            Index.Checkpoint(++covered);
        }

        await Task.WhenAll(adders);
        Assert.Equal("", await finder);
        Assert.Equal(covered, Index.CoveredSequence);
        Assert.Equal(Adders * Each, Index.Count);
        for (int i = 0; i < Adders * Each; i++)
        {
            Assert.True(Index.TryFind(Samples.Score(i), out BlockLocation location), $"entry {i}");
            Assert.Equal(Samples.Location(i), location);
        }
    }
}

/// <summary>The entry of a number: scores as evenly spread as hashes are.</summary>
internal static class Samples
{
    internal static Score Score(int number)
    {
        unchecked
        {
            ulong a = Mix((ulong)number + 1);
            ulong b = Mix(a);
            ulong c = Mix(b);
            return new Score(new Bytes32(a, b, c, Mix(c)));
        }
    }

    internal static BlockLocation Location(int number) => new((uint)number / 128, number % 128 * 65536, number % 65536);

    /// <summary>The step of SplitMix64.</summary>
    private static ulong Mix(ulong z)
    {
        unchecked
        {
            z += 0x9E3779B97F4A7C15;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
