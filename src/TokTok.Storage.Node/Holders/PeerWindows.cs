using TokTok.Storage.Core;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>Windows of a peer's fragments that were proven against their names a moment ago, and what else needs not be asked twice.</summary>
/// <remarks>
/// Who reads from fewer fragments than there were asks a peer for one group after another: each would be a request of its own. A proven window and a proven list of hashes are true for ever; what a peer
/// says of an arena is believed for <see cref="s_claimTime"/>. What this process changes itself is forgotten here first.
/// Bounds: <see cref="MaxWindows"/> of 64 KiB, <see cref="MaxHashes"/> lists of at most 34 KiB, <see cref="MaxClaims"/> records. The one that came first goes first.
/// Locks: _gate guards everything; nothing waits inside.
/// </remarks>
internal sealed class PeerWindows(TimeProvider clock)
{
    private const int MaxWindows = 256;
    private const int MaxHashes = 128;
    private const int MaxClaims = 128;
    internal const int AheadBytes = 4 * Protocol.WindowBytes;

    private static readonly TimeSpan s_claimTime = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly FirstGoes<(ArenaId Id, int Index, int Window), byte[]> _windows = new(MaxWindows);
    private readonly FirstGoes<FragmentName, byte[]> _hashes = new(MaxHashes);
    private readonly FirstGoes<ArenaId, (HeldArena Arena, long At)> _claims = new(MaxClaims);
    private readonly FirstGoes<(ArenaId Id, int Index), long> _ends = new(MaxHashes); // where the last read of a fragment ended

    /// <summary>How much to ask for from an offset on: what is wanted, in whole windows, and more where a reader goes from one to the next.</summary>
    internal int Ahead(ArenaId id, int index, long offset, int wanted, int slice)
    {
        lock (_gate)
        {
            long bytes = _ends.TryGet((id, index), out long end) && end == offset ? Math.Max(wanted, AheadBytes) : wanted;
            _ends.Set((id, index), offset + wanted);
            long to = Math.Min(slice, (offset + bytes + Protocol.WindowBytes - 1) / Protocol.WindowBytes * Protocol.WindowBytes);
            return (int)(to - offset);
        }
    }

    /// <summary>How many bytes from an offset on are known here.</summary>
    internal int Read(ArenaId id, int index, long offset, Span<byte> target)
    {
        int done = 0;
        lock (_gate)
        {
            while (done < target.Length && _windows.TryGet((id, index, (int)((offset + done) / Protocol.WindowBytes)), out byte[]? window))
            {
                int from = (int)((offset + done) % Protocol.WindowBytes);
                int part = Math.Min(target.Length - done, window.Length - from);
                if (part <= 0)
                {
                    break;
                }

                window.AsSpan(from, part).CopyTo(target[done..]);
                done += part;
            }

            if (done > 0)
            {
                _ends.Set((id, index), offset + done);
            }
        }

        return done;
    }

    /// <summary>Keeps what was proven: the whole windows of a range, and the one with which the slice ends.</summary>
    internal void Add(ArenaId id, int index, int offset, ReadOnlySpan<byte> bytes, int slice)
    {
        lock (_gate)
        {
            for (int at = (offset + Protocol.WindowBytes - 1) / Protocol.WindowBytes * Protocol.WindowBytes; at < offset + bytes.Length; at += Protocol.WindowBytes)
            {
                int count = Math.Min(Protocol.WindowBytes, slice - at);
                if (at + count <= offset + bytes.Length)
                {
                    _windows.Set((id, index, at / Protocol.WindowBytes), bytes.Slice(at - offset, count).ToArray());
                }
            }
        }
    }

    internal byte[]? HashesOf(FragmentName name)
    {
        lock (_gate)
        {
            return _hashes.TryGet(name, out byte[]? hashes) ? hashes : null;
        }
    }

    internal void AddHashes(FragmentName name, byte[] hashes)
    {
        lock (_gate)
        {
            _hashes.Set(name, hashes);
        }
    }

    internal HeldArena? ClaimOf(ArenaId id)
    {
        lock (_gate)
        {
            return _claims.TryGet(id, out (HeldArena Arena, long At) claim) && clock.GetElapsedTime(claim.At) < s_claimTime ? claim.Arena : null;
        }
    }

    internal void AddClaim(HeldArena arena)
    {
        lock (_gate)
        {
            _claims.Set(arena.Id, (arena, clock.GetTimestamp()));
        }
    }

    /// <summary>What is said of an arena from here on counts anew: it is being changed. Windows and hashes go too, since whoever mends wants to see what is there.</summary>
    internal void Forget(ArenaId id, IEnumerable<FragmentName> names)
    {
        lock (_gate)
        {
            _claims.Remove(key => key == id);
            _windows.Remove(key => key.Id == id);
            foreach (FragmentName name in names)
            {
                _hashes.Remove(key => key == name);
            }
        }
    }

    /// <summary>A dictionary of bounded size, from which the first that came goes when it is full.</summary>
    private sealed class FirstGoes<TKey, TValue>(int max)
        where TKey : notnull
    {
        private readonly Dictionary<TKey, TValue> _all = [];
        private readonly Queue<TKey> _order = new();

        internal bool TryGet(TKey key, [System.Diagnostics.CodeAnalysis.MaybeNullWhen(false)] out TValue value) => _all.TryGetValue(key, out value);

        internal void Set(TKey key, TValue value)
        {
            if (!_all.ContainsKey(key))
            {
                while (_order.Count >= max)
                {
                    _all.Remove(_order.Dequeue());
                }

                _order.Enqueue(key);
            }

            _all[key] = value;
        }

        internal void Remove(Func<TKey, bool> isGone)
        {
            foreach (TKey key in _all.Keys.Where(isGone).ToList())
            {
                _all.Remove(key); // its place in the order is taken until its turn: fewer are kept meanwhile
            }
        }
    }
}
