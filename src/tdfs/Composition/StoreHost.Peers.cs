using System.Buffers.Binary;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Composition;

/// <content>A store that comes back from words and one peer's address.</content>
internal sealed partial class StoreHost
{
    /// <summary>Dials a peer as a device that the words have just certified. Who answers is not known: what it hands out is encrypted and signed by the account, and counts only if it opens.</summary>
    private async ValueTask<PeerHolder> MeetAsync(AccountKeys account, string text, CancellationToken cancel)
    {
        if (!NodeAddress.TryParse(text, out NodeAddress? address))
        {
            throw new UserError(ExitCode.Usage, $"found --peer '{text}', expected host and port such as box.example.org:4919 or [2001:db8::7]:4919");
        }

        using DeviceKeys device = DeviceKeys.Create(random);
        byte[] bytes = new byte[sizeof(uint)];
        random.Fill(bytes);
        uint number = Math.Max(1, BinaryPrimitives.ReadUInt32LittleEndian(bytes) & DeviceCertificate.MaximumDeviceNumber); // any: the one that was lost may be revoked, and the peer refuses it then
        DeviceCertificate certificate = DeviceCertificate.Issue(account, device, number, DeviceName(), clock.GetUtcNow().ToUnixTimeSeconds());
        var connection = new PeerConnection("the peer", [address], new ExpectedIdentity(), new NodeCertificate(device, certificate, clock), clock);
        try
        {
            return await PeerHolder.OpenAsync(connection, say, cancel).ConfigureAwait(false);
        }
        catch (PeerException refused) when (refused.Problem == PeerProblem.NotLetIn)
        {
            connection.Dispose();
            throw new UserError(ExitCode.Keys, $"{text}: it does not know the account of these words, or lets it in no more; check the words and the address", refused);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>The peers that the anchor names, and the one that was dialled, become the recovered device's own list.</summary>
    private async ValueTask WritePeersAsync(StorageConfig target, Keyring keyring, IReadOnlyList<AnchorHolder> holders, PeerHolder? met, string? address, CancellationToken cancel)
    {
        string path = target.StorePath + "/" + PeerFile.Name;
        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        if (disk.FileExists(path))
        {
            disk.Rename(path, $"{path}.before-{now}"); // under the lost keyring's key
            disk.SyncDirectory(target.StorePath);
        }

        PeerList list = PeerList.Empty;
        foreach (AnchorHolder known in holders)
        {
            if (PeerHolders.FromAnchor(known.Id, known.Place, known.Address, now) is { } peer)
            {
                list = list.With(peer);
            }
        }

        if (met is { Connection.Identity: { } identity })
        {
            Bytes32 device = Bytes32.Read(identity.DeviceKey);
            Peer? named = list.FindDevice(device) ?? list.Peers.FirstOrDefault(peer => peer.Holder == met.Id);
            string name = named?.Name ?? Peer.CleanName(identity.DeviceName);
            list = (named is null ? list : list.Without(named)).With(new Peer
            {
                AccountKey = Bytes32.Read(identity.AccountKey),
                DeviceKey = device,
                Name = name,
                Place = named?.Place ?? name,
                Country = named?.Country,
                KeptForUs = Math.Max(1, met.Hello.QuotaBytes),
                Holder = met.Id,
                MetAtSeconds = now,
                Addresses = [.. (string[])[address!, .. named?.Addresses ?? []]],
            });
        }

        if (list.Peers.Count > 0)
        {
            list = list with { Peers = [.. list.Peers.Select(static peer => peer with { Addresses = [.. peer.Addresses.Distinct(StringComparer.Ordinal).Take(Peer.MaxAddresses)] })] };
            await new PeerHolders(disk, random, clock, null, say).FileOf(target.StorePath, keyring).ChangeAsync(_ => list, cancel).ConfigureAwait(false);
        }
    }
}
