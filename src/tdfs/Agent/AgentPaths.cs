using System.Globalization;
using System.Net.Sockets;
using TokTok.Storage.Tdfs.Passphrases;

namespace TokTok.Storage.Tdfs.Agent;

/// <summary>Where the agent's socket is, and whether the other end is ours.</summary>
internal static class AgentPaths
{
    private const int SocketLevel = 1;
    private const int PeerCredentials = 17;
    private const int CredentialsBytes = 12;
    private const int UserOffset = 4;

    internal static string Socket(Func<string, string?> environment)
    {
        string folder = environment("XDG_RUNTIME_DIR") is ['/', ..] runtime
            ? Path.Join(runtime, "tdfs")
            : string.Create(CultureInfo.InvariantCulture, $"/tmp/tdfs-{Posix.EffectiveUser()}");
        return Path.Join(folder, "agent.sock");
    }

    /// <summary>Whether the process at the other end runs as this user (struct ucred: pid, uid, gid).</summary>
    internal static bool IsSameUser(Socket socket)
    {
        Span<byte> credentials = stackalloc byte[CredentialsBytes];
        try
        {
            return socket.GetRawSocketOption(SocketLevel, PeerCredentials, credentials) == CredentialsBytes
                && BitConverter.ToUInt32(credentials[UserOffset..]) == Posix.EffectiveUser();
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
