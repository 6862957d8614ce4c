using System.Globalization;
using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Lan;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The peers that keep for this store, as holders beside its folders.</summary>
/// <remarks>
/// All are dialled at once when a store is opened. One that does not answer is an absent holder, as a disk that is not mounted: the run goes on with the others (docs/architecture.md).
/// One that cannot be dialled is reached by a line that it keeps open to our own node, or to the peer that the list names for it (docs/protocol.md 3.9).
/// Where storage.toml says so it is looked for on the machine's own network as well (docs/protocol.md 3.10).
/// Each that is met is told which devices of the account are revoked, if any is (docs/protocol.md 3.11).
/// In the catalog's and the anchor's words a peer's address is <c>peer://DEVICE-KEY@host:port,host:port</c>, so that words and one holder lead to all of them.
/// </remarks>
internal sealed class PeerHolders(IDisk disk, IRandomSource random, TimeProvider clock, System.Net.IPEndPoint? ownNode, Action<string> say, bool looksOnLan = false, INetwork? network = null)
{
    private const string Scheme = "peer://";
    private const int MaxAddressBytes = 255;

    internal PeerFile FileOf(string store, Keyring keyring) => new(disk, store, keyring.CacheKey, random, clock);

    internal static bool IsPeer(StoreHolder holder) => IsPeer(holder.Address);

    internal static bool IsPeer(string address) => address.StartsWith(Scheme, StringComparison.Ordinal);

    /// <summary>As people read it: "peer bob (192.0.2.7:4919)", or without the name where nobody answers.</summary>
    internal static string Show(StoreHolder holder) => holder switch
    {
        { Itself: PeerHolder peer } => $"peer {peer.Connection.Where}",
        { Address.Length: > 0 } => IsPeer(holder) ? $"peer {holder.Address[(holder.Address.IndexOf('@', StringComparison.Ordinal) + 1)..]}" : holder.Address,
        _ => holder.Place,
    };

    /// <param name="rule">Who lies outside it and never was a holder is not dialled.</param>
    internal async ValueTask<List<ConfiguredHolder>> OpenAsync(string store, Keyring keyring, CountryRule rule, bool mayWrite, CancellationToken cancel)
    {
        PeerFile file = FileOf(store, keyring);
        PeerList list;
        try
        {
            list = file.Read();
        }
        catch (DamagedFormatException damage) when (!mayWrite)
        {
            say($"{damage.Message}; this run goes on without peers");
            return [];
        }
        catch (DamagedFormatException damage)
        {
            throw Lost(damage);
        }

        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        Peer[] keepers = [.. list.Peers.Where(peer => peer.IsHolder && !peer.HasEnded(now) && (rule.Allows(peer.Country) || peer.Holder != default))];
        if (keepers.Length == 0)
        {
            return [];
        }

        var own = new NodeCertificate(keyring.Device, keyring.Certificate, clock);
        return [.. await DialAsync(file, list, keepers, own, RevocationNews.FileOf(store, keyring, disk, random, clock).Read(), mayWrite, cancel).ConfigureAwait(false)];
    }

    /// <summary>Dials peers, all at once.</summary>
    internal async ValueTask<ConfiguredHolder[]> DialAsync(PeerFile file, PeerList list, Peer[] peers, NodeCertificate own, IReadOnlyList<Revocation> revoked, bool mayWrite, CancellationToken cancel)
    {
        ConfiguredHolder[] opened = await Task.WhenAll(peers.Select(peer => OpenAsync(peer, list, own, revoked, cancel))).ConfigureAwait(false);
        if (mayWrite)
        {
            await LearnAsync(file, list, peers, opened, cancel).ConfigureAwait(false);
        }

        return opened;
    }

    /// <summary>Meets a peer, and tells it which devices are revoked. One that does not let this device in may by that, if it had heard of who revoked it alone.</summary>
    internal async ValueTask<PeerHolder> MeetAsync(PeerConnection connection, IReadOnlyList<Revocation> revoked, CancellationToken cancel)
    {
        PeerHolder holder;
        try
        {
            holder = await PeerHolder.OpenAsync(connection, say, cancel, random).ConfigureAwait(false);
        }
        catch (PeerException refused) when (refused.Problem == PeerProblem.NotLetIn && revoked.Count > 0)
        {
            await Revocation.SayAsync(connection, revoked, isRefused: true, cancel).ConfigureAwait(false);
            return await PeerHolder.OpenAsync(connection, say, cancel, random).ConfigureAwait(false);
        }

        try
        {
            if (revoked.Count > 0)
            {
                await Revocation.SayAsync(connection, revoked, isRefused: false, cancel).ConfigureAwait(false);
            }
        }
        catch (PeerException)
        {
            // It is met, and told again when it is met next; one of an older release never understands.
        }

        return holder;
    }

    /// <summary>A writer that went on without the list would give up every holder in it.</summary>
    internal static UserError Lost(DamagedFormatException damage) =>
        new(ExitCode.Damaged, $"{damage.Message}; put back a copy of the file, or move it away and let the peers invite this machine again", damage);

    /// <summary>Lets each peer's reads be checked against the names that the catalog knows.</summary>
    internal static void Teach(BlockStore store)
    {
        foreach (PeerHolder peer in store.Holders.Select(static holder => holder.Itself).OfType<PeerHolder>())
        {
            peer.Expected = (id, index) => store.Catalog.Arena(id) is ArenaRecord arena && index < arena.Fragments.Count
                ? new ExpectedFragment(arena.Fragments[index].Name, arena.Layout.SliceBytes)
                : null;
        }
    }

    internal PeerConnection Dial(Peer peer, PeerList list, NodeCertificate own) =>
        new(peer.Name, AddressesOf(peer), ExpectedOf(peer), own, clock, peer.SendRate, peer.ReceiveRate, Relays(peer.Via, list, own), Finder(peer), network);

    /// <summary>Looks for a peer on the machine's own network, where its owner allows to ask there.</summary>
    private Func<CancellationToken, Task<NodeAddress?>>? Finder(Peer peer) => looksOnLan ? cancel => new LanFinder(random, clock, LanGroup.Standard).FindAsync(peer.DeviceKey, cancel) : null;

    /// <summary>A connection that goes to where a peer can be dialled, and no other way.</summary>
    internal PeerConnection DialDirectly(Peer peer, NodeCertificate own) => new(peer.Name, AddressesOf(peer), ExpectedOf(peer), own, clock, peer.SendRate, peer.ReceiveRate, finds: Finder(peer), network: network);

    /// <summary>Whoever may have a line of somebody who cannot be dialled: our own node, and one peer.</summary>
    internal List<PeerConnection> Relays(Bytes32 via, PeerList list, NodeCertificate own)
    {
        var relays = new List<PeerConnection>();
        if (ownNode is not null)
        {
            relays.Add(new PeerConnection("this machine's node", [Loopback(ownNode)], new ExpectedIdentity { DeviceKey = Bytes32.Read(own.DeviceKey) }, own, clock, network: network));
        }

        if (via != default && list.FindDevice(via) is { IsRevoked: false } relay)
        {
            relays.Add(DialDirectly(relay, own));
        }

        return relays;
    }

    /// <summary>Where a process of this machine dials the machine's own node.</summary>
    internal static NodeAddress Loopback(System.Net.IPEndPoint listen) => new(
        listen.Address.Equals(System.Net.IPAddress.Any) ? "127.0.0.1" : listen.Address.Equals(System.Net.IPAddress.IPv6Any) ? "::1" : listen.Address.ToString(), (ushort)listen.Port);

    internal static string AddressOf(Peer peer)
    {
        string address = string.Create(CultureInfo.InvariantCulture, $"{Scheme}{peer.DeviceKey}@{peer.Addresses[0]}");
        foreach (string more in peer.Addresses.Skip(1))
        {
            address = address.Length + 1 + more.Length <= MaxAddressBytes ? $"{address},{more}" : address;
        }

        return address;
    }

    /// <summary>What an anchor says of a peer; null where it speaks of a folder.</summary>
    internal static Peer? FromAnchor(HolderId id, string place, string address, long nowSeconds)
    {
        int at = address.IndexOf('@', StringComparison.Ordinal);
        if (!IsPeer(address) || at != Scheme.Length + (2 * Bytes32.Size) || !Peer.IsName(place))
        {
            return null;
        }

        byte[] key;
        try
        {
            key = Convert.FromHexString(address.AsSpan(Scheme.Length, 2 * Bytes32.Size));
        }
        catch (FormatException)
        {
            return null;
        }

        string[] addresses = [.. address[(at + 1)..].Split(',').Where(static each => NodeAddress.TryParse(each, out _)).Take(Peer.MaxAddresses)];
        return addresses.Length == 0 ? null : new Peer
        {
            AccountKey = default,
            DeviceKey = Bytes32.Read(key),
            Name = place,
            Place = place,
            KeptForUs = 1, // it says how much, when it is met
            Holder = id,
            MetAtSeconds = nowSeconds,
            Addresses = addresses,
        };
    }

    private static IReadOnlyList<NodeAddress> AddressesOf(Peer peer) =>
        [.. peer.Addresses.Select(static text => NodeAddress.TryParse(text, out NodeAddress? address) ? address : throw new FormatException(text))];

    private static ExpectedIdentity ExpectedOf(Peer peer) => new() { DeviceKey = peer.DeviceKey, AccountKey = peer.AccountKey };

    private async Task<ConfiguredHolder> OpenAsync(Peer peer, PeerList list, NodeCertificate own, IReadOnlyList<Revocation> revoked, CancellationToken cancel)
    {
        PeerConnection connection = Dial(peer, list, own);
        try
        {
            PeerHolder holder = await MeetAsync(connection, revoked, cancel).ConfigureAwait(false);
            if (OwnerOf(list, peer, holder.Id) is { } owner)
            {
                holder.Dispose();
                return new ConfiguredHolder(peer.Place, AddressOf(peer), null, $"peer {connection.Where} says that it is the holder that {owner.Name} is, and is left out: expected one of its own; if {owner.Name} moved there, 'tdfs peer revoke {owner.Name}'")
                {
                    QuotaBytes = peer.KeptForUs, IsCached = true, IsElsewhere = true, IsLeaving = peer.IsLeaving, Country = peer.Country,
                };
            }

            return new ConfiguredHolder(peer.Place, AddressOf(peer), holder, null) { QuotaBytes = holder.Hello.QuotaBytes, IsCached = true, IsElsewhere = true, IsLeaving = peer.IsLeaving, Country = peer.Country };
        }
        catch (PeerException problem)
        {
            connection.Dispose();
            return new ConfiguredHolder(peer.Place, AddressOf(peer), null, $"peer {problem.Message}") { QuotaBytes = peer.KeptForUs, IsCached = true, IsElsewhere = true, IsLeaving = peer.IsLeaving, Country = peer.Country, KnownId = peer.Holder };
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Another peer that is known to be this holder, and was before this one: what is sent to the one must not lie at the other.</summary>
    private static Peer? OwnerOf(PeerList list, Peer peer, HolderId id) =>
        list.Peers.TakeWhile(other => peer.Holder != id || other.DeviceKey != peer.DeviceKey)
            .FirstOrDefault(other => other.DeviceKey != peer.DeviceKey && other.Holder == id && other.IsHolder);

    /// <summary>What peers said of themselves goes into the list, if it is news.</summary>
    private static async ValueTask LearnAsync(PeerFile file, PeerList known, Peer[] keepers, ConfiguredHolder[] opened, CancellationToken cancel)
    {
        var news = new Dictionary<Bytes32, PeerHolder>();
        for (int i = 0; i < keepers.Length; i++)
        {
            if (opened[i].Holder is PeerHolder holder && Learned(keepers[i], holder) != keepers[i])
            {
                news[keepers[i].DeviceKey] = holder;
            }
        }

        if (news.Count > 0)
        {
            await file.ChangeAsync(
                list => list with { Peers = [.. list.Peers.Select(peer => news.TryGetValue(peer.DeviceKey, out PeerHolder? holder) ? Learned(peer, holder) : peer)] },
                cancel).ConfigureAwait(false);
        }
    }

    private static Peer Learned(Peer peer, PeerHolder holder) => peer with
    {
        KeptForUs = Math.Max(1, holder.Hello.QuotaBytes),
        Holder = holder.Id,
        AccountKey = holder.Connection.Identity is { } identity ? Bytes32.Read(identity.AccountKey) : peer.AccountKey,
    };
}
