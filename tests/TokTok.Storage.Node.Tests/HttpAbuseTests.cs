using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Microsoft.AspNetCore.Connections;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Tests;

[CollectionDefinition(nameof(AloneForMemory), DisableParallelization = true)]
public sealed class AloneForMemory;

/// <summary>What the known abuses of HTTP, and floods of connections, do to a node: an end of that connection, no growth, and an honest peer that is served beside and after them.</summary>
[Collection(nameof(AloneForMemory))]
public sealed class HttpAbuseTests : IAsyncLifetime
{
    private const long Quota = 64L << 20;
    private const long Growth = 24L << 20;

    private readonly TestDevice _ann = new("ann");
    private readonly TestDevice _eve = new("eve");
    private ServedNode _node = null!;
    private PeerHolder _honest = null!;
    private long _before;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _node = await ServedNode.StartAsync(_ann.AsPeer(Quota), _eve.AsPeer(Quota));
        _honest = await _node.OpenAsync(_ann);
        _before = GC.GetTotalMemory(forceFullCollection: true);
    }

    public async ValueTask DisposeAsync()
    {
        _honest.Dispose();
        await _node.DisposeAsync();
        _ann.Dispose();
        _eve.Dispose();
    }

    [Fact]
    public async Task Requests_that_are_taken_back_at_once_by_the_ten_thousands()
    {
        byte[] block = RawHttp2.Block("list");
        await using RawHttp2 client = await DialAsync();
        await client.BeginAsync(Cancel);
        Task<uint?> end = client.EndAsync(Cancel);
        int sent = 0;
        try
        {
            for (; sent < 20_000; sent++)
            {
                int stream = (2 * sent) + 1;
                await client.SendAsync([.. RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, stream, block), .. RawHttp2.Frame(RawHttp2.Reset, 0, stream, [0, 0, 0, 8])], Cancel);
                if (sent % 2000 == 0)
                {
                    await ServesAsync();
                }
            }
        }
        catch (Exception ended) when (ended is IOException or SocketException)
        {
            Assert.True(sent > 0);
        }

        await client.DisposeAsync();
        await end;
        await ServesAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Headers_without_end(bool inOneField)
    {
        await using RawHttp2 client = await DialAsync();
        await client.BeginAsync(Cancel);
        Task<uint?> end = client.EndAsync(Cancel);
        byte[] more = inOneField ? RawHttp2.Literal("x-long", new string('a', 60_000)) : [.. Enumerable.Range(0, 900).SelectMany(static i => RawHttp2.Literal($"x-{i}", new string('a', 50)))];
        bool isEnded = await FloodAsync(client, end, RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndStream, 1, RawHttp2.Block("hello")), RawHttp2.Frame(RawHttp2.Continuation, 0, 1, more.AsSpan(0, Math.Min(more.Length, 16_000))), 2000);
        Assert.True(isEnded, "32 MB of headers were taken");
        await ServesAsync();
    }

    /// <summary>One indexed field of 4,000 bytes, named 8,000 times by a byte each: 32 MB of headers in 8 KB (RFC 7541 7.3).</summary>
    [Fact]
    public async Task Few_bytes_that_unpack_to_many_headers()
    {
        await using RawHttp2 client = await DialAsync();
        await client.BeginAsync(Cancel);
        byte[] bomb = [.. RawHttp2.Block("hello"), 0x40, .. RawHttp2.Literal("x-bomb", new string('b', 3900))[1..], .. Enumerable.Repeat((byte)0xBE, 8000)];
        await client.SendAsync(RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 1, bomb), Cancel);
        Assert.NotEqual(0u, await client.EndAsync(Cancel) ?? 1);
        await ServesAsync();
    }

    [Fact]
    public async Task Frames_that_no_client_may_send_end_the_connection()
    {
        byte[] hello = RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 1, RawHttp2.Block("hello"));
        byte[] open = RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders, 1, RawHttp2.Block("object-put"));
        (string Why, byte[] Bytes)[] abuses =
        [
            ("a frame of 16 MiB", [.. open, .. RawHttp2.Frame(RawHttp2.Data, 0, 1, 0xFF_FFFF, new byte[100_000])]),
            ("an even stream", RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 2, RawHttp2.Block("hello"))),
            ("a stream that ended long ago", [.. hello, .. RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 5, RawHttp2.Block("hello")), .. RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 3, RawHttp2.Block("hello"))]),
            ("data on a stream that was never opened", RawHttp2.Frame(RawHttp2.Data, 0, 9, new byte[10])),
            ("a pushed request", RawHttp2.Frame(RawHttp2.Push, RawHttp2.EndHeaders, 1, [0, 0, 0, 2, .. RawHttp2.Block("hello")])),
            ("a window that overflows", RawHttp2.Frame(RawHttp2.Window, 0, 0, [0x7F, 0xFF, 0xFF, 0xFF])),
            ("a window of nothing", RawHttp2.Frame(RawHttp2.Window, 0, 0, [0, 0, 0, 0])),
            ("settings of 5 bytes", RawHttp2.Frame(RawHttp2.Settings, 0, 0, new byte[5])),
            ("a ping of 7 bytes", RawHttp2.Frame(RawHttp2.Ping, 0, 0, new byte[7])),
            ("a continuation of nothing", RawHttp2.Frame(RawHttp2.Continuation, RawHttp2.EndHeaders, 1, RawHttp2.Block("hello"))),
            ("a ping amid headers", [.. RawHttp2.Frame(RawHttp2.HeadersFrame, 0, 1, RawHttp2.Block("hello")), .. RawHttp2.Frame(RawHttp2.Ping, 0, 0, new byte[8])]),
            ("an index beyond the table", RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 1, [0xFF, 0xFF, 0xFF, 0x7F])),
            ("a table that grows beyond what was allowed", RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 1, [0x3F, 0xE1, 0xFF, 0x7F, .. RawHttp2.Block("hello")])),
            ("no HTTP/2 at all", "GET / HTTP/1.1\r\nHost: x\r\n\r\n0123456789"u8.ToArray()),
        ];
        foreach ((string why, byte[] bytes) in abuses)
        {
            await using RawHttp2 client = await DialAsync();
            if (bytes[0] != 'G')
            {
                await client.BeginAsync(Cancel);
            }

            try
            {
                await client.SendAsync(bytes, Cancel);
            }
            catch (IOException)
            {
                // cut off before all of it was sent
            }

            Assert.True(await client.EndAsync(Cancel) is null or > 0, why);
        }

        await ServesAsync();
    }

    [Theory]
    [InlineData(RawHttp2.Ping, 8)]
    [InlineData(RawHttp2.Settings, 6)]
    [InlineData(RawHttp2.Data, 0)]
    [InlineData(RawHttp2.Priority, 5)]
    [InlineData(RawHttp2.Window, 4)]
    public async Task Frames_that_want_work_from_a_client_that_reads_no_answer(byte type, int bytes)
    {
        await using RawHttp2 client = await DialAsync();
        await client.BeginAsync(Cancel);
        byte[] payload = new byte[bytes];
        payload.AsSpan().Fill(type == RawHttp2.Priority ? (byte)0 : (byte)1);
        if (type == RawHttp2.Settings)
        {
            payload = [0, 4, 0, 1, 0, 0]; // the window of a stream
        }
        else if (type == RawHttp2.Window)
        {
            payload = [0, 0, 0, 1];
        }

        int stream = type is RawHttp2.Data or RawHttp2.Priority ? 1 : 0;
        byte[] first = RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders, 1, RawHttp2.Block("object-put"));
        byte[] many = [.. Enumerable.Repeat(RawHttp2.Frame(type, 0, stream, payload), 500).SelectMany(static frame => frame)];
        _ = await FloodAsync(client, Task.FromResult<uint?>(null), first, many, 400); // 200,000 frames, or as many as it takes
        await ServesAsync();
    }

    [Theory]
    [InlineData("POST /tdfs/1/{0} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 5000, "HTTP/1.1 414")]
    [InlineData("POST /tdfs/1/hello HTTP/1.1\r\nHost: x\r\nX: {0}\r\n\r\n", 9000, "HTTP/1.1 431")]
    [InlineData("POST /tdfs/1/object-put HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{0}", 1, "HTTP/1.1 400")]
    [InlineData("POST /tdfs/1/object-put HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{0}", 6, "HTTP/1.1 400")]
    [InlineData("POST /tdfs/1/object-put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{0}", 100, "")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{0}", 1, "\0\0\b\a")]
    [InlineData("\0\0\0{0}\r\n\r\n", 100, "HTTP/1.1 400")]
    public async Task Requests_of_the_older_protocol_beyond_its_bounds(string request, int size, string answer)
    {
        await using RawHttp2 client = await DialAsync(isHttp2: false);
        await client.SendAsync(System.Text.Encoding.ASCII.GetBytes(request.Replace("{0}", new string('a', size), StringComparison.Ordinal)), Cancel);
        string text = await client.TextAsync(Cancel).WaitAsync(TimeSpan.FromSeconds(60), Cancel);
        Assert.StartsWith(answer, text, StringComparison.Ordinal);
        Assert.Equal(answer.Length == 0, text.Length == 0);
        await ServesAsync();
    }

    [Fact]
    public async Task Requests_of_the_older_protocol_one_behind_the_other_from_a_client_that_reads_no_answer()
    {
        await using RawHttp2 client = await DialAsync(isHttp2: false);
        byte[] many = [.. Enumerable.Repeat("POST /tdfs/1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"u8.ToArray(), 500).SelectMany(static each => each)];
        _ = await FloodAsync(client, new TaskCompletionSource<uint?>().Task, [], many, 400);
        await ServesAsync();
    }

    [Fact]
    public async Task One_account_has_so_many_connections_and_no_more()
    {
        var all = new List<RawHttp2>();
        try
        {
            for (int i = 0; i < Protocol.MaxConnectionsPerAccount; i++)
            {
                all.Add(await DialAsync(isHttp2: i % 2 == 0));
            }

            await using RawHttp2 beyond = await DialAsync(isHttp2: false);
            Assert.Empty(await beyond.TextAsync(Cancel).WaitAsync(TimeSpan.FromSeconds(60), Cancel));
            await all[1].SendAsync("POST /tdfs/1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"u8.ToArray(), Cancel);
            Assert.StartsWith("HTTP/1.1 200", await all[1].TextAsync(Cancel), StringComparison.Ordinal);
            await ServesAsync();
        }
        finally
        {
            foreach (RawHttp2 each in all)
            {
                await each.DisposeAsync();
            }
        }
    }

    /// <summary>Nothing is read of HTTP/1.1 between a request and its answer; who has gone meanwhile keeps no connection of the account all the same.</summary>
    [Fact]
    public async Task Clients_of_the_older_protocol_that_go_while_their_requests_are_under_way_make_room()
    {
        int gone = 0;
        _node.Lies.Lie = Lie.SaysNothing;
        _node.Lies.Sees = http => http.RequestAborted.Register(() => Interlocked.Increment(ref gone));
        for (int i = 1; i <= Protocol.MaxConnectionsPerAccount; i++)
        {
            await using RawHttp2 client = await DialAsync(isHttp2: false);
            await client.SendAsync("POST /tdfs/1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"u8.ToArray(), Cancel);
            while (_node.Lies.Requests < i)
            {
                await Task.Delay(1, Cancel);
            }
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        patience.CancelAfter(TimeSpan.FromSeconds(30));
        while (Volatile.Read(ref gone) < Protocol.MaxConnectionsPerAccount)
        {
            await Task.Delay(10, patience.Token);
        }

        (_node.Lies.Lie, _node.Lies.Sees) = (Lie.None, null);
        using PeerHolder another = await _node.OpenAsync(_eve);
        Assert.Equal(Quota, another.Hello.QuotaBytes);
        await ServesAsync();
    }

    /// <summary>A line lasts until its request is seen to end, which HTTP/1.1 does not show where anything is left to read (docs/protocol.md 3.2).</summary>
    [Theory]
    [InlineData("wait")]
    [InlineData("relay")]
    public async Task Lines_are_not_kept_over_the_older_protocol(string operation)
    {
        await using RawHttp2 client = await DialAsync(isHttp2: false);
        await client.SendAsync(System.Text.Encoding.ASCII.GetBytes($"POST /tdfs/1/{operation} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\nx"), Cancel);
        Assert.StartsWith("HTTP/1.1 404", await client.TextAsync(Cancel).WaitAsync(TimeSpan.FromSeconds(60), Cancel), StringComparison.Ordinal);
        Assert.Equal(0, _node.Service.WaitingLines);
    }

    /// <summary>The bound of 16 KiB a second, after 10 seconds (docs/protocol.md 3.2), each way: the one test here that the clock makes wait.</summary>
    [Fact]
    public async Task Bodies_and_answers_that_crawl_are_cut_off()
    {
        using PeerHolder own = await _node.OpenAsync(_eve);
        await own.PutObjectAsync("large", new byte[1 << 20], Cancel);
        await using RawHttp2 slow = await DialAsync();
        await slow.BeginAsync(Cancel);
        await slow.SendAsync([.. RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders, 1, RawHttp2.Block("object-put", ("content-length", "1000000"))), .. RawHttp2.Frame(RawHttp2.Data, 0, 1, [5, .. "small"u8])], Cancel);
        await using RawHttp2 deaf = await DialAsync();
        await deaf.BeginAsync(Cancel, (4, 0)); // no window
        byte[] read = [5, .. "large"u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0];
        await deaf.SendAsync([.. RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders, 1, RawHttp2.Block("object-read")), .. RawHttp2.Frame(RawHttp2.Data, RawHttp2.EndStream, 1, read)], Cancel);
        await using RawHttp2 old = await DialAsync(isHttp2: false);
        await old.SendAsync("POST /tdfs/1/hello HTTP/1.1\r\nHost: "u8.ToArray(), Cancel);
        await ServesAsync();
        await Task.WhenAll(slow.EndAsync(Cancel), deaf.EndAsync(Cancel), old.TextAsync(Cancel)).WaitAsync(TimeSpan.FromSeconds(60), Cancel);
        Assert.DoesNotContain("small", (await own.ListObjectsAsync("", Cancel)).Select(static each => each.Name));
        await ServesAsync();
    }

    [Fact]
    public async Task Thousands_of_connections_that_say_nothing()
    {
        var idle = new List<Socket>();
        try
        {
            for (int i = 0; i < 3000; i++)
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                idle.Add(socket);
                await socket.ConnectAsync(_node.Endpoint, Cancel);
                if (i % 500 == 499)
                {
                    using PeerHolder another = await _node.OpenAsync(_ann); // a handshake of its own, from the same address
                    Assert.Equal(Quota, another.Hello.QuotaBytes);
                }
            }

            // All but the last of them were sent away, so nothing is kept for them.
            int open = idle.Count(static socket => !(socket.Poll(0, SelectMode.SelectRead) && socket.Available == 0));
            Assert.True(open <= Protocol.MaxHandshakes, $"{open} connections without a handshake are open");
            await ServesAsync();
        }
        finally
        {
            idle.ForEach(static socket => socket.Dispose());
        }
    }

    [Fact]
    public async Task Nothing_is_kept_of_connections_that_have_gone()
    {
        await using var listener = new PeerListener();
        await listener.BindAsync(new IPEndPoint(IPAddress.Loopback, 0), Cancel);
        long before = 0;
        for (int i = 0; i < 6000; i++)
        {
            if (i == 1000)
            {
                before = GC.GetTotalMemory(forceFullCollection: true);
            }

            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { LingerState = new LingerOption(true, 0) };
            await socket.ConnectAsync(listener.EndPoint, Cancel);
            await using ConnectionContext? accepted = await listener.AcceptAsync(Cancel);
            Assert.NotNull(accepted);
        }

        long kept = GC.GetTotalMemory(forceFullCollection: true) - before;
        Assert.True(kept < 250_000, $"{kept:N0} bytes are kept of 5,000 connections");
    }

    [Fact]
    public async Task Strangers_that_fill_their_room_do_not_keep_one_from_elsewhere_out()
    {
        using var mallory = new TestDevice("mallory");
        var strangers = new List<RawHttp2>();
        try
        {
            for (int i = 0; i < 3 * Protocol.MaxStrangers; i++)
            {
                RawHttp2 stranger = await RawHttp2.DialAsync(_node.Endpoint, mallory.Tls.Current, IPAddress.Parse("127.0.0.2"), Cancel);
                strangers.Add(stranger);
                await stranger.BeginAsync(Cancel);
            }

            using var dave = new TestDevice("dave");
            await using RawHttp2 honest = await RawHttp2.DialAsync(_node.Endpoint, dave.Tls.Current, null, Cancel);
            await honest.BeginAsync(Cancel);
            await honest.SendAsync(RawHttp2.Frame(RawHttp2.HeadersFrame, RawHttp2.EndHeaders | RawHttp2.EndStream, 1, RawHttp2.Block("hello")), Cancel);
            (byte Type, byte Flags, int Stream, byte[] Payload)? frame;
            do
            {
                frame = await honest.ReceiveAsync(Cancel);
                Assert.NotNull(frame);
            }
            while (frame.Value.Type != RawHttp2.HeadersFrame);

            Assert.Contains("403", System.Text.Encoding.ASCII.GetString(frame.Value.Payload), StringComparison.Ordinal);
            await ServesAsync();
        }
        finally
        {
            foreach (RawHttp2 stranger in strangers)
            {
                await stranger.DisposeAsync();
            }
        }
    }

    private async Task<RawHttp2> DialAsync(bool isHttp2 = true) => await RawHttp2.DialAsync(_node.Endpoint, _eve.Tls.Current, null, Cancel, isHttp2);

    /// <summary>Sends one thing, and another many times, until the node ends it or takes no more.</summary>
    /// <returns>Whether the node ended the connection or the stream.</returns>
    private static async Task<bool> FloodAsync(RawHttp2 client, Task<uint?> end, byte[] first, byte[] again, int times)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        patience.CancelAfter(TimeSpan.FromSeconds(5)); // who does not read makes the node stop reading: that is an end too
        try
        {
            await client.SendAsync(first, patience.Token);
            for (int i = 0; i < times && !end.IsCompletedSuccessfully; i++)
            {
                await client.SendAsync(again, patience.Token);
            }
        }
        catch (Exception ended) when (ended is IOException or SocketException or OperationCanceledException or AuthenticationException)
        {
            Cancel.ThrowIfCancellationRequested();
            return true;
        }

        return end.IsCompleted;
    }

    /// <summary>An honest peer gets its answer, nothing went wrong inside, and nothing has grown.</summary>
    private async Task ServesAsync()
    {
        Assert.Empty(await _honest.ListAsync(Cancel));
        Assert.Empty(_node.Troubles);
        long grown = GC.GetTotalMemory(forceFullCollection: true) - _before;
        Assert.True(grown < Growth, $"{grown:N0} bytes more than before");
    }
}
