using System.Text;
using System.Text.Json;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Keys;

public sealed class WordsTests
{
    private static JsonElement[] Vectors { get; } =
        [.. JsonDocument.Parse(File.ReadAllText(Repository.Vector("bip39/vectors.json"))).RootElement.GetProperty("vectors").EnumerateArray()];

    private static string Good { get; } = Vectors[5].GetProperty("words").GetString()!;

    internal static string Text(ReadOnlySpan<byte> entropy)
    {
        Span<byte> text = stackalloc byte[Words.MaxTextBytes];
        return Encoding.ASCII.GetString(text[..Words.Write(entropy, text)]);
    }

    [Fact]
    public void Words_are_written_into_the_room_that_is_asked_for_and_less_is_refused()
    {
        Assert.Throws<ArgumentException>("text", () => Words.Write(new byte[32], new byte[Words.MaxTextBytes - 1]));
        byte[] text = new byte[Words.MaxTextBytes + 1];
        byte[] entropy = new byte[32];
        int written = Words.Write(entropy, text);
        Assert.Equal(Text(entropy), Encoding.ASCII.GetString(text, 0, written));
        Assert.All(text[written..], static rest => Assert.Equal(0, rest));
        Assert.Equal((24 * 8) + 23, Words.MaxTextBytes);
    }

    [Fact]
    public void Words_and_entropy_agree_with_python_mnemonic()
    {
        foreach (JsonElement vector in Vectors)
        {
            byte[] entropy = Convert.FromHexString(vector.GetProperty("entropy").GetString()!), back = new byte[32];
            string words = vector.GetProperty("words").GetString()!;
            Assert.Equal(words, Text(entropy));
            Assert.True(Words.TryParse(words, back, out string? error), error);
            Assert.Equal(entropy, back);
        }

        Assert.Equal(25, Vectors.Length);
    }

    [Fact]
    public void Case_white_space_and_prefixes_of_four_letters_are_tolerated()
    {
        byte[] expected = new byte[32], back = new byte[32];
        Assert.True(Words.TryParse(Good, expected, out _));
        string[] words = Good.Split(' ');
        string[] spellings =
        [
            Good.ToUpperInvariant(),
            "  " + string.Join("\r\n", words) + "\n",
            string.Join(" \t ", words),
            string.Join(' ', words.Select(word => word[..Math.Min(4, word.Length)])),
            string.Join(' ', words.Select(word => word[..Math.Min(5, word.Length)])),
        ];
        foreach (string spelling in spellings)
        {
            Assert.True(Words.TryParse(spelling, back, out string? error), error);
            Assert.Equal(expected, back);
        }
    }

    [Fact]
    public void A_wrong_count_is_told()
    {
        byte[] entropy = new byte[32];
        Assert.False(Words.TryParse(string.Join(' ', Good.Split(' ')[..23]), entropy, out string? error));
        Assert.Equal("24 words are expected, 23 were given.", error);
        Assert.False(Words.TryParse(Good + " " + Good, entropy, out error));
        Assert.Equal("24 words are expected, 48 were given.", error);
        Assert.False(Words.TryParse(" \n", entropy, out error));
        Assert.Equal("24 words are expected, 0 were given.", error);
    }

    [Theory]
    [InlineData("abandom", "Word 3, 'abandom', is not in the list; did you mean 'abandon'?")]
    [InlineData("zooo", "Word 3, 'zooo', is not in the list; did you mean 'zoo'?")]
    [InlineData("abandonned", "Word 3, 'abandonned', is not in the list; did you mean 'abandon'?")]
    [InlineData("documentary", "Word 3, 'documentary', is not in the list; did you mean 'document'?")]
    [InlineData("aband\u001bon", "Word 3, 'aband?on', is not in the list; did you mean 'abandon'?")]
    [InlineData("abandonabandonab", "Word 3, 'abandonabandonab', is not in the list; did you mean 'abandon'?")]
    [InlineData("abandonabandonaba", "Word 3, 'abandonabandonab', is not in the list; did you mean 'abandon'?")]
    public void An_unknown_word_is_told_with_the_nearest(string wrong, string expected)
    {
        string[] words = Good.Split(' ');
        words[2] = wrong;
        byte[] entropy = new byte[32];
        Assert.False(Words.TryParse(string.Join(' ', words), entropy, out string? error));
        Assert.Equal(expected, error);
        Assert.Equal(new byte[32], entropy);
    }

    [Fact]
    public void Three_letters_are_no_prefix_unless_they_are_the_word()
    {
        string[] words = Good.Split(' ');
        words[0] = "aba";
        Assert.False(Words.TryParse(string.Join(' ', words), new byte[32], out string? error));
        Assert.StartsWith("Word 1, 'aba',", error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_checksum_is_told_and_gives_back_no_bytes()
    {
        byte[] entropy = new byte[32];
        entropy.AsSpan().Fill(0xee);
        Assert.False(Words.TryParse(string.Join(' ', Enumerable.Repeat("abandon", 24)), entropy, out string? error));
        Assert.Equal("The words are all in the list but their checksum is wrong: one is mistaken, or two are swapped.", error);
        Assert.Equal(new byte[32], entropy);
    }

    [Theory, InlineData(0), InlineData(31), InlineData(33)]
    public void The_words_carry_32_bytes_and_no_other_number(int bytes)
    {
        Assert.Throws<ArgumentException>("entropy", () => Text(new byte[bytes]));
        Assert.Throws<ArgumentException>("entropy", () => Words.TryParse(Good, new byte[bytes], out _));
    }

    [Fact]
    public void Whatever_is_typed_gives_one_line_and_no_crash()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        const string Letters = "abcdefgz \n\t\u0000\u00e9\u0130\ud83d'%";
        for (int round = 0; round < 300; round++)
        {
            char[] text = [.. Enumerable.Range(0, random.Next(400)).Select(_ => Letters[random.Next(Letters.Length)])];
            Assert.False(Words.TryParse(text, new byte[32], out string? error), $"seed {seed}");
            Assert.False(error.AsSpan().ContainsAny("\n\0"), $"seed {seed}: {error}");
        }
    }
}
