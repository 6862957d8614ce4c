namespace TokTok.Storage.Core;

/// <summary>The random 256-bit name of an arena. It serves one image only: bytes under it never change.</summary>
public readonly record struct ArenaId(Bytes32 Bytes)
{
    public const int Size = Bytes32.Size;

    public static ArenaId New(IRandomSource random) => new(Bytes32.New(random));

    public static ArenaId Read(ReadOnlySpan<byte> source) => new(Bytes32.Read(source));

    public void Write(Span<byte> target) => Bytes.Write(target);

    /// <summary>All 64 hexadecimal digits: the name of its file in a folder holder.</summary>
    public override string ToString() => Bytes.ToString();
}

/// <summary>The BLAKE3 of a fragment's bytes: its name at every holder.</summary>
public readonly record struct FragmentName(Bytes32 Bytes)
{
    public const int Size = Bytes32.Size;

    public static FragmentName Read(ReadOnlySpan<byte> source) => new(Bytes32.Read(source));

    public void Write(Span<byte> target) => Bytes.Write(target);

    public override string ToString() => Bytes.ToString();
}

/// <summary>The random 128-bit name of a volume, constant over its history.</summary>
public readonly record struct VolumeId(Bytes16 Bytes)
{
    public const int Size = Bytes16.Size;

    public static VolumeId New(IRandomSource random) => new(Bytes16.New(random));

    public static VolumeId Read(ReadOnlySpan<byte> source) => new(Bytes16.Read(source));

    public void Write(Span<byte> target) => Bytes.Write(target);

    public override string ToString() => Bytes.ToString();
}

/// <summary>The random 128-bit name of a holder, written into it when it is first used.</summary>
public readonly record struct HolderId(Bytes16 Bytes)
{
    public const int Size = Bytes16.Size;

    public static HolderId New(IRandomSource random) => new(Bytes16.New(random));

    public static HolderId Read(ReadOnlySpan<byte> source) => new(Bytes16.Read(source));

    public void Write(Span<byte> target) => Bytes.Write(target);

    public override string ToString() => Bytes.ToString();
}

/// <summary>The random 128-bit name of a key domain.</summary>
public readonly record struct DomainId(Bytes16 Bytes)
{
    public const int Size = Bytes16.Size;

    public static DomainId New(IRandomSource random) => new(Bytes16.New(random));

    public static DomainId Read(ReadOnlySpan<byte> source) => new(Bytes16.Read(source));

    public void Write(Span<byte> target) => Bytes.Write(target);

    public override string ToString() => Bytes.ToString();
}
