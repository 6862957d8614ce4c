using System.Net.Sockets;
using System.Text;
using TokTok.Storage.Tdfs.Agent;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Node;

/// <summary>A verb's side of a running node: the whole line is run there, and what it says is passed on.</summary>
/// <remarks>Format: docs/protocol.md 2.</remarks>
internal sealed class NodeClient : IDisposable
{
    private readonly Socket _socket;
    private readonly NetworkStream _stream;

    private NodeClient(Socket socket)
    {
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
    }

    /// <summary>The node that listens there, if it is this user's; null: none does.</summary>
    internal static NodeClient? TryConnect(string path)
    {
        if (!new FileInfo(path).Exists)
        {
            return null;
        }

        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            if (AgentPaths.IsSameUser(socket))
            {
                return new NodeClient(socket);
            }
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            // what a node that was killed left behind
        }

        socket.Dispose();
        return null;
    }

    /// <summary>Runs the line to its end. Cancelling asks the node to end it in order.</summary>
    /// <returns>The exit code.</returns>
    internal async Task<int> RunAsync(IReadOnlyList<string> words, CommandOutput output, CancellationToken cancel)
    {
        try
        {
            var line = new NodeLine(words, Environment.CurrentDirectory, output.TerminalWidth?.Invoke());
            byte[] payload = line.Encode();
            if (payload.Length > NodeFrame.MaxBytes)
            {
                throw new UserError(ExitCode.Usage, $"found a line of {Show.Size(payload.Length)}, expected at most {Show.Size(NodeFrame.MaxBytes)}, which a running node takes; say less at a time");
            }

            await NodeFrame.WriteAsync(_stream, NodeFrameKind.Run, payload, CancellationToken.None).ConfigureAwait(false);
            using CancellationTokenRegistration onCancel = cancel.Register(() => _ = AskToEndAsync());
            Decoder decoder = Encoding.UTF8.GetDecoder();
            while (await NodeFrame.ReadAsync(_stream, CancellationToken.None).ConfigureAwait(false) is { } frame)
            {
                switch (frame.Kind)
                {
                    case NodeFrameKind.Data:
                        await output.DataBytes.WriteAsync(frame.Payload, CancellationToken.None).ConfigureAwait(false);
                        break;
                    case NodeFrameKind.Talk:
                        char[] text = new char[frame.Payload.Length + 1];
                        await output.Talk.WriteAsync(text.AsMemory(0, decoder.GetChars(frame.Payload, text, flush: false)), CancellationToken.None).ConfigureAwait(false);
                        break;
                    case NodeFrameKind.Exit when frame.Payload.Length == 1:
                        await output.DataBytes.FlushAsync(CancellationToken.None).ConfigureAwait(false);
                        return frame.Payload[0];
                    default:
                        throw new InvalidDataException($"found a frame of kind {frame.Kind}");
                }
            }
        }
        catch (Exception broken) when (broken is IOException or SocketException or InvalidDataException)
        {
            throw new UserError(ExitCode.Interrupted, $"the running node went away: {broken.Message}; what it had acknowledged is kept, run the verb again", broken);
        }

        throw new UserError(ExitCode.Interrupted, "the running node ended before the verb did; what it had acknowledged is kept, run the verb again");
    }

    public void Dispose() => _stream.Dispose();

    private async Task AskToEndAsync()
    {
        try
        {
            await NodeFrame.WriteAsync(_stream, NodeFrameKind.Cancel, default, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception gone) when (gone is IOException or ObjectDisposedException)
        {
            // it has ended
        }
    }
}

/// <summary>The verb is the running node's to do. Never leaves CommandTree.</summary>
#pragma warning disable CA1032, CA1064 // Made in one place, caught in one place.
internal sealed class NodeAnswersException(NodeClient node) : Exception("the running node does this")
#pragma warning restore CA1032, CA1064
{
    internal NodeClient Node { get; } = node;
}
