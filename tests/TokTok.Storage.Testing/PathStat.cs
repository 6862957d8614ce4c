using System.Text;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Testing;

/// <summary>What lstat says of a file that the runtime does not: which one it is, and the room that it really takes.</summary>
public readonly record struct PathStat(ulong Inode, long ModifyNs, long AllocatedBytes)
{
    private const int BlockBytes = 512;

    public static PathStat Of(string path)
    {
        int directory = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(Path.GetDirectoryName(path)!));
        try
        {
            int result = PosixCalls.Stat(directory, Encoding.UTF8.GetBytes(Path.GetFileName(path)), out FileStat stat);
            return result < 0 ? throw new PosixException(-result, "stat", path) : new PathStat(stat.Inode, stat.ModifyNs, stat.Blocks * BlockBytes);
        }
        finally
        {
            PosixCalls.Close(directory);
        }
    }
}
