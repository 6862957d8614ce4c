using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

public sealed class WriterNoteTests
{
    private const string NotePath = "state/writer";

    [Fact]
    public async Task A_writer_that_was_killed_is_known_to_the_one_after_the_next_when_the_next_is_killed_as_it_writes_its_note()
    {
        int crashes = 0;
        for (bool isDone = false; !isDone; crashes++)
        {
            StoreFixture fixture = await KilledAsync();
            int skip = crashes;
            fixture.Disk.OnOperation = operation =>
            {
                if (operation.Path == NotePath && skip-- == 0)
                {
                    fixture.Disk.OnOperation = null;
                    fixture.Disk.CrashAfter(0);
                }

                return null;
            };
            try
            {
                await fixture.OpenAsync();
                isDone = true;
            }
            catch (SimulatedCrashException)
            {
                fixture.Disk.RestartProcess();
            }

            Assert.Contains(NotePath, fixture.Disk.Files());
        }

        Assert.InRange(crashes, 2, 5);
    }

    [Fact]
    public async Task A_writer_that_was_killed_is_known_when_the_next_finds_no_space_for_its_note()
    {
        StoreFixture fixture = await KilledAsync();
        fixture.Disk.OnOperation = static operation =>
            operation.Path == NotePath && operation.Kind is SimulatedOperationKind.Create or SimulatedOperationKind.Write ? DiskFailure.Full : null;
        await Assert.ThrowsAsync<DiskException>(() => fixture.OpenAsync());
        Assert.Contains(NotePath, fixture.Disk.Files());
    }

    [Fact]
    public async Task A_second_writer_reads_the_whole_note_and_nothing_of_the_one_before()
    {
        StoreFixture fixture = await KilledAsync();
        fixture.Disk.Plant(NotePath, new byte[200]);
        await using BlockStore store = await fixture.OpenAsync();
        Assert.Equal("the test"u8.ToArray(), fixture.Disk.ReadAll(NotePath));
    }

    private static async Task<StoreFixture> KilledAsync()
    {
        var fixture = new StoreFixture();
        await fixture.OpenAsync();
        fixture.Disk.RestartProcess();
        return fixture;
    }
}
