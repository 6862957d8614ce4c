using System.Runtime.InteropServices;

namespace TokTok.Storage.Core.Tests;

public sealed class FieldReaderTests
{
    private delegate void Reading(ref FieldReader reader);

    [Fact]
    public void Every_kind_of_field_is_read_back_as_it_was_written()
    {
        var writer = new FieldWriter();
        writer.Bytes("MAGIC"u8);
        writer.U8(0x12);
        writer.U16(0x3456);
        writer.U32(0x789a_bcde);
        writer.U64(0xf012_3456_789a_bcde);
        writer.I64(-2);
        writer.Reserved(3);
        writer.Varint(300);
        writer.ShortText("é");
        Assert.Equal(
            "4d41474943" + "12" + "5634" + "debc9a78" + "debc9a78563412f0" + "feffffffffffffff" + "000000" + "ac02" + "02c3a9",
            Convert.ToHexStringLower(writer.Written));

        var reader = new FieldReader(writer.Written, "sample");
        reader.Magic("MAGIC"u8);
        Assert.Equal(0x12, reader.U8());
        Assert.Equal(0x3456, reader.U16());
        Assert.Equal(0x789a_bcdeu, reader.U32());
        Assert.Equal(0xf012_3456_789a_bcde, reader.U64());
        Assert.Equal(-2, reader.I64());
        reader.Reserved(3);
        Assert.Equal(300UL, reader.Varint());
        Assert.Equal((33, 3), (reader.Position, reader.Remaining));
        Assert.Equal("é", reader.ShortText("name"));
        reader.End();
    }

    [Fact]
    public void Running_out_of_bytes_says_where_and_how_many_are_left()
    {
        Assert.Equal("sample: 2 bytes wanted at offset 1, 1 left", Damage([1, 2], static (ref FieldReader reader) =>
        {
            reader.U8();
            reader.U16();
        }));
        Assert.Equal("sample: -1 bytes wanted at offset 0, 2 left", Damage([1, 2], static (ref FieldReader reader) => reader.Bytes(-1)));
        var exact = new FieldReader([1, 2], "sample");
        Assert.Equal(2, exact.Bytes(2).Length);
        Assert.Equal(0, exact.Bytes(0).Length);
    }

    [Fact]
    public void A_count_may_reach_its_limit_and_not_pass_it()
    {
        var reader = new FieldReader([5, 0, 0, 0, 5], "sample");
        Assert.Equal(5, reader.Count(5, "things"));
        Assert.Equal(5, reader.VarCount(5, "things"));
        Assert.Equal("sample: things is 6, at most 5 expected", Damage([6, 0, 0, 0], static (ref FieldReader reader) => reader.Count(5, "things")));
        Assert.Equal(
            "sample: things is 4294967295, at most 5 expected", Damage([255, 255, 255, 255], static (ref FieldReader reader) => reader.Count(5, "things")));
        Assert.Equal("sample: things is 6, at most 5 expected", Damage([6], static (ref FieldReader reader) => reader.VarCount(5, "things")));
    }

    [Theory]
    [InlineData(0, "00")]
    [InlineData(1, "01")]
    [InlineData(0x7f, "7f")]
    [InlineData(0x80, "8001")]
    [InlineData(0x3fff, "ff7f")]
    [InlineData(0x4000, "808001")]
    [InlineData(1UL << 62, "808080808080808040")]
    [InlineData(1UL << 63, "80808080808080808001")]
    [InlineData(ulong.MaxValue, "ffffffffffffffffff01")]
    public void A_varint_is_LEB128_in_its_shortest_form(ulong value, string hex)
    {
        var writer = new FieldWriter(1);
        writer.Varint(value);
        Assert.Equal(hex, Convert.ToHexStringLower(writer.Written));
        var reader = new FieldReader(writer.Written, "sample");
        Assert.Equal(value, reader.Varint());
        reader.End();
    }

    [Theory]
    [InlineData("8000", "sample: a varint is not in its shortest form")]
    [InlineData("ff8000", "sample: a varint is not in its shortest form")]
    [InlineData("ffffffffffffffffff02", "sample: a varint is not in its shortest form")]
    [InlineData("ffffffffffffffffff8101", "sample: a varint is not in its shortest form")]
    [InlineData("ffffffffffffffffff00", "sample: a varint is not in its shortest form")]
    [InlineData("80", "sample: 1 bytes wanted at offset 1, 0 left")]
    public void A_varint_in_any_other_form_is_damage(string hex, string expected) =>
        Assert.Equal(expected, Damage(Convert.FromHexString(hex), static (ref FieldReader reader) => reader.Varint()));

    [Fact]
    public void Text_that_is_not_UTF_8_is_damage() =>
        Assert.Equal("sample: name is not UTF-8", Damage([2, 0xc3, 0x28], static (ref FieldReader reader) => reader.ShortText("name")));

    [Fact]
    public void Reserved_bytes_that_are_not_0_and_bytes_after_the_end_are_damage()
    {
        Assert.Equal("sample: reserved bytes before offset 3 are not 0", Damage([0, 0, 1], static (ref FieldReader reader) => reader.Reserved(3)));
        Assert.Equal("sample: 2 bytes follow its end", Damage([0, 0], static (ref FieldReader reader) => reader.End()));
    }

    [Theory]
    [InlineData("TDFSNOT1", "sample: begins with 'TDFSNOT1', expected 'TDFSYES1'")]
    [InlineData("TDFS", "sample: begins with 'TDFS', expected 'TDFSYES1'")]
    [InlineData("", "sample: begins with '', expected 'TDFSYES1'")]
    [InlineData("TDFS \u007e1\u001f", "sample: begins with 0x54444653207E311F, expected 'TDFSYES1'")]
    [InlineData("TDFS \u007e1\u007f", "sample: begins with 0x54444653207E317F, expected 'TDFSYES1'")]
    [InlineData("TDFS \u007e12", "sample: begins with 'TDFS ~12', expected 'TDFSYES1'")]
    public void Another_magic_is_damage_and_shown_as_text_where_it_is_text(string found, string expected) =>
        Assert.Equal(
            expected, Damage(System.Text.Encoding.ASCII.GetBytes(found), static (ref FieldReader reader) => reader.Magic("TDFSYES1"u8)));

    [Fact]
    public void A_writer_grows_keeps_what_it_has_and_starts_over_when_cleared()
    {
        var writer = new FieldWriter(2);
        for (int i = 0; i < 100; i++)
        {
            writer.U8((byte)i);
        }

        writer.Bytes(new byte[500]);
        Assert.Equal(600, writer.Length);
        Assert.Equal([.. Enumerable.Range(0, 100).Select(i => (byte)i), .. new byte[500]], writer.ToArray());
        Assert.Equal(writer.Written, writer.WrittenMemory.Span);

        writer.Clear();
        Assert.Equal(0, writer.Length);
        writer.U8(0xee);
        writer.Clear();
        writer.Reserved(1);
        Assert.Equal([0], writer.ToArray());
    }

    [Fact]
    public void A_writer_doubles_its_buffer_when_it_must_and_not_before()
    {
        static int BufferBytes(FieldWriter writer) => MemoryMarshal.TryGetArray(writer.WrittenMemory, out ArraySegment<byte> bytes) ? bytes.Array!.Length : -1;
        var writer = new FieldWriter(8);
        writer.U32(1);
        writer.U32(2);
        Assert.Equal(8, BufferBytes(writer));
        writer.U8(3);
        Assert.Equal(16, BufferBytes(writer));
        writer.Bytes(new byte[100]);
        Assert.Equal(109, BufferBytes(writer));
    }

    [Fact]
    public void Short_text_has_255_bytes_at_most()
    {
        var writer = new FieldWriter();
        string longest = new('x', 255);
        writer.ShortText(longest);
        Assert.Equal(256, writer.Length);
        Assert.Equal(longest, new FieldReader(writer.Written, "sample").ShortText("name"));
        Assert.Throws<ArgumentOutOfRangeException>(() => writer.ShortText(new string('x', 256)));
        Assert.Throws<ArgumentNullException>(() => writer.ShortText(null!));
        Assert.Equal(256, writer.Length);
    }

    private static string Damage(byte[] source, Reading reading) => Assert.Throws<DamagedFormatException>(() =>
    {
        var reader = new FieldReader(source, "sample");
        reading(ref reader);
    }).Message;
}
