using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <content>Repair by friends: what one is given, taken away, and does.</content>
internal sealed partial class StorePeers
{
    /// <summary>Writes what a friend needs to repair this store's arenas without any key, and lets him at the peers again if he was revoked there.</summary>
    internal async ValueTask<RepairExportResult> ExportRepairAsync(BlockStore store, string name, string path, CancellationToken cancel)
    {
        if (disk.FileExists(path))
        {
            throw new UserError(ExitCode.Exists, $"{path}: found a file, expected none; move it away or name another");
        }

        PeerList list = Read();
        Peer friend = Find(list, name);
        if (friend.IsRevoked)
        {
            throw new UserError(ExitCode.Usage, $"{name} is revoked; a friend who repairs must be a peer");
        }

        StoreHolder[] known = [.. store.Holders.Where(static holder => holder.Address.Length > 0)];
        string[] places = [.. known.Select(static holder => holder.Place).Distinct(StringComparer.Ordinal)];
        var holders = new List<RepairHolder>();
        foreach (StoreHolder holder in known)
        {
            Peer? peer = PeerHolders.IsPeer(holder) ? list.Peers.FirstOrDefault(each => each.Holder == holder.Id || (each.Addresses.Count > 0 && PeerHolders.AddressOf(each) == holder.Address)) : null;
            holders.Add(new RepairHolder(
                holder.Id, peer?.DeviceKey ?? default, peer?.AccountKey ?? default, Array.IndexOf(places, holder.Place), !holder.IsGone && peer is { IsRevoked: false, IsLeaving: false }, peer?.Addresses ?? []));
        }

        ArenaRecord[] arenas = [.. store.Catalog.Arenas().Where(static arena => arena.State == ArenaState.Sealed)];
        RepairGrant grant = RepairGrant.Issue(keyring.Certificate, keyring.Device, friend.DeviceKey, Now);
        byte[] file;
        try
        {
            file = RepairCapability.Write(grant, keyring.Device, holders, arenas.Select(arena => (EntryOf(arena), PlacesOf(arena))));
        }
        catch (InvalidOperationException much)
        {
            throw new UserError(ExitCode.Reported, $"{path}: {much.Message}", much);
        }

        IReadOnlyList<string> unreached = await AtHoldersAsync(list, (holder, revocation) => holder.DeleteObjectAsync(revocation, cancel), friend, cancel).ConfigureAwait(false); // 1. a crash here leaves a friend who may, and has no file
        WriteWhole(path, file);                                                                                                                                            // 2.
        return new RepairExportResult(friend.Name, path, arenas.Length, holders.Count(static holder => holder.DeviceKey != default), file.Length, unreached);

        IReadOnlyList<ushort> PlacesOf(ArenaRecord arena) => [.. arena.Fragments.Select(fragment => Array.FindIndex(known, holder => holder.Number == fragment.Holder) is >= 0 and int at ? (ushort)at : RepairCapability.Nowhere)];
    }

    public async ValueTask<RepairRevokeResult> RevokeRepairAsync(string name, CancellationToken cancel)
    {
        PeerList list = Read();
        Peer friend = Find(list, name);
        int asked = list.Peers.Count(each => each.IsHolder);
        IReadOnlyList<string> unreached = await AtHoldersAsync(list, (holder, revocation) => holder.PutObjectAsync(revocation, new byte[1], cancel), friend, cancel).ConfigureAwait(false);
        return new RepairRevokeResult(friend.Name, asked - unreached.Count, unreached);
    }

    public async ValueTask<RepairForResult> RepairForAsync(string path, bool movesAbsent, IProgressSink progress, CancellationToken cancel)
    {
        PeerList list = Read();
        NodeCertificate own = Own;
        RepairCapability capability = ReadCapability(path);
        if (capability.Grant.Friend != Bytes32.Read(own.DeviceKey))
        {
            throw new UserError(ExitCode.Keys, $"{path}: found a repair capability for another device, expected one for this one; its owner names this one with `tdfs repair --export FILE --to NAME`");
        }

        if (list.Peers.FirstOrDefault(peer => peer.AccountKey == capability.Grant.Account && !peer.IsRevoked) is not { } owner)
        {
            throw new UserError(ExitCode.Keys, $"{path}: it is signed by somebody whom this machine has not met, or has revoked; expected a peer that `tdfs peer list` shows");
        }

        var pass = new RepairPass(capability);
        StoreHolder[] holders = await Task.WhenAll(capability.Holders.Select((holder, at) => ReachAsync(holder, at, capability, pass, list, own, cancel))).ConfigureAwait(false);
        try
        {
            return Array.TrueForAll(holders, static holder => holder.Holder is null)
                ? throw new UserError(ExitCode.Peer, $"{path}: none of its {holders.Count(static holder => holder.Address.Length > 0)} peers answers and lets this device in{(holders.Select(static holder => holder.Problem).FirstOrDefault(static problem => problem is not null) is { } why ? $" ({why})" : "")}; it may have been revoked")
                : await new BlindRepair(capability, holders, movesAbsent, say).RunAsync(owner.Name, progress, cancel).ConfigureAwait(false);
        }
        finally
        {
            foreach (StoreHolder holder in holders)
            {
                (holder.Holder as IDisposable)?.Dispose();
            }
        }
    }

    private static RepairEntry EntryOf(ArenaRecord arena) => new(
        arena.Id, arena.Layout.SliceBytes, arena.Layout.DataFragments, arena.Layout.ParityFragments, arena.Survive, [.. arena.Fragments.Select(static fragment => fragment.Name)]);

    private RepairCapability ReadCapability(string path)
    {
        byte[] bytes;
        try
        {
            using IDiskFile file = disk.Open(path, DiskOpen.Read);
            if (file.Length > RepairCapability.MaxBytes)
            {
                throw new UserError(ExitCode.Damaged, $"{path}: found {file.Length} bytes, expected a repair capability of at most {RepairCapability.MaxBytes}");
            }

            bytes = new byte[(int)file.Length];
            int read = 0;
            while (read < bytes.Length && file.Read(read, bytes.AsSpan(read)) is > 0 and int part)
            {
                read += part;
            }
        }
        catch (DiskException absent) when (absent.Failure == DiskFailure.NotFound)
        {
            throw new UserError(ExitCode.NotFound, $"{path}: found no such file, expected what `tdfs repair --export` wrote", absent);
        }

        try
        {
            return RepairCapability.Read(bytes);
        }
        catch (DamagedFormatException damage)
        {
            throw new UserError(ExitCode.Damaged, $"{path}: {damage.Message}; ask its owner for another", damage);
        }
        catch (NotSignedException other)
        {
            throw new UserError(ExitCode.Keys, $"{path}: {other.Message}", other);
        }
    }

    private async Task<StoreHolder> ReachAsync(RepairHolder named, int at, RepairCapability capability, RepairPass pass, PeerList list, NodeCertificate own, CancellationToken cancel)
    {
        var holder = new StoreHolder { Number = (ushort)at, Id = named.Id, Place = $"place {named.Place}", IsGone = !named.TakesMore };
        if (named.DeviceKey == default || named.Addresses.Count == 0)
        {
            return holder;
        }

        holder = holder with { Address = named.Addresses[0] };
        bool isOwn = named.DeviceKey == Bytes32.Read(own.DeviceKey) && config.Node.Listen is not null;
        var connection = new PeerConnection(
            isOwn ? "this machine's node" : list.FindDevice(named.DeviceKey)?.Name ?? "a peer of theirs",
            isOwn ? [PeerHolders.Loopback(config.Node.Listen!)] : [.. named.Addresses.Select(static text => NodeAddress.TryParse(text, out NodeAddress? address) ? address : throw new FormatException(text))],
            new ExpectedIdentity { DeviceKey = named.DeviceKey, AccountKey = named.AccountKey },
            own,
            clock,
            config.RepairRate,
            0,
            isOwn ? null : _holders.Relays(default, list, own)) { Pass = pass };
        try
        {
            PeerHolder reached = await PeerHolder.OpenAsync(connection, say, cancel, random).ConfigureAwait(false);
            Dictionary<ArenaId, RepairEntry> entries = capability.Arenas.ToDictionary(static arena => arena.Entry.Id, static arena => arena.Entry);
            reached.Expected = (id, index) => entries.TryGetValue(id, out RepairEntry? entry) && index < entry.Names.Count ? new ExpectedFragment(entry.Names[index], entry.SliceBytes) : null;
            return holder with { Id = reached.Id, Holder = reached }; // another id: its disk was replaced, and it is empty
        }
        catch (PeerException problem)
        {
            connection.Dispose();
            say($"peer {problem.Message}");
            return holder with { Problem = problem.Message };
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Does something about a friend's grant at every peer that keeps for us; says who was not reached.</summary>
    private async ValueTask<IReadOnlyList<string>> AtHoldersAsync(PeerList list, Func<PeerHolder, string, ValueTask> act, Peer friend, CancellationToken cancel)
    {
        NodeCertificate own = Own;
        string?[] unreached = await Task.WhenAll(list.Peers.Where(peer => peer.IsHolder && !peer.HasEnded(Now)).Select(async peer =>
        {
            using PeerConnection connection = _holders.Dial(peer, list, own);
            try
            {
                using PeerHolder holder = await PeerHolder.OpenAsync(connection, null, cancel).ConfigureAwait(false);
                await act(holder, RepairGrant.RevocationOf(friend.DeviceKey)).ConfigureAwait(false);
                return null;
            }
            catch (Exception failure) when (failure is PeerException or DiskException)
            {
                return failure.Message;
            }
        })).ConfigureAwait(false);
        return [.. unreached.OfType<string>()];
    }

    private void WriteWhole(string path, byte[] bytes)
    {
        string next = path + ".new";
        if (disk.FileExists(next))
        {
            disk.Delete(next);
        }

        using (IDiskFile file = disk.Open(next, DiskOpen.CreateNew))
        {
            file.Write(0, bytes);
            file.Sync();
        }

        disk.Rename(next, path);
        disk.SyncDirectory(Path.GetDirectoryName(path)!);
    }
}
