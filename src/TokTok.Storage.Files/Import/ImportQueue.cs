using System.Threading.Channels;

namespace TokTok.Storage.Files;

/// <summary>Steps of the walk that follow one another and pass through the queues together: for small files a hand-over costs as much as reading one.</summary>
internal sealed class ImportBatch
{
    internal const int MaxSlots = 64;

    /// <summary>Of the files to be read. A batch ends behind the file that passes it, so that large files keep every worker busy.</summary>
    internal const long MaxReadBytes = 512 * 1024;

    internal List<ImportSlot> Slots { get; } = new(MaxSlots);

    /// <summary>Those that a worker fills in.</summary>
    internal List<ImportSlot> ToRead { get; } = [];

    internal long ReadBytes { get; set; }

    /// <summary>Complete when the worker has filled all of them in; null where there is nothing to read.</summary>
    internal TaskCompletionSource? Done { get; private set; }

    internal bool IsFull => Slots.Count >= MaxSlots || ReadBytes >= MaxReadBytes;

    internal void Close() => Done = ToRead.Count > 0 ? new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously) : null;

    /// <summary>Lets go of the directories of what no worker has looked at.</summary>
    internal void Release()
    {
        foreach (ImportSlot slot in ToRead)
        {
            slot.Handle?.Release();
            slot.Handle = null;
        }
    }
}

/// <summary>The way from the walker to the workers and the assembler: what must be read goes to both, in the walk's order to the assembler.</summary>
/// <remarks>Bounded: whoever walks waits when either queue is full, so memory does not grow with the tree. One writer.</remarks>
internal sealed class ImportQueue
{
    private const int OrderCapacity = 64;
    private const int WorkCapacity = 16;

    private readonly Channel<ImportBatch> _order = Channel.CreateBounded<ImportBatch>(new BoundedChannelOptions(OrderCapacity) { SingleReader = true, SingleWriter = true });
    private readonly Channel<ImportBatch> _work = Channel.CreateBounded<ImportBatch>(new BoundedChannelOptions(WorkCapacity) { SingleWriter = true });
    private ImportBatch _batch = new();

    internal ChannelReader<ImportBatch> Order => _order.Reader;

    internal ChannelReader<ImportBatch> Work => _work.Reader;

    /// <param name="isToBeRead">A worker fills it in; then it holds its directory.</param>
    internal ValueTask AddAsync(ImportSlot slot, bool isToBeRead, CancellationToken abort)
    {
        _batch.Slots.Add(slot);
        if (isToBeRead)
        {
            _batch.ToRead.Add(slot);
            _batch.ReadBytes += slot.Stat.SizeBytes;
        }

        return _batch.IsFull ? SendAsync(abort) : ValueTask.CompletedTask;
    }

    /// <summary>Sends what is left. Nothing more is added.</summary>
    internal ValueTask FinishAsync(CancellationToken abort) => _batch.Slots.Count > 0 ? SendAsync(abort) : ValueTask.CompletedTask;

    /// <summary>Ends the queues, as they are.</summary>
    internal void Close()
    {
        _batch.Release();
        _order.Writer.Complete();
        _work.Writer.Complete();
    }

    /// <summary>Lets go of what no worker took.</summary>
    internal void Release()
    {
        while (_work.Reader.TryRead(out ImportBatch? left))
        {
            left.Release();
        }
    }

    private async ValueTask SendAsync(CancellationToken abort)
    {
        ImportBatch batch = _batch;
        batch.Close();
        if (batch.Done is not null)
        {
            await _work.Writer.WriteAsync(batch, abort).ConfigureAwait(false);
        }

        _batch = new ImportBatch();
        await _order.Writer.WriteAsync(batch, abort).ConfigureAwait(false);
    }
}
