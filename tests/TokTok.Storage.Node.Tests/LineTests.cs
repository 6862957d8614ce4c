using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;

namespace TokTok.Storage.Node.Tests;

/// <summary>Nodes that nobody can dial, and the lines by which they are reached all the same.</summary>
public sealed class LineTests : IAsyncLifetime
{
    private const int Slice = 128 * 1024;
    private const long Quota = 64L << 20;

    private static readonly NodeAddress s_nowhere = new("127.0.0.1", 1);

    private readonly TestDevice _ann = new("ann");
    private ServedNode _relay = null!;
    private ServedNode _hidden = null!;
    private PeerConnection? _line;
    private CancellationTokenSource? _keeping;
    private Task? _kept;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _hidden = await ServedNode.StartAsync(_ann.AsPeer(Quota));
        _relay = await ServedNode.StartAsync(_ann.AsPeer(0) with { RelayADay = 8L << 20 }, _hidden.Device.AsPeer(0));
    }

    public async ValueTask DisposeAsync()
    {
        if (_keeping is not null)
        {
            await _keeping.CancelAsync();
            await _kept!;
            _keeping.Dispose();
        }

        await _hidden.DisposeAsync();
        await _relay.DisposeAsync();
        _ann.Dispose();
    }

    [Fact]
    public async Task A_node_that_nobody_can_dial_is_reached_by_the_line_that_it_keeps_open()
    {
        await KeepLinesAsync();
        using PeerHolder holder = await PeerHolder.OpenAsync(Dial(_ann), null, Cancel);
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Slice, 1);
        await holder.PutAsync(id, 1, 1, Slice, [fragment], Cancel);
        byte[] back = new byte[Slice];
        Assert.Equal(Slice, await holder.ReadAsync(id, 0, 0, back, Cancel));
        Assert.True(fragment.Bytes.Span.SequenceEqual(back));
        Assert.Single(_hidden.HolderOf(_ann).Arenas);
        Assert.Empty(_relay.Holders);
        Assert.Empty(_relay.Troubles);

        // Many at once, and one after another: a line that was taken is replaced.
        for (int round = 0; round < 5; round++)
        {
            PeerHolder[] more = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => OpenPatientlyAsync(_ann)));
            Assert.All(more, static each => Assert.Equal(Quota, each.Hello.QuotaBytes));
            Array.ForEach(more, static each => each.Dispose());
        }
    }

    /// <summary>Requests run the other way over the connection that the hidden node dialled: our own node has the line.</summary>
    [Fact]
    public async Task The_device_that_owns_the_relay_needs_no_quota()
    {
        await KeepLinesAsync();
        await _hidden.Book.File.ChangeAsync(list => list.With(_relay.Device.AsPeer(Quota)), Cancel);
        _hidden.Book.Refresh();
        using PeerHolder holder = await PeerHolder.OpenAsync(Dial(_relay.Device), null, Cancel);
        Assert.Equal(Quota, holder.Hello.QuotaBytes);
    }

    [Fact]
    public async Task Who_is_not_granted_a_relay_is_told_so_and_so_is_who_asks_for_a_node_that_does_not_wait()
    {
        PeerException none = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(Dial(_ann), null, Cancel));
        Assert.Equal(PeerProblem.Unreachable, none.Problem);
        Assert.Contains("keeps no line open", none.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', none.Message);

        await KeepLinesAsync();
        using var eve = new TestDevice("eve");
        PeerException stranger = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(Dial(eve), null, Cancel));
        Assert.Contains("does not let this account in", stranger.Message, StringComparison.Ordinal);
        await _relay.Book.File.ChangeAsync(list => list.With(eve.AsPeer(0)), Cancel);
        _relay.Book.Refresh();
        PeerException poor = await Assert.ThrowsAsync<PeerException>(async () => await PeerHolder.OpenAsync(Dial(eve), null, Cancel));
        Assert.Contains("in a day is used up", poor.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_put_through_in_a_day_is_bounded_for_each_account()
    {
        await KeepLinesAsync();
        using PeerHolder holder = await PeerHolder.OpenAsync(Dial(_ann), null, Cancel);
        long put = 0;
        DiskException full = await Assert.ThrowsAsync<DiskException>(async () =>
        {
            for (int i = 0; i < 200; i++)
            {
                await holder.PutAsync(ArenaId.New(SystemRandom.Instance), 1, 1, Slice, [ServedNode.Fragment(0, Slice, i)], Cancel);
                put += Slice;
            }
        });
        Assert.Contains("in a day is used up", full.Message, StringComparison.Ordinal);
        Assert.InRange(put, 6L << 20, 8L << 20);
    }

    /// <summary>The relay puts a whole connection through, and cannot take part in it.</summary>
    [Fact]
    public async Task At_the_end_of_a_line_is_the_hidden_node_itself()
    {
        await KeepLinesAsync();
        using var bob = new TestDevice("bob");
        await using Stream line = await _relay.Dial(_ann).OpenLineAsync("relay", NodeIdentity.FingerprintOf(_hidden.Device.Tls.DeviceKey), Cancel);
        var seen = new List<bool>();
        await using var tls = new SslStream(line, leaveInnerStreamOpen: true, (_, shown, _, _) =>
        {
            NodeIdentity found = NodeIdentity.TryRead((X509Certificate2)shown!)!;
            seen.Add(new ExpectedIdentity { DeviceKey = bob.DeviceKey }.Fits(found));
            seen.Add(new ExpectedIdentity { DeviceKey = _relay.Device.DeviceKey }.Fits(found));
            seen.Add(new ExpectedIdentity { DeviceKey = _hidden.Device.DeviceKey }.Fits(found));
            return seen[^1];
        });
        await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = "x", ApplicationProtocols = [SslApplicationProtocol.Http2], LocalCertificateSelectionCallback = (_, _, _, _, _) => _ann.Tls.Current }, Cancel);
        Assert.Equal([false, false, true], seen); // the identity at the end of the line is the hidden node's own, not the relay's
    }

    [Fact]
    public async Task A_line_whose_owner_went_away_is_not_put_through_to()
    {
        await KeepLinesAsync();
        await _keeping!.CancelAsync();
        await _kept!;
        PeerException gone = await Assert.ThrowsAsync<PeerException>(async () =>
        {
            while (true)
            {
                using PeerHolder holder = await PeerHolder.OpenAsync(Dial(_ann), null, Cancel); // the relay may not have heard of it yet
            }
        });
        Assert.Equal(PeerProblem.Unreachable, gone.Problem);
    }

    /// <summary>Docs/protocol.md 3.2: through a relay there is HTTP/2 alone.</summary>
    [Fact]
    public async Task A_node_that_can_be_dialled_no_more_gets_nothing_of_the_older_protocol_over_a_line()
    {
        await KeepLinesAsync();
        await _hidden.Book.File.ChangeAsync(list => list.With(_relay.Device.AsPeer(Quota)), Cancel);
        _hidden.Book.Refresh();
        var seen = new System.Collections.Concurrent.ConcurrentQueue<string>();
        _hidden.Lies.Sees = http => seen.Enqueue(http.Request.Protocol);
        await using var direct = new CountingRelay(_hidden.Endpoint);
        using PeerHolder holder = await PeerHolder.OpenAsync(Dial(_relay.Device, direct.Address), null, Cancel);
        const int Long = 4 << 20;
        ArenaId id = ArenaId.New(SystemRandom.Instance);
        FragmentData fragment = ServedNode.Fragment(0, Long, 1);
        holder.Expected = (_, _) => new ExpectedFragment(fragment.Name, Long);
        await holder.PutAsync(id, 1, 1, Long, [fragment], Cancel);
        byte[] back = new byte[Long];
        for (int i = 0; i < 5; i++)
        {
            if (i == 3)
            {
                direct.Close();
            }

            Assert.Equal(Long, await holder.ReadAsync(id, 0, 0, back, Cancel));
            Assert.True(fragment.Bytes.Span.SequenceEqual(back));
        }

        Assert.All(seen, static protocol => Assert.Equal("HTTP/2", protocol));
    }

    private PeerConnection Dial(TestDevice by, NodeAddress? at = null) =>
        new("hidden", [at ?? s_nowhere], new ExpectedIdentity { DeviceKey = _hidden.Device.DeviceKey }, by.Tls, TimeProvider.System, relays: [_relay.Dial(by)]);

    private async Task<PeerHolder> OpenPatientlyAsync(TestDevice by)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return await PeerHolder.OpenAsync(Dial(by), null, Cancel);
            }
            catch (PeerException taken) when (attempt < 20 && taken.Message.Contains("keeps no line", StringComparison.Ordinal))
            {
                await Task.Yield(); // both lines were taken at this moment
            }
        }
    }

    /// <summary>Lets the hidden node keep its lines, and waits until one is there.</summary>
    private async Task KeepLinesAsync()
    {
        _line = new PeerConnection("relay", [_relay.Address], new ExpectedIdentity { DeviceKey = _relay.Device.DeviceKey }, _hidden.Device.Tls, TimeProvider.System);
        await _hidden.Book.File.ChangeAsync(list => list.With(_relay.Device.AsPeer(0) with { Addresses = [_relay.Address.ToString()] }), Cancel);
        _hidden.Book.Refresh();
        _keeping = new CancellationTokenSource();
        _kept = new LineKeeper(_hidden.Book, _ => _line, _hidden.Server, TimeProvider.System).RunAsync(_keeping.Token);
        while (_relay.Service.WaitingLines == 0)
        {
            await Task.Delay(10, Cancel);
        }
    }
}
