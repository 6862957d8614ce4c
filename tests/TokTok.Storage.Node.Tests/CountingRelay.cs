using System.Net;
using System.Net.Sockets;
using TokTok.Storage.Node.Peers;

namespace TokTok.Storage.Node.Tests;

/// <summary>Carries connections to a node, and counts what comes back from it: who dials by it has not received, and so not buffered, more.</summary>
internal sealed class CountingRelay : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _ends = new();
    private readonly Task _accepting;
    private long _came;

    internal CountingRelay(IPEndPoint node)
    {
        _listener.Start();
        _accepting = AcceptAsync(node);
    }

    internal NodeAddress Address => new(IPAddress.Loopback.ToString(), (ushort)((IPEndPoint)_listener.LocalEndpoint).Port);

    /// <summary>Connections that it carried, or hung up.</summary>
    internal int Connections { get; private set; }

    /// <summary>Those beyond are hung up at once, or carried elsewhere.</summary>
    internal int MaxConnections { get; set; } = int.MaxValue;

    internal IPEndPoint? Elsewhere { get; set; }

    internal long CameBytes => Interlocked.Read(ref _came);

    /// <summary>Takes no more connections; those that there are go on.</summary>
    internal void Close() => _listener.Stop();

    public async ValueTask DisposeAsync()
    {
        await _ends.CancelAsync();
        _listener.Stop();
        await _accepting;
        _ends.Dispose();
    }

    private async Task AcceptAsync(IPEndPoint node)
    {
        var carried = new List<Task>();
        try
        {
            while (true)
            {
                TcpClient here = await _listener.AcceptTcpClientAsync(_ends.Token);
                carried.Add(CarryAsync(here, ++Connections > MaxConnections ? Elsewhere : node));
            }
        }
        catch (Exception over) when (over is OperationCanceledException or SocketException or ObjectDisposedException or InvalidOperationException)
        {
        }

        await Task.WhenAll(carried);
    }

    private async Task CarryAsync(TcpClient here, IPEndPoint? to)
    {
        using (here)
        {
            if (to is null)
            {
                return;
            }

            using var there = new TcpClient();
            try
            {
                await there.ConnectAsync(to, _ends.Token);
                await Task.WhenAny(PumpAsync(here, there, false), PumpAsync(there, here, true));
            }
            catch (Exception gone) when (gone is IOException or SocketException or OperationCanceledException)
            {
            }
        }
    }

    private async Task PumpAsync(TcpClient from, TcpClient to, bool counts)
    {
        byte[] piece = new byte[16 * 1024];
        try
        {
            while (await from.GetStream().ReadAsync(piece, _ends.Token) is > 0 and int count)
            {
                await to.GetStream().WriteAsync(piece.AsMemory(0, count), _ends.Token);
                Interlocked.Add(ref _came, counts ? count : 0);
            }
        }
        catch (Exception gone) when (gone is IOException or SocketException or ObjectDisposedException or InvalidOperationException or OperationCanceledException)
        {
        }
    }
}
