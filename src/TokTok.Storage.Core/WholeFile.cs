namespace TokTok.Storage.Core;

/// <summary>Replaces a small file: its reader has the old bytes or the new ones.</summary>
public static class WholeFile
{
    public static void Write(IDisk disk, string folder, string path, ReadOnlySpan<byte> bytes)
    {
        ArgumentNullException.ThrowIfNull(disk);
        string next = path + ".new";
        if (disk.FileExists(next))
        {
            disk.Delete(next);
        }

        using (IDiskFile file = disk.Open(next, DiskOpen.CreateNew))
        {
            file.Write(0, bytes);                  // 1. the bytes; a crash leaves a temporary
            file.Sync();
        }

        disk.Rename(next, path);                   // 2. the name
        disk.SyncDirectory(folder);
    }
}
