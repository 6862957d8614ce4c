using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Journals;

/// <summary>A clump that is durable and not yet in a sealed arena.</summary>
internal sealed record JournalClump(DomainId Domain, uint Epoch, int Survive, BlockType Type, int PlainBytes, uint Date, Score Score, ReadOnlyMemory<byte> Bytes);

/// <summary>What is durable before an arena is sealed, and before a root includes it: clumps of open arenas and intents of volumes, as records of a log that is copied to holders.</summary>
/// <remarks>
/// Format: docs/format.md 8. Not safe from many threads: the store's flush lock is held around every call.
/// Durable: a clump once <see cref="Sync"/> returned (here) and <see cref="PublishAsync"/> (at 1 + survive places).
/// Order at the end of a file's life: the catalog names the sealed arenas durably, then the next number is begun, filled and synced, then the old file goes.
/// </remarks>
internal sealed class Journal : IDisposable
{
    private const byte ClumpKind = 1;
    internal const byte CarriedKind = 2;
    internal const byte IntentKind = 16;
    private const int ClumpHeaderSize = 1 + DomainId.Size + sizeof(uint) + 1 + 1 + 1 + sizeof(uint) + sizeof(uint) + Score.Size;

    private readonly LogCopies _copies;
    private readonly IRandomSource _random;
    private readonly FieldWriter _body = new(64 * 1024);
    private RecordLogWriter? _writer;
    private ulong _newestNumber;
    private LogCopy? _newest;
    private LogCopy? _continuable;
    private RecordLogExtent _extent;
    private List<LogCopy> _others = [];
    private ulong _incarnation;
    private bool _isAnotherLine;
    private (RecordLogWriter? Writer, long Bytes) _published;

    /// <summary>Intents that the loaded files of the folder's own line hold.</summary>
    internal List<Intent> OwnIntents { get; } = [];

    /// <summary>Those of other lines, once they are read.</summary>
    internal List<Intent> OtherIntents { get; } = [];

    private Journal(LogCopies copies, IRandomSource random)
    {
        _copies = copies;
        _random = random;
    }

    internal IReadOnlyDictionary<HolderId, string> Lag => _copies.Lag;

    /// <summary>Whether a write or sync failed: nothing more can be appended.</summary>
    internal bool HasFailed => _writer is { HasFailed: true };

    /// <summary>Bytes of clump records in the file that is being written, sealed ones included.</summary>
    internal long FileBytes => _writer?.LengthBytes ?? 0;

    internal (RecordLogHeader Header, long Bytes)? Position => _writer is null ? null : (_writer.Header, _writer.SyncedBytes);

    internal bool IsForked => _copies.IsForked;

    /// <summary>The epoch that the file is under.</summary>
    internal uint Epoch => Writer.Header.Epoch;

    /// <summary>What a holder lacks of the newest file, as seen when it was loaded and published since; null when it has all.</summary>
    internal string? Missing(HolderId holder) => Newest is { } newest ? _copies.Missing(holder, newest.Header, newest.Bytes) : null;

    /// <summary>Compares every copy of the newest file. One line for each that is damaged.</summary>
    internal ValueTask<List<string>> CheckAsync(IReadOnlyList<StoreHolder> holders, CancellationToken cancel) => _copies.CheckAsync(Newest, holders, cancel);

    /// <summary>The newest file of our own line, and how much of it is durable and valid.</summary>
    private (RecordLogHeader Header, long Bytes)? Newest => Position ?? (_newest is { LocalPath: not null } ? (_newest.Header, _extent.ValidBytes) : null);

    /// <summary>Reads the journals of the state folder's own line here and at holders, oldest first. Writes nothing.</summary>
    internal static async ValueTask<(Journal Journal, List<JournalClump> Clumps)> LoadAsync(
        LogCopies copies, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, CancellationToken cancel)
    {
        var journal = new Journal(copies, random);
        List<LogCopy> found = await copies.FindAsync(holders, cancel).ConfigureAwait(false);
        HashSet<LogLine> own = LogCopies.OwnLines(found);
        List<LogCopy> ours = found.FindAll(copy => own.Contains(copy.Line));
        journal._newestNumber = copies.HighestNumber(own);
        journal._others = found.FindAll(copy => !own.Contains(copy.Line));
        journal._isAnotherLine = ours.Count == 0 || own.Any(copies.IsLocked) || await copies.IsBehindAsync(ours, cancel).ConfigureAwait(false);
        journal._incarnation = ours.Where(static copy => copy.LocalPath is not null).MaxBy(static copy => copy.Header.Number)?.Header.Incarnation ?? 0;
        List<JournalClump> clumps = await journal.ReadLinesAsync(ours, isOwn: true, isOneLine: own.Count == 1 && !journal._isAnotherLine, cancel).ConfigureAwait(false);
        return (journal, clumps);
    }

    /// <summary>Reads what other lines' journals hold beyond what the catalog has taken up.</summary>
    internal async ValueTask<List<(List<JournalClump> Clumps, RecordLogHeader Header, long Bytes)>> ReadOthersAsync(Func<RecordLogHeader, long, bool> hasSeen, CancellationToken cancel)
    {
        var lines = new List<(List<JournalClump> Clumps, RecordLogHeader Header, long Bytes)>();
        foreach (IGrouping<LogLine, LogCopy> line in _others.GroupBy(static copy => copy.Line))
        {
            List<LogCopy> copies = [.. line];
            _ = _copies.LeaveOutFailing(copies);
            while (copies.Count > 0)
            {
                try
                {
                    LogCopy newest = copies.MaxBy(static copy => (copy.Header.Number, copy.Bytes))!;
                    bool isParted = await _copies.IsPartedAsync(copies, cancel).ConfigureAwait(false); // then how far each copy was seen is not known
                    if (isParted || !hasSeen(newest.Header, newest.Bytes))
                    {
                        lines.Add((await ReadLinesAsync(copies, isOwn: false, isOneLine: !isParted, cancel).ConfigureAwait(false), newest.Header, newest.Bytes));
                    }

                    break;
                }
                catch (DiskException) when (_copies.LeaveOutFailing(copies))
                {
                    // Once more without them, so that nothing counts as seen that was not read.
                }
            }
        }

        return lines;
    }

    /// <param name="copies">All copies of one line, or of the lines that the state folder has files of.</param>
    /// <param name="isOneLine">Whether a file that says "carried" speaks for all files before it. Where lines meet nobody does: more clumps than needed stay, and none is lost.</param>
    private async ValueTask<List<JournalClump>> ReadLinesAsync(List<LogCopy> copies, bool isOwn, bool isOneLine, CancellationToken cancel)
    {
        var clumps = new Dictionary<(DomainId Domain, Score Score), JournalClump>();
        var older = new List<(DomainId Domain, Score Score)>();
        IntentRecords? intents = null; // most journals have none
        foreach (List<LogCopy> number in LogCopies.ByNumber(copies))
        {
            older.Clear();
            older.AddRange(clumps.Keys);
            intents?.BeginFile();
            LogCopy? best = null;
            RecordLogExtent bestExtent = default;
            (LogCopy Copy, DiskException Failure)? unread = null;
            foreach (LogCopy copy in number)
            {
                if (best is not null && copy.Header.LogId == best.Header.LogId && copy.Bytes <= bestExtent.ValidBytes && isOneLine)
                {
                    continue;
                }

                // Two copies of one file hold the same clumps, so reading both changes nothing.
                var carried = new HashSet<(DomainId Domain, Score Score)>();
                intents?.BeginCopy();
                RecordLogExtent extent;
                try
                {
                    extent = await _copies.ReadAsync(
                        copy,
                        body =>
                        {
                            if (IsCarried(body, copy.Where))
                            {
                                foreach ((DomainId Domain, Score Score) gone in older)
                                {
                                    if (isOneLine && !carried.Contains(gone))
                                    {
                                        clumps.Remove(gone);
                                    }
                                }

                                if (isOneLine)
                                {
                                    intents?.Carried();
                                }

                                return;
                            }

                            if (body[0] == IntentKind)
                            {
                                intents ??= new IntentRecords();
                                intents.Add(ReadIntent(body, copy.Where));
                                return;
                            }

                            JournalClump clump = ReadClump(body, copy.Where);
                            (DomainId Domain, Score Score) key = (clump.Domain, clump.Score);

                            // A block may be open in two classes, whose records come in any order: what is to survive more serves both.
                            if (!clumps.TryGetValue(key, out JournalClump? known) || clump.Survive >= known.Survive)
                            {
                                clumps[key] = clump;
                            }

                            carried.Add(key);
                        },
                        cancel).ConfigureAwait(false);
                }
                catch (DiskException) when (copy.LocalPath is null && isOwn)
                {
                    continue;
                }
                catch (DiskException failure) when (failure.Failure == DiskFailure.Failed)
                {
                    unread = (copy, failure);
                    continue;
                }

                if (best is null || extent.ValidBytes > bestExtent.ValidBytes)
                {
                    best = copy;
                    bestExtent = extent;
                }
            }

            // Where the disk fails under the state folder's own copy, another will do only if nothing of it is missing there.
            if (unread is { } missed && (best is null || best.Header.LogId != missed.Copy.Header.LogId || (bestExtent.ValidBytes < missed.Copy.Bytes && _copies.GoesOn(missed.Copy, bestExtent))))
            {
                throw missed.Failure;
            }

            if (!isOwn)
            {
                continue;
            }

            _continuable = best is { LocalPath: not null } && !bestExtent.HasTail && number[0].Header.Number == _newestNumber && !_isAnotherLine ? best : null;
            _newest = best;
            _extent = bestExtent;
        }

        (isOwn ? OwnIntents : OtherIntents).AddRange(intents?.InOrder ?? []);
        return [.. clumps.Values];
    }

    /// <summary>Goes on in the newest file if it is whole, here, nobody else's, and may be. Else <see cref="RenewAsync"/> begins the next one.</summary>
    /// <param name="newIncarnation">Of the line that is begun where the folder's own is somebody else's too, or none.</param>
    /// <param name="mayContinue">False when the file may hold bytes that never reached the disk.</param>
    internal bool TryContinue(ulong newIncarnation, bool mayContinue)
    {
        _copies.GoOnAs(_isAnotherLine ? newIncarnation : _incarnation);
        if (mayContinue && _continuable is not null && _continuable.Header.Epoch == _copies.CurrentEpoch)
        {
            _writer = _copies.Continue(_continuable, _extent, _random);
            _published = (_writer, _writer.SyncedBytes); // by whoever ended in order
        }

        return _writer is not null;
    }

    /// <summary>The next file begins a line of its own.</summary>
    internal void Part(ulong newIncarnation) => _copies.GoOnAs(newIncarnation);

    internal void Append(JournalClump clump)
    {
        WriteClump(_body, clump);
        Writer.Append(_body.Written);
    }

    internal void Append(Intent intent)
    {
        WriteIntent(_body, intent);
        Writer.Append(_body.Written);
    }

    internal void Sync() => Writer.Sync();

    /// <summary>Reads intents of the file that is being written again.</summary>
    /// <param name="wanted">Without their bodies.</param>
    /// <exception cref="DamagedFormatException">One of them cannot be read.</exception>
    internal Dictionary<Intent, ReadOnlyMemory<byte>> ReadBack(HashSet<Intent> wanted)
    {
        var bodies = new Dictionary<Intent, ReadOnlyMemory<byte>>(wanted.Count);
        FindWritten(wanted, (intent, record) => bodies[intent] = ReadIntent(record, Writer.Path).Body);
        return bodies;
    }

    private delegate void WrittenIntent(Intent intent, ReadOnlySpan<byte> record);

    /// <summary>Goes through the file that is being written, a record at a time, whatever it holds.</summary>
    private void FindWritten(HashSet<Intent> wanted, WrittenIntent found)
    {
        if (wanted.Count == 0)
        {
            return;
        }

        Sync();
        string path = Writer.Path;
        HashSet<Intent> missing = [.. wanted];
        _copies.ReadOwn(
            Writer,
            record =>
            {
                if (record[0] == IntentKind && ReadIntentHead(record, path, out _) is var intent && missing.Remove(intent))
                {
                    found(intent, record);
                }
            });
        if (missing.Count > 0)
        {
            throw new DamagedFormatException($"{path}: found {wanted.Count - missing.Count} of {wanted.Count} intents that were written to it, expected all");
        }
    }

    /// <summary>Copies what is synced to the holders that keep journals.</summary>
    /// <param name="isSynced">As in <see cref="LogCopies.PublishAsync"/>.</param>
    internal ValueTask PublishAsync(IReadOnlyList<IFragmentHolder> holders, bool isSynced, CancellationToken cancel)
    {
        _published = (Writer, Writer.SyncedBytes);
        return _copies.PublishAsync(Writer, holders, isSynced, cancel);
    }

    /// <summary>Bytes that were synced since the last publication.</summary>
    internal long UnpublishedBytes => _writer is null ? 0 : _writer.SyncedBytes - (_published.Writer == _writer ? _published.Bytes : 0);

    /// <summary>Begins the next file with what is still wanted, makes it durable here and at the holders, then lets the older files go.</summary>
    /// <param name="written">Intents that are wanted still and lie in the file that ends, without their bodies: they go over record by record, since together they may be many times what memory keeps.</param>
    internal async ValueTask RenewAsync(
        IEnumerable<JournalClump> open, IEnumerable<Intent> intents, IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel, HashSet<Intent>? written = null)
    {
        bool isBusy = _writer is { IsBusy: true };
        Renew(open, intents, written, isBusy);                                                        // 1. open clumps and intents, again
        await PublishAsync(holders, isSynced: true, cancel).ConfigureAwait(false);                    // 2. and at the holders
        await _copies.DeleteBelowAsync(Writer, Writer.Header.Number, holders, cancel, keepsSpare: isBusy).ConfigureAwait(false); // 3. only now the old ones
    }

    public void Dispose() => _writer?.Dispose();

    private RecordLogWriter Writer => _writer ?? throw new InvalidOperationException("the store was opened for reading");

    private void Renew(IEnumerable<JournalClump> open, IEnumerable<Intent> intents, HashSet<Intent>? written, bool isBusy)
    {
        RecordLogWriter next = _copies.Begin(_newestNumber + 1, _random, isBusy);
        try
        {
            foreach (JournalClump clump in open)
            {
                WriteClump(_body, clump);
                next.Append(_body.Written);
            }

            foreach (Intent intent in intents)
            {
                WriteIntent(_body, intent);
                next.Append(_body.Written);
            }

            if (written is not null)
            {
                FindWritten(written, (_, record) => next.Append(record));
            }

            next.Append([CarriedKind]);
            next.Sync();
        }
        catch
        {
            next.Dispose();
            throw;
        }

        _newestNumber++;
        _writer?.Dispose();
        _writer = next;
    }

    internal static void WriteClump(FieldWriter body, JournalClump clump)
    {
        body.Clear();
        body.U8(ClumpKind);
        clump.Domain.Write(body.Take(DomainId.Size));
        body.U32(clump.Epoch);
        body.U8((byte)clump.Survive);
        body.U8((byte)clump.Type);
        body.Reserved(1);
        body.U32((uint)clump.PlainBytes);
        body.U32(clump.Date);
        clump.Score.Write(body.Take(Score.Size));
        body.Bytes(clump.Bytes.Span);
    }

    /// <summary>Whether a record says that all before it has been repeated. It has its kind and nothing more.</summary>
    internal static bool IsCarried(ReadOnlySpan<byte> body, string where)
    {
        var reader = new FieldReader(body, $"journal {where}");
        bool isCarried = reader.U8() == CarriedKind;
        if (isCarried)
        {
            reader.End();
        }

        return isCarried;
    }

    internal static void WriteIntent(FieldWriter body, Intent intent)
    {
        body.Clear();
        body.U8(IntentKind);
        intent.Volume.Write(body.Take(VolumeId.Size));
        body.U32(intent.Device);
        body.U64(intent.Incarnation);
        body.U64(intent.Sequence);
        body.U32(intent.Part);
        body.U8(intent.IsLast ? (byte)1 : (byte)0);
        body.Bytes(intent.Body.Span);
    }

    internal static Intent ReadIntent(ReadOnlySpan<byte> body, string where)
    {
        Intent head = ReadIntentHead(body, where, out int start);
        return head with { Body = body[start..].ToArray() };
    }

    /// <summary>An intent without its body, which begins where <paramref name="start"/> says.</summary>
    private static Intent ReadIntentHead(ReadOnlySpan<byte> body, string where, out int start)
    {
        var reader = new FieldReader(body, $"journal {where}");
        _ = reader.U8();
        VolumeId volume = VolumeId.Read(reader.Bytes(VolumeId.Size));
        uint device = reader.U32();
        ulong incarnation = reader.U64();
        ulong sequence = reader.U64();
        uint part = reader.U32();
        byte last = reader.U8();
        if (sequence == 0 || last > 1 || reader.Remaining > Intent.MaxBodyBytes)
        {
            throw reader.Damaged($"an intent of sequence {sequence}, last {last}, {reader.Remaining} bytes; a sequence from 1, 0 or 1, at most {Intent.MaxBodyBytes} bytes expected");
        }

        start = body.Length - reader.Remaining;
        return new Intent(volume, device, incarnation, sequence, part, last == 1, default);
    }

    private static JournalClump ReadClump(ReadOnlySpan<byte> body, string where)
    {
        var reader = new FieldReader(body, $"journal {where}");
        byte kind = reader.U8();
        if (kind != ClumpKind || body.Length <= ClumpHeaderSize)
        {
            throw reader.Damaged($"record of kind {kind}, {body.Length} bytes; clumps (1, above {ClumpHeaderSize} bytes) and intents (16) expected; the store was written by a newer version");
        }

        DomainId domain = DomainId.Read(reader.Bytes(DomainId.Size));
        uint epoch = reader.U32();
        int survive = reader.U8();
        var type = (BlockType)reader.U8();
        reader.Reserved(1);
        int plainBytes = reader.Count(BlockLimits.MaxBlockBytes, "plaintext length");
        uint date = reader.U32();
        Score score = Score.Read(reader.Bytes(Score.Size));
        if (reader.Remaining > Clump.MaxBytes)
        {
            throw reader.Damaged($"a clump of {reader.Remaining} bytes, at most {Clump.MaxBytes} expected");
        }

        return new JournalClump(domain, epoch, survive, type, plainBytes, date, score, reader.Bytes(reader.Remaining).ToArray());
    }
}
