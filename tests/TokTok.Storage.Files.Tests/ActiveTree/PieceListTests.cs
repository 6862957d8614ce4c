namespace TokTok.Storage.Files.Tests;

public sealed class PieceListTests
{
    /// <summary>The slow twin: one list. Runs are split, emptied and joined on the way.</summary>
    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void It_is_a_list(int seed)
    {
        var random = new Random(seed);
        var pieces = new PieceList();
        List<FilePiece> twin = [];
        int most = 0;
        for (int step = 0; step < 6000; step++)
        {
            int index = random.Next(twin.Count + 1);
            switch (random.Next(20))
            {
                case 0 when twin.Count > 0:
                    int count = random.Next(Math.Min(twin.Count - Math.Min(index, twin.Count - 1), random.Next(30) == 0 ? 1500 : 10)) + 1;
                    index = Math.Min(index, twin.Count - count);
                    pieces.RemoveRange(index, count);
                    twin.RemoveRange(index, count);
                    break;
                case 1 when twin.Count > index:
                    pieces.RemoveAt(index);
                    twin.RemoveAt(index);
                    break;
                case 2 when twin.Count > index:
                    twin[index] = twin[index] with { Skip = step };
                    pieces[index] = pieces[index] with { Skip = step };
                    break;
                case 3 when step < 1000 && random.Next(20) == 0:
                    pieces.Clear();
                    twin.Clear();
                    break;
                default:
                    List<FilePiece> added = Fitting(twin, index, random.Next(6) == 0 ? 40 : 1);
                    pieces.InsertRange(index, added);
                    twin.InsertRange(index, added);
                    break;
            }

            Assert.Equal(twin.Count, pieces.Count);
            most = Math.Max(most, twin.Count);
            if (twin.Count > 0)
            {
                int looked = random.Next(twin.Count);
                Assert.Equal(twin[looked], pieces[looked]);
                long offset = twin[looked].Offset + random.Next(-1, 3);
                int expected = twin.FindIndex(piece => piece.End > offset);
                Assert.Equal(expected < 0 ? twin.Count : expected, pieces.FindFrom(offset));
            }
        }

        Assert.True(most > 4 * PieceList.MostInRun, "too few to have had many runs");
        Assert.Equal(twin, pieces.ToArray());
    }

    [Fact]
    public void What_is_appended_leaves_full_runs_and_is_found()
    {
        var pieces = new PieceList();
        for (int at = 0; at < 5 * PieceList.MostInRun; at++)
        {
            pieces.Add(new FilePiece { Offset = 2L * at, Length = 1 });
        }

        Assert.Equal(0, pieces.FindFrom(-1));
        Assert.Equal(1000, pieces.FindFrom(1999));
        Assert.Equal(pieces.Count, pieces.FindFrom(long.MaxValue));
        pieces.RemoveRange(0, pieces.Count);
        Assert.Equal(0, pieces.FindFrom(0));
        Assert.Empty(pieces.ToArray());
    }

    /// <summary>Pieces for a place, ascending between its neighbours where these leave room, which they need not.</summary>
    private static List<FilePiece> Fitting(List<FilePiece> twin, int index, int count)
    {
        long from = index == 0 ? 0 : twin[index - 1].End;
        long to = index == twin.Count ? from + (1L << 40) : twin[index].Offset;
        long step = (to - from) / (count + 1);
        return step < 4 ? [] : [.. Enumerable.Range(1, count).Select(each => new FilePiece { Offset = from + (step * each), Length = Math.Min(2, step - 1) })];
    }
}
