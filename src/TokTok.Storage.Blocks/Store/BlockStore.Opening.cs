using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>A holder as storage.toml names it: the way to it, or why there is none now.</summary>
public sealed record ConfiguredHolder(string Place, string Address, IFragmentHolder? Holder, string? Problem)
{
    /// <summary>Bytes of fragments after which the holder takes no more; null: none.</summary>
    public long? QuotaBytes { get; init; }

    /// <summary>What is read of it, and what goes to it, is kept by the store's cache too.</summary>
    public bool IsCached { get; init; }

    /// <summary>It lies on another machine: what is freed on this one may lie there alone.</summary>
    public bool IsElsewhere { get; init; }

    /// <summary>Nothing new goes there, and what it has is moved away: until then it is read.</summary>
    public bool IsLeaving { get; init; }

    /// <summary>The country that its owner says it lies in; null: nobody said.</summary>
    public string? Country { get; init; }

    /// <summary>By the store's rule nothing may lie there: it leaves, too (<see cref="CountryRule"/>).</summary>
    public bool IsOutside { get; init; }

    /// <summary>It was caught without what it is to keep: what it has counts as not there, and is read last.</summary>
    public bool IsDoubted { get; init; }

    /// <summary>Which holder it is, where that is known while it cannot be reached; all zero: by its place alone.</summary>
    public HolderId KnownId { get; init; }

    /// <summary>For a folder that is empty or missing: a writer asks for a new holder there once it has read the catalog. Null from it: none is to be made.</summary>
    /// <remarks>It is told whether the holder is absent: the catalog knows one in this place that nothing configured reaches. The folder may then be the mount point of its disk,
    /// and what is written into it would be hidden when the disk is back.</remarks>
    public Func<bool, IFragmentHolder?>? Make { get; init; }

    /// <exception cref="StoreException">None of them can be reached.</exception>
    public static void RequireOne(IReadOnlyList<ConfiguredHolder> holders)
    {
        ArgumentNullException.ThrowIfNull(holders);
        if (holders.All(static holder => holder.Holder is null))
        {
            string first = holders.Count > 0 ? holders[0].Problem + "; " : "";
            throw new StoreException(StoreProblem.HoldersMissing, $"{first}found none of {holders.Count} holders, expected one at least: attach a disk, or mend [[holder]] in storage.toml");
        }
    }
}

/// <content>Opening: what a crash left is put right here, before anything else happens.</content>
public sealed partial class BlockStore
{
    private const string WriterNote = "writer";

    /// <summary>Entries of the index that are not worth building it again, however many of them name arenas that are gone.</summary>
    private const long IndexFloorEntries = 1 << 20;

    /// <summary>A file's life ends at most once in a flush, and listing and opening what a folder holds is far quicker than one.</summary>
    private const int LoadAttempts = 16;

    private readonly DirectorySearch _directories;
    private readonly HashSet<ArenaId> _leftAlone = []; // told once

    /// <summary>Opens a store. With <see cref="StoreAccess.Write"/> everything that a crash left behind is put right first.</summary>
    /// <param name="openIndex">Opens the index for a writer; not called for readers, who search directories.</param>
    /// <param name="writerNote">For a writer: one line that a second writer is shown, such as "tdfs import, process 4711".</param>
    public static async ValueTask<BlockStore> OpenAsync(
        IDisk disk,
        StoreOptions options,
        StoreKeys keys,
        IReadOnlyList<ConfiguredHolder> configured,
        Func<IBlockIndex>? openIndex,
        TimeProvider clock,
        IRandomSource random,
        StoreAccess access,
        string writerNote,
        Action<string>? noted,
        CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(configured);
        bool lastEndedInOrder = true;
        IDisposable? writerLock = access == StoreAccess.Write ? TakeLock(disk, options.StateFolder, writerNote, out lastEndedInOrder) : null;
        CatalogLog? catalogLog = null;
        Journal? journal = null;
        BlockStore? store = null;
        try
        {
            var heads = new LogHeads();
            IFragmentHolder[] reachable = [.. configured.Where(static holder => holder.Holder is not null).Select(static holder => holder.Holder!)];

            LoadedLogs loaded = await LoadLogsAsync(disk, options.StateFolder, keys, reachable, random, access, heads, cancel).ConfigureAwait(false);
            (catalogLog, journal) = (loaded.Catalog, loaded.Journal);
            if (loaded.Locked.Count > 0)
            {
                var copies = new LogCopies(disk, Paths.Join(options.StateFolder, "catalog"), "catalog", RecordLogKind.Catalog, keys.Device, keys.Realm, heads);
                DevicesSaid said = await SaidByAllAsync(catalogLog.Catalog, copies, keys, reachable, random, cancel).ConfigureAwait(false);
                if (await TakeEpochsAsync(keys, reachable, said, access == StoreAccess.Write, noted ?? (static _ => { }), cancel).ConfigureAwait(false))
                {
                    loaded = await LoadLogsAsync(disk, options.StateFolder, keys, reachable, random, access, heads, cancel).ConfigureAwait(false);
                    (catalogLog, journal) = (loaded.Catalog, loaded.Journal);
                }

                RefuseIfLocked(options, keys, loaded);
            }

            if (options.MustExist && !catalogLog.WasFound)
            {
                throw LostCatalog(disk, options.StateFolder, keys.Realm);
            }

            UseFitting(keys.Domains, SaidIn([catalogLog.Catalog], keys));
            if (access == StoreAccess.Write)
            {
                configured = MakeHolders(catalogLog.Catalog, configured);
                ConfiguredHolder.RequireOne(configured);
                catalogLog.BeginWriting(RandomIncarnation(random), lastEndedInOrder);
            }
            else
            {
                catalogLog.Rehearse(); // what others wrote is taken up in memory
            }

            List<StoreHolder> holders = NumberHolders(catalogLog, configured, access);
            store = new BlockStore(disk, options, keys, clock, random, catalogLog, journal, holders, writerLock, heads);
            if (noted is not null)
            {
                store.Noted += noted;
            }

            store.NoteLocked(loaded.Locked);

            if (access == StoreAccess.Write)
            {
                await store.RecoverAsync(openIndex, loaded, lastEndedInOrder, cancel).ConfigureAwait(false);
            }
            else
            {
                await store.ReadOthersAsync(loaded, cancel).ConfigureAwait(false);
            }

            return store;
        }
        catch
        {
            store?._index?.Dispose();
            catalogLog?.Dispose();
            journal?.Dispose();
            writerLock?.Dispose();
            throw;
        }
    }

    /// <summary>Reads the catalog and the journal; again, beside a writer that ended a file's life between its listing and its reading.</summary>
    private static async ValueTask<LoadedLogs> LoadLogsAsync(
        IDisk disk, string state, StoreKeys keys, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, StoreAccess access, LogHeads heads, CancellationToken cancel)
    {
        for (int attempt = 1; ; attempt++)
        {
            // A writer has nobody beside it. What a reader still does not find in the end is missing, and no writer's doing.
            bool isLast = access == StoreAccess.Write || attempt == LoadAttempts;
            try
            {
                if (await TryLoadLogsAsync(disk, state, keys, holders, random, access, isLast, heads, cancel).ConfigureAwait(false) is { } loaded)
                {
                    return loaded;
                }
            }
            catch (DiskException vanished) when (vanished.Failure == DiskFailure.NotFound && !isLast)
            {
            }
        }
    }

    /// <summary>Reads catalog, journal and catalog: what a reader gets is one state of the store, though a writer beside it goes on.</summary>
    /// <remarks>
    /// A writer journals clumps before it commits the head that needs them, and drops them from the journal once the catalog names the arenas that hold them.
    /// So a head of the first catalog has its blocks in a journal read after it, or in an arena of a catalog read after that one: the heads are those of the first
    /// catalog, and the arenas those of the last. The other way round a head may come in between whose blocks the journal did not have yet.
    /// </remarks>
    private static async ValueTask<LoadedLogs?> TryLoadLogsAsync(
        IDisk disk, string state, StoreKeys keys, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, StoreAccess access, bool isLast, LogHeads heads, CancellationToken cancel)
    {
        var journalCopies = new LogCopies(disk, Paths.Join(state, "journal"), "journal", RecordLogKind.Journal, keys.Device, keys.Realm, heads);
        LogCopies catalogCopies = CatalogCopies();
        CatalogLog catalog = await CatalogLog.LoadAsync(catalogCopies, keys.Device, holders, random, cancel).ConfigureAwait(false);                            // 1. the heads
        List<LogCopy> locked = [.. catalogCopies.Locked];
        List<CatalogLog.OtherLine> others = access == StoreAccess.Write ? [] : await catalog.ReadOthersAsync(cancel).ConfigureAwait(false);
        (Journal journal, List<JournalClump> clumps) = await Journal.LoadAsync(journalCopies, holders, random, cancel).ConfigureAwait(false);                  // 2. their blocks
        locked.AddRange(journalCopies.Locked);
        if (access == StoreAccess.Write)
        {
            return new LoadedLogs(catalog, journal, clumps, [], [], locked);
        }

        foreach ((List<JournalClump> Clumps, RecordLogHeader Header, long Bytes) other in await journal.ReadOthersAsync(catalog.Catalog.HasSeen, cancel).ConfigureAwait(false))
        {
            clumps.AddRange(other.Clumps);
        }

        bool hasMissed = catalogCopies.HasMissed || journalCopies.HasMissed;
        catalogCopies = CatalogCopies();
        List<CatalogLog.OtherLine> arenas = others;
        if (await catalog.HasMovedAsync(catalogCopies, holders, others.Count > 0, cancel).ConfigureAwait(false))
        {
            catalogCopies = CatalogCopies();
            CatalogLog later = await CatalogLog.LoadAsync(catalogCopies, keys.Device, holders, random, cancel).ConfigureAwait(false);                          // 3. where they went since
            hasMissed |= !catalog.WasFound;
            arenas = others.Count > 0 ? await later.ReadOthersAsync(cancel).ConfigureAwait(false) : [];
            later.Catalog.KeepHeadsOf(catalog.Catalog);
            catalog = later;
        }

        return (hasMissed || catalogCopies.HasMissed) && !isLast ? null : new LoadedLogs(catalog, journal, clumps, others, arenas, locked);

        LogCopies CatalogCopies() => new(disk, Paths.Join(state, "catalog"), "catalog", RecordLogKind.Catalog, keys.Device, keys.Realm, heads);
    }

    /// <summary>Logs as they were read.</summary>
    /// <param name="HeadsOf">Of a reader: other lines' catalogs, for their heads.</param>
    /// <param name="ArenasOf">The same, read after the journals: for their arenas.</param>
    /// <param name="Locked">Those that were there and whose keys are not.</param>
    private sealed record LoadedLogs(
        CatalogLog Catalog, Journal Journal, List<JournalClump> Clumps, List<CatalogLog.OtherLine> HeadsOf, List<CatalogLog.OtherLine> ArenasOf, List<LogCopy> Locked);

    /// <summary>A reader takes up in memory what other devices have published and this one's writer has not met yet.</summary>
    private async ValueTask ReadOthersAsync(LoadedLogs loaded, CancellationToken cancel)
    {
        List<CatalogLog.OtherLine> heads = loaded.HeadsOf.FindAll(other => other.Header.Device != _device);
        List<CatalogLog.OtherLine> arenas = loaded.ArenasOf.FindAll(other => other.Header.Device != _device);
        if (!_options.Rehearse && _catalogLog.WasFound && !_catalogLog.StateWasBehind)
        {
            TakeStatements(heads);
            arenas.RemoveAll(static other => other.IsOld);
            heads.RemoveAll(static other => other.IsOld);
            await TakeUpArenasAsync(arenas.FindAll(other => IsHeard(other.Header.Device)), isIndexing: false, cancel).ConfigureAwait(false);
            Join(heads.FindAll(other => IsHeard(other.Header.Device)));
        }

        TakeJournal(loaded.Clumps);
    }

    /// <summary>Lets go of the store. Blocks not flushed are gone, as after a crash; the index is checkpointed so that the next start is quick.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        Task[] sealing;
        lock (_sealing)
        {
            sealing = [.. _sealing];
        }

        foreach (Task task in sealing)
        {
            await task.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        try
        {
            if (_lock is not null && _failure is null && !_catalogLog.HasFailed && !_journal.HasFailed)
            {
                if (_announcedIds.Count > 0)
                {
                    // Nothing was ever written under these ids.
                    uint[] unused = [.. _announcedIds.Select(static id => id.Ordinal)];
                    _catalogLog.Append(writer => Catalog.WriteForget(writer, unused));
                    _catalogLog.Sync();
                    await _catalogLog.PublishAsync(ReachableHolders(), CancellationToken.None).ConfigureAwait(false);
                }

                if (_arenasSinceCheckpoint > 0)
                {
                    CheckpointIndex();
                }

                if (_journal.UnpublishedBytes > 0)
                {
                    await _journal.PublishAsync(JournalHolders(), isSynced: true, CancellationToken.None).ConfigureAwait(false); // intents that holders were to get later
                }

                EndInOrder();
            }
        }
        finally
        {
            _index?.Dispose();
            Cache?.Dispose();
            if (_lookup.IsValueCreated)
            {
                _lookup.Value?.Dispose();
            }

            _journal.Dispose();
            _catalogLog.Dispose();
            _lock?.Dispose();
        }
    }

    /// <summary>Why no catalog was found: the files are another account's, or none is whole. An empty catalog in their place would forget every snapshot.</summary>
    private static StoreException LostCatalog(IDisk disk, string state, KeyDomain realm)
    {
        string folder = Paths.Join(state, "catalog");
        foreach (DiskEntry entry in disk.DirectoryExists(folder) ? disk.List(folder) : [])
        {
            try
            {
                using IDiskFile file = disk.Open(Paths.Join(folder, entry.Name), DiskOpen.Read);
                if (RecordLogReader.ReadHeader(file, entry.Name).Domain != realm.Id)
                {
                    return new StoreException(StoreProblem.NotAStore, $"{state}: found a keyring of one account and the catalog of another, expected both of one; put the right keyring back, or name another folder with --store");
                }
            }
            catch (Exception damage) when (damage is DamagedFormatException or DiskException)
            {
                // One more that does not help.
            }
        }

        return new StoreException(
            StoreProblem.CatalogLost,
            $"{state}: found no whole catalog there or at any holder that answers, expected one; attach the missing holders, or move the folder's keyring away and run 'tdfs recover' with the words");
    }

    /// <summary>Takes the note away, last. One that stays costs the next start new logs and nothing else.</summary>
    private void EndInOrder()
    {
        try
        {
            _disk.Delete(Paths.Join(_options.StateFolder, WriterNote));
        }
        catch (DiskException)
        {
        }
    }

    /// <summary>Takes the writer's lock and leaves a note of who has it.</summary>
    /// <param name="lastEndedInOrder">Whether the last writer took its note away. Else it was killed or failed, and what it left may stand in the page cache only:
    /// no later sync writes the pages of a sync that failed, so nothing may rest on them. (After a power cut what can be read is on the disk, whatever the note says.)</param>
    private static IDisposable TakeLock(IDisk disk, string state, string writerNote, out bool lastEndedInOrder)
    {
        string notePath = Paths.Join(state, WriterNote);
        IDisposable? taken = disk.TryLock(Paths.Join(state, "lock"));
        if (taken is null)
        {
            string first = "another process";
            try
            {
                using IDiskFile file = disk.Open(notePath, DiskOpen.Read);
                Span<byte> text = stackalloc byte[256];
                first = System.Text.Encoding.UTF8.GetString(text[..file.Read(0, text)]);
            }
            catch (DiskException)
            {
                // the first writer has not said who it is
            }

            throw new StoreException(StoreProblem.Locked, $"{state} is being written by {first}; wait for it to end, or stop it") { WrittenBy = first };
        }

        try
        {
            // Overwritten, never deleted first: whoever is killed here, or finds no space, has left a note all the same.
            lastEndedInOrder = !disk.FileExists(notePath);
            byte[] note = System.Text.Encoding.UTF8.GetBytes(writerNote);
            using IDiskFile file = disk.Open(notePath, lastEndedInOrder ? DiskOpen.CreateNew : DiskOpen.ReadWrite);
            file.Write(0, note);
            file.Truncate(note.Length);
        }
        catch
        {
            taken.Dispose();
            throw;
        }

        return taken;
    }

    /// <summary>Has new holders made where folders are empty or missing. A crash after it leaves a holder without fragments, which the next opening numbers.</summary>
    private static List<ConfiguredHolder> MakeHolders(Catalog catalog, IReadOnlyList<ConfiguredHolder> configured)
    {
        HashSet<string> absent = [.. Unreached(catalog, configured).Where(static known => !known.IsGone).Select(static known => known.Place)];
        return [.. configured.Select(holder => holder.Make?.Invoke(absent.Contains(holder.Place)) is { } made ? holder with { Holder = made, Problem = null } : holder)];
    }

    private static IEnumerable<HolderRecord> Unreached(Catalog catalog, IReadOnlyList<ConfiguredHolder> configured) =>
        catalog.Holders().Where(known => configured.All(holder => holder.Holder?.Id != known.Id));

    /// <summary>By number, the configured address at which an absent holder was: one for each, and those that were given up before come last.</summary>
    private static Dictionary<ushort, ConfiguredHolder> AbsentHolders(Catalog catalog, IReadOnlyList<ConfiguredHolder> configured)
    {
        var absent = new Dictionary<ushort, ConfiguredHolder>();
        List<ConfiguredHolder> left = [.. configured.Where(static holder => holder.Holder is null)];
        List<HolderRecord> unreached = [.. Unreached(catalog, configured)];
        foreach (HolderRecord known in unreached.FindAll(known => left.Exists(holder => holder.KnownId == known.Id)))
        {
            ConfiguredHolder its = left.Find(holder => holder.KnownId == known.Id)!;
            absent[known.Number] = its;
            left.Remove(its);
            unreached.Remove(known);
        }

        foreach (HolderRecord known in unreached.FindAll(static known => !known.IsGone).Concat(unreached.FindAll(static known => known.IsGone)))
        {
            int at = left.FindIndex(holder => holder.Place == known.Place);
            if (at >= 0)
            {
                absent[known.Number] = left[at];
                left.RemoveAt(at);
            }
        }

        return absent;
    }

    /// <summary>Matches configured holders with the catalog's numbers; new ones are recorded, and by a writer those that moved or went.</summary>
    private static List<StoreHolder> NumberHolders(CatalogLog log, IReadOnlyList<ConfiguredHolder> configured, StoreAccess access)
    {
        var numbered = new List<StoreHolder>();
        Dictionary<ushort, ConfiguredHolder> absent = AbsentHolders(log.Catalog, configured);
        foreach (HolderRecord known in log.Catalog.Holders())
        {
            ConfiguredHolder? now = configured.FirstOrDefault(holder => holder.Holder?.Id == known.Id);
            ConfiguredHolder? missing = absent.GetValueOrDefault(known.Number);
            string place = now?.Place ?? known.Place;
            bool isGone = (now ?? missing) is not { IsLeaving: false };
            numbered.Add(new StoreHolder { Number = known.Number, Id = known.Id, Place = place, Address = now?.Address ?? missing?.Address ?? "", Holder = now?.Holder, Problem = missing?.Problem, IsGone = isGone, QuotaBytes = (now ?? missing)?.QuotaBytes, IsCached = (now ?? missing)?.IsCached ?? false, IsElsewhere = (now ?? missing)?.IsElsewhere ?? false, IsDoubted = (now ?? missing)?.IsDoubted ?? false, Country = (now ?? missing)?.Country, IsOutside = (now ?? missing)?.IsOutside ?? false });
            if (access == StoreAccess.Write && (place != known.Place || isGone != known.IsGone))
            {
                var changed = new HolderRecord(known.Number, known.Id, isGone, place);
                log.Append(writer => Catalog.WriteHolder(writer, changed));
            }
        }

        foreach (ConfiguredHolder holder in configured)
        {
            if (holder is { Holder: { } reachable, IsLeaving: false } && numbered.All(known => known.Id != reachable.Id))
            {
                var added = new HolderRecord((ushort)numbered.Count, reachable.Id, false, holder.Place);
                numbered.Add(new StoreHolder { Number = added.Number, Id = added.Id, Place = added.Place, Address = holder.Address, Holder = reachable, QuotaBytes = holder.QuotaBytes, IsCached = holder.IsCached, IsElsewhere = holder.IsElsewhere, IsDoubted = holder.IsDoubted, Country = holder.Country });
                log.Append(writer => Catalog.WriteHolder(writer, added)); // of a reader in memory: numbers that others' catalogs bring go on from there
            }
        }

        return numbered;
    }

    /// <summary>What a writer does first. Every step may be interrupted and is simply done again at the next start.</summary>
    private async ValueTask RecoverAsync(Func<IBlockIndex>? openIndex, LoadedLogs loaded, bool lastEndedInOrder, CancellationToken cancel)
    {
        CountRunningDay();
        AddCertificates([_keys.Certificate]);
        await SettleAnnouncedAsync(cancel).ConfigureAwait(false);
        ReleaseCondemned();
        List<CatalogLog.OtherLine> others = await _catalogLog.ReadOthersAsync(cancel).ConfigureAwait(false);
        TakeStatements(others);
        TakeEpochRecords(others);
        others.RemoveAll(other => other.IsOld || !IsHeard(other.Header.Device));
        if (_journal.OwnIntents.Count > 0)
        {
            // They go on from this device's head, and name blocks: they are committed before another's head takes its place, and before it is said that what others released was seen.
            _hasPostponed = others.RemoveAll(other => other.Header.Device != _device) > 0;
        }

        await TakeUpArenasAsync(others, isIndexing: false, cancel).ConfigureAwait(false);
        if ((_catalogLog.StateWasBehind || others.Exists(other => other.Header.Device == _device || !Said().Certified.Contains(other.Header.Device))) && Holders.Any(static holder => holder.Holder is not null))
        {
            int adopted = await AdoptUnknownAsync(cancel).ConfigureAwait(false);
            if (adopted > 0)
            {
                Note($"{adopted} arenas that the state folder did not know were adopted");
            }
        }

        OpenIndex(openIndex);
        await CatchUpIndexAsync(cancel).ConfigureAwait(false);
        List<(List<JournalClump> Clumps, RecordLogHeader Header, long Bytes)> journals = await _journal.ReadOthersAsync(Catalog.HasSeen, cancel).ConfigureAwait(false);
        if (others.Exists(other => other.Header.Device != _device))
        {
            await TakeUpArenasAsync(await ReadOthersLaterAsync(cancel).ConfigureAwait(false), isIndexing: true, cancel).ConfigureAwait(false);
        }

        TakeJournal(loaded.Clumps);
        foreach ((List<JournalClump> theirs, RecordLogHeader _, long _) in journals)
        {
            TakeJournal(theirs, isOurs: false);
        }

        // More may have come than one open arena takes: what was sealed just now is durable before the journal forgets what arenas hold.
        await AwaitSealingAsync().ConfigureAwait(false);
        _catalogLog.Sync();
        journals.RemoveAll(journal => !IsHeard(journal.Header.Device));
        uint[] busy = [.. _journal.OtherIntents.Select(static intent => intent.Device).Distinct().Where(device => IsLivingOther(device) || loaded.Locked.Exists(copy => copy.Header.Device == device))];
        _journal.OtherIntents.RemoveAll(intent => busy.Contains(intent.Device) || !IsHeard(intent.Device)); // a device that lives commits its own, and of one whose newer journals cannot be opened nobody knows what it committed
        TakeIntents([.. _journal.OwnIntents, .. _journal.OtherIntents]);
        if (!_journal.TryContinue(NewIncarnation(), lastEndedInOrder))
        {
            await _catalogLog.PublishAsync(JournalHolders(), cancel).ConfigureAwait(false); // at the holders in the same order: arenas of a run that was killed may be known nowhere but here
            await _journal.RenewAsync(OpenClumps(), LiveIntents(), JournalHolders(), cancel).ConfigureAwait(false);
        }

        if (journals.Count > 0)
        {
            JournalOpenClumps();                            // clumps and intents of other lines are in our own journal, durably, before they count as taken
            _journal.OtherIntents.ForEach(_journal.Append);
            _journal.Sync();
        }

        // One with intents of a device that lives is read again until they are committed: it may be retired before.
        foreach ((List<JournalClump> _, RecordLogHeader header, long bytes) in journals.Where(journal => !Catalog.HasSeen(journal.Header, journal.Bytes) && !busy.Contains(journal.Header.Device) && !LacksKeysOf(journal.Clumps)))
        {
            _catalogLog.Append(writer => Catalog.WriteSeen(writer, header.Kind, header.Device, header.Incarnation, header.Number, (ulong)bytes, 0));
        }

        Join(others);
        _catalogLog.Sync();
        await _catalogLog.DropOldAsync(cancel).ConfigureAwait(false);
        RefuseIfRetired();
        NoteHeads();
        await BeginFittingEpochsAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Takes up the heads and certificates of other lines; what they supersede, or what supersedes them, sorts itself out.</summary>
    private void Join(List<CatalogLog.OtherLine> others)
    {
        HashSet<VolumeId> known = [.. Catalog.Heads().Select(static signed => signed.Head.Volume)];
        foreach (CatalogLog.OtherLine other in others)
        {
            AddCertificates(other.Catalog.Certificates());
            foreach (SignedHead head in other.Catalog.Heads())
            {
                bool isParted = other.Alias != 0 && head.Head.Device == other.Header.Device && head.Head.Incarnation == other.Header.Incarnation;
                AddHead(isParted ? HeadCodec.Rebuild(head.Head with { Incarnation = other.Alias }) : head);
            }

        }

        foreach (IGrouping<(uint Device, ulong Incarnation), CatalogLog.OtherLine> line in others.GroupBy(static other => (other.Header.Device, other.Header.Incarnation)))
        {
            // Of copies that parted the first goes by its own name; they are all read again at every opening, which changes nothing where nothing is new.
            CatalogLog.OtherLine first = line.First();
            if (!Catalog.HasSeen(first.Header, first.ValidBytes))
            {
                _catalogLog.Append(writer => Catalog.WriteSeen(
                    writer, first.Header.Kind, first.Header.Device, first.Header.Incarnation, first.Header.Number, (ulong)first.ValidBytes, first.Alias));
            }
        }

        List<Head> heads = NamedHeads();
        foreach (Head head in heads.DistinctBy(static head => head.Volume))
        {
            string shown = DistinctName(head, heads);
            if (shown != head.VolumeName && heads.Exists(other => other.VolumeName == head.VolumeName && !known.Contains(other.Volume)))
            {
                Note($"two volumes are called {head.VolumeName}: devices, or copies of one's state, made them without knowing of each other; one of them is shown as '{shown}'");
            }
        }
    }

    private bool AddHead(SignedHead head)
    {
        if (!_domains.ContainsKey(head.Head.Domain) || Catalog.Heads().Any(known => known.Bytes.Span.SequenceEqual(head.Bytes.Span) || IsSame(known.Head, head.Head) || known.Head.Supersedes(head.Head)))
        {
            return false;
        }

        _catalogLog.Append(writer => Catalog.WriteHead(writer, head));
        return true;
    }

    private void AddCertificates(IReadOnlyList<DeviceCertificate> certificates)
    {
        foreach (DeviceCertificate certificate in certificates)
        {
            if (Catalog.Certificates().All(known => !known.Bytes.SequenceEqual(certificate.Bytes)) && certificate.IsSignedBy(_keys.AccountPublicKey.Span))
            {
                _catalogLog.Append(writer => Catalog.WriteCertificate(writer, certificate));
            }
        }
    }

    private void NoteHeads()
    {
        foreach (IGrouping<VolumeId, SignedHead> volume in Catalog.Heads().GroupBy(static head => head.Head.Volume))
        {
            int vouched = volume.Count(IsVouchedFor);
            if (vouched > 1)
            {
                Note($"volume {volume.First().Head.VolumeName} was written by {vouched} devices, or copies of one's state, that did not know of each other; all their snapshots are there, and the next change joins them");
            }

            if (vouched < volume.Count())
            {
                Note($"volume {volume.First().Head.VolumeName} has a head that no known device of the account signed; it is shown as {volume.First().Head.VolumeName}{UnsignedSuffix}");
            }
        }
    }

    /// <summary>What a recovery found beside catalogs: heads of an anchor, or rebuilt from their roots. Durable on return.</summary>
    public int AdoptHeads(IReadOnlyList<SignedHead> heads, IReadOnlyList<DeviceCertificate> certificates)
    {
        ThrowIfCannotAdopt();
        ArgumentNullException.ThrowIfNull(heads);
        ArgumentNullException.ThrowIfNull(certificates);
        AddCertificates(certificates);
        int adopted = heads.Count(AddHead);
        _catalogLog.Sync();
        return adopted;
    }

    /// <summary>Whether the catalog already has this head, or one that contains it.</summary>
    public bool HasHead(Head head) => Catalog.Heads().Any(known => IsSame(known.Head, head) || known.Head.Supersedes(head));

    private void ThrowIfCannotAdopt()
    {
        if (!_options.Rehearse)
        {
            ThrowIfNotWritable();
        }
    }

    private void OpenIndex(Func<IBlockIndex>? openIndex)
    {
        _index = openIndex?.Invoke();
        if (_index is not null && (_catalogLog.StateWasBehind || _index.CoveredSequence > Catalog.Sequence))
        {
            _index.Clear(); // it belongs to another catalog, whose ordinals may mean other arenas
        }
        else if (_index is { Count: > IndexFloorEntries } && _index.Count / 2 > Catalog.Arenas().Sum(static arena => (long)arena.ClumpCount))
        {
            _index.Clear(); // more than half of it names arenas that reclaim took away
        }
    }

    /// <summary>Adds to the index what was sealed after its last checkpoint.</summary>
    private async ValueTask CatchUpIndexAsync(CancellationToken cancel)
    {
        if (_index is null)
        {
            return;
        }

        ulong covered = _index.CoveredSequence;
        foreach (ArenaRecord arena in Catalog.Arenas())
        {
            if (arena.SealSequence > covered && arena.State != ArenaState.Trashed && HasKeysOf(arena))
            {
                await IndexArenaAsync(arena, cancel).ConfigureAwait(false);
            }
        }
    }

    private async ValueTask IndexArenaAsync(ArenaRecord arena, CancellationToken cancel)
    {
        try
        {
            ArenaDirectory directory = await _reader.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            for (int i = 0; i < directory.Count; i++)
            {
                ClumpEntry entry = directory[i];
                if (!IsSealed(arena.Domain, entry.Score, arena.Survive + 1))
                {
                    _index!.Add(entry.Score, new BlockLocation(arena.Ordinal, entry.Offset, entry.Length));
                }
            }

            Interlocked.Increment(ref _arenasSinceCheckpoint);
        }
        catch (Exception failure) when (failure is DamagedBlockException or DamagedFormatException)
        {
            Note($"arena {arena.Ordinal} cannot be indexed: {failure.Message}");
        }
    }

    /// <summary>Drops the index and builds it again from the directories. Returns how many arenas were read.</summary>
    public async ValueTask<int> ReindexAsync(Action<int, int>? progress, CancellationToken cancel)
    {
        ThrowIfNotWritable();
        if (_index is null)
        {
            return 0;
        }

        _index.Clear();
        IReadOnlyList<ArenaRecord> arenas = Catalog.Arenas();
        int done = 0;
        foreach (ArenaRecord arena in arenas)
        {
            if (arena.State != ArenaState.Trashed && HasKeysOf(arena))
            {
                await IndexArenaAsync(arena, cancel).ConfigureAwait(false);
            }

            progress?.Invoke(++done, arenas.Count);
        }

        CheckpointIndex();
        return done;
    }

    internal void CheckpointIndex()
    {
        Interlocked.Exchange(ref _arenasSinceCheckpoint, 0);
        ulong covered;
        lock (_indexing)
        {
            covered = _indexing.Count > 0 ? _indexing.Min() : Catalog.Sequence; // every arena up to there has its blocks in the index
        }

        _catalogLog.Sync(); // an index that covers more than the catalog has would count as another's
        try
        {
            _index?.Checkpoint(covered);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            // A cache: what it lacks is added again at the next start.
            Note($"the index was not saved ({failure.Message}), so the next start takes longer");
        }
    }

    private void CountRunningDay()
    {
        uint today = Today();
        if (!Catalog.HasCounted(today))
        {
            uint days = Catalog.RunningDays + 1;
            _catalogLog.Append(writer => Catalog.WriteDay(writer, days, today));
        }
    }

    /// <summary>Arenas announced and never sealed: whole ones are adopted, the others deleted at holders that can be reached.</summary>
    /// <remarks>With a catalog that another line left at a holder nothing is deleted yet: who announced them may be sealing them now. The next opening does.</remarks>
    private async ValueTask SettleAnnouncedAsync(CancellationToken cancel)
    {
        var settled = new List<uint>();
        bool isTheirs = _catalogLog.StateWasBehind || _catalogLog.Locked.Count > 0; // what is sealed may stand in a log that cannot be opened
        if (_catalogLog.IsTakenOver(_device))
        {
            // Another device announced them, and seals them or takes them away itself.
            settled.AddRange(Catalog.Announced().Select(static announced => announced.Ordinal));
            ForgetAnnounced(settled);
            return;
        }

        foreach ((uint ordinal, ArenaId id) in Catalog.Announced())
        {
            var held = new List<(StoreHolder Holder, HeldArena Arena)>();
            bool allAnswered = true;
            foreach (StoreHolder holder in Holders)
            {
                if (holder.Holder is null)
                {
                    allAnswered &= holder.IsGone;
                    continue;
                }

                try
                {
                    if (await holder.Holder.InspectAsync(id, cancel).ConfigureAwait(false) is { } arena)
                    {
                        held.Add((holder, arena));
                    }
                }
                catch (DamagedFormatException)
                {
                    allAnswered &= isTheirs || await TryDeleteAsync(holder.Holder, id, cancel).ConfigureAwait(false); // announced and not whole: nothing was promised of it
                }
                catch (DiskException)
                {
                    allAnswered = false;
                }
            }

            if (held.Count > 0 && await TryAdoptAsync(ordinal, id, held, cancel, isTheirs ? Catalog.RunningDays : 0).ConfigureAwait(false))
            {
                if (allAnswered)
                {
                    await CompleteAsync(ordinal, cancel).ConfigureAwait(false);
                }

                continue;
            }

            if (isTheirs)
            {
                continue;
            }

            foreach ((StoreHolder holder, HeldArena _) in held)
            {
                allAnswered &= await TryDeleteAsync(holder.Holder!, id, cancel).ConfigureAwait(false);
            }

            if (allAnswered)
            {
                settled.Add(ordinal);
            }
        }

        ForgetAnnounced(settled);
    }

    private static async ValueTask<bool> TryDeleteAsync(IFragmentHolder holder, ArenaId id, CancellationToken cancel)
    {
        try
        {
            await holder.DeleteAsync(id, cancel).ConfigureAwait(false);
            return true;
        }
        catch (DiskException)
        {
            return false; // the next opening does it
        }
    }

    private void ForgetAnnounced(List<uint> ordinals)
    {
        foreach (uint[] part in ordinals.Chunk(Catalog.MaxForgetCount))
        {
            _catalogLog.Append(writer => Catalog.WriteForget(writer, part));
        }
    }

    /// <summary>An arena whose seal was cut off between two holders gets the fragments that are missing, so that it is as strong as it was meant to be.</summary>
    private async ValueTask CompleteAsync(uint ordinal, CancellationToken cancel)
    {
        if (Catalog.Arena(ordinal) is { } arena && arena.Fragments.Any(static fragment => fragment.Holder == FragmentPlace.Nowhere))
        {
            foreach (string line in await new Scrubber(this).CompleteAsync(arena, cancel).ConfigureAwait(false))
            {
                Note(line);
            }
        }
    }

    /// <summary>A reclaim that died before its copies were sealed: its arenas are ordinary ones again.</summary>
    private void ReleaseCondemned()
    {
        foreach (ArenaRecord arena in Catalog.Arenas().Where(static arena => arena.State == ArenaState.Condemned)) // of others as well: what they condemn is theirs to say
        {
            _catalogLog.Append((arena with { State = ArenaState.Sealed }).Write);
        }
    }

    /// <summary>Arenas that this process adopted: the catalog did not know them.</summary>
    public int AdoptedCount { get; private set; }

    /// <summary>Whether any copy of a catalog was found when the store was opened.</summary>
    public bool WasCatalogFound => _catalogLog.WasFound;

    /// <summary>Takes up every arena that holders keep and the catalog does not know. Returns how many. What another line released is released here too.</summary>
    public async ValueTask<int> AdoptUnknownAsync(CancellationToken cancel)
    {
        ThrowIfCannotAdopt();
        var found = new Dictionary<ArenaId, List<(StoreHolder Holder, HeldArena Arena)>>();
        var live = new HashSet<ArenaId>();
        bool isWhole = true;
        foreach (StoreHolder holder in Holders.Where(static holder => holder.Holder is not null))
        {
            IReadOnlyList<HeldArenaEntry> all;
            try
            {
                all = await holder.Holder!.ListAsync(cancel).ConfigureAwait(false);
            }
            catch (DiskException failure)
            {
                Note($"{failure.Message}; what lies there alone is taken up when it answers");
                isWhole = false;
                continue;
            }

            foreach (HeldArenaEntry entry in all)
            {
                if (!entry.IsInTrash)
                {
                    live.Add(entry.Id);
                }

                if (entry.Damage is not null && !Catalog.Knows(entry.Id))
                {
                    Note($"arena file {entry.Id} in {holder.Place}: {entry.Damage}");
                }

                if (entry is { IsInTrash: false, Arena: { } arena } && !Catalog.Knows(arena.Id))
                {
                    if (!found.TryGetValue(arena.Id, out List<(StoreHolder Holder, HeldArena Arena)>? held))
                    {
                        found[arena.Id] = held = [];
                    }

                    held.Add((holder, arena));
                }
            }
        }

        int adopted = 0; // of this call
        List<ArenaId> leftAlone = [];
        foreach ((ArenaId id, List<(StoreHolder Holder, HeldArena Arena)> held) in found)
        {
            cancel.ThrowIfCancellationRequested();
            uint ordinal = Catalog.NextOrdinal;
            if (await TryAdoptAsync(ordinal, id, held, cancel, Catalog.RunningDays).ConfigureAwait(false))
            {
                adopted++;
                AdoptedCount++;
            }
            else if (_leftAlone.Add(id))
            {
                leftAlone.Add(id);
            }
        }

        if (leftAlone.Count > 0)
        {
            string which = leftAlone.Count == 1 ? $"arena file {leftAlone[0]} is left alone: it" : $"{leftAlone.Count} arena files, {leftAlone[0]} the first, are left alone: each";
            Note($"{which} cannot be opened with this account's keys, or too little of it is whole; what is another account's its own 24 words bring back, with 'tdfs recover'");
        }

        if (isWhole)
        {
            ReleaseWhatIsOutOfPlace(live); // else some of it may be at who failed
        }

        return adopted;
    }

    /// <summary>An arena that lies in the trash at its holders, or nowhere at them, was released by another line: hits on it are misses from here, so that what is wanted of
    /// it is written again. What is in the trash is read there meanwhile, and a reclaim or repair takes back what a head wants.</summary>
    /// <param name="live">What the holders that answer have out of the trash.</param>
    private void ReleaseWhatIsOutOfPlace(HashSet<ArenaId> live)
    {
        List<ArenaRecord> released =
        [
            .. Catalog.Arenas().Where(arena => arena.State == ArenaState.Sealed && arena.Owner == _device && !live.Contains(arena.Id)
                && arena.Fragments.All(fragment => fragment.Holder == FragmentPlace.Nowhere || HolderOf(fragment.Holder)?.Holder is not null)),
        ];
        foreach (ArenaRecord arena in released)
        {
            _catalogLog.Append((arena with { State = ArenaState.Trashed, TrashedOnDay = Catalog.RunningDays }).Write);
        }

        if (released.Count > 0)
        {
            Note($"{released.Count} arenas are no longer where this state folder left them: another copy of it released them, or they were lost; what is imported again is written again, and 'tdfs check' tells what snapshots lack");
        }
    }

    /// <summary>Understands an arena from its fragments alone, verifies it whole, and records it.</summary>
    /// <param name="onDay">The running day, for an arena that this line did not announce.</param>
    private async ValueTask<bool> TryAdoptAsync(uint ordinal, ArenaId id, List<(StoreHolder Holder, HeldArena Arena)> held, CancellationToken cancel, uint onDay = 0)
    {
        HeldArena? shape = held.Select(static item => item.Arena).FirstOrDefault();
        if (shape is null || !ArenaLayout.IsValid(shape.DataFragments, shape.ParityFragments, shape.SliceBytes))
        {
            return false;
        }

        var layout = new ArenaLayout(shape.DataFragments, shape.ParityFragments, shape.SliceBytes);
        var places = new FragmentPlace[layout.FragmentCount];
        Array.Fill(places, new FragmentPlace(default, FragmentPlace.Nowhere));
        foreach ((StoreHolder holder, HeldArena arena) in held)
        {
            if (arena.DataFragments == layout.DataFragments && arena.ParityFragments == layout.ParityFragments && arena.SliceBytes == layout.SliceBytes)
            {
                foreach (HeldFragment fragment in arena.Fragments)
                {
                    if (fragment.Index < places.Length)
                    {
                        places[fragment.Index] = new FragmentPlace(fragment.Name, holder.Number);
                    }
                }
            }
        }

        var set = new FragmentSet(id, layout, [.. places.Select(place => new FragmentSource(place.Name, HolderOf(place.Holder)?.Holder))]);
        if (await TryOpenHeaderAsync(set, cancel).ConfigureAwait(false) is not { } header || header.Id != id || header.Layout != layout)
        {
            return false;
        }

        if (!await FragmentRepair.IsReadableAsync(set, cancel).ConfigureAwait(false))
        {
            return false;
        }

        // Who wrote it may have been killed between its rename and the sync of the folder.
        var failed = new HashSet<ushort>();
        foreach ((StoreHolder holder, HeldArena _) in held)
        {
            try
            {
                await holder.Holder!.SettleAsync(id, cancel).ConfigureAwait(false);
            }
            catch (DiskException)
            {
                failed.Add(holder.Number); // what it has is not known to be durable
            }
        }

        if (failed.Count > 0)
        {
            places = [.. places.Select(place => failed.Contains(place.Holder) ? place with { Holder = FragmentPlace.Nowhere } : place)];
            if (places.Count(static place => place.Holder != FragmentPlace.Nowhere) < layout.DataFragments)
            {
                return false;
            }
        }

        _catalogLog.AppendSealed(ArenaRecord.Of(header, ordinal, places) with { AdoptedOnDay = onDay });
        return true;
    }

    /// <summary>Tries every epoch of every domain on the first bytes.</summary>
    private async ValueTask<ArenaHeader?> TryOpenHeaderAsync(FragmentSet set, CancellationToken cancel)
    {
        byte[] noise = new byte[ArenaHeader.Size];
        try
        {
            await FragmentRepair.ReadWindowAsync(set, 0, 0, noise, cancel).ConfigureAwait(false);
        }
        catch (DamagedBlockException)
        {
            return null;
        }

        byte[] plain = new byte[ArenaHeader.Size];
        foreach (KeyDomain domain in _domains.Values)
        {
            foreach (uint epoch in domain.Epochs.Reverse())
            {
                noise.CopyTo(plain, 0);
                ArenaImage.Transform(domain, epoch, set.Id, 0, plain);
                if (!ArenaHeader.HasMagic(plain))
                {
                    continue;
                }

                try
                {
                    ArenaHeader header = ArenaHeader.Read(plain, set.Id.ToString());
                    return header.Domain == domain.Id && header.Epoch == epoch ? header : null;
                }
                catch (DamagedFormatException)
                {
                    return null;
                }
            }
        }

        return null;
    }

    /// <summary>Brings the journal's clumps back into memory, but for those that an arena holds.</summary>
    /// <param name="clumps">From files of ours, or of another line; those are written into ours next.</param>
    private void TakeJournal(List<JournalClump> clumps, bool isOurs = true)
    {
        foreach (JournalClump clump in clumps)
        {
            if (!_domains.TryGetValue(clump.Domain, out KeyDomain? domain) || IsSealed(clump.Domain, clump.Score, clump.Survive))
            {
                continue;
            }

            if (!domain.HasEpoch(clump.Epoch))
            {
                if (IsWritable && isOurs) // or it would be gone with the next journal
                {
                    throw new StoreException(
                        StoreProblem.KeysMissing,
                        $"{_options.StateFolder}: found blocks under epoch {clump.Epoch} of the keys in a journal, expected one of {string.Join(", ", domain.Epochs)}, which the keyring has; put back a newer copy of it, or attach the holders where other devices left its keys");
                }

                continue;
            }

            int survive = Feasible(clump.Survive); // a place went: keep the block, say so in health
            if (IsWritable)
            {
                AppendAsync(new BinKey(clump.Domain, clump.Epoch, survive), clump.Score, clump.Type, clump.PlainBytes, clump.Bytes, clump.Date, isJournaled: isOurs, CancellationToken.None)
                    .AsTask().GetAwaiter().GetResult();
                _journaledBytes += isOurs ? clump.Bytes.Length : 0;
            }
            else
            {
                HoldForReading(clump);
            }
        }
    }

    /// <summary>A reader keeps the journal's clumps as they are, each in a buffer of its own size.</summary>
    private void HoldForReading(JournalClump clump)
    {
        if (PendingSurvive(clump.Domain, clump.Score) >= clump.Survive)
        {
            return;
        }

        var buffer = new ArenaBuffer(new BinKey(clump.Domain, clump.Epoch, clump.Survive), default, clump.Bytes.ToArray());
        _pending[clump.Score] = new PendingClump
        {
            Score = clump.Score,
            Type = clump.Type,
            PlainBytes = clump.PlainBytes,
            Length = clump.Bytes.Length,
            Date = clump.Date,
            SinceSeconds = SinceSeconds(clump.Date),
            Offset = 0,
            Buffer = buffer,
            IsJournaled = true,
        };
    }

    private void JournalOpenClumps()
    {
        foreach (OpenBin bin in _bins.Values)
        {
            JournalLocked(bin);
        }
    }

    private List<JournalClump> OpenClumps() =>
        [.. _bins.Values.Where(static bin => bin.Current is not null).SelectMany(static bin => bin.Current!.Clumps.Select(clump => ToJournal(bin.Current, clump)))];
}
