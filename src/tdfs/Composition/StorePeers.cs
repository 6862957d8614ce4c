using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Lan;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Tdfs.Config;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Invitations, the peer list, and the node that keeps fragments for others.</summary>
/// <remarks>The keyring's owner is told apart: a verb's own is disposed of with this, a session's is not.</remarks>
internal sealed partial class StorePeers(StorageConfig config, Keyring keyring, bool ownsKeyring, IDisk disk, IRandomSource random, TimeProvider clock, Action<string> say) : IPeers
{
    private const string NoRelay = "none";

    private static readonly TimeSpan s_notYet = TimeSpan.FromSeconds(3);

    private readonly PeerHolders _holders = new(disk, random, clock, config.Node.Listen, say, config.Node.IsFoundOnLan);

    private PeerFile File => _holders.FileOf(config.StorePath, keyring);

    private NodeCertificate Own => new(keyring.Device, keyring.Certificate, clock);

    private long Now => clock.GetUtcNow().ToUnixTimeSeconds();

    public async ValueTask<InviteResult> InviteAsync(InviteRequest request, CancellationToken cancel)
    {
        if (config.Node.Listen is null)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no [node] listen, expected an address such as \"0.0.0.0:4919\", for whoever is invited to dial");
        }

        IReadOnlyList<NodeAddress> addresses = OwnAddresses();
        if (addresses.Count == 0)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no address of this machine to write into the invitation, expected [node] address");
        }

        byte[] secret = new byte[InvitationCode.SecretSize];
        random.Fill(secret);
        long kept = request.KeptBytes ?? config.Node.QuotaBytes;
        long expires = Now + (long)request.ValidFor.TotalSeconds;
        try
        {
            await ChangeAsync(
                list => list.With(
                    new Invitation { SecretHash = InvitationCode.HashOf(secret), MadeAtSeconds = Now, ExpiresAtSeconds = expires, KeptForIt = kept, AbsenceDays = request.AbsenceDays ?? 0, Name = request.Name ?? "", Place = request.Place ?? "" }, Now),
                cancel).ConfigureAwait(false);
        }
        catch (InvalidOperationException full)
        {
            throw new UserError(ExitCode.Usage, $"{full.Message}; wait until some have been used or expired for 30 days", full);
        }

        var code = new InvitationCode { Secret = secret, Fingerprint = NodeIdentity.FingerprintOf(keyring.Certificate.DevicePublicKey), Addresses = addresses };
        return new InviteResult(code.ToString(), expires, kept, [.. addresses.Select(static address => address.ToString())]);
    }

    public async ValueTask<PeerInfo> AcceptAsync(AcceptRequest request, CancellationToken cancel)
    {
        if (!InvitationCode.TryParse(request.Code, out InvitationCode? code, out string? error))
        {
            throw new UserError(ExitCode.Usage, error);
        }

        if (NodeIdentity.FingerprintOf(keyring.Certificate.DevicePublicKey).AsSpan().SequenceEqual(code.Fingerprint.Span))
        {
            throw new UserError(ExitCode.Usage, "found this machine's own invitation, expected another's; the code is for `tdfs peer accept` there");
        }

        if (request.KeptBytes > 0 && config.Node.Listen is null)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no [node] listen, expected one: without it nobody can bring what is to be kept");
        }

        long kept = request.KeptBytes ?? (config.Node.Listen is null ? 0 : config.Node.QuotaBytes);
        PeerList known = Read();
        Bytes32 via = request.Via is { } relay ? Find(known, relay).DeviceKey : default;
        NodeCertificate own = Own;
        using var connection = new PeerConnection("the inviter", code.Addresses, new ExpectedIdentity { Fingerprint = code.Fingerprint }, own, clock, relays: _holders.Relays(via, known, own));
        JoinOffer offer = await JoinAsync(connection, code, new JoinOffer(kept, Peer.CleanName(keyring.DeviceName), OwnAddresses()), cancel).ConfigureAwait(false);
        NodeIdentity inviter = connection.Identity!;
        Bytes32 device = Bytes32.Read(inviter.DeviceKey);
        PeerList list = await ChangeAsync(
            before =>
            {
                Peer? known = before.FindDevice(device);
                string name = request.Name ?? known?.Name ?? Peer.CleanName(offer.Name);
                return before.With(new Peer
                {
                    AccountKey = Bytes32.Read(inviter.AccountKey),
                    DeviceKey = device,
                    Name = name,
                    Place = request.Place ?? known?.Place ?? name,
                    Country = request.Country switch { null => known?.Country, "" => null, { } country => country },
                    KeptForIt = kept,
                    KeptForUs = offer.KeptBytes,
                    AbsenceDays = request.AbsenceDays ?? known?.AbsenceDays ?? 0,
                    SendRate = known?.SendRate ?? 0,
                    ReceiveRate = known?.ReceiveRate ?? 0,
                    RelayADay = known?.RelayADay ?? 0,
                    Via = via != default ? via : known?.Via ?? default,
                    MetAtSeconds = Now,
                    Holder = known?.Holder ?? default,
                    // What it was reached by comes first.
                    Addresses = [.. code.Addresses.Concat(offer.Addresses).Select(static address => address.ToString()).Distinct(StringComparer.Ordinal).Take(Peer.MaxAddresses)],
                });
            },
            cancel).ConfigureAwait(false);
        return Info(list.FindDevice(device)!);
    }

    public async ValueTask<PeerListing> ListAsync(CancellationToken cancel)
    {
        PeerList list = Read();
        NodeCertificate own = Own;
        PeerInfo[] all = await Task.WhenAll(list.Peers.Select(async peer =>
        {
            if (!peer.IsHolder || peer.HasEnded(Now))
            {
                return Info(peer);
            }

            using PeerConnection connection = _holders.Dial(peer, list, own);
            try
            {
                using PeerHolder holder = await PeerHolder.OpenAsync(connection, null, cancel).ConfigureAwait(false);
                LeaseTerms lease = await holder.RenewAsync(cancel).ConfigureAwait(false);
                return Info(peer) with { AbsenceForUsDays = lease.AbsenceDays, KeptForUsBytes = holder.Hello.QuotaBytes, UsedBytes = holder.Hello.FragmentBytes + holder.Hello.ObjectBytes, ReleasedBytes = holder.Hello.ReleasedBytes };
            }
            catch (Exception problem) when (problem is PeerException or DiskException or DamagedFormatException)
            {
                return Info(peer) with { Problem = problem.Message };
            }
        })).ConfigureAwait(false);
        return new PeerListing([.. all.OrderBy(static peer => peer.Name, StringComparer.Ordinal)], list.Invitations.Count(each => each.UsedAtSeconds == 0 && each.ExpiresAtSeconds > Now));
    }

    public async ValueTask<PeerInfo> SetAsync(SetPeerRequest request, CancellationToken cancel)
    {
        if (request.KeptBytes > 0 && config.Node.Listen is null)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no [node] listen, expected one: without it nobody can bring what is to be kept");
        }

        string name = request.NewName ?? request.Name;
        PeerList list = await ChangeAsync(
            before =>
            {
                Peer peer = Find(before, request.Name);
                if (request.NewName is { } wanted && wanted != request.Name && before.Find(wanted) is not null)
                {
                    throw new UserError(ExitCode.Exists, $"{wanted} is another peer's name; `tdfs peer list` shows them");
                }

                Peer changed = peer with
                {
                    Name = name,
                    Place = request.Place ?? peer.Place,
                    Country = request.Country is { } country ? (country.Length > 0 ? country : null) : peer.Country,
                    KeptForIt = request.KeptBytes ?? peer.KeptForIt,
                    AbsenceDays = request.AbsenceDays ?? peer.AbsenceDays,
                    SendRate = request.SendRate ?? peer.SendRate,
                    ReceiveRate = request.ReceiveRate ?? peer.ReceiveRate,
                    RelayADay = request.RelayADay ?? peer.RelayADay,
                    Via = request.Via is not { } via ? peer.Via : via == NoRelay ? default : via == peer.Name ? throw new UserError(ExitCode.Usage, $"found --via {via}, expected another peer") : Find(before, via).DeviceKey,
                    EndsAtSeconds = request.EndsIn is not { } ends ? peer.EndsAtSeconds : ends == TimeSpan.Zero ? 0 : Now + (long)ends.TotalSeconds,
                    Addresses = request.Addresses.Count > 0 ? request.Addresses : peer.Addresses,
                };
                return before with { Peers = [.. before.Peers.Select(each => each == peer ? changed : each)] };
            },
            cancel).ConfigureAwait(false);
        return Info(list.Find(name)!);
    }

    public async ValueTask<PeerInfo> RevokeAsync(string name, CancellationToken cancel)
    {
        PeerList list = await ChangeAsync(
            before =>
            {
                Peer peer = Find(before, name);
                return peer.IsRevoked ? before : before with { Peers = [.. before.Peers.Select(each => each == peer ? peer with { IsRevoked = true } : each)] };
            },
            cancel).ConfigureAwait(false);
        return Info(list.Find(name)!);
    }

    public ValueTask<PeerInfo> StayAsync(string name, CancellationToken cancel) => SetLeavingAsync(name, false, cancel);

    /// <summary>Who is to leave.</summary>
    internal Peer FindHolder(string name)
    {
        Peer peer = Find(Read(), name);
        return peer.IsHolder && !peer.HasEnded(Now) ? peer
            : throw new UserError(ExitCode.Usage, peer.IsRevoked ? $"{name} is revoked: `tdfs repair` moves what it kept for this store" : $"{name} keeps nothing for this store; `tdfs peer revoke` lets it in no more");
    }

    internal async ValueTask<PeerInfo> SetLeavingAsync(string name, bool isLeaving, CancellationToken cancel)
    {
        PeerList list = await ChangeAsync(
            before =>
            {
                Peer peer = Find(before, name);
                return !peer.IsHolder ? throw new UserError(ExitCode.Usage, $"{name} keeps nothing for this store")
                    : peer.IsLeaving == isLeaving ? before
                    : before with { Peers = [.. before.Peers.Select(each => each == peer ? peer with { IsLeaving = isLeaving } : each)] };
            },
            cancel).ConfigureAwait(false);
        return Info(list.Find(name)!);
    }

    /// <summary>Releases what a peer has of this device, if it answers.</summary>
    /// <param name="isOurs">Arenas that no other device of the account needs there.</param>
    /// <param name="objects">Whether the small objects go too: no other device of the account has any.</param>
    /// <returns>Why not all was released; null: it was.</returns>
    internal async ValueTask<string?> ReleaseAllAsync(Peer peer, Func<ArenaId, bool> isOurs, bool objects, CancellationToken cancel)
    {
        using PeerConnection connection = _holders.Dial(peer, Read(), Own);
        try
        {
            using PeerHolder holder = await PeerHolder.OpenAsync(connection, null, cancel).ConfigureAwait(false);
            foreach (HeldArenaEntry entry in (await holder.ListAsync(cancel).ConfigureAwait(false)).Where(entry => isOurs(entry.Id)))
            {
                await holder.DeleteAsync(entry.Id, cancel).ConfigureAwait(false);
            }

            foreach (HolderObject each in objects ? await holder.ListObjectsAsync("", cancel).ConfigureAwait(false) : [])
            {
                await holder.DeleteObjectAsync(each.Name, cancel).ConfigureAwait(false);
            }

            return null;
        }
        catch (Exception failure) when (failure is PeerException or DiskException)
        {
            return failure.Message;
        }
    }

    /// <summary>A peer is no holder of ours any more, and is forgotten unless we keep something for it.</summary>
    internal async ValueTask EndAsync(string name, CancellationToken cancel) => _ = await ChangeAsync(
        before =>
        {
            Peer ended = Find(before, name);
            return ended.KeptForIt == 0 ? before.Without(ended)
                : before with { Peers = [.. before.Peers.Select(each => each == ended ? ended with { IsLeaving = false, KeptForUs = 0, Holder = default } : each)] };
        },
        cancel).ConfigureAwait(false);

    public async ValueTask ForgiveAsync(string name, CancellationToken cancel)
    {
        Peer peer = FindHolder(Read(), name);
        await new ScoreFile(disk, config.StorePath, keyring.CacheKey, random, clock).ChangeAsync(scores => scores.Forgiving(peer.Holder), cancel).ConfigureAwait(false);
    }

    public async ValueTask<long> CancelReleasesAsync(string name, CancellationToken cancel)
    {
        PeerList list = Read();
        Peer peer = FindHolder(list, name);
        using PeerHolder holder = await PeerHolder.OpenAsync(_holders.Dial(peer, list, Own), null, cancel).ConfigureAwait(false);
        return await holder.CancelReleasesAsync(cancel).ConfigureAwait(false);
    }

    private static Peer FindHolder(PeerList list, string name) => Find(list, name) is { IsHolder: true } peer ? peer : throw new UserError(ExitCode.Usage, $"{name} keeps nothing for this store");

    public async ValueTask ServeAsync(Action<IPEndPoint> serving, CancellationToken cancel)
    {
        if (config.Node.Listen is not { } listen)
        {
            throw new UserError(ExitCode.Config, $"{config.File}: found no [node] listen, expected an address such as \"0.0.0.0:4919\"");
        }

        HolderHouse house = HolderHouse.Open(disk, config.Node.Folder, OpenHolder, config.Node.FloorBytes, clock, say);
        await using (house.ConfigureAwait(false))
        {
            _ = Read(); // a list that cannot be read is told before anybody dials
            var book = new PeerBook(File, clock, say);
            var desk = new JoinDesk(book, Peer.CleanName(keyring.DeviceName), OwnAddresses());
            NodeCertificate own = Own;
            var enrols = new EnrolDesk(new EnrolmentFile(disk, config.StorePath, keyring.CacheKey, random, clock), keyring, random, clock, say);
            enrols.Refresh();
            using var service = new HolderService(house, book, desk, Bytes32.Read(own.AccountKey), Program(), random, clock, say) { Enrols = enrols, Own = RevocationNews.FileOf(config.StorePath, keyring, disk, random, clock) };
            service.Refresh();
            PeerServer server;
            try
            {
                server = await PeerServer.StartAsync(listen, own, service, clock, say, cancel).ConfigureAwait(false);
            }
            catch (Exception failure) when (failure is IOException or SocketException)
            {
                throw new UserError(ExitCode.Usage, $"cannot listen at {listen}: {failure.GetBaseException().Message}; expected an address of this machine that is free", failure);
            }

            await using (server.ConfigureAwait(false))
            {
                serving(server.Endpoint);
                Task lines = new LineKeeper(book, peer => _holders.DialDirectly(peer, own), server, clock).RunAsync(cancel);
                using LanResponder? responder = config.Node.IsFoundOnLan ? LanResponder.TryStart(Bytes32.Read(own.DeviceKey), server.Endpoint, clock, LanGroup.Standard, say) : null;
                Task answers = responder?.RunAsync(cancel) ?? Task.CompletedTask;
                using var timer = new PeriodicTimer(PeerBook.Turn, clock);
                var counted = new HashSet<Bytes32>();
                long countedAt = clock.GetTimestamp();
                try
                {
                    while (await timer.WaitForNextTickAsync(cancel).ConfigureAwait(false))
                    {
                        await service.TickAsync(cancel).ConfigureAwait(false);
                        if (clock.GetElapsedTime(countedAt) >= Ledger.Every)
                        {
                            countedAt = clock.GetTimestamp();
                            await CountAsync(service, counted).ConfigureAwait(false);
                        }
                    }
                }
                catch (OperationCanceledException)
                {
                }

                await lines.ConfigureAwait(false);
                await answers.ConfigureAwait(false);
                await CountAsync(service, counted).ConfigureAwait(false);
            }
        }
    }

    private Ledger GiveAndTake => new(disk, config.StorePath, keyring.CacheKey, keyring.Device, random, clock);

    /// <summary>Writes down what is kept for each account that has asked for anything since the node began, and what it moved.</summary>
    private async ValueTask CountAsync(HolderService service, HashSet<Bytes32> counted)
    {
        try
        {
            long now = Now;
            await GiveAndTake.ChangeAsync(
                (await service.TakeMovedAsync(CancellationToken.None).ConfigureAwait(false)).ToDictionary(
                    static each => each.Account,
                    each =>
                    {
                        bool isFirst = counted.Add(each.Account);
                        return (Func<LedgerEntry, LedgerEntry>)(entry => entry.WithOurs(each.KeptBytes, each.BroughtBytes, each.TakenBytes, isFirst, now));
                    }),
                CancellationToken.None).ConfigureAwait(false);
        }
        catch (DiskException failure)
        {
            say($"{failure.Message}; what was moved is not in the ledger");
        }
    }

    public void Dispose()
    {
        if (ownsKeyring)
        {
            keyring.Dispose();
        }
    }

    private PeerList Read()
    {
        try
        {
            return File.Read();
        }
        catch (DamagedFormatException damage)
        {
            throw PeerHolders.Lost(damage);
        }
    }

    private async ValueTask<PeerList> ChangeAsync(Func<PeerList, PeerList> change, CancellationToken cancel)
    {
        try
        {
            return await File.ChangeAsync(change, cancel).ConfigureAwait(false);
        }
        catch (DamagedFormatException damage)
        {
            throw PeerHolders.Lost(damage);
        }
    }

    private static string Program() => $"tdfs {typeof(StorePeers).Assembly.GetName().Version?.ToString(3)}";

    private static Peer Find(PeerList list, string name) =>
        list.Find(name) ?? throw new UserError(ExitCode.NotFound, $"no peer is called {Output.TerminalText.Clean(name)}; `tdfs peer list` shows who was met");

    private FolderHolder OpenHolder(string path) => disk.FileExists(path + "/holder") ? FolderHolder.Open(disk, path, random) : FolderHolder.Create(disk, path, random);

    private PeerInfo Info(Peer peer) => new()
    {
        Name = peer.Name,
        Place = peer.Place,
        Country = peer.Country,
        IsOutside = !config.Countries.Allows(peer.Country),
        Fingerprint = Fingerprint(peer),
        Addresses = peer.Addresses,
        KeptForItBytes = peer.KeptForIt,
        KeptForUsBytes = peer.KeptForUs,
        SendRate = peer.SendRate,
        ReceiveRate = peer.ReceiveRate,
        RelayADayBytes = peer.RelayADay,
        IsRevoked = peer.IsRevoked,
        IsLeaving = peer.IsLeaving,
        AbsenceDays = peer.AbsenceDays,
        EndsAtSeconds = peer.EndsAtSeconds,
        HasEnded = peer.HasEnded(Now),
        Evidence = peer.Holder != default && new ScoreFile(disk, config.StorePath, keyring.CacheKey, random, clock).Read().Of(peer.Holder) is { } score ? PeerEvidence.Of(score) : null,
        Ledger = peer.AccountKey == default ? null : GiveAndTake.Read().FirstOrDefault(each => each.Account == peer.AccountKey),
    };

    private static string Fingerprint(Peer peer)
    {
        byte[] key = new byte[Bytes32.Size];
        peer.DeviceKey.Write(key);
        return Convert.ToHexStringLower(NodeIdentity.FingerprintOf(key)[..8]);
    }

    /// <summary>Asks again once where the inviter's node may not have read its own list yet.</summary>
    private async ValueTask<JoinOffer> JoinAsync(PeerConnection connection, InvitationCode code, JoinOffer offer, CancellationToken cancel)
    {
        for (bool isFirst = true; ; isFirst = false)
        {
            try
            {
                return await Join.AskAsync(connection, code, offer, cancel).ConfigureAwait(false);
            }
            catch (PeerException refused) when (refused.Problem == PeerProblem.NotLetIn && isFirst)
            {
                await Task.Delay(s_notYet, clock, cancel).ConfigureAwait(false);
            }
            catch (PeerException refused) when (refused.Problem == PeerProblem.NotLetIn)
            {
                throw new UserError(ExitCode.Keys, $"{connection.Where}: it knows no such invitation; ask for a new one", refused);
            }
        }
    }

    /// <summary>What others are told to dial.</summary>
    internal IReadOnlyList<NodeAddress> OwnAddresses()
    {
        if (config.Node.Listen is not { } listen)
        {
            return [];
        }

        if (config.Node.Addresses.Count > 0)
        {
            return [.. config.Node.Addresses.Select(static text => NodeAddress.TryParse(text, out NodeAddress? address) ? address : throw new FormatException(text))];
        }

        if (!listen.Address.Equals(IPAddress.Any) && !listen.Address.Equals(IPAddress.IPv6Any))
        {
            return [new NodeAddress(listen.Address.ToString(), (ushort)listen.Port)];
        }

        IEnumerable<IPAddress> found = NetworkInterface.GetAllNetworkInterfaces()
            .Where(static each => each.OperationalStatus == OperationalStatus.Up && each.NetworkInterfaceType != NetworkInterfaceType.Loopback)
            .SelectMany(static each => each.GetIPProperties().UnicastAddresses)
            .Select(static each => each.Address)
            .Where(each => !each.IsIPv6LinkLocal && (each.AddressFamily == AddressFamily.InterNetwork || listen.AddressFamily == AddressFamily.InterNetworkV6));
        return [.. found.OrderBy(static each => each.AddressFamily).Take(Peer.MaxAddresses).Select(each => new NodeAddress(each.ToString(), (ushort)listen.Port))];
    }
}
