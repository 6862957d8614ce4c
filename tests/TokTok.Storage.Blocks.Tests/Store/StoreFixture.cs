using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Blocks.Tests.Store;

/// <summary>One account's store on a simulated disk, opened and opened again.</summary>
internal sealed class StoreFixture
{
    internal const string State = "/state";

    internal StoreFixture(int holderCount = 1, int seed = 1, int arenaBytes = 256 * 1024, int sessionCount = 0)
    {
        Random = new SeededRandom(seed);
        Disk = new SimulatedDisk();
        Account = AccountKeys.FromEntropy(Random.Bytes(32));
        DeviceKeys device = DeviceKeys.Create(Random);
        KeyDomain realm = KeyDomain.Create(DomainKind.Realm, Random);
        Keys = new StoreKeys
        {
            Device = 1,
            DeviceKeys = device,
            Certificate = DeviceCertificate.Issue(Account, device, 1, "test", 0),
            Realm = realm,
            Domains = [realm, .. Enumerable.Range(0, sessionCount).Select(_ => KeyDomain.Create(DomainKind.Session, Random))],
            Tag = Account.Tag,
            AnchorKey = Account.AnchorKey,
            AccountPublicKey = Account.PublicKey.ToArray(),
            RecoveryPublicKey = Account.RecoveryPublicKey.ToArray(),
        };
        Options = new StoreOptions { StateFolder = State, ArenaBytes = arenaBytes, SealAtFlushBytes = 1024 * 1024, CompressionLevel = 1 };
        Disk.CreateDirectory(State);
        for (int i = 0; i < holderCount; i++)
        {
            HolderPaths.Add($"/holder{i}");
            FolderHolder.Create(Disk, HolderPaths[i], Random).Dispose();
        }
    }

    internal SimulatedDisk Disk { get; set; }

    internal SeededRandom Random { get; set; }

    internal ManualClock Clock { get; } = new();

    internal AccountKeys Account { get; }

    internal StoreKeys Keys { get; set; }

    internal StoreOptions Options { get; set; }

    internal List<string> HolderPaths { get; } = [];

    /// <summary>By path, for those that have one.</summary>
    internal Dictionary<string, long> Quotas { get; } = [];

    /// <summary>By path, for those whose place is not a place of its own.</summary>
    internal Dictionary<string, string> Places { get; } = [];

    /// <summary>Paths of those that stand for peers: on other machines.</summary>
    internal HashSet<string> Elsewhere { get; } = [];

    /// <summary>By path, for those whose owner says where they lie; the rule is <see cref="StoreOptions.Rule"/>.</summary>
    internal Dictionary<string, string> Countries { get; } = [];

    internal List<string> Notes { get; } = [];

    internal MemoryIndex? Index { get; private set; }

    /// <summary>What makes a holder where there is none: by path, and whether one is absent there.</summary>
    internal Func<string, bool, IFragmentHolder?>? Make { get; set; }

    /// <summary>Whether what is read of the holders is kept by the store's cache.</summary>
    internal bool AreCached { get; set; }

    /// <summary>The one that was caught without what it is to keep.</summary>
    internal string? Doubted { get; set; }

    /// <summary>What the store is given in a holder's place, for tests that hold up or refuse its calls.</summary>
    internal Func<IFragmentHolder, IFragmentHolder>? Wrap { get; set; }

    internal async Task<BlockStore> OpenAsync(StoreAccess access = StoreAccess.Write)
    {
        var configured = new List<ConfiguredHolder>();
        foreach (string path in HolderPaths)
        {
            try
            {
                IFragmentHolder holder = FolderHolder.Open(Disk, path, Random);
                configured.Add(new ConfiguredHolder(Places.GetValueOrDefault(path, path), path, Wrap?.Invoke(holder) ?? holder, null) { Country = Countries.GetValueOrDefault(path), IsCached = AreCached, IsDoubted = Doubted == path, IsElsewhere = Elsewhere.Contains(path), QuotaBytes = Quotas.TryGetValue(path, out long quota) ? quota : null });
            }
            catch (Exception missing) when (missing is DiskException or DamagedFormatException)
            {
                configured.Add(new ConfiguredHolder(path, path, null, missing.Message) { Country = Countries.GetValueOrDefault(path), IsElsewhere = Elsewhere.Contains(path), Make = Make is null ? null : isAbsent => Make(path, isAbsent) });
            }
        }

        return await BlockStore.OpenAsync(
            Disk, Options, Keys, Options.Rule.Apply(configured), () => Index = new MemoryIndex(), Clock, Random, access, "the test", line => Notes.Add(line), CancellationToken.None);
    }

    /// <summary>The holders of an open store as they would be configured, to be changed and handed to it.</summary>
    internal static List<ConfiguredHolder> ConfiguredOf(BlockStore store) =>
        [.. store.Holders.Where(static holder => !holder.IsGone).Select(static holder => new ConfiguredHolder(holder.Place, holder.Address, holder.Holder, holder.Problem) { QuotaBytes = holder.QuotaBytes, KnownId = holder.Id, IsElsewhere = holder.IsElsewhere })];

    /// <summary>Cuts the power; what was not synced may be lost.</summary>
    internal void PowerCut(int seed) => Disk = Disk.Recover(seed);

    internal static byte[] Block(int seed, int bytes)
    {
        byte[] block = new byte[bytes];
        new Random(seed).NextBytes(block.AsSpan(0, bytes / 2)); // half noise, half zeros: compresses to half
        return block;
    }

    internal static async Task<List<(Score Score, byte[] Bytes)>> WriteAsync(BlockStore store, int first, int count, int bytes = 20_000)
    {
        IBlockStore blocks = store.OpenBlocks(store.Realm, null);
        var written = new List<(Score Score, byte[] Bytes)>();
        for (int i = first; i < first + count; i++)
        {
            byte[] block = Block(i, bytes);
            written.Add(((await blocks.WriteAsync(BlockType.Data, block, CancellationToken.None)).Score, block));
        }

        return written;
    }

    internal static async Task AssertAllAsync(BlockStore store, IEnumerable<(Score Score, byte[] Bytes)> written)
    {
        IBlockStore blocks = store.OpenBlocks(store.Realm, 0);
        byte[] target = new byte[BlockLimits.MaxBlockBytes];
        foreach ((Score score, byte[] bytes) in written)
        {
            BlockRead read = await blocks.ReadAsync(score, BlockType.Data, target, CancellationToken.None);
            Assert.True(read.IsFound, $"block {score} is missing");
            Assert.True(bytes.AsSpan().SequenceEqual(target.AsSpan(0, read.Bytes)), $"block {score} came back different");
        }
    }

    /// <summary>Commits a head whose root is a block that lists the scores it wants.</summary>
    internal static async Task<Head> CommitAsync(BlockStore store, VolumeId volume, IEnumerable<Score> wanted, Head? replaces)
    {
        Score[] scores = [.. wanted];
        byte[] root = new byte[scores.Length * Score.Size];
        for (int i = 0; i < scores.Length; i++)
        {
            scores[i].Write(root.AsSpan(i * Score.Size));
        }

        BlockWrite write = await store.OpenBlocks(store.Realm, null).WriteAsync(BlockType.VolumeRoot, root, CancellationToken.None);
        Head next = store.NextHead(volume, "test", store.Realm, replaces is null ? [] : [replaces]);
        return await store.CommitAsync(next with { Root = write.Score }, CancellationToken.None);
    }
}

/// <summary>Walks the roots that the fixture commits: a list of scores.</summary>
internal sealed class ListWalker : IRootWalker
{
    public async ValueTask MarkAsync(Head head, IBlockStore blocks, IBlockMarker marker, CancellationToken cancel)
    {
        if (!marker.Mark(head.Root, BlockType.VolumeRoot))
        {
            return;
        }

        byte[] root = new byte[BlockLimits.MaxBlockBytes];
        BlockRead read = await blocks.ReadAsync(head.Root, BlockType.VolumeRoot, root, cancel);
        for (int offset = 0; offset < read.Bytes; offset += Score.Size)
        {
            marker.Mark(Score.Read(root.AsSpan(offset)), BlockType.Data);
        }
    }
}
