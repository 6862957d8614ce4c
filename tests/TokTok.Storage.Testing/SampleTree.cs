using System.Text;
using TokTok.Storage.Files;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Testing;

/// <summary>A generated tree with every special case that a Linux backup meets, the same for the same seed.</summary>
/// <remarks>
/// Sizes follow source trees: most files are a few KiB, few are large, some repeat. Text compresses, noise does not. Among them: hard links (also across
/// directories), sparse files with holes at front, middle and end, dangling symlinks, fifos, a socket and device nodes (only as root), empty files and
/// directories, xattrs, odd modes, setuid, names with newlines and bytes that are not UTF-8, names of 255 bytes, a path of more than 4 KiB, times before 1970.
/// Every time is set, to nanoseconds, files first and directories last.
/// </remarks>
public static class SampleTree
{
    private const long Year2020Ns = 1_577_836_800_000_000_000;
    private static readonly string[] s_words = ["store", "arena", "score", "block", "clump", "holder", "lease", "volume", "entry", "index", "the", "of", "a", "is", "to"];

    public static bool IsRoot => PosixCalls.EffectiveUser == 0;

    /// <summary>Makes the tree in a folder, created if it is not there.</summary>
    /// <returns>Entries made below the root.</returns>
    public static int Create(string path, int seed, int files = 5000)
    {
        _ = Directory.CreateDirectory(path);
        var random = new Random(seed);
        int root = Check(PosixCalls.OpenPath(Encoding.UTF8.GetBytes(path)), path);
        int count = 0;
        try
        {
            int special = MakeDirectory(root, "special");
            count += 1 + Special(special, random);
            Finish(root, "special", special, random);
            byte[]? repeated = null;
            int left = files;
            for (int d = 0; left > 0; d++)
            {
                string name = $"dir{d:d3}";
                int directory = MakeDirectory(root, name);
                count++;
                int here = Math.Min(left, 1 + random.Next(60));
                left -= here;
                int inner = MakeDirectory(directory, "inner");
                count++;
                for (int i = 0; i < here; i++)
                {
                    byte[] content = i % 9 == 8 && repeated is not null ? repeated : Content(random, Size(random));
                    repeated = random.Next(20) == 0 ? content : repeated;
                    string file = $"{s_words[random.Next(s_words.Length)]}-{i}.{(random.Next(3) == 0 ? "h" : "c")}";
                    WriteFile(i % 3 == 0 ? inner : directory, file, content, random);
                    count++;
                }

                Finish(directory, "inner", inner, random);
                Finish(root, name, directory, random);
            }

            _ = Check(PosixCalls.SetTimes(root, Time(Year2020Ns + 123_456_789)), path);
            return count;
        }
        finally
        {
            PosixCalls.Close(root);
        }
    }

    /// <summary>Deletes a tree whose paths may be longer than the runtime takes.</summary>
    public static void Delete(string path)
    {
        int root = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(path));
        if (root < 0)
        {
            return;
        }

        Empty(root);
        PosixCalls.Close(root);
        Directory.Delete(path);
    }

    private static void Empty(int directory)
    {
        using var reader = new DirectoryNames(directory);
        while (reader.TryNext(out ReadOnlySpan<byte> name, out _, out _))
        {
            _ = PosixCalls.Stat(directory, name, out FileStat stat);
            if (stat.Type == PosixType.Directory)
            {
                _ = PosixCalls.SetMode(directory, name, 0x1C0);
                int inner = Check(PosixCalls.OpenDirectory(directory, name), "delete");
                Empty(inner);
                PosixCalls.Close(inner);
            }

            _ = Check(PosixCalls.Remove(directory, name, stat.Type == PosixType.Directory), PathText.Show(name));
        }
    }

    private static int Special(int at, Random random)
    {
        int count = 0;
        WriteFile(at, "empty-file", [], random);
        WriteFile(at, "large-noise", Noise(random, 3_000_017), random);
        WriteFile(at, "large-text", Text(random, 2_500_003), random);
        WriteFile(at, "one-byte", [7], random);
        count += 4;

        byte[][] names = [[0xff, 0xfe, (byte)'x'], Encoding.UTF8.GetBytes("new\nline"), Encoding.UTF8.GetBytes("ünïcödé ☃"), "a\\b"u8.ToArray(), " "u8.ToArray(), "-rf"u8.ToArray()];
        foreach (byte[] name in names)
        {
            WriteFile(at, name, Content(random, 300), random);
            count++;
        }

        byte[] longName = new byte[255];
        Array.Fill(longName, (byte)'L');
        WriteFile(at, longName, "long"u8.ToArray(), random);
        count++;

        // Hard links, also across directories, and one of a symlink.
        int links = MakeDirectory(at, "links");
        WriteFile(links, "first", Content(random, 9_000), random);
        WriteFile(links, "small", "a few bytes"u8.ToArray(), random);
        _ = Check(PosixCalls.HardLink(links, "first"u8, links, "second"u8), "second");
        _ = Check(PosixCalls.HardLink(links, "small"u8, links, "small-too"u8), "small-too");
        _ = Check(PosixCalls.HardLink(links, "first"u8, at, "above"u8), "above");
        _ = Check(PosixCalls.MakeLink("nowhere"u8, links, "symlink"u8), "symlink");
        _ = Check(PosixCalls.SetTimes(links, "symlink"u8, Time(Year2020Ns)), "symlink");
        _ = Check(PosixCalls.HardLink(links, "symlink"u8, links, "symlink-too"u8), "symlink-too");
        count += 8;
        Finish(at, "links", links, random);

        // Sparse: a hole in front, in the middle, at the end, and nothing but a hole.
        Sparse(at, "sparse-front", 8 << 20, random, (7 << 20, 5000));
        Sparse(at, "sparse-middle", 12 << 20, random, (0, 70_000), (9 << 20, 100_000));
        Sparse(at, "sparse-end", 8 << 20, random, (0, 4096));
        Sparse(at, "sparse-all", 64 << 20, random);
        Sparse(at, "sparse-odd", (5 << 20) + 7, random, (2 << 20, 1));
        count += 5;

        (string Name, string Target)[] symlinks = [("to-file", "one-byte"), ("dangling", "not/there"), ("absolute", "/etc/hostname"), ("up", "../../.."), ("to-self", "to-self")];
        foreach ((string name, string target) in symlinks)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(name);
            _ = Check(PosixCalls.MakeLink(Encoding.UTF8.GetBytes(target), at, bytes), name);
            _ = Check(PosixCalls.SetTimes(at, bytes, RandomTime(random)), name);
            count++;
        }

        byte[] longTarget = new byte[4000];
        Array.Fill(longTarget, (byte)'t');
        _ = Check(PosixCalls.MakeLink(longTarget, at, "long-target"u8), "long-target");
        _ = Check(PosixCalls.SetTimes(at, "long-target"u8, Time(Year2020Ns)), "long-target");
        count++;

        Node(at, "fifo", 0x1000 | 0x1A4, 0, random);
        count++;
        if (IsRoot)
        {
            Node(at, "character-device", 0x2000 | 0x1B6, PosixCalls.MakeDevice(1, 3), random);
            Node(at, "block-device", 0x6000 | 0x180, PosixCalls.MakeDevice(250, 70_000), random);
            Node(at, "socket", 0xC000 | 0x1ED, 0, random);
            WriteFile(at, "owned", "by another"u8.ToArray(), random);
            _ = Check(PosixCalls.SetOwner(at, "owned"u8, 1234, 54321), "owned");
            count += 4;
        }

        int empty = MakeDirectory(at, "empty-directory");
        Finish(at, "empty-directory", empty, random);
        int sticky = MakeDirectory(at, "sticky");
        Finish(at, "sticky", sticky, random, 0x3FF);
        count += 2;

        WriteFile(at, "setuid", "#!/bin/sh\n"u8.ToArray(), random, 0x9ED);
        WriteFile(at, "unreadable", "only for root"u8.ToArray(), random, IsRoot ? 0u : 0x100u);
        WriteFile(at, "old", "before 1970"u8.ToArray(), random);
        _ = Check(PosixCalls.SetTimes(at, "old"u8, Time(-1_000_000_001)), "old");
        WriteFile(at, "far-future", "2200"u8.ToArray(), random);
        _ = Check(PosixCalls.SetTimes(at, "far-future"u8, Time(7_258_118_400_000_000_001)), "far-future");
        count += 4;
        Xattrs(at, random);
        count++;
        count += DeepPath(at, random, levels: 20);
        return count;
    }

    private static void Xattrs(int at, Random random)
    {
        int fd = Check(PosixCalls.CreateFile(at, "with-xattrs"u8), "with-xattrs");
        _ = Check(PosixCalls.Write(fd, 0, "xattrs"u8), "with-xattrs");
        _ = PosixCalls.SetXattr(fd, "user.mime_type\0"u8, "text/plain"u8);
        _ = PosixCalls.SetXattr(fd, "user.empty\0"u8, []);
        _ = PosixCalls.SetXattr(fd, "user.binary\0"u8, Noise(random, 1000));
        _ = Check(PosixCalls.SetTimes(fd, RandomTime(random)), "with-xattrs");
        PosixCalls.Close(fd);
    }

    // Names of 250 bytes: 20 levels are a path of 5 KiB, more than any single call takes.
    private static int DeepPath(int at, Random random, int levels)
    {
        byte[] name = new byte[250];
        Array.Fill(name, (byte)'d');
        if (levels == 0)
        {
            WriteFile(at, "bottom", "deep down"u8.ToArray(), random);
            return 1;
        }

        _ = Check(PosixCalls.MakeDirectory(at, name, 0x1ED), "deep");
        int inner = Check(PosixCalls.OpenDirectory(at, name), "deep");
        int count = 1 + DeepPath(inner, random, levels - 1);
        _ = Check(PosixCalls.SetTimes(inner, RandomTime(random)), "deep");
        PosixCalls.Close(inner);
        return count;
    }

    private static void Node(int at, string name, uint mode, ulong device, Random random)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        _ = Check(PosixCalls.MakeNode(at, bytes, mode, device), name);
        _ = Check(PosixCalls.SetTimes(at, bytes, RandomTime(random)), name);
    }

    private static void Sparse(int at, string name, long size, Random random, params (long Offset, int Bytes)[] data)
    {
        int fd = Check(PosixCalls.CreateFile(at, Encoding.UTF8.GetBytes(name)), name);
        _ = Check(PosixCalls.SetLength(fd, size), name);
        foreach ((long offset, int bytes) in data)
        {
            _ = Check(PosixCalls.Write(fd, offset, Noise(random, bytes)), name);
        }

        _ = Check(PosixCalls.SetTimes(fd, RandomTime(random)), name);
        PosixCalls.Close(fd);
    }

    private static int MakeDirectory(int at, string name)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        _ = Check(PosixCalls.MakeDirectory(at, bytes, 0x1C0), name);
        return Check(PosixCalls.OpenDirectory(at, bytes), name);
    }

    private static void Finish(int parent, string name, int directory, Random random, uint mode = 0x1ED)
    {
        _ = Check(PosixCalls.SetMode(directory, mode), name);
        _ = Check(PosixCalls.SetTimes(directory, RandomTime(random)), name);
        PosixCalls.Close(directory);
        _ = parent;
    }

    private static void WriteFile(int at, string name, byte[] content, Random random, uint mode = 0x1A4) =>
        WriteFile(at, Encoding.UTF8.GetBytes(name), content, random, mode);

    private static void WriteFile(int at, byte[] name, byte[] content, Random random, uint mode = 0x1A4)
    {
        int fd = Check(PosixCalls.CreateFile(at, name), PathText.Show(name));
        _ = Check(PosixCalls.Write(fd, 0, content), PathText.Show(name));
        _ = Check(PosixCalls.SetMode(fd, mode), PathText.Show(name));
        _ = Check(PosixCalls.SetTimes(fd, RandomTime(random)), PathText.Show(name));
        PosixCalls.Close(fd);
    }

    private static FileTime RandomTime(Random random) => Time(Year2020Ns + random.NextInt64(0, 150_000_000_000_000_000));

    private static FileTime Time(long ns)
    {
        long seconds = (long)Math.Floor((decimal)ns / FileTime.NanosecondsPerSecond);
        return new FileTime(seconds, (uint)(ns - (seconds * FileTime.NanosecondsPerSecond)));
    }

    private static int Size(Random random) => random.Next(100) switch
    {
        < 10 => random.Next(64),
        < 60 => random.Next(4_000),
        < 90 => random.Next(20_000),
        < 99 => random.Next(80_000),
        _ => random.Next(700_000),
    };

    private static byte[] Content(Random random, int size) => random.Next(4) == 0 ? Noise(random, size) : Text(random, size);

    private static byte[] Noise(Random random, int size)
    {
        byte[] content = new byte[size];
        random.NextBytes(content);
        return content;
    }

    private static byte[] Text(Random random, int size)
    {
        var text = new StringBuilder(size + 16);
        while (text.Length < size)
        {
            _ = text.Append(s_words[random.Next(s_words.Length)]).Append(random.Next(8) == 0 ? '\n' : ' ');
        }

        return Encoding.ASCII.GetBytes(text.ToString(0, size));
    }

    private static int Check(int result, string path) => result < 0 ? throw new PosixException(-result, "sample tree", path) : result;
}
