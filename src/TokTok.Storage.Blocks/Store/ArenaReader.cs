using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <summary>Reads ranges and directories of sealed arenas: first straight from the data slices, verified and reconstructed when that fails.</summary>
/// <remarks>
/// A healthy read decodes nothing and verifies nothing here: the clump's cipher and the block's score do that.
/// Safe from many threads. Locks: _gate guards the directory cache and what was noted, and nothing is read inside.
/// </remarks>
internal sealed class ArenaReader(IReadOnlyDictionary<DomainId, KeyDomain> domains, Func<ushort, StoreHolder?> holderOf, long cacheBytes, Action<string> note)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<uint, LinkedListNode<(uint Ordinal, ArenaDirectory Directory)>> _cached = [];
    private readonly LinkedList<(uint Ordinal, ArenaDirectory Directory)> _recency = new();
    private long _cachedBytes;
    private readonly HashSet<uint> _noted = [];

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
            if (index >= arena.Layout.DataFragments || holderOf(arena.Fragments[index].Holder)?.Holder is not { } holder)
            {
                return false;
            }

            try
            {
                if (await holder.ReadAsync(arena.Id, index, within, target.Slice(done, count), cancel).ConfigureAwait(false) != count)
                {
                    return false;
                }
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

    private KeyDomain DomainOf(ArenaRecord arena) => domains.GetValueOrDefault(arena.Domain)
        ?? throw new DamagedBlockException($"arena {arena.Ordinal} is of key domain {arena.Domain}, whose keys were burned or never came back");

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
        while (done < target.Length)
        {
            int at = offset + done;
            int count = Math.Min(target.Length - done, slice - (at % slice));
            await FragmentRepair.ReadWindowAsync(SetOf(arena), at / slice, at % slice, target.Slice(done, count), cancel).ConfigureAwait(false);
            done += count;
        }

        NoteOnce(arena, $"arena {arena.Ordinal}: some of it is damaged and was read from other fragments; run 'tdfs repair'");
        ArenaImage.Transform(domain, arena.Epoch, arena.Id, offset, target.Span);
    }

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

    private sealed record ArenasAt(ulong Sequence, IReadOnlyList<ArenaRecord> BestFirst);

    /// <param name="isAnyCopy">Any copy will do, as for reading; else the strongest is looked for, and the newest among equals.</param>
    internal ClumpPlace? Find(DomainId domain, Score score, bool isAnyCopy)
    {
        ArenasAt arenas = _arenas;
        ulong sequence = catalog.Sequence;
        if (arenas.Sequence != sequence)
        {
            ArenaRecord[] all = [.. catalog.Arenas().OrderBy(static arena => arena.State).ThenByDescending(static arena => arena.Survive).ThenByDescending(static arena => arena.Ordinal)];
            arenas = new ArenasAt(sequence, all);
            _arenas = arenas;
        }

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

    private ClumpPlace? FindIn(ArenaRecord arena, Score score)
    {
        ArenaDirectory directory;
        try
        {
            ValueTask<ArenaDirectory> pending = reader.DirectoryAsync(arena, CancellationToken.None);
            directory = pending.IsCompletedSuccessfully ? pending.Result : pending.AsTask().GetAwaiter().GetResult();
        }
        catch (Exception failure) when (failure is DamagedBlockException or DamagedFormatException)
        {
            return null; // an arena whose directory is lost holds nothing that can be found
        }

        int index = directory.Find(score);
        return index < 0 ? null : new ClumpPlace(arena, directory[index].Offset, directory[index].Length);
    }
}
