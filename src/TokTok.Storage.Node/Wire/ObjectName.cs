using System.Buffers;
using System.Text;
using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Wire;

/// <summary>Names of small objects, as docs/format.md 7 allows them.</summary>
internal static class ObjectName
{
    private const int MaxParts = 3;
    private const int MaxPartCharacters = 100;

    private static readonly SearchValues<char> s_characters = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789-_.");

    internal static string Read(ref FieldReader reader)
    {
        string name = reader.ShortText("a name");
        return IsName(name) ? name : throw reader.Damaged("found no name of an object");
    }

    internal static string ReadPrefix(ref FieldReader reader)
    {
        string prefix = reader.ShortText("a prefix");
        return prefix.AsSpan().IndexOfAnyExcept(s_characters) is -1 || prefix.Split('/').All(static part => part.AsSpan().IndexOfAnyExcept(s_characters) < 0)
            ? prefix
            : throw reader.Damaged("found no beginning of an object's name");
    }

    internal static bool IsName(string name)
    {
        string[] parts = name.Split('/', MaxParts + 1);
        return parts.Length <= MaxParts && Encoding.UTF8.GetByteCount(name) <= Protocol.MaxNameCharacters && Array.TrueForAll(parts, static part =>
            part.Length is >= 1 and <= MaxPartCharacters && part[0] != '.' && part.AsSpan().IndexOfAnyExcept(s_characters) < 0);
    }
}
