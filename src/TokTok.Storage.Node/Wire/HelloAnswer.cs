using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Wire;

/// <summary>How a holder stands to the account that asks.</summary>
/// <remarks>Format: docs/protocol.md 3.3, hello.</remarks>
public sealed record HelloAnswer
{
    internal const int MaxBytes = HolderId.Size + 4 * sizeof(long) + sizeof(uint) + 2 * sizeof(long) + 256;

    public required HolderId Holder { get; init; }

    public required long QuotaBytes { get; init; }

    public required long FragmentBytes { get; init; }

    public required long ObjectBytes { get; init; }

    /// <summary>Bytes of fragments that may still come, by the quota and by the disk.</summary>
    public required long RoomBytes { get; init; }

    public required int ReleasedCount { get; init; }

    public required long ReleasedBytes { get; init; }

    public required long ClockSeconds { get; init; }

    public required string Program { get; init; }

    internal byte[] Write()
    {
        var writer = new FieldWriter(MaxBytes);
        Holder.Write(writer.Take(HolderId.Size));
        writer.I64(Math.Min(QuotaBytes, Protocol.MaxSaidBytes));
        writer.I64(Math.Min(FragmentBytes, Protocol.MaxSaidBytes));
        writer.I64(Math.Min(ObjectBytes, Protocol.MaxSaidBytes));
        writer.I64(Math.Min(RoomBytes, Protocol.MaxSaidBytes));
        writer.U32((uint)ReleasedCount);
        writer.I64(Math.Min(ReleasedBytes, Protocol.MaxSaidBytes));
        writer.I64(ClockSeconds);
        writer.ShortText(Program);
        return writer.ToArray();
    }

    internal static HelloAnswer Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "hello");
        var answer = new HelloAnswer
        {
            Holder = HolderId.Read(reader.Bytes(HolderId.Size)),
            QuotaBytes = Size(reader.I64()),
            FragmentBytes = Size(reader.I64()),
            ObjectBytes = Size(reader.I64()),
            RoomBytes = Size(reader.I64()),
            ReleasedCount = reader.Count(Protocol.MaxListed, "the count of released arenas"),
            ReleasedBytes = Size(reader.I64()),
            ClockSeconds = reader.I64(),
            Program = reader.ShortText("the program"),
        };
        reader.End();
        return answer;
    }

    /// <summary>What a peer says of sizes is added up here and there: more than anybody has is no size.</summary>
    private static long Size(long value) =>
        value is >= 0 and <= Protocol.MaxSaidBytes ? value : throw new DamagedFormatException($"hello: found {value} bytes, expected 0 to {Protocol.MaxSaidBytes}");
}
