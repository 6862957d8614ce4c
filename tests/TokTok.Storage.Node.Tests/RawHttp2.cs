using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace TokTok.Storage.Node.Tests;

/// <summary>The dialling side of one connection, by the frame or, of HTTP/1.1, by the byte: it keeps no rule of RFC 9113 or RFC 9112 that its test does not keep.</summary>
internal sealed class RawHttp2 : IAsyncDisposable
{
    internal const byte Data = 0, HeadersFrame = 1, Priority = 2, Reset = 3, Settings = 4, Push = 5, Ping = 6, GoAway = 7, Window = 8, Continuation = 9;
    internal const byte EndStream = 1, Ack = 1, EndHeaders = 4;

    private readonly Socket _socket;
    private readonly SslStream _ssl;

    private RawHttp2(Socket socket, SslStream ssl) => (_socket, _ssl) = (socket, ssl);

    /// <param name="shown">The certificate to show.</param>
    /// <param name="from">The address of loopback to dial from.</param>
    /// <param name="isHttp2">False: the handshake names no protocol, as that of a client of HTTP/1.1.</param>
    internal static async Task<RawHttp2> DialAsync(IPEndPoint node, X509Certificate2 shown, IPAddress? from, CancellationToken cancel, bool isHttp2 = true)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        SslStream? ssl = null;
        try
        {
            socket.Bind(new IPEndPoint(from ?? IPAddress.Loopback, 0));
            await socket.ConnectAsync(node, cancel);
            ssl = new SslStream(new NetworkStream(socket));
#pragma warning disable CA5359, CA5398 // a client that checks nothing, of the one version there is: what the node does is what is asked
            await ssl.AuthenticateAsClientAsync(
                new SslClientAuthenticationOptions
                {
                    TargetHost = "x",
                    EnabledSslProtocols = SslProtocols.Tls13,
                    ApplicationProtocols = isHttp2 ? [SslApplicationProtocol.Http2] : null,
                    ClientCertificates = [shown],
                    LocalCertificateSelectionCallback = (_, _, _, _, _) => shown,
                    RemoteCertificateValidationCallback = static (_, _, _, _) => true,
                },
                cancel);
#pragma warning restore CA5359, CA5398
            return new RawHttp2(socket, ssl);
        }
        catch
        {
            ssl?.Dispose();
            socket.Dispose();
            throw;
        }
    }

    /// <summary>The preface, and settings.</summary>
    internal async Task BeginAsync(CancellationToken cancel, params (ushort Setting, uint Value)[] settings)
    {
        byte[] payload = new byte[6 * settings.Length];
        for (int i = 0; i < settings.Length; i++)
        {
            BinaryPrimitives.WriteUInt16BigEndian(payload.AsSpan(6 * i), settings[i].Setting);
            BinaryPrimitives.WriteUInt32BigEndian(payload.AsSpan((6 * i) + 2), settings[i].Value);
        }

        await SendAsync([.. "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8, .. Frame(Settings, 0, 0, payload)], cancel);
    }

    internal static byte[] Frame(byte type, byte flags, int stream, ReadOnlySpan<byte> payload) => Frame(type, flags, stream, payload.Length, payload);

    /// <summary>A frame whose length is as said, whatever follows it.</summary>
    internal static byte[] Frame(byte type, byte flags, int stream, int length, ReadOnlySpan<byte> payload)
    {
        byte[] frame = new byte[9 + payload.Length];
        frame[0] = (byte)(length >> 16);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(1), unchecked((ushort)length));
        frame[3] = type;
        frame[4] = flags;
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(5), stream);
        payload.CopyTo(frame.AsSpan(9));
        return frame;
    }

    /// <summary>The header block of a request (RFC 7541 6.2.2, literals that nobody indexes).</summary>
    internal static byte[] Block(string operation, params (string Name, string Value)[] more)
    {
        (string Name, string Value)[] fields = [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/tdfs/1/" + operation), .. more];
        return [.. fields.SelectMany(static field => Literal(field.Name, field.Value))];
    }

    internal static byte[] Literal(string name, string value) => [0, .. Text(name), .. Text(value)];

    internal async Task SendAsync(byte[] bytes, CancellationToken cancel) => await _ssl.WriteAsync(bytes, cancel);

    internal async Task ResetAsync(int stream, CancellationToken cancel) => await SendAsync(Frame(Reset, 0, stream, [0, 0, 0, 8]), cancel);

    /// <summary>The next frame; null: the connection has ended.</summary>
    internal async Task<(byte Type, byte Flags, int Stream, byte[] Payload)?> ReceiveAsync(CancellationToken cancel)
    {
        try
        {
            byte[] head = new byte[9];
            await _ssl.ReadExactlyAsync(head, cancel);
            byte[] payload = new byte[(head[0] << 16) | BinaryPrimitives.ReadUInt16BigEndian(head.AsSpan(1))];
            await _ssl.ReadExactlyAsync(payload, cancel);
            return (head[3], head[4], BinaryPrimitives.ReadInt32BigEndian(head.AsSpan(5)), payload);
        }
        catch (Exception ended) when (ended is IOException or SocketException or ObjectDisposedException)
        {
            return null;
        }
    }

    /// <summary>Reads until the node ends a stream or the connection.</summary>
    /// <returns>The error code of RFC 9113 7 that it gave; null: the connection was cut without one.</returns>
    internal async Task<uint?> EndAsync(CancellationToken cancel)
    {
        uint? code = null;
        while (await ReceiveAsync(cancel) is (byte type, _, _, byte[] payload))
        {
            if (type == Reset)
            {
                return BinaryPrimitives.ReadUInt32BigEndian(payload);
            }

            code = type == GoAway ? BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(4)) : code;
        }

        return code;
    }

    /// <summary>What comes until the node ends the connection, as text.</summary>
    internal async Task<string> TextAsync(CancellationToken cancel)
    {
        var all = new MemoryStream();
        try
        {
            await _ssl.CopyToAsync(all, cancel);
        }
        catch (Exception ended) when (ended is IOException or SocketException or ObjectDisposedException)
        {
            // cut off
        }

        return Encoding.Latin1.GetString(all.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        _socket.Dispose(); // no goodbye
        await _ssl.DisposeAsync();
    }

    private static byte[] Text(string text)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        if (bytes.Length < 127)
        {
            return [(byte)bytes.Length, .. bytes];
        }

        var length = new List<byte> { 127 };
        int rest = bytes.Length - 127;
        for (; rest >= 128; rest >>= 7)
        {
            length.Add((byte)((rest & 127) | 128));
        }

        return [.. length, (byte)rest, .. bytes];
    }
}
