using System.Text;
using System.Threading.Channels;
using TokTok.Storage.Core;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>Writes a tree of a volume into a folder.</summary>
/// <remarks>
/// One walker makes the directories and hands files to workers through a bounded queue; a directory gets its metadata when every name in it is made. Where a restore
/// ends before, it does not: its owner can go on in it, and a resumed restore opens what is closed to writing until it has finished.
/// A file that takes several writes, or another's place, is written under a name that no file of its directory has (<c>.tdfs-restoring-…</c>), gets its metadata, and is then
/// renamed: under its final name there is never half of it. One that takes a single write is made under its own name, with a mode that nobody else uses and that lets nobody
/// but root read it, until bytes and metadata are there (renaming it would take a quarter of its time): a process killed just then leaves a file that says of itself that
/// it is half, and a restore that goes on replaces it. Names go relative to open directories, through no symbolic link, and only names
/// that are names (<see cref="Entry.IsName"/>): no tree, however made, and nobody who moves directories meanwhile, leads out of the target.
/// Owners before attributes before modes, since each may undo the one before; the mode comes last of all and ends the half file.
/// Durable: with <see cref="RestoreOptions.Syncs"/> all of it, once RunAsync returned; else when the system has written it out, as with any copy. After a power cut a file may have its size and time, and not its bytes.
/// Errors: trouble with single files is reported and counted; a target that is full, read-only or failing ends the restore with a <see cref="PosixException"/>.
/// </remarks>
public sealed class Restorer(SortedTable tables, TableRoot links)
{
    /// <summary>What a worker takes at once: neighbours, whose blocks lie side by side and whose names are in one directory.</summary>
    private const int BatchCount = 64;
    private const long BatchBytes = 4L << 20;
    private const int WaitingBatches = 4;

    /// <summary>A restorer for a snapshot's tree.</summary>
    public static Restorer Of(Volume volume, SnapshotRecord snapshot)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(snapshot);
        return new Restorer(volume.Tables, snapshot.Links);
    }

    /// <param name="entry">The directory whose contents are restored, or a single file of any type.</param>
    /// <param name="name">The single file's name; of no matter for a directory.</param>
    public async Task<RestoreProgress> RunAsync(
        Entry entry, ReadOnlyMemory<byte> name, RestoreOptions options, IRestoreObserver? observer, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(entry);
        ArgumentNullException.ThrowIfNull(options);
        var run = new RestoreRun(tables, links, options, observer);
        run.Progress.ExpectedCount = entry.Type == EntryType.Directory ? (long)Math.Min(entry.Totals.Entries, long.MaxValue) : 1;
        run.Progress.ExpectedBytes = (long)Math.Min(entry.Type == EntryType.Directory ? entry.Totals.Bytes : (ulong)entry.Content.Size, long.MaxValue);
        observer?.Started(run.Progress);
        RestoreFrame root = OpenTarget(entry, options);
        run.Root = root.Handle!.Hold();
        run.Reach(root.Stat.Device, root.Handle);
        var work = Channel.CreateBounded<List<RestoreJob>>(new BoundedChannelOptions(WaitingBatches) { SingleWriter = true });
        using var abort = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Exception? first = null;
        List<Task> tasks = [GuardAsync(() => WalkAsync(run, root, entry, name, work.Writer, abort.Token))];
        int workers = options.Workers > 0 ? options.Workers : Environment.ProcessorCount;
        for (int i = 0; i < workers; i++)
        {
            tasks.Add(GuardAsync(() => WorkAsync(run, work.Reader, abort.Token)));
        }

        await Task.WhenAll(tasks).ConfigureAwait(false);
        while (work.Reader.TryRead(out List<RestoreJob>? left))
        {
            CutOff(run, left, 0);
        }

        run.Root.Release();
        try
        {
            if (first is not null)
            {
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
            }

            if (options.Syncs)
            {
                run.Sync(); // once for all: a sync for every file would take longer than the restore
            }

            return run.Progress;
        }
        finally
        {
            foreach (DirectoryHandle filesystem in run.Filesystems.Values)
            {
                filesystem.Release();
            }
        }

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

    private static RestoreFrame OpenTarget(Entry entry, RestoreOptions options)
    {
        byte[] path = Encoding.UTF8.GetBytes(Path.TrimEndingDirectorySeparator(Path.GetFullPath(options.Target)));
        string shown = PathText.Show(path);
        int fd = PosixCalls.OpenPath(path);
        bool isNew = fd == -Errno.ENOENT;
        bool setsMetadata = entry.Type == EntryType.Directory && (isNew || options.Resumes || options.Existing != ExistingFiles.Skip);
        if (fd == -Errno.EACCES && setsMetadata)
        {
            int slash = path.AsSpan().LastIndexOf((byte)'/');
            int parent = PosixCalls.OpenPath(slash == 0 ? "/"u8 : path.AsSpan(0, slash));
            if (parent >= 0)
            {
                fd = RestoreRun.LetInAndOpen(parent, path.AsSpan(slash + 1));
                PosixCalls.Close(parent);
            }
        }

        if (isNew)
        {
            int slash = path.AsSpan().LastIndexOf((byte)'/');
            int parent = PosixCalls.OpenPath(slash == 0 ? "/"u8 : path.AsSpan(0, slash));
            if (parent < 0)
            {
                throw new PosixException(-parent, "open", PathText.Show(path.AsSpan(0, slash)));
            }

            int made = PosixCalls.MakeDirectory(parent, path.AsSpan(slash + 1), 0x1C0);
            fd = made < 0 ? made : PosixCalls.OpenDirectory(parent, path.AsSpan(slash + 1));
            PosixCalls.Close(parent);
        }

        if (fd < 0)
        {
            throw new PosixException(-fd, "open", shown);
        }

        if (!isNew && options is { Existing: ExistingFiles.Fail, Resumes: false })
        {
            using var names = new DirectoryNames(fd, 4096);
            if (entry.Type == EntryType.Directory && names.TryNext(out _, out _, out _))
            {
                PosixCalls.Close(fd);
                throw new PosixException(Errno.ENOTEMPTY, "restore into", shown);
            }
        }

        _ = PosixCalls.Stat(fd, out FileStat stat);
        if (setsMetadata)
        {
            RestoreRun.LetIn(fd, stat);
        }

        return new RestoreFrame(null, [], setsMetadata ? entry : null, entry.Type == EntryType.Directory ? entry.Children : null) { Handle = new DirectoryHandle(fd), Stat = stat, IsNew = isNew };
    }

    private async Task WalkAsync(
        RestoreRun run, RestoreFrame root, Entry entry, ReadOnlyMemory<byte> name, ChannelWriter<List<RestoreJob>> work, CancellationToken cancel)
    {
        var way = new List<RestoreFrame> { root };
        var batch = new JobBatch(work);
        try
        {
            if (entry.Type != EntryType.Directory)
            {
                if (!Entry.IsName(name.Span))
                {
                    throw new ArgumentException("A single file is restored under a name: 1 to 255 bytes, no slash.", nameof(name));
                }

                await SendAsync(run, root, name.ToArray(), entry, batch, cancel).ConfigureAwait(false);
                await batch.SendAsync(cancel).ConfigureAwait(false);
                return;
            }

            root.Items = tables.ScanAsync(entry.Children, default, cancel).GetAsyncEnumerator(cancel);
            while (way.Count > 0)
            {
                RestoreFrame frame = way[^1];
                (bool isFound, byte[] itemName, Entry? item) = await NextAsync(run, frame).ConfigureAwait(false);
                if (!isFound)
                {
                    way.RemoveAt(way.Count - 1);
                    frame.IsWalked = true;
                    Unpark(run, frame);
                    await frame.Items!.DisposeAsync().ConfigureAwait(false);
                    run.Release(frame);
                }
                else if (item is null)
                {
                    continue;
                }
                else if (item.Type != EntryType.Directory)
                {
                    await SendAsync(run, frame, itemName, item, batch, cancel).ConfigureAwait(false);
                }
                else if (way.Count > EntryLimits.MaxDirectoryDepth)
                {
                    run.Report(RestoreTroubleKind.Damaged, frame, itemName, "directories inside one another without end");
                }
                else if (run.MakeDirectory(frame, itemName, item) is { } child)
                {
                    child.Items = tables.ScanAsync(item.Children, default, cancel).GetAsyncEnumerator(cancel);
                    way.Add(child);
                    int park = way.Count - 1 - run.Options.OpenLevels;
                    if (park >= 0)
                    {
                        way[park].Handle?.Release();
                        way[park].Handle = null;
                    }
                }
            }

            await batch.SendAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            work.Complete();
            CutOff(run, batch.Jobs, 0);
            for (int i = way.Count - 1; i >= 0; i--)
            {
                if (way[i].Items is { } items)
                {
                    await items.DisposeAsync().ConfigureAwait(false);
                }

                run.Release(way[i]);
            }
        }
    }

    /// <summary>The next name of a directory. A damaged block ends the directory and is reported; a name that is none is passed over.</summary>
    private static async ValueTask<(bool IsFound, byte[] Name, Entry? Item)> NextAsync(RestoreRun run, RestoreFrame frame)
    {
        if (frame.IsBroken)
        {
            return (false, [], null);
        }

        byte[] name = [];
        try
        {
            if (!await frame.Items!.MoveNextAsync().ConfigureAwait(false))
            {
                return (false, [], null);
            }

            TableItem item = frame.Items.Current;
            name = item.Key.ToArray();
            if (!Entry.IsName(name))
            {
                run.Report(RestoreTroubleKind.Damaged, frame, name, "not a name that a directory can hold");
                return (true, name, null);
            }

            return (true, name, Entry.Decode(item.Value));
        }
        catch (Exception error) when (error is DamagedBlockException or DamagedFormatException)
        {
            run.Report(RestoreTroubleKind.Damaged, frame, name, error.Message);
            frame.IsBroken = name.Length == 0;
            return (!frame.IsBroken, name, null);
        }
    }

    private async ValueTask SendAsync(
        RestoreRun run, RestoreFrame frame, byte[] name, Entry entry, JobBatch batch, CancellationToken cancel)
    {
        var job = new RestoreJob(frame, name, entry);
        if (entry.IsLink)
        {
            if (run.Links.TryGetValue(entry.FileId, out RestoredLink? link))
            {
                // The first name is being written; the others follow once it is there.
                await batch.SendAsync(cancel).ConfigureAwait(false);
                byte[]? path = await link.Done.Task.WaitAsync(cancel).ConfigureAwait(false);
                run.MakeHardLink(frame, name, entry, path, link.Path);
                link.Left--;
                if (link.Left == 0)
                {
                    _ = run.Links.Remove(entry.FileId);
                }

                return;
            }

            try
            {
                job = job with { Entry = await LinkTable.ResolveAsync(tables, links, entry, cancel).ConfigureAwait(false), FirstLink = new RestoredLink(RestoreRun.PathOf(frame, name)) };
            }
            catch (Exception error) when (error is DamagedBlockException or DamagedFormatException)
            {
                run.Report(RestoreTroubleKind.Damaged, frame, name, error.Message);
                return;
            }

            job.FirstLink.Left = (int)Math.Min(job.Entry.LinkCount, int.MaxValue) - 1;
            if (job.FirstLink.Left > 0)
            {
                run.Links[entry.FileId] = job.FirstLink;
            }
        }

        // The frame may be parked before the worker comes to it.
        frame.Hold();
        job.Handle = frame.Handle!.Hold();
        await batch.AddAsync(job, cancel).ConfigureAwait(false);
    }

    private static void Unpark(RestoreRun run, RestoreFrame left)
    {
        RestoreFrame? parent = left.Parent;
        if (parent is null || parent.Handle is not null)
        {
            return;
        }

        int fd = left.Handle is null ? -Errno.ESTALE : PosixCalls.OpenParent(left.Handle.Fd);
        if (fd >= 0 && PosixCalls.Stat(fd, out FileStat stat) >= 0 && stat.Inode == parent.Stat.Inode && stat.Device == parent.Stat.Device)
        {
            parent.Handle = new DirectoryHandle(fd);
            return;
        }

        if (fd >= 0)
        {
            PosixCalls.Close(fd);
        }

        parent.IsBroken = true;
        run.Report(RestoreTroubleKind.NotMade, parent, [], "was moved during the restore");
    }

    private static async Task WorkAsync(RestoreRun run, ChannelReader<List<RestoreJob>> work, CancellationToken cancel)
    {
        using var writer = new FileRestorer(run);
        await foreach (List<RestoreJob> batch in work.ReadAllAsync(cancel).ConfigureAwait(false))
        {
            int at = 0;
            try
            {
                for (; at < batch.Count; at++)
                {
                    RestoreJob job = batch[at];
                    cancel.ThrowIfCancellationRequested();
                    bool isThere = await writer.RestoreAsync(job, cancel).ConfigureAwait(false);
                    job.FirstLink?.Done.TrySetResult(isThere ? job.FirstLink.Path : null);
                    job.Handle!.Release();
                    run.Release(job.Frame);
                }
            }
            finally
            {
                CutOff(run, batch, at);
            }
        }
    }

    /// <summary>Lets go of jobs that nobody does any more.</summary>
    private static void CutOff(RestoreRun run, List<RestoreJob> jobs, int from)
    {
        for (int at = from; at < jobs.Count; at++)
        {
            RestoreJob job = jobs[at];
            job.Frame.IsCutOff = true;
            job.FirstLink?.Done.TrySetResult(null);
            job.Handle!.Release();
            run.Release(job.Frame);
        }

        jobs.Clear();
    }

    /// <summary>The jobs that the walker has not sent yet.</summary>
    private sealed class JobBatch(ChannelWriter<List<RestoreJob>> work)
    {
        private long _bytes;

        internal List<RestoreJob> Jobs { get; private set; } = new(BatchCount);

        internal ValueTask AddAsync(RestoreJob job, CancellationToken cancel)
        {
            Jobs.Add(job);
            _bytes += job.Entry.Content.Size;
            return Jobs.Count < BatchCount && _bytes < BatchBytes ? ValueTask.CompletedTask : SendAsync(cancel);
        }

        internal async ValueTask SendAsync(CancellationToken cancel)
        {
            if (Jobs.Count > 0)
            {
                await work.WriteAsync(Jobs, cancel).ConfigureAwait(false);
                Jobs = new(BatchCount);
                _bytes = 0;
            }
        }
    }
}
