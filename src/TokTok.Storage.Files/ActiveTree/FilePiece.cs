using TokTok.Storage.Core;

namespace TokTok.Storage.Files;

/// <summary>A block of file data that exists already.</summary>
internal sealed record StoredBlock(Score Score, int Bytes);

/// <summary>A run of a file that differs from what was committed: written memory, a part of a block, or a hole.</summary>
internal readonly record struct FilePiece
{
    internal long Offset { get; init; }

    internal long Length { get; init; }

    /// <summary>A <see cref="DirtyBuffer"/>, a <see cref="StoredBlock"/>, or null for a hole.</summary>
    internal object? Source { get; init; }

    /// <summary>Where in the source the piece begins.</summary>
    internal int Skip { get; init; }

    /// <summary>A batch of intents, or the cut of a commit, has it.</summary>
    internal bool IsLogged { get; init; }

    internal long End => Offset + Length;

    internal bool IsHole => Source is null;

    internal FilePiece Slice(long from, long to) =>
        this with { Offset = from, Length = to - from, Skip = Source is null ? 0 : Skip + (int)(from - Offset) };

    /// <summary>Whether every byte of the piece is the same byte of the other's source, not merely equal to it.</summary>
    internal bool IsPartOf(in FilePiece other) =>
        Offset >= other.Offset && End <= other.End && ReferenceEquals(Source, other.Source) && (Source is null || Skip - other.Skip == Offset - other.Offset);
}
