using System.Buffers;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;
using ChangeKind = TokTok.Storage.Tdfs.Facades.ChangeKind;
using ImportResult = TokTok.Storage.Tdfs.Facades.ImportResult;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The volumes of an open store, as the verbs ask for them.</summary>
/// <remarks>
/// A snapshot's number is given out once and stays; where two lines of one volume gave out the same, its id's first digits (four or more) tell them apart.
/// Times in names are those of the clock's local zone, which lists show too.
/// Volumes stay open as long as this does; one verb at a time uses it.
/// </remarks>
/// <param name="open">What this process has open to work in; null: nothing.</param>
/// <param name="bound">How old what is not safe elsewhere may grow; null: as old as it likes.</param>
internal sealed partial class StoreVolumes(
    BlockStore store,
    StorageConfig config,
    IDisk disk,
    string cacheFolder,
    SecretBytes cacheKey,
    IRandomSource random,
    TimeProvider clock,
    OpenVolumes? open = null,
    ReplicationBound? bound = null) : IVolumes
{
    private const int MaxVolumeNameBytes = 255;
    private const int NoSuchFile = 2; // ENOENT
    private const int NotAFolder = 20; // ENOTDIR
    private const int NameTaken = 17; // EEXIST
    private static readonly TimeSpan s_progressEvery = TimeSpan.FromMilliseconds(200);
    private static readonly Entry s_nothing = new() { Type = EntryType.Directory, FileId = 0 };

    private readonly Dictionary<string, Volume> _volumes = new(StringComparer.Ordinal);
    private readonly List<UnreadableVolume> _damaged = []; // found when all volumes were listed last

    public async ValueTask<ImportResult> ImportAsync(ImportRequest request, IProgressSink progress, CancellationToken cancel)
    {
        string host = Environment.MachineName;
        string name = request.Volume ?? $"{host}:{Path.TrimEndingDirectorySeparator(request.Folder)}";
        if (Encoding.UTF8.GetByteCount(name) is 0 or > MaxVolumeNameBytes)
        {
            throw new UserError(ExitCode.Usage, $"found a volume name of {Encoding.UTF8.GetByteCount(name)} bytes, expected 1 to {MaxVolumeNameBytes}; give one with --volume");
        }

        string[] own = [config.StorePath, .. config.Node.Listen is null ? [] : (string[])[config.Node.Folder], .. store.Holders.Where(static holder => holder is { Holder: not null, Address.Length: > 0 } && !PeerHolders.IsPeer(holder)).Select(static holder => holder.Address)];
        if (new ImportOptions { Sources = [request.Folder], OwnFolders = own }.OwnSource is { } itself)
        {
            throw new UserError(ExitCode.Usage, $"{itself} is a folder of this store itself, expected one to keep; a store is copied by a [[holder]] in another place");
        }

        RefuseOpen(name, "import into it; or copy into the folder");
        Volume volume = await TryOpenAsync(name, cancel).ConfigureAwait(false)
            ?? await Volume.OpenOrCreateAsync(store, name, random, cancel).ConfigureAwait(false);
        _volumes[name] = volume;
        var options = new ImportOptions
        {
            Sources = [request.Folder],
            Excludes = IgnorePatterns.Parse(Encoding.UTF8.GetBytes(string.Join('\n', request.Rules.Exclude))),
            IsOneFileSystem = request.Rules.OneFileSystem,
            LeavesOutCaches = request.Rules.CacheTags,
            OwnFolders = own,
            Workers = request.Rules.Workers ?? 0,
            Pace = bound is { IsSet: true } ? bound.PaceAsync : null,
            Content = new ContentOptions
            {
                InlineBytes = config.Chunking.InlineBytes,
                MeanChunkBytes = config.Chunking.MeanBytes,
                MinChunkBytes = config.Chunking.MinBytes,
                MaxChunkBytes = config.Chunking.MaxBytes,
            },
            Cache = new ImportCachePlace(disk, cacheFolder, cacheKey, random),
        };
        SnapshotTexts texts = Texts(request.Label);
        using var watcher = new ImportWatcher(progress, clock);
        Files.ImportResult done;
        try
        {
            done = await new Importer(store, volume, random, clock).RunAsync(options, texts, watcher, cancel).ConfigureAwait(false);
        }
        catch (PosixException missing) when (missing.Errno is NoSuchFile or NotAFolder)
        {
            throw new UserError(ExitCode.NotFound, missing.Message + "; expected a folder or file to keep", missing);
        }

        watcher.Dispose();
        if (!done.IsFinished)
        {
            cancel.ThrowIfCancellationRequested(); // the unfinished snapshot is committed, and the next import continues from it
        }

        IReadOnlyList<Located> all = await LocateAllAsync(volume, cancel: CancellationToken.None).ConfigureAwait(false);
        return new ImportResult
        {
            Snapshot = all.First(each => each.Record.Id == done.Snapshot.Id).Info(),
            FileCount = done.Progress.FileCount,
            FolderCount = Math.Max(0, done.Progress.DirectoryCount - 1),
            OtherCount = done.Progress.OtherCount,
            UnchangedFileCount = done.Progress.UnchangedCount,
            ReadBytes = done.Progress.ReadBytes,
            SavedBytes = done.Progress.SavedBytes,
            StoredBytes = done.Progress.StoredBytes,
            Problems = watcher.Problems,
        };
    }

    public async ValueTask<IReadOnlyList<SnapshotInfo>> SnapshotsAsync(string? volume, CancellationToken cancel)
    {
        List<Located> all = await LocateAllAsync(volume, cancel).ConfigureAwait(false);
        return [.. all.OrderBy(static each => each.Record.TimeNs).Select(static each => each.Info())];
    }

    public async ValueTask<SnapshotInfo> SnapshotAsync(string snapshot, CancellationToken cancel) => (await FindAsync(snapshot, cancel).ConfigureAwait(false)).Info();

    public IReadOnlyList<UnreadableVolume> UnreadableVolumes =>
        [.. store.UnreadableVolumes.Except(Volume.Names(store), StringComparer.Ordinal).Select(static name => new UnreadableVolume(name, "its keys were burned or never came back", false)), .. _damaged];

    public async IAsyncEnumerable<LogEntry> LogAsync(string volume, byte[] path, [EnumeratorCancellation] CancellationToken cancel)
    {
        Volume opened = await OpenAsync(volume, cancel).ConfigureAwait(false);
        List<Located> all = await LocateAllAsync(opened, cancel).ConfigureAwait(false);
        Dictionary<SnapshotId, Located> byId = all.ToDictionary(static each => each.Record.Id);
        List<LogEntry> entries = [];
        await foreach (PathVersion version in PathLog.ReadAsync(opened, path, cancel).ConfigureAwait(false))
        {
            entries.Add(new LogEntry(byId[version.Snapshot.Id].Info(), KindOf(version.Kind), BytesOf(version.Entry)));
        }

        if (entries.Count == 0)
        {
            throw NoSuchPath(path, $"any snapshot of {volume}");
        }

        for (int at = entries.Count - 1; at >= 0; at--)
        {
            yield return entries[at];
        }
    }

    public async IAsyncEnumerable<EntryInfo> ListAsync(string snapshot, byte[] path, bool recursive, [EnumeratorCancellation] CancellationToken cancel)
    {
        Located found = await FindAsync(snapshot, cancel).ConfigureAwait(false);
        TreeReader reader = found.Reader();
        TreeItem item = await ResolveAsync(found, path, cancel).ConfigureAwait(false);
        if (item.Entry.Type != EntryType.Directory)
        {
            yield return InfoOf(item.Path, item.Entry);
            yield break;
        }

        IAsyncEnumerable<TreeItem> items = recursive ? reader.WalkAsync(item.Entry, item.Path, cancel) : reader.ListAsync(item.Entry, default, cancel);
        await foreach (TreeItem each in items.ConfigureAwait(false))
        {
            yield return InfoOf(recursive ? each.Path : Join(item.Path, each.Path), each.Entry);
        }
    }

    public async ValueTask CatAsync(string snapshot, byte[] path, Stream target, CancellationToken cancel)
    {
        Located found = await FindAsync(snapshot, cancel).ConfigureAwait(false);
        TreeItem item = await ResolveAsync(found, path, cancel).ConfigureAwait(false);
        if (item.Entry.Type != EntryType.File)
        {
            throw new UserError(ExitCode.Usage, $"{Shown(path)}: found a {Noun(item.Entry.Type)}, expected a file{(item.Entry.Type == EntryType.Directory ? "; `tdfs ls` lists a folder" : "; `tdfs ls -l` says what it is")}");
        }

        using FileContentReader content = found.Reader().OpenContent(item.Entry);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes);
        try
        {
            for (long at = 0; at < content.Size;)
            {
                int bytes = await content.ReadAsync(at, buffer, cancel).ConfigureAwait(false);
                await target.WriteAsync(buffer.AsMemory(0, bytes), cancel).ConfigureAwait(false);
                at += bytes;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer, clearArray: true);
        }
    }

    public async IAsyncEnumerable<ChangeInfo> DiffAsync(string from, string to, byte[] path, [EnumeratorCancellation] CancellationToken cancel)
    {
        Located old = await FindAsync(from, cancel).ConfigureAwait(false);
        Located now = await FindAsync(to, cancel).ConfigureAwait(false);
        if (old.Volume.Domain != now.Volume.Domain)
        {
            throw new UserError(ExitCode.Usage, $"found snapshots of {old.Volume.Name} and {now.Volume.Name}, whose keys differ; expected volumes of one key domain");
        }

        TreeItem? oldItem = await old.Reader().ResolveAsync(old.Record.Root, path, cancel).ConfigureAwait(false);
        TreeItem? newItem = await now.Reader().ResolveAsync(now.Record.Root, path, cancel).ConfigureAwait(false);
        byte[] prefix = (oldItem ?? newItem ?? throw NoSuchPath(path, $"either of {from} and {to}")).Path.ToArray();
        Entry? was = oldItem?.Entry;
        Entry? become = newItem?.Entry;
        if (prefix.Length > 0 && TreeDiff.KindOf(was, become) is { } own)
        {
            yield return new ChangeInfo(KindOf(own), prefix, BytesOf(was), BytesOf(become));
        }

        if (was?.Type != EntryType.Directory && become?.Type != EntryType.Directory)
        {
            yield break;
        }

        Entry oldRoot = was is { Type: EntryType.Directory } ? was : s_nothing;
        Entry newRoot = become is { Type: EntryType.Directory } ? become : s_nothing;
        await foreach (TreeChange change in TreeDiff.CompareAsync(now.Volume.Tables, oldRoot, old.Record.Links, newRoot, now.Record.Links, cancel).ConfigureAwait(false))
        {
            yield return new ChangeInfo(KindOf(change.Kind), Join(prefix, change.Path), BytesOf(change.Old), BytesOf(change.New));
        }
    }

    public async ValueTask<RestoreResult> RestoreAsync(RestoreRequest request, IProgressSink progress, CancellationToken cancel)
    {
        Located found = await FindAsync(request.Snapshot, cancel).ConfigureAwait(false);
        TreeItem item = await ResolveAsync(found, request.Path, cancel).ConfigureAwait(false);
        var options = new RestoreOptions
        {
            Target = request.Target,
            Existing = request.Overwrite switch
            {
                Overwrite.Always => ExistingFiles.Replace,
                Overwrite.Changed => ExistingFiles.OverwriteIfDifferent,
                _ => ExistingFiles.Fail,
            },
            Resumes = request.Overwrite != Overwrite.Always,
            Verifies = request.Verify,
            ComparesContents = request.Verify,
            Syncs = request.Sync,
            Workers = config.Import.Workers ?? 0,
        };
        using var watcher = new RestoreWatcher(progress, clock);
        RestoreProgress done;
        try
        {
            done = await Restorer.Of(found.Volume, found.Record).RunAsync(item.Entry, item.Name, options, watcher, cancel).ConfigureAwait(false);
        }
        catch (PosixException missing) when (missing.Errno == NoSuchFile)
        {
            throw new UserError(ExitCode.NotFound, missing.Message + "; the folder that the target lies in must exist", missing);
        }
        catch (PosixException taken) when (taken.Errno is NotAFolder or NameTaken)
        {
            throw new UserError(ExitCode.Exists, taken.Message + "; expected a folder to restore into, or a name that is free", taken);
        }

        watcher.Dispose();
        return new RestoreResult(done.FileCount - done.KeptCount, done.Bytes, done.KeptCount, watcher.Problems, watcher.DamagedPaths) { HasOnlyTaken = watcher.HasOnlyTaken };
    }

    public async ValueTask<ForgetResult> ForgetAsync(ForgetRequest request, CancellationToken cancel)
    {
        List<Located> all = [];
        HashSet<(string Volume, SnapshotId Id)> goes = [];
        if (request.Keep is { } keep)
        {
            all = await LocateAllAsync(request.Volume, cancel).ConfigureAwait(false);
            foreach (IGrouping<string, Located> volume in all.GroupBy(static each => each.Volume.Name))
            {
                IEnumerable<KeepCandidate> candidates = volume.Select(static each => new KeepCandidate(each.Record.Id, each.Record.TimeNs, each.Record.IsMarked, each.Record.IsFinished));
                goes.UnionWith(keep.Apply(candidates).Where(static decision => !decision.IsKept).Select(decision => (volume.Key, decision.Snapshot.Id)));
            }
        }
        else
        {
            // All names are looked up before anything goes, so that numbers mean what the user saw.
            foreach (string name in request.Snapshots)
            {
                Located found = await FindAsync(request.Volume is { } volume ? $"{volume}@{name}" : name, cancel, mustBeOne: true).ConfigureAwait(false);
                if (!all.Any(each => each.Volume.Name == found.Volume.Name))
                {
                    all.AddRange(await LocateAllAsync(found.Volume, cancel).ConfigureAwait(false));
                }

                goes.Add((found.Volume.Name, found.Record.Id));
            }
        }

        ILookup<bool, Located> parts = all.ToLookup(each => goes.Contains((each.Volume.Name, each.Record.Id)));
        if (!request.IsDryRun)
        {
            store.PassQuotas(); // a store at its quotas must be able to shrink
            foreach (IGrouping<Volume, Located> volume in parts[true].GroupBy(static each => each.Volume))
            {
                await volume.Key.RemoveSnapshotsAsync([.. volume.Select(static each => each.Record)], cancel, keepsActive: open?.Find(volume.Key.Name) is not null).ConfigureAwait(false);
            }
        }

        return new ForgetResult([.. parts[false].Select(static each => each.Info())], [.. parts[true].Select(static each => each.Info())]);
    }

    public async ValueTask<IReadOnlyList<SnapshotInfo>> MarkAsync(IReadOnlyList<string> snapshots, bool isMarked, CancellationToken cancel)
    {
        // All names are looked up before anything changes: one that is not there leaves the others as they are.
        List<Located> found = [];
        foreach (string name in snapshots)
        {
            Located one = await FindAsync(name, cancel).ConfigureAwait(false);
            if (!found.Exists(each => each.Volume == one.Volume && each.Record.Id == one.Record.Id))
            {
                found.Add(one);
            }
        }

        foreach (Located each in found.Where(each => each.Record.IsMarked != isMarked))
        {
            await each.Volume.MarkAsync(each.Record, isMarked, cancel).ConfigureAwait(false);
        }

        return [.. found.Select(each => each.Info() with { IsKept = isMarked })];
    }

    public async ValueTask<(string Snapshot, byte[] Path)> WhereIsAsync(string local, CancellationToken cancel)
    {
        byte[] path = Encoding.UTF8.GetBytes(Path.TrimEndingDirectorySeparator(local));
        (Located Where, byte[] Path, int SourceBytes)? best = null;
        foreach (Located each in await LocateAllAsync((string?)null, cancel).ConfigureAwait(false))
        {
            foreach (ReadOnlyMemory<byte> source in each.Record.Sources)
            {
                ReadOnlySpan<byte> top = source.Span.TrimEnd((byte)'/');
                bool isIn = each.Record.IsFinished && path.AsSpan().StartsWith(top) && (path.Length == top.Length || path[top.Length] == '/');
                bool isBetter = best is null || top.Length > best.Value.SourceBytes || (top.Length == best.Value.SourceBytes && each.Record.TimeNs >= best.Value.Where.Record.TimeNs);
                if (isIn && isBetter)
                {
                    // One source is the root itself; several stand under their whole paths.
                    best = (each, path.AsSpan(each.Record.Sources.Count == 1 ? top.Length : 0).TrimStart((byte)'/').ToArray(), top.Length);
                }
            }
        }

        return best is { } found
            ? ($"{found.Where.Volume.Name}@{found.Where.Record.Id}", found.Path)
            : throw new UserError(ExitCode.NotFound, $"{local} is in no snapshot; import it, or name a snapshot as for `tdfs ls`");
    }

    /// <summary>The volume of a snapshot, and a path in it as volumes have it.</summary>
    /// <param name="mayBeGone">The snapshot need not have it.</param>
    internal async ValueTask<(VolumeId Volume, string Name, byte[] Path)> FindPathAsync(string snapshot, byte[] path, CancellationToken cancel, bool mayBeGone = false)
    {
        Located found = await FindAsync(snapshot, cancel).ConfigureAwait(false);
        TreeItem? item = await found.Reader().ResolveAsync(found.Record.Root, path, cancel).ConfigureAwait(false);
        return (found.Volume.Root.Id, found.Volume.Name, item?.Path.ToArray() ?? (mayBeGone ? TreeReader.Normal(path).ToArray() : throw NoSuchPath(path, $"{found.Volume.Name}@{found.Number}")));
    }

    public async ValueTask<HealthInfo> HealthAsync(string snapshot, byte[] path, bool readAll, IProgressSink progress, CancellationToken cancel)
    {
        Located found = await FindAsync(snapshot, cancel).ConfigureAwait(false);
        TreeItem item = await ResolveAsync(found, path, cancel).ConfigureAwait(false);
        int wanted = await WantedAsync(found, item, cancel).ConfigureAwait(false);
        var blocks = new HealthMarker(store, found.Volume.Domain, readAll, progress);
        List<string> lost = [];
        ValueTask<Entry?> Resolve(Entry link, CancellationToken token) => ResolveLinkAsync(found, link, token);
        try
        {
            await TreeWalker.MarkEntryAsync(item.Entry, found.Volume.Blocks, blocks, Resolve, cancel, wanted).ConfigureAwait(false);
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            blocks.CountUnreadable();
            lost.Add($"{Shown(item.Path.Span)}: {damage.Message}; what lies below it is not counted");
        }

        if (blocks.LostCount > 0 && lost.Count == 0)
        {
            await FindLostAsync(found, item, blocks, lost, cancel).ConfigureAwait(false);
        }

        return new HealthInfo
        {
            FileCount = item.Entry.Type == EntryType.Directory ? Clamp(item.Entry.Totals.Entries) : 1,
            BlockCount = blocks.HealthyCount + blocks.DegradedCount + blocks.LostCount,
            HealthyBlockCount = blocks.HealthyCount,
            DegradedBlockCount = blocks.DegradedCount,
            LostBlockCount = blocks.LostCount,
            WeakBlockCount = blocks.WeakCount,
            FreedBlockCount = blocks.FreedCount,
            Survives = blocks.Survives,
            PlaceCount = store.Placement.PlaceCount,
            Wanted = wanted,
            VerifiedNs = readAll ? (clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100 : null,
            LostPaths = lost,
            Evidence = new StoreAudits(store, config.StorePath, cacheKey, disk, random, clock, static _ => { }).Evidence(),
        };
    }

    /// <summary>How many lost places the path is to outlive: as it says itself or the nearest folder above it, else as the store does.</summary>
    private async ValueTask<int> WantedAsync(Located found, TreeItem item, CancellationToken cancel)
    {
        TreeReader reader = found.Reader();
        for (ReadOnlyMemory<byte> at = item.Path; ; at = at[..Math.Max(0, at.Span.LastIndexOf((byte)'/'))])
        {
            TreeItem? folder = await reader.ResolveAsync(found.Record.Root, at, cancel).ConfigureAwait(false);
            if (folder?.Entry.Survive is int survive)
            {
                return survive;
            }

            if (at.IsEmpty)
            {
                return store.DefaultSurvive;
            }
        }
    }

    /// <summary>The files below an entry that need a lost block. Only walked when there is one.</summary>
    private static async ValueTask FindLostAsync(Located found, TreeItem top, HealthMarker blocks, List<string> lost, CancellationToken cancel)
    {
        async ValueTask LookAsync(TreeItem file)
        {
            var marker = new LostMarker(blocks);
            await TreeWalker.MarkEntryAsync(file.Entry, found.Volume.Blocks, marker, null, cancel).ConfigureAwait(false);
            if (marker.HasLost)
            {
                lost.Add(Shown(file.Path.Span));
            }
        }

        try
        {
            if (top.Entry.Type != EntryType.Directory)
            {
                await LookAsync(top).ConfigureAwait(false);
                return;
            }

            await foreach (TreeItem each in found.Reader().WalkAsync(top.Entry, top.Path, cancel).ConfigureAwait(false))
            {
                if (each.Entry.Type != EntryType.Directory)
                {
                    await LookAsync(each).ConfigureAwait(false);
                }
            }
        }
        catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
        {
            lost.Add($"{Shown(top.Path.Span)}: {damage.Message}; what follows is not listed");
        }
    }

    private static async ValueTask<Entry?> ResolveLinkAsync(Located found, Entry link, CancellationToken cancel) =>
        await LinkTable.ResolveAsync(found.Volume.Tables, found.Record.Links, link, cancel).ConfigureAwait(false);

    private async ValueTask<Volume?> TryOpenAsync(string name, CancellationToken cancel)
    {
        if (open?.Find(name) is { } present)
        {
            return present.Volume;
        }

        if (_volumes.TryGetValue(name, out Volume? known))
        {
            return known;
        }

        Volume? volume = await Volume.TryOpenAsync(store, name, cancel).ConfigureAwait(false);
        if (volume is not null)
        {
            _volumes.Add(name, volume);
        }

        return volume;
    }

    private async ValueTask<Volume> OpenAsync(string name, CancellationToken cancel) =>
        await TryOpenAsync(name, cancel).ConfigureAwait(false)
        ?? throw (store.UnreadableVolumes.Contains(name)
            ? new UserError(ExitCode.NotFound, $"volume {name} cannot be read: its keys were burned or never came back; `tdfs snapshots` lists the volumes there are")
            : NoVolume(name));

    private static async ValueTask<List<Located>> LocateAllAsync(Volume volume, CancellationToken cancel)
    {
        IReadOnlyList<SnapshotRecord> records = await volume.ListSnapshotsAsync(cancel).ConfigureAwait(false);
        return [.. records.Select(record => new Located(volume, record))];
    }

    private async ValueTask<List<Located>> LocateAllAsync(string? volume, CancellationToken cancel)
    {
        if (volume is not null)
        {
            return await LocateAllAsync(await OpenAsync(volume, cancel).ConfigureAwait(false), cancel).ConfigureAwait(false);
        }

        List<Located> all = [];
        _damaged.Clear();
        foreach (string name in Volume.Names(store))
        {
            try
            {
                all.AddRange(await LocateAllAsync(await OpenAsync(name, cancel).ConfigureAwait(false), cancel).ConfigureAwait(false));
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                _damaged.Add(new UnreadableVolume(name, damage.Message, true)); // the others are none the worse for it
            }
        }

        return all;
    }

    /// <summary>VOLUME@NAME by the longest volume name that fits, for names of volumes may hold an @ too; else NAME among all volumes.</summary>
    /// <param name="mustBeOne">Whether a time that several snapshots begin with is refused, where the newest of them would be taken.</param>
    private async ValueTask<Located> FindAsync(string name, CancellationToken cancel, bool mustBeOne = false)
    {
        string? prefix = Volume.Names(store).Concat(store.UnreadableVolumes).Where(volume => name.StartsWith(volume + "@", StringComparison.Ordinal)).MaxBy(static volume => volume.Length);
        if (prefix is not null)
        {
            Volume volume = await OpenAsync(prefix, cancel).ConfigureAwait(false);
            return Pick(await LocateAllAsync(volume, cancel).ConfigureAwait(false), name[(prefix.Length + 1)..], name, clock.LocalTimeZone, mustBeOne);
        }

        List<Located> all = await LocateAllAsync((string?)null, cancel).ConfigureAwait(false);
        try
        {
            return Pick(all, name, name, clock.LocalTimeZone, mustBeOne);
        }
        catch (UserError unknown) when (_damaged.Count > 0)
        {
            throw new UserError(ExitCode.Damaged, $"{unknown.Message}; volume {_damaged[0].Name} is damaged and was not looked through: {_damaged[0].Why}", unknown);
        }
        catch (UserError) when (name.LastIndexOf('@') > 0)
        {
            throw NoVolume(name[..name.LastIndexOf('@')]);
        }
    }

    private UserError NoVolume(string name)
    {
        string? near = NearestName.Find(name, Volume.Names(store));
        return new UserError(ExitCode.NotFound, $"no volume {name}{(near is null ? "" : $", was {near} meant")}; `tdfs snapshots` lists the volumes there are");
    }

    /// <param name="zone">The zone that lists show times in.</param>
    internal static Located Pick(IReadOnlyList<Located> all, string name, string asked, TimeZoneInfo zone, bool mustBeOne = false)
    {
        if (name.Length == 0)
        {
            throw new UserError(ExitCode.NotFound, "found an empty name, expected a snapshot's; `tdfs snapshots` lists what there is");
        }

        if (all.Count == 0)
        {
            throw new UserError(ExitCode.NotFound, $"no snapshot {asked}; `tdfs snapshots` lists what there is");
        }

        List<Located> labelled = [.. all.Where(each => each.Record.Labels.Contains(name))];
        bool isNumber = name.All(char.IsAsciiDigit);
        if (labelled.Count == 0 && isNumber && long.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out long number))
        {
            List<Located> numbered = [.. all.Where(each => each.Number == number)];
            if (numbered.Count > 0)
            {
                return Single(numbered, asked);
            }
        }

        if (labelled.Count > 0 && name != "latest")
        {
            return labelled.DistinctBy(static each => each.Volume.Name).Count() == 1 ? labelled.MaxBy(static each => each.Record.TimeNs)! : Single(labelled, asked);
        }

        SnapshotRecord[] records = [.. all.Select(static each => each.Record)];
        Located Of(SnapshotRecord record) => all.First(each => ReferenceEquals(each.Record, record));
        if (SnapshotNames.IsTime(name) && SnapshotNames.AtTime(records, name, zone) is { Count: > 1 } then)
        {
            List<Located> candidates = [.. then.Select(Of)];
            return mustBeOne || candidates.DistinctBy(static each => each.Volume.Name).Count() > 1 ? Single(candidates, asked) : Of(SnapshotNames.Newest(then));
        }

        try
        {
            return Of(SnapshotNames.Find(records, name, zone));
        }
        catch (SnapshotNameException) when (isNumber)
        {
            Located newest = Of(SnapshotNames.Newest(records));
            throw new UserError(ExitCode.NotFound, $"no snapshot {asked}: none has that number, the newest is {newest.Volume.Name}@{newest.Number}; `tdfs snapshots` lists what there is");
        }
        catch (SnapshotNameException unknown)
        {
            throw new UserError(ExitCode.NotFound, $"{asked}: {unknown.Message.TrimEnd('.')}; `tdfs snapshots` lists what there is", unknown);
        }
    }

    /// <summary>The one there is. Of several some are named by number, or by id where a number does not tell them apart.</summary>
    private static Located Single(List<Located> found, string asked)
    {
        if (found.Count == 1)
        {
            return found[0];
        }

        bool areNumbersTelling = found.DistinctBy(static each => (each.Volume.Name, each.Number)).Count() == found.Count;
        IEnumerable<string> names = found.Take(3).Select(each => areNumbersTelling ? $"{each.Volume.Name}@{each.Number}" : $"{each.Volume.Name}@{each.Record.Id}");
        throw new UserError(ExitCode.NotFound, $"{asked}: found {found.Count} snapshots, expected one; say which, such as {string.Join(" or ", names)}{(found.Count > 3 ? $", or another of {found.Count - 3}" : "")}");
    }

    private static async ValueTask<TreeItem> ResolveAsync(Located found, byte[] path, CancellationToken cancel) =>
        await found.Reader().ResolveAsync(found.Record.Root, path, cancel).ConfigureAwait(false) ?? throw NoSuchPath(path, $"{found.Volume.Name}@{found.Number}");

    private static UserError NoSuchPath(byte[] path, string where) => new(ExitCode.NotFound, $"{Shown(path)} is not in {where}; `tdfs ls` lists what is, paths count from the volume's root");

    private static string Shown(ReadOnlySpan<byte> path) => path.IsEmpty ? "/" : TerminalText.Escape(path);

    private static byte[] Join(ReadOnlyMemory<byte> folder, ReadOnlyMemory<byte> name) =>
        folder.IsEmpty ? name.ToArray() : name.IsEmpty ? folder.ToArray() : [.. folder.Span, (byte)'/', .. name.Span];

    private static ChangeKind KindOf(Files.ChangeKind kind) => kind switch
    {
        Files.ChangeKind.Added => ChangeKind.Added,
        Files.ChangeKind.Removed => ChangeKind.Removed,
        Files.ChangeKind.Metadata => ChangeKind.Metadata,
        _ => ChangeKind.Changed,
    };

    private static EntryInfo InfoOf(ReadOnlyMemory<byte> path, Entry entry) => new()
    {
        Path = path.ToArray(),
        Mode = entry.Mode | FileTypeBits(entry.Type),
        UserId = entry.OwnerId,
        GroupId = entry.GroupId,
        User = entry.OwnerName.Length > 0 ? entry.OwnerName : null,
        Group = entry.GroupName.Length > 0 ? entry.GroupName : null,
        Bytes = BytesOf(entry),
        ModifiedNs = Nanoseconds(entry.Modified),
        LinkTarget = entry.Type == EntryType.Symlink ? entry.Target.ToArray() : null,
        IsTorn = entry.IsTorn,
    };

    private static long BytesOf(Entry? entry) => entry?.Type switch
    {
        EntryType.File => entry.Content.Size,
        EntryType.Directory => Clamp(entry.Totals.Bytes),
        EntryType.Symlink => entry.Target.Length,
        _ => 0,
    };

    private static long Clamp(ulong value) => (long)Math.Min(value, long.MaxValue);

    /// <summary>Times beyond the years that 64 bits of nanoseconds reach, 1677 to 2262, show as the nearest of these.</summary>
    private static long Nanoseconds(FileTime time) =>
        (long)Int128.Clamp(((Int128)time.Seconds * FileTime.NanosecondsPerSecond) + time.Nanoseconds, long.MinValue, long.MaxValue);

    /// <summary>st_mode's upper bits (stat(2), inode(7)).</summary>
    private static uint FileTypeBits(EntryType type) => type switch
    {
        EntryType.Directory => 0x4000,
        EntryType.Symlink => 0xA000,
        EntryType.Fifo => 0x1000,
        EntryType.CharacterDevice => 0x2000,
        EntryType.BlockDevice => 0x6000,
        EntryType.Socket => 0xC000,
        _ => 0x8000,
    };

    private static string Noun(EntryType type) => type switch
    {
        EntryType.Directory => "folder",
        EntryType.Symlink => "symbolic link",
        EntryType.Fifo => "pipe",
        EntryType.Socket => "socket",
        _ => "device",
    };

    internal sealed record Located(Volume Volume, SnapshotRecord Record)
    {
        internal long Number => (long)Record.Number;

        internal TreeReader Reader() => TreeReader.Of(Volume, Record);

        internal SnapshotInfo Info() => new()
        {
            Volume = Volume.Name,
            Number = Number,
            TimeNs = Record.TimeNs,
            Host = Record.Host,
            Label = Record.Labels.Count > 0 ? string.Join(", ", Record.Labels) : null,
            IsKept = Record.IsMarked,
            IsUnfinished = !Record.IsFinished,
            UnreadableCount = Clamp(Record.UnreadableCount),
            VanishedCount = Clamp(Record.VanishedCount),
            TornCount = Clamp(Record.TornCount),
            EntryCount = Clamp(Record.Root.Totals.Entries),
            Bytes = Clamp(Record.Root.Totals.Bytes),
        };
    }

    /// <summary>Hands an import's counters on, five times a second.</summary>
    private sealed class ImportWatcher(IProgressSink sink, TimeProvider clock) : IImportObserver, IDisposable
    {
        private readonly HashSet<string> _noted = new(StringComparer.Ordinal);
        private ITimer? _timer;

        /// <summary>To be read when the import has returned.</summary>
        internal List<string> Problems { get; } = [];

        public void Started(ImportProgress progress)
        {
            _timer?.Dispose();
            Problems.Clear(); // a later pass through the sources tells them again, if they are still so
            _timer = Watch(progress);
        }

        private ITimer Watch(ImportProgress progress) => clock.CreateTimer(
            _ => sink.Report(new ProgressState
            {
                Phase = "importing",
                FileCount = progress.FileCount + progress.OtherCount + progress.DirectoryCount,
                TotalFileCount = progress.ExpectedCount > 0 ? progress.ExpectedCount : null,
                Bytes = progress.Bytes,
                TotalBytes = progress.ExpectedBytes > 0 ? progress.ExpectedBytes : null,
                SavedBytes = progress.SavedBytes,
                StoredBytes = progress.StoredBytes,
                Current = progress.CurrentPath is { Length: > 0 } path ? TerminalText.Clean(path) : null,
            }),
            null,
            TimeSpan.Zero,
            s_progressEvery);

        public void Trouble(ImportTrouble trouble) => Problems.Add(trouble.Kind switch
        {
            ImportTroubleKind.Torn => $"{trouble.Path}: {trouble.Reason}; what is kept may be a mixture",
            ImportTroubleKind.Vanished => $"{trouble.Path}: vanished before it was read",
            _ => $"{trouble.Path}: not read: {trouble.Reason}",
        });

        /// <summary>Once, however often a long import goes over the sources.</summary>
        public void Note(string line)
        {
            if (_noted.Add(line))
            {
                sink.Warn(line);
            }
        }

        public void Dispose() => _timer?.Dispose();
    }

    /// <summary>Hands a restore's counters on, five times a second.</summary>
    private sealed class RestoreWatcher(IProgressSink sink, TimeProvider clock) : IRestoreObserver, IDisposable
    {
        private ITimer? _timer;

        /// <summary>To be read when the restore has returned.</summary>
        internal List<string> Problems { get; } = [];

        internal List<string> DamagedPaths { get; } = [];

        private int _otherCount;

        /// <summary>Whether names that were taken are all that went wrong.</summary>
        internal bool HasOnlyTaken => Problems.Count > 0 && _otherCount == 0;

        public void Started(RestoreProgress progress) => _timer = clock.CreateTimer(
            _ => sink.Report(new ProgressState
            {
                Phase = "restoring",
                FileCount = progress.FileCount + progress.DirectoryCount,
                TotalFileCount = progress.ExpectedCount,
                Bytes = progress.Bytes,
                TotalBytes = progress.ExpectedBytes,
            }),
            null,
            TimeSpan.Zero,
            s_progressEvery);

        public void Trouble(RestoreTrouble trouble)
        {
            if (trouble.Kind == RestoreTroubleKind.Damaged)
            {
                DamagedPaths.Add(trouble.Path);
            }
            else
            {
                string? advice = trouble.Kind switch
                {
                    RestoreTroubleKind.Exists => "--overwrite replaces files that are in the way",
                    RestoreTroubleKind.CannotGiveWay => "no --overwrite replaces it, move it away",
                    _ => null,
                };
                _otherCount += advice is null ? 1 : 0;
                Problems.Add($"{trouble.Path}: {trouble.Reason}{(advice is null ? "" : "; " + advice)}");
            }
        }

        public void Dispose() => _timer?.Dispose();
    }

    private enum BlockState : byte
    {
        Healthy,
        Degraded,
        Lost,
    }

    /// <summary>Counts blocks by what the reachable holders' records, or every byte, say of their arenas' fragments.</summary>
    /// <remarks>Memory: one entry a distinct block. What is asked of a block counts as in <see cref="IRedundancyMarker"/>.</remarks>
    private sealed class HealthMarker(BlockStore store, DomainId domain, bool readAll, IProgressSink progress) : IRedundancyMarker
    {
        private const int ReportEvery = 4096;
        private readonly Dictionary<Score, Seen> _blocks = [];
        private readonly Dictionary<uint, (BlockState State, int Survives)> _arenas = [];
        private readonly Scrubber _scrubber = new(store);

        private record struct Seen(BlockState State, int Survives, int Walked, int Wanted);

        internal long FreedCount { get; private set; }

        public int DefaultSurvive => store.DefaultSurvive;

        internal long HealthyCount => _blocks.Values.Count(static block => block.State == BlockState.Healthy);

        internal long DegradedCount => _blocks.Values.Count(static block => block.State == BlockState.Degraded);

        internal long LostCount => _blocks.Values.Count(static block => block.State == BlockState.Lost) + (_isUnreadable ? 1 : 0);

        internal long WeakCount => _blocks.Values.Count(static block => block.State != BlockState.Lost && block.Survives < block.Wanted);

        /// <summary>Of the weakest block; 0 where one is lost.</summary>
        internal int Survives => LostCount > 0 ? 0 : _blocks.Count == 0 ? store.DefaultSurvive : _blocks.Values.Min(static block => block.Survives);

        private bool _isUnreadable;

        public bool Mark(Score score, BlockType type) => Mark(score, type, DefaultSurvive);

        public bool Mark(Score score, BlockType type, int survive)
        {
            ref Seen seen = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_blocks, score, out bool isKnown);
            if (!isKnown)
            {
                (BlockState state, int survives) = StateOf(score);
                seen = new Seen(state, survives, -1, survive);
                if (_blocks.Count % ReportEvery == 0)
                {
                    progress.Report(new ProgressState { Phase = "looking up blocks", FileCount = _blocks.Count });
                }
            }

            seen.Wanted = Math.Max(seen.Wanted, survive);
            if (seen.Walked >= survive)
            {
                return false;
            }

            seen.Walked = survive;
            return true;
        }

        public int Raise(Score score, BlockType type, int survive)
        {
            ref Seen seen = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrNullRef(_blocks, score);
            return System.Runtime.CompilerServices.Unsafe.IsNullRef(ref seen) ? survive : seen.Wanted = Math.Max(seen.Wanted, survive);
        }

        internal bool IsLost(Score score) => (_blocks.TryGetValue(score, out Seen seen) ? seen.State : StateOf(score).State) == BlockState.Lost;

        /// <summary>A block that looked present could not be read.</summary>
        internal void CountUnreadable() => _isUnreadable = LostCount == 0;

        private (BlockState State, int Survives) StateOf(Score score)
        {
            if (store.IsPending(score))
            {
                // In the journal, of which each of 1 + survive places has a copy.
                return (BlockState.Healthy, Math.Min(store.PendingSurvive(domain, score) ?? 0, Math.Max(0, ReachablePlaceCount() - 1)));
            }

            if (store.LocateStrongest(domain, score) is not { } place)
            {
                return (BlockState.Lost, -1);
            }

            FreedCount += place.Arena.IsAway ? 1 : 0;
            if (!_arenas.TryGetValue(place.Arena.Ordinal, out (BlockState State, int Survives) found))
            {
                ValueTask<(int Present, int Survives)> asked = _scrubber.LookAsync(place.Arena, readAll, CancellationToken.None);
                (int present, int survives) = asked.IsCompletedSuccessfully ? asked.Result : asked.AsTask().GetAwaiter().GetResult();
                found = (present == place.Arena.Layout.FragmentCount ? BlockState.Healthy : survives >= 0 ? BlockState.Degraded : BlockState.Lost, survives);
                _arenas.Add(place.Arena.Ordinal, found);
            }

            return found;
        }

        private int ReachablePlaceCount() =>
            store.Holders.Where(static holder => holder is { Holder: not null, IsGone: false }).Select(static holder => holder.Place).Distinct(StringComparer.Ordinal).Count();
    }

    /// <summary>Whether one file needs a lost block. Says true to everything: a file's tree is walked whole, whoever shares it.</summary>
    private sealed class LostMarker(HealthMarker blocks) : IBlockMarker
    {
        internal bool HasLost { get; private set; }

        public bool Mark(Score score, BlockType type)
        {
            bool isLost = blocks.IsLost(score);
            HasLost |= isLost;
            return !isLost;
        }
    }
}
