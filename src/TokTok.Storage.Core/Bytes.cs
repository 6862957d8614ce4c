using System.Buffers.Binary;
using System.Globalization;

namespace TokTok.Storage.Core;

/// <summary>16 bytes as two big-endian words: what names of that size are made of.</summary>
/// <remarks>Words of 64 bits, for the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.</remarks>
public readonly record struct Bytes16(ulong High, ulong Low)
{
    public const int Size = 16;

    public static Bytes16 Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]));

    public static Bytes16 New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, High);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], Low);
    }

    /// <summary>All 32 hexadecimal digits.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{High:x16}{Low:x16}");
}

/// <summary>32 bytes as four big-endian words: what names of that size are made of.</summary>
public readonly record struct Bytes32(ulong First, ulong Second, ulong Third, ulong Fourth)
{
    public const int Size = 32;

    public static Bytes32 Read(ReadOnlySpan<byte> source) =>
        new(
            BinaryPrimitives.ReadUInt64BigEndian(source),
            BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[16..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[24..]));

    public static Bytes32 New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, First);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], Second);
        BinaryPrimitives.WriteUInt64BigEndian(target[16..], Third);
        BinaryPrimitives.WriteUInt64BigEndian(target[24..], Fourth);
    }

    /// <summary>All 64 hexadecimal digits.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{First:x16}{Second:x16}{Third:x16}{Fourth:x16}");
}
