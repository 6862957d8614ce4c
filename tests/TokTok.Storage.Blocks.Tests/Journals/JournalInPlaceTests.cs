using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Journals;

/// <summary>A journal that is synced often is written in place: ahead of itself, and into a file whose life has ended.</summary>
public sealed class JournalInPlaceTests
{
    private const int BatchBytes = 4000;

    private readonly SeededRandom _random = new(9);
    private readonly VolumeId _volume = new(new Bytes16(0, 3));
    private readonly KeyDomain _realm;
    private SimulatedDisk _disk = new();

    public JournalInPlaceTests() => _realm = KeyDomain.Create(DomainKind.Realm, _random);

    [Fact]
    public async Task A_busy_journal_is_longer_than_its_records_while_it_is_written_and_can_be_gone_on_with_afterwards()
    {
        Journal journal = await BeginAsync();
        Sync(journal, 1, 14);
        Assert.Equal(journal.FileBytes, LengthOf(1)); // what seldom syncs takes no more than it needs
        Sync(journal, 15, 40);
        Assert.True(LengthOf(1) > journal.FileBytes + 32_768, $"{LengthOf(1)} bytes of file, {journal.FileBytes} of records");
        long grown = LengthOf(1);
        Sync(journal, 41, 42);
        Assert.Equal(grown, LengthOf(1));
        (Journal beside, _) = await LoadAsync();
        AssertHas(beside, 1, 42);
        Assert.False(beside.TryContinue(1, mayContinue: true)); // there is a tail
        beside.Dispose();
        journal.Dispose();
        Assert.Equal(journal.FileBytes, LengthOf(1));
        (Journal again, _) = await LoadAsync();
        AssertHas(again, 1, 42);
        Assert.True(again.TryContinue(1, mayContinue: true));
        Sync(again, 43, 80);
        again.Dispose();
        (Journal last, _) = await LoadAsync();
        AssertHas(last, 1, 80);
        last.Dispose();
    }

    [Fact]
    public async Task The_next_file_is_written_over_one_whose_life_has_ended_and_nothing_of_that_life_is_read()
    {
        using Journal journal = await BeginAsync();
        Sync(journal, 1, 60);
        await RenewAsync(journal, 59, 60);
        Assert.Equal(["journal.spare", "journal/0000000000000002"], _disk.Files());
        Assert.Equal(new byte[RecordLogHeader.Size], _disk.ReadAll("journal.spare")[..RecordLogHeader.Size]);
        Sync(journal, 61, 100);
        await RenewAsync(journal, 99, 100);
        Assert.Equal(["journal.spare", "journal/0000000000000003"], _disk.Files());
        Assert.True(LengthOf(3) > 200_000, $"{LengthOf(3)} bytes, those of the first file expected");
        Sync(journal, 101, 103);
        (Journal read, _) = await LoadAsync();
        AssertHas(read, 99, 103);
        read.Dispose();
    }

    [Fact]
    public async Task Writing_into_what_is_there_makes_no_file_longer()
    {
        using Journal journal = await BeginAsync();
        Sync(journal, 1, 60);
        await RenewAsync(journal, 60, 60);
        Sync(journal, 61, 80);
        await RenewAsync(journal, 80, 80);
        long length = LengthOf(3);
        for (int at = 81; at < 130; at++)
        {
            Sync(journal, at, at);
            Assert.Equal(length, LengthOf(3));
        }
    }

    [Fact]
    public async Task A_full_disk_has_the_journal_grow_with_its_records()
    {
        using Journal journal = await BeginAsync();
        Sync(journal, 1, 15);
        _disk.CapacityBytes = LengthOf(1) + (20 * BatchBytes);
        Sync(journal, 16, 30);
        (Journal read, _) = await LoadAsync();
        AssertHas(read, 1, 30);
        read.Dispose();
    }

    [Fact]
    public async Task A_reader_that_has_a_file_open_as_its_life_ends_knows_that_it_must_read_again()
    {
        using Journal journal = await BeginAsync();
        Sync(journal, 1, 150); // more than a reader takes at a time
        LogCopies copies = Copies();
        LogCopy copy = Assert.Single(await copies.FindAsync([], CancellationToken.None));
        RecordLogExtent whole = await copies.ReadAsync(copy, static _ => { }, CancellationToken.None);
        Assert.False(copies.HasMissed);
        bool hasGoneOn = false;
        RecordLogExtent torn = await copies.ReadAsync(
            copy,
            _ =>
            {
                if (!hasGoneOn)
                {
                    hasGoneOn = true;
                    RenewAsync(journal, 150, 150).GetAwaiter().GetResult();
                    Sync(journal, 151, 170);
                    RenewAsync(journal, 170, 170).GetAwaiter().GetResult();
                    Sync(journal, 171, 280);
                }
            },
            CancellationToken.None);
        Assert.InRange(torn.RecordCount, 1u, whole.RecordCount - 1);
        Assert.True(copies.HasMissed, $"{torn.RecordCount} of {whole.RecordCount} records passed for all");
    }

    [Fact]
    public async Task Every_crash_leaves_what_was_synced_whatever_file_it_was_written_into()
    {
        long operations = await RunAsync(long.MaxValue, 0);
        bool isLong = Environment.GetEnvironmentVariable("TDFS_LONG") == "1";
        for (long crashAt = 1; crashAt <= operations; crashAt += isLong ? 1 : 3)
        {
            for (int choice = 0; choice < (isLong ? 8 : 2); choice++)
            {
                await RunAsync(crashAt, choice);
            }
        }
    }

    /// <summary>Four files' lives, each with more syncs than make one busy; then a start after the cut.</summary>
    private async Task<long> RunAsync(long crashAt, int choice)
    {
        _disk = new SimulatedDisk();
        _disk.CrashAfter(Math.Min(crashAt, 1L << 40));
        int acknowledged = 0;
        int wantedFrom = 1;
        try
        {
            Journal journal = await BeginAsync();
            for (int life = 0; life < 4; life++)
            {
                for (int batch = 0; batch < 20 + life; batch++)
                {
                    Sync(journal, acknowledged + 1, acknowledged + 1);
                    acknowledged++;
                }

                wantedFrom = acknowledged - 2; // those before may go from here on
                await RenewAsync(journal, wantedFrom, acknowledged);
            }

            journal.Dispose();
        }
        catch (SimulatedCrashException)
        {
            // the power went
        }

        long operations = _disk.OperationCount;
        _disk = _disk.Recover(unchecked((int)(crashAt * 31) + choice));
        (Journal read, _) = await LoadAsync();
        ulong[] found = [.. read.OwnIntents.Select(static intent => intent.Sequence)];
        for (int wanted = wantedFrom; wanted <= acknowledged; wanted++)
        {
            Assert.True(found.Contains((ulong)wanted), $"cut at {crashAt}, choice {choice}: {wanted} of {wantedFrom} to {acknowledged} is gone; found {string.Join(' ', found)}");
        }

        Assert.All(read.OwnIntents, intent => Assert.Equal(BodyOf((int)intent.Sequence), intent.Body.ToArray()));

        // And it can be gone on from.
        await RenewAsync(read, wantedFrom, acknowledged);
        Sync(read, acknowledged + 1, acknowledged + 1);
        read.Dispose();
        (Journal again, _) = await LoadAsync();
        again.Dispose();
        Assert.Equal(Enumerable.Range(wantedFrom, acknowledged + 2 - wantedFrom).Select(static at => (ulong)at), again.OwnIntents.Select(static intent => intent.Sequence));
        return operations;
    }

    private LogCopies Copies() => new(_disk, "/journal", "journal", RecordLogKind.Journal, 1, _realm, new LogHeads());

    private ValueTask<(Journal Journal, List<JournalClump> Clumps)> LoadAsync() => Journal.LoadAsync(Copies(), [], _random, CancellationToken.None);

    private async Task<Journal> BeginAsync()
    {
        (Journal journal, _) = await LoadAsync();
        Assert.False(journal.TryContinue(1, mayContinue: true));
        await journal.RenewAsync([], [], [], CancellationToken.None);
        return journal;
    }

    private static byte[] BodyOf(int sequence) => new SeededRandom(sequence).Bytes(BatchBytes);

    private Intent IntentOf(int sequence) => new(_volume, 1, 7, (ulong)sequence, 0, true, BodyOf(sequence));

    private void Sync(Journal journal, int first, int last)
    {
        for (int at = first; at <= last; at++)
        {
            journal.Append(IntentOf(at));
            journal.Sync();
        }
    }

    private async Task RenewAsync(Journal journal, int first, int last) =>
        await journal.RenewAsync([], [.. Enumerable.Range(first, last - first + 1).Select(IntentOf)], [], CancellationToken.None);

    private void AssertHas(Journal journal, int first, int last) =>
        Assert.Equal(Enumerable.Range(first, last - first + 1).Select(static at => (ulong)at), journal.OwnIntents.Select(static intent => intent.Sequence));

    private long LengthOf(int number) => _disk.ReadAll($"/journal/{number:x16}").Length;
}
