using TokTok.Storage.Blocks.Fragments;
using TokTok.Storage.Core;
using TokTok.Storage.Node.Peers;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Two machines that meet at a holder's folder: one leaves a request there and waits, the other one answers.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.8. Two objects, named by the code's id: <c>enrol/ID-request</c> and <c>enrol/ID-answer</c>; both are noise to the folder's owner.
/// An answer is one byte, what became of the request, and the sealed answer behind a 0. The new device deletes the request, and leaves of the answer that the code was used; the next code that is given out clears that.
/// </remarks>
internal sealed class FolderMeeting(IDisk disk, IReadOnlyList<string> folders, IRandomSource random, ReadOnlyMemory<byte> secret)
{
    private const string Prefix = "enrol/";

    private string Request => $"{Prefix}{Convert.ToHexStringLower(Enrolment.IdOf(secret.Span))}-request";

    private string Answer => $"{Prefix}{Convert.ToHexStringLower(Enrolment.IdOf(secret.Span))}-answer";

    /// <summary>Answers what lies there. A folder that fails is passed over: it may be one that is just being attached.</summary>
    internal async ValueTask AnswerAsync(EnrolDesk desk, CancellationToken cancel)
    {
        foreach (string folder in folders)
        {
            await AtAsync(folder, async holder =>
            {
                byte[]? request = await ReadAsync(holder, Request, Enrolment.MaxRequestBytes, cancel).ConfigureAwait(false);
                if (request is null || await ReadAsync(holder, Answer, Enrolment.MaxAnswerBytes + 1, cancel).ConfigureAwait(false) is not null)
                {
                    return;
                }

                (EnrolOutcome outcome, byte[] answer) = await desk.AnswerAsync(Enrolment.IdOf(secret.Span), request, cancel).ConfigureAwait(false);
                byte[] said = [(byte)outcome, .. answer];
                await holder.PutObjectAsync(Answer, said, cancel).ConfigureAwait(false);
            }).ConfigureAwait(false);
        }
    }

    /// <summary>Leaves the request in every folder. False: in none.</summary>
    internal async ValueTask<bool> LeaveAsync(byte[] request, CancellationToken cancel)
    {
        int left = 0;
        foreach (string folder in folders)
        {
            await AtAsync(folder, async holder =>
            {
                await holder.PutObjectAsync(Request, request, cancel).ConfigureAwait(false);
                await holder.DeleteObjectAsync(Answer, cancel).ConfigureAwait(false); // last: one that was made for somebody who was killed goes, and is not made again
                left++;
            }).ConfigureAwait(false);
        }

        return left > 0;
    }

    /// <summary>The answer, once there is one.</summary>
    internal async ValueTask<(EnrolOutcome Outcome, byte[] Answer)?> TryTakeAsync(CancellationToken cancel)
    {
        (EnrolOutcome Outcome, byte[] Answer)? taken = null;
        foreach (string folder in folders)
        {
            await AtAsync(folder, async holder =>
            {
                if (taken is null && await ReadAsync(holder, Answer, Enrolment.MaxAnswerBytes + 1, cancel).ConfigureAwait(false) is { Length: > 0 } answer)
                {
                    taken = ((EnrolOutcome)answer[0], answer[1..]);
                }
            }).ConfigureAwait(false);
        }

        return taken;
    }

    /// <summary>Takes away what this meeting left. Where it came about, who tries the code again is told so at once.</summary>
    internal async ValueTask CleanAsync(bool isUsed, CancellationToken cancel)
    {
        foreach (string folder in folders)
        {
            await AtAsync(folder, async holder =>
            {
                await holder.DeleteObjectAsync(Request, cancel).ConfigureAwait(false);
                if (isUsed)
                {
                    await holder.PutObjectAsync(Answer, new[] { (byte)EnrolOutcome.Used }, cancel).ConfigureAwait(false);
                }
                else
                {
                    await holder.DeleteObjectAsync(Answer, cancel).ConfigureAwait(false);
                }
            }).ConfigureAwait(false);
        }
    }

    /// <summary>Clears what earlier codes left: one is given out now, and they are told apart no more.</summary>
    internal async ValueTask ClearAsync(CancellationToken cancel)
    {
        foreach (string folder in folders)
        {
            await AtAsync(folder, async holder =>
            {
                foreach (HolderObject old in (await holder.ListObjectsAsync(Prefix, cancel).ConfigureAwait(false)).Where(static old => old.Length == 1))
                {
                    await holder.DeleteObjectAsync(old.Name, cancel).ConfigureAwait(false);
                }
            }).ConfigureAwait(false);
        }
    }

    private async ValueTask AtAsync(string folder, Func<FolderHolder, ValueTask> action)
    {
        try
        {
            using FolderHolder holder = FolderHolder.Open(disk, folder, random);
            await action(holder).ConfigureAwait(false);
        }
        catch (Exception absent) when (absent is DiskException or DamagedFormatException)
        {
        }
    }

    /// <summary>Null where there is none, or what is there is longer than any.</summary>
    private static async ValueTask<byte[]?> ReadAsync(FolderHolder holder, string name, int maxBytes, CancellationToken cancel)
    {
        HolderObject? found = (await holder.ListObjectsAsync(Prefix, cancel).ConfigureAwait(false)).Cast<HolderObject?>().FirstOrDefault(each => each!.Value.Name == name);
        if (found is not { } known || known.Length > maxBytes || known.Length == 0)
        {
            return null;
        }

        byte[] bytes = new byte[known.Length];
        int read = await holder.ReadObjectAsync(name, 0, bytes, cancel).ConfigureAwait(false);
        return read == bytes.Length ? bytes : null;
    }
}
