using TokTok.Storage.Node.Peers;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

public sealed class InvitationCodeTests
{
    private static InvitationCode Sample(params NodeAddress[] addresses) => new()
    {
        Secret = new SeededRandom(1).Bytes(InvitationCode.SecretSize),
        Fingerprint = new SeededRandom(2).Bytes(16),
        Addresses = addresses.Length > 0 ? addresses : [new NodeAddress("192.0.2.7", 4919)],
    };

    [Fact]
    public void A_code_says_what_was_put_into_it_however_it_is_typed()
    {
        InvitationCode code = Sample(new NodeAddress("192.0.2.7", 4919), new NodeAddress("2001:db8::7", 1), new NodeAddress("box.example.org", 65535));
        string text = code.ToString();
        foreach (string typed in (string[])[text, text.ToUpperInvariant(), " " + text + "\n", "tdfs-" + text["tdfs-".Length..].Replace("-", " ", StringComparison.Ordinal), text.Replace('0', 'o').Replace('1', 'l')])
        {
            Assert.True(InvitationCode.TryParse(typed, out InvitationCode? read, out string? error), error);
            Assert.Equal(code.Secret.ToArray(), read.Secret.ToArray());
            Assert.Equal(code.Fingerprint.ToArray(), read.Fingerprint.ToArray());
            Assert.Equal(code.Addresses, read.Addresses);
        }
    }

    [Fact]
    public void Every_single_wrong_character_is_noticed()
    {
        string text = Sample().ToString();
        for (int at = InvitationCode.Prefix.Length; at < text.Length; at++)
        {
            foreach (char other in "0123456789abcdefghjkmnpqrstvwxyz")
            {
                if (text[at] != '-' && text[at] != other)
                {
                    string typed = text[..at] + other + text[(at + 1)..];
                    Assert.False(InvitationCode.TryParse(typed, out _, out string? error), typed);
                    Assert.DoesNotContain('\n', error);
                }
            }
        }
    }

    [Fact]
    public void Every_code_cut_short_is_noticed()
    {
        string text = Sample().ToString();
        for (int length = 0; length < text.Length; length++)
        {
            Assert.False(InvitationCode.TryParse(text[..length], out _, out string? error) && text[length..] != "-", text[..length]);
            Assert.True(error is null || error.Length > 0);
        }
    }

    [Fact]
    public void Two_neighbours_exchanged_are_noticed()
    {
        string text = Sample().ToString();
        for (int at = InvitationCode.Prefix.Length; at + 1 < text.Length; at++)
        {
            if (text[at] != text[at + 1] && text[at] != '-' && text[at + 1] != '-')
            {
                Assert.False(InvitationCode.TryParse(text[..at] + text[at + 1] + text[at] + text[(at + 2)..], out _, out _));
            }
        }
    }

    [Theory]
    [InlineData("192.0.2.7:4919", "192.0.2.7:4919")]
    [InlineData("[2001:DB8:0:0::7]:1", "[2001:db8::7]:1")]
    [InlineData("box-1.example.org:65535", "box-1.example.org:65535")]
    public void An_address_reads_back_as_it_is_written(string text, string written)
    {
        Assert.True(NodeAddress.TryParse(text, out NodeAddress? address));
        Assert.Equal(written, address.ToString());
        Assert.True(NodeAddress.TryParse(written, out NodeAddress? again));
        Assert.Equal(address, again);
    }

    [Theory]
    [InlineData("")]
    [InlineData("box")]
    [InlineData("box:")]
    [InlineData(":1")]
    [InlineData("box:0")]
    [InlineData("box:65536")]
    [InlineData("box:+1")]
    [InlineData("::1:80")]
    [InlineData("[::1:80")]
    [InlineData("[box]:80")]
    [InlineData("bo x:80")]
    [InlineData("-box:80")]
    [InlineData("1:80")]
    [InlineData("0x7f.1:80")]
    public void What_is_no_address_is_refused(string text) => Assert.False(NodeAddress.TryParse(text, out _), text);
}
