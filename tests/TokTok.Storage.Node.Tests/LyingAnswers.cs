using System.Buffers.Binary;
using Microsoft.AspNetCore.Http;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Wire;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Node.Tests;

/// <summary>Ways in which a holder can lie. Each is one switch.</summary>
public enum Lie
{
    None,

    /// <summary>One byte of each window is another; the proof is the right one.</summary>
    WrongBytes,

    /// <summary>The right path with another fragment's body.</summary>
    WrongBody,

    /// <summary>The body and the path of what was there before: both fit each other, and not the name.</summary>
    OldBytes,

    /// <summary>Other bytes, and no proof at all.</summary>
    BareBytes,

    /// <summary>It keeps nothing and says, to every question about records, that it has all.</summary>
    NothingThere,

    /// <summary>Whatever is to be put is kept already.</summary>
    KeptAlready,

    /// <summary>Takes every byte of an upload, says that it is durable, and drops it.</summary>
    DropsWhatItTakes,

    /// <summary>An upload gets on by one byte for each attempt.</summary>
    TakesByteByByte,

    /// <summary>The request arrives, and nothing comes back.</summary>
    SaysNothing,

    /// <summary>A byte now and then, without end.</summary>
    Drips,

    /// <summary>10 GiB that are not announced.</summary>
    Endless,

    /// <summary>10 GiB that are announced.</summary>
    Promises10GiB,

    /// <summary>It took the fragments, and now always has a disk that fails.</summary>
    Refuses,

    /// <summary>"Come back in a second", for ever.</summary>
    Busy,

    /// <summary>The connection breaks in the middle of each answer.</summary>
    Truncates,

    /// <summary>Half an answer, well ended.</summary>
    CutsShort,

    /// <summary>A byte too many.</summary>
    AddsAByte,

    /// <summary>Lengths and forms that no answer has.</summary>
    WrongForm,

    /// <summary>A list of hashes that folds to the fragment's name, and is one of two branches instead of the groups.</summary>
    FewHashes,

    /// <summary>Objects come byte by byte.</summary>
    Crumbs,

    /// <summary>A list that never ends, each answer as long as it may be.</summary>
    EndlessList,

    /// <summary>Sizes as large as a number can be.</summary>
    HugeNumbers,
}

/// <summary>Stands between a node's service and the wire: lets it answer, and changes what goes out.</summary>
/// <remarks>Counts what it got rid of: nobody can have buffered more of it.</remarks>
internal sealed class LyingAnswers
{
    private const long TenGiB = 10L << 30;

    private long _sentBytes;
    private int _requests;
    private uint _received;

    internal Lie Lie { get; set; }

    /// <summary>The operation that is lied about; null: every one.</summary>
    internal string? Only { get; set; }

    /// <summary>Of what is asked with "read" every so many are lied about: 1 all, 10 a tenth of the fragments, by their arenas' ids.</summary>
    internal Func<ArenaId, bool> IsDropped { get; set; } = static _ => true;

    /// <summary>What an old or other body is made of.</summary>
    internal FragmentData? Other { get; set; }

    /// <summary>Told of each request before it is answered, honestly or not.</summary>
    internal Action<HttpContext>? Sees { get; set; }

    internal long SentBytes => Interlocked.Read(ref _sentBytes);

    internal int Requests => Volatile.Read(ref _requests);

    internal async Task AnswerAsync(HttpContext http, Func<HttpContext, Task> honest)
    {
        Sees?.Invoke(http);
        string operation = (http.Request.Path.Value ?? "")[Protocol.Path.Length..];
        Lie lie = Only is null || Only == operation ? Lie : Lie.None;
        if (lie == Lie.None)
        {
            await honest(http);
            return;
        }

        Interlocked.Increment(ref _requests);
        Stream wire = http.Response.Body;
        CancellationToken gone = http.RequestAborted;
        var request = new MemoryStream();
        await http.Request.Body.CopyToAsync(request, gone);
        byte[] asked = request.ToArray();
        switch (lie)
        {
            case Lie.SaysNothing:
                await Task.Delay(Timeout.Infinite, gone);
                return;
            case Lie.Drips:
                http.Response.StatusCode = 200;
                await SendAsync(wire, Beginning(operation, asked), gone);
                while (true)
                {
                    await SendAsync(wire, new byte[1], gone);
                    await wire.FlushAsync(gone);
                    await Task.Delay(1, gone);
                }

            case Lie.Endless or Lie.Promises10GiB:
                http.Response.StatusCode = 200;
                http.Response.ContentLength = lie == Lie.Promises10GiB ? TenGiB : null;
                byte[] piece = new byte[64 * 1024];
                await SendAsync(wire, Beginning(operation, asked), gone);
                for (long sent = 0; sent + piece.Length < TenGiB; sent += piece.Length)
                {
                    await SendAsync(wire, piece, gone);
                }

                return;
            case Lie.Refuses or Lie.Busy:
                http.Response.StatusCode = lie == Lie.Busy ? Protocol.Status.TooMany : Protocol.Status.DiskFailed;
                await SendAsync(wire, "not now"u8.ToArray(), gone);
                return;
        }

        if (Made(lie, operation, asked) is { } made)
        {
            http.Response.StatusCode = 200;
            http.Response.ContentLength = made.Length;
            await SendAsync(wire, made, gone);
            return;
        }

        http.Request.Body = new MemoryStream(asked);
        var honestly = new MemoryStream();
        http.Response.Body = honestly;
        await honest(http);
        http.Response.Body = wire;
        byte[] answer = honestly.ToArray();
        if (http.Response.StatusCode == Protocol.Status.Done)
        {
            answer = Changed(lie, operation, asked, answer);
        }

        http.Response.ContentLength = answer.Length;
        await SendAsync(wire, lie == Lie.Truncates ? answer[..(answer.Length / 2)] : answer, gone);
        if (lie == Lie.Truncates)
        {
            await wire.FlushAsync(gone);
            http.Abort();
        }
    }

    /// <summary>What a reader takes for the beginning of an answer, and waits behind.</summary>
    private static byte[] Beginning(string operation, byte[] asked)
    {
        if (operation != "read")
        {
            return [];
        }

        (int slice, int offset, int count) = Asked(asked);
        return [FragmentWindows.Proven, 0, 0, 0, .. BitConverter.GetBytes(FragmentWindows.BytesOf(slice, offset, count, proven: true))];
    }

    private static (int Slice, int Offset, int Count) Asked(byte[] read) =>
        (BinaryPrimitives.ReadInt32LittleEndian(read.AsSpan(36)), BinaryPrimitives.ReadInt32LittleEndian(read.AsSpan(40)), BinaryPrimitives.ReadInt32LittleEndian(read.AsSpan(44)));

    private async Task SendAsync(Stream wire, byte[] bytes, CancellationToken cancel)
    {
        await wire.WriteAsync(bytes, cancel);
        Interlocked.Add(ref _sentBytes, bytes.Length);
    }

    /// <summary>An answer that needs no service behind it.</summary>
    private byte[]? Made(Lie lie, string operation, byte[] asked)
    {
        var writer = new FieldWriter();
        switch (lie, operation)
        {
            case (Lie.KeptAlready, "put-begin"):
                writer.U32(1);
                writer.Bytes(new byte[20]);
                return writer.ToArray();
            case (Lie.DropsWhatItTakes, "put-begin"):
                writer.Bytes(new byte[24]);
                return writer.ToArray();
            case (Lie.DropsWhatItTakes, "put-bytes"):
                writer.U32((uint)(asked.Length - 20) + BinaryPrimitives.ReadUInt32LittleEndian(asked.AsSpan(16)));
                return writer.ToArray();
            case (Lie.TakesByteByByte, "put-begin"):
                writer.U32(0);
                writer.U32(_received++);
                writer.Bytes(new byte[16]);
                return writer.ToArray();
            case (Lie.TakesByteByByte, "put-bytes"):
                writer.U32(_received);
                return writer.ToArray();
            case (Lie.NothingThere, "read") when IsDropped(ArenaId.Read(asked)):
                return new byte[8];
            case (Lie.WrongForm, _):
                return new SeededRandom(asked.Length + Requests).Bytes(100);
            case (Lie.EndlessList, "list"):
                writer.U16(Protocol.MaxListedAtOnce);
                ulong last = BinaryPrimitives.ReadUInt64BigEndian(asked);
                for (ulong i = 1; i <= Protocol.MaxListedAtOnce; i++)
                {
                    var id = new ArenaId(new Bytes32(last + i, 0, 0, 0));
                    id.Write(writer.Take(ArenaId.Size));
                    ArenaRecords.Write(writer, new HeldArena(id, 1, 255, 4096, [.. Enumerable.Range(0, 256).Select(static index => new HeldFragment(index, default))], false, false));
                }

                return writer.ToArray();
            case (Lie.HugeNumbers, "hello"):
                byte[] hello = [.. new byte[16], .. Enumerable.Repeat((byte)0x7F, 32), .. new byte[20], 1, (byte)'x'];
                return hello;
            default:
                return null;
        }
    }

    private byte[] Changed(Lie lie, string operation, byte[] asked, byte[] answer)
    {
        switch (lie)
        {
            case Lie.CutsShort:
                return answer[..(answer.Length / 2)];
            case Lie.AddsAByte:
                return [.. answer, 0];
            case Lie.Crumbs when operation == "object-read":
                return answer[..Math.Min(1, answer.Length)];
            case Lie.FewHashes when operation == "hashes" && answer.Length > 1 + (2 * Blake3.HashSize):
                // The two branches below the root are in the proof of either half; here they are folded from the groups.
                return [1, .. Branches(answer[1..])];
        }

        if (operation != "read" || answer.Length <= 8 || answer[0] != FragmentWindows.Proven || !IsDropped(ArenaId.Read(asked)))
        {
            return answer;
        }

        (int slice, int offset, int count) = Asked(asked);
        byte[] bytes = [.. FragmentWindows.Pieces(offset, count).Aggregate(
            (At: 8, Bytes: Enumerable.Empty<byte>()),
            (sum, piece) =>
            {
                int at = sum.At + Blake3Tree.ProofSize(slice, piece.Offset, piece.Count);
                return (at + piece.Count, sum.Bytes.Concat(answer[at..(at + piece.Count)]));
            }).Bytes];
        byte[] other = Other is { } old ? old.Bytes.Slice(offset, count).ToArray() : [.. bytes.Select(static each => (byte)(each ^ 0xFF))];
        int proof = 8;
        switch (lie)
        {
            case Lie.WrongBytes:
            case Lie.WrongBody:
                foreach ((int at, int part) in FragmentWindows.Pieces(offset, count))
                {
                    proof += Blake3Tree.ProofSize(slice, at, part);
                    if (lie == Lie.WrongBytes)
                    {
                        answer[proof + (part / 2)] ^= 1;
                    }
                    else
                    {
                        other.AsSpan(at - offset, part).CopyTo(answer.AsSpan(proof));
                    }

                    proof += part;
                }

                return answer;
            case Lie.OldBytes:
                FragmentWindows.Write(answer.AsSpan(8), slice, offset, other, Other!.Value.GroupHashes.ToArray());
                return answer;
            case Lie.BareBytes:
                byte[] bare = [FragmentWindows.Bare, 0, 0, 0, 0, 0, 0, 0, .. other];
                BinaryPrimitives.WriteInt32LittleEndian(bare.AsSpan(4), count);
                return bare;
            default:
                return answer;
        }
    }

    /// <summary>The chaining values of the two halves of a tree of a power of two groups: what stands right below its root.</summary>
    private static byte[] Branches(byte[] groups)
    {
        // A proof of the first half of the fragment ends with the right half's value, and the other way round.
        int count = groups.Length / Blake3.HashSize;
        long length = (long)count * Blake3.GroupSize;
        int half = (int)(length / 2);
        byte[] right = new byte[Blake3Tree.ProofSize(length, 0, half)];
        Blake3Tree.WriteProof(Blake3Tree.Nodes(groups), length, 0, half, right);
        byte[] left = new byte[Blake3Tree.ProofSize(length, half, half)];
        Blake3Tree.WriteProof(Blake3Tree.Nodes(groups), length, half, half, left);
        return [.. left, .. right];
    }
}
