using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Http;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Simulation;

/// <summary>The network between devices and nodes: each request of the real client reaches the real service, after a while, or does not.</summary>
/// <remarks>
/// What a seed may do to a request, a thousandth of them each: lose it; do it and lose the answer; lose it and do it seconds later, when it was asked again already and other things were too (TCP cannot
/// reorder a connection's bytes, but a node may come to what a broken connection had sent after what the next one sends); cut the answer short. Whole links may be cut, and nodes may be down, hang, or crash in the middle of a request.
/// TLS is not simulated: who speaks is what the handshake would have proven.
/// </remarks>
internal sealed class SimulatedNetwork(ManualClock clock, SeededRandom random, Trace trace)
{
    private readonly Dictionary<string, SimulatedNode> _nodes = [];

    internal int LostPerMille { get; set; }

    internal int AnswersLostPerMille { get; set; }

    internal int LatePerMille { get; set; }

    internal int CutShortPerMille { get; set; }

    /// <summary>Pairs of a device's number and a node's that do not reach one another.</summary>
    internal HashSet<(uint Device, int Node)> Cuts { get; } = [];

    internal long Requests { get; private set; }

    internal long UploadedBytes { get; private set; }

    internal long DownloadedBytes { get; private set; }

    /// <summary>Nodes whose power went in the middle of a request.</summary>
    internal Action<SimulatedNode>? Crashed { get; set; }

    /// <summary>Called between two requests of anybody: others act meanwhile.</summary>
    internal Action? Between { get; set; }

    internal void Add(SimulatedNode node) => _nodes[node.Host] = node;

    internal void BeCalm() => LostPerMille = AnswersLostPerMille = LatePerMille = CutShortPerMille = 0;

    internal INetwork DoorOf(uint device) => new Door(this, device);

    private HttpResponseMessage Send(uint device, SimulatedNode node, NodeCertificate own, Func<NodeIdentity?, bool> meets, HttpRequestMessage request, CancellationToken cancel)
    {
        Between?.Invoke();
        byte[] body = BodyOf(request);
        KeyValuePair<string, string[]>[] headers = [.. request.Headers.Select(static header => KeyValuePair.Create(header.Key, header.Value.ToArray()))];
        string operation = request.RequestUri!.AbsolutePath[(request.RequestUri.AbsolutePath.LastIndexOf('/') + 1)..];
        Requests++;
        UploadedBytes += body.Length;
        if (node.IsHung)
        {
            trace.Add($"device{device} -> {node.Name} {operation} {body.Length}: hangs");
            while (!cancel.IsCancellationRequested)
            {
                clock.Advance(TimeSpan.FromSeconds(1));
            }

            throw new OperationCanceledException(cancel);
        }

        clock.Advance(node.Latency);
        if (!node.IsUp || Cuts.Contains((device, node.Number)))
        {
            trace.Add($"device{device} -> {node.Name} {operation}: nobody there");
            throw new HttpRequestException("no connection", new SocketException((int)SocketError.HostUnreachable));
        }

        cancel.ThrowIfCancellationRequested();
        if (!meets(node.Identity))
        {
            throw new HttpRequestException("another identity");
        }

        int fate = random.Next(1000);
        if (fate < LostPerMille)
        {
            trace.Add($"device{device} -> {node.Name} {operation} {body.Length}: lost");
            throw Broken();
        }

        fate -= LostPerMille;
        if (fate >= 0 && fate < LatePerMille)
        {
            var delay = TimeSpan.FromMilliseconds(random.Next(5000));
            trace.Add($"device{device} -> {node.Name} {operation} {body.Length}: done later");
            NodeIdentity who = own.Identity;
            string path = request.RequestUri.AbsolutePath;
            ITimer? timer = null;
            timer = clock.CreateTimer(
                _ =>
                {
                    timer?.Dispose();
                    if (node.IsUp)
                    {
                        trace.Add($"device{device} -> {node.Name} {operation} {body.Length}: now");
                        Ask(node, who, path, body, headers);
                    }
                },
                null, delay, Timeout.InfiniteTimeSpan);
            throw Broken();
        }

        fate -= LatePerMille;
        (int Status, byte[] Answer, long Promised)? answered = Ask(node, own.Identity, request.RequestUri.AbsolutePath, body, headers);
        clock.Advance(node.Latency);
        if (answered is not (int status, byte[] answer, long promised))
        {
            trace.Add($"device{device} -> {node.Name} {operation} {body.Length}: it went down");
            throw Broken();
        }

        trace.Add($"device{device} -> {node.Name} {operation} {body.Length}: {status} {answer.Length}");
        if (fate >= 0 && fate < AnswersLostPerMille)
        {
            trace.Add($"device{device} -> {node.Name} {operation}: the answer is lost");
            throw Broken();
        }

        cancel.ThrowIfCancellationRequested();
        DownloadedBytes += answer.Length;
        fate -= AnswersLostPerMille;
        var content = new ByteArrayContent(answer);
        content.Headers.ContentLength = promised;
        if (fate >= 0 && fate < CutShortPerMille && answer.Length > 0)
        {
            int left = random.Next(answer.Length);
            trace.Add($"device{device} -> {node.Name} {operation}: cut short to {left}");
            content = new ByteArrayContent(answer[..left]);
            content.Headers.ContentLength = answer.Length;
        }

        return new HttpResponseMessage((HttpStatusCode)status) { Content = content, Version = HttpVersion.Version20 };
    }

    /// <summary>Null: the node gave no answer.</summary>
    private (int Status, byte[] Answer, long Promised)? Ask(SimulatedNode node, NodeIdentity who, string path, byte[] body, KeyValuePair<string, string[]>[] headers)
    {
        var http = new DefaultHttpContext();
        http.Features.Set(who);
        http.Request.Method = HttpMethods.Post;
        http.Request.Path = path;
        http.Request.ContentLength = body.Length;
        foreach ((string name, string[] values) in headers)
        {
            http.Request.Headers[name] = values;
        }

        http.Request.Body = new MemoryStream(body, writable: false);
        using var answer = new MemoryStream();
        http.Response.Body = answer;
        try
        {
            node.Answer(http);
        }
        catch (SimulatedCrashException)
        {
            Crashed?.Invoke(node);
            return null;
        }
        catch (OperationCanceledException)
        {
            return null; // it, or a lie, hung up
        }

        return (http.Response.StatusCode, answer.ToArray(), Math.Max(http.Response.ContentLength ?? 0, answer.Length));
    }

    private static byte[] BodyOf(HttpRequestMessage request)
    {
        byte[]? body = null;
        ReadAsync().Done();
        return body!;

        async ValueTask ReadAsync() => body = await request.Content!.ReadAsByteArrayAsync().ConfigureAwait(false);
    }

    private static HttpRequestException Broken() => new("the connection broke", new IOException());

    private sealed class Door(SimulatedNetwork network, uint device) : INetwork
    {
        public HttpMessageHandler Reach(IReadOnlyList<NodeAddress> addresses, NodeCertificate own, Func<NodeIdentity?, bool> meets) =>
            new Link(network, device, network._nodes[addresses[0].Host], own, meets);
    }

    private sealed class Link(SimulatedNetwork network, uint device, SimulatedNode node, NodeCertificate own, Func<NodeIdentity?, bool> meets) : HttpMessageHandler
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            try
            {
                return Task.FromResult(network.Send(device, node, own, meets, request, cancellationToken));
            }
            catch (Exception failure)
            {
                return Task.FromException<HttpResponseMessage>(failure);
            }
        }
    }
}
