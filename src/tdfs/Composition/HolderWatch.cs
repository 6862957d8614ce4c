using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Keeps the holders of an open store what the peer list and the disks say: who was absent is taken in when it is back, who was accepted meanwhile joins, who was revoked goes.</summary>
/// <remarks>
/// A folder counts as back when the holder that the catalog knows lies in it. A peer that vanishes while it is a holder stays one: its calls fail, at once while it was silent lately; it is
/// dialled here by another connection, and when that is answered its calls try again. One whose disk was replaced says so to the next call, and is dialled anew: it is another holder. Holders that were replaced are let go of at the end, since somebody may be reading from them.
/// Locks: _gate, one look at a time.
/// </remarks>
internal sealed class HolderWatch(BlockStore store, StorageConfig config, Keyring keyring, IDisk disk, IRandomSource random, TimeProvider clock, Action<string> say, INetwork? network = null) : IDisposable
{
    /// <summary>How often a node looks: somebody who comes back is taken in well within a minute.</summary>
    internal static readonly TimeSpan Turn = TimeSpan.FromSeconds(20);

    private readonly PeerHolders _peers = new(disk, random, clock, config.Node.Listen, say, config.Node.IsFoundOnLan, network);
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<IDisposable> _replaced = [];
    private string? _told;
    private volatile bool _wasSilent;

    /// <summary>By the last look this device is presumed cut off (docs/protocol.md 3.6): whoever is missing may be there for everybody else, and nothing is moved for it.</summary>
    internal bool IsCutOff { get; private set; }

    /// <summary>Looks once. True: the holders changed, or one that was silent answers.</summary>
    internal async ValueTask<bool> LookAsync(CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            PeerFile file = _peers.FileOf(config.StorePath, keyring);
            PeerList list;
            try
            {
                list = file.Read();
                _told = null;
            }
            catch (Exception failure) when (failure is DamagedFormatException or DiskException)
            {
                if (_told != failure.Message)
                {
                    _told = failure.Message;
                    say($"{failure.Message}; the holders known before stay");
                }

                return false;
            }

            List<ConfiguredHolder> now = Folders();
            now.AddRange(await PeersAsync(file, list, cancel).ConfigureAwait(false));
            bool wasSilent = _wasSilent;
            _wasSilent = false;
            ScoreList scores = new ScoreFile(disk, config.StorePath, keyring.CacheKey, random, clock).Read();
            IsCutOff = scores.CutOffSinceSeconds > 0;
            return TakeIn(LostPeers.GiveUp(config.Countries.Apply(now), scores, config.Survive)) || wasSilent;
        }
        finally
        {
            _gate.Release();
        }
    }

    public void Dispose()
    {
        _replaced.ForEach(static holder => holder.Dispose());
        _gate.Dispose();
    }

    private List<ConfiguredHolder> Folders()
    {
        var folders = new List<ConfiguredHolder>();
        foreach (HolderConfig folder in StoreHost.HoldersOf(config))
        {
            IFragmentHolder? holder = store.Holders.FirstOrDefault(known => known.Address == folder.Path && known.Holder is not null)?.Holder;
            string? problem = store.Holders.FirstOrDefault(known => known.Address == folder.Path)?.Problem;
            try
            {
                holder ??= disk.FileExists(folder.Path + "/holder") ? FolderHolder.Open(disk, folder.Path, random, mayWrite: store.IsWritable) : null;
            }
            catch (Exception failure) when (failure is DiskException or DamagedFormatException)
            {
                problem = failure.Message;
            }

            if (holder is not null && store.Holders.All(known => known.Id != holder.Id))
            {
                problem = $"{folder.Path}: found another holder than the one that was there";
                (holder as IDisposable)?.Dispose();
                holder = null;
            }

            folders.Add(new ConfiguredHolder(folder.Place, folder.Path, holder, holder is null ? problem ?? $"{folder.Path}: found no holder there" : null) { QuotaBytes = folder.QuotaBytes, IsCached = folder.IsCached, Country = folder.Country });
        }

        return folders;
    }

    private async ValueTask<ConfiguredHolder[]> PeersAsync(PeerFile file, PeerList list, CancellationToken cancel)
    {
        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        // Who lies outside the rule has nothing to bring, unless it has fragments from before.
        Peer[] keepers = [.. list.Peers.Where(peer => peer.IsHolder && !peer.HasEnded(now) && (config.Countries.Allows(peer.Country) || store.Holders.Any(known => known.Id == peer.Holder)))];
        Peer[] absent = [.. keepers.Where(peer => Present(peer) is not { } holder || holder.Address != PeerHolders.AddressOf(peer) || holder.Itself is PeerHolder { Connection.IsReplaced: true })];
        ConfiguredHolder[] dialled = absent.Length == 0 ? []
            : await _peers.DialAsync(file, list, absent, new NodeCertificate(keyring.Device, keyring.Certificate, clock), RevocationNews.Of(store), store.IsWritable, cancel).ConfigureAwait(false);
        await ForgiveAsync([.. keepers.Where(peer => Present(peer)?.Itself is PeerHolder { Connection.IsSilent: true })], list, cancel).ConfigureAwait(false);
        return [.. keepers.Select(peer => Array.IndexOf(absent, peer) is >= 0 and var at && (dialled[at].Holder is not null || Present(peer) is null or { Itself: PeerHolder { Connection.IsReplaced: true } })
            ? dialled[at]
            : new ConfiguredHolder(peer.Place, PeerHolders.AddressOf(peer), Present(peer)!.Holder, null) { QuotaBytes = Present(peer)!.QuotaBytes, IsCached = true, IsElsewhere = true, IsLeaving = peer.IsLeaving, Country = peer.Country })];
    }

    private async ValueTask ForgiveAsync(Peer[] silent, PeerList list, CancellationToken cancel)
    {
        var own = new NodeCertificate(keyring.Device, keyring.Certificate, clock);
        await Task.WhenAll(silent.Select(async peer =>
        {
            using PeerConnection connection = _peers.Dial(peer, list, own);
            try
            {
                using PeerHolder answered = await _peers.MeetAsync(connection, RevocationNews.Of(store), cancel).ConfigureAwait(false);
                if (Present(peer)?.Itself is PeerHolder holder && holder.Id == answered.Id)
                {
                    holder.Connection.Forgive();
                    _wasSilent = true;
                    say($"peer {holder.Connection.Where} answers again");
                }
            }
            catch (PeerException)
            {
                // as before
            }
        })).ConfigureAwait(false);
    }

    private StoreHolder? Present(Peer peer) => store.Holders.FirstOrDefault(known => known.Itself is PeerHolder { Connection.Identity: { } who } && Bytes32.Read(who.DeviceKey) == peer.DeviceKey);

    private bool TakeIn(List<ConfiguredHolder> now)
    {
        IReadOnlyList<StoreHolder> before = store.Holders;
        if (now.TrueForAll(holder => IsKnown(before, holder)) && before.All(known => (known.IsGone && known.Holder is null) || now.Exists(holder => Is(holder, known))))
        {
            return false;
        }

        store.ChangeHolders(now);
        PeerHolders.Teach(store);
        foreach (StoreHolder holder in store.Holders)
        {
            StoreHolder? was = before.FirstOrDefault(known => known.Id == holder.Id);
            if (was?.Itself is IDisposable old && !ReferenceEquals(old, holder.Itself))
            {
                _replaced.Add(old);
            }

            if (holder is { Holder: not null, IsGone: false } && was?.Holder is null)
            {
                say(was is null ? $"{PeerHolders.Show(holder)} is a holder from now on" : $"{PeerHolders.Show(holder)} is back");
            }
        }

        return true;
    }

    private static bool Is(ConfiguredHolder holder, StoreHolder known) => holder.Holder is { } reachable ? reachable.Id == known.Id : known.Holder is null && holder.Address == known.Address;

    /// <summary>Whether the table says the same of it. One that was never reached, or was always outside the rule, has no number, and nothing is to be said.</summary>
    private static bool IsKnown(IReadOnlyList<StoreHolder> before, ConfiguredHolder holder)
    {
        StoreHolder? known = before.FirstOrDefault(each => Is(holder, each));
        return known is null ? holder.Holder is null || holder.IsOutside
            : ReferenceEquals(known.Holder, holder.Holder) && known.IsGone == holder.IsLeaving && known.IsDoubted == holder.IsDoubted && known.Place == holder.Place && known.Country == holder.Country && known.Address == holder.Address && known.QuotaBytes == holder.QuotaBytes;
    }
}
