using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using TokTok.Storage.Core;
using TokTok.Storage.Files;

namespace TokTok.Storage.WebDav;

/// <summary>A volume as a WebDAV server: what Windows, macOS, phones, file managers and rclone mount without a driver.</summary>
/// <remarks>
/// Kestrel alone, HTTP/1.1: one request at a time on a connection, so connections bound everything else. Request line and headers are bounded (<see cref="MaxLineBytes"/>,
/// <see cref="MaxHeaderBytes"/>), bodies but those of PUT too; slow clients are cut off. Every request needs the token.
/// Clients are told a status and a line of our own, never an exception.
/// The volume stays the caller's; once the server is disposed of, nothing uses it any more.
/// </remarks>
public sealed class WebDavServer : IAsyncDisposable
{
    internal const int MaxLineBytes = 16 * 1024;

    internal const int MaxHeaderBytes = 32 * 1024;

    private readonly KestrelServer _server;
    private readonly VolumeThreads _threads;
    private readonly TimeSpan _grace;

    private readonly Application _application;

    private WebDavServer(KestrelServer server, Application application, VolumeThreads threads, TimeSpan grace) =>
        (_server, _application, _threads, _grace) = (server, application, threads, grace);

    /// <summary>Where it listens, as a client writes it.</summary>
    public required Uri Url { get; init; }

    /// <summary>Serves a volume until it is disposed of.</summary>
    /// <exception cref="IOException">The endpoint is taken, or not this machine's.</exception>
    public static Task<WebDavServer> StartAsync(IVolumeFileSystem volume, WebDavOptions options, TimeProvider clock, IRandomSource random, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return StartAsync(options, clock, random, threads =>
        {
            var handler = new DavHandler(volume, threads, options, clock, random);
            return http => handler.AnswerAsync(new DavExchange(http, DavExchange.TargetOf(http)));
        }, cancel);
    }

    /// <summary>Serves several volumes until it is disposed of, each as a collection of its name. Names have no slash.</summary>
    /// <exception cref="IOException">The endpoint is taken, or not this machine's.</exception>
    public static Task<WebDavServer> StartAsync(
        IReadOnlyDictionary<string, IVolumeFileSystem> volumes, WebDavOptions options, TimeProvider clock, IRandomSource random, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(volumes);
        ArgumentOutOfRangeException.ThrowIfZero(volumes.Count);
        return StartAsync(options, clock, random, threads =>
            new DavShelf(volumes.ToDictionary(static volume => volume.Key, volume => new DavHandler(volume.Value, threads, options, clock, random)), threads).AnswerAsync, cancel);
    }

    private static async Task<WebDavServer> StartAsync(
        WebDavOptions options, TimeProvider clock, IRandomSource random, Func<VolumeThreads, Func<HttpContext, Task>> makeHandler, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(clock);
        ArgumentNullException.ThrowIfNull(random);
        var guard = new AccessGuard(options.Token.Span);
        var threads = new VolumeThreads(options.Threads);
        var server = new KestrelServer(
            Options.Create(KestrelOptions(options)),
            new SocketTransportFactory(Options.Create(new SocketTransportOptions()), NullLoggerFactory.Instance),
            NullLoggerFactory.Instance);
        var application = new Application(makeHandler(threads), guard, options.Trouble);
        try
        {
            await server.StartAsync(application, cancel).ConfigureAwait(false);
        }
        catch
        {
            server.Dispose();
            threads.Dispose();
            throw;
        }

        string address = server.Features.Get<IServerAddressesFeature>()!.Addresses.First();
        return new WebDavServer(server, application, threads, options.StopGrace) { Url = new Uri(address) };
    }

    /// <summary>Requests under way may end, for a while; then they are cut off, and end as soon as the volume has answered what they last asked of it.</summary>
    public async ValueTask DisposeAsync()
    {
        using (var grace = new CancellationTokenSource(_grace))
        {
            await _server.StopAsync(grace.Token).ConfigureAwait(false);
        }

        await _application.EndAsync().ConfigureAwait(false);
        _server.Dispose();
        _threads.Dispose();
    }

    private static KestrelServerOptions KestrelOptions(WebDavOptions options)
    {
        var kestrel = new KestrelServerOptions { AddServerHeader = false, AllowSynchronousIO = false };
        kestrel.Limits.MaxConcurrentConnections = options.MaxConnections;
        kestrel.Limits.MaxRequestLineSize = MaxLineBytes;
        kestrel.Limits.MaxRequestHeadersTotalSize = MaxHeaderBytes;
        kestrel.Limits.MaxRequestHeaderCount = 100;
        kestrel.Limits.MaxRequestBodySize = DavXml.MaxBodyBytes;
        kestrel.Limits.MaxRequestBufferSize = 1 << 20;
        kestrel.Limits.MaxResponseBufferSize = 1 << 20;
        kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(30);
        kestrel.Limits.KeepAliveTimeout = TimeSpan.FromMinutes(2);
        kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(options.MinBytesPerSecond, options.SlowGrace);
        kestrel.Limits.MinResponseDataRate = new MinDataRate(options.MinBytesPerSecond, options.SlowGrace);
        kestrel.Listen(options.Endpoint, static listen => listen.Protocols = HttpProtocols.Http1);
        return kestrel;
    }

    /// <summary>What Kestrel hands requests to.</summary>
    /// <remarks>Kestrel does not wait for requests that it has cut off: they are counted here, one more as long as the server lives.</remarks>
    private sealed class Application(Func<HttpContext, Task> answer, AccessGuard guard, Action<string>? trouble) : IHttpApplication<HttpContext>
    {
        private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _running = 1;

        /// <summary>No request comes any more; returns when the last one has ended.</summary>
        internal Task EndAsync()
        {
            Leave();
            return _over.Task;
        }

        private void Leave()
        {
            if (Interlocked.Decrement(ref _running) == 0)
            {
                _over.TrySetResult();
            }
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
                await AnswerAsync(context).ConfigureAwait(false);
            }
            finally
            {
                Leave();
            }
        }

        private async Task AnswerAsync(HttpContext context)
        {
            try
            {
                if (!guard.Admits(context.Request.Headers))
                {
                    context.Response.Headers.WWWAuthenticate = "Basic realm=\"tdfs\", charset=\"UTF-8\"";
                    throw new DavException(StatusCodes.Status401Unauthorized, "The password is the token; the user name does not matter.");
                }

                await answer(context).ConfigureAwait(false);
            }
            catch (DavException told)
            {
                await TellAsync(context, told).ConfigureAwait(false);
            }
            catch (Microsoft.AspNetCore.Http.BadHttpRequestException wrong)
            {
                await TellAsync(context, new DavException(wrong.StatusCode, "The request is not one that HTTP allows, or beyond its limits.")).ConfigureAwait(false);
            }
            catch (Exception cut) when (cut is OperationCanceledException or ConnectionAbortedException or ConnectionResetException)
            {
                // the client has gone; nothing is left to tell it
            }
            catch (Exception failure)
            {
                trouble?.Invoke($"{context.Request.Method} failed: {failure.GetType().Name}: {failure.Message}");
                await TellAsync(context, new DavException(StatusCodes.Status500InternalServerError, "The server failed.")).ConfigureAwait(false);
            }
        }

        private static async Task TellAsync(HttpContext context, DavException told)
        {
            HttpResponse response = context.Response;
            if (response.HasStarted)
            {
                context.Abort(); // the status is gone already; the client must not take what it got for the whole
                return;
            }

            response.StatusCode = told.Status;
            if (told.Status == StatusCodes.Status413PayloadTooLarge || context.Request.ContentLength > DavXml.MaxBodyBytes)
            {
                response.Headers.Connection = "close"; // nobody is going to read the rest of the body
            }

            using var text = new Utf8Xml();
            if (told.Condition is { } condition)
            {
                response.ContentType = "application/xml; charset=utf-8";
                text.Raw("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\"><D:"u8).Raw(condition).Raw(">"u8);
                if (told.Href is { } href)
                {
                    text.Raw("<D:href>"u8).Text(href).Raw("</D:href>"u8);
                }

                text.Raw("</D:"u8).Raw(condition).Raw("></D:error>\n"u8);
            }
            else
            {
                response.ContentType = "text/plain; charset=utf-8";
                text.Raw(told.Message).Raw("\n"u8);
            }

            if (HttpMethods.IsHead(context.Request.Method))
            {
                return;
            }

            response.ContentLength = text.Length;
            try
            {
                await response.Body.WriteAsync(text.Written, context.RequestAborted).ConfigureAwait(false);
            }
            catch (Exception cut) when (cut is OperationCanceledException or ConnectionAbortedException or IOException)
            {
                // the client has gone
            }
        }
    }
}
