using System.Globalization;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Output;
using static TokTok.Storage.Tdfs.Output.DebugField;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Prints each structure of a store and checks it: `tdfs debug`. Never keys, never what a file holds; names of files only where they are asked for.</summary>
/// <remarks>What is damaged is a row of its own, and everything else is still printed. A name that matches nothing is <see cref="ExitCode.NotFound"/>, before anything is printed.</remarks>
internal sealed class StoreDump(BlockStore store, Keyring keyring, StorageConfig config, IDisk disk, DebugPage page, bool withNames)
{
    internal static readonly string[] Structures =
        ["anchors", "arenas", "catalog", "fragments", "heads", "holders", "index", "journal", "keyring", "logs", "stat-caches", "trees", "volumes"];

    /// <summary>Of each there is one.</summary>
    private static readonly string[] s_unnamed = ["anchors", "catalog", "keyring", "logs"];

    internal ValueTask WriteAsync(string structure, string? name, CancellationToken cancel)
    {
        if (name is not null && s_unnamed.Contains(structure))
        {
            throw new UserError(ExitCode.NotFound, $"found no '{name}' in {structure}, expected no name: it is printed whole");
        }

        var state = new StateDump(store, keyring, disk, config.StorePath, page);
        return structure switch
        {
            "anchors" => state.AnchorsAsync(cancel),
            "keyring" => state.KeyringAsync(),
            "logs" => state.LogsAsync(cancel),
            "volumes" => VolumesAsync(name, cancel),
            "arenas" => ArenasAsync(name, cancel),
            "catalog" => CatalogAsync(),
            "fragments" => FragmentsAsync(name, cancel),
            "heads" => HeadsAsync(name),
            "holders" => HoldersAsync(name),
            "index" => new IndexDump(store, config, disk, page).WriteAsync(Named(name), cancel),
            "journal" => JournalAsync(name, cancel),
            "stat-caches" => new StatCacheDump(store, keyring.CacheKey.Span.ToArray(), disk, config.StorePath + "/caches", page, withNames).WriteAsync(name, cancel),
            "trees" => new TreeDump(store, page, withNames).WriteAsync(name, cancel),
            _ => throw new ArgumentException($"unknown structure {structure}", nameof(structure)),
        };
    }

    internal static UserError NoSuch(string what, string name, string expected) => new(ExitCode.NotFound, $"found no {what} '{name}', expected {expected}");

    private ValueTask CatalogAsync()
    {
        Catalog catalog = store.Catalog;
        page.Row("catalog", ("sequence", catalog.Sequence), ("next ordinal", catalog.NextOrdinal), ("running days", catalog.RunningDays), ("last on day", catalog.LastDate),
            ("holders", catalog.Holders().Count), ("heads", catalog.Heads().Count), ("announced", catalog.Announced().Count));
        foreach (EpochRecord epoch in catalog.Epochs())
        {
            page.Row(1, "epoch", Bare("domain", epoch.Domain), ("number", epoch.Epoch), ("without devices", string.Join(' ', epoch.Revoked)));
        }

        foreach (DeviceVouch vouch in catalog.Vouches())
        {
            page.Row(1, "vouch", ("by device", vouch.Signer), Bare("for key", vouch.Device));
        }

        foreach ((uint ordinal, ArenaId id) in catalog.Announced())
        {
            page.Row("announced", Bare("ordinal", ordinal), Bare("id", id));
        }

        foreach (ArenaRecord arena in catalog.Arenas())
        {
            page.Row("arena", Bare("ordinal", arena.Ordinal), Bare("id", arena.Id), Bare("state", arena.State), Bare("class", $"{arena.Layout.DataFragments}+{arena.Layout.ParityFragments}"),
                ("slice", arena.Layout.SliceBytes), ("survive", arena.Survive), ("away", arena.IsAway), ("epoch", arena.Epoch), ("clumps", arena.ClumpCount), ("sequence", arena.SealSequence));
            foreach (ushort number in arena.Fragments.Select(static fragment => fragment.Holder).Where(number => number != FragmentPlace.Nowhere && store.HolderOf(number) is null).Distinct())
            {
                page.Damaged($"arena {arena.Ordinal}: found holder number {number}, expected one below {store.Holders.Count}");
            }
        }

        return ValueTask.CompletedTask;
    }

    private async ValueTask ArenasAsync(string? name, CancellationToken cancel)
    {
        foreach (ArenaRecord arena in Named(name))
        {
            cancel.ThrowIfCancellationRequested();
            page.Row("arena", Bare("ordinal", arena.Ordinal), Bare("id", arena.Id), Bare("state", arena.State));
            if (!store.HasKeysOf(arena))
            {
                page.Note(1, $"of key domain {arena.Domain}, whose keys were burned or never came back");
                continue;
            }

            try
            {
                ArenaHeader header = await store.HeaderAsync(arena, cancel).ConfigureAwait(false);
                page.Row(1, "header", ("domain", header.Domain), ("epoch", header.Epoch), ("owner", header.Owner), ("survive", header.Survive), ("clumps", header.ClumpCount),
                    ("directory at", header.DirectoryOffset), ("sealed at", header.SealedAtSeconds));
                if (header.Id != arena.Id || header.Layout != arena.Layout || header.ClumpCount != arena.ClumpCount || header.DirectoryOffset != arena.DirectoryOffset)
                {
                    page.Damaged($"arena {arena.Ordinal}: found a header of {header.ClumpCount} clumps and a directory at {header.DirectoryOffset}, expected {arena.ClumpCount} and {arena.DirectoryOffset} as in the catalog");
                }

                ArenaDirectory directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
                for (int i = 0; i < directory.Count; i++)
                {
                    ClumpEntry entry = directory[i];
                    page.Row(1, "clump", Bare("score", entry.Score), Bare("type", entry.Type), ("at", entry.Offset), ("length", entry.Length), ("plain", entry.PlainBytes));
                    if (entry.Offset < ArenaHeader.Size || entry.Offset + (long)entry.Length > arena.DirectoryOffset)
                    {
                        page.Damaged($"arena {arena.Ordinal}, clump {i}: found bytes {entry.Offset} to {entry.Offset + (long)entry.Length}, expected within {ArenaHeader.Size} to {arena.DirectoryOffset}");
                    }
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Damaged($"arena {arena.Ordinal}: {damage.Message}");
            }
        }
    }

    /// <summary>What lies at the holders; of one arena, by its id or ordinal, where one is named.</summary>
    private async ValueTask FragmentsAsync(string? name, CancellationToken cancel)
    {
        bool isFound = name is null;
        foreach (StoreHolder holder in store.Holders.Where(static holder => holder.Holder is not null))
        {
            bool isHolderShown = false;
            foreach (HeldArenaEntry held in await holder.Holder!.ListAsync(cancel).ConfigureAwait(false))
            {
                ArenaRecord? known = store.Catalog.Arena(held.Id);
                if (name is not null && known?.Ordinal.ToString(CultureInfo.InvariantCulture) != name && !held.Id.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase))
                {
                    continue;
                }

                isFound = true;
                if (!isHolderShown)
                {
                    isHolderShown = true;
                    PutHolder(holder);
                }

                page.Row(1, "held", Bare("id", held.Id), ("in trash", held.IsInTrash), ("not in the catalog", known is null), ("arena", known?.Ordinal));
                if (held.Arena is not { } arena)
                {
                    page.Damaged($"{held.Id}: {held.Damage}");
                    continue;
                }

                if (arena.IsRecordDamaged)
                {
                    page.Damaged($"{held.Id}: found one damaged copy of the record, expected two whole ones");
                }

                foreach (HeldFragment fragment in arena.Fragments)
                {
                    page.Row(2, "fragment", Bare("number", fragment.Index), ("of", $"{arena.DataFragments}+{arena.ParityFragments}"), ("bytes", arena.SliceBytes), Bare("name", fragment.Name));
                    if (known is not null && fragment.Index < known.Fragments.Count && known.Fragments[fragment.Index] is var expected
                        && expected.Holder == holder.Number && expected.Name != fragment.Name)
                    {
                        page.Damaged($"{held.Id}, fragment {fragment.Index}: found {fragment.Name}, expected {expected.Name}");
                    }
                }
            }

            if (name is null && !isHolderShown)
            {
                PutHolder(holder);
            }
        }

        if (!isFound)
        {
            throw NoSuch("arena", name!, "an ordinal or the first digits of the id of one that a holder has");
        }

        void PutHolder(StoreHolder holder) => page.Row("holder", Bare("number", holder.Number), Bare("id", holder.Id), Bare("place", holder.Place));
    }

    private ValueTask HeadsAsync(string? name)
    {
        List<SignedHead> heads = [.. store.Catalog.Heads().Where(signed => name is null || signed.Head.VolumeName == name)];
        if (heads.Count == 0 && name is not null)
        {
            throw NoSuch("head of a volume", name, "a volume's name");
        }

        foreach (SignedHead signed in heads)
        {
            Head head = signed.Head;
            page.Row("head", ("volume", head.VolumeName), Bare("id", head.Volume), ("device", head.Device), ("incarnation", head.Incarnation.ToString("x16", CultureInfo.InvariantCulture)),
                ("sequence", head.Sequence), ("time", Show.IsoTime(head.TimeNs)), ("root", head.Root), ("domain", head.Domain));
            if (!store.IsVouchedFor(signed))
            {
                page.Damaged($"head {head.Sequence} of {head.VolumeName}: found a signature of nobody known, expected one by a device of the account");
            }
        }

        return ValueTask.CompletedTask;
    }

    private ValueTask HoldersAsync(string? name)
    {
        List<StoreHolder> holders = [.. store.Holders.Where(holder => name is null || holder.Place == name || holder.Number.ToString(CultureInfo.InvariantCulture) == name)];
        if (holders.Count == 0 && name is not null)
        {
            throw NoSuch("holder", name, "a number or a place");
        }

        foreach (StoreHolder holder in holders)
        {
            string state = holder.IsGone ? "gone" : holder.Holder is null ? "unreachable" : "present";
            long count = store.Catalog.Arenas().Sum(arena => (long)arena.Fragments.Count(fragment => fragment.Holder == holder.Number));
            page.Row("holder", Bare("number", holder.Number), Bare("id", holder.Id), ("place", holder.Place), ("at", holder.Address), Bare("state", state), ("fragments", count));
            if (holder is { IsGone: false, Holder: null })
            {
                page.Damaged($"holder {holder.Number}: {holder.Problem ?? "not reachable"}");
            }
        }

        return ValueTask.CompletedTask;
    }

    private async ValueTask JournalAsync(string? name, CancellationToken cancel)
    {
        List<PendingClump> clumps = [.. store.Pending.Where(clump => name is null || clump.Score.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase))];
        if (clumps.Count == 0 && name is not null)
        {
            throw NoSuch("block in the journal", name, "the first digits of a score");
        }

        byte[] plain = new byte[BlockLimits.MaxBlockBytes];
        foreach (PendingClump clump in clumps)
        {
            BinKey key = clump.Buffer.Key;
            page.Row("clump", Bare("score", clump.Score), Bare("type", clump.Type), ("length", clump.Length), ("plain", clump.PlainBytes), ("day", clump.Date), ("domain", key.Domain), ("epoch", key.Epoch), ("survive", key.Survive));
            try
            {
                BlockRead read = await store.OpenBlocks(key.Domain, 0).ReadAsync(clump.Score, clump.Type, plain, cancel).ConfigureAwait(false);
                if (!read.IsFound || read.Bytes != clump.PlainBytes)
                {
                    page.Damaged($"{clump.Score}: found {read.Bytes} bytes, expected {clump.PlainBytes}");
                }
            }
            catch (DamagedBlockException damage)
            {
                page.Damaged(damage.Message);
            }
        }

        Array.Clear(plain);
    }

    private List<ArenaRecord> Named(string? name)
    {
        List<ArenaRecord> arenas = [.. store.Catalog.Arenas().Where(arena => name is null
            || arena.Ordinal.ToString(CultureInfo.InvariantCulture) == name || arena.Id.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase))];
        return arenas.Count > 0 || name is null ? arenas : throw NoSuch("arena", name, "an ordinal or the first digits of an id");
    }

    /// <summary>The root that each volume's newest head names, and its snapshots; the tables are read through, files are not.</summary>
    private async ValueTask VolumesAsync(string? name, CancellationToken cancel)
    {
        List<string> volumes = [.. Volume.Names(store).Where(volume => name is null || volume == name)];
        List<string> unreadable = [.. store.UnreadableVolumes.Where(volume => name is null || volume == name)];
        if (volumes.Count + unreadable.Count == 0 && name is not null)
        {
            throw NoSuch("volume", name, "a volume's name");
        }

        foreach (string volume in volumes)
        {
            try
            {
                using Volume opened = (await Volume.TryOpenAsync(store, volume, cancel).ConfigureAwait(false))!;
                VolumeRoot root = opened.Root;
                page.Row("volume", Bare("name", volume), Bare("id", root.Id), ("rule", root.DefaultRule), ("intents", root.IntentSequence), ("devices", root.NextFile.Count), ("links", root.Links.Count), ("snapshots", root.Snapshots.Count));
                await foreach (SnapshotRecord snapshot in opened.SnapshotsAsync(cancel).ConfigureAwait(false))
                {
                    PutSnapshot(page, 1, snapshot);
                    long entries = 0;
                    await foreach (TreeItem _ in TreeReader.Of(opened, snapshot).WalkAsync(snapshot.Root, default, cancel).ConfigureAwait(false))
                    {
                        entries++;
                    }

                    if ((ulong)entries != snapshot.Root.Totals.Entries)
                    {
                        page.Damaged($"snapshot {snapshot.Id} of {volume}: found {entries} entries, expected {snapshot.Root.Totals.Entries}");
                    }
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                page.Damaged($"volume {volume}: {damage.Message}");
            }
        }

        foreach (string volume in unreadable)
        {
            page.Note($"volume {volume} cannot be read: its keys were burned or never came back");
        }
    }

    internal static void PutSnapshot(DebugPage page, int depth, SnapshotRecord snapshot) =>
        page.Row(depth, "snapshot", Bare("id", snapshot.Id), ("number", snapshot.Number), Bare("time", Show.IsoTime(snapshot.TimeNs)), ("finished", snapshot.IsFinished), ("unfinished", !snapshot.IsFinished), ("kept", snapshot.IsMarked),
            ("entries", snapshot.Root.Totals.Entries), ("bytes", snapshot.Root.Totals.Bytes), ("links", snapshot.Links.Count), ("torn", snapshot.TornCount), ("vanished", snapshot.VanishedCount), ("unreadable", snapshot.UnreadableCount));
}
