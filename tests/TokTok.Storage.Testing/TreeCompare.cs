using System.Text;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Testing;

/// <summary>Finds every difference between two trees on disk that a backup must not make.</summary>
/// <remarks>Contents, names, types, modes, owners, modification times to the nanosecond, xattrs, link targets, hard links among themselves,
/// device numbers, and holes (a copy may not take more room than the original by more than a few blocks a file).</remarks>
public sealed class TreeCompare
{
    private const long HoleSlackBlocks = 64;
    private readonly List<string> _differences = [];
    private readonly Dictionary<(ulong Device, ulong Inode), string> _leftFirst = [];
    private readonly Dictionary<(ulong Device, ulong Inode), string> _rightFirst = [];
    private readonly byte[] _leftBuffer = new byte[256 * 1024];
    private readonly byte[] _rightBuffer = new byte[256 * 1024];

    /// <summary>Leave out owners, for runs that may not set them.</summary>
    public bool IgnoreOwners { get; init; }

    /// <summary>Sockets are not restored everywhere.</summary>
    public bool IgnoreSockets { get; init; }

    /// <summary>The times of the two roots themselves.</summary>
    public bool IgnoreRootTimes { get; init; }

    public long EntryCount { get; private set; }

    /// <summary>One line a difference; none when the trees are equal.</summary>
    public static IReadOnlyList<string> Differences(string left, string right) => new TreeCompare().Run(left, right);

    public IReadOnlyList<string> Run(string left, string right)
    {
        int leftFd = Check(PosixCalls.OpenPath(Encoding.UTF8.GetBytes(left)), left);
        int rightFd = Check(PosixCalls.OpenPath(Encoding.UTF8.GetBytes(right)), right);
        try
        {
            _ = Check(PosixCalls.Stat(leftFd, out FileStat leftStat), left);
            _ = Check(PosixCalls.Stat(rightFd, out FileStat rightStat), right);
            if (IgnoreRootTimes)
            {
                rightStat.ModifyNs = leftStat.ModifyNs;
            }

            CompareStat(".", leftStat, rightStat);
            CompareXattrs(".", Xattrs(leftFd), Xattrs(rightFd));
            CompareDirectories(leftFd, rightFd, "");
        }
        finally
        {
            PosixCalls.Close(leftFd);
            PosixCalls.Close(rightFd);
        }

        return _differences;
    }

    private static int Check(int result, string path) => result < 0 ? throw new PosixException(-result, "compare", path) : result;

    private void CompareDirectories(int leftFd, int rightFd, string path)
    {
        List<byte[]> left = Names(leftFd);
        List<byte[]> right = Names(rightFd);
        int l = 0;
        int r = 0;
        while (l < left.Count || r < right.Count)
        {
            int order = l == left.Count ? 1 : r == right.Count ? -1 : left[l].AsSpan().SequenceCompareTo(right[r]);
            if (order < 0)
            {
                _ = PosixCalls.Stat(leftFd, left[l], out FileStat missing);
                if (!IgnoreSockets || missing.Type != PosixType.Socket)
                {
                    _differences.Add($"missing: {path}{PathText.Show(left[l])}");
                }

                l++;
            }
            else if (order > 0)
            {
                _differences.Add($"unexpected: {path}{PathText.Show(right[r++])}");
            }
            else
            {
                CompareEntries(leftFd, rightFd, left[l++], path);
                r++;
            }
        }
    }

    private static List<byte[]> Names(int fd)
    {
        var names = new List<byte[]>();
        using var reader = new DirectoryNames(fd);
        while (reader.TryNext(out ReadOnlySpan<byte> name, out _, out _))
        {
            names.Add(name.ToArray());
        }

        return names;
    }

    private void CompareEntries(int leftDirectory, int rightDirectory, byte[] name, string parent)
    {
        EntryCount++;
        string path = parent + PathText.Show(name);
        _ = Check(PosixCalls.Stat(leftDirectory, name, out FileStat left), path);
        _ = Check(PosixCalls.Stat(rightDirectory, name, out FileStat right), path);
        CompareStat(path, left, right);
        if (left.Type != right.Type)
        {
            return;
        }

        if (left.Type != PosixType.Directory && (left.LinkCount > 1 || right.LinkCount > 1))
        {
            string leftFirst = _leftFirst.TryGetValue((left.Device, left.Inode), out string? known) ? known : _leftFirst[(left.Device, left.Inode)] = path;
            string rightFirst = _rightFirst.TryGetValue((right.Device, right.Inode), out known) ? known : _rightFirst[(right.Device, right.Inode)] = path;
            if (leftFirst != rightFirst)
            {
                _differences.Add($"hard links: {path} is {leftFirst} on the left, {rightFirst} on the right");
            }
        }

        switch (left.Type)
        {
            case PosixType.Symlink:
                byte[] leftTarget = new byte[4096];
                byte[] rightTarget = new byte[4096];
                int leftBytes = PosixCalls.ReadLink(leftDirectory, name, leftTarget);
                int rightBytes = PosixCalls.ReadLink(rightDirectory, name, rightTarget);
                if (!leftTarget.AsSpan(0, leftBytes).SequenceEqual(rightTarget.AsSpan(0, rightBytes)))
                {
                    _differences.Add($"link target: {path}");
                }

                break;
            case PosixType.File:
            case PosixType.Directory:
                bool isDirectory = left.Type == PosixType.Directory;
                int leftFd = Check(isDirectory ? PosixCalls.OpenDirectory(leftDirectory, name) : PosixCalls.OpenFile(leftDirectory, name, true), path);
                int rightFd = Check(isDirectory ? PosixCalls.OpenDirectory(rightDirectory, name) : PosixCalls.OpenFile(rightDirectory, name, true), path);
                try
                {
                    CompareXattrs(path, Xattrs(leftFd), Xattrs(rightFd));
                    if (isDirectory)
                    {
                        CompareDirectories(leftFd, rightFd, path + "/");
                    }
                    else
                    {
                        CompareContents(path, leftFd, rightFd);
                    }
                }
                finally
                {
                    PosixCalls.Close(leftFd);
                    PosixCalls.Close(rightFd);
                }

                break;
            default:
                break;
        }
    }

    private void CompareStat(string path, in FileStat left, in FileStat right)
    {
        if (left.Mode != right.Mode)
        {
            _differences.Add($"mode: {path}: {Convert.ToString(left.Mode, 8)} and {Convert.ToString(right.Mode, 8)}");
        }

        if (!IgnoreOwners && (left.Uid != right.Uid || left.Gid != right.Gid))
        {
            _differences.Add($"owner: {path}: {left.Uid}:{left.Gid} and {right.Uid}:{right.Gid}");
        }

        if (left.ModifyNs != right.ModifyNs)
        {
            _differences.Add($"time: {path}: {left.ModifyNs} and {right.ModifyNs}");
        }

        if (left.Type == PosixType.Directory || left.Type != right.Type)
        {
            return;
        }

        if (left.SizeBytes != right.SizeBytes)
        {
            _differences.Add($"size: {path}: {left.SizeBytes} and {right.SizeBytes}");
        }

        if (left.SpecialDevice != right.SpecialDevice)
        {
            _differences.Add($"device: {path}");
        }

        if (left.HasHoles && right.Blocks > left.Blocks + HoleSlackBlocks)
        {
            _differences.Add($"holes: {path}: {left.Blocks} and {right.Blocks} blocks of {left.SizeBytes} bytes");
        }
    }

    private void CompareContents(string path, int leftFd, int rightFd)
    {
        for (long offset = 0; ; offset += _leftBuffer.Length)
        {
            int left = Check(PosixCalls.Read(leftFd, offset, _leftBuffer), path);
            int right = Check(PosixCalls.Read(rightFd, offset, _rightBuffer), path);
            if (!_leftBuffer.AsSpan(0, left).SequenceEqual(_rightBuffer.AsSpan(0, right)))
            {
                _differences.Add($"content: {path} within 256 KiB of {offset}");
                return;
            }

            if (left < _leftBuffer.Length)
            {
                return;
            }
        }
    }

    private static SortedDictionary<string, string> Xattrs(int fd)
    {
        var found = new SortedDictionary<string, string>(StringComparer.Ordinal);
        byte[] list = new byte[64 * 1024];
        byte[] value = new byte[64 * 1024];
        int bytes = PosixCalls.ListXattrs(fd, list);
        for (int at = 0; at < bytes;)
        {
            int length = list.AsSpan(at).IndexOf((byte)0) + 1;
            int valueBytes = PosixCalls.GetXattr(fd, list.AsSpan(at, length), value);
            found[Encoding.Latin1.GetString(list, at, length - 1)] = Convert.ToHexString(value.AsSpan(0, Math.Max(0, valueBytes)));
            at += length;
        }

        return found;
    }

    private void CompareXattrs(string path, SortedDictionary<string, string> left, SortedDictionary<string, string> right)
    {
        if (!left.SequenceEqual(right))
        {
            _differences.Add($"xattrs: {path}: {string.Join(' ', left)} and {string.Join(' ', right)}");
        }
    }
}
