using System.Buffers.Binary;
using System.Globalization;

namespace TokTok.Storage.Core;

/// <summary>The random 256-bit name of an arena. It serves one image only: bytes under it never change.</summary>
public readonly record struct ArenaId(UInt128 High, UInt128 Low)
{
    public const int Size = 32;

    public static ArenaId Read(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt128BigEndian(source), BinaryPrimitives.ReadUInt128BigEndian(source[16..]));

    public static ArenaId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt128BigEndian(target, High);
        BinaryPrimitives.WriteUInt128BigEndian(target[16..], Low);
    }

    /// <summary>All 64 hexadecimal digits: the name of its file in a folder holder.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{High:x32}{Low:x32}");
}

/// <summary>The BLAKE3 of a fragment's bytes: its name at every holder.</summary>
public readonly record struct FragmentName(UInt128 High, UInt128 Low)
{
    public const int Size = 32;

    public static FragmentName Read(ReadOnlySpan<byte> source) =>
        new(BinaryPrimitives.ReadUInt128BigEndian(source), BinaryPrimitives.ReadUInt128BigEndian(source[16..]));

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt128BigEndian(target, High);
        BinaryPrimitives.WriteUInt128BigEndian(target[16..], Low);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{High:x32}{Low:x32}");
}

/// <summary>The random 128-bit name of a volume, constant over its history.</summary>
public readonly record struct VolumeId(UInt128 Value)
{
    public const int Size = 16;

    public static VolumeId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public static VolumeId Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt128BigEndian(source));

    public void Write(Span<byte> target) => BinaryPrimitives.WriteUInt128BigEndian(target, Value);

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Value:x32}");
}

/// <summary>The random 128-bit name of a holder, written into it when it is first used.</summary>
public readonly record struct HolderId(UInt128 Value)
{
    public const int Size = 16;

    public static HolderId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public static HolderId Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt128BigEndian(source));

    public void Write(Span<byte> target) => BinaryPrimitives.WriteUInt128BigEndian(target, Value);

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Value:x32}");
}
