using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Journals;

/// <summary>Intents that a journal alone has go from file to file without coming into memory together.</summary>
public sealed class JournalMemoryTests : IDisposable
{
    private const int BodyBytes = 1000 * 1000;

    private readonly SeededRandom _random = new(11);
    private readonly VolumeId _volume = new(new Bytes16(0, 3));
    private readonly KeyDomain _realm;
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-journal-").FullName;

    public JournalMemoryTests() => _realm = KeyDomain.Create(DomainKind.Realm, _random);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task The_next_file_takes_over_what_the_last_one_alone_has_a_record_at_a_time()
    {
        const int Count = 40;
        const int WantedFrom = 11;
        (Journal journal, _) = await LoadAsync();
        await journal.RenewAsync([], [], [], CancellationToken.None);
        for (int at = 1; at <= Count; at++)
        {
            journal.Append(IntentOf(at));
        }

        HashSet<Intent> written = [.. Enumerable.Range(WantedFrom, Count - WantedFrom).Select(at => IntentOf(at) with { Body = default })];
        long before = GC.GetAllocatedBytesForCurrentThread();
        await journal.RenewAsync([], [IntentOf(Count)], [], CancellationToken.None, written);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        journal.Dispose();
        Assert.InRange(allocated, 0, 8 * BodyBytes); // one intent that memory has, and buffers of a record each; of bodies alone it would be 40 and more
        (Journal again, _) = await LoadAsync();
        again.Dispose();
        Assert.Equal(Enumerable.Range(WantedFrom, Count - WantedFrom + 1).Select(static at => (ulong)at), again.OwnIntents.Select(static intent => intent.Sequence));
        Assert.All(again.OwnIntents, static intent => Assert.Equal(BodyOf((int)intent.Sequence), intent.Body.ToArray()));
    }

    [Fact]
    public async Task An_intent_that_is_wanted_and_not_in_the_last_file_is_told_and_the_file_stays()
    {
        (Journal journal, _) = await LoadAsync();
        await journal.RenewAsync([], [], [], CancellationToken.None);
        journal.Append(IntentOf(1));
        HashSet<Intent> written = [IntentOf(1) with { Body = default }, IntentOf(2) with { Body = default }];
        DamagedFormatException failure = await Assert.ThrowsAsync<DamagedFormatException>(async () => await journal.RenewAsync([], [], [], CancellationToken.None, written));
        Assert.Contains("found 1 of 2 intents", failure.Message, StringComparison.Ordinal);
        journal.Dispose();
        (Journal again, _) = await LoadAsync();
        again.Dispose();
        Assert.Equal([1UL], again.OwnIntents.Select(static intent => intent.Sequence));
    }

    private async ValueTask<(Journal Journal, List<JournalClump> Clumps)> LoadAsync()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "journal"));
        (Journal journal, List<JournalClump> clumps) = await Journal.LoadAsync(
            new LogCopies(PosixDisk.Instance, Path.Combine(_folder, "journal"), "journal", RecordLogKind.Journal, 1, _realm, new LogHeads()), [], _random, CancellationToken.None);
        _ = journal.TryContinue(1, mayContinue: false);
        return (journal, clumps);
    }

    private static byte[] BodyOf(int sequence) => new SeededRandom(sequence).Bytes(BodyBytes);

    private Intent IntentOf(int sequence) => new(_volume, 1, 7, (ulong)sequence, 0, true, BodyOf(sequence));
}
