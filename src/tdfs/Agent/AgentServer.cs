using System.Net.Sockets;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Agent;

/// <summary>The agent's side of the socket: answers one request a connection, ends when nothing is held.</summary>
/// <remarks>
/// Format: docs/protocol.md 1. Requests are served one after the other; a silent peer, which can only be the same user, costs the others two seconds.
/// The keys are asked every <see cref="s_sweep"/> whether any is left; the first sweep gives the starter time to put its own.
/// </remarks>
internal sealed class AgentServer : IDisposable
{
    private static readonly TimeSpan s_silence = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_sweep = TimeSpan.FromSeconds(5);

    private readonly Socket _listener;
    private readonly AgentKeys _keys;
    private readonly TimeProvider _clock;
    private readonly string _path;
    private readonly CancellationTokenSource _stop = new();

    private AgentServer(Socket listener, string path, TimeProvider clock)
    {
        _listener = listener;
        _path = path;
        _clock = clock;
        _keys = new AgentKeys(clock);
    }

    /// <summary>Listens, or gives null when another agent does already.</summary>
    internal static AgentServer? TryListen(string path, TimeProvider clock)
    {
        const int WaitingCount = 64;
        AgentPaths.MakeFolder(path);
        if (AgentClient.IsAnswering(path))
        {
            return null;
        }

        // What is left of an agent that was killed. Two starters that both come here: the later bind wins, the earlier ends when its keys do.
        new FileInfo(path).Delete();
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen(WaitingCount);
            return new AgentServer(listener, path, clock);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    /// <summary>Serves until stopped or until nothing is held any more.</summary>
    internal async Task RunAsync(CancellationToken cancel)
    {
        using CancellationTokenSource ends = CancellationTokenSource.CreateLinkedTokenSource(cancel, _stop.Token);
        using ITimer sweep = _clock.CreateTimer(_ => StopIfIdle(), null, s_sweep, s_sweep);
        try
        {
            while (true)
            {
                using Socket peer = await _listener.AcceptAsync(ends.Token).ConfigureAwait(false);
                try
                {
                    await ServeAsync(peer, ends.Token).ConfigureAwait(false);
                }
                catch (SocketException)
                {
                    // The peer went away; the next one matters.
                }
            }
        }
        catch (OperationCanceledException) when (ends.IsCancellationRequested)
        {
        }
        finally
        {
            new FileInfo(_path).Delete();
        }
    }

    public void Dispose()
    {
        _keys.Dispose();
        _listener.Dispose();
        _stop.Dispose();
    }

    private async Task ServeAsync(Socket peer, CancellationToken cancel)
    {
        if (!AgentPaths.IsSameUser(peer))
        {
            return;
        }

        using SecretBuffer request = new(AgentMessage.RequestBytes);
        using SecretBuffer answer = new(AgentMessage.AnswerBytes);
        using CancellationTokenSource patience = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        patience.CancelAfter(s_silence);
        try
        {
            if (await ReceiveAllAsync(peer, request, patience.Token).ConfigureAwait(false))
            {
                bool isStop = Answer(request.Room, answer.Room);
                await SendAllAsync(peer, answer, patience.Token).ConfigureAwait(false);
                if (isStop)
                {
                    await _stop.CancelAsync().ConfigureAwait(false);
                }
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            // Silent for too long.
        }
    }

    /// <summary>Carries out the request. True when it was the last: a stop.</summary>
    private bool Answer(ReadOnlySpan<byte> request, Span<byte> answer)
    {
        if (!AgentMessage.TryReadRequest(request, out AgentOperation operation, out ReadOnlySpan<byte> id, out ReadOnlySpan<byte> key, out uint seconds))
        {
            AgentMessage.WriteAnswer(answer, AgentResult.Refused, _keys.Status().Count, 0);
            return false;
        }

        AgentResult result = AgentResult.Done;
        TimeSpan left = default;
        switch (operation)
        {
            case AgentOperation.Put:
                result = _keys.TryPut(id, key, TimeSpan.FromSeconds(seconds)) ? AgentResult.Done : AgentResult.Refused;
                break;
            case AgentOperation.Get:
                result = _keys.TryGet(id, AgentMessage.AnswerKey(answer), out left) ? AgentResult.Done : AgentResult.NotHeld;
                break;
            case AgentOperation.Lock:
                result = _keys.Drop(id) ? AgentResult.Done : AgentResult.NotHeld;
                break;
            case AgentOperation.Stop:
                _keys.Dispose();
                break;
            default:
                left = _keys.Status().Left;
                break;
        }

        AgentMessage.WriteAnswer(answer, result, _keys.Status().Count, (uint)Math.Max(0, Math.Ceiling(left.TotalSeconds)));
        return operation == AgentOperation.Stop;
    }

    private void StopIfIdle()
    {
        if (_keys.Status().Count == 0)
        {
            _stop.Cancel();
        }
    }

    private static async ValueTask<bool> ReceiveAllAsync(Socket peer, SecretBuffer target, CancellationToken cancel)
    {
        byte[] bytes = target.Memory;
        for (int done = 0; done < bytes.Length;)
        {
            int got = await peer.ReceiveAsync(bytes.AsMemory(done), cancel).ConfigureAwait(false);
            if (got == 0)
            {
                return false;
            }

            done += got;
        }

        return true;
    }

    private static async ValueTask SendAllAsync(Socket peer, SecretBuffer source, CancellationToken cancel)
    {
        byte[] bytes = source.Memory;
        for (int done = 0; done < bytes.Length;)
        {
            done += await peer.SendAsync(bytes.AsMemory(done), cancel).ConfigureAwait(false);
        }
    }
}
