using System.Text;
using System.Text.Json;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Tdfs.Commands;
using TokTok.Storage.Tdfs.Composition;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Output;
using TokTok.Storage.Tdfs.Passphrases;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Composition;

/// <summary>A folder that asks for more than the store's own redundancy, through the command and over three real folders in three places.</summary>
public sealed class RedundancyDrillTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-redundancy-").FullName;
    private readonly SeededRandom _random = new(5);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Source => At("source");

    private string ConfigFile => At("storage.toml");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task With_two_of_three_places_gone_what_asked_for_it_is_restored_and_the_rest_is_named()
    {
        await MakeAsync("abc");
        await FillAsync();
        Assert.Equal((0, "1+2: survives the loss of any 2 of 3 places, as " + At("source/strong") + " asks (survive=2)\n", true), await SetAsync("survive=2"));
        Assert.Equal(0, (await RunAsync("import", Source, "--volume", "v")).Code);
        Assert.Contains("survives the loss of any 1 of 3 places; 1 is asked for.", (await RunAsync("health", "latest")).Data, StringComparison.Ordinal);
        Assert.Contains("survives the loss of any 2 of 3 places; 2 are asked for.", (await RunAsync("health", At("source/strong/deep"))).Data, StringComparison.Ordinal);

        Assert.Equal((int)ExitCode.NotFound, (await RunAsync("health", At("nowhere"))).Code);

        // A record is a holder's word: a byte that changed is seen by reading only.
        string damaged = Directory.GetFiles(At("a"), "*", SearchOption.AllDirectories).MaxBy(static file => new FileInfo(file).Length)!;
        byte[] bytes = await File.ReadAllBytesAsync(damaged, Cancel);
        byte[] changed = [.. bytes];
        changed[bytes.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(damaged, changed, Cancel);
        Assert.Contains("any 1 of 3 places; 1 is asked for.", (await RunAsync("health")).Data, StringComparison.Ordinal);
        (int readCode, string read, string _) = await RunAsync("health", "--read-all");
        Assert.Equal((0, true), (readCode, read.Contains("none of 3 places; 1 is asked for.", StringComparison.Ordinal) || read.Contains("any 1 of 3 places; 1 is asked for.", StringComparison.Ordinal)));
        Assert.Contains("less than is asked for", read, StringComparison.Ordinal);
        await File.WriteAllBytesAsync(damaged, bytes, Cancel);

        Directory.Delete(At("a"), recursive: true);
        Directory.Delete(At("c"), recursive: true);
        (int code, string _, string talk) = await RunAsync("restore", "latest", At("back"));
        Assert.Equal((int)ExitCode.Damaged, code);
        Assert.Contains("weak/", talk, StringComparison.Ordinal);
        Assert.DoesNotContain("strong/", talk, StringComparison.Ordinal);
        Assert.Empty(TreeCompare.Differences(At("source/strong"), At("back/strong")));

        (_, string health, _) = await RunAsync("health", "latest", "--json");
        using JsonDocument json = JsonDocument.Parse(health);
        Assert.True(json.RootElement.GetProperty("lostBlocks").GetInt64() > 0);
        Assert.Equal(0, json.RootElement.GetProperty("survives").GetInt32());
        Assert.Contains("survives the loss of none of 3 places; 2 are asked for.", (await RunAsync("health", "latest", "strong")).Data, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_was_imported_before_the_wish_is_moved_by_the_next_import_and_older_snapshots_by_repair()
    {
        await MakeAsync("abc");
        await FillAsync();
        Assert.Equal(0, (await RunAsync("import", Source, "--volume", "v")).Code);
        await SetAsync("survive=2");
        Assert.Equal(0, (await RunAsync("import", Source, "--volume", "v")).Code);
        Assert.Contains("survives the loss of any 2 of 3 places", (await RunAsync("health", "latest", "strong")).Data, StringComparison.Ordinal);

        // Nothing is left for repair, and a second one has nothing to do either.
        for (int round = 0; round < 2; round++)
        {
            (int code, string data, string _) = await RunAsync("repair", "--json");
            using JsonDocument json = JsonDocument.Parse(data);
            Assert.Equal((0, 0L), (code, json.RootElement.GetProperty("repairedFragments").GetInt64()));
            Assert.True(round == 0 || json.RootElement.GetProperty("movedBytes").GetInt64() == 0, data);
        }

        (int health, string all, string _) = await RunAsync("health", "latest", "--json");
        using JsonDocument whole = JsonDocument.Parse(all);
        Assert.Equal((0, 0L), (health, whole.RootElement.GetProperty("weakBlocks").GetInt64()));
        Assert.Equal(0, (await RunAsync("reclaim")).Code);
        Assert.Equal(0, (await RunAsync("check", "--read-all")).Code);
    }

    [Fact]
    public async Task When_a_place_leaves_the_configuration_repair_makes_the_promise_good_over_the_others()
    {
        await MakeAsync("abc");
        await FillAsync();
        await SetAsync("survive=2");
        Assert.Equal(0, (await RunAsync("import", Source, "--volume", "v")).Code);

        WriteConfig("ab");
        Directory.Delete(At("c"), recursive: true);
        (int code, string data, string talk) = await RunAsync("repair");
        Assert.True(code == 0, data + talk);
        Assert.Contains("to the redundancy wanted", data, StringComparison.Ordinal);
        (code, data, talk) = await RunAsync("check", "--read-all");
        Assert.True(code == 0, data + talk);
        Assert.Contains("survives the loss of any 1 of 2 places; 2 are asked for.", (await RunAsync("health", "latest", "strong")).Data, StringComparison.Ordinal);

        Directory.Delete(At("b"), recursive: true);
        Assert.Equal(0, (await RunAsync("restore", "latest", At("back"))).Code);
        Assert.Empty(TreeCompare.Differences(Source, At("back")));
    }

    [Theory]
    [InlineData("import")]
    [InlineData("repair")]
    public async Task When_places_come_what_was_kept_in_one_is_spread_by_the_next_import_or_by_repair(string verb)
    {
        await MakeAsync("a");
        await FillAsync();
        Assert.Equal(0, (await RunAsync("import", Source, "--volume", "v")).Code);
        Assert.Contains("none of 1 place; 0 are asked for.", (await RunAsync("health")).Data, StringComparison.Ordinal);

        WriteConfig("abc");
        (int code, string data, string talk) = await (verb == "import" ? RunAsync("import", Source, "--volume", "v") : RunAsync("repair"));
        Assert.True(code == 0, data + talk);
        Assert.Contains("any 1 of 3 places; 1 is asked for.", (await RunAsync("health")).Data, StringComparison.Ordinal);

        Directory.Delete(At("a"), recursive: true);
        Assert.Equal(0, (await RunAsync("restore", "latest", At("back"))).Code);
        Assert.Empty(TreeCompare.Differences(Source, At("back")));
    }

    [Theory]
    [InlineData("survive=3", (int)ExitCode.Usage, "survive = 3 needs at least 4 places and 3 are configured")]
    [InlineData("2+2", (int)ExitCode.Usage, "2+2 needs 4 places, one for each fragment, and 3 are configured")]
    [InlineData("survive=17", (int)ExitCode.Usage, "found 'survive=17', expected survive=N with N from 0 to 16, or k+m")]
    [InlineData("two", (int)ExitCode.Usage, "found 'two', expected survive=N")]
    public async Task A_wish_that_the_places_cannot_keep_is_refused_and_sets_nothing(string wish, int expected, string line)
    {
        WriteConfig("abc");
        Directory.CreateDirectory(At("source/strong"));
        (int code, string data, string talk) = await RunAsync("redundancy", "set", At("source/strong"), wish);
        Assert.Equal((expected, ""), (code, data));
        Assert.Contains(line, talk, StringComparison.Ordinal);
        Assert.Equal(1, talk.Count(static letter => letter == '\n'));
        Assert.Equal("2+1: survives the loss of any 1 of 3 places, as storage.toml says\n", (await RunAsync("redundancy", "show", At("source/strong"))).Data);
    }

    [Fact]
    public async Task A_wish_is_inherited_shown_and_taken_away()
    {
        WriteConfig("abc");
        Directory.CreateDirectory(At("source/strong/deep"));
        Assert.Equal("2+1: survives the loss of any 1 of 3 places, as storage.toml says\n", (await RunAsync("redundancy", "show")).Data);
        Assert.Equal(0, (await RunAsync("redundancy", "set", Source, "2+1")).Code);
        Assert.Equal($"2+1: survives the loss of any 1 of 3 places, as {Source} asks (2+1)\n", (await RunAsync("redundancy", "show", At("source/strong/deep"))).Data);
        WriteConfig("a");
        (int code, string data, string talk) = await RunAsync("redundancy", "show", At("source/strong"));
        Assert.Equal((0, $"16+1: survives the loss of none of 1 place, as {Source} asks (2+1)\n"), (code, data));
        Assert.Contains("survive = 1 needs at least 2 places and 1 is configured", talk, StringComparison.Ordinal);
        Assert.Equal("16+1: survives the loss of none of 1 place, as storage.toml says\n", (await RunAsync("redundancy", "unset", Source)).Data);
        Assert.Equal((int)ExitCode.NotFound, (await RunAsync("redundancy", "unset", Source)).Code);
        Assert.Equal((int)ExitCode.NotFound, (await RunAsync("redundancy", "set", At("nowhere"), "survive=0")).Code);
    }

    private async Task<(int Code, string Data, bool HasSaid)> SetAsync(string wish)
    {
        (int code, string data, string talk) = await RunAsync("redundancy", "set", At("source/strong"), wish);
        return (code, data, talk.StartsWith("set; the next import", StringComparison.Ordinal));
    }

    private async Task FillAsync()
    {
        Directory.CreateDirectory(At("source/strong/deep"));
        Directory.CreateDirectory(At("source/weak"));
        await File.WriteAllBytesAsync(At("source/strong/first.bin"), _random.Bytes(3_000_000), Cancel);
        await File.WriteAllBytesAsync(At("source/strong/deep/second.bin"), _random.Bytes(2_000_000), Cancel);
        await File.WriteAllTextAsync(At("source/strong/small"), "a few words", Cancel);
        for (int i = 0; i < 6; i++)
        {
            await File.WriteAllBytesAsync(At($"source/weak/{i}.bin"), _random.Bytes(1_000_000), Cancel);
        }
    }

    private async Task MakeAsync(string places)
    {
        WriteConfig(places);
        using SecretBuffer none = new(16);
        (await Host().InitAsync(StorageConfig.Parse(ConfigFile, await File.ReadAllBytesAsync(ConfigFile, Cancel), _folder, _folder), none, Cancel)).Dispose();
    }

    private void WriteConfig(string places)
    {
        var text = new StringBuilder($"[store]\npath = \"{At("store")}\"\n");
        foreach (char place in places)
        {
            text.Append($"[[holder]]\npath = \"{At(place.ToString())}\"\nplace = \"{place}\"\n");
        }

        File.WriteAllText(ConfigFile, text.ToString());
    }

    private StoreHost Host() => new(PosixDisk.Instance, _random, TimeProvider.System, static _ => null, static _ => { });

    private async Task<(int Code, string Data, string Talk)> RunAsync(params string[] words)
    {
        using MemoryStream bytes = new();
        using StreamWriter data = new(bytes, new UTF8Encoding(false)) { NewLine = "\n" };
        StringWriter talk = new() { NewLine = "\n" };
        VerbContext context = new()
        {
            Output = new CommandOutput { Data = data, DataBytes = bytes, Talk = talk, Clock = TimeProvider.System, Zone = TimeZoneInfo.Utc },
            Environment = name => name is "HOME" or "XDG_RUNTIME_DIR" ? _folder : null,
            Host = Host(),
            Terminal = "/nowhere/tty",
        };
        int code = await CommandTree.RunAsync(context, [.. words, "--config", ConfigFile, "--no-progress"], Cancel);
        await data.FlushAsync(Cancel);
        return (code, Encoding.UTF8.GetString(bytes.ToArray()), talk.ToString());
    }

    private string At(string name) => Path.Join(_folder, name);
}
