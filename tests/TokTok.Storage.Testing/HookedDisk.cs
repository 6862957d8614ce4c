using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>Calls out before every operation on another disk, reads included: what somebody else does in between is then done at a place that a test chose.</summary>
/// <remarks>Unlike <see cref="SimulatedDisk.OnOperation"/> under no lock, so that the call may use the disk itself, from other threads too.</remarks>
public sealed class HookedDisk(IDisk inner, Action before) : IDisk
{
    public IDiskFile Open(string path, DiskOpen mode) => new HookedFile(Hooked().Open(path, mode), before);

    public bool FileExists(string path) => Hooked().FileExists(path);

    public bool DirectoryExists(string path) => Hooked().DirectoryExists(path);

    public void CreateDirectory(string path) => Hooked().CreateDirectory(path);

    public void Rename(string from, string to) => Hooked().Rename(from, to);

    public void Delete(string path) => Hooked().Delete(path);

    public void DeleteDirectory(string path) => Hooked().DeleteDirectory(path);

    public IReadOnlyList<DiskEntry> List(string path) => Hooked().List(path);

    public void SyncDirectory(string path) => Hooked().SyncDirectory(path);

    public long FreeBytes(string path) => Hooked().FreeBytes(path);

    public IDisposable? TryLock(string path) => Hooked().TryLock(path);

    private IDisk Hooked()
    {
        before();
        return inner;
    }

    private sealed class HookedFile(IDiskFile inner, Action before) : IDiskFile
    {
        public long Length => Hooked().Length;

        public int Read(long offset, Span<byte> target) => Hooked().Read(offset, target);

        public void Write(long offset, ReadOnlySpan<byte> source) => Hooked().Write(offset, source);

        public bool TryWriteThrough(long offset, ReadOnlySpan<byte> source) => Hooked().TryWriteThrough(offset, source);

        public void Truncate(long length) => Hooked().Truncate(length);

        public void Sync() => Hooked().Sync();

        public void Dispose() => inner.Dispose();

        private IDiskFile Hooked()
        {
            before();
            return inner;
        }
    }
}
