using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Journals;

public sealed class JournalReplayTests
{
    private readonly SimulatedDisk _disk = new();
    private readonly SeededRandom _random = new(4);

    [Theory]
    [InlineData(2, 0)]
    [InlineData(0, 2)]
    public async Task Of_a_block_in_two_classes_the_stronger_record_is_kept_whichever_comes_last(int first, int last)
    {
        using KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        Score score = Score.Read(_random.Bytes(Score.Size));
        LogCopies Copies() => new(_disk, "/journal", "journal", RecordLogKind.Journal, 1, realm, new LogHeads());
        (Journal written, _) = await Journal.LoadAsync(Copies(), [], _random, CancellationToken.None);
        using (written)
        {
            Assert.False(written.TryContinue(1, mayContinue: true));
            await written.RenewAsync([], [], [], CancellationToken.None);
            foreach (int survive in new[] { first, last })
            {
                written.Append(new JournalClump(realm.Id, 1, survive, BlockType.Data, 100, 20_000, score, _random.Bytes(100)));
            }

            written.Sync();
        }

        (Journal read, List<JournalClump> clumps) = await Journal.LoadAsync(Copies(), [], _random, CancellationToken.None);
        read.Dispose();
        Assert.Equal(2, Assert.Single(clumps).Survive);
    }

    [Fact]
    public async Task Intents_are_read_again_in_order_and_only_those_that_the_next_file_repeats()
    {
        using KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        LogCopies Copies() => new(_disk, "/journal", "journal", RecordLogKind.Journal, 1, realm, new LogHeads());
        var volume = VolumeId.New(_random);
        Intent[] all =
        [
            new(volume, 1, 7, 1, 0, true, _random.Bytes(100)), new(volume, 1, 7, 2, 0, false, _random.Bytes(1)),
            new(volume, 1, 7, 2, 1, true, default), new(volume, 1, 7, 10, 0, true, _random.Bytes(Intent.MaxBodyBytes)),
        ];
        (Journal written, _) = await Journal.LoadAsync(Copies(), [], _random, CancellationToken.None);
        Assert.False(written.TryContinue(1, mayContinue: true));
        await written.RenewAsync([], [], [], CancellationToken.None);
        foreach (Intent intent in all)
        {
            written.Append(intent);
        }

        written.Sync();
        written.Dispose();
        (Journal read, _) = await Journal.LoadAsync(Copies(), [], _random, CancellationToken.None);
        AssertSame(all, read.OwnIntents);
        Assert.True(read.TryContinue(1, mayContinue: true));
        await read.RenewAsync([], all[1..3], [], CancellationToken.None);
        read.Dispose();
        (Journal again, _) = await Journal.LoadAsync(Copies(), [], _random, CancellationToken.None);
        again.Dispose();
        AssertSame(all[1..3], again.OwnIntents);
    }

    private static void AssertSame(Intent[] expected, IReadOnlyList<Intent> found)
    {
        Assert.Equal(expected.Select(static intent => intent with { Body = default }), found.Select(static intent => intent with { Body = default }));
        Assert.All(expected.Zip(found), static pair => Assert.Equal(pair.First.Body.ToArray(), pair.Second.Body.ToArray()));
    }
}
