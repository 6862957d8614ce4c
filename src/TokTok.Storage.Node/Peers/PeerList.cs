using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Peers;

/// <summary>Whom this node has met, and whom it has invited.</summary>
/// <remarks>Format: docs/format.md 17.1. Immutable: a change is another list, which <see cref="PeerFile"/> writes. Invariant: names and device keys differ.</remarks>
public sealed record PeerList
{
    public const int MaxPeers = 1024;
    public const int MaxInvitations = 64;

    /// <summary>How long it can still be said that a code expired or was used.</summary>
    private const long RememberedSeconds = 30 * 24 * 3600;

    public static PeerList Empty { get; } = new() { Peers = [], Invitations = [] };

    public required IReadOnlyList<Peer> Peers { get; init; }

    public required IReadOnlyList<Invitation> Invitations { get; init; }

    public Peer? Find(string name) => Peers.FirstOrDefault(peer => peer.Name == name);

    public Peer? FindDevice(Bytes32 deviceKey) => Peers.FirstOrDefault(peer => peer.DeviceKey == deviceKey);

    /// <summary>Replaces the peer of the same device, or adds it. A name that another has gets a number.</summary>
    public PeerList With(Peer peer)
    {
        ArgumentNullException.ThrowIfNull(peer);
        List<Peer> others = [.. Peers.Where(other => other.DeviceKey != peer.DeviceKey)];
        if (others.Count >= MaxPeers)
        {
            throw new InvalidOperationException($"{MaxPeers} peers are known already");
        }

        string name = peer.Name;
        for (int number = 2; others.Exists(other => other.Name == name); number++)
        {
            string ending = $"-{number}";
            name = peer.Name[..Math.Min(peer.Name.Length, Peer.MaxNameCharacters - ending.Length)] + ending;
        }

        string place = peer.Place == peer.Name ? name : peer.Place;
        return this with { Peers = [.. others, peer with { Name = name, Place = place }] };
    }

    public PeerList Without(Peer peer) => this with { Peers = [.. Peers.Where(other => other != peer)] };

    public PeerList With(Invitation invitation, long nowSeconds)
    {
        ArgumentNullException.ThrowIfNull(invitation);
        List<Invitation> others =
        [
            .. Invitations.Where(other => other.SecretHash != invitation.SecretHash && nowSeconds - Math.Max(other.ExpiresAtSeconds, other.UsedAtSeconds) < RememberedSeconds),
        ];
        return others.Count >= MaxInvitations
            ? throw new InvalidOperationException($"{MaxInvitations} invitations are remembered already")
            : this with { Invitations = [.. others, invitation] };
    }

    internal void Write(FieldWriter writer)
    {
        writer.U32((uint)Peers.Count);
        foreach (Peer peer in Peers)
        {
            peer.AccountKey.Write(writer.Take(Bytes32.Size));
            peer.DeviceKey.Write(writer.Take(Bytes32.Size));
            writer.ShortText(peer.Name);
            writer.ShortText(peer.Place);
            writer.U8((byte)((peer.IsRevoked ? 1 : 0) | (peer.IsLeaving ? 2 : 0) | (peer.AbsenceDays > 0 ? 4 : 0) | (peer.Country is not null ? 8 : 0)));
            writer.I64(peer.KeptForIt);
            writer.I64(peer.KeptForUs);
            writer.I64(peer.SendRate);
            writer.I64(peer.ReceiveRate);
            writer.I64(peer.RelayADay);
            peer.Via.Write(writer.Take(Bytes32.Size));
            writer.I64(peer.EndsAtSeconds);
            writer.I64(peer.MetAtSeconds);
            peer.Holder.Write(writer.Take(HolderId.Size));
            writer.U8((byte)peer.Addresses.Count);
            foreach (string address in peer.Addresses)
            {
                writer.ShortText(address);
            }

            if (peer.AbsenceDays > 0)
            {
                writer.U32(peer.AbsenceDays);
            }

            if (peer.Country is { } country)
            {
                writer.U8((byte)country[0]);
                writer.U8((byte)country[1]);
            }
        }

        writer.U32((uint)Invitations.Count);
        foreach (Invitation invitation in Invitations)
        {
            invitation.SecretHash.Write(writer.Take(Bytes32.Size));
            writer.I64(invitation.MadeAtSeconds);
            writer.I64(invitation.ExpiresAtSeconds);
            writer.I64(invitation.UsedAtSeconds);
            invitation.UsedBy.Write(writer.Take(Bytes32.Size));
            writer.I64(invitation.KeptForIt);
            writer.ShortText(invitation.Name);
            writer.ShortText(invitation.Place);
        }

        if (Invitations.Any(static invitation => invitation.AbsenceDays > 0))
        {
            foreach (Invitation invitation in Invitations)
            {
                writer.U32(invitation.AbsenceDays);
            }
        }
    }

    /// <exception cref="DamagedFormatException">Not exactly one list.</exception>
    internal static PeerList Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "peer list");
        var peers = new List<Peer>();
        int count = reader.Count(MaxPeers, "the peer count");
        for (int i = 0; i < count; i++)
        {
            Peer peer = ReadPeer(ref reader);
            if (peers.Exists(other => other.Name == peer.Name || other.DeviceKey == peer.DeviceKey))
            {
                throw reader.Damaged($"peer {peer.Name} stands in it twice");
            }

            peers.Add(peer);
        }

        var invitations = new List<Invitation>();
        count = reader.Count(MaxInvitations, "the invitation count");
        for (int i = 0; i < count; i++)
        {
            invitations.Add(new Invitation
            {
                SecretHash = Bytes32.Read(reader.Bytes(Bytes32.Size)),
                MadeAtSeconds = Positive(ref reader, "a time"),
                ExpiresAtSeconds = Positive(ref reader, "a time"),
                UsedAtSeconds = Positive(ref reader, "a time"),
                UsedBy = Bytes32.Read(reader.Bytes(Bytes32.Size)),
                KeptForIt = Positive(ref reader, "a quota"),
                Name = Name(ref reader, mayBeEmpty: true),
                Place = Name(ref reader, mayBeEmpty: true),
            });
        }

        if (reader.Remaining > 0)
        {
            for (int i = 0; i < invitations.Count; i++)
            {
                invitations[i] = invitations[i] with { AbsenceDays = Absence(ref reader, least: 0) };
            }

            if (invitations.TrueForAll(static invitation => invitation.AbsenceDays == 0))
            {
                throw reader.Damaged("it has terms of invitations and none of them is one");
            }
        }

        reader.End();
        return new PeerList { Peers = peers, Invitations = invitations };
    }

    private static Peer ReadPeer(ref FieldReader reader)
    {
        Bytes32 account = Bytes32.Read(reader.Bytes(Bytes32.Size));
        Bytes32 device = Bytes32.Read(reader.Bytes(Bytes32.Size));
        string name = Name(ref reader, mayBeEmpty: false);
        string place = Name(ref reader, mayBeEmpty: false);
        byte flags = reader.U8();
        if (flags > 15)
        {
            throw reader.Damaged($"flags are {flags}, at most 15 expected");
        }

        var peer = new Peer
        {
            AccountKey = account,
            DeviceKey = device,
            Name = name,
            Place = place,
            IsRevoked = (flags & 1) != 0,
            IsLeaving = (flags & 2) != 0,
            KeptForIt = Positive(ref reader, "a quota"),
            KeptForUs = Positive(ref reader, "a quota"),
            SendRate = Positive(ref reader, "a rate"),
            ReceiveRate = Positive(ref reader, "a rate"),
            RelayADay = Positive(ref reader, "a quota"),
            Via = Bytes32.Read(reader.Bytes(Bytes32.Size)),
            EndsAtSeconds = Positive(ref reader, "a time"),
            MetAtSeconds = Positive(ref reader, "a time"),
            Holder = HolderId.Read(reader.Bytes(HolderId.Size)),
        };
        int addressCount = reader.U8();
        if (addressCount > Peer.MaxAddresses)
        {
            throw reader.Damaged($"{addressCount} addresses, at most {Peer.MaxAddresses} expected");
        }

        var addresses = new string[addressCount];
        for (int i = 0; i < addressCount; i++)
        {
            addresses[i] = reader.ShortText("an address");
            if (!NodeAddress.TryParse(addresses[i], out _))
            {
                throw reader.Damaged("an address is not host:port");
            }
        }

        peer = peer with { Addresses = addresses, AbsenceDays = (flags & 4) != 0 ? Absence(ref reader, least: Peer.MinAbsenceDays) : 0 };
        return (flags & 8) != 0 ? peer with { Country = Country(ref reader) } : peer;
    }

    private static string Country(ref FieldReader reader)
    {
        string country = new([(char)reader.U8(), (char)reader.U8()]);
        return CountryLabel.IsOne(country) ? country : throw reader.Damaged("a country is not two capital letters");
    }

    private static uint Absence(ref FieldReader reader, uint least)
    {
        uint days = reader.U32();
        return days >= least && (days == 0 || days is >= Peer.MinAbsenceDays and <= Peer.MaxAbsenceDays) ? days : throw reader.Damaged($"found a term of {days} days, expected {Peer.MinAbsenceDays} to {Peer.MaxAbsenceDays}");
    }

    private static long Positive(ref FieldReader reader, string field)
    {
        long value = reader.I64();
        return value >= 0 ? value : throw reader.Damaged($"{field} is {value}, 0 or more expected");
    }

    private static string Name(ref FieldReader reader, bool mayBeEmpty)
    {
        string name = reader.ShortText("a name");
        return Peer.IsName(name) || (mayBeEmpty && name.Length == 0) ? name : throw reader.Damaged("a name has 1 to 64 letters, digits, '.', '_' and '-'");
    }
}
