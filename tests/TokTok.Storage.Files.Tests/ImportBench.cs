using System.Runtime.Versioning;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

/// <summary>A store in memory, a volume, a source folder and a place for caches: what every import test begins with.</summary>
[SupportedOSPlatform("linux")]
internal sealed class ImportBench : IDisposable, IImportObserver, IRestoreObserver
{
    internal ImportBench()
    {
        _ = Directory.CreateDirectory(Source);
        Volume = Volume.Create(Store, "test", Store.Realm, new SeededRandom(1));
    }

    internal TempFolder Folder { get; } = new();

    internal string Source => Folder.At("source");

    internal MemoryVolumeStore Store { get; } = new();

    internal Volume Volume { get; }

    internal MemoryDisk Disk { get; } = new();

    internal List<ImportTrouble> Troubles { get; } = [];

    internal List<RestoreTrouble> RestoreTroubles { get; } = [];

    internal List<string> Notes { get; } = [];

    internal ImportProgress? Live { get; private set; }

    internal Action? OnStarted { get; set; }

    /// <summary>A minute ahead of the files, so that none is racy.</summary>
    internal TimeSpan Ahead { get; set; } = TimeSpan.FromMinutes(1);

    internal ImportOptions Options => new()
    {
        Sources = [Source],
        Workers = 3,
        Cache = new ImportCachePlace(Disk, "state", new SecretBytes(32), SystemRandom.Instance),
    };

    internal Task<ImportResult> ImportAsync(ImportOptions? options = null, CancellationToken stop = default)
    {
        Troubles.Clear();
        Notes.Clear();
        var clock = new ManualClock(TimeProvider.System.GetUtcNow() + Ahead);
        return new Importer(Store, Volume, SystemRandom.Instance, clock).RunAsync(options ?? Options, new SnapshotTexts { Host = "here" }, this, stop);
    }

    internal Task<RestoreProgress> RestoreAsync(SnapshotRecord snapshot, RestoreOptions options, CancellationToken cancel = default)
    {
        RestoreTroubles.Clear();
        return Restorer.Of(Volume, snapshot).RunAsync(snapshot.Root, default, options, this, cancel);
    }

    internal async Task AssertRestoresAsync(SnapshotRecord snapshot, string like, string name = "restored")
    {
        string target = Folder.At(name);
        RestoreProgress progress = await RestoreAsync(snapshot, new RestoreOptions { Target = target, Workers = 3 });
        Assert.Empty(RestoreTroubles);
        Assert.True(progress.IsComplete);
        Assert.Empty(TreeCompare.Differences(like, target));
    }

    internal async Task<Entry> FindAsync(SnapshotRecord snapshot, string path)
    {
        Entry entry = snapshot.Root;
        foreach (string name in path.Split('/'))
        {
            ReadOnlyMemory<byte>? value = await Volume.Tables.GetAsync(entry.Children, Encoding.UTF8.GetBytes(name), default);
            Assert.True(value is not null, $"{path} is not in the snapshot");
            entry = Entry.Decode(value.Value);
        }

        return entry;
    }

    internal async Task<List<string>> NamesAsync(Entry directory)
    {
        var names = new List<string>();
        await foreach (TableItem item in Volume.Tables.ScanAsync(directory.Children))
        {
            names.Add(PathText.Show(item.Key.Span));
        }

        return names;
    }

    internal void Write(string path, string text)
    {
        string full = Path.Combine(Source, path);
        _ = Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }

    public void Started(ImportProgress progress)
    {
        Live = progress;
        OnStarted?.Invoke();
    }

    public void Trouble(ImportTrouble trouble) => Troubles.Add(trouble);

    public void Note(string line) => Notes.Add(line);

    public void Started(RestoreProgress progress)
    {
    }

    public void Trouble(RestoreTrouble trouble) => RestoreTroubles.Add(trouble);

    public void Dispose()
    {
        Volume.Dispose();
        Folder.Dispose();
    }
}
