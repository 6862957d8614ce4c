using System.Buffers;
using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Repair;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>Answers what peers ask of this node: first whether they are let in, then what.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.2, 3.3. Until an account was found in the peer book nothing touches the disk, and everybody who is not in it gets the same bytes by the same path.
/// Bounds: bodies by operation, requests of one account and of all that use the disk, rates of each peer both ways.
/// Locks: _gate guards _flows. Disk calls block, on threads of the pool, eight at most.
/// </remarks>
public sealed partial class HolderService(HolderHouse house, PeerBook book, JoinDesk desk, Bytes32 ownAccount, string program, IRandomSource random, TimeProvider clock, Action<string>? trouble) : IDisposable
{
    private const int PieceBytes = 64 * 1024;

    private readonly Uploads _uploads = new(random, clock);
    private readonly Lines _lines = new();
    private readonly SemaphoreSlim _disk = new(Protocol.MaxDiskRequests);
    private readonly Lock _gate = new();
    private readonly Dictionary<Bytes32, Flow> _flows = [];
    private volatile RevokedDevices _own = RevokedDevices.None;

    /// <summary>Where new devices of the node's own account come in; null: nowhere.</summary>
    public EnrolDesk? Enrols { get; init; }

    /// <summary>Where this device keeps what its own account says of revoked devices; null: nobody says.</summary>
    public RevocationFile? Own { get; init; }

    /// <summary>Where disk calls run.</summary>
    public TaskScheduler Disks { get; init; } = TaskScheduler.Default;

    /// <summary>Called when who is known may have changed.</summary>
    internal Action? Looked { get; set; }

    /// <summary>Whether somebody's account is one of a peer's, or our own, and has not revoked the device.</summary>
    public bool IsKnown(NodeIdentity who)
    {
        ArgumentNullException.ThrowIfNull(who);
        Bytes32 account = Bytes32.Read(who.AccountKey);
        return (account == ownAccount || book.IsKnown(account)) && !IsRevoked(account, who.DeviceNumber);
    }

    /// <summary>Lines that other nodes keep open to this one, and that nobody uses now.</summary>
    public int WaitingLines => _lines.Count;

    /// <summary>For each account that has asked for anything: what is kept for it now, and the bytes that it brought and took since this was asked last.</summary>
    public async ValueTask<IReadOnlyList<(Bytes32 Account, long KeptBytes, long BroughtBytes, long TakenBytes)>> TakeMovedAsync(CancellationToken cancel)
    {
        List<(Bytes32 Account, long Brought, long Taken)> moved;
        lock (_gate)
        {
            moved = [.. _flows.Select(static flow => (flow.Key, flow.Value.TakeBrought(), flow.Value.TakeTaken()))];
        }

        var all = new List<(Bytes32 Account, long KeptBytes, long BroughtBytes, long TakenBytes)>();
        foreach ((Bytes32 account, long brought, long taken) in moved)
        {
            HostedHolder holder = await house.OfAsync(account, cancel).ConfigureAwait(false);
            all.Add((account, holder.Room.FragmentBytes + holder.Room.ObjectBytes, brought, taken));
        }

        return all;
    }

    /// <summary>What a node does besides answering: reads the peer list again, and deletes what was released long ago.</summary>
    public async ValueTask TickAsync(CancellationToken cancel)
    {
        book.Refresh();
        Enrols?.Refresh();
        Refresh();
        try
        {
            await house.TickAsync(cancel).ConfigureAwait(false);
            PeerList list = book.List;
            await house.TickLeasesAsync(book.Terms(), account => list.Peers.First(peer => peer.AccountKey == account).Name, cancel).ConfigureAwait(false);
        }
        catch (DiskException failure)
        {
            trouble?.Invoke($"{failure.Message}; it is tried again tomorrow");
        }
    }

    /// <summary>Reads again which devices of our own account are revoked, and sends away who is not known any more.</summary>
    public void Refresh()
    {
        try
        {
            _own = RevokedDevices.None.With(Own?.Read().Select(static said => (said.Statement.Signer, said.Statement.Device)) ?? []);
        }
        catch (DiskException failure)
        {
            trouble?.Invoke($"{failure.Message}; the devices known as revoked before stay so");
        }

        Looked?.Invoke();
    }

    public void Dispose() => _disk.Dispose();

    internal static RefusalException NotLetIn() => new(Protocol.Status.NotLetIn, "not let in");

    internal async Task AnswerAsync(HttpContext http)
    {
        try
        {
            await AnswerOrThrowAsync(http).ConfigureAwait(false);
        }
        catch (RefusalException refusal)
        {
            await RefuseAsync(http, refusal).ConfigureAwait(false);
        }
        catch (DamagedFormatException damage)
        {
            trouble?.Invoke(damage.Message);
            await RefuseAsync(http, new RefusalException(Protocol.Status.Damaged, house.Clean(damage.Message))).ConfigureAwait(false);
        }
        catch (DiskException failure)
        {
            trouble?.Invoke(failure.Message);
            await RefuseAsync(http, failure.Failure == DiskFailure.Full
                ? new RefusalException(Protocol.Status.Full, "its disk is full")
                : new RefusalException(Protocol.Status.DiskFailed, $"its disk failed ({failure.Failure})")).ConfigureAwait(false);
        }
    }

    private async Task AnswerOrThrowAsync(HttpContext http)
    {
        string path = http.Request.Path.Value ?? "";
        if (http.Request.Method != HttpMethods.Post || !path.StartsWith(Protocol.Root, StringComparison.Ordinal) || http.Features.Get<NodeIdentity>() is not { } who)
        {
            throw new RefusalException(Protocol.Status.NoOperation, "no such operation");
        }

        if (!path.StartsWith(Protocol.Path, StringComparison.Ordinal))
        {
            throw new RefusalException(Protocol.Status.OtherVersion, "another version") { Reason = Protocol.Version };
        }

        string operation = path[Protocol.Path.Length..];
        if (operation == Protocol.Operation.Join)
        {
            await SendAsync(http, await JoinAsync(http, who).ConfigureAwait(false), null).ConfigureAwait(false);
            return;
        }

        if (operation == Protocol.Operation.Enrol)
        {
            await SendAsync(http, await EnrolAsync(http).ConfigureAwait(false), null).ConfigureAwait(false);
            return;
        }

        Bytes32 account = Bytes32.Read(who.AccountKey);
        if (operation is Protocol.Operation.Wait or Protocol.Operation.Relay)
        {
            await ConnectAsync(operation, http, who, account).ConfigureAwait(false);
            return;
        }

        RepairGrant? grant = GrantOf(http, who);
        account = grant?.Account ?? account;
        Peer peer = book.LetIn(account) ?? throw NotLetIn();
        if (operation == Protocol.Operation.Statements && grant is null)
        {
            await SendAsync(http, await TakeStatementsAsync(http, who, account, peer).ConfigureAwait(false), null).ConfigureAwait(false);
            return;
        }

        ThrowIfRevoked();
        Flow flow = FlowOf(account);
        flow.In.Set(peer.ReceiveRate);
        flow.Out.Set(peer.SendRate);
        await flow.Turn.WaitAsync(http.RequestAborted).ConfigureAwait(false);
        try
        {
            var request = new HolderRequest(http, account, peer.KeptForIt, flow) { ThrowIfRevoked = ThrowIfRevoked };
            HostedHolder holder = await OnDiskAsync(request, () => house.OfAsync(account, request.Cancel, renews: grant is null)).ConfigureAwait(false);
            if (grant is not null)
            {
                await AdmitAsync(http, grant, operation, request, holder).ConfigureAwait(false);
            }

            if (operation != Protocol.Operation.Hello && http.Request.Headers.TryGetValue(Protocol.HolderHeader, out StringValues meant) && !StringValues.Equals(meant, holder.Id.ToString()))
            {
                throw new RefusalException(Protocol.Status.OtherHolder, "another holder lies here");
            }

            ReadOnlyMemory<byte> answer = await AnswerAsync(operation, request, holder).ConfigureAwait(false);
            flow.AddTaken(answer.Length);
            await SendAsync(http, answer, flow.Out).ConfigureAwait(false);
            request.GiveBack();
        }
        finally
        {
            flow.Turn.Release();
        }

        void ThrowIfRevoked()
        {
            // By a grant two devices are in it: the one that asks, and the one that granted.
            if (IsRevoked(Bytes32.Read(who.AccountKey), who.DeviceNumber) || (grant is not null && IsRevoked(account, grant.Certificate.DeviceNumber)))
            {
                throw NotLetIn();
            }
        }
    }

    private bool IsRevoked(Bytes32 account, uint device) => (account == ownAccount && _own.Has(device)) || house.IsRevoked(account, device);

    private ValueTask<ReadOnlyMemory<byte>> AnswerAsync(string operation, HolderRequest request, HostedHolder holder) => operation switch
    {
        Protocol.Operation.Hello => HelloAsync(request, holder),
        Protocol.Operation.Inspect => InspectAsync(request, holder),
        Protocol.Operation.List => ListAsync(request, holder),
        Protocol.Operation.PutBegin => PutBeginAsync(request, holder),
        Protocol.Operation.PutBytes => PutBytesAsync(request, holder),
        Protocol.Operation.Read => ReadAsync(request, holder),
        Protocol.Operation.Hashes => HashesAsync(request, holder),
        Protocol.Operation.Salvage => SalvageAsync(request, holder),
        Protocol.Operation.Rewrite => RewriteAsync(request, holder),
        Protocol.Operation.Mend => MendAsync(request, holder),
        Protocol.Operation.Settle or Protocol.Operation.Trash or Protocol.Operation.Restore or Protocol.Operation.Purge or Protocol.Operation.Delete =>
            MoveAsync(operation, request, holder),
        Protocol.Operation.CancelReleases => CancelReleasesAsync(request, holder),
        Protocol.Operation.Renew => RenewAsync(request),
        Protocol.Operation.Objects => ObjectsAsync(request, holder),
        Protocol.Operation.ObjectRead => ObjectReadAsync(request, holder),
        Protocol.Operation.ObjectAppend => ObjectAppendAsync(request, holder),
        Protocol.Operation.ObjectPut => ObjectPutAsync(request, holder),
        Protocol.Operation.ObjectDelete => ObjectDeleteAsync(request, holder),
        _ => throw new RefusalException(Protocol.Status.NoOperation, "no such operation"),
    };

    private async ValueTask<ReadOnlyMemory<byte>> HelloAsync(HolderRequest request, HostedHolder holder)
    {
        await request.EmptyAsync().ConfigureAwait(false);
        (int count, long bytes) = holder.Released();
        return new HelloAnswer
        {
            Holder = holder.Id,
            QuotaBytes = request.QuotaBytes,
            FragmentBytes = holder.Room.FragmentBytes,
            ObjectBytes = holder.Room.ObjectBytes,
            RoomBytes = await OnDiskAsync(request, () => ValueTask.FromResult(holder.Room.RoomFor(request.QuotaBytes))).ConfigureAwait(false),
            ReleasedCount = count,
            ReleasedBytes = bytes,
            ClockSeconds = clock.GetUtcNow().ToUnixTimeSeconds(),
            Program = program,
        }.Write();
    }

    /// <summary>Whoever asks for anything has renewed its lease by that; this says what it is.</summary>
    private async ValueTask<ReadOnlyMemory<byte>> RenewAsync(HolderRequest request)
    {
        await request.EmptyAsync().ConfigureAwait(false);
        return new LeaseTerms(book.Terms().GetValueOrDefault(request.Account), Lease.GraceDays, Releases.KeptDays).Write();
    }

    /// <summary>Keeps a line of a peer, or puts one through to it.</summary>
    private async Task ConnectAsync(string operation, HttpContext http, NodeIdentity who, Bytes32 account)
    {
        if (!IsKnown(who))
        {
            throw NotLetIn();
        }

        if (!HttpProtocol.IsHttp2(http.Request.Protocol))
        {
            throw new RefusalException(Protocol.Status.NoOperation, "a line needs HTTP/2");
        }

        if (operation == Protocol.Operation.Wait)
        {
            await _lines.WaitAsync(http, Bytes16.Read(NodeIdentity.FingerprintOf(who.DeviceKey))).ConfigureAwait(false);
            return;
        }

        byte[] device = new byte[Bytes16.Size];
        await http.Request.Body.ReadExactlyAsync(device, http.RequestAborted).ConfigureAwait(false);
        Flow flow = FlowOf(account);
        flow.Relay.Set(account == ownAccount ? long.MaxValue : book.RelayOf(account));
        if (flow.Relay.IsEmpty)
        {
            throw RelayRoom.UsedUp();
        }

        await _lines.PutThroughAsync(http, Bytes16.Read(device), flow.Relay, flow.In, flow.Out).ConfigureAwait(false);
    }

    /// <summary>What devices of an account say of each other. Heard of a revoked one too, which may be the elder of who revoked it; it learns no more by that than a stranger.</summary>
    private async Task<ReadOnlyMemory<byte>> TakeStatementsAsync(HttpContext http, NodeIdentity who, Bytes32 account, Peer peer)
    {
        bool isStranger = IsRevoked(account, who.DeviceNumber);
        Flow flow = FlowOf(account);
        await flow.Turn.WaitAsync(http.RequestAborted).ConfigureAwait(false);
        try
        {
            var request = new HolderRequest(http, account, peer.KeptForIt, flow);
            ReadOnlyMemory<byte> body = await request.BodyAsync(isStranger ? Revocation.MaxOneBytes : Revocation.MaxListBytes).ConfigureAwait(false);
            IReadOnlyList<Revocation> said = HolderRequest.Parsed(() => Revocation.Read(body.Span));
            if ((isStranger && said.Count > 1) || !said.All(each => each.Counts(account)))
            {
                throw new RefusalException(Protocol.Status.Malformed, "statements: one does not count");
            }

            (uint Signer, uint Device)[] pairs = [.. said.Select(static each => (each.Statement.Signer, each.Statement.Device))];
            if (await house.IsNewsAsync(account, pairs, request.Cancel).ConfigureAwait(false))
            {
                // Whoever says it may go meanwhile: what is begun is done.
                await OnDiskAsync(request, () => house.RevokeAsync(account, pairs, () => Looked?.Invoke(), CancellationToken.None)).ConfigureAwait(false);
            }
        }
        catch (RefusalException) when (isStranger)
        {
            throw NotLetIn();
        }
        finally
        {
            flow.Turn.Release();
        }

        return IsRevoked(account, who.DeviceNumber) ? throw NotLetIn() : default(ReadOnlyMemory<byte>);
    }

    private async Task<byte[]> JoinAsync(HttpContext http, NodeIdentity who)
    {
        var request = new HolderRequest(http, default, 0, null);
        ReadOnlyMemory<byte> body = await request.BodyAsync(Protocol.MaxStrangerBodyBytes).ConfigureAwait(false);
        JoinOffer offer = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "join");
            reader.Bytes(InvitationCode.SecretSize);
            return JoinOffer.Read(ref reader);
        });
        JoinOffer answer = await desk.JoinAsync(who, body[..InvitationCode.SecretSize], offer, request.Cancel).ConfigureAwait(false);
        var writer = new FieldWriter(JoinOffer.MaxBytes);
        answer.Write(writer);
        return writer.ToArray();
    }

    private async Task<byte[]> EnrolAsync(HttpContext http)
    {
        var request = new HolderRequest(http, default, 0, null);
        ReadOnlyMemory<byte> body = await request.BodyAsync(Protocol.MaxStrangerBodyBytes).ConfigureAwait(false);
        if (Enrols is null || body.Length <= Enrolment.IdSize)
        {
            throw NotLetIn();
        }

        (EnrolOutcome outcome, byte[] answer) = await Enrols.AnswerAsync(body[..Enrolment.IdSize], body[Enrolment.IdSize..], request.Cancel).ConfigureAwait(false);
        return outcome switch
        {
            EnrolOutcome.Done => answer,
            EnrolOutcome.Unknown => throw NotLetIn(),
            _ => throw new RefusalException(Protocol.Status.Gone, outcome == EnrolOutcome.Used ? "the code was used already" : "the code has expired") { Reason = (byte)outcome },
        };
    }

    private Flow FlowOf(Bytes32 account)
    {
        lock (_gate)
        {
            if (!_flows.TryGetValue(account, out Flow? flow))
            {
                _flows[account] = flow = new Flow(new RateLimit(0, clock), new RateLimit(0, clock), new RelayRoom(clock), new SemaphoreSlim(Protocol.MaxDiskRequestsPerAccount));
            }

            return flow;
        }
    }

    /// <summary>Runs what blocks on the disk, as one of a few.</summary>
    private async ValueTask<T> OnDiskAsync<T>(HolderRequest request, Func<ValueTask<T>> action)
    {
        await _disk.WaitAsync(request.Cancel).ConfigureAwait(false);
        try
        {
            return await Task.Factory.StartNew(() => action().AsTask(), CancellationToken.None, TaskCreationOptions.DenyChildAttach | TaskCreationOptions.HideScheduler, Disks).Unwrap().ConfigureAwait(false);
        }
        finally
        {
            _disk.Release();
        }
    }

    private async ValueTask OnDiskAsync(HolderRequest request, Func<ValueTask> action) =>
        await OnDiskAsync(request, async () =>
        {
            await action().ConfigureAwait(false);
            return true;
        }).ConfigureAwait(false);

    private static async Task SendAsync(HttpContext http, ReadOnlyMemory<byte> answer, RateLimit? rate)
    {
        http.Response.StatusCode = Protocol.Status.Done;
        http.Response.ContentLength = answer.Length;
        for (int at = 0; at < answer.Length; at += PieceBytes)
        {
            ReadOnlyMemory<byte> piece = answer.Slice(at, Math.Min(PieceBytes, answer.Length - at));
            if (rate is not null)
            {
                await rate.TakeAsync(piece.Length, http.RequestAborted).ConfigureAwait(false);
            }

            await http.Response.Body.WriteAsync(piece, http.RequestAborted).ConfigureAwait(false);
        }
    }

    private static async Task RefuseAsync(HttpContext http, RefusalException refusal)
    {
        if (http.Response.HasStarted)
        {
            http.Abort(); // the status is gone already; what was sent must not pass for the whole
            return;
        }

        byte[] text = Encoding.UTF8.GetBytes(refusal.Message);
        byte[] body = refusal.Reason is byte reason ? [reason, .. text] : text;
        body = body[..Math.Min(body.Length, Protocol.MaxRefusalBytes)];
        http.Response.StatusCode = refusal.Status;
        http.Response.ContentLength = body.Length;
        await http.Response.Body.WriteAsync(body, http.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>An account's rates, what is put through for it, and its turns.</summary>
    internal sealed record Flow(RateLimit In, RateLimit Out, RelayRoom Relay, SemaphoreSlim Turn)
    {
        private long _brought;
        private long _taken;

        internal void AddBrought(long bytes) => Interlocked.Add(ref _brought, bytes);

        internal void AddTaken(long bytes) => Interlocked.Add(ref _taken, bytes);

        internal long TakeBrought() => Interlocked.Exchange(ref _brought, 0);

        internal long TakeTaken() => Interlocked.Exchange(ref _taken, 0);
    }
}

/// <summary>One request of an account that was let in: its body, bounded and at its rate.</summary>
internal sealed class HolderRequest(HttpContext http, Bytes32 account, long quotaBytes, HolderService.Flow? flow)
{
    private long _skipped;
    private byte[]? _borrowed;

    internal Bytes32 Account => account;

    /// <summary>What alone the request may be about; null: the account asks for itself.</summary>
    internal RepairEntry? Entry { get; set; }

    internal long QuotaBytes => quotaBytes;

    /// <summary>Throws once the device that asks is revoked.</summary>
    internal Action ThrowIfRevoked { get; init; } = static () => { };

    internal CancellationToken Cancel => http.RequestAborted;

    /// <summary>What cannot be parsed is the sender's mistake, and not damage of ours.</summary>
    internal static T Parsed<T>(Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (DamagedFormatException malformed)
        {
            throw new RefusalException(Protocol.Status.Malformed, malformed.Message);
        }
    }

    /// <summary>The first bytes of the body, which do not count as its own.</summary>
    internal async ValueTask<byte[]> ExactlyAsync(int count)
    {
        byte[] bytes = new byte[count];
        for (int filled = 0; filled < count;)
        {
            int part = await ReadAsync(bytes.AsMemory(filled), Cancel).ConfigureAwait(false);
            filled += part > 0 ? part : throw new RefusalException(Protocol.Status.Malformed, "the body ends early");
        }

        _skipped += count;
        return bytes;
    }

    /// <exception cref="RefusalException">The request may not be about this arena.</exception>
    internal void CheckAllowed(params ReadOnlySpan<ArenaId> ids)
    {
        if (Entry is not null && (ids.Length != 1 || ids[0] != Entry.Id))
        {
            throw HolderService.NotLetIn();
        }
    }

    /// <summary>Room for an answer, with whatever lay there, until <see cref="GiveBack"/>.</summary>
    internal Memory<byte> Borrow(int bytes) => (_borrowed = ArrayPool<byte>.Shared.Rent(bytes)).AsMemory(0, bytes);

    /// <summary>The answer was sent. Where it was not, nobody knows who writes there still: that room is left to the collector.</summary>
    internal void GiveBack()
    {
        if (_borrowed is not null)
        {
            ArrayPool<byte>.Shared.Return(_borrowed);
            _borrowed = null;
        }
    }

    internal async ValueTask EmptyAsync() => await BodyAsync(0).ConfigureAwait(false);

    /// <summary>The whole body.</summary>
    internal async ValueTask<ReadOnlyMemory<byte>> BodyAsync(int maxBytes)
    {
        if (http.Request.ContentLength - _skipped > maxBytes)
        {
            throw TooLong(maxBytes);
        }

        byte[] body = new byte[(int)Math.Min(maxBytes + 1L, (http.Request.ContentLength - _skipped ?? 64 * 1024) + 1)];
        int filled = 0;
        while (await ReadAsync(body.AsMemory(filled), Cancel).ConfigureAwait(false) is > 0 and int part)
        {
            filled += part;
            if (filled > maxBytes)
            {
                throw TooLong(maxBytes);
            }

            if (filled == body.Length)
            {
                Array.Resize(ref body, (int)Math.Min(maxBytes + 1L, 2L * body.Length));
            }
        }

        return body.AsMemory(0, filled);
    }

    /// <summary>The next bytes of the body; 0 at its end.</summary>
    internal async ValueTask<int> ReadAsync(Memory<byte> target, CancellationToken cancel)
    {
        int read = await http.Request.Body.ReadAsync(target, cancel).ConfigureAwait(false);
        if (read > 0 && flow is not null)
        {
            flow.AddBrought(read);
            await flow.In.TakeAsync(read, cancel).ConfigureAwait(false);
        }

        return read;
    }

    private static RefusalException TooLong(int maxBytes) => new(Protocol.Status.Malformed, string.Create(CultureInfo.InvariantCulture, $"the body is longer than {maxBytes} bytes"));
}
