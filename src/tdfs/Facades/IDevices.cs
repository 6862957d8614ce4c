using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Facades;

/// <summary>The devices of this account: who they are, how another comes in, and how one goes.</summary>
internal interface IDevices
{
    /// <summary>All of them, this one among them, by number.</summary>
    ValueTask<IReadOnlyList<DeviceStatus>> ListAsync(CancellationToken cancel);

    /// <summary>Gives out a code with which one machine becomes a device.</summary>
    ValueTask<OfferResult> OfferAsync(TimeSpan validFor, CancellationToken cancel);

    /// <summary>Waits until somebody used the code, answering at the holders' folders meanwhile. Null: its time is over.</summary>
    /// <returns>What the new device calls itself.</returns>
    ValueTask<string?> WaitAsync(OfferResult offer, CancellationToken cancel);

    /// <summary>It will not come back: what it sealed is this device's from here on, and nothing waits for it.</summary>
    ValueTask<DeviceStatus> RetireAsync(string device, CancellationToken cancel);

    /// <summary>It is in other hands: as <see cref="RetireAsync"/>, and nothing that it writes from here on counts.</summary>
    ValueTask<DeviceStatus> RevokeAsync(string device, CancellationToken cancel);

    /// <summary>What waits for other devices, one line each; empty where there are none.</summary>
    ValueTask<IReadOnlyList<string>> WaitingForAsync(CancellationToken cancel);
}

/// <param name="Code">For one machine.</param>
/// <param name="ExpiresAtSeconds">By this machine's clock.</param>
/// <param name="Addresses">Where this machine's node is dialled; empty: it has none.</param>
/// <param name="Folders">Holders by which the two machines meet without a network.</param>
internal sealed record OfferResult(string Code, long ExpiresAtSeconds, uint Device, IReadOnlyList<string> Addresses, IReadOnlyList<string> Folders);

internal sealed record DeviceStatus
{
    public required uint Number { get; init; }

    public required string Name { get; init; }

    /// <summary>"this one", "active", "retired", "revoked".</summary>
    public required string State { get; init; }

    /// <summary>Seconds since 1970, by the issuer's clock.</summary>
    public required long EnrolledAtSeconds { get; init; }

    /// <summary>A day, by its own clock; null: not heard of at any holder that answers.</summary>
    public DateOnly? LastSeen { get; init; }

    /// <summary>Bytes in the trash that wait until it has seen them there.</summary>
    public long UnseenBytes { get; init; }

    /// <summary>Of a device that was just revoked: which peers have not heard it yet, and why, one line each.</summary>
    public IReadOnlyList<string> Untold { get; init; } = [];

    /// <summary>Of a device that was just revoked: why what is written from now on is readable to it all the same; null: it is not.</summary>
    public string? KeysProblem { get; init; }

    /// <summary>Of a device that was just revoked: devices that have the new keys though it, or another that is revoked, enrolled them.</summary>
    public IReadOnlyList<string> Enrolled { get; init; } = [];

    /// <summary>Who owns what it sealed, once it is retired or revoked.</summary>
    public uint Adopter { get; init; }
}

internal sealed record JoinRequest
{
    public required StorageConfig Config { get; init; }

    /// <summary>As `tdfs device add` printed it.</summary>
    public required string Code { get; init; }

    /// <summary>Null: the machine's.</summary>
    public string? Name { get; init; }

    public required SecretBuffer NewPassphrase { get; init; }
}

internal sealed record JoinResult(uint Number, string Name, int HolderCount, long ArenaCount, long SnapshotCount);
