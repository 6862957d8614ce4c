using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>Which way requests go: short ones, and the first ones, over one connection; long ones over connections of their own once much was moved, where the peer lets them.</summary>
public sealed class LongRequestTests
{
    private const int Slice = 4 << 20;
    private const long Quota = 256L << 20;

    private readonly ConcurrentQueue<(string Operation, string Protocol)> _seen = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Long_ones_go_over_connections_of_their_own_once_much_was_moved()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await StartAsync(ann);
        using PeerHolder holder = await node.OpenAsync(ann);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder, 1);
        await CheckAsync(holder, id, fragment);
        Assert.DoesNotContain(_seen, static each => each.Protocol != "HTTP/2"); // 8 MiB so far
        await CheckAsync(holder, id, fragment);
        await CheckAsync(holder, id, fragment);
        _seen.Clear();
        (id, fragment) = await PutAsync(holder, 2);
        await CheckAsync(holder, id, fragment);
        Assert.Equal(64 * 1024, await holder.ReadAsync(id, 0, 0, new byte[64 * 1024], Cancel));
        Assert.Equal([("put-begin", "HTTP/2"), ("put-bytes", "HTTP/1.1"), .. Enumerable.Repeat(("read", "HTTP/1.1"), 5), ("read", "HTTP/2")], _seen);
        Assert.Empty(node.Troubles);
        Assert.Equal(0, holder.WrongWindows);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_peer_that_takes_no_more_connections_is_asked_over_the_one_that_there_is(bool beginsWithAPut)
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await StartAsync(ann);
        await using var relay = new CountingRelay(node.Endpoint) { MaxConnections = 1 };
        var clock = new ManualClock();
        using PeerHolder holder = await PeerHolder.OpenAsync(node.Dial(ann, patience: clock, at: relay.Address), null, Cancel);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder, 1);
        await CheckAsync(holder, id, fragment);
        await CheckAsync(holder, id, fragment);
        await CheckAsync(holder, id, fragment);
        Assert.Equal(1, relay.Connections);
        if (beginsWithAPut)
        {
            (id, fragment) = await PutAsync(holder, 2);
        }

        await PumpAsync(clock, CheckAsync(holder, id, fragment)); // waits a little before it asks again
        Assert.Equal(2, relay.Connections);
        (id, fragment) = await PutAsync(holder, 3);
        await CheckAsync(holder, id, fragment);
        Assert.Equal(2, relay.Connections); // nobody tries again for a while
        clock.Advance(TimeSpan.FromMinutes(11));
        relay.MaxConnections = int.MaxValue;
        await CheckAsync(holder, id, fragment);
        Assert.Equal(3, relay.Connections);
        Assert.Equal("HTTP/1.1", _seen.Last().Protocol);
        Assert.Empty(node.Troubles);
    }

    /// <summary>One connection more is taken, and nothing comes over it: the one time that this takes is that of a handshake.</summary>
    [Fact]
    public async Task A_peer_whose_other_connections_hang_is_asked_over_the_one_that_there_is()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await StartAsync(ann);
        using var hole = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        hole.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        hole.Listen();
        await using var relay = new CountingRelay(node.Endpoint) { MaxConnections = 1, Elsewhere = (IPEndPoint)hole.LocalEndPoint! };
        await BeyondIsAskedOverTheFirstAsync(node, ann, relay);
    }

    /// <summary>One of its addresses is another's by now.</summary>
    [Fact]
    public async Task A_peer_in_whose_place_another_takes_more_connections_is_asked_over_the_one_that_there_is()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await StartAsync(ann);
        await using ServedNode another = await StartAsync(ann);
        await using var relay = new CountingRelay(node.Endpoint) { MaxConnections = 1, Elsewhere = another.Endpoint };
        await BeyondIsAskedOverTheFirstAsync(node, ann, relay);
    }

    [Fact]
    public async Task What_may_not_be_repeated_and_fails_beside_the_one_connection_leaves_nobody_silent()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await StartAsync(ann);
        await using var relay = new CountingRelay(node.Endpoint) { MaxConnections = 1 };
        PeerConnection connection = await BeyondIsAskedOverTheFirstAsync(node, ann, relay, asksBeyond: false);
        PeerException broke = await Assert.ThrowsAsync<PeerException>(async () => await connection.AskAsync("put-bytes", new byte[20], new byte[Slice], 4, Cancel, mayRepeat: false));
        Assert.Equal((PeerProblem.Unreachable, 2), (broke.Problem, relay.Connections));
        Assert.False(connection.IsSilent);
    }

    [Fact]
    public async Task A_long_one_that_is_taken_back_ends_at_the_peer_too()
    {
        using var ann = new TestDevice("ann");
        await using ServedNode node = await StartAsync(ann);
        using PeerHolder holder = await node.OpenAsync(ann);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder, 1);
        for (int i = 0; i < 3; i++)
        {
            await CheckAsync(holder, id, fragment);
        }

        var ended = new TaskCompletionSource<string>();
        node.Lies.Lie = Lie.SaysNothing;
        node.Lies.Sees = http =>
        {
            string protocol = http.Request.Protocol; // the server empties a request as it ends
            http.RequestAborted.Register(() => ended.TrySetResult(protocol));
        };
        using var hurry = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        Task<int> read = holder.ReadAsync(id, 0, 0, new byte[Slice], hurry.Token).AsTask();
        while (node.Lies.Requests == 0)
        {
            await Task.Delay(1, Cancel);
        }

        await hurry.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read);
        Assert.Equal("HTTP/1.1", await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), Cancel));
    }

    private static async Task<PeerConnection> BeyondIsAskedOverTheFirstAsync(ServedNode node, TestDevice ann, CountingRelay relay, bool asksBeyond = true)
    {
        PeerConnection connection = node.Dial(ann, at: relay.Address);
        PeerHolder holder = await PeerHolder.OpenAsync(connection, null, Cancel);
        (ArenaId id, FragmentData fragment) = await PutAsync(holder, 1);
        for (int i = 0; i < (asksBeyond ? 4 : 3); i++)
        {
            await CheckAsync(holder, id, fragment);
        }

        Assert.Equal(asksBeyond ? 2 : 1, relay.Connections);
        Assert.False(connection.IsSilent);
        return connection;
    }

    /// <summary>What is written below TLS comes out as it went in, however it is cut, and none of it before it is flushed or fills a stride.</summary>
    [Fact]
    public async Task Strides_keep_every_byte_in_its_place()
    {
        for (int seed = 0; seed < 50; seed++)
        {
            var random = new SeededRandom(seed);
            byte[] sent = random.Bytes(1_000_000);
            var wire = new MemoryStream();
            await using (var strides = new StrideStream(new Unowned(wire)))
            {
                int pending = 0;
                for (int at = 0; at < sent.Length;)
                {
                    int count = Math.Min(sent.Length - at, 1 + random.Next(seed % 2 == 0 ? 30_000 : 300_000));
                    await strides.WriteAsync(sent.AsMemory(at, count), Cancel);
                    at += count;
                    pending += count;
                    if (random.Next(3) == 0)
                    {
                        await strides.FlushAsync(Cancel);
                        pending = 0;
                    }

                    Assert.InRange(at - wire.Length, 0, Math.Min(pending, 128 * 1024));
                }

                await strides.FlushAsync(Cancel);
            }

            Assert.True(sent.AsSpan().SequenceEqual(wire.ToArray()), $"seed {seed}: what was written");
            wire.Position = 0;
            await using var back = new StrideStream(new Unowned(wire));
            byte[] came = new byte[sent.Length];
            int filled = 0;
            while (await back.ReadAsync(came.AsMemory(filled, Math.Min(came.Length - filled, 1 + random.Next(200_000))), Cancel) is > 0 and int part)
            {
                filled += part;
            }

            Assert.True(filled == sent.Length && sent.AsSpan().SequenceEqual(came), $"seed {seed}: what was read");
        }
    }

    private async Task<ServedNode> StartAsync(TestDevice device)
    {
        ServedNode node = await ServedNode.StartAsync(device.AsPeer(Quota));
        node.Lies.Sees = http => _seen.Enqueue((http.Request.Path.Value!["/tdfs/1/".Length..], http.Request.Protocol));
        return node;
    }

    private static async Task<(ArenaId Id, FragmentData Fragment)> PutAsync(PeerHolder holder, int seed)
    {
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, seed);
        holder.Expected = (arena, _) => arena == id ? new ExpectedFragment(fragment.Name, Slice) : null;
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        return (id, fragment);
    }

    private static async Task CheckAsync(PeerHolder holder, ArenaId id, FragmentData fragment)
    {
        byte[] back = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel));
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));
    }

    private static async Task PumpAsync(ManualClock clock, Task task)
    {
        while (!task.IsCompleted)
        {
            clock.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Delay(5, Cancel);
        }

        await task;
    }

    /// <summary>Stays open when what reads or writes it is disposed of.</summary>
    private sealed class Unowned(MemoryStream inner) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get; set; }

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => inner.Write(buffer, offset, count);
    }
}
