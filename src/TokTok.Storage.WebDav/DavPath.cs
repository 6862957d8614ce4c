using System.Buffers;
using System.Text;

namespace TokTok.Storage.WebDav;

/// <summary>A path in a volume as a request names it: bytes, percent-encoded on the wire.</summary>
/// <remarks>
/// Source: RFC 3986 2.1, 3.3. A name is bytes, not text: whatever a volume holds is reachable by its encoded bytes, UTF-8 or not.
/// Dot segments are refused, encoded or not: clients resolve them before they send (RFC 3986 5.2.4), and what still has them tries something. So are encoded slashes and NUL,
/// which no name has. Empty segments do not count.
/// </remarks>
internal sealed class DavPath
{
    /// <summary>Unreserved characters and those sub-delimiters that clients are known to leave alone; all else is encoded.</summary>
    private static readonly SearchValues<byte> s_plain = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"u8);

    private DavPath(byte[][] names, bool isCollection) => (Names, IsCollection) = (names, isCollection);

    internal static DavPath Root { get; } = new([], true);

    internal IReadOnlyList<byte[]> Names { get; }

    /// <summary>Whether it ends with a slash.</summary>
    internal bool IsCollection { get; }

    /// <summary>The path without its first name.</summary>
    internal DavPath Below() => new([.. Names.Skip(1)], IsCollection || Names.Count == 1);

    /// <summary>The path of a request line: an absolute path or an absolute URI, with or without a query.</summary>
    /// <exception cref="DavException">400: it is no path that a volume could have.</exception>
    internal static DavPath Parse(string target)
    {
        int at = target.StartsWith('/') ? 0 : PathOf(target);
        int end = target.AsSpan(at).IndexOfAny('?', '#');
        ReadOnlySpan<char> path = end < 0 ? target.AsSpan(at) : target.AsSpan(at, end);
        List<byte[]> names = [];
        foreach (Range range in path.Split('/'))
        {
            if (!path[range].IsEmpty)
            {
                names.Add(Decode(path[range]));
            }
        }

        return new DavPath([.. names], path.IsEmpty || path[^1] == '/');
    }

    /// <summary>An href: every name behind a slash, a collection with a slash at its end.</summary>
    internal static string Encode(IReadOnlyList<byte[]> names, bool isCollection)
    {
        var text = new StringBuilder();
        foreach (byte[] name in names)
        {
            text.Append('/');
            Append(text, name);
        }

        return text.Append(isCollection || names.Count == 0 ? "/" : "").ToString();
    }

    /// <summary>A name as a segment of an href.</summary>
    internal static string Encode(ReadOnlySpan<byte> name)
    {
        var text = new StringBuilder(name.Length);
        Append(text, name);
        return text.ToString();
    }

    /// <summary>Where the path of an absolute URI begins.</summary>
    internal static int PathOf(string uri)
    {
        int scheme = uri.IndexOf("://", StringComparison.Ordinal);
        if (scheme <= 0)
        {
            throw new DavException(400, "Found neither an absolute path nor an absolute URI.");
        }

        int slash = uri.IndexOf('/', scheme + 3);
        return slash < 0 ? uri.Length : slash;
    }

    private static void Append(StringBuilder text, ReadOnlySpan<byte> name)
    {
        foreach (byte letter in name)
        {
            if (s_plain.Contains(letter))
            {
                text.Append((char)letter);
            }
            else
            {
                text.Append('%').Append("0123456789ABCDEF"[letter >> 4]).Append("0123456789ABCDEF"[letter & 15]);
            }
        }
    }

    private static byte[] Decode(ReadOnlySpan<char> segment)
    {
        byte[] bytes = new byte[Encoding.UTF8.GetMaxByteCount(segment.Length)];
        int count = 0;
        for (int i = 0; i < segment.Length;)
        {
            if (segment[i] == '%')
            {
                if (i + 2 >= segment.Length || !char.IsAsciiHexDigit(segment[i + 1]) || !char.IsAsciiHexDigit(segment[i + 2]))
                {
                    throw new DavException(400, "Found a percent sign without two hexadecimal digits.");
                }

                bytes[count++] = (byte)((Digit(segment[i + 1]) << 4) | Digit(segment[i + 2]));
                i += 3;
            }
            else
            {
                // What clients should have encoded and did not is taken as UTF-8.
                int plain = segment[i..].IndexOf('%');
                ReadOnlySpan<char> run = plain < 0 ? segment[i..] : segment.Slice(i, plain);
                count += Encoding.UTF8.GetBytes(run, bytes.AsSpan(count));
                i += run.Length;
            }
        }

        ReadOnlySpan<byte> name = bytes.AsSpan(0, count);
        if (name.ContainsAny((byte)'/', (byte)0) || name.SequenceEqual("."u8) || name.SequenceEqual(".."u8))
        {
            throw new DavException(400, "Found a dot segment, an encoded slash or a NUL in a path.");
        }

        return name.ToArray();
    }

    private static int Digit(char letter) => letter <= '9' ? letter - '0' : (letter | 0x20) - 'a' + 10;
}
