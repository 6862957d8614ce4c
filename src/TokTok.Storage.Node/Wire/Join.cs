using TokTok.Storage.Core;
using TokTok.Storage.Node.Peers;

namespace TokTok.Storage.Node.Wire;

/// <summary>What each side of a join tells the other: what it keeps for it, its name, and where it can be dialled.</summary>
/// <remarks>Format: docs/protocol.md 3.4. The request has the secret before it.</remarks>
public sealed record JoinOffer(long KeptBytes, string Name, IReadOnlyList<NodeAddress> Addresses)
{
    internal const int MaxBytes = sizeof(long) + 1 + 255 + 1 + (Peer.MaxAddresses * (1 + Peer.MaxAddressCharacters));

    internal void Write(FieldWriter writer)
    {
        writer.I64(KeptBytes);
        writer.ShortText(Name);
        writer.U8((byte)Addresses.Count);
        foreach (NodeAddress address in Addresses)
        {
            writer.ShortText(address.ToString());
        }
    }

    internal static JoinOffer Read(ref FieldReader reader)
    {
        long kept = reader.I64();
        string name = reader.ShortText("a name");
        int count = reader.U8();
        if (kept < 0 || name.Length is 0 or > Peer.MaxNameCharacters || count > Peer.MaxAddresses)
        {
            throw reader.Damaged($"found {kept} bytes, a name of {name.Length} characters and {count} addresses, expected 0 or more, 1 to {Peer.MaxNameCharacters}, and at most {Peer.MaxAddresses}");
        }

        var addresses = new NodeAddress[count];
        for (int i = 0; i < count; i++)
        {
            string text = reader.ShortText("an address");
            addresses[i] = NodeAddress.TryParse(text, out NodeAddress? address) ? address : throw reader.Damaged("an address is not host:port");
        }

        reader.End();
        return new JoinOffer(kept, name, addresses);
    }
}

/// <summary>The new device's side of an enrolment over the network.</summary>
public static class Enrol
{
    /// <summary>Brings the request to who was proven to have given the code out.</summary>
    /// <exception cref="Transport.PeerException">It does not answer, or refuses.</exception>
    public static async ValueTask<byte[]> AskAsync(Transport.PeerConnection connection, InvitationCode code, ReadOnlyMemory<byte> sealedRequest, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(connection);
        ArgumentNullException.ThrowIfNull(code);
        byte[] request = [.. Enrolment.IdOf(code.Secret.Span), .. sealedRequest.Span];
        return await connection.AskAsync(Protocol.Operation.Enrol, request, Enrolment.MaxAnswerBytes, cancel).ConfigureAwait(false);
    }
}

/// <summary>The joiner's side of a join.</summary>
public static class Join
{
    /// <summary>Brings the secret to who was proven to be the inviter.</summary>
    /// <exception cref="Transport.PeerException">The inviter does not answer, or refuses.</exception>
    public static async ValueTask<JoinOffer> AskAsync(Transport.PeerConnection connection, InvitationCode code, JoinOffer offer, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(connection);
        ArgumentNullException.ThrowIfNull(code);
        ArgumentNullException.ThrowIfNull(offer);
        var writer = new FieldWriter(InvitationCode.SecretSize + JoinOffer.MaxBytes);
        writer.Bytes(code.Secret.Span);
        offer.Write(writer);
        byte[] answer = await connection.AskAsync(Protocol.Operation.Join, writer.WrittenMemory, JoinOffer.MaxBytes, cancel).ConfigureAwait(false);
        try
        {
            var reader = new FieldReader(answer, "join");
            return JoinOffer.Read(ref reader);
        }
        catch (DamagedFormatException bad)
        {
            throw new Transport.PeerException(Transport.PeerProblem.BadAnswer, $"{connection.Where}: {bad.Message}");
        }
    }
}
