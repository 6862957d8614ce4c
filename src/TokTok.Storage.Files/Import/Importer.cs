using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>How the snapshot of an import is to be called.</summary>
public sealed record SnapshotTexts
{
    public string Host { get; init; } = "";

    public IReadOnlyList<string> Labels { get; init; } = [];

    public bool IsMarked { get; init; }

    public string Program { get; init; } = "";
}

/// <summary>What came of an import. The snapshot is durable.</summary>
/// <param name="Snapshot">Not finished when the import was stopped: the next one continues from it.</param>
public sealed record ImportResult(SnapshotRecord Snapshot, ImportProgress Progress)
{
    public bool IsFinished => Snapshot.IsFinished;

    /// <summary>Whether the snapshot holds everything as it was on the disk.</summary>
    public bool IsComplete => Snapshot.IsFinished && Snapshot.UnreadableCount + Snapshot.VanishedCount + Snapshot.TornCount == 0;
}

/// <summary>What the walker, the workers and the assembler of one import share.</summary>
internal sealed class ImportRun(IBlockStore blocks, SortedTable tables, FileIds ids, CuttingRule defaultRule, Entry? previousRoot, IImportObserver? observer, TimeProvider clock)
{
    private readonly Lock _gate = new();
    private readonly PosixNames _names = new();

    internal IBlockStore Blocks { get; } = blocks;

    /// <summary>What was kept before this import outlives at least so many lost places: where no more is asked for, what is unchanged needs no look.</summary>
    internal int Weakest { get; } = blocks.Weakest;

    internal SortedTable Tables { get; } = tables;

    internal FileIds Ids { get; } = ids;

    internal CuttingRule DefaultRule { get; } = defaultRule;

    internal Entry? PreviousRoot { get; } = previousRoot;

    internal ImportProgress Progress { get; } = new();

    // Guarded by _gate.
    internal ulong TornCount { get; private set; }

    internal ulong VanishedCount { get; private set; }

    internal ulong UnreadableCount { get; private set; }

    internal void Report(ImportTroubleKind kind, WalkFrame frame, ReadOnlySpan<byte> name, int errno)
    {
        string reason = kind == ImportTroubleKind.Torn
            ? "changed while it was read"
            : errno == 0 ? "another name of it could not be read" : Errno.Text(errno);
        var trouble = new ImportTrouble(kind, frame.Show(name), reason);
        lock (_gate)
        {
            TornCount += kind == ImportTroubleKind.Torn ? 1UL : 0;
            VanishedCount += kind == ImportTroubleKind.Vanished ? 1UL : 0;
            UnreadableCount += kind == ImportTroubleKind.Unreadable ? 1UL : 0;
            observer?.Trouble(trouble);
        }
    }

    /// <summary>How many lost places what a name stands for is to outlive. A file of several names is never weaker than the store's own redundancy.</summary>
    internal int SurviveOf(ImportSlot slot) => slot.IsFirstLink ? Math.Max(slot.Frame.Survive, Blocks.Survive) : slot.Frame.Survive;

    internal void Note(string line)
    {
        lock (_gate)
        {
            observer?.Note(line);
        }
    }

    /// <summary>git's racy rule: whether a later change must give the file another ctime than it has.</summary>
    /// <remarks>Kernels take file times from a clock that ticks every 1 to 10 ms; a ctime of whole hundredths of a second points to a filesystem with coarser
    /// times, 2 s (FAT) at the worst.</remarks>
    internal bool IsSettled(in FileStat stat)
    {
        const long FineNs = 20_000_000;
        const long CoarseNs = 2_000_000_000;
        long nowNs = (clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100;
        return stat.ChangeNs < nowNs - (stat.ChangeNs % 10_000_000 == 0 ? CoarseNs : FineNs);
    }

    internal Entry NewEntry(EntryType type, ulong fileId, in FileStat stat) => new()
    {
        Type = type,
        FileId = fileId,
        Mode = stat.Permissions,
        OwnerId = stat.Uid,
        GroupId = stat.Gid,
        OwnerName = _names.UserName(stat.Uid),
        GroupName = _names.GroupName(stat.Gid),
        Modified = stat.Modified,
    };
}

/// <summary>Takes real files into a volume as a new snapshot.</summary>
/// <remarks>
/// A pipeline: the walker looks at every name in order; workers read what the stat cache does not know unchanged; the assembler puts the results,
/// in the walk's order, into tables. Queues between them are bounded, so memory does not grow with the tree.
/// Stopping: the first token ends the walk. A file in hand is left where it is: what is stored of it is known to the next import. What is complete is committed as an unfinished snapshot, and the stat cache
/// keeps both what this run read and what earlier ones did, so the next import continues. An unfinished snapshot goes once a later import has finished.
/// A long import goes over the sources in passes (<see cref="ImportPass"/>), each of which commits such a snapshot and takes away the one before.
/// Durable: when RunAsync returns.
/// Errors: trouble with single files is reported and counted, never thrown; trouble with the store ends the import, and the volume is as before.
/// </remarks>
public sealed class Importer(IVolumeStore store, Volume volume, IRandomSource random, TimeProvider clock)
{
    /// <param name="stop">Ctrl-C: end early and keep what there is.</param>
    /// <exception cref="PosixException">A source is not there.</exception>
    public async Task<ImportResult> RunAsync(ImportOptions options, SnapshotTexts texts, IImportObserver? observer, CancellationToken stop)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(texts);
        for (ImportPass? before = null; ;)
        {
            using var pause = CancellationTokenSource.CreateLinkedTokenSource(stop);
            var pass = new ImportPass(options, before, clock, pause);
            ImportResult result = await RunPassAsync(options, texts, observer, pass, stop).ConfigureAwait(false);

            if (result.IsFinished || stop.IsCancellationRequested)
            {
                return result;
            }

            before = pass;
        }
    }

    private async Task<ImportResult> RunPassAsync(ImportOptions options, SnapshotTexts texts, IImportObserver? observer, ImportPass pass, CancellationToken stop)
    {
        SourcePaths sources = SourcePaths.Resolve(options.Sources);
        IReadOnlyList<SnapshotRecord> snapshots = await volume.ListSnapshotsAsync(CancellationToken.None).ConfigureAwait(false);
        SnapshotRecord? previous = snapshots.LastOrDefault(snapshot => snapshot.IsFinished) ?? (snapshots.Count > 0 ? snapshots[^1] : null);
        var tables = new SortedTable(volume.Blocks, options.Table);
        var run = new ImportRun(volume.Blocks, tables, new FileIds(volume.Root, store.Device), volume.Root.DefaultRule, previous?.Root, observer, clock);
        run.Progress.ExpectedCount = (long)Math.Min(previous?.Root.Totals.Entries ?? 0, long.MaxValue);
        run.Progress.ExpectedBytes = (long)Math.Min(previous?.Root.Totals.Bytes ?? 0, long.MaxValue);
        run.Progress.GoOnFrom(pass.Before?.Progress);
        observer?.Started(run.Progress);

        byte[] fingerprint = Fingerprint(options);
        using StatCacheReader? oldCache = OpenCache(options, fingerprint, snapshots, observer);
        using StatCacheWriter? newCache = options.Cache is { } place
            ? StatCacheWriter.Create(place.Disk, CachePath(place), place.Key.Span, place.Random)
            : null;
        var walker = new ImportWalker(options, run, sources, oldCache);
        var assembler = new TreeAssembler(run, newCache);
        using var contents = new FileContentWriter(options.Pace is { } pace ? new PacedBlocks(volume.Blocks, pace) : volume.Blocks, store.ChunkerSeed(volume.Domain), options.Content);
        await RunPipelineAsync(options, run, contents, walker, assembler, previous?.Root, pass, stop).ConfigureAwait(false);

        TableRoot links = await assembler.FinishLinksAsync(CancellationToken.None).ConfigureAwait(false);
        bool isFinished = !walker.WasStopped && !assembler.HasSkipped;
        pass.Progress = run.Progress;
        pass.Walked = walker.StoppedAt ?? WalkPlace.Everything;
        pass.Done = assembler.FirstSkipped is { } skipped ? WalkPlace.Of(skipped) : pass.Walked;
        run.Progress.CountKnownFrom(pass.Before?.Progress);
        var snapshot = new SnapshotRecord
        {
            Id = SnapshotId.New(random),
            TimeNs = Math.Max(0, (clock.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100),
            Host = texts.Host,
            Labels = texts.Labels,
            IsMarked = texts.IsMarked,
            Program = texts.Program,
            Sources = [.. options.Sources.Select(source => (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(Path.GetFullPath(source)))],
            IsFinished = isFinished,
            TornCount = run.TornCount,
            VanishedCount = run.VanishedCount,
            UnreadableCount = run.UnreadableCount,
            Root = assembler.Root!,
            Links = links,
        };

        // A crash between these leaves the volume as before; the new snapshot and the old cache; or unfinished snapshots that the next import removes.
        await volume.AddSnapshotAsync(snapshot, run.Ids, null, CancellationToken.None, assembler.Survive).ConfigureAwait(false);
        List<SnapshotId> bases = [snapshot.Id];
        bases.AddRange(isFinished || oldCache is null ? [] : oldCache.Bases);

        // What the pass before had, this one has too, unless it was stopped before it came so far: then the stat cache still leans on the other.
        SnapshotRecord? outdone = pass.Before is { } before && (!walker.WasStopped || before.Walked!.IsBefore(pass.Walked)) ? before.Snapshot : null;
        pass.Snapshot = snapshot;
        if (outdone is not null)
        {
            _ = bases.Remove(outdone.Id);
        }

        if (bases.Count <= StatCache.MaxBases)
        {
            newCache?.Commit(volume.Root.Id, fingerprint, bases);
        }

        if ((oldCache?.Trouble ?? newCache?.Trouble) is { } trouble)
        {
            observer?.Note(trouble);
        }

        List<SnapshotRecord> continued = [.. snapshots.Where(each => !each.IsFinished && !each.IsMarked && (isFinished || each.Id == outdone?.Id))];
        if (continued.Count > 0)
        {
            await volume.RemoveSnapshotsAsync(continued, CancellationToken.None).ConfigureAwait(false);
        }

        return new ImportResult(snapshot, run.Progress);
    }

    private static async Task RunPipelineAsync(
        ImportOptions options, ImportRun run, FileContentWriter contents, ImportWalker walker, TreeAssembler assembler, Entry? previous, ImportPass pass, CancellationToken stop)
    {
        int workers = options.Workers > 0 ? options.Workers : Environment.ProcessorCount;
        var queue = new ImportQueue();
        using var abort = new CancellationTokenSource();
        Exception? first = null;
        List<Task> tasks =
        [
            GuardAsync(() => walker.WalkAsync(queue, previous, pass.Pause, abort.Token)),
            GuardAsync(() => assembler.AssembleAsync(queue.Order, abort.Token)),
        ];
        for (int i = 0; i < workers; i++)
        {
            tasks.Add(GuardAsync(() => WorkAsync(options, run, contents, queue.Work, pass, stop, abort.Token)));
        }

        await Task.WhenAll(tasks).ConfigureAwait(false);
        queue.Release();

        if (first is not null)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
        }

        // The first failure ends the others; theirs, that they were ended, are of no interest.
        async Task GuardAsync(Func<Task> part)
        {
            try
            {
                await Task.Run(part, CancellationToken.None).ConfigureAwait(false);
            }
            catch (Exception error)
            {
                _ = Interlocked.CompareExchange(ref first, error, null);
                await abort.CancelAsync().ConfigureAwait(false);
            }
        }
    }

    private static async Task WorkAsync(
        ImportOptions options, ImportRun run, FileContentWriter contents, ChannelReader<ImportBatch> work, ImportPass pass, CancellationToken stop, CancellationToken abort)
    {
        var maker = new EntryMaker(options, run, contents);
        await foreach (ImportBatch batch in work.ReadAllAsync(abort).ConfigureAwait(false))
        {
            try
            {
                foreach (ImportSlot slot in batch.ToRead)
                {
                    if (pass.Pause.IsCancellationRequested)
                    {
                        slot.Handle!.Release();
                        slot.Handle = null;
                        slot.IsSkipped = true;
                        continue;
                    }

                    run.Progress.SetCurrent(slot);
                    await maker.MakeAsync(slot, stop, abort).ConfigureAwait(false);
                    pass.HasRead(slot);
                }
            }
            catch
            {
                batch.Release();
                throw;
            }

            batch.Done!.SetResult();
        }
    }

    private StatCacheReader? OpenCache(ImportOptions options, byte[] fingerprint, IReadOnlyList<SnapshotRecord> snapshots, IImportObserver? observer)
    {
        if (options.Cache is not { } place)
        {
            return null;
        }

        StatCacheReader? reader = StatCacheReader.TryOpen(place.Disk, CachePath(place), place.Key.Span, volume.Root.Id, fingerprint, out string? trouble);
        if (reader is not null)
        {
            var present = snapshots.Select(snapshot => snapshot.Id).ToHashSet();
            if (reader.Bases.Count == 0 || !reader.Bases.All(present.Contains))
            {
                reader.Dispose();
                reader = null;
                trouble = "the snapshots that the stat cache leans on are gone, so every file is read";
            }
        }

        if (trouble is not null)
        {
            observer?.Note(trouble);
        }

        return reader;
    }

    private string CachePath(ImportCachePlace place) => $"{place.Folder}/{StatCache.FileName(volume.Root.Id)}";

    /// <summary>Everything that shapes an entry and is not in the file: with other settings nothing is taken over.</summary>
    private byte[] Fingerprint(ImportOptions options)
    {
        ContentOptions content = options.Content;
        string settings = string.Create(
            System.Globalization.CultureInfo.InvariantCulture,
            $"entry {Entry.Version} domain {volume.Domain} inline {content.InlineBytes} min {content.Bounds.MinBytes} mean {content.MeanChunkBytes} max {content.Bounds.MaxBytes} fixed {content.FixedChunkBytes} extents {content.InlineExtents} holes {content.BridgedHoleBytes} table {options.Table.TargetBytes} {options.Table.InlineBytes}");
        return SHA256.HashData(Encoding.UTF8.GetBytes(settings));
    }
}
