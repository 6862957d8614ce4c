using System.Text;
using Microsoft.AspNetCore.Http;

namespace TokTok.Storage.WebDav.Tests;

public sealed class AccessGuardTests
{
    private static readonly AccessGuard s_guard = new(Encoding.UTF8.GetBytes("sixteen bytes or more: ä"));

    private static string Basic(string text) => $"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes(text))}";

    [Fact]
    public void The_token_is_a_password_of_anybody_or_a_bearer_token()
    {
        Assert.True(Admits(Basic("me:sixteen bytes or more: ä")));
        Assert.True(Admits(Basic(":sixteen bytes or more: ä")));
        Assert.True(Admits(Basic("me:sixteen bytes or more: ä").Replace("Basic", "basic", StringComparison.Ordinal)));
        Assert.True(Admits("Bearer sixteen bytes or more: ä"));
    }

    [Fact]
    public void Nothing_else_is_let_in()
    {
        string?[] headers =
        [
            null, "", "Basic", "Bearer", "Basic !", "Bearer ", Basic("sixteen bytes or more: ä"), Basic("me:sixteen bytes or more: "), Basic("me:"), Basic(""),
            "Digest sixteen bytes or more: ä", Basic("me:sixteen bytes or more: ä" + new string('x', AccessGuard.MaxHeaderChars)), Basic("sixteen bytes or more: ä:me"),
        ];
        Assert.All(headers, static header => Assert.False(Admits(header), header));
        var twice = new HeaderDictionary { ["Authorization"] = new([Basic("me:x"), "Bearer sixteen bytes or more: ä"]) };
        Assert.False(s_guard.Admits(twice));
    }

    [Fact]
    public void A_short_token_is_refused() => Assert.Throws<ArgumentOutOfRangeException>(static () => new AccessGuard("too short"u8));

    private static bool Admits(string? header) => s_guard.Admits(header is null ? new HeaderDictionary() : new HeaderDictionary { ["Authorization"] = header });
}
