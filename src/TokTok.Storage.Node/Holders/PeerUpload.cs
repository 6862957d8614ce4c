using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <summary>Fragments on their way to a peer: begun, sent from where the peer has them, and gone on with when a connection breaks.</summary>
/// <remarks>Format: docs/protocol.md 3.3, uploads. Bounded: a peer that gets no further in <see cref="MaxAttempts"/> attempts has failed.</remarks>
internal sealed class PeerUpload(PeerConnection peer, PutTable table, ReadOnlyMemory<byte> bytes)
{
    private const int MaxAttempts = 4;
    private const int BeginAnswerBytes = 1 + 3 + sizeof(uint) + Bytes16.Size;

    /// <returns>False: the peer says that it has them already.</returns>
    /// <exception cref="PeerException">It did not take them.</exception>
    internal async ValueTask<bool> RunAsync(CancellationToken cancel)
    {
        var begin = new FieldWriter(PutTable.MaxBytes);
        table.Write(begin);
        int best = -1;
        for (int attempt = 1; ; attempt++)
        {
            byte[] answer = await peer.AskAsync(Protocol.Operation.PutBegin, begin.WrittenMemory, BeginAnswerBytes, cancel).ConfigureAwait(false);
            if (answer.Length != BeginAnswerBytes)
            {
                throw new PeerException(PeerProblem.BadAnswer, $"{peer.Where}: answers put-begin with {answer.Length} bytes, {BeginAnswerBytes} expected");
            }

            if (answer[0] == 1)
            {
                return false; // perhaps only the answer was lost
            }

            uint received = BinaryPrimitives.ReadUInt32LittleEndian(answer.AsSpan(4));
            if (received > bytes.Length)
            {
                throw new PeerException(PeerProblem.BadAnswer, $"{peer.Where}: says that {received} of {bytes.Length} bytes have come");
            }

            if (best < 0 || (int)received >= best + Protocol.UploadStepBytes)
            {
                best = (int)received;
                attempt = 1; // it gets on, and not by a byte at a time
            }

            try
            {
                byte[] head = new byte[Bytes16.Size + sizeof(uint)];
                answer.AsSpan(8, Bytes16.Size).CopyTo(head);
                BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(Bytes16.Size), received);
                byte[] end = await peer.AskAsync(Protocol.Operation.PutBytes, head, bytes[(int)received..], sizeof(uint), cancel, mayRepeat: false).ConfigureAwait(false);
                if (end.Length == sizeof(uint) && BinaryPrimitives.ReadUInt32LittleEndian(end) == bytes.Length)
                {
                    return true;
                }
            }
            catch (PeerException failure) when (failure.Problem is PeerProblem.Unreachable or PeerProblem.Refused && attempt < MaxAttempts)
            {
                peer.Forgive(); // at the next beginning it says how far it got
                continue;
            }

            if (attempt >= MaxAttempts)
            {
                throw new PeerException(PeerProblem.BadAnswer, $"{peer.Where}: does not take what it is sent");
            }
        }
    }
}
