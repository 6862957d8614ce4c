using System.Buffers.Binary;

namespace TokTok.Storage.Core;

/// <summary>The 32-byte name of a block: keyed BLAKE3 of its plaintext under its domain's score key for the block's type.</summary>
/// <remarks>Format: docs/format.md 2.1 and 5. Scores of different key domains never match, and a score never leaves its domain.</remarks>
public readonly record struct Score(UInt128 High, UInt128 Low) : IComparable<Score>
{
    /// <summary>Bytes of a score on disk.</summary>
    public const int Size = 32;

    /// <summary>Reads a score from its 32 bytes.</summary>
    public static Score Read(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt128BigEndian(source), BinaryPrimitives.ReadUInt128BigEndian(source[16..]));

    /// <summary>Writes the 32 bytes of the score.</summary>
    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt128BigEndian(target, High);
        BinaryPrimitives.WriteUInt128BigEndian(target[16..], Low);
    }

    public int CompareTo(Score other)
    {
        int high = High.CompareTo(other.High);
        return high != 0 ? high : Low.CompareTo(other.Low);
    }

    public static bool operator <(Score left, Score right) => left.CompareTo(right) < 0;

    public static bool operator >(Score left, Score right) => left.CompareTo(right) > 0;

    public static bool operator <=(Score left, Score right) => left.CompareTo(right) <= 0;

    public static bool operator >=(Score left, Score right) => left.CompareTo(right) >= 0;

    /// <summary>The first 16 hexadecimal digits: enough for people; a score is never parsed back from text.</summary>
    public override string ToString() => $"{(ulong)(High >> 64):x16}";
}
