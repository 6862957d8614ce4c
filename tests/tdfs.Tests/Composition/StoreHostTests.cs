using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Tdfs.Facades.StoreAccess;

namespace TokTok.Storage.Tdfs.Tests.Composition;

/// <summary>A whole store in a real folder, as the verbs see it: made, damaged, mended, lost and brought back.</summary>
public sealed class StoreHostTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-host-").FullName;
    private readonly SeededRandom _random = new(11);
    private readonly List<string> _said = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Source => Path.Join(_folder, "source");

    private string Store => Path.Join(_folder, "store");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_store_that_is_closed_holds_no_lock_of_its_holders()
    {
        (await MakeAsync()).Dispose();
        for (int i = 0; i < 2; i++)
        {
            await using IStoreSession session = await OpenAsync(StoreAccess.Write);
        }

        // A second writer at the same time would have a lock of another number.
        Assert.Empty(Directory.GetFiles(Path.Join(Store, "fragments"), "lock-*"));
    }

    [Fact]
    public async Task Damage_within_the_parity_is_named_read_through_and_mended()
    {
        (await MakeAsync()).Dispose();
        await ImportAsync();
        string[] files = Directory.GetFiles(Path.Join(Store, "fragments", "fragments"), "*", SearchOption.AllDirectories);
        Assert.NotEmpty(files);
        foreach (string file in files)
        {
            byte[] bytes = await File.ReadAllBytesAsync(file, Cancel);
            bytes[bytes.Length / 2] ^= 0x10;
            await File.WriteAllBytesAsync(file, bytes, Cancel);
        }

        await using (IStoreSession session = await OpenAsync(StoreAccess.Write))
        {
            CheckResult damaged = await session.Care.CheckAsync(true, new Quiet(), Cancel);
            Assert.Equal(files.Length, damaged.Damaged.Count);
            Assert.Empty(damaged.UnreadablePaths);
            await AssertRestoresAsync(session, "during");
            RepairResult repaired = await session.Care.RepairAsync(new Quiet(), Cancel);
            Assert.Equal(files.Length, repaired.RepairedFragmentCount);
            Assert.Equal(files.Length * 16 * 1024, repaired.WrittenBytes);
            Assert.True((await session.Care.CheckAsync(true, new Quiet(), Cancel)).IsClean);
        }
    }

    [Fact]
    public async Task The_words_bring_every_snapshot_back_when_the_state_folder_is_lost()
    {
        SecretBuffer words;
        using (InitResult made = await MakeAsync())
        {
            words = SecretBuffer.Copy(made.Words.Bytes);
        }

        using (words)
        {
            await ImportAsync();
            foreach (string lost in (string[])["catalog", "journal", "caches"])
            {
                Directory.Delete(Path.Join(Store, lost), recursive: true);
            }

            File.Delete(Path.Join(Store, "keyring"));
            UserError missing = await Assert.ThrowsAsync<UserError>(() => OpenAsync(StoreAccess.Read));
            Assert.Equal(ExitCode.NoStore, missing.Code);

            using SecretBuffer wrong = SecretBuffer.Copy(Encoding.ASCII.GetBytes(string.Join(' ', Enumerable.Repeat("abandon", 23)) + " art"));
            UserError refused = await Assert.ThrowsAsync<UserError>(async () => await Host().RecoverAsync(new RecoverRequest { Config = Config(), Words = wrong }, new Quiet(), Cancel));
            Assert.Equal(ExitCode.Keys, refused.Code);

            RecoverResult drill = await Host().RecoverAsync(new RecoverRequest { Config = Config(), Words = words, IsDrill = true }, new Quiet(), Cancel);
            Assert.Equal(1, drill.SnapshotCount);
            Assert.False(File.Exists(Path.Join(Store, "keyring")), "a drill touches nothing");

            RecoverResult recovered = await Host().RecoverAsync(new RecoverRequest { Config = Config(), Words = words }, new Quiet(), Cancel);
            Assert.Equal(1, recovered.SnapshotCount);
            await using IStoreSession session = await OpenAsync(StoreAccess.Write);
            await AssertRestoresAsync(session, "back");
        }
    }

    [Fact]
    public async Task Words_and_fragments_alone_bring_every_volume_back_when_anchors_heads_and_catalogs_are_lost()
    {
        SecretBuffer words;
        using (InitResult made = await MakeAsync())
        {
            words = SecretBuffer.Copy(made.Words.Bytes);
        }

        using (words)
        {
            await ImportAsync();
            await File.WriteAllTextAsync(Path.Join(Source, "second"), "of two snapshots", Cancel);
            await ImportAsync();
            foreach (string lost in (string[])["catalog", "journal", "caches"])
            {
                Directory.Delete(Path.Join(Store, lost), recursive: true);
            }

            File.Delete(Path.Join(Store, "keyring"));
            string objects = Path.Join(Store, "fragments", "objects");
            Directory.Delete(Path.Join(objects, "anchor"), recursive: true);
            Directory.Delete(Path.Join(objects, "catalog"), recursive: true);

            RecoverResult drill = await Host().RecoverAsync(new RecoverRequest { Config = Config(), Words = words, IsDrill = true }, new Quiet(), Cancel);
            Assert.Equal(2, drill.SnapshotCount);
            Assert.False(Directory.Exists(Path.Join(objects, "anchor")), "a drill touches nothing");

            RecoverResult recovered = await Host().RecoverAsync(new RecoverRequest { Config = Config(), Words = words }, new Quiet(), Cancel);
            Assert.Equal(2, recovered.SnapshotCount);
            Assert.Contains(recovered.Problems, static problem => problem.Contains("by their roots alone", StringComparison.Ordinal));
            await using (IStoreSession session = await OpenAsync(StoreAccess.Write))
            {
                await AssertRestoresAsync(session, "back");
                Assert.True((await session.Care.CheckAsync(true, new Quiet(), Cancel)).IsClean);
            }

            await ImportAsync();
            await using (IStoreSession session = await OpenAsync(StoreAccess.Read))
            {
                Assert.Equal([1L, 2L, 3L], (await session.Volumes.SnapshotsAsync("v", Cancel)).Select(static each => each.Number));
            }
        }
    }

    [Fact]
    public async Task The_words_do_not_bring_a_burnable_volume_back_and_recover_says_so()
    {
        SecretBuffer words;
        using (InitResult made = await MakeAsync())
        {
            words = SecretBuffer.Copy(made.Words.Bytes);
        }

        using (words)
        {
            await ImportAsync();
            await AddBurnableVolumeAsync("secret");
            foreach (string lost in (string[])["catalog", "journal", "caches"])
            {
                Directory.Delete(Path.Join(Store, lost), recursive: true);
            }

            File.Delete(Path.Join(Store, "keyring"));
            foreach (bool isDrill in (bool[])[true, false])
            {
                RecoverResult found = await Host().RecoverAsync(new RecoverRequest { Config = Config(), Words = words, IsDrill = isDrill }, new Quiet(), Cancel);
                Assert.Equal(1, found.SnapshotCount);
                Assert.Equal("volume secret cannot be read: its keys were burned or never came back", Assert.Single(found.Problems));
            }

            await ImportAsync();
            await using IStoreSession session = await OpenAsync(StoreAccess.Write);
            Assert.Equal(["secret"], session.Volumes.UnreadableVolumes.Select(static volume => volume.Name));
            Assert.Equal(["v", "v"], (await session.Volumes.SnapshotsAsync(null, Cancel)).Select(static each => each.Volume));
            await AssertRestoresAsync(session, "back");
            Assert.True((await session.Care.CheckAsync(true, new Quiet(), Cancel)).IsClean);
        }
    }

    /// <summary>As a verb will that makes volumes with keys of their own.</summary>
    private async Task AddBurnableVolumeAsync(string name)
    {
        using Keyring keyring = Keyring.Read(Read(Path.Join(Store, "keyring")), []).Keyring!;
        KeyDomain domain = KeyDomain.Create(DomainKind.Burnable, _random);
        keyring.Add(domain);
        string holder = Path.Join(Store, "fragments");
        await using BlockStore store = await BlockStore.OpenAsync(
            PosixDisk.Instance,
            new StoreOptions { StateFolder = Store, CompressionLevel = 1 },
            Golden.GoldenStoreMaker.KeysOf(keyring),
            [new ConfiguredHolder("here", holder, FolderHolder.Open(PosixDisk.Instance, holder, _random), null)],
            null,
            TimeProvider.System,
            _random,
            TokTok.Storage.Blocks.Store.StoreAccess.Write,
            "the test",
            null,
            Cancel);
        using Files.Volume volume = Files.Volume.Create(store, name, domain.Id, _random);
        var root = new Files.Entry { Type = Files.EntryType.Directory, FileId = 1, Mode = 0x1ed };
        await volume.AddSnapshotAsync(new Files.SnapshotRecord { Id = Files.SnapshotId.New(_random), TimeNs = 1, Root = root }, null, null, Cancel);
        await store.SealAllAsync(Cancel);
        await store.PublishAsync(Cancel);
    }

    [Fact]
    public async Task No_name_and_no_content_stands_in_any_file_of_a_used_store()
    {
        (await MakeAsync()).Dispose();
        await ImportAsync();
        byte[] window = (await File.ReadAllBytesAsync(Path.Join(Source, "text-of-a-letter"), Cancel)).AsSpan(1000, 16).ToArray();
        int looked = 0;
        foreach (string file in Directory.GetFiles(Store, "*", SearchOption.AllDirectories))
        {
            byte[] bytes = Read(file);
            Assert.True(bytes.AsSpan().IndexOf(window) < 0, $"content stands in {file}");
            Assert.True(bytes.AsSpan().IndexOf("text-of-a-letter"u8) < 0, $"a name stands in {file}");
            Assert.True(bytes.AsSpan().IndexOf("noise-in-a-folder"u8) < 0, $"a name stands in {file}");
            looked++;
        }

        Assert.InRange(looked, 8, 1000);
    }

    /// <summary>.NET's own reads ask for a lock, which a child that another test is starting may hold for a moment on a store's lock files.</summary>
    private static byte[] Read(string path)
    {
        using IDiskFile file = PosixDisk.Instance.Open(path, DiskOpen.Read);
        byte[] bytes = new byte[file.Length];
        Assert.Equal(bytes.Length, file.Read(0, bytes));
        return bytes;
    }

    [Fact]
    public async Task A_second_writer_is_told_who_the_first_is()
    {
        (await MakeAsync()).Dispose();
        await using IStoreSession first = await OpenAsync(StoreAccess.Write);
        StoreException refused = await Assert.ThrowsAsync<StoreException>(() => OpenAsync(StoreAccess.Write));
        Assert.Equal(StoreProblem.Locked, refused.Problem);
        Assert.Contains($"written by tdfs test, process {Environment.ProcessId} on {Environment.MachineName}, since ", refused.Message, StringComparison.Ordinal);
        await using IStoreSession beside = await OpenAsync(StoreAccess.Read);
    }

    [Fact]
    public async Task A_second_store_is_not_made_over_the_first()
    {
        (await MakeAsync()).Dispose();
        UserError refused = await Assert.ThrowsAsync<UserError>(MakeAsync);
        Assert.Equal(ExitCode.Exists, refused.Code);
    }

    private StoreHost Host() => new(PosixDisk.Instance, _random, TimeProvider.System, static _ => null, _said.Add);

    private StorageConfig Config() => StorageConfig.Parse("storage.toml", Encoding.UTF8.GetBytes($"[store]\npath = \"{Store}\"\n"), _folder, _folder);

    private async Task<InitResult> MakeAsync()
    {
        using SecretBuffer none = new(16);
        return await Host().InitAsync(Config(), none, Cancel);
    }

    private async Task<IStoreSession> OpenAsync(StoreAccess access) =>
        await Host().OpenAsync(new OpenRequest { Config = Config(), Access = access, Verb = "test", Passphrases = new PassphraseSource(null, static _ => null) }, Cancel);

    private async Task ImportAsync()
    {
        Directory.CreateDirectory(Path.Join(Source, "folder"));
        var text = new StringBuilder();
        for (int line = 0; line < 500; line++)
        {
            text.Append("line ").Append(line).AppendLine(" of a letter that nobody else should read");
        }

        await File.WriteAllTextAsync(Path.Join(Source, "text-of-a-letter"), text.ToString(), Cancel);
        await File.WriteAllBytesAsync(Path.Join(Source, "folder", "noise-in-a-folder"), _random.Bytes(6_000_000), Cancel);
        await using IStoreSession session = await OpenAsync(StoreAccess.Write);
        ImportResult result = await session.Volumes.ImportAsync(new ImportRequest { Folder = Source, Volume = "v", Rules = Config().Import }, new Quiet(), Cancel);
        Assert.Empty(result.Problems);
    }

    private async Task AssertRestoresAsync(IStoreSession session, string name)
    {
        string target = Path.Join(_folder, name);
        RestoreResult restored = await session.Volumes.RestoreAsync(
            new RestoreRequest { Snapshot = "latest", Path = [], Target = target, Overwrite = Overwrite.Never, Verify = true }, new Quiet(), Cancel);
        Assert.Empty(restored.DamagedPaths);
        Assert.Empty(TreeCompare.Differences(Source, target));
    }

    private sealed class Quiet : IProgressSink
    {
        public void Report(ProgressState state)
        {
        }

        public void Warn(string message)
        {
        }
    }
}
