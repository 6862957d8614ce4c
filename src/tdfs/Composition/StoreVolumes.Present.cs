using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <content>A volume's present: kept as snapshots, rolled back to one; and volumes as such.</content>
internal sealed partial class StoreVolumes
{
    private const string BeforeRollBack = "before rollback";

    public async ValueTask<SnapshotInfo> TakeAsync(string? volume, string? label, CancellationToken cancel)
    {
        Volume kept = await OpenOneAsync(volume, cancel).ConfigureAwait(false);
        SnapshotTexts texts = Texts(label);
        SnapshotRecord? made = open?.Find(kept.Name) is { } present
            ? await present.View.Present.SnapshotAsync(texts, random, cancel).ConfigureAwait(false)
            : await kept.SnapshotAsync(texts, random, clock, cancel).ConfigureAwait(false);
        return made is null
            ? throw new UserError(ExitCode.NotFound, $"volume {kept.Name} has nothing in it yet; `tdfs mount` or `tdfs import` puts something there")
            : new Located(kept, made).Info();
    }

    public async ValueTask<IReadOnlyList<SnapshotInfo>> TakeDueAsync(KeepRules? thin, CancellationToken cancel)
    {
        List<SnapshotInfo> made = [];
        foreach (OpenVolume each in open?.All ?? [])
        {
            if (await open!.UseAsync(each, "being kept", cancel).ConfigureAwait(false) is { } use)
            {
                await using (use.ConfigureAwait(false))
                {
                    await TakeDueAsync(each, thin, made, cancel).ConfigureAwait(false);
                }
            }
        }

        return made;
    }

    /// <summary>Keeps one that stays open meanwhile, with nobody freeing space; its use ends behind that, as closing it waits for the same.</summary>
    private async ValueTask TakeDueAsync(OpenVolume each, KeepRules? thin, List<SnapshotInfo> made, CancellationToken cancel)
    {
        using IDisposable shared = await open!.Gate.ShareAsync(cancel).ConfigureAwait(false);
        if (await each.View.Present.SnapshotAsync(Texts(null), random, cancel, onlyIfChanged: true).ConfigureAwait(false) is not { } snapshot)
        {
            return;
        }

        made.Add(new Located(each.Volume, snapshot).Info());
        if (thin is not null)
        {
            IReadOnlyList<SnapshotRecord> all = await each.Volume.ListSnapshotsAsync(cancel).ConfigureAwait(false);
            HashSet<SnapshotId> goes = [.. thin.Apply(all.Select(static one => new KeepCandidate(one.Id, one.TimeNs, one.IsMarked || one.Labels.Count > 0, one.IsFinished)))
                .Where(static decision => !decision.IsKept).Select(static decision => decision.Snapshot.Id)];
            if (goes.Count > 0)
            {
                await each.Volume.RemoveSnapshotsAsync([.. all.Where(one => goes.Contains(one.Id))], cancel, keepsActive: true).ConfigureAwait(false);
            }
        }
    }

    public async ValueTask<RollBackResult> RollBackAsync(string snapshot, CancellationToken cancel)
    {
        Located target = await FindAsync(snapshot, cancel, mustBeOne: true).ConfigureAwait(false);
        RefuseOpen(target.Volume.Name, "roll it back");
        SnapshotRecord? kept = await target.Volume.RollBackAsync(target.Record, Texts(BeforeRollBack), random, clock, cancel).ConfigureAwait(false);
        return new RollBackResult(target.Info(), kept is null ? null : new Located(target.Volume, kept).Info());
    }

    public async ValueTask<IReadOnlyList<VolumeInfo>> VolumesAsync(CancellationToken cancel)
    {
        List<VolumeInfo> all = [];
        foreach (string name in Volume.Names(store))
        {
            try
            {
                Volume volume = await OpenAsync(name, cancel).ConfigureAwait(false);
                IReadOnlyList<SnapshotRecord> snapshots = await volume.ListSnapshotsAsync(cancel).ConfigureAwait(false);
                all.Add(new VolumeInfo
                {
                    Name = name,
                    SnapshotCount = snapshots.Count,
                    NewestNs = snapshots.Count > 0 ? snapshots[^1].TimeNs : null,
                    EntryCount = Clamp(volume.Root.Active?.Totals.Entries ?? 0),
                    Bytes = Clamp(volume.Root.Active?.Totals.Bytes ?? 0),
                    Where = open?.Find(name)?.Where,
                });
            }
            catch (Exception damage) when (damage is Core.DamagedBlockException or Core.DamagedFormatException)
            {
                all.Add(new VolumeInfo { Name = name, Problem = damage.Message, IsDamaged = true });
            }
        }

        all.AddRange(store.UnreadableVolumes.Except(Volume.Names(store), StringComparer.Ordinal)
            .Select(static name => new VolumeInfo { Name = name, Problem = "its keys were burned or never came back" }));
        return all;
    }

    public async ValueTask CreateAsync(string name, CancellationToken cancel)
    {
        RefuseTaken(store, name);
        Volume made = Volume.Create(store, name, store.Realm, random);
        _volumes[name] = made;
        await made.EditAsync(static root => ValueTask.FromResult(root), cancel).ConfigureAwait(false);
    }

    public async ValueTask RenameAsync(string name, string newName, CancellationToken cancel)
    {
        Volume volume = await OpenAsync(name, cancel).ConfigureAwait(false);
        RefuseOpen(name, "rename it");
        RefuseTaken(store, newName);
        await volume.RenameAsync(newName, cancel).ConfigureAwait(false);
        _ = _volumes.Remove(name);
        _volumes[newName] = volume;
    }

    /// <summary>The volume of that name, or the only one.</summary>
    private async ValueTask<Volume> OpenOneAsync(string? name, CancellationToken cancel)
    {
        IReadOnlyList<string> names = Volume.Names(store);
        return await OpenAsync(
            name ?? (names.Count == 1 ? names[0] : throw new UserError(
                names.Count == 0 ? ExitCode.NotFound : ExitCode.Usage,
                names.Count == 0 ? "the store has no volume yet; `tdfs volume create NAME` makes one" : $"found {names.Count} volumes, expected the name of one: {string.Join(", ", names)}")),
            cancel).ConfigureAwait(false);
    }

    internal static void RefuseTaken(BlockStore store, string name)
    {
        if (Volume.Names(store).Concat(store.UnreadableVolumes).Contains(name, StringComparer.Ordinal))
        {
            throw new UserError(ExitCode.Exists, $"found a volume {name} already, expected a name that is free; `tdfs volume list` shows what there is");
        }
    }

    private void RefuseOpen(string name, string what)
    {
        if (open?.Find(name) is { } present)
        {
            throw new UserError(ExitCode.Locked, $"volume {name} is open ({present.Where}); unmount it, then {what}");
        }
    }

    private static SnapshotTexts Texts(string? label) => new()
    {
        Host = Environment.MachineName,
        Labels = label is { Length: > 0 } ? [label] : [],
        Program = $"tdfs {typeof(StoreVolumes).Assembly.GetName().Version}",
    };
}
