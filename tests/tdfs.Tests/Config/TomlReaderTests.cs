using System.Text;
using TokTok.Storage.Tdfs.Config;

namespace TokTok.Storage.Tdfs.Tests.Config;

public sealed class TomlReaderTests
{
    private static TomlTable Read(string text) => TomlReader.Read("storage.toml", Encoding.UTF8.GetBytes(text));

    private static string Refused(string text)
    {
        UserError error = Assert.Throws<UserError>(() => Read(text));
        Assert.Equal(ExitCode.Config, error.Code);
        Assert.DoesNotContain('\n', error.Message);
        return error.Message;
    }

    [Fact]
    public void Values_of_every_kind_are_read_with_their_positions()
    {
        TomlTable root = Read("""
            # a comment
            top = "outside"
            [store]
            path = 'C:\raw' # after
              survive = -1_000
            on = true
            off=false
            list = [ "a", # first

              'b',
            ]
            empty = []
            [[holder]]
            place = "one"
            [[holder]]
            place = "two"
            """);
        Assert.Equal("outside", root.Values["top"].Held);
        TomlTable store = (TomlTable)root.Values["store"].Held;
        Assert.Equal(@"C:\raw", store.Values["path"].Held);
        Assert.Equal(-1000L, store.Values["survive"].Held);
        Assert.Equal(new TomlPosition(5, 3), store.Values["survive"].KeyPosition);
        Assert.Equal(new TomlPosition(5, 13), store.Values["survive"].Position);
        Assert.Equal(true, store.Values["on"].Held);
        Assert.Equal(false, store.Values["off"].Held);
        Assert.Equal(["a", "b"], ((List<TomlValue>)store.Values["list"].Held).Select(v => (string)v.Held));
        Assert.Empty((List<TomlValue>)store.Values["empty"].Held);
        Assert.Equal(["one", "two"], ((List<TomlTable>)root.Values["holder"].Held).Select(t => (string)t.Values["place"].Held));
    }

    [Theory]
    [InlineData(""" a = "x\ty\n\"z\"\\" """, "x\ty\n\"z\"\\")]
    [InlineData(""" a = "\u00e9\U0001F600" """, "é😀")]
    [InlineData(""" a = "" """, "")]
    [InlineData(""" a = '' """, "")]
    [InlineData(""" a = "# no comment" """, "# no comment")]
    public void Strings_are_read_as_TOML_says(string text, string expected) => Assert.Equal(expected, Read(text).Values["a"].Held);

    [Theory]
    [InlineData("a = 0", 0)]
    [InlineData("a = +7", 7)]
    [InlineData("a = 9_223_372_036_854_775_807", long.MaxValue)]
    [InlineData("a = -9223372036854775808", long.MinValue)]
    public void Integers_are_read_to_64_bits(string text, long expected) => Assert.Equal(expected, Read(text).Values["a"].Held);

    [Fact]
    public void Lines_may_end_as_on_Windows_and_the_file_may_begin_with_a_byte_order_mark()
    {
        TomlTable root = TomlReader.Read("f", "\uFEFF[a]\r\nb = 1\r\n# c\r\n"u8);
        Assert.Equal(1L, ((TomlTable)root.Values["a"].Held).Values["b"].Held);
    }

    [Theory]
    [InlineData("a = 1.5", "1:5: floats are not used in storage.toml: found '1.5', expected an integer")]
    [InlineData("a = 1e3", "floats are not used")]
    [InlineData("a = -inf", "floats are not used")]
    [InlineData("a = nan", "floats are not used")]
    [InlineData("a = 1979-05-27", "dates and times are not used")]
    [InlineData("a = 07:32:00", "dates and times are not used")]
    [InlineData("a = { b = 1 }", "1:5: inline tables are not used in storage.toml")]
    [InlineData("a = \"\"\"x\"\"\"", "multi-line strings are not used")]
    [InlineData("a = '''x'''", "multi-line strings are not used")]
    [InlineData("a.b = 1", "1:2: dotted keys are not used")]
    [InlineData("\"a\" = 1", "quoted keys are not used")]
    [InlineData("[a.b]", "tables in tables are not used")]
    [InlineData("a = [[1]]", "1:6: arrays in arrays are not used")]
    [InlineData("a = 0x1F", "hexadecimal, octal and binary integers are not used")]
    [InlineData("a = 0o7", "hexadecimal, octal and binary integers are not used")]
    [InlineData("a = 0b1", "hexadecimal, octal and binary integers are not used")]
    public void What_TOML_has_and_storage_toml_does_not_use_is_refused_by_name(string text, string expected) => Assert.Contains(expected, Refused(text));

    [Theory]
    [InlineData("a = 1\na = 2", "2:1: found 'a' a second time, expected it once; the first stands in line 1")]
    [InlineData("[a]\n[a]", "2:2: found 'a' a second time")]
    [InlineData("[a]\n[[a]]", "2:3: found 'a' a second time")]
    [InlineData("[[a]]\n[a]", "2:2: found 'a' a second time")]
    [InlineData("a", "1:2: found the end of the file, expected '=' after the key 'a'")]
    [InlineData("a 1", "found '1', expected '=' after the key 'a'")]
    [InlineData("a =", "found the end of the file, expected a value")]
    [InlineData("a =\n1", "1:4: found the end of the line, expected a value")]
    [InlineData("a = yes", "1:5: found 'yes', expected a value: a string in quotes")]
    [InlineData("a = 128 KiB", "1:9: found 'K', expected the end of the line")]
    [InlineData("a = 12KiB", "found '12KiB', expected an integer; text stands in quotes")]
    [InlineData("a = 01", "expected an integer without leading zeros")]
    [InlineData("a = 1__0", "expected each '_' between two digits")]
    [InlineData("a = 1_", "expected each '_' between two digits")]
    [InlineData("a = 9223372036854775808", "expected an integer of at most 64 bits")]
    [InlineData("a = \"x", "1:5: found a string without an end, expected \" on the same line")]
    [InlineData("a = \"x\ny\"", "found a string without an end")]
    [InlineData("a = \"\\q\"", "1:7: found 'q' after a backslash")]
    [InlineData("a = \"\\uD800\"", "found a bad Unicode escape, expected 4 hexadecimal digits")]
    [InlineData("a = \"\\u12", "found a bad Unicode escape")]
    [InlineData("a = \"\u0001\"", "found the control character U+0001 in a string")]
    [InlineData("# \u0007", "found the control character U+0007 in a comment")]
    [InlineData("a = [1", "1:5: found an array without an end")]
    [InlineData("a = [1 2]", "found '2', expected ',' or ']'")]
    [InlineData("a = [,]", "found ',', expected a value")]
    [InlineData("[a", "found the end of the file, expected ']' after the table's name")]
    [InlineData("[[a]", "expected ']' after the name of an array of tables")]
    [InlineData("[]", "found ']', expected a table's name")]
    [InlineData("= 1", "1:1: found '=', expected a key")]
    [InlineData("é = 1", "found 'é', expected a key")]
    [InlineData("a = 1 b = 2", "1:7: found 'b', expected the end of the line")]
    [InlineData("s = '😀😀' x", "1:10: found 'x', expected the end of the line")]
    [InlineData("a = 1\rb = 2", "expected the end of the line")]
    public void What_is_not_TOML_is_refused_with_its_place(string text, string expected) => Assert.Contains(expected, Refused(text));

    [Fact]
    public void Bytes_that_are_not_UTF8_are_refused_with_their_line()
    {
        UserError error = Assert.Throws<UserError>(() => TomlReader.Read("f", [.. "a = 1\nb = '"u8, 0xFF, .. "'"u8]));
        Assert.StartsWith("f:2:6: found bytes that are not UTF-8", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_beyond_the_limit_is_refused_before_it_is_read()
    {
        UserError error = Assert.Throws<UserError>(() => TomlReader.Read("f", new byte[TomlReader.MaxFileBytes + 1]));
        Assert.Contains("expected at most", error.Message);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Whatever_the_bytes_the_reader_gives_a_document_or_one_line(int seed)
    {
        Random random = new(seed);
        byte[] shipped = ConfigFile.ShippedBytes();
        byte[] pieces = [.. "[]{}=\"'\\#.,_-+0123456789aeuU\n\r\t x"u8, 0, 0xFF, 0xC3];
        int readCount = 0;
        int refusedCount = 0;
        for (int round = 0; round < 3000; round++)
        {
            byte[] bytes;
            if (round % 2 == 0)
            {
                bytes = new byte[random.Next(40)];
                for (int i = 0; i < bytes.Length; i++)
                {
                    bytes[i] = pieces[random.Next(pieces.Length)];
                }
            }
            else
            {
                // A window of the shipped file with a few bytes replaced: near misses go deeper than noise.
                int start = random.Next(shipped.Length - 400);
                bytes = shipped.AsSpan(start, random.Next(400)).ToArray();
                for (int i = 0; i < 3 && bytes.Length > 0; i++)
                {
                    bytes[random.Next(bytes.Length)] = pieces[random.Next(pieces.Length)];
                }
            }

            try
            {
                TomlReader.Read("f", bytes);
                readCount++;
            }
            catch (UserError e)
            {
                Assert.Matches(@"\Af:\d+:\d+: [^\r\n]+\z", e.Message);
                refusedCount++;
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}, round {round}: {Convert.ToHexString(bytes)} gave {e}");
            }
        }

        Assert.True(readCount > 0 && refusedCount > 0, $"seed {seed}: {readCount} read, {refusedCount} refused");
    }
}
