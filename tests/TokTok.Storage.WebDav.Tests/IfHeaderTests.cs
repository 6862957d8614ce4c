namespace TokTok.Storage.WebDav.Tests;

/// <summary>The grammar of RFC 4918 10.4.2 and the examples around it.</summary>
public sealed class IfHeaderTests
{
    [Fact]
    public void Section_10_4_6_lists_without_a_tag()
    {
        IfHeader header = IfHeader.Parse("(<urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2>\n      [\"I am an ETag\"])\n    ([\"I am another ETag\"])".Replace("\n", "", StringComparison.Ordinal));
        Assert.Equal(2, header.Lists.Count);
        Assert.Equal([new IfCondition(false, "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2", null), new IfCondition(false, null, "\"I am an ETag\"")], header.Lists[0].Conditions);
        Assert.Equal([new IfCondition(false, null, "\"I am another ETag\"")], header.Lists[1].Conditions);
        Assert.All(header.Lists, static list => Assert.Null(list.Resource));
        Assert.Equal(["urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2"], header.Tokens);
    }

    [Fact]
    public void Section_10_4_7_not_and_two_lists()
    {
        IfHeader header = IfHeader.Parse("(Not <urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2> <urn:uuid:58f202ac-22cf-11d1-b12d-002035b29092>)");
        Assert.Equal([true, false], header.Lists[0].Conditions.Select(static condition => condition.IsNot));
        Assert.Equal(2, header.Tokens.Count);
    }

    [Fact]
    public void Section_10_4_8_a_condition_that_always_holds()
    {
        IfHeader header = IfHeader.Parse("(<urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2>) (Not <DAV:no-lock>)");
        Assert.Equal(new IfCondition(true, "DAV:no-lock", null), header.Lists[1].Conditions[0]);
    }

    [Fact]
    public void Section_10_4_9_lists_of_a_tagged_resource()
    {
        IfHeader header = IfHeader.Parse("</resource1> (<urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2> [W/\"A weak ETag\"]) ([\"strong ETag\"])");
        Assert.Equal(["/resource1", "/resource1"], header.Lists.Select(static list => list.Resource));
        Assert.Equal("W/\"A weak ETag\"", header.Lists[0].Conditions[1].Tag);
    }

    [Fact]
    public void Section_10_4_10_and_10_4_11_tags_that_do_not_hold_everywhere()
    {
        Assert.Equal("http://www.example.com/specs/", IfHeader.Parse("<http://www.example.com/specs/> (<urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2>)").Lists[0].Resource);
        IfHeader two = IfHeader.Parse("</a> ([\"1\"]) </b> (Not [\"2\"])");
        Assert.Equal(["/a", "/b"], two.Lists.Select(static list => list.Resource));
    }

    [Fact]
    public void A_tag_may_have_brackets_in_it() => Assert.Equal("\"a]b)c\"", IfHeader.Parse("([\"a]b)c\"])").Lists[0].Conditions[0].Tag);

    [Theory]
    [InlineData("()")]
    [InlineData("(")]
    [InlineData("(<a>")]
    [InlineData("(<>)")]
    [InlineData("(<a)")]
    [InlineData("([a])")]
    [InlineData("([\"a)")]
    [InlineData("([\"a\")")]
    [InlineData("(Not)")]
    [InlineData("(Not Not <a>)")]
    [InlineData("<a>")]
    [InlineData("</a> </b> (<c>)")]
    [InlineData("(<c>) </a> (<c>)")]
    [InlineData("a")]
    [InlineData("(a)")]
    public void What_does_not_follow_the_grammar_is_refused(string header) => Assert.Equal(400, Assert.Throws<DavException>(() => IfHeader.Parse(header)).Status);

    [Fact]
    public void No_header_is_no_list()
    {
        Assert.Empty(IfHeader.Parse(null).Lists);
        Assert.Empty(IfHeader.Parse("  ").Lists);
    }

    [Fact]
    public void Lists_and_conditions_are_bounded()
    {
        string condition = "<a>";
        Assert.Equal(IfHeader.MaxConditions, IfHeader.Parse($"({string.Concat(Enumerable.Repeat(condition, IfHeader.MaxConditions))})").Lists[0].Conditions.Count);
        Assert.Throws<DavException>(() => IfHeader.Parse($"({string.Concat(Enumerable.Repeat(condition, IfHeader.MaxConditions + 1))})"));
        Assert.Throws<DavException>(() => IfHeader.Parse(string.Concat(Enumerable.Repeat("(<a>)", IfHeader.MaxLists + 1))));
    }
}
