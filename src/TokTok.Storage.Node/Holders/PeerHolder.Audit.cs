using TokTok.Storage.Core;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>What an audit found.</summary>
public enum AuditOutcome
{
    /// <summary>The window came with a proof that fits the fragment's name.</summary>
    Proven,

    /// <summary>It gave other bytes, no proof, none at all, or an answer that is none: what a peer that has the fragment never does.</summary>
    Failed,

    /// <summary>It gave no answer, or said that it cannot now: nothing is known.</summary>
    NoAnswer,
}

/// <content>Audits.</content>
public sealed partial class PeerHolder
{
    /// <summary>Asks for a window at a random place of a fragment, as any reader would, and checks it. What was read before does not count: the peer is asked.</summary>
    /// <remarks>Format: docs/protocol.md 3.3, read. Nobody who answers can tell an audit from a read.</remarks>
    public ValueTask<AuditOutcome> AuditAsync(ArenaId id, int fragmentIndex, ExpectedFragment expected, IRandomSource random, CancellationToken cancel)
    {
        (int offset, int count) = FragmentWindows.Random(expected.SliceBytes, random);
        return AuditAsync(id, fragmentIndex, expected, offset, count, cancel);
    }

    private async ValueTask<AuditOutcome> AuditAsync(ArenaId id, int fragmentIndex, ExpectedFragment expected, int offset, int count, CancellationToken cancel)
    {
        try
        {
            byte[] bytes = new byte[count];
            (int read, bool isRight) = await AskForWindowsAsync(id, fragmentIndex, expected.SliceBytes, offset, bytes, expected, cancel).ConfigureAwait(false);
            return isRight && read == count ? AuditOutcome.Proven : AuditOutcome.Failed;
        }
        catch (PeerException failure)
        {
            // Damaged, or another holder in its place: it says so itself. A refusal is none yet: disks fail, and whoever refuses for long counts as away.
            return failure.Problem is PeerProblem.BadAnswer or PeerProblem.Damaged or PeerProblem.OtherHolder ? AuditOutcome.Failed : AuditOutcome.NoAnswer;
        }
    }
}
