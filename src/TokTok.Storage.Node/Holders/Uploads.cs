using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>Fragments that are on their way to this node, in memory until the last byte is there.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.3, uploads. A table names its upload: who begins with the same one goes on where the bytes end. One that nobody touches for ten minutes is dropped.
/// Bounds: two of an account, 128 MiB in all. Locks: _gate guards the list; each upload has a turn of its own, which only the connection that writes into it holds.
/// </remarks>
internal sealed class Uploads(IRandomSource random, TimeProvider clock)
{
    private readonly Lock _gate = new();
    private readonly List<Upload> _all = [];

    /// <summary>The upload of this table: the one that is under way, or a new one.</summary>
    /// <exception cref="RefusalException">Too many, or no room.</exception>
    internal Upload Begin(Bytes32 account, PutTable table, PeerRoom room, long quotaBytes)
    {
        var writer = new FieldWriter(PutTable.MaxBytes);
        table.Write(writer);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(writer.Written, hash);
        Bytes32 name = Bytes32.Read(hash);
        lock (_gate)
        {
            DropStaleLocked();
            if (_all.Find(each => each.Account == account && each.TableHash == name) is { } known)
            {
                known.Touch();
                return known;
            }

            if (_all.Count(each => each.Account == account) >= Protocol.MaxUploadsPerAccount)
            {
                // The one that waits longest was given up by its sender, or is begun again.
                Upload? idle = _all.Where(each => each.Account == account && each.IsIdle).MinBy(static each => each.TouchedAt)
                    ?? throw new RefusalException(Protocol.Status.TooMany, $"{Protocol.MaxUploadsPerAccount} uploads are under way");
                DropLocked(idle);
            }

            if (_all.Sum(static each => (long)each.Buffer.Length) + table.TotalBytes > Protocol.MaxUploadBytes)
            {
                throw new RefusalException(Protocol.Status.TooMany, "others' uploads are under way");
            }

            var made = new Upload(account, name, Bytes16.New(random), table, room.Take(table.TotalBytes, quotaBytes), clock);
            _all.Add(made);
            return made;
        }
    }

    internal Upload? Find(Bytes32 account, Bytes16 id)
    {
        lock (_gate)
        {
            return _all.Find(each => each.Account == account && each.Id == id);
        }
    }

    internal void Drop(Upload upload)
    {
        lock (_gate)
        {
            DropLocked(upload);
        }
    }

    private void DropStaleLocked()
    {
        foreach (Upload stale in _all.FindAll(each => each.IsIdle && clock.GetElapsedTime(each.TouchedAt) > Protocol.UploadTime))
        {
            DropLocked(stale);
        }
    }

    private void DropLocked(Upload upload)
    {
        if (_all.Remove(upload))
        {
            upload.Room.Dispose();
        }
    }
}

/// <summary>One upload: its table, and the bytes that have come.</summary>
#pragma warning disable CA1001 // a semaphore that nobody asked for a wait handle holds nothing, and someone may be waiting for it still
internal sealed class Upload(Bytes32 account, Bytes32 tableHash, Bytes16 id, PutTable table, IDisposable room, TimeProvider clock)
{
    private readonly SemaphoreSlim _turn = new(1);
    private CancellationTokenSource? _writer;

    internal Bytes32 Account => account;

    internal Bytes32 TableHash => tableHash;

    internal Bytes16 Id => id;

    internal PutTable Table => table;

    /// <summary>What was taken for it; disposed of with it.</summary>
    internal IDisposable Room => room;

    internal byte[] Buffer { get; } = GC.AllocateUninitializedArray<byte>(checked((int)table.TotalBytes)); // read where bytes have come, and there alone

    internal int Received { get; private set; }

    internal bool IsIdle => _turn.CurrentCount > 0;

    internal long TouchedAt { get; private set; } = clock.GetTimestamp();

    internal void Touch() => TouchedAt = clock.GetTimestamp();

    /// <summary>The turn to write into it, once whoever has it was told to end: a connection that broke unseen does not block the next one.</summary>
    internal async ValueTask<Turn> EnterAsync(CancellationToken cancel)
    {
        CancellationTokenSource? before = _writer;
        if (before is not null)
        {
            await before.CancelAsync().ConfigureAwait(false);
        }

        await _turn.WaitAsync(cancel).ConfigureAwait(false);
        var mine = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        _writer = mine;
        return new Turn(this, mine);
    }

    internal void Add(int count)
    {
        Received += count;
        Touch();
    }

    /// <summary>The fragments, each hashed and compared with its name.</summary>
    /// <exception cref="RefusalException">One does not match.</exception>
    internal List<FragmentData> Check()
    {
        var fragments = new List<FragmentData>(table.Fragments.Count);
        Span<byte> root = stackalloc byte[Blake3.HashSize];
        for (int i = 0; i < table.Fragments.Count; i++)
        {
            ReadOnlyMemory<byte> bytes = Buffer.AsMemory(i * table.SliceBytes, table.SliceBytes);
            byte[] hashes = new byte[Blake3Tree.GroupCount(table.SliceBytes) * Blake3.HashSize];
            Blake3Tree.HashWithGroups(bytes.Span, hashes, root);
            HeldFragment fragment = table.Fragments[i];
            if (FragmentName.Read(root) != fragment.Name)
            {
                throw new RefusalException(Protocol.Status.Mismatch, $"the bytes of fragment {fragment.Index} do not match its name");
            }

            fragments.Add(new FragmentData(fragment.Index, bytes, fragment.Name, hashes));
        }

        return fragments;
    }

    internal sealed class Turn(Upload upload, CancellationTokenSource mine) : IDisposable
    {
        internal CancellationToken Cancel => mine.Token;

        public void Dispose()
        {
            Interlocked.CompareExchange(ref upload._writer, null, mine);
            upload._turn.Release();
        }
    }
}
