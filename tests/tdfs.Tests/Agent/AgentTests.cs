using System.Net.Sockets;
using TokTok.Storage.Tdfs.Agent;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Tests.Agent;

public sealed class AgentMessageTests
{
    private static readonly byte[] s_id = [.. Enumerable.Repeat((byte)0x11, 32)];
    private static readonly byte[] s_key = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];

    [Fact]
    public void The_example_of_the_protocol_page_is_what_is_written()
    {
        byte[] request = new byte[AgentMessage.RequestBytes];
        AgentMessage.WriteRequest(request, AgentOperation.Get, s_id, [], 0);
        Assert.Equal("5444464101020000" + new string('1', 64) + new string('0', 80), Convert.ToHexString(request));
        byte[] answer = new byte[AgentMessage.AnswerBytes];
        AgentMessage.WriteAnswer(answer, AgentResult.NotHeld, 0, 0);
        Assert.Equal("5444464101010000" + new string('0', 80), Convert.ToHexString(answer));
    }

    [Fact]
    public void A_put_is_read_as_it_was_written()
    {
        byte[] request = new byte[AgentMessage.RequestBytes];
        AgentMessage.WriteRequest(request, AgentOperation.Put, s_id, s_key, 900);
        Assert.True(AgentMessage.TryReadRequest(request, out AgentOperation operation, out ReadOnlySpan<byte> id, out ReadOnlySpan<byte> key, out uint seconds));
        Assert.Equal(AgentOperation.Put, operation);
        Assert.Equal(s_id, id.ToArray());
        Assert.Equal(s_key, key.ToArray());
        Assert.Equal(900u, seconds);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(75)]
    [InlineData(76)]
    [InlineData(79)]
    public void A_request_with_another_head_operation_or_reserved_byte_is_refused(int offset)
    {
        byte[] request = new byte[AgentMessage.RequestBytes];
        AgentMessage.WriteRequest(request, AgentOperation.Put, s_id, s_key, 900);
        request[offset] ^= 0x80;
        Assert.False(AgentMessage.TryReadRequest(request, out _, out _, out _, out _));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(604801)]
    public void A_time_beyond_its_limits_is_refused(uint seconds)
    {
        byte[] request = new byte[AgentMessage.RequestBytes];
        AgentMessage.WriteRequest(request, AgentOperation.Put, s_id, s_key, seconds);
        Assert.False(AgentMessage.TryReadRequest(request, out _, out _, out _, out _));
    }
}

public sealed class AgentKeysTests
{
    private static readonly byte[] s_key = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];
    private readonly TwoClocks _clock = new();

    private static byte[] Id(int n) => [.. Enumerable.Repeat((byte)0x11, 28), .. BitConverter.GetBytes(n)];

    [Fact]
    public void A_key_is_held_for_its_time_and_no_longer()
    {
        using AgentKeys keys = new(_clock);
        byte[] got = new byte[32];
        Assert.True(keys.TryPut(Id(1), s_key, TimeSpan.FromSeconds(10)));
        _clock.Advance(TimeSpan.FromSeconds(9));
        Assert.True(keys.TryGet(Id(1), got, out TimeSpan left));
        Assert.Equal(s_key, got);
        Assert.Equal(TimeSpan.FromSeconds(1), left);
        _clock.Advance(TimeSpan.FromSeconds(1));
        Assert.False(keys.TryGet(Id(1), got, out _));
        Assert.Equal(0, keys.Status().Count);
    }

    [Fact]
    public void A_machine_that_slept_wakes_up_locked()
    {
        using AgentKeys keys = new(_clock);
        keys.TryPut(Id(1), s_key, TimeSpan.FromMinutes(15));
        _clock.Wall += TimeSpan.FromHours(1);
        Assert.False(keys.TryGet(Id(1), new byte[32], out _));
    }

    [Fact]
    public void A_clock_set_back_prolongs_nothing()
    {
        using AgentKeys keys = new(_clock);
        keys.TryPut(Id(1), s_key, TimeSpan.FromMinutes(15));
        _clock.Advance(TimeSpan.FromMinutes(15));
        _clock.Wall -= TimeSpan.FromHours(1);
        Assert.False(keys.TryGet(Id(1), new byte[32], out _));
    }

    [Fact]
    public void Keys_are_kept_apart_replaced_and_dropped_by_their_keyring()
    {
        using AgentKeys keys = new(_clock);
        byte[] other = [.. s_key.Reverse()];
        byte[] got = new byte[32];
        keys.TryPut(Id(1), s_key, TimeSpan.FromMinutes(1));
        keys.TryPut(Id(2), s_key, TimeSpan.FromMinutes(1));
        keys.TryPut(Id(2), other, TimeSpan.FromMinutes(2));
        Assert.Equal((2, TimeSpan.FromMinutes(2)), keys.Status());
        Assert.True(keys.TryGet(Id(2), got, out _));
        Assert.Equal(other, got);
        Assert.True(keys.Drop(Id(2)));
        Assert.False(keys.Drop(Id(2)));
        Assert.True(keys.TryGet(Id(1), got, out _));
        Assert.True(keys.Drop(new byte[32]));
        Assert.Equal(0, keys.Status().Count);
    }

    [Fact]
    public void A_sixty_fifth_keyring_is_refused()
    {
        using AgentKeys keys = new(_clock);
        for (int i = 1; i <= AgentKeys.MaxCount; i++)
        {
            Assert.True(keys.TryPut(Id(i), s_key, TimeSpan.FromMinutes(1)));
        }

        Assert.False(keys.TryPut(Id(65), s_key, TimeSpan.FromMinutes(1)));
        Assert.True(keys.TryPut(Id(64), s_key, TimeSpan.FromMinutes(1)));
    }
}

public sealed class AgentSocketTests : IDisposable
{
    private static readonly byte[] s_id = [.. Enumerable.Repeat((byte)0x11, 32)];
    private static readonly byte[] s_key = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];
    private readonly string _folder = Directory.CreateTempSubdirectory("tdfs-agent-").FullName;
    private readonly TwoClocks _clock = new();

    private string SocketPath => Path.Join(_folder, "sub", "agent.sock");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_key_given_over_the_socket_comes_back_until_it_is_locked()
    {
        using AgentServer server = AgentServer.TryListen(SocketPath, _clock)!;
        Task running = Task.Run(() => server.RunAsync(TestContext.Current.CancellationToken));
        AgentClient client = new(SocketPath);
        Assert.Null(client.TryGet(s_id));
        Assert.True(client.TryPut(s_id, s_key, TimeSpan.FromMinutes(15)));
        using (SecretBuffer got = client.TryGet(s_id)!)
        {
            Assert.Equal(s_key, got.Bytes.ToArray());
        }

        Assert.Equal((1, TimeSpan.FromMinutes(15)), client.TryStatus());
        Assert.True(client.TryLock([]));
        Assert.False(client.TryLock([]));
        Assert.Null(client.TryGet(s_id));
        Assert.True(client.TryStop());
        await running;
        Assert.False(File.Exists(SocketPath));
        Assert.Null(client.TryStatus());
    }

    [Fact]
    public async Task A_key_is_gone_when_its_time_is_over()
    {
        using AgentServer server = AgentServer.TryListen(SocketPath, _clock)!;
        Task running = Task.Run(() => server.RunAsync(TestContext.Current.CancellationToken));
        AgentClient client = new(SocketPath);
        Assert.True(client.TryPut(s_id, s_key, TimeSpan.FromMinutes(15)));
        _clock.Advance(TimeSpan.FromMinutes(15));
        Assert.Null(client.TryGet(s_id));
        Assert.True(client.TryStop());
        await running;
    }

    [Fact]
    public async Task The_folder_of_the_socket_is_the_users_alone()
    {
        using AgentServer server = AgentServer.TryListen(SocketPath, _clock)!;
        Task running = Task.Run(() => server.RunAsync(TestContext.Current.CancellationToken));
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
            File.GetUnixFileMode(Path.GetDirectoryName(SocketPath)!));
        new AgentClient(SocketPath).TryStop();
        await running;
    }

    [Fact]
    public async Task A_second_agent_does_not_take_the_socket_of_the_first()
    {
        using AgentServer server = AgentServer.TryListen(SocketPath, _clock)!;
        Task running = Task.Run(() => server.RunAsync(TestContext.Current.CancellationToken));
        Assert.Null(AgentServer.TryListen(SocketPath, _clock));
        Assert.True(new AgentClient(SocketPath).TryStop());
        await running;
    }

    [Fact]
    public async Task A_socket_left_by_a_killed_agent_is_taken_over()
    {
        // A name nobody listens at, as a kill leaves it.
        Directory.CreateDirectory(Path.GetDirectoryName(SocketPath)!);
        File.WriteAllText(SocketPath, "");
        using AgentServer server = AgentServer.TryListen(SocketPath, _clock)!;
        Task running = Task.Run(() => server.RunAsync(TestContext.Current.CancellationToken));
        Assert.True(new AgentClient(SocketPath).TryStop());
        await running;
    }

    [Fact]
    public async Task Noise_is_refused_and_the_next_request_is_served()
    {
        using AgentServer server = AgentServer.TryListen(SocketPath, _clock)!;
        Task running = Task.Run(() => server.RunAsync(TestContext.Current.CancellationToken));
        using (Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            socket.Connect(new UnixDomainSocketEndPoint(SocketPath));
            byte[] noise = new byte[AgentMessage.RequestBytes];
            new Random(7).NextBytes(noise);
            socket.Send(noise);
            byte[] answer = new byte[AgentMessage.AnswerBytes];
            Assert.Equal(answer.Length, socket.Receive(answer));
            Assert.True(AgentMessage.TryReadAnswer(answer, out AgentResult result, out _, out _));
            Assert.Equal(AgentResult.Refused, result);
        }

        using (Socket cutOff = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            cutOff.Connect(new UnixDomainSocketEndPoint(SocketPath));
            cutOff.Send(new byte[10]);
        }

        Assert.True(new AgentClient(SocketPath).TryPut(s_id, s_key, TimeSpan.FromMinutes(1)));
        Assert.True(new AgentClient(SocketPath).TryStop());
        await running;
    }

    [Fact]
    public void Without_an_agent_the_client_says_so_at_once()
    {
        AgentClient client = new(Path.Join(_folder, "none.sock"));
        Assert.Null(client.TryGet(s_id));
        Assert.Null(client.TryStatus());
        Assert.Null(client.TryLock([]));
        Assert.False(client.TryPut(s_id, s_key, TimeSpan.FromMinutes(1)));
        Assert.Null(new AgentClient("/" + new string('x', 200)).TryStatus());
    }
}

/// <summary>A clock whose monotonic and wall time can be moved together or apart. Its timers never fire by themselves.</summary>
internal sealed class TwoClocks : TimeProvider
{
    private long _ticks;

    public DateTimeOffset Wall { get; set; } = new(2026, 11, 21, 4, 30, 0, TimeSpan.Zero);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Read(ref _ticks);

    public override DateTimeOffset GetUtcNow() => Wall;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) => new StillTimer();

    public void Advance(TimeSpan by)
    {
        Interlocked.Add(ref _ticks, by.Ticks);
        Wall += by;
    }

    private sealed class StillTimer : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period) => true;

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
