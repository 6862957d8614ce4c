using System.Buffers.Binary;
using System.Globalization;

namespace TokTok.Storage.Core;

/// <summary>The random 128-bit name of a key domain.</summary>
public readonly record struct DomainId(UInt128 Value)
{
    public const int Size = 16;

    public static DomainId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public static DomainId Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt128BigEndian(source));

    public void Write(Span<byte> target) => BinaryPrimitives.WriteUInt128BigEndian(target, Value);

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Value:x32}");
}
