using System.Globalization;
using System.Text;
using TokTok.Storage.Files.Posix;

namespace TokTok.Storage.Files;

/// <summary>What a directory asks for itself and everything below it.</summary>
/// <param name="Survive">How many places may be lost.</param>
/// <param name="Data">Where k+m was asked for: k. The promise is m; the store keeps it with the class that takes the least space.</param>
public readonly record struct RedundancyWish(int Survive, int? Data = null)
{
    /// <summary>Places that the wish needs at the least.</summary>
    public int NeededPlaces => Survive + (Data ?? 1);

    public override string ToString() => Data is int data
        ? string.Create(CultureInfo.InvariantCulture, $"{data}+{Survive}")
        : string.Create(CultureInfo.InvariantCulture, $"survive={Survive}");
}

/// <summary>The extended attribute of a directory that says how many lost places everything below it is to survive.</summary>
/// <remarks>
/// Format: docs/format.md 13.4. It is in force for the directory and all below it, until another directory has one of its own; a source's comes from above
/// it where it has none. Whoever copies or restores the tree with its attributes takes the wish along.
/// </remarks>
public static class DirectoryRedundancy
{
    public const string AttributeName = "user.tdfs.redundancy";
    public const int MaxSurvive = 16;
    private const int MaxLevels = 4096;
    private const string Prefix = "survive=";

    private static ReadOnlySpan<byte> Terminated => "user.tdfs.redundancy\0"u8;

    /// <summary>survive=N with N from 0 to 16, or k+m with k and m from 1 to 16.</summary>
    public static bool TryParse(string text, out RedundancyWish wish)
    {
        ArgumentNullException.ThrowIfNull(text);
        wish = default;
        if (text.StartsWith(Prefix, StringComparison.Ordinal))
        {
            bool isNumber = int.TryParse(text.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int survive) && survive <= MaxSurvive;
            wish = new RedundancyWish(isNumber ? survive : 0);
            return isNumber;
        }

        int plus = text.IndexOf('+', StringComparison.Ordinal);
        if (plus < 0
            || !int.TryParse(text.AsSpan(0, plus), NumberStyles.None, CultureInfo.InvariantCulture, out int data) || data is 0 or > MaxSurvive
            || !int.TryParse(text.AsSpan(plus + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int parity) || parity is 0 or > MaxSurvive)
        {
            return false;
        }

        wish = new RedundancyWish(parity, data);
        return true;
    }

    /// <summary>The wish in force for a directory on this machine, and the directory that has it; null: none up to the root.</summary>
    /// <exception cref="PosixException">The path is no directory that can be opened.</exception>
    public static (RedundancyWish Wish, string From)? InForce(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        for (string? at = full; at is not null; at = Path.GetDirectoryName(at))
        {
            int fd = Open(at);
            try
            {
                if (Read(fd, out _) is { } wish)
                {
                    return (wish, at);
                }
            }
            finally
            {
                PosixCalls.Close(fd);
            }
        }

        return null;
    }

    /// <summary>Gives a directory on this machine a wish of its own, or (null) takes it away. False: there was none to take away.</summary>
    /// <exception cref="PosixException">The path is no directory, or its filesystem keeps no attributes.</exception>
    public static bool Set(string path, RedundancyWish? wish)
    {
        ArgumentNullException.ThrowIfNull(path);
        int fd = Open(path);
        try
        {
            int error = wish is { } some
                ? PosixCalls.SetXattr(fd, Terminated, Encoding.UTF8.GetBytes(some.ToString()))
                : PosixCalls.RemoveXattr(fd, Terminated);
            return error >= 0 || error == -Errno.ENODATA ? error >= 0 : throw new PosixException(-error, "set " + AttributeName + " of", path);
        }
        finally
        {
            PosixCalls.Close(fd);
        }
    }

    /// <summary>An open directory's own wish, or null.</summary>
    /// <param name="illFormed">What stands in the attribute and is no wish; null when all is well.</param>
    internal static RedundancyWish? Read(int directory, out string? illFormed)
    {
        illFormed = null;
        Span<byte> value = stackalloc byte[64];
        int bytes = PosixCalls.GetXattr(directory, Terminated, value);
        if (bytes < 0)
        {
            illFormed = bytes == -Errno.ERANGE ? $"more than {value.Length} bytes" : null;
            return null;
        }

        if (TryParse(Encoding.UTF8.GetString(value[..bytes]), out RedundancyWish wish))
        {
            return wish;
        }

        illFormed = PathText.Show(value[..bytes]);
        return null;
    }

    /// <summary>The wish in force above an open directory: of the nearest parent that has one.</summary>
    internal static RedundancyWish? Above(int directory)
    {
        int at = directory;
        try
        {
            for (int level = 0; level < MaxLevels; level++)
            {
                int parent = PosixCalls.OpenParent(at);
                if (parent < 0)
                {
                    return null; // nothing above may be looked at: nothing above has a say
                }

                bool isTop = PosixCalls.Stat(parent, out FileStat above) < 0 || PosixCalls.Stat(at, out FileStat own) < 0
                    || (above.Inode == own.Inode && above.Device == own.Device);
                if (at != directory)
                {
                    PosixCalls.Close(at);
                }

                at = parent;
                if (isTop)
                {
                    return null;
                }

                if (Read(at, out _) is { } wish)
                {
                    return wish;
                }
            }

            return null;
        }
        finally
        {
            if (at != directory)
            {
                PosixCalls.Close(at);
            }
        }
    }

    private static int Open(string path)
    {
        int fd = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(path));
        return fd >= 0 ? fd : throw new PosixException(-fd, "open", path);
    }
}
