using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace TokTok.Storage.Node.Peers;

/// <summary>Where a node can be dialled: host and port. "192.0.2.7:4919", "[2001:db8::7]:4919", "box.example.org:4919".</summary>
public sealed record NodeAddress(string Host, ushort Port)
{
    private const int MaxHostCharacters = 100;

    /// <summary>Null for a name.</summary>
    internal IPAddress? Ip => IPAddress.TryParse(Host, out IPAddress? ip) ? ip : null;

    public static bool TryParse(string text, [NotNullWhen(true)] out NodeAddress? address)
    {
        ArgumentNullException.ThrowIfNull(text);
        address = null;
        int colon = text.LastIndexOf(':');
        if (colon <= 0 || text.Length > Peer.MaxAddressCharacters
            || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) || port == 0)
        {
            return false;
        }

        string host = text[..colon];
        if (host[0] == '[')
        {
            if (host[^1] != ']' || !IPAddress.TryParse(host[1..^1], out IPAddress? six) || six.AddressFamily != AddressFamily.InterNetworkV6)
            {
                return false;
            }

            address = new NodeAddress(six.ToString(), port);
            return true;
        }

        // What .NET takes for an address though no person would ("1", "0x7f.1") is not one here.
        bool isIp = IPAddress.TryParse(host, out IPAddress? ip);
        if (host.Length > MaxHostCharacters || host.Contains(':', StringComparison.Ordinal) || (isIp && ip!.ToString() != host) || (!isIp && !IsName(host)))
        {
            return false;
        }

        address = new NodeAddress(host, port);
        return true;
    }

    public override string ToString() => Host.Contains(':', StringComparison.Ordinal)
        ? string.Create(CultureInfo.InvariantCulture, $"[{Host}]:{Port}")
        : string.Create(CultureInfo.InvariantCulture, $"{Host}:{Port}");

    internal static bool IsName(string host) =>
        host.Length is >= 1 and <= MaxHostCharacters && host[0] is not ('-' or '.') && host.All(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.');
}
