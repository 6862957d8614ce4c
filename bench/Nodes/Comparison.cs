using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;

namespace Nodes;

/// <summary>One way to bring fragments to another process and back.</summary>
internal interface IRival : IAsyncDisposable
{
    string Name { get; }

    /// <summary>Its own processes, beside this one and those that it ran.</summary>
    IEnumerable<int> Servers { get; }

    Task PutAsync(int round);

    Task GetAsync(int round);
}

/// <summary>All of them in turn, round by round.</summary>
internal static class Comparison
{
    internal const int SliceBytes = 4 << 20; // an arena of 16 MiB over four places and their parity
    internal const int PutsAtOnce = 2; // uploads of one account under way at a node
    internal const int GetsAtOnce = 4; // requests of one account that use its disk
    private const int Audits = 4000;

    internal static async Task RunAsync(string folder, int mib, int rounds)
    {
        FragmentData[] fragments = [.. Enumerable.Range(0, mib * (1 << 20) / SliceBytes).Select(Fragment)];
        long bytes = (long)fragments.Length * SliceBytes;
        await using NodeRival node = await NodeRival.StartAsync(folder + "/node", fragments);
        await using FileRival files = await FileRival.StartAsync(folder + "/files", fragments);
        await using RsyncRival rsync = await RsyncRival.StartAsync(folder + "/rsync", fragments);
        IRival[] rivals = [node, files, rsync];
        var took = new Dictionary<(string Work, string Name), List<Sample>>();
        for (int round = 0; round <= rounds; round++)
        {
            foreach (IRival rival in rivals)
            {
                await MeasureAsync("put", rival, () => rival.PutAsync(round));
                await MeasureAsync("get", rival, () => rival.GetAsync(round));
            }

            async Task MeasureAsync(string work, IRival rival, Func<Task> does)
            {
                Sample sample = await SampleAsync(rival.Servers, does);
                if (round > 0) // the first one compiles
                {
                    if (!took.TryGetValue((work, rival.Name), out List<Sample>? samples))
                    {
                        took[(work, rival.Name)] = samples = [];
                    }

                    samples.Add(sample);
                }
            }
        }

        Console.WriteLine($"| {fragments.Length} fragments of {SliceBytes >> 20} MiB, {rounds} rounds, medians | MB/s | processor, this side, ns a byte | that side | beside the node: time | processor |");
        Console.WriteLine("|---|--:|--:|--:|--:|--:|");
        foreach (string work in new[] { "put", "get" })
        {
            Sample ours = Median(took[(work, node.Name)]);
            foreach (IRival rival in rivals)
            {
                Sample its = Median(took[(work, rival.Name)]);
                Console.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"| {work}, {rival.Name} | {bytes / its.Wall.TotalSeconds / 1e6:0} | {its.Here.TotalNanoseconds / bytes:0.00} | {its.There.TotalNanoseconds / bytes:0.00} | {ours.Wall / its.Wall:0.00} | {(ours.Here + ours.There) / (its.Here + its.There):0.00} |"));
            }
        }

        Console.WriteLine();
        foreach (int atOnce in new[] { 1, 4 })
        {
            await node.AuditAsync(Audits / 10, atOnce);
            Sample audits = await SampleAsync(node.Servers, () => node.AuditAsync(Audits, atOnce));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"audits, {atOnce} at once: {Audits / audits.Wall.TotalSeconds:0} a second; a core asks and checks {Audits / audits.Here.TotalSeconds:0} a second, and answers {Audits / audits.There.TotalSeconds:0}"));
        }
    }

    internal static Task InTurnAsync(int count, int atOnce, Func<int, ValueTask> does) =>
        Parallel.ForAsync(0, count, new ParallelOptions { MaxDegreeOfParallelism = atOnce }, async (i, _) => await does(i));

    internal static async Task<(Process Process, string Said)> ServeAsync(params string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardInput = true, RedirectStandardOutput = true };
        Array.ForEach(arguments, start.ArgumentList.Add);
        Process process = Process.Start(start)!;
        return (process, await process.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException($"{arguments[0]} did not begin"));
    }

    private static FragmentData Fragment(int index)
    {
        byte[] bytes = new byte[SliceBytes];
        new Random(index).NextBytes(bytes);
        byte[] hashes = new byte[Blake3Tree.GroupCount(SliceBytes) * Blake3.HashSize];
        byte[] root = new byte[Blake3.HashSize];
        Blake3Tree.HashWithGroups(bytes, hashes, root);
        return new FragmentData(0, bytes, FragmentName.Read(root), hashes);
    }

    /// <summary>Wall time, and processor time of this process with what it has waited for, and of others.</summary>
    private readonly record struct Sample(TimeSpan Wall, TimeSpan Here, TimeSpan There);

    private static async Task<Sample> SampleAsync(IEnumerable<int> servers, Func<Task> does)
    {
        int[] there = [.. servers];
        TimeSpan here = ProcessorTime(Environment.ProcessId);
        TimeSpan others = TimeSpan.FromTicks(there.Sum(static id => ProcessorTime(id).Ticks));
        long began = Stopwatch.GetTimestamp();
        await does();
        TimeSpan wall = Stopwatch.GetElapsedTime(began);
        return new Sample(wall, ProcessorTime(Environment.ProcessId) - here, TimeSpan.FromTicks(there.Sum(static id => ProcessorTime(id).Ticks)) - others);
    }

    private static Sample Median(List<Sample> samples) => samples.OrderBy(static each => each.Wall).ElementAt(samples.Count / 2);

    private static TimeSpan ProcessorTime(int process)
    {
        string stat = File.ReadAllText($"/proc/{process}/stat");
        string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' '); // fields 14 to 17 of proc(5): utime, stime, cutime, cstime, in hundredths of a second
        return TimeSpan.FromMilliseconds(10 * fields[11..15].Sum(static field => long.Parse(field, CultureInfo.InvariantCulture)));
    }
}

/// <summary>A node: identity proven both ways, every fragment hashed and synced before the answer, every window checked against the fragment's name.</summary>
internal sealed class NodeRival(Process server, PeerConnection connection, PeerHolder holder, FragmentData[] fragments) : IRival
{
    private readonly byte[][] _read = [.. Enumerable.Range(0, Comparison.GetsAtOnce).Select(static _ => new byte[Comparison.SliceBytes])];
    private readonly Dictionary<ArenaId, FragmentName> _names = [];

    public string Name => "node";

    public IEnumerable<int> Servers => [server.Id];

    internal static async Task<NodeRival> StartAsync(string folder, FragmentData[] fragments)
    {
        var device = new Device("bench");
        (Process server, string said) = await Comparison.ServeAsync("serve-node", folder, device.AccountKey.ToString(), device.DeviceKey.ToString());
        string[] parts = said.Split(' ');
        var expected = new ExpectedIdentity { DeviceKey = Bytes32.Read(Convert.FromHexString(parts[1])) };
        var connection = new PeerConnection("node", [new NodeAddress("127.0.0.1", ushort.Parse(parts[0], CultureInfo.InvariantCulture))], expected, device.Tls, TimeProvider.System);
        PeerHolder holder = await PeerHolder.OpenAsync(connection, Console.Error.WriteLine, CancellationToken.None);
        return new NodeRival(server, connection, holder, fragments);
    }

    public async Task PutAsync(int round)
    {
        foreach (int i in Enumerable.Range(0, fragments.Length))
        {
            _names[Id(round, i)] = fragments[i].Name;
        }

        holder.Expected = (id, _) => _names.TryGetValue(id, out FragmentName name) ? new ExpectedFragment(name, Comparison.SliceBytes) : null;
        await Comparison.InTurnAsync(fragments.Length, Comparison.PutsAtOnce, i => holder.PutAsync(Id(round, i), 4, 3, Comparison.SliceBytes, [fragments[i]], CancellationToken.None));
    }

    public async Task GetAsync(int round)
    {
        var free = new System.Collections.Concurrent.ConcurrentBag<byte[]>(_read);
        await Comparison.InTurnAsync(fragments.Length, Comparison.GetsAtOnce, async i =>
        {
            _ = free.TryTake(out byte[]? target);
            if (await holder.ReadAsync(Id(round, i), 0, 0, target, CancellationToken.None) != Comparison.SliceBytes || (round == 0 && !target.AsSpan().SequenceEqual(fragments[i].Bytes.Span)))
            {
                throw new InvalidDataException($"fragment {i} came back otherwise");
            }

            free.Add(target!);
        });
    }

    internal Task AuditAsync(int count, int atOnce) => Comparison.InTurnAsync(
        count,
        atOnce,
        async i =>
        {
            int at = i % fragments.Length;
            AuditOutcome outcome = await holder.AuditAsync(Id(1, at), 0, new ExpectedFragment(fragments[at].Name, Comparison.SliceBytes), SystemRandom.Instance, CancellationToken.None);
            if (outcome != AuditOutcome.Proven)
            {
                throw new InvalidDataException($"an audit of fragment {at}: {outcome}");
            }
        });

    public async ValueTask DisposeAsync()
    {
        holder.Dispose();
        connection.Dispose();
        server.StandardInput.Close();
        await server.WaitForExitAsync();
        server.Dispose();
    }

    private static ArenaId Id(int round, int index)
    {
        byte[] id = new byte[ArenaId.Size];
        BitConverter.TryWriteBytes(id, round + 1);
        BitConverter.TryWriteBytes(id.AsSpan(4), index);
        return ArenaId.Read(id);
    }
}

/// <summary>The same bytes by PUT and GET to <see cref="FileServer"/>.</summary>
internal sealed class FileRival(Process server, HttpClient client, FragmentData[] fragments) : IRival
{
    public string Name => "Kestrel, TLS";

    public IEnumerable<int> Servers => [server.Id];

    internal static async Task<FileRival> StartAsync(string folder, FragmentData[] fragments)
    {
        (Process server, string said) = await Comparison.ServeAsync("serve-files", folder);
        var handler = new SocketsHttpHandler { InitialHttp2StreamWindowSize = 1 << 20 };
#pragma warning disable CA5359 // loopback, for its speed alone
        handler.SslOptions.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
#pragma warning restore CA5359
        var client = new HttpClient(handler) { BaseAddress = new Uri($"https://127.0.0.1:{said}/"), DefaultRequestVersion = HttpVersion.Version20, DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact };
        return new FileRival(server, client, fragments);
    }

    public Task PutAsync(int round) => Comparison.InTurnAsync(fragments.Length, Comparison.PutsAtOnce, async i =>
    {
        using HttpResponseMessage answer = await client.PutAsync(new Uri($"{round}-{i}", UriKind.Relative), new ReadOnlyMemoryContent(fragments[i].Bytes));
        answer.EnsureSuccessStatusCode();
    });

    public Task GetAsync(int round) => Comparison.InTurnAsync(fragments.Length, Comparison.GetsAtOnce, async i =>
    {
        using HttpResponseMessage answer = await client.GetAsync(new Uri($"{round}-{i}", UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);
        await using Stream body = await answer.EnsureSuccessStatusCode().Content.ReadAsStreamAsync();
        byte[] piece = new byte[1 << 20];
        long came = 0;
        for (int read; (read = await body.ReadAsync(piece)) > 0;)
        {
            came += read;
        }

        if (came != Comparison.SliceBytes)
        {
            throw new InvalidDataException($"file {i}: {came} bytes came");
        }
    });

    public async ValueTask DisposeAsync()
    {
        client.Dispose();
        server.StandardInput.Close();
        await server.WaitForExitAsync();
        server.Dispose();
    }
}

/// <summary>The same bytes as files, by rsync to a daemon of its own, unencrypted; each is synced as it is written.</summary>
internal sealed class RsyncRival(Process daemon, string folder, int port) : IRival
{
    public string Name => "rsync, no TLS";

    public IEnumerable<int> Servers => [daemon.Id];

    internal static async Task<RsyncRival> StartAsync(string folder, FragmentData[] fragments)
    {
        foreach (string each in new[] { "source", "there", "back" })
        {
            Directory.CreateDirectory($"{folder}/{each}");
        }

        for (int i = 0; i < fragments.Length; i++)
        {
            await File.WriteAllBytesAsync($"{folder}/source/{i}", fragments[i].Bytes);
        }

        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        int port = ((IPEndPoint)probe.LocalEndpoint).Port;
        probe.Stop();
        await File.WriteAllTextAsync($"{folder}/conf", $"address = 127.0.0.1\nport = {port}\nuse chroot = false\nlog file = {folder}/log\n[there]\npath = {folder}/there\nread only = false\nuid = {Environment.UserName}\ngid = {Environment.UserName}\n");
        Process daemon = Process.Start("rsync", ["--daemon", "--no-detach", $"--config={folder}/conf"]);
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                using var reached = new TcpClient();
                await reached.ConnectAsync(IPAddress.Loopback, port);
                break;
            }
            catch (SocketException) when (attempt < 100)
            {
                await Task.Delay(50);
            }
        }

        return new RsyncRival(daemon, folder, port);
    }

    public Task PutAsync(int round) => RsyncAsync("--fsync", $"{folder}/source/", $"rsync://127.0.0.1:{port}/there/{round}/");

    public async Task GetAsync(int round)
    {
        await RsyncAsync($"rsync://127.0.0.1:{port}/there/{round}/", $"{folder}/back/{round}/");
        Directory.Delete($"{folder}/back/{round}", recursive: true);
    }

    public async ValueTask DisposeAsync()
    {
        daemon.Kill();
        await daemon.WaitForExitAsync();
        daemon.Dispose();
    }

    private static async Task RsyncAsync(params string[] arguments)
    {
        using Process client = Process.Start("rsync", ["-r", "--whole-file", .. arguments]);
        await client.WaitForExitAsync();
        if (client.ExitCode != 0)
        {
            throw new InvalidOperationException($"rsync ended with {client.ExitCode}");
        }
    }
}
