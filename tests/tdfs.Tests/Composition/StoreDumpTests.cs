using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using TokTok.Storage.Blocks.Disks;
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
using TokTok.Storage.Tdfs.Passphrases;
using TokTok.Storage.Testing;
using StoreAccess = TokTok.Storage.Tdfs.Facades.StoreAccess;

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
        { "trees", "/fragments/fragments/", true },
        { "stat-caches", "/caches/stat-", true },
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

    [Fact]
    public async Task Every_structure_is_one_json_object_with_the_rows_of_the_text()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        foreach (string structure in session.Care.DebugStructures)
        {
            using MemoryStream bytes = new();
            using JsonDebugPage page = new(bytes, structure, null);
            await session.Care.DebugAsync(structure, null, true, page, Cancel);
            page.End();
            using JsonDocument json = JsonDocument.Parse(bytes.ToArray());
            string text = (await DumpAsync(session, structure, withNames: true)).Text;
            Assert.Equal(structure, json.RootElement.GetProperty("structure").GetString());
            Assert.True(json.RootElement.GetProperty("whole").GetBoolean());
            Assert.Equal(0, json.RootElement.GetProperty("damaged").GetInt64());
            string[] kinds = [.. json.RootElement.GetProperty("rows").EnumerateArray().Select(row => new string(' ', 2 * row.GetProperty("depth").GetInt32()) + row.GetProperty("kind").GetString())];
            string[] lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(lines.Length, kinds.Length);
            Assert.All(lines.Zip(kinds), static pair => Assert.StartsWith(pair.Second, pair.First, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Damage_is_in_the_json_too()
    {
        await MakeAsync();
        Damage(Path.Join(Store, "fragments", "holder"));
        await using IStoreSession session = await OpenAsync();
        using MemoryStream bytes = new();
        using JsonDebugPage page = new(bytes, "holders", null);
        await session.Care.DebugAsync("holders", null, false, page, Cancel);
        page.End();
        using JsonDocument json = JsonDocument.Parse(bytes.ToArray());
        Assert.False(json.RootElement.GetProperty("whole").GetBoolean());
        JsonElement row = Assert.Single(json.RootElement.GetProperty("rows").EnumerateArray(), static row => row.GetProperty("kind").GetString() == "damaged");
        Assert.Contains("the checksum does not match", row.GetProperty("text").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_name_that_nothing_has_is_not_found_and_prints_nothing()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        foreach (string structure in session.Care.DebugStructures)
        {
            foreach (string name in (string[])["nosuch", "deadbeefdeadbeef"])
            {
                using StringWriter target = new();
                TextDebugPage page = new(target);
                UserError error = await Assert.ThrowsAsync<UserError>(async () => await session.Care.DebugAsync(structure, name, false, page, Cancel));
                Assert.Equal(ExitCode.NotFound, error.Code);
                Assert.DoesNotContain('\n', error.Message);
                Assert.Equal("", target.ToString());
            }
        }
    }

    [Fact]
    public async Task What_is_named_is_printed_alone()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        foreach ((string structure, string name) in ((string, string)[])[("arenas", "1"), ("fragments", "1"), ("heads", "v"), ("holders", "0"), ("holders", "here"), ("index", "1"), ("stat-caches", "v"), ("trees", "v"), ("volumes", "v")])
        {
            (bool isWhole, string text) = await DumpAsync(session, structure, name);
            Assert.True(isWhole, $"{structure} {name}: {text}");
            Assert.NotEqual("", text);
        }
    }

    [Fact]
    public async Task Trees_show_every_node_of_a_snapshot_and_names_only_where_asked()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        string text = (await DumpAsync(session, "trees", "v@2")).Text;
        Assert.Matches(@"(?m)^snapshot [0-9a-f]{16} number 2 ", text);
        Assert.Matches(@"(?m)^    entry Directory file [0-9a-f]+ ", text);
        Assert.Matches(@"(?m)^      extents [0-9a-f]{16} level 0 bytes \d+ items \d+ holes 0 of file bytes 1500000$", text);
        Assert.Matches(@"(?m)^    entry File file [0-9a-f]+ .*size 1500000 content (extents|tree)", text);
        Assert.Matches(@"(?m)^  leaf .*level 0 bytes \d+ items \d+ entries below \d+", text);
        Assert.DoesNotContain("noise", text, StringComparison.Ordinal);
        Assert.Contains("entry folder/more File", (await DumpAsync(session, "trees", "latest", withNames: true)).Text, StringComparison.Ordinal);

        // All of it: the root, and both snapshots, of which the second shares nodes with the first or the active tree.
        text = (await DumpAsync(session, "trees")).Text;
        Assert.Matches(@"(?m)^volume root [0-9a-f]{16} volume v ", text);
        Assert.Contains("number 1 ", text, StringComparison.Ordinal);
        Assert.Contains("number 2 ", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("VolumeRoot", "  volume root ")]
    [InlineData("Data", "  note content of files: ")]
    public async Task A_score_shows_its_block(string type, string expected)
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        string clumps = (await DumpAsync(session, "journal")).Text + (await DumpAsync(session, "arenas")).Text;
        string score = Regex.Match(clumps, $"clump ([0-9a-f]{{16}}) {type} ").Groups[1].Value;
        (bool isWhole, string text) = await DumpAsync(session, "trees", score);
        Assert.True(isWhole, text);
        Assert.Matches($"\\Ablock {score}[0-9a-f]{{48}} {type} ", text);
        Assert.Matches("(?m)^" + expected, text);
    }

    [Fact]
    public async Task A_node_that_does_not_decode_is_named_and_the_rest_is_printed()
    {
        using StringWriter text = new();
        TextDebugPage page = new(text);
        await using BlockStore store = await OpenSimulatedAsync();
        using Volume volume = Volume.Create(store, "v", store.Realm, _random);
        TableBuilder directory = volume.Tables.NewBuilder();
        byte[] bad = "no entry"u8.ToArray();
        for (int i = 0; i < 2000; i++)
        {
            var file = new Entry { Type = EntryType.File, FileId = (ulong)i + 2, Mode = 0x1a4 };
            await directory.AddAsync(Encoding.ASCII.GetBytes($"file{i:d4}"), i == 1000 ? bad : file.Encode(), Cancel);
        }

        await directory.AddAsync("wide"u8.ToArray(), Entry.LinkTo(EntryType.File, 7777).Encode(), Cancel);
        var root = new Entry { Type = EntryType.Directory, FileId = 1, Mode = 0x1ed, Children = await directory.FinishAsync(Cancel), Totals = new DirectoryTotals(2001, 0, 1) };
        await volume.AddSnapshotAsync(new SnapshotRecord { Id = SnapshotId.New(_random), TimeNs = 1, Root = root }, null, null, Cancel);

        await new TreeDump(store, page, withNames: true).WriteAsync("v@1", Cancel);
        Assert.Equal(2, page.DamageCount);
        Assert.Matches(@"(?m)^DAMAGED directory 1, block [0-9a-f]{16} at level 0, item \d+ \(file1000\): .*expected .*found ", text.ToString());
        Assert.Matches(@"(?m)^DAMAGED directory 1, block [0-9a-f]{16} at level 0, item \d+ \(wide\): link table: expected a record of file 1e61, found none", text.ToString());
        Assert.Matches(@"(?m)^  node [0-9a-f]{16} level 1 bytes \d+ items \d+ entries below 2001", text.ToString());
        Assert.Equal(2000, Regex.Count(text.ToString(), @"(?m)^    entry "));
    }

    [Fact]
    public async Task A_stat_cache_shows_its_head_and_counts_and_paths_only_where_asked()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        string text = (await DumpAsync(session, "stat-caches")).Text;
        Assert.Matches(@"(?m)^stat cache stat-[0-9a-f]{32} volume v bytes \d+ segments 1 settings [0-9a-f]{16} bases [0-9a-f]{16}", text);
        Assert.Matches(@"(?m)^  records entries 3 directories 2 racy \d link records 0", text);
        Assert.DoesNotContain("noise", text, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^  entry folder/more inode \d+ size 5000 mtime ", (await DumpAsync(session, "stat-caches", "v", withNames: true)).Text);
    }

    [Fact]
    public async Task A_stat_cache_whose_middle_is_damaged_says_where_and_shows_what_lies_before()
    {
        await MakeAsync(files: 3000);
        string path = Assert.Single(Directory.GetFiles(Path.Join(Store, "caches"), "stat-*"));
        byte[] bytes = await File.ReadAllBytesAsync(path, Cancel);
        bytes[bytes.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(path, bytes, Cancel);
        await using IStoreSession session = await OpenAsync();
        (bool isWhole, string text) = await DumpAsync(session, "stat-caches", "v", withNames: true);
        Assert.False(isWhole);
        Assert.Matches(@"(?m)^DAMAGED stat-[0-9a-f]{32}, segment [1-9]\d*, byte \d+: found bytes that do not decrypt, expected ", text);
        Assert.Matches(@"(?m)^  entry folder/more ", text);
        Assert.Matches(@"(?m)^  records entries \d+ ", text);
    }

    [Fact]
    public async Task A_small_store_has_its_index_in_memory()
    {
        await MakeAsync();
        await using IStoreSession session = await OpenAsync();
        Assert.StartsWith("index in memory entries at most ", (await DumpAsync(session, "index")).Text, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Join(Store, "index")));
    }

    [Fact]
    public async Task A_lasting_index_is_compared_with_every_directory_and_not_written_to()
    {
        await MakeIndexedAsync();
        Dictionary<string, byte[]> before = IndexFiles();
        await using IStoreSession session = await OpenAsync();
        (bool isWhole, string text) = await DumpAsync(session, "index");
        Assert.True(isWhole, text);
        Assert.Matches(@"(?m)^index lasting entries [1-9]\d* covers sequence \d+ catalog at \d+ runs 1 entries in runs [1-9]\d* bytes \d+", text);
        Assert.Matches(@"(?m)^  run 1 entries [1-9]\d*$", text);
        MatchCollection arenas = Regex.Matches(text, @"(?m)^  arena \d+ clumps (\d+) right (\d+) in another arena too 0 naming one that is gone 0 missing 0 wrong 0$");
        Assert.NotEmpty(arenas);
        Assert.All(arenas, static arena => Assert.Equal(arena.Groups[1].Value, arena.Groups[2].Value));

        // A writer that has it open is not disturbed, and the page is the same.
        await using (IStoreSession writer = await Host().OpenAsync(Request(StoreAccess.Write), Cancel))
        {
            Assert.True((await DumpAsync(session, "index")).IsWhole);
        }

        Dictionary<string, byte[]> after = IndexFiles();
        Assert.Equal(before, after);
    }

    [Theory]
    [InlineData("cover", "cover: it does not match its checksum")]
    [InlineData("run-1", "run-1: its header does not match its checksum")]
    public async Task A_damaged_index_is_told_and_left_as_it_is(string files, string expected)
    {
        await MakeIndexedAsync();
        foreach (string path in IndexFiles().Where(file => file.Key.Contains("/index/" + files, StringComparison.Ordinal) && file.Value.Length > 0).Select(static file => file.Key))
        {
            Damage(path);
        }

        Dictionary<string, byte[]> before = IndexFiles();
        await using IStoreSession session = await OpenAsync();
        (bool isWhole, string text) = await DumpAsync(session, "index");
        Assert.False(isWhole);
        Assert.Matches("(?m)^DAMAGED .*" + expected, text);
        Assert.Equal(before, IndexFiles());
    }

    [Fact]
    public async Task An_index_without_one_of_its_runs_is_told()
    {
        await MakeIndexedAsync();
        File.Delete(Path.Join(Store, "index", "run-1"));
        await using IStoreSession session = await OpenAsync();
        (bool isWhole, string text) = await DumpAsync(session, "index");
        Assert.False(isWhole);
        Assert.Matches("(?m)^DAMAGED .*found no run 1 that can be read, expected [1-9]\\d* entries as the cover says", text);
    }

    [Fact]
    public async Task What_the_index_says_wrongly_is_damage_and_what_it_lacks_is_not()
    {
        await MakeIndexedAsync();
        ulong sequence;
        Score score;
        await using (IStoreSession session = await OpenAsync())
        {
            sequence = ulong.Parse(Regex.Match((await DumpAsync(session, "index")).Text, @"covers sequence (\d+)").Groups[1].ValueSpan, CultureInfo.InvariantCulture);
            string digits = Regex.Match((await DumpAsync(session, "arenas")).Text, "clump ([0-9a-f]{16}) ").Groups[1].Value;
            score = Score.Read(Convert.FromHexString(Regex.Match((await DumpAsync(session, "trees", digits)).Text, "block ([0-9a-f]{64}) ").Groups[1].Value));
        }

        using (RunIndex index = new(PosixDisk.Instance, Path.Join(Store, "index"), RunIndex.MinMemoryBytes))
        {
            index.Clear();
            index.Checkpoint(sequence);
        }

        await using (IStoreSession session = await OpenAsync())
        {
            (bool isWhole, string text) = await DumpAsync(session, "index");
            Assert.True(isWhole, text);
            Assert.Matches("(?m)^index lasting entries 0 ", text);
        }

        using (RunIndex index = new(PosixDisk.Instance, Path.Join(Store, "index"), RunIndex.MinMemoryBytes))
        {
            index.Add(score, new BlockLocation(1, 4096, 17));
            index.Checkpoint(sequence);
        }

        await using (IStoreSession session = await OpenAsync())
        {
            (bool isWhole, string text) = await DumpAsync(session, "index");
            Assert.False(isWhole);
            Assert.Matches($"(?m)^DAMAGED arena 1, block {score}: found arena 1 at 4096 length 17 in the index, expected arena 1 at \\d+ length \\d+; run 'tdfs reindex'", text);
            Assert.Matches(@"(?m)^  arena 1 clumps \d+ right 0 .* missing [1-9]\d* wrong 1$", text);
            Assert.Contains("run 'tdfs reindex'", text, StringComparison.Ordinal);
        }
    }

    private Dictionary<string, byte[]> IndexFiles() => Directory.GetFiles(Path.Join(Store, "index"), "*", SearchOption.AllDirectories).ToDictionary(static path => path, File.ReadAllBytes);

    /// <summary>A store whose index lasts, though it is small: it does where its folder is there.</summary>
    private async Task MakeIndexedAsync()
    {
        await MakeAsync();
        Directory.CreateDirectory(Path.Join(Store, "index"));
        await using (await Host().OpenAsync(Request(StoreAccess.Write), Cancel))
        {
        }
    }

    private async Task<BlockStore> OpenSimulatedAsync()
    {
        SimulatedDisk disk = new();
        FolderHolder.Create(disk, "/holder", _random).Dispose();
        disk.CreateDirectory("/state");
        AccountKeys account = AccountKeys.FromEntropy(_random.Bytes(32));
        DeviceKeys device = DeviceKeys.Create(_random);
        KeyDomain realm = KeyDomain.Create(DomainKind.Realm, _random);
        var keys = new StoreKeys
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
        return await BlockStore.OpenAsync(
            disk, new StoreOptions { StateFolder = "/state", CompressionLevel = 1 }, keys, [new ConfiguredHolder("here", "/holder", FolderHolder.Open(disk, "/holder", _random), null)],
            static () => new MemoryIndex(), TimeProvider.System, _random, Blocks.Store.StoreAccess.Write, "the test", null, Cancel);
    }

    private static async Task<(bool IsWhole, string Text)> DumpAsync(IStoreSession session, string structure, string? name = null, bool withNames = false)
    {
        await using StringWriter target = new();
        TextDebugPage page = new(target);
        await session.Care.DebugAsync(structure, name, withNames, page, Cancel);
        return (page.IsWhole, target.ToString());
    }

    /// <summary>A store with a sealed arena and something in the journal.</summary>
    private async Task MakeAsync(int files = 0)
    {
        string source = Path.Join(_folder, "source");
        Directory.CreateDirectory(Path.Join(source, "folder"));
        await File.WriteAllBytesAsync(Path.Join(source, "noise"), _random.Bytes(1_500_000), Cancel);
        await File.WriteAllTextAsync(Path.Join(source, "folder", "text"), "some text", Cancel);
        for (int i = 0; i < files; i++)
        {
            await File.WriteAllBytesAsync(Path.Join(source, $"small{i:d5}"), [], Cancel);
        }

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
