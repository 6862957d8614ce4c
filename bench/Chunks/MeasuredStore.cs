using System.Text;
using TokTok.Storage.Blocks.Disks;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;

namespace Chunks;

/// <summary>What one import came to. CPU is the whole process's: it stays comparable on a shared machine, where wall time does not.</summary>
internal readonly record struct Imported(Written Written, double CpuSeconds, long SourceBytes);

/// <summary>What a random read of 4 KiB costs: the bytes are those that read calls returned.</summary>
internal readonly record struct RandomReads(double CpuMicroseconds, double WallMicroseconds, double ReadBytes);

/// <summary>A real store with one folder holder, in a folder of its own that goes with it; keys from the machine's randomness, never written.</summary>
internal sealed class MeasuredStore : IAsyncDisposable
{
    private const int ReadCount = 3000;
    private const int ReadBytes = 4096;

    private readonly string _folder;
    private readonly AccountKeys _account;
    private readonly Keyring _keyring;
    private readonly BlockStore _store;
    private readonly CountingVolumeStore _counting;
    private readonly PosixDisk _disk;
    private readonly ContentOptions _content;

    private MeasuredStore(string folder, AccountKeys account, Keyring keyring, BlockStore store, PosixDisk disk, ContentOptions content)
    {
        (_folder, _account, _keyring, _store, _disk, _content) = (folder, account, keyring, store, disk, content);
        _counting = new CountingVolumeStore(store);
    }

    internal static async Task<MeasuredStore> CreateAsync(ContentOptions content, int compressionLevel)
    {
        string folder = Directory.CreateTempSubdirectory("tdfs-chunks-").FullName;
        var disk = new PosixDisk();
        FolderHolder.Create(disk, folder + "/fragments", SystemRandom.Instance).Dispose();
        disk.CreateDirectory(folder + "/caches");
        byte[] entropy = new byte[Words.EntropySize];
        SystemRandom.Instance.Fill(entropy);
        AccountKeys account = AccountKeys.FromEntropy(entropy);
        Keyring keyring = Keyring.Create(account, 1, "bench", TimeProvider.System.GetUtcNow().ToUnixTimeSeconds(), SystemRandom.Instance);
        keyring.Add(KeyDomain.Create(DomainKind.Realm, SystemRandom.Instance));
        var keys = new StoreKeys
        {
            Device = keyring.DeviceNumber,
            DeviceKeys = keyring.Device,
            Certificate = keyring.Certificate,
            Realm = keyring.Domains[0],
            Domains = [.. keyring.Domains],
            Tag = keyring.Tag,
            AnchorKey = keyring.AnchorKey,
            AccountPublicKey = keyring.AccountPublicKey.ToArray(),
            RecoveryPublicKey = keyring.RecoveryPublicKey.ToArray(),
        };
        BlockStore store = await BlockStore.OpenAsync(
            disk,
            new StoreOptions { StateFolder = folder, CompressionLevel = compressionLevel },
            keys,
            [new ConfiguredHolder("here", folder + "/fragments", FolderHolder.Open(disk, folder + "/fragments", SystemRandom.Instance), null)],
            () => new RunIndex(disk, folder + "/index"),
            TimeProvider.System,
            SystemRandom.Instance,
            StoreAccess.Write,
            "bench",
            null,
            CancellationToken.None);
        return new MeasuredStore(folder, account, keyring, store, disk, content);
    }

    /// <summary>Imports a tree or a file into a volume; the stat cache is the volume's.</summary>
    internal async Task<Imported> ImportAsync(string volumeName, string source)
    {
        TimeSpan before = Environment.CpuUsage.TotalTime;
        using Volume volume = await Volume.OpenOrCreateAsync(_counting, volumeName, SystemRandom.Instance, CancellationToken.None);
        var options = new ImportOptions
        {
            Sources = [source],
            Content = _content,
            Cache = new ImportCachePlace(_disk, _folder + "/caches", _keyring.CacheKey, SystemRandom.Instance),
        };
        ImportResult result = await new Importer(_counting, volume, SystemRandom.Instance, TimeProvider.System)
            .RunAsync(options, new SnapshotTexts { Host = "bench" }, null, CancellationToken.None);
        return result.IsComplete
            ? new Imported(_counting.Take(), (Environment.CpuUsage.TotalTime - before).TotalSeconds, result.Progress.Bytes)
            : throw new InvalidOperationException($"the import of {source} is not complete");
    }

    /// <summary>Reads 4 KiB at random places of the volume's only file: warm, in this process, one after the other.</summary>
    internal async Task<RandomReads> ReadRandomlyAsync(string volumeName, string file)
    {
        using Volume volume = await Volume.TryOpenAsync(_store, volumeName, CancellationToken.None) ?? throw new InvalidOperationException($"no volume {volumeName}");
        SnapshotRecord snapshot = (await volume.ListSnapshotsAsync(CancellationToken.None))[^1];
        var tree = TreeReader.Of(volume, snapshot);
        TreeItem item = await tree.ResolveAsync(snapshot.Root, Encoding.UTF8.GetBytes(file), CancellationToken.None) ?? throw new InvalidOperationException($"no {file}");
        using FileContentReader content = tree.OpenContent(item.Entry);
        byte[] target = new byte[ReadBytes];
        var places = new Random(1);
        async Task ReadAsync()
        {
            for (int i = 0; i < ReadCount; i++)
            {
                _ = await content.ReadAsync(places.NextInt64(content.Size / ReadBytes) * ReadBytes, target, CancellationToken.None);
            }
        }

        await ReadAsync(); // warms page cache, directories and the code
        (TimeSpan cpu, long begin, long bytes) = (Environment.CpuUsage.TotalTime, TimeProvider.System.GetTimestamp(), BytesReadSoFar());
        await ReadAsync();
        return new RandomReads(
            (Environment.CpuUsage.TotalTime - cpu).TotalMicroseconds / ReadCount,
            TimeProvider.System.GetElapsedTime(begin).TotalMicroseconds / ReadCount,
            (BytesReadSoFar() - bytes) / (double)ReadCount);
    }

    /// <summary>Closes the store and gives the bytes that its index takes on disk.</summary>
    internal async Task<long> CloseAsync()
    {
        await _store.DisposeAsync();
        return new DirectoryInfo(_folder + "/index").EnumerateFiles("*", SearchOption.AllDirectories).Sum(static file => file.Length);
    }

    public async ValueTask DisposeAsync()
    {
        await _store.DisposeAsync();
        _keyring.Dispose();
        _account.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static long BytesReadSoFar() =>
        long.Parse(File.ReadLines("/proc/self/io").First(static line => line.StartsWith("rchar: ", StringComparison.Ordinal))["rchar: ".Length..]);
}
