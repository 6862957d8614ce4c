using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace TokTok.Storage.Node.Lan;

/// <summary>An address of this machine on one of its networks, and how much of it names the network.</summary>
internal readonly record struct LanInterface(IPAddress Address, IPAddress Mask)
{
    /// <summary>Whether another machine is on the same network: nobody else is asked, and nobody else answered.</summary>
    internal bool Has(IPAddress other)
    {
        byte[] ours = Address.GetAddressBytes();
        byte[] theirs = other.GetAddressBytes();
        byte[] mask = Mask.GetAddressBytes();
        bool isSame = theirs.Length == ours.Length;
        for (int i = 0; isSame && i < ours.Length; i++)
        {
            isSame = ((ours[i] ^ theirs[i]) & mask[i]) == 0;
        }

        return isSame;
    }

    /// <summary>Every network of the machine over IPv4, loopback among them: what is asked there stays on the machine.</summary>
    internal static List<LanInterface> All()
    {
        try
        {
            return
            [
                .. NetworkInterface.GetAllNetworkInterfaces()
                    .Where(static each => each.OperationalStatus == OperationalStatus.Up || each.NetworkInterfaceType == NetworkInterfaceType.Loopback)
                    .SelectMany(static each => each.GetIPProperties().UnicastAddresses)
                    .Where(static each => each.Address.AddressFamily == AddressFamily.InterNetwork)
                    .Select(static each => new LanInterface(each.Address, each.IPv4Mask))
                    .Distinct()
                    .Take(MaxInterfaces),
            ];
        }
        catch (NetworkInformationException)
        {
            return [];
        }
    }

    private const int MaxInterfaces = 32;
}

/// <summary>The group and port of multicast DNS.</summary>
/// <param name="Port">Another one in tests, beside what else the machine runs.</param>
public sealed record LanGroup(int Port = LanGroup.StandardPort)
{
    public const int StandardPort = 5353;

    public static LanGroup Standard { get; } = new();

    internal static IPAddress Address { get; } = new([224, 0, 0, 251]);

    internal IPEndPoint EndPoint => new(Address, Port);
}
