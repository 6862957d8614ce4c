using System.Text;
using System.Text.RegularExpressions;
using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Tests.Config;

public sealed class StorageConfigTests
{
    private static StorageConfig Parse(string text) => StorageConfig.Parse("storage.toml", Encoding.UTF8.GetBytes(text), "/etc/tdfs", "/home/ann");

    private static string Refused(string text)
    {
        UserError error = Assert.Throws<UserError>(() => Parse(text));
        Assert.Equal(ExitCode.Config, error.Code);
        Assert.Matches(@"\Astorage\.toml:\d+:\d+: found [^\n]+, expected [^\n]+\z", error.Message);
        return error.Message;
    }

    [Fact]
    public void The_shipped_file_says_exactly_the_defaults()
    {
        StorageConfig shipped = ConfigFile.LoadShipped("/home/ann");
        StorageConfig empty = Parse("");
        Assert.Equal(empty with { Holders = shipped.Holders, Mounts = shipped.Mounts, WebDavVolumes = shipped.WebDavVolumes, Node = empty.Node with { Addresses = shipped.Node.Addresses }, Import = shipped.Import }, shipped, new ConfigComparer());
        Assert.Empty(shipped.Holders);
        Assert.Empty(shipped.Mounts);
        Assert.Empty(shipped.WebDavVolumes);
        Assert.Equal(empty.Import with { Exclude = shipped.Import.Exclude }, shipped.Import);
        Assert.Empty(shipped.Import.Exclude);
    }

    [Fact]
    public void Every_key_of_the_shipped_file_is_explained_with_unit_default_and_effect()
    {
        string text = Encoding.UTF8.GetString(ConfigFile.ShippedBytes());
        // The rules of [keep] are explained together, above the first.
        string[] together = ["hourly", "daily", "weekly", "monthly", "yearly"];
        foreach (Match key in Regex.Matches(text, @"(?<comment>(?:^#[^\n]*\n)*)^(?<key>[a-z-]+) = ", RegexOptions.Multiline))
        {
            if (!together.Contains(key.Groups["key"].Value))
            {
                Assert.Contains("Unit: ", key.Groups["comment"].Value);
                Assert.Contains("Default", key.Groups["comment"].Value);
            }
        }
    }

    [Fact]
    public void The_shipped_file_names_every_key_that_is_known()
    {
        // The message for a far-off key lists all that are known.
        string text = Encoding.UTF8.GetString(ConfigFile.ShippedBytes());
        foreach (string table in (string[])["store", "chunking", "compression", "memory", "keep", "webdav", "node", "snapshots", "keys", "import", "reclaim", "log"])
        {
            string message = Refused($"[{table}]\nqqqqqqqqqqqq = 1");
            string body = text.Split($"[{table}]")[1].Split("\n[")[0];
            foreach (string key in message.Split("expected one of ")[1].Split(", "))
            {
                Assert.Contains($"\n{key} = ", body);
            }
        }
    }

    [Fact]
    public void Values_reach_their_typed_places()
    {
        StorageConfig config = Parse("""
            [store]
            path = "~/vault"
            survive = 1
            [[holder]]
            path = "/mnt/a"
            place = "a"
            quota = "5 GiB"
            [[holder]]
            path = "rel/b"
            place = "b"
            [chunking]
            mean = "64 KiB"
            inline = "0"
            [keep]
            last = 0
            [[mount]]
            volume = "work"
            path = "~/work"
            writeback-cache = true
            [webdav]
            listen = "localhost:80"
            volumes = ["photos"]
            [node]
            listen = "[::]:4919"
            address = ["box.example.org:4919"]
            folder = "rel/kept"
            quota = "20 GiB"
            floor = "0"
            [snapshots]
            every = "10m"
            thin = false
            [keys]
            unlock-for = "2h"
            [import]
            workers = 3
            exclude = ["*.o", "/tmp"]
            [repair]
            automatic = false
            rate = "0"
            [log]
            level = "debug"
            file = "/var/log/tdfs"
            """);
        Assert.Equal("/home/ann/vault", config.StorePath);
        Assert.Equal(1, config.Survive);
        Assert.Equal(
            [new HolderConfig { Path = "/mnt/a", Place = "a", QuotaBytes = 5L << 30 }, new HolderConfig { Path = "/etc/tdfs/rel/b", Place = "b" }],
            config.Holders);
        Assert.Equal(new ChunkingConfig { MeanBytes = 65536, MinBytes = 16384, MaxBytes = 262144, InlineBytes = 0 }, config.Chunking);
        Assert.Equal(0, config.Keep.Last);
        Assert.Equal(24, config.Keep.Hourly);
        Assert.Equal([new MountConfig("work", "/home/ann/work", WritebackCache: true)], config.Mounts);
        Assert.Equal(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, 80), config.WebDavListen);
        Assert.Equal(["photos"], config.WebDavVolumes);
        Assert.Equal(new System.Net.IPEndPoint(System.Net.IPAddress.IPv6Any, 4919), config.Node.Listen);
        Assert.Equal(["box.example.org:4919"], config.Node.Addresses);
        Assert.Equal(("/etc/tdfs/rel/kept", 20L << 30, 0L), (config.Node.Folder, config.Node.QuotaBytes, config.Node.FloorBytes));
        Assert.Equal((TimeSpan.FromMinutes(10), false), (config.SnapshotEvery, config.SnapshotThin));
        Assert.Equal(TimeSpan.FromHours(2), config.UnlockFor);
        Assert.Equal(3, config.Import.Workers);
        Assert.Equal(["*.o", "/tmp"], config.Import.Exclude);
        Assert.Equal((false, 0L), (config.RepairsByItself, config.RepairRate));
        Assert.Equal(LogLevel.Debug, config.LogLevel);
        Assert.Equal("/var/log/tdfs", config.LogFile);
    }

    [Fact]
    public void Defaults_are_what_the_page_says()
    {
        StorageConfig config = Parse("");
        Assert.Equal("/home/ann/.local/share/tdfs", config.StorePath);
        Assert.Null(config.Survive);
        Assert.Equal(new ChunkingConfig { MeanBytes = 262144, MinBytes = 65536, MaxBytes = 1048576, InlineBytes = 1024 }, config.Chunking);
        Assert.Equal(TimeSpan.FromMinutes(15), config.UnlockFor);
        Assert.Equal(TimeSpan.FromDays(7), config.TrashFor);
        Assert.Equal((true, 8L << 20), (config.RepairsByItself, config.RepairRate));
        Assert.Null(config.LogFile);
    }

    [Theory]
    [InlineData("[store]\npaht = \"x\"", "2:1: found the unknown key 'paht' in [store], expected 'path'; is that what was meant?")]
    [InlineData("[chunkin]", "1:2: found the unknown table 'chunkin', expected 'chunking'; is that what was meant?")]
    [InlineData("[memory]\nwritebuffers = \"1 GiB\"", "expected 'write-buffers'")]
    [InlineData("level = 3", "found the unknown key 'level' outside of a table")]
    [InlineData("[keep]\nminutely_or_so = 1", "expected one of last, hourly, daily")]
    [InlineData("[store]\npath = 7", "2:8: found the integer 7, expected a string in quotes")]
    [InlineData("[store]\npath = \"\"", "expected a path")]
    [InlineData("[store]\npath = \"~bob/x\"", "expected an absolute path")]
    [InlineData("[store]\nsurvive = true", "2:11: found true, expected an integer from 0 to 16, or \"auto\"")]
    [InlineData("[store]\nsurvive = 17", "found the integer 17, expected an integer from 0 to 16")]
    [InlineData("[store]\nsurvive = 1", "with one place nothing outlives its loss")]
    [InlineData("store = 1", "found the integer 1, expected a table that begins with [store]")]
    [InlineData("[holder]\npath = \"/a\"", "found a [table], expected tables that begin with [[holder]]")]
    [InlineData("[[holder]]\nplace = \"a\"", "1:1: found a [[holder]] without 'path', expected it")]
    [InlineData("[[holder]]\npath = \"/a\"", "found a [[holder]] without 'place'")]
    [InlineData("[store]\nreplicate-within = \"30s\"", "2:20: found the string \"30s\", expected \"0s\" for no bound, or \"10m\" or more")]
    [InlineData("[store]\ncountries = [\"de\"]", "2:13: found a list, expected countries of two capital letters")]
    [InlineData("[store]\ncountries = [\"DE\", \"DE\"]", "each once, or [] for no rule")]
    [InlineData("[store]\ncountries = \"DE\"", "expected a list of strings")]
    [InlineData("[[holder]]\npath = \"/a\"\nplace = \"a\"\ncountry = \"Germany\"", "4:11: found the string \"Germany\", expected two capital letters")]
    [InlineData("[[holder]]\npath = \"/a\"\nplace = \"a b\"", "3:9: found the string \"a b\", expected a name of 1 to 64 letters")]
    [InlineData("[[holder]]\npath=\"/a\"\nplace=\"a\"\n[[holder]]\npath=\"/a/\"\nplace=\"b\"", "5:6: found the string \"/a/\", expected each holder's folder once")]
    [InlineData("[chunking]\nmean = \"100 KiB\"", "expected a power of two")]
    [InlineData("[chunking]\nmean = \"128 KB\"", "found the string \"128 KB\", expected a size such as")]
    [InlineData("[chunking]\nmean = \"8 KiB\"", "expected \"16 KiB\" to \"512 KiB\"")]
    [InlineData("[chunking]\nmin = \"256 KiB\"", "expected less than the mean")]
    [InlineData("[chunking]\nmax = \"64 KiB\"", "expected more than the mean")]
    [InlineData("[compression]\nlevel = 20", "expected an integer from 0 to 19")]
    [InlineData("[keys]\nunlock-for = \"15 minutes\"", "expected a duration such as")]
    [InlineData("[keys]\nunlock-for = \"8d\"", "expected at most \"7d\"")]
    [InlineData("[keys]\nunlock-for = 15", "2:14: found the integer 15, expected a duration")]
    [InlineData("[import]\nexclude = \"*.o\"", "expected a list of strings in []")]
    [InlineData("[import]\nexclude = [1]", "2:12: found the integer 1, expected a string in quotes")]
    [InlineData("[import]\ncache-tags = \"yes\"", "found the string \"yes\", expected true or false")]
    [InlineData("[log]\nlevel = \"loud\"", "expected one of \"error\", \"warning\", \"info\", \"debug\"")]
    public void Bad_values_are_refused_with_their_place_and_what_would_do(string text, string expected) => Assert.Contains(expected, Refused(text));

    [Fact]
    public void Holders_outside_the_countries_allowed_are_no_places_of_the_promise()
    {
        const string Two = "[[holder]]\npath=\"/a\"\nplace=\"p\"\ncountry=\"DE\"\n[[holder]]\npath=\"/b\"\nplace=\"q\"\n";
        StorageConfig config = Parse("[store]\ncountries = [\"DE\", \"FR\"]\n" + Two);
        Assert.Equal(["DE", "FR"], config.Countries.Countries);
        Assert.Equal(["DE", null], config.Holders.Select(static holder => holder.Country));
        Assert.Contains("with one place within DE", Refused("[store]\nsurvive=1\ncountries=[\"DE\"]\n" + Two));
        Assert.Contains("expected one [[holder]] at least whose country is among them", Refused("[store]\ncountries=[\"FR\"]\n" + Two));
        Assert.Contains("the folder \"fragments\" of the store can be one", Refused("[store]\ncountries=[\"FR\"]"));
    }

    [Fact]
    public void Two_holders_of_one_place_count_as_one()
    {
        Assert.Contains("with one place", Refused("[store]\nsurvive=1\n[[holder]]\npath=\"/a\"\nplace=\"p\"\n[[holder]]\npath=\"/b\"\nplace=\"p\""));
        Assert.Contains("there are 2 places", Refused("[store]\nsurvive=2\n[[holder]]\npath=\"/a\"\nplace=\"p\"\n[[holder]]\npath=\"/b\"\nplace=\"q\""));
    }

    [Theory]
    [InlineData("paht", "path")]
    [InlineData("PATH", null)]
    [InlineData("surviv", "survive")]
    [InlineData("x", null)]
    [InlineData("", null)]
    public void The_nearest_name_is_near_or_none(string name, string? expected) => Assert.Equal(expected, NearestName.Find(name, ["path", "survive"]));

    [Theory]
    [InlineData("", "", 0)]
    [InlineData("abc", "abc", 0)]
    [InlineData("abc", "acb", 1)]
    [InlineData("abc", "ab", 1)]
    [InlineData("kitten", "sitting", 3)]
    [InlineData("", "abc", 3)]
    public void Distance_counts_steps_and_swaps(string a, string b, int expected)
    {
        Assert.Equal(expected, NearestName.Distance(a, b));
        Assert.Equal(expected, NearestName.Distance(b, a));
    }

    [Theory]
    [InlineData("0", 0)]
    [InlineData("1", 1)]
    [InlineData("12 B", 12)]
    [InlineData("128 KiB", 131072)]
    [InlineData("128KiB", 131072)]
    [InlineData("7 PiB", 7L << 50)]
    public void Sizes_are_read(string text, long expected)
    {
        Assert.True(Units.TryParseSize(text, out long bytes));
        Assert.Equal(expected, bytes);
    }

    [Theory]
    [InlineData("")]
    [InlineData("KiB")]
    [InlineData("-1")]
    [InlineData("1.5 MiB")]
    [InlineData("1 MB")]
    [InlineData("1  KiB")]
    [InlineData("1 ")]
    [InlineData("1 kib")]
    [InlineData("9223372036854775807 PiB")]
    [InlineData("99999999999999999999")]
    public void Bad_sizes_are_not(string text) => Assert.False(Units.TryParseSize(text, out _));

    [Theory]
    [InlineData("90s", 90)]
    [InlineData("15m", 900)]
    [InlineData("12 h", 43200)]
    [InlineData("7d", 604800)]
    public void Durations_are_read(string text, int expectedSeconds)
    {
        Assert.True(Units.TryParseDuration(text, out TimeSpan duration));
        Assert.Equal(TimeSpan.FromSeconds(expectedSeconds), duration);
    }

    [Theory]
    [InlineData("7")]
    [InlineData("7w")]
    [InlineData("99999999999d")]
    public void Bad_durations_are_not(string text) => Assert.False(Units.TryParseDuration(text, out _));

    /// <summary>Compares all but the name of the file and the lists, which records compare by reference.</summary>
    private sealed class ConfigComparer : IEqualityComparer<StorageConfig>
    {
        public bool Equals(StorageConfig? x, StorageConfig? y) => Plain(x!).Equals(Plain(y!));

        public int GetHashCode(StorageConfig obj) => 0;

        private static StorageConfig Plain(StorageConfig config) => config with { File = "" };
    }
}
