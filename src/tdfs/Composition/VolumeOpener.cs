using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Opens volumes to work in, for whatever shows them to people.</summary>
internal sealed class VolumeOpener(BlockStore store, StorageConfig config, IDisk disk, IRandomSource random, TimeProvider clock, Action<string> say, OpenVolumes open, ReplicationBound? bound = null)
{
    internal BlockStore Store => store;

    internal StorageConfig Config => config;

    internal IDisk Disk => disk;

    internal IRandomSource Random => random;

    internal TimeProvider Clock => clock;

    internal Action<string> Say => say;

    internal OpenVolumes Volumes => open;

    /// <summary>Opens the volume of a name for one more use; the last of them commits and closes it.</summary>
    /// <remarks>Nobody works in the tree any more by a use that is over. A crash before that leaves what was synced in the journal.</remarks>
    /// <param name="wanted">Null: the only one there is.</param>
    /// <param name="creates">One that is not there yet is made.</param>
    /// <param name="asIn">How the verb makes one, for who has none.</param>
    /// <param name="where">What shows the volume, for who asks for it meanwhile.</param>
    internal async ValueTask<OpenVolumes.Use> OpenAsync(string? wanted, bool creates, string asIn, string where, CancellationToken cancel)
    {
        IReadOnlyList<string> names = Volume.Names(store);
        string name = wanted ?? (names.Count == 1 ? names[0] : throw new UserError(
            ExitCode.Usage,
            names.Count == 0 ? $"the store has no volume yet; `{asIn}` makes one" : $"found {names.Count} volumes, expected the name of one: {string.Join(", ", names)}"));
        return await open.OpenAsync(name, where, async () =>
        {
            Volume volume = await FindAsync(name, creates, names, cancel).ConfigureAwait(false);
            VolumeView? view = null;
            try
            {
                view = new VolumeView(ActiveTree.Open(store, volume, clock, Options()), volume, clock.LocalTimeZone);
                if (volume.Head is null)
                {
                    await view.Present.CommitAsync(cancel).ConfigureAwait(false); // a new volume is there for others from here on
                }

                return new OpenVolume(volume, view);
            }
            catch
            {
                if (view is not null)
                {
                    await view.DisposeAsync().ConfigureAwait(false);
                }

                volume.Dispose();
                throw;
            }
        }, cancel).ConfigureAwait(false);
    }

    private async ValueTask<Volume> FindAsync(string name, bool creates, IReadOnlyList<string> names, CancellationToken cancel)
    {
        Volume? volume = await Volume.TryOpenAsync(store, name, cancel).ConfigureAwait(false);
        if (volume is not null)
        {
            return volume;
        }

        if (store.UnreadableVolumes.Contains(name))
        {
            throw new UserError(ExitCode.NotFound, $"volume {name} cannot be read: its keys were burned or never came back; `tdfs snapshots` lists the volumes there are");
        }

        if (!creates)
        {
            string? near = NearestName.Find(name, names);
            throw new UserError(ExitCode.NotFound, $"no volume {name}{(near is null ? "" : $", was {near} meant")}; `tdfs snapshots` lists those with snapshots, --create makes it");
        }

        return await Volume.OpenOrCreateAsync(store, name, random, cancel).ConfigureAwait(false);
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

    /// <summary>What the holders have and what is left of them, parity taken off; the store's own folder counts where it has little left. Nothing is left while replication is late.</summary>
    private (long TotalBytes, long FreeBytes) Space()
    {
        const long LittleBytes = 256L << 20;
        double free = 0;
        double used = 0;
        foreach (Blocks.Placing.StoreHolder holder in store.Holders.Where(static holder => holder is { Holder: not null, IsOutside: false, Address.Length: > 0 }))
        {
            try
            {
                long held = store.Catalog.HeldBytes(holder.Number);
                long left = holder.Itself is PeerHolder peer ? peer.Hello.RoomBytes : disk.FreeBytes(holder.Address);
                free += holder.QuotaBytes is { } quota ? Math.Clamp(quota - held, 0, left) : left;
                used += held;
            }
            catch (DiskException)
            {
                // gone since the store was opened: it has no room
            }
        }

        double share = store.Placement.ClassFor(store.DefaultSurvive) is { } wanted ? (double)wanted.Data / (wanted.Data + wanted.Parity) : 1;
        long freeBytes = (long)(free * share);
        try
        {
            long own = disk.FreeBytes(config.StorePath); // the journal and the arenas that are being filled
            freeBytes = own < LittleBytes ? Math.Min(freeBytes, own) : freeBytes;
        }
        catch (DiskException)
        {
            // the next write will say so
        }

        // Nothing more is accepted while too much of what was waits for its places: as on a full disk, on which deleting and syncing go on.
        return ((long)((used + free) * share), bound is { IsLate: true } ? 0 : freeBytes);
    }
}
