using TokTok.Storage.Core;

namespace TokTok.Storage.Files.Tests;

/// <summary>Files of one flat folder in memory: what the stat cache needs of a disk.</summary>
internal sealed class MemoryDisk : IDisk
{
    internal Dictionary<string, byte[]> Files { get; } = new(StringComparer.Ordinal);

    internal bool IsFull { get; set; }

    public IDiskFile Open(string path, DiskOpen mode)
    {
        if (mode == DiskOpen.CreateNew)
        {
            Files[path] = [];
        }

        return Files.ContainsKey(path) ? new MemoryFile(this, path) : throw new DiskException(DiskFailure.NotFound, "open", path, "no such file");
    }

    public bool FileExists(string path) => Files.ContainsKey(path);

    public bool DirectoryExists(string path) => true;

    public void CreateDirectory(string path)
    {
    }

    public void Rename(string from, string to)
    {
        Files[to] = Files[from];
        _ = Files.Remove(from);
    }

    public void Delete(string path) => Files.Remove(path);

    public void DeleteDirectory(string path) => throw new NotSupportedException();

    public IReadOnlyList<DiskEntry> List(string path) => throw new NotSupportedException();

    public void SyncDirectory(string path)
    {
    }

    public long FreeBytes(string path) => long.MaxValue;

    public IDisposable? TryLock(string path) => throw new NotSupportedException();

    private sealed class MemoryFile(MemoryDisk disk, string path) : IDiskFile
    {
        public long Length => disk.Files[path].Length;

        public int Read(long offset, Span<byte> target)
        {
            ReadOnlySpan<byte> rest = disk.Files[path].AsSpan((int)Math.Min(offset, Length));
            int bytes = Math.Min(rest.Length, target.Length);
            rest[..bytes].CopyTo(target);
            return bytes;
        }

        public void Write(long offset, ReadOnlySpan<byte> source)
        {
            if (disk.IsFull)
            {
                throw new DiskException(DiskFailure.Full, "write", path, "no space left on the device");
            }

            byte[] bytes = disk.Files[path];
            if (bytes.Length < offset + source.Length)
            {
                Array.Resize(ref bytes, (int)offset + source.Length);
                disk.Files[path] = bytes;
            }

            source.CopyTo(bytes.AsSpan((int)offset));
        }

        public void Truncate(long length) => throw new NotSupportedException();

        public void Sync()
        {
        }

        public void Dispose()
        {
        }
    }
}
