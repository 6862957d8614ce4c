using System.Buffers.Binary;
using System.Globalization;

namespace TokTok.Storage.Core;

/// <summary>The random 256-bit name of an arena. It serves one image only: bytes under it never change.</summary>
public readonly record struct ArenaId
{
    public const int Size = 32;

    // Words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
    private readonly ulong _first;
    private readonly ulong _second;
    private readonly ulong _third;
    private readonly ulong _fourth;

    public ArenaId(UInt128 high, UInt128 low)
    {
        _first = unchecked((ulong)(high >> 64));
        _second = unchecked((ulong)high);
        _third = unchecked((ulong)(low >> 64));
        _fourth = unchecked((ulong)low);
    }

    private ArenaId(ulong first, ulong second, ulong third, ulong fourth)
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

    public static ArenaId Read(ReadOnlySpan<byte> source) =>
        new(
            BinaryPrimitives.ReadUInt64BigEndian(source),
            BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[16..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[24..]));

    public static ArenaId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _first);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _second);
        BinaryPrimitives.WriteUInt64BigEndian(target[16..], _third);
        BinaryPrimitives.WriteUInt64BigEndian(target[24..], _fourth);
    }

    /// <summary>All 64 hexadecimal digits: the name of its file in a folder holder.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{_first:x16}{_second:x16}{_third:x16}{_fourth:x16}");
}

/// <summary>The BLAKE3 of a fragment's bytes: its name at every holder.</summary>
public readonly record struct FragmentName
{
    public const int Size = 32;

    // Words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
    private readonly ulong _first;
    private readonly ulong _second;
    private readonly ulong _third;
    private readonly ulong _fourth;

    public FragmentName(UInt128 high, UInt128 low)
    {
        _first = unchecked((ulong)(high >> 64));
        _second = unchecked((ulong)high);
        _third = unchecked((ulong)(low >> 64));
        _fourth = unchecked((ulong)low);
    }

    private FragmentName(ulong first, ulong second, ulong third, ulong fourth)
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

    public static FragmentName Read(ReadOnlySpan<byte> source) =>
        new(
            BinaryPrimitives.ReadUInt64BigEndian(source),
            BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[16..]),
            BinaryPrimitives.ReadUInt64BigEndian(source[24..]));

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _first);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _second);
        BinaryPrimitives.WriteUInt64BigEndian(target[16..], _third);
        BinaryPrimitives.WriteUInt64BigEndian(target[24..], _fourth);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{_first:x16}{_second:x16}{_third:x16}{_fourth:x16}");
}

/// <summary>The random 128-bit name of a volume, constant over its history.</summary>
public readonly record struct VolumeId
{
    public const int Size = 16;

    // Words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
    private readonly ulong _high;
    private readonly ulong _low;

    public VolumeId(UInt128 value)
    {
        _high = unchecked((ulong)(value >> 64));
        _low = unchecked((ulong)value);
    }

    private VolumeId(ulong high, ulong low)
    {
        _high = high;
        _low = low;
    }

    public UInt128 Value => new(_high, _low);

    public static VolumeId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public static VolumeId Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]));

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _high);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _low);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{_high:x16}{_low:x16}");
}

/// <summary>The random 128-bit name of a holder, written into it when it is first used.</summary>
public readonly record struct HolderId
{
    public const int Size = 16;

    // Words of 64 bits: the ahead-of-time compiler passes over every method that touches a type with UInt128 fields.
    private readonly ulong _high;
    private readonly ulong _low;

    public HolderId(UInt128 value)
    {
        _high = unchecked((ulong)(value >> 64));
        _low = unchecked((ulong)value);
    }

    private HolderId(ulong high, ulong low)
    {
        _high = high;
        _low = low;
    }

    public UInt128 Value => new(_high, _low);

    public static HolderId New(IRandomSource random)
    {
        ArgumentNullException.ThrowIfNull(random);
        Span<byte> bytes = stackalloc byte[Size];
        random.Fill(bytes);
        return Read(bytes);
    }

    public static HolderId Read(ReadOnlySpan<byte> source) => new(BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]));

    public void Write(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _high);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _low);
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{_high:x16}{_low:x16}");
}
