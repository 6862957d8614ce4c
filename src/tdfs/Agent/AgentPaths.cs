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

    /// <summary>Makes the folder that a socket lies in, for its owner alone.</summary>
    internal static void MakeFolder(string socket)
    {
        const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        DirectoryInfo folder = new(Path.GetDirectoryName(socket)!);
        if (!folder.Exists)
        {
#pragma warning disable RS0030 // The socket's folder is no part of the store, and needs no sync: it is gone after a boot.
            if (OperatingSystem.IsWindows())
            {
                throw new UserError(ExitCode.Usage, "found Windows, expected Linux: this needs Unix sockets that name their peer");
            }

            Directory.CreateDirectory(folder.FullName, OwnerOnly);
#pragma warning restore RS0030
        }
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
