using System.Buffers.Binary;
using System.Globalization;

namespace TokTok.Storage.Core;

/// <summary>The random 128-bit name of a key domain.</summary>
public readonly record struct DomainId
{
    public const int Size = 16;

    // Words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
    private readonly ulong _high;
    private readonly ulong _low;

    public DomainId(UInt128 value)
    {
        _high = unchecked((ulong)(value >> 64));
        _low = unchecked((ulong)value);
    }

    private DomainId(ulong high, ulong low)
    {
        _high = high;
        _low = low;
    }

    public UInt128 Value => new(_high, _low);

    public static DomainId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public static DomainId Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]));

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _high);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _low);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{_high:x16}{_low:x16}");
}
