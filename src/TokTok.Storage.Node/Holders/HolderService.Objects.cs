using TokTok.Storage.Core;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Holders;

/// <content>What is asked about small objects: anchors, keys, copies of catalog and journal.</content>
public sealed partial class HolderService
{
    private const int MaxNameBytes = 1 + 255;

    private async ValueTask<ReadOnlyMemory<byte>> ObjectsAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(MaxNameBytes).ConfigureAwait(false);
        string prefix = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "objects");
            string text = ObjectName.ReadPrefix(ref reader);
            reader.End();
            return text;
        });
        IReadOnlyList<HolderObject> found = await OnDiskAsync(request, () => holder.ObjectsAsync(prefix, request.Cancel)).ConfigureAwait(false);
        var writer = new FieldWriter(1024);
        int count = Math.Min(found.Count, Protocol.MaxObjects);
        writer.U32((uint)count);
        foreach (HolderObject each in found.Take(count))
        {
            writer.ShortText(each.Name);
            writer.I64(each.Length);
        }

        return writer.WrittenMemory;
    }

    private async ValueTask<ReadOnlyMemory<byte>> ObjectReadAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(MaxNameBytes + sizeof(long) + sizeof(uint)).ConfigureAwait(false);
        (string name, long offset, int count) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "object-read");
            string text = ObjectName.Read(ref reader);
            long from = reader.I64();
            int bytes = reader.Count(Protocol.MaxReadBytes, "the count");
            reader.End();
            return from >= 0 ? (text, from, bytes) : throw reader.Damaged($"found offset {from}, 0 or more expected");
        });
        byte[] target = new byte[count];
        int read = await OnDiskAsync(request, () => holder.ReadObjectAsync(name, offset, target, request.Cancel)).ConfigureAwait(false);
        return target.AsMemory(0, read);
    }

    private async ValueTask<ReadOnlyMemory<byte>> ObjectAppendAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(MaxNameBytes + sizeof(long) + 1 + Protocol.MaxAppendBytes).ConfigureAwait(false);
        (string name, long offset, bool isSynced, int at) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "object-append");
            string text = ObjectName.Read(ref reader);
            long from = reader.I64();
            byte synced = reader.U8();
            return from >= 0 && synced <= 1 && reader.Remaining <= Protocol.MaxAppendBytes
                ? (text, from, synced == 1, reader.Position)
                : throw reader.Damaged($"found {reader.Remaining} bytes for offset {from}, synced {synced}");
        });
        await OnDiskAsync(request, () => holder.AppendObjectAsync(name, offset, body[at..], isSynced, request.QuotaBytes, request.Cancel)).ConfigureAwait(false);
        return default;
    }

    private async ValueTask<ReadOnlyMemory<byte>> ObjectPutAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(MaxNameBytes + Protocol.MaxObjectBytes).ConfigureAwait(false);
        (string name, int at) = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "object-put");
            string text = ObjectName.Read(ref reader);
            return reader.Remaining <= Protocol.MaxObjectBytes ? (text, reader.Position) : throw reader.Damaged($"found {reader.Remaining} bytes, at most {Protocol.MaxObjectBytes} expected");
        });
        await OnDiskAsync(request, () => holder.PutObjectAsync(name, body[at..], request.QuotaBytes, request.Cancel)).ConfigureAwait(false);
        return default;
    }

    private async ValueTask<ReadOnlyMemory<byte>> ObjectDeleteAsync(HolderRequest request, HostedHolder holder)
    {
        ReadOnlyMemory<byte> body = await request.BodyAsync(MaxNameBytes).ConfigureAwait(false);
        string name = HolderRequest.Parsed(() =>
        {
            var reader = new FieldReader(body.Span, "object-delete");
            string text = ObjectName.Read(ref reader);
            reader.End();
            return text;
        });
        await OnDiskAsync(request, () => holder.DeleteObjectAsync(name, request.Cancel)).ConfigureAwait(false);
        return default;
    }
}
