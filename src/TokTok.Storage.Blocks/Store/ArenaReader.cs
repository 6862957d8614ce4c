using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Cache;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>Reads ranges and directories of sealed arenas: first straight from the data slices, verified and reconstructed when that fails.</summary>
/// <remarks>
/// A healthy read decodes nothing and verifies nothing here: the clump's cipher and the block's score do that.
/// A holder that lets us wait for longer than its reads take is passed over for a while, as one that is away: what it has is rebuilt from the others (Dean and Barroso, The Tail at Scale, CACM 2013).
/// Where they are not enough it is waited for.
/// Safe from many threads. Locks: _gate guards the directory cache and what was noted, and nothing is read inside.
/// </remarks>
internal sealed class ArenaReader(IReadOnlyDictionary<DomainId, KeyDomain> domains, Func<ushort, StoreHolder?> holderOf, long cacheBytes, WindowCache? cache, TimeProvider clock, Action<string> note)
{
    /// <summary>Reads of a thread that goes on where it ended meet their own window; two threads of one place share it or do without.</summary>
    private const int AheadCount = 8;

    /// <summary>A window that is rebuilt takes a record, group hashes and the bytes, one after another, and once more of others where some are damaged.</summary>
    private const int Rounds = 4;

    private readonly Lock _gate = new();
    private readonly Dictionary<uint, LinkedListNode<(uint Ordinal, ArenaDirectory Directory)>> _cached = [];
    private readonly LinkedList<(uint Ordinal, ArenaDirectory Directory)> _recency = new();
    private long _cachedBytes;
    private readonly HashSet<uint> _noted = [];
    private readonly ReadAhead?[] _ahead = new ReadAhead?[AheadCount];

    /// <summary>As <see cref="TryReadAsync"/>, for small clumps one behind the other: who reads on where the last read ended gets a run of neighbours with one read, decrypted at once.</summary>
    internal async ValueTask<bool> TryReadClumpAsync(ArenaRecord arena, int offset, Memory<byte> target, CancellationToken cancel)
    {
        if (target.Length > ReadAhead.LargestClump)
        {
            return await TryReadAsync(arena, offset, target, cancel).ConfigureAwait(false);
        }

        int place = Environment.CurrentManagedThreadId % AheadCount;
        ReadAhead ahead = Interlocked.Exchange(ref _ahead[place], null) ?? new ReadAhead();
        try
        {
            if (ahead.TryCopy(arena.Ordinal, offset, target.Span))
            {
                return true;
            }

            int run = Math.Min(ReadAhead.WindowBytes, arena.Layout.ImageBytes - offset);
            if (run >= target.Length && ahead.IsNext(arena.Ordinal, offset)
                && await TryReadAsync(arena, offset, ahead.Window(run), cancel).ConfigureAwait(false))
            {
                ahead.Holds(arena.Ordinal, offset, run);
                return ahead.TryCopy(arena.Ordinal, offset, target.Span);
            }

            ahead.Passed(arena.Ordinal, offset + target.Length);
            return await TryReadAsync(arena, offset, target, cancel).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref _ahead[place], ahead);
        }
    }

    /// <summary>Reads and decrypts without checking. False: some of it is not where it should be.</summary>
    internal async ValueTask<bool> TryReadAsync(ArenaRecord arena, int offset, Memory<byte> target, CancellationToken cancel)
    {
        KeyDomain domain = DomainOf(arena);
        int slice = arena.Layout.SliceBytes;
        int done = 0;
        while (done < target.Length)
        {
            int at = offset + done;
            int index = at / slice;
            int within = at % slice;
            int count = Math.Min(target.Length - done, slice - within);
            if (index >= arena.Layout.DataFragments || holderOf(arena.Fragments[index].Holder) is not { IsDoubted: false } place)
            {
                return false;
            }

            IFragmentHolder? holder = place.Holder is { IsSlow: true } && arena.Layout.ParityFragments > 0 ? null : place.Holder;
            using Patience? patience = Patience.With(arena.Layout.ParityFragments > 0 ? holder?.Patience(count) : null, clock, cancel);
            CancellationToken end = patience?.Token ?? cancel;
            try
            {
                Memory<byte> part = target.Slice(done, count);
                int got = cache is not null && place.IsCached ? await cache.ReadAsync(holder, arena.Id, index, slice, within, part, end).ConfigureAwait(false)
                    : holder is not null ? await holder.ReadAsync(arena.Id, index, within, part, end).ConfigureAwait(false)
                    : -1;
                if (got != count)
                {
                    return false;
                }
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                return false;
            }
            catch (Exception failure) when (failure is DiskException or DamagedFormatException)
            {
                NoteOnce(arena, $"arena {arena.Ordinal}, fragment {index}: {failure.Message}; it is read from the others, run 'tdfs repair'");
                return false;
            }

            done += count;
        }

        ArenaImage.Transform(domain, arena.Epoch, arena.Id, offset, target.Span);
        return true;
    }

    private KeyDomain DomainOf(ArenaRecord arena)
    {
        KeyDomain domain = domains.GetValueOrDefault(arena.Domain)
            ?? throw new DamagedBlockException($"arena {arena.Ordinal} is of key domain {arena.Domain}, whose keys were burned or never came back");
        return domain.HasEpoch(arena.Epoch)
            ? domain
            : throw new DamagedBlockException($"arena {arena.Ordinal} is under epoch {arena.Epoch} of key domain {arena.Domain}, whose keys this device does not have yet");
    }

    /// <summary>One line an arena: every read of a damaged one meets the same damage.</summary>
    private void NoteOnce(ArenaRecord arena, string line)
    {
        lock (_gate)
        {
            if (!_noted.Add(arena.Ordinal))
            {
                return;
            }
        }

        note(line);
    }

    /// <summary>Reads with every byte checked against its fragment's name, from other fragments where it must be.</summary>
    /// <exception cref="DamagedBlockException">Fewer than k fragments can give some of the range.</exception>
    internal async ValueTask ReadVerifiedAsync(ArenaRecord arena, int offset, Memory<byte> target, CancellationToken cancel)
    {
        KeyDomain domain = DomainOf(arena);
        int slice = arena.Layout.SliceBytes;
        int done = 0;
        bool isAbsent = false;
        while (done < target.Length)
        {
            int at = offset + done;
            int count = Math.Min(target.Length - done, slice - (at % slice));
            isAbsent |= holderOf(arena.Fragments[at / slice].Holder) is not { Holder: { IsSlow: false }, IsDoubted: false };
            await ReadWindowAsync(arena, at / slice, at % slice, target.Slice(done, count), cancel).ConfigureAwait(false);
            if (cache is not null && holderOf(arena.Fragments[at / slice].Holder) is { IsCached: true })
            {
                cache.Correct(arena.Id, at / slice, slice, at % slice, target.Span.Slice(done, count));
            }

            done += count;
        }

        if (!isAbsent)
        {
            // an absent or doubted holder was named when the store was opened, and every arena with a fragment there is read like this
            NoteOnce(arena, $"arena {arena.Ordinal}: some of it is damaged and was read from other fragments; run 'tdfs repair'");
        }

        ArenaImage.Transform(domain, arena.Epoch, arena.Id, offset, target.Span);
    }

    /// <summary>From holders that nothing is held against and that answer in time, as long as there are enough of them; then from those that are slow, too, and at last from all.</summary>
    private async ValueTask ReadWindowAsync(ArenaRecord arena, int fragmentIndex, int offset, Memory<byte> target, CancellationToken cancel)
    {
        FragmentSet all = SetOf(arena);
        FragmentSet trusted = Where(all, index => holderOf(arena.Fragments[index].Holder) is not { IsDoubted: true });
        for (int asked = int.MaxValue; ;)
        {
            FragmentSet quick = Where(trusted, index => trusted.Fragments[index].Holder is not { IsSlow: true });
            TimeSpan? time = quick.Fragments.Max(fragment => fragment.Holder?.Patience(target.Length));
            int count = CountOf(quick);
            if (count < arena.Layout.DataFragments || count >= asked || (count == CountOf(all) && time is null))
            {
                break;
            }

            asked = count;
            using Patience? patience = Patience.With(Rounds * time, clock, cancel);
            try
            {
                await FragmentRepair.ReadWindowAsync(quick, fragmentIndex, offset, target, patience?.Token ?? cancel).ConfigureAwait(false);
                return;
            }
            catch (DamagedBlockException)
            {
                break; // every byte of the others is checked as well
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                // whoever did not answer is slow from here on
            }
        }

        if (CountOf(trusted) < CountOf(all))
        {
            try
            {
                await FragmentRepair.ReadWindowAsync(trusted, fragmentIndex, offset, target, cancel).ConfigureAwait(false);
                return;
            }
            catch (DamagedBlockException)
            {
                // every byte of the others is checked as well
            }
        }

        await FragmentRepair.ReadWindowAsync(all, fragmentIndex, offset, target, cancel).ConfigureAwait(false);
    }

    private static FragmentSet Where(FragmentSet set, Func<int, bool> isAsked) => set with { Fragments = [.. set.Fragments.Select((fragment, index) => isAsked(index) ? fragment : fragment with { Holder = null })] };

    private static int CountOf(FragmentSet set) => set.Fragments.Count(static fragment => fragment.Holder is not null);

    /// <summary>The fragments of an arena, each with the holder that should have it.</summary>
    internal FragmentSet SetOf(ArenaRecord arena) => new(
        arena.Id,
        arena.Layout,
        [.. arena.Fragments.Select(fragment => new FragmentSource(fragment.Name, holderOf(fragment.Holder)?.Holder))]);

    internal async ValueTask<ArenaDirectory> DirectoryAsync(ArenaRecord arena, CancellationToken cancel)
    {
        lock (_gate)
        {
            if (_cached.TryGetValue(arena.Ordinal, out LinkedListNode<(uint Ordinal, ArenaDirectory Directory)>? node))
            {
                _recency.Remove(node);
                _recency.AddFirst(node);
                return node.Value.Directory;
            }
        }

        ArenaDirectory directory = await ReadDirectoryAsync(arena, cancel).ConfigureAwait(false);
        lock (_gate)
        {
            if (!_cached.ContainsKey(arena.Ordinal))
            {
                _cached[arena.Ordinal] = _recency.AddFirst((arena.Ordinal, directory));
                _cachedBytes += directory.Bytes;
                while (_cachedBytes > cacheBytes && _recency.Count > 1)
                {
                    (uint Ordinal, ArenaDirectory Directory) oldest = _recency.Last!.Value;
                    _recency.RemoveLast();
                    _cached.Remove(oldest.Ordinal);
                    _cachedBytes -= oldest.Directory.Bytes;
                }
            }
        }

        return directory;
    }

    internal async ValueTask<ArenaHeader> HeaderAsync(ArenaRecord arena, CancellationToken cancel)
    {
        byte[] bytes = new byte[ArenaHeader.Size];
        if (await TryReadAsync(arena, 0, bytes, cancel).ConfigureAwait(false))
        {
            try
            {
                return ArenaHeader.Read(bytes, arena.Id.ToString());
            }
            catch (DamagedFormatException)
            {
                // the verified read decides
            }
        }

        await ReadVerifiedAsync(arena, 0, bytes, cancel).ConfigureAwait(false);
        return ArenaHeader.Read(bytes, arena.Id.ToString());
    }

    private async ValueTask<ArenaDirectory> ReadDirectoryAsync(ArenaRecord arena, CancellationToken cancel)
    {
        ArenaHeader header = await HeaderAsync(arena, cancel).ConfigureAwait(false);
        byte[] entries = new byte[header.DirectoryBytes];
        if (await TryReadAsync(arena, header.DirectoryOffset, entries, cancel).ConfigureAwait(false))
        {
            try
            {
                return ArenaDirectory.Read(entries, header);
            }
            catch (DamagedFormatException)
            {
                entries = new byte[header.DirectoryBytes];
            }
        }

        await ReadVerifiedAsync(arena, header.DirectoryOffset, entries, cancel).ConfigureAwait(false);
        return ArenaDirectory.Read(entries, header);
    }
}

/// <summary>The end of our patience with a holder, or of the caller's.</summary>
internal sealed class Patience : IDisposable
{
    private readonly CancellationTokenSource _time;
    private readonly CancellationTokenSource _either;

    private Patience(TimeSpan time, TimeProvider clock, CancellationToken cancel)
    {
        _time = new CancellationTokenSource(time, clock);
        _either = CancellationTokenSource.CreateLinkedTokenSource(_time.Token, cancel);
    }

    internal CancellationToken Token => _either.Token;

    /// <summary>Null: nothing but the caller's token ends it.</summary>
    internal static Patience? With(TimeSpan? time, TimeProvider clock, CancellationToken cancel) => time is { } some ? new Patience(some, clock, cancel) : null;

    public void Dispose()
    {
        _either.Dispose();
        _time.Dispose();
    }
}

/// <summary>Where somebody reads, and a run of image bytes from there on: clumps, which are still encrypted themselves.</summary>
/// <remarks>Never stale, though fragments are mended and moved meanwhile: an id has one image. What is damaged in it is not the clump asked for, and is then read verified.
/// Owner: one caller at a time.</remarks>
internal sealed class ReadAhead
{
    /// <summary>About ten clumps of small files; so few that little is read twice where two threads take turns in one arena.</summary>
    internal const int WindowBytes = 64 * 1024;

    /// <summary>Larger ones are read alone.</summary>
    internal const int LargestClump = WindowBytes / 2;

    private byte[] _window = [];
    private long _ordinal = -1;
    private int _start;
    private int _end;

    internal Memory<byte> Window(int bytes)
    {
        _ordinal = -1;
        _window = _window.Length == 0 ? GC.AllocateUninitializedArray<byte>(WindowBytes) : _window;
        return _window.AsMemory(0, bytes);
    }

    internal void Holds(uint ordinal, int start, int bytes) => (_ordinal, _start, _end) = (ordinal, start, start + bytes);

    internal void Passed(uint ordinal, int end) => (_ordinal, _start, _end) = (ordinal, end, end);

    internal bool TryCopy(uint ordinal, int offset, Span<byte> target)
    {
        bool isHeld = _ordinal == ordinal && offset >= _start && offset + target.Length <= _end;
        if (isHeld)
        {
            _window.AsSpan(offset - _start, target.Length).CopyTo(target);
        }

        return isHeld;
    }

    /// <summary>Whether this read goes on where the last one ended, or a little further on.</summary>
    internal bool IsNext(uint ordinal, int offset) => _ordinal == ordinal && offset >= _start && offset - _end is > -LargestClump and < LargestClump;
}

/// <summary>Finds blocks by searching arena directories: how reading verbs look up, and what decides when the index is wrong.</summary>
/// <remarks>
/// Source: locality as in Zhu, Li and Patterson, Data Domain (FAST 2008): a directory that had the last block very likely has the next.
/// Safe from many threads; _recent is a hint and may be stale. Cost of a miss: one binary search an arena.
/// </remarks>
internal sealed class DirectorySearch(Catalog catalog, ArenaReader reader)
{
    private const int RecentCount = 4;

    private readonly ArenaRecord?[] _recent = new ArenaRecord?[RecentCount];
    private volatile ArenasAt _arenas = new(ulong.MaxValue, []);

    private sealed record ArenasAt(ulong Sequence, IReadOnlyList<ArenaRecord> BestFirst)
    {
        internal bool AreOfOneClass { get; } = BestFirst.All(arena => arena.Survive == BestFirst[0].Survive);
    }

    /// <summary>Whether no arena is stronger than another, so that any copy is the strongest.</summary>
    internal bool AreAllOfOneClass => Arenas().AreOfOneClass;

    /// <param name="isAnyCopy">Any copy will do, as for reading; else the strongest is looked for, and the newest among equals.</param>
    internal ClumpPlace? Find(DomainId domain, Score score, bool isAnyCopy)
    {
        ArenasAt arenas = Arenas();
        for (int i = 0; i < RecentCount && isAnyCopy; i++)
        {
            if (_recent[i] is { } arena && arena.Domain == domain && catalog.Arena(arena.Ordinal) is { State: not ArenaState.Trashed } current && FindIn(current, score) is { } place)
            {
                return place;
            }
        }

        (ArenaState State, int Survive) kind = default;
        foreach (ArenaRecord arena in arenas.BestFirst)
        {
            if (kind != (arena.State, arena.Survive))
            {
                // The hints of weaker kinds have their turn when nothing stronger has the block.
                kind = (arena.State, arena.Survive);
                for (int i = 0; i < RecentCount; i++)
                {
                    if (_recent[i] is { } hint && hint.Domain == domain && catalog.Arena(hint.Ordinal) is { } current && kind == (current.State, current.Survive)
                        && FindIn(current, score) is { } near)
                    {
                        return near;
                    }
                }
            }

            if (arena.Domain == domain && FindIn(arena, score) is { } place)
            {
                if (arena.State == ArenaState.Sealed)
                {
                    _recent[(int)(arena.Ordinal % RecentCount)] = arena;
                }

                return place;
            }
        }

        return null;
    }

    /// <summary>The strongest copy, the newest among equals, in arenas that were sealed after a sequence.</summary>
    internal ClumpPlace? FindNewer(DomainId domain, Score score, ulong sequence)
    {
        foreach (ArenaRecord arena in Arenas().BestFirst)
        {
            if (arena.SealSequence > sequence && arena.Domain == domain && FindIn(arena, score) is { } place)
            {
                return place;
            }
        }

        return null;
    }

    /// <summary>Why the directory of an arena cannot be read, if there is such a one: what is in none of the others may be in that.</summary>
    internal Exception? WhyUnread(DomainId domain) => Arenas().BestFirst.Where(arena => arena.Domain == domain).Select(arena => TryDirectory(arena).Failure).FirstOrDefault(static failure => failure is not null);

    private ArenasAt Arenas()
    {
        ArenasAt arenas = _arenas;
        ulong sequence = catalog.Sequence;
        if (arenas.Sequence != sequence)
        {
            ArenaRecord[] all = [.. catalog.Arenas()];
            Array.Sort(all, static (one, other) =>
            {
                int order = ((int)one.State).CompareTo((int)other.State);
                order = order != 0 ? order : other.Survive.CompareTo(one.Survive);
                return order != 0 ? order : other.Ordinal.CompareTo(one.Ordinal);
            });
            _arenas = arenas = new ArenasAt(sequence, all);
        }

        return arenas;
    }

    private ClumpPlace? FindIn(ArenaRecord arena, Score score)
    {
        ArenaDirectory? directory = TryDirectory(arena).Directory;
        int index = directory?.Find(score) ?? -1;
        return index < 0 ? null : new ClumpPlace(arena, directory![index].Offset, directory[index].Length);
    }

    private (ArenaDirectory? Directory, Exception? Failure) TryDirectory(ArenaRecord arena)
    {
        try
        {
            ValueTask<ArenaDirectory> pending = reader.DirectoryAsync(arena, CancellationToken.None);
            return (pending.IsCompletedSuccessfully ? pending.Result : pending.AsTask().GetAwaiter().GetResult(), null);
        }
        catch (Exception failure) when (failure is DamagedBlockException or DamagedFormatException)
        {
            return (null, failure); // an arena whose directory is lost holds nothing that can be found
        }
    }
}
