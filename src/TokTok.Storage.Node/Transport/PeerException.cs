using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Transport;

/// <summary>What can come of asking a peer, besides an answer.</summary>
public enum PeerProblem
{
    /// <summary>Nobody answers there, or not in time, or the connection broke.</summary>
    Unreachable,

    /// <summary>Who answers is not who was expected.</summary>
    OtherIdentity,

    /// <summary>It is the peer, and what lies there is not the holder that was met: its disk was replaced.</summary>
    OtherHolder,

    /// <summary>It does not know this account, or does not let it in any more.</summary>
    NotLetIn,

    /// <summary>It speaks other versions only.</summary>
    OtherVersion,

    /// <summary>The invitation expired by its clock.</summary>
    Expired,

    /// <summary>The invitation was used by another device.</summary>
    Used,

    /// <summary>Its quota, or its owner's floor of free space.</summary>
    Full,

    /// <summary>What it keeps of an arena is damaged.</summary>
    Damaged,

    /// <summary>It refused, or its disk failed.</summary>
    Refused,

    /// <summary>Its answer is none that the protocol allows.</summary>
    BadAnswer,
}

/// <summary>A peer gave no answer, or none that can be used. The message is one line fit for a user.</summary>
public sealed class PeerException : StoreFailureException
{
    public PeerException(PeerProblem problem, string message)
        : base(message) => Problem = problem;

    public PeerException()
    {
    }

    public PeerException(string message)
        : base(message)
    {
    }

    public PeerException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public PeerProblem Problem { get; }
}
