using System.Net;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Lan;

namespace TokTok.Storage.Node.Tests;

/// <summary>Questions and answers on the machine's own network: what is written is read, what a stranger changed is refused or says the same, and nothing takes long or much.</summary>
public sealed class LanMessageTests
{
    private static readonly Bytes32 s_key = Bytes32.Read(Convert.FromHexString("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"));
    private static readonly int s_rounds = Environment.GetEnvironmentVariable("TDFS_LONG") == "1" ? 2_000_000 : 20_000;

    [Fact]
    public void A_name_is_another_every_day_and_for_every_key()
    {
        string name = LanMessage.NameOf(s_key, 20_779);
        Assert.Equal(LanMessage.LabelCharacters, name.Length);
        Assert.Equal(name, LanMessage.NameOf(s_key, 20_779));
        Assert.NotEqual(name, LanMessage.NameOf(s_key, 20_780));
        Assert.NotEqual(name, LanMessage.NameOf(default, 20_779));
    }

    [Fact]
    public void What_is_asked_is_read_and_what_is_answered_too()
    {
        string[] names = [LanMessage.NameOf(s_key, 1), LanMessage.NameOf(s_key, 2), LanMessage.NameOf(s_key, 3)];
        byte[] query = LanMessage.Query(0x1234, names);
        Assert.True(LanMessage.TryReadQuery(query, out ushort id, out IReadOnlyList<string> asked));
        Assert.Equal(0x1234, id);
        Assert.Equal(names, asked);
        Assert.False(LanMessage.TryReadAnswer(query, 0x1234, out _, out _));

        foreach (IPAddress address in (IPAddress[])[IPAddress.Parse("192.0.2.7"), IPAddress.Parse("2001:db8::7")])
        {
            byte[] answer = LanMessage.Answer(0x1234, names[1], 4919, address);
            Assert.True(LanMessage.TryReadAnswer(answer, 0x1234, out string name, out ushort port));
            Assert.Equal((names[1], 4919), (name, port));
            Assert.False(LanMessage.TryReadAnswer(answer, 0x1235, out _, out _));
            Assert.False(LanMessage.TryReadQuery(answer, out _, out _));
        }
    }

    /// <summary>The example of docs/protocol.md 3.10.</summary>
    [Fact]
    public void The_example_of_the_protocol_is_what_is_written()
    {
        string name = LanMessage.NameOf(s_key, 20_779);
        Assert.Equal("fb86d3f03cacb97f4d7f246c60c1697e", name);
        byte[] query = LanMessage.Query(0x1234, [name]);
        Assert.Equal("123400000001000000000000" + "20" + Convert.ToHexStringLower(System.Text.Encoding.ASCII.GetBytes(name)) + "055f74646673045f746370056c6f63616c00" + "00218001", Convert.ToHexStringLower(query));
    }

    [Fact]
    public void Names_are_read_where_another_program_writes_them_shorter_or_in_capitals()
    {
        string name = LanMessage.NameOf(s_key, 7);
        byte[] answer = LanMessage.Answer(9, name, 4919, IPAddress.Loopback);

        // The answer's name as a pointer to the question's, as most responders write it.
        int nameBytes = 1 + LanMessage.LabelCharacters + 6 + 5 + 6 + 1;
        int second = 12 + nameBytes + 4;
        byte[] shorter = [.. answer[..second], 0xC0, 12, .. answer[(second + nameBytes)..]];
        Assert.True(LanMessage.TryReadAnswer(shorter, 9, out string read, out ushort port));
        Assert.Equal((name, 4919), (read, port));

        byte[] capitals = System.Text.Encoding.Latin1.GetBytes(System.Text.Encoding.Latin1.GetString(LanMessage.Query(9, [name])).Replace("_tcp", "_TCP", StringComparison.Ordinal));
        Assert.True(LanMessage.TryReadQuery(capitals, out _, out IReadOnlyList<string> asked));
        Assert.Equal([name], asked);
    }

    [Theory]
    [InlineData("c00c")] // to itself
    [InlineData("c0ff")] // forward
    [InlineData("c000")] // into the header
    [InlineData("c0")] // half a pointer
    [InlineData("40")] // a kind of label that none has
    [InlineData("3f61")] // longer than what follows
    public void A_name_that_leads_nowhere_is_refused(string name)
    {
        byte[] message = [.. Convert.FromHexString("123400000001000000000000"), .. Convert.FromHexString(name), 0, 33, 0, 1];
        Assert.False(LanMessage.TryReadQuery(message, out _, out _));
        Assert.False(LanMessage.TryReadQuery(message.AsSpan(0, 12 + (name.Length / 2)), out _, out _));
    }

    [Fact]
    public void A_browser_s_question_for_whoever_is_there_asks_for_nobody()
    {
        byte[] browse = [.. Convert.FromHexString("000000000001000000000000"), 5, .. "_tdfs"u8, 4, .. "_tcp"u8, 5, .. "local"u8, 0, 0, 12, 0, 1];
        Assert.False(LanMessage.TryReadQuery(browse, out _, out IReadOnlyList<string> asked));
        Assert.Empty(asked);
    }

    [Fact]
    public void What_is_too_long_or_says_too_much_is_not_looked_at()
    {
        byte[] query = LanMessage.Query(1, [LanMessage.NameOf(s_key, 1)]);
        Assert.False(LanMessage.TryReadQuery([.. query, .. new byte[LanMessage.MaxBytes]], out _, out _));
        query[5] = LanMessage.MaxCount + 1;
        Assert.False(LanMessage.TryReadQuery(query, out _, out _));
        byte[] answer = LanMessage.Answer(1, LanMessage.NameOf(s_key, 1), 1, IPAddress.Loopback);
        answer[6] = 0xff;
        Assert.False(LanMessage.TryReadAnswer(answer, 1, out _, out _));
    }

    [Fact]
    public void A_changed_message_is_refused_or_names_something_of_the_right_form()
    {
        byte[][] samples =
        [
            LanMessage.Query(0x1234, [LanMessage.NameOf(s_key, 1), LanMessage.NameOf(s_key, 2), LanMessage.NameOf(s_key, 3)]),
            LanMessage.Answer(0x1234, LanMessage.NameOf(s_key, 1), 4919, IPAddress.Loopback),
        ];
        int refused = 0;
        for (int seed = 0; seed < s_rounds; seed++)
        {
            var random = new Random(seed);
            byte[] changed = [.. samples[seed % 2]];
            for (int i = random.Next(1, 5); i > 0; i--)
            {
                int at = random.Next(changed.Length);
                changed = random.Next(4) switch
                {
                    0 => changed[..at],
                    1 => [.. changed[..at], .. changed[(at / 2)..]],
                    2 => [.. changed[..at], (byte)(0xC0 | random.Next(2)), .. changed[at..]],
                    _ => [.. changed[..at], (byte)random.Next(256), .. changed[Math.Min(changed.Length, at + 1)..]],
                };
                if (changed.Length == 0)
                {
                    break;
                }
            }

            long before = GC.GetAllocatedBytesForCurrentThread();
            bool isQuery = LanMessage.TryReadQuery(changed, out _, out IReadOnlyList<string> asked);
            bool isAnswer = LanMessage.TryReadAnswer(changed, 0x1234, out string name, out ushort port);
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 32 * 1024, $"seed {seed}");
            Assert.False(isQuery && isAnswer, $"seed {seed}");
            Assert.All(asked, each => Assert.True(IsName(each), $"seed {seed}: {each}"));
            Assert.InRange(asked.Count, 0, LanMessage.MaxCount);
            Assert.True(!isAnswer || (IsName(name) && port > 0), $"seed {seed}: {name}");
            refused += isQuery || isAnswer ? 0 : 1;
        }

        Assert.True(refused > s_rounds / 4, $"{refused} refused");
    }

    private static bool IsName(string text) => text.Length == LanMessage.LabelCharacters && text.All(static c => char.IsAsciiHexDigitLower(c));
}
