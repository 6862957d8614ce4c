using System.Buffers.Binary;
using System.Text;
using TokTok.Storage.Tdfs.Node;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Node;

/// <summary>What a node and a verb accept of each other.</summary>
public sealed class NodeFrameTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Frames_come_back_as_they_were_written_whatever_pieces_they_come_in()
    {
        using var stream = new MemoryStream();
        byte[] large = new SeededRandom(1).Bytes(200_000);
        await NodeFrame.WriteAsync(stream, NodeFrameKind.Data, large, Cancel);
        await NodeFrame.WriteAsync(stream, NodeFrameKind.Cancel, default, Cancel);
        using var pieces = new Trickle(stream.ToArray());
        (NodeFrameKind kind, byte[] payload) = (await NodeFrame.ReadAsync(pieces, Cancel))!.Value;
        Assert.Equal((NodeFrameKind.Data, true), (kind, payload.AsSpan().SequenceEqual(large)));
        (kind, payload) = (await NodeFrame.ReadAsync(pieces, Cancel))!.Value;
        Assert.Equal((NodeFrameKind.Cancel, 0), (kind, payload.Length));
        Assert.Null(await NodeFrame.ReadAsync(pieces, Cancel));
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 6)]
    [InlineData(NodeFrame.MaxBytes + 1, 3)]
    [InlineData(uint.MaxValue, 3)]
    public async Task A_frame_of_another_kind_or_size_is_refused_before_memory_is_taken_for_it(long length, byte kind)
    {
        byte[] frame = new byte[NodeFrame.HeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(frame, (uint)length);
        frame[^1] = kind;
        await Assert.ThrowsAsync<InvalidDataException>(async () => await NodeFrame.ReadAsync(new MemoryStream(frame), Cancel));
    }

    [Fact]
    public async Task A_frame_that_is_cut_off_is_refused_at_every_byte()
    {
        using var stream = new MemoryStream();
        await NodeFrame.WriteAsync(stream, NodeFrameKind.Talk, "talk"u8.ToArray(), Cancel);
        for (int bytes = 1; bytes < stream.Length; bytes++)
        {
            await Assert.ThrowsAsync<InvalidDataException>(async () => await NodeFrame.ReadAsync(new MemoryStream(stream.ToArray()[..bytes]), Cancel));
        }
    }

    [Fact]
    public void A_line_comes_back_as_it_was_sent()
    {
        var line = new NodeLine(["import", "a b", "\"\\\n", "żółw", ""], "/some/where", 132);
        NodeLine back = NodeLine.Decode(line.Encode());
        Assert.Equal(line.Words, back.Words);
        Assert.Equal((line.Folder, line.Width), (back.Folder, back.Width));
        Assert.Null(NodeLine.Decode((line with { Width = null }).Encode()).Width);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"version\":2,\"words\":[],\"folder\":\"/\"}")]
    [InlineData("{\"version\":1,\"words\":[],\"folder\":\"relative\"}")]
    [InlineData("{\"version\":1,\"words\":[],\"folder\":null}")]
    [InlineData("{\"version\":1,\"words\":[null],\"folder\":\"/\"}")]
    [InlineData("{\"version\":1,\"words\":[1],\"folder\":\"/\"}")]
    [InlineData("{\"version\":1,\"words\":{},\"folder\":\"/\"}")]
    [InlineData("{\"version\":\"1\",\"words\":[],\"folder\":\"/\"}")]
    [InlineData("{\"version\":1,\"words\":[],\"folder\":\"/\",\"width\":1e99}")]
    public void A_line_that_is_none_is_refused(string text) => Assert.Throws<InvalidDataException>(() => NodeLine.Decode(Encoding.UTF8.GetBytes(text)));

    /// <summary>Gives one to three bytes at a time.</summary>
    private sealed class Trickle(byte[] bytes) : MemoryStream(bytes)
    {
        private int _turn;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, 1 + (_turn++ % 3))], cancellationToken);
    }
}
