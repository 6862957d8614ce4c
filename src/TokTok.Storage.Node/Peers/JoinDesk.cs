using System.Security.Cryptography;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Peers;

/// <summary>Where those come in who bring an invitation.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.4. The secret's hash is looked up in memory; the disk is touched only for one that was given out.
/// Order: the peer is in the list and the invitation crossed out, durably and in one write, before the answer leaves.
/// </remarks>
public sealed class JoinDesk(PeerBook book, string ownName, IReadOnlyList<NodeAddress> ownAddresses)
{
    private const byte Expired = 1;
    private const byte Used = 2;

    internal async ValueTask<JoinOffer> JoinAsync(NodeIdentity who, ReadOnlyMemory<byte> secret, JoinOffer offer, CancellationToken cancel)
    {
        Bytes32 hash = InvitationCode.HashOf(secret.Span);
        if (Find(book.List, hash) is null)
        {
            throw HolderService.NotLetIn();
        }

        Bytes32 device = Bytes32.Read(who.DeviceKey);
        long kept = 0;
        long now = book.NowSeconds;
        await book.ChangeAsync(
            list =>
            {
                Invitation invitation = Find(list, hash) ?? throw HolderService.NotLetIn();
                kept = invitation.KeptForIt;
                if (invitation.UsedAtSeconds != 0)
                {
                    return invitation.UsedBy == device && list.FindDevice(device) is { IsRevoked: false }
                        ? list // the answer was lost
                        : throw new RefusalException(Protocol.Status.Gone, "the invitation was used already") { Reason = Used };
                }

                if (now >= invitation.ExpiresAtSeconds)
                {
                    throw new RefusalException(Protocol.Status.Gone, "the invitation has expired") { Reason = Expired };
                }

                Peer? before = list.FindDevice(device);
                string name = invitation.Name.Length > 0 ? invitation.Name : before?.Name ?? Peer.CleanName(offer.Name);
                var peer = new Peer
                {
                    AccountKey = Bytes32.Read(who.AccountKey),
                    DeviceKey = device,
                    Name = name,
                    Place = invitation.Place.Length > 0 ? invitation.Place : before?.Place ?? name,
                    KeptForIt = invitation.KeptForIt,
                    KeptForUs = offer.KeptBytes,
                    AbsenceDays = invitation.AbsenceDays,
                    SendRate = before?.SendRate ?? 0,
                    ReceiveRate = before?.ReceiveRate ?? 0,
                    MetAtSeconds = now,
                    Holder = before?.Holder ?? default,
                    Addresses = [.. offer.Addresses.Select(static address => address.ToString())],
                };
                return list.With(peer).With(invitation with { UsedAtSeconds = now, UsedBy = device }, now);
            },
            cancel).ConfigureAwait(false);
        return new JoinOffer(kept, ownName, ownAddresses);
    }

    /// <summary>Hashes of secrets of 80 bits are compared in constant time: it costs nothing.</summary>
    private static Invitation? Find(PeerList list, Bytes32 hash)
    {
        Span<byte> wanted = stackalloc byte[Bytes32.Size];
        Span<byte> each = stackalloc byte[Bytes32.Size];
        hash.Write(wanted);
        Invitation? found = null;
        foreach (Invitation invitation in list.Invitations)
        {
            invitation.SecretHash.Write(each);
            found = CryptographicOperations.FixedTimeEquals(wanted, each) ? invitation : found;
        }

        return found;
    }
}
