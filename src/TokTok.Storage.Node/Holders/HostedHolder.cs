using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>What is kept for one account: a holder, the room that it may take, and what it has released.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.5, docs/format.md 17.2. Every arena and object is known here from the opening on, so that what is absent is answered without the disk, and a question for somebody
/// else's arena is one for an absent arena. Released arenas are as absent, until they are brought back.
/// Locks: _gate serialises what changes arenas, objects or releases, with the holder's own gate inside; reads take none but for the cache of hashes.
/// Calls block on the disk: the service runs them on threads that may.
/// </remarks>
internal sealed class HostedHolder : IDisposable
{
    private const int CachedHashes = 64;

    private readonly SemaphoreSlim _gate = new(1);
    private readonly IFragmentHolder _holder;
    private readonly Releases _releases;
    private readonly Func<uint> _day;
    private readonly Lock _cacheGate = new();
    private readonly Dictionary<(ArenaId Id, int Index), Cached?> _cache = [];

    private HostedHolder(IFragmentHolder holder, Releases releases, PeerRoom room, Func<uint> day) => (_holder, _releases, Room, _day) = (holder, releases, room, day);

    internal PeerRoom Room { get; }

    internal HolderId Id => _holder.Id;

    internal uint LastReleaseDay => _releases.LastDay;

    /// <summary>Looks at everything that is there: once, when the account first asks for anything.</summary>
    internal static async ValueTask<HostedHolder> OpenAsync(IFragmentHolder holder, Releases releases, DiskFloor floor, Func<uint> day, CancellationToken cancel)
    {
        var room = new PeerRoom(floor);
        foreach (HeldArenaEntry entry in await holder.ListAsync(cancel).ConfigureAwait(false))
        {
            room.SetArena(entry.Id, room.BytesOf(entry.Id) + BytesOf(entry.Arena));
        }

        foreach (HolderObject each in await holder.ListObjectsAsync("", cancel).ConfigureAwait(false))
        {
            room.SetObject(each.Name, each.Length);
        }

        return new HostedHolder(holder, releases, room, day);
    }

    internal (int Count, long Bytes) Released()
    {
        ArenaId[] all = [.. _releases.All];
        return (all.Length, all.Sum(Room.BytesOf));
    }

    /// <summary>Deletes what was released long enough ago.</summary>
    internal async ValueTask<int> PurgeDueAsync(CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            IReadOnlyList<ArenaId> due = _releases.DueOn(_day());
            foreach (ArenaId id in due)
            {
                await _holder.PurgeAsync(id, cancel).ConfigureAwait(false);         // 1. a crash here leaves a release of nothing
                await CountAsync(id, cancel).ConfigureAwait(false);
            }

            _releases.Remove(due);                                                  // 2.
            return due.Count;
        }
        finally
        {
            _gate.Release();
        }
    }

    internal async ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel) =>
        IsHere(id) ? await _holder.InspectAsync(id, cancel).ConfigureAwait(false) : null;

    /// <summary>The arenas behind one, those in the trash too: known here, so that a list costs no more than the records of those it names. Released ones are not there.</summary>
    internal IReadOnlyList<ArenaId> Behind(ArenaId after, int count)
    {
        var ids = new List<ArenaId>();
        while (ids.Count < count)
        {
            IReadOnlyList<ArenaId> next = Room.Behind(after, count - ids.Count);
            if (next.Count == 0)
            {
                break;
            }

            after = next[^1];
            ids.AddRange(next.Where(id => !_releases.Has(id)));
        }

        return ids;
    }

    internal async ValueTask PutAsync(PutTable table, IReadOnlyList<FragmentData> fragments, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await TakeBackLockedAsync(table.Id, cancel).ConfigureAwait(false);
            ValueTask put = table.Replaces
                ? _holder.ReplaceAsync(table.Id, table.DataFragments, table.ParityFragments, table.SliceBytes, fragments, cancel)
                : _holder.PutAsync(table.Id, table.DataFragments, table.ParityFragments, table.SliceBytes, fragments, cancel);
            await put.ConfigureAwait(false);
            await CountAsync(table.Id, cancel).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
            Forget(table.Id);
        }
    }

    /// <summary>Raw bytes, with the hashes that prove them where they are known and of this slice: how many bytes, or -1.</summary>
    internal async ValueTask<(int Count, byte[]? Hashes)> ReadAsync(ArenaId id, int index, int slice, int offset, Memory<byte> target, CancellationToken cancel)
    {
        if (!IsHere(id))
        {
            return (-1, null);
        }

        Cached? cached = await CachedAsync(id, index, cancel).ConfigureAwait(false);
        int read = await _holder.ReadAsync(id, index, offset, target, cancel).ConfigureAwait(false);
        return (read, read == target.Length && cached?.SliceBytes == slice ? cached.Hashes : null);
    }

    internal async ValueTask<byte[]?> HashesAsync(ArenaId id, int index, FragmentName name, CancellationToken cancel) =>
        IsHere(id) ? await _holder.ReadGroupHashesAsync(id, index, name, cancel).ConfigureAwait(false) : null;

    internal async ValueTask<int> SalvageAsync(ArenaId id, int slice, IReadOnlyList<int> held, int index, Memory<byte> target, CancellationToken cancel) =>
        IsHere(id) ? await _holder.SalvageAsync(id, slice, held, index, target, cancel).ConfigureAwait(false) : -1;

    /// <summary>Something done to an arena that is here, alone.</summary>
    internal async ValueTask ChangeAsync(ArenaId id, Func<IFragmentHolder, ValueTask> change, CancellationToken cancel)
    {
        if (!IsHere(id))
        {
            return;
        }

        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await change(_holder).ConfigureAwait(false);
            await CountAsync(id, cancel).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
            Forget(id);
        }
    }

    /// <param name="fromTrash">Only what is in the trash already; else only what is not.</param>
    /// <param name="mayAsk">Throws where whoever asks is not let in any more: nothing is released behind a <see cref="CancelReleasesAsync"/> that its revocation caused.</param>
    internal async ValueTask ReleaseAsync(ArenaId id, bool fromTrash, Action mayAsk, CancellationToken cancel)
    {
        if (!IsHere(id))
        {
            return;
        }

        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            mayAsk();
            bool isInTrash;
            try
            {
                isInTrash = await _holder.InspectAsync(id, cancel).ConfigureAwait(false) is { IsInTrash: true };
            }
            catch (DamagedFormatException)
            {
                // Which of the two nobody can say; moving it there settles it, and it can be brought back as any other.
                isInTrash = fromTrash;
            }

            if (isInTrash == fromTrash)
            {
                await _holder.TrashAsync(id, cancel).ConfigureAwait(false);         // 1. a crash here leaves an arena in the trash, where its owner releases it again
                _releases.Add(id, _day());                                          // 2.
            }
        }
        finally
        {
            _gate.Release();
            Forget(id);
        }
    }

    /// <summary>Releases everything, what is in the trash too: nobody was heard of for as long as was agreed on.</summary>
    internal async ValueTask<int> ReleaseAllAsync(CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            ArenaId[] all = [.. (await _holder.ListAsync(cancel).ConfigureAwait(false)).Select(static entry => entry.Id).Where(IsHere)];
            foreach (ArenaId id in all)
            {
                await _holder.TrashAsync(id, cancel).ConfigureAwait(false);         // 1. as in ReleaseAsync
            }

            _releases.Add(all, _day());                                             // 2.
            return all.Length;
        }
        finally
        {
            _gate.Release();
        }
    }

    internal async ValueTask RestoreAsync(ArenaId id, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await TakeBackLockedAsync(id, cancel).ConfigureAwait(false);
            if (Room.Has(id))
            {
                await _holder.RestoreAsync(id, cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            _gate.Release();
            Forget(id);
        }
    }

    internal async ValueTask<int> CancelReleasesAsync(CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            ArenaId[] all = [.. _releases.All];
            foreach (ArenaId id in all)
            {
                await _holder.RestoreAsync(id, cancel).ConfigureAwait(false);       // 1. a crash leaves arenas that are here and released: the next cancel goes on
            }

            _releases.Remove(all);                                                  // 2.
            return all.Length;
        }
        finally
        {
            _gate.Release();
        }
    }

    internal ValueTask<IReadOnlyList<HolderObject>> ObjectsAsync(string prefix, CancellationToken cancel) => _holder.ListObjectsAsync(prefix, cancel);

    internal async ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel) =>
        Room.LengthOf(name) > offset ? await _holder.ReadObjectAsync(name, offset, target, cancel).ConfigureAwait(false) : 0;

    internal async ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, long quotaBytes, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            long length = Room.LengthOf(name);
            if (offset > 0 && offset != length)
            {
                // The answer to the same append may have been lost.
                byte[] there = new byte[bytes.Length];
                if (offset + bytes.Length != length || await FillAsync(name, offset, there, cancel).ConfigureAwait(false) != there.Length || !there.AsSpan().SequenceEqual(bytes.Span))
                {
                    throw new RefusalException(Protocol.Status.Conflict, $"the object has {length} bytes, {offset} expected");
                }

                if (isSynced)
                {
                    await _holder.AppendObjectAsync(name, length, default, isSynced: true, cancel).ConfigureAwait(false);
                }

                return;
            }

            Room.CheckObject(name, offset + bytes.Length, quotaBytes);
            await _holder.AppendObjectAsync(name, offset, bytes, isSynced, cancel).ConfigureAwait(false);
            Room.SetObject(name, offset + bytes.Length);
        }
        finally
        {
            _gate.Release();
        }
    }

    internal async ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, long quotaBytes, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            Room.CheckObject(name, bytes.Length, quotaBytes);
            await _holder.PutObjectAsync(name, bytes, cancel).ConfigureAwait(false);
            Room.SetObject(name, bytes.Length);
        }
        finally
        {
            _gate.Release();
        }
    }

    internal async ValueTask DeleteObjectAsync(string name, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await _holder.DeleteObjectAsync(name, cancel).ConfigureAwait(false);
            Room.RemoveObject(name);
        }
        finally
        {
            _gate.Release();
        }
    }

    public void Dispose()
    {
        (_holder as IDisposable)?.Dispose();
        _gate.Dispose();
    }

    internal bool IsReleased(ArenaId id) => _releases.Has(id);

    private bool IsHere(ArenaId id) => Room.Has(id) && !_releases.Has(id);

    private static long BytesOf(HeldArena? arena) => arena is null ? 0 : (long)arena.Fragments.Count * arena.SliceBytes;

    private async ValueTask TakeBackLockedAsync(ArenaId id, CancellationToken cancel)
    {
        if (_releases.Has(id))
        {
            await _holder.RestoreAsync(id, cancel).ConfigureAwait(false);
            _releases.Remove([id]);
        }
    }

    /// <summary>What lies there after a change.</summary>
    private async ValueTask CountAsync(ArenaId id, CancellationToken cancel)
    {
        try
        {
            if (await _holder.InspectAsync(id, cancel).ConfigureAwait(false) is { } arena)
            {
                Room.SetArena(id, BytesOf(arena));
            }
            else
            {
                Room.RemoveArena(id);
            }
        }
        catch (DamagedFormatException)
        {
            Room.SetArena(id, 0);
        }
    }

    private async ValueTask<int> FillAsync(string name, long offset, Memory<byte> target, CancellationToken cancel)
    {
        int filled = 0;
        while (filled < target.Length && await _holder.ReadObjectAsync(name, offset + filled, target[filled..], cancel).ConfigureAwait(false) is > 0 and int part)
        {
            filled += part;
        }

        return filled;
    }

    private async ValueTask<Cached?> CachedAsync(ArenaId id, int index, CancellationToken cancel)
    {
        lock (_cacheGate)
        {
            if (_cache.TryGetValue((id, index), out Cached? known))
            {
                return known;
            }
        }

        Cached? found = null;
        if (await _holder.InspectAsync(id, cancel).ConfigureAwait(false) is { } arena)
        {
            HeldFragment fragment = arena.Fragments.FirstOrDefault(each => each.Index == index);
            byte[]? hashes = arena.Fragments.Contains(fragment) ? await _holder.ReadGroupHashesAsync(id, index, fragment.Name, cancel).ConfigureAwait(false) : null;
            found = hashes?.Length == Blake3Tree.GroupCount(arena.SliceBytes) * Blake3.HashSize ? new Cached(arena.SliceBytes, hashes) : null;
        }

        lock (_cacheGate)
        {
            if (_cache.Count >= CachedHashes)
            {
                _cache.Clear();
            }

            _cache[(id, index)] = found;
        }

        return found;
    }

    private void Forget(ArenaId id)
    {
        lock (_cacheGate)
        {
            foreach ((ArenaId Id, int Index) key in _cache.Keys.Where(key => key.Id == id).ToList())
            {
                _cache.Remove(key);
            }
        }
    }

    private sealed record Cached(int SliceBytes, byte[] Hashes);
}
