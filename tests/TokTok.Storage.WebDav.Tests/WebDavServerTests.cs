using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Xml.Linq;
using TokTok.Storage.Files;
using TokTok.Storage.Testing;

namespace TokTok.Storage.WebDav.Tests;

/// <summary>The server over HTTP, as clients meet it.</summary>
public sealed class WebDavServerTests
{
    private static readonly FileCaller s_caller = new(1000, 1000);

    [Fact]
    public async Task Nobody_gets_in_without_the_token()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "secret");
        foreach (AuthenticationHeaderValue? wrong in new[] { null, ServedVolume.Basic("u", "wrong"), new AuthenticationHeaderValue("Bearer", "wrong") })
        {
            served.Client.DefaultRequestHeaders.Authorization = wrong;
            foreach (string method in new[] { "GET", "PUT", "PROPFIND", "DELETE", "LOCK", "OPTIONS", "TRACE" })
            {
                Reply reply = await served.ExpectAsync(401, method, "/f", method == "PUT" ? "x" : null);
                Assert.StartsWith("Basic realm=", reply.Headers["WWW-Authenticate"]);
                Assert.DoesNotContain("secret", reply.Body);
            }
        }

        served.Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", ServedVolume.Token);
        Assert.Equal("secret", (await served.ExpectAsync(200, "GET", "/f")).Body);
    }

    [Fact]
    public async Task Options_says_what_there_is()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        Reply reply = await served.ExpectAsync(200, "OPTIONS", "/anything");
        Assert.Equal(("1, 2", "DAV"), (reply.Headers["DAV"], reply.Headers["MS-Author-Via"]));
        Assert.Contains("PROPFIND", reply.Headers["Allow"]);
        Assert.Contains("LOCK", (await served.ExpectAsync(405, "POST", "/", "")).Headers["Allow"]);
    }

    [Fact]
    public async Task A_file_is_put_got_and_ranged()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        Reply put = await served.ExpectAsync(201, "PUT", "/letters.txt", "abcdefghij");
        Reply got = await served.ExpectAsync(200, "GET", "/letters.txt");
        Assert.Equal(("abcdefghij", put.Tag, "text/plain", "10"), (got.Body, got.Tag, got.Headers["Content-Type"], got.Headers["Content-Length"]));
        Reply head = await served.ExpectAsync(200, "HEAD", "/letters.txt");
        Assert.Equal(("", put.Tag, "10"), (head.Body, head.Tag, head.Headers["Content-Length"]));
        Reply part = await served.ExpectAsync(206, "GET", "/letters.txt", null, "Range: bytes=2-4");
        Assert.Equal(("cde", "bytes 2-4/10"), (part.Body, part.Headers["Content-Range"]));
        Assert.Equal("hij", (await served.ExpectAsync(206, "GET", "/letters.txt", null, "Range: bytes=-3")).Body);
        Assert.Equal("bytes */10", (await served.ExpectAsync(416, "GET", "/letters.txt", null, "Range: bytes=10-")).Headers["Content-Range"]);
        Reply parts = await served.ExpectAsync(206, "GET", "/letters.txt", null, "Range: bytes=0-1,-2");
        string boundary = parts.Headers["Content-Type"].Split("boundary=")[1];
        Assert.Equal(
            $"\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\nab\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\nij\r\n--{boundary}--\r\n",
            parts.Body);
        Assert.Equal(parts.Body.Length.ToString(System.Globalization.CultureInfo.InvariantCulture), parts.Headers["Content-Length"]);
    }

    [Fact]
    public async Task A_large_file_comes_back_as_it_went()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        byte[] bytes = new byte[5_000_001];
        new SeededRandom(3).Fill(bytes);
        using (HttpResponseMessage put = await served.Client.PutAsync("/big", new ByteArrayContent(bytes), ServedVolume.Cancel))
        {
            Assert.Equal(HttpStatusCode.Created, put.StatusCode);
        }

        Assert.Equal(bytes, await served.Client.GetByteArrayAsync("/big", ServedVolume.Cancel));
        await served.ExpectAsync(201, "COPY", "/big", null, "Destination: /copy");
        await served.Tree.CommitAsync(ServedVolume.Cancel);
        Assert.Equal(bytes, await served.Client.GetByteArrayAsync("/copy", ServedVolume.Cancel));
    }

    [Fact]
    public async Task Tags_change_with_every_put_though_size_and_clock_stand_still()
    {
        var clock = new ManualClock();
        await using ServedVolume served = await ServedVolume.StartAsync(clock);
        string first = (await served.ExpectAsync(201, "PUT", "/f", "one")).Tag;
        string second = (await served.ExpectAsync(204, "PUT", "/f", "two")).Tag;
        Assert.NotEqual(first, second);
        Assert.Equal(second, (await served.ExpectAsync(200, "HEAD", "/f")).Tag);
        await served.ExpectAsync(201, "MOVE", "/f", null, "Destination: /g");
        Assert.Equal(second, (await served.ExpectAsync(200, "HEAD", "/g")).Tag);
        await served.ExpectAsync(207, "PROPPATCH", "/g", "<propertyupdate xmlns='DAV:'><set><prop><x xmlns='urn:x'>1</x></prop></set></propertyupdate>");
        Assert.Equal(second, (await served.ExpectAsync(200, "HEAD", "/g")).Tag);
        await served.ExpectAsync(201, "COPY", "/g", null, "Destination: /h");
        Assert.NotEqual(second, (await served.ExpectAsync(200, "HEAD", "/h")).Tag);
        clock.Advance(TimeSpan.FromTicks(1));
        Change(served, "g", "owt");
        string changed = (await served.ExpectAsync(200, "HEAD", "/g")).Tag;
        Assert.NotEqual(second, changed);
        await served.Tree.CommitAsync(ServedVolume.Cancel);
        Assert.Equal(changed, (await served.ExpectAsync(200, "HEAD", "/g")).Tag);
    }

    [Fact]
    public async Task Conditions_are_checked_as_RFC_9110_13_2_2_orders_them()
    {
        var clock = new ManualClock(new DateTimeOffset(2026, 2, 3, 4, 5, 6, TimeSpan.Zero));
        await using ServedVolume served = await ServedVolume.StartAsync(clock);
        const string Then = "Tue, 03 Feb 2026 04:05:06 GMT";
        const string Before = "Tue, 03 Feb 2026 04:05:05 GMT";
        await served.ExpectAsync(412, "PUT", "/f", "x", "If-Match: *");
        string tag = (await served.ExpectAsync(201, "PUT", "/f", "text", "If-None-Match: *")).Tag;
        await served.ExpectAsync(412, "PUT", "/f", "x", "If-None-Match: *");
        await served.ExpectAsync(412, "PUT", "/f", "x", "If-Match: \"other\"");
        await served.ExpectAsync(412, "PUT", "/f", "x", $"If-Match: W/{tag}");
        await served.ExpectAsync(412, "DELETE", "/f", null, $"If-Unmodified-Since: {Before}");
        Reply same = await served.ExpectAsync(304, "GET", "/f", null, $"If-None-Match: \"x\", W/{tag}", $"If-Modified-Since: {Before}");
        Assert.Equal(("", tag), (same.Body, same.Tag));
        await served.ExpectAsync(200, "GET", "/f", null, "If-None-Match: \"x\"", $"If-Modified-Since: {Then}");
        await served.ExpectAsync(304, "GET", "/f", null, $"If-Modified-Since: {Then}");
        await served.ExpectAsync(200, "GET", "/f", null, $"If-Modified-Since: {Before}");
        await served.ExpectAsync(200, "GET", "/f", null, $"If-Match: {tag}", $"If-Unmodified-Since: {Before}");
        await served.ExpectAsync(206, "GET", "/f", null, "Range: bytes=0-0", $"If-Range: {tag}");
        await served.ExpectAsync(200, "GET", "/f", null, "Range: bytes=0-0", "If-Range: \"x\"");
        await served.ExpectAsync(200, "GET", "/f", null, "Range: bytes=0-0", $"If-Range: {Then}");
        clock.Advance(TimeSpan.FromMinutes(2));
        await served.ExpectAsync(206, "GET", "/f", null, "Range: bytes=0-0", $"If-Range: {Then}");
        await served.ExpectAsync(204, "PUT", "/f", "x", $"If-Match: \"a\", {tag}");
    }

    [Fact]
    public async Task An_upload_that_is_cut_off_leaves_the_old_file_and_nothing_else()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "old");
        int inodes = served.Tree.InodeCount;
        string[] bodies = ["Content-Length: 1000\r\n\r\n" + new string('x', 500), "Transfer-Encoding: chunked\r\n\r\n3\r\nnew\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\nnew\r\n"];
        foreach (string body in bodies)
        {
            foreach (string name in new[] { "f", "g" })
            {
                await RawAsync(served, $"PUT /{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ServedVolume.Token}\r\n{body}", isCut: true);
            }
        }

        Assert.Equal("old", (await served.ExpectAsync(200, "GET", "/f")).Body);
        await served.ExpectAsync(404, "GET", "/g");
        Assert.Equal(["/", "/f"], await ListAsync(served, "/"));
        await served.StopAsync(); // a client that cut a request off sees its connection end before the server is through with it
        Assert.Equal(inodes, served.Tree.InodeCount);
        Assert.Empty(served.Troubles);
    }

    [Fact]
    public async Task Put_takes_whole_files_where_a_file_can_be()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "MKCOL", "/d");
        await served.ExpectAsync(400, "PUT", "/f", "x", "Content-Range: bytes 0-0/10");
        await served.ExpectAsync(409, "PUT", "/f/", "x");
        await served.ExpectAsync(409, "PUT", "/none/f", "x");
        await served.ExpectAsync(405, "PUT", "/d", "x");
        await served.ExpectAsync(400, "PUT", "/f", "x", "X-Expected-Entity-Length: 2");
        await served.ExpectAsync(404, "GET", "/f");
        served.FreeBytes = 2;
        await served.ExpectAsync(507, "PUT", "/f", "xxx");
        served.FreeBytes = 1L << 39;
        await served.ExpectAsync(201, "PUT", "/f", "xx", "X-Expected-Entity-Length: 2", "X-OC-Mtime: 1234567890");
        Assert.Equal("Fri, 13 Feb 2009 23:31:30 GMT", (await served.ExpectAsync(200, "HEAD", "/f")).Headers["Last-Modified"]);
        using var chunked = new HttpRequestMessage(HttpMethod.Put, "/f") { Content = new StreamContent(new MemoryStream("chunks"u8.ToArray())) };
        chunked.Headers.TransferEncodingChunked = true;
        using HttpResponseMessage response = await served.Client.SendAsync(chunked, ServedVolume.Cancel);
        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        Assert.Equal("chunks", (await served.ExpectAsync(200, "GET", "/f")).Body);
    }

    [Fact]
    public async Task A_file_put_over_another_keeps_its_access_control_list_or_has_none_as_before()
    {
        byte[] list = Convert.FromHexString("02000000" + "01000600FFFFFFFF" + "02000400E8030000" + "04000400FFFFFFFF" + "10000600FFFFFFFF" + "20000000FFFFFFFF"); // u:rw, user 1000:r, g:r, m:rw, o:-
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/listed", "old");
        await served.ExpectAsync(201, "PUT", "/plain", "old");
        ulong root = served.Tree.RootId;
        Assert.Equal(FileError.None, served.Tree.Lookup(root, "listed"u8, out InodeAttributes listed));
        Assert.Equal(FileError.None, served.Tree.SetXattr(s_caller, listed.FileId, "system.posix_acl_access"u8, list, XattrMode.Any));
        Assert.Equal(FileError.None, served.Tree.SetXattr(s_caller, root, "system.posix_acl_default"u8, list, XattrMode.Any));
        await served.ExpectAsync(204, "PUT", "/listed", "new");
        await served.ExpectAsync(204, "PUT", "/plain", "new");
        await served.ExpectAsync(201, "PUT", "/another", "new");
        byte[] found = new byte[200];
        Assert.Equal((FileError.None, list.Length, 0x1b0u), Get("listed"u8));
        Assert.Equal(list, found[..list.Length]);
        Assert.Equal((FileError.ENODATA, 0, 0x1a4u), Get("plain"u8));
        Assert.Equal((FileError.None, list.Length, 0x1a0u), Get("another"u8)); // inherited: 0644 was asked for, and others get nothing
        await served.ExpectAsync(201, "COPY", "/plain", null, "Destination: /copy");
        Assert.Equal((FileError.ENODATA, 0, 0x1a4u), Get("copy"u8));

        (FileError Error, int Bytes, uint Mode) Get(ReadOnlySpan<byte> name)
        {
            Assert.Equal(FileError.None, served.Tree.Lookup(root, name, out InodeAttributes file));
            FileError error = served.Tree.GetXattr(file.FileId, "system.posix_acl_access"u8, found, out int bytes);
            return (error, bytes, file.Mode);
        }
    }

    [Fact]
    public async Task A_file_put_over_another_keeps_its_mode_owner_and_properties()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "old");
        await served.ExpectAsync(207, "PROPPATCH", "/f", "<propertyupdate xmlns='DAV:'><set><prop><x xmlns='urn:x'>kept</x></prop></set></propertyupdate>");
        ulong id = IdOf(served, "f");
        Assert.Equal(FileError.None, served.Tree.SetAttributes(s_caller, id, new AttributeChange { Mode = 0x9c0, OwnerId = 7, GroupId = 8 }, out _));
        served.Tree.Forget(id, 1);
        await served.ExpectAsync(204, "PUT", "/f", "new");
        Assert.Equal(FileError.None, served.Tree.Lookup(served.Tree.RootId, "f"u8, out InodeAttributes after));
        Assert.Equal((0x1c0u, 7u, 8u), (after.Mode, after.OwnerId, after.GroupId)); // 0700, and no set-user-id
        Assert.Contains("kept", (await served.ExpectAsync(207, "PROPFIND", "/f", null, "Depth: 0")).Body);
    }

    [Theory]
    [InlineData("/../etc/passwd")]
    [InlineData("/%2e%2e/%2e%2e/etc/passwd")]
    [InlineData("/d/..%2f..%2fetc/passwd")]
    [InlineData("/d/%00")]
    [InlineData("/d#f")]
    [InlineData("http://other/%2e%2e/x")]
    public async Task Paths_that_climb_are_refused(string target)
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        foreach (string method in new[] { "GET", "DELETE", "PROPFIND", "MKCOL" })
        {
            Assert.StartsWith("HTTP/1.1 400", await RawAsync(served, $"{method} {target} HTTP/1.1\r\nHost: other\r\nConnection: close\r\nAuthorization: Bearer {ServedVolume.Token}\r\n\r\n"));
        }

        await served.ExpectAsync(201, "PUT", "/f", "x");
        await served.ExpectAsync(400, "COPY", "/f", null, $"Destination: {target.Replace("other", served.Url.Authority, StringComparison.Ordinal)}");
    }

    [Fact]
    public async Task Links_are_followed_inside_the_volume_alone()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "MKCOL", "/d");
        await served.ExpectAsync(201, "PUT", "/d/f", "text");
        (string Name, string Target)[] links =
            [("ok", "d/f"), ("around", "./d/../d//f"), ("dir", "d/"), ("out", "/etc/passwd"), ("up", "../../etc/passwd"), ("self", "self"), ("there", "back"), ("back", "there"), ("none", "d/none")];
        foreach ((string name, string target) in links)
        {
            Assert.Equal(FileError.None, served.Tree.MakeSymlink(s_caller, served.Tree.RootId, Encoding.UTF8.GetBytes(name), Encoding.UTF8.GetBytes(target), out _));
        }

        Assert.Equal("text", (await served.ExpectAsync(200, "GET", "/ok")).Body);
        Assert.Equal("text", (await served.ExpectAsync(200, "GET", "/around")).Body);
        Assert.Equal("text", (await served.ExpectAsync(200, "GET", "/dir/f")).Body);
        await served.ExpectAsync(403, "GET", "/out");
        await served.ExpectAsync(403, "GET", "/up");
        await served.ExpectAsync(403, "PUT", "/out", "x");
        await served.ExpectAsync(508, "GET", "/self");
        await served.ExpectAsync(508, "GET", "/there/x");
        await served.ExpectAsync(404, "GET", "/none");
        Assert.Equal(["/", "/around", "/d/", "/dir/", "/ok"], await ListAsync(served, "/"));
        await served.ExpectAsync(204, "PUT", "/ok", "changed");
        Assert.Equal("changed", (await served.ExpectAsync(200, "GET", "/d/f")).Body);
        await served.ExpectAsync(201, "PUT", "/none", "made");
        Assert.Equal("made", (await served.ExpectAsync(200, "GET", "/d/none")).Body);
        string token = await served.LockAsync("/ok");
        await served.ExpectAsync(423, "PUT", "/d/f", "x");
        await served.ExpectAsync(204, "UNLOCK", "/dir/f", null, $"Lock-Token: <{token}>");
        await served.ExpectAsync(204, "DELETE", "/dir");
        await served.ExpectAsync(200, "GET", "/d/f"); // the link went, not what it led to
    }

    [Fact]
    public async Task Names_that_are_not_UTF_8_are_reached_by_their_bytes()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/%FF%FE%3C", "bytes");
        Assert.Equal(FileError.None, served.Tree.Lookup(served.Tree.RootId, [0xff, 0xfe, (byte)'<'], out _));
        Assert.Equal(["/", "/%FF%FE%3C"], await ListAsync(served, "/"));
        Assert.Equal("bytes", (await served.ExpectAsync(200, "GET", "/%FF%FE%3C")).Body);
        await served.ExpectAsync(201, "MOVE", "/%FF%FE%3C", null, "Destination: /%C3%A4%01");
        Assert.Equal(["/", "/%C3%A4%01"], await ListAsync(served, "/"));
        Assert.Contains("/%C3%A4%01", (await served.ExpectAsync(200, "GET", "/")).Body);
        await served.ExpectAsync(414, "PUT", "/" + new string('n', 256), "x");
    }

    [Fact]
    public async Task Trees_are_copied_moved_and_deleted_with_what_is_in_them()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        int inodes = served.Tree.InodeCount;
        foreach (string folder in new[] { "/a", "/a/b", "/a/b/c", "/old", "/old/x" })
        {
            await served.ExpectAsync(201, "MKCOL", folder);
        }

        for (int i = 0; i < 300; i++)
        {
            await served.ExpectAsync(201, "PUT", $"/a/b/f{i}", $"{i}");
        }

        await served.ExpectAsync(201, "COPY", "/a", null, "Destination: /copy");
        await served.ExpectAsync(201, "COPY", "/a", null, "Destination: /flat", "Depth: 0");
        Assert.Equal(["/flat/"], await ListAsync(served, "/flat/"));
        Assert.Equal(302, (await ListAsync(served, "/copy/b/")).Length);
        await served.ExpectAsync(412, "COPY", "/a", null, "Destination: /old", "Overwrite: F");
        await served.ExpectAsync(204, "COPY", "/a", null, "Destination: /old");
        Assert.Equal(["/old/", "/old/b/"], await ListAsync(served, "/old/"));
        await served.ExpectAsync(204, "MOVE", "/a", null, $"Destination: {served.Url}copy", "Overwrite: T");
        await served.ExpectAsync(404, "GET", "/a");
        Assert.Equal("299", (await served.ExpectAsync(200, "GET", "/copy/b/f299")).Body);
        await served.ExpectAsync(204, "COPY", "/copy/b/f7", null, "Destination: /old");
        Assert.Equal("7", (await served.ExpectAsync(200, "GET", "/old")).Body);
        await served.ExpectAsync(204, "MOVE", "/old", null, "Destination: /copy/b");
        Assert.Equal("7", (await served.ExpectAsync(200, "GET", "/copy/b")).Body);
        await served.ExpectAsync(403, "MOVE", "/copy", null, "Destination: /copy/x");
        await served.ExpectAsync(403, "COPY", "/copy", null, "Destination: /copy/x");
        await served.ExpectAsync(403, "COPY", "/copy/b", null, "Destination: /copy");
        await served.ExpectAsync(403, "COPY", "/copy", null, "Destination: /copy");
        await served.ExpectAsync(409, "MOVE", "/copy", null, "Destination: /none/x");
        await served.ExpectAsync(502, "MOVE", "/copy", null, "Destination: http://elsewhere/x");
        await served.ExpectAsync(400, "MOVE", "/copy", null, "Destination: x");
        await served.ExpectAsync(403, "DELETE", "/");
        await served.ExpectAsync(403, "MOVE", "/", null, "Destination: /x");
        await served.ExpectAsync(204, "DELETE", "/copy");
        await served.ExpectAsync(204, "DELETE", "/flat/");
        Assert.Equal(["/"], await ListAsync(served, "/"));
        await served.StopAsync();
        await served.Tree.CommitAsync(ServedVolume.Cancel);
        Assert.Equal(inodes, served.Tree.InodeCount); // every id that was given out came back
    }

    [Fact]
    public async Task Moving_onto_another_name_of_the_same_file_leaves_one_name()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/a", "x");
        Assert.Equal(FileError.None, served.Tree.Link(s_caller, IdOf(served, "a"), served.Tree.RootId, "b"u8, out _));
        await served.ExpectAsync(204, "MOVE", "/a", null, "Destination: /b");
        Assert.Equal(["/", "/b"], await ListAsync(served, "/"));
    }

    [Fact]
    public async Task Propfind_tells_what_is_asked_and_what_is_not_there()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/a&b.txt", "12345");
        Reply reply = await served.ExpectAsync(
            207, "PROPFIND", "/", "<propfind xmlns='DAV:'><prop><getcontentlength/><resourcetype/><quota-available-bytes/><quota-used-bytes/><displayname/><none xmlns='urn:x'/></prop></propfind>", "Depth: 1");
        XNamespace dav = "DAV:";
        XElement[] responses = [.. XDocument.Parse(reply.Body).Root!.Elements(dav + "response")];
        Assert.Equal(["/", "/a%26b.txt"], responses.Select(response => response.Element(dav + "href")!.Value));
        Assert.Equal((served.FreeBytes, (1L << 40) - served.FreeBytes), ((long)responses[0].Descendants(dav + "quota-available-bytes").First(), (long)responses[0].Descendants(dav + "quota-used-bytes").First()));
        Assert.Single(responses[0].Descendants(dav + "collection"));
        Assert.Equal("5", responses[1].Descendants(dav + "getcontentlength").First().Value);
        Assert.Equal("a&b.txt", responses[1].Descendants(dav + "displayname").First().Value);
        XElement missing = responses[1].Elements(dav + "propstat").Single(stat => stat.Element(dav + "status")!.Value == "HTTP/1.1 404 Not Found");
        Assert.Equal(["quota-available-bytes", "quota-used-bytes", "none"], missing.Element(dav + "prop")!.Elements().Select(static name => name.Name.LocalName));
        string all = (await served.ExpectAsync(207, "PROPFIND", "/", null, "Depth: 0")).Body;
        Assert.DoesNotContain("quota", all);
        Assert.Contains("supportedlock", all);
        Assert.Contains("<D:getetag/>", (await served.ExpectAsync(207, "PROPFIND", "/a%26b.txt", "<propfind xmlns='DAV:'><propname/></propfind>")).Body);
        Assert.Contains("propfind-finite-depth", (await served.ExpectAsync(403, "PROPFIND", "/", null)).Body);
        await served.ExpectAsync(403, "PROPFIND", "/", null, "Depth: infinity");
        await served.ExpectAsync(400, "PROPFIND", "/", null, "Depth: 2");
        await served.ExpectAsync(404, "PROPFIND", "/none", null, "Depth: 0");
        await served.ExpectAsync(413, "PROPFIND", "/", new string(' ', DavXml.MaxBodyBytes + 1), "Depth: 0");
        await served.ExpectAsync(400, "PROPFIND", "/", "<!DOCTYPE a [<!ENTITY l 'lol'>]><propfind xmlns='DAV:'><prop><a>&l;</a></prop></propfind>", "Depth: 0");
    }

    [Fact]
    public async Task A_listing_of_many_names_is_whole()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(FileError.None, served.Tree.Create(s_caller, served.Tree.RootId, Encoding.ASCII.GetBytes($"{i:0000}"), 0x1a4, OpenOptions.None, out InodeAttributes made, out ulong handle));
            served.Tree.Release(handle);
            served.Tree.Forget(made.FileId, 1);
        }

        string[] expected = ["/", .. Enumerable.Range(0, 1000).Select(static i => $"/{i:0000}")];
        Assert.Equal(expected, await ListAsync(served, "/"));
        Assert.Contains("<a href=\"/0999\">0999</a>", (await served.ExpectAsync(200, "GET", "/")).Body);
    }

    [Fact]
    public async Task Properties_are_set_all_together_or_not_at_all()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "x");
        Reply refused = await served.ExpectAsync(
            207, "PROPPATCH", "/f", "<propertyupdate xmlns='DAV:'><set><prop><a xmlns='urn:x'>1</a><getetag>x</getetag></prop></set><remove><prop><b xmlns='urn:x'/></prop></remove></propertyupdate>");
        Assert.Equal(2, refused.Body.Split("424 Failed Dependency").Length - 1);
        Assert.Contains("403 Forbidden</D:status><D:error><D:cannot-modify-protected-property/>", refused.Body);
        Assert.DoesNotContain("urn:x", (await served.ExpectAsync(207, "PROPFIND", "/f", null)).Body);
        string large = new('x', DavProperties.MaxValueBytes);
        Assert.Contains("507", (await served.ExpectAsync(207, "PROPPATCH", "/f", $"<propertyupdate xmlns='DAV:'><set><prop><a xmlns='urn:x'>{large}</a></prop></set></propertyupdate>")).Body);
        string longName = new('n', 255);
        Assert.Contains("507", (await served.ExpectAsync(207, "PROPPATCH", "/f", $"<propertyupdate xmlns='DAV:'><set><prop><{longName}/></prop></set></propertyupdate>")).Body);
        await served.ExpectAsync(207, "PROPPATCH", "/f", "<propertyupdate xmlns='DAV:'><set><prop><displayname>A name</displayname><a xmlns='urn:x'>1</a></prop></set></propertyupdate>");
        string all = (await served.ExpectAsync(207, "PROPFIND", "/f", null)).Body;
        Assert.Contains("A name", all);
        Assert.DoesNotContain(">f</D:displayname>", all);
        await served.ExpectAsync(207, "PROPPATCH", "/f", "<propertyupdate xmlns='DAV:'><remove><prop><a xmlns='urn:x'/><displayname/></prop></remove></propertyupdate>");
        all = (await served.ExpectAsync(207, "PROPFIND", "/f", null)).Body;
        Assert.DoesNotContain("urn:x", all);
        Assert.Contains(">f</D:displayname>", all);
    }

    [Fact]
    public async Task What_a_mount_writes_into_a_property_never_breaks_an_answer()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "x");
        ulong id = IdOf(served, "f");
        foreach (string name in new[] { "user.webdav.{urn:x}a", "user.webdav.{urn:x}<b", "user.webdav.{", "user.webdav.{DAV:}getetag", "user.other" })
        {
            Assert.Equal(FileError.None, served.Tree.SetXattr(s_caller, id, Encoding.UTF8.GetBytes(name), "</D:prop>"u8, XattrMode.Any));
        }

        XDocument.Parse((await served.ExpectAsync(207, "PROPFIND", "/f", null)).Body);
        string names = (await served.ExpectAsync(207, "PROPFIND", "/f", "<propfind xmlns='DAV:'><propname/></propfind>")).Body;
        XDocument.Parse(names);
    }

    [Fact]
    public async Task Windows_sets_its_times_and_finds_them()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "x");
        Reply set = await served.ExpectAsync(
            207,
            "PROPPATCH",
            "/f",
            """
            <?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop><Z:Win32CreationTime>Sun, 01 Feb 2009 00:00:00 GMT</Z:Win32CreationTime>
            <Z:Win32LastAccessTime>Fri, 13 Feb 2009 23:31:30 GMT</Z:Win32LastAccessTime><Z:Win32LastModifiedTime>Fri, 13 Feb 2009 23:31:30 GMT</Z:Win32LastModifiedTime>
            <Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>
            """);
        Assert.Equal(4, set.Body.Split("200 OK").Length - 1);
        string all = (await served.ExpectAsync(207, "PROPFIND", "/f", null, "Depth: 0")).Body;
        Assert.Contains("<D:getlastmodified>Fri, 13 Feb 2009 23:31:30 GMT<", all);
        Assert.Contains("<D:creationdate>2009-02-01T00:00:00Z<", all);
        Assert.Contains(">00000020<", all);
        Assert.Contains("Fri, 13 Feb 2009 23:31:30 GMT</Z:Win32LastModifiedTime>", (await served.ExpectAsync(
            207, "PROPFIND", "/f", "<propfind xmlns='DAV:'><prop><Z:Win32LastModifiedTime xmlns:Z='urn:schemas-microsoft-com:'/></prop></propfind>", "Depth: 0")).Body);
    }

    [Fact]
    public async Task What_is_locked_is_changed_by_the_holder_of_the_token_alone()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "MKCOL", "/d");
        await served.ExpectAsync(201, "PUT", "/d/f", "x");
        string token = await served.LockAsync("/d/f", "exclusive", "Timeout: Second-100");
        (string Method, string Path, string? Body, string[] Headers)[] refused =
        [
            ("PUT", "/d/f", "y", []), ("DELETE", "/d/f", null, []), ("MOVE", "/d/f", null, ["Destination: /g"]), ("DELETE", "/d", null, []), ("MOVE", "/d", null, ["Destination: /e"]),
            ("PROPPATCH", "/d/f", "<propertyupdate xmlns='DAV:'><remove><prop><a/></prop></remove></propertyupdate>", []),
            ("LOCK", "/d/f", "<lockinfo xmlns='DAV:'><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>", []),
            ("LOCK", "/d", "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>", []),
        ];
        foreach ((string method, string path, string? body, string[] headers) in refused)
        {
            Assert.Contains(method == "LOCK" ? "no-conflicting-lock" : "lock-token-submitted", (await served.ExpectAsync(423, method, path, body, headers)).Body);
        }

        await served.ExpectAsync(201, "COPY", "/d/f", null, "Destination: /d/copy");
        await served.ExpectAsync(423, "COPY", "/d/copy", null, "Destination: /d/f");
        await served.ExpectAsync(412, "PUT", "/d/f", "y", "If: (<urn:uuid:other>)");
        await served.ExpectAsync(423, "PUT", "/d/f", "y", "If: (<urn:uuid:other>) (Not <DAV:no-lock>)");
        await served.ExpectAsync(204, "PUT", "/d/f", "y", $"If: (<{token}>)");
        string tag = (await served.ExpectAsync(200, "HEAD", "/d/f")).Tag;
        await served.ExpectAsync(412, "PUT", "/d/f", "y", $"If: (<{token}> [\"other\"])");
        await served.ExpectAsync(204, "PUT", "/d/f", "y", $"If: (<{token}> [{tag}])");
        await served.ExpectAsync(412, "PUT", "/d/g", "y", $"If: <{served.Url}d/f> (Not <{token}>)");
        await served.ExpectAsync(201, "PUT", "/d/g", "y", $"If: <{served.Url}d/f> (<{token}>)");
        await served.ExpectAsync(412, "PUT", "/d/g", "y", $"If: <http://elsewhere/d/f> (<{token}>)");
        Assert.Contains(token, (await served.ExpectAsync(207, "PROPFIND", "/d/f", null, "Depth: 0")).Body);
        await served.ExpectAsync(204, "MOVE", "/d/f", null, "Destination: /d/g", $"If: (<{token}>)");
        Assert.DoesNotContain(token, (await served.ExpectAsync(207, "PROPFIND", "/d", null, "Depth: 1")).Body); // a lock does not move along
        await served.ExpectAsync(409, "UNLOCK", "/d/g", null, $"Lock-Token: <{token}>");
    }

    [Fact]
    public async Task A_locked_collection_protects_its_names_and_a_deep_lock_everything_below()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "MKCOL", "/d");
        await served.ExpectAsync(201, "PUT", "/d/f", "x");
        string flat = await served.LockAsync("/d", "exclusive", "Depth: 0");
        await served.ExpectAsync(204, "PUT", "/d/f", "y");
        await served.ExpectAsync(423, "PUT", "/d/new", "y");
        await served.ExpectAsync(423, "MKCOL", "/d/new");
        await served.ExpectAsync(423, "DELETE", "/d/f");
        await served.ExpectAsync(423, "MOVE", "/d/f", null, "Destination: /f");
        await served.ExpectAsync(201, "MKCOL", "/d/new", null, $"If: </d> (<{flat}>)");
        await served.ExpectAsync(204, "UNLOCK", "/d", null, $"Lock-Token: <{flat}>");
        string deep = await served.LockAsync("/d/");
        await served.ExpectAsync(423, "PUT", "/d/f", "z");
        await served.ExpectAsync(423, "PUT", "/d/new/g", "z");
        await served.ExpectAsync(204, "PUT", "/d/f", "z", $"If: </d/> (<{deep}>)");
        await served.ExpectAsync(200, "LOCK", "/d/f", null, $"If: (<{deep}>)", "Timeout: Infinite");
        await served.ExpectAsync(400, "LOCK", "/d/f", null);
        await served.ExpectAsync(412, "LOCK", "/d/f", null, "If: (<urn:uuid:other>)");
        await served.ExpectAsync(204, "UNLOCK", "/d/f", null, $"Lock-Token: <{deep}>");
        await served.ExpectAsync(201, "PUT", "/d/new/g", "z");
        await served.ExpectAsync(400, "UNLOCK", "/d", null, "Lock-Token: x");
    }

    [Fact]
    public async Task Shared_locks_stand_together_and_one_of_their_tokens_is_enough()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "x");
        string first = await served.LockAsync("/f", "shared");
        string second = await served.LockAsync("/f", "shared");
        Assert.NotEqual(first, second);
        await served.ExpectAsync(423, "PUT", "/f", "y");
        await served.ExpectAsync(204, "PUT", "/f", "y", $"If: (<{first}>)");
        await served.ExpectAsync(204, "PUT", "/f", "y", $"If: (<{second}>)");
    }

    [Fact]
    public async Task A_lock_on_a_free_name_makes_an_empty_file_and_ends_by_time()
    {
        var clock = new ManualClock();
        await using ServedVolume served = await ServedVolume.StartAsync(clock);
        Reply reply = await served.ExpectAsync(
            201, "LOCK", "/new", "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner><href>me</href></owner></lockinfo>", "Timeout: Infinite, Second-5");
        Assert.Contains("<href>me</href>", reply.Body);
        Assert.Contains("<D:timeout>Second-86400<", reply.Body);
        Assert.Equal("", (await served.ExpectAsync(200, "GET", "/new")).Body);
        await served.ExpectAsync(423, "PUT", "/new", "x");
        clock.Advance(TimeSpan.FromDays(1));
        await served.ExpectAsync(204, "PUT", "/new", "x");
        await served.ExpectAsync(409, "LOCK", "/none/x", "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>");
    }

    [Fact]
    public async Task A_failure_inside_shows_the_client_nothing()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/f", "x");
        served.Tree.Changed += static _ => throw new InvalidOperationException("an inner matter");
        Reply reply = await served.ExpectAsync(500, "DELETE", "/f");
        Assert.Equal("The server failed.\n", reply.Body);
        Assert.Contains("an inner matter", Assert.Single(served.Troubles));
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\nHost: x\r\nX: {0}\r\n\r\n", 40_000, "431")]
    [InlineData("GET /{0} HTTP/1.1\r\nHost: x\r\n\r\n", 20_000, "414")]
    [InlineData("nonsense{0}\r\n\r\n", 1, "400")]
    public async Task Requests_beyond_the_bounds_are_refused(string request, int size, string status)
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        Assert.StartsWith($"HTTP/1.1 {status}", await RawAsync(served, request.Replace("{0}", new string('x', size), StringComparison.Ordinal)));
        Assert.Empty(served.Troubles);
    }

    [Fact]
    public async Task A_page_of_a_folder_shows_names_as_text()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        await served.ExpectAsync(201, "PUT", "/%3Cscript%3E.html", "<script>");
        Reply page = await served.ExpectAsync(200, "GET", "/");
        Assert.Contains("<a href=\"/%3Cscript%3E.html\">&lt;script&gt;.html</a>", page.Body);
        Assert.StartsWith("default-src 'none'", page.Headers["Content-Security-Policy"]);
        Assert.Equal("sandbox", (await served.ExpectAsync(200, "GET", "/%3Cscript%3E.html")).Headers["Content-Security-Policy"]);
    }

    [Fact]
    public async Task Requests_that_race_for_one_name_make_it_once()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        Reply[] replies = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => served.AskAsync("PUT", "/f", $"{i}", "If-None-Match: *")));
        Assert.Single(replies, static reply => reply.Status == 201);
        Assert.Equal(19, replies.Count(static reply => reply.Status == 412));
        Reply[] locks = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => served.AskAsync(
            "LOCK", "/f", "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>")));
        Assert.Single(locks, static reply => reply.Status == 200);
        Assert.Equal(["/", "/f"], await ListAsync(served, "/"));
    }

    [Fact]
    public async Task An_upload_under_way_when_the_server_ends_leaves_nothing()
    {
        ServedVolume served = await ServedVolume.StartAsync(null, static options => options with { StopGrace = TimeSpan.FromMilliseconds(10) });
        await using (served)
        {
            int inodes = served.Tree.InodeCount;
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, served.Url.Port, ServedVolume.Cancel);
            await using NetworkStream stream = client.GetStream();
            byte[] request = Encoding.ASCII.GetBytes($"PUT /f HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ServedVolume.Token}\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
            await stream.WriteAsync(request, ServedVolume.Cancel);
            Assert.True(await stream.ReadAsync(new byte[100], ServedVolume.Cancel) > 0); // 100: the upload has begun
            Assert.Equal(inodes + 1, served.Tree.InodeCount);
            await served.StopAsync();
            Assert.Equal(inodes, served.Tree.InodeCount);
            Assert.Empty(served.Troubles);
        }
    }

    [Fact]
    public async Task Windows_saves_a_file_as_its_redirector_does()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        string all = served.Url.ToString();
        await served.ExpectAsync(200, "OPTIONS", "/", null, "translate: f");
        await served.ExpectAsync(404, "PROPFIND", "/new%20file.docx", null, "Depth: 0", "translate: f");
        await served.ExpectAsync(201, "PUT", "/new%20file.docx", "");
        Reply locked = await served.ExpectAsync(
            200,
            "LOCK",
            "/new%20file.docx",
            """<?xml version="1.0" encoding="utf-8" ?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>BOX\ann</D:href></D:owner></D:lockinfo>""",
            "Timeout: Second-3600");
        string submits = $"If: ({locked.Headers["Lock-Token"]})";
        const string Times = """
            <?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set><D:prop><Z:Win32CreationTime>Sun, 01 Feb 2009 00:00:00 GMT</Z:Win32CreationTime>
            <Z:Win32LastModifiedTime>Fri, 13 Feb 2009 23:31:30 GMT</Z:Win32LastModifiedTime><Z:Win32FileAttributes>00000000</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>
            """;
        await served.ExpectAsync(207, "PROPPATCH", "/new%20file.docx", Times, submits);
        await served.ExpectAsync(200, "HEAD", "/new%20file.docx", null, "translate: f");
        await served.ExpectAsync(204, "PUT", "/new%20file.docx", "words", submits);
        await served.ExpectAsync(207, "PROPPATCH", "/new%20file.docx", Times, submits);
        await served.ExpectAsync(204, "UNLOCK", "/new%20file.docx", null, $"Lock-Token: {locked.Headers["Lock-Token"]}");
        await served.ExpectAsync(201, "PUT", "/~tmp1.docx", "more words");
        await served.ExpectAsync(204, "MOVE", "/~tmp1.docx", null, $"Destination: {all}new%20file.docx", "Overwrite: T");
        Reply saved = await served.ExpectAsync(200, "GET", "/new%20file.docx");
        Assert.Equal("more words", saved.Body);
    }

    [Fact]
    public async Task The_Finder_saves_a_file_as_it_does()
    {
        await using ServedVolume served = await ServedVolume.StartAsync();
        Reply space = await served.ExpectAsync(
            207, "PROPFIND", "/", "<D:propfind xmlns:D='DAV:'><D:prop><D:quota-available-bytes/><D:quota-used-bytes/><D:quota/><D:quotaused/></D:prop></D:propfind>", "Depth: 0");
        Assert.Contains($"<D:quota-available-bytes>{served.FreeBytes}<", space.Body);
        foreach (string name in new[] { "/film.mov", "/._film.mov" })
        {
            await served.ExpectAsync(404, "PROPFIND", name, "<D:propfind xmlns:D='DAV:'><D:prop><D:getlastmodified/><D:getcontentlength/><D:resourcetype/></D:prop></D:propfind>", "Depth: 0");
            await served.ExpectAsync(201, "PUT", name, "");
            string token = await served.LockAsync(name, "exclusive", "Depth: 0", "Timeout: Second-600");
            using var chunked = new HttpRequestMessage(HttpMethod.Put, name) { Content = new StreamContent(new MemoryStream(new byte[300_000])) };
            chunked.Headers.TransferEncodingChunked = true;
            chunked.Headers.Add("X-Expected-Entity-Length", "300000");
            chunked.Headers.ExpectContinue = true;
            Assert.True(chunked.Headers.TryAddWithoutValidation("If", $"(<{token}>)"));
            using HttpResponseMessage response = await served.Client.SendAsync(chunked, ServedVolume.Cancel);
            Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
            await served.ExpectAsync(200, "LOCK", name, null, $"If: (<{token}>)", "Timeout: Second-600");
            await served.ExpectAsync(204, "UNLOCK", name, null, $"Lock-Token: <{token}>");
        }

        Assert.Equal(["/", "/._film.mov", "/film.mov"], await ListAsync(served, "/"));
    }

    [Fact]
    public async Task Several_volumes_are_collections_of_their_names()
    {
        await using ServedVolume served = await ServedVolume.StartAsync(null, null, "work", "my photos");
        Assert.Equal(["/", "/my%20photos/", "/work/"], await ListAsync(served, "/"));
        Assert.Equal(["/"], XDocument.Parse((await served.ExpectAsync(207, "PROPFIND", "/", null, "Depth: 0")).Body).Descendants(XName.Get("href", "DAV:")).Select(static href => href.Value));
        Reply space = await served.ExpectAsync(207, "PROPFIND", "/", "<propfind xmlns='DAV:'><prop><quota-available-bytes/><getetag/></prop></propfind>", "Depth: 0");
        Assert.Contains($"<D:quota-available-bytes>{served.FreeBytes}<", space.Body);
        Assert.Contains("<D:getetag/></D:prop><D:status>HTTP/1.1 404", space.Body);
        Assert.Contains("<a href=\"/my%20photos/\">my photos/</a>", (await served.ExpectAsync(200, "GET", "/")).Body);
        await served.ExpectAsync(201, "PUT", "/work/f", "x");
        await served.ExpectAsync(201, "MKCOL", "/work/d");
        Assert.Equal(["/work/", "/work/d/", "/work/f"], await ListAsync(served, "/work/"));
        Assert.Contains("<a href=\"/\">..</a>", (await served.ExpectAsync(200, "GET", "/work")).Body);
        Assert.Contains("<a href=\"/work/\">..</a>", (await served.ExpectAsync(200, "GET", "/work/d/")).Body);
        string token = await served.LockAsync("/work/f");
        Assert.Contains("<D:href>/work/f</D:href>", (await served.ExpectAsync(423, "PUT", "/work/f", "y")).Body);
        await served.ExpectAsync(204, "PUT", "/work/f", "y", $"If: <{served.Url}work/f> (<{token}>)");
        await served.ExpectAsync(412, "PUT", "/work/f", "y", $"If: <{served.Url}my%20photos/f> (<{token}>)");
        await served.ExpectAsync(201, "MOVE", "/work/f", null, $"Destination: {served.Url}work/g", $"If: (<{token}>)");
        await served.ExpectAsync(502, "COPY", "/work/d", null, "Destination: /my%20photos/e");
        await served.ExpectAsync(502, "COPY", "/work/d", null, "Destination: /other");
        await served.ExpectAsync(403, "MOVE", "/work", null, "Destination: /work/x");
        await served.ExpectAsync(403, "DELETE", "/work/");
        await served.ExpectAsync(403, "DELETE", "/");
        await served.ExpectAsync(403, "PUT", "/f", "x");
        await served.ExpectAsync(403, "MKCOL", "/new/");
        await served.ExpectAsync(404, "GET", "/new/f");
        await served.ExpectAsync(403, "PROPFIND", "/", null);
    }

    private static async Task<string[]> ListAsync(ServedVolume served, string path)
    {
        Reply reply = await served.ExpectAsync(207, "PROPFIND", path, "<propfind xmlns='DAV:'><prop><resourcetype/></prop></propfind>", "Depth: 1");
        return [.. XDocument.Parse(reply.Body).Descendants(XName.Get("href", "DAV:")).Select(static href => href.Value).Order(StringComparer.Ordinal)];
    }

    private static ulong IdOf(ServedVolume served, string name)
    {
        Assert.Equal(FileError.None, served.Tree.Lookup(served.Tree.RootId, Encoding.UTF8.GetBytes(name), out InodeAttributes file));
        return file.FileId;
    }

    /// <summary>Writes into a file in place, as a mount does.</summary>
    private static void Change(ServedVolume served, string name, string text)
    {
        ulong id = IdOf(served, name);
        Assert.Equal(FileError.None, served.Tree.Open(s_caller, id, OpenOptions.Write, out ulong handle));
        Assert.Equal(FileError.None, served.Tree.Write(handle, 0, Encoding.UTF8.GetBytes(text), WriteOptions.None, out _));
        Assert.Equal(FileError.None, served.Tree.Release(handle));
        served.Tree.Forget(id, 1);
    }

    /// <summary>Sends bytes and returns what comes until the server closes the connection.</summary>
    /// <param name="isCut">No more bytes follow, and the server can see it.</param>
    private static async Task<string> RawAsync(ServedVolume served, string request, bool isCut = false)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, served.Url.Port, ServedVolume.Cancel);
        await using NetworkStream stream = client.GetStream();
        using var reader = new StreamReader(stream, Encoding.UTF8);
        try
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(request), ServedVolume.Cancel);
            if (isCut)
            {
                stream.Socket.Shutdown(SocketShutdown.Send);
            }

            return await reader.ReadToEndAsync(ServedVolume.Cancel);
        }
        catch (IOException)
        {
            return ""; // reset: the server closed with bytes of ours unread
        }
    }
}
