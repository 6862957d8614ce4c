using System.Net.Sockets;
using System.Text;
using System.Threading.Channels;
using TokTok.Storage.Tdfs.Agent;
using TokTok.Storage.Tdfs.Commands;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Node;

/// <summary>The node's side of its socket: runs each line that comes with the store that it has open.</summary>
/// <remarks>
/// Format: docs/protocol.md 2. Each connection is one verb; they run beside each other. Who goes away cancels their verb. Only the same user is heard (SO_PEERCRED).
/// Ending: no new line is taken; those that run end first, or are cancelled where the node itself was told to end.
/// </remarks>
internal sealed class NodeServer : IAsyncDisposable
{
    private const int WaitingCount = 64;

    /// <summary>Output that a slow peer has not taken; beyond it the verb waits.</summary>
    private const int QueuedFrames = 64;

    private readonly Socket _listener;
    private readonly string _path;
    private readonly IStoreHost _host;
    private readonly Func<string, string?> _environment;
    private readonly TimeProvider _clock;
    private readonly CancellationTokenSource _stopsListening = new();
    private readonly CancellationToken _ends;
    private readonly Lock _gate = new();
    private readonly HashSet<Task> _running = [];
    private readonly Task _accepting;

    /// <param name="ends">Cancels what runs.</param>
    private NodeServer(Socket listener, string path, IStoreHost host, Func<string, string?> environment, TimeProvider clock, CancellationToken ends)
    {
        (_listener, _path, _host, _environment, _clock, _ends) = (listener, path, host, environment, clock, ends);
        _accepting = Task.Run(AcceptAsync, CancellationToken.None);
    }

    /// <summary>Listens. The caller holds the store's lock, so whatever lies at the path is left over.</summary>
    internal static NodeServer Listen(string path, IStoreHost host, Func<string, string?> environment, TimeProvider clock, CancellationToken ends)
    {
        AgentPaths.MakeFolder(path);
        new FileInfo(path).Delete();
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen(WaitingCount);
            return new NodeServer(listener, path, host, environment, clock, ends);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stopsListening.CancelAsync().ConfigureAwait(false);
        await _accepting.ConfigureAwait(false);
        _listener.Dispose();
        new FileInfo(_path).Delete();
        Task[] running;
        lock (_gate)
        {
            running = [.. _running];
        }

        await Task.WhenAll(running).ConfigureAwait(false);
        _stopsListening.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                Socket peer = await _listener.AcceptAsync(_stopsListening.Token).ConfigureAwait(false);
                Task serving = Task.Run(() => ServeAsync(peer), CancellationToken.None);
                lock (_gate)
                {
                    _running.Add(serving);
                }

                _ = serving.ContinueWith(Forget, TaskScheduler.Default);
            }
        }
        catch (Exception ended) when (ended is OperationCanceledException or SocketException)
        {
        }

        void Forget(Task done)
        {
            lock (_gate)
            {
                _running.Remove(done);
            }
        }
    }

    private async Task ServeAsync(Socket peer)
    {
        var stream = new NetworkStream(peer, ownsSocket: true);
        await using (stream.ConfigureAwait(false))
        {
            try
            {
                if (AgentPaths.IsSameUser(peer) && await NodeFrame.ReadAsync(stream, _ends).ConfigureAwait(false) is (NodeFrameKind.Run, byte[] payload))
                {
                    await RunAsync(stream, NodeLine.Decode(payload)).ConfigureAwait(false);
                }
            }
            catch (Exception gone) when (gone is IOException or SocketException or InvalidDataException or OperationCanceledException)
            {
                // the peer went away, or is none of ours
            }
        }
    }

    private async Task RunAsync(NetworkStream stream, NodeLine line)
    {
        using CancellationTokenSource cancels = CancellationTokenSource.CreateLinkedTokenSource(_ends);
        Channel<(NodeFrameKind Kind, byte[] Bytes)> frames = Channel.CreateBounded<(NodeFrameKind, byte[])>(QueuedFrames);
        Task sending = SendAsync(stream, frames.Reader, cancels.CancelAsync);
        Task listening = ListenAsync(stream, cancels.CancelAsync);
        try
        {
            int code = await RunLineAsync(line, frames.Writer, cancels.Token).ConfigureAwait(false);
            await frames.Writer.WriteAsync((NodeFrameKind.Exit, [(byte)code])).ConfigureAwait(false);
        }
        finally
        {
            frames.Writer.Complete();
            await sending.ConfigureAwait(false);
            ShutDown(stream.Socket);
            await listening.ConfigureAwait(false);
        }
    }

    private async Task<int> RunLineAsync(NodeLine line, ChannelWriter<(NodeFrameKind Kind, byte[] Bytes)> frames, CancellationToken cancel)
    {
        FrameStream dataBytes = new(frames, NodeFrameKind.Data);
        StreamWriter data = new(dataBytes, new UTF8Encoding(false), 16 * 1024);
        await using (data.ConfigureAwait(false))
        {
            StreamWriter talk = new(new FrameStream(frames, NodeFrameKind.Talk), new UTF8Encoding(false)) { AutoFlush = true };
            await using (talk.ConfigureAwait(false))
            {
                var context = new VerbContext
                {
                    Output = new CommandOutput
                    {
                        Data = data,
                        DataBytes = dataBytes,
                        Talk = talk,
                        Clock = _clock,
                        TerminalWidth = line.Width is int width ? () => width : null,
                    },
                    Environment = _environment,
                    Host = _host,
                    WorkingFolder = line.Folder,
                };
                return await CommandTree.RunAsync(context, [.. line.Words], cancel).ConfigureAwait(false);
            }
        }
    }

    private static async Task SendAsync(NetworkStream stream, ChannelReader<(NodeFrameKind Kind, byte[] Bytes)> frames, Func<Task> cancel)
    {
        bool isGone = false;
        await foreach ((NodeFrameKind kind, byte[] bytes) in frames.ReadAllAsync().ConfigureAwait(false))
        {
            try
            {
                if (!isGone)
                {
                    await NodeFrame.WriteAsync(stream, kind, bytes, CancellationToken.None).ConfigureAwait(false);
                }
            }
            catch (IOException)
            {
                isGone = true; // what the verb still says goes nowhere, and it ends
                await cancel().ConfigureAwait(false);
            }
        }
    }

    private static void ShutDown(Socket socket)
    {
        try
        {
            socket.Shutdown(SocketShutdown.Both);
        }
        catch (SocketException)
        {
            // the peer was quicker
        }
    }

    /// <summary>Cancels when the peer asks for it or goes away.</summary>
    private static async Task ListenAsync(NetworkStream stream, Func<Task> cancel)
    {
        try
        {
            while (await NodeFrame.ReadAsync(stream, CancellationToken.None).ConfigureAwait(false) is { } frame)
            {
                if (frame.Kind == NodeFrameKind.Cancel)
                {
                    await cancel().ConfigureAwait(false);
                }
            }
        }
        catch (Exception gone) when (gone is IOException or InvalidDataException or SocketException)
        {
        }

        await cancel().ConfigureAwait(false);
    }

    /// <summary>Bytes that a verb writes, as frames.</summary>
    private sealed class FrameStream(ChannelWriter<(NodeFrameKind Kind, byte[] Bytes)> frames, NodeFrameKind kind) : WriteOnlyStream(Null)
    {
        private const int PieceBytes = 64 * 1024;

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            for (; !buffer.IsEmpty; buffer = buffer[Math.Min(buffer.Length, PieceBytes)..])
            {
                (NodeFrameKind, byte[]) frame = (kind, buffer[..Math.Min(buffer.Length, PieceBytes)].ToArray());
                if (!frames.TryWrite(frame))
                {
                    frames.WriteAsync(frame).AsTask().GetAwaiter().GetResult(); // the sender takes them whatever becomes of the peer
                }
            }
        }

        public override void Flush()
        {
        }
    }
}
