using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Blocks.Store.StoreAccess;

namespace TokTok.Storage.Tdfs.Tests.Golden;

/// <summary>What version 1 of the format wrote stays readable: tests/golden/v1, opened with the real classes and compared with its manifest.</summary>
public sealed class GoldenStoreTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-golden-").FullName;
    private readonly SeededRandom _random = new(3);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static string Golden => Path.Join(Repository.Root, "tests", "golden", "v1");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Makes the store, in the folder that TDFS_MAKE_GOLDEN names. The one in tests/golden is never made again.</summary>
    [Fact]
    public async Task The_maker_makes_a_store_that_reads_as_its_manifest_says()
    {
        string folder = Environment.GetEnvironmentVariable("TDFS_MAKE_GOLDEN") ?? Path.Join(_folder, "made");
        Assert.False(Directory.Exists(folder), $"{folder} is there already");
        await new GoldenStoreMaker(folder).RunAsync(Cancel);
        await AssertReadsAsync(folder, folder);
    }

    [Fact]
    public async Task Every_snapshot_reads_as_the_manifest_says() => await AssertReadsAsync(Copy(), Golden);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Any_one_of_its_places_may_be_gone(int lost)
    {
        string copy = Copy();
        Directory.Delete(GoldenStoreMaker.Holder(copy, lost), recursive: true);
        await AssertReadsAsync(copy, Golden);
    }

    [Fact]
    public async Task Words_and_holders_bring_everything_back_without_the_state_folder() => await AssertRecoversAsync(Copy());

    [Fact]
    public async Task Words_and_fragments_bring_everything_back_without_anchors_and_catalogs()
    {
        string copy = Copy();
        for (int at = 1; at <= 3; at++)
        {
            Directory.Delete(Path.Join(GoldenStoreMaker.Holder(copy, at), "objects", "anchor"), recursive: true);
            Directory.Delete(Path.Join(GoldenStoreMaker.Holder(copy, at), "objects", "catalog"), recursive: true);
        }

        await AssertRecoversAsync(copy);
    }

    private string Copy()
    {
        string target = Path.Join(_folder, "copy");
        foreach (string file in Directory.GetFiles(Golden, "*", SearchOption.AllDirectories))
        {
            string path = Path.Join(target, Path.GetRelativePath(Golden, file));
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.Copy(file, path);
        }

        return target;
    }

    private async Task AssertReadsAsync(string folder, string manifest)
    {
        byte[] file = await File.ReadAllBytesAsync(Path.Join(folder, "state", "keyring"), Cancel);
        string passphrase = (await File.ReadAllTextAsync(Path.Join(folder, "passphrase.txt"), Cancel)).Trim();
        KeyringRead read = Keyring.Read(file, Encoding.UTF8.GetBytes(passphrase));
        Assert.Equal(KeyringOutcome.Opened, read.Outcome);
        using Keyring keyring = read.Keyring!;
        await AssertStoreAsync(Path.Join(folder, "state"), folder, keyring, manifest);
    }

    private async Task AssertRecoversAsync(string folder)
    {
        Directory.Delete(Path.Join(folder, "state"), recursive: true);
        string state = Path.Join(_folder, "recovered");
        var toml = new StringBuilder().AppendLine("[store]").AppendLine($"path = \"{state}\"");
        for (int at = 1; at <= 3; at++)
        {
            toml.AppendLine("[[holder]]").AppendLine($"path = \"{GoldenStoreMaker.Holder(folder, at)}\"").AppendLine($"place = \"place-{at}\"");
        }

        StorageConfig config = StorageConfig.Parse("storage.toml", Encoding.UTF8.GetBytes(toml.ToString()), _folder, _folder);
        using SecretBuffer words = SecretBuffer.Copy(Encoding.UTF8.GetBytes((await File.ReadAllTextAsync(Path.Join(folder, "words.txt"), Cancel)).Trim()));
        var host = new StoreHost(PosixDisk.Instance, _random, TimeProvider.System, static _ => null, static _ => { });
        RecoverResult recovered = await host.RecoverAsync(new RecoverRequest { Config = config, Words = words }, new Quiet(), Cancel);
        Assert.Equal(4, recovered.SnapshotCount);
        byte[] file = await File.ReadAllBytesAsync(Path.Join(state, "keyring"), Cancel);
        KeyringRead read = Keyring.Read(file, []);
        Assert.Equal(KeyringOutcome.Opened, read.Outcome);
        using Keyring keyring = read.Keyring!;
        await AssertStoreAsync(state, folder, keyring, Golden);
    }

    private async Task AssertStoreAsync(string state, string folder, Keyring keyring, string manifest)
    {
        await using BlockStore store = await BlockStore.OpenAsync(
            PosixDisk.Instance,
            new StoreOptions { StateFolder = state },
            GoldenStoreMaker.KeysOf(keyring),
            GoldenStoreMaker.Holders(folder, _random),
            null,
            TimeProvider.System,
            _random,
            StoreAccess.Read,
            "the test",
            null,
            Cancel);
        List<string> expected = [.. await File.ReadAllLinesAsync(Path.Join(manifest, "expected.txt"), Cancel)];
        List<string> found = await GoldenManifest.ReadAsync(store, Cancel);
        Assert.Equal(expected, found);
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
