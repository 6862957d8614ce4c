using System.Text;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Testing;
using ChangeKind = TokTok.Storage.Tdfs.Facades.ChangeKind;
using ImportResult = TokTok.Storage.Tdfs.Facades.ImportResult;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Tdfs.Tests.Composition;

/// <summary>A real folder through a store on a simulated disk, and back.</summary>
public sealed class StoreVolumesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-volumes-").FullName;
    private readonly SeededRandom _random = new(7);
    private readonly SimulatedDisk _disk = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Source => Path.Join(_folder, "source");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task What_is_imported_is_listed_compared_restored_and_forgotten()
    {
        await using BlockStore store = await OpenAsync();
        StoreVolumes volumes = Volumes(store);
        byte[] photo = _random.Bytes(300_000);
        Directory.CreateDirectory(Path.Join(Source, "sub"));
        await File.WriteAllBytesAsync(Path.Join(Source, "sub", "photo"), photo, Cancel);
        ImportResult first = await ImportAsync(volumes, "one");
        await File.WriteAllTextAsync(Path.Join(Source, "note"), "new", Cancel);
        ImportResult second = await ImportAsync(volumes, "two");

        Assert.Equal((1, 2), (first.Snapshot.Number, second.Snapshot.Number));
        Assert.Empty(second.Problems);
        Assert.Equal(["one", "two"], (await volumes.SnapshotsAsync(null, Cancel)).Select(each => each.Label));
        Assert.Equal(["note", "sub", "sub/photo"], await PathsAsync(volumes.ListAsync("latest", [], true, Cancel)));
        Assert.Equal(["sub/photo"], await PathsAsync(volumes.ListAsync("v@1", "/sub"u8.ToArray(), false, Cancel)));
        List<ChangeInfo> changes = [];
        await foreach (ChangeInfo change in volumes.DiffAsync("one", "v@two", [], Cancel))
        {
            changes.Add(change);
        }

        Assert.Equal([(ChangeKind.Added, "note")], changes.Select(each => (each.Kind, Encoding.UTF8.GetString(each.Path))));

        string target = Path.Join(_folder, "target");
        RestoreResult restored = await volumes.RestoreAsync(
            new RestoreRequest { Snapshot = "v@latest", Path = [], Target = target, Overwrite = Overwrite.Never, Verify = true }, new Silent(), Cancel);
        Assert.Empty(restored.DamagedPaths);
        Assert.Equal((2, 0), (restored.FileCount, restored.SkippedFileCount));
        RestoreResult again = await volumes.RestoreAsync(
            new RestoreRequest { Snapshot = "v@latest", Path = [], Target = target, Overwrite = Overwrite.Never }, new Silent(), Cancel);
        Assert.Equal((0, 2), (again.FileCount, again.SkippedFileCount)); // a file is restored or was there, not both
        Assert.Equal(photo, await File.ReadAllBytesAsync(Path.Join(target, "sub", "photo"), Cancel));

        HealthInfo health = await volumes.HealthAsync("latest", [], false, new Silent(), Cancel);
        Assert.True(health.BlockCount > 0);
        Assert.Equal(health.BlockCount, health.HealthyBlockCount);

        ForgetResult forgotten = await volumes.ForgetAsync(new ForgetRequest { Snapshots = ["one"] }, Cancel);
        Assert.Equal(["one"], forgotten.Forgotten.Select(each => each.Label));
        Assert.Equal(["two"], (await volumes.SnapshotsAsync("v", Cancel)).Select(each => each.Label));

        // A number is given out once: it neither moves nor comes again.
        Assert.Equal(2, Assert.Single(await volumes.SnapshotsAsync("v", Cancel)).Number);
        await volumes.ForgetAsync(new ForgetRequest { Snapshots = ["v@2"] }, Cancel);
        _disk.CreateDirectory("/elsewhere"); // without the stat cache, which says that its snapshots are gone
        Assert.Equal(3, (await ImportAsync(Volumes(store, "/elsewhere"), "three")).Snapshot.Number);
    }

    [Theory]
    [InlineData("nobody@latest")]
    [InlineData("v@9")]
    [InlineData("v@")]
    [InlineData("2026-11-99")]
    [InlineData("abcd")]
    public async Task An_unknown_snapshot_is_not_found(string name)
    {
        await using BlockStore store = await OpenAsync();
        StoreVolumes volumes = Volumes(store);
        Directory.CreateDirectory(Source);
        await ImportAsync(volumes, "one");
        UserError error = await Assert.ThrowsAsync<UserError>(() => volumes.CatAsync(name, "x"u8.ToArray(), Stream.Null, Cancel).AsTask());
        Assert.Equal(ExitCode.NotFound, error.Code);
    }

    /// <summary>A time without a zone is the one that `tdfs snapshots` shows. Of several that begin so the newest is meant, except to forget, and except across volumes.</summary>
    [Fact]
    public async Task A_day_means_its_newest_snapshot_in_the_zone_that_lists_show()
    {
        await using BlockStore store = await OpenAsync();
        var clock = new EasternClock { Now = new DateTimeOffset(2026, 11, 20, 20, 0, 0, TimeSpan.Zero) }; // 05:00 of the 21st there
        StoreVolumes volumes = Volumes(store, clock: clock);
        Directory.CreateDirectory(Source);
        foreach (string label in (string[])["one", "two"])
        {
            await File.WriteAllTextAsync(Path.Join(Source, label), label, Cancel);
            await ImportAsync(volumes, label);
            clock.Now += TimeSpan.FromHours(1);
        }

        Assert.Equal(["one", "two"], await PathsAsync(volumes.ListAsync("2026-11-21", [], false, Cancel)));
        Assert.Equal(["one"], await PathsAsync(volumes.ListAsync("v@2026-11-21 05", [], false, Cancel)));
        Assert.Equal(["one"], await PathsAsync(volumes.ListAsync("v@2026-11-20T20:00Z", [], false, Cancel)));
        Assert.Equal(ExitCode.NotFound, (await Assert.ThrowsAsync<UserError>(() => PathsAsync(volumes.ListAsync("2026-11-20", [], false, Cancel)))).Code);
        UserError which = await Assert.ThrowsAsync<UserError>(async () => await volumes.ForgetAsync(new ForgetRequest { Snapshots = ["2026-11-21"] }, Cancel));
        Assert.Equal("2026-11-21: found 2 snapshots, expected one; say which, such as v@2 or v@1", which.Message);
        await ImportAsync(volumes, "three", "w");
        which = await Assert.ThrowsAsync<UserError>(() => PathsAsync(volumes.ListAsync("2026-11-21", [], false, Cancel)));
        Assert.Equal("2026-11-21: found 3 snapshots, expected one; say which, such as w@1 or v@2 or v@1", which.Message);
        Assert.Equal(["one", "two"], await PathsAsync(volumes.ListAsync("v@2026-11-21", [], false, Cancel)));
    }

    [Fact]
    public async Task A_volume_with_a_damaged_root_is_named_and_the_others_are_listed()
    {
        Directory.CreateDirectory(Source);
        await File.WriteAllBytesAsync(Path.Join(Source, "file"), _random.Bytes(100_000), Cancel);
        KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        FolderHolder.Create(_disk, "/holder", _random).Dispose();
        StoreKeys keys = Keys(realm);
        HashSet<string> others;
        await using (BlockStore store = await OpenAsync(keys, "/state"))
        {
            await ImportAsync(Volumes(store), "one");
            await store.SealAllAsync(Cancel);
            others = [.. Fragments()];
            Assert.NotEmpty(others);
            using Volume second = Volume.Create(store, "second", realm.Id, _random);
            var root = new Entry { Type = EntryType.Directory, FileId = 1, Mode = 0x1ed };
            await second.AddSnapshotAsync(new SnapshotRecord { Id = SnapshotId.New(_random), TimeNs = 1, Root = root }, null, null, Cancel);
            await store.SealAllAsync(Cancel);
        }

        // The journal goes too: it forgets what arenas hold only when it is written anew.
        foreach (string lost in Fragments().Where(fragment => !others.Contains(fragment)).Concat(_disk.Files().Where(static file => file.Contains("/journal/", StringComparison.Ordinal))).ToList())
        {
            _disk.Delete(lost);
        }

        await using (BlockStore store = await OpenAsync(keys, "/state"))
        {
            _disk.CreateDirectory("/no-caches");
            StoreVolumes volumes = Volumes(store, "/no-caches");
            Assert.Equal("one", Assert.Single(await volumes.SnapshotsAsync(null, Cancel)).Label);
            UnreadableVolume damaged = Assert.Single(volumes.UnreadableVolumes);
            Assert.Equal(("second", true), (damaged.Name, damaged.IsDamaged));
            Assert.Equal(["file"], await PathsAsync(volumes.ListAsync("latest", [], true, Cancel)));
            UserError missing = await Assert.ThrowsAsync<UserError>(() => volumes.CatAsync("two", "x"u8.ToArray(), Stream.Null, Cancel).AsTask());
            Assert.Equal(ExitCode.Damaged, missing.Code);
            Assert.Contains("volume second is damaged and was not looked through", missing.Message, StringComparison.Ordinal);
            await Assert.ThrowsAnyAsync<Exception>(() => volumes.SnapshotsAsync("second", Cancel).AsTask());
        }

        IEnumerable<string> Fragments() => _disk.Files().Where(static file => file.StartsWith("holder/fragments/", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Two_volumes_of_one_name_are_told_apart_in_the_same_way_by_every_state_folder()
    {
        Directory.CreateDirectory(Source);
        await File.WriteAllTextAsync(Path.Join(Source, "file"), "mine", Cancel);
        StoreKeys keys = Keys(KeyDomain.Create(DomainKind.Realm, _random));
        FolderHolder.Create(_disk, "/holder", _random).Dispose();
        await using (BlockStore store = await OpenAsync(keys, "/one"))
        {
            await ImportAsync(Volumes(store, "/one"), "mine");
        }

        // Made by a copy that did not see the first.
        VolumeId first;
        VolumeId second;
        await using (BlockStore store = await OpenAsync(keys, "/two"))
        {
            first = Assert.Single(store.Heads).Volume;
            using Volume volume = Volume.Create(store, "v", store.Realm, _random);
            var root = new Entry { Type = EntryType.Directory, FileId = 1, Mode = 0x1ed };
            await volume.AddSnapshotAsync(new SnapshotRecord { Id = SnapshotId.New(_random), TimeNs = 1, Root = root, Labels = ["theirs"] }, null, null, Cancel);
            second = volume.Root.Id;
        }

        VolumeId named = new[] { first, second }.OrderBy(static id => id.ToString(), StringComparer.Ordinal).First();
        VolumeId other = named == first ? second : first;
        string name = $"v ({other.ToString()[..8]})";
        foreach (string state in (string[])["/one", "/two", "/three"])
        {
            await using BlockStore store = await OpenAsync(keys, state);
            StoreVolumes volumes = Volumes(store, state);
            Assert.Equal(["v", name], Volume.Names(store));
            Assert.Equal(named, store.Heads.Single(static head => head.VolumeName == "v").Volume);
            string mine = first == named ? "v" : name;
            string theirs = second == named ? "v" : name;
            Assert.Contains("mine", (await volumes.SnapshotsAsync(mine, Cancel)).Select(static each => each.Label));
            Assert.Equal(["theirs"], (await volumes.SnapshotsAsync(theirs, Cancel)).Select(static each => each.Label));
            Assert.Equal(["file"], await PathsAsync(volumes.ListAsync(mine + "@mine", [], true, Cancel)));
            Assert.Empty(await PathsAsync(volumes.ListAsync(theirs + "@theirs", [], true, Cancel)));

            // A change of the one with the longer name leaves the names as they are.
            using Volume longer = (await Volume.TryOpenAsync(store, name, Cancel))!;
            await longer.EditAsync(static root => ValueTask.FromResult(root with { NextSnapshot = root.NextSnapshot + 1 }), Cancel);
            Assert.Equal(name, longer.Head!.VolumeName);
            Assert.Equal(["v", name], Volume.Names(store));
            Assert.Equal(["v", "v"], store.Catalog.Heads().Select(static signed => signed.Head.VolumeName));
        }
    }

    [Theory]
    [InlineData("/state")]
    [InlineData("/recovered")]
    public async Task A_volume_whose_keys_are_gone_is_listed_as_unreadable_and_harms_no_other(string state)
    {
        Directory.CreateDirectory(Source);
        await File.WriteAllBytesAsync(Path.Join(Source, "file"), _random.Bytes(100_000), Cancel);
        KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        KeyDomain burnable = KeyDomain.Create(DomainKind.Burnable, _random);
        StoreKeys keys = Keys(realm, burnable);
        FolderHolder.Create(_disk, "/holder", _random).Dispose();
        await using (BlockStore store = await OpenAsync(keys, "/state"))
        {
            await ImportAsync(Volumes(store), "one");
            using Volume secret = Volume.Create(store, "secret", burnable.Id, _random);
            byte[] bytes = _random.Bytes(50_000);
            BlockWrite block = await secret.Blocks.WriteAsync(BlockType.Data, bytes, Cancel);
            Assert.True(block.IsNew);
            var root = new Entry { Type = EntryType.Directory, FileId = 1, Mode = 0x1ed };
            await secret.AddSnapshotAsync(new SnapshotRecord { Id = SnapshotId.New(_random), TimeNs = 1, Root = root }, null, null, Cancel);
            await store.SealAllAsync(Cancel);
            Assert.Empty(store.UnreadableVolumes);
        }

        // The same folder after the keys were burned, or a new one after the words brought everything else back.
        await using (BlockStore store = await OpenAsync(keys with { Domains = [realm] }, state))
        {
            _disk.CreateDirectory("/caches");
            StoreVolumes volumes = Volumes(store, "/caches");
            Assert.Equal(["secret"], volumes.UnreadableVolumes.Select(static volume => volume.Name));
            Assert.Equal("v", Assert.Single(await volumes.SnapshotsAsync(null, Cancel)).Volume);
            Assert.Equal(["file"], await PathsAsync(volumes.ListAsync("latest", [], true, Cancel)));
            UserError asked = await Assert.ThrowsAsync<UserError>(() => volumes.SnapshotsAsync("secret", Cancel).AsTask());
            Assert.Equal(ExitCode.NotFound, asked.Code);
            Assert.Contains("burned or never came back", asked.Message, StringComparison.Ordinal);
            asked = await Assert.ThrowsAsync<UserError>(() => volumes.CatAsync("secret@latest", "x"u8.ToArray(), Stream.Null, Cancel).AsTask());
            Assert.Contains("burned or never came back", asked.Message, StringComparison.Ordinal);
            Assert.Equal(2, (await ImportAsync(volumes, "two")).Snapshot.Number);

            using Keyring keyring = Keyring.Create(AccountKeys.FromEntropy(_random.Bytes(32)), 1, "test", 0, _random);
            var care = new StoreCare(store, keyring, StorageConfig.Parse("storage.toml", default, _folder, _folder), _disk, false, new TreeWalker(), static (_, _) => ValueTask.CompletedTask);
            Assert.Equal(1, care.Status().VolumeCount);
            CheckResult check = await care.CheckAsync(true, new Silent(), Cancel);
            Assert.Empty(check.Damaged);
            Assert.Empty(check.UnreadablePaths);
            Assert.Empty((await care.RepairAsync(new Silent(), Cancel)).Unrepairable);
            await care.ReindexAsync(new Silent(), Cancel);
            Assert.Equal(0, (await care.ReclaimAsync(false, new Silent(), Cancel)).FreedBytes);
            foreach (string structure in (string[])["arenas", "catalog", "fragments", "heads", "index", "journal", "volumes"])
            {
                using StringWriter shown = new();
                TextDebugPage page = new(shown);
                await care.DebugAsync(structure, null, false, page, Cancel);
                Assert.True(page.IsWhole, shown.ToString());
            }
        }

        // Nothing was deleted: with the keys it is there again.
        await using (BlockStore store = await OpenAsync(keys, state))
        {
            StoreVolumes volumes = Volumes(store);
            Assert.Empty(volumes.UnreadableVolumes);
            Assert.Equal(1, Assert.Single(await volumes.SnapshotsAsync("secret", Cancel)).Number);
            Assert.Equal(2, (await volumes.SnapshotsAsync("v", Cancel)).Count);
        }
    }

    private static async Task<List<string>> PathsAsync(IAsyncEnumerable<EntryInfo> entries)
    {
        List<string> paths = [];
        await foreach (EntryInfo entry in entries)
        {
            paths.Add(Encoding.UTF8.GetString(entry.Path));
        }

        return paths;
    }

    [Fact]
    public async Task Nothing_is_opened_closed_or_kept_by_the_timer_while_somebody_frees_space()
    {
        await using BlockStore store = await OpenAsync();
        using var open = new OpenVolumes();
        StorageConfig config = StorageConfig.Parse("storage.toml", default, _folder, _folder);
        var opener = new VolumeOpener(store, config, _disk, _random, TimeProvider.System, static _ => { }, open);
        var volumes = new StoreVolumes(store, config, _disk, "/state", SecretBytes.Random(_random, 32), _random, TimeProvider.System, open);
        OpenVolumes.Use first = await opener.OpenAsync("one", creates: true, "", "here", Cancel);

        Task<OpenVolumes.Use> opening;
        Task<IReadOnlyList<SnapshotInfo>> due;
        Task closing;
        using (await open.Gate.EnterAloneAsync(Cancel))
        {
            opening = opener.OpenAsync("two", creates: true, "", "there", Cancel).AsTask();
            due = volumes.TakeDueAsync(null, Cancel).AsTask();
            closing = first.DisposeAsync().AsTask();
            Assert.False(opening.IsCompleted || due.IsCompleted || closing.IsCompleted);
        }

        await due;
        await closing;
        await (await opening).DisposeAsync();
        Assert.Empty(open.All);
        using (await open.Gate.EnterAloneAsync(Cancel))
        {
            // and nobody is left inside
        }
    }

    private StoreVolumes Volumes(BlockStore store, string cacheFolder = "/state", TimeProvider? clock = null) => new(
        store, StorageConfig.Parse("storage.toml", default, _folder, _folder), _disk, cacheFolder, SecretBytes.Random(_random, 32), _random, clock ?? TimeProvider.System);

    private sealed class EasternClock : TimeProvider
    {
        public DateTimeOffset Now { get; set; }

        public override TimeZoneInfo LocalTimeZone { get; } = TimeZoneInfo.CreateCustomTimeZone("east", TimeSpan.FromHours(9), "east", "east");

        public override DateTimeOffset GetUtcNow() => Now;
    }

    private async Task<ImportResult> ImportAsync(StoreVolumes volumes, string label, string volume = "v") => await volumes.ImportAsync(
        new ImportRequest { Folder = Source, Volume = volume, Label = label, Rules = new ImportConfig { Exclude = [] } }, new Silent(), Cancel);

    private async Task<BlockStore> OpenAsync()
    {
        FolderHolder.Create(_disk, "/holder", _random).Dispose();
        return await OpenAsync(Keys(KeyDomain.Create(DomainKind.Realm, _random)), "/state");
    }

    private StoreKeys Keys(KeyDomain realm, params KeyDomain[] others)
    {
        AccountKeys account = AccountKeys.FromEntropy(_random.Bytes(32));
        DeviceKeys device = DeviceKeys.Create(_random);
        return new StoreKeys
        {
            Device = 1,
            DeviceKeys = device,
            Certificate = DeviceCertificate.Issue(account, device, 1, "test", 0),
            Realm = realm,
            Domains = [realm, .. others],
            Tag = account.Tag,
            AnchorKey = account.AnchorKey,
            AccountPublicKey = account.PublicKey.ToArray(),
            RecoveryPublicKey = account.RecoveryPublicKey.ToArray(),
        };
    }

    private async Task<BlockStore> OpenAsync(StoreKeys keys, string state)
    {
        _disk.CreateDirectory(state);
        var options = new StoreOptions { StateFolder = state, ArenaBytes = 4 * 1024 * 1024, CompressionLevel = 1 };
        ConfiguredHolder[] holders = [new("here", "/holder", FolderHolder.Open(_disk, "/holder", _random), null)];
        return await BlockStore.OpenAsync(
            _disk, options, keys, holders, static () => new MemoryIndex(), TimeProvider.System, _random, StoreAccess.Write, "the test", null, Cancel);
    }

    private sealed class Silent : IProgressSink
    {
        public void Report(ProgressState state)
        {
        }

        public void Warn(string message) => Assert.Fail(message);
    }
}
