using System.Globalization;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Prints each structure of a store and checks it: `tdfs debug`. Never keys, never what a block says.</summary>
/// <remarks>A line that begins with "DAMAGED" is a check that failed; the result is then false.</remarks>
internal sealed class StoreDump(BlockStore store, StateDump state)
{
    internal static readonly string[] Structures = ["anchors", "arenas", "catalog", "fragments", "heads", "holders", "index", "journal", "keyring", "logs", "volumes"];

    internal ValueTask<bool> WriteAsync(string structure, string? name, TextWriter target, CancellationToken cancel) => structure switch
    {
        "anchors" => state.AnchorsAsync(target, cancel),
        "keyring" => ValueTask.FromResult(state.Keyring(target)),
        "logs" => state.LogsAsync(target, cancel),
        "volumes" => VolumesAsync(name, target, cancel),
        "arenas" => ArenasAsync(name, target, cancel),
        "catalog" => ValueTask.FromResult(Catalog(target)),
        "fragments" => FragmentsAsync(name, target, cancel),
        "heads" => ValueTask.FromResult(Heads(name, target)),
        "holders" => ValueTask.FromResult(Holders(name, target)),
        "index" => IndexAsync(target, cancel),
        "journal" => JournalAsync(target, cancel),
        _ => throw new ArgumentException($"unknown structure {structure}", nameof(structure)),
    };

    private bool Catalog(TextWriter target)
    {
        Catalog catalog = store.Catalog;
        Put(target, $"sequence {catalog.Sequence}, next ordinal {catalog.NextOrdinal}, {catalog.RunningDays} running days, last on day {catalog.LastDate}");
        Put(target, $"{catalog.Holders().Count} holders, {catalog.Heads().Count} heads, {catalog.Announced().Count} announced arenas");
        foreach ((uint ordinal, ArenaId id) in catalog.Announced())
        {
            Put(target, $"announced {ordinal} {id}");
        }

        bool isWhole = true;
        foreach (ArenaRecord arena in catalog.Arenas())
        {
            Put(target, $"arena {arena.Ordinal} {arena.Id} {arena.State} {arena.Layout.DataFragments}+{arena.Layout.ParityFragments} slice {arena.Layout.SliceBytes} survive {arena.Survive} epoch {arena.Epoch} clumps {arena.ClumpCount} sequence {arena.SealSequence}");
            foreach (ushort number in arena.Fragments.Select(static fragment => fragment.Holder).Where(number => number != FragmentPlace.Nowhere && store.HolderOf(number) is null).Distinct())
            {
                isWhole = Damaged(target, $"arena {arena.Ordinal}: found holder number {number}, expected one below {store.Holders.Count}");
            }
        }

        return isWhole;
    }

    private async ValueTask<bool> ArenasAsync(string? name, TextWriter target, CancellationToken cancel)
    {
        bool isWhole = true;
        foreach (ArenaRecord arena in Named(name))
        {
            cancel.ThrowIfCancellationRequested();
            Put(target, $"arena {arena.Ordinal} {arena.Id} {arena.State}");
            if (!store.HasKeysOf(arena))
            {
                Put(target, $"  of key domain {arena.Domain}, whose keys were burned or never came back");
                continue;
            }

            try
            {
                ArenaHeader header = await store.HeaderAsync(arena, cancel).ConfigureAwait(false);
                Put(target, $"  header: domain {header.Domain} epoch {header.Epoch} owner {header.Owner} survive {header.Survive} clumps {header.ClumpCount} directory at {header.DirectoryOffset} sealed at {header.SealedAtSeconds}");
                if (header.Id != arena.Id || header.Layout != arena.Layout || header.ClumpCount != arena.ClumpCount || header.DirectoryOffset != arena.DirectoryOffset)
                {
                    isWhole = Damaged(target, $"arena {arena.Ordinal}: found a header of {header.ClumpCount} clumps and a directory at {header.DirectoryOffset}, expected {arena.ClumpCount} and {arena.DirectoryOffset} as in the catalog");
                }

                ArenaDirectory directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
                for (int i = 0; i < directory.Count; i++)
                {
                    ClumpEntry entry = directory[i];
                    Put(target, $"  {entry.Score} {entry.Type} at {entry.Offset} length {entry.Length} plain {entry.PlainBytes}");
                    if (entry.Offset < ArenaHeader.Size || entry.Offset + (long)entry.Length > arena.DirectoryOffset)
                    {
                        isWhole = Damaged(target, $"arena {arena.Ordinal}, clump {i}: found bytes {entry.Offset} to {entry.Offset + (long)entry.Length}, expected within {ArenaHeader.Size} to {arena.DirectoryOffset}");
                    }
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                isWhole = Damaged(target, $"arena {arena.Ordinal}: {damage.Message}");
            }
        }

        return isWhole;
    }

    private async ValueTask<bool> FragmentsAsync(string? name, TextWriter target, CancellationToken cancel)
    {
        bool isWhole = true;
        foreach (StoreHolder holder in store.Holders.Where(static holder => holder.Holder is not null))
        {
            Put(target, $"holder {holder.Number} {holder.Id} {TerminalText.Clean(holder.Place)}");
            foreach (HeldArenaEntry held in await holder.Holder!.ListAsync(cancel).ConfigureAwait(false))
            {
                if (name is not null && !held.Id.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase))
                {
                    continue;
                }

                ArenaRecord? known = store.Catalog.Arena(held.Id);
                Put(target, $"  {held.Id}{(held.IsInTrash ? " in trash" : "")}{(known is null ? " not in the catalog" : $" arena {known.Ordinal}")}");
                if (held.Arena is not { } arena)
                {
                    isWhole = Damaged(target, $"{held.Id}: {held.Damage}");
                    continue;
                }

                if (arena.IsRecordDamaged)
                {
                    isWhole = Damaged(target, $"{held.Id}: found one damaged copy of the record, expected two whole ones");
                }

                foreach (HeldFragment fragment in arena.Fragments)
                {
                    Put(target, $"    fragment {fragment.Index} of {arena.DataFragments}+{arena.ParityFragments} {arena.SliceBytes} bytes {fragment.Name}");
                    if (known is not null && fragment.Index < known.Fragments.Count && known.Fragments[fragment.Index] is var expected
                        && expected.Holder == holder.Number && expected.Name != fragment.Name)
                    {
                        isWhole = Damaged(target, $"{held.Id}, fragment {fragment.Index}: found {fragment.Name}, expected {expected.Name}");
                    }
                }
            }
        }

        return isWhole;
    }

    private bool Heads(string? name, TextWriter target)
    {
        bool isWhole = true;
        foreach (SignedHead signed in store.Catalog.Heads().Where(signed => name is null || signed.Head.VolumeName == name))
        {
            Head head = signed.Head;
            Put(target, $"volume {TerminalText.Clean(head.VolumeName)} {head.Volume} device {head.Device} incarnation {head.Incarnation:x16} sequence {head.Sequence} time {Show.IsoTime(head.TimeNs)} root {head.Root} domain {head.Domain}");
            if (!store.IsVouchedFor(signed))
            {
                isWhole = Damaged(target, $"head {head.Sequence} of {TerminalText.Clean(head.VolumeName)}: no known device of the account signed it");
            }
        }

        return isWhole;
    }

    private bool Holders(string? name, TextWriter target)
    {
        bool isWhole = true;
        foreach (StoreHolder holder in store.Holders.Where(holder => name is null || holder.Place == name))
        {
            string state = holder.IsGone ? "gone" : holder.Holder is null ? "unreachable" : "present";
            long count = store.Catalog.Arenas().Sum(arena => (long)arena.Fragments.Count(fragment => fragment.Holder == holder.Number));
            Put(target, $"holder {holder.Number} {holder.Id} place {TerminalText.Clean(holder.Place)} at {TerminalText.Clean(holder.Address)} {state} fragments {count}");
            if (holder is { IsGone: false, Holder: null })
            {
                isWhole = Damaged(target, $"holder {holder.Number}: {TerminalText.Clean(holder.Problem ?? "not reachable")}");
            }
        }

        return isWhole;
    }

    /// <summary>The index is a cache: what is missing from it costs time only, so it is told and is no damage.</summary>
    private async ValueTask<bool> IndexAsync(TextWriter target, CancellationToken cancel)
    {
        if (store.Index is not IBlockIndex index)
        {
            Put(target, $"not opened: a reader searches the directories instead, {store.Catalog.Arenas().Count} of them");
            return true;
        }

        Put(target, $"{index.Count} entries, covers the catalog to sequence {index.CoveredSequence} of {store.Catalog.Sequence}");
        foreach (ArenaRecord arena in store.Catalog.Arenas().Where(arena => arena.State != ArenaState.Trashed && store.HasKeysOf(arena)))
        {
            ArenaDirectory directory = await store.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            int missing = Enumerable.Range(0, directory.Count).Count(i => !index.TryFind(directory[i].Score, out _));
            Put(target, $"arena {arena.Ordinal}: {directory.Count} clumps, {missing} not in the index{(missing > 0 ? "; run 'tdfs reindex'" : "")}");
        }

        return true;
    }

    private async ValueTask<bool> JournalAsync(TextWriter target, CancellationToken cancel)
    {
        bool isWhole = true;
        byte[] plain = new byte[BlockLimits.MaxBlockBytes];
        foreach (PendingClump clump in store.Pending)
        {
            BinKey key = clump.Buffer.Key;
            Put(target, $"{clump.Score} {clump.Type} length {clump.Length} plain {clump.PlainBytes} day {clump.Date} domain {key.Domain} epoch {key.Epoch} survive {key.Survive}");
            try
            {
                BlockRead read = await store.OpenBlocks(key.Domain, 0).ReadAsync(clump.Score, clump.Type, plain, cancel).ConfigureAwait(false);
                if (!read.IsFound || read.Bytes != clump.PlainBytes)
                {
                    isWhole = Damaged(target, $"{clump.Score}: found {read.Bytes} bytes, expected {clump.PlainBytes}");
                }
            }
            catch (DamagedBlockException damage)
            {
                isWhole = Damaged(target, damage.Message);
            }
        }

        Array.Clear(plain);
        return isWhole;
    }

    private List<ArenaRecord> Named(string? name)
    {
        List<ArenaRecord> arenas = [.. store.Catalog.Arenas().Where(arena => name is null
            || arena.Ordinal.ToString(CultureInfo.InvariantCulture) == name || arena.Id.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase))];
        return arenas.Count > 0 || name is null ? arenas : throw new UserError(ExitCode.NotFound, $"found no arena '{name}', expected an ordinal or the first digits of an id");
    }

    /// <summary>The root that each volume's newest head names, and its snapshots; the tables are read through, files are not.</summary>
    private async ValueTask<bool> VolumesAsync(string? name, TextWriter target, CancellationToken cancel)
    {
        bool isWhole = true;
        foreach (string volume in Volume.Names(store).Where(volume => name is null || volume == name))
        {
            try
            {
                using Volume opened = (await Volume.TryOpenAsync(store, volume, cancel).ConfigureAwait(false))!;
                VolumeRoot root = opened.Root;
                Put(target, $"volume {TerminalText.Clean(volume)} {root.Id} rule {root.DefaultRule} intents {root.IntentSequence} devices {root.NextFile.Count} links {root.Links.Count} snapshots {root.Snapshots.Count}");
                await foreach (SnapshotRecord snapshot in opened.SnapshotsAsync(cancel).ConfigureAwait(false))
                {
                    Put(target, $"  snapshot {snapshot.Id} {Show.IsoTime(snapshot.TimeNs)} {(snapshot.IsFinished ? "finished" : "unfinished")}{(snapshot.IsMarked ? " kept" : "")} entries {snapshot.Root.Totals.Entries} bytes {snapshot.Root.Totals.Bytes} links {snapshot.Links.Count} torn {snapshot.TornCount} vanished {snapshot.VanishedCount} unreadable {snapshot.UnreadableCount}");
                    long entries = 0;
                    await foreach (TreeItem _ in TreeReader.Of(opened, snapshot).WalkAsync(snapshot.Root, default, cancel).ConfigureAwait(false))
                    {
                        entries++;
                    }

                    if ((ulong)entries != snapshot.Root.Totals.Entries)
                    {
                        isWhole = Damaged(target, $"snapshot {snapshot.Id} of {TerminalText.Clean(volume)}: found {entries} entries, expected {snapshot.Root.Totals.Entries}");
                    }
                }
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                isWhole = Damaged(target, $"volume {TerminalText.Clean(volume)}: {damage.Message}");
            }
        }

        return isWhole;
    }

    internal static void Put(TextWriter target, FormattableString line) => target.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    internal static bool Damaged(TextWriter target, string line)
    {
        target.WriteLine("DAMAGED " + line);
        return false;
    }
}
