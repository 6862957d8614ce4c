using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Mount.Fuse;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Puts a volume's active tree behind a FUSE mount.</summary>
/// <remarks>
/// Order at the end, whatever brings it: the mount is taken away; then nothing uses the tree any more, and what it holds is committed. A crash before that leaves what was synced in the
/// journal, and the next writer that opens the store takes it in.
/// Nothing of the store may lie in the folder: this process would wait for itself.
/// </remarks>
internal sealed class VolumeMounts(BlockStore store, StorageConfig config, IDisk disk, IRandomSource random, TimeProvider clock, Action<string> say, OpenVolumes open) : IMounts
{
    public async ValueTask<MountResult> ServeAsync(MountRequest request, Action<string, string> mounted, CancellationToken cancel)
    {
        string folder = Prepare(request.Folder);
        Volume volume = await OpenAsync(request, cancel).ConfigureAwait(false);
        using (volume)
        {
            var view = new VolumeView(ActiveTree.Open(store, volume, clock, Options()), volume, clock.LocalTimeZone);
            bool isClean;
            var here = new OpenVolume(volume, view, $"mounted on {folder}");
            await using (view.ConfigureAwait(false))
            {
                if (!open.TryAdd(here))
                {
                    throw new UserError(ExitCode.Locked, $"volume {volume.Name} is open already ({open.Find(volume.Name)?.Where})");
                }

                if (volume.Head is null)
                {
                    await view.Present.CommitAsync(cancel).ConfigureAwait(false); // a new volume is there for others from here on
                }

                FuseMount mount = await MountAsync(view, folder).ConfigureAwait(false);
                try
                {
                    mounted(volume.Name, mount.Path);
                    await mount.Ended.WaitAsync(cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }
                finally
                {
                    isClean = await mount.UnmountAsync().ConfigureAwait(false); // 1. nobody writes any more
                    open.Remove(here);
                }
            } // 2. the commit of what was written

            return new MountResult(volume.Name, folder, !isClean);
        }
    }

    private string Prepare(string folder)
    {
        string[] own = [config.StorePath, AppContext.BaseDirectory, config.LogFile ?? "", .. store.Holders.Where(static holder => holder.Address.Length > 0).Select(static holder => holder.Address)];
        foreach (string path in own)
        {
            if (path.Length > 0 && FuseMount.IsAtOrBelow(path, folder))
            {
                throw new UserError(ExitCode.Usage, $"found {path}, which tdfs itself needs, in {folder}; expected a folder to mount on that holds nothing of the store");
            }
        }

        try
        {
            return FuseMount.Prepare(folder);
        }
        catch (MountException missing)
        {
            throw new UserError(ExitCode.NotFound, missing.Message, missing);
        }
    }

    private async ValueTask<Volume> OpenAsync(MountRequest request, CancellationToken cancel)
    {
        IReadOnlyList<string> names = Volume.Names(store);
        string name = request.Volume ?? (names.Count == 1 ? names[0] : throw new UserError(
            ExitCode.Usage,
            names.Count == 0 ? "the store has no volume yet; `tdfs mount --create NAME FOLDER` makes one" : $"found {names.Count} volumes, expected the name of one before the folder: {string.Join(", ", names)}"));
        Volume? volume = await Volume.TryOpenAsync(store, name, cancel).ConfigureAwait(false);
        if (volume is not null)
        {
            return volume;
        }

        if (store.UnreadableVolumes.Contains(name))
        {
            throw new UserError(ExitCode.NotFound, $"volume {name} cannot be read: its keys were burned or never came back; `tdfs snapshots` lists the volumes there are");
        }

        if (!request.Creates)
        {
            string? near = NearestName.Find(name, names);
            throw new UserError(ExitCode.NotFound, $"no volume {name}{(near is null ? "" : $", was {near} meant")}; `tdfs snapshots` lists those with snapshots, --create makes it");
        }

        return await Volume.OpenOrCreateAsync(store, name, random, cancel).ConfigureAwait(false);
    }

    private async ValueTask<FuseMount> MountAsync(VolumeView view, string folder)
    {
        var options = new FuseOptions { AllowOther = Environment.IsPrivilegedProcess, Trouble = say };
        try
        {
            return await FuseMount.StartAsync(view, folder, options, clock).ConfigureAwait(false);
        }
        catch (MountException refused)
        {
            throw new UserError(ExitCode.DiskFailed, refused.Message, refused);
        }
    }

    private ActiveTreeOptions Options() => new()
    {
        OwnerId = Passphrases.Posix.EffectiveUser(),
        GroupId = Passphrases.Posix.EffectiveGroup(),
        Content = new ContentOptions
        {
            InlineBytes = config.Chunking.InlineBytes,
            MeanChunkBytes = config.Chunking.MeanBytes,
            MinChunkBytes = config.Chunking.MinBytes,
            MaxChunkBytes = config.Chunking.MaxBytes,
        },
        Space = Space,
        CommitFailed = failure => say($"{ErrorHandler.Explain(failure).Message}; what was written stays in memory, and the next commit tries again"),
    };

    /// <summary>What the holders have and what is left of them, parity taken off.</summary>
    private (long TotalBytes, long FreeBytes) Space()
    {
        double free = 0;
        double used = 0;
        foreach (Blocks.Placing.StoreHolder holder in store.Holders.Where(static holder => holder.Holder is not null && holder.Address.Length > 0))
        {
            try
            {
                long held = store.Catalog.HeldBytes(holder.Number);
                long left = disk.FreeBytes(holder.Address);
                free += holder.QuotaBytes is { } quota ? Math.Clamp(quota - held, 0, left) : left;
                used += held;
            }
            catch (DiskException)
            {
                // gone since the store was opened: it has no room
            }
        }

        double share = store.Placement.ClassFor(store.DefaultSurvive) is { } wanted ? (double)wanted.Data / (wanted.Data + wanted.Parity) : 1;
        return ((long)((used + free) * share), (long)(free * share));
    }
}
