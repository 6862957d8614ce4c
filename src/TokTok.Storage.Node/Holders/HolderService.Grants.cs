using System.Buffers.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <content>Friends who repair for an account that is let in.</content>
public sealed partial class HolderService
{
    /// <summary>The grant that a request shows; null: none.</summary>
    /// <remarks>Format: docs/protocol.md 3.12. From memory alone. The cheap question comes first: a stranger makes us check no signature but for an account that is let in.</remarks>
    /// <exception cref="RefusalException">It shows one that does not hold.</exception>
    private RepairGrant? GrantOf(HttpContext http, NodeIdentity who)
    {
        if (!http.Request.Headers.TryGetValue(Protocol.GrantHeader, out StringValues shown))
        {
            return null;
        }

        try
        {
            if (shown is [{ Length: > 0 and <= RepairGrant.MaxTextBytes } text] && Base64.IsValid(text))
            {
                RepairGrant grant = RepairGrant.Read(Convert.FromBase64String(text));
                if (grant.Friend == Bytes32.Read(who.DeviceKey) && book.LetIn(grant.Account) is not null && grant.IsSigned())
                {
                    return grant;
                }
            }
        }
        catch (DamagedFormatException)
        {
            // as one that is not signed
        }

        throw NotLetIn();
    }

    /// <summary>What a granted request may be, and what it is about.</summary>
    private static async ValueTask AdmitAsync(HttpContext http, RepairGrant grant, string operation, HolderRequest request, HostedHolder holder)
    {
        if (operation is not (Protocol.Operation.Hello or Protocol.Operation.Inspect or Protocol.Operation.Read or Protocol.Operation.Hashes or Protocol.Operation.PutBegin or Protocol.Operation.PutBytes)
            || holder.Room.LengthOf(RepairGrant.RevocationOf(grant.Friend)) > 0)
        {
            throw NotLetIn();
        }

        http.Features.Get<Transport.PeerAdmission>()?.Admit(grant.Account);
        if (operation is Protocol.Operation.Hello or Protocol.Operation.PutBytes)
        {
            return;
        }

        byte[] head = await request.ExactlyAsync(sizeof(ushort)).ConfigureAwait(false);
        int count = System.Buffers.Binary.BinaryPrimitives.ReadUInt16LittleEndian(head);
        if (count > RepairEntry.MaxBytes)
        {
            throw new RefusalException(Protocol.Status.Malformed, $"an entry of {count} bytes, at most {RepairEntry.MaxBytes} expected");
        }

        byte[] entry = await request.ExactlyAsync(count).ConfigureAwait(false);
        byte[] signature = await request.ExactlyAsync(Core.Keys.Ed25519.SignatureSize).ConfigureAwait(false);
        request.Entry = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(entry, "entry");
            RepairEntry read = RepairEntry.Read(ref reader);
            reader.End();
            return read;
        });
        if (!RepairEntry.IsSigned(grant, entry, signature))
        {
            throw NotLetIn();
        }
    }
}
