using TokTok.Storage.Core;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <content>Small objects.</content>
public sealed partial class PeerHolder
{
    private const int ObjectEntryBytes = 1 + 255 + sizeof(long);

    public async ValueTask<IReadOnlyList<HolderObject>> ListObjectsAsync(string prefix, CancellationToken cancel)
    {
        var writer = new FieldWriter(256);
        writer.ShortText(prefix);
        byte[] answer = await AskAsync(Protocol.Operation.Objects, writer.WrittenMemory, sizeof(uint) + (Protocol.MaxObjects * ObjectEntryBytes), cancel).ConfigureAwait(false);
        return Parsed(() =>
        {
            var reader = new FieldReader(answer, "objects");
            int count = reader.Count(Protocol.MaxObjects, "the count");
            var all = new List<HolderObject>(Math.Min(count, answer.Length / sizeof(long)));
            for (int i = 0; i < count; i++)
            {
                string name = ObjectName.Read(ref reader);
                long length = reader.I64();
                if (length < 0 || !name.StartsWith(prefix, StringComparison.Ordinal) || (all.Count > 0 && string.CompareOrdinal(all[^1].Name, name) >= 0))
                {
                    throw reader.Damaged($"found {length} bytes of an object out of order, or that was not asked for");
                }

                all.Add(new HolderObject(name, length));
            }

            reader.End();
            return (IReadOnlyList<HolderObject>)all;
        });
    }

    public async ValueTask<int> ReadObjectAsync(string name, long offset, Memory<byte> target, CancellationToken cancel)
    {
        int wanted = Math.Min(target.Length, Protocol.MaxReadBytes);
        var writer = new FieldWriter(256);
        writer.ShortText(name);
        writer.I64(offset);
        writer.U32((uint)wanted);
        byte[] answer = await AskAsync(Protocol.Operation.ObjectRead, writer.WrittenMemory, wanted, cancel).ConfigureAwait(false);
        MindShort(name, offset, wanted, answer.Length);
        answer.CopyTo(target);
        return answer.Length;
    }

    /// <summary>An object that comes in crumbs would take for ever: fewer bytes than asked are its end, however often it grew meanwhile.</summary>
    private void MindShort(string name, long offset, int wanted, int came)
    {
        lock (_gate)
        {
            bool goesOn = _short.Name == name && _short.End == offset && came > 0 && came < wanted;
            _short = (name, offset + came, goesOn ? _short.Count + 1 : 0);
            if (_short.Count < Protocol.MaxShortAnswers)
            {
                return;
            }
        }

        throw Translated(new PeerException(PeerProblem.BadAnswer, $"{_peer.Where}: gives {name} in pieces of a few bytes"));
    }

    public async ValueTask AppendObjectAsync(string name, long offset, ReadOnlyMemory<byte> bytes, bool isSynced, CancellationToken cancel)
    {
        int done = 0;
        do
        {
            ReadOnlyMemory<byte> part = bytes.Slice(done, Math.Min(bytes.Length - done, Protocol.MaxAppendBytes));
            done += part.Length;
            var writer = new FieldWriter(256);
            writer.ShortText(name);
            writer.I64(offset + done - part.Length);
            writer.U8((byte)(isSynced && done == bytes.Length ? 1 : 0)); // it makes durable what came before, too
            _ = await AskAsync(Protocol.Operation.ObjectAppend, writer.WrittenMemory, part, 0, cancel).ConfigureAwait(false);
        }
        while (done < bytes.Length);
    }

    public async ValueTask PutObjectAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        var writer = new FieldWriter(256);
        writer.ShortText(name);
        _ = await AskAsync(Protocol.Operation.ObjectPut, writer.WrittenMemory, bytes, 0, cancel).ConfigureAwait(false);
    }

    public async ValueTask DeleteObjectAsync(string name, CancellationToken cancel)
    {
        var writer = new FieldWriter(256);
        writer.ShortText(name);
        _ = await AskAsync(Protocol.Operation.ObjectDelete, writer.WrittenMemory, 0, cancel).ConfigureAwait(false);
    }
}
