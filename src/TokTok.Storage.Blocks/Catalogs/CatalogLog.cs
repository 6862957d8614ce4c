using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Catalogs;

/// <summary>Keeps the <see cref="Catalog"/> on disk: each change is a record, each file begins with the whole state.</summary>
/// <remarks>
/// Format: docs/format.md 9.
/// Order: a record is appended to the log and then applied in memory, both under _gate, so the log's order is the state's order.
/// Durable: a change once a later <see cref="Sync"/> returned. A crash before leaves the state without it, which every caller must allow:
/// an arena not recorded is found as announced and adopted; a head not recorded was never acknowledged.
/// Locks: _gate guards the writer; taken before the catalog's own; disk I/O happens inside on purpose (one log, one order).
/// </remarks>
internal sealed class CatalogLog : IDisposable
{
    /// <summary>A log is begun anew when it is longer than this and than twice the checkpoint that it begins with: a large catalog is not written again at every start.</summary>
    private const long RenewBytes = 4 * 1024 * 1024;

    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _publishing = new(1, 1); // one at a time writes the copies; taken before _gate, and nothing is taken inside but that
    private readonly LogCopies _copies;
    private readonly IRandomSource _random;
    private readonly FieldWriter _body = new(4096);
    private RecordLogWriter? _writer;
    private ulong _newestNumber;
    private LogCopy? _source;
    private RecordLogExtent _extent;
    private long _checkpointBytes;
    private List<LogCopy> _found = [];
    private List<LogCopy> _others = [];
    private List<Candidate> _parted = [];
    private bool _isAnotherLine;
    private bool _isRehearsal;

    private CatalogLog(LogCopies copies, IRandomSource random)
    {
        _copies = copies;
        _random = random;
    }

    internal Catalog Catalog { get; private set; } = new();

    internal IReadOnlyDictionary<HolderId, string> Lag => _copies.Lag;

    /// <summary>Whether the state folder's own copy was missing, damaged or older than a holder's: it was put back from somewhere, or lost.</summary>
    internal bool StateWasBehind { get; private set; }

    /// <summary>Whether a write or sync failed: nothing more can be appended.</summary>
    internal bool HasFailed => _writer is { HasFailed: true };

    /// <summary>Whether any copy was found at all.</summary>
    internal bool WasFound => _source is not null;

    /// <summary>The log as the anchor names it.</summary>
    internal (RecordLogHeader Header, long Bytes)? Position
    {
        get
        {
            lock (_gate)
            {
                return _writer is null ? null : (_writer.Header, _writer.SyncedBytes);
            }
        }
    }

    /// <summary>Whether a holder has a file of this line that somebody else wrote.</summary>
    internal bool IsForked => _copies.IsForked;

    /// <summary>Names this state folder's line of logs and heads.</summary>
    internal ulong Incarnation
    {
        get
        {
            lock (_gate)
            {
                return _writer?.Header.Incarnation ?? _source?.Header.Incarnation ?? 0;
            }
        }
    }

    /// <summary>Loads the newest complete catalog of the state folder's own line; without one, of the line that went furthest. Writes nothing.</summary>
    internal static async ValueTask<CatalogLog> LoadAsync(LogCopies copies, uint device, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, CancellationToken cancel)
    {
        var log = new CatalogLog(copies, random);
        List<LogCopy> found = await copies.FindAsync(holders, cancel).ConfigureAwait(false);
        log._found = found;
        HashSet<LogLine> own = LogCopies.OwnLines(found);
        log._newestNumber = copies.HighestNumber(own);
        List<Candidate> candidates = [];
        foreach (LogLine line in own)
        {
            List<LogCopy> copiesOfLine = found.FindAll(copy => copy.Line == line);
            List<Candidate> newest = await log.CandidatesAsync(copiesOfLine, cancel).ConfigureAwait(false);
            candidates.AddRange(newest);

            // An older state of a folder that went on elsewhere is simply passed over. One that wrote on by itself has another file under the same number.
            ulong local = copiesOfLine.Where(static copy => copy.LocalPath is not null).Max(static copy => copy.Header.Number);
            if (newest.Count > 0 && local < newest[0].Copy.Header.Number)
            {
                List<Candidate> same = await log.CandidatesAsync(copiesOfLine.FindAll(copy => copy.Header.Number == local), cancel).ConfigureAwait(false);
                candidates.AddRange(same.Count > 1 ? same.Where(static each => each.Copy.LocalPath is not null) : []);
            }
        }

        bool isOwn = candidates.Count > 0;
        foreach (LogLine line in isOwn ? [] : found.Select(static copy => copy.Line).Distinct())
        {
            candidates.AddRange(await log.CandidatesAsync([.. found.Where(copy => copy.Line == line)], cancel).ConfigureAwait(false));
        }

        Candidate? best = candidates.OrderBy(static each => each, Comparer<Candidate>.Create((one, other) =>
        {
            int order = (other.Copy.Header.Device == device).CompareTo(one.Copy.Header.Device == device);
            order = order != 0 ? order : other.Catalog.Sequence.CompareTo(one.Catalog.Sequence);
            return order != 0 ? order : (one.Copy.LocalPath is null).CompareTo(other.Copy.LocalPath is null);
        })).FirstOrDefault();
        if (best is not null)
        {
            log.Catalog = best.Catalog;
            log._source = best.Copy;
            log._extent = best.Extent;
            log._checkpointBytes = best.CheckpointBytes;
        }

        log._others = found.FindAll(copy => !own.Contains(copy.Line));
        foreach (Candidate other in isOwn ? candidates.FindAll(each => each != best && own.Contains(each.Copy.Line)) : [])
        {
            try
            {
                if (other.Copy.Line == best!.Copy.Line && !await copies.IsPrefixAsync(other.Copy, best.Copy, cancel).ConfigureAwait(false))
                {
                    log._parted.Add(other);
                }
            }
            catch (DiskException) when (copies.IsFailing(other.Copy) || copies.IsFailing(best!.Copy))
            {
                // As where that holder is absent: nobody knows yet.
            }
        }

        log.StateWasBehind = log._source is not { LocalPath: not null };
        log._isAnotherLine = log.StateWasBehind || log._parted.Count > 0 || own.Any(copies.IsLocked) || await copies.IsBehindAsync(found.FindAll(copy => own.Contains(copy.Line)), cancel).ConfigureAwait(false);
        return log;
    }

    /// <summary>Whether a writer beside us added to the files that this catalog was read from, or began others.</summary>
    /// <param name="hasOthers">Whether other lines were read too: they grow at the holders.</param>
    internal async ValueTask<bool> HasMovedAsync(LogCopies copies, IReadOnlyList<IFragmentHolder> holders, bool hasOthers, CancellationToken cancel)
    {
        // Our own line grows in the state folder first.
        bool isHere = !StateWasBehind && !hasOthers;
        List<LogCopy> now = await copies.FindAsync(isHere ? [] : holders, cancel).ConfigureAwait(false);
        return !now.ToHashSet().SetEquals(_found.Where(copy => !isHere || copy.LocalPath is not null));
    }

    /// <summary>Copies of catalogs that were there and whose keys are not.</summary>
    internal IReadOnlyList<LogCopy> Locked => _copies.Locked;

    /// <summary>A complete catalog, and the copy it was read from.</summary>
    private sealed record Candidate(Catalog Catalog, LogCopy Copy, RecordLogExtent Extent, long CheckpointBytes);

    /// <summary>What another line's log says that this catalog has not taken up: under its own incarnation, or, where it parted from ours under the same one, under an alias.</summary>
    /// <param name="IsOld">It goes on in files whose keys are not here: of this one, what it says of devices counts and nothing else. Its heads' blocks may lie where nobody here can look, and what it
    /// released or forgot since is not in it.</param>
    internal sealed record OtherLine(Catalog Catalog, RecordLogHeader Header, long ValidBytes, ulong Alias, bool IsOld = false);

    /// <summary>The newest complete catalogs of one line: one, or several where somebody wrote the same line elsewhere.</summary>
    private async ValueTask<List<Candidate>> CandidatesAsync(List<LogCopy> line, CancellationToken cancel)
    {
        var complete = new List<Candidate>();
        List<List<LogCopy>> numbers = LogCopies.ByNumber(line);
        numbers.Reverse();
        foreach (List<LogCopy> number in numbers)
        {
            // Longest first, the local one before equals: usually one read suffices.
            (LogCopy Copy, DiskException Failure)? unread = null;
            foreach (LogCopy copy in number)
            {
                try
                {
                    await TakeCandidateAsync(complete, copy, cancel).ConfigureAwait(false);
                }
                catch (DiskException) when (copy.LocalPath is null)
                {
                    // another copy, as where its holder is absent
                }
                catch (DiskException failure) when (failure.Failure == DiskFailure.Failed)
                {
                    unread = (copy, failure);
                }
            }

            // Where the disk fails under the state folder's own copy, another will do only if nothing of it is missing there.
            if (unread is { } gone && complete.TrueForAll(each => each.Copy.Header.LogId != gone.Copy.Header.LogId || each.Extent.ValidBytes < gone.Copy.Bytes))
            {
                throw gone.Failure;
            }

            if (complete.Count > 0)
            {
                break;
            }
        }

        return complete;
    }

    /// <summary>Adds a copy that is complete, in the place of those that it goes further than: cut off or damaged before where it ends, or at a holder and no longer than it.</summary>
    private async ValueTask TakeCandidateAsync(List<Candidate> complete, LogCopy copy, CancellationToken cancel)
    {
        Candidate? longer = null;
        foreach (Candidate each in complete)
        {
            longer ??= await _copies.IsPrefixAsync(copy, each.Copy, cancel).ConfigureAwait(false) ? each : null;
        }

        if (longer is not null && copy.LocalPath is null)
        {
            return;
        }

        var catalog = new Catalog();
        bool isComplete = false;
        long checkpointBytes = 0;
        RecordLogExtent extent = await _copies.ReadAsync(
            copy,
            body =>
            {
                checkpointBytes += isComplete ? 0 : RecordLog.Overhead + body.Length;
                isComplete |= body[0] == (byte)CatalogRecordKind.End;
                catalog.Apply(body);
            },
            cancel).ConfigureAwait(false);
        if (!isComplete)
        {
            return;
        }

        for (int i = complete.Count - 1; i >= 0; i--)
        {
            if (complete[i].Extent.ValidBytes <= extent.ValidBytes && await _copies.IsPrefixAsync(complete[i].Copy, copy, cancel).ConfigureAwait(false))
            {
                complete.RemoveAt(i);
            }
        }

        if (longer is null || !complete.Contains(longer))
        {
            complete.Add(new Candidate(catalog, copy, extent, checkpointBytes));
        }
    }

    /// <summary>Reads what other lines wrote since this catalog last took it up.</summary>
    internal async ValueTask<List<OtherLine>> ReadOthersAsync(CancellationToken cancel)
    {
        var lines = new List<OtherLine>();
        foreach (Candidate parted in _parted)
        {
            try
            {
                ulong alias = await _copies.AliasAsync(parted.Copy, _source!, cancel).ConfigureAwait(false);
                lines.Add(new OtherLine(parted.Catalog, parted.Copy.Header, parted.Extent.ValidBytes, alias));
            }
            catch (DiskException) when (_copies.IsFailing(parted.Copy) || _copies.IsFailing(_source!))
            {
                // It is taken up when it can be read again.
            }
        }

        foreach (IGrouping<LogLine, LogCopy> line in _others.GroupBy(static copy => copy.Line))
        {
            List<LogCopy> copies = [.. line];
            _ = _copies.LeaveOutFailing(copies);
            while (copies.Count > 0)
            {
                try
                {
                    lines.AddRange(await ReadOtherAsync(copies, cancel).ConfigureAwait(false));
                    break;
                }
                catch (DiskException) when (_copies.LeaveOutFailing(copies))
                {
                    // once more without them
                }
            }
        }

        _parted = [];
        _others = [];
        return lines;
    }

    /// <summary>What one other line says.</summary>
    private async ValueTask<List<OtherLine>> ReadOtherAsync(List<LogCopy> copies, CancellationToken cancel)
    {
        var lines = new List<OtherLine>();
        bool isParted = await _copies.IsPartedAsync(copies, cancel).ConfigureAwait(false); // then how far each copy was seen is not known
        if (!isParted && copies.TrueForAll(copy => Catalog.HasSeen(copy.Header, copy.Bytes)))
        {
            return lines;
        }

        List<Candidate> newest = [.. (await CandidatesAsync(copies, cancel).ConfigureAwait(false)).OrderByDescending(static each => each.Catalog.Sequence)];
        foreach (Candidate each in newest)
        {
            ulong alias = each == newest[0] ? Catalog.AliasOf(each.Copy.Header) : await _copies.AliasAsync(each.Copy, newest[0].Copy, cancel).ConfigureAwait(false);
            lines.Add(new OtherLine(each.Catalog, each.Copy.Header, each.Copy.Bytes, alias, _copies.IsLocked(each.Copy.Line)));
        }

        return lines;
    }

    /// <summary>Whether the state folder had no catalog, and what was read is another device's: its numbers are taken over, and what it has under way is not ours.</summary>
    internal bool IsTakenOver(uint device) => _source is { LocalPath: null } source && source.Header.Device != device;

    /// <summary>The newest catalogs of every other device, however much of them was taken up before.</summary>
    internal static async ValueTask<List<OtherLine>> ReadDevicesAsync(LogCopies copies, uint device, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, CancellationToken cancel)
    {
        using var log = new CatalogLog(copies, random);
        var lines = new List<OtherLine>();
        foreach (IGrouping<LogLine, LogCopy> line in (await copies.FindAsync(holders, cancel).ConfigureAwait(false)).Where(copy => copy.LocalPath is null && copy.Header.Device != device).GroupBy(static copy => copy.Line))
        {
            foreach (Candidate each in await log.CandidatesAsync([.. line], cancel).ConfigureAwait(false))
            {
                lines.Add(new OtherLine(each.Catalog, each.Copy.Header, each.Copy.Bytes, 0, copies.IsLocked(each.Copy.Line)));
            }
        }

        return lines;
    }

    /// <summary>Makes the log writable: goes on in the state folder's file if it is the newest and whole, else begins the next number with a checkpoint.
    /// A folder that holders are ahead of, or that lost its log, goes on as another incarnation: what it was before may still be written by somebody.</summary>
    /// <param name="newIncarnation">Used where it does.</param>
    /// <param name="mayContinue">False when the file may hold bytes that never reached the disk.</param>
    internal void BeginWriting(ulong newIncarnation, bool mayContinue)
    {
        lock (_gate)
        {
            if (!_isAnotherLine && _source is { LocalPath: not null } source)
            {
                _copies.GoOnAs(source.Header.Incarnation);
                if (mayContinue && !_extent.HasTail && source.Header.Number == _newestNumber && source.Header.Epoch == _copies.CurrentEpoch && !IsLong(_extent.ValidBytes))
                {
                    _writer = _copies.Continue(source, _extent, _random);
                    return;
                }
            }
            else
            {
                _copies.GoOnAs(newIncarnation);
            }

            RenewLocked();
        }
    }

    /// <summary>Begins a file in a line of its own: a holder has another file under the name of ours.</summary>
    internal void Part(ulong newIncarnation)
    {
        lock (_gate)
        {
            _copies.GoOnAs(newIncarnation);
            RenewLocked();
        }
    }

    /// <summary>The epoch that the file is under.</summary>
    internal uint Epoch
    {
        get
        {
            lock (_gate)
            {
                return WriterLocked().Header.Epoch;
            }
        }
    }

    /// <summary>Begins the next file, under the epoch that is current now.</summary>
    internal void Renew()
    {
        lock (_gate)
        {
            RenewLocked();
        }
    }

    /// <summary>Without a writer, changes are made in memory only: a rehearsal of recovery.</summary>
    internal void Rehearse() => _isRehearsal = true;

    /// <summary>What a holder lacks of the newest file, as seen when it was loaded and published since; null when it has all.</summary>
    internal string? Missing(HolderId holder) => Newest is { } newest ? _copies.Missing(holder, newest.Header, newest.Bytes) : null;

    /// <summary>The newest file of our own line, and how much of it is durable and valid.</summary>
    private (RecordLogHeader Header, long Bytes)? Newest => Position ?? (_source is { LocalPath: not null } ? (_source.Header, _extent.ValidBytes) : null);

    /// <summary>Whether a holder has any catalog of ours, be it an older one.</summary>
    internal bool IsAt(HolderId holder) => _copies.HasAny(holder);

    /// <summary>Compares every copy of the newest file. One line for each that is damaged.</summary>
    internal ValueTask<List<string>> CheckAsync(IReadOnlyList<StoreHolder> holders, CancellationToken cancel) => _copies.CheckAsync(Newest, holders, cancel);

    /// <summary>Appends one record and applies it.</summary>
    internal void Append(Action<FieldWriter> write)
    {
        lock (_gate)
        {
            _body.Clear();
            write(_body);
            if (!_isRehearsal)
            {
                WriterLocked().Append(_body.Written);
            }

            Catalog.Apply(_body.Written);
        }
    }

    /// <summary>Appends an arena's record with the next seal sequence, and returns it as written.</summary>
    internal ArenaRecord AppendSealed(ArenaRecord arena)
    {
        lock (_gate)
        {
            ArenaRecord numbered = arena with { SealSequence = Catalog.Sequence + 1 };
            Append(numbered.Write);
            return numbered;
        }
    }

    internal void Sync()
    {
        lock (_gate)
        {
            if (!_isRehearsal)
            {
                WriterLocked().Sync();
            }
        }
    }

    /// <summary>Copies what is synced to the holders, begins a new file when the present one has grown, and drops files that nothing needs.</summary>
    internal async ValueTask PublishAsync(IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        await _publishing.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await PublishAloneAsync(holders, cancel).ConfigureAwait(false);
        }
        finally
        {
            _publishing.Release();
        }
    }

    private async ValueTask PublishAloneAsync(IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        RecordLogHeader header;
        lock (_gate)
        {
            if (IsLong(WriterLocked().LengthBytes))
            {
                RenewLocked();
            }

            header = WriterLocked().Header;
        }

        await _copies.PublishAsync(_writer!, holders, isSynced: true, cancel).ConfigureAwait(false);
        if (header.Number >= 2)
        {
            await _copies.DeleteBelowAsync(_writer!, header.Number - 1, holders, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Drops the state folder's files that nothing needs, so that a writer that is killed at every start leaves two of them.</summary>
    internal async ValueTask DropOldAsync(CancellationToken cancel)
    {
        if (_newestNumber >= 2)
        {
            await _copies.DeleteBelowAsync(_writer!, _newestNumber - 1, [], cancel).ConfigureAwait(false);
        }
    }

    public void Dispose()
    {
        _writer?.Dispose();
        _publishing.Dispose();
    }

    private bool IsLong(long bytes) => bytes > Math.Max(RenewBytes, 2 * _checkpointBytes);

    // The old file stays complete until the new one has its end record synced: a crash between leaves one of the two.
    private void RenewLocked()
    {
        RecordLogWriter next = _copies.Begin(_newestNumber + 1, _random);
        try
        {
            Catalog.WriteCheckpoint(writer => next.Append(writer.Written));
            next.Sync();
        }
        catch
        {
            next.Dispose();
            throw;
        }

        _newestNumber++;
        _checkpointBytes = next.LengthBytes;
        _writer?.Dispose();
        _writer = next;
    }

    private RecordLogWriter WriterLocked() => _writer ?? throw new InvalidOperationException("the store was opened for reading");
}
