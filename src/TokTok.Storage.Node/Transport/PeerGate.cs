using System.IO.Pipelines;
using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Transport;

/// <summary>The door of a node: TLS 1.3 with both sides' identity, and how many connections whom is allowed.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.1, 3.2. Kestrel's own TLS needs the host that we do without; this is a middleware below HTTP/2.
/// Whoever proves an identity comes through, known or not: what it may ask is <see cref="Holders.HolderService"/>'s to say. Who has not proven one yet, and strangers, are few and do not stay.
/// Who was known when it came and is not any more (its account's time is over, or it, or its account, was revoked) is sent away by <see cref="EndUnknown"/>.
/// Locks: _gate guards the counts and _known; nothing waits inside, and connections are ended outside.
/// </remarks>
internal sealed class PeerGate(NodeCertificate own, Func<NodeIdentity, bool> isKnown, TimeProvider clock)
{
    private const int PipeBytes = 32 * 1024;

    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(1);

    private static readonly X509ChainPolicy s_chain = new()
    {
        DisableCertificateDownloads = true,
        RevocationMode = X509RevocationMode.NoCheck,
        TrustMode = X509ChainTrustMode.CustomRootTrust,
    };

    private readonly Lock _gate = new();
    private readonly Dictionary<Bytes32, int> _accounts = [];
    private readonly HashSet<Known> _known = [];
    private readonly Crowd _handshakes = new(Protocol.MaxHandshakes);
    private readonly Crowd _strangers = new(Protocol.MaxStrangers);
    private int _all;

    /// <summary>Runs one connection, from its handshake to its end.</summary>
    internal async Task RunAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        using var ssl = new SslStream(((StreamConnection)connection).Stream, leaveInnerStreamOpen: true);
        NodeIdentity? identity = null;
        IPAddress? from = (connection.RemoteEndPoint as IPEndPoint)?.Address;
        Crowd.Member waiting = _handshakes.Enter(from, () => connection.Abort(new ConnectionAbortedException("others want in")));
        try
        {
            using var time = new CancellationTokenSource(Protocol.HandshakeTime, clock);
            await ssl.AuthenticateAsServerAsync(Options(found => identity = found), time.Token).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is AuthenticationException or IOException or OperationCanceledException or InvalidOperationException or NotSupportedException)
        {
            connection.Abort(new ConnectionAbortedException("no handshake"));
            return;
        }
        finally
        {
            _handshakes.Leave(waiting);
        }

        SslApplicationProtocol spoken = ssl.NegotiatedApplicationProtocol;
        if (identity is null || (spoken != SslApplicationProtocol.Http2 && spoken != SslApplicationProtocol.Http11 && spoken != default))
        {
            connection.Abort(new ConnectionAbortedException("no identity"));
            return;
        }

        Bytes32 account = Bytes32.Read(identity.AccountKey);
        var known = new Known(connection, identity);
        if (!isKnown(identity))
        {
            Crowd.Member stranger = _strangers.Enter(from, () => connection.Abort(new ConnectionAbortedException("other strangers want in")));
            var admission = new PeerAdmission(granted =>
            {
                _strangers.Leave(stranger);
                if (TryEnter(granted, null))
                {
                    return true;
                }

                connection.Abort(new ConnectionAbortedException("too many connections"));
                return false;
            });
            connection.Features.Set(admission);
            try
            {
                await RunAsync(connection, next, ssl, identity, isStranger: true).ConfigureAwait(false);
            }
            finally
            {
                if (admission.End() is { } granted)
                {
                    Leave(granted, null);
                }

                _strangers.Leave(stranger);
            }
        }
        else if (TryEnter(account, known))
        {
            try
            {
                if (!isKnown(identity))
                {
                    known.End(); // since it was asked for the first time
                }

                await RunAsync(connection, next, ssl, identity, isStranger: false).ConfigureAwait(false);
            }
            finally
            {
                Leave(account, known);
            }
        }
        else
        {
            connection.Abort(new ConnectionAbortedException("too many connections"));
        }
    }

    /// <summary>Ends the connections of everybody who is not known any more.</summary>
    internal void EndUnknown()
    {
        List<Known> gone;
        lock (_gate)
        {
            gone = [.. _known.Where(each => !isKnown(each.Who))];
        }

        gone.ForEach(static each => each.End());
    }

    private async Task RunAsync(ConnectionContext connection, ConnectionDelegate next, SslStream ssl, NodeIdentity identity, bool isStranger)
    {
        connection.Features.Set(identity);
        connection.Features.Set<ITlsConnectionFeature>(new TlsFeature());
        connection.Features.Set<ITlsApplicationProtocolFeature>(new TlsFeature { ApplicationProtocol = ssl.NegotiatedApplicationProtocol.Protocol });
        PipeReader from = PipeReader.Create(ssl, new StreamPipeReaderOptions(bufferSize: PipeBytes, leaveOpen: true));
        PipeWriter to = PipeWriter.Create(ssl, new StreamPipeWriterOptions(minimumBufferSize: PipeBytes, leaveOpen: true));
        connection.Transport = new PipePair(from, to);
        ITimer end = isStranger
            ? clock.CreateTimer(_ => EndStranger(connection), null, Protocol.StrangerTime, Timeout.InfiniteTimeSpan)
            : clock.CreateTimer(_ => connection.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose(), null, Protocol.ConnectionEnd, Timeout.InfiniteTimeSpan);
        // HTTP/1.1 reads nothing between a request and its answer: who has gone meanwhile would keep a connection, and its turn at the disk.
        TimeSpan look = ssl.NegotiatedApplicationProtocol == SslApplicationProtocol.Http2 ? Timeout.InfiniteTimeSpan : s_look;
        ITimer looks = clock.CreateTimer(_ => EndGone((StreamConnection)connection), null, look, look);
        await using (end.ConfigureAwait(false))
        await using (looks.ConfigureAwait(false))
        {
            try
            {
                await next(connection).ConfigureAwait(false);
            }
            finally
            {
                await from.CompleteAsync().ConfigureAwait(false);
                try
                {
                    await to.CompleteAsync().ConfigureAwait(false);
                    using var time = new CancellationTokenSource(Protocol.HandshakeTime, clock);
                    await ssl.ShutdownAsync().WaitAsync(time.Token).ConfigureAwait(false);
                    await ssl.FlushAsync(time.Token).ConfigureAwait(false);
                }
                catch (Exception gone) when (gone is IOException or OperationCanceledException or InvalidOperationException or ObjectDisposedException)
                {
                    // nobody is left to take leave of
                }
            }
        }
    }

    private static void EndGone(StreamConnection connection)
    {
        if (connection.HasHungUp)
        {
            connection.Abort(new ConnectionAbortedException("it has hung up"));
        }
    }

    /// <summary>Whose grant held meanwhile is none any more.</summary>
    private static void EndStranger(ConnectionContext connection)
    {
        if (connection.Features.Get<PeerAdmission>() is not { IsAdmitted: true })
        {
            connection.Abort(new ConnectionAbortedException("a stranger's time is over"));
        }
    }

    private SslServerAuthenticationOptions Options(Action<NodeIdentity?> found) => new()
    {
        ServerCertificate = own.Current,
        ClientCertificateRequired = true,
#pragma warning disable CA5398 // the protocol says 1.3 and nothing older; what comes later is another version of it
        EnabledSslProtocols = SslProtocols.Tls13,
#pragma warning restore CA5398
        ApplicationProtocols = [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11],
        AllowTlsResume = false,
        AllowRenegotiation = false,
        CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        CertificateChainPolicy = s_chain,
        // No authority and no date: the device's signature inside is what counts.
        RemoteCertificateValidationCallback = (_, shown, _, _) =>
        {
            NodeIdentity? identity = NodeIdentity.TryRead(shown as X509Certificate2);
            found(identity);
            return identity is not null;
        },
    };

    /// <param name="known">Null: it is there by a grant, which each request shows anew.</param>
    private bool TryEnter(Bytes32 account, Known? known)
    {
        lock (_gate)
        {
            int count = _accounts.GetValueOrDefault(account);
            if (count >= Protocol.MaxConnectionsPerAccount || _all >= Protocol.MaxConnections)
            {
                return false;
            }

            if (known is not null)
            {
                _known.Add(known);
            }

            _accounts[account] = count + 1;
            _all++;
            return true;
        }
    }

    private void Leave(Bytes32 account, Known? known)
    {
        lock (_gate)
        {
            if (known is not null)
            {
                _known.Remove(known);
            }

            _all--;
            if (_accounts[account] == 1)
            {
                _accounts.Remove(account);
            }
            else
            {
                _accounts[account]--;
            }
        }
    }

    /// <summary>A connection of somebody who was known when it began.</summary>
    private sealed class Known(ConnectionContext connection, NodeIdentity who)
    {
        internal NodeIdentity Who => who;

        internal void End() => connection.Abort(new ConnectionAbortedException("not known any more"));
    }

    /// <summary>Tells Kestrel that the connection is a secure one, and of which HTTP: where the dialler names none, it is 1.1.</summary>
    private sealed class TlsFeature : ITlsConnectionFeature, ITlsApplicationProtocolFeature
    {
        public X509Certificate2? ClientCertificate
        {
            get => null;
            set => throw new NotSupportedException();
        }

        public ReadOnlyMemory<byte> ApplicationProtocol { get; init; }

        public Task<X509Certificate2?> GetClientCertificateAsync(CancellationToken cancellationToken) => Task.FromResult<X509Certificate2?>(null);
    }
}
