using TokTok.Storage.Node.Audit;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Asks peers to show what they keep (docs/protocol.md 3.6).</summary>
internal interface IAudits
{
    /// <summary>Audits one peer, or all that keep for this store. Nothing is asked where there are none.</summary>
    /// <param name="peer">Its name; null: every one.</param>
    /// <param name="count">Audits of each.</param>
    ValueTask<IReadOnlyList<AuditInfo>> RunAsync(string? peer, int count, CancellationToken cancel);
}

internal sealed record AuditInfo(string Name, int Passed, int Failed, int Unanswered, PeerEvidence Evidence);

/// <summary>What was seen of a peer, as against what it says.</summary>
internal sealed record PeerEvidence
{
    public required HolderStanding Standing { get; init; }

    public required ulong Passed { get; init; }

    public required ulong Failed { get; init; }

    /// <summary>0 to 100.</summary>
    public required double TruthPercent { get; init; }

    public required double UptimePercent { get; init; }

    /// <summary>When it answered last, seconds since 1970; 0: never.</summary>
    public required long HeardAtSeconds { get; init; }

    /// <summary>When it passed an audit last; 0: never.</summary>
    public required long ProvenAtSeconds { get; init; }

    internal static PeerEvidence Of(HolderScore score) => new()
    {
        Standing = score.Standing,
        Passed = score.Passed,
        Failed = score.Failed,
        TruthPercent = score.Truth * 100.0 / HolderScore.Whole,
        UptimePercent = score.Uptime * 100.0 / HolderScore.Whole,
        HeardAtSeconds = score.HeardAtSeconds,
        ProvenAtSeconds = score.ProvenAtSeconds,
    };
}

/// <summary>How much of what is said of the peers' fragments was seen.</summary>
/// <param name="PeerCount">Peers that are holders of the store.</param>
/// <param name="ProvenCount">Those that passed an audit, and stand well.</param>
/// <param name="ProvenAtSeconds">When the one that did so longest ago did; 0: one never did.</param>
internal sealed record StoreEvidence(int PeerCount, int ProvenCount, long ProvenAtSeconds);
