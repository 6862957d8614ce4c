using System.Net;
using System.Net.Sockets;

namespace TokTok.Storage.Testing;

/// <summary>Whether this machine carries multicast over its loopback: without it, discovery on a network cannot be tried here.</summary>
public static class LoopbackMulticast
{
    /// <summary>A UDP port of loopback that nobody has.</summary>
    public static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <summary>Sends a datagram to a group and waits for it, without anything of ours in between.</summary>
    public static async Task<bool> IsThereAsync(CancellationToken cancel)
    {
        var group = new IPEndPoint(new IPAddress([224, 0, 0, 251]), FreePort());
        try
        {
            using var receiver = new UdpClient(new IPEndPoint(IPAddress.Any, group.Port));
            using var sender = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
            receiver.JoinMulticastGroup(group.Address, IPAddress.Loopback);
            sender.Client.SetSocketOption(SocketOptionLevel.IP, SocketOptionName.MulticastInterface, IPAddress.Loopback.GetAddressBytes());
            await sender.SendAsync(new byte[] { 1 }, group, cancel);
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            patience.CancelAfter(TimeSpan.FromSeconds(2));
            _ = await receiver.ReceiveAsync(patience.Token);
            return true;
        }
        catch (Exception failure) when (failure is SocketException || (failure is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            return false;
        }
    }
}
