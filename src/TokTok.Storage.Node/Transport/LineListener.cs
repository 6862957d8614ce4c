using System.Globalization;
using System.IO.Pipelines;
using System.Net;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;

namespace TokTok.Storage.Node.Transport;

/// <summary>Gives Kestrel the connections that come through lines beside those of its sockets.</summary>
internal sealed class LineListenerFactory(IConnectionListenerFactory sockets) : IConnectionListenerFactory
{
    private readonly Channel<ConnectionContext> _lines = Channel.CreateUnbounded<ConnectionContext>();

    /// <summary>Somebody was put through: the stream is theirs, until the connection over it ends.</summary>
    /// <returns>When it has ended.</returns>
    internal Task Accept(Stream stream)
    {
        var connection = new LineConnection(stream);
        return _lines.Writer.TryWrite(connection) ? connection.Over : throw new ObjectDisposedException(nameof(LineListenerFactory));
    }

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new Listener(await sockets.BindAsync(endpoint, cancellationToken).ConfigureAwait(false), _lines);

    private sealed class Listener(IConnectionListener sockets, Channel<ConnectionContext> lines) : IConnectionListener
    {
        private Task<ConnectionContext?>? _socket;

        public EndPoint EndPoint => sockets.EndPoint;

        /// <summary>Kestrel asks again when it has an answer, never twice at once.</summary>
        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            while (true)
            {
                if (lines.Reader.TryRead(out ConnectionContext? line))
                {
                    return line;
                }

                _socket ??= sockets.AcceptAsync(CancellationToken.None).AsTask();
                Task<bool> more = lines.Reader.WaitToReadAsync(cancellationToken).AsTask();
                if (await Task.WhenAny(_socket, more).ConfigureAwait(false) == _socket || !await more.ConfigureAwait(false))
                {
                    ConnectionContext? accepted = await _socket.ConfigureAwait(false);
                    _socket = null;
                    return accepted; // null: the sockets are unbound, which ends all
                }
            }
        }

        public async ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            lines.Writer.TryComplete();
            await sockets.UnbindAsync(cancellationToken).ConfigureAwait(false);
        }

        public ValueTask DisposeAsync() => sockets.DisposeAsync();
    }

    private sealed class LineConnection : ConnectionContext
    {
        private static int s_count;

        private readonly Stream _stream;
        private readonly CancellationTokenSource _closed = new();
        private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal LineConnection(Stream stream)
        {
            _stream = stream;
            ConnectionId = string.Create(CultureInfo.InvariantCulture, $"line-{Interlocked.Increment(ref s_count)}");
            ConnectionClosed = _closed.Token;
            Transport = new PipePair(PipeReader.Create(stream, new StreamPipeReaderOptions(leaveOpen: true)), PipeWriter.Create(stream, new StreamPipeWriterOptions(leaveOpen: true)));
        }

        internal Task Over => _over.Task;

        public override string ConnectionId { get; set; }

        public override IFeatureCollection Features { get; } = new FeatureCollection();

        public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

        public override IDuplexPipe Transport { get; set; }

        public override CancellationToken ConnectionClosed { get; set; }

        public override void Abort(ConnectionAbortedException abortReason) => Close();

        public override async ValueTask DisposeAsync()
        {
            Close();
            await base.DisposeAsync().ConfigureAwait(false);
        }

        private void Close()
        {
            if (_over.TrySetResult())
            {
                _stream.Dispose();
                _ = _closed.CancelAsync();
            }
        }
    }}
