using System.Text;

namespace TokTok.Storage.WebDav.Tests;

public sealed class DavXmlTests
{
    [Fact]
    public void Propfind_asks_for_all_for_names_or_for_some()
    {
        Assert.True(DavXml.ReadPropertyQuery(default).IsAll);
        Assert.True(DavXml.ReadPropertyQuery(Bytes("<propfind xmlns='DAV:'><allprop/></propfind>")).IsAll);
        Assert.True(DavXml.ReadPropertyQuery(Bytes("<d:propfind xmlns:d='DAV:'><d:propname/><x/></d:propfind>")).IsNamesOnly);
        PropertyQuery some = DavXml.ReadPropertyQuery(Bytes("<propfind xmlns='DAV:'><prop><getetag/><x xmlns='urn:y'><z/></x><x xmlns=''/></prop></propfind>"));
        Assert.Equal([new PropertyName("DAV:", "getetag"), new PropertyName("urn:y", "x"), new PropertyName("", "x")], some.Names);
        PropertyQuery more = DavXml.ReadPropertyQuery(Bytes("<propfind xmlns='DAV:'><allprop/><include><quota-used-bytes/></include></propfind>"));
        Assert.True(more.IsAll);
        Assert.Equal([new PropertyName("DAV:", "quota-used-bytes")], more.Names);
    }

    [Theory]
    [InlineData("<propfind xmlns='DAV:'/>")]
    [InlineData("<propfind xmlns='DAV:'><allprop/><propname/></propfind>")]
    [InlineData("<propfind><allprop/></propfind>")]
    [InlineData("<propfind xmlns='DAV:'><allprop/>")]
    [InlineData("<propfind xmlns='DAV:'><allprop/></propfind><x/>")]
    [InlineData("<d:propfind xmlns:d='DAV:'><d:prop><bar:foo xmlns:bar=''/></d:prop></d:propfind>")]
    [InlineData("not XML")]
    [InlineData("<!DOCTYPE propfind [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><propfind xmlns='DAV:'><prop><x>&b;</x></prop></propfind>")]
    [InlineData("<!DOCTYPE propfind SYSTEM 'file:///etc/passwd'><propfind xmlns='DAV:'><allprop/></propfind>")]
    public void What_is_wrong_or_hostile_is_refused(string body) => Assert.Equal(400, Assert.Throws<DavException>(() => DavXml.ReadPropertyQuery(Bytes(body))).Status);

    [Fact]
    public void Depth_and_number_of_elements_are_bounded()
    {
        string deep = string.Concat(Enumerable.Repeat("<a>", 20_000)) + string.Concat(Enumerable.Repeat("</a>", 20_000));
        Assert.Contains("deep", Assert.Throws<DavException>(() => DavXml.ReadPropertyQuery(Bytes($"<propfind xmlns='DAV:'><prop>{deep}</prop></propfind>"))).Message);
        string many = string.Concat(Enumerable.Range(0, DavXml.MaxProperties + 1).Select(static i => $"<a{i}/>"));
        Assert.Contains("257 properties", Assert.Throws<DavException>(() => DavXml.ReadPropertyQuery(Bytes($"<propfind xmlns='DAV:'><prop>{many}</prop></propfind>"))).Message);
    }

    [Fact]
    public void A_property_is_kept_with_its_namespaces_and_its_language()
    {
        PropertyChange change = Assert.Single(DavXml.ReadPropertyUpdate(Bytes(
            "<d:propertyupdate xmlns:d='DAV:' xmlns:z='urn:z' xml:lang='de'><d:set><d:prop><z:title>a &amp; <z:b/> ä</z:title></d:prop></d:set></d:propertyupdate>")));
        Assert.Equal(new PropertyName("urn:z", "title"), change.Name);
        Assert.Equal("<z:title xml:lang=\"de\" xmlns:z=\"urn:z\">a &amp; <z:b /> ä</z:title>", change.Value);
        Assert.True(DavXml.IsElement(Bytes(change.Value!), change.Name));
    }

    [Theory]
    [InlineData("<x xmlns='urn:y'>text</x>", true)]
    [InlineData("<y xmlns='urn:y'/>", false)]
    [InlineData("<x/>", false)]
    [InlineData("<x xmlns='urn:y'/><x xmlns='urn:y'/>", false)]
    [InlineData("<x xmlns='urn:y'>", false)]
    [InlineData("text", false)]
    [InlineData("", false)]
    [InlineData("<!DOCTYPE x><x xmlns='urn:y'/>", false)]
    public void What_a_mount_left_in_an_attribute_is_shown_only_if_it_is_that_element(string stored, bool isElement) =>
        Assert.Equal(isElement, DavXml.IsElement(Bytes(stored), new PropertyName("urn:y", "x")));

    [Fact]
    public void A_lock_has_a_scope_and_is_for_writing()
    {
        LockQuery query = DavXml.ReadLockQuery(Bytes("<lockinfo xmlns='DAV:'><lockscope><shared/></lockscope><locktype><write/></locktype><owner><href>me</href></owner></lockinfo>"));
        Assert.True(query.IsShared);
        Assert.Equal("<owner xmlns=\"DAV:\"><href>me</href></owner>", query.Owner);
        Assert.Throws<DavException>(() => DavXml.ReadLockQuery(Bytes("<lockinfo xmlns='DAV:'><lockscope><shared/></lockscope></lockinfo>")));
        Assert.Throws<DavException>(() => DavXml.ReadLockQuery(Bytes("<lockinfo xmlns='DAV:'><lockscope><shared/><exclusive/></lockscope><locktype><write/></locktype></lockinfo>")));
        string owner = new('x', DavXml.MaxOwnerChars);
        Assert.Throws<DavException>(() => DavXml.ReadLockQuery(Bytes($"<lockinfo xmlns='DAV:'><lockscope><shared/></lockscope><locktype><write/></locktype><owner>{owner}</owner></lockinfo>")));
    }

    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);
}
