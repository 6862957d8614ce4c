using System.Text;

namespace TokTok.Storage.WebDav.Tests;

public sealed class DavPathTests
{
    [Theory]
    [InlineData("/a/b", "a|b", false)]
    [InlineData("/a/b/", "a|b", true)]
    [InlineData("//a///b", "a|b", false)]
    [InlineData("/a%20b/%C3%A4?query=/x", "a b|ä", false)]
    [InlineData("http://host:80/a/b?q", "a|b", false)]
    [InlineData("http://host", "", true)]
    [InlineData("/...", "...", false)]
    [InlineData("/", "", true)]
    public void A_target_is_taken_apart_into_names(string target, string names, bool isCollection)
    {
        DavPath path = DavPath.Parse(target);
        Assert.Equal(names, string.Join('|', path.Names.Select(Encoding.UTF8.GetString)));
        Assert.Equal(isCollection, path.IsCollection);
    }

    [Theory]
    [InlineData("/a/../b")]
    [InlineData("/%2e%2e/b")]
    [InlineData("/.%2E")]
    [InlineData("/a/./b")]
    [InlineData("/a%2fb")]
    [InlineData("/a%00b")]
    [InlineData("/a%")]
    [InlineData("/a%2")]
    [InlineData("/a%zz")]
    [InlineData("a/b")]
    [InlineData("://x/a")]
    public void What_no_volume_could_have_is_refused(string target) => Assert.Equal(400, Assert.Throws<DavException>(() => DavPath.Parse(target)).Status);

    [Fact]
    public void Every_byte_that_a_name_may_have_comes_back_from_its_encoding()
    {
        byte[] all = [.. Enumerable.Range(1, 255).Select(static value => (byte)value).Where(static value => value != (byte)'/')];
        DavPath path = DavPath.Parse(DavPath.Encode([all, [0xff]], isCollection: true));
        Assert.Equal([all, [0xff]], path.Names);
        Assert.True(path.IsCollection);
        Assert.All(DavPath.Encode([all], false), static letter => Assert.True(letter is > ' ' and < (char)127 and not ('<' or '>' or '"' or '&')));
    }
}
