namespace TokTok.Storage.Files.Posix;

/// <summary>An open directory that several jobs share; the last one to let go closes it.</summary>
internal sealed class DirectoryHandle(int fd)
{
    private int _holders = 1;

    internal int Fd { get; } = fd;

    internal DirectoryHandle Hold()
    {
        _ = Interlocked.Increment(ref _holders);
        return this;
    }

    internal void Release()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
        {
            PosixCalls.Close(Fd);
        }
    }
}
