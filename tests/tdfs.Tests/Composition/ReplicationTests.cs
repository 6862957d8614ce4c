using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Tdfs.Tests.Composition;

/// <summary>What imports and mounts meet when too much of what was written waits for a place that is away.</summary>
public sealed class ReplicationTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-replication-").FullName;
    private readonly SeededRandom _random = new(8);
    private readonly SimulatedDisk _disk = new();
    private readonly ManualClock _clock = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Source => Path.Join(_folder, "source");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task An_import_ends_with_one_line_and_a_mount_is_full_until_the_place_is_back()
    {
        StoreKeys keys = Keys();
        foreach (string path in (string[])["/here", "/there"])
        {
            FolderHolder.Create(_disk, path, _random).Dispose();
        }

        await using (BlockStore first = await OpenAsync(keys))
        {
            await first.PublishAsync(Cancel); // the catalog knows both
        }

        _disk.Rename("/there/holder", "/there/holder-away");
        var said = new List<string>();
        await using BlockStore store = await OpenAsync(keys);
        using var bound = new ReplicationBound(store, TimeSpan.FromHours(12), _clock, said.Add);
        using var open = new OpenVolumes();
        StorageConfig config = StorageConfig.Parse("storage.toml", "[store]\nreplicate-within = \"12h\"\n"u8, _folder, _folder);
        Assert.Equal(TimeSpan.FromHours(12), config.ReplicateWithin);
        var volumes = new StoreVolumes(store, config, _disk, "/state", SecretBytes.Random(_random, 32), _random, _clock, null, bound);
        Directory.CreateDirectory(Source);
        await File.WriteAllBytesAsync(Path.Join(Source, "one"), _random.Bytes(300_000), Cancel);
        await ImportAsync(volumes, "one"); // a place that is away holds up nobody at first
        var opener = new VolumeOpener(store, config, _disk, _random, _clock, said.Add, open, bound);
        await using OpenVolumes.Use use = await opener.OpenAsync("mounted", creates: true, "", "here", Cancel);
        Assert.True(AvailableBytes(use) > 0);

        _clock.Advance(TimeSpan.FromHours(13));
        Assert.Equal(0, AvailableBytes(use));
        await File.WriteAllBytesAsync(Path.Join(Source, "two"), _random.Bytes(300_000), Cancel);
        Task refused = ImportAsync(volumes, "two");
        await AdvanceUntilAsync(refused);
        (ExitCode code, string line) = ErrorHandler.Explain(await Assert.ThrowsAnyAsync<Exception>(() => refused));
        Assert.Equal(ExitCode.DiskFailed, code);
        Assert.Matches("^[0-9.]+ [KM]iB, the oldest for 13 hours, is not yet at the places that were promised, and replicate-within is 12 hours: nothing more is taken in until it is; ", line);
        Assert.Contains("writers wait until it is", Assert.Single(said), StringComparison.Ordinal);
        Assert.Equal(["one"], (await volumes.SnapshotsAsync("v", Cancel)).Select(static each => each.Label));

        _disk.Rename("/there/holder-away", "/there/holder");
        store.ChangeHolders(Configured());
        var scrubber = new Scrubber(store);
        foreach (Blocks.Catalogs.ArenaRecord arena in scrubber.Homeless())
        {
            await scrubber.PlaceAsync(arena, Cancel);
        }

        Task again = ImportAsync(volumes, "two");
        await AdvanceUntilAsync(again);
        await again;
        Assert.Equal(["one", "two"], (await volumes.SnapshotsAsync("v", Cancel)).Select(static each => each.Label));
        Assert.True(AvailableBytes(use) > 0);
        Assert.Equal(2, said.Count);
    }

    private static long AvailableBytes(OpenVolumes.Use use)
    {
        Assert.Equal(FileError.None, use.View.Present.GetStatistics(out VolumeStatistics statistics));
        return statistics.AvailableBytes;
    }

    private Task ImportAsync(StoreVolumes volumes, string label) => volumes.ImportAsync(
        new ImportRequest { Folder = Source, Volume = "v", Label = label, Rules = new ImportConfig { Exclude = [] } }, new Silent(), Cancel).AsTask();

    private async Task AdvanceUntilAsync(Task waiting)
    {
        for (int i = 0; i < 500 && !waiting.IsCompleted; i++)
        {
            _clock.Advance(TimeSpan.FromSeconds(1));
            await Task.WhenAny(waiting, Task.Delay(20, Cancel));
        }
    }

    private async Task<BlockStore> OpenAsync(StoreKeys keys)
    {
        _disk.CreateDirectory("/state");
        var options = new StoreOptions { StateFolder = "/state", ArenaBytes = 1024 * 1024, CompressionLevel = 1 };
        return await BlockStore.OpenAsync(_disk, options, keys, Configured(), static () => new MemoryIndex(), _clock, _random, StoreAccess.Write, "the test", null, Cancel);
    }

    private ConfiguredHolder[] Configured() =>
    [
        .. ((string[])["/here", "/there"]).Select(path => _disk.FileExists(path + "/holder")
            ? new ConfiguredHolder(path[1..], path, FolderHolder.Open(_disk, path, _random), null)
            : new ConfiguredHolder(path[1..], path, null, "away")),
    ];

    private StoreKeys Keys()
    {
        AccountKeys account = AccountKeys.FromEntropy(_random.Bytes(32));
        DeviceKeys device = DeviceKeys.Create(_random);
        KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        return new StoreKeys
        {
            Device = 1,
            DeviceKeys = device,
            Certificate = DeviceCertificate.Issue(account, device, 1, "test", 0),
            Realm = realm,
            Domains = [realm],
            Tag = account.Tag,
            AnchorKey = account.AnchorKey,
            AccountPublicKey = account.PublicKey.ToArray(),
            RecoveryPublicKey = account.RecoveryPublicKey.ToArray(),
        };
    }

    private sealed class Silent : IProgressSink
    {
        public void Report(ProgressState state)
        {
        }

        public void Warn(string message)
        {
        }
    }
}
