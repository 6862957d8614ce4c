using System.Net;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Transport;

/// <summary>The listening side of a node: Kestrel's HTTP behind <see cref="PeerGate"/>, answered by a <see cref="HolderService"/>.</summary>
/// <remarks>Format: docs/protocol.md 3.2, whose bounds are set here. Kestrel alone, without the host around it. Clients are told a status and a line of ours, never an exception.</remarks>
public sealed class PeerServer : IAsyncDisposable
{
    private static readonly TimeSpan s_grace = TimeSpan.FromSeconds(5);

    private readonly KestrelServer _server;
    private readonly Application _application;
    private readonly PeerListener _listener;

    private PeerServer(KestrelServer server, Application application, PeerListener listener) => (_server, _application, _listener) = (server, application, listener);

    /// <summary>Where it listens: the port that was taken, where 0 was asked for.</summary>
    public required IPEndPoint Endpoint { get; init; }

    /// <summary>Serves until it is disposed of. The service stays the caller's.</summary>
    /// <exception cref="IOException">The endpoint is taken, or not this machine's.</exception>
    public static Task<PeerServer> StartAsync(IPEndPoint endpoint, NodeCertificate own, HolderService service, TimeProvider clock, Action<string>? trouble, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(service);
        return StartAsync(endpoint, own, service, service.AnswerAsync, clock, trouble, cancel);
    }

    /// <param name="service">Says who is known; whoever is not any more loses its connections.</param>
    /// <param name="answer">What answers in the service's stead: tests lie here.</param>
    internal static async Task<PeerServer> StartAsync(
        IPEndPoint endpoint, NodeCertificate own, HolderService service, Func<HttpContext, Task> answer, TimeProvider clock, Action<string>? trouble, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        var gate = new PeerGate(own, service.IsKnown, clock);
        var listener = new PeerListener();
        var server = new KestrelServer(Options.Create(KestrelOptions(endpoint, gate)), listener, NullLoggerFactory.Instance);
        var application = new Application(answer, trouble);
        try
        {
            await server.StartAsync(application, cancel).ConfigureAwait(false);
        }
        catch
        {
            server.Dispose();
            throw;
        }

        var address = new Uri(server.Features.Get<IServerAddressesFeature>()!.Addresses.First());
        service.Looked = gate.EndUnknown;
        return new PeerServer(server, application, listener) { Endpoint = new IPEndPoint(endpoint.Address, address.Port) };
    }

    /// <summary>Serves whoever was put through over a line, as if it had dialled.</summary>
    /// <returns>When its connection has ended, and the stream with it.</returns>
    internal Task Accept(Stream line) => _listener.Accept(line);

    /// <summary>Requests under way may end, for a while; then they are cut off, and end as soon as the disk has answered what they last asked of it.</summary>
    public async ValueTask DisposeAsync()
    {
        using (var grace = new CancellationTokenSource(s_grace))
        {
            await _server.StopAsync(grace.Token).ConfigureAwait(false);
        }

        await _application.EndAsync().ConfigureAwait(false);
        _server.Dispose();
    }

    private static KestrelServerOptions KestrelOptions(IPEndPoint endpoint, PeerGate gate)
    {
        var kestrel = new KestrelServerOptions { AddServerHeader = false, AllowSynchronousIO = false };
        kestrel.Limits.MaxConcurrentConnections = null; // PeerGate's to say: it knows whom to send away
        kestrel.Limits.MaxRequestLineSize = Protocol.MaxLineBytes;
        kestrel.Limits.MaxRequestHeadersTotalSize = Protocol.MaxHeaderBytes;
        kestrel.Limits.MaxRequestHeaderCount = Protocol.MaxHeaders;
        kestrel.Limits.MaxRequestBodySize = Protocol.MaxUploadBytes + Protocol.MaxTableBytes;
        kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(Protocol.MinBytesPerSecond, Protocol.SlowGrace);
        kestrel.Limits.MinResponseDataRate = new MinDataRate(Protocol.MinBytesPerSecond, Protocol.SlowGrace);
        kestrel.Limits.RequestHeadersTimeout = Protocol.SlowGrace;
        kestrel.Limits.KeepAliveTimeout = TimeSpan.FromMinutes(5);
        kestrel.Limits.Http2.MaxStreamsPerConnection = Protocol.MaxStreams;
        kestrel.Limits.Http2.MaxFrameSize = Protocol.FrameBytes;
        kestrel.Limits.Http2.MaxRequestHeaderFieldSize = Protocol.MaxHeaderBytes;
        kestrel.Limits.Http2.HeaderTableSize = 4096;
        kestrel.Limits.Http2.InitialConnectionWindowSize = Protocol.ConnectionWindowBytes;
        kestrel.Limits.Http2.InitialStreamWindowSize = Protocol.StreamWindowBytes;
        kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(60);
        kestrel.Limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(20);
        kestrel.Listen(endpoint, listen =>
        {
            listen.Protocols = HttpProtocols.Http1AndHttp2;
            listen.Use(next => connection => gate.RunAsync(connection, next));
        });
        return kestrel;
    }

    /// <summary>What Kestrel hands requests to. Requests that it has cut off are counted here, one more as long as the server lives: it does not wait for them.</summary>
    private sealed class Application(Func<HttpContext, Task> answer, Action<string>? trouble) : IHttpApplication<HttpContext>
    {
        private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _running = 1;

        internal Task EndAsync()
        {
            Leave();
            return _over.Task;
        }

        public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

        public void DisposeContext(HttpContext context, Exception? exception)
        {
            // nothing is kept
        }

        public async Task ProcessRequestAsync(HttpContext context)
        {
            Interlocked.Increment(ref _running);
            try
            {
                await answer(context).ConfigureAwait(false);
            }
            catch (Exception cut) when (cut is OperationCanceledException or IOException) // Kestrel's own are of these; the disk's are told by the service
            {
                context.Abort(); // the dialler has gone, or was too slow
            }
            catch (Exception failure)
            {
                trouble?.Invoke($"a peer's request failed: {failure.GetType().Name}: {failure.Message}");
                context.Abort();
            }
            finally
            {
                Leave();
            }
        }

        private void Leave()
        {
            if (Interlocked.Decrement(ref _running) == 0)
            {
                _over.TrySetResult();
            }
        }
    }
}
