using System.Buffers.Binary;

namespace TokTok.Storage.Core;

/// <summary>The 32-byte name of a block: keyed BLAKE3 of its plaintext under its domain's score key for the block's type.</summary>
/// <remarks>Format: docs/format.md 2.1 and 5. Scores of different key domains never match, and a score never leaves its domain.</remarks>
public readonly record struct Score : IComparable<Score>
{
    /// <summary>Bytes of a score on disk.</summary>
    public const int Size = 32;

    // Words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
    private readonly ulong _first;
    private readonly ulong _second;
    private readonly ulong _third;
    private readonly ulong _fourth;

    public Score(UInt128 high, UInt128 low)
    {
        _first = unchecked((ulong)(high >> 64));
        _second = unchecked((ulong)high);
        _third = unchecked((ulong)(low >> 64));
        _fourth = unchecked((ulong)low);
    }

    private Score(ulong first, ulong second, ulong third, ulong fourth)
    {
        _first = first;
        _second = second;
        _third = third;
        _fourth = fourth;
    }

    public UInt128 High
    {
        get => new(_first, _second);
        init
        {
            _first = unchecked((ulong)(value >> 64));
            _second = unchecked((ulong)value);
        }
    }

    public UInt128 Low
    {
        get => new(_third, _fourth);
        init
        {
            _third = unchecked((ulong)(value >> 64));
            _fourth = unchecked((ulong)value);
        }
    }

    /// <summary>Reads a score from its 32 bytes.</summary>
    public static Score Read(ReadOnlySpan<byte> source) =>
        new(
            BinaryPrimitives.ReadUInt64BigEndian(source),
            BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[16..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[24..]));

    /// <summary>Writes the 32 bytes of the score.</summary>
    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _first);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _second);
        BinaryPrimitives.WriteUInt64BigEndian(target[16..], _third);
        BinaryPrimitives.WriteUInt64BigEndian(target[24..], _fourth);
    }

    /// <summary>The last 8 bytes: as good as random, for whoever wants a few bits of it.</summary>
    public ulong LastWord => _fourth;

    public int CompareTo(Score other)
    {
        int order = _first.CompareTo(other._first);
        order = order != 0 ? order : _second.CompareTo(other._second);
        order = order != 0 ? order : _third.CompareTo(other._third);
        return order != 0 ? order : _fourth.CompareTo(other._fourth);
    }

    public static bool operator <(Score left, Score right) => left.CompareTo(right) < 0;

    public static bool operator >(Score left, Score right) => left.CompareTo(right) > 0;

    public static bool operator <=(Score left, Score right) => left.CompareTo(right) <= 0;

    public static bool operator >=(Score left, Score right) => left.CompareTo(right) >= 0;

    /// <summary>The first 16 hexadecimal digits: enough for people; a score is never parsed back from text.</summary>
    public override string ToString() => $"{_first:x16}";
}
