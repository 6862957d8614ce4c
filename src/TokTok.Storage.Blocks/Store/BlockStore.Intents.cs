using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Store;

/// <content>Intents of volumes: in the journal until a root includes them, and carried into each new file of it.</content>
public sealed partial class BlockStore
{
    // Guarded by itself; innermost.
    private readonly List<Intent> _intents = [];
    private long _intentBytes; // of their bodies

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
        lock (_intents)
        {
            return
            [
                .. _intents.Where(intent => intent.Volume == volume)
                    .OrderBy(static intent => intent.Device).ThenBy(static intent => intent.Incarnation).ThenBy(static intent => intent.Sequence).ThenBy(static intent => intent.Part),
            ];
        }
    }

    public async ValueTask AppendAsync(IReadOnlyList<Intent> batch, CancellationToken cancel)
    {
        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await FlushLockedAsync(CancellationToken.None, batch).ConfigureAwait(false);
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
            _intents.RemoveAll(intent => intent.Volume == volume && (intent.Sequence <= sequence || intent.Device != device || intent.Incarnation != incarnation));
            _intentBytes = _intents.Sum(static intent => (long)intent.Body.Length);
        }
    }

    private void TakeIntents(IReadOnlyCollection<Intent> found)
    {
        lock (_intents)
        {
            _intents.AddRange(found);
            _intentBytes += found.Sum(static intent => (long)intent.Body.Length);
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
                _intents.Add(intent);
                _intentBytes += intent.Body.Length;
            }
        }
    }

    private List<Intent> LiveIntents()
    {
        lock (_intents)
        {
            return [.. _intents];
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
