using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Composition;

/// <summary>`tdfs debug` prints and checks every structure of a store in a real folder; what is damaged in one is told by its own printer.</summary>
public sealed class StoreDumpTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-dump-").FullName;
    private readonly SeededRandom _random = new(41);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Store => Path.Join(_folder, "store");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, string, bool> Damages => new()
    {
        // structure, the files whose middle is flipped, whether the structure is then damaged
        { "anchors", "/objects/anchor/", true },
        { "anchors", "/objects/keys/", true },
        { "arenas", "/fragments/fragments/", true },
        { "fragments", "/fragments/fragments/", true },
        { "volumes", "/journal/", true },
        { "logs", "/store/catalog/", true },
        { "logs", "/objects/catalog/", true },
        { "logs", "/store/journal/", true },
        { "logs", "/objects/journal/", true },
        { "index", "/fragments/fragments/", false }, // a cache: what it lacks costs time
    };

    [Fact]
    public async Task Every_structure_of_a_whole_store_is_printed_and_found_whole()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        foreach (string structure in session.Care.DebugStructures)
        {
            (bool isWhole, string text) = await DumpAsync(session, structure);
            Assert.True(isWhole, $"{structure}: {text}");
            Assert.True(text.Length > 0 || structure == "journal", $"{structure} prints nothing");
            Assert.DoesNotContain("DAMAGED", text, StringComparison.Ordinal);
        }

        Assert.Contains("snapshot", (await DumpAsync(session, "volumes")).Text, StringComparison.Ordinal);
        Assert.Contains("Realm", (await DumpAsync(session, "keyring")).Text, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task What_is_damaged_is_told(string structure, string files, bool expected)
    {
        await MakeAsync();
        string[] hit = [.. Directory.GetFiles(Store, "*", SearchOption.AllDirectories).Where(path => path.Contains(files, StringComparison.Ordinal))];
        Assert.NotEmpty(hit);
        foreach (string path in hit)
        {
            Damage(path);
        }

        await using IStoreSession session = await OpenAsync();
        (bool isWhole, string text) = await DumpAsync(session, structure);
        Assert.True(isWhole != expected, text);
        Assert.Equal(expected, text.Contains("DAMAGED", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_holder_that_cannot_be_read_is_told()
    {
        await MakeAsync();
        Damage(Path.Join(Store, "fragments", "holder"));
        await using IStoreSession session = await OpenAsync();
        (bool isWhole, string text) = await DumpAsync(session, "holders");
        Assert.False(isWhole);
        Assert.Contains("the checksum does not match", text, StringComparison.Ordinal);
    }

    /// <summary>Flips a byte in each 4 KiB, so that no copy of anything within stays whole.</summary>
    private static void Damage(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        for (int at = Math.Min(20, bytes.Length - 1); at < bytes.Length; at += 4096)
        {
            bytes[at] ^= 0x20;
        }

        bytes[^1] ^= 0x20;
        File.WriteAllBytes(path, bytes);
    }

    private static async Task<(bool IsWhole, string Text)> DumpAsync(IStoreSession session, string structure)
    {
        await using StringWriter target = new();
        bool isWhole = await session.Care.DebugAsync(structure, null, target, Cancel);
        return (isWhole, target.ToString());
    }

    /// <summary>A store with a sealed arena and something in the journal.</summary>
    private async Task MakeAsync()
    {
        string source = Path.Join(_folder, "source");
        Directory.CreateDirectory(Path.Join(source, "folder"));
        await File.WriteAllBytesAsync(Path.Join(source, "noise"), _random.Bytes(1_500_000), Cancel);
        await File.WriteAllTextAsync(Path.Join(source, "folder", "text"), "some text", Cancel);
        using SecretBuffer none = SecretBuffer.Copy([]);
        (await Host().InitAsync(Config(), none, Cancel)).Dispose();
        await using IStoreSession session = await Host().OpenAsync(Request(StoreAccess.Write), Cancel);
        await ImportAsync(session, source);
        await File.WriteAllTextAsync(Path.Join(source, "folder", "more"), new string('m', 5000), Cancel);
        await ImportAsync(session, source);
    }

    private static async Task ImportAsync(IStoreSession session, string source) => await session.Volumes.ImportAsync(
        new ImportRequest { Folder = source, Volume = "v", Rules = new ImportConfig { Exclude = [] } }, new Quiet(), Cancel);

    private async Task<IStoreSession> OpenAsync() => await Host().OpenAsync(Request(StoreAccess.Read), Cancel);

    private OpenRequest Request(StoreAccess access) => new() { Config = Config(), Access = access, Passphrases = new PassphraseSource(null, static _ => null) };

    private StoreHost Host() => new(PosixDisk.Instance, _random, TimeProvider.System, static _ => null, static _ => { });

    private StorageConfig Config() =>
        StorageConfig.Parse("storage.toml", Encoding.UTF8.GetBytes($"[store]\npath = \"{Store}\"\n[memory]\nindex = \"16 MiB\"\n"), _folder, _folder);

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
