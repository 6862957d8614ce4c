using System.Buffers;
using System.Collections.Concurrent;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Journals;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <content>The way down: blocks into open arenas, open arenas into fragments, what is left into the journal.</content>
public sealed partial class BlockStore
{
    private const int AnnounceCount = 8;
    private const long IndexCheckpointArenas = 256;

    /// <summary>Intents that a holder need not have at once are copied to it by so many bytes.</summary>
    private const long LazyPublishBytes = 256 * 1024;

    /// <summary>Where much in the journal is intents that memory does not keep, its file goes on until a root has taken these in, or so much of it is wanted no more.</summary>
    private const long MostDeadBytes = 128 * 1024 * 1024;

    private readonly ConcurrentDictionary<Score, PendingClump> _pending = new();
    private readonly ConcurrentDictionary<BinKey, OpenBin> _bins = new();
    private readonly ConcurrentDictionary<(int Data, int Parity), ReedSolomon> _coders = new();
    private readonly ArenaBufferPool _buffers;
    private readonly SemaphoreSlim _sealSlots;
    private readonly SemaphoreSlim _idGate = new(1, 1);
    private readonly SemaphoreSlim _flushGate = new(1, 1);
    private readonly Queue<(uint Ordinal, ArenaId Id)> _announcedIds = new(); // guarded by _idGate
    private readonly List<Task> _sealing = []; // guarded by itself
    private long _arenasSinceCheckpoint;
    private readonly List<ulong> _indexing = []; // the catalog's sequence before each arena that it is about to have and the index has not; guarded by itself
    private readonly Lock _indexGate = new(); // innermost: held over the index alone
    private long _sealCount;
    private long _sealedBytes;
    private long _journaledBytes;

    /// <summary>One open arena and the lock of its append end.</summary>
    /// <remarks>Gate is an async lock: whoever fills the arena waits for a sealing slot while holding it, which is the back-pressure on writers.</remarks>
    private sealed class OpenBin(BinKey key, RedundancyClass redundancy, int arenaBytes)
    {
        internal BinKey Key { get; } = key;

        /// <summary>Nominal bytes of its full arenas.</summary>
        internal int ArenaBytes { get; } = arenaBytes;

        /// <summary>The class of its next arena; written under Gate.</summary>
        internal RedundancyClass Redundancy { get; set; } = redundancy;

        internal SemaphoreSlim Gate { get; } = new(1, 1);

        internal ArenaBuffer? Current { get; set; }
    }

    internal async ValueTask<BlockWrite> WriteAsync(KeyDomain domain, int survive, BlockType type, ReadOnlyMemory<byte> plain, CancellationToken cancel)
    {
        ThrowIfNotWritable();
        ArgumentOutOfRangeException.ThrowIfGreaterThan(plain.Length, BlockLimits.MaxBlockBytes);
        Score score = Clump.ScoreOf(domain, type, plain.Span);
        long sealsSeen = Interlocked.Read(ref _sealCount);
        if (IsKnown(domain.Id, score, survive))
        {
            return new BlockWrite(score, 0);
        }

        uint epoch = domain.CurrentEpoch;
        byte[] scratch = ArrayPool<byte>.Shared.Rent(Clump.HeaderSize + plain.Length);
        byte[] clump = ArrayPool<byte>.Shared.Rent(Core.Encryption.Dare.CipherBytes(Clump.HeaderSize + plain.Length));
        try
        {
            int bytes = Clump.Write(domain, epoch, score, type, plain.Span, _options.CompressionLevel, _compressor, _random, scratch, clump);
            bool isNew = await AppendAsync(new BinKey(domain.Id, epoch, survive), score, type, plain.Length, clump.AsMemory(0, bytes), Today(), isJournaled: false, cancel, sealsSeen).ConfigureAwait(false);
            return new BlockWrite(score, isNew ? bytes + ArenaDirectory.EntrySize : 0);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(scratch);
            ArrayPool<byte>.Shared.Return(clump);
        }
    }

    /// <summary>Whether a block is kept at the redundancy wanted: in memory, or in an arena that the catalog calls sealed.</summary>
    internal bool IsKnown(DomainId domain, Score score, int survive)
    {
        if (_pending.TryGetValue(score, out PendingClump? pending))
        {
            BinKey key = pending.Buffer.Key;
            if (key.Domain == domain && key.Survive >= survive)
            {
                return true;
            }
        }

        return IsSealed(domain, score, survive);
    }

    private bool IsSealed(DomainId domain, Score score, int survive)
    {
        if (_index is not null)
        {
            return _index.TryFind(score, out BlockLocation location)
                && _catalogLog.Catalog.Arena(location.ArenaOrdinal) is { State: ArenaState.Sealed } arena && arena.Domain == domain && arena.Survive >= survive;
        }

        if (_lookup.Value is { } known)
        {
            if (known.TryFind(score, out BlockLocation location) && Catalog.Arena(location.ArenaOrdinal) is { State: ArenaState.Sealed } arena && arena.Domain == domain && arena.Survive >= survive)
            {
                return true;
            }

            return _directories.FindNewer(domain, score, known.CoveredSequence) is { Arena.State: ArenaState.Sealed } newer && newer.Arena.Survive >= survive;
        }

        return FindInDirectories(domain, score) is { Arena.State: ArenaState.Sealed } found && found.Arena.Survive >= survive;
    }

    /// <summary>Appends a clump to its open arena. False: an equal block got there first.</summary>
    /// <param name="sealsSeen">How many arenas were sealed when the block was looked for among them; null: it need not be looked for again.</param>
    private async ValueTask<bool> AppendAsync(
        BinKey key, Score score, BlockType type, int plainBytes, ReadOnlyMemory<byte> clump, uint date, bool isJournaled, CancellationToken cancel, long? sealsSeen = null)
    {
        OpenBin bin = BinOf(key);
        await bin.Gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_pending.TryGetValue(score, out PendingClump? known) && known.Buffer.Key.Domain == key.Domain && known.Buffer.Key.Survive >= key.Survive)
            {
                return false;
            }

            // An equal block may have come, been sealed and left memory since it was looked for.
            if (sealsSeen is long seen && Interlocked.Read(ref _sealCount) != seen && IsSealed(key.Domain, score, key.Survive))
            {
                return false;
            }

            if (bin.Current is { } full && !full.HasRoomFor(clump.Length))
            {
                await AwaitSealSlotAsync(cancel).ConfigureAwait(false);
                bin.Current = null;
                StartSealing(full);
            }

            ArenaBuffer buffer = bin.Current ??= NewBuffer(bin, clump.Length);
            lock (buffer.Gate)
            {
                var pending = new PendingClump
                {
                    Score = score,
                    Type = type,
                    PlainBytes = plainBytes,
                    Length = clump.Length,
                    Date = date,
                    SinceSeconds = SinceSeconds(date),
                    Offset = buffer.End,
                    Buffer = buffer,
                    IsJournaled = isJournaled,
                };
                clump.Span.CopyTo(buffer.Bytes.AsSpan(buffer.End));
                buffer.End += clump.Length;
                buffer.Clumps.Add(pending);
                _pending.AddOrUpdate(score, pending, (_, other) => other.Buffer.Key.Domain == key.Domain && other.Buffer.Key.Survive > key.Survive ? other : pending);
            }

            return true;
        }
        finally
        {
            bin.Gate.Release();
        }
    }

    private long SinceSeconds(uint date) => Math.Min(NowSeconds(), (date + 1L) * SecondsADay);

    private OpenBin BinOf(BinKey key)
    {
        if (_bins.TryGetValue(key, out OpenBin? bin))
        {
            return bin;
        }

        Placement placement = PlacementFor(key);
        RedundancyClass redundancy = placement.ClassFor(key.Survive) ?? throw new StoreException(StoreProblem.Redundancy, placement.CannotSurvive(key.Survive));
        return _bins.GetOrAdd(key, static (key, made) => new OpenBin(key, made.Redundancy, made.ArenaBytes), (Redundancy: redundancy, ArenaBytes: ArenaBytesFor(_bins.Count)));
    }

    /// <summary>The first two kinds of arena are open at full size, two more at 4 MiB, any others at 1 MiB: so many classes and domains do not multiply the memory.</summary>
    private int ArenaBytesFor(int openCount) => Math.Min(_options.ArenaBytes, openCount switch
    {
        < 2 => ArenaLayout.MaxNominalBytes,
        < 4 => 4 * 1024 * 1024,
        _ => 1024 * 1024,
    });

    /// <summary>An open arena of the bin's size, or of the next in which the first clump has room, in the class over the places that there are now.</summary>
    /// <remarks>Where so many went that no class keeps the promise, it is made in the last one that did: its fragments wait for places, and nobody's write fails.</remarks>
    private ArenaBuffer NewBuffer(OpenBin bin, int firstClumpBytes)
    {
        bin.Redundancy = PlacementFor(bin.Key).ClassFor(bin.Key.Survive) ?? bin.Redundancy;
        return NewBuffer(bin.Key, LayoutFor(bin.Redundancy, bin.ArenaBytes, firstClumpBytes));
    }

    private ArenaBuffer NewBuffer(BinKey key, ArenaLayout layout)
    {
        if (!_room.HasQuotas)
        {
            return new ArenaBuffer(key, layout, _buffers.Rent(layout.ImageBytes));
        }

        // It may be sealed in another class of the same nominal size, whose rounding is less or more.
        int nominal = ArenaLayout.NominalSizes[0];
        foreach (int size in ArenaLayout.NominalSizes)
        {
            nominal = size <= layout.ImageBytes ? size : nominal;
        }

        byte[] bytes = _buffers.Rent(Math.Max(layout.ImageBytes, nominal + (Placement.MaxData * ArenaLayout.SliceRounding)));
        return new ArenaBuffer(key, layout, bytes) { FillBytes = nominal };
    }

    /// <summary>Finds holders for the fragments of a full arena, and takes their room until it is given back: in its own class, else in one over the places that have room.</summary>
    /// <exception cref="DiskException">Full: by their quotas too few places have room for any class that keeps the promise.</exception>
    private (ArenaLayout Layout, StoreHolder?[] Chosen) TakeRoom(ArenaId id, ArenaBuffer buffer)
    {
        ArenaLayout wanted = buffer.Layout;
        var redundancy = new RedundancyClass(wanted.DataFragments, wanted.ParityFragments, buffer.Key.Survive);
        // Places may have gone since it was begun: in its own class it would then be weaker than promised, where one over fewer places keeps the promise.
        Placement placement = PlacementFor(buffer.Key);
        bool isAway = buffer.Key.IsAway;
        bool isTooWide = buffer.Key.Survive > 0 && placement.PlaceCount < wanted.FragmentCount && placement.ClassFor(buffer.Key.Survive) is not null;
        StoreHolder? full = null;
        if (!isTooWide && _room.TryTake(id, redundancy, wanted, isAway, out full) is { } chosen)
        {
            return (wanted, chosen);
        }

        int usedBytes = buffer.End + (buffer.Clumps.Count * ArenaDirectory.EntrySize);
        for (int placeCount = Math.Min(wanted.FragmentCount - 1, placement.PlaceCount); buffer.Key.Survive > 0 && Placement.ClassFor(buffer.Key.Survive, placeCount) is { } narrower; placeCount--)
        {
            foreach (int nominal in ArenaLayout.NominalSizes)
            {
                ArenaLayout layout = ArenaLayout.ForNominal(narrower, nominal);
                if (layout.ImageBytes < usedBytes || layout.ImageBytes > buffer.Bytes.Length)
                {
                    continue;
                }

                if (_room.TryTake(id, narrower, layout, isAway, out _) is { } fewer)
                {
                    return (layout, fewer);
                }

                break;
            }
        }

        if (isAway && full is not null)
        {
            return (wanted, new StoreHolder?[wanted.FragmentCount]); // a folder here takes it, and it is an ordinary arena
        }

        // What is too wide and could be sealed in no narrower class keeps its own, with fragments that wait for a place.
        return full is null && _room.TryTake(id, redundancy, wanted, isAway, out full) is { } lagging ? (wanted, lagging) : throw _room.Reached(full!);
    }

    /// <summary>Waits until one more arena may be sealed. Whoever cancels here has changed nothing: what is to be sealed leaves its bin only afterwards.</summary>
    private async ValueTask AwaitSealSlotAsync(CancellationToken cancel)
    {
        await _sealSlots.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            ThrowIfNotWritable();
        }
        catch
        {
            _sealSlots.Release();
            throw;
        }
    }

    /// <summary>Seals in the background, in the slot that was waited for. The bin's gate is still held: whoever takes it next finds a clump in the bin or its seal among those begun.</summary>
    private void StartSealing(ArenaBuffer buffer)
    {
        Task sealing = Task.Factory.StartNew(() => SealAsync(buffer), CancellationToken.None, TaskCreationOptions.DenyChildAttach | TaskCreationOptions.HideScheduler, _options.Sealing).Unwrap();
        lock (_sealing)
        {
            _sealing.RemoveAll(static task => task.IsCompletedSuccessfully);
            _sealing.Add(sealing);
        }
    }

    /// <summary>Waits for every seal begun until now. The arenas are durable when the catalog is synced after it.</summary>
    private async Task AwaitSealingAsync()
    {
        Task[] sealing;
        lock (_sealing)
        {
            sealing = [.. _sealing];
        }

        await Task.WhenAll(sealing).ConfigureAwait(false);
        ThrowIfNotWritable();
    }

    // A crash after step 1 leaves an announced id without files (forgotten at the next start); between 3 and 4, files of an announced
    // arena (adopted if whole, deleted if not); after 4 and before the catalog's next sync, the same.
    private async Task SealAsync(ArenaBuffer buffer)
    {
        try
        {
            (uint ordinal, ArenaId id) = await TakeIdAsync().ConfigureAwait(false);                   // 1. announced durably
            (ArenaLayout layout, StoreHolder?[] chosen) = TakeRoom(id, buffer);                       // 2. holders with room for it
            var entries = new List<ClumpEntry>(buffer.Clumps.Count);
            try
            {
                ArenaHeader header = Encrypt(buffer, id, layout, entries);
                FragmentPlace[] places = await PutFragmentsAsync(header, buffer.Bytes.AsMemory(0, layout.ImageBytes), chosen, buffer.Key.IsAway).ConfigureAwait(false); // 3. fragments, synced
                if (buffer.Key.IsAway && places.All(place => HolderOf(place.Holder) is { IsElsewhere: true }))
                {
                    _catalogLog.Append(writer => Catalog.WriteAway(writer, isAway: true, [ordinal]));  // one that not all took is an ordinary arena, mended here
                }

                EnterSealed(ArenaRecord.Of(header, ordinal, places), entries);                         // 4. the catalog; durable at its next sync
            }
            finally
            {
                _room.GiveBack(chosen, layout);
            }

            Interlocked.Increment(ref _sealCount);                                                     // before its clumps leave memory
            foreach (PendingClump clump in buffer.Clumps)
            {
                _pending.TryRemove(new KeyValuePair<Score, PendingClump>(clump.Score, clump));
            }

            lock (buffer.Gate)
            {
                buffer.IsRetired = true;
            }

            Interlocked.Add(ref _sealedBytes, layout.ImageBytes);
            _buffers.Return(buffer.Bytes);
            if (Interlocked.Increment(ref _arenasSinceCheckpoint) >= IndexCheckpointArenas)
            {
                CheckpointIndex(); // an import that is killed before its first flush leaves no more than so many arenas to be read again
            }
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }
        finally
        {
            _sealSlots.Release();
        }
    }

    /// <summary>Into the catalog, then into the index, which is a cache and needs no order: but a checkpoint that comes in between must not cover the arena.</summary>
    private void EnterSealed(ArenaRecord arena, List<ClumpEntry> entries)
    {
        ulong before;
        lock (_indexing)
        {
            before = Catalog.Sequence;
            _indexing.Add(before);
        }

        try
        {
            AddToIndex(_catalogLog.AppendSealed(arena), entries);
        }
        finally
        {
            lock (_indexing)
            {
                _indexing.Remove(before);
            }
        }
    }

    private ArenaHeader Encrypt(ArenaBuffer buffer, ArenaId id, ArenaLayout layout, List<ClumpEntry> entries)
    {
        KeyDomain domain = _domains[buffer.Key.Domain];
        lock (buffer.Gate)
        {
            foreach (PendingClump clump in buffer.Clumps)
            {
                entries.Add(new ClumpEntry(clump.Score, clump.Type, clump.Offset, clump.Length, clump.PlainBytes));
            }

            return buffer.Sealed = ArenaImage.Seal(
                buffer.Bytes.AsSpan(0, layout.ImageBytes), buffer.End, entries, id, layout, buffer.Key.Survive, domain, buffer.Key.Epoch, _device, Incarnation, NowSeconds());
        }
    }

    private void AddToIndex(ArenaRecord arena, List<ClumpEntry> entries)
    {
        if (_index is null)
        {
            return;
        }

        if (_bins.Keys.All(key => key.Survive == arena.Survive))
        {
            foreach (ClumpEntry entry in entries)
            {
                _index.Add(entry.Score, new BlockLocation(arena.Ordinal, entry.Offset, entry.Length));
            }

            return;
        }

        // Never let a weaker copy hide a stronger one. Two arenas may be sealed at once: looking and adding are one step.
        lock (_indexGate)
        {
            foreach (ClumpEntry entry in entries)
            {
                if (!IsSealed(arena.Domain, entry.Score, arena.Survive + 1))
                {
                    _index.Add(entry.Score, new BlockLocation(arena.Ordinal, entry.Offset, entry.Length));
                }
            }
        }
    }

    private async ValueTask<FragmentPlace[]> PutFragmentsAsync(ArenaHeader header, ReadOnlyMemory<byte> image, StoreHolder?[] chosen, bool isAway)
    {
        ArenaLayout layout = header.Layout;
        byte[] parity = ArrayPool<byte>.Shared.Rent(Math.Max(1, layout.ParityFragments * layout.SliceBytes));
        try
        {
            Memory<byte> parityBytes = parity.AsMemory(0, layout.ParityFragments * layout.SliceBytes);
            CoderOf(layout).Encode(image.Span, parityBytes.Span, layout.SliceBytes);
            var fragments = new FragmentData[layout.FragmentCount];
            int groupBytes = (int)Blake3Tree.GroupCount(layout.SliceBytes) * Blake3.HashSize;
            byte[] groups = new byte[layout.FragmentCount * groupBytes];
            for (int i = 0; i < fragments.Length; i++)
            {
                ReadOnlyMemory<byte> bytes = i < layout.DataFragments
                    ? image.Slice(i * layout.SliceBytes, layout.SliceBytes)
                    : parityBytes.Slice((i - layout.DataFragments) * layout.SliceBytes, layout.SliceBytes);
                Memory<byte> groupHashes = groups.AsMemory(i * groupBytes, groupBytes);
                fragments[i] = new FragmentData(i, bytes, HashFragment(bytes.Span, groupHashes.Span), groupHashes);
            }

            FragmentPlace[] places = await PlaceFragmentsAsync(header.Id, layout, chosen, fragments, isAway).ConfigureAwait(false);
            for (int i = 0; i < layout.DataFragments && Cache is not null && !isAway; i++) // what is freed would only come back by that way
            {
                if (HolderOf(places[i].Holder) is { IsCached: true })
                {
                    Cache.KeepAll(header.Id, i, fragments[i].Bytes.Span); // what was written just now is what is read next
                }
            }

            return places;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(parity);
        }
    }

    private static FragmentName HashFragment(ReadOnlySpan<byte> bytes, Span<byte> groupHashes)
    {
        Span<byte> root = stackalloc byte[Blake3.HashSize];
        Blake3Tree.HashWithGroups(bytes, groupHashes, root);
        return FragmentName.Read(root);
    }

    private ReedSolomon CoderOf(ArenaLayout layout) =>
        _coders.GetOrAdd((layout.DataFragments, layout.ParityFragments), static key => new ReedSolomon(key.Data, key.Parity));

    /// <summary>Writes the fragments to their holders. Up to m of them may find no holder: they are lag, and repair places them later.</summary>
    /// <param name="isAway">What no other machine took is put into a folder of this one, all of it: peers that vanish fail no store.</param>
    private async ValueTask<FragmentPlace[]> PlaceFragmentsAsync(ArenaId id, ArenaLayout layout, StoreHolder?[] chosen, FragmentData[] fragments, bool isAway)
    {
        var places = new FragmentPlace[fragments.Length];
        for (int i = 0; i < places.Length; i++)
        {
            places[i] = new FragmentPlace(fragments[i].Name, FragmentPlace.Nowhere);
        }

        DiskException? lastFailure = null;
        var problems = new List<string>();
        foreach (IGrouping<StoreHolder, int> share in Enumerable.Range(0, chosen.Length).Where(i => chosen[i] is not null).GroupBy(i => chosen[i]!))
        {
            try
            {
                FragmentData[] its = [.. share.Select(i => fragments[i])];
                await share.Key.Holder!.PutAsync(id, layout.DataFragments, layout.ParityFragments, layout.SliceBytes, its, CancellationToken.None).ConfigureAwait(false);
                foreach (int i in share)
                {
                    places[i] = new FragmentPlace(fragments[i].Name, share.Key.Number);
                }
            }
            catch (DiskException failure)
            {
                lastFailure = failure;
                problems.Add($"holder {share.Key.Place}: {failure.Message}");
            }
        }

        int[] left = isAway ? [.. Enumerable.Range(0, places.Length).Where(i => places[i].Holder == FragmentPlace.Nowhere)] : [];
        if (left.Length > 0 && Holders.FirstOrDefault(static holder => holder is { IsElsewhere: false, IsGone: false, Holder: not null }) is { } here)
        {
            FragmentData[] its = [.. left.Select(i => fragments[i])];
            await here.Holder!.PutAsync(id, layout.DataFragments, layout.ParityFragments, layout.SliceBytes, its, CancellationToken.None).ConfigureAwait(false);
            foreach (int i in left)
            {
                places[i] = new FragmentPlace(fragments[i].Name, here.Number);
            }
        }

        int placed = places.Count(static place => place.Holder != FragmentPlace.Nowhere);
        if (placed < layout.DataFragments)
        {
            throw lastFailure is not null
                ? lastFailure
                : new StoreException(StoreProblem.HoldersMissing, $"{placed} of {fragments.Length} fragments found a holder, {layout.DataFragments} are needed; reconnect a holder");
        }

        // Where too few were placed the failure itself is told, once.
        problems.ForEach(Note);
        return places;
    }

    private async ValueTask<(uint Ordinal, ArenaId Id)> TakeIdAsync()
    {
        await _idGate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_announcedIds.Count == 0)
            {
                uint first = _catalogLog.Catalog.NextOrdinal;
                ArenaId[] ids = [.. Enumerable.Range(0, AnnounceCount).Select(_ => ArenaId.New(_random))];
                _catalogLog.Append(writer => Catalog.WriteAnnounce(writer, first, ids));
                _catalogLog.Sync();
                for (uint i = 0; i < ids.Length; i++)
                {
                    _announcedIds.Enqueue((first + i, ids[i]));
                }
            }

            return _announcedIds.Dequeue();
        }
        finally
        {
            _idGate.Release();
        }
    }

    /// <summary>Seals every open arena, padded to the next nominal size: for clumps that must leave the journal now.</summary>
    public async ValueTask SealAllAsync(CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            foreach (OpenBin bin in _bins.Values)
            {
                await CarveAsync(bin, sealRest: true, cancel).ConfigureAwait(false);
            }

            await FlushLockedAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            _flushGate.Release();
        }
    }

    /// <summary>Seals what is open for other machines: until then it lies here.</summary>
    internal async ValueTask SealAwayAsync(CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            foreach (OpenBin bin in _bins.Values.Where(static bin => bin.Key.IsAway))
            {
                await CarveAsync(bin, sealRest: true, cancel).ConfigureAwait(false);
            }

            await FlushLockedAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            _flushGate.Release();
        }
    }

    /// <summary>The places for what is written now.</summary>
    private Placement PlacementFor(BinKey key) => key.IsAway ? AwayNow : Placement;

    internal async ValueTask FlushAsync(CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await FlushLockedAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            _flushGate.Release();
        }
    }

    // A crash between any two steps loses nothing that an earlier flush promised: old journals go only after the catalog names what they held.
    /// <param name="batch">Intents to be made durable with the blocks before them.</param>
    private async ValueTask FlushLockedAsync(CancellationToken cancel, IReadOnlyList<Intent>? batch = null)
    {
        ThrowIfNotWritable();
        try
        {
            foreach (OpenBin bin in _bins.Values)
            {
                await CarveAsync(bin, sealRest: false, cancel).ConfigureAwait(false);
            }

            long deadBytes = _journaledBytes - LiveIntentBytes();
            foreach (OpenBin bin in _bins.Values)
            {
                await bin.Gate.WaitAsync(cancel).ConfigureAwait(false);
                try
                {
                    deadBytes -= JournalLocked(bin);
                }
                finally
                {
                    bin.Gate.Release();
                }
            }

            // Only now: while the bins were looked through, writers may have filled arenas that hold what this flush is asked for.
            await AwaitSealingAsync().ConfigureAwait(false);                     // 1. full arenas: fragments synced
            await SyncIntentsAsync(batch, cancel).ConfigureAwait(false);         // 2. the rest: in the journal
            _catalogLog.Sync();                                                  // 3. the catalog names the arenas
            if (deadBytes > Math.Max(256 * 1024, (_journaledBytes - deadBytes) / 2) && (AreIntentsKept || deadBytes > MostDeadBytes))
            {
                await RenewJournalAsync(cancel).ConfigureAwait(false);           // 4. the journal forgets what arenas hold
            }

            if (Interlocked.Read(ref _arenasSinceCheckpoint) >= IndexCheckpointArenas)
            {
                CheckpointIndex();
            }
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            Fail(failure);
            throw;
        }

    }

    /// <summary>Puts a batch into the journal, and makes durable what is there.</summary>
    /// <param name="batch">Null: blocks alone were put there.</param>
    private async ValueTask SyncIntentsAsync(IReadOnlyList<Intent>? batch, CancellationToken cancel)
    {
        AppendIntents(batch ?? []);
        _journal.Sync();

        // Intents alone, where no lost place is to be outlived: the state folder has them, and the holder's disk may follow with the next flush.
        List<IFragmentHolder> holders = JournalHolders();
        bool isAlone = batch is not null && holders.Count <= 1;
        if (!isAlone || _journal.UnpublishedBytes >= LazyPublishBytes)
        {
            await _journal.PublishAsync(holders, isSynced: !isAlone, cancel).ConfigureAwait(false);
        }

        NoteJournalCopies();
        if (_journal.IsForked)
        {
            Note("another copy of this device's state wrote a journal of the same name to a holder; this one goes on under a name of its own");
            _journal.Part(NewIncarnation());
            await RenewJournalAsync(cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Begins a journal of what is open now. What left its bin since the journal took it is in an arena first.</summary>
    private async ValueTask RenewJournalAsync(CancellationToken cancel)
    {
        var open = new List<JournalClump>();
        foreach (OpenBin bin in _bins.Values)
        {
            await bin.Gate.WaitAsync(cancel).ConfigureAwait(false);
            try
            {
                if (bin.Current is { } buffer)
                {
                    // Copies: once the gate is free the buffer may be sealed, which encrypts it in place.
                    open.AddRange(buffer.Clumps.Where(static clump => clump.IsJournaled).Select(clump => ToJournal(buffer, clump)).Select(static clump => clump with { Bytes = clump.Bytes.ToArray() }));
                }
            }
            finally
            {
                bin.Gate.Release();
            }
        }

        await AwaitSealingAsync().ConfigureAwait(false);
        _catalogLog.Sync();
        await _catalogLog.PublishAsync(JournalHolders(), cancel).ConfigureAwait(false); // at each holder too the catalog names an arena before the journal forgets what it holds: others read both there
        (List<Intent> kept, HashSet<Intent> written, long intentBytes) = SplitIntents();
        await _journal.RenewAsync(open, kept, JournalHolders(), cancel, written).ConfigureAwait(false);
        _journaledBytes = open.Sum(static clump => (long)clump.Bytes.Length) + intentBytes;
    }

    /// <summary>Appends to the journal what the bin holds and the journal does not; returns the bytes of the bin's clumps that are journaled.</summary>
    private long JournalLocked(OpenBin bin)
    {
        if (bin.Current is not { } buffer)
        {
            return 0;
        }

        long live = 0;
        foreach (PendingClump clump in buffer.Clumps)
        {
            if (!clump.IsJournaled)
            {
                _journal.Append(ToJournal(buffer, clump));
                clump.IsJournaled = true;
                _journaledBytes += clump.Length;
            }

            live += clump.Length;
        }

        return live;
    }

    private static JournalClump ToJournal(ArenaBuffer buffer, PendingClump clump) =>
        new(buffer.Key.Domain, buffer.Key.Epoch, buffer.Key.Survive, clump.Type, clump.PlainBytes, clump.Date, clump.Score, buffer.Bytes.AsMemory(clump.Offset, clump.Length));

    /// <summary>Seals what a flush may not leave in the journal: pieces of 4 and 1 MiB while there is enough for them, and everything once it is older than a day.</summary>
    private async ValueTask CarveAsync(OpenBin bin, bool sealRest, CancellationToken cancel)
    {
        await bin.Gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            while (bin.Current is { Clumps.Count: > 0 } buffer)
            {
                bool isOld = buffer.Clumps[0].Date + (uint)_options.JournalDays < Today();
                bool sealAll = sealRest || (isOld && HasRoomFor(buffer));
                if (!sealAll && buffer.ClumpBytes < _options.SealAtFlushBytes)
                {
                    return;
                }

                int usedBytes = buffer.End + (buffer.Clumps.Count * ArenaDirectory.EntrySize);
                int nominal = PieceFor(usedBytes, sealAll);
                var redundancy = new RedundancyClass(buffer.Layout.DataFragments, buffer.Layout.ParityFragments, bin.Key.Survive);
                ArenaLayout layout = LayoutFor(redundancy, nominal, buffer.Clumps[0].Length); // so that each piece takes a clump at least
                if (layout.ImageBytes >= usedBytes)
                {
                    await AwaitSealSlotAsync(cancel).ConfigureAwait(false);
                    buffer.Layout = layout.ImageBytes < buffer.Layout.ImageBytes ? layout : buffer.Layout;
                    bin.Current = null;
                    StartSealing(buffer);
                    return;
                }

                ArenaBuffer rest = NewBuffer(bin.Key, buffer.Layout);
                await AwaitSealSlotAsync(cancel).ConfigureAwait(false);
                Split(buffer, layout, rest);
                bin.Current = rest;
                StartSealing(buffer);
            }
        }
        finally
        {
            bin.Gate.Release();
        }
    }

    /// <summary>Whether quotas leave room to seal the buffer as it is. What is old stays in the journal where they do not: it is durable there, and a small change need not fail for it.</summary>
    private bool HasRoomFor(ArenaBuffer buffer)
    {
        if (!_room.HasQuotas)
        {
            return true;
        }

        // By no class does a place get more of it than this.
        int nominal = PieceFor(buffer.End + (buffer.Clumps.Count * ArenaDirectory.EntrySize), sealAll: true);
        int survive = buffer.Key.Survive;
        return _room.PlacesFor(survive == 0 ? 2L * nominal : nominal) > survive;
    }

    /// <summary>The nominal size, or the next one in which a clump of so many bytes has room.</summary>
    private static ArenaLayout LayoutFor(RedundancyClass redundancy, int nominal, int clumpBytes)
    {
        ArenaLayout layout = ArenaLayout.ForNominal(redundancy, nominal);
        foreach (int size in ArenaLayout.NominalSizes)
        {
            if (ArenaImage.RoomFor(layout.ImageBytes, 1) < clumpBytes && size > nominal)
            {
                layout = ArenaLayout.ForNominal(redundancy, size);
            }
        }

        return layout;
    }

    /// <summary>The largest nominal size that the used bytes fill; for a last piece, the smallest that holds them.</summary>
    private int PieceFor(int usedBytes, bool sealAll)
    {
        ReadOnlySpan<int> sizes = ArenaLayout.NominalSizes;
        int piece = 0;
        foreach (int size in sizes)
        {
            if (size <= _options.ArenaBytes && size <= usedBytes)
            {
                piece = size;
            }
        }

        if (piece == 0 || (sealAll && usedBytes < piece + (piece / 4)))
        {
            foreach (int size in sizes)
            {
                if (size >= usedBytes)
                {
                    return Math.Min(size, _options.ArenaBytes);
                }
            }
        }

        return piece == 0 ? _options.ArenaBytes : piece;
    }

    /// <summary>Moves the clumps that do not fit the smaller layout to another buffer. Clump bytes do not depend on where they lie.</summary>
    private static void Split(ArenaBuffer buffer, ArenaLayout layout, ArenaBuffer rest)
    {
        lock (buffer.Gate)
        {
            int keep = 0;
            int end = ArenaHeader.Size;
            while (keep < buffer.Clumps.Count
                && end + buffer.Clumps[keep].Length <= ArenaHeader.Size + ArenaImage.RoomFor(layout.ImageBytes, keep + 1))
            {
                end += buffer.Clumps[keep].Length;
                keep++;
            }

            lock (rest.Gate)
            {
                for (int i = keep; i < buffer.Clumps.Count; i++)
                {
                    PendingClump clump = buffer.Clumps[i];
                    buffer.Bytes.AsSpan(clump.Offset, clump.Length).CopyTo(rest.Bytes.AsSpan(rest.End));
                    clump.Offset = rest.End;
                    clump.Buffer = rest;
                    rest.End += clump.Length;
                    rest.Clumps.Add(clump);
                }
            }

            buffer.Clumps.RemoveRange(keep, buffer.Clumps.Count - keep);
            buffer.End = end;
            buffer.Layout = layout;
        }
    }
}
