using System.Net;
using TokTok.Storage.Node.Transport;

namespace TokTok.Storage.Node.Tests;

public sealed class CrowdTests
{
    private readonly List<string> _ended = [];

    private Crowd.Member Enter(Crowd crowd, string address, string name) => crowd.Enter(IPAddress.Parse(address), () => _ended.Add(name));

    [Fact]
    public void Whoever_has_most_loses_the_oldest()
    {
        var crowd = new Crowd(4);
        Enter(crowd, "192.0.2.1", "a1");
        Enter(crowd, "192.0.2.2", "b1");
        Enter(crowd, "192.0.2.2", "b2");
        Enter(crowd, "192.0.2.3", "c1");
        Assert.Empty(_ended);
        Enter(crowd, "192.0.2.4", "d1");
        Assert.Equal(["b1"], _ended);
        for (int i = 2; i < 100; i++)
        {
            Enter(crowd, "192.0.2.4", $"d{i}");
        }

        Assert.Equal(1, _ended.Count(static name => name[0] == 'a') + _ended.Count(static name => name[0] == 'c') + _ended.Count(static name => name == "b2")); // one gave way to d2, before d had most
        Assert.Equal(97, _ended.Count(static name => name[0] == 'd'));
    }

    [Fact]
    public void Who_left_or_was_ended_leaves_room_once()
    {
        var crowd = new Crowd(2);
        Crowd.Member first = Enter(crowd, "192.0.2.1", "first");
        Crowd.Member second = Enter(crowd, "192.0.2.1", "second");
        Enter(crowd, "192.0.2.1", "third");
        Assert.Equal(["first"], _ended);
        crowd.Leave(first);  // ended already
        crowd.Leave(second);
        crowd.Leave(second);
        Enter(crowd, "192.0.2.1", "fourth");
        Assert.Equal(["first"], _ended);
        Enter(crowd, "192.0.2.1", "fifth");
        Assert.Equal(["first", "third"], _ended);
    }

    [Theory]
    [InlineData("2001:db8::1", "2001:db8::ffff:1", true)]
    [InlineData("2001:db8:0:1::1", "2001:db8:0:2::1", false)]
    [InlineData("192.0.2.1", "::ffff:192.0.2.1", true)]
    [InlineData("192.0.2.1", "192.0.2.2", false)]
    [InlineData("192.0.2.1", "c000:201::", false)]
    public void An_address_is_what_one_party_has(string one, string other, bool isSame)
    {
        var crowd = new Crowd(5);
        Enter(crowd, "198.51.100.1", "a");
        Enter(crowd, "198.51.100.1", "b");
        Enter(crowd, one, "one");
        Enter(crowd, other, "other");
        Enter(crowd, other, "other's second");
        Enter(crowd, "198.51.100.2", "late");
        Assert.Equal(isSame, Assert.Single(_ended) == "one"); // three of one address, or two each of two others
    }
}
