using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>A machine that keeps fragments for others: a store of its own, and `tdfs node` as a process on loopback.</summary>
internal sealed class PeerMachine : IAsyncDisposable
{
    private Process? _node;

    private PeerMachine(DrillStore store, int port) => (Store, Port) = (store, port);

    internal DrillStore Store { get; }

    internal int Port { get; }

    internal string Kept => Path.Join(Store.Folder, "kept");

    /// <param name="settings">Further lines of [node].</param>
    /// <param name="isHidden">Nobody can dial it: the address that it tells others is one where nothing listens.</param>
    internal static async Task<PeerMachine> StartAsync(bool isHidden = false, string settings = "")
    {
        int port = FreePort();
        string node = string.Create(CultureInfo.InvariantCulture, $"[node]\nlisten = \"127.0.0.1:{port}\"\n{(isHidden ? "address = [\"127.0.0.1:1\"]\n" : "")}folder = \"kept\"\nfloor = \"0\"\nquota = \"1 GiB\"\n{settings}[keys]\nunlock-for = \"0s\"\n");
        var machine = new PeerMachine(await new DrillStore(1, node).InitAsync(), port);
        await machine.ServeAsync();
        return machine;
    }

    internal async Task ServeAsync()
    {
        _node = Store.Start(["node"]);
        string? line = await _node.StandardError.ReadLineAsync(DrillStore.Cancel);
        Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"peers can dial 127.0.0.1:{Port}; Ctrl-C ends it"), line);
    }

    /// <summary>Lets another machine in, as its owner would: a code from here, taken up there.</summary>
    internal async Task MeetAsync(DrillStore other, string name)
    {
        string code = (await Store.RunAsync("peer", "invite", "-q")).Expect(0).Text.Trim();
        (await other.RunAsync("peer", "accept", code, "--name", name)).Expect(0);
    }

    internal async Task KillAsync()
    {
        _node!.Kill();
        await _node.WaitForExitAsync(CancellationToken.None);
        _node.Dispose();
        _node = null;
    }

    public async ValueTask DisposeAsync()
    {
        if (_node is not null)
        {
            await KillAsync();
        }

        Store.Dispose();
    }

    internal static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
