namespace TokTok.Storage.Core;

/// <summary>One part of a batch of intents: operations on a volume that no root includes yet.</summary>
/// <param name="Device">With the incarnation the line of heads that the batch goes on from.</param>
/// <param name="Sequence">Batches of a volume and line count up; a root says up to which it includes them.</param>
/// <param name="Part">From 0 on.</param>
/// <param name="IsLast">Without its last part a batch was never acknowledged, and is none.</param>
/// <param name="Body">Operations, as Files writes them.</param>
public sealed record Intent(VolumeId Volume, uint Device, ulong Incarnation, ulong Sequence, uint Part, bool IsLast, ReadOnlyMemory<byte> Body)
{
    public const int MaxBodyBytes = 1024 * 1024;
}

/// <summary>What is durable of a volume before a root includes it.</summary>
public interface IJournal
{
    /// <summary>The volume's intents that were found at the opening and come since, in order of line, sequence and part.</summary>
    IReadOnlyList<Intent> Intents(VolumeId volume);

    /// <summary>Returns when the batch survives power loss, with those that were written ahead. The bodies are the caller's again then.</summary>
    /// <param name="namesBlocks">Every block that was written before the call survives too. One that names none waits for none: others may be writing many.</param>
    ValueTask AppendAsync(IReadOnlyList<Intent> batch, bool namesBlocks, CancellationToken cancel);

    /// <summary>Writes a batch ahead of the one that will be waited for. It is durable with the next; until then it, and what comes behind it, may be gone after a power loss. It names no block.</summary>
    ValueTask AppendAheadAsync(IReadOnlyList<Intent> batch, CancellationToken cancel);

    /// <summary>A root that is durable includes all intents of a line up to a sequence: they are wanted no more, nor are the volume's intents of other lines.</summary>
    void Forget(VolumeId volume, uint device, ulong incarnation, ulong sequence);
}
