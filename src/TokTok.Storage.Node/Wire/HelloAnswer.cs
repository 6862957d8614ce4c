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
        writer.I64(QuotaBytes);
        writer.I64(FragmentBytes);
        writer.I64(ObjectBytes);
        writer.I64(RoomBytes);
        writer.U32((uint)ReleasedCount);
        writer.I64(ReleasedBytes);
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
            QuotaBytes = NotNegative(reader.I64()),
            FragmentBytes = NotNegative(reader.I64()),
            ObjectBytes = NotNegative(reader.I64()),
            RoomBytes = NotNegative(reader.I64()),
            ReleasedCount = reader.Count(Protocol.MaxListed, "the count of released arenas"),
            ReleasedBytes = NotNegative(reader.I64()),
            ClockSeconds = reader.I64(),
            Program = reader.ShortText("the program"),
        };
        reader.End();
        return answer;
    }

    private static long NotNegative(long value) => value >= 0 ? value : throw new DamagedFormatException($"hello: found {value}, expected 0 or more");
}
