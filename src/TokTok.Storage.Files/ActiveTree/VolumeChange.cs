namespace TokTok.Storage.Files;

/// <summary>Something that a front end may have cached is no longer so.</summary>
/// <param name="Kind">What.</param>
/// <param name="FileId">The file; for a name, the directory.</param>
/// <param name="Name">The name that came, went or stands for another file now; empty for a file. Valid until the listener returns.</param>
/// <param name="FrontEnd">Who did it (<see cref="FileCaller.FrontEnd"/>).</param>
public readonly record struct VolumeChange(VolumeChangeKind Kind, ulong FileId, ReadOnlyMemory<byte> Name, int FrontEnd);

public enum VolumeChangeKind
{
    /// <summary>A name of a directory.</summary>
    Name,

    /// <summary>A file's attributes, extended ones included.</summary>
    Attributes,

    /// <summary>A file's bytes, and with them size and times.</summary>
    Content,
}
