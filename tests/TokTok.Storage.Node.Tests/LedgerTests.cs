using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

public sealed class LedgerTests : IDisposable
{
    private const long GiB = 1L << 30;

    private readonly SimulatedDisk _disk = new();
    private readonly SecretBytes _key = SecretBytes.Random(SystemRandom.Instance, 32);
    private readonly DeviceKeys _device = DeviceKeys.Create(SystemRandom.Instance);
    private readonly ManualClock _clock = new();

    public LedgerTests() => _disk.CreateDirectory("state");

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private long Now => _clock.GetUtcNow().ToUnixTimeSeconds();

    private Ledger Ledger(DeviceKeys? device = null) => new(_disk, "state", _key, device ?? _device, SystemRandom.Instance, _clock);

    public void Dispose()
    {
        _key.Dispose();
        _device.Dispose();
    }

    [Fact]
    public async Task Bytes_times_hours_are_counted_both_ways_and_the_balance_is_their_difference()
    {
        Bytes32 bob = Bytes32.New(SystemRandom.Instance);
        bool isFirst = true;
        for (int turn = 0; turn <= 6; turn++)
        {
            await Ledger().ChangeAsync(
                new Dictionary<Bytes32, Func<LedgerEntry, LedgerEntry>>
                {
                    [bob] = entry => entry.WithTheirs(2 * GiB, 10, 20, 1, 0, Now).WithOurs(5 * GiB, 3, 4, isFirst, Now),
                },
                Cancel);
            isFirst = false;
            _clock.Advance(TimeSpan.FromHours(2));
        }

        LedgerEntry entry = Assert.Single(Ledger().Read());
        Assert.Equal((12 * 2ul * GiB, 12 * 5ul * GiB), (entry.KeptForUs, entry.KeptForIt));
        Assert.Equal((Int128)12 * 3 * GiB, entry.Balance);
        Assert.Equal((70ul, 140ul, 21ul, 28ul, 7ul), (entry.SentToIt, entry.CameFromIt, entry.BroughtByIt, entry.TakenByIt, entry.AuditsPassed));
    }

    [Fact]
    public void A_clock_that_jumps_counts_a_day_and_time_in_which_the_node_was_off_counts_nothing_for_it()
    {
        var entry = new LedgerEntry { Account = default, SinceSeconds = 0, UsUntilSeconds = 1000, ItUntilSeconds = 1000, KeptForUs = 1, KeptForIt = 1 };
        Assert.Equal(1 + (24ul * GiB), entry.WithTheirs(GiB, 0, 0, 0, 0, 1000 + (86_400L * 5000)).KeptForUs);
        Assert.Equal(1ul, entry.WithTheirs(GiB, 0, 0, 0, 0, 5).KeptForUs);
        Assert.Equal(1ul, entry.WithOurs(GiB, 0, 0, isFirst: true, 1000 + 86_400).KeptForIt);
        Assert.Equal(1 + (24ul << 50), entry.WithOurs(1L << 50, 0, 0, isFirst: false, 1000 + 86_400).KeptForIt); // a petabyte for a day
    }

    [Fact]
    public async Task What_another_device_signed_or_a_bit_changed_is_no_ledger()
    {
        Bytes32 bob = Bytes32.New(SystemRandom.Instance);
        await Ledger().ChangeAsync(new Dictionary<Bytes32, Func<LedgerEntry, LedgerEntry>> { [bob] = static entry => entry.WithTheirs(1, 2, 3, 4, 5, 6) }, Cancel);
        Assert.Single(Ledger().Read());
        using DeviceKeys other = DeviceKeys.Create(SystemRandom.Instance);
        Assert.Empty(Ledger(other).Read());
        byte[] file = _disk.ReadAll("state/ledger");
        byte[] account = new byte[32];
        bob.Write(account);
        Assert.Equal(-1, file.AsSpan().IndexOf(account));
        for (int at = 0; at < file.Length; at += 11)
        {
            byte[] bad = [.. file];
            bad[at] ^= 1;
            using (IDiskFile open = _disk.Open("state/ledger", DiskOpen.ReadWrite))
            {
                open.Write(0, bad);
            }

            Assert.Empty(Ledger().Read());
        }
    }

    /// <summary>The example of docs/format.md 17.4.</summary>
    [Fact]
    public void A_ledger_of_nobody_has_the_size_that_the_format_says() => Assert.Equal(68, Ledger().Write([]).Length);

    [Fact]
    public async Task A_node_and_who_dials_it_count_the_same_bytes()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await ServedNode.StartAsync(ann.AsPeer(64L << 20));
        using PeerHolder holder = await node.OpenAsync(ann);
        _ = holder.Connection.TakeMoved();
        _ = await node.Service.TakeMovedAsync(Cancel);
        FragmentData fragment = ServedNode.Fragment(0, 128 * 1024, 1);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        await holder.PutAsync(id, 1, 1, 128 * 1024, [fragment], Cancel);
        byte[] back = new byte[128 * 1024];
        Assert.Equal(back.Length, await holder.ReadAsync(id, 0, 0, back, Cancel));
        (long sent, long came) = holder.Connection.TakeMoved();
        Assert.Equal((0L, 0L), holder.Connection.TakeMoved());
        (Bytes32 account, long kept, long brought, long taken) = Assert.Single(await node.Service.TakeMovedAsync(Cancel));
        Assert.Equal((ann.AccountKey, 128L * 1024, sent, came), (account, kept, brought, taken));
        Assert.InRange(sent, 128 * 1024, 130 * 1024);
        Assert.InRange(came, 128 * 1024, 130 * 1024);
    }
}
