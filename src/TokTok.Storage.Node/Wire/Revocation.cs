using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Transport;

namespace TokTok.Storage.Node.Wire;

/// <summary>A device's word that another of its account is revoked, and the certificate by which it counts.</summary>
/// <remarks>Format: docs/protocol.md 3.3 (`statements`), 3.11. An object of this type is well formed; whether it counts is asked of <see cref="Counts"/>.</remarks>
public sealed record Revocation(DeviceCertificate Signer, DeviceStatement Statement)
{
    /// <summary>At most so many are said at once, and as many pairs are remembered of an account.</summary>
    public const int MaxCount = 64;

    internal const int MaxOneBytes = 1 + MaxEntryBytes;
    internal const int MaxListBytes = 1 + (MaxCount * MaxEntryBytes);

    private const int MaxEntryBytes = sizeof(ushort) + DeviceCertificate.MaximumBytes + sizeof(ushort) + DeviceStatement.MaximumBytes;

    /// <summary>Whether the account vouches for its signer, who said it, and said that a device is revoked.</summary>
    internal bool Counts(Bytes32 account) =>
        Statement.State == DeviceState.Revoked && Statement.Device != Statement.Signer
        && Bytes32.Read(Signer.AccountPublicKey) == account && Signer.IsSignedBy(Signer.AccountPublicKey) && Statement.IsSignedBy(Signer);

    /// <summary>Says them to a peer that keeps for this account: in one request, or, to one that does not let this device in and may by what the first of them says, each by itself.</summary>
    /// <exception cref="PeerException">It does not answer, refuses, or is of an older release, which knows nothing of revoked devices.</exception>
    public static async ValueTask SayAsync(PeerConnection peer, IReadOnlyCollection<Revocation> all, bool isRefused, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(peer);
        ArgumentNullException.ThrowIfNull(all);
        foreach (Revocation[] part in all.Chunk(isRefused ? 1 : MaxCount))
        {
            try
            {
                _ = await peer.AskAsync(Protocol.Operation.Statements, Write(part).WrittenMemory, 0, cancel).ConfigureAwait(false);
            }
            catch (PeerException refused) when (isRefused && refused.Problem == PeerProblem.NotLetIn)
            {
                // another of them may be the one
            }
        }
    }

    internal static FieldWriter Write(IReadOnlyCollection<Revocation> all)
    {
        if (all.Count is < 1 or > MaxCount)
        {
            throw new ArgumentException($"{all.Count} statements; 1 to {MaxCount} are said at once.", nameof(all));
        }

        var writer = new FieldWriter(1024);
        writer.U8((byte)all.Count);
        foreach (Revocation each in all)
        {
            writer.U16((ushort)each.Signer.Bytes.Length);
            writer.Bytes(each.Signer.Bytes);
            writer.U16((ushort)each.Statement.Bytes.Length);
            writer.Bytes(each.Statement.Bytes);
        }

        return writer;
    }

    /// <exception cref="DamagedFormatException">Not exactly one list.</exception>
    internal static IReadOnlyList<Revocation> Read(ReadOnlySpan<byte> bytes)
    {
        var reader = new FieldReader(bytes, "statements");
        int count = reader.U8();
        if (count is < 1 or > MaxCount)
        {
            throw reader.Damaged($"{count} statements, 1 to {MaxCount} expected");
        }

        var all = new List<Revocation>(count);
        for (int i = 0; i < count; i++)
        {
            DeviceCertificate signer = DeviceCertificate.Read(Part(ref reader, DeviceCertificate.MaximumBytes, "a certificate"));
            all.Add(new Revocation(signer, DeviceStatement.Read(Part(ref reader, DeviceStatement.MaximumBytes, "a statement"))));
        }

        reader.End();
        return all;

        static ReadOnlySpan<byte> Part(ref FieldReader reader, int most, string what)
        {
            int length = reader.U16();
            return length <= most ? reader.Bytes(length) : throw reader.Damaged($"{what} of {length} bytes, at most {most} expected");
        }
    }
}
