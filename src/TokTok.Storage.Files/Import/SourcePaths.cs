using System.Text;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>The names that lead from the root of a walk to its sources. Below a source everything is wanted.</summary>
internal sealed class SourceNode
{
    /// <summary>By name, in byte order.</summary>
    internal SortedDictionary<byte[], SourceNode> Children { get; } = new(Comparer<byte[]>.Create(static (a, b) => a.AsSpan().SequenceCompareTo(b)));

    internal bool IsSource { get; set; }
}

/// <summary>Where a walk begins, and which way it goes from there.</summary>
/// <param name="Root">An absolute path to a directory.</param>
/// <param name="Filter">The names to follow, or null for everything.</param>
internal sealed record SourcePaths(byte[] Root, SourceNode? Filter)
{
    /// <exception cref="PosixException">A source is not there, or cannot be looked at.</exception>
    internal static SourcePaths Resolve(IReadOnlyList<string> sources)
    {
        ArgumentOutOfRangeException.ThrowIfZero(sources.Count, nameof(sources));
        if (sources.Count == 1)
        {
            byte[] path = RealPath(sources[0]);
            int fd = PosixCalls.OpenPath(path);
            if (fd >= 0)
            {
                PosixCalls.Close(fd);
                return new SourcePaths(path, null);
            }

            if (fd != -Errno.ENOTDIR)
            {
                throw new PosixException(-fd, "open", PathText.Show(path));
            }

            int slash = path.AsSpan().LastIndexOf((byte)'/');
            var only = new SourceNode();
            only.Children[path[(slash + 1)..]] = new SourceNode { IsSource = true };
            return new SourcePaths(slash == 0 ? "/"u8.ToArray() : path[..slash], only);
        }

        var root = new SourceNode();
        foreach (string source in sources)
        {
            byte[] path = RealPath(source);
            SourceNode node = root;
            int at = 1;
            while (at < path.Length && !node.IsSource)
            {
                int length = path.AsSpan(at).IndexOf((byte)'/');
                length = length < 0 ? path.Length - at : length;
                byte[] name = path[at..(at + length)];
                if (!node.Children.TryGetValue(name, out SourceNode? child))
                {
                    child = new SourceNode();
                    node.Children[name] = child;
                }

                node = child;
                at += length + 1;
            }

            node.IsSource = true;
        }

        return new SourcePaths("/"u8.ToArray(), root.IsSource ? null : root);
    }

    private static byte[] RealPath(string path) =>
        PosixCalls.RealPath(Encoding.UTF8.GetBytes(path), out int error) ?? throw new PosixException(error, "open", path);

    /// <summary>What a folder is known by, whatever path leads to it; null where none is there.</summary>
    internal static (ulong Device, ulong Inode)? IdentityOf(string folder)
    {
        int fd = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(folder));
        if (fd < 0)
        {
            return null;
        }

        int error = PosixCalls.Stat(fd, out FileStat stat);
        PosixCalls.Close(fd);
        return error < 0 ? null : (stat.Device, stat.Inode);
    }
}
