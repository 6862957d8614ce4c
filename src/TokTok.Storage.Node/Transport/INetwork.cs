using TokTok.Storage.Node.Identity;
using TokTok.Storage.Node.Peers;

namespace TokTok.Storage.Node.Transport;

/// <summary>The door through which others' nodes are reached: TCP and TLS of this machine where there is none, a simulated network in a test, so that one seed replays a whole cluster.</summary>
public interface INetwork
{
    /// <summary>What carries the requests of one connection.</summary>
    /// <param name="addresses">Where the peer may be dialled.</param>
    /// <param name="own">Whom the dialler shows.</param>
    /// <param name="meets">Asked at each handshake with who answered; false: it is not who was expected, and nothing more may be said to it.</param>
    HttpMessageHandler Reach(IReadOnlyList<NodeAddress> addresses, NodeCertificate own, Func<NodeIdentity?, bool> meets);
}
