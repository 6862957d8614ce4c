using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Tests.Store;

public sealed class BlockStoreTests
{
    private static readonly VolumeId s_volume = new(new Bytes16(0, 7));

    [Fact]
    public async Task Read_finds_blocks_while_open_while_sealed_and_after_a_restart()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 100);
            await StoreFixture.AssertAllAsync(store, written);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
            await StoreFixture.AssertAllAsync(store, written);
            Assert.NotEmpty(store.Catalog.Arenas());
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(store, written);
            Assert.Equal(1ul, Assert.Single(store.Heads).Sequence);
            Assert.True(store.PendingCount > 0, "the rest below 1 MiB stays in the journal");
        }
    }

    [Fact]
    public async Task An_equal_block_is_stored_once_also_after_a_restart_and_from_the_journal()
    {
        var fixture = new StoreFixture();
        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.WriteAsync(store, 0, 60);
            await store.FlushAsync(CancellationToken.None);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            IBlockStore blocks = store.OpenBlocks(store.Realm, null);
            for (int i = 0; i < 60; i++)
            {
                Assert.False((await blocks.WriteAsync(BlockType.Data, StoreFixture.Block(i, 20_000), CancellationToken.None)).IsNew, $"block {i}");
            }

            Assert.True((await blocks.WriteAsync(BlockType.TableLeaf, StoreFixture.Block(1, 20_000), CancellationToken.None)).IsNew, "another type is another block");
        }
    }

    /// <summary>A block that does not compress may be longer than the piece that its arena would be sealed in: every piece must take one.</summary>
    [Theory(Timeout = 60_000)]
    [InlineData(BlockLimits.MaxBlockBytes, false)]
    [InlineData(300 * 1024, true)]
    [InlineData(256 * 1024, true)]
    [InlineData(250 * 1024, true)]
    public async Task A_block_longer_than_the_next_piece_is_sealed_and_read(int bytes, bool sealRest)
    {
        var fixture = new StoreFixture(arenaBytes: 4 * 1024 * 1024);
        List<(Score Score, byte[] Bytes)> written = [];
        await using (BlockStore store = await fixture.OpenAsync())
        {
            IBlockStore blocks = store.OpenBlocks(store.Realm, null);
            byte[] noise = new byte[bytes];
            for (int i = 0; i < 3; i++)
            {
                new Random(i).NextBytes(noise);
                written.Add(((await blocks.WriteAsync(BlockType.Data, noise, CancellationToken.None)).Score, [.. noise]));
                written.AddRange(await StoreFixture.WriteAsync(store, 10 + i, 1, 60_000));
                await (sealRest ? store.SealAllAsync(CancellationToken.None) : store.FlushAsync(CancellationToken.None));
                await StoreFixture.AssertAllAsync(store, written);
            }

            Assert.InRange(store.Catalog.Arenas().Count, 1, 6);
            Assert.All(store.Catalog.Arenas(), static arena => Assert.NotEqual(0, (int)arena.ClumpCount));
        }

        await using BlockStore again = await fixture.OpenAsync();
        await StoreFixture.AssertAllAsync(again, written);
    }

    /// <summary>The fifth kind of arena and those after it are open at 1 MiB, which a block of the greatest length does not fit.</summary>
    [Fact(Timeout = 60_000)]
    public async Task The_longest_block_has_room_in_a_fifth_kind_of_arena()
    {
        var fixture = new StoreFixture(arenaBytes: 16 * 1024 * 1024, sessionCount: 5);
        byte[] noise = new byte[BlockLimits.MaxBlockBytes];
        new Random(5).NextBytes(noise);
        List<(DomainId Domain, Score Score)> written = [];
        await using (BlockStore store = await fixture.OpenAsync())
        {
            foreach (KeyDomain domain in fixture.Keys.Domains)
            {
                for (int i = 0; i < 2; i++)
                {
                    noise[0] = (byte)written.Count;
                    written.Add((domain.Id, (await store.OpenBlocks(domain.Id, null).WriteAsync(BlockType.Data, noise, CancellationToken.None)).Score));
                    await store.OpenBlocks(domain.Id, null).WriteAsync(BlockType.Data, StoreFixture.Block(i, 60_000), CancellationToken.None);
                }
            }

            await store.SealAllAsync(CancellationToken.None);
        }

        await using BlockStore again = await fixture.OpenAsync();
        foreach ((DomainId domain, Score score) in written)
        {
            Assert.True((await again.OpenBlocks(domain, null).ReadAsync(score, BlockType.Data, noise, CancellationToken.None)).IsFound);
        }
    }

    [Fact]
    public async Task A_number_beyond_counting_in_a_name_at_a_holder_stops_nobody()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written;
        Head head;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 30);
            head = await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        }

        string[] names = [.. fixture.Disk.Files().Where(static name => name.Contains("/objects/", StringComparison.Ordinal) && name[^17] == '-')];
        Assert.NotEmpty(names);
        foreach (string name in names)
        {
            fixture.Disk.Plant(name[..^16] + "ffffffffffffffff", fixture.Disk.ReadAll(name));
        }

        for (int start = 0; start < 2; start++)
        {
            await using BlockStore store = await fixture.OpenAsync();
            written.AddRange(await StoreFixture.WriteAsync(store, 100 + (start * 100), 30));
            head = await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), head);
            await StoreFixture.AssertAllAsync(store, written);
            Assert.DoesNotContain(store.Lag(), static line => line.Length > 0);
        }
    }

    [Fact]
    public async Task Many_writers_and_readers_agree()
    {
        var fixture = new StoreFixture();
        await using BlockStore store = await fixture.OpenAsync();
        await Task.WhenAll(Enumerable.Range(0, 6).Select(worker => Task.Run(async () =>
        {
            for (int round = 0; round < 4; round++)
            {
                // Neighbours write the same blocks at the same time.
                List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, (worker / 2 * 100) + (round * 20), 20);
                await StoreFixture.AssertAllAsync(store, written);
                if (round == 2)
                {
                    await store.FlushAsync(CancellationToken.None);
                }
            }
        })));
        await store.FlushAsync(CancellationToken.None);
        int clumps = store.PendingCount + store.Catalog.Arenas().Sum(static arena => arena.ClumpCount);
        Assert.Equal(3 * 80, clumps);
    }

    [Fact]
    public async Task A_second_writer_is_told_who_the_first_is_and_a_reader_is_let_in()
    {
        var fixture = new StoreFixture();
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 40);
        await StoreFixture.CommitAsync(store, s_volume, [], null);
        StoreException refused = await Assert.ThrowsAsync<StoreException>(() => fixture.OpenAsync());
        Assert.Equal(StoreProblem.Locked, refused.Problem);
        Assert.Contains("the test", refused.Message, StringComparison.Ordinal);
        await using BlockStore reader = await fixture.OpenAsync(StoreAccess.Read);
        await StoreFixture.AssertAllAsync(reader, written);
        Assert.Single(reader.Heads);
        StoreException readOnly = await Assert.ThrowsAsync<StoreException>(() => StoreFixture.WriteAsync(reader, 0, 1));
        Assert.Equal(StoreProblem.ReadOnly, readOnly.Problem);
    }

    [Fact]
    public async Task A_commit_that_names_an_old_head_changes_nothing()
    {
        var fixture = new StoreFixture();
        await using BlockStore store = await fixture.OpenAsync();
        Head first = await StoreFixture.CommitAsync(store, s_volume, [], null);
        Head second = await StoreFixture.CommitAsync(store, s_volume, [], first);
        StoreException refused = await Assert.ThrowsAsync<StoreException>(() => StoreFixture.CommitAsync(store, s_volume, [], first));
        Assert.Equal(StoreProblem.HeadMoved, refused.Problem);
        Assert.Equal(second, Assert.Single(store.Heads));
    }

    [Fact]
    public async Task Everything_reappears_when_the_state_folder_is_lost()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 100);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        }

        foreach (string path in fixture.Disk.Files().Where(static path => path.StartsWith("state/", StringComparison.Ordinal)).ToList())
        {
            fixture.Disk.Remove(path);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(store, written);
            Assert.Single(store.Heads);
        }
    }

    [Fact]
    public async Task Arenas_are_adopted_from_fragments_when_every_catalog_is_lost()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 100);
            await StoreFixture.CommitAsync(store, s_volume, [], null);
        }

        foreach (string path in fixture.Disk.Files().Where(static path => path.Contains("catalog", StringComparison.Ordinal)).ToList())
        {
            fixture.Disk.Remove(path);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(store, written);
        }
    }

    [Fact]
    public async Task What_another_account_keeps_at_a_holder_is_told_in_one_line_and_left_alone()
    {
        var first = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await first.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 100);
            await StoreFixture.CommitAsync(store, s_volume, [], null);
            await store.SealAllAsync(CancellationToken.None);
        }

        var second = new StoreFixture(seed: 2) { Disk = first.Disk };
        second.Options = second.Options with { StateFolder = "/other" };
        second.Disk.CreateDirectory("/other");
        await using (BlockStore store = await second.OpenAsync())
        {
            Assert.Equal(0, await store.AdoptUnknownAsync(CancellationToken.None));
            Assert.Contains("arena files", Assert.Single(second.Notes, static line => line.Contains("left alone", StringComparison.Ordinal)), StringComparison.Ordinal);
            await StoreFixture.WriteAsync(store, 500, 60);
            await store.SealAllAsync(CancellationToken.None);
        }

        await using (BlockStore store = await first.OpenAsync())
        {
            await StoreFixture.AssertAllAsync(store, written);
        }
    }

    [Fact]
    public async Task An_old_state_folder_put_back_deletes_nothing_and_the_newer_head_reappears()
    {
        var fixture = new StoreFixture();
        var volume = s_volume;
        List<(Score Score, byte[] Bytes)> first, second;
        Head head;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            first = await StoreFixture.WriteAsync(store, 0, 50);
            head = await StoreFixture.CommitAsync(store, volume, first.Select(static item => item.Score), null);
        }

        Dictionary<string, byte[]> old = fixture.Disk.Files().Where(static path => path.StartsWith("state/", StringComparison.Ordinal))
            .ToDictionary(static path => path, path => fixture.Disk.ReadAll(path));
        await using (BlockStore store = await fixture.OpenAsync())
        {
            second = await StoreFixture.WriteAsync(store, 1000, 100);
            await StoreFixture.CommitAsync(store, volume, second.Select(static item => item.Score), head);
        }

        foreach (string path in fixture.Disk.Files().Where(static path => path.StartsWith("state/", StringComparison.Ordinal)).ToList())
        {
            fixture.Disk.Remove(path);
        }

        foreach ((string path, byte[] bytes) in old)
        {
            fixture.Disk.Plant(path, bytes);
        }

        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(2ul, Assert.Single(store.Heads).Sequence);
            await StoreFixture.AssertAllAsync(store, [.. first, .. second]);
        }
    }

    [Fact]
    public async Task With_three_places_any_one_may_vanish_and_writing_goes_on()
    {
        var fixture = new StoreFixture(holderCount: 3);
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            Assert.Equal(1, store.DefaultSurvive);
            written = await StoreFixture.WriteAsync(store, 0, 100);
            await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        }

        for (int lost = 0; lost < 3; lost++)
        {
            var again = new StoreFixture(holderCount: 3) { Disk = fixture.Disk.Recover(lost), Keys = fixture.Keys };
            foreach (string path in again.Disk.Files().Where(path => path.StartsWith($"holder{lost}/", StringComparison.Ordinal)).ToList())
            {
                again.Disk.Remove(path);
            }

            await using BlockStore store = await again.OpenAsync();
            await StoreFixture.AssertAllAsync(store, written);
            await StoreFixture.AssertAllAsync(store, await StoreFixture.WriteAsync(store, 500, 40));
            await store.FlushAsync(CancellationToken.None);
            Assert.Single(store.Heads);
            Assert.NotEmpty(store.Lag());
        }
    }

    [Fact]
    public async Task Reclaim_trashes_what_no_head_wants_and_keeps_the_rest_readable()
    {
        var fixture = new StoreFixture();
        await using BlockStore store = await fixture.OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 200);
        Head head = await StoreFixture.CommitAsync(store, s_volume, written.Select(static item => item.Score), null);
        List<(Score Score, byte[] Bytes)> wanted = [.. written.Where(static (_, i) => i % 5 == 0)];
        await StoreFixture.CommitAsync(store, s_volume, wanted.Select(static item => item.Score), head);
        ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
        Assert.Equal(0, report.MissingBlocks);
        Assert.True(report.TrashedArenas > 0);
        Assert.True(report.WaitingBytes > 0);
        Assert.Equal(0, report.FreedBytes);
        await StoreFixture.AssertAllAsync(store, wanted);
        Assert.Contains(store.Catalog.Arenas(), static arena => arena.State == ArenaState.Trashed);

        for (int day = 0; day < 8; day++)
        {
            fixture.Clock.Advance(TimeSpan.FromDays(1));
            await store.DisposeAsync();
            await using BlockStore next = await fixture.OpenAsync();
            ReclaimReport later = await new Reclaimer(next, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
            await StoreFixture.AssertAllAsync(next, wanted);
            Assert.Equal(day >= 6, later.FreedBytes > 0 || day == 7);
        }
    }

    [Fact]
    public async Task A_clock_that_jumps_forward_empties_no_trash()
    {
        var fixture = new StoreFixture();
        List<(Score Score, byte[] Bytes)> written;
        await using (BlockStore store = await fixture.OpenAsync())
        {
            written = await StoreFixture.WriteAsync(store, 0, 60);
            await StoreFixture.CommitAsync(store, s_volume, [], null);
            await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
        }

        fixture.Clock.Advance(TimeSpan.FromDays(4000));
        await using (BlockStore store = await fixture.OpenAsync())
        {
            ReclaimReport report = await new Reclaimer(store, new ListWalker()).RunAsync(new ReclaimOptions(), null, CancellationToken.None);
            Assert.Equal(0, report.FreedBytes);
            Assert.True(report.WaitingBytes > 0);
        }
    }
}
