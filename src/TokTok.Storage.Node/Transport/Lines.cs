using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Transport;

/// <summary>Where lines wait that nodes keep open to this one, because nobody can dial them; and where whoever may is put through to one.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.9. A line is a request whose two bodies are a stream of bytes each way. What flows through it is a whole connection of its own, TLS and identities from end to end: who puts through sees noise.
/// Bounds: lines of one device and of all; bytes by the room that the account which dials has left.
/// Locks: _gate guards the queues; nothing waits inside.
/// </remarks>
internal sealed class Lines
{
    private const byte Taken = 1;

    private readonly Lock _gate = new();
    private readonly Dictionary<Bytes16, LinkedList<Line>> _waiting = [];
    private int _count;

    /// <summary>How many wait.</summary>
    internal int Count
    {
        get
        {
            lock (_gate)
            {
                return _count;
            }
        }
    }

    /// <summary>A request of a node that wants to be reached: lasts until somebody was put through and has hung up, or it hangs up itself.</summary>
    internal async Task WaitAsync(HttpContext http, Bytes16 device)
    {
        Open(http);
        var line = new Line(http);
        LinkedListNode<Line> place = Enter(device, line);
        try
        {
            await http.Response.Body.FlushAsync(http.RequestAborted).ConfigureAwait(false); // the headers go now
            await line.Taken.Task.WaitAsync(http.RequestAborted).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!TryRemove(device, place))
        {
            // somebody took it at the same moment, and will find it cut
        }
        finally
        {
            TryRemove(device, place);
        }

        await line.Over.Task.ConfigureAwait(false);
    }

    /// <summary>A request of somebody who wants to reach a device: lasts until either side hangs up.</summary>
    internal async Task PutThroughAsync(HttpContext http, Bytes16 device, RelayRoom room, RateLimit toDevice, RateLimit fromDevice)
    {
        Line line = Take(device) ?? throw new RefusalException(Protocol.Status.NoOperation, "that node keeps no line open to this one");
        try
        {
            Open(http);
            line.Taken.TrySetResult();
            using var over = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, line.Http.RequestAborted);
            await line.Http.Response.BodyWriter.WriteAsync(new[] { Taken }, over.Token).ConfigureAwait(false);
            await http.Response.Body.FlushAsync(over.Token).ConfigureAwait(false); // the headers go now
            Task there = CopyAsync(http.Request.BodyReader, line.Http.Response.BodyWriter, room, toDevice, over.Token);
            Task back = CopyAsync(line.Http.Request.BodyReader, http.Response.BodyWriter, room, fromDevice, over.Token);
            await Task.WhenAny(there, back).ConfigureAwait(false);
            await over.CancelAsync().ConfigureAwait(false); // one side has hung up: what the other still says reaches nobody
            await Task.WhenAll(Quiet(there), Quiet(back)).ConfigureAwait(false);
        }
        finally
        {
            line.Over.TrySetResult();
        }
    }

    /// <summary>What flows lasts for as long as both sides like, at any pace, and is not asked for its size.</summary>
    private static void Open(HttpContext http)
    {
        if (http.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate)
        {
            rate.MinDataRate = null;
        }

        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size)
        {
            size.MaxRequestBodySize = null;
        }

        http.Response.StatusCode = Protocol.Status.Done;
    }

    private static async Task CopyAsync(PipeReader from, PipeWriter to, RelayRoom room, RateLimit rate, CancellationToken cancel)
    {
        while (true)
        {
            ReadResult read = await from.ReadAsync(cancel).ConfigureAwait(false);
            ReadOnlySequence<byte> bytes = read.Buffer;
            if (bytes.Length > Protocol.FrameBytes)
            {
                bytes = bytes.Slice(0, Protocol.FrameBytes);
            }

            if (!bytes.IsEmpty)
            {
                room.Take(bytes.Length);
                await rate.TakeAsync((int)bytes.Length, cancel).ConfigureAwait(false);
                foreach (ReadOnlyMemory<byte> part in bytes)
                {
                    part.Span.CopyTo(to.GetSpan(part.Length));
                    to.Advance(part.Length);
                }

                FlushResult flushed = await to.FlushAsync(cancel).ConfigureAwait(false);
                if (flushed.IsCompleted)
                {
                    return;
                }
            }

            from.AdvanceTo(bytes.End);
            if (read.IsCompleted && bytes.End.Equals(read.Buffer.End))
            {
                return;
            }
        }
    }

    private static async Task Quiet(Task task)
    {
        try
        {
            await task.ConfigureAwait(false);
        }
        catch (Exception cut) when (cut is OperationCanceledException or IOException or RefusalException or InvalidOperationException)
        {
            // however it ended, it is over
        }
    }

    private LinkedListNode<Line> Enter(Bytes16 device, Line line)
    {
        lock (_gate)
        {
            if (!_waiting.TryGetValue(device, out LinkedList<Line>? lines))
            {
                _waiting[device] = lines = new LinkedList<Line>();
            }

            if (lines.Count >= Protocol.MaxLinesPerDevice || _count >= Protocol.MaxLines)
            {
                throw new RefusalException(Protocol.Status.TooMany, "enough lines wait here");
            }

            _count++;
            return lines.AddLast(line);
        }
    }

    private Line? Take(Bytes16 device)
    {
        lock (_gate)
        {
            // The youngest: an old one may be of a machine that has gone without a word.
            if (!_waiting.TryGetValue(device, out LinkedList<Line>? lines) || lines.Last is not { } last)
            {
                return null;
            }

            RemoveLocked(device, lines, last);
            return last.Value;
        }
    }

    private bool TryRemove(Bytes16 device, LinkedListNode<Line> place)
    {
        lock (_gate)
        {
            if (place.List is not { } lines)
            {
                return false;
            }

            RemoveLocked(device, lines, place);
            return true;
        }
    }

    private void RemoveLocked(Bytes16 device, LinkedList<Line> lines, LinkedListNode<Line> place)
    {
        lines.Remove(place);
        _count--;
        if (lines.Count == 0)
        {
            _waiting.Remove(device);
        }
    }

    private sealed class Line(HttpContext http)
    {
        internal HttpContext Http => http;

        internal TaskCompletionSource Taken { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal TaskCompletionSource Over { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
