using TokTok.Storage.Blocks.Logs;
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
    private const long RenewBytes = 4 * 1024 * 1024;

    private readonly Lock _gate = new();
    private readonly LogCopies _copies;
    private readonly IRandomSource _random;
    private readonly FieldWriter _body = new(4096);
    private RecordLogWriter? _writer;
    private ulong _newestNumber;
    private LogCopy? _source;
    private RecordLogExtent _extent;
    private long _checkpointBytes;

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

    /// <summary>Loads the newest complete catalog among all copies. Writes nothing.</summary>
    internal static async ValueTask<CatalogLog> LoadAsync(LogCopies copies, IReadOnlyList<IFragmentHolder> holders, IRandomSource random, CancellationToken cancel)
    {
        var log = new CatalogLog(copies, random);
        List<LogCopy> found = await copies.FindAsync(holders, cancel).ConfigureAwait(false);
        found.RemoveAll(copy => !copies.CanOpen(copy.Header));
        log._newestNumber = copies.HighestNumber;
        foreach (IGrouping<ulong, LogCopy> number in found.GroupBy(static copy => copy.Header.Number).OrderByDescending(static group => group.Key))
        {
            // Longest first, the local one before equals: usually one read suffices.
            Catalog? best = null;
            LogCopy? bestCopy = null;
            RecordLogExtent bestExtent = default;
            foreach (LogCopy copy in number.OrderByDescending(static copy => copy.Bytes).ThenBy(static copy => copy.LocalPath is null))
            {
                if (best is not null && copy.Bytes <= bestExtent.ValidBytes)
                {
                    continue;
                }

                var catalog = new Catalog();
                bool isComplete = false;
                RecordLogExtent extent = await copies.ReadAsync(
                    copy,
                    body =>
                    {
                        isComplete |= body[0] == (byte)CatalogRecordKind.End;
                        catalog.Apply(body);
                    },
                    cancel).ConfigureAwait(false);
                if (isComplete && extent.ValidBytes > bestExtent.ValidBytes)
                {
                    best = catalog;
                    bestCopy = copy;
                    bestExtent = extent;
                }
            }

            if (best is not null)
            {
                log.Catalog = best;
                log._source = bestCopy;
                log._extent = bestExtent;
                break;
            }
        }

        log.StateWasBehind = log._source is not { LocalPath: not null };
        return log;
    }

    /// <summary>Makes the log writable: goes on in the state folder's file if it is the newest and whole, else begins the next number with a checkpoint.</summary>
    /// <param name="mayContinue">False when the file may hold bytes that never reached the disk.</param>
    internal void BeginWriting(bool mayContinue)
    {
        lock (_gate)
        {
            if (mayContinue && _source is { LocalPath: not null } source && !_extent.HasTail && source.Header.Number == _newestNumber && _extent.ValidBytes < RenewBytes)
            {
                _writer = _copies.Continue(source, _extent, _random);
                return;
            }

            RenewLocked();
        }
    }

    /// <summary>Appends one record and applies it.</summary>
    internal void Append(Action<FieldWriter> write)
    {
        lock (_gate)
        {
            _body.Clear();
            write(_body);
            WriterLocked().Append(_body.Written);
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
            WriterLocked().Sync();
        }
    }

    /// <summary>Copies what is synced to the holders, begins a new file when the present one has grown, and drops files that nothing needs.</summary>
    internal async ValueTask PublishAsync(IReadOnlyList<IFragmentHolder> holders, CancellationToken cancel)
    {
        ulong number;
        lock (_gate)
        {
            if (WriterLocked().LengthBytes > Math.Max(RenewBytes, 4 * _checkpointBytes))
            {
                RenewLocked();
            }

            number = WriterLocked().Header.Number;
        }

        await _copies.PublishAsync(_writer!, holders, cancel).ConfigureAwait(false);
        if (number >= 2)
        {
            await _copies.DeleteBelowAsync(number - 1, holders, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Drops the state folder's files that nothing needs, so that a writer that is killed at every start leaves two of them.</summary>
    internal async ValueTask DropOldAsync(CancellationToken cancel)
    {
        if (_newestNumber >= 2)
        {
            await _copies.DeleteBelowAsync(_newestNumber - 1, [], cancel).ConfigureAwait(false);
        }
    }

    public void Dispose() => _writer?.Dispose();

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
