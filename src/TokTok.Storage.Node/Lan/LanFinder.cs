using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Peers;

namespace TokTok.Storage.Node.Lan;

/// <summary>Asks the machine's own networks where a node is whose key is known.</summary>
/// <remarks>Format: docs/protocol.md 3.10. Who answers may be anybody: whoever is dialled must prove the key, as at any address. The question is noise to those who do not know the key.</remarks>
public sealed class LanFinder(IRandomSource random, TimeProvider clock, LanGroup group)
{
    /// <summary>How long it is waited for answers; the question is asked again at half of it.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(1.5);

    /// <summary>Answers that are looked at, of all that come.</summary>
    private const int MaxAnswers = 64;

    /// <summary>The address that answered first; null: nobody did.</summary>
    public async Task<NodeAddress?> FindAsync(Bytes32 deviceKey, CancellationToken cancel)
    {
        uint today = LanMessage.DayOf(clock);
        string[] names = [LanMessage.NameOf(deviceKey, today), LanMessage.NameOf(deviceKey, today == 0 ? 0 : today - 1), LanMessage.NameOf(deviceKey, today + 1)];
        byte[] noise = new byte[sizeof(ushort)];
        random.Fill(noise);
        ushort id = BinaryPrimitives.ReadUInt16BigEndian(noise);
        byte[] query = LanMessage.Query(id, names);
        using var giveUp = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var asking = LanInterface.All().ConvertAll(each => AskAsync(each, query, id, names, giveUp.Token));
        NodeAddress? found = null;
        while (asking.Count > 0 && found is null)
        {
            Task<NodeAddress?> done = await Task.WhenAny(asking).ConfigureAwait(false);
            asking.Remove(done);
            found = await done.ConfigureAwait(false);
        }

        await giveUp.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(asking).ConfigureAwait(false); // they end at once, and throw nothing
        cancel.ThrowIfCancellationRequested();
        return found;
    }

    /// <summary>From a port of its own on one network; null: no answer, or the network takes no such question.</summary>
    private async Task<NodeAddress?> AskAsync(LanInterface own, byte[] query, ushort id, string[] names, CancellationToken cancel)
    {
        try
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.Bind(new IPEndPoint(own.Address, 0));
            socket.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.MulticastInterface, own.Address.GetAddressBytes());
            socket.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.MulticastTimeToLive, 1);
            byte[] buffer = new byte[LanMessage.MaxBytes + 1];
            int answers = 0;
            for (int turn = 0; turn < 2; turn++)
            {
                await socket.SendToAsync(query, SocketFlags.None, group.EndPoint, cancel).ConfigureAwait(false);
                using var turnEnds = new CancellationTokenSource(Patience / 2, clock);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(turnEnds.Token, cancel);
                try
                {
                    for (; answers < MaxAnswers; answers++)
                    {
                        SocketReceiveFromResult got = await socket.ReceiveFromAsync(buffer, SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), either.Token).ConfigureAwait(false);
                        if (got.RemoteEndPoint is IPEndPoint from && own.Has(from.Address)
                            && LanMessage.TryReadAnswer(buffer.AsSpan(0, got.ReceivedBytes), id, out string name, out ushort port) && names.Contains(name))
                        {
                            return new NodeAddress(from.Address.ToString(), port);
                        }
                    }
                }
                catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
                {
                    // nobody yet: it is asked once more
                }
            }
        }
        catch (Exception failure) when (failure is SocketException or OperationCanceledException)
        {
            // a network without multicast, or somebody else was quicker
        }

        return null;
    }
}
