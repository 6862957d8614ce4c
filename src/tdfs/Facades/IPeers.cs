using System.Net;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>Whom this machine keeps fragments for, who keeps its own, and the node that serves them.</summary>
/// <remarks>Opens no store: the peer list lies beside it, and peers are asked over the network.</remarks>
internal interface IPeers : IDisposable
{
    /// <summary>Makes an invitation: a code that serves once.</summary>
    ValueTask<InviteResult> InviteAsync(InviteRequest request, CancellationToken cancel);

    /// <summary>Takes an invitation up: both machines know each other then.</summary>
    ValueTask<PeerInfo> AcceptAsync(AcceptRequest request, CancellationToken cancel);

    /// <summary>Everybody who was met, those that keep for us asked how they are.</summary>
    ValueTask<PeerListing> ListAsync(CancellationToken cancel);

    ValueTask<PeerInfo> SetAsync(SetPeerRequest request, CancellationToken cancel);

    /// <summary>From here on it is let in no more, and nothing is asked of it.</summary>
    ValueTask<PeerInfo> RevokeAsync(string name, CancellationToken cancel);

    /// <summary>A peer that was leaving is a holder as before.</summary>
    ValueTask<PeerInfo> StayAsync(string name, CancellationToken cancel);

    /// <summary>Takes back what this account released at a peer in the last 30 days; says how many arenas.</summary>
    ValueTask<long> CancelReleasesAsync(string name, CancellationToken cancel);

    /// <summary>What a peer failed audits in counts no more: it is a holder as one that is new.</summary>
    ValueTask ForgiveAsync(string name, CancellationToken cancel);

    /// <summary>Keeps fragments for others until it is cancelled, which is the usual end.</summary>
    /// <param name="serving">Called once peers can dial.</param>
    ValueTask ServeAsync(Action<IPEndPoint> serving, CancellationToken cancel);

    /// <summary>No holder that answers lets a peer repair for this account any more, whatever file it has.</summary>
    ValueTask<RepairRevokeResult> RevokeRepairAsync(string name, CancellationToken cancel);

    /// <summary>Repairs somebody else's arenas by the file that he gave us.</summary>
    ValueTask<RepairForResult> RepairForAsync(string path, bool movesAbsent, IProgressSink progress, CancellationToken cancel);
}

internal sealed record InviteRequest
{
    /// <summary>Bytes to keep for whoever comes; null: [node] quota.</summary>
    public long? KeptBytes { get; init; }

    public required TimeSpan ValidFor { get; init; }

    /// <summary>Days of running for which what it keeps here stays without hearing of it; 0 or null: until a person says so.</summary>
    public uint? AbsenceDays { get; init; }

    /// <summary>What to call whoever comes; null: as it calls itself.</summary>
    public string? Name { get; init; }

    public string? Place { get; init; }
}

/// <param name="Code">To be given to one person.</param>
/// <param name="ExpiresAtSeconds">By this machine's clock.</param>
internal sealed record InviteResult(string Code, long ExpiresAtSeconds, long KeptBytes, IReadOnlyList<string> Addresses);

internal sealed record AcceptRequest
{
    public required string Code { get; init; }

    /// <summary>Bytes to keep for the inviter; null: [node] quota where this machine listens, else nothing.</summary>
    public long? KeptBytes { get; init; }

    /// <summary>As <see cref="InviteRequest.AbsenceDays"/>.</summary>
    public uint? AbsenceDays { get; init; }

    /// <summary>The peer that puts us through to the inviter where it cannot be dialled.</summary>
    public string? Via { get; init; }

    public string? Name { get; init; }

    public string? Place { get; init; }

    /// <summary>Where it lies: two capital letters; null: nobody said.</summary>
    public string? Country { get; init; }
}

/// <summary>What changes about a peer; null: nothing.</summary>
internal sealed record SetPeerRequest
{
    public required string Name { get; init; }

    public string? NewName { get; init; }

    public string? Place { get; init; }

    /// <summary>Two capital letters; empty: nobody knows any more.</summary>
    public string? Country { get; init; }

    public long? KeptBytes { get; init; }

    /// <summary>Bytes a second; 0: no limit.</summary>
    public long? SendRate { get; init; }

    public long? ReceiveRate { get; init; }

    /// <summary>Bytes a day that are put through for it; 0: none.</summary>
    public long? RelayADay { get; init; }

    /// <summary>The peer that puts us through to it; "none": nobody but our own node.</summary>
    public string? Via { get; init; }

    /// <summary>From now; zero: it never ends.</summary>
    public TimeSpan? EndsIn { get; init; }

    /// <summary>As <see cref="InviteRequest.AbsenceDays"/>; 0: no term.</summary>
    public uint? AbsenceDays { get; init; }

    public IReadOnlyList<string> Addresses { get; init; } = [];
}

internal sealed record PeerInfo
{
    public required string Name { get; init; }

    public required string Place { get; init; }

    /// <summary>Where the owner says it lies; null: nobody said.</summary>
    public string? Country { get; init; }

    /// <summary>By [store] countries nothing of this store may lie there.</summary>
    public bool IsOutside { get; init; }

    /// <summary>The first 16 digits of its device key's fingerprint.</summary>
    public required string Fingerprint { get; init; }

    public required IReadOnlyList<string> Addresses { get; init; }

    /// <summary>What we keep for it at most.</summary>
    public required long KeptForItBytes { get; init; }

    /// <summary>What it keeps for us at most.</summary>
    public required long KeptForUsBytes { get; init; }

    public required long SendRate { get; init; }

    public required long ReceiveRate { get; init; }

    /// <summary>Bytes a day that are put through for it.</summary>
    public required long RelayADayBytes { get; init; }

    public required bool IsRevoked { get; init; }

    /// <summary>Days of this node's running for which what it keeps here stays without hearing of it; 0: until a person says so.</summary>
    public uint AbsenceDays { get; init; }

    /// <summary>The same the other way round, as it says; null: it was not asked.</summary>
    public uint? AbsenceForUsDays { get; init; }

    /// <summary>Nothing new goes there, and repair moves away what it has.</summary>
    public bool IsLeaving { get; init; }

    /// <summary>Seconds since 1970; 0: never.</summary>
    public required long EndsAtSeconds { get; init; }

    public required bool HasEnded { get; init; }

    /// <summary>What it has of ours, as it says; null: it was not asked or does not answer.</summary>
    public long? UsedBytes { get; init; }

    public long? ReleasedBytes { get; init; }

    /// <summary>Give and take with its account; null: there was none yet.</summary>
    public LedgerEntry? Ledger { get; init; }

    /// <summary>What was seen of it; null: it never was asked for anything.</summary>
    public PeerEvidence? Evidence { get; init; }

    /// <summary>Why it did not answer.</summary>
    public string? Problem { get; init; }
}

internal sealed record PeerListing(IReadOnlyList<PeerInfo> Peers, int OpenInvitationCount);
