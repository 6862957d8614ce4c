using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Peers;

/// <summary>One whom this node has met: who it is, where, and what each keeps for the other.</summary>
/// <remarks>Format: docs/format.md 17.1.</remarks>
public sealed record Peer
{
    public const int MaxNameCharacters = 64;
    public const int MaxAddresses = 4;
    public const int MaxAddressCharacters = 120;

    /// <summary>A shorter term would end in a holiday.</summary>
    public const uint MinAbsenceDays = 30;
    public const uint MaxAbsenceDays = 36_500;

    /// <summary>All zero after a recovery, until it was met again.</summary>
    public required Bytes32 AccountKey { get; init; }

    public required Bytes32 DeviceKey { get; init; }

    public required string Name { get; init; }

    /// <summary>What burns down together: the owner of the store says so.</summary>
    public required string Place { get; init; }

    /// <summary>Where the owner of the store says it lies: two capital letters; null: nobody said.</summary>
    public string? Country { get; init; }

    public bool IsRevoked { get; init; }

    /// <summary>Nothing new goes there; what it has is still read.</summary>
    public bool IsLeaving { get; init; }

    /// <summary>Bytes that we keep for it; 0: nothing.</summary>
    public long KeptForIt { get; init; }

    /// <summary>Bytes that it keeps for us, as it said last; 0: nothing.</summary>
    public long KeptForUs { get; init; }

    /// <summary>Bytes a second at most, to it and from it; 0: no limit.</summary>
    public long SendRate { get; init; }

    public long ReceiveRate { get; init; }

    /// <summary>Bytes a day that we put through for it, to nodes that keep a line open here; 0: none.</summary>
    public long RelayADay { get; init; }

    /// <summary>The device key of the peer that puts us through to this one where it cannot be dialled; all zero: none but our own node.</summary>
    public Bytes32 Via { get; init; }

    /// <summary>Seconds since 1970; 0: never.</summary>
    public long EndsAtSeconds { get; init; }

    public long MetAtSeconds { get; init; }

    /// <summary>Days of our node's running for which we keep what is its own without hearing of it; 0: until a person says so.</summary>
    public uint AbsenceDays { get; init; }

    /// <summary>The holder that it is to us; all zero: not known yet.</summary>
    public HolderId Holder { get; init; }

    public IReadOnlyList<string> Addresses { get; init; } = [];

    public bool HasEnded(long nowSeconds) => EndsAtSeconds != 0 && nowSeconds >= EndsAtSeconds;

    /// <summary>Whether it may ask anything of us.</summary>
    public bool IsLetIn(long nowSeconds) => !IsRevoked && !HasEnded(nowSeconds) && KeptForIt > 0 && AccountKey != default;

    /// <summary>Whether it is a holder of our store.</summary>
    public bool IsHolder => !IsRevoked && KeptForUs > 0 && Addresses.Count > 0;

    public static bool IsName(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Length is >= 1 and <= MaxNameCharacters && text.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');
    }

    /// <summary>A stranger's words as a name of ours.</summary>
    public static string CleanName(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string clean = new([.. text.Take(MaxNameCharacters).Select(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-' ? c : '-')]);
        return clean.Length == 0 ? "peer" : clean;
    }
}

/// <summary>A code that was given out, by the hash of its secret.</summary>
public sealed record Invitation
{
    public required Bytes32 SecretHash { get; init; }

    public required long MadeAtSeconds { get; init; }

    public required long ExpiresAtSeconds { get; init; }

    /// <summary>0: not yet.</summary>
    public long UsedAtSeconds { get; init; }

    public Bytes32 UsedBy { get; init; }

    /// <summary>Bytes that we keep for whoever comes.</summary>
    public long KeptForIt { get; init; }

    /// <summary>As <see cref="Peer.AbsenceDays"/>, for whoever comes.</summary>
    public uint AbsenceDays { get; init; }

    /// <summary>Given to whoever comes; empty: what it calls itself.</summary>
    public string Name { get; init; } = "";

    public string Place { get; init; } = "";
}
