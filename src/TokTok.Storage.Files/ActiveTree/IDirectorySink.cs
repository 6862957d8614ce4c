namespace TokTok.Storage.Files;

/// <summary>Takes the names of a directory, one call each.</summary>
public interface IDirectorySink
{
    /// <summary>Takes a name, or refuses it for want of room: then the listing stops before it.</summary>
    /// <param name="name">Valid until the call returns.</param>
    /// <param name="attributes">All of them where they were asked for, else file id and type alone.</param>
    /// <param name="cookie">Goes on behind this name when given to <see cref="IVolumeFileSystem.ReadDirectory"/>.</param>
    bool TryAdd(ReadOnlySpan<byte> name, in InodeAttributes attributes, ulong cookie);
}
