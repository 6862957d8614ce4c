using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Wire;

/// <summary>For how long a holder keeps what is an account's own without hearing of it, in days on which the holder's node runs.</summary>
/// <remarks>Format: docs/protocol.md 3.3, renew.</remarks>
/// <param name="AbsenceDays">0: until a person says so.</param>
/// <param name="GraceDays">How long nothing happens then but that its owner is told.</param>
/// <param name="ReleaseDays">How long what is released after that can still be taken back.</param>
public sealed record LeaseTerms(uint AbsenceDays, uint GraceDays, uint ReleaseDays)
{
    internal const int Size = 3 * sizeof(uint);

    internal byte[] Write()
    {
        var writer = new FieldWriter(Size);
        writer.U32(AbsenceDays);
        writer.U32(GraceDays);
        writer.U32(ReleaseDays);
        return writer.ToArray();
    }

    internal static LeaseTerms Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "renew");
        var terms = new LeaseTerms(reader.U32(), reader.U32(), reader.U32());
        reader.End();
        return terms;
    }
}
