using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>What seeds of the simulation found, each by itself: two devices over three holders of which any one may be lost.</summary>
public sealed class FoundBySimulationTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    private readonly StoreFixture _one = new(holderCount: 3);
    private readonly StoreFixture _two;

    public FoundBySimulationTests()
    {
        _one.Options = _one.Options with { TrashDays = 2, SealAtFlushBytes = 1 };
        _two = Another(2, "/there");
    }

    private StoreFixture Another(uint number, string state)
    {
        var another = new StoreFixture(holderCount: 3, seed: 97 + (int)number) { Disk = _one.Disk, Options = _one.Options with { StateFolder = state } };
        DeviceKeys keys = DeviceKeys.Create(another.Random);
        another.Keys = _one.Keys with
        {
            Device = number,
            DeviceKeys = keys,
            Certificate = DeviceCertificate.Issue(_one.Keys.Certificate, _one.Keys.DeviceKeys, keys.PublicKey, keys.AgreementPublicKey, number, "desk", 0),
        };
        _one.Disk.CreateDirectory(state);
        return another;
    }

    private static async Task<(List<(Score Score, byte[] Bytes)> Blocks, Head Head)> WriteAsync(BlockStore store, int first, Head? after = null)
    {
        List<(Score Score, byte[] Bytes)> blocks = await StoreFixture.WriteAsync(store, first, 30);
        return (blocks, await StoreFixture.CommitAsync(store, s_volume, blocks.Select(static item => item.Score), after));
    }

    /// <summary>The disk of the third holder is lost, and another comes in its place.</summary>
    private void ReplaceThird()
    {
        FolderHolder.Create(_one.Disk, "/holder3", _one.Random).Dispose();
        _one.HolderPaths[2] = _two.HolderPaths[2] = "/holder3";
    }

    private static void Unreachable() => throw new DiskException(DiskFailure.Unreachable, "reach", "the holder", "the connection broke");

    /// <summary>Seeds 154 and 307.</summary>
    [Fact]
    public async Task Where_a_repair_put_fragments_is_learned_of_arenas_in_the_trash_too()
    {
        List<(Score Score, byte[] Bytes)> blocks;
        Head head;
        await using (BlockStore one = await _one.OpenAsync())
        {
            (blocks, head) = await WriteAsync(one, 0);
        }

        await (await _two.OpenAsync()).DisposeAsync(); // knows where they lay at first
        ReplaceThird();
        await using (BlockStore one = await _one.OpenAsync())
        {
            Assert.True((await new Scrubber(one).RepairAsync(null, CancellationToken.None)).RepairedFragments > 0);
            await StoreFixture.CommitAsync(one, s_volume, [], head);
            Assert.True((await new Reclaimer(one, new ListWalker()).RunAsync(new ReclaimOptions { LivePercent = 75 }, null, CancellationToken.None)).TrashedArenas > 0);
        }

        await using (BlockStore two = await _two.OpenAsync())
        {
            Assert.Contains(two.Catalog.Arenas(), static arena => arena.State == ArenaState.Trashed);
        }

        _two.HolderPaths[0] = "/nowhere";
        await using BlockStore without = await _two.OpenAsync();
        await StoreFixture.AssertAllAsync(without, blocks);
    }

    /// <summary>Seed 4434.</summary>
    [Fact]
    public async Task A_line_that_a_restored_state_folder_left_behind_makes_nobody_forget_what_it_never_knew()
    {
        string state = _one.Options.StateFolder.TrimStart('/');
        StoreFixture away = Another(3, "/away");
        await (await away.OpenAsync()).DisposeAsync(); // one that had no state would adopt what lies at the holders
        Head head;
        await using (BlockStore one = await _one.OpenAsync())
        {
            (_, head) = await WriteAsync(one, 0);
        }

        Dictionary<string, byte[]> backup = _one.Disk.Files().Where(path => path.StartsWith(state + "/", StringComparison.Ordinal)).ToDictionary(static path => path, _one.Disk.ReadAll);
        await using (BlockStore one = await _one.OpenAsync())
        {
            (_, head) = await WriteAsync(one, 100, head);
        }

        for (int i = 0; i < 6; i++) // in which order lines are read is chance: one of those that are left behind comes after the one that goes on
        {
            PutBack();
            await (await _one.OpenAsync()).DisposeAsync();
        }

        PutBack();
        List<(Score Score, byte[] Bytes)> blocks;
        await using (BlockStore one = await _one.OpenAsync())
        {
            Assert.NotEqual(head.Incarnation, one.Incarnation);
            (blocks, head) = await WriteAsync(one, 200, one.Heads.Single());
            await using (BlockStore two = await _two.OpenAsync())
            {
                await StoreFixture.CommitAsync(two, new VolumeId(new Bytes16(0, 8)), blocks.Select(static item => item.Score), null); // counts on what it knows to be sealed
            }

            await StoreFixture.CommitAsync(one, s_volume, [], head);
            Assert.True((await new Reclaimer(one, new ListWalker()).RunAsync(new ReclaimOptions { LivePercent = 75 }, null, CancellationToken.None)).TrashedArenas > 0);
        }

        await using BlockStore three = await away.OpenAsync();
        Assert.Equal(2, three.Heads.Count);
        await StoreFixture.AssertAllAsync(three, blocks);

        void PutBack()
        {
            foreach (string path in _one.Disk.Files().Where(path => path.StartsWith(state + "/", StringComparison.Ordinal)))
            {
                _one.Disk.Remove(path);
            }

            foreach ((string path, byte[] bytes) in backup)
            {
                _one.Disk.Plant(path, bytes);
            }
        }
    }

    /// <summary>Seed 331.</summary>
    [Theory, InlineData(true), InlineData(false)]
    public async Task A_store_opens_though_a_holder_breaks_off_over_an_arena_whose_sealing_was_cut_off(bool atOnce)
    {
        List<(Score Score, byte[] Bytes)> blocks = [];
        int puts = 0;
        _one.Wrap = holder => new PutHook(holder, () => Interlocked.Increment(ref puts) >= 3 ? throw new InvalidOperationException("killed") : Task.CompletedTask);
        HolderId failing;
        BlockStore killed = await _one.OpenAsync();
        failing = killed.Holders[0].Id;
        await Assert.ThrowsAnyAsync<Exception>(async () => (blocks, _) = await WriteAsync(killed, 0));
        Assert.NotEmpty(killed.Catalog.Announced());
        await killed.DisposeAsync();

        Assert.True(puts >= 3, "nothing was cut off");
        _one.Wrap = holder => new PutHook(holder, static () => Task.CompletedTask)
        {
            BeforeInspect = holder.Id == failing && atOnce ? Unreachable : null,
            BeforeSettle = holder.Id == failing ? Unreachable : null,
        };
        await using (BlockStore one = await _one.OpenAsync())
        {
            (blocks, _) = await WriteAsync(one, 0);
        }

        _one.Wrap = null;
        await using BlockStore again = await _one.OpenAsync();
        await StoreFixture.AssertAllAsync(again, blocks);
        await new Scrubber(again).RepairAsync(null, CancellationToken.None); // whose put it was that was cut off is chance: an arena that is adopted may lack a fragment
        Assert.Empty((await new Scrubber(again).CheckAsync(true, null, CancellationToken.None)).Damaged);
    }

    /// <summary>Seed 671: whoever lists catalogs, then journals, then reads both, may meet a writer that goes on meanwhile.</summary>
    [Fact]
    public async Task Every_head_that_an_opening_takes_up_has_its_blocks_though_its_writer_goes_on_beside_it()
    {
        _one.Options = _one.Options with { SealAtFlushBytes = 1 << 20 };
        Head head;
        await using (BlockStore first = await _one.OpenAsync())
        {
            (_, head) = await WriteAsync(first, 0);
        }

        await (await _two.OpenAsync()).DisposeAsync();
        _one.Clock.Advance(TimeSpan.FromDays(1));
        await using BlockStore one = await _one.OpenAsync();
        await one.PublishAsync(CancellationToken.None); // another day: the catalog says more, and the journal nothing
        Task<(List<(Score Score, byte[] Bytes)> Blocks, Head Head)>? beside = null;
        bool areListed = false; // the journals, by their headers
        _two.Wrap = holder => new PutHook(holder, static () => Task.CompletedTask)
        {
            BeforeReadObject = (name, offset) =>
            {
                areListed |= name.StartsWith("journal", StringComparison.Ordinal);
                if (areListed && offset >= RecordLogHeader.Size && name.StartsWith("catalog", StringComparison.Ordinal) && beside is null)
                {
                    beside = WriteAsync(one, 200, head);
                    beside.GetAwaiter().GetResult();
                }
            },
        };
        await using BlockStore two = await _two.OpenAsync();
        Assert.NotNull(beside);
        byte[] target = new byte[BlockLimits.MaxBlockBytes];
        foreach (Head known in two.Heads)
        {
            Assert.True((await two.OpenBlocks(two.Realm, 0).ReadAsync(known.Root, BlockType.VolumeRoot, target, CancellationToken.None)).IsFound, $"the root of sequence {known.Sequence}");
        }

        Assert.True(await two.MeetOthersAsync(CancellationToken.None));
        (List<(Score Score, byte[] Bytes)> blocks, Head newest) = await beside!;
        Assert.Contains(two.Heads, known => known.Root == newest.Root);
        await StoreFixture.AssertAllAsync(two, blocks);
    }

    /// <summary>Seed 1275.</summary>
    [Fact]
    public async Task A_reader_meets_a_holder_that_its_catalog_does_not_know_beside_one_that_only_another_device_knows()
    {
        await using (BlockStore one = await _one.OpenAsync())
        {
            await WriteAsync(one, 0);
        }

        FolderHolder.Create(_one.Disk, "/theirs", _one.Random).Dispose();
        FolderHolder.Create(_one.Disk, "/ours", _one.Random).Dispose();
        _two.HolderPaths.Add("/theirs");
        List<(Score Score, byte[] Bytes)> blocks;
        await using (BlockStore two = await _two.OpenAsync())
        {
            (blocks, _) = await WriteAsync(two, 100);
            Assert.Contains(two.Catalog.Arenas(), static arena => arena.Fragments.Any(static fragment => fragment.Holder == 3));
        }

        _one.HolderPaths.Add("/ours");
        await using BlockStore reader = await _one.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(reader, blocks);
    }

    [Fact]
    public async Task A_block_is_not_called_missing_while_the_arena_that_may_have_it_cannot_be_read()
    {
        List<(Score Score, byte[] Bytes)> blocks;
        await using (BlockStore one = await _one.OpenAsync())
        {
            (blocks, _) = await WriteAsync(one, 0);
        }

        _one.HolderPaths[0] = _one.HolderPaths[1] = "/nowhere";
        await using (BlockStore reader = await _one.OpenAsync(StoreAccess.Read))
        {
            DamagedBlockException told = await Assert.ThrowsAsync<DamagedBlockException>(() => StoreFixture.AssertAllAsync(reader, blocks));
            Assert.Contains("cannot be", told.Message, StringComparison.Ordinal);
        }
    }
}
