using System.Buffers.Binary;

namespace TokTok.Storage.Tdfs.Agent;

internal enum AgentOperation : byte
{
    Put = 1,
    Get = 2,
    Lock = 3,
    Status = 4,
    Stop = 5,
}

internal enum AgentResult : byte
{
    Done = 0,
    NotHeld = 1,
    Refused = 2,
}

/// <summary>The request and answer of the local agent, both of fixed size.</summary>
/// <remarks>Format: docs/protocol.md 1. Both sides work in the caller's buffer, which holds a key and is zeroed by its owner.</remarks>
internal static class AgentMessage
{
    internal const int KeyBytes = 32;
    internal const int IdBytes = 32;
    internal const int RequestBytes = MagicBytes + 4 + IdBytes + KeyBytes + sizeof(uint) + ReservedBytes;
    internal const int AnswerBytes = MagicBytes + 4 + KeyBytes + sizeof(uint) + ReservedBytes;
    internal const uint MaxSeconds = 7 * 86400;

    private const int MagicBytes = 4;
    private const int ReservedBytes = 4;
    private const int RequestIdOffset = 8;
    private const int RequestKeyOffset = RequestIdOffset + IdBytes;
    private const int RequestSecondsOffset = RequestKeyOffset + KeyBytes;
    private const int AnswerKeyOffset = 8;
    private const int AnswerSecondsOffset = AnswerKeyOffset + KeyBytes;
    private const byte Version = 1;

    private static ReadOnlySpan<byte> Magic => "TDFA"u8;

    internal static void WriteRequest(Span<byte> target, AgentOperation operation, ReadOnlySpan<byte> id, ReadOnlySpan<byte> key, uint seconds)
    {
        target = target[..RequestBytes];
        target.Clear();
        Magic.CopyTo(target);
        target[4] = Version;
        target[5] = (byte)operation;
        id.CopyTo(target.Slice(RequestIdOffset, IdBytes));
        key.CopyTo(target.Slice(RequestKeyOffset, KeyBytes));
        BinaryPrimitives.WriteUInt32LittleEndian(target[RequestSecondsOffset..], seconds);
    }

    /// <summary>False for anything that docs/protocol.md does not allow.</summary>
    internal static bool TryReadRequest(ReadOnlySpan<byte> source, out AgentOperation operation, out ReadOnlySpan<byte> id, out ReadOnlySpan<byte> key, out uint seconds)
    {
        operation = (AgentOperation)source[5];
        id = source.Slice(RequestIdOffset, IdBytes);
        key = source.Slice(RequestKeyOffset, KeyBytes);
        seconds = BinaryPrimitives.ReadUInt32LittleEndian(source[RequestSecondsOffset..]);
        bool isEnvelope = source.Length == RequestBytes && HasHead(source) && source[6] == 0 && source[7] == 0 && IsZero(source[(RequestBytes - ReservedBytes)..]);
        return isEnvelope && operation switch
        {
            AgentOperation.Put => seconds is >= 1 and <= MaxSeconds && !IsZero(id),
            AgentOperation.Get => seconds == 0 && IsZero(key) && !IsZero(id),
            AgentOperation.Lock => seconds == 0 && IsZero(key),
            AgentOperation.Status or AgentOperation.Stop => seconds == 0 && IsZero(key) && IsZero(id),
            _ => false,
        };
    }

    internal static void WriteAnswer(Span<byte> target, AgentResult result, int heldCount, uint seconds)
    {
        target = target[..AnswerBytes];
        Magic.CopyTo(target);
        target[4] = Version;
        target[5] = (byte)result;
        BinaryPrimitives.WriteUInt16LittleEndian(target[6..], (ushort)heldCount);
        BinaryPrimitives.WriteUInt32LittleEndian(target[AnswerSecondsOffset..], seconds);
        target[^ReservedBytes..].Clear();
    }

    /// <summary>The part of an answer that carries the key.</summary>
    internal static Span<byte> AnswerKey(Span<byte> answer) => answer.Slice(AnswerKeyOffset, KeyBytes);

    internal static bool TryReadAnswer(ReadOnlySpan<byte> source, out AgentResult result, out int heldCount, out uint seconds)
    {
        result = (AgentResult)source[5];
        heldCount = BinaryPrimitives.ReadUInt16LittleEndian(source[6..]);
        seconds = BinaryPrimitives.ReadUInt32LittleEndian(source[AnswerSecondsOffset..]);
        return source.Length == AnswerBytes && HasHead(source) && result <= AgentResult.Refused && heldCount <= AgentKeys.MaxCount;
    }

    internal static bool IsZero(ReadOnlySpan<byte> bytes) => bytes.IndexOfAnyExcept((byte)0) < 0;

    private static bool HasHead(ReadOnlySpan<byte> source) => source.StartsWith(Magic) && source[4] == Version;
}
