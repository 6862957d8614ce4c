using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>A holder that lists its copies of logs, and breaks off when one is read, is as one that is absent: the store opens with the others, and what was not read does not count as seen.</summary>
public sealed class UnreadLogTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    private readonly StoreFixture _one = new(holderCount: 3);
    private readonly StoreFixture _two;

    public UnreadLogTests()
    {
        _two = new StoreFixture(holderCount: 3, seed: 99) { Disk = _one.Disk };
        DeviceKeys keys = DeviceKeys.Create(_two.Random);
        _two.Keys = _one.Keys with
        {
            Device = 2,
            DeviceKeys = keys,
            Certificate = DeviceCertificate.Issue(_one.Keys.Certificate, _one.Keys.DeviceKeys, keys.PublicKey, keys.AgreementPublicKey, 2, "desk", 0),
        };
        _two.Options = _one.Options with { StateFolder = "/there" };
        _one.Disk.CreateDirectory("/there");
    }

    /// <summary>What is small stays in the journal: both logs are read.</summary>
    private static async Task<(List<(Score Score, byte[] Bytes)> Blocks, Head Head)> WriteAsync(StoreFixture device, int first, Head? after = null, IEnumerable<(Score Score, byte[] Bytes)>? before = null)
    {
        await using BlockStore store = await device.OpenAsync();
        List<(Score Score, byte[] Bytes)> blocks = await StoreFixture.WriteAsync(store, first, 4);
        return (blocks, await StoreFixture.CommitAsync(store, s_volume, [.. blocks.Concat(before ?? []).Select(static item => item.Score)], after));
    }

    private static Func<IFragmentHolder, IFragmentHolder> BreakingOff(HolderId failing) => holder => new PutHook(holder, static () => Task.CompletedTask)
    {
        BeforeReadObject = (name, offset) =>
        {
            if (holder.Id == failing && offset > 0)
            {
                throw new DiskException(DiskFailure.Unreachable, "read", name, "the answer broke off");
            }
        },
    };

    private async Task<HolderId[]> HoldersAsync()
    {
        await using BlockStore store = await _one.OpenAsync();
        return [.. store.Holders.Select(static holder => holder.Id)];
    }

    [Theory, InlineData(0), InlineData(1), InlineData(2)]
    public async Task A_store_opens_while_one_of_its_holders_breaks_off(int failing)
    {
        HolderId[] holders = await HoldersAsync();
        (List<(Score Score, byte[] Bytes)> blocks, Head head) = await WriteAsync(_one, 0);
        await (await _two.OpenAsync()).DisposeAsync();
        (List<(Score Score, byte[] Bytes)> more, Head _) = await WriteAsync(_one, 100, head, blocks);
        _two.Wrap = BreakingOff(holders[failing]);
        for (int opening = 0; opening < 2; opening++)
        {
            await using BlockStore two = await _two.OpenAsync();
            await StoreFixture.AssertAllAsync(two, blocks);
            await StoreFixture.AssertAllAsync(two, more);
        }

        _two.Wrap = null;
        await using BlockStore whole = await _two.OpenAsync();
        await StoreFixture.AssertAllAsync(whole, [.. blocks, .. more]);
    }

    [Fact]
    public async Task What_only_that_holder_has_is_taken_up_once_it_can_be_read()
    {
        HolderId[] holders = await HoldersAsync();
        (List<(Score Score, byte[] Bytes)> blocks, Head head) = await WriteAsync(_one, 0);
        await (await _two.OpenAsync()).DisposeAsync();
        _one.Wrap = holder => new PutHook(holder, static () => Task.CompletedTask)
        {
            BeforeAppend = name => holder.Id == holders[0] ? Task.CompletedTask : throw new DiskException(DiskFailure.Unreachable, "append to", name, "it does not answer"),
        };
        (List<(Score Score, byte[] Bytes)> more, Head newest) = await WriteAsync(_one, 100, head, blocks);
        _two.Wrap = BreakingOff(holders[0]);
        await using (BlockStore two = await _two.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(two, blocks);
            Assert.DoesNotContain(two.Heads, found => found.Root == newest.Root);
        }

        _two.Wrap = null;
        await using BlockStore whole = await _two.OpenAsync();
        Assert.Contains(whole.Heads, found => found.Root == newest.Root);
        await StoreFixture.AssertAllAsync(whole, [.. blocks, .. more]);
    }
}
