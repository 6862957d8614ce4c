using System.Numerics;
using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Files;

namespace TokTok.Storage.Tdfs.Config;

/// <summary>What storage.toml says, checked and with every default filled in.</summary>
/// <remarks>The shipped storage.toml documents each value; a test holds the two to the same keys and defaults. Paths are absolute.</remarks>
internal sealed record StorageConfig
{
    /// <summary>The file it was read from, as errors show it.</summary>
    public required string File { get; init; }

    public required string StorePath { get; init; }

    /// <summary>Places that may be lost; null: as the places allow.</summary>
    public int? Survive { get; init; }

    /// <summary>How old what is not safe elsewhere may grow before writers wait; zero: as old as it likes.</summary>
    public TimeSpan ReplicateWithin { get; init; }

    /// <summary>Where anything of the store may lie.</summary>
    public required CountryRule Countries { get; init; }

    /// <summary>Empty: one holder, "fragments" in the store's folder.</summary>
    public required IReadOnlyList<HolderConfig> Holders { get; init; }

    public required ChunkingConfig Chunking { get; init; }

    /// <summary>zstd level; 0 keeps everything raw.</summary>
    public int CompressionLevel { get; init; }

    public long IndexBytes { get; init; }

    /// <summary>0: no cache.</summary>
    public long CacheBytes { get; init; }

    public long CacheFloorBytes { get; init; }

    public long WriteBufferBytes { get; init; }

    public required KeepRules Keep { get; init; }

    /// <summary>What `tdfs up` mounts.</summary>
    public required IReadOnlyList<MountConfig> Mounts { get; init; }

    /// <summary>Where `tdfs up` serves WebDAV; null: nowhere.</summary>
    public System.Net.IPEndPoint? WebDavListen { get; init; }

    /// <summary>What it serves there besides the volumes of <see cref="Mounts"/>.</summary>
    public required IReadOnlyList<string> WebDavVolumes { get; init; }

    /// <summary>What is kept for others, and where they dial.</summary>
    public required NodeConfig Node { get; init; }

    /// <summary>Zero: `tdfs up` makes no snapshots.</summary>
    public TimeSpan SnapshotEvery { get; init; }

    /// <summary>Whether these are thinned by <see cref="Keep"/> as they come.</summary>
    public bool SnapshotThin { get; init; }

    /// <summary>Zero: no agent.</summary>
    public TimeSpan UnlockFor { get; init; }

    public required ImportConfig Import { get; init; }

    public TimeSpan TrashFor { get; init; }

    public int LiveThresholdPercent { get; init; }

    /// <summary>Whether a running node gives fragments without a holder to places that can take them.</summary>
    public bool RepairsByItself { get; init; }

    /// <summary>Bytes a second that it writes by that at most; 0: no limit.</summary>
    public long RepairRate { get; init; }

    public LogLevel LogLevel { get; init; }

    /// <summary>Null: nothing is logged to a file.</summary>
    public string? LogFile { get; init; }

    /// <param name="file">The name that errors carry.</param>
    /// <param name="folder">What relative paths count from.</param>
    /// <param name="home">What "~" stands for.</param>
    /// <param name="hasPeers">Whether the store in a folder has a peer list: what keeps its fragments is then not in this file alone.</param>
    internal static StorageConfig Parse(string file, ReadOnlySpan<byte> utf8, string folder, string home, Func<string, bool>? hasPeers = null)
    {
        TableBinder root = new(file, TomlReader.Read(file, utf8));
        TableBinder store = root.Table("store");
        IReadOnlyList<TableBinder> holders = root.Tables("holder");
        IReadOnlyList<TableBinder> mounts = root.Tables("mount");
        TableBinder webDav = root.Table("webdav");
        TableBinder node = root.Table("node");
        TableBinder snapshots = root.Table("snapshots");
        TableBinder chunking = root.Table("chunking");
        TableBinder compression = root.Table("compression");
        TableBinder memory = root.Table("memory");
        TableBinder cache = root.Table("cache");
        TableBinder keep = root.Table("keep");
        TableBinder keys = root.Table("keys");
        TableBinder import = root.Table("import");
        TableBinder reclaim = root.Table("reclaim");
        TableBinder repair = root.Table("repair");
        TableBinder log = root.Table("log");
        root.Finish();

        StorageConfig config = new()
        {
            File = file,
            StorePath = ReadPath(store, "path", "~/.local/share/tdfs", folder, home)!,
            Survive = store.IntegerOrAuto("survive", 0, 16),
            ReplicateWithin = ReadBound(store),
            Countries = ReadCountries(store),
            Holders = ReadHolders(holders, folder, home),
            Chunking = ReadChunking(chunking),
            CompressionLevel = compression.Integer("level", 3, 0, 19),
            IndexBytes = memory.Size("index", "128 MiB", "16 MiB", "64 GiB"),
            WriteBufferBytes = memory.Size("write-buffers", "64 MiB", "32 MiB", "16 GiB"),
            CacheBytes = ReadCacheSize(cache),
            CacheFloorBytes = cache.Size("floor", "5 GiB", "0", "1024 TiB"),
            Keep = new KeepRules
            {
                Last = keep.Integer("last", 3, 0, 10000),
                Hourly = keep.Integer("hourly", 24, 0, 10000),
                Daily = keep.Integer("daily", 7, 0, 10000),
                Weekly = keep.Integer("weekly", 5, 0, 10000),
                Monthly = keep.Integer("monthly", 12, 0, 10000),
                Yearly = keep.Integer("yearly", 10, 0, 10000),
            },
            Mounts = ReadMounts(mounts, folder, home),
            WebDavListen = ReadListen(webDav),
            WebDavVolumes = ReadVolumes(webDav),
            Node = ReadNode(node, folder, home),
            SnapshotEvery = snapshots.Duration("every", "1h", "365d"),
            SnapshotThin = snapshots.Boolean("thin", true),
            UnlockFor = keys.Duration("unlock-for", "15m", "7d"),
            Import = new ImportConfig
            {
                Workers = import.IntegerOrAuto("workers", 1, 256),
                OneFileSystem = import.Boolean("one-file-system", false),
                CacheTags = import.Boolean("cache-tags", true),
                Exclude = import.Strings("exclude"),
            },
            TrashFor = reclaim.Duration("trash-for", "7d", "365d"),
            LiveThresholdPercent = reclaim.Integer("live-threshold", 70, 1, 99),
            RepairsByItself = repair.Boolean("automatic", true),
            RepairRate = repair.Size("rate", "8 MiB", "0", "1 TiB"),
            LogLevel = log.Choice("level", "info", "error", "warning", "info", "debug") switch
            {
                "error" => LogLevel.Error,
                "warning" => LogLevel.Warning,
                "debug" => LogLevel.Debug,
                _ => LogLevel.Info,
            },
            LogFile = ReadPath(log, "file", "", folder, home),
        };

        foreach (TableBinder table in (TableBinder[])[store, chunking, compression, memory, cache, keep, webDav, node, snapshots, keys, import, reclaim, repair, log])
        {
            table.Finish();
        }

        if (hasPeers?.Invoke(config.StorePath) != true)
        {
            CheckSurvive(config, store);
        }

        return config;
    }

    private static long ReadCacheSize(TableBinder cache)
    {
        long bytes = cache.Size("size", "10 GiB", "0", "1 TiB");
        return bytes is 0 or >= WindowCache.LeastBytes ? bytes : throw cache.Bad("size", "\"0\" for none, or \"64 MiB\" to \"1 TiB\"");
    }

    private static List<HolderConfig> ReadHolders(IReadOnlyList<TableBinder> tables, string folder, string home)
    {
        List<HolderConfig> holders = [];
        foreach (TableBinder table in tables)
        {
            string path = ExpandPath(table, "path", table.RequiredString("path"), folder, home) ?? throw table.Bad("path", "the path of a folder");
            string place = table.RequiredString("place");
            if (place.Length is 0 or > 64 || place.Any(c => !(char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-')))
            {
                throw table.Bad("place", "a name of 1 to 64 letters, digits, '.', '_' and '-'");
            }

            if (holders.Any(h => h.Path == path))
            {
                throw table.Bad("path", "each holder's folder once");
            }

            string country = table.String("country", "");
            if (country.Length > 0 && !Core.CountryLabel.IsOne(country))
            {
                throw table.Bad("country", "two capital letters such as \"DE\"");
            }

            holders.Add(new HolderConfig { Path = path, Place = place, Country = country.Length > 0 ? country : null, QuotaBytes = table.OptionalSize("quota", "64 MiB", "1024 PiB"), IsCached = table.Boolean("cached", false) });
            table.Finish();
        }

        return holders;
    }

    private static TimeSpan ReadBound(TableBinder table)
    {
        TimeSpan within = table.Duration("replicate-within", "0s", "365d");
        return within == TimeSpan.Zero || within >= ReplicationBound.Least ? within
            : throw table.Bad("replicate-within", $"\"0s\" for no bound, or \"{(int)ReplicationBound.Least.TotalMinutes}m\" or more");
    }

    private static CountryRule ReadCountries(TableBinder table)
    {
        IReadOnlyList<string> countries = table.Strings("countries");
        return countries.Count == 0 ? CountryRule.None
            : countries.All(Core.CountryLabel.IsOne) && countries.Distinct(StringComparer.Ordinal).Count() == countries.Count ? new CountryRule(countries)
            : throw table.Bad("countries", "countries of two capital letters such as [\"DE\", \"FR\"], each once, or [] for no rule");
    }

    private static System.Net.IPEndPoint? ReadListen(TableBinder table)
    {
        string listen = table.String("listen", "");
        return listen.Length == 0 ? null
            : Commands.WebDavVerb.TryParse(listen, out System.Net.IPEndPoint? endpoint) ? endpoint
            : throw table.Bad("listen", "an address and a port such as \"127.0.0.1:4918\" or \"[::1]:4918\", or \"\" for none");
    }

    private static NodeConfig ReadNode(TableBinder table, string folder, string home)
    {
        string listen = table.String("listen", "");
        System.Net.IPEndPoint? endpoint = null;
        if (listen.Length > 0 && (!Commands.WebDavVerb.TryParse(listen, out endpoint) || endpoint.Port == 0))
        {
            throw table.Bad("listen", "an address and a port such as \"0.0.0.0:4919\" or \"[::]:4919\", or \"\" for none");
        }

        IReadOnlyList<string> addresses = table.Strings("address");
        if (addresses.Count > TokTok.Storage.Node.Peers.Peer.MaxAddresses || addresses.Any(static each => !TokTok.Storage.Node.Peers.NodeAddress.TryParse(each, out _)))
        {
            throw table.Bad("address", $"at most {TokTok.Storage.Node.Peers.Peer.MaxAddresses} of host and port such as \"box.example.org:4919\"");
        }

        return new NodeConfig
        {
            Listen = endpoint,
            Addresses = addresses,
            Folder = ReadPath(table, "folder", "~/.local/share/tdfs-peers", folder, home)!,
            QuotaBytes = table.Size("quota", "1 GiB", "0", "1024 PiB"),
            FloorBytes = table.Size("floor", "5 GiB", "0", "1024 PiB"),
            IsFoundOnLan = table.Boolean("lan-discovery", false),
        };
    }

    private static IReadOnlyList<string> ReadVolumes(TableBinder table)
    {
        IReadOnlyList<string> volumes = table.Strings("volumes");
        foreach (string volume in volumes)
        {
            if (Commands.SnapshotWords.WhyNoVolume(volume) is { } why)
            {
                throw table.Bad("volumes", why);
            }
        }

        return volumes;
    }

    private static List<MountConfig> ReadMounts(IReadOnlyList<TableBinder> tables, string folder, string home)
    {
        List<MountConfig> mounts = [];
        foreach (TableBinder table in tables)
        {
            string volume = table.RequiredString("volume");
            if (Commands.SnapshotWords.WhyNoVolume(volume) is { } why)
            {
                throw table.Bad("volume", why);
            }

            string path = ExpandPath(table, "path", table.RequiredString("path"), folder, home) ?? throw table.Bad("path", "the path of a folder");
            if (mounts.Any(other => other.Path == path))
            {
                throw table.Bad("path", "each folder once");
            }

            if (mounts.Any(other => other.Volume == volume))
            {
                throw table.Bad("volume", "each volume once");
            }

            mounts.Add(new MountConfig(volume, path, table.Boolean("writeback-cache", false)));
            table.Finish();
        }

        return mounts;
    }

    private static ChunkingConfig ReadChunking(TableBinder table)
    {
        const long MaxBlockBytes = Core.BlockLimits.MaxBlockBytes;
        int mean = (int)table.Size("mean", "256 KiB", "16 KiB", "512 KiB");
        if (!BitOperations.IsPow2(mean))
        {
            throw table.Bad("mean", "a power of two");
        }

        int min = (int)(table.SizeOrAuto("min", "1 KiB", "1 MiB") ?? mean / 4);
        int max = (int)(table.SizeOrAuto("max", "16 KiB", "1 MiB") ?? Math.Min(mean * 4L, MaxBlockBytes));
        return min >= mean ? throw table.Bad("min", $"less than the mean of {mean >> 10} KiB")
            : max <= mean ? throw table.Bad("max", $"more than the mean of {mean >> 10} KiB")
            : new ChunkingConfig { MeanBytes = mean, MinBytes = min, MaxBytes = max, InlineBytes = (int)table.Size("inline", "1 KiB", "0", "16 KiB") };
    }

    private static void CheckSurvive(StorageConfig config, TableBinder store)
    {
        int inside = config.Holders.Where(h => config.Countries.Allows(h.Country)).Select(static h => h.Place).Distinct(StringComparer.Ordinal).Count();
        if (inside == 0 && config.Countries.IsSet)
        {
            throw store.Bad("countries", $"one [[holder]] at least whose country is among them: nothing may lie in any of the places there are{(config.Holders.Count == 0 ? "; the folder \"fragments\" of the store can be one: path = \"fragments\" and a country" : "")}");
        }

        int placeCount = Math.Max(1, inside);
        if (config.Survive >= placeCount)
        {
            throw store.Bad("survive", placeCount == 1
                ? $"0 or \"auto\": with one place{config.Countries} nothing outlives its loss; add [[holder]] tables with other places{config.Countries}"
                : $"at most {placeCount - 1}: there are {placeCount} places{config.Countries}, and one must be left");
        }
    }

    private static string? ReadPath(TableBinder table, string key, string fallback, string folder, string home)
    {
        string? path = ExpandPath(table, key, table.String(key, fallback), folder, home);
        return path is null && fallback.Length > 0 ? throw table.Bad(key, "a path") : path;
    }

    /// <summary>The absolute path, or null for "".</summary>
    private static string? ExpandPath(TableBinder table, string key, string text, string folder, string home)
    {
        if (text.Length == 0)
        {
            return null;
        }

        if (text.Contains('\0', StringComparison.Ordinal) || (text[0] == '~' && text is not ("~" or ['~', '/', ..])))
        {
            throw table.Bad(key, "an absolute path, \"~/...\", or one relative to this file");
        }

        string expanded = text[0] == '~' ? home + text[1..] : text;
        return Path.TrimEndingDirectorySeparator(Path.GetFullPath(expanded, folder));
    }
}

/// <summary>A folder that keeps fragments, and the place that it is lost with.</summary>
internal sealed record HolderConfig
{
    public required string Path { get; init; }

    public required string Place { get; init; }

    /// <summary>Where its owner says it lies; null: nobody said.</summary>
    public string? Country { get; init; }

    public long? QuotaBytes { get; init; }

    public bool IsCached { get; init; }
}

/// <summary>What this machine keeps for its peers.</summary>
internal sealed record NodeConfig
{
    /// <summary>Null: nobody can dial this machine, and nothing is kept.</summary>
    public System.Net.IPEndPoint? Listen { get; init; }

    /// <summary>Where others dial; empty: where it listens.</summary>
    public required IReadOnlyList<string> Addresses { get; init; }

    public required string Folder { get; init; }

    /// <summary>For a peer that nothing else is said about.</summary>
    public long QuotaBytes { get; init; }

    /// <summary>Stays free on the folder's disk.</summary>
    public long FloorBytes { get; init; }

    /// <summary>Whether those who know its key find this node on its own network, and it looks for its peers there.</summary>
    public bool IsFoundOnLan { get; init; }
}

/// <summary>A volume, made if there is none, and the folder that shows it.</summary>
internal sealed record MountConfig(string Volume, string Path, bool WritebackCache = false);

internal sealed record ChunkingConfig
{
    public required int MeanBytes { get; init; }

    public required int MinBytes { get; init; }

    public required int MaxBytes { get; init; }

    /// <summary>Files up to this size are kept inside their entry.</summary>
    public required int InlineBytes { get; init; }
}

internal sealed record ImportConfig
{
    /// <summary>Null: the machine's processors.</summary>
    public int? Workers { get; init; }

    public bool OneFileSystem { get; init; }

    public bool CacheTags { get; init; }

    public required IReadOnlyList<string> Exclude { get; init; }
}

internal enum LogLevel
{
    Error,
    Warning,
    Info,
    Debug,
}
