using System.Buffers;
using System.Runtime.CompilerServices;

using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Index;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>What is wanted of a clump's copy.</summary>
/// <param name="Survive">How many lost places it is to outlive.</param>
/// <param name="IsAway">On other machines alone: the block is freed here.</param>
internal readonly record struct CopyWish(int Survive, bool IsAway = false);

/// <summary>An entry of an arena's directory, found by score.</summary>
internal readonly record struct EntryPlace(ArenaRecord Arena, int EntryIndex, ClumpEntry Entry);

/// <content>What reclaim, check and repair do to arenas.</content>
public sealed partial class BlockStore
{
    internal int TrashDays => _options.TrashDays;

    /// <summary>Running days for which an arena that was adopted is not released yet: another line may be in the middle of writing what wants it. As many as the trash keeps one.</summary>
    internal uint WaitsFor(ArenaRecord arena)
    {
        uint age = Catalog.RunningDays - Math.Min(Catalog.RunningDays, arena.AdoptedOnDay);
        return arena.AdoptedOnDay == 0 || age >= TrashDays ? 0 : (uint)TrashDays - age;
    }

    /// <summary>Places of holders that are absent, or were when the store was opened, at which another line may have left a head that was never seen here. Empty where no other line was ever met.</summary>
    internal IReadOnlyList<string> PlacesOfOthers() => Catalog.HasMetOthers(_device, Incarnation)
        ? [.. Holders.Where(holder => !holder.IsGone && (holder.Holder is null || CameLater(holder))).Select(static holder => holder.Place).Distinct()]
        : [];

    internal bool IsPending(Score score) => _pending.ContainsKey(score);

    /// <summary>Blocks in open arenas: durable in the journal once flushed.</summary>
    public int PendingCount => _pending.Count;

    internal ValueTask<ArenaDirectory> DirectoryAsync(ArenaRecord arena, CancellationToken cancel) => _reader.DirectoryAsync(arena, cancel);

    internal ValueTask<ArenaHeader> HeaderAsync(ArenaRecord arena, CancellationToken cancel) => _reader.HeaderAsync(arena, cancel);

    /// <summary>Null for readers, who search directories.</summary>
    internal IBlockIndex? Index => _index;

    /// <summary>Clumps of open arenas and of the journal, as they are now.</summary>
    internal IReadOnlyCollection<PendingClump> Pending => [.. _pending.Values];

    /// <summary>Copies a clump of an open arena into one of a stronger class. Nothing happens where it is that strong, or sealed meanwhile.</summary>
    /// <returns>Bytes copied. They are durable after the next flush.</returns>
    internal async ValueTask<long> CopyPendingAsync(DomainId domain, Score score, int survive, CancellationToken cancel)
    {
        if (PendingSurvive(domain, score) is not int present || present >= Feasible(survive) || !_pending.TryGetValue(score, out PendingClump? pending))
        {
            return 0;
        }

        byte[] clump = new byte[pending.Length];
        return ArenaBuffer.TryCopy(pending, _domains[domain], clump)
            && await AppendAsync(pending.Buffer.Key with { Survive = Feasible(survive) }, score, pending.Type, pending.PlainBytes, clump, Today(), isJournaled: false, cancel).ConfigureAwait(false)
            ? clump.Length
            : 0;
    }

    /// <summary>How many lost places an open arena's clump will survive; null: no open arena has it.</summary>
    internal int? PendingSurvive(DomainId domain, Score score) =>
        _pending.TryGetValue(score, out PendingClump? pending) && pending.Buffer.Key.Domain == domain ? pending.Buffer.Key.Survive : null;

    /// <summary>Clump bytes of a block of an open arena; 0: none has it.</summary>
    internal int PendingBytes(Score score) => _pending.TryGetValue(score, out PendingClump? pending) ? pending.Length : 0;

    /// <summary>The blocks of one type in arenas and journal: with type 5, where heads can be found again.</summary>
    public async IAsyncEnumerable<(DomainId Domain, Score Score)> BlocksOfTypeAsync(BlockType type, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        foreach (PendingClump clump in _pending.Values.Where(clump => clump.Type == type).ToList())
        {
            yield return (clump.Buffer.Key.Domain, clump.Score);
        }

        foreach (ArenaRecord arena in Catalog.Arenas().Where(arena => arena.State != ArenaState.Trashed && HasKeysOf(arena)))
        {
            cancel.ThrowIfCancellationRequested();
            ArenaDirectory directory;
            try
            {
                directory = await _reader.DirectoryAsync(arena, cancel).ConfigureAwait(false);
            }
            catch (Exception damage) when (damage is DamagedBlockException or DamagedFormatException)
            {
                Note($"arena {arena.Ordinal}: {damage.Message}");
                continue;
            }

            for (int i = 0; i < directory.Count; i++)
            {
                if (directory[i].Type == type)
                {
                    yield return (arena.Domain, directory[i].Score);
                }
            }
        }
    }

    internal FragmentSet SetOf(ArenaRecord arena) => _reader.SetOf(arena);

    /// <summary>The directory entry of a sealed block: by the index if it is right, else by the directories.</summary>
    internal EntryPlace? LocateEntry(DomainId domain, Score score)
    {
        if (LocateStrongest(domain, score) is not { } place)
        {
            return null;
        }

        EntryPlace? entry = EntryIn(place.Arena, score);
        return entry is null && FindInDirectories(domain, score) is { } other ? EntryIn(other.Arena, score) : entry;
    }

    private EntryPlace? EntryIn(ArenaRecord arena, Score score)
    {
        try
        {
            ValueTask<ArenaDirectory> pending = _reader.DirectoryAsync(arena, CancellationToken.None);
            ArenaDirectory directory = pending.IsCompletedSuccessfully ? pending.Result : pending.AsTask().GetAwaiter().GetResult();
            int index = directory.Find(score);
            return index < 0 ? null : new EntryPlace(arena, index, directory[index]);
        }
        catch (Exception failure) when (failure is DamagedBlockException or DamagedFormatException)
        {
            return null;
        }
    }

    /// <summary>Writes new records of arenas, durable on return.</summary>
    internal void ChangeArenas(IReadOnlyList<ArenaRecord> arenas)
    {
        ThrowIfNotWritable();
        try
        {
            foreach (ArenaRecord arena in arenas)
            {
                _catalogLog.Append(arena.Write);
            }

            _catalogLog.Sync();
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }
    }

    /// <summary>Takes back from the trash the arenas that are wanted: a head, say one of another line, has blocks that lie nowhere else. Durable on return.</summary>
    /// <remarks>A crash between the steps leaves tombstones of arenas whose files are out of the trash: the next reclaim takes them back too, or trashes them again.
    /// At a holder that is absent or fails the fragments stay in the trash, where they are read, and nothing empties it of an arena that is sealed.</remarks>
    internal async ValueTask TakeBackAsync(Func<ArenaRecord, bool> isWanted, CancellationToken cancel)
    {
        ThrowIfNotWritable();
        List<ArenaRecord> arenas = [.. Catalog.Arenas().Where(arena => arena.State == ArenaState.Trashed && isWanted(arena))];
        if (arenas.Count == 0)
        {
            return;
        }

        foreach (ArenaRecord arena in arenas)
        {
            foreach (IFragmentHolder holder in ReachableHolders())                             // 1. files: a record may name others than those that have them
            {
                try
                {
                    await holder.RestoreAsync(arena.Id, cancel).ConfigureAwait(false);
                }
                catch (DiskException failure)
                {
                    Note($"arena {arena.Ordinal}: {failure.Message}");
                }
            }
        }

        try
        {
            foreach (ArenaRecord arena in arenas)
            {
                _catalogLog.AppendSealed(arena with { State = ArenaState.Sealed }); // 2. records, as if sealed now: an index takes it up again
            }

            _catalogLog.Sync();
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }

        foreach (ArenaRecord arena in arenas.Where(_ => _index is not null))
        {
            await IndexArenaAsync(arena, cancel).ConfigureAwait(false);                        // 3. a cache
        }

        Note($"{arenas.Count} arenas were taken back from the trash: snapshots want blocks that lie nowhere else");
    }

    internal void ForgetArenas(IReadOnlyList<uint> ordinals)
    {
        ThrowIfNotWritable();
        try
        {
            foreach (uint[] part in ordinals.Chunk(Catalog.MaxForgetCount))
            {
                _catalogLog.Append(writer => Catalog.WriteForget(writer, part));
            }

            _catalogLog.Sync();
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }
    }

    /// <summary>Copies clumps of an arena, byte for byte, into open arenas of the redundancy wanted; each is decrypted first to see that it is whole.</summary>
    /// <param name="wanted">By the entry's place in the directory: what is wanted of the copy, or null for no copy.</param>
    /// <returns>Bytes copied, and those of them that went to other machines. They are durable after the next flush.</returns>
    internal async ValueTask<(long Copied, long Away)> CopyLiveAsync(ArenaRecord arena, Func<int, CopyWish?> wanted, CancellationToken cancel)
    {
        KeyDomain domain = _domains[arena.Domain];
        ArenaDirectory directory = await _reader.DirectoryAsync(arena, cancel).ConfigureAwait(false);
        var copies = new List<(ClumpEntry Entry, CopyWish Wish)>();
        for (int i = 0; i < directory.Count; i++)
        {
            if (wanted(i) is { } wish)
            {
                copies.Add((directory[i], Feasible(wish)));
            }
        }

        copies.Sort(static (a, b) => a.Entry.Offset.CompareTo(b.Entry.Offset)); // in the order they were written: neighbours stay neighbours
        byte[] scratch = ArrayPool<byte>.Shared.Rent(Clump.MaxBytes);
        byte[] plain = ArrayPool<byte>.Shared.Rent(BlockLimits.MaxBlockBytes);
        byte[] clump = ArrayPool<byte>.Shared.Rent(Clump.MaxBytes);
        long copied = 0;
        long away = 0;
        try
        {
            foreach ((ClumpEntry entry, CopyWish wish) in copies)
            {
                Memory<byte> bytes = clump.AsMemory(0, entry.Length);
                bool isWhole = await _reader.TryReadAsync(arena, entry.Offset, bytes, cancel).ConfigureAwait(false)
                    && Clump.TryRead(domain, arena.Epoch, entry.Score, entry.Type, bytes.Span, _compressor, scratch, plain, out _);
                if (!isWhole)
                {
                    await _reader.ReadVerifiedAsync(arena, entry.Offset, bytes, cancel).ConfigureAwait(false);
                    if (!Clump.TryRead(domain, arena.Epoch, entry.Score, entry.Type, bytes.Span, _compressor, scratch, plain, out _))
                    {
                        throw new DamagedBlockException($"block {entry.Score} in arena {arena.Ordinal} does not decrypt to itself");
                    }
                }

                await AppendAsync(
                    new BinKey(arena.Domain, arena.Epoch, wish.Survive, wish.IsAway), entry.Score, entry.Type, entry.PlainBytes, bytes, Today(), isJournaled: false, cancel).ConfigureAwait(false);
                copied += entry.Length;
                away += wish.IsAway ? entry.Length : 0;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(clump);
            ArrayPool<byte>.Shared.Return(plain, clearArray: true);
            ArrayPool<byte>.Shared.Return(scratch, clearArray: true);
        }

        return (copied, away);
    }

    /// <summary>What a wish comes to over the places there are: what cannot be kept so on other machines now is kept here.</summary>
    internal CopyWish Feasible(CopyWish wish) => wish.IsAway && AwayNow.ClassFor(wish.Survive) is not null ? wish : new CopyWish(Feasible(wish.Survive), IsAway: false);

    /// <summary>Says that arenas are away, or no longer. Durable on return.</summary>
    internal void ChangeAway(bool isAway, IReadOnlyList<uint> ordinals)
    {
        ThrowIfNotWritable();
        try
        {
            foreach (uint[] part in ordinals.Chunk(Catalog.MaxAwayCount))
            {
                _catalogLog.Append(writer => Catalog.WriteAway(writer, isAway, part));
            }

            _catalogLog.Sync();
        }
        catch (Exception failure)
        {
            Fail(failure);
            throw;
        }
    }

    /// <summary>Whether so many lost places are outlived by the fragments of an arena that other machines show now: each is asked for its record, and for a group at random that is checked against its name.</summary>
    internal async ValueTask<bool> ProvesAwayAsync(ArenaRecord arena, CancellationToken cancel)
    {
        IReadOnlySet<int> shown = await FragmentRepair.ProbeAsync(SetOf(arena), _random, cancel).ConfigureAwait(false);
        StoreHolder?[] holders = HoldersOf(arena);
        return Placement.LossesOutlived(arena.Layout, Placement.CountsByPlace(
            [.. holders.Where((_, index) => shown.Contains(index))], static holder => holder is { IsElsewhere: true, IsGone: false, IsDoubted: false })) >= arena.Survive;
    }

    /// <summary>Finds blocks in this arena again, where copies of it came to nothing.</summary>
    internal async ValueTask IndexAgainAsync(ArenaRecord arena, CancellationToken cancel)
    {
        if (_index is not null && Catalog.Arena(arena.Ordinal) is { State: ArenaState.Sealed } now)
        {
            await IndexArenaAsync(now, cancel).ConfigureAwait(false);
        }
    }
}
