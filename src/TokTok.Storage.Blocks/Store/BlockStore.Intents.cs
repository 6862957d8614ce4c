using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Store;

/// <content>Intents of volumes: in the journal until a root includes them, and carried into each new file of it.</content>
public sealed partial class BlockStore
{
    // Guarded by itself; innermost.
    private readonly List<LiveIntent> _intents = [];
    private long _intentBytes; // of their bodies
    private long _keptBytes; // of those bodies that are in memory

    /// <summary>So many bytes of intents stay in memory; the others are read from the journal where they are wanted once more.</summary>
    private const long KeptIntentBytes = 4 * 1024 * 1024;

    /// <param name="Bytes">Of the body, which may be in the journal alone.</param>
    private readonly record struct LiveIntent(Intent Intent, int Bytes);

    IJournal IVolumeStore.Journal => this;

    /// <summary>Whether a volume has any.</summary>
    public bool HasIntents
    {
        get
        {
            lock (_intents)
            {
                return _intents.Count > 0;
            }
        }
    }

    public IReadOnlyList<Intent> Intents(VolumeId volume)
    {
        _flushGate.Wait(); // bodies may be in the journal alone
        try
        {
            return
            [
                .. LiveIntents().Where(intent => intent.Volume == volume)
                    .OrderBy(static intent => intent.Device).ThenBy(static intent => intent.Incarnation).ThenBy(static intent => intent.Sequence).ThenBy(static intent => intent.Part),
            ];
        }
        finally
        {
            _flushGate.Release();
        }
    }

    public async ValueTask AppendAsync(IReadOnlyList<Intent> batch, bool namesBlocks, CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            ThrowIfNotWritable();
            if (namesBlocks)
            {
                await FlushLockedAsync(CancellationToken.None, batch).ConfigureAwait(false);
            }
            else
            {
                await SyncIntentsAsync(batch, CancellationToken.None).ConfigureAwait(false);
            }
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            Fail(failure);
            throw;
        }
        finally
        {
            _flushGate.Release();
        }
    }

    // A crash leaves a part of it, or none: nobody was told that it is durable.
    public async ValueTask AppendAheadAsync(IReadOnlyList<Intent> batch, CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            ThrowIfNotWritable();
            AppendIntents(batch);
        }
        catch (Exception failure) when (failure is not OperationCanceledException)
        {
            Fail(failure);
            throw;
        }
        finally
        {
            _flushGate.Release();
        }
    }

    public void Forget(VolumeId volume, uint device, ulong incarnation, ulong sequence)
    {
        lock (_intents)
        {
            _intents.RemoveAll(live => live.Intent.Volume == volume && (live.Intent.Sequence <= sequence || live.Intent.Device != device || live.Intent.Incarnation != incarnation));
            _intentBytes = _intents.Sum(static live => (long)live.Bytes);
            _keptBytes = _intents.Sum(static live => (long)live.Intent.Body.Length);
        }
    }

    private void TakeIntents(IReadOnlyCollection<Intent> found)
    {
        lock (_intents)
        {
            foreach (Intent intent in found)
            {
                AddLocked(intent, isKept: true);
            }
        }

        _journaledBytes += found.Sum(static intent => (long)intent.Body.Length);
    }

    /// <summary>Puts a batch behind the clumps that it may name. Durable with the sync that follows.</summary>
    private void AppendIntents(IReadOnlyList<Intent> batch)
    {
        foreach (Intent intent in batch)
        {
            _journal.Append(intent);
            _journaledBytes += intent.Body.Length;
            lock (_intents)
            {
                AddLocked(intent, _keptBytes < KeptIntentBytes);
            }
        }
    }

    private bool AreIntentsKept
    {
        get
        {
            lock (_intents)
            {
                return _keptBytes == _intentBytes;
            }
        }
    }

    private void AddLocked(Intent intent, bool isKept)
    {
        int bytes = intent.Body.Length;
        _intents.Add(new LiveIntent(intent with { Body = isKept ? intent.Body.ToArray() : default }, bytes));
        _intentBytes += bytes;
        _keptBytes += isKept ? bytes : 0;
    }

    /// <summary>The flush gate is held.</summary>
    private List<Intent> LiveIntents()
    {
        lock (_intents)
        {
            return WithBodiesLocked();
        }
    }

    /// <summary>The journal's own file has what memory has not. Rarely wanted: a file's life usually ends when a root has taken in what it held.</summary>
    private List<Intent> WithBodiesLocked()
    {
        List<Intent> all = [.. _intents.Select(static live => live.Intent)];
        if (_keptBytes == _intentBytes)
        {
            return all;
        }

        Dictionary<Intent, ReadOnlyMemory<byte>> bodies = _journal.ReadBack([.. _intents.Where(static live => live.Bytes > live.Intent.Body.Length).Select(static live => live.Intent)]);
        for (int at = 0; at < all.Count; at++)
        {
            if (bodies.TryGetValue(all[at], out ReadOnlyMemory<byte> body))
            {
                all[at] = all[at] with { Body = body };
            }
        }

        return all;
    }

    /// <summary>Those that memory has, those that the journal's file alone has, and the bytes of both.</summary>
    private (List<Intent> Kept, HashSet<Intent> Written, long Bytes) SplitIntents()
    {
        lock (_intents)
        {
            return
            (
                [.. _intents.Where(static live => live.Bytes == live.Intent.Body.Length).Select(static live => live.Intent)],
                [.. _intents.Where(static live => live.Bytes > live.Intent.Body.Length).Select(static live => live.Intent)],
                _intentBytes);
        }
    }

    private long LiveIntentBytes()
    {
        lock (_intents)
        {
            return _intentBytes;
        }
    }
}
