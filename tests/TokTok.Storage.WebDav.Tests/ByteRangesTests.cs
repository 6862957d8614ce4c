namespace TokTok.Storage.WebDav.Tests;

/// <summary>RFC 9110 14.1.2 and 14.2.</summary>
public sealed class ByteRangesTests
{
    [Theory]
    [InlineData("bytes=0-499", "0+499")]
    [InlineData("bytes=0-0", "0+0")]
    [InlineData("bytes=500-", "500+999")]
    [InlineData("bytes=-500", "500+999")]
    [InlineData("bytes=-5000", "0+999")]
    [InlineData("bytes=9-99999999999999999999", "9+999")]
    [InlineData("BYTES= 0-1 , 5-6", "0+1 5+6")]
    [InlineData("bytes=0-1,2000-3000,998-", "0+1 998+999")]
    [InlineData("bytes=1000-", "")]
    [InlineData("bytes=-0", "")]
    [InlineData("bytes=0-0,-1", "0+0 999+999")]
    public void Ranges_of_a_thousand_bytes(string header, string expected) =>
        Assert.Equal(expected, string.Join(' ', ByteRanges.Parse(header, 1000)!.Select(static range => $"{range.Offset}+{range.Offset + range.Length - 1}")));

    [Theory]
    [InlineData(null)]
    [InlineData("lines=1-2")]
    [InlineData("bytes=")]
    [InlineData("bytes=-")]
    [InlineData("bytes=5")]
    [InlineData("bytes=5-4")]
    [InlineData("bytes=a-b")]
    [InlineData("bytes=1-2-3")]
    [InlineData("bytes=0-,0-,0-")] // more than the file has: it costs the server alone
    public void What_is_no_range_or_too_much_sends_the_whole_file(string? header) => Assert.Null(ByteRanges.Parse(header, 1000));

    [Fact]
    public void More_ranges_than_the_bound_send_the_whole_file()
    {
        Assert.Equal(ByteRanges.MaxCount, ByteRanges.Parse($"bytes={string.Join(',', Enumerable.Range(0, ByteRanges.MaxCount).Select(static i => $"{2 * i}-{2 * i}"))}", 1000)!.Count);
        Assert.Null(ByteRanges.Parse($"bytes={string.Join(',', Enumerable.Range(0, ByteRanges.MaxCount + 1).Select(static i => $"{2 * i}-{2 * i}"))}", 1000));
    }

    [Fact]
    public void An_empty_file_has_no_range() => Assert.Empty(ByteRanges.Parse("bytes=0-", 0)!);
}
