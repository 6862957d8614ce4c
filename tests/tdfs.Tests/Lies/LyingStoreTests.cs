using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Tests.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Tests;
using TokTok.Storage.Tdfs.Composition;

namespace TokTok.Storage.Tdfs.Tests.Lies;

/// <summary>A store over four nodes of which one lies: every block comes back as it was written, whatever the lie, and nothing of it stays behind.</summary>
public sealed class LyingStoreTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(Lie.WrongBytes)]
    [InlineData(Lie.WrongBody)]
    [InlineData(Lie.BareBytes)]
    [InlineData(Lie.NothingThere)]
    [InlineData(Lie.CutsShort)]
    [InlineData(Lie.AddsAByte)]
    [InlineData(Lie.WrongForm)]
    [InlineData(Lie.FewHashes)]
    [InlineData(Lie.Crumbs)]
    [InlineData(Lie.Refuses)]
    [InlineData(Lie.Truncates)]
    [InlineData(Lie.Endless)]
    [InlineData(Lie.Promises10GiB)]
    public async Task A_reader_gets_the_bytes_that_were_written(Lie lie)
    {
        await using var world = await LyingWorld.StartAsync();
        List<(Score Score, byte[] Bytes)> written = await world.FillAsync();
        for (int liar = 0; liar < world.Nodes.Count; liar++)
        {
            await using BlockStore store = await world.OpenAsync();
            world.Nodes[liar].Lies.Lie = lie;
            await StoreFixture.AssertAllAsync(store, written);
            world.Nodes[liar].Lies.Lie = Lie.None;
        }

        await using BlockStore after = await world.OpenAsync();
        Assert.Empty((await new Scrubber(after).CheckAsync(true, null, Cancel)).Damaged);
    }

    [Theory(Timeout = 180_000)]
    [InlineData(Lie.WrongBytes)]
    [InlineData(Lie.BareBytes)]
    public async Task The_cache_keeps_no_lie(Lie lie)
    {
        await using var world = await LyingWorld.StartAsync();
        List<(Score Score, byte[] Bytes)> written = await world.FillAsync();
        world.Fixture.AreCached = true;
        using SecretBytes key = SecretBytes.Random(world.Fixture.Random, 32);
        WindowCache cache = WindowCache.TryOpen(world.Fixture.Disk, "/cache", key, WindowCache.LeastBytes, 0, world.Fixture.Random)!;
        world.Fixture.Options = world.Fixture.Options with { Cache = cache };
        await using (BlockStore store = await world.OpenAsync())
        {
            // One that has a data fragment, for parity is not read where nothing is wrong; of the full arena, for the other's end holds nothing that anyone asks for.
            ArenaRecord full = store.Catalog.Arenas().MaxBy(static arena => arena.ClumpCount)!;
            string first = store.HolderOf(full.Fragments[0].Holder)!.Address;
            LyingAnswers lies = world.Nodes[world.Fixture.HolderPaths.IndexOf(first)].Lies;
            lies.Lie = lie;
            while (!world.Fixture.Notes.Any(static note => note.Contains("was read from other fragments", StringComparison.Ordinal)))
            {
                await StoreFixture.AssertAllAsync(store, written); // a holder that is slow for a moment is read around, and tells no lie then
            }

            lies.Lie = Lie.None;
            await StoreFixture.AssertAllAsync(store, written);
        }

        // Where the lie lay in the cache, every read would go around it for ever.
        world.Fixture.Options = world.Fixture.Options with { Cache = WindowCache.TryOpen(world.Fixture.Disk, "/cache", key, WindowCache.LeastBytes, 0, world.Fixture.Random)! };
        world.Fixture.Notes.Clear();
        await using BlockStore after = await world.OpenAsync();
        await StoreFixture.AssertAllAsync(after, written);
        Assert.True(world.Fixture.Options.Cache!.State.Hits > 0);
        Assert.Empty(world.Fixture.Notes);
    }

    [Fact]
    public async Task Who_was_caught_is_read_last_and_still_read_where_it_must_be()
    {
        await using var world = await LyingWorld.StartAsync();
        List<(Score Score, byte[] Bytes)> written = await world.FillAsync();
        world.Fixture.Doubted = "/holder0";
        world.Nodes[0].Lies.Only = "read";
        await using (BlockStore store = await world.OpenAsync())
        {
            world.Nodes[0].Lies.Lie = Lie.WrongBytes;
            await StoreFixture.AssertAllAsync(store, written);
            Assert.Equal(0, world.Nodes[0].Lies.Requests);
            (int present, int survives) = await new Scrubber(store).LookAsync(store.Catalog.Arenas()[0], readAll: false, Cancel);
            Assert.Equal((3, 0), (present, survives)); // what it says that it has counts for nothing
        }

        world.Nodes[0].Lies.Lie = Lie.None;
        await using BlockStore needy = await world.OpenAsync();
        world.Nodes[1].Lies.Lie = Lie.Refuses;
        await StoreFixture.AssertAllAsync(needy, written);
    }

    [Theory]
    [InlineData(Lie.WrongForm)]
    [InlineData(Lie.Refuses)]
    [InlineData(Lie.Promises10GiB)]
    [InlineData(Lie.CutsShort)]
    public async Task An_account_is_found_beside_a_holder_that_lies(Lie lie)
    {
        await using var world = await LyingWorld.StartAsync();
        await world.FillAsync();
        IFragmentHolder[] holders = [.. await world.DialAsync()];
        world.Nodes[0].Lies.Lie = lie;
        List<string> notes = [];
        FoundAccount? found = await AccountFinder.FindAsync(world.Fixture.Account, holders, notes.Add, Cancel);
        Assert.NotNull(found?.Anchor);
        Assert.NotEmpty(notes);
        world.Nodes.ForEach(node => node.Lies.Lie = lie);
        await Assert.ThrowsAsync<DiskException>(async () => await AccountFinder.FindAsync(world.Fixture.Account, holders, notes.Add, Cancel));
    }
}

/// <summary>Four nodes, each a place, and a store over them that outlives one.</summary>
internal sealed class LyingWorld : IAsyncDisposable
{
    private const int NodeCount = 4;

    private readonly TestDevice _ann = new("ann");
    private readonly List<PeerHolder> _dialled = [];

    internal StoreFixture Fixture { get; } = new(NodeCount);

    internal List<ServedNode> Nodes { get; } = [];

    internal static async Task<LyingWorld> StartAsync()
    {
        var world = new LyingWorld();
        for (int i = 0; i < NodeCount; i++)
        {
            world.Nodes.Add(await ServedNode.StartAsync(world._ann.AsPeer(1L << 30)));
        }

        world.Fixture.Options = world.Fixture.Options with { Survive = 1 };
        return world;
    }

    internal async Task<List<PeerHolder>> DialAsync()
    {
        var holders = new List<PeerHolder>();
        foreach (ServedNode node in Nodes)
        {
            holders.Add(await node.OpenAsync(_ann));
        }

        _dialled.AddRange(holders);
        return holders;
    }

    internal async Task<BlockStore> OpenAsync()
    {
        var peers = new Queue<PeerHolder>(await DialAsync());
        Fixture.Wrap = _ => peers.Dequeue();
        BlockStore store = await Fixture.OpenAsync();
        PeerHolders.Teach(store);
        return store;
    }

    internal async Task<List<(Score Score, byte[] Bytes)>> FillAsync()
    {
        await using BlockStore store = await OpenAsync();
        List<(Score Score, byte[] Bytes)> written = await StoreFixture.WriteAsync(store, 0, 30);
        await store.SealAllAsync(TestContext.Current.CancellationToken);
        await store.PublishAsync(TestContext.Current.CancellationToken);
        return written;
    }

    public async ValueTask DisposeAsync()
    {
        _dialled.ForEach(static holder => holder.Dispose());
        foreach (ServedNode node in Nodes)
        {
            await node.DisposeAsync();
        }

        _ann.Dispose();
    }
}
