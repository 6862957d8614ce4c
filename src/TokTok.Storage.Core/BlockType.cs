namespace TokTok.Storage.Core;

/// <summary>What a block holds. Part of the score: equal bytes of two types are two blocks.</summary>
/// <remarks>Format: docs/format.md 5. The store treats every value alike; Files gives them meaning.</remarks>
public enum BlockType : byte
{
    /// <summary>Content of a file.</summary>
    Data = 1,

    /// <summary>An interior node of a file's hash tree: a run of extents.</summary>
    Extents = 2,

    /// <summary>A leaf of a sorted table.</summary>
    TableLeaf = 3,

    /// <summary>An interior node of a sorted table.</summary>
    TableNode = 4,

    /// <summary>The root of a volume.</summary>
    VolumeRoot = 5,
}
