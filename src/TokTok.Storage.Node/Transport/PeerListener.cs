using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace TokTok.Storage.Node.Transport;

/// <summary>Gives Kestrel connections as streams: those of its own socket, and those that come through lines.</summary>
/// <remarks>Kestrel's own sockets hand over what comes in blocks of 4 KiB, by a pipe that TLS would copy from and into once more; here TLS reads and writes the socket itself.</remarks>
internal sealed class PeerListener : IConnectionListenerFactory, IConnectionListener
{
    private const int Backlog = 512;

    private static readonly TimeSpan s_breath = TimeSpan.FromMilliseconds(100);

    private readonly Channel<ConnectionContext> _lines = Channel.CreateUnbounded<ConnectionContext>();
    private Socket? _socket;
    private Task<ConnectionContext?>? _next;
    private Task<bool>? _more; // one that is kept: the channel keeps each that was asked for until a line comes

    public EndPoint EndPoint { get; private set; } = new IPEndPoint(IPAddress.None, 0);

    /// <summary>Somebody was put through: the stream is theirs, until the connection over it ends.</summary>
    /// <returns>When it has ended.</returns>
    internal Task Accept(Stream stream)
    {
        var connection = new StreamConnection(stream, null, null);
        return _lines.Writer.TryWrite(connection) ? connection.Over : throw new ObjectDisposedException(nameof(PeerListener));
    }

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (endpoint is IPEndPoint ip && ip.Address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            socket.Bind(endpoint);
            socket.Listen(Backlog);
        }
        catch (SocketException taken) when (taken.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            socket.Dispose();
            throw new AddressInUseException(taken.Message, taken);
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        (_socket, EndPoint) = (socket, socket.LocalEndPoint!);
        return ValueTask.FromResult<IConnectionListener>(this);
    }

    /// <summary>Kestrel asks again when it has an answer, never twice at once.</summary>
    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        while (true)
        {
            if (_lines.Reader.TryRead(out ConnectionContext? line))
            {
                return line;
            }

            _next ??= DialledAsync(_socket!);
            _more ??= _lines.Reader.WaitToReadAsync(CancellationToken.None).AsTask();
            if (await Task.WhenAny(_next, _more).WaitAsync(cancellationToken).ConfigureAwait(false) == _next || !await _more.ConfigureAwait(false))
            {
                ConnectionContext? accepted = await _next.ConfigureAwait(false);
                _next = null;
                return accepted; // null: the socket is closed, which ends all
            }

            _more = null;
        }
    }

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _lines.Writer.TryComplete();
        _socket?.Dispose();
        return default;
    }

    public ValueTask DisposeAsync() => UnbindAsync();

    private static async Task<ConnectionContext?> DialledAsync(Socket socket)
    {
        while (true)
        {
            Socket? accepted = null;
            try
            {
                accepted = await socket.AcceptAsync().ConfigureAwait(false);
                accepted.NoDelay = true;
                return new StreamConnection(new NetworkStream(accepted, ownsSocket: true), accepted.RemoteEndPoint, accepted);
            }
            catch (Exception over) when (accepted is null && over is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted })
            {
                return null;
            }
            catch (Exception failure) when (failure is SocketException or IOException)
            {
                accepted?.Dispose();

                // It hung up before it was taken; or we have no more of what a connection takes, until another ends.
                if (accepted is null && failure is not SocketException { SocketErrorCode: SocketError.ConnectionAborted or SocketError.ConnectionReset })
                {
                    await Task.Delay(s_breath).ConfigureAwait(false);
                }
            }
        }
    }
}

/// <summary>A connection that is a stream, encrypted still.</summary>
internal sealed class StreamConnection : ConnectionContext, IMemoryPoolFeature
{
    private static readonly BlockPool s_pool = new();
    private static int s_count;

    private readonly Socket? _socket;
    private readonly CancellationTokenSource _closed = new();
    private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="socket">What the stream is of; null: of a line.</param>
    internal StreamConnection(Stream stream, EndPoint? remote, Socket? socket)
    {
        Stream = new StrideStream(stream);
        _socket = socket;
        if (socket is not null)
        {
            socket.Blocking = false; // what is looked for is there or not; who waits, waits asynchronously
        }

        RemoteEndPoint = remote;
        ConnectionId = string.Create(CultureInfo.InvariantCulture, $"peer-{Interlocked.Increment(ref s_count)}");
        ConnectionClosed = _closed.Token;
        Features.Set<IMemoryPoolFeature>(this);
    }

    internal Stream Stream { get; }

    internal Task Over => _over.Task;

    /// <summary>Whether the other side has ended the connection, and nothing that it said before is left to read. Seen without reading, beside whoever reads.</summary>
    internal bool HasHungUp
    {
        get
        {
            Span<byte> next = stackalloc byte[1];
            try
            {
                return _socket is not null && _socket.Receive(next, SocketFlags.Peek, out SocketError error) == 0 && error != SocketError.WouldBlock;
            }
            catch (ObjectDisposedException)
            {
                return false; // it is over already
            }
        }
    }

    public MemoryPool<byte> MemoryPool => s_pool;

    public override string ConnectionId { get; set; }

    public override EndPoint? RemoteEndPoint { get; set; }

    public override IFeatureCollection Features { get; } = new FeatureCollection();

    public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

    /// <summary>Nobody's, until <see cref="PeerGate"/> has made one of what is inside.</summary>
    public override IDuplexPipe Transport { get; set; } = new PipePair(PipeReader.Create(Stream.Null), PipeWriter.Create(Stream.Null));

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
            Stream.Dispose();
            _ = _closed.CancelAsync();
        }
    }

    /// <summary>Blocks of 32 KiB and more, so that a frame's bytes lie in one or two and not in four.</summary>
    private sealed class BlockPool : MemoryPool<byte>
    {
        private const int BlockBytes = 32 * 1024;

        public override int MaxBufferSize => Shared.MaxBufferSize;

        public override IMemoryOwner<byte> Rent(int minBufferSize = -1) => Shared.Rent(Math.Max(minBufferSize, BlockBytes));

        protected override void Dispose(bool disposing)
        {
            // the shared pool's
        }
    }
}

internal sealed class PipePair(PipeReader input, PipeWriter output) : IDuplexPipe
{
    public PipeReader Input => input;

    public PipeWriter Output => output;
}
