namespace TokTok.Storage.WebDav;

/// <summary>What an If header asks of one resource: one thing of a list.</summary>
/// <param name="IsNot">It must not be so.</param>
/// <param name="Token">A state token, such as a lock's; null where a tag is meant.</param>
/// <param name="Tag">An entity tag with its quotes, W/ included.</param>
internal readonly record struct IfCondition(bool IsNot, string? Token, string? Tag);

/// <summary>Conditions that must all hold.</summary>
/// <param name="Resource">The resource they are about, as the client wrote it; null: the request's own.</param>
internal sealed record IfList(string? Resource, IReadOnlyList<IfCondition> Conditions);

/// <summary>The If header: state of resources that a request counts on, and the lock tokens it submits.</summary>
/// <remarks>
/// Source: RFC 4918 10.4.
/// If = ( 1*No-tag-list | 1*Tagged-list ); No-tag-list = List; Tagged-list = Resource-Tag 1*List; List = "(" 1*Condition ")"; Condition = ["Not"] (State-token | "[" entity-tag "]").
/// The header holds where one list holds; a list where all its conditions do. Every token in it is submitted, whether its list holds or not.
/// </remarks>
internal sealed class IfHeader
{
    internal const int MaxLists = 64;

    internal const int MaxConditions = 256;

    private IfHeader(List<IfList> lists)
    {
        Lists = lists;
        Tokens = lists.SelectMany(static list => list.Conditions).Select(static condition => condition.Token).OfType<string>().ToHashSet(StringComparer.Ordinal);
    }

    internal static IfHeader None { get; } = new([]);

    internal IReadOnlyList<IfList> Lists { get; }

    /// <summary>The submitted tokens.</summary>
    internal IReadOnlySet<string> Tokens { get; }

    /// <exception cref="DavException">400: it does not follow the grammar, or is beyond the bounds.</exception>
    internal static IfHeader Parse(string? text)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            return None;
        }

        List<IfList> lists = [];
        ReadOnlySpan<char> rest = text.AsSpan().Trim(" \t");
        bool isTagged = rest[0] == '<';
        string? resource = null;
        int conditions = 0;
        bool hasListForTag = true;
        while (!rest.IsEmpty)
        {
            if (rest[0] == '<')
            {
                if (!isTagged || !hasListForTag)
                {
                    throw Wrong();
                }

                resource = Take(ref rest, '>');
                hasListForTag = false;
            }
            else if (rest[0] == '(')
            {
                rest = rest[1..].TrimStart(" \t");
                List<IfCondition> list = [];
                while (!rest.IsEmpty && rest[0] != ')')
                {
                    if (++conditions > MaxConditions)
                    {
                        throw new DavException(400, $"Found more than {MaxConditions} conditions in an If header.");
                    }

                    list.Add(TakeCondition(ref rest));
                }

                if (rest.IsEmpty || list.Count == 0 || lists.Count >= MaxLists)
                {
                    throw Wrong();
                }

                rest = rest[1..];
                lists.Add(new IfList(resource, list));
                hasListForTag = true;
            }
            else
            {
                throw Wrong();
            }

            rest = rest.TrimStart(" \t");
        }

        return hasListForTag ? new IfHeader(lists) : throw Wrong();
    }

    private static IfCondition TakeCondition(ref ReadOnlySpan<char> rest)
    {
        bool isNot = rest.StartsWith("Not", StringComparison.OrdinalIgnoreCase);
        rest = isNot ? rest[3..].TrimStart(" \t") : rest;
        IfCondition condition = rest.IsEmpty ? throw Wrong() : rest[0] switch
        {
            '<' => new IfCondition(isNot, Take(ref rest, '>'), null),
            '[' => new IfCondition(isNot, null, TakeTag(ref rest)),
            _ => throw Wrong(),
        };
        rest = rest.TrimStart(" \t");
        return condition;
    }

    /// <summary>A tag may have a bracket in it: it ends with its quote.</summary>
    private static string TakeTag(ref ReadOnlySpan<char> rest)
    {
        int open = rest.IndexOf('"');
        int close = open < 0 ? -1 : rest[(open + 1)..].IndexOf('"');
        if (close < 0 || !(rest[1..open].Trim(" \t") is "" or "W/"))
        {
            throw Wrong();
        }

        close += open + 1;
        string tag = string.Concat(rest[1..open].Trim(" \t"), rest[open..(close + 1)]);
        rest = rest[(close + 1)..].TrimStart(" \t");
        if (rest.IsEmpty || rest[0] != ']')
        {
            throw Wrong();
        }

        rest = rest[1..];
        return tag;
    }

    private static string Take(ref ReadOnlySpan<char> rest, char last)
    {
        int end = rest.IndexOf(last);
        if (end <= 1)
        {
            throw Wrong();
        }

        string taken = rest[1..end].ToString();
        rest = rest[(end + 1)..];
        return taken;
    }

    private static DavException Wrong() => new(400, "The If header does not follow RFC 4918 10.4.2.");
}
