using System.Globalization;
using System.Text;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Tdfs.Agent;

namespace TokTok.Storage.Tdfs.Node;

/// <summary>Where a running node of a store listens: in the store's folder, where every verb finds it whatever its environment; beside the agent if that path is too long for a socket's name.</summary>
internal static class NodePaths
{
    /// <summary>sun_path with its ending zero (unix(7)).</summary>
    private const int MaxPathBytes = 107;

    private const int DigestBytes = 8;

    internal static string Socket(Func<string, string?> environment, string storePath)
    {
        string path = Path.Join(storePath, "node.sock");
        if (Encoding.UTF8.GetByteCount(path) <= MaxPathBytes)
        {
            return path;
        }

        Span<byte> digest = stackalloc byte[32];
        Blake3.Hash(Encoding.UTF8.GetBytes(storePath), digest);
        string name = string.Create(CultureInfo.InvariantCulture, $"node-{Convert.ToHexStringLower(digest[..DigestBytes])}.sock");
        return Path.Join(Path.GetDirectoryName(AgentPaths.Socket(environment)), name);
    }
}
