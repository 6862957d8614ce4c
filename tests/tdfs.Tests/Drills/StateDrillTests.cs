using System.Security.Cryptography;
using System.Text.Json;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>The state folder lost in part, lost whole, and put back from an old copy: nothing that was acknowledged goes, and no fragment is deleted for it.</summary>
public sealed class StateDrillTests(StateDrillTests.Stores stores) : IClassFixture<StateDrillTests.Stores>, IAsyncLifetime
{
    private const string Settings = "[chunking]\nmean = \"16 KiB\"\n[reclaim]\ntrash-for = \"0s\"\n[keys]\nunlock-for = \"0s\"\n";

    private DrillStore _store = null!;

    private string One => stores.One;

    private string Two => stores.Two;

    public async ValueTask InitializeAsync() => _store = await stores.CopyAsync();

    public ValueTask DisposeAsync()
    {
        _store.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task A_deleted_index_is_built_again_and_all_is_as_before()
    {
        JsonElement before = await _store.JsonAsync("check", "--read-all", "--no-progress");
        Directory.Delete(Path.Join(_store.State, "index"), recursive: true);
        JsonElement reindexed = await _store.JsonAsync("reindex", "--no-progress");
        Assert.Equal(before.GetProperty("arenas").GetInt32(), reindexed.GetProperty("arenas").GetInt32());
        JsonElement after = await _store.JsonAsync("check", "--read-all", "--no-progress");
        Assert.Equal(before.GetProperty("blocks").GetInt32(), after.GetProperty("blocks").GetInt32());
        foreach (string cache in Directory.GetFiles(Path.Join(_store.State, "caches")))
        {
            File.Delete(cache); // so that every file is read, and every block looked up
        }

        JsonElement again = await _store.JsonAsync("import", Two, "--volume", "v", "--no-progress");
        Assert.InRange(again.GetProperty("storedBytes").GetInt64(), 0, 8192);
        await AssertBothAsync();
    }

    [Fact]
    public async Task An_index_that_is_lost_without_a_word_is_built_again_by_the_next_verb()
    {
        Directory.Delete(Path.Join(_store.State, "index"), recursive: true);
        await AssertBothAsync();
        JsonElement again = await _store.JsonAsync("import", One, "--volume", "v", "--no-progress");
        Assert.InRange(again.GetProperty("storedBytes").GetInt64(), 0, 8192);
        await _store.AssertCleanAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Words_find_every_snapshot_when_catalog_journal_and_index_are_deleted(bool keyringToo)
    {
        LoseState(keyringToo);
        (await _store.RunWithAsync(_store.Words + "\n\n", "recover", "--words-fd", "0", "--passphrase-fd", "0", "--json", "--no-progress")).Expect(0);
        Assert.Equal(["one", "two"], await LabelsAsync());
        await AssertBothAsync();
        await ImportAsync(One, "three");
        await _store.AssertCleanAsync();
    }

    [Fact]
    public async Task Without_catalog_journal_and_index_the_keyring_and_the_holders_are_enough()
    {
        LoseState(keyringToo: false);
        Assert.Equal(["one", "two"], await LabelsAsync());
        await AssertBothAsync();
        await ImportAsync(One, "three");
        await _store.AssertCleanAsync();
        await AssertBothAsync();
    }

    [Fact]
    public async Task An_old_state_folder_put_back_deletes_nothing_and_the_newer_snapshots_reappear()
    {
        string old = Path.Join(_store.Folder, "old-state");
        await MoveAsync("cp", "-a", _store.State, old);
        string three = Path.Join(_store.Folder, "tree-three");
        SampleTree.Create(three, 63, 120);
        await ImportAsync(three, "three");
        (await _store.RunAsync("forget", "v@one")).Expect(0);
        (await _store.RunAsync("reclaim", "--no-progress")).Expect(0);
        string four = Path.Join(_store.Folder, "tree-four");
        SampleTree.Create(four, 63, 90);
        await ImportAsync(four, "four");
        HashSet<string> fragments = Fragments();

        Directory.Delete(_store.State, recursive: true);
        await MoveAsync("cp", "-a", old, _store.State);
        Assert.Equal(["two", "three", "four"], await LabelsAsync());
        await ImportAsync(three, "five");
        Assert.Subset(Fragments(), fragments);
        Assert.Equal(["two", "three", "four", "five"], await LabelsAsync());
        await _store.AssertRestoresAsync("v@three", three);
        await _store.AssertRestoresAsync("v@four", four);
        await _store.AssertRestoresAsync("v@five", three);
        await _store.AssertCleanAsync();
        (await _store.RunAsync("reclaim", "--no-progress")).Expect(0);
        await _store.AssertRestoresAsync("v@four", four);
        await _store.AssertCleanAsync();
    }

    /// <summary>Once more, with holders that have lost their copies of the logs as well: only fragments and anchors are newer than the state folder.</summary>
    [Fact]
    public async Task An_old_state_folder_without_any_newer_catalog_still_deletes_no_fragment()
    {
        string old = Path.Join(_store.Folder, "old-state");
        await MoveAsync("cp", "-a", _store.State, old);
        string three = Path.Join(_store.Folder, "tree-three");
        SampleTree.Create(three, 63, 120);
        await ImportAsync(three, "three");
        HashSet<string> fragments = Fragments();
        Directory.Delete(_store.State, recursive: true);
        await MoveAsync("cp", "-a", old, _store.State);
        foreach (string holder in _store.Holders)
        {
            Directory.Delete(Path.Join(holder, "objects", "catalog"), recursive: true);
        }

        await ImportAsync(One, "four");
        (await _store.RunAsync("reclaim", "--no-progress")).Expect(0);
        Assert.Subset(Fragments(), fragments);
        Assert.Equal(["one", "two", "four"], (await LabelsAsync()).Except(["three"]));
        await _store.AssertCleanAsync();
    }

    [Fact]
    public async Task A_drill_finds_every_snapshot_and_touches_nothing()
    {
        Dictionary<string, string> before = Hashes();
        Outcome drill = (await _store.RunWithAsync(_store.Words + "\n", "recover", "--drill", "--words-fd", "0", "--json", "--no-progress")).Expect(0);
        Assert.Equal(2, drill.Json.GetProperty("snapshots").GetInt32());
        Assert.Equal(before, Hashes());
    }

    [Fact]
    public async Task A_drill_says_what_the_words_would_not_bring_back()
    {
        foreach (string file in Directory.GetFiles(Path.Join(_store.Holders[0], "fragments"), "*", SearchOption.AllDirectories))
        {
            File.Delete(file);
        }

        string[] line = ["recover", "--drill", "--words-fd", "0", "--no-progress", "--json"];
        Outcome within = (await _store.RunWithAsync(_store.Words + "\n", line)).Expect(7);
        Assert.NotEmpty(within.Json.GetProperty("check").GetProperty("damaged").EnumerateArray());
        Assert.Empty(within.Json.GetProperty("check").GetProperty("unreadablePaths").EnumerateArray());

        foreach (string file in Directory.GetFiles(Path.Join(_store.Holders[1], "fragments"), "*", SearchOption.AllDirectories))
        {
            byte[] noise = new byte[new FileInfo(file).Length];
            new Random(1).NextBytes(noise);
            await File.WriteAllBytesAsync(file, noise, DrillStore.Cancel);
        }

        Outcome beyond = (await _store.RunWithAsync(_store.Words + "\n", line)).Expect(7);
        Assert.True(beyond.Json.GetProperty("check").GetProperty("damaged").GetArrayLength() > within.Json.GetProperty("check").GetProperty("damaged").GetArrayLength());
    }

    [Fact]
    public async Task One_damaged_bit_in_a_copy_of_a_log_is_found_and_mended()
    {
        foreach (string kind in (string[])["journal", "catalog"])
        {
            string path = Directory.GetFiles(Path.Join(_store.Holders[0], "objects", kind)).Order(StringComparer.Ordinal).Last();
            byte[] bytes = await File.ReadAllBytesAsync(path, DrillStore.Cancel);
            bytes[bytes.Length / 2] ^= 4;
            await File.WriteAllBytesAsync(path, bytes, DrillStore.Cancel);
            Outcome check = (await _store.RunAsync("check", "--no-progress")).Expect(7);
            Assert.Contains(kind + "/", check.Text, StringComparison.Ordinal);
            (await _store.RunAsync("repair", "--no-progress")).Expect(0);
            await _store.AssertCleanAsync();
        }
    }

    [Fact]
    public async Task Wrong_words_are_one_line_and_exit_code_6()
    {
        string[] words = _store.Words.Split(' ');
        string other = string.Join(' ', Enumerable.Repeat("abandon", 23)) + " art";
        string swapped = string.Join(' ', [words[1], words[0], .. words[2..]]);
        foreach (string wrong in (string[])[other, swapped, string.Join(' ', words[..23]), string.Join(' ', words[..23]) + " notaword", ""])
        {
            if (wrong == _store.Words)
            {
                continue; // the first two words are equal
            }

            Outcome refused = (await _store.RunWithAsync(wrong + "\n", "recover", "--drill", "--words-fd", "0", "--no-progress")).Expect(6);
            Assert.Single(refused.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            Assert.Empty(refused.Text);
            Assert.DoesNotContain(words[0] + " " + words[1], refused.Talk, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_wrong_passphrase_is_one_line_and_exit_code_6()
    {
        using DrillStore store = await new DrillStore(1, Settings).InitAsync("correct horse");
        foreach (string verb in (string[])["snapshots", "reclaim"])
        {
            Outcome refused = (await store.RunWithAsync("wrong horse\n", verb, "--passphrase-fd", "0")).Expect(6);
            Assert.Single(refused.Talk.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            Assert.Empty(refused.Text);
        }

        (await store.RunWithAsync("correct horse\n", "snapshots", "--passphrase-fd", "0")).Expect(0);
    }

    [Fact]
    public async Task Whoever_gave_the_passphrase_to_init_is_not_asked_again_until_the_agent_is_locked()
    {
        using var store = new DrillStore(1, Settings.Replace("\"0s\"", "\"10m\"", StringComparison.Ordinal));
        try
        {
            await store.InitAsync("correct horse");
            (await store.RunAsync("snapshots")).Expect(0);
            (await store.RunAsync("agent", "lock")).Expect(0);
            (await store.RunAsync("snapshots")).Expect(6);
        }
        finally
        {
            await store.RunAsync("agent", "stop");
        }
    }

    private async Task ImportAsync(string tree, string label) =>
        (await _store.RunAsync("import", tree, "--volume", "v", "--label", label, "--no-progress")).Expect(0);

    private async Task AssertBothAsync()
    {
        await _store.AssertRestoresAsync("v@one", One);
        await _store.AssertRestoresAsync("v@two", Two);
    }

    private async Task<List<string>> LabelsAsync() =>
        [.. (await _store.JsonAsync("snapshots")).GetProperty("snapshots").EnumerateArray().Select(static item => item.GetProperty("label").GetString()!)];

    private void LoseState(bool keyringToo)
    {
        foreach (string lost in (string[])["catalog", "journal", "index"])
        {
            Directory.Delete(Path.Join(_store.State, lost), recursive: true);
        }

        if (keyringToo)
        {
            File.Delete(Path.Join(_store.State, "keyring"));
        }
    }

    private HashSet<string> Fragments() =>
        [.. _store.Holders.SelectMany(static holder => Directory.GetFiles(Path.Join(holder, "fragments"), "*", SearchOption.AllDirectories))];

    private Dictionary<string, string> Hashes() =>
        ((string[])[_store.State, .. _store.Holders]).SelectMany(static folder => Directory.GetFiles(folder, "*", SearchOption.AllDirectories))
            .ToDictionary(static file => file, static file => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file))));

    private static async Task MoveAsync(string program, params string[] arguments)
    {
        using var process = System.Diagnostics.Process.Start(program, arguments);
        await process.WaitForExitAsync(DrillStore.Cancel);
        Assert.Equal(0, process.ExitCode);
    }

    /// <summary>Two trees, and a store over two folders that has a snapshot of each: made once, copied for each test.</summary>
    public sealed class Stores : IAsyncLifetime
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-drill-state-").FullName;
        private readonly DrillStore _made = new(2, Settings);

        internal string One => Path.Join(_folder, "tree-one");

        internal string Two => Path.Join(_folder, "tree-two");

        internal Task<DrillStore> CopyAsync() => _made.CopyAsync();

        public async ValueTask InitializeAsync()
        {
            SampleTree.Create(One, 61, 60);
            SampleTree.Create(Two, 62, 60);
            await _made.InitAsync();
            (await _made.RunAsync("import", One, "--volume", "v", "--label", "one", "--no-progress")).Expect(0);
            (await _made.RunAsync("import", Two, "--volume", "v", "--label", "two", "--no-progress")).Expect(0);
        }

        public ValueTask DisposeAsync()
        {
            _made.Dispose();
            SampleTree.Delete(_folder);
            return ValueTask.CompletedTask;
        }
    }
}
