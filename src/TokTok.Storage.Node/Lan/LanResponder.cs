using System.Net;
using System.Net.Sockets;
using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Lan;

/// <summary>Tells those on its own network who know a node's key where it listens; says nothing to anybody else, and nothing unasked.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.10. Answers by unicast, to whoever asks for the node's name of yesterday, today or tomorrow from an address on the same network, at most <see cref="AnswersASecond"/> times a second.
/// Shares the port with whatever else speaks multicast DNS on the machine. Where the port or the group cannot be had there are no answers, which is told once.
/// </remarks>
public sealed class LanResponder : IDisposable
{
    internal const int AnswersASecond = 20;

    private static readonly TimeSpan s_rejoin = TimeSpan.FromSeconds(30);

    private readonly Socket _socket;
    private readonly Bytes32 _deviceKey;
    private readonly IPEndPoint _listens;
    private readonly TimeProvider _clock;
    private readonly HashSet<IPAddress> _joined = [];
    private List<LanInterface> _interfaces = [];

    private LanResponder(Socket socket, Bytes32 deviceKey, IPEndPoint listens, TimeProvider clock)
    {
        _socket = socket;
        _deviceKey = deviceKey;
        _listens = listens;
        _clock = clock;
    }

    /// <summary>Joins the group. Null: it cannot be done here.</summary>
    /// <param name="listens">Where the node listens: the port that is told, and if it is one address, the only network on which it is.</param>
    public static LanResponder? TryStart(Bytes32 deviceKey, IPEndPoint listens, TimeProvider clock, LanGroup group, Action<string>? trouble)
    {
        ArgumentNullException.ThrowIfNull(group);
        ArgumentNullException.ThrowIfNull(listens);
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            socket.Bind(new IPEndPoint(IPAddress.Any, group.Port));
            var responder = new LanResponder(socket, deviceKey, listens, clock);
            responder.Join();
            return responder;
        }
        catch (SocketException failure)
        {
            socket.Dispose();
            trouble?.Invoke($"cannot be found on this network: port {group.Port} for multicast: {failure.Message}");
            return null;
        }
    }

    /// <summary>Answers until it is cancelled.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        byte[] buffer = new byte[LanMessage.MaxBytes + 1];
        long joinedAt = _clock.GetTimestamp();
        long secondAt = joinedAt;
        int answers = 0;
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                SocketReceiveFromResult got = await _socket.ReceiveFromAsync(buffer, SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), cancel).ConfigureAwait(false);
                if (_clock.GetElapsedTime(joinedAt) >= s_rejoin)
                {
                    joinedAt = _clock.GetTimestamp();
                    Join();
                }

                if (_clock.GetElapsedTime(secondAt) >= TimeSpan.FromSeconds(1))
                {
                    secondAt = _clock.GetTimestamp();
                    answers = 0;
                }

                if (answers < AnswersASecond && got.RemoteEndPoint is IPEndPoint from && AnswerTo(buffer.AsSpan(0, got.ReceivedBytes), from) is { } answer)
                {
                    answers++;
                    await _socket.SendToAsync(answer, SocketFlags.None, from, cancel).ConfigureAwait(false);
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException)
            {
                // An answer that found no way: the next one is another. A socket that fails for good takes no more turns than answers.
                await Task.Delay(TimeSpan.FromSeconds(1) / AnswersASecond, _clock, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    public void Dispose() => _socket.Dispose();

    /// <summary>What is said to whoever sent this; null: nothing.</summary>
    internal byte[]? AnswerTo(ReadOnlySpan<byte> message, IPEndPoint from)
    {
        if (!LanMessage.TryReadQuery(message, out ushort id, out IReadOnlyList<string> names))
        {
            return null;
        }

        LanInterface ours = _interfaces.Find(each => each.Has(from.Address));
        if (ours.Address is null)
        {
            return null;
        }

        uint today = LanMessage.DayOf(_clock);
        for (uint day = today == 0 ? 0 : today - 1; day <= today + 1; day++)
        {
            string name = LanMessage.NameOf(_deviceKey, day);
            if (names.Contains(name))
            {
                return LanMessage.Answer(id, name, (ushort)_listens.Port, ours.Address);
            }
        }

        return null;
    }

    /// <summary>Machines come to other networks: each that is new is joined.</summary>
    private void Join()
    {
        _interfaces = LanInterface.All().FindAll(each => _listens.Address.Equals(IPAddress.Any) || _listens.Address.Equals(IPAddress.IPv6Any) || each.Address.Equals(_listens.Address));
        foreach (LanInterface each in _interfaces)
        {
            if (_joined.Add(each.Address))
            {
                try
                {
                    _socket.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.AddMembership, new MulticastOption(LanGroup.Address, each.Address));
                }
                catch (SocketException)
                {
                    // joined already by another of its addresses, or a network without multicast
                }
            }
        }

        _joined.IntersectWith(_interfaces.Select(static each => each.Address));
    }
}
