using System.Net;

namespace TokTok.Storage.Node.Transport;

/// <summary>A request's body, sent no faster than its rate.</summary>
internal sealed class PacedContent(ReadOnlyMemory<byte> head, ReadOnlyMemory<byte> body, RateLimit rate) : HttpContent
{
    private const int PieceBytes = 64 * 1024;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        await rate.TakeAsync(head.Length, cancellationToken).ConfigureAwait(false);
        await stream.WriteAsync(head, cancellationToken).ConfigureAwait(false);
        for (int at = 0; at < body.Length; at += PieceBytes)
        {
            ReadOnlyMemory<byte> piece = body.Slice(at, Math.Min(PieceBytes, body.Length - at));
            await rate.TakeAsync(piece.Length, cancellationToken).ConfigureAwait(false);
            await stream.WriteAsync(piece, cancellationToken).ConfigureAwait(false);
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = head.Length + body.Length;
        return true;
    }
}
