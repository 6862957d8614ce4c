using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>What a reader knows of a fragment by its own catalog: the name of its bytes, and how many they are.</summary>
public readonly record struct ExpectedFragment(FragmentName Name, int SliceBytes);

/// <summary>A holder that is a peer: every call is a request to it.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.3. A peer that does not answer is <see cref="DiskFailure.Unreachable"/>, as a disk that was pulled out; one that refuses for its quota is <see cref="DiskFailure.Full"/>.
/// So is one whose disk was replaced meanwhile: what is put there would lie at a holder that no catalog knows, under the name of one that is gone (<see cref="PeerConnection.IsReplaced"/>).
/// Nothing that it says is trusted: lengths are bounded, and each window of a fragment is checked against the name that <see cref="Expected"/> knows. A window that does not match is told once for
/// each arena and handed on as it is: who reads has another fragment, or mends the group in place.
/// Locks: _gate guards _shapes, _told and _short; nothing waits inside.
/// </remarks>
public sealed partial class PeerHolder : IFragmentHolder, IDisposable
{
    private const int ListBytes = sizeof(ushort) + (Protocol.MaxListedAtOnce * (ArenaId.Size + ArenaRecords.MaxBytes));
    private const int KnownShapes = 4096;

    private readonly Lock _gate = new();
    private readonly PeerConnection _peer;
    private readonly Action<string>? _note;
    private readonly Dictionary<ArenaId, int> _shapes = []; // slices, as the peer says, of arenas that the catalog does not know
    private readonly HashSet<ArenaId> _told = [];
    private readonly PeerWindows _known;
    private readonly IRandomSource _random;
    private (string Name, long End, int Count) _short = ("", 0, 0); // answers in a row that ended an object early

    private PeerHolder(PeerConnection peer, HelloAnswer hello, Action<string>? note, IRandomSource random)
    {
        (_peer, Hello, _note, _known, _random) = (peer, hello, note, new PeerWindows(peer.Clock), random);
        peer.Mean(hello.Holder);
    }

    public HolderId Id => Hello.Holder;

    public bool IsSlow => _peer.IsSlow;

    public TimeSpan? Patience(int bytes) => _peer.Patience(bytes);

    public string Name => _peer.Name;

    public PeerConnection Connection => _peer;

    /// <summary>What it said when it was opened.</summary>
    public HelloAnswer Hello { get; }

    /// <summary>What is known of a fragment; null from it, or none: nothing.</summary>
    public Func<ArenaId, int, ExpectedFragment?>? Expected { get; set; }

    /// <summary>Windows that were not what their names say.</summary>
    public long WrongWindows { get; private set; }

    /// <summary>Meets the peer. The holder disposes of the connection.</summary>
    /// <exception cref="PeerException">It does not answer, or does not let us in.</exception>
    public static async ValueTask<PeerHolder> OpenAsync(PeerConnection peer, Action<string>? note, CancellationToken cancel, IRandomSource? random = null)
    {
        ArgumentNullException.ThrowIfNull(peer);
        byte[] answer = await peer.AskAsync(Protocol.Operation.Hello, default, HelloAnswer.MaxBytes, cancel).ConfigureAwait(false);
        try
        {
            return new PeerHolder(peer, HelloAnswer.Read(answer), note, random ?? SystemRandom.Instance);
        }
        catch (DamagedFormatException bad)
        {
            throw new PeerException(PeerProblem.BadAnswer, $"{peer.Where}: {bad.Message}");
        }
    }

    public ValueTask PutAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel) =>
        UploadAsync(id, false, dataFragments, parityFragments, sliceBytes, fragments, cancel);

    public ValueTask ReplaceAsync(ArenaId id, int dataFragments, int parityFragments, int sliceBytes, IReadOnlyList<FragmentData> fragments, CancellationToken cancel) =>
        UploadAsync(id, true, dataFragments, parityFragments, sliceBytes, fragments, cancel);

    public async ValueTask<int> ReadAsync(ArenaId id, int fragmentIndex, long offset, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ExpectedFragment? expected = Expected?.Invoke(id, fragmentIndex);
        int slice = expected?.SliceBytes ?? await SliceAsync(id, cancel).ConfigureAwait(false);
        if (slice == 0)
        {
            return -1;
        }

        int wanted = (int)Math.Clamp(slice - offset, 0, target.Length);
        int done = expected is null ? 0 : _known.Read(id, fragmentIndex, offset, target.Span[..wanted]);
        while (done < wanted)
        {
            int asked = Math.Min(expected is null ? wanted - done : _known.Ahead(id, fragmentIndex, offset + done, wanted - done, slice), Protocol.MaxReadBytes - Protocol.WindowBytes);
            (int from, int count) = FragmentWindows.Widen(slice, offset + done, asked);
            if (from == offset + done && count <= wanted - done && count >= PeerWindows.AheadBytes)
            {
                // As much as this is not asked for twice: it goes where it is wanted, and is not kept.
                int came = await ReadWindowsAsync(id, fragmentIndex, slice, from, target.Slice(done, count), expected, isKept: false, cancel).ConfigureAwait(false);
                if (came < 0)
                {
                    return -1;
                }

                done += came;
                if (came < count)
                {
                    break;
                }

                continue;
            }

            byte[] bytes = new byte[count];
            int read = await ReadWindowsAsync(id, fragmentIndex, slice, from, bytes, expected, isKept: true, cancel).ConfigureAwait(false);
            if (read < 0)
            {
                return -1;
            }

            int skipped = (int)(offset + done - from);
            int part = Math.Clamp(read - skipped, 0, wanted - done);
            bytes.AsMemory(skipped, part).CopyTo(target[done..]);
            done += part;
            if (read < count)
            {
                break; // the copy is cut short
            }
        }

        // Who asks for nothing learns whether the fragment is there all the same.
        return wanted > 0 || await InspectAsync(id, cancel).ConfigureAwait(false) is { } held && held.Fragments.Any(each => each.Index == fragmentIndex) ? done : -1;
    }

    public async ValueTask<byte[]?> ReadGroupHashesAsync(ArenaId id, int fragmentIndex, FragmentName expected, CancellationToken cancel)
    {
        if (_known.HashesOf(expected) is { } known)
        {
            return known;
        }

        var writer = new FieldWriter(ArenaId.Size + 2 + FragmentName.Size);
        id.Write(writer.Take(ArenaId.Size));
        writer.U16((ushort)fragmentIndex);
        expected.Write(writer.Take(FragmentName.Size));
        byte[] answer = await AskAsync(Protocol.Operation.Hashes, writer.WrittenMemory, 1 + (Protocol.MaxGroups * Blake3.HashSize), cancel).ConfigureAwait(false);
        // Every cut through the tree folds to the name, one of a few large branches too: the list must have the length of the fragment's groups.
        int slice = Expected?.Invoke(id, fragmentIndex)?.SliceBytes ?? 0;
        if (answer.Length < 1 + Blake3.HashSize || answer[0] != 1 || (answer.Length - 1) % Blake3.HashSize != 0
            || (slice > 0 && answer.Length - 1 != Blake3Tree.GroupCount(slice) * Blake3.HashSize))
        {
            return null;
        }

        byte[] root = new byte[Blake3.HashSize];
        Blake3Tree.RootFromGroups(answer.AsSpan(1), root);
        if (FragmentName.Read(root) != expected)
        {
            return null;
        }

        if (slice > 0)
        {
            _known.AddHashes(expected, answer[1..]);
        }

        return answer[1..];
    }

    public async ValueTask<HeldArena?> InspectAsync(ArenaId id, CancellationToken cancel)
    {
        if (_known.ClaimOf(id) is { } claimed)
        {
            return claimed;
        }

        byte[] request = new byte[2 + ArenaId.Size];
        request[0] = 1;
        id.Write(request.AsSpan(2));
        byte[] answer = await AskAsync(Protocol.Operation.Inspect, request, ArenaRecords.MaxBytes, cancel).ConfigureAwait(false);
        (HeldArena? arena, string? damage, _) = Parsed(() =>
        {
            var reader = new FieldReader(answer, "inspect");
            (HeldArena? Arena, string? Damage, bool IsInTrash) record = ArenaRecords.Read(ref reader, id);
            reader.End();
            return record;
        });
        if (arena is not null)
        {
            _known.AddClaim(arena);
        }

        return damage is null ? arena : throw new DamagedFormatException($"{_peer.Name}: {Printable(damage)}");
    }

    public ValueTask SettleAsync(ArenaId id, CancellationToken cancel) => MoveAsync(Protocol.Operation.Settle, id, cancel);

    public async ValueTask<int> SalvageAsync(ArenaId id, int sliceBytes, IReadOnlyList<int> heldIndexes, int fragmentIndex, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(heldIndexes);
        var writer = new FieldWriter(256);
        id.Write(writer.Take(ArenaId.Size));
        writer.U32((uint)sliceBytes);
        writer.U16((ushort)fragmentIndex);
        writer.U16((ushort)heldIndexes.Count);
        foreach (int index in heldIndexes)
        {
            writer.U16((ushort)index);
        }

        byte[] answer = await AskAsync(Protocol.Operation.Salvage, writer.WrittenMemory, 8 + sliceBytes, cancel).ConfigureAwait(false);
        return Parsed(() =>
        {
            var reader = new FieldReader(answer, "salvage");
            bool isPresent = reader.U8() == 1;
            reader.Reserved(3);
            ReadOnlySpan<byte> bytes = reader.Bytes(reader.Count(sliceBytes, "the count"));
            reader.End();
            int count = Math.Min(bytes.Length, target.Length);
            bytes[..count].CopyTo(target.Span);
            return isPresent ? count : -1;
        });
    }

    public async ValueTask RewriteGroupsAsync(ArenaId id, int fragmentIndex, IReadOnlyList<int> groups, ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(groups);
        var writer = new FieldWriter(256);
        id.Write(writer.Take(ArenaId.Size));
        writer.U16((ushort)fragmentIndex);
        writer.U16((ushort)groups.Count);
        foreach (int group in groups)
        {
            writer.U32((uint)group);
        }

        Forget(id);
        _ = await AskAsync(Protocol.Operation.Rewrite, writer.WrittenMemory, bytes, 0, cancel).ConfigureAwait(false);
    }

    public async ValueTask MendAsync(ArenaId id, IReadOnlyList<FragmentHashes> hashes, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(hashes);
        var writer = new FieldWriter(4096);
        id.Write(writer.Take(ArenaId.Size));
        writer.U16((ushort)hashes.Count);
        foreach (FragmentHashes each in hashes)
        {
            writer.U16((ushort)each.Index);
            writer.U32((uint)each.GroupHashes.Length);
            writer.Bytes(each.GroupHashes.Span);
        }

        Forget(id);
        _ = await AskAsync(Protocol.Operation.Mend, writer.WrittenMemory, 0, cancel).ConfigureAwait(false);
    }

    public async ValueTask<IReadOnlyList<HeldArenaEntry>> ListAsync(CancellationToken cancel)
    {
        var all = new List<HeldArenaEntry>();
        ArenaId last = default;
        for (long bytes = 0; ;)
        {
            byte[] request = new byte[ArenaId.Size];
            last.Write(request);
            byte[] answer = await AskAsync(Protocol.Operation.List, request, ListBytes, cancel).ConfigureAwait(false);
            bytes += answer.Length;
            if (all.Count > Protocol.MaxListed || bytes > Protocol.MaxListingBytes)
            {
                throw Translated(new PeerException(PeerProblem.BadAnswer, $"{_peer.Where}: lists more than {Protocol.MaxListed} arenas or {Protocol.MaxListingBytes} bytes"));
            }

            int count = all.Count;
            last = Parsed(() => ReadList(answer, last, all));
            if (all.Count == count)
            {
                return all;
            }
        }
    }

    private static ArenaId ReadList(byte[] answer, ArenaId last, List<HeldArenaEntry> all)
    {
        var reader = new FieldReader(answer, "list");
        int count = reader.U16();
        for (int i = 0; i < count; i++)
        {
            ArenaId id = ArenaId.Read(reader.Bytes(ArenaId.Size));
            if (count > Protocol.MaxListedAtOnce || PeerRoom.Compare(id, last) <= 0)
            {
                throw reader.Damaged($"found {count} arenas, or one out of order, expected at most {Protocol.MaxListedAtOnce}, ascending");
            }

            (HeldArena? arena, string? damage, bool isInTrash) = ArenaRecords.Read(ref reader, id);
            all.Add(new HeldArenaEntry(id, isInTrash, arena, arena is null ? Printable(damage ?? "nothing is kept of it") : null));
            last = id;
        }

        reader.End();
        return last;
    }

    public ValueTask TrashAsync(ArenaId id, CancellationToken cancel) => MoveAsync(Protocol.Operation.Trash, id, cancel);

    public ValueTask RestoreAsync(ArenaId id, CancellationToken cancel) => MoveAsync(Protocol.Operation.Restore, id, cancel);

    public ValueTask PurgeAsync(ArenaId id, CancellationToken cancel) => MoveAsync(Protocol.Operation.Purge, id, cancel);

    public ValueTask DeleteAsync(ArenaId id, CancellationToken cancel) => MoveAsync(Protocol.Operation.Delete, id, cancel);

    /// <summary>Takes back everything that this account released there in the last 30 days; says how many arenas that were.</summary>
    public async ValueTask<long> CancelReleasesAsync(CancellationToken cancel)
    {
        byte[] answer = await AskAsync(Protocol.Operation.CancelReleases, default, sizeof(uint), cancel).ConfigureAwait(false);
        return Parsed(() => new FieldReader(answer, "cancel-releases").U32());
    }

    /// <summary>Renews the lease, as every request does, and says what it is.</summary>
    public async ValueTask<LeaseTerms> RenewAsync(CancellationToken cancel)
    {
        byte[] answer = await AskAsync(Protocol.Operation.Renew, default, LeaseTerms.Size, cancel).ConfigureAwait(false);
        return Parsed(() => LeaseTerms.Read(answer));
    }

    public void Dispose() => _peer.Dispose();

    private async ValueTask UploadAsync(ArenaId id, bool replaces, int data, int parity, int slice, IReadOnlyList<FragmentData> fragments, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(fragments);
        FragmentData[] ordered = [.. fragments.OrderBy(static fragment => fragment.Index)];
        var table = new PutTable(id, replaces, data, parity, slice, [.. ordered.Select(static fragment => new HeldFragment(fragment.Index, fragment.Name))]);
        byte[]? joined = ordered.Length == 1 ? null : GC.AllocateUninitializedArray<byte>(checked((int)table.TotalBytes));
        for (int i = 0; i < ordered.Length; i++)
        {
            if (ordered[i].Bytes.Length != slice)
            {
                throw new ArgumentException($"fragment {ordered[i].Index} has {ordered[i].Bytes.Length} bytes, its arena's slice has {slice}", nameof(fragments));
            }

            if (joined is not null)
            {
                ordered[i].Bytes.CopyTo(joined.AsMemory(i * slice));
            }
        }

        Forget(id);
        try
        {
            if (!await new PeerUpload(_peer, table, joined ?? ordered[0].Bytes).RunAsync(cancel).ConfigureAwait(false))
            {
                await AskForProofAsync(table, cancel).ConfigureAwait(false);
            }
        }
        catch (PeerException failure)
        {
            throw Translated(failure);
        }
    }

    /// <summary>Whoever says that it has fragments already, before a byte of them was sent, shows a window of each.</summary>
    private async ValueTask AskForProofAsync(PutTable table, CancellationToken cancel)
    {
        foreach (HeldFragment fragment in table.Fragments)
        {
            (int offset, int count) = FragmentWindows.Random(table.SliceBytes, _random);
            if (await AuditAsync(table.Id, fragment.Index, new ExpectedFragment(fragment.Name, table.SliceBytes), offset, count, cancel).ConfigureAwait(false) != AuditOutcome.Proven)
            {
                throw Translated(new PeerException(PeerProblem.BadAnswer, $"{_peer.Where}: says that it keeps fragment {fragment.Index} of arena {table.Id} already, and cannot show it"));
            }
        }
    }

    private async ValueTask<int> ReadWindowsAsync(ArenaId id, int index, int slice, int offset, Memory<byte> target, ExpectedFragment? expected, bool isKept, CancellationToken cancel)
    {
        int read;
        bool isRight;
        try
        {
            (read, isRight) = await AskForWindowsAsync(id, index, slice, offset, target, expected, cancel).ConfigureAwait(false);
        }
        catch (PeerException failure)
        {
            throw Translated(failure);
        }

        if (!isRight)
        {
            Tell(id, index);
        }
        else if (isKept && read == target.Length && expected is not null)
        {
            _known.Add(id, index, offset, target.Span, slice);
        }

        return read;
    }

    /// <exception cref="PeerException">It gave no answer, or none that the protocol allows.</exception>
    private async ValueTask<(int Read, bool IsRight)> AskForWindowsAsync(ArenaId id, int index, int slice, int offset, Memory<byte> target, ExpectedFragment? expected, CancellationToken cancel)
    {
        var writer = new FieldWriter(ArenaId.Size + 16);
        id.Write(writer.Take(ArenaId.Size));
        writer.U16((ushort)index);
        writer.U16(0);
        writer.U32((uint)slice);
        writer.U32((uint)offset);
        writer.U32((uint)target.Length);
        (int Read, bool IsRight) found = default;
        try
        {
            await _peer.AskAsync(
                Protocol.Operation.Read, writer.WrittenMemory, FragmentWindows.HeadBytes + FragmentWindows.BytesOf(slice, offset, target.Length, proven: true),
                async answer => found = await FragmentWindows.ReadAsync(answer.FillAsync, slice, offset, target, expected?.Name).ConfigureAwait(false), cancel).ConfigureAwait(false);
            return found;
        }
        catch (DamagedFormatException bad)
        {
            throw BadAnswer(bad);
        }
    }

    private void Tell(ArenaId id, int index)
    {
        lock (_gate)
        {
            WrongWindows++;
            if (!_told.Add(id))
            {
                return;
            }
        }

        _note?.Invoke($"peer {_peer.Name}: what it gives of fragment {index} of arena {id} is not what was put there, or cannot be proven; it is read elsewhere, and 'tdfs repair' mends it");
    }

    /// <summary>The slice of an arena that the catalog does not know, as the peer says; 0: it has none.</summary>
    private async ValueTask<int> SliceAsync(ArenaId id, CancellationToken cancel)
    {
        lock (_gate)
        {
            if (_shapes.TryGetValue(id, out int known))
            {
                return known;
            }
        }

        int slice = (await InspectAsync(id, cancel).ConfigureAwait(false))?.SliceBytes ?? 0;
        lock (_gate)
        {
            if (_shapes.Count >= KnownShapes)
            {
                _shapes.Clear();
            }

            if (slice > 0)
            {
                _shapes[id] = slice;
            }
        }

        return slice;
    }

    private async ValueTask MoveAsync(string operation, ArenaId id, CancellationToken cancel)
    {
        byte[] request = new byte[ArenaId.Size];
        id.Write(request);
        Forget(id);
        _ = await AskAsync(operation, request, 0, cancel).ConfigureAwait(false);
    }

    private ValueTask<byte[]> AskAsync(string operation, ReadOnlyMemory<byte> request, int maxAnswerBytes, CancellationToken cancel) =>
        AskAsync(operation, request, default, maxAnswerBytes, cancel);

    private async ValueTask<byte[]> AskAsync(string operation, ReadOnlyMemory<byte> head, ReadOnlyMemory<byte> body, int maxAnswerBytes, CancellationToken cancel)
    {
        try
        {
            return await _peer.AskAsync(operation, head, body, maxAnswerBytes, cancel).ConfigureAwait(false);
        }
        catch (PeerException failure)
        {
            throw Translated(failure);
        }
    }

    private void Forget(ArenaId id)
    {
        lock (_gate)
        {
            _shapes.Remove(id);
        }

        _known.Forget(id, _known.ClaimOf(id)?.Fragments.Select(static fragment => fragment.Name) ?? []);
    }

    /// <summary>In the words of <see cref="IFragmentHolder"/>.</summary>
    private static Exception Translated(PeerException failure) => failure.Problem switch
    {
        PeerProblem.Damaged => new DamagedFormatException(failure.Message),
        PeerProblem.Full => new DiskException(DiskFailure.Full, "keep at", "peer", failure.Message),
        PeerProblem.Refused or PeerProblem.BadAnswer => new DiskException(DiskFailure.Failed, "ask", "peer", failure.Message),
        _ => new DiskException(DiskFailure.Unreachable, "reach", "peer", failure.Message),
    };

    /// <summary>An answer that is not of the form is the peer's failure, and not damage of an arena.</summary>
    private T Parsed<T>(Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (DamagedFormatException bad)
        {
            throw Translated(BadAnswer(bad));
        }
    }

    private PeerException BadAnswer(DamagedFormatException bad) => new(PeerProblem.BadAnswer, $"{_peer.Where}: {bad.Message}");

    private static string Printable(string text) => new([.. text.Select(static c => char.IsControl(c) ? '?' : c)]);
}
