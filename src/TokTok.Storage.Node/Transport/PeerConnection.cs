using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Transport;

/// <summary>Whom a dialler expects: any of these that is given must match. None: whoever has a device's identity, who is then only as good as what it hands out.</summary>
public sealed record ExpectedIdentity
{
    public Bytes32? DeviceKey { get; init; }

    /// <summary>Another device of the same account will do.</summary>
    public Bytes32? AccountKey { get; init; }

    public ReadOnlyMemory<byte>? Fingerprint { get; init; }

    internal bool Fits(NodeIdentity shown) =>
        (Fingerprint is not { } fingerprint || NodeIdentity.FingerprintOf(shown.DeviceKey).AsSpan().SequenceEqual(fingerprint.Span))
        && (DeviceKey is not { } device || Bytes32.Read(shown.DeviceKey) == device || (AccountKey is { } account && account != default && Bytes32.Read(shown.AccountKey) == account));
}

/// <summary>The dialling side: requests to one peer, over as few connections as do.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.1, 3.2. A request whose connection broke is sent again, twice; each may be repeated. A peer that did not answer is left alone for ten seconds, or for four times as long as it made us
/// wait: what is asked of it meanwhile fails at once, so that one dead peer costs a run seconds and not minutes. Answers are bounded in length and in time. Relays are its own, and disposed of with it.
/// Who can have the same elsewhere waits for a few times as long as an answer takes, and then takes the request back: the peer is slow from there on, for ten seconds, and for twice as long each time it is
/// found so again, until it answers.
/// Once much was moved, what is long goes over connections of its own, one request at a time on each: HTTP/1.1 costs a third less than frames do (bench/Nodes). Where that fails it goes the other way, and does so for a while.
/// Locks: _gate guards _silent, _slow, _pace and _bulkFailed; nothing waits inside.
/// </remarks>
public sealed class PeerConnection : IDisposable
{
    private const int SilenceShare = 4; // of the time that it made us wait

    private static readonly TimeSpan s_dialTime = TimeSpan.FromSeconds(4); // until a machine that is there takes the connection, however busy it is
    private static readonly TimeSpan s_connectTime = TimeSpan.FromSeconds(12); // with the handshakes, two where there is a relay between
    private static readonly TimeSpan s_headStart = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan s_answerTime = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_silence = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_silenceMost = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan s_slowAfter = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_slowFirst = TimeSpan.FromSeconds(10);
    private const int PatienceFactor = 4; // times as long as a window takes, beside s_slowAfter
    private const int PaceShare = 8; // of what is known, that an answer changes

    private const int BulkBytes = 256 * 1024; // of a request or its answer: from there on its bytes are what it costs
    private const long BulkAfter = 16L * 1024 * 1024; // and a few connections more are worth their handshakes

    private static readonly TimeSpan s_bulkIdle = TimeSpan.FromSeconds(15); // nobody pings them
    private static readonly TimeSpan s_bulkFailure = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan s_busyTurn = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_busyTime = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan[] s_again = [TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(1)];

    // A window that grows with the connection's speed, to 16 MiB, would let a peer fill as much of our memory for each request; ours stays as the protocol says.
    static PeerConnection() => AppContext.SetSwitch("System.Net.SocketsHttpHandler.Http2FlowControl.DisableDynamicWindowSizing", true);

    private readonly Lock _gate = new();
    private readonly IReadOnlyList<NodeAddress> _addresses;
    private readonly ExpectedIdentity _expected;
    private readonly NodeCertificate _own;
    private readonly TimeProvider _clock;
    private readonly IReadOnlyList<PeerConnection> _relays;
    private readonly Func<CancellationToken, Task<NodeAddress?>>? _finds;
    private readonly HttpClient _http;
    private readonly HttpClient _bulk; // over connections of HTTP/1.1
    private readonly RateLimit _send;
    private readonly RateLimit _receive;
    private long _sent;
    private long _came;
    private volatile NodeIdentity? _identity;
    private volatile NodeIdentity? _stranger;
    private volatile string? _holder;
    private volatile bool _isReplaced;
    private volatile bool _isRelayed;
    private long _moved;
    private long? _bulkFailed;
    private (long At, TimeSpan For, string Why)? _silent;
    private (long At, TimeSpan For)? _slow;
    private TimeSpan _pace = TimeSpan.FromMilliseconds(250); // that a window of 64 KiB takes, all that waits with it included

    /// <param name="finds">Looks for it on the machine's own network, where its addresses do not answer at once; null: nobody does.</param>
    public PeerConnection(
        string name, IReadOnlyList<NodeAddress> addresses, ExpectedIdentity expected, NodeCertificate own, TimeProvider clock, long sendRate = 0, long receiveRate = 0, IReadOnlyList<PeerConnection>? relays = null,
        Func<CancellationToken, Task<NodeAddress?>>? finds = null, INetwork? network = null)
    {
        ArgumentNullException.ThrowIfNull(addresses);
        Name = name;
        _addresses = addresses;
        _expected = expected;
        _own = own;
        _clock = clock;
        _relays = relays ?? [];
        _finds = finds;
        _send = new RateLimit(sendRate, clock);
        _receive = new RateLimit(receiveRate, clock);
        _http = Client(network?.Reach(addresses, own, Meets) ?? Handler(isBulk: false, TimeSpan.FromMinutes(4)));
        _bulk = network is null ? Client(Handler(isBulk: true, s_bulkIdle)) : _http;

        static HttpClient Client(HttpMessageHandler handler) => new(handler, disposeHandler: true) { BaseAddress = new Uri("https://peer" + Protocol.Path), Timeout = Timeout.InfiniteTimeSpan };
    }

    /// <summary>A grant by which requests here are for another account (docs/protocol.md 3.12); null: for our own.</summary>
    public Repair.RepairPass? Pass { get; init; }

    /// <summary>What people call it.</summary>
    public string Name { get; }

    /// <summary>Bytes that were sent to it and came from it since this was asked last.</summary>
    public (long Sent, long Came) TakeMoved() => (Interlocked.Exchange(ref _sent, 0), Interlocked.Exchange(ref _came, 0));

    /// <summary>Who answered last; null: nobody yet.</summary>
    public NodeIdentity? Identity => _identity;

    /// <summary>The holder that was met there is no more: another lies there now, and nothing that is meant for the first is answered. Whoever dials anew meets the other.</summary>
    public bool IsReplaced => _isReplaced;

    internal TimeProvider Clock => _clock;

    /// <summary>"bob (192.0.2.7:4919)".</summary>
    public string Where => $"{Name} ({string.Join(", ", _addresses)})";

    /// <summary>From here on every request is meant for this holder, and is refused where the peer has another.</summary>
    internal void Mean(HolderId holder) => _holder = holder.ToString();

    /// <summary>Asks, and gives back the whole answer.</summary>
    /// <exception cref="PeerException">There is none.</exception>
    public ValueTask<byte[]> AskAsync(string operation, ReadOnlyMemory<byte> request, int maxAnswerBytes, CancellationToken cancel) => AskAsync(operation, request, default, maxAnswerBytes, cancel);

    internal async ValueTask<byte[]> AskAsync(string operation, ReadOnlyMemory<byte> head, ReadOnlyMemory<byte> body, int maxAnswerBytes, CancellationToken cancel, bool mayRepeat = true)
    {
        byte[] all = [];
        await AnsweredAsync(operation, head, body, maxAnswerBytes, async answer => all = await answer.AllAsync().ConfigureAwait(false) ?? throw TooLong(operation, maxAnswerBytes), mayRepeat, cancel)
            .ConfigureAwait(false);
        return all;
    }

    /// <summary>Asks, and hands over the answer as it comes: from its beginning once more where the request is sent again.</summary>
    /// <exception cref="PeerException">There is none.</exception>
    /// <exception cref="DamagedFormatException">It is no such answer, as <paramref name="take"/> says, or ends early.</exception>
    internal ValueTask AskAsync(string operation, ReadOnlyMemory<byte> request, int maxAnswerBytes, Func<PeerAnswer, ValueTask> take, CancellationToken cancel) =>
        AnsweredAsync(operation, request, default, maxAnswerBytes, take, mayRepeat: true, cancel);

    private async ValueTask AnsweredAsync(
        string operation, ReadOnlyMemory<byte> head, ReadOnlyMemory<byte> body, int maxAnswerBytes, Func<PeerAnswer, ValueTask> take, bool mayRepeat, CancellationToken cancel)
    {
        ThrowIfSilent();
        head = Pass?.Head(operation, head) ?? head;
        long began = _clock.GetTimestamp();
        while (await AskAgainAsync(operation, head, body, maxAnswerBytes, take, mayRepeat, cancel).ConfigureAwait(false) is (int status, byte[] refusal))
        {
            if (status != Protocol.Status.TooMany || _clock.GetElapsedTime(began) > s_busyTime)
            {
                throw Refused(status, refusal);
            }

            await Task.Delay(s_busyTurn, _clock, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Whether the last request failed without an answer: the next ones fail at once, for a while.</summary>
    public bool IsSilent
    {
        get
        {
            lock (_gate)
            {
                return _silent is not null;
            }
        }
    }

    /// <summary>Whether somebody waited in vain for an answer, not long ago and with none since.</summary>
    public bool IsSlow
    {
        get
        {
            lock (_gate)
            {
                return _slow is (long at, TimeSpan time) && _clock.GetElapsedTime(at) < time;
            }
        }
    }

    /// <summary>How long an answer of so many bytes may take before they are looked for elsewhere.</summary>
    public TimeSpan Patience(int bytes)
    {
        lock (_gate)
        {
            TimeSpan usual = PatienceFactor * _pace * WindowsOf(bytes);
            return s_slowAfter + (usual < s_answerTime ? usual : s_answerTime);
        }
    }

    /// <summary>Lets the next request try at once: its sender knows how to go on with the last one, or was answered on another connection.</summary>
    public void Forgive()
    {
        lock (_gate)
        {
            _silent = null;
        }
    }

    public void Dispose()
    {
        _http.Dispose();
        _bulk.Dispose();
        foreach (PeerConnection relay in _relays)
        {
            relay.Dispose();
        }
    }

    /// <summary>Begins a request whose two bodies are a stream each way (docs/protocol.md 3.9).</summary>
    /// <exception cref="PeerException">It is not granted.</exception>
    internal async ValueTask<Stream> OpenLineAsync(string operation, ReadOnlyMemory<byte> head, CancellationToken cancel)
    {
        var content = new LineContent(head);
        var request = new HttpRequestMessage(HttpMethod.Post, operation) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact, Content = content };
        HttpResponseMessage? response = null;
        var life = new CancellationTokenSource(); // the caller's token ends the beginning alone: what ends the request ends the line
        try
        {
            using CancellationTokenRegistration asked = cancel.UnsafeRegister(static state => CancelQuietly((CancellationTokenSource)state!), life);
            using ITimer slow = _clock.CreateTimer(static state => CancelQuietly((CancellationTokenSource)state!), life, s_answerTime, Timeout.InfiniteTimeSpan);
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, life.Token).ConfigureAwait(false);
            Stream from = await response.Content.ReadAsStreamAsync(life.Token).ConfigureAwait(false);
            if ((int)response.StatusCode != Protocol.Status.Done)
            {
                byte[] refusal = new byte[Protocol.MaxRefusalBytes];
                int length = await from.ReadAtLeastAsync(refusal, refusal.Length, throwOnEndOfStream: false, life.Token).ConfigureAwait(false);
                throw Refused((int)response.StatusCode, refusal[..length]);
            }

            return new LineStream(response, from, content, life);
        }
        catch (Exception failure) when (failure is HttpRequestException or IOException or SocketException or AuthenticationException || (failure is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            Drop();
            throw Unreachable(Explain(failure));
        }
        catch
        {
            Drop();
            throw;
        }

        void Drop()
        {
            content.End();
            response?.Dispose();
            life.Dispose();
        }
    }

    /// <returns>Null: it was answered, and the answer taken.</returns>
    private async ValueTask<(int Status, byte[] Refusal)?> AskAgainAsync(
        string operation, ReadOnlyMemory<byte> head, ReadOnlyMemory<byte> body, int maxAnswerBytes, Func<PeerAnswer, ValueTask> take, bool mayRepeat, CancellationToken cancel)
    {
        long began = _clock.GetTimestamp();
        for (int attempt = 0; ; attempt++)
        {
            string why;
            bool hangs;
            bool isBulk = false;
            long asked = _clock.GetTimestamp();
            try
            {
                isBulk = attempt == 0 && IsBulk(body.Length + maxAnswerBytes);
                (int status, byte[] refusal, int length) = await AskOnceAsync(isBulk, operation, head, body, maxAnswerBytes, take, cancel).ConfigureAwait(false);
                NoteAnswered(body.IsEmpty ? _clock.GetElapsedTime(asked) : null, length);
                return status == Protocol.Status.Done ? null : (status, refusal);
            }
            catch (DamagedFormatException)
            {
                NoteAnswered(null, 0); // however badly
                throw;
            }
            catch (OperationCanceledException) when (cancel.IsCancellationRequested)
            {
                NoteTakenBack(asked, body.IsEmpty ? maxAnswerBytes : 0);
                throw;
            }
            catch (Exception failure) when (failure is HttpRequestException or IOException or SocketException or AuthenticationException || (failure is OperationCanceledException && !cancel.IsCancellationRequested))
            {
                (why, hangs) = (Explain(failure), IsHang(failure));
                if (!isBulk && _stranger is { } stranger)
                {
                    throw new PeerException(PeerProblem.OtherIdentity, $"{Where}: found device {Short(stranger.DeviceKey)} there, expected another; it is not who it was when you met, or somebody is in between");
                }

                if (isBulk)
                {
                    // Perhaps it lets nobody have more connections, or knows none of this kind, or somebody else answers at one of its addresses by now.
                    _stranger = null;
                    lock (_gate)
                    {
                        _bulkFailed = _clock.GetTimestamp();
                    }
                }
            }

            // That another connection fails, or hangs, says nothing of the one over which everything can be asked.
            if (isBulk && !mayRepeat)
            {
                throw Unreachable(why);
            }

            // Who let us wait until our patience ended was asked for long enough: another try waits as long again.
            if ((hangs && !isBulk) || attempt == s_again.Length || !mayRepeat)
            {
                // What hangs is left alone for longer than what refuses at once: it takes a fifth of its asker's time at most.
                TimeSpan waited = SilenceShare * _clock.GetElapsedTime(began);
                lock (_gate)
                {
                    _silent = (_clock.GetTimestamp(), Max(s_silence, waited < s_silenceMost ? waited : s_silenceMost), why);
                }

                throw Unreachable(why);
            }

            await Task.Delay(s_again[attempt], _clock, cancel).ConfigureAwait(false);
        }
    }

    private async ValueTask<(int Status, byte[] Refusal, int Length)> AskOnceAsync(
        bool isBulk, string operation, ReadOnlyMemory<byte> head, ReadOnlyMemory<byte> body, int maxAnswerBytes, Func<PeerAnswer, ValueTask> take, CancellationToken cancel)
    {
        using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        long began = _clock.GetTimestamp();
        using ITimer slow = _clock.CreateTimer(_ => CancelQuietly(time), null, s_answerTime + TimeAt(head.Length + body.Length), Timeout.InfiniteTimeSpan);
        using var request = new HttpRequestMessage(HttpMethod.Post, operation)
        {
            Version = isBulk ? HttpVersion.Version11 : HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new PacedContent(head, body, _send),
        };
        if (_holder is { } meant)
        {
            request.Headers.Add(Protocol.HolderHeader, meant);
        }

        if (Pass is { } pass)
        {
            request.Headers.Add(Protocol.GrantHeader, pass.Text);
        }

        Interlocked.Add(ref _sent, head.Length + body.Length);
        using HttpResponseMessage response = await (isBulk ? _bulk : _http).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, time.Token).ConfigureAwait(false);
        int status = (int)response.StatusCode;
        int limit = status == Protocol.Status.Done ? maxAnswerBytes : Protocol.MaxRefusalBytes;
        long? promised = response.Content.Headers.ContentLength;
        if (promised > limit)
        {
            throw TooLong(operation, limit);
        }

        Stream stream = await response.Content.ReadAsStreamAsync(time.Token).ConfigureAwait(false);
        TimeSpan waited = _clock.GetElapsedTime(began);
        var answer = new PeerAnswer(
            stream, operation, promised, limit,
            filled => slow.Change(Max(TimeSpan.FromMilliseconds(1), waited + Protocol.SlowGrace + TimeAt(filled) - _clock.GetElapsedTime(began)), Timeout.InfiniteTimeSpan), // an endless slow answer is cut off, a long one at an honest rate is not
            part =>
            {
                Interlocked.Add(ref _came, part);
                return _receive.TakeAsync(part, cancel);
            },
            time.Token);
        byte[] refusal = [];
        if (status == Protocol.Status.Done)
        {
            await take(answer).ConfigureAwait(false);
            int whole = answer.Length;
            if (!await answer.IsOverAsync().ConfigureAwait(false))
            {
                throw TooLong(operation, whole);
            }
        }
        else
        {
            refusal = await answer.AllAsync().ConfigureAwait(false) ?? throw TooLong(operation, limit);
        }

        Interlocked.Add(ref _moved, body.Length + answer.Length);
        return (status, refusal, answer.Length);
    }

    /// <summary>Whether a request of so many bytes both ways goes over a connection of its own.</summary>
    private bool IsBulk(long bytes)
    {
        if (bytes < BulkBytes || _isRelayed || Interlocked.Read(ref _moved) < BulkAfter)
        {
            return false;
        }

        lock (_gate)
        {
            return _bulkFailed is not { } at || _clock.GetElapsedTime(at) > s_bulkFailure;
        }
    }

    private SocketsHttpHandler Handler(bool isBulk, TimeSpan idle) => new()
    {
        UseProxy = false,
        UseCookies = false,
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        EnableMultipleHttp2Connections = false,
        InitialHttp2StreamWindowSize = Protocol.StreamWindowBytes,
        PooledConnectionLifetime = Protocol.ConnectionTime,
        PooledConnectionIdleTimeout = idle,
        KeepAlivePingDelay = TimeSpan.FromSeconds(10),
        KeepAlivePingTimeout = TimeSpan.FromSeconds(20),
        MaxResponseHeadersLength = Protocol.MaxHeaderBytes / 1024,
        MaxConnectionsPerServer = Protocol.MaxBulkConnections,
        ConnectTimeout = s_connectTime,
        ConnectCallback = async (_, cancel) => new StrideStream(await ConnectAsync(isBulk ? [] : _relays, cancel).ConfigureAwait(false)),
        PlaintextStreamFilter = static (context, _) => ValueTask.FromResult<Stream>(new FlushedStream(context.PlaintextStream)),
        SslOptions = new SslClientAuthenticationOptions
        {
            TargetHost = "tdfs",
#pragma warning disable CA5398 // the protocol says 1.3 and nothing older; what comes later is another version of it
            EnabledSslProtocols = SslProtocols.Tls13,
#pragma warning restore CA5398
            AllowTlsResume = false,
            AllowRenegotiation = false,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            CertificateChainPolicy = new X509ChainPolicy { DisableCertificateDownloads = true, RevocationMode = X509RevocationMode.NoCheck, TrustMode = X509ChainTrustMode.CustomRootTrust },
            LocalCertificateSelectionCallback = (_, _, _, _, _) => _own.Current,
            RemoteCertificateValidationCallback = (_, shown, _, _) => Meets(NodeIdentity.TryRead(shown as X509Certificate2)),
        },
    };

    /// <summary>No authority and no date: the device's signature inside is what counts.</summary>
    private bool Meets(NodeIdentity? found)
    {
        bool fits = found is not null && _expected.Fits(found);
        _stranger = fits ? null : found;
        _identity = fits ? found : _identity;
        return fits;
    }

    /// <summary>The first address that takes the connection, or the first relay that puts through, if no address took it at once.</summary>
    /// <param name="relays">None for what is long: through them it goes over HTTP/2, with all else.</param>
    private async ValueTask<Stream> ConnectAsync(IReadOnlyList<PeerConnection> relays, CancellationToken cancel)
    {
        if (relays.Count == 0 && _finds is null)
        {
            return await DialAsync(_addresses, cancel).ConfigureAwait(false);
        }

        using var giveUp = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task<Stream> dialled = DialAsync(_addresses, giveUp.Token);
        await Task.WhenAny(dialled, Task.Delay(s_headStart, _clock, cancel)).ConfigureAwait(false);
        if (dialled.IsCompletedSuccessfully)
        {
            _isRelayed = false;
            return await dialled.ConfigureAwait(false);
        }

        // The first that comes through; where none does, what a relay says of it, or what its addresses did.
        Task<Stream>? relayed = relays.Count > 0 ? RelayedAsync(giveUp.Token) : null;
        List<Task<Stream>> ways = [dialled, .. relayed is null ? [] : (Task<Stream>[])[relayed], .. _finds is null ? [] : (Task<Stream>[])[FoundAsync(_finds, giveUp.Token)]];
        Task<Stream> first = relayed ?? dialled;
        var open = new List<Task<Stream>>(ways);
        while (open.Count > 0)
        {
            Task<Stream> done = await Task.WhenAny(open).ConfigureAwait(false);
            open.Remove(done);
            if (done.IsCompletedSuccessfully)
            {
                first = done;
                break;
            }
        }

        try
        {
            _isRelayed = first == relayed;
            return await first.ConfigureAwait(false);
        }
        finally
        {
            await giveUp.CancelAsync().ConfigureAwait(false);
            foreach (Task<Stream> other in ways.Where(way => way != first))
            {
                _ = other.ContinueWith(static late => (late.IsCompletedSuccessfully ? late.Result : null)?.Dispose(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            }
        }
    }

    private static async Task<Stream> FoundAsync(Func<CancellationToken, Task<NodeAddress?>> finds, CancellationToken cancel) =>
        await finds(cancel).ConfigureAwait(false) is { } address ? await DialAsync([address], cancel).ConfigureAwait(false) : throw new SocketException((int)SocketError.HostNotFound);

    private static async Task<Stream> DialAsync(IReadOnlyList<NodeAddress> addresses, CancellationToken cancel)
    {
        SocketException? last = null;
        foreach (NodeAddress address in addresses)
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                EndPoint end = address.Ip is { } ip ? new IPEndPoint(ip, address.Port) : new DnsEndPoint(address.Host, address.Port);
                using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                time.CancelAfter(s_dialTime);
                await socket.ConnectAsync(end, time.Token).ConfigureAwait(false);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                socket.Dispose();
                last = new SocketException((int)SocketError.TimedOut);
            }
            catch (SocketException failure)
            {
                socket.Dispose();
                last = failure;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        throw last ?? new SocketException((int)SocketError.AddressNotAvailable);
    }

    /// <summary>A relay is told whom we want by the beginning of a hash of its key, as an invitation says it too.</summary>
    private async Task<Stream> RelayedAsync(CancellationToken cancel)
    {
        ReadOnlyMemory<byte> device = _expected.Fingerprint ?? FingerprintOf(_expected.DeviceKey!.Value);
        PeerException? last = null;
        foreach (PeerConnection relay in _relays)
        {
            try
            {
                return await relay.OpenLineAsync(Protocol.Operation.Relay, device, cancel).ConfigureAwait(false);
            }
            catch (PeerException failure)
            {
                last = failure;
            }
        }

        throw last!;
    }

    private static byte[] FingerprintOf(Bytes32 device)
    {
        byte[] key = new byte[Bytes32.Size];
        device.Write(key);
        return NodeIdentity.FingerprintOf(key);
    }

    private void ThrowIfSilent()
    {
        lock (_gate)
        {
            if (_silent is (long at, TimeSpan silence, string why) && _clock.GetElapsedTime(at) < silence)
            {
                throw Unreachable(why);
            }
        }
    }

    private PeerException Unreachable(string why) => new(PeerProblem.Unreachable, $"{Where}: {why}");

    private PeerException TooLong(string operation, int limit) => new(PeerProblem.BadAnswer, $"{Where}: answers '{operation}' with more than {limit} bytes");

    private PeerException Refused(int status, byte[] body)
    {
        string text = Clean(body);
        _isReplaced |= status == Protocol.Status.OtherHolder;
        return status switch
        {
            Protocol.Status.NotLetIn => new(PeerProblem.NotLetIn, $"{Where}: it does not let this account in, or not this device of it: unknown, expired or revoked; ask its owner for a new invitation"),
            Protocol.Status.OtherHolder => new(PeerProblem.OtherHolder, $"{Where}: what it kept is gone, and another holder lies there since: its disk was lost or replaced"),
            Protocol.Status.OtherVersion => new(
                PeerProblem.OtherVersion, $"{Where}: it speaks version {(body.Length > 0 ? body[0] : 0)} of the protocol between nodes, this program version {Protocol.Version}; install the same release on both"),
            Protocol.Status.Gone when body.Length > 0 && body[0] == 2 => new(PeerProblem.Used, "the invitation was used already; ask for a new one"),
            Protocol.Status.Gone => new(PeerProblem.Expired, "the invitation has expired by the inviter's clock; ask for a new one, and if it was fresh let the inviter look at its clock"),
            Protocol.Status.Full => new(PeerProblem.Full, $"{Where}: {text}"),
            Protocol.Status.Damaged => new(PeerProblem.Damaged, $"{Where}: {text}"),
            _ => new(PeerProblem.Refused, $"{Where}: it refused ({status}): {text}"),
        };
    }

    private static string Explain(Exception failure)
    {
        for (Exception? at = failure; at is not null; at = at.InnerException)
        {
            switch (at)
            {
                case SocketException socket:
                    return socket.SocketErrorCode switch
                    {
                        SocketError.ConnectionRefused => "nothing listens there",
                        SocketError.HostNotFound or SocketError.NoData or SocketError.TryAgain => "no such host",
                        SocketError.NetworkUnreachable or SocketError.HostUnreachable => "there is no way to it",
                        SocketError.TimedOut => "it does not answer",
                        _ => socket.Message,
                    };
                case PeerException relay:
                    return $"it cannot be dialled, and nobody puts through to it ({relay.Message})";
                case AuthenticationException:
                    return "the handshake failed: it is no node, or one of another release";
                case OperationCanceledException or TimeoutException:
                    return "it does not answer in time";
            }
        }

        return "the connection broke";
    }

    /// <summary>Whether it was our patience that ended, and not the connection.</summary>
    private static bool IsHang(Exception failure)
    {
        for (Exception? at = failure; at is not null; at = at.InnerException)
        {
            if (at is OperationCanceledException or TimeoutException or SocketException { SocketErrorCode: SocketError.TimedOut })
            {
                return true;
            }
        }

        return false;
    }

    private static int WindowsOf(int bytes) => Math.Max(1, (int)(((long)bytes + Protocol.WindowBytes - 1) / Protocol.WindowBytes));

    private void LearnPaceLocked(TimeSpan took, int bytes) => _pace += ((took / WindowsOf(bytes)) - _pace) / PaceShare;

    /// <summary>It is there, and not slow; of what came to nothing but an answer, it is seen how long that took.</summary>
    private void NoteAnswered(TimeSpan? took, int bytes)
    {
        lock (_gate)
        {
            (_silent, _slow) = (null, null);
            if (took is { } time)
            {
                LearnPaceLocked(time, bytes);
            }
        }
    }

    /// <summary>A request was taken back: where that was no hurry of the caller's, the peer is slow. Those that were under way together count once.</summary>
    private void NoteTakenBack(long asked, int bytes)
    {
        TimeSpan after = _clock.GetElapsedTime(asked);
        if (after < s_slowAfter)
        {
            return;
        }

        lock (_gate)
        {
            LearnPaceLocked(after, bytes);
            TimeSpan time = s_slowFirst;
            if (_slow is (long at, TimeSpan before))
            {
                if (asked < at)
                {
                    return;
                }

                time = 2 * before;
            }

            _slow = (_clock.GetTimestamp(), time < s_silenceMost ? time : s_silenceMost);
        }
    }

    private static string Clean(byte[] text) => new([.. Encoding.UTF8.GetString(text).Select(static c => char.IsControl(c) ? '?' : c)]);

    private static string Short(ReadOnlySpan<byte> key) => Convert.ToHexStringLower(key[..8]);

    private static TimeSpan TimeAt(long bytes) => TimeSpan.FromSeconds((double)bytes / Protocol.MinBytesPerSecond);

    private static TimeSpan Max(TimeSpan one, TimeSpan other) => one > other ? one : other;

    private static void CancelQuietly(CancellationTokenSource time)
    {
        try
        {
            time.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // the answer was there at the same moment
        }
    }
}
