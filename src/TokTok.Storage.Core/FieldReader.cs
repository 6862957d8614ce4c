using System.Buffers.Binary;
using System.Text;

namespace TokTok.Storage.Core;

/// <summary>Reads the fields of an on-disk structure one after another; running out of bytes is damage, not an index error.</summary>
/// <remarks>Format: docs/format.md 1. Little-endian. Nothing is allocated for a length before it was compared with its limit.</remarks>
public ref struct FieldReader(ReadOnlySpan<byte> source, string structure)
{
    private readonly ReadOnlySpan<byte> _source = source;
    private readonly string _structure = structure;

    public int Position { get; private set; }

    public readonly int Remaining => _source.Length - Position;

    public ReadOnlySpan<byte> Bytes(int count)
    {
        if (count < 0 || count > Remaining)
        {
            throw Damaged($"{count} bytes wanted at offset {Position}, {Remaining} left");
        }

        ReadOnlySpan<byte> taken = _source.Slice(Position, count);
        Position += count;
        return taken;
    }

    public byte U8() => Bytes(1)[0];

    public ushort U16() => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(2));

    public uint U32() => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4));

    public ulong U64() => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8));

    public long I64() => BinaryPrimitives.ReadInt64LittleEndian(Bytes(8));

    /// <summary>A u32 that must not exceed a limit.</summary>
    public int Count(int limit, string field)
    {
        uint value = U32();
        return value <= (uint)limit ? (int)value : throw Damaged($"{field} is {value}, at most {limit} expected");
    }

    /// <summary>LEB128, at most 10 bytes, in its shortest form.</summary>
    public ulong Varint()
    {
        ulong value = 0;
        for (int shift = 0; shift < 70; shift += 7)
        {
            byte part = U8();
            if ((shift == 63 && part > 1) || (part == 0 && shift > 0))
            {
                throw Damaged("a varint is not in its shortest form");
            }

            value |= (ulong)(part & 0x7F) << shift;
            if (part < 0x80)
            {
                return value;
            }
        }

        throw Damaged("a varint is longer than 10 bytes");
    }

    /// <summary>A varint length that must not exceed a limit.</summary>
    public int VarCount(int limit, string field)
    {
        ulong value = Varint();
        return value <= (ulong)limit ? (int)value : throw Damaged($"{field} is {value}, at most {limit} expected");
    }

    /// <summary>A u8 length and that many bytes of UTF-8.</summary>
    public string ShortText(string field)
    {
        try
        {
            return s_strict.GetString(Bytes(U8()));
        }
        catch (DecoderFallbackException)
        {
            throw Damaged($"{field} is not UTF-8");
        }
    }

    public void Reserved(int count)
    {
        if (Bytes(count).ContainsAnyExcept((byte)0))
        {
            throw Damaged($"reserved bytes before offset {Position} are not 0");
        }
    }

    public void Magic(ReadOnlySpan<byte> expected)
    {
        ReadOnlySpan<byte> found = Remaining >= expected.Length ? Bytes(expected.Length) : Bytes(Remaining);
        if (!found.SequenceEqual(expected))
        {
            throw Damaged($"begins with {Printable(found)}, expected {Printable(expected)}");
        }
    }

    /// <summary>Every structure uses exactly its size.</summary>
    public readonly void End()
    {
        if (Remaining != 0)
        {
            throw Damaged($"{Remaining} bytes follow its end");
        }
    }

    public readonly DamagedFormatException Damaged(string what) => new($"{_structure}: {what}");

    private static string Printable(ReadOnlySpan<byte> bytes)
    {
        foreach (byte b in bytes)
        {
            if (b is < 0x20 or > 0x7E)
            {
                return "0x" + Convert.ToHexString(bytes);
            }
        }

        return $"'{Encoding.ASCII.GetString(bytes)}'";
    }

    private static readonly UTF8Encoding s_strict = new(false, true);
}

/// <summary>Writes the fields of an on-disk structure one after another into a growing buffer.</summary>
/// <remarks>Format: docs/format.md 1. Not safe from many threads; <see cref="Clear"/> keeps the buffer.</remarks>
public sealed class FieldWriter(int capacity = 256)
{
    private byte[] _buffer = new byte[capacity];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Written => _buffer.AsSpan(0, Length);

    public ReadOnlyMemory<byte> WrittenMemory => _buffer.AsMemory(0, Length);

    public void Clear() => Length = 0;

    public byte[] ToArray() => Written.ToArray();

    /// <summary>Room for the next bytes, to be filled by the caller.</summary>
    public Span<byte> Take(int count)
    {
        if (_buffer.Length - Length < count)
        {
            Array.Resize(ref _buffer, Math.Max(Length + count, (int)Math.Min(2L * _buffer.Length, Array.MaxLength)));
        }

        Span<byte> room = _buffer.AsSpan(Length, count);
        Length += count;
        return room;
    }

    public void Bytes(ReadOnlySpan<byte> source) => source.CopyTo(Take(source.Length));

    public void U8(byte value) => Take(1)[0] = value;

    public void U16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Take(2), value);

    public void U32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);

    public void U64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    public void I64(long value) => BinaryPrimitives.WriteInt64LittleEndian(Take(8), value);

    public void Reserved(int count) => Take(count).Clear();

    public void Varint(ulong value)
    {
        while (value >= 0x80)
        {
            U8((byte)(value & 0x7F | 0x80));
            value >>= 7;
        }

        U8((byte)value);
    }

    public void ShortText(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int bytes = Encoding.UTF8.GetByteCount(text);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, 255, nameof(text));
        U8((byte)bytes);
        Encoding.UTF8.GetBytes(text, Take(bytes));
    }
}
