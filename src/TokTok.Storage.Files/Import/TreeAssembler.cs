using System.Threading.Channels;

namespace TokTok.Storage.Files;

/// <summary>Takes the walk's slots in their order, each once it is filled in, and makes of them directories, the link table and the new stat cache.</summary>
/// <remarks>
/// One thread. Directories end in post-order. As long as every name of a directory is what the stat cache said, its entries only wait in memory:
/// if it stays so to the end, the table of the snapshot before is taken over as it is. Waiting entries of all directories on the way down are bounded
/// together (<see cref="MaxWaitingBytes"/>); beyond that they go into tables, which gives the same bytes.
/// The link table's records are held until the end, since only then the number of names is known: some 300 bytes for each file of several names.
/// </remarks>
internal sealed class TreeAssembler(ImportRun run, StatCacheWriter? cache)
{
    internal const long MaxWaitingBytes = 16 * 1024 * 1024;

    private readonly Stack<Building> _way = [];
    private readonly Dictionary<ulong, LinkBuilding> _links = [];
    private readonly HashSet<ulong> _skippedLinks = [];
    private long _waitingBytes;

    /// <summary>Names were left out, or stayed unchecked, because the walk ended before they had their turn.</summary>
    internal bool HasSkipped => FirstSkipped is not null;

    /// <summary>The first in the order of the walk.</summary>
    internal ImportSlot? FirstSkipped { get; private set; }

    /// <summary>The topmost directory's entry once all is assembled.</summary>
    internal Entry? Root { get; private set; }

    /// <summary>How many lost places the strongest part of the tree and of the link table outlives: what names them should be no weaker.</summary>
    internal int Survive { get; private set; } = run.Blocks.Survive;

    internal async Task AssembleAsync(ChannelReader<ImportBatch> order, CancellationToken abort)
    {
        await foreach (ImportBatch batch in order.ReadAllAsync(abort).ConfigureAwait(false))
        {
            if (batch.Done is { } done)
            {
                await done.Task.WaitAsync(abort).ConfigureAwait(false);
            }

            foreach (ImportSlot slot in batch.Slots)
            {
                await AssembleAsync(slot, abort).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask AssembleAsync(ImportSlot slot, CancellationToken abort)
    {
        switch (slot.Kind)
        {
            case SlotKind.Enter:
                _way.Push(new Building { OwnSurvive = slot.Frame.Survive, Survive = slot.Frame.Survive });
                cache?.Write(StatRecordKind.Enter, true, default, slot.Name, [], []);
                break;
            case SlotKind.Leave:
                await LeaveAsync(slot, abort).ConfigureAwait(false);
                break;
            case SlotKind.CacheOnly:
                cache?.Write(slot.RecordKind, slot.IsTrusted, slot.Stat, slot.Name, slot.OldEntry, slot.OldLink, slot.IsCutOff);
                break;
            default:
                await AddAsync(slot, abort).ConfigureAwait(false);
                break;
        }
    }

    /// <summary>The link table, once all is assembled.</summary>
    internal async ValueTask<TableRoot> FinishLinksAsync(CancellationToken cancel)
    {
        ulong[] ids = [.. _links.Keys];
        Array.Sort(ids);
        TableBuilder builder = run.Tables.NewBuilder();
        foreach (ulong id in ids)
        {
            LinkBuilding link = _links[id];
            await builder.AddAsync(LinkTable.Key(id), (link.Record with { LinkCount = link.Names }).Encode(), link.Survive, cancel).ConfigureAwait(false);
        }

        Survive = Math.Max(Survive, builder.Survive);
        return await builder.FinishAsync(cancel).ConfigureAwait(false);
    }

    private async ValueTask AddAsync(ImportSlot slot, CancellationToken cancel)
    {
        Building directory = _way.Peek();
        if (slot.IsLaterLink && !_links.ContainsKey(slot.FileId))
        {
            // The name that was to give the record could not be read, or had not its turn before the stop.
            if (!_skippedLinks.Contains(slot.FileId))
            {
                run.Report(ImportTroubleKind.Unreadable, slot.Frame, slot.Name, 0);
            }

            slot.Entry = null;
        }

        // One that has its old entry and was to be checked stays, and is still to have its turn.
        FirstSkipped ??= slot.IsSkipped ? slot : null;
        if (slot.Entry is null)
        {
            directory.IsSame = false;
            if (slot.IsSkipped && slot.IsFirstLink)
            {
                _ = _skippedLinks.Add(slot.FileId);
            }

            if (slot.OldEntry.Length > 0)
            {
                // For its file id. The directory's table does not have it, so the next import must not take that table over.
                directory.IsCutOff = true;
                cache?.Write(StatRecordKind.Entry, false, slot.Stat, slot.Name, slot.OldEntry, slot.OldLink);
            }

            return;
        }

        bool isUnchanged = ReferenceEquals(slot.Entry, slot.OldEntry);
        bool isTrusted = isUnchanged || slot.IsTrusted || (slot.IsLaterLink && run.IsSettled(slot.Stat));
        bool isLink = slot.IsFirstLink || slot.IsLaterLink;
        long size = slot.SizeBytes;
        long holes = slot.HoleBytes;
        if (slot.IsFirstLink)
        {
            _links[slot.FileId] = new LinkBuilding(slot.LinkRecord!) { Survive = run.SurviveOf(slot), HoleBytes = holes };
        }
        else if (slot.IsLaterLink)
        {
            LinkBuilding link = _links[slot.FileId];
            link.Names++;
            if (slot.Frame.Survive > link.Survive)
            {
                // Wanted is the most that any of its names asks for.
                await KeptBlocks.LiftAsync(link.Record, run.Blocks.At(slot.Frame.Survive), cancel).ConfigureAwait(false);
                link.Survive = slot.Frame.Survive;
            }

            size = link.Record.Type == EntryType.File ? link.Record.Content.Size : 0;
            holes = link.HoleBytes;
        }

        cache?.Write(StatRecordKind.Entry, isTrusted, slot.Stat, slot.Name, slot.Entry, slot.LinkBytes);
        bool isSame = isUnchanged || slot.Entry.AsSpan().SequenceEqual(slot.OldEntry);
        var totals = new DirectoryTotals(directory.Totals.Entries + 1, directory.Totals.Bytes + (ulong)size, directory.Totals.Links + (isLink ? 1UL : 0));
        await PutAsync(directory, slot.Name, slot.Entry, isSame, totals, 0, cancel).ConfigureAwait(false);
        run.Progress.CountDone(slot, size, holes);
    }

    private async ValueTask LeaveAsync(ImportSlot slot, CancellationToken cancel)
    {
        Building directory = _way.Pop();
        Entry? old = slot.OldEntry.Length > 0 ? Entry.Decode(slot.OldEntry) : null;
        TableRoot children;

        // A table that may be weaker than it is wanted is written again: what is strong already is known and not stored twice.
        if (directory.IsSame && !slot.HasOtherNames && old is not null && directory.Builder is null && directory.Survive <= run.Weakest)
        {
            children = old.Children;
            _waitingBytes -= directory.WaitingBytes;
            _ = Interlocked.Increment(ref run.Progress.ReusedDirectoriesValue);
        }
        else
        {
            TableBuilder builder = await FlushAsync(directory, cancel).ConfigureAwait(false);
            children = await builder.FinishAsync(cancel).ConfigureAwait(false);
        }

        Entry entry;
        if (slot.IsTrusted && old is not null)
        {
            entry = old with { Children = children, Totals = directory.Totals, Survive = slot.Frame.Wish?.Survive };
            if (slot.Frame.Survive > run.Weakest)
            {
                await KeptBlocks.LiftAsync(entry, run.Blocks.At(slot.Frame.Survive), cancel).ConfigureAwait(false); // its attributes
            }
        }
        else
        {
            StoredAttributes attributes = await AttributeList.StoreAsync(run.Blocks.At(slot.Frame.Survive), slot.Attributes, cancel).ConfigureAwait(false);
            entry = run.NewEntry(EntryType.Directory, slot.FileId, slot.Stat) with
            {
                Attributes = attributes,
                Children = children,
                Totals = directory.Totals,
                Survive = slot.Frame.Wish?.Survive,
            };
        }

        byte[] encoded = entry.Encode();
        cache?.Write(StatRecordKind.Leave, slot.IsTrusted || run.IsSettled(slot.Stat), slot.Stat, [], encoded, [], slot.IsCutOff || directory.IsCutOff);
        _ = Interlocked.Increment(ref run.Progress.DirectoriesValue);
        if (!_way.TryPeek(out Building? parent))
        {
            Root = entry;
            Survive = Math.Max(Survive, directory.Survive);
            return;
        }

        DirectoryTotals above = parent.Totals;
        DirectoryTotals below = directory.Totals;
        var totals = new DirectoryTotals(above.Entries + 1 + below.Entries, above.Bytes + below.Bytes, above.Links + below.Links);
        await PutAsync(parent, slot.Name, encoded, encoded.AsSpan().SequenceEqual(slot.OldEntry), totals, directory.Survive, cancel).ConfigureAwait(false);
    }

    private async ValueTask PutAsync(Building directory, byte[] name, byte[] entry, bool isSame, DirectoryTotals totals, int survive, CancellationToken cancel)
    {
        directory.Totals = totals;
        directory.Survive = Math.Max(directory.Survive, survive);
        directory.IsSame &= isSame;
        if (directory.Builder is not null)
        {
            await directory.Builder.AddAsync(name, entry, survive, cancel).ConfigureAwait(false);
            return;
        }

        const int Overhead = 96;
        directory.Waiting.Add((name, entry, survive));
        directory.WaitingBytes += name.Length + entry.Length + Overhead;
        _waitingBytes += name.Length + entry.Length + Overhead;
        if (!directory.IsSame)
        {
            _ = await FlushAsync(directory, cancel).ConfigureAwait(false);
        }
        else if (_waitingBytes > MaxWaitingBytes)
        {
            foreach (Building each in _way)
            {
                _ = await FlushAsync(each, cancel).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask<TableBuilder> FlushAsync(Building directory, CancellationToken cancel)
    {
        directory.Builder ??= run.Tables.At(directory.OwnSurvive).NewBuilder();
        foreach ((byte[] name, byte[] entry, int survive) in directory.Waiting)
        {
            await directory.Builder.AddAsync(name, entry, survive, cancel).ConfigureAwait(false);
        }

        directory.Waiting.Clear();
        _waitingBytes -= directory.WaitingBytes;
        directory.WaitingBytes = 0;
        return directory.Builder;
    }

    private sealed class Building
    {
        internal List<(byte[] Name, byte[] Entry, int Survive)> Waiting { get; } = [];

        /// <summary>What the directory itself asks for, or inherits.</summary>
        internal required int OwnSurvive { get; init; }

        /// <summary>The most that it or anything below it asks for.</summary>
        internal required int Survive { get; set; }

        internal long WaitingBytes { get; set; }

        internal TableBuilder? Builder { get; set; }

        /// <summary>Every name so far is what the stat cache said.</summary>
        internal bool IsSame { get; set; } = true;

        /// <summary>The new stat cache has names of it that its table has not.</summary>
        internal bool IsCutOff { get; set; }

        internal DirectoryTotals Totals { get; set; }
    }

    private sealed class LinkBuilding(Entry record)
    {
        internal Entry Record { get; } = record;

        internal uint Names { get; set; } = 1;

        internal long HoleBytes { get; init; }

        /// <summary>The most that the directories of its names ask for.</summary>
        internal required int Survive { get; set; }
    }
}
