using System.Buffers.Binary;
using System.Numerics;
using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>Reads the fields of a structure of Files out of bytes that nobody vouches for.</summary>
/// <remarks>
/// Format: docs/format.md 12.1. A varint is LEB128, at most ten bytes and never longer than it must be, so that equal values have equal bytes.
/// Every length is compared with its limit before anything is allocated for it; what is wrong is a <see cref="DamagedFormatException"/>
/// that names the structure, the field and the offset.
/// </remarks>
internal ref struct FormatReader(ReadOnlyMemory<byte> bytes, string structure)
{
    private readonly ReadOnlyMemory<byte> _memory = bytes;
    private readonly ReadOnlySpan<byte> _span = bytes.Span;
    private readonly string _structure = structure;

    public int Position { get; private set; }

    public readonly int Remaining => _span.Length - Position;

    public byte Byte(string field)
    {
        if (Remaining < 1)
        {
            throw Damaged(field, "one byte", "the end");
        }

        return _span[Position++];
    }

    /// <summary>A byte that the format fixes to one value.</summary>
    public void Expect(byte expected, string field)
    {
        byte found = Byte(field);
        if (found != expected)
        {
            throw Damaged(field, $"{expected}", $"{found}");
        }
    }

    public ulong Varint(string field, ulong limit = ulong.MaxValue)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            if (Position >= _span.Length)
            {
                throw Damaged(field, "a varint", "the end");
            }

            byte part = _span[Position++];
            if (shift == 63 && part > 1)
            {
                throw Damaged(field, "a varint of 64 bits", "a longer one");
            }

            value |= (ulong)(part & 0x7f) << shift;
            if (part < 0x80)
            {
                if (part == 0 && shift > 0)
                {
                    throw Damaged(field, "the shortest varint", "a longer one");
                }

                break;
            }
        }

        return value <= limit ? value : throw Damaged(field, $"at most {limit}", $"{value}");
    }

    public int Length(string field, int limit) => (int)Varint(field, (ulong)limit);

    public long SignedVarint(string field)
    {
        ulong folded = Varint(field);
        return unchecked((long)(folded >> 1) ^ -(long)(folded & 1));
    }

    public ReadOnlyMemory<byte> Bytes(int count, string field)
    {
        if (Remaining < count)
        {
            throw Damaged(field, $"{count} bytes", $"{Remaining}");
        }

        ReadOnlyMemory<byte> part = _memory.Slice(Position, count);
        Position += count;
        return part;
    }

    /// <summary>A varint length and as many bytes.</summary>
    public ReadOnlyMemory<byte> Counted(string field, int limit) => Bytes(Length(field, limit), field);

    public Score Score(string field) => Core.Score.Read(Bytes(Core.Score.Size, field).Span);

    public ulong UInt64(string field) => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(sizeof(ulong), field).Span);

    public ulong UInt64BigEndian(string field) => BinaryPrimitives.ReadUInt64BigEndian(Bytes(sizeof(ulong), field).Span);

    /// <summary>The structure must end exactly here.</summary>
    public readonly void End()
    {
        if (Remaining != 0)
        {
            throw Damaged("end", "nothing more", $"{Remaining} bytes");
        }
    }

    public readonly DamagedFormatException Damaged(string field, string expected, string found) =>
        new($"{_structure}: {field} before offset {Position}: expected {expected}, found {found}");
}

/// <summary>Writes the fields that <see cref="FormatReader"/> reads, into a buffer that grows and is used again.</summary>
internal sealed class FormatWriter(int capacity = 256)
{
    private byte[] _buffer = new byte[capacity];

    public int Position { get; private set; }

    public ReadOnlyMemory<byte> Written => _buffer.AsMemory(0, Position);

    public static int VarintBytes(ulong value) => ((64 - BitOperations.LeadingZeroCount(value | 1)) + 6) / 7;

    public void Clear() => Position = 0;

    public byte[] ToArray() => Written.ToArray();

    public void Byte(byte value) => Take(1)[0] = value;

    public void Varint(ulong value)
    {
        Span<byte> target = Take(VarintBytes(value));
        for (int at = 0; at < target.Length; at++)
        {
            target[at] = (byte)((value & 0x7f) | (at + 1 < target.Length ? 0x80u : 0u));
            value >>= 7;
        }
    }

    public void Varint(int value) => Varint((ulong)value);

    public void SignedVarint(long value) => Varint(unchecked((ulong)((value << 1) ^ (value >> 63))));

    public void Bytes(ReadOnlySpan<byte> value) => value.CopyTo(Take(value.Length));

    public void Counted(ReadOnlySpan<byte> value)
    {
        Varint(value.Length);
        Bytes(value);
    }

    public void Score(Score score) => score.Write(Take(Core.Score.Size));

    public void UInt64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(sizeof(ulong)), value);

    public void UInt64BigEndian(ulong value) => BinaryPrimitives.WriteUInt64BigEndian(Take(sizeof(ulong)), value);

    private Span<byte> Take(int count)
    {
        if (_buffer.Length - Position < count)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, Position + count));
        }

        Span<byte> taken = _buffer.AsSpan(Position, count);
        Position += count;
        return taken;
    }
}
