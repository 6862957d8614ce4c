namespace TokTok.Storage.Core;

/// <summary>The 32-byte name of a block: keyed BLAKE3 of its plaintext under its domain's score key for the block's type.</summary>
/// <remarks>Format: docs/format.md 2.1 and 5. Scores of different key domains never match, and a score never leaves its domain.</remarks>
public readonly record struct Score(Bytes32 Bytes) : IComparable<Score>
{
    /// <summary>Bytes of a score on disk.</summary>
    public const int Size = Bytes32.Size;

    /// <summary>Reads a score from its 32 bytes.</summary>
    public static Score Read(ReadOnlySpan<byte> source) => new(Bytes32.Read(source));

    /// <summary>Writes the 32 bytes of the score.</summary>
    public void Write(Span<byte> target) => Bytes.Write(target);

    /// <summary>The last 8 bytes: as good as random, for whoever wants a few bits of it.</summary>
    public ulong LastWord => Bytes.Fourth;

    public int CompareTo(Score other)
    {
        int order = Bytes.First.CompareTo(other.Bytes.First);
        order = order != 0 ? order : Bytes.Second.CompareTo(other.Bytes.Second);
        order = order != 0 ? order : Bytes.Third.CompareTo(other.Bytes.Third);
        return order != 0 ? order : Bytes.Fourth.CompareTo(other.Bytes.Fourth);
    }

    public static bool operator <(Score left, Score right) => left.CompareTo(right) < 0;

    public static bool operator >(Score left, Score right) => left.CompareTo(right) > 0;

    public static bool operator <=(Score left, Score right) => left.CompareTo(right) <= 0;

    public static bool operator >=(Score left, Score right) => left.CompareTo(right) >= 0;

    /// <summary>The first 16 hexadecimal digits: enough for people; a score is never parsed back from text.</summary>
    public override string ToString() => $"{Bytes.First:x16}";
}
