using TokTok.Storage.Core;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Transport;

/// <summary>Keeps lines open to every peer that can be dialled, so that it, and whoever it puts through, can reach this node behind any router.</summary>
/// <remarks>Format: docs/protocol.md 3.9. Two lines wait at each; one that was taken is replaced at once. A peer that does not answer is dialled again after two seconds, and then half as often each time, at least every five minutes.</remarks>
public sealed class LineKeeper(PeerBook book, Func<Peer, PeerConnection> dial, PeerServer server, TimeProvider clock)
{
    private const int Spare = 2;
    private const int MostUsed = 16;

    private static readonly TimeSpan s_least = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_most = TimeSpan.FromMinutes(5);

    /// <summary>Runs until it is cancelled, and takes up whom the peer list gains.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        var kept = new Dictionary<Bytes32, (Peer Peer, CancellationTokenSource End, Task Done)>();
        using var timer = new PeriodicTimer(PeerBook.Turn, clock);
        try
        {
            do
            {
                long now = book.NowSeconds;
                Peer[] wanted = [.. book.List.Peers.Where(peer => !peer.IsRevoked && !peer.HasEnded(now) && peer.Addresses.Count > 0)];
                foreach ((Bytes32 device, (Peer Peer, CancellationTokenSource End, Task Done) each) in kept.ToArray())
                {
                    if (!Array.Exists(wanted, peer => peer.DeviceKey == device && peer.Addresses.SequenceEqual(each.Peer.Addresses)))
                    {
                        kept.Remove(device);
                        await EndAsync(each.End, each.Done).ConfigureAwait(false);
                    }
                }

                foreach (Peer peer in wanted.Where(peer => !kept.ContainsKey(peer.DeviceKey)))
                {
                    var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                    kept[peer.DeviceKey] = (peer, end, KeepAsync(peer, end.Token));
                }
            }
            while (await timer.WaitForNextTickAsync(cancel).ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
        }
        finally
        {
            foreach ((Peer _, CancellationTokenSource end, Task done) in kept.Values)
            {
                await EndAsync(end, done).ConfigureAwait(false);
            }
        }
    }

    private static async Task EndAsync(CancellationTokenSource end, Task done)
    {
        await end.CancelAsync().ConfigureAwait(false);
        await done.ConfigureAwait(false);
        end.Dispose();
    }

    private async Task ServeAsync(Stream line, SemaphoreSlim used)
    {
        try
        {
            await server.Accept(line).ConfigureAwait(false);
            used.Release();
        }
        catch (ObjectDisposedException)
        {
            await line.DisposeAsync().ConfigureAwait(false); // the server ends, or nobody counts any more
        }
    }

    private async Task KeepAsync(Peer peer, CancellationToken cancel)
    {
        using PeerConnection connection = dial(peer);
        using var used = new SemaphoreSlim(MostUsed); // a connection that outlives this finds it gone
        await Task.WhenAll(Enumerable.Range(0, Spare).Select(_ => KeepOneAsync(connection, used, cancel))).ConfigureAwait(false);
    }

    private async Task KeepOneAsync(PeerConnection connection, SemaphoreSlim used, CancellationToken cancel)
    {
        TimeSpan pause = s_least;
        while (!cancel.IsCancellationRequested)
        {
            Stream? line = null;
            try
            {
                line = await connection.OpenLineAsync(Protocol.Operation.Wait, default, cancel).ConfigureAwait(false);
                pause = s_least;
                if (await line.ReadAsync(new byte[1], cancel).ConfigureAwait(false) == 1)
                {
                    await used.WaitAsync(cancel).ConfigureAwait(false);
                    _ = ServeAsync(line, used);
                    line = null; // the connection's, which ends it
                    continue;
                }
            }
            catch (Exception gone) when (gone is PeerException or IOException or OperationCanceledException or ObjectDisposedException)
            {
                // it is tried again, unless we end
            }
            finally
            {
                if (line is not null)
                {
                    await line.DisposeAsync().ConfigureAwait(false);
                }
            }

            try
            {
                await Task.Delay(pause, clock, cancel).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }

            pause = pause * 2 < s_most ? pause * 2 : s_most;
        }
    }
}
